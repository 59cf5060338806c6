"""The step of a run that calibrates intervals and writes how wrong every pixel may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.patches import PatchSet, Piece, VolumePatchSet, VolumePiece
from finescan.trust.map_intervals import Intervals, intervals_from, measured_facts
from finescan.trust.spread_model import SpreadModel
from finescan.values import Grid, Image, Pair, TrustMap
from finescan.workflow.folder import forget, key_of
from finescan.workflow.interval_parts import Reads, parts_of
from finescan.workflow.judging import on_grid
from finescan.workflow.noise_free import noise_free_facts
from finescan.workflow.opening import Job
from finescan.workflow.pasting import HALF_WIDTHS, NOISE_FREE_FILE, UNCERTAINTY_FILE, UNCERTAINTY_STORE, computed_or

_VERSION = 2


def measure_intervals(
    job: Job,
    patches: PatchSet | VolumePatchSet,
    model_used: str,
    enhanced: Image,
    flags: TrustMap,
    *,
    pairs: Sequence[Pair] = (),
    plain: Reads | None = None,
) -> Intervals:
    """Intervals of what a run has written, for any method and for pictures and volumes alike.

    Writes ``uncertainty.tif`` (``uncertainty.ome.zarr`` for volumes of which the run writes no TIFF): half width of the
    90 % interval, fine grey levels, float32; NaN without data. For pictures ``uncertainty_noise_free.tif`` as well: the
    same for the sample itself, where the noise of the fine scan can be told from errors. Finished ones are kept.

    Parameters
    ----------
    model_used : name of what made the result.
    enhanced : as computed, without recorded pixels pasted in.
    flags : of the result; "no_data" is used.
    pairs : registration of the fine scans, so that recorded pixels can be compared as they are.
    plain : the interpolation of the piece under a fine scan, given with its grid, that pictures are compared with.
    """
    job.progress(0, 1, "measuring intervals")
    key = key_of(job.folder.facts("enhance").get("key"), model_used, _VERSION)
    if not job.folder.is_done("intervals", key):
        _forget(job.folder.path)
        found = interval_facts(patches, enhanced, pairs, plain)
        job.folder.finish("intervals", key, **found)
        job.folder.log("intervals", method=model_used, **found)
    facts = job.folder.facts("intervals")
    intervals = intervals_from(facts, enhanced, flags=flags)
    intervals = _written(job, intervals)
    job.progress(1, 1, "measuring intervals")
    return intervals


def interval_facts(
    patches: PatchSet | VolumePatchSet,
    enhanced: Image | Reads,
    pairs: Sequence[Pair] = (),
    plain: Reads | None = None,
) -> dict[str, Any]:
    """What is known of the intervals of an enhanced map: plain JSON values, as in ``trust.json``; see `parts_of`.

    Of pictures "noise_free" as well (:func:`finescan.workflow.noise_free.noise_free_facts`).
    """
    regions = {role: patches.regions(role) for role in ("stop", "test")}
    found = measured_facts(parts_of(patches, enhanced, pairs), patches.sr_factor, regions)
    if found["levels"] and isinstance(patches, PatchSet):

        def seen(piece: Piece | VolumePiece, grid: Grid) -> NDArray[np.float32]:
            return on_grid(enhanced, grid) if isinstance(enhanced, Image) else enhanced(piece, grid)

        model = SpreadModel.from_dict(found["spread_model"])
        found["noise_free"] = noise_free_facts(patches, seen, pairs, model, found["correlation_px"], plain)
    return found


def _written(job: Job, intervals: Intervals) -> Intervals:
    """With the maps of half widths in the run folder, unless they are there already."""
    half, sample = intervals.uncertainty, intervals.noise_free
    if half is None:
        return intervals
    tiff = half.grid.ndim == 2 or job.plan.values["result.tiff"]
    images = {UNCERTAINTY_FILE if tiff else UNCERTAINTY_STORE: half}
    if sample is not None:
        images[NOISE_FREE_FILE] = sample
    folder = job.folder.path
    if not all((folder / name).exists() for name in images):
        _forget(folder)  # what an earlier call put aside when recorded pixels were pasted
        for name, image in images.items():
            io.write(folder / name, Image(image.data, image.grid, name, image.acquisition))
    return replace(intervals, files=tuple(images))


def _forget(folder: Path) -> None:
    """Remove maps of half widths that belong to another result."""
    forget(*(path for name in HALF_WIDTHS for path in (folder / name, computed_or(folder / name))))
