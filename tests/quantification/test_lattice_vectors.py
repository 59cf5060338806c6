"""The lattice of columns: its vectors and their errors, families, displacements, and bases of plane lattices."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from lattice_samples import PIXEL, drawn, places

from finescan.errors import InputError
from finescan.quantification import find_columns, lattice_of, measure_lattice
from finescan.quantification.reduction import (
    as_expected,
    cell_vectors,
    dual,
    lengths_and_angle,
    nearest_basis,
    reduced,
)
from finescan.simulation import NO_FAULTS, STEM_FAULTS, lattice_sample, record_stem, simulate_lattice

VECTORS = np.array([[0.0, 16.37], [17.41, 3.3]])
SHAPE = (400, 400)
A, C = 0.3189 * np.sqrt(0.75), 0.5185


def test_the_vectors_of_a_drawn_lattice_are_found_within_their_errors() -> None:
    z = []
    for seed in range(6):
        image = drawn((300, 300), places((300, 300), VECTORS, phase=(0.1 * seed, 0.3)), counts=0.3, seed=seed)
        lattice = measure_lattice(image)
        miss = nearest_basis(lattice.vectors_nm, VECTORS * PIXEL) - VECTORS * PIXEL
        assert np.abs(miss).max() < 1e-4  # nm, of 0.2
        z.append(miss / lattice.vectors_error_nm)
    assert 0.6 < np.sqrt(np.mean(np.square(z))) < 1.6


def test_displacements_are_from_the_ideal_place() -> None:
    at = places(SHAPE, VECTORS)
    inner = np.flatnonzero(((at > 100) & (at < 300)).all(1))
    moved = at.copy()
    moved[inner[3]] += (0.9, -1.7)
    lattice = measure_lattice(drawn(SHAPE, moved))
    k = int(np.argmin(np.linalg.norm(lattice.columns.spots[:, 1:3] - moved[inner[3]], axis=1)))
    np.testing.assert_allclose(lattice.displacement_nm[k] / PIXEL, (0.9, -1.7), atol=0.05)
    others = np.delete(lattice.displacement_nm, k, axis=0) / PIXEL
    assert np.abs(others).max() < 0.05
    assert lattice.summary()["displacement_pm"]["median"] < 0.1 and len(lattice.notes) == 0
    assert lattice.table()["y_displacement_pm"][k] == pytest.approx(0.9 * 12.4, abs=0.6)


def test_missing_columns_and_intruders_do_not_spoil_it() -> None:
    rng = np.random.default_rng(3)
    at = places(SHAPE, VECTORS)
    kept = rng.random(len(at)) > 0.15
    shifted = at + np.where(rng.random(len(at)) < 0.1, 2.0, 0.0)[:, None] * rng.normal(size=(len(at), 2))
    lattice = measure_lattice(drawn(SHAPE, shifted[kept], counts=2.0, seed=3))
    np.testing.assert_allclose(nearest_basis(lattice.vectors_nm, VECTORS * PIXEL), VECTORS * PIXEL, atol=1.5e-4 * 0.2)
    assert lattice.placed.mean() > 0.8


def test_two_columns_per_cell_make_two_families_with_one_lattice() -> None:
    """Like strontium and titanium: an exact half cell apart, but not equally bright."""
    square = np.array([[0.0, 31.2], [31.2, 1.0]])
    bright = places(SHAPE, square)
    at = np.concatenate([bright, bright + square.sum(0) / 2])
    heights = np.repeat([60.0, 30.0], len(bright))
    lattice = measure_lattice(drawn(SHAPE, at, height=heights, counts=2.0))
    assert lattice.cell[0] == pytest.approx(31.2 * PIXEL, rel=2e-4) and lattice.cell[2] == pytest.approx(88.16, abs=0.1)
    assert lattice.summary()["families"] == sorted(lattice.summary()["families"], reverse=True)
    assert len(lattice.summary()["families"]) == 2 and "2 families of columns" in lattice.notes[0]
    brightness = [lattice.columns.height[lattice.family == k] for k in (0, 1)]
    assert max(b.std() / b.mean() for b in brightness) < 0.1  # no family mixes them
    steps = lattice.index @ lattice.vectors_nm - lattice.columns.position_nm
    for k in (0, 1):
        assert steps[lattice.family == k].std(0).max() < 5e-3  # the indices say where in the family


def test_the_zigzag_of_gallium_has_the_cell_of_the_crystal() -> None:
    """Weak periods hide in noise, and the spectrum alone would say a cell of half the size."""
    pair = simulate_lattice("stem", pixels=600, zooms=(5.0, 10.0), seed=2, faults=(STEM_FAULTS,) * 2)
    scan = pair.fine
    lattice = measure_lattice(scan.image)
    first, second, angle = lattice.cell
    assert (
        first == pytest.approx(A, rel=0.02)
        and second == pytest.approx(C, rel=0.02)
        and angle == pytest.approx(90, abs=2.5)
    )
    assert lattice.placed.mean() > 0.95


def test_a_perfect_crystal_is_measured_to_a_ten_thousandth() -> None:
    sample = lattice_sample("GaN [11-20]", 7.4, turn_deg=4.0, defects=False, seed=2)
    scan = record_stem(sample, 0.0124, pixels=600, faults=replace(NO_FAULTS, counts=150.0), seed=2)
    lattice = measure_lattice(scan.image)
    assert lattice.cell == pytest.approx((A, C, 90.0), rel=2e-4)
    error = lattice.cell_error
    assert all(abs(v - t) < 4 * e for v, t, e in zip(lattice.cell, (A, C, 90.0), error, strict=True))
    assert "columns" in str(lattice) and "276.1" in str(lattice)


def test_a_stacking_fault_shows_in_the_displacements() -> None:
    sample = lattice_sample("GaN [11-20]", 7.4, turn_deg=0.0, seed=5)
    scan = record_stem(sample, 0.0124, pixels=600, faults=replace(NO_FAULTS, counts=150.0), seed=5)
    lattice = measure_lattice(scan.image)
    far = 1e3 * np.linalg.norm(lattice.displacement_nm[lattice.placed], axis=1)
    assert np.quantile(far, 0.9) > 20  # a third of 276 pm is shared by both sides of the fault


def test_columns_of_no_lattice_are_refused() -> None:
    at = places(SHAPE, VECTORS)
    columns = find_columns(drawn(SHAPE, at))
    shaken = columns.position_nm + np.random.default_rng(0).normal(0, 0.06, columns.position_nm.shape)
    with pytest.raises(InputError, match=r"foil: only \d+ of \d+ columns lie on one lattice, .* Use a larger field"):
        lattice_of(replace(columns, position_nm=shaken), VECTORS * PIXEL, name="foil")


def test_reduction_finds_the_two_shortest_vectors() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        basis = rng.normal(size=(2, 2))
        if abs(np.linalg.det(basis)) < 0.2:
            continue  # its shortest vectors have too large indices for trying all
        ours = reduced(basis)
        every = [np.array(k) @ basis for k in itertools.product(range(-30, 31), repeat=2) if any(k)]
        every.sort(key=np.linalg.norm)
        shortest = np.linalg.norm(every[0])
        independent = next(v for v in every if abs(v[0] * every[0][1] - v[1] * every[0][0]) > 1e-9)
        assert sorted(np.linalg.norm(ours, axis=1)) == pytest.approx([shortest, np.linalg.norm(independent)])
        np.testing.assert_allclose(dual(ours) @ ours.T, np.eye(2), atol=1e-9)


def test_any_basis_of_a_turned_lattice_is_brought_to_the_expected_one() -> None:
    expected = cell_vectors(0.246, 0.246, 60)
    assert lengths_and_angle(expected) == pytest.approx((0.246, 0.246, 60))
    t = np.radians(17)
    turned = expected @ np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    other = np.array([[1, 0], [-1, 1]]) @ turned * 1.01
    assert lengths_and_angle(as_expected(other, expected)) == pytest.approx((0.246 * 1.01, 0.246 * 1.01, 60))
