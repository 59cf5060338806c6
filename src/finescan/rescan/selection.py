"""Which places to scan again: greedily the most error per second, fields never overlapping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finescan.rescan.windows import starts, window_sums

PER_FRAME = 8  # first look: windows this many per frame length
MOST_WINDOWS = 4e6
LOOKED_AT = 64  # best windows whose travel is compared
CLIMBS = 4  # times the place of a field is improved, each by up to one step of the first look


class Spot(NamedTuple):
    """A field: its first pixel and the error that its whole pixels hold."""

    y: int
    x: int
    gain: float


@dataclass(frozen=True)
class Task:
    """What fields are chosen from.

    Parameters
    ----------
    error : (h, w) expected error per map pixel, 0 or more, 0 where it does not count.
    scanned : (h, w) where no field may lie; None = nowhere.
    inner : pixels (y, x) that a field covers wholly.
    outer : pixels (y, x) that it touches.
    scan_s, settle_s : time of a field without and its overhead.
    travel_s_per_px : time to move the stage by one map pixel along y and x.
    joins : whether two fields one above the other, and side by side, may be one acquisition.
    """

    error: NDArray[np.float32]
    scanned: NDArray[np.bool_] | None
    inner: tuple[int, int]
    outer: tuple[int, int]
    scan_s: float
    settle_s: float
    travel_s_per_px: tuple[float, float] = (0.0, 0.0)
    joins: tuple[bool, bool] = (False, False)

    @property
    def room(self) -> tuple[int, int]:
        """Last first pixel (y, x) of a field inside the map."""
        return self.error.shape[0] - self.outer[0], self.error.shape[1] - self.outer[1]


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
    look = _Look.of(task)
    taken = _Taken()
    beside: list[Spot] = []
    while len(taken.spots) < wanted.fields and taken.gain < wanted.gain:
        windows = look.best(LOOKED_AT)
        candidates = windows + beside
        if not candidates:
            break
        seconds = np.full(len(candidates), task.scan_s)
        seconds[: len(windows)] += task.settle_s + taken.travel_s(windows, task.travel_s_per_px)
        k = int(np.argmax(np.array([s.gain for s in candidates]) / np.maximum(seconds, 1e-12)))
        spot = candidates[k] if k >= len(windows) else _climb(task, candidates[k], taken, look.step)
        taken.add(spot)
        look.take(spot)
        beside = [s for s in beside if not _overlap(task, s, spot)]
        beside += [s for s in _flush(task, spot) if not len(taken.near(s, task.outer))]
    return taken.spots


@dataclass
class _Taken:
    """The fields so far, and their first pixels as an array."""

    spots: list[Spot] = field(default_factory=list)
    yx: NDArray[np.float64] = field(default_factory=lambda: np.empty((64, 2)))
    gain: float = 0.0

    def add(self, spot: Spot) -> None:
        """One more."""
        if len(self.spots) == len(self.yx):
            self.yx = np.concatenate([self.yx, np.empty_like(self.yx)])
        self.yx[len(self.spots)] = spot.y, spot.x
        self.spots.append(spot)
        self.gain += spot.gain

    def near(self, spot: Spot, reach: tuple[int, int]) -> NDArray[np.float64]:
        """First pixels of those that begin less than ``reach`` (y, x) away."""
        yx = self.yx[: len(self.spots)]
        return yx[(np.abs(yx - spot[:2]) < reach).all(axis=1)]

    def travel_s(self, spots: list[Spot], per_px: tuple[float, float]) -> NDArray[np.float64]:
        """Time to get to each of ``spots`` from the nearest field."""
        if not spots or not self.spots or not any(per_px):
            return np.zeros(len(spots))
        away = (np.array([s[:2] for s in spots], float)[:, None] - self.yx[None, : len(self.spots)]) * per_px
        return np.asarray(np.hypot(away[..., 0], away[..., 1]).min(axis=1))


@dataclass
class _Look:
    """Windows of the first look: where they start, what they hold, and which are still free."""

    task: Task
    ys: NDArray[np.intp]
    xs: NDArray[np.intp]
    gain: NDArray[np.float64]
    free: NDArray[np.bool_]
    ranked: NDArray[np.intp]
    step: tuple[int, int]
    head: int = field(default=0)

    @classmethod
    def of(cls, task: Task) -> _Look:
        h, w = task.error.shape
        least = math.ceil(math.sqrt(h * w / MOST_WINDOWS))
        step = (max(1, task.outer[0] // PER_FRAME, least), max(1, task.outer[1] // PER_FRAME, least))
        ys, xs = starts(h, task.outer[0], step[0]), starts(w, task.outer[1], step[1])
        gain = window_sums(task.error, ys, xs, task.inner)
        free = gain > 0
        if task.scanned is not None:
            free &= window_sums(task.scanned, ys, xs, task.outer) == 0
        places = np.flatnonzero(free)
        ranked = places[np.argsort(-gain.ravel()[places], kind="stable")]
        return cls(task, ys, xs, gain, free, ranked, step)

    def best(self, count: int) -> list[Spot]:
        """The ``count`` free windows that hold most."""
        free, out = self.free.ravel(), list[int]()
        at = self.head
        while at < len(self.ranked) and len(out) < count:
            part = self.ranked[at : at + 4 * count]
            found = part[free[part]]
            if not out and not len(found):
                self.head = at + len(part)  # taken for good: never looked at again
            out += found[: count - len(out)].tolist()
            at += len(part)
        return [self._spot(i) for i in out]

    def take(self, spot: Spot) -> None:
        """No window may overlap this field from now on."""
        (oy, ox) = self.task.outer
        y = slice(*np.searchsorted(self.ys, [spot.y - oy + 1, spot.y + oy]))
        x = slice(*np.searchsorted(self.xs, [spot.x - ox + 1, spot.x + ox]))
        self.free[y, x] = False

    def _spot(self, index: int) -> Spot:
        i, j = divmod(index, len(self.xs))
        return Spot(int(self.ys[i]), int(self.xs[j]), float(self.gain[i, j]))


def _overlap(task: Task, a: Spot, b: Spot) -> bool:
    return abs(a.y - b.y) < task.outer[0] and abs(a.x - b.x) < task.outer[1]


def _flush(task: Task, spot: Spot) -> list[Spot]:
    """Fields exactly beside a field that can become one acquisition with it."""
    (oy, ox), (ry, rx) = task.outer, task.room
    steps = [(-oy, 0), (oy, 0)] * task.joins[0] + [(0, -ox), (0, ox)] * task.joins[1]
    places = [(spot.y + dy, spot.x + dx) for dy, dx in steps]
    inside = [(y, x) for y, x in places if 0 <= y <= ry and 0 <= x <= rx]
    found = [Spot(y, x, _held(task, y, x)) for y, x in inside if not _scanned(task, y, x)]
    return [s for s in found if s.gain > 0]


def _held(task: Task, y: int, x: int) -> float:
    return float(task.error[y : y + task.inner[0], x : x + task.inner[1]].sum(dtype=np.float64))


def _scanned(task: Task, y: int, x: int) -> bool:
    return task.scanned is not None and bool(task.scanned[y : y + task.outer[0], x : x + task.outer[1]].any())


def _climb(task: Task, spot: Spot, taken: _Taken, step: tuple[int, int]) -> Spot:
    """Move a field, a few pixels at a time, to where it holds most and overlaps nothing."""
    (oy, ox) = task.outer
    near = taken.near(spot, (oy + CLIMBS * step[0], ox + CLIMBS * step[1]))
    for _ in range(CLIMBS):
        better = _best_around(task, spot, near, step)
        if not better.gain > spot.gain * (1 + 1e-12):
            break
        spot = better
    return spot


def _best_around(task: Task, spot: Spot, near: NDArray[np.float64], step: tuple[int, int]) -> Spot:
    """The best place within one step."""
    ys, xs = (np.arange(max(0, v - s), min(r, v + s) + 1) for v, s, r in zip(spot[:2], step, task.room, strict=True))
    (oy, ox) = task.outer
    part = slice(ys[0], ys[-1] + oy), slice(xs[0], xs[-1] + ox)
    gain = window_sums(task.error[part], ys - ys[0], xs - xs[0], task.inner)
    for y, x in near:
        gain[np.ix_(np.abs(ys - y) < oy, np.abs(xs - x) < ox)] = -1.0
    if task.scanned is not None and task.scanned[part].any():
        gain[window_sums(task.scanned[part], ys - ys[0], xs - xs[0], task.outer) > 0] = -1.0
    i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
    return Spot(int(ys[i]), int(xs[j]), float(gain[i, j]))


# ------------------------------------------------------------------ placement in one regular array
def tiled_spots(task: Task, wanted: Wanted) -> list[Spot]:
    """Fields of one regular array without gaps, that one of several offsets that serves best; best fields first.

    Better than free placement where most of the map is to be scanned: nothing is left between the fields.
    """
    h, w = task.error.shape
    offsets = [range(0, min(o, r + 1), max(1, o // PER_FRAME)) for o, r in zip(task.outer, task.room, strict=True)]
    rows = [np.arange(o, h - task.outer[0] + 1, task.outer[0]) for o in offsets[0]]
    columns = [np.arange(o, w - task.outer[1] + 1, task.outer[1]) for o in offsets[1]]
    ys, xs = np.unique(np.concatenate(rows)), np.unique(np.concatenate(columns))
    gain = window_sums(task.error, ys, xs, task.inner)
    if task.scanned is not None:
        gain[window_sums(task.scanned, ys, xs, task.outer) > 0] = 0.0
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
