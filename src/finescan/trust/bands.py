"""Structure of one size at a time: differences of two Gaussian averages, and what noise makes of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.values import Grid

WIDER = 1.6  # ratio of the two widths: close to the Laplacian of a Gaussian
LEVELS, _PER_LEVEL = 12, 2000  # grey levels the noise is measured at, and pixels each needs at least
_TRUNCATE = 4.0
_DIAGONAL = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6.0  # unit response to white noise

Floats = NDArray[np.float32]


def band(values: Floats, sigma_px: Sequence[float]) -> Floats:
    """Brighter (positive) or darker (negative) than the surroundings, for structure of about this sigma.

    Parameters
    ----------
    values : (h, w) without NaN.
    sigma_px : of the narrower average, pixels of ``values``, per axis.
    """
    narrow = ndimage.gaussian_filter(values, sigma_px, truncate=_TRUNCATE, mode="nearest")
    wide = ndimage.gaussian_filter(values, [WIDER * s for s in sigma_px], truncate=_TRUNCATE, mode="nearest")
    return np.asarray(narrow - wide, np.float32)


def noise_gain(sigma_px: Sequence[float]) -> float:
    """Standard deviation that :func:`band` makes of white noise of standard deviation 1."""
    side = [2 * int(np.ceil(_TRUNCATE * WIDER * s)) + 1 for s in sigma_px]
    point = np.zeros(side, np.float32)
    point[tuple(n // 2 for n in side)] = 1
    return float(np.sqrt(np.sum(band(point, sigma_px).astype(np.float64) ** 2)))


def noise_by_grey(values: Floats, known: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey levels, and the standard deviation of white noise at each, from second differences along both diagonals.

    Structure that is several pixels wide hardly enters; the median keeps edges out. In a volume the differences are
    those within its slices.

    >>> picture = np.random.default_rng(0).normal(100, 3, (128, 128)).astype(np.float32)
    >>> bool(abs(noise_by_grey(picture, np.ones(picture.shape, bool))[1][0] - 3) < 0.1)
    True

    Source of the mask: Immerkaer 1996, doi:10.1006/cviu.1996.0060.
    """
    rough = np.abs(second_differences(values))
    inside = ndimage.binary_erosion(known, np.ones((*(1,) * (values.ndim - 2), 3, 3)))
    if not inside.any():
        return np.zeros(1), np.zeros(1)
    grey = ndimage.gaussian_filter(values, 2.0, mode="nearest")[inside]
    rough = rough[inside]
    parts = np.array_split(np.argsort(grey, kind="stable"), max(1, min(LEVELS, grey.size // _PER_LEVEL)))
    levels = np.array([np.median(grey[p]) for p in parts], np.float64)
    return levels, np.array([1.4826 * np.median(rough[p]) for p in parts], np.float64)


def second_differences(values: Floats) -> Floats:
    """Along both diagonals of a picture, or of every slice of a volume; of white noise they have its variance."""
    mask = _DIAGONAL.astype(np.float32).reshape((*(1,) * (values.ndim - 2), 3, 3))
    return np.asarray(ndimage.convolve(values, mask, mode="nearest"))


def nearby_largest(values: Floats, radius_px: Sequence[float]) -> Floats:
    """The largest value within a distance (per axis): what lies there may be displaced by that much."""
    reach = [int(np.ceil(r)) for r in radius_px]
    steps = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij", sparse=True)
    away = functools.reduce(np.hypot, [s / r for s, r in zip(steps, radius_px, strict=True)])
    return np.asarray(ndimage.maximum_filter(values, footprint=away <= 1, mode="nearest"))


def gathered(values: Floats, fine: Grid, coarse: Grid) -> Floats:
    """The largest of the fine values whose centre lies in each coarse pixel (voxel); NaN where there is none.

    NaN values are left out.
    """
    most, where = np.where(np.isnan(values), np.float32(-np.inf), values), []
    for axis in range(fine.ndim):
        owner = _under(fine, coarse, axis)
        inside = np.flatnonzero(owner >= 0)
        if not inside.size:
            return np.full(coarse.shape, np.nan, np.float32)
        starts = np.flatnonzero(np.diff(owner[inside], prepend=-1))
        most = np.maximum.reduceat(most.take(inside, axis=axis), starts, axis=axis)
        where.append(owner[inside][starts])
    out = np.full(coarse.shape, np.nan, np.float32)
    out[np.ix_(*where)] = np.where(np.isfinite(most), most, np.nan)
    return out


def _under(fine: Grid, coarse: Grid, axis: int) -> NDArray[np.intp]:
    """As :meth:`Grid.pixels_under`, but -1 outside."""
    scale, offset = fine.step_to(coarse)
    at = np.arange(fine.shape[axis]) * scale[axis] + offset[axis] + 0.5 + 1e-9
    return np.where((at >= 0) & (at < coarse.shape[axis]), fine.pixels_under(coarse, axis), -1)
