"""The published foam experiment: one foam, recorded sharp and blurred by a cone-beam tomograph, and its truth.

Bukka et al. 2025, 10.1515/mim-2024-0017, section 2.2: projections blurred by a Gaussian of 1 to 9 pixels, Poisson
noise, FDK. A :class:`Foam` is the plan; volumes are made one at a time from it, so that 512³ fits into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from finescan.errors import InputError
from finescan.simulation.beams import REACH
from finescan.simulation.foam import Sizes, grow_foam
from finescan.simulation.spheres import Spheres, voxelise
from finescan.simulation.tomography import Array, ConeBeam, Exposure, attenuation_for, expose, project, reconstruct
from finescan.simulation.volumes import growing_weights
from finescan.values import Acquisition, Circle, Grid, Image

HRES_SIGMA_PX = 1.0
SIGMAS_PX = (1.0, 3.0, 5.0, 7.0, 9.0)
PHOTONS = 20_000.0
TRANSMISSION = 0.22  # of the thickest path
OVERHANG = 0.125  # the foam goes on beyond both end faces by this share of the height: no false edge slices
MARGIN_PX = round(REACH * 3)  # detector rows and columns beyond the field
TRUTH_VIEWS = 12  # views per voxel across of a "many views" truth: 6,144 at 512
GROWING_LEVELS = 5
ROLES = ("hres", "lres")
Recorder = Callable[[Array, range], Array]
_REALISATIONS = ("training", "alternate")


@dataclass(frozen=True)
class Foam:
    """A foam and the tomograph that looks at it.

    Parameters
    ----------
    spheres : the pores: the ground truth of all counts and sizes. They go on beyond the end faces of the volume.
    grid : ZYX voxels of every volume.
    geometry : the tomograph.
    photons : counts per detector pixel without a sample; inf = no noise.
    attenuation_per_nm : of the solid.
    window : of the ramp filter.
    seed : of foam and noise.
    """

    spheres: Spheres
    grid: Grid
    geometry: ConeBeam
    photons: float
    attenuation_per_nm: float
    window: str
    seed: int

    @property
    def circle(self) -> Circle:
        """The reconstructed columns: NaN lies outside in recorded volumes."""
        return Circle.inscribed(self.grid)

    @property
    def whole(self) -> Spheres:
        """The pores that lie whole inside the volume."""
        return self.spheres.part(self.spheres.whole_inside(self.grid))


@dataclass(frozen=True)
class FoamPair:
    """All volumes of one foam on one grid; solid is about 1, pores and air about 0, NaN outside the circle.

    Parameters
    ----------
    hres : the sharp scan (blur of one pixel) with its own noise.
    lres : the blurred scans by blur in detector pixels, each with its own noise.
    truth : noise-free, from the spheres or from many views.
    foam : pores, grid, geometry.
    """

    hres: Image
    lres: Mapping[float, Image]
    truth: Image
    foam: Foam

    @property
    def spheres(self) -> Spheres:
        """All pores, those cut by the end faces and beyond them included."""
        return self.foam.spheres

    @property
    def circle(self) -> Circle:
        """The reconstructed columns."""
        return self.foam.circle


def realisations(seed: int = 0) -> dict[str, int]:
    """Seeds of the two independent foams of an experiment: "training" and "alternate"."""
    return {name: 2 * seed + k for k, name in enumerate(_REALISATIONS)}


def plan_foam(
    size: int | Sequence[int] = 128,
    *,
    seed: int = 0,
    views: int | None = None,
    voxel_nm: float = 1000.0,
    photons: float = PHOTONS,
    mode: str = "sequential",
    count: int | None = None,
    sizes: Sizes | None = None,
    window: str = "ramp",
) -> Foam:
    """A foam, and a tomograph whose field it fills.

    Parameters
    ----------
    size : voxels along every edge, or z, y, x.
    seed : of everything.
    views : over 360 degrees; None = as many as voxels across.
    voxel_nm : edge of a voxel.
    photons : per detector pixel without a sample; inf = no noise.
    mode, count, sizes : see :func:`finescan.simulation.foam.grow_foam`.
    window : of the ramp filter.
    """
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    grid = Grid.of(shape, voxel_nm)
    spheres = grow_foam(grid, mode=mode, count=count, sizes=sizes, overhang_nm=OVERHANG * grid.extent_nm[0], seed=seed)
    geometry = ConeBeam.around(grid, views=views, margin_px=MARGIN_PX)
    return Foam(spheres, grid, geometry, photons, attenuation_for(spheres, geometry, TRANSMISSION), window, seed)


def record_foam(foam: Foam, sigma_px: float, *, role: str = "lres", grid: Grid | None = None) -> Image:
    """One recorded volume of a foam: projected, blurred, counted, reconstructed.

    Parameters
    ----------
    foam : from :func:`plan_foam`.
    sigma_px : blur of the projections, detector pixels; one is a voxel at the axis.
    role : "hres" or "lres": which noise. Equal blur with different roles gives independent scans.
    grid : a part of the volume (slab or region of interest); None = all of it. The noise is the same.

    Returns
    -------
    Image float32, NaN outside the circle.
    """
    exposure = _exposure(foam, sigma_px, role)
    image = _scan(foam, foam.geometry, grid, _shown(exposure))
    return replace(image, name=f"foam {role} {sigma_px:g}", acquisition=_facts(foam, sigma_px))


def record_growing_foam(
    foam: Foam, sigma_centre_px: float, sigma_rim_px: float, *, role: str = "lres", grid: Grid | None = None
) -> Image:
    """One recorded volume whose blur grows linearly from the axis to the rim of the field; the noise does not change.

    Noise-free volumes of :data:`GROWING_LEVELS` blurs are mixed by distance from the axis, so that the variance of the
    blur is the intended one, and the noise of one scan is added.

    Parameters
    ----------
    foam : from :func:`plan_foam`.
    sigma_centre_px, sigma_rim_px : blur of the projections at the axis and at the rim, detector pixels.
    role, grid : as in :func:`record_foam`.
    """
    grid = grid or foam.grid
    sigmas, weights = growing_weights(grid, foam.circle, sigma_centre_px, sigma_rim_px, GROWING_LEVELS)
    data = np.zeros(grid.shape, np.float32)
    for sigma, weight in zip(sigmas, weights, strict=True):
        clean = replace(_exposure(foam, float(sigma), role), photons=float("inf"))
        data += weight * _scan(foam, foam.geometry, grid, _shown(clean)).data
    if np.isfinite(foam.photons):
        noisy = _exposure(foam, (sigma_centre_px + sigma_rim_px) / 2, role)
        quiet = replace(noisy, photons=float("inf"))
        with_noise, without = _shown(noisy), _shown(quiet)
        noise = _scan(foam, foam.geometry, grid, lambda p, views: with_noise(p, views) - without(p, views))
        data += noise.data
    name = f"foam {role} {sigma_centre_px:g} to {sigma_rim_px:g}"
    return Image(data, grid, name, _facts(foam, (sigma_centre_px, sigma_rim_px)))


def _exposure(foam: Foam, sigma_px: float, role: str) -> Exposure:
    """Blur and noise of one scan; every role and blur has noise of its own."""
    if role not in ROLES:
        raise InputError(f"A foam is recorded as one of {', '.join(ROLES)}, but {role!r} came.")
    noise = np.random.SeedSequence([foam.seed, 61, ROLES.index(role), round(1000 * sigma_px)])
    return Exposure(sigma_px, foam.photons, foam.attenuation_per_nm, int(noise.generate_state(1)[0]))


def _facts(foam: Foam, sigma_px: float | tuple[float, float]) -> Acquisition:
    extra = {"blur_sigma_px": sigma_px, "photons": foam.photons, "views": foam.geometry.views, "seed": foam.seed}
    return Acquisition(vendor="simulation", pixel_size_from="simulation", extra=extra)


def true_foam(
    foam: Foam, *, truth: str = "analytic", grid: Grid | None = None, supersampling: int = 4, views: int | None = None
) -> Image:
    """The foam without blur and noise.

    Parameters
    ----------
    foam : from :func:`plan_foam`.
    truth : "analytic" (share of solid in each voxel) or "many views" (noise-free reconstruction as in the paper).
    grid : a part of the volume; None = all of it.
    supersampling : points per axis in voxels that a surface crosses (analytic).
    views : of "many views"; None = 12 per voxel across.

    Returns
    -------
    Image float32; NaN outside the circle.
    """
    grid = grid or foam.grid
    if truth == "analytic":
        image = voxelise(foam.spheres, grid, supersampling=supersampling)
        image.data[:, ~foam.circle.mask(grid)] = np.nan
        return replace(image, name="foam truth")
    if truth != "many views":
        raise InputError(f"A truth is 'analytic' or from 'many views', but {truth!r} came.")
    views = TRUTH_VIEWS * foam.grid.shape[-1] if views is None else views
    geometry = replace(foam.geometry, views=views)
    return replace(_scan(foam, geometry, grid, lambda lengths, _: lengths), name="foam truth")


def _shown(exposure: Exposure) -> Recorder:
    return lambda lengths, views: expose(lengths, exposure, views)


def _scan(foam: Foam, geometry: ConeBeam, grid: Grid | None, seen: Recorder) -> Image:
    """Reconstruction of a foam whose exact projections go through ``seen``, some views at a time."""

    def lengths(views: range) -> Any:
        return seen(project(foam.spheres, geometry, views), views)

    return reconstruct(lengths, geometry, grid or foam.grid, window=foam.window, circle=foam.circle)


def simulate_foam(
    size: int | Sequence[int] = 128,
    *,
    sigma_px: Sequence[float] = SIGMAS_PX,
    seed: int = 0,
    views: int | None = None,
    voxel_nm: float = 1000.0,
    noise: float = PHOTONS,
    mode: str = "sequential",
    truth: str = "analytic",
    count: int | None = None,
) -> FoamPair:
    """The volumes of the published experiment, all in memory; see :func:`record_foam` for one at a time.

    Parameters
    ----------
    size : voxels along every edge, or z, y, x.
    sigma_px : blurs of the coarse scans, detector pixels.
    seed : of everything; see :func:`realisations`.
    views : over 360 degrees; None = as many as voxels across.
    voxel_nm : edge of a voxel.
    noise : photons per detector pixel without a sample; inf = no noise.
    mode : "sequential" or "gap filling".
    truth : "analytic" or "many views".
    count : pores; None = as dense as in the paper.

    Examples
    --------
    >>> pair = simulate_foam(48, sigma_px=(3,), seed=1)
    >>> pair.hres.grid.shape, sorted(pair.lres)
    ((48, 48, 48), [3.0])
    """
    foam = plan_foam(size, seed=seed, views=views, voxel_nm=voxel_nm, photons=noise, mode=mode, count=count)
    hres = record_foam(foam, HRES_SIGMA_PX, role="hres")
    lres = {float(s): record_foam(foam, float(s)) for s in sigma_px}
    return FoamPair(hres, lres, true_foam(foam, truth=truth), foam)
