"""VGG19 up to relu5_1, as a yardstick of likeness for pictures.

K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015,
arXiv:1409.1556). Layers carry the numbers that the public weights give them, so that a state dict fits by name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RELU5_1 = 30  # layers 0 to 29 end with the ReLU after the thirteenth convolution
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures it was trained on, red green blue
_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # width and convolutions between two poolings


def _all_layers() -> list[tuple[int, int] | str]:
    """What each numbered layer is: (inputs, outputs) of a convolution, "relu" or "pool"."""
    layers: list[tuple[int, int] | str] = []
    inputs = 3
    for width, count in _STAGES:
        for _ in range(count):
            layers += [(inputs, width), "relu"]
            inputs = width
        layers.append("pool")
    return layers


def _layer(kind: tuple[int, int] | str) -> nn.Module:
    if isinstance(kind, tuple):
        return nn.Conv2d(*kind, 3, padding=1)
    return nn.ReLU(inplace=True) if kind == "relu" else nn.MaxPool2d(2)


def vgg_layers(start: int, stop: int) -> nn.Sequential:
    """Layers ``start`` to ``stop - 1``, named by their number."""
    chosen = nn.Sequential()
    for number, kind in enumerate(_all_layers()[start:stop], start):
        chosen.add_module(str(number), _layer(kind))
    return chosen


def mean_shift(channels: int = 3) -> nn.Conv2d:
    """Frozen 1 x 1 convolution from [0, 1] to the grey levels VGG19 was trained on.

    Parameters
    ----------
    channels : 3 for red, green, blue; 1 for a grey picture, which goes to all three.
    """
    shift = nn.Conv2d(channels, 3, 1)
    deviation = torch.tensor(_DEVIATION)
    scale = torch.diag(1 / deviation) if channels == 3 else (1 / deviation)[:, None]
    with torch.no_grad():
        shift.weight.copy_(scale[:, :, None, None])
        shift.bias.copy_(-torch.tensor(_MEAN) / deviation)  # type: ignore[union-attr]
    return shift.requires_grad_(False)


class Vgg19(nn.Module):
    """From a picture to the features of relu5_1.

    Parameters
    ----------
    channels : 3, or 1 for grey pictures; the weights after the normalisation are the same.
    """

    def __init__(self, *, channels: int = 3) -> None:
        super().__init__()
        self.sub_mean = mean_shift(channels)
        self.slice1 = vgg_layers(0, RELU5_1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) in [0, 1] -> (n, 512, h // 16, w // 16)."""
        return self.slice1(self.sub_mean(x))
