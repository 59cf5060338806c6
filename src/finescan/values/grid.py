"""Grid: where the pixels of an image lie, without the pixels.

Positions are in nm in the frame of the image the grid belongs to; ``origin_nm`` is the *centre* of the first
pixel. Every half-pixel shift of the program is computed in this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError, MissingPixelSize

ABSURD_BELOW_NM = 1e-4  # 0.1 pm: far below any instrument's pixel
ABSURD_ABOVE_NM = 1e8  # 10 cm


@dataclass(frozen=True)
class Grid:
    """A regular grid of pixels.

    Parameters
    ----------
    axes : ``"YX"`` or ``"ZYX"``; the order of every tuple below.
    shape : number of pixels per axis, each at least 1.
    pixel_size_nm : step between pixel centres per axis, nm, positive.
    origin_nm : position of the centre of the first pixel per axis, nm.

    Examples
    --------
    >>> g = Grid.of((100, 200), 50.0)
    >>> g.refine(5).shape, g.refine(5).pixel_size_nm, g.refine(5).origin_nm
    ((500, 1000), (10.0, 10.0), (-20.0, -20.0))
    """

    axes: str
    shape: tuple[int, ...]
    pixel_size_nm: tuple[float, ...]
    origin_nm: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.axes not in ("YX", "ZYX"):
            raise InputError(f"A grid has axes 'YX' or 'ZYX', but {self.axes!r} came.")
        n = len(self.axes)
        if not (len(self.shape) == len(self.pixel_size_nm) == len(self.origin_nm) == n):
            raise InputError(
                f"A {self.axes} grid needs {n} numbers each for shape, pixel size and origin, but "
                f"{self.shape}, {self.pixel_size_nm}, {self.origin_nm} came."
            )
        if any(s < 1 for s in self.shape):
            raise InputError(f"A grid needs at least one pixel per axis, but the shape is {self.shape}.")
        for p in self.pixel_size_nm:
            if not (math.isfinite(p) and ABSURD_BELOW_NM <= p <= ABSURD_ABOVE_NM):
                raise MissingPixelSize(
                    f"A pixel size between {ABSURD_BELOW_NM:g} and {ABSURD_ABOVE_NM:g} nm is needed, but "
                    f"{p:g} nm came. Pass pixel_size_nm=(…), or --pixel-size on the command line."
                )

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        pixel_size_nm: float | Sequence[float],
        origin_nm: float | Sequence[float] = 0.0,
    ) -> Grid:
        """Grid from a shape and one or one-per-axis pixel sizes; axes follow from the number of dimensions."""
        n = len(shape)
        axes = {2: "YX", 3: "ZYX"}.get(n, "?" * n)
        return cls(axes, tuple(int(s) for s in shape), _per_axis(pixel_size_nm, n), _per_axis(origin_nm, n))

    # ------------------------------------------------------------------ facts
    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def extent_nm(self) -> tuple[float, ...]:
        """Length of the field of view per axis, pixel edges included, nm."""
        return tuple(s * p for s, p in zip(self.shape, self.pixel_size_nm, strict=True))

    @property
    def edge_nm(self) -> tuple[float, ...]:
        """Position of the outer edge (not the centre) of the first pixel, nm."""
        return tuple(o - p / 2 for o, p in zip(self.origin_nm, self.pixel_size_nm, strict=True))

    def sr_factor(self, finer: Grid) -> tuple[float, ...]:
        """Pixel size of this grid over that of ``finer``, per axis (dimensionless)."""
        return tuple(a / b for a, b in zip(self.pixel_size_nm, finer.pixel_size_nm, strict=True))

    # ------------------------------------------------------------------ other grids
    def refine(self, factor: float | Sequence[float]) -> Grid:
        """The same field of view with ``factor`` times as many pixels per axis (any positive real number).

        The first pixel's outer edge stays where it is, the shape is ``round(shape * factor)``.
        """
        f = _per_axis(factor, self.ndim)
        if any(not (math.isfinite(v) and v > 0) for v in f):
            raise InputError(f"A factor must be a positive number, but {factor} came.")
        size = tuple(p / v for p, v in zip(self.pixel_size_nm, f, strict=True))
        shape = tuple(max(1, math.floor(s * v + 0.5)) for s, v in zip(self.shape, f, strict=True))
        origin = tuple(e + p / 2 for e, p in zip(self.edge_nm, size, strict=True))
        return Grid(self.axes, shape, size, origin)

    def coarsen(self, factor: int | Sequence[int]) -> Grid:
        """Whole blocks of ``factor`` pixels become one; blocks at the far end are completed, so nothing is lost."""
        f = tuple(int(v) for v in _per_axis(factor, self.ndim))
        if any(v < 1 for v in f):
            raise InputError(f"A coarsening factor must be a whole number of at least 1, but {factor} came.")
        size = tuple(p * v for p, v in zip(self.pixel_size_nm, f, strict=True))
        shape = tuple(-(-s // v) for s, v in zip(self.shape, f, strict=True))
        origin = tuple(e + p / 2 for e, p in zip(self.edge_nm, size, strict=True))
        return Grid(self.axes, shape, size, origin)

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """The grid of the box from ``start`` (included) to ``stop`` (excluded), in pixels; may reach outside."""
        shape = tuple(int(b) - int(a) for a, b in zip(start, stop, strict=True))
        return replace(self, shape=shape, origin_nm=tuple(self.to_nm(np.asarray(start, float)).tolist()))

    # ------------------------------------------------------------------ coordinates
    def to_nm(self, index: ArrayLike) -> NDArray[np.float64]:
        """Pixel coordinates (axis last, 0 = centre of first pixel) to nm."""
        return np.asarray(index, np.float64) * np.asarray(self.pixel_size_nm) + np.asarray(self.origin_nm)

    def to_index(self, nm: ArrayLike) -> NDArray[np.float64]:
        """Positions in nm (axis last) to fractional pixel coordinates."""
        return (np.asarray(nm, np.float64) - np.asarray(self.origin_nm)) / np.asarray(self.pixel_size_nm)

    def step_to(self, other: Grid) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """``(scale, offset)`` per axis with ``index_other = scale * index_self + offset`` in one frame."""
        scale = tuple(a / b for a, b in zip(self.pixel_size_nm, other.pixel_size_nm, strict=True))
        offset = tuple(other.to_index(self.origin_nm).tolist())
        return scale, offset

    def pixels_under(self, other: Grid, axis: int) -> NDArray[np.intp]:
        """Per pixel along an axis, the index of the pixel of ``other`` that holds its centre; outside, the outermost.

        >>> Grid.of((1, 6), 10.0).pixels_under(Grid.of((1, 2), 30.0, 10.0), 1).tolist()
        [0, 0, 0, 1, 1, 1]
        """
        scale, offset = self.step_to(other)
        at = np.floor(np.arange(self.shape[axis]) * scale[axis] + offset[axis] + 0.5 + 1e-9).astype(np.intp)
        return np.clip(at, 0, other.shape[axis] - 1)

    def same_as(self, other: Grid, tolerance: float = 1e-6) -> bool:
        """Same axes and shape, and pixels in the same places to ``tolerance`` of a pixel over the whole field."""
        if self.axes != other.axes or self.shape != other.shape:
            return False
        scale, offset = self.step_to(other)
        far = [abs(s * (n - 1) + o - (n - 1)) for s, o, n in zip(scale, offset, self.shape, strict=True)]
        return max(*far, *(abs(o) for o in offset)) <= tolerance

    # ------------------------------------------------------------------ written form
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return {
            "axes": self.axes,
            "shape": list(self.shape),
            "pixel_size_nm": list(self.pixel_size_nm),
            "origin_nm": list(self.origin_nm),
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Grid:
        """Inverse of :meth:`to_dict`."""
        return cls(d["axes"], tuple(d["shape"]), tuple(d["pixel_size_nm"]), tuple(d["origin_nm"]))

    def __str__(self) -> str:
        shape = " x ".join(str(s) for s in self.shape)
        size = " x ".join(f"{p:.6g}" for p in self.pixel_size_nm)
        return f"{self.axes} {shape} px of {size} nm"


def _per_axis(value: float | Iterable[float], n: int) -> tuple[float, ...]:
    if isinstance(value, (int, float, np.integer, np.floating)):
        return (float(value),) * n
    return tuple(float(v) for v in value)
