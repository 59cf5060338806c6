"""Every list parsed back: places, units by value, and flips, on a pattern of fields without any symmetry."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
import uuid
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import yaml

from finescan.errors import InputError, OutputError
from finescan.rescan import EXPORTERS, ExportOptions, exported, formats_of, write_files

MAP_OPTIONS = ExportOptions(serialem_map_id=123456)
NEEDS_STAGE = "serialem", "micromanager", "openfibsem"
#: x, y of the corners of the three fields in map pixels from the upper left corner: left, top, right, bottom
BOXES = [(30, 20, 55, 36), (30, 200, 55, 216), (310, 200, 335, 216)]


def written(plan, name, options=MAP_OPTIONS) -> bytes:
    files, left_out = exported(plan, [name], options=options)
    assert list(files) == [EXPORTERS[name].file] and not left_out
    return files[EXPORTERS[name].file]


def stage_um(plan, x_px, y_px):
    """Stage x, y by hand: nm of the pixel grid, then the matrix of the fixture."""
    x_nm, y_nm = -500.0 + 40.0 * (x_px - 0.5), 1000.0 + 50.0 * (y_px - 0.5)
    return 0.0003 * y_nm + 0.00095 * x_nm - 3211.5, -0.00095 * y_nm + 0.0003 * x_nm + 1234.25


# ------------------------------------------------------------------ the table
@pytest.mark.parametrize("name", EXPORTERS)
def test_every_form_gives_the_same_bytes_again_and_names_its_reader(crooked, name):
    assert written(crooked, name) == written(crooked, name)
    assert EXPORTERS[name].about and EXPORTERS[name].file


def test_file_names_differ():
    assert len({row.file for row in EXPORTERS.values()}) == len(EXPORTERS)


@pytest.mark.parametrize("name", EXPORTERS)
def test_forms_that_need_a_stage_refuse_without_one_and_the_others_work(crooked, name):
    lost = replace(crooked, stage=None)
    options = ExportOptions(stage_z_um=0.0, serialem_map_id=7)
    if name not in NEEDS_STAGE:
        assert written(lost, name, options)
        return
    with pytest.raises(InputError, match=r"needs stage positions, but the header of coarse.tif has none") as e:
        exported(lost, [name], options=options)
    assert "--stage-landmarks" in str(e.value)
    files, left_out = exported(lost, [name, "csv"], options=options, skip=True)
    assert list(files) == ["rescan.csv"]
    assert len(left_out) == 1 and left_out[0].startswith(f"{EXPORTERS[name].file} was left out: ")


def test_names_of_forms():
    assert formats_of("all") == (tuple(EXPORTERS), True)
    assert formats_of("CSV, geojson,csv") == (("csv", "geojson"), False)
    with pytest.raises(InputError, match=r"written as all or csv, .*, but 'atlas' came"):
        formats_of("csv,atlas")


def test_files_are_all_new_or_none_is_written(crooked, tmp_path):
    files, _ = exported(crooked, ["csv", "geojson"])
    (tmp_path / "rescan.geojson").write_text("mine")
    with pytest.raises(OutputError, match=r"rescan.geojson exists. Choose another folder with -o, or pass --overwrite"):
        write_files(tmp_path, files)
    assert [p.name for p in tmp_path.iterdir()] == ["rescan.geojson"]
    assert len(write_files(tmp_path, files, overwrite=True)) == 2
    assert json.loads((tmp_path / "rescan.geojson").read_text())["type"] == "FeatureCollection"


# ------------------------------------------------------------------ lists in map pixels
def test_csv(crooked):
    rows = list(csv.DictReader(io.StringIO(written(crooked, "csv").decode("utf-8"))))
    assert [r["id"] for r in rows] == ["F001", "F002", "F003"] and [r["order"] for r in rows] == ["1", "2", "3"]
    for row, (left, top, right, bottom) in zip(rows, BOXES, strict=True):
        number = {k: float(v) for k, v in row.items() if k not in ("id", "reason")}
        assert (number["left_px"], number["top_px"]) == (left, top)
        assert (number["width_px"], number["height_px"]) == (right - left, bottom - top)
        cx, cy = (left + right) / 2, (top + bottom) / 2
        assert (number["centre_x_px"], number["centre_y_px"]) == (cx, cy)
        assert number["centre_x_um"] == pytest.approx(-0.5 + 0.04 * (cx - 0.5), abs=1e-3)
        assert number["centre_y_um"] == pytest.approx(1.0 + 0.05 * (cy - 0.5), abs=1e-3)
        assert (number["width_um"], number["height_um"]) == pytest.approx((1.0, 0.8))
        assert (number["stage_x_um"], number["stage_y_um"]) == pytest.approx(stage_um(crooked, cx, cy), abs=1e-4)
        assert number["stage_sigma_um"] == 0.8
        assert (number["frame_columns"], number["frame_rows"], number["dwell_us"]) == (100, 80, 3)
        assert (number["pixel_size_x_nm"], number["pixel_size_y_nm"]) == (10, 10)
    assert rows[1]["reason"] == "Reason 1, with a comma." and float(rows[1]["error_removed_percent"]) == 20
    lost = list(csv.DictReader(io.StringIO(written(replace(crooked, stage=None), "csv").decode())))
    assert lost[0]["stage_x_um"] == "" and lost[0]["centre_x_px"] == rows[0]["centre_x_px"]


def test_geojson_counts_from_the_upper_left_corner(crooked):
    d = json.loads(written(crooked, "geojson"))
    assert d["type"] == "FeatureCollection"
    for feature, (left, top, right, bottom) in zip(d["features"], BOXES, strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        assert feature["geometry"]["type"] == "Polygon" and ring[0] == ring[-1]
        assert ring[:4] == [[left, top], [right, top], [right, bottom], [left, bottom]]
        assert feature["properties"]["objectType"] == "annotation"
        assert feature["properties"]["classification"]["name"] == "rescan"
        assert uuid.UUID(feature["id"])
    assert len({f["id"] for f in d["features"]}) == 3
    assert d["features"][2]["properties"]["name"] == "3 (F003)"


def read_roi(data: bytes) -> dict:
    """A rectangle as ImageJ's decoder reads it: by the offsets it documents."""

    def short(at):
        return struct.unpack_from(">H", data, at)[0]

    assert data[:4] == b"Iout" and len(data) >= 128
    version, kind, options = short(4), data[6], short(50)
    (second,) = struct.unpack_from(">i", data, 60)
    name_at, name_length = struct.unpack_from(">ii", data, second + 16)
    name = data[name_at : name_at + 2 * name_length].decode("utf-16-be")
    assert name_at + 2 * name_length == len(data)
    exact = struct.unpack_from(">4f", data, 18) if options & 128 and version >= 223 else None
    return {"type": kind, "bounds": [short(k) for k in (8, 10, 12, 14)], "exact": exact, "name": name}


def test_roiset_is_read_as_imagej_does(crooked):
    with zipfile.ZipFile(io.BytesIO(written(crooked, "roiset"))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["0001-F001.roi", "0002-F002.roi", "0003-F003.roi"]
        rois = [read_roi(archive.read(n)) for n in archive.namelist()]
    for roi, (left, top, right, bottom), k in zip(rois, BOXES, range(3), strict=True):
        assert roi["type"] == 1  # rectangle
        assert roi["bounds"] == [top, left, bottom, right]
        assert roi["exact"] == (left, top, right - left, bottom - top)
        assert roi["name"] == f"{k + 1:04d}-F{k + 1:03d}"


def test_roiset_keeps_fractions_and_places_beyond_16_bits(crooked):
    far = replace(crooked.fields[0], start_px=(70000.0, 12.0), size_px=(16.4, 25.6))
    with zipfile.ZipFile(io.BytesIO(written(replace(crooked, fields=(far,)), "roiset"))) as archive:
        roi = read_roi(archive.read("0001-F001.roi"))
    assert roi["exact"] == pytest.approx((12.0, 70000.0, 25.6, 16.4), rel=1e-6)
    assert max(roi["bounds"]) == 65535


# ------------------------------------------------------------------ lists for stages
def read_navigator(data: bytes) -> list[dict[str, str]]:
    """Sections of an autodoc file."""
    head, *sections = re.split(r"\[Item = (.*)\]\r\n", data.decode("ascii"))
    assert head.startswith("AdocVersion = 2.00\r\nLastSavedAs = ")
    items = []
    for label, body in zip(sections[::2], sections[1::2], strict=True):
        pairs = [line.split(" = ", 1) for line in body.split("\r\n") if line]
        items.append({"label": label, **dict(pairs)})
        assert len(items[-1]) == len(pairs) + 1
    return items


def numbers(text: str) -> list[float]:
    return [float(v) for v in text.split()]


def test_serialem_with_stage_positions(crooked):
    items = read_navigator(written(crooked, "serialem"))
    assert [i["label"] for i in items] == ["1", "2", "3"]
    for item, (left, top, right, bottom) in zip(items, BOXES, strict=True):
        x, y, z = numbers(item["StageXYZ"])
        assert (x, y) == pytest.approx(stage_um(crooked, (left + right) / 2, (top + bottom) / 2), abs=1e-4)
        assert z == pytest.approx(3906.93)
        assert (item["Type"], item["NumPts"], item["Acquire"]) == ("1", "5", "1")
        assert 0 <= int(item["Color"]) <= 5 and int(item["MapID"]) < 100000 and "Regis" in item
        ring = list(zip(numbers(item["PtsX"]), numbers(item["PtsY"]), strict=True))
        corners = [stage_um(crooked, *c) for c in ((left, top), (right, top), (right, bottom), (left, bottom))]
        assert np.array(ring) == pytest.approx(np.array([*corners, corners[0]]), abs=1e-4)
        assert "CoordsInMap" not in item and "DrawnID" not in item


def test_serialem_in_map_pixels_counts_from_the_lower_left_corner(crooked):
    """The stored map has 300 rows and 7 more below them: y = 307 - y from the top."""
    items = read_navigator(written(crooked, "serialem-map"))
    for item, (left, top, right, bottom) in zip(items, BOXES, strict=True):
        assert numbers(item["CoordsInMap"]) == [(left + right) / 2, 307 - (top + bottom) / 2, 3906.93]
        assert item["DrawnID"] == "123456" and "StageXYZ" not in item
        xs, ys = numbers(item["PtsX"]), numbers(item["PtsY"])
        assert (min(xs), max(xs), min(ys), max(ys)) == (left, right, 307 - bottom, 307 - top)
    upper, lower, right = (numbers(i["CoordsInMap"]) for i in items)
    assert upper[1] > lower[1] and right[0] > lower[0] and right[1] == lower[1]  # the L stands upright


def test_serialem_never_moves_to_a_height_nobody_knows(crooked):
    for name in ("serialem", "serialem-map"):
        flat = replace(crooked, stage=replace(crooked.stage, z_um=None))
        with pytest.raises(InputError, match=r"the height of the stage is not known. Pass --stage-z"):
            exported(flat, [name], options=MAP_OPTIONS)
        given = read_navigator(written(flat, name, ExportOptions(stage_z_um=12.5, serialem_map_id=1)))
        assert numbers(given[0].get("StageXYZ") or given[0]["CoordsInMap"])[2] == 12.5
    with pytest.raises(InputError, match=r"no map was named. Pass its MapID with --map-id"):
        exported(crooked, ["serialem-map"])


def test_micromanager(crooked):
    d = json.loads(written(crooked, "micromanager", ExportOptions(xy_stage="Märzhäuser", z_stage="Focus")))
    assert (d["encoding"], d["format"], d["major_version"]) == ("UTF-8", "Micro-Manager Property Map", 2)
    places = d["map"]["StagePositions"]
    assert places["type"] == "PROPERTY_MAP"
    for place, (left, top, right, bottom), k in zip(places["array"], BOXES, range(3), strict=True):
        assert place["Label"] == {"type": "STRING", "scalar": f"{k + 1:03d}-F{k + 1:03d}"}
        assert place["DefaultXYStage"]["scalar"] == "Märzhäuser" and place["DefaultZStage"]["scalar"] == "Focus"
        assert place["GridCol"] == {"type": "INTEGER", "scalar": k}
        assert place["Properties"] == {"type": "PROPERTY_MAP", "scalar": {}}
        xy, z = place["DevicePositions"]["array"]
        assert xy["Device"]["scalar"] == "Märzhäuser" and xy["Position_um"]["type"] == "DOUBLE"
        assert xy["Position_um"]["array"] == pytest.approx(stage_um(crooked, (left + right) / 2, (top + bottom) / 2))
        assert z["Device"]["scalar"] == "Focus" and z["Position_um"]["array"] == pytest.approx([3906.93])
    flat = replace(crooked, stage=replace(crooked.stage, z_um=None))
    place = json.loads(written(flat, "micromanager"))["map"]["StagePositions"]["array"][0]
    assert place["DefaultZStage"]["scalar"] == "" and len(place["DevicePositions"]["array"]) == 1


def test_openfibsem_takes_metres_and_radians(crooked):
    positions = yaml.safe_load(written(crooked, "openfibsem"))
    for p, (left, top, right, bottom) in zip(positions, BOXES, strict=True):
        x, y = stage_um(crooked, (left + right) / 2, (top + bottom) / 2)
        assert (p["x"], p["y"]) == pytest.approx((x * 1e-6, y * 1e-6))
        assert -0.004 < p["x"] < -0.003  # metres: the stage stands at about -3.2 mm
        assert p["z"] == pytest.approx(3.90693e-3)
        assert (p["r"], p["t"]) == pytest.approx((math.radians(-129), math.radians(32)))
        assert p["coordinate_system"] == "RAW"
    assert [p["name"] for p in positions] == ["001-F001", "002-F002", "003-F003"]
    unknown = replace(crooked, stage=replace(crooked.stage, z_um=None, rotation_deg=None, tilt_deg=None))
    assert [yaml.safe_load(written(unknown, "openfibsem"))[0][k] for k in "zrt"] == [None] * 3


def test_all_lists_speak_of_the_same_places(crooked):
    rows = list(csv.DictReader(io.StringIO(written(crooked, "csv").decode())))
    serialem = read_navigator(written(crooked, "serialem"))
    manager = json.loads(written(crooked, "micromanager"))["map"]["StagePositions"]["array"]
    fibsem = yaml.safe_load(written(crooked, "openfibsem"))
    for row, item, place, position in zip(rows, serialem, manager, fibsem, strict=True):
        x, y = float(row["stage_x_um"]), float(row["stage_y_um"])
        assert numbers(item["StageXYZ"])[:2] == pytest.approx([x, y], abs=1e-3)
        assert place["DevicePositions"]["array"][0]["Position_um"]["array"] == pytest.approx([x, y], abs=1e-3)
        assert [position["x"] * 1e6, position["y"] * 1e6] == pytest.approx([x, y], abs=1e-3)
