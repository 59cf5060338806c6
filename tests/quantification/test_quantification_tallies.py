"""Counts per block: known answers, and that parts add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.quantification import Objects, QuantifyConfig, Threshold, measure_alike, quantify
from finescan.quantification.ground import Scan, block_numbers, block_side, ground_of, lattice_shape
from finescan.quantification.tallies import MEASURES, joined, tally, values
from finescan.values import Grid, Image

DARK = Objects("dark", Threshold(0.5), "")


def discs(radii, pitch=60, pixel_nm=10.0):
    """Dark discs in a row, one per cell of ``pitch`` pixels, and their measurements."""
    grey = np.ones((pitch, pitch * len(radii)), np.float32)
    y, x = np.mgrid[:pitch, :pitch] - pitch / 2 + 0.5
    for k, r in enumerate(radii):
        grey[:, k * pitch : (k + 1) * pitch][np.hypot(y, x) <= r] = 0
    return measure_alike({"x": grey}, Grid.of(grey.shape, pixel_nm), objects=DARK)["x"]


def columns(shape, width):
    return np.broadcast_to(np.arange(shape[1]) // width, shape)


def test_discs_have_the_share_border_and_sizes_of_discs():
    radii = np.array([8.0, 12.0, 20.0])
    found = discs(radii)
    part = tally(found, columns(found.labels.shape, 60))
    assert len(part) == 3
    np.testing.assert_allclose(part.area, 0.36)  # 60 x 60 px of 10 nm, µm²
    np.testing.assert_allclose(part.object_area, np.pi * (radii / 100) ** 2, rtol=0.04)
    np.testing.assert_allclose(part.interface, 2 * np.pi * radii / 100, rtol=0.03)
    np.testing.assert_allclose(part.diameter_nm[np.argsort(part.owner)], 20 * radii, rtol=0.02)
    whole = {k: float(v[0]) for k, v in values(part).items()}
    assert whole["area_share"] == pytest.approx(np.sum(np.pi * radii**2) / (3 * 3600), rel=0.02)
    assert whole["objects_per_area"] == pytest.approx(3 / 1.08)
    assert whole["mean_diameter_nm"] == pytest.approx(20 * radii.mean(), rel=0.02)
    assert whole["median_diameter_nm"] == pytest.approx(240, rel=0.02)
    assert whole["interface_per_um"] == pytest.approx(2 * np.pi * radii.sum() / 100 / 1.08, rel=0.03)


def test_a_slanted_edge_has_its_length_whatever_its_direction():
    y, x = np.mgrid[:200, :200]
    for degrees in (0, 20, 45, 70):
        a = np.radians(degrees)
        grey = (np.cos(a) * (x - 100) + np.sin(a) * (y - 100) > 0.3).astype(np.float32)
        found = quantify(Image(grey, Grid.of(grey.shape, 1000.0)), config=QuantifyConfig(threshold=0.5, closing=0))
        disc = np.where(np.hypot(y - 100, x - 100) < 90, 0, -1)
        assert tally(found, disc).interface[0] == pytest.approx(180, rel=0.08), degrees  # four directions: within 8 %


def test_weights_of_blocks_are_as_good_as_copies_of_them():
    part = tally(found := discs([6, 9, 14, 20]), columns(found.labels.shape, 60))
    copies = joined([part, part.only(np.array([False, False, True, True]))])
    weighted, plain = values(part, np.array([[1.0, 1, 2, 2]])), values(copies)
    for name in set(MEASURES) - {"median_diameter_nm"}:
        assert weighted[name][0] == pytest.approx(plain[name][0]), name
    assert weighted["median_diameter_nm"][0] > values(part)["median_diameter_nm"][0]


def test_blocks_and_the_whole_agree_and_pixels_that_do_not_count_are_left_out():
    found = discs([6, 9, 14, 20])
    part = tally(found, columns(found.labels.shape, 60))
    one = tally(found, np.zeros(found.labels.shape, int))
    total = part.total()
    np.testing.assert_allclose([total.area[0], total.object_area[0]], [one.area[0], one.object_area[0]])
    np.testing.assert_allclose(total.interface, one.interface)  # no object touches the border of a block
    half = np.where(np.arange(found.labels.shape[1]) < 120, 0, -1)
    left = tally(found, np.broadcast_to(half, found.labels.shape))
    assert left.diameter_nm.size == 2 and left.object_area[0] == pytest.approx(part.object_area[:2].sum())


def test_a_volume_counts_in_three_dimensions(pores):
    image = pores((30, 30, 30), [(15, 15, 15)], [8.0])
    found = quantify(image, config=QuantifyConfig(threshold=0.5, closing=0))
    part = tally(found, np.zeros(image.grid.shape, int))
    r = 8.0 * 0.65  # µm
    assert part.object_area[0] == pytest.approx(4 / 3 * np.pi * r**3, rel=0.03)
    assert part.interface[0] == pytest.approx(4 * np.pi * r**2, rel=0.03)


def test_nothing_to_measure_is_not_a_number():
    found = discs([6])
    part = tally(found, np.full(found.labels.shape, -1), 2)
    assert len(part) == 2 and all(np.isnan(v[0]) for v in values(part).values())


def test_blocks_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"Blocks must have the shape of the labels, but \(3, 3\) came for \(60, 60\)"):
        tally(discs([6]), np.zeros((3, 3), int))


# ------------------------------------------------------------------ ground
def test_blocks_of_a_box_are_those_of_the_map_beneath_it():
    lattice = lattice_shape((100, 130), 30)
    assert lattice == (4, 5) and block_side(40 * 30 * 30, 2) == 30
    whole = block_numbers((0, 0), (100, 130), 30, lattice)
    np.testing.assert_array_equal(block_numbers((17, 40), (50, 60), 30, lattice), whole[17:67, 40:100])
    beyond = block_numbers((-5, 100), (10, 60), 30, lattice)
    assert (beyond[:5] == -1).all() and (beyond[5:, :50] >= 0).all() and (beyond[5:, 50:] == -1).all()


def test_a_block_counts_once_and_only_if_half_of_it_is_known():
    found = discs([6, 9, 14, 20])
    lattice = lattice_shape(found.labels.shape, 60)
    number = block_numbers((0, 0), found.labels.shape, 60, lattice)
    x = np.broadcast_to(np.arange(240), found.labels.shape)
    first = Scan(found, found, number, x < 145)  # two blocks and less than half of the third
    second = Scan(found, found, number, x >= 60)
    ground = ground_of([first, second], lattice, 60)
    np.testing.assert_array_equal(ground.place, [[0, 0], [0, 1], [0, 2], [0, 3]])
    np.testing.assert_allclose(ground.fine.area, 0.36)
    assert ground.near[0].tolist() == [1.0, 0.5, 0.0, 0.0] and 2 < ground.independent < 4
    assert len(ground_of([Scan(found, found, number, x < 20)], lattice, 60)) == 0
