"""OME-Zarr: reading 0.4 and 0.5, writing 0.5 (zarr v3) block by block with bounded memory.

A store being written carries ``finescan: {"finished": false}`` and no OME metadata; those come last, so an
interrupted store is never mistaken for a picture.
Specification: https://ngff.openmicroscopy.org/0.5
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
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
_KEY = "finescan"


# ---------------------------------------------------------------------------------------------- reading
def read_ome_zarr(path: Path) -> Contents:
    """Level 0 of the first multiscale image, as a zarr array (lazy)."""
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
    facts = _facts(scales, axes, letters, own)
    names = tuple(str(c.get("label", "")) for c in attributes.get("omero", {}).get("channels", []))
    return Contents((Picture(lambda: array, array.shape, letters, path.name, facts, names),))


def _facts(scales: Mapping[str, Any], axes: list[dict[str, Any]], letters: str, own: Mapping[str, Any]) -> Facts:
    scale, shift = np.ones(len(axes)), np.zeros(len(axes))
    for step in [*scales["datasets"][0].get("coordinateTransformations", []), *scales.get(_GLOBAL, [])]:
        if step["type"] == "scale":
            factor = np.asarray(step["scale"], float)
            scale, shift = scale * factor, shift * factor
        elif step["type"] == "translation":
            shift = shift + np.asarray(step["translation"], float)
    units = [unit_nm(str(axes[letters.index(a)].get("unit", ""))) for a in "YX"]
    acquisition = Acquisition.from_dict(own["acquisition"]) if "acquisition" in own else Acquisition()
    if units[0] is None or units[1] is None:
        return Facts(acquisition, doubt="Its axes have no unit of length.")
    y, x = letters.index("Y"), letters.index("X")
    size = (float(scale[y] * units[0]), float(scale[x] * units[1]))
    return Facts(acquisition, size, (float(shift[y] * units[0]), float(shift[x] * units[1])))


_GLOBAL = "coordinateTransformations"


# ---------------------------------------------------------------------------------------------- writing
def create_ome_zarr(path: str | Path, grid: Grid, dtype: Any, *, chunk: int = CHUNK, shard: int | None = None) -> Any:
    """A new, unfinished OME-Zarr store; returns its empty level 0 (a zarr array) for writing block by block.

    Parameters
    ----------
    path : folder to make, ending in ``.ome.zarr``; must not exist.
    grid : of level 0.
    chunk : pixels per chunk and axis; blocks written at the same time must not share a chunk.
    shard : pixels per shard and axis, a multiple of ``chunk``; then blocks must not share a shard. None = no shards.

    Raises
    ------
    OutputError : the folder exists.
    """
    import zarr

    path = Path(path)
    if path.exists():
        raise OutputError(f"{path} exists already. Choose another name or remove it first.")
    group = zarr.open_group(str(path), mode="w-", zarr_format=3)
    group.attrs[_KEY] = {"finished": False, "grid": grid.to_dict()}
    return _level(group, "0", grid, dtype, chunk, shard)


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
    """Add the pyramid (2 x 2 means) below level 0 and then, last, the metadata that make the store readable.

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
    chunk = int(source.chunks[-1])
    shard = None if source.shards is None else int(source.shards[-1])
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


def pyramid_grids(grid: Grid, smallest: int = CHUNK) -> list[Grid]:
    """The grid and its halvings in Y and X until the longer of them is at most ``smallest`` pixels."""
    grids = [grid]
    steps = [2 if a in "YX" else 1 for a in grid.axes]
    while max(grids[-1].shape[-2:]) > smallest:
        grids.append(grids[-1].coarsen(steps))
    return grids


def _level(group: Any, name: str, grid: Grid, dtype: Any, chunk: int, shard: int | None) -> Any:
    chunks = tuple(min(chunk, 64) if a == "Z" else chunk for a in grid.axes)
    shards = None
    if shard is not None:
        # no shard larger than the picture, rounded up to whole chunks
        shards = tuple(min(shard // c * c, -(-n // c) * c) for n, c in zip(grid.shape, chunks, strict=True))
    dtype = np.dtype(dtype).newbyteorder("=")
    return group.create_array(
        name,
        shape=grid.shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=[a.lower() for a in grid.axes],
    )


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
    """2 x 2 means of ``source`` into ``target``, one stored unit (shard or chunk) at a time."""
    unit = target.shards or target.chunks
    bound = max(1, (1 << 22) // max(1, 2 * unit[1]))  # source rows per strip: at most about 4 Mpx at once
    bound = max(2, bound // 2 * 2)
    for top in range(0, target.shape[0], unit[0]):
        for left in range(0, target.shape[1], unit[1]):
            bottom, right = min(top + unit[0], target.shape[0]), min(left + unit[1], target.shape[1])
            block = np.empty((bottom - top, right - left), target.dtype)
            for row in range(2 * top, 2 * bottom, bound):
                strip = np.asarray(source[row : min(row + bound, 2 * bottom), 2 * left : 2 * right])
                at = row // 2 - top
                small = halved(strip)
                block[at : at + small.shape[0]] = small
            target[top:bottom, left:right] = block


def halved(data: NDArray[Any]) -> NDArray[Any]:
    """Means of 2 x 2 blocks, dtype kept (integers rounded to nearest, halves to even); odd ends use what is there."""
    rows, columns = data.shape
    padded = np.pad(data, ((0, rows % 2), (0, columns % 2)), mode="edge")
    work: NDArray[np.floating] = padded.astype(np.float64 if data.dtype.itemsize > 2 else np.float32)
    mean = (work[::2, ::2] + work[1::2, ::2] + work[::2, 1::2] + work[1::2, 1::2]) / 4
    return (np.rint(mean) if data.dtype.kind in "ui" else mean).astype(data.dtype)
