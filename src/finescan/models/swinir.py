"""SwinIR in its light size: a transformer on windows of 8 x 8 pixels, for two or four times as many pixels per axis.

J. Liang et al., "SwinIR: image restoration using Swin transformer" (ICCV Workshops 2021, arXiv:2108.10257); for STEM
and STM images, trained on coarse images only, B. Möller et al. (CVPR Workshops 2023). Layers have their public names.

Windows are counted from the first row and column given, so a part of an image gives what the whole image gives only
if it starts at a multiple of 8 pixels, and only far from its rim.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.errors import InputError, ModelError
from finescan.models.layers import Interpolate, bounded
from finescan.models.networks import start_small

WIDTH, HEADS, WINDOW, LAYERS, BLOCKS, HIDDEN = 60, 6, 8, 4, 6, 120
DROP_PATH = 0.1  # of the last block, in training; rises evenly from none
_SHIFT = WINDOW // 2
_FOREIGN = -100.0  # added to the likeness of pixels that are neighbours only because the image was rolled
_MEAN = {1: (0.0,), 3: (0.4488, 0.4371, 0.4040)}

Padding = Literal["reflect", "mirror"]


def relative_positions(window: int = WINDOW) -> Tensor:
    """For every pair of pixels of a window the row of the table of position weights, (window², window²) int64."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    down, right = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return down * (2 * window - 1) + right


def rim_masks(window: int = WINDOW, shift: int = _SHIFT) -> Tensor:
    """Masks (2, 2, window², window²) of the windows of a rolled image: [in its last row][in its last column].

    Only these windows hold pixels from opposite rims of the image, and all of one kind hold them alike, so four
    masks do for images of any size.
    """
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    below, beyond = (y >= window - shift).flatten(), (x >= window - shift).flatten()
    parts = torch.stack([torch.stack([2 * below * bottom + beyond * right for right in (0, 1)]) for bottom in (0, 1)])
    return _FOREIGN * (parts[..., :, None] != parts[..., None, :])


def image_masks(height: int, width: int, window: int = WINDOW, shift: int = _SHIFT) -> Tensor:
    """The masks of all windows of an image, (windows, window², window²), as public state dicts hold them."""
    down, across = height // window, width // window
    bottom = (torch.arange(down) == down - 1).long().repeat_interleave(across)
    right = (torch.arange(across) == across - 1).long().repeat(down)
    return rim_masks(window, shift)[bottom, right]


class WindowAttention(nn.Module):
    """Every pixel of a window looks at all pixels of it, and knows where they are."""

    index: Tensor
    masks: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, HEADS))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("index", relative_positions().flatten(), persistent=False)
        self.register_buffer("masks", rim_masks(), persistent=False)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, *, rolled: bool) -> Tensor:
        """(n, rows of windows, columns of windows, 64, 60) -> the same shape."""
        bias = self.relative_position_bias_table[self.index].view(WINDOW**2, WINDOW**2, HEADS).permute(2, 0, 1)
        qkv = self.qkv(x)
        if not rolled:
            return self.proj(_attention(qkv, bias))
        bands = []
        for bottom, band in enumerate((qkv[:, :-1], qkv[:, -1:])):
            parts = enumerate((band[:, :, :-1], band[:, :, -1:]))
            bands.append(torch.cat([_attention(p, bias + self.masks[bottom, right]) for right, p in parts], dim=2))
        return self.proj(torch.cat(bands, dim=1))


def _attention(qkv: Tensor, bias: Tensor) -> Tensor:
    """Attention of windows with one bias (heads, 64, 64): (n, rows, columns, 64, 180) -> (n, rows, columns, 64, 60)."""
    n, rows, columns, pixels, _ = qkv.shape
    if not rows * columns:
        return qkv[..., :WIDTH]
    q, k, v = qkv.reshape(-1, pixels, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
    if torch.is_grad_enabled() and bias.requires_grad:  # no fused form gives its gradient; spelt out it is 15 % faster
        seen = (q * (WIDTH // HEADS) ** -0.5 @ k.transpose(2, 3) + bias).softmax(dim=-1) @ v
    else:
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype)[None])
    return seen.transpose(1, 2).reshape(n, rows, columns, pixels, WIDTH)


def _windows(x: Tensor) -> Tensor:
    """(n, h, w, c) -> (n, h / 8, w / 8, 64, c)."""
    n, height, width, c = x.shape
    parts = x.view(n, height // WINDOW, WINDOW, width // WINDOW, WINDOW, c).transpose(2, 3)
    return parts.reshape(n, height // WINDOW, width // WINDOW, WINDOW**2, c)


def _image(windows: Tensor) -> Tensor:
    """Inverse of :func:`_windows`."""
    n, rows, columns, _, c = windows.shape
    parts = windows.view(n, rows, columns, WINDOW, WINDOW, c).transpose(2, 3)
    return parts.reshape(n, rows * WINDOW, columns * WINDOW, c)


def _drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Leave a branch out for a share of the samples, in training (G. Huang et al. 2016, arXiv:1603.09382)."""
    if not training or share == 0:
        return x
    kept = x.new_empty(len(x), *(1,) * (x.ndim - 1)).bernoulli_(1 - share)
    return x * kept / (1 - share)


class SwinBlock(nn.Module):
    """Attention in windows and a small network per pixel, both added to their input."""

    def __init__(self, *, rolled: bool, drop_path: float) -> None:
        super().__init__()
        self.rolled, self.drop_path = rolled, drop_path
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attn = WindowAttention()
        self.norm2 = nn.LayerNorm(WIDTH)
        hidden = [("fc1", nn.Linear(WIDTH, HIDDEN)), ("act", nn.GELU()), ("fc2", nn.Linear(HIDDEN, WIDTH))]
        self.mlp = nn.Sequential(OrderedDict(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """(n, h, w, 60) -> the same shape; h and w are multiples of 8."""
        y = self.norm1(x)
        if self.rolled:
            y = torch.roll(y, (-_SHIFT, -_SHIFT), dims=(1, 2))
        y = _image(self.attn(_windows(y), rolled=self.rolled))
        if self.rolled:
            y = torch.roll(y, (_SHIFT, _SHIFT), dims=(1, 2))
        x = x + _drop(y, self.drop_path, self.training)
        return x + _drop(self.mlp(self.norm2(x)), self.drop_path, self.training)


class ResidualLayer(nn.Module):
    """Six blocks, every second one on windows shifted by half, and a convolution, added to their input."""

    def __init__(self, drop_paths: list[float]) -> None:
        super().__init__()
        blocks = [SwinBlock(rolled=bool(i % 2), drop_path=d) for i, d in enumerate(drop_paths)]
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*blocks)})
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, h, w, 60) -> the same shape."""
        return x + _channels_last(self.conv(_channels_first(self.residual_group["blocks"](x))))


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


class SwinIr(nn.Module):
    """SwinIR-light.

    Parameters
    ----------
    sr_factor : 2 or 4.
    channels : 1 for grey images, 3 for red, green, blue.
    padding : how an image is made a multiple of 8 pixels. "reflect", as the published network does itself: only where
        needed, without the rim pixel. "mirror", as the published test scripts do before: always at least one row and
        column, up to a whole window, with the rim pixel.
    drop_path : share of left-out branches in the last block, in training only.
    layers, blocks : residual layers, and blocks in each; published: 4 and 6.

    Notes
    -----
    Grey levels are in [0, 1]; the result is not limited to it.
    """

    mean: Tensor

    def __init__(
        self, *, sr_factor: int = 2, channels: int = 1, padding: Padding = "reflect", drop_path: float = DROP_PATH,
        layers: int = LAYERS, blocks: int = BLOCKS,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding not in get_args(Padding):
            raise ModelError(f"The padding is one of {', '.join(get_args(Padding))}, but {padding!r} came.")
        self.sr_factor, self.padding = sr_factor, padding
        drops = [drop_path * i / max(layers * blocks - 1, 1) for i in range(layers * blocks)]
        self.register_buffer("mean", torch.tensor(_MEAN[channels]).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(WIDTH)})
        self.layers = nn.Sequential(*(ResidualLayer(drops[i : i + blocks]) for i in range(0, len(drops), blocks)))
        self.norm = nn.LayerNorm(WIDTH)
        self.conv_after_body = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        tail = nn.Conv2d(WIDTH, channels * sr_factor**2, 3, padding=1)
        self.upsample = nn.Sequential(tail, nn.PixelShuffle(sr_factor))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, channels, sr_factor * h, sr_factor * w), any size from 5 x 5 pixels.

        Raises
        ------
        InputError : an image too small to be padded by its own reflection.
        """
        height, width = (self.sr_factor * side for side in x.shape[2:])
        padded = reflected(mirrored(x) if self.padding == "mirror" else x)
        first = self.conv_first(padded - self.mean)
        body = self.layers(self.patch_embed["norm"](_channels_last(first)))
        deep = self.conv_after_body(_channels_first(self.norm(body))) + first
        return (self.upsample(deep) + self.mean)[:, :, :height, :width]


class SpannedSwinIr(nn.Module):
    """SwinIR-light on normalised grey levels.

    Parameters
    ----------
    factor : 2 or 4.
    channels : 1, or 3 for weights that were trained on colour: they get the grey picture three times, and the mean of
        what they answer counts.
    layers, blocks : see :class:`SwinIr`.
    span : standard deviations of the fine grey levels that the published range 0 to 1 reaches to, on each side.
    skip : whether what is learned is added to bicubic interpolation (published: no).
    bound : with ``skip``, largest correction as a share of the local spread of the coarse picture; 0 = no bound.
    """

    def __init__(
        self, factor: int, *, channels: int = 1, layers: int = LAYERS, blocks: int = BLOCKS, span: float = 4.0,
        skip: int = 1, bound: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        if channels not in _MEAN:
            raise ModelError(f"SwinIR reads 1 (grey) or 3 (colour) channels, but {channels} came.")
        self.factor, self.channels, self.span, self.bound = factor, channels, span, bound
        self.net = SwinIr(sr_factor=factor, channels=channels, layers=layers, blocks=blocks)
        self.skip = Interpolate(factor, "bicubic") if skip else None
        if skip:
            start_small(self.net.upsample[0])

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, 1, h * factor, w * factor), float32."""
        read = (x / (2 * self.span) + 0.5).expand(-1, self.channels, -1, -1)
        answer = self.net(read).float().mean(dim=1, keepdim=True)
        if self.skip is None:
            return (answer - 0.5) * (2 * self.span)
        phases = functional.pixel_unshuffle(answer, self.factor)  # not spanned: it starts small
        return self.skip(x) + functional.pixel_shuffle(bounded(phases, x.float(), self.bound), self.factor)


def reflected(x: Tensor, window: int = WINDOW) -> Tensor:
    """Pad below and right to multiples of ``window``, reflecting at the last row and column; (n, c, h, w)."""
    down, right = (-side % window for side in x.shape[2:])
    if down >= x.shape[2] or right >= x.shape[3]:
        raise InputError(
            f"The network works on windows of {window} x {window} pixels and needs at least {window // 2 + 1} pixels "
            f"each way to fill one by reflection, but the image is {tuple(x.shape[2:])} pixels. Pass a larger part."
        )
    return functional.pad(x, (0, right, 0, down), mode="reflect") if down or right else x


def mirrored(x: Tensor, window: int = WINDOW) -> Tensor:
    """Pad below and right to the next multiple of ``window``, repeating the last row and column first; (n, c, h, w).

    An image that is a multiple already gets a whole further window.
    """
    height, width = ((side // window + 1) * window for side in x.shape[2:])
    x = torch.cat([x, x.flip(2)], dim=2)[:, :, :height]
    return torch.cat([x, x.flip(3)], dim=3)[:, :, :, :width]
