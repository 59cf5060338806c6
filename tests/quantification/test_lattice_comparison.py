"""One lattice against another: who is the same, who moved, who is lost or invented, what the vectors do."""

import numpy as np
import pytest
from lattice_samples import PIXEL, drawn, places

from finescan.errors import InputError
from finescan.quantification import compare_lattices, lattice_changes, measure_lattice
from finescan.values import Grid, Image

VECTORS = np.array([[0.0, 16.37], [17.41, 3.3]])
SHAPE = (300, 300)


@pytest.fixture(scope="module")
def at():
    return places(SHAPE, VECTORS)


@pytest.fixture(scope="module")
def reference(at):
    return measure_lattice(drawn(SHAPE, at, counts=5.0, seed=1))


def inner(at, k):
    """The k-th column well inside."""
    return int(np.flatnonzero(((at > 80) & (at < 220)).all(1))[k])


def test_an_image_is_the_same_as_itself(reference) -> None:
    same = compare_lattices(reference, reference)
    assert len(same.lost) == len(same.invented) == 0 and same.distance_nm.max() == 0
    assert same.summary()["length_change_percent"] == [0.0, 0.0] and same.changes.angle_deg == 0.0
    assert same.compared[0] == len(same.pairs)


def test_noise_alone_gives_the_displacement_that_was_foretold(at, reference) -> None:
    other = compare_lattices(measure_lattice(drawn(SHAPE, at, counts=5.0, seed=2)), reference)
    s = other.summary()
    assert s["displacement_pm"]["median"] == pytest.approx(s["displacement_expected_pm"], rel=0.15)
    assert s["displacement_pm"]["rms"] == pytest.approx(np.sqrt(2) / 1.1774 * s["displacement_pm"]["median"], rel=0.15)
    assert s["lost"] == s["invented"] == 0


def test_moved_lost_and_invented_columns_are_told_apart(at, reference) -> None:
    moved, lost = inner(at, 5), [inner(at, 20), inner(at, 31)]
    changed = at.copy()
    changed[moved] += (1.2, -0.5)
    hole = changed[inner(at, 40)] + VECTORS.sum(0) / 2 + (0.0, 1.0)
    changed = np.vstack([np.delete(changed, lost, axis=0), hole])
    compared = compare_lattices(measure_lattice(drawn(SHAPE, changed, counts=5.0, seed=3)), reference)
    assert len(compared.lost) == 2 and len(compared.invented) == 1
    np.testing.assert_allclose(reference.columns.spots[compared.lost, 1:3], at[lost], atol=0.3)
    k = int(np.argmax(compared.distance_nm))
    np.testing.assert_allclose(compared.displacement_nm[k] / PIXEL, (1.2, -0.5), atol=0.2)
    np.testing.assert_allclose(reference.columns.spots[compared.pairs[k, 1], 1:3], at[moved], atol=0.3)
    assert "2 lost, 1 invented" in str(compared)


def test_a_shift_of_the_whole_image_is_told_and_taken_out(at, reference) -> None:
    compared = compare_lattices(
        measure_lattice(drawn(SHAPE, at + np.array([2.0, -3.0]), counts=5.0, seed=4)), reference
    )
    np.testing.assert_allclose(compared.shift_nm / PIXEL, (2.0, -3.0), atol=0.05)
    assert np.median(compared.distance_nm) / PIXEL < 0.2
    assert len(compared.lost) == len(compared.invented) == 0


def test_a_stretch_shows_in_the_vectors(reference) -> None:
    stretched = places(SHAPE, VECTORS * np.array([1.01, 1.0]))
    changes = lattice_changes(measure_lattice(drawn(SHAPE, stretched, counts=5.0, seed=5)), reference)
    true = np.linalg.norm(VECTORS * np.array([1.01, 1.0]), axis=1) / np.linalg.norm(VECTORS, axis=1) - 1
    order = np.argsort(np.linalg.norm(reference.vectors_nm, axis=1))
    np.testing.assert_allclose(changes.length[order], true[np.argsort(np.linalg.norm(VECTORS, axis=1))], atol=4e-4)
    assert (np.abs(changes.length[order] - np.sort(true)) < 5 * changes.length_error[order]).all()


def test_another_basis_of_the_same_lattice_is_no_change(reference) -> None:
    from dataclasses import replace

    other = replace(
        reference,
        vectors_nm=np.array([[1.0, 1.0], [0.0, -1.0]]) @ reference.vectors_nm,
        vectors_error_nm=reference.vectors_error_nm,
    )
    np.testing.assert_allclose(lattice_changes(other, reference).vectors, 0, atol=1e-12)


def test_a_finer_image_of_a_part_is_compared_where_both_were_seen(reference, at) -> None:
    """Half the pixel size, the middle of the field: its frame says where it lies."""
    fine = drawn((300, 300), 2 * (at - 75.0) + 0.5, sigma=6.0, counts=5.0, seed=6, pixel=PIXEL / 2)
    origin = 75.0 * PIXEL - PIXEL / 4
    placed = Image(fine.data, Grid.of((300, 300), PIXEL / 2, origin), "fine")
    compared = compare_lattices(measure_lattice(placed), reference)
    assert np.abs(compared.shift_nm).max() < 0.05 * PIXEL and len(compared.pairs) > 30
    assert len(compared.lost) == len(compared.invented) == 0
    away = Image(fine.data, Grid.of((300, 300), PIXEL / 2, 100.0), "away")
    with pytest.raises(InputError, match=r"no field in common. Register the images first"):
        compare_lattices(measure_lattice(away), reference)
