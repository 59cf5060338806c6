"""Falling back: interpolation takes the place of the enhanced map where that is not to be believed.

Either where flags of doubt are set, or where the map is expected to be more wrong than bicubic interpolation would be,
which is learned where the fine scan was learned from and scaled on the stop blocks. ``fallback.tif`` says where: its
weight is 1 where the result is the interpolation, 0 where it is what was computed, and between on a smooth ramp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.enhancement.guard import doubt_weight
from finescan.errors import InputError
from finescan.patches import PatchSet
from finescan.resampling import sample
from finescan.trust.spread_map import SpreadMap
from finescan.trust.spread_model import Example, fit_spread
from finescan.values import Grid, Image, TrustMap, flag_bits
from finescan.workflow import judging

FILE = "fallback.tif"
KINDS = ("none", "flagged", "uncertainty")
# Flags that interpolation takes away. Not "invention": most flagged objects are near calls that are there after all,
# and interpolation would take them, too; nor "omission", where interpolation shows no more.
DOUBTS = ("untrained", "inconsistent")
GROWN_PX = 4  # coarse pixels; the ramp takes three back, so that all of a doubtful pixel is interpolation alone
NEAR_PX = 5  # coarse pixels over which expected errors are averaged before they are compared
CLEARLY = 1.5  # times as large an expected squared error: less is within what a regression can tell
BAND_PX = 1 << 22

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FellBack:
    """A result with interpolation in it.

    Parameters
    ----------
    image : the result, computed where it is read; in the number format of the map.
    weight : float32 on the coarse grid, 0 = computed, 1 = interpolation.
    facts : plain JSON values for ``trust.json``.
    """

    image: Image
    weight: Image
    facts: dict[str, Any]


def fall_back(
    kind: str, enhanced: Image, lr: Image, patches: PatchSet, bicubic: judging.Predicts, flags: TrustMap
) -> FellBack:
    """The enhanced map with interpolation where it is doubted (``kind`` "flagged") or expected to be worse.

    Parameters
    ----------
    kind : "flagged" or "uncertainty".
    enhanced : as computed, any number format; read band by band.
    lr : the coarse map.
    patches : of the run.
    bicubic : the contestant, in the grey levels of the fine scans.
    flags : of the result.

    Raises
    ------
    InputError : another kind.
    """
    if kind == "flagged":
        image, weight = blend_to_interpolation(enhanced, lr, patches, bicubic, flags, DOUBTS)
    elif kind == "uncertainty":
        worse = expected_worse(enhanced, lr, patches, bicubic)
        weight = weight_of(worse & ~flags.where("no_data"), lr.grid)
        image = enhanced.with_data(Blended(enhanced, weight, lr, patches, bicubic))
    else:
        raise InputError(f"A result falls back where it is flagged or by uncertainty, but {kind!r} came.")
    share = float(np.mean(np.asarray(weight.data) > 0))
    facts = {
        "kind": kind, "share": share, "interpolation_share": float(np.mean(np.asarray(weight.data) == 1)),
        "file": FILE, "sentence": _sentence(kind, share),
    }  # fmt: skip
    return FellBack(image, weight, facts)


def blend_to_interpolation(
    enhanced: Image,
    lr: Image,
    patches: PatchSet,
    bicubic: judging.Predicts,
    flags: TrustMap,
    names: Sequence[str] = DOUBTS,
) -> tuple[Image, Image]:
    """The enhanced map with interpolation in the place of flagged pixels, and the weight on the coarse grid.

    Pixels without data stay as they are. Number format, grid and facts of the map are kept.
    """
    marked = (np.asarray(flags.flags[...]) & flag_bits(*names)) != 0
    weight = weight_of(marked & ~flags.where("no_data"), flags.grid)
    return enhanced.with_data(Blended(enhanced, weight, lr, patches, bicubic)), weight


def weight_of(mask: NDArray[np.bool_], grid: Grid) -> Image:
    """Weight of the interpolation for a mask of doubtful coarse pixels, float32."""
    found = doubt_weight(mask, GROWN_PX) if mask.any() else None
    return Image(np.zeros(grid.shape, np.float32) if found is None else found, grid, FILE)


class Blended:
    """The enhanced map with the interpolation in it, computed where it is read (array-like: shape, dtype, slices).

    Integer formats are rounded and set to their limits; where the weight is 0 and where the map holds no number, the
    pixels are those of the map to the bit.
    """

    def __init__(self, enhanced: Image, weight: Image, lr: Image, patches: PatchSet, bicubic: judging.Predicts) -> None:
        self._enhanced, self._weight = enhanced, weight
        self._lr, self._patches, self._bicubic = lr, patches, bicubic
        self.shape, self.dtype, self.ndim = tuple(enhanced.grid.shape), enhanced.dtype, 2

    def __getitem__(self, key: Any) -> NDArray[Any]:
        whole = slice(None), slice(None)
        rows, columns = whole if key is Ellipsis else key if isinstance(key, tuple) else (key, slice(None))
        if not isinstance(rows, slice) or not isinstance(columns, slice):
            raise InputError("A blended map is read by slices, but another index came. Use array[a:b, c:d].")
        first, last, step = rows.indices(self.shape[0])
        start, stop, thin = columns.indices(self.shape[1])
        return self._box(first, max(first, last), start, max(start, stop))[::step, ::thin]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def _box(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        base = np.asarray(self._enhanced.data[top:bottom, left:right])
        if base.size == 0:
            return base
        grid = self._enhanced.grid.crop((top, left), (bottom, right))
        weight = on_fine(self._weight, grid)
        used = np.flatnonzero(weight.any(axis=1))
        if used.size == 0:
            return base
        band = slice(int(used[0]), int(used[-1]) + 1)  # interpolation is computed where it is needed only
        part = grid.crop((band.start, 0), (band.stop, grid.shape[1]))
        smooth = judging.interpolated(self._patches, self._lr, self._bicubic, part)
        out = base.copy()
        out[band] = _mixed(base[band], smooth, weight[band])
        return out


def on_fine(weight: Image, grid: Grid) -> Floats:
    """A map of coarse pixels on a grid of finer ones, bilinear, continued outwards."""
    index = weight.grid.to_index(grid.to_nm(np.moveaxis(np.indices(grid.shape), 0, -1)))
    inside = np.clip(index, 0, np.array(weight.grid.shape) - 1)
    return np.asarray(sample(np.asarray(weight.data, np.float32), inside, order=1, outside=None), np.float32)


def expected_worse(enhanced: Image, lr: Image, patches: PatchSet, bicubic: judging.Predicts) -> NDArray[np.bool_]:
    """Coarse pixels around which the map is expected to be more wrong than interpolation would be.

    How wrong each is told from its own grey levels, by a regression on the training area (see
    :mod:`finescan.trust.spread_model`) whose scale comes from the stop blocks.
    """
    smooth = enhanced.with_data(_Interpolated(lr, patches, bicubic, enhanced.grid))
    pictures = [_expected(image, patches, lr.grid) for image in (enhanced, smooth)]
    ours, theirs = (ndimage.uniform_filter(p, NEAR_PX, mode="nearest") for p in pictures)
    return np.asarray(ours > CLEARLY * theirs)


def _expected(image: Image, patches: PatchSet, coarse: Grid) -> Floats:
    """Expected squared error of a map, averaged over every coarse pixel."""
    examples, stop = [], []
    for piece in patches.pieces:
        grey = judging.on_grid(image, piece.out_grid)
        error = np.asarray(grey - piece.hr, np.float32)
        roles = (piece.role_fine(r) & np.isfinite(error) for r in ("train", "stop"))
        train, stopped = roles
        examples.append(Example(grey, error, train))
        stop.append((grey, error, stopped if stopped.any() else train))
    model = fit_spread(examples, patches.sr_factor)
    above = below = 0.0
    for grey, error, known in stop:
        spread = model.spread(grey)[known].astype(np.float64)
        above, below = above + float(np.sum(error[known].astype(np.float64) ** 2)), below + float(np.sum(spread**2))
    return (above / max(below, 1e-300)) * _squares(SpreadMap(model, image), image.grid, coarse)


def _squares(spread: Any, fine: Grid, coarse: Grid) -> Floats:
    """Mean of the squared spread over every coarse pixel; 0 where nothing is known."""
    rows, columns = (fine.pixels_under(coarse, axis) for axis in range(2))
    total, count = np.zeros(coarse.shape), np.zeros(coarse.shape)
    starts = np.flatnonzero(np.diff(columns, prepend=-1))
    for band in _bands(fine.shape):
        values = np.asarray(spread[band, :], np.float64) ** 2
        known = np.isfinite(values)
        for array, into in ((np.where(known, values, 0.0), total), (known.astype(np.float64), count)):
            np.add.at(into, (rows[band][:, None], columns[starts][None]), np.add.reduceat(array, starts, axis=1))
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _bands(shape: Sequence[int]) -> Iterator[slice]:
    rows = max(1, BAND_PX // max(1, shape[1]))
    for first in range(0, shape[0], rows):
        yield slice(first, min(first + rows, shape[0]))


class _Interpolated:
    """Bicubic interpolation of the whole map, computed where it is read."""

    dtype = np.dtype(np.float32)

    def __init__(self, lr: Image, patches: PatchSet, bicubic: judging.Predicts, grid: Grid) -> None:
        self.shape, self.ndim = tuple(grid.shape), 2
        self._read: Callable[[Grid], Floats] = lambda part: judging.interpolated(patches, lr, bicubic, part)
        self._grid = grid

    def __getitem__(self, key: tuple[slice, slice]) -> Floats:
        ends = [s.indices(n)[:2] for s, n in zip(key, self.shape, strict=True)]
        return self._read(self._grid.crop([a for a, _ in ends], [b for _, b in ends]))


def _mixed(base: NDArray[Any], smooth: Floats, weight: Floats) -> NDArray[Any]:
    """Two pictures by weight, in the number format of the first; where nothing is known or mixed, the first."""
    fine = base.astype(np.float32)
    mixed = (1 - weight) * fine + weight * smooth
    if base.dtype.kind != "f":
        limits = np.iinfo(base.dtype)
        mixed = np.clip(np.rint(mixed), limits.min, limits.max)
    keep = (weight == 0) | ~np.isfinite(fine) | ~np.isfinite(smooth)
    return np.where(keep, base, np.where(keep, 0, mixed).astype(base.dtype))


def _sentence(kind: str, share: float) -> str:
    where = {
        "flagged": f"flagged as {' or '.join(DOUBTS)}",
        "uncertainty": "expected to be more wrong than interpolation",
    }[kind]
    if share == 0:
        return f"No part of the map is {where}: nothing was replaced by interpolation."
    return (
        f"{100 * share:.1f} % of the map is {where}, or borders such a place; bicubic interpolation has a share there."
    )
