"""Calibrated intervals of a run: how wrong every pixel may be, told on the stop blocks and checked on the test blocks.

Three parts of the fine scan, none of which helps another: where the network was trained says *where* the result is more
wrong than elsewhere; the blocks that decided when to stop say *how much*; the blocks that only judge say whether that
holds. The target is the recorded fine scan on the grid of the result, its noise included.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.errors import InputError
from finescan.patches import PatchSet, VolumePatchSet
from finescan.trust import Consistency
from finescan.trust.blocks import VALID_SHARE
from finescan.trust.interval_blocks import block_side, correlation_length, cut_blocks
from finescan.trust.intervals import (
    LEVELS,
    BlockErrors,
    Calibration,
    calibrate_blocks,
    coverage_by_spread,
    coverage_curve,
)
from finescan.trust.spread_map import SpreadMap
from finescan.trust.spread_model import Example, SpreadModel, fit_spread
from finescan.values import Image, Pair, Region, TrustMap
from finescan.workflow.folder import key_of
from finescan.workflow.interval_parts import ROLES, Part, parts_of
from finescan.workflow.judging import on_grid
from finescan.workflow.opening import Job
from finescan.workflow.pasting import computed_or

FILE, STORE = "uncertainty.tif", "uncertainty.ome.zarr"
SHOWN = 0.9  # level of the map that is written
TARGET = "a pixel of the fine scan as recorded, noise included"
_VERSION, _SEED = 1, 0
_HELD = ("stop", "test")

Floats = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Intervals:
    """Intervals of an enhanced map.

    Parameters
    ----------
    calibration : factors and coverage; None where there are too few held-out blocks.
    spread : expected size of the error on the grid of the enhanced map, fine grey levels; computed where it is read.
    facts : plain JSON values for ``trust.json``.
    notes : sentences about what could not be had.
    files : written into the run folder.
    """

    calibration: Calibration | None
    spread: Image
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def half_width(self, level: float = SHOWN) -> Any:
        """Half width of the interval of a level, fine grey levels; an array that is computed where it is read."""
        if self.calibration is None:
            raise InputError("There are no intervals: too few held-out blocks were left to calibrate them on.")
        return self.spread.data.times(self.calibration.factor(level))

    @property
    def uncertainty(self) -> Image | None:
        """Half width of the 90 % interval as an image; None where that level could not be had."""
        if self.calibration is None or SHOWN not in self.calibration.levels:
            return None
        return self.spread.with_data(self.half_width(SHOWN))


def measure_intervals(
    job: Job,
    lr: Image,
    patches: PatchSet | VolumePatchSet,
    model_used: str,
    enhanced: Image,
    raw_spread: Image | None,
    flags: TrustMap,
    check: Consistency | None = None,
    *,
    pairs: Sequence[Pair] = (),
) -> Intervals:
    """Intervals of what a run has written, for any method and for pictures and volumes alike.

    Writes ``uncertainty.tif`` (``uncertainty.ome.zarr`` for volumes of which the run writes no TIFF): half width of the
    90 % interval, fine grey levels, float32; NaN without data. A finished one is kept.

    Parameters
    ----------
    lr, check : not needed so far: a residual in units of the coarse scan's noise says nothing about the fine error.
    model_used : name of what made the result.
    enhanced : as computed, without recorded pixels pasted in.
    raw_spread : what the network says of its own spread, or None.
    flags : of the result; "no_data" is used.
    pairs : registration of the fine scans, so that recorded pixels can be compared as they are.
    """
    job.progress(0, 1, "measuring intervals")
    key = key_of(job.folder.facts("enhance").get("key"), model_used, raw_spread is not None, _VERSION)
    if not job.folder.is_done("intervals", key):
        _forget(job.folder.path)
        found = interval_facts(patches, enhanced, raw_spread, pairs)
        job.folder.finish("intervals", key, **found)
        job.folder.log("intervals", method=model_used, **found)
    facts = job.folder.facts("intervals")
    intervals = intervals_from(facts, enhanced, raw_spread, flags)
    intervals = _written(job, intervals)
    job.progress(1, 1, "measuring intervals")
    return intervals


def intervals_of(enhanced: Image, fine: Floats, start: Sequence[int], scale_px: Sequence[float]) -> Intervals:
    """Intervals of anybody's enhanced image, from a fine scan of a part of it: its blocks are dealt out to three parts.

    Parameters
    ----------
    fine : recorded grey levels on the pixels of the image from ``start`` on; NaN = not recorded.
    scale_px : pixels of the image per coarse pixel, per axis.

    Raises
    ------
    InputError : a fine scan that is too small to learn from.
    """
    stop = [a + n for a, n in zip(start, fine.shape, strict=True)]
    region = Region(enhanced.grid, tuple(int(a) for a in start), tuple(int(b) for b in stop))
    seen = on_grid(enhanced, region.own_grid)
    length = correlation_length([(seen - fine, np.isfinite(seen - fine))])
    side = block_side(length, fine.ndim)
    dealt = _dealt(cut_blocks([region], side))
    masks = {role: _painted(region, blocks) for role, blocks in dealt.items()}
    part = Part(region.start, seen, seen - fine, masks.__getitem__)
    return intervals_from(_three_parts([part], scale_px, dealt), enhanced)


# ---------------------------------------------------------------------------------------------- measuring
def interval_facts(
    patches: PatchSet | VolumePatchSet, enhanced: Image, raw: Image | None = None, pairs: Sequence[Pair] = ()
) -> dict[str, Any]:
    """What is known of the intervals of an enhanced map: plain JSON values, as in ``trust.json``."""
    regions = {role: patches.regions(role) for role in _HELD}
    return _three_parts(parts_of(patches, enhanced, raw, pairs), patches.sr_factor, regions)


def _three_parts(
    parts: Sequence[Part], scale_px: Sequence[float], regions: Mapping[str, Sequence[Region]]
) -> dict[str, Any]:
    """Spread from the training area, factors from the stop blocks, coverage from the test blocks; plain JSON values."""
    model = fit_spread((Example(p.enhanced, p.error, p.known("train"), p.raw) for p in parts), scale_px)
    spreads = [model.spread(p.enhanced, p.raw) for p in parts]
    found: dict[str, Any] = {"target": TARGET, "spread_model": model.to_dict(), "levels": []}
    try:
        length = correlation_length((p.error, p.known(*ROLES)) for p in parts)
        side = block_side(length, len(scale_px))
        blocks, checks = (_blocks(parts, spreads, role, cut_blocks(regions[role], side)) for role in _HELD)
        calibration = calibrate_blocks(blocks, checks, levels=LEVELS)
    except InputError as e:
        return {**found, "notes": [f"No intervals: {e}"], "sentence": f"There are no intervals. {e}"}
    found |= {**calibration.to_dict(), "correlation_px": length, "block_side_px": side}
    found["curve"] = coverage_curve(blocks, checks) if checks else None
    found["by_spread"] = coverage_by_spread(checks, calibration)
    found["notes"] = list(calibration.notes)
    found["sentence"] = _sentence(calibration, side)
    return found


def _blocks(parts: Sequence[Part], spreads: Sequence[Floats], role: str, places: Sequence[Region]) -> list[BlockErrors]:
    """Blocks at least half of whose pixels are known, each from the first fine scan that shows it so."""
    found: dict[int, BlockErrors] = {}
    for part, spread in zip(parts, spreads, strict=True):
        known, used = part.known(role), np.zeros(spread.shape, bool)
        for number, place in enumerate(places):
            box = part.inside(place)
            if number in found or box is None:
                continue
            here = known[box] & ~used[box]
            if np.count_nonzero(here) >= VALID_SHARE * np.prod(place.shape):
                found[number] = BlockErrors(part.error[box][here], spread[box][here], place)
                used[box] = True
    return [found[number] for number in sorted(found)]


def _sentence(calibration: Calibration, side: int) -> str:
    said = []
    for k, level in enumerate(calibration.levels):
        if calibration.check_blocks:
            mean, error = 100 * calibration.coverage[k], 100 * calibration.coverage_error[k]
            said.append(f"{100 * level:g} % held {mean:.1f} ± {error:.1f} %")
        else:
            said.append(f"{100 * level:g} %")
    where = f" of the fine scan's pixels on {calibration.check_blocks} other blocks" if calibration.check_blocks else ""
    return (
        f"Intervals calibrated on {calibration.blocks} blocks of at least {side} px: {', '.join(said)}{where}. They "
        "speak of the fine scan as it would be recorded, with its noise, and of places like the held-out ones."
    )


# ---------------------------------------------------------------------------------------------- results
def intervals_from(
    facts: Mapping[str, Any], enhanced: Image, raw: Image | None = None, flags: TrustMap | None = None
) -> Intervals:
    """Intervals of an enhanced map from what :func:`interval_facts` said of it, or of another map of the same model."""
    model = SpreadModel.from_dict(facts["spread_model"])
    missing = None
    if flags is not None and (gone := flags.where("no_data")).any():
        missing = Image(gone, flags.grid, "no data")
    lazy = SpreadMap(model, enhanced, raw if model.uses_raw else None, missing=missing)
    calibration = Calibration.from_dict(facts) if facts["levels"] else None
    told = {k: v for k, v in facts.items() if k != "key"}
    return Intervals(calibration, enhanced.with_data(lazy), told, tuple(facts.get("notes", ())))


def _written(job: Job, intervals: Intervals) -> Intervals:
    """With the map of half widths in the run folder, unless it is there already."""
    half = intervals.uncertainty
    if half is None:
        return intervals
    path = job.folder.path / (FILE if half.grid.ndim == 2 or job.plan.values["result.tiff"] else STORE)
    if not path.exists():
        io.write(path, Image(half.data, half.grid, path.name, half.acquisition))
    return replace(intervals, files=(path.name,))


def _forget(folder: Path) -> None:
    """Remove maps of half widths that belong to another result."""
    for old in (folder / FILE, computed_or(folder / FILE)):
        old.unlink(missing_ok=True)
    shutil.rmtree(folder / STORE, ignore_errors=True)


# ---------------------------------------------------------------------------------------------- other people's images
def _dealt(blocks: Sequence[Region]) -> dict[str, list[Region]]:
    """Blocks dealt out to three parts at random."""
    order = np.random.default_rng(_SEED).permutation(len(blocks))
    return {role: [blocks[k] for k in order[n::3]] for n, role in enumerate(("train", "stop", "test"))}


def _painted(region: Region, blocks: Sequence[Region]) -> Bool:
    """Where in a region the blocks lie."""
    mask = np.zeros(region.shape, bool)
    for block in blocks:
        mask[tuple(slice(a - s, b - s) for a, b, s in zip(block.start, block.stop, region.start, strict=True))] = True
    return mask
