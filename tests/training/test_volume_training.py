"""train_volume(): better than interpolation, reproducible, resumable to the bit, and honest when it fails."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from finescan.errors import InputError, ModelError, OutputError
from finescan.models import MODELS, Model, load_model, save_model
from finescan.patches import VolumePatchSet, VolumeSplitConfig, make_volume_patches
from finescan.training import VolumeTrainConfig, fit_volume_contestants, train_volume
from finescan.training.job import Clock
from finescan.training.loop import Member
from finescan.training.planning import _formats
from finescan.training.volumes import VolumeJob
from finescan.values import Grid, Image, Pair, Residual, Verdict, Warp

QUICK = {"precision": "float32", "threads": 1, "device": "cpu", "batch": 2, "slices": 16, "side": 24, "crop": 0}
SMALL = {
    "volume": {"width": 8, "levels": 1, "blocks": 1},
    "deepnet": {"width": 8, "levels": 1},
    "srcnn3d": {},
}


def _phases(side: int, seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side,) * 3), 3.0)
    return np.where(noise > 0, 160.0, 80.0).astype(np.float32)


def _set(side: int = 36, seed: int = 0, **split: object) -> VolumePatchSet:
    fine = _phases(side, seed)
    rng = np.random.default_rng(seed + 50)
    coarse = (ndimage.gaussian_filter(fine, 1.5) + rng.normal(0, 2, fine.shape)).astype(np.float32)
    grid = Grid.of(fine.shape, 10.0)
    lr, hr = Image(coarse, grid, "coarse"), Image(fine, grid, "fine")
    pair = Pair(lr, hr, Warp.identity(3), Verdict.FOUND, (), Residual(0.1, 0.1, 0.9, 3.0, {}, grid))
    return make_volume_patches([pair], config=VolumeSplitConfig(guard_voxels=2, **split))  # type: ignore[arg-type]


def _config(name: str = "volume", **values: object) -> VolumeTrainConfig:
    return VolumeTrainConfig.of(**{"architecture": name, "arguments": SMALL[name], **QUICK, **values})


@pytest.fixture(scope="module")
def patches() -> VolumePatchSet:
    return _set()


@pytest.fixture(scope="module")
def short(patches) -> Model:
    return train_volume(patches, _config(max_steps=200, learning_rate=5e-3))


def _states(model: Model) -> list[dict[str, torch.Tensor]]:
    return [m.state_dict() for m in model.members]


def _equal(a: Model, b: Model) -> bool:
    pairs = list(zip(_states(a), _states(b), strict=True))
    return all(torch.equal(x[k], y[k]) for x, y in pairs for k in x)


class _Interrupt(Exception):
    pass


def _stop_after(steps: int):
    def progress(done: float, total: float, message: str) -> None:
        if done >= steps:
            raise _Interrupt

    return progress


def test_a_few_seconds_of_training_beat_interpolation_on_voxels_nobody_saw(patches, short) -> None:
    facts = short.card.training
    assert facts["stop_psnr"]["volume"] > facts["stop_psnr"]["interpolated"] + 1
    assert facts["chosen"] == "volume" and facts["gain_db"] > 1
    (piece,) = patches.pieces
    test = patches.counted(piece, "test")
    contestant = fit_volume_contestants(patches)["interpolated"]
    errors = {m.card.architecture: np.mean((m.predict(piece.lr) - piece.hr)[test] ** 2) for m in (short, contestant)}
    assert errors["volume"] < 0.85 * errors["interpolated"]


@pytest.mark.parametrize("name", [n for n, row in MODELS.items() if row.trainable and row.axes == "ZYX"])
def test_a_few_steps_lower_the_loss_of_every_network(patches, name: str) -> None:
    steps = {"srcnn3d": 10, "deepnet": 150, "volume": 60}[name]
    job = VolumeJob(patches, _config(name, learning_rate=2e-3 if name == "srcnn3d" else 8e-3), torch.device("cpu"))
    member = Member(job, index=0, steps=steps, bfloat16=False)
    batch = member.sampler.batch(2)
    before = member.loss_of(batch).item()
    assert all(member.step() for _ in range(steps))
    assert member.loss_of(batch).item() < 0.95 * before


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(patches) -> None:
    one, again, other = (train_volume(patches, _config(max_steps=8, seed=s)) for s in (0, 0, 1))
    assert _equal(one, again) and not _equal(one, other)


@pytest.mark.parametrize(("name", "stop"), [("volume", 7), ("volume", 19), ("volume", 26), ("srcnn3d", 3)])
def test_interrupted_and_continued_equals_uninterrupted_to_the_bit(patches, tmp_path, name: str, stop: int) -> None:
    """Two members of 16 steps; batch normalisation has counters and averages that must survive too."""
    steps, members = (4, 1) if name == "srcnn3d" else (16, 2)
    config = _config(name, max_steps=steps, members=members, checkpoint_seconds=1e-6, looks=2)
    whole = train_volume(patches, config)
    with pytest.raises(_Interrupt):
        train_volume(patches, config, folder=tmp_path, progress=_stop_after(stop))
    seen: list[float] = []
    continued = train_volume(patches, config, folder=tmp_path, progress=lambda d, t, m: seen.append(d))
    assert _equal(whole, continued) and len(seen) <= steps * members - stop + 1


def test_the_state_with_the_smallest_stop_error_is_kept(short) -> None:
    history = short.card.training["history"]
    best = max(h["stop_psnr"] for h in history)
    assert short.card.training["stop_psnr"]["volume"] == pytest.approx(best, abs=1e-3)
    assert {"member", "step", "seconds", "loss", "stop_psnr", "interpolated_psnr"} == set(history[0])


def test_held_out_fine_voxels_cannot_change_the_weights(patches) -> None:
    (piece,) = patches.pieces
    spoilt = np.where(patches.counted(piece, "train"), piece.hr, 1e4).astype(np.float32)
    other = dataclasses.replace(patches, pieces=(dataclasses.replace(piece, hr=spoilt),))
    config = _config(max_steps=10, looks=1)
    assert _equal(train_volume(patches, config), train_volume(other, config))


def test_the_test_role_is_never_looked_at(patches) -> None:
    (piece,) = patches.pieces
    spoilt = np.where(patches.counted(piece, "test"), 1e4, piece.hr).astype(np.float32)
    other = dataclasses.replace(patches, pieces=(dataclasses.replace(piece, hr=spoilt),))
    a, b = (train_volume(p, _config(max_steps=20)) for p in (patches, other))
    assert _equal(a, b) and a.card.training["stop_psnr"] == b.card.training["stop_psnr"]


def test_training_can_start_from_a_model_and_says_when_it_cannot(patches, short) -> None:
    fresh = train_volume(patches, _config(max_steps=1))
    on = train_volume(patches, _config(max_steps=1), initial=short)
    assert on.card.training["gain_db"] > fresh.card.training["gain_db"] + 0.8
    with pytest.raises(ModelError, match=r"can only start from such a model, but the initial one is volume"):
        train_volume(patches, _config(max_steps=1, arguments={"width": 4, "levels": 1, "blocks": 1}), initial=short)


def test_another_initial_model_is_another_training(patches, short, tmp_path) -> None:
    train_volume(patches, _config(max_steps=2), folder=tmp_path)
    with pytest.raises(OutputError, match="other data or other settings"):
        train_volume(patches, _config(max_steps=2), folder=tmp_path, initial=short)


@pytest.mark.parametrize("name", ["volume", "deepnet"])
def test_position_is_an_input_when_asked_for(patches, name: str, tmp_path) -> None:
    model = train_volume(patches, _config(name, max_steps=3, position=True))
    assert model.wants_position and load_model(save_model(model, tmp_path)).wants_position
    (piece,) = patches.pieces
    assert np.isfinite(model.predict(piece.lr, position=piece.position)).all()


def test_a_trained_model_survives_storage(short, patches, tmp_path) -> None:
    again = load_model(save_model(short, tmp_path))
    block = patches.pieces[0].lr
    np.testing.assert_array_equal(again.predict(block), short.predict(block))
    assert again.card.axes == "ZYX" and again.card.training["circle"]["radius_nm"] == 180.0


def test_the_published_recipe_is_the_papers() -> None:
    recipe = VolumeTrainConfig(architecture="deepnet", recipe="published").resolved()
    assert (recipe.learning_rate, recipe.batch, recipe.steps, recipe.slices, recipe.side) == (2e-4, 4, 10_000, 5, 512)
    assert recipe.weight_decay == 0 and not recipe.annealed
    assert not VolumeTrainConfig(recipe="published").timed and VolumeTrainConfig().timed
    assert VolumeTrainConfig(recipe="published", batch=1).resolved().batch == 1


def test_the_recipe_follows_the_device_unless_it_is_named() -> None:
    here, card = VolumeTrainConfig(device="cpu"), VolumeTrainConfig(device="cuda")
    assert (here.chosen_recipe, card.chosen_recipe) == ("quick", "large")
    assert here.network_arguments()["width"] == 16 and "width" not in card.network_arguments()
    assert VolumeTrainConfig(device="cuda", recipe="quick").resolved() == here.resolved() != card.resolved()


def _ticking(step: float) -> Clock:
    now = [0.0]

    def clock() -> float:
        now[0] += step
        return now[0]

    return clock


def test_the_time_budget_decides_the_number_of_steps(patches) -> None:
    def steps(minutes: float) -> int:
        model = train_volume(patches, _config(minutes=minutes), clock=_ticking(0.5))
        return model.card.training["plan"]["steps"]

    few, many = steps(0.1), steps(0.3)
    assert 5 <= few < many == pytest.approx(3 * few, abs=4)


def test_a_network_that_loses_is_not_chosen_and_the_card_says_why(patches) -> None:
    model = train_volume(patches, _config("srcnn3d", max_steps=1))
    assert model.card.training["chosen"] == "interpolated"
    assert any("interpolated should be used" in n for n in model.card.training["notes"])


def test_a_time_budget_may_use_the_short_number_format_but_a_number_of_steps_does_not(patches) -> None:
    """Where a processor is much faster in bfloat16, a budget buys more steps with it; equal runs need float32."""
    auto = {"precision": "auto"}
    timed = VolumeJob(patches, _config(minutes=1, **auto), torch.device("cpu"))
    counted = VolumeJob(patches, _config(max_steps=5, **auto), torch.device("cpu"))
    assert _formats(timed.config, timed.device, True) == [False, True]
    assert _formats(counted.config, counted.device, True) == [False] == _formats(timed.config, timed.device, False)
    assert _formats(_config(minutes=1, precision="bfloat16"), timed.device, True) == [True]


def test_nothing_to_stop_on_is_an_error(patches) -> None:
    empty = dataclasses.replace(patches, boxes={"stop": [], "test": []})
    with pytest.raises(InputError, match="The stop boxes have no voxel that counts"):
        train_volume(empty, _config(max_steps=1))


def test_the_contestant_is_the_grey_map(patches) -> None:
    model = fit_volume_contestants(patches)["interpolated"]
    block = patches.pieces[0].lr
    np.testing.assert_allclose(model.predict(block), patches.gain * block + patches.offset, rtol=1e-4, atol=1e-2)
    assert math.isfinite(model.card.training["stop_psnr"])


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"minuets": 3}, r"'minuets' cannot be used.*Known are: architecture"),
        ({"architecture": "fast"}, "architecture is one of srcnn3d, deepnet, volume"),
        ({"loss": "gan"}, "loss is one of"),
        ({"recipe": "slow"}, "'recipe' cannot be used"),
    ],
)
def test_a_wrong_option_is_named(option: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        VolumeTrainConfig.of(**option)
