"""The foam study: known answers for known methods, one configuration per folder, and a page with all figures."""

from __future__ import annotations

import csv
import errno
import json

import numpy as np
import pytest

from finescan import studies
from finescan.errors import InputError, OutputError
from finescan.simulation.foam_scans import plan_foam
from finescan.studies.foam import FoamStudy, run_foam, study_foam
from finescan.studies.foam_methods import METHODS

SMALL = FoamStudy(48, (3.0,), ("richardson-lucy", "volume"), minutes=0.01)


def perfect(store, sigma, scans, name, study):
    return scans[name]["truth"].data


def unchanged(store, sigma, scans, name, study):
    return scans[name][f"lres {sigma:g}"].data


def grey(store, sigma, scans, name, study):
    return np.where(np.isnan(scans[name]["truth"].data), np.float32(np.nan), np.float32(0.5))


def forbidden(store, sigma, scans, name, study):
    raise AssertionError("computed again")


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def studied(tmp_path_factory, patch):
    """A study with true Richardson-Lucy and a perfect "network"; its folder and results."""
    folder = tmp_path_factory.mktemp("foam")
    with patch.context() as inner:
        inner.setitem(METHODS, "volume", perfect)
        return folder, run_foam(folder, SMALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory, patch):
    """A complete study with one method of every kind; its folder and results."""
    folder = tmp_path_factory.mktemp("page")
    made = {"richardson-lucy": unchanged, "srcnn3d": unchanged, "deepnet": grey, "volume": perfect}
    with patch.context() as inner:
        for name, method in made.items():
            inner.setitem(METHODS, name, method)
        return folder, study_foam(folder, size=48, sigmas=(3, 9), minutes=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 16}, "32 to 2048 voxels along an edge, but 16"),
        ({"sigmas": ()}, "blurs above 0"),
        ({"sigmas": (3.0, -1.0)}, r"blurs above 0 detector pixels, but \(3.0, -1.0\)"),
        ({"methods": ("unet",)}, "one of richardson-lucy, srcnn3d, deepnet, volume, but 'unet'"),
        ({"minutes": 0.0}, "some time, but 0 minutes"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_sentence(options, words):
    with pytest.raises(InputError, match=words):
        FoamStudy(**options)


def test_larger_foams_train_longer_and_quick_ones_shorter():
    budgets = [FoamStudy(size).budget for size in (48, 128, 256, 512)]
    assert budgets == sorted(budgets) and len(set(budgets)) == 4
    assert FoamStudy(128, quick=True).budget < FoamStudy(128).budget
    assert FoamStudy(128, quick=True, minutes=2.0).budget == 2.0


def test_a_perfect_method_finds_every_pore_and_invents_none(studied):
    _, results = studied
    row, truth = results.row("alternate", "volume", 3), results.truth["alternate"]
    assert row["matching"]["recovery"] == 1.0 and row["matching"]["invented_share"] == 0.0
    assert row["matching_spheres"]["recovery"] == 1.0 and row["matching_spheres"]["invented_share"] == 0.0
    assert row["pores"]["porosity"] == truth["porosity"] and row["pores"]["sphericity"] == truth["sphericity"]
    assert row["scores"]["ssim"] == pytest.approx(1.0) and row["scores"]["mse"] == pytest.approx(0.0, abs=1e-9)
    assert row["blur"]["sigma"] < 0.3


def test_richardson_lucy_comes_between_the_recorded_and_the_true_volume(studied):
    _, results = studied
    rows = [results.row("alternate", method, 3) for method in ("recorded", "richardson-lucy", "volume")]
    for figure in ("psnr", "ssim", "ms_ssim"):
        values = [row["scores"][figure] for row in rows]
        assert values == sorted(values) and len(set(values)) == 3
    recorded, restored, _ = (row["blur"]["sigma"] for row in rows)
    assert recorded == pytest.approx(3.0, abs=0.3)  # the blur that was simulated, found again
    assert restored < recorded - 0.5


def test_the_true_pores_are_the_spheres_that_lie_whole_in_the_volume(studied):
    _, results = studied
    for name, seed in (("training", 0), ("alternate", 1)):
        foam, truth = plan_foam(48, seed=seed), results.truth[name]
        whole = 2 * foam.whole.radius_nm / foam.grid.pixel_size_nm[0]
        assert truth["count"] == pytest.approx(len(whole), abs=1)
        found, known = np.sort(truth["diameters"]), np.sort(whole)
        assert np.median(found) == pytest.approx(np.median(known), rel=0.05)
        assert found[-1] == pytest.approx(known[-1], rel=0.05)
        assert truth["sphericity"] > 0.97
    assert results.truth["training"]["diameters"] != results.truth["alternate"]["diameters"]


def test_a_second_call_computes_nothing_and_finds_the_same(studied, monkeypatch):
    folder, results = studied
    from finescan.studies import foam

    for name in METHODS:
        monkeypatch.setitem(METHODS, name, forbidden)
    for name in ("record_foam", "true_foam", "judged", "count_pores"):
        monkeypatch.setattr(foam, name, forbidden)
    again = run_foam(folder, SMALL)
    assert again.rows == results.rows and again.truth == results.truth


def test_a_stopped_study_goes_on_where_it_was(studied, tmp_path, monkeypatch):
    """Stopped before the last method: what is on disk is not made again, and the figures are those of one go."""
    _, results = studied

    def stops(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(METHODS, "richardson-lucy", unchanged)
    monkeypatch.setitem(METHODS, "volume", stops)
    with pytest.raises(KeyboardInterrupt):
        run_foam(tmp_path, SMALL)
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.setitem(METHODS, "richardson-lucy", forbidden)
    monkeypatch.setitem(METHODS, "volume", perfect)
    again = run_foam(tmp_path, SMALL)
    assert again.row("alternate", "volume", 3) == results.row("alternate", "volume", 3)
    assert again.row("alternate", "recorded", 3) == results.row("alternate", "recorded", 3)


def test_another_configuration_or_foreign_files_are_left_alone(studied, tmp_path):
    folder, _ = studied
    held = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match="something else than this study with these settings"):
        run_foam(folder, FoamStudy(48, (3.0,), SMALL.methods, minutes=0.02))
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == held
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(OutputError, match="Choose another folder with -o"):
        run_foam(tmp_path, SMALL)


def test_places_that_cannot_be_written_and_full_disks_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be written to"):
            run_foam(out, SMALL)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OutputError, match=r"training-truth\.npy could not be written: the disk is full"):
        run_foam(tmp_path / "out", SMALL)
    assert not list(tmp_path.rglob("*.partial"))


def test_overwriting_drops_the_volumes_of_the_other_configuration(tmp_path, monkeypatch):
    for name in ("volumes", "results", "models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "alternate-truth.npy").write_text("of another size")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    from finescan.studies.store import StudyFolder

    StudyFolder(tmp_path, {"size": 48}, overwrite=True)
    left = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["config.json", "notes.txt"]


def test_a_method_that_gives_one_grey_level_finds_nothing_and_does_not_end_the_study(page):
    _, results = page
    row = results.row("alternate", "deepnet", 3)
    assert row["matching"]["recovery"] == 0.0 and row["pores"]["count"] == 0
    assert row["matching"]["invented_share"] is None and row["pores"]["sphericity"] is None


def test_a_failed_deconvolution_is_a_row_as_well(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "richardson-lucy", grey)
    results = run_foam(tmp_path, FoamStudy(48, (3.0,), ("richardson-lucy",), minutes=0.01))
    assert results.row("alternate", "richardson-lucy", 3)["matching"]["recovery"] == 0.0


def test_a_row_that_was_not_computed_is_said_to_be_missing(studied):
    with pytest.raises(InputError, match="holds no deepnet at 3 on the alternate foam"):
        studied[1].row("alternate", "deepnet", 3)


def test_the_page_holds_all_figures_of_the_paper_and_the_table(page):
    folder, _ = page
    text = (folder / "report.html").read_text()
    assert "</html>" in text
    for number in range(2, 10):
        assert f"(paper&#x27;s Figure {number})" in text or f"(paper's Figure {number})" in text, number
    for words in ("Pores of the alternate foam", "Richardson-Lucy", "SRCNN", "DeepNet", "finescan", "over 95 %"):
        assert words in text
    assert ">nan<" not in text and ">inf<" not in text


def test_figures_and_tables_are_files_as_well(page):
    folder, results = page
    names = {p.name for p in (folder / "figures").iterdir()}
    stems = {n.split(".")[0] for n in names if n.endswith(".svg")}
    for number in range(2, 10):
        assert any(stem.startswith(f"figure-{number}-") for stem in stems), number
    with (folder / "figures" / "pores.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert len(rows) == 5 * 2 and all(len(row) == len(head) for row in rows)
    by_key = {(row[0], row[1]): row for row in rows}
    assert float(by_key["finescan", "9"][2]) == 100.0 and float(by_key["DeepNet", "3"][2]) == 0.0
    recovered = 100 * results.row("alternate", "recorded", 3)["matching"]["recovery"]
    assert float(by_key["unprocessed", "3"][2]) == pytest.approx(recovered, rel=1e-3)
    config = json.loads((folder / "config.json").read_text())
    assert config["sigmas"] == [3.0, 9.0] and config["size"] == 48


def test_the_table_for_a_terminal_has_a_line_per_method_and_blur(page):
    _, results = page
    head, *lines = studies.text_table(results).splitlines()
    assert [line[:16].strip() for line in lines[::2]] == [
        "unprocessed", "Richardson-Lucy", "SRCNN", "DeepNet", "finescan",
    ]  # fmt: skip
    assert len(lines) == 10 and {len(line) for line in (head, *lines)} == {len(head)}
    assert lines[8].split()[:4] == ["finescan", "3", "100.00", "0.000"] and " - " in lines[6]
