"""The command line of runs on coarse images alone and of physical evaluation: what arrives, what is refused."""

import numpy as np
import pytest

from finescan import io, workflow
from finescan.values import Grid, Image

USAGE = 2


@pytest.fixture
def calls(monkeypatch):
    """What the doors were called with; nothing is done."""
    seen = []

    def door(name):
        def called(*args, **kwargs):
            seen.append((name, args, kwargs))
            return workflow.Outcome({"done": name}, f"{name} done")

        return called

    for name in ("run", "run_lr_only", "evaluate_physical", "evaluate_files"):
        monkeypatch.setitem(workflow.__dict__, name, door(name))
    return seen


def test_all_images_and_choices_arrive(finescan, calls, tmp_path):
    said = finescan(
        "run", "--lr-only", "a.ser", "b.ser", "-o", tmp_path / "out", "--factor", "4", "--minutes", "0.5", "--set",
        "train.levels=stem", "--pixel-size", "0.01",
    )  # fmt: skip
    assert said.code == 0 and "run_lr_only done" in said.out
    ((name, (images, out), options),) = calls
    assert name == "run_lr_only" and [p.name for p in images] == ["a.ser", "b.ser"] and out == tmp_path / "out"
    assert options["sr_factor"] == 4 and options["reading"].pixel_size_nm == (0.01,)
    assert options["choices"] == {"train.minutes": 0.5, "train.levels": "stem"}


def test_a_pair_still_needs_no_new_word(finescan, calls):
    assert finescan("run", "a.tif", "b.tif", "-o", "out").code == 0
    assert calls[0][0] == "run" and calls[0][1][1][0].name == "b.tif"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "a.tif", "-o", "x"), "A fine scan is missing"),
        (("run", "a.tif", "b.tif", "-o", "x", "--factor", "2"), "--factor goes with --lr-only"),
        (("run", "--lr-only", "a.tif", "-o", "x", "--objective", "grey"), "--objective is about fine scans"),
        (("run", "--lr-only", "a.tif", "-o", "x", "--fine-pixel-size", "3"), "--fine-pixel-size is about fine scans"),
    ],
)
def test_what_does_not_go_together_is_usage(finescan, calls, arguments, words):
    said = finescan(*arguments)
    assert said.code == USAGE and words in " ".join((said.out + said.err).replace("│", " ").split()) and not calls


def test_physical_evaluation_has_its_own_door(finescan, calls, tmp_path):
    assert finescan("evaluate", "sr.tif", "hr.tif", "--physical", "--rule", "published", "-o", tmp_path).code == 0
    assert finescan("evaluate", "sr.tif", "hr.tif").code == 0
    (physical, args, options), (files, _, _) = calls
    assert (physical, files) == ("evaluate_physical", "evaluate_files")
    assert args[2] == tmp_path and options["options"].rule == "published"


def test_bad_input_is_exit_code_3_in_one_sentence(finescan, tmp_path):
    io.write(tmp_path / "tiny.tif", Image(np.eye(20, dtype=np.uint8), Grid.of((20, 20), 1.0), "tiny"))
    said = finescan("run", "--lr-only", tmp_path / "tiny.tif", "-o", tmp_path / "out")
    assert said.code == 3 and "one training crop is 64 x 64 px" in said.err and "Traceback" not in said.err
    assert not (tmp_path / "out").exists()
