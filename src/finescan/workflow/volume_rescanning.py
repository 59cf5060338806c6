"""Where to scan a volume again: ``finescan rescan`` on a run of volumes."""

from __future__ import annotations

import csv
import io as text_io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from finescan import io, rescan
from finescan.errors import InputError
from finescan.rescan.doubt import flag_sentences
from finescan.rescan.plan import SCHEMA, spoken
from finescan.values import Image, TrustMap
from finescan.workflow.finished import FinishedFolder
from finescan.workflow.folder import make_folder
from finescan.workflow.opening import out_grid
from finescan.workflow.pasting import UNCERTAINTY_FILE, UNCERTAINTY_STORE
from finescan.workflow.reading import Outcome
from finescan.workflow.rescanning import INTERVAL_UNIT, RescanOptions, recorded_scans, scanned_mask
from finescan.workflow.volume_suggesting import place_size

KIND = "finescan volume rescan plan"
PLAN_FILE, LIST_FILE = "rescan.json", "rescan.csv"
MOST, LISTED = 999, 12
PICTURES_ONLY = {
    "frame": "--frame", "max_frame": "--max-frame", "value": "--value", "measure": "--measure",
    "landmarks": "--stage-landmarks", "dwell_us": "--dwell",
}  # fmt: skip


def plan_in_volume(
    run: FinishedFolder,
    coarse: Image,
    output: Path,
    goal: rescan.Goal | None,
    options: RescanOptions,
    *,
    overwrite: bool = False,
) -> Outcome:
    """Plan fine tomograms of parts of a volume; writes rescan.json and rescan.csv.

    All parts are as large as the finest fine volume of the run and take the same time, so those with most of the
    expected error come first.

    Parameters
    ----------
    run, coarse : the run and its coarse volume.
    output : folder for the files.
    goal : budget (with ``options.scan_time``) or share; None = an old plan was to be written again, which is refused.
    options : what is not for pictures only.

    Raises
    ------
    InputError, OutputError : one sentence each; nothing is written then.
    """
    if goal is None:
        raise InputError("The plan of a volume is not written again from --plan. Pass --budget or --until.")
    _require_for_volumes(options)
    seconds = None if options.scan_time is None else rescan.Goal.parse(options.scan_time, None).budget_s
    count = _affordable(goal, seconds)
    flags = io.read_volume(run.path / "flags.tif", constant_ok=True)
    trust = TrustMap(np.asarray(flags.data[...]), coarse.grid.crop((0, 0, 0), flags.grid.shape))
    error = rescan.error_cells(_half_widths(run, coarse), coarse.grid)
    recorded = [(r.grid, r.lr_from_hr) for r in recorded_scans(run)]
    finest = min(recorded, key=lambda r: float(np.prod(r[0].pixel_size_nm)))[0]
    size = place_size(finest, coarse.grid)
    scanned = scanned_mask(error.grid, recorded)
    places = rescan.choose_places(error, coarse.grid, size, scanned=scanned, most=count)
    if goal.until is not None:
        places = _until(places, goal.until)
    rows = [_row(k, p, coarse, seconds, trust) for k, p in enumerate(places, 1)]
    body: dict[str, Any] = {
        "kind": KIND, "schema": SCHEMA,
        "map": rescan.MapReference(coarse.name, coarse.grid, run.state["inputs"]["coarse"]["sha256"]).to_dict(),
        "axes": "ZYX", "size_nm": list(size), "goal": str(goal), "error_unit": INTERVAL_UNIT,
        "reduction": sum(p.reduction for p in places), "seconds": None if seconds is None else seconds * len(rows),
        "places": rows,
    }  # fmt: skip
    files = {
        PLAN_FILE: json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False).encode(),
        LIST_FILE: _csv(rows, size),
    }
    make_folder(output)
    written = [p.name for p in rescan.write_files(output, files, overwrite=overwrite)]
    return Outcome({**body, "files": written}, _text(body, output, written))


def planned_places(path: Path, here: rescan.MapReference) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Middle of every place of a plan by its name, and the size of all, nm in the frame of the coarse volume.

    Raises
    ------
    InputError : no plan of a volume, or one of another volume.
    """
    try:
        d = json.loads(path.read_text(encoding="utf-8"))
        if d["kind"] != KIND or d["schema"] != SCHEMA:
            raise ValueError(f"it is of the kind {d['kind']!r}, schema {d['schema']!r}")
        made = rescan.MapReference.from_dict(d["map"])
        middles = {
            str(p["id"]): tuple(float(v) for v in made.grid.to_nm([float(v) for v in p["centre_px"]]))
            for p in d["places"]
        }
        size = tuple(float(v) for v in d["size_nm"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} holds no rescan plan of a volume ({e}). Pass one of `finescan rescan`.") from e
    if made.sha256 != here.sha256 or not made.grid.same_as(here.grid):
        raise InputError(f"The rescan plan in {path} was made for another volume than {here.name}. Plan again.")
    return middles, size


def _require_for_volumes(options: RescanOptions) -> None:
    given = [flag for name, flag in PICTURES_ONLY.items() if getattr(options, name) is not None]
    if given:
        raise InputError(f"{', '.join(given)} is for pictures, but the run is one of volumes. Leave it out.")


def _affordable(goal: rescan.Goal, seconds: float | None) -> int:
    """How many fine tomograms a budget pays for."""
    if goal.budget_s is None:
        return MOST
    if seconds is None:
        raise InputError(
            "A budget needs the time that one fine tomogram takes, but none came. Pass for example --scan-time 2h, or "
            "a share of the error with --until 80%."
        )
    if goal.budget_s < seconds:
        raise InputError(
            f"The budget of {spoken(goal.budget_s)} is less than one fine tomogram takes ({spoken(seconds)}). Pass a "
            "larger --budget."
        )
    return min(MOST, math.floor(goal.budget_s / seconds + 1e-9))


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


def _row(
    order: int, place: rescan.VolumePlace, coarse: Image, seconds: float | None, trust: TrustMap
) -> dict[str, Any]:
    corner_um = (np.array(place.centre_px) + 0.5) * coarse.grid.pixel_size_nm / 1e3
    middle_um = corner_um - np.array(coarse.grid.extent_nm) / 2e3
    box = tuple(slice(int(a), int(b)) for a, b in zip(place.start_px, place.stop_px, strict=True))
    return {
        "id": f"R{order:03d}", "order": order,
        "start_px": list(place.start_px), "stop_px": list(place.stop_px), "centre_px": list(place.centre_px),
        "centre_um": corner_um.tolist(), "from_middle_um": middle_um.tolist(),
        "reduction": place.reduction, "seconds": seconds, "reasons": flag_sentences(trust, box),
    }  # fmt: skip


def _csv(rows: list[dict[str, Any]], size_nm: tuple[float, ...]) -> bytes:
    """One line per place; lengths in µm, in the order x, y, z of instruments."""
    out = text_io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = ("x", "y", "z")
    writer.writerow(
        ["id", *(f"centre_{n}_um" for n in names), *(f"from_middle_{n}_um" for n in names),
         *(f"size_{n}_um" for n in names), *(f"centre_{n}_px" for n in names), "reduction_percent"]
    )  # fmt: skip
    for r in rows:
        lengths = [*r["centre_um"][::-1], *r["from_middle_um"][::-1], *(s / 1e3 for s in size_nm[::-1])]
        line = [*(f"{v:.4f}" for v in lengths), *(f"{v:.2f}" for v in r["centre_px"][::-1])]
        writer.writerow([r["id"], *line, f"{100 * r['reduction']:.3f}"])
    return out.getvalue().encode()


def _text(body: dict[str, Any], output: Path, files: list[str]) -> str:
    size = " x ".join(f"{v / 1e3:.4g}" for v in body["size_nm"])
    took = "" if body["seconds"] is None else f" in {spoken(body['seconds'])}"
    share = f"{100 * body['reduction']:.1f} % of the expected error"
    lines = [f"{len(body['places'])} places of {size} µm (z, y, x){took}: {share}"]
    for row in body["places"][:LISTED]:
        middle = ", ".join(f"{v:.4g}" for v in row["centre_um"])
        lines.append(f"  {row['id']}: middle {middle} µm, {100 * row['reduction']:.1f} %. {' '.join(row['reasons'])}")
    if len(body["places"]) > LISTED:
        lines.append(f"  and {len(body['places']) - LISTED} more")
    return "\n".join([*lines, f"{output}: {', '.join(files)}"])
