"""StopSet: the held-out area that decides when to stop and which contestant is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finescan.patches import PatchSet, Piece

MOST_PIXELS = 2_000_000  # output pixels judged; more would not change the verdict, only the time
_AT_ONCE = 8  # windows of networks that look at one at a time


@dataclass(frozen=True)
class Tiling:
    """How a network that looks at windows is judged.

    Parameters
    ----------
    size : side of a window, coarse pixels.
    kept : side of its middle, the only part that is judged; windows lie so far apart.
    most : windows, spread evenly over all there are.
    """

    size: int
    kept: int
    most: int


@dataclass(frozen=True)
class _Window:
    x: Tensor  # (n, 1, h, w) normalised coarse grey levels with context
    y: Tensor  # (n, 1, h * f, w * f) normalised fine grey levels
    mask: Tensor  # like y, bool: pixels that are judged


class StopSet:
    """The stop role of a PatchSet as windows with context; PSNR in dB of any network on it.

    The data range of the PSNR is the fine scan's 0.1 to 99.9 percentile over the training area.

    Parameters
    ----------
    patches : whose stop role judges.
    halo : context, coarse pixels.
    device : of the networks.
    tiling : windows of one size instead of whole boxes with a halo.
    """

    def __init__(self, patches: PatchSet, halo: int, device: torch.device, *, tiling: Tiling | None = None) -> None:
        grey = patches.hr_grey
        self._range = (grey.high - grey.low) / grey.std
        if tiling is not None:
            self._windows = _tiled(patches, tiling, device)
            return
        boxes = [(p, box) for p in patches.pieces for box in _boxes(p, patches)]
        total = sum((b - t) * (r - x) for _, (t, x, b, r) in boxes) * patches.factor**2
        thin = min(1.0, math.sqrt(MOST_PIXELS / max(total, 1)))
        self._windows = [_window(p, _middle(box, thin), patches, halo, device) for p, box in boxes]

    def psnr(self, networks: nn.Module | Sequence[nn.Module]) -> float:
        """Peak signal-to-noise ratio of a network, or of the mean of several; nan when nothing can be judged."""
        members = [networks] if isinstance(networks, nn.Module) else list(networks)
        squares, count = 0.0, 0
        with torch.inference_mode():
            for w in self._windows:
                answer = sum(m(w.x) for m in members) / len(members)
                squares += float((((answer - w.y) ** 2) * w.mask).sum(dtype=torch.float64))
                count += int(w.mask.sum())
        if count == 0 or not math.isfinite(squares):
            return math.nan
        return 10 * math.log10(self._range**2 / max(squares / count, 1e-20))


def normalised(patches: PatchSet, lr: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coarse grey levels as networks see them, as the ModelCard says."""
    grey = patches.hr_grey
    scale, shift = patches.gain / grey.std, (patches.offset - grey.mean) / grey.std
    return (lr * np.float32(scale) + np.float32(shift)).astype(np.float32)


def _boxes(piece: Piece, patches: PatchSet) -> list[tuple[int, int, int, int]]:
    """Stop boxes in pixels of a piece, where they hold any pixel of that role."""
    return patches.held(piece, "stop")


def _middle(box: tuple[int, int, int, int], share: float) -> tuple[int, int, int, int]:
    top, left, bottom, right = box
    h, w = max(1, round((bottom - top) * share)), max(1, round((right - left) * share))
    y, x = top + (bottom - top - h) // 2, left + (right - left - w) // 2
    return y, x, y + h, x + w


def _tiled(patches: PatchSet, tiling: Tiling, device: torch.device) -> list[_Window]:
    """Windows of one size, several at a time, where their middles hold a pixel of the stop role."""
    found = [(p, y, x) for p in patches.pieces for y, x in _corners(p, patches, tiling)]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(tiling.most, len(found))).round().astype(int))
    margin = (tiling.size - tiling.kept) // 2
    singles = []
    for k in chosen:
        piece, y, x = found[k]
        middle = (y + margin, x + margin, y + margin + tiling.kept, x + margin + tiling.kept)
        singles.append(_window(piece, middle, patches, margin, device))
    return [
        _Window(*(torch.cat(parts) for parts in zip(*((w.x, w.y, w.mask) for w in some), strict=True)))
        for some in (singles[first : first + _AT_ONCE] for first in range(0, len(singles), _AT_ONCE))
    ]


def _corners(piece: Piece, patches: PatchSet, tiling: Tiling) -> list[tuple[int, int]]:
    """Upper left corners of windows inside a piece, on a lattice over its stop boxes."""
    (h, w), margin = piece.lr.shape, (tiling.size - tiling.kept) // 2
    if min(h, w) < tiling.size:
        return []
    held = np.asarray(piece.role_fine("stop").reshape(h, piece.factor, w, piece.factor).any(axis=(1, 3)))
    corners = {}
    for top, left, bottom, right in _boxes(piece, patches):
        for row in range(top - margin, bottom - margin, tiling.kept):
            for column in range(left - margin, right - margin, tiling.kept):
                y, x = min(max(row, 0), h - tiling.size), min(max(column, 0), w - tiling.size)
                corners[y, x] = held[y + margin : y + margin + tiling.kept, x + margin : x + margin + tiling.kept].any()
    return [corner for corner, holds in corners.items() if holds]


def _window(
    piece: Piece, box: tuple[int, int, int, int], patches: PatchSet, halo: int, device: torch.device
) -> _Window:
    f = piece.factor
    (top, left, bottom, right), (h, w) = box, piece.lr.shape
    rows, columns = slice(max(0, top - halo), min(h, bottom + halo)), slice(max(0, left - halo), min(w, right + halo))
    fine = (slice(rows.start * f, rows.stop * f), slice(columns.start * f, columns.stop * f))
    judged = np.zeros(piece.weight.shape, bool)
    judged[top * f : bottom * f, left * f : right * f] = True
    judged &= piece.role_fine("stop")
    grey = patches.hr_grey
    y = ((piece.hr[fine] - grey.mean) / grey.std).astype(np.float32)
    arrays = (normalised(patches, piece.lr[rows, columns]), y, judged[fine])
    x, y_tensor, mask = (torch.from_numpy(np.ascontiguousarray(a))[None, None].to(device) for a in arrays)
    return _Window(x, y_tensor, mask)
