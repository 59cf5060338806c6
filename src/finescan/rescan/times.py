"""How long scanning takes: the coarse map, a field, a plan, and a fine scan of everything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from finescan.errors import InputError
from finescan.values import Grid


@dataclass(frozen=True)
class Frame:
    """What the instrument records in one acquisition.

    Parameters
    ----------
    shape_px : rows, columns of the usual frame.
    pixel_size_nm : y, x of a fine scan.
    largest_px : rows, columns of the largest frame; neighbouring fields are merged up to it. None = never merged.
    """

    shape_px: tuple[int, int]
    pixel_size_nm: tuple[float, float]
    largest_px: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        sizes = (*self.shape_px, *(self.largest_px or ()))
        if any(n < 1 for n in sizes) or any(not (math.isfinite(p) and p > 0) for p in self.pixel_size_nm):
            raise InputError(
                f"A frame needs at least one pixel per axis and a positive pixel size, but {self.shape_px} px of "
                f"{self.pixel_size_nm} nm came."
            )
        if self.largest_px and any(a < b for a, b in zip(self.largest_px, self.shape_px, strict=True)):
            raise InputError(
                f"The largest frame must hold the usual one, but {_size(self.largest_px)} px is smaller than "
                f"{_size(self.shape_px)} px. Pass a larger --max-frame."
            )

    @property
    def extent_nm(self) -> tuple[float, float]:
        """Height and width, nm."""
        return self.shape_px[0] * self.pixel_size_nm[0], self.shape_px[1] * self.pixel_size_nm[1]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        largest = None if self.largest_px is None else list(self.largest_px)
        return {
            "shape_px": list(self.shape_px),
            "pixel_size_nm": list(self.pixel_size_nm),
            "extent_nm": list(self.extent_nm),
            "largest_px": largest,
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Frame:
        """Inverse of :meth:`to_dict`."""
        largest = d.get("largest_px")
        return cls(_pair(d["shape_px"]), tuple(map(float, d["pixel_size_nm"])), largest and _pair(largest))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{_size(self.shape_px)} px of {self.pixel_size_nm[1]:.4g} nm"


@dataclass(frozen=True)
class ScanTimes:
    """What takes time.

    Parameters
    ----------
    dwell_us : per pixel of a fine scan, µs.
    settle_s : per acquisition, for the stage to come to rest, focus and start, s.
    stage_um_per_s : speed of the stage, µm/s; infinity = moves take no time of their own.
    line_overhead_us : per line (fly-back), µs.
    coarse_s : time the coarse map took, s; None = not known.
    """

    dwell_us: float
    settle_s: float = 0.0
    stage_um_per_s: float = math.inf
    line_overhead_us: float = 0.0
    coarse_s: float | None = None

    def __post_init__(self) -> None:
        times = self.settle_s, self.line_overhead_us, self.coarse_s or 0.0
        if not (math.isfinite(self.dwell_us) and self.dwell_us > 0 and self.stage_um_per_s > 0):
            raise InputError(
                f"A dwell time and a stage speed are positive, but {self.dwell_us:g} µs and "
                f"{self.stage_um_per_s:g} µm/s came. Pass --dwell and --stage-speed."
            )
        if any(not (math.isfinite(t) and t >= 0) for t in times):
            raise InputError(f"Overheads are times of at least 0, but {times} came. Pass 0 for none.")

    def scan_s(self, shape_px: tuple[float, float]) -> float:
        """Pixels and lines of one frame of (rows, columns), s."""
        rows, columns = shape_px
        return 1e-6 * rows * (columns * self.dwell_us + self.line_overhead_us)

    def travel_s(self, distance_um: float) -> float:
        """Time the stage is on its way, s."""
        return distance_um / self.stage_um_per_s

    def field_s(self, shape_px: tuple[float, float], distance_um: float = 0.0) -> float:
        """Going there, settling and scanning, s."""
        return self.travel_s(distance_um) + self.settle_s + self.scan_s(shape_px)

    def everything_s(self, grid: Grid, frame: Frame) -> float:
        """A fine scan of the whole map by frames side by side, s.

        The last frames of a row and of a column count with the part that lies on the map. Without overheads and at
        the coarse map's dwell time this makes ``(coarse_s + fields) / everything_s`` equation 10 of Reclik, L., et al.
        2025: :func:`finescan.trust.acceleration.relative_time`.
        """
        high, wide = frame.extent_nm
        count = grid.extent_nm[0] * grid.extent_nm[1] / (high * wide)
        return count * self.field_s(frame.shape_px, wide * 1e-3)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an infinite speed is None."""
        speed = None if math.isinf(self.stage_um_per_s) else self.stage_um_per_s
        return {**vars(self), "stage_um_per_s": speed}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> ScanTimes:
        """Inverse of :meth:`to_dict`."""
        speed = d.get("stage_um_per_s")
        return cls(**{**d, "stage_um_per_s": math.inf if speed is None else float(speed)})


def spoken(seconds: float) -> str:
    """A time for readers.

    >>> spoken(75), spoken(1200)
    ('75 s', '20 min')
    """
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _size(shape: tuple[int, int]) -> str:
    """Rows and columns as instruments say it: width x height."""
    return f"{shape[1]} x {shape[0]}"


def _pair(values: Any) -> tuple[int, int]:
    rows, columns = values
    return int(rows), int(columns)
