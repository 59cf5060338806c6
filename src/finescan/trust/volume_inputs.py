"""What the measures of volumes are given: two volumes, possibly lazy, and the voxels of them that count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values import Circle, Grid, Image, Region

_SAME_PX = 0.01  # voxels that two grids may be apart
SLAB = 64  # slices read at a time; the chunk depth of the volumes we write
_SLAB_VOXELS, _THINNEST = 1 << 25, 16  # but fewer slices where they are large

Volume = Any  # (z, y, x) array, memory map, zarr array or Image
MaskLike = Circle | NDArray[np.bool_] | None


@dataclass(frozen=True)
class Part:
    """A box of a volume, of which only what is looked at is read.

    Parameters
    ----------
    data : (z, y, x), sliceable.
    start, shape : of the box, which lies inside.

    Examples
    --------
    >>> part = Part(np.arange(64).reshape(4, 4, 4), (1, 2, 0), (3, 2, 4))
    >>> part[0, 1, :2].tolist(), part[1:, ..., 3].shape
    ([28, 29], (2, 2))
    """

    data: Any
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, data: Any, region: Region) -> Part:
        """The box of a region on the grid of a volume."""
        return cls(data, region.start, region.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored grey levels."""
        return np.dtype(self.data.dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """What a whole array would give, for indices and slices without steps."""
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            k = index.index(Ellipsis)
            index = (*index[:k], *(slice(None),) * (len(self.shape) + 1 - len(index)), *index[k + 1 :])
        index = (*index, *(slice(None),) * (len(self.shape) - len(index)))
        moved = [_moved(i, a, n) for i, a, n in zip(index, self.start, self.shape, strict=True)]
        return np.asarray(self.data[tuple(moved)])


def _moved(index: Any, start: int, length: int) -> Any:
    if isinstance(index, slice):
        first, last, step = index.indices(length)
        return slice(start + first, start + max(first, last), step)
    return start + range(length)[index]


@dataclass(frozen=True)
class Both:
    """Two volumes of one shape, read slab by slab.

    Parameters
    ----------
    result, reference : (z, y, x), sliceable; NaN or infinite = unknown.
    mask : voxels that count, (y, x) or (z, y, x) bool and sliceable; None = all.
    slab : slices read at a time. No number depends on it.
    """

    result: Any
    reference: Any
    mask: Any
    slab: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        depth, rows, columns = self.result.shape
        return int(depth), int(rows), int(columns)

    def slices(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        """Result, reference and weight (1 or 0) of slice after slice; 0 where they do not count, all float32."""
        depth, slab = self.shape[0], self.slab
        for first in range(0, depth, slab):
            last = min(first + slab, depth)
            one, other = np.asarray(self.result[first:last]), np.asarray(self.reference[first:last])
            inside = mask_slices(self.mask, first, last)
            for k in range(last - first):
                yield _counting(one[k], other[k], inside[k % len(inside)])
            del one, other  # before the next slab comes

    def masked_voxels(self) -> int:
        """Voxels inside the mask, known or not."""
        depth, rows, columns = self.shape
        if self.mask is None:
            return depth * rows * columns
        if len(self.mask.shape) == 2:
            return depth * int(np.count_nonzero(np.asarray(self.mask)))
        return sum(int(np.count_nonzero(mask_slices(self.mask, a, a + self.slab))) for a in range(0, depth, self.slab))


def _counting(
    one: NDArray[Any], other: NDArray[Any], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    x, y = one.astype(np.float32), other.astype(np.float32)
    counts = np.isfinite(x) & np.isfinite(y) & inside
    x[~counts], y[~counts] = 0, 0
    return x, y, counts.astype(np.float32)


def mask_slices(mask: Any, first: int, last: int) -> NDArray[np.bool_]:
    """Slices of a (y, x), (z, y, x) or absent mask, broadcastable to (slices, y, x)."""
    if mask is None:
        return np.ones((1, 1, 1), bool)
    if len(mask.shape) == 2:
        return np.asarray(mask, bool)[None]
    return np.asarray(mask[first:last], bool)


def paired(result: Volume, reference: Volume, mask: MaskLike, slab: int | None = None) -> Both:
    """Both volumes, checked: three axes, one shape, a mask that fits.

    Raises
    ------
    InputError : other shapes or grids, or a circle where neither volume says where its voxels lie.
    """
    one, grid = _opened(result)
    other, second = _opened(reference)
    shapes = tuple(int(n) for n in one.shape), tuple(int(n) for n in other.shape)
    if shapes[0] != shapes[1] or len(shapes[0]) != 3:
        raise InputError(
            f"Two volumes (z, y, x) of one shape are compared, but {shapes[0]} and {shapes[1]} came. "
            "Bring both onto one grid."
        )
    if grid is not None and second is not None and not grid.same_as(second, _SAME_PX):
        raise InputError(
            f"Two volumes on one grid are compared, but {grid} and {second} came. Resample one of them first."
        )
    slab = slab_of(shapes[0]) if slab is None else slab
    if slab < 1:
        raise InputError(f"A slab needs at least one slice, but slab={slab} came.")
    return Both(one, other, _opened_mask(mask, grid or second, shapes[0]), slab)


def slab_of(shape: tuple[int, ...]) -> int:
    """Slices to read at a time: 64, or as many as hold 32 million voxels, at least 16."""
    return min(SLAB, max(_THINNEST, _SLAB_VOXELS // (shape[1] * shape[2])))


def single(volume: Volume, mask: MaskLike) -> tuple[Any, Any]:
    """One volume and its mask, checked as by :func:`paired`."""
    data, grid = _opened(volume)
    shape = tuple(int(n) for n in data.shape)
    if len(shape) != 3:
        raise InputError(f"A volume (z, y, x) is needed, but an array of shape {shape} came.")
    return data, _opened_mask(mask, grid, shape)


def checked_range(data_range: float) -> float:
    """``data_range``, refused unless it is a positive number."""
    if not (np.isfinite(data_range) and data_range > 0):
        raise InputError(
            f"data_range must be a positive number of grey levels, but {data_range} came. "
            "Pass the range of the reference, e.g. 1 for attenuation scaled to 0 … 1."
        )
    return float(data_range)


def _opened(volume: Volume) -> tuple[Any, Grid | None]:
    return (volume.data, volume.grid) if isinstance(volume, Image) else (volume, None)


def _opened_mask(mask: Any, grid: Grid | None, shape: tuple[int, ...]) -> Any:
    if isinstance(mask, Circle):
        if grid is None:
            raise InputError(
                "A circular mask needs to know where the voxels lie. "
                "Pass the volumes as Image, or mask=circle.mask(grid)."
            )
        mask = mask.mask(grid)
    if mask is None:
        return None
    found = tuple(int(n) for n in mask.shape)
    if found not in (shape, shape[1:]):
        raise InputError(f"A mask of shape {shape[1:]} or {shape} is needed, but {found} came.")
    return mask
