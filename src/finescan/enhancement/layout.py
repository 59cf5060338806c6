"""Layout: how large blocks and chunks are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finescan.enhancement.config import EnhanceConfig

CPU_CORE, GPU_CORE = 384, 1024  # kept coarse pixels per side: cache decides on a processor, launches on a GPU
LARGEST_OUTPUT = 4096  # output pixels per side of a block: 64 MiB of float32
CHUNK = 512


@dataclass(frozen=True)
class Layout:
    """Sizes of the unit of computing and writing.

    Parameters
    ----------
    core : kept coarse (working) pixels per side of a block.
    chunk : output pixels per side of a stored chunk; divides ``core * factor``, so that no two blocks share one.
    overlap : coarse pixels shared with each neighbour when blending, else 0.
    """

    core: int
    chunk: int
    overlap: int

    def to_dict(self) -> dict[str, int]:
        """For the ledger."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Layout:
        """Inverse of :meth:`to_dict`; other entries are ignored."""
        return cls(int(d["core"]), int(d["chunk"]), int(d["overlap"]))


def choose_layout(factor: int, halo: int, config: EnhanceConfig, *, on_gpu: bool, stride: int = 0) -> Layout:
    """Blocks as large as pays off: the halo is computed twice, but beyond the cache a processor gets slower.

    ``stride`` is the distance of the windows of a network that is run on windows: blocks are whole multiples of it.
    """
    core = config.tile
    if core is None:
        wanted = min(max(GPU_CORE if on_gpu else CPU_CORE, 16 * halo), LARGEST_OUTPUT // factor)
        step = stride or 16  # many divisors, so that chunks come out near their usual size
        core = max(step, wanted // step * step)
    elif stride:
        core = -(-core // stride) * stride
    overlap = 0
    if config.blending == "smooth" and not stride:
        overlap = max(1, core // 8) if config.overlap is None else config.overlap
        core = max(core, overlap)  # then only next neighbours overlap
    return Layout(core, factor * _piece(core, factor), overlap)


def _piece(core: int, factor: int) -> int:
    """The divisor of ``core`` that makes chunks nearest to the usual size."""
    return min((d for d in range(1, core + 1) if core % d == 0), key=lambda d: abs(d * factor - CHUNK))
