"""The stand-in for calibrated uncertainty: structure counts, noise does not, flags count more."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.rescan.doubt import FLAG_WEIGHTS, expected_error, flag_sentences
from finescan.values import FLAGS, Grid, TrustMap, flag_bits


def flags(shape, **where) -> TrustMap:
    out = np.zeros(shape, np.uint8)
    for name, box in where.items():
        out[box] |= flag_bits(name)
    return TrustMap(out, Grid.of(shape, 50.0))


def test_structure_is_expected_to_be_wrong_and_noise_is_not():
    rng = np.random.default_rng(0)
    coarse = rng.normal(100, 3, (200, 200)).astype(np.float32)
    coarse[:, 100:] += 40 * (np.indices((200, 100)).sum(0) // 5 % 2)
    error = expected_error(coarse, flags(coarse.shape), noise_sigma=3.0)
    assert error.min() >= 0 and error.dtype == np.float32
    assert error[:, 110:].mean() > 100 * error[:, :90].mean()
    assert error[:, :90].mean() < 0.3 * 9  # the variance of the noise is taken off


@pytest.mark.parametrize("name", FLAG_WEIGHTS)
def test_a_flag_multiplies_what_is_expected(name):
    coarse = np.tile([[0.0, 20.0], [20.0, 0.0]], (50, 50)).astype(np.float32)
    box = (slice(40, 60), slice(40, 60))
    error = expected_error(coarse, flags(coarse.shape, **{name: box}))
    assert error[50, 50] == pytest.approx(FLAG_WEIGHTS[name] * error[10, 10], rel=1e-5)
    assert name in FLAGS


def test_a_saturated_plateau_is_as_doubtful_as_the_rest_of_the_map():
    rng = np.random.default_rng(1)
    coarse = rng.normal(100, 20, (200, 200)).astype(np.float32)
    box = (slice(50, 100), slice(50, 100))
    coarse[box] = 255
    plain = expected_error(coarse, flags(coarse.shape))
    marked = expected_error(coarse, flags(coarse.shape, saturated=box))
    assert plain[75, 75] == pytest.approx(0, abs=1e-2)
    assert marked[75, 75] > 2 * plain[150:, 150:].mean()


def test_where_there_is_no_data_nothing_is_expected():
    coarse = np.random.default_rng(2).normal(100, 20, (60, 60)).astype(np.float32)
    coarse[:10] = np.nan
    error = expected_error(coarse, flags(coarse.shape, no_data=(slice(50, 60), slice(None))))
    assert (error[:10] == 0).all() and (error[50:] == 0).all() and (error[20:40] > 0).any()
    assert np.isfinite(error).all()


def test_flags_in_sentences():
    trust = flags((10, 10), untrained=(slice(0, 5), slice(None)), border=(slice(0, 1), slice(None)))
    assert flag_sentences(trust, (slice(0, 10), slice(0, 10))) == ["50 % untrained.", "10 % border."]
    assert flag_sentences(trust, (slice(5, 10), slice(0, 10))) == ["No flag, but much structure."]
    assert flag_sentences(flags((4, 4), no_data=(slice(0, 4), slice(0, 4))), (slice(0, 2), slice(0, 2))) == [
        "100 % no data."
    ]
