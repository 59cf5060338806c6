"""Training that goes on from a model: where it starts, what it never loses, and which models it refuses."""

from __future__ import annotations

import json

import pytest
import torch

from finescan.errors import ModelError, OutputError
from finescan.models import Model, load_model, save_model
from finescan.training import TrainConfig, train

TINY = {"precision": "float32", "threads": 1, "batch": 4, "patch": 16, "device": "cpu", "members": 1}
SMALL = {"channels": 8, "depth": 2}


def _config(**options) -> TrainConfig:
    return TrainConfig(arguments=SMALL, **{**TINY, **options})


@pytest.fixture(scope="module")
def first(patches) -> Model:
    return train(patches, _config(max_steps=60, learning_rate=5e-3))


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


def test_fine_tuning_starts_where_the_model_ended(patches, first) -> None:
    further = train(patches, _config(max_steps=10), start=first)
    history = further.card.training["history"]
    assert history[0]["step"] == 0 and history[0]["stop_psnr"] == first.card.training["stop_psnr"]["fast"]
    assert history[-1]["step"] == 10
    assert further.card.training["stop_psnr"]["fast"] >= history[0]["stop_psnr"]


def test_what_is_returned_is_no_worse_than_the_start(patches, first) -> None:
    """Steps so large that they only do harm: the start comes back as it was."""
    spoilt = train(patches, _config(max_steps=10, learning_rate=1.0), start=first)
    assert spoilt.card.training["history"][-1]["stop_psnr"] < spoilt.card.training["history"][0]["stop_psnr"] - 1
    assert _equal(spoilt, first)


def test_a_few_steps_on_another_sample_do_more_with_a_start(make_set, first) -> None:
    """The weights are the start's, the grey levels those of the new pair."""
    other = make_set(seed=7, gain=-0.5)
    tuned, fresh = train(other, _config(max_steps=15), start=first), train(other, _config(max_steps=15))
    assert tuned.card.training["stop_psnr"]["fast"] > fresh.card.training["stop_psnr"]["fast"] + 0.5
    assert tuned.card.gain == other.gain and tuned.card.hr_grey == other.hr_grey
    assert tuned.card.provenance["data"] == other.fingerprint()


def test_the_card_says_from_which_model(patches, first, tmp_path) -> None:
    card = json.loads((save_model(first, tmp_path) / "card.json").read_text())
    start = train(patches, _config(max_steps=3), start=load_model(tmp_path)).card.training["start"]
    assert start["weights_sha256"] == card["weights_sha256"]
    assert start["steps"] == [60] and start["names"] == ["fine"] and start["data"] == patches.fingerprint()
    assert "start" not in first.card.training


def test_a_fine_tuning_continues_to_the_bit_and_only_from_its_own_start(patches, first, tmp_path) -> None:
    config = _config(max_steps=12, checkpoint_seconds=1e-6)
    whole = train(patches, config, start=first)
    with pytest.raises(_Interrupt):
        train(patches, config, start=first, folder=tmp_path, progress=_stop_after(5))
    other = train(patches, _config(max_steps=2))
    for start in (None, other):
        with pytest.raises(OutputError, match="training of other data or other settings"):
            train(patches, config, start=start, folder=tmp_path)
    assert _equal(whole, train(patches, config, start=first, folder=tmp_path))


def test_members_start_from_the_members_of_the_model(patches, first) -> None:
    pair = Model([first.members[0], train(patches, _config(max_steps=3, seed=4)).members[0]], first.card)
    tuned = train(patches, _config(max_steps=2, members=3, learning_rate=1.0), start=pair)
    starts = [h["stop_psnr"] for h in tuned.card.training["history"] if h["step"] == 0]
    assert len(starts) == 3 and starts[0] == starts[2] != starts[1]


def test_arguments_come_from_the_model_unless_they_are_given(patches, first) -> None:
    bare = TrainConfig(max_steps=2, **TINY)
    assert train(patches, bare, start=first).card.arguments == first.card.arguments
    with pytest.raises(ModelError, match=r"this one has channels 8 instead of 16\. Start from a model of this"):
        train(patches, TrainConfig(max_steps=2, arguments={"channels": 16}, **TINY), start=first)


def test_models_of_another_network_are_refused(patches, make_set, first) -> None:
    with pytest.raises(ModelError, match=r"this one has architecture fast instead of strong, .*blocks none instead"):
        train(patches, TrainConfig(architecture="strong", max_steps=2, **TINY), start=first)
    with pytest.raises(ModelError, match="this one has factor 3 instead of 4"):
        train(make_set(factor=4), _config(max_steps=2), start=first)


def test_public_weights_bind_neither_grey_levels_nor_references() -> None:
    """What they were published with is the range of 8-bit pictures; ours are in standard deviations."""
    from finescan.models.importing import import_foreign
    from finescan.models.srresnet import PUBLISHED_EPS, SrResNet
    from finescan.training.starting import Start, is_public, start_arguments

    torch.manual_seed(0)
    public = import_foreign(
        "dle-em-generator", SrResNet(sr_factor=2, norm_eps=PUBLISHED_EPS).state_dict(), pixel_size_nm=(10.0, 10.0)
    )
    assert is_public(public) and public.card.arguments["span"] == 1.0
    arguments = start_arguments(public, {"features": 8, "references": 16})
    assert "span" not in arguments and arguments["skip"] == 0 and arguments["features"] == 64
    assert arguments["references"] == 16
    whole = {**public.card.arguments, "span": 4.0}
    start = Start(public, "srresnet", 2, whole)
    assert start.facts()["public"] == "dle-em-generator"
    with pytest.raises(ModelError, match=r"this one has skip 0 instead of 1"):
        Start(public, "srresnet", 2, {**whole, "skip": 1})
