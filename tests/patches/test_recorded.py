"""Recorded pairs: patches are found again where they truly are, roles belong to blocks of the sample, nothing leaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from finescan.errors import InputError
from finescan.patches import (
    PatchSampler,
    RecordedConfig,
    TripletSampler,
    best_offset,
    recorded_patches,
    recorded_references,
)
from finescan.patches.realign import Offset, core, drift, search
from finescan.patches.recorded import _strays
from finescan.patches.recorded_roles import packed
from finescan.patches.sampling import window_sums
from finescan.patches.split import STOP, TEST, TRAIN
from finescan.values import Acquisition, Grid, Image, StagePose


def texture(shape: tuple[int, int], seed: int = 0, blur: float = 3.0) -> np.ndarray:
    """Smooth random grey levels around 100."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), blur)
    return (100 + 20 * smooth / smooth.std()).astype(np.float32)


FIELD = texture((1700, 1700))


def pair(corner, shift=(0, 0), n=32, factor=4, *, field=FIELD, gain=1.0, offset=0.0, place=None, name="a"):
    """(coarse, fine): the fine scan is a cut of the field; the coarse one thins the field, moved by whole fine pixels.

    The coarse pixel i is the fine pixel ``factor * i + factor // 2 + shift``, so the search must answer ``shift``.
    """
    (y, x), (dy, dx) = corner, shift
    m = n * factor
    hr = field[y : y + m, x : x + m].copy()
    first = (y + dy + factor // 2, x + dx + factor // 2)
    lr = gain * field[first[0] : first[0] + m : factor, first[1] : first[1] + m : factor] + offset
    extra = {} if place is None else {"place_nm": place}
    facts = Acquisition(extra=extra)
    return (
        Image(lr.astype(np.float32), Grid.of(lr.shape, 10.0 * factor), f"{name}_lr", facts),
        Image(hr, Grid.of(hr.shape, 10.0), f"{name}_hr", facts),
    )


def small(count: int, *, seed: int = 0, reach: int = 6, pitch: int = 150, places: bool = False, **options):
    """Small pairs on a regular lattice of the field, each with its own shift, and those shifts."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    shifts = rng.integers(-reach, reach + 1, (count, 2))
    made = []
    for k, s in enumerate(shifts):
        corner = (20 + k // side * pitch, 20 + k % side * pitch)
        place = (10.0 * (corner[0] + 64), 10.0 * (corner[1] + 64)) if places else None
        made.append(pair(corner, s, place=place, name=f"p{k}", **options))
    return made, shifts


# ------------------------------------------------------------------ one patch
@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 5)])
def test_a_known_shift_is_found_exactly(factor: int, shift) -> None:
    lr, hr = pair((100, 200), shift, 40, factor)
    found = best_offset(lr.array()[6:30, 8:32], hr.array(), (6, 8), factor, 6)
    assert (found.dy, found.dx) == shift
    assert found.ssim == pytest.approx(1, abs=0.02) and not found.at_rim
    # an even factor has no fine pixel in the middle of a coarse one: the nearest lies half a pixel further on
    half = 0.5 if factor % 2 == 0 else 0.0
    np.testing.assert_allclose(found.shift, np.add(shift, half), atol=0.15)


def test_the_fraction_of_a_shift_is_found_without_bias() -> None:
    """The fine scan interpolated by fractions: no outside program, but a known answer."""
    true = np.random.default_rng(0).uniform(-4, 4, (40, 2))
    lr, hr = [], []
    for k, shift in enumerate(true):
        y, x = 100 + 10 * k, 1000 - 15 * k
        hr.append(FIELD[y : y + 160, x : x + 160])
        centres = np.stack(np.meshgrid(*(4 * np.arange(40) + 1.5,) * 2, indexing="ij"))
        near = FIELD[y - 20 : y + 180, x - 20 : x + 180]
        lr.append(ndimage.map_coordinates(near, centres + np.reshape(20 + shift, (2, 1, 1)), order=3))
    boxes = np.array([[k, 5, 5, 35, 35] for k in range(40)])
    errors = np.array([found.shift for found in search(lr, hr, boxes, 4, 8)]) - true
    assert np.abs(np.mean(errors, axis=0)).max() < 0.05
    assert np.sqrt(np.mean(errors**2)) < 0.12


def test_similarity_is_that_of_scikit_image_at_every_offset() -> None:
    rng = np.random.default_rng(1)
    lr, hr = pair((50, 60), (1, 2), 30)
    patch = (lr.array()[5:24, 5:26] + rng.normal(0, 8, (19, 21))).astype(np.float32)
    fine = (hr.array() + rng.normal(0, 8, hr.grid.shape)).astype(np.float32)
    found = best_offset(patch, fine, (5, 5), 4, 5)
    rows, columns = slice(4 * 5 + 2 - 5, 4 * 23 + 2 + 6), slice(4 * 5 + 2 - 5, 4 * 25 + 2 + 6)
    x, window = (0.5 + (a - a.mean()) / a.std() / 6 for a in (patch.astype(float), fine[rows, columns].astype(float)))
    table = {
        (dy - 5, dx - 5): structural_similarity(
            x, window[dy::4, dx::4][:19, :21], win_size=7, data_range=1.0, use_sample_covariance=False
        )
        for dy in range(11)
        for dx in range(11)
    }
    best = max(table, key=lambda d: table[d])
    assert (found.dy, found.dx) == best
    assert found.ssim == pytest.approx(table[best], abs=1e-5)
    assert found.ssim < 0.9, "the noise makes this a real comparison"


def test_gain_and_offset_between_the_scans_do_not_matter() -> None:
    lr, hr = pair((100, 200), (2, -4))
    one = best_offset(lr.array()[4:28, 4:28], hr.array(), (4, 4), 4, 8)
    other = best_offset(0.3 * lr.array()[4:28, 4:28] - 500, 7 * hr.array(), (4, 4), 4, 8)
    assert (other.dy, other.dx) == (one.dy, one.dx) == (2, -4)
    assert other.ssim == pytest.approx(one.ssim, abs=1e-4)


def test_of_equal_offsets_the_nearest_to_none_wins() -> None:
    found = best_offset(np.full((20, 20), 5.0), np.full((120, 120), 9.0), (3, 3), 4, 6)
    assert (found.dy, found.dx, found.at_rim) == (0, 0, False)


def test_an_offset_outside_the_window_ends_at_its_rim() -> None:
    lr, hr = pair((100, 200), (9, 0), 40)
    assert best_offset(lr.array()[8:32, 8:32], hr.array(), (8, 8), 4, 6).at_rim
    assert not best_offset(lr.array()[8:32, 8:32], hr.array(), (8, 8), 4, 10).at_rim


def test_many_patches_are_found_as_one_is() -> None:
    pairs = [pair((100, 200), (2, 3), 50), pair((700, 300), (-4, 1), 60)]
    lr, hr = ([p[k].array() for p in pairs] for k in (0, 1))
    boxes = np.array([[0, 5, 6, 25, 26], [1, 20, 9, 40, 33], [0, 10, 20, 30, 40], [1, 8, 8, 28, 28]])
    for offset, (k, t, x, b, r) in zip(search(lr, hr, boxes, 4, 7), boxes, strict=True):
        alone = best_offset(lr[k][t:b, x:r], hr[k], (t, x), 4, 7)
        assert (offset.dy, offset.dx) == (alone.dy, alone.dx) == ((2, 3), (-4, 1))[k]
        np.testing.assert_allclose(offset.shift, alone.shift, atol=1e-4)


def test_a_moved_search_window_finds_what_is_far_away() -> None:
    lr, hr = pair((300, 300), (-21, 14), 60)
    boxes, around = np.array([[0, 20, 20, 40, 40]]), np.array([[-5, 3]])
    (found,) = search([lr.array()], [hr.array()], boxes, 4, 4, around)
    assert (found.dy, found.dx) == (-21, 14)
    np.testing.assert_allclose(found.shift, (-20.5, 14.5), atol=0.15)


def test_the_drift_of_a_large_pair_is_followed_row_by_row() -> None:
    rows, columns = np.meshgrid(np.arange(320), np.arange(320), indexing="ij")
    moved = np.stack([4 * rows + 2 + 30 + 0.05 * rows, 4 * columns + 2 - 0.1 * rows]) + 200
    lr = ndimage.map_coordinates(FIELD, moved, order=1)
    hr = FIELD[200 : 200 + 1280, 200 : 200 + 1280]
    places = np.array([[60.0, 150.0], [160.0, 100.0], [260.0, 200.0]])
    found = drift(lr, hr, 4, places)
    expected = np.stack([(30 + 0.05 * places[:, 0]) / 4, -0.1 * places[:, 0] / 4], axis=1)
    assert np.abs(found - expected).max() <= 1.5
    assert not drift(lr[:100, :100], hr[:400, :400], 4, places).any()  # too small to drift far


def test_the_core_of_a_scan_has_a_fine_pixel_at_every_offset() -> None:
    low, left, bottom, right = core((32, 40), (128, 158), 4, 6)
    for a, b, n in ((low, bottom, 128), (left, right, 158)):
        assert 4 * a + 2 - 6 >= 0 > 4 * (a - 1) + 2 - 6
        assert 4 * (b - 1) + 2 + 6 <= n - 1
    assert bottom == 30 and right == 38


def test_a_window_that_leaves_the_scan_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"needs the patch between coarse pixels \(1, 1\) and \(24, 24\), but it covers"
    ):
        best_offset(np.ones((20, 20)), np.ones((100, 100)), (0, 2), 4, 5)


def test_a_patch_too_small_to_be_found_is_refused() -> None:
    with pytest.raises(InputError, match="must keep 15 coarse pixels per axis to be found again, but 12 are left"):
        best_offset(np.ones((12, 20)), np.ones((200, 200)), (5, 5), 4, 3)


# ------------------------------------------------------------------ small pairs
def test_every_small_pair_is_cut_where_it_truly_lies() -> None:
    pairs, shifts = small(40)
    patches = recorded_patches(pairs, config=RecordedConfig(compare="nearest", least_ssim=0.0))
    assert len(patches.pieces) == 40 and patches.factor == 4
    known = {p[1].name: (p, s) for p, s in zip(pairs, shifts, strict=True)}
    for piece in patches.pieces:
        (lr, hr), shift = known[piece.name]
        np.testing.assert_array_equal(piece.lr, lr.array())
        moved = np.argwhere([[_equal_where_it_counts(piece, hr, (y, x)) for x in (0, 1)] for y in (0, 1)])
        assert len(moved) == 1, "not the recorded grey levels at the right place"
        # what the fine scan does not reach does not count
        for axis in (0, 1):
            start = shift[axis] + moved[0][axis]
            inside = (np.arange(128) + start >= 0) & (np.arange(128) + start < 128)
            np.testing.assert_array_equal(piece.weight.any(axis=1 - axis), inside)


def _equal_where_it_counts(piece, hr, up) -> bool:
    """Is the piece the fine scan, begun at the true shift (half a pixel between two whole ones), rounded ``up``?"""
    index = [np.clip(np.arange(128) + s + u, 0, 127) for s, u in zip(SHIFT_OF[piece.name], up, strict=True)]
    return bool((piece.hr == hr.array()[np.ix_(*index)])[piece.weight].all())


SHIFT_OF = {f"p{k}": s for k, s in enumerate(small(40)[1])}
SHIFT_OF |= {f"{k}_hr": s for k, s in list(SHIFT_OF.items())}


def test_smoothing_before_thinning_helps_against_noise() -> None:
    pairs, shifts = small(30, seed=3)
    rng = np.random.default_rng(0)
    noisy = [
        tuple(i.with_data(i.array() + rng.normal(0, 30, i.grid.shape).astype(np.float32)) for i in p) for p in pairs
    ]
    errors = {}
    for compare in ("nearest", "smoothed"):
        config = RecordedConfig(compare=compare, least_ssim=-1.0)
        patches = recorded_patches(noisy, config=config)
        names = {p[1].name: (k, p[1].array()) for k, p in enumerate(noisy)}
        errors[compare] = [
            np.linalg.norm(_found_shift(p, names[p.name][1]) - shifts[names[p.name][0]] - 0.5) for p in patches.pieces
        ]
    assert np.mean(errors["smoothed"]) < 0.8 * np.mean(errors["nearest"])
    assert np.median(errors["smoothed"]) < 1.5


def _found_shift(piece, hr) -> np.ndarray:
    """Where the piece begins in its fine scan."""
    probe = piece.hr[60, 60:64]
    rows, columns = np.nonzero(hr[:, :-3] == probe[0])
    same = [(y, x) for y, x in zip(rows, columns, strict=True) if (hr[y, x : x + 4] == probe).all()]
    assert len(same) == 1
    return np.array(same[0]) - 60


def test_the_set_says_what_the_scans_are() -> None:
    pairs, _ = small(40, gain=0.5, offset=20.0)
    patches = recorded_patches(pairs)
    assert patches.gain == pytest.approx(2, rel=0.03) and patches.offset == pytest.approx(-40, abs=4)
    assert patches.sr_factor == (4.0, 4.0) and patches.hr_dtype == "float32"
    assert patches.out_grid.same_as(patches.work_grid.refine(4))
    for piece in patches.pieces:
        assert piece.out_grid.same_as(piece.work_grid.refine(4))
        assert np.isfinite(piece.hr).all() and np.isfinite(piece.lr).all()
    trains = [p for p in patches.pieces if (p.role == TRAIN).any()]
    assert patches.lr_grey.mean == pytest.approx(np.mean([p.lr.mean() for p in trains]), rel=0.01)
    assert sum(patches.shares().values()) == pytest.approx(1, abs=0.05)


def test_held_out_boxes_hold_their_roles_and_no_other() -> None:
    patches = recorded_patches(small(40)[0])
    for name, role in (("stop", STOP), ("test", TEST)):
        held = [p for p in patches.pieces if patches.held(p, name)]
        assert held == [p for p in patches.pieces if (p.role == role).any()] and held
    corners = {p.work_grid.origin_nm for p in patches.pieces}
    assert len(corners) == len(patches.pieces), "two pieces lie at one place of the canvas"


def test_networks_can_be_trained_and_judged_on_it() -> None:
    from finescan.training import fit_contestants

    patches = recorded_patches(small(40)[0])
    psnr = {name: m.card.training["stop_psnr"] for name, m in fit_contestants(patches).items()}
    assert psnr["nearest"] < psnr["bicubic"] <= psnr["ridge"] + 0.2
    lr, hr, weight = PatchSampler(patches, size=32).batch(8)
    means = hr.reshape(8, 32, 4, 32, 4).mean(axis=(2, 4))
    counts = weight.reshape(8, 32, 4, 32, 4).min(axis=(2, 4)) > 0
    assert np.abs(means - lr)[counts].mean() < 4  # of a spread of 20: half a fine pixel off at most


def test_a_wrong_pair_is_left_out_and_counted() -> None:
    pairs, _ = small(40)
    pairs[7] = (pairs[7][0], pairs[7][1].with_data(texture((128, 128), seed=9)))
    patches = recorded_patches(pairs, config=RecordedConfig(least_ssim=0.8))
    assert "p7_hr" not in {p.name for p in patches.pieces} and len(patches.pieces) == 39
    note = [n for n in patches.notes if "1 of 40 patches" in n]
    assert len(note) == 1 and ("similarity below 0.80" in note[0] or "rim of the search window" in note[0])


def test_a_drift_beyond_the_window_is_left_out_with_advice() -> None:
    pairs, _ = small(40)
    for k in range(10):
        pairs[k] = pair((20 + k // 7 * 150, 20 + k % 7 * 150), (10, 0), name=f"p{k}")
    patches = recorded_patches(pairs, config=RecordedConfig(search_lr_px=2.0, least_ssim=-1))
    assert any("10 of 40 patches fit best at the rim of the search window" in n for n in patches.notes)
    assert any("The scans may drift more than search_lr_px = 2: raise it." in n for n in patches.notes)
    assert len(patches.pieces) == 30


def test_saturated_and_missing_pixels_do_not_count() -> None:
    pairs, _ = small(40, reach=0)
    hr = pairs[3][1].array()
    hr[50, 60] = np.nan
    lr = pairs[4][0].array()
    lr[10, 20] = np.nan
    patches = recorded_patches(pairs, config=RecordedConfig(compare="nearest", least_ssim=-1))
    by_name = {p.name: p for p in patches.pieces}
    lost = np.argwhere(~by_name["p3_hr"].weight[10:-10, 10:-10]) + 10
    assert len(lost) == 9 and np.abs(lost.mean(axis=0) - (50, 60)).max() <= 1
    assert not by_name["p4_hr"].weight[36:48, 76:88].any() and by_name["p4_hr"].weight[20:36, 20:70].all()


def test_scans_without_noise_lose_no_patch_to_a_strict_threshold() -> None:
    patches = recorded_patches(small(40)[0])
    assert len(patches.pieces) == 40 and not any("left out" in n for n in patches.notes)


def test_beyond_its_edge_a_fine_scan_is_mirrored() -> None:
    pairs, _ = small(40, reach=0)
    pairs[0] = pair((20, 20), (8, 0), name="p0")
    (piece,) = (p for p in recorded_patches(pairs).pieces if p.name == "p0_hr")
    lost = 128 - np.count_nonzero(piece.weight.any(axis=1))
    assert lost in (8, 9)
    np.testing.assert_array_equal(piece.hr[-lost:], piece.hr[-2 * lost : -lost][::-1])


def test_most_patches_keeps_every_role() -> None:
    patches = recorded_patches(small(40)[0], config=RecordedConfig(most_patches=12, least_ssim=-1))
    assert 9 <= len(patches.pieces) <= 12
    assert {int(p.role.max()) for p in patches.pieces} == {TRAIN, STOP, TEST}
    assert any("12 of 40 patches were drawn by chance" in n for n in patches.notes)


# ------------------------------------------------------------------ roles by blocks of the sample
def windows_of(patches, pairs):
    """(name -> centre in fine pixels) and roles of the pairs that are left."""
    where = {p[1].name: np.array(p[1].acquisition.extra["place_nm"]) / 10 for p in pairs}
    return [(where[p.name], int(p.role.max())) for p in patches.pieces]


def test_pairs_whose_places_are_known_get_their_roles_by_blocks() -> None:
    pairs, _ = small(100, places=True, reach=2, pitch=150)
    config = RecordedConfig(search_lr_px=1.0, guard_lr_px=12)
    patches = recorded_patches(pairs, config=config)
    left = windows_of(patches, pairs)
    # a window is 128 fine pixels wide; between roles lie the guard and both searches
    gap = 4 * (12 + 2)
    for place, role in left:
        for other, role_there in left:
            if role != role_there:
                assert np.abs(place - other).max() - 128 >= gap
    counts = np.bincount([r for _, r in left], minlength=4)
    assert 5 <= counts[TEST] <= 15 and 3 <= counts[STOP] <= 15 and counts[TRAIN] >= 50
    assert any("were left out" in n and "blocks of the sample" in n for n in patches.notes)
    assert any(f"({'/'.join(f'{100 * c / len(left):.0f}' for c in counts[1:])} %)" in n for n in patches.notes)


def test_blocks_keep_neighbours_together() -> None:
    """Held-out pairs of one block are neighbours: far closer to each other than chance has it."""
    pairs, _ = small(100, places=True, reach=2)
    patches = recorded_patches(pairs, config=RecordedConfig(search_lr_px=1.0, seed=2))
    held = [p for p, role in windows_of(patches, pairs) if role == TEST]
    near = [min(np.abs(a - b).max() for b in held if b is not a) for a in held]
    assert np.median(near) == 150


def test_the_stage_tells_the_places_too() -> None:
    pairs, _ = small(100, places=True, reach=2)

    def staged(image):
        y, x = image.acquisition.extra["place_nm"]
        return dataclasses.replace(image, acquisition=Acquisition(stage=StagePose(x_nm=x, y_nm=y)))

    config = RecordedConfig(search_lr_px=1.0)
    a = recorded_patches(pairs, config=config)
    b = recorded_patches([tuple(staged(i) for i in p) for p in pairs], config=config)
    assert [p.name for p in a.pieces] == [p.name for p in b.pieces]
    np.testing.assert_array_equal([p.role.max() for p in a.pieces], [p.role.max() for p in b.pieces])


def test_without_places_whole_pairs_are_drawn_and_that_is_said() -> None:
    pairs, _ = small(40)
    patches = recorded_patches(pairs, config=RecordedConfig(least_ssim=-1))
    assert np.bincount([int(p.role.max()) for p in patches.pieces]).tolist() == [0, 32, 4, 4]
    assert any("Nothing says where in the sample the pairs lie" in n for n in patches.notes)
    assert any("32 training, 4 stop and 4 test patches (80/10/10 %) from 40 pair(s)" in n for n in patches.notes)


def test_the_seed_decides_the_roles() -> None:
    pairs, _ = small(40)
    a, b, c = (recorded_patches(pairs, config=RecordedConfig(seed=s)).fingerprint() for s in (0, 0, 1))
    assert a == b != c


# ------------------------------------------------------------------ large pairs
@pytest.fixture(scope="module")
def large():
    """One large pair whose fine scan drifts by up to 25 fine pixels, and the true shift of every coarse pixel."""
    n = 330
    rows, columns = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    shift = np.stack([0.5 + 18 * rows / n + 3 * np.sin(rows / 40), -4 + 8 * rows / n + 0 * columns])
    lr = ndimage.map_coordinates(FIELD, np.stack([4 * rows + 1.5, 4 * columns + 1.5]) + 150 + shift, order=3)
    hr = FIELD[150 : 150 + 4 * n, 150 : 150 + 4 * n]
    return (Image(lr, Grid.of(lr.shape, 40.0), "lr"), Image(hr, Grid.of(hr.shape, 10.0), "hr")), shift


@pytest.fixture(scope="module")
def large_set(large):
    return recorded_patches([large[0]], config=RecordedConfig(seed=1))


def test_patches_of_a_drifting_pair_are_cut_where_they_truly_lie(large, large_set) -> None:
    (lr, hr), shift = large
    errors = []
    for piece in large_set.pieces:
        top, left = np.rint(lr.grid.to_index(piece.work_grid.origin_nm)).astype(int)
        np.testing.assert_array_equal(
            piece.lr, lr.array()[top : top + piece.lr.shape[0], left : left + piece.lr.shape[1]]
        )
        start = _found_shift(piece, hr.array())
        middle = np.array(piece.lr.shape) // 2
        true = 4 * np.array([top, left]) + shift[:, top + middle[0], left + middle[1]]
        errors.append(start - true)
    assert len(errors) >= 60
    # half a pixel of rounding, the drift within a patch, and the error of the search
    assert np.abs(errors).max() < 1.1
    assert np.sqrt(np.mean(np.square(errors))) < 0.45
    assert np.abs(np.mean(errors, axis=0)).max() < 0.15


def test_nothing_of_a_large_pair_is_learned_near_held_out_blocks(large, large_set) -> None:
    config = RecordedConfig(seed=1)
    (lr, _), _ = large
    roles = np.zeros(lr.grid.shape, np.int8)
    for piece in large_set.pieces:
        top, left = np.rint(lr.grid.to_index(piece.work_grid.origin_nm)).astype(int)
        box = roles[top : top + piece.role.shape[0], left : left + piece.role.shape[1]]
        assert not (box[piece.role > 0]).any(), "patches overlap"
        box[piece.role > 0] = piece.role[piece.role > 0]
        assert np.count_nonzero(piece.role) == 32 * 32
        assert not piece.weight[~np.repeat(np.repeat(piece.role > 0, 4, 0), 4, 1)].any()
    for name, role in (("stop", STOP), ("test", TEST)):
        for t, x, b, r in large_set.boxes[name]:
            assert {role} == set(np.unique(roles[t:b, x:r]).tolist()) - {0}
            held = np.zeros(roles.shape, bool)
            held[t:b, x:r] = True
            away = ndimage.distance_transform_cdt(~held, "chessboard")
            assert away[roles == TRAIN].min() > config.gap == 18
    counts = np.bincount(roles.ravel(), minlength=4)[1:] / 1024
    assert counts[1] >= 4 and counts[2] >= 4 and counts[0] > 40


def test_references_of_a_large_pair_come_from_training_blocks_alone(large, large_set) -> None:
    (_, hr), _ = large
    bank = recorded_references([large[0]], config=RecordedConfig(seed=1), count=30, side=200, seed=3)
    assert bank.side == 200 and len(bank) == 30
    for crop, (y, x) in zip(bank.crops, bank.corners, strict=True):
        np.testing.assert_array_equal(crop, hr.array()[y : y + 200, x : x + 200])
        for t, left, b, r in large_set.boxes["stop"] + large_set.boxes["test"]:
            off = max(4 * t - (y + 200), y - 4 * b, 4 * left - (x + 200), x - 4 * r)
            assert off >= 4 * 18, "a reference closer to held-out sample than the gap"
    sampler = TripletSampler(large_set, bank, choose=lambda x: np.ones((len(x), len(bank))), size=24)
    assert sampler.batch(2)[3].shape == (2, 200, 200)


def test_references_of_small_pairs_come_from_training_pairs() -> None:
    pairs, _ = small(40)
    patches = recorded_patches(pairs, config=RecordedConfig(least_ssim=-1))
    trains = {p.name for p in patches.pieces if (p.role == TRAIN).any()}
    bank = recorded_references(pairs, config=RecordedConfig(least_ssim=-1), count=256)
    assert bank.side == 128 and len(bank) == len(trains) == 32
    fine = {hr.array().tobytes() for _, hr in pairs if hr.name in trains}
    assert {c.tobytes() for c in bank.crops} == fine
    assert bank.notes == (
        "No reference of 300 fine pixels fits the training blocks; they are 128 pixels wide.",
        "Only 32 of 256 references fit the training blocks.",
    )


def test_many_fine_patches_are_views_of_their_scan(large_set) -> None:
    owners = {id(_owner(p.hr)) for p in large_set.pieces if p.weight.sum() == 128 * 128}
    assert len(owners) < len(large_set.pieces) / 4


def _owner(array):
    while array.base is not None:
        array = array.base
    return array


def test_offsets_that_jump_are_found_out() -> None:
    table = np.array([[0, y, x, TRAIN] for y in range(0, 320, 32) for x in range(0, 320, 32)])
    smooth = [Offset(y // 32, x // 64, 0.9, (0.0, 0.0), False) for _, y, x, _ in table.tolist()]
    assert not _strays(table, smooth).any()
    smooth[44] = dataclasses.replace(smooth[44], dx=smooth[44].dx + 7)
    assert np.flatnonzero(_strays(table, smooth)).tolist() == [44]


def test_packed_squares_lie_in_the_mask_and_do_not_overlap() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(200, 160)), 15) > -0.01
    corners = packed(mask, 12)
    cover = np.zeros(mask.shape, int)
    for y, x in corners:
        assert mask[y : y + 12, x : x + 12].all()
        cover[y : y + 12, x : x + 12] += 1
    assert cover.max() == 1 and len(corners) > 0.5 * mask.sum() / 144
    assert window_sums((mask & (cover == 0)).astype(float), 12).max() < 143.5, "room for one more"


# ------------------------------------------------------------------ ratios
def test_a_ratio_that_is_not_whole_is_resampled_once_and_said() -> None:
    """3072 pixels where the coarse scan has 976, as published: factor 3."""
    pairs = []
    for k in range(12):
        y, x = 30 + 200 * (k // 4), 40 + 200 * (k % 4)
        hr = FIELD[y : y + 192, x : x + 192]
        step = 192 / 61
        centres = np.stack(np.meshgrid(*(step * (np.arange(61) + 0.5) - 0.5,) * 2, indexing="ij"))
        lr = ndimage.map_coordinates(FIELD, centres + np.reshape([y + 2.0, x - 1.0], (2, 1, 1)), order=3)
        pairs.append((Image(lr, Grid.of(lr.shape, 31.0), f"c{k}"), Image(hr, Grid.of(hr.shape, 10.0), f"f{k}")))
    patches = recorded_patches(pairs, config=RecordedConfig(least_ssim=0.5))
    assert patches.factor == 3 and patches.sr_factor == pytest.approx((192 / 61,) * 2)
    assert patches.out_grid.pixel_size_nm == pytest.approx((31 * 61 / 192,) * 2)
    assert any("3.148 x 3.148 fine pixels per coarse one, not a whole number" in n for n in patches.notes)
    assert any("3.1 x 3.1 fine pixels per coarse one by their sizes, 3.148 x 3.148 by their numbers" in n
               for n in patches.notes)  # fmt: skip
    starts = []
    hr = {p[1].name: p[1].array() for p in pairs}
    for piece in patches.pieces:
        name = piece.name.split(" ")[0]
        cell = np.rint(patches.out_grid.to_index(piece.out_grid.origin_nm)).astype(int) % 192
        starts.append(_found_shift(piece, hr[name]) - cell)
        assert piece.hr.shape == tuple(3 * n for n in piece.lr.shape)
    assert np.abs(np.mean(starts, axis=0) - (2, -1)).max() < 0.5


def test_counts_win_over_rounded_pixel_sizes() -> None:
    """98 and 24 nm for 32 and 128 pixels, as published: one field, so the ratio is 4 and nothing is resampled."""
    pairs = [
        (a.with_data(a.data, Grid.of((32, 32), 98.0)), b.with_data(b.data, Grid.of((128, 128), 24.0)))
        for a, b in small(40)[0]
    ]
    patches = recorded_patches(pairs)
    assert patches.sr_factor == (4.0, 4.0) and patches.work_grid.pixel_size_nm == (98.0, 98.0)
    assert any("4.083 x 4.083 fine pixels per coarse one by their sizes, 4 x 4 by their numbers" in n
               for n in patches.notes)  # fmt: skip
    assert not any("resampled" in n for n in patches.notes)


# ------------------------------------------------------------------ what cannot be used
def odd(pairs, k=5, lr=None, hr=None):
    """The pairs with one of them changed."""
    changed = list(pairs)
    changed[k] = (lr or pairs[k][0], hr or pairs[k][1])
    return changed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: [], "at least one recorded pair, but none came"),
        (lambda p: [(b, a) for a, b in p], r"p0_hr has 128 x 128 and p0_lr 32 x 32\. Are the two swapped\?"),
        (
            lambda p: odd(p, lr=p[5][0].with_data(p[5][0].data, Grid.of((32, 32), 41.0))),
            "pixel sizes of the first one, but p5_lr has 41 x 41 nm where p0_lr has 40 x 40 nm",
        ),
        (
            lambda p: odd(p, hr=p[5][1].with_data(p[5][1].array().astype(np.uint8))),
            "number formats of the first one, but p5_hr is uint8 where p0_hr is float32",
        ),
        (
            lambda p: odd(p, hr=p[5][1].with_data(p[5][1].array()[:124, :124], Grid.of((124, 124), 10.0))),
            r"ratio of the first one \(4 x 4\), but p5_lr and p5_hr have 3.875 x 3.875",
        ),
        (
            lambda p: [(a.with_data(a.data, Grid.of((32, 32), 30.9)), b) for a, b in p],
            "same field, but p0_hr has 4 x 4 as many pixels as p0_lr, and they are 3.09 x 3.09 times smaller",
        ),
        (
            lambda p: [(a, a.with_data(np.ones((48, 48), np.float32), Grid.of((48, 48), 26.7))) for a, _ in p],
            r"at least twice the pixels per axis, but p0_lr has 1\.5 x 1\.5 those of p0_lr",
        ),
        (lambda p: p[:2], r"three pairs, or pairs of 164 coarse pixels and more, but 2 of 32 x 32 came"),
    ],
)
def test_pairs_that_do_not_belong_together_are_named(change, text) -> None:
    with pytest.raises(InputError, match=text):
        recorded_patches(change(small(12)[0]))


def test_a_patch_larger_than_the_scan_is_refused() -> None:
    with pytest.raises(InputError, match="Patches of 40 coarse pixels do not fit pair 1 of 32 x 32 coarse pixels"):
        recorded_patches(small(12)[0], config=RecordedConfig(patch_lr_px=40))


def test_pairs_without_anything_in_common_are_refused() -> None:
    pairs = [(a, b.with_data(texture((128, 128), seed=100 + k))) for k, (a, b) in enumerate(small(12)[0])]
    with pytest.raises(InputError, match=r"None of the \d+ (training|stop|test) patches can be used"):
        recorded_patches(pairs, config=RecordedConfig(least_ssim=0.9))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patch_lr_px": 4}, "patch_lr_px of at least 8 and no negative lengths, but patch_lr_px=4"),
        ({"search_lr_px": -1.0}, "no negative lengths"),
        ({"compare": "mean"}, "compare is one of nearest, smoothed, but 'mean' came"),
        ({"shares": (0.7, 0.1, 0.1)}, "add up to 1"),
        ({"shares": (0.99, 0.005, 0.005)}, "between 0.02 and 0.4"),
        ({"most_patches": 2}, "at least 3, one per role, but 2 came"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(options, text) -> None:
    with pytest.raises(InputError, match=text):
        RecordedConfig(**options)
