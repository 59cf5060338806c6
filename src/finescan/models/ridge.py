"""The ridge filter: the best linear filter per output phase, fitted in a second or two.

It is the instant preview, and the honest linear baseline beside every network.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from finescan.models.layers import Interpolate

STRENGTH = 1e-3  # ridge parameter, as a share of the mean variance of the inputs


class RidgeFilter(nn.Module):
    """Bicubic interpolation plus one linear filter of (2 radius + 1)² taps per output phase."""

    def __init__(self, factor: int, *, radius: int = 3) -> None:
        super().__init__()
        self.factor, self.radius = factor, radius
        size = 2 * radius + 1
        self.skip = Interpolate(factor, "bicubic")
        self.weight = nn.Parameter(torch.zeros(factor * factor, 1, size, size))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, 1, h * factor, w * factor), float32."""
        with torch.autocast(x.device.type, enabled=False):
            padded = functional.pad(x.float(), (self.radius,) * 4, mode="replicate")
            return self.skip(x) + functional.pixel_shuffle(functional.conv2d(padded, self.weight), self.factor)


#: input (h, w), target (h * f, w * f), weight (h * f, w * f), all normalised as the card says
Sample = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def fit_ridge(samples: Iterable[Sample], factor: int, *, radius: int = 3, strength: float = STRENGTH) -> RidgeFilter:
    """Fit a :class:`RidgeFilter` by the normal equations, in one pass over the samples.

    The penalty is on the difference from bicubic interpolation, and the taps of a phase are made to sum to zero
    (so a constant stays that constant). A coarse pixel counts where the whole neighbourhood lies inside the
    sample and all its output pixels have a positive weight.

    Parameters
    ----------
    samples : normalised coarse image, fine image and weight, see :data:`Sample`.
    """
    taps = (2 * radius + 1) ** 2
    gram, moment, count = np.zeros((taps, taps)), np.zeros((taps, factor * factor)), 0
    skip = Interpolate(factor, "bicubic")
    for x, y, weight in samples:
        rows, target = _equations(x, y, weight, skip, radius)
        gram += rows.T @ rows
        moment += rows.T @ target
        count += len(rows)
    network = RidgeFilter(factor, radius=radius)
    if count:
        solution = np.linalg.solve(gram + strength * np.trace(gram) / taps * np.eye(taps), moment)
        shape = (factor * factor, 1, 2 * radius + 1, 2 * radius + 1)
        network.weight.data.copy_(torch.from_numpy((solution - solution.mean(axis=0)).T.reshape(shape).copy()))
    return network


def _equations(
    x: NDArray[np.float32], y: NDArray[np.float32], weight: NDArray[np.float32], skip: Interpolate, radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Neighbourhoods (n, taps) relative to their mean, and what bicubic interpolation leaves (n, factor²)."""
    factor, (h, w) = skip.factor, x.shape
    with torch.inference_mode():
        smooth = skip(torch.from_numpy(np.ascontiguousarray(x))[None, None])[0, 0].numpy()
    rest = np.where(weight > 0, y - smooth, 0).reshape(h, factor, w, factor).transpose(0, 2, 1, 3)
    usable = np.all((weight > 0).reshape(h, factor, w, factor), axis=(1, 3))
    windows = np.lib.stride_tricks.sliding_window_view(x, (2 * radius + 1,) * 2)
    inner = (slice(radius, h - radius), slice(radius, w - radius))
    keep = usable[inner]
    rows = windows[keep].reshape(-1, (2 * radius + 1) ** 2).astype(np.float64)
    target = rest[inner][keep].reshape(-1, factor * factor).astype(np.float64)
    # relative to the neighbourhood's mean: the filter then cannot change a constant
    return rows - rows.mean(axis=1, keepdims=True), target
