"""The list of places of a volume in a real browser: each has a button that shows it in the three cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_browser import selftest

from finescan.reporting import Answer, Chapter, Column, Place, Places, Report, VolumeLayer, VolumeScene, write_report
from finescan.values import Grid, Image

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    grid = Grid.of((12, 40, 50), (30.0, 10.0, 10.0), (9000.0, 8000.0, 7000.0))
    layer = VolumeLayer("enhanced", Image(np.full(grid.shape, 90, np.uint8), grid), (0.0, 255.0))
    rows = (Place(("1", 5.0), (60.0, 40.0, 300.0, 180.0, 120.0, 400.0)), Place(("2", 4.0), (0, 0, 0, 90, 390, 490)))
    places = Places("Places", (Column("place"), Column("removes", "%")), rows)
    scene = VolumeScene("Known", "Known.", grid, (layer,))
    report = Report("known", Answer("better", "Known."), scene, trust=(Chapter("Where to scan again", (places,)),))
    page = write_report(tmp_path_factory.mktemp("places") / "report.html", report)
    return selftest(browser, Path(page), "selftest_volume_places.js")


def test_a_button_goes_to_the_slice_and_the_middle_of_its_place(seen: dict) -> None:
    assert seen["buttons"] == [["Go to", False, "Show 1"], ["Go to", False, "Show 2"]]
    stop, centre, zoom, gone = seen["small"]
    assert stop in (3, 4)  # 120 nm deep lies between slices of 30 nm
    assert centre == [(stop + 0.5) * 30, 80, 350]
    assert zoom == pytest.approx(min(400 / (2.5 * 80), 500 / (2.5 * 100)))
    assert gone == {"label": "1", "kind": "crop", "start": [60, 40, 300], "stop": [180, 120, 400]}
    assert seen["focus"] is True


def test_the_place_is_outlined_in_all_cuts(seen: dict) -> None:
    assert len(seen["outlined"]) == 3 and all(n > 50 for n in seen["outlined"])


def test_a_place_as_large_as_the_volume_is_shown_with_all_of_it(seen: dict) -> None:
    stop, centre, zoom = seen["large"]
    assert (stop, zoom) == (1, 1) and centre[1:] == [200, 250]
