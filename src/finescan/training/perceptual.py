"""Likeness of features instead of pixels: the perceptual loss and the texture loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from finescan.models.foreign import load_foreign, read_weights
from finescan.models.vgg import Vgg19
from finescan.training.adversarial import frozen

Features = Sequence[Tensor]
Extract = Callable[[Tensor], Features]


def texture_loss(features: Features, textures: Features) -> Tensor:
    """Mean over the levels of the mean squared difference between a picture's features and transferred texture.

    F. Yang et al. (CVPR 2020, arXiv:2006.04139), with the means of their public program. Gradients go to
    both, so the texture extractor learns to find what can be used.
    """
    losses = [functional.mse_loss(f.float(), t.float()) for f, t in zip(features, textures, strict=True)]
    return torch.stack(losses).mean()


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two pictures' features (J. Johnson et al., ECCV 2016, arXiv:1603.08155)."""
    return functional.mse_loss(features.float(), target.detach().float())


def frozen_extractor(network: nn.Module, extract: Extract) -> Extract:
    """``extract`` with the network's weights as they are at every call, but no gradient to them.

    The same as a copy of the extractor that is brought up to date before each use.
    """

    def features(picture: Tensor) -> Features:
        with frozen(network):
            return extract(picture)

    return features


def read_vgg(path: str | Path, sha256: str | None, device: torch.device) -> Vgg19:
    """VGG19 up to relu5_1 for grey pictures, frozen, from a file or an address (with its SHA-256).

    Raises
    ------
    ModelError : no such file, another file, or not the weights of VGG19.
    """
    state = load_foreign("vgg19", read_weights(path, sha256=sha256)).state_dict()
    vgg = Vgg19(channels=1)
    vgg.load_state_dict({k: v for k, v in state.items() if not k.startswith("sub_mean")}, strict=False)
    return vgg.to(device).eval().requires_grad_(False)
