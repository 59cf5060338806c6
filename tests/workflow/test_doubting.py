"""The step that flags lost and invented objects: where, with which words, and that test blocks are not looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.patches import ROLES, make_patches
from finescan.trust import doubt
from finescan.values import Grid, Image, Pair, Residual, TrustMap, Verdict, Warp, flag_bits
from finescan.workflow import doubting, judging

SIDE, FACTOR = 72, 4
COARSE = Grid.of((SIDE, SIDE), 40.0)
FINE = COARSE.refine(FACTOR)
PLACES = [(y, x) for y in range(24, 288, 40) for x in range(24, 288, 40)]
WIPED, ADDED = (264, 144), (244, 44)  # below the fine scan, which covers the upper 200 rows


def pores(places) -> np.ndarray:
    yy, xx = np.mgrid[: SIDE * FACTOR, : SIDE * FACTOR]
    depth = sum(1 / (1 + np.exp(np.minimum(2 * (np.hypot(yy - y, xx - x) - 4), 50))) for y, x in places)
    return (180 - 120 * np.minimum(depth, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
    """Coarse map, pair, patches, yardstick, and the true picture."""
    rng = np.random.default_rng(0)
    true = pores(PLACES)
    coarse = ndimage.gaussian_filter(true, 1.8).reshape(SIDE, FACTOR, SIDE, FACTOR).mean((1, 3))
    lr = Image((coarse + rng.normal(0, 3, coarse.shape)).astype(np.float32), COARSE, "coarse")
    hr = Image((true + rng.normal(0, 3, true.shape)).astype(np.float32)[:200], FINE.crop((0, 0), (200, 288)), "fine")
    pair = Pair(lr, hr, Warp.identity(), Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, COARSE))
    patches = make_patches([pair])
    return lr, pair, patches, judging.yardstick(patches, [pair]), true


def mark(scene, picture, flags=None, check=None, pair=None, patches=None):
    lr, whole, all_patches, ordinary, _ = scene
    flags = TrustMap(np.zeros(COARSE.shape, np.uint8) if flags is None else flags, COARSE)
    image = Image(picture, FINE, "enhanced")
    return doubting.mark_doubts(image, lr, flags, patches or all_patches, [pair or whole], check or ordinary)


def near(place, px):
    return np.hypot(*(np.mgrid[:SIDE, :SIDE] - (np.array(place) / FACTOR)[:, None, None])) <= px


def test_a_wiped_and_an_added_pore_are_flagged_and_what_was_flagged_before_stays(scene):
    before = np.full(COARSE.shape, flag_bits("border", "invention"), np.uint8)
    done = mark(scene, pores([*(p for p in PLACES if p != WIPED), ADDED]), before)
    for kind, place in (("omission", WIPED), ("invention", ADDED)):
        flagged = done.flags.where(kind)
        assert flagged[near(place, 1)].all() and flagged[~near(place, 5)].mean() < 0.003
        assert done.facts["shares"][kind] == pytest.approx(flagged.mean())
    assert done.flags.where("border").all()
    true = mark(scene, scene[-1]).flags
    assert true.where("omission").mean() < 0.003 and true.where("invention").mean() < 0.003


def test_what_is_said_of_too_few_wrong_objects(scene):
    done = mark(scene, scene[-1])
    assert done.notes == (
        "The fine scan held 0 lost and 0 invented dark objects, too few to learn from (8 are needed): there the flags "
        "rest on how near a call each object is for an error of the ordinary size.",
    )
    assert done.facts["learned"] == [] and done.facts["objects_learned_from"]["found"] >= 8
    right = done.facts["test_blocks"]["omission"]["right"]
    assert done.facts["sentence"].startswith(
        f"The test blocks hold 0 lost dark objects and {right} others, too few to say how well they are ranked"
    )


def test_a_ranking_is_stated_where_the_test_blocks_hold_enough():
    row = {"auroc": 0.934, "wrong": 6, "right": 40}
    assert doubting._ranking("omission", "dark", row) == (
        "In the test blocks the 6 lost dark objects are ranked above the 40 others with an AUROC of 0.93."
    )


def test_another_detector_gets_no_flags_and_a_note(scene):
    before = np.full(COARSE.shape, flag_bits("border", "omission"), np.uint8)
    done = mark(scene, pores(PLACES[:1]), before, replace(scene[3], explained=0.2))
    assert (np.asarray(done.flags.flags) == flag_bits("border")).all()
    assert not done.facts["predicted"]
    assert done.notes[0].startswith("Coarse and fine scan show different things, so lost and invented objects are not")


def test_where_interpolation_took_over_nothing_is_called_invented(scene):
    untrained = np.where(near(ADDED, 6), flag_bits("untrained"), 0).astype(np.uint8)
    done = mark(scene, pores([*PLACES, ADDED]), untrained)
    assert not done.flags.where("invention")[near(ADDED, 6)].any()


def test_the_test_blocks_are_not_learned_from(scene):
    patches = scene[2]
    piece = patches.pieces[0]
    test = np.repeat(np.repeat(piece.role == ROLES["test"], FACTOR, axis=0), FACTOR, axis=1)
    other = replace(piece, hr=np.where(test, 180, piece.hr).astype(np.float32))  # no pores there
    a, b = mark(scene, scene[-1]), mark(scene, scene[-1], patches=replace(patches, pieces=(other,)))
    assert test.any() and np.array_equal(a.flags.flags, b.flags.flags)
    assert b.facts["test_blocks"]["invention"]["wrong"] > a.facts["test_blocks"]["invention"]["wrong"] == 0
    assert {**a.facts, "test_blocks": 0, "sentence": 0} == {**b.facts, "test_blocks": 0, "sentence": 0}


def test_a_changed_specimen_is_not_learned_from(scene):
    valid = np.ones(scene[1].hr.grid.shape, bool)
    valid[:, 144:] = False
    done = mark(scene, scene[-1], pair=replace(scene[1], valid=valid))
    whole = mark(scene, scene[-1]).facts["objects_learned_from"]["found"]
    assert 0 < done.facts["objects_learned_from"]["found"] < 0.75 * whole


def test_the_key_changes_with_objects_that_were_asked_for_only():
    assert doubting.of_key("auto") == doubting.of_key("none") != doubting.of_key("dark") != doubting.of_key("bright")


def test_the_two_kinds_are_flags():
    assert flag_bits(*doubt.KINDS) == 64 | 128
