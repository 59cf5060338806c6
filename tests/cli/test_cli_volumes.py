"""Volumes on the command line: raw files and slices, round fields of view, and everything that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
import yaml

from finescan import io
from finescan.values import Circle, Grid, Image

USAGE, INPUT, REFUSED, OUTPUT = 2, 3, 4, 5
RAW, FINE_RAW = "28x36x36,uint16,little", "40x54x54,uint16,little"
QUICK = ("--set", "train.steps=3", "--set", "result.method=volume", "--set", "measure.objects=none")


def pair(seed, centre=(0.5, 0.5, 0.5)):
    from finescan.simulation.volumes import Placement, simulate_volume_pair

    place = Placement(centre=centre, rotation_deg=0.5)
    return simulate_volume_pair(
        (28, 36, 36), ratio=2, fine=(40, 54, 54), noise=(0.005, 0.01), placement=place, seed=seed
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Coarse and fine volumes in several formats; "other" is of another sample, "partly" reaches out of "wide"."""
    folder = tmp_path_factory.mktemp("volumes")
    job = pair(1)
    io.write(folder / "coarse.tif", job.lr)
    io.write(folder / "fine.tif", job.hr)
    io.write(folder / "other.tif", pair(2).hr)
    partly = pair(1, (0.5, 0.5, 0.75))
    io.write(folder / "wide.tif", partly.lr)
    io.write(folder / "partly.tif", partly.hr)
    job.lr.array().tofile(folder / "coarse.raw")
    job.hr.array().tofile(folder / "fine.raw")
    np.save(folder / "coarse.npy", job.lr.array())
    (folder / "slices").mkdir()
    for k in (k for k in range(28) if k != 13):
        tifffile.imwrite(folder / "slices" / f"slice{k:04d}.tif", job.lr.array()[k])
    levels = job.lr.array().astype(np.float32)
    levels[:, ~Circle.inscribed(job.lr.grid).mask(job.lr.grid)] = np.nan
    io.write(folder / "round.tif", job.lr.with_data(levels))
    io.write(folder / "float.tif", job.hr.with_data(job.hr.array().astype(np.float32)))
    io.write(folder / "picture.tif", Image(job.lr.array()[5], Grid.of((36, 36), 3000.0)))
    return folder


@pytest.fixture
def small(monkeypatch):
    """Patches of 24 voxels per side, which a processor learns from in milliseconds."""
    from finescan.training.volume_config import RECIPES

    usual = RECIPES["quick"][""]
    monkeypatch.setitem(RECIPES["quick"], "", replace(usual, batch=1, slices=24, side=24, looks=2))


@pytest.fixture(scope="module")
def model(files, tmp_path_factory):
    """A model folder for volumes, hardly trained."""
    from finescan import workflow
    from finescan.training.volume_config import RECIPES

    with pytest.MonkeyPatch.context() as patch:
        usual = RECIPES["quick"][""]
        patch.setitem(RECIPES["quick"], "", replace(usual, batch=1, slices=24, side=24, looks=1))
        out = tmp_path_factory.mktemp("trained") / "model"
        workflow.train_files(
            files / "coarse.tif", files / "fine.tif", out, config={"architecture": "fast", "minutes": 0.005}
        )
    return out


def refused(said, code, *words):
    """Exactly one line that is no progress, and it is the error."""
    assert said.code == code, said
    assert said.out == ""
    (line,) = said.errors
    assert line.startswith("error: ") and "Traceback" not in said.err
    for word in words:
        assert word in line, line


def misused(said, *words):
    assert said.code == USAGE and "Traceback" not in said.err
    text = " ".join((said.out + said.err).replace("│", " ").split())
    for word in words:
        assert word in text, text


# ---------------------------------------------------------------------------------------------- what runs
def test_raw_volumes_run_and_the_report_needs_no_layout_again(finescan, files, small, tmp_path):
    out = tmp_path / "run"
    raw = ("--raw", RAW, "--fine-raw", FINE_RAW, "--pixel-size", "3000", "--fine-pixel-size", "1500")
    said = finescan("run", files / "coarse.raw", files / "fine.raw", "-o", out, *raw, *QUICK)
    assert said.code == 0 and said.errors == [], said.err
    assert "interpolated" in said.out and "enhanced.ome.zarr" in said.out and "MS-SSIM" in said.out
    enhanced = io.read_volume(out / "enhanced.ome.zarr")
    assert enhanced.grid.same_as(io.read_volume(files / "coarse.tif").grid.refine(2)) and enhanced.dtype == np.uint16
    (out / "report.html").unlink()
    again = finescan("report", out, "--json")
    assert again.code == 0 and json.loads(again.out)["verdict"] in ("better", "equal", "worse")
    assert (out / "report.html").exists()


def test_outside_a_round_field_of_view_there_is_nothing_and_inside_everything(finescan, files, small, tmp_path):
    out = tmp_path / "run"
    said = finescan("run", files / "round.tif", files / "float.tif", "-o", out, *QUICK)
    assert said.code == 0, said.err
    choice = yaml.safe_load((out / "plan.yaml").read_text())["choices"]["volume.circle"]
    assert choice == {"value": True, "why": "The corners of the coarse slices hold nothing: a round field of view."}
    coarse, enhanced = io.read_volume(files / "round.tif"), io.read_volume(out / "enhanced.ome.zarr")
    inside = Circle.inscribed(coarse.grid).mask(enhanced.grid)
    levels = enhanced.array()
    assert np.isnan(levels[:, ~inside]).all() and np.isnan(levels[:, inside]).mean() < 0.02
    facts = json.loads((out / "trust.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in trust.json"))
    assert facts["flags"]["no_data"] == pytest.approx(float((~Circle.inscribed(coarse.grid).mask(coarse.grid)).mean()))


def test_a_fine_volume_that_reaches_out_of_the_coarse_one_is_used_where_it_does_not(finescan, files, small, tmp_path):
    out = tmp_path / "run"
    said = finescan("run", files / "wide.tif", files / "partly.tif", "-o", out, *QUICK, "--set", "result.tiff=false")
    assert said.code == 0, said.err
    facts = json.loads((out / "trust.json").read_text())
    (registered,) = facts["registration"]
    assert registered["verdict"] == "found"
    assert any("of the fine scan lies inside the coarse map" in reason for reason in registered["reasons"])
    assert np.isfinite(facts["scores"]["enhanced"]["psnr"]) and not (out / "enhanced.tif").exists()


def test_check_says_what_is_in_volumes(finescan, files):
    said = finescan("check", files / "coarse.tif", files / "fine.tif")
    assert said.code == 0 and "ratio 2.000 × 2.000 × 2.000 (z × y × x)" in said.out and "coarse volume" in said.out


def test_a_dataset_is_chosen_in_the_hdf5_file_and_the_other_file_may_be_of_another_kind(finescan, files, tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["raw/absorption"] = np.load(files / "coarse.npy")
        file["raw/phase"] = np.load(files / "coarse.npy").astype(np.float32)
    check = ("check", tmp_path / "two.h5", files / "fine.tif", "--pixel-size", "3000")
    refused(finescan(*check), INPUT, "raw/absorption", "raw/phase", "--dataset")
    said = finescan(*check, "--dataset", "raw/phase")
    assert said.code == 0 and "28 x 36 x 36" in said.out and "float32" in said.out, said.err


def test_enhance_writes_volumes_in_every_format_and_boxes_of_them(finescan, files, model, tmp_path):
    card = json.loads((model / "card.json").read_text())
    assert card["architecture"] == "volume" and card["axes"] == "ZYX"
    for name in ("whole.ome.zarr", "whole-raw.raw", "whole-h5.h5"):
        said = finescan("enhance", model, files / "coarse.tif", "-o", tmp_path / name)
        assert said.code == 0 and said.errors == [], said.err
    whole = io.read_volume(tmp_path / "whole.ome.zarr")
    for name in ("whole-raw.raw", "whole-h5.h5"):
        other = io.read_volume(tmp_path / name)
        assert np.array_equal(other.array(), whole.array())
        assert other.grid.pixel_size_nm == pytest.approx(whole.grid.pixel_size_nm)
    box = ("--region", "4:30,10:50,5:25", "--json")
    facts = json.loads(finescan("enhance", model, files / "coarse.tif", "-o", tmp_path / "box.tif", *box).out)
    assert facts["grid"]["shape"] == [26, 40, 20] and (tmp_path / "box.flags.tif").exists()
    assert np.array_equal(tifffile.imread(tmp_path / "box.tif"), whole.array()[4:30, 10:50, 5:25])
    judged = finescan("evaluate", tmp_path / "whole.ome.zarr", files / "fine.tif", "--coarse", files / "coarse.tif")
    assert judged.code == 0 and "interpolated" in judged.out and "blur px" in judged.out
    assert not list(tmp_path.glob("*.work"))


# ---------------------------------------------------------------------------------------------- what cannot be used
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("coarse.raw",), ("coarse.raw (72576 bytes) does not say how its voxels lie", "--raw")),
        (("coarse.raw", "--raw", "28x36x37,uint16,little"), ("has 72576 bytes, but 28 x 36 x 37", "take 74592")),
        (("coarse.raw", "--raw", "27x36x36,uint16,little"), ("With this y and x it would hold 28 slices",)),
        (("coarse.raw", "--raw", "28x36x36,uint8"), ("take 36288", "Correct shape, dtype or header_bytes")),
        (("coarse.raw", "--raw", "28x36x36,uint16"), ("needs byte_order='little' or 'big'",)),
        (("coarse.raw", "--raw", "28by36"), ("is written like 100x200x300,uint16,little",)),
        (("coarse.raw", "--raw", RAW), ("coarse.raw has no voxel size", "--pixel-size")),
        (("coarse.npy",), ("coarse.npy has no voxel size", "--pixel-size")),
        (("coarse.npy", "--pixel-size", "3000,3000"), ("one number or three (z, y, x)", "3000 x 3000 nm")),
        (("coarse.tif", "--raw", RAW), ("layout= is for", "but coarse.tif came")),
        (("slices", "--pixel-size", "3000"), ("slice0013.tif is missing", "numbered without a gap")),
        (("gone.tif",), ("There is no file",)),
        (("picture.tif",), ("picture.tif has axes YX but fine.tif has ZYX", "two images of one kind")),
    ],
)
def test_a_coarse_volume_that_cannot_be_used(finescan, files, tmp_path, arguments, words):
    name, *options = arguments
    out = tmp_path / "out"
    refused(finescan("run", files / name, files / "fine.tif", "-o", out, *options), INPUT, *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fine.raw",), ("fine.raw (233280 bytes) does not say", "--fine-raw")),
        (("fine.raw", "--fine-raw", "40x54x53,uint16,little"), ("fine.raw has 233280 bytes", "--fine-raw")),
        (("fine.raw", "--fine-raw", FINE_RAW), ("fine.raw has no voxel size", "--fine-pixel-size")),
        (("picture.tif",), ("coarse.tif has axes ZYX but picture.tif has YX",)),
        (("fine.tif", "--fine-pixel-size", "4000"), ("seem to be swapped", "4000 x 4000 x 4000 nm")),
        (("fine.tif", "--fine-pixel-size", "1500,1500,4000"), ("ratio of the voxel sizes must be 1 to 16", "0.75")),
        (("fine.tif", "--fine-pixel-size", "150"), ("must be 1 to 16, but it is 20",)),
    ],
)
def test_a_fine_volume_that_cannot_be_used(finescan, files, tmp_path, arguments, words):
    name, *options = arguments
    refused(finescan("run", files / "coarse.tif", files / name, "-o", tmp_path / "out", *options), INPUT, *words)
    assert not (tmp_path / "out").exists()


def test_a_fine_volume_of_another_sample_is_refused_with_reasons(finescan, files, tmp_path):
    said = finescan("run", files / "coarse.tif", files / "other.tif", "-o", tmp_path / "out")
    assert said.code == REFUSED and said.out == ""
    assert said.errors[0].startswith("error: other.tif in coarse.tif: ") and "decoys" in said.err
    assert not (tmp_path / "out" / "model").exists() and not (tmp_path / "out" / "enhanced.ome.zarr").exists()


def test_a_volume_read_as_a_picture_and_a_model_for_the_other_kind(finescan, files, model, finished, tmp_path):
    out = tmp_path / "e.tif"
    refused(finescan("enhance", model, files / "picture.tif", "-o", out), INPUT, "is for volumes", "--volume or --pict")
    refused(finescan("enhance", finished / "model", files / "coarse.tif", "-o", out), INPUT, "is for pictures")
    refused(finescan("enhance", model, files / "coarse.tif", "-o", out, "--picture"), INPUT, "28 slices", "--volume")
    wrong = ("--pixel-size", "2000")
    refused(finescan("enhance", model, files / "coarse.npy", "-o", out, *wrong), INPUT, "2000 x 2000 x 2000 nm")
    refused(finescan("enhance", model, files / "coarse.tif", "-o", out, "--then", model), INPUT, "coarse to fine")
    assert not list(tmp_path.iterdir())


def test_a_region_that_is_none(finescan, files, model, tmp_path):
    enhance = ("enhance", model, files / "coarse.tif", "-o", tmp_path / "e.tif", "--region")
    misused(finescan(*enhance, "0:8,10:30"), "has three ranges (z, y, x)", "has 2")
    misused(finescan(*enhance, "a:8,10:30,1:2"), "z0:z1,y0:y1,x0:x1")
    misused(finescan(*enhance, "8,30,2"), "z0:z1,y0:y1,x0:x1")
    refused(finescan(*enhance, "0:8,10:30,5:250"), INPUT, "must lie inside", "(56, 72, 72)")
    refused(finescan(*enhance, "8:0,10:30,5:25"), INPUT, "must lie inside")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------- pores
@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """two.tif and one.tif: dark balls of radius 6 and 4 voxels; solid.tif: none; all with some noise."""
    folder = tmp_path_factory.mktemp("balls")
    z, y, x = np.indices((40, 40, 40))
    large, small = ((z - c) ** 2 + (y - c) ** 2 + (x - c) ** 2 < r * r for c, r in ((20, 6), (10, 4)))
    noise = np.random.default_rng(0).normal(0, 3, large.shape)
    for name, pores in (("two", large | small), ("one", large), ("solid", np.zeros_like(large))):
        levels = (1200 - 200 * pores + noise).astype(np.uint16)
        io.write(folder / f"{name}.tif", Image(levels, Grid.of(levels.shape, 1000.0)))
    return folder


def facts_of(folder):
    return json.loads((folder / "pores.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in pores.json"))


def test_quantify_counts_and_matches_pores(finescan, balls, tmp_path):
    out = tmp_path / "q"
    said = finescan("quantify", balls / "one.tif", "-o", out, "--reference", balls / "two.tif")
    assert said.code == 0 and "1 of 2 found" in said.out and "1 lost" in said.out, said.err
    facts = facts_of(out)
    assert facts["objects"] == 1 and facts["matching"]["recovery"] == 0.5
    assert facts["diameter_nm"]["mean"] == pytest.approx(12_000, rel=0.02)
    assert facts["porosity"] == pytest.approx(4 / 3 * np.pi * 6**3 / 40**3, rel=0.05)
    assert len((out / "pores.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("threshold", "porosity", "words"),
    [("100", 0.0, "No pores: no object of at least 8 voxels is darker than 100"), ("5000", 1.0, "is one pore")],
)
def test_no_pores_and_everything_one_pore_are_said_and_no_error(finescan, balls, tmp_path, threshold, porosity, words):
    out = tmp_path / "q"
    options = ("--threshold", threshold, "--reference", balls / "two.tif")
    said = finescan("quantify", balls / "solid.tif", "-o", out, *options)
    assert said.code == 0 and words in said.out and said.errors == [], said.err
    facts = facts_of(out)
    assert facts["objects"] == 0 and facts["porosity"] == porosity
    assert len((out / "pores.csv").read_text().splitlines()) == 1


def test_a_volume_of_one_material_is_said_to_have_no_threshold(finescan, balls, tmp_path):
    said = finescan("quantify", balls / "solid.tif", "-o", tmp_path / "q")
    assert said.code == 0 and "do not fall into two groups" in said.out and "threshold=" in said.out


def test_quantify_refuses_in_one_line(finescan, balls, files, tmp_path):
    constant = tmp_path / "constant.npy"
    np.save(constant, np.full((20, 20, 20), 7, np.uint16))
    out, two = tmp_path / "q", balls / "two.tif"
    refused(finescan("quantify", constant, "-o", out, "--pixel-size", "10"), INPUT, "constant.npy is constant")
    refused(finescan("quantify", two, "-o", out, "--objects", "grey"), INPUT, "'dark' or 'bright', but 'grey'")
    refused(finescan("quantify", two, "-o", out, "--faces", "some"), INPUT, "auto, ends, all, none")
    refused(finescan("quantify", two, "-o", out, "--reference", files / "coarse.tif"), INPUT, "on one grid only")
    refused(finescan("quantify", two, "-o", tmp_path / "constant.npy"), OUTPUT, "cannot be written to")
    assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    refused(finescan("quantify", two, "-o", out), OUTPUT, "is not empty", "--overwrite")
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


# ---------------------------------------------------------------------------------------------- study
def test_study_foam_refuses_what_cannot_be(finescan, tmp_path):
    out = tmp_path / "foam"
    refused(finescan("study", "foam", "-o", out, "--size", "8"), INPUT, "32 to 2048 voxels")
    refused(finescan("study", "foam", "-o", out, "--sigmas", "0"), INPUT, "blurs above 0")
    misused(finescan("study", "foam", "-o", out, "--sigmas", "three"), "such as 3,5,7,9", "'three'")
    misused(finescan("study"), "foam")
    assert not out.exists()
