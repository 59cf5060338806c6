"""Non-local means: the definition written out, an outside reference, what it is for, and slabs that change nothing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.restoration import denoise_nl_means

from finescan.errors import InputError
from finescan.models.denoising import noise_level, non_local_means


def cells(shape: tuple[int, int, int] = (20, 24, 28), sigma: float = 2.5) -> NDArray[np.float32]:
    """Zeros and ones with smooth borders between them."""
    return (gaussian_filter(np.random.default_rng(2).normal(size=shape), sigma) > 0).astype(np.float32)


def noisy(shape: tuple[int, int, int] = (20, 24, 28), noise: float = 0.1) -> NDArray[np.float32]:
    """The cells with white noise."""
    return cells(shape) + np.random.default_rng(3).normal(0, noise, shape).astype(np.float32)


def by_the_definition(v: NDArray[np.float32], patch: int, distance: int, sigma: float, h: float) -> NDArray[np.float64]:
    """Every shift on the whole volume, in double precision."""
    margin = patch // 2 + distance
    p = np.pad(v.astype(float), margin, mode="reflect")
    inner = (slice(margin, -margin),) * 3
    total, weights = np.zeros(v.shape), np.zeros(v.shape)
    for shift in product(range(-distance, distance + 1), repeat=3):
        other = np.roll(p, shift, (0, 1, 2))
        d = np.maximum(uniform_filter((p - other) ** 2, patch, origin=patch % 2 - 1)[inner] - 2 * sigma**2, 0) / h**2
        w = np.where(d < 5, np.exp(-d), 0)
        total += w * other[inner]
        weights += w
    return total / weights


@pytest.mark.parametrize(
    ("patch", "distance", "shape"),
    [(3, 2, (20, 18, 19)), (5, 1, (9, 18, 133)), (1, 3, (8, 9, 7)), (2, 2, (10, 17, 20))],
)
def test_is_what_its_definition_says(patch: int, distance: int, shape: tuple[int, int, int]) -> None:
    v = noisy(shape)
    ours = non_local_means(v, patch=patch, distance=distance, sigma=0.08, h=0.12)
    assert np.abs(ours - by_the_definition(v, patch, distance, 0.08, 0.12)).max() < 2e-5


def test_agrees_with_scikit_image() -> None:
    # its fast mode with patch 3 sums over voxels 0 and +1 of each side, and divides by 3³
    v = noisy()
    theirs = denoise_nl_means(v, 3, 3, h=0.08, sigma=0.1, fast_mode=True, preserve_range=True)
    ours = non_local_means(v, patch=2, distance=3, sigma=0.1, h=0.08 * (27 / 8) ** 0.5)
    inner = (slice(5, -5),) * 3
    difference = np.abs(ours - theirs)[inner]  # its exponential is an approximation
    assert difference.max() < 0.01 and difference.mean() < 5e-4


def test_noise_is_averaged_out_and_edges_stay() -> None:
    v = noisy()
    error = np.sqrt(np.mean((non_local_means(v, sigma=0.1) - cells()) ** 2))
    blurred = np.sqrt(np.mean((gaussian_filter(v, 1.0) - cells()) ** 2))
    assert error < 0.05 < 0.1 < blurred


def test_slabs_change_nothing() -> None:
    v = noisy((21, 16, 17))
    whole = non_local_means(v, sigma=0.1, slab=64)
    seen: list[float] = []
    out = np.zeros(v.shape, np.float32)
    assert non_local_means(v, sigma=0.1, slab=4, out=out, progress=lambda a, b, m: seen.append(a)) is out
    assert np.array_equal(out, whole)
    assert seen == [4, 8, 12, 16, 20, 21]


def test_grey_levels_of_any_size_and_format_keep_their_scale() -> None:
    v = noisy()
    counts = np.round(v * 1000 + 20000).astype(np.uint16)
    result = (non_local_means(counts, sigma=100.0) - 20000) / 1000
    assert np.abs(result - non_local_means(v, sigma=0.1)).max() < 2e-2


def test_outside_the_field_of_view_stays_nan_and_does_not_spread() -> None:
    v = noisy()
    v[:, :4, :3] = np.nan
    result = non_local_means(v, sigma=0.1)
    assert np.array_equal(np.isnan(result), np.isnan(v))


def test_the_noise_is_estimated_across_edges() -> None:
    v = noisy((20, 64, 64), 0.1)
    assert noise_level(v) == pytest.approx(0.1, rel=0.15)
    assert noise_level(np.full((4, 8, 8), 3.0)) == 0


def test_a_volume_without_noise_comes_back_unchanged() -> None:
    v = np.full((6, 8, 8), 7.5, np.float32)
    assert np.array_equal(non_local_means(v), v)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(InputError, match=r"takes a volume \(z, y, x\), but an array of shape \(4, 4\) came"):
        non_local_means(np.zeros((4, 4)))
    with pytest.raises(InputError, match="a patch, a distance and a slab of at least 1, but patch=0"):
        non_local_means(np.zeros((4, 4, 4)), patch=0)
    with pytest.raises(InputError, match="not negative, but -1"):
        non_local_means(np.zeros((4, 4, 4)), sigma=-1.0)
