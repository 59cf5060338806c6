"""A data bar painted over the picture, found in the pixels. Only asked for vendors known to paint one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIN_ROWS = 8
_MAX_SHARE = 0.25


def painted_bar(data: NDArray[Any]) -> int:
    """Rows from the bottom that hold a painted bar, 0 when none is certain.

    A bar is a block of rows that ends within two rows of the bottom, starts with a drawn line (98 % of the row one
    single grey level) and whose every row consists to 60 %, on average to 85 %, of the two grey levels used most
    in it. No micrograph looks like that; a saturated one has no such line.

    Parameters
    ----------
    data : (rows, columns) grey levels.
    """
    rows, columns = data.shape
    tail = np.asarray(data[-max(int(rows * _MAX_SHARE), 1) :])
    share_one, share_two = np.array([_top_two(row) for row in tail]).T
    painted = share_two >= 0.6
    last = len(tail) - 1
    while last >= 0 and len(tail) - 1 - last < 3 and not painted[last]:
        last -= 1
    if last < 0 or not painted[last]:
        return 0
    first = last
    while first > 0 and painted[first - 1]:
        first -= 1
    # the picture may be two-valued right above the bar: the bar begins at its line
    lines = [r for r in range(first, last + 1) if share_one[r] >= 0.98]
    first = lines[0] if lines else last
    count = len(tail) - first
    certain = count >= _MIN_ROWS and first > 0 and share_two[first : last + 1].mean() >= 0.85 and columns >= 64
    return count if certain else 0


def _top_two(row: NDArray[Any]) -> tuple[float, float]:
    """Share of the most frequent level, and of the two most frequent ones."""
    counts = np.sort(np.unique(row, return_counts=True)[1])[::-1]
    return counts[0] / row.size, counts[:2].sum() / row.size
