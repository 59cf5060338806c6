"""Complete simulated jobs: a coarse map, fine scans of parts of it, the truth, and the true warps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from finescan.errors import InputError
from finescan.simulation.lattice import lattice
from finescan.simulation.micrograph import first_detector, grow, second_detector
from finescan.simulation.pearlite import case_hardening
from finescan.simulation.sandstone import sandstone
from finescan.simulation.scanner import FWHM, LEVELS, Scanner, expected, random_warp, scan
from finescan.simulation.steel import dual_phase
from finescan.values import Grid, Image, StagePose, Warp

LR_BLUR_PX = 0.45  # sigma of the coarse probe, LR pixels
HR_BLUR_PX = 0.5  # sigma of the fine probe, HR pixels


@dataclass(frozen=True)
class Recipe:
    """One kind of job.

    Parameters
    ----------
    specimen : name in :data:`SPECIMENS` or :data:`POLYCRYSTALS`.
    counts : electrons per pixel at grey 1, coarse and fine.
    counts_per_us : electrons per µs at grey 1; it gives the dwell time that belongs to ``counts``.
    pixel_size_nm : of the coarse map, unless another one is asked for.
    scale, rotation_deg, shear : largest deviation of the fine scan from its header; drawn uniformly up to this.
    drift_lr_px, smooth_lr_px : peak of the drift along the slow axis and of a smooth 2-D warp, LR pixels.
    gain, offset, shading : of the fine scan, see :class:`Scanner`; the coarse scan has 1, 0 and 0.
    other_detector : the fine scan is recorded with the second detector.
    tilt_deg : stage tilt of the fine scan: its rows lie 1 / cos(tilt) further apart on the specimen.
    """

    specimen: str = "polycrystal"
    counts: tuple[float, float] = (300.0, 100.0)
    counts_per_us: float = 100.0
    pixel_size_nm: float = 100.0
    scale: float = 0.03
    rotation_deg: float = 2.0
    shear: float = 0.01
    drift_lr_px: float = 1.0
    smooth_lr_px: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    shading: float = 0.0
    other_detector: bool = False
    tilt_deg: float = 0.0


RECIPES: dict[str, Recipe] = {
    "polycrystal": Recipe(),
    "porous": Recipe(specimen="porous"),
    "lattice": Recipe(specimen="lattice", counts=(100.0, 40.0), scale=0.01, rotation_deg=1.0),
    "detector": Recipe(counts=(200.0, 80.0), other_detector=True),
    "inverted": Recipe(counts=(100.0, 50.0), gain=-0.8, offset=1.0, shading=0.1),
    "noisy": Recipe(counts=(20.0, 8.0)),
    "drift": Recipe(drift_lr_px=3.0),
    "warp": Recipe(smooth_lr_px=1.5, drift_lr_px=0.0),
    "tilt": Recipe(tilt_deg=28.4),
    "dual-phase": Recipe("dual-phase", (400.0, 400.0), 4.0, 100_000 / 1024),
    "case-hardening": Recipe("case-hardening", (256.0, 256.0), 8.0, 100_000 / 768),
    "sandstone": Recipe("sandstone", (100.0, 100.0), 10.0, 2000.0),
}


#: specimens that one detector looks at: grid and seed -> noise-free grey levels
SPECIMENS: dict[str, Callable[[Grid, int], Image]] = {
    "lattice": lambda grid, seed: lattice(grid.shape, grid.pixel_size_nm, seed=seed),
    "dual-phase": lambda grid, seed: dual_phase(grid.shape, grid.pixel_size_nm[0], seed=seed).image,
    "case-hardening": lambda grid, seed: case_hardening(grid.shape, grid.pixel_size_nm[0], seed=seed).image,
    "sandstone": lambda grid, seed: sandstone(grid.shape, grid.pixel_size_nm[0], seed=seed).image,
}
#: specimens that a second detector can look at too: how their pores differ
POLYCRYSTALS: dict[str, dict[str, float]] = {
    "polycrystal": {},
    "porous": {"pore_spacing_px": 38.0, "pore_px": 6.0},
}


@dataclass(frozen=True)
class Simulated:
    """A job with a known answer.

    Parameters
    ----------
    lr : the coarse map.
    hr : the fine scans.
    truth : float32 image on ``lr.grid.refine(ratio)``: what a noise-free, undistorted fine scan of the whole coarse
        field would record, in the grey levels of the fine scans.
    lr_from_hr : the true warp of each fine scan.
    recipe, seed : how to make it again.
    """

    lr: Image
    hr: tuple[Image, ...]
    truth: Image
    lr_from_hr: tuple[Warp, ...]
    recipe: str
    seed: int


def simulate(
    recipe: str = "polycrystal",
    *,
    size: int | Sequence[int] = 512,
    ratio: float = 4.0,
    fine: int | Sequence[int] = 768,
    fine_scans: int = 1,
    pixel_size_nm: float | None = None,
    dtype: str = "uint16",
    lr_pixel: str = "point",
    line_jitter_px: float = 0.0,
    counts: tuple[float, float] | None = None,
    seed: int = 0,
) -> Simulated:
    """A coarse map, fine scans somewhere in it, and the truth.

    Parameters
    ----------
    recipe : name in :data:`RECIPES`.
    size : LR pixels, rows and columns.
    ratio : LR over HR pixel size; need not be a whole number.
    fine : HR pixels of each fine scan, rows and columns.
    fine_scans : how many; they may overlap.
    pixel_size_nm : of the coarse map; None = the recipe's.
    dtype : of all scans: "uint8", "uint16" or "float32". "uint8" saturates at the ends of its range.
    lr_pixel : "point" samples the field as a probe does, "area" averages over the coarse pixel.
    line_jitter_px : rms shift of the lines of the fine scans, HR pixels.
    counts : electrons at grey 1, coarse and fine, instead of the recipe's.
    seed : of everything.

    Raises
    ------
    InputError : unknown recipe, or fine scans that do not fit into the coarse map.

    Examples
    --------
    >>> job = simulate(size=96, fine=128, seed=3)
    >>> job.truth.grid.shape, job.hr[0].grid.pixel_size_nm
    ((384, 384), (25.0, 25.0))
    """
    r = _recipe(recipe, counts)
    pixel_size_nm = r.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
    coarse = Grid.of(_two(size), pixel_size_nm)
    field = coarse.refine(ratio)
    first, second = _specimen(r, field, seed)
    saturate = (-0.15, 1.95) if dtype == "uint8" else None
    lr_scanner = Scanner(
        LR_BLUR_PX * pixel_size_nm * FWHM, r.counts[0], dtype=dtype, pixel=lr_pixel, saturate_at=saturate,
        dwell_time_us=r.counts[0] / r.counts_per_us,
    )  # fmt: skip
    hr_scanner = replace(
        lr_scanner, psf_fwhm_nm=HR_BLUR_PX * pixel_size_nm / ratio * FWHM, counts=r.counts[1], pixel="point",
        line_jitter_nm=line_jitter_px * pixel_size_nm / ratio, gain=r.gain, offset=r.offset, shading=r.shading,
        dwell_time_us=r.counts[1] / r.counts_per_us,
    )  # fmt: skip
    warps, scans = [], []
    for k in range(fine_scans):
        own = np.random.default_rng([seed, 41, k]).integers(2**31).item()
        grid = Grid.of(_two(fine), pixel_size_nm / ratio)
        warps.append(_placed(r, grid, coarse, own))
        tilt = StagePose(tilt_deg=r.tilt_deg) if r.tilt_deg else None
        name = "fine" if fine_scans == 1 else f"fine {k + 1}"
        scans.append(scan(second, grid, hr_scanner, warp=warps[-1], seed=own, name=name, stage=tilt))
    flat = StagePose(tilt_deg=0.0) if r.tilt_deg else None
    lr = scan(first, coarse, lr_scanner, seed=seed, name="coarse", stage=flat)
    return Simulated(lr, tuple(scans), _recorded_truth(second, hr_scanner), tuple(warps), recipe, seed)


def _recipe(name: str, counts: tuple[float, float] | None) -> Recipe:
    if name not in RECIPES:
        raise InputError(f"A recipe is one of {', '.join(RECIPES)}, but {name!r} came.")
    return RECIPES[name] if counts is None else replace(RECIPES[name], counts=counts)


def _specimen(recipe: Recipe, field: Grid, seed: int) -> tuple[Image, Image]:
    """The field as the coarse scan's detector sees it, and as the fine scans' does."""
    if recipe.specimen in SPECIMENS:
        image = Image(SPECIMENS[recipe.specimen](field, seed).data, field, "truth")
        return image, image
    specimen = grow(field.shape, seed=seed, **POLYCRYSTALS[recipe.specimen])
    image = Image(first_detector(specimen), field, "truth")
    return image, Image(second_detector(specimen), field, "truth") if recipe.other_detector else image


def _placed(recipe: Recipe, grid: Grid, coarse: Grid, seed: int) -> Warp:
    """A random warp within the recipe's limits whose scan lies inside the coarse map."""
    rng = np.random.default_rng([seed, 42])
    stretch = np.array([1 / np.cos(np.radians(recipe.tilt_deg)), 1.0])
    scale = (1 + recipe.scale * rng.uniform(-1, 1, 2)) * stretch - 1
    turn, shear = recipe.rotation_deg * rng.uniform(-1, 1), recipe.shear * rng.uniform(-1, 1)
    lr_px = max(coarse.pixel_size_nm)
    half = np.array(grid.extent_nm) / 2 * (1 + np.maximum(scale, 0))
    half = half + half[::-1] * (abs(np.sin(np.radians(turn))) + abs(shear))
    half += (recipe.drift_lr_px + recipe.smooth_lr_px + 1) * lr_px
    low = np.array(coarse.edge_nm) + half
    high = np.array(coarse.edge_nm) + np.array(coarse.extent_nm) - half
    if (low > high).any():
        raise InputError(
            f"A fine scan of {grid} does not fit into a coarse map of {coarse}. "
            "Make the map larger or the scan smaller."
        )
    return random_warp(
        grid, centre_nm=rng.uniform(low, high), scale_error=(scale[0], scale[1]), rotation_deg=turn, shear=shear,
        drift_nm=recipe.drift_lr_px * lr_px, smooth_nm=recipe.smooth_lr_px * lr_px, seed=seed,
    )  # fmt: skip


def _recorded_truth(truth: Image, scanner: Scanner) -> Image:
    """What a noise-free fine scan without shading and jitter would record, as float32 levels."""
    quiet = replace(scanner, counts=float("inf"), line_jitter_nm=0.0, shading=0.0, saturate_at=None)
    zero, per_grey = LEVELS[scanner.dtype]
    grey = expected(truth, truth.grid, quiet)
    return truth.with_data((zero + per_grey * (scanner.gain * grey + scanner.offset)).astype(np.float32))


def _two(size: int | Sequence[int]) -> tuple[int, int]:
    a, b = (size, size) if isinstance(size, int) else size
    return int(a), int(b)
