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

FEW = 24  # fewer tiles than this are halved: neighbours count as related, so it takes many for a few independent ones
SPLIT_PX = 64  # but not into blocks smaller than this
VALID_SHARE = 0.5  # a block counts if this share of it is there


def checked_tiles(tiles: Sequence[Region], grid: Grid, smallest: int = SMALLEST) -> list[Region]:
    """The tiles, refused if there are none, they lie on another grid, overlap, or are too small for the metrics."""
    if not tiles:
        raise InputError("At least one held-out tile is needed to judge, but none came.")
    for t in tiles:
        if not t.grid.same_as(grid):
            raise InputError(
                f"Held-out tiles must be boxes on the grid of the results ({grid}), but one is on {t.grid}."
            )
        if min(t.shape) < smallest:
            raise InputError(f"A held-out tile needs at least {smallest} px per axis, but {t} came. Use larger tiles.")
    start, stop = np.array([t.start for t in tiles]), np.array([t.stop for t in tiles])
    for k, t in enumerate(tiles):
        if ((start[:k] < t.stop) & (stop[:k] > t.start)).all(axis=1).any():
            raise InputError(f"Held-out tiles must not overlap, but {t} does: its pixels would count twice.")
    return list(tiles)


def blocks(tiles: Sequence[Region], split_px: int = SPLIT_PX) -> list[Region]:
    """The tiles; where they are few, halved along their longer side so that a standard error can be formed."""
    out = list(tiles)
    while len(out) < FEW and all(max(t.shape) >= 2 * split_px for t in out):
        out = [half for t in out for half in _halves(t)]
    return out


def nearness(used: Sequence[Region]) -> NDArray[np.float64]:
    """(n, n): 1 for a block and itself, 0.5 for blocks that touch, 0 for blocks a whole block apart (Bartlett)."""
    centre = np.array([(np.array(b.start) + b.stop) / 2 for b in used])
    side = np.array([b.shape for b in used], float)
    step = np.abs(centre[:, None] - centre[None]) / ((side[:, None] + side[None]) / 2)
    return np.clip(1 - step.max(-1) / 2, 0.0, 1.0)


def mean_and_error(values: NDArray[np.float64], near: NDArray[np.float64] | None = None) -> tuple[float, float, int]:
    """Mean over blocks, its standard error (nan for a single block), and how many there are; nan are left out.

    Neighbouring blocks are not independent: their covariance is added (never subtracted) with the weights of
    :func:`nearness`; None = all blocks lie apart.

    Source: Conley 1999, doi:10.1016/S0304-4076(98)00084-0.
    """
    known = ~np.isnan(values)
    kept = values[known]
    n = len(kept)
    if n == 0:
        return float("nan"), float("nan"), 0
    mean = float(kept.mean())
    if n == 1 or np.isinf(kept).any():
        return mean, float("nan"), n
    d = kept - mean
    alone = float(d @ d)
    together = alone if near is None else float(d @ near[np.ix_(known, known)] @ d)
    return mean, float(np.sqrt(max(alone, together) / n / (n - 1))), n


def paired_gain(differences: NDArray[np.float64], near: NDArray[np.float64] | None = None) -> Gain:
    """Gain from paired differences (positive = the candidate is better), with Student's 95 % interval.

    The degrees of freedom are those of the number of *independent* blocks, at least one.
    """
    mean, error, n = mean_and_error(differences, near)
    if n < 2:
        return Gain(mean, error, float("nan"), float("nan"), n, "equal")
    known = ~np.isnan(differences)
    independent = n if near is None else n * n / float(near[np.ix_(known, known)].sum())
    half = float(special.stdtrit(max(independent - 1, 1.0), 0.975)) * error
    significance = "better" if mean - half > 0 else "worse" if mean + half < 0 else "equal"
    return Gain(mean, error, mean - half, mean + half, n, significance)


def _halves(tile: Region) -> list[Region]:
    axis = int(np.argmax(tile.shape))
    middle = (tile.start[axis] + tile.stop[axis]) // 2
    stop, start = list(tile.stop), list(tile.start)
    stop[axis] = start[axis] = middle
    return [Region(tile.grid, tile.start, tuple(stop)), Region(tile.grid, tuple(start), tile.stop)]
