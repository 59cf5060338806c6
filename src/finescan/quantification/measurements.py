"""Measurements: the table of objects and what it adds up to."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import OutputError
from finescan.quantification.config import QuantifyConfig
from finescan.quantification.distributions import BoxStatistics, Distribution, box_statistics, distribution
from finescan.quantification.threshold import Threshold
from finescan.values import Grid

BINS_OF_VOXELS = 5.0  # default bin width of the size distribution


@dataclass(frozen=True)
class Measurements:
    """What :func:`finescan.quantification.quantify` found.

    Parameters
    ----------
    grid : of the image.
    table : column -> one number per counted object, row k being label k + 1. Volumes: ``label``, ``voxels`` (int64),
        ``volume_nm3``, ``z_nm y_nm x_nm`` (centre of mass, in the frame of the image), ``z_start … x_stop`` (bounding
        box in voxels, stop excluded), ``diameter_nm`` (of the sphere of the same volume), ``area_nm2`` (Crofton, 13
        directions), ``sphericity``. Pictures: the same without z, with ``area_nm2``, ``perimeter_nm`` and
        ``circularity``. NaN where an object is too small for a shape.
    tally : whole numbers (64 bit): ``objects``; ``cut``, ``specks`` (not counted: cut by the faces, too small);
        ``bulk_voxels``, ``pore_voxels``, ``open_voxels`` (dark, but part of the air around the bulk),
        ``missing_voxels`` (no number); ``shapeless`` (too small for a shape); ``clipped`` (sphericity above 1, set
        to 1).
    threshold, config : how the pores were found.
    notes : what the reader must know, in sentences.
    labels : int32 of the image's shape: 0 no object, 1 … ``objects``, then the cut ones; None if not kept.
    """

    grid: Grid
    table: Mapping[str, NDArray]
    tally: Mapping[str, int]
    threshold: Threshold
    config: QuantifyConfig
    notes: tuple[str, ...] = ()
    labels: NDArray[np.int32] | None = field(default=None, repr=False)

    @property
    def count(self) -> int:
        """Number of counted objects."""
        return self.tally["objects"]

    @property
    def porosity(self) -> float:
        """Voxels of all objects (cut ones included) over voxels of the bulk, 0 to 1."""
        return self.tally["pore_voxels"] / self.tally["bulk_voxels"] if self.tally["bulk_voxels"] else float("nan")

    @property
    def diameter_nm(self) -> NDArray[np.float64]:
        """Equivalent spherical (in pictures: circular) diameters."""
        return self.table["diameter_nm"]

    @property
    def sphericity(self) -> NDArray[np.float64]:
        """Sphericity of every object (in pictures: circularity), NaN where it has no shape."""
        return self.table["sphericity" if self.grid.ndim == 3 else "circularity"]

    @property
    def sizes(self) -> Distribution:
        """Distribution of the diameters, nm, with the bin width of the configuration."""
        return distribution(self.diameter_nm, self.config.bin_nm or BINS_OF_VOXELS * min(self.grid.pixel_size_nm))

    @property
    def sphericity_box(self) -> BoxStatistics:
        """Box plot of the sphericities."""
        return box_statistics(self.sphericity)

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON: counts, porosity, diameters, sphericity, threshold, choices, notes."""
        return {
            **self.tally,
            "porosity": None if np.isnan(self.porosity) else self.porosity,
            "diameter_nm": box_statistics(self.diameter_nm).to_dict(),
            "sphericity": self.sphericity_box.to_dict(),
            "sizes": self.sizes.to_dict(),
            "threshold": self.threshold.to_dict(),
            "config": self.config.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        mean = box_statistics(self.sphericity).mean
        shape = "" if np.isnan(mean) else f", mean sphericity {mean:.3f}"
        return f"{self.count} {'pore' if self.count == 1 else 'pores'}, porosity {100 * self.porosity:.2f} %{shape}"


def write_csv(path: str | Path, measurements: Measurements, *, overwrite: bool = False) -> Path:
    """Write the table, one object per row, floats to 9 significant digits, nothing where an object has no shape.

    Raises
    ------
    OutputError : the file exists and ``overwrite`` is False, or it cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already. Choose another name, or pass overwrite=True (--overwrite).")
    made = path.with_name(path.name + ".part")
    try:
        with made.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(measurements.table)
            writer.writerows(zip(*(map(_cell, c.tolist()) for c in measurements.table.values()), strict=True))
        made.replace(path)
    except OSError as e:
        made.unlink(missing_ok=True)
        raise OutputError(f"{path} could not be written ({e}). Choose a folder that can be written to.") from e
    return path


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "" if np.isnan(value) else f"{value:.9g}"
