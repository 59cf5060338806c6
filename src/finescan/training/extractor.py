"""What a texture extractor starts with: the first layers of VGG19, or random weights that tell textures apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from finescan.models.texture import TextureExtractor
from finescan.training.job import State


def fresh_extractor(seed: int) -> State:
    """Random weights that keep the size of signals from layer to layer, without offsets.

    K. He et al. (ICCV 2015, doi:10.1109/ICCV.2015.123), equation 10. With torch's own start, signals shrink to a tenth
    over the five layers and offsets take their place.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extractor = TextureExtractor(channels=1)
        for layer in extractor.modules():
            if isinstance(layer, nn.Conv2d) and layer is not extractor.sub_mean:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
    return _without_shift(extractor.state_dict())


def extractor_of_vgg(state: Mapping[str, Tensor]) -> State:
    """The layers of VGG19 that the extractor begins with; names of ``Vgg19``."""
    weights: State = {}
    for name in _without_shift(TextureExtractor(channels=1).state_dict()):
        _, number, kind = name.split(".")
        weights[name] = state[f"slice1.{number}.{kind}"].detach().cpu().clone()
    return weights


def _without_shift(state: Mapping[str, Tensor]) -> State:
    """The normalisation is fixed, and depends on the number of channels."""
    return {k: v.detach().clone() for k, v in state.items() if not k.startswith("sub_mean")}
