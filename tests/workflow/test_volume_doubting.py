"""The step that flags lost and invented objects of volumes: where, in regions of interest, and its words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.enhancement import Enhanced
from finescan.patches import VolumeSplitConfig, make_volume_patches
from finescan.trust import doubt
from finescan.values import Circle, Grid, Image, Pair, Region, Residual, TrustMap, Verdict, Warp, flag_bits
from finescan.workflow import volume_doubting as doubting
from finescan.workflow import volume_judging as judging

SIDE, FACTOR, NOISE = 26, 3, 3.0
COARSE = Grid.of((SIDE,) * 3, 30.0)
FINE = COARSE.refine(FACTOR)
PLACES = [(z, y, x) for z in range(9, 78, 15) for y in range(9, 78, 15) for x in range(9, 78, 15)]
WIPED, ADDED = (69, 24, 39), (61, 61, 46)  # below the fine volume, which covers the upper 51 slices
EVERYWHERE = Circle((0.0, 0.0), 1e9)


def pores(places) -> np.ndarray:
    out = np.full(FINE.shape, 180, np.float32)
    z, y, x = np.ogrid[-7:8, -7:8, -7:8]
    ball = 120 / (1 + np.exp(2 * (np.sqrt(z**2 + y**2 + x**2) - 3.5)))
    for place in places:
        out[tuple(slice(p - 7, p + 8) for p in place)] -= ball.astype(np.float32)
    return out


TRUE = pores(PLACES)
WRONG = pores([*(p for p in PLACES if p != WIPED), ADDED])


@pytest.fixture(scope="module")
def scene():
    """Coarse volume, patches, yardstick."""
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(TRUE, 0.5 * FACTOR).reshape(SIDE, FACTOR, SIDE, FACTOR, SIDE, FACTOR)
    lr = Image((blurred.mean((1, 3, 5)) + rng.normal(0, NOISE, COARSE.shape)).astype(np.float32), COARSE, "coarse")
    fine = (TRUE + rng.normal(0, NOISE, TRUE.shape)).astype(np.float32)[:51]
    hr = Image(fine, FINE.crop((0, 0, 0), fine.shape), "fine")
    pair = Pair(lr, hr, Warp.identity(3), Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, COARSE))
    patches = make_volume_patches([pair], config=VolumeSplitConfig(guard_voxels=4), circle=EVERYWHERE)
    return lr, patches, judging.yardstick(patches, lr)


def blank(grid=COARSE, *names) -> TrustMap:
    return TrustMap(np.full(grid.shape, flag_bits(*names), np.uint8), grid)


def mark(scene, picture, flags=None, check=None, wanted="dark"):
    lr, patches, ordinary = scene
    image = Image(picture, FINE, "enhanced")
    return doubting.mark_volume_doubts(image, lr, flags or blank(), patches, check or ordinary, None, wanted)


def near(place, px) -> np.ndarray:
    centre = (np.array(place) / FACTOR)[:, None, None, None]
    return np.sqrt(((np.mgrid[:SIDE, :SIDE, :SIDE] - centre) ** 2).sum(axis=0)) <= px


@pytest.fixture(scope="module")
def marked(scene):
    return mark(scene, WRONG, blank(COARSE, "border", "invention"))


def test_a_wiped_and_an_added_pore_are_flagged_and_what_was_flagged_before_stays(scene, marked):
    for kind, place in (("omission", WIPED), ("invention", ADDED)):
        flagged = marked.flags.where(kind)
        assert flagged[tuple(v // FACTOR for v in place)] and flagged[~near(place, 6)].mean() < 0.003
        assert marked.facts["shares"][kind] == pytest.approx(flagged.mean())
    assert marked.flags.where("border").all()
    true = mark(scene, TRUE).flags
    assert true.where("omission").mean() < 0.003 and true.where("invention").mean() < 0.003


def test_what_is_said(marked):
    assert marked.notes == (
        "The fine scan held 0 lost and 0 invented dark objects, too few to learn from (4 are needed): there the flags "
        "rest on how near a call each object is for an error of the ordinary size.",
    )
    assert marked.facts["predicted"] and marked.facts["objects_learned_from"]["found"] >= 20
    right = marked.facts["test_blocks"]["omission"]["right"]
    assert right >= 4 and marked.facts["sentence"].startswith(f"The test blocks hold 0 lost dark objects and {right} ")


def test_what_the_test_boxes_recorded_is_not_learned_from(scene):
    lr, patches, check = scene
    (piece,) = patches.pieces
    changed = piece.hr.copy()
    changed[patches.counted(piece, "test")] = 180
    other = lr, replace(patches, pieces=(replace(piece, hr=changed),)), check
    ours, theirs = (mark(s, WRONG).facts for s in (scene, other))
    assert ours["model"] == theirs["model"] and ours["test_blocks"] != theirs["test_blocks"]


def test_where_both_show_different_things_nothing_is_flagged_and_it_is_said(scene):
    done = mark(scene, WRONG, blank(COARSE, "omission"), check=replace(scene[2], explained=0.2))
    assert not done.flags.where("omission").any() and not done.facts["predicted"]
    assert done.notes[0].startswith("Coarse and fine scan show different things, so lost and invented objects are not")


def test_interpolation_invents_nothing_and_nothing_is_flagged_without_data(scene):
    done = mark(scene, WRONG, blank(COARSE, "untrained"))
    assert done.flags.where("omission").any() and not done.flags.where("invention").any()
    done = mark(scene, WRONG, blank(COARSE, "no_data"))
    assert not done.flags.where("omission").any() and not done.flags.where("invention").any()


def test_a_region_is_flagged_as_in_the_whole(scene, marked):
    lr, _, check = scene
    doubts = doubt.Doubts.from_dict(marked.facts["model"])
    region = Region(COARSE, (14, 2, 6), (26, 24, 24))
    fine = FINE.crop([FACTOR * v for v in region.start], [FACTOR * v for v in region.stop])
    part = WRONG[tuple(slice(FACTOR * a, FACTOR * b) for a, b in zip(region.start, region.stop, strict=True))]
    found, _ = doubting.mark_learned_volume(
        Image(part, fine, "part"), lr, blank(region.own_grid), check, doubts, EVERYWHERE
    )
    for kind, place in (("omission", WIPED), ("invention", ADDED)):
        whole = marked.flags.where(kind)[region.slices]
        assert whole.any() and (found.where(kind) == whole)[near(place, 4)[region.slices]].mean() > 0.9


def test_a_fine_volume_outside_the_enhanced_region_is_enhanced_to_learn_from(scene, marked, monkeypatch):
    lr, patches, check = scene
    asked = []

    def enhance(model, coarse, *, config, region):
        asked.append(region)
        image = Image(WRONG[region.slices], region.own_grid, "made")
        return Enhanced(image, blank(), (), 0.0, 0)

    monkeypatch.setattr(doubting, "enhance_volume", enhance)
    region = Region(COARSE, (18, 0, 0), COARSE.shape)
    part = Image(WRONG[54:], FINE.crop((54, 0, 0), FINE.shape), "part")
    done = doubting.mark_volume_doubts(part, lr, blank(region.own_grid), patches, check, None)
    assert asked[0].start[0] == 0 and asked[0].stop[0] > 51  # with context behind the fine volume
    assert done.facts["objects_learned_from"] == marked.facts["objects_learned_from"]
    assert done.facts["model"]["spread"] == pytest.approx(marked.facts["model"]["spread"])
    assert done.flags.where("omission")[WIPED[0] // FACTOR - 18].any()


def test_a_large_fine_volume_is_looked_at_in_boxes_spread_over_it(scene, monkeypatch):
    monkeypatch.setattr(doubting, "BLOCK_VOXELS", 30_000)
    whole = mark(scene, WRONG).facts["objects_learned_from"]["found"]
    monkeypatch.setattr(doubting, "FINE_VOXELS", 90_000)
    some = mark(scene, WRONG).facts["objects_learned_from"]["found"]
    assert 0 < some < whole
