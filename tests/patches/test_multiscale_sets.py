"""Training sets from coarse pictures alone: what is in them, what never leaks, and that networks learn from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from finescan.errors import InputError
from finescan.patches import (
    PRESETS,
    MultiscaleConfig,
    PatchSampler,
    SplitConfig,
    ZoomScale,
    multiscale_patches,
    oracle,
    single_scale,
)
from finescan.values import Acquisition, Grid, Image

SMALL = MultiscaleConfig(
    (0.5, 0.75), (1.5, 2.0), (0.75,), 2, split=SplitConfig(guard_lr_px=6, stop_share=0.1, test_share=0.12), crop=32
)


@pytest.fixture
def picture(texture):
    """``picture(shape, seed, dtype, name)``: a recorded picture with pixels of 2 nm."""

    def make(shape=(240, 260), seed=0, dtype=np.float32, name="GaN.tif", **more):
        noise = np.random.default_rng(seed + 100).normal(0, 5, shape)
        return Image((texture(shape, seed) + noise).astype(dtype), Grid.of(shape, 2.0), name, **more)

    return make


def by_level(patches):
    """Pieces by the zoom level in their names."""
    found = {}
    for p in patches.pieces:
        found.setdefault(p.name.split(" at ")[1], []).append(p)
    return found


def test_every_level_and_filter_is_pillows(picture):
    image = picture()
    levels = by_level(multiscale_patches([image], SMALL))
    # where nearest neighbours are a choice between two, there is a piece of each; 1.5 x has an interpolated one, too
    assert {k: len(v) for k, v in levels.items()} == {"1 x": 7, "0.5 x": 7, "0.75 x": 7, "1.5 x": 7, "2 x": 6}
    source = Pillow.fromarray(image.data)
    for name, ratio, filter_ in (("2 x", 2, "BICUBIC"), ("0.5 x", 0.5, "NEAREST")):
        size = (int(260 * ratio), int(240 * ratio))
        hr = np.asarray(source.resize(size, getattr(Pillow.Resampling, filter_)))
        assert all(p.hr is levels[name][0].hr for p in levels[name])  # held once
        np.testing.assert_allclose(levels[name][0].hr, hr, atol=1e-3)
    np.testing.assert_array_equal(levels["1 x"][0].hr, image.data)
    fine = Pillow.fromarray(levels["2 x"][0].hr)
    half = [
        np.asarray(fine.resize((260, 240), getattr(Pillow.Resampling, f)))
        for f in ("LANCZOS", "BILINEAR", "BICUBIC", "BOX", "HAMMING")
    ]
    for piece, expected in zip(levels["2 x"][1:], half, strict=True):
        np.testing.assert_allclose(piece.lr, expected, atol=1e-3)
    np.testing.assert_allclose(levels["2 x"][0].lr, image.data, atol=1e-3)  # made finer, and back again
    np.testing.assert_array_equal(levels["1 x"][0].lr, image.data[0::2, 0::2])
    np.testing.assert_array_equal(levels["1 x"][1].lr, image.data[1::2, 1::2])


def test_interpolated_levels_teach_bicubic_interpolation(picture):
    image = picture()
    config = replace(SMALL, alpha=(), beta=())
    config = replace(config, filters=("box",))
    (piece,) = by_level(multiscale_patches([image], config))["1.5 x"]
    assert np.isin(piece.lr, image.data).all() and piece.lr.shape == (180, 195)
    up = np.asarray(Pillow.fromarray(piece.lr).resize((390, 360), Pillow.Resampling.BICUBIC))
    np.testing.assert_allclose(piece.hr, up, atol=1e-3)


@pytest.mark.parametrize("kind", ["blocks", "halves"])
def test_no_patch_sees_anything_of_a_held_out_place_at_any_level(picture, kind):
    config = replace(SMALL, split=replace(SMALL.split, kind=kind))
    image = picture((300, 300))
    before = multiscale_patches([image], config)
    data = image.data.copy()
    for role in ("stop", "test"):
        for t, x, b, r in before.boxes[role]:
            data[t:b, x:r] += 1e4
    after = multiscale_patches([image.with_data(data)], config)
    # the split looks at grey levels: the same places must be held out for the comparison to mean anything
    after = replace(
        after,
        pieces=tuple(
            replace(p, role=q.role, weight=q.weight) for p, q in zip(after.pieces, before.pieces, strict=True)
        ),
    )
    draws = [PatchSampler(s, size=16, crop=2, augment="none", seed=1) for s in (before, after)]
    for _ in range(40):
        ours, theirs = (s.batch(32) for s in draws)
        for a, b in zip(ours, theirs, strict=True):  # coarse pixels, context and fine pixels
            np.testing.assert_allclose(a, b, atol=0.01)
    assert any(np.abs(p.hr - q.hr).max() > 5e3 for p, q in zip(before.pieces, after.pieces, strict=True))


def test_held_out_places_are_the_same_at_every_level(picture):
    patches = multiscale_patches([picture()], SMALL)
    for role, value in (("stop", 2), ("test", 3)):
        places = np.zeros((240, 260), bool)
        for t, x, b, r in patches.boxes[role]:
            places[t:b, x:r] = True
        for p in patches.pieces:
            pixel = p.work_grid.pixel_size_nm[0] / 2.0  # recorded pixels per coarse one
            y, x = (np.argwhere(p.role == value) * pixel).T
            for dy in (0.01, pixel - 0.01):
                assert places[(y + dy).astype(int), (x + dy).astype(int)].all()
        assert any((p.role == value).any() for p in patches.pieces)


def test_only_recorded_and_finer_levels_judge_with_recorded_pixels(picture):
    patches = multiscale_patches([picture()], SMALL)
    judging = {p.name.split(" at ")[1] for p in patches.pieces if patches.held(p, "stop")}
    assert judging == {"1 x", "1.5 x", "2 x"}
    for p in patches.pieces:
        if patches.held(p, "stop"):
            assert p.lr.std() > 0.98 * p.hr.std()  # as noisy as recorded: a filter would have smoothed them
            t, x, b, r = patches.held(p, "stop")[0]
            assert (p.role[t:b, x:r] == 2).any()


def test_every_level_and_filter_is_drawn_equally_often(picture):
    patches = multiscale_patches([picture((400, 400))], SMALL)
    sampler = PatchSampler(patches, size=16, seed=0)
    draws, _ = sampler.draw(20_000)
    pieces = np.bincount([sampler.place(int(d))[0] for d in draws], minlength=len(patches.pieces))
    expected = 20_000 * np.array(patches.chances) / sum(patches.chances)
    assert (np.abs(pieces - expected) < 5 * np.sqrt(expected)).all()
    assert sorted(set(patches.chances)) == [0.5, 1.0]  # the two phases of nearest neighbours share one chance
    plain = PatchSampler(replace(patches, chances=()), size=16, seed=0)
    by_area = np.bincount([plain.place(int(d))[0] for d in plain.draw(20_000)[0]], minlength=len(patches.pieces))
    assert by_area.max() > 3 * by_area[by_area > 0].min()


def test_the_model_is_for_the_recorded_pictures_and_goes_beyond_them(picture):
    image = picture(dtype=np.uint16)
    patches = multiscale_patches([image], SMALL)
    assert patches.work_grid == image.grid and patches.out_grid == image.grid.refine(2)
    assert patches.out_grid.pixel_size_nm == (1.0, 1.0) and patches.sr_factor == (2.0, 2.0)
    assert (patches.gain, patches.offset, patches.hr_dtype) == (1.0, 0.0, "uint16")
    inside = np.zeros(image.grid.shape, bool)
    for boxes in patches.boxes.values():
        for t, x, b, r in boxes:
            inside[max(0, t - 12) : b + 12, max(0, x - 12) : r + 12] = True
    assert patches.hr_grey.mean == pytest.approx(image.data[~inside].mean(), rel=1e-3)
    (read, mask) = patches.read[0]
    np.testing.assert_array_equal(read, image.data)
    np.testing.assert_array_equal(mask, ~inside)


def test_an_oracle_reads_coarse_pictures_and_answers_with_recorded_pixels(picture):
    image = picture()
    config = replace(oracle(2, [15, 10], ZoomScale(20, "MX")), split=SMALL.split, crop=32)
    patches = multiscale_patches([image], config)
    assert patches.out_grid == image.grid and patches.work_grid == image.grid.coarsen(2)
    assert set(by_level(patches)) == {"20 MX", "15 MX", "10 MX"}
    assert patches.read[0][0].shape == (120, 130)


def test_sixteen_bits_keep_their_levels(picture):
    image = picture(dtype=np.uint16)
    image = image.with_data((image.data.astype(np.uint32) * 300).astype(np.uint16))
    patches = multiscale_patches([image], SMALL)
    for p in patches.pieces:
        assert p.lr.dtype == p.hr.dtype == np.float32
    levels = by_level(patches)
    assert set(np.unique(levels["0.5 x"][0].hr)) <= set(np.unique(image.data).astype(np.float32))
    assert len(np.unique(levels["2 x"][0].hr)) > 10_000


def test_missing_and_saturated_pixels_are_not_learned_from(picture):
    image = picture()
    data = image.data.copy()
    data[100:110, 100:120] = np.nan
    patches = multiscale_patches([image.with_data(data)], SMALL)
    for p in patches.pieces:
        assert np.isfinite(p.hr).all() and np.isfinite(p.lr).all()
        scale = 2.0 / p.out_grid.pixel_size_nm[0]
        hole = p.weight[int(100 * scale) : int(110 * scale), int(100 * scale) : int(120 * scale)]
        assert not hole.any()
        assert 0.9 < p.weight.mean() < 1
    assert "saturated or missing" in patches.notes[-1]
    whole = multiscale_patches([image], SMALL)
    assert all(p.weight.all() for p in whole.pieces)


def test_five_pictures_hold_out_whole_ones(picture):
    images = [picture((100, 110), seed, name=f"{seed}.tif") for seed in range(6)]
    patches = multiscale_patches(images, SMALL)
    roles = {p.name[:5]: set(np.unique(p.role)) for p in patches.pieces}
    assert sorted(map(sorted, roles.values())) == [[1], [1], [1], [1], [2], [3]]
    (stopping,) = (n for n, r in roles.items() if r == {2})
    assert {p.name for p in patches.pieces if patches.held(p, "stop")} == {
        f"{stopping} at {level}" for level in ("1 x", "1.5 x", "2 x")
    }
    assert "Whole pictures are held out" in patches.notes[1]
    named = next(n for n, r in roles.items() if r == {3})
    assert named in patches.notes[1]
    chosen = replace(SMALL, split=replace(SMALL.split, kind="leave-one-out", left_out="2.tif"))
    again = multiscale_patches(images, chosen)
    assert {p.name[:5] for p in again.pieces if (p.role == 3).any()} == {"2.tif"}


def test_large_sets_hold_a_part_of_every_level(picture):
    image = picture((400, 400))
    whole = multiscale_patches([image], SMALL)
    some = multiscale_patches([image], SMALL, most_bytes=3_000_000)

    def size(patches):
        return sum(a.nbytes for a in {id(a): a for p in patches.pieces for a in (p.lr, p.hr)}.values())

    assert size(some) < 3_000_000 < size(whole)
    assert set(by_level(some)) == set(by_level(whole))
    assert "To save memory" in some.notes[1]
    fine, part = by_level(whole)["2 x"][1], by_level(some)["2 x"][1]
    at = np.rint(fine.work_grid.to_index(part.work_grid.origin_nm)).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(at, part.lr.shape, strict=True))
    np.testing.assert_allclose(part.lr[4:-4, 4:-4], fine.lr[box][4:-4, 4:-4], atol=1e-2)
    np.testing.assert_array_equal(part.role, fine.role[box])
    assert some.held(by_level(some)["1 x"][0], "stop")


def test_the_same_seed_gives_the_same_set_and_another_one_another(picture):
    image = picture()
    prints = [multiscale_patches([image], c).fingerprint() for c in (SMALL, SMALL, replace(SMALL, gamma=()))]
    assert prints[0] == prints[1] != prints[2]
    other = multiscale_patches([image], replace(SMALL, split=replace(SMALL.split, seed=1)))
    assert other.boxes != multiscale_patches([image], SMALL).boxes


def test_levels_without_room_are_left_out_and_named(picture):
    config = replace(SMALL, alpha=(0.1, 0.75), crop=64)
    patches = multiscale_patches([picture()], config)
    assert "0.1 x" not in by_level(patches)
    assert "Left out, with no room for a crop of 64 px beside held-out places: 0.1 x." in patches.notes


def test_a_network_learns_from_a_set(picture):
    from finescan.training import TrainConfig, train

    y, x = (
        np.indices((160, 170)) * 2 * np.pi / 4.2
    )  # atoms that bicubic interpolation cannot make from every other pixel
    image = picture((160, 170))
    image = image.with_data((100 + 30 * np.cos(y) * np.cos(x) + 0.05 * image.data).astype(np.float32))
    patches = multiscale_patches([image], replace(SMALL, alpha=(), gamma=(), filters=("nearest", "box")))
    options = {"channels": 16, "depth": 3}
    model = train(
        patches,
        TrainConfig(architecture="fast", arguments=options, max_steps=60, learning_rate=6e-3, members=1, threads=1),
    )
    card = model.card
    assert card.pixel_size_nm == (1.0, 1.0) and card.factor == 2 and card.sr_factor == (2.0, 2.0)
    assert {e["name"] for e in card.training["extent"]} == {p.name for p in patches.pieces}
    assert card.training["look"]["mean"] == pytest.approx(image.data.mean(), rel=0.05)
    first, last = card.training["history"][0], card.training["history"][-1]
    assert last["stop_psnr"] > first["stop_psnr"] and last["stop_psnr"] > last["bicubic_psnr"]
    scores = card.training["stop_psnr"]
    assert scores["ridge"] > scores["bicubic"] > scores["nearest"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: [], "needs at least one picture, but none came"),
        (
            lambda i: [Image(np.zeros((5, 64, 64)), Grid.of((5, 64, 64), 1.0), "movie.tif")],
            r"movie.tif is a volume or a movie \(ZYX, 5 x 64 x 64\), but zoom levels are made of single pictures",
        ),
        (
            lambda i: [replace(i, grid=Grid.of(i.grid.shape, (2.0, 2.5)))],
            "need square pixels, but those of GaN.tif are 2 x 2.5 nm",
        ),
        (
            lambda i: [i, replace(i, grid=Grid.of(i.grid.shape, 3.0), name="b.tif")],
            "pixels of GaN.tif are 2 nm and those of b.tif 3 nm. Make a set of each level",
        ),
        (
            lambda i: [Image(i.data[:20, :90], Grid.of((20, 90), 2.0), "GaN.tif")],
            "GaN.tif has 20 x 90 px, but one training crop is 32 x 32 px. Use a larger picture or a smaller crop",
        ),
        (
            lambda i: [Image(i.data[:33, :33], Grid.of((33, 33), 2.0), "GaN.tif")],
            r"too small to train and to judge: of GaN.tif \(33 x 33 px\) .* 6 coarse px, .* 576 and 64 are needed",
        ),
        (lambda i: [i.with_data(np.full(i.grid.shape, 7.0))], "The pictures are constant where they train"),
        (
            lambda i: [
                replace(i.with_data(i.data + 90 * np.arange(240)[:, None]), acquisition=Acquisition(vendor="Nanonis"))
            ],
            "GaN.tif is not flattened: .* flatten_lines",
        ),
    ],
)
def test_refusals(picture, change, message):
    with pytest.raises(InputError, match=message):
        multiscale_patches(change(picture()), SMALL)


def test_more_refusals(picture):
    uneven = picture()
    uneven = uneven.with_data(uneven.data + 3 * np.arange(260))
    with pytest.raises(InputError, match="not flattened"):  # levels in nm are those of scanning-probe microscopes
        multiscale_patches([uneven], replace(SMALL, scale=ZoomScale(24, "nm")))
    multiscale_patches([uneven], replace(SMALL, scale=ZoomScale(5, "MX")))
    whole = replace(SMALL, split=replace(SMALL.split, kind="leave-one-out"))
    with pytest.raises(InputError, match=r"only be held out where there are three or more, but 1 came\. Use blocks"):
        multiscale_patches([picture()], whole)
    left = replace(whole, split=replace(whole.split, left_out="x.tif"))
    images = [picture((100, 110), k, name=f"{k}.tif") for k in range(3)]
    with pytest.raises(InputError, match=r"one of 0\.tif, 1\.tif, 2\.tif, but 'x.tif' came"):
        multiscale_patches(images, left)


def test_single_scale_needs_no_more_than_the_recorded_level(picture):
    patches = multiscale_patches([picture()], replace(single_scale(4), crop=64, split=SMALL.split))
    assert len(patches.pieces) == 7 and {p.lr.shape for p in patches.pieces} == {(60, 65)}
    assert PRESETS["stem-single-scale"].levels == single_scale(4).levels


def test_chances_of_zero_and_of_nothing(picture):
    patches = multiscale_patches([picture()], SMALL)
    only = replace(patches, chances=(0.0,) * (len(patches.pieces) - 1) + (1.0,))
    sampler = PatchSampler(only, size=16)
    assert {sampler.place(int(d))[0] for d in sampler.draw(50)[0]} == {len(patches.pieces) - 1}
    with pytest.raises(InputError, match=r"a chance of 0\. Give one of them a positive chance"):
        PatchSampler(replace(patches, chances=(0.0,) * len(patches.pieces)), size=16)
