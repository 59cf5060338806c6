"""Where to scan a volume again: ``finescan rescan`` on a run of volumes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finescan import io, rescan
from finescan.errors import InputError
from finescan.rescan.doubt import flag_sentences
from finescan.rescan.volume_plan import KIND, READ
from finescan.values import Grid, Image, TrustMap
from finescan.workflow.finished import FinishedFolder
from finescan.workflow.folder import make_folder
from finescan.workflow.opening import out_grid
from finescan.workflow.pasting import TIFF_FILE, UNCERTAINTY_FILE, UNCERTAINTY_STORE, ZARR_FILE
from finescan.workflow.reading import Outcome
from finescan.workflow.rescanning import (
    INTERVAL_UNIT,
    LISTED,
    PICTURE_FILE,
    PLAN_FILE,
    Recorded,
    RescanOptions,
    recorded_scans,
    scanned_mask,
)
from finescan.workflow.volume_field import asked_field, box_px, tomogram_times, volume_stage

MOST = 999
KINDS = "dark", "bright"
MEASURE_UNIT = "voxels of the result on the wrong side of the threshold of {kind} objects"
PICTURES_ONLY = {"max_frame": "--max-frame", "dwell_us": "--dwell"}
VOXELS_ONLY = "Places are given in voxels, and in µm from the corner and from the middle of the coarse volume."


@dataclass(frozen=True)
class Forms:
    """Which lists to write.

    Parameters
    ----------
    names : of exporters, as :func:`finescan.rescan.formats_of` gives them.
    everything : all that can be written.
    """

    names: tuple[str, ...]
    everything: bool


def plan_in_volume(
    run: FinishedFolder,
    coarse: Image,
    output: Path,
    goal: rescan.Goal | None,
    options: RescanOptions,
    *,
    forms: Forms,
    plan: Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Plan fine tomograms of parts of a volume; writes rescan.json, a numbered picture and lists for programs.

    All parts have the size of one field of view and take the same time, so those with most of the expected error are
    taken first; they are scanned in an order of short ways for the stage.

    Parameters
    ----------
    run, coarse : the run and its coarse volume.
    output : folder for the files.
    goal : budget (with ``options.scan_time``) or share; None = ``plan`` is written again.
    options : what is not for pictures only.

    Raises
    ------
    InputError, OutputError : one sentence each; nothing is written then.
    """
    _require_for_volumes(options)
    names = rescan.volume_formats_of(forms.names, forms.everything)
    here = rescan.MapReference(coarse.name, coarse.grid, run.state["inputs"]["coarse"]["sha256"])
    if goal is None:
        made = rescan.load_volume_plan(plan or Path())
        _require_volume(made.map, here, Path(plan or ""))
    else:
        made = _planned(run, coarse, here, goal, options)
    lists, left_out = rescan.exported(
        made, names, options=options.export, skip=forms.everything, table=rescan.VOLUME_EXPORTERS
    )
    picture = rescan.numbered_views(coarse.data, made)
    files = {**lists, PICTURE_FILE: picture, PLAN_FILE: rescan.volume_plan_bytes(made)}
    make_folder(output)
    written = [p.name for p in rescan.write_files(output, files, overwrite=overwrite)]
    facts = {**made.to_dict(), "files": written, "left_out": left_out}
    return Outcome(facts, _text(made, output, written, left_out))


def planned_places(path: Path, here: rescan.MapReference) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Middle of every place of a plan by its name, and the size of all, nm in the frame of the coarse volume.

    Raises
    ------
    InputError : no plan of a volume, or one of another volume.
    """
    try:
        d = json.loads(path.read_text(encoding="utf-8"))
        if d["kind"] != KIND or d["schema"] not in READ:
            raise ValueError(f"it is of the kind {d['kind']!r}, schema {d['schema']!r}")
        made = rescan.MapReference.from_dict(d["map"])
        middles = {
            str(p["id"]): tuple(float(v) for v in made.grid.to_nm([float(v) for v in p["centre_px"]]))
            for p in d["places"]
        }
        size = tuple(float(v) for v in d["size_nm"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} holds no rescan plan of a volume ({e}). Pass one of `finescan rescan`.") from e
    _require_volume(made, here, path)
    return middles, size


def _require_volume(made: rescan.MapReference, here: rescan.MapReference, path: Path) -> None:
    if made.sha256 != here.sha256 or not made.grid.same_as(here.grid):
        raise InputError(f"The rescan plan in {path} was made for another volume than {here.name}. Plan again.")


def _require_for_volumes(options: RescanOptions) -> None:
    given = [flag for name, flag in PICTURES_ONLY.items() if getattr(options, name) is not None]
    if given:
        raise InputError(f"{', '.join(given)} is for pictures, but the run is one of volumes. Leave it out.")


# ------------------------------------------------------------------ planning
def _planned(
    run: FinishedFolder, coarse: Image, here: rescan.MapReference, goal: rescan.Goal, options: RescanOptions
) -> rescan.VolumePlan:
    recorded = recorded_scans(run)
    finest = min(recorded, key=lambda r: float(np.prod(r.grid.pixel_size_nm)))
    field = asked_field(coarse, finest, run.plan.values["target.pixel_size_nm"], options)
    times = tomogram_times(finest, options, needed=goal.budget_s is not None)
    count = _affordable(goal, times)
    stage, why = volume_stage(coarse, recorded, options.landmarks)
    error, unit = _error(run, coarse, options)
    scanned = scanned_mask(error.grid, [(r.grid, r.lr_from_hr) for r in recorded])
    places = rescan.choose_places(error, coarse.grid, field.size_nm, axis=field.axis, scanned=scanned, most=count)
    if goal.until is not None:
        places = _until(places, goal.until)
    trust = _flags(run, coarse)
    visits = rescan.visits_in_order(places, here, field, times, goal, lambda p: _reasons(trust, p))
    if not visits:
        raise InputError(_too_little(goal, times))
    notes = [*_notes(field, times, finest, options), *([f"{why} {VOXELS_ONLY}"] if stage is None else [])]
    return rescan.VolumePlan(here, field, times, goal, visits, stage, unit, tuple(notes))


def _flags(run: FinishedFolder, coarse: Image) -> TrustMap:
    flags = io.read_volume(run.path / "flags.tif", constant_ok=True)
    return TrustMap(np.asarray(flags.data[...]), coarse.grid.crop((0, 0, 0), flags.grid.shape))


def _reasons(trust: TrustMap, place: rescan.VolumePlace) -> list[str]:
    return flag_sentences(trust, box_px(place))


def _affordable(goal: rescan.Goal, times: rescan.TomogramTimes) -> int:
    """How many fine tomograms a budget pays for if the stage is there at once."""
    one = times.place_s()
    if goal.budget_s is None or one is None:
        return MOST
    if goal.budget_s < one:
        raise InputError(_too_little(goal, times))
    return min(MOST, math.floor(goal.budget_s / one + 1e-9))


def _too_little(goal: rescan.Goal, times: rescan.TomogramTimes) -> str:
    one, more = rescan.spoken(times.place_s() or 0.0), ""
    if math.isfinite(times.stage_um_per_s):
        more = " and the way of the stage"
    return (
        f"The budget of {rescan.spoken(goal.budget_s or 0.0)} is less than one fine tomogram takes ({one}{more}). Pass "
        "a larger --budget."
    )


def _error(run: FinishedFolder, coarse: Image, options: RescanOptions) -> tuple[Image, str]:
    """What a plan is to reduce, and what that is."""
    half, unit = _half_widths(run, coarse), INTERVAL_UNIT
    if options.measure is None:
        error = rescan.error_cells(half, coarse.grid)
    else:
        unit = MEASURE_UNIT.format(kind=options.measure)
        threshold = _threshold(run, options.measure)
        error = rescan.misjudged_cells(_enhanced(run, half.grid), half, coarse.grid, threshold)
    if options.value is None:
        return error, unit
    value = io.read_volume(options.value, voxel_size_nm=coarse.grid.pixel_size_nm, constant_ok=True)
    if value.grid.shape != coarse.grid.shape:
        raise InputError(
            f"{options.value.name} has {value.grid.shape} voxels, but weights are given for every one of the "
            f"{coarse.grid.shape} voxels of {coarse.name}. Pass a volume of that size with --value."
        )
    weighed = rescan.weighed(error, value.with_data(value.data, coarse.grid))
    return weighed, f"{unit}, times {options.value.name}"


def _threshold(run: FinishedFolder, kind: str) -> float:
    """Grey level at which the run set such objects apart."""
    if kind not in KINDS:
        raise InputError(f"Rescans are planned for the volume of {' or '.join(KINDS)} objects, but {kind!r} came.")
    measured: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        facts = json.loads((run.path / "trust.json").read_text(encoding="utf-8"))
        measured = (facts.get("pores") or {}).get("whole") or {}
    found = (measured.get("config") or {}).get("pores")
    if found != kind or not measured.get("threshold"):
        raise InputError(
            f"The run in {run.path} has measured {found or 'no'} objects, not {kind} ones. Run it again with --set "
            f"measure.objects={kind}, or plan for voxels."
        )
    return float(measured["threshold"]["value"])


def _enhanced(run: FinishedFolder, grid: Grid) -> Image:
    name = ZARR_FILE if (run.path / ZARR_FILE).exists() else TIFF_FILE
    image = io.read_volume(run.path / name)
    return image.with_data(image.data, grid)


def _half_widths(run: FinishedFolder, coarse: Image) -> Image:
    found = [run.path / n for n in (UNCERTAINTY_FILE, UNCERTAINTY_STORE) if (run.path / n).exists()]
    if not found:
        raise InputError(
            f"The run in {run.path} has no calibrated intervals, so nothing tells where its result is most wrong. "
            "Record a larger fine volume and run again."
        )
    half = io.read_volume(found[0], constant_ok=True)
    return half.with_data(half.data, out_grid(coarse, run.plan))


def _until(places: list[rescan.VolumePlace], share: float) -> list[rescan.VolumePlace]:
    total = np.cumsum([p.reduction for p in places])
    if total[-1] < share - 1e-9:
        raise InputError(
            f"Fine tomograms of all that is left remove {100 * total[-1]:.0f} % of the expected error, less than the "
            f"{100 * share:.3g} % asked for. Pass a smaller --until."
        )
    return places[: int(np.searchsorted(total, share - 1e-9)) + 1]


# ------------------------------------------------------------------ words
def _notes(
    field: rescan.FieldOfView, times: rescan.TomogramTimes, finest: Recorded, options: RescanOptions
) -> list[str]:
    notes = []
    asked = options.rotation_axis is not None or len(options.frame_um or options.frame or ()) == 2
    if field.axis and not asked:
        notes.append(
            f"The corners of {finest.name} hold nothing, so the gain of a place is counted in the cylinder around "
            f"{field.axis}."
        )
    if not asked and finest.image is None:
        notes.append(
            f"{finest.name} is not there any more, so it is not known whether its field of view was round; whole boxes "
            "are counted. --rotation-axis z counts cylinders."
        )
    if times.scan_s is not None and options.settle_s is None:
        notes.append("Times hold no overhead for moving and aligning the sample; --settle adds one, in s.")
    return notes


def _text(plan: rescan.VolumePlan, output: Path, files: Sequence[str], left_out: Sequence[str]) -> str:
    lines = [f"{plan} (asked for: {plan.goal})", f"error: {plan.error_unit}"]
    if plan.stage is not None:
        lines.append(f"stage: {plan.stage}")
    lines += [f"note: {n}" for n in plan.notes]
    for v in plan.visits[:LISTED]:
        middle = ", ".join(f"{c:.4g}" for c in plan.centre_um(v.place)[::-1])
        at = plan.stage_um(v.place)
        where = "" if at is None else f", stage {', '.join(f'{c:.1f}' for c in at)} µm"
        share = f"{100 * v.place.reduction:.1f} %"
        lines.append(f"  {v.id}: middle {middle} µm (x, y, z){where}, {share}. {' '.join(v.reasons)}")
    if len(plan.visits) > LISTED:
        lines.append(f"  and {len(plan.visits) - LISTED} more")
    return "\n".join([*lines, *left_out, f"{output}: {', '.join(files)}"])
