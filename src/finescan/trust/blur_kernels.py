"""Inner loops of the Gaussian fit: products of cosine transforms by frequency, and a blur within one slice."""

from __future__ import annotations

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

from finescan.trust.volume_kernels import _mirrored

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@numba.njit(cache=True)
def binned_products(a: Floats, b: Floats, fz: Array, fy: Array, fx: Array, per_bin: float, bins: int) -> Array:
    """Sums of a², ab and b² by frequency: (bins, 3).

    Parameters
    ----------
    a, b : cosine transforms of one shape.
    fz, fy, fx : squared frequency per axis.
    per_bin : width of a bin of frequency.
    """
    slices, rows, columns = a.shape
    sums = np.zeros((bins, 3))
    for k in range(slices):
        for r in range(rows):
            for c in range(columns):
                where = min(int(np.sqrt(fz[k] + fy[r] + fx[c]) / per_bin), bins - 1)
                u, v = np.float64(a[k, r, c]), np.float64(b[k, r, c])
                sums[where, 0] += u * u
                sums[where, 1] += u * v
                sums[where, 2] += v * v
    return sums


@numba.njit(parallel=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def blur_slice(plane: Floats, along_y: Array, along_x: Array, first: int, last: int, out: Array) -> None:
    """Separable blur of one slice, borders mirrored; only rows ``first`` to ``last`` are written to ``out``."""
    rows, columns = plane.shape
    ry, rx = along_y.size // 2, along_x.size // 2
    for row in prange(first, last):
        wide = np.zeros(columns + 2 * rx)
        line = np.zeros(columns)
        for k in range(along_y.size):
            tap, source = along_y[k], plane[_mirrored(row + k - ry, rows)]
            for i in range(columns):
                wide[rx + i] += tap * source[i]
        for i in range(rx):
            wide[i] = wide[rx + _mirrored(i - rx, columns)]
            wide[rx + columns + i] = wide[rx + _mirrored(columns + i, columns)]
        for k in range(along_x.size):
            tap = along_x[k]
            for i in range(columns):
                line[i] += tap * wide[i + k]
        out[row] = line
