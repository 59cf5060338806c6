"""Calibrated intervals hold as often as they say, on errors whose law is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.interval_blocks import block_side, correlation_length, cut_blocks
from finescan.trust.intervals import (
    BlockErrors,
    Calibration,
    blocks_needed,
    calibrate_blocks,
    calibrate_intervals,
    coverage_by_spread,
    coverage_curve,
)
from finescan.values import Grid, Region


def field(shape, sigma, rng):
    """Smooth noise of variance one."""
    x = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return x / x.std()


def sample(seed, side=256):
    """Errors of unequal, correlated size, and a spread that knows most of it."""
    rng = np.random.default_rng(seed)
    told = np.where(field((side, side), 4, rng) > 0.84, 10.0, 1.0)  # a fifth of the area
    return told * np.exp(0.3 * field((side, side), 3, rng)) * rng.standard_normal((side, side)), told


def halves(side=256):
    grid = Grid.of((side, side), 1.0)
    return [Region(grid, (0, 0), (side, side // 2))], [Region(grid, (0, side // 2), (side, side))]


def test_coverage_is_what_was_asked_for_and_the_spread_makes_intervals_narrower():
    reached, narrower = [], []
    for seed in range(10):
        error, spread = sample(seed)
        left, right = halves()
        length = correlation_length([(error[box.slices], np.ones(box.shape, bool)) for box in left])
        side = block_side(length, 2)
        found = calibrate_intervals(error, spread, blocks=cut_blocks(left, side), check_blocks=cut_blocks(right, side))
        assert found.blocks >= 50 and side >= 2 * length
        reached.append(found.coverage)
        narrower.append(found.narrower)
    assert np.mean(reached, axis=0) == pytest.approx((0.8, 0.9, 0.95), abs=0.02)
    # what theory says of these two Gaussians; at 80 % a constant interval is the narrower one on average
    assert np.mean(narrower, axis=0)[1:] == pytest.approx((0.31, 0.52), abs=0.08)


def test_the_stated_error_of_the_coverage_is_its_scatter():
    left, right = halves()
    found = [
        calibrate_intervals(*sample(seed), blocks=cut_blocks(left, 24), check_blocks=cut_blocks(right, 24))
        for seed in range(10)
    ]
    stated = np.mean([f.coverage_error[0] for f in found])
    assert 0.5 < stated / np.std([f.coverage[0] for f in found]) < 2.0


def drawn(count, rng):
    """Blocks that differ as wholes, pixels within a block that are alike."""
    scale = np.exp(rng.standard_normal(count))
    return [BlockErrors(s * rng.standard_normal(100), np.ones(100)) for s in scale]


def test_with_few_blocks_pixelwise_calibration_covers_too_little_and_blocks_do_not():
    ours, pixelwise = [], []
    rng = np.random.default_rng(3)
    for _ in range(150):
        blocks, others = drawn(4, rng), drawn(20, rng)
        ours.append(calibrate_blocks(blocks, others, levels=(0.8,)).coverage[0])
        limit = np.quantile(np.abs(np.concatenate([b.error for b in blocks])), 0.8)
        pixelwise.append(np.mean([np.mean(np.abs(b.error) <= limit) for b in others]))
    assert np.mean(pixelwise) < 0.77
    assert np.mean(ours) >= 0.8


def test_four_blocks_give_the_largest_error_of_all_for_eighty_percent():
    blocks = [BlockErrors(np.arange(1.0, 6.0) + k, np.full(5, 2.0)) for k in range(4)]
    found = calibrate_blocks(blocks, levels=(0.8,))
    assert found.factors == (4.0,) and found.constants == (8.0,)


def test_blocks_count_alike_however_many_pixels_they_have():
    large = BlockErrors(np.full(10_000, 5.0), np.ones(10_000))
    small = [BlockErrors(np.ones(20), np.ones(20)) for _ in range(9)]
    assert calibrate_blocks([large, *small], levels=(0.8,)).factors == (1.0,)
    assert calibrate_blocks([large, *small], levels=(0.9,)).factors == (5.0,)


def test_levels_that_cannot_be_had_are_not_given_and_named():
    rng = np.random.default_rng(0)
    found = calibrate_blocks(drawn(10, rng))
    assert found.levels == (0.8, 0.9) and len(found.factors) == 2
    assert found.notes[0] == (
        "Intervals of 95 % need at least 19 held-out blocks, but there are 10: they are not given."
    )
    assert "No other held-out block" in found.notes[1] and found.check_blocks == 0
    assert found.factor(0.9) == found.factors[1]
    with pytest.raises(InputError, match=r"calibrated for 80 %, 90 %, but 95 % was asked for"):
        found.factor(0.95)


def test_too_few_blocks_say_how_many_there_are_and_how_many_are_needed():
    with pytest.raises(InputError, match=r"Intervals of 80 % need at least 4 held-out blocks, but 3 are left"):
        calibrate_blocks(drawn(3, np.random.default_rng(0)))
    with pytest.raises(InputError, match=r"at least 4 held-out blocks, but 0 are left"):
        calibrate_blocks([])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_the_number_of_blocks_needed_is_exact(level):
    blocks, rng = blocks_needed(level), np.random.default_rng(1)
    assert np.isfinite(calibrate_blocks(drawn(blocks, rng), levels=(level,)).factors[0])
    with pytest.raises(InputError, match="need at least"):
        calibrate_blocks(drawn(blocks - 1, rng), levels=(level,))


def test_spreads_must_be_positive_and_shapes_agree():
    with pytest.raises(InputError, match="finite and above 0"):
        calibrate_blocks([BlockErrors(np.ones(3), np.zeros(3))] * 5)
    with pytest.raises(InputError, match=r"one shape, but \(4, 4\) and \(4, 5\) came"):
        calibrate_intervals(np.zeros((4, 4)), np.ones((4, 5)), blocks=[])
    with pytest.raises(InputError, match="between 0 and 1"):
        calibrate_blocks(drawn(5, np.random.default_rng(0)), levels=(1.0,))


def test_masked_and_unknown_pixels_do_not_count():
    error, spread = sample(1, 96)
    mask = np.ones(error.shape, bool)
    boxes = [(slice(16 * a, 16 * a + 16), slice(16 * b, 16 * b + 16)) for a in range(6) for b in range(6)]
    plain = calibrate_intervals(error, spread, blocks=boxes[:-1], levels=(0.9,))
    error[80:, 80:], mask[80:, 80:] = 1e9, False
    assert calibrate_intervals(error, spread, blocks=boxes, mask=mask, levels=(0.9,)) == plain
    error[80:, 80:] = np.nan
    assert calibrate_intervals(error, spread, blocks=boxes, levels=(0.9,)) == plain


def test_a_calibration_survives_json():
    left, right = halves(96)
    found = calibrate_intervals(*sample(0, 96), blocks=cut_blocks(left, 16), check_blocks=cut_blocks(right, 16))
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Calibration.from_dict(json.loads(text)) == found
    assert str(found).startswith("80 %: ± ")


def test_the_curve_follows_the_diagonal_and_thirds_are_told():
    rng = np.random.default_rng(2)
    spread = np.exp(0.5 * field((256, 256), 4, rng))
    error = spread * rng.standard_normal(spread.shape)
    left, right = (
        [BlockErrors(error[r.slices].ravel(), spread[r.slices].ravel(), r) for r in cut_blocks(part, 24)]
        for part in halves()
    )
    curve = coverage_curve(left, right)
    assert curve["nominal"][:2] == [0.05, 0.1] and len(curve["nominal"]) == 19
    np.testing.assert_allclose(curve["achieved"], curve["nominal"], atol=0.04)
    thirds = coverage_by_spread(right, calibrate_blocks(left, right, levels=(0.9,)))
    assert list(thirds) == ["smallest", "middle", "largest"]
    assert all(abs(v[0] - 0.9) < 0.05 for v in thirds.values())
    flat = [BlockErrors(b.error, np.ones(b.error.size), b.place) for b in left]
    assert calibrate_blocks(flat, levels=(0.9,)).factors == calibrate_blocks(left, levels=(0.9,)).constants


# ---------------------------------------------------------------------------------------------- blocks
@pytest.mark.parametrize("sigma", [3.0, 6.0])
def test_correlation_length_of_a_known_field(sigma):
    rng = np.random.default_rng(5)
    error = np.exp(0.5 * field((400, 400), sigma, rng)) * rng.standard_normal((400, 400))
    # of a Gaussian field smoothed with sigma, exp(-d^2 / 4 sigma^2) falls to 1/e at twice sigma
    assert correlation_length([(error, np.ones(error.shape, bool))]) == pytest.approx(2 * sigma, rel=0.3)


def test_noise_of_single_pixels_has_no_correlation_and_masked_pixels_do_not_make_any():
    rng = np.random.default_rng(6)
    error, known = rng.standard_normal((200, 200)), np.ones((200, 200), bool)
    assert correlation_length([(error, known)]) == 1.0
    error[60:140], known[60:140] = 1e6, False
    assert correlation_length([(error, known)]) == 1.0
    with pytest.raises(InputError, match="No held-out pixel is left"):
        correlation_length([(error, np.zeros_like(known))])


def test_blocks_cover_every_pixel_once_and_are_large_enough():
    grid = Grid.of((100, 90), 1.0)
    boxes = cut_blocks([Region(grid, (3, 0), (100, 50)), Region(grid, (0, 60), (20, 70))], 16)
    count = np.zeros(grid.shape, int)
    for box in boxes:
        count[box.slices] += 1
    assert count.max() == 1 and count.sum() == 97 * 50 + 20 * 10
    assert all(min(b.shape) >= 16 for b in boxes[:-1]) and boxes[-1].shape == (20, 10)


def test_blocks_are_at_least_twice_the_correlation_length():
    assert (block_side(2.0, 2), block_side(11.3, 2), block_side(2.0, 3)) == (12, 23, 6)
