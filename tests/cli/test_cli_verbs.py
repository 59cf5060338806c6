"""Every verb once: text for people, JSON for machines, progress beside them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile

from finescan import io


@pytest.fixture
def as_json(finescan):
    """``as_json("check", …)``: the parsed standard output of a call with --json, which prints nothing else."""

    def call(*arguments):
        said = finescan(*arguments, "--json")
        assert said.code == 0, said.err
        assert said.err == ""
        return json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    return call


@pytest.fixture
def text(finescan):
    """``text("check", …)``: what a call that succeeds prints for people."""

    def call(*arguments):
        said = finescan(*arguments)
        assert said.code == 0, said.err
        assert said.errors == []
        return said.out

    return call


def test_check_says_what_is_in_the_files(text, as_json, scans):
    files = scans / "coarse.tif", scans / "fine.tif"
    words = text("check", *files)
    assert "ratio 4.000 × 4.000" in words and "coarse.tif" in words and "pixel size from" in words
    facts = as_json("check", *files)
    assert [f["name"] for f in facts["files"]] == ["coarse.tif", "fine.tif"]
    assert facts["files"][1]["grid"]["pixel_size_nm"] == [25.0, 25.0] and isinstance(facts["problems"], list)


def test_doctor_names_versions_and_problems(text, as_json):
    assert "numpy" in text("doctor") and "device" in text("doctor")
    facts = as_json("doctor")
    assert facts["versions"]["numpy"] == np.__version__ and isinstance(facts["problems"], list)


def test_models_lists_the_table_or_prints_a_card(text, as_json, finished):
    assert all(name in text("models") for name in ("bicubic", "ridge", "fast", "strong"))
    assert "fast" in as_json("models")
    card = as_json("models", finished / "model")
    assert (
        card["architecture"] == "fast"
        and card["factor"] == 4
        and card == json.loads(text("models", finished / "model"))
    )


def test_simulate_writes_scans_with_their_known_answer(text, as_json, tmp_path):
    facts = as_json("simulate", "polycrystal", "-o", tmp_path / "a", "--size", "96", "--ratio", "2.5", "--seed", "4")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["coarse.tif", "fine.tif", "truth.json", "truth.tif"]
    assert len(facts["files"]) == 4 and io.read(tmp_path / "a" / "fine.tif").grid.pixel_size_nm == (40.0, 40.0)
    assert "truth.json" in text("simulate", "polycrystal", "-o", tmp_path / "b", "--size", "96", "--ratio", "2.5")
    same, other = (io.read(tmp_path / d / "coarse.tif").array() for d in "ab")
    assert (same != other).any()  # another seed


def test_register_then_train_then_enhance_then_evaluate(finescan, as_json, text, scans, tmp_path):
    coarse, fine = scans / "coarse.tif", scans / "fine.tif"
    said = finescan("register", coarse, fine, "-o", tmp_path / "pair")
    assert said.code == 0 and "found, centre at coarse pixel" in said.out and "split error" in said.out
    assert "registering fine.tif" in said.err and "registering" not in said.out
    facts = as_json("register", coarse, fine, "-o", tmp_path / "pair", "--overwrite")
    assert facts["pairs"][0]["verdict"] == "found" and facts["pairs"][0]["split_error_hr_px"] < 0.5

    few = ("--pair", tmp_path / "pair", "--minutes", "0.005")
    facts = as_json("train", coarse, fine, "-o", tmp_path / "model", *few)
    assert facts["card"]["architecture"] == "fast" and (tmp_path / "model" / "model.safetensors").exists()

    facts = as_json("enhance", tmp_path / "model", coarse, "-o", tmp_path / "e.tif")
    assert facts["grid"]["shape"] == [640, 640] and (tmp_path / "e.flags.tif").exists()
    assert "enhanced map" not in text("enhance", tmp_path / "model", coarse, "-o", tmp_path / "f.ome.zarr")
    a, b = io.read(tmp_path / "e.tif"), io.read(tmp_path / "f.ome.zarr")
    assert np.array_equal(a.array(), b.array()) and a.grid.same_as(b.grid)
    assert not list(tmp_path.glob("*.work"))
    assert finescan("enhance", tmp_path / "model", coarse, "-o", tmp_path / "e.tif").code == 5

    figures = tmp_path / "figures.json"
    judged = as_json("evaluate", tmp_path / "e.tif", fine, "--coarse", coarse, "-o", figures)
    assert judged["verdict"] in ("better", "equal", "worse") and json.loads(figures.read_text()) == judged
    words = text("evaluate", tmp_path / "e.tif", fine)
    assert "not judged" in words and "PSNR" in words


def test_report_writes_the_page_again_and_trains_nothing(as_json, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    (copy / "report.html").unlink()
    facts = as_json("report", copy, "-o", tmp_path / "page.html")
    assert facts["verdict"] in ("better", "equal", "worse")
    assert "</html>" in (tmp_path / "page.html").read_text() and (copy / "report.html").exists()
    events = [json.loads(line)["event"] for line in (copy / "log.jsonl").read_text().splitlines()]
    assert events.count("trained") == 1


def test_run_prints_the_scores_and_the_place(text, as_json, finished, scans, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    words = text("run", scans / "coarse.tif", scans / "fine.tif", "-o", copy)
    assert "bicubic" in words and "report.html" in words and str(copy) in words
    facts = as_json("run", scans / "coarse.tif", scans / "fine.tif", "-o", copy)
    assert facts["scores"].keys() >= {"bicubic", "ridge", "fast", "enhanced"}
    with tifffile.TiffFile(copy / "enhanced.tif") as file:
        assert file.pages.first.shape == (640, 640)
