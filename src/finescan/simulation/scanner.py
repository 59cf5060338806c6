"""The instrument: a scanned image of a known truth.

A scanning microscope puts a probe of finite width (PSF) at the pixel positions one after another, counts electrons
for the dwell time, and multiplies: it *samples* the blurred truth, it does not average over a pixel. While it scans,
lines jitter and the specimen drifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.resampling import sample, spline_coefficients
from finescan.values import Acquisition, Grid, Image, StagePose, Warp

#: how grey levels become numbers: number of grey 0, and numbers per unit of grey. Room is left for noise at both ends.
LEVELS = {"uint8": (20.0, 120.0), "uint16": (8000.0, 12000.0), "float32": (0.0, 1.0)}
FWHM = float(2 * np.sqrt(2 * np.log(2)))  # full width at half maximum of a Gaussian of sigma 1
DRIFT_MODES = 6
_PIXELS = 1 << 20  # pixels evaluated at a time, to bound the memory of coordinates


@dataclass(frozen=True)
class Scanner:
    """Settings of the instrument.

    Parameters
    ----------
    psf_fwhm_nm : width of the probe, nm; 0 = a point.
    counts : electrons per pixel at grey 1; inf = no shot noise.
    line_jitter_nm : rms shift of whole lines along the fast axis, nm.
    gain, offset : recorded grey = gain * grey + offset (+ shading); a negative gain inverts the contrast.
    shading : height of a slow additive bow over the field, in grey.
    dtype : "uint8", "uint16" or "float32"; see :data:`LEVELS`.
    saturate_at : (lowest, highest) recorded grey of the amplifier; None = must never be needed.
    pixel : "point" (a scanned probe) or "area" (average over the pixel, as a camera).
    dwell_time_us : written into the acquisition; ``counts`` already includes it.
    """

    psf_fwhm_nm: float
    counts: float = float("inf")
    line_jitter_nm: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    shading: float = 0.0
    dtype: str = "uint16"
    saturate_at: tuple[float, float] | None = None
    pixel: str = "point"
    dwell_time_us: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in LEVELS or self.pixel not in ("point", "area"):
            raise InputError(
                f"A scanner has dtype {', '.join(LEVELS)} and pixel 'point' or 'area', but {self.dtype!r} and "
                f"{self.pixel!r} came."
            )
        if self.psf_fwhm_nm < 0 or not self.counts > 0 or self.gain == 0:
            raise InputError("A scanner needs psf_fwhm_nm >= 0, counts > 0 and a gain that is not zero.")


def scan(
    truth: Image,
    grid: Grid,
    scanner: Scanner,
    *,
    warp: Warp | None = None,
    seed: int = 0,
    name: str = "scan",
    stage: StagePose | None = None,
) -> Image:
    """The truth as recorded pixel by pixel.

    Parameters
    ----------
    truth : noise-free grey levels, nominally 0 to 1.
    grid : pixels of the scan, in the frame of the scan.
    scanner : the instrument.
    warp : nm in the frame of the scan to nm in the frame of the truth, drift included; None = one frame.
    seed : of shot noise and line jitter.
    name, stage : facts of the result.

    Returns
    -------
    Image on ``grid`` of ``scanner.dtype``; ``acquisition.extra`` holds ``level_of_zero``, ``levels_per_grey`` and
    ``saturated_share``.

    Raises
    ------
    InputError : the scan leaves the truth, or grey levels do not fit the number format and no saturation was asked.
    """
    rng = np.random.default_rng([seed, 21])
    grey = expected(truth, grid, scanner, warp=warp, seed=seed)
    if np.isfinite(scanner.counts):
        # below grey 0 nothing is emitted; a spline's undershoot must not become a negative rate
        grey = rng.poisson(np.maximum(grey, 0.0) * scanner.counts).astype(np.float32) / np.float32(scanner.counts)
    grey = scanner.gain * grey + scanner.offset + scanner.shading * _bow(grid.shape)
    data, share = digitise(grey, scanner)
    zero, per_grey = LEVELS[scanner.dtype]
    facts = Acquisition(
        vendor="simulation",
        pixel_size_from="simulation",
        detector="simulated",
        dwell_time_us=scanner.dwell_time_us,
        stage=stage,
        extra={"level_of_zero": zero, "levels_per_grey": per_grey, "saturated_share": share},
    )
    return Image(data, grid, name, facts)


def expected(truth: Image, grid: Grid, scanner: Scanner, *, warp: Warp | None = None, seed: int = 0) -> NDArray:
    """Noise-free grey levels at the pixels of ``grid`` before gain and offset, float32; jitter included."""
    if warp is None and not scanner.line_jitter_nm and grid.same_as(truth.grid):
        return _seen(np.asarray(truth.data, np.float32), scanner, truth.grid, grid)
    warp = warp or Warp.identity(grid.ndim)
    jitter = _jitter(grid.shape[0], scanner.line_jitter_nm, seed)
    out = np.empty(grid.shape, np.float32)
    step = max(1, _PIXELS // grid.shape[1])
    for first in range(0, grid.shape[0], step):
        rows = slice(first, min(first + step, grid.shape[0]))
        out[rows] = _looked_at(truth, grid, rows, scanner, warp, jitter[rows])
    return out


def _looked_at(
    truth: Image, grid: Grid, rows: slice, scanner: Scanner, warp: Warp, jitter: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Some rows of a scan: only the part of the truth that they see is blurred and interpolated."""
    nm = grid.to_nm(
        np.stack(np.meshgrid(np.arange(rows.start, rows.stop), np.arange(grid.shape[1]), indexing="ij"), -1)
    )
    nm[..., 1] += jitter[:, None]
    index = truth.grid.to_index(warp(nm))
    far = index.reshape(-1, 2)
    if (far < -0.5).any() or (far > np.array(truth.grid.shape) - 0.5).any():
        raise InputError(
            f"The scan of {grid} leaves the simulated field of {truth.grid}. "
            "Move the centre inwards or make it smaller."
        )
    part, corner = _needed(truth, index, scanner, grid)
    blurred = _seen(part, scanner, truth.grid, grid)
    return np.asarray(sample(spline_coefficients(blurred), index - corner, prefiltered=True, outside=None))


def _seen(part: NDArray[np.float32], scanner: Scanner, field: Grid, grid: Grid) -> NDArray[np.float32]:
    """The truth through the probe, and averaged over the pixel where the scanner does that; still on its own pixels."""
    blurred = ndimage.gaussian_filter(part, _sigma_px(scanner, field), mode="mirror", truncate=4.0)
    if scanner.pixel == "area":
        for axis, width in enumerate(grid.sr_factor(field)):
            blurred = ndimage.correlate1d(blurred, _box(width), axis=axis, mode="mirror")
    return blurred


def digitise(grey: NDArray[np.floating], scanner: Scanner) -> tuple[NDArray, float]:
    """Recorded grey levels as numbers of ``scanner.dtype``, and the share of them that is saturated.

    Never clips unless ``scanner.saturate_at`` says where the amplifier ends.
    """
    share = 0.0
    if scanner.saturate_at is not None:
        low, high = scanner.saturate_at
        share = float(np.mean((grey <= low) | (grey >= high)))
        grey = np.clip(grey, low, high)
    zero, per_grey = LEVELS[scanner.dtype]
    level = zero + per_grey * grey
    kind = np.dtype(scanner.dtype)
    if kind.kind == "f":
        return level.astype(kind), share
    level = np.rint(level)
    limits = np.iinfo(kind)
    if level.min() < limits.min or level.max() > limits.max:
        raise InputError(
            f"{kind} holds {limits.min} to {limits.max}, but the scan reaches {level.min():.0f} to {level.max():.0f}. "
            "Use dtype='uint16' or 'float32', another gain or offset, or saturate_at=(lowest, highest) grey."
        )
    return level.astype(kind), share


def random_warp(
    hr_grid: Grid,
    *,
    centre_nm: Sequence[float],
    scale_error: tuple[float, float] = (0.0, 0.0),
    rotation_deg: float = 0.0,
    shear: float = 0.0,
    drift_nm: float = 0.0,
    smooth_nm: float = 0.0,
    seed: int = 0,
) -> Warp:
    """A known map from the frame of a fine scan into the frame of the field.

    Parameters
    ----------
    hr_grid : pixels of the fine scan.
    centre_nm : where the middle of the fine scan lies in the field (affine part).
    scale_error : y, x; 0.03 = a fine pixel is 3 % larger than its header says.
    rotation_deg, shear : in-plane rotation; shear is dimensionless.
    drift_nm : largest shift by drift, six modes along the slow axis (rows), nm.
    smooth_nm : largest shift of a smooth two-dimensional warp, not row-wise, nm.
    seed : of drift and smooth warp; everything else is as given.
    """
    t = np.radians(rotation_deg)
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    matrix = turn @ np.array([[1.0, 0.0], [shear, 1.0]]) @ np.diag(1.0 + np.asarray(scale_error))
    middle = np.asarray(hr_grid.edge_nm) + np.asarray(hr_grid.extent_nm) / 2
    offset = np.asarray(centre_nm, float) - matrix @ middle
    if not (drift_nm or smooth_nm):
        return Warp.affine(matrix, offset)
    knots = _knots(hr_grid, (24, 6) if smooth_nm else (24, 0))
    rng = np.random.default_rng([seed, 31])
    moved = np.zeros((2, *knots.shape))
    for peak, draw in ((drift_nm, _drift), (smooth_nm, _smooth)):
        if peak:
            one = draw(knots, rng)
            moved = moved + one * (peak / _largest(Warp(np.eye(2), np.zeros(2), knots, one), hr_grid))
    return Warp(matrix, offset, knots, moved)


def _drift(knots: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random sum of slow cosines along the rows, equal in every column; any scale."""
    t = np.linspace(0, 1, knots.shape[0])
    k = np.arange(1, DRIFT_MODES + 1)
    wave = np.cos(np.pi * k[:, None] * t + rng.uniform(0, 2 * np.pi, (2, DRIFT_MODES, 1)))
    rows = (rng.standard_normal((2, DRIFT_MODES, 1)) / k[:, None] * wave).sum(1)
    return np.broadcast_to((rows - rows.mean(1, keepdims=True))[..., None], (2, *knots.shape))


def _smooth(knots: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random smooth field in both directions; any scale."""
    field = rng.standard_normal((2, *knots.shape))
    # one knot step is longer along x than along y: the same smoothness in nm
    steps = [0.18 * e / p for e, p in zip(_field(knots), knots.pixel_size_nm, strict=True)]
    field = ndimage.gaussian_filter(field, (0, *steps), mode="reflect")
    return field - field.mean(axis=(1, 2), keepdims=True)


def _field(knots: Grid) -> tuple[float, ...]:
    return tuple((n - 5) * p for n, p in zip(knots.shape, knots.pixel_size_nm, strict=True))


def _knots(grid: Grid, intervals: tuple[int, int]) -> Grid:
    """Knots over the field and two steps past it; 0 intervals = one knot, constant along that axis."""
    step = [e / n if n else e for e, n in zip(grid.extent_nm, intervals, strict=True)]
    shape = [n + 5 if n else 1 for n in intervals]
    first = [e - 2 * s if n else e + s / 2 for e, s, n in zip(grid.edge_nm, step, intervals, strict=True)]
    return Grid.of(shape, step, first)


def _largest(warp: Warp, grid: Grid) -> float:
    """Largest displacement over the field, nm, on about 200 x 200 of its pixels."""
    axes = [np.linspace(0, n - 1, min(n, 200)) for n in grid.shape]
    nm = grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    return float(np.linalg.norm(warp.displacement(nm), axis=-1).max())


def _jitter(rows: int, jitter_nm: float, seed: int) -> NDArray[np.float64]:
    """Shift of every line along x, nm."""
    if not jitter_nm:
        return np.zeros(rows)
    return jitter_nm * np.random.default_rng([seed, 22]).standard_normal(rows)


def _sigma_px(scanner: Scanner, grid: Grid) -> list[float]:
    return [scanner.psf_fwhm_nm / FWHM / p for p in grid.pixel_size_nm]


def _needed(
    truth: Image, index: NDArray[np.float64], scanner: Scanner, grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The part of the truth that the pixels see, and the index of its first pixel."""
    wide = max(grid.sr_factor(truth.grid))
    margin = int(np.ceil(4 * max(_sigma_px(scanner, truth.grid)) + wide)) + 8  # 8: the spline's memory
    flat = index.reshape(-1, 2)
    low = np.maximum(np.floor(flat.min(0)).astype(int) - margin, 0)
    high = np.ceil(flat.max(0)).astype(int) + margin + 1
    return np.asarray(truth.data[low[0] : high[0], low[1] : high[1]], np.float32), low


def _box(width: float) -> NDArray[np.float64]:
    """Weights of an average over ``width`` pixels, odd length, with partial pixels at both ends."""
    half = max(0.0, (width - 1) / 2)
    n = int(np.ceil(half))
    weights = np.clip(half + 1 - np.abs(np.arange(-n, n + 1)), 0.0, 1.0)
    return weights / weights.sum()


def _bow(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A slow tilted bow, -0.5 to 0.5 at the most."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    return 0.3 * y[:, None] + 0.2 * x - 0.15 * (y[:, None] ** 2 + x**2 - 1)
