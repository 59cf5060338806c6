"""Lost and invented objects predicted in volumes: drawn pores, one wiped, one added; whole and box by box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.trust import calibrate_volume, doubt, doubt_flags
from finescan.trust.bands import gathered, nearby_largest
from finescan.trust.doubt_features import COLUMNS, Sought, evidence
from finescan.values import Circle, Grid, Image

SIDE, FACTOR, NOISE = 24, 3, 3.0
COARSE = Grid.of((SIDE,) * 3, 30.0)
FINE = COARSE.refine(FACTOR)
SOUGHT = Sought(True, 120.0)
LEARNED = (slice(0, 36), slice(0, 72), slice(0, 72))  # the upper half has a fine scan
PLACES = [(z, y, x) for z in range(9, 72, 18) for y in range(9, 72, 18) for x in range(9, 72, 18)]
WIPED, ADDED = (63, 27, 45), (54, 54, 18)
EVERYWHERE = Circle((0.0, 0.0), 1e9)


def pores(places, size=3.5) -> np.ndarray:
    """Dark balls with soft edges on a ground of 180."""
    out = np.full(FINE.shape, 180, np.float32)
    z, y, x = np.ogrid[-8:9, -8:9, -8:9]
    for place in places:
        ball = 120 / (1 + np.exp(2 * (np.sqrt(z**2 + y**2 + x**2) - size)))
        out[tuple(slice(p - 8, p + 9) for p in place)] -= ball.astype(np.float32)
    return out


TRUE = pores(PLACES)
WRONG = pores([*(p for p in PLACES if p != WIPED), ADDED])


@pytest.fixture(scope="module")
def scene():
    """Coarse scan, yardstick, and the recorded fine scan."""
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(TRUE, 0.5 * FACTOR)
    coarse = blurred.reshape(SIDE, FACTOR, SIDE, FACTOR, SIDE, FACTOR).mean((1, 3, 5))
    lr = Image((coarse + rng.normal(0, NOISE, coarse.shape)).astype(np.float32), COARSE, "coarse")
    fine = (TRUE + rng.normal(0, NOISE, TRUE.shape)).astype(np.float32)
    return lr, calibrate_volume(Image(fine, FINE, "fine"), lr), fine


def learned(scene, picture, sought=SOUGHT):
    lr, check, fine = scene
    box = FINE.crop([s.start for s in LEARNED], [s.stop for s in LEARNED])
    seen = doubt.Seen(picture[LEARNED], fine[LEARNED], np.ones(box.shape, bool), box)
    return doubt.learn_doubts(Image(picture, FINE, "enhanced"), lr, check, [seen], sought, EVERYWHERE)


@pytest.fixture(scope="module")
def wrong(scene):
    """What was learned on the volume with two wrong pores, and the probabilities."""
    doubts = learned(scene, WRONG)
    return doubts, doubt_flags.doubt_maps(Image(WRONG, FINE, "enhanced"), *scene[:2], doubts, EVERYWHERE)


def away(place) -> np.ndarray:
    """Distance from a fine voxel, coarse voxels."""
    centre = (np.array(place) / FACTOR)[:, None, None, None]
    return np.sqrt(((np.mgrid[:SIDE, :SIDE, :SIDE] - centre) ** 2).sum(axis=0))


@pytest.mark.parametrize("sought", [SOUGHT, None])
def test_a_wiped_and_an_added_pore_are_flagged_there_and_nowhere_else_and_the_true_volume_is_not(scene, wrong, sought):
    lr, check, _ = scene
    if sought is None:
        doubts = learned(scene, WRONG, None)
        maps = doubt_flags.doubt_maps(Image(WRONG, FINE, "enhanced"), lr, check, doubts, EVERYWHERE)
    else:
        doubts, maps = wrong
        assert not doubts.learned and doubts.counts == {"found": 32, "lost": 0, "invented": 0}
    masks, _ = doubt_flags.doubted(maps, np.ones(COARSE.shape, bool))
    for kind, place in (("omission", WIPED), ("invention", ADDED)):
        at = tuple(v // FACTOR for v in place)
        assert maps[kind][at] > 0.95 and masks[kind][at]
        far = (away(WIPED) > 5) & (away(ADDED) > 5)
        assert masks[kind][far].mean() < 0.002 and maps[kind][far].max() < 0.5
    true = Image(TRUE, FINE, "true")
    clean = doubt_flags.doubt_maps(true, lr, check, learned(scene, TRUE, sought), EVERYWHERE)
    assert all(m.max() < 0.5 and (m >= doubt_flags.LEAST).mean() < 0.002 for m in clean.values())


def test_boxes_give_the_figures_of_the_whole(scene, wrong, monkeypatch):
    lr, check, _ = scene
    image = Image(WRONG, FINE, "enhanced")
    whole = evidence(image, lr, check, SOUGHT)
    assert whole.columns.shape == (SIDE, SIDE, SIDE, len(COLUMNS))
    part = evidence(image, lr, check, SOUGHT, ((13, 0, 5), (22, 9, 24)))
    for name, values in vars(part).items():
        np.testing.assert_allclose(values, getattr(whole, name)[13:22, :9, 5:], rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(doubt_flags, "BOX_PX", 1)  # halved as long as that goes: 12 slices along every edge
    seen = np.zeros(COARSE.shape, int)
    for box, maps in doubt_flags.doubt_boxes(image, lr, check, wrong[0], EVERYWHERE):
        seen[box] += 1
        assert max(s.stop - s.start for s in box) == 12
        for kind, p in maps.items():
            np.testing.assert_allclose(p, wrong[1][kind][box], atol=1e-3)
    assert (seen == 1).all()


def test_the_strongest_of_boxes_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    shape = (20, 20, 20)
    usable = rng.random(shape) > 0.1
    for powers in ((4, 9), (4, 60), (1, 1)):  # many, few and next to no probable voxels
        maps = {
            k: (rng.random(shape) ** n).astype(np.float32).round(2) for k, n in zip(doubt.KINDS, powers, strict=True)
        }
        masks, limits = doubt_flags.doubted(maps, usable)
        strongest = doubt_flags.Strongest(int(doubt_flags.SHARE * usable.sum()), shape)
        for first in range(0, 20, 4):
            box = slice(first, first + 4), slice(0, 20), slice(0, 20)
            strongest.add({k: p[box] for k, p in maps.items()}, usable[box], box)
        found, again = strongest.flagged()
        assert again == limits and strongest._found["omission"].size <= 2 * strongest.room + 1
        for kind, mask in masks.items():
            assert np.array_equal(np.sort(found[kind]), np.flatnonzero(mask))
        assert sum(m.sum() for m in masks.values()) <= strongest.room


@pytest.mark.parametrize("shape", [(31, 40), (12, 13, 14)])
def test_places_in_which_little_is_expected_to_be_wrong_are_left_out(shape):
    rng = np.random.default_rng(1)
    maps = {k: np.where(rng.random(shape) > 0.97, rng.uniform(0.02, 0.15, shape), 0) for k in doubt.KINDS}
    maps["omission"][..., -1] = np.where(rng.random(shape[:-1]) > 0.8, 0.1, 0)  # both ends of rows: not neighbours
    maps["omission"][..., 0] = np.where(rng.random(shape[:-1]) > 0.8, 0.1, 0)
    maps = {k: p.astype(np.float32) for k, p in maps.items()}
    usable = rng.random(shape) > 0.1
    masks, limits = doubt_flags.doubted(maps, usable)
    some = 0
    for kind, p in maps.items():
        every = usable & (p >= limits[kind])
        places, count = ndimage.label(every, np.ones((3,) * len(shape)))
        total = np.asarray(ndimage.sum(p.astype(np.float64), places, np.arange(count + 1)))
        total[0] = 0
        assert np.array_equal(masks[kind], total[places] >= doubt_flags.PLACE)
        some += 0 < masks[kind].sum() < every.sum()
    assert some == 2
    none, _ = doubt_flags.doubted({k: 0 * p for k, p in maps.items()}, usable)
    assert not any(m.any() for m in none.values())


def test_nothing_is_said_outside_a_round_field_of_view_and_its_zeros_are_no_pores(scene, wrong):
    lr, check, _ = scene
    middle = COARSE.edge_nm[1] + COARSE.extent_nm[1] / 2
    circle = Circle((middle, middle), 11.0 * 30)
    outside = ~circle.mask(FINE)
    image, coarse = WRONG.copy(), lr.array().copy()
    image[:, outside], coarse[:, ~circle.mask(COARSE)] = 0, 0
    lr = Image(coarse, COARSE, "coarse")
    found = doubt_flags.doubt_maps(Image(image, FINE, "enhanced"), lr, check, wrong[0], circle)
    far = (away(WIPED) > 5) & (away(ADDED) > 5)
    for kind, place in (("omission", WIPED), ("invention", ADDED)):
        assert not found[kind][:, ~circle.mask(COARSE)].any()
        assert found[kind][tuple(v // FACTOR for v in place)] > 0.9
        assert (found[kind][far] >= doubt_flags.LEAST).mean() < 0.003


def test_wrong_objects_of_volumes_are_those_the_other_shows_less_than_half_of():
    ours, theirs = (np.full((24, 24, 24), 180, np.float32) for _ in range(2))
    theirs[4:9, 4:9, 4:9] = theirs[14:19, 14:19, 14:19] = 60
    ours[5:10, 5:10, 5:10] = ours[4:8, 14:18, 14:18] = 60  # a found one, displaced by a voxel, and an invented one
    ours[20:22, 2:4, 2:3] = 60  # of four voxels: noise
    sharp = replace(SOUGHT, smooth_px=0.01)
    seen = doubt.Seen(ours, theirs, np.ones(ours.shape, bool), Grid.of(ours.shape, 1.0))
    labels = doubt.wrong_objects(seen, sharp)
    assert labels.counts == {"found": 1, "lost": 1, "invented": 1}
    assert labels.masks()["omission"].sum() == 125 and labels.masks()["invention"].sum() == 64


def test_a_small_pore_in_a_thin_wall_is_a_near_call(scene):
    lr, check, _ = scene
    wall = np.full(FINE.shape, 180, np.float32)
    wall[:, :, 36:60], wall[:, :, :33] = 60, 60  # three voxels of solid between two large pores
    wall[34:37, 34:37, 34] = 130  # nearly open
    seen = evidence(Image(wall, FINE, "wall"), lr, check, replace(SOUGHT, smooth_px=0.3))
    assert -30 < seen.peak[11, 11, 11] < 0 and not (seen.peak[4, 4] > -50).any()


def test_gathering_and_displacement_have_no_number_of_axes():
    values = np.random.default_rng(0).random((6, 8, 9)).astype(np.float32)
    values[0, 0, 0] = np.nan
    fine = Grid.of(values.shape, 10.0)
    found = gathered(values, fine, fine.coarsen((3, 4, 3)))
    np.testing.assert_array_equal(found, np.nanmax(values.reshape(2, 3, 2, 4, 3, 3), axis=(1, 3, 5)))
    wide = gathered(values, fine, Grid.of((1, 1, 2), (60.0, 80.0, 90.0), (25.0, 35.0, 130.0)))
    assert np.isnan(wide).all() and wide.shape == (1, 1, 2)
    point = np.zeros((7, 7, 7), np.float32)
    point[3, 3, 3] = 1
    assert nearby_largest(point, [1.0, 1.0, 1.0]).sum() == 7 and nearby_largest(point, [2.0, 1.0, 0.5]).sum() == 7
