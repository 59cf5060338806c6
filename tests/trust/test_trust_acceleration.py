"""How much faster: against equation 10 of Reclik et al., and against times added up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.trust import Acceleration, break_even, measure_acceleration, relative_time
from finescan.values import Acquisition, Grid, Image


def scan(pixels, size_nm, dwell_us=None):
    shape = (pixels, pixels) if isinstance(pixels, int) else pixels
    return Image(np.zeros(shape, np.uint8), Grid.of(shape, size_nm), "scan", Acquisition(dwell_time_us=dwell_us))


@pytest.mark.parametrize(("ratio", "fine_px"), [(2, 160), (4, 512), (4, 640), (8, 1024)])
def test_equal_dwell_times_give_the_published_equation(ratio, fine_px):
    coarse, fine = scan(256, 10.0 * ratio, 10.0), scan(fine_px, 10.0, 10.0)
    found = measure_acceleration(coarse, [fine])
    share = (fine_px / (256 * ratio)) ** 2
    assert found.fine_share == pytest.approx(share)
    assert 1 / found.factor == pytest.approx(1 / ratio**2 + share)
    assert 1 / found.factor == pytest.approx(relative_time(ratio, share))


def test_the_published_break_even_of_four():
    assert break_even(4) == 15 / 16
    assert relative_time(4, break_even(4)) == 1
    assert relative_time(4, 0) == 1 / 16
    found = measure_acceleration(scan(64, 40.0), [scan(64, 10.0)])
    assert found.break_even == 15 / 16


def test_dwell_times_count_where_all_files_have_them():
    # 64 * 64 * 10 us + 128 * 128 * 40 us, instead of 256 * 256 * 40 us
    found = measure_acceleration(scan(64, 40.0, 10.0), [scan(128, 10.0, 40.0)])
    assert found.timed_by == "dwell times" and found.to_dict()["unit"] == "s"
    assert (found.coarse, found.fine, found.everything) == pytest.approx((0.04096, 0.65536, 2.62144))
    assert found.factor == pytest.approx(2.62144 / 0.69632)
    assert str(found) == (
        "3.8 times as fast as a fine scan of everything (0.041 s + 0.655 s instead of 2.62 s; dwell times of the files)"
    )


def test_without_dwell_times_pixels_are_counted_and_it_says_so():
    found = measure_acceleration(scan(1024, 40.0), [scan(1024, 10.0, 40.0)])
    assert found.timed_by == "pixel counts"
    assert found.factor == pytest.approx(8.0)  # 16 of 1 + 1
    assert "1.05 Mpx + 1.05 Mpx instead of 16.8 Mpx; pixel counts, equal dwell times assumed" in str(found)
    assert found.spent_instead_of == "2.1 Mpx instead of 16.8 Mpx"


def test_every_recorded_fine_scan_costs_time_and_the_finest_sets_the_goal():
    coarse, fine, rougher = scan(100, 40.0, 1.0), scan(100, 10.0, 1.0), scan(100, 20.0, 1.0)
    one, two, with_rougher = (measure_acceleration(coarse, f) for f in ([fine], [fine, fine], [rougher, fine]))
    assert (one.factor, two.factor) == pytest.approx((8.0, 16 / 3))
    assert with_rougher.everything == one.everything and with_rougher.factor == pytest.approx(16 / 3)


def test_a_short_coarse_dwell_saves_more_and_a_long_one_may_cost_time():
    fine = scan(128, 10.0, 10.0)
    factors = [measure_acceleration(scan(64, 40.0, dwell), [fine]).factor for dwell in (1.0, 10.0, 200.0)]
    assert factors[0] > factors[1] > 1 > factors[2]


def test_overheads_by_hand():
    coarse, fine = scan((100, 200), 40.0, 10.0), scan((100, 200), 10.0, 10.0)
    found = measure_acceleration(coarse, [fine], line_overhead_us=500.0, frame_overhead_s=2.0)
    one = 100 * 200 * 10e-6 + 100 * 500e-6 + 2.0
    assert (found.coarse, found.fine, found.everything) == pytest.approx((one, one, 16 * one))


def test_what_was_written_comes_back():
    found = measure_acceleration(scan(64, 40.0, 10.0), [scan(128, 10.0, 40.0)])
    assert Acceleration.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fine": []}, "at least one fine picture"),
        ({"fine": [Image(np.zeros((4, 8, 8)), Grid.of((4, 8, 8), 10.0))]}, "Pass pictures"),
        ({"line_overhead_us": -1.0}, "at least 0, but -1 µs and 0 s came"),
        ({"frame_overhead_s": 1.0}, "Overheads need dwell times"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    fine = options.pop("fine", [scan(64, 10.0)])
    with pytest.raises(InputError, match=words):
        measure_acceleration(scan(64, 40.0), fine, **options)


def test_ratios_below_one_are_refused():
    with pytest.raises(InputError, match=r"at least 1 and a share at least 0, but 0\.5 and 0 came"):
        relative_time(0.5, 0.0)
