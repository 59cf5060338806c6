"""Three ways to look at a picture when searching for it: each turns flattened grey levels into feature channels.

A score is always the normalised correlation of the channels, so the same search serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

CLIP = 3.0  # flattened grey levels beyond this many local standard deviations count no more
GRADIENT_PX = 0.9  # standard deviation of the derivative, working pixels
BAND = (0.02, 0.17)  # whitened: spectral window (high-pass, low-pass), cycles per working pixel
TAPER_PX = 4.0  # soft edge before a Fourier transform, working pixels


@dataclass(frozen=True)
class Mode:
    """One way to look.

    Parameters
    ----------
    features : (flattened grey, usable share, oversampling) -> (channels, *shape) float32.
    step_px : distance of neighbouring poses of the search grid at the edge of the tile, working pixels.
    signed : whether inverted contrast changes the sign of the score (the absolute value is searched then).
    """

    features: Callable[[Array, Array, float], Array]
    step_px: float
    signed: bool


def grey_features(flat: Array, ok: Array, unit: float) -> Array:
    """Flattened grey levels themselves, outliers limited; ``unit`` = array pixels per working pixel (unused)."""
    return np.clip(flat, -CLIP, CLIP)[None]


def orientation_features(flat: Array, ok: Array, unit: float) -> Array:
    """Direction of the gradient at the double angle, which is the same for bright-on-dark and dark-on-bright.

    The length is the gradient's, saturated at its median, so that many weak edges count as much as a strong one.
    Double angle: Granlund and Knutsson, Signal Processing for Computer Vision (1995), doi:10.1007/978-1-4757-2377-9.
    """
    sigma = GRADIENT_PX * unit
    gy = ndimage.gaussian_filter(flat, sigma, order=(1, 0), mode="nearest", truncate=3.0)
    gx = ndimage.gaussian_filter(flat, sigma, order=(0, 1), mode="nearest", truncate=3.0)
    square = gy * gy + gx * gx
    inside = ndimage.minimum_filter(ok, 1 + 2 * round(2 * sigma)) > 0.5
    typical = float(np.median(square[inside])) if inside.any() else 0.0
    scale = inside / (square + max(typical, 1e-12))
    return np.stack([(gx * gx - gy * gy) * scale, 2 * gx * gy * scale]).astype(np.float32)


def whitened_features(flat: Array, ok: Array, unit: float) -> Array:
    """All frequencies of a band at equal strength (phase only): a lattice loses its period, its flaws remain.

    Phase-only correlation: Kuglin and Hines, Proc. IEEE Conf. Cybernetics and Society (1975) 163-165.
    """
    inside = ok > 0.5
    distance = ndimage.distance_transform_edt(np.pad(inside, 1))[tuple(slice(1, -1) for _ in flat.shape)]
    soft = np.clip(distance / (TAPER_PX * unit), 0, 1).astype(np.float32)
    shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in flat.shape)
    spectrum = scipy.fft.rfftn(np.clip(flat, -CLIP, CLIP) * soft, s=shape)
    squares = [np.square((scipy.fft.rfftfreq if a == flat.ndim - 1 else scipy.fft.fftfreq)(n) * unit)
               for a, n in enumerate(shape)]  # fmt: skip
    f2 = np.add.outer(squares[0], squares[1]) if flat.ndim == 2 else sum(np.ix_(*squares))
    window = np.exp(-f2 / (2 * BAND[1] ** 2)) * (1 - np.exp(-f2 / (2 * BAND[0] ** 2)))
    size = np.abs(spectrum)
    spectrum *= (window / (size + 1e-3 * float(size.mean()) + 1e-12)).astype(np.float32)
    out = scipy.fft.irfftn(spectrum, s=shape)[tuple(slice(0, n) for n in flat.shape)] * soft
    return (out / max(float(out.std()), 1e-12)).astype(np.float32)[None]


MODES: dict[str, Mode] = {
    "orientation": Mode(orientation_features, 3.0, False),
    "whitened": Mode(whitened_features, 2.5, True),
    "ncc": Mode(grey_features, 4.0, True),
}
