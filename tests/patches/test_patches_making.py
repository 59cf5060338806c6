"""make_patches: geometry, masks, statistics, messages."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.patches import SplitConfig, choose_factor, make_patches
from finescan.resampling import resample, sample
from finescan.values import Grid, Warp


@pytest.mark.parametrize(
    ("ratio", "factor"), [(5.0, 5), (2.67, 2), (1.92, 2), (1.5, 1), (1.02, 1), (4.9, 5), (3.7, 3), (15.9, 16)]
)
def test_the_factor_is_the_nearest_whole_number_unless_that_loses_detail(ratio: float, factor: int) -> None:
    assert choose_factor(ratio) == factor
    assert factor / ratio <= 1.06 or factor == 1


def test_a_whole_ratio_uses_the_recorded_pixels_untouched(make_pair) -> None:
    pair = make_pair()
    patches = make_patches([pair])
    (piece,) = patches.pieces
    assert patches.factor == 4 and patches.work_grid.same_as(pair.lr.grid)
    y, x = (round(v) for v in pair.lr.grid.to_index(piece.work_grid.origin_nm))
    h, w = piece.lr.shape
    np.testing.assert_array_equal(piece.lr, pair.lr.array()[y : y + h, x : x + w])


@pytest.mark.parametrize("ratio", [4.0, 2.67])
def test_fine_and_coarse_pixels_show_the_same_place(make_pair, ratio: float) -> None:
    patches = make_patches([make_pair(ratio=ratio, field=(481, 490))])
    (piece,) = patches.pieces
    f, (h, w) = patches.factor, piece.lr.shape
    weight = piece.weight.reshape(h, f, w, f).all(axis=(1, 3))
    means = piece.hr.reshape(h, f, w, f).mean(axis=(1, 3))
    # block means of a smooth image are its coarse recording; half a fine pixel of shift would give about 2.5
    assert np.abs(means - piece.lr)[weight].mean() < 0.6


def test_fine_grey_levels_on_the_output_grid_are_the_recorded_ones(make_pair, texture) -> None:
    pair = make_pair()
    (piece,) = make_patches([pair]).pieces
    truth = texture((480, 480))
    rows, columns = (
        np.round(piece.out_grid.to_nm(np.stack([np.arange(n)] * 2, -1))[:, k] / 10).astype(int)
        for k, n in enumerate(piece.hr.shape)
    )
    here = truth[np.ix_(rows, columns)]
    inner = piece.weight
    np.testing.assert_allclose(piece.hr[inner], here[inner], atol=0.02)
    assert inner.sum() == 320 * 320


def test_a_spline_warp_is_followed(make_pair) -> None:
    pair = make_pair()
    knots = Grid.of((9, 1), 640.0, (-1280.0, 0.0))
    moved = np.zeros((2, 9, 1))
    moved[1, :, 0] = np.linspace(-40, 40, 9)  # drift along the columns, up to 4 fine pixels
    bent = dataclasses.replace(
        pair, lr_from_hr=dataclasses.replace(pair.lr_from_hr, knots=knots, displacement_nm=moved)
    )
    straight, curved = make_patches([pair]).pieces[0], make_patches([bent]).pieces[0]
    nm = curved.out_grid.to_nm(np.array([200, 150]))
    index = bent.hr.grid.to_index(bent.lr_from_hr.inverse_at(nm[None]))[0]
    expected = sample(bent.hr.array(), index[None])[0]
    assert abs(curved.hr[200, 150] - expected) < 1e-3
    assert np.abs(straight.hr[:300, :300] - curved.hr[:300, :300]).max() > 1


def test_saturated_and_invalid_pixels_do_not_count(make_pair) -> None:
    valid = np.ones((320, 320), bool)
    valid[:40, :60] = False
    pair = make_pair(change=lambda a: np.clip(a, 60, 130).astype(np.float32), valid=valid)
    piece = make_patches([pair]).pieces[0]
    clear = piece.hr[piece.weight]
    assert clear.max() < 130.5 and clear.min() > 59.5  # what is left may ring a little, never by a saturated pixel
    y, x = (round(v) for v in piece.out_grid.to_index((800.0, 800.0)))
    assert not piece.weight[y : y + 40, x : x + 60].any()
    assert piece.weight[y + 45 : y + 200, x + 65 : x + 200].any()


def test_saturation_is_reported_in_a_sentence(make_pair) -> None:
    patches = make_patches([make_pair(change=lambda a: np.clip(a, 0, 130).astype(np.float32))])
    assert patches.saturated["hr"] > 0.05
    assert any("of the fine scan is saturated" in note for note in patches.notes)


def test_missing_grey_levels_do_not_spread(make_pair) -> None:
    pair = make_pair()
    data = pair.hr.array().copy()
    data[100, 100] = np.nan
    lr = pair.lr.array().copy()
    lr[60, 60] = np.inf
    holed = dataclasses.replace(pair, hr=pair.hr.with_data(data), lr=pair.lr.with_data(lr))
    whole, piece = make_patches([pair]).pieces[0], make_patches([holed]).pieces[0]
    assert np.isfinite(piece.hr).all() and np.isfinite(piece.lr).all()
    lost = whole.weight & ~piece.weight
    assert 100 < lost.sum() < 300  # 3 x 3 coarse pixels and a little around one fine pixel


@pytest.mark.parametrize("gain", [1.7, -0.8])
def test_the_grey_map_of_the_pair_is_found_also_when_inverted(make_pair, gain: float) -> None:
    patches = make_patches([make_pair(gain=gain)])
    assert patches.gain == pytest.approx(gain, rel=0.03)
    assert ("inverted" in " ".join(patches.notes)) == (gain < 0)


def test_statistics_come_from_the_training_role_alone(make_pair) -> None:
    patches = make_patches([make_pair()])
    (piece,) = patches.pieces
    trained = piece.hr[piece.role_fine("train")]
    everything = piece.hr[piece.weight]
    assert patches.hr_grey.mean == pytest.approx(trained.mean(dtype=float)) != pytest.approx(everything.mean())
    assert patches.hr_grey.high == pytest.approx(np.percentile(trained, 99.9))
    assert patches.lr_grey.std == pytest.approx(piece.lr[piece.role == 1].std(dtype=float))


def test_scans_too_coarse_for_the_target_judge(make_pair) -> None:
    fine = make_pair(name="fine")
    coarse = _at_pitch(fine, 15.0)
    patches = make_patches([fine, coarse])
    assert [p.name for p in patches.pieces] == ["fine"] and patches.judges == ("other",)
    assert any("too coarse to train" in note for note in patches.notes)


def _at_pitch(pair, pitch: float):
    grid = pair.hr.grid.refine(10.0 / pitch)
    return dataclasses.replace(pair, hr=dataclasses.replace(resample(pair.hr, onto=grid, outside=None), name="other"))


def test_swapped_scans_are_refused_with_a_question(make_pair) -> None:
    pair = make_pair()
    swapped = dataclasses.replace(pair, lr=pair.hr, hr=pair.lr)
    with pytest.raises(InputError, match="Are the two files swapped"):
        make_patches([swapped])


def test_too_small_an_overlap_says_what_is_needed(make_pair) -> None:
    with pytest.raises(InputError, match=r"covers about 20 x 20 coarse pixels.*84 x 84 are needed"):
        make_patches([make_pair(box=(80, 80, 160, 160))])


def test_a_registration_outside_the_map_is_refused(make_pair) -> None:
    pair = dataclasses.replace(make_pair(), lr_from_hr=Warp.affine(np.eye(2), (1e6, 1e6)))
    with pytest.raises(InputError, match="lies outside coarse by its registration"):
        make_patches([pair])


def test_a_constant_scan_is_refused(make_pair) -> None:
    with pytest.raises(InputError, match="fine scan is constant over the training area"):
        make_patches([make_pair(change=lambda a: np.full_like(a, 7))])


def test_pairs_of_different_maps_are_refused(make_pair) -> None:
    with pytest.raises(InputError, match="All pairs must share one coarse map"):
        make_patches([make_pair(), make_pair(field=(400, 480), box=(40, 40, 300, 300))])


def test_inputs_are_not_changed(make_pair) -> None:
    pair = make_pair()
    pair.lr.data.setflags(write=False)
    pair.hr.data.setflags(write=False)
    a, b = (make_patches([pair], config=SplitConfig(seed=3)) for _ in range(2))
    assert a.fingerprint() == b.fingerprint()
    assert a.fingerprint() != make_patches([pair], config=SplitConfig(seed=4)).fingerprint()


def test_grey_levels_that_were_not_learned_are_outside_the_learned_range(make_pair) -> None:
    """Where the fine scan saturates, the bright coarse pixels lie in the training area but taught nothing."""
    plain = make_patches([make_pair()])
    cut = make_patches([make_pair(change=lambda a: np.minimum(a, np.quantile(a, 0.9)).astype(np.float32))])
    assert cut.saturated["hr"] > 0.03
    width = plain.lr_range[1] - plain.lr_range[0]
    assert cut.lr_range[1] < plain.lr_range[1] - 0.05 * width
    assert abs(cut.lr_range[0] - plain.lr_range[0]) < 0.05 * width


def test_black_pores_cut_off_at_the_dark_end_stay_inside_the_learned_range(make_pair) -> None:
    plain = make_patches([make_pair()])
    cut = make_patches([make_pair(change=lambda a: np.maximum(a, np.quantile(a, 0.1)).astype(np.float32))])
    assert cut.saturated["hr"] > 0.03
    width = plain.lr_range[1] - plain.lr_range[0]
    assert abs(cut.lr_range[0] - plain.lr_range[0]) < 0.02 * width


def test_noise_of_the_coarse_map_does_not_flatten_the_grey_map(make_pair) -> None:
    """A plain regression on noisy grey levels finds too small a gain: black pores would come out grey."""
    clean = make_patches([make_pair()])
    pair = make_pair()
    rng = np.random.default_rng(4)
    spread = float(pair.lr.array().std())
    noisy = pair.lr.array() + rng.normal(0, 1.5 * spread, pair.lr.grid.shape)
    found = make_patches([dataclasses.replace(pair, lr=pair.lr.with_data(noisy.astype(np.float32)))])
    assert found.gain == pytest.approx(clean.gain, rel=0.1)
