"""OME-Zarr: reading 0.4 and 0.5, writing 0.5 (zarr v3) block by block with bounded memory.

A store being written carries ``finescan: {"finished": false}`` and no OME metadata; those come last, so an
interrupted store is never mistaken for a picture. Volumes are stored in cubes of 64³ voxels (one chunk: what a
viewer fetches), 256³ of which share a file (one shard: what is written in one go).
Specification: https://ngff.openmicroscopy.org/0.5
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import OutputError, UnreadableFile
from finescan.io.facts import Contents, Facts, Picture, unit_nm
from finescan.io.vendor_general import own_dict
from finescan.values import Acquisition, Grid

CHUNK = 512
SHARD = 4096
VOLUME_CHUNK = 64
VOLUME_SHARD = 256
_SMALLEST_VOLUME = 128
_KEY = "finescan"


# ---------------------------------------------------------------------------------------------- reading
@dataclass(frozen=True)
class Scaled:
    """Level 0 of a store and what its metadata say.

    Parameters
    ----------
    array : zarr array (lazy).
    letters : one of TCZYX per axis.
    scale, shift : step and position of the first pixel per axis, in the unit of the axis.
    units : unit per axis as written, "" where there is none.
    channels : names along C.
    own : what finescan wrote.
    """

    array: Any
    letters: str
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    units: tuple[str, ...]
    channels: tuple[str, ...]
    own: Mapping[str, Any]

    def unit_nm(self, axis: str) -> float | None:
        """Length of the unit of an axis."""
        return unit_nm(self.units[self.letters.index(axis)])

    @property
    def acquisition(self) -> Acquisition:
        """What finescan wrote about the instrument."""
        return Acquisition.from_dict(self.own["acquisition"]) if "acquisition" in self.own else Acquisition()


def read_ome_zarr(path: Path) -> Contents:
    """Level 0 of the first multiscale image, as a zarr array (lazy)."""
    found = read_scaled(path)
    picture = Picture(
        lambda: found.array, found.array.shape, found.letters, path.name, _facts(found), channels=found.channels
    )
    return Contents((picture,))


def read_scaled(path: Path) -> Scaled:
    """Level 0 of the first multiscale image with its scales; an error when the store is unfinished."""
    import zarr

    group: Any = zarr.open(str(path), mode="r")
    attributes = dict(group.attrs)
    own = attributes.get(_KEY, {})
    if own.get("finished") is False:
        raise UnreadableFile(
            f"{path.name} is not finished: the run that writes it was interrupted. Run the same command again to "
            "finish it."
        )
    described = attributes.get("ome", attributes).get("multiscales")
    if not described:
        raise UnreadableFile(f"{path.name} has no OME-Zarr multiscales metadata. Export it as OME-Zarr 0.4 or 0.5.")
    scales = described[0]
    array = group[scales["datasets"][0]["path"]]
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales["axes"]]
    letters = "".join(str(a["name"]).upper() for a in axes)
    letters = "".join(a if a in "TCZYX" else "T" for a in letters)
    scale, shift = _transform(scales, len(axes))
    names = tuple(str(c.get("label", "")) for c in attributes.get("omero", {}).get("channels", []))
    return Scaled(array, letters, scale, shift, tuple(str(a.get("unit") or "") for a in axes), names, own)


def _transform(scales: Mapping[str, Any], count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale, shift = np.ones(count), np.zeros(count)
    for step in [*scales["datasets"][0].get("coordinateTransformations", []), *scales.get(_GLOBAL, [])]:
        if step["type"] == "scale":
            factor = np.asarray(step["scale"], float)
            scale, shift = scale * factor, shift * factor
        elif step["type"] == "translation":
            shift = shift + np.asarray(step["translation"], float)
    return tuple(scale.tolist()), tuple(shift.tolist())


def _facts(found: Scaled) -> Facts:
    nm_y, nm_x = found.unit_nm("Y"), found.unit_nm("X")
    if nm_y is None or nm_x is None:
        return Facts(found.acquisition, doubt="Its axes have no unit of length.")
    y, x = found.letters.index("Y"), found.letters.index("X")
    size = (found.scale[y] * nm_y, found.scale[x] * nm_x)
    return Facts(found.acquisition, size, (found.shift[y] * nm_y, found.shift[x] * nm_x))


_GLOBAL = "coordinateTransformations"


# ---------------------------------------------------------------------------------------------- writing
def create_ome_zarr(
    path: str | Path,
    grid: Grid,
    dtype: Any,
    *,
    chunk: int | Sequence[int] | None = None,
    shard: int | Sequence[int] | None = None,
) -> Any:
    """A new, unfinished OME-Zarr store; returns its empty level 0 (a zarr array) for writing block by block.

    What can be written in one go, without reading and without disturbing a block beside it, is ``level.shards`` (or
    ``level.chunks`` where that is None): blocks must start at multiples of it.

    Parameters
    ----------
    path : folder to make, ending in ``.ome.zarr``; must not exist.
    grid : of level 0.
    chunk : pixels per chunk, one number or one per axis; None = 512 for pictures, 64 for volumes.
    shard : pixels per shard, multiples of ``chunk``; 0 = no shards; None = none for pictures, 256 for volumes. No shard
        is larger than the picture, rounded up to whole chunks.

    Raises
    ------
    OutputError : the folder exists.
    """
    import zarr

    path = Path(path)
    if path.exists():
        raise OutputError(f"{path} exists already. Choose another name or remove it first.")
    volume = grid.ndim == 3
    if chunk is None:
        chunk = VOLUME_CHUNK if volume else CHUNK
    if shard is None and volume:
        shard = VOLUME_SHARD
    group = zarr.open_group(str(path), mode="w-", zarr_format=3)
    group.attrs[_KEY] = {"finished": False, "grid": grid.to_dict()}
    return _level(group, "0", grid, dtype, chunk, shard or None)


def open_ome_zarr(path: str | Path) -> Any:
    """Level 0 (a zarr array) of a store made by :func:`create_ome_zarr`, finished or not, to go on writing."""
    import zarr

    path = Path(path)
    if not (path / "zarr.json").exists():
        raise OutputError(f"{path} is no OME-Zarr store. Make it with create_ome_zarr first.")
    return zarr.open_group(str(path), mode="r+")["0"]


def finish_ome_zarr(
    path: str | Path, *, name: str = "", acquisition: Acquisition | None = None, pyramid: bool = True
) -> Path:
    """Add the pyramid (means of 2 pixels per axis) below level 0 and then, last, the metadata that make it readable.

    Without ``pyramid`` there is level 0 alone: for a store that is only read by programs.

    Memory stays bounded by one shard of the pyramid and the part of the level above that it covers, read in strips.
    Running it again, after an interruption, gives the same store.
    """
    import zarr

    path = Path(path)
    group = zarr.open_group(str(path), mode="r+")
    own: Any = group.attrs[_KEY]
    grid = Grid.from_dict(own["grid"])
    grids = pyramid_grids(grid) if pyramid else [grid]
    source: Any = group["0"]
    chunk, shard = source.chunks, source.shards
    for level, smaller in enumerate(grids[1:], start=1):
        if str(level) in group:
            shutil.rmtree(path / str(level))
        target = _level(group, str(level), smaller, source.dtype, chunk, shard)
        _halve(source, target)
        source = target
    group.attrs.put(
        {
            "ome": _multiscales(grids, name or path.name),
            _KEY: {"finished": True, **own_dict(grid, acquisition or Acquisition())},
        }
    )
    return path


def pyramid_grids(grid: Grid, smallest: int | None = None) -> list[Grid]:
    """The grid and its halvings until no axis is longer than ``smallest`` (512; volumes 128) pixels.

    Pictures are halved in Y and X. Of a volume just those axes are halved whose voxels are not already larger than
    the smallest by a factor of the square root of 2, so anisotropic voxels become cubic on the way down.
    """
    smallest = smallest or (CHUNK if grid.ndim == 2 else _SMALLEST_VOLUME)
    grids = [grid]
    while max(grids[-1].shape) > smallest:
        grids.append(grids[-1].coarsen(_steps(grids[-1])))
    return grids


def _steps(grid: Grid) -> tuple[int, ...]:
    """2 for every axis to be halved next, else 1."""
    if grid.ndim == 2:
        return (2, 2)
    fine = [p for p, n in zip(grid.pixel_size_nm, grid.shape, strict=True) if n > 1]
    limit = math.sqrt(2) * min(fine)
    return tuple(2 if n > 1 and p <= limit else 1 for p, n in zip(grid.pixel_size_nm, grid.shape, strict=True))


def _level(
    group: Any, name: str, grid: Grid, dtype: Any, chunk: int | Sequence[int], shard: int | Sequence[int] | None
) -> Any:
    chunks = _per_axis(chunk, grid.ndim)
    shards = None
    if shard is not None:
        # no shard larger than the picture, rounded up to whole chunks
        wanted = zip(grid.shape, chunks, _per_axis(shard, grid.ndim), strict=True)
        shards = tuple(min(max(s // c, 1) * c, -(-n // c) * c) for n, c, s in wanted)
    dtype = np.dtype(dtype).newbyteorder("=")
    more: dict[str, Any] = {}
    if grid.ndim == 3:
        from zarr.codecs import BloscCodec

        more["compressors"] = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    return group.create_array(
        name,
        shape=grid.shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=[a.lower() for a in grid.axes],
        **more,
    )


def _per_axis(value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    return (int(value),) * ndim if isinstance(value, int) else tuple(int(v) for v in value)


def _multiscales(grids: list[Grid], name: str) -> dict[str, Any]:
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": list(g.pixel_size_nm)},
                {"type": "translation", "translation": list(g.origin_nm)},
            ],
        }
        for level, g in enumerate(grids)
    ]
    axes = [{"name": a.lower(), "type": "space", "unit": "nanometer"} for a in grids[0].axes]
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets, "type": "mean"}]}


# ---------------------------------------------------------------------------------------------- pyramid
def _halve(source: Any, target: Any) -> None:
    """Means of 2 pixels per halved axis into ``target``, one stored unit (shard or chunk) at a time."""
    steps = [1 if a == b else 2 for a, b in zip(source.shape, target.shape, strict=True)]
    for start, stop in boxes(target.shape, target.shards or target.chunks):
        block = np.empty([b - a for a, b in zip(start, stop, strict=True)], target.dtype)
        inner = math.prod(s * n for s, n in zip(steps[1:], block.shape[1:], strict=True))
        # source rows (slices) per strip: about 4 Mpx at once, in whole chunks where that is little enough
        rows = max(steps[0], (1 << 22) // max(1, inner) // steps[0] * steps[0])
        rows = max(rows, min(source.chunks[0], VOLUME_CHUNK)) if len(steps) == 3 else rows
        first, last = steps[0] * start[0], min(steps[0] * stop[0], source.shape[0])
        rest = tuple(slice(s * a, s * b) for s, a, b in zip(steps[1:], start[1:], stop[1:], strict=True))
        for row in range(first, last, rows):
            small = halved(np.asarray(source[(slice(row, min(row + rows, last)), *rest)]), steps)
            at = row // steps[0] - start[0]
            block[at : at + small.shape[0]] = small
        target[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = block


def boxes(shape: Sequence[int], unit: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Start and stop of the boxes of ``unit`` pixels that cover ``shape``, cut at its far ends, first axis slowest."""
    for start in product(*(range(0, n, u) for n, u in zip(shape, unit, strict=True))):
        yield start, tuple(min(a + u, n) for a, u, n in zip(start, unit, shape, strict=True))


def halved(data: NDArray[Any], steps: Sequence[int] | None = None) -> NDArray[Any]:
    """Means of 2 pixels along every axis whose step is 2 (all by default), dtype kept; odd ends use what is there.

    Integers are rounded to nearest, halves to even.
    """
    steps = steps or (2,) * data.ndim
    odd = [(0, n % 2 if s == 2 else 0) for n, s in zip(data.shape, steps, strict=True)]
    padded = np.pad(data, odd, mode="edge") if any(b for _, b in odd) else data
    kind = np.float64 if data.dtype.itemsize > 2 else np.float32
    total: NDArray[np.floating] | None = None
    # x slowest: the order of summation decides the last bit of floating point results
    for corner in product(*(range(s) for s in reversed(steps))):
        part = padded[tuple(slice(k, None, s) for k, s in zip(reversed(corner), steps, strict=True))]
        total = part.astype(kind) if total is None else np.add(total, part, out=total)
    assert total is not None
    mean = total / math.prod(steps)
    return (np.rint(mean) if data.dtype.kind in "ui" else mean).astype(data.dtype)
