"""Held-out boxes of contestants and reference, read one block at a time from whatever form they come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE, blocks
from finescan.trust.volume_inputs import mask_slices
from finescan.values import Circle, Grid, Image, Region

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SPLIT_PX = 32  # few boxes are halved, but not into blocks smaller than this


@dataclass(frozen=True)
class Placed:
    """A block of a held-out tile: its box on the grid, the number of its tile, and its box inside that."""

    region: Region
    tile: int
    inside: tuple[slice, ...]


@dataclass(frozen=True)
class Source:
    """One contestant: an array on the grid, or one array per tile."""

    whole: Any
    per_tile: tuple[Any, ...] = ()

    @classmethod
    def of(cls, values: Any, name: str, grid: Grid, tiles: Sequence[Region]) -> Source:
        """From an Image or array on the grid, or a list with one array per tile."""
        if isinstance(values, list | tuple):
            found, needed = [tuple(np.shape(v)) for v in values], [t.shape for t in tiles]
            if found != needed:
                raise InputError(f"{name}: one array per held-out tile, shapes {needed}, is needed, but {found} came.")
            return cls(None, tuple(values))
        data = values.data if isinstance(values, Image) else values
        if tuple(data.shape) != grid.shape:
            raise InputError(
                f"All volumes must lie on the grid of {grid.shape} voxels, but {name} is {tuple(data.shape)}."
            )
        return cls(data)

    def read(self, place: Placed) -> Floats:
        """The block as float32."""
        if self.whole is not None:
            return np.asarray(self.whole[place.region.slices]).astype(np.float32)
        return np.asarray(self.per_tile[place.tile][place.inside]).astype(np.float32)


class MaskSource:
    """Voxels that may count: (y, x) or (z, y, x) on the grid, one array per tile, or all."""

    def __init__(self, mask: Any, grid: Grid, tiles: Sequence[Region]) -> None:
        if isinstance(mask, Circle):
            mask = mask.mask(grid)
        self._flat = mask if mask is not None and not isinstance(mask, list | tuple) and np.ndim(mask) == 2 else None
        if self._flat is not None and tuple(self._flat.shape) != grid.shape[1:]:
            raise InputError(f"A mask of shape {grid.shape[1:]} is needed, but {tuple(self._flat.shape)} came.")
        self._source = None if mask is None or self._flat is not None else Source.of(mask, "the mask", grid, tiles)

    def read(self, place: Placed) -> Mask:
        """The block, broadcastable to it."""
        if self._flat is not None:
            return np.asarray(self._flat[place.region.slices[1:]], bool)[None]
        if self._source is not None:
            return self._source.read(place) > 0
        return mask_slices(None, 0, 1)


@dataclass(frozen=True)
class Court:
    """All contestants, the reference, the mask, and the blocks they are compared on.

    Parameters
    ----------
    contestants : by name.
    reference, mask : what they are compared with, and where.
    places : the blocks.
    left_out : blocks that :meth:`usable` has dropped.
    """

    contestants: Mapping[str, Source]
    reference: Source
    mask: MaskSource
    places: tuple[Placed, ...]
    left_out: int = 0

    @property
    def regions(self) -> list[Region]:
        """The blocks as boxes on the grid."""
        return [p.region for p in self.places]

    def known_share(self, name: str) -> float:
        """Share of the voxels of all blocks that a contestant knows."""
        known = [np.isfinite(self.contestants[name].read(p)) for p in self.places]
        return sum(int(k.sum()) for k in known) / sum(k.size for k in known)

    def without(self, names: Sequence[str]) -> Court:
        """Some contestants left out."""
        return replace(self, contestants={k: v for k, v in self.contestants.items() if k not in names})

    def usable(self) -> Court:
        """Only blocks with enough voxels that are known to all."""
        kept = tuple(p for p, _, _, valid in self.blocks() if valid.mean() >= VALID_SHARE)
        if not kept:
            raise InputError(
                "No held-out tile has half of its voxels known in all results and in the reference. "
                "Check the mask, and that every contestant covers the tiles."
            )
        return replace(self, places=kept, left_out=len(self.places) - len(kept))

    def blocks(self) -> Iterator[tuple[Placed, dict[str, Floats], Floats, Mask]]:
        """Place, contestants, reference and the voxels known to all, block by block."""
        for place in self.places:
            images = {k: s.read(place) for k, s in self.contestants.items()}
            truth = self.reference.read(place)
            valid = np.isfinite(truth) & self.mask.read(place)
            for image in images.values():
                valid &= np.isfinite(image)
            yield place, images, truth, valid


def placed(tiles: Sequence[Region]) -> tuple[Placed, ...]:
    """The tiles as blocks; where they are few, halved along their longest side so that an error can be formed."""
    out = []
    for region in blocks(tiles, SPLIT_PX):
        k = next(k for k, t in enumerate(tiles) if _holds(t, region))
        inside = tuple(slice(a - o, b - o) for a, b, o in zip(region.start, region.stop, tiles[k].start, strict=True))
        out.append(Placed(region, k, inside))
    return tuple(out)


def _holds(tile: Region, block: Region) -> bool:
    return all(
        t0 <= b0 and b1 <= t1 for t0, t1, b0, b1 in zip(tile.start, tile.stop, block.start, block.stop, strict=True)
    )
