"""Candidates for objects, and what they amount to, against simulated ones of known nature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.quantification.candidates import find_candidates, fit_areas, with_share


def picture(size: int = 200) -> np.ndarray:
    """Grey 100, a bright half of 200, a void in each, a faint spot, and a broad dark field."""
    grey = np.full((size, size), 100.0, np.float32)
    grey[:, size // 2 :] = 200
    y, x = np.mgrid[:size, :size]
    grey[np.hypot(y - 40, x - 40) < 4] = 10  # a void in the grey half
    grey[118:122, 140:170] = 70  # a crack in the bright half, not darker than the grey one's spots
    grey[np.hypot(y - 40, x - 80) < 4] = 85  # faint: no candidate
    grey[150:, :50] = 30  # wide: part of the sample
    return ndimage.gaussian_filter(grey, 0.7)


def test_dark_narrow_spots_are_candidates_whatever_is_around_them() -> None:
    found = find_candidates(picture(), black=0.0, width_px=12, contrast=0.4)
    assert len(found) == 2
    boxes = sorted(found.boxes.tolist())
    assert boxes[0][0] <= 36 and boxes[0][1] >= 44 and boxes[0][2] <= 36 and boxes[0][3] >= 44
    assert boxes[1][0] <= 118 and boxes[1][1] >= 122 and boxes[1][2] <= 140 and boxes[1][3] >= 170
    assert len(find_candidates(np.full((50, 50), 5.0), black=0.0)) == 0


def test_a_row_of_spots_is_one_candidate() -> None:
    grey = np.full((60, 120), 100.0, np.float32)
    for x in range(20, 100, 8):
        grey[29:32, x : x + 3] = 5
    assert len(find_candidates(grey, black=0.0, contrast=0.3)) == 1
    assert len(find_candidates(np.where(np.arange(120) % 40 < 20, 100, grey), black=0.0, contrast=0.3)) > 1


def test_sums_and_spread_are_each_others_reverse() -> None:
    found = find_candidates(picture(), black=0.0, width_px=12, contrast=0.4)
    values = np.array([3.0, 7.5])
    assert found.sums(found.spread(values)) == pytest.approx(values, rel=1e-5)


def drawn(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of objects and others that overlap, and the area of the objects: exp(2 + first feature)."""
    real = rng.random(count) < share
    features = rng.normal(0, 1, (count, 3)) + np.where(real, 1.5, 0.0)[:, None] * [1.0, 1.0, 0.0]
    area = np.exp(2 + features[:, 0] + rng.normal(0, 0.2, count))
    return features, np.where(real, np.maximum(area, 4.0), 0.0)


def test_expected_area_and_its_variance_are_right_on_average() -> None:
    rng = np.random.default_rng(3)
    model = fit_areas(*drawn(rng, 4000, 0.3))
    features, objects = drawn(rng, 4000, 0.3)
    mean, variance = model.expected(features)
    assert mean.sum() == pytest.approx(objects.sum(), rel=0.06)
    assert np.mean((objects - mean) ** 2) == pytest.approx(variance.mean(), rel=0.35)
    chance = model.chance(features)
    for low, high in ((0.0, 0.1), (0.4, 0.6), (0.9, 1.0)):
        part = (chance >= low) & (chance <= high)
        assert (objects[part] > 0).mean() == pytest.approx(chance[part].mean(), abs=0.06)


def test_another_share_of_objects_is_told_from_the_candidates() -> None:
    """Learned where 30 % are objects, used where 3 % are: without the correction far too many are expected."""
    rng = np.random.default_rng(4)
    model = fit_areas(*drawn(rng, 3000, 0.3))
    features, objects = drawn(rng, 6000, 0.03)
    naive, corrected = (m.expected(features)[0].sum() for m in (model, with_share(model, features)))
    assert naive > 1.5 * objects.sum()
    assert corrected == pytest.approx(objects.sum(), rel=0.25)
    # with the objects taken away, those that are known keep the share up
    left = features[objects == 0]
    assert with_share(model, left, objects[objects > 0] > 0).share > 3 * with_share(model, left).share


def test_perfectly_apart_is_no_reason_to_fail() -> None:
    features = np.concatenate([np.full((20, 1), -5.0), np.full((5, 1), 5.0)]) + np.random.default_rng(0).normal(
        0, 0.1, (25, 1)
    )
    model = fit_areas(features, np.where(features[:, 0] > 0, 30.0, 0.0))
    assert model.chance(features)[:20].max() < 0.2 < 0.8 < model.chance(features)[20:].min()


def test_without_examples_there_is_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="1 of 5 candidates under the fine scans are objects"):
        fit_areas(np.zeros((5, 2)), np.array([9.0, 0, 0, 0, 0]))
