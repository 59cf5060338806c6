"""Models with fresh weights, for the contract tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from finescan.models import MODELS, Model, build, complete_arguments
from finescan.values import GreyStatistics, ModelCard

#: arguments that make a row small enough to be tested in seconds
SMALL: dict[str, dict[str, int]] = {
    "srresnet": {"features": 16, "blocks": 3},
    "swinir-light": {"layers": 1, "blocks": 2},
    "ttsr": {"features": 8, "blocks": 4, "references": 3, "side": 128},
    "ttsr-grey": {"features": 8, "blocks": 4, "references": 3, "side": 128},
}


@pytest.fixture
def fresh() -> Callable[..., Model]:
    """``fresh(name, factor, members=1, seed=0)``: weights as large as after training, an odd grey map."""

    def make(name: str, factor: int, *, members: int = 1, seed: int = 0, **arguments: object) -> Model:
        torch.manual_seed(seed)
        complete = complete_arguments(name, {**SMALL.get(name, {}), **arguments})
        networks = [build(name, factor, complete) for _ in range(members)]
        for network in networks:
            for p in network.parameters():
                if p.ndim > 1:
                    torch.nn.init.normal_(p, std=1.4 / p[0].numel() ** 0.5)
            if name == "ridge":  # as fitted: the taps of a phase sum to zero
                network.weight.data -= network.weight.data.mean(dim=(1, 2, 3), keepdim=True)
            if MODELS[name].references:
                network.eval().set_references(torch.randn(network.bank.shape))
        lr_grey, hr_grey = GreyStatistics(90.0, 12.0, 40.0, 150.0), GreyStatistics(60.0, 20.0, 0.0, 120.0)
        size = (10.0, 10.0)
        ratio = (float(factor),) * 2
        halo = MODELS[name].halo(complete)
        card = ModelCard(name, complete, factor, halo, size, ratio, lr_grey, hr_grey, gain=-1.5, offset=200.0)
        return Model(networks, card)

    return make
