"""A finished run: what is in the folder, and what a second call does again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import tifffile
import yaml

from finescan import io, workflow
from finescan.simulation import simulate
from finescan.workflow import judging


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def events(folder) -> list[str]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def since(folder, before) -> list[str]:
    return events(folder)[len(before) :]


def edit(folder, name, value):
    path = folder / "plan.yaml"
    body = yaml.safe_load(path.read_text())
    body["choices"][name]["value"] = value
    path.write_text(yaml.safe_dump(body))


def go(scans, folder, **more):
    return workflow.run(scans / "coarse.tif", scans / "fine.tif", folder, **more)


def finite(value) -> bool:
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


def test_everything_that_was_promised_is_there_and_nothing_unfinished(finished):
    names = {p.name for p in finished.iterdir()}
    assert {
        "plan.yaml",
        "pair",
        "model",
        "enhanced.tif",
        "flags.tif",
        "trust.json",
        "report.html",
        "log.jsonl",
    } <= names
    assert {p.name for p in (finished / "model").iterdir()} >= {"model.safetensors", "card.json"}
    assert [p.name for p in (finished / "pair").iterdir()] == ["01-fine"]
    left = [p.name for p in finished.rglob("*") if "partial" in p.name or p.name.endswith((".part", ".work"))]
    assert not left and not list(finished.glob("work-*"))


def test_the_plan_gives_every_choice_with_a_sentence(finished):
    choices = yaml.safe_load((finished / "plan.yaml").read_text())["choices"]
    assert choices["target.pixel_size_nm"]["value"] == [25.0, 25.0]
    assert choices["target.factor"]["value"] == 4
    assert choices["train.steps"] == {"value": 8, "why": "Asked for when the run was started."}
    assert all(entry["why"].endswith(".") and len(entry["why"]) > 8 for entry in choices.values())


def test_the_map_has_the_coarse_field_at_the_fine_pixel_size_and_number_format(finished, scans):
    with tifffile.TiffFile(finished / "enhanced.tif") as file:
        page = file.pages.first
        assert page.shape == (640, 640) and page.dtype == np.uint16
        assert file.imagej_metadata["unit"] in ("nm", "um", "µm", "\\u00B5m")
        across, per = page.tags["XResolution"].value
        micrometres = {"nm": 1e-3}.get(file.imagej_metadata["unit"], 1.0)
        assert per / across * micrometres == pytest.approx(0.025)
    enhanced, coarse = io.read(finished / "enhanced.tif"), io.read(scans / "coarse.tif")
    assert np.allclose(enhanced.grid.edge_nm, coarse.grid.edge_nm)
    assert np.allclose(enhanced.grid.extent_nm, coarse.grid.extent_nm)


def test_all_figures_of_the_judgement_are_finite(finished):
    facts = json.loads(
        (finished / "trust.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in trust.json")
    )
    assert facts["verdict"] in ("better", "equal", "worse")
    assert set(facts["scores"]) == {"nearest", "bicubic", "lanczos", "ridge", "fast", "enhanced"}
    assert finite(facts["scores"]) and finite(facts["flags"]) and finite(facts["registration"])
    assert facts["registration"][0]["verdict"] == "found"
    assert facts["scores"]["enhanced"]["psnr"] == pytest.approx(facts["scores"]["fast"]["psnr"], abs=0.05)


def test_a_run_flags_probable_omissions_and_inventions_and_says_what_it_learned_them_from(finished):
    facts = json.loads((finished / "trust.json").read_text())
    doubts, stored = facts["doubts"], io.read(finished / "flags.tif").array()
    assert finite(doubts) and doubts["objects"] == "dark" and doubts["objects_learned_from"]["found"] > 10
    for name, bit in (("invention", 64), ("omission", 128)):
        share = np.mean((stored & bit) != 0)
        assert doubts["shares"][name] == pytest.approx(share) == pytest.approx(facts["flags"][name])
        assert doubts["limits"][name] >= doubts["least_probability"] > 0
    assert sum(doubts["shares"].values()) > 0 and np.mean((stored & 192) != 0) <= doubts["largest_share"]
    assert "lost dark objects" in doubts["sentence"]


def test_the_headers_are_kept_word_for_word(finished, scans):
    for role in ("coarse", "fine"):
        with tifffile.TiffFile(scans / f"{role}.tif") as file:
            original = file.pages.first.tags["ImageDescription"].value
        assert original in (finished / f"header-{role}.txt").read_text()


def test_a_second_call_trains_nothing_and_changes_no_bit(copy, scans):
    before, bytes_before = events(copy), (copy / "enhanced.tif").read_bytes()
    again = go(scans, copy)
    assert since(copy, before) == ["start", "judged", "done"]
    assert (copy / "enhanced.tif").read_bytes() == bytes_before
    was = json.loads((copy / "trust.json").read_text())
    assert again.facts["scores"] == was["scores"]


def test_another_number_format_in_the_plan_repeats_only_the_enhancement(copy, scans):
    before, levels = events(copy), io.read(copy / "enhanced.tif").array()
    edit(copy, "result.dtype", "float32")
    go(scans, copy)
    assert since(copy, before) == ["start", "enhanced", "judged", "intervals", "done"]
    fine = io.read(copy / "enhanced.tif").array()
    assert fine.dtype == np.float32 and np.abs(fine - levels).max() <= 0.51


def test_another_seed_in_the_plan_repeats_training_but_not_registration(copy, scans):
    before, levels = events(copy), io.read(copy / "enhanced.tif").array()
    edit(copy, "train.seed", 7)
    go(scans, copy)
    assert since(copy, before) == ["start", "trained", "enhanced", "judged", "intervals", "done"]
    assert (io.read(copy / "enhanced.tif").array() != levels).any()


def test_a_result_that_was_deleted_is_made_again(copy, scans):
    before, was = events(copy), (copy / "enhanced.tif").read_bytes()
    (copy / "enhanced.tif").unlink()
    go(scans, copy)
    assert since(copy, before) == ["start", "enhanced", "judged", "done"]
    assert np.abs(io.read(copy / "enhanced.tif").array() - tifffile.imread(BytesIO(was)).astype(float)).max() <= 1


def test_a_pixel_size_passed_later_wins_over_the_recorded_plan(copy, scans):
    before = events(copy)
    reading = workflow.Reading(pixel_size_nm=(99.0, 101.0))
    go(scans, copy, reading=reading)
    assert "registered" in since(copy, before)
    choices = yaml.safe_load((copy / "plan.yaml").read_text())["choices"]
    assert choices["coarse.pixel_size_nm"]["value"] == [99.0, 101.0]
    assert io.read(copy / "enhanced.tif").grid.shape == (round(160 * 99 / 25), round(160 * 101 / 25))


def test_two_fine_scans_at_a_ratio_that_is_no_whole_number_one_of_which_only_judges(tmp_path):
    # seed 5 puts the two scans side by side
    job = simulate("porous", size=190, ratio=2.67, fine=230, fine_scans=2, counts=(2000.0, 1500.0), seed=5)
    io.write(tmp_path / "coarse.tif", job.lr)
    fines = [io.write(tmp_path / f"fine{k}.tif", hr) for k, hr in enumerate(job.hr)]
    choices = {"train.steps": 3, "train.members": 1}
    done = workflow.run(tmp_path / "coarse.tif", fines, tmp_path / "run", choices=choices)
    enhanced = io.read(tmp_path / "run" / "enhanced.tif")
    assert enhanced.grid.shape == (round(190 * 2.67),) * 2
    assert enhanced.grid.pixel_size_nm == pytest.approx(job.hr[0].grid.pixel_size_nm, rel=1e-3)
    assert [p["verdict"] for p in done.facts["registration"]] == ["found", "found"]
    assert sorted(p.name for p in (tmp_path / "run" / "pair").iterdir()) == ["01-fine0", "02-fine1"]
    assert any("was kept out of training as a whole and only judges" in note for note in done.facts["notes"])


def test_a_run_that_keeps_only_the_store_holds_the_same_pixels(copy, scans):
    before = io.read(copy / "enhanced.tif").array()
    edit(copy, "result.zarr", True)
    edit(copy, "result.tiff", False)
    outcome = go(scans, copy)
    assert "enhanced.ome.zarr" in outcome.facts["files"] and "enhanced.tif" not in outcome.facts["files"]
    kept = io.read(copy / "enhanced.ome.zarr")
    np.testing.assert_array_equal(kept.array(), before)
    assert not (copy / "enhanced.tif").exists()
    assert not list(copy.glob("work-*"))


def test_a_map_worse_than_bicubic_on_the_test_blocks_becomes_bicubic_unless_a_method_is_asked_for(
    copy, scans, monkeypatch
):
    honest = judging.judge
    monkeypatch.setattr(judging, "judge", lambda *a, **k: replace(honest(*a, **k), verdict="worse"))
    edit(copy, "result.method", "auto")
    fallen = go(scans, copy)
    assert fallen.facts["method"] == "bicubic"
    assert any("was worse than bicubic interpolation, so the result is" in n for n in fallen.facts["notes"])
    monkeypatch.undo()
    assert go(scans, copy).facts["method"] == "bicubic"  # remembered, not tried again
    edit(copy, "result.method", "lanczos")
    asked = go(scans, copy)
    assert asked.facts["method"] == "lanczos"
    assert not any("so the result is the interpolation" in n for n in asked.facts["notes"])
