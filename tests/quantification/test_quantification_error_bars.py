"""Corrected numbers and their intervals, on simulated blocks of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.quantification import Objects, Threshold
from finescan.quantification.error_bars import (
    block_weights,
    calibration_weights,
    constant_spread,
    drawn_errors,
    measure_with_error,
    rehearse,
)
from finescan.quantification.ground import Ground
from finescan.quantification.residuals import ResidualLibrary
from finescan.quantification.tallies import MEASURES, Tally, values
from finescan.values import Grid

SIDE = 14  # blocks along the map
SMALL, SMALLER = 300.0, 400.0  # nm: objects below are lost in the enhanced picture; in the poorer one


def sample(seed, patchy=0.3):
    """Tallies of fine, enhanced and poorer picture of one map; objects are denser in some parts of it."""
    rng = np.random.default_rng([seed, 1])
    dense = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2, mode="wrap")
    count = rng.poisson(20 * np.exp(patchy * dense / dense.std())).ravel()
    owner = np.repeat(np.arange(SIDE * SIDE), count)
    size = rng.gamma(4, 150, owner.size)

    def shown(least):
        kept = size * rng.normal(1, 0.05, size.size) > least
        seen, of = 0.97 * size[kept] if least else size[kept], owner[kept]
        objects = np.bincount(of, np.pi / 4e6 * seen**2, minlength=SIDE * SIDE)
        border = np.bincount(of, np.pi / 1e3 * seen, minlength=SIDE * SIDE)
        return Tally(np.full(SIDE * SIDE, 25.0), objects, border, of, seen)

    return shown(0), shown(SMALL), shown(SMALLER)


def ground_at(fine, enhanced, y=3, x=5, side=6):
    place = np.stack(np.meshgrid(np.arange(y, y + side), np.arange(x, x + side), indexing="ij"), -1).reshape(-1, 2)
    kept = np.zeros((SIDE, SIDE), bool)
    kept[y : y + side, x : x + side] = True
    return Ground(fine.only(kept.ravel()), enhanced.only(kept.ravel()), place.astype(np.intp))


def totals(part):
    return {k: float(v[0]) for k, v in values(part).items()}


# ------------------------------------------------------------------ intervals
def test_intervals_hold_the_truth_of_the_whole_map_and_the_measured_numbers_do_not():
    inside, far, seeds = dict.fromkeys(MEASURES, 0), dict.fromkeys(MEASURES, 0), 30
    for seed in range(seeds):
        fine, enhanced, poorer = sample(seed)
        ground = ground_at(fine, enhanced)
        factors = rehearse(ground, enhanced, (SIDE, SIDE), poorer=poorer, seed=seed)
        truth = totals(fine)
        for name, bar in measure_with_error(ground, enhanced, factors=factors, seed=seed).items():
            inside[name] += bar.low <= truth[name] <= bar.high
            far[name] += not bar.low <= bar.measured <= bar.high
            assert bar.low < bar.value < bar.high
    for name in MEASURES:
        assert 0.8 <= inside[name] / seeds <= 1, name
    for name in ("area_share", "objects_per_area", "mean_diameter_nm", "interface_per_um"):
        assert far[name] / seeds > 0.9, name


@pytest.mark.filterwarnings("error")
def test_an_area_without_any_object_is_rehearsed_without_a_warning():
    fine, _, _ = sample(0)
    bare = np.zeros(SIDE * SIDE)
    empty = Tally(fine.area, bare, bare, np.zeros(0, np.intp), np.zeros(0))
    factors = rehearse(ground_at(fine, empty), empty, (SIDE, SIDE), seed=0)
    assert "mean_diameter_nm" not in factors  # nothing to learn from
    bars = measure_with_error(ground_at(empty, empty), empty, factors=factors)
    assert np.isnan(bars["mean_diameter_nm"].value)


def test_a_perfect_map_needs_no_correction_and_has_no_error():
    fine, _, poorer = sample(0)
    bars = measure_with_error(ground_at(fine, fine), fine)
    for name, bar in bars.items():
        assert bar.value == pytest.approx(bar.measured) == pytest.approx(totals(fine)[name])
        assert bar.error == pytest.approx(0, abs=1e-9 * bar.value), name
    assert min(rehearse(ground_at(fine, fine), fine, (SIDE, SIDE), poorer=poorer).values()) >= 1


def test_the_parts_of_an_error_add_up():
    fine, enhanced, _ = sample(1)
    ground = ground_at(fine, enhanced)
    plain = measure_with_error(ground, enhanced)["area_share"]
    wide = measure_with_error(ground, enhanced, factors={"area_share": 2.0}, pixels={"area_share": 0.01})["area_share"]
    assert plain.parts["places"] == 1 and plain.parts["pixels"] == 0 and plain.error == plain.parts["blocks"]
    assert wide.error == pytest.approx(np.hypot(2 * plain.error, 0.01)) and wide.value == plain.value
    looser = measure_with_error(ground, enhanced, level=0.5)["area_share"]
    assert looser.high - looser.low < plain.high - plain.low
    assert wide.apart(wide.high) == pytest.approx(1) and wide.apart(wide.low) == pytest.approx(-1)


def test_what_was_recorded_needs_no_correction():
    fine, enhanced, _ = sample(2)
    ground = ground_at(fine, enhanced)
    all_computed = measure_with_error(ground, enhanced)["interface_per_um"]
    half = measure_with_error(ground, enhanced, computed_share=0.5)["interface_per_um"]
    assert half.value - half.measured == pytest.approx((all_computed.value - all_computed.measured) / 2)
    assert half.error == pytest.approx(all_computed.error / 2)


def test_few_blocks_or_no_objects_give_no_interval():
    fine, enhanced, _ = sample(3)
    few = ground_at(fine, enhanced, side=2)
    bar = measure_with_error(few, enhanced)["area_share"]
    assert np.isnan([bar.value, bar.low, bar.high]).all() and bar.measured > 0 and bar.blocks == 4
    assert bar.to_dict()["value"] is None and bar.to_dict()["title"] == "share of area"
    assert rehearse(few, enhanced, (SIDE, SIDE)) == {}
    zero = np.zeros(SIDE * SIDE)
    empty = Tally(enhanced.area, zero, zero, np.zeros(0, np.intp), np.zeros(0))
    bars = measure_with_error(ground_at(fine, empty), empty)
    assert bars["area_share"].value > 0 and np.isnan(bars["mean_diameter_nm"].value)
    with pytest.raises(InputError, match=r"The level of an interval lies between 0 and 1, but 90 came\."):
        measure_with_error(ground_at(fine, enhanced), enhanced, level=90)


def test_the_same_seed_gives_the_same_numbers():
    fine, enhanced, poorer = sample(4)
    ground = ground_at(fine, enhanced)
    one, same, other = (measure_with_error(ground, enhanced, seed=s)["mean_diameter_nm"] for s in (0, 0, 1))
    assert one == same and one.value == other.value and one.error != other.error
    shape = (SIDE, SIDE)
    assert rehearse(ground, enhanced, shape, poorer=poorer) == rehearse(ground, enhanced, shape, poorer=poorer)


# ------------------------------------------------------------------ weights
def test_calibrated_blocks_show_what_the_map_shows():
    rng = np.random.default_rng(0)
    features, target = rng.normal(0, 1, (200, 3)), np.array([0.2, -0.1, 0.1])
    weights = calibration_weights(features, target, np.ones((1, 200)))[0]
    np.testing.assert_allclose(weights @ features, target, atol=0.03)
    assert weights.sum() == pytest.approx(1) and (weights > 0).all()
    few = calibration_weights(features[:5], target, np.ones((1, 5)))[0]  # few blocks are hardly moved
    assert np.abs(few - 0.2).max() < 0.2 and few.sum() == pytest.approx(1)


def test_random_weights_have_mean_and_variance_one_and_neighbours_share_them():
    fine, enhanced, _ = sample(0)
    weights = block_weights(ground_at(fine, enhanced), 4000, 0)
    assert weights.min() > 0
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(weights.var(axis=0), 1, atol=0.25)
    together = np.corrcoef(weights.T)
    assert 0.3 < together[0, 1] < 0.6 and abs(together[0, 35]) < 0.08


def test_a_map_that_differs_from_place_to_place_needs_a_larger_factor():
    def typical(patchy):
        found = []
        for seed in range(6):
            _, enhanced, _ = sample(seed, patchy)
            ground = ground_at(enhanced, enhanced)
            found.append(rehearse(ground, enhanced, (SIDE, SIDE), seed=seed)["objects_per_area"])
        return np.mean(found)

    assert typical(0.8) > typical(0.0) + 0.2


def test_a_map_hardly_larger_than_the_fine_scan_has_no_rehearsal():
    fine, enhanced, poorer = sample(0)
    assert rehearse(ground_at(fine, enhanced, 0, 0, 9), enhanced, (SIDE, SIDE), poorer=poorer) == {}


# ------------------------------------------------------------------ pixels
def test_noise_makes_specks_that_the_smooth_picture_does_not_show():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((64, 64)).astype(np.float32)
    library = ResidualLibrary.of([(noise, np.ones((64, 64), bool))])
    grey = np.full((160, 160), 100, np.float32)
    y, x = np.mgrid[:160, :160]
    grey[np.hypot(y - 80, x - 80) < 25] = 20
    objects = Objects("dark", Threshold(60.0), "")
    grid = Grid.of(grey.shape, 10.0)
    calm, loud = (
        drawn_errors(grey, np.full(grey.shape, s, np.float32), library, grid, objects=objects) for s in (1.0, 60.0)
    )
    assert calm[0]["objects_per_area"] == 0 and calm[0]["area_share"] < 1e-3
    assert loud[1]["objects_per_area"] > 3 * calm[1]["objects_per_area"]
    assert loud[0]["area_share"] > 3 * calm[0]["area_share"]


def test_the_spread_by_grey_level_is_that_of_the_errors_there():
    rng = np.random.default_rng(0)
    grey = rng.uniform(0, 100, 20000)
    error = rng.normal(0, 1, 20000) * np.where(grey < 50, 2, 8)
    told = constant_spread(grey, error, np.ones(20000, bool))
    assert told(np.array([10.0]))[0] == pytest.approx(2, rel=0.1) and told(np.array([90.0]))[0] == pytest.approx(
        8, rel=0.1
    )
    with pytest.raises(InputError, match=r"No pixel with a fine scan is known to tell the spread from\."):
        constant_spread(grey, error, np.zeros(20000, bool))


def test_units_differ_between_pictures_and_volumes():
    from finescan.quantification.error_bars import in_volumes

    fine, enhanced, _ = sample(0)
    bar = measure_with_error(ground_at(fine, enhanced), enhanced)["objects_per_area"]
    assert bar.unit == "1/µm²" and in_volumes(bar) == replace(bar, unit="1/µm³")
