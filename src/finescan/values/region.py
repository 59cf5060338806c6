"""Region: a box on a Grid, in pixels and in nm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finescan.errors import InputError
from finescan.values.grid import Grid


@dataclass(frozen=True)
class Region:
    """The box ``start <= index < stop`` (pixels per axis) on ``grid``.

    Examples
    --------
    >>> Region(Grid.of((10, 20), 2.0), (0, 5), (4, 9)).slices
    (slice(0, 4, None), slice(5, 9, None))
    """

    grid: Grid
    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.start) == len(self.stop) == self.grid.ndim:
            raise InputError(f"A region on a {self.grid.axes} grid needs {self.grid.ndim} starts and stops.")
        for a, b, n in zip(self.start, self.stop, self.grid.shape, strict=True):
            if not 0 <= a < b <= n:
                raise InputError(
                    f"A region must lie inside the grid of {self.grid.shape} px and hold a pixel, "
                    f"but {self.start} to {self.stop} came."
                )

    @classmethod
    def clipped(cls, grid: Grid, start: Sequence[float], stop: Sequence[float]) -> Region:
        """Nearest region inside the grid; an error if nothing is left."""
        a = tuple(max(0, round(v)) for v in start)
        b = tuple(min(n, round(v)) for n, v in zip(grid.shape, stop, strict=True))
        return cls(grid, a, b)

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels per axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        """For indexing an array on the grid."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def own_grid(self) -> Grid:
        """The grid of the box alone, in the same frame."""
        return self.grid.crop(self.start, self.stop)

    @property
    def edges_nm(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Outer edges of the box, nm: lower corner, upper corner."""
        own = self.own_grid
        return own.edge_nm, tuple(e + x for e, x in zip(own.edge_nm, own.extent_nm, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {"grid": self.grid.to_dict(), "start": list(self.start), "stop": list(self.stop)}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Region:
        """Inverse of :meth:`to_dict`."""
        return cls(Grid.from_dict(d["grid"]), tuple(d["start"]), tuple(d["stop"]))

    def __str__(self) -> str:
        return " x ".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))
