"""How a volume is cut into blocks: on one lattice anchored at the volume's first voxel, whatever part is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finescan.enhancement.guard import GROWN, reach
from finescan.enhancement.volume_config import VolumeEnhanceConfig
from finescan.errors import InputError
from finescan.models import Model
from finescan.patches import AVERAGE_PX
from finescan.values import Region, Tile

CHUNK = 64  # voxels per side of a stored cube
FACE = 16  # mirrored voxels past a face of the volume; there is nothing recorded there, and more costs time
CPU_MB, GPU_SHARE = 1000.0, 0.4
STACKS_AT_ONCE = 8
BAND = 32  # slices per block when blending
MOST_VOXELS = {"cpu": 1 << 25, "cuda": 1 << 27}  # of a block with its halo: a few of them wait between the stages
_DEPTHS = (32, 64, 128, 256)
_SIDES = (64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
_SLACK = 1.5  # what skip connections keep beside the layer at work

Three = tuple[int, int, int]


@dataclass(frozen=True)
class VolumeLayout:
    """Sizes per axis (z, y, x), voxels of the result.

    Parameters
    ----------
    core : of a block; whole multiples of the network's.
    halo : voxels of context the network is given around a block; whole multiples of the network's.
    margin : voxels read around a block, at least the halo.
    overlap : voxels a tile shares with each neighbour in the plane when blending, else 0.
    """

    core: Three
    halo: Three
    margin: Three
    overlap: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For the ledger."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> VolumeLayout:
        """Inverse of :meth:`to_dict`; other entries are ignored."""
        core, halo, margin = ((int(z), int(y), int(x)) for z, y, x in (d["core"], d["halo"], d["margin"]))
        return cls(core, halo, margin, int(d["overlap"]))

    def storage(self, whole: bool) -> dict[str, Any]:
        """Chunk and shard for the store: a block is a shard, written in one go, when the whole volume is written."""
        chunk = [math.gcd(c, CHUNK) if math.gcd(c, CHUNK) >= 16 else c for c in self.core]
        return {"chunk": chunk, "shard": list(self.core) if whole else 0}


def choose_layout(model: Model, shape: Sequence[int], config: VolumeEnhanceConfig, *, device: str) -> VolumeLayout:
    """The blocks that recompute the least halo within the memory allowed; a matter of the whole volume's shape."""
    multiple = model.multiple
    if config.blending == "published":
        return _published(model, shape, config)
    context = [min(h, h if config.context is None else config.context) for h in (model.halo_z, model.halo, model.halo)]
    halo = _rounded(context, multiple)
    margin = _rounded([max(h, guard_reach(model) if config.guard else 0) for h in halo], multiple)
    if config.block is not None:
        _require_multiple(config.block, multiple, "block")
        return VolumeLayout(config.block, halo, margin)
    most = min(_allowed(config, device) / voxel_bytes(model), MOST_VOXELS["cuda" if "cuda" in device else "cpu"])
    depth = STACKS_AT_ONCE if model.stack else None
    best: tuple[float, Three] | None = None
    for d, side in product(_DEPTHS, _SIDES):
        core = _rounded([min(c, _up(n, CHUNK)) for c, n in zip((d, side, side), shape, strict=True)], multiple)
        read = [c + 2 * h for c, h in zip(core, halo, strict=True)]
        if (depth or read[0]) * read[1] * read[2] > most and best is not None:
            continue
        work = math.prod(_read_along(n, c, h, m) for n, c, h, m in zip(shape, core, halo, multiple, strict=True))
        if best is None or work < best[0]:
            best = work, core
    assert best is not None
    return VolumeLayout(best[1], halo, margin)


def _read_along(n: int, core: int, halo: int, multiple: int) -> int:
    """Voxels along an axis that the network is given, over all blocks."""
    return sum(
        b - a
        for k in range(-(-n // core))
        for a, b in grown([(k * core, min((k + 1) * core, _up(n, multiple)))], [halo], [n], [multiple])
    )


def _published(model: Model, shape: Sequence[int], config: VolumeEnhanceConfig) -> VolumeLayout:
    if not model.stack:
        raise InputError(
            f"blending='published' is for networks that take stacks of slices, but {model.card.architecture} takes "
            "whole blocks. Use blending='exact'."
        )
    if config.stride > model.stack:
        raise InputError(f"With stacks of {model.stack} slices the stride is at most that, but {config.stride} came.")
    _, my, mx = model.multiple
    step = math.lcm(my, mx)
    overlap = _up(config.overlap, step)
    side = _up(config.tile - 2 * config.overlap, step)
    side = max(overlap, min(side, _up(max(shape[1:]), step)))
    halo = (model.stack - 1, overlap, overlap)
    guard = guard_reach(model) if config.guard else 0
    margin = _rounded([max(h, guard) for h in halo], (1, my, mx))
    return VolumeLayout((BAND, side, side), halo, margin, overlap)


def guard_growth(model: Model) -> int:
    """How far a doubtful voxel is grown: interpolation reaches two coarse voxels, and all of them must be doubted."""
    largest = max(model.card.sr_factor)
    return GROWN if largest <= 1 else math.ceil(2 * largest) + reach(0)


def guard_reach(model: Model) -> int:
    """Voxels around a block that decide what is believed in it."""
    return AVERAGE_PX // 2 + reach(guard_growth(model))


def voxel_bytes(model: Model) -> float:
    """Bytes of memory per voxel of a block (of a stack's plane) that the network needs, from a forward pass on a tiny
    one: the largest layer's input and output, and some for what is kept beside it."""
    shape = tuple(m * -(-8 // m) for m in model.multiple)
    shape = (model.stack or shape[0], *shape[1:])
    largest = 0

    def seen(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [t for t in (*inputs, output) if isinstance(t, Tensor)]
        largest = max(largest, sum(t.numel() * t.element_size() for t in tensors))

    leaves = [m for m in model.members[0].modules() if not any(m.children())]
    hooks = [m.register_forward_hook(seen) for m in leaves]
    try:
        position = np.zeros(shape[1:], np.float32) if model.wants_position else None
        model.predict(np.zeros(shape, np.float32), position=position)
    finally:
        for hook in hooks:
            hook.remove()
    plane = math.prod(shape[1:])
    return max(16.0, _SLACK * largest / (plane if model.stack else plane * shape[0]))


def _allowed(config: VolumeEnhanceConfig, device: str) -> float:
    if config.memory_mb is not None:
        return config.memory_mb * 1e6
    # of all the card's memory, not of what happens to be free: the same card must give the same blocks
    return GPU_SHARE * torch.cuda.get_device_properties(device).total_memory if "cuda" in device else CPU_MB * 1e6


def blocks(shape: Sequence[int], multiple: Three, core: Three, region: Region) -> dict[int, Tile]:
    """The blocks that hold a part of a region, by their index on the lattice of the whole volume, in raster order.

    ``read`` of a tile is the box computed (whole multiples, so it may reach past the volume), ``keep`` the part that
    is wanted, and ``paste`` where that lies in the region.
    """
    counts = [-(-n // c) for n, c in zip(shape, core, strict=True)]
    ranges = [range(a // c, -(-b // c)) for a, b, c in zip(region.start, region.stop, core, strict=True)]
    found = {}
    for where in product(*ranges):
        index = (where[0] * counts[1] + where[1]) * counts[2] + where[2]
        box = block_box(where, shape, multiple, core)
        keep = tuple(
            (max(lo, a), min(hi, b, n)) for (lo, hi), a, b, n in zip(box, region.start, region.stop, shape, strict=True)
        )
        paste = tuple((lo - a, hi - a) for (lo, hi), a in zip(keep, region.start, strict=True))
        found[index] = Tile(index, keep, box, paste)
    return found


def block_box(where: Sequence[int], shape: Sequence[int], multiple: Three, core: Three) -> tuple[tuple[int, int], ...]:
    """Box of a block of the lattice, a whole multiple long also at the far end."""
    return tuple((k * c, min((k + 1) * c, _up(n, m))) for k, c, n, m in zip(where, core, shape, multiple, strict=True))


def grown(
    box: Sequence[tuple[int, int]], margin: Sequence[int], shape: Sequence[int], multiple: Sequence[int]
) -> list[tuple[int, int]]:
    """A box with its margin; past the faces of the volume just as far as it is mirrored.

    Beyond that the network pads with its own zeros. All blocks see the same there, so blocks still give what the
    undivided volume gives.
    """
    return [
        (max(a - m, -_up(FACE, f)), min(b + m, _up(n, f) + _up(FACE, f)))
        for (a, b), m, n, f in zip(box, margin, shape, multiple, strict=True)
    ]


def largest_box(shape: Sequence[int], multiple: Three, core: Three) -> Three:
    """Voxels per side of the first block, the largest: the core, or all there is."""
    z, y, x = (b for _, b in block_box((0, 0, 0), shape, multiple, core))
    return z, y, x


def tiles_of(box: Sequence[tuple[int, int]], size: Sequence[int]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Boxes of at most ``size`` that cover a box, in raster order."""
    axes = [[(a, min(a + s, hi)) for a in range(lo, hi, s)] for (lo, hi), s in zip(box, size, strict=True)]
    return iter(product(*axes))


def _rounded(lengths: Sequence[int], multiple: Sequence[int]) -> Three:
    z, y, x = (_up(n, m) for n, m in zip(lengths, multiple, strict=True))
    return z, y, x


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _require_multiple(block: Sequence[int], multiple: Three, what: str) -> None:
    if any(b % m for b, m in zip(block, multiple, strict=True)):
        raise InputError(f"This network needs a {what} of whole multiples of {multiple} voxels, but {block} came.")
