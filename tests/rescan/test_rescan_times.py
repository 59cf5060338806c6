"""The time model: equation 10 of Reclik et al. 2025 is the case without overheads, and overheads count as stated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import Frame, Goal, MapReference, ScanTimes, plan_rescan, spoken
from finescan.trust.acceleration import break_even, relative_time
from finescan.values import Grid

GRID = Grid.of((256, 320), 40.0)
FRAME = Frame((256, 256), (10.0, 10.0))  # ratio 4: 64 x 64 map pixels


@pytest.mark.parametrize("until", [0.1, 0.5, 1.0])
def test_without_overheads_a_plan_takes_the_time_of_equation_10(until):
    times = ScanTimes(dwell_us=5.0, coarse_s=5e-6 * GRID.size)
    plan = plan_rescan(np.ones(GRID.shape), MapReference("m", GRID), frame=FRAME, times=times, goal=Goal(until=until))
    assert plan.relative_time == pytest.approx(relative_time(4, plan.area_share), rel=1e-12)
    assert plan.area_share >= until - 1e-9


def test_break_even_of_ratio_4_is_15_16_of_the_area():
    """The whole map in frames is 1/16 slower than a fine scan of all; 15/16 of it is as fast."""
    times = ScanTimes(dwell_us=5.0, coarse_s=5e-6 * GRID.size)
    everything = times.everything_s(GRID, FRAME)
    share = 1 - times.coarse_s / everything
    assert share == pytest.approx(15 / 16, rel=1e-12)
    assert share == pytest.approx(break_even(4), rel=1e-12)


def test_overheads_by_value():
    times = ScanTimes(dwell_us=2.0, settle_s=3.0, stage_um_per_s=50.0, line_overhead_us=100.0)
    assert times.scan_s((100, 1000)) == pytest.approx(100 * (1000 * 2e-6 + 100e-6))  # 0.21 s
    assert times.field_s((100, 1000), distance_um=25.0) == pytest.approx(0.5 + 3.0 + 0.21)
    quiet = ScanTimes(dwell_us=2.0)
    assert quiet.field_s((100, 1000), distance_um=1e6) == pytest.approx(0.2)


def test_overheads_move_the_break_even():
    """Many small frames with a long settling time are slow: a fine scan of everything takes that as well."""
    times = ScanTimes(dwell_us=1.0, settle_s=10.0, stage_um_per_s=100.0, coarse_s=1.0)
    count = GRID.size / 64**2
    each = 256**2 * 1e-6 + 10.0 + FRAME.extent_nm[1] * 1e-3 / 100.0
    assert times.everything_s(GRID, FRAME) == pytest.approx(count * each)


def test_times_survive_json():
    for times in (ScanTimes(1.5), ScanTimes(1.5, 2.0, 300.0, 4.0, 77.0)):
        assert ScanTimes.from_dict(times.to_dict()) == times
    assert ScanTimes(1.5).to_dict()["stage_um_per_s"] is None
    for frame in (FRAME, Frame((3, 4), (1.0, 2.0), (30, 40))):
        assert Frame.from_dict(frame.to_dict()) == frame


def test_what_cannot_be():
    with pytest.raises(InputError, match=r"dwell time and a stage speed are positive, but 0 µs.*Pass --dwell"):
        ScanTimes(0.0)
    with pytest.raises(InputError, match="Overheads are times of at least 0"):
        ScanTimes(1.0, settle_s=-1.0)
    with pytest.raises(InputError, match="Overheads are times of at least 0"):
        ScanTimes(1.0, settle_s=math.nan)
    with pytest.raises(InputError, match=r"at least one pixel per axis"):
        Frame((0, 5), (1.0, 1.0))
    with pytest.raises(InputError, match=r"60 x 40 px is smaller than 100 x 80 px. Pass a larger --max-frame"):
        Frame((80, 100), (1.0, 1.0), (40, 60))


@pytest.mark.parametrize(("seconds", "words"), [(3.25, "3.25 s"), (89, "89 s"), (1200, "20 min"), (9000, "2.5 h")])
def test_times_in_words(seconds, words):
    assert spoken(seconds) == words


@pytest.mark.parametrize(("text", "seconds"), [("20min", 1200), ("90s", 90), ("1.5h", 5400), (" 2 MIN ", 120)])
def test_budgets_in_words(text, seconds):
    assert Goal.parse(text, None).budget_s == seconds


def test_goals_that_cannot_be():
    assert Goal.parse(None, "95%").until == Goal.parse(None, "0.95").until == 0.95
    with pytest.raises(InputError, match=r"pass --budget 20min or --until 95%"):
        Goal.parse(None, None)
    with pytest.raises(InputError, match="either a budget of time or a share"):
        Goal.parse("20min", "95%")
    with pytest.raises(InputError, match="'20' came"):
        Goal.parse("20", None)
    with pytest.raises(InputError, match="'5 parsec' came"):
        Goal.parse("5 parsec", None)
    with pytest.raises(InputError, match="positive time, but 0 s came"):
        Goal.parse("0min", None)
    with pytest.raises(InputError, match=r"written as 95% or 0\.95, but 'most' came"):
        Goal.parse(None, "most")
    with pytest.raises(InputError, match="at most 100 %"):
        Goal.parse(None, "120%")
