"""Other ways to place fields, to compare the planner with: random, a uniform grid, and the worst pixels only.

They are placements like those of :data:`finescan.rescan.selection.PLACEMENTS`: pass one to ``plan_rescan`` to have it
merged, ordered and timed like a plan.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from finescan.rescan.board import Spot, Task
from finescan.rescan.selection import Wanted
from finescan.rescan.windows import window_sums

LOOKED_AT = 4096  # pixels
TRIES = 500  # random places in a row that do not fit before the map counts as full


def random_spots(task: Task, wanted: Wanted, *, seed: int = 0) -> list[Spot]:
    """Fields at random places, not overlapping."""
    rng = np.random.default_rng(seed)
    chosen = _Places(task, wanted)
    misses = 0
    while not chosen.enough and misses < TRIES:
        fits = chosen.add(int(rng.integers(task.room[0] + 1)), int(rng.integers(task.room[1] + 1)))
        misses = 0 if fits else misses + 1
    return chosen.spots


def grid_spots(task: Task, wanted: Wanted, *, seed: int = 0) -> list[Spot]:
    """Fields in rows and columns spread evenly over the map, in random order, so that any first part is spread too."""
    h, w = task.error.shape
    most = max(1, h // task.outer[0]), max(1, w // task.outer[1])
    count = min(wanted.fields, most[0] * most[1])
    options = [(r, min(count // r, most[1])) for r in range(1, min(count, most[0]) + 1)]
    rows, columns = max(options, key=lambda n: (n[0] * n[1], -abs(n[0] * w - n[1] * h)))
    ys, xs = (_spread(n, size, o) for n, size, o in zip((rows, columns), (h, w), task.outer, strict=True))
    chosen = _Places(task, wanted)
    for k in np.random.default_rng(seed).permutation(rows * columns).tolist():
        if not chosen.enough:
            chosen.add(int(ys[k // columns]), int(xs[k % columns]))
    return chosen.spots


def worst_pixel_spots(task: Task, wanted: Wanted, *, seed: int = 0) -> list[Spot]:
    """Fields centred on the pixels with the largest expected error, as far as they do not overlap; no randomness."""
    chosen = _Places(task, wanted)
    (oy, ox), (ry, rx) = task.outer, task.room
    open_ = np.ones((ry + 1, rx + 1), bool)  # first pixels that are not known to overlap anything
    ranked = np.argsort(-task.error.ravel(), kind="stable")
    ranked = ranked[: np.count_nonzero(task.error)]
    for first in range(0, len(ranked), LOOKED_AT):
        ys, xs = np.divmod(ranked[first : first + LOOKED_AT], task.error.shape[1])
        ys, xs = np.clip(ys - oy // 2, 0, ry), np.clip(xs - ox // 2, 0, rx)
        while not chosen.enough and (free := open_[ys, xs]).any():
            k = int(np.argmax(free))
            reach = (oy, ox) if chosen.add(int(ys[k]), int(xs[k])) else (1, 1)
            open_[_until(ys[k], reach[0]), _until(xs[k], reach[1])] = False
    return chosen.spots


def _until(at: int, reach: int) -> slice:
    return slice(max(0, at - reach + 1), at + reach)


class _Places:
    """Fields that do not overlap, until enough is held."""

    def __init__(self, task: Task, wanted: Wanted) -> None:
        self.task, self.wanted, self.spots = task, wanted, list[Spot]()
        self.taken = np.zeros(task.error.shape, bool) if task.scanned is None else task.scanned.copy()

    @property
    def enough(self) -> bool:
        return len(self.spots) >= self.wanted.fields or sum(s.gain for s in self.spots) >= self.wanted.gain

    def add(self, y: int, x: int) -> bool:
        """One more field, unless it would overlap."""
        box = self.taken[y : y + self.task.outer[0], x : x + self.task.outer[1]]
        if box.any():
            return False
        box[...] = True
        part = self.task.error[y : y + self.task.inner[0], x : x + self.task.inner[1]]
        self.spots.append(Spot(y, x, float(window_sums(part, [0], [0], self.task.inner)[0, 0])))
        return True


def _spread(count: int, length: int, size: int) -> NDArray[np.intp]:
    """First pixels of ``count`` windows in the middles of equal parts."""
    first = np.floor((np.arange(count) + 0.5) * length / count - size / 2 + 0.5).astype(np.intp)
    return np.clip(first, 0, length - size)


#: name -> spots(task, wanted, seed=…).
BASELINES: dict[str, Callable[..., list[Spot]]] = {
    "random": random_spots,
    "uniform grid": grid_spots,
    "worst pixels": worst_pixel_spots,
}
