"""finescan merge: rescans go back into their run, or nothing is written and a sentence says why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from finescan import io, rescan
from finescan.errors import InputError, OutputError, RegistrationRefused
from finescan.patches import SplitConfig, make_patches
from finescan.registration import load_pair
from finescan.values import Grid, Image, TrustMap, Verdict
from finescan.workflow import incoming, merging, pasting
from finescan.workflow.finished import open_finished
from finescan.workflow.merging import MergeOptions, merge
from finescan.workflow.rescanning import RescanOptions, coarse_scan, error_map, error_unit

INPUT, REFUSED, OUTPUT = 3, 4, 5
GREYS, PATCHES = incoming._greys, incoming.OldRun.__dict__["patches"]
PLACES = {"F001": (8, 12), "F002": (470, 10)}  # first fine pixels, beside the first fine scan
SIDE = 144


def cut(truth: Image, y: int, x: int, seed: int, *, side: int = SIDE, step: int = 1) -> Image:
    """A fine scan of the truth with noise of its own."""
    data = truth.data[y : y + side : step, x : x + side : step]
    noisy = data + np.random.default_rng(seed).normal(0, 200, data.shape)
    return Image(np.rint(noisy).astype(np.uint16), Grid.of(data.shape, 25.0 * step))


@pytest.fixture(scope="session")
def rescans(once) -> Path:
    """Rescans of the sample of ``finished``, and some that cannot be used."""

    def make(folder: Path) -> None:
        from finescan.simulation import simulate

        truth = simulate("porous", size=160, ratio=4, fine=400, counts=(2000.0, 1500.0), seed=5).truth
        for k, (name, place) in enumerate(PLACES.items()):
            io.write(folder / f"{name}.tif", cut(truth, *place, seed=k))
        first = cut(truth, *PLACES["F001"], seed=9)
        io.write(folder / "bright.tif", first.with_data((first.data * 1.3 + 2000).astype(np.uint16)))
        io.write(folder / "eight.tif", first.with_data((first.data / 128).astype(np.uint8)))
        io.write(folder / "coarser.tif", cut(truth, *PLACES["F001"], seed=9, step=2))

    return once("rescans", make)


@pytest.fixture(scope="session")
def merged(once, finished, rescans) -> Path:
    """``finished`` with both rescans; the run that they were merged into is gone, so nothing below can need it."""

    def make(folder: Path) -> None:
        old = shutil.copytree(finished, folder / "old")
        merge(old, [rescans / f"{n}.tif" for n in PLACES], folder / "run", choices={"train.steps": 4})
        shutil.rmtree(old)

    return once("merged", make) / "run"


def facts(folder: Path) -> dict:
    return json.loads((folder / "trust.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------ what a merge makes
def test_recorded_pixels_stand_in_the_result_and_are_marked(merged, finished, rescans) -> None:
    result, mask = io.read(merged / "enhanced.tif"), io.read(merged / "measured.tif").array()
    assert result.dtype == np.uint16 and result.grid.pixel_size_nm == (25.0, 25.0)
    assert mask.dtype == np.uint8 and set(np.unique(mask[300:400])) == {0}
    for name, (y, x) in PLACES.items():
        scan = io.read(rescans / f"{name}.tif").array().astype(float)
        inner = slice(y + 20, y + SIDE - 20), slice(x + 20, x + SIDE - 20)
        assert (mask[inner] == 255).all()
        error = result.array()[inner] - scan[20:-20, 20:-20]
        assert np.sqrt(np.mean(error**2)) < 0.5 * scan.std()  # moved by a third of a pixel at most
        assert abs(error.mean()) < 0.02 * scan.mean()
    computed = io.read(merged / "computed" / "enhanced.tif").array()
    assert np.array_equal(result.array()[mask == 0], computed[mask == 0])
    assert facts(merged)["merged"]["measured_share"] == pytest.approx(np.mean(mask == 255))


def test_flags_and_doubt_end_where_it_was_recorded(merged) -> None:
    run = open_finished(merged)
    coarse = coarse_scan(run)
    flags = io.read(merged / "flags.tif").array()
    error = error_map(run, coarse, TrustMap(flags, coarse.grid))
    assert (merged / "uncertainty.tif").exists() and "interval" in error_unit(run)
    inner = slice(8, 32), slice(10, 34)
    assert not flags[inner].any() and not error[inner].any() and error[70:90, 130:150].all()
    half = io.read(merged / "uncertainty.tif").array()
    assert not half[60:100, 60:100].any() and half[300:, 600:].min() > 0


def test_what_was_held_out_stays_held_out(merged, finished, scans) -> None:
    """The test blocks of both runs are the same, and no training pixel of the merged run lies in or near them."""
    run = open_finished(merged)
    boxes = run.plan.values["split.boxes"]
    lr = coarse_scan(run)
    hrs = [io.read(p) for p in run.fines]
    pairs = [load_pair(f, lr, hr) for f, hr in zip(sorted((merged / "pair").iterdir()), hrs, strict=True)]
    before = make_patches(pairs[:1], config=SplitConfig(kind="auto"), target_pixel_size_nm=(25.0, 25.0))
    assert {k: [list(b) for b in v] for k, v in before.boxes.items()} == boxes and boxes["test"]
    y, x = boxes["test"][0][:2]
    on_test = replace(pairs[1], lr_from_hr=replace(pairs[1].lr_from_hr, offset_nm=np.array([y * 100.0, x * 100.0])))
    after = make_patches([pairs[0], on_test], config=SplitConfig(boxes=boxes), target_pixel_size_nm=(25.0, 25.0))
    for piece in after.pieces:
        start = np.rint(after.work_grid.to_index(piece.work_grid.origin_nm)).astype(int)
        rows, columns = np.nonzero(piece.role == 1)
        for top, left, bottom, right in boxes["test"]:
            near = (rows + start[0] >= top - 12) & (rows + start[0] < bottom + 12)
            assert not (near & (columns + start[1] >= left - 12) & (columns + start[1] < right + 12)).any()
    assert after.shares()["train"] > 0.3


def test_the_report_and_the_judgement_of_what_was_computed(merged, finished) -> None:
    page = (merged / "report.html").read_text(encoding="utf-8")
    assert "Measured again" in page and "F001.tif" in page and "before the rescans it had" in page
    now, before = facts(merged), facts(finished)
    assert now["merged"]["before"]["enhanced"] == before["scores"]["enhanced"]
    assert now["scores"]["enhanced"]["psnr"] == pytest.approx(before["scores"]["enhanced"]["psnr"], abs=2.0)


def test_again_is_the_same_and_a_plan_that_pastes_nothing_gives_the_computed_map(merged, tmp_path) -> None:
    from finescan.workflow import report_folder
    from finescan.workflow.folder import RunFolder
    from finescan.workflow.opening import Job
    from finescan.workflow.pasting import opened
    from finescan.workflow.plan import Plan

    copy = tmp_path / "run"
    shutil.copytree(merged, copy)
    names = "enhanced.tif", "flags.tif", "uncertainty.tif", "measured.tif"
    before = {n: (copy / n).read_bytes() for n in names}
    report_folder(copy)
    assert all((copy / n).read_bytes() == before[n] for n in names)
    computed = (copy / "computed" / "enhanced.tif").read_bytes()
    folder = RunFolder(copy, open_finished(copy).state["inputs"])
    opened(Job(folder, Plan({"merge.pasted": None}), None, print), [], [])
    assert (copy / "enhanced.tif").read_bytes() == computed != before["enhanced.tif"]
    assert not (copy / "measured.tif").exists() and not (copy / "computed").exists()


def test_a_merged_run_is_planned_again_beside_its_rescans(finescan, merged, tmp_path) -> None:
    asked = "--budget", "8s", "--frame", "96x64", "--dwell", "10", "-o", tmp_path / "plan"
    assert finescan("rescan", merged, *asked).code == 0
    mask = io.read(merged / "measured.tif").array() > 0
    for f in rescan.load_plan(tmp_path / "plan" / "rescan.json").fields:
        (top, left), (bottom, right) = f.start_px, f.stop_px
        assert not mask[round(4 * top) + 8 : round(4 * bottom) - 8, round(4 * left) + 8 : round(4 * right) - 8].any()


def test_a_merge_that_was_stopped_goes_on_without_registering_again(
    monkeypatch, known, merged, finished, rescans, tmp_path
) -> None:
    out, said = tmp_path / "out", []
    shutil.copytree(merged, out)
    for name in ("enhanced.tif", "measured.tif", "trust.json", "report.html"):
        (out / name).unlink()

    def progress(done, total, message):
        said.append(message)

    files = [rescans / f"{n}.tif" for n in PLACES]
    further = MergeOptions(further=RescanOptions(budget="9s", dwell_us=10.0))
    done = merge(finished, files, out, options=further, choices={"train.steps": 4}, progress=progress)
    plan = rescan.load_plan(out / "rescan" / "rescan.json")
    assert plan.frame.shape_px == (SIDE, SIDE) and 1 <= len(plan.fields) == len(done.facts["plan"]["fields"])
    assert "before" in done.text and "on the same held-out blocks" in done.text
    none = merging._planned_again(out, [], RescanOptions(budget="1s", dwell_us=10.0, frame=(SIDE, SIDE)))
    assert none.text.startswith("no further round was planned: One field of") and "reason" in none.facts
    assert not known and not any("network" in m for m in said)
    assert (out / "enhanced.tif").read_bytes() == (merged / "enhanced.tif").read_bytes()
    monkeypatch.setattr(merging, "complete", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    shutil.copy(rescans / "bright.tif", tmp_path / "F001.tif")  # another scan under the same name
    stopped(finished, [tmp_path / "F001.tif", files[1]], out)
    assert len(known) == 2


# ------------------------------------------------------------------ what goes in, without training
@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What the run would be asked for, instead of running it."""
    calls: list[dict] = []

    def complete(coarse, fine, out, reading, choices, force, overwrite, progress, *, merge):
        fines = [Path(p).name for p in fine]
        calls.append({"fine": fines, "merge": merge, "out": Path(out), "force": force, "choices": choices})
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, "complete", complete)
    return calls


@pytest.fixture
def known(monkeypatch, merged) -> list:
    """Registrations are known: those of ``merged``, and "not found" for every other scan; the priors asked with.

    What was held out and learned from is known, too.
    """
    run = open_finished(merged)
    lr = coarse_scan(run)
    folders = dict(zip(run.fines, sorted((merged / "pair").iterdir()), strict=True))
    pairs = {p.stem: load_pair(f, lr, io.read(p)) for p, f in folders.items()}
    priors: list = []

    def register(lr, hr, *, prior, objective):
        priors.append(prior)
        name = {"bright": "F001"}.get(Path(hr.name).stem, Path(hr.name).stem)
        if name in pairs:
            return replace(pairs[name], hr=hr)
        why = ("The fine scan was not found: chance gives that.",)
        return replace(pairs["F001"], hr=hr, verdict=Verdict.NOT_FOUND, reasons=why)

    monkeypatch.setattr(incoming, "register", register)
    monkeypatch.setattr(incoming, "_greys", lambda old, pairs: [(1.0, 0.0, 0.0)] * len(pairs))
    monkeypatch.setattr(incoming.OldRun, "patches", SimpleNamespace(boxes=run.plan.values["split.boxes"]))
    monkeypatch.setattr(merging, "foreseen", lambda run, lr, pairs: [None] * len(pairs))
    return priors


def stopped(*arguments, **named) -> None:
    with pytest.raises(KeyboardInterrupt):
        merge(*arguments, **named)


def test_a_merge_of_a_merge_pastes_all_rescans(asked, known, monkeypatch, merged, rescans, tmp_path) -> None:
    monkeypatch.setattr(incoming, "_greys", GREYS)
    monkeypatch.setattr(incoming.OldRun, "patches", PATCHES)
    wanted = MergeOptions(match_grey=True, minutes=0.3)
    stopped(merged, [rescans / "bright.tif"], tmp_path / "next", options=wanted, choices={"train.members": 2})
    call = asked[0]
    grey = call["merge"].plan.values["merge.grey"]
    assert call["choices"] == {"train.minutes": 0.3, "merge.grey": grey, "train.members": 2}
    assert call["fine"] == ["fine.tif", "F001.tif", "F002.tif", "bright.tif"]
    values = call["merge"].plan.values
    assert values["merge.pasted"] == [2, 3, 4] and values["train.start"] == pasting.START == "start-model"
    assert call["merge"].start == merged / "model"
    assert values["split.boxes"] == open_finished(merged).plan.values["split.boxes"]
    gain, offset = values["merge.grey"][3]
    assert values["merge.grey"][:3] == [None] * 3
    assert gain == pytest.approx(1.3, abs=0.08) and 13800 * gain + offset == pytest.approx(13800 * 1.3 + 2000, rel=0.02)
    assert len(values["fine.pixel_size_nm"]) == 4 and not (tmp_path / "next").exists()


def test_a_planned_place_is_where_the_search_begins(asked, known, finished, rescans, tmp_path) -> None:
    run = open_finished(finished)
    lr = coarse_scan(run)
    here = rescan.MapReference(lr.name, lr.grid, run.state["inputs"]["coarse"]["sha256"])
    fields = tuple(
        rescan.Field(k + 1, k + 1, (y / 4, x / 4), (36.0, 36.0), (SIDE, SIDE), 0.1, 1.0)
        for k, (y, x) in enumerate([(470, 480), PLACES["F002"]])
    )
    frame, times = rescan.Frame((SIDE, SIDE), (25.0, 25.0)), rescan.ScanTimes(10.0)
    plan = rescan.RescanPlan(here, frame, times, rescan.Goal(budget_s=1.0), fields)
    for folder in ("", "rescans"):
        (tmp_path / folder).mkdir(exist_ok=True)
    for name in PLACES:
        shutil.copy(rescans / f"{name}.tif", tmp_path / "rescans")
    rescan.save_plan(plan, tmp_path / "rescan.json")
    stopped(finished, [tmp_path / "rescans" / "*.tif"], tmp_path / "out")
    assert known[1].centre_nm == pytest.approx(lr.grid.to_nm([470 / 4 + 17.5, 10 / 4 + 17.5]).tolist())
    first = load_pair(finished / "pair" / "01-fine", lr, io.read(run.fines[0]))
    assert known[1].ratio_centre == pytest.approx(first.lr_from_hr.scales())
    told = asked[0]["merge"].facts["rescans"]
    assert [r["field"] for r in told] == ["F001", "F002"] and told[1]["away_um"] < 0.2 and not told[1]["astray"]
    assert told[0]["astray"] and told[0]["away_um"] > 10  # planned elsewhere, found where it is
    other = replace(plan, map=replace(here, sha256="0" * 64))
    rescan.save_plan(other, tmp_path / "rescan.json", overwrite=True)
    stopped(finished, [tmp_path / "rescans" / "F002.tif"], tmp_path / "out")  # nobody asked for that plan
    assert asked[1]["merge"].facts["rescans"][0]["field"] is None
    with pytest.raises(InputError, match="The rescan plan was made for"):
        merge(finished, [rescans / "F002.tif"], tmp_path / "out", options=MergeOptions(tmp_path / "rescan.json"))


# ------------------------------------------------------------------ what cannot be used
def refused(kind: type[Exception], folder: Path, files: list[Path], out: Path, *words: str, **named) -> str:
    with pytest.raises(kind) as e:
        merge(folder, files, out, **named)
    said = str(e.value)
    assert "\n" not in said and not out.exists()
    for word in words:
        assert word in said, said
    return said


def test_a_rescan_of_another_sample_is_named_and_nothing_is_written(asked, known, finished, scans, rescans, tmp_path):
    files = [rescans / "F001.tif", scans / "other.tif"]
    refused(RegistrationRefused, finished, files, tmp_path / "out", "other.tif is not found in coarse.tif", "--skip",
            "the other 1", "Nothing was written.")  # fmt: skip
    stopped(finished, files, tmp_path / "out", options=MergeOptions(skip=True))
    assert asked[0]["fine"] == ["fine.tif", "F001.tif"]
    skip = MergeOptions(skip=True)
    said = refused(RegistrationRefused, finished, files[1:], tmp_path / "out", "other.tif is not found", options=skip)
    assert "--skip" not in said


def test_a_doubtful_rescan_needs_force(asked, known, monkeypatch, finished, rescans, tmp_path):
    real = incoming.register
    doubt = lambda *a, **k: replace(real(*a, **k), verdict=Verdict.DOUBTFUL)  # noqa: E731
    monkeypatch.setattr(incoming, "register", doubt)
    files = [rescans / "F001.tif"]
    refused(
        RegistrationRefused, finished, files, tmp_path / "out", "F001.tif is found in coarse.tif with doubt", "--force"
    )
    stopped(finished, files, tmp_path / "out", force=True)
    assert asked[0]["force"] is True


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("coarser.tif", ("coarser.tif has pixels of 50 x 50 nm", "too coarse for a result of 25 x 25 nm")),
        ("eight.tif", ("eight.tif holds uint8 grey levels, but those of the run are uint16", "--match-grey")),
    ],
)
def test_scans_that_do_not_fit(finished, rescans, tmp_path, file, words) -> None:
    refused(InputError, finished, [rescans / file], tmp_path / "out", *words)


def test_the_wrong_files(finished, scans, rescans, tmp_path) -> None:
    out = tmp_path / "out"
    refused(InputError, finished, [], out, "at least one rescan, but none came", "rescans/*.tif")
    refused(InputError, finished, [tmp_path / "*.tif"], out, "at least one rescan")
    refused(InputError, finished, [scans / "fine.tif"], out, "fine.tif is the run's own fine scan fine.tif")
    shutil.copy(rescans / "F001.tif", tmp_path / "again.tif")
    refused(InputError, finished, [rescans / "F001.tif", tmp_path / "again.tif"], out, "the same file as F001.tif")
    with pytest.raises(OutputError, match="never replaces the run it starts from"):
        merge(finished, [rescans / "F001.tif"], finished)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OutputError, match="is not empty and holds no finescan run"):
        merge(finished, [rescans / "F001.tif"], tmp_path / "full")


def test_a_run_that_is_not_finished(finished, rescans, tmp_path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("run.json", "plan.yaml"):
        shutil.copy(finished / name, copy)
    state = json.loads((copy / "run.json").read_text())
    del state["steps"]["enhance"]
    (copy / "run.json").write_text(json.dumps(state))
    refused(InputError, copy, [rescans / "F001.tif"], tmp_path / "out", "is not finished")


def test_a_fine_scan_of_the_run_that_has_gone(finescan, known, finished, scans, rescans, tmp_path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("run.json", "plan.yaml"):
        shutil.copy(finished / name, copy)
    text = (copy / "plan.yaml").read_text().replace(str(scans / "fine.tif"), str(tmp_path / "gone.tif"))
    (copy / "plan.yaml").write_text(text)
    said = finescan("merge", copy, rescans / "F001.tif", "-o", tmp_path / "out")
    assert said.code == INPUT and "gone.tif cannot be found. Put it back." in said.err
    assert finescan("merge", finished, "-o", tmp_path / "out").code == INPUT
    assert finescan("merge", finished, scans / "other.tif", "-o", finished).code == OUTPUT
    assert finescan("merge", finished, scans / "other.tif", "-o", tmp_path / "out").code == REFUSED
