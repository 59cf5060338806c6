"""How many fields of a placement serve the goal, once they are merged, moved about, ordered and timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.rescan.board import Spot, Task
from finescan.rescan.merging import Block, frame_of, merged
from finescan.rescan.plan import Goal
from finescan.rescan.selection import Wanted, improved
from finescan.rescan.times import Frame, ScanTimes
from finescan.rescan.travel import nearest_tour, order_points, tour_length
from finescan.values import Grid

FEW = 60  # fields; up to here every trial is ordered as well as the answer
FILLINGS = 8  # times further fields are added in the time that a good order has saved


@dataclass(frozen=True)
class Timing:
    """Where acquisitions lie and how long they take.

    Parameters
    ----------
    task : what fields are chosen from.
    grid : of the map.
    single : exact size (y, x) of one field in map pixels.
    frame, times : what the instrument records at once, and what takes time.
    order : a name from :data:`finescan.rescan.travel.ORDERS`.
    """

    task: Task
    grid: Grid
    single: tuple[float, float]
    frame: Frame
    times: ScanTimes
    order: str

    @property
    def pixel_nm(self) -> tuple[float, ...]:
        """Of the map."""
        return self.grid.pixel_size_nm

    @property
    def start(self) -> NDArray[np.float64]:
        """Where the stage stands after the coarse scan (y, x), nm from the corner of the map."""
        return np.asarray(self.grid.extent_nm) / 2

    def blocks(self, spots: Sequence[Spot]) -> list[Block]:
        """Fields, merged."""
        return merged(spots, outer=self.task.outer, single=self.single, map_pixel_nm=self.pixel_nm, frame=self.frame)

    def size_px(self, block: Block) -> tuple[float, float]:
        """Of an acquisition, in map pixels."""
        return block.size_px(self.task.outer, self.single)

    def frame_px(self, block: Block) -> tuple[int, int]:
        """Rows and columns of an acquisition."""
        return frame_of(self.size_px(block), self.pixel_nm, self.frame)

    def centres(self, blocks: Sequence[Block]) -> NDArray[np.float64]:
        """Centres (y, x), nm from the corner of the map."""
        corner = np.array([(b.y, b.x) for b in blocks], float).reshape(-1, 2)
        size = np.array([self.size_px(b) for b in blocks], float).reshape(-1, 2)
        return np.asarray((corner + size / 2) * self.pixel_nm)

    def ordered(self, blocks: Sequence[Block]) -> list[Block]:
        """In the order of scanning."""
        row = self.single[0] * self.pixel_nm[0] / 2
        return [blocks[i] for i in order_points(self.centres(blocks), start=self.start, order=self.order, row=row)]

    def seconds(self, blocks: Sequence[Block]) -> list[float]:
        """Time of every acquisition when they are done one after the other."""
        legs = tour_length(self.centres(blocks), range(len(blocks)), start=self.start)
        return [self.times.field_s(self.frame_px(b), leg * 1e-3) for b, leg in zip(blocks, legs, strict=True)]

    def quick_s(self, blocks: Sequence[Block]) -> float:
        """Time of all, with a good order of few fields and a plain one of many."""
        if len(blocks) <= FEW or self.order != "shortest":
            return sum(self.seconds(self.ordered(blocks)))
        return sum(self.seconds([blocks[i] for i in nearest_tour(self.centres(blocks), self.start)]))


@dataclass(frozen=True)
class Answer:
    """Fields of one placement that serve the goal, and their acquisitions in the order of scanning."""

    spots: tuple[Spot, ...]
    blocks: tuple[Block, ...]

    @property
    def gain(self) -> float:
        """Error that they hold."""
        return sum(s.gain for s in self.spots)


def answer(spots: Sequence[Spot], timing: Timing, goal: Goal) -> Answer:
    """Of the fields of a placement, best first, as many as fit into the budget; all of them if there is none."""
    if goal.budget_s is None:
        return Answer(tuple(spots), tuple(timing.ordered(timing.blocks(spots))))
    low, high = 0, len(spots)
    while low < high:
        middle = (low + high + 1) // 2
        if timing.quick_s(timing.blocks(spots[:middle])) <= goal.budget_s:
            low = middle
        else:
            high = middle - 1
    return _filled(spots, low, timing, goal.budget_s)


def _filled(spots: Sequence[Spot], count: int, timing: Timing, budget_s: float) -> Answer:
    """As many fields as fit once they are well ordered."""
    best = timing.ordered(timing.blocks(spots[:count]))
    for _ in range(FILLINGS):
        spare = budget_s - sum(timing.seconds(best))
        more = min(len(spots), count + max(1, int(spare / timing.times.field_s(timing.frame.shape_px))))
        if more == count:
            break
        trial = timing.ordered(timing.blocks(spots[:more]))
        if sum(timing.seconds(trial)) > budget_s:
            break
        best, count = trial, more
    return Answer(tuple(spots[:count]), tuple(best))


def moved_about(found: Answer, timing: Timing, goal: Goal, wanted: Wanted) -> Answer:
    """Every field tried elsewhere; what was found before if that takes too long then, or brings nothing."""
    spots = improved(timing.task, list(found.spots))
    held = sum(s.gain for s in spots)
    while len(spots) > 1 and held - spots[-1].gain >= wanted.gain:  # no more than is wanted
        held -= spots[-1].gain
        spots = spots[:-1]
    if tuple(spots) == found.spots:
        return found
    blocks = timing.ordered(timing.blocks(spots))
    if goal.budget_s is not None and sum(timing.seconds(blocks)) > goal.budget_s:
        return found
    return Answer(tuple(spots), tuple(blocks))
