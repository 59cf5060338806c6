"""What a rescan is worth to somebody who measures the area of objects (pores, voids, particles) in the map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io, rescan
from finescan.errors import InputError
from finescan.quantification import calmed
from finescan.quantification.candidates import (
    LEAST_PX,
    AreaModel,
    Candidates,
    find_candidates,
    fit_areas,
    with_share,
)
from finescan.values import Grid, Image, Warp
from finescan.workflow.finished import FinishedFolder

KINDS = ("dark", "bright")
LARGEST_PX = 1 << 26  # output pixels; candidates of the whole map are held at once (20 bytes per pixel)
COVERED = 0.95  # share of a candidate that must be recorded for it to be known
END = 0.1  # percentile of the map that stands for the inside of a deep object
UNIT = "variance of the area of {kind} objects (squared pixels of the result)"


def object_value(
    run: FinishedFolder, coarse: Image, scans: Sequence[tuple[Image, Warp]], kind: str
) -> tuple[NDArray[np.float32], str]:
    """Expected squared error of the area of objects per coarse pixel, and what that is, for readers.

    Candidates of the enhanced map are compared with what the run's fine scans show of them; see
    :mod:`finescan.quantification.candidates`.

    Parameters
    ----------
    run, coarse : the run and its coarse scan.
    scans : recorded fine scans and where they lie.
    kind : "dark" or "bright".

    Raises
    ------
    InputError : another kind, a run that measured no such objects, a map that is too large, or fine scans that hold
        hardly an object.
    """
    if kind not in KINDS:
        raise InputError(f"Rescans are planned for the area of {' or '.join(KINDS)} objects, but {kind!r} came.")
    threshold = _threshold(run, kind)
    enhanced = _enhanced(run, coarse)
    sign = 1.0 if kind == "dark" else -1.0
    grey = sign * np.asarray(enhanced.data[...], np.float32)
    grey = np.where(np.isfinite(grey), grey, np.nanmedian(grey))
    found = find_candidates(grey, black=float(np.percentile(grey, END)))
    recorded, objects = _recorded(scans, enhanced.grid, threshold, sign)
    model, covered = _model(found, recorded, objects)
    _, variance = model.expected(found.features)
    spread = found.spread(variance * (1 - covered) ** 2)
    mean = rescan.mean_under(Image(spread, enhanced.grid), coarse.grid, lambda v: v)
    per_pixel = enhanced.grid.size / coarse.grid.size
    return (mean * per_pixel).astype(np.float32), UNIT.format(kind=kind)


def _threshold(run: FinishedFolder, kind: str) -> float:
    """Grey level at which the run set such objects apart."""
    sizes: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        sizes = json.loads((run.path / "trust.json").read_text(encoding="utf-8")).get("sizes") or {}
    if sizes.get("objects") != kind or not sizes.get("threshold"):
        measured = sizes.get("objects") or "none"
        raise InputError(
            f"The run in {run.path} has measured {measured} objects, not {kind} ones. Run it again with "
            f"--set measure.objects={kind}, or plan for pixels."
        )
    return float(sizes["threshold"]["value"])


def _enhanced(run: FinishedFolder, coarse: Image) -> Image:
    name = "enhanced.tif" if (run.path / "enhanced.tif").exists() else "enhanced.ome.zarr"
    image, target = io.read(run.path / name), run.plan.values["target.pixel_size_nm"]
    if image.grid.size > LARGEST_PX:
        raise InputError(
            f"The map has {image.grid.size / 1e6:.0f} million pixels, and candidates are looked for in maps of up to "
            f"{LARGEST_PX / 1e6:.0f} million. Plan for pixels, or run a part of the map."
        )
    grid = coarse.grid.refine([a / b for a, b in zip(coarse.grid.pixel_size_nm, target, strict=True)])
    return image.with_data(image.data, grid)


def _recorded(
    scans: Sequence[tuple[Image, Warp]], grid: Grid, threshold: float, sign: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the map was recorded, and where an object is seen there."""
    recorded, objects = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    for scan, warp in scans:
        piece = rescan.recorded_on(scan, grid, warp, feather_px=0)
        if piece is not None:
            known = piece.weight > 0
            seen = sign * calmed(piece.grey, known) < sign * threshold
            recorded[piece.box] |= known
            objects[piece.box] |= known & seen
    return recorded, objects


def _model(
    found: Candidates, recorded: NDArray[np.bool_], objects: NDArray[np.bool_]
) -> tuple[AreaModel, NDArray[np.float64]]:
    """What candidates amount to, and how much of each is recorded."""
    covered = found.sums(recorded) / np.maximum(found.sums(np.ones(recorded.shape, bool)), 1)
    known = covered >= COVERED
    area = found.sums(objects)[known]
    model = fit_areas(found.features[known], area)
    return with_share(model, found.features[~known], (area >= LEAST_PX).astype(float)), covered
