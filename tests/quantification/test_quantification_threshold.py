"""The automatic threshold against scikit-image's, and what it says about histograms without two groups."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from finescan.errors import InputError
from finescan.quantification import otsu
from finescan.quantification.threshold import sample


@pytest.fixture
def two_groups():
    rng = np.random.default_rng(1)
    return np.r_[rng.normal(30, 5, 20_000), rng.normal(70, 8, 50_000)]


def test_the_threshold_is_scikit_images(two_groups):
    assert otsu(two_groups).value == pytest.approx(threshold_otsu(two_groups, nbins=1024), abs=0.3)


def test_separability_and_contrast_are_those_of_the_two_groups(two_groups):
    t = otsu(two_groups)
    dark, bright = two_groups[two_groups <= t.value], two_groups[two_groups > t.value]
    within = (dark.size * dark.var() + bright.size * bright.var()) / two_groups.size
    assert t.separability == pytest.approx(1 - within / two_groups.var(), abs=1e-3)
    assert t.contrast == pytest.approx(
        (bright.mean() - dark.mean()) / np.sqrt((dark.var() + bright.var()) / 2), rel=0.01
    )
    assert t.two_groups


@pytest.mark.parametrize(("values", "separability", "contrast"), [("bell", 0.637, 2.65), ("flat", 0.75, 3.46)])
def test_one_group_is_recognised(values, separability, contrast):
    rng = np.random.default_rng(0)
    t = otsu(rng.normal(0, 1, 400_000) if values == "bell" else rng.random(400_000))
    assert (t.separability, t.contrast) == (pytest.approx(separability, abs=0.005), pytest.approx(contrast, abs=0.02))
    assert not t.two_groups


def test_a_few_wild_voxels_do_not_coarsen_the_histogram(two_groups):
    wild = np.r_[two_groups, 1e6, -1e6, np.nan, np.inf]
    assert otsu(wild).value == pytest.approx(otsu(two_groups).value, abs=0.3)


def test_whole_numbers_are_thresholded_as_they_are():
    values = np.r_[np.full(300, 12, np.uint8), np.full(700, 240, np.uint8)]
    t = otsu(values)
    assert 12 <= t.value < 240
    assert (values <= t.value).sum() == 300


def test_a_constant_image_is_refused_with_advice():
    with pytest.raises(InputError, match=r"^foam: every voxel .* grey level 5, .* Pass threshold=, or check"):
        otsu(np.full(50, 5.0), name="foam")


def test_nothing_finite_is_refused_with_advice():
    with pytest.raises(InputError, match=r"no finite grey level lies in the field of view. Check circle= and bulk="):
        otsu(np.full(50, np.nan))


def test_the_sample_comes_from_the_mask_alone_and_spreads_over_the_depth():
    data = np.arange(100.0)[:, None, None] + np.zeros((100, 8, 8))
    mask = np.zeros((8, 8), bool)
    mask[2:4] = True
    data[:, ~mask] = -1
    few = sample(data, mask, most=200)
    assert few.size < 400 and few.min() == 0 and few.max() == 99
    assert sample(data, mask).size == mask.sum() * 100
