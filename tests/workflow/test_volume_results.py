"""A finished run on volumes: what is in the folder, whether it is better, and what a second call does again."""

from __future__ import annotations

import json
import math
import re
import shutil

import numpy as np
import pytest
import tifffile
import yaml

from finescan import io, resampling, workflow
from finescan.errors import InputError


@pytest.fixture
def copy(finished_volume, tmp_path):
    return shutil.copytree(finished_volume, tmp_path / "run")


def events(folder) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]


def edit(folder, name, value):
    path = folder / "plan.yaml"
    body = yaml.safe_load(path.read_text())
    body["choices"][name]["value"] = value
    path.write_text(yaml.safe_dump(body))


def go(volumes, folder, **more):
    return workflow.run(volumes / "coarse.tif", volumes / "fine.tif", folder, **more)


def finite(value) -> bool:
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


def stored(folder):
    return io.read_volume(folder / "enhanced.ome.zarr")


def test_everything_that_was_promised_is_there_and_nothing_unfinished(finished_volume):
    names = {p.name for p in finished_volume.iterdir()}
    files = {"plan.yaml", "enhanced.tif", "flags.tif", "trust.json", "report.html", "log.jsonl", "pores.csv"}
    assert files | {"pair", "model", "enhanced.ome.zarr"} <= names
    assert {p.name for p in (finished_volume / "model").iterdir()} >= {"model.safetensors", "card.json"}
    assert [p.name for p in (finished_volume / "pair").iterdir()] == ["01-fine"]
    left = [p.name for p in finished_volume.rglob("*") if "partial" in p.name or p.name.endswith((".part", ".work"))]
    assert not left and not list(finished_volume.glob("work-*"))


def test_places_worth_scanning_again_are_listed_and_none_is_recorded(finished_volume):
    found = json.loads((finished_volume / "trust.json").read_text())["suggested_rescans"]
    assert found["places"] and found["error_unit"].startswith("squared grey levels")
    fine = np.array([[4, 4.5, 4.5], [24, 31.5, 31.5]])  # the middle 20 x 27 x 27 coarse voxels
    for place in found["places"]:
        middle = np.array(place["centre_px"]) + 0.5
        assert not ((fine[0] + 3 < middle) & (middle < fine[1] - 3)).all() and 0 < place["reduction"] < 1
    page = (finished_volume / "report.html").read_text(encoding="utf-8")
    boxes = [[float(v) for v in b.split()] for b in re.findall(r'class="goto" hidden data-box="([^"]*)"', page)]
    assert "Where to scan again" in page and len(boxes) == len(found["places"])
    for box, place in zip(boxes, found["places"], strict=True):
        voxel = np.divide(found["size_nm"], np.subtract(place["stop_px"], place["start_px"]))
        np.testing.assert_allclose(box, [*np.multiply(place["start_px"], voxel), *np.multiply(place["stop_px"], voxel)],
                                   rtol=1e-4)  # fmt: skip


def test_the_plan_gives_every_choice_with_a_sentence(finished_volume):
    choices = yaml.safe_load((finished_volume / "plan.yaml").read_text())["choices"]
    assert choices["target.pixel_size_nm"]["value"] == [1500.0] * 3
    assert choices["volume.circle"]["value"] is False and choices["train.architecture"]["value"] == "volume"
    assert choices["train.steps"] == {"value": 150, "why": "Asked for when the run was started."}
    assert all(entry["why"].endswith(".") and len(entry["why"]) > 8 for entry in choices.values())


def test_the_volume_has_the_coarse_field_at_the_fine_voxel_size_and_number_format(finished_volume, volumes):
    expected = io.read_volume(volumes / "coarse.tif").grid.refine(2)
    for name in ("enhanced.ome.zarr", "enhanced.tif"):
        image = io.read_volume(finished_volume / name)
        assert image.grid.shape == (56, 72, 72) and image.dtype == np.uint16
        assert image.grid.pixel_size_nm == pytest.approx(expected.pixel_size_nm)
    assert stored(finished_volume).grid.same_as(expected)
    flags = io.read_volume(finished_volume / "flags.tif", constant_ok=True)
    assert flags.grid.shape == (28, 36, 36) and flags.dtype == np.uint8
    assert np.array_equal(stored(finished_volume).array(), tifffile.imread(finished_volume / "enhanced.tif"))


def test_other_programs_find_the_voxel_size_with_its_unit(finished_volume):
    facts = json.loads((finished_volume / "enhanced.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    (scales,) = facts["multiscales"]
    units = {"nanometer": 1.0, "micrometer": 1000.0}
    (scale,) = (t["scale"] for t in scales["datasets"][0]["coordinateTransformations"] if t["type"] == "scale")
    assert [a["name"] for a in scales["axes"]] == ["z", "y", "x"]
    assert [units[a["unit"]] * s for a, s in zip(scales["axes"], scale, strict=True)] == pytest.approx([1500.0] * 3)
    with tifffile.TiffFile(finished_volume / "enhanced.tif") as file:
        said, page = file.imagej_metadata, file.pages.first
        unit = {"nm": 1.0, "um": 1000.0, "µm": 1000.0, "\\u00B5m": 1000.0}[said["unit"]]
        across, per = page.tags["XResolution"].value
    assert said["slices"] == 56 and said["spacing"] * unit == pytest.approx(1500)
    assert per / across * unit == pytest.approx(1500)


def test_all_figures_of_the_judgement_are_finite_and_better_than_interpolation(finished_volume):
    text = (finished_volume / "trust.json").read_text()
    facts = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} in trust.json"))
    assert set(facts["scores"]) == {"interpolated", "volume", "enhanced"}
    assert finite(facts["scores"]) and finite(facts["flags"]) and finite(facts["registration"])
    assert facts["registration"][0]["verdict"] == "found"
    psnr = {name: row["psnr"] for name, row in facts["scores"].items()}
    assert facts["verdict"] == "better" and psnr["enhanced"] > psnr["interpolated"] + 2
    assert psnr["enhanced"] == pytest.approx(psnr["volume"], abs=0.05)  # what was written is what was judged
    assert facts["pores"]["whole"]["objects"] > 20


def test_it_is_closer_to_the_noise_free_truth_also_where_no_fine_scan_was_recorded(finished_volume, volumes):
    lr, ours = io.read_volume(volumes / "coarse.tif"), stored(finished_volume)
    truth = np.load(volumes / "truth.npy").astype(np.float64)
    plain = np.asarray(resampling.resample(lr, onto=ours.grid).data, np.float64)
    unseen = np.ones(truth.shape, bool)
    unseen[6:-6, 7:-7, 7:-7] = False  # more than the fine scan, which is turned by half a degree
    unseen[[0, 1, -2, -1]] = unseen[:, [0, 1, -2, -1]] = unseen[:, :, [0, 1, -2, -1]] = False
    assert unseen.sum() > 50_000
    gain, offset = np.polyfit(plain[unseen], truth[unseen], 1)  # in favour of the interpolation
    error = {"interpolated": gain * plain + offset, "enhanced": ours.array().astype(np.float64)}
    rmse = {name: float(np.sqrt(np.mean((v - truth)[unseen] ** 2))) for name, v in error.items()}
    assert rmse["enhanced"] < 0.8 * rmse["interpolated"], rmse


def test_lost_and_invented_pores_are_predicted_and_told_of(finished_volume):
    facts = json.loads((finished_volume / "trust.json").read_text())
    doubts, flags = facts["doubts"], io.read_volume(finished_volume / "flags.tif", constant_ok=True).array()
    assert doubts["predicted"] and doubts["objects"] == "dark" and doubts["objects_learned_from"]["found"] > 10
    assert doubts["shares"]["omission"] == facts["flags"]["omission"] == np.mean(flags & 128 > 0)
    assert doubts["shares"]["invention"] == facts["flags"]["invention"] == np.mean(flags & 64 > 0)
    assert sum(doubts["shares"].values()) <= 0.05
    assert doubts["sentence"].startswith("The test blocks hold ")
    assert doubts["sentence"] in (finished_volume / "report.html").read_text(encoding="utf-8")


def test_the_report_has_a_slider_the_layers_and_the_pores(finished_volume):
    page = (finished_volume / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "</html>" in page
    assert '"kind": "volume"' in page and "The slider goes along z" in page
    for layer in ("coarse", "enhanced", "interpolated", "fine"):
        assert f'"name": "{layer}"' in page
    for words in ("The whole volume", "Held-out place 1", "Coarse and fine in one frame", "test 1", "mean sphericity"):
        assert words in page
    assert ">NaN<" not in page and "nan ±" not in page


def test_a_second_call_trains_nothing_and_changes_no_bit(copy, volumes):
    before, was = events(copy), stored(copy).array()
    flags, tiff = (copy / "flags.tif").read_bytes(), (copy / "enhanced.tif").read_bytes()
    scores = json.loads((copy / "trust.json").read_text())["scores"]
    again = go(volumes, copy)
    assert events(copy)[len(before) :] == ["start", "judged", "done"]
    assert np.array_equal(stored(copy).array(), was)
    assert (copy / "flags.tif").read_bytes() == flags and (copy / "enhanced.tif").read_bytes() == tiff
    assert again.facts["scores"] == scores


def test_a_region_in_the_plan_repeats_only_the_enhancement_and_gives_the_same_bits(copy, volumes, small):
    whole, before = stored(copy), events(copy)
    voxels = whole.array()  # the file is about to be replaced
    edit(copy, "result.region", [[10, 21, 4], [40, 70, 33]])
    edit(copy, "measure.objects", "none")
    edit(copy, "result.tiff", False)
    done = go(volumes, copy)
    assert events(copy)[len(before) :] == ["start", "enhanced", "judged", "intervals", "done"]
    part = stored(copy)
    assert part.grid.same_as(whole.grid.crop((10, 21, 4), (40, 70, 33)), tolerance=1e-3)
    assert np.array_equal(part.array(), voxels[10:40, 21:70, 4:33])
    # neither a picture nor pores of the whole volume are left beside it
    assert not (copy / "enhanced.tif").exists() and not (copy / "pores.csv").exists()
    assert done.facts["pores"] == {} and "pores.csv" not in done.facts["files"]
    assert "mean sphericity" not in (copy / "report.html").read_text()


def test_the_better_one_on_the_stop_boxes_makes_the_result_unless_interpolation_is_asked_for(copy, volumes):
    was, before = stored(copy).array(), events(copy)
    edit(copy, "result.method", "auto")
    assert go(volumes, copy).facts["method"] == "volume"  # it won by some dB
    assert np.array_equal(stored(copy).array(), was)
    edit(copy, "result.method", "interpolated")
    plain = go(volumes, copy)
    assert plain.facts["method"] == "interpolated" and plain.facts["verdict"] == "equal"
    assert plain.facts["scores"]["enhanced"]["psnr"] == pytest.approx(
        plain.facts["scores"]["interpolated"]["psnr"], abs=0.01
    )
    assert "trained" not in events(copy)[len(before) :] and (stored(copy).array() != was).any()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("result.region", [[0, 0, 0], [57, 72, 72]], "the result has 56 x 72 x 72 voxels"),
        ("result.region", [[9, 9, 9], [9, 20, 20]], "the first below the second"),
        ("result.region", [[0, 0], [5, 5]], "two corners inside it"),
        ("result.method", "nearest", "made by auto, interpolated or volume"),
        ("result.blending", "published", "takes stacks of slices (deepnet)"),
        ("train.architecture", "fast", "one of srcnn3d, deepnet, volume"),
    ],
)
def test_choices_that_cannot_be_followed_are_refused_before_anything_is_done(copy, volumes, name, value, words):
    edit(copy, name, value)
    before, was = events(copy), stored(copy).array()
    with pytest.raises(InputError) as refusal:
        go(volumes, copy)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert events(copy)[len(before) :] == ["start"] and np.array_equal(stored(copy).array(), was)


def test_the_report_can_be_written_again_without_training(copy, tmp_path):
    (copy / "report.html").unlink()
    before = events(copy)
    said = workflow.report_folder(copy, tmp_path / "page.html")
    assert said.facts["verdict"] == "better" and "</html>" in (tmp_path / "page.html").read_text()
    assert (copy / "report.html").exists() and "trained" not in events(copy)[len(before) :]


def test_volumes_with_another_ratio_along_every_axis_are_registered_and_laid_out(tmp_path):
    from finescan.patches import make_volume_patches
    from finescan.registration import load_pair
    from finescan.simulation.volumes import Placement, simulate_volume_pair

    job = simulate_volume_pair(
        (40, 44, 36), ratio=(1.5, 2.0, 2.5), fine=(40, 56, 60), voxel_nm=(3000.0, 2800.0, 3200.0),
        placement=Placement(rotation_deg=0.5), noise=(0.01, 0.01), seed=3,
    )  # fmt: skip
    io.write(tmp_path / "coarse.tif", job.lr)
    io.write(tmp_path / "fine.h5", job.hr)
    found = workflow.register_files(tmp_path / "coarse.tif", tmp_path / "fine.h5", tmp_path / "pair")
    assert found.facts["pairs"][0]["verdict"] == "found"
    lr, hr = io.read_volume(tmp_path / "coarse.tif"), io.read_volume(tmp_path / "fine.h5")
    assert lr.grid.sr_factor(hr.grid) == pytest.approx((1.5, 2.0, 2.5), rel=1e-6)
    pair = load_pair(tmp_path / "pair" / "01-fine", lr, hr)
    inside = hr.grid.to_nm(np.random.default_rng(0).uniform(4, 36, (200, 3)))
    off = (pair.lr_from_hr(inside) - job.lr_from_hr(inside)) / np.asarray(lr.grid.pixel_size_nm)
    assert np.sqrt((off**2).sum(-1).mean()) < 0.2  # coarse voxels
    patches = make_volume_patches([pair])
    assert patches.out_grid.shape == (60, 88, 90) and patches.factor == 1
    assert patches.out_grid.pixel_size_nm == pytest.approx((2000.0, 1400.0, 1280.0))
    (piece,) = patches.pieces
    known = piece.weight
    line = patches.gain * piece.lr[known] + patches.offset
    assert np.corrcoef(line, piece.hr[known])[0, 1] > 0.9  # both show the same bodies in the same voxels
