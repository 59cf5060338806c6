"""Resolution measured, not counted: power spectrum and Fourier correlation in rings (pictures) or shells (volumes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError

Array = NDArray[np.float64]

THRESHOLDS = ("half", "one_seventh", "half_bit")
TAPERED = 1.5  # in each axis: neighbouring coefficients of a Hann window that carry one independent figure


@dataclass(frozen=True)
class RingCurve:
    """Fourier ring (shell) correlation of two images (volumes).

    Parameters
    ----------
    frequency_per_nm : middle of each ring, cycles per nm.
    correlation : -1 to 1 per ring.
    count : independent Fourier coefficients per ring (half of all, because images are real).
    nyquist_per_nm : highest frequency the pixels can carry.
    """

    frequency_per_nm: Array
    correlation: Array
    count: Array
    nyquist_per_nm: float

    def threshold(self, name: str) -> Array:
        """Per ring: "half" (0.5), "one_seventh" (1/7) or "half_bit".

        Source: van Heel and Schatz 2005, doi:10.1016/j.jsb.2005.05.009.
        """
        if name == "half":
            return np.full(self.count.shape, 0.5)
        if name == "one_seventh":
            return np.full(self.count.shape, 1 / 7)
        if name == "half_bit":
            root = np.sqrt(np.maximum(self.count, 1.0))
            return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
        raise InputError(f"A threshold is one of {', '.join(THRESHOLDS)}, but {name!r} came.")

    def resolution_nm(self, name: str = "half") -> float:
        """Length (one period) at which the curve falls below the threshold and stays there for the next ring too.

        Two pixels (the Nyquist limit) if it never does; nan if it never was above.
        """
        above = self.correlation - self.threshold(name)
        below = (above < 0) & np.append(above[1:] < 0, True)
        if not below.any():
            return 1.0 / self.nyquist_per_nm
        k = int(np.argmax(below))
        if k == 0:
            return float("nan")
        f0, f1 = self.frequency_per_nm[k - 1 : k + 1]
        a0, a1 = max(above[k - 1], 0.0), above[k]
        return float(1.0 / (f0 + (f1 - f0) * a0 / (a0 - a1)))


def radial_spectrum(tiles: Sequence[NDArray[np.floating]], pixel_size_nm: Sequence[float]) -> tuple[Array, Array]:
    """Mean power per ring of spatial frequency, over tiles (Hann window, mean removed).

    Parameters
    ----------
    tiles : 2-D arrays without NaN, at least 16 px per axis; sizes may differ.
    pixel_size_nm : y, x.

    Returns
    -------
    frequency (cycles per nm, middle of the ring), power (grey levels squared times nm squared).
    """
    return _spectrum(tiles, pixel_size_nm, 2)


def shell_spectrum(boxes: Sequence[NDArray[np.floating]], voxel_size_nm: Sequence[float]) -> tuple[Array, Array]:
    """:func:`radial_spectrum` of boxes of a volume (z, y, x), over shells."""
    return _spectrum(boxes, voxel_size_nm, 3)


def ring_correlation(
    images: Sequence[NDArray[np.floating]],
    references: Sequence[NDArray[np.floating]],
    pixel_size_nm: Sequence[float],
) -> RingCurve:
    """Fourier ring correlation of tiles with their references, summed over all tiles.

    Against a reference that is itself a recorded image the 0.5 threshold is the customary one; 1/7 and half-bit
    are for two equal, independent recordings.

    Parameters
    ----------
    images, references : 2-D arrays without NaN, tile by tile.
    pixel_size_nm : y, x.

    Source: Saxton and Baumeister 1982, doi:10.1111/j.1365-2818.1982.tb00405.x; thresholds as in
    :meth:`RingCurve.threshold`.
    """
    return _correlation(images, references, pixel_size_nm, 2)


def shell_correlation(
    boxes: Sequence[NDArray[np.floating]],
    references: Sequence[NDArray[np.floating]],
    voxel_size_nm: Sequence[float],
) -> RingCurve:
    """Fourier shell correlation: :func:`ring_correlation` of boxes of a volume (z, y, x).

    Source: Harauz and van Heel 1986, Optik 73:146; thresholds as in :meth:`RingCurve.threshold`.
    """
    return _correlation(boxes, references, voxel_size_nm, 3)


def _spectrum(tiles: Sequence[NDArray[np.floating]], size: Sequence[float], ndim: int) -> tuple[Array, Array]:
    edges = ring_edges([t.shape for t in tiles], size, ndim)
    power, count = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for tile in tiles:
        spectrum, ring = _transform(tile), ring_index(tile.shape, size, edges)
        scale = float(np.prod(size)) / float((taper(tile.shape) ** 2).sum())
        power += _sum(ring, np.abs(spectrum) ** 2 * scale, len(power))
        count += _sum(ring, np.ones(spectrum.shape), len(power))
    return (edges[1:] + edges[:-1]) / 2, power / np.maximum(count, 1)


def _correlation(
    images: Sequence[NDArray[np.floating]],
    references: Sequence[NDArray[np.floating]],
    size: Sequence[float],
    ndim: int,
) -> RingCurve:
    edges = ring_edges([t.shape for t in images], size, ndim)
    n = len(edges) - 1
    cross, one, two, count = (np.zeros(n) for _ in range(4))
    for image, reference in zip(images, references, strict=True):
        a, b = _transform(image), _transform(reference)
        ring = ring_index(image.shape, size, edges)
        cross += _sum(ring, (a * b.conj()).real, n)
        one += _sum(ring, np.abs(a) ** 2, n)
        two += _sum(ring, np.abs(b) ** 2, n)
        count += _sum(ring, np.ones(a.shape), n) / 2
    norm = np.sqrt(one * two)
    correlation = np.divide(cross, norm, out=np.zeros(n), where=norm > 0)
    return RingCurve((edges[1:] + edges[:-1]) / 2, correlation, count / TAPERED**ndim, float(edges[-1]))


def taper(shape: Sequence[int]) -> Array:
    """The Hann window of a tile."""
    return _outer(np.multiply, [np.hanning(n + 2)[1:-1] for n in shape])


def _outer(operation: np.ufunc, lines: Sequence[Array]) -> Array:
    """One value per place from one value per axis."""
    out = lines[0]
    for line in lines[1:]:
        out = operation.outer(out, line)
    return out


def _transform(tile: NDArray[np.floating]) -> NDArray[np.complex128]:
    values = np.asarray(tile, np.float64)
    if not np.isfinite(values).all():
        raise InputError("A spectrum needs tiles without NaN or infinite pixels; leave such tiles out.")
    return np.fft.fftn((values - values.mean()) * taper(values.shape))


def ring_edges(shapes: Sequence[Sequence[int]], pixel_size_nm: Sequence[float], ndim: int) -> Array:
    """Ring borders, cycles per nm: as wide as one frequency step of the shortest side, up to the Nyquist frequency."""
    if not shapes or any(len(s) != ndim or min(s) < 16 for s in shapes):
        least = " x ".join(["16"] * ndim)
        raise InputError(
            f"A spectrum needs {ndim}-D tiles of at least {least} px, but {[tuple(s) for s in shapes]} came."
        )
    step = max(1 / (n * p) for s in shapes for n, p in zip(s, pixel_size_nm, strict=True))
    nyquist = 0.5 / max(pixel_size_nm)
    return np.linspace(0.5 * step, nyquist, max(4, round(nyquist / step)) + 1)


def ring_index(shape: Sequence[int], pixel_size_nm: Sequence[float], edges: Array) -> NDArray[np.intp]:
    """Which ring each Fourier coefficient belongs to; -1 or beyond the last where it belongs to none."""
    along = [np.asarray(np.fft.fftfreq(n, p), np.float64) for n, p in zip(shape, pixel_size_nm, strict=True)]
    return np.searchsorted(edges, _outer(np.hypot, along), side="right") - 1


def _sum(ring: NDArray[np.intp], values: Array, n: int) -> Array:
    inside = (ring >= 0) & (ring < n)
    return np.asarray(np.bincount(ring[inside], values[inside], n)[:n], np.float64)
