"""How tiles are put together is a choice of runs and of single enhancements."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from finescan import io, workflow
from finescan.errors import InputError


def test_the_published_tiling_of_a_finished_model(finescan, finished, scans, tmp_path) -> None:
    """The small network reads 8 pixels around, the published windows have a margin of 6: close, but not the same."""
    exact, centre = tmp_path / "exact.tif", tmp_path / "centre.tif"
    assert finescan("enhance", finished / "model", scans / "coarse.tif", "-o", exact).code == 0
    said = finescan("enhance", finished / "model", scans / "coarse.tif", "-o", centre, "--blending", "centre")
    assert said.code == 0
    a, b = (np.asarray(io.read(p).data, float) for p in (exact, centre))
    assert 0 < np.abs(a - b).mean() < 0.02 * a.std()


def test_an_unknown_blending_is_named(finescan, finished, scans, tmp_path) -> None:
    out = tmp_path / "x.tif"
    said = finescan("enhance", finished / "model", scans / "coarse.tif", "-o", out, "--blending", "feathered")
    assert said.code == 3 and "'exact' or 'smooth' or 'centre', but 'feathered' came" in said.err
    assert not out.exists()


def test_a_run_keeps_the_choice_in_its_plan(finished) -> None:
    plan = yaml.safe_load((finished / "plan.yaml").read_text(encoding="utf-8"))
    assert plan["choices"]["result.blending"]["value"] == "exact"


def test_a_choice_for_volumes_is_refused_for_pictures(scans, tmp_path) -> None:
    with pytest.raises(
        InputError, match=r"result.blending cannot be 'published' for pictures. Expected: exact or smooth"
    ):
        workflow.run(
            scans / "coarse.tif",
            scans / "fine.tif",
            tmp_path / "run",
            choices={"result.blending": "published", "train.steps": 8, "train.members": 1},
        )
