"""Files to images and images to files. Nothing heavy is loaded until a file is opened."""

from finescan.io.fingerprint import fingerprint
from finescan.io.flattening import (
    FLATTENED,
    RULES,
    flatten_lines,
    is_flattened,
    is_probe,
    line_unrest,
    require_flat,
    require_level,
    unevenness,
)
from finescan.io.inspection import describe, problems, require_pair
from finescan.io.reading import READERS, read
from finescan.io.volumes.raw import RawLayout
from finescan.io.volumes.reading import VOLUME_READERS, looks_like_volume, read_volume
from finescan.io.volumes.writing import VOLUME_WRITERS
from finescan.io.writing import (
    WRITERS,
    create_ome_zarr,
    finish_ome_zarr,
    open_ome_zarr,
    write,
)

__all__ = [
    "FLATTENED",
    "READERS",
    "RULES",
    "VOLUME_READERS",
    "VOLUME_WRITERS",
    "WRITERS",
    "RawLayout",
    "create_ome_zarr",
    "describe",
    "fingerprint",
    "finish_ome_zarr",
    "flatten_lines",
    "is_flattened",
    "is_probe",
    "line_unrest",
    "looks_like_volume",
    "open_ome_zarr",
    "problems",
    "read",
    "read_volume",
    "require_flat",
    "require_level",
    "require_pair",
    "unevenness",
    "write",
]
