"""resample and sample: exact where the answer is known, scipy as the outside reference elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline

from finescan import resampling
from finescan.errors import InputError
from finescan.resampling import resample, sample, spline_coefficients
from finescan.values import Grid, Image, Warp


def smooth_image(shape=(60, 70), pixel_nm=10.0, origin=(0.0, 0.0)):
    """A smooth picture given by a formula in nm, so that every resampling has a known answer."""
    grid = Grid.of(shape, pixel_nm, origin)
    return Image(formula(positions(grid)), grid)


def positions(grid):
    return grid.to_nm(np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1))


def formula(nm):
    return 100 + 20 * np.sin(nm[..., 0] / 90) * np.cos(nm[..., 1] / 120 + 1)


def test_onto_its_own_grid_an_image_is_unchanged():
    image = smooth_image()
    np.testing.assert_allclose(resample(image, onto=image.grid).data, image.data, atol=1e-9)


@pytest.mark.parametrize("factor", [2.0, 2.67, 5.0])
def test_refining_gives_the_formula_at_the_new_positions(factor):
    image = smooth_image()
    fine = resample(image, onto=image.grid.refine(factor))
    edge = int(6 * factor)
    inner = (slice(edge, -edge),) * 2
    np.testing.assert_allclose(fine.data[inner], formula(positions(fine.grid))[inner], atol=2e-3)


def test_through_a_warp_the_result_is_the_formula_at_the_mapped_positions():
    image = smooth_image((80, 80))
    angle = np.radians(3)
    warp = Warp.affine([[0.9 * np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], [120.0, 90.0])
    onto = Grid.of((40, 40), 9.0, (50.0, 60.0))
    result = resample(image, onto=onto, through=warp, antialias=False)
    np.testing.assert_allclose(result.data, formula(warp(positions(onto))), atol=2e-3)


def test_cubic_interpolation_agrees_with_another_implementation():
    rng = np.random.default_rng(0)
    data = ndimage.gaussian_filter(rng.normal(size=(50, 60)), 1.0)
    index = rng.uniform(15, 35, (200, 2))
    reference = RectBivariateSpline(np.arange(50), np.arange(60), data)(index[:, 0], index[:, 1], grid=False)
    np.testing.assert_allclose(sample(data, index), reference, atol=1e-6)
    again = sample(spline_coefficients(data), index, prefiltered=True)
    np.testing.assert_allclose(again, sample(data, index), atol=1e-12)


def test_order_zero_and_one_are_nearest_and_linear():
    data = np.array([[0.0, 10.0, 20.0], [30.0, 40.0, 50.0]])
    index = np.array([[0.4, 1.4], [0.6, 0.6], [0.25, 0.45]])
    np.testing.assert_allclose(sample(data, index, order=0), [10, 40, 0], atol=1e-12)
    np.testing.assert_allclose(sample(data, index, order=1), [26, 24, 12], atol=1e-12)


def test_outside_is_nan_or_the_mirror_image_and_begins_half_a_pixel_out():
    data = np.array([[1.0, 2.0, 3.0]] * 3)
    index = np.array([[1.0, -0.45], [1.0, -0.55], [1.0, 2.45], [1.0, 2.55]])
    np.testing.assert_array_equal(np.isnan(sample(data, index, order=1)), [False, True, False, True])
    np.testing.assert_allclose(sample(data, index, order=1, outside=None), [1.45, 1.55, 2.55, 2.45])
    assert sample(data, index, order=1, outside=-7.0)[1] == -7.0


def test_a_constant_stays_a_constant_everywhere():
    grid = Grid.of((20, 30), 10.0)
    image = Image(np.full(grid.shape, 200, np.uint8), grid)
    for onto in (grid.refine(3.3), grid.refine(0.37), grid.refine(1)):
        result = resample(image, onto=onto)
        assert result.data.dtype == np.float32
        np.testing.assert_allclose(result.data, 200, rtol=1e-6)


def test_going_coarser_averages_and_brings_noise_down():
    grid = Grid.of((200, 200), 1.0)
    noise = Image(np.random.default_rng(0).normal(size=grid.shape), grid)
    coarse = grid.coarsen(5)
    plain = resample(noise, onto=coarse, antialias=False).data.std()
    smoothed = resample(noise, onto=coarse).data.std()
    assert plain > 0.8
    assert smoothed == pytest.approx(1 / (2 * np.sqrt(np.pi * (25 - 1) / 12)), rel=0.15)  # noise through that Gaussian


def test_float64_stays_float64_and_facts_travel():
    image = smooth_image()
    result = resample(image, onto=image.grid.refine(2))
    assert result.data.dtype == np.float64
    assert result.name == image.name


def test_the_result_does_not_depend_on_how_many_rows_are_evaluated_at_a_time(monkeypatch):
    image = smooth_image()
    whole = resample(image, onto=image.grid.refine(1.7)).data
    monkeypatch.setattr(resampling, "_ROWS", 300)
    np.testing.assert_array_equal(resample(image, onto=image.grid.refine(1.7)).data, whole)


def test_an_image_of_other_axes_is_refused():
    with pytest.raises(InputError, match="has axes YX but the target grid has ZYX"):
        resample(smooth_image(), onto=Grid.of((3, 4, 5), 1.0))
