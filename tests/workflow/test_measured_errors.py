"""Error bars in a run: for the whole map, checked on the test blocks, shown in report and summary."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from finescan import io, workflow
from finescan.quantification import MEASURES, Objects, Threshold, calmed, measure_alike
from finescan.quantification.tallies import tally, values
from finescan.workflow import measured_errors, picture_measures
from finescan.workflow.page import summary


@pytest.fixture(scope="module")
def facts(finished):
    return json.loads((finished / "trust.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in trust.json"))


@pytest.fixture(scope="module")
def bars(facts):
    return facts["error_bars"]


def test_every_number_of_the_map_has_an_interval_around_its_corrected_value(bars, facts):
    assert set(bars["map"]) == set(MEASURES) and bars["level"] == 0.9
    for row in bars["map"].values():
        assert (
            row["low"] < row["value"] < row["high"] and row["parts"]["places"] >= 1 and row["blocks"] == bars["blocks"]
        )
    whole = facts["sizes"]["areas"]["whole map"]["rows"]["enhanced"]
    assert bars["map"]["area_share"]["measured"] == pytest.approx(whole["area_share"], rel=1e-6)
    assert bars["map"]["mean_diameter_nm"]["measured"] == pytest.approx(whole["mean_diameter_nm"], rel=1e-6)


def test_the_true_share_of_the_whole_map_lies_inside(bars, facts):
    from finescan.simulation import simulate

    truth = simulate("porous", size=160, ratio=4, fine=400, counts=(2000.0, 1500.0), seed=5).truth
    objects = Objects("dark", Threshold(facts["sizes"]["threshold"]["value"]), "")
    everywhere = np.ones(truth.grid.shape, bool)
    found = measure_alike({"t": calmed(truth.array(), everywhere)}, truth.grid, objects=objects)["t"]
    true = {k: float(v[0]) for k, v in values(tally(found, np.zeros(truth.grid.shape, int))).items()}
    for name in ("area_share", "objects_per_area", "interface_per_um"):
        row = bars["map"][name]
        assert row["low"] <= true[name] <= row["high"], name


def test_the_check_compares_coarse_enhanced_and_fine_on_the_test_blocks(bars):
    test = bars["test"]
    assert set(test["rows"]) == set(MEASURES) and test["blocks"] >= 4
    for row in test["rows"].values():
        assert row["coarse"] > 0 and row["fine"] > 0 and row["measured"] > 0
        if row["value"] is not None:
            assert (abs(row["apart"]) <= 1) == (row["low"] <= row["fine"] <= row["high"])
    shares = test["rows"]["area_share"]
    assert abs(shares["measured"] - shares["fine"]) < abs(shares["coarse"] - shares["fine"])


def test_report_and_summary_show_them(bars, facts, finished):
    page = (finished / "report.html").read_text()
    assert "Numbers with error bars: dark objects" in page and "Check on the test blocks" in page
    line = next(k for k in summary(facts).splitlines() if k.startswith("numbers:"))
    assert "dark objects of the whole map, corrected, 90 % intervals: share of area " in line
    assert f"{100 * bars['map']['area_share']['value']:.3g} %" in line


def test_pixels_without_data_count_nowhere(finished, facts):
    from finescan.values import FLAGS, Image, TrustMap

    enhanced = io.read(finished / "enhanced.tif")
    coarse = enhanced.grid.coarsen(4)
    flags = np.zeros(coarse.shape, np.uint8)
    flags[:40] = FLAGS["no_data"][0]
    lost = measured_errors._missing(enhanced, TrustMap(flags, coarse))
    assert lost[:160].all() and not lost[160:].any()
    holes = enhanced.array().astype(np.float32)
    holes[5, 7] = np.nan
    assert measured_errors._missing(Image(holes, enhanced.grid), None).sum() == 1


def test_a_map_too_large_to_count_keeps_its_check(finished, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_measures, "LARGEST_COUNTED_PX", 1000)
    copy = shutil.copytree(finished, tmp_path / "run")
    done = workflow.run(scans / "coarse.tif", scans / "fine.tif", copy)
    assert done.facts["error_bars"]["map"] is None and done.facts["error_bars"]["test"] is not None
    assert "numbers:" not in str(done)
