"""The volume part of the page in a real browser: the slider, the cuts, what is drawn where."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from report_browser import complaints, open_page, selftest, with_script
from report_volume import make_volume_scene

from finescan.reporting import Answer, Report, VolumeBox, VolumeLayer, VolumeScene, write_report
from finescan.values import Grid, Image, TrustMap

pytestmark = pytest.mark.browser

SHAPE, VOXEL = (9, 10, 14), (30.0, 10.0, 10.0)
LINES = {"xz": "#4fd0ff", "yz": "#ff9ad5"}


def _volumes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (3, 5, 7), np.uint8)
    return {
        "coarse": coarse.repeat(3, 0).repeat(2, 1).repeat(2, 2),
        "enhanced": rng.integers(0, 256, SHAPE, np.uint8),
    }


def _known() -> VolumeScene:
    """100 nm x 140 nm, 270 nm deep, whose every voxel is known; the coarse volume has 1/12 of the voxels."""
    grid = Grid.of(SHAPE, VOXEL, (1015.0, 2005.0, 3005.0))
    lr_grid = grid.coarsen((3, 2, 2))
    volumes = _volumes()
    coarse = volumes["coarse"][::3, ::2, ::2].copy()
    quality = np.ones(SHAPE, np.float32)
    quality[:, 5:] = 0
    flags = np.zeros(lr_grid.shape, np.uint8)
    flags[0, 0, 0] = 2
    layers = (
        VolumeLayer("coarse", Image(coarse, lr_grid), (0.0, 255.0)),
        VolumeLayer("enhanced", Image(volumes["enhanced"], grid), (0.0, 255.0)),
        VolumeLayer("map", Image(quality, grid), (0.0, 1.0), "cividis_r"),
    )
    box = VolumeBox.of("fine scan", grid.crop((3, 4, 6), (6, 8, 9)))
    at = (1000.0 + 4.5 * 30, 2000.0 + 6.5 * 10, 3000.0 + 8.5 * 10)
    return VolumeScene("Known", "Known.", grid, layers, at, TrustMap(flags, lr_grid), (box,))


def _seen(browser: str, folder: Path, *flags: str, size: str = "1200,1000") -> dict:
    page = write_report(folder / "volume.html", Report("known", Answer("better", "Known."), _known()))
    truth = json.dumps({name: v.tolist() for name, v in _volumes().items()})
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f'<script type="application/json" id="truth">{truth}</script></body>'))
    return selftest(browser, page, "selftest_volume.js", *flags, size=size)


@pytest.fixture(scope="module")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return _seen(browser, tmp_path_factory.mktemp("volume"))


def test_the_page_opens_with_the_three_cuts_through_the_chosen_point(seen: dict) -> None:
    assert seen["first"] == [4, [True, True, True]]


def test_anisotropic_voxels_are_shown_in_their_true_proportions(seen: dict) -> None:
    xy, xz, yz = seen["aspect"]
    assert xy == pytest.approx(1, abs=0.01)
    assert max(xz, yz) < 1  # 270 nm deep cuts are held to 1.2 times the height of the slice
    # what is drawn in them keeps its proportions: the voxels were found where 30 x 10 nm say


def test_the_slider_moves_the_slice_and_says_where_it_is(seen: dict) -> None:
    assert seen["atTop"] == [[True, True, True], False, "slice 0 of 0–8, z 1.01 µm"]
    assert seen["atBottom"] == [[True, True, True], "slice 8 of 0–8, z 1.25 µm"]


def test_keys_and_wheel_go_along_z_and_stop_at_the_ends(seen: dict) -> None:
    assert seen["keyed"] == [0, 1, 2, 1, 8, 8]
    assert seen["focusable"]
    assert seen["wheel"] == [1, True]


def test_lines_show_where_the_other_cuts_run_and_follow_the_slider(seen: dict) -> None:
    assert seen["lines"] == {"xy": [6], "xz": [2], "yz": [2], "xyAcross": [8]}
    assert seen["linesMoved"] == [[6], [6]]
    assert seen["linesOff"] == [False, []]


def test_a_click_on_a_side_cut_goes_to_that_depth(seen: dict) -> None:
    assert seen["clickedDepth"] == [7, 1]


def test_the_box_of_the_fine_scan_stands_in_all_cuts_and_is_faint_elsewhere(seen: dict) -> None:
    yellow = (254, 232, 56)
    for cut, colour in seen["boxInside"].items():
        assert np.abs(np.subtract(colour, yellow)).max() < 60, cut
    assert np.abs(np.subtract(seen["boxOutside"]["xy"], yellow)).max() > 60
    assert seen["boxOutside"]["xz"] == seen["boxInside"]["xz"]


def test_layers_can_be_switched_compared_and_swiped(seen: dict) -> None:
    every = [True, True, True]
    assert seen["coarse"] == [every, "true", "false"]
    assert seen["nextLayer"] == [every, True]
    assert seen["blinkOn"] == seen["blinkOff"] == every
    assert seen["side"] == [9, True, True] and seen["sideMoved"] == [True, True]
    assert seen["curtainRight"] and seen["curtainLeft"]


def test_a_map_has_colours_of_its_own(seen: dict) -> None:
    high, low = seen["mapColours"]
    assert high == [0, 34, 78] and low == [254, 232, 56]  # the ends of cividis, low values bright


def test_the_readout_gives_grey_levels_voxel_and_position_in_every_cut(seen: dict) -> None:
    v = _volumes()
    for text, (z, y, x) in ((seen["readXY"], (7, 3, 12)), (seen["readNext"], (7, 3, 13)), (seen["readXZ"], (1, 6, 2))):
        assert f"coarse {v['coarse'][z, y, x]}  enhanced {v['enhanced'][z, y, x]}" in text
        assert f"voxel z {z}, y {y}, x {x}" in text
    assert "y 2.035 µm, x 3.125 µm" in seen["readXY"]


def test_all_cuts_zoom_together_and_fit_again(seen: dict) -> None:
    assert seen["zoom"] == [1.25, [True, True, True]]
    assert seen["fit"] == [True, True, True]


def test_flags_are_drawn_where_they_are(seen: dict) -> None:
    assert seen["flags"][:2] == [True, False]


def test_paper_gets_all_volumes_at_the_slice_of_the_first_view(seen: dict) -> None:
    assert seen["printed"] == [4, True, True] and seen["afterPrint"] == [1, "single"]


def test_everything_has_a_name_and_nothing_is_fetched(seen: dict) -> None:
    assert [seen[k] for k in ("unlabelled", "noAlt", "doubleIds", "unreachable", "overflow")] == [0] * 5
    assert seen["headings"] and seen["fetched"] == []


def test_text_is_readable_in_dark_and_a_narrow_window(browser: str, seen: dict, tmp_path: Path) -> None:
    dark = _seen(browser, tmp_path, "--blink-settings=preferredColorScheme=0", size="800,900")
    assert dark["background"] != seen["background"]
    assert min(dark["contrastRatio"], seen["contrastRatio"]) >= 4.5  # WCAG 2.2 AA
    assert dark["overflow"] == 0 and dark["first"] == [4, [True, True, True]]


def test_a_real_looking_volume_complains_about_nothing(browser: str, tmp_path: Path) -> None:
    report = Report("foam", Answer("better", "s"), make_volume_scene(64), (make_volume_scene(48, mode="side"),))
    page = write_report(tmp_path / "foam.html", report)
    probe = "window.finescan.ready.then((s) => { document.title = s.map((v) => v.panes.length).join(); });"
    page.write_text(with_script(page.read_text(encoding="utf-8"), probe), encoding="utf-8")
    dom, log = open_page(browser, page, tmp_path, "--window-size=1200,900", "--dump-dom")
    assert complaints(log) == []
    assert re.search(r"<title>([^<]*)</title>", dom).group(1) == "3,15"


def test_the_page_prints_to_a_few_pages_with_pictures(browser: str, tmp_path: Path) -> None:
    page = write_report(tmp_path / "foam.html", Report("foam", Answer("better", "s"), make_volume_scene(64)))
    paper = tmp_path / "foam.pdf"
    open_page(browser, page, tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    content = paper.read_bytes()
    assert content.count(b"/Type /Page\n") in (1, 2, 3) and content.count(b"/Subtype /Image") >= 3
