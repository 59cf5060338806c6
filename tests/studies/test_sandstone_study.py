"""The sandstone study from registration to pore sizes, with networks of a few steps."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from finescan import studies
from finescan.errors import InputError
from finescan.studies import sandstone
from finescan.studies.sandstone import SandstoneResults, Size

TINY = Size(208, 288, 1, 8, 2, 0.1, 0.1, steps=2)


@pytest.fixture(scope="module")
def tiny() -> None:
    sandstone.SIZES["tiny"] = TINY
    yield
    del sandstone.SIZES["tiny"]


@pytest.fixture(scope="module")
def folder(once, tiny) -> Path:
    def make(f: Path) -> None:
        (f / "results.pickle").write_bytes(pickle.dumps(studies.study_sandstone(f / "s", size="tiny")))

    return once("sandstone-study", make) / "s"


@pytest.fixture(scope="module")
def results(folder) -> SandstoneResults:
    return pickle.loads((folder.parent / "results.pickle").read_bytes())


def test_the_fine_scan_is_found_and_its_true_error_known(results) -> None:
    assert [r["verdict"] for r in results.registration] == ["found"]
    assert results.registration[0]["true_error_hr_px"] < 1.0


def test_pores_of_the_truth_are_the_reference_outside_the_fine_scan(results) -> None:
    rest = results.pores["rest of the map"]
    truth = rest.sample("truth")
    assert truth.reference and truth.count > 10 and 0.05 < truth.area_share < 0.3
    assert {s.name for s in rest.samples} == {"bicubic", "mse", "mae", "finescan", "truth"}
    assert rest.sample("bicubic").found is not None and np.isnan(rest.distance("truth"))


def test_tiles_are_compared_in_both_places(results) -> None:
    held, rest = results.tiles["held-out fine scan"], results.tiles["rest of the map"]
    assert held.count >= 4 and rest.count > 20
    assert rest.scores["bicubic"].mean() > held.scores["bicubic"].mean()  # the truth has no noise


def test_acceleration_counts_the_fine_scan_too(results) -> None:
    """16 times fewer pixels in the coarse map, and one fine scan of 288² of 832² pixels."""
    share = 288**2 / 832**2
    assert results.acceleration.fine_share == pytest.approx(share, rel=1e-6)
    assert results.acceleration.factor == pytest.approx(1 / (1 / 16 + share), rel=1e-6)


def test_the_page_holds_the_papers_figures(folder) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("Fig. 2", "Fig. 3", "Fig. 4", "DLE-EM, MSE", "DLE-EM, MAE", "6 to 16"):
        assert words in page
    assert (folder / "figures" / "figure-2-tiles.svg").exists()


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(InputError, match=r"A sandstone study is quick, medium, full.*, but 'huge' came"):
        studies.SandstoneStudy("huge")
