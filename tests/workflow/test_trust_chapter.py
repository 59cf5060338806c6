"""What a run's report says about trust, and the places it suggests to scan again."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from finescan.simulation import simulate
from finescan.values import Grid, Image, Pair, Region, Residual, TrustMap, Verdict, Warp, flag_bits
from finescan.workflow.page_trust import overlay, place_box, worst_box
from finescan.workflow.suggesting import Expected, suggest


@pytest.fixture(scope="module")
def page(finished) -> str:
    return (finished / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def facts(finished) -> dict:
    return json.loads((finished / "trust.json").read_text())


def test_the_intervals_of_the_run_stand_on_its_page(page, facts):
    found = facts["intervals"]
    assert found["levels"] and found["sentence"] in page.replace("&#x27;", "'")
    section = page[page.index('<section id="trust">') :]
    assert "How far off a pixel may be" in section and "Coverage of the intervals" in section
    assert f"{100 * found['levels'][0]:g} %</th>" in section
    assert ('class="overlay"' in page) == (0.9 in found["levels"])


def test_every_flag_that_is_set_has_its_advice_and_a_way_to_it(page, facts):
    set_ = [n for n, share in facts["flags"].items() if share > 0]
    section = page[page.index("Reasons to doubt") :]
    for name in set_:
        assert re.search(rf'aria-label="Show {name.replace("_", " ")}"', section)
    assert "Leave these pixels out" in section  # of border


def test_suggested_places_lie_in_the_map_and_bring_most_first(facts):
    places = facts["suggested_rescans"]["places"]
    assert 1 <= len(places) <= 10
    removed = [p["reduction"] for p in places]
    assert removed[0] == max(removed) and 0 < sum(removed) < 1
    for p in places:
        assert all(0 <= a < b <= 160 for a, b in zip(p["start_px"], p["stop_px"], strict=True))


# ---------------------------------------------------------------------------------------- by hand
def test_the_half_width_is_laid_over_the_overview_where_there_is_one():
    half = Image(np.full((32, 32), 7.0, np.float32), Grid.of((32, 32), 10.0), "half")
    layer = overlay(SimpleNamespace(intervals=SimpleNamespace(uncertainty=half, noise_free=None)))
    sample = half.with_data(half.data / 2)
    finer = overlay(SimpleNamespace(intervals=SimpleNamespace(uncertainty=half, noise_free=sample)))
    assert "of the sample" in finer.name and (finer.data == 3.5).all()
    assert layer.name == "± grey levels (90 %)" and layer.window == (0.0, 7.0) and (layer.data == 7.0).all()
    assert overlay(SimpleNamespace(intervals=None)) is None
    assert overlay(SimpleNamespace(intervals=SimpleNamespace(uncertainty=None))) is None


def one_pair() -> tuple[Image, Pair]:
    lr = Image(np.zeros((64, 64), np.float32), Grid.of((64, 64), 40.0), "map")
    hr = Image(np.zeros((64, 64), np.float32), Grid.of((64, 64), 10.0), "fine")
    return lr, Pair(lr, hr, Warp.identity(), Verdict.FOUND, (), Residual(0.1, 0.1, 0.9, 3.0, {}, lr.grid))


def test_the_place_with_all_the_error_is_first_and_the_scanned_one_is_never_suggested():
    lr, pair = one_pair()
    error = np.full((64, 64), 0.01, np.float32)
    error[:16, :16] = 100.0  # under the fine scan
    error[40:48, 24:32] = 5.0
    flags = np.zeros((64, 64), np.uint8)
    flags[40:48, 24:32] = flag_bits("inconsistent")
    found = suggest(lr, [pair], Expected(error, "units"), TrustMap(flags, lr.grid), (10.0, 10.0))
    first = found.fields[0]
    assert first.start_px == (40, 24) and first.stop_px == (48, 32)  # an eighth of the map along each side
    assert first.reduction == pytest.approx(5.0 * 64 / (5.0 * 64 + 0.01 * (64 * 64 - 64 - 256)), rel=1e-3)
    assert "inconsistent" in " ".join(first.reasons) and not found.timed
    assert all(f.start_px[0] >= 16 or f.start_px[1] >= 16 for f in found.fields)
    assert found.to_dict()["places"][0]["seconds"] is None


def test_nothing_left_to_suggest_is_said():
    lr, pair = one_pair()
    error = np.zeros((64, 64), np.float32)
    found = suggest(lr, [pair], Expected(error, "units"), TrustMap(np.zeros((64, 64), np.uint8), lr.grid), (10.0, 10.0))
    assert found.plan is None and found.fields == [] and "nothing to plan" in found.reason
    assert found.to_dict() == {"places": [], "reason": found.reason}


def test_the_worst_place_of_a_flag_is_where_most_of_it_is():
    grid = Grid.of((100, 80), (20.0, 30.0))
    flags = np.zeros((100, 80), np.uint8)
    flags[60:75, 33:48] = flag_bits("saturated")
    flags[5, 5] = flag_bits("saturated", "border")
    box = worst_box(TrustMap(flags, grid), "saturated")
    assert box[0].start <= 60 and box[0].stop >= 75 and box[1].start <= 33 and box[1].stop >= 48
    y0, x0, y1, x1 = place_box(Image(np.zeros(grid.shape), grid, "m"), box)
    assert (y0, x0) == (box[0].start * 20.0, box[1].start * 30.0) and (y1 - y0, x1 - x0) == (16 * 20.0, 16 * 30.0)


def test_a_part_of_another_material_is_listed(finished):
    from finescan.models import load_model
    from finescan.workflow.comparing import compare_places

    card = load_model(finished / "model").card
    other = simulate("lattice", size=160, ratio=4, fine=200, seed=1).lr
    assert compare_places(other, card)["unlike_share"] == 1.0
    small = other.crop(Region(other.grid, (0, 0), (64, 64)))  # smaller than one part
    assert compare_places(small, card) is None
