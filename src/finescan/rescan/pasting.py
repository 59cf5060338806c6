"""Recorded fine pixels in the place of computed ones: resampled once, with borders that fade, and a mask of where.

The grey levels are those of the fine scan; only the place of the pixels changes (cubic spline through the warp that
the registration found). Nothing here needs a network, and nothing larger than the fine scans is held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.resampling import resample, sample
from finescan.values import Grid, Image, Warp

FEATHER_PX = 8  # output pixels over which a border fades: two coarse pixels at the usual ratio
MEASURED_AT = 0.999  # weight from which a pixel counts as measured


@dataclass(frozen=True)
class Recorded:
    """A fine scan on the grid of the enhanced map.

    Parameters
    ----------
    name : of the scan.
    start : its first row and column on that grid.
    grey : (h, w) float32 grey levels of the fine scan, finite.
    weight : (h, w) float32 share of the recorded pixel in the result: 1 inside, falling to 0 at the border.
    """

    name: str
    start: tuple[int, int]
    grey: NDArray[np.float32]
    weight: NDArray[np.float32]

    @property
    def box(self) -> tuple[slice, slice]:
        """On the grid of the enhanced map."""
        (y, x), (h, w) = self.start, self.grey.shape
        return slice(y, y + h), slice(x, x + w)


def recorded_on(
    scan: Image,
    onto: Grid,
    map_from_scan: Warp,
    *,
    feather_px: float = FEATHER_PX,
    missing: NDArray[np.bool_] | None = None,
) -> Recorded | None:
    """A fine scan, resampled once onto the grid of the enhanced map; None where it does not touch the map.

    Parameters
    ----------
    scan : recorded grey levels; NaN = nothing recorded there.
    onto : grid of the enhanced map.
    map_from_scan : nm in the frame of the scan to nm in the frame of the map (``lr_from_hr`` of its pair).
    feather_px : output pixels over which the border fades; 0 = a sharp border. At the border of the map nothing fades.
    missing : bool on ``onto``, where the enhanced map holds nothing to fade into; None = nowhere.

    Raises
    ------
    InputError : a scan without a single finite grey level.
    """
    box = _touched(scan.grid, onto, map_from_scan)
    if box is None:
        return None
    start, stop = box
    grid = onto.crop(start, stop)
    data = np.asarray(scan.data[...])
    known = np.isfinite(data) if data.dtype.kind == "f" else np.ones(data.shape, bool)
    if not known.any():
        raise InputError(f"{scan.name} holds no grey level at all, so there is nothing to paste. Leave it out.")
    filled = data
    if not known.all():
        nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
        filled = data[tuple(nearest)]
    grey = resample(scan.with_data(filled), onto=grid, through=map_from_scan, inverse=True).array()
    inside = np.isfinite(grey)
    if not known.all():
        inside &= _untouched(scan, ~known, grid, map_from_scan)
    if not inside.any():
        return None
    weight = _faded(inside, feather_px)
    if missing is not None:
        weight = np.where(missing[start[0] : stop[0], start[1] : stop[1]] & inside, np.float32(1), weight)
    return Recorded(scan.name, start, np.where(inside, grey, 0).astype(np.float32), weight.astype(np.float32))


def measured_share(pieces: Sequence[Recorded], shape: Sequence[int], rows: slice = slice(None)) -> NDArray[np.float32]:
    """Share of recorded pixels in some rows of the result, 0 to 1: where scans overlap, the larger one."""
    first, last, _ = rows.indices(shape[0])
    out = np.zeros((max(0, last - first), shape[1]), np.float32)
    for piece, inner, outer in _parts(pieces, first, last):
        np.maximum(out[outer], piece.weight[inner], out=out[outer])
    return out


class Pasted:
    """The enhanced map with the recorded pixels in it, computed where it is read (array-like: shape, dtype, slices).

    Parameters
    ----------
    base : enhanced map, (rows, columns), numpy, memory map or zarr.
    pieces : recorded scans on its grid. Where several overlap, their mean, weighted as they fade.

    Integer formats are rounded; grey levels beyond the format's limits are set to them, and ``clipped`` counts those.
    """

    def __init__(self, base: Any, pieces: Sequence[Recorded]) -> None:
        self._base, self._pieces = base, tuple(pieces)
        self.shape: tuple[int, ...] = tuple(base.shape)
        self.dtype = np.dtype(base.dtype)
        self.ndim = 2

    @property
    def clipped(self) -> int:
        """Pixels of the recorded scans that do not fit the number format of the map."""
        if self.dtype.kind == "f":
            return 0
        low, high = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        grey = [np.rint(p.grey[p.weight > 0]) for p in self._pieces]
        return sum(int(np.count_nonzero((g < low) | (g > high))) for g in grey)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        whole = slice(None), slice(None)
        rows, columns = whole if key is Ellipsis else key if isinstance(key, tuple) else (key, slice(None))
        if not isinstance(rows, slice):
            raise InputError("A pasted map is read by slices, but another index came. Use array[a:b, c:d].")
        first, last, step = rows.indices(self.shape[0])
        return self._rows(first, last)[::step, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype)

    def _rows(self, first: int, last: int) -> NDArray[Any]:
        base = np.asarray(self._base[first:last])
        parts = list(_parts(self._pieces, first, last))
        if not parts:
            return base
        top = np.zeros(base.shape, np.float32)  # largest weight
        total = np.zeros(base.shape, np.float32)
        grey = np.zeros(base.shape, np.float32)
        for piece, inner, outer in parts:
            weight = piece.weight[inner]
            np.maximum(top[outer], weight, out=top[outer])
            total[outer] += weight
            grey[outer] += weight * piece.grey[inner]
        there = top > 0
        out = base.copy()
        old = base[there].astype(np.float64)
        share = np.where(np.isfinite(old), top[there], 1.0)  # where the map holds nothing there is nothing to fade into
        new = (1 - share) * np.nan_to_num(old) + share * (grey[there] / total[there])
        out[there] = _in_format(new, self.dtype)
        return out


def _in_format(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def _parts(pieces: Sequence[Recorded], first: int, last: int) -> Any:
    """(piece, its own slices, slices of the band) of the pieces that touch rows ``first`` to ``last``."""
    for piece in pieces:
        y, x = piece.start
        a, b = max(first, y), min(last, y + piece.grey.shape[0])
        if a < b:
            inner = slice(a - y, b - y), slice(None)
            yield piece, inner, (slice(a - first, b - first), slice(x, x + piece.grey.shape[1]))


def _touched(scan: Grid, onto: Grid, warp: Warp) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and last-but-one pixel of the box that the scan touches."""
    y, x = (np.linspace(-0.5, n - 0.5, 33) for n in scan.shape)
    rim = [(v, u) for v in y for u in x[[0, -1]]] + [(v, u) for v in y[[0, -1]] for u in x]
    index = onto.to_index(warp(scan.to_nm(np.array(rim))))
    low = np.clip(np.floor(index.min(axis=0)) - 1, 0, onto.shape).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)) + 2, 0, onto.shape).astype(int)
    if (high <= low).any():
        return None
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


def _untouched(scan: Image, unknown: NDArray[np.bool_], grid: Grid, warp: Warp) -> NDArray[np.bool_]:
    """Pixels of ``grid`` whose linear neighbourhood in the scan holds no unknown grey level."""
    nm = grid.to_nm(np.moveaxis(np.indices(grid.shape), 0, -1))
    index = scan.grid.to_index(warp.inverse_at(nm))
    return np.asarray(sample(unknown.astype(np.float32), index, order=1, outside=1.0) < 1e-3)


def _faded(inside: NDArray[np.bool_], feather_px: float) -> NDArray[np.float32]:
    """1 well inside, smoothly to 0 at the border of what was recorded; the border of the map, where the box ends, is
    none."""
    if feather_px <= 0 or inside.all():
        return inside.astype(np.float32)
    t = np.clip((ndimage.distance_transform_edt(inside) - 0.5) / feather_px, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
