"""The spread is learned where errors are known, follows what makes them large, and is the same band by band."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import spread_map
from finescan.trust.spread_map import SpreadMap
from finescan.trust.spread_model import Example, SpreadModel, fit_spread
from finescan.values import Grid, Image

SCALE = (4.0, 4.0)


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((200, 240)), 8)
    return (1000 + 300 * smooth / smooth.std()).astype(np.float32)


def fitted(picture, size, seed=1, raw=None):
    error = (size * np.random.default_rng(seed).standard_normal(picture.shape)).astype(np.float32)
    return fit_spread([Example(picture, error, np.ones(picture.shape, bool), raw)], SCALE)


def test_noise_that_grows_with_the_grey_level_is_found(picture):
    size = 20 * np.exp((picture - 1000) / 400)
    spread = fitted(picture, size).spread(picture)
    inner = (slice(8, -8),) * 2
    assert np.corrcoef(np.log(spread[inner]).ravel(), np.log(size[inner]).ravel())[0, 1] > 0.98
    assert np.median(spread / size) == pytest.approx(0.6745, rel=0.1)  # median |error| of a Gaussian
    assert spread.dtype == np.float32 and spread.min() > 0


def test_errors_at_edges_are_found():
    y, x = np.indices((160, 160))
    steps = np.where((x // 40 + y // 40) % 2, 200.0, 100.0).astype(np.float32)
    edge = ndimage.gaussian_gradient_magnitude(steps, 1.0) > 5
    spread = fitted(steps, np.where(edge, 30.0, 3.0)).spread(steps)
    assert np.median(spread[edge]) > 3 * np.median(spread[~edge])


def test_equal_errors_everywhere_give_an_equal_spread(picture):
    spread = fitted(picture, np.full(picture.shape, 25.0)).spread(picture)
    assert spread.max() / spread.min() < 1.15


def test_a_spread_that_the_network_states_is_used_where_it_tells_something(picture):
    rng = np.random.default_rng(3)
    raw = np.exp(ndimage.gaussian_filter(rng.standard_normal(picture.shape), 5) * 8).astype(np.float32)
    model = fitted(picture, 10 * raw, raw=raw)
    assert model.uses_raw and not fitted(picture, 10 * raw).uses_raw
    spread = model.spread(picture, raw)
    assert np.corrcoef(np.log(spread).ravel(), np.log(raw).ravel())[0, 1] > 0.95
    with pytest.raises(InputError, match="fitted with the network's own spread, but none came"):
        model.spread(picture)


def test_what_does_not_hold_elsewhere_is_shrunk_away(picture):
    """Left and right blocks follow opposite laws: nothing learned on one half holds on the other."""
    y, x = np.indices(picture.shape)
    sign = np.where((y // 32 + x // 32) % 2, 1.0, -1.0)
    model = fitted(picture, 20 * np.exp(1.5 * sign * (picture - 1000) / 300))
    assert model.shrinkage == 0.0
    assert np.ptp(model.spread(picture)) == 0.0


def test_spreads_are_bounded_and_missing_grey_levels_do_no_harm(picture):
    model = fitted(picture, 20 * np.exp((picture - 1000) / 200))
    wild = picture.copy()
    wild[:50] = 1e7
    wild[60:80] = np.nan
    spread = model.spread(wild)
    assert np.isfinite(spread).all()
    assert spread.max() / model.typical < 12.5 and model.typical / spread.min() < 12.5


def test_a_large_offset_costs_no_digits(picture):
    size = 20 * np.exp((picture - 1000) / 400)
    near, far = fitted(picture, size), fitted((picture + np.float32(1e5)), size)
    np.testing.assert_allclose(far.spread(picture + np.float32(1e5)), near.spread(picture), rtol=0.02)


def test_too_few_pixels_are_refused(picture):
    known = np.zeros(picture.shape, bool)
    known[0, :100] = True
    with pytest.raises(InputError, match=r"at least 256 pixels with a fine scan, but 100 are known"):
        fit_spread([Example(picture, picture, known)], SCALE)


def test_a_model_survives_json(picture):
    model = fitted(picture, 20 * np.exp((picture - 1000) / 400))
    again = SpreadModel.from_dict(json.loads(json.dumps(model.to_dict())))
    np.testing.assert_array_equal(again.spread(picture), model.spread(picture))


@pytest.mark.parametrize("shape", [(200, 240), (24, 40, 36)])
def test_a_map_read_in_boxes_is_the_same_as_at_once(shape, monkeypatch):
    monkeypatch.setattr(spread_map, "BAND_PIXELS", 7 * int(np.prod(shape[1:])))
    rng = np.random.default_rng(4)
    data = ndimage.gaussian_filter(rng.standard_normal(shape), 3).astype(np.float32)
    error = (np.abs(data) * rng.standard_normal(shape)).astype(np.float32)
    model = fit_spread([Example(data, error, np.ones(shape, bool))], (2.0,) * len(shape))
    lazy, whole = SpreadMap(model, Image(data, Grid.of(shape, 1.0))), model.spread(data)
    assert lazy.shape == shape and lazy.dtype == np.float32
    np.testing.assert_array_equal(lazy[...], whole)
    np.testing.assert_array_equal(np.concatenate([lazy[k : k + 5] for k in range(0, shape[0], 5)]), whole)
    box = tuple(slice(n // 3, n // 3 + 4) for n in shape)
    np.testing.assert_array_equal(lazy[box], whole[box])
    np.testing.assert_array_equal(np.asarray(lazy.times(2.0)), 2 * whole)
    np.testing.assert_array_equal(lazy[3], whole[3])
    np.testing.assert_array_equal(lazy[2:9, -1], whole[2:9, -1])
    with pytest.raises(IndexError):
        lazy[shape[0]]
    with pytest.raises(InputError, match="read in boxes"):
        lazy[::2]


def test_places_without_data_have_no_spread(picture):
    model = fitted(picture, np.full(picture.shape, 25.0))
    grid = Grid.of(picture.shape, 1.0)
    gone = np.zeros((50, 60), bool)
    gone[10:20, 5:9] = True
    lazy = SpreadMap(model, Image(picture, grid), missing=Image(gone, grid.coarsen(4), "no data"))
    expected = np.repeat(np.repeat(gone, 4, axis=0), 4, axis=1)
    np.testing.assert_array_equal(np.isnan(lazy[...]), expected)
    np.testing.assert_array_equal(np.isnan(lazy[37:90, 3:33]), expected[37:90, 3:33])
    holed = picture.copy()
    holed[3, 7] = np.nan
    assert np.argwhere(np.isnan(SpreadMap(model, Image(holed, grid))[...])).tolist() == [[3, 7]]


def test_shrinkage_is_a_power(picture):
    model = replace(fitted(picture, 20 * np.exp((picture - 1000) / 400)), shrinkage=1.0)
    half = replace(model, shrinkage=0.5).spread(picture) / model.typical
    np.testing.assert_allclose(half**2, model.spread(picture) / model.typical, rtol=1e-5)
