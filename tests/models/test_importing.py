"""Public weights as a model: the numbers of the published networks on 8-bit grey levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_states import random_state, ttsr_shapes

from finescan.errors import ModelError
from finescan.models import load_model, save_model
from finescan.models.importing import import_foreign
from finescan.models.srresnet import SrResNet
from finescan.models.store import load_foreign

RNG = np.random.default_rng(0)
SIZE = (5.0, 5.0)


def _scan(h: int, w: int) -> np.ndarray:
    return RNG.integers(0, 256, (h, w)).astype(np.float32)


def _generator(sr_factor: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return SrResNet(sr_factor=sr_factor, norm_eps=0.8).state_dict()


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_dle_em_generator_on_grey_levels(factor: int, tmp_path) -> None:
    state, scan = _generator(factor), _scan(20, 23)
    model = load_model(save_model(import_foreign("dle-em-generator", state, pixel_size_nm=SIZE), tmp_path / "m"))
    with torch.inference_mode():
        expected = load_foreign("dle-em-generator", state)(torch.from_numpy(scan / 127.5 - 1)[None, None])
    np.testing.assert_allclose(model.predict(scan), (expected[0, 0].numpy() + 1) * 127.5, atol=2e-3)
    assert model.factor == factor and model.card.hr_dtype == "uint8" and model.card.pixel_size_nm == SIZE


def test_ttsr_on_grey_levels_takes_texture_from_the_given_references() -> None:
    """One window, compared with the four-picture network on three equal channels."""
    state = random_state(ttsr_shapes(), seed=3)
    for part in ("weight", "bias"):  # random weights would leave the range that the published form limits to
        state[f"MainNet.merge_tail.conv_tail2.{part}"] *= 2e-4
    crops = np.stack([_scan(128, 128) for _ in range(2)])
    model = import_foreign("ttsr", state, pixel_size_nm=SIZE, references=crops)
    net, scan = model.members[0], _scan(32, 32)
    x = torch.from_numpy(scan / 127.5 - 1)[None, None]
    with torch.inference_mode():
        chosen = int(net.choose(x))
        ref = net.reference([chosen])  # kept in half precision
        pictures = (x, net.enlarge(x), ref, net.to_reference_domain(ref))
        colour = load_foreign("ttsr", state)(*(p.expand(-1, 3, -1, -1) for p in pictures))[0]
        expected = colour.mean(dim=1)[0].numpy()
        got = net(x)[0, 0].numpy()
    assert np.std(expected) > 0.005 and colour.abs().max() < 1
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.std(expected))
    np.testing.assert_allclose(ref[0, 0].numpy(), crops[chosen] / 127.5 - 1, atol=3e-4)


def test_without_references_the_model_says_what_it_is_good_for() -> None:
    model = import_foreign("ttsr-grey", random_state(ttsr_shapes(), seed=3), pixel_size_nm=SIZE)
    assert "serves as the start of a training" in model.card.training["notes"][0]
    with pytest.raises(ModelError, match="holds no references"):
        model.predict(_scan(32, 32))


def test_what_cannot_be_imported_is_said() -> None:
    with pytest.raises(ModelError, match=r"imported are ttsr, .*, swinir-light, but 'vgg19' came"):
        import_foreign("vgg19", {}, pixel_size_nm=SIZE)
    with pytest.raises(ModelError, match="takes no texture from references, but 2 came"):
        import_foreign("dle-em-generator", _generator(2), pixel_size_nm=SIZE, references=np.zeros((2, 128, 128), "f4"))
    with pytest.raises(ModelError, match="Missing: conv1"):
        import_foreign("dle-em-generator", {}, pixel_size_nm=SIZE)
