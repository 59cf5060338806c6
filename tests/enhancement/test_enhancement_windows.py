"""Networks that look at one small picture at a time: windows lie on one lattice, however the map is cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finescan.enhancement import EnhanceConfig, enhance
from finescan.models import Model

SMALL = {"features": 4, "blocks": 4, "references": 3, "side": 128}


@pytest.fixture
def texture_model(model_of) -> Model:
    model = model_of("ttsr-grey", 4.0, arguments=SMALL)
    net = model.members[0]
    net.set_references(torch.randn(net.bank.shape, generator=torch.Generator().manual_seed(0)))
    return model


@pytest.mark.parametrize("blending", ["exact", "centre"])
def test_blocks_of_any_size_give_the_same_map(blending, texture_model, map_of) -> None:
    lr = map_of((42, 50))
    whole = enhance(texture_model, lr, config=EnhanceConfig(tile=1000, blending=blending)).image.data
    for tile in (1,):  # made as large as the windows are apart
        tiled = enhance(texture_model, lr, config=EnhanceConfig(tile=tile, blending=blending)).image.data
        np.testing.assert_allclose(tiled, whole, atol=2e-3)
    assert np.std(whole) > 1


def test_a_texture_network_runs_the_same_with_exact_and_smooth_but_not_with_centres(texture_model, map_of) -> None:
    lr = map_of((36, 30))
    exact, smooth, centre = (
        enhance(texture_model, lr, config=EnhanceConfig(blending=b)).image.data for b in ("exact", "smooth", "centre")
    )
    np.testing.assert_array_equal(exact, smooth)
    assert np.abs(exact - centre).max() > 1


def test_the_published_tiling_of_a_network_with_a_small_halo_changes_nothing(model_of, map_of) -> None:
    """Lanczos reads 3 pixels around, and the margin of the windows is 6."""
    model, lr = model_of("lanczos", 4.0), map_of((75, 46))
    exact = enhance(model, lr).image.data
    np.testing.assert_allclose(enhance(model, lr, config=EnhanceConfig(blending="centre")).image.data, exact, atol=1e-3)


def test_the_published_tiling_of_a_network_with_a_larger_halo_leaves_traces_at_the_windows(model_of, map_of) -> None:
    """Its margin of 6 pixels is less than the 8 that the network reads; away from the seams nothing changes."""
    model, lr = model_of("ridge", 4.0, arguments={"radius": 8}), map_of((75, 46))
    exact = enhance(model, lr, config=EnhanceConfig(guard=False)).image.data
    centre = enhance(model, lr, config=EnhanceConfig(blending="centre", guard=False)).image.data
    differs = np.abs(exact - centre) > 1e-2
    within = [(np.arange(n) // 4) % 20 for n in differs.shape]  # coarse pixel within its window's middle
    near = [(w < 2) | (w >= 18) for w in within]
    for axis, n in enumerate(differs.shape):  # at the far border the last window reads beyond what is mirrored
        near[axis][n - 4 * model.halo :] = True
    assert differs[np.logical_or.outer(*near)].any() and not differs[~np.logical_or.outer(*near)].any()


def test_windows_come_fewer_at_once_when_memory_ends(texture_model, map_of, monkeypatch) -> None:
    asked = []
    answers = Model._answers

    def little_memory(self, pictures, wanted, bfloat16):
        asked.append(len(pictures))
        if len(pictures) > 2:
            raise MemoryError
        return answers(self, pictures, wanted, bfloat16)

    lr = map_of((36, 36))
    plenty = enhance(texture_model, lr).image.data
    monkeypatch.setattr(Model, "_answers", little_memory)
    result = enhance(texture_model, lr)
    np.testing.assert_allclose(result.image.data, plenty, atol=2e-3)
    assert max(asked) > 2 and asked[-1] <= 2 and "Memory ran out" in result.notes[0]
