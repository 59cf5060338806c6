"""Dual-phase steel: martensite islands in ferrite, etched, with the three kinds of damage that forming causes.

Sizes follow what is known of DP800 (Reclik et al. 2025, doi:10.1016/j.matdes.2025.113955, section 2.1): islands of
0.5 to 5 µm at the boundaries of ferrite grains of a few µm, standing proud after etching, voids of 0.1 to 1 µm.
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
from finescan.simulation.section import (
    Damage,
    Draw,
    Mask,
    Section,
    box_around,
    checked_grid,
    facts,
    frame,
    main_part,
    wavering,
)

FERRITE, MARTENSITE, VOID = 0, 1, 2
PHASES = ("ferrite", "martensite", "void")
DAMAGE = ("interface decohesion", "boundary decohesion", "martensite crack")
#: share of each kind of damage, in the order of DAMAGE
DAMAGE_SHARE = (0.45, 0.25, 0.3)

GRAIN_NM = 3800.0
BLOCK_NM = 900.0  # of one lath direction
LATH_NM = (120.0, 280.0)  # width of a lath with its gap, seen in the section
ISLAND_NM = (1500.0, 620.0, 230.0)  # sizes of the bumps of an island's outline
ISLAND_WEIGHT = (0.85, 0.7, 0.2)
PULL_NM = 900.0  # islands lie within about this distance of a grain boundary
#: grey of ferrite and martensite; spread of ferrite grains and of martensite blocks
GREY = (0.24, 0.56)
SPREAD = (0.035, 0.05)


def dual_phase(
    shape: Sequence[int],
    pixel_size_nm: float = 100_000 / 4096,
    *,
    martensite: float = 0.3,
    site_spacing_nm: float = 10_000.0,
    seed: int,
) -> Section:
    """A section of dual-phase steel as a secondary-electron detector shows it after etching, noise-free.

    Parameters
    ----------
    shape : pixels, rows and columns, at least 64 each.
    pixel_size_nm : nm; the published fine scans have 24.4 nm. Sizes of everything are in nm.
    martensite : share of the area before damage, 0.05 to 0.6.
    site_spacing_nm : one damage site per this length squared, on average; inf = none.
    seed : of everything.

    Returns
    -------
    Section with the phases "ferrite", "martensite" and "void", sites of the kinds in ``DAMAGE``, and ferrite grains as
    ``cells``.

    Raises
    ------
    InputError : a section that is too small, or a share of martensite that does not form islands.

    Examples
    --------
    >>> steel = dual_phase((256, 256), seed=1)
    >>> steel.names, 0.2 < steel.fraction("martensite") < 0.4
    (('ferrite', 'martensite', 'void'), True)
    """
    grid = checked_grid(shape, pixel_size_nm)
    if not 0.05 <= martensite <= 0.6:
        raise InputError(f"Martensite forms islands at a share of 0.05 to 0.6 of the area, but {martensite} came.")
    rng = np.random.default_rng([seed, 51])
    grains = cells(grid.shape, GRAIN_NM / pixel_size_nm, rng, bend_px=220 / pixel_size_nm)
    level = _islands(grains, pixel_size_nm, martensite, rng)
    grey = _ferrite(grains, pixel_size_nm, rng)
    _cover(grey, level, pixel_size_nm, rng)
    phases = np.where(level > 0, MARTENSITE, FERRITE).astype(np.uint8)
    damage = Damage.of(grey, phases, grid, VOID, rim=0.3)
    _damage(damage, grains, site_spacing_nm, pixel_size_nm, rng)
    np.clip(grey, 0.0, 1.0, out=grey)
    none = np.empty(0)
    return Section(facts(grey, grid, "dual-phase steel"), phases, PHASES, tuple(damage.sites), grains, none, seed)


def _islands(grains: Labels, px: float, share: float, rng: np.random.Generator) -> Array:
    """Level set (ny, nx), positive inside martensite: irregular outlines that prefer the boundaries of the grains."""
    away = to_nearest(changes(grains[::STEP, ::STEP])) * np.float32(STEP * px / PULL_NM)
    level = blobs(grains.shape, [s / px for s in ISLAND_NM], ISLAND_WEIGHT, rng)
    level += np.float32(1.8) * refined(np.exp(-(away**2)), grains.shape)
    level -= np.float32(threshold_for(level, share))
    return level


def _ferrite(grains: Labels, px: float, rng: np.random.Generator) -> Array:
    """Grey of the matrix: faint orientation contrast, thin boundaries, slight relief from polishing and etching."""
    of_grain = (GREY[0] + SPREAD[0] * rng.standard_normal(int(grains.max()) + 1)).astype(np.float32)
    line = np.where(rng.random(len(of_grain)) < 0.6, 0.1, -0.07).astype(np.float32)
    grey = of_grain[grains] + line[grains] * boundaries(grains)
    grey += np.float32(0.018) * smooth_noise(grains.shape, 700 / px, rng)
    fine = ndimage.gaussian_filter(rng.standard_normal(grains.shape, np.float32), 1.4, truncate=3.0)
    grey += np.float32(0.05) * fine
    pits = smooth_noise(grains.shape, 90 / px, rng)
    grey += np.float32(0.16) * np.clip(pits - 3.3, 0, 1)  # carbides left standing
    return grey


def _cover(grey: Array, level: Array, px: float, rng: np.random.Generator) -> None:
    """Paint martensite over the matrix, in place: laths or grains inside, a bright rim, a shadow at its foot."""
    blocks = cells(grey.shape, BLOCK_NM / px, rng, bend_px=70 / px)
    look = _blocks(int(blocks.max()) + 1, px, rng)
    bend = blobs(grey.shape, (420 / px, 130 / px), (1.5, 0.9), rng)
    grain = blobs(grey.shape, (120 / px, 65 / px), (0.7, 0.8), rng)
    seam = boundaries(blocks)
    light = rng.uniform(0, 2 * np.pi)  # direction of the detector
    x = np.arange(grey.shape[1], dtype=np.float32)
    for rows in bands(len(grey)):
        b = blocks[rows]
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        wave = np.sin(look["ky"][b] * y + look["kx"][b] * x + look["phase"][b] + bend[rows])
        inside = look["grey"][b] + look["lath"][b] * wave * (1 + 0.5 * grain[rows]) + look["grain"][b] * grain[rows]
        inside -= np.float32(0.08) * seam[rows]
        depth, up_y, up_x = edge_distance(level, rows)
        facing = 1 + 0.45 * (np.sin(light) * up_y + np.cos(light) * up_x)
        width = 45 / px
        inside += 0.22 * facing * np.exp(-0.5 * ((depth - 0.7 * width) / (0.8 * width)) ** 2)
        grey[rows] -= 0.07 * np.exp(-0.5 * ((depth + 1.6 * width) / (1.1 * width)) ** 2)
        share = share_of(depth)
        grey[rows] += share * (inside - grey[rows])


def _blocks(n: int, px: float, rng: np.random.Generator) -> dict[str, Array]:
    """Constants of each martensite block: direction and width of its laths, or a granular interior."""
    period, turn = rng.uniform(*LATH_NM, n) / px, rng.uniform(0, np.pi, n)
    granular = rng.random(n) < 0.35
    table = {
        "ky": 2 * np.pi / period * np.sin(turn),
        "kx": 2 * np.pi / period * np.cos(turn),
        "phase": rng.uniform(0, 2 * np.pi, n),
        "lath": np.where(granular, 0.02, rng.uniform(0.04, 0.11, n)),
        "grain": np.where(granular, 0.1, 0.05),
        "grey": GREY[1] + SPREAD[1] * rng.standard_normal(n),
    }
    return {k: np.asarray(v, np.float32) for k, v in table.items()}


# ---------------------------------------------------------------------- damage
def _damage(damage: Damage, grains: Labels, spacing_nm: float, px: float, rng: np.random.Generator) -> None:
    ny, nx = damage.phases.shape
    total = ny * nx * (px / spacing_nm) ** 2
    if not total > 0:
        return
    hard = damage.phases == MARTENSITE
    edge, line = changes(damage.phases), changes(grains)
    places = (edge, line & ~hard & ~edge, hard & ~edge)
    draws: tuple[Draw, ...] = (_interface(hard, px), _boundary(hard, grains, px), _crack(hard, px))
    for kind, part, where, draw in zip(DAMAGE, DAMAGE_SHARE, places, draws, strict=True):
        damage.add(kind, max(1, round(part * total)), _sample(where, rng), draw, rng)


def _sample(where: Mask, rng: np.random.Generator, most: int = 60_000) -> NDArray[np.intp]:
    """At most ``most`` random positions (n, 2) of a mask."""
    flat = np.flatnonzero(where)
    if len(flat) > most:
        flat = rng.choice(flat, most, replace=False)
    return np.stack(np.unravel_index(flat, where.shape), -1)


def _lens(along: Array, length: float, width: float, rng: np.random.Generator) -> Array:
    """Width of a void along its length: a lens with an uneven flank; 0 beyond its ends."""
    shape = np.sqrt(np.clip(1 - (2 * along / length) ** 2, 0, None))
    return np.asarray(width * shape * (1 + 0.4 * wavering(along, length, rng)).clip(0.3), np.float32)


def _interface(hard: Mask, px: float) -> Draw:
    """A void along the interface: one flank is the island's edge, the other lies in the ferrite."""

    def draw(y: int, x: int, rng: np.random.Generator) -> tuple[Array, tuple[int, int]] | None:
        length, width = rng.uniform(350, 1300) / px, rng.uniform(90, 330) / px
        reach = int(0.6 * length + width) + 8
        box = box_around(y, x, reach, hard.shape)
        if box is None:
            return None
        island = hard[box[0] : box[1], box[2] : box[3]]
        away = ndimage.gaussian_filter(to_nearest(island) - to_nearest(~island), 1.0)
        gy, gx = np.gradient(ndimage.gaussian_filter(away, 3.0))
        along, across = frame(reach, np.arctan2(gy[reach, reach], gx[reach, reach]) + np.pi / 2)
        open_ = _lens(along, length, width, rng)
        share = share_of(np.minimum(away + 0.8, open_ - away)) * (open_ > 0) * (np.abs(across) < width + 0.3 * length)
        return main_part(share.astype(np.float32), (reach, reach)), (box[0], box[2])

    return draw


def _boundary(hard: Mask, grains: Labels, px: float) -> Draw:
    """A void on the boundary between two ferrite grains, clear of martensite."""

    def draw(y: int, x: int, rng: np.random.Generator) -> tuple[Array, tuple[int, int]] | None:
        length, width = rng.uniform(300, 1000) / px, rng.uniform(60, 180) / px
        reach = int(0.6 * length + width) + 8
        box = box_around(y, x, reach, hard.shape)
        if box is None:
            return None
        inner = np.s_[box[0] : box[1], box[2] : box[3]]
        line = changes(grains[inner])
        line[0], line[:, 0] = False, False
        away = ndimage.gaussian_filter(to_nearest(line), 1.2)
        py, px_ = np.nonzero(line)
        near = np.hypot(py - reach, px_ - reach) < 0.5 * length
        spread = np.cov(np.stack([px_[near], py[near]])) if near.sum() > 3 else np.eye(2)
        direction = np.linalg.eigh(spread)[1][:, -1]
        along, across = frame(reach, np.arctan2(direction[1], direction[0]))
        open_ = _lens(along, length, width, rng)
        share = share_of(open_ - away) * (open_ > 0) * (np.abs(across) < width + 0.3 * length)
        share = main_part(share.astype(np.float32), (reach, reach))
        clear = ndimage.binary_dilation(share > 0, iterations=3)
        return None if (clear & hard[inner]).any() else (share, (box[0], box[2]))

    return draw


def _crack(hard: Mask, px: float) -> Draw:
    """A thin crack straight across an island at one of its narrow places, from edge to edge."""
    angles = np.linspace(0, np.pi, 16, endpoint=False)
    far = int(2600 / px)

    def draw(y: int, x: int, rng: np.random.Generator) -> tuple[Array, tuple[int, int]] | None:
        runs = [_run(hard, y, x, a, far) for a in angles]
        lengths = [a + b for a, b in runs]
        best = int(np.argmin(lengths))
        length = lengths[best]
        if not 350 / px < length < 2400 / px:
            return None
        shift = (runs[best][0] - runs[best][1]) / 2
        y, x = round(y + shift * np.sin(angles[best])), round(x + shift * np.cos(angles[best]))
        reach = int(0.55 * length) + 8
        box = box_around(y, x, reach, hard.shape)
        if box is None:
            return None
        island = hard[box[0] : box[1], box[2] : box[3]]
        along, across = frame(reach, angles[best] + rng.normal(0, 0.06))
        half = rng.uniform(35, 95) / px * (0.7 + 0.6 * np.abs(2 * along / length) + 0.3 * wavering(along, length, rng))
        path = 0.05 * length * wavering(along, length, rng)
        share = share_of(np.maximum(half, 0.8) - np.abs(across - path)) * (np.abs(along) < 0.6 * length) * island
        return main_part(share.astype(np.float32), (reach, reach)), (box[0], box[2])

    return draw


def _run(hard: Mask, y: int, x: int, angle: float, far: int) -> tuple[int, int]:
    """Pixels from a place to the edge of its island along a direction, and against it; ``far`` if further."""
    steps = np.arange(1, far + 1)
    out = []
    for sign in (1, -1):
        at_y = np.rint(y + sign * np.sin(angle) * steps).astype(int)
        at_x = np.rint(x + sign * np.cos(angle) * steps).astype(int)
        good = (at_y >= 0) & (at_x >= 0) & (at_y < hard.shape[0]) & (at_x < hard.shape[1])
        inside = np.zeros(far, bool)
        inside[good] = hard[at_y[good], at_x[good]]
        out.append(far if inside.all() else int(np.argmin(inside)))
    return out[0], out[1]
