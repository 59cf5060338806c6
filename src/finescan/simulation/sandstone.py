"""Sandstone in the back-scattered electron image: grains, clay, heavy minerals, and pores of all sizes.

The kind of sample of van Melick & Plümper's DLE-EM, whose result is judged by the sizes of the pores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.simulation.fields import (
    STEP,
    Array,
    Labels,
    bands,
    blobs,
    cells,
    changes,
    edge_distance,
    refined,
    share_of,
    smooth_noise,
    threshold_for,
    to_nearest,
)
from finescan.simulation.micrograph import boundaries
from finescan.simulation.section import Section, checked_grid, facts, frame

PORE, QUARTZ, FELDSPAR, CLAY, HEAVY = 0, 1, 2, 3, 4
PHASES = ("pore", "quartz", "feldspar", "clay", "heavy mineral")

GRAIN_NM = (120_000.0, 65_000.0)  # coarser and finer sand
ROUND_NM = 26_000.0  # radius to which the corners of grains are worn off
HEAVY_NM, HEAVY_SHARE = 28_000.0, 0.008  # size of heavy minerals, share of the area
KINDS = (QUARTZ, FELDSPAR, CLAY)
GRAIN_SHARE = (0.68, 0.26, 0.06)  # of the grains, in the order of KINDS
GREY = (0.07, 0.46, 0.56, 0.36, 0.92)  # in the order of PHASES
SPREAD = (0.0, 0.01, 0.03, 0.02, 0.05)
PORE_NM2 = (8.0e5, 6.0e8)  # areas of pores within grains and clay: about 1 µm across, and 25
POWER = 1.75  # of the number density of their areas
HOST = (0.0, 0.06, 0.8, 1.0, 0.0)  # how readily each phase holds one


def sandstone(
    shape: Sequence[int],
    pixel_size_nm: float = 500.0,
    *,
    porosity: float = 0.16,
    small_pores: float = 0.25,
    seed: int,
) -> Section:
    """A polished section of sandstone in back-scattered electrons, noise-free.

    Parameters
    ----------
    shape : pixels, rows and columns, at least 64 each.
    pixel_size_nm : nm. Sizes of everything are in nm; a grain is about 0.1 mm.
    porosity : share of the area that is pore, 0.02 to 0.4.
    small_pores : share of the pore area that lies in small pores within grains and clay; their areas follow a power law
        from about 1 µm across upwards. The rest lies between the grains.
    seed : of everything.

    Returns
    -------
    Section with the phases "pore", "quartz", "feldspar", "clay" and "heavy mineral", and grains as ``cells``; the true
    pores are ``section.mask("pore")``.

    Raises
    ------
    InputError : a section that is too small, or a porosity out of range.

    Examples
    --------
    >>> rock = sandstone((256, 256), seed=1)
    >>> bool(abs(rock.fraction("pore") - 0.16) < 0.05)
    True
    """
    grid = checked_grid(shape, pixel_size_nm)
    if not (0.02 <= porosity <= 0.4 and 0 <= small_pores <= 0.8):
        raise InputError(
            "A sandstone has a porosity of 0.02 to 0.4 of which 0 to 0.8 lies in small pores, but "
            f"{porosity} and {small_pores} came."
        )
    rng = np.random.default_rng([seed, 53])
    px = pixel_size_nm
    grains = _grains(grid.shape, px, rng)
    kind = rng.choice(KINDS, int(grains.max()) + 1, p=GRAIN_SHARE).astype(np.uint8)
    phases = kind[grains]
    void = _between(grains, phases, porosity * (1 - small_pores), px, rng)
    _heavy(phases, px, rng)
    grey = _minerals(grains, phases, px, rng)
    missing = porosity * grid.size - float(void.sum(dtype=np.float64))
    _small_pores(void, phases, grains, min(missing, small_pores * porosity * grid.size), px, rng)
    _fill(grey, void, px, rng)
    phases[void >= 0.5] = PORE
    none = np.empty(0)
    return Section(facts(grey, grid, "sandstone"), phases, PHASES, (), grains, none, seed)


def _grains(shape: tuple[int, ...], px: float, rng: np.random.Generator) -> Labels:
    """Labels of grains of two sizes, in patches, as layers of coarser and finer sand."""
    coarse, fine = (cells(shape, s / px, rng, bend_px=0.06 * s / px) for s in GRAIN_NM)
    layer = smooth_noise(shape, 2.5 * GRAIN_NM[0] / px, rng) > 0.5
    return np.where(layer, fine + np.int32(coarse.max() + 1), coarse)


def _between(grains: Labels, phases: NDArray[np.uint8], share: float, px: float, rng: np.random.Generator) -> Array:
    """Share of each pixel that is pore between grains; clay that lines and fills it is put into ``phases``.

    Rounded grains: what of a cell no disc reaches that stays inside the cell is space. So space opens where three
    grains meet, and they touch in between. The radius of the disc varies from place to place.
    """
    space = refined(_unreached(grains[::STEP, ::STEP], px, rng), grains.shape)
    space += np.float32(2500 / px) * blobs(grains.shape, (9000 / px, 3000 / px), (0.8, 0.4), rng)
    lining = np.float32(6000 / px) * np.maximum(smooth_noise(grains.shape, 60_000 / px, rng) - 0.4, 0)
    open_ = space - lining - np.float32(1200 / px) * np.maximum(smooth_noise(grains.shape, 5000 / px, rng), 0)
    level = np.float32(threshold_for(open_, share))
    phases[(space > level) & (open_ <= level)] = CLAY
    open_ -= level
    out = np.empty_like(open_)
    for rows in bands(len(out)):
        out[rows] = share_of(edge_distance(open_, rows)[0])
    return out


def _unreached(labels: Labels, px: float, rng: np.random.Generator) -> Array:
    """How far (fine px) each place of the lattice lies from the rounded grain inside its cell; negative in it."""
    scale = px * STEP
    radius = ROUND_NM / scale * np.clip(1 + 0.35 * smooth_noise(labels.shape, 40_000 / scale, rng), 0.3, 2)
    core = to_nearest(changes(labels)) > radius
    return (np.minimum(to_nearest(core), 2 * radius + 1) - radius) * np.float32(STEP)


def _heavy(phases: NDArray[np.uint8], px: float, rng: np.random.Generator) -> None:
    """Small heavy minerals, in place."""
    small = cells(phases.shape, HEAVY_NM / px, rng, bend_px=0.1 * HEAVY_NM / px)
    phases[(rng.random(int(small.max()) + 1) < HEAVY_SHARE)[small]] = HEAVY


def _minerals(grains: Labels, phases: NDArray[np.uint8], px: float, rng: np.random.Generator) -> Array:
    """Grey of the solid: nearly even quartz, feldspar with exsolution lamellae, flaky clay, bright heavy minerals."""
    n = int(grains.max()) + 1
    offset = rng.standard_normal(n).astype(np.float32)
    turn, period = rng.uniform(0, np.pi, n), rng.uniform(4000, 14_000, n) / px
    ky = (2 * np.pi / period * np.sin(turn)).astype(np.float32)
    kx = (2 * np.pi / period * np.cos(turn)).astype(np.float32)
    lamellae = np.where(rng.random(n) < 0.5, 0.035, 0.0).astype(np.float32)
    bend = blobs(grains.shape, (20_000 / px, 5000 / px), (2.5, 0.8), rng)
    flakes = blobs(grains.shape, (3500 / px, 1500 / px), (0.6, 0.8), rng)
    slow = smooth_noise(grains.shape, 15_000 / px, rng)
    mean, spread = np.array(GREY, np.float32), np.array(SPREAD, np.float32)
    x = np.arange(grains.shape[1], dtype=np.float32)
    out: Array = np.empty(grains.shape, np.float32)
    for rows in bands(len(out)):
        g, p = grains[rows], phases[rows]
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        grey = mean[p] + spread[p] * offset[g]
        stripes = np.clip(2 * np.sin(ky[g] * y + kx[g] * x + bend[rows]) - 1, -1, 1)
        grey += np.where(p == FELDSPAR, lamellae[g] * stripes + 0.012 * slow[rows], 0)
        grey += np.where(p == CLAY, 0.075 * flakes[rows], 0.004 * flakes[rows])
        out[rows] = grey
    out -= np.float32(0.05) * boundaries(grains)
    return ndimage.gaussian_filter(out, 0.6, truncate=3.0)  # edges between minerals run through pixels


# ---------------------------------------------------------------------- pores
def _small_pores(
    void: Array, phases: NDArray[np.uint8], grains: Labels, area_px: float, px: float, rng: np.random.Generator
) -> None:
    """Pores in grains and clay added to ``void``, in place, until they fill ``area_px``; areas follow a power law."""
    turn = rng.uniform(0, np.pi, int(grains.max()) + 1)
    filled, tries = 0.0, 0
    while filled < area_px and tries < 400_000:
        tries += 1
        y, x = (int(rng.integers(n)) for n in void.shape)
        if rng.random() > HOST[phases[y, x]] or void[y, x] > 0:
            continue
        area = _area(rng.random()) / px**2
        filled += _pit(void, y, x, area, turn[grains[y, x]], rng)


def _area(u: float) -> float:
    """Area (nm²) of a pore, from a uniform number: density proportional to area to the power of -POWER."""
    low, high = (a ** (1 - POWER) for a in PORE_NM2)
    return float((low + u * (high - low)) ** (1 / (1 - POWER)))


def _pit(void: Array, y: int, x: int, area: float, turn: float, rng: np.random.Generator) -> float:
    """One irregular pore of about ``area`` px; returns the area that it added."""
    flat = rng.uniform(1, 2.6)
    long = float(np.sqrt(area * flat / np.pi))
    reach = int(1.5 * long) + 2
    if y < reach or x < reach or y + reach >= void.shape[0] or x + reach >= void.shape[1]:
        return 0.0
    along, across = frame(reach, turn + rng.normal(0, 0.3))
    r = np.hypot(along, across * flat)
    angle = np.arctan2(across * flat, along)
    edge = long * (1 + 0.22 * sum(np.cos(k * angle + rng.uniform(0, 6.3)) / k for k in (2, 3, 5)))
    share = np.clip((edge - r) / np.sqrt(flat) + 0.5, 0, 1).astype(np.float32)
    box = void[y - reach : y + reach + 1, x - reach : x + reach + 1]
    before = float(box.sum(dtype=np.float64))
    np.maximum(box, share, out=box)
    return float(box.sum(dtype=np.float64)) - before


def _fill(grey: Array, void: Array, px: float, rng: np.random.Generator) -> None:
    """Pores filled with resin, in place: nearly black, small ones greyer, with a faint bright edge."""
    deep = ndimage.gaussian_filter(void, 2.0, truncate=3.0)
    resin = np.float32(GREY[PORE]) + np.float32(0.012) * smooth_noise(void.shape, 12_000 / px, rng)
    resin += np.float32(0.12) * (1 - deep) ** 2
    grey += np.float32(0.12) * deep * (1 - void)
    grey += void * (resin - grey)
    np.clip(grey, 0.0, 1.0, out=grey)
