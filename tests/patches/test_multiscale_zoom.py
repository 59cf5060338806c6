"""Zoom levels and the six filters, against Pillow and against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from finescan.errors import InputError
from finescan.patches.zoom import FILTERS, ZoomScale, points, resized, zoomed, zoomed_shape

RNG = np.random.default_rng(3)
EIGHT = RNG.integers(0, 256, (60, 84), dtype=np.uint8)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(15, 21), (31, 50), (90, 126)])
def test_eight_bits_are_pillows_to_the_byte(name, shape):
    expected = np.asarray(Pillow.fromarray(EIGHT, "L").resize(shape[::-1], getattr(Pillow.Resampling, name.upper())))
    found = resized(EIGHT, shape, name, eight_bit=True)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", FILTERS)
def test_other_grey_levels_are_not_squeezed(name):
    fine = RNG.integers(0, 65536, (64, 64), dtype=np.uint16)
    found = resized(fine, (32, 32), name)
    as_eight = resized((fine >> 8).astype(np.uint8), (32, 32), name, eight_bit=True)
    assert found.dtype == np.float32 and len(np.unique(found)) > 900
    assert np.abs(found - 256.0 * as_eight).max() > 100  # eight bits would not do
    if name == "nearest":
        assert np.isin(found, fine).all()


def test_the_box_filter_is_the_mean_of_a_block_and_bicubic_keeps_a_ramp():
    picture = RNG.normal(1000, 100, (40, 48)).astype(np.float32)
    mean = picture.reshape(10, 4, 12, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(resized(picture, (10, 12), "box"), mean, rtol=1e-5)
    ramp = np.add.outer(np.arange(40.0), 3 * np.arange(48.0)).astype(np.float32)
    finer = resized(ramp, (80, 96), "bicubic")
    centres = np.add.outer((np.arange(80) + 0.5) / 2 - 0.5, 3 * ((np.arange(96) + 0.5) / 2 - 0.5))
    np.testing.assert_allclose(finer[8:-8, 8:-8], centres[8:-8, 8:-8], atol=1e-3)


@pytest.mark.parametrize("ratio", [0.35, 0.5, 1.0, 1.3, 2.0])
def test_a_part_of_a_level_is_the_same_part_of_the_whole(ratio):
    picture = RNG.normal(0, 1, (150, 170)).astype(np.float32)
    whole = zoomed(picture, ratio)
    assert whole.shape == zoomed_shape(picture.shape, ratio) == (int(150 * ratio), int(170 * ratio))
    part = zoomed(picture, ratio, (11, 5), (40, 39))
    np.testing.assert_allclose(part, whole[11:40, 5:39], atol=2e-4)


def test_coarser_levels_keep_recorded_pixels_where_they_are():
    index = np.arange(100 * 100, dtype=np.float32).reshape(100, 100)
    coarse = zoomed(index, 0.35).astype(int)
    where = np.stack(np.unravel_index(coarse, index.shape))
    centres = (np.arange(35) + 0.5) / 0.35 - 0.5
    assert np.abs(where[0] - centres[:, None]).max() <= 0.5 + 1e-6
    assert np.abs(where[1] - centres[None, :]).max() <= 0.5 + 1e-6


RAMP = np.add.outer(np.arange(40.0), 10 * np.arange(40.0)).astype(np.float32)


@pytest.mark.parametrize(("level", "factor"), [(1, 2), (1, 3), (1, 4), (0.5, 2), (0.5, 4), (0.75, 2), (0.8, 4)])
def test_points_of_the_sample_are_recorded_pixels_and_not_shifted(level, factor):
    shape = zoomed_shape(RAMP.shape, level / factor)
    versions = points(RAMP, level / factor, (0, 0), shape)
    assert all(np.isin(v, RAMP).all() for v in versions)
    y, x = ((np.arange(n) + 0.5) * factor / level - 0.5 for n in shape)
    error = np.mean(versions, axis=0) - np.add.outer(y, 10 * x)
    assert np.abs(error).max() <= 0.5 * 11 + 1e-3 and abs(error.mean()) < 0.4
    if level == 1:
        assert np.abs(error).max() < 1e-3 and len(versions) == 2 - factor % 2
        published = resized(RAMP[: shape[0] * factor, : shape[1] * factor], shape, "nearest")
        np.testing.assert_array_equal(versions[-1], published)  # which is half a pixel beside, for even factors


@pytest.mark.parametrize("level", [1.3, 1.714, 2.0])
def test_points_of_an_interpolated_picture_are_its_own_where_there_is_a_middle_pixel(level):
    picture = RNG.normal(100, 20, (60, 80)).astype(np.float32)
    fine = zoomed(picture, level)
    shape = zoomed_shape(picture.shape, level / 3)
    (found,) = points(picture, level / 3, (0, 0), shape, interpolated=True)
    np.testing.assert_allclose(found, fine[1::3, 1::3][: shape[0], : shape[1]], atol=2e-3)
    (part,) = points(picture, level / 3, (5, 7), (11, 20), interpolated=True)
    np.testing.assert_allclose(part, found[5:11, 7:20], atol=1e-4)


def test_points_between_interpolated_pixels_are_not_shifted_either():
    (found,) = points(RAMP, 2 / 4, (0, 0), (20, 20), interpolated=True)
    centres = (np.arange(20) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(found[2:-2, 2:-2], np.add.outer(centres, 10 * centres)[2:-2, 2:-2], atol=1e-3)


def test_levels_of_both_kinds_of_scale():
    assert ZoomScale(5, "MX").ratios([1.25, 5, 10]) == (0.25, 1.0, 2.0)
    assert ZoomScale(24, "nm").ratios([48, 24, 12]) == (0.5, 1.0, 2.0)
    for scale in (ZoomScale(5, "MX"), ZoomScale(24, "nm")):
        for level in (6.0, 7.25, 13.0, 17.0):
            assert scale.level(scale.ratio(level)) == level
    assert ZoomScale(24, "nm").named(2.0) == "12 nm"


def test_refusals():
    with pytest.raises(InputError, match="counted in MX, x, nm, pm, but 'inch' came"):
        ZoomScale(5, "inch")
    with pytest.raises(InputError, match="must be a positive number, but -5 came"):
        ZoomScale(-5)
    with pytest.raises(InputError, match="must be a positive number, but 0 came"):
        ZoomScale(5).ratio(0)
    with pytest.raises(InputError, match="one of nearest, lanczos, bilinear, bicubic, box, hamming, but 'sinc' came"):
        resized(EIGHT, (3, 3), "sinc")
    with pytest.raises(InputError, match=r"needs 8-bit grey levels \(uint8\), but uint16 came.*to_eight_bit"):
        resized(EIGHT.astype(np.uint16), (3, 3), "box", eight_bit=True)
