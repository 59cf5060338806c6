"""SRResNet and a critic of patches, the pair behind DLE-EM: two, four or eight times as many pixels per axis.

C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network" (CVPR 2017,
arXiv:1609.04802); for electron microscopy of rocks H. van Melick and O. Plümper, DLE-EM. The critic judges patches
as in P. Isola et al. (CVPR 2017, arXiv:1611.07004). Layers have their public names.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from finescan.errors import ModelError
from finescan.models.layers import Interpolate, bounded
from finescan.models.networks import start_small

FEATURES, BLOCKS = 64, 16
PUBLISHED_EPS = 0.8  # of the batch normalisation in and after the residual blocks of the public DLE-EM weights
FACTORS = (2, 4, 8)


class ResidualBlock(nn.Module):
    """Two normalised 3 x 3 convolutions around a PReLU, added to their input."""

    def __init__(self, features: int, eps: float) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features, eps), nn.PReLU(),
            nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features, eps),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return x + self.conv_block(x)


def _doubling(features: int) -> list[nn.Module]:
    wide = 4 * features
    return [nn.Conv2d(features, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.PixelShuffle(2), nn.PReLU()]


class SrResNet(nn.Module):
    """The generator.

    Parameters
    ----------
    sr_factor : 2, 4 or 8.
    channels : of the pictures.
    features : width of the network.
    blocks : residual blocks.
    norm_eps : what the batch normalisation of the residual part adds to the variance. The public DLE-EM weights were
        trained with 0.8, which nearly switches the normalisation off where features vary little.
    """

    def __init__(
        self, *, sr_factor: int = 4, channels: int = 1, features: int = FEATURES, blocks: int = BLOCKS,
        norm_eps: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        if sr_factor not in FACTORS:
            raise ModelError(f"SRResNet enhances by 2, 4 or 8, but {sr_factor!r} came.")
        self.sr_factor = sr_factor
        doublings = [layer for _ in range(sr_factor.bit_length() - 1) for layer in _doubling(features)]
        self.conv1 = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        self.res_blocks = nn.Sequential(*(ResidualBlock(features, norm_eps) for _ in range(blocks)))
        self.conv2 = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features, norm_eps))
        self.upsampling = nn.Sequential(*doublings)
        self.conv3 = nn.Sequential(nn.Conv2d(features, channels, 9, padding=4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) in [-1, 1] -> (n, channels, sr_factor * h, sr_factor * w) in (-1, 1)."""
        first = self.conv1(x)
        return self.conv3(self.upsampling(first + self.conv2(self.res_blocks(first))))


class SpannedSrResNet(nn.Module):
    """The generator on normalised grey levels.

    Parameters
    ----------
    span : standard deviations of the fine grey levels that its range (-1, 1) reaches to.
    skip : whether what is learned is added to bicubic interpolation (published: no).
    bound : with ``skip``, largest correction as a share of the local spread of the coarse picture; 0 = no bound.
    features, blocks, norm_eps : see :class:`SrResNet`.
    """

    def __init__(
        self, factor: int, *, features: int = FEATURES, blocks: int = BLOCKS, norm_eps: float = 1e-5, span: float = 4.0,
        skip: int = 1, bound: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.factor, self.span, self.bound = factor, span, bound
        self.net = SrResNet(sr_factor=factor, features=features, blocks=blocks, norm_eps=norm_eps)
        self.skip = Interpolate(factor, "bicubic") if skip else None
        if skip:
            start_small(self.net.conv3[0])

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, 1, h * factor, w * factor), float32."""
        answer = self.net(x / self.span).float() * self.span
        if self.skip is None:
            return answer
        if self.bound:
            phases = bounded(functional.pixel_unshuffle(answer, self.factor), x.float(), self.bound)
            answer = functional.pixel_shuffle(phases, self.factor)
        return self.skip(x) + answer


class PatchDiscriminator(nn.Module):
    """The critic: one verdict for every 16 x 16 pixels.

    Parameters
    ----------
    channels : of the pictures.
    widths : features; each width halves the grid once.
    """

    def __init__(self, *, channels: int = 1, widths: tuple[int, ...] = (64, 128, 256, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for width in widths:
            layers.append(nn.Conv2d(inputs, width, 3, padding=1))
            if len(layers) > 1:  # the first convolution is not normalised
                layers.append(nn.BatchNorm2d(width))
            layers += [nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, stride=2, padding=1)]
            layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
            inputs = width
        self.model = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) in [-1, 1] -> logits (n, 1, h / 16, w / 16, rounded up), higher for recorded pictures."""
        return self.model(x)
