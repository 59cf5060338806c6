"""Grid and Region: where pixels lie, by known answers."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError, MissingPixelSize
from finescan.values import Grid, Region


def test_refining_keeps_the_outer_edge_and_the_field_of_view():
    g = Grid.of((100, 200), 50.0, (1000.0, -30.0))
    fine = g.refine(5)
    assert fine.shape == (500, 1000)
    assert fine.pixel_size_nm == (10.0, 10.0)
    assert fine.origin_nm == (980.0, -50.0)  # 50 nm pixel: edge 25 before, then 5 inside
    assert fine.edge_nm == g.edge_nm
    assert fine.extent_nm == g.extent_nm


@pytest.mark.parametrize(
    ("shape", "factor", "expected"),
    [((101, 77), 2.67, (270, 206)), ((3, 3), 1.5, (5, 5)), ((1, 1), 0.2, (1, 1)), ((7, 9), (2.0, 3.5), (14, 32))],
)
def test_the_refined_shape_is_the_rounded_product(shape, factor, expected):
    assert Grid.of(shape, 10.0).refine(factor).shape == expected


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_coarsening_undoes_refining(factor):
    g = Grid.of((13, 9), (4.0, 6.0), (100.0, 200.0))
    assert g.refine(factor).coarsen(factor).same_as(g)


def test_coarsening_completes_the_last_block():
    g = Grid.of((10, 9), 1.0).coarsen(4)
    assert g.shape == (3, 3)
    assert g.origin_nm == (1.5, 1.5)  # centre of four pixels at 0, 1, 2, 3


def test_positions_and_indices_are_inverse():
    g = Grid.of((30, 40), (2.5, 4.0), (-7.0, 11.0))
    index = np.random.default_rng(0).uniform(-5, 50, (20, 2))
    np.testing.assert_allclose(g.to_index(g.to_nm(index)), index, atol=1e-12)
    np.testing.assert_array_equal(g.to_nm((2, 3)), (-2.0, 23.0))


def test_step_to_another_grid_agrees_with_going_through_nm():
    a, b = Grid.of((10, 10), 3.0, (5.0, 6.0)), Grid.of((20, 20), (1.7, 2.0), (-3.0, 4.0))
    scale, offset = a.step_to(b)
    index = np.array([4.0, 7.5])
    np.testing.assert_allclose(np.array(scale) * index + offset, b.to_index(a.to_nm(index)))


def test_cropping_may_reach_outside_and_keeps_positions():
    g = Grid.of((10, 10), 2.0, (1.0, 1.0))
    part = g.crop((-3, 4), (2, 9))
    assert part.shape == (5, 5)
    np.testing.assert_array_equal(part.to_nm((0, 0)), g.to_nm((-3, 4)))


def test_the_ratio_of_two_grids_is_per_axis():
    assert Grid.of((4, 4), (50.0, 40.0)).sr_factor(Grid.of((9, 9), (10.0, 16.0))) == (5.0, 2.5)


def test_same_as_sees_a_pixel_size_that_drifts_over_the_field():
    g = Grid.of((10_000, 10_000), 10.0)
    assert g.same_as(Grid.of((10_000, 10_000), 10.0 * (1 + 1e-11)))
    assert not g.same_as(Grid.of((10_000, 10_000), 10.0 * (1 + 1e-7)))
    assert not g.same_as(Grid.of((10_000, 10_001), 10.0))


def test_a_grid_survives_being_written():
    g = Grid.of((3, 4, 5), (1.0, 2.0, 3.0), (0.5, 0.25, 7.0))
    assert Grid.from_dict(g.to_dict()) == g
    assert str(g) == "ZYX 3 x 4 x 5 px of 1 x 2 x 3 nm"


@pytest.mark.parametrize("size", [0.0, -5.0, float("nan"), float("inf"), 1e-9, 1e12])
def test_an_absurd_pixel_size_names_the_option_to_pass(size):
    with pytest.raises(MissingPixelSize, match=r"Pass pixel_size_nm=.*--pixel-size on the command line"):
        Grid.of((4, 4), size)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Grid("XY", (1, 1), (1.0, 1.0), (0.0, 0.0)), "'YX' or 'ZYX', but 'XY' came"),
        (lambda: Grid("YX", (1, 1, 1), (1.0, 1.0), (0.0, 0.0)), "needs 2 numbers each"),
        (lambda: Grid.of((0, 5), 1.0), "at least one pixel per axis"),
        (lambda: Grid.of((5, 5), 1.0).refine(0), "must be a positive number, but 0 came"),
        (lambda: Grid.of((5, 5), 1.0).coarsen(0), "whole number of at least 1"),
        (lambda: Grid.of((5, 5, 5, 5), 1.0), "'YX' or 'ZYX'"),
    ],
)
def test_impossible_grids_are_refused_in_words(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_region_knows_its_edges_in_nm():
    region = Region(Grid.of((10, 20), (2.0, 3.0), (1.0, 1.5)), (1, 2), (4, 8))
    assert region.shape == (3, 6)
    assert region.edges_nm == ((2.0, 6.0), (8.0, 24.0))
    assert Region.from_dict(region.to_dict()) == region
    assert str(region) == "1:4 x 2:8"


def test_a_clipped_region_stays_inside():
    grid = Grid.of((10, 20), 1.0)
    assert Region.clipped(grid, (-3.2, 4.6), (5, 99)) == Region(grid, (0, 5), (5, 20))


def test_a_region_outside_or_empty_is_refused():
    grid = Grid.of((10, 20), 1.0)
    for start, stop in [((0, 0), (11, 5)), ((3, 3), (3, 5)), ((-1, 0), (2, 2))]:
        with pytest.raises(InputError, match="must lie inside the grid of"):
            Region(grid, start, stop)
    with pytest.raises(InputError, match="needs 2 starts and stops"):
        Region(grid, (0,), (1,))
