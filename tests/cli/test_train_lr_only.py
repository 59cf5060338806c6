"""``finescan train --lr-only``: coarse pictures alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finescan import io
from finescan.values import Grid, Image

FEW = "--set", "max_steps=3", "--set", "members=1", "--set", "batch=2", "--set", "device=cpu"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A noisy lattice of 192 x 192 pixels."""
    y, x = np.mgrid[:192, :192]
    rng = np.random.default_rng(0)
    grey = 3000 + 800 * np.cos(x / 1.7) * np.cos((y + x / 3) / 1.9) + rng.normal(0, 300, (192, 192))
    path = tmp_path_factory.mktemp("alone") / "scan.tif"
    return io.write(path, Image(np.clip(grey, 0, 65535).astype(np.uint16), Grid.of((192, 192), 0.01), "scan"))


def _card(finescan, *arguments) -> dict:
    said = finescan("train", *arguments, *FEW, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)["card"]


def test_a_network_is_trained_on_one_coarse_picture(finescan, scan, tmp_path) -> None:
    card = _card(finescan, scan, "--lr-only", "--factor", "2", "-o", tmp_path / "ours")
    assert card["factor"] == 2 and card["pixel_size_nm"] == [0.005, 0.005] and card["hr_dtype"] == "uint16"
    assert "(3) 1.12 to 2 x" in card["training"]["notes"][0]


def test_swinir_trains_on_published_levels(finescan, scan, tmp_path) -> None:
    card = _card(
        finescan, scan, "--lr-only", "--preset", "stm-converging", "--model", "swinir-light", "-o", tmp_path / "m"
    )
    assert card["architecture"] == "swinir-light" and card["training"]["steps"] == [3]
    assert "(4) 14 to 13 nm" in card["training"]["notes"][0]


def test_lists_and_the_single_scale_baseline(finescan, scan, tmp_path) -> None:
    card = _card(finescan, scan, "--lr-only", "--factor", "2", "--beta", "1.5", "--gamma", "0.9", "-o", tmp_path / "a")
    assert "(1) 1 x, (3) 1.5 x, (4) 1.8 x" in card["training"]["notes"][0]
    card = _card(finescan, scan, "--lr-only", "--preset", "none", "--factor", "2", "-o", tmp_path / "b")
    assert card["training"]["notes"][0].endswith("(1) 1 x.")


def test_mistakes_are_said_in_one_sentence(finescan, scan, tmp_path) -> None:
    out = "-o", tmp_path / "out"
    for arguments, code, text in (
        ((scan, "--lr-only", "--beta", "0.5"), 3, "Every beta must be above 1"),
        ((scan, "--lr-only", "--alpha", "1"), 3, "Every alpha must be above 0 and below 1"),
        ((scan, "--lr-only", "--gamma", "1.5"), 3, "Every gamma must be above 0 and at most 1"),
        ((scan, "--lr-only", "--preset", "stm-oracle", "--factor", "4"), 3, "is for a factor of 2, but 4 came"),
        ((scan, "--lr-only", "--preset", "ours", "--beta", "2"), 2, "The preset ours has its own lists"),
        ((scan, "--lr-only", "--pairs", tmp_path), 2, "leave --pairs out"),
        ((scan, "--preset", "stm"), 2, "--preset belong to --lr-only"),
        (("--lr-only",), 2, "Pass one or several coarse pictures"),
    ):
        said = finescan("train", *arguments, *out)
        assert said.code == code and text in " ".join(said.err.split()), (arguments, said.err)
