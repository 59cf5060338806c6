"""Grey levels of enhanced volumes: number formats, missing voxels, and where the network is not to be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
from finescan.values import Circle, Grid, Image

Make = Callable[..., Any]
BLOCKS = VolumeEnhanceConfig(block=(16, 24, 32))


def flat(level: float, shape: tuple[int, int, int] = (16, 24, 28), noise: float = 0.0, dtype: Any = "float32") -> Image:
    """A volume of one grey level."""
    grey = level + np.random.default_rng(0).normal(0, noise, shape) if noise else np.full(shape, level)
    return Image(grey.astype(dtype), Grid.of(shape, 1000.0), "flat.tif")


def test_the_format_is_that_of_the_fine_scan_and_nothing_is_cut_off_silently(volume_model: Make) -> None:
    model = volume_model("interpolated", gain=2.0, offset=-30.0, hr_dtype="uint8")
    lr = flat(100.3)
    lr.data[4, 5, 6] = 200.0
    result = enhance_volume(model, lr)
    assert result.image.dtype == np.uint8 and result.image.data[0, 0, 0] == 171  # 170.6 rounded
    assert result.image.data[4, 5, 6] == 255
    assert np.argwhere(result.trust.where("clipped")).tolist() == [[4, 5, 6]]
    assert "1 voxels" in result.notes[0] and "dtype='float32'" in result.notes[0]
    exact = enhance_volume(model, lr, config=VolumeEnhanceConfig(dtype="float32"))
    assert exact.image.data[4, 5, 6] == pytest.approx(370.0, abs=1e-3) and not exact.notes
    assert not exact.trust.where("clipped").any()


def test_clipped_marks_the_coarse_voxel_over_the_fine_one(volume_model: Make) -> None:
    model = volume_model("interpolated", 2.5, hr_dtype="uint8")
    lr = flat(100.0)
    lr.data[9, 10, 11] = 400.0
    flagged = np.argwhere(enhance_volume(model, lr, config=BLOCKS).trust.where("clipped"))
    assert [9, 10, 11] in flagged.tolist()
    assert np.abs(flagged - (9, 10, 11)).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_without_a_recorded_grey_level_there_is_none(volume_model: Make, dtype: str) -> None:
    model = volume_model(sr=2.0, hr_dtype=dtype)
    lr = flat(100.0, noise=5.0)
    lr.data[:, :5, :6] = np.nan
    result = enhance_volume(model, lr, config=BLOCKS)
    empty = np.zeros((32, 48, 56), bool)
    empty[:, :10, :12] = True
    if dtype == "float32":
        assert np.array_equal(np.isnan(result.image.data), empty)
    else:
        assert np.all(result.image.data[empty] == 0)
    assert np.array_equal(result.trust.where("no_data"), np.isnan(lr.data))


def test_outside_the_circle_nothing_is_computed(volume_model: Make) -> None:
    model, lr = volume_model(), flat(100.0, (8, 40, 40), noise=5.0)
    circle = Circle.inscribed(lr.grid)
    everything = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(8, 8, 8)))
    inside = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(8, 8, 8), circle=circle))
    mask = np.broadcast_to(circle.mask(lr.grid), lr.grid.shape)
    assert np.array_equal(~np.isnan(inside.image.data), mask)
    assert np.array_equal(inside.image.data[mask], everything.image.data[mask])
    assert np.array_equal(~inside.trust.where("no_data"), mask)


def test_interpolation_takes_over_where_the_grey_level_was_never_seen(volume_model: Make) -> None:
    model = volume_model(lr_range=(80.0, 120.0), gain=1.1, offset=3.0)
    lr = flat(100.0, (24, 40, 40))
    lr.data[8:16, 20:, 20:] = 160.0
    with_guard = enhance_volume(model, lr).image.data
    without = enhance_volume(model, lr, config=VolumeEnhanceConfig(guard=False)).image.data
    assert with_guard[12, 30, 30] == pytest.approx(1.1 * 160 + 3, rel=1e-5)
    assert without[12, 30, 30] != pytest.approx(1.1 * 160 + 3, rel=1e-3)
    assert np.array_equal(with_guard[:, :8, :8], without[:, :8, :8])
    steps = np.abs(np.diff((with_guard - without)[12, :, 4]))
    assert steps.max() < 5  # a ramp, not a seam


def test_the_flag_stands_where_interpolation_had_a_share(volume_model: Make) -> None:
    lr = flat(100.0, (24, 40, 40))
    lr.data[10:14, 28:32, 28:32] = 200.0
    guarded = enhance_volume(volume_model(sr=2.0, lr_range=(80.0, 120.0)), lr, config=BLOCKS)
    open_ = enhance_volume(volume_model(sr=2.0), lr, config=BLOCKS)
    changed = np.abs(guarded.image.data - open_.image.data) > 0
    coarse = changed.reshape(24, 2, 40, 2, 40, 2).any(axis=(1, 3, 5))
    flagged = guarded.trust.where("untrained")
    assert coarse.any() and np.all(flagged[coarse]) and flagged.mean() < 0.3


def test_a_hole_in_the_volume_is_no_reason_to_paint_structure_around_it(volume_model: Make) -> None:
    model = volume_model(sr=2.0)
    lr = flat(100.0, (16, 24, 24))
    lr.data[8, 12, 12] = np.nan
    result = enhance_volume(model, lr).image.data
    around = result[12:22, 20:30, 20:30]  # as far as the interpolation reaches
    assert np.isnan(around[4:6, 4:6, 4:6]).all() and np.isnan(result).sum() == 8
    assert around[~np.isnan(around)] == pytest.approx(100.0, abs=1e-3)


def test_saturated_voxels_are_found_and_flagged(volume_model: Make) -> None:
    lr = flat(100.0, noise=5.0, dtype="uint8")
    lr.data[6:10, 6:12, 6:12] = 255
    result = enhance_volume(volume_model(), lr, config=BLOCKS)
    assert np.array_equal(result.trust.where("saturated"), lr.data == 255)
    assert np.all(result.trust.where("untrained")[6:10, 6:12, 6:12])
    given = enhance_volume(volume_model(), lr, config=VolumeEnhanceConfig(saturation=(None, None)))
    assert not given.trust.where("saturated").any()


def test_the_border_is_where_the_context_was_mirrored_but_no_wider_than_eight_voxels(volume_model: Make) -> None:
    model = volume_model("deepnet", sr=2.0)  # halo 12 or so in the plane, 4 along z
    assert model.halo > 8 and model.halo_z == 4
    border = enhance_volume(model, flat(100.0, (12, 40, 40)), config=BLOCKS).trust.where("border")
    wide = 4  # coarse voxels
    assert not border[2:-2, wide:-wide, wide:-wide].any() and border[1].all() and border[:, wide - 1].all()


def test_the_input_is_left_as_it_was(volume_model: Make) -> None:
    lr = flat(100.0, noise=5.0)
    lr.data[0, 0, 0] = np.nan
    before = lr.data.copy()
    lr.data.flags.writeable = False
    enhance_volume(volume_model(sr=1.5), lr)
    assert np.array_equal(lr.data, before, equal_nan=True)
