"""Overlapping tiles and averaged stacks: weights that add up to one everywhere, and one lattice for every part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
from finescan.errors import InputError
from finescan.models import Model
from finescan.values import Grid, Image, Region

Make = Callable[..., Any]


class OwnMean(nn.Module):
    """Every tile says something else: its own mean in the place of every voxel."""

    def forward(self, x: torch.Tensor, position: torch.Tensor | None = None) -> torch.Tensor:
        """(n, 5, h, w) to the same shape."""
        return x.float().mean(dim=(1, 2, 3), keepdim=True).expand_as(x)


class OwnNumber(nn.Module):
    """Slice k of every stack becomes k, in normalised grey levels."""

    def forward(self, x: torch.Tensor, position: torch.Tensor | None = None) -> torch.Tensor:
        """(n, 5, h, w) to the same shape."""
        return torch.arange(5.0)[None, :, None, None].expand_as(x)


def published(**more: Any) -> VolumeEnhanceConfig:
    """Small tiles: 24 voxels of which 4 are shared with each neighbour."""
    return VolumeEnhanceConfig(**{"blending": "published", "tile": 24, "overlap": 4, **more})


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_constant_stays_that_constant_up_to_the_border(volume_model: Make, stride: int) -> None:
    model = Model([OwnMean()], volume_model("deepnet").card)
    lr = Image(np.full((37, 40, 23), 57, np.uint8), Grid.of((37, 40, 23), 1000.0))
    result = enhance_volume(model, lr, config=published(stride=stride, guard=False)).image.data
    assert result == pytest.approx(57.0, abs=1e-3)


def test_tiles_pass_into_one_another_along_a_straight_line(volume_model: Make) -> None:
    # each tile gives its own mean: between two of them the blend must be linear, without a step
    model = Model([OwnMean()], volume_model("deepnet").card)
    grey = np.broadcast_to(np.arange(64, dtype=np.float32), (6, 16, 64)).copy()
    result = enhance_volume(model, Image(grey, Grid.of(grey.shape, 1000.0)), config=published(guard=False)).image.data
    row = result[3, 8]
    assert np.abs(np.diff(row)).max() == pytest.approx(16 / 8, rel=1e-3)  # means 16 apart, 8 voxels shared
    assert row[4:12] == pytest.approx(row[4], abs=1e-3) and row[20:28] == pytest.approx(row[20], abs=1e-3)


def test_what_all_stacks_say_of_a_slice_is_averaged(volume_model: Make) -> None:
    model = Model([OwnNumber()], volume_model("deepnet").card)
    lr = Image(np.zeros((9, 8, 8), np.float32), Grid.of((9, 8, 8), 1000.0))
    for stride, expected in [
        (1, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (2, [0, 1, 1, 2, 2, 2, 3, 3, 4]),  # stacks begin at slices 0, 2, 4
        (3, [0, 1, 2, 1.5, 5 / 3, 1.5, 2.5, 3.5, 4]),  # 0, 3, and the last at 4
    ]:
        result = enhance_volume(model, lr, config=published(stride=stride, guard=False)).image.data
        numbers = (result[:, 4, 4] - model.card.hr_grey.mean) / model.card.hr_grey.std
        assert numbers == pytest.approx(expected, abs=1e-5)


def test_a_trained_like_network_gives_nearly_the_exact_answer(volume_model: Make, coarse_volume: Make) -> None:
    model, lr = volume_model("deepnet"), coarse_volume((12, 50, 44))
    exact = enhance_volume(model, lr).image.data
    blended = enhance_volume(model, lr, config=published(tile=48, overlap=8)).image.data
    inner = (slice(4, -4),) + (slice(8, -8),) * 2  # at the faces of the volume the stacks are other ones
    assert np.abs(exact - blended)[inner].mean() < 0.01 * exact.std()
    assert not np.array_equal(exact, blended)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_region_alone_is_bit_for_bit_that_part_of_the_whole(
    volume_model: Make, coarse_volume: Make, tmp_path: Path, stride: int
) -> None:
    model, lr = volume_model("deepnet", (1.5, 1.5, 1.5), arguments={"position": 1}), coarse_volume((30, 30, 34))
    region = Region(lr.grid.refine(1.5), (29, 5, 17), (38, 21, 44))
    whole = enhance_volume(model, lr, config=published(stride=stride))
    part = enhance_volume(model, lr, config=published(stride=stride), region=region, folder=tmp_path)
    assert np.array_equal(part.image.array(), whole.image.data[region.slices])


def test_a_volume_thinner_than_a_stack_is_mirrored(volume_model: Make, coarse_volume: Make) -> None:
    result = enhance_volume(volume_model("deepnet"), coarse_volume((3, 20, 20)), config=published(stride=2))
    assert result.image.data.shape == (3, 20, 20) and np.isfinite(result.image.data).all()


def test_published_blending_is_for_networks_of_stacks(volume_model: Make, coarse_volume: Make) -> None:
    with pytest.raises(InputError, match="for networks that take stacks of slices, but volume takes whole blocks"):
        enhance_volume(volume_model(), coarse_volume((8, 8, 8)), config=published())
    with pytest.raises(InputError, match="stacks of 5 slices the stride is at most that, but 6 came"):
        enhance_volume(volume_model("deepnet"), coarse_volume((8, 8, 8)), config=published(stride=6))
    with pytest.raises(InputError, match="a tile wider than two overlaps"):
        VolumeEnhanceConfig(tile=64, overlap=32)
