"""Small models with known behaviour, and coarse maps to enhance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from finescan.models import Model, architecture, build, complete_arguments
from finescan.values import GreyStatistics, Grid, Image, ModelCard

LR_NM = 10.0


def make_card(name: str, sr_factor: tuple[float, float], factor: int, **facts: Any) -> ModelCard:
    """Card of an architecture of the table for maps of 10 nm pixels."""
    grey = GreyStatistics(100.0, 30.0, 0.0, 255.0)
    arguments = complete_arguments(name, facts.pop("arguments", None))
    known: dict[str, Any] = {"lr_grey": grey, "hr_grey": grey, **facts}
    return ModelCard(
        architecture=name,
        arguments=arguments,
        factor=factor,
        halo=architecture(name).halo(arguments),
        pixel_size_nm=tuple(LR_NM / r for r in sr_factor),
        sr_factor=sr_factor,
        **known,
    )


def make_model(
    name: str = "bicubic", sr: float | tuple[float, float] = 4.0, factor: int | None = None, **facts: Any
) -> Model:
    """A model; learned ones get random weights large enough to matter."""
    ratio = (sr, sr) if isinstance(sr, (int, float)) else sr
    card = make_card(name, ratio, factor or round(max(ratio)), **facts)
    network = build(name, card.factor, card.arguments)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 / max(1, p[0].numel()) ** 0.5))
    return Model(network, card)


def make_map(shape: tuple[int, int], *, seed: int = 0, dtype: str = "float32") -> Image:
    """A noisy coarse map with grey levels around 100."""
    grey = np.random.default_rng(seed).normal(100, 30, shape).clip(1, 254)
    return Image(grey.astype(dtype), Grid.of(shape, LR_NM), "map.tif")


@pytest.fixture
def model_of() -> Callable[..., Model]:
    """:func:`make_model`."""
    return make_model


@pytest.fixture
def map_of() -> Callable[..., Image]:
    """:func:`make_map`."""
    return make_map
