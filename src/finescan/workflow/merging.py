"""merge(): rescans go back into the run they were planned from; the result is a new run that can be planned again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finescan.errors import InputError, OutputError
from finescan.patches import VolumePatchSet
from finescan.values import Verdict
from finescan.workflow import page
from finescan.workflow.finished import FinishedFolder, open_finished
from finescan.workflow.foreseen import foreseen, held
from finescan.workflow.incoming import Incoming, OldRun, Wanted, incoming, old_run
from finescan.workflow.opening import Progress
from finescan.workflow.pasting import START, Merge, with_grey
from finescan.workflow.plan import Plan
from finescan.workflow.reading import Outcome
from finescan.workflow.rescanning import RescanOptions, rescan_folder
from finescan.workflow.run import complete
from finescan.workflow.volumes import complete_volume

TUNING = 0.5  # of the time of the first training


@dataclass(frozen=True)
class MergeOptions(Wanted):
    """What a merge may be told; see also :class:`Wanted`.

    Parameters
    ----------
    minutes : of training; None = half of the first training's.
    further : a plan for the next round, too (``budget`` or ``until`` set); None = none.
    """

    minutes: float | None = None
    further: RescanOptions | None = None


def merge(
    folder: str | Path,
    rescans: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    options: MergeOptions | None = None,
    choices: Mapping[str, Any] | None = None,
    force: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Take rescans into a finished run: register, fine-tune, enhance and judge again, and paste what was recorded.

    What the first run held out stays held out, so that both verdicts rest on the same blocks. The new folder is a run
    like any other, for ``finescan rescan`` and ``finescan merge``; a merge that was stopped continues.

    Parameters
    ----------
    folder : a finished run. Its scans must still be where they were.
    rescans : fine scans of further places of the same map, of any number.
    output : the new run folder; None = the old one's name with ``-merged``.
    options : see :class:`MergeOptions`.
    choices : entries of plan.yaml to set.
    force : use rescans whose registration is doubtful.
    overwrite : replace another run in ``output``.
    progress : called as ``progress(done, total, message)``.

    Raises
    ------
    InputError, RegistrationRefused, OutputError : one sentence each; nothing is written then.
    """
    options = options or MergeOptions()
    run = open_finished(folder)
    out = _new_folder(run, output, overwrite)
    paths = _files(rescans)
    old = old_run(run)
    tell = progress or (lambda done, total, message: None)
    new = incoming(old, paths, out, options, force, tell)
    plan = _plan(old, new, options)
    told = _foreseen(old, new, options)
    done = (complete_volume if old.is_volume else complete)(
        run.coarse,
        [*run.fines, *(n.path for n in new)],
        out,
        run.reading,
        {**_asked(plan, options), **(choices or {})},
        force or not any(p.verdict is Verdict.FOUND for p in old.pairs),
        overwrite,
        progress,
        merge=Merge(
            plan,
            (*old.pairs, *(n.pair for n in new)),
            {"of": str(run.path), "before": _scores(run.path), "rescans": told},
            run.path / "model",
        ),
    )
    facts, lines = dict(done.facts), [*_lines(done.facts["merged"], done.facts), page.summary(done.facts)]
    if options.further is not None:
        planned = _planned_again(out, new, options.further)
        facts["plan"] = planned.facts
        lines += ["", planned.text]
    return Outcome(facts, "\n".join(lines))


def _asked(plan: Plan, options: MergeOptions) -> dict[str, Any]:
    """What was asked for now, which a plan that is already in the folder must not override."""
    asked = {"train.minutes": options.minutes is not None, "merge.grey": options.match_grey}
    return plan.part([name for name, now in asked.items() if now])


def _planned_again(out: Path, new: Sequence[Incoming], wanted: RescanOptions) -> Outcome:
    """The plan of a further round, with fields like the rescans; if there is none, why: the merge itself is done."""
    shapes = sorted((n.pair.hr.grid.shape for n in new), key=lambda shape: shape[0] * shape[1])
    options = replace(wanted, frame=wanted.frame or (shapes[0][1], shapes[0][0]))
    try:
        return rescan_folder(out, out / "rescan", options=options, overwrite=True)
    except InputError as e:
        return Outcome({"reason": str(e)}, f"no further round was planned: {e}")


# ------------------------------------------------------------------ what is there
def _new_folder(run: FinishedFolder, output: str | Path | None, overwrite: bool) -> Path:
    out = run.path.resolve().with_name(f"{run.path.resolve().name}-merged") if output is None else Path(output)
    if out.resolve() == run.path.resolve():
        raise OutputError(f"A merge never replaces the run it starts from, but {out} is that run. Choose another folder with -o.")  # fmt: skip # noqa: E501
    if out.is_dir() and any(out.iterdir()) and not overwrite and not (out / "run.json").exists():
        raise OutputError(f"{out} is not empty and holds no finescan run. Choose another folder, or pass --overwrite.")
    return out


def _files(rescans: Sequence[str | Path]) -> list[Path]:
    """Paths, with patterns that the shell left alone."""
    paths: list[Path] = []
    for given in map(Path, rescans):
        paths += sorted(given.parent.glob(given.name)) if "*" in given.name and not given.exists() else [given]
    if not paths:
        raise InputError(
            "Merging needs at least one rescan, but none came. Pass the fine scans that were recorded since, such as "
            "rescans/*.tif."
        )
    return paths


# ------------------------------------------------------------------ the plan of the new run
def _plan(old: OldRun, new: Sequence[Incoming], options: MergeOptions) -> Plan:
    """The old run's choices, and what is new."""
    before, count = old.run.plan, len(old.hrs)
    plan = Plan(dict(before.values), dict(before.why))
    sizes = [*before.values["fine.pixel_size_nm"], *(n.pair.hr.grid.pixel_size_nm for n in new)]
    plan.force("fine.pixel_size_nm", sizes, "As in the first run; of the rescans from their files.")
    held = {role: [list(b) for b in boxes] for role, boxes in old.patches.boxes.items()}
    plan.force("split.boxes", held, "What the first run held out never becomes training data.")
    if isinstance(old.patches, VolumePatchSet):
        plan.force("split.guard_voxels", old.patches.guard, "As in the first run.")
    plan.force("train.start", START, "The model of the run that the rescans were planned from; a copy.")
    minutes = options.minutes or TUNING * float(before.values["train.minutes"])
    plan.force("train.minutes", minutes, "Weights that were trained once need less.")
    plan.force("train.architecture", before.values["train.architecture"], "That of the model to start from.")
    numbers = [*(before.values.get("merge.pasted") or []), *range(count + 1, count + len(new) + 1)]
    plan.force("merge.pasted", numbers, "Recorded pixels are better than computed ones.")
    earlier = [*(before.values.get("merge.grey") or []), *[None] * count][:count]
    greys = [*earlier, *(n.facts["grey"] if options.match_grey else None for n in new)]
    plan.force(
        "merge.grey", greys if any(g is not None for g in greys) else None,
        "Grey levels of the rescans were matched." if options.match_grey else "Grey levels stay as they were recorded.",
    )  # fmt: skip
    if before.values.get("register.landmarks"):
        plan.force("register.landmarks", None, "Registered in the first run.")
    return plan


def _foreseen(old: OldRun, new: Sequence[Incoming], options: MergeOptions) -> list[dict[str, Any]]:
    """The facts of every rescan, and how well the old run had foreseen it."""
    pairs = [n.pair for n in new]
    if options.match_grey:
        pairs = [replace(n.pair, hr=with_grey(n.pair.hr, *n.facts["grey"])) for n in new]
    found = foreseen(old.run, old.lr, pairs)
    return [{**n.facts, "foreseen": f} for n, f in zip(new, found, strict=True)]


# ------------------------------------------------------------------ words
def _scores(folder: Path) -> dict[str, Any]:
    """Of the run before, on the blocks that both hold out."""
    with suppress(OSError, ValueError):
        d = json.loads((folder / "trust.json").read_text(encoding="utf-8"))
        kept = ("enhanced", "bicubic", "interpolated")
        return {**{n: d["scores"][n] for n in kept if n in d["scores"]}, "verdict": d["verdict"]}
    return {}


def _lines(merged: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    share, count = 100 * merged["measured_share"], len(merged["scans"])
    lines = [f"{share:.2f} % of the result is recorded now, by {count} rescan{'' if count == 1 else 's'}"]
    for r in merged["rescans"]:
        said = f"{r['verdict']}, split error {r['split_error_hr_px']:.2f} fine px"
        if r["field"]:
            said += f"; {r['away_um']:.3g} µm from the middle of {r['field']}"
        if r["foreseen"]:
            said += f"; the 90 % intervals held {100 * held(r['foreseen']):.1f} % of it"
        lines.append(f"  {r['file']}: {said}")
    before = merged.get("before", {}).get("enhanced")
    if before:
        now = facts["scores"]["enhanced"]
        lines.append(f"on the same held-out blocks: {now['psnr']:.2f} dB, before {before['psnr']:.2f} dB")
    return lines
