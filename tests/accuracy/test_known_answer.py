"""From two files to a map, against a known answer: place, grey levels, gain, and nothing made up by the tiling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.models import load_model
from finescan.simulation import Simulated, simulate
from finescan.values import Grid, Image, Pair
from finescan.workflow.run import complete

RATIO, SIZE, FINE, FEW_STEPS, RIM = 3.0, 170, 400, 8, 12


@dataclass(frozen=True)
class Answer:
    """A run and what it should have found; arrays on the output grid."""

    job: Simulated
    pair: Pair
    enhanced: np.ndarray
    bicubic: np.ndarray
    outside: np.ndarray
    scores: dict
    folder: Path

    @property
    def truth(self) -> np.ndarray:
        return np.asarray(self.job.truth.data, np.float64)


def solved(folder: Path, recipe: str, seed: int) -> Answer:
    """Two simulated files through the whole workflow; ``outside`` is True where no fine scan was recorded."""
    job = simulate(recipe, size=SIZE, ratio=RATIO, fine=FINE, counts=(2000.0, 1500.0), seed=seed)
    io.write(folder / "coarse.tif", job.lr)
    io.write(folder / "fine.tif", job.hr[0])
    choices = {"train.steps": FEW_STEPS, "train.members": 1}
    done = complete(folder / "coarse.tif", folder / "fine.tif", folder / "run", choices=choices)
    bicubic = done.contestants["bicubic"].predict(done.lr.array().astype(np.float32))
    grid = job.truth.grid
    nm = grid.to_nm(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    index = job.hr[0].grid.to_index(job.lr_from_hr[0].inverse_at(nm))
    covered = ((index > -1) & (index < FINE)).all(axis=-1)
    inner = np.zeros(grid.shape, bool)
    inner[RIM:-RIM, RIM:-RIM] = True
    enhanced = np.asarray(done.enhanced.data, np.float64)
    return Answer(job, done.pairs[0], enhanced, bicubic, inner & ~covered, done.facts["scores"], folder / "run")


@pytest.fixture(scope="module", params=["porous", "inverted"])
def answer(request, tmp_path_factory) -> Answer:
    return solved(tmp_path_factory.mktemp(request.param), request.param, seed=3)


def rmse(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a[where] - b[where]) ** 2)))


def test_the_warp_found_is_the_true_one(answer):
    grid = answer.job.hr[0].grid
    nm = grid.to_nm(np.moveaxis(np.indices(grid.shape)[:, ::8, ::8], 0, -1).astype(float))
    apart = (answer.pair.lr_from_hr(nm) - answer.job.lr_from_hr[0](nm)) / np.asarray(grid.pixel_size_nm)
    assert np.median(np.linalg.norm(apart, axis=-1)) < 0.2
    assert answer.pair.residual.split_error_hr_px < 0.5


def test_where_no_fine_scan_was_recorded_the_map_is_nearer_to_the_truth_than_bicubic(answer):
    assert answer.outside.mean() > 0.1
    ours, theirs = (rmse(a, answer.truth, answer.outside) for a in (answer.enhanced, answer.bicubic))
    assert 20 * np.log10(theirs / ours) > 0.15, f"{ours:.0f} against {theirs:.0f} grey levels"
    assert answer.scores["enhanced"]["psnr"] > answer.scores["bicubic"]["psnr"]


def test_grey_levels_are_those_of_the_fine_scan(answer):
    ours, truth = answer.enhanced[answer.outside], answer.truth[answer.outside]
    spread = truth.std()
    assert abs(ours.mean() - truth.mean()) < 0.1 * spread  # the fine scan's shading is not in the truth
    assert 0.8 < ours.std() / spread < 1.03
    assert np.polyfit(ours, truth, 1)[0] == pytest.approx(1.0, abs=0.06)
    assert answer.enhanced.shape == answer.truth.shape


def test_the_map_is_where_the_truth_is(answer):
    shift, _, _ = phase_cross_correlation(answer.truth, answer.enhanced, upsample_factor=50, normalization=None)
    assert np.abs(shift).max() < 0.1


def test_inverted_contrast_is_turned_back(tmp_path_factory, answer):
    sign = -1 if answer.job.recipe == "inverted" else 1
    coarse = np.kron(answer.job.lr.array().astype(float), np.ones((3, 3)))
    both = np.corrcoef(coarse.ravel(), answer.enhanced.ravel())[0, 1]
    assert sign * both > 0.7


@pytest.fixture(scope="module")
def square(answer):
    """The trained network, and a coarse map with a constant square whose sides lie on no border of a tile."""
    data = answer.job.lr.array().astype(np.float32)
    data[47:133, 47:133] = data.mean()
    return load_model(answer.folder / "model"), Image(data, Grid.of(data.shape, 100.0), "square")


def in_tiles(square, tile: int) -> np.ndarray:
    model, lr = square
    return enhance(model, lr, config=EnhanceConfig(tile=tile, dtype="float32")).image.array().astype(float)


def test_a_constant_area_stays_constant(square):
    reach = square[0].card.halo + 1
    fine = in_tiles(square, 20)
    inside = fine[(47 + reach) * 3 : (133 - reach) * 3, (47 + reach) * 3 : (133 - reach) * 3]
    assert inside.shape[0] > 3 * 50
    assert np.ptp(inside) < 1e-4 * fine.std()


def test_no_seams_at_the_borders_of_tiles(square):
    tiled, whole = in_tiles(square, 20), in_tiles(square, SIZE)
    assert np.abs(tiled - whole).max() < 1e-4 * whole.std()
