"""Resolution place by place against a recorded fine scan: how much blur was added, and down to where both agree.

For pictures (rings of frequency) and volumes (shells) alike. Neither can be bought with invention. Texture that the
fine scan does not have is uncorrelated with it: it lowers the correlation, and it adds the same to the misfit of every
blur, so that the best blur stays where it was. Where no fine scan was recorded nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from finescan.errors import InputError
from finescan.trust.bands import noise_by_grey
from finescan.trust.local_windows import Floats, Windows, filled
from finescan.trust.resolution import TAPERED, RingCurve, ring_edges, ring_index, taper

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # full width at half maximum over sigma, 2.355
WIDEST = 1 / 6  # of a window: the widest sigma looked for
WIDTHS = {2: 24, 3: 14}  # by number of axes: sigmas tried, closer together where they are small
ALIKE = 0.25  # least share of the variance in a window that the best blur must explain
COARSEST = 1 / 2  # of a window: the longest period a window can tell
THRESHOLD = "half"
_AT_ONCE = 1 << 22  # pixels of windows transformed together

Array = NDArray[np.float64]
Images = Mapping[str, NDArray[np.floating]]


def local_blur(
    images: Images, reference: NDArray[np.floating], windows: Windows, pixel_size_nm: Sequence[float]
) -> dict[str, Floats]:
    """Sigma of the Gaussian that brings the recorded fine scan nearest to each image, window by window, nm.

    The fine scan is blurred as a whole, so a window has no border of its own; gain and offset are fitted in every
    window for every width. Noise of the fine scan makes the answer too wide rather than too narrow: blurring removes
    noise as well as detail.

    Parameters
    ----------
    images : name -> (h, w) or (d, h, w) grey levels.
    reference : the recorded fine scan, same shape.
    windows : laid over them; pixels that do not count have no influence.
    pixel_size_nm : (z,) y, x. The blur is the same in all directions of space.

    Returns
    -------
    name -> (rows, columns) of windows, of a volume (layers, rows, columns). 0 = as sharp as the fine scan; a sixth of
    a window = that or wider; NaN = the window is not used, or image and fine scan have too little in common there (no
    blur explains a quarter of the variance).

    Raises
    ------
    InputError : other shapes.

    Source: Gaussian fit of section 2.5.1 of Bukka et al. 2025, doi:10.1515/mim-2024-0017, here per window.
    """
    _same_shapes(images, reference, windows)
    truth = filled(reference, windows.known)
    middle = np.float32(truth[windows.known].mean(dtype=np.float64)) if windows.known.any() else np.float32(0)
    waves = fft.dctn(truth - middle, norm="ortho")
    n = np.maximum(windows.sums(np.ones(truth.shape, np.float32)), 1.0)
    own = {k: _Moments.of(np.asarray(v, np.float32) - middle, windows, n) for k, v in images.items()}
    widths = widths_nm(windows.size_px, pixel_size_nm)
    explained = {k: np.empty((len(widths), *windows.shape)) for k in images}
    for w, sigma in enumerate(widths):
        blurred = _blurred(waves, [sigma / p for p in pixel_size_nm])
        x = _Moments.of(blurred, windows, n)
        for k, y in own.items():
            explained[k][w] = x.explains(y, windows.sums(blurred * y.values) / n)
    return {k: np.where(windows.used, _best(e, widths), np.nan).astype(np.float32) for k, e in explained.items()}


def widths_nm(size_px: int, pixel_size_nm: Sequence[float]) -> Array:
    """The sigmas that are tried in windows of a size."""
    return WIDEST * size_px * max(pixel_size_nm) * np.linspace(0, 1, WIDTHS[len(pixel_size_nm)]) ** 1.5


@dataclass(frozen=True)
class _Moments:
    """Mean and variance per window."""

    values: Floats
    mean: Array
    variance: Array

    @classmethod
    def of(cls, values: Floats, windows: Windows, n: Array) -> _Moments:
        mean = windows.sums(values) / n
        return cls(values, mean, np.maximum(windows.sums(values * values) / n - mean**2, 0))

    def explains(self, other: _Moments, product: Array) -> Array:
        """Share of the other's variance that a line with a positive slope through this one explains."""
        together = product - self.mean * other.mean
        both = self.variance * other.variance
        share = np.divide(together**2, both, out=np.zeros(both.shape), where=both > 0)
        return np.where(together > 0, share, 0.0)


def _blurred(waves: Floats, sigma_px: list[float]) -> Floats:
    """A Gaussian blur with mirrored borders, from the cosine transform."""
    for axis, (s, n) in enumerate(zip(sigma_px, waves.shape, strict=True)):
        keep = np.exp(-0.5 * (np.pi * s * np.arange(n, dtype=np.float64) / n) ** 2).astype(np.float32)
        waves = waves * keep.reshape([n if k == axis else 1 for k in range(waves.ndim)])
    return np.asarray(fft.idctn(waves, norm="ortho", overwrite_x=True), np.float32)


def _best(explained: Array, widths: Array) -> Array:
    """The width that explains most, by a parabola through the best and its neighbours; NaN where that is too little."""
    k = np.clip(explained.argmax(axis=0), 1, len(widths) - 2)
    y0, y1, y2 = (np.take_along_axis(explained, (k + d)[None], axis=0)[0] for d in (-1, 0, 1))
    x0, x1, x2 = (widths[k + d] for d in (-1, 0, 1))
    up, down = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    bend = up - down
    top = x1 - np.divide(0.5 * ((x1 - x0) * up - (x1 - x2) * down), bend, out=np.zeros(k.shape), where=bend > 0)
    top = np.where(explained[-1] >= explained.max(axis=0), widths[-1], np.clip(top, x0, x2))
    return np.where(explained.max(axis=0) >= ALIKE, top, np.nan)


@dataclass(frozen=True)
class LocalRings:
    """Ring (shell) correlation with the fine scan, window by window.

    Parameters
    ----------
    resolution_nm : (rows, columns) of windows: period at which the correlation falls below the threshold. Two pixels
        if it never does; NaN where the window is not used, or where the two agree on nothing that a window can tell.
    pooled : the curve of all windows together.
    limit : the curve a perfect image would have: the fine scan's own noise agrees with nothing.
    """

    resolution_nm: Floats
    pooled: RingCurve
    limit: RingCurve


def local_rings(
    images: Images,
    reference: NDArray[np.floating],
    windows: Windows,
    pixel_size_nm: Sequence[float],
    *,
    threshold: str = THRESHOLD,
) -> dict[str, LocalRings]:
    """Fourier ring (of volumes: shell) correlation of each image with the fine scan, window by window.

    A window is tapered (Hann) as the tiles of :func:`finescan.trust.ring_correlation` are, so one window alone gives
    what that function gives, and in volumes what :func:`finescan.trust.shell_correlation` gives. A window of n pixels
    reads periods between 2 and n / 2 pixels, of unequal sides between 2 of the longest and n / 2 of the shortest. Its
    rings hold few coefficients: at a period of p pixels a correlation of 0.5 scatters by 0.41 / sqrt(n / p) (pictures;
    measured on noise; its mean is right to 0.01), so single windows scatter and their median is to be read.

    Parameters
    ----------
    images, reference, windows, pixel_size_nm : as for :func:`local_blur`.
    threshold : "half", "one_seventh" or "half_bit", see :meth:`finescan.trust.RingCurve.threshold`.

    Raises
    ------
    InputError : other shapes, no window, an unknown threshold.
    """
    _same_shapes(images, reference, windows)
    sums = RingSums.of(images, reference, windows, pixel_size_nm)
    limit, out = sums.limit(white_noise(reference, windows.known)), {}
    for name in images:
        found = np.full(windows.shape, np.nan, np.float32)
        found[windows.used] = sums.resolutions(name, threshold)
        out[name] = LocalRings(found, sums.pooled(name), limit)
    return out


def white_noise(reference: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """Variance of the white noise of a fine scan, as a mean over its grey levels."""
    _, sigmas = noise_by_grey(filled(reference, known), known)
    return float(np.mean(np.square(sigmas)))


@dataclass(frozen=True)
class RingSums:
    """Sums of products of Fourier coefficients per window and ring, for pairs of images; "" is the fine scan.

    Parameters
    ----------
    pixel_size_nm, size_px : of the pixels and the windows.
    edges, count : of the rings, cycles per nm, and half the number of coefficients in each.
    products : (name, other) -> (windows, rings), windows in the order of :meth:`Windows.starts`.
    """

    pixel_size_nm: tuple[float, ...]
    size_px: int
    edges: Array
    count: Array
    products: Mapping[tuple[str, str], Array]

    @classmethod
    def of(
        cls, images: Images, reference: NDArray[np.floating], windows: Windows, pixel_size_nm: Sequence[float]
    ) -> RingSums:
        """Of every image with itself and with the fine scan.

        Raises
        ------
        InputError : no window is used.
        """
        starts, n, ndim = windows.starts(), windows.size_px, windows.known.ndim
        if not starts:
            raise InputError(
                "No window lies within the known pixels, so nothing can be said place by place. Use smaller windows, "
                "or a larger held-out area."
            )
        shape = (n,) * ndim
        edges = ring_edges([shape], pixel_size_nm, ndim)
        ring = ring_index(shape, pixel_size_nm, edges)[..., : n // 2 + 1]
        twice = np.full(ring.shape, 2.0)  # half of the coefficients stand for all, but for those of the outer columns
        twice[..., [0, -1]] = 1.0
        inside = (ring >= 0) & (ring < len(edges) - 1)
        order = np.flatnonzero(inside)[np.argsort(ring[inside], kind="stable")]
        first = np.searchsorted(ring.ravel()[order], np.arange(len(edges) - 1))
        weight = twice.ravel()[order].astype(np.float32)
        known = {k: filled(v, windows.known) for k, v in {**images, "": reference}.items()}
        window = taper(shape).astype(np.float32)
        parts: dict[tuple[str, str], list[Array]] = {}
        each = max(1, _AT_ONCE // n**ndim)
        for some in (starts[k : k + each] for k in range(0, len(starts), each)):
            waves = {k: _tapered_waves(v, some, window)[:, order] for k, v in known.items()}
            for name, a in waves.items():
                for other in {name, ""}:
                    product = (a * waves[other].conj()).real * weight
                    sums = np.add.reduceat(product, first, axis=1, dtype=np.float64)
                    parts.setdefault((name, other), []).append(sums)
        count = np.add.reduceat(weight, first, dtype=np.float64) / 2
        return cls(tuple(pixel_size_nm), n, edges, count, {k: np.concatenate(v) for k, v in parts.items()})

    def resolutions(self, name: str, threshold: str) -> list[float]:
        """Of an image in every window, nm; NaN where a window cannot tell."""
        coarsest = COARSEST * self.size_px * min(self.pixel_size_nm)
        parts = (self.products[k] for k in ((name, ""), (name, name), ("", "")))
        found = (self._curve(*rows).resolution_nm(threshold) for rows in zip(*parts, strict=True))
        return [nm if nm <= coarsest else math.nan for nm in found]

    def pooled(self, name: str) -> RingCurve:
        """Of an image in all windows together."""
        cross, one, two = (self.products[k].sum(axis=0) for k in ((name, ""), (name, name), ("", "")))
        return self._curve(cross, one, two, len(self.products["", ""]))

    def limit(self, variance: float | Array) -> RingCurve:
        """Of an image that is the fine scan without its noise, in all windows together.

        Parameters
        ----------
        variance : of the noise, if it is white; or per ring, that of white noise as strong as it is there.
        """
        power, windows = self.products["", ""].sum(axis=0), len(self.products["", ""])
        per_window = 2 * self.count * float((taper((self.size_px,) * len(self.pixel_size_nm)) ** 2).sum())
        noise = per_window * windows
        # the noisiest rings hold at most noise: it cannot be stronger than they are
        last = slice(-max(2, len(power) // 8), None)
        most = float((power / noise)[last].mean())
        if isinstance(variance, np.ndarray):
            variance = variance * min(1.0, most / max(float(variance[last].mean()), 1e-12))
        else:
            variance = min(variance, most)
        signal = np.maximum(power - variance * noise, 0)
        return self._curve(signal, signal, power, windows)

    @staticmethod
    def joined(parts: Sequence[RingSums]) -> RingSums:
        """The windows of several parts of one volume, one part after the other."""
        keys = parts[0].products
        return replace(parts[0], products={k: np.concatenate([p.products[k] for p in parts]) for k in keys})

    def _curve(self, cross: Array, one: Array, two: Array, windows: int = 1) -> RingCurve:
        norm = np.sqrt(one * two)
        correlation = np.divide(cross, norm, out=np.zeros(norm.shape), where=norm > 0)
        middles = (self.edges[1:] + self.edges[:-1]) / 2
        independent = windows * self.count / TAPERED ** len(self.pixel_size_nm)
        return RingCurve(middles, correlation, independent, float(self.edges[-1]))


def _tapered_waves(values: Floats, starts: Sequence[tuple[int, ...]], window: Floats) -> NDArray[np.complex64]:
    n, axes = len(window), tuple(range(1, values.ndim + 1))
    cut = np.stack([values[tuple(slice(a, a + n) for a in at[values.ndim :])] for at in starts])
    cut = (cut - cut.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)) * window
    return np.asarray(fft.rfftn(cut, axes=axes)).reshape(len(starts), -1)


def _same_shapes(images: Images, reference: NDArray[np.floating], windows: Windows) -> None:
    for name, image in {**images, "the fine scan": reference}.items():
        if np.shape(image) != windows.known.shape:
            raise InputError(
                f"The windows lie on {windows.known.shape} px, but {name} is {np.shape(image)}. Bring all pictures "
                "onto one grid."
            )
