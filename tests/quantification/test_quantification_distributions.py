"""Histograms and box plots against numpy and matplotlib's definitions."""

import json

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.quantification import box_statistics, distribution, quantify


def test_bins_start_at_zero_and_hold_every_value():
    d = distribution([0.0, 4.9, 5.0, 12.0, np.nan], 5.0)
    np.testing.assert_array_equal(d.edges, [0, 5, 10, 15])
    np.testing.assert_array_equal(d.counts, [2, 1, 1])
    assert d.counts.dtype == np.int64 and list(d.centres) == [2.5, 7.5, 12.5]


def test_bins_can_be_shared():
    assert len(distribution([3.0], 5.0, stop=40.0).counts) == 8
    assert distribution([], 5.0).counts.sum() == 0


def test_a_bin_width_must_be_positive():
    with pytest.raises(InputError, match="A bin width must be positive, but 0 came"):
        distribution([1.0], 0.0)


def test_box_statistics_are_quartiles_whiskers_and_outliers():
    v = np.r_[np.linspace(0.8, 1, 41), 0.3, np.nan]
    b = box_statistics(v)
    assert b.n == 42 and b.outliers == (0.3,)
    assert b.low == pytest.approx(0.8) and b.high == pytest.approx(1)
    assert (b.q1, b.median, b.q3) == pytest.approx(tuple(np.nanquantile(v, (0.25, 0.5, 0.75))))
    assert b.mean == pytest.approx(np.nanmean(v))


def test_one_value_and_none():
    assert box_statistics([2.0]).median == 2 and np.isnan(box_statistics([2.0]).std)
    assert box_statistics([]).n == 0 and box_statistics([]).to_dict()["mean"] is None


def test_a_summary_is_plain_json(foam):
    found = quantify(foam[0])
    back = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert back["objects"] == 12 and sum(back["sizes"]["counts"]) == 12
    assert back["porosity"] == pytest.approx(found.porosity)
