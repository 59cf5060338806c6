"""What some slices of a volume tell: whether its field of view is round, and where its grey levels end."""

from __future__ import annotations

import numpy as np

from finescan.trust import saturation_levels
from finescan.values import Circle, Image

CORNER_SHARE = 0.02  # of the columns outside the circle may hold grey levels before the field of view is not round
SLICES_LOOKED_AT = 5


def field_of_view(lr: Image, is_round: bool) -> Circle:
    """The field of view of a coarse volume: the largest circle inside its slices, or one around them."""
    inscribed = Circle.inscribed(lr.grid)
    if is_round:
        return inscribed
    hy, hx = lr.grid.extent_nm[-2:]
    return Circle(inscribed.centre_nm, 0.5 * (hy**2 + hx**2) ** 0.5 + max(lr.grid.pixel_size_nm))


def rails(volume: Image) -> tuple[float | None, float | None]:
    """Levels at which a volume saturates, from some slices."""
    slices = np.unique(np.linspace(0, volume.grid.shape[0] - 1, SLICES_LOOKED_AT).astype(int))
    return saturation_levels(np.stack([np.asarray(volume.data[int(z)]) for z in slices]))


def corners_are_empty(lr: Image, circle: Circle) -> bool:
    """Whether the coarse volume holds nothing (NaN, or one single grey level) outside the circle, in some slices."""
    outside = ~circle.mask(lr.grid)
    if not outside.any():
        return False
    slices = np.linspace(0, lr.grid.shape[0] - 1, SLICES_LOOKED_AT).astype(int)
    values = np.concatenate([np.asarray(lr.data[int(z)])[outside] for z in slices])
    known = values[np.isfinite(values.astype(np.float32))]
    if known.size <= CORNER_SHARE * values.size:
        return True
    levels, counts = np.unique(known, return_counts=True)
    return bool(counts.max() >= (1 - CORNER_SHARE) * known.size and levels.size < 0.01 * known.size)
