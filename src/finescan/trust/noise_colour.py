"""Noise of a fine volume whose neighbouring voxels share it: its strength at every size, from places without structure.

The noise of a tomogram is not white, because it was reconstructed and perhaps turned onto another grid. Differences of
neighbours, from which white noise is measured, then tell too little of it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.trust.bands import band, noise_by_grey, noise_gain, second_differences
from finescan.trust.metrics import fit_line

NOISE_VOXELS = 1 << 19  # are enough to take the noise of a volume from
CALM = 0.25  # share of the voxels around which an image shows least
QUIET = 0.02  # share of the voxels around which the fine volume itself holds least
_OF_NOISE = (0.4, 0.6), (0.50, 0.66)  # sizes, and mean square at that share over that of all voxels (Gaussian noise)
_WIDE = 2.0  # sigmas of a band: reach of the average that says how much there is around a voxel
_ENOUGH = 512  # voxels
_SIZES_PX = (3.2, 2.1, 1.4, 0.9, 0.6, 0.4)  # that the spectrum is worked out from, with second differences
_SMALL = 3  # of them, the last, tell how far neighbours share their noise
_WIDEST_PX, _MARGIN = 2.0, 1.1
_SIDE, _SHELLS, _ROUNDS = 32, 28, 12  # more rounds follow the scatter of the sizes

Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Bool = NDArray[np.bool_]


def noise_colour(
    images: Sequence[Floats], recorded: Floats, known: Bool, sigmas_px: Sequence[Sequence[float]]
) -> list[float]:
    """Per size: standard deviation of the fine volume's noise over that of white noise with the same differences.

    The least of three upper limits, because structure that an image lacks must not pass for noise: what the image
    leaves of the fine volume where it shows least; what the fine volume holds where it holds least; and what noise that
    is shared as far as the smallest sizes say (a Gaussian) comes to at this size. Of several images the one that leaves
    least is believed.

    Parameters
    ----------
    images : volumes that hold no noise of ``recorded``; 0 where not known.
    recorded : the fine volume, less its mean; 0 where not known.
    known : voxels that count.
    sigmas_px : of :func:`finescan.trust.bands.band`, per size and axis.

    Returns
    -------
    At least 1, also where there is nothing to tell it from.
    """
    levels, noise = noise_by_grey(recorded, known)
    white = np.interp(recorded, levels, noise).astype(np.float32)
    small = [_measured(images, recorded, known, white, [s] * 3) for s in _SIZES_PX[-_SMALL:]]
    shared = _shared(small)
    out = []
    for sigma in sigmas_px:
        at_most = _MARGIN * _of_shared(float(np.mean(sigma)), shared)
        out.append(max(1.0, min(_measured(images, recorded, known, white, list(sigma)), at_most)))
    return out


def noise_spectrum(images: Sequence[Floats], recorded: Floats, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Frequencies (cycles per voxel) and the variance of the noise at each, as that of white noise of the same power.

    The figures of :func:`noise_colour` at six sizes, and that of second differences, are averages over broad bands of
    frequency; the spectrum that gives all of them is found by multiplying up and down, starting from a smooth one.

    Parameters
    ----------
    images, recorded, known : as there; volumes.
    """
    base = float(np.mean(np.square(noise_by_grey(recorded, known)[1])))
    colour = noise_colour(images, recorded, known, [[s] * 3 for s in _SIZES_PX])
    middles, response = _responses()
    measured = base * np.array([*np.square(colour), 1.0])  # variance over that of white noise of variance 1
    peaks = response @ middles
    order = np.argsort(peaks)
    log = np.interp(middles, peaks[order], np.log(np.maximum(measured, 1e-12))[order])
    for _ in range(_ROUNDS if base > 0 else 0):
        off = np.log(measured / (response @ np.exp(log)))
        log += (response.T @ off) / np.maximum(response.sum(axis=0), 1e-12)
    return middles, np.exp(log) if base > 0 else np.zeros(_SHELLS)


def _measured(images: Sequence[Floats], recorded: Floats, known: Bool, white: Floats, sigma: list[float]) -> float:
    """The least scatter over that of white noise, by what images leave and by where the fine volume is quiet."""
    there, wide = band(recorded, sigma), [_WIDE * s for s in sigma]
    inside = known if known.all() else known & (ndimage.gaussian_filter(known.astype(np.float32), wide) > 1 - QUIET)
    if inside.sum() < _ENOUGH:
        return 1.0
    around = ndimage.gaussian_filter(there**2, wide)[inside]
    least = float(np.quantile(around, QUIET)) / float(np.interp(np.mean(sigma), *_OF_NOISE))
    scatter = [_ratio(np.sqrt(least), white[inside])]
    for image in images:
        shown = band(image, sigma)
        energy = ndimage.gaussian_filter(shown**2, wide)
        calm = inside & (energy <= np.quantile(energy[inside], CALM))
        line, _ = fit_line(shown[inside], there[inside])
        left = 1.4826 * float(np.median(np.abs(there[calm] - max(line, 0.0) * shown[calm])))
        scatter.append(_ratio(left, white[calm]))
    return min(scatter) / noise_gain(sigma)


def _ratio(scatter: float, white: Floats) -> float:
    expected = float(np.sqrt(np.mean(white**2, dtype=np.float64)))
    return scatter / expected if expected > 0 else 0.0


def _shared(small: Sequence[float]) -> float:
    """Sigma of the Gaussian that white noise must be blurred with to be no stronger at the smallest sizes, voxels."""
    widths = np.linspace(0, _WIDEST_PX, 41)
    curves = [[_of_shared(s, w) for w in widths.tolist()] for s in _SIZES_PX[-_SMALL:]]
    return min(float(np.interp(max(v, 1.0), curve, widths)) for v, curve in zip(small, curves, strict=True))


@functools.cache
def _of_shared(sigma: float, shared: float) -> float:
    """What :func:`noise_colour` is for white noise that was blurred by a Gaussian of ``shared`` voxels."""
    middles, response = _responses()
    power = np.exp(-((2 * np.pi * shared * middles) ** 2))
    at_sizes = np.sqrt(response[:-1] @ power / (response[-1] @ power))
    return float(np.interp(sigma, _SIZES_PX[::-1], at_sizes[::-1]))


@functools.cache
def _responses() -> tuple[Array, Array]:
    """Frequencies, and (measures, frequencies): share of each frequency in what a measure makes of white noise."""
    along = np.fft.fftfreq(_SIDE)
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(along, along, along, indexing="ij", sparse=True)))
    edges = np.linspace(0, 0.5 * np.sqrt(3) + 1e-6, _SHELLS + 1)
    shell = np.searchsorted(edges, frequency.ravel(), side="right") - 1
    point = np.zeros((_SIDE,) * 3, np.float32)
    point[(_SIDE // 2,) * 3] = 1
    made = [*(band(point, [s] * 3) for s in _SIZES_PX), second_differences(point)]
    power = np.array([np.bincount(shell, np.abs(np.fft.fftn(v)).ravel() ** 2, _SHELLS) for v in made])
    return (edges[1:] + edges[:-1]) / 2, power / power.sum(axis=1, keepdims=True)
