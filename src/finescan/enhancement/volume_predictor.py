"""The network on blocks of a volume: halo cropped, or tiles and stacks blended; smaller pieces when memory ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finescan.enhancement.predictor import ran_out_of_memory
from finescan.enhancement.stages import StageFailed
from finescan.enhancement.volume_layout import STACKS_AT_ONCE, Three, VolumeLayout, block_box, grown, tiles_of
from finescan.enhancement.volume_source import VolumeWindow
from finescan.errors import FinescanError
from finescan.models import Model
from finescan.values import Tile, halved

SMALLEST = 16  # voxels per side of a tile that memory must suffice for

Floats = NDArray[np.float32]
Answers = Iterator[tuple[VolumeWindow, Floats]]


class ExactPredictor:
    """Fine grey levels of blocks from their halo; what comes out does not depend on how the volume is cut up.

    Parameters
    ----------
    model : whose ``predict`` takes a block with its halo.
    layout : halo and margin of the blocks.
    shape : of the whole result.
    tile : (z, y, x) voxels given to the network at once; the longest side is halved when memory runs out.
    bfloat16 : compute corrections in that format.
    note : is told when memory runs out.
    """

    def __init__(
        self,
        model: Model,
        layout: VolumeLayout,
        shape: Sequence[int],
        *,
        tile: Three,
        bfloat16: bool,
        note: Callable[[str], None],
    ) -> None:
        self.model, self.layout, self.shape, self.tile, self._note = model, layout, tuple(shape), tile, note
        self._options: dict[str, Any] = {"bfloat16": True} if bfloat16 else {}

    def blocks(self, windows: Iterable[VolumeWindow]) -> Answers:
        """Every window with the fine grey levels of its kept box."""
        for window in windows:
            try:
                answer = self._answer(window)
            except Exception as e:
                raise StageFailed("computing", window) from e
            yield window, answer

    def _answer(self, window: VolumeWindow) -> Floats:
        shape = tuple(b - a for a, b in window.tile.keep)
        if window.block is None:
            return np.zeros(shape, np.float32)
        while True:
            try:
                whole = self._in_tiles(window, window.block)
                break
            except Exception as e:
                smaller = self._smaller()
                if not ran_out_of_memory(e) or smaller == self.tile:
                    raise
            self.tile = smaller
            release(self._note, f"Memory ran out; going on with tiles of {_size(smaller)} voxels.")
        return finite(_cut(whole, window.tile.keep, [a for a, _ in window.tile.read]))

    def shrink_to(self, voxels: int) -> None:
        """Halve tiles as often as an earlier run had to: the same bits need the same tiles."""
        while np.prod(self.tile) > voxels and (smaller := self._smaller()) != self.tile:
            self.tile = smaller

    def _smaller(self) -> Three:
        longest = int(np.argmax(self.tile))
        multiple = self.model.multiple[longest]
        least = -(-SMALLEST // multiple) * multiple
        side = max(least, halved((self.tile[longest],), multiple)[0])
        z, y, x = (min(n, side) if k == longest else n for k, n in enumerate(self.tile))
        return z, y, x

    def _in_tiles(self, window: VolumeWindow, block: Floats) -> Floats:
        """Answer for the computed box, tile by tile."""
        box, halo, multiple = window.tile.read, self.layout.halo, self.model.multiple
        first = [a for a, _ in grown(box, self.layout.margin, self.shape, multiple)]
        out = np.empty([b - a for a, b in box], np.float32)
        for tile in tiles_of(box, self.tile):
            wide = grown(tile, halo, self.shape, multiple)
            position = None if window.position is None else _cut(window.position, wide[1:], first[1:])
            answer = self.model.predict(_cut(block, wide, first), position=position, **self._options)
            _cut(out, tile, [a for a, _ in box])[...] = _cut(answer, tile, [a for a, _ in wide])
        return out


class PublishedPredictor:
    """Overlapping tiles and stacks of slices, averaged: as Bukka et al. 2025 (10.1515/mim-2024-0017), section 2.1.1.

    In the plane, tiles share twice the overlap with each neighbour, and their weights fall linearly towards their
    sides, nowhere to zero. Along z, what all stacks say of a slice is averaged. Stacks begin at multiples of the
    stride, the last one at the volume's end; tiles lie on one lattice, so a part of the volume is computed as in the
    whole.

    Parameters
    ----------
    model : whose ``predict_stacks`` takes stacks.
    layout : of the blocks; a tile is a block grown by the overlap.
    shape : of the whole result.
    stride : slices from stack to stack.
    wanted : index -> block to be given out.
    bfloat16, note : as for :class:`ExactPredictor`.
    """

    def __init__(
        self,
        model: Model,
        layout: VolumeLayout,
        shape: Sequence[int],
        *,
        stride: int,
        wanted: dict[int, Tile],
        bfloat16: bool,
        note: Callable[[str], None],
    ) -> None:
        self.model, self.layout, self.shape, self.wanted, self._note = model, layout, tuple(shape), wanted, note
        self._options: dict[str, Any] = {"bfloat16": True} if bfloat16 else {}
        self.at_once = STACKS_AT_ONCE
        last = max(0, shape[0] - model.stack)
        self.starts = sorted({*range(0, last + 1, stride), last})
        self.counts = tuple(-(-n // c) for n, c in zip(shape, layout.core, strict=True))

    @property
    def tile(self) -> Three:
        """Of the layout; only the number of stacks at once is reduced when memory runs out."""
        return self.layout.core

    def needed(self, lattice: Callable[[int], Tile]) -> list[Tile]:
        """The wanted blocks and those beside them, in raster order."""
        every = {k for index in self.wanted for k in self._beside(index)}
        return [self.wanted.get(k) or lattice(k) for k in sorted(every)]

    def blocks(self, windows: Iterable[VolumeWindow]) -> Answers:
        """Wanted windows with their fine grey levels, each once its last neighbour has been computed."""
        sums: dict[int, Floats] = {}
        waiting: dict[int, VolumeWindow] = {}
        for window in windows:
            index = window.tile.index
            try:
                self._add(window, self._stacked(window), sums)
            except Exception as e:
                raise StageFailed("computing", window) from e
            if index in self.wanted:
                waiting[index] = replace(window, block=None)
            for ready in [k for k in waiting if max(self._beside(k)) <= index]:
                done = waiting.pop(ready)
                whole = sums.pop(ready)
                try:
                    answer = finite(_cut(whole, done.tile.keep, [a for a, _ in done.tile.read]))
                except Exception as e:
                    raise StageFailed("computing", done) from e
                yield done, answer

    def _where(self, index: int) -> tuple[int, int, int]:
        rest, x = divmod(index, self.counts[2])
        return rest // self.counts[1], rest % self.counts[1], x

    def _beside(self, index: int) -> list[int]:
        z, y, x = self._where(index)
        rows = range(max(0, y - 1), min(self.counts[1], y + 2))
        columns = range(max(0, x - 1), min(self.counts[2], x + 2))
        return [(z * self.counts[1] + r) * self.counts[2] + c for r in rows for c in columns]

    def _stacked(self, window: VolumeWindow) -> Floats:
        """Mean over the stacks for the block wide by the overlap in the plane."""
        assert window.block is not None
        (z0, z1), *plane = window.tile.read
        (mz, *margin), over = self.layout.margin, self.layout.overlap
        wide = [(a - over, b + over) for a, b in plane]
        first = [a - m for (a, _), m in zip(plane, margin, strict=True)]
        position = None if window.position is None else _cut(window.position, wide, first)
        depth = self.model.stack
        starts = [s for s in self.starts if z0 - depth < s < z1]
        total: Floats = np.zeros((z1 - z0, *(b - a for a, b in wide)), np.float32)
        count = np.zeros(z1 - z0, np.float32)
        todo = starts
        while todo:
            some = todo[: self.at_once]
            try:
                stacks = np.stack([_cut(window.block, [(s, s + depth), *wide], [z0 - mz, *first]) for s in some])
                answers = self.model.predict_stacks(stacks, position=position, **self._options)
            except Exception as e:
                if not ran_out_of_memory(e) or self.at_once == 1:
                    raise
                self.at_once = max(1, self.at_once // 2)
                release(self._note, f"Memory ran out; going on with {self.at_once} stacks at once.")
                continue
            for s, answer in zip(some, answers, strict=True):
                low, high = max(s, z0), min(s + depth, z1)
                total[low - z0 : high - z0] += answer[low - s : high - s]
                count[low - z0 : high - z0] += 1
            todo = todo[len(some) :]
        # slices past the volume's end are in no stack; they are cut off later
        total /= np.maximum(count, np.float32(1))[:, None, None]
        return total

    def _add(self, window: VolumeWindow, answer: Floats, sums: dict[int, Floats]) -> None:
        """The tile's share in its own block and in those beside it."""
        where = self._where(window.tile.index)
        shares = [self._weights(axis, where[axis]) for axis in (1, 2)]
        weighted = answer * np.multiply.outer(shares[0], shares[1])
        extent = [(a - self.layout.overlap, b + self.layout.overlap) for a, b in window.tile.read[1:]]
        for index in self._beside(window.tile.index):
            if index not in self.wanted:
                continue
            box = self.wanted[index].read
            if index not in sums:
                sums[index] = np.zeros([b - a for a, b in box], np.float32)
            both = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box[1:], extent, strict=True)]
            mine = _cut(sums[index], [(0, box[0][1] - box[0][0]), *both], [0, *(a for a, _ in box[1:])])
            mine += _cut(weighted, [(0, len(weighted)), *both], [0, *(a for a, _ in extent)])

    def _weights(self, axis: int, k: int) -> Floats:
        """Weight of the ``k``-th tile along an axis over its extent; over all tiles they add up to one."""
        (low, high), over = self._extent(axis, k), self.layout.overlap
        at = np.arange(low, high)
        beside = [j for j in (k - 1, k, k + 1) if 0 <= j < self.counts[axis]]
        total = sum(triangular(at, self._extent(axis, j), 2 * over) for j in beside)
        return (triangular(at, (low, high), 2 * over) / total).astype(np.float32)

    def _extent(self, axis: int, k: int) -> tuple[int, int]:
        where = [0, 0, 0]
        where[axis] = k
        low, high = block_box(where, self.shape, self.model.multiple, self.layout.core)[axis]
        return low - self.layout.overlap, high + self.layout.overlap


def triangular(at: NDArray[np.intp], extent: tuple[int, int], ramp: int) -> NDArray[np.float64]:
    """Weights at positions along an axis: 1 inside an extent, falling linearly over ``ramp`` voxels to its ends.

    >>> triangular(np.arange(-1, 7), (0, 6), 2).tolist()
    [0.0, 0.25, 0.75, 1.0, 1.0, 0.75, 0.25, 0.0]
    """
    inwards = np.minimum(at + 0.5 - extent[0], extent[1] - at - 0.5)
    return np.clip(inwards / ramp, 0.0, 1.0)


def finite(answer: Floats) -> Floats:
    """The answer, or an error if it holds NaN or infinity."""
    if not np.isfinite(answer.sum(dtype=np.float64)):
        raise FinescanError("the network gave grey levels that are not finite. Train again.")
    return answer


def release(note: Callable[[str], None], message: str) -> None:
    """Say that memory ran out, and give back what can be given back."""
    note(message)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _cut(array: Floats, box: Sequence[tuple[int, int]], origin: Sequence[int]) -> Floats:
    """The part of an array that begins at ``origin``, as a view."""
    return array[tuple(slice(a - o, b - o) for (a, b), o in zip(box, origin, strict=True))]


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
