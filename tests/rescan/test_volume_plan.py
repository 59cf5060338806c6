"""Plans of volumes: order of scanning, time with all overheads, and the file that says it all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import (
    FieldOfView,
    Goal,
    MapReference,
    TomogramTimes,
    VolumePlace,
    VolumePlan,
    load_volume_plan,
    order_points,
    visits_in_order,
    volume_plan_bytes,
)
from finescan.rescan.travel import tour_length
from finescan.values import Grid

GRID = Grid("ZYX", (40, 60, 80), (1000.0, 1000.0, 1000.0), (500.0, 500.0, 500.0))
MAP = MapReference("coarse.tif", GRID, "ab" * 32)
FIELD = FieldOfView((8000.0, 10000.0, 10000.0), "z")


def places(n, seed=0):
    """Non-overlapping enough for these tests; best first."""
    start = np.random.default_rng(seed).uniform(0, (32, 50, 70), (n, 3))
    return [VolumePlace(tuple(s), tuple(np.add(s, (8, 10, 10))), 0.1 / (k + 1)) for k, s in enumerate(start)]


def test_seven_places_are_visited_on_the_shortest_way():
    here = places(7)
    visits = visits_in_order(here, MAP, FIELD, TomogramTimes(60.0), Goal(until=0.5))
    middles, start = np.array([p.centre_px for p in here]) + 0.5, np.array([20.0, 30.0, 40.0])
    best = min(tour_length(middles, list(p), start=start).sum() for p in permutations(range(7)))
    tour = [v.priority - 1 for v in visits]
    assert tour_length(middles, tour, start=start).sum() == pytest.approx(best, rel=0.05)
    assert [v.order for v in visits] == list(range(1, 8)) and sorted(tour) == list(range(7))
    assert [v.place for v in visits] == [here[k] for k in tour] and visits[0].id == "R001"


def test_rows_of_a_volume_are_layers_of_rows():
    points = [(z + dz, y, x) for z, dz in ((0, 0.0), (9, 0.3), (9, 0.0), (0, 0.2)) for y in (5, 0) for x in (7, 1)]
    tour = order_points(points, start=(0, 0, 0), order="rows", row=(1.0, 1.0))
    keys = [(points[i][0] // 9, points[i][1], points[i][2]) for i in tour]
    assert keys == sorted(keys)


def test_the_time_of_a_plan_is_way_alignment_and_scan():
    times = TomogramTimes(7200.0, 600.0, 2.0)
    visits = visits_in_order(places(4), MAP, FIELD, times, Goal(until=0.5))
    plan = VolumePlan(MAP, FIELD, times, Goal(until=0.5), visits)
    here, total = np.array([20.0, 30.0, 40.0]), 0.0
    for v in visits:
        middle = np.array(v.place.centre_px) + 0.5  # 1 µm voxels
        assert v.seconds == pytest.approx(np.linalg.norm(middle - here) / 2.0 + 7800)
        here, total = middle, total + v.seconds
    assert plan.seconds == pytest.approx(total)
    assert replace(plan, visits=visits_in_order(places(4), MAP, FIELD, TomogramTimes(None), plan.goal)).seconds is None


def test_a_budget_holds_the_ways_too_and_drops_what_brings_least():
    times, here = TomogramTimes(100.0, 20.0, 1.0), places(10)
    visits = visits_in_order(here, MAP, FIELD, times, Goal(budget_s=1000.0))
    spent = sum(v.seconds for v in visits)
    assert spent <= 1000 and sorted(v.priority for v in visits) == list(range(1, len(visits) + 1))
    more = visits_in_order(here[: len(visits) + 1], MAP, FIELD, times, Goal(until=0.9))
    assert sum(v.seconds for v in more) > 1000
    assert visits_in_order(here, MAP, FIELD, times, Goal(budget_s=119.0)) == ()


def test_the_file_gives_the_plan_back(tmp_path):
    visits = visits_in_order(places(3), MAP, FIELD, TomogramTimes(60.0, 5.0), Goal(until=0.5), lambda p: ("Why.",))
    plan = VolumePlan(MAP, FIELD, TomogramTimes(60.0, 5.0), Goal(until=0.5), visits, None, "error", ("Note.",))
    (tmp_path / "rescan.json").write_bytes(volume_plan_bytes(plan))
    assert load_volume_plan(tmp_path / "rescan.json") == plan
    d = json.loads(volume_plan_bytes(plan))
    assert (d["schema"], d["shape"], d["rotation_axis"], d["times"]["stage_um_per_s"]) == (2, "cylinder", "z", None)
    assert d["volume_share"] == pytest.approx(3 * math.pi * 25 * 8 / (40 * 60 * 80))
    assert "3 places of 10 µm in diameter and 8 µm along z (cylinders)" in str(plan)
    boxes = FieldOfView((8000.0, 9000.0, 10000.0))
    assert str(boxes) == "10 x 9 x 8 µm (x, y, z)" and boxes.volume_um3 == pytest.approx(720)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "finescan rescan plan"}, "holds no rescan plan of a volume"),
        ({"schema": 1}, r"has schema 1, but 2 is written again\. Plan again"),
        ({"places": [{"id": "R001"}]}, r"The rescan plan is damaged \(KeyError: "),
        ({"size_nm": [1.0, 2.0]}, r"three positive lengths"),
    ],
)
def test_files_that_are_no_plan_are_refused(tmp_path, change, words):
    visits = visits_in_order(places(1), MAP, FIELD, TomogramTimes(60.0), Goal(until=0.5))
    d = VolumePlan(MAP, FIELD, TomogramTimes(60.0), Goal(until=0.5), visits).to_dict()
    (tmp_path / "p.json").write_text(json.dumps({**d, **change}))
    with pytest.raises(InputError, match=words):
        load_volume_plan(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((0.0,), r"takes a positive time, but 0 s came\. Pass --scan-time"),
        ((5.0, -1.0), r"overhead is at least 0 s, but -1 came\. Pass --settle 0"),
        ((5.0, 0.0, 0.0), r"stage speed is positive, but 0 µm/s came\. Pass --stage-speed"),
    ],
)
def test_times_that_cannot_be_are_refused(times, words):
    with pytest.raises(InputError, match=words):
        TomogramTimes(*times)
