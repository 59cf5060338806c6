"""Judging on recorded pixels that were not seen: places, levels, and how far a gain reaches."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.unseen import at_recorded, decimated, reach, steps_for, unseen, unseen_curve
from finescan.values import Grid, Region

SIDE = 240


def waves(shape=(SIDE, SIDE), period=24.0):
    y, x = np.indices(shape)
    return np.cos(2 * np.pi * (y + 0.4 * x) / period) + np.cos(2 * np.pi * x / period)


def enlarged(factor):
    """Cubic enlargement about pixel edges, by SciPy."""

    def method(picture):
        return ndimage.zoom(picture, factor, order=3, mode="nearest", grid_mode=True).astype(np.float32)

    return method


def box(shape=(SIDE, SIDE)):
    grid = Grid.of(shape, 1.0)
    return [Region(grid, (48, 48), (144, 144)), Region(grid, (96, 150), (192, 210))]


@pytest.mark.parametrize("step", [1.25, 1.5, 2, 3, 4, 6])
@pytest.mark.parametrize("factor", [2, 4])
def test_predictions_lie_at_the_places_of_the_recorded_pixels(step, factor):
    picture = waves(period=40.0)
    taken = decimated(picture, step)
    assert set(np.unique(taken)) <= set(np.unique(picture))
    back = at_recorded(enlarged(factor)(taken), picture.shape, step, factor)
    inner = (slice(20, -20),) * 2
    error = np.abs(back - picture)[inner]
    assert np.isfinite(back[inner]).all()
    # steps that are not whole take pixels up to half a pixel off, on both sides alike: noise, but no shift
    assert np.median(error) < (0.07 if step % 1 else 0.012)
    moved = [np.sqrt(np.mean((np.roll(back, k, axis=1) - picture)[inner] ** 2)) for k in (-1, 0, 1)]
    assert moved[1] < min(moved[0], moved[2]) and moved[0] == pytest.approx(moved[2], rel=0.12)


def test_what_was_seen_is_not_an_answer():
    for step, share in ((1.25, 0.36), (1.5, 5 / 9), (2, 0.75), (4, 15 / 16)):
        assert unseen((60, 60), step).mean() == pytest.approx(share)
    mask = unseen((6, 6), 2)
    assert not mask[1::2, 1::2].any() and mask[::2].all()


def test_missing_pixels_and_far_edges_have_no_prediction():
    result = enlarged(2)(waves((40, 40)))
    result[10, 10] = np.nan
    back = at_recorded(result, (41, 41), 2.0 / 2, 2)
    assert np.isnan(back[5, 5]) and np.isfinite(back[12, 12])
    assert np.isnan(at_recorded(enlarged(2)(waves((20, 20))), (44, 44), 2, 2)[-3:]).all()


def test_steps_are_those_that_tell_something():
    assert steps_for(4, (512, 512)) == (1.25, 1.5, 2, 3, 4, 5, 6, 8)
    assert steps_for(2, (512, 512)) == (1.25, 1.5, 2, 3, 4)
    assert steps_for(4, (100, 300)) == (1.25, 1.5, 2, 3, 4) and steps_for(2, (512, 512), 1.0) == (1.25, 1.5, 2)


def curve_of(denoised, factor=2, noise=0.4):
    """Bicubic-like enlargement of noisy waves, against one that takes off noise as ``denoised`` says by its input."""
    rng = np.random.default_rng(3)
    picture = waves() + noise * rng.standard_normal((SIDE, SIDE))
    plain = enlarged(factor)

    def better(coarse):
        return plain(denoised(coarse))

    methods = {"bicubic": plain, "enhanced": better}
    return unseen_curve([(picture, box())], factor, methods, data_range=4.0, candidate="enhanced", split_px=30)


def test_a_gain_at_all_levels_reaches_the_result():
    curve = curve_of(lambda coarse: ndimage.gaussian_filter(coarse, 0.5))
    assert curve.levels == tuple(sorted(curve.levels)) and curve.levels[-1] == pytest.approx(1.6)
    far = reach(curve)
    assert far.everywhere and far.shown == far.measured == pytest.approx(1.6) and far.trusted == 2.0
    assert far.at_result.mean == pytest.approx(curve.gains[-1].mean, abs=0.6) and far.at_result.low > 0
    table = curve.table()
    assert table["level_percent"] == pytest.approx([50, 200 / 3, 100, 400 / 3, 160]) and all(table["better"])
    assert far.to_dict()["trusted_percent"] == 200.0


def test_a_gain_one_level_down_alone_is_not_trusted_beyond():
    """What a network does that has learned the recorded level by heart: fine at 100 %, harmful where it is used."""

    def denoised(coarse):
        return ndimage.gaussian_filter(coarse, 0.5 if len(coarse) <= SIDE // 2 else 4.0)

    far = reach(curve_of(denoised))
    assert far.shown == 1.0 and far.measured == pytest.approx(1.6) and not far.everywhere and far.trusted == 1.0
    assert far.at_result.mean < 0


def test_a_higher_psnr_does_not_outweigh_less_likeness():
    curve = curve_of(lambda coarse: 0.3 * ndimage.gaussian_filter(coarse, 1.0), noise=1.0)
    assert curve.gains[-1].significance == "better" and curve.similarity[-1].significance == "worse"
    assert not curve.better[-1]


def test_refusals():
    picture = waves()
    with pytest.raises(InputError, match="must hold 'bicubic', but only other came"):
        unseen_curve([(picture, box())], 2, {"other": enlarged(2)}, data_range=1.0, candidate="other")
    with pytest.raises(InputError, match="held-out boxes and at least 48 px along each side"):
        unseen_curve([(picture, [])], 2, {"bicubic": enlarged(2)}, data_range=1.0, candidate="bicubic")
