"""References: cut from the training area only, evenly, chosen by cosine, turned apart from their patches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from finescan.errors import InputError
from finescan.patches import (
    PatchSampler,
    PatchSet,
    Piece,
    ReferenceBank,
    SplitConfig,
    TripletSampler,
    bank_from_images,
    choose_references,
    cut_references,
    make_patches,
)
from finescan.patches.references import likenesses
from finescan.patches.sampling import turned
from finescan.patches.split import STOP, TEST, TRAIN
from finescan.values import GreyStatistics, Grid, Image


@pytest.fixture(scope="module")
def patches(make_field):
    return make_field()


@pytest.fixture(scope="module")
def make_field():
    """A patch set of one piece with chosen roles (coarse (h, w)) and a fine image that numbers its pixels."""

    def make(shape=(120, 120), roles=None, factor=4):
        rng = np.random.default_rng(0)
        grid = Grid.of(shape, 40.0)
        hr = np.arange(np.prod(shape) * factor**2, dtype=np.float32).reshape(shape[0] * factor, -1)
        role = np.full(shape, TRAIN, np.int8) if roles is None else roles
        piece = Piece(
            rng.normal(100, 10, shape).astype(np.float32), hr, np.ones(hr.shape, bool), role, grid,
            grid.refine(factor), "fine",
        )  # fmt: skip
        grey = GreyStatistics(100.0, 10.0, 70.0, 130.0)
        return PatchSet(
            (piece,),
            factor,
            (4.0, 4.0),
            grid.refine(factor),
            grid,
            grey,
            grey,
            1.0,
            0.0,
            (70.0, 130.0),
            "uint8",
            {},
            {},
        )

    return make


def with_piece(patches, **changes):
    return dataclasses.replace(patches, pieces=(dataclasses.replace(patches.pieces[0], **changes),))


def first(x):
    return np.zeros(len(x), int)


# ------------------------------------------------------------------ cutting
def test_no_reference_shows_a_pixel_of_another_role_or_of_the_gap(make_pair) -> None:
    patches = make_patches([make_pair((800, 800), 4.0, (40, 40, 760, 760))], config=SplitConfig(guard_lr_px=12, seed=3))
    (piece,) = patches.pieces
    marked = np.repeat(np.repeat(piece.role, 4, 0), 4, 1).astype(np.float32)
    assert {TRAIN, STOP, TEST} <= set(np.unique(piece.role).tolist())
    bank = cut_references(with_piece(patches, hr=marked), count=64, side=128)
    assert len(bank) == 64
    assert np.unique(bank.crops).tolist() == [float(TRAIN)]
    held = np.argwhere(np.isin(piece.role, (STOP, TEST))) * 4
    start = np.rint(patches.out_grid.to_index(piece.out_grid.origin_nm))
    for corner in bank.corners - start.astype(int):
        off = np.maximum(corner - (held + 3), held - (corner + 127)).max(axis=1)
        assert off.min() > 12 * 4, "closer to held-out sample than the gap"


def test_corners_say_where_on_the_map_each_crop_was_cut(make_pair) -> None:
    patches = make_patches([make_pair((800, 800), 4.0, (200, 240, 760, 760))])
    bank = cut_references(patches, count=20, side=128, seed=1)
    (piece,) = patches.pieces
    start = np.rint(patches.out_grid.to_index(piece.out_grid.origin_nm)).astype(int)
    assert start.min() > 0
    for crop, (y, x) in zip(bank.crops, bank.corners - start, strict=True):
        np.testing.assert_array_equal(crop, piece.hr[y : y + 128, x : x + 128])
    assert (bank.piece == 0).all()


def test_references_are_spread_more_evenly_than_chance(patches) -> None:
    bank = cut_references(patches, count=50, side=128, seed=4)
    chance = np.random.default_rng(0).integers(0, 480 - 127, (50, 2))

    def closest(corners):
        d = cdist(corners, corners)
        return d[~np.eye(len(d), dtype=bool)].reshape(len(d), -1).min(axis=1).min()

    assert closest(bank.corners) > 3 * closest(chance)
    assert closest(bank.corners) > 0.6 * np.sqrt(353**2 / 50)
    assert bank.corners.min() < 20 and bank.corners.max() > 353 - 20


def test_every_piece_gives_references(patches) -> None:
    two = dataclasses.replace(patches, pieces=patches.pieces * 2)
    bank = cut_references(two, count=20, side=128)
    assert np.bincount(bank.piece).min() >= 8


def test_the_seed_decides_and_nothing_else(patches) -> None:
    a, b, c = (cut_references(patches, count=9, side=128, seed=s).corners for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_no_crop_comes_twice_and_too_few_are_said(make_field) -> None:
    bank = cut_references(make_field((33, 33)), count=100, side=128)
    assert len(bank) == 25  # a 132 px area holds 5 x 5 corners
    assert len({tuple(c) for c in bank.corners.tolist()}) == 25
    assert bank.notes == ("Only 25 of 100 references fit the training area.",)


@pytest.mark.parametrize(("area", "side"), [(75, 300), (60, 240), (33, 132), (32, 128)])
def test_references_become_as_much_smaller_as_needed(make_field, area: int, side: int) -> None:
    roles = np.zeros((120, 120), np.int8)
    roles[3 : 3 + area, 5 : 5 + area] = TRAIN
    bank = cut_references(make_field(roles=roles), count=1)
    assert bank.side == side
    said = any(n == f"No reference of 300 fine pixels fits the training area; they are {side} pixels wide."
               for n in bank.notes)  # fmt: skip
    assert said == (side < 300)


def test_a_training_area_smaller_than_a_patch_is_refused(make_field) -> None:
    roles = np.zeros((120, 120), np.int8)
    roles[:31, :90] = TRAIN
    with pytest.raises(InputError, match="no room for a reference of 128 x 128 fine pixels, and a reference smaller"):
        cut_references(make_field(roles=roles))


def test_an_l_shaped_area_is_not_taken_for_its_frame(make_field) -> None:
    roles = np.full((120, 120), TRAIN, np.int8)
    roles[40:, 40:] = 0
    patches = make_field(roles=roles)
    bank = cut_references(with_piece(patches, hr=np.repeat(np.repeat(roles, 4, 0), 4, 1).astype(np.float32)), count=30)
    assert bank.side == 160
    assert (bank.crops == TRAIN).all()


def test_a_few_saturated_pixels_are_part_of_a_texture_many_are_not(patches) -> None:
    weight = np.ones((480, 480), bool)
    weight[::10, ::10] = False  # 1 %
    assert cut_references(with_piece(patches, weight=weight), side=300, count=3).side == 300
    weight[::4, ::4] = False  # 6 %
    with pytest.raises(InputError, match="no room"):
        cut_references(with_piece(patches, weight=weight), side=300, count=3)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"side": 100}, {"smallest": 0}])
def test_sizes_that_make_no_sense_are_named(patches, wrong) -> None:
    with pytest.raises(InputError, match="a reference not smaller than a patch, but count="):
        cut_references(patches, **wrong)


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(InputError, match="at least one square crop"):
        ReferenceBank(np.zeros((0, 8, 8), np.float32), np.zeros((0, 2), np.intp), np.zeros(0, np.intp))


def test_references_recorded_apart_keep_their_pixels() -> None:
    rng = np.random.default_rng(1)
    images = [Image(rng.integers(0, 255, s).astype(np.uint8), Grid.of(s, 24.2)) for s in ((300, 300), (700, 400))]
    bank = bank_from_images(images, pixel_size_nm=(24.0, 24.0), count=8)
    assert len(bank) == 8 and bank.side == 300 and (bank.piece == -1).all()
    np.testing.assert_array_equal(bank.crops[0], images[0].data)
    y, x = bank.corners[5]
    np.testing.assert_array_equal(bank.crops[5], images[1].data[y : y + 300, x : x + 300])


def test_missing_pixels_are_never_in_a_recorded_reference() -> None:
    data = np.ones((400, 400), np.float32)
    data[200, 200] = np.nan
    bank = bank_from_images([Image(data, Grid.of(data.shape, 24.0))], pixel_size_nm=(24.0, 24.0), count=4)
    assert bank.side == 200 and np.isfinite(bank.crops).all()


def test_a_reference_of_another_pixel_size_is_refused() -> None:
    image = Image(np.ones((300, 300), np.uint8), Grid.of((300, 300), 25.0), "ref_7.tif")
    with pytest.raises(InputError, match=r"the pixel size of the result, 24 x 24 nm, but ref_7\.tif has 25 x 25 nm"):
        bank_from_images([image], pixel_size_nm=(24.0, 24.0))
    with pytest.raises(InputError, match="at least one image, but none came"):
        bank_from_images([], pixel_size_nm=(24.0, 24.0))


# ------------------------------------------------------------------ choosing
def test_choices_agree_with_scipys_cosine_distance() -> None:
    rng = np.random.default_rng(2)
    queries, keys = rng.normal(size=(5000, 20)), rng.normal(size=(37, 20)) * rng.uniform(0.1, 50, (37, 1))
    which, cosine = choose_references(queries, keys)
    expected = 1 - cdist(queries, keys, "cosine")
    np.testing.assert_array_equal(which, expected.argmax(axis=1))
    np.testing.assert_allclose(cosine, expected.max(axis=1), atol=1e-5)


def test_the_first_of_equals_wins_and_zeros_are_like_nothing() -> None:
    keys = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [-1.0, 0.0]])
    which, cosine = choose_references(np.array([[3.0, 3.0], [0.0, 0.0], [-1.0, -1.0]]), keys)
    assert which.tolist() == [1, 0, 3]
    np.testing.assert_allclose(cosine, [1, 0, np.sqrt(0.5)], atol=1e-6)


def test_embeddings_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match=r"\(m, d\) and \(n, d\) with n at least 1, but \(3, 4\) and \(2, 5\) came"):
        choose_references(np.ones((3, 4)), np.ones((2, 5)))
    with pytest.raises(InputError, match="n at least 1"):
        likenesses(np.ones((3, 4)), np.ones((0, 4)))
    with pytest.raises(InputError, match="must be finite"):
        likenesses(np.full((3, 4), np.nan), np.ones((1, 4)))


# ------------------------------------------------------------------ sampling
def test_the_pair_is_the_one_a_patch_sampler_draws(patches) -> None:
    bank = cut_references(patches, count=7, side=128)
    ours = TripletSampler(patches, bank, choose=first, size=24, seed=9)
    plain = PatchSampler(patches, size=24, seed=9)
    for _ in range(3):
        triple, pair = ours.batch(5), plain.batch(5)
        for a, b in zip(triple, pair, strict=False):
            np.testing.assert_array_equal(a, b)
        assert triple[3].shape == (5, 128, 128)


def test_the_sequence_of_a_patch_sampler_is_that_of_its_seed(patches) -> None:
    """Guards old checkpoints: positions first, then symmetries, from one generator."""
    sampler, rng = PatchSampler(patches, size=24, seed=6), np.random.default_rng(6)
    for _ in range(2):
        draws, turns = rng.integers(0, sampler.positions, 4), rng.choice(tuple(range(8)), 4)
        for lr, draw, turn in zip(sampler.batch(4)[0], draws, turns, strict=True):
            y, x = np.unravel_index(draw, (120 - 23, 120 - 23))
            np.testing.assert_array_equal(lr, turned(patches.pieces[0].lr[y : y + 24, x : x + 24], turn))


def test_pair_and_reference_are_turned_independently(make_field) -> None:
    patches = make_field((32, 32))  # 25 positions, but only one corner of the fine image tells its symmetry
    ramp = np.add.outer(np.arange(128.0) * 1000, np.arange(128.0)).astype(np.float32)
    bank = ReferenceBank(ramp[None], np.zeros((1, 2), np.intp), np.array([-1]))
    patches = with_piece(patches, lr=ramp[:32, :32].copy(), hr=ramp)
    sampler = TripletSampler(patches, bank, choose=first, size=24, seed=3)
    table = np.zeros((8, 8), int)
    for _ in range(20):
        lr, _, _, reference = sampler.batch(64)
        for a, b in zip(lr, reference, strict=True):
            table[symmetry(a), symmetry(b)] += 1
    assert (table > 0).all()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    chi2 = ((table - expected) ** 2 / expected).sum()
    assert chi2 < 85.4  # 49 degrees of freedom, 0.1 %


def symmetry(array: np.ndarray) -> int:
    """Which symmetry turned an image that grows strongly with rows and weakly with columns."""
    rows, columns = array[-1, 0] - array[0, 0], array[0, -1] - array[0, 0]
    swapped = abs(columns) > abs(rows)
    a, b = (columns, rows) if swapped else (rows, columns)
    return int(a < 0) + 2 * int(b < 0) + 4 * int(swapped)


def test_flips_never_transpose_a_reference(make_field) -> None:
    ramp = np.add.outer(np.arange(128.0) * 1000, np.arange(128.0)).astype(np.float32)
    bank = ReferenceBank(ramp[None], np.zeros((1, 2), np.intp), np.array([-1]))
    sampler = TripletSampler(make_field((40, 40)), bank, choose=first, size=24, augment_references="flips")
    assert {symmetry(r) for r in sampler.batch(64)[3]} == {0, 1, 2, 3}


def test_a_sequence_continues_to_the_bit(patches) -> None:
    bank = cut_references(patches, count=5, side=128)

    def sampler(seed):
        return TripletSampler(patches, bank, choose=lambda x: np.arange(len(x)) % 5, size=24, seed=seed)

    one = sampler(5)
    one.batch(3)
    state = one.state_dict()
    assert all(isinstance(v, str) for v in state.values())
    expected = one.batch(3)
    other = sampler(99)
    other.load_state_dict(state)
    for a, b in zip(expected, other.batch(3), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.last, other.last)


def test_the_chooser_sees_every_lattice_position_once_in_small_lots(patches) -> None:
    seen: list[np.ndarray] = []

    def choose(x):
        seen.append(x)
        return np.zeros(len(x), int)

    bank = cut_references(patches, count=3, side=128)
    sampler = TripletSampler(patches, bank, choose=choose, size=32, step=8)
    assert max(len(x) for x in seen) <= 64 and all(x.shape[1:] == (32, 32) and x.dtype == np.float32 for x in seen)
    together = np.concatenate(seen)
    side = 120 - 32 + 1
    assert len(together) == len(sampler.chosen) == (-(-side // 8)) ** 2
    assert len(np.unique(together.reshape(len(together), -1), axis=0)) == len(together)
    sampler.batch(50)
    assert sum(len(x) for x in seen) == len(together), "the chooser was asked again while sampling"


def test_a_patch_takes_the_choice_of_the_nearest_lattice_position(patches) -> None:
    """The chooser tells the quadrant of a patch from a ramp; patches must get that of their own."""
    ramp = np.add.outer(np.arange(120.0), np.arange(120.0) * 1000).astype(np.float32)
    marked = with_piece(patches, lr=ramp, hr=np.repeat(np.repeat(ramp, 4, 0), 4, 1))

    def corner(x):
        return x[:, 0, 0] % 1000, x[:, 0, 0] // 1000

    def choose(x):
        y, x0 = corner(x)
        return ((y > 44) * 2 + (x0 > 44)).astype(int)

    bank = cut_references(patches, count=4, side=128)
    sampler = TripletSampler(marked, bank, choose=choose, augment="none", size=32, step=4)
    lr = sampler.batch(400)[0]
    y, x = corner(lr)
    clear = (np.abs(y - 44) > 4) & (np.abs(x - 44) > 4)
    assert clear.sum() > 200
    np.testing.assert_array_equal(sampler.last[clear], choose(lr)[clear])


def test_a_patch_does_not_get_the_reference_that_shows_it(patches) -> None:
    bank = cut_references(patches, count=40, side=128)

    def by_position(x):  # the likest reference is always the nearest one
        return np.stack([like(a) for a in x])

    centres = bank.corners + 64

    def like(a):
        y, x = divmod(int(a[0, 0]), 1000)
        return -np.hypot(*(centres - (4 * np.array([y, x]) + 64)).T).astype(np.float32)

    place = np.add.outer(np.arange(120.0) * 1000, np.arange(120.0)).astype(np.float32)
    marked = with_piece(patches, lr=place)
    open_eyes = TripletSampler(marked, bank, choose=by_position, augment="none", size=32)
    naive = TripletSampler(marked, bank, choose=lambda x: by_position(x).argmax(1), augment="none", size=32)
    shown = {}
    for name, sampler in (("likenesses", open_eyes), ("numbers", naive)):
        lr = sampler.batch(300)[0]
        corner = 4 * np.stack(divmod(lr[:, 0, 0].astype(int), 1000), axis=1)
        off = np.abs(bank.corners[sampler.last] - corner).max(axis=1)
        shown[name] = np.mean(off < 128 - 64)  # more than half of the patch; positions lie up to 8 from the lattice
    assert shown["numbers"] > 0.9 and shown["likenesses"] == 0
    assert open_eyes.notes == ()
    assert naive.notes == ("100 % of the patches lie in the reference chosen for them.",)


def test_where_every_reference_shows_the_patch_the_likest_is_taken_and_said(make_field) -> None:
    patches = make_field((40, 40))
    bank = cut_references(patches, count=6, side=128)
    sampler = TripletSampler(patches, bank, choose=lambda x: np.tile(np.arange(6.0), (len(x), 1)), size=32)
    assert set(sampler.chosen.tolist()) == {5}
    assert sampler.notes == ("100 % of the patches lie in the reference chosen for them.",)


def test_references_recorded_apart_never_overlap(patches) -> None:
    bank = bank_from_images(
        [Image(np.ones((200, 200), np.uint8), Grid.of((200, 200), 10.0))], pixel_size_nm=(10.0,) * 2
    )
    assert TripletSampler(patches, bank, choose=first).notes == ()


def test_a_reference_smaller_than_a_patch_is_refused(patches) -> None:
    bank = cut_references(patches, count=3, side=96, smallest=64)
    with pytest.raises(
        InputError, match="not be smaller than a patch of 128 fine pixels, but those of the bank have 96"
    ):
        TripletSampler(patches, bank, choose=first, size=32)


@pytest.mark.parametrize(
    "answer",
    [lambda x: np.full(len(x), 3), lambda x: np.full(len(x), -1), lambda x: np.zeros(1), lambda x: np.zeros(9)],
)
def test_a_chooser_that_gives_nonsense_is_named(patches, answer) -> None:
    bank = cut_references(patches, count=3, side=128)
    with pytest.raises(InputError, match=r"choose must give .* whole numbers from 0 to 2, or"):
        TripletSampler(patches, bank, choose=answer)


def test_an_unknown_augmentation_of_references_is_named(patches) -> None:
    bank = cut_references(patches, count=1, side=128)
    with pytest.raises(InputError, match="augment_references is one of none, flips, all, but 'spin' came"):
        TripletSampler(patches, bank, choose=first, augment_references="spin")
