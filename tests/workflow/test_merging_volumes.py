"""finescan merge on a run of volumes: what comes in is registered, pasted, flagged and learned from, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finescan import io
from finescan.errors import InputError, OutputError
from finescan.values import Grid, Image, Pair, Residual, TrustMap, Verdict, Warp, flag_bits
from finescan.workflow import pasting
from finescan.workflow.finished import open_finished
from finescan.workflow.folder import RunFolder
from finescan.workflow.merging import merge
from finescan.workflow.opening import Job
from finescan.workflow.plan import Plan

NM, AT, SHAPE = 1500.0, (1, 3, 5), (32, 38, 40)  # of the rescan: voxel size, first voxel and shape on the result
NOISE = 60.0


def cut(truth: np.ndarray, corner: tuple[int, ...], seed: int, step: int = 1) -> Image:
    """A fine scan of the truth with noise of its own."""
    data = truth[tuple(slice(a, a + n, step) for a, n in zip(corner, SHAPE, strict=True))]
    noisy = data + np.random.default_rng(seed).normal(0, NOISE, data.shape)
    return Image(np.rint(noisy).astype(np.uint16), Grid.of(data.shape, NM * step))


@pytest.fixture(scope="session")
def volume_rescans(once, volumes) -> Path:
    """again.tif, a rescan of the sample of ``volumes``, and some that cannot be used."""

    def make(folder: Path) -> None:
        truth = np.load(volumes / "truth.npy")
        first = cut(truth, AT, seed=3)
        io.write(folder / "again.tif", first)
        io.write(folder / "coarser.tif", cut(truth, AT, seed=4, step=2))
        io.write(folder / "eight.tif", first.with_data((first.data / 128).astype(np.uint8)))
        io.write(folder / "picture.tif", Image(first.data[0], Grid.of(SHAPE[1:], NM)))
        turned = np.ascontiguousarray(truth[::-1, ::-1].swapaxes(1, 2))[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
        io.write(folder / "other.tif", first.with_data(np.roll(turned, 7, axis=0).astype(np.uint16)[:, ::-1]))

    return once("volume-rescans", make)


@pytest.fixture(scope="session")
def merged_volume(once, finished_volume, volume_rescans, tiny_networks) -> Path:
    """``finished_volume`` with the rescan; ``before.json`` beside it lists the files of the old run."""

    def make(folder: Path) -> None:
        files = {str(p): p.stat().st_mtime_ns for p in finished_volume.rglob("*") if p.is_file()}
        (folder / "before.json").write_text(json.dumps(files))
        with tiny_networks():
            merge(finished_volume, [volume_rescans / "again.tif"], folder / "run", choices={"train.steps": 3})

    return once("merged-volume", make) / "run"


def facts(folder: Path) -> dict:
    return json.loads((folder / "trust.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------ what a merge makes
def test_recorded_voxels_stand_in_the_result_and_the_rest_is_as_computed(merged_volume, volumes, volume_rescans):
    result, mask = (io.read_volume(merged_volume / n).array() for n in ("enhanced.ome.zarr", "measured.tif"))
    computed = io.read_volume(merged_volume / "computed" / "enhanced.ome.zarr").array()
    scan, truth = io.read_volume(volume_rescans / "again.tif").array(), np.load(volumes / "truth.npy")
    assert result.dtype == np.uint16 and mask.dtype == np.uint8 and mask.shape == result.shape
    here = tuple(slice(a, a + n) for a, n in zip(AT, SHAPE, strict=True))
    inner = tuple(slice(s.start + 5, s.stop - 5) for s in here)
    assert (
        (mask[inner] == 255).all() and not mask[:, :, here[2].stop + 2 :].any() and not mask[here[0].stop + 2 :].any()
    )
    assert np.array_equal(result[mask == 0], computed[mask == 0])
    pasted = result[inner].astype(float) - scan[5:-5, 5:-5, 5:-5]
    assert np.sqrt(np.mean(pasted**2)) < 2 * NOISE  # moved by a tenth of a voxel at most
    errors = [np.sqrt(np.mean((v.astype(float) - truth)[mask == 255] ** 2)) for v in (result, computed)]
    assert errors[0] < 0.4 * errors[1]
    assert np.array_equal(io.read_volume(merged_volume / "enhanced.tif").array(), result)
    assert facts(merged_volume)["merged"]["measured_share"] == pytest.approx(np.mean(mask == 255))


def test_there_is_no_step_where_the_scan_fades_in(merged_volume):
    """From one voxel to the next the share of the recorded grey level never changes by more than a smooth rise does."""
    mask = io.read_volume(merged_volume / "measured.tif").array() / 255
    middle = [a + n // 2 for a, n in zip(AT, SHAPE, strict=True)]
    for axis in range(3):
        line = np.moveaxis(mask, axis, 0)[:, *(m for k, m in enumerate(middle) if k != axis)]
        assert line.max() == 1 and np.abs(np.diff(line)).max() < 1.5 / 4 + 0.01  # two coarse voxels, four of the result


def test_flags_and_doubt_end_where_it_was_recorded(merged_volume):
    flags, before = (io.read_volume(p / "flags.tif", constant_ok=True).array()
                     for p in (merged_volume, merged_volume / "computed"))  # fmt: skip
    inner = tuple(slice(-(-(a + 5) // 2), (a + n - 5) // 2) for a, n in zip(AT, SHAPE, strict=True))
    assert before[inner].any() and not flags[inner].any()
    assert np.array_equal(flags[20:], before[20:]) and flags[20:].any()
    half = io.read_volume(merged_volume / "uncertainty.tif", constant_ok=True).array()
    assert not half[10:25, 12:30, 14:34].any() and half[40:].min() > 0


def test_the_run_says_how_well_it_had_foreseen_the_rescan(merged_volume, finished_volume):
    (told,) = facts(merged_volume)["merged"]["rescans"]
    assert told["file"] == "again.tif" and told["verdict"] == "found" and not told["other_grey"]
    said = told["foreseen"]
    assert said["levels"] == facts(finished_volume)["intervals"]["levels"]
    assert sorted(said["coverage"]) == said["coverage"] and 0.5 < said["coverage"][0] <= 1
    assert 0.9 * np.prod(SHAPE) < said["pixels"] <= np.prod(SHAPE) and NOISE < said["rms_error"] < 20 * NOISE
    page = (merged_volume / "report.html").read_text(encoding="utf-8")
    assert "Measured again" in page and "again.tif" in page and "before the rescans it had" in page
    assert "middle, z y x" in page and "off its planned middle" not in page  # nothing is planned in volumes
    found = [float(v) for v in told["centre_px"]]  # coarse voxels; two of the result are one
    assert found == pytest.approx([(a + (n - 1) / 2 - 0.5) / 2 for a, n in zip(AT, SHAPE, strict=True)], abs=0.1)
    assert ", ".join(f"{v:.1f}" for v in found) in page


def test_it_learned_on_from_the_old_model_and_both_runs_hold_the_same_out(merged_volume, finished_volume):
    for name in ("model.safetensors", "card.json"):
        assert (merged_volume / "start-model" / name).read_bytes() == (finished_volume / "model" / name).read_bytes()
    old = open_finished(merged_volume).plan.values
    card = json.loads((merged_volume / "model" / "card.json").read_text())
    assert old["train.start"] == "start-model" and card["training"]["history"][0]["step"] == 0
    assert [len(b) for b in old["split.boxes"].values()] == [1, 1] and old["split.guard_voxels"] >= 4
    now, before = facts(merged_volume)["scores"], facts(finished_volume)["scores"]
    assert now["enhanced"]["psnr"] == pytest.approx(before["enhanced"]["psnr"], abs=0.5)
    assert now["interpolated"]["psnr"] == pytest.approx(before["interpolated"]["psnr"], abs=0.2)  # the same boxes


def test_the_old_run_is_untouched_and_nothing_unfinished_is_left(merged_volume, finished_volume):
    before = json.loads((merged_volume.parent / "before.json").read_text())
    assert {str(p): p.stat().st_mtime_ns for p in finished_volume.rglob("*") if p.is_file()} == before
    assert not [p for p in merged_volume.rglob("*") if "partial" in p.name or "work" in p.name]


# ------------------------------------------------------------------ stopped and gone on with
LR, RESULT = Grid.of((6, 8, 8), 20.0), Grid.of((6, 8, 8), 20.0).refine(2)


def half_done(folder: Path) -> Job:
    """A run that has computed its result and its intervals, and is about to paste its second fine scan."""
    rng = np.random.default_rng(0)
    run = RunFolder(folder, {})
    plan = Plan({"merge.pasted": [2], "result.tiff": True, "train.start": pasting.START})
    job = Job(run, plan, None, lambda done, total, message: None)
    io.write(folder / "enhanced.ome.zarr", Image(rng.normal(9000, 500, RESULT.shape).astype(np.uint16), RESULT))
    io.write(folder / "enhanced.tif", io.read_volume(folder / "enhanced.ome.zarr"))
    io.write(folder / "uncertainty.tif", Image(rng.random(RESULT.shape).astype(np.float32), RESULT))
    io.write(folder / "flags.tif", Image(np.full(LR.shape, flag_bits("border"), np.uint8), LR))
    run.finish("enhance", "as computed")
    pasting.set_aside(job)
    return job


def pasted(job: Job) -> pasting.Merged:
    grid = Grid.of((11, 12, 12), 10.0)
    scan = Image(np.random.default_rng(1).normal(20000, 500, grid.shape).astype(np.uint16), grid, "second")
    warp = Warp.affine(np.eye(3), RESULT.to_nm((-1.0, 2.0, 2.0)) - grid.to_nm((0.0, 0.0, 0.0)))
    pair = Pair(Image(np.zeros(LR.shape), LR), scan, warp, Verdict.FOUND, (), Residual(0, 0, 1, 2, {}, grid))
    flags = TrustMap(io.read_volume(job.folder.path / "computed" / "flags.tif", constant_ok=True).array(), LR)
    computed = io.read_volume(job.folder.path / "computed" / "enhanced.ome.zarr")
    return pasting.paste(job, [scan.with_data(scan.data), scan], [pair], computed, flags)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.suffix != ".jsonl"}  # fmt: skip


@pytest.mark.parametrize("at", range(5))
def test_stopped_between_any_two_files_it_goes_on_to_the_same_bits(monkeypatch, tmp_path, at):
    whole = half_done(tmp_path / "whole")
    told = pasted(whole)
    assert 0.01 < told.share < 0.9 and told.files == ("measured.tif",)
    job, write, left = half_done(tmp_path / "stopped"), io.write, [at]

    def dies(*arguments, **named):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(*arguments, **named)

    monkeypatch.setattr(io, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        pasted(job)
    monkeypatch.setattr(io, "write", write)
    assert pasted(job).facts == told.facts
    assert everything(tmp_path / "stopped") == everything(tmp_path / "whole")
    monkeypatch.setattr(io, "write", dies)  # what is finished is not written again
    assert pasted(job).facts == told.facts


def test_what_was_pasted_can_be_taken_back(tmp_path):
    job = half_done(tmp_path)
    files = [tmp_path / n for n in ("enhanced.tif", "flags.tif", "uncertainty.tif")]
    before = [p.read_bytes() for p in files]
    pasted(job)
    assert all(p.read_bytes() != b for p, b in zip(files, before, strict=True))
    pasting.opened(Job(job.folder, Plan({"merge.pasted": None}), None, print), [], [])
    assert [p.read_bytes() for p in files] == before
    assert not (tmp_path / "computed").exists() and not (tmp_path / "measured.tif").exists()


def test_empty_corners_of_a_round_field_of_view_are_not_pasted():
    grid = Grid.of((8, 40, 40), 10.0)
    data = np.random.default_rng(2).normal(500, 50, grid.shape).astype(np.float32)
    assert pasting.recorded_part(Image(data, grid)).data is data
    y, x = np.mgrid[:40, :40] - 19.5
    outside = y**2 + x**2 > 20**2
    data[:, outside] = 0
    known = np.isfinite(pasting.recorded_part(Image(data, grid)).array())
    assert not known[:, outside].any() and known[:, y**2 + x**2 < 19**2].all()


def test_a_run_holds_the_model_that_it_started_from(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("card.json", "model.safetensors", "checkpoint-1.pt"):
        (tmp_path / "old" / name).write_text(name)
    job = Job(RunFolder(tmp_path / "new", {}), Plan({"train.start": pasting.START}), None, print)
    pasting.begun(job, pasting.Merge(job.plan, (), {"of": "old"}, tmp_path / "old"))
    shutil.rmtree(tmp_path / "old")
    pasting.begun(job, pasting.Merge(job.plan, (), {"of": "old"}, tmp_path / "old"))  # gone on with
    kept = pasting.start_folder(job)
    assert kept == tmp_path / "new" / "start-model" and job.folder.facts("merge")["of"] == "old"
    assert sorted(p.name for p in kept.iterdir()) == ["card.json", "model.safetensors"]
    assert pasting.start_folder(Job(job.folder, Plan({"train.start": "/elsewhere"}), None, print)) == Path("/elsewhere")
    assert pasting.start_folder(Job(job.folder, Plan(), None, print)) is None


# ------------------------------------------------------------------ what cannot be used
def refused(kind: type[Exception], folder: Path, files: list[Path], out: Path, *words: str, **named) -> None:
    with pytest.raises(kind) as e:
        merge(folder, files, out, **named)
    said = str(e.value)
    assert "\n" not in said and not out.exists()
    for word in words:
        assert word in said, said


def test_a_rescan_of_another_specimen_is_refused_with_the_code_of_pictures(
    finescan, finished_volume, volume_rescans, tmp_path
):
    said = finescan("merge", finished_volume, volume_rescans / "other.tif", "-o", tmp_path / "out")
    assert said.code == 4 and len(said.errors) == 1 and not (tmp_path / "out").exists()
    assert "other.tif is not found in coarse.tif" in said.err and "Nothing was written." in said.err


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("coarser.tif", ("coarser.tif has voxels of 3000 x 3000 x 3000 nm", "too coarse for a result of 1500 x 1500")),
        ("eight.tif", ("eight.tif holds uint8 grey levels, but those of the run are uint16", "--match-grey")),
        ("picture.tif", ("coarse.tif has axes ZYX but picture.tif has YX",)),
    ],
)
def test_scans_that_do_not_fit(finished_volume, volume_rescans, tmp_path, file, words):
    refused(InputError, finished_volume, [volume_rescans / file], tmp_path / "out", *words)


def test_the_wrong_files(finished_volume, volumes, volume_rescans, tmp_path):
    own = "fine.tif is the run's own fine scan fine.tif"
    refused(InputError, finished_volume, [volumes / "fine.tif"], tmp_path / "out", own)
    with pytest.raises(OutputError, match="never replaces the run it starts from"):
        merge(finished_volume, [volume_rescans / "again.tif"], finished_volume)
