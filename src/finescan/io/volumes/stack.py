"""What volume readers hand over: an array that may stay on disk, and what the file says about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.io.facts import Facts
from finescan.io.selection import chosen_index
from finescan.values import Acquisition, Grid

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class VolumeFacts:
    """What a file says about a volume; the 3D sister of :class:`finescan.io.facts.Facts`.

    Parameters
    ----------
    acquisition : instrument facts.
    voxel_size_nm : z, y, x in nm as the file states them (not yet checked), or None.
    origin_nm : centre of the first voxel, nm, or None.
    doubt : why there is no voxel size, one sentence, or "".
    """

    acquisition: Acquisition = field(default_factory=Acquisition)
    voxel_size_nm: tuple[float, float, float] | None = None
    origin_nm: tuple[float, float, float] | None = None
    doubt: str = ""


@dataclass(frozen=True)
class Stack:
    """A volume: ``data`` is (z, y, x), numpy, a memory map or :class:`Lazy`."""

    data: Any
    facts: VolumeFacts = field(default_factory=VolumeFacts)


@dataclass(frozen=True)
class Asked:
    """The arguments of ``read_volume`` that some kinds of file need."""

    layout: Any = None
    dataset: str | None = None
    channel: int | str | None = None


class Lazy:
    """An array on disk that reads what is indexed: ``shape``, ``dtype``, ``chunks`` and ``[...]`` with basic indices.

    Parameters
    ----------
    shape, dtype : of the array; what comes out is always in the machine's byte order.
    fetch : gives the array of one slice (positive step) per axis.
    chunks : what is decoded in one go, or None when any part can be read alone.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: Any,
        fetch: Callable[[Slices], NDArray[Any]],
        chunks: tuple[int, ...] | None = None,
    ) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.chunks = chunks
        self._fetch = fetch

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        where, singles = _slices(key, self.shape)
        shape = [len(range(*s.indices(n))) for s, n in zip(where, self.shape, strict=True)]
        data = (
            np.empty(shape, self.dtype) if 0 in shape else np.asarray(self._fetch(where)).astype(self.dtype, copy=False)
        )
        return data[tuple(0 if one else slice(None) for one in singles)] if any(singles) else data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        data = self[...]
        return data if dtype is None else data.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<on disk: {' x '.join(str(n) for n in self.shape)} {self.dtype}>"


def _slices(key: Any, shape: tuple[int, ...]) -> tuple[Slices, list[bool]]:
    """A basic index as one slice per axis (inside the array), and which axes were indexed by a single number."""
    given = list(key) if isinstance(key, tuple) else [key]
    if any(k is Ellipsis for k in given):
        at = next(i for i, k in enumerate(given) if k is Ellipsis)
        given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    if len(given) > len(shape):
        raise IndexError(f"{len(given)} indices came for an array of {len(shape)} axes.")
    given += [slice(None)] * (len(shape) - len(given))
    where, singles = [], []
    for k, n in zip(given, shape, strict=True):
        if isinstance(k, slice):
            start, stop, step = k.indices(n)
            if step < 1:
                raise IndexError("Arrays on disk are read with positive steps; turn the result around afterwards.")
            where.append(slice(start, max(start, stop), step))
            singles.append(False)
        elif isinstance(k, (int, np.integer)):
            i = int(k) + n if k < 0 else int(k)
            if not 0 <= i < n:
                raise IndexError(f"Index {k} is outside an axis of {n}.")
            where.append(slice(i, i + 1, 1))
            singles.append(True)
        else:
            raise IndexError(f"Arrays on disk are indexed with numbers and slices, but {type(k).__name__} came.")
    return tuple(where), singles


def by_slice(
    shape: Sequence[int], dtype: Any, read: Callable[[int, slice, slice], NDArray[Any]], chunks: tuple[int, ...]
) -> Lazy:
    """A volume whose slices are read one by one: ``read(z, rows, columns)`` gives part of slice ``z``."""

    def fetch(where: Slices) -> NDArray[Any]:
        zs = range(where[0].start, where[0].stop, where[0].step)
        plane = [len(range(s.start, s.stop, s.step)) for s in where[1:]]
        out = np.empty((len(zs), *plane), np.dtype(dtype).newbyteorder("="))
        for k, z in enumerate(zs):
            out[k] = read(z, where[1], where[2])
        return out

    return Lazy(shape, dtype, fetch, chunks)


# ---------------------------------------------------------------------------------------------- choosing
def as_zyx(data: Any, axes: str, name: str, channel: int | str | None, channels: tuple[str, ...] = ()) -> Any:
    """The ZYX volume of an array with more axes, without reading it.

    Axes of length one go; of several channels one must be chosen; a series of volumes is refused. Slices stored as
    frames or without a name count as z.
    """
    shape = tuple(int(n) for n in data.shape)
    if "Z" not in axes and axes.count("T") >= 1:  # the only long unnamed or time axis holds the slices
        long = [i for i, a in enumerate(axes) if a == "T" and shape[i] > 1]
        if len(long) == 1:
            axes = axes[: long[0]] + "Z" + axes[long[0] + 1 :]
    index: list[int | None] = []
    for axis, n in zip(axes, shape, strict=True):
        if axis in "ZYX":
            index.append(None)
        elif axis in "CS" and (n > 1 or channel is not None):
            labels = list(channels) if len(channels) == n else ["channel"] * n
            index.append(chosen_index(channel, labels, "channel", name))
            channel = None
        elif n == 1:
            index.append(0)
        else:
            raise InputError(
                f"{name} holds {n} volumes (axes {axes}, shape {shape}). Export the one you want as a file of its own."
            )
    kept = "".join(a for a, i in zip(axes, index, strict=True) if i is None)
    if channel is not None and channel != 0:
        raise InputError(f"{name} has a single channel, so channel={channel!r} cannot be taken from it.")
    if kept != "ZYX":
        raise InputError(
            f"{name} holds an array with axes {axes or '(none)'} and shape {shape}, but a volume with axes Z, Y, X (in "
            "this order, slices first) is needed. A single picture is read with read()."
        )
    return picked(data, index)


def picked(data: Any, index: Sequence[int | None]) -> Any:
    """``data`` with fixed indices on some axes (None keeps an axis), not read; native numpy arrays as they are."""
    fixed = tuple(slice(None) if i is None else i for i in index)
    dtype = np.dtype(data.dtype)
    if isinstance(data, np.ndarray) and (dtype.isnative or not isinstance(data, np.memmap)):
        return data[fixed] if dtype.isnative else data[fixed].astype(dtype.newbyteorder("="))
    shape = [n for n, i in zip(data.shape, index, strict=True) if i is None]
    chunks = getattr(data, "chunks", None)
    kept = tuple(int(c) for c, i in zip(chunks, index, strict=True) if i is None) if chunks else None

    def fetch(where: Slices) -> NDArray[Any]:
        at = iter(where)
        return np.asarray(data[tuple(next(at) if i is None else i for i in index)])

    return Lazy(shape, dtype, fetch, kept)


# ---------------------------------------------------------------------------------------------- facts
def triple(value: Any) -> tuple[float, float, float] | None:
    """One number (cubic voxels) or three as z, y, x; None for anything else."""
    if isinstance(value, (int, float)):
        return (float(value),) * 3
    try:
        z, y, x = (float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return z, y, x


def own_facts(d: Mapping[str, Any], header: str, shape: Sequence[int]) -> VolumeFacts:
    """Facts from a sidecar: everything finescan wrote, or just ``voxel_size_nm`` (or ``pixel_size_nm``)."""
    if "grid" not in d:
        size = d.get("voxel_size_nm", d.get("pixel_size_nm"))
        return VolumeFacts(Acquisition(header=header), triple(size))
    grid = Grid.from_dict(d["grid"])
    acquisition = Acquisition.from_dict({**d["acquisition"], "header": header})
    if grid.shape != tuple(shape):
        doubt = f"finescan wrote it with {grid.shape} voxels, but it has {tuple(shape)} now: it was resized or cropped."
        return VolumeFacts(acquisition, doubt=doubt)
    return VolumeFacts(acquisition, triple(grid.pixel_size_nm), triple(grid.origin_nm))


def without_z(facts: Facts, why: str) -> VolumeFacts:
    """Facts of one slice, where nothing tells the distance between slices."""
    doubt = facts.doubt
    if facts.pixel_size_nm is not None:
        y, x = facts.pixel_size_nm
        doubt = f"Its pixels are {y:.6g} x {x:.6g} nm (y, x), but {why}."
    return VolumeFacts(facts.acquisition, doubt=doubt)
