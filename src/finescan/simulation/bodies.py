"""Samples of rounded bodies whose grey level is known at any point, so that two instruments can look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.simulation.foam import Sizes, sequential
from finescan.simulation.spheres import enter
from finescan.values import Grid, Warp

WAVES = 6  # slow modulation of the matrix
_SLICES = 16  # slices of coordinates in memory at a time
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Bodies:
    """Capsules (spheres where both ends coincide) of one grey level each in a slowly varying matrix.

    Parameters
    ----------
    start_nm, end_nm : (n, 3) ends of the core line of each body.
    radius_nm, grey : (n,).
    matrix : grey level around them.
    waves : (k, 5) wave vector (rad/nm, z y x), phase and amplitude of the matrix's modulation.
    low_nm, high_nm : corners of the box they fill.
    """

    start_nm: Points
    end_nm: Points
    radius_nm: NDArray[np.float64]
    grey: NDArray[np.float64]
    matrix: float
    waves: NDArray[np.float64]
    low_nm: Points
    high_nm: Points


def _pores(low: Points, high: Points, scale_nm: float, rng: np.random.Generator) -> tuple[Any, ...]:
    at, radius = _spheres(low, high, Sizes(4.0 * scale_nm, 0.5, 1.2 * scale_nm, 12.0 * scale_nm), 0.28, rng)
    return at, at, radius, np.full(len(at), 0.2), 0.7


def _grains(low: Points, high: Points, scale_nm: float, rng: np.random.Generator) -> tuple[Any, ...]:
    at, radius = _spheres(low, high, Sizes(5.0 * scale_nm, 0.4, 1.5 * scale_nm, 12.0 * scale_nm), 0.33, rng)
    return at, at, radius, rng.uniform(0.4, 0.9, len(at)), 0.15


def _fibres(low: Points, high: Points, scale_nm: float, rng: np.random.Generator) -> tuple[Any, ...]:
    """Curved fibres of random direction: chains of short capsules that start anywhere and leave the box."""
    size, step = high - low, 3.0 * scale_nm
    count = int(0.12 * np.prod(size) / (np.pi * (1.2 * scale_nm) ** 2 * size.mean()))
    steps = int(1.5 * np.linalg.norm(size) / step)
    way = rng.standard_normal((count, 1, 3)) + 0.12 * np.cumsum(rng.standard_normal((count, steps, 3)), axis=1)
    way *= step / np.linalg.norm(way, axis=-1, keepdims=True)
    line = rng.uniform(low, high, (count, 1, 3)) + np.cumsum(way, axis=1) - way[:, :1] * (steps // 2)
    start, end = line[:, :-1].reshape(-1, 3), line[:, 1:].reshape(-1, 3)
    radius = np.repeat(scale_nm * rng.uniform(0.6, 2.0, count), steps - 1)
    grey = np.repeat(rng.uniform(0.5, 0.9, count), steps - 1)
    inside = ((start > low - step) & (start < high + step)).all(axis=1)
    return start[inside], end[inside], radius[inside], grey[inside], 0.2


#: name of a sample -> the function that fills a box with its bodies
SAMPLES: dict[str, Callable[..., tuple[Any, ...]]] = {"foam": _pores, "grains": _grains, "fibres": _fibres}


def grow_bodies(sample: str, low_nm: Points, high_nm: Points, *, scale_nm: float, seed: int) -> Bodies:
    """Fill a box with the bodies of a sample.

    Parameters
    ----------
    sample : name in :data:`SAMPLES`.
    low_nm, high_nm : corners of the box, z y x.
    scale_nm : a coarse voxel; bodies are about 1 to 12 of them across.
    seed : the same seed gives the same bodies.
    """
    if sample not in SAMPLES:
        raise InputError(f"A sample is one of {', '.join(SAMPLES)}, but {sample!r} came.")
    rng = np.random.default_rng([seed, 85])
    start, end, radius, grey, matrix = SAMPLES[sample](low_nm, high_nm, scale_nm, rng)
    vector = rng.standard_normal((WAVES, 3))
    vector *= 2 * np.pi / (rng.uniform(8, 30, (WAVES, 1)) * scale_nm) / np.linalg.norm(vector, axis=1, keepdims=True)
    waves = np.column_stack([vector, rng.uniform(0, 2 * np.pi, WAVES), np.full(WAVES, 0.015)])
    return Bodies(start, end, radius, grey, matrix, waves, low_nm, high_nm)


def _spheres(
    low: Points, high: Points, sizes: Sizes, share: float, rng: np.random.Generator
) -> tuple[Points, NDArray[np.float64]]:
    """Spheres that fill a share of a box, those that reach out of it included."""
    size = high - low
    wall = float(np.hypot(*size[1:])) / 2 + sizes.largest_nm
    count = int(share * np.pi * wall**2 * size[0] / sizes.mean_volume_nm3())
    middle = (low + size / 2).tolist()
    seed = int(rng.integers(2**31))
    foam = sequential(sizes.draw(count, rng) / 2, wall, float(size[0]), centre_nm=middle, seed=seed)
    box = Grid.of((1, 1, 1), size.tolist(), middle)
    near = foam.touching(box)
    return foam.position_nm[near], foam.radius_nm[near]


def paint(bodies: Bodies, grid: Grid, warp: Warp | None = None) -> NDArray[np.float32]:
    """Grey levels at the voxels of a grid, each surface softened over one voxel (its partial volume).

    Parameters
    ----------
    bodies : the sample.
    grid : ZYX voxels, in the frame of the scan.
    warp : nm in the frame of the scan to nm in the frame of the sample; None = one frame.
    """
    soft = float(np.prod(grid.pixel_size_nm) ** (1 / 3))
    cell = max(
        2 * float(np.median(bodies.radius_nm)), float(np.ptp([bodies.low_nm, bodies.high_nm], axis=0).max()) / 200
    )
    head, link, owner = _cells(bodies, cell, soft)
    out = np.empty(grid.shape, np.float32)
    y, x = (np.arange(n, dtype=np.float64) for n in grid.shape[1:])
    for first in range(0, grid.shape[0], _SLICES):
        z = np.arange(first, min(first + _SLICES, grid.shape[0]), dtype=np.float64)
        at = grid.to_nm(np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1))
        at = at if warp is None else warp(at)
        _paint(
            out[first : first + len(z)].reshape(-1), at.reshape(-1, 3), bodies.start_nm, bodies.end_nm,
            bodies.radius_nm, bodies.grey, bodies.matrix, bodies.waves, soft, bodies.low_nm, cell, head, link, owner,
        )  # fmt: skip
    return out


def _cells(bodies: Bodies, cell: float, soft: float) -> tuple[NDArray[np.int64], ...]:
    """Lists of the bodies near each cell."""
    shape = np.maximum(1, np.ceil((bodies.high_nm - bodies.low_nm) / cell).astype(int))
    middle = (bodies.start_nm + bodies.end_nm) / 2
    reach = np.linalg.norm(bodies.end_nm - bodies.start_nm, axis=1) / 2 + bodies.radius_nm + soft
    room = int((np.floor(2 * reach / cell) + 2).astype(np.int64).__pow__(3).sum())
    head, link, owner = np.full(tuple(shape), -1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    _enter_all(head, link, owner, middle, reach, bodies.low_nm, cell)
    return head, link, owner


@numba.njit(cache=True)
def _enter_all(head: Any, link: Any, owner: Any, at: Any, reach: Any, low: Any, cell: float) -> None:
    used = 0
    for k in range(len(reach)):
        used = enter(head, link, owner, used, k, at[k], reach[k], low, cell)


@numba.njit(parallel=True, cache=True)
def _paint(
    out: Any, at: Any, start: Any, end: Any, radius: Any, grey: Any, matrix: float, waves: Any, soft: float, low: Any,
    cell: float, head: Any, link: Any, owner: Any,
) -> None:  # fmt: skip
    n = head.shape
    for p in numba.prange(len(out)):
        q = at[p]
        level = matrix
        for w in range(len(waves)):
            level += waves[w, 4] * np.cos(waves[w, 0] * q[0] + waves[w, 1] * q[1] + waves[w, 2] * q[2] + waves[w, 3])
        i = min(max(int((q[0] - low[0]) / cell), 0), n[0] - 1)
        j = min(max(int((q[1] - low[1]) / cell), 0), n[1] - 1)
        m = min(max(int((q[2] - low[2]) / cell), 0), n[2] - 1)
        nearest, what = 0.5 * soft, level
        e = head[i, j, m]
        while e >= 0:
            k = owner[e]
            distance = _distance(q, start[k], end[k]) - radius[k]
            if distance < nearest:
                nearest, what = distance, grey[k]
            e = link[e]
        share = min(1.0, max(0.0, 0.5 - nearest / soft))
        out[p] = level + share * (what - level)


@numba.njit(cache=True, inline="always")
def _distance(q: Any, a: Any, b: Any) -> float:
    """Distance of a point from a line segment."""
    d0, d1, d2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    e0, e1, e2 = q[0] - a[0], q[1] - a[1], q[2] - a[2]
    square = d0 * d0 + d1 * d1 + d2 * d2
    t = 0.0
    if square > 0:
        t = min(1.0, max(0.0, (d0 * e0 + d1 * e1 + d2 * e2) / square))
    e0, e1, e2 = e0 - t * d0, e1 - t * d1, e2 - t * d2
    return np.sqrt(e0 * e0 + e1 * e1 + e2 * e2)
