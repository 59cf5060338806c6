"""Generator and critic of DLE-EM against a literal re-computation from the state dict."""

from __future__ import annotations

import pytest
import torch
from foreign_states import generator_shapes, patch_critic_shapes, random_state
from torch import Tensor, nn

from finescan.errors import ModelError
from finescan.models.srresnet import PatchDiscriminator, SrResNet
from finescan.models.store import load_foreign

State = dict[str, Tensor]


def _conv(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """Cross-correlation as a sum over taps."""
    weight = state[f"{name}.weight"]
    size = weight.shape[2]
    padded = nn.functional.pad(x, (size // 2,) * 4)
    height, width = x.shape[2:]
    total = state[f"{name}.bias"].view(1, -1, 1, 1).expand(len(x), -1, height, width)
    for y in range(size):
        for z in range(size):
            part = padded[:, :, y : y + height, z : z + width]
            total = total + torch.einsum("oi,nihw->nohw", weight[:, :, y, z], part)
    return total[:, :, ::stride, ::stride]


def _norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    def of(key: str) -> Tensor:
        return state[f"{name}.{key}"].view(1, -1, 1, 1)

    return (x - of("running_mean")) / (of("running_var") + eps).sqrt() * of("weight") + of("bias")


def _prelu(state: State, name: str, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * state[f"{name}.weight"])


def _shuffle(x: Tensor) -> Tensor:
    n, c, height, width = x.shape
    return x.view(n, c // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * height, 2 * width)


def _literal_generator(state: State, x: Tensor, sr_factor: int, eps: float) -> Tensor:
    first = _prelu(state, "conv1.1", _conv(state, "conv1.0", x))
    y = first
    for i in range(16):
        block = f"res_blocks.{i}.conv_block"
        z = _prelu(state, f"{block}.2", _norm(state, f"{block}.1", _conv(state, f"{block}.0", y), eps))
        y = y + _norm(state, f"{block}.4", _conv(state, f"{block}.3", z), eps)
    y = first + _norm(state, "conv2.1", _conv(state, "conv2.0", y), eps)
    for i in range({2: 1, 4: 2, 8: 3}[sr_factor]):
        wide = _norm(state, f"upsampling.{4 * i + 1}", _conv(state, f"upsampling.{4 * i}", y), 1e-5)
        y = _prelu(state, f"upsampling.{4 * i + 3}", _shuffle(wide))
    return torch.tanh(_conv(state, "conv3.0", y))


def _literal_critic(state: State, x: Tensor) -> Tensor:
    for i, place in enumerate((0, 2, 5, 8, 11, 14, 17, 20)):
        x = _conv(state, f"model.{place}", x, 1 + i % 2)
        if i:
            x = _norm(state, f"model.{place + 1}", x, 1e-5)
        x = torch.where(x > 0, x, 0.2 * x)
    return _conv(state, "model.23", x)


def _generator_state(sr_factor: int) -> State:
    state = random_state(generator_shapes(sr_factor))
    state["conv3.0.weight"] *= 2
    return state


def _picture(*size: int) -> Tensor:
    return torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("sr_factor", [2, 4, 8])
def test_public_weights_give_the_published_numbers(sr_factor: int) -> None:
    state, x = _generator_state(sr_factor), _picture(5, 7)
    with torch.no_grad():
        ours = load_foreign("dle-em-generator", state, sr_factor=sr_factor)(x)
        wanted = _literal_generator(state, x, sr_factor, 0.8)
    assert ours.shape == (1, 1, 5 * sr_factor, 7 * sr_factor)
    assert wanted.std() > 0.1
    assert (ours - wanted).abs().max() < 5e-5 * wanted.std()


def test_our_own_network_normalises_as_usual() -> None:
    state, x = _generator_state(2), _picture(6, 6)
    network = SrResNet(sr_factor=2).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        ours, published = network(x), load_foreign("dle-em-generator", state, sr_factor=2)(x)
        wanted = _literal_generator(state, x, 2, 1e-5)
    assert (ours - wanted).abs().max() < 5e-5 * wanted.std()
    assert (ours - published).abs().max() > 0.1 * wanted.std()


def test_only_the_residual_part_has_the_published_quirk() -> None:
    network = load_foreign("dle-em-generator", _generator_state(4), sr_factor=4)
    eps = {name: part.eps for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    assert len(eps) == 35
    assert all(value == (1e-5 if name.startswith("upsampling") else 0.8) for name, value in eps.items())


def test_the_critic_has_the_published_numbers() -> None:
    state = random_state(patch_critic_shapes(), gain=1.4)
    x = _picture(32, 48)
    with torch.no_grad():
        ours, wanted = load_foreign("dle-em-discriminator", state)(x), _literal_critic(state, x)
    assert ours.shape == (1, 1, 2, 3)
    assert (ours - wanted).abs().max() < 5e-5 * wanted.std()


def test_sizes_are_those_published() -> None:
    with torch.device("meta"):
        networks = [SrResNet(sr_factor=f) for f in (2, 4, 8)] + [PatchDiscriminator()]
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [1_381_523, 1_529_748, 1_677_973, 4_692_545]


def test_other_ratios_are_refused() -> None:
    with pytest.raises(ModelError, match="enhances by 2, 4 or 8, but 3 came"):
        SrResNet(sr_factor=3)
