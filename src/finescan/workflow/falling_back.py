"""Falling back: interpolation takes the place of the enhanced map or volume where that is not to be believed.

Either where flags of doubt are set, or where the result is expected to be more wrong than interpolation would be,
which is learned where the fine scan was learned from and scaled on the stop blocks. ``fallback.tif`` says where: its
weight is 1 where the result is the interpolation, 0 where it is what was computed, and between on a smooth ramp.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.enhancement.guard import doubt_weight, reach
from finescan.errors import InputError
from finescan.patches import PatchSet, VolumePatchSet
from finescan.rescan.doubt import mean_under
from finescan.trust.spread_map import SpreadMap
from finescan.trust.spread_model import Example, fit_spread
from finescan.values import Grid, Image, TrustMap, flag_bits
from finescan.workflow.interval_parts import parts_of

FILE = "fallback.tif"
KINDS = ("none", "flagged", "uncertainty")
# Flags that interpolation takes away. Not "invention": most flagged objects are near calls that are there after all,
# and interpolation would take them, too; nor "omission", where interpolation shows no more.
DOUBTS = ("untrained", "inconsistent")
GROWN_PX = 4  # coarse pixels; the ramp takes three back, so that all of a doubtful pixel is interpolation alone
NEAR_PX = 5  # coarse pixels over which expected errors are averaged before they are compared
AT_ONCE = 1 << 24  # coarse pixels
CLEARLY = 1.5  # times as large an expected squared error: less is within what a regression can tell

Floats = NDArray[np.float32]
Smooth = Callable[[Grid], Floats]  # a part of the grid of the result -> the interpolation there, fine grey levels


@dataclass(frozen=True)
class FellBack:
    """A result with interpolation in it.

    Parameters
    ----------
    image : the result, computed where it is read; in the number format of the map.
    weight : float32 on the coarse grid, 0 = computed, 1 = interpolation; computed where it is read.
    facts : plain JSON values for ``trust.json``.
    """

    image: Image
    weight: Image
    facts: dict[str, Any]


def fall_back(
    kind: str, enhanced: Image, patches: PatchSet | VolumePatchSet, smooth: Smooth, flags: TrustMap
) -> FellBack:
    """The enhanced map or volume with interpolation where it is doubted ("flagged") or expected to be worse.

    Parameters
    ----------
    kind : "flagged" or "uncertainty".
    enhanced : as computed, any number format; read band by band.
    patches : of the run.
    smooth : the interpolation.
    flags : of the result, on the coarse grid.

    Raises
    ------
    InputError : another kind.
    """
    if kind == "flagged":
        image, weight = blend_to_interpolation(enhanced, smooth, flags, DOUBTS)
    elif kind == "uncertainty":
        worse = expected_worse(enhanced, flags.grid, patches, smooth)
        weight = weight_of(worse & ~flags.where("no_data"), flags.grid)
        image = enhanced.with_data(Blended(enhanced, weight, smooth))
    else:
        raise InputError(f"A result falls back where it is flagged or by uncertainty, but {kind!r} came.")
    some, alone = _shares(weight)
    facts = {
        "kind": kind, "share": some, "interpolation_share": alone, "file": FILE,
        "sentence": _sentence(kind, some, enhanced.grid.ndim),
    }  # fmt: skip
    return FellBack(image, weight, facts)


def told(facts: Mapping[str, Any]) -> list[str]:
    """The notes of a result, with what interpolation has taken the place of; ``facts`` are those of its step."""
    return [*facts["notes"], *([facts["fallback"]["sentence"]] if facts.get("fallback") else [])]


def blend_to_interpolation(
    enhanced: Image, smooth: Smooth, flags: TrustMap, names: Sequence[str] = DOUBTS
) -> tuple[Image, Image]:
    """The enhanced map with interpolation in the place of flagged pixels, and the weight on the coarse grid.

    Pixels without data stay as they are. Number format, grid and facts of the map are kept.
    """
    marked = (np.asarray(flags.flags[...]) & flag_bits(*names)) != 0
    weight = weight_of(marked & ~flags.where("no_data"), flags.grid)
    return enhanced.with_data(Blended(enhanced, weight, smooth)), weight


def weight_of(mask: NDArray[np.bool_], grid: Grid) -> Image:
    """Weight of the interpolation for a mask of doubtful coarse pixels, float32; computed where it is read."""
    return Image(_Weight(mask), grid, FILE)


class _Boxes(ABC):
    """An array that is computed box by box where it is read (shape, dtype, slices)."""

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape, self.ndim, self.dtype = tuple(shape), len(shape), np.dtype(dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = () if key is Ellipsis else key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (self.ndim - len(keys)))
        if len(keys) != self.ndim or not all(isinstance(k, slice) for k in keys):
            raise InputError("A blended map is read by slices, but another index came. Use array[a:b, c:d].")
        ends = [k.indices(n) for k, n in zip(keys, self.shape, strict=True)]
        box = tuple(slice(a, max(a, b)) for a, b, _ in ends)
        return self._box(box)[tuple(slice(None, None, step) for _, _, step in ends)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    @abstractmethod
    def _box(self, box: tuple[slice, ...]) -> NDArray[Any]:
        """The pixels of a box of whole slices."""


class _Weight(_Boxes):
    """1 on a mask and around it, falling smoothly to 0."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        super().__init__(mask.shape, np.float32)
        self._mask = mask

    def _box(self, box: tuple[slice, ...]) -> Floats:
        far = reach(GROWN_PX)
        wide = tuple(slice(max(0, s.start - far), s.stop + far) for s in box)
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wide, strict=True))
        near = self._mask[wide]
        found = doubt_weight(near, GROWN_PX) if near.any() else None
        return np.zeros([s.stop - s.start for s in box], np.float32) if found is None else found[inner]


class Blended(_Boxes):
    """The enhanced map or volume with the interpolation in it, computed where it is read.

    Integer formats are rounded and set to their limits; where the weight is 0 and where the map holds no number, the
    pixels are those of the map to the bit.
    """

    def __init__(self, enhanced: Image, weight: Image, smooth: Smooth) -> None:
        super().__init__(enhanced.grid.shape, enhanced.dtype)
        self._enhanced, self._weight, self._smooth = enhanced, weight, smooth

    def _box(self, box: tuple[slice, ...]) -> NDArray[Any]:
        base = np.asarray(self._enhanced.data[box])
        if base.size == 0:
            return base
        grid = self._enhanced.grid.crop([s.start for s in box], [s.stop for s in box])
        weight = on_fine(self._weight, grid)
        used = np.flatnonzero(weight.any(axis=tuple(range(1, self.ndim))))
        if used.size == 0:
            return base
        band = slice(int(used[0]), int(used[-1]) + 1)  # interpolation is computed where it is needed only
        rest = grid.shape[1:]
        part = grid.crop((band.start, *(0 for _ in rest)), (band.stop, *rest))
        out = base.copy()
        out[band] = _mixed(base[band], self._smooth(part), weight[band])
        return out


def on_fine(weight: Image, grid: Grid) -> Floats:
    """A map of coarse pixels on a grid of finer ones of the same frame, linear along each axis, continued outwards."""
    scale, offset = grid.step_to(weight.grid)
    at = [
        np.clip(np.arange(n) * s + o, 0, m - 1)
        for n, m, s, o in zip(grid.shape, weight.grid.shape, scale, offset, strict=True)
    ]
    low = [np.minimum(np.floor(a).astype(np.intp), max(0, m - 2)) for a, m in zip(at, weight.grid.shape, strict=True)]
    out = np.asarray(weight.data[tuple(slice(int(a[0]), int(a[-1]) + 2) for a in low)], np.float32)
    for axis, (place, first) in enumerate(zip(at, low, strict=True)):
        share = (place - first).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(grid.ndim)])
        near = first - first[0]
        beyond = np.minimum(near + 1, out.shape[axis] - 1)
        out = np.take(out, near, axis) * (1 - share) + np.take(out, beyond, axis) * share
    return out


def expected_worse(
    enhanced: Image, coarse: Grid, patches: PatchSet | VolumePatchSet, smooth: Smooth
) -> NDArray[np.bool_]:
    """Coarse pixels around which the map is expected to be more wrong than interpolation would be.

    How wrong each is told from its own grey levels, by a regression on the training area (see
    :mod:`finescan.trust.spread_model`) whose scale comes from the stop blocks.
    """
    plain = enhanced.with_data(_Interpolated(enhanced.grid, smooth))
    ours, theirs = (
        ndimage.uniform_filter(_expected(image, patches, coarse), NEAR_PX, mode="nearest")
        for image in (enhanced, plain)
    )
    return np.asarray(ours > CLEARLY * theirs)


def _expected(image: Image, patches: PatchSet | VolumePatchSet, coarse: Grid) -> Floats:
    """Expected squared error of a map, averaged over every coarse pixel."""
    parts = parts_of(patches, image)
    model = fit_spread([Example(p.enhanced, p.error, p.known("train")) for p in parts], patches.sr_factor)
    above = below = 0.0
    for part in parts:
        known = part.known("stop")
        known = known if known.any() else part.known("train")
        above += float(np.sum(part.error[known].astype(np.float64) ** 2))
        below += float(np.sum(model.spread(part.enhanced)[known].astype(np.float64) ** 2))
    spread = image.with_data(SpreadMap(model, image))
    return (above / max(below, 1e-300)) * mean_under(spread, coarse, lambda s: np.nan_to_num(s).astype(np.float64) ** 2)


class _Interpolated(_Boxes):
    """Interpolation of the whole map, computed where it is read."""

    def __init__(self, grid: Grid, smooth: Smooth) -> None:
        super().__init__(grid.shape, np.float32)
        self._grid, self._smooth = grid, smooth

    def _box(self, box: tuple[slice, ...]) -> Floats:
        return self._smooth(self._grid.crop([s.start for s in box], [s.stop for s in box]))


def _shares(weight: Image) -> tuple[float, float]:
    """Of the pixels with some interpolation, and of those with nothing else."""
    shape, found = weight.grid.shape, np.zeros(2)
    rows = max(1, AT_ONCE // (weight.grid.size // shape[0]))
    for first in range(0, shape[0], rows):
        band = np.asarray(weight.data[first : first + rows])
        found += np.count_nonzero(band > 0), np.count_nonzero(band == 1)
    some, alone = found / weight.grid.size
    return float(some), float(alone)


def _mixed(base: NDArray[Any], smooth: Floats, weight: Floats) -> NDArray[Any]:
    """Two pictures by weight, in the number format of the first; where nothing is known or mixed, the first."""
    fine = base.astype(np.float32)
    mixed = (1 - weight) * fine + weight * smooth
    if base.dtype.kind != "f":
        limits = np.iinfo(base.dtype)
        mixed = np.clip(np.rint(mixed), limits.min, limits.max)
    keep = (weight == 0) | ~np.isfinite(fine) | ~np.isfinite(smooth)
    return np.where(keep, base, np.where(keep, 0, mixed).astype(base.dtype))


def _sentence(kind: str, share: float, axes: int) -> str:
    what, how = ("map", "bicubic interpolation") if axes == 2 else ("volume", "interpolation")
    where = {
        "flagged": f"flagged as {' or '.join(DOUBTS)}",
        "uncertainty": "expected to be more wrong than interpolation",
    }[kind]
    if share == 0:
        return f"No part of the {what} is {where}: nothing was replaced by interpolation."
    return f"{100 * share:.1f} % of the {what} is {where}, or borders such a place; {how} has a share there."
