"""Source: blocks of the coarse map on the grid the network reads, and what is wrong with their pixels.

Everything here is local: what a block holds does not depend on how the map is cut into blocks.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.enhancement.guard import GUARD_HALO, SPREAD, doubt_weight, doubtful
from finescan.patches.grey import saturated
from finescan.resampling import sample, spline_coefficients
from finescan.values import Grid, Image, ModelCard, Tile, flag_bits

BORDER = 8  # working pixels from an edge that are flagged, at most: what is missing hardly counts beyond them
FILL_RADIUS = 8  # coarse pixels from which a missing grey level is filled
SPLINE_REACH = 20  # the cubic prefilter decays by 0.268 per pixel: 4e-12 after 20
SATURATED_SHARE = 1e-4  # of all pixels at the format's limit: more than chance
_BAND_BYTES = 1 << 24

Box = tuple[tuple[int, int], ...]
Levels = tuple[float | None, float | None]


@dataclass(frozen=True)
class Window:
    """A block of the coarse map, ready for the network.

    Parameters
    ----------
    tile : boxes of the block on the work grid.
    block : float32, ``tile.keep`` grown by the source's margin; finite everywhere.
    doubt : float32 weight 0 … 1 of the interpolation for ``keep`` grown by one pixel, or None for "0 everywhere".
    missing : bool (HR pixels of the paste box): no recorded grey level there, or None for "nowhere".
    start, flags : first coarse pixel and flag bits of the coarse pixels whose centre lies in ``keep``.
    """

    tile: Tile
    block: NDArray[np.float32]
    doubt: NDArray[np.float32] | None
    missing: NDArray[np.bool_] | None
    start: tuple[int, ...]
    flags: NDArray[np.uint8]


@dataclass(frozen=True)
class Survey:
    """One pass over the coarse map: its hash, and the grey levels (low, high) where it is cut off, None for none."""

    digest: str
    saturation: Levels


def survey(lr: Image, saturation: Levels | None) -> Survey:
    """Hash of all grey levels; saturation detected unless given (the format's limit, held by > 0.01 % of pixels)."""
    digest = hashlib.blake2b(str((lr.grid.to_dict(), lr.dtype.str)).encode(), digest_size=16)
    limit = np.iinfo(lr.dtype).max if lr.dtype.kind in "ui" else None
    step = max(1, _BAND_BYTES // max(1, math.prod(lr.grid.shape[1:]) * lr.dtype.itemsize))
    at_limit = 0
    for first in range(0, lr.grid.shape[0], step):
        band = np.ascontiguousarray(lr.data[first : first + step])
        digest.update(band.data)
        at_limit += int(np.count_nonzero(band == limit)) if limit is not None else 0
        forget(lr.data)
    if saturation is None:
        piled = limit is not None and at_limit > SATURATED_SHARE * lr.grid.size
        saturation = (None, float(limit) if piled and limit is not None else None)
    return Survey(digest.hexdigest(), saturation)


def forget(data: Any) -> None:
    """Let the kernel drop the pages of a memory-mapped file that were read (they are still on disk)."""
    if isinstance(data, np.memmap) and data.mode in ("r", "r+") and hasattr(mmap, "MADV_DONTNEED"):
        pages = getattr(data, "_mmap", None)
        if pages is not None:
            pages.madvise(mmap.MADV_DONTNEED)


def mirrored(first: int, last: int, n: int) -> NDArray[np.intp]:
    """Indices ``first … last - 1`` folded back into ``0 … n - 1`` at the outermost pixels.

    >>> mirrored(-2, 6, 4).tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    if n == 1:
        return np.zeros(last - first, np.intp)
    k = np.mod(np.arange(first, last), 2 * (n - 1))
    return np.minimum(k, 2 * (n - 1) - k)


class Source:
    """Reads blocks of ``lr`` on the ``work`` grid.

    Parameters
    ----------
    lr : the coarse map; numpy, memory map or zarr.
    work, out : grid the network reads, and grid of the result.
    card : for the grey levels the network was trained on.
    halo : coarse pixels the network needs around a block.
    saturation : lowest and highest grey level the coarse map could record, None for "not reached".
    guard : whether to weigh in interpolation where the network was not trained.
    """

    def __init__(
        self,
        lr: Image,
        work: Grid,
        out: Grid,
        card: ModelCard,
        *,
        halo: int,
        saturation: Levels = (None, None),
        guard: bool = True,
    ) -> None:
        self.lr, self.work, self.card = lr, work, card
        self.saturation, self.guard = saturation, guard
        self.margin = max(halo, GUARD_HALO if guard else 0)
        self.same = lr.grid.same_as(work)
        self._owner = [lr.grid.pixels_under(work, axis) for axis in range(lr.grid.ndim)]
        self._under = [out.pixels_under(lr.grid, axis) for axis in range(lr.grid.ndim)]
        ratio = work.sr_factor(lr.grid)
        self._border = tuple(int(np.ceil(min(halo, BORDER) * r)) for r in ratio)

    def read(self, tile: Tile) -> Window:
        """The window of a tile of the plan over the work grid."""
        m = self.margin
        rows = [mirrored(a - m, b + m, n) for (a, b), n in zip(tile.keep, self.work.shape, strict=True)]
        inside = tuple((int(r.min()), int(r.max()) + 1) for r in rows)
        box = self._recorded_box(inside)
        raw = np.asarray(self.lr.data[tuple(slice(a, b) for a, b in box)])
        forget(self.lr.data)
        bad = ~np.isfinite(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
        full = saturated(raw, self.saturation)
        grey = filled(raw.astype(np.float64), bad, self.card.lr_grey.mean)
        pick = np.ix_(*(r - lo for r, (lo, _) in zip(rows, inside, strict=True)))
        block = self._on_work(grey, box, inside, order=3)[pick].astype(np.float32)
        weight = None
        if self.guard:
            # black pores at the dark rail are part of the sample; it is the bright rail that hides structure
            bright = saturated(raw, (None, self.saturation[1]))
            empty, cut_off = (self._mask_on_work(k, box, inside, pick) for k in (bad, bright))
            weight = doubt_weight(doubtful(block, empty, cut_off, self.card.lr_range))
        start, flags = self._flags(tile, box, bad, full, weight)
        edge = (slice(m - 1, -(m - 1) or None),) * block.ndim
        return Window(
            tile, block, None if weight is None else weight[edge], self._missing(tile, box, bad), start, flags
        )

    def under(self, paste: Box) -> tuple[NDArray[np.intp], ...]:
        """Coarse row and column under each row and column of a box of the result."""
        return tuple(u[a:b] for u, (a, b) in zip(self._under, paste, strict=True))

    # ------------------------------------------------------------------ steps of read
    def _recorded_box(self, inside: Box) -> Box:
        """Coarse pixels needed for a box of the work grid, margins for filling and the spline included."""
        if self.same:
            grown = [(a - FILL_RADIUS, b + FILL_RADIUS) for a, b in inside]
        else:
            reach = FILL_RADIUS + SPLINE_REACH
            scale, offset = self.work.step_to(self.lr.grid)
            grown = [
                (int(np.floor(a * s + o)) - reach, int(np.ceil((b - 1) * s + o)) + reach + 1)
                for (a, b), s, o in zip(inside, scale, offset, strict=True)
            ]
        return tuple((max(0, a), min(n, b)) for (a, b), n in zip(grown, self.lr.grid.shape, strict=True))

    def _on_work(self, grey: NDArray[np.float64], box: Box, inside: Box, order: int) -> NDArray[np.floating]:
        if self.same:
            return grey[tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(inside, box, strict=True))]
        scale, offset = self.work.step_to(self.lr.grid)
        axes = [np.arange(a, b) * s + o - c for (a, b), s, o, (c, _) in zip(inside, scale, offset, box, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        coefficients = spline_coefficients(grey, order)
        return sample(coefficients, index, order=order, prefiltered=True, outside=None)

    def _mask_on_work(self, mask: NDArray[np.bool_], box: Box, inside: Box, pick: Any) -> NDArray[np.bool_] | None:
        if not mask.any():
            return None
        return self._on_work(mask.astype(np.float64), box, inside, order=1)[pick] > 1e-6

    def _missing(self, tile: Tile, box: Box, bad: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        under = [
            np.minimum(u, n - 1) - a
            for u, n, (a, _) in zip(self.under(tile.paste), self.lr.grid.shape, box, strict=True)
        ]
        part = bad[np.ix_(*under)] if bad.any() else None
        return part if part is not None and part.any() else None

    def _flags(
        self, tile: Tile, box: Box, bad: NDArray[np.bool_], full: NDArray[np.bool_], weight: NDArray[np.float32] | None
    ) -> tuple[tuple[int, ...], NDArray[np.uint8]]:
        """Flag bits of the coarse pixels whose centre lies in the kept box."""
        own = [np.searchsorted(o, keep) for o, keep in zip(self._owner, tile.keep, strict=True)]
        local = tuple(slice(int(a) - c, int(b) - c) for (a, b), (c, _) in zip(own, box, strict=True))
        flags = bad[local] * np.uint8(flag_bits("no_data"))
        flags |= full[local] * np.uint8(flag_bits("saturated"))
        if weight is not None:
            touched = ndimage.maximum_filter(weight > 0, 3 if self.same else 2 * SPREAD + 1)
            at = [o[a:b] - keep[0] + self.margin for o, (a, b), keep in zip(self._owner, own, tile.keep, strict=True)]
            flags |= touched[np.ix_(*at)] * np.uint8(flag_bits("untrained"))
        for axis, ((a, b), n, h) in enumerate(zip(own, self.lr.grid.shape, self._border, strict=True)):
            near = (np.arange(a, b) < h) | (np.arange(a, b) >= n - h)
            flags |= np.expand_dims(near, 1 - axis) * np.uint8(flag_bits("border"))
        return tuple(int(a) for a, _ in own), flags.astype(np.uint8)


def filled(grey: NDArray[np.float64], bad: NDArray[np.bool_], default: float) -> NDArray[np.float64]:
    """Missing grey levels replaced by the mean of the recorded ones nearby (5 x 5, then 17 x 17, then ``default``)."""
    if not bad.any():
        return grey
    known = (~bad).astype(np.float64)
    grey = np.where(bad, 0.0, grey)
    result = np.where(bad, default, grey)
    for radius in (FILL_RADIUS, 2):  # the smaller neighbourhood has the last word
        size = 2 * radius + 1
        count = ndimage.uniform_filter(known, size, mode="constant")
        total = ndimage.uniform_filter(grey, size, mode="constant")
        usable = bad & (count > 0.5 / size**2)
        result[usable] = total[usable] / count[usable]
    return result
