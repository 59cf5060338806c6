"""Distributions as plain arrays, for tables and for whoever draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError


@dataclass(frozen=True)
class Distribution:
    """A histogram.

    Parameters
    ----------
    edges : (bins + 1,) in the unit of what was counted; the last bin includes its upper edge.
    counts : (bins,) int64.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of every bin."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist()}


def distribution(values: ArrayLike, bin_width: float, *, stop: float | None = None) -> Distribution:
    """Histogram with bins of a given width that start at 0 (the paper: 5 µm of equivalent diameter).

    Parameters
    ----------
    values : any shape, not negative; NaN is left out.
    bin_width : in the unit of the values.
    stop : the bins reach at least here, so that several histograms can share their bins; None = the greatest value.

    Examples
    --------
    >>> distribution([1.0, 6.0, 7.0], 5.0).counts
    array([1, 2])
    """
    if not bin_width > 0:
        raise InputError(f"A bin width must be positive, but {bin_width:g} came.")
    v = np.asarray(values, np.float64).ravel()
    v = v[np.isfinite(v)]
    reach = max(float(v.max(initial=0.0)), 0.0 if stop is None else float(stop))
    edges = np.asarray(bin_width * np.arange(max(1, int(np.ceil(reach / bin_width))) + 1), np.float64)
    return Distribution(edges, np.histogram(v, edges)[0].astype(np.int64))


@dataclass(frozen=True)
class BoxStatistics:
    """What a box plot shows: quartiles, whiskers (last values within 1.5 interquartile ranges, Tukey 1977), outliers.

    Parameters
    ----------
    n : number of values; everything else is NaN when it is 0.
    mean, std : mean and (sample) standard deviation.
    low, q1, median, q3, high : lower whisker, quartiles, upper whisker.
    outliers : values beyond the whiskers, ascending.
    """

    n: int
    mean: float
    std: float
    low: float
    q1: float
    median: float
    q3: float
    high: float
    outliers: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is not known is None."""
        plain = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in vars(self).items()}
        return plain | {"outliers": list(self.outliers)}


def box_statistics(values: ArrayLike) -> BoxStatistics:
    """Numbers of a box plot; NaN is left out.

    Examples
    --------
    >>> box_statistics([1, 2, 3, 4, 100]).outliers
    (100.0,)
    """
    v = np.asarray(values, np.float64).ravel()
    v = np.sort(v[np.isfinite(v)])
    if v.size == 0:
        nan = float("nan")
        return BoxStatistics(0, nan, nan, nan, nan, nan, nan, nan)
    q1, median, q3 = (float(q) for q in np.quantile(v, (0.25, 0.5, 0.75)))
    reach = 1.5 * (q3 - q1)
    usual = v[(v >= q1 - reach) & (v <= q3 + reach)]
    far = v[(v < q1 - reach) | (v > q3 + reach)]
    std = float(v.std(ddof=1)) if v.size > 1 else float("nan")
    return BoxStatistics(
        v.size, float(v.mean()), std, float(usual[0]), q1, median, q3, float(usual[-1]), tuple(far.tolist())
    )
