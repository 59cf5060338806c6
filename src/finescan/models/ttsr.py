"""TTSR: four times as many pixels, with texture taken from a fine reference.

F. Yang et al., "Learning texture transformer network for image super-resolution" (CVPR 2020, arXiv:2006.04139); for
electron micrographs T. Reclik et al., "Resolution enhancement of scanning electron micrographs using artificial
intelligence" (Materials & Design, 2025). Layers have their public names, so that public weights fit by name: those
with ``1`` work on the coarse grid, ``2`` and ``3`` on grids with two and four times as many pixels per axis.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.errors import InputError, ModelError
from finescan.models.texture import TextureExtractor, search, transfer

FACTOR = 4
FEATURES = 64
BLOCKS = (16, 16, 8, 4)  # residual blocks: before any texture, then with one, two and four times as many pixels


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def _point(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def _up(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bicubic")


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a ReLU, added to their input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, features)
        self.conv2 = _conv(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return x + self.conv2(functional.relu(self.conv1(x)))


def _blocks(features: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(features) for _ in range(count)))


class ShallowFeatures(nn.Module):
    """Features of the coarse picture, before any texture."""

    def __init__(self, channels: int, features: int, count: int) -> None:
        super().__init__()
        self.conv_head = _conv(channels, features)
        self.RBs = _blocks(features, count)
        self.conv_tail = _conv(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, features, h, w)."""
        head = functional.relu(self.conv_head(x))
        return head + self.conv_tail(self.RBs(head))


class _Exchange(nn.Module):
    """Convolutions that carry features from one grid to another, each followed by a ReLU."""

    def _go(self, name: str, x: Tensor) -> Tensor:
        return functional.relu(getattr(self, name)(x))

    def _merge(self, name: str, *parts: Tensor) -> Tensor:
        return self._go(name, torch.cat(parts, dim=1))


class ExchangeTwo(_Exchange):
    """Features of two grids see each other ("CSFI2")."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv12 = _point(features, features)
        self.conv21 = _conv(features, features, stride=2)
        self.conv_merge1 = _conv(2 * features, features)
        self.conv_merge2 = _conv(2 * features, features)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) and (n, c, 2 h, 2 w) -> the same shapes."""
        from1, from2 = self._go("conv12", _up(x1, 2)), self._go("conv21", x2)
        return self._merge("conv_merge1", x1, from2), self._merge("conv_merge2", x2, from1)


class ExchangeThree(_Exchange):
    """Features of three grids see each other ("CSFI3")."""

    def __init__(self, features: int) -> None:
        super().__init__()
        for name in ("conv12", "conv13", "conv23"):
            self.add_module(name, _point(features, features))
        for name in ("conv21", "conv31_1", "conv31_2", "conv32"):
            self.add_module(name, _conv(features, features, stride=2))
        for name in ("conv_merge1", "conv_merge2", "conv_merge3"):
            self.add_module(name, _conv(3 * features, features))

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features on one, two and four times as many pixels -> the same shapes."""
        twelve, thirteen = self._go("conv12", _up(x1, 2)), self._go("conv13", _up(x1, 4))
        twenty_one, twenty_three = self._go("conv21", x2), self._go("conv23", _up(x2, 2))
        thirty_one, thirty_two = self._go("conv31_2", self._go("conv31_1", x3)), self._go("conv32", x3)
        return (
            self._merge("conv_merge1", x1, twenty_one, thirty_one),
            self._merge("conv_merge2", x2, twelve, thirty_two),
            self._merge("conv_merge3", x3, thirteen, twenty_three),
        )


class MergeTail(_Exchange):
    """From the features of all three grids to the picture."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.conv13 = _point(features, features)
        self.conv23 = _point(features, features)
        self.conv_merge = _conv(3 * features, features)
        self.conv_tail1 = _conv(features, features // 2)
        self.conv_tail2 = _point(features // 2, channels)

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        """Features on one, two and four times as many pixels -> (n, channels, 4 h, 4 w)."""
        merged = self._merge("conv_merge", x3, self._go("conv13", _up(x1, 4)), self._go("conv23", _up(x2, 2)))
        return self.conv_tail2(self.conv_tail1(merged))


def _attend(head: nn.Conv2d, x: Tensor, texture: Tensor, attention: Tensor) -> Tensor:
    """Add texture to features, as far as the search is sure of it."""
    return x + head(torch.cat([x, texture], dim=1)) * attention


class MainNet(nn.Module):
    """From the coarse picture and transferred texture to the fine picture."""

    def __init__(self, channels: int = 3, features: int = FEATURES, blocks: tuple[int, ...] = BLOCKS) -> None:
        super().__init__()
        self.SFE = ShallowFeatures(channels, features, blocks[0])
        self.conv11_head = _conv(256 + features, features)
        self.conv22_head = _conv(128 + features, features)
        self.conv33_head = _conv(64 + features, features)
        self.conv12 = _conv(features, 4 * features)
        self.conv23 = _conv(features, 4 * features)
        self.ex12 = ExchangeTwo(features)
        self.ex123 = ExchangeThree(features)
        for stage in (1, 2, 3):
            for grid in range(1, stage + 1):
                self.add_module(f"RB{stage}{grid}", _blocks(features, blocks[stage]))
                self.add_module(f"conv{stage}{grid}_tail", _conv(features, features))
        self.merge_tail = MergeTail(channels, features)

    def _residual(self, name: str, x: Tensor, inside: Tensor) -> Tensor:
        return x + getattr(self, f"conv{name}_tail")(getattr(self, f"RB{name}")(inside))

    def forward(self, lr: Tensor, s: Tensor, t3: Tensor, t2: Tensor, t1: Tensor, *, limited: bool = True) -> Tensor:
        """Coarse picture, soft attention, and textures of 256, 128 and 64 features -> (n, channels, 4 h, 4 w).

        ``limited`` sets what leaves [-1, 1] to its ends, as published.
        """
        x1 = _attend(self.conv11_head, self.SFE(lr), t3, s)
        x1 = self._residual("11", x1, x1)
        x2 = functional.relu(functional.pixel_shuffle(self.conv12(x1), 2))
        x2 = _attend(self.conv22_head, x2, t2, _up(s, 2))
        y1, y2 = self.ex12(x1, x2)
        x1, x2 = self._residual("21", x1, y1), self._residual("22", x2, y2)
        x3 = functional.relu(functional.pixel_shuffle(self.conv23(x2), 2))
        x3 = _attend(self.conv33_head, x3, t1, _up(s, 4))
        y1, y2, y3 = self.ex123(x1, x2, x3)
        x1, x2, x3 = self._residual("31", x1, y1), self._residual("32", x2, y2), self._residual("33", x3, y3)
        answer = self.merge_tail(x1, x2, x3)
        return answer.clamp(-1, 1) if limited else answer


class Ttsr(nn.Module):
    """Texture transformer: extractor, search and transfer, and the network that uses the texture.

    Parameters
    ----------
    channels : 3 as published (red, green, blue), or 1 for grey pictures without the detour (see :func:`grey_weights`).
    features, blocks : of the main network.
    """

    def __init__(self, *, channels: int = 3, features: int = FEATURES, blocks: tuple[int, ...] = BLOCKS) -> None:
        super().__init__()
        self.channels = channels
        self.MainNet = MainNet(channels, features, blocks)
        self.LTE = TextureExtractor(channels=channels)

    def forward(self, lr: Tensor, lrsr: Tensor, ref: Tensor, refsr: Tensor) -> tuple[Tensor, ...]:
        """Enhance ``lr`` with texture of ``ref``; all pictures in [-1, 1].

        Parameters
        ----------
        lr : (n, channels, h, w), the coarse picture.
        lrsr : (n, channels, 4 h, 4 w), the coarse picture interpolated.
        ref : (n, channels, hr, wr), the reference.
        refsr : same shape, the reference made coarse by four and interpolated back.

        Returns
        -------
        fine picture (n, channels, 4 h, 4 w), soft attention (n, 1, h, w), and the textures T_lv3 (n, 256, h, w),
        T_lv2 (n, 128, 2 h, 2 w) and T_lv1 (n, 64, 4 h, 4 w).

        Raises
        ------
        InputError : shapes that do not belong together.
        """
        _require_shapes(lr, lrsr, ref, refsr, self.channels)
        queries, keys = self.LTE((lrsr.detach() + 1) / 2)[2], self.LTE((refsr.detach() + 1) / 2)[2]
        textures = self.LTE((ref.detach() + 1) / 2)
        s, index = search(queries, keys)
        size, width = (lr.shape[2], lr.shape[3]), keys.shape[3]
        t1, t2, t3 = (transfer(t, index, size, width, step) for t, step in zip(textures, (4, 2, 1), strict=True))
        return self.MainNet(lr, s, t3, t2, t1), s, t3, t2, t1


def _require_shapes(lr: Tensor, lrsr: Tensor, ref: Tensor, refsr: Tensor, channels: int) -> None:
    for name, x in (("lr", lr), ("lrsr", lrsr), ("ref", ref), ("refsr", refsr)):
        if x.ndim != 4 or x.shape[1] != channels or len(x) != len(lr):
            raise InputError(
                f"TTSR takes four pictures ({len(lr)}, {channels}, height, width), but {name} is {tuple(x.shape)}."
            )
    fine = tuple(FACTOR * side for side in lr.shape[2:])
    if tuple(lrsr.shape[2:]) != fine:
        raise InputError(
            f"TTSR enhances by {FACTOR}, so lrsr must be {fine} pixels for lr of {tuple(lr.shape[2:])}, but it is "
            f"{tuple(lrsr.shape[2:])}. Interpolate lr by {FACTOR}; for another ratio use another network."
        )
    if ref.shape != refsr.shape or min(ref.shape[2:]) < FACTOR:
        raise InputError(
            f"ref and refsr must be one reference of at least {FACTOR} x {FACTOR} pixels in two versions, but are "
            f"{tuple(ref.shape[2:])} and {tuple(refsr.shape[2:])} pixels."
        )


class TtsrDiscriminator(nn.Module):
    """The critic that tells enhanced pictures from recorded ones.

    Parameters
    ----------
    in_size : side of its pictures in pixels, a multiple of 32.
    channels : of its pictures.
    """

    def __init__(self, *, in_size: int = 160, channels: int = 3) -> None:
        super().__init__()
        if in_size < 32 or in_size % 32:
            raise ModelError(f"The side of the critic's pictures must be a multiple of 32, but {in_size} came.")
        widths = [channels, *(w for w in (32, 64, 128, 256, 512) for _ in range(2))]
        self.in_size = in_size
        for i in range(10):
            self.add_module(f"conv{i + 1}", _conv(widths[i], widths[i + 1], stride=1 + i % 2))
        self.fc1 = nn.Linear((in_size // 32) ** 2 * widths[-1], 1024)
        self.fc2 = nn.Linear(1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, in_size, in_size) in [-1, 1] -> (n, 1), higher for what looks recorded."""
        if tuple(x.shape[2:]) != (self.in_size, self.in_size):
            raise InputError(
                f"This critic judges {self.in_size} x {self.in_size} pixels, but {tuple(x.shape[2:])} came."
            )
        for i in range(10):
            x = functional.leaky_relu(getattr(self, f"conv{i + 1}")(x), 0.2)
        return self.fc2(functional.leaky_relu(self.fc1(x.flatten(1)), 0.2))


def grey_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ``Ttsr(channels=3)`` for ``Ttsr(channels=1)``.

    The grey network gives what the other gives for a grey picture in all three channels, averaged over the channels
    (up to the order of averaging and limiting to [-1, 1]). The numbers are folded, not approximated.
    """
    grey = {key: value.clone() for key, value in state.items()}
    for key in ("MainNet.SFE.conv_head.weight", "LTE.sub_mean.weight"):
        grey[key] = state[key].sum(dim=1, keepdim=True)
    for key in ("MainNet.merge_tail.conv_tail2.weight", "MainNet.merge_tail.conv_tail2.bias"):
        grey[key] = state[key].mean(dim=0, keepdim=True)
    return grey
