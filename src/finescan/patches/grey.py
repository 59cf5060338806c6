"""Grey levels of a pair: saturation, the map from coarse to fine levels, statistics, range."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.values import GreyStatistics, scattered

AVERAGE_PX = 5  # side of the box over which a coarse pixel's surroundings are averaged for ``lr_range``
RANGE_PERCENTILES = (0.01, 99.99)
LARGEST_MASK = 0.2  # an end level that fills more of the scan than this is part of the sample, not saturation
_PILE = 5.0  # an end level this many times as frequent as the levels next to it is a pile-up
_LAPLACIANS = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
_WEAK = 0.3  # below this correlation a regression line says nothing about contrast
_ROUNDS = 20

Bool = NDArray[np.bool_]


def saturation_levels(data: NDArray[Any]) -> tuple[float | None, float | None]:
    """The darkest and brightest grey level if the detector or the digitiser cut there, else None.

    An end of the range counts as cut where pixels pile up: at least 0.02 % of them hold exactly the extreme level,
    and five times as many as the levels next to it hold on average (over 2 % of the range). Darkest pixels that lie
    scattered, as those do that no electron reached, are not cut.
    """
    image = np.asarray(data)
    values = image[np.isfinite(image)] if image.dtype.kind == "f" else image.ravel()
    if values.size == 0:
        return None, None
    low, high = values.min(), values.max()
    if low == high:
        return None, None
    span = (float(high) - float(low)) * 0.02
    steps = max(1.0, span) if values.dtype.kind in "iu" else 20.0
    cut: list[float | None] = []
    for level, near in (
        (low, (values > low) & (values <= float(low) + span + 1e-9)),
        (high, (values < high) & (values >= float(high) - span - 1e-9)),
    ):
        count = np.count_nonzero(values == level)
        beside = np.count_nonzero(near) / steps
        cut.append(float(level) if count >= max(20, 2e-4 * values.size) and count > _PILE * beside else None)
    dark = None if cut[0] is not None and scattered(image == cut[0]) else cut[0]
    return dark, cut[1]


def cut_levels(values: NDArray[Any]) -> tuple[float | None, float | None]:
    """:func:`saturation_levels`, but not one that fills so much of the scan that it must be the sample itself."""
    levels = saturation_levels(values)
    shares = [0.0 if v is None else np.count_nonzero(values == v) / values.size for v in levels]
    low, high = (v if s <= LARGEST_MASK else None for v, s in zip(levels, shares, strict=True))
    return low, high


def saturated(data: NDArray[Any], levels: tuple[float | None, float | None]) -> Bool:
    """Where an array holds one of the cut-off levels."""
    mask = np.zeros(data.shape, bool)
    if levels[0] is not None:
        mask |= data <= levels[0]
    if levels[1] is not None:
        mask |= data >= levels[1]
    return mask


def filled(data: NDArray[Any]) -> tuple[NDArray[np.float32], Bool]:
    """Float32 grey levels with missing ones (NaN, infinite) taken from the nearest pixel, and where they were."""
    out = np.asarray(data).astype(np.float32)
    missing = ~np.isfinite(out)
    if missing.all():
        raise InputError("An image needs at least one finite grey level, but all pixels are NaN or infinite.")
    if missing.any():
        nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
        out = out[tuple(nearest)]
    return out, missing


def local_average(lr: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the 5 x 5 coarse pixels around every pixel (mirrored border): what ``ModelCard.lr_range`` speaks of."""
    return ndimage.uniform_filter(lr, AVERAGE_PX, mode="mirror")


def statistics(values: NDArray[Any]) -> GreyStatistics:
    """Mean, standard deviation, 0.1 and 99.9 percentiles of some grey levels."""
    v = np.asarray(values, np.float64)
    low, high = np.percentile(v, (0.1, 99.9))
    return GreyStatistics(float(v.mean()), float(v.std()), float(low), float(high))


def white_noise(lr: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Standard deviation of the pixel-to-pixel noise of a scan over a mask, insensitive to smooth structure.

    Source: Immerkær 1996, doi:10.1006/cviu.1996.0060, with the median in the place of the mean.
    """
    differences = ndimage.convolve(np.asarray(lr, np.float64), _LAPLACIANS, mode="mirror")
    return float(np.median(np.abs(differences[mask]))) / 0.6745 / 6.0


def grey_map(lr: NDArray[Any], hr: NDArray[Any], *, noise_variance: float = 0.0) -> tuple[float, float, float]:
    """Gain, offset and correlation of ``hr = gain * lr + offset`` over matching, smoothed grey levels.

    ``noise_variance`` is what noise adds to the variance of ``lr``: left alone, it flattens the gain of a regression
    (errors in variables). The correction never exceeds that of the regression the other way round.

    A Huber regression (iteratively reweighted; P. Huber, Ann. Math. Stat. 35 (1964) 73,
    doi:10.1214/aoms/1177703732). Where the two scans hardly correlate (another detector), a regression would
    flatten all contrast; the gain is then the ratio of the standard deviations, with the sign of the correlation.
    """
    x, y = np.asarray(lr, np.float64).ravel(), np.asarray(hr, np.float64).ravel()
    flat = [v.std() <= 1e-6 * np.abs(v).max() for v in (x, y)]
    if any(flat):
        which = "coarse map" if flat[0] else "fine scan"
        raise InputError(f"The {which} is constant over the training area: there is nothing to learn. Check the files.")
    r = float(np.corrcoef(x, y)[0, 1])
    if abs(r) < _WEAK:
        gain = float(np.copysign(y.std() / x.std(), r))
        return gain, float(y.mean() - gain * x.mean()), r
    weight = np.ones_like(x)
    gain = offset = 0.0
    for _ in range(_ROUNDS):
        mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
        gain = float(np.sum(weight * (x - mx) * (y - my)) / np.sum(weight * (x - mx) ** 2))
        offset = float(my - gain * mx)
        left = np.abs(y - gain * x - offset)
        scale = 1.345 * 1.4826 * max(float(np.median(left)), 1e-9 * float(y.std()))
        weight = np.minimum(1.0, scale / np.maximum(left, 1e-300))
    reliable = 1.0 - noise_variance / float(np.average((x - mx) ** 2, weights=weight))
    gain /= max(reliable, r * r)
    return gain, float(my - gain * mx), r
