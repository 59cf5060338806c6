"""The error of a map against the sample is told from the noise of what it is compared with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.noise_free import fit_noise_free, gain_db, noise_free, products_of
from finescan.trust.spread_model import Example, SpreadModel, fit_spread, flat_spread

SHAPE = (300, 320)


def smooth(seed: int, rms: float = 1.0, sigma: float = 1.3, shape=SHAPE) -> np.ndarray:
    """Errors that are alike over some pixels, as those of a map are."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return rms * field / field.std()


def noise(seed: int, rms: float, shape=SHAPE) -> np.ndarray:
    return rms * np.random.default_rng(1000 + seed).standard_normal(shape)


@pytest.mark.parametrize("loud", [0.5, 1.0, 3.0])
def test_the_error_is_found_under_noise_up_to_three_times_as_large(loud):
    found = noise_free(products_of([smooth(0, 10.0) + noise(0, 10 * loud)], 40))
    assert found.rms == pytest.approx(10, rel=0.06) and found.noise_rms == pytest.approx(10 * loud, abs=0.8)
    assert found.low < found.rms < found.high and found.low < 10 < found.high * (1 + found.standard_error / 10)
    assert found.recorded_rms == pytest.approx(10 * np.hypot(1, loud), rel=0.02)
    assert abs(found.rms - 10) < 4 * found.standard_error + 0.4 and found.blocks == 8 * 8


def test_sharper_and_smoother_errors_lie_between_the_two_extrapolations():
    for sigma in (1.0, 2.0):
        found = noise_free(products_of([smooth(1, 10.0, sigma) + noise(1, 10)], 40))
        assert found.low * 0.99 < 10 < found.high * 1.01, sigma


def test_a_perfect_map_is_not_told_apart_from_noise_and_the_bound_says_how_good_it_is():
    found = noise_free(products_of([noise(2, 10)], 40))
    assert np.isnan(found.rms) and np.isnan(found.standard_error) and found.to_dict()["rms"] is None
    assert 0 < found.high < 2 and found.noise_rms == pytest.approx(10, rel=0.02)


def test_noise_that_is_alike_along_a_line_does_not_count_as_error():
    lines = np.repeat(noise(3, 10)[:, :1], SHAPE[1], axis=1)  # every row a little brighter or darker
    found = noise_free(products_of([smooth(3, 5.0) + lines + noise(4, 3)], 40))
    assert found.rms == pytest.approx(5, rel=0.15)


def test_unknown_pixels_and_several_scans_are_taken_together():
    whole = smooth(5, 10.0) + noise(5, 10)
    left, right = whole.copy(), whole.copy()
    left[:, 160:], right[:, :160] = np.nan, np.nan
    found, apart = noise_free(products_of([left, right], 40)), noise_free(products_of([whole], 40))
    assert found.rms == pytest.approx(apart.rms, rel=0.01) and found.blocks == apart.blocks
    holes = whole.copy()
    holes[np.random.default_rng(0).random(SHAPE) < 0.1] = np.nan
    assert noise_free(products_of([holes], 40)).rms == pytest.approx(10, rel=0.08)


def test_the_gain_is_that_of_the_errors_and_not_of_the_pixels():
    fine = noise(6, 20)
    ours, other = (products_of([smooth(7, rms) + fine], 40) for rms in (5.0, 10.0))
    gain, error = gain_db(ours, other)
    assert gain == pytest.approx(6.02, abs=1.5) and 0.05 < error < 1.0
    as_recorded = 20 * np.log10(noise_free(other).recorded_rms / noise_free(ours).recorded_rms)
    assert as_recorded < 1.5
    assert np.isnan(gain_db(products_of([fine], 40), other)[0])


def test_where_the_error_is_large_is_found_under_noise_that_follows_something_else():
    """Errors grow with the gradient, noise with the grey level: a regression on differences cannot tell them apart."""
    seen = (1000 + smooth(8, 300, 6.0)).astype(np.float32)
    steep = np.hypot(*np.gradient(seen))
    true = 3 + 0.5 * steep
    error = (smooth(9) * true + noise(9, 1.0) * 0.06 * seen).astype(np.float32)
    model = fit_spread([Example(seen, error, np.ones(SHAPE, bool))], (4.0, 4.0))
    found = fit_noise_free([seen], [error], model)
    assert np.corrcoef(found.spread(seen).ravel(), true.ravel())[0, 1] > 0.9
    assert np.corrcoef(model.spread(seen).ravel(), true.ravel())[0, 1] < 0.5
    for part in (true < np.quantile(true, 0.25), true > np.quantile(true, 0.75)):
        rms = np.sqrt(np.mean(found.spread(seen)[part] ** 2))
        assert rms == pytest.approx(np.sqrt(np.mean(true[part] ** 2)), rel=0.25)
    assert SpreadModel.from_dict(found.to_dict()) == found


def test_too_little_is_refused():
    with pytest.raises(InputError, match=r"at least 4096 neighbouring held-out pixels in two blocks are needed, but 1"):
        products_of([noise(0, 1)[:40, :40]], 20)
    with pytest.raises(InputError, match=r"in two blocks are needed, but \d+ in 1 came\."):
        products_of([noise(0, 1)], 1000)
    with pytest.raises(InputError, match=r"at least 4096 neighbouring pixels are needed, but 1\d{3} came"):
        fit_noise_free([np.ones((40, 40), np.float32)], [noise(0, 1)[:40, :40]], flat_spread((4.0, 4.0)))
