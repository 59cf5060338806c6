"""The surroundings of the fine volume in the coarse one, at a pitch that memory and time allow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.registration.motion import Motion
from finescan.registration.prepare import reduce
from finescan.values import Image, Region

WORKING_VOXELS = 400_000  # coarse voxels the fine volume may cover in the refinement


def working_volume(lr: Image, start: Motion, margin_nm: float) -> Image:
    """The coarse volume around a start, averaged over blocks if it is large; NaN where it is not usable.

    Accuracy grows with the number of voxels compared, not with their fineness: some hundred thousand are enough
    for a few hundredths of a voxel.

    Parameters
    ----------
    lr : coarse volume, possibly stored on disk.
    start : where the fine volume lies.
    margin_nm : read around it.

    Returns
    -------
    Image in memory, float32, in the frame of ``lr``.
    """
    extent = np.abs(start.to_warp().matrix) @ np.asarray(start.hr.extent_nm)
    pitch = working_pitch(extent, lr.grid.pixel_size_nm)
    corners = start.positions([np.array([-1.0, 1.0])] * 3).reshape(3, -1)
    reach = (margin_nm + 2 * pitch) / np.asarray(lr.grid.pixel_size_nm)
    size = np.asarray(lr.grid.shape)
    least = 8 * pitch / np.asarray(lr.grid.pixel_size_nm)  # so much is kept even of a place outside the volume
    low = np.clip(corners.min(1) - reach, 0, np.maximum(0, size - least))
    high = np.clip(corners.max(1) + reach + 1, np.minimum(size, low + least), size)
    part = reduce(lr, pitch, Region.clipped(lr.grid, np.floor(low).tolist(), np.ceil(high).tolist()))
    grey = part.grey if part.ok is None else np.where(part.ok > 0.999, part.grey, np.float32(np.nan))
    return Image(grey, part.grid, lr.name, lr.acquisition)


def working_pitch(extent_nm: NDArray[Any], pixel_size_nm: tuple[float, ...]) -> float:
    """Smallest pitch at which the fine volume covers at most ``WORKING_VOXELS`` blocks of coarse voxels."""
    finest = np.asarray(pixel_size_nm)
    pitch = float(finest.min())
    while np.prod(extent_nm / (finest * np.maximum(1, np.floor(pitch / finest + 1e-6)))) > WORKING_VOXELS:
        pitch += float(finest.min())
    return pitch
