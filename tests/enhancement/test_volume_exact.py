"""Exact halo-crop of volumes: however a volume is cut up, and whatever part of it is asked for, the result is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finescan.enhancement import VolumeEnhanceConfig, enhance_chain, enhance_volume
from finescan.errors import InputError, ModelError
from finescan.io import open_ome_zarr
from finescan.values import Grid, Image, ModelCard, Region

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "sr", "arguments"),
    [
        ("volume", 1.0, {}),
        ("volume", (1.0, 2.0, 1.7), {"position": 1}),
        ("deepnet", 1.0, {}),
        ("deepnet", (1.3, 1.5, 1.5), {"position": 1}),
        ("interpolated", 2.5, {}),
    ],
)
def test_blocks_give_what_the_undivided_volume_gives(
    volume_model: Make, coarse_volume: Make, undivided: Make, name: str, sr: float, arguments: dict[str, int]
) -> None:
    model, lr = volume_model(name, sr, arguments=arguments), coarse_volume((13, 22, 25))
    whole = undivided(model, lr)
    for block in ((8, 16, 12), (16, 20, 48)):
        result = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=block))
        assert result.image.grid == lr.grid.refine(model.card.sr_factor)
        assert np.abs(result.image.data - whole).max() < 2e-3  # of 255 grey levels


@pytest.mark.parametrize("name", ["volume", "deepnet"])
def test_the_halo_is_needed(volume_model: Make, coarse_volume: Make, undivided: Make, name: str) -> None:
    model, lr = volume_model(name), coarse_volume((12, 24, 24))
    model.card = ModelCard(**{**vars(model.card), "halo": 0, "halo_z": 0})
    result = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(8, 12, 12), guard=False))
    assert np.abs(result.image.data - undivided(volume_model(name), lr)).max() > 0.5


@pytest.mark.parametrize("config", [VolumeEnhanceConfig(block=(8, 16, 12)), VolumeEnhanceConfig()])
def test_a_region_alone_is_bit_for_bit_that_part_of_the_whole(
    volume_model: Make, coarse_volume: Make, config: VolumeEnhanceConfig, tmp_path: Path
) -> None:
    model, lr = volume_model(sr=1.5, lr_range=(80.0, 105.0)), coarse_volume((16, 20, 24))
    grid = lr.grid.refine(1.5)
    region = Region(grid, (3, 7, 11), (17, 23, 30))
    whole = enhance_volume(model, lr, config=config)
    part = enhance_volume(model, lr, config=config, region=region)
    stored = enhance_volume(model, lr, config=config, region=region, folder=tmp_path / "out")
    assert part.image.grid == region.own_grid == stored.image.grid
    assert np.array_equal(part.image.data, whole.image.data[region.slices])
    assert np.array_equal(stored.image.array(), part.image.data)
    assert whole.trust.shares()["untrained"] > 0.1
    assert part.trust.grid == lr.grid.crop((2, 5, 7), (12, 16, 20))
    assert part.trust.flags.shape == part.trust.grid.shape


def test_a_store_holds_what_memory_holds(volume_model: Make, coarse_volume: Make, tmp_path: Path) -> None:
    model, lr = volume_model(), coarse_volume((20, 24, 40))
    config = VolumeEnhanceConfig(block=(16, 16, 32))
    stored = enhance_volume(model, lr, folder=tmp_path, config=config)
    assert np.array_equal(stored.image.array(), enhance_volume(model, lr, config=config).image.data)
    assert stored.image.source.endswith("enhanced.ome.zarr")
    assert open_ome_zarr(stored.image.source).shards == (16, 16, 32)
    assert not (tmp_path / "enhanced.partial.ome.zarr").exists()


def test_less_context_than_the_whole_is_a_choice(volume_model: Make, coarse_volume: Make) -> None:
    model, lr = volume_model(), coarse_volume((16, 32, 32))
    exact = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(16, 16, 16))).image.data
    enough = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(16, 16, 16), context=model.halo)).image.data
    none = enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(16, 16, 16), context=0)).image.data
    assert np.array_equal(exact, enough)
    assert np.abs(none - exact)[:, :, 15:17].max() > 1.0
    with pytest.raises(InputError, match="context must be at least 0 voxels, but -1 came"):
        VolumeEnhanceConfig(context=-1)


def test_voxels_may_be_longer_along_z(volume_model: Make, coarse_volume: Make) -> None:
    model = volume_model(sr=(2.0, 1.0, 1.0))
    grey = coarse_volume((6, 16, 16)).data
    lr = Image(grey, Grid.of(grey.shape, (1000.0, 1000.0, 1000.0)))
    result = enhance_volume(model, lr)
    assert result.image.grid.shape == (12, 16, 16)
    assert result.image.grid.pixel_size_nm == (500.0, 1000.0, 1000.0)


def test_a_chain_hands_each_result_on_through_the_store(
    volume_model: Make, coarse_volume: Make, tmp_path: Path
) -> None:
    models = [volume_model(sr=2.0, lr_nm=1000.0), volume_model("deepnet", sr=1.5, lr_nm=500.0)]
    lr = coarse_volume((8, 10, 12))
    first, second = enhance_chain(models, lr, tmp_path)
    assert first.image.grid.shape == (16, 20, 24) and second.image.grid.shape == (24, 30, 36)
    assert second.image.grid.pixel_size_nm == pytest.approx((1000 / 3,) * 3)
    by_hand = enhance_volume(models[1], enhance_volume(models[0], lr).image)
    assert np.array_equal(second.image.array(), by_hand.image.data)
    assert [r.computed for r in enhance_chain(models, lr, tmp_path)] == [0, 0]


def test_a_chain_whose_voxel_sizes_do_not_join_is_refused(
    volume_model: Make, coarse_volume: Make, tmp_path: Path
) -> None:
    models = [volume_model(sr=2.0), volume_model(sr=2.0)]
    with pytest.raises(ModelError, match=r"Model 1 of the chain makes voxels of 500 x 500 x 500 nm, but model 2 takes"):
        enhance_chain(models, coarse_volume((8, 8, 8)), tmp_path)
    with pytest.raises(InputError, match="at least one model"):
        enhance_chain([], coarse_volume((8, 8, 8)), tmp_path)


def test_what_does_not_fit_together_is_said(volume_model: Make, coarse_volume: Make) -> None:
    model, lr = volume_model(), coarse_volume((8, 8, 8))
    with pytest.raises(ModelError, match=r"takes coarse volumes of 1000 x 1000 x 1000 nm voxels"):
        enhance_volume(model, Image(lr.data, Grid.of((8, 8, 8), 700.0)))
    with pytest.raises(InputError, match="The region to enhance must lie on the grid of the result"):
        enhance_volume(model, lr, region=Region(Grid.of((4, 4, 4), 500.0), (0, 0, 0), (2, 2, 2)))
    with pytest.raises(InputError, match=r"block of whole multiples of \(4, 4, 4\) voxels, but \(8, 6, 8\) came"):
        enhance_volume(model, lr, config=VolumeEnhanceConfig(block=(8, 6, 8)))
    with pytest.raises(InputError, match="axes ZYX is needed"):
        enhance_volume(model, Image(np.zeros((4, 4)), Grid.of((4, 4), 1000.0)))
    with pytest.raises(InputError, match="'exact' or 'published', but 'smooth' came"):
        VolumeEnhanceConfig(blending="smooth")


def test_a_model_for_pictures_is_refused(coarse_volume: Make, model_of: Make) -> None:
    with pytest.raises(ModelError, match="bicubic is for pictures"):
        enhance_volume(model_of(), coarse_volume((4, 4, 4)))
