"""VolumeEnhanceConfig: what :func:`finescan.enhancement.enhance_volume` may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from finescan.errors import InputError
from finescan.values import Circle

BLENDINGS = ("exact", "published")
_NOT_THE_RESULT = ("device", "threads", "overwrite", "pyramid")


@dataclass(frozen=True)
class VolumeEnhanceConfig:
    """Options of :func:`finescan.enhancement.enhance_volume`.

    Parameters
    ----------
    dtype : number format of the result; None = the fine scan's, from the model card.
    blending : "exact" (the halo is cropped; the result does not depend on how the volume is cut up), or "published"
        (Bukka et al. 2025, 10.1515/mim-2024-0017, section 2.1.1; for networks that take stacks of slices):
        overlapping tiles with triangular weights in the plane, stacks averaged along z.
    stride : slices between two stacks with "published", 1 to the slices of a stack; 3 is three times as fast as 1.
    tile, overlap : with "published", voxels per side of a tile, and of those the ones shared with each neighbour.
    block : (z, y, x) voxels of the unit of computing and writing; None = chosen from the network's halo and memory.
    context : voxels given around a block with "exact"; None = all that can have an influence. A trained network hardly
        looks that far: a part of it is faster, but then where blocks meet shows in the last digits, or more.
    memory_mb : megabytes the network may use at a time; None = 1000, on a graphics card two fifths of its memory.
    saturation : (low, high) grey levels at or beyond which the coarse volume is cut off, each may be None; None alone =
        the upper limit of an integer format if more than 0.01 % of the voxels of some slices hold it.
    guard : fall back to interpolation where the coarse volume leaves what the network was trained on.
    circle : field of view of the coarse volume, outside of which nothing is computed; None = all recorded voxels.
    bfloat16 : compute corrections in that format.
    device : "auto", "cpu" or a torch device.
    threads : torch threads; None = as torch is set.
    overwrite : discard whatever an earlier run left in the folder.
    pyramid : add coarser levels for viewers to a result in a folder.
    """

    dtype: str | None = None
    blending: str = "exact"
    stride: int = 1
    tile: int = 576
    overlap: int = 32
    block: tuple[int, int, int] | None = None
    context: int | None = None
    memory_mb: float | None = None
    saturation: tuple[float | None, float | None] | None = None
    guard: bool = True
    circle: Circle | None = None
    bfloat16: bool = False
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False
    pyramid: bool = True

    def __post_init__(self) -> None:
        if self.blending not in BLENDINGS:
            raise InputError(f"Blending of volumes is 'exact' or 'published', but {self.blending!r} came.")
        if self.stride < 1 or self.overlap < 1 or self.tile <= 2 * self.overlap:
            raise InputError(
                "Blending needs a stride and an overlap of at least 1 and a tile wider than two overlaps, but "
                f"stride={self.stride}, overlap={self.overlap}, tile={self.tile} came."
            )
        if self.block is not None and (len(self.block) != 3 or min(self.block) < 1):
            raise InputError(f"A block is (z, y, x) voxels, but {self.block} came. Leave it out to have it chosen.")
        if self.context is not None and self.context < 0:
            raise InputError(f"context must be at least 0 voxels, but {self.context} came. Leave it out to be exact.")
        if self.memory_mb is not None and not self.memory_mb > 0:
            raise InputError(f"memory_mb must be positive, but {self.memory_mb} came. Leave it out.")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be at least 1, but {self.threads} came. Leave it out.")
        if self.dtype is not None and np.dtype(self.dtype).kind not in "uif":
            raise InputError(f"The result is of integers or floats, but dtype {self.dtype!r} came.")

    def identity(self) -> dict[str, Any]:
        """The options that change the result (not where or how fast it is computed), for the ledger."""
        d = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items() if k not in _NOT_THE_RESULT}
        d["circle"] = None if self.circle is None else self.circle.to_dict()
        return d
