"""What is expected to be wrong per coarse pixel, from the coarse map and its flags alone.

A stand-in until calibrated uncertainties exist. On two simulated samples the mean squared error of the enhanced map
over 24 x 24 coarse pixels followed the local variance of the coarse map with a correlation of 0.74 and 0.85.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.values import TrustMap

NEAR_PX = 1.0  # sigma of the Gaussian within which the variance is taken

#: How many times the variance is expected to be wrong under a flag. Judgement: in the simulations the error under
#: "untrained" and "border" was what the variance says, under "clipped" 1.6 times that; too few others were there.
FLAG_WEIGHTS: dict[str, float] = {"saturated": 4.0, "inconsistent": 4.0, "untrained": 2.0, "clipped": 2.0}
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


def flag_sentences(trust: TrustMap, box: tuple[slice, slice]) -> list[str]:
    """The flags of a part of the map with their share, commonest first; shares below 1 % count as none."""
    part = TrustMap(np.asarray(trust.flags[box]), trust.grid.crop(*_ends(box)))
    shares = sorted(part.shares().items(), key=lambda s: -s[1])
    found = [f"{100 * share:.0f} % {name.replace('_', ' ')}." for name, share in shares if share >= 0.01]
    return found or ["No flag, but much structure."]


def _ends(box: tuple[slice, slice]) -> tuple[tuple[int, int], tuple[int, int]]:
    return (box[0].start, box[1].start), (box[0].stop, box[1].stop)


def _variance(values: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = ndimage.gaussian_filter(values, NEAR_PX, mode="mirror")
    square = ndimage.gaussian_filter(values * values, NEAR_PX, mode="mirror")
    return np.asarray(np.maximum(square - mean * mean, 0))
