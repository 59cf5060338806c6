"""Local improvement of a place found by the search: affine, by inverse-compositional Gauss-Newton on the features.

Baker and Matthews, Lucas-Kanade 20 years on, Int. J. Comput. Vision 56 (2004) 221-255,
doi:10.1023/B:VISI.0000011205.11775.fd. The objective is the same normalised correlation that the search maximises.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.registration.search import OVERSAMPLED, Array, Peak, Tile, standardised

MOST_STEP_PX = 1.5  # at the edge of the tile, per iteration
STOP_PX = 0.04
MOST_SKEW = 0.12  # change of any entry of the matrix: beyond it the place has run away from its search cell
LEAST_OVERLAP = 0.25  # share of the tile that must lie in the map


@dataclass(frozen=True)
class Template:
    """A tile on the working grid, with all that does not depend on the place; d axes."""

    channels: Array  # (c, *shape)
    weight: Array  # (*shape)
    descent: Array  # (c, n, d * d + d): change of the channels with the affine parameters
    middle: NDArray[np.float64]
    wanted: Array  # standardised channels, if all of the tile lies in the map
    normal: NDArray[np.float64]  # normal matrix, likewise


def template_of(tile: Tile, blur_px: float = 0.0) -> Template:
    """Channels at the working pitch, optionally blurred, and their derivatives."""
    thin = (slice(None, None, round(OVERSAMPLED)),) * tile.ok.ndim
    soft = blurred(tile.features, blur_px * OVERSAMPLED)
    channels, weight = soft[(slice(None), *thin)], tile.ok[thin]
    middle = (np.asarray(tile.ok.shape) - 1) / 2 / OVERSAMPLED
    at = [np.arange(n, dtype=np.float32) - np.float32(m) for n, m in zip(weight.shape, middle, strict=True)]
    descent = np.stack([_descent(np.gradient(c), at) for c in channels])
    return Template(
        channels, weight, descent, middle, standardised(channels, weight), _normal(descent, channels, weight)
    )


def _descent(slopes: Sequence[Array], at: Sequence[Array]) -> Array:
    """Products of every slope with every coordinate, row by row of the matrix, then the slopes: (n, d * d + d)."""
    mesh = np.meshgrid(*at, indexing="ij", copy=False)
    return np.stack([*(g * x for g in slopes for x in mesh), *slopes], -1).reshape(-1, len(at) * (len(at) + 1))


def blurred(channels: Array, sigma: float) -> Array:
    """Gaussian blur of every channel."""
    if sigma <= 0:
        return channels
    return np.stack([ndimage.gaussian_filter(c, sigma, mode="constant", truncate=3.0) for c in channels])


def polish(peak: Peak, field: Array, template: Template, *, signed: bool, iterations: int = 10) -> Peak:
    """The best place met on the way from ``peak``; its score is measured on ``field``, never copied.

    Parameters
    ----------
    peak : start, in pixels of ``field``.
    field : channels (c, *shape) of the map, 0 where nothing is known.
    template : what to find, on the same pitch.
    signed : whether a negative correlation is as good as a positive one.
    """
    matrix, centre = peak.matrix.copy(), peak.centre.copy()
    best = Peak(matrix, centre, 0.0)
    reach = float(np.max(template.middle)) + 1
    d = len(centre)
    for k in range(iterations + 1):
        if np.max(np.abs(matrix - peak.matrix)) > MOST_SKEW:
            break
        seen, weight, share = _seen(field, template, matrix, centre)
        if share < LEAST_OVERLAP:
            break
        whole = weight is template.weight
        wanted = template.wanted if whole else standardised(template.channels, weight)
        normal = template.normal if whole else _normal(template.descent, template.channels, weight)
        got = standardised(seen, weight)
        rho = float(np.sum(wanted * got))
        if abs(rho) * share**0.5 > abs(best.score) and (signed or rho > 0):
            best = Peak(matrix.copy(), centre.copy(), rho * share**0.5)
        if k == iterations:
            break
        step = _step(template, weight, normal, wanted, got * np.float32(-1 if signed and rho < 0 else 1))
        far = float(np.max(np.abs(step[: d * d]))) * reach + float(np.max(np.abs(step[d * d :])))
        step *= min(1.0, MOST_STEP_PX / max(far, 1e-9))
        back = np.linalg.inv(np.eye(d) + step[: d * d].reshape(d, d))
        matrix, centre = matrix @ back, centre - matrix @ back @ step[d * d :]
        if far < STOP_PX:
            break
    return best


def _seen(field: Array, template: Template, matrix: NDArray, centre: NDArray) -> tuple[Array, Array, float]:
    """The map under the tile, the weight of every pixel there, and the share of the tile inside the map."""
    shape = template.weight.shape
    start = centre - matrix @ template.middle
    options = {"offset": start, "output_shape": shape, "order": 1, "mode": "constant", "cval": 0.0}
    seen = np.stack([ndimage.affine_transform(c, matrix, **options) for c in field])
    corners = np.array([start + matrix @ at for at in itertools.product(*((0, n - 1) for n in shape))])
    size = np.asarray(field.shape[1:])
    if (corners >= 0).all() and (corners <= size - 1).all():
        return seen, template.weight, 1.0
    inside = ndimage.affine_transform(np.ones(field.shape[1:], np.float32), matrix, **options)
    weight = template.weight * (inside > 0.99)
    return seen, weight, float(weight.sum()) / max(float(template.weight.sum()), 1e-9)


def _step(
    template: Template, weight: Array, normal: NDArray[np.floating], wanted: Array, got: Array
) -> NDArray[np.float64]:
    """Affine parameters by which the template would have to move to look like the map."""
    scale = _scale(template.channels, weight)
    right = sum(rows.T @ (g - w).ravel() for rows, w, g in zip(template.descent, wanted, got, strict=True))
    return np.asarray(np.linalg.solve(normal, np.asarray(right, np.float64) / scale), np.float64)


def _normal(descent: Array, channels: Array, weight: Array) -> NDArray[np.float64]:
    """Normal matrix of the affine parameters, hardly damped."""
    normal = sum((rows.T @ (rows * weight.reshape(-1, 1))).astype(np.float64) for rows in descent)
    normal = np.asarray(normal) / _scale(channels, weight) ** 2
    return normal + np.diag(1e-3 * np.diag(normal) + 1e-12)


def _scale(channels: Array, weight: Array) -> float:
    return max(float(np.sqrt(np.sum(weight * _centred(channels, weight) ** 2))), 1e-9)


def _centred(channels: Array, weight: Array) -> Array:
    axes = tuple(range(1, channels.ndim))
    mean = np.sum(channels * weight, axis=axes, keepdims=True) / max(float(weight.sum()), 1e-9)
    return channels - mean
