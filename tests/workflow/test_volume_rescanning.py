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
from finescan.values import Acquisition, Grid, Image, StagePose, Verdict, Warp
from finescan.workflow.rescanning import Recorded, RescanOptions, posed, rescan_folder


def plan(folder, out, **options):
    return rescan_folder(folder, out, options=RescanOptions(**options), overwrite=True)


def test_a_budget_pays_for_the_best_places(finished_volume, volumes, tmp_path):
    outcome = plan(finished_volume, tmp_path / "plan", budget="5h", scan_time="2h")
    body = json.loads((tmp_path / "plan" / "rescan.json").read_text(encoding="utf-8"))
    assert body == {k: v for k, v in outcome.facts.items() if k not in ("files", "left_out")}
    assert (body["kind"], body["axes"], body["schema"]) == ("finescan volume rescan plan", "ZYX", 2)
    assert (body["shape"], body["rotation_axis"]) == ("box", None)
    assert len(body["places"]) == 2 and body["seconds"] == 4 * 3600.0
    coarse = io.read_volume(volumes / "coarse.tif").grid
    half = io.read_volume(finished_volume / "uncertainty.tif").array()
    expected = np.nan_to_num(half) ** 2
    shares = [place["reduction"] for place in sorted(body["places"], key=lambda p: p["priority"])]
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
    assert "note: Times hold no overhead for moving and aligning the sample" in outcome.text
    assert "note: coarse.tif does not say where the stage stood. Places are given in voxels, and in µm" in outcome.text
    assert outcome.facts["files"] == ["rescan.csv", "RoiSet.zip", "rescan.png", "rescan.json"]
    assert outcome.facts["left_out"][0].startswith("rescan.pos was left out: The list for Micro-Manager needs stage")


def test_a_share_takes_as_many_places_as_it_needs(finished_volume, tmp_path):
    few, more = (
        sorted(plan(finished_volume, tmp_path / "plan", until=u).facts["places"], key=lambda p: p["priority"])
        for u in ("5%", "30%")
    )
    assert len(few) < len(more) and [p["start_px"] for p in few] == [p["start_px"] for p in more[: len(few)]]
    assert sum(p["reduction"] for p in more) >= 0.3 > sum(p["reduction"] for p in more[:-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": "5h"}, r"time that one fine tomogram takes, but none came\. Pass for example --scan-time 2h"),
        ({"budget": "1h", "scan_time": "2h"}, r"budget of .* is less than one fine tomogram takes \(2 h\)"),
        ({"until": "100%"}, r"all that is left remove \d+ % of the expected error, less than the 100 % asked for"),
        ({"budget": "2h", "scan_time": "2h", "settle_s": 60.0}, r"is less than one fine tomogram takes \(2.02 h\)"),
        (
            {"budget": "2h", "scan_time": "2h", "stage_um_per_s": 1e-9},
            r"takes \(2 h and the way of the stage\)\. Pass a larger --budget",
        ),
        ({"until": "5%", "dwell_us": 2.0, "max_frame": (8, 8)}, r"--max-frame, --dwell is for pictures"),
        ({"until": "5%", "frame": (800, 8)}, r"A frame of .* does not fit into coarse\.tif, which has .* \(x, y, z\)"),
        ({"until": "5%", "rotation_axis": "w"}, r"A rotation axis is z, y or x of the volume, but 'w' came"),
        (
            {"until": "5%", "formats": "csv,geojson"},
            r"rescan\.geojson \(QuPath\) holds flat fields only.*csv, roiset, mic",
        ),
        ({"until": "5%", "formats": "micromanager"}, r"needs stage positions, but those of coarse\.tif are not known"),
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


# ------------------------------------------------------------------ the instrument
@pytest.fixture(scope="module")
def landmarks(volumes, tmp_path_factory):
    """A turned stage with z upside down: six voxels of the coarse volume, as a CSV and as YAML; and the true map."""
    grid, folder = io.read_volume(volumes / "coarse.tif").grid, tmp_path_factory.mktemp("marks")
    turn = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])

    def stage(zyx):
        um = (np.array(zyx) * grid.pixel_size_nm)[::-1] / 1e3
        return turn @ um + (100.0, -200.0, 3000.0)

    voxels = [(0, 0, 0), (27, 0, 0), (0, 35, 0), (0, 0, 35), (20, 30, 10), (5, 12, 33)]
    lines = [",".join(str(v) for v in (*v[::-1], *stage(v))) for v in voxels]
    (folder / "stage.csv").write_text("\n".join(["x_px,y_px,Z_px,x_um,y_um,z_um", *lines]), encoding="utf-8-sig")
    (folder / "stage.yaml").write_text(json.dumps([[list(v), stage(v).tolist()] for v in voxels]))
    return folder, stage


def test_landmarks_lead_the_stage_to_every_place(finished_volume, landmarks, tmp_path):
    folder, stage = landmarks
    options = {"until": "15%", "frame": (16, 12), "settle_s": 600.0, "scan_time": "2h", "stage_um_per_s": 0.01}
    outcome = plan(finished_volume, tmp_path / "a", landmarks=folder / "stage.csv", **options)
    body = outcome.facts
    assert body["stage"]["mirrored"] and "Mirrored: an odd number of stage axes" in outcome.text
    assert body["shape"] == "cylinder" and body["rotation_axis"] == "z" and body["stage"]["left_out_um"] < 1e-6
    assert (tmp_path / "a" / "rescan.pos").exists() and body["left_out"] == []
    here, spent = None, 0.0
    for place in body["places"]:
        np.testing.assert_allclose(place["stage_um"], stage(place["centre_px"]), atol=1e-6)
        if here is not None:
            way = np.linalg.norm(np.array(place["centre_um"]) - here)
            assert place["seconds"] == pytest.approx(7200 + 600 + way / 0.01)
        here = np.array(place["centre_um"])
        spent += place["seconds"]
    assert body["seconds"] == pytest.approx(spent) and len(body["places"]) > 2
    other = plan(finished_volume, tmp_path / "b", landmarks=folder / "stage.yaml", **options).facts
    np.testing.assert_allclose(other["stage"]["matrix"], body["stage"]["matrix"], rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n1,2\n", r"bad\.csv is no list of landmarks of a volume .* x_px, y_px, z_px, x_um"),
        ("x_px,y_px,z_px,x_um,y_um,z_um\n1,2,3,4,5\n", "not every line has as many entries as the first one"),
        ("x_px,y_px,z_px,x_um,y_um,z_um\n1,0,2,0,3,0,4,5,5,5,6,5\n", "not every line has as many entries"),
        ("", "at least 4 voxels with their stage positions, all finite, but 0 came"),
    ],
)
def test_landmarks_that_cannot_be_read(finished_volume, tmp_path, text, words):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        plan(finished_volume, tmp_path / "c", until="5%", landmarks=tmp_path / "bad.csv")


def test_landmarks_with_semicolons_and_decimal_commas(tmp_path):
    from finescan.workflow.volume_field import read_landmarks

    (tmp_path / "de.csv").write_text("z_px;y_px;x_px;x_um;y_um;z_um\n1;2;3;4,5;-5,25;6\n")
    voxels, stage = read_landmarks(tmp_path / "de.csv")
    assert voxels.tolist() == [[1, 2, 3]] and stage.tolist() == [[4.5, -5.25, 6]]


def test_frames_in_voxels_and_micrometres(finished_volume, volumes, tmp_path):
    fine = io.read_volume(finished_volume / "uncertainty.tif").grid.pixel_size_nm
    size = lambda **o: plan(finished_volume, tmp_path / "plan", until="1%", **o).facts  # noqa: E731
    np.testing.assert_allclose(size(frame=(20, 16, 12))["size_nm"], np.array([12, 16, 20]) * fine, rtol=1e-6)
    tall = size(frame=(20, 12))  # a detector of 20 x 12: cylinders 20 across and 12 high
    np.testing.assert_allclose(tall["size_nm"], np.array([12, 20, 20]) * fine, rtol=1e-6)
    lying = size(frame=(20, 12), rotation_axis="x")
    np.testing.assert_allclose(lying["size_nm"], np.array([20, 20, 12]) * fine, rtol=1e-6)
    um = size(frame_um=(20 * fine[2] / 1e3, 12 * fine[0] / 1e3))
    np.testing.assert_allclose(um["size_nm"], tall["size_nm"], rtol=1e-6)
    assert size(rotation_axis="z")["shape"] == "cylinder"
    place = um["places"][0]
    ratio = np.array(io.read_volume(volumes / "coarse.tif").grid.pixel_size_nm)
    extent = (np.array(place["stop_px"]) - place["start_px"]) * ratio
    np.testing.assert_allclose(extent, um["size_nm"], rtol=1e-6)


def test_a_volume_of_weights_leads_to_what_matters(finished_volume, volumes, tmp_path):
    coarse = io.read_volume(volumes / "coarse.tif")
    weights = np.zeros(coarse.grid.shape, np.float32)
    weights[:8, :, 28:] = 1
    io.write(tmp_path / "w.tif", Image(weights, coarse.grid, "w"))
    body = plan(finished_volume, tmp_path / "plan", until="40%", frame=(14, 14, 14), value=tmp_path / "w.tif").facts
    assert body["error_unit"].endswith(", times w.tif")
    for place in body["places"]:
        assert place["start_px"][0] < 8 and place["stop_px"][2] > 28
    io.write(tmp_path / "small.tif", Image(weights[1:], coarse.grid.crop((1, 0, 0), coarse.grid.shape), "w"))
    with pytest.raises(InputError, match=r"small\.tif has \(27, 36, 36\) voxels, but weights are given for every one"):
        plan(finished_volume, tmp_path / "no", until="40%", value=tmp_path / "small.tif")


def test_an_edited_plan_is_written_again(finished_volume, tmp_path):
    plan(finished_volume, tmp_path / "a", until="20%")
    body = json.loads((tmp_path / "a" / "rescan.json").read_text())
    body["places"] = body["places"][:1]
    (tmp_path / "mine.json").write_text(json.dumps(body))
    again = rescan_folder(finished_volume, tmp_path / "b", options=RescanOptions(), plan=tmp_path / "mine.json")
    assert [p["id"] for p in again.facts["places"]] == ["R001"] and (tmp_path / "b" / "rescan.png").exists()
    body["map"]["sha256"] = "0" * 64
    (tmp_path / "mine.json").write_text(json.dumps(body))
    with pytest.raises(InputError, match=r"mine\.json was made for another volume than coarse\.tif"):
        rescan_folder(finished_volume, tmp_path / "c", options=RescanOptions(), plan=tmp_path / "mine.json")


def test_a_merge_reads_plans_of_the_first_schema(finished_volume, volumes, tmp_path):
    from finescan.rescan import MapReference
    from finescan.workflow.volume_rescanning import planned_places

    body = plan(finished_volume, tmp_path, until="20%").facts
    new = planned_places(tmp_path / "rescan.json", MapReference.from_dict(body["map"]))
    old = {k: body[k] for k in ("kind", "map", "axes", "size_nm", "error_unit", "reduction", "seconds")}
    places = [{k: v for k, v in p.items() if k not in ("priority", "stage_um")} for p in body["places"]]
    (tmp_path / "rescan.json").write_text(json.dumps({**old, "schema": 1, "goal": "x", "places": places}))
    assert planned_places(tmp_path / "rescan.json", MapReference.from_dict(body["map"])) == new


def test_a_field_is_a_cylinder_where_the_corners_of_the_fine_volume_are_empty():
    from finescan.workflow.volume_field import field_like

    coarse, fine = Grid.of((40, 60, 60), 100.0), Grid.of((30, 40, 40), 50.0)
    y, x = np.mgrid[:40, :40] - 19.5
    grey = np.random.default_rng(0).random(fine.shape).astype(np.float32)
    assert field_like(fine, coarse, Image(grey, fine)).axis == "" and field_like(fine, coarse, None).axis == ""
    for empty in (np.nan, 0.0):
        found = field_like(fine, coarse, Image(np.where(np.hypot(y, x) < 20, grey, np.float32(empty)), fine))
        assert found.axis == "z" and found.size_nm == (1500.0, 2000.0, 2000.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rotation_axis": "z"}, "--rotation-axis is for volumes"),
        (
            {"frame_um": (5.0, 5.0)},
            r"frame of a picture is width x height in pixels, such as 1024x884, but another came",
        ),
        ({"frame": (8, 8, 8)}, "frame of a picture is width x height in pixels"),
    ],
)
def test_choices_for_volumes_are_refused_for_pictures(finished, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        plan(finished, tmp_path / "plan", until="5%", dwell_us=1.0, **options)


def test_an_exposure_alone_is_not_taken_for_a_time():
    from finescan.values import Acquisition, Verdict, Warp
    from finescan.workflow.rescanning import Recorded
    from finescan.workflow.volume_field import tomogram_times

    grid = Grid.of((4, 4, 4), 10.0)
    image = Image(np.zeros(grid.shape), grid, "fine.txm", Acquisition(extra={"exposure_s": 2.5}))
    finest = Recorded("fine.txm", grid, Warp.identity(3), Verdict.FOUND, image)
    with pytest.raises(InputError, match=r"fine\.txm states 2\.5 s per projection, not how many there were\. Pass for"):
        tomogram_times(finest, RescanOptions(), needed=True)
    assert tomogram_times(finest, RescanOptions(settle_s=5.0), needed=False).place_s() is None


def test_a_plan_for_pores_goes_where_their_threshold_is_near(finished_volume, tmp_path):
    from scipy import stats

    outcome = plan(finished_volume, tmp_path / "plan", until="20%", measure="dark", frame=(16, 16, 16))
    body = outcome.facts
    assert body["error_unit"] == "voxels of the result on the wrong side of the threshold of dark objects"
    assert f"error: {body['error_unit']}" in outcome.text
    facts = json.loads((finished_volume / "trust.json").read_text())
    grey, half = (
        io.read_volume(finished_volume / n).array().astype(float) for n in ("enhanced.tif", "uncertainty.tif")
    )
    far = np.abs(grey - facts["pores"]["whole"]["threshold"]["value"])
    chance = np.nan_to_num(stats.norm.sf(far / (half / 1.645)))
    for place in body["places"]:
        box = tuple(slice(int(2 * a), int(2 * b)) for a, b in zip(place["start_px"], place["stop_px"], strict=True))
        assert place["reduction"] <= chance[box].sum() / chance.sum() * 1.001
    best = max(body["places"], key=lambda p: p["reduction"])
    box = tuple(slice(int(2 * a), int(2 * b)) for a, b in zip(best["start_px"], best["stop_px"], strict=True))
    assert chance[box].mean() > 1.2 * chance.mean()
    for kind, words in (("bright", r"has measured dark objects, not bright ones"), ("red", r"but 'red' came")):
        with pytest.raises(InputError, match=words):
            plan(finished_volume, tmp_path / "no", until="20%", measure=kind)


def test_without_the_fine_volume_its_shape_is_said_to_be_unknown(finished_volume, volumes, tmp_path):
    import yaml

    copy = shutil.copytree(finished_volume, tmp_path / "run")
    state = yaml.safe_load((copy / "plan.yaml").read_text())
    state["inputs"]["fine"][0]["path"] = str(tmp_path / "gone.tif")
    (copy / "plan.yaml").write_text(yaml.safe_dump(state))
    outcome = plan(copy, tmp_path / "plan", until="5%")
    assert "is not there any more, so it is not known whether its field of view was round" in outcome.text
    assert outcome.facts["shape"] == "box"


@pytest.mark.parametrize("shape", [(5, 9), (3, 5, 9)])
def test_fine_scans_tell_where_their_middle_lies_and_where_the_stage_stood(shape):
    """Of pictures and volumes; those that are gone, or do not say it, tell nothing."""
    grid, away, pose = Grid.of(shape, 10.0), [100.0 * k for k in range(1, len(shape) + 1)], StagePose(1e6, 2e6, 3e6)
    warp = Warp.affine(np.eye(len(shape)), away)
    told = Image(np.zeros(shape, np.float32), grid, "told", Acquisition(stage=pose))
    scans = [
        Recorded(name, grid, warp, Verdict.FOUND, image)
        for name, image in (("gone", None), ("silent", Image(told.data, grid, "silent")), ("told", told))
    ]
    ((name, middle, where),) = posed(scans)
    assert name == "told" and where is pose
    np.testing.assert_allclose(middle, [10.0 * (n - 1) / 2 + a for n, a in zip(shape, away, strict=True)])
