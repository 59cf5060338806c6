"""Pages of studies, and their figures and tables as files."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_browser import complaints, open_page, selftest
from report_volume import make_volume_scene

from finescan.errors import InputError, OutputError
from finescan.reporting import (
    Answer,
    Chapter,
    Column,
    PoreNumbers,
    Report,
    Sample,
    Series,
    StudyReport,
    Table,
    box_plots,
    curve_panels,
    grouped_bars,
    histogram_panels,
    picture_grid,
    pore_chapter,
    render,
    render_study,
    standalone_svg,
    write_figures,
    write_study,
)

EVIL = "<script>alert(1)</script>"


def make_study(evil: str = "") -> StudyReport:
    """A small study with a figure of every kind."""
    rng = np.random.default_rng(0)
    sigmas = ["3 µm", "9 µm"]
    bars = grouped_bars(
        f"Recovery{evil}", sigmas, {f"DeepNet{evil}": [97.0, 88.0], "ours": [99.0, 93.0]}, y_label="%",
        marks={"ours": [95.0, 85.0]}, note=f"Higher is better.{evil}",
    )  # fmt: skip
    sizes = {m: [Sample("truth", rng.lognormal(3, 0.5, 200), f"44 %{evil}", True)] for m in ("DeepNet", f"ours{evil}")}
    shapes = {m: [Sample(s, rng.uniform(0.9, 1, 50)) for s in sigmas] for m in ("DeepNet", "ours")}
    k = np.linspace(0, 10, 21)
    fits = {s: [Series(f"ours{evil}", k, (k - 2) ** 2)] for s in sigmas}
    pictures = {f"ours{evil}": [rng.normal(size=(20, 20)) for _ in sigmas]}
    table = Table(
        f"Metrics{evil}", (Column(f"m{evil}"), Column("PSNR", "dB", "higher")), ((f"a{evil}", 1.5), ("b", 2.0))
    )
    chapters = (
        Chapter(f"Quality{evil}", (f"Words.{evil}", bars, table)),
        Chapter("Quality", (
            histogram_panels("Sizes", sizes, bin_width=5, x_label="d"),
            box_plots("Shapes", shapes, y_label="sphericity"), curve_panels("Fit", fits, x_label="σ", y_label="MSE"),
            picture_grid("Slices", pictures, sigmas, pixel_size_nm=100.0, labels={n: ["1", "2"] for n in pictures}),
        )),
        Chapter("Volume", (make_volume_scene(32),)),
    )  # fmt: skip
    return StudyReport(
        f"Foam{evil}", f"Ours finds 93 %{evil}", f"DeepNet 88 %.{evil}", chapters, "better", (("size", "64³"),),
        ("Quick.",), {"seed": 1},
    )  # fmt: skip


def test_chapters_are_sections_with_addresses_of_their_own() -> None:
    page = render_study(make_study())
    sections = re.findall(r'<section id="([^"]*)"', page)
    assert sections == ["answer", "notes", "quality", "quality-2", "volume", "provenance"]
    assert re.findall(r'href="#([^"]*)">', page)[1:] == ["answer", "quality", "quality-2", "volume", "provenance"]
    assert page.index("Ours finds 93 %") < page.index("DeepNet 88 %.") < page.index('id="quality"')
    assert "finescan study" in page


def test_a_study_holds_everything_itself_and_nothing_hostile_gets_through() -> None:
    page = render_study(make_study(EVIL))
    assert "<script>alert" not in page
    assert re.findall(r"https?://|@import|url\(", page) == []
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("#", "data:"))


def test_every_figure_has_its_numbers_and_every_id_once() -> None:
    page = render_study(make_study())
    assert page.count("<summary>The numbers</summary>") == page.count("<svg") == 5
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_measured_chapters_stand_in_a_report_only_when_there_are_some(sample: Report) -> None:
    assert "Measured" not in render(sample)
    pores = pore_chapter([PoreNumbers("coarse", [1e3, 2e3], [0.9, 1.0], 0.2)])
    page = render(replace(sample, measurements=(pores,)))
    assert 'href="#measurements">Measured' in page and "Pores inside the fine scan" in page


# ------------------------------------------------------------------ files
def test_figures_and_tables_are_written_as_files_of_their_own(tmp_path: Path) -> None:
    study = make_study()
    paths = write_figures(tmp_path / "results", study.figures(), study.tables())
    names = [p.name for p in paths]
    assert {"recovery.svg", "sizes.svg", "shapes.svg", "fit.svg", "slices.svg", "metrics.csv", "metrics.md"} <= set(
        names
    )
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == sorted(names)
    with (tmp_path / "results" / "metrics.csv").open(encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["m", "PSNR (dB)"], ["a", "1.5"], ["b", "2.0"]]
    with pytest.raises(OutputError, match=r"recovery.svg exists already. Pass overwrite=True"):
        write_figures(tmp_path / "results", study.figures())
    assert write_figures(tmp_path / "results", study.figures(), overwrite=True)


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    bars = make_study().figures()[0]
    with pytest.raises(InputError, match=r"Two figures or tables would be written to recovery.svg"):
        write_figures(tmp_path, [bars, bars])
    assert write_figures(tmp_path, [bars, replace(bars, name="other")])[1].name == "other.svg"


def test_a_figure_alone_brings_its_colours_for_light_and_dark() -> None:
    for figure in make_study().figures():
        text = standalone_svg(figure)
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        style = next(root.iter("{http://www.w3.org/2000/svg}style")).text
        assert "width:" not in style.replace("stroke-width:", ""), "a file of its own has its own size"
        assert "var(" not in style and "#14508f" in style.split("@media")[0] and "#8cc0ff" in style.split("@media")[1]
        known = set(re.findall(r"\.([a-z]\w*)", style))
        used = {c for e in root.iter() for c in e.get("class", "").split()}
        assert used <= known | {"plot", "head", "label", "small", "over", "halo"}, used - known


def test_an_existing_study_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    study = StudyReport("t", "h", "s", ())
    path = write_study(tmp_path / "study.html", study)
    with pytest.raises(OutputError, match=r"study.html exists already. Pass overwrite=True"):
        write_study(path, study)
    assert write_study(path, study, overwrite=True) == path


# ------------------------------------------------------------------ in a browser
@pytest.mark.browser
def test_a_study_in_a_browser_is_readable_labelled_and_quiet(browser: str, tmp_path: Path) -> None:
    script = "selftest_access.js"
    light = selftest(browser, write_study(tmp_path / "study.html", make_study()), script, size="800,900")
    page = write_study(tmp_path / "dark.html", make_study())
    dark = selftest(browser, page, script, "--blink-settings=preferredColorScheme=0", size="800,900")
    for seen in (light, dark):
        assert [seen[k] for k in ("unlabelled", "noAlt", "doubleIds", "unreachable", "overflow")] == [0] * 5
        assert seen["headings"] and seen["fetched"] == [] and seen["contrastRatio"] >= 4.5
        assert seen["svgContrast"] >= 4.5
    assert light["background"] != dark["background"]


@pytest.mark.browser
def test_a_figure_alone_is_drawn_by_a_browser(browser: str, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    (path,) = write_figures(tmp_path, make_study().figures()[:1])
    shot = tmp_path / "shot.png"
    _, log = open_page(browser, path, tmp_path, "--window-size=700,450", f"--screenshot={shot}")
    assert complaints(log) == []
    colours = np.asarray(pillow.open(shot).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours // 16, axis=0)) > 12, "the figure has no colours"


def test_a_report_of_pictures_still_opens_with_its_verdict(sample: Report) -> None:
    assert "finescan report" in render(Report("t", Answer("better", "s")))
