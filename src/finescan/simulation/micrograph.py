"""Simulated micrographs: a polycrystal with sub-grains, lamellae, pores and fine texture, seen by two detectors.

Lengths are in pixels of the fine grid, so that detail exists down to two or three of them whatever the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from finescan.values import Acquisition, Grid, Image

Array = NDArray[np.float32]

GRAIN_PX = 160.0
SUBGRAIN_PX = 45.0
LAMELLA_PX = (9.0, 42.0)
PHASE_SHARE = (0.35, 0.3, 0.2, 0.15)
LAMELLAR = (True, False, True, False)
#: grey of each phase in the first detector, then in the second: permuted, so that they hardly correlate
PHASE_GREY = ((0.30, 0.43, 0.56, 0.70), (0.43, 0.66, 0.34, 0.54))
#: grain boundary (added), pore (replaces), rim of a pore (added) in either detector
EDGE_PORE_RIM = ((-0.12, 0.04, 0.16), (0.22, 0.5, 0.24))
#: strength of the fine two-phase texture in each phase
TEXTURE = (0.01, 0.06, 0.02, 0.04)
_BLOCK = 8
_BAND = 256


@dataclass(frozen=True)
class Specimen:
    """What is there, before any detector looks.

    Parameters
    ----------
    grains, subgrains : (ny, nx) labels.
    phase_of : phase 0…3 of each grain.
    pores, rims : (ny, nx) share of the pixel that is pore, and that is rim around one; 0 to 1.
    texture : (ny, nx) fine two-phase texture, -1 to 1.
    seed : for what differs between grains (orientation contrast, lamellae).
    """

    grains: NDArray[np.int32]
    subgrains: NDArray[np.int32]
    phase_of: NDArray[np.intp]
    pores: Array
    rims: Array
    texture: Array
    seed: int


def grow(shape: Sequence[int], *, seed: int, pore_spacing_px: float = 60.0, pore_px: float = 4.0) -> Specimen:
    """A specimen of ``shape`` fine pixels; pores about every ``pore_spacing_px``, of median radius ``pore_px``."""
    rng = np.random.default_rng([seed, 1])
    ny, nx = (int(n) for n in shape)
    grains = voronoi((ny, nx), GRAIN_PX, rng)
    subgrains = voronoi((ny, nx), SUBGRAIN_PX, rng)
    phase_of = rng.choice(len(PHASE_SHARE), int(grains.max()) + 1, p=PHASE_SHARE)
    pores, rims = _pores((ny, nx), pore_spacing_px, pore_px, rng)
    noise = rng.standard_normal((ny, nx), np.float32)
    noise = ndimage.gaussian_filter(noise, 1.3, truncate=3.0)
    return Specimen(grains, subgrains, phase_of, pores, rims, np.tanh(noise * 8.0), seed)


def first_detector(specimen: Specimen) -> Array:
    """Grey levels 0 to 1: phase and orientation contrast, lamellae, dark pores with bright rims, dark boundaries."""
    return _view(specimen, 0)


def second_detector(specimen: Specimen) -> Array:
    """The same specimen with permuted phase greys, bright edges and half-independent orientation contrast.

    The linear correlation with :func:`first_detector` is close to zero.
    """
    return _view(specimen, 1)


def polycrystal(
    shape: Sequence[int],
    pixel_size_nm: float | Sequence[float],
    *,
    seed: int,
    pore_spacing_px: float = 60.0,
    pore_px: float = 4.0,
) -> Image:
    """A four-phase polycrystal, noise-free.

    Parameters
    ----------
    shape : fine pixels, rows and columns.
    pixel_size_nm : of the fine grid.
    seed : the same seed gives the same specimen.
    pore_spacing_px, pore_px : mean distance and median radius of the pores, fine pixels.

    Returns
    -------
    Image, float32 grey levels in [0, 1].

    Examples
    --------
    >>> polycrystal((64, 96), 10.0, seed=1).grid.extent_nm
    (640.0, 960.0)
    """
    specimen = grow(shape, seed=seed, pore_spacing_px=pore_spacing_px, pore_px=pore_px)
    facts = Acquisition(vendor="simulation", pixel_size_from="simulation")
    return Image(first_detector(specimen), Grid.of(tuple(shape), pixel_size_nm), "polycrystal", facts)


def voronoi(shape: tuple[int, int], spacing_px: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """Labels (ny, nx) of the nearest of random seed points about ``spacing_px`` apart.

    Only blocks that a boundary can cross are evaluated pixel by pixel, against the four points nearest to their centre.
    """
    blocks = tuple(-(-n // _BLOCK) for n in shape)
    size = np.array(blocks) * _BLOCK + 2 * spacing_px
    seeds = rng.random((max(8, round(float(np.prod(size)) / spacing_px**2)), 2)) * size - spacing_px
    centre = (np.stack(np.meshgrid(*(np.arange(b) for b in blocks), indexing="ij"), -1) + 0.5) * _BLOCK - 0.5
    distance, nearest = cKDTree(seeds).query(centre.reshape(-1, 2), k=4)
    labels = np.repeat(nearest[:, :1].astype(np.int32), _BLOCK * _BLOCK, axis=1)
    mixed = np.flatnonzero(distance[:, 1] - distance[:, 0] < _BLOCK * np.sqrt(2.0))
    inside = np.stack(np.meshgrid(*(np.arange(_BLOCK),) * 2, indexing="ij"), -1).reshape(1, -1, 2) - (_BLOCK - 1) / 2
    for part in np.array_split(mixed, max(1, len(mixed) // 8192)):
        at = (centre.reshape(-1, 2)[part, None] + inside).astype(np.float32)
        labels[part] = _nearest_of(at, seeds.astype(np.float32), nearest[part])
    whole = labels.reshape(*blocks, _BLOCK, _BLOCK).swapaxes(1, 2).reshape(blocks[0] * _BLOCK, blocks[1] * _BLOCK)
    return np.ascontiguousarray(whole[: shape[0], : shape[1]])


def _nearest_of(at: Array, seeds: Array, candidates: NDArray[np.intp]) -> NDArray[np.int32]:
    """Which candidate (n, k) is nearest to each position (n, m, 2)."""
    best = np.full(at.shape[:2], np.inf, np.float32)
    label = np.zeros(at.shape[:2], np.int32)
    for k in range(candidates.shape[1]):
        p = seeds[candidates[:, k]]
        d = (at[..., 0] - p[:, None, 0]) ** 2 + (at[..., 1] - p[:, None, 1]) ** 2
        nearer = d < best
        best = np.where(nearer, d, best)
        label = np.where(nearer, candidates[:, k, None].astype(np.int32), label)
    return label


def _pores(
    shape: tuple[int, int], spacing_px: float, median_px: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Elliptic pores and the rims around them."""
    pores, rims = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    n = rng.poisson(shape[0] * shape[1] / spacing_px**2)
    where = rng.random((n, 2)) * shape
    radius = np.clip(median_px * np.exp(0.6 * rng.standard_normal(n)), 1.2, 6 * median_px)
    flat, turn = rng.uniform(0.6, 1.0, n), rng.uniform(0, np.pi, n)
    for (cy, cx), r, f, t in zip(where, radius, flat, turn, strict=True):
        reach = int(r) + 6
        y0, x0 = max(0, int(cy) - reach), max(0, int(cx) - reach)
        box = np.s_[y0 : int(cy) + reach + 1, x0 : int(cx) + reach + 1]
        part = pores[box]
        y = (np.arange(part.shape[0], dtype=np.float32) + (y0 - cy))[:, None]
        x = np.arange(part.shape[1], dtype=np.float32) + (x0 - cx)
        c, s = np.cos(t), np.sin(t)
        out = np.hypot(c * y + s * x, (c * x - s * y) / f) - r  # about the distance from the edge, px
        part[...] = np.maximum(part, np.clip(0.5 - out, 0, 1))
        rims[box] = np.maximum(rims[box], np.exp(-0.5 * ((out - 1.6) / 1.0) ** 2))
    return pores, rims * (1 - pores)


def _view(specimen: Specimen, detector: int) -> Array:
    """Grey levels of one detector, band by band so that temporaries stay small."""
    s = specimen
    look = _looks(s, detector)
    edge = boundaries(s.grains)
    edge_grey, pore_grey, rim_grey = EDGE_PORE_RIM[detector]
    out: Array = np.empty(s.grains.shape, np.float32)
    x = np.arange(out.shape[1], dtype=np.float32)
    for first in range(0, out.shape[0], _BAND):
        last = min(first + _BAND, len(out))
        rows = slice(first, last)
        y = np.arange(first, last, dtype=np.float32)[:, None]
        g = s.grains[rows]
        wave = np.sin(look["ky"][g] * y + look["kx"][g] * x + look["phase"][g])
        grey = look["grey"][g] + look["lamella"][g] * np.clip(3 * wave, -1, 1)
        grey += look["sub"][s.subgrains[rows]] + look["texture"][g] * s.texture[rows]
        grey += edge_grey * edge[rows] + rim_grey * s.rims[rows]
        out[rows] = grey + (pore_grey - grey) * s.pores[rows]
    return np.clip(out, 0.0, 1.0, out=out)


def _looks(specimen: Specimen, detector: int) -> dict[str, Array]:
    """Per-grain and per-sub-grain constants of one detector; half of the orientation contrast is shared."""
    shared, own = (np.random.default_rng([specimen.seed, k]) for k in (2, 3 + detector))
    n, m = len(specimen.phase_of), int(specimen.subgrains.max()) + 1
    period, turn = shared.uniform(*LAMELLA_PX, n), shared.uniform(0, np.pi, n)
    phase = specimen.phase_of
    sign = -1.0 if detector else 1.0
    orient = [shared.standard_normal(k) for k in (n, m)]
    if detector:
        orient = [0.5 * o + 0.87 * own.standard_normal(len(o)) for o in orient]
    table = {
        "ky": 2 * np.pi / period * np.sin(turn),
        "kx": 2 * np.pi / period * np.cos(turn),
        "phase": shared.uniform(0, 2 * np.pi, n),
        "lamella": sign * 0.07 * np.array(LAMELLAR)[phase],
        "grey": np.array(PHASE_GREY[detector])[phase] + 0.04 * orient[0],
        "texture": np.array(TEXTURE)[phase],
        "sub": 0.02 * orient[1],
    }
    return {k: np.asarray(v, np.float32) for k, v in table.items()}


def boundaries(labels: NDArray[np.int32], sigma_px: float = 0.8) -> Array:
    """About 1 on the lines between labels, falling off within about ``sigma_px``."""
    line = np.zeros(labels.shape, np.float32)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    line[1:] += down
    line[:, 1:] += right
    return ndimage.gaussian_filter(np.minimum(line, 1.0), sigma_px, truncate=3.0) * (2.25 * sigma_px)
