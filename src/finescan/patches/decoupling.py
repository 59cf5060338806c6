"""Pairs whose two pictures have noise that has nothing to do with each other, from one noisy picture.

A picture made finer and then coarser again has the same noise on both sides: a network learns to keep it. With noise z
of the recorded strength, ``picture + t z`` and ``picture - z / t`` show the same sample, and for normal noise are
independent of each other: what can be predicted of one from the other is the sample alone.

Source: T. Pang et al., "Recorrupted-to-Recorrupted: unsupervised deep learning for image denoising", CVPR 2021,
doi:10.1109/CVPR46437.2021.00208.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from finescan.patches.zoom import cubic_weights, points

Array = NDArray[np.float32]

_HIGH = 0.25  # cycles per pixel along either axis, from which on a picture has little but noise
_PEAK = 8.0  # times the floor: more power than noise ever has (once in 3000 pixels)
_KEPT_POWER = 1 - _PEAK * np.exp(-_PEAK) / (1 - np.exp(-_PEAK))  # mean power of noise below that, over the floor
ADDED = 0.5**0.5  # t: noise added to the first version, in standard deviations of z
_SMOOTH = 1.0  # sigma in pixels of what counts as the grey level that noise belongs to
_BINS, _FEWEST = 12, 200  # of pixels per bin


@dataclass(frozen=True)
class NoiseModel:
    """Variance of the noise of single pixels: ``constant + slope * grey``, never below 0."""

    constant: float
    slope: float

    def variance(self, grey: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of pixels of these grey levels."""
        return np.maximum(self.constant + self.slope * np.asarray(grey, np.float64), 0.0)


def noise_of(picture: Array, good: NDArray[np.bool_] | None = None) -> NoiseModel:
    """The white noise of single pixels, from what is left of a picture at high spatial frequencies without its peaks.

    The floor of the spectrum is the median of its power, which the peaks of a lattice do not move. Where the power is
    near that floor, the picture is noise; its variance over bins of the smoothed grey level is fitted by a line.

    Parameters
    ----------
    picture : (h, w) grey levels, finite.
    good : pixels that count; None = all.
    """
    p = np.asarray(picture, np.float64)
    waves = fft.fft2(p - p.mean(), workers=1)
    power = np.abs(waves) ** 2
    fy, fx = (np.abs(fft.fftfreq(n)) for n in p.shape)
    high = np.maximum(fy[:, None], fx) > _HIGH
    floor = float(np.median(power[high])) / np.log(2)  # power of noise has an exponential distribution
    kept = high & (power < _PEAK * floor)
    residual = fft.ifft2(waves * kept, workers=1).real
    share = kept.mean() * _KEPT_POWER
    if not floor > 0 or not share > 0:
        return NoiseModel(0.0, 0.0)
    count = np.ones(p.shape, bool) if good is None else good
    x, r = ndimage.gaussian_filter(p, 1.5)[count], residual[count] / np.sqrt(share)
    if len(x) < _FEWEST:
        return NoiseModel(0.0, 0.0)
    edges = np.quantile(x, np.linspace(0, 1, min(_BINS, len(x) // _FEWEST) + 1))
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    bins = [place == k for k in range(len(edges) - 1)]
    means = [float(x[b].mean()) for b in bins if b.any()]
    return _line(np.array(means), np.array([float(np.square(r[b]).mean()) for b in bins if b.any()]))


def _line(grey: NDArray[np.float64], variance: NDArray[np.float64]) -> NoiseModel:
    """A straight line that does not fall: brighter pixels are never less noisy."""
    if len(grey) < 3 or np.ptp(grey) <= 0:
        return NoiseModel(float(variance.mean()), 0.0)
    slope, constant = np.polyfit(grey, variance, 1)
    return NoiseModel(float(constant), float(slope)) if slope > 0 else NoiseModel(float(variance.mean()), 0.0)


def noise_share(picture: Array, noise: NoiseModel) -> float:
    """Variance of the noise over that of the picture, 0 to 1."""
    spread = float(np.var(picture, dtype=np.float64))
    return float(np.clip(noise.variance(picture).mean() / spread, 0.0, 1.0)) if spread > 0 else 0.0


def decoupled(picture: Array, noise: NoiseModel, part: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two versions of a picture whose noise is independent, or partly so.

    Parameters
    ----------
    picture : (h, w) recorded grey levels.
    part : of the noise's variance that the versions do not have in common, 0 to 1.

    Returns
    -------
    First, for the coarse picture: its noise has 1 + part / 2 times the recorded variance. Second, for the fine picture:
    1 + 2 part times.
    """
    grey = ndimage.gaussian_filter(np.asarray(picture, np.float64), _SMOOTH)
    z = (np.sqrt(part * noise.variance(grey)) * rng.standard_normal(picture.shape)).astype(np.float32)
    return picture + np.float32(ADDED) * z, picture - z / np.float32(ADDED)


def decoupled_points(
    picture: Array,
    noise: NoiseModel,
    part: float,
    ratio: float,
    start: Sequence[int],
    stop: Sequence[int],
    rng: np.random.Generator,
) -> Array:
    """What a scan with larger steps would have recorded of the first version of a picture, noise included.

    Grey levels between recorded pixels come from interpolation, which takes noise away; so much is added again, white,
    that every point has at least the noise of a recorded pixel.

    Parameters
    ----------
    picture, part : the first version of :func:`decoupled`, and what made it.
    ratio, start, stop : of the coarse picture, see :func:`finescan.patches.zoom.points`.
    """
    (coarse,) = points(picture, ratio, start, stop, interpolated=True)
    left = [
        np.square(cubic_weights(a, b, ratio, n)[1]).sum(axis=1)
        for a, b, n in zip(start, stop, picture.shape, strict=True)
    ]
    missing = np.maximum(1.0 - (1.0 + part * ADDED**2) * np.multiply.outer(*left), 0.0)
    variance = noise.variance(ndimage.gaussian_filter(coarse.astype(np.float64), _SMOOTH)) * missing
    return np.asarray(coarse + np.sqrt(variance) * rng.standard_normal(coarse.shape), np.float32)
