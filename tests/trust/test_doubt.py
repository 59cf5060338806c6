"""Lost and invented objects predicted without a fine scan: drawn pores, one wiped, one added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.trust import calibrate, doubt, doubt_flags
from finescan.trust.doubt_features import COLUMNS, Sought, evidence
from finescan.values import Grid, Image

SIDE, FACTOR, NOISE = 64, 4, 3.0
COARSE = Grid.of((SIDE, SIDE), 40.0)
FINE = COARSE.refine(FACTOR)
SOUGHT = Sought(True, 120.0)
LEARNED = (slice(0, SIDE * FACTOR), slice(0, 128))  # the left half has a fine scan


def pores(places, size=4.0) -> np.ndarray:
    """Dark discs with soft edges on a ground of 180."""
    yy, xx = np.mgrid[: SIDE * FACTOR, : SIDE * FACTOR]
    depth = sum(expit(size - np.hypot(yy - y, xx - x)) for y, x in places)
    return (180 - 120 * np.minimum(depth, 1)).astype(np.float32)


def expit(v):
    return 1 / (1 + np.exp(-2 * v))


PLACES = [(y, x) for y in range(24, 240, 40) for x in range(24, 240, 40)]
WIPED, ADDED = (144, 184), (84, 204)  # (144, 184) is one of them, (84, 204) lies between
TRUE = pores(PLACES)
WRONG = pores([*(p for p in PLACES if p != WIPED), ADDED])


@pytest.fixture(scope="module")
def scene():
    """Coarse scan, yardstick, and what of the true picture is learned from."""
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(TRUE, 0.45 * FACTOR)
    coarse = blurred.reshape(SIDE, FACTOR, SIDE, FACTOR).mean((1, 3)) + rng.normal(0, NOISE, (SIDE, SIDE))
    lr = Image(coarse.astype(np.float32), COARSE, "coarse")
    fine = (TRUE + rng.normal(0, NOISE, TRUE.shape)).astype(np.float32)
    check = calibrate(Image(fine, FINE, "fine"), lr)
    return lr, check, fine


def predicted(scene, picture, sought=SOUGHT):
    lr, check, fine = scene
    box = FINE.crop([s.start for s in LEARNED], [s.stop for s in LEARNED])
    seen = doubt.Seen(picture[LEARNED], fine[LEARNED], np.ones(box.shape, bool), box)
    image = Image(picture, FINE, "enhanced")
    doubts = doubt.learn_doubts(image, lr, check, [seen], sought)
    return doubts, doubt_flags.doubt_maps(image, lr, check, doubts)


def test_what_was_learned_is_the_same_after_it_was_written(scene):
    import json

    doubts, maps = predicted(scene, WRONG)
    read = doubt.Doubts.from_dict(json.loads(json.dumps(doubts.to_dict(), allow_nan=False)))
    lr, check, _ = scene
    again = doubt_flags.doubt_maps(Image(WRONG, FINE, "enhanced"), lr, check, read)
    assert all(np.array_equal(again[k], maps[k]) for k in maps)
    bare = doubt.Doubts.from_dict(json.loads(json.dumps(doubt.Doubts(None).to_dict(), allow_nan=False)))
    assert bare == doubt.Doubts(None)


def near(place, px=4):
    return np.hypot(*(np.mgrid[:SIDE, :SIDE] - (np.array(place) / FACTOR)[:, None, None])) <= px


def test_a_wiped_and_an_added_pore_are_flagged_there_and_nowhere_else_and_the_true_picture_is_not(scene):
    doubts, maps = predicted(scene, WRONG)
    assert not doubts.learned and doubts.counts == {"found": 18, "lost": 0, "invented": 0}
    masks, limits = doubt_flags.doubted(maps, np.ones(COARSE.shape, bool))
    for kind, place, other in (("omission", WIPED, ADDED), ("invention", ADDED, WIPED)):
        y, x = np.array(place) // FACTOR
        assert maps[kind][y, x] > 0.95 and masks[kind][y, x] and not masks[kind][near(other, 2)].any()
        far = ~near(place, 5)  # peaks of the noise may look like something missing, rarely and not for certain
        assert masks[kind][far].mean() < 0.002 and maps[kind][far].max() < 0.5 and limits[kind] >= doubt_flags.LEAST
    true = predicted(scene, TRUE)[1]
    clean, _ = doubt_flags.doubted(true, np.ones(COARSE.shape, bool))
    assert all(clean[k].mean() < 0.002 and true[k].max() < 0.5 for k in doubt.KINDS)


def test_without_objects_both_are_still_told_by_the_coarse_scan(scene):
    doubts, maps = predicted(scene, WRONG, None)
    assert doubts.counts == {}
    true = predicted(scene, TRUE, None)[1]
    for kind, place in (("omission", WIPED), ("invention", ADDED)):
        y, x = np.array(place) // FACTOR
        assert maps[kind][y, x] > 0.95 and true[kind].max() < 0.5
        assert maps[kind][~near(ADDED, 8) & ~near(WIPED, 8)].max() < 0.5


def test_what_the_coarse_scan_cannot_show_is_not_called_unsupported(scene):
    lr, check, _ = scene
    speck = TRUE.copy()
    speck[84:86, 204:206] -= 16  # darkens one coarse pixel by about its noise
    seen = evidence(Image(speck, FINE, "speck"), lr, check, None)
    assert doubt.unsupported(seen, 0.0)[near(ADDED)].max() < doubt_flags.LEAST


def test_enough_wrong_objects_are_learned_from_and_the_same_ones_are_found_elsewhere(scene):
    faint = [(y + 20, x + 20) for y, x in PLACES if y < 200 and x < 200]  # between the others
    shallow = TRUE - (180 - pores(faint, 2.5)) * 0.75
    rng = np.random.default_rng(1)
    coarse = ndimage.gaussian_filter(shallow, 0.45 * FACTOR).reshape(SIDE, FACTOR, SIDE, FACTOR).mean((1, 3))
    lr = Image((coarse + rng.normal(0, NOISE, coarse.shape)).astype(np.float32), COARSE, "coarse")
    blunt = ndimage.gaussian_filter(shallow, 3.0)  # loses the small ones
    doubts, maps = predicted((lr, scene[1], shallow.astype(np.float32)), blunt.astype(np.float32))
    assert list(doubts.learned) == ["omission"] and doubts.counts["lost"] >= doubt.ENOUGH[2]
    elsewhere = FINE.crop((0, 132), FINE.shape)
    part = slice(0, 256), slice(132, 256)
    known = np.ones(elsewhere.shape, bool)
    seen = doubt.Seen(blunt[part].astype(np.float32), shallow[part].astype(np.float32), known, elsewhere)

    def predicted_in(_, box):
        return {k: p[box[0][0] : box[1][0], box[0][1] : box[1][1]] for k, p in maps.items()}

    judged = doubt_flags.judged(predicted_in, COARSE, [seen], SOUGHT)["omission"]
    assert judged["wrong"] >= 5 and judged["right"] >= 10 and judged["auroc"] > 0.9
    again = predicted((lr, scene[1], shallow.astype(np.float32)), blunt.astype(np.float32))
    assert again[0] == doubts and all(np.array_equal(again[1][k], maps[k]) for k in maps)


def test_bands_and_boxes_give_the_figures_of_the_whole(scene, monkeypatch):
    lr, check, _ = scene
    image = Image(WRONG, FINE, "enhanced")
    whole = evidence(image, lr, check, SOUGHT)
    assert whole.columns.shape == (SIDE, SIDE, len(COLUMNS))
    part = evidence(image, lr, check, SOUGHT, ((30, 20), (44, 50)))
    for name, values in vars(part).items():
        np.testing.assert_allclose(values, getattr(whole, name)[30:44, 20:50], rtol=1e-3, atol=1e-3)
    doubts, maps = predicted(scene, WRONG)
    monkeypatch.setattr(doubt_flags, "BAND_PX", 1)  # 32 rows at a time
    for kind, banded in doubt_flags.doubt_maps(image, lr, check, doubts).items():
        np.testing.assert_allclose(banded, maps[kind], atol=1e-3)


def test_wrong_objects_are_those_the_other_picture_shows_less_than_half_of():
    ours, theirs = (np.full((40, 40), 180, np.float32) for _ in range(2))
    theirs[5:11, 5:11] = theirs[25:31, 25:31] = 60
    ours[6:12, 6:12] = ours[5:9, 25:29] = 60  # a found one, displaced by a pixel, and an invented one
    ours[30:32, 4:5] = 60  # of two pixels: noise
    sharp = replace(SOUGHT, smooth_px=0.01)
    labels = doubt.wrong_objects(doubt.Seen(ours, theirs, np.ones(ours.shape, bool), Grid.of(ours.shape, 1.0)), sharp)
    assert labels.counts == {"found": 1, "lost": 1, "invented": 1}
    assert labels.masks()["omission"][27, 27] and not labels.masks()["omission"][7, 7]
    assert labels.masks()["invention"].sum() == 16


def test_a_near_call_is_as_likely_wrong_as_an_ordinary_error_is_large():
    margin = np.array([-np.inf, -20, -10, -0.1, 0.1, 10, np.inf], np.float32)
    np.testing.assert_allclose(doubt.near_call(margin, 10.0), [0, 0.0228, 0.1587, 0.496, 0.496, 0.1587, 0], atol=1e-3)


def test_the_edge_of_a_clear_object_is_no_near_call(scene):
    lr, check, _ = scene
    seen = evidence(Image(TRUE, FINE, "true"), lr, check, SOUGHT)
    shown = np.isfinite(seen.depth)
    edge = ndimage.binary_dilation(shown, iterations=2) & ~shown
    assert shown.sum() > 100 and doubt.near_call(seen.depth, 20.0)[shown].max() < 0.01
    assert doubt.near_call(seen.peak, 20.0)[edge].max() < 0.01
    faint = Image(np.maximum(TRUE, 128), FINE, "faint")  # just no object
    missed = evidence(faint, lr, check, SOUGHT)
    assert doubt.near_call(missed.peak, 20.0)[shown].min() > 0.2 and not np.isfinite(missed.depth).any()


@pytest.mark.parametrize("flat", [0.2, 0.01])
def test_no_more_than_a_twentieth_of_the_area_is_flagged_and_nothing_improbable(flat):
    rng = np.random.default_rng(0)
    maps = {"omission": rng.random((100, 100)).astype(np.float32), "invention": np.full((100, 100), flat, np.float32)}
    maps["invention"][:5, :30] = 0.9
    masks, limits = doubt_flags.doubted(maps, np.ones((100, 100), bool))
    assert masks["omission"].sum() + masks["invention"].sum() <= 500
    assert masks["invention"][:5, :30].all() and masks["invention"].sum() == 150
    assert masks["omission"].sum() in range(340, 351) if flat < doubt_flags.LEAST else masks["omission"].sum() <= 250
    assert all(maps[k][masks[k]].min() >= limits[k] for k in maps)


def with_bright_corner(picture, texture):
    """A corner of grey levels that no fine scan covered, with a texture in it."""
    out = picture.copy()
    yy, xx = np.mgrid[: SIDE * FACTOR, : SIDE * FACTOR]
    corner = (yy > 170) & (xx > 170)
    out[corner] = 250 + texture * np.sin(yy / 4)[corner] * np.sin(xx / 4)[corner]
    return out.astype(np.float32)


def coarse_of(picture, seed=0):
    blurred = ndimage.gaussian_filter(picture, 0.45 * FACTOR).reshape(SIDE, FACTOR, SIDE, FACTOR).mean((1, 3))
    return Image(
        (blurred + np.random.default_rng(seed).normal(0, NOISE, blurred.shape)).astype(np.float32), COARSE, "c"
    )


def test_structure_made_of_grey_levels_that_no_fine_scan_covered_is_an_even_bet(scene):
    picture = with_bright_corner(TRUE, 30)
    maps = predicted((coarse_of(picture), *scene[1:]), picture)[1]
    inside, dark = maps["invention"][47:60, 47:60], maps["invention"][:40, :40]
    assert 0.4 < np.median(inside) <= 0.5 and dark.max() < doubt_flags.LEAST
    smooth = with_bright_corner(TRUE, 0)
    plain = predicted((coarse_of(smooth), *scene[1:]), smooth)[1]["invention"]
    assert plain[50:60, 50:60].max() < 0.1


def test_structure_beyond_the_level_at_which_the_coarse_scan_saturates_is_not_contradicted(scene):
    check = scene[1]
    cut = with_bright_corner(TRUE, 60)
    coarse = coarse_of(cut)
    saturated = Image(np.minimum(coarse.array(), 185), COARSE, "coarse")
    found = {}
    for name, rails in (("known", (-np.inf, 185.0)), ("unknown", (-np.inf, np.inf))):
        seen = evidence(Image(cut, FINE, "enhanced"), saturated, replace(check, rails=rails), None)
        found[name] = doubt.unsupported(seen, 0.0)[50:60, 50:60].max()
    assert found["known"] < doubt_flags.LEAST < 0.95 < found["unknown"]


def test_nothing_is_called_missing_where_an_object_is_shown(scene):
    lr, check, _ = scene
    faint = Image(180 - (180 - TRUE) * 0.3, FINE, "faint")  # much less than the coarse scan shows
    y, x = np.array(PLACES[7]) // FACTOR
    for threshold, shown in ((150.0, True), (120.0, False)):
        seen = evidence(faint, lr, check, replace(SOUGHT, threshold=threshold))
        assert (seen.nearby[y, x] > 0) == shown and (doubt.unshown(seen, 1.0)[y, x] == 0) == shown
        assert shown or doubt.unshown(seen, 1.0)[y, x] > 0.9
