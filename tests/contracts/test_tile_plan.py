"""TilePlan: kept boxes cover every pixel exactly once, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.values import TilePlan, halved

RANDOM = np.random.default_rng(11)
PLANS = [
    TilePlan(
        tuple(int(v) for v in RANDOM.integers(1, 70, 2)),
        tuple(int(v) for v in RANDOM.integers(1, 40, 2)),
        int(RANDOM.integers(0, 12)),
        int(RANDOM.integers(1, 9)),
    )
    for _ in range(60)
]


def test_halving_goes_down_to_the_multiple_and_no_further():
    assert halved((384, 100)) == (192, 50)
    assert halved((384, 100), 64) == (192, 64)
    assert halved((64, 64), 64) == (64, 64)
    assert halved((1, 1)) == (1, 1)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_kept_and_pasted_boxes_cover_every_pixel_exactly_once(plan):
    kept = np.zeros(plan.shape, int)
    pasted = np.zeros([n * plan.factor for n in plan.shape], int)
    tiles = list(plan)
    for tile in tiles:
        kept[tuple(slice(a, b) for a, b in tile.keep)] += 1
        pasted[tuple(slice(a, b) for a, b in tile.paste)] += 1
    assert (kept == 1).all()
    assert (pasted == 1).all()
    assert [t.index for t in tiles] == list(range(len(plan)))
    assert all(plan.tile(t.index) == t for t in tiles)


@pytest.mark.parametrize("plan", PLANS[:10], ids=str)
def test_read_boxes_are_kept_boxes_grown_by_the_halo(plan):
    for tile in plan:
        for (a, b), (c, d) in zip(tile.keep, tile.read, strict=True):
            assert (a - c, d - b) == (plan.halo, plan.halo)


@pytest.mark.parametrize("plan", PLANS[:20], ids=str)
def test_a_constant_pasted_from_tiles_is_that_constant_borders_included(plan):
    """Each tile repeats its kept pixels, as the simplest model would."""
    lr = np.full(plan.shape, 7.5)
    out = np.full([n * plan.factor for n in plan.shape], np.nan)
    for tile in plan:
        part = lr[tuple(slice(a, b) for a, b in tile.keep)]
        out[tuple(slice(a, b) for a, b in tile.paste)] = np.kron(part, np.ones((plan.factor,) * 2))
    np.testing.assert_array_equal(out, 7.5)


def test_three_axes_are_covered_as_well():
    plan = TilePlan((5, 7, 3), (2, 3, 2), 1, 2)
    kept = np.zeros(plan.shape, int)
    for tile in plan:
        kept[tuple(slice(a, b) for a, b in tile.keep)] += 1
    assert (kept == 1).all()
    assert len(plan) == 3 * 3 * 2


@pytest.mark.parametrize(
    "wrong",
    [((10, 10), (0, 4), 1, 2), ((10, 10), (4, 4), -1, 2), ((10, 10), (4, 4), 1, 0), ((10, 10), (4,), 1, 2)],
)
def test_an_impossible_plan_is_refused_with_its_numbers(wrong):
    with pytest.raises(InputError, match="A tile plan needs a core of at least 1 px per axis"):
        TilePlan(*wrong)
