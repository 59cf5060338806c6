"""--objective on the command line: what was used is said, and a slip is refused in one sentence."""

from __future__ import annotations

import json


def test_register_says_which_objective_it_used(finescan, scans, tmp_path):
    files = scans / "coarse.tif", scans / "fine.tif"
    asked = finescan("register", *files, "-o", tmp_path / "a", "--objective", "joint-histogram")
    assert asked.code == 0 and "by joint-histogram" in asked.out
    plain = finescan("register", *files, "-o", tmp_path / "b", "--json")
    assert json.loads(plain.out)["pairs"][0]["method"]["objective"] == "grey"


def test_an_unknown_objective_is_refused_before_anything_is_written(finescan, scans, tmp_path):
    for verb in ("register", "run", "train"):
        said = finescan(verb, scans / "coarse.tif", scans / "fine.tif", "-o", tmp_path / verb, "--objective", "mutual")
        assert said.code == 3 and not (tmp_path / verb).exists()
        assert "joint-histogram" in said.err and "'mutual'" in said.err and len(said.errors) == 1


def test_train_registers_by_the_objective_it_is_given(finescan, scans, tmp_path, monkeypatch):
    from finescan.workflow import learning

    asked = []
    monkeypatch.setattr(learning, "register_all", lambda *a, **more: asked.append(more["objective"]) or [])
    said = finescan(
        "train", scans / "coarse.tif", scans / "fine.tif", "-o", tmp_path / "m", "--objective", "joint-histogram"
    )
    assert (said.code, asked) == (3, ["joint-histogram"])
