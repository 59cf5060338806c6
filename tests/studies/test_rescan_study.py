"""The rescan study on one small map, with a network of a few steps: what is recorded, measured, and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finescan import studies
from finescan.errors import InputError
from finescan.studies import rescan, rescan_maps
from finescan.studies.rescan import RescanResults, Size
from finescan.studies.rescan_page import build, text_table

TINY = Size(1, 1024, 640, 8000.0, 4500.0, 2, draws=20, shares=(0.0626, 0.1, 0.125))


@pytest.fixture(scope="module")
def tiny() -> None:
    rescan.SIZES["tiny"] = TINY
    yield
    del rescan.SIZES["tiny"]


@pytest.fixture(scope="module")
def folder(once, tiny) -> Path:
    return once("rescan-study", lambda f: studies.study_rescan(f / "s", size="tiny", seed=3)) / "s"


@pytest.fixture(scope="module")
def results(folder) -> RescanResults:
    return studies.run_rescan(folder, studies.RescanStudy("tiny", 3))


@pytest.fixture(scope="module")
def one() -> rescan_maps.Map:
    """A map whose enhanced version is the truth itself."""
    section = rescan_maps.steel(640, 5000.0, 1)
    enhanced = (20 + 216 * np.asarray(section.image.data)).astype(np.float32)
    found = rescan_maps.candidates_of(enhanced)
    return rescan_maps.Map(section, rescan_maps.record_coarse(section, 2), enhanced, found,
                           rescan_maps.examples_of(section, found), 5)  # fmt: skip


def test_time_is_counted(results) -> None:
    """The coarse map has a sixteenth of the pixels; every field its dwell time and its settling."""
    about = results.facts["maps"][0]
    assert about["field_s"] == pytest.approx(80 * 80 * 1e-4 + 0.3)
    assert about["full_s"] == pytest.approx(1024**2 * 1e-4 + 0.3)
    assert about["coarse_share"] == pytest.approx(256**2 * 1e-4 / about["full_s"])
    for name, rows in results.rows.items():
        spent = [r["spent"] for r in rows[0]]
        assert all(a <= b + 1e-9 for a, b in zip(spent, TINY.shares, strict=True)), name
        fields = [r["fields"] for r in rows[0]]
        assert fields[0] == 0 and fields[1:] == pytest.approx(
            [(s - about["coarse_share"]) * about["full_s"] / about["field_s"] for s in spent[1:]]
        )


def test_the_planner_finds_more_than_chance(results) -> None:
    assert results.median("planner", "recall")[-1] > results.median("random", "recall")[-1]
    assert results.alone_error(0.1) > results.alone_error(0.5)
    aims = results.aims()
    assert [q["share"] for q in aims["quarter"]] == [0.0626, 0.1, 0.125]
    assert sum(n for _, n in aims["by_kind"].values()) == results.facts["maps"][0]["sites"]


def test_a_measured_map_has_no_error(one) -> None:
    """Everything recorded: the estimate is the truth, and nothing is worth a scan."""
    state = rescan_maps.start(one)
    before, deviation = rescan_maps.estimate(one, state)
    assert before == pytest.approx(one.voids.mean(), rel=0.5) and deviation > 0
    state.measured[...] = True
    after, deviation = rescan_maps.estimate(one, state)
    assert after == pytest.approx(one.voids.mean()) and deviation == 0
    assert all(rescan_maps.rescanned(one, state)) and not rescan_maps.value_of(one, state).any()


def test_fields_lie_near_their_planned_places_and_are_pasted(one) -> None:
    state = rescan_maps.start(one)
    rescan_maps.record(one, state, [(20.0, 30.0), (100.0, 90.0)])
    away = np.array(state.fields) - [(80, 120), (400, 360)]
    assert 0 < np.abs(away).max() <= 4 * rescan_maps.PLACED_NM / one.section.image.grid.pixel_size_nm[0]
    pasted, share = rescan_maps.pasted(one, state)
    assert np.array_equal(share > 0, state.measured)
    y, x = state.fields[0]
    truth = 20 + 216 * np.asarray(one.section.image.data)
    inner = slice(y + 15, y + 65), slice(x + 15, x + 65)
    noise = np.asarray(pasted[inner]) - truth[inner]
    assert 2 < noise.std() < 20 and abs(noise.mean()) < 2  # recorded: shot noise of 400 electrons
    assert np.array_equal(pasted[300:330], one.enhanced[300:330])


def test_random_scanning_alone_is_unbiased_and_has_its_best_frame(one) -> None:
    rows = rescan_maps.random_alone(one, [0.2, 0.99], draws=50, frames=(64, 80, 320))
    assert rows[0]["error"] > rows[1]["error"] and rows[0]["frame"] in (64.0, 80.0)
    none = rescan_maps.random_alone(replace(one, seed=9), [1e-6], draws=3, frames=(64,))
    assert none[0]["error"] == float("inf")


def test_the_page_and_the_tables(folder, results) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Rescan study, tiny" in page and "A quarter of the time" in page
    header = (folder / "figures" / "error-by-time.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "planner" in header and "random alone" in header
    assert (folder / "results" / "map-0-planner.json").exists()
    text = text_table(results)
    assert text.count("%") > 12 and "planner" in text
    assert build(results).sentence.startswith("In 12.5 % of the time")


def test_a_size_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="A rescan study is quick, medium, full"):
        studies.RescanStudy("huge")
