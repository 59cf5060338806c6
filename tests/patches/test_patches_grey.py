"""Saturation, grey map, filling of holes."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.patches import saturation_levels
from finescan.patches.grey import filled, grey_map


def test_a_clipped_scan_is_saturated_where_it_was_clipped() -> None:
    rng = np.random.default_rng(0)
    scan = np.clip(rng.normal(180, 40, (200, 200)), 0, 255).astype(np.uint8)
    assert saturation_levels(scan) == (None, 255.0)
    twelve_bit = np.clip(rng.normal(300, 200, (200, 200)), 0, 4095).astype(np.uint16)
    assert saturation_levels(twelve_bit) == (0.0, None)


def test_an_unclipped_scan_is_not_saturated() -> None:
    rng = np.random.default_rng(0)
    assert saturation_levels(rng.normal(0, 1, (200, 200)).astype(np.float32)) == (None, None)
    assert saturation_levels(rng.integers(0, 256, (200, 200)).astype(np.uint8)) == (None, None)
    assert saturation_levels(np.full((9, 9), 255, np.uint8)) == (None, None)


def test_the_grey_map_shrugs_off_outliers() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(100, 20, 5000)
    y = -1.5 * x + 400 + rng.normal(0, 3, x.size)
    y[:250] += 300
    gain, offset, r = grey_map(x, y)
    assert gain == pytest.approx(-1.5, abs=0.02) and offset == pytest.approx(400, abs=3) and r < 0


def test_uncorrelated_scans_keep_their_contrast() -> None:
    rng = np.random.default_rng(0)
    gain, _, r = grey_map(rng.normal(0, 2, 5000), rng.normal(50, 10, 5000))
    assert abs(r) < 0.1 and abs(gain) == pytest.approx(5, rel=0.1)


def test_holes_take_the_nearest_grey_level() -> None:
    data = np.array([[1.0, np.nan, 5.0, np.inf]])
    out, missing = filled(data)
    assert out.tolist()[0][3] == 5.0 and out[0, 1] in (1.0, 5.0) and missing.tolist() == [[False, True, False, True]]
    with pytest.raises(InputError, match="all pixels are NaN or infinite"):
        filled(np.full((3, 3), np.nan))
