"""Coarse images alone, end to end on tiny pictures: what a run gives, and what it says when nothing is better."""

import json
from dataclasses import replace

import numpy as np
import pytest

from finescan import io, workflow
from finescan.errors import InputError, OutputError
from finescan.models import Model, build, complete_arguments, load_model
from finescan.training.contestants import make_card
from finescan.values import Grid, Image
from finescan.workflow.finished import open_finished
from finescan.workflow.lattice_judging import LatticeJudgement, judge_lattice
from finescan.workflow.lr_only import complete_lr_only

QUICK = {"train.steps": 1, "train.members": 1, "train.levels": "coarser"}


def atoms(side=128, *, noise=60.0, seed=0, pixel_nm=0.02, period=16.0):
    y, x = np.indices((side, side))
    pattern = np.cos(2 * np.pi * (y + 0.15 * x) / period) * np.cos(2 * np.pi * x / (0.9 * period))
    data = 1000 + 200 * pattern + noise * np.random.default_rng(seed).standard_normal((side, side))
    return Image(np.rint(data).astype(np.uint16), Grid.of((side, side), pixel_nm), f"atoms-{seed}")


def untrained(patches, config, **kwargs):
    """In the place of training, which other tests look at: a network that interpolates until it has learned."""
    facts = {"chosen": "fast", "seconds": 0.0, "stop_psnr": {}}
    return Model([build("fast", patches.factor).eval()], make_card(patches, "fast", complete_arguments("fast"), facts))


@pytest.fixture(scope="module", autouse=True)
def without_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finescan.workflow.lr_only_learning.train", untrained)
        yield


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Lattices: two of one pixel size, one of another, and a large noisy one."""
    folder = tmp_path_factory.mktemp("alone")
    io.write(folder / "one.tif", atoms())
    io.write(folder / "two.tif", atoms(seed=1))
    io.write(folder / "finer.tif", atoms(pixel_nm=0.01))
    io.write(folder / "noisy.tif", atoms(192, noise=120.0, period=30.0))
    return folder


@pytest.fixture(scope="module")
def finished(scans, tmp_path_factory):
    """A run whose result is the ridge filter, which takes noise off and is fitted within a second."""
    out = tmp_path_factory.mktemp("runs") / "ridge"
    done = workflow.run_lr_only(scans / "noisy.tif", out, sr_factor=2, choices={**QUICK, "result.method": "ridge"})
    return out, done


def test_a_run_gives_everything(finished, scans):
    out, done = finished
    recorded, enhanced = io.read(scans / "noisy.tif"), io.read(out / "enhanced.tif")
    assert enhanced.grid.shape == (384, 384) and enhanced.dtype == recorded.dtype
    assert enhanced.grid.pixel_size_nm == pytest.approx((0.01, 0.01))
    assert np.mean(enhanced.data) == pytest.approx(np.mean(recorded.data), rel=0.01)
    assert load_model(out / "model").card.factor == 2
    facts = json.loads((out / "trust.json").read_text())
    assert {"trusted_percent", "reach", "lattices", "flags", "contest", "judgement"} <= set(facts)
    assert facts["verdict"] == done.facts["verdict"] == "better" and facts["trusted_percent"] > 100
    assert facts["judgement"]["curve"]["level_percent"][-1] == pytest.approx(160)
    page = (out / "report.html").read_text()
    for words in (
        "One level down",
        "How far beyond the recorded resolution",
        "Columns before and after",
        "Degraded again",
    ):
        assert words in page
    assert "trust up to" in done.text and "No fine scan was recorded" in done.text
    assert (out / "levels.csv").read_text().startswith("level_percent,every,bicubic_psnr")


def test_the_lattice_is_judged_against_the_recorded_answer(finished):
    lattice = finished[1].facts["lattices"][0]
    assert lattice["periodic"]
    before, after = lattice["before"]["displacement_pm"], lattice["after"]["displacement_pm"]
    assert after["median"] < before["median"]  # noise taken off: columns lie nearer to the recorded ones
    assert lattice["scan"]["jitter_rms_pm"] >= 0 and lattice["periods"]["peaks"] > 0


def test_a_finished_run_is_not_done_again_and_its_report_can_be(finished, scans, monkeypatch):
    out, done = finished

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("finescan.workflow.lr_only_learning.train", never)
    monkeypatch.setattr("finescan.workflow.lr_only.enhance", never)
    again = workflow.report_folder(out)
    assert again.facts["verdict"] == done.facts["verdict"]
    with pytest.raises(InputError, match=r"learned from coarse images alone .* a fine scan was recorded for"):
        open_finished(out)
    with pytest.raises(OutputError, match=r"holds a run of other files .*two.tif"):
        workflow.run_lr_only([scans / "noisy.tif", scans / "two.tif"], out)


@pytest.fixture
def no_lattice(monkeypatch):
    """Lattices are not judged: their fits take most of the time."""
    monkeypatch.setattr(
        "finescan.workflow.lr_only_judging.judge_lattice", lambda *args, **kwargs: LatticeJudgement("Not asked for.")
    )


@pytest.mark.usefixtures("no_lattice")
def test_what_is_not_shown_to_be_better_is_replaced_by_interpolation(scans, tmp_path, monkeypatch):
    monkeypatch.setattr("finescan.workflow.lr_only_learning.best_of", lambda curve, rivals: "fast, coarser")
    done = complete_lr_only([scans / "one.tif"], tmp_path / "run", workflow.Reading(), QUICK)
    facts = done.facts
    assert facts["method"] == "bicubic" and facts["verdict"] == "equal" and facts["trusted_percent"] == 100.0
    assert "The result is the bicubic interpolation" in facts["sentence"] and "fast gains" in facts["sentence"]
    assert "Do not trust detail finer than recorded" in facts["sentence"]
    assert any("so the result is the interpolation" in n for n in facts["notes"])


@pytest.mark.usefixtures("no_lattice")
def test_several_images_share_one_network(scans, tmp_path):
    choices = {**QUICK, "result.method": "lanczos"}
    done = workflow.run_lr_only([scans / "one.tif", scans / "two.tif"], tmp_path / "run", choices=choices)
    files = {p.name for p in (tmp_path / "run").glob("*.tif")}
    assert files == {"enhanced-01-one.tif", "enhanced-02-two.tif", "flags-01-one.tif", "flags-02-two.tif"}
    assert [i["name"] for i in done.facts["images"]] == ["one.tif", "two.tif"] and done.facts["factor"] == 2
    assert done.facts["method"] == "lanczos" and done.facts["verdict"] == "worse"
    assert "Made by lanczos, as was asked for" in done.facts["sentence"] and done.facts["trusted_percent"] == 100.0
    assert "two.tif: no lattice found, so none is judged" in done.text


def test_what_has_no_lattice_is_not_judged_by_one_and_does_not_fail():
    noise = np.random.default_rng(0).integers(0, 999, (96, 96)).astype(np.uint16)
    image = Image(noise, Grid.of((96, 96), 0.02), "noise")
    found = judge_lattice(image, image.with_data(np.kron(noise, np.ones((2, 2))), image.grid.refine(2)))
    assert not found.periodic and found.why_not.startswith("No lattice was judged: noise")
    assert found.to_dict()["recorded"] is None and not [n for n in found.notes() if "columns" in n]


@pytest.mark.usefixtures("no_lattice")
def test_lines_of_a_scanning_probe_are_flattened_visibly(tmp_path):
    from finescan.simulation import simulate_lattice

    scan = simulate_lattice("stm", zooms=(8.0, 4.0), pixels=128, seed=2).coarse.image
    assert scan.acquisition.extra["technique"] == "STM"
    image = replace(scan, name="stm")
    path = tmp_path / "stm.tif"
    io.write(path, image)
    choices = {**QUICK, "result.method": "bicubic", "coarse.flatten": "robust"}
    done = complete_lr_only([path], tmp_path / "run", workflow.Reading(), choices)
    assert io.is_flattened(done.images[0]) and done.enhanced[0].dtype == np.float32
    assert any("Lines of the scan were flattened first" in n for n in done.facts["notes"])
    assert "coarse.flatten" in (tmp_path / "run" / "plan.yaml").read_text()


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["one.tif", "one.tif"], {}, "another file, but one was named twice"),
        (["one.tif", "finer.tif"], {}, r"pixels of one.tif are 0.02 nm and those of finer.tif 0.01 nm"),
        (["small.tif"], {}, "small.tif has 40 x 40 px, but one training crop is 64 x 64 px"),
        (["tight.tif"], {}, "too small to train and to judge: of tight.tif"),
        (["volume.tif"], {}, "volume.tif holds 4 pictures and none was chosen"),
        (["volume.tif"], {"volume": True}, "volume.tif is a volume or a movie .* Choose one of its frames"),
        (["bare.tif"], {}, "bare.tif has no pixel size. Pass .*--pixel-size"),
        (["bare.tif"], {"reading": (0.02, 0.03)}, "square pixels, but those of bare.tif are 0.02 x 0.03 nm"),
        (["one.tif"], {"sr_factor": 1}, "The factor is a whole number from 2 to 16, but 1 came"),
        (
            ["one.tif"],
            {"choices": {"train.levels": "stm"}, "sr_factor": 4},
            "for .* a factor of 2, but the factor is 4",
        ),
        (
            ["one.tif"],
            {"choices": {"train.architecture": "ttsr"}, "sr_factor": 2},
            "ttsr enhances by 4, but the factor is 2",
        ),
        (["one.tif"], {"choices": {"train.levels": "magic"}}, "train.levels cannot be 'magic'. Expected: one of auto"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(scans, tmp_path, names, options, words):
    rng = np.random.default_rng(0)
    for name, side in (("small", 40), ("tight", 64)):
        io.write(tmp_path / f"{name}.tif", atoms(side))
    io.write(tmp_path / "volume.tif", Image(rng.random((4, 80, 80), np.float32), Grid.of((4, 80, 80), 5.0), "volume"))
    import tifffile

    tifffile.imwrite(tmp_path / "bare.tif", atoms().data)
    paths = [scans / n if (scans / n).exists() else tmp_path / n for n in names]
    options = dict(options)
    reading = workflow.Reading(options.pop("reading", None), volume=options.pop("volume", None))
    with pytest.raises(InputError, match=words):
        workflow.run_lr_only(paths, tmp_path / "out", reading=reading, **options)
    assert not (tmp_path / "out").exists()
