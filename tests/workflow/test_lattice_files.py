"""The verb ``lattice``: what it writes and says, and what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan import io, workflow
from finescan.simulation import STEM_FAULTS, lattice_sample, record_stem, simulate_lattice
from finescan.values import Grid


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """recorded.tif, coarse.tif (every third pixel), smooth.tif (stands for an enhanced one), other.tif, stm.tif."""
    folder = tmp_path_factory.mktemp("lattices")
    sample = lattice_sample("GaN [11-20]", 4.8, turn_deg=3.0, defects=False, seed=8)
    faults = replace(STEM_FAULTS, drift_nm=0.0)
    scan = record_stem(sample, 0.0124, pixels=384, faults=faults, seed=8).image
    other = record_stem(sample, 0.0124, pixels=300, faults=replace(faults, scale_error=0.02), seed=9).image
    coarse = np.ascontiguousarray(scan.data[1::3, 1::3])
    io.write(folder / "recorded.tif", scan)
    io.write(folder / "coarse.tif", scan.with_data(coarse, Grid.of(coarse.shape, 3 * 0.0124)))
    io.write(folder / "smooth.tif", scan.with_data(ndimage.gaussian_filter(scan.data.astype(np.float32), 1.5)))
    io.write(folder / "other.tif", other)
    io.write(
        folder / "stm.tif", simulate_lattice("stm", pixels=160, zooms=(7, 3.5), defects=False, seed=1).coarse.image
    )
    return folder


def test_everything_that_was_asked_for_is_written(files, tmp_path, finescan) -> None:
    said = finescan(
        "lattice", files / "smooth.tif", "--reference", files / "recorded.tif", "--coarse", files / "coarse.tif",
        "--cell", "0.27618,0.5185,90", "-o", tmp_path / "out",
    )  # fmt: skip
    assert said.code == 0, said.err
    facts = json.loads((tmp_path / "out" / "lattice.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "columns.csv").open()))
    assert len(rows) == facts["columns"]["columns"] > 150
    assert facts["lattice"]["cell"]["first_pm"] == pytest.approx(276.2, rel=0.01)
    first = np.array([[float(r["y_nm"]), float(r["x_nm"])] for r in rows])
    assert (first > 0).all() and (first < 384 * 0.0124).all()
    assert len(list(csv.DictReader((tmp_path / "out" / "lines.csv").open()))) == 384
    periods = list(csv.DictReader((tmp_path / "out" / "periods.csv").open()))
    assert len(periods) == facts["periods"]["peaks"] and {r["verdict"] for r in periods} <= {
        "supported",
        "extrapolated",
    }
    better, before = facts["reference"]["comparison"], facts["reference"]["before"]
    assert better["displacement_pm"]["median"] < before["displacement_pm"]["median"]
    assert better["lost"] == better["invented"] == 0
    assert facts["scan"]["linear_drift"]["shear"] == pytest.approx(0.004, abs=0.002)
    for words in ("columns the same", "line jitter", "periods of smooth.tif", "interpolated, against recorded.tif"):
        assert words in said.out


def test_another_field_is_compared_by_its_vectors(files, tmp_path) -> None:
    outcome = workflow.lattice_file(files / "recorded.tif", tmp_path / "out", reference=files / "other.tif")
    change = outcome.facts["reference"]["vectors"]["length_change_percent"]
    assert change == pytest.approx([2, 2], abs=0.4)  # the other scan shows less than its pixels say
    assert "comparison" not in outcome.facts["reference"] and "only the vectors are compared" in str(outcome)


def test_tunnelling_scans_must_be_flattened_first(files, tmp_path, finescan) -> None:
    refused = finescan("lattice", files / "stm.tif", "-o", tmp_path / "stm")
    assert refused.code == 3 and "stm.tif is not flattened" in refused.err and "--flatten" in refused.err
    assert not (tmp_path / "stm").exists()
    done = finescan("lattice", files / "stm.tif", "--flatten", "-o", tmp_path / "stm", "--json")
    assert done.code == 0 and json.loads(done.out)["lattice"]["cell"]["first_pm"] == pytest.approx(246, rel=0.05)


def test_folders_and_words_are_checked(files, tmp_path, finescan) -> None:
    (tmp_path / "note").write_text("mine")
    full = finescan("lattice", files / "recorded.tif", "-o", tmp_path)
    assert full.code == 5 and "is not empty" in full.err and (tmp_path / "note").exists()
    wrong = finescan("lattice", files / "recorded.tif", "--cell", "0.3", "-o", tmp_path / "x")
    assert wrong.code == 2 and "two lengths in nm and the angle" in wrong.err
