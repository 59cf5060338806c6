"""What hints at an error where no fine scan was recorded: one row of numbers per coarse pixel, without units.

Of structure of three sizes: how strongly the enhanced image shows it, how strongly the coarse scan does, and how
strongly the coarse scan would if the enhanced image were true; all in standard deviations of the coarse scan's noise.
What the coarse scan would show and does not speaks for invention; what is at the limit of its noise is easily lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.trust.bands import band, gathered, noise_gain
from finescan.trust.consistency import Consistency, degrade, local_mean
from finescan.values import Image

FINE_PX = (0.3, 0.6, 1.2)  # sigma of structure of the enhanced image, coarse pixels
COARSE_PX = (0.5, 1.0)  # sigma of structure of the coarse scan (its PSF and pixel add to the smaller ones)
NEAR_PX = 1.5  # sigma of the neighbourhood within which both are compared, coarse pixels
LEAST_SIGMA_PX = 0.8  # fine pixels

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """What was measured, per coarse pixel.

    Parameters
    ----------
    columns : name -> (h, w); compressed (see :func:`compressed`), finite.
    contradiction : (h, w) how many standard deviations of noise the coarse scan shows less, or something else, than it
        would if the structure of the enhanced image were there; about normal if it is.
    known : (h, w) where anything can be said.
    """

    columns: dict[str, Floats]
    contradiction: Floats
    known: NDArray[np.bool_]

    def table(self, where: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """(pixels, columns) of the chosen pixels."""
        parts = [c.ravel() if where is None else c[where] for c in self.columns.values()]
        return np.stack(parts, axis=1).astype(np.float64)


def evidence(enhanced: Image, lr: Image, check: Consistency, *, spread: Image | None = None) -> Evidence:
    """Look at an enhanced image through the coarse scan.

    Parameters
    ----------
    enhanced : grey levels of the fine scan on a fine grid in the frame of ``lr``; NaN = unknown.
    lr : the coarse scan.
    check : the yardstick of :func:`finescan.trust.calibrate`: blur, gain, noise by grey level.
    spread : predicted spread on the enhanced grid, fine grey levels; None = there is none.
    """
    recorded = np.asarray(lr.data[...], np.float32)
    predicted = (check.gain * degrade(enhanced, lr.grid, psf_sigma_px=check.psf_sigma_px) + check.offset).astype(
        np.float32
    )
    known = np.isfinite(recorded) & np.isfinite(predicted)
    recorded, predicted = (np.clip(v, *check.rails) for v in (recorded, predicted))
    recorded, predicted = _filled(recorded, known), _filled(predicted, known)
    noise = np.maximum(check.noise_at(local_mean(recorded)), 1e-6 + 0.1 * check.noise_sigma).astype(np.float32)
    columns: dict[str, Floats] = {}
    factor = lr.grid.sr_factor(enhanced.grid)
    shown = np.abs(np.float32(check.gain)) * _filled(np.asarray(enhanced.data[...], np.float32))
    for size in FINE_PX:
        sigma = [max(size * f, LEAST_SIGMA_PX) for f in factor]
        structure = band(shown, sigma)
        for name, sign in (("dark", -1), ("bright", 1)):
            strongest = gathered(sign * structure, enhanced.grid, lr.grid)
            columns[f"enhanced {name} {size:g}"] = np.nan_to_num(strongest) / noise
    for size in COARSE_PX:
        unit = noise * np.float32(noise_gain([size, size]))
        for name, picture in (("coarse", recorded), ("expected", predicted)):
            columns[f"{name} {size:g}"] = band(picture, [size, size]) / unit
    difference = (predicted - recorded) / noise
    columns["residual"] = np.asarray(local_mean(difference), np.float32)
    columns["texture"] = np.sqrt(_near(difference**2))
    t, r = (_apart(v) / noise for v in (predicted, recorded))
    energy, shared, measured = _near(t * t), _near(t * r), _near(r * r)
    area = np.float32(4 * np.pi * NEAR_PX**2)  # pixels that count in a neighbourhood
    strength = np.sqrt(area * energy)
    columns["would show"] = strength
    columns["does show"] = area**0.5 * shared / np.sqrt(energy + 0.05)
    columns["shows"] = np.sqrt(area * measured)
    contradiction = area * (energy - shared) / np.maximum(strength, 1.0)
    columns["contradiction"] = contradiction
    if spread is not None:
        width = np.abs(np.float32(check.gain)) * _filled(np.asarray(spread.data[...], np.float32))
        columns["spread"] = np.nan_to_num(gathered(width, spread.grid, lr.grid)) / noise
    return Evidence({k: compressed(v) for k, v in columns.items()}, np.asarray(contradiction, np.float32), known)


def compressed(values: Floats) -> Floats:
    """Sign and logarithm: a structure of 100 standard deviations says little more than one of 50."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)), np.float32)


def _apart(values: Floats) -> Floats:
    """Less the average of the neighbourhood."""
    return np.asarray(values - ndimage.gaussian_filter(values, NEAR_PX, mode="nearest"))


def _near(values: Floats) -> Floats:
    return np.asarray(ndimage.gaussian_filter(values, NEAR_PX, mode="nearest"))


def _filled(values: Floats, known: NDArray[np.bool_] | None = None) -> Floats:
    """Unknown pixels as the nearest known one."""
    good = np.isfinite(values) if known is None else known
    if good.all():
        return values
    if not good.any():
        return np.zeros_like(values)
    nearest = ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])
