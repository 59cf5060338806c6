"""Predictor: the network on one block after the other; halo cropped or blended, smaller tiles when memory ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finescan.enhancement.source import Window
from finescan.enhancement.stages import StageFailed
from finescan.errors import FinescanError
from finescan.models import Model
from finescan.models.windows import AT_ONCE, Windows
from finescan.values import Tile, TilePlan, halved

SMALLEST_TILE = 8
LEAST_SPREAD = 1e-6  # of the standard deviation of the fine grey levels: members that agree to the bit are not certain
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")

Floats = NDArray[np.float32]


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is numpy's, torch's or CUDA's way to say that memory is used up."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(t in str(error).lower() for t in _NO_MEMORY)


class Predictor:
    """Fine grey levels of the kept pixels of windows.

    Parameters
    ----------
    model : whose ``predict`` takes a block with its halo.
    plan : of the blocks, over the work grid; its halo is that of the network (or of its windows) plus ``overlap``.
    overlap : coarse pixels shared with each neighbour; 0 = exact halo-crop.
    tile : largest tile the network is given at once; halved when memory runs out.
    note : is told about it.
    windows : run the network on these windows of a block instead of on tiles.
    spread : ask the model for its spread, too: what is given out is then (2, rows, columns), mean and spread.
    """

    def __init__(
        self, model: Model, plan: TilePlan, *, overlap: int, tile: int, note: Callable[[str], None],
        windows: Windows | None = None, spread: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.plan, self.overlap, self.tile, self._note = model, plan, overlap, tile, note
        self.windows = windows
        self._kinds: tuple[int, ...] = (2,) if spread else ()
        self.halo = plan.halo - overlap

    def blocks(self, windows: Iterable[Window], wanted: Callable[[int], bool]) -> Iterator[tuple[Window, Floats]]:
        """Every wanted window with its fine grey levels (``keep`` times the factor)."""
        if not self.overlap:
            return ((w, self._inside(w, 0)) for w in windows)
        return self._blended(windows, wanted)

    def _inside(self, window: Window, overlap: int) -> Floats:
        """Network answer for ``keep`` grown by ``overlap``, from the part of the block it needs."""
        margin = (window.block.shape[0] - (window.tile.keep[0][1] - window.tile.keep[0][0])) // 2
        cut = margin - overlap - self.halo
        block = window.block[(slice(cut, -cut or None),) * window.block.ndim]
        try:
            answer = self._without_halo(block)
        except Exception as e:
            raise StageFailed("computing", window) from e
        if not np.isfinite(answer.sum(dtype=np.float64)):
            reason = FinescanError("the network gave grey levels that are not finite. Train again.")
            raise StageFailed("computing", window) from reason
        return answer

    def _without_halo(self, block: Floats) -> Floats:
        """Answer for a block whose outer ``halo`` pixels are context; in several tiles once memory has run out."""
        while True:
            try:
                return self._in_tiles(block)
            except Exception as e:
                if not ran_out_of_memory(e) or self.tile <= SMALLEST_TILE:
                    raise
            self.tile = max(SMALLEST_TILE, *halved((self.tile, self.tile)))
            self._note(f"Memory ran out; going on with tiles of {self.tile} coarse pixels.")
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _in_tiles(self, block: Floats) -> Floats:
        halo, f = self.halo, self.model.factor
        if self.windows is not None:
            some = max(1, min(AT_ONCE, (self.tile // self.windows.size) ** 2))
            answer = self._predict(block, windows=self.windows, context=halo, at_once=some)
            return _cropped(answer, halo * f)
        kept = tuple(n - 2 * halo for n in block.shape)
        plan = TilePlan(kept, (min(self.tile, kept[0]), min(self.tile, kept[1])), halo, f)
        if len(plan) == 1:
            return _cropped(self._predict(block), halo * f)
        out = np.empty((*self._kinds, *(n * f for n in kept)), np.float32)
        for tile in plan:
            part = block[tuple(slice(a + halo, b + halo) for a, b in tile.read)]
            (top, bottom), (left, right) = tile.paste
            out[..., top:bottom, left:right] = _cropped(self._predict(part), halo * f)
        return out

    def _predict(self, block: Floats, **how: Any) -> Floats:
        if not self._kinds:
            return self.model.predict(block, **how)
        mean, spread = self.model.predict_spread(block, **how)
        return np.stack([mean, np.maximum(spread, LEAST_SPREAD * self.model.card.hr_grey.std)])

    # ------------------------------------------------------------------ smooth blending
    def _blended(self, windows: Iterable[Window], wanted: Callable[[int], bool]) -> Iterator[tuple[Window, Floats]]:
        """Windows come in raster order; a block is given out once its last neighbour is computed.

        Held back are about two rows of tiles, so memory grows with the width of the map but not with its height.
        """
        kept: dict[int, tuple[Window, Floats]] = {}
        waiting: list[int] = []
        for window in windows:
            index = window.tile.index
            kept[index] = (window, self._inside(window, self.overlap))
            waiting += [index] if wanted(index) else []
            while waiting and max(neighbours(self.plan, waiting[0])) <= index:
                yield self._blend(waiting.pop(0), kept)
            oldest = min([index - self.plan.counts[1], *(neighbours(self.plan, i)[0] for i in waiting)])
            for old in [k for k in kept if k < oldest]:
                del kept[old]
        for index in waiting:
            yield self._blend(index, kept)

    def _blend(self, index: int, kept: dict[int, tuple[Window, Floats]]) -> tuple[Window, Floats]:
        window, _ = kept[index]
        shape = tuple((b - a) * self.model.factor for a, b in window.tile.keep)
        total, weight = np.zeros((*self._kinds, *shape)), np.zeros(shape)
        for other in neighbours(self.plan, index):
            tile = self.plan.tile(other)
            rows, its_rows, down = self._share(window.tile.keep[0], tile.keep[0])
            columns, its_columns, across = self._share(window.tile.keep[1], tile.keep[1])
            w = np.multiply.outer(down, across)
            total[..., rows, columns] += w * kept[other][1][..., its_rows, its_columns]
            weight[rows, columns] += w
        return window, (total / weight).astype(np.float32)

    def _share(self, mine: tuple[int, int], its: tuple[int, int]) -> tuple[slice, slice, NDArray[np.float64]]:
        """Along one axis: the part of my kept pixels its window covers, that part of its window, and weights."""
        f = self.model.factor
        first, last = (its[0] - self.overlap) * f, (its[1] + self.overlap) * f
        a, b = max(mine[0] * f, first), min(mine[1] * f, last)
        weights = blending_weights(last - first, 2 * self.overlap * f)
        return slice(a - mine[0] * f, b - mine[0] * f), slice(a - first, b - first), weights[a - first : b - first]


def blending_weights(n: int, ramp: int) -> NDArray[np.float64]:
    """``n`` weights, 1 in the middle, falling as sin² over ``ramp`` pixels to each end, nowhere zero.

    >>> blending_weights(6, 2).round(3).tolist()
    [0.146, 0.854, 1.0, 1.0, 0.854, 0.146]
    """
    inwards = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5)
    return np.sin(np.pi / 2 * np.minimum(inwards / max(ramp, 1), 1.0)) ** 2


def neighbours(plan: TilePlan, index: int) -> list[int]:
    """Indices of a tile and of the tiles around it, ascending."""
    row, column = divmod(index, plan.counts[1])
    rows = range(max(0, row - 1), min(plan.counts[0], row + 2))
    columns = range(max(0, column - 1), min(plan.counts[1], column + 2))
    return [r * plan.counts[1] + c for r in rows for c in columns]


def needed(plan: TilePlan, missing: set[int], *, blended: bool) -> list[Tile]:
    """Tiles to compute, in raster order, for the blocks that are missing."""
    wanted = {k for i in missing for k in neighbours(plan, i)} if blended else missing
    return [plan.tile(i) for i in sorted(wanted)]


def _cropped(answer: Floats, margin: int) -> Floats:
    return answer[(..., *(slice(margin, -margin or None),) * 2)]
