"""A known blur is found again, whatever noise, gain, offset, field of view or voxel shape come with it."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import blur_fit
from finescan.trust.gaussian_fit import FWHM
from finescan.values import Circle, Grid, Image


def phases(shape: tuple[int, int, int] = (96, 100, 104), seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return (noise > 0).astype(np.float32)


def recorded(truth: np.ndarray, sigma: float | tuple[float, ...], noise: float = 0.05, seed: int = 1) -> np.ndarray:
    blurred = ndimage.gaussian_filter(truth, sigma) if np.any(sigma) else truth
    return blurred + np.random.default_rng(seed).normal(0, noise, truth.shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [1.0, 3.0, 5.0])
def test_a_known_blur_is_found_again(sigma: float) -> None:
    fit = blur_fit(recorded(phases(), sigma), phases(), voxel_size_nm=500.0)
    assert fit.method == "direct"
    assert fit.sigma == pytest.approx(sigma, rel=0.02)
    assert fit.residual_mse == pytest.approx(0.05**2, rel=0.02)
    assert (fit.gain, fit.offset) == (pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.02))
    assert (fit.fwhm, fit.sigma_nm, fit.fwhm_nm) == (
        pytest.approx(2.3548 * fit.sigma, rel=1e-4),
        pytest.approx(500 * fit.sigma),
        pytest.approx(500 * fit.fwhm),
    )


def test_a_wide_blur_is_found_again_in_a_thick_volume() -> None:
    truth = phases((128, 128, 128))
    assert blur_fit(recorded(truth, 9.0), truth, voxel_size_nm=1.0).sigma == pytest.approx(9.0, rel=0.03)


def test_no_blur_is_next_to_none() -> None:
    assert blur_fit(recorded(phases(), 0), phases(), voxel_size_nm=1.0).sigma < 0.25


def test_gain_and_offset_do_not_move_the_minimum_but_move_that_of_the_raw_curve() -> None:
    truth = phases()
    fit = blur_fit(1.4 * recorded(truth, 3.0) + 0.3, truth, voxel_size_nm=1.0)
    assert fit.sigma == pytest.approx(3.0, rel=0.02)
    assert (fit.gain, fit.offset) == (pytest.approx(1.4, rel=0.02), pytest.approx(0.3, abs=0.02))
    assert fit.raw_sigma < 2.8
    assert fit.residual_mse == pytest.approx((1.4 * 0.05) ** 2, rel=0.02)


def test_the_curves_are_the_mean_squared_differences_of_the_blurred_truth() -> None:
    truth = phases()
    image = recorded(truth, 3.0)
    fit = blur_fit(image, truth, voxel_size_nm=1.0)
    assert (fit.curve_sigma[0], fit.curve_sigma[-1]) == (0.0, 10.0)
    for width in (0.0, 2.0, 6.0):
        k = fit.curve_sigma.index(width)
        blurred = ndimage.gaussian_filter(truth.astype(float), width) if width else truth.astype(float)
        assert fit.curve_raw_mse[k] == pytest.approx(np.mean((blurred - image) ** 2), rel=0.01)
        line = np.polyfit(blurred.ravel(), image.ravel(), 1)
        assert fit.curve_mse[k] == pytest.approx(np.mean((np.polyval(line, blurred) - image) ** 2), rel=0.01)
    assert fit.raw_sigma == pytest.approx(3.0, rel=0.03)
    assert fit.curve_sigma[int(np.argmin(fit.curve_mse))] == 3.0


def test_noise_outside_the_circle_and_nan_do_not_matter() -> None:
    truth = phases((128, 128, 128))
    grid = Grid.of(truth.shape, 700.0)
    circle = Circle.inscribed(grid)
    image = recorded(truth, 3.0)
    outside = ~circle.mask(grid)
    image[:, outside] = np.nan
    inside = blur_fit(Image(image, grid), truth, voxel_size_nm=grid.pixel_size_nm, mask=circle)
    assert inside.sigma == pytest.approx(3.0, rel=0.03)
    image[:, outside] = 1e4
    spoiled = blur_fit(Image(image, grid), truth, voxel_size_nm=grid.pixel_size_nm, mask=circle)
    assert spoiled.sigma == pytest.approx(inside.sigma, rel=1e-6)


def test_a_blur_that_is_round_in_space_is_found_in_flat_voxels() -> None:
    truth = phases((64, 128, 128))
    image = recorded(truth, (1.5, 3.0, 3.0))  # slices twice as thick as the pixels are wide
    fit = blur_fit(image, truth, voxel_size_nm=(1000.0, 500.0, 500.0))
    assert fit.sigma == pytest.approx(3.0, rel=0.02)
    assert fit.sigma_nm == pytest.approx(1500.0, rel=0.02)


def test_slices_without_data_at_top_and_bottom_are_left_out() -> None:
    truth = phases()
    image = recorded(truth, 2.0)
    image[:7], image[-5:] = np.nan, np.nan
    assert blur_fit(image, truth, voxel_size_nm=1.0).sigma == pytest.approx(2.0, rel=0.02)


def test_a_small_volume_falls_back_to_the_curve_and_says_so() -> None:
    truth = phases((24, 60, 60))
    fit = blur_fit(recorded(truth, 5.0), truth, voxel_size_nm=1.0)
    assert fit.method == "curve"
    assert fit.sigma == pytest.approx(5.0, rel=0.15)


def test_a_blur_wider_than_all_tried_is_reported_as_the_limit() -> None:
    truth = phases((96, 96, 96))
    fit = blur_fit(recorded(truth, 16.0, 0.001), truth, voxel_size_nm=1.0)
    assert fit.at_limit
    assert "or wider" in str(fit)


def test_the_width_at_half_maximum_is_that_of_a_gaussian() -> None:
    assert np.exp(-0.5 * (FWHM / 2) ** 2) == pytest.approx(0.5)


def test_bad_input_of_a_fit_is_refused_with_advice() -> None:
    truth = phases((32, 32, 32))
    with pytest.raises(InputError, match="A positive voxel size is needed"):
        blur_fit(truth, truth, voxel_size_nm=0.0)
    with pytest.raises(InputError, match="The truth is constant"):
        blur_fit(truth, np.ones_like(truth), voxel_size_nm=1.0)
    with pytest.raises(InputError, match="No column of voxels inside the mask"):
        blur_fit(np.full_like(truth, np.nan), truth, voxel_size_nm=1.0)
