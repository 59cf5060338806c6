"""Where a valley sets dark or bright objects apart, and where none does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.quantification import clearest_group, otsu, outer_group
from finescan.simulation import simulate


def mixture(*groups, seed=0):
    """Grey levels: (mean, spread, how many) per group."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(m, s, n) for m, s, n in groups])


SOLID = ((100.0, 6.0, 42_000), (140.0, 6.0, 43_000))  # two kinds of grains


def test_pores_are_parted_from_grains_of_several_grey_levels_where_otsu_parts_the_grains():
    grey = mixture((20.0, 4.0, 6_000), *SOLID)
    found = outer_group(grey)
    assert 40 < found.value < 75 and found.chosen_by == "valley"
    assert np.mean(grey <= found.value) == pytest.approx(6 / 91, abs=1e-3)
    assert 110 < otsu(grey).value < 130
    assert found.dark_mean == pytest.approx(20.0, abs=0.2)


def test_bright_particles_are_found_at_the_other_end():
    grey = mixture((220.0, 5.0, 3_000), *SOLID)
    end, found = clearest_group(grey)
    assert end == "bright" and 160 < found.value < 205
    assert np.mean(grey > found.value) == pytest.approx(3 / 88, abs=1e-3)


def test_turning_the_grey_levels_around_turns_the_end():
    grey = np.rint(mixture((20.0, 4.0, 6_000), *SOLID))
    dark, bright = outer_group(grey, "dark"), outer_group(-grey, "bright")
    np.testing.assert_array_equal(grey <= dark.value, -grey > bright.value)


def test_dark_goes_before_bright_and_the_rarer_of_two_phases_is_the_object():
    both = mixture((20.0, 4.0, 6_000), (220.0, 5.0, 3_000), *SOLID)
    assert clearest_group(both)[0] == "dark"
    assert clearest_group(mixture((60.0, 6.0, 70_000), (150.0, 6.0, 30_000)))[0] == "bright"
    assert clearest_group(mixture((60.0, 6.0, 30_000), (150.0, 6.0, 70_000)))[0] == "dark"


@pytest.mark.parametrize(
    "grey",
    [
        mixture((100.0, 20.0, 50_000)),  # one bell
        np.random.default_rng(0).uniform(0, 255, 50_000),  # flat
        mixture((100.0, 20.0, 50_000), (140.0, 20.0, 50_000)),  # two that run into each other
        mixture((20.0, 4.0, 60), *SOLID),  # a few odd pixels
        np.full(5_000, 7.0),
        np.arange(10.0),
        np.full(5_000, np.nan),
    ],
)
def test_nothing_is_set_apart_where_there_is_no_valley(grey):
    assert clearest_group(grey) is None


def test_a_gap_between_few_grey_levels_is_no_noise_valley():
    """Counts of few electrons fill every n-th grey level only; smoothing of the picture closes the gaps."""
    job = simulate("porous", size=128, fine=384, counts=(20.0, 8.0), seed=5)
    fine = ndimage.gaussian_filter(job.hr[0].array().astype(np.float32), 1.0)
    clean = simulate("porous", size=128, fine=384, counts=(2000.0, 1500.0), seed=5)
    wanted = outer_group(ndimage.gaussian_filter(clean.hr[0].array().astype(np.float32), 1.0))
    found = outer_group(fine)
    assert np.mean(fine <= found.value) == pytest.approx(np.mean(clean.hr[0].array() <= wanted.value), rel=0.25)
