"""Figures of studies against known answers: heights, places, counts, and the tables behind them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.reporting import (
    Column,
    PoreNumbers,
    Sample,
    Series,
    Table,
    box_plots,
    curve_panels,
    grouped_bars,
    histogram_panels,
    markdown,
    picture_grid,
    pore_chapter,
    pore_table,
)
from finescan.reporting.axes import _HATCHES, ALL_STYLES, bar, styles_of
from finescan.reporting.chapters import best_cells, cell_text, csv_rows, table_html
from finescan.reporting.report import Score


def _elements(svg: str, tag: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter(tag) if kind in e.get("class", "").split()]


def _bars(svg: str) -> list[tuple[float, float, str]]:
    """Height, foot and style of the bars of the plot (not of the legend)."""
    out = []
    for e in _elements(svg, "rect", "bar"):
        if e.find("title") is not None:
            y, height = float(e.get("y")), float(e.get("height"))
            out.append((height, y + height, e.get("class").split()[1]))
    return out


# ------------------------------------------------------------------ bars
def test_bars_are_as_high_as_their_values_and_stand_on_zero() -> None:
    figure = grouped_bars("t", ["a", "b"], {"DeepNet": [10.0, 20.0], "ours": [40.0, None]})
    bars = _bars(figure.svg)
    assert len(bars) == 3, "no bar without a value"
    heights = [h for h, _, _ in bars]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2) and heights[2] == pytest.approx(4 * heights[0], abs=0.2)
    assert len({round(foot, 1) for _, foot, _ in bars}) == 1
    assert [style for *_, style in bars] == ["s3", "s3", "s1"]


def test_bars_below_zero_hang_from_it() -> None:
    (up, foot, _), (down, bottom, _) = _bars(grouped_bars("t", ["a", "b"], {"x": [5.0, -5.0]}).svg)
    assert up == pytest.approx(down, abs=0.2) and bottom - down == pytest.approx(foot, abs=0.2)


def test_published_figures_stand_beside_ours_in_picture_and_table() -> None:
    figure = grouped_bars(
        "Recovery", ["3", "9"], {"DeepNet": [97.0, 88.0]}, x_label="σ", errors={"DeepNet": [1.0, 2.0]},
        marks={"DeepNet": [95.0, 85.0]}, marks_name="paper", better="higher",
    )  # fmt: skip
    assert len(_elements(figure.svg, "path", "mark")) == 3  # two and the legend's
    table = figure.tables[0]
    assert [c.name for c in table.columns] == ["σ", "DeepNet", "DeepNet, error", "DeepNet, paper"]
    assert table.rows == (("3", 97.0, 1.0, 95.0), ("9", 88.0, 2.0, 85.0))


def test_no_two_styles_of_bars_are_told_apart_by_colour_alone() -> None:
    assert len({_HATCHES.get(s) for s in ALL_STYLES}) == len(ALL_STYLES)
    for style in ALL_STYLES[1:]:
        numbers = re.findall(r"M([\d.]+) ([\d.]+)", bar(10, 20, 30, 40, style))
        assert numbers, style
        assert all(10 <= float(x) <= 40 and 20 <= float(y) <= 60 for x, y in numbers), "hatch leaves its bar"


def test_a_method_keeps_its_style_whatever_stands_beside_it() -> None:
    assert styles_of(["DeepNet", "x"])[0] == styles_of(["a", "ours", "deepnet"])[2] == "s3"
    assert len(set(styles_of(["ours", "enhanced", "best", "a"]))) == 4


# ------------------------------------------------------------------ histograms
def test_histograms_count_every_pore_in_bins_of_the_width() -> None:
    values = np.array([1.0, 4.9, 5.0, 12.0, np.nan])
    figure = histogram_panels(
        "Sizes", {"RL": [Sample("truth", values, "44.1 %", True), Sample("3", values[:2])]}, bin_width=5, x_label="d"
    )
    rows = figure.tables[0].rows
    assert rows == ((0.0, 5.0, 2, 2), (5.0, 10.0, 1, 0), (10.0, 15.0, 1, 0))
    assert "truth: 44.1 %" in figure.svg
    assert len(_elements(figure.svg, "path", "fill")) == 1, "only the reference is filled"


def test_panels_share_their_axes() -> None:
    big, small = Sample("a", np.full(100, 3.0)), Sample("a", np.full(10, 3.0))
    figure = histogram_panels("t", {"one": [big], "two": [small]}, bin_width=5, x_label="d")
    tops = []
    for e in _elements(figure.svg, "path", "curve"):
        ys = [float(y) for _, y in re.findall(r"[ML]?([\d.]+) ([\d.]+)", e.get("d"))] if "h" not in e.get("d") else []
        if ys:
            tops.append(max(ys) - min(ys))
    assert tops[0] == pytest.approx(10 * tops[1], rel=0.02)


# ------------------------------------------------------------------ boxes
def test_boxes_show_quartiles_mean_and_deviation() -> None:
    values = np.linspace(0.0, 1.0, 101)
    figure = box_plots("S", {"RL": [Sample("3", values)]}, y_label="sphericity", limits=(0.0, 1.0))
    (box,) = _elements(figure.svg, "rect", "box")
    axis = 210.0
    assert float(box.get("height")) == pytest.approx(0.5 * axis, abs=0.2)
    head = figure.tables[0]
    row = dict(zip([c.name for c in head.columns], head.rows[0], strict=True))
    assert row["values"] == 101 and row["mean"] == pytest.approx(0.5)
    assert row["standard deviation"] == pytest.approx(values.std(ddof=1)) and row["lower quartile"] == 0.25


def test_points_are_thinned_the_same_way_every_time_and_stay_in_range() -> None:
    values = np.random.default_rng(0).normal(0.9, 0.05, 5000)
    draw = lambda: box_plots("S", {"": [Sample("3", values)]}, y_label="s", points=100, limits=(0.8, 1.0))  # noqa: E731
    figure = draw()
    points = [float(e.get("cy")) for e in _elements(figure.svg, "circle", "point")]
    assert 60 <= len(points) <= 100 and figure.svg == draw().svg
    assert figure.tables[0].rows[0][1] == 5000, "the numbers are of all values"


@pytest.mark.parametrize("values", [[], [0.5], [np.nan, np.nan]])
def test_few_or_no_values_still_give_a_box(values: list[float]) -> None:
    svg = box_plots("S", {"": [Sample("3", values)]}, y_label="s").svg
    ElementTree.fromstring(svg)
    assert "nan" not in svg and ("no value" in svg) == (np.isfinite(values).sum() == 0)


# ------------------------------------------------------------------ curves
def test_the_lowest_point_of_each_curve_is_marked_and_listed() -> None:
    x = np.linspace(0, 10, 41)
    figure = curve_panels(
        "Fit",
        {"9": [Series("RL", x, (x - 6) ** 2 + 1), Series("ours", x, (x - 2.25) ** 2)]},
        x_label="σ",
        y_label="MSE",
    )
    assert figure.tables[0].rows == (("RL", 6.0, 1.0), ("ours", 2.25, 0.0))
    dots = [float(e.get("cx")) for e in _elements(figure.svg, "circle", "dot")]
    lowest = []
    for e in _elements(figure.svg, "path", "curve"):
        points = re.findall(r"[ML]([\d.]+) ([\d.]+)", e.get("d"))
        if len(points) == 41:
            lowest.append(float(max(points, key=lambda p: float(p[1]))[0]))
    assert dots == lowest
    assert figure.tables[1].rows[0][:2] == (0.0, 37.0)


# ------------------------------------------------------------------ pictures
def test_pictures_stand_in_rows_and_columns_with_one_window() -> None:
    a, b = np.zeros((20, 30)), np.full((20, 30), 100.0)
    figure = picture_grid(
        "Slices", {"RL": [a, None], "ours": [b, a]}, ["3", "9"], pixel_size_nm=1000.0, window=(0, 200)
    )
    images = list(ElementTree.fromstring(figure.svg).iter("image"))
    places = [(float(e.get("x")), float(e.get("y"))) for e in images[:3]]
    assert places[0][0] == places[1][0] < places[2][0] and places[0][1] < places[1][1] == places[2][1]
    assert len(_elements(figure.svg, "rect", "cell")) == 1, "an empty place is framed"
    assert float(images[0].get("height")) == pytest.approx(float(images[0].get("width")) * 2 / 3, abs=0.1)
    assert re.search(r">\d+ µm<", figure.svg)


def test_a_map_with_labels_has_them_as_its_numbers() -> None:
    maps = {"RL": [np.eye(8)]}
    figure = picture_grid("M", maps, ["3"], window=(0, 1), colours="cividis_r", labels={"RL": ["0.93"]})
    assert figure.tables[0].rows == (("RL", "0.93"),)
    assert "0.93" in figure.svg


def test_big_pictures_are_shrunk() -> None:
    noise = np.random.default_rng(0).normal(size=(1000, 1000))
    assert len(picture_grid("t", {"a": [noise]}, ["x"], max_px=100).svg) < 2e4


# ------------------------------------------------------------------ tables
def _table() -> Table:
    columns = (Column("σ"), Column("method"), Column("PSNR", "dB", "higher"), Column("MSE", "", "lower"))
    rows = (
        ("3", "RL", Score(20.0, 0.1), 0.01),
        ("3", "ours", Score(25.0, 0.1), 0.003),
        ("9", "RL", Score(15.0, 0.1), None),
    )
    return Table("Quality", columns, rows, "All.", "σ")


def test_the_best_is_marked_group_by_group() -> None:
    assert best_cells(_table()) == {(1, 2), (1, 3)}
    html = table_html(_table())
    assert "★ 25.00 ± 0.10" in html and html.count("★") == 3 and "best per σ" in html


def test_tables_go_to_other_programs() -> None:
    head, *rows = csv_rows(_table())
    assert head == ["σ", "method", "PSNR (dB)", "PSNR (dB), standard error", "MSE"]
    assert rows[2] == ["9", "RL", 15.0, 0.1, None]
    lines = markdown(_table()).splitlines()
    assert lines[0] == "| σ | method | PSNR (dB) ↑ | MSE ↓ |" and lines[1] == "| :-- | --: | --: | --: |"
    assert lines[3] == "| 3 | ours | **25.00 ± 0.10** | **0.003000** |" and lines[-1] == "All."


def test_columns_that_were_rounded_are_not_padded() -> None:
    rows = (("a", 0.6, 2.0, 20.703), ("b", 4.0, 3.0, 1.5), ("c", None, 12.0, 0.25))
    table = Table("T", tuple(Column(n) for n in "nuvw"), rows)
    assert [line.split(" | ")[1:] for line in markdown(table).splitlines()[2:5]] == [
        ["0.6", "2", "20.70 |"],
        ["4.0", "3", "1.500 |"],
        ["–", "12", "0.2500 |"],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (7, "7"),
        (-0.5, "−0.5000"),
        (12345.6, "12346"),
        ("a", "a"),
        (float("inf"), "inf"),
    ],
)
def test_cells_are_short(value, text: str) -> None:
    assert cell_text(value) == text


# ------------------------------------------------------------------ pores
def _pores() -> tuple[PoreNumbers, PoreNumbers]:
    truth = PoreNumbers("reference", np.full(100, 2e4), np.full(100, 0.99), 0.40, reference=True)
    coarse = PoreNumbers(
        "coarse", np.full(80, 2.2e4), np.r_[np.full(79, 0.90), np.nan], 0.44, 75, 20, 4, merged=3, split=2
    )
    return coarse, truth


def test_the_pore_table_compares_with_the_reference() -> None:
    table = pore_table("Pores", _pores())
    rows = [dict(zip([f"{c.name} {c.unit}".strip() for c in table.columns], r, strict=True)) for r in table.rows]
    assert rows[0]["pores"] == 80 and rows[0]["found %"] == 75.0 and rows[0]["invented %"] == 5.0
    assert rows[0]["porosity error %"] == pytest.approx(10.0)
    assert rows[0]["sphericity error %"] == pytest.approx(100 * (0.90 / 0.99 - 1))
    assert rows[0]["mean diameter µm"] == pytest.approx(22.0)
    assert rows[1]["found %"] is None and rows[1]["porosity error %"] is None


def test_a_chapter_about_pores_holds_table_and_distributions() -> None:
    chapter = pore_chapter(_pores(), sentence="Words.", bin_width_nm=5000.0)
    words, table, sizes, shapes = chapter.parts
    assert words == "Words." and len(table.rows) == 2
    assert sizes.tables[0].rows[4][:4] == (20.0, 25.0, 80, 100)
    assert shapes.tables[0].rows[0][1] == 79, "a pore without a shape has none"
    assert "porosity 44.0 %, 80 pores" in sizes.svg


def test_no_pores_at_all_are_still_a_chapter() -> None:
    chapter = pore_chapter([PoreNumbers("coarse", [], [], 0.0), PoreNumbers("reference", [], [], 0.0, reference=True)])
    for figure in chapter.parts[1:]:
        ElementTree.fromstring(figure.svg)


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: grouped_bars("t", ["a"], {"x": [1.0, 2.0]}), "'x' has 2 values for 1 groups of 't'"),
        (lambda: grouped_bars("t", [], {}), "needs? at least one group and one name"),
        (lambda: histogram_panels("t", {}, bin_width=1, x_label="x"), "'t' needs at least one panel"),
        (lambda: picture_grid("t", {"a": [np.zeros((2, 2))]}, ["x", "y"]), "'a' has 1 pictures for 2 columns of 't'"),
        (lambda: picture_grid("t", {"a": [None]}, ["x"]), "at least one row, one column and one picture"),
        (lambda: Table("t", (Column("a"),), (("r", 1),)), "'r' has 2 cells for 1 columns of 't'"),
        (lambda: Table("t", (Column("a"),), (), best_within="b"), "'t' has no column 'b' to find the best within"),
        (lambda: pore_chapter([]), "at least one volume and at most one reference"),
    ],
)
def test_wrong_values_are_refused_with_words(make, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()
