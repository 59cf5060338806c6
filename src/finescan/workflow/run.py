"""run(): the whole way from two files to a report, step by step, resumable."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import finescan
from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.enhancement.config import BLENDINGS
from finescan.errors import FinescanError
from finescan.models import Model, load_model, save_model
from finescan.patches import PatchSet, SplitConfig, make_patches
from finescan.reporting import write_report
from finescan.training import fit_contestants, train
from finescan.trust import Consistency, TrustReport
from finescan.values import Image, Pair, TrustMap
from finescan.workflow import (
    doubting,
    falling_back,
    intervals,
    judging,
    model_trust,
    page,
    pasting,
    picture_measures,
)
from finescan.workflow.checks import require_blending, require_method
from finescan.workflow.comparing import typical
from finescan.workflow.folder import key_of, write_json
from finescan.workflow.held_out_maps import map_held_out
from finescan.workflow.learning import train_config, training_options
from finescan.workflow.opening import Job, Progress, open_job, out_grid, read_scans
from finescan.workflow.plan import Plan
from finescan.workflow.reading import Outcome, Reading, as_paths
from finescan.workflow.registering import register_scans
from finescan.workflow.suggesting import expected, suggest
from finescan.workflow.verbs import pair_facts

if TYPE_CHECKING:
    from finescan.workflow.page_volume import FinishedVolume

LARGER_PAIR_PX = 4 << 20  # fine pixels of overlap from which the stronger network pays on a GPU
FLAGS_FILE, TIFF_FILE, ZARR_FILE = "flags.tif", "enhanced.tif", "enhanced.ome.zarr"


def run(
    coarse: str | Path,
    fine: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    reading: Reading | None = None,
    choices: Mapping[str, Any] | None = None,
    force: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Two (or more) files to an enhanced map, its judgement and a report; continues where it stopped.

    Parameters
    ----------
    coarse, fine : paths of the coarse scan and of one or several fine scans.
    out : run folder. One that holds another run is refused unless ``overwrite``.
    reading : pixel sizes and channels that the files do not state.
    choices : entries of plan.yaml to set, by name (see ``finescan.workflow.plan.CHOICES``).
    force : go on although the registration is doubtful (never when a scan was not found).
    overwrite : replace another run in ``out``.
    progress : called as ``progress(done, total, message)``.

    Returns
    -------
    Outcome with ``facts``: folder, verdict, sentence, scores, flags, notes.

    Raises
    ------
    InputError, RegistrationRefused, TrainingStopped, OutputError: one sentence each; what was finished is kept.
    """
    done = finish(coarse, fine, out, reading, choices, force, overwrite, progress)
    return Outcome(dict(done.facts), page.summary(done.facts))


def finish(
    coarse: str | Path,
    fine: str | Path | Sequence[str | Path],
    out: str | Path,
    reading: Reading | None = None,
    choices: Mapping[str, Any] | None = None,
    force: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> page.Finished | FinishedVolume:
    """As :func:`run`, for pictures or volumes; returns everything that was made."""
    reading = reading or Reading()
    if reading.is_volume(coarse):
        from finescan.workflow.volumes import complete_volume

        return complete_volume(coarse, as_paths(fine), out, reading, choices or {}, force, overwrite, progress)
    return complete(coarse, fine, out, reading, choices, force, overwrite, progress)


def complete(
    coarse: str | Path,
    fine: str | Path | Sequence[str | Path],
    out: str | Path,
    reading: Reading | None = None,
    choices: Mapping[str, Any] | None = None,
    force: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    *,
    merge: pasting.Merge | None = None,
) -> page.Finished:
    """As :func:`run`, for pictures; returns everything that was made, for those who go on with it.

    Parameters
    ----------
    merge : what a run that takes rescans in starts from.
    """
    began = time.perf_counter()
    files = Path(coarse), as_paths(fine)
    job = open_job(
        Path(out), *files, reading or Reading(), choices or {}, overwrite, progress, merge.plan if merge else None
    )
    try:
        lr, hrs = read_scans(job, Path(coarse), as_paths(fine))
    except FinescanError:
        job.folder.abandon()
        raise
    pasting.begun(job, merge)
    pairs = pasting.opened(job, hrs, register_scans(job, lr, hrs, force, merge.pairs if merge else None))
    patches = _patches(job, pairs)
    model = _learn(job, patches)
    contestants: dict[str, Model] = fit_contestants(patches)
    check = judging.yardstick(patches, pairs)
    if not check.informative:
        job.notes.append(
            "Coarse and fine scan show different things (another detector, or a changed specimen): the enhanced map "
            "cannot be checked against the coarse one, and no pixel is flagged as inconsistent."
        )
    method, enhanced, flags, report = _result(job, lr, pairs, patches, contestants, model, check)
    job.notes += model.card.training.get("notes", [])
    likeness, untypical = typical(lr, model.card)
    job.notes += untypical
    ranges = intervals.measure_intervals(
        job, patches, method, enhanced, flags, pairs=pairs,
        plain=None if method == "bicubic" else lambda piece, grid: contestants["bicubic"].predict(piece.lr),
    )  # fmt: skip
    job.notes += ranges.notes
    model_trust.keep_from_run(job, model, method, ranges)
    local = map_held_out(patches, lr, contestants["bicubic"], enhanced, check, report)
    job.notes += local.notes
    merged = pasting.paste(job, hrs, pairs, enhanced, flags)
    measured = picture_measures.measure(
        job, lr, hrs, pairs, patches, contestants, enhanced, merged.image, spread=ranges.spread, flags=flags,
        measured_share=merged.share,
    )  # fmt: skip
    enhanced, flags = merged.image, merged.flags
    facts = _facts(job, report, pairs, model, flags, method, time.perf_counter() - began)
    facts = {**facts, **measured.facts, **merged.facts, "likeness": likeness, "intervals": ranges.facts}
    facts |= local.facts()
    facts["files"] = [*facts["files"], *ranges.files, *merged.files, *measured.files]
    suggestion = suggest(lr, pairs, expected(lr, flags, ranges, check), flags, job.plan.values["target.pixel_size_nm"])
    facts["suggested_rescans"] = suggestion.to_dict()
    facts["second_opinions"] = judging.second_opinions(pairs, patches, enhanced)
    write_json(job.folder.path / "trust.json", {**facts, "judgement": report.to_dict()})
    job.progress(0, 1, "report")
    job.save_plan()
    finished = page.Finished(
        lr, tuple(pairs), patches, contestants, model, enhanced, flags, report, measured, facts, ranges, suggestion,
        local,
    )  # fmt: skip
    write_report(job.folder.path / "report.html", page.build(finished, job.plan), overwrite=True)
    job.folder.log("done", seconds=facts["seconds"], verdict=report.verdict)
    return finished


def _result(
    job: Job,
    lr: Image,
    pairs: Sequence[Pair],
    patches: PatchSet,
    contestants: Mapping[str, Model],
    model: Model,
    check: Consistency,
) -> tuple[str, Image, TrustMap, TrustReport]:
    """The enhanced map by the best method, its flags and its judgement; bicubic where that turns out to be better."""

    def by(method: str) -> tuple[str, Image, TrustMap, TrustReport]:
        enhanced, flags = _enhance(job, lr, contestants.get(method, model), pairs, patches, check, method, contestants)
        return method, enhanced, flags, _judge(job, patches, contestants, model, enhanced, lr, check, method)

    before = key_of(job.key, "fallback")
    method = _method(job, model)
    # a method that was asked for stays, whatever an earlier automatic choice came to
    automatic = job.plan.values["result.method"] == "auto"
    fallen = automatic and job.folder.is_done("fallback", before)
    found = by("bicubic" if fallen else method)
    if found[3].verdict == "worse" and found[0] != "bicubic" and automatic:
        job.folder.finish("fallback", before, instead_of=method)
        fallen, found = True, by("bicubic")
    if fallen:
        job.notes.append(
            f"On the test blocks {job.folder.facts('fallback')['instead_of']} was worse than bicubic interpolation, so "
            "the result is the interpolation."
        )
    return found


def _patches(job: Job, pairs: Sequence[Pair]) -> PatchSet:
    plan = job.plan
    plan.choose(
        "split.kind",
        "auto",
        "One whole fine scan judges when several have the same pixel size; else blocks of the scan.",
    )
    plan.choose("split.guard_lr_px", 12, "More than the network's reach, so that nothing of the test area is seen.")
    job.progress(0, 1, "laying out training data")
    patches = make_patches(
        pairs,
        config=SplitConfig(
            kind=plan.values["split.kind"],
            guard_lr_px=plan.values["split.guard_lr_px"],
            boxes=plan.values.get("split.boxes"),
        ),
        target_pixel_size_nm=tuple(plan.values["target.pixel_size_nm"]),
    )
    ratio = " × ".join(f"{r:.3f}" for r in patches.sr_factor)
    plan.force("target.factor", patches.factor, f"The ratio is {ratio}; the network reads whole multiples.")
    job.step("patches", ("split.kind", "split.guard_lr_px", "split.boxes", "merge.grey", "target.pixel_size_nm"))
    job.progress(1, 1, "laying out training data")
    return patches


def _learn(job: Job, patches: PatchSet) -> Model:
    plan = job.plan
    area = sum(int(p.weight.sum()) for p in patches.pieces)
    strong = area > LARGER_PAIR_PX and _has_gpu()
    why = (
        f"{area / 1e6:.1f} million pixels of overlap and a GPU: the stronger network pays."
        if strong
        else f"{area / 1e6:.1f} million pixels of overlap: a small network learns all there is, in seconds."
    )
    plan.choose("train.start", None, "From fresh weights; a model of the same network learns a new sample faster.")
    source = pasting.start_folder(job)
    start = None if source is None else load_model(source)
    if start is not None:
        plan.choose("train.architecture", start.card.architecture, "That of the model to start from.")
    plan.choose("train.architecture", "strong" if strong else "fast", why)
    plan.choose("train.minutes", 1.0, "The whole gain is there after half a minute; longer training only overfits.")
    plan.choose("train.steps", None, "From the time budget; a number makes every run on this machine equal to the bit.")
    plan.choose("train.members", 3, "Spare time goes to more networks, whose mean is better than any of them.")
    plan.choose("train.seed", 0, "Fixed, so that the same files give the same result.")
    names = ("train.architecture", "train.minutes", "train.steps", "train.members", "train.seed", "train.start")
    require_method(plan.values)
    require_blending(plan.values, tuple(BLENDINGS), "pictures")
    key, folder = job.step("train", names), job.folder.path / "model"
    job.save_plan()
    if job.folder.is_done("train", key, "model/card.json"):
        return load_model(folder)
    config = train_config(training_options(plan.part(names)))
    model = train(patches, config, start=start, folder=folder / f"checkpoint-{key}", progress=job.progress)
    save_model(model, folder)
    job.folder.finish("train", key)
    job.folder.log("trained", **{k: model.card.training.get(k) for k in ("seconds", "steps", "stop_psnr", "chosen")})
    return load_model(folder)  # what an interrupted run will go on with: work in progress belongs to one model


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _method(job: Job, model: Model) -> str:
    asked = job.plan.choose("result.method", "auto", "The best contestant on the stop blocks makes the result.")
    return str(model.card.training["chosen"]) if asked == "auto" else str(asked)


def _enhance(
    job: Job,
    lr: Image,
    model: Model,
    pairs: Sequence[Pair],
    patches: PatchSet,
    check: Consistency,
    method: str,
    contestants: Mapping[str, Model],
) -> tuple[Image, TrustMap]:
    """The whole map, its flags, and the files of both; continues block by block."""
    plan, path = job.plan, job.folder.path
    dtype = plan.choose("result.dtype", patches.hr_dtype, "That of the fine scan, so that grey levels mean the same.")
    blending = plan.choose("result.blending", "exact", "Tiles with all the context they need leave no trace.")
    chosen = ("result.dtype", "result.blending", "result.tiff", "result.zarr")
    objects = plan.choose("measure.objects", "auto", picture_measures.AUTOMATIC)
    key = key_of(job.key, plan.part(chosen), method, doubting.of_key(objects))
    files = [n for n, wanted in ((TIFF_FILE, "result.tiff"), (ZARR_FILE, "result.zarr")) if plan.values[wanted]]
    kind = plan.choose("result.fallback", "none", "What was computed is the result; its flags say where to doubt it.")
    if kind != "none" and method != "bicubic":
        key, files = key_of(key, kind), [*files, falling_back.FILE]
    if not job.folder.is_done("enhance", key, FLAGS_FILE, *files):
        config = EnhanceConfig(dtype=dtype, blending=blending, saturation=judging.rails(lr), pyramid=_keeps_store(plan))
        work = path / f"work-{key}"
        result = enhance(model, lr, folder=work, config=config, progress=job.progress)
        job.progress(0, 1, "checking against the coarse scan")
        flags = judging.mark_inconsistent(result.image, lr, result.trust, check)
        job.progress(0, 1, "looking for lost and invented objects")
        doubts = doubting.mark_doubts(result.image, lr, flags, patches, pairs, check, objects)
        flags = doubts.flags
        facts: dict[str, Any] = {"method": method, "flags": flags.shares(), "yardstick": check.to_dict()}
        facts |= {"notes": [*result.notes, *doubts.notes], "doubts": doubts.facts}
        image, weight = result.image, None
        if falling_back.FILE in files:
            smooth = partial(judging.interpolated, patches, lr, contestants["bicubic"])
            fell = falling_back.fall_back(kind, image, patches, smooth, flags)
            image, weight, facts["fallback"] = fell.image, fell.weight, fell.facts
        _publish(job, image, flags, work, weight)
        job.folder.finish("enhance", key, **facts)
        job.folder.log("enhanced", seconds=result.seconds, **facts)
    job.notes += [n for n in falling_back.told(job.folder.facts("enhance")) if n not in job.notes]
    pasting.set_aside(job)
    stored = ZARR_FILE if (path / ZARR_FILE).exists() else TIFF_FILE
    image, flag_image = (io.read(pasting.computed_or(path / name)) for name in (stored, FLAGS_FILE))
    return image.with_data(image.data, out_grid(lr, plan)), TrustMap(flag_image.data, lr.grid)


def _keeps_store(plan: Plan) -> bool:
    """Whether the run folder keeps enhanced.ome.zarr."""
    return bool(plan.values["result.zarr"] or not plan.values["result.tiff"])


def _publish(job: Job, image: Image, flags: TrustMap, work: Path, weight: Image | None) -> None:
    """Write the files a user opens, then drop the work in progress."""
    import shutil

    path = job.folder.path
    pasting.forget_computed(path)
    job.progress(0, 1, "writing the enhanced map")
    (path / TIFF_FILE).unlink(missing_ok=True)
    if job.plan.values["result.tiff"]:
        io.write(path / TIFF_FILE, image)
    io.write(path / FLAGS_FILE, Image(flags.flags, flags.grid, FLAGS_FILE), overwrite=True)
    (path / falling_back.FILE).unlink(missing_ok=True)
    shutil.rmtree(path / ZARR_FILE, ignore_errors=True)
    if weight is not None:
        io.write(path / falling_back.FILE, weight)
    if _keeps_store(job.plan) and weight is not None:  # what was computed is not the result
        io.write(path / ZARR_FILE, image)
    elif _keeps_store(job.plan):  # enhancement's own store, complete with its pyramid: nothing is written twice
        Path(image.source).replace(path / ZARR_FILE)
    shutil.rmtree(work, ignore_errors=True)
    job.progress(1, 1, "writing the enhanced map")


def _judge(
    job: Job,
    patches: PatchSet,
    contestants: Mapping[str, Model],
    model: Model,
    enhanced: Image,
    lr: Image,
    check: Consistency,
    method: str,
) -> TrustReport:
    job.progress(0, 1, "judging on held-out fine scan")
    grey = patches.hr_grey
    models = {**contestants, model.card.architecture: model}
    held = judging.held_out(patches, models, enhanced, name="enhanced")
    report = judging.judge(held, data_range=grey.high - grey.low, candidate="enhanced", coarse=lr, check=check)
    job.folder.log("judged", method=method, verdict=report.verdict, sentence=report.sentence)
    job.progress(1, 1, "judging on held-out fine scan")
    return report


def _facts(
    job: Job, report: TrustReport, pairs: Sequence[Pair], model: Model, flags: TrustMap, method: str, seconds: float
) -> dict[str, Any]:
    maps = [n for n in (TIFF_FILE, ZARR_FILE, falling_back.FILE) if (job.folder.path / n).exists()]
    scores = {n: {m: s.raw for m, s in row.items()} for n, row in report.scores.items()}
    return {
        "folder": str(job.folder.path),
        "files": ["report.html", *maps, FLAGS_FILE, "trust.json", "plan.yaml"],
        "verdict": report.verdict,
        "sentence": report.sentence,
        "method": method,
        "scores": scores,
        "registration": [pair_facts(p) for p in pairs],
        "flags": flags.shares(),
        "fallback": job.folder.facts("enhance").get("fallback"),
        "yardstick": job.folder.facts("enhance").get("yardstick"),
        "doubts": job.folder.facts("enhance").get("doubts"),
        "training": {k: model.card.training.get(k) for k in ("seconds", "steps", "stop_psnr", "chosen", "members")},
        "notes": list(dict.fromkeys(job.notes)),
        "seconds": seconds,
        "finescan": finescan.__version__,
    }
