"""VolumeStopSet: the held-out boxes that decide which state of a network for volumes is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finescan.models import MODELS, memory_format
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.patches.volume_split import Box3

MOST_VOXELS = {"cpu": 150_000, "cuda": 4_000_000}  # judged; more would cost a noticeable share of the time
CONTEXT = 8  # voxels around what is judged, at most; the whole halo would multiply the work


@dataclass(frozen=True)
class _Window:
    x: Tensor  # (1, 1, d, h, w), or (n, stack, h, w), normalised coarse grey levels with context
    y: Tensor  # like x, normalised fine grey levels
    mask: Tensor  # like x, voxels that are judged
    position: Tensor | None  # (1, 1, h, w)


class VolumeStopSet:
    """The stop boxes of a VolumePatchSet as windows with context; PSNR in dB of any network on them.

    The data range of the PSNR is the fine volume's 0.1 to 99.9 percentile over the training role. Networks that take
    stacks are judged on stacks side by side, which are faster than (and as telling as) those at stride 1.
    """

    def __init__(
        self,
        patches: VolumePatchSet,
        architecture: str,
        device: torch.device,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        grey, row = patches.hr_grey, MODELS[architecture]
        arguments = arguments or row.arguments
        self._range = (grey.high - grey.low) / grey.std
        self._multiple, self._stack = row.multiple(arguments), row.stack
        self._context = (min(CONTEXT, row.halo_z(arguments)), *(min(CONTEXT, row.halo(arguments)),) * 2)
        self._format, self._device = memory_format(architecture), device
        self._wants_position = bool(arguments.get("position", 0))
        boxes = [(p, b) for p in patches.pieces for b in p.local(patches.boxes.get("stop", []))]
        boxes = [(p, c) for p, b in boxes if (c := _clipped(b, p.shape)) is not None]
        total = sum(_size(b) for _, b in boxes)
        share = min(1.0, MOST_VOXELS.get(device.type, MOST_VOXELS["cuda"]) / max(1, total))
        windows = (self._window(patches, p, _middle(b, share)) for p, b in boxes)
        self._windows = [w for w in windows if w is not None]

    def psnr(self, networks: Sequence[nn.Module]) -> float:
        """Peak signal-to-noise ratio of the mean of networks; nan when nothing can be judged."""

        def answer(w: _Window) -> Tensor:
            answers = [n(w.x) if w.position is None else n(w.x, w.position) for n in networks]
            return torch.stack([a.float() for a in answers]).mean(dim=0)

        return self._psnr(answer)

    def interpolated_psnr(self) -> float:
        """Of the coarse volume with the fine one's grey map."""
        return self._psnr(lambda w: w.x)

    def _psnr(self, answer: Any) -> float:
        squares, count = 0.0, 0
        with torch.inference_mode():
            for w in self._windows:
                squares += float((((answer(w) - w.y) ** 2) * w.mask).sum(dtype=torch.float64))
                count += int(w.mask.sum())
        if count == 0 or not math.isfinite(squares):
            return math.nan
        return 10 * math.log10(self._range**2 / max(squares / count, 1e-20))

    def _window(self, patches: VolumePatchSet, piece: VolumePiece, box: Box3) -> _Window | None:
        part = self._aligned(box, piece.shape)
        if part is None:
            return None
        judged = np.zeros(piece.shape, bool) if part is None else patches.counted(piece, "stop", part)
        inner = tuple(
            slice(max(0, a - s.start), max(0, b - s.start)) for a, b, s in zip(box[:3], box[3:], part, strict=True)
        )
        mask = np.zeros_like(judged)
        mask[inner] = judged[inner]
        grey = patches.hr_grey
        scale, shift = patches.gain / grey.std, (patches.offset - grey.mean) / grey.std
        x = (piece.lr[part] * np.float32(scale) + np.float32(shift)).astype(np.float32)
        y = ((piece.hr[part] - grey.mean) / grey.std).astype(np.float32)
        x_t, y_t, mask_t = (self._tensor(a) for a in (x, y, mask))
        position = None
        if self._wants_position:
            plane = np.ascontiguousarray(piece.position[part[1:]])
            position = torch.from_numpy(plane)[None, None].to(self._device)
        return _Window(x_t.contiguous(memory_format=self._format), y_t, mask_t, position)

    def _tensor(self, a: NDArray[Any]) -> Tensor:
        t = torch.from_numpy(np.ascontiguousarray(a)).to(self._device)
        return t.reshape(-1, self._stack, *t.shape[1:]) if self._stack else t[None, None]

    def _aligned(self, box: Box3, shape: Sequence[int]) -> tuple[slice, ...] | None:
        """The box with context, made as long as whole multiples that fit the piece; None where none fits."""
        multiple = (self._stack or self._multiple[0], *self._multiple[1:])
        out = []
        for a, b, c, q, n in zip(box[:3], box[3:], self._context, multiple, shape, strict=True):
            first, last = max(0, a - c), min(n, b + c)
            length = min(-(-(last - first) // q) * q, n // q * q)
            if length < q:
                return None
            first = min(first, n - length)
            out.append(slice(first, first + length))
        return tuple(out)


def _clipped(box: Box3, shape: Sequence[int]) -> Box3 | None:
    a = [max(0, v) for v in box[:3]]
    b = [min(n, v) for n, v in zip(shape, box[3:], strict=True)]
    return None if any(p >= q for p, q in zip(a, b, strict=True)) else (a[0], a[1], a[2], b[0], b[1], b[2])


def _size(box: Box3) -> int:
    return math.prod(b - a for a, b in zip(box[:3], box[3:], strict=True))


def _middle(box: Box3, share: float) -> Box3:
    """The middle of a box with about a share of its voxels."""
    side = share ** (1 / 3)
    a, b = [], []
    for p, q in zip(box[:3], box[3:], strict=True):
        n = max(1, round((q - p) * side))
        a.append(p + (q - p - n) // 2)
        b.append(a[-1] + n)
    return a[0], a[1], a[2], b[0], b[1], b[2]
