"""Which parts of a volume are worth scanning again: fields of one size, so of one price, with the most expected error.

A region-of-interest tomogram takes the same time wherever it lies, so the best places per second are those with the
largest sum of expected squared error; they are taken one after the other, and never overlap. An interior tomogram
reconstructs a cylinder around the rotation axis: what lies in the corners of the box around it brings nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from finescan.errors import InputError
from finescan.rescan.doubt import NORMAL_90, mean_under
from finescan.values import Grid, Image

MOST_CELLS = 1 << 21  # of coarse voxels taken together, on which places are sought
LEAST_SHARE = 1e-4  # of the whole expected error that a place must hold,
LEAST_MEAN = 0.01  # or, where it is a small part of the volume, of the error in an average place
AXES = "zyx"
BEYOND = 1.06  # of the radius: what lies further from the axis is the corner of a slice
LEAST_SIDE = 16  # voxels across the axis from which on corners are looked at
_TOUCHING = 1e-6  # relative; places that overlap by less only touch


@dataclass(frozen=True)
class VolumePlace:
    """A box worth scanning, or a cylinder that fills it.

    Parameters
    ----------
    start_px, stop_px : corners (z, y, x), coarse voxels; (0, 0, 0) is the outer corner of the first one.
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
    cells = cells_of(coarse, most)
    error = mean_under(half_width, cells, lambda h: (np.nan_to_num(h) / NORMAL_90) ** 2)
    return Image(error, cells, "expected squared error")


def misjudged_cells(
    enhanced: Image, half_width: Image, coarse: Grid, threshold: float, *, most: int = MOST_CELLS
) -> Image:
    """Share of the voxels of an enhanced volume expected on the wrong side of a threshold, in cells of coarse voxels.

    The fine grey level is taken for normal about the enhanced one, so the chance of a voxel is
    ``Phi(-|grey - threshold| / (half width / 1.645))``. Summed, these are the voxels that a fine scan would judge
    differently, which is what the measured volume of pores is uncertain by.

    Parameters
    ----------
    enhanced, half_width : on one grid, grey levels; NaN = no data. Read slab by slab.
    coarse : grid of the coarse volume.
    threshold : between objects and the rest, grey levels of the enhanced volume.
    most : cells.

    Returns
    -------
    float32, 0 to 0.5.
    """
    cells = cells_of(coarse, most)
    both = _Misjudged(enhanced.data, half_width.data, threshold)
    return Image(mean_under(half_width.with_data(both), cells, lambda p: p), cells, "voxels judged wrongly")


@dataclass(frozen=True)
class _Misjudged:
    """Chance of every voxel to be judged wrongly, worked out where it is read."""

    grey: Any
    half_width: Any
    threshold: float

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.half_width.shape)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        far = np.abs(np.asarray(self.grey[key], np.float32) - np.float32(self.threshold))
        sigma = np.asarray(self.half_width[key], np.float32) / np.float32(NORMAL_90)
        known = np.isfinite(far) & (sigma > 0)
        chance = special.ndtr(-far / np.where(known, sigma, 1))
        return np.where(known, chance, 0).astype(np.float32)


def cells_of(coarse: Grid, most: int = MOST_CELLS) -> Grid:
    """Cubes of coarse voxels, as small as can be without being more than so many."""
    side = 1
    while coarse.coarsen(side).size > most:
        side += 1
    return coarse.coarsen(side)


def weighed(error: Image, value: Image) -> Image:
    """Expected error times what a voxel matters, both as means over the cells.

    Parameters
    ----------
    error : of :func:`error_cells`.
    value : weights on the grid of the coarse volume, 0 or more. Read slab by slab.

    Raises
    ------
    InputError : negative or missing weights.
    """
    lowest = [math.inf]

    def weights(slab: NDArray[np.float32]) -> NDArray[np.float32]:
        lowest[0] = min(lowest[0], float(slab.min()))  # NaN stays
        return slab

    mean = mean_under(value, error.grid, weights)
    if not (lowest[0] >= 0 and np.isfinite(mean).all()):
        raise InputError(
            f"The value of a voxel must be finite and at least 0, but {value.name} holds others. Correct the volume."
        )
    return error.with_data((np.asarray(error.data) * mean).astype(np.float32))


def choose_places(
    error: Image,
    coarse: Grid,
    size_nm: Sequence[float],
    *,
    axis: str = "",
    scanned: NDArray[np.bool_] | None = None,
    most: int = 10,
) -> list[VolumePlace]:
    """The places that hold most of the expected error, best first; they do not overlap.

    Parameters
    ----------
    error : of :func:`error_cells`.
    coarse : grid of the coarse volume.
    size_nm : extent of a place (z, y, x); at most that of the volume.
    axis : "z", "y" or "x": a place is the cylinder around that axis that fills the box; "" = the whole box.
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
    size = [min(float(s), e) / p for s, e, p in zip(size_nm, coarse.extent_nm, coarse.pixel_size_nm, strict=True)]
    side = [a / b for a, b in zip(cells.pixel_size_nm, coarse.pixel_size_nm, strict=True)]
    shape = [int(np.clip(round(s / c), 1, n)) for s, c, n in zip(size, side, cells.shape, strict=True)]
    rounded_up = math.prod(n * c / s for n, c, s in zip(shape, side, size, strict=True))
    sums = window_sums(left, shape, axis) / max(1.0, rounded_up)  # promise no more than what lies in a place
    least = total * min(LEAST_SHARE, LEAST_MEAN * math.prod(shape) / left.size)
    middles = [_middles(*a) for a in zip(sums.shape, shape, side, size, coarse.shape, strict=True)]
    found: list[VolumePlace] = []
    while len(found) < most:
        at = np.unravel_index(int(np.argmax(sums)), sums.shape)
        if not sums[at] > least:
            break
        middle = [float(m[k]) for m, k in zip(middles, at, strict=True)]
        start, stop = (tuple(m + f * s for m, s in zip(middle, size, strict=True)) for f in (-0.5, 0.5))
        found.append(VolumePlace(start, stop, float(sums[at]) / total))
        _strike(sums, middles, middle, size, axis)
    if not found:
        raise InputError("No place is left whose fine scan would take away any of the expected error.")
    return found


def window_sums(values: NDArray[np.float64], shape: Sequence[int], axis: str = "") -> NDArray[np.float64]:
    """Sum over every box of a shape that lies inside, by its first cell; or over the cylinder in it around an axis.

    A cell belongs to the cylinder where its centre does; a cross section that is no square makes an ellipse.
    """
    if not axis:
        return _runs(_runs(_runs(values, shape[0], 0), shape[1], 1), shape[2], 2)
    k = AXES.index(axis)
    turned = np.moveaxis(values, k, 0)
    length, high, wide = shape[k], *(n for i, n in enumerate(shape) if i != k)
    columns = _runs(turned, length, 0)
    out = np.zeros((columns.shape[0], columns.shape[1] - high + 1, columns.shape[2] - wide + 1))
    for row, (first, count) in enumerate(_chords(high, wide)):
        chord = _runs(columns[:, row : row + out.shape[1]], count, 2)
        out += chord[:, :, first : first + out.shape[2]]
    return np.moveaxis(out, 0, k)


def _runs(values: NDArray[np.float64], n: int, axis: int) -> NDArray[np.float64]:
    """Sums of n neighbours along an axis, by the first."""
    table = np.insert(np.cumsum(values, axis=axis), 0, 0.0, axis=axis)
    stop = table.shape[axis]
    return np.asarray(np.take(table, range(n, stop), axis) - np.take(table, range(stop - n), axis))


def _chords(high: int, wide: int) -> list[tuple[int, int]]:
    """Per row of an ellipse that fills high x wide cells, its first cell and how many there are."""
    found = []
    for row in range(high):
        half = wide / 2 * math.sqrt(1 - ((row + 0.5) / high * 2 - 1) ** 2)
        first = math.ceil(wide / 2 - half - 0.5)
        found.append((first, wide - 2 * first))
    return [(min(a, (wide - 1) // 2), max(n, 2 - wide % 2)) for a, n in found]


def _middles(count: int, cells: int, side: float, size: float, voxels: int) -> NDArray[np.float64]:
    """Middles of all windows along an axis, coarse voxels from the outer edge, such that places lie inside."""
    return np.clip((np.arange(count) + cells / 2) * side, size / 2, voxels - size / 2)


def _strike(
    sums: NDArray[np.float64],
    middles: Sequence[NDArray[np.float64]],
    middle: Sequence[float],
    size: Sequence[float],
    axis: str,
) -> None:
    """Rule out, in place, what would overlap a chosen place."""
    away = [np.abs(m - c) / s for m, c, s in zip(middles, middle, size, strict=True)]
    near = [np.flatnonzero(a < 1 - _TOUCHING) for a in away]
    box = tuple(slice(n[0], n[-1] + 1) for n in near)
    if not axis:
        sums[box] = -1.0
        return
    away[AXES.index(axis)] = np.zeros(sums.shape[AXES.index(axis)])
    square = sum(np.square(a[s]).reshape([-1 if i == k else 1 for i in range(3)])
                 for k, (a, s) in enumerate(zip(away, box, strict=True)))  # fmt: skip
    part = sums[box]
    part[np.broadcast_to(np.asarray(square) < 1 - _TOUCHING, part.shape)] = -1.0


# ------------------------------------------------------------------ is a recorded volume round?
def is_round(volume: Image, axis: str = "z") -> bool:
    """Whether a recorded volume holds a cylinder: no or one constant grey level in all corners beyond it.

    Parameters
    ----------
    volume : (z, y, x), lazy or not; three slices across the axis are read.
    axis : of rotation, "z", "y" or "x".
    """
    k = AXES.index(axis)
    planes = [_plane(volume.data, k, round(n * volume.grid.shape[k])) for n in (0.25, 0.5, 0.75)]
    if min(planes[0].shape) < LEAST_SIDE:
        return False
    beyond = _beyond(planes[0].shape)
    corners, inside = (np.concatenate([p[m] for p in planes]) for m in (beyond, ~beyond))
    return _empty(corners) and not _empty(inside)


def _plane(data: Any, k: int, at: int) -> NDArray[np.float64]:
    return np.asarray(data[tuple(at if i == k else slice(None) for i in range(3))], np.float64)


def _beyond(shape: Sequence[int]) -> NDArray[np.bool_]:
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in shape)
    return np.asarray(np.hypot(y[:, None], x[None, :]) > BEYOND)


def _empty(values: ArrayLike) -> bool:
    known = np.asarray(values)[np.isfinite(values)]
    return known.size == 0 or bool(known.min() == known.max())
