"""``finescan patches``: what a set would hold, its files, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finescan import io
from finescan.values import Grid, Image


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of 160 x 160 px as TIFF files with a pixel size."""
    paths = []
    for k in range(3):
        y, x = np.indices((160, 160)) / 2.0
        grey = 100 + 40 * np.cos(y + k) * np.cos(x) + np.random.default_rng(k).normal(0, 5, y.shape)
        path = tmp_path / f"GaN{k}.tif"
        io.write(path, Image(grey.astype(np.uint8), Grid.of(y.shape, 0.05), path.name))
        paths.append(path)
    return paths


def test_it_says_what_a_set_would_hold(finescan, pictures):
    said = finescan("patches", pictures[0], "--factor", 2, "--beta", "1.2:1.6:0.2", "--scale", "5MX")
    assert said.code == 0
    assert "GaN0.tif at 5 MX: 80 x 80 -> 160 x 160 px, 7 coarse version(s)" in said.out
    assert "GaN0.tif at 8 MX" in said.out and "(3) 6 to 8 MX" in said.out
    facts = json.loads(finescan("patches", pictures[0], "--factor", 2, "--alpha", "0.9", "--json").out)
    assert facts["config"]["alpha"] == [0.9] and facts["pixel_size_nm"] == [0.025, 0.025]
    assert facts["bytes"] > 160 * 160 * 4


def test_it_writes_and_replaces_a_set(finescan, pictures, tmp_path):
    out = tmp_path / "set"
    common = [
        "-o",
        out,
        "--write",
        "--factor",
        2,
        "--crop",
        64,
        "--crops-per-side",
        2,
        "--scale",
        "24nm",
        "--gamma",
        "",
    ]
    said = finescan("patches", *pictures, *common, "--beta", "1.5")
    assert said.code == 0 and "train 48 pairs of 1 picture(s)" in said.out and "test 8 pairs" in said.out
    assert (out / "train" / "HR" / "GaN1R16.0000_crop3_5.png").exists() or (
        out / "train" / "HR" / "GaN0R16.0000_crop3_5.png"
    ).exists()
    facts = json.loads((out / "patches.json").read_text("utf-8"))
    assert facts["config"]["scale"] == {"recorded": 24.0, "unit": "nm"} and facts["pairs"]["val"] == 48
    again = finescan("patches", *pictures, *common, "--beta", "1.25")
    assert again.code == 5 and "is not empty. Choose another folder with -o, or pass --overwrite" in again.err
    assert finescan("patches", *pictures, *common, "--beta", "1.25", "--overwrite").code == 0
    assert not list(out.rglob("*R16.0000*")) and list(out.rglob("*R19.2000*"))


def test_published_sets_need_no_pixel_size_and_eight_bits(finescan, tmp_path):
    from PIL import Image as Pillow

    paths = []
    for k in range(10):
        paths.append(tmp_path / f"S{k}.png")
        Pillow.fromarray(np.random.default_rng(k).integers(0, 256, (64, 64), dtype=np.uint8)).save(paths[-1])
    out = tmp_path / "set"
    options = ["--crop", 64, "--crops-per-side", 1, "--preset", "stem-up", "--published", "-o", out, "--write"]
    said = finescan("patches", *paths, *options)
    assert said.code == 0, said.err
    assert (out / "source" / "S3.png").read_bytes() == paths[3].read_bytes()
    assert len(list((out / "train" / "pyramid").iterdir())) == 8 * 6
    assert finescan("patches", *paths, "--preset", "stem-up").code == 3  # elsewhere the pixel size matters


def test_scanning_probe_pictures_are_flattened_on_request(finescan, tmp_path):
    grey = np.random.default_rng(0).normal(0, 5, (160, 160)) + 3.0 * np.arange(160)
    path = tmp_path / "stm.tif"
    io.write(path, Image(grey.astype(np.float32), Grid.of(grey.shape, 0.1), path.name))
    common = ["patches", path, "--factor", 2, "--scale", "24nm", "--beta", "1.2"]
    said = finescan(*common)
    assert said.code == 3 and "not flattened" in said.err and "--flatten on the command line" in said.err
    assert finescan(*common, "--flatten").code == 0
    out = tmp_path / "set"
    more = ["--flatten", "--eight-bit", "1,99", "--crop", 64, "--crops-per-side", 1, "--write", "-o", out]
    assert finescan(*common, *more).code == 0
    assert io.read(out / "source" / "stm.png").dtype == np.uint8
    facts = json.loads((out / "patches.json").read_text("utf-8"))
    assert facts["preparation"] == {"flatten": True, "eight_bit": True, "percentiles": [1.0, 99.0]}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--write"], 2, "--write needs a folder for the files: -o FOLDER"),
        (["-o", "x"], 2, "nothing is written without --write"),
        (["--alpha", "0.5:0.9"], 2, "numbers with commas, or first:last:step, but '0.5:0.9' came"),
        (["--scale", "MX5"], 2, "a number and its unit, such as 5MX or 24nm, but 'MX5' came"),
        (["--scale", "5inch"], 3, "counted in MX, x, nm, pm, but 'inch' came"),
        (["--shares", "1"], 2, "Shares are 3 numbers with commas between them"),
        (["--alpha", "1.5"], 3, "Every alpha must be above 0 and below 1"),
        (["--preset", "sem"], 3, "A preset is one of stem, .*, but 'sem' came"),
        (["--preset", "stem", "--factor", "2"], 3, "The preset stem is for a factor of 4, but 2 came"),
        (["--factor", "3"], 3, "published zoom levels for factors 2 and 4, but 3 came"),
        (["--crop", "512"], 3, "GaN0.tif has 160 x 160 px, but one training crop is 512 x 512 px"),
    ],
)
def test_refusals(finescan, pictures, options, code, message):
    import re

    said = finescan("patches", pictures[0], *options)
    assert said.code == code
    assert re.search(message, " ".join(said.err.replace("│", " ").split())), said.err


def test_the_same_file_twice_is_refused(finescan, pictures):
    said = finescan("patches", pictures[0], pictures[0])
    assert said.code == 3 and "Every picture must be another file, but one was named twice" in said.err
