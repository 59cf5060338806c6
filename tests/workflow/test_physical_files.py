"""Physical evaluation on files: pieces of a result in a fine image that was recorded apart."""

import csv
import json

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage, signal

from finescan import io, workflow
from finescan.errors import InputError, OutputError
from finescan.trust.metrics import psnr
from finescan.trust.physical_scores import pair_scores, scores_by_level, softened
from finescan.values import Grid, Image
from finescan.workflow.physical import PhysicalOptions

ONE = PhysicalOptions(per_side=1, piece_px=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """truth recorded finely (a place of it cut out), enhanced well, and coarsely."""
    out = tmp_path_factory.mktemp("apart")
    rng = np.random.default_rng(0)
    truth = 100 + 20 * ndimage.gaussian_filter(rng.standard_normal((200, 220)), 3.0) / 0.09
    grid = Grid.of((120, 120), 2.0)
    place = truth[30:150, 40:160]
    io.write(
        out / "fine.tif", Image((truth + rng.normal(0, 2, truth.shape)).astype(np.float32), Grid.of((200, 220), 2.0))
    )
    io.write(out / "enhanced.tif", Image((3 * place + 40).astype(np.float32), grid))
    coarse = place.reshape(30, 4, 30, 4).mean(axis=(1, 3))
    io.write(out / "coarse.tif", Image(coarse.astype(np.float32), grid.coarsen(4)))
    io.write(out / "elsewhere.tif", Image(rng.standard_normal((200, 220)).astype(np.float32), Grid.of((200, 220), 2.0)))
    return out


def test_pieces_are_found_and_scored_beside_the_interpolation(folder, tmp_path):
    done = workflow.evaluate_physical(
        folder / "enhanced.tif", folder / "fine.tif", tmp_path / "out", coarse=folder / "coarse.tif", options=ONE
    )
    facts = json.loads((tmp_path / "out" / "physical.json").read_text())
    (piece,) = facts["pieces"]
    middle = 28 + 31.5  # of the piece in the enhanced picture
    assert piece["centre"] == pytest.approx([30 + middle, 40 + middle], abs=0.2)
    assert piece["scale"] == pytest.approx(1, abs=0.003) and piece["turn_deg"] == pytest.approx(0, abs=0.15)
    assert facts["credible"] == 1 and facts["notes"] == []
    enhanced, bicubic = (facts["scores"][n]["1"] for n in ("enhanced", "bicubic"))
    assert enhanced["psnr"] > bicubic["psnr"] + 3 and enhanced["ms_ssim"] > bicubic["ms_ssim"]
    assert enhanced["gauss_psnr"] > enhanced["psnr"]  # softening takes the fine image's noise off
    rows = list(csv.DictReader((tmp_path / "out" / "physical.csv").open()))
    assert [(r["method"], r["averaged"]) for r in rows] == [(m, n) for m in ("enhanced", "bicubic") for n in "124"]
    assert float(rows[0]["psnr"]) == pytest.approx(enhanced["psnr"], rel=1e-4)
    assert Pillow.open(tmp_path / "out" / "physical.png").size[0] > 3 * 256
    assert "1 of 1 pieces found by the robust rule" in done.text
    with pytest.raises(OutputError, match="holds an evaluation"):
        workflow.evaluate_physical(folder / "enhanced.tif", folder / "fine.tif", tmp_path / "out", options=ONE)


def test_another_place_is_not_found_and_a_lattice_is_said_to_be_one(folder, tmp_path):
    lost = workflow.evaluate_physical(folder / "enhanced.tif", folder / "elsewhere.tif", options=ONE)
    assert lost.facts["credible"] == 0 and "may show another place" in lost.text
    y, x = np.indices((160, 160))
    lattice = np.cos(2 * np.pi * y / 12.5) + np.cos(2 * np.pi * x / 14.2)
    for name, part in (("fine", lattice), ("enhanced", lattice[40:120, 40:120])):
        io.write(tmp_path / f"{name}.tif", Image(part.astype(np.float32), Grid.of(part.shape, 0.01)))
    found = workflow.evaluate_physical(tmp_path / "enhanced.tif", tmp_path / "fine.tif", options=ONE)
    assert "as on a lattice: it is compared with an equal place, not with the same atoms" in found.text


def test_the_published_rule_can_be_asked_for(folder):
    rule = PhysicalOptions(rule="published", by="ssim", per_side=1, piece_px=64)
    found = workflow.evaluate_physical(folder / "enhanced.tif", folder / "fine.tif", options=rule)
    assert found.facts["rule"] == "published"
    assert np.abs(found.facts["pieces"][0]["scale"] - np.linspace(0.9, 1.1, 25)[8:17]).min() < 1e-9


def test_softening_is_the_binomial_with_a_mirrored_border():
    picture = np.random.default_rng(1).random((12, 15))
    for row in ((1.0, 2.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0)):
        kernel = np.outer(row, row) / np.sum(row) ** 2
        r = len(row) // 2
        expected = signal.convolve2d(np.pad(picture, r, mode="reflect"), kernel, mode="valid")
        np.testing.assert_allclose(softened(picture, row), expected, atol=1e-12)


def test_scores_are_means_over_softened_pictures_and_levels_are_averages():
    rng = np.random.default_rng(2)
    fine = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 2)
    piece = 2 * fine + 0.2 * rng.standard_normal(fine.shape) + 7
    known = np.ones(fine.shape, bool)
    scores = pair_scores(piece, fine, known, data_range=1.0)
    gain, offset = np.polyfit(piece.ravel(), fine.ravel(), 1)
    ours = gain * piece + offset
    each = [psnr(ours, fine, data_range=1.0)]
    each += [psnr(softened(ours, k), softened(fine, k), data_range=1.0) for k in ((1, 2, 1), (1, 4, 6, 4, 1))]
    assert scores["psnr"] == pytest.approx(each[0]) and scores["gauss_psnr"] == pytest.approx(np.mean(each))
    assert list(scores_by_level(piece, fine, known, data_range=1.0)) == [1, 2, 4]
    assert list(scores_by_level(piece[:40, :40], fine[:40, :40], known[:40, :40], data_range=1.0)) == [1, 2]


def test_refusals(folder, tmp_path):
    small = Image(np.random.default_rng(0).random((30, 30), np.float32), Grid.of((30, 30), 2.0))
    io.write(tmp_path / "small.tif", small)
    with pytest.raises(InputError, match=r"at least 48 px are matched, but the enhanced one has 30 x 30 px"):
        workflow.evaluate_physical(tmp_path / "small.tif", folder / "fine.tif")
    with pytest.raises(InputError, match=r"square pixels, but those of fine.tif are 2 x 3 nm"):
        reading = workflow.Reading(fine_pixel_size_nm=(2.0, 3.0))
        workflow.evaluate_physical(folder / "enhanced.tif", folder / "fine.tif", reading=reading)
