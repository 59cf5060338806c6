"""The map as a board on which fields are put: what every place holds, and which places are still free."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finescan.rescan.windows import starts, window_sums

PER_FRAME = 8  # first look: windows this many per frame length
MOST_WINDOWS = 4e6
LOOKED_AT = 64  # best windows that are compared at once
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

    @property
    def step(self) -> tuple[int, int]:
        """Distance (y, x) of the windows of the first look."""
        least = math.ceil(math.sqrt(self.error.size / MOST_WINDOWS))
        return max(1, self.outer[0] // PER_FRAME, least), max(1, self.outer[1] // PER_FRAME, least)

    @cached_property
    def windows(self) -> Windows:
        """The windows of the first look."""
        ys, xs = (starts(n, o, s) for n, o, s in zip(self.error.shape, self.outer, self.step, strict=True))
        gain = self.gains(ys, xs)
        places = np.flatnonzero(gain > 0)
        return Windows(ys, xs, gain, places[np.argsort(-gain.ravel()[places], kind="stable")])

    def gains(self, ys: NDArray[np.intp], xs: NDArray[np.intp]) -> NDArray[np.float64]:
        """Error held by fields that begin at every combination of ys and xs; 0 where one would touch what is known."""
        return self._gains(self.error, self.scanned, ys, xs)

    def gains_near(self, ys: NDArray[np.intp], xs: NDArray[np.intp]) -> NDArray[np.float64]:
        """As :meth:`gains` for places close to each other: only the part of the map around them is read."""
        part = slice(ys[0], ys[-1] + self.outer[0]), slice(xs[0], xs[-1] + self.outer[1])
        scanned = None if self.scanned is None or not self.scanned[part].any() else self.scanned[part]
        return self._gains(self.error[part], scanned, ys - ys[0], xs - xs[0])

    def _gains(
        self,
        error: NDArray[np.float32],
        scanned: NDArray[np.bool_] | None,
        ys: NDArray[np.intp],
        xs: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        gain = window_sums(error, ys, xs, self.inner)
        if scanned is not None:
            gain[window_sums(scanned, ys, xs, self.outer) > 0] = 0.0
        return gain

    def spot(self, y: int, x: int) -> Spot:
        """The field that begins at a pixel."""
        return Spot(y, x, float(self.gains_near(np.array([y]), np.array([x]))[0, 0]))

    def overlap(self, a: Spot, b: Spot) -> bool:
        """Whether two fields overlap."""
        return abs(a.y - b.y) < self.outer[0] and abs(a.x - b.x) < self.outer[1]


class Windows(NamedTuple):
    """First rows and columns of windows, what they hold, and their indices from the richest down."""

    ys: NDArray[np.intp]
    xs: NDArray[np.intp]
    gain: NDArray[np.float64]
    ranked: NDArray[np.intp]


class Board:
    """Fields that do not overlap, and what is still free; fields can be put on and taken off again."""

    def __init__(self, task: Task, spots: Sequence[Spot] = ()) -> None:
        self.task = task
        self.reset(spots)

    def reset(self, spots: Sequence[Spot]) -> None:
        """Only these fields."""
        self._spots: dict[Spot, int] = {}
        self._yx = np.empty((64, 2))
        self._covers = np.zeros(self.task.windows.gain.shape, np.uint8)  # fields that each window would overlap
        self._head = 0  # windows before it are taken
        for spot in spots:
            self.add(spot)

    @property
    def spots(self) -> list[Spot]:
        """The fields, oldest first."""
        return list(self._spots)

    @property
    def gain(self) -> float:
        """Error that they hold."""
        return sum(s.gain for s in self._spots)

    def add(self, spot: Spot) -> None:
        """Put a field on."""
        n = len(self._spots)
        if n == len(self._yx):
            self._yx = np.concatenate([self._yx, np.empty_like(self._yx)])
        self._yx[n] = spot.y, spot.x
        self._spots[spot] = n
        self._covers[self._beside(spot)] += 1

    def remove(self, spot: Spot) -> None:
        """Take a field off."""
        at = self._spots.pop(spot)
        self._yx[at : len(self._spots)] = self._yx[at + 1 : len(self._spots) + 1].copy()
        self._spots = {s: k for k, s in enumerate(self._spots)}
        self._covers[self._beside(spot)] -= 1
        self._head = 0

    def best(self, count: int) -> list[Spot]:
        """The ``count`` free windows of the first look that hold most."""
        ys, xs, gain, ranked = self.task.windows
        taken, out, at = self._covers.ravel(), list[int](), self._head
        while at < len(ranked) and len(out) < count:
            part = ranked[at : at + 4 * LOOKED_AT]
            found = part[taken[part] == 0]
            if not out and not len(found):
                self._head = at + len(part)
            out += found[: count - len(out)].tolist()
            at += len(part)
        places = [divmod(i, len(xs)) for i in out]
        return [Spot(int(ys[i]), int(xs[j]), float(gain[i, j])) for i, j in places]

    def is_free(self, spot: Spot) -> bool:
        """Whether a field overlaps none of those on the board."""
        return not len(self._near(spot, self.task.outer))

    def travel_s(self, spots: Sequence[Spot]) -> NDArray[np.float64]:
        """Time to get to each of ``spots`` from the nearest field."""
        if not spots or not self._spots or not any(self.task.travel_s_per_px):
            return np.zeros(len(spots))
        there = np.array([s[:2] for s in spots], float)
        away = (there[:, None] - self._yx[None, : len(self._spots)]) * self.task.travel_s_per_px
        return np.asarray(np.hypot(away[..., 0], away[..., 1]).min(axis=1))

    def climb(self, spot: Spot) -> Spot:
        """Move a free field, a few pixels at a time, to where it holds most and overlaps nothing."""
        step = self.task.step
        near = self._near(spot, (self.task.outer[0] + CLIMBS * step[0], self.task.outer[1] + CLIMBS * step[1]))
        for _ in range(CLIMBS):
            better = self._best_around(spot, near)
            if not better.gain > spot.gain * (1 + 1e-12):
                break
            spot = better
        return spot

    def around(self, spot: Spot) -> Iterator[Spot]:
        """Fields half a frame to either side of a place, where they are free."""
        (oy, ox), (ry, rx) = self.task.outer, self.task.room
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
            y, x = min(max(0, spot.y + dy * oy // 2), ry), min(max(0, spot.x + dx * ox // 2), rx)
            side = self.task.spot(y, x)
            if side.gain > 0 and self.is_free(side):
                yield side

    def _best_around(self, spot: Spot, near: NDArray[np.float64]) -> Spot:
        """The best place within one step."""
        step, room, (oy, ox) = self.task.step, self.task.room, self.task.outer
        ys, xs = (np.arange(max(0, v - s), min(r, v + s) + 1) for v, s, r in zip(spot[:2], step, room, strict=True))
        gain = self.task.gains_near(ys, xs)
        for y, x in near:
            gain[np.ix_(np.abs(ys - y) < oy, np.abs(xs - x) < ox)] = -1.0
        i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
        return Spot(int(ys[i]), int(xs[j]), float(gain[i, j]))

    def _near(self, spot: Spot, reach: tuple[int, int]) -> NDArray[np.float64]:
        """First pixels of fields that begin less than ``reach`` (y, x) away."""
        yx = self._yx[: len(self._spots)]
        return yx[(np.abs(yx - spot[:2]) < reach).all(axis=1)]

    def _beside(self, spot: Spot) -> tuple[slice, slice]:
        """Windows of the first look that overlap a field."""
        (oy, ox), windows = self.task.outer, self.task.windows
        y = np.searchsorted(windows.ys, [spot.y - oy + 1, spot.y + oy])
        x = np.searchsorted(windows.xs, [spot.x - ox + 1, spot.x + ox])
        return slice(int(y[0]), int(y[1])), slice(int(x[0]), int(x[1]))
