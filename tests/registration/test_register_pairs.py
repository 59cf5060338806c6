"""From two images to a Pair: verdicts, reasons, masks, several scans, and the way to disk and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finescan.errors import InputError, OutputError, RegistrationRefused
from finescan.registration import load_pair, register, register_all, require_found, save_pair
from finescan.simulation import simulate
from finescan.values import Verdict


@pytest.fixture(scope="module")
def job():
    """Two overlapping fine scans in one coarse map."""
    return simulate(size=176, ratio=4.0, fine=512, fine_scans=2, lr_pixel="area", seed=7)


@pytest.fixture(scope="module")
def pairs(job):
    """Both registered."""
    return register_all(job.lr, job.hr)


def error(pair, truth):
    """Median distance in HR px."""
    axes = [np.linspace(32, n - 33, 30) for n in pair.hr.grid.shape]
    nm = pair.hr.grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    apart = (pair.lr_from_hr(nm) - truth(nm)) / np.asarray(pair.hr.grid.pixel_size_nm)
    return float(np.median(np.linalg.norm(apart, axis=-1)))


def test_every_fine_scan_is_found_where_it_is(job, pairs):
    for pair, truth in zip(pairs, job.lr_from_hr, strict=True):
        assert pair.verdict is Verdict.FOUND
        assert error(pair, truth) < 0.3
        assert pair.residual.split_error_hr_px < 0.5
        assert pair.valid.mean() > 0.95
        assert require_found(pair) is pair


def test_accuracy_is_the_split_error_and_said_in_a_sentence(pairs):
    said = " ".join(pairs[0].reasons)
    assert f"agree to {pairs[0].residual.split_error_hr_px:.2f} fine pixels" in said
    assert "correlation" not in said


def test_overlapping_scans_agree(pairs):
    (apart,) = pairs[0].residual.method["overlap_disagreement_lr_px"].values()
    assert apart < 0.15


def test_overlapping_scans_that_disagree_are_reported(pairs):
    from finescan.registration.pairing import _with_overlaps
    from finescan.values import Warp

    moved = Warp.affine(np.eye(2), [0.0, 150.0]).after(pairs[1].lr_from_hr)
    told = _with_overlaps([pairs[0], replace(pairs[1], lr_from_hr=moved)])
    (apart,) = told[0].residual.method["overlap_disagreement_lr_px"].values()
    assert 1.2 < apart < 1.8
    assert "disagree about their place" in told[0].reasons[-1]


def test_a_pair_comes_back_from_disk_exactly(job, pairs, tmp_path):
    pair = pairs[0]
    back = load_pair(save_pair(pair, tmp_path / "pair"), job.lr, job.hr[0])
    nm = pair.hr.grid.to_nm(np.random.default_rng(0).uniform(0, 511, (50, 2)))
    assert np.array_equal(back.lr_from_hr(nm), pair.lr_from_hr(nm))
    assert np.array_equal(back.valid, pair.valid)
    assert back.valid.dtype == bool
    assert (back.verdict, back.reasons) == (pair.verdict, pair.reasons)
    assert back.residual.to_dict() == pair.residual.to_dict()
    assert set(back.residual.maps) == {"residual", "sigma_hr_px"}
    for name, values in pair.residual.maps.items():
        assert np.array_equal(back.residual.maps[name], values)
    assert np.array_equal(back.residual.blocks, pair.residual.blocks)


def test_a_pair_of_other_images_is_refused(job, pairs, tmp_path):
    folder = save_pair(pairs[0], tmp_path / "pair")
    other = job.hr[0].with_data(job.hr[0].array()[:100], job.hr[0].grid.crop((0, 0), (100, 512)))
    with pytest.raises(InputError, match="Run the registration again"):
        load_pair(folder, job.lr, other)


def test_a_folder_without_a_pair_says_so(job, tmp_path):
    with pytest.raises(InputError, match="holds no complete registration"):
        load_pair(tmp_path, job.lr, job.hr[0])


def test_a_folder_that_cannot_be_written_says_so(pairs, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Choose a writable folder"):
        save_pair(pairs[0], tmp_path / "file" / "pair")


def test_a_scan_of_another_specimen_is_refused_and_survives_the_disk(tmp_path):
    there = simulate(size=160, fine=320, lr_pixel="area", seed=11)
    other = simulate(size=160, fine=320, lr_pixel="area", seed=12)
    pair = register(there.lr, other.hr[0])
    assert pair.verdict is not Verdict.FOUND
    with pytest.raises(RegistrationRefused, match="pass force=True"):
        require_found(pair)
    assert require_found(pair, force=True) is pair
    back = load_pair(save_pair(pair, tmp_path / "no"), there.lr, other.hr[0])
    assert back.verdict is pair.verdict


def test_a_pixel_size_ratio_the_files_do_not_state_is_reported():
    job = simulate("tilt", size=160, fine=384, lr_pixel="area", seed=3)
    hr = job.hr[0]
    silent = replace(hr, acquisition=replace(hr.acquisition, stage=None))
    explained, unexplained = register(job.lr, hr), register(job.lr, silent)
    assert any("Along rows (y)" in r and "the stage tilts in the files explain" in r for r in explained.reasons)
    assert any("Along rows (y)" in r and "check the pixel sizes" in r for r in unexplained.reasons)
    assert not any("columns" in r for r in unexplained.reasons)


def test_landmarks_replace_the_search():
    job = simulate(size=160, fine=384, lr_pixel="area", seed=5)
    hr, truth = job.hr[0], job.lr_from_hr[0]
    fine = np.array([[30.0, 40.0], [340.0, 50.0], [200.0, 350.0], [60.0, 300.0]])
    rng = np.random.default_rng(1)
    coarse = job.lr.grid.to_index(truth(hr.grid.to_nm(fine))) + rng.normal(0, 0.7, fine.shape)
    pair = register(job.lr, hr, landmarks=list(zip(fine, coarse, strict=True)))
    assert pair.residual.method["mode"] == "landmarks"
    assert np.isnan(pair.residual.decoy_ratio)
    assert error(pair, truth) < 0.4


def test_changed_and_saturated_places_are_masked():
    job = simulate(size=160, fine=384, lr_pixel="area", seed=6)
    data = job.hr[0].array().copy()
    rng = np.random.default_rng(2)
    data[100:180, 200:280] = rng.permuted(data[100:180, 200:280].ravel()).reshape(80, 80)[::-1] // 2
    data[300:330, 40:70] = np.iinfo(data.dtype).max
    pair = register(job.lr, job.hr[0].with_data(data))
    assert pair.valid[110:170, 210:270].mean() < 0.2
    assert not pair.valid[300:330, 40:70].any()
    assert pair.valid[:90].mean() > 0.95
