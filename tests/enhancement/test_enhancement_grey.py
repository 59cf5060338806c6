"""Grey levels mean the same afterwards: the fine scan's statistics, its number format, nothing clipped in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finescan.enhancement import EnhanceConfig, enhance
from finescan.enhancement.engine import in_format
from finescan.errors import InputError
from finescan.values import GreyStatistics, Grid, Image


def test_grey_levels_are_those_of_the_fine_scan_not_of_the_coarse_one(model_of, map_of):
    """hr = -40 lr + 9000: the mean and spread of the result are the target's."""
    lr = map_of((80, 80))
    hr = GreyStatistics(9000 - 40 * 100.0, 40 * 30.0, 0.0, 9000.0)
    model = model_of("nearest", 4.0, gain=-40.0, offset=9000.0, hr_grey=hr, hr_dtype="uint16")
    result = enhance(model, lr)
    assert result.image.dtype == np.uint16
    np.testing.assert_allclose(result.image.data.mean(), 9000 - 40 * lr.data.mean(), rtol=1e-4)
    np.testing.assert_allclose(result.image.data.std(), 40 * lr.data.std(), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_integers_are_rounded_and_what_does_not_fit_is_set_to_the_limit_and_counted(dtype):
    info = np.iinfo(dtype)
    grey = np.array([[1.4, 1.6, -0.4], [info.max, info.max * 1.01 + 10, info.min * 1.01 - 10]], np.float32)
    pixels, clipped = in_format(grey, None, np.dtype(dtype))
    assert pixels.dtype == dtype
    assert pixels[0].tolist() == [1, 2, 0]
    assert pixels[1, 1] == info.max
    assert pixels[1, 2] == info.min
    assert clipped[1, 1]
    assert clipped[1, 2]
    assert not clipped[0].any()


@pytest.mark.parametrize(("tile", "ratio"), [(64, 4.0), (9, 4.0), (9, 2.67), (7, 1.5)])
def test_clipped_pixels_are_counted_flagged_and_told(tile, ratio, model_of, map_of):
    lr = map_of((40, 50))
    grey = lr.data.copy()
    grey[20, 30], grey[5, 7] = 400.0, -30.0
    model = model_of("nearest", ratio, max(1, int(ratio)), hr_dtype="uint8")
    config = EnhanceConfig(tile=tile, guard=False)
    result = enhance(model, lr.with_data(grey), config=config)
    free = enhance(model, lr.with_data(grey), config=EnhanceConfig(dtype="float32", guard=False)).image.data
    outside = (np.rint(free) < 0) | (np.rint(free) > 255)
    assert result.image.data.max() == 255
    assert result.notes[0].startswith(f"{np.count_nonzero(outside)} pixels (")
    assert "set to its limit" in result.notes[0]
    clipped = result.trust.where("clipped")
    assert clipped[20, 30]
    assert clipped[5, 7]
    # every clipped output pixel lies over a flagged coarse pixel, and none is flagged without reason
    under = [
        np.clip(np.floor(np.arange(n) * s + o + 0.5 + 1e-9).astype(int), 0, m - 1)
        for n, m, s, o in zip(outside.shape, grey.shape, *result.image.grid.step_to(lr.grid), strict=True)
    ]
    expected = np.zeros(grey.shape, bool)
    expected[tuple(u[i] for u, i in zip(under, np.nonzero(outside), strict=True))] = True
    np.testing.assert_array_equal(clipped, expected)


def test_floats_keep_what_integers_could_not(model_of, map_of):
    lr = map_of((20, 20))
    lr.data[3, 3] = 1e5
    result = enhance(model_of("nearest", 2.0, hr_dtype="uint8"), lr, config=EnhanceConfig(dtype="float32", guard=False))
    assert result.image.data.max() == pytest.approx(1e5)
    assert not result.notes


def test_the_normalisation_is_the_cards_and_not_the_tiles(model_of, map_of):
    """The same pixels give the same answer whatever lies far away."""
    model = model_of("fast", 2.0)
    lr = map_of((30, 120))
    other = lr.data.copy()
    other[:, 80:] = other[:, 80:] * 0.2 + 7
    a, b = (enhance(model, lr.with_data(d), config=EnhanceConfig(tile=200)).image.data for d in (lr.data, other))
    np.testing.assert_allclose(a[:, :120], b[:, :120], rtol=1e-6)
    assert np.abs(a[:, 180:] - b[:, 180:]).max() > 10


def test_read_only_maps_of_any_format_are_accepted_and_unchanged(model_of, map_of):
    for dtype in ("uint8", "uint16", "int16", "float32", "float64", ">u2"):
        lr = map_of((21, 22), dtype=dtype)
        before = lr.data.copy()
        lr.data.flags.writeable = False
        result = enhance(model_of("bicubic", 2.0), lr)
        np.testing.assert_array_equal(lr.data, before)
        assert result.image.dtype == np.float32


def test_torch_is_left_as_it_was(model_of, map_of):
    threads = torch.get_num_threads()
    model = model_of("fast", 2.0)
    enhance(model, map_of((20, 20)), config=EnhanceConfig(threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert model.device.type == "cpu"


def test_the_facts_of_the_map_travel_to_the_result(model_of):
    lr = Image(np.ones((10, 10), np.float32), Grid.of((10, 10), 10.0, (5.0, 7.0)), "overview.tif")
    result = enhance(model_of("bicubic", 2.0), lr)
    assert result.image.name == "overview enhanced"
    assert result.image.acquisition == lr.acquisition
    assert result.image.grid.edge_nm == lr.grid.edge_nm
    assert "1 blocks" in str(result)


class Homesick:
    """A model that cannot leave the processor."""

    def __init__(self, inner):
        self.card, self.halo, self.factor, self.predict = inner.card, inner.halo, inner.factor, inner.predict
        self.device, self.windows = "cpu", None

    def to(self, device):
        if device != "cpu":
            raise RuntimeError("CUDA driver version is insufficient")
        return self


def test_a_graphics_card_that_does_not_work_is_said_and_the_processor_used(model_of, map_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model, lr = model_of("bicubic", 2.0), map_of((20, 20))
    result = enhance(Homesick(model), lr)
    assert result.notes == ("The graphics card could not be used; computing on the processor.",)
    np.testing.assert_array_equal(result.image.data, enhance(model, lr, config=EnhanceConfig(device="cpu")).image.data)


def test_a_device_that_was_asked_for_must_work(model_of, map_of):
    with pytest.raises(InputError, match=r"device cuda:7 cannot be used \(CUDA driver.*Pass device='cpu'"):
        enhance(Homesick(model_of("bicubic", 2.0)), map_of((20, 20)), config=EnhanceConfig(device="cuda:7"))
