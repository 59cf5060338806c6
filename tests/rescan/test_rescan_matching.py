"""Which planned field a file belongs to."""

from __future__ import annotations

import math
from dataclasses import replace

from finescan.rescan import Field, Frame, Goal, MapReference, RescanPlan, ScanTimes, StageTransform
from finescan.rescan.matching import fields_of
from finescan.values import Grid, StagePose

GRID = Grid.of((100, 100), 100.0)
PLAN = RescanPlan(
    MapReference("map", GRID),
    Frame((64, 64), (25.0, 25.0)),
    ScanTimes(10.0, 0.0, math.inf),
    Goal(budget_s=10.0),
    tuple(Field(k + 1, k + 1, (20.0 * k, 10.0), (16.0, 16.0), (64, 64), 0.1, 1.0) for k in range(4)),
)
STAGE = StageTransform(((0.0, 1e-3, 100.0), (-1e-3, 0.0, 50.0)), "test", 200.0)


def told(names: list[str], poses: list[StagePose | None] | None = None, plan: RescanPlan = PLAN) -> list:
    found = fields_of(plan, names, poses or [None] * len(names))
    return [None if f is None else (f[0].id, f[1]) for f in found]


def test_a_name_that_holds_the_field() -> None:
    assert told(["F003.tif", "2026_f001_b.tif"]) == [("F003", "name"), ("F001", "name")]
    assert told(["F009.tif", "OFF001.tif", "of.tif"]) == [None, None, None]


def test_the_last_number_if_all_are_fields() -> None:
    assert told(["scan-2026-02.tif", "scan-2026-04.tif"]) == [("F002", "number"), ("F004", "number")]
    assert told(["a1.tif", "b1.tif"]) == [None, None]  # twice the same
    assert told(["a1.tif", "a7.tif"]) == [None, None]  # no such field
    assert told(["F001.tif", "x1.tif"]) == [("F001", "name"), None]  # taken


def test_the_stage_says_it() -> None:
    plan = replace(PLAN, stage=STAGE)
    x, y = STAGE(plan.nm(plan.fields[2].centre_px))
    near = StagePose(x * 1e3 + 300.0, y * 1e3 - 200.0)
    far = StagePose(x * 1e3 + 9000.0, y * 1e3)
    assert told(["a.tif", "b.tif"], [near, far], plan) == [("F003", "stage"), None]
    assert told(["a.tif"], [near]) == [None]  # a plan without a stage
