"""Jitter and drift of simulated scans, against what was put in."""

from dataclasses import replace

import numpy as np
import pytest
from lattice_samples import drawn, places
from scipy import optimize

from finescan.errors import InputError
from finescan.io import flatten_lines
from finescan.quantification import measure_lattice, measure_scan
from finescan.quantification.scan_errors import excess_scatter, hum_of_lines
from finescan.simulation import NO_FAULTS, STM_FAULTS, lattice_sample, record_stem, record_stm

CELL = (0.3189 * np.sqrt(0.75), 0.5185, 90.0)


@pytest.fixture(scope="module")
def crystal():
    return lattice_sample("GaN [11-20]", 6.2, turn_deg=5.0, defects=False, seed=4)


def scanned(sample, seed=1, **faults):
    scan = record_stem(sample, 0.0124, pixels=500, faults=replace(NO_FAULTS, counts=150.0, **faults), seed=seed)
    lattice = measure_lattice(scan.image)
    return scan, lattice, measure_scan(scan.image, lattice, cell=CELL)


@pytest.fixture(scope="module")
def still(crystal):
    return scanned(crystal)


@pytest.mark.parametrize("jitter", [0.004, 0.012])
def test_jitter_is_measured_and_every_line_with_it(crystal, jitter) -> None:
    scan, _, errors = scanned(crystal, jitter_nm=jitter)
    assert errors.jitter_nm == pytest.approx(jitter, rel=0.15)
    assert errors.jitter_error_nm < 0.1 * jitter
    sure = np.nan_to_num(errors.line_error_nm, nan=1.0) < jitter / 2
    assert sure.mean() > 0.4
    assert np.corrcoef(errors.line_shift_nm[sure], scan.line_shift_nm[sure])[0, 1] > 0.85
    left = errors.line_shift_nm[sure] - scan.line_shift_nm[sure]
    z = (left - left.mean()) / np.hypot(errors.line_error_nm[sure], 0.001)
    assert np.median(np.abs(z)) / 0.6745 < 2


def test_no_jitter_no_drift_is_found_where_none_is(still) -> None:
    _, lattice, errors = still
    assert errors.jitter_nm < 0.001 and max(errors.drift_range_nm) < 0.003 and errors.hum is None
    linear = errors.linear
    assert linear is not None
    assert (np.abs([linear.shear, linear.stretch, linear.fast_scale - 1]) < 5 * np.array(linear.error) + 1e-4).all()
    assert np.max(linear.error) < 1e-3 and lattice.placed.all()


def test_linear_drift_is_told_from_a_turned_lattice(crystal) -> None:
    _, _, errors = scanned(crystal, shear=0.02, stretch=-0.015, scale_error=0.01, rotation_deg=2.0)
    linear = errors.linear
    assert linear is not None
    assert linear.shear == pytest.approx(0.02, abs=5e-4)
    assert linear.stretch == pytest.approx(-0.015, abs=5e-4)
    assert linear.fast_scale == pytest.approx(1.01, abs=3e-4)
    assert "shear +1.99" in str(errors) and errors.summary()["linear_drift"]["error"] == list(linear.error)


def test_drift_that_is_not_linear_is_followed(crystal) -> None:
    scan, _, errors = scanned(crystal, drift_nm=0.05, seed=3)
    grid = scan.image.grid
    middle = grid.to_nm(np.c_[np.arange(500), np.full(500, 250.0)])
    true = -scan.warp.displacement(middle)
    t = np.linspace(-1, 1, 500)
    inner = slice(60, -60)
    for axis in (0, 1):
        bent = [
            v[inner] - np.polyval(np.polyfit(t[inner], v[inner], 1), t[inner])
            for v in (true[:, axis], errors.drift_nm[:, axis])
        ]
        assert np.std(bent[1] - bent[0]) < 0.3 * np.std(bent[0]) + 0.001
    assert errors.table()["x_drift_pm"] == pytest.approx(1e3 * errors.drift_nm[:, 1])


def test_a_fault_of_the_crystal_is_no_jitter() -> None:
    sample = lattice_sample("GaN [11-20]", 6.2, turn_deg=5.0, seed=6)
    _, _, errors = scanned(sample, jitter_nm=0.006)
    assert errors.jitter_nm == pytest.approx(0.006, rel=0.25)


def test_an_stm_scan_of_graphite() -> None:
    sample = lattice_sample("graphite", 10.0, defects=False, background=False, seed=2)
    faults = replace(STM_FAULTS, drift_nm=0.0, jitter_nm=0.008)
    image = flatten_lines(record_stm(sample, 10.0, pixels=256, faults=faults, seed=2).image)
    errors = measure_scan(image, measure_lattice(image), cell=(0.246, 0.246, 60.0))
    assert errors.jitter_nm == pytest.approx(0.008, rel=0.3)
    assert errors.linear is not None
    assert errors.linear.shear == pytest.approx(0.03, abs=0.003) and errors.linear.stretch == pytest.approx(
        -0.02, abs=0.003
    )


def test_hum_is_found_with_its_period() -> None:
    rng = np.random.default_rng(5)
    lines = np.arange(600)
    error = np.full(600, 0.002)
    random = rng.normal(0, 0.003, 600)
    random[rng.random(600) < 0.3] = np.nan  # lines between the columns
    found = hum_of_lines(random + 0.004 * np.sin(2 * np.pi * lines / 3.885), error)
    assert (
        found is not None and found[0] == pytest.approx(3.885, rel=2e-3) and found[1] == pytest.approx(0.004, rel=0.2)
    )
    alarms = [hum_of_lines(rng.normal(0, 0.003, 600), error) is not None for _ in range(40)]
    assert sum(alarms) <= 3


def test_scatter_beyond_the_errors() -> None:
    rng = np.random.default_rng(6)
    errors = rng.uniform(0.5, 3.0, 4000)
    values = 7 + rng.normal(0, np.hypot(errors, 2.0))
    scatter, error = excess_scatter(values, errors)
    assert scatter == pytest.approx(2.0, abs=4 * error) and error < 0.1
    w = lambda s: 1 / (errors**2 + s)  # noqa: E731
    misfit = lambda s: (w(s) * (values - (w(s) * values).sum() / w(s).sum()) ** 2).sum() - 3999  # noqa: E731
    assert scatter**2 == pytest.approx(optimize.brentq(misfit, 0, 100), rel=1e-9)
    assert excess_scatter(7 + rng.normal(0, 0.5, 4000) * errors, errors)[0] == 0.0


def test_what_cannot_be_said_is_said(still) -> None:
    scan, lattice, _ = still
    unknown = measure_scan(scan.image, lattice)
    assert unknown.linear is None and "needs the true cell (--cell)" in unknown.notes[0]
    with pytest.raises(InputError, match=r"does not fit the measured one \(276, 5\d\d pm"):
        measure_scan(scan.image, lattice, cell=(0.3, 0.9, 90))
    with pytest.raises(
        InputError, match=r"A cell is two lengths in nm and the angle between them, .* -1, 0.5, 90 came"
    ):
        measure_scan(scan.image, lattice, cell=(-1, 0.5, 90))
    other = drawn((300, 300), places((300, 300), np.array([[0.0, 16.37], [17.41, 3.3]])))
    with pytest.raises(InputError, match=r"but the lattice was measured in .* Pass the same image"):
        measure_scan(other, lattice)
