"""Richardson-Lucy: outside references, a known blur, grey levels that survive, blocks that equal the whole."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.restoration import richardson_lucy as skimage_richardson_lucy

from finescan.errors import InputError
from finescan.models.deconvolution import deconvolve, filled_in_plane, lowest, richardson_lucy
from finescan.values import Grid, Image


@cache
def balls(n: int = 40, count: int = 14) -> NDArray[np.float32]:
    """Solid 1 with empty balls of 3 to 7 voxels radius."""
    rng = np.random.default_rng(5)
    z, y, x = np.ogrid[:n, :n, :n]
    volume = np.ones((n, n, n), np.float32)
    for _ in range(count):
        c, r = rng.uniform(0, n, 3), rng.uniform(3, 7)
        volume[(z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 < r * r] = 0.0
    return volume


def blurred(sigma: float, noise: float = 0.0) -> NDArray[np.float32]:
    """The balls as a microscope shows them."""
    grey = gaussian_filter(balls(), sigma, mode="nearest")
    return (grey + np.random.default_rng(1).normal(0, noise, grey.shape)).astype(np.float32)


def rmse(a: NDArray[np.float32]) -> float:
    """Against the truth, four voxels off the faces."""
    return float(np.sqrt(np.mean((a - balls())[4:-4, 4:-4, 4:-4] ** 2)))


def kernel(sigma: float, radius: int) -> NDArray[np.float32]:
    """Sampled Gaussian of unit sum."""
    one = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    full = one[:, None, None] * one[:, None] * one
    return (full / full.sum()).astype(np.float32)


def test_agrees_with_simple_itk_away_from_the_faces() -> None:
    data = blurred(1.5) + np.float32(0.2)
    theirs = sitk.RichardsonLucyDeconvolution(
        sitk.GetImageFromArray(data), sitk.GetImageFromArray(kernel(1.5, 8)), 10, True
    )
    inner = (slice(8, -8),) * 3
    ours = richardson_lucy(data, 1.5, iterations=10)
    assert np.abs(ours - sitk.GetArrayFromImage(theirs))[inner].max() < 2e-3


def test_agrees_with_scikit_image_where_both_have_converged() -> None:
    # scikit-image starts from a flat volume, so only the end of the way is the same
    data = blurred(1.0) * 0.5 + np.float32(0.25)
    theirs = skimage_richardson_lucy(data, kernel(1.0, 5), num_iter=60, clip=False)
    inner = (slice(10, -10),) * 3
    difference = (richardson_lucy(data, 1.0, iterations=60) - theirs)[inner]
    assert np.sqrt(np.mean(difference**2)) < 0.02


def test_the_error_falls_with_the_iterations_when_there_is_no_noise() -> None:
    data = blurred(2.0)
    errors = [rmse(data), *(rmse(richardson_lucy(data, 2.0, iterations=n)) for n in (1, 5, 15, 40))]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.76 * errors[0]


def test_the_kernel_that_made_the_blur_recovers_more_than_a_smaller_one() -> None:
    data = blurred(2.0)
    assert rmse(richardson_lucy(data, 2.0)) < 0.9 * rmse(richardson_lucy(data, 1.0))


def test_each_axis_has_its_own_kernel_and_zero_leaves_it_alone() -> None:
    sharp_z = gaussian_filter(balls(), (0, 1.5, 1.5), mode="nearest") + np.float32(0.1)
    volume = richardson_lucy(sharp_z, (0, 1.5, 1.5), iterations=8)
    slices = np.stack([richardson_lucy(s, 1.5, iterations=8) for s in sharp_z])
    assert np.abs(volume - slices).max() < 2e-3


def test_a_constant_stays_that_constant_up_to_the_faces() -> None:
    assert richardson_lucy(np.full((9, 12, 15), 700, np.uint16), 2.0) == pytest.approx(700, abs=0.02)


def test_negative_noise_is_neither_cut_off_nor_does_it_shift_the_mean() -> None:
    data = blurred(1.5, noise=0.1)
    data -= data.mean()  # far from physical: half of the grey levels are negative
    result = richardson_lucy(data, 1.5)
    assert result.mean() == pytest.approx(data.mean(), abs=3e-3)
    assert result.min() >= data.min() - 1e-4
    assert richardson_lucy(np.clip(data, 0, None), 1.5).mean() > result.mean() + 0.05  # what clipping would do


def test_an_empty_volume_stays_empty_and_a_sharp_edge_to_nothing_is_finite() -> None:
    assert np.all(richardson_lucy(np.zeros((8, 8, 8)), 1.0) == 0)
    edge = np.zeros((24, 24, 24), np.float32)
    edge[:12] = 1000
    assert np.isfinite(richardson_lucy(gaussian_filter(edge, 1.0), 1.0)).all()


def test_outside_the_field_of_view_is_nan_and_does_not_darken_the_inside() -> None:
    volume = np.full((6, 32, 32), 50.0, np.float32)
    y, x = np.ogrid[:32, :32]
    outside = (y - 15.5) ** 2 + (x - 15.5) ** 2 > 15**2
    volume[:, outside] = np.nan
    result = richardson_lucy(volume, 1.5)
    assert np.isnan(result[:, outside]).all()
    assert result[:, ~outside] == pytest.approx(50.0, abs=0.01)


def test_a_slice_without_any_recorded_voxel_gets_the_mean() -> None:
    volume = np.ones((3, 4, 4), np.float32)
    volume[1] = np.nan
    grey, missing = filled_in_plane(volume)
    assert missing is not None and missing.sum() == 16
    assert np.all(grey == 1)


@pytest.mark.parametrize("missing", [False, True])
def test_blocks_give_the_undivided_result(missing: bool) -> None:
    data = blurred(1.0, noise=0.05)
    if missing:
        data[:, :6, :5] = np.nan
    image = Image(data, Grid.of(data.shape, 10.0), "foam")
    whole = richardson_lucy(data, 1.0, iterations=10)
    out = np.zeros(data.shape, np.float32)
    steps: list[float] = []
    result = deconvolve(
        image, 1.0, out=out, iterations=10, block=28, progress=lambda done, total, message: steps.append(done)
    )
    assert result.data is out and result.grid == image.grid
    assert len(steps) == 27 and np.array_equal(np.isnan(out), np.isnan(whole))
    inner = (slice(8, -8),) * 3  # at the faces the length of the repeated margin shows
    rough = deconvolve(image, 1.0, iterations=10, block=28, halo=1.0).data
    assert np.nanmax(np.abs(out - whole)[inner]) < 0.005 < 0.03 < np.nanmax(np.abs(rough - whole)[inner])
    assert np.nanmax(np.abs(out - whole)) < 0.05


def test_all_blocks_share_the_pedestal_of_the_whole_volume() -> None:
    data = blurred(1.0, noise=0.1)
    assert lowest(data) == data.min() < 0
    image = Image(data, Grid.of(data.shape, 10.0), "foam")
    given = deconvolve(image, 1.0, iterations=4, block=28, pedestal=-lowest(data))
    assert np.array_equal(given.data, deconvolve(image, 1.0, iterations=4, block=28).data)


def test_what_cannot_be_done_is_said() -> None:
    volume = np.full((4, 4, 4), -3.0)
    with pytest.raises(InputError, match=r"lowest is -3 and the pedestal 1\. Pass pedestal=3 or more"):
        richardson_lucy(volume, 1.0, pedestal=1.0)
    with pytest.raises(InputError, match=r"one width or 3 widths in voxels, none negative, but sigma_px=-1"):
        richardson_lucy(volume, -1.0)
    with pytest.raises(InputError, match="at least one iteration, but 0 came"):
        richardson_lucy(volume, 1.0, iterations=0)
    with pytest.raises(InputError, match="every voxel is NaN"):
        richardson_lucy(np.full((4, 4, 4), np.nan), 1.0)
    image = Image(np.ones((40, 40, 40)), Grid.of((40, 40, 40), 1.0))
    with pytest.raises(InputError, match=r"leaves nothing between halos of 18\. Pass block=72 or more"):
        deconvolve(image, 3.0, block=32)
