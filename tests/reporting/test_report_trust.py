"""How far to trust it, on the page: the map laid over the pictures, and the list of places that lead to it."""

from __future__ import annotations

import numpy as np
import pytest
from report_browser import selftest

from finescan.errors import InputError
from finescan.reporting import Answer, Chapter, Column, Layer, Place, Places, Report, Scene, render, write_report
from finescan.reporting.pictures import cividis_table


def known() -> Report:
    """A grey map of 160 nm; half widths of 0 in its upper left, 10 in its lower right quarter, 4 elsewhere."""
    half = np.full((8, 8), 4.0, np.float32)
    half[:4, :4], half[4:, 4:], half[0, 0] = 0.0, 10.0, np.nan
    overlay = Layer("half width", half, window=(0.0, 10.0))
    grey = np.full((16, 16), 77, np.uint8)
    scene = Scene("Known", "Grey.", (160.0, 160.0), (Layer("enhanced", grey, window=(0.0, 255.0)),), overlay=overlay)
    rows = (
        Place(("1", 3.5, "invention"), (40.0, 80.0, 60.0, 120.0), np.eye(4, dtype=np.float32)),
        Place(("2", 1.5, "<b>none</b>")),
    )
    places = Places("Places worth a look", (Column("place"), Column("score"), Column("why")), rows, "Worst first.")
    return Report("known", Answer("better", "Known."), scene, trust=(Chapter("Where to look", (places, "Words.")),))


@pytest.fixture(scope="module")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return selftest(
        browser, write_report(tmp_path_factory.mktemp("trust") / "known.html", known()), "selftest_trust.js"
    )


@pytest.mark.browser
def test_the_map_is_shown_on_demand_in_its_colours_and_from_a_threshold_on(seen: dict) -> None:
    dark, bright = cividis_table()[0], cividis_table()[255]
    assert seen["hiddenAtFirst"] == [77, 77, 77]
    assert seen["low"] == pytest.approx(dark, abs=1) and seen["high"] == pytest.approx(bright, abs=1)
    assert seen["lowCut"] == [77, 77, 77] and seen["highKept"] == seen["high"]
    assert seen["said"] == "from 5.00"
    assert "half width ≈10.00" in seen["readout"]


@pytest.mark.browser
def test_the_button_of_a_place_shows_it_on_the_overview(seen: dict) -> None:
    assert seen["buttons"] == [["Go to", False, "Show 1"]]
    y, x, zoom = seen["view"]
    assert (y, x) == (50.0, 100.0) and zoom == pytest.approx(160 / (2.5 * 40))
    assert seen["marked"] == {"label": "1", "kind": "crop", "y0": 40, "x0": 80, "y1": 60, "x1": 120}
    assert seen["unlabelled"] == 0 and seen["noAlt"] == 0 and seen["contrastRatio"] > 4.5


def test_the_page_holds_the_list_and_escapes_it() -> None:
    page = render(known())
    assert '<section id="trust"><h2>Trust</h2>' in page and '<a href="#trust">' in page
    assert page.count('class="thumbnail"') == 1 and 'data-box="40 80 60 120"' in page
    assert "&lt;b&gt;none&lt;/b&gt;" in page and "<b>none" not in page


def test_a_report_without_it_has_no_such_section() -> None:
    assert 'id="trust"' not in render(Report("plain", Answer("better", "Plain.")))


def test_a_row_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(InputError, match="'a' has 1 cells for 2 columns of 'List'"):
        Places("List", (Column("x"), Column("y")), (Place(("a",)),))
