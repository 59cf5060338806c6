"""What a picture run measures besides its verdict: tiles, sizes, time; and which objective the registration used."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
import yaml

from finescan import io, workflow
from finescan.errors import InputError
from finescan.quantification import calmed
from finescan.workflow import picture_measures
from finescan.workflow.page import summary


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="module")
def facts(finished):
    return json.loads((finished / "trust.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in trust.json"))


def plan_of(folder):
    return yaml.safe_load((folder / "plan.yaml").read_text())["choices"]


def go(scans, folder, **choices):
    named = {k.replace("__", "."): v for k, v in choices.items()}
    return workflow.run(scans / "coarse.tif", scans / "fine.tif", folder, choices=named)


# ------------------------------------------------------------------ tiles and time
def test_tiles_of_enhanced_bicubic_and_nearest_are_compared(facts):
    tiles = facts["tiles"]
    assert tiles["metric"] == "ssim" and tiles["tiles"] >= 6 and tiles["tile_px"] in (64, 48, 32)
    assert set(tiles["scores"]) == {"enhanced", "bicubic", "nearest"}
    means = {n: row["mean"] for n, row in tiles["scores"].items()}
    assert means["nearest"] < means["bicubic"]
    # the mean over tiles of the test blocks is near the one over whole blocks
    assert means["bicubic"] == pytest.approx(facts["scores"]["bicubic"]["ssim"], abs=0.08)
    assert 0 <= tiles["improved_share"]["bicubic"] <= 1


def test_the_acceleration_follows_from_the_scans(facts, scans):
    coarse, fine = io.read(scans / "coarse.tif"), io.read(scans / "fine.tif")
    spent = coarse.grid.size * coarse.acquisition.dwell_time_us + fine.grid.size * fine.acquisition.dwell_time_us
    everything = 640 * 640 * fine.acquisition.dwell_time_us
    assert facts["acceleration"]["factor"] == pytest.approx(everything / spent)
    assert facts["acceleration"]["timed_by"] == "dwell times"


# ------------------------------------------------------------------ sizes
def test_pores_are_set_apart_by_themselves_and_the_plan_says_why(facts, finished):
    sizes = facts["sizes"]
    assert sizes["objects"] == "dark" and sizes["threshold"]["chosen_by"] == "valley"
    choice = plan_of(finished)["measure.objects"]
    assert choice["value"] == "auto" and choice["why"].endswith(f"Here: {sizes['reason']}")
    assert set(sizes["areas"]) == {"held-out blocks", "whole fine area", "whole map"}


def test_the_whole_fine_area_holds_more_than_its_held_out_blocks_and_the_map_more_than_both(facts):
    areas = facts["sizes"]["areas"]
    held, fine, whole = (areas[a]["rows"] for a in ("held-out blocks", "whole fine area", "whole map"))
    assert 0 < held["fine"]["objects"] < fine["fine"]["objects"] < whole["enhanced"]["objects"]
    assert held["fine"]["area_px"] < fine["fine"]["area_px"] < whole["enhanced"]["area_px"] == 640 * 640
    assert "fine" not in whole and areas["whole map"]["against"] == "coarse"
    for row in (*held.values(), *fine.values()):
        assert sum(row["per_class"]) == row["objects"]
        assert row["area_share_error"] > 0
    assert fine["coarse"]["found"] + fine["coarse"]["lost"] <= fine["fine"]["objects"]


def test_the_share_of_the_fine_scan_is_what_the_recorded_file_holds(facts, scans):
    fine = io.read(scans / "fine.tif").array()
    dark = calmed(fine, np.ones(fine.shape, bool)) <= facts["sizes"]["threshold"]["value"]
    found = facts["sizes"]["areas"]["whole fine area"]["rows"]["fine"]["area_share"]
    assert found == pytest.approx(dark.mean(), rel=0.08)


def test_the_table_has_one_row_per_object_of_the_map(facts, finished):
    rows = list(csv.DictReader((finished / "pores.csv").open()))
    assert len(rows) == facts["sizes"]["areas"]["whole map"]["rows"]["enhanced"]["objects"]
    sizes = list(csv.DictReader((finished / "pore_sizes.csv").open()))
    assert sum(int(r["pores"]) for r in sizes) == len(rows)
    assert {"pores.csv", "pore_sizes.csv"} <= set(facts["files"])


def test_nothing_is_measured_when_nothing_is_wanted_and_old_tables_go(copy, scans):
    done = go(scans, copy, measure__objects="none")
    assert done.facts["sizes"] == {
        "objects": "none", "reason": "Nothing was to be measured.", "threshold": None, "areas": {}
    }  # fmt: skip
    assert not (copy / "pores.csv").exists() and "pores.csv" not in done.facts["files"]
    assert "Sizes of" not in (copy / "report.html").read_text()
    assert "sizes:" not in str(done) and "tiles:" in str(done)
    # only the measuring is done again
    assert [json.loads(line)["event"] for line in (copy / "log.jsonl").read_text().splitlines()][-3:] == [
        "start", "judged", "done"
    ]  # fmt: skip


def test_other_objects_on_demand(copy, scans):
    done = go(scans, copy, measure__objects="bright")
    assert done.facts["sizes"]["objects"] == "bright"
    assert "Sizes of bright objects" in (copy / "report.html").read_text()
    assert plan_of(copy)["measure.objects"] == {"value": "bright", "why": "Asked for when the run was started."}


def test_a_map_too_large_to_count_is_measured_under_the_fine_scan_only(copy, scans, monkeypatch):
    monkeypatch.setattr(picture_measures, "LARGEST_COUNTED_PX", 1000)
    done = go(scans, copy)
    assert set(done.facts["sizes"]["areas"]) == {"held-out blocks", "whole fine area"}
    assert any(
        "too large to count all its objects" in n and "--objects dark --threshold" in n for n in done.facts["notes"]
    )
    assert not (copy / "pores.csv").exists()


def test_report_and_summary_show_all_of_it(finished, facts):
    page = (finished / "report.html").read_text()
    assert "SSIM, tile by tile" in page and "Sizes of dark objects (pores)" in page and "Cumulative sizes" in page
    assert "acceleration" in page and "(by dwell times)" in page
    assert re.search(r"<dt>registration compared</dt><dd>grey levels</dd>", page)
    said = summary(facts)
    assert re.search(r"tiles: SSIM of \d+ held-out tiles of \d+ px: enhanced [\d.]+, bicubic", said)
    assert re.search(r"sizes: dark objects in the held-out blocks: coarse \d+, enhanced \d+, fine \d+; distance", said)
    assert re.search(r"time: [\d.]+ times as fast as a fine scan of everything", said)


# ------------------------------------------------------------------ objective
def test_the_objective_is_a_choice_that_registers_anew(copy, scans):
    assert plan_of(copy)["register.objective"]["value"] == "auto"
    done = go(scans, copy, register__objective="joint-histogram")
    assert done.facts["registration"][0]["method"]["objective"] == "joint-histogram"
    page = (copy / "report.html").read_text()
    assert "<dt>registration compared</dt><dd>joint histogram</dd>" in page
    assert "<dt>compared</dt><dd>joint-histogram</dd>" in page


def test_impossible_choices_are_refused_before_anything_is_read(scans, tmp_path):
    with pytest.raises(InputError, match=r"register\.objective cannot be 'mutual'\. Expected: one of auto, grey"):
        go(scans, tmp_path / "run", register__objective="mutual")
    with pytest.raises(InputError, match=r"measure\.objects cannot be 'pores'\. Expected: one of auto, dark, bright"):
        go(scans, tmp_path / "run", measure__objects="pores")
