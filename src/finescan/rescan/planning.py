"""plan_rescan(): the fields that remove most of the expected error per second of beam time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.rescan.board import Task
from finescan.rescan.merging import Block
from finescan.rescan.plan import Field, Goal, MapReference, RescanPlan
from finescan.rescan.selection import PLACEMENTS, Placement, Wanted
from finescan.rescan.stage import StageTransform
from finescan.rescan.times import Frame, ScanTimes, spoken
from finescan.rescan.timing import Answer, Timing, answer, moved_about

Reasons = Callable[[tuple[slice, slice]], Sequence[str]]
ROUNDING = 1e-6  # of a pixel
MUCH_MORE = 1.25  # times the error that fields beside the fine scans remove, for which fields may lie partly on these
MISS = 0.25  # of the shorter side of a field; an uncertainty of the stage above it is said


def plan_rescan(
    error: ArrayLike,
    map_: MapReference,
    *,
    frame: Frame,
    times: ScanTimes,
    goal: Goal,
    value: ArrayLike | None = None,
    scanned: ArrayLike | None = None,
    stage: StageTransform | None = None,
    error_unit: str = "expected error",
    reasons: Reasons | None = None,
    placements: Mapping[str, Placement] = PLACEMENTS,
    refine: bool = True,
) -> RescanPlan:
    """Where to scan again, and in which order.

    A fine scan removes the expected error of the map pixels it covers wholly. Fields lie inside the map, overlap
    neither each other nor what was scanned before, and are chosen greedily by error per second, free or in one
    regular array, whichever serves the goal better. Where too few find a place beside what was scanned, they may lie
    partly on it, if that removes much more. The stage starts at the centre of the map.

    Parameters
    ----------
    error : (h, w) on the grid of the map; what is expected to be wrong per pixel, 0 or more, in any unit that adds up
        (squared grey levels, area of doubtful pores). NaN = nothing expected.
    map_ : the coarse map.
    frame, times : what the instrument records at once, and what takes time.
    goal : time budget or share of the error.
    value : (h, w) weight of every pixel in what the user measures, 0 or more; None = 1.
    scanned : (h, w) True where a fine scan exists.
    stage : from the map to the stage, kept in the plan.
    error_unit : what the error is, for readers.
    reasons : called with the slices of a field on the map; says why it was chosen, in sentences.
    placements : ways to place fields, of which the best is taken; see also :mod:`finescan.rescan.baselines`.
    refine : try every chosen field elsewhere (False for the baselines, which are what they are).

    Raises
    ------
    InputError : arrays of another shape or with negative values, no error left, a frame larger than the map or smaller
        than its pixels, a budget shorter than one field.
    """
    task = _task(error, value, scanned, map_, frame, times)
    total = float(task.error.sum(dtype=np.float64))
    if not total > 0:
        raise InputError("Nothing is expected to be wrong where no fine scan exists: there is nothing to plan.")
    wanted = _wanted(task, frame, goal, times, total)
    timing = Timing(task, map_.grid, _single_px(map_, frame), frame, times, goal.order)
    best = _best(timing, goal, wanted, total, placements, refine)
    over: tuple[str, ...] = ()
    if task.scanned is not None and _falls_short(best, timing, goal, total):
        anywhere = replace(timing, task=replace(task, scanned=None))
        again = _best(anywhere, goal, wanted, total, placements, refine)
        if again.gain > MUCH_MORE * best.gain:
            timing, best = anywhere, again
            over = (_over_note(best, timing, scanned),)
    if not best.spots:
        raise InputError(_too_short(frame, times, goal, on_the_way=True))
    fields = _fields(best.blocks, timing, total, reasons)
    notes = (*over, *_notes(fields, goal, frame, times), *_stage_note(stage, frame))
    return RescanPlan(map_, frame, times, goal, fields, stage, error_unit, notes)


# ------------------------------------------------------------------ what is asked
def _task(
    error: ArrayLike,
    value: ArrayLike | None,
    scanned: ArrayLike | None,
    map_: MapReference,
    frame: Frame,
    times: ScanTimes,
) -> Task:
    single = _single_px(map_, frame)
    weights = _map_array(error, map_, "The expected error")
    if value is not None:
        weights = weights * _map_array(value, map_, "The value of a pixel")
    mask = None if scanned is None else np.asarray(scanned, bool)
    if mask is not None:
        if mask.shape != map_.grid.shape:
            raise InputError(f"The mask of fine scans is {mask.shape}, but the map has {map_.grid.shape} pixels.")
        weights = np.where(mask, np.float32(0), weights)
        mask = mask if mask.any() else None
    tall, wide = (2 * n for n in frame.shape_px)
    largest = frame.largest_px or (0, 0)
    per_px = tuple(times.travel_s(p * 1e-3) for p in map_.grid.pixel_size_nm)
    return Task(
        weights,
        mask,
        inner=(math.floor(single[0] + ROUNDING), math.floor(single[1] + ROUNDING)),
        outer=(math.ceil(single[0] - ROUNDING), math.ceil(single[1] - ROUNDING)),
        scan_s=times.scan_s(frame.shape_px),
        settle_s=times.settle_s,
        travel_s_per_px=(per_px[0], per_px[1]),
        joins=(largest[0] >= tall, largest[1] >= wide),
    )


def _single_px(map_: MapReference, frame: Frame) -> tuple[float, float]:
    """Exact size (y, x) of one frame in map pixels."""
    grid = map_.grid
    if grid.ndim != 2:
        raise InputError("Rescans are planned for pictures, but the map is a volume. Pass a run of pictures.")
    high, wide = (e / p for e, p in zip(frame.extent_nm, grid.pixel_size_nm, strict=True))
    if high > grid.shape[0] + ROUNDING or wide > grid.shape[1] + ROUNDING:
        raise InputError(
            f"A frame of {frame} covers {wide:.0f} x {high:.0f} px of the map, which has only {grid.shape[1]} x "
            f"{grid.shape[0]} px (width x height). Pass a smaller --frame."
        )
    if min(high, wide) < 1 - ROUNDING:
        raise InputError(
            f"A frame of {frame} is smaller than one pixel of the map ({wide:.2g} x {high:.2g} px, width x height). "
            "Pass a larger --frame."
        )
    return high, wide


def _map_array(values: ArrayLike, map_: MapReference, name: str) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    if array.shape != map_.grid.shape:
        raise InputError(f"{name} is given for {array.shape} pixels, but the map has {map_.grid.shape}.")
    if np.isnan(array.sum(dtype=np.float64)):
        array = np.where(np.isnan(array), np.float32(0), array)
    if not (array.min() >= 0 and array.max() < np.inf):
        raise InputError(f"{name} must be 0 or more everywhere, but negative or infinite values came.")
    return array


def _wanted(task: Task, frame: Frame, goal: Goal, times: ScanTimes, total: float) -> Wanted:
    """The most fields that may be needed, or the error that is to be removed."""
    if goal.budget_s is None:
        return Wanted(task.error.size, (goal.until or 0) * total * (1 - 1e-9))
    if times.field_s(frame.shape_px) > goal.budget_s:
        raise InputError(_too_short(frame, times, goal))
    least = task.scan_s + (0 if any(task.joins) else task.settle_s)  # merged fields settle once
    return Wanted(int(min(task.error.size, goal.budget_s / max(least, 1e-12) + 1)))


def _too_short(frame: Frame, times: ScanTimes, goal: Goal, *, on_the_way: bool = False) -> str:
    way = ", and the stage must get there" if on_the_way else ""
    return (
        f"One field of {frame} takes {spoken(times.field_s(frame.shape_px))} ({times.settle_s:.3g} s to settle, "
        f"{times.scan_s(frame.shape_px):.3g} s to scan{way}), but the budget is {spoken(goal.budget_s or 0)}. Pass a "
        "longer --budget, a smaller --frame or a shorter --dwell."
    )


# ------------------------------------------------------------------ the answer
def _best(
    timing: Timing, goal: Goal, wanted: Wanted, total: float, placements: Mapping[str, Placement], refine: bool
) -> Answer:
    """Of all placements the one that serves the goal best."""
    answers = [answer(spots(timing.task, wanted), timing, goal) for spots in placements.values()]
    best = max(answers, key=lambda a: _served(a, goal, total, timing))
    return moved_about(best, timing, goal, wanted) if refine else best


def _falls_short(found: Answer, timing: Timing, goal: Goal, total: float) -> bool:
    """Whether the error that was asked for is not reached, or time is left for which no field finds a place."""
    if goal.budget_s is None:
        return found.gain < (goal.until or 0.0) * total * (1 - 1e-6)
    return goal.budget_s - sum(timing.seconds(found.blocks)) > 2 * timing.times.field_s(timing.frame.shape_px)


def _over_note(found: Answer, timing: Timing, scanned: ArrayLike | None) -> str:
    """That, and how many, fields lie partly on what was scanned before."""
    mask, (oy, ox) = np.asarray(scanned, bool), timing.task.outer
    count = sum(bool(mask[s.y : s.y + oy, s.x : s.x + ox].any()) for s in found.spots)
    return (
        f"Beside the fine scans there is no room for as much as was asked for: {count} of {len(found.spots)} fields "
        "overlap them, and scan a part again."
    )


def _served(found: Answer, goal: Goal, total: float, timing: Timing) -> tuple[float, float]:
    """To compare answers: what was asked of the error first, then little time."""
    return round(min(found.gain / total, goal.until or 1.0), 9), -sum(timing.seconds(found.blocks))


def _fields(blocks: Sequence[Block], timing: Timing, total: float, reasons: Reasons | None) -> tuple[Field, ...]:
    seconds = timing.seconds(blocks)
    rates = np.array([b.gain / s for b, s in zip(blocks, seconds, strict=True)])
    priority = np.empty(len(blocks), int)
    priority[np.argsort(-rates, kind="stable")] = np.arange(1, len(blocks) + 1)
    fields = []
    for k, (block, time) in enumerate(zip(blocks, seconds, strict=True)):
        size = timing.size_px(block)
        frame = timing.frame_px(block)
        made = Field(k + 1, int(priority[k]), (block.y, block.x), size, frame, block.gain / total, time)
        fields.append(replace(made, reasons=(_share_sentence(made, timing.task), *_asked(made, timing.task, reasons))))
    return tuple(fields)


def _share_sentence(f: Field, task: Task) -> str:
    area = f.size_px[0] * f.size_px[1] / task.error.size
    return f"Holds {100 * f.reduction:.2g} % of the expected error on {100 * area:.2g} % of the map."


def _asked(f: Field, task: Task, reasons: Reasons | None) -> Sequence[str]:
    if reasons is None:
        return ()
    start = [round(v) for v in f.start_px]
    stop = [min(n, math.ceil(v - ROUNDING)) for n, v in zip(task.error.shape, f.stop_px, strict=True)]
    return reasons((slice(start[0], stop[0]), slice(start[1], stop[1])))


def _notes(fields: Sequence[Field], goal: Goal, frame: Frame, times: ScanTimes) -> tuple[str, ...]:
    notes = []
    reached = sum(f.reduction for f in fields)
    if goal.until is not None and reached < goal.until * (1 - 1e-6):
        notes.append(
            f"Fields of {frame} that do not overlap reach {100 * reached:.1f} % of the expected error, not "
            f"{100 * goal.until:.3g} %: what is left lies in gaps that are too narrow for a field."
        )
    used = sum(f.seconds for f in fields)
    if goal.budget_s is not None and goal.budget_s - used > 2 * times.field_s(frame.shape_px):
        notes.append(
            f"The plan needs {spoken(used)} of {spoken(goal.budget_s)}: no further field fits where errors are "
            "expected."
        )
    if times.coarse_s is None:
        notes.append("The time of the coarse map is not known, so the whole is not compared with a fine scan of all.")
    return tuple(notes)


def _stage_note(stage: StageTransform | None, frame: Frame) -> tuple[str, ...]:
    """A warning where the stage may miss a field by a good part of it."""
    least = min(frame.extent_nm)
    if stage is None or stage.sigma_nm is None or stage.sigma_nm <= MISS * least:
        return ()
    return (
        f"Stage positions are known to {stage.sigma_nm / 1e3:.3g} µm (1 sigma), and a field is only "
        f"{least / 1e3:.3g} µm wide: find the first field by eye, or pass --stage-landmarks.",
    )
