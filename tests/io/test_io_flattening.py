"""Line-wise flattening: offsets and slopes go, the lattice and the mean stay, nothing happens unasked."""

from dataclasses import replace

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.io.flattening import NOT_FLAT, flatten_lines, line_unrest, require_flat
from finescan.simulation import NO_FAULTS, STM_FAULTS, lattice_sample, record_stm, simulate_lattice
from finescan.values import Grid, Image


def image(data) -> Image:
    return Image(np.asarray(data), Grid.of(np.shape(data), 0.05), "scan")


def waves(rows=64, columns=200):
    y, x = np.mgrid[:rows, :columns]
    return 100 + np.cos(2 * np.pi * x / 10) + 0 * y


def test_offsets_and_slopes_go_and_the_waves_and_the_mean_stay() -> None:
    rng = np.random.default_rng(0)
    wrong = waves() + rng.normal(0, 50, (64, 1)) + rng.normal(0, 9, (64, 1)) * np.linspace(-1, 1, 200)
    flat = flatten_lines(image(wrong))
    assert flat.dtype == np.float64 and flat.data.mean() == pytest.approx(wrong.mean(), rel=1e-5)
    np.testing.assert_allclose(flat.data - flat.data.mean(), waves() - waves().mean(), atol=0.05)


def test_it_is_written_down_and_the_original_is_untouched() -> None:
    before = image(waves().astype(np.uint16))
    after = flatten_lines(before)
    assert "straight line" in after.acquisition.extra["flattened"] and "flattened" not in before.acquisition.extra
    np.testing.assert_array_equal(before.data, waves().astype(np.uint16))
    assert after.grid == before.grid


def test_a_spike_does_not_pull_its_line() -> None:
    spiked = waves()
    spiked[10, 50:54] += 1000
    flat = flatten_lines(image(spiked)).data
    others = np.r_[0:40, 60:200]
    np.testing.assert_allclose(flat[10, others] - flat[11, others], 0, atol=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_stm_scans_need_it_until_they_have_it(seed) -> None:
    scan = simulate_lattice("stm", pixels=192, zooms=(9, 4.5), seed=seed).coarse.image
    assert line_unrest(scan) > 2 * NOT_FLAT
    assert line_unrest(flatten_lines(scan)) < NOT_FLAT / 4
    with pytest.raises(InputError, match=r"stm is not flattened|coarse is not flattened.* Pass --flatten"):
        require_flat(scan)


def test_rows_of_atoms_along_the_lines_and_a_tilt_are_no_offsets() -> None:
    sample = lattice_sample("graphite", 8.0, turn_deg=0.0, defects=False, background=False)
    for faults in (NO_FAULTS, replace(NO_FAULTS, tilt=0.5), replace(NO_FAULTS, noise=STM_FAULTS.noise)):
        scan = record_stm(sample, 8.0, pixels=128, faults=faults, seed=1).image
        assert np.asarray(scan.data, float).mean(1).std() > 10  # rows differ
        assert line_unrest(scan) < NOT_FLAT / 4
        require_flat(scan)


def test_white_offsets_are_measured() -> None:
    rng = np.random.default_rng(3)
    noisy = waves(400) + rng.normal(0, 0.5, (400, 200)) + rng.normal(0, 0.4, (400, 1))
    assert line_unrest(image(noisy)) == pytest.approx(0.4 / np.hypot(np.sqrt(0.5), 0.5), rel=0.12)


def test_what_has_no_lines_is_refused() -> None:
    with pytest.raises(InputError, match="at least 8 columns can be flattened, but YX 20 x 5 px"):
        flatten_lines(image(np.zeros((20, 5))))
    with pytest.raises(InputError, match="pixels without a number only"):
        flatten_lines(image(np.full((20, 20), np.nan)))
    with pytest.raises(InputError, match="ZYX"):
        flatten_lines(image(np.zeros((4, 20, 20))))


def test_missing_pixels_stay_missing_and_the_rules_differ_where_a_spike_is() -> None:
    spiked = waves().astype(np.float32)
    spiked[10, 50:54] += 1000
    spiked[20, :30] = np.nan
    robust, published = (flatten_lines(image(spiked), rule).data for rule in ("robust", "published"))
    assert robust.dtype == np.float32
    for flat in (robust, published):
        np.testing.assert_array_equal(np.isnan(flat), np.isnan(spiked))
    assert abs(np.nanmean(published)) < 1e-3 and np.nanmean(robust) == pytest.approx(np.nanmean(spiked), rel=1e-5)
    assert np.ptp(published[10, :40] - published[11, :40]) > 5 > np.ptp(robust[10, :40] - robust[11, :40])
    with pytest.raises(InputError, match="by the rule robust or published, but 'plane' came"):
        flatten_lines(image(spiked), "plane")
