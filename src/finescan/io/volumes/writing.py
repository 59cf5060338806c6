"""Volumes to files, streamed: a few slices or one stored block in memory at a time. The table of writers is here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from xml.sax.saxutils import escape

import numpy as np

from finescan.errors import InputError
from finescan.io.ome_zarr import VOLUME_CHUNK, VOLUME_SHARD, create_ome_zarr, finish_ome_zarr
from finescan.io.tiff_out import OME_TYPES, rational
from finescan.io.vendor_general import own_dict, own_text
from finescan.io.volumes.hdf5 import write_hdf5
from finescan.io.volumes.pieces import pieces, slabs
from finescan.io.volumes.slices import SIDECAR
from finescan.values import Image

#: Larger stacks become BigTIFF: offsets in classic TIFF end at 4 GiB, directories included.
CLASSIC_BELOW = (1 << 32) - (1 << 20)
_DIRECTORY = 512
#: A volume whose slices are decoded whole gets flatter shards, so that no slice is decoded more often than needed.
_FLAT_SHARD = (VOLUME_CHUNK, VOLUME_SHARD, VOLUME_SHARD)


def write_tiff_stack(path: Path, image: Image) -> None:
    """One page per slice, uncompressed and contiguous, so that ImageJ opens it and programs can map it.

    Voxel size and unit as ImageJ expects them; above 4 GiB BigTIFF with OME-XML (Fiji: Bio-Formats).
    """
    import tifffile

    if image.dtype.newbyteorder("=").name not in OME_TYPES:
        raise InputError(f"A .tif cannot hold {image.dtype} grey levels ({image.name}). Convert them to float32 first.")
    big = image.grid.size * image.dtype.itemsize + _DIRECTORY * image.grid.shape[0] >= CLASSIC_BELOW
    _, y, x = image.grid.pixel_size_nm
    per = 1e7 if big else 1.0  # OME readers expect pixels per cm, ImageJ pixels per unit
    dtype = image.dtype.newbyteorder("<")
    with tifffile.TiffWriter(path, bigtiff=big, byteorder="<") as file:
        where = file.write(
            shape=image.grid.shape,
            dtype=dtype,
            photometric="minisblack",
            description=_ome_stack(image) if big else _imagej_stack(image),
            metadata=None,
            software="finescan",
            resolution=(rational(per / x), rational(per / y)),
            resolutionunit="centimeter" if big else "none",
            returnoffset=True,
        )
    # plain writes, not a memory map: a full disk is then an error and not a killed process
    with path.open("r+b") as stream:
        stream.seek(cast(tuple[int, int], where)[0])
        for _, slab in slabs(image.data):
            stream.write(np.ascontiguousarray(slab, dtype).data)


def _imagej_stack(image: Image) -> str:
    n, z = image.grid.shape[0], image.grid.pixel_size_nm[0]
    return f"ImageJ=1.54f\nimages={n}\nslices={n}\nunit=nm\nspacing={z!r}\n{own_text(image.grid, image.acquisition)}\n"


def _ome_stack(image: Image) -> str:
    """Minimal OME-XML of one Z stack, with our facts as its description."""
    slices, rows, columns = image.grid.shape
    sizes = " ".join(
        f'PhysicalSize{a}="{p!r}" PhysicalSize{a}Unit="nm"'
        for a, p in zip("ZYX", image.grid.pixel_size_nm, strict=True)
    )
    xsd = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{xsd}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{xsd} '
        f'{xsd}/ome.xsd" Creator="finescan"><Image ID="Image:0"><Description>'
        f"{escape(own_text(image.grid, image.acquisition))}</Description>"
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="{OME_TYPES[image.dtype.newbyteorder("=").name]}" '
        f'SizeX="{columns}" SizeY="{rows}" SizeZ="{slices}" SizeC="1" SizeT="1" BigEndian="false" {sizes}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="{slices}"/>'
        "</Pixels></Image></OME>"
    )


def write_npy_volume(path: Path, image: Image) -> None:
    """NumPy array and ``name.json``."""
    dtype = image.dtype.newbyteorder("<")
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": image.grid.shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_2_0(stream, head)
        for _, slab in slabs(image.data):
            stream.write(np.ascontiguousarray(slab, dtype).data)
    _write_json(path.with_suffix(".json"), image, {})


def write_raw(path: Path, image: Image) -> None:
    """Raw voxels, little-endian, x fastest, and ``name.raw.json``."""
    dtype = image.dtype.newbyteorder("<")
    with path.open("wb") as stream:
        for _, slab in slabs(image.data):
            stream.write(np.ascontiguousarray(slab, dtype).data)
    layout = {"shape": list(image.grid.shape), "dtype": dtype.newbyteorder("=").name, "byte_order": "little"}
    _write_json(path.with_name(f"{path.name}.json"), image, {**layout, "header_bytes": 0})


def write_slices(path: Path, image: Image) -> None:
    """A folder of TIFF slices ``slice_0000.tif`` … and ``finescan.json`` with the facts of the volume."""
    from dataclasses import replace

    from finescan.io.tiff_out import write_tiff
    from finescan.values import Grid

    path.mkdir()
    digits = max(4, len(str(image.grid.shape[0] - 1)))
    grid = Grid.of(image.grid.shape[1:], image.grid.pixel_size_nm[1:], image.grid.origin_nm[1:])
    for first, slab in slabs(image.data):
        for k, plane in enumerate(slab, first):
            write_tiff(path / f"slice_{k:0{digits}d}.tif", replace(image, data=plane, grid=grid))
    _write_json(path / SIDECAR, image, {})


def write_zarr_volume(path: Path, image: Image) -> None:
    """OME-Zarr 0.5, whole shards at a time."""
    chunks = getattr(image.data, "chunks", None)
    flat = chunks is not None and chunks[0] < VOLUME_CHUNK
    level = create_ome_zarr(path, image.grid, image.dtype, shard=_FLAT_SHARD if flat else None)
    for box, block in pieces(image.data, level.shards):
        level[box] = block
    finish_ome_zarr(path, name=image.name, acquisition=image.acquisition)


def _write_json(path: Path, image: Image, more: dict[str, Any]) -> None:
    size = list(image.grid.pixel_size_nm)
    facts = {**more, "voxel_size_nm": size, **own_dict(image.grid, image.acquisition)}
    path.write_text(json.dumps(facts, indent=1), "utf-8")


#: End of the file name -> writer(temporary path, image). ``/`` stands for a folder: a name with no ending.
VOLUME_WRITERS: dict[str, Callable[[Path, Image], None]] = {
    ".ome.zarr": write_zarr_volume,
    ".tiff": write_tiff_stack,
    ".tif": write_tiff_stack,
    ".npy": write_npy_volume,
    ".hdf5": write_hdf5,
    ".h5": write_hdf5,
    ".raw": write_raw,
    "/": write_slices,
}
