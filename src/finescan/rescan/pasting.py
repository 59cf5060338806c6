"""Recorded fine pixels (voxels) in the place of computed ones: resampled once, with borders that fade, and where.

The grey levels are those of the fine scan; only the place of the pixels changes (cubic spline through the warp that
the registration found). Nothing here needs a network, and nothing larger than the fine scans is held in memory: of the
map only the box that is asked for is read. Pictures and volumes are the same, but for the number of axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
_RIM = {2: 33, 3: 17}  # points per axis of a scan, by which the box under it is found
_AT_ONCE = 1 << 22  # pixels whose distance from the border is taken at a time: some 30 bytes each

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Recorded:
    """A fine scan on the grid of the enhanced map.

    Parameters
    ----------
    name : of the scan.
    start : its first pixel on that grid, per axis.
    grey : float32 grey levels of the fine scan, finite.
    weight : float32, same shape, share of the recorded pixel in the result: 1 inside, falling to 0 at the border.
    """

    name: str
    start: tuple[int, ...]
    grey: NDArray[np.float32]
    weight: NDArray[np.float32]

    @property
    def box(self) -> Slices:
        """On the grid of the enhanced map."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.grey.shape, strict=True))


def recorded_on(
    scan: Image,
    onto: Grid,
    map_from_scan: Warp,
    *,
    feather_px: float = FEATHER_PX,
    missing: Any = None,
) -> Recorded | None:
    """A fine scan, resampled once onto the grid of the enhanced map; None where it does not touch the map.

    Parameters
    ----------
    scan : recorded grey levels; NaN = nothing recorded there.
    onto : grid of the enhanced map.
    map_from_scan : nm in the frame of the scan to nm in the frame of the map (``lr_from_hr`` of its pair).
    feather_px : output pixels over which the border fades; 0 = a sharp border. At the border of the map nothing fades.
    missing : bool on ``onto`` (array, or what gives one for a box of slices), where the enhanced map holds nothing to
        fade into; None = nowhere.

    Raises
    ------
    InputError : a scan without a single finite grey level.
    """
    box = touched_box(scan.grid, onto, map_from_scan)
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
        lost = missing[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        weight = np.where(lost & inside, np.float32(1), weight)
    return Recorded(scan.name, start, np.where(inside, grey, 0).astype(np.float32), weight.astype(np.float32))


def measured_share(
    pieces: Sequence[Recorded], shape: Sequence[int], box: slice | Slices = slice(None)
) -> NDArray[np.float32]:
    """Share of recorded pixels in a box (or some rows) of the result, 0 to 1: where scans overlap, the larger one."""
    bounds = bounds_of(box, shape)
    out = np.zeros([b - a for a, b in bounds], np.float32)
    for piece, inner, outer in _parts(pieces, bounds):
        np.maximum(out[outer], piece.weight[inner], out=out[outer])
    return out


def bounds_of(key: Any, shape: Sequence[int]) -> list[tuple[int, int]]:
    """First pixel and the one behind the last, per axis, of an index made of slices without steps."""
    given = () if key is Ellipsis else key if isinstance(key, tuple) else (key,)
    if len(given) > len(shape) or not all(isinstance(k, slice) and k.step in (None, 1) for k in given):
        raise InputError("A pasted map is read by slices, but another index came. Use array[a:b, c:d].")
    given = (*given, *[slice(None)] * (len(shape) - len(given)))
    ends = [k.indices(n)[:2] for k, n in zip(given, shape, strict=True)]
    return [(a, max(a, b)) for a, b in ends]


class Pasted:
    """The enhanced map with the recorded pixels in it, computed where it is read (array-like: shape, dtype, slices).

    Parameters
    ----------
    base : enhanced map, numpy, memory map or zarr.
    pieces : recorded scans on its grid. Where several overlap, their mean, weighted as they fade.

    Integer formats are rounded; grey levels beyond the format's limits are set to them, and ``clipped`` counts those.
    """

    def __init__(self, base: Any, pieces: Sequence[Recorded]) -> None:
        self._base, self._pieces = base, tuple(pieces)
        self.shape: tuple[int, ...] = tuple(base.shape)
        self.dtype = np.dtype(base.dtype)
        self.ndim = len(self.shape)

    @property
    def clipped(self) -> int:
        """Pixels of the recorded scans that do not fit the number format of the map."""
        if self.dtype.kind == "f":
            return 0
        low, high = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        found = 0
        for piece in self._pieces:
            grey = np.rint(piece.grey[piece.weight > 0])
            found += int(np.count_nonzero((grey < low) | (grey > high)))
        return found

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self._box(bounds_of(key, self.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype)

    def _box(self, bounds: Sequence[tuple[int, int]]) -> NDArray[Any]:
        base = np.asarray(self._base[tuple(slice(a, b) for a, b in bounds)])
        out, parts = base, list(touched(self._pieces, bounds))
        if parts:
            out = base.copy()
        for where, part in parts:
            out[part] = self._mixed(base[part], where)
        return out

    def _mixed(self, base: NDArray[Any], bounds: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """A box of the map with the recorded pixels in it."""
        top = np.zeros(base.shape, np.float32)  # largest weight
        total = np.zeros(base.shape, np.float32)
        grey = np.zeros(base.shape, np.float32)
        for piece, inner, outer in _parts(self._pieces, bounds):
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


def touched(
    pieces: Sequence[Recorded], bounds: Sequence[tuple[int, int]]
) -> Iterator[tuple[list[tuple[int, int]], Slices]]:
    """Where recorded scans touch a box of the map: first pixel and the one behind the last, and slices of the box."""
    for _, _, outer in _parts(pieces, bounds):
        yield [(f + s.start, f + s.stop) for (f, _), s in zip(bounds, outer, strict=True)], outer


def _in_format(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def _parts(pieces: Sequence[Recorded], bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[Recorded, Slices, Slices]]:
    """(piece, its own slices, slices of the box) of the pieces that touch a box of the map."""
    for piece in pieces:
        size = zip(bounds, piece.start, piece.grey.shape, strict=True)
        both = [(max(first, a), min(last, a + n)) for (first, last), a, n in size]
        if all(a < b for a, b in both):
            inner = tuple(slice(a - s, b - s) for (a, b), s in zip(both, piece.start, strict=True))
            yield piece, inner, tuple(slice(a - f, b - f) for (a, b), (f, _) in zip(both, bounds, strict=True))


def touched_box(scan: Grid, onto: Grid, warp: Warp) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """First pixel of ``onto`` that a scan touches and the one behind the last, with one to spare; None = beside it."""
    axes = [np.linspace(-0.5, n - 0.5, _RIM[scan.ndim]) for n in scan.shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, scan.ndim)
    index = onto.to_index(warp(scan.to_nm(places)))
    low = np.clip(np.floor(index.min(axis=0)) - 1, 0, onto.shape).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)) + 2, 0, onto.shape).astype(int)
    if (high <= low).any():
        return None
    return tuple(low.tolist()), tuple(high.tolist())


def _untouched(scan: Image, unknown: NDArray[np.bool_], grid: Grid, warp: Warp) -> NDArray[np.bool_]:
    """Pixels of ``grid`` whose linear neighbourhood in the scan holds no unknown grey level."""
    out, marked = np.empty(grid.shape, bool), unknown.astype(np.float32)
    for first, last in _bands(grid.shape):
        axes = [np.arange(first, last), *(np.arange(n) for n in grid.shape[1:])]
        nm = grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
        index = scan.grid.to_index(warp.inverse_at(nm))
        out[first:last] = sample(marked, index, order=1, outside=1.0) < 1e-3
    return out


def _faded(inside: NDArray[np.bool_], feather_px: float) -> NDArray[np.float32]:
    """1 well inside, smoothly to 0 at the border of what was recorded; the border of the map, where the box ends, is
    none."""
    if feather_px <= 0 or inside.all():
        return inside.astype(np.float32)
    reach, out = math.ceil(feather_px) + 1, np.empty(inside.shape, np.float32)
    for first, last in _bands(inside.shape):  # what is farther away than it fades need not be known
        above, below = max(0, first - reach), min(inside.shape[0], last + reach)
        away = _from_border(inside[above:below], reach)[first - above : last - above]
        t = np.clip((away - 0.5) / feather_px, 0, 1)
        out[first:last] = t * t * (3 - 2 * t)
    return out


def _from_border(inside: NDArray[np.bool_], reach: float) -> NDArray[np.float64]:
    """Distance from what lies outside, pixels; ``reach`` where nothing does."""
    if inside.all():
        return np.full(inside.shape, float(reach))
    return np.asarray(ndimage.distance_transform_edt(inside))


def _bands(shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First row (slice) and the one behind the last of bands of bounded size."""
    step = max(1, _AT_ONCE // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], step):
        yield first, min(first + step, shape[0])
