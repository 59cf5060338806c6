"""Chapters about sizes of objects and about scores tile by tile: every number is where a reader looks for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.quantification import SizeComparison, SizeSample, size_classes
from finescan.reporting import (
    Answer,
    Figure,
    Report,
    Sample,
    Table,
    histogram_panels,
    render,
    size_chapter,
    tile_chapter,
)
from finescan.reporting.sizes import class_names
from finescan.trust import TileScores

RNG = np.random.default_rng(0)


def comparison(area="held-out blocks", n=40, reference=True):
    """Coarse with fewer and larger objects than fine, diameters in nm."""
    fine = RNG.uniform(50, 500, n)
    samples = [
        SizeSample("coarse", np.sort(fine)[n // 2 :], 0.07, 0.01, 8, 9000, *((15, 25, 3) if reference else ())),
        SizeSample("fine", fine, 0.1, 0.02, 8, 9000, reference=reference),
    ]
    return SizeComparison(area, tuple(samples), size_classes(100.0), "fine" if reference else "coarse")


def cells(table: Table, row: str) -> dict[str, object]:
    values = next(r for r in table.rows if r[0] == row)
    return {c.name: v for c, v in zip(table.columns, values, strict=True)}


def test_the_table_holds_counts_shares_distances_and_classes():
    c = comparison()
    table = next(p for p in size_chapter([c], title="Sizes").parts if isinstance(p, Table))
    coarse, fine = cells(table, "coarse"), cells(table, "fine")
    assert table.title == "Held-out blocks" and "8 blocks" in table.caption
    assert (coarse["objects"], fine["objects"]) == (20, 40)
    assert coarse["share of area"].mean == pytest.approx(7) and coarse["share of area"].standard_error == pytest.approx(
        1
    )
    assert coarse["KS distance to fine"] == pytest.approx(0.5) and fine["KS distance to fine"] is None
    assert coarse["found"] == pytest.approx(100 * 15 / 40) and coarse["invented"] == pytest.approx(15)
    names = ["below 100 nm", "100–200 nm", "200–400 nm", "400–800 nm", "from 800 nm"]
    assert [fine[n] for n in names] == c.sample("fine").per_class(c.edges_nm).tolist()


def test_lengths_come_in_a_unit_that_suits_them():
    c = comparison()
    big = [SizeSample(s.name, 1000 * s.diameters_nm, 0.1, reference=s.reference) for s in c.samples]
    table = size_chapter([SizeComparison("a", tuple(big), size_classes(1e5), "fine")], title="S").parts[1]
    assert "100–200 µm" in [col.name for col in table.columns]
    assert cells(table, "fine")["median diameter"] == pytest.approx(c.sample("fine").median_nm)
    assert class_names(np.array([0, 0.1, 0.25, np.inf])) == ["below 0.1", "0.1–0.25", "from 0.25"]


def test_no_star_on_distances_because_lost_objects_do_not_show_in_them():
    heads = {c.name: c.better for c in size_chapter([comparison()], title="S").parts[1].columns}
    assert heads["KS distance to fine"] == "" and heads["found"] == "higher"


def test_without_a_reference_nothing_is_found_or_lost():
    table = size_chapter([comparison("whole map", reference=False)], title="S").parts[1]
    heads = {c.name: c.better for c in table.columns}
    assert "KS distance to coarse" in heads and "found" not in heads


def test_each_area_has_a_histogram_of_its_own_and_all_share_the_cumulative_figure():
    areas = [comparison(), comparison("whole map", 400, False)]
    figures = [p for p in size_chapter(areas, title="S", name="pores").parts if isinstance(p, Figure)]
    assert [f.name for f in figures] == ["pores-cumulative", "pores-histogram-held-out-blocks",
                                         "pores-histogram-whole-map"]  # fmt: skip
    counted = [sum(row[k] for row in f.tables[0].rows) for f in figures[1:] for k in (2, 3)]
    assert counted == [20, 40, 200, 400]
    curve = figures[0].tables[0].rows
    assert curve[-1][1:] == (100.0, 100.0) and all(a <= b for a, b in itertools.pairwise(curve))
    half = min(curve, key=lambda r: abs(r[0] - float(np.median(areas[0].sample("fine").diameters_nm))))
    assert half[2] == pytest.approx(50, abs=5)


def test_a_few_giants_go_into_the_last_bin_and_the_note_says_so():
    sizes = np.r_[RNG.uniform(50, 500, 1000), 30_000.0]
    c = SizeComparison("a", (SizeSample("fine", sizes, 0.1, reference=True),), size_classes(100.0), "fine")
    figure = size_chapter([c], title="S").parts[-1]
    assert "The last bin also holds what is larger (up to 30 µm)." in figure.note
    assert sum(row[2] for row in figure.tables[0].rows) == 1001 and len(figure.tables[0].rows) < 40


def test_areas_without_an_object_have_a_table_and_no_figure():
    nothing = SizeComparison("a", (SizeSample("fine", np.zeros(0), 0.0, reference=True),), size_classes(100.0), "fine")
    parts = size_chapter([nothing], title="S").parts
    assert cells(parts[1], "fine")["objects"] == 0 and cells(parts[1], "fine")["median diameter"] is None
    assert not [p for p in parts if isinstance(p, Figure)]
    with pytest.raises(InputError, match="at least one comparison"):
        size_chapter([], title="S")


def scores() -> TileScores:
    starts = np.stack([np.arange(30), np.zeros(30, int)], 1)
    values = {"enhanced": RNG.uniform(0.5, 0.9, 30), "bicubic": RNG.uniform(-0.1, 0.6, 30)}
    return TileScores("ssim", 48, starts, values)


def test_tiles_of_negative_similarity_are_in_the_histogram_too():
    s = scores()
    table, figure = tile_chapter(s, candidate="enhanced").parts
    assert sum(row[3] for row in figure.tables[0].rows) == 30
    assert figure.tables[0].rows[0][0] <= s.scores["bicubic"].min()
    row = cells(table, "bicubic")
    assert row["mean"] == pytest.approx(s.scores["bicubic"].mean())
    assert row["enhanced better"] == pytest.approx(100 * s.improved("enhanced", "bicubic"))
    assert cells(table, "enhanced")["enhanced better"] is None and "30 tiles of 48 × 48" in table.title


def test_values_below_the_first_bin_are_refused():
    with pytest.raises(InputError, match=r"begin at 0, but -0\.5 came\. Pass start="):
        histogram_panels("S", {"": [Sample("a", [-0.5, 1.0])]}, bin_width=0.1, x_label="x")


def test_both_chapters_stand_on_the_page_in_their_sections():
    page = render(
        Report(
            "map.tif",
            Answer("better", "Better."),
            measurements=(size_chapter([comparison()], title="Sizes of <dark> objects", words=("Why so.",)),),
            distributions=(tile_chapter(scores(), candidate="enhanced"),),
        )
    )
    at = [page.index(f'id="{n}"') for n in ("metrics", "measurements", "spectra")]
    assert at[0] < page.index("SSIM, tile by tile") < at[1] < page.index("Sizes of &lt;dark&gt; objects") < at[2]
    assert "Why so." in page and "one coarse pixel" in page
