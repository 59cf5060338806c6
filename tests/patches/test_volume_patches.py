"""Volumes laid out for training: the input on the fine grid, what counts, and what is held out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.patches import VolumeSampler, VolumeSplitConfig, make_volume_patches, volume_input
from finescan.patches.volume_sampling import turned_volume
from finescan.resampling import resample
from finescan.values import Circle, Grid, Image, Pair, Residual, Verdict, Warp

RNG = np.random.default_rng(0)
ALL = VolumeSplitConfig(guard_voxels=2)


def _smooth(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5, mode="wrap")
    return (100 + 30 * noise / noise.std()).astype(np.float32)


def _pair(lr: Image, hr: Image, warp: Warp | None = None, valid: np.ndarray | None = None) -> Pair:
    residual = Residual(0.1, 0.1, 0.9, 3.0, {}, lr.grid)
    return Pair(lr, hr, warp or Warp.identity(3), Verdict.FOUND, (), residual, valid)


def _same_grid(side: int = 40, **changes: object) -> Pair:
    fine = _smooth((side, side, side))
    coarse = ndimage.gaussian_filter(fine, 1.5)
    grid = Grid.of(fine.shape, 10.0)
    return _pair(Image(coarse, grid, "coarse"), Image(fine, grid, "fine"), **changes)


# ---------------------------------------------------------------------- volume_input
def test_a_voxel_has_the_same_number_whatever_the_box() -> None:
    lr = Image(RNG.normal(size=(9, 11, 10)).astype(np.float32), Grid.of((9, 11, 10), (30.0, 20.0, 25.0)), "coarse")
    out = lr.grid.refine((3.0, 2.0, 2.3))
    whole = volume_input(lr, out, (-5, -4, -6), tuple(n + 4 for n in out.shape))
    for start, stop in [((0, 0, 0), (1, 1, 1)), ((7, 3, 5), (20, 17, 6)), ((-5, 9, -3), (4, 26, 27))]:
        part = volume_input(lr, out, start, stop)
        cut = tuple(slice(a + s, b + s) for a, b, s in zip(start, stop, (5, 4, 6), strict=True))
        np.testing.assert_array_equal(part, whole[cut])


def test_interpolation_keeps_a_plane_and_sits_at_the_right_place() -> None:
    z, y, x = np.mgrid[0:10, 0:12, 0:14].astype(np.float32)
    lr = Image(2 * z - 3 * y + x, Grid.of(z.shape, (30.0, 20.0, 10.0)), "plane")
    out = lr.grid.refine((3.0, 2.5, 1.7))
    got = volume_input(lr, out, (9, 9, 9), tuple(n - 9 for n in out.shape))
    nm = out.to_nm(np.stack(np.meshgrid(*(np.arange(9, n - 9) for n in out.shape), indexing="ij"), -1))
    np.testing.assert_allclose(got, lr.grid.to_index(nm) @ [2, -3, 1], atol=1e-4)


def test_smooth_structure_agrees_with_the_spline_of_the_resampling_room() -> None:
    lr = Image(ndimage.gaussian_filter(_smooth((16, 16, 16)), 1.5), Grid.of((16, 16, 16), 20.0), "coarse")
    out = lr.grid.refine(2.0)
    theirs = resample(lr, onto=out, outside=None).array()[6:-6, 6:-6, 6:-6]
    ours = volume_input(lr, out, (6, 6, 6), tuple(n - 6 for n in out.shape))
    assert np.abs(ours - theirs).max() < 0.02 * np.ptp(theirs)


def test_on_the_same_grid_grey_levels_are_read_as_they_are_and_mirrored_beyond() -> None:
    data = RNG.integers(0, 65535, (6, 7, 8)).astype(np.uint16)
    lr = Image(data, Grid.of(data.shape, 5.0), "coarse")
    got = volume_input(lr, lr.grid, (-2, -3, 0), (8, 7, 11))
    np.testing.assert_array_equal(got, np.pad(data, ((2, 2), (3, 0), (0, 3)), mode="symmetric"))
    assert got.dtype == np.float32


def test_missing_voxels_become_the_fill_before_anything_is_interpolated() -> None:
    data = np.full((8, 8, 8), 5.0, np.float32)
    data[:, :2] = np.nan
    lr = Image(data, Grid.of(data.shape, 20.0), "coarse")
    same = volume_input(lr, lr.grid, (0, 0, 0), (8, 8, 8), fill=3.0)
    assert (same[:, :2] == 3).all() and (same[:, 2:] == 5).all()
    finer = volume_input(lr, lr.grid.refine(2.0), (0, 0, 0), (16, 16, 16), fill=3.0)
    assert np.isfinite(finer).all() and np.allclose(finer[:, 9:], 5) and np.allclose(finer[:, 0], 3)


class _Spy:
    """A lazy array that remembers what was read."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, 0

    def __getitem__(self, box: object) -> np.ndarray:
        part = self.data[box]
        self.read += part.size
        return part


def test_only_what_a_box_needs_is_read() -> None:
    spy = _Spy(_smooth((40, 40, 40)))
    volume_input(
        Image(spy, Grid.of(spy.shape, 20.0), "lazy"), Grid.of((80, 80, 80), 10.0, -5.0), (20, 20, 20), (28, 28, 28)
    )
    assert 0 < spy.read <= 9**3


def test_a_picture_is_refused() -> None:
    picture = Image(np.zeros((4, 4), np.float32), Grid.of((4, 4), 1.0), "picture")
    with pytest.raises(InputError, match=r"picture has YX\. Read it as a volume"):
        volume_input(picture, picture.grid, (0, 0, 0), (1, 1, 1))


# ---------------------------------------------------------------------- make_volume_patches
def test_coinciding_grids_are_read_not_resampled() -> None:
    pair = _same_grid()
    (piece,) = make_volume_patches([pair], config=ALL).pieces
    np.testing.assert_array_equal(piece.lr, pair.lr.data)
    np.testing.assert_array_equal(piece.hr[piece.weight], pair.hr.data[piece.weight])


def test_nothing_outside_the_circle_the_fine_volume_or_what_is_valid_counts() -> None:
    valid = np.ones((40, 40, 40), bool)
    valid[20:23] = False
    pair = _same_grid(valid=valid)
    pair.hr.data[5, 20, 20] = np.nan
    pair.lr.data[7, 20, 20] = np.nan
    patches = make_volume_patches([pair], config=ALL)
    (piece,) = patches.pieces
    circle = Circle.inscribed(pair.lr.grid).mask(pair.lr.grid)
    expected = valid & circle & np.isfinite(pair.hr.data) & np.isfinite(pair.lr.data)
    np.testing.assert_array_equal(piece.weight, expected)
    assert np.isfinite(piece.lr).all() and np.isfinite(piece.hr).all() and piece.position.max() > 1.3


@pytest.mark.parametrize("offset", [0.0, 3.3])
def test_a_fine_volume_in_a_corner_lands_where_its_registration_says(offset: float) -> None:
    """Ratio 2: the piece's fine grey levels are those of the truth at the same nm."""
    truth = Image(_smooth((72, 72, 72)), Grid.of((72, 72, 72), 10.0), "truth")
    lr = resample(truth, onto=Grid.of((36, 36, 36), 20.0, 5.0), outside=None)
    fine_grid = Grid.of((44, 44, 44), 10.0)
    shift = np.array([200.0, 210.0, 220.0]) + offset
    moved = dataclasses.replace(fine_grid, origin_nm=tuple(shift))
    hr = Image(resample(truth, onto=moved, outside=None).array(), fine_grid, "fine")
    pair = _pair(lr, hr, Warp.affine(np.eye(3), shift))
    patches = make_volume_patches([pair], config=ALL)
    (piece,) = patches.pieces
    assert patches.sr_factor == (2.0, 2.0, 2.0) and piece.start == (4, 5, 6)
    grid = patches.out_grid.crop(piece.start, np.add(piece.start, piece.shape))
    there = resample(truth, onto=grid, outside=None).array()
    inner = ndimage.binary_erosion(piece.weight, iterations=3)
    assert inner.sum() > 5000 and np.abs(piece.hr - there)[inner].max() < 0.02 * np.ptp(there)
    assert np.corrcoef(piece.lr[inner], piece.hr[inner])[0, 1] > 0.9


def test_roles_keep_their_distance_and_the_test_can_be_left_to_another_sample() -> None:
    patches = make_volume_patches([_same_grid()], config=VolumeSplitConfig(guard_voxels=4, seed=3))
    (piece,) = patches.pieces
    masks = {r: patches.counted(piece, r) for r in ("train", "stop", "test")}
    far = ndimage.distance_transform_cdt(~masks["train"], "chessboard")
    assert far[masks["stop"]].min() > 4 and far[masks["test"]].min() > 4
    assert not (masks["stop"] & masks["test"]).any()
    shares = patches.shares()
    assert 0.04 < shares["stop"] < 0.14 and 0.08 < shares["test"] < 0.25 and shares["train"] > 0.35
    alone = make_volume_patches([_same_grid()], config=VolumeSplitConfig(guard_voxels=4, test_share=0))
    assert alone.shares()["test"] == 0 and alone.shares()["train"] > shares["train"]
    assert len(alone.regions("stop")) == 1 and not alone.regions("test")


def test_slabs_are_whole_slices_at_an_end() -> None:
    patches = make_volume_patches([_same_grid()], config=VolumeSplitConfig("slabs", test_share=0))
    ((z0, y0, x0, z1, y1, x1),) = patches.boxes["stop"]
    assert (y0, x0, y1, x1) == (0, 0, 40, 40) and (z0 == 0 or z1 == 40)


def test_the_grey_map_is_that_of_the_training_role() -> None:
    pair = _same_grid()
    pair.hr.data[:] = -0.5 * pair.lr.data + 20
    patches = make_volume_patches([pair], config=ALL)
    assert patches.gain == pytest.approx(-0.5, rel=1e-3) and patches.offset == pytest.approx(20, abs=0.1)
    assert any("inverted" in n for n in patches.notes)
    assert patches.lr_range[0] < patches.lr_grey.mean < patches.lr_range[1]


def test_the_same_data_give_the_same_fingerprint_and_other_roles_another() -> None:
    one, two = (make_volume_patches([_same_grid()], config=VolumeSplitConfig(seed=0)) for _ in range(2))
    other = make_volume_patches([_same_grid()], config=VolumeSplitConfig(test_share=0))
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()


def test_a_fine_volume_larger_than_the_memory_budget_is_cut_and_says_so() -> None:
    patches = make_volume_patches([_same_grid()], config=VolumeSplitConfig(guard_voxels=2, most_voxels=30_000))
    assert np.prod(patches.pieces[0].shape) <= 30_000
    assert any("only the middle" in n and "most_voxels" in n for n in patches.notes)


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        (lambda: [], "at least one registered pair, but none came"),
        (lambda: [_pair(_same_grid().lr, Image(np.zeros((8, 8, 8), np.float32), Grid.of((8, 8, 8), 40.0), "big"))],
         "Are the two files swapped"),
        (lambda: [_same_grid(12)], "overlap is too small to train and to judge"),
        (lambda: [_pair(_same_grid().lr, _same_grid().hr, Warp.affine(np.eye(3), [1e6, 0, 0]))],
         "fine lies outside coarse by its registration"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_named(pairs, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make_volume_patches(pairs())


def test_a_constant_volume_is_refused() -> None:
    pair = _same_grid()
    pair.hr.data[:] = 7
    with pytest.raises(InputError, match="fine scan is constant over the training area"):
        make_volume_patches([pair], config=ALL)


# ---------------------------------------------------------------------- sampler
def test_batches_are_the_same_for_a_seed_and_go_on_after_a_stop() -> None:
    patches = make_volume_patches([_same_grid()], config=ALL)
    one = VolumeSampler(patches, size=(8, 12, 12), seed=4)
    one.batch(3)
    state = one.state_dict()
    expected = one.batch(2)
    other = VolumeSampler(patches, size=(8, 12, 12), seed=99)
    other.load_state_dict(state)
    for a, b in zip(expected, other.batch(2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_held_out_voxels_never_have_a_weight() -> None:
    patches = make_volume_patches([_same_grid()], config=ALL)
    (piece,) = patches.pieces
    train = patches.counted(piece, "train")
    marked = dataclasses.replace(piece, hr=np.where(train, 1.0, -1.0).astype(np.float32))
    sampler = VolumeSampler(dataclasses.replace(patches, pieces=(marked,)), size=(10, 16, 16), crop=(1, 2), seed=0)
    _, hr, weight, _ = sampler.batch(60)
    assert (hr[weight > 0] == 1).all()
    assert weight[:, 0].max() == weight[:, :, :2].max() == weight[:, :, :, -2:].max() == 0


def test_turns_move_the_position_with_the_voxels() -> None:
    block, plane = RNG.normal(size=(3, 4, 4)).astype(np.float32), RNG.normal(size=(4, 4)).astype(np.float32)
    block[1] = plane
    for turn in range(16):
        np.testing.assert_array_equal(turned_volume(block, turn)[1], turned_volume(plane, turn))
    assert len({turned_volume(block, t).tobytes() for t in range(16)}) == 16


def test_a_patch_larger_than_the_volume_is_made_smaller_in_whole_multiples() -> None:
    patches = make_volume_patches([_same_grid()], config=ALL)
    assert VolumeSampler(patches, size=(64, 128, 128), multiple=(1, 16, 16)).size == (40, 32, 32)
    with pytest.raises(InputError, match="do not fit the overlap"):
        VolumeSampler(patches, size=(8, 64, 64), multiple=(1, 64, 64))
