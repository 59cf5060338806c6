"""Which parts of a volume are worth scanning again: boxes of one size, so of one price, with the most expected error.

A region-of-interest tomogram takes the same time wherever it lies, so the best places per second are those with the
largest sum of expected squared error; they are taken one after the other, and never overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.rescan.doubt import NORMAL_90, mean_under
from finescan.values import Grid, Image

MOST_CELLS = 1 << 21  # of coarse voxels taken together, on which places are sought
LEAST_SHARE = 1e-4  # of the whole expected error that a place must hold


@dataclass(frozen=True)
class VolumePlace:
    """A box worth scanning.

    Parameters
    ----------
    start_px, stop_px : corners (z, y, x), coarse voxels.
    reduction : share of the expected squared error of the whole volume that lies in it.
    """

    start_px: tuple[float, ...]
    stop_px: tuple[float, ...]
    reduction: float

    @property
    def centre_px(self) -> tuple[float, ...]:
        """Middle (z, y, x), coarse voxels; 0 = centre of the first one."""
        return tuple((a + b) / 2 - 0.5 for a, b in zip(self.start_px, self.stop_px, strict=True))


def error_cells(half_width: Image, coarse: Grid, *, most: int = MOST_CELLS) -> Image:
    """Expected squared error of an enhanced volume in cells of coarse voxels, from the half widths of 90 % intervals.

    Parameters
    ----------
    half_width : on the grid of the enhanced volume, grey levels; NaN = no data. Read slab by slab.
    coarse : grid of the coarse volume.
    most : cells.

    Returns
    -------
    float32, squared grey levels: the mean over the fine voxels of ``(half width / 1.645) ** 2``.
    """
    side = 1
    while coarse.coarsen(side).size > most:
        side += 1
    cells = coarse.coarsen(side)
    error = mean_under(half_width, cells, lambda h: (np.nan_to_num(h) / NORMAL_90) ** 2)
    return Image(error, cells, "expected squared error")


def choose_places(
    error: Image, coarse: Grid, size_nm: Sequence[float], *, scanned: NDArray[np.bool_] | None = None, most: int = 10
) -> list[VolumePlace]:
    """The boxes that hold most of the expected error, best first; they do not overlap.

    Parameters
    ----------
    error : of :func:`error_cells`.
    coarse : grid of the coarse volume.
    size_nm : extent of a box (z, y, x); at most that of the volume.
    scanned : bool on the cells: True where a fine scan exists already; nothing is to be gained there.
    most : places.

    Raises
    ------
    InputError : nothing is left to scan.
    """
    cells = error.grid
    left = np.asarray(error.data, np.float64)
    total = float(left.sum())
    if scanned is not None:
        left = np.where(scanned, 0.0, left)
    shape = [
        int(np.clip(round(s / p), 1, n)) for s, p, n in zip(size_nm, cells.pixel_size_nm, cells.shape, strict=True)
    ]
    sums = _window_sums(left, shape)
    found = []
    for _ in range(most):
        at = np.unravel_index(int(np.argmax(sums)), sums.shape)
        if not sums[at] > LEAST_SHARE * total:
            break
        found.append(_place([int(v) for v in at], shape, float(sums[at]) / total, cells, coarse))
        sums[tuple(slice(max(0, int(a) - n + 1), int(a) + n) for a, n in zip(at, shape, strict=True))] = -1.0
    if not found:
        raise InputError("No place is left whose fine scan would take away any of the expected error.")
    return found


def _window_sums(values: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Sum over every box of a shape that lies inside, by its first cell."""
    table = np.zeros([n + 1 for n in values.shape])
    table[(slice(1, None),) * values.ndim] = values
    for axis in range(values.ndim):
        np.cumsum(table, axis=axis, out=table)
    out = np.zeros([n - s + 1 for n, s in zip(values.shape, shape, strict=True)])
    for corner in itertools.product((0, 1), repeat=values.ndim):
        ends = tuple(slice(s * c, s * c + n) for s, c, n in zip(shape, corner, out.shape, strict=True))
        out += (-1) ** (values.ndim - sum(corner)) * table[ends]
    return out


def _place(at: Sequence[int], shape: Sequence[int], reduction: float, cells: Grid, coarse: Grid) -> VolumePlace:
    side = [round(a / b) for a, b in zip(cells.pixel_size_nm, coarse.pixel_size_nm, strict=True)]
    start = tuple(float(a * s) for a, s in zip(at, side, strict=True))
    stop = tuple(float(min((a + n) * s, m)) for a, n, s, m in zip(at, shape, side, coarse.shape, strict=True))
    return VolumePlace(start, stop, reduction)
