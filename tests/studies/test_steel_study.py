"""The steel study from recording to page, with networks of a few steps: what is measured, not how good it is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from finescan import studies
from finescan.errors import InputError, OutputError
from finescan.models import Model
from finescan.studies import steel, steel_data
from finescan.studies.steel_data import Size
from finescan.studies.steel_page import PUBLISHED
from finescan.studies.store import StudyFolder, silent
from finescan.training import references
from finescan.training.recipes import RECIPES
from finescan.values import Image

TINY = Size(48, 2, 128, 136, 176, 1, 4, 4, 0.1, 0.1, 0.1, steps=1)


@pytest.fixture(scope="module")
def tiny() -> None:
    steel_data.SIZES["tiny"] = TINY
    yield
    del steel_data.SIZES["tiny"]


@pytest.fixture(scope="module")
def cheap(tiny, light_textures) -> None:
    """One patch at a time, few stop windows, light networks, maps by our own network: the rest is tested elsewhere."""
    from finescan.enhancement import EnhanceConfig, enhance
    from finescan.models.srresnet import PatchDiscriminator
    from finescan.training.adversarial import ADVERSARIES

    def by_ours(run: steel._Run, model: Model, lr: Image, blending: str) -> Image:
        own = run._ours if model.windows else model
        return enhance(own, lr, config=EnhanceConfig(dtype="float32", guard=False)).image

    with pytest.MonkeyPatch.context() as patch, light_textures():
        patch.setattr(references, "MOST_WINDOWS", {"cpu": 1, "cuda": 1})
        usual = RECIPES["quick"]["ttsr-grey"]
        patch.setitem(RECIPES["quick"], "ttsr-grey", replace(usual, batch=1))
        critic = replace(ADVERSARIES["wgan-gp"], build=lambda side: PatchDiscriminator(widths=(4, 8)))
        patch.setitem(ADVERSARIES, "wgan-gp", critic)
        patch.setattr(steel._Run, "_map", by_ours)
        yield


@pytest.fixture(scope="module")
def done(once, cheap) -> Path:
    def make(folder: Path) -> None:
        facts = studies.study_steel(folder / "s", size="tiny").facts
        (folder / "facts.json").write_text(json.dumps(facts))

    return once("steel-study", make) / "s"


def test_every_table_has_every_method_and_gains_over_bicubic(done) -> None:
    methods = {
        "small": {"nearest", "bicubic", "lanczos", "ttsr-content", "ttsr", "finescan"},
        "large": {"nearest", "bicubic", "lanczos", "ttsr", "ttsr-fading", "finescan"},
        "short-dwell": {"nearest", "bicubic", "lanczos", "ttsr-direct", "ttsr", "finescan"},
        "case-hardening": {
            "nearest", "bicubic", "lanczos", "ttsr-direct", "ttsr-matched", "finescan-direct", "ttsr", "finescan",
        },
    }  # fmt: skip
    for table, wanted in methods.items():
        rows = json.loads((done / "results" / f"table-{table}.json").read_text())
        assert set(rows) == wanted
        assert rows["bicubic"]["gain"]["psnr"]["mean"] == 0 and rows["nearest"]["gain"]["psnr"]["mean"] < 0
        assert all(0 < row["mean"]["ssim"] < 1 and row["patches"] > 0 for row in rows.values())
    assert json.loads((done / "results" / "table-short-dwell.json").read_text())["bicubic"]["mean"]["psnr"] < 22


def test_bicubic_interpolation_is_about_where_the_paper_has_it(done) -> None:
    """The simulated scans have the published noise and detail."""
    rows = json.loads((done / "results" / "table-small.json").read_text())
    for metric, within in (("psnr", 1.2), ("ssim", 0.06), ("essim", 0.08)):
        assert rows["bicubic"]["mean"][metric] == pytest.approx(PUBLISHED["small"]["bicubic"][metric], abs=within)


def test_the_page_shows_our_figures_beside_the_published(done) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    for words in ("Table 2", "Table 3", "Table 4", "Table S1", "25.57", "TTSR, not fine-tuned", "unlike"):
        assert words in page
    assert (done / "figures" / "table-small.csv").exists() and (done / "figures" / "aims.md").exists()


def test_a_finished_study_is_not_run_again_and_another_is_refused(done, monkeypatch) -> None:
    from finescan import training

    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    run = steel._Run(StudyFolder(done, asdict(studies.SteelStudy("tiny"))), studies.SteelStudy("tiny"), silent)
    run.small()
    assert run.tables["small"] == json.loads((done / "results" / "table-small.json").read_text())
    with pytest.raises(OutputError, match="holds something else than this study"):
        studies.study_steel(done, size="tiny", seed=1)


def test_the_other_material_is_called_unlike_and_seams_are_looked_for_where_windows_meet(done) -> None:
    facts = json.loads((done.parent / "facts.json").read_text())
    assert facts["case-hardening"]["likeness"]["verdict"] == "unlike"
    seams = facts["large"]["seams"]  # of both ways to join windows, and of a map without
    periods = {n: s["borders"]["period"] for n, s in seams.items()}
    assert periods == {"ttsr": [80, 80], "ttsr-fading": [96, 96], "finescan": [80, 80]}
    assert seams["ttsr"]["middles"]["phase"] == [40, 40]


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(InputError, match=r"A steel study is quick, medium, full.*, but 'huge' came"):
        studies.SteelStudy("huge")
