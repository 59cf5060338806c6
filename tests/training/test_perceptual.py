"""Likeness of features: known values, who gets gradients, and what judges when there are no weights of VGG19."""

from __future__ import annotations

import copy

import pytest
import torch

from finescan.errors import InputError, ModelError
from finescan.models import build
from finescan.models.vgg import Vgg19
from finescan.training import TrainConfig
from finescan.training.extractor import extractor_of_vgg, fresh_extractor
from finescan.training.job import Answer
from finescan.training.perceptual import feature_loss, frozen_extractor, read_vgg, texture_loss
from finescan.training.pictures import PictureJob
from finescan.training.terms import Further, Scale, Terms

CPU = torch.device("cpu")
SMALL = {"features": 8, "blocks": 1, "references": 1, "side": 128}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("ttsr-grey", 4, SMALL)


def _answer(network, seed: int = 0) -> Answer:
    rng = torch.Generator().manual_seed(seed)
    sr, target = torch.randn(2, 1, 1, 32, 32, generator=rng)
    textures = tuple(torch.randn(1, c, 32 // s, 32 // s, generator=rng) for c, s in ((64, 1), (128, 2), (256, 4)))
    weight = torch.ones(1, 1, 32, 32)
    weight[..., :8] = 0
    return Answer(sr.requires_grad_(True), target, weight, tuple(t.requires_grad_(True) for t in textures))


def test_the_texture_loss_is_the_mean_of_three_means() -> None:
    """Levels of different sizes count alike."""
    features = [torch.ones(1, 2, 4, 4), torch.zeros(1, 3, 2, 2), torch.full((1, 5, 1, 1), 4.0)]
    textures = [torch.zeros(1, 2, 4, 4), torch.full((1, 3, 2, 2), 2.0), torch.ones(1, 5, 1, 1)]
    assert texture_loss(features, textures).item() == pytest.approx((1 + 4 + 9) / 3)


def test_transferred_texture_is_taught_and_recorded_features_are_not() -> None:
    mine, texture = torch.ones(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 1, 2, 2, requires_grad=True)
    texture_loss([mine], [texture]).backward()
    assert torch.equal(mine.grad, -texture.grad) and mine.grad.abs().sum() > 0
    target = torch.zeros(1, 1, 2, 2, requires_grad=True)
    feature_loss(mine, target).backward()
    assert target.grad is None


def test_a_frozen_extractor_is_an_up_to_date_copy_of_the_networks_own(network) -> None:
    picture, net = torch.randn(1, 1, 16, 16, requires_grad=True), copy.deepcopy(network)
    extract = frozen_extractor(net.net.LTE, net.texture)
    with torch.no_grad():
        net.net.LTE.slice2[0].weight.mul_(1.5)  # training goes on
    twin = copy.deepcopy(net).requires_grad_(False)
    mine, theirs = extract(picture), twin.texture(picture)
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    sum(f.sum() for f in mine).backward()
    assert picture.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.net.LTE.parameters())
    assert net.net.LTE.slice1[0].weight.requires_grad and not net.net.LTE.sub_mean.weight.requires_grad


def test_without_weights_the_perceptual_loss_is_that_of_the_networks_own_third_level(network) -> None:
    answer, scale = _answer(network), Scale(-2.0, 3.0)
    extract = frozen_extractor(network.net.LTE, network.texture)
    further = Further(Terms(perceptual=0.5, texture=0.25), scale, content_scale=scale.half, textures=extract)
    with torch.no_grad():
        mine, real = network.texture(answer.sr), network.texture(answer.real)
        expected = 0.5 * ((mine[2] - real[2]) ** 2).mean()
        expected += 0.25 * sum(((a - b) ** 2).mean() for a, b in zip(mine, answer.textures, strict=True)) / 3
    torch.testing.assert_close(further.loss(answer), 2.5 * expected)


def test_with_vgg_pictures_are_compared_as_zero_to_one(network) -> None:
    answer, scale, seen = _answer(network), Scale(-2.0, 3.0), []

    def vgg(picture: torch.Tensor) -> torch.Tensor:
        seen.append(picture)
        return picture * 3

    loss = Further(Terms(perceptual=1e-2), scale, content_scale=1.0, vgg=vgg).loss(answer)
    torch.testing.assert_close(loss, 1e-2 * 9 * (((answer.sr - answer.real) / 5) ** 2).mean())
    torch.testing.assert_close(seen[0], (answer.sr + 2) / 5)


def test_the_range_of_grey_levels_is_minus_one_to_one_for_critics() -> None:
    scale = Scale(-1.5, 2.5)
    torch.testing.assert_close(scale.symmetric(torch.tensor([-1.5, 0.5, 2.5, 4.5])), torch.tensor([-1.0, 0, 1, 2]))


def test_fresh_extractors_keep_signals_alive() -> None:
    """With torch's own start they shrink from level to level."""
    torch.manual_seed(3)
    own, ours = (build("ttsr-grey", 4, SMALL) for _ in range(2))
    ours.net.LTE.load_state_dict(fresh_extractor(0), strict=False)
    picture = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        kept = [(n.texture(picture)[2].std() / n.texture(picture)[0].std()).item() for n in (own, ours)]
    assert kept[0] < 0.2 and 0.4 < kept[1] < 2.5
    assert all(torch.equal(v, fresh_extractor(0)[k]) for k, v in fresh_extractor(0).items())
    assert not torch.equal(fresh_extractor(0)["slice1.0.weight"], fresh_extractor(1)["slice1.0.weight"])


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random weights under torchvision's names, without the classifier."""
    torch.manual_seed(5)
    state = {k.replace("slice1.", "features."): v for k, v in Vgg19().state_dict().items() if "sub_mean" not in k}
    state |= {
        f"features.{k}.{n}": torch.zeros(s)
        for k in (30, 32, 34)
        for n, s in (("weight", (512, 512, 3, 3)), ("bias", (512,)))
    }
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path, state


def test_vgg_is_read_for_grey_pictures_and_never_trained(vgg_file) -> None:
    path, state = vgg_file
    vgg = read_vgg(path, None, CPU)
    assert not any(p.requires_grad for p in vgg.parameters()) and not vgg.training
    coloured = Vgg19()
    coloured.load_state_dict(
        {k.replace("features.", "slice1."): v for k, v in state.items() if int(k.split(".")[1]) < 30}, strict=False
    )
    picture = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(vgg(picture), coloured(picture.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    first = extractor_of_vgg(vgg.state_dict())
    assert torch.equal(first["slice3.10.weight"], state["features.10.weight"]) and len(first) == 10


def test_a_file_that_is_not_vgg_is_refused(tmp_path, vgg_file) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(ModelError, match=r"not the weights of vgg19.*Missing: features.0.bias"):
        read_vgg(tmp_path / "part.pth", None, CPU)
    with pytest.raises(ModelError, match="is not the file expected: its SHA-256 is"):
        read_vgg(vgg_file[0], "0" * 64, CPU)
    with pytest.raises(ModelError, match="cannot be read"):
        read_vgg(tmp_path / "none.pth", None, CPU)


def test_a_network_without_texture_extractor_needs_vgg_for_a_perceptual_loss(make_set, vgg_file) -> None:
    options = {"max_steps": 2, "device": "cpu", "arguments": {"channels": 8, "depth": 1}}
    with pytest.raises(InputError, match=r"fast has no texture extractor.*Pass them with --vgg"):
        PictureJob(make_set(), TrainConfig(terms={"perceptual": 1e-2}, **options), CPU)
    terms = {"perceptual": 1e-2, "vgg": str(vgg_file[0])}
    job = PictureJob(make_set(), TrainConfig(terms=terms, **options), CPU)
    further = job.further(job.network(), seed=0, bfloat16=False)
    assert further is not None and further.rival is None
    sr = torch.zeros(1, 1, 48, 48, requires_grad=True)
    further.loss(Answer(sr, torch.randn(1, 1, 48, 48), torch.ones(1, 1, 48, 48))).backward()
    assert sr.grad.abs().sum() > 0
