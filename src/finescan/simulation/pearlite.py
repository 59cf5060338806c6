"""Case-hardening steel: ferrite, pearlite and manganese sulfide inclusions, etched, with the damage at inclusions.

Sizes follow 16MnCrS5 (Reclik et al. 2025, doi:10.1016/j.matdes.2025.113955, section 2.1): colonies of cementite
lamellae that a coarse scan can hardly resolve, and inclusions of some µm, stretched along the rolling direction (x).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.simulation.fields import Array, Labels, bands, blobs, cells, share_of, smooth_noise, to_nearest
from finescan.simulation.micrograph import boundaries
from finescan.simulation.section import (
    Damage,
    Mask,
    Section,
    checked_grid,
    facts,
    frame,
    wavering,
)

FERRITE, PEARLITE, SULFIDE, VOID = 0, 1, 2, 3
PHASES = ("ferrite", "pearlite", "MnS", "void")
DAMAGE = ("decohesion", "crack")

COLONY_NM = 5200.0
BAND_NM = (30_000.0, 9_000.0)  # length and height of the bands that segregation left along the rolling direction
WAVE_NM = (2400.0, 900.0, 320.0)  # lamellae bend over these lengths
BEND_NM = (190.0, 60.0, 14.0)  # by so much
FAULT_NM = 700.0  # distance over which lamellae begin and end
LENGTH_NM = (2500.0, 14_000.0)  # of inclusions
SLIM = (4.0, 9.0)  # length over height of inclusions
#: ferrite, mean of pearlite, inclusion; half the contrast between cementite and the ferrite between its lamellae
GREY = (0.5, 0.52, 0.25)
CONTRAST = (0.2, 0.34)
MOST_PERIODS = 3.5  # a colony cut nearly along its lamellae shows them at most this much wider apart


def case_hardening(
    shape: Sequence[int],
    pixel_size_nm: float = 100_000 / 3072,
    *,
    pearlite: float = 0.45,
    lamella_nm: tuple[float, float] = (130.0, 260.0),
    inclusion_spacing_nm: float = 16_000.0,
    damaged: float = 0.7,
    seed: int,
) -> Section:
    """A section of case-hardening steel as a secondary-electron detector shows it after etching, noise-free.

    Parameters
    ----------
    shape : pixels, rows and columns, at least 64 each.
    pixel_size_nm : nm; the published fine scans have 33 nm. Sizes of everything are in nm.
    pearlite : share of the area before inclusions, 0 to 1.
    lamella_nm : true distance of cementite lamellae, lowest and highest. Cut at an angle they lie further apart: the
        section shows the true distance over the sine of the angle, all directions being equally likely.
    inclusion_spacing_nm : one inclusion per this length squared, on average; inf = none.
    damaged : share of the inclusions with damage.
    seed : of everything.

    Returns
    -------
    Section with the phases "ferrite", "pearlite", "MnS" and "void", sites of the kinds in ``DAMAGE``, and grains and
    colonies as ``cells`` with the period of their lamellae.

    Raises
    ------
    InputError : a section that is too small, or a share or distance that cannot be.

    Examples
    --------
    >>> steel = case_hardening((256, 256), seed=1)
    >>> steel.names
    ('ferrite', 'pearlite', 'MnS', 'void')
    """
    grid = checked_grid(shape, pixel_size_nm)
    if not (0 <= pearlite <= 1 and 0 <= damaged <= 1 and 0 < lamella_nm[0] <= lamella_nm[1]):
        raise InputError(
            "pearlite and damaged are shares between 0 and 1 and lamella_nm is (lowest, highest) > 0, but "
            f"{pearlite}, {damaged} and {lamella_nm} came."
        )
    rng = np.random.default_rng([seed, 52])
    px = pixel_size_nm
    colonies = cells(grid.shape, COLONY_NM / px, rng, bend_px=500 / px)
    lamellar = _banded(colonies, pearlite, px, rng)
    period = _periods(lamellar, lamella_nm, rng)
    grey = _ferrite(colonies, px, rng)
    _lamellae(grey, colonies, period / px, px, rng)
    phases = lamellar.astype(np.uint8)[colonies]
    damage = Damage.of(grey, phases, grid, VOID, rim=0.2)
    _inclusions(damage, inclusion_spacing_nm, damaged, px, rng)
    np.clip(grey, 0.0, 1.0, out=grey)
    sites = tuple(damage.sites)
    return Section(facts(grey, grid, "case-hardening steel"), phases, PHASES, sites, colonies, period, seed)


def _banded(colonies: Labels, share: float, px: float, rng: np.random.Generator) -> Mask:
    """Which cells are pearlite: those where carbon gathered, until they fill ``share`` of the area."""
    n = int(colonies.max()) + 1
    area = np.bincount(colonies.ravel(), minlength=n)
    here = area > 0
    middle = np.zeros((n, 2))
    middle[here] = ndimage.center_of_mass(np.ones_like(colonies), colonies, np.flatnonzero(here))
    at = (middle * px / np.array(BAND_NM)[::-1]).astype(int)
    carbon = rng.standard_normal(at.max(0) + 1)[at[:, 0], at[:, 1]] + 0.7 * rng.standard_normal(n)
    order = np.argsort(-np.where(here, carbon, -np.inf), kind="stable")
    filled = np.cumsum(area[order]) - 0.5 * area[order]
    out = np.zeros(n, bool)
    out[order] = filled < share * colonies.size
    return out & here


def _periods(lamellar: Mask, limits: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Distance of the lamellae in the section (nm) per cell, NaN in ferrite."""
    cosine = rng.random(len(lamellar))  # of the angle between section and lamellae: uniform for random directions
    apart = np.minimum(1 / np.sqrt(1 - cosine**2), MOST_PERIODS)
    return np.where(lamellar, rng.uniform(*limits, len(lamellar)) * apart, np.nan)


def _ferrite(grains: Labels, px: float, rng: np.random.Generator) -> Array:
    """Grey of ferrite: orientation contrast, boundaries as etched steps, roughness from the strong etch."""
    of_grain = (GREY[0] + 0.05 * rng.standard_normal(int(grains.max()) + 1)).astype(np.float32)
    grey = of_grain[grains] - np.float32(0.2) * boundaries(grains, 1.1)
    grey += blobs(grains.shape, (2500 / px, 300 / px), (0.025, 0.008), rng)
    fine = ndimage.gaussian_filter(rng.standard_normal(grains.shape, np.float32), 1.0, truncate=3.0)
    grey += np.float32(0.05) * fine
    return grey


def _lamellae(
    grey: Array, colonies: Labels, period_px: NDArray[np.float64], px: float, rng: np.random.Generator
) -> None:
    """Paint pearlite over ferrite, in place: bright cementite lamellae that bend, begin and end."""
    n = len(period_px)
    turn, phase = rng.uniform(0, np.pi, n), rng.uniform(0, 2 * np.pi, n)
    k = np.nan_to_num(2 * np.pi / period_px)
    ky, kx = (k * np.sin(turn)).astype(np.float32), (k * np.cos(turn)).astype(np.float32)
    start, number = phase.astype(np.float32), k.astype(np.float32)
    strength = np.where(np.isfinite(period_px), rng.uniform(*CONTRAST, n), 0).astype(np.float32)
    mean = (GREY[1] + 0.04 * rng.standard_normal(n)).astype(np.float32)
    # narrow lamellae cannot have sharp flanks: the second harmonic must stay coarser than the pixel
    sharp = np.clip((np.nan_to_num(period_px, nan=4.0) - 4.0) / 4.0, 0, 1).astype(np.float32) * np.float32(0.45)
    # wide lamellae are seldom interrupted: the larger this number the fewer faults
    order = np.maximum(1.5, np.nan_to_num(period_px) / 4).astype(np.float32)
    is_pearlite = ndimage.gaussian_filter(np.isfinite(period_px)[colonies].astype(np.float32), 0.7, truncate=3.0)
    bend = blobs(grey.shape, [w / px for w in WAVE_NM], [b / px for b in BEND_NM], rng)
    ends = [blobs(grey.shape, (FAULT_NM / px,), (1.0,), rng) for _ in range(2)]
    broken = smooth_noise(grey.shape, 260 / px, rng)
    x = np.arange(grey.shape[1], dtype=np.float32)
    for rows in bands(len(grey)):
        c = colonies[rows]
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        # where both parts of this number vanish a lamella begins or ends
        fault = np.arctan2(ends[1][rows], ends[0][rows] + order[c])
        angle = ky[c] * y + kx[c] * x + start[c] + number[c] * bend[rows] + fault
        wave = np.cos(angle) + sharp[c] * np.cos(2 * angle)
        whole = np.clip(1.2 - 0.45 * np.maximum(broken[rows], 0), 0.3, 1.0)
        paint = mean[c] + strength[c] * wave * whole + np.float32(0.02) * broken[rows]
        grey[rows] += is_pearlite[rows] * (paint - grey[rows])
    grey -= np.float32(0.12) * boundaries(colonies, 1.1)


# ---------------------------------------------------------------------- inclusions and what happened to them
def _inclusions(damage: Damage, spacing_nm: float, damaged: float, px: float, rng: np.random.Generator) -> None:
    """Inclusions in the picture and phase map, some of them cracked or loose from the steel."""
    ny, nx = damage.phases.shape
    total = ny * nx * (px / spacing_nm) ** 2
    if not total > 0:
        return
    wanted, used, kinds = max(1, round(total)), np.zeros(damage.phases.shape, bool), 0
    for _ in range(30 * wanted):
        length = LENGTH_NM[0] * (LENGTH_NM[1] / LENGTH_NM[0]) ** (rng.random() ** 1.6) / px
        length = min(length, 0.5 * min(ny, nx))
        body = _Inclusion(length, length / rng.uniform(*SLIM), rng)
        y, x = (int(rng.integers(body.reach, max(n - body.reach, body.reach + 1))) for n in (ny, nx))
        box = np.s_[y - body.reach : y + body.reach + 1, x - body.reach : x + body.reach + 1]
        if y + body.reach >= ny or x + body.reach >= nx or (used[box] & (body.depth > -12)).any():
            continue
        used[box] |= body.depth > -6
        body.paint(damage.grey[box], damage.phases[box], rng)
        if rng.random() < damaged or kinds == 0:
            kind = DAMAGE[kinds % 2]
            share = body.loose(px, rng) if kinds % 2 == 0 else body.cracked(px, rng)
            kinds += damage.place(kind, share, (y - body.reach, x - body.reach))
        wanted -= 1
        if wanted == 0:
            return


class _Inclusion:
    """One drawn-out inclusion in a box around it: ``depth`` is about the distance (px) inside its edge."""

    def __init__(self, length: float, height: float, rng: np.random.Generator) -> None:
        self.length, self.height = length, max(height, 6.0)
        self.reach = int(0.5 * length + self.height) + 10
        self.along, self.across = frame(self.reach, rng.normal(0, 0.1))
        self.across = self.across - 0.3 * self.height * wavering(self.along, length, rng)
        swell = 1 + 0.5 * wavering(self.along, length, rng)
        taper = np.clip(1 - np.abs(2 * self.along / length) ** 3.5, 0, 1) ** 0.5
        ends = length / 2 - np.abs(self.along)
        self.half = np.asarray(0.5 * self.height * swell.clip(0.4) * taper, np.float32)
        self.depth: Array = np.minimum(self.half - np.abs(self.across), ends).astype(np.float32)

    def paint(self, grey: Array, phases: NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Into a box of the picture and of the phase map."""
        smooth = GREY[2] + 0.03 * rng.standard_normal() + 0.02 * wavering(self.across, 2 * self.height, rng)
        smooth = smooth + 0.07 * np.exp(-0.5 * ((self.depth - 0.8) / 0.9) ** 2)  # it stands a little proud
        share = share_of(self.depth)
        grey -= np.float32(0.1) * np.exp(-0.5 * ((self.depth + 2.0) / 1.2) ** 2)
        grey += share * (smooth.astype(np.float32) - grey)
        phases[share >= 0.5] = SULFIDE

    def loose(self, px: float, rng: np.random.Generator) -> Array:
        """A gap along part of one flank or around one end, in the steel."""
        width = rng.uniform(110, 380) / px
        middle, span = rng.uniform(-0.35, 0.35) * self.length, rng.uniform(0.3, 0.7) * self.length
        side = np.sign(self.across) * rng.choice((-1, 1)) > 0
        around_end = rng.random() < 0.4
        place = (
            (2 * np.abs(self.along - middle) / span)
            if not around_end
            else (0.5 * self.length - self.along) / (0.25 * self.length)
        )
        width_here = width * np.sqrt(np.clip(1 - place**2, 0, None)) * (1 + 0.3 * wavering(self.along, span, rng))
        out = -self._outside()
        share = share_of(np.minimum(out + 0.6, width_here - out)) * (width_here > 0)
        return np.asarray(share if around_end else share * side, np.float32)

    def cracked(self, px: float, rng: np.random.Generator) -> Array:
        """A crack across the inclusion, within it."""
        at = rng.uniform(-0.25, 0.25) * self.length
        path = at + 0.12 * self.height * wavering(self.across, self.height, rng) + rng.normal(0, 0.15) * self.across
        half = rng.uniform(50, 170) / px * (1 + 0.25 * wavering(self.across, self.height, rng))
        share = share_of(np.maximum(half, 0.9) - np.abs(self.along - path)) * share_of(self.depth)
        return np.asarray(share, np.float32)

    def _outside(self) -> Array:
        """Signed distance to the edge, px, negative outside; exact, unlike ``depth``."""
        inside = self.depth > 0
        return ndimage.gaussian_filter(to_nearest(~inside) - to_nearest(inside), 1.0)
