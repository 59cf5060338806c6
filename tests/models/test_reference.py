"""ReferenceNet: the published network on grey levels, its bank, and the choice of a reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from finescan.errors import InputError, ModelError
from finescan.models import build, load_model, save_model
from finescan.models.reference import ReferenceNet
from finescan.models.ttsr import Ttsr, grey_weights
from finescan.models.vgg import Vgg19

SMALL = {"features": 8, "blocks": 4, "references": 4, "side": 128}


def _net(**arguments: float) -> ReferenceNet:
    torch.manual_seed(1)
    net = ReferenceNet(**{**SMALL, **arguments}).eval()
    net.set_references(_smooth(net.bank.shape[0], 128))
    return net


def _smooth(n: int, side: int, seed: int = 0) -> torch.Tensor:
    """Pictures (n, side, side) of ever finer structure."""
    noise = torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))
    parts = [functional.avg_pool2d(noise[i : i + 1], 2 * i + 1, 1, i)[0, 0] * (2 * i + 1) for i in range(n)]
    return torch.stack(parts)


def test_without_skip_it_is_the_published_network_on_three_equal_channels() -> None:
    """The same numbers as the four-picture form, whose range [-1, 1] the span stretches."""
    net = _net(channels=3, skip=0, span=2.0)
    x, ref = torch.rand(2, 1, 16, 16) - 0.5, torch.rand(2, 1, 128, 128) - 0.5
    pictures = (x, net.enlarge(x), ref, net.to_reference_domain(ref))
    with torch.inference_mode():
        sr, s, t3, t2, t1 = net.net(*(p.expand(-1, 3, -1, -1) / 2 for p in pictures))
        got = net.with_reference(x, ref)
    assert sr.abs().max() < 1  # else the published form would have limited it
    torch.testing.assert_close(got.sr, sr.mean(dim=1, keepdim=True) * 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.attention, s)
    for mine, theirs in zip(got.textures, (t1, t2, t3), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_grey_form_with_folded_weights_gives_the_mean_of_the_colours() -> None:
    colour, grey = _net(channels=3, skip=0), _net(channels=1, skip=0)
    grey.net.load_state_dict(grey_weights(colour.net.state_dict()))
    x, ref = torch.randn(1, 1, 16, 16), torch.randn(1, 1, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(
            grey.with_reference(x, ref).sr, colour.with_reference(x, ref).sr, atol=2e-5, rtol=1e-4
        )


def test_no_grey_level_is_limited() -> None:
    """The published network stops at [-1, 1]; grey levels beyond the span must survive."""
    net = _net(channels=1, skip=0, span=1.0)
    net.net.MainNet.merge_tail.conv_tail2.bias.data.fill_(5.0)
    with torch.inference_mode():
        assert net(torch.randn(1, 1, 32, 32)).mean() > 4


def test_with_skip_fresh_weights_start_at_interpolation() -> None:
    net, x = _net(), torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        assert (net(x) - net.enlarge(x)).abs().mean() < 0.1 * net.enlarge(x).abs().mean()


def test_the_most_similar_reference_is_chosen() -> None:
    """A coarse picture of what a reference shows finds that reference."""
    net = _net()
    net.set_references(_smooth(4, 128))
    fine = net.reference([0, 1, 2, 3])
    coarse = functional.interpolate(fine, scale_factor=0.25, mode="bicubic", antialias=True)
    assert net.choose(coarse).tolist() == [0, 1, 2, 3]
    assert net.choose(coarse.flip(0)).tolist() == [3, 2, 1, 0]


def test_each_picture_of_a_batch_gets_its_own_reference() -> None:
    net = _net()
    x = functional.interpolate(net.reference([2, 0, 2]), scale_factor=0.25, mode="bicubic", antialias=True)
    with torch.inference_mode():
        together = net(x)
        alone = torch.cat(
            [net.with_reference(p[None], net.reference([c])).sr for p, c in zip(x, (2, 0, 2), strict=True)]
        )
        wrong = net.with_reference(x[:1], net.reference([0])).sr
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert (together[:1] - wrong).abs().max() > 1e-4


def test_features_kept_between_windows_are_forgotten_with_the_references() -> None:
    net, x = _net(), torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        before = net(x)
        assert torch.equal(net(x), before)  # from what was kept
        net.set_references(_smooth(4, 128, seed=5))
        assert not torch.allclose(net(x), before)


def test_the_selector_embeds_with_vgg19_where_asked_for() -> None:
    plain, vgg = _net(), _net(selector=1)
    assert plain.keys.shape == (4, 256) and vgg.keys.shape == (4, 512)
    assert isinstance(vgg.selector, Vgg19) and not any(p.requires_grad for p in vgg.selector.parameters())
    fine = vgg.reference([1])
    grey = (fine / vgg.span + 1) / 2
    torch.testing.assert_close(vgg.embed(fine), vgg.selector(grey).mean(dim=(2, 3)))


def test_gradients_reach_the_extractor_and_not_the_selector() -> None:
    net = _net(selector=1).train()
    net.with_reference(torch.randn(1, 1, 16, 16), torch.randn(1, 1, 128, 128)).sr.square().mean().backward()
    assert net.net.LTE.slice1[0].weight.grad.abs().max() > 0
    assert all(p.grad is None for p in net.selector.parameters())


def test_the_bank_travels_with_the_model(fresh, tmp_path) -> None:
    model = fresh("ttsr-grey", 4)
    again = load_model(save_model(model, tmp_path / "m"))
    assert torch.equal(again.members[0].bank, model.members[0].bank) and model.members[0].bank.any()
    scan = np.random.default_rng(0).normal(90, 12, (40, 50)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(scan), model.predict(scan))


def test_an_empty_bank_is_refused() -> None:
    net = build("ttsr-grey", 4, SMALL)
    with pytest.raises(ModelError, match=r"holds no references .* bank is empty"):
        net(torch.zeros(1, 1, 32, 32))


def test_references_of_another_size_are_refused() -> None:
    net = _net()
    with pytest.raises(ModelError, match=r"references \(4, 128, 128\) .*, but \(3, 128, 128\) came"):
        net.set_references(torch.zeros(3, 128, 128))
    with pytest.raises(InputError, match="whole multiples of 4 pixels"):
        net.with_reference(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 130, 128))
    assert Ttsr(channels=1).channels == 1
