"""Places of a volume worth scanning again: the most expected error first, nothing twice, nothing that is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import choose_places, error_cells
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
