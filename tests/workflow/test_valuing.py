"""Rescans planned for what is measured: the area of dark objects."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from finescan import io
from finescan.errors import InputError
from finescan.registration import load_pair
from finescan.rescan import load_plan
from finescan.workflow.finished import open_finished
from finescan.workflow.rescanning import coarse_scan
from finescan.workflow.valuing import object_value

ASKED = "--budget", "8s", "--frame", "96x64", "--dwell", "10"


@pytest.fixture(scope="module")
def value(finished) -> np.ndarray:
    run = open_finished(finished)
    lr, hr = coarse_scan(run), io.read(run.fines[0])
    pair = load_pair(next((finished / "pair").iterdir()), lr, hr)
    found, unit = object_value(run, lr, [(hr, pair.lr_from_hr)], "dark")
    assert unit == "variance of the area of dark objects (squared pixels of the result)"
    return found


def test_doubt_lies_on_dark_spots_that_were_not_recorded(value, finished) -> None:
    lr = coarse_scan(open_finished(finished)).array()
    scanned = np.zeros(lr.shape, bool)
    scanned[60:100, 60:100] = True  # well inside the fine scan
    assert value.shape == lr.shape and value.min() == 0 and value[scanned].max() < 0.02 * value.max()
    rest = value.copy()
    rest[scanned] = 0
    dark = lr < np.percentile(lr, 30)
    assert rest[dark].sum() > 0.6 * rest.sum()


def test_the_plan_is_for_the_objects(finescan, finished, tmp_path) -> None:
    assert finescan("rescan", finished, *ASKED, "-o", tmp_path / "pixels").code == 0
    assert finescan("rescan", finished, *ASKED, "--measure", "dark", "-o", tmp_path / "objects").code == 0
    pixels, objects = (load_plan(tmp_path / n / "rescan.json") for n in ("pixels", "objects"))
    assert objects.error_unit.startswith("variance of the area of dark objects") != pixels.error_unit
    assert [f.start_px for f in objects.fields] != [f.start_px for f in pixels.fields]


def test_what_was_not_measured_cannot_be_planned_for(finescan, finished, tmp_path) -> None:
    said = finescan("rescan", finished, *ASKED, "--measure", "bright", "-o", tmp_path / "x")
    assert said.code == 3 and "has measured dark objects, not bright ones" in said.err
    said = finescan("rescan", finished, *ASKED, "--measure", "round", "-o", tmp_path / "x")
    assert said.code == 3 and "the area of dark or bright objects, but 'round' came" in said.err


def test_without_examples_it_says_so(finished, tmp_path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("run.json", "plan.yaml", "enhanced.tif", "trust.json"):
        shutil.copy(finished / name, copy)
    facts = json.loads((copy / "trust.json").read_text())
    facts["sizes"]["threshold"]["value"] = 0.0
    (copy / "trust.json").write_text(json.dumps(facts))
    run = open_finished(copy)
    lr, hr = coarse_scan(run), io.read(run.fines[0])
    pair = load_pair(next((finished / "pair").iterdir()), lr, hr)
    with pytest.raises(InputError, match=r"0 of .* candidates under the fine scans are objects"):
        object_value(run, lr, [(hr, pair.lr_from_hr)], "dark")
