"""What goes with a model about its errors: measured where it was trained, read again when it enhances another map.

``trust.json`` in the model folder holds intervals, how the coarse scan follows from the fine one (the yardstick), what
tells lost and invented objects, and the SHA-256 of the weights all of it was measured with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.enhancement import Enhanced
from finescan.models import Model, weights_hash
from finescan.patches import PatchSet, Piece, VolumePiece
from finescan.trust import Consistency
from finescan.trust.doubt import Doubts
from finescan.trust.map_intervals import SHOWN, Intervals, intervals_from
from finescan.values import Circle, Grid, Image, Pair
from finescan.workflow import doubting, judging
from finescan.workflow.field_of_view import corners_are_empty, field_of_view
from finescan.workflow.folder import forget as forget_files
from finescan.workflow.folder import write_json
from finescan.workflow.intervals import interval_facts
from finescan.workflow.opening import Job

FILE = "trust.json"
SCHEMA = 1
CHECKED = "Checked against the coarse scan with what was measured where the model was trained; see the flags."


@dataclass(frozen=True)
class Carried:
    """What a model folder says of the errors of its model.

    Parameters
    ----------
    facts : of :func:`finescan.trust.map_intervals.measured_facts`; None = there are no intervals.
    why_not : a sentence, where there are none.
    check : the yardstick; None = there is none.
    doubts : what tells lost and invented objects; None = nothing.
    """

    facts: dict[str, Any] | None = None
    why_not: str = ""
    check: Consistency | None = None
    doubts: Doubts | None = None


def measure_with_model(model: Model, patches: PatchSet, pairs: Sequence[Pair] = ()) -> dict[str, Any]:
    """Intervals of what a model makes of the coarse pixels under the fine scans it learned from (pictures)."""

    def seen(piece: Piece | VolumePiece, grid: Grid) -> NDArray[np.float32]:
        return model.predict(piece.lr)

    return interval_facts(patches, seen, pairs)


def keep(
    folder: Path,
    model: Model,
    facts: dict[str, Any],
    check: dict[str, Any] | None = None,
    doubts: dict[str, Any] | None = None,
) -> None:
    """Put what was measured into a model folder.

    Parameters
    ----------
    facts : of intervals; where they could not be had, the reason.
    check, doubts : the yardstick and what tells wrong objects, as plain JSON values.
    """
    told = {k: v for k, v in facts.items() if k != "key"}
    body = {"schema": SCHEMA, "weights_sha256": weights_hash(model), "intervals": told}
    write_json(folder / FILE, {**body, "yardstick": check, "doubts": doubts})


def keep_from_run(job: Job, model: Model, method: str, ranges: Intervals) -> None:
    """Let the model of a run carry what was measured of its result, if the result is what the model made."""
    folder = job.folder.path / "model"
    if method == model.card.architecture and job.plan.values.get("result.fallback", "none") == "none":
        found = job.folder.facts("enhance")
        keep(folder, model, dict(ranges.facts), found.get("yardstick"), (found.get("doubts") or {}).get("model"))
    else:
        forget(folder)


def forget(folder: Path) -> None:
    """Remove what an earlier model left in a folder."""
    (folder / FILE).unlink(missing_ok=True)


def carried_by(folder: Path, model: Model, *, chained: bool = False) -> Carried:
    """What a model folder holds, if it was measured with this model; nothing for models in a chain."""
    path = folder / FILE
    if chained:
        return Carried(None, "There are no intervals: the models run one after the other, and were calibrated alone.")
    if not path.exists():
        return Carried(None, "There are no intervals: the model was saved without any.")
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        known, digest, facts = body["schema"], body["weights_sha256"], body["intervals"]
        levels = list(facts["levels"])
        check = None if body.get("yardstick") is None else Consistency.from_dict(body["yardstick"])
        doubts = None if body.get("doubts") is None else Doubts.from_dict(body["doubts"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        return Carried(None, f"There are no intervals: {path} cannot be read ({e}).")
    if known != SCHEMA:
        return Carried(None, f"There are no intervals: {path} has schema {known}, and this version reads {SCHEMA}.")
    if digest != weights_hash(model):
        return Carried(None, f"There are no intervals: those in {path} belong to other weights.")
    if SHOWN not in levels:
        return Carried(None, str(facts.get("sentence") or "There are no intervals of 90 %."), check, doubts)
    return Carried(facts, "", check, doubts)


def with_flags(enhanced: Enhanced, lr: Image, carried: Carried, likeness: str) -> Enhanced:
    """The map with flags where it contradicts the coarse one, and where objects were lost or invented.

    As in the run that the model comes from; nothing is flagged on a map that is unlike it.

    Parameters
    ----------
    lr : the coarse map or volume, as the model read it.
    carried : by the model.
    likeness : verdict of the comparison with the training area.
    """
    check = carried.check
    if check is None or not check.informative or likeness == "unlike":
        return enhanced
    if lr.grid.ndim == 3:
        from finescan.workflow import volume_doubting, volume_judging

        circle = field_of_view(lr, corners_are_empty(lr, Circle.inscribed(lr.grid)))
        flags = volume_judging.mark_inconsistent(enhanced.image, lr, enhanced.trust, check, circle)
        if carried.doubts is not None:
            flags, _ = volume_doubting.mark_learned_volume(enhanced.image, lr, flags, check, carried.doubts, circle)
    else:
        flags = judging.mark_inconsistent(enhanced.image, lr, enhanced.trust, check)
        if carried.doubts is not None:
            flags = doubting.mark_learned(enhanced.image, lr, flags, check, carried.doubts)[0]
    return replace(enhanced, trust=flags, notes=(*enhanced.notes, CHECKED))


def intervals_paths(output: Path) -> tuple[Path, Path]:
    """Where the half widths of an enhanced file go, of recorded pixels and of the sample: stores beside a store."""
    suffix = ".ome.zarr" if output.name.endswith(".zarr") else ".tif"
    stem = output.name.split(".")[0]
    return output.with_name(f"{stem}.uncertainty{suffix}"), output.with_name(f"{stem}.uncertainty_noise_free{suffix}")


def with_intervals(
    enhanced: Enhanced, carried: Carried, output: Path, likeness: str, overwrite: bool
) -> tuple[Enhanced, dict[str, Any]]:
    """Write how wrong the pixels of a newly enhanced map may be, if the model knows.

    Parameters
    ----------
    carried : by the model.
    output : file of the map.
    likeness : verdict of the comparison with the training area.

    Returns
    -------
    The map with one more note, and plain JSON values for the outcome.
    """
    paths = intervals_paths(output)
    if carried.facts is None or likeness == "unlike":
        forget_files(*paths)  # of what was at this name before
        why_not = carried.why_not or "There are no intervals: the map is unlike the area they were calibrated on."
        return replace(enhanced, notes=(*enhanced.notes, why_not)), {"intervals": None}
    intervals = intervals_from(carried.facts, enhanced.image, flags=enhanced.trust)
    files = []
    for path, half in zip(paths, (intervals.uncertainty, intervals.noise_free), strict=True):
        if half is None:
            forget_files(path)
        else:
            io.write(path, Image(half.data, half.grid, path.name, half.acquisition), overwrite=overwrite)
            files.append(str(path))
    notes = [*enhanced.notes, _sentence(carried.facts, paths[0], likeness)]
    if len(files) > 1:
        notes.append(f"{files[1]}: the same for the sample itself, the noise of a fine scan set aside.")
    return replace(enhanced, notes=tuple(notes)), {"intervals": {**carried.facts, "file": files[0], "files": files}}


def _sentence(facts: dict[str, Any], path: Path, likeness: str) -> str:
    held = ""
    if facts.get("check_blocks"):
        at = facts["levels"].index(SHOWN)
        mean, error = 100 * facts["coverage"][at], 100 * facts["coverage_error"][at]
        held = f", where held-out blocks held {mean:.1f} ± {error:.1f} %"
    other = "Whether this map is like that one could not be told."
    if likeness == "like":
        other = "That they hold here, too, follows from the likeness of the maps alone."
    return (
        f"{path}: half width of the 90 % interval of every pixel, calibrated where the model was trained{held}. {other}"
    )
