"""Which places to scan again: greedily the most error per second, fields never overlapping, then improved by moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.rescan.board import LOOKED_AT, Board, Spot, Task

SWEEPS = 3  # times every field is tried elsewhere
MANY = 100  # fields; more are not tried elsewhere


@dataclass(frozen=True)
class Wanted:
    """When to stop: so many fields, or so much error held by them."""

    fields: int
    gain: float = math.inf

    def rank(self, spots: list[Spot]) -> tuple[float, int, float]:
        """To compare answers: what was wanted of the error first, then few fields."""
        gain = sum(s.gain for s in spots)
        return round(min(gain, self.gain), 9), -len(spots), gain


Placement = Callable[[Task, Wanted], list[Spot]]


# ------------------------------------------------------------------ free placement
def free_spots(task: Task, wanted: Wanted) -> list[Spot]:
    """Fields anywhere, the most error per second first.

    The gain of a window never grows while fields are taken, so windows are sorted once and looked at lazily; the
    best is then moved pixel by pixel to where it holds most.

    Returns
    -------
    Fields in the order in which they were chosen; the same every time.
    """
    board = Board(task)
    beside: list[Spot] = []
    gain = 0.0
    while len(board.spots) < wanted.fields and gain < wanted.gain:
        windows = board.best(LOOKED_AT)
        candidates = windows + beside
        if not candidates:
            break
        seconds = np.full(len(candidates), task.scan_s)
        seconds[: len(windows)] += task.settle_s + board.travel_s(windows)
        k = int(np.argmax(np.array([s.gain for s in candidates]) / np.maximum(seconds, 1e-12)))
        spot = candidates[k] if k >= len(windows) else board.climb(candidates[k])
        board.add(spot)
        gain += spot.gain
        beside = [s for s in beside if not task.overlap(s, spot)]
        beside += [s for s in _flush(task, spot) if board.is_free(s)]
    return board.spots


def _flush(task: Task, spot: Spot) -> list[Spot]:
    """Fields exactly beside a field that can become one acquisition with it."""
    (oy, ox), (ry, rx) = task.outer, task.room
    steps = [(-oy, 0), (oy, 0)] * task.joins[0] + [(0, -ox), (0, ox)] * task.joins[1]
    places = [(spot.y + dy, spot.x + dx) for dy, dx in steps]
    found = [task.spot(y, x) for y, x in places if 0 <= y <= ry and 0 <= x <= rx]
    return [s for s in found if s.gain > 0]


def improved(task: Task, spots: list[Spot]) -> list[Spot]:
    """As many fields that hold more: each is tried elsewhere, alone and as two in its place for the poorest one.

    Parameters
    ----------
    spots : fields that do not overlap. More than 100 come back as they are, and so do fields that may be merged: moves
        would tear them apart.

    Returns
    -------
    Fields, the richest first; never less error in total.
    """
    if not 1 <= len(spots) <= MANY or any(task.joins):
        return spots
    board = Board(task, spots)
    for _ in range(SWEEPS):
        before = board.gain
        for spot in sorted(spots, key=lambda s: s.gain):
            if spot in board.spots:
                _move(board, spot)
        spots = board.spots
        if not board.gain > before * (1 + 1e-6):
            break
    return sorted(spots, key=lambda s: (-s.gain, s.y, s.x))


def _move(board: Board, spot: Spot) -> None:
    """Take a field off; put it where it holds most, or two there while the poorest of the others goes."""
    board.remove(spot)
    first = _richest(board)
    if first is None or first.gain <= spot.gain:
        first = spot
    board.add(first)
    second, poorest = _richest(board), min(board.spots, key=lambda s: s.gain)
    if second is not None and second.gain > poorest.gain * (1 + 1e-9):
        board.remove(poorest)
        board.add(second)
        return
    if first is not spot or len(board.spots) < 2:
        return
    _split(board, spot)


def _split(board: Board, spot: Spot) -> None:
    """A field on a rich place may keep two almost as good ones out."""
    before, others = board.gain, board.spots
    board.remove(spot)
    poorest = min(board.spots, key=lambda s: s.gain)
    board.remove(poorest)
    for side in board.around(spot):
        board.add(side)
        if (second := _richest(board)) is not None and board.gain + second.gain > before * (1 + 1e-9):
            board.add(second)
            return
        board.remove(side)
    board.reset(others)


def _richest(board: Board) -> Spot | None:
    """The free place that holds most."""
    found = [board.climb(s) for s in board.best(3)]
    return max(found, key=lambda s: s.gain, default=None)


# ------------------------------------------------------------------ placement in one regular array
def tiled_spots(task: Task, wanted: Wanted) -> list[Spot]:
    """Fields of one regular array without gaps, that one of several offsets that serves best; best fields first.

    Better than free placement where most of the map is to be scanned: nothing is left between the fields.
    """
    h, w = task.error.shape
    offsets = [range(0, min(o, r + 1), s) for o, r, s in zip(task.outer, task.room, task.step, strict=True)]
    rows = [np.arange(o, h - task.outer[0] + 1, task.outer[0]) for o in offsets[0]]
    columns = [np.arange(o, w - task.outer[1] + 1, task.outer[1]) for o in offsets[1]]
    ys, xs = np.unique(np.concatenate(rows)), np.unique(np.concatenate(columns))
    gain = task.gains(ys, xs)
    arrays = ((r, c, gain[np.ix_(np.searchsorted(ys, r), np.searchsorted(xs, c))]) for r in rows for c in columns)
    return max((_best_of(*array, wanted) for array in arrays), key=wanted.rank)


def _best_of(
    rows: NDArray[np.intp], columns: NDArray[np.intp], gain: NDArray[np.float64], wanted: Wanted
) -> list[Spot]:
    """As many fields of one array as are wanted."""
    order = np.argsort(-gain.ravel(), kind="stable")[: wanted.fields]
    held = gain.ravel()[order]
    needed = int(np.searchsorted(np.cumsum(held), wanted.gain)) + 1
    order = order[: min(needed, int(np.count_nonzero(held > 0)))]
    places = zip(*np.divmod(order, len(columns)), gain.ravel()[order], strict=True)
    return [Spot(int(rows[i]), int(columns[j]), float(g)) for i, j, g in places]


#: name -> spots(task, wanted). The plan takes whichever serves its goal better.
PLACEMENTS: dict[str, Placement] = {"free": free_spots, "tiled": tiled_spots}
