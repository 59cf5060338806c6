"""``finescan models``: the table, a card, and public weights as a model that enhances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from finescan import io
from finescan.models.srresnet import SrResNet
from finescan.models.ttsr import Ttsr
from finescan.values import Grid, Image

RNG = np.random.default_rng(0)


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """A file of weights as DLE-EM writes it, with running averages of an 8-bit picture."""
    torch.manual_seed(0)
    file = tmp_path / "generator.pth"
    torch.save(SrResNet(sr_factor=2, norm_eps=0.8).state_dict(), file)
    return file


def _map(path: Path, shape: tuple[int, int], pixel_nm: float) -> Path:
    return io.write(path, Image(RNG.integers(0, 256, shape).astype(np.uint8), Grid.of(shape, pixel_nm), path.stem))


def test_without_a_path_the_table_and_with_one_the_card(finescan, generator, tmp_path) -> None:
    assert "ttsr-grey" in finescan("models").out
    assert (
        finescan("models", "import", "dle-em-generator", generator, "-o", tmp_path / "m", "--pixel-size", 25).code == 0
    )
    card = json.loads(finescan("models", tmp_path / "m", "--json").out)
    assert (card["architecture"], card["factor"], card["pixel_size_nm"]) == ("srresnet", 2, [25.0, 25.0])
    assert card["provenance"]["weights"] == "generator.pth" and len(card["provenance"]["sha256"]) == 64


def test_imported_weights_enhance_a_map(finescan, generator, tmp_path) -> None:
    finescan("models", "import", "dle-em-generator", generator, "-o", tmp_path / "m", "--pixel-size", 25)
    coarse = _map(tmp_path / "coarse.tif", (30, 40), 50.0)
    said = finescan("enhance", tmp_path / "m", coarse, "-o", tmp_path / "fine.tif")
    assert said.code == 0
    assert io.read(tmp_path / "fine.tif").grid.shape == (60, 80)


def test_a_model_is_not_overwritten_unasked(finescan, generator, tmp_path) -> None:
    call = ("models", "import", "dle-em-generator", generator, "-o", tmp_path / "m", "--pixel-size", 25)
    assert finescan(*call).code == 0
    again = finescan(*call)
    assert again.code == 5 and "holds a finished model" in again.err
    assert finescan(*call, "--overwrite").code == 0


def test_texture_weights_take_references_from_fine_scans(finescan, tmp_path) -> None:
    torch.manual_seed(0)
    torch.save(Ttsr().state_dict(), tmp_path / "TTSR.pt")
    fine = _map(tmp_path / "fine.tif", (160, 180), 12.5)
    call = ("models", "import", "ttsr-grey", tmp_path / "TTSR.pt", "-o", tmp_path / "m", "--pixel-size", 12.5)
    bare = finescan(*call)
    assert bare.code == 0 and "serves as the start of a training" in bare.out
    refused = finescan("enhance", tmp_path / "m", _map(tmp_path / "c.tif", (32, 32), 50.0), "-o", tmp_path / "x.tif")
    assert refused.code == 3 and "holds no references" in refused.err
    other = finescan(*call, "--overwrite", "--reference", _map(tmp_path / "other.tif", (160, 160), 20.0))
    assert other.code == 3 and "must have the pixel size of the result, 12.5" in other.err
    full = finescan(*call, "--overwrite", "--reference", fine)
    assert full.code == 0 and json.loads((tmp_path / "m" / "card.json").read_text())["arguments"]["references"] >= 1


def test_wrong_weights_are_named(finescan, generator, tmp_path) -> None:
    said = finescan("models", "import", "ttsr", generator, "-o", tmp_path / "m", "--pixel-size", 25)
    assert said.code == 3 and "These are not the weights of ttsr. Missing: MainNet.SFE.conv_head.weight" in said.err
    assert not (tmp_path / "m").exists()
    nothing = finescan("models", "import", "vgg19", generator, "-o", tmp_path / "m", "--pixel-size", 25)
    assert nothing.code == 3 and "Weights that can be imported are ttsr" in nothing.err
