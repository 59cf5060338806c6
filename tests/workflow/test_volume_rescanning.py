"""finescan rescan on a run of volumes: places for a budget or a share of the error, as JSON and as a list."""

from __future__ import annotations

import csv
import io as text_io
import json
import shutil

import numpy as np
import pytest

from finescan import io, workflow
from finescan.errors import InputError
from finescan.workflow.rescanning import RescanOptions, rescan_folder


def plan(folder, out, **options):
    return rescan_folder(folder, out, options=RescanOptions(**options), overwrite=True)


def test_a_budget_pays_for_the_best_places(finished_volume, volumes, tmp_path):
    outcome = plan(finished_volume, tmp_path / "plan", budget="5h", scan_time="2h")
    body = json.loads((tmp_path / "plan" / "rescan.json").read_text(encoding="utf-8"))
    assert body == {k: v for k, v in outcome.facts.items() if k != "files"}
    assert (body["kind"], body["axes"], body["schema"]) == ("finescan volume rescan plan", "ZYX", 1)
    assert len(body["places"]) == 2 and body["seconds"] == 4 * 3600.0
    coarse = io.read_volume(volumes / "coarse.tif").grid
    half = io.read_volume(finished_volume / "uncertainty.tif").array()
    expected = np.nan_to_num(half) ** 2
    shares = [place["reduction"] for place in body["places"]]
    assert shares[0] >= shares[1] > 0 and sum(shares) == pytest.approx(body["reduction"])
    for place in body["places"]:
        box = tuple(slice(int(2 * a), int(2 * b)) for a, b in zip(place["start_px"], place["stop_px"], strict=True))
        assert place["reduction"] <= expected[box].sum() / expected.sum() * 1.001  # recorded voxels bring nothing
        um = (np.array(place["centre_px"]) + 0.5) * coarse.pixel_size_nm / 1e3
        np.testing.assert_allclose(place["centre_um"], um)
        np.testing.assert_allclose(place["from_middle_um"], um - np.array(coarse.extent_nm) / 2e3)
    rows = list(csv.DictReader(text_io.StringIO((tmp_path / "plan" / "rescan.csv").read_text())))
    assert [r["id"] for r in rows] == ["R001", "R002"]
    assert float(rows[0]["centre_x_um"]) == pytest.approx(body["places"][0]["centre_um"][2], abs=1e-4)
    assert float(rows[0]["size_z_um"]) == pytest.approx(body["size_nm"][0] / 1e3, abs=1e-4)
    assert "2 places of" in outcome.text and "R001: middle" in outcome.text and "in 4 h" in outcome.text


def test_a_share_takes_as_many_places_as_it_needs(finished_volume, tmp_path):
    few, more = (plan(finished_volume, tmp_path / "plan", until=u).facts["places"] for u in ("5%", "30%"))
    assert len(few) < len(more) and few == more[: len(few)]
    assert sum(p["reduction"] for p in more) >= 0.3 > sum(p["reduction"] for p in more[:-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": "5h"}, r"time that one fine tomogram takes, but none came\. Pass for example --scan-time 2h"),
        ({"budget": "1h", "scan_time": "2h"}, r"budget of .* is less than one fine tomogram takes \(2 h\)"),
        ({"until": "100%"}, r"all that is left remove \d+ % of the expected error, less than the 100 % asked for"),
        ({"until": "5%", "frame": (8, 8)}, r"--frame is for pictures, but the run is one of volumes"),
        ({"budget": "soon", "scan_time": "2h"}, r"A budget is a time with its unit"),
    ],
)
def test_what_cannot_be_planned_is_said_and_nothing_written(finished_volume, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        plan(finished_volume, tmp_path / "plan", **options)
    assert not (tmp_path / "plan").exists()


def test_without_intervals_there_is_no_plan(finished_volume, tmp_path):
    copy = shutil.copytree(finished_volume, tmp_path / "run")
    (copy / "uncertainty.tif").unlink()
    with pytest.raises(InputError, match="has no calibrated intervals, so nothing tells where"):
        plan(copy, tmp_path / "plan", until="5%")


def test_the_time_of_a_tomogram_is_no_choice_for_pictures(finished, tmp_path):
    with pytest.raises(InputError, match="--scan-time is for volumes"):
        workflow.rescan_folder(finished, tmp_path / "plan", options=RescanOptions(budget="1h", scan_time="2h"))


def test_a_merge_expects_the_tomogram_of_a_place_there(finished_volume, volumes, tmp_path):
    """Named after its place, a rescan is looked for around it; a plan of another volume is not believed."""
    from finescan.errors import InputError
    from finescan.rescan import MapReference
    from finescan.workflow.finished import open_finished
    from finescan.workflow.incoming import _planned, old_run
    from finescan.workflow.volume_rescanning import planned_places

    body = plan(finished_volume, tmp_path, until="30%").facts
    old = old_run(open_finished(finished_volume))
    files = [tmp_path / n for n in ("sample_R002.tif", "R001.tif", "other.tif", "R900.tif")]
    found = _planned(old, files, [], tmp_path / "rescan.json")
    assert [None if f is None else f.id for f in found] == ["R002", "R001", None, None]
    assert found == _planned(old, files, [], None)  # it lies beside them
    np.testing.assert_allclose(found[0].middle_nm, old.lr.grid.to_nm(body["places"][1]["centre_px"]))
    assert found[0].size_nm == tuple(body["size_nm"])
    with pytest.raises(InputError, match=r"was made for another volume than coarse\.tif"):
        planned_places(tmp_path / "rescan.json", MapReference("coarse.tif", old.lr.grid, "0" * 64))
    (tmp_path / "rescan.json").write_text('{"kind": "else"}')
    with pytest.raises(InputError, match=r"holds no rescan plan of a volume"):
        planned_places(tmp_path / "rescan.json", MapReference("coarse.tif", old.lr.grid, ""))
    assert _planned(old, files, [], None) == [None] * 4  # nobody asked for it
