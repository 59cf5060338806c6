"""Walking over volumes larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.io.ome_zarr import boxes
from finescan.io.volumes.stack import Slices

#: Bytes of a volume held at once while copying.
PIECE_BYTES = 1 << 27


def pieces(data: Any, unit: Sequence[int]) -> Iterator[tuple[Slices, NDArray[Any]]]:
    """Boxes that are multiples of ``unit`` and cover the volume, with their voxels; about 128 MB, at least one unit.

    They are as wide as possible, because slices are stored row by row.
    """
    shape = tuple(int(n) for n in data.shape)
    size = [min(u, n) for u, n in zip(unit, shape, strict=True)]
    item = np.dtype(data.dtype).itemsize
    for axis in (2, 1, 0):
        fits = PIECE_BYTES // (math.prod(size) * item)
        size[axis] = min(shape[axis], size[axis] * max(1, fits))
    for start, stop in boxes(shape, size):
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        yield box, np.asarray(data[box])


def slabs(data: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    """Number of the first slice, and whole slices: as many as 128 MB hold, in multiples of the stored chunks."""
    plane = math.prod(data.shape[1:]) * np.dtype(data.dtype).itemsize
    step = max(1, PIECE_BYTES // max(plane, 1))
    chunk = (getattr(data, "chunks", None) or (1,))[0]
    step = max(step // chunk, 1) * chunk  # decode every stored chunk once only
    for first in range(0, data.shape[0], step):
        yield first, np.asarray(data[first : first + step])


def some_slices(count: int, most: int) -> list[int]:
    """Numbers of up to ``most`` (odd) slices spread over a volume, the middle one first, its ends last.

    >>> some_slices(100, 3)
    [50, 83, 16]
    """
    spread = sorted({min(count - 1, int((k + 0.5) * count / most)) for k in range(most)})
    return sorted(spread, key=lambda z: (abs(z - count // 2), z))
