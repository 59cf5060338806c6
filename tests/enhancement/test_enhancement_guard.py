"""Doubt is noticed, marked and answered with interpolation; missing pixels stay missing and do not spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finescan.enhancement import EnhanceConfig, enhance
from finescan.enhancement.guard import doubt_weight, doubtful
from finescan.enhancement.source import filled, mirrored, survey
from finescan.values import Grid, Image

BRIGHT = (slice(20, 40), slice(30, 50))


@pytest.fixture
def edged(map_of):
    """A map with a bright block far outside the range seen in training."""
    lr = map_of((64, 96))
    grey = lr.data.copy()
    grey[BRIGHT] += 400
    return lr.with_data(grey)


@pytest.fixture
def trained(model_of):
    """A random network that is told it was trained on averages from 60 to 140."""
    return model_of("fast", 3.0, lr_range=(60.0, 140.0))


def test_outside_the_training_range_the_result_is_the_interpolation_and_flagged(edged, trained, model_of):
    result = enhance(trained, edged, config=EnhanceConfig(tile=20))
    bicubic = enhance(model_of("bicubic", 3.0), edged).image.data
    raw = enhance(trained, edged, config=EnhanceConfig(guard=False)).image.data
    inside = (slice(60, 120), slice(90, 150))
    np.testing.assert_allclose(result.image.data[inside], bicubic[inside], rtol=1e-5)
    assert np.abs(raw[inside] - bicubic[inside]).max() > 20  # the network would have invented something
    untrained = result.trust.where("untrained")
    assert untrained[BRIGHT].all()
    # far away nothing is flagged and nothing is touched
    assert not untrained[:, 65:].any()
    np.testing.assert_allclose(result.image.data[:, 200:], raw[:, 200:], rtol=1e-6)


def test_every_pixel_that_is_not_the_network_carries_the_flag(edged, trained):
    guarded = enhance(trained, edged, config=EnhanceConfig(tile=31))
    raw = enhance(trained, edged, config=EnhanceConfig(guard=False))
    changed = np.abs(guarded.image.data - raw.image.data).reshape(64, 3, 96, 3).max(axis=(1, 3)) > 1e-2
    assert changed.any()
    assert not (changed & ~guarded.trust.where("untrained")).any()


@pytest.mark.parametrize("ratio", [3.0, 2.67, 1.5])
def test_the_guard_leaves_no_trace_of_tiles(ratio, edged, model_of):
    model = model_of("fast", ratio, max(1, int(ratio)), lr_range=(60.0, 140.0))
    whole = enhance(model, edged, config=EnhanceConfig(tile=500))
    for tile in (7, 23):
        tiled = enhance(model, edged, config=EnhanceConfig(tile=tile))
        span = float(np.ptp(whole.image.data))
        assert np.abs(whole.image.data - tiled.image.data).max() <= 1e-6 * span
        np.testing.assert_array_equal(whole.trust.flags, tiled.trust.flags)


def test_the_fall_back_is_smooth():
    mask = np.zeros((41, 41), bool)
    mask[20, 20] = True
    weight = doubt_weight(mask)
    assert weight[20, 20] == weight[19, 21] == pytest.approx(1.0)
    assert weight[20, 12] == 0.0 < weight[20, 13]
    assert np.abs(np.diff(weight, axis=0)).max() < 0.4


def test_one_noisy_pixel_is_no_reason_but_a_bright_area_is():
    grey = np.full((20, 20), 100, np.float32)
    grey[5, 5] = 255  # raises the 5 x 5 average by 6
    assert doubtful(grey, None, None, (50, 150)) is None
    grey[10:15, 10:15] = 200
    assert doubtful(grey, None, None, (50, 150))[12, 12]


def test_a_saturated_place_is_marked_and_interpolated(trained, map_of, model_of):
    lr = map_of((64, 96), dtype="uint8")
    grey = lr.data.copy()
    grey[BRIGHT] = 255
    grey[5, 5] = 255
    lr = lr.with_data(grey)
    wide = replace(trained.card, lr_range=(0.0, 300.0))
    trained.card = wide
    result = enhance(trained, lr, config=EnhanceConfig(dtype="float32"))
    np.testing.assert_array_equal(result.trust.where("saturated"), grey == 255)
    untrained = result.trust.where("untrained")
    assert untrained[BRIGHT].all()
    assert not untrained[5, 5]  # a single one is a noise peak
    bicubic = enhance(model_of("bicubic", 3.0), lr, config=EnhanceConfig(dtype="float32", guard=False)).image.data
    np.testing.assert_allclose(result.image.data[60:120, 90:150], bicubic[60:120, 90:150], rtol=1e-5)


def test_saturation_levels_can_be_given(model_of, map_of):
    lr = map_of((30, 30), dtype="uint16")
    config = EnhanceConfig(saturation=(60.0, 140.0))
    flags = enhance(model_of(), lr, config=config).trust.where("saturated")
    np.testing.assert_array_equal(flags, (lr.data <= 60) | (lr.data >= 140))
    assert not enhance(model_of(), lr, config=EnhanceConfig(saturation=(None, None))).trust.where("saturated").any()


def test_saturation_is_detected_only_when_pixels_pile_up(map_of):
    lr = map_of((200, 200), dtype="uint8")
    assert survey(lr, None).saturation == (None, None)
    grey = lr.data.copy()
    grey[0, :5] = 255
    assert survey(lr.with_data(grey), None).saturation == (None, 255.0)


def test_missing_pixels_stay_missing_and_do_not_spread(trained, map_of):
    lr = map_of((64, 96))
    holed = lr.data.copy()
    holed[30:36, 40:44] = np.nan
    holed[0, 0] = np.inf
    whole = enhance(trained, lr.with_data(holed), config=EnhanceConfig(tile=500))
    out = whole.image.data
    expected = np.isnan(np.repeat(np.repeat(np.where(np.isfinite(holed), 0, np.nan), 3, 0), 3, 1))
    np.testing.assert_array_equal(np.isnan(out), expected)
    np.testing.assert_array_equal(whole.trust.where("no_data"), ~np.isfinite(holed))
    clean = enhance(trained, lr).image.data
    reach = (trained.halo + 12) * 3
    np.testing.assert_allclose(out[:, 44 * 3 + reach :], clean[:, 44 * 3 + reach :], rtol=1e-6)
    tiled = enhance(trained, lr.with_data(holed), config=EnhanceConfig(tile=11))
    span = float(np.nanmax(out) - np.nanmin(out))
    assert np.nanmax(np.abs(out - tiled.image.data)) <= 1e-6 * span
    np.testing.assert_array_equal(whole.trust.flags, tiled.trust.flags)


def test_missing_pixels_are_zero_and_flagged_in_an_integer_result(model_of, map_of):
    lr = map_of((20, 20))
    holed = lr.data.copy()
    holed[10, 10] = np.nan
    result = enhance(model_of("bicubic", 2.0, hr_dtype="uint8"), lr.with_data(holed))
    assert (result.image.data[20:22, 20:22] == 0).all()
    assert result.trust.where("no_data")[10, 10]
    assert not result.trust.where("clipped").any()


def test_a_map_without_any_grey_level_gives_none(model_of):
    lr = Image(np.full((12, 12), np.nan, np.float32), Grid.of((12, 12), 10.0))
    result = enhance(model_of(), lr)
    assert np.isnan(result.image.data).all()
    assert result.trust.shares()["no_data"] == 1.0


def test_the_border_is_flagged_as_wide_as_the_halo(trained, map_of):
    flags = enhance(trained, map_of((50, 60))).trust.where("border")
    h = trained.halo
    assert flags[:h].all()
    assert flags[:, -h:].all()
    assert not flags[h:-h, h:-h].any()


@pytest.mark.parametrize(
    ("name", "sr", "arguments"),
    [("srresnet", 4.0, {"features": 8, "blocks": 12}), ("swinir-light", 2.0, {"layers": 2, "blocks": 2})],
)
def test_beyond_the_flagged_border_a_network_that_sees_far_hardly_needs_what_is_missing(
    model_of, map_of, name, sr, arguments
):
    """Against the same place of a larger map, whose windows lie on the same lattice."""
    model = model_of(name, sr, arguments={**arguments, "bound": 0.5})
    lr, config = map_of((176, 128)), EnhanceConfig(dtype="float32", guard=False, tile=192)
    assert model.halo > 24
    whole = enhance(model, lr, config=config).image.array()
    part = enhance(model, Image(lr.data[96:], Grid.of((80, 128), 10.0)), config=config)
    f = model.factor
    apart = (part.image.array() - whole[96 * f :])[: 24 * f, 60 * f : -60 * f].reshape(24, f, -1)
    influence = np.sqrt(np.mean(apart**2, axis=(1, 2))) / lr.data.std()
    flagged = part.trust.where("border")[:24, 64]
    assert flagged.sum() == 8 and flagged[:8].all()
    assert influence[:2].max() > 0.05 > 0.03 > influence[8:].max(), influence.round(4)


def test_filling_uses_near_pixels_first_then_farther_ones_then_the_default():
    grey = np.full((60, 60), 5.0)
    grey[:, 10:] = np.nan
    bad = np.isnan(grey)
    grey[3:6, 3:6], bad[3:6, 3:6] = np.nan, True
    result = filled(grey, bad, -1.0)
    assert result[4, 4] == pytest.approx(5.0)
    assert result[30, 16] == pytest.approx(5.0)
    assert result[30, 40] == -1.0


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_mirrored_indices_agree_with_numpy_padding(n):
    expected = np.pad(np.arange(n), 7, mode="reflect") if n > 1 else np.zeros(15, int)
    np.testing.assert_array_equal(mirrored(-7, n + 7, n), expected)


def test_pores_at_the_dark_rail_are_marked_but_stay_with_the_network(trained, map_of):
    lr = map_of((64, 96), dtype="uint8")
    grey = lr.data.copy()
    grey[BRIGHT] = 0
    trained.card = replace(trained.card, lr_range=(-50.0, 300.0))
    dark = EnhanceConfig(dtype="float32", saturation=(0.0, None))
    result = enhance(trained, lr.with_data(grey), config=dark)
    assert result.trust.where("saturated")[BRIGHT].all()
    assert not result.trust.where("untrained").any()
