"""Places of a volume worth scanning again: the most expected error first, nothing twice, nothing that is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import choose_places, error_cells, is_round, misjudged_cells, weighed
from finescan.rescan.volume_places import window_sums
from finescan.values import Grid, Image


def volume(shape, size=(300.0, 200.0, 100.0)) -> Grid:
    return Grid("ZYX", shape, size, tuple(s / 2 for s in size))


def test_the_expected_error_of_a_cell_is_the_mean_under_it():
    coarse = volume((4, 6, 5))
    fine = coarse.refine((3, 2, 2))
    half = np.random.default_rng(0).uniform(1, 5, fine.shape).astype(np.float32)
    half[:, :4] = np.nan
    found = error_cells(Image(half, fine), coarse)
    assert found.grid.same_as(coarse)
    expected = (np.nan_to_num(half) / 1.645) ** 2
    np.testing.assert_allclose(found.data, expected.reshape(4, 3, 6, 2, 5, 2).mean(axis=(1, 3, 5)), rtol=1e-5)
    thinned = error_cells(Image(half, fine), coarse, most=20)  # 2 x 2 x 2 coarse voxels a cell, the last one smaller
    assert thinned.grid.shape == (2, 3, 3)
    np.testing.assert_allclose(thinned.data[0, 1, 1], expected[:6, 4:8, 4:8].mean(), rtol=1e-5)


def test_places_are_the_richest_boxes_that_do_not_overlap():
    coarse, rng = volume((9, 14, 12)), np.random.default_rng(1)
    error = (rng.uniform(0, 1, coarse.shape) ** 6).astype(np.float32)
    shape = (3, 4, 5)
    size = tuple(n * p for n, p in zip(shape, coarse.pixel_size_nm, strict=True))
    found = choose_places(Image(error, coarse), coarse, size, most=4)
    corner = tuple(int(v) for v in found[0].start_px)
    direct = {
        at: error[tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True))].sum() for at in np.ndindex(7, 11, 8)
    }
    assert direct[corner] == pytest.approx(max(direct.values()), rel=1e-6)
    assert found[0].reduction == pytest.approx(direct[corner] / error.sum(), rel=1e-5)
    taken = np.zeros(coarse.shape, int)
    for place in found:
        taken[tuple(slice(int(a), int(b)) for a, b in zip(place.start_px, place.stop_px, strict=True))] += 1
    assert taken.max() == 1 and taken.sum() == 4 * np.prod(shape)
    gains = [p.reduction for p in found]
    assert gains == sorted(gains, reverse=True)
    middle = [(a + b - 1) / 2 for a, b in zip(found[0].start_px, found[0].stop_px, strict=True)]
    assert list(found[0].centre_px) == middle


def test_what_is_recorded_is_not_scanned_again():
    coarse = volume((8, 8, 8))
    error = np.full(coarse.shape, 0.01, np.float32)
    error[1:3, 1:3, 1:3], error[5:7, 5:7, 5:7] = 9.0, 4.0
    scanned = np.zeros(coarse.shape, bool)
    scanned[:4, :4, :4] = True
    size = tuple(2 * p for p in coarse.pixel_size_nm)
    first, second = (choose_places(Image(error, coarse), coarse, size, scanned=s, most=1)[0] for s in (None, scanned))
    assert first.start_px == (1, 1, 1) and second.start_px == (5, 5, 5)
    assert second.reduction == pytest.approx(8 * 4.0 / error.sum(), rel=1e-5)
    with pytest.raises(InputError, match="No place is left whose fine scan would take away any"):
        choose_places(Image(error, coarse), coarse, size, scanned=np.ones_like(scanned))


# ------------------------------------------------------------------ cylinders
def ellipse(shape, k) -> np.ndarray:
    """Cells of a box whose centre lies in the cylinder along axis k that fills it."""
    away = [((np.arange(n) + 0.5) / n * 2 - 1) ** 2 for n in shape]
    away[k] = np.zeros(shape[k])
    return sum(np.meshgrid(*away, indexing="ij")) < 1


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 6, 3), (1, 1, 7)])
def test_the_gain_of_a_cylinder_is_what_lies_in_it(axis, shape):
    values = np.random.default_rng(2).random((6, 9, 10))
    mask = ellipse(shape, "zyx".index(axis))
    found = window_sums(values, shape, axis)
    for at in np.ndindex(found.shape):
        box = tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True))
        assert found[at] == pytest.approx(values[box][mask].sum(), abs=1e-9)
    assert window_sums(values, shape)[0, 0, 0] == pytest.approx(values[: shape[0], : shape[1], : shape[2]].sum())


def test_error_in_the_corners_brings_a_cylinder_nothing():
    grid = volume((4, 12, 12), (100.0,) * 3)
    error = np.zeros(grid.shape, np.float32)
    error[:, 0, 0], error[1:3, 6, 6] = 9.0, 1.0
    size = (400.0, 700.0, 700.0)
    box, tube = (choose_places(Image(error, grid), grid, size, axis=a, most=1)[0] for a in ("", "z"))
    assert box.start_px == (0, 0, 0) and box.reduction == pytest.approx(1.0)
    assert tube.reduction == pytest.approx(2 / 38) and tube.start_px != (0, 0, 0)


def test_cylinders_never_overlap_but_may_stand_closer_than_their_boxes():
    grid = volume((8, 40, 40), (100.0,) * 3)
    error = np.random.default_rng(3).random(grid.shape).astype(np.float32)
    found = choose_places(Image(error, grid), grid, (400.0, 1000.0, 1000.0), axis="z", most=40)
    middles = np.array([p.centre_px for p in found])
    deep = np.abs(middles[:, None] - middles)[..., 0]
    wide = np.linalg.norm(middles[:, None, 1:] - middles[None, :, 1:], axis=-1)
    apart = (deep >= 4 - 1e-6) | (wide >= 10 - 1e-6) | np.eye(len(found), dtype=bool)
    assert apart.all() and len(found) > 10
    boxes = (np.abs(middles[:, None] - middles) >= np.array([4, 10, 10]) - 1e-6).any(-1)
    assert not (boxes | np.eye(len(found), dtype=bool)).all()


@pytest.mark.parametrize("axis", ["", "z"])
def test_places_have_the_size_of_the_field_where_cells_are_larger(axis):
    coarse = volume((30, 33, 35), (100.0,) * 3)
    cells = coarse.coarsen(3)
    error = np.random.default_rng(4).random(cells.shape).astype(np.float32)
    found = choose_places(Image(error, cells), coarse, (700.0, 1000.0, 1100.0), axis=axis, most=30)
    for place in found:
        assert np.subtract(place.stop_px, place.start_px) == pytest.approx((7, 10, 11))
        assert min(place.start_px) >= 0 and (np.array(place.stop_px) <= np.array(coarse.shape) + 1e-9).all()
    middles = np.array([p.centre_px for p in found])
    away = np.abs(middles[:, None] - middles) / (7, 10, 11)
    apart = (away >= 1 - 1e-6).any(-1) if not axis else (away[..., 0] >= 1 - 1e-6) | (
        np.hypot(away[..., 1], away[..., 2]) >= 1 - 1e-6
    )  # fmt: skip
    assert (apart | np.eye(len(found), dtype=bool)).all()


# ------------------------------------------------------------------ weights, and round volumes
def test_weights_multiply_the_error():
    grid = volume((4, 6, 6))
    rng = np.random.default_rng(5)
    error, value = rng.random(grid.shape).astype(np.float32), rng.random(grid.shape).astype(np.float32)
    found = weighed(Image(error, grid), Image(value, grid, "w.tif"))
    np.testing.assert_allclose(found.data, error * value, rtol=1e-6)
    for bad in (-0.1, np.nan):
        value[2, 3, 1] = bad
        with pytest.raises(InputError, match=r"must be finite and at least 0, but w\.tif holds others"):
            weighed(Image(error, grid), Image(value, grid, "w.tif"))


def test_a_round_volume_has_nothing_in_its_corners():
    grid = volume((10, 30, 40), (100.0,) * 3)
    grey = np.random.default_rng(6).random(grid.shape).astype(np.float32)
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in grid.shape[1:])
    inside = np.hypot(y[:, None], x) < 1
    for empty in (np.nan, 0.0, -7.0):
        assert is_round(Image(np.where(inside, grey, np.float32(empty)), grid))
    almost = np.where(inside, grey, np.float32(0))
    almost[5, 0, 0] = 0.5
    assert not is_round(Image(almost, grid)) and not is_round(Image(grey, grid))
    assert not is_round(Image(np.zeros(grid.shape, np.float32), grid))  # nothing anywhere tells nothing
    turned = np.moveaxis(np.where(inside, grey, np.float32(0)), 0, 2)
    lying = volume(turned.shape, (100.0,) * 3)
    assert is_round(Image(turned, lying), "x") and not is_round(Image(turned, lying), "z")


# ------------------------------------------------------------------ for what is measured
def test_voxels_judged_wrongly_are_as_many_as_a_fine_scan_would_judge_differently():
    """Drawn fine scans of a volume, within its intervals, differ from it on the expected share of every cell."""
    coarse = volume((3, 4, 4))
    fine, rng = coarse.refine(4), np.random.default_rng(7)
    grey = rng.uniform(80, 120, fine.shape).astype(np.float32)
    half = rng.uniform(2, 30, fine.shape).astype(np.float32)
    found = misjudged_cells(Image(grey, fine), Image(half, fine), coarse, 95.0)
    drawn = np.mean([(grey + rng.normal(0, half / 1.645) < 95) != (grey < 95) for _ in range(400)], axis=0)
    np.testing.assert_allclose(found.data, drawn.reshape(3, 4, 4, 4, 4, 4).mean((1, 3, 5)), atol=0.01)
    assert found.grid.same_as(coarse)


def test_no_data_and_no_doubt_are_judged_right():
    grid = volume((2, 2, 2))
    grey = np.array([np.nan, 50, 50, 50, 49, 50, 50, 50], np.float32).reshape(grid.shape)
    half = np.array([5, np.nan, 0, 5, 1e-6, 5, 5, 5], np.float32).reshape(grid.shape)
    found = misjudged_cells(Image(grey, grid), Image(half, grid), grid, 50.0).data.ravel()
    assert list(found[:3]) == [0, 0, 0] and found[3] == 0.5 and found[4] == 0


def test_fields_that_are_a_tiny_part_of_the_volume_are_found_too():
    grid = volume((40, 60, 60), (100.0,) * 3)
    error = np.random.default_rng(8).uniform(0.5, 1, grid.shape).astype(np.float32)
    found = choose_places(Image(error, grid), grid, (100.0, 200.0, 200.0), most=30)
    assert len(found) == 30 and found[0].reduction < 1e-4


def test_a_field_smaller_than_a_cell_is_promised_no_more_than_its_part():
    coarse = volume((12, 12, 12), (100.0,) * 3)
    cells = coarse.coarsen(4)
    error = Image(np.ones(cells.shape, np.float32), cells)
    found = choose_places(error, coarse, (200.0, 400.0, 400.0), most=1)[0]
    assert found.reduction == pytest.approx(1 / 54)  # half of one of 27 cells
