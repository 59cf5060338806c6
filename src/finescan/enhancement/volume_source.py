"""VolumeSource: blocks of the coarse volume on the grid of the result, and what is wrong with their voxels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.enhancement.guard import SATURATED_NEIGHBOURS, doubt_weight, doubtful
from finescan.enhancement.source import SATURATED_SHARE, Levels, Survey, forget
from finescan.enhancement.volume_layout import VolumeLayout, grown, guard_growth, guard_reach
from finescan.models import Model
from finescan.models.deconvolution import filled_in_plane
from finescan.patches import volume_input
from finescan.patches.grey import saturated
from finescan.values import Circle, Grid, Image, Region, Tile, flag_bits

BORDER = 8  # voxels of the result from a face that are flagged, at most
_SURVEYED = 33  # slices from which saturation is told
_KEYS_REACH = 3  # coarse voxels beyond a box that its interpolation may touch
_BAND_BYTES = 1 << 25  # hashed at a time

Floats = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class VolumeWindow:
    """A block of the coarse volume on the grid of the result, ready for the network.

    Parameters
    ----------
    tile : boxes of the block; see :func:`finescan.enhancement.volume_layout.blocks`.
    block : float32, ``tile.read`` grown by the layout's margin; finite everywhere. None = nothing is recorded.
    doubt : float32 weight 0 … 1 of the interpolation for ``tile.keep``, or None for "0 everywhere".
    smooth : float32 coarse grey levels for ``tile.keep``, missing ones filled from nearby; None without doubt.
    missing : bool: voxels of ``tile.keep`` without a recorded grey level, or None for "nowhere".
    start, flags : first coarse voxel and flag bits of the coarse voxels under ``tile.keep``.
    position : (h, w) of ``block``, or None.
    """

    tile: Tile
    block: Floats | None
    doubt: Floats | None
    smooth: Floats | None
    missing: Bool | None
    start: tuple[int, ...]
    flags: NDArray[np.uint8]
    position: Floats | None


def survey_volume(lr: Image, saturation: Levels | None, region: Region | None) -> Survey:
    """Saturation unless given, from a few slices spread over the whole volume, and a hash.

    ``region`` (on the coarse grid) is what will be read; its grey levels are hashed. None = no hash is needed.
    """
    if saturation is None:
        saturation = _detected(lr)
    if region is None:
        return Survey("", saturation)
    digest = hashlib.blake2b(str((lr.grid.to_dict(), lr.dtype.str, region.to_dict())).encode(), digest_size=16)
    (a, b), plane = (region.start[0], region.stop[0]), region.slices[1:]
    step = max(1, _BAND_BYTES // (region.shape[1] * region.shape[2] * lr.dtype.itemsize))
    for first in range(a, b, step):
        digest.update(np.ascontiguousarray(lr.data[(slice(first, min(first + step, b)), *plane)]).data)
        forget(lr.data)
    return Survey(digest.hexdigest(), saturation)


def _detected(lr: Image) -> Levels:
    if lr.dtype.kind not in "ui":
        return (None, None)
    limit, depth = np.iinfo(lr.dtype).max, lr.grid.shape[0]
    slices = np.unique(np.linspace(0, depth - 1, min(depth, _SURVEYED)).astype(int))
    held = sum(int(np.count_nonzero(np.asarray(lr.data[int(z)]) == limit)) for z in slices)
    forget(lr.data)
    piled = held > SATURATED_SHARE * len(slices) * lr.grid.shape[1] * lr.grid.shape[2]
    return (None, float(limit) if piled else None)


BORDER = 8  # voxels of the result from a face that are flagged, at most


class VolumeSource:
    """Reads blocks of ``lr`` on the ``out`` grid.

    Parameters
    ----------
    model : whose card says which grey levels it was trained on.
    lr : the coarse volume; numpy, memory map or zarr.
    out : grid of the whole result.
    layout : of the blocks.
    saturation : lowest and highest grey level the coarse volume could record, None for "not reached".
    guard : whether to weigh in interpolation where the network was not trained.
    circle : field of view outside of which nothing counts, or None.
    skip_empty : give no block where nothing is recorded. Not for blended tiles, which also serve their neighbours.
    """

    def __init__(
        self,
        model: Model,
        lr: Image,
        out: Grid,
        layout: VolumeLayout,
        *,
        saturation: Levels,
        guard: bool,
        circle: Circle | None,
        skip_empty: bool,
    ) -> None:
        self.model, self.lr, self.out, self.layout = model, lr, out, layout
        self.saturation, self.guard, self.circle = saturation, guard, circle
        self._skip_empty = skip_empty
        self.fill = float(model.card.training.get("fill", 0.0))
        self._under = [out.pixels_under(lr.grid, axis) for axis in range(3)]
        self._reach = guard_reach(model) if guard else 0
        self._growth = guard_growth(model)
        scale = lr.grid.sr_factor(out)
        # what is mirrored farther away hardly counts: the reach in theory would flag most of a small volume
        halo = (min(h, BORDER) for h in (model.halo_z, model.halo, model.halo))
        self._border = tuple(int(np.ceil(h / s)) for h, s in zip(halo, scale, strict=True))

    def read(self, tile: Tile) -> VolumeWindow:
        """The window of a block."""
        around = [
            (max(0, a - self._reach), min(n, b + self._reach))
            for (a, b), n in zip(tile.keep, self.out.shape, strict=True)
        ]
        owners = self.under(around)
        box = [(int(u[0]), int(u[-1]) + 1) for u in owners]
        raw = np.asarray(self.lr.data[tuple(slice(a, b) for a, b in box)])
        bad = ~np.isfinite(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
        missing = self._missing(tile, box, bad)
        if self._skip_empty and missing is not None and missing.all():
            start, flags = self._flags(tile, box, raw, bad, None)
            return VolumeWindow(tile, None, None, None, missing, start, flags, None)
        low, high = zip(*self.box(tile), strict=True)
        block = volume_input(self.lr, self.out, low, high, fill=self.fill)
        forget(self.lr.data)
        doubt = self._doubt(block, low, tile, around, box, raw, bad) if self.guard else None
        smooth = None if doubt is None else self._smooth(block, low, tile, bad)
        start, flags = self._flags(tile, box, raw, bad, doubt)
        return VolumeWindow(tile, block, doubt, smooth, missing, start, flags, self._position(low, high))

    def box(self, tile: Tile) -> list[tuple[int, int]]:
        """Of the result, what is read for a block."""
        if self.layout.overlap:  # tiles are of one size, mirrored as far as they reach
            return [(a - m, b + m) for (a, b), m in zip(tile.read, self.layout.margin, strict=True)]
        return grown(tile.read, self.layout.margin, self.out.shape, self.model.multiple)

    def under(self, box: Any) -> list[NDArray[np.intp]]:
        """Coarse voxel under each voxel of a box of the result, per axis."""
        return [u[a:b] for u, (a, b) in zip(self._under, box, strict=True)]

    # ------------------------------------------------------------------ steps of read
    def _missing(self, tile: Tile, box: Any, bad: Bool) -> Bool | None:
        found = bad[np.ix_(*(u - a for u, (a, _) in zip(self.under(tile.keep), box, strict=True)))]
        if self.circle is not None:
            (_, _), (y, y_end), (x, x_end) = tile.keep
            plane = self.out.crop((0, y, x), (1, y_end, x_end))
            found = found | ~self.circle.mask(plane)
        return found if found.any() else None

    def _doubt(self, block: Floats, low: Any, tile: Tile, around: Any, box: Any, raw: Any, bad: Bool) -> Floats | None:
        """Weight of the interpolation for the kept box."""
        # one alone is a noise peak; black at the dark rail is part of the sample
        full = saturated(raw, (None, self.saturation[1]))
        if full.any():
            share = ndimage.uniform_filter(full.astype(np.float32), 3, mode="nearest")
            full = share > (SATURATED_NEIGHBOURS - 0.5) / 9
        spoilt: Bool | None = bad | full
        spoilt = None if spoilt is None or not spoilt.any() else spoilt[_local(self.under(around), box)]
        grey = block[tuple(slice(a - c, b - c) for (a, b), c in zip(around, low, strict=True))]
        weight = doubt_weight(doubtful(grey, spoilt, None, self.model.card.lr_range), self._growth)
        if weight is None:
            return None
        kept = weight[tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(tile.keep, around, strict=True))]
        return np.ascontiguousarray(kept) if kept.any() else None

    def _smooth(self, block: Floats, low: Any, tile: Tile, bad: Bool) -> Floats:
        """Interpolated coarse grey levels; where some are missing, the nearest recorded ones take their place."""
        if not bad.any():
            return block[tuple(slice(a - c, b - c) for (a, b), c in zip(tile.keep, low, strict=True))].copy()
        owners = self.under(tile.keep)
        wide = [
            (max(0, int(u[0]) - _KEYS_REACH), min(n, int(u[-1]) + 1 + _KEYS_REACH))
            for u, n in zip(owners, self.lr.grid.shape, strict=True)
        ]
        start, stop = zip(*wide, strict=True)
        raw = np.asarray(self.lr.data[tuple(slice(a, b) for a, b in wide)])
        grey, _ = filled_in_plane(raw, allow_empty=True)
        part = Image(grey, self.lr.grid.crop(start, stop), self.lr.name)
        keep_start, keep_stop = zip(*tile.keep, strict=True)
        return volume_input(part, self.out, keep_start, keep_stop)

    def _position(self, low: Any, high: Any) -> Floats | None:
        if not self.model.wants_position:
            return None
        circle = self.circle or Circle.inscribed(self.lr.grid)
        return circle.distance(self.out.crop((0, *low[1:]), (1, *high[1:])))

    def _flags(
        self, tile: Tile, box: Any, raw: NDArray[Any], bad: Bool, doubt: Floats | None
    ) -> tuple[tuple[int, ...], NDArray[np.uint8]]:
        """Flag bits of the coarse voxels under the kept box."""
        owners = self.under(tile.keep)
        start, stop = [int(u[0]) for u in owners], [int(u[-1]) + 1 for u in owners]
        local = tuple(slice(a - c, b - c) for a, b, (c, _) in zip(start, stop, box, strict=True))
        empty = bad[local]
        if self.circle is not None:
            plane = self.lr.grid.crop((0, *start[1:]), (1, *stop[1:]))
            empty = empty | ~self.circle.mask(plane)
        flags = empty * np.uint8(flag_bits("no_data"))
        flags |= saturated(raw[local], self.saturation) * np.uint8(flag_bits("saturated"))
        if doubt is not None:
            flags |= any_under(doubt > 0, owners) * np.uint8(flag_bits("untrained"))
        for axis, (a, b, n, h) in enumerate(zip(start, stop, self.lr.grid.shape, self._border, strict=True)):
            near = (np.arange(a, b) < h) | (np.arange(a, b) >= n - h)
            shape = [1, 1, 1]
            shape[axis] = -1
            flags |= near.reshape(shape) * np.uint8(flag_bits("border"))
        return tuple(start), flags.astype(np.uint8)


def any_under(mask: Bool, under: list[NDArray[np.intp]]) -> Bool:
    """Which coarse voxels lie under a set voxel of a box of the result.

    >>> any_under(np.array([[[False, True, False]]]), [np.array([4]), np.array([0]), np.array([7, 7, 9])])[0, 0]
    array([ True, False, False])
    """
    for axis, u in enumerate(under):
        first = np.flatnonzero(np.concatenate(([True], u[1:] != u[:-1])))
        mask = np.logical_or.reduceat(mask, first, axis=axis)
    found = np.zeros([int(u[-1] - u[0]) + 1 for u in under], bool)
    found[np.ix_(*(np.unique(u) - u[0] for u in under))] = mask
    return found


def _local(owners: list[NDArray[np.intp]], box: Any) -> Any:
    return np.ix_(*(u - a for u, (a, _) in zip(owners, box, strict=True)))
