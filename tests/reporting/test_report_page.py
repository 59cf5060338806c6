"""The file that write_report makes, without a browser."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from finescan.errors import InputError, OutputError
from finescan.reporting import (
    Answer,
    Box,
    Column,
    Curves,
    Layer,
    MetricTable,
    Plot,
    RegistrationPicture,
    Report,
    Scene,
    Score,
    Series,
    render,
    write_report,
)
from finescan.values import Grid, Residual, TrustMap

EVIL = "<script>alert(1)</script>.tif"
SECTIONS = ("answer", "overview", "crops", "metrics", "spectra", "histograms", "registration", "training", "plan")


class _Page(HTMLParser):
    """Elements with their attributes, and whether every element is closed in order."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def _scene(data: np.ndarray, name: str = "enhanced", **more: object) -> Scene:
    return Scene("Scene", "Words.", (100.0, 100.0), (Layer(name, data),), **more)


def _pixels(page: str, k: int = 0) -> np.ndarray:
    uri = re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]*)"', page)[k]
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(uri))))


def test_the_page_holds_everything_itself(sample: Report) -> None:
    page = _Page(render(sample))
    assert page.open == []
    addresses = [(tag, a[k]) for tag, a in page.elements for k in ("src", "href", "srcset", "data") if k in a]
    assert addresses
    for tag, address in addresses:
        assert address.startswith(("#", "data:")), (tag, address[:80])
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.elements}


def test_no_address_of_the_network_occurs_anywhere(sample: Report) -> None:
    assert re.findall(r"https?://|@import|url\(", render(sample)) == []


@pytest.mark.parametrize("name", [*SECTIONS, "provenance"])
def test_every_section_is_there_and_in_the_navigation(sample: Report, name: str) -> None:
    for report in (sample, Report("empty", Answer("equal", "Nothing."))):
        page = _Page(render(report))
        assert ("section", name) in [(tag, a.get("id")) for tag, a in page.elements]
        assert f"#{name}" in [a.get("href") for tag, a in page.elements if tag == "a"]


def test_the_verdict_comes_first(sample: Report) -> None:
    page = render(sample)
    assert page.index("Better than interpolation") < page.index("data:image/png")
    assert page.index(sample.answer.sentence) < page.index("Please note") < page.index('id="overview"')


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "Better than interpolation"),
        ("equal", "No better than interpolation"),
        ("worse", "Worse than interpolation"),
        ("not judged", "Not judged"),
    ],
)
def test_verdicts_are_words(verdict: str, words: str) -> None:
    assert words in render(Report("t", Answer(verdict, "s")))


def _hostile() -> Report:
    grid = Grid.of((8, 8), 10.0)
    residual = Residual(0.1, 0.1, 0.9, 3.0, {}, grid, {"sigma_hr_px": np.ones((8, 8), np.float32)}, np.ones((2, 4)))
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    scene = Scene(
        EVIL, EVIL, (80.0, 80.0), (Layer(EVIL, grey),), None, TrustMap(grey, grid), (Box(EVIL, 0, 0, 9, 9, EVIL),)
    )
    plot = Plot(EVIL, EVIL, EVIL, (Series(EVIL, [0.0, 1.0], [0.0, 1.0]),), EVIL)
    return Report(
        EVIL,
        Answer(EVIL, EVIL, ((EVIL, EVIL),)),
        scene,
        (scene,),
        (RegistrationPicture(EVIL, EVIL, (EVIL,), residual, scene, ((EVIL, EVIL),)),),
        Curves((plot,), (plot,), (plot,)),
        (MetricTable(EVIL, EVIL, (Column(EVIL, EVIL),), {EVIL: [Score(1.0)]}, EVIL),),
        ((EVIL, EVIL, EVIL),),
        (EVIL,),
        {EVIL: EVIL, "nested": [{EVIL: EVIL}]},
    )


def test_names_stay_text_wherever_they_stand() -> None:
    text = render(_hostile())
    page = _Page(text)
    assert page.open == []
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;.tif") > 30
    assert "\\u003cscript>alert(1)\\u003c/script>.tif" in text  # in the facts for the page's script


def test_a_quote_in_a_name_does_not_end_an_attribute() -> None:
    page = _Page(render(Report("t", Answer("better", "s"), _scene(np.zeros((4, 4), np.uint8), 'x" onload="alert(1)'))))
    assert all("onload" not in a for _, a in page.elements)


@pytest.mark.parametrize("dtype", [np.uint8])
def test_8_bit_pictures_come_back_bit_for_bit(dtype: type) -> None:
    data = np.random.default_rng(0).integers(0, 256, (37, 53)).astype(dtype)
    assert np.array_equal(_pixels(render(Report("t", Answer("better", "s"), _scene(data)))), data)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_other_pictures_come_back_to_half_a_display_level(dtype: type) -> None:
    data = np.linspace(-500 if dtype != np.uint16 else 0, 60000, 48 * 48).reshape(48, 48).astype(dtype)
    layer = Layer("enhanced", data, window=(float(data.min()), float(data.max())))
    page = render(Report("t", Answer("better", "s"), Scene("S", "", (1.0, 1.0), (layer,))))
    offset, step = map(float, re.search(r'"coding": \[([^,]*), ([^\]]*)\]', page).groups())
    assert np.abs(offset + step * _pixels(page) - data).max() <= step / 2 * (1 + 1e-6)


def test_missing_values_are_transparent_not_black() -> None:
    data = np.random.default_rng(0).normal(0, 1, (20, 20)).astype(np.float32)
    data[3:5, 7] = np.nan
    pixels = _pixels(render(Report("t", Answer("better", "s"), _scene(data))))
    assert np.array_equal(pixels[..., 1] == 0, np.isnan(data))


def test_the_flags_travel_bit_for_bit_and_only_the_part_shown() -> None:
    flags = np.random.default_rng(0).integers(0, 64, (20, 30)).astype(np.uint8)
    trust = TrustMap(flags, Grid.of(flags.shape, 10.0, 5.0))
    scene = _scene(np.zeros((4, 4), np.uint8), origin_nm=(50.0, 100.0), flags=trust)
    page = render(Report("t", Answer("better", "s"), scene))
    assert np.array_equal(_pixels(page, 1), flags[5:15, 10:20])
    share = 100 * np.mean((flags[5:15, 10:20] & 2) != 0)
    assert f"saturated: {share:.2g} %" in page


def test_shares_of_the_full_map_can_be_stated_for_a_reduced_one() -> None:
    trust = TrustMap(np.full((4, 4), 2, np.uint8), Grid.of((4, 4), 25.0))
    scene = _scene(np.zeros((4, 4), np.uint8), flags=trust, flag_shares={"saturated": 0.0123})
    assert "saturated: 1.2 %" in render(Report("t", Answer("better", "s"), scene))


def test_the_grey_window_is_common_and_stated() -> None:
    low, high = np.full((9, 9), 100.0), np.full((9, 9), 900.0)
    scene = Scene("S", "", (1.0, 1.0), (Layer("coarse", low), Layer("fine", high)))
    page = render(Report("t", Answer("better", "s"), scene))
    assert "Shown from grey level 100 (black) to 900 (white)" in page
    assert (_pixels(page, 0) == 0).all() and (_pixels(page, 1) == 255).all()


def test_a_picture_with_a_window_of_its_own_does_not_touch_that_of_the_others() -> None:
    own = Layer("coarse", np.full((9, 9), -5e4), window=(-6e4, -4e4))
    scene = Scene("S", "", (1.0, 1.0), (own, Layer("fine", np.linspace(100, 900, 81).reshape(9, 9))))
    page = render(Report("t", Answer("better", "s"), scene))
    assert re.search(r"Shown from grey level 100.* to 899.* coarse from -60000 to -40000", page)


def test_the_chosen_contestant_is_marked_and_the_best_of_each_column_too(sample: Report) -> None:
    page = render(sample)
    assert re.search(r"<tr class=chosen><th scope=\"row\">fast", page)
    assert "★ 33.61 ± 0.16" in page and "★ 1520 ± 33" in page and "★ 29.31" not in page


def test_every_plot_has_words_and_numbers(sample: Report) -> None:
    page = render(sample)
    plots = re.findall(r'<svg class="plot"[^>]*aria-label="([^"]+)"', page)
    assert len(plots) == 7 and all(len(p) > 20 for p in plots)
    assert page.count("<summary>The numbers</summary>") == len(plots)


def test_an_existing_report_is_kept_unless_told_otherwise(sample: Report, tmp_path: Path) -> None:
    path = write_report(tmp_path / "report.html", Report("one", Answer("better", "s")))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"report.html exists already. Pass overwrite=True, or --overwrite"):
        write_report(path, sample)
    assert path.read_bytes() == before
    assert write_report(path, sample, overwrite=True).read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written to .*nowhere.*Choose a folder"):
        write_report(tmp_path / "nowhere" / "report.html", Report("t", Answer("better", "s")))


def test_the_same_report_gives_the_same_file(sample: Report) -> None:
    assert render(sample) == render(replace(sample))


def test_a_full_size_report_can_be_mailed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 30, (2048, 2048)).clip(0, 255).astype(np.uint8)
    overview = Scene(
        "Map", "", (2048.0, 2048.0), (Layer("coarse", noise[::4, ::4]), Layer("enhanced", noise)), lossless=False
    )
    crop = noise[:384, :384]
    layers = (Layer("coarse", crop[::4, ::4]), *(Layer(n, crop.copy()) for n in ("bicubic", "enhanced", "fine")))
    crops = tuple(Scene(f"Place {k}", "", (384.0, 384.0), layers) for k in range(8))
    path = write_report(tmp_path / "report.html", Report("t", Answer("better", "s"), overview, crops))
    assert 2e6 < path.stat().st_size < 30e6


def test_reporting_works_without_torch_and_without_loading_it() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import finescan.reporting as r; "
        "r.render(r.Report('t', r.Answer('better', 's')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Layer("x", np.zeros((2, 2, 2))), r"'x' must be a 2D array .* shape is \(2, 2, 2\). Pass one slice"),
        (lambda: Layer("x", np.zeros((2, 2)), window=(3.0, 3.0)), r"window of 'x' must rise, but \(3.0, 3.0\)"),
        (lambda: Scene("s", "", (1.0, 1.0), ()), r"'s' needs at least one layer, but none came"),
        (lambda: Scene("s", "", (0.0, 1.0), (Layer("x", np.zeros((2, 2))),)), r"positive height and width, but \(0.0"),
        (lambda: _scene(np.zeros((2, 2)), mode="flicker"), r"mode swipe or side, but 'flicker' came"),
        (lambda: Series("c", [1.0], [1.0, 2.0]), r"'c' needs as many x as y, but \(1,\), \(2,\)"),
        (lambda: MetricTable("m", "", (Column("a"),), {"r": []}), r"'r' has 0 scores for 1 columns of 'm'"),
    ],
)
def test_wrong_values_are_refused_with_words(make, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()
