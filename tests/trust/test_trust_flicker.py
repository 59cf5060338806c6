"""Flicker is what was added slice by slice, in grey levels, and nothing else."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import slice_flicker
from finescan.values import Circle, Grid, Image

SHAPE = (200, 40, 44)


def noise(sigma: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, SHAPE).astype(np.float32)


def offsets(sigma: float, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (SHAPE[0], 1, 1)).astype(np.float32)


def foam(seed: int = 3) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 3.0)
    return ndimage.gaussian_filter(100 * (field > 0).astype(np.float32), 1.0)


def test_a_constant_volume_does_not_flicker() -> None:
    found = slice_flicker(np.full(SHAPE, 7.0, np.float32))
    assert (found.flicker, found.ratio, found.typical, found.brightness) == (0.0, 1.0, 0.0, 0.0)


def test_noise_that_is_the_same_in_all_directions_is_no_flicker() -> None:
    found = slice_flicker(noise())
    assert found.ratio == pytest.approx(1.0, abs=0.02)
    assert abs(found.excess) < 0.02
    assert found.power == pytest.approx((1.0, 1.0, 1.0), rel=0.02)


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_offsets_of_slices_raise_it_by_their_standard_deviation(sigma: float) -> None:
    found = slice_flicker(noise() + offsets(sigma))
    expected = np.sqrt(np.mean(np.diff(offsets(sigma).ravel(), n=2) ** 2) / 6)
    assert expected == pytest.approx(sigma, rel=0.15)
    assert found.flicker == pytest.approx(expected, rel=0.05)
    assert found.typical == pytest.approx(expected, rel=0.2)
    assert found.brightness == pytest.approx(expected, rel=0.05)


def test_flicker_that_differs_within_a_slice_is_seen_though_whole_slices_keep_their_brightness() -> None:
    smooth = ndimage.gaussian_filter(noise(seed=8), (0, 4, 4))
    smooth = smooth - smooth.mean(axis=(1, 2), keepdims=True)
    smooth /= smooth.std()
    found = slice_flicker(noise(0.1) + smooth)
    assert found.flicker == pytest.approx(1.0, rel=0.05)
    assert found.brightness < 0.05


def test_structure_of_the_specimen_is_no_flicker() -> None:
    clean = slice_flicker(foam() + noise())
    flickering = slice_flicker(foam() + noise() + offsets(1.0))
    assert clean.ratio == pytest.approx(1.0, abs=0.1)
    assert flickering.excess - clean.excess == pytest.approx(1.0, abs=0.2)


def test_a_reference_takes_out_structure_that_lies_along_the_slices() -> None:
    layers = np.broadcast_to(50 * np.sin(np.arange(SHAPE[0], dtype=np.float32) / 2)[:, None, None], SHAPE)
    assert slice_flicker(layers + noise()).flicker > 3
    assert slice_flicker(layers + noise(), reference=layers).ratio == pytest.approx(1.0, abs=0.02)
    found = slice_flicker(layers + noise() + offsets(0.5), reference=layers)
    assert found.flicker == pytest.approx(0.5, rel=0.15)


def test_the_outside_of_the_circle_has_no_influence() -> None:
    volume, grid = noise() + offsets(1.0), Grid.of(SHAPE, 1.0)
    circle = Circle.inscribed(grid)
    outside = ~circle.mask(grid)
    spoiled = np.where(outside, noise(1e4, seed=1), volume)
    inside = slice_flicker(Image(volume, grid), mask=circle)
    assert slice_flicker(Image(spoiled, grid), mask=circle) == inside
    spoiled[:, outside] = np.nan
    assert slice_flicker(spoiled) == inside


def test_too_few_slices_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3 slices"):
        slice_flicker(np.zeros((2, 9, 9)))
    with pytest.raises(InputError, match="No voxel inside the mask has known neighbours"):
        slice_flicker(np.full((5, 9, 9), np.nan))
