"""VolumePiece and VolumePatchSet: what a network for volumes learns from, on the grid of the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.patches.volume_split import Box3, paint
from finescan.values import Circle, GreyStatistics, Grid, Region

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class VolumePiece:
    """One fine volume and the coarse one under it, on a box of the out grid.

    Parameters
    ----------
    lr : (d, h, w) float32 coarse grey levels, finite everywhere.
    hr : (d, h, w) float32 fine grey levels, finite; meaningless where weight is False.
    weight : bool, False where missing, invalid, outside the fine volume or the field of view, or saturated.
    start : corner of the box on the whole out grid, voxels.
    position : (h, w) float32, distance from the rotation axis over the radius of the field of view.
    name : of the fine volume.
    """

    lr: NDArray[np.float32]
    hr: NDArray[np.float32]
    weight: NDArray[np.bool_]
    start: tuple[int, int, int]
    position: NDArray[np.float32]
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis."""
        d, h, w = self.lr.shape
        return d, h, w

    def local(self, boxes: Sequence[Box3]) -> list[Box3]:
        """Boxes of the out grid in voxels of the piece; they may reach outside it."""
        z, y, x = self.start
        return [(a - z, b - y, c - x, d - z, e - y, f - x) for a, b, c, d, e, f in boxes]


@dataclass(frozen=True)
class VolumePatchSet:
    """Everything training on volumes needs.

    Parameters
    ----------
    pieces : one per fine volume.
    sr_factor : recorded coarse over target voxel size, per axis.
    out_grid : grid of the whole result.
    circle : the field of view; nothing is learned outside it.
    lr_grey, hr_grey : statistics over the training role.
    gain, offset : ``hr = gain * lr + offset`` over the training role, robust.
    lr_range : 0.01 and 99.99 percentile of the locally averaged (5 x 5 x 5 voxels of the out grid) coarse grey levels
        of the training role.
    hr_dtype : number format of the fine volumes.
    boxes : "stop" and "test": held-out boxes on ``out_grid``; what is farther than ``guard`` from all of them trains.
    guard : gap between roles, voxels.
    fill : grey level that missing coarse voxels were given.
    notes : sentences about what was decided.
    """

    pieces: tuple[VolumePiece, ...]
    sr_factor: tuple[float, ...]
    out_grid: Grid
    circle: Circle
    lr_grey: GreyStatistics
    hr_grey: GreyStatistics
    gain: float
    offset: float
    lr_range: tuple[float, float]
    hr_dtype: str
    boxes: dict[str, list[Box3]]
    guard: int
    fill: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def factor(self) -> int:
        """Networks for volumes read the grid of the result."""
        return 1

    def regions(self, role: str) -> list[Region]:
        """Held-out boxes ("stop" or "test") as regions of ``out_grid``."""
        return [Region.clipped(self.out_grid, b[:3], b[3:]) for b in self.boxes.get(role, [])]

    def counted(self, piece: VolumePiece, role: str, box: Slices | None = None) -> NDArray[np.bool_]:
        """Voxels of a role ("train", "stop" or "test") that count, on a box of a piece (None = all of it)."""
        box = box or tuple(slice(0, n) for n in piece.shape)
        corner = [s.start for s in box]
        held = {name: _moved(piece.local(boxes), corner) for name, boxes in self.boxes.items()}
        mask: NDArray[np.bool_]
        if role == "train":
            mask = piece.weight[box].copy()
            for boxes in held.values():
                paint(mask, boxes, self.guard, False)
            return mask
        mask = np.zeros([s.stop - s.start for s in box], bool)
        paint(mask, held.get(role, []), 0, True)
        if role == "stop":
            paint(mask, held.get("test", []), self.guard, False)
        return mask & piece.weight[box]

    def shares(self) -> dict[str, float]:
        """Share of the voxels that count per role; what is missing to 1 is guard gap."""
        total = sum(int(np.count_nonzero(p.weight)) for p in self.pieces)
        roles = ("train", "stop", "test")
        return {r: sum(int(np.count_nonzero(self.counted(p, r))) for p in self.pieces) / total for r in roles}

    def fingerprint(self) -> str:
        """Hash of all data and roles; the same data and split give the same text."""
        h = hashlib.sha256(
            repr((self.sr_factor, self.gain, self.offset, self.hr_grey, self.boxes, self.guard)).encode()
        )
        for p in self.pieces:
            for array in (p.lr, p.hr, p.weight):
                for part in array:  # slice by slice: no second copy of a large volume
                    h.update(np.ascontiguousarray(part).data)
        return h.hexdigest()

    def __str__(self) -> str:
        shares = ", ".join(f"{n} {100 * s:.0f} %" for n, s in self.shares().items())
        return f"{len(self.pieces)} fine volume(s): {shares}"


def _moved(boxes: Sequence[Box3], corner: Sequence[int]) -> list[Box3]:
    z, y, x = corner
    return [(a - z, b - y, c - x, d - z, e - y, f - x) for a, b, c, d, e, f in boxes]
