"""Gaussian fit analysis: which blur of the truth is most like the result, as effective resolution.

The curve over many blur widths costs one cosine transform per box (a Gaussian multiplies the transform, and the
transform mirrors the border); the number is refined by direct blurs on voxels that lie three widths inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from finescan.errors import InputError
from finescan.trust.blur_kernels import binned_products, blur_slice
from finescan.trust.volume_inputs import Both, MaskLike, Volume, paired
from finescan.trust.volume_kernels import threads_for
from finescan.trust.volume_pyramid import gaussian_taps, mirrored

Array = NDArray[np.float64]

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # full width at half maximum over sigma, 2.355
WIDEST = 10.0  # voxels, as published
_STEP = 0.25
_BOX = 256  # voxels per axis of a cosine transform: 0.3 GB at a time
_MOST_BOXES = 8
_BINS = 4096
_SAMPLES = 1 << 24  # voxels a direct blur is evaluated at
_REACH, _MARGIN = 4.0, 3.0  # sigma: radius of a kernel; distance from the border
_TOLERANCE = 0.004  # of the width, relative


@dataclass(frozen=True)
class BlurFit:
    """The blur of the truth that is most like a result. Lengths in voxels are those of the finest axis.

    Parameters
    ----------
    sigma, fwhm : of the best blur after a gain/offset fit, voxels.
    sigma_nm, fwhm_nm : the same, nm.
    residual_mse : what the best blur leaves, grey levels of the result squared (noise and artefacts).
    gain, offset : result = gain * blurred truth + offset, at the best blur.
    raw_sigma : minimum of the curve without gain and offset, as published, voxels.
    curve_sigma : widths of the curves, 0 to 10 voxels.
    curve_mse, curve_raw_mse : mean squared difference per width, with gain and offset fitted for each width, and
        without (as published); from cosine transforms.
    method : "direct" (blurs on the interior) or "curve" (the volume is too small for that: mirrored borders bias it).
    at_limit : the minimum lies at the widest blur tried; the true one may be wider.
    voxels : voxels the direct blurs were compared on; of the curve if there were none.
    """

    sigma: float
    fwhm: float
    sigma_nm: float
    fwhm_nm: float
    residual_mse: float
    gain: float
    offset: float
    raw_sigma: float
    curve_sigma: tuple[float, ...]
    curve_mse: tuple[float, ...]
    curve_raw_mse: tuple[float, ...]
    method: str
    at_limit: bool
    voxels: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    def __str__(self) -> str:
        limit = " or wider" if self.at_limit else ""
        return f"blur: sigma {self.sigma:.2f} voxels{limit}, FWHM {self.fwhm:.2f} voxels = {self.fwhm_nm:.4g} nm"


def blur_fit(
    result: Volume, truth: Volume, *, voxel_size_nm: float | Sequence[float], mask: MaskLike = None
) -> BlurFit:
    """Blur the truth until it is most like the result; that blur is the result's effective resolution.

    The blur is isotropic in space. Columns (all slices of one y, x) with an unknown voxel in either volume are left
    out; the cosine transforms take boxes of at most 256 voxels per axis (eight of them, evenly spread, if there are
    more) inside the largest square of known columns; direct blurs are compared on at most 16 million voxels in evenly
    spread slices. Memory is that of one box or of one slab, whatever the volume.

    Gain and offset are fitted for every width because either biases the width; noise adds a constant and does not.

    Parameters
    ----------
    result, truth : (z, y, x) array, memory map, zarr array or Image; NaN = unknown.
    voxel_size_nm : one number, or one per axis (z, y, x).
    mask : voxels that count: a Circle (the volumes must be Images), (y, x) or (z, y, x) bool; None = all.

    Raises
    ------
    InputError : other shapes, nothing to compare, a constant truth.

    Source: section 2.5.1 of Bukka et al. 2025, doi:10.1515/mim-2024-0017.

    Examples
    --------
    >>> truth = (np.random.default_rng(0).random((32, 32, 32)) > 0.5).astype(np.float32)
    >>> fit = blur_fit(ndimage.gaussian_filter(truth, 1.0), truth, voxel_size_nm=500.0)
    >>> round(fit.sigma, 1), round(fit.fwhm_nm, -1)
    (1.0, 1180.0)
    """
    both = paired(result, truth, mask)
    size = np.broadcast_to(np.asarray(voxel_size_nm, float), 3)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise InputError(f"A positive voxel size is needed, but {voxel_size_nm} nm came. Pass voxel_size_nm=(z, y, x).")
    ratio = size.min() / size  # voxels per finest voxel, along each axis
    known = _Known.of(both)
    spectrum = _Spectrum.of(both, known, ratio)
    widths = np.arange(0, WIDEST + _STEP / 2, _STEP)
    fits = [spectrum.fitted(s) for s in widths]
    start, raw_start = (_lowest(f, widths) for f in (lambda s: spectrum.fitted(s).mse, spectrum.raw))
    refined = _refined(both, known, ratio, start)
    sigma, best, method = (start, spectrum.fitted(start), "curve") if refined is None else (*refined, "direct")
    fine = float(size.min())
    return BlurFit(
        sigma=sigma,
        fwhm=FWHM * sigma,
        sigma_nm=sigma * fine,
        fwhm_nm=FWHM * sigma * fine,
        residual_mse=best.mse,
        gain=best.gain,
        offset=best.offset,
        raw_sigma=raw_start,
        curve_sigma=tuple(widths.tolist()),
        curve_mse=tuple(f.mse for f in fits),
        curve_raw_mse=tuple(spectrum.raw(s) for s in widths),
        method=method,
        at_limit=start > WIDEST - _STEP / 2,
        voxels=best.voxels,
    )


@dataclass(frozen=True)
class _Line:
    """Least-squares line result = gain * blurred truth + offset, and what it leaves."""

    mse: float
    gain: float
    offset: float
    voxels: int

    @classmethod
    def through(cls, n: float, sx: float, sy: float, sxx: float, sxy: float, syy: float, centre: float) -> _Line:
        """From sums of grey levels less ``centre``."""
        spread, together = sxx - sx * sx / n, sxy - sx * sy / n
        gain = together / spread if spread > 0 else 0.0
        left = syy - sy * sy / n - gain * together
        return cls(max(left, 0.0) / n, gain, (sy - gain * sx) / n + centre * (1 - gain), int(n))


@dataclass(frozen=True)
class _Known:
    """Slices ``first`` to ``last`` and the columns of them that both volumes know throughout; mean of the truth."""

    first: int
    last: int
    plane: NDArray[np.bool_]
    centre: float

    @classmethod
    def of(cls, both: Both) -> _Known:
        plane = np.ones(both.shape[1:], bool)
        slices, total, count = [], 0.0, 0
        for z, (_, y, w) in enumerate(both.slices()):
            if not w.any():
                continue
            slices.append(z)
            plane &= w > 0
            total += float(y.sum(dtype=np.float64))
            count += int(w.sum(dtype=np.float64))
        if not plane.any() or not slices or len(slices) != slices[-1] + 1 - slices[0]:
            raise InputError(
                "No column of voxels inside the mask is known throughout in both volumes, so no blur can be fitted. "
                "Check the mask, and that both volumes lie on one grid."
            )
        return cls(slices[0], slices[-1] + 1, plane, total / count)

    def boxes(self) -> list[tuple[slice, slice, slice]]:
        """Boxes of known voxels of at most 256 per axis, evenly spread over the largest square if there are many."""
        rows, columns = _largest_square(self.plane)
        parts = [
            [slice(a, b) for a, b in pairwise(edges)]
            for edges in (_edges(self.first, self.last), _edges(*rows), _edges(*columns))
        ]
        every = [(z, y, x) for z in parts[0] for y in parts[1] for x in parts[2]]
        if len(every) <= _MOST_BOXES:
            return every
        return [every[k] for k in np.linspace(0, len(every) - 1, _MOST_BOXES).round().astype(int)]


def _edges(first: int, last: int) -> list[int]:
    count = -(-(last - first) // _BOX)
    return [round(v) for v in np.linspace(first, last, count + 1)]


def _largest_square(plane: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the whole plane if all of it is known, else of its largest known square."""
    if plane.all():
        return (0, plane.shape[0]), (0, plane.shape[1])
    depth = ndimage.distance_transform_cdt(np.pad(plane, 1), "chessboard")[1:-1, 1:-1]
    row, column = (int(i) for i in np.unravel_index(int(depth.argmax()), depth.shape))
    half = int(depth[row, column])
    return (row - half + 1, row + half), (column - half + 1, column + half)


@dataclass(frozen=True)
class _Spectrum:
    """Sums over boxes: products of the cosine transforms (truth², truth * result, result²) by frequency."""

    frequency: Array
    products: Array
    n: int
    sum_truth: float
    sum_result: float
    centre: float

    @classmethod
    def of(cls, both: Both, known: _Known, ratio: Array) -> _Spectrum:
        top = 0.5 * math.sqrt(float((ratio**2).sum()))
        per_bin = top / _BINS
        products, sums, n = np.zeros((_BINS, 3)), np.zeros(2), 0
        level = np.zeros(3)
        for box in known.boxes():
            truth, result = (_cosines(v[box], known.centre) for v in (both.reference, both.result))
            fz, fy, fx = ((r * np.arange(m) / (2 * m)) ** 2 for r, m in zip(ratio, truth.shape, strict=True))
            mean = np.array([truth[0, 0, 0], result[0, 0, 0]], float)  # times the root of the number of voxels
            level += mean[0] ** 2, mean[0] * mean[1], mean[1] ** 2
            truth[0, 0, 0] = result[0, 0, 0] = 0
            products += binned_products(truth, result, fz, fy, fx, per_bin, _BINS)
            sums += mean * math.sqrt(truth.size)
            n += truth.size
        frequency = np.concatenate([[0.0], (np.arange(_BINS) + 0.5) * per_bin])
        everything = np.concatenate([level[None], products])
        if not everything[1:, 0].sum() > 0:
            raise InputError("The truth is constant, so no blur of it can be told from another. Check the truth.")
        return cls(frequency, everything, n, float(sums[0]), float(sums[1]), known.centre)

    def _blurred(self, sigma: float) -> tuple[float, float, float]:
        kept = np.exp(-2 * (math.pi * sigma * self.frequency) ** 2)
        xx, xy, yy = self.products.T
        return float(kept**2 @ xx), float(kept @ xy), float(yy.sum())

    def raw(self, sigma: float) -> float:
        """Mean squared difference between the blurred truth and the result."""
        xx, xy, yy = self._blurred(sigma)
        return max(xx - 2 * xy + yy, 0.0) / self.n

    def fitted(self, sigma: float) -> _Line:
        """The line from the blurred truth to the result."""
        xx, xy, yy = self._blurred(sigma)
        return _Line.through(self.n, self.sum_truth, self.sum_result, xx, xy, yy, self.centre)


def _cosines(part: Any, centre: float) -> NDArray[np.float32]:
    values = np.asarray(part).astype(np.float32) - np.float32(centre)
    return np.asarray(fft.dctn(values, norm="ortho", overwrite_x=True))


def _lowest(function: Any, widths: Array) -> float:
    """The width of the lowest value: the best of the given widths, refined between its neighbours."""
    k = int(np.argmin([function(s) for s in widths]))
    low, high = widths[max(k - 1, 0)], widths[min(k + 1, len(widths) - 1)]
    return float(optimize.minimize_scalar(function, bounds=(low, high), method="bounded").x)


def _refined(both: Both, known: _Known, ratio: Array, start: float) -> tuple[float, _Line] | None:
    """Brent's minimum over direct blurs around ``start``; None where the volume is too small for an interior."""
    sigma, line = start, None
    for _ in range(3):
        low, high = max(0.0, 0.8 * sigma - 0.4), 1.2 * sigma + 0.4
        blurs = _Blurs.of(both, known, ratio, high)
        if blurs is None:
            return None
        tolerance = _TOLERANCE * max(sigma, 1.0)
        best = optimize.minimize_scalar(blurs.error, bounds=(low, high), method="bounded", options={"xatol": tolerance})
        sigma = float(best.x)
        line = blurs.fitted(sigma)
        if (low == 0 or sigma > low + 3 * tolerance) and sigma < high - 3 * tolerance:
            break
    return None if line is None else (sigma, line)


@dataclass(frozen=True)
class _Blurs:
    """Direct blurs of the truth, compared with the result on sampled slices of the interior."""

    both: Both
    known: _Known
    ratio: Array
    slices: tuple[int, ...]
    interior: NDArray[np.bool_]

    @classmethod
    def of(cls, both: Both, known: _Known, ratio: Array, widest: float) -> _Blurs | None:
        """The interior of blurs up to ``widest``; None if hardly anything is left."""
        margin = np.ceil(_MARGIN * widest * ratio).astype(int)
        first, last = known.first + margin[0], known.last - margin[0]
        window = tuple(2 * m + 1 for m in margin[1:])
        interior = ndimage.minimum_filter(known.plane, size=window, mode="constant", cval=False)
        area = int(interior.sum())
        if last - first < 2 or area < 64:
            return None
        count = min(last - first, max(1, _SAMPLES // area))
        slices = np.linspace(first, last - 1, count).round().astype(int)
        return cls(both, known, ratio, tuple(slices.tolist()), interior)

    def error(self, sigma: float) -> float:
        """Mean squared difference that a blur of ``sigma`` finest voxels leaves."""
        return self.fitted(sigma).mse

    def fitted(self, sigma: float) -> _Line:
        """The line from the truth, blurred by ``sigma`` finest voxels, to the result."""
        taps = [_taps(sigma * r) for r in self.ratio]
        rows = np.flatnonzero(self.interior.any(axis=1))
        first, last = int(rows[0]), int(rows[-1]) + 1
        share, blurred = (np.zeros(self.known.plane.shape) for _ in range(2))
        blur_slice(self.known.plane.astype(np.float32), taps[1], taps[2], first, last, share)
        share = share[self.interior]
        sums = np.zeros(5)
        for z, plane in self._along_z(taps[0]):
            with threads_for(plane.size):
                blur_slice(plane, taps[1], taps[2], first, last, blurred)
            x = blurred[self.interior] / share
            y = np.asarray(self.both.result[z])[self.interior].astype(np.float64) - self.known.centre
            sums += x.sum(), y.sum(), x @ x, x @ y, y @ y
        sx, sy, sxx, sxy, syy = sums.tolist()
        return _Line.through(len(self.slices) * share.size, sx, sy, sxx, sxy, syy, self.known.centre)

    def _along_z(self, taps: Array) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Sampled slices of the truth, less its mean, blurred along z; 0 in unknown columns."""
        radius, depth = len(taps) // 2, self.known.last - self.known.first
        held, start = np.empty((0, 0, 0), np.float32), 0
        for z in self.slices:
            a, b = max(self.known.first, z - radius), min(self.known.last, z + radius + 1)
            if a < start or b > start + len(held):
                start = a
                held = np.asarray(self.both.reference[a : min(self.known.last, b + self.both.slab)])
            folded = np.zeros(b - a, np.float32)  # beyond the known slices they are mirrored
            for k, tap in enumerate(taps):
                folded[mirrored(z - self.known.first + k - radius, depth) + self.known.first - a] += tap
            plane = np.tensordot(folded, held[a - start : b - start].astype(np.float32, copy=False), axes=1)
            plane -= np.float32(self.known.centre)
            yield z, np.where(self.known.plane, plane, np.float32(0))


def _taps(sigma: float) -> Array:
    return gaussian_taps(max(sigma, 1e-3), max(1, math.ceil(_REACH * sigma)))
