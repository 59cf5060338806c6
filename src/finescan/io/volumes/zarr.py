"""OME-Zarr volumes."""

from __future__ import annotations

from pathlib import Path

from finescan.io.ome_zarr import read_scaled
from finescan.io.volumes.stack import Asked, Stack, VolumeFacts, as_zyx, own_facts


def read_zarr_volume(path: Path, asked: Asked) -> Stack:
    """Level 0 of the first multiscale image; several channels need ``channel=``."""
    found = read_scaled(path)
    data = as_zyx(found.array, found.letters, path.name, asked.channel, found.channels)
    if "grid" in found.own:
        return Stack(data, own_facts(found.own, "", data.shape))
    acquisition = found.acquisition
    sizes, origins = [], []
    for axis in "ZYX":
        at, unit = found.letters.index(axis), found.unit_nm(axis)
        if unit is None:
            return Stack(data, VolumeFacts(acquisition, doubt=f"Its axis {axis.lower()} has no unit of length."))
        sizes.append(found.scale[at] * unit)
        origins.append(found.shift[at] * unit)
    z, y, x = sizes
    oz, oy, ox = origins
    return Stack(data, VolumeFacts(acquisition, (z, y, x), (oz, oy, ox)))
