"""What a run says of the error of its map against the sample, held against the sample itself, which is simulated."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.patches import make_patches
from finescan.resampling import sample
from finescan.simulation import simulate
from finescan.training import fit_contestants
from finescan.trust.map_intervals import intervals_from
from finescan.values import Pair, Residual, Verdict
from finescan.workflow.intervals import interval_facts
from finescan.workflow.judging import on_grid
from finescan.workflow.noise_free import ELSEWHERE, noise_free_beside


@pytest.fixture(scope="module")
def made():
    """A simulated job, its patches and pair, its map by bicubic interpolation, and what is said of it."""
    job = simulate("porous", size=112, ratio=4, fine=400, seed=2)
    pair = Pair(
        job.lr, job.hr[0], job.lr_from_hr[0], Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, job.lr.grid)
    )
    patches = make_patches([pair])
    contestants = fit_contestants(patches)
    image = enhance(contestants["ridge"], job.lr, config=EnhanceConfig(guard=False, dtype="float32")).image
    bicubic = contestants["bicubic"]
    facts = interval_facts(patches, image, [pair], lambda piece, grid: bicubic.predict(piece.lr))
    return job, pair, patches, image, bicubic, facts


def true_rms(job, patches, seen, role):
    """Against the noise-free sample, on the pixels of a role."""
    piece = patches.pieces[0]
    truth, mask = on_grid(job.truth, piece.out_grid), piece.role_fine(role)
    return float(np.sqrt(np.mean((seen - truth)[mask] ** 2, dtype=np.float64)))


def test_the_error_against_the_sample_and_that_of_interpolation_are_the_true_ones(made):
    job, _, patches, image, bicubic, facts = made
    found, piece = facts["noise_free"], patches.pieces[0]
    ours = true_rms(job, patches, on_grid(image, piece.out_grid), "test")
    theirs = true_rms(job, patches, bicubic.predict(piece.lr), "test")
    assert found["rms"] == pytest.approx(ours, rel=0.08) and found["interpolation_rms"] == pytest.approx(
        theirs, rel=0.08
    )
    assert found["recorded_rms"] > 1.3 * ours  # what could be seen without it
    assert found["gain_db"] == pytest.approx(20 * np.log10(theirs / ours), abs=0.3)
    assert (
        found["sentence"].startswith("Without the noise of the fine scan (± ")
        and "interpolation by" in found["sentence"]
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_pixel_has_an_interval_of_the_sample_that_holds_it_about_as_often_as_it_says(made):
    job, _, _, image, _, facts = made
    intervals = intervals_from(facts, image)
    half, recorded = (np.asarray(v.data) for v in (intervals.noise_free, intervals.uncertainty))
    inside = (slice(20, -20), slice(20, -20))
    held = np.abs(image.array() - job.truth.array())[inside] <= half[inside]
    assert 0.84 < held.mean() < 0.97 and half[inside].mean() < 0.8 * recorded[inside].mean()
    assert (half <= recorded).all()
    constant = np.quantile(np.abs(image.array() - job.truth.array())[inside], held.mean())
    assert half[inside].mean() < 1.05 * constant
    assert intervals_from({**facts, "noise_free": {"sentence": ""}}, image).noise_free is None


def test_scans_of_other_pixels_and_small_ones_are_said_not_to_tell(made):
    _, pair, patches, image, _, _ = made
    assert interval_facts(patches, image, [])["noise_free"] == {"sentence": ELSEWHERE}
    small = interval_facts(patches, image, [pair])
    assert "gain_db" not in small["noise_free"] and small["noise_free"]["rms"] > 0


def test_a_finished_run_holds_it_in_a_file_in_the_report_and_in_the_plan(finished):
    facts = json.loads((finished / "trust.json").read_text())
    half, sample = (io.read(finished / n) for n in ("uncertainty.tif", "uncertainty_noise_free.tif"))
    assert "uncertainty_noise_free.tif" in facts["files"] and sample.grid.same_as(half.grid)
    assert np.nanmean(sample.array()) < np.nanmean(half.array())
    report = (finished / "report.html").read_text()
    assert "error without the fine scan&#x27;s noise" in report or "error without the fine scan's noise" in report
    assert "grey levels of the sample (90 %)" in report
    assert facts["suggested_rescans"]["error_unit"].endswith("its noise set aside")


@pytest.mark.parametrize("turned", [False, True])
def test_anybodys_image_is_held_against_the_sample_through_a_fine_scan(made, turned):
    """On its own pixels and turned on them; the fine scan has noise, and the truth is asked what is right."""
    job, pair, _, image, _, _ = made
    if turned:
        fine, through = pair.hr, pair.lr_from_hr
    else:
        rng = np.random.default_rng(0)
        noisy = job.truth.array() + 800 * rng.standard_normal(job.truth.grid.shape)
        fine, through = job.truth.with_data(noisy.astype(np.float32)), None
    rival = np.full_like(image.array(), image.array().mean())
    found = noise_free_beside(image.array(), rival, image.grid, fine, through)
    box = fine.grid.to_nm(np.moveaxis(np.indices(fine.grid.shape), 0, -1))[20:-20, 20:-20]
    index = image.grid.to_index(box if through is None else through(box))
    ours, truth = (sample(v.array().astype(np.float64), index) for v in (image, job.truth))
    assert found["rms"] == pytest.approx(float(np.sqrt(np.mean((ours - truth) ** 2))), rel=0.06)
    flat = np.sqrt(np.mean((rival.flat[0] - truth) ** 2))
    assert found["interpolation_rms"] == pytest.approx(flat, rel=0.1) and found["gain_db"] > 3
    coarse = image.with_data(image.array()[::2, ::2], image.grid.coarsen(2))
    assert noise_free_beside(coarse.array(), None, coarse.grid, fine, through) == {"sentence": ELSEWHERE}
