"""A group of grey levels at the dark or the bright end that a valley of the histogram sets apart from all others.

Otsu's threshold halves whatever comes; where the solid itself has several grey levels, it parts bright grains from dark
ones. Pores (or particles) are a group of their own at one end, and the valley beside it parts them from the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.quantification.threshold import SAMPLE, Threshold

BINS = 256
SMOOTHING = 3.0  # bins: standard deviation of the Gaussian over the histogram
OUTLIERS = 1e-4  # share of the darkest and of the brightest pixels that do not stretch the histogram
DEEPEST = 0.5  # a valley is at most this share of the lower of the two hills beside it
FLOOR = 0.1  # what lies below this share of the hills is the floor; edges of objects are at its middle
SMALLEST, LARGEST = 0.002, 0.4  # share of the area that a group of objects takes
ENDS = ("dark", "bright")


def outer_group(values: NDArray, end: str = "dark") -> Threshold | None:
    """The grey level that parts the outermost group of an end from all others.

    Parameters
    ----------
    values : grey levels, any shape and number format; what is not finite is left out. Noise should be smoothed before.
    end : "dark" or "bright".

    Returns
    -------
    Threshold with ``chosen_by`` "valley", or None where no valley sets apart a group of 0.2 to 40 % of the pixels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> grey = np.r_[rng.normal(20, 4, 1000), rng.normal(100, 9, 5000), rng.normal(160, 9, 4000)]
    >>> 40 < outer_group(grey).value < 70
    True
    """
    values = np.asarray(values).ravel()
    values = values[:: max(1, values.size // SAMPLE)].astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size < BINS or not (values.max() > values.min()):
        return None
    flipped = values if end == "dark" else -values
    found = _valley(flipped)
    if found is None:
        return None
    level = found if end == "dark" else -found
    # dark is "<= value" of a threshold, so a bright group begins just above
    level = level if end == "dark" else float(np.nextafter(level, -np.inf))
    return _described(values, level)


def clearest_group(values: NDArray) -> tuple[str, Threshold] | None:
    """The end ("dark" or "bright") that has a group of its own, and its threshold; dark where both have one."""
    for end in ENDS:
        found = outer_group(values, end)
        if found is not None:
            return end, found
    return None


def _valley(values: NDArray[np.float64]) -> float | None:
    """The middle of the floor of the first valley from the low end that is deep enough and parts off a group."""
    low, high = (float(v) for v in np.quantile(values, (OUTLIERS, 1 - OUTLIERS)))
    if not high > low:
        return None
    counts, edges = np.histogram(np.clip(values, low, high), BINS, (low, high))
    hills = ndimage.gaussian_filter1d(counts.astype(np.float64), SMOOTHING, mode="constant")
    share = np.cumsum(counts) / counts.sum()
    before, after = np.maximum.accumulate(hills), np.maximum.accumulate(hills[::-1])[::-1]
    lower = np.minimum(before, after)
    deep = (hills <= DEEPEST * lower) & (share >= SMALLEST) & (share <= LARGEST)
    if not deep.any():
        return None
    first = int(np.argmax(deep))
    valley = slice(first, first + int(np.argmin(np.r_[deep[first:], False])))
    ground = hills[valley].min()
    floor = np.flatnonzero(hills[valley] <= ground + FLOOR * (lower[valley] - ground))
    return float(edges[first + round(floor.mean()) + 1])


def _described(values: NDArray[np.float64], level: float) -> Threshold:
    """The threshold with the numbers of its two groups."""
    dark, bright = values[values <= level], values[values > level]
    means, spreads = (dark.mean(), bright.mean()), (dark.var(), bright.var())
    apart, within = float(means[1] - means[0]), float(np.sqrt(np.mean(spreads)))
    between = dark.size * bright.size / values.size**2 * apart**2
    return Threshold(
        value=level,
        chosen_by="valley",
        separability=float(between / values.var()),
        contrast=apart / within if within > 1e-9 * apart else float("inf"),
        dark_mean=float(means[0]),
        bright_mean=float(means[1]),
    )
