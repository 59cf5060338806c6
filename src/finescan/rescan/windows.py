"""Sums over many windows of a large map at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BAND = 1 << 24  # pixels of the map held as float64 at a time


def window_sums(
    values: NDArray[np.floating] | NDArray[np.bool_],
    rows: Sequence[int] | NDArray[np.intp],
    columns: Sequence[int] | NDArray[np.intp],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """Sum over the window of ``size`` that starts at every combination of a row and a column.

    A summed-area table that holds only the rows and columns where windows begin or end: of a map of 8192 x 8192 px and
    windows a few pixels apart it is a hundredth of the full one.

    Parameters
    ----------
    values : (h, w), not NaN.
    rows, columns : first pixels of the windows; the windows lie inside the map.
    size : height, width of the windows, px.

    Returns
    -------
    (len(rows), len(columns)) float64.

    Examples
    --------
    >>> window_sums(np.ones((4, 5)), [0, 2], [0, 1], (2, 3)).tolist()
    [[6.0, 6.0], [6.0, 6.0]]
    """
    ys, xs = np.asarray(rows, np.intp), np.asarray(columns, np.intp)
    cuts_y, cuts_x = _cuts(ys, size[0], values.shape[0]), _cuts(xs, size[1], values.shape[1])
    table = np.zeros((len(cuts_y), len(cuts_x)))
    table[1:, 1:] = np.cumsum(np.cumsum(_blocks(values, cuts_y, cuts_x), axis=0), axis=1)
    top, bottom = (np.searchsorted(cuts_y, v) for v in (ys, ys + size[0]))
    left, right = (np.searchsorted(cuts_x, v) for v in (xs, xs + size[1]))
    high, low = table[bottom], table[top]
    return np.asarray(high[:, right] - high[:, left] - low[:, right] + low[:, left])


def starts(length: int, size: int, step: int) -> NDArray[np.intp]:
    """First pixels of windows along an axis: every ``step`` px, and the last place where a window fits."""
    return np.unique(np.append(np.arange(0, length - size + 1, step), length - size))


def _cuts(first: NDArray[np.intp], size: int, length: int) -> NDArray[np.intp]:
    return np.unique(np.concatenate([[0, length], first, first + size]))


def _blocks(
    values: NDArray[np.floating] | NDArray[np.bool_], cuts_y: NDArray[np.intp], cuts_x: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Sums between neighbouring cuts, a band of the map at a time."""
    out = np.empty((len(cuts_y) - 1, len(cuts_x) - 1))
    per_band = max(1, _BAND // values.shape[1])
    first = 0
    while first < len(out):
        last = int(np.searchsorted(cuts_y, cuts_y[first] + per_band, side="right")) - 1
        last = min(max(last, first + 1), len(out))
        band = values[cuts_y[first] : cuts_y[last]]
        narrow = np.add.reduceat(band, cuts_x[:-1], axis=1, dtype=np.float64)
        out[first:last] = np.add.reduceat(narrow, cuts_y[first:last] - cuts_y[first], axis=0)
        first = last
    return out
