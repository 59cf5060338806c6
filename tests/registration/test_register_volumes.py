"""From two volumes to a Pair: places, maps, verdicts, masks and what may be wrong with the input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError, RegistrationRefused
from finescan.registration import (
    AlignOptions,
    Prior,
    align,
    load_pair,
    locate,
    locate_volume,
    prior_from_headers,
    register,
    register_all,
    require_found,
    save_pair,
    working_volume,
)
from finescan.simulation.volumes import Placement, simulate_volume_pair
from finescan.values import Acquisition, Circle, Grid, Image, StagePose, Verdict, Warp

TURNED = Placement(rotation_deg=2.0, scale=0.015)


def job(seed=1, *, centre=None, drift=0.0, size=44, fine=66, placement=TURNED, **kw):
    """A small pair at ratio 3 with a known map."""
    placement = replace(placement, centre=centre, drift_lr_px=drift)
    return simulate_volume_pair(size, fine=fine, placement=placement, seed=seed, **kw)


def errors(found, pair):
    """Median and 95 % distance of two maps inside the field, fine voxels."""
    grid = pair.hr.grid
    axes = [np.linspace(0.1 * n, 0.9 * (n - 1), 9) for n in grid.shape]
    nm = grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    e = np.linalg.norm((found(nm) - pair.lr_from_hr(nm)) / np.asarray(grid.pixel_size_nm), axis=-1)
    return float(np.median(e)), float(np.percentile(e, 95))


def round_view(image):
    """NaN outside the inscribed circle, as reconstructions have it."""
    return image.with_data(np.where(Circle.inscribed(image.grid).mask(image.grid), image.array(), np.nan))


def at_stage(image, z, y, x):
    """The image with a stage position, nm."""
    return replace(image, acquisition=Acquisition(stage=StagePose(x_nm=x, y_nm=y, z_nm=z)))


@pytest.fixture(scope="module")
def drifting():
    """A pair with wandering slices, and its registration."""
    pair = job(drift=0.7)
    return pair, register(pair.lr, pair.hr)


def test_place_turn_scale_and_wandering_slices_are_found_to_a_tenth_of_a_fine_voxel(drifting):
    pair, answer = drifting
    median, far = errors(answer.lr_from_hr, pair)
    assert answer.verdict is Verdict.FOUND
    assert median < 0.12 and far < 0.25
    assert answer.residual.method["drift_axis"] == "z"
    assert answer.residual.method["ratio_z"] == pytest.approx(3 / pair.lr_from_hr.scales()[0], rel=2e-3)
    assert 0.4 < answer.residual.split_error_hr_px / median < 3.0
    assert require_found(answer) is answer


def test_without_the_drift_spline_wandering_slices_cost_a_multiple(drifting):
    pair, answer = drifting
    stiff = align(pair.lr, pair.hr, answer.lr_from_hr, options=AlignOptions(intervals=0, stretches=(0.0,), finish=1.0))
    assert errors(stiff.warp, pair)[0] > 4 * errors(answer.lr_from_hr, pair)[0]


def test_maps_blocks_and_mask_of_a_volume_have_three_axes(drifting):
    pair, answer = drifting
    assert answer.valid.shape == pair.hr.grid.shape and answer.valid.mean() > 0.95
    assert answer.residual.grid.axes == "ZYX"
    assert all(m.shape == answer.residual.grid.shape for m in answer.residual.maps.values())
    assert answer.residual.blocks.shape[1] == 6


def test_a_pair_of_volumes_comes_back_from_disk_exactly(drifting, tmp_path):
    pair, answer = drifting
    back = load_pair(save_pair(answer, tmp_path), pair.lr, pair.hr)
    nm = pair.hr.grid.to_nm(np.random.default_rng(0).uniform(0, 60, (50, 3)))
    assert np.array_equal(back.lr_from_hr(nm), answer.lr_from_hr(nm))
    assert np.array_equal(back.valid, answer.valid)
    assert back.residual.to_dict() == answer.residual.to_dict()
    assert np.array_equal(back.residual.blocks, answer.residual.blocks)


@pytest.mark.parametrize(
    ("change", "limit"),
    [({"inverted": True}, 0.15), ({"noise": (0.2, 0.3), "dtype": "float32"}, 0.6), ({"dtype": "uint8"}, 0.15)],
)
def test_other_contrast_noise_and_saturation_are_survived(change, limit):
    pair = job(2, **change)
    answer = register(pair.lr, pair.hr)
    assert answer.verdict is Verdict.FOUND
    assert errors(answer.lr_from_hr, pair)[0] < limit
    score = locate(pair.lr, pair.hr).score
    assert (score < 0) == ("inverted" in change)


def test_longer_voxels_along_z_are_handled():
    pair = job(3, size=(40, 44, 44), fine=(60, 66, 66), ratio=(2.0, 3.0, 3.0), voxel_nm=(4200.0, 3000.0, 3000.0))
    answer = register(pair.lr, pair.hr)
    assert answer.verdict is Verdict.FOUND
    assert errors(answer.lr_from_hr, pair)[0] < 0.12
    assert answer.residual.method["nominal_ratio_z"] == pytest.approx(2.0)


def test_what_lies_outside_the_coarse_volume_is_stated_and_masked():
    pair = job(4, centre=(0.5, 0.5, 0.9))
    answer = register(pair.lr, pair.hr)
    there = pair.lr.grid.to_index(pair.lr_from_hr(pair.hr.grid.to_nm(np.stack(np.indices(pair.hr.grid.shape), -1))))
    outside = there[..., 2] > pair.lr.grid.shape[2]
    assert answer.verdict is Verdict.FOUND
    assert errors(answer.lr_from_hr, pair)[0] < 0.25
    assert any("lies inside the coarse map" in r for r in answer.reasons)
    assert 0.2 < outside.mean() < 0.5
    assert not answer.valid[outside].any()
    assert answer.valid[there[..., 2] < pair.lr.grid.shape[2] - 4].mean() > 0.9


def test_nan_outside_the_circle_of_either_volume_poisons_nothing():
    pair = job(5, centre=(0.5, 0.68, 0.66), dtype="float32")
    lr, hr = round_view(pair.lr), round_view(pair.hr)
    answer = register(lr, hr)
    assert answer.verdict is Verdict.FOUND
    assert errors(answer.lr_from_hr, pair)[0] < 0.15
    assert not answer.valid[np.isnan(hr.array())].any()
    assert all(np.isfinite(m).all() for m in answer.residual.maps.values())
    zeros = register(*(v.with_data(np.nan_to_num(v.array()).astype(np.float32)) for v in (lr, hr)))
    assert errors(zeros.lr_from_hr, pair)[0] < 0.15  # written as zeros, as many programs do


@pytest.mark.parametrize("seed", [6, 7])
def test_a_volume_of_another_specimen_is_refused(seed):
    answer = register(job(seed).lr, job(seed + 100).hr)
    assert answer.verdict is Verdict.NOT_FOUND
    assert not answer.valid.any() and np.isnan(answer.residual.split_error_hr_px)
    with pytest.raises(RegistrationRefused, match="pass force=True"):
        require_found(answer)


@pytest.mark.parametrize("axes", [(0,), (0, 1, 2)])
def test_a_mirrored_volume_is_refused_and_named(axes):
    pair = job(9)
    answer = register(pair.lr, pair.hr.with_data(np.flip(pair.hr.array(), axes).copy()))
    assert answer.verdict is Verdict.NOT_FOUND
    assert any("mirrored or turned copy matches far better" in r for r in answer.reasons)


def test_a_right_stage_position_is_believed_and_a_wrong_one_survived():
    pair = job(10, centre=(0.6, 0.38, 0.6))
    moved = np.array([0.1, -0.12, 0.1]) * pair.lr.grid.extent_nm
    lr = at_stage(pair.lr, 1e6, 2e6, 3e6)
    right, wrong = (at_stage(pair.hr, *(np.array([1e6, 2e6, 3e6]) + s * moved)) for s in (1, -1))
    prior = prior_from_headers(lr, right)
    middle = np.asarray(lr.grid.edge_nm) + np.asarray(lr.grid.extent_nm) / 2
    assert prior.centre_nm == pytest.approx(tuple(middle + moved))
    places = [locate(lr, hr) for hr in (right, wrong, pair.hr)]
    assert [p.verdict for p in places] == [Verdict.FOUND] * 3
    assert all(errors(p.lr_from_hr, pair)[0] < 1.5 for p in places)
    narrow = replace(prior, radius_nm=4000.0)
    far = replace(narrow, centre_nm=tuple(middle - 2 * moved))
    assert errors(locate(lr, pair.hr, prior=narrow).lr_from_hr, pair)[0] < 1.5
    assert errors(locate(lr, pair.hr, prior=far).lr_from_hr, pair)[0] < 1.5


def test_a_stage_position_far_outside_is_not_used():
    pair = job(10)
    assert prior_from_headers(at_stage(pair.lr, 0, 0, 0), at_stage(pair.hr, 0, 0, 9e5)).centre_nm is None
    assert prior_from_headers(pair.lr, pair.hr) == Prior().on(3)


def test_a_prior_with_the_wrong_number_of_axes_is_refused():
    with pytest.raises(InputError, match="needs 3 numbers"):
        Prior(ratio_error=(0.1, 0.1)).on(3)
    with pytest.raises(InputError, match=r"\(z, y, x\)"):
        Prior(centre_nm=(0.0, 0.0), radius_nm=1.0).on(3)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_volumes_on_one_grid_are_found_to_lie_on_each_other(sigma):
    pair = job(11, size=40, ratio=1.0, fine=40, placement=Placement((0.5,) * 3, 0.0, 0.0, 0.0), centre=(0.5,) * 3)
    lr = pair.lr.with_data(ndimage.gaussian_filter(pair.lr.array().astype(np.float32), sigma))
    answer = register(lr, pair.hr)
    assert answer.verdict is Verdict.FOUND
    assert errors(answer.lr_from_hr, pair)[0] < 0.1
    assert answer.residual.method["coarse_blur_px"] == pytest.approx(np.hypot(sigma, 0.66), rel=0.25)


def test_simpleitk_finds_the_same_affine_map():
    sitk = pytest.importorskip("SimpleITK")
    pair = job(12)
    place = locate(pair.lr, pair.hr)
    own = register(pair.lr, pair.hr).lr_from_hr
    start = place.lr_from_hr
    grid = pair.hr.grid.coarsen(3)
    blocks = pair.hr.array().astype(np.float32).reshape([n for s in grid.shape for n in (s, 3)])
    fixed = sitk.GetImageFromArray(blocks.mean((1, 3, 5)))
    moving = sitk.GetImageFromArray(pair.lr.array().astype(np.float32))
    for image, of in ((fixed, grid), (moving, pair.lr.grid)):
        image.SetSpacing(of.pixel_size_nm[::-1])
        image.SetOrigin(of.origin_nm[::-1])
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(start.matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation(start.offset_nm[::-1].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(500.0, 1.0, 150)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)[::-1, ::-1]
    centre = np.array(transform.GetCenter())[::-1]
    outside = Warp.affine(matrix, np.array(transform.GetTranslation())[::-1] + centre - matrix @ centre)
    assert errors(outside, replace(pair, lr_from_hr=own))[0] < 0.4
    assert errors(own, pair)[0] < errors(outside, pair)[0]


class Lazy:
    """An array that counts how much of it is asked for at once."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.most = data, data.shape, data.dtype, 0

    def __getitem__(self, key):
        out = self.data[key]
        self.most = max(self.most, out.size)
        return out

    def __array__(self, *args, **kwargs):
        raise AssertionError("the whole volume was asked for at once")


def test_stored_volumes_are_read_slab_by_slab_and_worked_on_at_a_bounded_pitch(monkeypatch):
    from finescan.registration import slabs

    pair = job(13)
    monkeypatch.setattr(slabs, "SLAB_PIXELS", 30_000)
    monkeypatch.setattr(working_volume, "WORKING_VOXELS", 2500)
    monkeypatch.setattr(locate_volume, "MAP_PX", 20.0)
    lr, hr = Lazy(pair.lr.array()), Lazy(pair.hr.array())
    answer = register(pair.lr.with_data(lr), pair.hr.with_data(hr))
    assert max(lr.most, hr.most) <= 31_000
    assert answer.verdict is Verdict.FOUND
    assert answer.residual.method["working_block"] == [2, 2, 2]
    assert answer.residual.method["ratio_x"] == pytest.approx(3 / pair.lr_from_hr.scales()[2], rel=5e-3)
    assert errors(answer.lr_from_hr, pair)[0] < 0.5


def test_several_volumes_are_registered_and_a_prior_may_be_given_for_each():
    pair = job(14)
    part = pair.hr.with_data(pair.hr.array()[:, :, 8:], pair.hr.grid.crop((0, 0, 8), (66, 66, 66)))
    first, second = register_all(pair.lr, [pair.hr, part], prior=[None, Prior()])
    nm = pair.hr.grid.to_nm(np.full((1, 3), 40.0))
    assert first.verdict is second.verdict is Verdict.FOUND
    assert np.linalg.norm(first.lr_from_hr(nm) - second.lr_from_hr(nm)) < 0.3 * 1000


@pytest.mark.parametrize(
    ("shape", "size_nm", "text"),
    [
        ((40, 40), 1.0, "Two pictures or two volumes"),
        ((40, 40, 40), 5.0, "has larger pixels"),
        ((12, 60, 60), 1.0, "covers only 4 pixels"),
        ((40, 40, 40), 1.0, "is constant"),
    ],
)
def test_volumes_that_cannot_be_compared_are_refused(shape, size_nm, text):
    rng = np.random.default_rng(0)
    lr = Image(rng.random((30, 30, 30)), Grid.of((30, 30, 30), 3.0))
    hr = Image(np.zeros(shape) if text == "is constant" else rng.random(shape), Grid.of(shape, size_nm))
    with pytest.raises(InputError, match=text):
        register(lr, hr)
