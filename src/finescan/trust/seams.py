"""Seams: straight lines at the borders of tiles that a stitched image should not have.

A line between two rows (or columns) is judged by the mean absolute step of the grey level across it, held against
that of the lines nearby. Only lines as a whole count, so edges of the sample, which do not follow the lattice, average
out. Needs no reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from finescan.errors import InputError
from finescan.values import Image

LEAST_PERIOD = 16  # px; shorter ones are texture
LEAST_LINES = 3
_NEAR = 12  # lines on each side that a line is compared with
_RAIL = 0.99  # steps beyond this quantile count as this large: one bright edge must not make a line
_ODDS = 1e-3  # chance with which a period may stand out where there is none

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seams:
    """How strong the steps on a lattice of lines are.

    Parameters
    ----------
    strength : mean absolute step across the lines over that across lines nearby; 1 = no seams.
    error : its standard error, from line to line.
    period : (rows, columns) px of the lattice; 0 along an axis that has no line.
    phase : first line along each axis: a line at ``k`` lies between the pixels ``k - 1`` and ``k``.
    lines : how many there are.
    """

    strength: float
    error: float
    period: tuple[int, int]
    phase: tuple[int, int]
    lines: int

    @property
    def visible(self) -> bool:
        """Whether the strength exceeds 1 by more than chance does once in a thousand images (Student's t)."""
        return self.strength - 1 > float(special.stdtrit(self.lines - 1, 1 - _ODDS)) * self.error

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "period": list(self.period), "phase": list(self.phase), "visible": self.visible}

    def __str__(self) -> str:
        return f"seams every {self.period[0]} x {self.period[1]} px: {self.strength:.3f} ± {self.error:.3f}"


def seam_strength(
    image: Image | NDArray[Any], period_px: int | Sequence[int], *, phase: int | Sequence[int] = 0
) -> Seams:
    """Steps across the lines of a given lattice, over those elsewhere.

    Parameters
    ----------
    image : (rows, columns) grey levels; NaN is left out.
    period_px : distance of the lines, or (rows, columns); 0 = no lines along that axis.
    phase : position of the first line, or (rows, columns): 0 for tiles that begin at the corner of the image.

    Raises
    ------
    InputError : a period below 16 px, or fewer than three lines in the image.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(100, 5, (256, 256))
    >>> print(seam_strength(noise, (0, 64)))
    seams every 0 x 64 px: 1.030 ± 0.011
    >>> noise[:, 64:128] += 10
    >>> print(seam_strength(noise, (0, 64)))
    seams every 0 x 64 px: 1.528 ± 0.245
    """
    grey, periods, phases = _grey(image), _two(period_px), _two(phase)
    if any(p and p < LEAST_PERIOD for p in periods):
        raise InputError(f"Lines of a lattice are at least {LEAST_PERIOD} px apart, but {period_px} came.")
    ratios = []
    for axis, (period, first) in enumerate(zip(periods, phases, strict=True)):
        at = _lines(grey.shape[axis], period, first)
        ratios.append(_against_neighbours(_profile(grey, axis), at - 1) if len(at) else np.zeros(0))
    every = np.concatenate(ratios)
    every = every[np.isfinite(every)]
    if len(every) < LEAST_LINES:
        raise InputError(
            f"Seams are judged on at least {LEAST_LINES} lines, but a lattice of {period_px} px has {len(every)} in "
            f"an image of {grey.shape[0]} x {grey.shape[1]} px."
        )
    error = float(every.std(ddof=1) / math.sqrt(len(every)))
    first_lines = tuple(f % p if p else 0 for f, p in zip(phases, periods, strict=True))
    return Seams(float(every.mean()), error, periods, (first_lines[0], first_lines[1]), len(every))


def find_seams(image: Image | NDArray[Any], *, longest: int | None = None) -> Seams | None:
    """The lattice whose lines stand out most, or None when none does.

    Every period from 16 px to ``longest`` (a quarter of the side) and every phase is tried, along each axis, on the
    ranks of the lines; it must stand out by more than chance makes the best of so many do once in a thousand images.
    A sample that is periodic along the axes has such lines too: look at the picture.
    """
    grey = _grey(image)
    found = [_best_lattice(_profile(grey, axis), longest) for axis in range(2)]
    if all(f is None for f in found):
        return None
    periods, phases = zip(*(f or (0, 0) for f in found), strict=True)
    return seam_strength(grey, periods, phase=phases)


# ---------------------------------------------------------------------------------------------- steps
def _grey(image: Image | NDArray[Any]) -> Array:
    grey = np.asarray(image.array() if isinstance(image, Image) else image, np.float64)
    if grey.ndim != 2 or min(grey.shape) < 3 * LEAST_PERIOD:
        raise InputError(f"Seams are sought in an image of at least 48 x 48 px, but {grey.shape} came.")
    return grey


def _profile(grey: Array, axis: int) -> Array:
    """Mean absolute step across each line between two rows (axis 0) or columns; NaN where nothing is known."""
    steps = np.abs(np.diff(grey, axis=axis))
    known = np.isfinite(steps)
    if not known.any():
        raise InputError("Seams are sought between known grey levels, but all are NaN.")
    steps = np.minimum(np.where(known, steps, 0.0), np.quantile(steps[known], _RAIL))
    count = known.sum(axis=1 - axis)
    return np.where(count > 0, steps.sum(axis=1 - axis) / np.maximum(count, 1), np.nan)


def _lines(size: int, period: int, phase: int) -> NDArray[np.intp]:
    if not period:
        return np.zeros(0, np.intp)
    first = phase % period or period
    return np.arange(first, size, period)


def _against_neighbours(profile: Array, at: NDArray[np.intp]) -> Array:
    """Step of each line over the mean of those nearby, which are no line themselves."""
    others = np.isfinite(profile)
    others[at] = False
    total = ndimage.uniform_filter1d(np.where(others, profile, 0.0), 2 * _NEAR + 1, mode="constant")
    weight = ndimage.uniform_filter1d(others.astype(np.float64), 2 * _NEAR + 1, mode="constant")
    near = total[at] / np.maximum(weight[at], 1e-12)
    return np.divide(profile[at], near, out=np.full(len(at), np.nan), where=near > 0)


def _best_lattice(profile: Array, longest: int | None) -> tuple[int, int] | None:
    """Period and phase of the lines that stand out, or None."""
    scores = _scores(profile)
    size = len(profile) + 1
    longest = min(longest or size // 4, size // 4)
    best, tried = (0.0, 0, 0), 0
    for period in range(LEAST_PERIOD, longest + 1):
        count = (len(scores) // period) * period
        sums = scores[:count].reshape(-1, period).sum(axis=0)
        rest = scores[count:]
        sums[: len(rest)] += rest
        lines = np.full(period, count // period) + (np.arange(period) < len(rest))
        height = sums / np.sqrt(lines)
        k = int(np.argmax(height))
        best = max(best, (float(height[k]), period, (k + 1) % period))
        tried += period
    limit = -special.ndtri(_ODDS / max(tried, 1) / 2)
    return best[1:] if best[0] > limit else None


def _scores(profile: Array) -> Array:
    """Normal scores of the ranks of all lines, each held against the lines nearby."""
    median = ndimage.median_filter(np.nan_to_num(profile, nan=0.0), 2 * _NEAR + 1, mode="nearest")
    ratio = np.divide(profile, median, out=np.ones_like(profile), where=(median > 0) & np.isfinite(profile))
    ranks = np.argsort(np.argsort(ratio, kind="stable"), kind="stable")
    return np.asarray(special.ndtri((ranks + 0.5) / len(ratio)), np.float64)


def _two(value: int | Sequence[int]) -> tuple[int, int]:
    a, b = (value, value) if isinstance(value, (int, np.integer)) else value
    return int(a), int(b)
