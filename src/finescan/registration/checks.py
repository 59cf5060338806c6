"""What two scans must be for one to be searched in the other."""

from __future__ import annotations

import numpy as np

from finescan.errors import InputError
from finescan.registration.slabs import sample_of
from finescan.values import Image

LEAST_TILE_PX = {2: 16.0, 3: 8.0}  # coarse pixels per axis, by number of axes


def check(lr: Image, hr: Image) -> None:
    """Raise InputError if the fine scan cannot be searched in the coarse map at all."""
    if lr.grid.axes != hr.grid.axes:
        raise InputError(
            f"Two pictures or two volumes are needed, but {lr.name} is {lr.grid} and {hr.name} is {hr.grid}."
        )
    if any(r < 0.8 for r in lr.grid.sr_factor(hr.grid)):
        raise InputError(
            f"{hr.name} ({hr.grid}) has larger pixels than {lr.name} ({lr.grid}). Give the coarse map first, "
            "the fine scan second, and check the pixel sizes."
        )
    if any(a > 1.5 * b for a, b in zip(hr.grid.extent_nm, lr.grid.extent_nm, strict=True)):
        raise InputError(f"{hr.name} ({hr.grid}) covers more than {lr.name} ({lr.grid}). Check the pixel sizes.")
    across = [e / p for e, p in zip(hr.grid.extent_nm, lr.grid.pixel_size_nm, strict=True)]
    least = LEAST_TILE_PX[lr.grid.ndim]
    if min(across) < least:
        raise InputError(
            f"{hr.name} covers only {min(across):.0f} pixels of {lr.name}; at least {least:.0f} are needed "
            "to find it. Record a larger fine scan, or check the pixel sizes."
        )
    for image in (lr, hr):
        sample = sample_of(image)
        values = sample[np.isfinite(sample)]
        if values.size < sample.size // 10 or values.min() == values.max():
            raise InputError(
                f"{image.name} is constant or holds hardly any finite grey level: nothing can be found in it."
            )
