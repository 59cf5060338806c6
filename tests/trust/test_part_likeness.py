"""The part of a map that shows something else is found, and only that part."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.simulation import simulate
from finescan.trust import compare_parts
from finescan.trust.part_likeness import PartLikeness, parts_sentence
from finescan.values import look_of, look_of_parts, looks_of_places


def coarse(recipe: str, seed: int) -> np.ndarray:
    return simulate(recipe, size=256, ratio=4, fine=300, seed=seed).lr.array().astype(float)


@pytest.fixture(scope="module")
def card():
    return look_of(coarse("dual-phase", 11))


def test_parts_of_a_second_map_of_the_sample_are_like_it(card):
    parts = compare_parts(coarse("dual-phase", 12), card)
    assert parts.distance.shape == (2, 2) and parts.share == 0
    assert parts_sentence(parts.to_dict()) == "" and parts.worst() == []


def test_the_quarter_of_another_material_is_found(card):
    mixed = coarse("dual-phase", 12)
    mixed[128:, :128] = coarse("case-hardening", 12)[128:, :128]
    parts = compare_parts(mixed, card)
    assert parts.unlike.tolist() == [[False, False], [True, False]]
    assert parts.worst()[0][0] == (slice(128, 256), slice(0, 128))
    told = parts_sentence(parts.to_dict())
    assert told.startswith("25 % of the map (1 of 4 parts of 128 px) is unlike") and "rows 128 to 256" in told


def sides(left: str, right: str, seed: int) -> np.ndarray:
    """A sample of two kinds of places: noise of a few grey levels on the left, of many on the right."""
    out = coarse(left, seed)
    out[:, 128:] = coarse(right, seed)[:, 128:]
    return out


def test_places_of_an_uneven_sample_count_one_by_one():
    learned, later = sides("dual-phase", "lattice", 11), sides("dual-phase", "lattice", 12)
    later[128:, 128:] = coarse("noisy", 12)[128:, 128:]
    everywhere = np.ones(learned.shape, bool)
    whole, places = look_of_parts([(learned, everywhere)]), looks_of_places([(learned, everywhere)])
    assert len(places) == 9
    assert compare_parts(later, whole).unlike[0, 1]  # a place of one kind is not like the mean of both
    assert compare_parts(later, whole, places).unlike.tolist() == [[False, False], [False, True]]


def test_places_of_an_even_sample_do_not_count(card):
    learned = coarse("dual-phase", 11)
    places = looks_of_places([(learned, np.ones(learned.shape, bool))])
    other = coarse("sandstone", 12)
    np.testing.assert_array_equal(compare_parts(other, card, places).distance, compare_parts(other, card).distance)
    assert looks_of_places([(learned[:100], np.ones((100, 256), bool))]) == []
    below = np.arange(256)[:, None] >= np.full(256, 130)  # of the places at rows 0, 64 and 128, the last lie in it
    assert len(looks_of_places([(learned, below)])) == 3


def test_missing_and_empty_parts_have_no_verdict(card):
    map_ = coarse("dual-phase", 12)
    map_[:128, :128], map_[:128, 128:] = np.nan, 7.0
    parts = compare_parts(map_, card)
    assert np.isnan(parts.distance[0]).all() and np.isfinite(parts.distance[1]).all()
    assert parts.to_dict()["parts"] == 2


def test_boxes_cover_the_map_once():
    parts = PartLikeness(np.zeros((3, 2), np.float32), 100, (351, 299))
    count = np.zeros((351, 299), int)
    for row, column in np.ndindex(3, 2):
        count[parts.box(row, column)] += 1
    assert (count == 1).all()


def test_large_maps_have_larger_parts(card):
    class Wide:
        shape = (200, 128 * 64)

        def __getitem__(self, box):
            rows, columns = box
            return np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan)

    with pytest.raises(InputError, match="parts of 256 x 256 px, but this one has 200 x 8192 px"):
        compare_parts(Wide(), card)
    assert compare_parts(Wide(), card, side=128).distance.shape == (1, 64)
