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


@dataclass(frozen=True)
class _Window:
    x: Tensor  # (1, 1, h, w) normalised coarse grey levels with context
    y: Tensor  # (1, 1, h * f, w * f) normalised fine grey levels
    mask: Tensor  # like y, bool: pixels that are judged


class StopSet:
    """The stop role of a PatchSet as windows with context; PSNR in dB of any network on it.

    The data range of the PSNR is the fine scan's 0.1 to 99.9 percentile over the training area.
    """

    def __init__(self, patches: PatchSet, halo: int, device: torch.device) -> None:
        grey = patches.hr_grey
        self._range = (grey.high - grey.low) / grey.std
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
    dy, dx = (round(float(v)) for v in patches.work_grid.to_index(piece.work_grid.origin_nm))
    h, w = piece.lr.shape
    found = []
    for top, left, bottom, right in patches.boxes.get("stop", []):
        box = (max(0, top - dy), max(0, left - dx), min(h, bottom - dy), min(w, right - dx))
        if box[0] < box[2] and box[1] < box[3] and (piece.role[box[0] : box[2], box[1] : box[3]] == 2).any():
            found.append(box)
    return found


def _middle(box: tuple[int, int, int, int], share: float) -> tuple[int, int, int, int]:
    top, left, bottom, right = box
    h, w = max(1, round((bottom - top) * share)), max(1, round((right - left) * share))
    y, x = top + (bottom - top - h) // 2, left + (right - left - w) // 2
    return y, x, y + h, x + w


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
