"""The step of a run that calibrates intervals and writes how wrong every pixel may be."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finescan import io
from finescan.patches import PatchSet, VolumePatchSet
from finescan.trust.map_intervals import Intervals, intervals_from, measured_facts
from finescan.values import Image, Pair, TrustMap
from finescan.workflow.folder import key_of
from finescan.workflow.interval_parts import Reads, parts_of
from finescan.workflow.opening import Job
from finescan.workflow.pasting import computed_or

FILE, STORE = "uncertainty.tif", "uncertainty.ome.zarr"
_VERSION = 1


def measure_intervals(
    job: Job,
    patches: PatchSet | VolumePatchSet,
    model_used: str,
    enhanced: Image,
    flags: TrustMap,
    *,
    pairs: Sequence[Pair] = (),
) -> Intervals:
    """Intervals of what a run has written, for any method and for pictures and volumes alike.

    Writes ``uncertainty.tif`` (``uncertainty.ome.zarr`` for volumes of which the run writes no TIFF): half width of the
    90 % interval, fine grey levels, float32; NaN without data. A finished one is kept.

    Parameters
    ----------
    model_used : name of what made the result.
    enhanced : as computed, without recorded pixels pasted in.
    flags : of the result; "no_data" is used.
    pairs : registration of the fine scans, so that recorded pixels can be compared as they are.
    """
    job.progress(0, 1, "measuring intervals")
    key = key_of(job.folder.facts("enhance").get("key"), model_used, _VERSION)
    if not job.folder.is_done("intervals", key):
        _forget(job.folder.path)
        found = interval_facts(patches, enhanced, pairs)
        job.folder.finish("intervals", key, **found)
        job.folder.log("intervals", method=model_used, **found)
    facts = job.folder.facts("intervals")
    intervals = intervals_from(facts, enhanced, flags=flags)
    intervals = _written(job, intervals)
    job.progress(1, 1, "measuring intervals")
    return intervals


def interval_facts(
    patches: PatchSet | VolumePatchSet, enhanced: Image | Reads, pairs: Sequence[Pair] = ()
) -> dict[str, Any]:
    """What is known of the intervals of an enhanced map: plain JSON values, as in ``trust.json``; see `parts_of`."""
    regions = {role: patches.regions(role) for role in ("stop", "test")}
    return measured_facts(parts_of(patches, enhanced, pairs), patches.sr_factor, regions)


def _written(job: Job, intervals: Intervals) -> Intervals:
    """With the map of half widths in the run folder, unless it is there already."""
    half = intervals.uncertainty
    if half is None:
        return intervals
    path = job.folder.path / (FILE if half.grid.ndim == 2 or job.plan.values["result.tiff"] else STORE)
    if not path.exists():
        _forget(job.folder.path)  # what an earlier call put aside when recorded pixels were pasted
        io.write(path, Image(half.data, half.grid, path.name, half.acquisition))
    return replace(intervals, files=(path.name,))


def _forget(folder: Path) -> None:
    """Remove maps of half widths that belong to another result."""
    for old in (folder / FILE, computed_or(folder / FILE)):
        old.unlink(missing_ok=True)
    for store in (folder / STORE, computed_or(folder / STORE)):
        shutil.rmtree(store, ignore_errors=True)
