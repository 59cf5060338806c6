"""TilePlan: which box of the coarse map to read, keep and paste for every tile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finescan.errors import InputError


@dataclass(frozen=True)
class Tile:
    """One tile; boxes are (start, stop) per axis.

    Parameters
    ----------
    index : position of the tile in the plan's raster order.
    keep : pixels of the LR map this tile is responsible for.
    read : ``keep`` grown by the halo; may reach outside the map, where the map is mirrored.
    paste : the pixels of the output that ``keep`` becomes.
    """

    index: int
    keep: tuple[tuple[int, int], ...]
    read: tuple[tuple[int, int], ...]
    paste: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TilePlan:
    """Tiles whose kept boxes cover an LR map exactly once.

    Parameters
    ----------
    shape : LR pixels per axis.
    core : kept LR pixels per tile and axis (the last tile of an axis may be smaller).
    halo : LR pixels read and thrown away on each side.
    factor : whole output pixels per LR pixel.

    Examples
    --------
    >>> plan = TilePlan((10, 7), (4, 4), 2, 3)
    >>> len(plan), list(plan)[0].read, list(plan)[-1].paste
    (6, ((-2, 6), (-2, 6)), ((24, 30), (12, 21)))
    """

    shape: tuple[int, ...]
    core: tuple[int, ...]
    halo: int
    factor: int

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.core) or min(self.core) < 1 or self.halo < 0 or self.factor < 1:
            raise InputError(
                "A tile plan needs a core of at least 1 px per axis, a halo of at least 0 and a factor of at least 1, "
                f"but core {self.core}, halo {self.halo}, factor {self.factor} came for shape {self.shape}."
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles per axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.core, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def tile(self, index: int) -> Tile:
        """The tile of a raster-order index."""
        where, rest = [], index
        for n in reversed(self.counts):
            where.append(rest % n)
            rest //= n
        keep = tuple(
            (k * c, min((k + 1) * c, n)) for k, c, n in zip(reversed(where), self.core, self.shape, strict=True)
        )
        read = tuple((a - self.halo, b + self.halo) for a, b in keep)
        paste = tuple((a * self.factor, b * self.factor) for a, b in keep)
        return Tile(index, keep, read, paste)

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(i) for i in range(len(self)))


def halved(core: Sequence[int], multiple: int = 1) -> tuple[int, ...]:
    """The next smaller core after running out of memory: half of each axis, kept a multiple of ``multiple``."""
    return tuple(max(multiple, (c // 2) // multiple * multiple) for c in core)
