"""Consistency where no fine scan was recorded: the enhanced picture, degraded again, against the noise of the scan.

The usual yardstick is a recorded fine scan. Without one there is still the noise of the coarse scan itself: its white
floor, read off the spectrum where a lattice leaves most frequencies empty. How far the enhanced picture is blurred
by one coarse pixel is fitted; its grey levels must come back by themselves (gain 1, offset 0), within that noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.trust.consistency import LEAST, MARGIN, Consistency, calibrate
from finescan.values import Image, Region

HIGH = 0.7  # of the highest frequency: the floor is read beyond
LARGEST_PX = 2048  # of the part that is looked at, coarse pixels along each side
WORST_RATIO = 1.5  # rms residual over noise from which on the whole picture does not give the scan back
WORST_GAIN = 0.05
LOCAL = 0.2821  # standard deviation of white noise of unit variance after the local average (Gaussian of one pixel)


@dataclass(frozen=True)
class SelfConsistency:
    """The yardstick of one picture, and how the whole picture does on it.

    Parameters
    ----------
    check : for :func:`finescan.trust.consistency_bands`; gain 1 and offset 0.
    noise : white noise of the coarse scan, grey levels.
    residual : robust standard deviation of degraded minus recorded, grey levels, single pixels.
    gain, offset : coarse grey level = gain * degraded + offset, by least squares.
    """

    check: Consistency
    noise: float
    residual: float
    gain: float
    offset: float

    @property
    def ratio(self) -> float:
        """Residual over noise: 0 keeps the recorded noise, 1 leaves out all of it, more contradicts the scan."""
        return self.residual / self.noise if self.noise > 0 else float(self.residual > 0)

    def notes(self) -> list[str]:
        """Sentences about what does not fit."""
        out = []
        if self.ratio > WORST_RATIO:
            out.append(
                f"Degraded again, the enhanced image differs from the recorded one by {self.ratio:.1f} times the white "
                "noise of the scan: part of what was recorded, or of its correlated noise, is not in it."
            )
        if abs(self.gain - 1) > WORST_GAIN:
            out.append(
                f"The contrast of the enhanced image is {1 / self.gain:.2f} times that of the recorded one at its "
                "pixel size."
            )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        names = ("noise", "residual", "ratio", "gain", "offset")
        return {n: float(getattr(self, n)) for n in names} | {"yardstick": self.check.to_dict()}


def white_noise(picture: NDArray[Any]) -> float:
    """Standard deviation of the white noise of a picture, from the median of its power at high frequencies.

    Lattices occupy few frequencies, and most recordings show hardly any detail at the highest ones; where they do, it
    counts as noise.

    >>> noise = np.random.default_rng(0).normal(0, 3, (200, 300))
    >>> bool(abs(white_noise(noise + 50 * np.cos(np.arange(300) / 3)) - 3) < 0.05)
    True
    """
    values = np.asarray(picture, np.float64)
    values = np.where(np.isfinite(values), values, np.nanmean(values))
    window = np.hanning(values.shape[0] + 2)[1:-1, None] * np.hanning(values.shape[1] + 2)[None, 1:-1]
    power = np.abs(np.fft.rfft2((values - values.mean()) * window)) ** 2
    far = np.hypot(np.fft.fftfreq(values.shape[0])[:, None], np.fft.rfftfreq(values.shape[1])[None]) > HIGH / 2
    return float(np.sqrt(np.median(power[far]) / np.log(2) / (window**2).sum()))


def self_yardstick(
    enhanced: Image, lr: Image, *, rails: tuple[float | None, float | None] = (None, None)
) -> SelfConsistency:
    """The yardstick of an enhanced picture of a scan that nothing finer was recorded of.

    Parameters
    ----------
    enhanced : on a grid of the same field, grey levels of ``lr``.
    lr : as it was enhanced.
    rails : levels at which it saturates.

    Raises
    ------
    InputError : fewer than 64 usable pixels.
    """
    coarse, fine = _middle(lr, enhanced)
    fitted = calibrate(fine, coarse, rails=rails, fine_rails=rails)
    noise = white_noise(np.asarray(coarse.data[...]))
    curve = fitted.noise_curve
    if noise > 0 and fitted.noise_sigma > 0:  # its dependence on the grey level, at the height of the noise
        larger = max(noise / fitted.noise_sigma, 1.0)
        curve = (curve[0], tuple(s * larger for s in curve[1]))
    check = replace(
        fitted,
        gain=1.0,
        offset=0.0,
        noise_sigma=max(noise, fitted.noise_sigma),
        threshold=max(fitted.threshold if noise <= fitted.noise_sigma else 0.0, LEAST * MARGIN * LOCAL),
        noise_curve=curve,
    )
    return SelfConsistency(check, noise, fitted.noise_sigma, fitted.gain, fitted.offset)


def _middle(lr: Image, enhanced: Image) -> tuple[Image, Image]:
    """The middle of a large picture, and the enhanced picture of it."""
    shape = lr.grid.shape
    if max(shape) <= LARGEST_PX:
        return lr, enhanced
    start = [max(0, (n - LARGEST_PX) // 2) for n in shape]
    stop = [min(n, a + LARGEST_PX) for n, a in zip(shape, start, strict=True)]
    coarse = lr.crop(Region(lr.grid, tuple(start), tuple(stop)))
    low = np.rint(enhanced.grid.to_index(np.add(coarse.grid.edge_nm, np.divide(enhanced.grid.pixel_size_nm, 2))))
    size = np.rint(np.divide(coarse.grid.extent_nm, enhanced.grid.pixel_size_nm))
    return coarse, enhanced.crop(
        Region.clipped(enhanced.grid, tuple(low.astype(int).tolist()), tuple((low + size).astype(int).tolist()))
    )
