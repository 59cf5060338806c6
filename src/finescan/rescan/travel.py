"""The order in which fields are scanned: short ways for the stage, or ways that its backlash does not disturb."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError

Points = NDArray[np.float64]
ROUNDS = 60
WORTH_IT = 2e-3  # relative; rounds that shorten the tour by less are the last ones
SEGMENT = 3  # longest run of points that is moved as a whole
_ROUNDING = 1e-9  # relative; smaller improvements are rounding


def order_points(
    points: ArrayLike, *, start: ArrayLike, order: str = "shortest", row: float | Sequence[float] = 0.0
) -> NDArray[np.intp]:
    """The order in which to visit points.

    Parameters
    ----------
    points : (n, 2), y and x, or (n, 3), z, y and x; any length unit.
    start : of where the stage stands, the same axes.
    order : a name from :data:`ORDERS`. "shortest": nearest neighbour, then improved by 2-opt and Or-opt moves. "rows":
        (layer by layer,) row by row, every row from left to right, so that the stage always arrives from the same side
        (backlash).
    row : points that differ by less in y (and z; or one number for each of them) are in one row.

    Returns
    -------
    (n,) indices into ``points``; the same every time. The way is open: it does not lead back.

    Raises
    ------
    InputError : an unknown order.

    Examples
    --------
    >>> order_points([[0, 9], [0, 1], [0, 5]], start=[0, 0]).tolist()
    [1, 2, 0]
    """
    if order not in ORDERS:
        raise InputError(f"Fields are scanned in the order {' or '.join(ORDERS)}, but {order!r} came.")
    here = np.asarray(start, np.float64)
    where = np.asarray(points, np.float64).reshape(-1, len(here))
    if len(where) == 0:
        return np.zeros(0, np.intp)
    return ORDERS[order](where, here, np.broadcast_to(row, len(here) - 1))


def tour_length(points: ArrayLike, tour: ArrayLike, *, start: ArrayLike) -> NDArray[np.float64]:
    """Length of every leg of a tour, the first from ``start``; (n,)."""
    way = np.vstack([np.asarray(start, float), np.asarray(points, float)[np.asarray(tour, int)]])
    return np.asarray(np.linalg.norm(np.diff(way, axis=0), axis=1))


def _shortest(points: Points, start: Points, row: Points) -> NDArray[np.intp]:
    way = np.vstack([start, points])
    tour = np.concatenate([[0], nearest_tour(points, start) + 1])  # 0 is the start and stays first
    for _ in range(ROUNDS):
        saved = _two_opt(way, tour)
        saved += _or_opt(way, tour)
        if not saved > WORTH_IT * float(np.linalg.norm(np.diff(way[tour], axis=0), axis=1).sum()):
            break
    return tour[1:] - 1


def nearest_tour(points: Points, start: Points) -> NDArray[np.intp]:
    """Always on to the nearest point that is left: fast, and some 25 % longer than need be."""
    left = np.ones(len(points), bool)
    tour = np.empty(len(points), np.intp)
    here = start
    for k in range(len(points)):
        rest = np.flatnonzero(left)
        tour[k] = rest[np.argmin(((points[rest] - here) ** 2).sum(1))]
        left[tour[k]] = False
        here = points[tour[k]]
    return tour


@numba.njit(cache=True)
def _far(points: Points, a: int, b: int) -> float:
    """Distance of two points; 0 when the second one is past the end of the open tour (-1)."""
    if b < 0:
        return 0.0
    total = 0.0
    for axis in range(points.shape[1]):
        total += (points[a, axis] - points[b, axis]) ** 2
    return math.sqrt(total)


@numba.njit(cache=True)
def _two_opt(points: Points, tour: NDArray[np.intp]) -> float:
    """Turn runs of the tour around where that shortens it, in place; returns how much it saved."""
    n, total = len(tour), 0.0
    for i in range(n - 2):
        best, at = 0.0, -1
        leg = _far(points, tour[i], tour[i + 1])
        for j in range(i + 2, n):
            after = tour[j + 1] if j + 1 < n else -1
            saved = leg + _far(points, tour[j], after) - _far(points, tour[i], tour[j])
            saved -= _far(points, tour[i + 1], after)
            if saved > best + _ROUNDING * leg:
                best, at = saved, j
        if at > 0:
            tour[i + 1 : at + 1] = tour[i + 1 : at + 1][::-1].copy()
            total += best
    return total


@numba.njit(cache=True)
def _or_opt(points: Points, tour: NDArray[np.intp]) -> float:
    """Move runs of up to three points to where they fit better, either way round, in place; returns what it saved."""
    n, total = len(tour), 0.0
    for size in range(1, SEGMENT + 1):
        for i in range(1, n - size + 1):
            head, tail = tour[i], tour[i + size - 1]
            next_one = tour[i + size] if i + size < n else -1
            freed = _far(points, tour[i - 1], head) + _far(points, tail, next_one)
            if next_one >= 0:
                freed -= _far(points, tour[i - 1], next_one)
            best, at, turned = _ROUNDING * freed, -1, False
            for k in range(n):
                if i - 1 <= k < i + size:  # where it is now, or inside itself
                    continue
                after = tour[k + 1] if k + 1 < n else -1
                gap = _far(points, tour[k], after)
                plain = _far(points, tour[k], head) + _far(points, tail, after) - gap
                round_ = _far(points, tour[k], tail) + _far(points, head, after) - gap
                if freed - min(plain, round_) > best:
                    best, at, turned = freed - min(plain, round_), k, round_ < plain
            if at >= 0:
                run = tour[i : i + size].copy()
                if at > i:
                    tour[i : at - size + 1] = tour[i + size : at + 1].copy()
                    first = at - size + 1
                else:
                    tour[at + 1 + size : i + size] = tour[at + 1 : i].copy()
                    first = at + 1
                tour[first : first + size] = run[::-1] if turned else run
                total += best
    return total


def _rows(points: Points, start: Points, height: Points) -> NDArray[np.intp]:
    """(Layers and) rows from top to bottom, each from left to right."""
    keys = [_levels(points[:, axis], float(h)) for axis, h in enumerate(height)]
    return np.lexsort((points[:, -1], *reversed(keys)))


def _levels(values: Points, height: float) -> NDArray[np.intp]:
    """Which row each value is in: a new one begins beyond the height of the one before."""
    row, top = np.zeros(len(values), np.intp), -np.inf
    count = -1
    for index in np.argsort(values, kind="stable"):
        if values[index] - top > height:
            count, top = count + 1, values[index]
        row[index] = count
    return row


#: name -> order(points, start, heights of rows). One row per way of ordering.
ORDERS: dict[str, Callable[[Points, Points, Points], NDArray[np.intp]]] = {"shortest": _shortest, "rows": _rows}
