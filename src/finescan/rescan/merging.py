"""Neighbouring fields as one larger acquisition, where the instrument can scan it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finescan.rescan.board import Spot
from finescan.rescan.times import Frame


@dataclass(frozen=True)
class Block:
    """Fields side by side that are one acquisition.

    Parameters
    ----------
    y, x : first pixel on the map.
    rows, columns : numbers of fields.
    gain : error that its fields hold.
    """

    y: int
    x: int
    rows: int
    columns: int
    gain: float

    def size_px(self, outer: tuple[int, int], single: tuple[float, float]) -> tuple[float, float]:
        """Height and width in map pixels: from the first corner of its first field to the last one of its last."""
        return (self.rows - 1) * outer[0] + single[0], (self.columns - 1) * outer[1] + single[1]


def frame_of(size_px: tuple[float, float], map_pixel_nm: Sequence[float], frame: Frame) -> tuple[int, int]:
    """Rows and columns of fine pixels that cover a size in map pixels."""
    rows, columns = (
        math.ceil(s * m / p - 1e-6) for s, m, p in zip(size_px, map_pixel_nm, frame.pixel_size_nm, strict=True)
    )
    return rows, columns


def merged(
    spots: Sequence[Spot],
    *,
    outer: tuple[int, int],
    single: tuple[float, float],
    map_pixel_nm: Sequence[float],
    frame: Frame,
) -> list[Block]:
    """Join fields that lie exactly side by side, as far as the largest frame goes; the same every time.

    Parameters
    ----------
    spots : fields of one size.
    outer : pixels (y, x) that a field touches: the step between neighbours.
    single : exact size (y, x) of a field in map pixels.
    map_pixel_nm : y, x.
    frame : with ``largest_px`` None nothing is joined.
    """
    blocks = {(s.y, s.x): Block(s.y, s.x, 1, 1, s.gain) for s in spots}
    if frame.largest_px is None:
        return list(blocks.values())

    def fits(block: Block) -> bool:
        size = frame_of(block.size_px(outer, single), map_pixel_nm, frame)
        return all(a <= b for a, b in zip(size, frame.largest_px or (), strict=True))

    changed = True
    while changed:
        changed = False
        for place in sorted(blocks):
            first = blocks.get(place)
            for larger, gone in _joins(first, blocks, outer) if first else ():
                if fits(larger):
                    blocks[place] = larger
                    del blocks[gone]
                    changed = True
                    break
    return list(blocks.values())


def _joins(
    a: Block, blocks: dict[tuple[int, int], Block], outer: tuple[int, int]
) -> list[tuple[Block, tuple[int, int]]]:
    """What ``a`` and its right or lower neighbour make, and which block is gone then."""
    out = []
    right, below = (a.y, a.x + a.columns * outer[1]), (a.y + a.rows * outer[0], a.x)
    if (b := blocks.get(right)) and b.rows == a.rows:
        out.append((Block(a.y, a.x, a.rows, a.columns + b.columns, a.gain + b.gain), right))
    if (b := blocks.get(below)) and b.columns == a.columns:
        out.append((Block(a.y, a.x, a.rows + b.rows, a.columns, a.gain + b.gain), below))
    return out
