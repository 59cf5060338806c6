"""Exhaustive search of position, independent length factors and rotation by Fourier correlation, in 2-D and 3-D."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

OVERSAMPLED = 2.0  # the tile is kept at this many pixels per working pixel, so that linear interpolation is enough
ENERGY_FLOOR = 0.3  # windows with less than this share of the mean energy (overlap included) are not amplified
PEAKS_PER_POSE = 2


@dataclass(frozen=True)
class Peak:
    """A place where the tile may lie: working pixels of the map = ``matrix @ working pixels of the tile + centre``.

    ``score`` is the normalised correlation, times the root of the share of the tile that lies inside the map.
    """

    matrix: Matrix
    centre: NDArray[np.float64]
    score: float

    def scaled(self, factor: float, shift: NDArray[np.float64]) -> Peak:
        """The same place on another working grid."""
        return replace(self, centre=self.centre * factor + shift)


@dataclass(frozen=True)
class Tile:
    """The fine scan in the tile frame: channels (c, *shape) and usable share (*shape), oversampled, centred."""

    features: Array
    ok: Array

    @property
    def half(self) -> tuple[float, ...]:
        """Half the size per axis, working pixels."""
        return tuple(n / (2 * OVERSAMPLED) for n in self.ok.shape)

    def posed(self, matrix: Matrix, shape: Sequence[int]) -> Array:
        """Template of ``shape`` working pixels at a pose: zero mean, unit norm, 0 outside the tile."""
        index = np.linalg.inv(matrix) * OVERSAMPLED
        middle = (np.asarray(self.ok.shape) - 1) / 2
        start = middle - index @ ((np.asarray(shape) - 1) / 2)
        options = {"offset": start, "output_shape": tuple(shape), "order": 1, "mode": "constant", "cval": 0.0}
        weight = ndimage.affine_transform(self.ok, index, **options)
        out = np.stack([ndimage.affine_transform(f, index, **options) for f in self.features])
        return standardised(out, weight)


def standardised(channels: Array, weight: Array) -> Array:
    """Zero mean per channel and unit norm of all channels together under a weight."""
    total = max(float(weight.sum()), 1e-9)
    axes = tuple(range(1, channels.ndim))
    mean = np.sum(channels * weight, axis=axes, keepdims=True) / total
    out = (channels - mean) * weight
    norm = float(np.sqrt(np.sum(out * out)))
    return (out / max(norm, 1e-9)).astype(np.float32)


def rotation(deg: float, ndim: int = 2) -> Matrix:
    """Rotation in the plane of the last two axes, from the first of them towards the second."""
    c, s = np.cos(np.radians(deg)), np.sin(np.radians(deg))
    out = np.eye(ndim)
    out[-2:, -2:] = [[c, -s], [s, c]]
    return out


def pose_grid(half: Sequence[float], ratio_error: Sequence[float], rotation_deg: float, step_px: float) -> list[Matrix]:
    """Poses whose neighbours differ by at most ``step_px`` at the edge of the tile; symmetric about the identity."""
    factors = [1 + _spaced(e, h, step_px) for e, h in zip(ratio_error, half, strict=True)]
    turns = np.degrees(_spaced(np.radians(rotation_deg), max(half[-2:]), step_px))
    return [rotation(t, len(half)) @ np.diag(f) for *f, t in itertools.product(*factors, turns)]


def _spaced(error: float, half: float, step_px: float) -> NDArray[np.float64]:
    """Centres of equal intervals that cover plus and minus ``error``."""
    n = max(1, int(np.ceil(2 * error * half / step_px)))
    return error * (2 * np.arange(n) + 1 - n) / n


def search(
    maps: Sequence[Array], tile: Tile, poses: Sequence[Matrix], *, per_pose: int = PEAKS_PER_POSE
) -> list[list[Peak]]:
    """Best places of the tile in each of several maps of one shape, at every pose.

    Parameters
    ----------
    maps : channels (c, *shape) per map; 0 where nothing is known.
    tile : what to find.
    poses : d x d matrices; a negative determinant looks for the mirrored tile.
    per_pose : how many places are kept of every pose.

    Returns
    -------
    For every map the peaks of all poses, best first.
    """
    size = maps[0].shape[1:]
    reach = [int(np.ceil(1.1 * 2 * h)) for h in tile.half]
    box = _box(poses, tile.half)
    shape = tuple(scipy.fft.next_fast_len(n + r, real=True) for n, r in zip(size, reach, strict=True))
    axes = tuple(range(1, 1 + len(size)))
    spectra = [scipy.fft.rfftn(m, s=shape, axes=axes) for m in maps]
    norms = [_norm(m, shape, box, tile.half) for m in maps]
    peaks: list[list[Peak]] = [[] for _ in maps]
    for matrix in poses:
        template = scipy.fft.rfftn(tile.posed(matrix, box), s=shape, axes=axes).conj()
        for found, spectrum, norm in zip(peaks, spectra, norms, strict=True):
            score = scipy.fft.irfftn((spectrum * template).sum(0), s=shape) * norm
            found += [Peak(matrix, _centre(at, shape, size, box), s) for at, s in _highest(score, tile.half, per_pose)]
    return [sorted(found, key=lambda p: -abs(p.score)) for found in peaks]


def _box(poses: Sequence[Matrix], half: Sequence[float]) -> tuple[int, ...]:
    """Size of an array that holds the tile at every pose."""
    reach = np.max([np.abs(m) @ np.asarray(half) for m in poses], axis=0)
    return tuple(int(np.ceil(2 * r)) + 1 for r in reach)


def _norm(channels: Array, shape: Sequence[int], box: Sequence[int], half: Sequence[float]) -> Array:
    """One over the root of the energy of the map under the tile, for every position of the template's corner."""
    size = [min(2 * round(h) + 1, n) for h, n in zip(half, shape, strict=True)]
    padded = np.zeros(shape, np.float32)
    padded[tuple(slice(0, n) for n in channels.shape[1:])] = np.sum(channels**2, axis=0)
    energy = ndimage.uniform_filter(padded, size, mode="wrap") * float(np.prod(size))
    typical = float(np.median(energy[tuple(slice(0, n) for n in channels.shape[1:])]))
    energy = np.maximum(energy, max(ENERGY_FLOOR * typical, 1e-9))
    return np.roll(1 / np.sqrt(energy), [-((b - 1) // 2) for b in box], axis=tuple(range(len(box))))


def _highest(score: Array, half: Sequence[float], most: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """The few highest peaks by absolute value that do not touch each other; ``score`` is used up."""
    strength = np.abs(score)
    keep_off = [max(2, round(h / 3)) for h in half]
    for _ in range(most):
        at = np.unravel_index(int(np.argmax(strength)), score.shape)
        yield tuple(int(i) for i in at), float(score[at])
        strength[tuple(slice(max(0, i - k), i + k + 1) for i, k in zip(at, keep_off, strict=True))] = 0


def _centre(at: Sequence[int], shape: Sequence[int], size: Sequence[int], box: Sequence[int]) -> NDArray[np.float64]:
    """Centre of the tile in the map for a corner of the template; corners left of the map are wrapped around."""
    corner = [a - s if a >= n else a for a, s, n in zip(at, shape, size, strict=True)]
    return np.asarray(corner, float) + (np.asarray(box) - 1) / 2


def distinct(peaks: Sequence[Peak], apart: float, most: int, skew: float) -> list[Peak]:
    """The best ``most`` peaks that differ by ``apart`` working pixels in place, or at the tile's edge by ``skew``."""
    kept: list[Peak] = []
    for p in peaks:
        if all(_differs(p, k, apart, skew) for k in kept):
            kept.append(p)
        if len(kept) == most:
            break
    return kept


def _differs(a: Peak, b: Peak, apart: float, skew: float) -> bool:
    far = float(np.max(np.abs(a.centre - b.centre)))
    return far > apart or float(np.max(np.abs(a.matrix - b.matrix))) > skew
