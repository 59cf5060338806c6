"""The networks for volumes: fine voxel for coarse voxel on one grid, in normalised grey levels.

All take ``(n, 1, d, h, w)`` and give the same shape, except for stack networks, which take and give
``(n, slices, h, w)``. All add a learned correction to their input. None has an operation that looks beyond its halo
in evaluation mode, so a block with its halo gives what the whole volume gives.

``position`` (``(n, 1, h, w)``, distance from the rotation axis over the radius of the field of view) is one more input
of networks built with ``position=1``: the blur of a recorded volume may change over the field.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STACK = 5  # slices in and out of DeepNet
_TAIL_START = 0.1


def aligned_halo(down: Sequence[int], *, bottom: int, up: int, after: int) -> int:
    """Cells at the rim of an aligned block that depend on what lies beyond it, in a U-Net of radius-1 convolutions.

    A block is aligned if it starts at, and is as long as, whole multiples of ``2**len(down)`` cells.

    Parameters
    ----------
    down : convolutions per level before the grid is halved, finest first.
    bottom, up, after : convolutions at the bottom, per level on the way up, at the end.
    """
    reach, skips = 0, []
    for convolutions in down:
        reach += convolutions
        skips.append(reach)
        reach = -(-reach // 2)
    reach += bottom
    for skip in reversed(skips):
        reach = max(2 * reach, skip) + up
    return reach + after


class Unchanged(nn.Module):
    """The coarse volume as it is: interpolation was done when it was put on the grid of the result."""

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """Same shape out as in."""
        return x.float()


class Srcnn3d(nn.Module):
    """Three layers of 9³, 1³ and 5³ taps, batch normalisation and ReLU after the first two; 64 and 32 channels.

    The public three-dimensional form of C. Dong et al. (doi:10.1109/TPAMI.2015.2439281) that Bukka et al. 2025
    (doi:10.1515/mim-2024-0017, 2.1.2) compare with; they give neither kernel sizes nor widths. No skip.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(1, 64, 9, padding=4), nn.BatchNorm3d(64), nn.ReLU(inplace=True),
            nn.Conv3d(64, 32, 1), nn.BatchNorm3d(32), nn.ReLU(inplace=True),
            nn.Conv3d(32, 1, 5, padding=2),
        )  # fmt: skip

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """(n, 1, d, h, w) -> the same shape, float32."""
        return self.body(x).float()


def _pair2d(inputs: int, outputs: int) -> nn.Sequential:
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


class DeepNet(nn.Module):
    """U-Net on stacks of five slices, with further convolutions behind it ("2.5D").

    After the description in Bukka et al. 2025 (doi:10.1515/mim-2024-0017, 2.1.1); widths, levels and the number of
    further convolutions are not given there. Slices are channels, all five come out.

    Parameters
    ----------
    width : channels of the first level; each further level has twice as many.
    levels : how often the plane is halved.
    position : 1 adds the distance from the axis as a channel.
    """

    def __init__(self, *, width: int, levels: int, position: int) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(levels + 1)]
        self.position = position
        entries = [STACK + position, *widths]
        self.down = nn.ModuleList(_pair2d(entries[k], widths[k]) for k in range(levels + 1))
        self.up = nn.ModuleList(nn.ConvTranspose2d(widths[k + 1], widths[k], 2, stride=2) for k in range(levels))
        self.merge = nn.ModuleList(_pair2d(2 * widths[k], widths[k]) for k in range(levels))
        self.after = _pair2d(width, width)
        self.tail = nn.Conv2d(width, STACK, 3, padding=1)
        _for_relu(self)
        _start_small(self.tail)

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """(n, 5, h, w) -> (n, 5, h, w), float32; h and w are multiples of 2**levels."""
        y = torch.cat([x, _centred(position, x)], dim=1) if self.position else x
        kept = []
        for stage in self.down[:-1]:
            y = stage(y)
            kept.append(y)
            y = functional.max_pool2d(y, 2)
        y = self.down[-1](y)
        for k in reversed(range(len(kept))):
            y = self.merge[k](torch.cat([kept[k], self.up[k](y)], dim=1))
        return x.float() + self.tail(self.after(y)).float()


def deepnet_halo(levels: int) -> int:
    """Voxels in the plane, see :func:`aligned_halo`."""
    return aligned_halo([2] * levels, bottom=2, up=2, after=3)


class VolumeNet(nn.Module):
    """Three-dimensional U-Net on cells of 2 x 2 x 2 voxels: context in all three directions at an eighth of the price.

    Eight voxels become eight channels, everything is computed on cells, and eight channels become voxels again
    (W. Shi et al., CVPR 2016, arXiv:1609.05158, in three dimensions). Blur that spans many voxels is undone from a
    neighbourhood as large in z as in the plane; each further level doubles its reach for an eighth of the cost.

    The correction is added to the input after a learned linear filter that starts as a Gaussian of one voxel: added to
    the bare input, most of the correction would have to be the noise of every single voxel with the opposite sign.

    Parameters
    ----------
    width : channels on cells; each further level has twice as many.
    levels : how often the grid of cells is halved.
    blocks : residual blocks at the coarsest level.
    position : 1 adds the distance from the axis as a channel.
    """

    def __init__(self, *, width: int, levels: int, blocks: int, position: int) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(levels + 1)]
        self.position = position
        self.head = _conv3d(8 + position, width)
        self.down = nn.ModuleList(nn.Conv3d(widths[k], widths[k + 1], 2, stride=2) for k in range(levels))
        self.side = nn.ModuleList(_conv3d(widths[k], widths[k]) for k in range(levels))
        self.bottom = nn.ModuleList(Residual3d(widths[-1]) for _ in range(blocks))
        self.up = nn.ModuleList(nn.ConvTranspose3d(widths[k + 1], widths[k], 2, stride=2) for k in range(levels))
        self.merge = nn.ModuleList(_conv3d(widths[k], widths[k]) for k in range(levels))
        self.tail = _conv3d(width, 8)
        _for_relu(self)
        _start_small(self.tail)
        for block in self.bottom:
            if isinstance(block, Residual3d):
                _start_small(block.second)
        self.skip = _smoothing()

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """(n, 1, d, h, w) -> the same shape, float32; all lengths are multiples of 2**(levels + 1)."""
        y = cells(x)
        smooth = self._smooth(y)
        if self.position:
            plane = functional.avg_pool2d(_centred(position, x), 2)[:, :, None]
            y = torch.cat([y, plane.expand(-1, -1, y.shape[2], -1, -1)], dim=1)
        y = functional.relu(self.head(y))
        kept = []
        for side, down in zip(self.side, self.down, strict=True):
            y = functional.relu(side(y))
            kept.append(y)
            y = functional.relu(down(y))
        for block in self.bottom:
            y = block(y)
        for k in reversed(range(len(kept))):
            y = functional.relu(self.merge[k](kept[k] + self.up[k](y)))
        return voxels(smooth + self.tail(y).float())

    def _smooth(self, y: Tensor) -> Tensor:
        """The linear part: always float32, and edges go on beyond the faces."""
        with torch.autocast(y.device.type, enabled=False):
            return self.skip(functional.pad(y.float(), (1,) * 6, mode="replicate"))


def _smoothing() -> nn.Conv3d:
    """Cells to cells: what a Gaussian of one voxel (radius 2) does to their voxels."""
    taps = torch.exp(-(torch.arange(-3, 4).float() ** 2) / 2) * (torch.arange(-3, 4).abs() <= 2)
    taps = taps / taps.sum()
    inner, outer = torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")  # of the result, of the input
    # (result, input, cell): a voxel's distance from another, one to either side of which lie other cells
    along = torch.stack([taps[2 * c + outer - inner + 3] for c in (-1, 0, 1)], dim=-1)
    weight = torch.einsum("aip,bjq,ckr->abcijkpqr", along, along, along).reshape(8, 8, 3, 3, 3)
    filter_ = nn.Conv3d(8, 8, 3, bias=False)
    with torch.no_grad():
        filter_.weight.copy_(weight)
    return filter_


def volume_halo(levels: int, blocks: int) -> int:
    """Voxels in every direction, see :func:`aligned_halo`."""
    down = [1] * levels
    if levels:
        down[0] += 1  # the head
    return 2 * aligned_halo(down, bottom=2 * blocks + (not levels), up=1, after=1)


class Residual3d(nn.Module):
    """Two 3³ convolutions around a ReLU, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv3d(channels, channels), _conv3d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        return x + self.second(functional.relu(self.first(x)))


def cells(x: Tensor) -> Tensor:
    """(n, 1, d, h, w) -> (n, 8, d / 2, h / 2, w / 2): voxels of a 2 x 2 x 2 cell become channels."""
    n, _, d, h, w = x.shape
    y = x.reshape(n, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 2, 4, 6, 1, 3, 5)
    return y.reshape(n, 8, d // 2, h // 2, w // 2).contiguous(memory_format=torch.channels_last_3d)


def voxels(y: Tensor) -> Tensor:
    """Inverse of :func:`cells`."""
    n, _, d, h, w = y.shape
    x = y.reshape(n, 2, 2, 2, d, h, w).permute(0, 4, 1, 5, 2, 6, 3)
    return x.reshape(n, 1, 2 * d, 2 * h, 2 * w)


def _conv3d(inputs: int, outputs: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, padding=1)


def _centred(position: Tensor | None, x: Tensor) -> Tensor:
    """Positions as an input around zero, one per sample."""
    if position is None:
        raise ValueError("this network was built with position=1 and needs the position")
    return (2 * position - 1).to(x.dtype).expand(x.shape[0], -1, -1, -1)


def _for_relu(network: nn.Module) -> None:
    """Weights that keep the size of a signal from layer to layer (K. He et al., ICCV 2015, arXiv:1502.01852).

    Torch's own are smaller, and the first hundred steps of a short training go into making them grow.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _start_small(layer: nn.Module) -> None:
    """Training starts close to the input."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(_TAIL_START)
