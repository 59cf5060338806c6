"""train(): better than interpolation, reproducible, resumable to the bit, and honest when it fails."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from finescan.errors import InputError, OutputError, TrainingStopped
from finescan.models import MODELS, Model, load_model, save_model
from finescan.training import LOSSES as LOSS_TABLE
from finescan.training import TrainConfig, fit_contestants, train
from finescan.training.loop import Member
from finescan.training.pictures import PictureJob, divide_budget

QUICK = {"precision": "float32", "threads": 1, "batch": 4, "patch": 20, "device": "cpu"}


def _states(model: Model) -> list[dict[str, torch.Tensor]]:
    return [m.state_dict() for m in model.members]


def _equal(a: Model, b: Model) -> bool:
    pairs = list(zip(_states(a), _states(b), strict=True))
    return all(torch.equal(x[k], y[k]) for x, y in pairs for k in x)


@pytest.fixture(scope="module")
def short(patches) -> Model:
    return train(patches, TrainConfig(max_steps=150, members=1, **QUICK))


class _Interrupt(Exception):
    pass


def _stop_after(steps: int):
    def progress(done: float, total: float, message: str) -> None:
        if done >= steps:
            raise _Interrupt

    return progress


def test_a_few_seconds_of_training_beat_interpolation_and_the_best_linear_filter(short) -> None:
    scores = short.card.training["stop_psnr"]
    assert scores["fast"] > scores["ridge"] + 0.3 > scores["bicubic"]
    assert short.card.training["chosen"] == "fast"
    assert short.card.training["gain_db"] == pytest.approx(scores["fast"] - scores["bicubic"])


#: small ones; those with references are trained in test_reference_training.py
SMALL = {"fast": {"channels": 16, "depth": 2}, "strong": {"channels": 16, "blocks": 2}}
SMALL |= {"srresnet": {"features": 8, "blocks": 2}, "swinir-light": {"layers": 1, "blocks": 2, "skip": 0}}


@pytest.mark.parametrize(
    "name", [n for n, row in MODELS.items() if row.trainable and row.axes == "YX" and not row.references]
)
def test_a_few_steps_lower_the_loss_of_every_trainable_network(patches, make_set, name: str) -> None:
    arguments = {**MODELS[name].arguments, **SMALL[name]}
    patches = make_set(factor=MODELS[name].factors[0]) if MODELS[name].factors else patches
    rate = 1e-3 if name == "swinir-light" else 5e-3  # transformers go astray at large ones
    config = TrainConfig(architecture=name, learning_rate=rate, **QUICK)
    job = PictureJob(patches, config, torch.device("cpu"), arguments)
    steps = 25 if name == "swinir-light" else 60  # the slowest; it learns with fewer
    member = Member(job, index=0, steps=steps, bfloat16=False)
    batch = member.sampler.batch(16)
    before = member.loss_of(batch).item()
    assert all(member.step() for _ in range(steps))
    assert member.loss_of(batch).item() < 0.9 * before


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(patches) -> None:
    one, again, other = (train(patches, TrainConfig(max_steps=12, members=1, seed=s, **QUICK)) for s in (0, 0, 1))
    assert _equal(one, again) and not _equal(one, other)


TWO = TrainConfig(max_steps=32, members=2, checkpoint_seconds=1e-6, **QUICK)


@pytest.fixture(scope="module")
def whole(patches) -> Model:
    return train(patches, TWO)


@pytest.mark.parametrize("stop", [7, 33, 41, 64])
def test_interrupted_and_continued_equals_uninterrupted_to_the_bit(patches, whole, tmp_path, stop: int) -> None:
    """Two members of 32 steps, stopped within the first, right after its end, and within the second."""
    config = TWO
    with pytest.raises(_Interrupt):
        train(patches, config, folder=tmp_path, progress=_stop_after(stop))
    seen = []
    continued = train(patches, config, folder=tmp_path, progress=lambda d, t, m: seen.append(d))
    assert _equal(whole, continued)
    assert len(seen) <= 64 - stop + 1  # it did not start anew
    drop = ("seconds",)
    histories = [
        [{k: v for k, v in h.items() if k not in drop} for h in m.card.training["history"]] for m in (whole, continued)
    ]
    assert histories[0] == histories[1]


def test_rare_checkpoints_give_the_same_weights_too(patches, tmp_path) -> None:
    config = TrainConfig(max_steps=40, members=1, checkpoint_seconds=1e6, **QUICK)
    with pytest.raises(_Interrupt):
        train(patches, config, folder=tmp_path, progress=_stop_after(25))
    assert _equal(train(patches, config), train(patches, config, folder=tmp_path))


def test_a_finished_training_is_not_done_again(patches, tmp_path) -> None:
    config = TrainConfig(max_steps=20, members=1, **QUICK)
    first = train(patches, config, folder=tmp_path)
    steps = []
    second = train(patches, config, folder=tmp_path, progress=lambda d, t, m: steps.append(d))
    assert not steps and _equal(first, second)


def test_a_time_budget_is_kept_by_the_plan_of_the_first_start(patches, tmp_path) -> None:
    """The number of steps comes from timing once; a continued run uses the same number."""
    clock = _Clock(0.01)
    config = TrainConfig(minutes=0.5 / 60, members=1, **QUICK)
    with pytest.raises(_Interrupt):
        train(patches, config, folder=tmp_path, progress=_stop_after(5), clock=clock)
    steps = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["plan"]["steps"]
    totals = []
    train(patches, config, folder=tmp_path, progress=lambda d, t, m: totals.append(t), clock=_Clock(5.0))
    assert set(totals) == {steps}


class _Clock:
    """Every look at it takes some seconds."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_more_time_gives_more_members_not_longer_training(patches) -> None:
    def plan(minutes: float) -> tuple[int, int]:
        return divide_budget(patches, TrainConfig(minutes=minutes, members=4, **QUICK), 0.05)

    few, some, many = plan(0.1), plan(1.0), plan(100.0)
    assert few[1] == 1 and few[0] < some[0]
    assert many[1] == 4 and plan(1e4) == many


def test_a_folder_of_another_training_is_refused(patches, make_set, tmp_path) -> None:
    config = TrainConfig(max_steps=10, members=1, **QUICK)
    train(patches, config, folder=tmp_path)
    with pytest.raises(OutputError, match="holds a training of other data or other settings"):
        train(patches, config.model_copy(update={"seed": 5}), folder=tmp_path)
    with pytest.raises(OutputError, match="holds a training of other data or other settings"):
        train(make_set(seed=3), config, folder=tmp_path)


def test_a_damaged_checkpoint_is_a_clear_error(patches, tmp_path) -> None:
    config = TrainConfig(max_steps=10, members=1, **QUICK)
    train(patches, config, folder=tmp_path)
    data = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(OutputError, match=r"checkpoint.pt is not a readable checkpoint. Delete it to train anew"):
        train(patches, config, folder=tmp_path)


def test_a_full_disk_keeps_the_last_checkpoint(patches, tmp_path, monkeypatch) -> None:
    config = TrainConfig(max_steps=12, members=1, checkpoint_seconds=1e-6, **QUICK)
    with pytest.raises(_Interrupt):
        train(patches, config, folder=tmp_path, progress=_stop_after(6))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OutputError, match="No space left on device"):
            train(patches, config, folder=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_nan_before_anything_was_learned_stops_with_advice(patches, monkeypatch) -> None:
    monkeypatch.setitem(LOSS_TABLE, "l1", lambda a, t, w: (a * math.nan).sum())
    with pytest.raises(
        TrainingStopped, match=r"NaN or infinite at step 1, before anything worth keeping.*learning_rate"
    ):
        train(patches, TrainConfig(max_steps=10, members=1, **QUICK))


def test_a_nan_later_keeps_the_last_good_weights_and_says_so(patches, monkeypatch) -> None:
    calls = []
    l1 = LOSS_TABLE["l1"]

    def later(answer, target, weight):
        calls.append(1)
        return l1(answer, target, weight) * (math.nan if len(calls) > 25 else 1.0)

    monkeypatch.setitem(LOSS_TABLE, "l1", later)
    model = train(patches, TrainConfig(max_steps=40, members=3, **QUICK))
    assert len(model.members) == 1
    assert all(bool(v.isfinite().all()) for v in _states(model)[0].values())
    assert any("NaN or infinite at step 26" in n for n in model.card.training["notes"])


def test_a_network_that_loses_is_not_chosen_and_the_card_says_why(patches) -> None:
    model = train(patches, TrainConfig(max_steps=2, members=1, **QUICK))
    assert model.card.training["chosen"] == "ridge"
    assert any("ridge should be used" in n for n in model.card.training["notes"])


def test_the_best_state_on_the_stop_set_is_what_is_returned(patches, short) -> None:
    history = short.card.training["history"]
    assert short.card.training["stop_psnr"]["fast"] == pytest.approx(max(h["stop_psnr"] for h in history), abs=1e-3)
    assert {"member", "step", "seconds", "loss", "stop_psnr", "bicubic_psnr"} == set(history[0])


def test_masked_pixels_cannot_change_the_result(patches, short) -> None:
    (piece,) = patches.pieces
    weight = piece.weight.copy()
    weight[100:160, 100:160] = False
    spoilt = piece.hr.copy()
    spoilt[~weight] = 1e5
    sets = [
        dataclasses.replace(patches, pieces=(dataclasses.replace(piece, hr=hr, weight=weight),))
        for hr in (piece.hr, spoilt)
    ]
    config = TrainConfig(max_steps=10, members=1, **QUICK)
    assert _equal(*(train(s, config) for s in sets))


def test_the_test_role_is_never_looked_at(patches) -> None:
    (piece,) = patches.pieces
    spoilt = piece.hr.copy()
    spoilt[piece.role_fine("test")] += 500
    other = dataclasses.replace(patches, pieces=(dataclasses.replace(piece, hr=spoilt),))
    config = TrainConfig(max_steps=10, members=1, **QUICK)
    a, b = train(patches, config), train(other, config)
    assert _equal(a, b) and a.card.training["stop_psnr"] == b.card.training["stop_psnr"]


def test_a_trained_model_survives_storage(short, tmp_path) -> None:
    scan = np.random.default_rng(0).normal(120, 30, (40, 40)).astype(np.float32)
    again = load_model(save_model(short, tmp_path))
    np.testing.assert_array_equal(again.predict(scan), short.predict(scan))
    assert again.card.training["chosen"] == "fast" and again.card.training["extent"][0]["name"] == "fine"


def test_contestants_answer_in_grey_levels_of_the_fine_scan(make_set) -> None:
    patches = make_set(gain=-0.5)
    (piece,) = patches.pieces
    for name, model in fit_contestants(patches).items():
        answer = model.predict(piece.lr)
        mask = piece.role_fine("test")
        assert abs(answer[mask].mean() - piece.hr[mask].mean()) < 4, name
        assert np.corrcoef(answer[mask], piece.hr[mask])[0, 1] > 0.8, name


def test_the_ridge_filter_beats_interpolation(patches) -> None:
    scores = {name: m.card.training["stop_psnr"] for name, m in fit_contestants(patches).items()}
    assert scores["ridge"] > scores["bicubic"] > scores["nearest"]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"minuets": 3}, r"'minuets' cannot be used.*Known are: architecture, arguments"),
        ({"architecture": "ridge"}, "architecture is one of fast, strong"),
        ({"loss": "gan"}, "loss is one of l1, charbonnier, l2"),
        ({"minutes": -1}, "'minutes' cannot be used"),
    ],
)
def test_a_wrong_option_is_named(option: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        TrainConfig.of(**option)
