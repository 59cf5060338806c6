"""What an ensemble says of its spread is written beside the result, tile by tile, and only when asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.enhancement import sink as sink_room
from finescan.models import Model, build
from finescan.models.windows import JOININGS

ASKED = EnhanceConfig(tile=16, spread=True, dtype="float32")
SMOOTH = EnhanceConfig(tile=16, spread=True, dtype="float32", blending="smooth", overlap=3)


@pytest.fixture
def ensemble(model_of):
    """Two networks that differ."""

    def make(name="fast", sr=4.0, factor=None, **facts):
        one = model_of(name, sr, factor, **facts)
        other = build(name, one.card.factor, one.card.arguments)
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for mine, theirs in zip(other.parameters(), one.members[0].parameters(), strict=True):
                mine.copy_(theirs + 0.05 * torch.randn(mine.shape, generator=generator))
        return Model([one.members[0], other], one.card)

    return make


def whole(model, lr):
    """Mean and spread of the undivided map."""
    h, f = model.halo, model.factor
    crop = slice(h * f, -h * f)
    block = np.pad(lr.array().astype(np.float32), h, mode="reflect")
    return [a[crop, crop] for a in model.predict_spread(block)]


def test_tiled_spread_equals_that_of_the_undivided_map(ensemble, map_of):
    model, lr = ensemble(), map_of((40, 52))
    done = enhance(model, lr, config=ASKED)
    mean, spread = whole(model, lr)
    assert done.spread.grid == done.image.grid and done.spread.dtype == np.float32
    assert spread.std() > 0.1  # the members do differ, and not everywhere alike
    np.testing.assert_allclose(done.spread.data, spread, atol=1e-4 * spread.max())
    np.testing.assert_allclose(done.image.data, mean, atol=1e-3)


def test_the_spread_is_half_the_distance_of_two_members(ensemble, map_of):
    model, lr = ensemble(), map_of((30, 30))
    plain = EnhanceConfig(dtype="float32", guard=False)
    apart = [enhance(Model(m, model.card), lr, config=plain).image.data for m in model.members]
    done = enhance(model, lr, config=EnhanceConfig(dtype="float32", guard=False, spread=True))
    np.testing.assert_allclose(done.spread.data, abs(apart[0] - apart[1]) / 2, atol=1e-3)


@pytest.mark.parametrize("config", [ASKED, SMOOTH])
def test_a_folder_holds_the_same_spread_and_goes_on_with_the_same_bits(config, ensemble, map_of, tmp_path, monkeypatch):
    model, lr = ensemble("fast", 2.67, 2), map_of((50, 70))
    memory = enhance(model, lr, config=config)
    calls, predict = [0], Model.predict_spread

    def dying(self, block, **how):
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return predict(self, block, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "predict_spread", dying)
        with pytest.raises(KeyboardInterrupt):
            enhance(model, lr, folder=tmp_path, config=config)
    rest = enhance(model, lr, folder=tmp_path, config=config)
    assert rest.computed > 0
    np.testing.assert_array_equal(rest.spread.array(), memory.spread.data)
    np.testing.assert_array_equal(rest.image.array(), memory.image.data)
    stored = io.read(tmp_path / sink_room.SPREAD)
    np.testing.assert_array_equal(stored.array(), memory.spread.data)
    assert stored.grid.pixel_size_nm == pytest.approx(memory.image.grid.pixel_size_nm)
    again = enhance(model, lr, folder=tmp_path, config=config)
    assert again.computed == 0
    np.testing.assert_array_equal(again.spread.array(), memory.spread.data)


def test_blended_tiles_leave_no_steps_in_the_spread(ensemble, map_of):
    model, lr = ensemble(), map_of((48, 48))
    exact, smooth = enhance(model, lr, config=ASKED), enhance(model, lr, config=SMOOTH)
    np.testing.assert_allclose(smooth.spread.data, exact.spread.data, atol=1e-3 * exact.spread.data.max())


def test_nothing_is_computed_or_written_unless_asked_for(ensemble, map_of, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "predict_spread", lambda *_, **__: pytest.fail("the spread was not asked for"))
    done = enhance(ensemble(), map_of((20, 20)), folder=tmp_path)
    assert done.spread is None and not (tmp_path / sink_room.SPREAD).exists()


def test_a_single_network_says_nothing(model_of, map_of):
    assert enhance(model_of("fast"), map_of((20, 20)), config=ASKED).spread is None


def test_members_that_agree_are_still_not_certain(model_of, map_of):
    one = model_of("fast")
    done = enhance(Model([one.members[0]] * 2, one.card), map_of((20, 20)), config=ASKED)
    assert 0 < done.spread.data.min() == done.spread.data.max() < 1e-3


def test_windows_state_their_spread_too(ensemble, map_of):
    model, lr, windows = ensemble(), map_of((60, 60)), JOININGS["centre"]
    done = enhance(model, lr, config=EnhanceConfig(dtype="float32", spread=True, guard=False, blending="centre"))
    padded = np.pad(lr.array(), windows.reach, mode="reflect")
    _, spread = model.predict_spread(padded, windows=windows, context=windows.reach)
    crop = slice(windows.reach * 4, -windows.reach * 4)
    np.testing.assert_allclose(done.spread.data, spread[crop, crop], atol=1e-4 * spread.max())
