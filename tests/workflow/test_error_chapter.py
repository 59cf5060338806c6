"""Maps of errors and of resolution in a run: in its report, in trust.json, in what is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from finescan import io, workflow
from finescan.errors import OutputError
from finescan.trust import Consistency
from finescan.trust.local_judgement import UsefulPixel, judge_locally, local_facts
from finescan.trust.local_windows import Windows
from finescan.values import Grid, Image
from finescan.workflow.held_out_maps import map_held_out
from finescan.workflow.page_errors import chapter
from finescan.workflow.place_maps import HeldOutMaps, summary_lines
from finescan.workflow.place_pictures import painted

FACTOR, SIDE = 4, 40  # coarse pixels


class Piece:
    """A fine scan over a whole coarse map; its left half is held out."""

    def __init__(self, fine: np.ndarray, grid: Grid, held: slice) -> None:
        self.hr, self.out_grid, self.factor, self.name = fine.astype(np.float32), grid, FACTOR, "fine"
        self.lr = fine.reshape(SIDE, FACTOR, SIDE, FACTOR).mean((1, 3)).astype(np.float32)
        self.test = np.zeros(fine.shape, bool)
        self.test[:, held] = True

    def role_fine(self, role: str) -> np.ndarray:
        assert role == "test"
        return self.test


class Repeats:
    """Interpolates with nothing but its pixels."""

    def predict(self, block: np.ndarray) -> np.ndarray:
        return block.repeat(FACTOR, axis=0).repeat(FACTOR, axis=1)


def scene(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE * FACTOR,) * 2), 1.5)
    return 120 + 40 * np.sign(out) + rng.normal(0, 2, out.shape)


def measured(fine: np.ndarray, enhanced: np.ndarray, held: slice = slice(0, 96)) -> HeldOutMaps:
    grid = Grid.of(fine.shape, 10.0)
    piece = Piece(fine, grid, held)
    patches = SimpleNamespace(pieces=[piece], hr_grey=SimpleNamespace(low=60.0, high=180.0), out_grid=grid)
    lr = Image(piece.lr, grid.coarsen(FACTOR), "coarse")
    check = Consistency(0.3, 1.0, 0.0, 2.0, 4.0, 0.9)
    return map_held_out(patches, lr, Repeats(), Image(enhanced.astype(np.float32), grid, "enhanced"), check)


@pytest.fixture(scope="module")
def found() -> HeldOutMaps:
    fine = scene()
    enhanced = ndimage.gaussian_filter(fine, 2.5) + np.random.default_rng(1).normal(0, 2, fine.shape)
    enhanced[60:80, 40:44] += 90  # invented
    return measured(fine, enhanced)


def html(parts) -> str:
    return " ".join(p if isinstance(p, str) else f"{p.title} {p.svg} {p.note}" for p in parts)


def test_what_was_invented_is_seen_in_the_held_out_half_and_only_that_half_is_judged(found):
    place = found.places[0]
    assert place.grid.shape == (160, 96) and place.errors.invention.shape == (40, 24)
    assert place.errors.invention[15:20, 10].min() > 1.5 and np.median(place.errors.invention) < 0.5
    assert np.isfinite(place.errors.consistency).mean() > 0.9
    facts = found.facts()
    assert facts["error_maps"]["invention"]["share_above_1"] == pytest.approx(
        np.mean(place.errors.invention > 1), abs=1e-6
    )
    row = facts["local_resolution"]["images"]["enhanced"]
    assert row["blur_sigma_nm"]["median"] == pytest.approx(25.0, rel=0.1)
    assert facts["local_resolution"]["window_px"] in (32, 48, 64)
    json.dumps(facts, allow_nan=False)


def test_pixels_that_show_nothing_more_are_a_note_that_the_chapter_does_not_repeat(found):
    (note,) = found.notes
    assert note.startswith("The map has pixels of 10 nm but holds detail down to")
    facts = {**found.facts(), "notes": [note]}
    (made,) = chapter(found, facts)
    assert note not in made.parts[0]
    sharp = replace(found, useful=UsefulPixel(22.0, 20.0, 10.0, 40.0, "0.5"))
    assert not sharp.notes
    assert sharp.useful.sentence() in chapter(sharp, {**sharp.facts(), "notes": []})[0].parts[0]


def test_every_map_has_a_colour_bar_a_unit_and_what_to_read_from_it(found):
    (made,) = chapter(found, {**found.facts(), "notes": []})
    titles = [p.title for p in made.parts if not isinstance(p, str)]
    assert titles == [
        "Kinds of error",
        "The held-out place",
        "Blur: full width",
        "Detail: shortest period in common",
        "Likeness: MS-SSIM",
    ]
    words = html(made.parts)
    for kind in ("consistency", "omission", "invention"):
        assert f">{kind}</text>" in words
    assert "times the limit" in words and "ring correlation 0.5" in words
    median = found.facts()["local_resolution"]["images"]["enhanced"]["blur_fwhm_nm"]["median"]
    assert f"enhanced, median {median:.3g} nm" in words
    table = next(p for p in made.parts if not isinstance(p, str) and p.title.startswith("Blur")).tables[0]
    assert [r[0] for r in table.rows] == ["enhanced", "bicubic"] and table.rows[0][1] == pytest.approx(median)


def test_where_no_window_fits_the_errors_stay_and_the_reason_is_given():
    fine = scene(3)
    found = measured(fine, ndimage.gaussian_filter(fine, 2.0), slice(0, 28))
    facts = {**found.facts(), "notes": []}
    assert found.useful is None and facts["local_resolution"]["windows"] == 0 and not found.notes
    (made,) = chapter(found, facts)
    assert "No window of 32 px fits" in made.parts[-1] and "Kinds of error" in html(made.parts)
    assert all("windows" not in line for line in summary_lines(facts))


def test_where_both_scans_show_different_things_nothing_is_said_of_consistency():
    fine = scene(4)
    grid = Grid.of(fine.shape, 10.0)
    piece = Piece(fine, grid, slice(0, 96))
    patches = SimpleNamespace(pieces=[piece], hr_grey=SimpleNamespace(low=60.0, high=180.0), out_grid=grid)
    check = Consistency(0.3, 1.0, 0.0, 2.0, 4.0, 0.2)
    lr = Image(piece.lr, grid.coarsen(FACTOR), "coarse")
    found = map_held_out(patches, lr, Repeats(), Image(piece.hr, grid, "e"), check)
    facts = {**found.facts(), "notes": []}
    assert facts["error_maps"]["consistency"] is None and facts["error_maps"]["omission"] is not None
    assert "Consistency says nothing here" in html(chapter(found, facts)[0].parts)


def test_windows_are_painted_around_their_middles():
    known = np.ones((128, 128), bool)
    windows = Windows.of(known, 64)
    out = painted(np.arange(25.0).reshape(5, 5).astype(np.float32), windows.laid)
    assert out.shape == (16, 16)  # of half a step, 8 px
    assert np.isnan(out[:3]).all() and np.isnan(out[13:]).all() and np.isnan(out[:, :3]).all()
    assert out[3, 3] == 0 and out[4, 4] == 0 and out[12, 12] == 24 and out[5, 3] == 5
    middle = windows.laid.grid(Grid.of(known.shape, 1.0)).to_nm([0, 0])
    assert np.allclose(middle, (4 * 8 - 0.5,) * 2)  # the border between the two half steps it is painted on


# ---------------------------------------------------------------------------------------- a real run
def test_a_run_states_its_maps_in_its_facts_and_on_its_page(finished):
    facts = json.loads((finished / "trust.json").read_text())
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert set(facts["error_maps"]) == {"consistency", "omission", "invention"}
    assert "Errors and resolution, place by place" in page and ">invention</text>" in page
    local = facts["local_resolution"]
    if local["windows"]:
        assert local["useful_pixel"]["sentence"] in page
    else:
        assert local["reason"] in page


def test_the_summary_has_medians_and_shares(found):
    places, errors = summary_lines(found.facts())
    assert places.startswith("places: medians of ") and "bicubic" in places
    assert errors.startswith("errors beyond the ordinary limit: consistency ")
    assert summary_lines({}) == []  # a run of volumes has neither


def test_nothing_at_all_is_known_of_two_pictures_without_anything_in_common():
    rng = np.random.default_rng(0)
    one, other = (rng.normal(100, 10, (128, 128)) for _ in range(2))
    local = judge_locally({"e": one}, other, np.ones(one.shape, bool), Grid.of(one.shape, 10.0), data_range=60.0)
    row = local_facts([local])["images"]["e"]
    assert row["blur_fwhm_nm"]["median"] is None and row["blur_fwhm_nm"]["unread_share"] == 1.0
    assert row["frc_nm"]["unread_share"] > 0.9


# ---------------------------------------------------------------------------------------- results of other programs
def test_evaluate_writes_the_maps_of_any_result(tmp_path):
    fine = scene(6)
    grid = Grid.of(fine.shape, 10.0)
    result = ndimage.gaussian_filter(fine, 2.5) + np.random.default_rng(2).normal(0, 2, fine.shape)
    coarse = fine.reshape(SIDE, FACTOR, SIDE, FACTOR).mean((1, 3))
    for name, values, where in (("result", result, grid), ("fine", fine, grid), ("coarse", coarse, grid.coarsen(4))):
        io.write(tmp_path / f"{name}.tif", Image(values.astype(np.float32), where, name))
    judged = workflow.evaluate_files(
        tmp_path / "result.tif", tmp_path / "fine.tif", coarse=tmp_path / "coarse.tif", maps=tmp_path / "maps"
    )
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == sorted(judged.facts["maps"])
    blur = io.read(tmp_path / "maps" / "blur_fwhm_nm.tif")
    assert blur.grid.pixel_size_nm == (160.0, 160.0)
    row = judged.facts["local_resolution"]["images"]["result"]["blur_fwhm_nm"]
    assert np.nanmedian(blur.array()) == pytest.approx(row["median"]) == pytest.approx(2.355 * 25, rel=0.1)
    assert io.read(tmp_path / "maps" / "omission.tif").grid.shape == (SIDE, SIDE)
    assert "The map has pixels of 10 nm but holds detail down to" in str(judged)
    assert "(ring correlation 0.5 with the reference)" in str(judged)
    with pytest.raises(OutputError, match="is not empty"):
        workflow.evaluate_files(tmp_path / "result.tif", tmp_path / "fine.tif", maps=tmp_path / "maps")
    alone = workflow.evaluate_files(tmp_path / "result.tif", tmp_path / "fine.tif", maps=tmp_path / "alone")
    assert alone.facts["maps"] == ["blur_fwhm_nm.tif", "frc_nm.tif", "ms_ssim.tif"]
    assert alone.facts["error_maps"]["omission"] is None  # a coarse scan tells what an ordinary error is
