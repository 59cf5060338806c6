"""Zoom curves on held-out blocks: the standard evaluation itself, of the block alone, with the limit of trust."""

from types import SimpleNamespace

import numpy as np
import pytest

from finescan.models import Model, build
from finescan.patches import PRESETS, multiscale_patches
from finescan.training.contestants import make_card
from finescan.trust.zoom_curves import zoom_curve
from finescan.values import Grid, Image, Region
from finescan.workflow.lr_only_zoom import block_curve, zoom_chapter

SIDE = 128


@pytest.fixture(scope="module")
def image():
    y, x = np.indices((SIDE, SIDE))
    pattern = 1000 + 200 * np.cos(y / 2.5) * np.cos(x / 2.2)
    noise = 20 * np.random.default_rng(0).standard_normal((SIDE, SIDE))
    return Image((pattern + noise).astype(np.float32), Grid.of((SIDE, SIDE), 0.02), "atoms")


@pytest.fixture(scope="module")
def learned(image):
    patches = multiscale_patches([image], PRESETS["stm-single-scale"])
    models = {n: Model(build(n, 2), make_card(patches, n, {}, {})) for n in ("bicubic", "nearest")}
    return SimpleNamespace(patches=patches, models=models)


def judged(image, shape):
    return SimpleNamespace(boxes=((Region(image.grid, (20, 24), (20 + shape[0], 24 + shape[1])),),), method="nearest")


def test_the_curve_is_the_standard_evaluation_of_the_block(image, learned):
    found = block_curve([image], judged(image, (80, 96)).boxes, learned, "nearest")
    assert found.ratios == (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    grey = learned.patches.hr_grey

    def twice(picture):
        return picture.repeat(2, axis=0).repeat(2, axis=1)

    block = image.array()[20:100, 24:120]
    expected = zoom_curve(block, found.ratios, 2, {"nearest": twice}, data_range=grey.high - grey.low)
    np.testing.assert_allclose(found.scores["enhanced"]["psnr"], expected.scores["nearest"]["psnr"], atol=1e-3)
    assert found.gains("enhanced")[-1] < -1  # nearest pixels are worse than bicubic interpolation


def test_what_lies_outside_the_block_has_no_part(image, learned):
    changed = image.array().copy()
    changed[:20], changed[:, :24] = 0, 5000
    other = Image(changed, image.grid, "changed")
    boxes = judged(image, (80, 96)).boxes
    assert block_curve([other], boxes, learned, "nearest") == block_curve([image], boxes, learned, "nearest")


def test_the_chapter_marks_the_limit_of_trust_or_says_why_there_is_none(image, learned):
    chapter = zoom_chapter([image], learned, judged(image, (80, 96)), 160.0)
    figure = chapter.parts[1]
    assert "on held-out blocks (crops: 1)" in chapter.parts[0] and "trust up to 160 %" in figure.svg
    narrow = zoom_chapter([image], learned, judged(image, (48, 96)), 100.0)
    assert narrow.parts == (
        "Not made: it needs a held-out block of 50 px or more along its shorter side, and the largest has 48 px. "
        "Larger images have one.",
    )


@pytest.mark.parametrize(
    ("low", "words"), [(-0.4, "which may be chance: with 4 blocks, 95 % lie between -0.40 and"), (0.9, "")]
)
def test_a_gain_of_few_blocks_is_said_to_be_perhaps_chance(low, words):
    from types import SimpleNamespace

    from finescan.trust.report import Gain
    from finescan.workflow.lr_only_judging import _gained

    gain = Gain(2.0, 0.3, low, 4.5, 4, "better" if low > 0 else "equal")
    said = _gained(SimpleNamespace(curve=SimpleNamespace(gains=[gain], similarity=[gain], levels=[2.0]), report=None))
    assert said.startswith("PSNR +2.00 ± 0.30 dB") and "at 200 %" in said
    assert (words in said) if words else ("chance" not in said)
