"""The LOSSES table: what training makes small. Saturated and missing pixels have weight 0 and do not count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SOFT = 1e-3  # rounding of the Charbonnier loss at zero, in standard deviations of the fine grey levels

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def l1(answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean absolute difference."""
    return _mean((answer - target).abs(), weight)


def charbonnier(answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Absolute difference, rounded at zero (P. Charbonnier et al., ICIP 1994, doi:10.1109/ICIP.1994.413553)."""
    return _mean(torch.sqrt((answer - target) ** 2 + _SOFT**2), weight)


def l2(answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean squared difference; what PSNR measures."""
    return _mean((answer - target) ** 2, weight)


#: name -> loss(answer, target, weight), all (n, 1, H, W) and normalised
LOSSES: dict[str, Loss] = {"l1": l1, "charbonnier": charbonnier, "l2": l2}
