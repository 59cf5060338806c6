"""finescan merge for volumes: recorded voxels stand in the result, what was held out stays so, the rest is computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finescan import io, workflow
from finescan.errors import RegistrationRefused
from finescan.values import Grid, Image, TrustMap
from finescan.workflow.merging import merge

BOX = slice(2, 34), slice(3, 43), slice(30, 70)  # voxels of the result, beside the middle of the first fine scan
STEPS = {"train.steps": 20}


@pytest.fixture(scope="session")
def rescan(once, volumes) -> Path:
    """A fine scan of a corner of ``volumes``, with noise of its own."""

    def make(folder: Path) -> None:
        truth = np.load(volumes / "truth.npy")
        noisy = truth[BOX] + np.random.default_rng(0).normal(0, 0.01 * np.ptp(truth), truth[BOX].shape)
        fine = io.read_volume(volumes / "fine.tif")
        grid = Grid("ZYX", noisy.shape, fine.grid.pixel_size_nm, (0.0, 0.0, 0.0))
        io.write(folder / "corner.tif", Image(np.rint(noisy).astype(fine.dtype), grid, "corner"))

    return once("volume-rescan", make) / "corner.tif"


@pytest.fixture(scope="session")
def merged(once, finished_volume, rescan, smaller) -> Path:
    def make(folder: Path) -> None:
        old = shutil.copytree(finished_volume, folder / "old")
        with smaller():
            merge(old, [rescan], folder / "run", choices=STEPS)
        shutil.rmtree(old)  # a merged run outlives the one it came from

    return once("merged-volume", make) / "run"


def facts(folder: Path) -> dict:
    return json.loads((folder / "trust.json").read_text(encoding="utf-8"))


def voxels(path: Path) -> np.ndarray:
    return io.read_volume(path, constant_ok=True).array()


def test_recorded_voxels_stand_in_the_result_and_are_marked(merged, finished_volume, volumes) -> None:
    truth, result = np.load(volumes / "truth.npy"), voxels(merged / "enhanced.tif")
    mask, computed = voxels(merged / "measured.tif"), voxels(merged / "computed" / "enhanced.tif")
    inner = tuple(slice(s.start + 10, s.stop - 10) for s in BOX)
    assert (mask[inner] == 255).all() and (mask[:, 50:] == 0).all()
    wrong = [np.sqrt(np.mean((v[inner] - truth[inner]) ** 2)) for v in (result.astype(float), computed.astype(float))]
    assert wrong[0] < 0.5 * wrong[1]
    assert np.array_equal(result[mask == 0], computed[mask == 0])
    assert np.array_equal(result, voxels(merged / "enhanced.ome.zarr"))
    told = facts(merged)["merged"]
    assert told["measured_share"] == pytest.approx(np.mean(mask == 255)) and told["scans"] == ["corner.tif"]
    assert not told["rescans"][0]["other_grey"] and told["rescans"][0]["grey"][0] == pytest.approx(1, abs=0.1)


def test_borders_fade_without_a_step(merged) -> None:
    result, mask = voxels(merged / "enhanced.tif").astype(float), voxels(merged / "measured.tif").astype(float)
    computed = voxels(merged / "computed" / "enhanced.tif").astype(float)
    fading = (mask > 0) & (mask < 255)
    assert fading.any()
    moved = np.abs(np.diff((result - computed)[18, 22]))
    assert moved.max() < 0.5 * np.ptp(result)
    share = mask[18, 22] / 255
    assert np.abs(np.diff(share)).max() < 0.2  # eight voxels from computed to recorded


def test_flags_and_half_widths_end_where_voxels_were_recorded(merged, finished_volume) -> None:
    flags = io.read_volume(merged / "flags.tif", constant_ok=True)
    before = io.read_volume(merged / "computed" / "flags.tif", constant_ok=True).array()
    mask = voxels(merged / "measured.tif")
    wholly = mask.reshape(28, 2, 36, 2, 36, 2).min(axis=(1, 3, 5)) == 255
    assert wholly.any() and (flags.array()[wholly] == 0).all()
    assert np.array_equal(flags.array()[~wholly], before[~wholly])
    assert TrustMap(flags.array(), flags.grid).shares() == facts(merged)["flags"]
    half = voxels(merged / "uncertainty.tif")
    assert (half[mask == 255] == 0).all() and (half[np.isfinite(half) & (mask == 0)] > 0).all()


def test_what_was_held_out_stays_held_out(merged, finished_volume) -> None:
    import yaml

    plan = yaml.safe_load((merged / "plan.yaml").read_text())["choices"]
    held = plan["split.boxes"]["value"]
    assert {len(b) for some in held.values() for b in some} == {6} and held["test"]
    assert Path(plan["train.start"]["value"]).parts[-2:] == ("old", "model")
    old, new = (facts(f)["judgement"] for f in (finished_volume, merged))
    assert old["tiles"] == new["tiles"] if "tiles" in old else old.keys() == new.keys()
    page = (merged / "report.html").read_text(encoding="utf-8")
    assert "Measured again" in page and "corner.tif" in page


def test_a_merged_volume_is_reported_again_when_the_run_it_came_from_is_gone(merged, small, tmp_path) -> None:
    copy = Path(shutil.copytree(merged, tmp_path / "run"))
    (copy / "report.html").unlink()
    workflow.report_folder(copy)
    assert "Measured again" in (copy / "report.html").read_text(encoding="utf-8")
    assert np.array_equal(voxels(copy / "enhanced.tif"), voxels(merged / "enhanced.tif"))
    events = [json.loads(line)["event"] for line in (copy / "log.jsonl").read_text().splitlines()]
    assert events.count("trained") == 1 and events.count("enhanced") == 1


def test_a_rescan_of_another_specimen_is_refused_and_nothing_written(finished_volume, rescan, tmp_path) -> None:
    scan = io.read_volume(rescan)
    rng = np.random.default_rng(3)
    from scipy import ndimage

    soft = ndimage.gaussian_filter(rng.normal(size=scan.grid.shape), 3)
    other = 14000 + 3000 * soft / soft.std()
    io.write(tmp_path / "other.tif", scan.with_data(other.astype(np.uint16)))
    with pytest.raises(RegistrationRefused, match=r"other\.tif is .*found in coarse\.tif.*Nothing was written"):
        merge(finished_volume, [tmp_path / "other.tif"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
