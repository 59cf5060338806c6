"""Judge anybody's enhanced image against a recorded fine scan; no network is loaded."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io, resampling, trust
from finescan.errors import InputError, OutputError
from finescan.registration import register, require_found
from finescan.trust.map_intervals import Intervals, intervals_of
from finescan.values import Grid, Image, Region, Warp
from finescan.workflow.folder import make_folder, require_empty, write_json
from finescan.workflow.noise_free import noise_free_beside
from finescan.workflow.place_maps import (
    HeldOutMaps,
    PlaceMaps,
    errors_under,
    summary_lines,
    useful_pixel,
    write_maps,
)
from finescan.workflow.reading import Outcome, Reading

TILES = 4  # tiles along each side of the compared area
SMALLEST_PX = 96  # of the compared area, along each side
USUAL_SCALE_PX = (4.0, 4.0)  # pixels of the result per coarse pixel, where no coarse scan says it


def evaluate_files(
    result: str | Path,
    reference: str | Path,
    *,
    coarse: str | Path | None = None,
    reading: Reading | None = None,
    output: str | Path | None = None,
    uncertainty: str | Path | None = None,
    maps: str | Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Scores of an enhanced image against a fine scan of a part of it.

    Parameters
    ----------
    result : enhanced image, made by any program.
    reference : recorded fine scan; registered in the result unless it lies on the same grid.
    coarse : the coarse scan in the frame of the result: its cubic interpolation is then the baseline, and the
        verdict says whether the result beats it. Without it there are scores but no verdict.
    reading : ``pixel_size_nm`` of the result and ``fine_pixel_size_nm`` of the reference, when the files have none.
    output : JSON file for all figures.
    uncertainty : picture to write: half width of the 90 % interval of every pixel of the result, in grey levels, from
        how wrong the result is where the reference shows it.
    maps : folder for pictures (of a volume: volumes, and figures of slices through them) of how sharp and how alike the
        result is place by place and, with the coarse scan, of what it lacks, invents, and contradicts; their figures
        are among the facts.

    Raises
    ------
    InputError, RegistrationRefused, OutputError.
    """
    for path in (output, uncertainty):
        if path is not None and Path(path).exists() and not overwrite:
            raise OutputError(f"{path} exists. Choose another name, or pass --overwrite.")
    if maps is not None:
        require_empty(Path(maps), overwrite=overwrite)
    reading = reading or Reading()
    ours, theirs = reading.coarse(result), reading.fine(reference)
    if ours.grid.ndim == 3:
        from finescan.workflow.volume_evaluating import evaluate_volumes

        if uncertainty is not None:
            raise InputError("Intervals of results of other programs are there for pictures, but a volume came.")
        volume = None if coarse is None else io.read_volume(coarse)
        where = [None if path is None else Path(path) for path in (output, maps)]
        return evaluate_volumes(ours, theirs, volume, where[0], maps=where[1], overwrite=overwrite)
    truth, box, through = _reference_on(ours, theirs)
    part = ours.crop(box)
    images = {"result": np.asarray(part.data, np.float32)}
    scale_px: tuple[float, ...] = USUAL_SCALE_PX
    recorded = None if coarse is None else io.read(coarse)
    if recorded is not None:
        images = {"bicubic": _interpolated(recorded, part.grid, truth), **images}
        scale_px = recorded.grid.sr_factor(ours.grid)
    grey = trust.grey_statistics(truth)
    report = trust.evaluate(
        images,
        truth,
        grid=part.grid,
        tiles=_tiles(part.grid),
        data_range=grey.high - grey.low,
        baseline=next(iter(images)),
        candidate="result",
    )
    facts: dict[str, Any] = report.to_dict()
    if coarse is None:
        facts |= {"verdict": "not judged", "sentence": "Pass the coarse scan to have the result judged against it."}
    intervals = intervals_of(ours, truth, box.start, scale_px)
    facts["intervals"] = dict(intervals.facts)
    told = noise_free_beside(images["result"], images.get("bicubic"), part.grid, theirs, through)
    facts["intervals"]["noise_free"] = told
    if uncertainty is not None:
        _write_uncertainty(Path(uncertainty), intervals, overwrite)
    found = None if maps is None else _place_maps(images, truth, part.grid, recorded, grey.high - grey.low)
    if maps is not None and found is not None:
        make_folder(Path(maps))
        facts |= {**found.facts(), "maps": write_maps(Path(maps), found.places[0], "result", overwrite=overwrite)}
    if output is not None:
        write_json(Path(output), facts)
    lines = [f"{'':10} {'PSNR dB':>8} {'SSIM':>7} {'MS-SSIM':>8}   mean of {report.facts['n_blocks']} blocks"]
    for name, row in report.scores.items():
        lines.append(f"{name:10} {row['psnr'].raw:8.2f} {row['ssim'].raw:7.4f} {row['ms_ssim'].raw:8.4f}")
        matched = row["psnr"].matched
        lines.append(f"{'  matched':10} {matched:8.2f} {row['ssim'].matched:7.4f} {row['ms_ssim'].matched:8.4f}")
    lines += [f"{facts['verdict']}: {facts['sentence']}", str(intervals.facts["sentence"]), str(told["sentence"])]
    if found is not None:
        useful = [] if found.useful is None else [found.useful.sentence()]
        lines += [*summary_lines(facts), *useful, f"{maps}: {', '.join(facts['maps'])}"]
    return Outcome(facts, "\n".join(lines))


def _place_maps(
    images: Mapping[str, NDArray[np.float32]],
    truth: NDArray[np.float32],
    grid: Grid,
    recorded: Image | None,
    data_range: float,
) -> HeldOutMaps:
    """Maps over the compared area; of errors where there is a coarse scan."""
    known = np.logical_and.reduce([np.isfinite(v) for v in (truth, *images.values())])
    images = {"result": images["result"], **images}  # first in tables
    local = trust.judge_locally(images, truth, known, grid, data_range=data_range)
    pictures = {"fine": truth, "enhanced": images["result"]}
    useful, under = None, None
    if local is not None:
        useful = useful_pixel(local, "result", grid, None if recorded is None else recorded.grid)
        useful = replace(useful, against="the reference")
    if recorded is not None:
        fine = Image(truth, grid, "reference")
        edges = trust.saturation_levels(np.asarray(recorded.data)), trust.saturation_levels(truth)
        check = trust.calibrate(fine, recorded, rails=edges[0], fine_rails=edges[1])
        under = errors_under(Image(images["result"], grid, "result"), fine, grid, recorded, check)
    errors, error_grid = under or (None, None)
    return HeldOutMaps((PlaceMaps(grid, pictures, local, errors, error_grid),), useful)


def _write_uncertainty(path: Path, intervals: Intervals, overwrite: bool) -> None:
    half = intervals.uncertainty
    if half is None:
        raise InputError(f"{path.name} cannot be made. {' '.join(intervals.notes)}")
    io.write(path, Image(half.data, half.grid, path.name, half.acquisition), overwrite=overwrite)


def _reference_on(ours: Image, theirs: Image) -> tuple[NDArray[np.float32], Region, Warp | None]:
    """The reference on the result's grid, the box of it that is compared, and how the reference lies in its frame."""
    if ours.grid.same_as(theirs.grid):
        return theirs.array().astype(np.float32), Region(ours.grid, (0, 0), ours.grid.shape), None
    pair = register(ours, theirs)
    require_found(pair)
    h, w = theirs.grid.shape
    rim = theirs.grid.to_nm(np.array([[0, 0], [0, w - 1], [h - 1, 0], [h - 1, w - 1]], float))
    index = ours.grid.to_index(pair.lr_from_hr(rim))
    box = Region.clipped(ours.grid, np.floor(index.min(axis=0)), np.ceil(index.max(axis=0)) + 1)
    truth = resampling.resample(theirs, onto=box.own_grid, through=pair.lr_from_hr, inverse=True).data
    return np.asarray(truth, np.float32), box, pair.lr_from_hr


def _interpolated(coarse: Image, grid: Grid, truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cubic interpolation of the coarse scan, its grey levels brought to the reference's by one linear fit."""
    values = np.asarray(resampling.resample(coarse, onto=grid).data, np.float64)
    both = np.isfinite(values) & np.isfinite(truth)
    if both.sum() < SMALLEST_PX:
        raise InputError(f"{coarse.name} does not cover the compared area. Pass the scan the result was made from.")
    gain, offset = np.polyfit(values[both], truth[both].astype(np.float64), 1)
    return (gain * values + offset).astype(np.float32)


def _tiles(grid: Grid) -> list[Region]:
    h, w = grid.shape
    if min(h, w) < SMALLEST_PX:
        raise InputError(
            f"The compared area is {h} x {w} px, but at least {SMALLEST_PX} px are needed along each side."
        )
    rows, columns = (np.linspace(0, n, TILES + 1).astype(int).tolist() for n in (h, w))
    return [Region(grid, (a, c), (b, d)) for a, b in itertools.pairwise(rows) for c, d in itertools.pairwise(columns)]
