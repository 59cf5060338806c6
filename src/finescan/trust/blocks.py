"""Held-out blocks and the statistics of figures measured on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from finescan.errors import InputError
from finescan.trust.metrics import SMALLEST
from finescan.trust.report import Gain
from finescan.values import Grid, Region

FEW = 8  # fewer tiles than this are cut in four
SPLIT_PX = 64  # but not into blocks smaller than this
VALID_SHARE = 0.5  # a block counts if this share of it is there


def checked_tiles(tiles: Sequence[Region], grid: Grid) -> list[Region]:
    """The tiles, refused if there are none, they lie on another grid, overlap, or are too small for the metrics."""
    if not tiles:
        raise InputError("At least one held-out tile is needed to judge, but none came.")
    for t in tiles:
        if not t.grid.same_as(grid):
            raise InputError(
                f"Held-out tiles must be boxes on the grid of the results ({grid}), but one is on {t.grid}."
            )
        if min(t.shape) < SMALLEST:
            raise InputError(f"A held-out tile needs at least {SMALLEST} px per axis, but {t} came. Use larger tiles.")
    covered = np.zeros(grid.shape, bool)
    for t in tiles:
        if covered[t.slices].any():
            raise InputError(f"Held-out tiles must not overlap, but {t} does: its pixels would count twice.")
        covered[t.slices] = True
    return list(tiles)


def blocks(tiles: Sequence[Region]) -> list[Region]:
    """The tiles; where they are few, cut in four (again and again) so that a standard error can be formed."""
    out = list(tiles)
    while len(out) < FEW and all(min(t.shape) >= 2 * SPLIT_PX for t in out):
        out = [q for t in out for q in _quarters(t)]
    return out


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float, int]:
    """Mean over blocks, its standard error (nan for a single block), and how many there are; nan are left out."""
    kept = values[~np.isnan(values)]
    n = len(kept)
    if n == 0:
        return float("nan"), float("nan"), 0
    if np.isinf(kept).any():
        return float(kept.mean()), float("nan"), n
    return float(kept.mean()), float(kept.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"), n


def paired_gain(differences: NDArray[np.float64]) -> Gain:
    """Gain from paired differences (positive = the candidate is better), with Student's 95 % interval."""
    mean, error, n = mean_and_error(differences)
    if n < 2:
        return Gain(mean, error, float("nan"), float("nan"), n, "equal")
    half = float(special.stdtrit(n - 1, 0.975)) * error
    significance = "better" if mean - half > 0 else "worse" if mean + half < 0 else "equal"
    return Gain(mean, error, mean - half, mean + half, n, significance)


def _quarters(tile: Region) -> list[Region]:
    (y0, x0), (y2, x2) = tile.start, tile.stop
    y1, x1 = (y0 + y2) // 2, (x0 + x2) // 2
    return [Region(tile.grid, (a, c), (b, d)) for a, b in ((y0, y1), (y1, y2)) for c, d in ((x0, x1), (x1, x2))]
