"""Bad input on the command line: the right exit code, one clear line, and nothing left behind."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple

import numpy as np
import pytest
import tifffile

from finescan import io
from finescan.values import Grid, Image

USAGE, INPUT, REFUSED, OUTPUT = 2, 3, 4, 5


@pytest.fixture(scope="module")
def bad(tmp_path_factory, scans):
    """A folder of files that cannot be used; "coarse" ones take the place of the coarse scan."""
    folder = tmp_path_factory.mktemp("bad")
    lr, hr = io.read(scans / "coarse.tif"), io.read(scans / "fine.tif")

    def put(name, data, size):
        io.write(folder / name, Image(np.asarray(data), Grid.of(np.shape(data), size)))

    raw = (scans / "coarse.tif").read_bytes()
    (folder / "cut.tif").write_bytes(raw[: len(raw) // 2])
    (folder / "zero.tif").touch()
    infinite = lr.array().astype(np.float32)
    infinite[3, 4] = np.inf
    put("inf.tif", infinite, 100.0)
    put("nan.tif", np.full(lr.grid.shape, np.nan, np.float32), 100.0)
    put("constant.tif", np.full(lr.grid.shape, 7, np.uint16), 100.0)
    photo = np.random.default_rng(0).integers(0, 255, (160, 160, 3), dtype=np.uint8)
    tifffile.imwrite(folder / "photo.tif", photo, photometric="rgb")
    put("ratio1.tif", hr.array(), 90.0)
    put("ratio20.tif", hr.array(), 5.0)
    put("half.tif", hr.array(), 50.0)
    tifffile.imwrite(folder / "bare.tif", hr.array())
    return folder


def refused(said, code, *words):
    """Exactly one line that is no progress, and it is the error."""
    assert said.code == code
    assert said.out == ""
    (line,) = said.errors
    assert line.startswith("error: ") and "Traceback" not in said.err
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut", ("cut.tif is truncated", "Copy it again")),
        ("zero", ("zero.tif is empty (0 bytes)",)),
        ("inf", ("inf.tif holds 1 infinite values", "NaN")),
        ("nan", ("nan.tif holds no data", "every pixel is NaN")),
        ("photo", ("photo.tif is a colour picture", "channel=")),
        ("constant", ("constant.tif is constant", "7")),
        ("bare", ("bare.tif has no pixel size", "--pixel-size")),
        ("gone", ("There is no file", "gone.tif")),
    ],
)
def test_a_coarse_scan_that_cannot_be_used(finescan, bad, scans, tmp_path, name, words):
    out = tmp_path / "out"
    refused(finescan("run", bad / f"{name}.tif", scans / "fine.tif", "-o", out), INPUT, *words)
    refused(finescan("check", bad / f"{name}.tif", scans / "fine.tif"), INPUT, *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut", ("cut.tif is truncated",)),
        ("photo", ("photo.tif is a colour picture",)),
        ("bare", ("bare.tif has no pixel size", "--fine-pixel-size")),
        ("ratio1", ("must be 1.5 to 16", "1.11")),
        ("ratio20", ("must be 1.5 to 16", "20")),
    ],
)
def test_a_fine_scan_that_cannot_be_used(finescan, bad, scans, tmp_path, name, words):
    refused(finescan("run", scans / "coarse.tif", bad / f"{name}.tif", "-o", tmp_path / "out"), INPUT, *words)
    assert not (tmp_path / "out").exists()


def test_swapped_scans_are_said_to_be_swapped_and_the_corrected_call_is_not_in_the_way(finescan, scans, tmp_path):
    out = tmp_path / "out"
    refused(finescan("run", scans / "fine.tif", scans / "coarse.tif", "-o", out), INPUT, "seem to be swapped")
    assert not out.exists()
    out.mkdir()  # a folder made beforehand stays, empty
    refused(finescan("run", scans / "fine.tif", scans / "coarse.tif", "-o", out), INPUT, "seem to be swapped")
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--pixel-size", "-5", ("coarse.tif is -5 x -5 nm", "--pixel-size")),
        ("--pixel-size", "0", ("coarse.tif is 0 x 0 nm",)),
        ("--fine-pixel-size", "25,-3", ("fine.tif is 25 x -3 nm", "--fine-pixel-size")),
        ("--fine-pixel-size", "nan", ("fine.tif is nan x nan nm",)),
    ],
)
def test_a_pixel_size_that_cannot_be(finescan, scans, tmp_path, option, value, words):
    out = tmp_path / "out"
    refused(finescan("run", scans / "coarse.tif", scans / "fine.tif", "-o", out, option, value), INPUT, *words)
    assert not out.exists()


def test_a_fine_scan_of_another_sample_is_refused_with_reasons(finescan, scans, tmp_path):
    said = finescan("run", scans / "coarse.tif", scans / "other.tif", "-o", tmp_path / "out")
    assert said.code == REFUSED and said.out == ""
    assert said.errors[0].startswith("error: other.tif in coarse.tif: ")
    assert "decoys" in said.err and "--landmarks" in said.errors[-1]
    assert not (tmp_path / "out" / "enhanced.tif").exists() and not (tmp_path / "out" / "model").exists()


def test_a_pixel_size_that_is_wrong_by_two_is_refused(finescan, bad, scans, tmp_path):
    said = finescan("run", scans / "coarse.tif", bad / "half.tif", "-o", tmp_path / "out")
    assert said.code == REFUSED and "pixel sizes are right" in said.err


def test_a_pixel_size_that_is_wrong_by_a_quarter_is_refused_or_stated(scans):
    from finescan.registration import register
    from finescan.values import Verdict
    from finescan.workflow.verbs import size_note

    lr, hr = io.read(scans / "coarse.tif"), io.read(scans / "fine.tif", pixel_size_nm=25.0 * 1.25)
    pair = register(lr, hr)
    if pair.verdict is Verdict.FOUND:
        assert pair.lr_from_hr.scales() == pytest.approx((0.8, 0.8), abs=0.04)
        assert "do not fit the pictures" in size_note(pair) and "0.8" in size_note(pair)


def test_places_that_cannot_be_written(finescan, scans, tmp_path):
    (tmp_path / "file").touch()
    files = scans / "coarse.tif", scans / "fine.tif"
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        refused(finescan("run", *files, "-o", out), OUTPUT, "cannot be written to", "-o")
        refused(finescan("register", *files, "-o", out), OUTPUT)
    said = finescan("simulate", "polycrystal", "-o", tmp_path / "file", "--size", "64")
    refused(said, OUTPUT, "cannot be written to")


def test_a_folder_with_another_run_or_with_other_things_is_left_alone(finescan, finished, scans, quick, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    page = (out / "report.html").read_bytes()
    said = finescan("run", scans / "coarse.tif", scans / "other.tif", "-o", out)
    refused(said, OUTPUT, "holds a run of other files", "fine.tif", "other.tif", "--overwrite")
    assert (out / "report.html").read_bytes() == page
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("precious")
    said = finescan("run", scans / "coarse.tif", scans / "fine.tif", "-o", foreign)
    refused(said, OUTPUT, "is not empty and holds no finescan run", "--overwrite")
    refused(finescan("demo", "-o", foreign), OUTPUT, "is not empty", "--overwrite")
    assert [p.name for p in foreign.iterdir()] == ["chapter.txt"]


def test_overwrite_replaces_another_run_and_leaves_foreign_files(finescan, finished, scans, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "chapter.txt").write_text("precious")
    said = finescan("run", scans / "coarse.tif", scans / "other.tif", "-o", out, "--overwrite")
    assert said.code == REFUSED  # the other scan belongs to another sample, and nothing of the old run is shown for it
    assert not (out / "enhanced.tif").exists() and not (out / "report.html").exists()
    assert (out / "chapter.txt").read_text() == "precious"


def test_a_full_disk_is_said_before_anything_slow_starts(finescan, scans, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 1000, 1000))
    said = finescan("run", scans / "coarse.tif", scans / "fine.tif", "-o", tmp_path / "out")
    refused(said, OUTPUT, "needs about", "free", "-o")
    assert "registering" not in said.err and not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_while_the_map_is_written(finescan, finished, scans, tmp_path, monkeypatch):
    from finescan.enhancement import sink

    def full(self, *block):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = shutil.copytree(finished, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(sink.FolderSink, "write", full)
        said = finescan("run", scans / "coarse.tif", scans / "fine.tif", "-o", out, "--dtype", "float32")
    refused(said, OUTPUT, "the disk is full", "run the same command again")
    assert finescan("run", scans / "coarse.tif", scans / "fine.tif", "-o", out).code == 0
    assert io.read(out / "enhanced.tif").dtype == np.float32


def test_a_model_for_another_ratio_or_a_damaged_one(finescan, bad, finished, scans, tmp_path):
    out = tmp_path / "e.tif"
    said = finescan("enhance", finished / "model", scans / "coarse.tif", "-o", out, "--pixel-size", "50")
    refused(said, INPUT, "pixel")
    refused(finescan("enhance", tmp_path / "none", scans / "coarse.tif", "-o", out), INPUT, "card.json is missing")
    broken = shutil.copytree(finished / "model", tmp_path / "broken")
    raw = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    refused(finescan("enhance", broken, scans / "coarse.tif", "-o", out), INPUT)
    (broken / "card.json").write_text("{")
    refused(finescan("enhance", broken, scans / "coarse.tif", "-o", out), INPUT, "not a readable model card")
    assert not list(tmp_path.glob("e.*"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.minuts=3", ("no choice called 'train.minuts'", "Did you mean 'train.minutes'?")),
        ("train.minutes=abc", ("train.minutes cannot be 'abc'", "a number above 0")),
        ("train.steps=-3", ("train.steps cannot be -3", "null")),
        ("train.architecture=bicubic", ("one of fast, strong",)),
        ("split.kind=quarters", ("one of auto, blocks, leave-one-out, halves",)),
        ("result.dtype=complex64", ("uint8, uint16 or float32",)),
        ("result.method=magic", ("one of auto, nearest, bicubic",)),
        ("coarse.pixel_size_nm=5", ("a length in nm per axis: [y, x]",)),
        ("register.ratio_error=0.1", ("a number from 0 to 0.5 per axis",)),
        ("fine.pixel_size_nm=[[25, 25], [25, 25]]", ("holds 2 sizes, but there are 1 fine scans",)),
    ],
)
def test_a_choice_that_makes_no_sense_is_said_at_once(finescan, scans, tmp_path, setting, words):
    said = finescan("run", scans / "coarse.tif", scans / "fine.tif", "-o", tmp_path / "out", "--set", setting)
    refused(said, INPUT, *words)
    assert not (tmp_path / "out").exists()


def test_a_misspelt_choice_in_an_edited_plan(finescan, finished, scans, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    again = "run", scans / "coarse.tif", scans / "fine.tif", "-o", out
    text = (out / "plan.yaml").read_text()
    (out / "plan.yaml").write_text(text.replace("train.minutes:", "train.minuts:"))
    refused(finescan(*again), INPUT, "Did you mean 'train.minutes'?")
    (out / "plan.yaml").write_text(text.replace("value: uint16", "value: 16 bit"))
    refused(finescan(*again), INPUT, "result.dtype cannot be '16 bit'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "a.tif", "b.tif"),
        ("run", "a.tif", "b.tif", "-o", "x", "--nope"),
        ("run", "a.tif", "b.tif", "-o", "x", "--set", "train.minutes"),
        ("run", "a.tif", "b.tif", "-o", "x", "--set", "train.minutes=[1"),
        ("run", "a.tif", "b.tif", "-o", "x", "--pixel-size", "abc"),
        ("run", "a.tif", "b.tif", "-o", "x", "--pixel-size", "1,2,3,4"),
        ("run", "a.tif", "b.tif", "-o", "x", "--minutes", "soon"),
        ("frobnicate",),
        (),
    ],
)
def test_wrong_usage_is_exit_code_2_and_makes_nothing(finescan, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    said = finescan(*arguments)
    assert said.code == USAGE and "Traceback" not in said.err
    assert "Usage:" in said.out + said.err
    assert not list(tmp_path.iterdir())


def test_other_verbs_refuse_in_one_line_too(finescan, finished, scans, tmp_path):
    fine = scans / "fine.tif"
    refused(finescan("report", tmp_path), INPUT, "holds no run")
    refused(finescan("evaluate", tmp_path / "gone.tif", fine), INPUT, "There is no file")
    refused(finescan("simulate", "cheese", "-o", tmp_path / "s"), INPUT, "A recipe is one of")
    refused(finescan("models", tmp_path), INPUT, "card.json is missing")
    refused(finescan("run", scans / "coarse.tif", fine, fine, "-o", tmp_path / "o"), INPUT, "named twice")
    refused(finescan("check", scans / "coarse.tif", fine, "--frame", "7"), INPUT, "single picture")
    marks = ("run", scans / "coarse.tif", fine, "-o", tmp_path / "o", "--landmarks", tmp_path / "gone.yaml")
    refused(finescan(*marks), INPUT, "holds no landmarks")
    refused(finescan("train", scans / "coarse.tif", fine, "-o", finished / "model"), OUTPUT, "finished model")
    assert not list(tmp_path.iterdir())
