"""Blocks of held-out area for intervals: how far errors are alike, and boxes cut to at least twice that length.

What is exchangeable is not a pixel but a piece of the sample: neighbouring pixels are wrong together. The correlation
length of the *size* of the error says how large such a piece has to be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from finescan.errors import InputError
from finescan.values import Region

FALLEN_TO = float(np.exp(-1))  # of the correlation of neighbours: the correlation length
LONGEST_LAG = 64  # pixels
LENGTHS_PER_BLOCK = 2.0
SMALLEST_BLOCK = {2: 12, 3: 6}  # pixels along an edge: enough to hold a distribution of their own
_NOTHING = 4.0  # correlations below this many standard errors of it are none
_LARGEST_LOOKED_AT = 1 << 22  # pixels per box

Floats = NDArray[np.floating]
Bool = NDArray[np.bool_]


def correlation_length(parts: Iterable[tuple[Floats, Bool]]) -> float:
    """Lag, in pixels, at which the size of the error has become unlike that of its neighbours.

    The autocorrelation of |error| (less its mean), averaged over the axes, at the first lag where it has fallen to 1/e
    of its value between next neighbours. Noise of single pixels, which is like nothing else, is left out that way.

    Parameters
    ----------
    parts : (error, known) of boxes of the sample: float arrays of equal dimension, and which of their pixels count.

    Returns
    -------
    At least 1; at most 64 or a third of the shortest box where the correlation does not fall.
    """
    total, pairs, sizes = np.zeros(LONGEST_LAG + 1), np.zeros(LONGEST_LAG + 1), []
    for error, known in parts:
        if known.any():
            part, mask = _looked_at(np.abs(error), known)
            sizes.append(min(part.shape))
            _add_lags(np.where(mask, part - part[mask].mean(), 0.0), mask, total, pairs)
    if not sizes:
        raise InputError(
            "No held-out pixel is left to measure the correlation of errors on. Record a larger fine scan."
        )
    last = max(2, min(LONGEST_LAG, max(sizes) // 3))
    curve = total[: last + 1] / np.maximum(pairs[: last + 1], 1)
    if curve[0] <= 0 or curve[1] < _NOTHING * curve[0] / np.sqrt(max(pairs[1], 1)):
        return 1.0
    below = np.flatnonzero(curve[2:] < FALLEN_TO * curve[1]) + 2
    if not below.size:
        return float(last)
    k = int(below[0])
    return float(max(1.0, k - (FALLEN_TO * curve[1] - curve[k]) / max(curve[k - 1] - curve[k], 1e-30)))


def block_side(length_px: float, ndim: int) -> int:
    """Edge of the blocks for a correlation length: twice it, and enough pixels to have a distribution."""
    return max(SMALLEST_BLOCK[ndim], int(np.ceil(LENGTHS_PER_BLOCK * length_px)))


def cut_blocks(regions: Sequence[Region], side: int) -> list[Region]:
    """Boxes cut into blocks with edges of at least ``side`` pixels (less only where a box itself is narrower)."""
    found = []
    for region in regions:
        edges = [
            np.linspace(a, b, max(1, (b - a) // side) + 1).round().astype(int).tolist()
            for a, b in zip(region.start, region.stop, strict=True)
        ]
        for box in itertools.product(*(itertools.pairwise(e) for e in edges)):
            found.append(Region(region.grid, tuple(a for a, _ in box), tuple(b for _, b in box)))
    return found


def _looked_at(part: Floats, known: Bool) -> tuple[NDArray[np.float32], Bool]:
    """The middle of a box that is too large to be transformed as a whole."""
    keep = (_LARGEST_LOOKED_AT / max(part.size, 1)) ** (1 / part.ndim)
    if keep < 1:
        lengths = [max(2, int(n * keep)) for n in part.shape]
        box = tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(part.shape, lengths, strict=True))
        if known[box].any():
            part, known = part[box], known[box]
    return np.asarray(part, np.float32), known


def _add_lags(values: Floats, known: Bool, total: Floats, pairs: Floats) -> None:
    """Add sums of products, and numbers of pairs, per lag along each axis."""
    weights = known.astype(np.float32)
    for axis in range(values.ndim):
        n = values.shape[axis]
        length = fft.next_fast_len(2 * n, real=True)
        last = min(n, len(total))
        for array, into in ((values, total), (weights, pairs)):
            power = np.abs(fft.rfft(array, length, axis=axis)) ** 2
            lags = fft.irfft(power, length, axis=axis).sum(axis=tuple(a for a in range(values.ndim) if a != axis))
            into[:last] += lags[:last]
