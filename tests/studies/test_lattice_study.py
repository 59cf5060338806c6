"""The lattice study from recording to page, with few lists of zoom levels and networks of a few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finescan import studies
from finescan.errors import InputError
from finescan.studies import lattice_data as data
from finescan.studies.lattice import LatticeResults
from finescan.studies.lattice_page import aim_rows, table_3, text_table
from finescan.trust.zoom_curves import ZoomCurve

PIECES = {"stem": data.Pieces((100.0, 400.0), 1, 128), "stm": data.Pieces((200.0,), 1, 64)}
TINY = data.Size({"stem": 224, "stm": 224}, {"stem": 1, "stm": 1}, {"stem": 2, "stm": 2}, 128, PIECES, steps=2)


@pytest.fixture(scope="module")
def tiny() -> None:
    kinds, data.SIZES["tiny"] = data.KINDS, TINY
    stem = {data.MAIN: "stem-single-scale", data.ORACLE: "stem-oracle"}
    lists = {"stem": stem, "stm": {data.MAIN: "stm-single-scale"}}
    narrow = {"stm": (10.0, 5.0), "stem": (5.0, 20.0)}
    data.KINDS = {n: replace(k, lists=lists[n], coarse=narrow[n][0], fine=narrow[n][1]) for n, k in kinds.items()}
    yield
    data.KINDS = kinds
    del data.SIZES["tiny"]


@pytest.fixture(scope="module")
def folder(once, tiny) -> Path:
    return once("lattice-study", lambda f: studies.study_lattice(f / "s", size="tiny", device="cpu")) / "s"


@pytest.fixture(scope="module")
def results(folder) -> LatticeResults:
    return studies.run_lattice(folder, studies.LatticeStudy("tiny", device="cpu"))


def test_every_method_is_judged_at_every_level(results) -> None:
    stem, stm = results.curves["stem"], results.curves["stm"]
    assert stem.percent == (100.0, 400.0) and stm.percent == (100.0, 200.0)
    assert list(stem.values) == ["bicubic", data.MAIN, data.OURS, "oracle"]
    assert np.isfinite([v for row in stem.scores.values() for m in row.values() for v in m]).all()
    assert results.published["stem"].kernel == "published" and len(results.published["stem"].percent) == 4


def test_columns_of_the_enhanced_picture_are_compared_with_the_truth(results) -> None:
    found = results.lattices["stem"]
    recorded, bicubic = found["recorded"]["columns"], found["bicubic"]["columns"]
    assert bicubic["same"] >= 5 and 0 < bicubic["displacement_pm"]["median"] < 40
    assert recorded["compared"]["reference"] > 5 and "periods" in found["finescan"]


def test_pieces_are_found_in_pictures_recorded_apart_or_it_is_said_why_not(folder, results) -> None:
    stem, stm = results.physical["stem"], results.physical["stm"]
    assert stem.curve is None and "Pieces of at least 48 px are matched, but a level of 56 x 56" in stem.why_not
    assert stem.own["published"].found == (1,)
    assert stm.curve.found == (1,) and list(stm.curve.curve.values) == ["bicubic", data.MAIN, data.OURS]
    one = stm.curve.placed[0][0]
    assert one.scales["bicubic"] == pytest.approx(stm.true_fit[0], abs=0.02)  # drift that is not linear bends the field
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Figure 8" in page and "Pieces placed: 1 of 1 at 200 %" in page and stem.why_not in page
    written = (folder / "figures" / "placed-stm.csv").read_text(encoding="utf-8").splitlines()
    assert len(written) == 2 and "recorded apart" in text_table(results)


def test_the_page_holds_the_papers_figures_and_numbers(folder, results) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("Figure 1", "Figure 5", "Figure 7", "Table 3", "22.15", "oracle, learned from fine pictures"):
        assert words in page
    assert (folder / "figures" / "curve-stem-psnr.svg").exists() and (folder / "figures" / "table-3.csv").exists()
    assert "finescan" in text_table(results) and "columns" in page


def test_aims_are_met_only_where_every_level_is() -> None:
    def curve(ours: tuple[float, ...]) -> ZoomCurve:
        def row(values: tuple[float, ...]) -> dict:
            return {m: tuple((v,) for v in values) for m in ("psnr", "ms_ssim")}

        values = {"bicubic": row((1.0,) * 5), data.MAIN: row((1.0,) * 5), data.OURS: row(ours)}
        return ZoomCurve((0.25, 0.5, 0.75, 0.9, 1.0), 4, values)

    assert {row[-1] for row in aim_rows(curve((2, 2, 2, 2, 2)))} == {"yes"}
    missed = [row[0] for row in aim_rows(curve((2, 2, 2, 2, 0.5))) if row[-1] == "no"]
    assert set(missed) == {"never below it to 400 %", "above the paper's main list at 400 %"}
    assert any(row[-1] == "no" and "360" in row[0] for row in aim_rows(curve((2, 0.9, 2, 2, 2))))


def test_table_3_stands_beside_the_papers(results) -> None:
    table = table_3(results.curves["stem"], "t", "t")
    cells = dict(zip([c.name for c in table.columns], table.rows[0], strict=True))
    assert cells["PSNR at 400 %, paper"] == 22.15 and cells["MS-SSIM at 200 %, paper"] == 0.8021


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(InputError, match=r"A lattice study is quick, medium, full.*, but 'huge' came"):
        studies.LatticeStudy("huge")
