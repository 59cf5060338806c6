"""Finding a fine scan in a coarse map: known answers, all contrasts, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finescan.registration import Prior, locate
from finescan.simulation import simulate
from finescan.simulation.recipes import RECIPES, Simulated
from finescan.values import Image, Verdict, Warp

SIZE, TILE = 288, 96  # coarse pixels


def job(recipe: str, *, scale: float = 0.08, rotation_deg: float = 5.0, seed: int = 3, tile: int = TILE) -> Simulated:
    """A simulated job whose pose is as far off as asked."""
    name = f"{recipe} {scale} {rotation_deg}"
    RECIPES[name] = replace(RECIPES[recipe], scale=scale, rotation_deg=rotation_deg)
    try:
        return simulate(name, size=SIZE, fine=4 * tile, seed=seed)
    finally:
        del RECIPES[name]


def worst_corner_lr_px(found: Warp, true: Warp, lr: Image, hr: Image) -> float:
    """Largest error at the corners of the fine scan, coarse pixels."""
    corners = hr.grid.to_nm([[y, x] for y in (0, hr.grid.shape[0] - 1) for x in (0, hr.grid.shape[1] - 1)])
    return float(np.max(np.linalg.norm(found(corners) - true(corners), axis=1)) / lr.grid.pixel_size_nm[0])


@pytest.mark.parametrize("recipe", ["polycrystal", "inverted", "noisy", "detector", "lattice"])
def test_every_contrast_is_found_with_8_percent_and_5_degrees_of_error(recipe: str) -> None:
    sample = job(recipe)
    found = locate(sample.lr, sample.hr[0])
    assert found.verdict is Verdict.FOUND, found.reasons
    assert worst_corner_lr_px(found.lr_from_hr, sample.lr_from_hr[0], sample.lr, sample.hr[0]) < 3


def test_independent_ratio_errors_of_15_percent_are_found() -> None:
    sample = job("polycrystal", scale=0.15, seed=11)
    factors = sample.lr_from_hr[0].scales()
    assert abs(factors[0] - factors[1]) > 0.05  # the axes do differ
    found = locate(sample.lr, sample.hr[0])
    assert found.verdict is Verdict.FOUND
    assert found.lr_from_hr.scales() == pytest.approx(factors, abs=0.02)


@pytest.mark.parametrize("recipe", ["polycrystal", "noisy", "detector", "lattice"])
def test_a_fine_scan_of_another_place_is_never_found(recipe: str) -> None:
    answer = locate(job(recipe).lr, job(recipe, seed=77).hr[0])
    assert answer.verdict is not Verdict.FOUND
    assert answer.decoy_ratio < 1.3
    assert "not found" in answer.reasons[0] or "doubtful" in answer.reasons[0]


def test_inverting_the_fine_scan_changes_nothing_about_the_place() -> None:
    sample = job("polycrystal")
    hr = sample.hr[0]
    plain = locate(sample.lr, hr)
    other = locate(sample.lr, hr.with_data(np.float32(hr.data.max()) - hr.data))
    assert other.verdict is Verdict.FOUND
    assert worst_corner_lr_px(other.lr_from_hr, plain.lr_from_hr, sample.lr, hr) < 0.3


def test_a_lattice_does_not_slip_by_one_period() -> None:
    sample = job("lattice", seed=8)
    found = locate(sample.lr, sample.hr[0])
    assert found.verdict is Verdict.FOUND
    period_lr_px = 26 / 4
    assert worst_corner_lr_px(found.lr_from_hr, sample.lr_from_hr[0], sample.lr, sample.hr[0]) < period_lr_px / 2


def test_half_a_tile_outside_the_map_is_found_at_ratio_one() -> None:
    whole = job("polycrystal").lr.array()
    lr, hr = whole[:200, :200], whole[80:280, 60:260]  # 42 % overlap, one magnification
    grid = job("polycrystal").lr.grid.crop((0, 0), (200, 200))
    found = locate(Image(lr, grid), Image(hr, grid))
    corner = grid.to_index(found.lr_from_hr(grid.to_nm((0, 0))))
    assert found.verdict is Verdict.FOUND
    assert corner == pytest.approx([80, 60], abs=1.0)
    assert any("42 %" in r or "41 %" in r or "43 %" in r for r in found.reasons)


def test_strong_shading_does_not_matter() -> None:
    sample = job("polycrystal")
    hr = sample.hr[0]
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in hr.grid.shape), indexing="ij")
    shaded = hr.with_data((hr.data * (1 + 0.4 * y - 0.3 * x * x)).astype(np.float32))
    found = locate(sample.lr, shaded)
    assert found.verdict is Verdict.FOUND
    assert worst_corner_lr_px(found.lr_from_hr, sample.lr_from_hr[0], sample.lr, hr) < 2


def test_a_correct_prior_restricts_the_search_and_a_wrong_one_is_survived() -> None:
    sample = job("polycrystal", scale=0.03)
    true = sample.lr_from_hr[0](sample.hr[0].grid.to_nm((np.array(sample.hr[0].grid.shape) - 1) / 2))
    steps: dict[str, int] = {"right": 0, "wrong": 0}

    def run(name: str, centre: np.ndarray) -> Warp:
        def count(done: float, total: float, message: str) -> None:
            steps[name] += 1

        prior = Prior(centre_nm=tuple(centre), radius_nm=2000.0)
        answer = locate(sample.lr, sample.hr[0], prior=prior, progress=count)
        assert answer.verdict is Verdict.FOUND
        return answer.lr_from_hr

    far = np.where(true > 16000, 6000.0, 26000.0)
    for name, centre in (("right", true), ("wrong", far)):
        assert worst_corner_lr_px(run(name, centre), sample.lr_from_hr[0], sample.lr, sample.hr[0]) < 2
    assert steps["wrong"] > steps["right"]  # the whole map had to be searched


def test_a_turned_scan_is_named_in_the_reasons_and_found_when_the_prior_says_so() -> None:
    sample = job("polycrystal", scale=0.03)
    hr = sample.hr[0]
    turned = hr.with_data(np.ascontiguousarray(hr.data[::-1, ::-1]))
    blind = locate(sample.lr, turned)
    assert blind.verdict is not Verdict.FOUND
    assert any("scan rotation" in r for r in blind.reasons)
    told = locate(sample.lr, turned, prior=Prior(rotation_centre_deg=180.0))
    assert told.verdict is Verdict.FOUND
    assert abs(told.lr_from_hr.rotation_deg()) > 170


def test_the_answer_is_the_same_every_time_and_inputs_are_unchanged() -> None:
    sample = job("noisy", tile=64)
    before = [i.array().copy() for i in (sample.lr, sample.hr[0])]
    a, b = (locate(sample.lr, sample.hr[0], seed=s) for s in (0, 0))
    assert np.array_equal(a.lr_from_hr.matrix, b.lr_from_hr.matrix) and a.decoy_ratio == b.decoy_ratio
    assert all(np.array_equal(x, i.array()) for x, i in zip(before, (sample.lr, sample.hr[0]), strict=True))
