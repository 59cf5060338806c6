"""Small models with known behaviour, and coarse maps and volumes to enhance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from finescan.models import Model, architecture, build, complete_arguments
from finescan.patches import volume_input
from finescan.values import Circle, GreyStatistics, Grid, Image, ModelCard

LR_NM = 10.0
VOLUME_NM = 1000.0


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


def volume_card(name: str, sr_factor: float | tuple[float, float, float], **facts: Any) -> ModelCard:
    """Card of an architecture of the table for volumes of 1000 nm voxels."""
    ratio = (float(sr_factor),) * 3 if isinstance(sr_factor, (int, float)) else sr_factor
    grey = GreyStatistics(100.0, 30.0, 0.0, 255.0)
    row, arguments = architecture(name), complete_arguments(name, facts.pop("arguments", None))
    lr_nm = facts.pop("lr_nm", VOLUME_NM)
    known: dict[str, Any] = {"lr_grey": grey, "hr_grey": grey, **facts}
    return ModelCard(
        architecture=name,
        arguments=arguments,
        factor=1,
        halo=row.halo(arguments),
        halo_z=row.halo_z(arguments),
        axes="ZYX",
        pixel_size_nm=tuple(lr_nm / r for r in ratio),
        sr_factor=ratio,
        **known,
    )


SMALL: dict[str, dict[str, int]] = {
    "volume": {"width": 4, "levels": 1, "blocks": 1},
    "deepnet": {"width": 4, "levels": 1},
    "interpolated": {},
}


def make_volume_model(name: str = "volume", sr: float | tuple[float, float, float] = 1.0, **facts: Any) -> Model:
    """A small model; learned ones get random weights large enough to matter."""
    facts["arguments"] = {**SMALL[name], **facts.get("arguments", {})}
    card = volume_card(name, sr, **facts)
    network = build(name, 1, card.arguments)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.7 / max(1, p[0].numel()) ** 0.5))
    return Model(network, card)


def make_volume(shape: tuple[int, int, int], *, seed: int = 0, dtype: str = "float32") -> Image:
    """A noisy coarse volume with grey levels around 100."""
    grey = np.random.default_rng(seed).normal(100, 30, shape).clip(1, 254)
    return Image(grey.astype(dtype), Grid.of(shape, VOLUME_NM), "volume.npy")


def predict_whole(model: Model, lr: Image) -> NDArray[np.float32]:
    """The network on the whole volume with its halo in one call."""
    out = lr.grid.refine(model.card.sr_factor)
    whole = [-(-n // m) * m for n, m in zip(out.shape, model.multiple, strict=True)]
    low = [min(-(-h // m) * m, -(-16 // m) * m) for h, m in zip((model.halo_z, *(model.halo,) * 2), model.multiple)]  # noqa: B905
    high = [n + a for n, a in zip(whole, low, strict=True)]
    block = volume_input(lr, out, [-n for n in low], high)
    position = None
    if model.wants_position:
        plane = out.crop((0, -low[1], -low[2]), (1, high[1], high[2]))
        position = Circle.inscribed(lr.grid).distance(plane)
    whole = model.predict(block, position=position)
    return whole[tuple(slice(a, a + n) for a, n in zip(low, out.shape, strict=True))]


@pytest.fixture
def model_of() -> Callable[..., Model]:
    """:func:`make_model`."""
    return make_model


@pytest.fixture
def map_of() -> Callable[..., Image]:
    """:func:`make_map`."""
    return make_map


@pytest.fixture
def volume_model() -> Callable[..., Model]:
    """:func:`make_volume_model`."""
    return make_volume_model


@pytest.fixture
def coarse_volume() -> Callable[..., Image]:
    """:func:`make_volume`."""
    return make_volume


@pytest.fixture
def undivided() -> Callable[..., NDArray[np.float32]]:
    """:func:`predict_whole`."""
    return predict_whole
