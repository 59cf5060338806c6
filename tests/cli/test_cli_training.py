"""``finescan train`` beyond a pair of scans: recorded pairs, models to go on from, critics, recipes, and mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finescan import io
from finescan.simulation import dual_phase, small_pairs
from finescan.values import Grid, Image

INPUT, OUTPUT = 3, 5
FEW = "--set", "max_steps=4", "--set", "members=1", "--set", "batch=2", "--set", "device=cpu"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Forty pairs of 32 x 32 and 128 x 128 pixels."""
    folder = tmp_path_factory.mktemp("recorded")
    for name in ("coarse", "fine"):
        (folder / name).mkdir()
    for k, pair in enumerate(small_pairs(dual_phase((1200, 1200), seed=1).image, 40, seed=1)):
        for name, image in zip(("coarse", "fine"), pair, strict=True):
            io.write(folder / name / f"{k:02d}.tif", image)
    return folder


@pytest.fixture
def light(light_textures, monkeypatch):
    """Texture transformers that are trained in a second."""
    from finescan.training import references

    monkeypatch.setitem(references.MOST_WINDOWS, "cpu", 1)
    with light_textures():
        yield


@pytest.fixture
def card(finescan):
    """``card(…)``: what a training that succeeds says of its model."""

    def call(*arguments):
        said = finescan("train", *arguments, "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)["card"]

    return call


def _refused(said, code, *words) -> None:
    assert said.code == code and said.out == ""
    (line,) = said.errors
    assert all(word in line for word in words), line


def test_recorded_pairs_train_a_network_and_another_training_goes_on_from_it(card, recorded, tmp_path) -> None:
    first = card("--pairs", recorded, "-o", tmp_path / "first", *FEW)
    assert first["architecture"] == "fast" and first["factor"] == 4 and first["hr_dtype"] == "uint8"
    assert any("patch" in n for n in first["training"]["notes"])
    again = card("--pairs", recorded, "-o", tmp_path / "again", "--from", tmp_path / "first", *FEW)
    assert again["training"]["start"]["steps"] == [4]
    digest = json.loads((tmp_path / "first" / "card.json").read_text())["weights_sha256"]
    assert again["training"]["start"]["weights_sha256"] == digest
    assert again["training"]["history"][0]["step"] == 0


def test_recorded_pairs_train_a_network_with_references_of_their_own(card, light, recorded, tmp_path) -> None:
    small = "--set", "arguments.features=8", "--set", "arguments.blocks=4", "--set", "arguments.references=3"
    options = "--pairs", recorded, "--model", "ttsr-grey", *small, "--set", "arguments.side=128"
    made = card(*options, "-o", tmp_path / "model", *FEW, "--set", "max_steps=1", "--set", "patch=16")
    assert made["arguments"]["references"] == 3 and made["arguments"]["side"] == 128
    assert made["training"]["references"]["count"] == 3


def test_references_recorded_apart_are_taken_and_refused_where_there_is_no_use_for_them(
    card, finescan, light, recorded, tmp_path
) -> None:
    small = "--set", "arguments.features=8", "--set", "arguments.blocks=4", "--set", "arguments.references=2"
    options = "--pairs", recorded, "--model", "ttsr-grey", *small, "--set", "arguments.side=132"
    fine = io.read(next(iter(sorted((recorded / "fine").iterdir()))))
    large = Image(
        np.tile(np.asarray(fine.data), (2, 2)), Grid.of((2 * fine.grid.shape[0],) * 2, fine.grid.pixel_size_nm)
    )
    apart = io.write(tmp_path / "apart.tif", large)
    some = "--set", "max_steps=1", "--set", "patch=16"
    made = card(*options, "--reference", apart, "-o", tmp_path / "model", *FEW, *some)
    assert made["arguments"]["side"] == 132  # larger than any recorded pair
    assert made["training"]["references"]["count"] == 2
    said = finescan("train", "--pairs", recorded, "--reference", apart, "-o", tmp_path / "other", *FEW)
    _refused(said, INPUT, "fast takes no texture from references")


def test_a_critic_and_a_loss_are_asked_for_in_words(card, recorded, tmp_path) -> None:
    options = "--pairs", recorded, "--critic", "patch", "--loss", "l2", "--set", "terms.content_share=0.5"
    recipe = card(*options, "-o", tmp_path / "model", *FEW)["training"]["recipe"]
    assert (recipe["critic"], recipe["adversarial"], recipe["loss"]) == ("patch", 1e-3, "l2")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--critic", "gan"), ("'terms.critic' cannot be 'gan'", "critic is one of none, wgan-gp, patch")),
        (("--loss", "mse"), ("loss is one of l1, charbonnier, l2",)),
        (("--recipe", "best"), ("'recipe' cannot be 'best'",)),
        (("--set", "stepz=3"), ("'stepz' cannot be",)),
        (("--from", "nowhere"), ("card.json is missing",)),
        (("--model", "ttsr-grey", "--vgg", "nowhere.pth"), ("The weights nowhere.pth cannot be read",)),
        (("--model", "ttsr-grey", "--vgg", "https://example.org/vgg19.pth"), ("SHA-256",)),
    ],
)
def test_an_option_that_makes_no_sense_is_one_sentence(finescan, recorded, tmp_path, options, words) -> None:
    said = finescan("train", "--pairs", recorded, "-o", tmp_path / "model", *FEW, *options)
    _refused(said, INPUT, *words)
    assert not (tmp_path / "model" / "card.json").exists()


def test_scans_and_recorded_pairs_exclude_each_other_and_one_is_needed(finescan, scans, recorded, tmp_path) -> None:
    out = "-o", tmp_path / "model"
    _refused(finescan("train", *out), INPUT, "needs a coarse scan and a fine scan", "--pairs")
    _refused(finescan("train", scans / "coarse.tif", *out), INPUT, "needs a coarse scan and a fine scan")
    both = finescan("train", scans / "coarse.tif", scans / "fine.tif", "--pairs", recorded, *out)
    _refused(both, INPUT, "With --pairs all scans come from that folder")
    _refused(finescan("train", "--pairs", tmp_path / "gone", *out), INPUT, "is no folder")
    assert not (tmp_path / "model").exists()


def test_a_start_of_another_network_is_refused(finescan, finished, recorded, tmp_path) -> None:
    said = finescan(
        "train", "--pairs", recorded, "-o", tmp_path / "m", "--from", finished / "model", "--model", "strong"
    )
    _refused(said, INPUT, "this one has architecture fast instead of strong")


def test_a_run_starts_from_a_model(finescan, finished, scans, tmp_path) -> None:
    files = scans / "coarse.tif", scans / "fine.tif"
    steps = "--set", "train.steps=3", "--set", "train.members=1", "--set", "result.method=fast"
    said = finescan("run", *files, "-o", tmp_path / "run", *steps, "--set", f"train.start={finished / 'model'}")
    assert said.code == 0, said.err
    card = json.loads((tmp_path / "run" / "model" / "card.json").read_text())
    source = json.loads((finished / "model" / "card.json").read_text())
    assert card["training"]["start"]["weights_sha256"] == source["weights_sha256"]
    bad = finescan("run", *files, "-o", tmp_path / "bad", "--set", "train.start=3")
    _refused(bad, INPUT, "train.start cannot be 3", "the path of a model folder, or null")
