"""The round field of view of a computed tomogram: which columns of a volume hold reconstructed grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values.grid import Grid


@dataclass(frozen=True)
class Circle:
    """A circle in the YX plane, the same for every slice; its axis is the rotation axis of the scan.

    Parameters
    ----------
    centre_nm : (y, x) of the axis, nm, in the frame of the volume.
    radius_nm : radius, nm.
    """

    centre_nm: tuple[float, float]
    radius_nm: float

    def __post_init__(self) -> None:
        if not self.radius_nm > 0:
            raise InputError(f"A field of view needs a positive radius, but {self.radius_nm:g} nm came.")

    @classmethod
    def inscribed(cls, grid: Grid) -> Circle:
        """The largest circle inside the YX face of a grid, around its middle."""
        (ey, ex), (hy, hx) = grid.edge_nm[-2:], grid.extent_nm[-2:]
        return cls((ey + hy / 2, ex + hx / 2), min(hy, hx) / 2)

    def distance(self, grid: Grid) -> NDArray[np.float32]:
        """Distance of every column from the axis over the radius: 0 on the axis, 1 on the rim; shape YX, float32."""
        (oy, ox), (py, px) = grid.origin_nm[-2:], grid.pixel_size_nm[-2:]
        y = oy + py * np.arange(grid.shape[-2]) - self.centre_nm[0]
        x = ox + px * np.arange(grid.shape[-1]) - self.centre_nm[1]
        return (np.hypot(y[:, None], x[None, :]) / self.radius_nm).astype(np.float32)

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """Columns whose centre lies inside, shape YX."""
        return np.asarray(self.distance(grid) <= 1.0)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"centre_nm": list(self.centre_nm), "radius_nm": self.radius_nm}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Circle:
        """Inverse of :meth:`to_dict`."""
        y, x = d["centre_nm"]
        return cls((float(y), float(x)), float(d["radius_nm"]))
