"""Simulated lattices: the crystals are the real ones, the scans are wrong in the way they say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, spatial

from finescan.errors import InputError
from finescan.simulation import (
    CRYSTALS,
    NO_FAULTS,
    STM_FAULTS,
    lattice_sample,
    record_stem,
    record_stm,
    simulate_lattice,
    stem_pixel_size_nm,
)
from finescan.simulation.lattices import partial_dislocation, shifted

A, C, U = 0.3189, 0.5185, 0.377


def perfect(crystal="GaN [11-20]", field=4.0, **options):
    return lattice_sample(crystal, field, defects=False, background=False, **{"turn_deg": 0.0, "seed": 1, **options})


def wurtzite():
    """Gallium and nitrogen in three dimensions, a few cells: positions (n, 3) and whether it is gallium."""
    cell = np.array([[A, 0, 0], [-A / 2, A * np.sqrt(3) / 2, 0], [0, 0, C]])
    atoms = [((1 / 3, 2 / 3, 0), 1), ((2 / 3, 1 / 3, 0.5), 1), ((1 / 3, 2 / 3, U), 0), ((2 / 3, 1 / 3, 0.5 + U), 0)]
    shifts = np.stack(np.meshgrid(*(np.arange(-6, 7),) * 3, indexing="ij"), -1).reshape(-1, 3)
    at = np.concatenate([(shifts + np.array(f)) @ cell for f, _ in atoms])
    return at, np.repeat([kind for _, kind in atoms], len(shifts))


@pytest.mark.parametrize(("crystal", "across"), [("GaN [11-20]", 1), ("GaN [1-100]", 0)])
def test_columns_are_the_projection_of_wurtzite(crystal, across) -> None:
    """Seen along the in-plane axis that is not ``across``: all distances between columns are the real ones."""
    at, gallium = wurtzite()
    flat = np.unique(np.round(np.c_[at[:, across], at[:, 2], gallium], 6), axis=0)
    middle = flat[(flat[:, 2] == 1)][np.argmin(np.hypot(*flat[flat[:, 2] == 1][:, :2].T))]
    sample = perfect(crystal)
    ours = sample.columns_nm[:, ::-1]
    ga = ours[sample.species == sample.labels.index("Ga")]
    start = ga[np.argmin(np.linalg.norm(ga - 2.0, axis=1))]
    for kind, label in ((1, "Ga"), (0, "N")):
        true = np.sort(np.linalg.norm(flat[flat[:, 2] == kind][:, :2] - middle[:2], axis=1))[:30]
        seen = np.sort(np.linalg.norm(ours[sample.species == sample.labels.index(label)] - start, axis=1))[:30]
        np.testing.assert_allclose(seen, true, atol=2e-5)


def test_dumbbells_of_gallium_and_nitrogen_are_0_11_nm_apart() -> None:
    sample = perfect()
    ga, n = (sample.columns_nm[sample.species == k] for k in (0, 1))
    inside = ga[((ga > 0.5) & (ga < 3.5)).all(1)]
    assert np.median(spatial.cKDTree(n).query(inside)[0]) == pytest.approx(0.112, abs=0.001)


def test_graphite_is_triangular() -> None:
    sample = perfect("graphite")
    inside = ((sample.columns_nm > 1) & (sample.columns_nm < 3)).all(1)
    far = spatial.cKDTree(sample.columns_nm).query(sample.columns_nm[inside], k=8)[0]
    np.testing.assert_allclose(far[:, 1:7], 0.246, atol=1e-9)
    assert far[:, 7].min() > 0.4


def test_the_image_is_brightest_where_the_columns_are() -> None:
    sample = perfect()
    scan = record_stem(sample, 0.0124, pixels=256, faults=NO_FAULTS, dtype="float32")
    seen = np.argwhere(ndimage.maximum_filter(scan.image.data, 15) == scan.image.data)
    ga = scan.columns_nm[scan.in_field(0.15) & (sample.species == 0)]
    miss = spatial.cKDTree(scan.image.grid.to_nm(seen)).query(ga)[0]
    assert len(ga) > 50 and miss.max() < 0.0124  # a pixel; N pulls a little


def test_pixel_sizes_follow_the_zoom() -> None:
    pair = simulate_lattice("stem", pixels=256, seed=2)
    np.testing.assert_allclose(pair.coarse.image.grid.pixel_size_nm, 0.0124, rtol=1e-9)
    np.testing.assert_allclose(pair.fine.image.grid.pixel_size_nm, 0.0031, rtol=1e-9)
    assert stem_pixel_size_nm(20) == pytest.approx(0.0031)
    assert simulate_lattice("stm", pixels=64, zooms=(6, 3)).fine.image.grid.extent_nm == pytest.approx((3, 3))


def test_a_pair_is_one_sample_seen_twice_with_noise_of_its_own() -> None:
    pair = simulate_lattice("stem", pixels=200, zooms=(5, 10), seed=3)
    coarse, fine = pair.coarse, pair.fine
    assert coarse.sample is fine.sample and not np.array_equal(coarse.line_shift_nm, fine.line_shift_nm)
    np.testing.assert_allclose(fine.warp(fine.columns_nm), coarse.warp(coarse.columns_nm), atol=1e-6)
    shift = np.linalg.norm(
        (fine.columns_nm - coarse.columns_nm)[fine.in_field()] - np.array(coarse.image.grid.extent_nm) / -4, axis=1
    )
    assert 0.01 < np.median(shift) < 0.8  # misplaced, but near the middle


def test_the_same_seed_gives_the_same_scans_and_another_seed_another_sample() -> None:
    a, b, other = (simulate_lattice("stm", pixels=64, zooms=(6, 3), seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(a.fine.image.data, b.fine.image.data)
    assert a.coarse.sample.defects != other.coarse.sample.defects


def test_lines_are_shifted_by_what_the_truth_says() -> None:
    faults = replace(NO_FAULTS, jitter_nm=0.01)
    sample = perfect()
    still, moved = (
        record_stem(sample, 0.0124, pixels=200, faults=f, dtype="float32", seed=6) for f in (NO_FAULTS, faults)
    )
    slope = np.gradient(still.image.data.astype(float), 0.0124, axis=1)
    left = moved.image.data.astype(float) - still.image.data
    seen = -(left * slope).sum(1) / (slope**2).sum(1)  # content moved by s: I(x - s)
    strong = (slope**2).sum(1) > 0.3 * (slope**2).sum(1).max()
    assert np.corrcoef(seen[strong], moved.line_shift_nm[strong])[0, 1] > 0.98
    assert moved.line_shift_nm.std() == pytest.approx(0.01, rel=0.15)


def test_linear_drift_shears_and_stretches_the_lattice() -> None:
    faults = replace(NO_FAULTS, shear=0.02, stretch=0.03)
    scan = record_stem(perfect(), 0.0124, pixels=200, faults=faults)
    np.testing.assert_allclose(
        scan.vectors_nm[0], scan.sample.vectors_nm[0], atol=1e-9
    )  # along the fast axis nothing changes
    # the scan believes it went down by c / 1.03 nm, and the sample went left under it meanwhile
    np.testing.assert_allclose(scan.vectors_nm[1], [C / 1.03, -0.02 * C / 1.03], rtol=1e-6)
    index = np.linalg.lstsq(scan.vectors_nm.T, (scan.columns_nm - scan.columns_nm[0]).T, rcond=None)[0].T
    same = scan.sample.species == scan.sample.species[0]
    part = index[same] % 1
    assert min(np.abs(part - k).max(1).min() for k in (0, 1)) < 1e-6


def test_shot_noise_counts_electrons() -> None:
    faults = replace(NO_FAULTS, counts=80.0)
    clean, noisy = (
        record_stem(perfect(), 0.0124, pixels=256, faults=f, dtype="float32", seed=8).image.data
        for f in (NO_FAULTS, faults)
    )
    share = (noisy - clean).var() / (clean.mean() / 80)
    assert share == pytest.approx(1, rel=0.03)


def test_stm_lines_have_offsets_and_the_sample_is_tilted() -> None:
    quiet = replace(STM_FAULTS, line_offsets=0.0, tilt=0.0, noise=0.0, jitter_nm=0.0)
    sample = perfect("graphite", 6.0)
    plain, offsets, tilted = (
        record_stm(sample, 6.0, pixels=128, faults=f, dtype="float32", seed=9).image.data
        for f in (quiet, replace(quiet, line_offsets=0.1), replace(quiet, tilt=0.5))
    )
    assert np.diff((offsets - plain).mean(1)).std() == pytest.approx(0.1, rel=0.25)
    assert np.ptp(offsets - plain, axis=1).max() < 1e-5  # whole lines
    assert np.ptp(tilted - plain) == pytest.approx(0.5, rel=1e-3)


def test_the_fault_ends_at_the_dislocation() -> None:
    burgers, plane = np.array([0.0, 0.09]), np.array([0.0, 1.0])
    x = np.linspace(-400, 400, 41)
    above, below = (partial_dislocation(np.c_[np.full(41, s * 1e-3), x], np.zeros(2), burgers, plane) for s in (-1, 1))
    jump = (above - below)[:, 1]
    np.testing.assert_allclose(np.abs(jump[x > 10]), 0.09, rtol=1e-3)
    np.testing.assert_allclose(jump[x < -10], 0, atol=1e-4)
    assert np.ptp(np.sign(jump[x > 10])) == 0


def test_defects_are_in_the_truth() -> None:
    sample, clean = (
        lattice_sample("GaN [11-20]", 8.0, seed=3),
        lattice_sample("GaN [11-20]", 8.0, defects=False, seed=3),
    )
    assert (sample.peak == 0).sum() >= 1 and (clean.peak > 0).all()
    assert "stacking fault" in sample.defects[0] and "empty" in sample.defects[1] and clean.defects == ()
    graphite = lattice_sample("graphite", 8.0, seed=3)
    assert (graphite.peak == 0).sum() == 1 and "step" in graphite.defects[0]


def test_a_moved_column_moves_in_the_image() -> None:
    sample = perfect()
    k = int(np.argmin(np.linalg.norm(sample.columns_nm - 2.0, axis=1) + 9.0 * (sample.species != 0)))
    moved = shifted(sample, np.array([k]), np.array([0.0, 0.03]))
    change = moved.image.data - sample.image.data
    where = moved.image.grid.to_nm(np.argwhere(np.abs(change) > 1e-3))
    assert np.linalg.norm(where - sample.columns_nm[k], axis=1).max() < 0.16
    y, x = (change * p for p in np.moveaxis(moved.image.grid.to_nm(np.stack(np.indices(change.shape), -1)), -1, 0))
    mass = 2 * np.pi * 0.025**2 * sample.peak[k] / 0.008**2
    assert x.sum() / mass == pytest.approx(0.03, rel=0.01) and y.sum() / mass == pytest.approx(0, abs=1e-4)


def test_what_cannot_be_simulated_is_said() -> None:
    with pytest.raises(InputError, match=r"A crystal is one of GaN \[11-20\], .*, but 'gold' came"):
        lattice_sample("gold", 5.0)
    with pytest.raises(InputError, match="at least four cells, but 1 nm came"):
        lattice_sample("GaN [11-20]", 1.0)
    with pytest.raises(InputError, match="'stem' or 'stm', but 'afm' came"):
        simulate_lattice("afm")
    with pytest.raises(InputError, match="leaves the simulated field"):
        record_stem(perfect(), 0.0124, pixels=1000)
    assert set(CRYSTALS) == {"GaN [11-20]", "GaN [1-100]", "graphite"}
