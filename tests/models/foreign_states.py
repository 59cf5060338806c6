"""Names and shapes of public state dicts, written down from the public programs, and random weights for them."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def _conv(name: str, outputs: int, inputs: int, size: int = 3) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int, *, running: bool = False) -> Shapes:
    entries: Shapes = {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    if running:
        entries |= {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
        entries |= {f"{name}.num_batches_tracked": ()}
    return entries


def _all(*parts: Shapes) -> Shapes:
    return {key: shape for part in parts for key, shape in part.items()}


def lte_shapes() -> Shapes:
    return _all(
        _conv("slice1.0", 64, 3), _conv("slice2.2", 64, 64), _conv("slice2.5", 128, 64),
        _conv("slice3.7", 128, 128), _conv("slice3.10", 256, 128), _conv("sub_mean", 3, 3, 1),
    )  # fmt: skip


def main_net_shapes() -> Shapes:
    blocks = {"SFE.RBs": 16, "RB11": 16, "RB21": 8, "RB22": 8, "RB31": 4, "RB32": 4, "RB33": 4}
    entries = [_conv("SFE.conv_head", 64, 3), _conv("SFE.conv_tail", 64, 64)]
    entries += [_conv(f"{n}.{i}.conv{j}", 64, 64) for n, count in blocks.items() for i in range(count) for j in (1, 2)]
    entries += [_conv("conv11_head", 64, 320), _conv("conv22_head", 64, 192), _conv("conv33_head", 64, 128)]
    entries += [_conv(f"conv{n}_tail", 64, 64) for n in (11, 21, 22, 31, 32, 33)]
    entries += [_conv("conv12", 256, 64), _conv("conv23", 256, 64)]
    entries += [_conv("ex12.conv12", 64, 64, 1), _conv("ex12.conv21", 64, 64)]
    entries += [_conv(f"ex12.conv_merge{i}", 64, 128) for i in (1, 2)]
    entries += [_conv(f"ex123.conv{n}", 64, 64, 1) for n in ("12", "13", "23")]
    entries += [_conv(f"ex123.conv{n}", 64, 64) for n in ("21", "31_1", "31_2", "32")]
    entries += [_conv(f"ex123.conv_merge{i}", 64, 192) for i in (1, 2, 3)]
    entries += [_conv("merge_tail.conv13", 64, 64, 1), _conv("merge_tail.conv23", 64, 64, 1)]
    entries += [_conv("merge_tail.conv_merge", 64, 192), _conv("merge_tail.conv_tail1", 32, 64)]
    return _all(*entries, _conv("merge_tail.conv_tail2", 3, 32, 1))


def ttsr_shapes() -> Shapes:
    main = {f"MainNet.{key}": shape for key, shape in main_net_shapes().items()}
    return main | {f"LTE.{key}": shape for key, shape in lte_shapes().items()}


def critic_shapes(in_size: int = 160) -> Shapes:
    widths = [3, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    convs = [_conv(f"conv{i + 1}", out, inn) for i, (inn, out) in enumerate(pairwise(widths))]
    return _all(*convs, _linear("fc1", 1024, (in_size // 32) ** 2 * 512), _linear("fc2", 1, 1024))


VGG_CONVS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
VGG_CONVS |= {16: (256, 256), 19: (512, 256), 21: (512, 512), 23: (512, 512), 25: (512, 512), 28: (512, 512)}


def vgg_shapes(prefix: str = "slice1") -> Shapes:
    entries = _all(*(_conv(f"{prefix}.{i}", *widths) for i, widths in VGG_CONVS.items()))
    return entries | (_conv("sub_mean", 3, 3, 1) if prefix == "slice1" else {})


def swinir_shapes(sr_factor: int = 2, channels: int = 1) -> Shapes:
    entries = [_conv("conv_first", 60, channels), _norm("patch_embed.norm", 60)]
    for i in range(4):
        for j in range(6):
            block = f"layers.{i}.residual_group.blocks.{j}"
            table: Shapes = {f"{block}.attn.relative_position_bias_table": (225, 6)}
            table |= {f"{block}.attn.relative_position_index": (64, 64)}
            table |= {f"{block}.attn_mask": (64, 64, 64)} if j % 2 else {}
            entries += [table, _norm(f"{block}.norm1", 60), _norm(f"{block}.norm2", 60)]
            entries += [_linear(f"{block}.attn.qkv", 180, 60), _linear(f"{block}.attn.proj", 60, 60)]
            entries += [_linear(f"{block}.mlp.fc1", 120, 60), _linear(f"{block}.mlp.fc2", 60, 120)]
        entries.append(_conv(f"layers.{i}.conv", 60, 60))
    entries += [_norm("norm", 60), _conv("conv_after_body", 60, 60)]
    return _all(*entries, _conv("upsample.0", channels * sr_factor**2, 60))


def generator_shapes(sr_factor: int = 4) -> Shapes:
    entries = [_conv("conv1.0", 64, 1, 9), {"conv1.1.weight": (1,)}]
    for i in range(16):
        block = f"res_blocks.{i}.conv_block"
        entries += [_conv(f"{block}.0", 64, 64), _norm(f"{block}.1", 64, running=True), {f"{block}.2.weight": (1,)}]
        entries += [_conv(f"{block}.3", 64, 64), _norm(f"{block}.4", 64, running=True)]
    entries += [_conv("conv2.0", 64, 64), _norm("conv2.1", 64, running=True)]
    for i in range({2: 1, 4: 2, 8: 3}[sr_factor]):
        entries += [_conv(f"upsampling.{4 * i}", 256, 64), _norm(f"upsampling.{4 * i + 1}", 256, running=True)]
        entries.append({f"upsampling.{4 * i + 3}.weight": (1,)})
    return _all(*entries, _conv("conv3.0", 1, 64, 9))


def patch_critic_shapes() -> Shapes:
    convs = {0: (64, 1), 2: (64, 64), 5: (128, 64), 8: (128, 128), 11: (256, 128), 14: (256, 256), 17: (512, 256)}
    convs |= {20: (512, 512), 23: (1, 512)}
    norms = {3: 64, 6: 128, 9: 128, 12: 256, 15: 256, 18: 512, 21: 512}
    parts = [_conv(f"model.{i}", *widths) for i, widths in convs.items()]
    return _all(*parts, *(_norm(f"model.{i}", width, running=True) for i, width in norms.items()))


def random_state(shapes: Shapes, *, seed: int = 0, gain: float = 1.0) -> dict[str, Tensor]:
    """Weights as large as in a trained network: normal, ``gain`` over the root of the inputs; biases about 0.1."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=random)
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("running_var"):
            state[key] = 0.3 + noise.abs()
        elif len(shape) > 1:
            state[key] = noise * gain / noise[0].numel() ** 0.5
        else:
            state[key] = 0.1 * noise + 0.5 * key.endswith(".weight")
    return state
