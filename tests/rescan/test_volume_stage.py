"""From voxels to the stage of a tomograph: landmarks, headers, mirrored axes, and what cannot be known."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import VolumeStage, volume_stage_from_headers, volume_stage_from_landmarks
from finescan.values import Acquisition, Grid, Image, StagePose

GRID = Grid("ZYX", (50, 80, 100), (2000.0, 1000.0, 500.0), (1000.0, 500.0, -250.0))
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])  # x, y, z of the volume to those of the stage
SHIFT = np.array([1000.0, -2000.0, 30.0])


def stage_um(voxels, turn=TURN):
    """By hand: µm along x, y, z, then the turn."""
    z, y, x = np.asarray(voxels, float).T
    return np.stack([0.5 * x - 0.25, y + 0.5, 2 * z + 1], axis=-1) @ turn.T + SHIFT


def voxels(n, seed=0):
    return np.random.default_rng(seed).uniform(0, GRID.shape, (n, 3))


def test_four_landmarks_give_the_map_and_no_uncertainty():
    places = [(0, 0, 0), (49, 0, 0), (0, 79, 0), (10, 5, 99)]
    found = volume_stage_from_landmarks(GRID, places, stage_um(places))
    other = voxels(20, 1)
    np.testing.assert_allclose(found(GRID.to_nm(other)), stage_um(other), atol=1e-6)
    assert found.sigma_um is None and found.left_out_um is None and not found.mirrored
    assert str(found) == "From 4 landmarks. Position uncertainty: not known."
    assert VolumeStage.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("flip", [0, 1, 2])
def test_one_axis_that_runs_backwards_is_a_mirror(flip):
    turn = TURN.copy()
    turn[flip] *= -1
    places = voxels(8)
    found = volume_stage_from_landmarks(GRID, places, stage_um(places, turn))
    assert found.mirrored and found.to_dict()["mirrored"] and "Mirrored: an odd number" in str(found)
    np.testing.assert_allclose(found(GRID.to_nm([3.0, 4.0, 5.0])), stage_um([(3, 4, 5)], turn)[0], atol=1e-6)
    turn[flip - 1] *= -1
    assert not volume_stage_from_landmarks(GRID, places, stage_um(places, turn)).mirrored


def test_uncertainty_is_that_of_the_landmarks():
    rng, sigmas, left = np.random.default_rng(2), [], []
    for seed in range(60):
        places = voxels(9, seed)
        noise = rng.normal(0, (0.5, 1.0, 2.0), (9, 3))
        found = volume_stage_from_landmarks(GRID, places, stage_um(places) + noise)
        sigmas.append(found.sigma_um)
        left.append(found.left_out_um)
    assert np.sqrt(np.mean(np.square(sigmas), axis=0)) == pytest.approx((0.5, 1.0, 2.0), rel=0.15)
    places = voxels(9, 0)
    where = stage_um(places) + np.random.default_rng(3).normal(0, 1, (9, 3))
    whole = volume_stage_from_landmarks(GRID, places, where)
    direct = []
    for k in range(9):
        rest = np.arange(9) != k
        without = volume_stage_from_landmarks(GRID, places[rest], where[rest])
        direct.append(np.linalg.norm(without(GRID.to_nm(places[k])) - where[k]))
    assert whole.left_out_um == pytest.approx(np.sqrt(np.mean(np.square(direct))), rel=1e-6)


def test_slips_in_landmarks_are_named():
    places = voxels(8)
    where = stage_um(places)
    where[4, 1] += 300
    assert "Landmark 5 lies" in volume_stage_from_landmarks(GRID, places, where).source
    assert "check units" in volume_stage_from_landmarks(GRID, places, stage_um(places) / 1e3).source  # mm
    clean = stage_um(places) + np.random.default_rng(4).normal(0, 1, (8, 3))
    assert volume_stage_from_landmarks(GRID, places, clean).source == "From 8 landmarks."


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([(0, 0, 0), (9, 0, 0), (0, 9, 0)], r"at least 4 voxels with their stage positions, all finite, but 3 came"),
        ([(0, 0, 0), (9, 0, 0), (0, 9, 0), (np.nan, 0, 9)], r"all finite, but 4 came"),
        ([(5, 0, 0), (5, 40, 0), (5, 0, 40), (5, 70, 60), (5, 9, 9)], r"lie in one plane of the volume"),
    ],
)
def test_landmarks_that_do_not_settle_it_are_refused(places, words):
    with pytest.raises(InputError, match=words):
        volume_stage_from_landmarks(GRID, places, stage_um(places))


def test_stage_positions_in_one_plane_are_refused():
    places = voxels(6)
    with pytest.raises(InputError, match=r"lie in one plane of the stage, so one direction of the stage stays unknown"):
        volume_stage_from_landmarks(GRID, places, stage_um(places) * (1, 1, 0))


# ------------------------------------------------------------------ headers
def pose(um):
    return StagePose(*(1e3 * np.asarray(um, float)))


def coarse(at=(10.0, 20.0, 30.0)):
    return Image(
        np.zeros(GRID.shape, np.uint8), GRID, "coarse.txm", Acquisition(stage=None if at is None else pose(at))
    )


def fine(offset_um, turn, slip=(0, 0, 0)):
    """A fine volume found (x, y, z) µm from the middle, and the pose of a stage whose axes lie as ``turn`` says."""
    middle = GRID.to_nm([24.5, 39.5, 49.5]) + 1e3 * np.asarray(offset_um, float)[::-1]
    return "fine.txm", middle, pose(np.array([10.0, 20.0, 30.0]) + turn @ offset_um + slip)


def test_a_fine_volume_settles_how_the_axes_of_the_stage_lie():
    turn = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # the rotation axis is the stage's y
    found, why = volume_stage_from_headers(coarse(), [fine((12, 7, -20), turn, slip=(0.3, -0.2, 0.1))])
    assert found is not None and why == "" and found.mirrored
    at = found(GRID.to_nm([24.5, 39.5, 49.5]) + 1e3 * np.array([3.0, 2.0, 1.0]))
    np.testing.assert_allclose(at, [10 - 2, 20 + 3, 30 + 1], atol=1e-9)
    assert found.sigma_um == pytest.approx((0.3, 0.2, 0.1)) and "0.374 µm from where they were found" in found.source


@pytest.mark.parametrize(
    ("volume", "fines", "words"),
    [
        (coarse(None), [], r"coarse\.txm does not say where the stage stood"),
        (coarse(), [], r"but no fine volume does, so the directions of its axes are not known"),
        (coarse(), [fine((12, 7, 0), np.eye(3))], r"do not settle the directions"),  # not moved along z
        (coarse(), [fine((12, 7, -20), np.eye(3), slip=(9, 9, 9))], r"do not settle the directions"),
    ],
)
def test_headers_that_do_not_settle_it_give_no_stage(volume, fines, words):
    import re

    found, why = volume_stage_from_headers(volume, fines)
    assert found is None and re.search(words, why)


def test_a_transform_is_an_invertible_matrix():
    with pytest.raises(InputError, match="invertible 3 x 4 matrix"):
        VolumeStage(((1, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0)), "x")
