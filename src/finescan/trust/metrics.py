"""Numbers that say how alike an image and its reference are, and the table of them.

Each takes ``(image, reference, *, data_range, mask=None)``: two 2-D arrays of one shape, the range of grey levels the
number refers to (never guessed), and a boolean array of the pixels that count. Pixels outside the mask have no
influence at all, whatever they hold. Arithmetic is float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIGMA = 1.5  # of the Gaussian window of SSIM (Wang 2004)
TRUNCATE = 3.5  # gives an 11 x 11 window
RADIUS = 5
K1, K2 = 0.01, 0.03
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, fine to coarse
# of volumes: multissim3's defaults, a Gaussian of sigma 1 over five scales (MathWorks' documentation)
VOLUME_MS_WEIGHTS = (0.0545, 0.2442, 0.4026, 0.2442, 0.0545)
ESSIM_BLOCK, ESSIM_BINS = 16, 8
SMALLEST = 16  # pixels per axis that every metric can be computed on


def rmse(image: NDArray, reference: NDArray, *, data_range: float, mask: Mask | None = None) -> float:
    """Root mean squared difference, in grey levels (``data_range`` is checked but does not enter)."""
    x, y, m = _checked(image, reference, data_range, mask)
    return float(np.sqrt(np.mean((x[m] - y[m]) ** 2)))


def psnr(image: NDArray, reference: NDArray, *, data_range: float, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio, dB: ``20 log10(data_range / rmse)``; inf for identical images."""
    error = rmse(image, reference, data_range=data_range, mask=mask)
    return float("inf") if error == 0 else float(20 * np.log10(data_range / error))


def ssim(image: NDArray, reference: NDArray, *, data_range: float, mask: Mask | None = None) -> float:
    """Structural similarity: Gaussian window of sigma 1.5 (11 x 11), population covariance, 5 px border left out.

    The same number as scikit-image with ``gaussian_weights=True, use_sample_covariance=False``. With a mask, the
    window is normalised over the pixels that count.

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, doi:10.1109/TIP.2003.819861.
    """
    x, y, m = _checked(image, reference, data_range, mask)
    luminance, structure = ssim_terms(x, y, m, data_range)
    return _interior_mean(luminance * structure, m)


def ms_ssim(image: NDArray, reference: NDArray, *, data_range: float, mask: Mask | None = None) -> float:
    """Multi-scale SSIM with the weights of the paper.

    Contrast-structure at every scale, luminance at the coarsest only; each scale is the 2 x 2 mean of the one before
    (an odd last row or column is dropped). Five scales where the image has 176 px per axis or more; smaller images get
    as many scales as have 11 px, the weights scaled to sum to one, so one scale alone *is* SSIM. A negative mean
    counts as 0.

    Source: Wang, Simoncelli, Bovik 2003, doi:10.1109/ACSSC.2003.1292216.
    """
    x, y, m = _checked(image, reference, data_range, mask)
    scales = [k for k in range(len(MS_WEIGHTS)) if min(x.shape) // 2**k >= 2 * RADIUS + 1]
    weights = np.array(MS_WEIGHTS[: len(scales)])
    if len(scales) < len(MS_WEIGHTS):  # the five as printed add up to 1.0001 and are left so
        weights /= weights.sum()
    value = 1.0
    for k, weight in zip(scales, weights, strict=True):
        luminance, structure = ssim_terms(x, y, m, data_range)
        this = structure if k < scales[-1] else luminance * structure
        value *= max(_interior_mean(this, m), 0.0) ** weight
        x, y, m = halved(x, y, m)
    return float(value)


def essim(image: NDArray, reference: NDArray, *, data_range: float, mask: Mask | None = None) -> float:
    """Edge-based structural similarity: luminance and contrast of SSIM times the agreement of edge directions.

    Per 16 x 16 block the Sobel amplitudes ``|dx| + |dy|`` are summed into a histogram of 8 directions; the correlation
    of the two histograms replaces SSIM's structure term; the blocks' mean is returned. The paper's text leaves open,
    and we decided: blocks side by side without overlap (a partial last block is left out); luminance and contrast
    from the same block; C3 = C2 / 2; bins of 22.5 degrees starting at -90; population moments; Sobel with repeated
    border pixels. A block counts if half its pixels do; an edge counts if its whole 3 x 3 neighbourhood does.

    Source: Chen, Yang, Po, Xie 2006, "Edge-based structural similarity for image quality assessment",
    doi:10.1109/ICASSP.2006.1660497.
    """
    x, y, m = _checked(image, reference, data_range, mask)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    weight = _blocks(m.astype(float)).sum(-1)
    use = weight >= ESSIM_BLOCK**2 / 2
    if not use.any():
        return float("nan")
    (mx, vx), (my, vy) = (_block_moments(v, m, weight) for v in (x, y))
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    contrast = (2 * np.sqrt(vx * vy) + c2) / (vx + vy + c2)
    sound = ndimage.binary_erosion(m, np.ones((3, 3)), border_value=1)
    hx, hy = (_edge_histograms(v, sound) for v in (x, y))
    dx, dy = hx - hx.mean(-1, keepdims=True), hy - hy.mean(-1, keepdims=True)
    c3 = c2 / 2
    edges = ((dx * dy).mean(-1) + c3) / (np.sqrt((dx**2).mean(-1) * (dy**2).mean(-1)) + c3)
    return float((luminance * contrast * edges)[use].mean())


@dataclass(frozen=True)
class Metric:
    """One row of :data:`METRICS`: the function, whether more is better, its value for identical images, its unit."""

    function: Callable[..., float]
    higher_is_better: bool
    ideal: float
    unit: str

    def __call__(self, image: NDArray, reference: NDArray, *, data_range: float, mask: Mask | None = None) -> float:
        """The number."""
        return self.function(image, reference, data_range=data_range, mask=mask)


METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, True, float("inf"), "dB"),
    "ssim": Metric(ssim, True, 1.0, ""),
    "ms_ssim": Metric(ms_ssim, True, 1.0, ""),
    "essim": Metric(essim, True, 1.0, ""),
    "rmse": Metric(rmse, False, 0.0, "grey levels"),
}


def matched(image: NDArray, reference: NDArray, mask: Mask | None = None) -> tuple[Array, float, float]:
    """The image after the global ``gain * image + offset`` that brings it closest to the reference (least squares).

    Returns
    -------
    matched image (float64), gain, offset. A constant image keeps gain 1.
    """
    x, y, m = _checked(image, reference, 1.0, mask)
    gain, offset = fit_line(x[m], y[m])
    return gain * np.asarray(image, np.float64) + offset, gain, offset


def fit_line(x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[float, float]:
    """Least-squares ``gain, offset`` of ``y = gain * x + offset``; gain 1 where x is constant."""
    mx, my = float(np.mean(x, dtype=np.float64)), float(np.mean(y, dtype=np.float64))
    dx = x - mx
    spread = float(np.mean(dx * dx, dtype=np.float64))
    gain = float(np.mean(dx * (y - my), dtype=np.float64)) / spread if spread > 0 else 1.0
    return gain, my - gain * mx


def decibel(mean_square: float, data_range: float) -> float:
    """PSNR of a mean squared difference, dB; inf for 0."""
    return float("inf") if mean_square == 0 else float(10 * np.log10(data_range**2 / mean_square))


def _checked(image: NDArray, reference: NDArray, data_range: float, mask: Mask | None) -> tuple[Array, Array, Mask]:
    """Both as float64 with 0 where the mask is False, and the mask."""
    x, y = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    if x.shape != y.shape or x.ndim != 2:
        raise InputError(f"A metric compares two 2-D images of one shape, but {x.shape} and {y.shape} came.")
    if not (np.isfinite(data_range) and data_range > 0):
        raise InputError(
            f"data_range must be a positive number of grey levels, but {data_range} came. "
            "Pass the range of the reference, e.g. 255 for full 8-bit contrast."
        )
    if min(x.shape) < SMALLEST:
        raise InputError(f"A metric needs at least {SMALLEST} x {SMALLEST} px, but {x.shape} came. Use larger tiles.")
    m = np.ones(x.shape, bool) if mask is None else np.asarray(mask, bool)
    if m.shape != x.shape or not m.any():
        raise InputError(f"The mask must have shape {x.shape} and count at least one pixel, but {m.shape} came.")
    bad = m & ~(np.isfinite(x) & np.isfinite(y))
    if bad.any():
        raise InputError(f"{int(bad.sum())} pixels that count are NaN or infinite. Leave them out with mask=….")
    return np.where(m, x, 0.0), np.where(m, y, 0.0), m


def ssim_terms(x: Array, y: Array, m: Mask, data_range: float) -> tuple[Array, Array]:
    """Luminance term and contrast-structure term per pixel."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    whole = bool(m.all())
    weight = np.ones(()) if whole else np.maximum(_gauss(m.astype(float)), 1e-12)
    ux, uy, uxx, uyy, uxy = (_gauss(v) / weight for v in (x, y, x * x, y * y, x * y))
    vx, vy, vxy = uxx - ux * ux, uyy - uy * uy, uxy - ux * uy
    return (2 * ux * uy + c1) / (ux**2 + uy**2 + c1), (2 * vxy + c2) / (vx + vy + c2)


def _gauss(v: Array) -> Array:
    return ndimage.gaussian_filter(v, SIGMA, truncate=TRUNCATE)


def _interior_mean(values: Array, m: Mask) -> float:
    """Mean over the pixels that count and lie a window's radius inside; nan if there are none."""
    inner = (slice(RADIUS, -RADIUS),) * 2
    kept = values[inner][m[inner]]
    return float(kept.mean()) if kept.size else float("nan")


def halved(x: Array, y: Array, m: Mask) -> tuple[Array, Array, Mask]:
    """2 x 2 (x 2) means over the pixels that count; a coarse pixel counts if at least half of its four (eight) do."""
    weight = _quads(m.astype(float))
    safe = np.maximum(weight, 1.0)
    return _quads(x) / safe, _quads(y) / safe, weight >= 2 ** (m.ndim - 1)


def _quads(v: Array) -> Array:
    """Sums of 2 x 2 pixels (2 x 2 x 2 voxels)."""
    v = v[tuple(slice(n // 2 * 2) for n in v.shape)]
    first, *others = (v[tuple(slice(k, None, 2) for k in at[::-1])] for at in itertools.product((0, 1), repeat=v.ndim))
    return sum(others, first)


def _blocks(v: NDArray) -> NDArray:
    """(blocks, 256): the whole 16 x 16 blocks of an image."""
    b = ESSIM_BLOCK
    ny, nx = (n // b for n in v.shape)
    return v[: ny * b, : nx * b].reshape(ny, b, nx, b).swapaxes(1, 2).reshape(ny * nx, b * b)


def _block_moments(v: Array, m: Mask, weight: Array) -> tuple[Array, Array]:
    values, kept = _blocks(v), _blocks(m)
    n = np.maximum(weight, 1.0)
    mean = values.sum(-1) / n  # values are 0 where the mask is False
    return mean, (((values - mean[:, None]) * kept) ** 2).sum(-1) / n


def _edge_histograms(v: Array, sound: Mask) -> Array:
    """(blocks, 8) sums of edge amplitude per direction."""
    dy, dx = (ndimage.sobel(v, axis=a, mode="nearest") for a in (0, 1))
    amplitude = (np.abs(dx) + np.abs(dy)) * sound
    angle = np.arctan2(np.where(dx < 0, -dy, dy), np.abs(dx))  # -90 to 90 degrees: a direction has no sign
    bins = np.clip(((angle / np.pi + 0.5) * ESSIM_BINS).astype(int), 0, ESSIM_BINS - 1)
    blocks = _blocks(amplitude)
    where = _blocks(bins) + ESSIM_BINS * np.arange(len(blocks))[:, None]
    sums = np.bincount(where.ravel(), blocks.ravel(), ESSIM_BINS * len(blocks))
    return np.asarray(sums, np.float64).reshape(-1, ESSIM_BINS)
