"""Files to images and images to files. Nothing heavy is loaded until a file is opened."""

from finescan.io.fingerprint import fingerprint
from finescan.io.inspection import describe, problems, require_pair
from finescan.io.reading import READERS, read
from finescan.io.writing import (
    WRITERS,
    create_ome_zarr,
    finish_ome_zarr,
    open_ome_zarr,
    write,
)

__all__ = [
    "READERS",
    "WRITERS",
    "create_ome_zarr",
    "describe",
    "fingerprint",
    "finish_ome_zarr",
    "open_ome_zarr",
    "problems",
    "read",
    "require_pair",
    "write",
]
