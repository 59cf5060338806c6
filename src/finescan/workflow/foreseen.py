"""How well a finished run had foreseen a rescan: its intervals against what was recorded in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.resampling import resample
from finescan.rescan.pasting import touched_box
from finescan.trust.intervals import Calibration
from finescan.trust.map_intervals import SHOWN
from finescan.values import Grid, Image, Pair
from finescan.workflow import pasting
from finescan.workflow.finished import FinishedFolder
from finescan.workflow.interval_parts import recorded_error, same_pixels
from finescan.workflow.judging import on_grid
from finescan.workflow.opening import out_grid

LOOKED_AT = 1 << 24  # pixels of a rescan; of a larger one the middle

Floats = NDArray[np.float32]


def foreseen(run: FinishedFolder, lr: Image, pairs: Sequence[Pair]) -> list[dict[str, Any] | None]:
    """Per rescan, what the run had said of its pixels before they were recorded; None where it had said nothing.

    Parameters
    ----------
    run, lr : the finished run and its coarse scan.
    pairs : the rescans, with grey levels like those of the run's fine scans.

    Returns
    -------
    Plain JSON values: "levels" of the intervals and "coverage" (share of the recorded pixels that lie in them),
    "rms_error" of the result and "mean_half_width" of its 90 % interval (grey levels), and "pixels" that were compared.
    """
    grid, calibration = out_grid(lr, run.plan), _calibration(run.path)
    enhanced = _opened(run.path, (pasting.ZARR_FILE, pasting.TIFF_FILE), grid)
    half = _opened(run.path, (pasting.UNCERTAINTY_STORE, pasting.UNCERTAINTY_FILE), grid)
    if enhanced is None or half is None or calibration is None or SHOWN not in calibration.levels:
        return [None] * len(pairs)
    return [_compared(p, enhanced, half, calibration) for p in pairs]


def held(facts: Mapping[str, Any]) -> float:
    """Share of a rescan's pixels that the 90 % intervals held, from an entry of :func:`foreseen`."""
    return float(facts["coverage"][facts["levels"].index(SHOWN)])


def _calibration(folder: Path) -> Calibration | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads((folder / "trust.json").read_text(encoding="utf-8"))["intervals"]
        return Calibration.from_dict(facts) if facts["levels"] else None
    return None


def _opened(folder: Path, names: Sequence[str], grid: Grid) -> Image | None:
    """A map of the run as computed; where it is as large as the whole map, on the very grid of the result."""
    path = next((p for n in names if (p := pasting.computed_or(folder / n)).exists()), None)
    if path is None:
        return None
    image = io.read(path) if grid.ndim == 2 else io.read_volume(path, constant_ok=True)
    return image.with_data(image.data, grid) if image.grid.shape == grid.shape else image


def _compared(pair: Pair, enhanced: Image, half: Image, calibration: Calibration) -> dict[str, Any] | None:
    box = touched_box(pair.hr.grid, enhanced.grid, pair.lr_from_hr)
    if box is None:
        return None
    grid = enhanced.grid.crop(*_middle(*box))
    seen, width = on_grid(enhanced, grid), on_grid(half, grid)
    error = np.abs(_error(seen, grid, replace(pair, hr=pasting.recorded_part(pair.hr))))
    known = np.isfinite(error) & np.isfinite(width)
    if not known.any():
        return None
    error, width = error[known], width[known] / calibration.factor(SHOWN)
    return {
        "levels": list(calibration.levels),
        "coverage": [float(np.mean(error <= f * width)) for f in calibration.factors],
        "rms_error": float(np.sqrt(np.mean(error.astype(np.float64) ** 2))),
        "mean_half_width": float(calibration.factor(SHOWN) * width.mean()),
        "pixels": int(error.size),
    }


def _error(seen: Floats, grid: Grid, pair: Pair) -> Floats:
    """Result less recorded, pixel by pixel where they are as large, else as resampled."""
    if same_pixels(pair.hr.grid, grid):
        return recorded_error(seen, grid, pair)
    return seen - resample(pair.hr, onto=grid, through=pair.lr_from_hr, inverse=True).array()


def _middle(start: Sequence[int], stop: Sequence[int]) -> tuple[list[int], list[int]]:
    """The middle of a box, its longest sides shortened until it is small enough to look at."""
    first, last = list(start), list(stop)
    while np.prod([b - a for a, b in zip(first, last, strict=True)], dtype=float) > LOOKED_AT:
        longest = int(np.argmax(np.subtract(last, first)))
        cut = max(1, (last[longest] - first[longest]) // 32)
        first[longest] += cut // 2
        last[longest] -= cut - cut // 2
    return first, last
