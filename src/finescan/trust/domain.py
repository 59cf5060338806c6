"""Is the coarse map like what the network was trained on, and do grey levels still mean the same?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.values import GreyStatistics, scattered

LOCAL_PX = 1.0  # sigma of the local average that grey ranges are stated for
_MANY = 3.0  # a rail holds this many times more pixels than the levels next to it
_SHARE = 2e-4  # and at least this share of all


@dataclass(frozen=True)
class GreyDistance:
    """How far the grey levels of an image are from those of a reference.

    Parameters
    ----------
    mean : difference of the means, in standard deviations of the reference.
    std_ratio : standard deviation over that of the reference.
    earth_mover : mean distance between equal quantiles, in standard deviations of the reference.
    """

    mean: float
    std_ratio: float
    earth_mover: float

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return dict(vars(self))


def local_average(lr: NDArray[Any], sigma_px: float = LOCAL_PX) -> NDArray[np.float32]:
    """Grey levels averaged with a Gaussian, so that noise does not decide what is out of range; NaN stays NaN."""
    values = np.asarray(lr, np.float32)
    good = np.isfinite(values)
    if good.all():
        return ndimage.gaussian_filter(values, sigma_px, mode="mirror")
    weight = ndimage.gaussian_filter(good.astype(np.float32), sigma_px, mode="mirror")
    total = ndimage.gaussian_filter(np.where(good, values, 0), sigma_px, mode="mirror")
    return np.where(good, total / np.maximum(weight, 1e-6), np.nan)


def training_range(lr: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Lowest and highest local average where the mask is True: what a ModelCard keeps as ``lr_range``."""
    average = local_average(lr)
    kept = average[np.isfinite(average) if mask is None else np.isfinite(average) & mask]
    return float(kept.min()), float(kept.max())


def untrained(lr: NDArray[Any], lr_range: tuple[float, float], *, margin: float = 0.02) -> NDArray[np.bool_]:
    """Where the local average leaves the training range by more than ``margin`` of its width. NaN is not marked."""
    low, high = lr_range
    extra = margin * (high - low) if np.isfinite([low, high]).all() else 0.0
    average = local_average(lr)
    return (average < low - extra) | (average > high + extra)


def saturation_levels(lr: NDArray[Any]) -> tuple[float | None, float | None]:
    """Grey levels at which the coarse scan is cut off: darkest and brightest, None where there is no such rail.

    A rail is the extreme level of the image when it holds many more pixels than the levels next to it. Darkest pixels
    that lie scattered, as those do that no electron reached, make none.
    """
    image = np.asarray(lr)
    values = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) < 2:
        return None, None
    dark = _rail(levels, counts)
    dark = None if dark is not None and scattered(image == dark) else dark
    return dark, _rail(levels[::-1], counts[::-1])


def saturated(lr: NDArray[Any], levels: tuple[float | None, float | None]) -> NDArray[np.bool_]:
    """Pixels at or beyond the rails of :func:`saturation_levels`."""
    values = np.asarray(lr)
    low, high = levels
    out = np.zeros(values.shape, bool)
    if low is not None:
        out |= values <= low
    if high is not None:
        out |= values >= high
    return out


def grey_statistics(values: NDArray[Any]) -> GreyStatistics:
    """Mean, standard deviation, and the 0.1 and 99.9 percentiles of the finite pixels."""
    v = np.asarray(values, np.float64)
    v = v[np.isfinite(v)]
    low, high = np.percentile(v, (0.1, 99.9))
    return GreyStatistics(float(v.mean()), float(v.std()), float(low), float(high))


def grey_distance(values: NDArray[Any], reference: NDArray[Any]) -> GreyDistance:
    """Distance of the grey levels of two images (they need not be aligned, nor of one size)."""
    a, b = (np.asarray(v, np.float64) for v in (values, reference))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    unit = float(b.std()) or 1.0
    at = np.linspace(0, 100, 513)[1::2]
    apart = np.abs(np.percentile(a, at) - np.percentile(b, at)).mean()
    return GreyDistance(float((a.mean() - b.mean()) / unit), float(a.std() / unit), float(apart / unit))


def _rail(levels: NDArray[Any], counts: NDArray[np.intp]) -> float | None:
    """The first level, if it is a rail."""
    next_to = counts[1:9]
    many = counts[0] > _MANY * max(float(next_to.mean()), 1.0) and counts[0] > _SHARE * counts.sum()
    return float(levels[0]) if many else None
