"""Public weights load by their public names and by nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from foreign_states import (
    VGG_CONVS,
    Shapes,
    critic_shapes,
    generator_shapes,
    lte_shapes,
    patch_critic_shapes,
    random_state,
    swinir_shapes,
    ttsr_shapes,
    vgg_shapes,
)
from torch import Tensor
from torch.nn import functional

from finescan.errors import ModelError
from finescan.models.foreign import FOREIGN
from finescan.models.store import load_foreign

CASES: dict[str, tuple[str, Callable[[], Shapes], dict[str, int]]] = {
    "ttsr": ("ttsr", ttsr_shapes, {}),
    "ttsr-lte": ("ttsr-lte", lte_shapes, {}),
    "ttsr-discriminator": ("ttsr-discriminator", lambda: critic_shapes(32), {"in_size": 32}),
    "vgg19, names of TTSR": ("vgg19", vgg_shapes, {}),
    "vgg19, names of torchvision": ("vgg19", lambda: vgg_shapes("features"), {}),
    "swinir-light x2 grey": ("swinir-light", swinir_shapes, {"sr_factor": 2, "channels": 1}),
    "swinir-light x4 colour": ("swinir-light", lambda: swinir_shapes(4, 3), {"sr_factor": 4, "channels": 3}),
    "dle-em-generator x2": ("dle-em-generator", lambda: generator_shapes(2), {"sr_factor": 2}),
    "dle-em-generator x4": ("dle-em-generator", generator_shapes, {"sr_factor": 4}),
    "dle-em-generator x8": ("dle-em-generator", lambda: generator_shapes(8), {"sr_factor": 8}),
    "dle-em-discriminator": ("dle-em-discriminator", patch_critic_shapes, {}),
}
COMPUTED = ("relative_position_index", "attn_mask")  # follow from the size of the windows, never trained


def _empty(shapes: Shapes) -> dict[str, Tensor]:
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def test_every_row_has_a_case() -> None:
    assert {name for name, *_ in CASES.values()} == set(FOREIGN)


@pytest.mark.parametrize("case", CASES)
def test_every_public_name_is_loaded(case: str) -> None:
    name, shapes, options = CASES[case]
    state = random_state(shapes())
    network = load_foreign(name, state, **options)
    own = network.state_dict()
    for key, value in state.items():
        if not key.endswith(COMPUTED):
            assert torch.equal(own[key.replace("features.", "slice1.")], value), key
    assert not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {p.device.type for p in network.parameters()} == {"cpu"}


@pytest.mark.parametrize("case", CASES)
def test_every_missing_name_is_listed(case: str) -> None:
    name, shapes, options = CASES[case]
    kept, *gone = shapes()
    with pytest.raises(ModelError, match=f"not the weights of {name}") as caught:
        load_foreign(name, _empty({kept: shapes()[kept]}), **options)
    listed = str(caught.value).split("Missing: ")[1].split(". Pass the file")[0]
    assert set(listed.split(", ")) == set(gone)


@pytest.mark.parametrize("case", CASES)
def test_every_misshapen_entry_is_listed_with_both_shapes(case: str) -> None:
    name, shapes, options = CASES[case]
    with pytest.raises(ModelError) as caught:
        load_foreign(name, _empty({key: (*shape, 2) for key, shape in shapes().items()}), **options)
    for key, shape in shapes().items():
        assert f"{key} (expected {list(shape)}, but {[*shape, 2]} came)" in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_names_too_many_are_listed(case: str) -> None:
    name, shapes, options = CASES[case]
    with pytest.raises(ModelError, match=r"Extra: surprise\.weight, optimizer\. Pass the file as it was published"):
        load_foreign(name, {**_empty(shapes()), "surprise.weight": torch.zeros(1), "optimizer": {}}, **options)


def test_all_that_is_wrong_is_said_at_once() -> None:
    state = _empty(lte_shapes())
    del state["slice1.0.bias"]
    state |= {"slice2.2.bias": torch.zeros(65), "sub_mean.bias": [0.0, 0.0, 0.0], "slice9.0.bias": torch.zeros(1)}
    with pytest.raises(ModelError) as caught:
        load_foreign("ttsr-lte", state)
    assert str(caught.value) == (
        "These are not the weights of ttsr-lte. Missing: slice1.0.bias. Extra: slice9.0.bias. Misshapen: "
        "slice2.2.bias (expected [64], but [65] came), sub_mean.bias (expected a tensor [3], but a list came). "
        "Pass the file as it was published, with the options the network was trained with."
    )


def test_weights_of_another_ratio_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"swinir-light, sr_factor 4, .*upsample\.0\.weight \(expected \[16, 60, 3, 3\]"
    ):
        load_foreign("swinir-light", _empty(swinir_shapes(2, 1)), sr_factor=4, channels=1)


def test_ratio_and_channels_are_read_from_the_weights_where_left_out() -> None:
    assert load_foreign("swinir-light", random_state(swinir_shapes(4, 3)))(torch.zeros(1, 3, 8, 8)).shape[2:] == (
        32,
        32,
    )
    assert load_foreign("dle-em-generator", random_state(generator_shapes(8)))(torch.zeros(1, 1, 2, 2)).shape[2:] == (
        16,
        16,
    )


@pytest.mark.parametrize("wrap", [lambda s: {"params": s}, lambda s: {"params": _empty({"x": ()}), "params_ema": s}])
def test_wrapped_weights_are_unwrapped_and_averaged_ones_preferred(wrap: Callable) -> None:
    state = random_state(swinir_shapes())
    network = load_foreign("swinir-light", wrap(state), sr_factor=2, channels=1)
    assert torch.equal(network.state_dict()["norm.weight"], state["norm.weight"])


def test_names_of_parallel_training_and_of_the_live_network_are_understood() -> None:
    state = random_state(ttsr_shapes())
    live = state | {f"LTE_copy{key[3:]}": value + 1 for key, value in state.items() if key.startswith("LTE.")}
    network = load_foreign("ttsr", {f"module.{key}": value for key, value in live.items()})
    assert torch.equal(network.state_dict()["LTE.slice1.0.bias"], state["LTE.slice1.0.bias"])


def test_the_classifier_of_vgg19_may_be_there() -> None:
    state = random_state(vgg_shapes("features"))
    rest = {f"features.{i}.{k}": s for i in (30, 32, 34) for k, s in (("weight", (512, 512, 3, 3)), ("bias", (512,)))}
    rest |= {"classifier.0.weight": (4096, 25088), "classifier.3.weight": (4096, 4096)}
    rest |= {"classifier.6.weight": (1000, 4096), "classifier.0.bias": (4096,), "classifier.3.bias": (4096,)}
    whole = state | _empty(rest | {"classifier.6.bias": (1000,)})
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(load_foreign("vgg19", whole)(x), load_foreign("vgg19", state)(x))
    with pytest.raises(ModelError, match=r"classifier\.6\.bias \(expected \[1000\], but \[10\] came\)"):
        load_foreign("vgg19", {**whole, "classifier.6.bias": torch.zeros(10)})


def test_vgg19_gives_relu5_1_in_both_forms_of_names() -> None:
    state = random_state(vgg_shapes("features"), gain=1.4)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = torch.rand(2, 3, 40, 35, generator=torch.Generator().manual_seed(1))
    wanted = (x - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    for place in VGG_CONVS:
        weight, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
        wanted = functional.conv2d(wanted, weight, bias, padding=1).clamp(min=0)
        if place in (2, 7, 16, 25):
            high, wide = wanted.shape[2] // 2, wanted.shape[3] // 2
            wanted = wanted[..., : 2 * high, : 2 * wide].unflatten(3, (wide, 2)).unflatten(2, (high, 2)).amax((3, 5))
    shift = {"sub_mean.weight": torch.diag(1 / deviation)[:, :, None, None], "sub_mean.bias": -mean / deviation}
    theirs = {key.replace("features", "slice1"): value for key, value in state.items()} | shift
    with torch.no_grad():
        for form in (state, theirs):
            ours = load_foreign("vgg19", form)(x)
            assert ours.shape == (2, 512, 2, 2)
            assert (ours - wanted).abs().max() < 5e-5 * wanted.std()


def test_tensors_are_copied_and_made_float32() -> None:
    state = {key: value.half() for key, value in random_state(lte_shapes()).items()}
    network = load_foreign("ttsr-lte", state)
    before = network.state_dict()["slice1.0.bias"].clone()
    state["slice1.0.bias"].add_(1)
    assert before.dtype == torch.float32
    assert torch.equal(network.state_dict()["slice1.0.bias"], before)


def test_loading_changes_nobodys_random_numbers() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    load_foreign("ttsr-lte", _empty(lte_shapes()))
    assert torch.equal(torch.rand(4), wanted)


def test_weights_that_are_not_finite_are_refused() -> None:
    state = random_state(lte_shapes())
    state["slice2.5.bias"][3] = torch.nan
    with pytest.raises(ModelError, match=r"not finite: slice2\.5\.bias\."):
        load_foreign("ttsr-lte", state)


@pytest.mark.parametrize(
    ("name", "state", "options", "text"),
    [
        ("swinir", {}, {}, "one of ttsr, ttsr-lte, .*, but 'swinir' came"),
        ("ttsr", {}, {"sr_factor": 2}, "ttsr takes no options, but sr_factor came"),
        ("swinir-light", {}, {"sr_factor": 3}, "sr_factor must be one of 2, 4, but 3 came"),
        ("swinir-light", {}, {"channels": True}, "channels must be one of 1, 3, but True came"),
        ("ttsr-discriminator", {}, {"in_size": 100}, "in_size must be one of 160, 32, 64, .*, but 100 came"),
        ("ttsr", torch.zeros(3), {}, "mapping of names to tensors, but a Tensor came"),
        ("ttsr-lte", {}, {}, "Missing: slice1.0.weight"),
    ],
)
def test_what_cannot_be_loaded_is_said(name: str, state: object, options: dict, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        load_foreign(name, state, **options)
