"""Judge anybody's enhanced volume against a fine volume; no network is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from finescan import reporting as rp
from finescan import resampling, trust
from finescan.errors import InputError
from finescan.registration import register, require_found
from finescan.trust.volume_inputs import Part
from finescan.values import Image, Region
from finescan.workflow import page_errors
from finescan.workflow.field_of_view import rails
from finescan.workflow.folder import make_folder, write_json
from finescan.workflow.place_maps import (
    HeldOutMaps,
    errors_under,
    summary_lines,
    useful_pixel,
    volume_place,
    write_maps,
)
from finescan.workflow.reading import Outcome

FACTS_FILE = "maps.json"
RESULT, INTERPOLATED = "result", "interpolated"
_GREY_VOXELS = 1 << 26  # that the range of grey levels is taken from


def evaluate_volumes(
    ours: Image,
    theirs: Image,
    coarse: Image | None,
    output: Path | None,
    *,
    maps: Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Scores and effective resolution of an enhanced volume against a fine volume of a part of it.

    The reference is registered in the result unless both lie on one grid. With the coarse volume, its interpolation
    (grey levels brought to the reference's by one linear fit) is scored beside it. ``maps`` is a folder for volumes of
    what is found place by place, figures of three slices through each, and ``maps.json``.
    """
    reference, box = _reference_on(ours, theirs)
    result = replace(ours, data=Part.of(ours.data, box), grid=box.own_grid)
    grey = trust.grey_statistics(_some_grey(reference))
    volumes = {RESULT: result}
    if coarse is not None:
        volumes = {INTERPOLATED: _interpolated(coarse, reference), **volumes}
    facts: dict[str, Any] = {"scores": {}, "blur": {}, "data_range": grey.high - grey.low}
    lines = [f"{'':13} {'PSNR dB':>8} {'matched':>8} {'SSIM':>7} {'MS-SSIM':>8} {'blur px':>8}"]
    for name, volume in volumes.items():
        scores = trust.volume_scores(volume, reference, data_range=grey.high - grey.low)
        fit = trust.blur_fit(volume, reference, voxel_size_nm=result.grid.pixel_size_nm)
        facts["scores"][name] = scores.to_dict()
        facts["blur"][name] = {"sigma_nm": fit.sigma_nm, "fwhm_nm": fit.fwhm_nm, "sigma_voxels": fit.sigma}
        lines.append(
            f"{name:13} {scores.psnr:8.2f} {scores.matched_psnr:8.2f} {scores.ssim:7.4f} {scores.ms_ssim:8.4f} "
            f"{fit.sigma:8.2f}"
        )
    lines.append("PSNR and SSIM over the whole compared box; whether it was learned from is for you to know.")
    if maps is not None:
        found = _place_maps(volumes, reference, coarse, grey.high - grey.low)
        facts |= found.facts()
        facts["maps"] = _written(maps, found, facts, overwrite)
        told = [] if found.useful is None else [found.useful.sentence()]
        lines += [*summary_lines(facts), *told, f"{maps}: {', '.join(facts['maps'])}"]
    if output is not None:
        write_json(output, facts)
    return Outcome(facts, "\n".join(lines))


def _place_maps(volumes: Mapping[str, Image], reference: Image, coarse: Image | None, data_range: float) -> HeldOutMaps:
    """Maps over the compared box; of errors where there is a coarse volume."""
    result, grid = volumes[RESULT], reference.grid
    images = {k: volumes[k].data for k in (RESULT, INTERPOLATED) if k in volumes}
    local = trust.judge_volume_locally(images, reference.data, grid, data_range=data_range)
    useful, under = None, None
    if local is not None:
        found = useful_pixel(local, RESULT, grid, None if coarse is None else coarse.grid)
        useful = replace(found, against="the reference")
    if coarse is not None:
        check = trust.calibrate_volume(reference, coarse, rails=rails(coarse), fine_rails=rails(reference))
        under = errors_under(result, reference, grid, coarse, check)
    place = volume_place(grid, {"fine": reference.data, RESULT: result.data}, local, under)
    return HeldOutMaps((place,), useful)


def _written(folder: Path, found: HeldOutMaps, facts: Mapping[str, Any], overwrite: bool) -> list[str]:
    """The maps, figures of slices through them, and their numbers; names of the files."""
    make_folder(folder)
    names = write_maps(folder, found.places[0], RESULT, overwrite=overwrite)
    parts = page_errors.figures(found, facts, "The compared place", "Empty where the reference is not known.")
    drawn = rp.write_figures(folder, [p for p in parts if isinstance(p, rp.Figure)], overwrite=overwrite)
    write_json(folder / FACTS_FILE, {k: facts[k] for k in ("local_resolution", "error_maps")})
    return [*names, *(p.name for p in drawn), FACTS_FILE]


def _reference_on(ours: Image, theirs: Image) -> tuple[Image, Region]:
    """The reference on the result's grid, and the box of it that is compared."""
    if ours.grid.same_as(theirs.grid):
        return theirs, Region(ours.grid, (0,) * 3, ours.grid.shape)
    pair = require_found(register(ours, theirs))
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in theirs.grid.shape), indexing="ij"), -1).reshape(-1, 3)
    index = ours.grid.to_index(pair.lr_from_hr(theirs.grid.to_nm(corners)))
    box = Region.clipped(ours.grid, np.ceil(index.min(axis=0)).tolist(), np.floor(index.max(axis=0)).tolist())
    return resampling.resample(theirs, onto=box.own_grid, through=pair.lr_from_hr, inverse=True), box


def _some_grey(image: Image) -> np.ndarray:
    """The known grey levels; of a very large volume those of evenly spread slices."""
    depth, rows, columns = image.grid.shape
    step = max(1, math.ceil(depth * rows * columns / _GREY_VOXELS))
    values = np.asarray(image.data[::step])
    return values[np.isfinite(values)].astype(np.float32)


def _interpolated(coarse: Image, reference: Image) -> Image:
    values = np.asarray(resampling.resample(coarse, onto=reference.grid).data, np.float64)
    truth = np.asarray(reference.data, np.float64)
    both = np.isfinite(values) & np.isfinite(truth)
    if both.sum() < 1000:
        raise InputError(f"{coarse.name} does not cover the compared box. Pass the volume the result was made from.")
    gain, offset = np.polyfit(values[both], truth[both], 1)
    return reference.with_data((gain * values + offset).astype(np.float32))
