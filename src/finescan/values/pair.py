"""Pair: a coarse and a fine image, the warp between them, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.values.grid import Grid
from finescan.values.image import Image
from finescan.values.warp import Warp


class Verdict(StrEnum):
    """Three-way answer of the registration."""

    FOUND = "found"
    DOUBTFUL = "doubtful"
    NOT_FOUND = "not found"


@dataclass(frozen=True)
class Residual:
    """How far a registration can be trusted; lengths in pixels of the fine scan (HR px).

    Parameters
    ----------
    split_error_hr_px : headline accuracy: half the rms difference of two fits on disjoint halves.
    sigma_hr_px : median of the sigma map (1.7 x the normal-matrix sigma).
    correlation : NCC after registration; reported, never called accuracy.
    decoy_ratio : best peak over the best peak of mirrored decoys; nan for hand-picked landmarks.
    method : what was used and found: mode, objective ("grey" or "joint-histogram"), drift_axis, knots, bspline,
        ratio_y, ratio_x, rotation_deg, …
    grid : grid of the maps, in the frame of the fine scan, at about the pitch of the coarse one.
    maps : arrays on ``grid``: "residual" (grey-mapped HR minus LR, in sigmas), "sigma_hr_px".
    blocks : (n, 4) block check: y, x (nm, frame of the fine scan), dy, dx (HR px); of volumes (n, 6), with z and dz
        first.
    """

    split_error_hr_px: float
    sigma_hr_px: float
    correlation: float
    decoy_ratio: float
    method: Mapping[str, Any]
    grid: Grid
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    blocks: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))

    def to_dict(self) -> dict[str, Any]:
        """Numbers only, for JSON; the maps travel as arrays."""
        return {
            "split_error_hr_px": self.split_error_hr_px,
            "sigma_hr_px": self.sigma_hr_px,
            "correlation": self.correlation,
            "decoy_ratio": self.decoy_ratio,
            "method": dict(self.method),
            "grid": self.grid.to_dict(),
        }


@dataclass(frozen=True)
class Pair:
    """A registered pair.

    Parameters
    ----------
    lr, hr : the images as recorded (never resampled).
    lr_from_hr : nm in the frame of ``hr`` to nm in the frame of ``lr``.
    verdict, reasons : found, doubtful or not found, and why, in sentences.
    residual : quality figures and maps.
    valid : boolean array on ``hr.grid``, False where the pair must not be learned from; None = all valid.
    """

    lr: Image
    hr: Image
    lr_from_hr: Warp
    verdict: Verdict
    reasons: tuple[str, ...]
    residual: Residual
    valid: NDArray[np.bool_] | None = None

    @property
    def sr_factor(self) -> tuple[float, ...]:
        """Nominal LR over HR pixel size per axis, from the files."""
        return self.lr.grid.sr_factor(self.hr.grid)

    def __str__(self) -> str:
        error = self.residual.split_error_hr_px
        return f"{self.hr.name} in {self.lr.name}: {self.verdict.value}, split error {error:.2f} HR px"
