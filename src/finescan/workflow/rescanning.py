"""Where to scan again, from a finished run: its expected error, its fine scans, its stage, the files of the plan."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from finescan import io, rescan
from finescan.errors import FinescanError, InputError
from finescan.rescan.doubt import flag_sentences
from finescan.values import Grid, Image, StagePose, TrustMap, Verdict, Warp
from finescan.workflow.finished import FinishedFolder, open_finished
from finescan.workflow.folder import make_folder
from finescan.workflow.pasting import FULL, MEASURED_FILE, NOISE_FREE_FILE, UNCERTAINTY_FILE, with_grey
from finescan.workflow.reading import Outcome, as_planned

PLAN_FILE, PICTURE_FILE = "rescan.json", "rescan.png"
LISTED = 12  # fields in the printed summary
SETTLE_S = 2.0  # per field of a picture, where nothing is said
INTERVAL_UNIT = "squared grey levels of the fine scan, from the calibrated intervals"
SAMPLE_UNIT = "squared grey levels of the fine scan, from the calibrated intervals, its noise set aside"
ERROR_UNIT = "local variance of the coarse map beyond noise, weighted by flags (squared grey levels)"


@dataclass(frozen=True)
class RescanOptions:
    """What is asked for, and what the run does not say.

    Parameters
    ----------
    budget, until : ``20min`` or ``95%``; one of them.
    order : a name from ``finescan.rescan.ORDERS``.
    frame, max_frame : width and height of the usual and of the largest frame, px; None = that of the finest fine scan,
        and no merging. Volumes: width and height of the detector, or x, y, z.
    pixel_size_nm : of the fine scan; None = that of the enhanced map.
    dwell_us : None = that of the finest fine scan.
    settle_s, stage_um_per_s, line_overhead_us : overheads, see ``finescan.rescan.ScanTimes``; None = 2 s for pictures,
        nothing for volumes.
    value : picture or volume on the coarse grid whose grey levels weigh every pixel.
    measure : "dark" or "bright": fields are chosen for the area of such objects instead of for every pixel.
    landmarks : YAML or JSON with ``[[[y, x] map px, [x, y] stage µm], …]``; of volumes three numbers each, or a CSV.
    formats : ``all`` or names with commas.
    export : what the programs must be told besides.
    scan_time : volumes: of one fine tomogram, ``2h``.
    frame_um : volumes: like ``frame``, in µm.
    rotation_axis : volumes: z, y or x: a tomogram covers the cylinder around that axis; None = as the fine volume does.
    """

    budget: str | None = None
    until: str | None = None
    order: str = "shortest"
    frame: tuple[int, ...] | None = None
    max_frame: tuple[int, int] | None = None
    pixel_size_nm: tuple[float, ...] | None = None
    dwell_us: float | None = None
    settle_s: float | None = None
    stage_um_per_s: float = math.inf
    line_overhead_us: float = 0.0
    value: Path | None = None
    measure: str | None = None
    landmarks: Path | None = None
    formats: str = "all"
    export: rescan.ExportOptions = field(default_factory=rescan.ExportOptions)
    scan_time: str | None = None
    frame_um: tuple[float, ...] | None = None
    rotation_axis: str | None = None


@dataclass(frozen=True)
class Recorded:
    """A fine scan that the run has found in its map."""

    name: str
    grid: Grid
    lr_from_hr: Warp
    verdict: Verdict
    image: Image | None


def rescan_folder(
    folder: str | Path,
    output: str | Path,
    *,
    options: RescanOptions,
    plan: str | Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Plan where to scan again, and write rescan.json, a numbered picture and the lists for other programs.

    Parameters
    ----------
    folder : a finished run folder. Its coarse scan must still be where it was; fine scans may be gone.
    output : folder for the files.
    options : budget or share, instrument, forms.
    plan : a rescan.json of this run to write again (perhaps edited), instead of planning.

    Raises
    ------
    InputError, OutputError : one sentence each; nothing is written then.
    """
    names, everything = rescan.formats_of(options.formats)
    goal = None if plan is not None else rescan.Goal.parse(options.budget, options.until, options.order)
    run = open_finished(folder)
    coarse = coarse_scan(run)
    if coarse.grid.ndim == 3:
        from finescan.workflow.volume_rescanning import Forms, plan_in_volume

        forms, old = Forms(names, everything), None if plan is None else Path(plan)
        return plan_in_volume(run, coarse, Path(output), goal, options, forms=forms, plan=old, overwrite=overwrite)
    _require_for_pictures(options)
    here = rescan.MapReference(
        coarse.name, coarse.grid, run.state["inputs"]["coarse"]["sha256"], coarse.acquisition.databar_rows
    )
    if goal is None:
        made = rescan.load_plan(Path(plan or ""))
        rescan.require_map(made, here)
    else:
        made = _planned(run, coarse, here, goal, options)
    lists, left_out = rescan.exported(made, names, options=options.export, skip=everything)
    files = {**lists, PICTURE_FILE: rescan.numbered_picture(coarse.data, made), PLAN_FILE: rescan.plan_bytes(made)}
    make_folder(Path(output))
    written = rescan.write_files(output, files, overwrite=overwrite)
    facts = {**made.to_dict(), "files": [p.name for p in written], "left_out": left_out}
    return Outcome(facts, _text(made, Path(output), [p.name for p in written], left_out))


def _require_for_pictures(options: RescanOptions) -> None:
    if options.scan_time is not None:
        raise InputError("--scan-time is for volumes; the time of a field follows from --dwell. Leave it out.")
    if options.rotation_axis is not None:
        raise InputError("--rotation-axis is for volumes, but the run is one of pictures. Leave it out.")
    if options.frame_um is not None or len(options.frame or (0, 0)) != 2:
        raise InputError(
            "The frame of a picture is width x height in pixels, such as 1024x884, but another came. Correct --frame."
        )


def error_map(run: FinishedFolder, coarse: Image, trust: TrustMap) -> NDArray[np.float32]:
    """What is expected to be wrong per coarse pixel, 0 or more (see :func:`error_unit`); nothing where it was recorded.

    From the run's calibrated intervals, or without them from the local variance of the coarse map and its flags.
    """
    half, measured = _half_widths(run), run.path / MEASURED_FILE
    if half is not None:
        error = rescan.interval_error(_on_result(half, coarse, run), trust)
    else:
        yardstick = run.state["steps"]["enhance"].get("yardstick") or {}
        error = rescan.expected_error(coarse.array(), trust, noise_sigma=float(yardstick.get("noise_sigma") or 0.0))
    if measured.exists():
        error = error * rescan.mean_under(_on_result(measured, coarse, run), coarse.grid, lambda m: 1 - m / FULL)
    return error.astype(np.float32)


def error_unit(run: FinishedFolder) -> str:
    """What :func:`error_map` holds, for readers."""
    half = _half_widths(run)
    return ERROR_UNIT if half is None else SAMPLE_UNIT if half.name == NOISE_FREE_FILE else INTERVAL_UNIT


def _half_widths(run: FinishedFolder) -> Path | None:
    """The file of half widths that expected errors come from: a new scan takes errors away, not its own noise."""
    return next((p for n in (NOISE_FREE_FILE, UNCERTAINTY_FILE) if (p := run.path / n).exists()), None)


def _on_result(path: Path, coarse: Image, run: FinishedFolder) -> Image:
    """A picture of the run on the grid of its enhanced map."""
    target = run.plan.values["target.pixel_size_nm"]
    grid = coarse.grid.refine([a / b for a, b in zip(coarse.grid.pixel_size_nm, target, strict=True)])
    image = io.read(path)
    return image.with_data(image.data, grid)


# ------------------------------------------------------------------ planning
def _planned(
    run: FinishedFolder, coarse: Image, here: rescan.MapReference, goal: rescan.Goal, options: RescanOptions
) -> rescan.RescanPlan:
    recorded = recorded_scans(run)
    flags = io.read(run.path / "flags.tif", pixel_size_nm=coarse.grid.pixel_size_nm).data
    trust = TrustMap(np.asarray(flags[...]), coarse.grid)
    finest = min(recorded, key=lambda r: float(np.prod(r.grid.pixel_size_nm)))
    error, unit = _error(run, coarse, trust, recorded, options.measure)
    return rescan.plan_rescan(
        error,
        here,
        frame=_frame(run, finest, options),
        times=_times(coarse, finest, options),
        goal=goal,
        value=None if options.value is None else _value(options.value, coarse),
        scanned=scanned_mask(coarse.grid, [(r.grid, r.lr_from_hr) for r in recorded]),
        stage=_stage(coarse, recorded, options.landmarks),
        error_unit=unit,
        reasons=lambda box: flag_sentences(trust, box),
    )


def _error(
    run: FinishedFolder, coarse: Image, trust: TrustMap, recorded: Sequence[Recorded], measure: str | None
) -> tuple[NDArray[np.float32], str]:
    """What a plan is to reduce, and what that is."""
    if measure is None:
        return error_map(run, coarse, trust), error_unit(run)
    from finescan.workflow.valuing import object_value

    scans = [(r.image, r.lr_from_hr) for r in recorded if r.image is not None]
    return object_value(run, coarse, scans, measure)


def coarse_scan(run: FinishedFolder) -> Image:
    """The coarse picture or volume, unchanged since the run."""
    path = run.coarse
    if not path.exists():
        raise InputError(f"Planning needs the coarse scan, but {path} cannot be found. Put it back.")
    if io.fingerprint(path) != run.state["inputs"]["coarse"]["sha256"]:
        raise InputError(f"{path} is not the file that the run in {run.path} was made from. Put that one back.")
    return as_planned(run.reading, "coarse", path, run.plan.values.get("coarse.pixel_size_nm"))


def recorded_scans(run: FinishedFolder) -> list[Recorded]:
    """The fine scans that the run went on with, with their files where these are still there."""
    pairs = [_pair(run, k, path) for k, path in enumerate(run.fines)]
    for verdict in (Verdict.FOUND, Verdict.DOUBTFUL):  # doubtful ones were used when there was nothing better
        used = [p for p in pairs if p is not None and p.verdict is verdict]
        if used:
            return used
    raise InputError(f"The run in {run.path} holds no fine scan that was found. Run it again.")


def _pair(run: FinishedFolder, k: int, path: Path) -> Recorded | None:
    folders = sorted((run.path / "pair").glob(f"{k + 1:02d}-*"))
    if not folders:
        return None
    d = json.loads((folders[0] / "pair.json").read_text(encoding="utf-8"))
    sizes = run.plan.values.get("fine.pixel_size_nm") or []
    image = None
    with suppress(FinescanError, OSError):
        image = as_planned(run.reading, "fine", path, sizes[k] if k < len(sizes) else None)
    greys = run.plan.values.get("merge.grey") or []
    if image is not None and k < len(greys) and greys[k] is not None:
        image = with_grey(image, *map(float, greys[k]))
    grid, warp = Grid.from_dict(d["hr"]["grid"]), Warp.from_dict(d["lr_from_hr"])
    return Recorded(d["hr"]["name"], grid, warp, Verdict(d["verdict"]), image)


def scanned_mask(grid: Grid, scans: Sequence[tuple[Grid, Warp]]) -> NDArray[np.bool_]:
    """Coarse pixels (or cells of a volume) whose centre lies in a fine scan, from its grid and ``lr_from_hr``."""
    mask = np.zeros(grid.shape, bool)
    for fine, warp in scans:
        rim = _lattice([(-0.5, (n - 1) / 2, n - 0.5) for n in fine.shape])
        index = grid.to_index(warp(fine.to_nm(rim.reshape(-1, grid.ndim))))
        low = np.clip(np.floor(index.min(axis=0)) - 1, 0, grid.shape).astype(int)
        high = np.clip(np.ceil(index.max(axis=0)) + 2, low, grid.shape).astype(int)
        places = _lattice([np.arange(a, b) for a, b in zip(low, high, strict=True)])
        inside = fine.to_index(warp.inverse_at(grid.to_nm(places)))
        covered = ((inside >= -0.5) & (inside <= np.array(fine.shape) - 0.5)).all(axis=-1)
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= covered
    return mask


def _lattice(axes: Sequence[Any]) -> NDArray[Any]:
    """All combinations of places along the axes, (…, number of axes)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _frame(run: FinishedFolder, finest: Recorded, options: RescanOptions) -> rescan.Frame:
    size = options.pixel_size_nm or tuple(run.plan.values["target.pixel_size_nm"])
    shape = finest.grid.shape if options.frame is None else options.frame[::-1]
    largest = None if options.max_frame is None else options.max_frame[::-1]
    return rescan.Frame((shape[0], shape[1]), (float(size[0]), float(size[-1])), largest)


def _times(coarse: Image, finest: Recorded, options: RescanOptions) -> rescan.ScanTimes:
    dwell = options.dwell_us
    if dwell is None and finest.image is not None:
        dwell = finest.image.acquisition.dwell_time_us
    if dwell is None:
        raise InputError(
            f"The dwell time of a fine scan is needed, but {finest.name} does not state one. Pass --dwell in µs."
        )
    settle = SETTLE_S if options.settle_s is None else options.settle_s
    times = rescan.ScanTimes(dwell, settle, options.stage_um_per_s, options.line_overhead_us)
    spent = coarse.acquisition.dwell_time_us
    if spent is None:
        return times
    rows, columns = coarse.grid.shape
    return replace(times, coarse_s=replace(times, dwell_us=spent).scan_s((rows, columns)))


def _value(path: Path, coarse: Image) -> NDArray[Any]:
    value = io.read(path, pixel_size_nm=coarse.grid.pixel_size_nm)
    if value.grid.shape != coarse.grid.shape:
        raise InputError(
            f"{path.name} has {value.grid.shape} px, but weights are given for every one of the {coarse.grid.shape} px "
            f"of {coarse.name}. Pass a picture of that size with --value."
        )
    return value.array()


def _stage(coarse: Image, recorded: Sequence[Recorded], landmarks: Path | None) -> rescan.StageTransform | None:
    if landmarks is not None:
        return rescan.stage_from_landmarks(coarse.grid, _landmarks(landmarks))
    return rescan.stage_from_header(coarse, posed(recorded))


def posed(recorded: Sequence[Recorded]) -> list[tuple[str, NDArray[np.float64], StagePose]]:
    """Of the fine scans that say where the stage stood: name, middle in the frame of the coarse scan (nm), and that."""
    found = []
    for r in recorded:
        if r.image is not None and r.image.acquisition.stage is not None:
            middle = r.lr_from_hr(r.grid.to_nm([(n - 1) / 2 for n in r.grid.shape]))
            found.append((r.name, middle, r.image.acquisition.stage))
    return found


def _landmarks(path: Path) -> list[Any]:
    try:
        points = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise InputError(f"{path} is not readable as YAML or JSON ({e}). Correct it.") from e
    if not isinstance(points, list):
        raise InputError(f"{path} must hold a list of [[y, x] map px, [x, y] stage µm], but it holds something else.")
    return points


# ------------------------------------------------------------------ words
def _text(plan: rescan.RescanPlan, folder: Path, names: Sequence[str], left_out: Sequence[str]) -> str:
    times = plan.times
    lines = [
        f"{plan} (asked for: {plan.goal})",
        f"frames of {plan.frame}, {times.dwell_us:g} µs dwell, {times.settle_s:g} s to settle",
    ]
    if plan.relative_time is not None:
        lines.append(
            f"coarse map and fields take {100 * plan.relative_time:.1f} % of a fine scan of everything "
            f"({rescan.spoken(plan.everything_s)})"
        )
    lines.append(f"stage: {plan.stage}" if plan.stage else "stage: not known; the plan is in map pixels only")
    lines += [f"note: {n}" for n in plan.notes]
    lines.append(f"{'field':>6} {'x px':>9} {'y px':>9} {'removes':>8} {'time':>8}  why")
    for f in plan.fields[:LISTED]:
        y, x = f.centre_px
        why = " ".join(f.reasons[1:])
        lines.append(f"{f.id:>6} {x:9.1f} {y:9.1f} {100 * f.reduction:6.2f} % {rescan.spoken(f.seconds):>8}  {why}")
    if len(plan.fields) > LISTED:
        lines.append(f"{'…':>6} {len(plan.fields) - LISTED} more")
    return "\n".join([*lines, *left_out, f"{folder}: {', '.join(names)}"])
