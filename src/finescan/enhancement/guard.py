"""Where the network is not to be believed, and how interpolation takes over there.

A network answers anything, also grey levels it never saw: on a saturated edge it paints structure that is not
there. Where the locally averaged coarse grey level leaves the range seen in training, or the map is cut off at the
bright end or empty, bicubic interpolation takes over with a smooth ramp. Every step is local, so tiling stays exact.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from finescan.models.layers import Interpolate
from finescan.patches.grey import AVERAGE_PX

TOLERANCE = 0.05  # of the training range, beyond it: about the noise of a local average
SATURATED_NEIGHBOURS = 3  # saturated pixels of 3 x 3 that make a saturated place: one alone is a noise peak
GROWN, _RAMP = 4, (3, 5)  # pixels around a doubtful one that are pure interpolation; box filters of the ramp
SPREAD = 2  # working pixels from a weight within which it may touch an output pixel of a coarse pixel


def reach(grown: int = GROWN) -> int:
    """Pixels from a doubtful one within which interpolation has a share: 7 with the usual ``grown``."""
    return grown + sum(s // 2 for s in _RAMP)


GUARD_HALO = AVERAGE_PX // 2 + reach() + SPREAD


def doubtful(
    grey: NDArray[np.float32],
    missing: NDArray[np.bool_] | None,
    saturated: NDArray[np.bool_] | None,
    grey_range: tuple[float, float],
) -> NDArray[np.bool_] | None:
    """Coarse pixels the network was not trained for, or None when there are none.

    Parameters
    ----------
    grey : (rows, columns) coarse grey levels, finite.
    missing, saturated : masks of the same shape, or None; saturated at the bright end.
    grey_range : lowest and highest locally averaged grey level seen in training.
    """
    low, high = grey_range
    slack = TOLERANCE * (high - low) if np.isfinite(high - low) else 0.0
    low, high = low - slack, high + slack
    found = []
    if grey.min() < low or grey.max() > high:  # cheap: an average cannot leave a range its pixels do not leave
        mean = ndimage.uniform_filter(grey.astype(np.float64), AVERAGE_PX, mode="nearest")
        found.append((mean < low) | (mean > high))
    if missing is not None:
        found.append(missing)
    if saturated is not None:
        share = ndimage.uniform_filter(saturated.astype(np.float64), 3, mode="nearest")
        found.append(share > (SATURATED_NEIGHBOURS - 0.5) / 9)
    mask = np.logical_or.reduce(found) if found else None
    return mask if mask is not None and mask.any() else None


def doubt_weight(mask: NDArray[np.bool_] | None, grown: int = GROWN) -> NDArray[np.float32] | None:
    """Weight of the interpolation: 1 on the mask and next to it, falling smoothly to exactly 0 further away.

    ``grown`` pixels around the mask are pure interpolation; :func:`reach` pixels from it there is none.
    """
    if mask is None:
        return None
    near = ndimage.maximum_filter(mask, 2 * reach(grown) + 1)
    weight = ndimage.maximum_filter(mask, 2 * grown + 1).astype(np.float64)
    for size in _RAMP:
        weight = ndimage.uniform_filter(weight, size, mode="nearest")
    # running sums leave rounding dust far from the mask, which must be nothing at all
    return np.where(near, np.clip(weight, 0.0, 1.0), 0.0).astype(np.float32)


def mixed(
    network: NDArray[np.float32],
    grey: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    *,
    factor: int,
    gain: float,
    offset: float,
) -> NDArray[np.float32]:
    """The network's answer with bicubic interpolation in the place of doubt.

    Parameters
    ----------
    network : (h * factor, w * factor) fine grey levels.
    grey : coarse grey levels (h + 4, w + 4), two pixels more on each side.
    weight : (h + 2, w + 2), one pixel more on each side, or None.
    gain, offset : ``hr = gain * lr + offset``.
    """
    if weight is None or not weight.any():
        return network
    with torch.inference_mode():
        coarse = torch.from_numpy(np.ascontiguousarray(grey))[None, None]
        smooth = gain * Interpolate(factor, "bicubic")(coarse) + offset
        share = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(weight))[None, None], scale_factor=factor, mode="bilinear"
        )
        smooth, share = _inner(smooth, 2 * factor), _inner(share, factor)
        return torch.lerp(torch.from_numpy(network), smooth, share).numpy()


def _inner(x: torch.Tensor, margin: int) -> torch.Tensor:
    return x[0, 0, margin:-margin, margin:-margin]
