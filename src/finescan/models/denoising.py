"""Non-local means for volumes: noise is averaged over voxels whose surroundings look alike.

Used on the Richardson-Lucy volume before it is thresholded (Bukka et al. 2025, 10.1515/mim-2024-0017, section 2.5).
Sources: Buades, Coll, Morel 2005 (10.1109/CVPR.2005.38) for the filter, Darbon et al. 2008
(10.1109/ISBI.2008.4541250) for patches of equal weight, whose distances for one shift are a box filter of one
difference image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.models.deconvolution import filled_in_plane

FARTHEST = 5.0  # patches farther apart than this (in units of h²) do not count, as in scikit-image
SLAB = 32  # slices filtered at a time
PATCH = 2  # voxels per side
_H = 1.5  # noises: width of the weights
_TILE = (16, 16, 128)  # voxels a thread works on at a time: its five buffers fit the second-level cache
_NOISE_SLICES = 16  # slices from which the noise is estimated
_MAD = 0.6745  # median of |x| over the standard deviation, for Gaussian noise

Floats = NDArray[np.float32]
Progress = Callable[[float, float, str], None]


def non_local_means(
    volume: Any,
    *,
    patch: int = PATCH,
    distance: int = 4,
    sigma: float | None = None,
    h: float | None = None,
    out: Any = None,
    slab: int = SLAB,
    progress: Progress | None = None,
) -> Any:
    """Denoised volume; edges stay where they are.

    Parameters
    ----------
    volume : (z, y, x) grey levels; anything that takes slices. It is read slab by slab, borders mirrored. NaN (outside
        the field of view) stays NaN, and the nearest recorded voxel of the slice stands in for the neighbours.
    patch : voxels per side of the patches compared. Small ones keep small pores: on foam with 5 and 10 % noise 2
        leaves an error of 0.005 and 0.015 of the contrast, 3 one of 0.012 and 0.020.
    distance : largest shift between two patches per axis, voxels.
    sigma : standard deviation of the noise, grey levels: twice its square is what two equal patches differ by. None =
        :func:`noise_level`. Deconvolution correlates noise between neighbours, and then that estimate is too low:
        give the standard deviation of a flat place.
    h : patches count with ``exp(-(difference² - 2 sigma²) / h²)``, mean over the patch; None = 1.5 sigma, measured on
        the same foam. (scikit-image's fast mode with patch 3 sums over 2 voxels per side and divides by 3³, so its
        0.8 sigma is this 1.5 sigma.)
    out : array of the same shape that takes slices; None = a float32 array in memory.
    slab : slices filtered at a time; bounds the memory, does not change the result.
    progress : called with (slices done, slices in all, message).

    Returns
    -------
    ``out``.

    Raises
    ------
    InputError : no volume, or a width that is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noisy = rng.normal(100, 10, (12, 12, 12))
    >>> float(non_local_means(noisy, sigma=10.0).std()) < 3
    True
    """
    _check(volume, patch, distance, slab)
    sigma = noise_level(volume) if sigma is None else float(sigma)
    h = _H * sigma if h is None else float(h)
    if not (math.isfinite(h) and math.isfinite(sigma) and sigma >= 0 and h >= 0):
        raise InputError(f"Non-local means needs a noise and a width that are not negative, but {sigma:g}, {h:g} came.")
    depth = volume.shape[0]
    out = np.empty(volume.shape, np.float32) if out is None else out
    for first in range(0, depth, slab):
        last = min(first + slab, depth)
        out[first:last] = _filtered(volume, first, last, patch, distance, sigma, h)
        if progress:
            progress(last, depth, "denoising")
    return out


def noise_level(volume: Any) -> float:
    """Standard deviation of white noise, grey levels, from the finest detail of up to 16 slices; robust to edges.

    The median of the absolute second mixed differences in the plane, the diagonal detail of a Haar wavelet (Donoho
    and Johnstone 1994, 10.1093/biomet/81.3.425).
    """
    step = max(1, volume.shape[0] // _NOISE_SLICES)
    found = []
    for z in range(step // 2, volume.shape[0], step):
        s = np.asarray(volume[z], np.float64)
        detail = (s[:-1, :-1] - s[1:, :-1] - s[:-1, 1:] + s[1:, 1:]) / 2
        detail = detail[np.isfinite(detail)]
        if detail.size:
            found.append(float(np.median(np.abs(detail))) / _MAD)
    return float(np.median(found)) if found else 0.0


def _check(volume: Any, patch: int, distance: int, slab: int) -> None:
    if len(volume.shape) != 3:
        raise InputError(f"Non-local means takes a volume (z, y, x), but an array of shape {volume.shape} came.")
    if patch < 1 or distance < 1 or slab < 1:
        raise InputError(
            f"Non-local means takes a patch, a distance and a slab of at least 1, but patch={patch}, "
            f"distance={distance}, slab={slab} came."
        )


def _filtered(volume: Any, first: int, last: int, patch: int, distance: int, sigma: float, h: float) -> Floats:
    """Slices ``first … last - 1`` of the result."""
    margin, depth = patch // 2 + distance, volume.shape[0]
    low, high = max(0, first - margin), min(depth, last + margin)
    grey, missing = filled_in_plane(np.asarray(volume[low:high]), allow_empty=True)
    inner = slice(first - low, last - low)
    if h == 0:  # no noise: only equal patches would count
        result = grey[inner].copy()
    else:
        around = _mirrored(grey, first - margin, last + margin, low, depth, margin)
        result = np.empty((last - first, *volume.shape[1:]), np.float32)
        _all_tiles(around, result, _shifts(distance), patch, np.float32(2 * sigma**2), np.float32(1 / h**2))
    if missing is not None:
        result[missing[inner]] = np.nan
    return result


def _mirrored(grey: Floats, first: int, last: int, low: int, depth: int, margin: int) -> Floats:
    """Slices ``first … last - 1`` of the volume mirrored at its faces, grown by the margin in the plane."""
    period = max(1, 2 * (depth - 1))
    k = np.mod(np.arange(first, last), period)
    rows = np.minimum(k, period - k) - low
    rows = np.clip(rows, 0, grey.shape[0] - 1)
    return np.pad(grey[rows], ((0, 0), (margin, margin), (margin, margin)), mode="reflect")


def _shifts(distance: int) -> NDArray[np.int64]:
    """One of each pair of opposite shifts (z, y, x)."""
    steps = np.arange(-distance, distance + 1)
    every = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.ascontiguousarray(every[len(every) // 2 + 1 :])


@numba.njit(parallel=True, cache=True, fastmath=True)
def _all_tiles(
    grey: Any, out: Any, shifts: Any, patch: int, twice_variance: np.float32, per_h2: np.float32
) -> None:  # pragma: no cover
    """Non-local means of ``grey`` without its margin, into ``out``."""
    tz, ty, tx = _TILE
    nz, ny, nx = -(-out.shape[0] // tz), -(-out.shape[1] // ty), -(-out.shape[2] // tx)
    for tile in numba.prange(nz * ny * nx):
        z, y, x = tile // (ny * nx) * tz, tile // nx % ny * ty, tile % nx * tx
        _one_tile(grey, out[z : z + tz, y : y + ty, x : x + tx], z, y, x, shifts, patch, twice_variance, per_h2)


@numba.njit(cache=True, fastmath=True)
def _one_tile(
    grey: Any,
    out: Any,
    z0: int,
    y0: int,
    x0: int,
    shifts: Any,
    patch: int,
    twice_variance: np.float32,
    per_h2: np.float32,
) -> None:  # pragma: no cover
    """The tile of the result that begins at (z0, y0, x0).

    A weight belongs to a pair of voxels, so it is computed once per pair of opposite shifts, also for the voxels next
    to the tile whose partner is in it.
    """
    nz, ny, nx = out.shape
    far = np.max(shifts)
    margin, left = patch // 2 + far, (patch - 1) // 2
    total, weights = np.empty((nz, ny, nx), np.float32), np.ones((nz, ny, nx), np.float32)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                total[z, y, x] = grey[z0 + margin + z, y0 + margin + y, x0 + margin + x]
    grown = (nz + far + patch - 1, ny + far + patch - 1, nx + far + patch - 1)
    a, b = np.empty(grown, np.float32), np.empty(grown, np.float32)
    scale = per_h2 / np.float32(patch**3)
    for s in range(shifts.shape[0]):
        dz, dy, dx = shifts[s]
        # voxels whose own place or whose partner is in the tile: from (-dz, -py, -px) on, pz × … voxels
        py, px = max(dy, 0), max(dx, 0)
        mz, my, mx = nz + dz, ny + abs(dy), nx + abs(dx)
        first = (z0 + margin - left - dz, y0 + margin - left - py, x0 + margin - left - px)
        _box_difference(grey, a, b, first, (dz, dy, dx), (mz, my, mx), patch)
        for z in range(mz):
            for y in range(my):
                _weigh(a[z, y], mx, scale, twice_variance * per_h2)
        for z in range(nz):
            for y in range(ny):
                sums, counts, at = total[z, y], weights[z, y], (z0 + margin + z, y0 + margin + y, x0 + margin)
                ahead, behind = grey[at[0] + dz, at[1] + dy, at[2] + dx :], grey[at[0] - dz, at[1] - dy, at[2] - dx :]
                _add(sums, counts, a[z + dz, y + py, px:], ahead)
                _add(sums, counts, a[z, y + py - dy, px - dx :], behind)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                out[z, y, x] = total[z, y, x] / weights[z, y, x]


@numba.njit(cache=True, fastmath=True, inline="always")
def _box_difference(
    grey: Any, a: Any, b: Any, first: Any, shift: Any, counts: Any, patch: int
) -> None:  # pragma: no cover
    """Squared difference between ``grey`` and itself shifted, summed over the patch, into ``a``; ``b`` is scratch.

    ``first`` is the voxel of ``grey`` from which on differences are needed, ``counts`` the number of sums per axis.
    """
    mz, my, mx = counts
    far = (first[0] + shift[0], first[1] + shift[1], first[2] + shift[2])
    for z in range(mz + patch - 1):
        for y in range(my + patch - 1):
            p, q = grey[first[0] + z, first[1] + y, first[2] :], grey[far[0] + z, far[1] + y, far[2] :]
            row = a[z, y]
            for x in range(mx + patch - 1):
                d = p[x] - q[x]
                row[x] = d * d
    for z in range(mz):
        for y in range(my + patch - 1):
            row = b[z, y]
            for x in range(mx + patch - 1):
                row[x] = a[z, y, x]
            for k in range(1, patch):
                other = a[z + k, y]
                for x in range(mx + patch - 1):
                    row[x] += other[x]
    for z in range(mz):
        for y in range(my):
            row = a[z, y]
            column = b[z, y]
            for k in range(1, patch):
                other = b[z, y + k]
                for x in range(mx + patch - 1):
                    column[x] += other[x]
            for x in range(mx):
                row[x] = column[x]
            for k in range(1, patch):
                for x in range(mx):
                    row[x] += column[x + k]


@numba.njit(cache=True, fastmath=True, inline="always")
def _weigh(row: Any, n: int, scale: np.float32, less: np.float32) -> None:  # pragma: no cover
    """Sums over the patch to weights, in place: exp(-d) as the 16th power of a series, good to 1e-5 up to FARTHEST."""
    farthest, step = np.float32(FARTHEST), np.float32(-1 / 16)
    one, c2, c3, c4, c5 = np.float32(1), np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24), np.float32(1 / 120)
    for x in range(n):
        d = max(row[x] * scale - less, np.float32(0))
        t = min(d, farthest) * step
        w = one + t * (one + t * (c2 + t * (c3 + t * (c4 + t * c5))))
        w *= w
        w *= w
        w *= w
        w *= w
        row[x] = w if d < farthest else np.float32(0)


@numba.njit(cache=True, fastmath=True, inline="always")
def _add(total: Any, weights: Any, w: Any, grey: Any) -> None:  # pragma: no cover
    for x in range(total.shape[0]):
        total[x] += w[x] * grey[x]
        weights[x] += w[x]
