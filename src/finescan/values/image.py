"""Image: grey levels on a Grid, with what the instrument said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values.grid import Grid
from finescan.values.region import Region


@dataclass(frozen=True)
class StagePose:
    """Where the stage stood: x, y, z in nm, rotation and tilt in degrees; None where the file does not say."""

    x_nm: float | None = None
    y_nm: float | None = None
    z_nm: float | None = None
    rotation_deg: float | None = None
    tilt_deg: float | None = None


@dataclass(frozen=True)
class Acquisition:
    """What the instrument's file said. Absent facts are None, never a default.

    Parameters
    ----------
    vendor : "Thermo Fisher", "Zeiss", "TESCAN", "JEOL", … or "" when unknown.
    pixel_size_from : where the pixel size came from: "header", "user", "simulation", … (one or two words).
    detector : the vendor's name of it.
    dwell_time_us : time per pixel, µs.
    stage : stage pose, or None.
    databar_rows : rows cut off the bottom because they held the vendor's data bar.
    header : the vendor's header, verbatim text.
    extra : further facts by name (voltage_kv, current_pa, working_distance_mm, scan_rotation_deg, beam, date …).
    """

    vendor: str = ""
    pixel_size_from: str = ""
    detector: str | None = None
    dwell_time_us: float | None = None
    stage: StagePose | None = None
    databar_rows: int = 0
    header: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the header text is left out (it is kept in a file of its own)."""
        d = {k: getattr(self, k) for k in ("vendor", "pixel_size_from", "detector", "dwell_time_us", "databar_rows")}
        d["stage"] = None if self.stage is None else dict(vars(self.stage))
        d["extra"] = dict(self.extra)
        return d

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Acquisition:
        """Inverse of :meth:`to_dict`."""
        d = dict(d)
        stage = d.pop("stage", None)
        return cls(stage=None if stage is None else StagePose(**stage), **d)


@dataclass(frozen=True)
class Image:
    """Grey levels on a grid.

    Parameters
    ----------
    data : array of ``grid.shape``; numpy, memory map or zarr; its dtype is the instrument's own.
    grid : where the pixels lie.
    name : short name for messages, normally the file name.
    acquisition : what the instrument said.
    source : path of the file, or "" when made in memory.
    """

    data: Any
    grid: Grid
    name: str = "image"
    acquisition: Acquisition = Acquisition()
    source: str = ""

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise InputError(f"{self.name}: the array is {tuple(self.data.shape)} but its grid is {self.grid.shape}.")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored grey levels."""
        return np.dtype(self.data.dtype)

    def array(self) -> NDArray[Any]:
        """All pixels in memory, dtype unchanged."""
        return np.asarray(self.data[...])

    def crop(self, region: Region) -> Image:
        """The pixels of a region, on its own grid."""
        return replace(self, data=np.asarray(self.data[region.slices]), grid=region.own_grid)

    def with_data(self, data: Any, grid: Grid | None = None) -> Image:
        """Other pixels, same facts."""
        return replace(self, data=data, grid=grid or self.grid)

    def __str__(self) -> str:
        return f"{self.name}: {self.grid}, {self.dtype}"
