"""Building blocks of the networks: fixed interpolation, and the bound that keeps a correction honest.

All blocks work on (n, 1, h, w) tensors on the coarse ("LR") grid and return (n, 1, h * factor, w * factor). The
phase of output pixel ``p`` of a coarse pixel is ``(p + 0.5) / factor - 0.5`` coarse pixels from its centre, the
geometry of :meth:`finescan.values.Grid.refine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

BOUND_RADIUS = 2  # coarse pixels around a pixel whose spread limits the correction


def _box(t: float) -> float:
    return 1.0 if -0.5 <= t < 0.5 else 0.0


def _keys(t: float) -> float:
    t = abs(t)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def _lanczos3(t: float) -> float:
    if abs(t) >= 3:
        return 0.0
    return 1.0 if t == 0 else 3 * math.sin(math.pi * t) * math.sin(math.pi * t / 3) / (math.pi * t) ** 2


#: name -> (kernel, radius in coarse pixels of the taps it needs)
KERNELS: dict[str, tuple[Callable[[float], float], int]] = {
    "nearest": (_box, 0),
    "bicubic": (_keys, 2),
    "lanczos": (_lanczos3, 3),
}


def phase_filters(kernel: str, factor: int) -> NDArray[np.float64]:
    """Weights (factor, taps) of every phase of an interpolation kernel; each row sums to one.

    Kernels: box, Keys' cubic convolution with a = -1/2 (R. Keys, IEEE Trans. ASSP 29 (1981) 1153,
    doi:10.1109/TASSP.1981.1163711) and Lanczos with three lobes (C. Duchon, J. Appl. Meteorol. 18 (1979) 1016,
    doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2).
    """
    function, radius = KERNELS[kernel]
    taps = np.arange(-radius, radius + 1)
    rows = [[function(t - ((p + 0.5) / factor - 0.5)) for t in taps] for p in range(factor)]
    weights = np.asarray(rows, np.float64)
    return weights / weights.sum(axis=1, keepdims=True)


def phase_kernels(kernel: str, factor: int) -> NDArray[np.float32]:
    """The two-dimensional filters (factor², 1, taps, taps) of :func:`phase_filters`, in pixel-shuffle order."""
    w = phase_filters(kernel, factor)
    full = np.einsum("ai,bj->abij", w, w)
    return full.reshape(factor * factor, 1, *full.shape[2:]).astype(np.float32)


class Interpolate(nn.Module):
    """Exact interpolation to ``factor`` times as many pixels, always in float32. It has no weights to learn."""

    filters: Tensor

    def __init__(self, factor: int, kernel: str) -> None:
        super().__init__()
        self.factor = factor
        self.radius = KERNELS[kernel][1]
        self.register_buffer("filters", torch.from_numpy(phase_kernels(kernel, factor)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, 1, h * factor, w * factor)."""
        with torch.autocast(x.device.type, enabled=False):
            padded = functional.pad(x.float(), (self.radius,) * 4, mode="replicate")
            return functional.pixel_shuffle(functional.conv2d(padded, self.filters), self.factor)


def bounded(correction: Tensor, x: Tensor, share: float) -> Tensor:
    """Limit a correction to ``share`` times the spread of the coarse grey levels in the 5 x 5 pixels around.

    Where the coarse image is flat (saturated, empty) there is nothing to sharpen, and whatever a network adds
    there is invented. ``share`` 0 leaves the correction as it is. A constant image stays exactly that constant.

    Parameters
    ----------
    correction : (n, c, h, w) on the coarse grid (one channel per output phase).
    x : (n, 1, h, w), the coarse image in the same units.
    """
    if share <= 0:
        return correction
    size = 2 * BOUND_RADIUS + 1
    high = functional.max_pool2d(x, size, 1, BOUND_RADIUS)
    low = -functional.max_pool2d(-x, size, 1, BOUND_RADIUS)
    limit = share * (high - low)
    return torch.minimum(torch.maximum(correction, -limit), limit)
