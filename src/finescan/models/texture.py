"""Texture of a reference: extract it, search for what is similar, carry it over.

The parts of the texture transformer that know nothing of the network behind it (F. Yang et al., CVPR 2020,
arXiv:2006.04139, sections 3.1.1 to 3.1.3). The published program compares all patches with all patches in one
product; here it is done piece by piece, with the same result and as little memory as wanted.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.errors import InputError
from finescan.models.vgg import mean_shift, vgg_layers

OVERLAP = 9  # patches that cover an inner pixel; the published network divides by it at the rim, too
LARGEST = 2**23  # likenesses at once, 32 MiB
_QUERIES = 2048  # patches looked for at once


class TextureExtractor(nn.Module):
    """The first five convolutions of VGG19, to be trained on (the "LTE").

    Parameters
    ----------
    channels : 3, or 1 for grey pictures; the weights after the fixed normalisation are the same.
    """

    def __init__(self, *, channels: int = 3) -> None:
        super().__init__()
        self.slice1 = vgg_layers(0, 2)
        self.slice2 = vgg_layers(2, 7)
        self.slice3 = vgg_layers(7, 12)
        self.sub_mean = mean_shift(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, channels, h, w) in [0, 1] -> 64, 128 and 256 features on h, h // 2 and h // 4 rows."""
        fine = self.slice1(self.sub_mean(x))
        # The next layers start with a convolution, so nothing overwrites what is handed out.
        middle = self.slice2(fine)
        return fine, middle, self.slice3(middle)


def _patches(x: Tensor, start: int, stop: int) -> Tensor:
    """Unit vectors (c * 9, stop - start) of the 3 x 3 patches around pixels ``start`` to ``stop`` of x (c, h, w)."""
    _, height, width = x.shape
    top, bottom = start // width, (stop - 1) // width + 1
    rows = x[:, max(top - 1, 0) : bottom + 1]
    rows = functional.pad(rows, (1, 1, int(top == 0), int(bottom == height)))
    columns = functional.unfold(rows[None], 3)[0]
    return functional.normalize(columns[:, start - top * width : stop - top * width], dim=0)


def _best(queries: Tensor, keys: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """The highest likeness and where its first occurrence is, for every pixel of ``queries`` (c, h, w)."""
    wanted, offered = queries[0].numel(), keys[0].numel()
    at_once = min(wanted, _QUERIES, math.isqrt(largest))
    step = min(offered, max(1, largest // at_once))
    scores, places = queries.new_empty(wanted), torch.empty(wanted, dtype=torch.int64, device=queries.device)
    for start in _starts(wanted, at_once):
        vectors = _patches(queries, start, start + at_once)
        score, place = queries.new_full((at_once,), -torch.inf), places.new_zeros(at_once)
        for first in _starts(offered, step):
            new, where = (_patches(keys, first, first + step).T @ vectors).max(dim=0)
            better = new > score  # never >=: of equal ones the first wins
            score, place = torch.where(better, new, score), torch.where(better, where + first, place)
        scores[start : start + at_once], places[start : start + at_once] = score, place
    return scores, places


def _starts(count: int, size: int) -> list[int]:
    """Where pieces of one size begin. The last overlaps, so that every product has one shape, and rounds alike."""
    return [min(start, count - size) for start in range(0, count, size)]


def _rows(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n * (h + 2) * (w + 2), c): the pixels as rows, with a rim of zeros."""
    return functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _row_numbers(index: Tensor, width: int, size: tuple[int, ...]) -> Tensor:
    """Where :func:`_rows` of (n, c, *size) holds the first pixel of the 3 x 3 patch around ``index // width``, ``index
    % width``: (n, count) -> (n * count,)."""
    high, wide = size[0] + 2, size[1] + 2
    picture = torch.arange(len(index), device=index.device)[:, None] * (high * wide)
    return (picture + index // width * wide + index % width).flatten()


def _likeness(queries: Tensor, keys: Tensor, index: Tensor) -> Tensor:
    """Cosines (n, h * w) of the patches of ``queries`` with those of ``keys`` at ``index``; gradients go to both."""
    n, _, height, width = queries.shape
    here = torch.arange(height * width, device=index.device).expand(n, -1)
    vectors = []
    for features, chosen in ((queries, here), (keys, index)):
        rows, wide = _rows(features), features.shape[3]
        numbers = _row_numbers(chosen, wide, features.shape[2:])
        parts = [rows.index_select(0, numbers + y * (wide + 2) + x) for y in range(3) for x in range(3)]
        vectors.append(functional.normalize(torch.cat(parts, dim=1), dim=1))
    return (vectors[0] * vectors[1]).sum(dim=1).view(n, -1)


def search(queries: Tensor, keys: Tensor, *, largest: int = LARGEST) -> tuple[Tensor, Tensor]:
    """For every 3 x 3 patch of features the most similar one of the reference, without holding all likenesses.

    Parameters
    ----------
    queries : (n, c, h, w) features of the coarse picture.
    keys : (n, c, hr, wr) features of the reference, as coarse as the picture.
    largest : how many likenesses are held at once. It changes the memory needed, never the answer.

    Returns
    -------
    soft attention (n, 1, h, w), the cosine of each patch with its best match, in [-1, 1] and differentiable; and hard
    attention (n, h * w), int64, the number ``y * wr + x`` of that match. Of equal matches the first counts.
    Zeros lie around both; always float32.
    """
    if largest < 1:
        raise InputError(f"The search needs room for at least one likeness at once, but largest = {largest} came.")
    with torch.autocast(queries.device.type, enabled=False):
        queries, keys = queries.float(), keys.float()
        with torch.no_grad():
            pairs = [_best(q, k, largest) for q, k in zip(queries, keys, strict=True)]
        score, index = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
        if torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad):
            score = _likeness(queries, keys, index)
    return score.view(len(queries), 1, *queries.shape[2:]), index


def transfer(source: Tensor, index: Tensor, size: tuple[int, int], width: int, step: int) -> Tensor:
    """Texture of the reference, put where the search found its like; overlapping patches are added.

    Parameters
    ----------
    source : (n, c, step * hr, step * wr) features of the reference (up to step - 1 rows and columns more).
    index : hard attention (n, h * w) from :func:`search`.
    size : (h, w).
    width : wr, of the keys searched.
    step : pixels of ``source`` per pixel of the searched features; patches are 3 * step wide.

    Returns
    -------
    (n, c, step * h, step * w). The sums are divided by 9 everywhere, although fewer patches overlap at the rim.
    """
    n, height, wide = len(source), *size
    source = functional.pad(source, (0, -source.shape[3] % step, 0, -source.shape[2] % step))
    cells = functional.pixel_unshuffle(source, step)  # a patch is 3 x 3 cells for every step
    rows, across = _rows(cells), cells.shape[3]
    numbers = _row_numbers(index, width, cells.shape[2:])
    total = rows.new_zeros(n, height + 2, wide + 2, rows.shape[1])
    for y in range(3):
        for x in range(3):
            part = rows.index_select(0, numbers + y * (across + 2) + x).view(n, height, wide, -1)
            total[:, y : y + height, x : x + wide].add_(part)
    inner = total[:, 1:-1, 1:-1].permute(0, 3, 1, 2) / OVERLAP
    return functional.pixel_shuffle(inner, step)
