"""What is expected to be wrong per coarse pixel: from calibrated intervals, or from the coarse map and its flags alone.

The latter is a stand-in where there are no intervals. On two simulated samples the mean squared error of the enhanced
map over 24 x 24 coarse pixels followed the local variance of the coarse map with a correlation of 0.74 and 0.85.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.trust.noise_free import NORMAL_90
from finescan.values import Grid, Image, TrustMap

_BAND = 512  # rows of the enhanced map at a time
_SLAB = 1 << 23  # voxels of an enhanced volume at a time
NEAR_PX = 1.0  # sigma of the Gaussian within which the variance is taken

#: How many times the variance is expected to be wrong under a flag. Judgement: in the simulations the error under
#: "untrained" and "border" was what the variance says, under "clipped" 1.6 times that; too few others were there.
FLAG_WEIGHTS: dict[str, float] = {
    "saturated": 4.0,
    "inconsistent": 4.0,
    "invention": 4.0,
    "omission": 4.0,
    "untrained": 2.0,
    "clipped": 2.0,
}
UNKNOWN = "saturated", "inconsistent"  # the recorded variance says nothing here: at least that of the whole map counts


def expected_error(coarse: NDArray[Any], trust: TrustMap, *, noise_sigma: float = 0.0) -> NDArray[np.float32]:
    """Expected squared error of the enhanced map per coarse pixel, up to one common factor.

    Parameters
    ----------
    coarse : (h, w) grey levels; NaN = no data.
    trust : flags on the same grid.
    noise_sigma : standard deviation of the noise of single coarse pixels, grey levels.

    Returns
    -------
    (h, w), 0 or more, squared grey levels: the local variance beyond noise times :data:`FLAG_WEIGHTS`; 0 where the
    map holds no data.
    """
    values = np.asarray(coarse, np.float32)
    known = np.isfinite(values) & ~trust.where("no_data")
    middle = float(values[known].mean()) if known.any() else 0.0
    error = np.maximum(_variance(np.where(known, values - middle, 0)) - np.float32(noise_sigma**2), 0)
    typical = float(error[known].mean()) if known.any() else 0.0
    for name in UNKNOWN:
        error = np.where(trust.where(name), np.maximum(error, typical), error)
    weight = np.ones(values.shape, np.float32)
    for name, factor in FLAG_WEIGHTS.items():
        weight = np.where(trust.where(name), np.maximum(weight, factor), weight)
    return np.where(known, error * weight, 0).astype(np.float32)


def interval_error(half_width: Image, trust: TrustMap) -> NDArray[np.float32]:
    """Expected squared error of the enhanced map per coarse pixel, from the half widths of its 90 % intervals.

    Parameters
    ----------
    half_width : on the grid of the enhanced map, grey levels; NaN = no data.
    trust : flags on the grid of the coarse map.

    Returns
    -------
    (h, w), 0 or more, squared grey levels: the mean over the fine pixels of ``(half width / 1.645) ** 2``. Intervals
    are calibrated where grey levels were recorded: where the coarse map is saturated at least the mean of the map
    counts, times the weight of that flag; where it holds no data, 0.
    """
    error = mean_under(half_width, trust.grid, lambda h: (np.nan_to_num(h) / NORMAL_90) ** 2)
    known, saturated = ~trust.where("no_data"), trust.where("saturated")
    typical = float(error[known].mean()) if known.any() else 0.0
    error = np.where(saturated, np.maximum(error, typical) * FLAG_WEIGHTS["saturated"], error)
    return np.where(known, error, 0).astype(np.float32)


def mean_under(fine: Image, coarse: Grid, change: Callable[[NDArray[np.float32]], NDArray[Any]]) -> NDArray[np.float32]:
    """Mean over the fine pixels whose centre lies in each coarse pixel, of what ``change`` makes of them.

    Parameters
    ----------
    fine : picture or volume on a finer grid of the same frame; read a band of rows (slices) at a time.
    coarse : grid of the result.
    change : from grey levels to what is averaged.
    """
    owners = [fine.grid.pixels_under(coarse, axis) for axis in range(coarse.ndim)]
    starts = [np.searchsorted(o, np.arange(n)) for o, n in zip(owners, coarse.shape, strict=True)]
    total = np.zeros(coarse.shape)
    step = _BAND if coarse.ndim == 2 else max(1, _SLAB // int(np.prod(fine.grid.shape[1:])))
    for first in range(0, fine.grid.shape[0], step):
        band = change(np.asarray(fine.data[first : first + step], np.float32))
        for axis in range(1, coarse.ndim):
            band = np.add.reduceat(band, starts[axis], axis=axis, dtype=np.float64)
        np.add.at(total, owners[0][first : first + step], band)
    per_axis = [np.bincount(o, minlength=n) for o, n in zip(owners, coarse.shape, strict=True)]
    counts = functools.reduce(np.multiply.outer, per_axis)
    return (total / np.maximum(counts, 1)).astype(np.float32)


def flag_sentences(trust: TrustMap, box: tuple[slice, ...]) -> list[str]:
    """The flags of a part of the map with their share, commonest first; shares below 1 % count as none."""
    part = TrustMap(np.asarray(trust.flags[box]), trust.grid.crop(*_ends(box)))
    shares = sorted(part.shares().items(), key=lambda s: -s[1])
    found = [f"{100 * share:.0f} % {name.replace('_', ' ')}." for name, share in shares if share >= 0.01]
    return found or ["No flag, but much structure."]


def _ends(box: tuple[slice, ...]) -> tuple[list[int], list[int]]:
    return [s.start for s in box], [s.stop for s in box]


def _variance(values: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = ndimage.gaussian_filter(values, NEAR_PX, mode="mirror")
    square = ndimage.gaussian_filter(values * values, NEAR_PX, mode="mirror")
    return np.asarray(np.maximum(square - mean * mean, 0))
