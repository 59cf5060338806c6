"""The page in a real browser: what a reader does, and what is then on the screen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from report_browser import complaints, open_page, selftest, with_script

from finescan.reporting import Answer, Layer, Report, Scene, write_report
from finescan.values import Grid, TrustMap

pytestmark = pytest.mark.browser


def _known() -> Report:
    """Two scenes over 160 nm whose every grey level is known; coarse pixels of 20 nm, enhanced ones of 5 nm."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (8, 8), np.uint8)
    enhanced = rng.integers(0, 256, (32, 32), np.uint8)
    flags = np.zeros((8, 8), np.uint8)
    flags[2:4, 2:4] = 2
    trust = TrustMap(flags, Grid.of((8, 8), 20.0, (1010.0, 2010.0)))
    scenes = [
        Scene(
            f"Scene {mode}", "Known.", (160.0, 160.0), (Layer("coarse", coarse), Layer("enhanced", enhanced)),
            (1000.0, 2000.0), trust, (), mode,
        )
        for mode in ("swipe", "side")
    ]  # fmt: skip
    return Report("known", Answer("better", "Known."), scenes[0], (scenes[1],))


def _selftest(browser: str, report: Report, folder: Path, *flags: str) -> dict:
    return selftest(browser, write_report(folder / "known.html", report), "selftest.js", *flags)


@pytest.fixture(scope="session")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return _selftest(browser, _known(), tmp_path_factory.mktemp("browser"))


def test_the_browser_decodes_the_exact_pixels(seen: dict) -> None:
    for levels, layer in zip(seen["levels"], _known().crops[0].layers, strict=True):
        assert levels == layer.data.ravel().tolist()


def test_the_curtain_shows_the_first_picture_left_of_it_and_the_second_right(seen: dict) -> None:
    assert seen["curtain"] == {"0": ["1", "1", "1"], "300": ["0", "1", "1"], "700": ["0", "0", "1"], "1000": ["0"] * 3}
    assert seen["curtainByKey"] == ["1000", "980"]


def test_zoom_and_pan_in_one_picture_move_all_pictures(seen: dict) -> None:
    assert seen["panes"] == 2
    assert seen["atFit"] == [True, True]
    assert seen["zoom"] == pytest.approx(np.exp(0.4))
    assert seen["zoomChanged"] == [True, True]
    assert seen["zoomLinked"] == [True, True]
    assert seen["dragged"] == [True, True]
    assert seen["fitAgain"] == [True, True]
    assert seen["buttonZoom"] == pytest.approx(1.25)
    assert seen["native"] == pytest.approx(1.0)


def test_enlarged_pixels_stay_flat(seen: dict) -> None:
    assert seen["flatPixel"] == 1


def test_holding_b_blinks_to_the_picture_before(seen: dict) -> None:
    assert seen["blinkOn"] and seen["blinkOff"]


def test_flags_are_drawn_where_they_are_and_only_there(seen: dict) -> None:
    assert seen["flagsChange"] == [[True] * 3 + [False] * 5] * 2
    assert seen["flagColours"] > 2, "colour alone: the hatch is missing"
    assert seen["opacityChanges"] and seen["flagsOffByKey"]


def test_the_readout_gives_grey_level_pixel_and_position(seen: dict) -> None:
    coarse, enhanced = (layer.data for layer in _known().crops[0].layers)
    for text, column in ((seen["readout"], 9), (seen["readoutNext"], 10)):
        assert f"coarse {coarse[2, column // 4]}  enhanced {enhanced[10, column]}  |  pixel y 10, x {column}" in text
        assert text.endswith("saturated")
    assert "y 1.05 µm, x 2.05 µm" in seen["readout"]


def test_contrast_changes_the_display_and_not_the_value(seen: dict) -> None:
    contrast = seen["contrast"]
    assert contrast["brighter"] > contrast["shown"]
    assert contrast["value"][0] == contrast["value"][1] == _known().crops[0].layers[1].data[2, 12]


def test_the_view_can_be_switched(seen: dict) -> None:
    assert seen["modes"] == [1, False, "true"]


def test_scale_bars_are_round_lengths_in_fitting_units(seen: dict) -> None:
    assert seen["lengths"] == ["20 pm", "2 nm", "10 nm", "500 nm", "50 µm"]


def test_everything_has_a_name_and_a_place_in_the_tab_order(seen: dict) -> None:
    assert [seen[k] for k in ("unlabelled", "noAlt", "doubleIds", "unreachable")] == [0, 0, 0, 0]
    assert seen["headings"]


def test_text_is_readable_in_light_and_dark(browser: str, seen: dict, tmp_path: Path) -> None:
    dark = _selftest(browser, _known(), tmp_path, "--blink-settings=preferredColorScheme=0")
    assert dark["background"] != seen["background"]
    assert min(dark["contrastRatio"], seen["contrastRatio"]) >= 4.5  # WCAG 2.2 AA


def test_a_narrow_window_does_not_scroll_sideways(browser: str, sample: Report, tmp_path: Path) -> None:
    page = write_report(tmp_path / "sample.html", sample)
    probe = "document.title = String(document.documentElement.scrollWidth - document.documentElement.clientWidth);"
    page.write_text(with_script(page.read_text(encoding="utf-8"), probe), encoding="utf-8")
    dom, _ = open_page(browser, page, tmp_path, "--window-size=500,900", "--dump-dom")
    assert re.search(r"<title>([^<]*)</title>", dom).group(1) == "0"


def _asked_by_the_page(browser: str, page: Path, folder: Path) -> tuple[list[str], str, str]:
    """Network addresses the page (not the browser for itself) asked for; DOM; log."""
    log_file = folder / "net.json"
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    dom, log = open_page(browser, page, folder, offline, f"--log-net-log={log_file}", "--dump-dom")
    events = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    own = [e for e in events if '"initiator":"' in e and '"initiator":"not an origin"' not in e]
    return [u for e in own for u in re.findall(r'"url":"((?:https?|wss?|ftp):[^"]*)"', e)], dom, log


def test_nothing_is_asked_of_the_network_and_nothing_complains(browser: str, sample: Report, tmp_path: Path) -> None:
    page = write_report(tmp_path / "Bericht für Müller & Söhne.html", sample)
    asked, dom, log = _asked_by_the_page(browser, page, tmp_path)
    assert asked == []
    assert complaints(log) == []
    assert dom.count('class="pane"') >= 10, "the script did not replace the still pictures"


def test_a_page_that_does_ask_is_noticed(browser: str, tmp_path: Path) -> None:
    page = tmp_path / "canary.html"
    page.write_text('<img src="http://finescan.invalid/x.png">', encoding="utf-8")
    assert set(_asked_by_the_page(browser, page, tmp_path)[0]) == {"http://finescan.invalid/x.png"}


def test_the_security_policy_stops_what_the_page_should_not_load(browser: str, sample: Report, tmp_path: Path) -> None:
    page = write_report(tmp_path / "sample.html", sample)
    foreign = '<img src="http://finescan.invalid/x.png"><script>document.title = "taken over"</script></body>'
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", foreign), encoding="utf-8")
    asked, dom, _ = _asked_by_the_page(browser, page, tmp_path)
    assert asked == []
    assert "<title>taken over</title>" not in dom


def test_the_self_test_page_fetches_nothing(seen: dict) -> None:
    assert seen["fetched"] == []


def test_a_picture_of_the_page_shows_pictures(browser: str, sample: Report, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    page = write_report(tmp_path / "sample.html", sample)
    shot = tmp_path / "shot.png"
    open_page(browser, page, tmp_path, "--window-size=1200,1600", f"--screenshot={shot}")
    grey = np.asarray(pillow.open(shot).convert("L"))
    assert grey.shape == (1600, 1200)
    busy = np.abs(np.diff(grey.astype(int), axis=1)) > 4
    assert busy[800:].mean() > 0.1, "no micrograph below the verdict"
