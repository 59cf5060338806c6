"""SwinIR-light against a literal re-computation from the state dict: windows by slicing, explicit softmax."""

from __future__ import annotations

import math

import pytest
import torch
from foreign_states import random_state, swinir_shapes
from torch import Tensor
from torch.nn import functional

from finescan.errors import InputError, ModelError
from finescan.models.store import load_foreign
from finescan.models.swinir import SwinBlock, SwinIr, image_masks, mirrored, reflected, relative_positions

State = dict[str, Tensor]
RGB_MEAN = (0.4488, 0.4371, 0.4040)


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return unit * state[f"{name}.weight"] + state[f"{name}.bias"]


def _conv(state: State, name: str, x: Tensor) -> Tensor:
    return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def _pixels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _pixels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _region(position: int, length: int) -> int:
    """Which of three bands a row (or column) of the rolled image is in: whole windows, before and after the seam."""
    return 0 if position < length - 8 else 1 if position < length - 4 else 2


def _window_attention(state: State, name: str, x: Tensor, regions: Tensor) -> Tensor:
    """One window: x (n, 64, 60), regions (64,) -> (n, 64, 60)."""
    q, k, v = _linear(state, f"{name}.qkv", x).split(60, dim=-1)
    table = state[f"{name}.relative_position_bias_table"]
    heads = []
    for h in range(6):
        part = slice(10 * h, 10 * h + 10)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(10)
        for i in range(64):
            for_i = [15 * (i // 8 - j // 8 + 7) + (i % 8 - j % 8 + 7) for j in range(64)]
            scores[:, i] += table[for_i, h]
        scores = scores - 100.0 * (regions[:, None] != regions)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        heads.append(weights @ v[..., part])
    return _linear(state, f"{name}.proj", torch.cat(heads, dim=-1))


def _block(state: State, name: str, x: Tensor, shift: int) -> Tensor:
    n, height, width, _ = x.shape
    y = torch.roll(_norm(state, f"{name}.norm1", x), (-shift, -shift), (1, 2))
    out = torch.empty_like(y)
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            places = [(top + i // 8, left + i % 8) for i in range(64)]
            regions = [3 * _region(r, height) + _region(c, width) if shift else 0 for r, c in places]
            window = y[:, top : top + 8, left : left + 8].reshape(n, 64, 60)
            seen = _window_attention(state, f"{name}.attn", window, torch.tensor(regions))
            out[:, top : top + 8, left : left + 8] = seen.reshape(n, 8, 8, 60)
    x = x + torch.roll(out, (shift, shift), (1, 2))
    y = _linear(state, f"{name}.mlp.fc1", _norm(state, f"{name}.norm2", x))
    return x + _linear(state, f"{name}.mlp.fc2", 0.5 * y * (1 + torch.erf(y / math.sqrt(2))))


def _literal(state: State, x: Tensor, sr_factor: int) -> Tensor:
    n, channels, height, width = x.shape
    mean = torch.tensor(RGB_MEAN if channels == 3 else (0.0,)).view(1, -1, 1, 1)
    rows = [r if r < height else 2 * height - 2 - r for r in range(-(-height // 8) * 8)]
    columns = [c if c < width else 2 * width - 2 - c for c in range(-(-width // 8) * 8)]
    first = _conv(state, "conv_first", x[:, :, rows][:, :, :, columns] - mean)
    y = _norm(state, "patch_embed.norm", _pixels_last(first))
    for i in range(4):
        z = y
        for j in range(6):
            z = _block(state, f"layers.{i}.residual_group.blocks.{j}", z, 4 * (j % 2))
        y = y + _pixels_last(_conv(state, f"layers.{i}.conv", _pixels_first(z)))
    y = _conv(state, "conv_after_body", _pixels_first(_norm(state, "norm", y))) + first
    y = _conv(state, "upsample.0", y)
    y = y.view(n, channels, sr_factor, sr_factor, *y.shape[2:]).permute(0, 1, 4, 2, 5, 3)
    y = y.reshape(n, channels, len(rows) * sr_factor, len(columns) * sr_factor) + mean
    return y[:, :, : height * sr_factor, : width * sr_factor]


def _twice_mirrored(x: Tensor) -> Tensor:
    """Padding of the published test scripts: mirrored including the rim, up to a whole window more."""
    for axis in (2, 3):
        length = x.shape[axis]
        order = [i if i < length else 2 * length - 1 - i for i in range((length // 8 + 1) * 8)]
        x = x.index_select(axis, torch.tensor(order))
    return x


def _state(sr_factor: int, channels: int) -> State:
    state = random_state(swinir_shapes(sr_factor, channels), gain=0.7)
    for key in [k for k in state if "qkv.weight" in k or "bias_table" in k]:
        state[key] *= 3  # attention that is far from even
    return state


def _image(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("sr_factor", "channels", "size"),
    [(2, 1, (16, 24)), (4, 1, (13, 21)), (2, 3, (8, 8)), (4, 3, (5, 17))],
)
def test_public_weights_give_the_published_numbers(sr_factor: int, channels: int, size: tuple[int, int]) -> None:
    state = _state(sr_factor, channels)
    network = load_foreign("swinir-light", {"params": state}, sr_factor=sr_factor, channels=channels)
    x = _image(1, channels, *size)
    with torch.no_grad():
        ours, wanted = network(x), _literal(state, x, sr_factor)
    assert ours.shape == (1, channels, size[0] * sr_factor, size[1] * sr_factor)
    assert wanted.std() > 0.1
    assert (ours - wanted).abs().max() < 5e-5 * wanted.std()


@pytest.mark.parametrize("size", [(8, 16), (7, 11)])
def test_the_padding_of_the_test_scripts_is_a_choice(size: tuple[int, int]) -> None:
    state, x = _state(2, 1), _image(1, 1, *size)
    network = load_foreign("swinir-light", state, sr_factor=2, channels=1, padding="mirror")
    with torch.no_grad():
        wanted = _literal(state, _twice_mirrored(x), 2)[..., : 2 * size[0], : 2 * size[1]]
        plain = load_foreign("swinir-light", state, sr_factor=2, channels=1)(x)
        ours = network(x)
    assert (ours - wanted).abs().max() < 5e-5 * wanted.std()
    assert (ours - plain).abs().max() > 0.01 * wanted.std()


def test_a_batch_gives_what_its_images_give() -> None:
    network, x = load_foreign("swinir-light", _state(2, 1)), _image(3, 1, 24, 16)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(part[None]) for part in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_training_computes_the_same_as_enhancement() -> None:
    network, x = load_foreign("swinir-light", _state(2, 1)), _image(2, 1, 16, 24)
    with torch.no_grad():
        plain = network(x)
    answer = network(x)
    answer.square().mean().backward()
    assert (answer - plain).abs().max() < 5e-5 * plain.std()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_sizes_are_those_published() -> None:
    with torch.device("meta"):
        networks = {(f, c): SwinIr(sr_factor=f, channels=c) for f in (2, 4) for c in (1, 3)}
    count = {key: sum(p.numel() for p in net.parameters()) for key, net in networks.items()}
    assert count == {(2, 1): 904_744, (4, 1): 911_236, (2, 3): 910_152, (4, 3): 929_628}
    tables = sum(p.numel() for key, p in networks[2, 3].named_parameters() if "bias_table" in key)
    assert count[2, 3] - tables == 877_752  # the 0.878 million of the papers


def test_tables_of_positions_are_those_of_the_public_state_dict() -> None:
    index = relative_positions()
    assert index.shape == (64, 64)
    assert (index[0, 0], index[0, 63], index[63, 0], index[9, 10]) == (112, 0, 224, 111)
    assert index.unique().numel() == 225


@pytest.mark.parametrize("size", [(64, 64), (8, 24), (16, 8)])
def test_masks_keep_opposite_rims_apart(size: tuple[int, int]) -> None:
    masks = image_masks(*size)
    wanted = []
    for top in range(0, size[0], 8):
        for left in range(0, size[1], 8):
            places = [(top + i // 8, left + i % 8) for i in range(64)]
            region = torch.tensor([3 * _region(r, size[0]) + _region(c, size[1]) for r, c in places])
            wanted.append(-100.0 * (region[:, None] != region))
    assert torch.equal(masks, torch.stack(wanted))


def test_pixels_of_opposite_rims_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    block = SwinBlock(rolled=True, drop_path=0).eval()
    x = _image(1, 24, 24, 60)
    changed = x.clone()
    changed[:, :, -1] += 1.0
    with torch.no_grad():
        moved = (block(changed) - block(x)).abs().amax(dim=(0, 1, 3))
    assert moved[:20].max() == 0
    assert moved[20:].min() > 0


def test_images_too_small_to_be_reflected_are_refused() -> None:
    with pytest.raises(InputError, match=r"at least 5 pixels each way .* but the image is \(4, 9\) pixels"):
        SwinIr()(torch.zeros(1, 1, 4, 9))


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(ModelError, match="padding is one of reflect, mirror, but 'zeros' came"):
        SwinIr(padding="zeros")


def test_paddings_end_at_whole_windows() -> None:
    x = torch.arange(10.0).view(1, 1, 1, 10).expand(1, 1, 10, 10)
    assert reflected(x)[0, 0, 0].tolist() == [*range(10), 8, 7, 6, 5, 4, 3]
    assert mirrored(x)[0, 0, 0].tolist() == [*range(10), 9, 8, 7, 6, 5, 4]
    whole = torch.zeros(1, 1, 16, 8)
    assert reflected(whole) is whole
    assert mirrored(whole).shape == (1, 1, 24, 16)


def test_branches_are_left_out_only_in_training() -> None:
    torch.manual_seed(0)
    block = SwinBlock(rolled=False, drop_path=0.5)
    x = _image(64, 8, 8, 60)
    with torch.no_grad():
        every, some = block.eval()(x), block.train()(x)
    untouched = (some == x).flatten(1).all(dim=1).sum()
    assert 6 <= untouched <= 28  # both branches left out for a quarter of 64
    assert not (every == x).flatten(1).all(dim=1).any()
    assert [b.drop_path for b in SwinIr().layers[3].residual_group["blocks"]][-1] == pytest.approx(0.1)
