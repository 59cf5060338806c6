"""Interpolation in the place of what is doubted: where, how much, and that nothing else changes."""

from __future__ import annotations

import json
import shutil
from functools import partial

import numpy as np
import pytest

from finescan import io, workflow
from finescan.errors import InputError
from finescan.patches import make_patches
from finescan.training import fit_contestants
from finescan.values import FLAGS, Grid, Image, Pair, Residual, TrustMap, Verdict, Warp
from finescan.workflow import judging, volume_judging
from finescan.workflow.falling_back import blend_to_interpolation, expected_worse, fall_back, on_fine, weight_of

FACTOR = 4


@pytest.fixture(scope="module")
def sample():
    """A smooth picture, its coarse map, patches and the interpolation."""
    rng = np.random.default_rng(3)
    coarse = Grid.of((48, 48), 40.0)
    fine = coarse.refine(FACTOR)
    y, x = np.mgrid[:192, :192] / 12
    grey = 3000 + 150 * np.sin(y) * np.cos(x)
    lr = grey.reshape(48, 4, 48, 4).mean(axis=(1, 3)) + rng.normal(0, 5, (48, 48))
    hr = (grey + rng.normal(0, 5, grey.shape)).astype(np.float32)
    residual = Residual(0.0, 0.0, 1.0, float("nan"), {}, coarse)
    lr_image = Image(lr.astype(np.float32), coarse, "coarse")
    pair = Pair(lr_image, Image(hr, fine, "fine"), Warp.identity(), Verdict.FOUND, (), residual)
    patches = make_patches([pair])
    return lr_image, hr, patches, partial(judging.interpolated, patches, lr_image, fit_contestants(patches)["bicubic"])


def flags_at(grid, name, rows, columns):
    flags = np.zeros(grid.shape, np.uint8)
    flags[rows, columns] |= FLAGS[name][0]
    return TrustMap(flags, grid)


def test_flagged_places_become_the_interpolation_and_the_rest_stays_to_the_bit(sample):
    lr, hr, patches, smooth = sample
    enhanced = Image(np.full(hr.shape, 7777, np.uint16), patches.out_grid, "enhanced")
    flags = flags_at(lr.grid, "inconsistent", slice(20, 24), slice(20, 24))
    image, weight = blend_to_interpolation(enhanced, smooth, flags)
    out = image.array()
    assert out.dtype == np.uint16 and image.grid.same_as(enhanced.grid) and weight.grid.same_as(lr.grid)
    plain = smooth(patches.out_grid)
    middle = (slice(80, 96), slice(80, 96))
    np.testing.assert_array_equal(out[middle], np.rint(plain[middle]).astype(np.uint16))
    assert (weight.array()[20:24, 20:24] == 1).all() and weight.array()[:13].max() == 0
    far = on_fine(weight, patches.out_grid) == 0
    assert far.mean() > 0.8 and (out[far] == 7777).all()
    # a smooth ramp: no step as large as the one between the two pictures
    steps = np.abs(np.diff(out[88].astype(int)))
    assert 0 < steps.max() < 0.4 * np.abs(7777 - plain[88]).max()


def test_bands_and_boxes_give_the_same_pixels(sample):
    lr, hr, patches, smooth = sample
    enhanced = Image(hr + 300, patches.out_grid, "enhanced")
    image, _ = blend_to_interpolation(enhanced, smooth, flags_at(lr.grid, "untrained", slice(3, 9), slice(30, 44)))
    whole = image.data[...]
    for key in ((slice(0, 50), slice(None)), (slice(13, 37), slice(101, 190)), (slice(0, 192, 3), slice(0, 192, 5))):
        np.testing.assert_allclose(image.data[key], whole[key], rtol=0, atol=2e-3)
    with pytest.raises(InputError, match=r"A blended map is read by slices, but another index came\."):
        image.data[3]


def test_pixels_without_data_stay_without(sample):
    lr, hr, patches, smooth = sample
    grey = hr.copy()
    grey[80:84, 80:84] = np.nan
    flags = np.zeros(lr.grid.shape, np.uint8)
    flags[18:26, 18:26] = FLAGS["inconsistent"][0]
    flags[20, 20] |= FLAGS["no_data"][0]
    image, _ = blend_to_interpolation(Image(grey, patches.out_grid, "enhanced"), smooth, TrustMap(flags, lr.grid))
    assert np.isnan(image.array()[80:84, 80:84]).all() and np.isnan(image.array()).sum() == 16


def test_only_named_flags_count(sample):
    lr, hr, patches, smooth = sample
    enhanced = Image(hr, patches.out_grid, "enhanced")
    fell = fall_back("flagged", enhanced, patches, smooth, flags_at(lr.grid, "saturated", slice(0, 40), slice(0, 40)))
    assert fell.facts["share"] == 0 and fell.facts["sentence"].endswith("nothing was replaced by interpolation.")
    np.testing.assert_array_equal(fell.image.array(), hr)
    with pytest.raises(InputError, match=r"falls back where it is flagged or by uncertainty, but 'always' came\."):
        fall_back("always", enhanced, patches, smooth, TrustMap(np.zeros(lr.grid.shape, np.uint8), lr.grid))


def test_by_uncertainty_rough_stripes_fall_back_and_get_better(sample):
    lr, hr, patches, smooth = sample
    rng = np.random.default_rng(0)
    rough = (np.arange(192) // 64) % 2 == 1  # a network that paints noise on the stripe in the middle
    grey = hr + (np.where(rough[:, None], 40, 2) * rng.normal(0, 1, hr.shape)).astype(np.float32)
    enhanced = Image(grey, patches.out_grid, "enhanced")
    worse = expected_worse(enhanced, lr.grid, patches, smooth)
    assert worse[18:30].mean() > 0.95 and worse[:13].mean() < 0.05 and worse[35:].mean() < 0.05
    nothing = TrustMap(np.zeros(lr.grid.shape, np.uint8), lr.grid)
    fell = fall_back("uncertainty", enhanced, patches, smooth, nothing)
    before, after = (float(np.mean((v - hr)[rough] ** 2)) for v in (grey, fell.image.array()))
    assert after < 0.2 * before and 0.3 < fell.facts["share"] < 0.7
    assert "expected to be more wrong than interpolation" in fell.facts["sentence"]


def test_the_weight_is_bilinear_between_coarse_pixels():
    grid = Grid.of((2, 3), 40.0)
    weight = Image(np.array([[0, 0, 1], [0, 0, 1]], np.float32), grid, "w")
    fine = on_fine(weight, grid.refine(4))
    assert fine.shape == (8, 12)
    np.testing.assert_allclose(fine[0], [0] * 6 + [0.125, 0.375, 0.625, 0.875, 1, 1])
    assert weight_of(np.zeros((2, 3), bool), grid).array().max() == 0


# ------------------------------------------------------------------ a run
def test_a_run_falls_back_where_it_is_flagged_and_says_so(finished, scans, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "run")
    before = io.read(folder / "enhanced.tif").array()
    marked = judging.mark_inconsistent

    def also(enhanced, lr, flags, check):
        found = marked(enhanced, lr, flags, check)
        bits = np.array(found.flags)
        bits[60:80, 60:80] |= FLAGS["inconsistent"][0]
        return TrustMap(bits, found.grid)

    monkeypatch.setattr(judging, "mark_inconsistent", also)
    choices = {"result.fallback": "flagged"}
    done = workflow.run(scans / "coarse.tif", scans / "fine.tif", folder, choices=choices)
    weight = io.read(folder / "fallback.tif")
    after = io.read(folder / "enhanced.tif").array()
    assert (weight.array()[60:80, 60:80] == 1).all() and weight.dtype == np.float32
    assert after.dtype == before.dtype and (after[260:300, 260:300] != before[260:300, 260:300]).mean() > 0.5
    still = on_fine(weight, io.read(folder / "enhanced.tif").grid) == 0
    np.testing.assert_array_equal(after[still], before[still])
    facts = json.loads((folder / "trust.json").read_text())
    assert facts["fallback"]["kind"] == "flagged" and 0 < facts["fallback"]["share"] < 1
    assert facts["fallback"]["sentence"] in facts["notes"] and "fallback.tif" in facts["files"]
    again = workflow.run(scans / "coarse.tif", scans / "fine.tif", folder)  # the plan remembers; nothing blends twice
    assert again.facts["fallback"] == done.facts["fallback"]
    np.testing.assert_array_equal(io.read(folder / "enhanced.tif").array(), after)


def test_a_run_of_volumes_falls_back_where_it_is_flagged(finished_volume, volumes, tmp_path, monkeypatch):
    folder = shutil.copytree(finished_volume, tmp_path / "run")
    before = io.read_volume(folder / "enhanced.ome.zarr").array()
    cube = (slice(8, 16), slice(10, 20), slice(10, 20))

    def also(enhanced, lr, flags, check, circle):
        bits = np.array(flags.flags)
        bits[cube] |= FLAGS["inconsistent"][0]
        return TrustMap(bits, flags.grid)

    monkeypatch.setattr(volume_judging, "mark_inconsistent", also)
    choices = {"result.fallback": "flagged"}
    done = workflow.run(volumes / "coarse.tif", volumes / "fine.tif", folder, choices=choices)
    result, weight = io.read_volume(folder / "enhanced.ome.zarr"), io.read_volume(folder / "fallback.tif")
    after = result.array()
    assert (weight.array()[cube] == 1).all() and weight.dtype == np.float32
    choices = {"result.fallback": "none", "result.method": "interpolated"}
    workflow.run(volumes / "coarse.tif", volumes / "fine.tif", folder, choices=choices)
    plain = io.read_volume(folder / "enhanced.ome.zarr").array()
    inside = (slice(16, 32), slice(20, 40), slice(20, 40))
    assert np.abs(after[inside].astype(int) - plain[inside]).max() <= 1  # rounded once, not twice
    still = on_fine(weight, result.grid) == 0
    np.testing.assert_array_equal(after[still], before[still])
    assert 0.2 < still.mean() < 0.95 and (after[inside] != before[inside]).mean() > 0.5
    assert done.facts["fallback"]["sentence"] in done.facts["notes"] and "of the volume is flagged" in str(
        done.facts["notes"]
    )
    assert "fallback.tif" in done.facts["files"] and not (folder / "fallback.tif").exists()  # gone with the new choice


def test_an_impossible_fallback_is_refused(scans, tmp_path):
    with pytest.raises(InputError, match=r"result\.fallback cannot be 'often'\. Expected: one of none, flagged, unc"):
        workflow.run(scans / "coarse.tif", scans / "fine.tif", tmp_path / "r", choices={"result.fallback": "often"})


def test_there_is_no_fallback_without_a_fine_scan(finescan, scans, tmp_path):
    said = finescan("run", "--lr-only", scans / "coarse.tif", "-o", tmp_path / "r", "--fallback")
    assert said.code != 0 and "--fallback needs a fine scan" in said.err
