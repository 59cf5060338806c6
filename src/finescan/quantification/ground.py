"""Ground: blocks of the map on which enhanced picture and fine scan were both measured.

Blocks are cells of one lattice over the whole map, so that a pattern of them can be moved about on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.quantification.measurements import Measurements
from finescan.quantification.tallies import Tally, joined, tally
from finescan.trust.blocks import VALID_SHARE

WANTED = 40  # blocks: enough for a scatter, large enough to hold objects
SMALLEST = {2: 24, 3: 10}  # pixels along the edge of a block

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """Blocks in which enhanced map and fine scan were measured alike.

    Parameters
    ----------
    fine, enhanced : tallies of the same n blocks, on the same pixels.
    place : (n, axes) whole numbers, place of every block on the lattice of the map.
    """

    fine: Tally
    enhanced: Tally
    place: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.place)

    def only(self, kept: NDArray[np.bool_]) -> Ground:
        """Some of the blocks."""
        return Ground(self.fine.only(kept), self.enhanced.only(kept), self.place[kept])

    @property
    def near(self) -> Floats:
        """(n, n): 1 for a block and itself, 0.5 for neighbours, 0 for blocks further apart (Bartlett)."""
        step = np.abs(self.place[:, None] - self.place[None]).max(axis=-1)
        return np.clip(1 - step / 2, 0.0, 1.0)

    @property
    def independent(self) -> float:
        """Number of blocks that neighbours do not speak for."""
        return float(len(self) ** 2 / self.near.sum())


def block_side(pixels: int, ndim: int) -> int:
    """Edge of blocks, pixels, so that about forty cover an area (a volume) of so many pixels."""
    return max(SMALLEST[ndim], round((pixels / WANTED) ** (1 / ndim)))


def lattice_shape(shape: Sequence[int], side: int) -> tuple[int, ...]:
    """Blocks along every axis of a map; the last ones are cut off by its border."""
    return tuple(-(-int(n) // side) for n in shape)


def block_numbers(start: Sequence[int], shape: Sequence[int], side: int, lattice: Sequence[int]) -> NDArray[np.int32]:
    """Number of the block of every pixel of a box of the map, int32; -1 beyond the map."""
    out = np.zeros(tuple(shape), np.int32)
    outside = np.zeros(tuple(shape), bool)
    for axis, (first, n, blocks) in enumerate(zip(start, shape, lattice, strict=True)):
        line = (int(first) + np.arange(n)) // side
        beyond = (line < 0) | (line >= blocks)
        widths = [1] * len(lattice)
        widths[axis] = n
        out = out * np.int32(blocks) + np.clip(line, 0, blocks - 1).astype(np.int32).reshape(widths)
        outside |= beyond.reshape(widths)
    out[outside] = -1
    return out


@dataclass(frozen=True)
class Scan:
    """One fine scan and the map over it, measured alike.

    Parameters
    ----------
    fine, enhanced : measurements with labels, on one grid.
    number : block of the map's lattice of every pixel, see :func:`block_numbers`.
    used : pixels that count.
    """

    fine: Measurements
    enhanced: Measurements
    number: NDArray[np.int32]
    used: NDArray[np.bool_]


def ground_of(scans: Sequence[Scan], lattice: Sequence[int], side: int) -> Ground:
    """The blocks at least half of whose pixels count, each from the first scan that shows it so."""
    taken: set[int] = set()
    parts: list[tuple[Tally, Tally, NDArray[np.intp]]] = []
    for scan in scans:
        kept = _kept(scan, side, taken)
        if not kept.size:
            continue
        taken.update(kept.tolist())
        order = np.full(int(np.prod(lattice)) + 1, -1, np.int32)
        order[kept] = np.arange(kept.size)
        block = np.where(scan.used, order[scan.number], -1)
        place = np.stack(np.unravel_index(kept, tuple(lattice)), axis=-1)
        parts.append(
            (tally(scan.fine, block, kept.size), tally(scan.enhanced, block, kept.size), np.asarray(place, np.intp))
        )
    if not parts:
        return Ground(joined([]), joined([]), np.zeros((0, len(lattice)), np.intp))
    return Ground(joined([p[0] for p in parts]), joined([p[1] for p in parts]), np.concatenate([p[2] for p in parts]))


def _kept(scan: Scan, side: int, taken: set[int]) -> NDArray[np.intp]:
    """Numbers of blocks that a scan shows at least half of, and no scan before it."""
    counts = np.bincount(scan.number[scan.used & (scan.number >= 0)])
    known = np.flatnonzero(counts >= VALID_SHARE * side**scan.number.ndim)
    return np.array([k for k in known.tolist() if k not in taken], np.intp)
