"""OME-Zarr stores of volumes: blocks, shards, pyramid, other writers' stores; facts and pairs of volumes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import volume_samples as vs
import zarr

from finescan import io
from finescan.errors import InputError, MissingPixelSize, OutputError
from finescan.io import create_ome_zarr, describe, finish_ome_zarr, open_ome_zarr, problems, read_volume, require_pair
from finescan.io.ome_zarr import pyramid_grids
from finescan.values import Acquisition, Circle, Grid, Image


# ---------------------------------------------------------------------------------------------- stores
def test_a_store_is_written_in_blocks_by_whoever_comes_and_read_when_finished(tmp_path):
    image, path = vs.a_volume((70, 130, 260), "float32"), tmp_path / "v.ome.zarr"
    level = create_ome_zarr(path, image.grid, image.dtype)
    assert level.chunks == (64, 64, 64) and level.shards == (128, 192, 256)
    assert level.metadata.dimension_names == ("z", "y", "x")
    for start in range(0, 260, 256):
        box = (slice(0, 70), slice(0, 130), slice(start, start + 256))
        open_ome_zarr(path)[box] = image.data[box]
    with pytest.raises(OutputError, match="exists already"):
        create_ome_zarr(path, image.grid, image.dtype)
    finish_ome_zarr(path, acquisition=vs.FACTS)
    once = io.fingerprint(path)
    back = read_volume(path)
    assert np.array_equal(back.array(), image.data) and back.grid == image.grid
    assert back.acquisition.stage == vs.FACTS.stage
    finish_ome_zarr(path, acquisition=vs.FACTS)
    assert io.fingerprint(path) == once


@pytest.mark.parametrize(
    ("chunk", "shard", "chunks", "shards"),
    [
        (None, None, (64, 64, 64), (256, 256, 256)),
        (None, 0, (64, 64, 64), None),
        (32, 64, (32, 32, 32), (64, 64, 64)),
        ((16, 64, 64), (64, 512, 512), (16, 64, 64), (64, 320, 384)),
    ],
)
def test_chunks_and_shards_are_what_was_asked_and_fit_the_volume(tmp_path, chunk, shard, chunks, shards):
    level = create_ome_zarr(tmp_path / "v.ome.zarr", Grid.of((300, 300, 350), 5.0), "uint8", chunk=chunk, shard=shard)
    assert level.chunks == chunks and level.shards == shards


def test_pictures_are_stored_as_before(tmp_path):
    level = create_ome_zarr(tmp_path / "p.ome.zarr", Grid.of((700, 900), 5.0), "uint8")
    assert level.chunks == (512, 512) and level.shards is None


def half(data, steps):
    """Means by padding and reshaping, independent of the code under test."""
    for axis, step in enumerate(steps):
        if step == 2:
            if data.shape[axis] % 2:
                data = np.concatenate([data, np.take(data, [-1], axis)], axis)
            shape = [*data.shape[:axis], data.shape[axis] // 2, 2, *data.shape[axis + 1 :]]
            data = data.reshape(shape).mean(axis + 1)
    return data


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("size", "steps"), [((10.0, 10.0, 10.0), [(2, 2, 2)]), ((40.0, 10.0, 10.0), [(1, 2, 2), (1, 2, 2)])]
)
def test_the_pyramid_halves_the_axes_that_are_finest(tmp_path, dtype, size, steps):
    image = vs.a_volume((131, 150, 302), dtype, size)
    path = tmp_path / "v.ome.zarr"
    create_ome_zarr(path, image.grid, dtype, chunk=32, shard=64)[:] = image.data
    finish_ome_zarr(path)
    group = zarr.open_group(str(path), mode="r")
    scales = group.attrs["ome"]["multiscales"][0]
    assert [(a["name"], a["type"], a["unit"]) for a in scales["axes"]] == [(n, "space", "nanometer") for n in "zyx"]
    assert len(scales["datasets"]) > len(steps)
    expected = image.data.astype(np.float64)
    grids = pyramid_grids(image.grid)
    for k, step in enumerate([(1, 1, 1), *steps]):
        scale, shift = scales["datasets"][k]["coordinateTransformations"]
        assert tuple(scale["scale"]) == grids[k].pixel_size_nm and tuple(shift["translation"]) == grids[k].origin_nm
        assert grids[k].edge_nm == pytest.approx(image.grid.edge_nm)
        expected = half(expected, step)
        found = group[scales["datasets"][k]["path"]]
        rounded = np.rint(expected) if np.dtype(dtype).kind == "u" else expected.astype(dtype)
        assert np.array_equal(found[:], rounded) if dtype != "float32" else np.allclose(found[:], rounded, rtol=1e-6)
        assert found.chunks == (32, 32, 32)
        expected = rounded.astype(np.float64)
    last = group[scales["datasets"][-1]["path"]]
    assert max(last.shape) <= 128


def test_anisotropic_voxels_become_cubic_on_the_way_down():
    sizes = [g.pixel_size_nm for g in pyramid_grids(Grid.of((200, 1000, 1000), (50.0, 12.0, 12.0)))]
    assert sizes == [(50.0, 12.0, 12.0), (50.0, 24.0, 24.0), (50.0, 48.0, 48.0), (100.0, 96.0, 96.0)]


def other_store(path, data, axes, *, version="0.5", scale=None, **labels):
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("s0", data=data, chunks=tuple(min(16, n) for n in data.shape))
    described = {
        "version": version,
        "axes": axes,
        "datasets": [{"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [described]}
    else:
        group.attrs["multiscales"] = [described]
        group.attrs.update(labels)


def axis(name, unit="micrometer"):
    kind = {"t": "time", "c": "channel"}.get(name, "space")
    return {"name": name, "type": kind, **({"unit": unit} if kind == "space" and unit else {})}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_stores_with_channels_and_time_give_the_volume_that_is_asked_for(tmp_path, version):
    data = np.stack([vs.voxels(), vs.voxels(seed=1)])[None]
    path = tmp_path / "v.ome.zarr"
    axes = [axis("t"), axis("c"), axis("z"), axis("y", "nanometer"), axis("x")]
    other_store(path, data, axes, version=version, scale=[1, 1, 0.05, 20.0, 0.01])
    with pytest.raises(InputError, match=r"holds 2 pictures.*channel="):
        read_volume(path)
    image = read_volume(path, channel=1)
    assert np.array_equal(image.array(), data[0, 1])
    assert np.array_equal(image.data[2:4, 5, ::2], data[0, 1, 2:4, 5, ::2])
    assert image.grid.pixel_size_nm == pytest.approx((50.0, 20.0, 10.0))
    other_store(path, data[:, :1], axes, version=version, scale=[1, 1, 0.05, 20.0, 0.01])
    assert np.array_equal(read_volume(path).array(), data[0, 0])


def test_channels_are_chosen_by_name_and_axes_without_unit_are_no_voxel_size(tmp_path):
    data, path = np.stack([vs.voxels(), vs.voxels(seed=1)]), tmp_path / "v.ome.zarr"
    axes = [axis("c"), axis("z", None), axis("y"), axis("x")]
    omero = {"channels": [{"label": "absorption"}, {"label": "phase"}]}
    other_store(path, data, axes, version="0.4", scale=[1, 1, 1, 1], omero=omero)
    with pytest.raises(MissingPixelSize, match=r"v\.ome\.zarr has no voxel size\. Its axis z has no unit of length"):
        read_volume(path, channel="phase")
    assert np.array_equal(read_volume(path, channel="phase", voxel_size_nm=3).array(), data[1])


def test_axes_in_another_order_are_refused(tmp_path):
    axes = [axis("x"), axis("y"), axis("z")]
    other_store(tmp_path / "v.zarr", vs.voxels(), axes, scale=[1, 1, 1])
    with pytest.raises(InputError, match=r"axes XYZ .*but a volume with axes Z, Y, X"):
        read_volume(tmp_path / "v.zarr")


def test_the_metadata_name_every_dimension_and_level(tmp_path):
    io.write(tmp_path / "v.ome.zarr", vs.a_volume((140, 20, 20)))
    told = json.loads((tmp_path / "v.ome.zarr" / "0" / "zarr.json").read_text())
    assert told["dimension_names"] == ["z", "y", "x"] and told["codecs"][0]["name"] == "sharding_indexed"
    inner = told["codecs"][0]["configuration"]["codecs"][-1]
    assert inner["name"] == "blosc" and inner["configuration"]["shuffle"] == "bitshuffle"


# ---------------------------------------------------------------------------------------------- facts
def a_tomogram(shape=(40, 64, 64), size=100.0, *, name="lr", outside=np.nan, dtype="float32", noise=2.0, seed=0):
    grid = Grid.of(shape, size)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    data = 100 + 20 * np.sin(z / 5) * np.cos(y / 7) + np.random.default_rng(seed).normal(0, noise, shape) + 10 * (x % 9)
    data = data.astype(dtype)
    if outside is not None:
        data[:, ~Circle.inscribed(grid).mask(grid)] = outside
    return Image(data, grid, name)


@pytest.mark.parametrize("outside", [np.nan, 0.0])
def test_only_what_lies_inside_a_round_field_counts(outside):
    facts, whole = describe(a_tomogram(outside=outside)), describe(a_tomogram(outside=None))
    assert facts["round_field"] is True and whole["round_field"] is False
    assert facts["nan_share"] == 0 and facts["saturated_low"] == 0 and facts["min"] > 50
    assert facts["mean"] == pytest.approx(whole["mean"], rel=0.02) and facts["slices"] == 40
    assert facts["noise"] == pytest.approx(whole["noise"], rel=0.1)


def test_noise_of_a_known_level_is_found_in_a_tomogram():
    for sigma in (2.0, 8.0):
        image = a_tomogram((20, 256, 256), noise=sigma, dtype="float32")
        flat = Image(image.data - 10 * (np.arange(256) % 9).astype(np.float32), image.grid)
        assert describe(flat)["noise"] == pytest.approx(sigma, rel=0.1)


def test_missing_data_inside_the_circle_is_counted_and_empty_ends_are_told():
    image = a_tomogram()
    image.data[:, 30:34, 20:40] = np.nan
    inside = Circle.inscribed(image.grid).mask(image.grid).sum()
    assert describe(image)["nan_share"] == pytest.approx(80 / inside, rel=0.05)
    image = a_tomogram(outside=None)
    image.data[:12] = 0
    told = " ".join(problems(image, a_tomogram(name="hr", size=50.0)))
    assert "lr has slices of one single grey level" in told and "cut the empty ends off" in told


def test_a_pair_of_volumes_may_have_the_same_voxels_but_not_a_coarser_fine_one():
    lr = a_tomogram()
    assert problems(lr, a_tomogram(name="hr", seed=1)) == []
    require_pair(lr, a_tomogram(name="hr"))
    require_pair(lr, a_tomogram(name="hr", size=(100.0, 25.0, 25.0)))
    for size, message in (
        (
            150.0,
            r"seem to be swapped: lr has voxels of 100 x 100 x 100 nm and hr of 150 x .*voxel_size_nm=.*--pixel-size",
        ),
        (5.0, r"ratio of the voxel sizes must be 1 to 16, but it is 20"),
        ((120.0, 50.0, 50.0), r"must be 1 to 16, but it is 0\.833 and 2"),
    ):
        with pytest.raises(InputError, match=message):
            require_pair(lr, a_tomogram(name="hr", size=size))


def test_a_picture_and_a_volume_are_no_pair():
    flat = Image(vs.voxels()[0], Grid.of((21, 34), 5.0), "flat")
    with pytest.raises(InputError, match=r"lr has axes ZYX but flat has YX"):
        require_pair(a_tomogram(), flat)


def test_doubts_about_volumes_are_told_in_sentences():
    lr = a_tomogram((33, 64, 64), (400.0, 100.0, 100.0))
    told = " ".join(problems(lr, a_tomogram((20, 64, 64), (100.0, 50.0, 200.0 / 3), name="hr")))
    for part in (
        "hr is small (20 x 64 x 64 px); at least 32 px",
        "voxels of lr are far from cubes (400 x 100 x 100 nm)",
        "hr covers only 5 x 32 x 43 voxels of lr",
        "hr has pixels that are not square",
        "ratio of pixel sizes differs between the axes (4 and 2 and 1.5)",
    ):
        assert part in told, part
    wide = a_tomogram((40, 100, 100), name="wide")
    assert "field of view of wide is larger" in " ".join(problems(a_tomogram(), wide))


def test_the_fingerprint_of_a_huge_file_is_sampled_and_sees_its_ends(tmp_path, monkeypatch):
    from finescan.io import fingerprint as door

    module = sys.modules["finescan.io.fingerprint"]
    monkeypatch.setattr(module, "SAMPLED_ABOVE", 1 << 20)
    monkeypatch.setattr(module, "_BLOCK", 1 << 10)
    path, seen = tmp_path / "a.raw", set()
    data = bytearray(1 << 21)
    for at in (None, 0, len(data) - 1, len(data)):
        if at == len(data):
            data.append(0)
        elif at is not None:
            data[at] ^= 1
        path.write_bytes(data)
        seen.add(door(path))
    assert len(seen) == 4 and all(s.startswith("sampled:") for s in seen)


def test_the_facts_of_a_volume_say_its_shape_and_format():
    image = Image(vs.voxels(), Grid.of((9, 21, 34), 5.0), "v", Acquisition(vendor="Zeiss"))
    facts = describe(image)
    assert facts["rows"] == 21 and facts["columns"] == 34 and facts["slices"] == 9 and facts["dtype"] == "uint16"
