"""Which fields: against brute force, other strategies at equal time, and what must never happen."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.rescan import Frame, Goal, MapReference, ScanTimes, StageTransform, plan_rescan
from finescan.rescan.baselines import BASELINES
from finescan.rescan.selection import PLACEMENTS
from finescan.rescan.windows import starts, window_sums
from finescan.values import Grid

FRAME = Frame((512, 512), (10.0, 10.0))  # 102.4 x 102.4 px of a map with 50 nm
TIMES = ScanTimes(dwell_us=1.0, settle_s=2.0, stage_um_per_s=500.0, coarse_s=1.0)


def planned(error, *, frame=FRAME, times=TIMES, pixel_nm=50.0, **rest):
    grid = Grid.of(np.shape(error), pixel_nm)
    return plan_rescan(error, MapReference("map.tif", grid), frame=frame, times=times, **rest)


def require_sound(plan, scanned=None):
    """Inside the map, not overlapping, not on what was scanned, in the budget."""
    boxes = np.array([(*f.start_px, *f.stop_px) for f in plan.fields])
    h, w = plan.map.grid.shape
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= h + 1e-9).all() and (boxes[:, 3] <= w + 1e-9).all()
    for k, a in enumerate(boxes):
        rest = boxes[k + 1 :]
        apart = (rest[:, :2] >= a[2:] - 1e-9).any(1) | (rest[:, 2:] <= a[:2] + 1e-9).any(1)
        assert apart.all()
        if scanned is not None:
            y0, x0, y1, x1 = (int(v) for v in (*np.floor(a[:2]), *np.ceil(a[2:] - 1e-9)))
            assert not scanned[y0:y1, x0:x1].any()
    assert [f.order for f in plan.fields] == list(range(1, len(boxes) + 1))
    assert sorted(f.priority for f in plan.fields) == list(range(1, len(boxes) + 1))
    if plan.goal.budget_s is not None:
        assert plan.seconds <= plan.goal.budget_s


# ------------------------------------------------------------------ windows
def test_window_sums_are_those_of_slices():
    values = np.random.default_rng(0).random((37, 53)).astype(np.float32)
    ys, xs = starts(37, 9, 4), starts(53, 12, 7)
    assert ys[-1] == 28 and xs[-1] == 41
    sums = window_sums(values, ys, xs, (9, 12))
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            assert sums[i, j] == pytest.approx(values[y : y + 9, x : x + 12].sum(dtype=np.float64))


# ------------------------------------------------------------------ choice
def test_the_first_field_is_the_best_window_of_all(clustered):
    """Against an exhaustive search (a box filter of SciPy) over every pixel."""
    frame = Frame((20, 30), (50.0, 50.0))
    error = clustered(200, 3, groups=6)
    plan = planned(error, frame=frame, goal=Goal(budget_s=TIMES.field_s((20, 30), 20.0)))
    (field,) = plan.fields
    sums = ndimage.uniform_filter(error.astype(float), (20, 30), origin=(-10, -15))[:181, :171] * 600
    held = field.reduction * error.sum(dtype=float)
    assert held == pytest.approx(sums.max(), rel=0.02)  # a smooth hill: the climb may end beside the very top
    y, x = (int(v) for v in field.start_px)
    assert held == pytest.approx(error[y : y + 20, x : x + 30].sum(dtype=float), rel=1e-6)


@pytest.mark.parametrize("budget", [20.0, 60.0])
def test_more_error_is_removed_than_by_other_ways_in_the_same_time(clustered, budget):
    """Four maps with clustered errors; every way is ordered and timed alike."""
    ours, others = [], {name: [] for name in BASELINES}
    for seed in range(4):
        error = clustered(1024, seed)
        plan = planned(error, goal=Goal(budget_s=budget))
        require_sound(plan)
        ours.append(plan.reduction)
        for name, spots in BASELINES.items():
            way = {name: partial(spots, seed=seed)}
            other = planned(error, goal=Goal(budget_s=budget), placements=way, refine=False)
            require_sound(other)
            others[name].append(other.reduction)
            assert plan.reduction > other.reduction, name
    assert np.mean(ours) > 1.9 * np.mean(others["random"])
    assert np.mean(ours) > 1.8 * np.mean(others["uniform grid"])
    assert np.mean(ours) > 1.05 * np.mean(others["worst pixels"])


def test_moving_fields_about_helps_and_never_harms(clustered):
    """A rich middle keeps out two halves that hold more together; greedy choice alone falls for it."""
    error = np.zeros((400, 400), np.float32)
    error[150:250, 100:200] = 1.0
    error[150:250, 200:300] = 1.0
    error[150:250, 150:250] += 0.1
    frame = Frame((500, 500), (10.0, 10.0))  # 100 px
    goal = Goal(budget_s=2 * TIMES.field_s((500, 500), 10.0))
    greedy = planned(error, frame=frame, goal=goal, refine=False, placements={"free": PLACEMENTS["free"]})
    moved = planned(error, frame=frame, goal=goal, placements={"free": PLACEMENTS["free"]})
    assert greedy.reduction < 0.85 and moved.reduction == pytest.approx(1.0)
    for seed in range(4):
        error = clustered(1024, seed)
        plain, better = (planned(error, goal=Goal(budget_s=40.0), refine=r) for r in (False, True))
        assert better.reduction >= plain.reduction


def test_until_a_share_takes_as_many_fields_as_needed_and_no_more(clustered):
    error = clustered(1024, 1)
    plan = planned(error, goal=Goal(until=0.5))
    require_sound(plan)
    least = min(f.reduction for f in plan.fields)
    assert 0.5 <= plan.reduction < 0.5 + least + 1e-9
    assert planned(error, goal=Goal(until=0.25)).seconds < plan.seconds
    assert not plan.notes


def test_a_share_that_fields_cannot_reach_is_said():
    plan = planned(np.ones((512, 512), np.float32), goal=Goal(until=0.95))
    assert len(plan.fields) == 16  # four times four frames of 102.4 px
    assert "reach 63.5 % of the expected error, not 95 %" in plan.notes[0] and "gaps" in plan.notes[0]


def test_one_regular_array_is_taken_where_nearly_everything_is_scanned():
    error = np.random.default_rng(0).random((1024, 1024)).astype(np.float32)
    frame = Frame((512, 512), (10.0, 10.0))
    both = planned(error, frame=frame, pixel_nm=40.0, goal=Goal(until=1.0))
    free = planned(error, frame=frame, pixel_nm=40.0, goal=Goal(until=1.0), placements={"free": PLACEMENTS["free"]})
    assert both.reduction == pytest.approx(1.0, abs=1e-6) and len(both.fields) == 64
    assert free.reduction < both.reduction


def test_nothing_is_scanned_twice(clustered):
    error = clustered(512, 2)
    scanned = np.zeros((512, 512), bool)
    scanned[100:300, 150:420] = True
    error[150:250, 200:350] += 5  # much error, but it is known by now
    plan = planned(error, goal=Goal(until=0.5), scanned=scanned)
    require_sound(plan, scanned)
    free = planned(error, goal=Goal(budget_s=5.0))
    y, x = free.fields[0].centre_px
    assert scanned[int(y), int(x)]  # without the mask the first field goes there
    assert plan.reduction <= 1.0


def test_fields_lie_partly_on_what_was_scanned_only_where_too_few_fit_beside_it():
    """A map of three by three fields whose middle was scanned half a field off: beside it there is room for few."""
    error, scanned = np.ones((309, 309), np.float32), np.zeros((309, 309), bool)
    scanned[80:230, 80:230] = True
    little, much = (planned(error, goal=Goal(until=u), scanned=scanned) for u in (0.1, 0.95))
    with pytest.raises(AssertionError):
        require_sound(little, scanned)  # not even one field fits beside
    assert much.reduction > 0.95
    require_sound(much)
    assert f"{len(much.fields)} of {len(much.fields)} fields overlap them, and scan a part again." in much.notes[0]
    scanned[:, 200:] = False  # now there is: a column of fields on the right
    again = planned(error, goal=Goal(until=0.3), scanned=scanned)
    require_sound(again, scanned)
    assert again.reduction > 0.3 and not any("overlap them" in n for n in again.notes)
    more = planned(error, goal=Goal(until=0.95), scanned=scanned)  # more than the column holds
    assert more.reduction > 0.95 and "overlap them" in more.notes[0]
    error[:, :200] = 0.01  # nearly all of it is in the column, so what is beside it is not worth scanning twice
    enough = planned(error, goal=Goal(until=0.99), scanned=scanned)
    require_sound(enough, scanned)
    assert "too narrow for a field" in enough.notes[0]


def test_weights_move_the_fields():
    error = np.ones((512, 512), np.float32)
    value = np.full((512, 512), 0.1, np.float32)
    value[380:500, 20:140] = 1.0
    plan = planned(error, goal=Goal(budget_s=2.7), value=value)
    (field,) = plan.fields
    assert 370 < field.centre_px[0] < 510 and 10 < field.centre_px[1] < 150
    assert planned(error * value, goal=Goal(budget_s=2.7)).fields == plan.fields


def test_the_same_plan_every_time_and_inputs_stay_as_they_are(clustered):
    error = clustered(512, 4)
    error.setflags(write=False)
    a, b = (planned(error, goal=Goal(budget_s=30.0)) for _ in range(2))
    assert a == b and len(a.fields) > 5


def test_pixels_without_a_value_count_nothing():
    error = np.ones((512, 512), np.float32)
    with_nan = error.copy()
    with_nan[:, 256:] = np.nan
    plan = planned(with_nan, goal=Goal(until=0.3))
    assert all(f.stop_px[1] <= 260 for f in plan.fields)
    assert np.isnan(with_nan[0, 300])


def test_only_pixels_that_a_field_covers_wholly_count():
    """A frame of 102.4 px covers 102 whole pixels; the 103rd one stays."""
    error = np.zeros((300, 300), np.float32)
    error[50:153, 60:163] = 1.0
    plan = planned(error, goal=Goal(budget_s=2.7))
    (field,) = plan.fields
    assert field.size_px == pytest.approx((102.4, 102.4)) and field.frame_px == (512, 512)
    assert field.reduction == pytest.approx(102**2 / 103**2)


def test_a_slow_stage_stays_near():
    """The farthest place is the richest: a fast stage goes there, a slow one has no time for it."""
    error = np.zeros((2000, 2000), np.float32)
    error[900:1000, 900:1000] = 1.0
    error[900:1000, 1010:1110] = 0.97
    error[10:110, 10:110] = 1.03
    fast = planned(error, goal=Goal(budget_s=4.7))
    slow = planned(error, times=ScanTimes(1.0, 2.0, 20.0), goal=Goal(budget_s=7.0))
    assert sorted(f.centre_px[0] > 800 for f in fast.fields) == [False, True]
    assert all(f.centre_px[0] > 800 for f in slow.fields) and len(slow.fields) == 2


def test_fields_are_in_the_order_that_was_asked_for(clustered):
    error = clustered(1024, 5)
    short = planned(error, goal=Goal(until=0.4))
    rows = planned(error, goal=Goal(until=0.4, order="rows"))

    def travel(plan):
        at = np.array([(512.0, 512.0), *(f.centre_px for f in plan.fields)])
        return float(np.hypot(*np.diff(at, axis=0).T).sum())

    assert travel(short) < 0.8 * travel(rows)
    assert short.seconds < rows.seconds
    assert short.seconds == pytest.approx(
        len(short.fields) * (2.0 + 512**2 * 1e-6) + travel(short) * 0.05 / 500.0, rel=1e-9
    )
    ahead = [b.centre_px[1] > a.centre_px[1] for a, b in zip(rows.fields, rows.fields[1:], strict=False)]
    new_row = [b.start_px[0] > a.start_px[0] + 25 for a, b in zip(rows.fields, rows.fields[1:], strict=False)]
    assert all(f or n for f, n in zip(ahead, new_row, strict=True))


# ------------------------------------------------------------------ merging
def test_neighbours_are_one_acquisition_where_the_instrument_can():
    error = np.zeros((600, 600), np.float32)
    error[100:300, 100:500] = 1.0
    frame = Frame((500, 500), (10.0, 10.0), (1000, 2000))  # 100 px; up to 2 x 4 fields
    plan = planned(error, frame=frame, goal=Goal(until=1.0))
    (field,) = plan.fields
    assert field.frame_px == (1000, 2000)
    assert (field.start_px, field.size_px) == ((100.0, 100.0), (200.0, 400.0))
    assert field.reduction == pytest.approx(1.0)
    alone = planned(error, frame=Frame((500, 500), (10.0, 10.0)), goal=Goal(until=1.0))
    assert len(alone.fields) == 8 and alone.seconds - plan.seconds > 6 * TIMES.settle_s


def test_a_merged_field_of_odd_size_covers_what_its_fields_cover():
    """102.4 px: neighbours begin 103 px apart, so two of them are 205.4 px of 5.0 fine px."""
    error = np.zeros((400, 400), np.float32)
    error[50:152, 50:255] = 1.0
    plan = planned(error, frame=Frame((512, 512), (10.0, 10.0), (512, 1100)), goal=Goal(budget_s=3.0))
    (field,) = plan.fields
    assert field.size_px == pytest.approx((102.4, 205.4)) and field.frame_px == (512, 1027)


def test_merging_brings_more_in_the_same_time(clustered):
    error = clustered(1024, 7)
    single = planned(error, goal=Goal(budget_s=40.0))
    joined = planned(error, frame=Frame((512, 512), (10.0, 10.0), (2048, 2048)), goal=Goal(budget_s=40.0))
    require_sound(joined)
    assert joined.reduction > 1.1 * single.reduction
    assert all(f.frame_px[0] <= 2048 and f.frame_px[1] <= 2048 for f in joined.fields)


# ------------------------------------------------------------------ size and bad input
def test_a_large_map_is_planned_in_seconds():
    rng = np.random.default_rng(0)
    error = np.zeros((8192, 8192), np.float32)
    for y, x in rng.integers(0, 8100, (3000, 2)):
        error[y : y + 60, x : x + 60] += rng.random()
    began = time.process_time()
    plan = planned(error, goal=Goal(budget_s=300.0))
    assert time.process_time() - began < 20
    require_sound(plan)
    assert len(plan.fields) > 110


def test_a_budget_shorter_than_one_field_says_how_long_one_takes():
    error = np.ones((512, 512))
    with pytest.raises(InputError) as e:
        planned(error, goal=Goal(budget_s=1.0))
    assert str(e.value) == (
        "One field of 512 x 512 px of 10 nm takes 2.26 s (2 s to settle, 0.262 s to scan), but the budget is 1 s. Pass "
        "a longer --budget, a smaller --frame or a shorter --dwell."
    )
    slow = ScanTimes(1.0, 2.0, 0.001)
    lonely = np.zeros((512, 512))
    lonely[5, 5] = 1
    with pytest.raises(InputError, match="and the stage must get there"):
        planned(lonely, times=slow, goal=Goal(budget_s=3.0))


def test_frames_that_do_not_fit():
    with pytest.raises(InputError, match=r"covers 102 x 102 px of the map, which has only 300 x 90 px"):
        planned(np.ones((90, 300)), goal=Goal(until=0.5))
    with pytest.raises(InputError, match="smaller than one pixel of the map"):
        planned(np.ones((90, 300)), frame=Frame((4, 4), (10.0, 10.0)), goal=Goal(until=0.5))


def test_maps_that_cannot_be():
    with pytest.raises(InputError, match="Nothing is expected to be wrong"):
        planned(np.zeros((512, 512)), goal=Goal(until=0.5))
    with pytest.raises(InputError, match="Nothing is expected to be wrong where no fine scan exists"):
        planned(np.ones((512, 512)), goal=Goal(until=0.5), scanned=np.ones((512, 512), bool))
    with pytest.raises(InputError, match="must be 0 or more everywhere"):
        planned(np.full((512, 512), -1.0), goal=Goal(until=0.5))
    with pytest.raises(InputError, match="infinite values came"):
        planned(np.full((512, 512), np.inf), goal=Goal(until=0.5))
    with pytest.raises(InputError, match=r"The value of a pixel is given for \(3, 3\) pixels"):
        planned(np.ones((512, 512)), goal=Goal(until=0.5), value=np.ones((3, 3)))
    with pytest.raises(InputError, match=r"The mask of fine scans is \(3, 3\)"):
        planned(np.ones((512, 512)), goal=Goal(until=0.5), scanned=np.ones((3, 3)))
    grid = Grid.of((9, 512, 512), 50.0)
    with pytest.raises(InputError, match="the map is a volume"):
        plan_rescan(np.ones(grid.shape), MapReference("v", grid), frame=FRAME, times=TIMES, goal=Goal(until=0.5))


def test_reasons_say_how_much_is_held_and_what_was_asked_about():
    error = np.zeros((512, 512), np.float32)
    error[200:302, 200:302] = 1.0
    plan = planned(error, goal=Goal(until=0.5), reasons=lambda box: [f"Mean {error[box].mean():.2f}."])
    assert plan.fields[0].reasons == ("Holds 1e+02 % of the expected error on 4 % of the map.", "Mean 0.98.")


def test_a_stage_that_may_miss_a_field_is_said():
    error = np.random.default_rng(0).random((512, 512))
    for sigma, said in ((500.0, False), (2000.0, True), (None, False)):
        stage = StageTransform(((0.0, 0.001, 0.0), (-0.001, 0.0, 0.0)), "From a test.", sigma)
        plan = planned(error, goal=Goal(budget_s=10.0), stage=stage)
        assert plan.stage == stage
        assert any("known to 2 µm (1 sigma), and a field is only 5.12 µm wide" in n for n in plan.notes) == said
