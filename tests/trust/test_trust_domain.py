"""Grey levels outside the training range, saturation, and drift of the grey levels are noticed."""

import numpy as np
import pytest

from finescan.trust import (
    grey_distance,
    grey_statistics,
    local_average,
    saturated,
    saturation_levels,
    training_range,
    untrained,
)


def grey(seed: int = 0, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    return np.random.default_rng(seed).normal(120, 20, shape)


def test_only_grey_levels_outside_the_training_range_are_marked() -> None:
    lr = grey()
    lr[:, 100:] += 200
    known = training_range(lr, mask=np.arange(128)[None, :] + np.zeros((128, 1)) < 90)
    marked = untrained(lr, known)
    assert marked[:, 104:].all()
    assert marked[:, :90].mean() == 0
    assert not untrained(lr, (-np.inf, np.inf)).any()


def test_a_single_noisy_pixel_is_not_out_of_range() -> None:
    lr = grey()
    known = training_range(lr)
    lr[50, 50] = lr.max() + 5
    assert not untrained(lr, known).any()


def test_holes_do_not_spread_in_the_local_average() -> None:
    lr = grey()
    lr[10:20, 10:20] = np.nan
    average = local_average(lr)
    assert np.isnan(average[10:20, 10:20]).all()
    assert np.isfinite(average[~np.isnan(lr)]).all()
    assert abs(average[9, 15] - 120) < 40


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_scan_cut_off_at_the_top_has_a_bright_rail_only(dtype: type) -> None:
    lr = np.clip(grey(), None, 150).astype(dtype)
    assert saturation_levels(lr) == (None, 150.0)
    marked = saturated(lr, saturation_levels(lr))
    assert np.array_equal(marked, lr >= 150)
    assert marked.mean() == pytest.approx(0.067, abs=0.02)


def test_a_scan_cut_off_at_the_bottom_has_a_dark_rail() -> None:
    assert saturation_levels(np.clip(np.rint(grey()), 80, None)) == (80.0, None)


def test_ordinary_scans_and_constant_images_have_no_rail() -> None:
    assert saturation_levels(np.rint(grey()).astype(np.uint8)) == (None, None)
    assert saturation_levels(np.random.default_rng(0).integers(0, 200, (99, 99))) == (None, None)
    assert saturation_levels(np.full((50, 50), 3)) == (None, None)


def test_grey_statistics_skip_what_is_not_known() -> None:
    lr = grey()
    lr[0] = np.nan
    s = grey_statistics(lr)
    assert (s.mean, s.std) == (pytest.approx(120, abs=1), pytest.approx(20, abs=1))
    assert s.low < 70 and s.high > 170


def test_the_distance_of_grey_levels_sees_shift_and_stretch() -> None:
    reference = grey(0)
    near = grey_distance(grey(1, (64, 96)), reference)
    shifted = grey_distance(grey(1) + 20, reference)
    stretched = grey_distance(120 + 2 * (grey(1) - 120), reference)
    assert near.earth_mover < 0.05 and abs(near.mean) < 0.05
    assert (shifted.mean, shifted.earth_mover) == (pytest.approx(1, abs=0.05), pytest.approx(1, abs=0.05))
    assert stretched.std_ratio == pytest.approx(2, abs=0.05)
    assert stretched.mean == pytest.approx(0, abs=0.05)
