"""Simulated atomic lattices, as a scanning transmission or tunnelling microscope shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finescan.values import Acquisition, Grid, Image

VARIATION = 0.12  # relative spread of the columns' brightness
VACANCIES = 0.02  # share of columns that are missing
STRAIN = 0.004  # largest slope of the slow displacement


def lattice(
    shape: Sequence[int], pixel_size_nm: float | Sequence[float], *, seed: int, period_px: float = 26.0
) -> Image:
    """A two-column lattice with slow strain, brightness variation, vacancies and one grain boundary, noise-free.

    Parameters
    ----------
    shape : fine pixels, rows and columns.
    pixel_size_nm : of the fine grid.
    seed : the same seed gives the same lattice.
    period_px : distance between equal columns, fine pixels.

    Returns
    -------
    Image, float32 grey levels in [0, 1].
    """
    rng = np.random.default_rng([seed, 11])
    out = np.full(tuple(shape), 0.08, np.float32)
    major = _columns(shape, period_px, rng)
    minor = major + 0.42 * period_px * np.array([0.6, 0.8])
    for where, peak, sigma in ((major, 0.62, 0.17), (minor, 0.3, 0.13)):
        kept = rng.random(len(where)) >= VACANCIES
        bright = peak * (1 + VARIATION * rng.standard_normal(len(where)))
        paint(out, where[kept], bright[kept], sigma * period_px)
    facts = Acquisition(vendor="simulation", pixel_size_from="simulation")
    return Image(np.clip(out, 0.0, 1.0), Grid.of(tuple(shape), pixel_size_nm), "lattice", facts)


def _columns(shape: Sequence[int], period: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Positions (n, 2) of the columns: two crystals, shifted and slightly turned against each other, meet at a line."""
    size = np.asarray(shape, float)
    centre, reach = size / 2, int(np.hypot(*size) / period / 1.7) + 3
    index = np.stack(np.meshgrid(*(np.arange(-reach, reach + 1),) * 2, indexing="ij"), -1).reshape(-1, 2)
    cell = period * np.array([[1.0, 0.0], [0.0, 1.08]])  # nearly square: the two axes can just be told apart
    turn, normal = rng.uniform(0, np.pi / 2), rng.uniform(0, np.pi)
    side = np.array([np.sin(normal), np.cos(normal)])
    through = centre + rng.uniform(-0.25, 0.25, 2) * size
    parts = []
    for sign, angle, shift in ((-1, turn, np.zeros(2)), (1, turn + np.radians(3.0), rng.random(2) * period)):
        c, s = np.cos(angle), np.sin(angle)
        at = index @ cell @ np.array([[c, s], [-s, c]]) + centre + shift
        parts.append(at[sign * ((at - through) @ side) > 0.25 * period])
    at = np.concatenate(parts)
    for _ in range(4):  # slow displacement: the lattice breathes over the field
        k = rng.uniform(-1, 1, 2) * 2 * np.pi / size.max() * 2
        wave = np.sin(at @ k + rng.uniform(0, 2 * np.pi))
        at = at + wave[:, None] * rng.uniform(-1, 1, 2) * STRAIN / np.linalg.norm(k)
    return at[((at > -period) & (at < size + period)).all(-1)]


def paint(out: NDArray[np.float32], where: NDArray[np.float64], peak: NDArray[np.float64], sigma: float) -> None:
    """Add Gaussian spots in place: centres (n, 2) and sigma in pixels, heights (n,) in grey."""
    reach = int(np.ceil(4 * sigma))
    for (cy, cx), p in zip(where, peak, strict=True):
        y0, x0 = max(0, int(cy) - reach), max(0, int(cx) - reach)
        y = np.arange(y0, min(out.shape[0], int(cy) + reach + 1))
        x = np.arange(x0, min(out.shape[1], int(cx) + reach + 1))
        if len(y) and len(x):
            spot = np.exp(-0.5 * ((y - cy) / sigma) ** 2)[:, None] * np.exp(-0.5 * ((x - cx) / sigma) ** 2)
            out[y0 : y[-1] + 1, x0 : x[-1] + 1] += (p * spot).astype(np.float32)
