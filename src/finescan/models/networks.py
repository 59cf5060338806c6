"""The networks: a plain convolution stack for laptops and a residual network for graphics cards.

Both work on the coarse grid, add a learned correction to a fixed bicubic interpolation and rearrange channels to
pixels at the very end (W. Shi et al., CVPR 2016, arXiv:1609.05158). Neither has a normalisation layer or any other
global operation, so a tile with its halo gives exactly what the whole image gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.models.layers import Interpolate, bounded

TAIL_START = 0.1  # the last layer starts at a tenth, so that training starts close to bicubic interpolation


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _tail(channels: int, factor: int) -> nn.Conv2d:
    tail = _conv(channels, factor * factor)
    start_small(tail)
    return tail


def start_small(last: nn.Module) -> None:
    """Make what the last layer of a correction says small."""
    assert isinstance(last, nn.Conv2d)
    with torch.no_grad():
        last.weight.mul_(TAIL_START)
        if last.bias is not None:
            last.bias.zero_()


class BicubicPlus(nn.Module):
    """Bicubic interpolation plus the bounded correction of ``body``.

    Parameters
    ----------
    body : (n, 1, h, w) -> (n, factor², h, w), the correction of every output phase.
    bound : largest correction, as a share of the local spread of the coarse image; 0 = no bound.
    """

    def __init__(self, body: nn.Module, factor: int, bound: float) -> None:
        super().__init__()
        self.skip = Interpolate(factor, "bicubic")
        self.body = body
        self.factor = factor
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, 1, h * factor, w * factor), float32."""
        correction = bounded(self.body(x).float(), x.float(), self.bound)
        return self.skip(x) + functional.pixel_shuffle(correction, self.factor)


def build_stack(factor: int, *, channels: int = 32, depth: int = 6, bound: float = 0.5) -> nn.Module:
    """``depth`` hidden 3 x 3 convolutions between a head and a tail, ReLU between them."""
    layers: list[nn.Module] = [_conv(1, channels), nn.ReLU(inplace=True)]
    for _ in range(depth):
        layers += [_conv(channels, channels), nn.ReLU(inplace=True)]
    return BicubicPlus(nn.Sequential(*layers, _tail(channels, factor)), factor, bound)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a ReLU, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(TAIL_START)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return x + self.second(functional.relu(self.first(x)))


def build_residual(factor: int, *, channels: int = 64, blocks: int = 8, bound: float = 0.5) -> nn.Module:
    """Residual network without normalisation (B. Lim et al., CVPRW 2017, arXiv:1707.02921)."""
    trunk = [ResidualBlock(channels) for _ in range(blocks)]
    return BicubicPlus(nn.Sequential(_conv(1, channels), *trunk, _tail(channels, factor)), factor, bound)
