"""run() for volumes: two tomograms to an enhanced one, its judgement, its pores and a report; resumable."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import finescan
from finescan import io
from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
from finescan.errors import FinescanError, InputError
from finescan.models import MODELS, Model, load_model, save_model
from finescan.patches import VolumePatchSet, VolumeSplitConfig, make_volume_patches
from finescan.reporting import write_report
from finescan.training import VolumeTrainConfig, fit_volume_contestants, train_volume
from finescan.trust import Consistency
from finescan.values import Circle, Grid, Image, Pair, Region, TrustMap
from finescan.workflow import (
    doubting,
    falling_back,
    intervals,
    judging,
    model_trust,
    page_volume,
    pasting,
    volume_doubting,
    volume_judging,
)
from finescan.workflow.checks import require_blending
from finescan.workflow.comparing import typical
from finescan.workflow.field_of_view import corners_are_empty, field_of_view
from finescan.workflow.folder import key_of, write_json
from finescan.workflow.learning import training_options
from finescan.workflow.opening import Job, Progress, open_job, out_grid, read_scans
from finescan.workflow.page_volume import FinishedVolume
from finescan.workflow.reading import Reading
from finescan.workflow.registering import register_scans
from finescan.workflow.verbs import pair_facts
from finescan.workflow.volume_held_out_maps import map_held_out_boxes
from finescan.workflow.volume_likeness import with_training_look
from finescan.workflow.volume_suggesting import suggest_in_volume

ARCHITECTURE = "volume"
STORE_FILE, TIFF_FILE, FLAGS_FILE = "enhanced.ome.zarr", "enhanced.tif", "flags.tif"
TRAINED = (
    *("train.architecture", "train.minutes", "train.steps", "train.members", "train.seed", "train.position"),
    "train.start",
)


def complete_volume(
    coarse: str | Path,
    fines: Sequence[Path],
    out: str | Path,
    reading: Reading,
    choices: Mapping[str, Any],
    force: bool,
    overwrite: bool,
    progress: Progress | None,
    *,
    merge: pasting.Merge | None = None,
) -> FinishedVolume:
    """As :func:`finescan.workflow.run.complete`, for files that hold volumes."""
    began = time.perf_counter()
    planned = merge.plan if merge else None
    job = open_job(Path(out), Path(coarse), fines, reading, choices, overwrite, progress, planned)
    try:
        lr, hrs = read_scans(job, Path(coarse), fines)
        _require_possible(job.plan.values, out_grid(lr, job.plan))
    except FinescanError:
        job.folder.abandon()
        raise
    pasting.begun(job, merge)
    pairs = pasting.opened(job, hrs, register_scans(job, lr, hrs, force, merge.pairs if merge else None))
    circle = _field_of_view(job, lr)
    patches = _patches(job, pairs, circle)
    model = _learn(job, lr, patches)
    plain = fit_volume_contestants(patches)["interpolated"]
    method = _method(job, model, plain)
    check = volume_judging.yardstick(patches, lr)
    if not check.informative:
        why = "Coarse and fine scan show different things (another contrast, or a changed specimen)"
        if check is volume_judging.UNKNOWN:
            why = "The fine scan is too small to tell how the coarse one blurs"
        job.notes.append(
            f"{why}: the enhanced volume cannot be checked against the coarse one, and no voxel is flagged as "
            "inconsistent."
        )
    enhanced, flags = _enhance(job, lr, model, plain, patches, check, method)
    job.progress(0, 1, "judging on held-out fine scan")
    models = {"interpolated": plain, model.card.architecture: model}
    report = volume_judging.judge(lr, patches, models, enhanced, method)
    job.folder.log("judged", method=method, verdict=report.verdict, sentence=report.sentence)
    ranges = intervals.measure_intervals(job, patches, method, enhanced, flags, pairs=pairs)
    model_trust.keep_from_run(job, model, method, ranges)
    local = map_held_out_boxes(patches, lr, enhanced, check)
    merged = pasting.paste(job, hrs, pairs, enhanced, flags)
    pores = volume_judging.measure(job, lr, patches, enhanced, models[method], merged)
    enhanced, flags = merged.image, merged.flags
    job.progress(1, 1, "judging on held-out fine scan")
    likeness, untypical = typical(lr, model.card)
    job.notes += [*model.card.training.get("notes", []), *patches.notes, *untypical, *ranges.notes, *local.notes]
    facts = _facts(job, report, pairs, model, flags, method, pores, time.perf_counter() - began)
    suggestion = suggest_in_volume(lr, pairs, ranges, flags)
    facts = {**facts, **merged.facts, "likeness": likeness, "intervals": ranges.facts, **local.facts()}
    facts["suggested_rescans"] = suggestion.to_dict()
    facts["files"] = [*facts["files"], *ranges.files, *merged.files]
    write_json(job.folder.path / "trust.json", {**facts, "judgement": report.to_dict()})
    job.save_plan()
    job.progress(0, 1, "report")
    done = FinishedVolume(lr, tuple(pairs), patches, plain, model, enhanced, flags, report, pores, facts, ranges, local)
    write_report(job.folder.path / "report.html", page_volume.build(done, job.plan), overwrite=True)
    job.folder.log("done", seconds=facts["seconds"], verdict=report.verdict)
    return done


def _require_possible(values: Mapping[str, Any], grid: Grid) -> None:
    """InputError for choices that a run of volumes cannot follow, before anything slow starts."""
    name = values.get("train.architecture", ARCHITECTURE)
    method, box = values.get("result.method", "auto"), values.get("result.region")
    if not MODELS[name].trainable or MODELS[name].axes != "ZYX":
        known = ", ".join(n for n, row in MODELS.items() if row.trainable and row.axes == "ZYX")
        raise InputError(f"The choice train.architecture cannot be {name!r} for volumes. Expected: one of {known}.")
    if method not in ("auto", "interpolated", name):
        raise InputError(
            f"The result of a volume run is made by auto, interpolated or {name}, but result.method is {method!r}."
        )
    require_blending(values, ("exact", "published"), "volumes")
    if values.get("result.blending") == "published" and not MODELS[name].stack:
        stacks = ", ".join(n for n, row in MODELS.items() if row.stack)
        raise InputError(
            f"The choice result.blending cannot be 'published' for {name!r}, which takes whole blocks. Expected: "
            f"exact, or a train.architecture that takes stacks of slices ({stacks})."
        )
    if box is not None and not (
        len(box[0]) == len(box[1]) == 3 and all(0 <= a < b <= n for a, b, n in zip(*box, grid.shape, strict=True))
    ):
        raise InputError(
            f"The choice result.region cannot be {box}: the result has {' x '.join(map(str, grid.shape))} voxels "
            "(z, y, x). Expected: two corners inside it, the first below the second."
        )


def _field_of_view(job: Job, lr: Image) -> Circle:
    """The reconstructed circle where the corners of the coarse volume are empty, else one that holds all of it."""
    inscribed = Circle.inscribed(lr.grid)
    found = corners_are_empty(lr, inscribed)
    why = (
        "The corners of the coarse slices hold nothing: a round field of view."
        if found
        else "The corners of the coarse slices hold grey levels like the rest."
    )
    return field_of_view(lr, job.plan.choose("volume.circle", found, why))


def _patches(job: Job, pairs: Sequence[Pair], circle: Circle) -> VolumePatchSet:
    plan = job.plan
    job.progress(0, 1, "laying out training data")
    patches = make_volume_patches(
        pairs,
        config=split_config(plan.values, len(pairs)),
        target_voxel_size_nm=tuple(plan.values["target.pixel_size_nm"]),
        circle=circle,
    )
    job.step("patches", ("volume.circle", "split.boxes", "split.guard_voxels", "merge.grey", "target.pixel_size_nm"))
    job.progress(1, 1, "laying out training data")
    return patches


def split_config(values: Mapping[str, Any], scans: int) -> VolumeSplitConfig:
    """How a run of so many fine scans holds data out; rescans take no memory away from the scans of the first run."""
    first = max(1, scans - len(values.get("merge.pasted") or ()))
    usual = VolumeSplitConfig(guard_voxels=values.get("split.guard_voxels"), boxes=values.get("split.boxes"))
    return replace(usual, most_voxels=usual.most_voxels // first * scans)


def _learn(job: Job, lr: Image, patches: VolumePatchSet) -> Model:
    plan, source = job.plan, pasting.start_folder(job)
    start = None if source is None else load_model(source)
    if start is not None:
        plan.choose("train.architecture", start.card.architecture, "That of the model to start from.")
    plan.choose("train.architecture", ARCHITECTURE, "Context in all three directions; the best per second of training.")
    plan.choose("train.minutes", 3.0, "Most of the gain is there after a few minutes.")
    plan.choose("train.steps", None, "From the time budget; a number makes every run on this machine equal to the bit.")
    plan.choose("train.members", 1, "One network: the time goes into its steps.")
    plan.choose("train.seed", 0, "Fixed, so that the same files give the same result.")
    plan.choose("train.position", False, "Set it where the blur changes from the axis to the rim of the volume.")
    key, folder = job.step("train", TRAINED), job.folder.path / "model"
    job.save_plan()
    if job.folder.is_done("train", key, "model/card.json"):
        return load_model(folder)
    options = training_options(plan.part(TRAINED))
    if start is not None and start.card.architecture == plan.values["train.architecture"]:
        options["arguments"] = dict(start.card.arguments)  # another machine may build a network of another size
    config = VolumeTrainConfig.of(**options)
    work = folder / f"checkpoint-{key}"
    model = train_volume(patches, config, initial=start, fine_tune=True, folder=work, progress=job.progress)
    save_model(with_training_look(model, lr, patches), folder)
    job.folder.finish("train", key)
    job.folder.log("trained", **{k: model.card.training.get(k) for k in ("seconds", "steps", "stop_psnr")})
    return load_model(folder)


def _method(job: Job, model: Model, plain: Model) -> str:
    """Who makes the result: what was asked for, or the better one on the stop boxes."""
    scores = model.card.training["stop_psnr"]
    name = model.card.architecture
    better = name if scores.get(name, 0.0) > scores["interpolated"] else "interpolated"
    asked = job.plan.choose("result.method", "auto", "The better one on the stop boxes makes the result.")
    return better if asked == "auto" else str(asked)


def _enhance(
    job: Job, lr: Image, model: Model, plain: Model, patches: VolumePatchSet, check: Consistency, method: str
) -> tuple[Image, TrustMap]:
    """The whole volume (or the region asked for), its flags and their files; continues block by block."""
    plan, path = job.plan, job.folder.path
    dtype = plan.choose("result.dtype", patches.hr_dtype, "That of the fine scan, so that grey levels mean the same.")
    plan.choose("result.region", None, "The whole volume; or a box of the result: [[z, y, x], [z, y, x]] in voxels.")
    plan.choose("result.blending", "exact", "Tiles with all the context they need: no seams. Or as published.")
    chosen = ("result.dtype", "result.region", "result.blending", "result.tiff")
    objects = plan.choose("measure.objects", "dark", volume_judging.PORES)
    key = key_of(job.key, plan.part(chosen), method, doubting.of_key(objects))
    files = [STORE_FILE, FLAGS_FILE, *([TIFF_FILE] if plan.values["result.tiff"] else [])]
    kind = plan.choose("result.fallback", "none", "What was computed is the result; its flags say where to doubt it.")
    if kind != "none" and method != "interpolated":
        key, files = key_of(key, kind), [*files, falling_back.FILE]
    if not job.folder.is_done("enhance", key, *files):
        config = VolumeEnhanceConfig(dtype=dtype, blending=plan.values["result.blending"], circle=patches.circle)
        work = path / f"work-{key}"
        region = _region(out_grid(lr, plan), plan.values["result.region"])
        used = plain if method == "interpolated" else model
        result = enhance_volume(used, lr, folder=work, config=config, region=region, progress=job.progress)
        job.progress(0, 1, "checking against the coarse scan")
        flags = volume_judging.mark_inconsistent(result.image, lr, result.trust, check, patches.circle)
        job.progress(0, 1, "looking for lost and invented objects")
        doubts = volume_doubting.mark_volume_doubts(result.image, lr, flags, patches, check, used, objects)
        flags = doubts.flags
        facts: dict[str, Any] = {"method": method, "flags": flags.shares(), "yardstick": check.to_dict()}
        facts |= {"notes": [*result.notes, *doubts.notes], "doubts": doubts.facts}
        image, weight = result.image, None
        if falling_back.FILE in files:
            config = replace(config, dtype="float32")
            smooth = enhance_volume(plain, lr, folder=work / "interpolated", config=config, region=region)
            fell = falling_back.fall_back(kind, image, patches, partial(judging.on_grid, smooth.image), flags)
            image, weight, facts["fallback"] = fell.image, fell.weight, fell.facts
        _publish(job, image, flags, work, weight)
        job.folder.finish("enhance", key, **facts)
        job.folder.log("enhanced", seconds=result.seconds, **facts)
    job.notes += [n for n in falling_back.told(job.folder.facts("enhance")) if n not in job.notes]
    pasting.set_aside(job)
    store, marks = (pasting.computed_or(path / name) for name in (STORE_FILE, FLAGS_FILE))
    image, marked = io.read_volume(store), io.read_volume(marks, constant_ok=True)
    return image, TrustMap(marked.array(), marked.grid)


def _region(grid: Grid, box: Any) -> Region | None:
    if box is None:
        return None
    return Region(grid, tuple(int(v) for v in box[0]), tuple(int(v) for v in box[1]))


def _publish(job: Job, image: Image, trust: TrustMap, work: Path, weight: Image | None) -> None:
    """Put the finished files under their names, then drop the work in progress.

    The store of ``image`` becomes that of the result, unless a ``weight`` says that interpolation is mixed into it.
    """
    path = job.folder.path
    pasting.forget_computed(path)
    job.progress(0, 1, "writing the enhanced volume")
    for name in (TIFF_FILE, FLAGS_FILE, falling_back.FILE):
        (path / name).unlink(missing_ok=True)
    if job.plan.values["result.tiff"]:
        io.write(path / TIFF_FILE, image)
    io.write(path / FLAGS_FILE, Image(trust.flags, trust.grid, FLAGS_FILE))
    shutil.rmtree(path / STORE_FILE, ignore_errors=True)
    if weight is None:
        Path(image.source).replace(path / STORE_FILE)
    else:
        io.write(path / STORE_FILE, image)
        io.write(path / falling_back.FILE, weight)
    shutil.rmtree(work, ignore_errors=True)
    job.progress(1, 1, "writing the enhanced volume")


def _facts(
    job: Job,
    report: Any,
    pairs: Sequence[Pair],
    model: Model,
    flags: TrustMap,
    method: str,
    pores: volume_judging.Measured,
    seconds: float,
) -> dict[str, Any]:
    path = job.folder.path
    maps = [n for n in (STORE_FILE, TIFF_FILE, falling_back.FILE, FLAGS_FILE, *pores.files) if (path / n).exists()]
    return {
        "folder": str(path),
        "files": ["report.html", *maps, "trust.json", "plan.yaml"],
        "verdict": report.verdict,
        "sentence": report.sentence,
        "method": method,
        "scores": {n: {m: s.raw for m, s in row.items()} for n, row in report.scores.items()},
        "registration": [pair_facts(p) for p in pairs],
        "flags": flags.shares(),
        "fallback": job.folder.facts("enhance").get("fallback"),
        "yardstick": job.folder.facts("enhance").get("yardstick"),
        "doubts": job.folder.facts("enhance").get("doubts"),
        "pores": dict(pores.facts),
        "training": {k: model.card.training.get(k) for k in ("seconds", "steps", "stop_psnr", "members")},
        "notes": list(dict.fromkeys(job.notes)),
        "seconds": seconds,
        "finescan": finescan.__version__,
    }
