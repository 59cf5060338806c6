"""The automatic threshold: Otsu's, on a subsample, with numbers that say how far the two groups are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError

BINS = 1024
SAMPLE = 8_000_000  # voxels that are enough: the standard error of a share of 1 % is then 0.004 %
EQUALLY_GOOD = 1e-4  # relative loss of the criterion that makes no difference
OUTLIERS = 1e-4  # share of the darkest and of the brightest voxels that do not stretch the histogram
TWO_GROUPS = 3.5  # `contrast` of a flat histogram is 3.46, of a single bell curve 2.65


@dataclass(frozen=True)
class Threshold:
    """A grey level that parts two groups of voxels.

    Parameters
    ----------
    value : grey level; dark is ``<= value``.
    chosen_by : "otsu" or "user".
    separability : variance between the groups over total variance, 0 to 1 (Otsu 1979); NaN when given by the user.
        A flat histogram has 0.75, a single bell curve 0.64; a rare phase makes it small even when it is clear.
    contrast : distance of the groups' means over the root mean square of their standard deviations (dimensionless).
        A flat histogram has 3.5, a single bell curve 2.7, two groups more than that; NaN when given by the user.
    dark_mean, bright_mean : mean grey levels of the groups.
    """

    value: float
    chosen_by: str = "user"
    separability: float = float("nan")
    contrast: float = float("nan")
    dark_mean: float = float("nan")
    bright_mean: float = float("nan")

    @property
    def two_groups(self) -> bool:
        """Whether the histogram showed two groups (always so for a threshold that was given)."""
        return not self.contrast < TWO_GROUPS

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is not known is None."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in vars(self).items()}


def otsu(values: NDArray, *, name: str = "image") -> Threshold:
    """Otsu's threshold of grey levels.

    Parameters
    ----------
    values : grey levels, any shape and number format; what is not finite is left out.
    name : for messages.

    Returns
    -------
    Threshold : the centre of the last bin of the dark group, of 1024 between the 0.01 and 99.99 percentiles; the middle
        one where several do equally well.

    Raises
    ------
    InputError : fewer than two grey levels.

    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.

    Examples
    --------
    >>> otsu(np.r_[np.full(50, 10.0), np.full(50, 90.0)]).contrast
    inf
    """
    values = np.asarray(values).ravel()
    values = values[np.isfinite(values)]
    low, high = _range(values, name)
    counts, edges = np.histogram(np.clip(values, low, high), BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    n = np.cumsum(counts).astype(np.float64)
    first, second = np.cumsum(counts * centres), np.cumsum(counts * centres**2)
    inside = (n > 0) & (n < n[-1])
    dark, bright = n[inside], n[-1] - n[inside]
    dark_mean, bright_mean = first[inside] / dark, (first[-1] - first[inside]) / bright
    between = dark * bright * (bright_mean - dark_mean) ** 2
    equal = np.flatnonzero(between >= (1 - EQUALLY_GOOD) * between.max())
    best = int(equal[len(equal) // 2])  # between two groups that are far apart any level does: the middle is safest
    total = second[-1] / n[-1] - (first[-1] / n[-1]) ** 2
    spread = [
        max(second[inside][best] / dark[best] - dark_mean[best] ** 2, 0.0),
        max((second[-1] - second[inside][best]) / bright[best] - bright_mean[best] ** 2, 0.0),
    ]
    apart, within = bright_mean[best] - dark_mean[best], float(np.sqrt(np.mean(spread)))
    return Threshold(
        value=float(centres[inside][best]),
        chosen_by="otsu",
        separability=float(between[best] / n[-1] ** 2 / total),
        contrast=float(apart / within) if within > 1e-9 * apart else float("inf"),
        dark_mean=float(dark_mean[best]),
        bright_mean=float(bright_mean[best]),
    )


def sample(data: Any, mask: NDArray[np.bool_], most: int = SAMPLE) -> NDArray:
    """Grey levels inside a mask, evenly spread slices and pixels of them, at most about ``most``; reads slice by slice.

    Parameters
    ----------
    data : (z, y, x), numpy, memory map or zarr.
    mask : (y, x) or (z, y, x).
    """
    depth = data.shape[0]
    inside = int(np.count_nonzero(mask)) * (depth if mask.ndim == 2 else 1)
    step = max(1, -(-inside // most))
    slices = min(depth, max(1, -(-depth // step)), key=lambda n: abs(n - depth / step))
    slices = min(depth, max(slices, 16))
    picked = np.unique(np.linspace(0, depth - 1, slices).round().astype(int))
    thin = max(1, int(inside * len(picked) / depth // most))
    parts = [np.asarray(data[int(z)])[mask if mask.ndim == 2 else mask[z]][::thin] for z in picked]
    return np.concatenate(parts)


def _range(values: NDArray, name: str) -> tuple[float, float]:
    if values.size == 0:
        raise InputError(f"{name}: no finite grey level lies in the field of view. Check circle= and bulk=.")
    low, high = (float(v) for v in np.quantile(values, (OUTLIERS, 1 - OUTLIERS)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        raise InputError(
            f"{name}: every voxel in the field of view has the grey level {low:g}, so no threshold parts pores from "
            "solid. Pass threshold=, or check that this is the right volume."
        )
    return low, high
