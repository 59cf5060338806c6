"""Foam: pores of prescribed or self-chosen sizes in a cylinder, without overlap.

Two ways to grow one. :func:`sequential` puts spheres of a prescribed size distribution at random places, the largest
first. :func:`gap_filling` lets a pore fill the room around a random point, so that pores touch (the idea of Pelt,
Hendriksen & Batenburg 2022, 10.1107/S1600577521011322).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import special

from finescan.errors import InputError
from finescan.simulation.spheres import Spheres, empty_cells, enter, hit
from finescan.values import Circle, Grid

MODES = ("sequential", "gap filling")
POROSITY = 0.3  # gives about 1,400 whole pores in the 512³ of Bukka et al. 2025, 10.1515/mim-2024-0017
CYLINDER = 240 / 256  # radius of the cylinder over that of the inscribed circle
LARGEST = 110 / 512  # largest diameter over the edge of the volume


@dataclass(frozen=True)
class Sizes:
    """Pore diameters: a lognormal distribution, cut at both ends.

    Parameters
    ----------
    median_nm : median diameter before cutting.
    log_sd : standard deviation of the natural logarithm, above 0.
    smallest_nm, largest_nm : limits of the diameters.
    """

    median_nm: float
    log_sd: float
    smallest_nm: float
    largest_nm: float

    def __post_init__(self) -> None:
        if not (0 < self.smallest_nm <= self.median_nm <= self.largest_nm and self.log_sd > 0):
            raise InputError(
                f"Pore sizes need 0 < smallest <= median <= largest and log_sd > 0, but {self} came."
            )  # fmt: skip

    @classmethod
    def usual(cls, size: int, voxel_nm: float) -> Sizes:
        """Diameters of 5 to 110 voxels (at 512, less in smaller volumes), median 20 before cutting."""
        largest = max(LARGEST * size, min(24.0, 0.35 * size))
        return cls(min(20.0, 0.9 * largest) * voxel_nm, 0.6, min(5.0, 0.5 * largest) * voxel_nm, largest * voxel_nm)

    def _limits(self) -> tuple[float, float]:
        low, high = (np.log(d / self.median_nm) / self.log_sd for d in (self.smallest_nm, self.largest_nm))
        return float(low), float(high)

    def mean_volume_nm3(self) -> float:
        """Mean volume of a pore of the cut distribution."""
        z = np.linspace(*self._limits(), 4001)
        weight = np.exp(-(z**2) / 2)
        diameter = self.median_nm * np.exp(self.log_sd * z)
        return float(np.pi / 6 * np.sum(weight * diameter**3) / np.sum(weight))

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """``count`` diameters, nm: one from each of as many equally likely classes, so that any two draws are alike."""
        low, high = special.ndtr(self._limits())
        z = special.ndtri(low + (high - low) * (np.arange(count) + rng.random(count)) / count)
        return np.asarray(self.median_nm * np.exp(self.log_sd * z))


def grow_foam(
    grid: Grid,
    *,
    mode: str = "sequential",
    count: int | None = None,
    sizes: Sizes | None = None,
    overhang_nm: float = 0.0,
    seed: int = 0,
) -> Spheres:
    """A foam cylinder that fills the round field of a cubic volume, as in the published experiment.

    Parameters
    ----------
    grid : ZYX voxels of the volume.
    mode : "sequential" (prescribed sizes) or "gap filling" (touching pores).
    count : pores with centres between the end faces of the volume; None = as many as fill 30 % of the cylinder (about
        1,500 in 512³, of which 1,400 lie whole inside; smaller volumes lack the largest pores and get more small ones).
    sizes : None = :meth:`Sizes.usual`; gap filling only takes the largest diameter from it.
    overhang_nm : how far the cylinder goes on beyond either end face, with pores of the same density.
    seed : of everything.

    Raises
    ------
    InputError : unknown mode, or more pores than fit.

    Examples
    --------
    >>> foam = grow_foam(Grid.of((64, 64, 64), 1000.0), seed=1, count=20)
    >>> len(foam), foam.cylinder_radius_nm
    (20, 30000.0)
    """
    if mode not in MODES:
        raise InputError(f"A foam is grown by one of {', '.join(MODES)}, but {mode!r} came.")
    size, voxel = min(grid.shape), max(grid.pixel_size_nm)
    sizes = sizes or Sizes.usual(size, voxel)
    circle, height = Circle.inscribed(grid), grid.extent_nm[0]
    wall = circle.radius_nm * CYLINDER
    if count is None:
        count = max(1, round(POROSITY * np.pi * wall**2 * height / sizes.mean_volume_nm3()))
    whole = round(count * (1 + 2 * overhang_nm / height))
    middle = (grid.edge_nm[0] + height / 2, *circle.centre_nm)
    if mode == "sequential":
        rng = np.random.default_rng([seed, 51])
        return sequential(sizes.draw(whole, rng) / 2, wall, height + 2 * overhang_nm, centre_nm=middle, seed=seed)
    return gap_filling(whole, wall, height + 2 * overhang_nm, sizes.largest_nm, centre_nm=middle, seed=seed)


def sequential(
    radius_nm: NDArray[np.float64],
    cylinder_radius_nm: float,
    cylinder_height_nm: float,
    *,
    centre_nm: Sequence[float] = (0.0, 0.0, 0.0),
    seed: int = 0,
    tries: int = 20_000,
) -> Spheres:
    """Random sequential addition, largest sphere first: every radius is placed, none overlap.

    Parameters
    ----------
    radius_nm : (n,) radii, any order; 100,000 take about a second.
    cylinder_radius_nm, cylinder_height_nm : of the cylinder; its flat ends may cut spheres.
    centre_nm : middle of the cylinder.
    seed : of the places.
    tries : random places tried for one sphere before giving up.

    Raises
    ------
    InputError : a sphere that is wider than the cylinder, or for which no room was found.
    """
    radius = np.sort(np.asarray(radius_nm, np.float64))[::-1].copy()
    if len(radius) and radius[0] >= cylinder_radius_nm:
        raise InputError(
            f"The largest pore (radius {radius[0]:.4g} nm) does not fit into a cylinder of radius "
            f"{cylinder_radius_nm:.4g} nm. Limit the sizes or make the volume larger."
        )
    if not len(radius):
        return Spheres.of([], [], centre_nm, cylinder_radius_nm, cylinder_height_nm)
    reach = np.array([cylinder_height_nm / 2 + radius[0], cylinder_radius_nm, cylinder_radius_nm])
    head, link, owner, cell = empty_cells(-reach, reach, radius)
    state = np.random.default_rng([seed, 52]).integers(1, 2**63, 1, dtype=np.uint64)
    at = np.empty((len(radius), 3))
    placed = _place(
        at, radius, cylinder_radius_nm, cylinder_height_nm / 2, -reach, cell, head, link, owner, state, tries
    )
    if placed < len(radius):
        share = 4 / 3 * np.sum(radius**3) / (cylinder_radius_nm**2 * cylinder_height_nm)
        raise InputError(
            f"Only {placed} of {len(radius)} pores found room (they would fill {share:.0%} of the cylinder). "
            "Ask for fewer or smaller pores; about 45 % can be filled this way."
        )
    return Spheres.of(at + np.asarray(centre_nm), radius, centre_nm, cylinder_radius_nm, cylinder_height_nm)


def gap_filling(
    count: int,
    cylinder_radius_nm: float,
    cylinder_height_nm: float,
    largest_nm: float,
    *,
    trials: int = 400,
    centre_nm: Sequence[float] = (0.0, 0.0, 0.0),
    seed: int = 0,
) -> Spheres:
    """Pores that touch: each fills the room around the trial point that has the most of it.

    Sizes follow from ``count`` and ``trials``: few trials give many small pores. 400 give 5 to 110 voxels with 1,400
    pores in the volume of the paper, 100,000 nothing below 18.

    Parameters
    ----------
    count : number of pores.
    cylinder_radius_nm, cylinder_height_nm : of the cylinder; its flat ends may cut spheres.
    largest_nm : largest diameter; among points with more room than that one is drawn.
    trials : points that wait for their turn at any time.
    centre_nm : middle of the cylinder.
    seed : of everything.
    """
    if count < 1 or trials < 1 or not 0 < largest_nm < 2 * cylinder_radius_nm:
        raise InputError(
            f"Gap filling needs at least one pore, one trial and a largest diameter below that of the cylinder, but "
            f"{count}, {trials} and {largest_nm:g} nm came."
        )
    state = np.random.default_rng([seed, 53]).integers(1, 2**63, 1, dtype=np.uint64)
    at, radius = np.empty((count, 3)), np.empty(count)
    _grow(at, radius, cylinder_radius_nm, cylinder_height_nm / 2, largest_nm / 2, trials, state)
    # a hair smaller than the room, so that rounding cannot make neighbours overlap
    return Spheres.of(
        at + np.asarray(centre_nm), radius * (1 - 1e-9), centre_nm, cylinder_radius_nm, cylinder_height_nm
    )


@numba.njit(cache=True)
def _random(state: Any) -> float:
    """Uniform in [0, 1), xorshift64* (Vigna 2016, 10.1145/2845077): the same numbers on every machine."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@numba.njit(cache=True)
def _point(at: Any, wall: float, half: float, state: Any) -> None:
    """A uniform point in a cylinder around the origin."""
    at[0] = half * (2 * _random(state) - 1)
    rho, phi = wall * np.sqrt(_random(state)), 2 * np.pi * _random(state)
    at[1] = rho * np.sin(phi)
    at[2] = rho * np.cos(phi)


@numba.njit(cache=True)
def _place(
    at: Any, radii: Any, wall: float, half: float, low: Any, cell: float, head: Any, link: Any, owner: Any,
    state: Any, tries: int,
) -> int:  # fmt: skip
    """Place spheres one after another; how many found room."""
    used = 0
    for k in range(len(radii)):
        found = False
        for _ in range(tries):
            _point(at[k], wall - radii[k], half, state)
            if hit(head, link, owner, at[k], radii[k], low, cell, at, radii) < 0:
                found = True
                break
        if not found:
            return k
        used = enter(head, link, owner, used, k, at[k], radii[k], low, cell)
    return len(radii)


@numba.njit(cache=True)
def _room(p: Any, at: Any, radii: Any, n: int, wall: float, largest: float) -> float:
    """Radius of the largest sphere around ``p`` that touches neither wall nor sphere; negative inside a sphere."""
    room = min(largest, wall - np.sqrt(p[1] * p[1] + p[2] * p[2]))
    for k in range(n):
        d0, d1, d2 = p[0] - at[k, 0], p[1] - at[k, 1], p[2] - at[k, 2]
        square = d0 * d0 + d1 * d1 + d2 * d2
        reach = room + radii[k]
        if reach > 0 and square < reach * reach:
            room = np.sqrt(square) - radii[k]
            if room <= 0:
                return room
    return room


@numba.njit(cache=True)
def _grow(at: Any, radii: Any, wall: float, half: float, largest: float, trials: int, state: Any) -> None:
    """Fill the room around the best trial point, shrink its neighbours' room, draw swallowed points again."""
    points, room = np.empty((trials, 3)), np.empty(trials)
    for i in range(trials):
        _point(points[i], wall, half, state)
        room[i] = _room(points[i], at, radii, 0, wall, largest)
    for k in range(len(radii)):
        most = room.max()
        ties = 0
        best = 0
        for i in range(trials):  # random among equals: at first all points in the bulk have room for the largest
            if room[i] >= most:
                ties += 1
                if _random(state) * ties < 1.0:
                    best = i
        at[k] = points[best]
        radii[k] = most
        for i in range(trials):
            d0, d1, d2 = points[i, 0] - at[k, 0], points[i, 1] - at[k, 1], points[i, 2] - at[k, 2]
            room[i] = min(room[i], np.sqrt(d0 * d0 + d1 * d1 + d2 * d2) - most)
            while room[i] <= 0:
                _point(points[i], wall, half, state)
                room[i] = _room(points[i], at, radii, k + 1, wall, largest)
