"""Volumes made worse on purpose, and pairs of volumes with a known warp between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.spatial.transform import Rotation

from finescan.errors import InputError
from finescan.resampling import resample
from finescan.simulation.bodies import SAMPLES, grow_bodies, paint
from finescan.simulation.scanner import DRIFT_MODES, LEVELS, Scanner, _box, digitise
from finescan.values import Acquisition, Circle, Grid, Image, Warp

__all__ = ["SAMPLES", "Placement", "VolumePair", "blur_growing", "degrade_volume", "simulate_volume_pair"]

Array = NDArray[np.float32]
BLUR_LEVELS = 9  # blurred copies that a growing blur is mixed from
LR_BLUR_PX, HR_BLUR_PX = 0.6, 0.7  # sigma of either instrument's PSF, own voxels


# ---------------------------------------------------------------------- a real volume made coarse
def degrade_volume(
    image: Image,
    *,
    psf_sigma_px: float | Sequence[float] = 0.0,
    binning: float | Sequence[float] = 1.0,
    onto: Grid | None = None,
    through: Warp | None = None,
    noise: float = 0.0,
    counts_per_grey: float = float("inf"),
    dtype: str | None = None,
    saturate: bool = False,
    seed: int = 0,
) -> Image:
    """A volume as a coarser instrument would have recorded it: blurred, averaged over larger voxels, noisy.

    Parameters
    ----------
    image : ZYX volume (or picture), in memory as a whole. NaN = not recorded; it does not spread.
    psf_sigma_px : standard deviation of the Gaussian PSF, pixels of ``image``, one or per axis.
    binning : coarse over fine pixel size, at least 1, one or per axis; need not be whole.
    onto : the coarse grid itself, in the frame of ``image`` (or of the warp), instead of ``binning``.
    through : maps nm in the frame of ``onto`` to nm in the frame of ``image``.
    noise : standard deviation of Gaussian noise, grey levels.
    counts_per_grey : Poisson noise: counts per grey level; grey levels must not be negative. inf = none.
    dtype : of the result; None = that of ``image``. Whole numbers are rounded.
    saturate : whole numbers that do not fit are set to the limit, and counted, instead of being refused.
    seed : of the noise.

    Returns
    -------
    Image on the coarse grid; ``acquisition.extra["saturated_share"]`` says how much was set to a limit. Coarse pixels
    that lie partly outside ``image`` average what there is; those wholly outside are NaN.

    Raises
    ------
    InputError : settings that make no sense, or grey levels that do not fit the number format.

    Examples
    --------
    >>> fine = Image(np.arange(8, dtype=np.float32).reshape(2, 2, 2), Grid.of((2, 2, 2), 10.0))
    >>> degrade_volume(fine, binning=2).data.ravel().tolist()
    [3.5]
    """
    factors = _per_axis(binning, image.grid.ndim)
    if min(factors) < 1 or noise < 0 or not counts_per_grey > 0 or min(_per_axis(psf_sigma_px, image.grid.ndim)) < 0:
        raise InputError(
            "A volume is degraded with binning >= 1, psf_sigma_px >= 0, noise >= 0 and counts_per_grey > 0, but "
            f"{binning}, {psf_sigma_px}, {noise} and {counts_per_grey} came."
        )
    grid = onto or image.grid.refine([1 / f for f in factors])
    data = blurred(np.asarray(image.data[...], np.float32), _per_axis(psf_sigma_px, image.grid.ndim))
    grey = _averaged(replace(image, data=data), grid, through)
    grey = _noisy(grey, noise, counts_per_grey, np.random.default_rng([seed, 71]))
    data, share = _as_dtype(grey, np.dtype(dtype or image.dtype), saturate)
    extra = {**image.acquisition.extra, "saturated_share": share, "psf_sigma_px": psf_sigma_px, "noise": noise}
    return replace(image, data=data, grid=grid, acquisition=replace(image.acquisition, extra=extra), source="")


def blurred(data: Array, sigma_px: float | Sequence[float]) -> Array:
    """Gaussian blur of a float32 array, mirrored borders; NaN stays where it is and does not spread."""
    sigma = _per_axis(sigma_px, data.ndim)
    if not any(sigma):
        return data
    known = np.isfinite(data)
    if known.all():
        return np.asarray(ndimage.gaussian_filter(data, sigma, mode="reflect"))
    out = ndimage.gaussian_filter(np.where(known, data, np.float32(0)), sigma, mode="reflect")
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma, mode="reflect")
    out /= np.maximum(weight, np.float32(1e-6))
    out[~known] = np.nan
    return np.asarray(out)


def _averaged(image: Image, grid: Grid, through: Warp | None) -> Array:
    """Mean over the coarse pixels: exact shares without a warp, a box and the interpolator with one."""
    if through is not None:
        data = image.data
        for axis, width in enumerate(grid.sr_factor(image.grid)):
            data = ndimage.correlate1d(data, _box(width), axis=axis, mode="reflect")
        return np.asarray(resample(replace(image, data=data), onto=grid, through=through, antialias=False).data)
    known = np.isfinite(image.data)
    shares = [_shares(image.grid, grid, axis) for axis in range(grid.ndim)]
    out = _along_axes(np.where(known, image.data, np.float32(0)), shares)
    weight = _along_axes(known.astype(np.float32), shares)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 1e-3, out / weight, np.float32(np.nan)).astype(np.float32)


def _shares(fine: Grid, coarse: Grid, axis: int) -> Any:
    """Sparse (coarse, fine) matrix: which share of a coarse pixel each fine pixel fills along one axis."""
    step, first = fine.pixel_size_nm[axis], fine.edge_nm[axis]
    edges = (coarse.edge_nm[axis] + coarse.pixel_size_nm[axis] * np.arange(coarse.shape[axis] + 1) - first) / step
    n = fine.shape[axis]
    rows, columns, values = [], [], []
    for k, (a, b) in enumerate(pairwise(edges)):
        index = np.arange(max(0, int(np.floor(a + 1e-9))), min(n, int(np.ceil(b - 1e-9))))
        rows += [k] * len(index)
        columns += index.tolist()
        values += ((np.minimum(index + 1, b) - np.maximum(index, a)) / (b - a)).tolist()
    return sparse.csr_array((np.asarray(values, np.float32), (rows, columns)), shape=(coarse.shape[axis], n))


def _along_axes(data: Array, matrices: Sequence[Any]) -> Array:
    for axis, matrix in enumerate(matrices):
        moved = np.moveaxis(data, axis, 0)
        flat = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
        data = np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(data)


def _noisy(grey: Array, noise: float, counts_per_grey: float, rng: np.random.Generator) -> Array:
    if np.isfinite(counts_per_grey):
        if np.nanmin(grey) < 0:
            raise InputError("Photons cannot be counted at negative grey levels. Add an offset first, or use noise=….")
        rate = np.nan_to_num(grey.astype(np.float64)) * counts_per_grey
        grey = np.where(np.isfinite(grey), rng.poisson(rate) / counts_per_grey, np.nan).astype(np.float32)
    if noise:
        grey = grey + np.float32(noise) * rng.standard_normal(grey.shape, np.float32)
    return grey


def _as_dtype(grey: Array, kind: np.dtype[Any], saturate: bool) -> tuple[NDArray[Any], float]:
    """Grey levels in a number format, and the share that was set to its limits."""
    if kind.kind == "f":
        return grey.astype(kind), 0.0
    if kind.kind not in "iu":
        raise InputError(f"A volume is stored as whole numbers or floats, but {kind} was asked for.")
    if not np.isfinite(grey).all():
        raise InputError(f"Some voxels lie outside what was recorded (NaN), which {kind} cannot say. Use 'float32'.")
    level, limits = np.rint(grey.astype(np.float64)), np.iinfo(kind)
    far = (level < limits.min) | (level > limits.max)
    if far.any() and not saturate:
        raise InputError(
            f"{kind} holds {limits.min} to {limits.max}, but the degraded volume reaches {level.min():.0f} to "
            f"{level.max():.0f}. Use dtype='float32', or saturate=True to set these voxels to the limit."
        )
    return np.clip(level, limits.min, limits.max).astype(kind), float(far.mean())


# ---------------------------------------------------------------------- blur that grows towards the rim
def blur_growing(image: Image, *, sigma_centre_px: float, sigma_rim_px: float, circle: Circle | None = None) -> Image:
    """A volume whose Gaussian blur grows linearly from the axis to the rim of the field of view.

    Mixed from copies of fixed blur so that the *variance* of the blur is the intended one everywhere. Beyond the rim it
    stays that of the rim.

    Parameters
    ----------
    image : ZYX; becomes float32. NaN stays where it is.
    sigma_centre_px, sigma_rim_px : standard deviation of the blur on the axis and at the rim, pixels.
    circle : field of view; None = the inscribed one.
    """
    circle = circle or Circle.inscribed(image.grid)
    sigmas, weights = growing_weights(image.grid, circle, sigma_centre_px, sigma_rim_px)
    source = np.asarray(image.data[...], np.float32)
    out = np.zeros(image.grid.shape, np.float32)
    for sigma, weight in zip(sigmas, weights, strict=True):
        out += weight * blurred(source, sigma)
    extra = {**image.acquisition.extra, "blur_sigma_px": (sigma_centre_px, sigma_rim_px)}
    return replace(image, data=out, acquisition=replace(image.acquisition, extra=extra))


def growing_weights(
    grid: Grid, circle: Circle, sigma_centre_px: float, sigma_rim_px: float, levels: int = BLUR_LEVELS
) -> tuple[NDArray[np.float64], Array]:
    """Blurs (levels,) to mix, and the share (levels, y, x) of each in every column; shares sum to 1."""
    if not 0 <= sigma_centre_px < sigma_rim_px:
        raise InputError(
            f"A growing blur needs 0 <= sigma_centre_px < sigma_rim_px, but {sigma_centre_px} and {sigma_rim_px} came."
        )
    sigmas = np.linspace(sigma_centre_px, sigma_rim_px, levels)
    wanted = sigma_centre_px + (sigma_rim_px - sigma_centre_px) * np.minimum(circle.distance(grid), 1.0)
    where = np.interp(wanted**2, sigmas**2, np.arange(levels))
    weights = [np.maximum(0.0, 1 - np.abs(where - k)) for k in range(levels)]
    return sigmas, np.stack(weights).astype(np.float32)


# ---------------------------------------------------------------------- pairs with a known warp
@dataclass(frozen=True)
class VolumePair:
    """A coarse volume and a fine one of a part of it.

    Parameters
    ----------
    lr, hr : recorded independently from the same bodies; neither is a resampling of the other.
    lr_from_hr : the true warp.
    truth : noise-free on ``lr.grid.refine(ratio)`` with the PSF and grey levels of the fine scan, or None.
    sample, seed : how to make it again.
    """

    lr: Image
    hr: Image
    lr_from_hr: Warp
    truth: Image | None
    sample: str
    seed: int


@dataclass(frozen=True)
class Placement:
    """How a fine volume lies in a coarse one.

    Parameters
    ----------
    centre : of the fine volume, as a share of the coarse field per axis (0.5 = middle); None = random, inside.
    rotation_deg : angle, about a random axis.
    scale : largest deviation of the true fine voxel size from its header, per axis, drawn uniformly.
    shear : largest shear.
    drift_lr_px : largest shift of whole slices in their plane, coarse voxels.
    """

    centre: tuple[float, float, float] | None = None
    rotation_deg: float = 1.0
    scale: float = 0.01
    shear: float = 0.003
    drift_lr_px: float = 0.0


def simulate_volume_pair(
    size: int | Sequence[int] = 96,
    *,
    ratio: float | Sequence[float] = 3.0,
    fine: int | Sequence[int] = 96,
    sample: str = "foam",
    placement: Placement | None = None,
    voxel_nm: float | Sequence[float] = 3000.0,
    noise: tuple[float, float] = (0.03, 0.05),
    inverted: bool = False,
    dtype: str = "uint16",
    with_truth: bool = False,
    seed: int = 0,
) -> VolumePair:
    """A coarse volume, a fine volume of a part of it, and the true warp between them.

    Parameters
    ----------
    size : coarse voxels, one number or z, y, x.
    ratio : coarse over fine voxel size, one or per axis; need not be whole.
    fine : fine voxels, one number or z, y, x.
    sample : name in :data:`SAMPLES`.
    placement : where the fine volume lies; None = random place, 1 degree, 1 % of scale, no drift.
    voxel_nm : coarse voxel, one or per axis.
    noise : standard deviation of Gaussian noise, coarse and fine; the contrast of the sample is about 0.5.
    inverted : the fine scan shows the opposite contrast.
    dtype : of both: "uint8" (saturates), "uint16" or "float32"; grey levels as in :data:`scanner.LEVELS`.
    with_truth : also compute the truth on the whole fine grid.
    seed : of everything.

    Examples
    --------
    >>> pair = simulate_volume_pair(24, ratio=2, fine=20, seed=1)
    >>> pair.lr.grid.shape, pair.hr.grid.pixel_size_nm[0], pair.lr_from_hr.ndim
    ((24, 24, 24), 1500.0, 3)
    """
    lr_grid = Grid.of(_three(size), voxel_nm)
    ratios = _per_axis(ratio, 3)
    hr_grid = Grid.of(_three(fine), [p / r for p, r in zip(lr_grid.pixel_size_nm, ratios, strict=True)])
    warp = place(hr_grid, lr_grid, placement or Placement(), seed)
    bodies = grow_bodies(sample, *_reach(lr_grid, hr_grid, warp), scale_nm=max(lr_grid.pixel_size_nm), seed=seed)
    limits = (-0.15, 1.95) if dtype == "uint8" else None
    lr_scanner = Scanner(0.0, dtype=dtype, saturate_at=limits)
    hr_scanner = replace(lr_scanner, gain=-0.8, offset=1.0) if inverted else lr_scanner
    lr = _recorded(bodies, lr_grid, None, LR_BLUR_PX, noise[0], lr_scanner, [seed, 81], "coarse")
    hr = _recorded(bodies, hr_grid, warp, HR_BLUR_PX, noise[1], hr_scanner, [seed, 82], "fine")
    truth = None
    if with_truth:
        quiet = replace(hr_scanner, dtype="float32", saturate_at=None)
        truth = _recorded(bodies, lr_grid.refine(ratios), None, HR_BLUR_PX, 0.0, quiet, [seed, 83], "truth")
        zero, per_grey = LEVELS[dtype]
        truth = truth.with_data((zero + per_grey * truth.data).astype(np.float32))
    return VolumePair(lr, hr, warp, truth, sample, seed)


def place(hr_grid: Grid, lr_grid: Grid, placement: Placement, seed: int) -> Warp:
    """A known warp from the frame of the fine volume into that of the coarse one."""
    rng = np.random.default_rng([seed, 84])
    axis = rng.standard_normal(3)
    turn = Rotation.from_rotvec(np.radians(placement.rotation_deg) * axis / np.linalg.norm(axis)).as_matrix()
    shear = np.eye(3) + placement.shear * np.tril(rng.uniform(-1, 1, (3, 3)), -1)
    matrix = turn @ shear @ np.diag(1 + placement.scale * rng.uniform(-1, 1, 3))
    middle = np.asarray(hr_grid.edge_nm) + np.asarray(hr_grid.extent_nm) / 2
    low, extent = np.asarray(lr_grid.edge_nm), np.asarray(lr_grid.extent_nm)
    drift = placement.drift_lr_px * max(lr_grid.pixel_size_nm[1:])
    if placement.centre is not None:
        centre = low + extent * np.asarray(placement.centre)
    else:
        half = np.abs(matrix) @ np.asarray(hr_grid.extent_nm) / 2 + [0, drift, drift]
        if (2 * half > extent).any():
            raise InputError(
                f"A fine volume of {hr_grid} does not fit into a coarse one of {lr_grid}. "
                "Make the coarse volume larger, or pass a Placement with a centre."
            )
        centre = rng.uniform(low + half, low + extent - half)
    warp = Warp.affine(matrix, centre - matrix @ middle)
    return _drifting(warp, hr_grid, drift, rng) if drift else warp


def _drifting(warp: Warp, grid: Grid, peak_nm: float, rng: np.random.Generator) -> Warp:
    """The warp with slices that wander in their plane by at most ``peak_nm``: a sum of slow cosines along z."""
    n = max(8, min(24, grid.shape[0] // 4))
    step = grid.extent_nm[0] / n
    middle = [e + x / 2 for e, x in zip(grid.edge_nm[1:], grid.extent_nm[1:], strict=True)]
    knots = Grid.of((n + 5, 1, 1), (step, *grid.extent_nm[1:]), (grid.edge_nm[0] - 2 * step, *middle))
    k = np.arange(1, DRIFT_MODES + 1)[:, None]
    wave = np.cos(np.pi * k * np.linspace(0, 1, n + 5) + rng.uniform(0, 2 * np.pi, (2, DRIFT_MODES, 1)))
    moved = np.zeros((3, n + 5, 1, 1))
    moved[1:, :, 0, 0] = (rng.standard_normal((2, DRIFT_MODES, 1)) / k * wave).sum(1)
    moved[1:] -= moved[1:].mean(axis=1, keepdims=True)
    bent = Warp(warp.matrix, warp.offset_nm, knots, moved)
    z = grid.to_nm(np.stack([np.arange(grid.shape[0]), *(np.zeros(grid.shape[0]),) * 2], axis=-1))
    largest = np.linalg.norm(bent.displacement(z), axis=-1).max()
    return replace(bent, displacement_nm=moved * (peak_nm / largest))


def _reach(lr_grid: Grid, hr_grid: Grid, warp: Warp) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of a box around both fields, nm in the frame of the coarse volume."""
    n = np.array(hr_grid.shape) - 1
    corners = warp(hr_grid.to_nm(np.stack(np.meshgrid(*([0, v] for v in n), indexing="ij"), -1).reshape(-1, 3)))
    low, margin = np.asarray(lr_grid.edge_nm), 8 * max(lr_grid.pixel_size_nm)
    return np.minimum(low, corners.min(0)) - margin, np.maximum(low + lr_grid.extent_nm, corners.max(0)) + margin


def _recorded(
    bodies: Any, grid: Grid, warp: Warp | None, sigma_px: float, noise: float, scanner: Scanner, seed: list[int],
    name: str,
) -> Image:  # fmt: skip
    """The bodies seen by one instrument: drawn on its own voxels, blurred, made noisy and digitised."""
    pad = int(np.ceil(4 * sigma_px))
    grey = paint(bodies, grid.crop([-pad] * 3, [n + pad for n in grid.shape]), warp)
    grey = blurred(grey, sigma_px)[(slice(pad, -pad),) * 3]
    grey = scanner.gain * grey + scanner.offset
    if noise:
        grey = grey + noise * np.random.default_rng(seed).standard_normal(grid.shape, np.float32)
    data, share = digitise(np.ascontiguousarray(grey), scanner)
    zero, per_grey = LEVELS[scanner.dtype]
    extra = {"level_of_zero": zero, "levels_per_grey": per_grey, "saturated_share": share}
    facts = Acquisition(vendor="simulation", pixel_size_from="simulation", detector="simulated", extra=extra)
    return Image(data, grid, name, facts)


def _per_axis(value: float | Sequence[float], n: int) -> tuple[float, ...]:
    return (float(value),) * n if isinstance(value, (int, float)) else tuple(float(v) for v in value)


def _three(size: int | Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (size,) * 3 if isinstance(size, int) else size
    return int(z), int(y), int(x)
