"""What goes with a model about its errors: to other maps of the sample, and to nothing it was not measured for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finescan import io, workflow
from finescan.enhancement import EnhanceConfig, enhance
from finescan.errors import OutputError
from finescan.models import load_model
from finescan.patches import make_patches
from finescan.registration import load_pair
from finescan.simulation import simulate
from finescan.values import Pair, Residual, Verdict, flag_bits
from finescan.workflow.interval_parts import recorded_error
from finescan.workflow.model_trust import FILE, carried_by, measure_with_model, with_flags

SAMPLE = {"ratio": 4, "fine": 400, "counts": (2000.0, 1500.0)}  # as the fixture ``scans``


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> tuple[Path, Pair]:
    """Another map of the sample that ``finished`` was trained on, with a fine scan the model never saw."""
    job = simulate("porous", size=160, seed=11, **SAMPLE)
    path = tmp_path_factory.mktemp("elsewhere") / "map.tif"
    io.write(path, job.lr)
    known = Residual(0.0, 0.0, 1.0, float("nan"), {}, job.lr.grid)
    return path, Pair(job.lr, job.hr[0], job.lr_from_hr[0], Verdict.FOUND, (), known)


@pytest.fixture
def model(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished / "model", tmp_path / "model"))


def edited(model: Path, **entries) -> Path:
    body = json.loads((model / FILE).read_text())
    (model / FILE).write_text(json.dumps({**body, **entries}))
    return model


def test_intervals_of_a_model_hold_on_another_map_of_the_sample(model, elsewhere, tmp_path):
    path, pair = elsewhere
    outcome = workflow.enhance_file(model, path, tmp_path / "out.tif")
    image, half = io.read(tmp_path / "out.tif"), io.read(tmp_path / "out.uncertainty.tif")
    assert half.grid.same_as(image.grid) and half.dtype == np.float32
    error, width = recorded_error(image.array().astype(np.float32), image.grid, pair), half.array()
    seen = np.isfinite(error) & np.isfinite(width)
    assert seen.mean() > 0.3
    assert np.mean(np.abs(error[seen]) <= width[seen]) == pytest.approx(0.9, abs=0.03)
    assert np.mean(np.abs(error[seen]) <= 0.7 * width[seen]) < 0.83  # narrower ones would not do
    assert outcome.facts["intervals"]["file"] == str(tmp_path / "out.uncertainty.tif")
    sample = io.read(tmp_path / "out.uncertainty_noise_free.tif").array()
    assert (sample <= half.array()).all() and sample.mean() < 0.97 * half.array().mean()
    assert "the noise of a fine scan set aside" in outcome.text
    assert "out.uncertainty.tif: half width of the 90 % interval" in outcome.text
    assert "held-out blocks held" in outcome.text and "follows from the likeness of the maps alone" in outcome.text


def test_the_map_of_the_run_is_flagged_as_in_the_run(finished, model, scans, tmp_path):
    """Enhanced anew by the model that went elsewhere, the same map gets the same flags."""
    outcome = workflow.enhance_file(model, scans / "coarse.tif", tmp_path / "out.tif", dtype="uint16")
    ours, theirs = (io.read(p).array() for p in (tmp_path / "out.flags.tif", finished / "flags.tif"))
    told = flag_bits("inconsistent", "omission", "invention")
    assert (theirs & told).any()
    assert np.array_equal(ours & told, theirs & told)
    assert "Checked against the coarse scan with what was measured where the model was trained" in outcome.text
    assert outcome.facts["flags"]["omission"] == pytest.approx(np.mean(ours & flag_bits("omission") != 0))


def test_what_the_coarse_scan_contradicts_is_flagged_on_another_map(model, elsewhere, tmp_path):
    """A coarse scan that shows something else than the result was made from."""
    _, pair = elsewhere
    carried = carried_by(model, load_model(model))
    again = enhance(load_model(model), pair.lr, config=EnhanceConfig(dtype="float32"))
    other = pair.lr.array().copy()
    other[60:90, 70:100] = other[60:90, 70:100][::-1, ::-1]
    marked = [
        with_flags(again, image, carried, "like").trust.where("inconsistent")
        for image in (pair.lr, pair.lr.with_data(other))
    ]
    here = slice(62, 88), slice(72, 98)
    assert marked[1][here].mean() > 0.3 and marked[0].mean() < 0.1 and marked[0][here].mean() < 0.1
    assert with_flags(again, pair.lr, carried, "unlike") is again


def test_what_a_model_makes_of_its_pieces_has_the_intervals_of_the_written_map(finished, scans):
    run = json.loads((finished / "trust.json").read_text())["intervals"]
    lr, hr = io.read(scans / "coarse.tif"), io.read(scans / "fine.tif")
    pair = load_pair(finished / "pair" / "01-fine", lr, hr)
    found = measure_with_model(load_model(finished / "model"), make_patches([pair]), [pair])
    assert found["blocks"] == run["blocks"]
    np.testing.assert_allclose(found["factors"], run["factors"], rtol=0.03)
    np.testing.assert_allclose(found["coverage"], run["coverage"], atol=0.01)


def test_a_map_unlike_the_training_area_gets_no_intervals(model, tmp_path):
    path = tmp_path / "lattice.tif"
    io.write(path, simulate("lattice", size=160, ratio=4, fine=200, seed=1).lr)
    for name in ("out.uncertainty.tif", "out.uncertainty_noise_free.tif"):
        (tmp_path / name).write_text("of another map")
    outcome = workflow.enhance_file(model, path, tmp_path / "out.tif", force=True, overwrite=True)
    assert outcome.facts["intervals"] is None and not list(tmp_path.glob("out.uncertainty*"))
    assert "There are no intervals: the map is unlike the area they were calibrated on." in outcome.text


def test_intervals_of_other_weights_are_not_used(model, elsewhere, tmp_path):
    edited(model, weights_sha256="0" * 64)
    outcome = workflow.enhance_file(model, elsewhere[0], tmp_path / "out.tif")
    assert outcome.facts["intervals"] is None and not (tmp_path / "out.uncertainty.tif").exists()
    assert f"There are no intervals: those in {model / FILE} belong to other weights." in outcome.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 99}, "has schema 99, and this version reads 1."),
        ({"intervals": 5}, "cannot be read"),
        ({"intervals": {"levels": [], "sentence": "There are no intervals. Too few blocks."}}, "Too few blocks."),
    ],
)
def test_why_a_model_carries_none_is_said(model, change, why):
    found = carried_by(edited(model, **change), load_model(model))
    assert found.facts is None and found.why_not.startswith("There are no intervals") and why in found.why_not


def test_older_models_and_chains_have_none(model):
    assert "one after the other" in carried_by(model, load_model(model), chained=True).why_not
    (model / FILE).unlink()
    assert "saved without any" in carried_by(model, load_model(model)).why_not


def test_half_widths_that_are_there_are_not_replaced(model, elsewhere, tmp_path):
    (tmp_path / "out.uncertainty.tif").write_text("mine")
    with pytest.raises(OutputError, match=r"out\.uncertainty\.tif exists\. Choose another name, or pass --overwrite"):
        workflow.enhance_file(model, elsewhere[0], tmp_path / "out.tif")
    assert (tmp_path / "out.uncertainty.tif").read_text() == "mine"


def test_a_part_of_a_volume_gets_the_half_widths_of_the_run(finished_volume, volumes, small, tmp_path):
    whole = io.read_volume(finished_volume / "uncertainty.tif")
    box = (8, 16, 16), (40, 56, 56)
    reach = 8
    workflow.enhance_file(
        finished_volume / "model", volumes / "coarse.tif", tmp_path / "part.tif", region=box, dtype="uint16"
    )
    part = io.read_volume(tmp_path / "part.uncertainty.tif")
    assert part.grid.shape == (32, 40, 40)
    inner = tuple(slice(a + reach, b - reach) for a, b in zip(*box, strict=True))
    mine = part.array()[(slice(reach, -reach),) * 3]
    np.testing.assert_allclose(mine, whole.array()[inner], rtol=0.02, equal_nan=True)
    assert np.isfinite(mine).all() and mine.std() > 0


def test_a_volume_enhanced_anew_is_flagged_as_in_its_run(finished_volume, volumes, small, tmp_path):
    workflow.enhance_file(finished_volume / "model", volumes / "coarse.tif", tmp_path / "out.tif", dtype="uint16")
    ours, theirs = (
        io.read_volume(p, constant_ok=True).array() & flag_bits("inconsistent", "omission", "invention")
        for p in (tmp_path / "out.flags.tif", finished_volume / "flags.tif")
    )
    assert theirs.any() and np.array_equal(ours, theirs)
