"""rescan.json: written whole or not at all, read back equal, refused when it is not what it should be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from finescan.errors import InputError, OutputError
from finescan.rescan import MapReference, RescanPlan, load_plan, require_map, save_plan
from finescan.values import Grid


def test_a_plan_is_read_back_equal(crooked, tmp_path):
    path = save_plan(crooked, tmp_path / "rescan.json")
    assert load_plan(path) == crooked
    assert not (tmp_path / "rescan.json.partial").exists()
    bare = replace(crooked, stage=None, notes=("One.", "Two."))
    assert load_plan(save_plan(bare, path, overwrite=True)) == bare


def test_the_file_states_what_others_need(crooked, tmp_path):
    d = json.loads(save_plan(crooked, tmp_path / "rescan.json").read_text())
    assert (d["schema"], d["map"]["sha256"], d["map"]["grid"]["shape"]) == (1, "ab" * 32, [300, 400])
    assert d["stage"]["rows"] == ["stage x µm", "stage y µm"]
    assert d["stage"]["columns"] == ["map y nm", "map x nm", "1"]
    assert (d["stage"]["handedness"], d["stage"]["sigma_nm"]) == ("right", 800.0)
    first = d["fields"][0]
    assert first["id"] == "F001" and first["centre_px"] == [28.0, 42.5] and first["size_nm"] == [800.0, 1000.0]
    y, x = first["centre_nm"]
    assert (y, x) == (1000 + 50 * 27.5, -500 + 40 * 42.0)
    (a, b, c), (e, f, g) = d["stage"]["matrix"]
    assert first["stage_um"] == pytest.approx([a * y + b * x + c, e * y + f * x + g])
    assert d["expected"]["reduction"] == pytest.approx(0.6) and d["expected"]["seconds"] == 18
    assert d["expected"]["relative_time"] == pytest.approx((60 + 18) / crooked.everything_s)


def test_a_plan_in_words(crooked):
    assert str(crooked) == "3 fields in 18 s: 60.0 % of the expected error on 1.0 % of coarse.tif"
    assert "800" not in str(crooked) and "0.8 µm" in str(crooked.stage)


def test_files_that_are_no_plan(crooked, tmp_path):
    path = tmp_path / "rescan.json"
    with pytest.raises(InputError, match=r"cannot be read as JSON"):
        load_plan(path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"cannot be read as JSON"):
        load_plan(path)
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match=r"holds no rescan plan. Pass a rescan.json"):
        load_plan(path)
    d = crooked.to_dict()
    with pytest.raises(InputError, match=r"has schema 2, but this program reads 1. Plan again"):
        RescanPlan.from_dict({**d, "schema": 2})
    with pytest.raises(InputError, match=r"is damaged \(KeyError: 'frame'\)"):
        RescanPlan.from_dict({k: v for k, v in d.items() if k != "frame"})
    broken = {**d, "fields": [{**d["fields"][0], "start_px": ["a", 1]}]}
    with pytest.raises(InputError, match=r"is damaged \(ValueError"):
        RescanPlan.from_dict(broken)


def test_a_plan_is_not_overwritten_unasked(crooked, tmp_path):
    path = save_plan(crooked, tmp_path / "rescan.json")
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"rescan.json exists. .* pass --overwrite"):
        save_plan(replace(crooked, notes=("New.",)), path)
    assert path.read_bytes() == before
    with pytest.raises(OutputError, match="cannot be written"):
        save_plan(crooked, tmp_path / "no" / "rescan.json")


def test_a_plan_belongs_to_its_map(crooked):
    require_map(crooked, crooked.map)
    require_map(crooked, replace(crooked.map, sha256=""))
    with pytest.raises(InputError, match=r"was made for coarse.tif .* is another file or lies on another grid"):
        require_map(crooked, replace(crooked.map, sha256="cd" * 32))
    with pytest.raises(InputError, match=r"but other.tif \(YX 300 x 401 px"):
        require_map(crooked, MapReference("other.tif", Grid("YX", (300, 401), (50.0, 40.0), (1000.0, -500.0))))
