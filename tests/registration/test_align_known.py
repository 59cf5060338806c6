"""Refinement against known warps, and against an outside library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.registration import AlignOptions, align
from finescan.registration.basis import displacements, polynomials
from finescan.registration.motion import Motion, axis_coordinates
from finescan.registration.residual import block_shifts, sigma_map, split_error
from finescan.registration.unwarp import escalate, rings, unwarp
from finescan.registration.working import usable
from finescan.simulation import RECIPES, simulate
from finescan.values import Grid, Image, Warp


def job(recipe, seed=1, **kw):
    """A small job with area-averaged coarse pixels."""
    return simulate(recipe, size=192, ratio=4.0, fine=512, lr_pixel="area", seed=seed, **kw)


def near(truth, hr, lr, seed=0):
    """The truth's affine part, off by 1.5 LR px, 1 % and 0.5 degrees."""
    rng = np.random.default_rng(seed)
    t = np.radians(0.5)
    middle = np.asarray(hr.grid.extent_nm) / 2
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    matrix = turn @ truth.matrix @ np.diag([1.01, 0.99])
    angle = rng.uniform(0, 2 * np.pi)
    shift = 1.5 * np.array([np.sin(angle), np.cos(angle)]) * np.asarray(lr.grid.pixel_size_nm)
    return Warp.affine(matrix, truth.matrix @ middle + truth.offset_nm + shift - matrix @ middle)


def error(found, truth, hr, lr):
    """Median and rms distance, HR px, inside a border of 8 LR px."""
    axes = [np.linspace(32, n - 33, 40) for n in hr.grid.shape]
    nm = hr.grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    e = np.linalg.norm((found(nm) - truth(nm)) / np.asarray(hr.grid.pixel_size_nm), axis=-1)
    return float(np.median(e)), float(np.sqrt((e**2).mean()))


def aligned(recipe, seed=1, options=None, **kw):
    """Alignment of a job, with the job's parts."""
    j = job(recipe, seed, **kw)
    lr, hr, truth = j.lr, j.hr[0], j.lr_from_hr[0]
    return align(lr, hr, near(truth, hr, lr, seed), options=options), truth, hr, lr


@pytest.mark.parametrize(
    ("recipe", "limit"),
    [("polycrystal", 0.2), ("drift", 0.25), ("inverted", 0.35), ("noisy", 0.9), ("lattice", 0.2), ("tilt", 0.2)],
)
def test_known_warps_are_recovered_to_a_fraction_of_a_fine_pixel(recipe, limit):
    found, truth, hr, lr = aligned(recipe)
    assert error(near(truth, hr, lr, 1), truth, hr, lr)[0] > 4
    assert error(found.warp, truth, hr, lr)[0] < limit
    assert not found.mixture


def test_another_detector_is_aligned_with_a_mixture():
    found, truth, hr, lr = aligned("detector", seed=2)
    assert found.mixture
    assert abs(found.correlation) < 0.8
    assert error(found.warp, truth, hr, lr)[0] < 2.0


def test_shading_of_forty_percent_hardly_matters():
    RECIPES["shading test"] = replace(RECIPES["polycrystal"], shading=0.4)
    try:
        found, truth, hr, lr = aligned("shading test")
    finally:
        del RECIPES["shading test"]
    assert error(found.warp, truth, hr, lr)[0] < 0.3


def test_the_drift_spline_is_what_makes_it_accurate():
    stiff, truth, hr, lr = aligned("drift", options=AlignOptions(intervals=0))
    assert stiff.warp.knots is None
    assert error(stiff.warp, truth, hr, lr)[0] > 1.0


def test_a_start_with_twelve_percent_wrong_foreshortening_settles_right():
    j = job("tilt", seed=3)
    lr, hr, truth = j.lr, j.hr[0], j.lr_from_hr[0]
    middle = np.asarray(hr.grid.extent_nm) / 2
    isotropic = Warp.affine(np.eye(2), truth.matrix @ middle + truth.offset_nm - middle)
    found = align(lr, hr, isotropic)
    assert truth.scales()[0] > 1.09
    assert error(found.warp, truth, hr, lr)[0] < 0.3


@pytest.mark.parametrize("recipe", ["polycrystal", "drift", "noisy", "inverted"])
def test_the_split_error_tells_the_true_error_within_a_factor_of_two(recipe):
    ratios = []
    for seed in (3, 4, 5):
        found, truth, hr, lr = aligned(recipe, seed=seed)
        ratios.append(split_error(found) / error(found.warp, truth, hr, lr)[1])
    assert 0.5 < np.exp(np.mean(np.log(ratios))) < 2.0
    assert min(ratios) > 0.3 and max(ratios) < 3.0


def test_a_wrong_model_rings_the_alarm_and_the_tensor_spline_repairs_it():
    found, truth, hr, lr = aligned("warp", seed=2)
    split, blocks = split_error(found), block_shifts(found)
    before = error(found.warp, truth, hr, lr)
    assert found.correlation > 0.9  # looks perfect, and is not
    assert rings(blocks)
    assert split > 0.4 * before[1]
    kept = escalate(found, split, blocks)
    assert kept.tried
    assert kept.alignment.warp.knots.shape[1] > 1
    assert error(kept.alignment.warp, truth, hr, lr)[0] < 0.5 * before[0]
    assert kept.split_hr_px < 0.5 * split


def test_a_right_model_rings_no_alarm_and_a_tensor_spline_would_make_it_worse():
    found, truth, hr, lr = aligned("polycrystal", seed=2)
    assert not rings(block_shifts(found))
    assert error(unwarp(found).warp, truth, hr, lr)[0] > error(found.warp, truth, hr, lr)[0]


def test_the_sigma_map_grows_with_noise():
    quiet, *_ = aligned("polycrystal", seed=5)
    loud, *_ = aligned("noisy", seed=5)
    assert np.median(sigma_map(loud)) > 1.5 * np.median(sigma_map(quiet))
    assert sigma_map(quiet).shape == quiet.level.grid.shape


def test_simpleitk_finds_the_same_affine_map():
    sitk = pytest.importorskip("SimpleITK")
    RECIPES["still test"] = replace(RECIPES["polycrystal"], drift_lr_px=0.0)
    try:
        found, truth, hr, lr = aligned("still test", options=AlignOptions(intervals=0))
    finally:
        del RECIPES["still test"]
    start = near(truth, hr, lr, 1)
    grid = hr.grid.coarsen(4)
    fixed = sitk.GetImageFromArray(hr.array().astype(np.float32).reshape(128, 4, 128, 4).mean((1, 3)))
    fixed.SetSpacing(grid.pixel_size_nm[::-1])
    fixed.SetOrigin(grid.origin_nm[::-1])
    moving = sitk.GetImageFromArray(lr.array().astype(np.float32))
    moving.SetSpacing(lr.grid.pixel_size_nm[::-1])
    transform = sitk.AffineTransform(2)
    transform.SetMatrix(start.matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation(start.offset_nm[::-1].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    matrix = np.array(transform.GetMatrix()).reshape(2, 2)[::-1, ::-1]
    outside = Warp.affine(matrix, np.array(transform.GetTranslation())[::-1])
    assert error(found.warp, outside, hr, lr)[0] < 0.8
    assert error(found.warp, truth, hr, lr)[0] < error(outside, truth, hr, lr)[0]


def test_volumes_are_aligned_by_the_same_code():
    rng = np.random.default_rng(3)
    field = ndimage.gaussian_filter(rng.standard_normal((104, 104, 104)), 3.0)
    field /= field.std()
    lr_grid = Grid.of((26, 26, 26), 4.0, 1.5)
    lr = Image(ndimage.uniform_filter(field, 4, origin=-2)[1::4, 1::4, 1::4][:26, :26, :26] * 1.0, lr_grid)
    lr = lr.with_data(field.reshape(26, 4, 26, 4, 26, 4).mean((1, 3, 5)))
    hr = Image(field[8:96, 8:96, 8:96], Grid.of((88, 88, 88), 1.0))
    start = Warp.affine(np.diag([1.01, 0.99, 1.0]), [10.5, 7.0, 9.0])
    found = align(lr, hr, start, options=AlignOptions(stretches=(0.0,), intervals=3))
    nm = hr.grid.to_nm(np.stack(np.meshgrid(*[np.linspace(16, 72, 6)] * 3, indexing="ij"), -1))
    assert np.median(np.linalg.norm(found.warp(nm) - (nm + 8.0), axis=-1)) < 0.3


def test_nothing_in_common_is_said_and_not_crashed():
    rng = np.random.default_rng(0)
    lr = Image(rng.random((64, 64)), Grid.of((64, 64), 4.0))
    hr = Image(np.full((128, 128), np.nan), Grid.of((128, 128), 1.0))
    assert align(lr, hr, Warp.affine(np.eye(2), [50.0, 50.0])).left_cell


def test_motion_and_warp_are_the_same_map():
    hr, lr = Grid.of((40, 60), 1.0), Grid.of((30, 30), 4.0, 2.0)
    start = Warp.affine([[1.0, 0.02], [-0.03, 0.97]], [5.0, 7.0])
    motion = Motion.from_warp(start, hr, lr).with_spline((4, 0))
    step = np.random.default_rng(1).standard_normal(motion.parameters.shape)
    motion = motion.moved(step).with_spline((4, 3))
    axes = axis_coordinates(hr, hr)
    there = lr.to_nm(np.moveaxis(motion.positions(axes), 0, -1))
    nm = hr.to_nm(np.stack(np.meshgrid(*(np.arange(n) for n in hr.shape), indexing="ij"), -1))
    assert np.allclose(motion.to_warp()(nm), there, atol=1e-9)


def test_separable_sums_equal_plain_ones():
    rng = np.random.default_rng(2)
    axes = [np.linspace(-1, 1, 9), np.linspace(-1, 1, 11)]
    basis, shading = displacements(axes, (3, 0)), polynomials(axes, 2)
    images = rng.random((2, 9, 11))
    plain = np.stack([basis.evaluate(np.eye(len(basis))[k : k + 1])[0] for k in range(len(basis))])
    fields = np.stack([shading.evaluate(np.eye(len(shading))[k : k + 1])[0] for k in range(len(shading))])
    assert np.allclose(basis.gram(images), np.einsum("myx,ayx,byx->mab", images, plain, plain))
    assert np.allclose(basis.cross(shading, images), np.einsum("myx,ayx,byx->mab", images, plain, fields))


def test_saturated_and_missing_pixels_are_not_usable_but_rare_counts_are():
    rng = np.random.default_rng(4)
    grey = rng.normal(150, 50, (200, 200))
    data = np.clip(grey, 0, 255).astype(np.uint8)
    assert not usable(data)[data == 255].any()
    assert usable(data)[data == 200].all()
    counts = rng.poisson(2.0, (200, 200)).astype(np.uint16) * 1500
    assert usable(counts).all()
    grey[3, 4] = np.nan
    assert not usable(grey)[3, 4]
