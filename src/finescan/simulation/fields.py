"""What simulated micrographs are made of: smooth random fields, warped Voronoi cells, edges known to a part of a pixel.

Everything is evaluated a band of rows at a time, so that a field of 4096 x 4096 needs little more than itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from finescan.simulation.micrograph import voronoi

Array = NDArray[np.float32]
Labels = NDArray[np.int32]

BAND = 256
STEP = 4  # pixels between the positions where slow fields are computed
_SPLINE_VARIANCE = 0.479  # mean over a knot step of the sum of squared cubic B-spline weights


def bands(rows: int, step: int = BAND) -> Iterator[slice]:
    """Slices that cover ``rows`` rows once."""
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))


def smooth_noise(shape: Sequence[int], length_px: float, rng: np.random.Generator) -> Array:
    """Gaussian random field (ny, nx) of mean 0 and variance 1 whose bumps are about ``length_px`` wide.

    A cubic B-spline with independent random coefficients every ``length_px``.
    """
    ny, nx = (int(n) for n in shape)
    knots = [int(np.ceil(n / length_px)) + 4 for n in (ny, nx)]
    first = rng.uniform(1, 2, 2).tolist()  # so that the knots of several fields do not coincide
    coefficients = rng.standard_normal(knots, np.float32) / np.float32(_SPLINE_VARIANCE)
    return _evaluated(coefficients, (ny, nx), length_px, first)


def refined(coarse: Array, shape: Sequence[int], step: int = STEP) -> Array:
    """Values known every ``step`` pixels (pixel 0 first), slightly smoothed, at every pixel of ``shape``."""
    padded = np.pad(coarse, 1, mode="edge")
    return _evaluated(padded, (int(shape[0]), int(shape[1])), step, (1.0, 1.0))


def _evaluated(coefficients: Array, shape: tuple[int, int], step: float, first: Sequence[float]) -> Array:
    """The B-spline with knots every ``step`` pixels at every pixel; pixel 0 lies at knot ``first``."""
    along = _weights(shape[1], step, first[1], coefficients.shape[1])
    across = _weights(shape[0], step, first[0], coefficients.shape[0])
    return np.asarray(across @ np.ascontiguousarray((along @ coefficients.T).T))


def _weights(n: int, step: float, first: float, knots: int) -> sparse.csr_array:
    """Sparse (n, knots): the four weights of every pixel; border knots repeated."""
    at = first + np.arange(n) / step
    base = np.floor(at).astype(int)
    t = (at - base).astype(np.float32)
    u = 1 - t
    values = np.stack([u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3], -1) / np.float32(6)
    columns = np.clip(base[:, None] + np.arange(-1, 3), 0, knots - 1)
    return sparse.csr_array((values.ravel(), columns.ravel(), np.arange(0, 4 * n + 1, 4)), shape=(n, knots))


def blobs(
    shape: Sequence[int], scales_px: Sequence[float], weights: Sequence[float], rng: np.random.Generator
) -> Array:
    """Weighted sum of :func:`smooth_noise` of several scales: a level set of it is an irregular outline."""
    out: Array = np.zeros(tuple(int(n) for n in shape), np.float32)
    for scale, weight in zip(scales_px, weights, strict=True):
        out += np.float32(weight) * smooth_noise(shape, scale, rng)
    return out


def cells(
    shape: Sequence[int], spacing_px: float, rng: np.random.Generator, *, bend_px: float = 0.0, slim: float = 1.0
) -> Labels:
    """Voronoi labels (ny, nx) of cells about ``spacing_px`` wide whose borders are bent by about ``bend_px``.

    ``slim`` > 1 stretches the cells along x.
    """
    ny, nx = (int(n) for n in shape)
    margin = int(np.ceil(4 * bend_px)) + 2
    canvas = (ny + 2 * margin, int(np.ceil(nx / slim)) + 2 * margin)
    labels = voronoi(canvas, spacing_px, rng)
    if bend_px == 0 and slim == 1:
        return labels[margin : margin + ny, margin : margin + nx]
    dy, dx = (np.float32(bend_px) * smooth_noise((ny, nx), max(4.0, spacing_px / 3), rng) for _ in range(2))
    out = np.empty((ny, nx), np.int32)
    x = np.arange(nx, dtype=np.float32) / np.float32(slim) + margin
    for rows in bands(ny):
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + margin
        at_y = np.clip(np.rint(y + dy[rows]), 0, canvas[0] - 1).astype(np.intp)
        at_x = np.clip(np.rint(x + dx[rows]), 0, canvas[1] - 1).astype(np.intp)
        out[rows] = labels[at_y, at_x]
    return out


def changes(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels (ny, nx) whose upper or left neighbour has another label."""
    out = np.zeros(labels.shape, bool)
    out[1:] |= labels[1:] != labels[:-1]
    out[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return out


def to_nearest(where: NDArray[np.bool_]) -> Array:
    """Distance (px) of every pixel to the nearest True one; far more than the field if there is none."""
    if not where.any():
        return np.full(where.shape, 1e6, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~where), np.float32)


def threshold_for(field: Array, share: float) -> float:
    """The level that ``share`` of the field lies above."""
    return float(np.quantile(field[::STEP, ::STEP], 1.0 - share))


def edge_distance(level: Array, rows: slice) -> tuple[Array, Array, Array]:
    """Distance to the contour ``level == 0`` (px, positive where the level is) and the unit vector uphill (y, x).

    Level over slope: right to a part of a pixel near the contour, only roughly further away.
    """
    first, last = max(0, rows.start - 1), min(len(level), rows.stop + 1)
    inner = slice(rows.start - first, rows.stop - first)
    gradient: list[Array] = list(np.gradient(level[first:last]))
    dy, dx = (g[inner] for g in gradient)
    slope = np.asarray(np.hypot(dy, dx) + np.float32(1e-6), np.float32)
    return level[rows] / slope, dy / slope, dx / slope


def share_of(distance: Array) -> Array:
    """Share of a pixel that lies inside an edge ``distance`` px away."""
    return np.clip(distance + np.float32(0.5), 0.0, 1.0)
