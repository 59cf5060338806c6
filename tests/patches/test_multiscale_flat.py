"""Lines levelled by the published rule and eight bits, against NumPy's polynomial fit and the published rule."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.io import flatten_lines, require_level, unevenness
from finescan.patches import to_eight_bit
from finescan.values import Acquisition, Grid, Image

RNG = np.random.default_rng(5)


def scan(noise=3.0, *, dtype=np.float32, vendor="Nanosurf", shape=(40, 64)):
    """Atoms on lines with offsets and a slope, as a tunnelling microscope records them."""
    y, x = np.indices(shape)
    atoms = 10 * np.cos(2 * np.pi * x / 9) * np.cos(2 * np.pi * y / 8)
    data = 1000 + atoms + RNG.normal(0, noise, shape) + RNG.normal(0, 50, (shape[0], 1)) + 2.0 * x
    facts = Acquisition(vendor=vendor, extra={"value_scale": 2.0, "value_offset": 5.0})
    return Image(data.astype(dtype), Grid.of(shape, 0.08), "stm.nid", facts)


def test_every_row_loses_its_least_squares_line():
    image = scan(dtype=np.float64)
    columns = np.arange(64)
    lines = np.stack([np.polyval(np.polyfit(columns, row, 1), columns) for row in image.data])
    flat = flatten_lines(image, "published")
    np.testing.assert_allclose(flat.data, image.data - lines, atol=1e-9)
    assert flat.data.dtype == np.float64 and flat.grid == image.grid
    assert flat.acquisition.extra["flattened"] and "value_offset" not in flat.acquisition.extra
    assert "flattened" not in image.acquisition.extra  # the original is as it was


def test_missing_pixels_are_left_out_of_the_fit_and_stay_missing():
    image = scan()
    data = image.data.copy()
    data[3, 10:20] = np.nan
    data[5] = np.nan
    flat = flatten_lines(image.with_data(data), "published").data
    known = np.r_[0:10, 20:64]
    line = np.polyval(np.polyfit(known, data[3, known].astype(float), 1), known)
    np.testing.assert_allclose(flat[3, known], data[3, known] - line, atol=1e-3)
    assert np.isnan(flat[3, 10:20]).all() and np.isnan(flat[5]).all() and np.isfinite(flat[4]).all()


def test_whole_numbers_become_floats_and_not_rounded_ones():
    flat = flatten_lines(scan(dtype=np.int16), "published").data
    assert flat.dtype == np.float32 and np.abs(flat - np.rint(flat)).max() > 0.3


def test_only_scanning_probe_pictures_must_be_flat():
    uneven = scan()
    assert unevenness(uneven.data) > 0.9
    with pytest.raises(
        InputError, match=r"stm.nid is not flattened: 9\d % .* scan lines. Level the lines with flatten"
    ):
        require_level(uneven)
    for rule in ("robust", "published"):
        require_level(flatten_lines(uneven, rule))
    require_level(scan(vendor="JEOL"))  # whatever it shows, its lines are not the microscope's fault
    with pytest.raises(InputError, match="not flattened"):
        require_level(scan(vendor="JEOL"), probe=True)
    assert unevenness(RNG.normal(0, 1, (200, 200))) < 0.03
    assert unevenness(np.ones((4, 4))) == 0.0


def test_eight_bits_as_published():
    flat = flatten_lines(scan(), "published")
    values = flat.data.astype(np.float64)
    low, high = (np.percentile(values, p) for p in (2, 98))
    expected = ((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)
    eight = to_eight_bit(flat)
    np.testing.assert_array_equal(eight.data, expected)
    facts = eight.acquisition.extra["eight_bit"]
    assert facts["low"] == low and facts["high"] == high
    assert facts["below"] == pytest.approx(0.02, abs=0.002) and facts["above"] == pytest.approx(0.02, abs=0.002)


def test_the_unit_of_the_grey_levels_survives_eight_bits():
    image = scan()
    eight = to_eight_bit(image, (0, 100))
    extra = eight.acquisition.extra
    physical = eight.data * extra["value_scale"] + extra["value_offset"]
    np.testing.assert_allclose(physical, image.data * 2.0 + 5.0, atol=1.01 * extra["value_scale"])


def test_refusals():
    image = scan()
    with pytest.raises(InputError, match="run from 0 to 100, the lower one first, but 98 and 2 came"):
        to_eight_bit(image, (98, 2))
    with pytest.raises(InputError, match="one grey level between its 2 and 98 percentiles"):
        to_eight_bit(image.with_data(np.ones(image.grid.shape, np.float32)))
    data = image.data.copy()
    data[0, 0] = np.nan
    with pytest.raises(InputError, match="missing pixels, for which 8-bit pictures have no grey level"):
        to_eight_bit(image.with_data(data))
