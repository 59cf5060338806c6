"""Opening a run: its folder, its plan, and the files it starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import finescan
from finescan import io
from finescan.values import Grid, Image
from finescan.workflow.checks import require_sensible, sizes_per_scan
from finescan.workflow.folder import RunFolder, key_of, require_space, write_whole
from finescan.workflow.plan import Plan, require_known
from finescan.workflow.reading import Reading, as_planned
from finescan.workflow.verbs import pair_name

Progress = Callable[[float, float, str], None]
LARGE_PX = 1 << 26  # output pixels from which the zarr store is kept beside the TIFF
LARGE_VOXELS = 1 << 28  # output voxels from which there is no TIFF beside the zarr store


@dataclass
class Job:
    """The state of one run: its folder, plan and what has been made so far."""

    folder: RunFolder
    plan: Plan
    reading: Reading
    progress: Progress
    key: str = ""
    notes: list[str] = field(default_factory=list)

    def step(self, name: str, choices: Sequence[str] = ()) -> str:
        """Key of a step: everything before it, and the choices it reads."""
        self.key = key_of(self.key, name, self.plan.part(choices))
        return self.key

    def save_plan(self) -> None:
        """Write plan.yaml as far as it is known."""
        self.plan.save(self.folder.path / "plan.yaml")


def open_job(
    out: Path,
    coarse: Path,
    fines: Sequence[Path],
    reading: Reading,
    choices: Mapping[str, Any],
    overwrite: bool,
    progress: Progress | None,
    plan: Plan | None = None,
) -> Job:
    """Open or continue the run in ``out``; what was asked for replaces what its plan (or else ``plan``) says."""
    files: dict[str, Any] = {"coarse": file_facts(coarse), "fine": [file_facts(p) for p in fines]}
    return started(out, files, {"coarse": coarse, "fine": fines}, reading, choices, overwrite, progress, plan)


def started(
    out: Path,
    files: Mapping[str, Any],
    paths: Mapping[str, Path | Sequence[Path]],
    reading: Reading,
    choices: Mapping[str, Any],
    overwrite: bool,
    progress: Progress | None,
    plan: Plan | None = None,
) -> Job:
    """Open or continue a run of any kind.

    Parameters
    ----------
    files : what the run starts from: :func:`file_facts` of its inputs by name, and what else tells it from others.
    paths : the inputs of the plan: name -> path or paths.
    """
    inputs = {**files, "reading": reading.to_dict()}
    require_known(choices)
    require_sensible(choices)
    folder = RunFolder(out, inputs, overwrite=overwrite)
    written = out / "plan.yaml"
    plan = Plan.load(written) if written.exists() else plan or Plan()
    plan.inputs = {name: _with_path(files[name], path) for name, path in paths.items()}
    for name, value in choices.items():
        plan.force(name, value, "Asked for when the run was started.")
    require_sensible(plan.values)
    folder.log("start", finescan=finescan.__version__, inputs=inputs, choices=dict(choices))
    return Job(folder, plan, reading, progress or (lambda done, total, message: None), key_of(inputs))


def file_facts(path: Path) -> dict[str, str]:
    """Name and fingerprint of a file."""
    return {"name": path.name, "sha256": io.fingerprint(path)}


def _with_path(facts: Any, path: Path | Sequence[Path]) -> Any:
    if isinstance(path, Path):
        return {**facts, "path": str(path)}
    return [{**f, "path": str(p)} for f, p in zip(facts, path, strict=True)]


def read_scans(job: Job, coarse: Path, fines: Sequence[Path]) -> tuple[Image, list[Image]]:
    """Read and check all files; the plan's pixel sizes win over the files'."""
    job.progress(0, 1, "reading")
    planned = job.plan.values
    lr = as_planned(job.reading, "coarse", coarse, planned.get("coarse.pixel_size_nm"))
    sizes = sizes_per_scan(planned, len(fines))
    hrs = told_apart(lr, [as_planned(job.reading, "fine", p, size) for p, size in zip(fines, sizes, strict=True)])
    for hr in hrs:
        io.require_pair(lr, hr)
        job.notes += [p for p in io.problems(lr, hr) if p not in job.notes]
    _state_sizes(job, lr, hrs)
    for image in (lr, *hrs):
        if image.acquisition.header:
            name = f"header-{pair_name(0, image)[3:]}.txt"
            write_whole(job.folder.path / name, image.acquisition.header)
    job.step("read", ("coarse.pixel_size_nm", "fine.pixel_size_nm"))
    job.progress(1, 1, "reading")
    return lr, hrs


def told_apart(lr: Image, hrs: Sequence[Image]) -> list[Image]:
    """Fine scans under names of their own: instruments like to call every file of every folder the same."""
    names = [lr.name, *(hr.name for hr in hrs)]
    return [replace(hr, name=f"{k + 1}-{hr.name}") if names.count(hr.name) > 1 else hr for k, hr in enumerate(hrs)]


def _state_sizes(job: Job, lr: Image, hrs: Sequence[Image]) -> None:
    source = lr.acquisition.pixel_size_from or "the file"
    state = job.plan.force if job.reading.pixel_size_nm else job.plan.choose  # what is passed now wins
    state("coarse.pixel_size_nm", lr.grid.pixel_size_nm, f"From {source} of {lr.name}.")
    sizes = [hr.grid.pixel_size_nm for hr in hrs]
    why = "; ".join(f"from {hr.acquisition.pixel_size_from or 'the file'} of {hr.name}" for hr in hrs)
    state = job.plan.force if job.reading.fine_pixel_size_nm else job.plan.choose
    state("fine.pixel_size_nm", sizes, f"{why[0].upper()}{why[1:]}.")
    finest = min((hr.grid.pixel_size_nm for hr in hrs), key=lambda s: float(np.prod(s)))
    job.plan.choose("target.pixel_size_nm", finest, "That of the finest scan.")
    out = out_grid(lr, job.plan)
    large = out.size >= LARGE_PX
    if lr.grid.ndim == 3:
        large = out.size >= LARGE_VOXELS
        why = "Too large to be written twice." if large else "Opens everywhere, with the right voxel size in Fiji."
        job.plan.choose("result.tiff", not large, why)
        job.plan.force("result.zarr", True, "Volumes are written piece by piece, and viewers read them so.")
    else:
        job.plan.choose("result.tiff", True, "Opens everywhere, with the right scale bar in Fiji.")
        why = "Kept because the map is large: viewers read it piece by piece." if large else "Small map."
        job.plan.choose("result.zarr", large, why)
    depth = max(hr.dtype.itemsize for hr in hrs)
    require_space(job.folder.path, 2.6 * out.size * depth + 2e8)


def out_grid(lr: Image, plan: Plan) -> Grid:
    """The grid of the enhanced map."""
    target = plan.values["target.pixel_size_nm"]
    return lr.grid.refine([a / b for a, b in zip(lr.grid.pixel_size_nm, target, strict=True)])
