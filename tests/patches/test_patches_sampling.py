"""PatchSampler: only training pixels, the same sequence again, all symmetries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.patches import PatchSampler, make_patches
from finescan.patches.sampling import turned
from finescan.patches.split import TRAIN


def test_no_held_out_pixel_is_ever_drawn(make_pair) -> None:
    patches = make_patches([make_pair()])
    (piece,) = patches.pieces
    f = patches.factor
    # mark every fine pixel by its role: a patch may count training pixels only
    marked = np.repeat(np.repeat(piece.role, f, 0), f, 1).astype(np.float32)
    sampler = PatchSampler(dataclasses.replace(patches, pieces=(dataclasses.replace(piece, hr=marked),)), size=20)
    seen = set()
    for _ in range(40):
        _, hr, weight = sampler.batch(8)
        seen |= set(np.unique(hr[weight > 0]).tolist())
    assert seen == {float(TRAIN)}


def test_coarse_and_fine_parts_of_a_patch_are_turned_together(make_pair) -> None:
    patches = make_patches([make_pair()])
    lr, hr, weight = PatchSampler(patches, size=16, crop=2, seed=1).batch(64)
    means = hr.reshape(64, 16, 4, 16, 4).mean(axis=(2, 4))
    whole = weight.reshape(64, 16, 4, 16, 4).min(axis=(2, 4)) > 0
    assert np.abs(means - lr)[whole].mean() < 0.6


def test_the_border_gives_context_only(make_pair) -> None:
    _, _, weight = PatchSampler(make_patches([make_pair()]), size=16, crop=3).batch(4)
    assert weight[:, 12:-12, 12:-12].all()
    assert not weight[:, :12].any() and not weight[:, :, -12:].any()


def test_a_sequence_can_be_continued_to_the_bit(make_pair) -> None:
    patches = make_patches([make_pair()])
    first = PatchSampler(patches, size=16, seed=5)
    first.batch(3)
    state = first.state_dict()
    expected = first.batch(3)
    second = PatchSampler(patches, size=16, seed=99)
    second.load_state_dict(state)
    for a, b in zip(expected, second.batch(3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_seeds_differ(make_pair) -> None:
    patches = make_patches([make_pair()])
    a, b = (PatchSampler(patches, size=16, seed=s).batch(4)[0] for s in (0, 1))
    assert not np.array_equal(a, b)


def test_the_eight_symmetries_are_different() -> None:
    a = np.arange(9.0).reshape(3, 3)
    assert len({turned(a, t).tobytes() for t in range(8)}) == 8


def test_flips_never_transpose(make_pair) -> None:
    pair = make_pair()
    ramp = np.broadcast_to(np.arange(120.0, dtype=np.float32), pair.lr.grid.shape)  # grows along columns only
    patches = make_patches([pair])
    pieces = tuple(dataclasses.replace(p, lr=ramp[: p.lr.shape[0], : p.lr.shape[1]]) for p in patches.pieces)
    patches = dataclasses.replace(patches, pieces=pieces)
    rows = {a: np.ptp(PatchSampler(patches, size=16, augment=a).batch(32)[0], axis=1).max() for a in ("flips", "all")}
    assert rows["flips"] == 0 < rows["all"]


def test_a_patch_too_large_is_made_smaller(make_pair) -> None:
    assert 12 <= PatchSampler(make_patches([make_pair()]), size=200).size < 80


def test_an_unknown_augmentation_is_named(make_pair) -> None:
    with pytest.raises(InputError, match="augment is one of none, flips, all, but 'rotate' came"):
        PatchSampler(make_patches([make_pair()]), augment="rotate")


def test_an_area_cut_into_pieces_by_saturated_pixels_says_so(make_pair) -> None:
    patches = make_patches([make_pair()])
    (piece,) = patches.pieces
    holed = np.zeros_like(piece.weight)
    bare = dataclasses.replace(patches, pieces=(dataclasses.replace(piece, weight=holed),))
    with pytest.raises(InputError, match=r"no room for a patch of 8 x 8 .* lowest or highest grey level\) cut it"):
        PatchSampler(bare, size=20)
