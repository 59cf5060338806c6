"""Consistency: the enhanced image, degraded again, must give the recorded coarse image.

The yardstick is the *recorded* fine scan: degraded, it differs from the coarse scan by noise, registration error and
whatever the blur model misses. An enhanced pixel is inconsistent when it differs by clearly more than that. This
catches structure that is invented at the scale of a coarse pixel or above; finer inventions cannot be seen by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from finescan.errors import InputError
from finescan.resampling import sample
from finescan.trust.metrics import fit_line
from finescan.values import Grid, Image, Region

Blurred = Callable[[float], NDArray[np.float32]]  # sigma in coarse pixels -> fine scan at the coarse pixels

SMOOTH_PX = 1.0  # sigma of the local average of the residual, coarse pixels
WIDEST_PX = 2.5  # blur widths are looked for up to this sigma, coarse pixels
QUANTILE = 0.999  # of the yardstick's residuals …
MARGIN = 1.25  # … times this is the threshold,
LEAST, MOST = 4.0, 8.0  # but not outside these many (robust) standard deviations of them
_TRUNCATE = 4.0
_ENOUGH = 64  # coarse pixels
LEVELS, _PER_LEVEL = 12, 400  # grey levels the noise is measured at, and coarse pixels each needs at least
_FINE_ENOUGH_PX = 0.02
_BAND_PIXELS = 1 << 24
_COVERED = 0.9  # share of the blur's weight that must be known
_CUT_SHARE = 0.1  # coarse pixels with more saturated fine pixels than this are not used


@dataclass(frozen=True)
class Consistency:
    """How a fine image becomes the coarse one, and how well that holds for the recorded fine scan.

    Parameters
    ----------
    psf_sigma_px : Gaussian blur, coarse pixels.
    gain, offset : coarse grey level = gain * blurred fine grey level + offset.
    noise_sigma : robust standard deviation of the recorded residual, coarse grey levels, single pixels.
    threshold : largest locally averaged residual that is still ordinary, in standard deviations of its grey level.
    explained : share of the variance of the locally averaged coarse scan that the degraded recorded fine scan
        explains, 0 to 1.
    rails : darkest and brightest *coarse* level that both scans can record; beyond them nothing can be said.
    noise_curve : (levels, standard deviations): the noise grows with the grey level (shot noise); between the levels
        it is interpolated. Empty = ``noise_sigma`` everywhere.
    """

    psf_sigma_px: float
    gain: float
    offset: float
    noise_sigma: float
    threshold: float
    explained: float
    rails: tuple[float, float] = (float("-inf"), float("inf"))
    noise_curve: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    def noise_at(self, grey: NDArray[Any]) -> NDArray[np.float32]:
        """Standard deviation of single coarse pixels where the local average of the coarse scan is ``grey``."""
        levels, sigmas = self.noise_curve
        if not levels:
            return np.full(np.shape(grey), self.noise_sigma, np.float32)
        return np.interp(grey, levels, sigmas).astype(np.float32)

    @property
    def informative(self) -> bool:
        """False where even the recorded fine scan explains less than half of the coarse one (another detector)."""
        return self.explained >= 0.5

    @property
    def halo_px(self) -> int:
        """Coarse pixels of context a band needs on each side to give the same answer as the whole map."""
        return int(np.ceil(_TRUNCATE * (self.psf_sigma_px + SMOOTH_PX))) + 8  # 8: the spline's memory

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an absent rail is None."""
        rails = [None if np.isinf(r) else float(r) for r in self.rails]
        return {**vars(self), "rails": rails, "informative": self.informative}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Consistency:
        """Inverse of :meth:`to_dict`."""
        low, high = d["rails"]
        rails = (-np.inf if low is None else low, np.inf if high is None else high)
        levels, sigmas = d.get("noise_curve", ((), ()))
        rest = {k: v for k, v in d.items() if k not in ("rails", "informative", "noise_curve")}
        return cls(**rest, rails=rails, noise_curve=(tuple(levels), tuple(sigmas)))


def degrade(image: Image, onto: Grid, *, psf_sigma_px: float) -> NDArray[np.float32]:
    """A fine image blurred and sampled at the pixels of a coarse grid of the same frame.

    Parameters
    ----------
    image : on the fine grid; NaN pixels are left out of the blur.
    onto : the coarse grid; pixels of it that the fine image does not cover become NaN.
    psf_sigma_px : Gaussian blur in pixels of ``onto``.
    """
    values = np.asarray(image.data[...], np.float32)
    sigma = [psf_sigma_px * f for f in onto.sr_factor(image.grid)]
    good = np.isfinite(values)
    whole = bool(good.all())
    blurred = ndimage.gaussian_filter(values if whole else np.where(good, values, 0), sigma, truncate=_TRUNCATE)
    scale, offset = onto.step_to(image.grid)
    index = np.stack(
        np.meshgrid(*(s * np.arange(n) + o for n, s, o in zip(onto.shape, scale, offset, strict=True)), indexing="ij"),
        -1,
    )
    if whole:
        return sample(blurred, index)
    weight = ndimage.gaussian_filter(good.astype(np.float32), sigma, truncate=_TRUNCATE)
    share = sample(weight, index, order=1)
    # well surrounded pixels only: a window that lost part of its pixels has its centre elsewhere
    blurred = np.where(weight > 1e-3, blurred / np.maximum(weight, 1e-3), 0).astype(np.float32)
    return np.where(share > _COVERED, sample(blurred, index), np.nan)


def fit_psf_sigma(
    fine: Image,
    coarse: Image,
    *,
    mask: NDArray[np.bool_] | None = None,
    between: tuple[float, float] = (0.05, WIDEST_PX),
) -> tuple[float, float, float, float]:
    """The one blur width that makes the recorded fine scan look like the coarse one, gain and offset left free.

    Parameters
    ----------
    fine : recorded fine scan on a fine grid in the frame of ``coarse`` (NaN where it is not).
    coarse : the coarse scan.
    mask : coarse pixels that may be used; None = all.
    between : smallest and largest blur width tried, coarse pixels.

    Returns
    -------
    sigma (coarse pixels), gain, offset, and the rms of what is left (coarse grey levels).
    """
    recorded, fine = _overlap(fine, coarse)
    values = np.asarray(recorded.data, np.float64)
    usable = np.isfinite(values)
    if mask is not None:
        usable &= _same_part(mask, recorded, coarse)
    return best_blur(lambda s: degrade(fine, recorded.grid, psf_sigma_px=s), values, usable, between)


def best_blur(
    blurred: Blurred, values: NDArray[np.float64], usable: NDArray[np.bool_], between: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Sigma, gain, offset and what is left (rms), for any way of degrading the fine scan to the coarse pixels."""

    worst = float(np.std(values[usable])) if usable.any() else 1.0

    def left(sigma: float) -> tuple[int, float, float, float]:
        x = blurred(sigma)
        use = usable & np.isfinite(x)
        count = int(use.sum())
        if count < _ENOUGH:  # so wide a blur reaches beyond the fine scan everywhere: worse than no likeness at all
            return count, 0.0, 0.0, worst * (1 + sigma)
        gain, offset = fit_line(x[use], values[use])
        return count, gain, offset, float(np.sqrt(np.mean((gain * x[use] + offset - values[use]) ** 2)))

    best = optimize.minimize_scalar(
        lambda s: left(s)[3], bounds=between, method="bounded", options={"xatol": _FINE_ENOUGH_PX}
    )
    count, gain, offset, rest = left(float(best.x))
    if count < _ENOUGH:
        raise InputError(
            f"The fine scan covers {count} usable coarse pixels, but at least {_ENOUGH} are needed to judge "
            "consistency. Check the mask and that both images are in one frame."
        )
    return float(best.x), gain, offset, rest


def calibrate(
    fine: Image,
    coarse: Image,
    *,
    mask: NDArray[np.bool_] | None = None,
    rails: tuple[float | None, float | None] = (None, None),
    fine_rails: tuple[float | None, float | None] = (None, None),
) -> Consistency:
    """The yardstick: how well the recorded fine scan, degraded, gives the coarse one.

    Parameters
    ----------
    fine : recorded fine scan on a fine grid in the frame of ``coarse`` (NaN where it is not).
    coarse : the coarse scan.
    mask : coarse pixels that may be used (True), e.g. not saturated, not badly registered; None = all.
    rails, fine_rails : levels at which the coarse and the fine scan saturate, see
        :func:`finescan.trust.domain.saturation_levels`; pixels at a rail are not used.

    Raises
    ------
    InputError : fewer than 64 usable coarse pixels.
    """
    (low, high), (dark, bright) = closed(rails), closed(fine_rails)
    recorded, fine = _overlap(fine, coarse)
    values = np.asarray(recorded.data)
    usable = (values > low) & (values < high)
    if mask is not None:
        usable &= _same_part(mask, recorded, coarse)
    cut = np.asarray((fine.data <= dark) | (fine.data >= bright), np.float32)
    if cut.any():
        usable &= ~(degrade(fine.with_data(cut), recorded.grid, psf_sigma_px=1.0) > _CUT_SHARE)
    return yardstick(
        lambda s: degrade(fine, recorded.grid, psf_sigma_px=s),
        values,
        usable,
        (0.05, WIDEST_PX),
        (low, high, dark, bright),
    )


def yardstick(
    blurred: Blurred,
    values: NDArray[Any],
    usable: NDArray[np.bool_],
    between: tuple[float, float],
    limits: tuple[float, float, float, float],
) -> Consistency:
    """:func:`calibrate` for any way of degrading the fine scan to the coarse pixels.

    Parameters
    ----------
    blurred : sigma in coarse pixels -> fine scan at the coarse pixels.
    values, usable : the coarse scan, and which of it may be used.
    between : smallest and largest sigma tried.
    limits : dark and bright rail of the coarse scan, then of the fine one; infinite = none.
    """
    low, high, dark, bright = limits
    level = np.asarray(local_mean(values.astype(np.float64)), np.float64)
    for _ in range(2):  # the second time without the places where the specimen itself has changed
        sigma, gain, offset, _ = best_blur(blurred, values.astype(np.float64), usable, between)
        between = max(between[0], sigma - 0.2), sigma + 0.2
        predicted = gain * blurred(sigma) + offset
        difference = np.where(usable, predicted - values.astype(np.float64), np.nan)
        noise = _robust_std(difference[np.isfinite(difference)]) or float(np.nanstd(difference)) or 1.0
        curve = _noise_curve(difference, level, noise)
        scaled = difference / np.interp(level, *curve)
        threshold = _threshold(scaled)
        changed = np.abs(local_mean(scaled)) > threshold
        trial, usable = usable & np.isfinite(difference), usable & ~changed
    # local averages: shot noise of single pixels says nothing about whether both scans show the same
    kept, grey = local_mean(difference)[trial & ~changed], level[trial & ~changed]
    explained = max(0.0, 1 - float(np.mean(kept**2) / np.var(grey, dtype=np.float64))) if np.ptp(grey) else 0.0
    ends = sorted((gain * dark + offset, gain * bright + offset))
    rails = max(low, ends[0]), min(high, ends[1])
    return Consistency(sigma, gain, offset, noise, threshold, explained, rails, curve)


def _noise_curve(
    difference: NDArray[np.float64], level: NDArray[np.float64], noise: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Robust standard deviation of the residual by grey level, in equally filled bins; never below a third of all."""
    good = np.isfinite(difference) & np.isfinite(level)
    grey, rest = level[good], difference[good]
    count = min(LEVELS, grey.size // _PER_LEVEL)
    if count < 2:
        return (float(np.median(grey)),), (noise,)
    parts = np.array_split(np.argsort(grey, kind="stable"), count)
    levels = [float(np.median(grey[p])) for p in parts]
    sigmas = [max(1.4826 * float(np.median(np.abs(rest[p]))), noise / 3) for p in parts]
    return tuple(levels), tuple(sigmas)


def _threshold(scaled: NDArray[np.float64]) -> float:
    """The largest ordinary local average of residuals in standard deviations.

    Quantiles follow the true distribution where the fit is good; robust limits keep a changed or badly registered
    place from declaring itself ordinary.
    """
    smooth = np.abs(local_mean(scaled))
    smooth = smooth[np.isfinite(smooth)]
    ordinary = 1.4826 * float(np.median(smooth))
    return float(np.clip(MARGIN * np.quantile(smooth, QUANTILE), LEAST * ordinary, MOST * ordinary))


def consistency_map(enhanced: Image, lr: Image, check: Consistency) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Locally averaged residual of an enhanced image (or band of it) against the coarse one.

    Parameters
    ----------
    enhanced : grey levels of the fine scan, on a fine grid in the frame of ``lr``; NaN = no data.
    lr : the coarse scan (or the same band of it).
    check : from :func:`calibrate`.

    Returns
    -------
    residual : (shape of ``lr``) degraded minus recorded, in standard deviations of the noise at the grey level that
        was recorded; NaN where not covered.
    inconsistent : True where it exceeds the threshold.
    """
    predicted = degrade(enhanced, lr.grid, psf_sigma_px=check.psf_sigma_px)
    return residual_map(predicted, np.asarray(lr.data[...], np.float32), check)


def residual_map(
    degraded: NDArray[np.float32], recorded: NDArray[np.float32], check: Consistency
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Residual and flags of :func:`consistency_map` from the degraded fine grey levels and the coarse ones."""
    predicted = check.gain * degraded + check.offset
    # a saturated pixel says "this bright or brighter", and that is all it can contradict
    residual = np.clip(predicted, *check.rails) - np.clip(recorded, *check.rails)
    smooth = local_mean(residual / check.noise_at(local_mean(recorded))).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return smooth, np.abs(smooth) > check.threshold


def consistency_bands(
    enhanced: Image, lr: Image, check: Consistency, *, rows: int | None = None
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
    """:func:`consistency_map` of a map of any size, band by band; the arrays may be lazy (memory map, zarr).

    Parameters
    ----------
    enhanced, lr, check : as there.
    rows : coarse rows per band; None = as many as keep a band near 16 million fine pixels.

    Yields
    ------
    rows of ``lr`` as a slice, residual and inconsistent of these rows. The same figures as for the whole at once.
    """
    last_row, last_fine = lr.grid.shape[0], enhanced.grid.shape[0]
    scale, offset = lr.grid.step_to(enhanced.grid)
    rows = rows or max(2 * check.halo_px, round(_BAND_PIXELS / enhanced.grid.shape[1] / scale[0]))
    for first in range(0, last_row, rows):
        last = min(first + rows, last_row)
        a, b = max(0, first - check.halo_px), min(last_row, last + check.halo_px)
        fa = max(0, int(np.floor(scale[0] * (a - 0.5) + offset[0])))
        fb = min(last_fine, int(np.ceil(scale[0] * (b - 0.5) + offset[0])) + 1)
        band = lr.crop(Region(lr.grid, (a, 0), (b, lr.grid.shape[1])))
        if fa >= fb:
            residual = np.full(band.grid.shape, np.nan, np.float32)
            flags = np.zeros(band.grid.shape, bool)
        else:
            fine = enhanced.crop(Region(enhanced.grid, (fa, 0), (fb, enhanced.grid.shape[1])))
            residual, flags = consistency_map(fine, band, check)
        inner = slice(first - a, last - a)
        yield slice(first, last), residual[inner], flags[inner]


def _overlap(fine: Image, coarse: Image) -> tuple[Image, Image]:
    """The coarse pixels under the finite part of the fine image, and that part with the blur's margin."""
    good = np.isfinite(np.asarray(fine.data[...]))
    if not good.any():
        raise InputError(f"{fine.name} holds no finite pixel, so consistency cannot be judged.")
    box = []
    for axis in range(2):
        line = np.flatnonzero(good.any(axis=1 - axis))
        box.append((int(line[0]), int(line[-1]) + 1))
    part = fine.crop(Region(fine.grid, tuple(a for a, _ in box), tuple(b for _, b in box)))
    low, high = (coarse.grid.to_index(e) for e in (part.grid.edge_nm, np.add(part.grid.edge_nm, part.grid.extent_nm)))
    start = np.maximum(np.floor(low).astype(int), 0)
    stop = np.minimum(np.ceil(high).astype(int) + 1, coarse.grid.shape)
    if (start >= stop).any():
        raise InputError(f"{fine.name} and {coarse.name} do not overlap. Bring both into the frame of {coarse.name}.")
    return coarse.crop(Region(coarse.grid, tuple(start.tolist()), tuple(stop.tolist()))), part


def _same_part(mask: NDArray[np.bool_], part: Image, whole: Image) -> NDArray[np.bool_]:
    first = np.rint(whole.grid.to_index(part.grid.origin_nm)).astype(int)
    return np.asarray(mask, bool)[tuple(slice(a, a + n) for a, n in zip(first, part.grid.shape, strict=True))]


def local_mean(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Gaussian average over the finite pixels; NaN stays NaN."""
    good = np.isfinite(values)
    total = ndimage.gaussian_filter(np.where(good, values, 0.0), SMOOTH_PX, truncate=_TRUNCATE)
    weight = ndimage.gaussian_filter(good.astype(values.dtype), SMOOTH_PX, truncate=_TRUNCATE)
    return np.where(good, total / np.maximum(weight, 1e-6), np.nan)


def closed(rails: tuple[float | None, float | None]) -> tuple[float, float]:
    low, high = rails
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def _robust_std(values: NDArray[np.floating]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
