"""Three kinds of error where a fine scan was recorded: inconsistent, omitted, invented.

The enhanced image and the fine scan are compared size by size, each as brighter or darker than its surroundings. What
counts is structure that one shows at more than twice the strength of the other *anywhere within half a coarse pixel*:
registration errors of a fraction of a pixel, and gain and offset, make no error. The noise of the fine scan is the
unit. Of volumes: :mod:`finescan.trust.error_boxes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.bands import band, gathered, nearby_largest, noise_by_grey, noise_gain
from finescan.trust.consistency import Consistency, consistency_map
from finescan.trust.metrics import fit_line
from finescan.values import Image

SIZES_PX = (0.35, 0.7, 1.4)  # sigma of the structure looked at, coarse pixels
LEAST_SIGMA_PX = 0.8  # but not below this many fine pixels
SHIFT_PX = 0.5  # coarse pixels by which structure may be displaced
SHARE = 0.5  # of the strength of a structure that must be missing …
SIGMAS = 3.0  # … by this many standard deviations of the fine scan's noise: that is 1
FAINT = 0.05  # of the standard deviation of the fine scan: the noise counts as no less
_ENOUGH = 64

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ErrorMaps:
    """Errors per coarse pixel (voxel), each in units in which 1 is the ordinary limit; NaN where nothing can be said.

    Parameters
    ----------
    consistency : degraded again, the enhanced image does not give the coarse scan.
    omission : structure of the fine scan, beyond its noise, that the enhanced image lacks.
    invention : structure of the enhanced image that the fine scan, beyond its noise, does not have.
    """

    consistency: Floats
    omission: Floats
    invention: Floats

    def shares(self) -> dict[str, float | None]:
        """Share of the known coarse pixels beyond the limit; None where none is known."""
        return {name: _share(values) for name, values in vars(self).items()}


def error_maps(
    enhanced: Image, fine: Image, lr: Image, check: Consistency, *, mask: NDArray[np.bool_] | None = None
) -> ErrorMaps:
    """Compare an enhanced image with the fine scan of (a part of) its field.

    Parameters
    ----------
    enhanced, fine : on one grid in the frame of ``lr``; NaN = not known there.
    lr : the coarse scan.
    check : the yardstick of :func:`finescan.trust.calibrate`.
    mask : pixels of the fine grid that may be used (True), e.g. not saturated; None = all.

    Returns
    -------
    ErrorMaps on ``lr.grid``.

    Raises
    ------
    InputError : other grids, or fewer than 64 pixels that both know.

    Examples
    --------
    >>> from finescan.values import Grid
    >>> grid = Grid.of((64, 64), 10.0)
    >>> fine = np.zeros((64, 64), np.float32)
    >>> fine[30:34, 30:34] = 100
    >>> lr = Image(fine.reshape(16, 4, 16, 4).mean((1, 3)), grid.coarsen(4), "coarse")
    >>> maps = error_maps(Image(0 * fine, grid, "flat"), Image(fine, grid, "fine"), lr, Consistency(0.3, 1, 0, 1, 4, 1))
    >>> bool(maps.omission[7:9, 7:9].min() > 1), bool(maps.invention.max() > 0)
    (True, False)
    """
    if not enhanced.grid.same_as(fine.grid, tolerance=1e-3):
        raise InputError(
            f"Errors are mapped on one grid, but {enhanced.name} is {enhanced.grid} and {fine.name} is {fine.grid}. "
            "Resample the fine scan onto the grid of the enhanced image."
        )
    ours, recorded = (np.asarray(i.data[...], np.float32) for i in (enhanced, fine))
    known = np.isfinite(ours) & np.isfinite(recorded)
    if mask is not None:
        known &= np.asarray(mask, bool)
    if known.sum() < _ENOUGH:
        raise InputError(
            f"At least {_ENOUGH} pixels must be known in both images to map errors, but {int(known.sum())} are. Check "
            "the mask, and that both images lie in one frame."
        )
    residual, _ = consistency_map(enhanced, lr, check)
    missing, extra = compared(ours, recorded, known, lr.grid.sr_factor(fine.grid), Unit.of(ours, recorded, known))
    return ErrorMaps(
        np.abs(residual / np.float32(check.threshold)),
        gathered(missing, fine.grid, lr.grid),
        gathered(extra, fine.grid, lr.grid),
    )


@dataclass(frozen=True)
class Unit:
    """How grey levels of two images compare, and the noise that counts as nothing.

    Parameters
    ----------
    gain, offset : fine scan = gain * enhanced + offset, least squares.
    middle : grey level of the fine scan that both are taken from.
    levels, sigmas : grey levels less ``middle``, and the standard deviation of the fine scan's noise at each.
    least : noise counts as no less.
    colour : per size, how much stronger than white the noise is.
    """

    gain: float
    offset: float
    middle: float
    levels: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    least: float
    colour: tuple[float, ...] = (1.0,) * len(SIZES_PX)

    @classmethod
    def of(cls, ours: Floats, recorded: Floats, known: NDArray[np.bool_]) -> Unit:
        """From all pixels that both know."""
        gain, offset = fit_line(ours[known], recorded[known])
        gain = gain if gain > 0 else 1.0  # an image that has nothing in common with the scan: as it is
        middle = float(recorded[known].mean())
        centred = np.where(known, recorded - np.float32(middle), 0).astype(np.float32)
        levels, sigmas = noise_by_grey(centred, known)
        return cls(gain, offset, middle, levels, sigmas, max(FAINT * float(np.std(centred[known])), 1e-6))


def compared(
    ours: Floats, recorded: Floats, known: NDArray[np.bool_], factor: tuple[float, ...], unit: Unit
) -> tuple[Floats, Floats]:
    """Omission and invention per fine pixel (voxel); NaN where not known.

    Parameters
    ----------
    ours, recorded : grey levels of the enhanced image and the fine scan.
    known : where both are known.
    factor : fine pixels per coarse one, along each axis.
    unit : of them, or of a larger part of the same images.
    """
    ours = np.where(known, unit.gain * ours + unit.offset - unit.middle, 0).astype(np.float32)
    recorded = np.where(known, recorded - np.float32(unit.middle), 0).astype(np.float32)
    noise = np.maximum(np.interp(ours, unit.levels, unit.sigmas), unit.least)
    missing, extra = (np.zeros(known.shape, np.float32) for _ in range(2))
    radius = [max(SHIFT_PX * f, 1.0) for f in factor]
    for sigma, colour in zip(sizes(factor), unit.colour, strict=True):
        limit = (SIGMAS * noise_gain(sigma) * colour * noise).astype(np.float32)
        a, b = band(ours, sigma), band(recorded, sigma)
        for sign in (1, -1):
            missing = np.maximum(missing, lacking(sign * b, sign * a, radius) / limit)
            extra = np.maximum(extra, lacking(sign * a, sign * b, radius) / limit)
    outside = ~known
    missing[outside], extra[outside] = np.nan, np.nan
    return missing, extra


def sizes(factor: tuple[float, ...]) -> list[list[float]]:
    """Sigma of the structures looked at, fine pixels along each axis."""
    return [[max(size * f, LEAST_SIGMA_PX) for f in factor] for size in SIZES_PX]


def lacking(shown: Floats, by: Floats, radius: list[float]) -> Floats:
    """How much of what one image shows is not shown at half its strength by the other, nearby; 0 or more."""
    return np.asarray(np.maximum(SHARE * shown - np.maximum(nearby_largest(by, radius), 0), 0))


def _share(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.mean(known > 1)) if known.size else None
