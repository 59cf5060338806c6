"""Inner loops of SSIM in volumes, slice by slice. Every number depends on its window alone, in a fixed order.

A slice is described by grey levels ``x`` (result) and ``y`` (reference), float32 and 0 where they do not count, and a
weight 0 … 1. Sums are float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Array = NDArray[np.float64]

MOMENTS = 6  # weight, x, y, x², y², xy
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_WORTH_THREADS = 1 << 17  # pixels per slice; below it, waiting for a second thread on a busy machine costs more


@contextmanager
def threads_for(pixels: int) -> Iterator[None]:
    """Small slices are worked on by one thread, large ones by all; the number of threads is put back afterwards."""
    before = numba.get_num_threads()
    numba.set_num_threads(before if pixels >= _WORTH_THREADS else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


@numba.njit(parallel=True, cache=True, fastmath=_FAST)
def moments_along_z(x: Floats, y: Floats, w: Floats, order: NDArray[np.int64], taps: Array, out: Array) -> None:
    """Weighted moments over the slices of a ring: (ring, rows, columns) to (rows, MOMENTS, columns)."""
    columns = x.shape[2]
    for row in prange(x.shape[1]):
        sums = out[row]
        sums[:] = 0.0
        for k in range(taps.size):
            tap, a, b, c = taps[k], x[order[k], row], y[order[k], row], w[order[k], row]
            for i in range(columns):
                weight = tap * c[i]
                u, v = np.float64(a[i]), np.float64(b[i])
                wu, wv = weight * u, weight * v
                sums[0, i] += weight
                sums[1, i] += wu
                sums[2, i] += wv
                sums[3, i] += wu * u
                sums[4, i] += wv * v
                sums[5, i] += wu * v


@numba.njit(cache=True)
def _mirrored(i: int, n: int) -> int:
    """Index with the border repeated: d c b a | a b c d | d c b a."""
    while i < 0 or i >= n:
        i = -i - 1 if i < 0 else 2 * n - 1 - i
    return i


@numba.njit(parallel=True, cache=True, fastmath=_FAST)
def similarity(
    moments: Array, weight: Floats, taps: Array, c1: float, c2: float, ssim: Floats, structure: Floats, sums: Array
) -> None:
    """Finish the window within the slice and form SSIM and its contrast-structure term.

    Parameters
    ----------
    moments : (rows, MOMENTS, columns) from :func:`moments_along_z`.
    weight : of the slice itself; where 0, the maps are NaN.
    taps : of the window.
    ssim, structure : written, (rows, columns).
    sums : written, (rows, 3): of weight, weight * SSIM and weight * structure away from the border, row by row.
    """
    rows, channels, columns = moments.shape
    radius = taps.size // 2
    for row in prange(rows):
        wide = np.zeros((channels, columns + 2 * radius))
        full = np.zeros((channels, columns))
        for k in range(taps.size):
            tap, source = taps[k], moments[_mirrored(row + k - radius, rows)]
            for c in range(channels):
                for i in range(columns):
                    wide[c, radius + i] += tap * source[c, i]
        for c in range(channels):
            for i in range(radius):
                wide[c, i] = wide[c, radius + _mirrored(i - radius, columns)]
                wide[c, radius + columns + i] = wide[c, radius + _mirrored(columns + i, columns)]
            for k in range(taps.size):
                tap = taps[k]
                for i in range(columns):
                    full[c, i] += tap * wide[c, i + k]
        for i in range(columns):
            scale = 1.0 / max(full[0, i], 1e-12)
            ux, uy = full[1, i] * scale, full[2, i] * scale
            vx, vy, vxy = full[3, i] * scale - ux * ux, full[4, i] * scale - uy * uy, full[5, i] * scale - ux * uy
            agree = (2 * vxy + c2) / (vx + vy + c2)
            wide[0, i] = agree
            wide[1, i] = agree * (2 * ux * uy + c1) / (ux * ux + uy * uy + c1)
        total, first, second = 0.0, 0.0, 0.0
        inner_row = radius <= row < rows - radius
        for i in range(columns):
            w = np.float64(weight[row, i])
            ssim[row, i] = wide[1, i] if w > 0 else np.nan
            structure[row, i] = wide[0, i] if w > 0 else np.nan
            if inner_row and radius <= i < columns - radius:
                total += w
                first += w * wide[1, i]
                second += w * wide[0, i]
        sums[row, 0], sums[row, 1], sums[row, 2] = total, first, second


@numba.njit(cache=True)
def halve(x: Floats, y: Floats, w: Floats, out_x: Floats, out_y: Floats, out_w: Floats) -> None:
    """Weighted means of 2 x 2 x 2 voxels: (1 or 2, rows, columns) to one slice of half the size, rounded up.

    The weight of a coarse voxel is the share of its eight that count; voxels beyond the border do not.
    """
    slices, rows, columns = x.shape
    for row in range(out_x.shape[0]):
        for i in range(out_x.shape[1]):
            total, sx, sy = 0.0, 0.0, 0.0
            for k in range(slices):
                for r in range(2 * row, min(2 * row + 2, rows)):
                    for c in range(2 * i, min(2 * i + 2, columns)):
                        weight = np.float64(w[k, r, c])
                        total += weight
                        sx += weight * x[k, r, c]
                        sy += weight * y[k, r, c]
            scale = 1.0 / total if total > 0 else 0.0
            out_x[row, i], out_y[row, i], out_w[row, i] = sx * scale, sy * scale, total / 8


@numba.njit(cache=True)
def fuse(own: Floats, near: Floats, far: Floats, out: Floats) -> None:
    """A slice times the next coarser fused slices, interpolated linearly to its voxels; NaN neighbours left out.

    ``near`` is the coarse slice that holds this one (weight 3/4), ``far`` the next on the other side (1/4).
    """
    rows, columns = own.shape
    coarse_rows, coarse_columns = near.shape
    for row in range(rows):
        r0 = row // 2
        r1 = min(max(r0 + (1 if row % 2 else -1), 0), coarse_rows - 1)
        for i in range(columns):
            c0 = i // 2
            c1 = min(max(c0 + (1 if i % 2 else -1), 0), coarse_columns - 1)
            total, weight = 0.0, 0.0
            for r, wr in ((r0, 0.75), (r1, 0.25)):
                for c, wc in ((c0, 0.75), (c1, 0.25)):
                    a, b = near[r, c], far[r, c]
                    if not np.isnan(a):
                        total += 0.75 * wr * wc * a
                        weight += 0.75 * wr * wc
                    if not np.isnan(b):
                        total += 0.25 * wr * wc * b
                        weight += 0.25 * wr * wc
            out[row, i] = own[row, i] * total / weight if weight > 0 else np.nan


@numba.njit(cache=True)
def pair_sums(x: Floats, y: Floats, w: Floats, centre: float, out: Array) -> None:
    """Row by row of a slice: n, x, y, x², y², xy (all of levels less ``centre``) and the squared difference."""
    for row in range(x.shape[0]):
        n, sx, sy, sxx, syy, sxy, sd = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(x.shape[1]):
            if w[row, i] > 0:
                a, b = np.float64(x[row, i]) - centre, np.float64(y[row, i]) - centre
                n += 1
                sx += a
                sy += b
                sxx += a * a
                syy += b * b
                sxy += a * b
                sd += (a - b) * (a - b)
        out[row, 0], out[row, 1], out[row, 2], out[row, 3] = n, sx, sy, sxx
        out[row, 4], out[row, 5], out[row, 6] = syy, sxy, sd
