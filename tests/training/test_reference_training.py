"""Training with references: it learns, continues to the bit, keeps what is frozen, and says what it was made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finescan.errors import InputError, ModelError
from finescan.models import Model, load_model, save_model
from finescan.training import TrainConfig, fit_contestants, references, train
from finescan.training.judging import StopSet, Tiling
from finescan.training.loop import Member
from finescan.training.references import ReferenceJob

CPU = torch.device("cpu")
SMALL = {"features": 8, "blocks": 4, "references": 2, "side": 128}
TINY = {"precision": "float32", "threads": 1, "batch": 2, "patch": 16, "device": "cpu", "members": 1}
ALL_TERMS = {"critic": "wgan-gp", "perceptual": 0.1, "texture": 0.1, "adversarial": 0.01}


def _config(**options) -> TrainConfig:
    return TrainConfig(**{"architecture": "ttsr-grey", "arguments": SMALL, **TINY, **options})


@pytest.fixture(scope="module", autouse=True)
def few_windows(light_textures):
    """One window judges, and textures are light: these tests are about other things."""
    with pytest.MonkeyPatch.context() as patch, light_textures():
        patch.setitem(references.MOST_WINDOWS, "cpu", 1)
        yield


@pytest.fixture(scope="module")
def large(make_set):
    """720 fine pixels: room for references of 128."""
    return make_set(side=720, factor=4)


@pytest.fixture(scope="module")
def trained(large) -> Model:
    return train(large, _config(max_steps=3, freeze_extractor=False))


class _Interrupt(Exception):
    pass


def _stop_after(steps: int):
    def progress(done: float, total: float, message: str) -> None:
        if done >= steps:
            raise _Interrupt

    return progress


def _equal(a: Model, b: Model) -> bool:
    pairs = zip(a.members, b.members, strict=True)
    return all(torch.equal(v, y.state_dict()[k]) for x, y in pairs for k, v in x.state_dict().items())


def test_a_few_steps_lower_the_content_loss_and_leave_a_frozen_extractor_alone(large) -> None:
    """As published, without interpolation that it is added to, the network has everything to learn."""
    job = ReferenceJob(large, _config(architecture="ttsr", learning_rate=5e-3, freeze_extractor=True), CPU)
    member = Member(job, index=0, steps=8, bfloat16=False)
    batch = job.sampler(5).batch(6)
    before = member.loss_of(batch).item()
    first = {k: v.clone() for k, v in member.network.net.LTE.state_dict().items()}
    assert all(member.step() for _ in range(8))
    assert member.loss_of(batch).item() < 0.8 * before
    assert all(torch.equal(first[k], v) for k, v in member.network.net.LTE.state_dict().items())


def test_a_training_with_all_terms_continues_to_the_bit(large, small_critics, tmp_path) -> None:
    """Four steps, stopped in the first part and again in the second; the texture extractor learns, too."""
    config = _config(max_steps=4, batch=1, terms=ALL_TERMS, freeze_extractor=False, checkpoint_seconds=1e-6)
    whole = train(large, config)
    for stop in (1, 3):
        with pytest.raises(_Interrupt):
            train(large, config, folder=tmp_path, progress=_stop_after(stop))
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["current"]
        assert state["step_done"] == stop
    assert not [k for k in (*state["network"], *state["average"]) if k.startswith(("bank", "keys", "selector"))]
    assert _equal(whole, train(large, config, folder=tmp_path))


def test_every_term_changes_what_is_learned(large, small_critics) -> None:
    config = _config(max_steps=1, batch=1, terms={**ALL_TERMS, "content_share": 0.0}, freeze_extractor=False)
    models = [train(large, config)]
    for name, value in (("texture", 0.0), ("perceptual", 0.0), ("critic", "none")):
        models.append(train(large, config.model_copy(update={"terms": config.terms.model_copy(update={name: value})})))
    assert not any(_equal(models[0], m) for m in models[1:])
    notes = " ".join(models[0].card.training["notes"])
    assert "third level of the network's own texture extractor" in notes
    assert "texture extractor started from random weights." in notes
    recipe = models[0].card.training["recipe"]
    assert {k: recipe[k] for k in ALL_TERMS} == ALL_TERMS


def test_what_is_kept_of_a_frozen_extractor_gives_the_same_answer(large) -> None:
    """Features of references are computed once; a network that computes them anew says the same."""
    job = ReferenceJob(large, _config(max_steps=2, freeze_extractor=True), CPU)
    network, batch = job.network(), job.sampler(0).batch(3)
    kept, again = (job.answer(network, batch, False) for _ in range(2))
    grey = large.hr_grey
    reference = torch.from_numpy((batch[3] - grey.mean) / grey.std).float()[:, None]
    fresh = network.with_reference(job._coarse(batch[0]), reference)
    assert torch.equal(kept.sr, again.sr)
    torch.testing.assert_close(kept.sr, fresh.sr, rtol=1e-4, atol=1e-5)
    for a, b in zip(kept.textures, fresh.textures, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_extractor_and_the_layers_that_texture_enters_by_learn_more_slowly(large) -> None:
    job = ReferenceJob(large, _config(max_steps=10, freeze_extractor=False, learning_rate=1e-3), CPU)
    member = Member(job, index=0, steps=10, bfloat16=False)
    member.step()
    assert not torch.equal(member.network.net.LTE.slice1[0].weight.cpu(), job.network().net.LTE.slice1[0].weight)
    rates = [group["lr"] for group in member.optimiser.param_groups]
    assert rates == pytest.approx([1e-3, 3e-5, 1e-4])
    counted = sum(p.numel() for g in member.optimiser.param_groups for p in g["params"])
    assert counted == sum(p.numel() for p in member.network.parameters() if p.requires_grad)


def test_the_bank_goes_with_the_model_and_is_embedded_by_the_trained_extractor(large, trained, tmp_path) -> None:
    (network,), (piece,) = trained.members, large.pieces
    grey = large.hr_grey
    found = network.bank.float().numpy() * grey.std + grey.mean
    assert found.shape == (2, 128, 128) and network.bank.dtype == torch.float16
    assert set(np.unique(found.round())) <= {80.0, 160.0}  # the two phases of the fine scan
    keys = network.keys.clone()
    network.set_references(network.bank.float())
    torch.testing.assert_close(network.keys, keys, rtol=1e-3, atol=1e-4)
    again = load_model(save_model(trained, tmp_path))
    scan = piece.lr[:32, :32]
    np.testing.assert_array_equal(again.predict(scan), trained.predict(scan))
    facts = trained.card.training["references"]
    assert facts["count"] == 2 and facts["side_px"] == 128 and facts["cut_from"] == {"fine": 2}
    assert 1 <= facts["used"] <= 2 and facts["chosen_by"] == "the network's own texture extractor"


def test_the_same_seed_gives_the_same_model_and_the_test_role_is_never_looked_at(large, trained) -> None:
    import dataclasses

    (piece,) = large.pieces
    spoilt = piece.hr.copy()
    spoilt[piece.role_fine("test")] += 500
    other = dataclasses.replace(large, pieces=(dataclasses.replace(piece, hr=spoilt),))
    assert _equal(trained, train(other, _config(max_steps=3, freeze_extractor=False)))


def test_fine_tuning_keeps_the_weights_and_takes_the_bank_of_the_new_pair(make_set, trained) -> None:
    other = make_set(side=720, factor=4, seed=3, gain=1.5)
    tuned = train(other, _config(max_steps=1, learning_rate=1e-8, freeze_extractor=False, arguments={}), start=trained)
    (mine,), (theirs,) = tuned.members, trained.members
    assert tuned.card.arguments == trained.card.arguments
    torch.testing.assert_close(mine.net.LTE.slice1[0].weight, theirs.net.LTE.slice1[0].weight, rtol=0, atol=1e-6)
    assert not torch.equal(mine.bank, theirs.bank)
    assert tuned.card.training["history"][0]["step"] == 0
    assert not any("random weights" in n for n in tuned.card.training["notes"])


def test_windows_of_the_stop_role_judge_like_the_whole_of_it(large) -> None:
    models = fit_contestants(large)
    tiled = StopSet(large, 0, CPU, tiling=Tiling(32, 20, 10_000))
    for name in ("nearest", "bicubic"):
        whole = models[name].card.training["stop_psnr"]
        assert tiled.psnr(models[name].members) == pytest.approx(whole, abs=0.15)
    few = StopSet(large, 0, CPU, tiling=Tiling(32, 20, 3))
    shapes = [tuple(w.x.shape) for w in few._windows]
    assert shapes == [(3, 1, 32, 32)] and all(0 < int(w.mask.sum()) <= 3 * 80 * 80 for w in few._windows)


@pytest.mark.parametrize("name", ["ttsr", "ttsr-grey"])
def test_a_ratio_that_is_not_four_is_refused_with_another_network(make_set, name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} enhances by 4, but the ratio asks for 3.*Use another network"):
        train(make_set(factor=3), _config(architecture=name, max_steps=2))


def test_a_training_area_without_room_for_a_reference_is_refused(make_set) -> None:
    with pytest.raises(InputError, match="no room for a reference of 128 x 128 fine pixels"):
        train(make_set(side=240, factor=4), _config(max_steps=2))


def test_fewer_or_smaller_references_than_asked_for_are_said(large) -> None:
    model = train(large, _config(max_steps=1, arguments={**SMALL, "side": 600, "references": 1}))
    side = model.card.arguments["side"]
    assert 128 <= side < 600 and model.members[0].bank.shape == (1, side, side)
    assert any("No reference of 600 fine pixels fits" in n for n in model.card.training["notes"])


def test_choosing_by_vgg_needs_its_weights(large) -> None:
    with pytest.raises(InputError, match=r"chosen by VGG19 \(selector = 1\) with its weights. Pass them with --vgg"):
        train(large, _config(max_steps=1, arguments={**SMALL, "selector": 1}))
