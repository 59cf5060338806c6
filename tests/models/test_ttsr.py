"""TTSR against a literal re-computation from the state dict, with all likenesses at once as in the public program."""

from __future__ import annotations

import pytest
import torch
from foreign_states import critic_shapes, random_state, ttsr_shapes
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from finescan.errors import InputError, ModelError
from finescan.models.store import load_foreign
from finescan.models.texture import search, transfer
from finescan.models.ttsr import Ttsr, TtsrDiscriminator, grey_weights

State = dict[str, Tensor]


def _bicubic(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bicubic", align_corners=False)


class _Literal:
    """The network as the papers and the public program say it, one operation after the other."""

    def __init__(self, state: State) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return functional.conv2d(x, weight, self.state[f"{name}.bias"], stride, padding=weight.shape[2] // 2)

    def relu(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        return self.conv(name, x, stride).clamp(min=0)

    def blocks(self, name: str, count: int, x: Tensor) -> Tensor:
        for i in range(count):
            x = self.conv(f"{name}.{i}.conv2", self.relu(f"{name}.{i}.conv1", x)) + x
        return x

    def extract(self, x: Tensor, prefix: str = "LTE.") -> tuple[Tensor, Tensor, Tensor]:
        x = self.conv(f"{prefix}sub_mean", x)
        first = self.relu(f"{prefix}slice1.0", x)
        second = functional.max_pool2d(self.relu(f"{prefix}slice2.2", first), 2)
        second = self.relu(f"{prefix}slice2.5", second)
        third = functional.max_pool2d(self.relu(f"{prefix}slice3.7", second), 2)
        return first, second, self.relu(f"{prefix}slice3.10", third)

    def main(self, lr: Tensor, s: Tensor, t3: Tensor, t2: Tensor, t1: Tensor) -> Tensor:
        head = self.relu("MainNet.SFE.conv_head", lr)
        x = self.conv("MainNet.SFE.conv_tail", self.blocks("MainNet.SFE.RBs", 16, head)) + head
        x11 = x + self.conv("MainNet.conv11_head", torch.cat([x, t3], 1)) * s
        x11 = x11 + self.conv("MainNet.conv11_tail", self.blocks("MainNet.RB11", 16, x11))
        x22 = functional.pixel_shuffle(self.conv("MainNet.conv12", x11), 2).clamp(min=0)
        x22 = x22 + self.conv("MainNet.conv22_head", torch.cat([x22, t2], 1)) * _bicubic(s, 2)
        into1 = self.relu("MainNet.ex12.conv21", x22, 2)
        into2 = self.relu("MainNet.ex12.conv12", _bicubic(x11, 2))
        y1 = self.relu("MainNet.ex12.conv_merge1", torch.cat([x11, into1], 1))
        y2 = self.relu("MainNet.ex12.conv_merge2", torch.cat([x22, into2], 1))
        x21 = x11 + self.conv("MainNet.conv21_tail", self.blocks("MainNet.RB21", 8, y1))
        x22 = x22 + self.conv("MainNet.conv22_tail", self.blocks("MainNet.RB22", 8, y2))
        x33 = functional.pixel_shuffle(self.conv("MainNet.conv23", x22), 2).clamp(min=0)
        x33 = x33 + self.conv("MainNet.conv33_head", torch.cat([x33, t1], 1)) * _bicubic(s, 4)
        y1, y2, y3 = self.exchange(x21, x22, x33)
        x31 = x21 + self.conv("MainNet.conv31_tail", self.blocks("MainNet.RB31", 4, y1))
        x32 = x22 + self.conv("MainNet.conv32_tail", self.blocks("MainNet.RB32", 4, y2))
        x33 = x33 + self.conv("MainNet.conv33_tail", self.blocks("MainNet.RB33", 4, y3))
        up1 = self.relu("MainNet.merge_tail.conv13", _bicubic(x31, 4))
        up2 = self.relu("MainNet.merge_tail.conv23", _bicubic(x32, 2))
        merged = self.relu("MainNet.merge_tail.conv_merge", torch.cat([x33, up1, up2], 1))
        return self.conv("MainNet.merge_tail.conv_tail2", self.conv("MainNet.merge_tail.conv_tail1", merged))

    def exchange(self, x1: Tensor, x2: Tensor, x3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ex = "MainNet.ex123"
        from21, from32 = self.relu(f"{ex}.conv21", x2, 2), self.relu(f"{ex}.conv32", x3, 2)
        from31 = self.relu(f"{ex}.conv31_2", self.relu(f"{ex}.conv31_1", x3, 2), 2)
        from12, from13 = self.relu(f"{ex}.conv12", _bicubic(x1, 2)), self.relu(f"{ex}.conv13", _bicubic(x1, 4))
        from23 = self.relu(f"{ex}.conv23", _bicubic(x2, 2))
        return (
            self.relu(f"{ex}.conv_merge1", torch.cat([x1, from21, from31], 1)),
            self.relu(f"{ex}.conv_merge2", torch.cat([x2, from12, from32], 1)),
            self.relu(f"{ex}.conv_merge3", torch.cat([x3, from13, from23], 1)),
        )


def _search_all(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Every patch with every patch, in one product."""
    q = functional.normalize(functional.unfold(queries, 3, padding=1), dim=1)
    k = functional.normalize(functional.unfold(keys, 3, padding=1), dim=1)
    score, index = torch.bmm(k.transpose(1, 2), q).max(dim=1)
    return score.view(len(queries), 1, *queries.shape[2:]), index


def _transfer_all(source: Tensor, index: Tensor, size: tuple[int, int], step: int) -> Tensor:
    patches = functional.unfold(source, 3 * step, padding=step, stride=step)
    chosen = patches.gather(2, index[:, None].expand(-1, patches.shape[1], -1))
    fine = (step * size[0], step * size[1])
    return functional.fold(chosen, fine, 3 * step, padding=step, stride=step) / 9


def _pictures(lr: tuple[int, int], ref: tuple[int, int], *, channels: int = 3, seed: int = 1) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    fine = (4 * lr[0], 4 * lr[1])
    return [torch.rand((2, channels, *size), generator=random) * 2 - 1 for size in (lr, fine, ref, ref)]


@pytest.fixture(scope="module")
def state() -> State:
    weights = random_state(ttsr_shapes(), gain=1.2)
    for key in [k for k in weights if "conv2.weight" in k]:
        weights[key] *= 0.3
    weights["MainNet.merge_tail.conv_tail2.weight"] *= 0.04  # inside (-1, 1), where nothing hides behind the limits
    return weights


@pytest.mark.parametrize("ref", [(20, 28), (23, 26)], ids=["whole", "not a multiple of four"])
def test_public_weights_give_the_published_numbers(state: State, ref: tuple[int, int]) -> None:
    lr, lrsr, ref_picture, refsr = _pictures((7, 9), ref)
    network, literal = load_foreign("ttsr", state), _Literal(state)
    with torch.no_grad():
        sr, s, *textures = network(lr, lrsr, ref_picture, refsr)
        queries, keys = literal.extract((lrsr + 1) / 2)[2], literal.extract((refsr + 1) / 2)[2]
        s_all, index = _search_all(queries, keys)
        wanted = literal.extract((ref_picture + 1) / 2)
        t1, t2, t3 = (_transfer_all(t, index, (7, 9), step) for t, step in zip(wanted, (4, 2, 1), strict=True))
        answer = literal.main(lr, s_all, t3, t2, t1)
    assert torch.equal(search(queries, keys)[1], index)
    assert (s - s_all).abs().max() < 1e-5
    for ours, theirs in zip(textures, (t3, t2, t1), strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.std()
    assert answer.std() > 0.02
    assert (sr - answer.clamp(-1, 1)).abs().max() < 5e-5 * answer.std()


def test_the_extractor_loads_alone(state: State) -> None:
    alone = {key[4:]: value for key, value in state.items() if key.startswith("LTE.")}
    x = torch.rand(1, 3, 17, 22, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        levels, wanted = load_foreign("ttsr-lte", alone)(x), _Literal(alone).extract(x, "")
    assert [tuple(level.shape) for level in levels] == [(1, 64, 17, 22), (1, 128, 8, 11), (1, 256, 4, 5)]
    for ours, theirs in zip(levels, wanted, strict=True):
        assert (ours - theirs).abs().max() < 5e-5 * theirs.std()


def test_sizes_are_those_of_the_paper() -> None:
    network = Ttsr()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.MainNet.named_children()}
    assert sum(count.values()) == 6_174_275
    assert count["SFE"] == 1_220_416
    assert (count["conv11_head"], count["RB11"], count["conv11_tail"]) == (184_384, 1_181_696, 36_928)
    assert (count["ex12"], count["ex123"], count["merge_tail"]) == (188_672, 492_160, 137_539)
    assert (count["RB21"], count["RB33"], count["conv12"], count["conv33_head"]) == (590_848, 295_424, 147_712, 73_792)
    assert sum(p.numel() for p in network.LTE.parameters()) == 555_340
    assert sum(p.numel() for p in network.LTE.parameters() if not p.requires_grad) == 12


def _features(*size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).relu()


@pytest.mark.parametrize("largest", [1, 7, 50, 777, 2**23])
def test_the_search_gives_the_same_matches_whatever_it_holds_at_once(largest: int) -> None:
    queries, keys = _features(2, 8, 6, 11, seed=1), _features(2, 8, 9, 5, seed=2)
    score, index = search(queries, keys, largest=largest)
    wanted_score, wanted = _search_all(queries, keys)
    assert torch.equal(index, wanted)
    assert (score - wanted_score).abs().max() < 1e-5


@pytest.mark.parametrize("largest", [333, 5000, 2**23])
def test_of_equal_matches_the_first_counts(largest: int) -> None:
    tile = _features(1, 64, 4, 4, seed=3)
    queries, keys = tile.repeat(1, 1, 3, 3), tile.repeat(1, 1, 5, 6)
    index = search(queries, keys, largest=largest)[1].view(12, 12)
    inner = index[4:8, 4:8]  # far from the rim, so that every patch is there twenty times and more
    y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    first = torch.where(y == 0, 4, y) * 24 + torch.where(x == 0, 4, x)  # row and column 0 are rim, without neighbours
    assert torch.equal(inner, first)


def test_patches_without_texture_match_the_first_place() -> None:
    score, index = search(torch.zeros(1, 3, 4, 4), _features(1, 3, 5, 5, seed=1), largest=10)
    assert not score.any()
    assert not index.any()


class _LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor made."""

    seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [out] if isinstance(out, Tensor) else [o for o in out if isinstance(o, Tensor)]
        self.seen = max([self.seen, *(o.numel() for o in made)])
        return out


def test_the_search_never_holds_all_likenesses_or_all_patches() -> None:
    queries, keys = _features(1, 4, 40, 50, seed=1), _features(1, 4, 60, 30, seed=2)
    with _LargestTensor() as watch:
        index = search(queries, keys, largest=4096)[1]
    assert watch.seen <= 16_000  # the features themselves; all likenesses would be 3 600 000, all patches 72 000
    assert torch.equal(index, _search_all(queries, keys)[1])


def test_soft_attention_passes_gradients_to_both_sides() -> None:
    queries, keys = _features(2, 5, 4, 6, seed=1).requires_grad_(), _features(2, 5, 5, 4, seed=2).requires_grad_()
    weights = _features(2, 1, 4, 6, seed=4)
    ours = torch.autograd.grad((search(queries, keys, largest=13)[0] * weights).sum(), (queries, keys))
    theirs = torch.autograd.grad((_search_all(queries, keys)[0] * weights).sum(), (queries, keys))
    for a, b in zip(ours, theirs, strict=True):
        assert b.abs().max() > 0.01
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_overlaps_are_divided_by_nine_at_the_rim_too(step: int) -> None:
    index = torch.full((1, 30), 2 * 5 + 2)  # the middle of the reference
    texture = transfer(torch.ones(1, 2, 5 * step, 5 * step), index, (5, 6), 5, step)
    assert texture.shape == (1, 2, 5 * step, 6 * step)
    assert torch.allclose(texture[..., step:-step, step:-step], torch.ones(()))
    assert torch.allclose(texture[..., :step, step:-step], torch.tensor(6 / 9))
    assert torch.allclose(texture[..., -step:, -step:], torch.tensor(4 / 9))


def test_training_reaches_every_weight_that_is_not_frozen(state: State) -> None:
    network = load_foreign("ttsr", state).train()
    sr, *_, t1 = network(*_pictures((3, 4), (12, 16)))
    (sr.square().mean() + t1.square().mean()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == ["LTE.sub_mean.weight", "LTE.sub_mean.bias"]


def test_the_grey_network_gives_the_mean_of_the_published_one(state: State) -> None:
    grey = Ttsr(channels=1).eval()
    grey.load_state_dict(grey_weights(state))
    pictures = _pictures((5, 4), (16, 12), channels=1)
    with torch.no_grad():
        ours = grey(*pictures)
        theirs = load_foreign("ttsr", state)(*(p.expand(-1, 3, -1, -1) for p in pictures))
    assert theirs[0].abs().max() < 1
    assert (ours[0] - theirs[0].mean(dim=1, keepdim=True)).abs().max() < 5e-5 * theirs[0].std()
    assert (ours[1] - theirs[1]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({1: (1, 3, 12, 16)}, r"lrsr must be \(16, 16\) pixels for lr of \(4, 4\), but it is \(12, 16\)"),
        ({3: (1, 3, 8, 8)}, "one reference of at least 4 x 4 pixels in two versions"),
        ({2: (1, 3, 3, 9), 3: (1, 3, 3, 9)}, r"at least 4 x 4 pixels in two versions, but are \(3, 9\)"),
        ({0: (1, 1, 4, 4)}, r"takes four pictures \(1, 3, height, width\), but lr is \(1, 1, 4, 4\)"),
        ({2: (2, 3, 12, 12)}, r"but ref is \(2, 3, 12, 12\)"),
    ],
)
def test_pictures_that_do_not_belong_together_are_refused(change: dict[int, tuple[int, ...]], text: str) -> None:
    shapes = [(1, 3, 4, 4), (1, 3, 16, 16), (1, 3, 12, 12), (1, 3, 12, 12)]
    with pytest.raises(InputError, match=text):
        Ttsr()(*(torch.zeros(change.get(i, shape)) for i, shape in enumerate(shapes)))


def test_a_search_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="room for at least one likeness at once, but largest = 0"):
        search(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), largest=0)


def test_the_critic_has_the_published_numbers_and_sizes() -> None:
    critic = load_foreign("ttsr-discriminator", own := _critic_state(64), in_size=64)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.no_grad():
        y = x
        for i in range(10):
            y = functional.conv2d(y, own[f"conv{i + 1}.weight"], own[f"conv{i + 1}.bias"], 1 + i % 2, 1)
            y = torch.where(y > 0, y, 0.2 * y)
        y = y.reshape(2, -1) @ own["fc1.weight"].T + own["fc1.bias"]
        wanted = torch.where(y > 0, y, 0.2 * y) @ own["fc2.weight"].T + own["fc2.bias"]
        assert (critic(x) - wanted).abs().max() < 5e-5 * wanted.std()
    with torch.device("meta"):
        counts = [sum(p.numel() for p in TtsrDiscriminator(in_size=side).parameters()) for side in (160, 128)]
    assert counts == [17_821_473, 13_102_881]


def _critic_state(in_size: int) -> State:
    return random_state(critic_shapes(in_size), gain=1.4)


def test_the_critic_says_what_size_it_judges() -> None:
    with pytest.raises(ModelError, match="multiple of 32, but 100 came"):
        TtsrDiscriminator(in_size=100)
    with pytest.raises(InputError, match=r"judges 32 x 32 pixels, but \(32, 64\) came"):
        TtsrDiscriminator(in_size=32)(torch.zeros(1, 3, 32, 64))


def test_half_precision_does_not_change_what_is_found() -> None:
    queries, keys = _features(1, 8, 6, 6, seed=1), _features(1, 8, 7, 7, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        score, index = search(queries, keys)
    assert score.dtype == torch.float32
    assert torch.equal(index, _search_all(queries, keys)[1])
