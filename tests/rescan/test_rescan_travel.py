"""Orders of scanning: against the best of all orders, and what backlash needs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan.travel import nearest_tour, order_points, tour_length


def length(points, tour, start) -> float:
    return float(tour_length(points, tour, start=start).sum())


def test_few_points_are_ordered_almost_as_well_as_can_be():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(30):
        points, start = rng.random((6, 2)), rng.random(2)
        best = min(length(points, p, start) for p in itertools.permutations(range(6)))
        ratios.append(length(points, order_points(points, start=start), start) / best)
    assert max(ratios) < 1.1 and np.mean(ratios) < 1.01


def test_many_points_are_ordered_better_than_by_always_going_to_the_nearest():
    """Random points in a square: the best tour is about 0.7124 sqrt(n A) long (Beardwood, Halton, Hammersley 1959)."""
    rng = np.random.default_rng(1)
    points, start = rng.random((400, 2)), np.array([0.5, 0.5])
    tour = order_points(points, start=start)
    assert sorted(tour.tolist()) == list(range(400))
    greedy = nearest_tour(points, start)
    assert length(points, tour, start) < 0.93 * length(points, greedy, start)
    assert 0.70 < length(points, tour, start) / np.sqrt(400) < 0.82
    assert np.array_equal(tour, order_points(points, start=start))


def test_rows_are_scanned_from_the_left_every_time():
    points = [[0.0, 5.0], [1.0, 1.0], [10.0, 3.0], [0.5, 9.0], [11.0, 0.0], [10.4, 7.0]]
    tour = order_points(points, start=[0, 0], order="rows", row=2.0).tolist()
    assert tour == [1, 0, 3, 4, 2, 5]


def test_a_single_field_and_none():
    assert order_points([[3.0, 4.0]], start=[0, 0]).tolist() == [0]
    assert order_points(np.empty((0, 2)), start=[0, 0]).tolist() == []
    assert tour_length([[3.0, 4.0]], [0], start=[0, 0]).tolist() == [5.0]


def test_an_unknown_order_names_the_known_ones():
    with pytest.raises(InputError, match="order shortest or rows, but 'spiral' came"):
        order_points([[0, 0]], start=[0, 0], order="spiral")
