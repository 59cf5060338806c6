"""Writing TIFF so that Fiji reads pixel size and unit.

Two forms, because ImageJ's own decoder reads neither tiles nor BigTIFF, and nothing else opens huge strips well:

* up to :data:`CLASSIC_BELOW` bytes: classic TIFF, uncompressed strips, description ``ImageJ=…``, ``unit=nm``,
  resolution tags in pixels per nm (unit "none"). Opens in ImageJ by double click, and can be memory-mapped.
* larger: tiled BigTIFF, deflate with horizontal differencing for integers, description OME-XML with PhysicalSizeX/Y
  in nm, resolution tags in pixels per cm. Fiji opens it through Bio-Formats.

Our own facts travel as one line of JSON: a line of the ImageJ description, or the Description of the OME image.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.io.pixels import bands, write_bands
from finescan.io.vendor_general import own_text
from finescan.values import Image

CLASSIC_BELOW = 1 << 31
TILE = 512

OME_TYPES = {
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "float32": "float",
    "float64": "double",
}


def write_tiff(path: Path, image: Image) -> None:
    """One 2D image; see the module for the two forms."""
    if image.grid.ndim != 2:
        raise InputError(f"A .tif holds one 2D image, but {image.name} has axes {image.grid.axes}. Write .ome.zarr.")
    if image.dtype.newbyteorder("=").name not in OME_TYPES:
        raise InputError(f"A .tif cannot hold {image.dtype} grey levels ({image.name}). Convert them to float32 first.")
    if image.grid.size * image.dtype.itemsize < CLASSIC_BELOW:
        _write_classic(path, image)
    else:
        _write_big(path, image)


def _write_classic(path: Path, image: Image) -> None:
    import tifffile

    y, x = image.grid.pixel_size_nm
    dtype = image.dtype.newbyteorder("<")
    with tifffile.TiffWriter(path, byteorder="<") as file:
        where = file.write(
            shape=image.grid.shape,
            dtype=dtype,
            photometric="minisblack",
            description=imagej_description(image),
            metadata=None,
            software="finescan",
            resolution=(rational(1 / x), rational(1 / y)),
            resolutionunit="none",
            returnoffset=True,
        )
    # plain writes, not a memory map: a full disk is then an error and not a killed process
    with path.open("r+b") as stream:
        stream.seek(cast(tuple[int, int], where)[0])
        write_bands(stream, image.data, dtype)


def _write_big(path: Path, image: Image) -> None:
    import tifffile

    y, x = image.grid.pixel_size_nm
    with tifffile.TiffWriter(path, bigtiff=True, byteorder="<") as file:
        file.write(
            _tiles(image),
            shape=image.grid.shape,
            dtype=image.dtype.newbyteorder("<"),
            tile=(TILE, TILE),
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 3},
            predictor=2 if image.dtype.kind in "ui" else 1,
            description=ome_description(image),
            metadata=None,
            software="finescan",
            resolution=(rational(1e7 / x), rational(1e7 / y)),
            resolutionunit="centimeter",
            maxworkers=2,
            buffersize=1 << 22,
        )


def _tiles(image: Image) -> Iterator[NDArray[Any]]:
    """Tiles row by row; one row of tiles is in memory at a time."""
    for _, band in bands(image.data, TILE):
        for left in range(0, band.shape[1], TILE):
            tile = np.zeros((TILE, TILE), image.dtype.newbyteorder("<"))
            piece = band[:, left : left + TILE]
            tile[: piece.shape[0], : piece.shape[1]] = piece
            yield tile


def imagej_description(image: Image) -> str:
    """Lines ImageJ reads, then ours."""
    return f"ImageJ=1.11a\nunit=nm\n{own_text(image.grid, image.acquisition)}\n"


def ome_description(image: Image) -> str:
    """Minimal OME-XML of one plane, with our facts as its description."""
    y, x = image.grid.pixel_size_nm
    rows, columns = image.grid.shape
    kind = OME_TYPES[image.dtype.newbyteorder("=").name]
    xsd = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{xsd}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{xsd} '
        f'{xsd}/ome.xsd" Creator="finescan"><Image ID="Image:0"><Description>'
        f"{escape(own_text(image.grid, image.acquisition))}</Description>"
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" SizeX="{columns}" SizeY="{rows}" SizeC="1" '
        f'SizeZ="1" SizeT="1" BigEndian="false" PhysicalSizeX="{x!r}" PhysicalSizeXUnit="nm" PhysicalSizeY="{y!r}" '
        'PhysicalSizeYUnit="nm"><Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"/>'
        "</Pixels></Image></OME>"
    )


def rational(value: float) -> tuple[int, int]:
    """Nearest fraction of two numbers below 2^31 (ImageJ reads them as signed)."""
    limit = (1 << 31) - 1
    inverse = value < 1
    f = Fraction(1 / value if inverse else value).limit_denominator(max(1, int(limit / max(value, 1 / value) / 2)))
    return (f.denominator, f.numerator) if inverse else (f.numerator, f.denominator)
