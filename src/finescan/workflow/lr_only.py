"""``run --lr-only``: coarse images alone to enhanced ones, with a statement how far beyond the recorded resolution.

No fine scan is needed: a network learns what a picture looks like at many zoom levels (B. Möller et al., CVPR Workshops
2023), and is judged on recorded pixels that it has not seen. The steps are those of ``run``, in
the same run folder: resumable, every choice in plan.yaml.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import finescan
from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.errors import FinescanError, InputError
from finescan.models import Model
from finescan.patches import MultiscaleConfig
from finescan.patches.multiscale import require_pictures
from finescan.reporting import write_report
from finescan.trust.self_consistency import SelfConsistency, self_yardstick
from finescan.trust.unseen import UnseenCurve
from finescan.values import Image, TrustMap
from finescan.workflow import judging, lr_only_page
from finescan.workflow.finished import LR_ONLY
from finescan.workflow.folder import key_of, require_space, write_json, write_whole
from finescan.workflow.lr_only_judging import Judged, judge_images, levels_csv, verdict_of
from finescan.workflow.lr_only_learning import Learned, choose, keep, learn, training_sets
from finescan.workflow.opening import Job, Progress, file_facts, started
from finescan.workflow.reading import Outcome, Reading, as_planned
from finescan.workflow.verbs import pair_name

NO_TRUTH = (
    "No fine scan was recorded: what is beyond the recorded resolution is learned from coarser versions of the same "
    "images, and can only be judged on them."
)


def run_lr_only(
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    sr_factor: int | None = None,
    reading: Reading | None = None,
    choices: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """One or several coarse images to enhanced ones, their judgement and a report; continues where it stopped.

    Parameters
    ----------
    images : paths of images of one zoom level, one sample and one instrument.
    out : run folder. One that holds another run is refused unless ``overwrite``.
    sr_factor : enhanced pixels per recorded one and axis; None = 2 for scanning probes and small images, else 4.
    reading : pixel sizes and channels that the files do not state.
    choices : entries of plan.yaml to set, by name (see ``finescan.workflow.plan.CHOICES``).
    overwrite : replace another run in ``out``.
    progress : called as ``progress(done, total, message)``.

    Returns
    -------
    Outcome with ``facts``: folder, verdict, sentence, trusted_percent, scores, flags, notes.

    Raises
    ------
    InputError, TrainingStopped, OutputError: one sentence each; what was finished is kept.
    """
    asked = dict(choices or {}) | ({} if sr_factor is None else {"target.factor": sr_factor})
    done = complete_lr_only(_paths(images), Path(out), reading or Reading(), asked, overwrite, progress)
    return Outcome(dict(done.facts), lr_only_page.summary(done.facts))


def complete_lr_only(
    paths: Sequence[Path],
    out: Path,
    reading: Reading,
    choices: Mapping[str, Any],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> lr_only_page.FinishedAlone:
    """As :func:`run_lr_only`; returns everything that was made."""
    began = time.perf_counter()
    files = {"kind": LR_ONLY, "images": [file_facts(p) for p in paths]}
    job = started(out, files, {"images": paths}, reading, choices, overwrite, progress)
    try:
        recorded = _read(job, paths)
        images = _flattened(job, recorded)
        sets, held = training_sets(job, images)
        _about_result(job, images)
    except FinescanError:
        job.folder.abandon()
        raise
    for k, image in enumerate(images):
        if image.acquisition.header:
            write_whole(job.folder.path / f"header-{pair_name(k, image)[3:]}.txt", image.acquisition.header)
    learned = learn(job, sets, held)
    job.progress(0, 1, "judging on unseen recorded pixels")
    method, chosen, stop = choose(job, images, learned)
    judged = judge_images(images, chosen, method)
    method, judged = _fallen_back(job, judged, method)
    keep(job, chosen, method)
    job.progress(1, 1, "judging on unseen recorded pixels")
    made_by = f"{method}, {chosen.name}"
    named = list(enumerate(zip(images, file_names(images), strict=True)))
    results = [_enhance(job, k, image, names, chosen.models[method], made_by) for k, (image, names) in named]
    job.notes += [n for n in chosen.patches.notes if n not in job.notes]
    judged = judged.with_lattices(images, [r[0] for r in results])
    job.notes += judged.notes()
    facts = _facts(job, chosen, method, judged, [r[1] for r in results], [r[2] for r in results])
    facts |= {"contest": _contest_facts(stop), "seconds": time.perf_counter() - began}
    write_whole(job.folder.path / "levels.csv", levels_csv(judged))
    write_json(job.folder.path / "trust.json", {**facts, "judgement": judged.to_dict()})
    job.progress(0, 1, "report")
    job.save_plan()
    enhanced, flags, checks = zip(*results, strict=True)
    finished = lr_only_page.FinishedAlone(tuple(images), chosen, enhanced, flags, checks, judged, facts)
    page = lr_only_page.build(finished, job.plan)
    write_report(job.folder.path / "report.html", page, overwrite=True)
    job.folder.log("done", seconds=facts["seconds"], verdict=facts["verdict"])
    return finished


# ---------------------------------------------------------------------------------------------- opening and reading
def _paths(images: str | Path | Sequence[str | Path]) -> list[Path]:
    found = [Path(images)] if isinstance(images, (str, Path)) else [Path(p) for p in images]
    if not found:
        raise InputError("At least one coarse image is needed, but none came.")
    if len({p.resolve() for p in found}) != len(found):
        raise InputError("Every coarse image must be another file, but one was named twice.")
    return found


def _read(job: Job, paths: Sequence[Path]) -> list[Image]:
    """All images, of one pixel size and under names of their own."""
    job.progress(0, 1, "reading")
    planned = job.plan.values.get("coarse.pixel_size_nm")
    images = [as_planned(job.reading, "coarse", p, planned) for p in paths]
    require_pictures([replace(i, acquisition=_level_enough(i)) for i in images], MultiscaleConfig())
    names = [i.name for i in images]
    images = [replace(i, name=f"{k + 1}-{i.name}") if names.count(i.name) > 1 else i for k, i in enumerate(images)]
    first = images[0]
    state = job.plan.force if job.reading.pixel_size_nm else job.plan.choose
    source = first.acquisition.pixel_size_from or "the file"
    state("coarse.pixel_size_nm", first.grid.pixel_size_nm, f"From {source} of {first.name}.")
    job.step("read", ("coarse.pixel_size_nm",))
    job.progress(1, 1, "reading")
    return images


def _level_enough(image: Image) -> Any:
    """Facts of an image that is not asked whether its lines are level: that is a choice of the plan, made next."""
    return replace(image.acquisition, extra={**image.acquisition.extra, io.FLATTENED: "asked next"})


def _flattened(job: Job, images: Sequence[Image]) -> list[Image]:
    """The images with their lines flattened where the plan says so, visibly."""
    probe = any(io.is_probe(i) for i in images)
    done = all(io.is_flattened(i) for i in images)
    needed = probe and not done
    why = "A scanning probe jumps between lines and follows the tilt of the sample: lines are levelled first."
    rule = job.plan.choose("coarse.flatten", "robust" if needed else "none", why if needed else _why_not(probe))
    job.step("flatten", ("coarse.flatten",))
    if rule == "none":
        for image in images:
            io.require_level(image)
        return list(images)
    out = [io.flatten_lines(i, rule) for i in images]
    job.notes.append(
        f"Lines of the scan were flattened first ({io.RULES[rule]}): the enhanced image has their grey levels, and "
        "real steps and slopes along the rows are lost."
    )
    return out


def _why_not(probe: bool) -> str:
    return "The files say that lines were flattened already." if probe else "No scanning-probe images."


# ---------------------------------------------------------------------------------------------- results
def _fallen_back(job: Job, judged: Judged, method: str) -> tuple[str, Judged]:
    """Interpolation where nothing better was shown at the finest levels, unless a method was asked for."""
    if job.plan.values["result.method"] != "auto" or judged.is_better:
        return method, judged
    if method != "bicubic":
        job.notes.append(
            f"On recorded pixels that it had not seen, {method} was not shown to be better than bicubic interpolation "
            "up to the finest level there is, so the result is the interpolation."
        )
    return "bicubic", judged.rejected()


def _contest_facts(stop: UnseenCurve | None) -> dict[str, Any] | None:
    """Scores of all that might have made the result, on the stop blocks."""
    return (
        None if stop is None else {"levels": list(stop.levels), "scores": {k: dict(v) for k, v in stop.scores.items()}}
    )


def _about_result(job: Job, images: Sequence[Image]) -> None:
    factor = int(job.plan.values["target.factor"])
    size = [p / factor for p in images[0].grid.pixel_size_nm]
    job.plan.force("target.pixel_size_nm", size, f"A {factor}th of the recorded one." if factor > 2 else "Half of it.")
    dtype = job.plan.choose(
        "result.dtype", str(images[0].dtype), "That of the images, so that grey levels mean the same."
    )
    pixels = factor**2 * sum(i.grid.size for i in images)
    require_space(job.folder.path, 2.6 * pixels * np.dtype(dtype).itemsize + 2e8)


def file_names(images: Sequence[Image]) -> list[tuple[str, str]]:
    """Names of the enhanced file and of its flags for every image."""
    if len(images) == 1:
        return [("enhanced.tif", "flags.tif")]
    return [(f"enhanced-{pair_name(k, i)}.tif", f"flags-{pair_name(k, i)}.tif") for k, i in enumerate(images)]


def _enhance(
    job: Job, number: int, image: Image, files: tuple[str, str], model: Model, method: str
) -> tuple[Image, TrustMap, SelfConsistency | None]:
    """One enhanced image, its flags and its yardstick, and the files of both; continues block by block."""
    plan, path = job.plan, job.folder.path
    several = len(plan.inputs["images"]) > 1
    step, key = f"enhance {number + 1}", key_of(job.key, plan.part(("result.dtype",)), method, number)
    out = image.grid.refine(int(plan.values["target.factor"]))
    if not job.folder.is_done(step, key, *files):
        config = EnhanceConfig(dtype=plan.values["result.dtype"], saturation=judging.rails(image), pyramid=False)
        work = path / f"work-{key}"
        result = enhance(model, image, folder=work, config=config, progress=job.progress)
        check = yardstick_of(result.image, image)
        flags = result.trust if check is None else judging.mark_inconsistent(
            result.image, image, result.trust, check.check)  # fmt: skip
        io.write(path / files[0], result.image, overwrite=True)
        io.write(path / files[1], Image(flags.flags, flags.grid, files[1]), overwrite=True)
        shutil.rmtree(work, ignore_errors=True)
        job.folder.finish(step, key, method=method, flags=flags.shares(), notes=list(result.notes))
        job.folder.log("enhanced", image=image.name, seconds=result.seconds, flags=flags.shares())
    job.notes += [n for n in job.folder.facts(step)["notes"] if n not in job.notes]
    enhanced, stored = io.read(path / files[0]), io.read(path / files[1])
    enhanced = enhanced.with_data(enhanced.data, out)
    check = yardstick_of(enhanced, image)
    job.notes += [f"{image.name}: {n}" if several else n for n in ([] if check is None else check.notes())]
    return enhanced, TrustMap(stored.data, image.grid), check


def yardstick_of(enhanced: Image, image: Image) -> SelfConsistency | None:
    """The yardstick; None where too few pixels are usable."""
    try:
        return self_yardstick(enhanced, image, rails=judging.rails(image))
    except InputError:
        return None


def _facts(
    job: Job, chosen: Learned, method: str, judged: Judged, flags: Sequence[TrustMap],
    checks: Sequence[SelfConsistency | None],
) -> dict[str, Any]:  # fmt: skip
    verdict, sentence = verdict_of(judged)
    images = judged.images
    names = [n for pair in file_names(images) for n in pair]
    shares = [f.shares() for f in flags]
    return {
        "folder": str(job.folder.path),
        "kind": LR_ONLY,
        "files": ["report.html", *names, "model", "levels.csv", "trust.json", "plan.yaml"],
        "verdict": verdict,
        "sentence": sentence,
        "method": method,
        "factor": int(job.plan.values["target.factor"]),
        "trusted_percent": judged.trusted_percent,
        "reach": judged.reach.to_dict(),
        "scores": {n: {m: s.raw for m, s in row.items()} for n, row in judged.report.scores.items()},
        "flags": {k: sum(s[k] for s in shares) / len(shares) for k in shares[0]},
        "images": [
            {"name": i.name, "flags": s, "consistency": None if c is None else c.to_dict()}
            for i, s, c in zip(images, shares, checks, strict=True)
        ],
        "lattices": judged.lattice_facts(),
        "levels": chosen.name,
        "training": {k: chosen.network.card.training.get(k) for k in ("seconds", "steps", "members")},
        "notes": list(dict.fromkeys([NO_TRUTH, *job.notes])),
        "finescan": finescan.__version__,
    }
