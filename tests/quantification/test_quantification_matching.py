"""Matching of label images drawn by hand, and of measured objects with known spheres."""

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.quantification import label_spheres, match, match_spheres, quantify
from finescan.quantification.matching import MEASURED_FATES, REFERENCE_FATES, overlaps
from finescan.values import Grid

PIXEL = 650.0


def drawn(*boxes):
    """A 10 x 40 picture; box k = (first column, last column excluded) over all rows gets label k + 1."""
    labels = np.zeros((10, 40), np.int32)
    for k, (a, b) in enumerate(boxes):
        labels[:, a:b] = k + 1
    return labels


def fates(measured, reference):
    m = match(measured, reference)
    return [MEASURED_FATES[k] for k in m.measured_fate], [REFERENCE_FATES[k] for k in m.reference_fate]


def test_the_same_objects_in_another_order_are_all_found():
    m = match(drawn((20, 30), (2, 8)), drawn((2, 8), (20, 30)))
    assert m.recovery == 1 and m.invented_share == 0
    np.testing.assert_array_equal(m.pairs, [[1, 2], [2, 1]])
    np.testing.assert_array_equal(m.iou, 1)


def test_an_object_without_partner_is_lost_or_invented():
    assert fates(drawn((2, 8), (20, 25)), drawn((2, 8), (30, 35))) == (["found", "invented"], ["found", "lost"])


def test_counting_labels_would_hide_a_lost_and_an_invented_one():
    m = match(drawn((2, 8), (20, 25)), drawn((2, 8), (30, 35)))
    assert m.count_ratio == 1 and m.recovery == 0.5


def test_one_object_over_two_alike_merges_them():
    assert fates(drawn((2, 18)), drawn((2, 9), (11, 18))) == (["merging"], ["merged", "merged"])


def test_a_large_object_that_swallows_a_small_one_is_still_found():
    assert fates(drawn((2, 24)), drawn((2, 20), (21, 24))) == (["found"], ["found", "merged"])


def test_two_halves_split_an_object():
    assert fates(drawn((2, 9), (10, 17)), drawn((2, 17))) == (["fragment", "fragment"], ["split"])


def test_an_object_that_lost_a_crumb_is_still_found():
    assert fates(drawn((2, 15), (16, 17)), drawn((2, 17))) == (["found", "fragment"], ["found"])


def test_a_shifted_object_is_found_until_a_quarter_of_the_union_is_left():
    assert fates(drawn((5, 15)), drawn((0, 10))) == (["found"], ["found"])  # 5 of 15
    assert fates(drawn((7, 17)), drawn((0, 10))) == (["invented"], ["lost"])  # 3 of 17


def test_a_much_too_large_object_is_invented_and_a_much_too_small_one_a_fragment():
    assert fates(drawn((0, 20)), drawn((8, 12))) == (["invented"], ["lost"])
    assert fates(drawn((8, 12)), drawn((0, 20))) == (["fragment"], ["lost"])


def test_every_object_has_one_fate_and_finds_are_one_to_one():
    rng = np.random.default_rng(0)
    m, r = (np.kron(rng.integers(0, 40, (8, 9, 7)), np.ones((3, 3, 3), np.int64)) for _ in range(2))
    got = match(m, r)
    assert sum(got.references.values()) == r.max() and sum(got.measured.values()) == m.max()
    assert len(set(got.pairs[:, 1])) == len(got.pairs) == got.measured["found"]


def test_overlaps_are_those_of_a_dense_table():
    rng = np.random.default_rng(1)
    m, r = rng.integers(0, 6, (5, 12, 13)), rng.integers(0, 4, (5, 12, 13))
    dense = np.zeros((6, 4), np.int64)
    np.add.at(dense, (m, r), 1)
    got = overlaps(m, r)
    sparse = np.zeros_like(dense)
    sparse[got.measured, got.reference] = got.shared
    np.testing.assert_array_equal(sparse[1:, 1:], dense[1:, 1:])
    np.testing.assert_array_equal(got.measured_voxels[1:], dense.sum(1)[1:])
    np.testing.assert_array_equal(got.reference_voxels[1:], dense.sum(0)[1:])
    assert got.shared.dtype == np.int64


def test_recovery_by_size_and_by_overlap():
    m = match(drawn((0, 10), (21, 23)), drawn((0, 10), (15, 20), (20, 22)))
    d = m.reference_diameter_nm
    assert d[0] > d[1] > d[2]
    got = m.recovery_by_size([0, d[2] + 0.1, d[1] + 0.1, d[0], 2 * d[0]])
    np.testing.assert_array_equal(got["references"], [1, 1, 0, 1])
    np.testing.assert_array_equal(got["found"], [1, 0, 0, 1])
    np.testing.assert_array_equal(got["recovery"], [1, 0, np.nan, 1])
    assert m.recovery_at(0.5) == pytest.approx(1 / 3) and m.recovery == pytest.approx(2 / 3)
    assert m.summary()["recovery_half_overlap"] == pytest.approx(1 / 3)


def test_every_touching_sphere_is_found_from_the_table_of_spheres(foam):
    image, centres, radii = foam
    m = match_spheres(quantify(image), centres, radii)
    assert (m.recovery, m.invented_share, m.count_ratio) == (1, 0, 1)
    assert m.iou.min() > 0.85
    np.testing.assert_allclose(m.reference_diameter_nm, 2 * radii)


def test_lost_and_invented_spheres_show(foam):
    image, centres, radii = foam
    measured = quantify(image)
    far = [[26 * PIXEL, 24 * PIXEL, 24 * PIXEL]]  # between the spheres
    m = match_spheres(measured, np.r_[centres[1:], far], np.r_[radii[1:], 3 * PIXEL])
    assert m.references == {"found": 11, "merged": 0, "split": 0, "lost": 1} and m.reference_fate[-1] == 3
    assert m.measured["invented"] == 1
    assert str(m) == "11 of 12 found (91.7 %), 1 lost, 0 merged, 0 split; 1 of 12 invented"


def test_a_pore_that_touches_the_face_in_one_volume_only_is_neither_lost_nor_invented(pores):
    whole = quantify(pores((40, 40, 40), [(9.2, 20, 20), (30, 20, 20)], [9, 6]))
    cut = quantify(pores((40, 40, 40), [(8.6, 20, 20), (30, 20, 20)], [9, 6]))
    assert (whole.count, cut.count) == (2, 1)
    assert match(cut, whole).references["found"] == 2
    assert match(whole, cut).measured["invented"] == 0


def test_spheres_are_labelled_in_their_place_and_cut_ones_come_last():
    grid = Grid.of((30, 20, 25), (2 * PIXEL, PIXEL, PIXEL), origin_nm=50.0)
    centres = grid.to_nm([(0.5, 10, 10), (15, 10, 12)])
    got = label_spheres(grid, centres, [3 * PIXEL, 6 * PIXEL])
    assert got.whole == 1 and list(got.sphere) == [1, 0]
    assert got.labels[15, 10, 12] == 1 and got.labels[0, 10, 10] == 2
    assert (got.labels == 1).sum() * 2 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)


def test_nobody_on_either_side_gives_no_number_rather_than_a_wrong_one():
    m = match(drawn(), drawn())
    assert np.isnan(m.recovery) and m.summary()["recovery"] is None
    assert match(drawn((2, 8)), drawn()).measured["invented"] == 1
    assert match(drawn(), drawn((2, 8))).references["lost"] == 1


def test_bad_input_is_named(foam):
    a = quantify(foam[0])
    with pytest.raises(
        InputError, match=r"The measured objects have no labels to match. Quantify with keep_labels=True"
    ):
        match(quantify(foam[0], keep_labels=False), a)
    with pytest.raises(InputError, match="Labels of one shape are needed"):
        match(drawn((2, 8)), np.zeros((4, 4), int))
    with pytest.raises(InputError, match=r"must be whole numbers from 0 up, \(z, y, x\) or \(y, x\), but float64"):
        match(np.zeros((4, 4)), np.zeros((4, 4), int))
    coarser = foam[0].with_data(foam[0].data, Grid.of(foam[0].data.shape, 2 * PIXEL))
    with pytest.raises(InputError, match="matched on one grid only"):
        match(quantify(coarser), a)
    with pytest.raises(InputError, match=r"Spheres need a ZYX grid, centres of shape \(n, 3\)"):
        match_spheres(a, [[0, 0, 0]], [1, 2])
