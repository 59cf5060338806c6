"""``finescan rescan`` on a finished run: its files, what it says, and every sentence for what cannot be."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer import BadParameter

from finescan import io
from finescan.cli.rescan import _frame
from finescan.rescan import EXPORTERS, load_plan
from finescan.values import Grid, Image
from finescan.workflow.finished import open_finished
from finescan.workflow.rescanning import scanned_mask

INPUT, OUTPUT = 3, 5
FRAME = "--frame", "96x64", "--dwell", "10"  # 24 x 16 px of the map


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    """Four corners of a map of 160 x 160 px of 100 nm: stage x to the right, y upwards, about (2000, -500) µm."""
    path = tmp_path_factory.mktemp("marks") / "stage.yaml"
    points = [[[y, x], [2000 + 0.1 * x, -500 - 0.1 * y]] for y in (0, 159) for x in (0, 159)]
    path.write_text(json.dumps(points))
    return path


def refused(said, code, *words):
    assert said.code == code and said.out == ""
    (line,) = said.errors
    assert line.startswith("error: ") and "Traceback" not in said.err
    for word in words:
        assert word in line, line


def mask_of(finished) -> np.ndarray:
    """Map pixels that the run's fine scan covers."""
    from finescan.values import Warp

    d = json.loads((finished / "pair" / "01-fine" / "pair.json").read_text())
    lr = Grid.from_dict(d["lr"]["grid"])
    return scanned_mask(lr, [(Grid.from_dict(d["hr"]["grid"]), Warp.from_dict(d["lr_from_hr"]))])


def test_a_plan_within_its_budget_beside_what_was_scanned(finescan, finished, tmp_path):
    out = tmp_path / "plan"
    said = finescan("rescan", finished, "--budget", "20s", *FRAME, "--settle", "2", "-o", out)
    assert said.code == 0, said.err
    plan = load_plan(out / "rescan.json")
    assert 15 < plan.seconds <= 20 and len(plan.fields) == 9  # 2 s and 0.061 s each
    assert f"9 fields in {plan.seconds:.3g} s" in said.out and "asked for: 20 s of beam time" in said.out
    mask = mask_of(finished)
    assert 0.3 < mask.mean() < 0.5  # 400 px of 25 nm in 160 px of 100 nm: (100 / 160)^2
    for f in plan.fields:
        (top, left), (bottom, right) = f.start_px, f.stop_px
        assert not mask[int(top) : int(bottom), int(left) : int(right)].any()
    names = {"rescan.json", "rescan.png", "rescan.csv", "rescan.geojson", "RoiSet.zip"}
    assert {p.name for p in out.iterdir()} == names
    for name in ("serialem", "serialem-map", "micromanager", "openfibsem"):
        assert f"{EXPORTERS[name].file} was left out: " in said.out
    assert "stage: not known; the plan is in map pixels only" in said.out
    rows = list(csv.DictReader((out / "rescan.csv").read_text(encoding="utf-8").splitlines()))
    assert [float(r["left_px"]) for r in rows] == [f.start_px[1] for f in plan.fields]


def test_the_same_run_gives_the_same_files(finescan, finished, tmp_path):
    for name in "ab":
        assert finescan("rescan", finished, "--until", "30%", *FRAME, "-o", tmp_path / name).code == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert load_plan(tmp_path / "a" / "rescan.json").reduction >= 0.3


def test_with_landmarks_every_list_is_written(finescan, finished, landmarks, tmp_path):
    out = tmp_path / "plan"
    options = "--stage-landmarks", landmarks, "--stage-z", "12.5", "--map-id", "7"
    said = finescan("rescan", finished, "--budget", "10s", *FRAME, *options, "-o", out)
    assert said.code == 0 and "left out" not in said.out
    assert {p.name for p in out.iterdir()} == {"rescan.json", "rescan.png", *(row.file for row in EXPORTERS.values())}
    plan = load_plan(out / "rescan.json")
    y, x = plan.fields[0].centre_px
    assert plan.stage is not None and plan.stage.handedness == "right"
    places = json.loads((out / "rescan.pos").read_text())["map"]["StagePositions"]["array"]
    xy, z = (d["Position_um"]["array"] for d in places[0]["DevicePositions"]["array"])
    assert xy == pytest.approx([2000 + 0.1 * (x - 0.5), -500 - 0.1 * (y - 0.5)], abs=1e-3) and z == [12.5]
    assert f"{plan.fields[0].centre_px[1]:.3f} {160 - y:.3f} 12.5" in (out / "rescan-map.nav").read_text()


def test_merging_and_json(finescan, finished, tmp_path):
    asked = "rescan", finished, "--budget", "10s", *FRAME, "--stage-speed", "1000"
    alone = json.loads(finescan(*asked, "-o", tmp_path / "a", "--json").out)
    merged = json.loads(finescan(*asked, "--max-frame", "512x512", "-o", tmp_path / "b", "--json").out)
    assert merged["expected"]["reduction"] > 1.3 * alone["expected"]["reduction"]
    assert max(f["frame_px"][1] for f in merged["fields"]) > 96
    assert sorted(alone["files"]) == sorted(p.name for p in (tmp_path / "a").iterdir())


def test_weights_say_what_matters(finescan, finished, tmp_path):
    """Only the lowest rows matter: all fields lie there."""
    weight = np.zeros((160, 160), np.float32)
    weight[140:] = 1
    io.write(tmp_path / "value.tif", Image(weight, Grid.of(weight.shape, 100.0)))
    asked = "rescan", finished, "--budget", "10s", *FRAME, "--value", tmp_path / "value.tif", "-o", tmp_path / "plan"
    assert finescan(*asked).code == 0
    assert all(f.stop_px[0] > 140 for f in load_plan(tmp_path / "plan" / "rescan.json").fields)
    io.write(tmp_path / "small.tif", Image(weight[135:144], Grid.of((9, 160), 100.0)))
    said = finescan("rescan", finished, "--budget", "10s", *FRAME, "--value", tmp_path / "small.tif", "-o", tmp_path)
    refused(said, INPUT, "small.tif has (9, 160) px", "--value")


def test_an_edited_plan_is_written_again(finescan, finished, tmp_path):
    out = tmp_path / "plan"
    assert finescan("rescan", finished, "--budget", "10s", *FRAME, "-o", out).code == 0
    d = json.loads((out / "rescan.json").read_text(encoding="utf-8"))
    d["fields"] = d["fields"][:1]
    (tmp_path / "mine.json").write_text(json.dumps(d))
    again = tmp_path / "again"
    said = finescan("rescan", finished, "--plan", tmp_path / "mine.json", "--format", "geojson", "-o", again)
    assert said.code == 0 and said.out.startswith("1 field in ")
    assert len(json.loads((again / "rescan.geojson").read_text())["features"]) == 1
    for change, words in (
        ({"schema": 9}, ("has schema 9, but this program reads 1",)),
        ({"map": {**d["map"], "sha256": "0" * 64}}, ("was made for coarse.tif", "is another file")),
        ({"kind": "recipe"}, ("holds no rescan plan",)),
    ):
        (tmp_path / "bad.json").write_text(json.dumps({**d, **change}))
        said = finescan("rescan", finished, "--plan", tmp_path / "bad.json", "-o", tmp_path / "never")
        refused(said, INPUT, *words)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("--budget 20min or --until 95%",)),
        (("--budget", "20min", "--until", "95%"), ("either a budget",)),
        (("--budget", "20"), ("such as 20min", "'20'")),
        (("--budget", "1s", *FRAME), ("One field of 96 x 64 px of 25 nm takes 2.06 s", "the budget is 1 s")),
        (("--until", "50%", "--frame", "9999x64"), ("covers 2500 x 16 px of the map, which has only 160 x 160 px",)),
        (("--until", "50%", *FRAME, "--max-frame", "10x10"), ("Pass a larger --max-frame",)),
        (("--until", "50%", *FRAME, "--format", "csv,serialem"), ("needs stage positions", "--stage-landmarks")),
        (("--until", "50%", *FRAME, "--format", "serialem-map"), ("Pass its MapID with --map-id",)),
        (("--until", "50%", *FRAME, "--format", "atlas"), ("'atlas' came", "geojson")),
        (("--until", "50%", *FRAME, "--order", "spiral"), ("shortest or rows", "'spiral' came")),
        (("--until", "50%", *FRAME, "--plan", "no.json"), ("no.json cannot be read as JSON",)),
        (("--until", "50%", "--dwell", "-1"), ("dwell time", "--dwell")),
    ],
)
def test_what_cannot_be_planned(finescan, finished, tmp_path, options, words):
    refused(finescan("rescan", finished, *options, "-o", tmp_path / "out"), INPUT, *words)
    assert not (tmp_path / "out").exists()


def test_a_slip_in_a_frame_is_a_usage_error(finescan, finished, tmp_path):
    said = finescan("rescan", finished, "--until", "50%", "--frame", "96", "-o", tmp_path / "out")
    assert said.code == 2 and "such as 1024x884, but '96' came" in said.err


def test_folders_that_are_no_finished_run(finescan, finished, scans, tmp_path):
    ask = "--until", "50%", *FRAME, "-o", tmp_path / "out"
    refused(finescan("rescan", scans, *ask), INPUT, "holds no run (run.json is missing)")
    run = shutil.copytree(finished, tmp_path / "run")
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "steps": {}}))
    refused(finescan("rescan", run, *ask), INPUT, "is not finished. Continue it with `finescan run`")
    (run / "run.json").write_text("{")
    refused(finescan("rescan", run, *ask), INPUT, "run.json cannot be read")


def test_a_coarse_scan_that_has_gone_or_changed(finescan, finished, scans, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    ask = "rescan", run, "--until", "50%", *FRAME, "-o", tmp_path / "out"
    plan = (run / "plan.yaml").read_text(encoding="utf-8")
    moved = tmp_path / "elsewhere.tif"
    (run / "plan.yaml").write_text(plan.replace(str(scans / "coarse.tif"), str(moved)), encoding="utf-8")
    refused(finescan(*ask), INPUT, "elsewhere.tif cannot be found. Put it back")
    shutil.copyfile(scans / "other.tif", moved)
    refused(finescan(*ask), INPUT, "is not the file that the run", "was made from")
    shutil.copyfile(scans / "coarse.tif", moved)
    assert finescan(*ask).code == 0


def test_without_the_fine_scan_its_dwell_time_must_be_passed(finescan, finished, scans, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    plan = (run / "plan.yaml").read_text(encoding="utf-8")
    (run / "plan.yaml").write_text(plan.replace(str(scans / "fine.tif"), str(tmp_path / "gone.tif")), encoding="utf-8")
    ask = "rescan", run, "--until", "20%", "--frame", "96x64", "-o", tmp_path / "out"
    refused(finescan(*ask), INPUT, "The dwell time of a fine scan is needed", "Pass --dwell in µs")
    assert finescan(*ask, "--dwell", "4").code == 0


def test_what_is_there_is_not_overwritten_unasked(finescan, finished, tmp_path):
    ask = "rescan", finished, "--until", "20%", *FRAME, "--format", "csv", "-o", tmp_path
    (tmp_path / "rescan.csv").write_text("mine")
    refused(finescan(*ask), OUTPUT, "rescan.csv exists", "--overwrite")
    assert [p.name for p in tmp_path.iterdir()] == ["rescan.csv"]
    assert finescan(*ask, "--overwrite").code == 0


def test_the_runs_own_frame_pixel_size_and_dwell_time_are_the_defaults(finescan, finished, tmp_path):
    """No frame of the size of the fine scan fits beside it, so the one field lies partly on it, and that is said."""
    said = finescan("rescan", finished, "--until", "40%", "-o", tmp_path / "whole")
    assert said.code == 0 and "1 of 1 fields overlap them, and scan a part again" in said.out
    assert load_plan(tmp_path / "whole" / "rescan.json").fields[0].frame_px == (400, 400)
    fine = open_finished(finished)
    dwell = fine.reading.fine(fine.fines[0]).acquisition.dwell_time_us
    assert finescan("rescan", finished, "--until", "20%", "--frame", "96x64", "-o", tmp_path / "out").code == 0
    plan = load_plan(tmp_path / "out" / "rescan.json")
    assert plan.times.dwell_us == dwell and plan.frame.pixel_size_nm == (25.0, 25.0)
    assert plan.times.coarse_s is not None and 0 < plan.relative_time < 1


def test_planning_loads_no_torch(finished, tmp_path):
    code = "import sys; from finescan.__main__ import main; code = main(); print('torch' in sys.modules, code)"
    words = "rescan", finished, "--until", "20%", *FRAME, "-o", tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "False 0", done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1024x884", ((1024, 884), None)),
        (" 800 × 800 x 700 px", ((800, 800, 700), None)),
        ("500x400um", (None, (500.0, 400.0))),
        ("0.5, 0.4, 1.25 µm", (None, (0.5, 0.4, 1.25))),
        (None, (None, None)),
    ],
)
def test_frames_in_pixels_and_micrometres(text, found):
    assert _frame(text) == found


@pytest.mark.parametrize("text", ["96", "1.5x2", "10x20mm", "1x2x3x4", "x", "1.2.3x4um"])
def test_frames_that_are_none(text):
    with pytest.raises(BadParameter, match=r"such as 1024x884, but '.*' came"):
        _frame(text)


def test_without_a_folder_the_plan_lies_in_the_run_where_merge_finds_it(finescan, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    assert finescan("rescan", run, "--until", "20%", *FRAME, "--format", "csv").code == 0
    assert load_plan(run / "rescan" / "rescan.json").fields
    refused(finescan("rescan", run, "--until", "20%", *FRAME), OUTPUT, "exists", "--overwrite")
