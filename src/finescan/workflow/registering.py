"""The registration step of a run: found, doubtful and missing fine scans, and what a run goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finescan.errors import RegistrationRefused
from finescan.registration import load_pair, register_all, save_pair
from finescan.registration.prior import prior_from_headers
from finescan.values import Image, Pair, Verdict
from finescan.workflow.opening import Job
from finescan.workflow.verbs import pair_facts, pair_name, pair_text, size_note

CHOICES_READ = ("register.ratio_error", "register.rotation_deg", "register.objective", "register.landmarks")
RATIO_ERROR = {2: 0.15, 3: 0.03}  # by the number of axes


def register_scans(
    job: Job, lr: Image, hrs: Sequence[Image], force: bool, registered: Sequence[Pair] | None = None
) -> list[Pair]:
    """Register every fine scan, or take what was registered before; the pairs to go on with.

    Parameters
    ----------
    registered : one pair per fine scan, where they are known already.
    """
    plan, folder = job.plan, job.folder.path / "pair"
    error = RATIO_ERROR[lr.grid.ndim]
    why = "Stage tilt foreshortens one axis by up to this." if lr.grid.ndim == 2 else "Voxel sizes are that well known."
    plan.choose("register.ratio_error", [error] * lr.grid.ndim, why)
    plan.choose("register.rotation_deg", 5.0, "Scan rotation and remounting stay within this.")
    plan.choose("register.objective", "auto", "Grey levels; the joint histogram where they have no straight relation.")
    plan.choose("register.landmarks", None, "None were needed; give them when a scan is not found.")
    key = job.step("register", CHOICES_READ)
    if job.folder.is_done("register", key, *(f"pair/{pair_name(k, hr)}" for k, hr in enumerate(hrs))):
        pairs = [load_pair(folder / pair_name(k, hr), lr, hr) for k, hr in enumerate(hrs)]
    else:
        ratio_error = tuple(float(v) for v in plan.values["register.ratio_error"])
        turn = float(plan.values["register.rotation_deg"])
        priors = [replace(prior_from_headers(lr, hr), ratio_error=ratio_error, rotation_deg=turn) for hr in hrs]
        marks = plan.values["register.landmarks"]
        objective = str(plan.values["register.objective"])
        pairs = list(registered or ()) or register_all(
            lr, hrs, prior=priors, landmarks=marks, progress=job.progress, objective=objective
        )
        for k, pair in enumerate(pairs):
            save_pair(pair, folder / pair_name(k, pair.hr))
        job.folder.finish("register", key, pairs=[pair_facts(p)["verdict"] for p in pairs])
        job.folder.log("registered", pairs=[pair_facts(p) for p in pairs])
    return _usable(job, pairs, force)


def _usable(job: Job, pairs: Sequence[Pair], force: bool) -> list[Pair]:
    """Pairs to go on with; the others become notes. RegistrationRefused when none is left."""
    good = [p for p in pairs if p.verdict is Verdict.FOUND or (force and p.verdict is Verdict.DOUBTFUL)]
    for pair in pairs:
        if not any(pair is g for g in good):  # pairs hold arrays, which have no single truth value
            job.notes.append(f"{pair.hr.name} was left out: {pair.verdict.value} ({' '.join(pair.reasons)})")
        elif pair.verdict is Verdict.DOUBTFUL:
            job.notes.append(
                f"The registration of {pair.hr.name} is doubtful; --force went on: {' '.join(pair.reasons)}"
            )
    job.notes += [note for p in good if (note := size_note(p))]
    if not good:
        job.save_plan()
        doubtful = any(p.verdict is Verdict.DOUBTFUL for p in pairs)
        advice = "Pass landmarks with --landmarks, or record a larger fine scan"
        advice += ", or pass --force to go on all the same." if doubtful else "."
        raise RegistrationRefused("\n".join([*(pair_text(p) for p in pairs), advice]))
    return good
