"""Contract of every writer: write then read gives the same data, dtype, axes, pixel size and facts."""

from __future__ import annotations

import json
import struct
import tracemalloc
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import zarr

from finescan.errors import InputError, MissingPixelSize, OutputError, UnreadableFile
from finescan.io import (
    READERS,
    WRITERS,
    create_ome_zarr,
    fingerprint,
    finish_ome_zarr,
    open_ome_zarr,
    read,
    tiff_out,
    write,
)
from finescan.io.ome_zarr import halved, pyramid_grids
from finescan.values import Acquisition, Grid, Image, StagePose

FACTS = Acquisition(
    vendor="Zeiss",
    pixel_size_from="user",
    detector="In-Lens <&>",
    dwell_time_us=3.5,
    stage=StagePose(1.0, -2.0, 3.0, 4.0, 5.0),
    databar_rows=12,
    extra={"note": 'µm "quoted" \\ äöü', "voltage_kv": 5.0},
)


def an_image(shape=(37, 53), dtype="uint8", size=(12.345678901, 7.1), seed=0):
    data = (np.random.default_rng(seed).random(shape) * 250).astype(dtype)
    return Image(data, Grid.of(shape, size, (-20.5, 3.25)), "sample", FACTS)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(37, 53), (513, 1025), (1, 7)])
def test_write_then_read_gives_the_same_image(tmp_path, ending, dtype, shape):
    image = an_image(shape, dtype)
    path = tmp_path / f"out file ü{ending}"
    if ending == ".png" and dtype == "float32":
        with pytest.raises(InputError, match=r"PNG holds 8 or 16 bit.*float32.*\.tif"):
            write(path, image)
        assert list(tmp_path.iterdir()) == []
        return
    assert write(path, image) == path
    back = read(path)
    assert back.dtype == image.dtype and back.grid.axes == "YX"
    assert np.array_equal(back.array(), image.data)
    assert back.grid == image.grid
    assert back.acquisition.to_dict() == FACTS.to_dict()
    assert back.source == str(path)


@pytest.mark.parametrize("ending", WRITERS)
def test_every_written_format_has_a_reader_and_refuses_to_overwrite(tmp_path, ending):
    assert any(ending.endswith(e) for e in READERS)
    path = write(tmp_path / f"a{ending}", an_image())
    before = fingerprint(path)
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        write(path, an_image(seed=1))
    assert fingerprint(path) == before
    write(path, an_image(seed=1), overwrite=True)
    assert fingerprint(path) != before
    assert np.array_equal(read(path).array(), an_image(seed=1).data)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("ending", [".tif", ".png", ".npy", ".ome.zarr"])
def test_a_file_without_pixel_size_is_an_error_that_names_the_argument(tmp_path, ending):
    data, path = an_image().data, tmp_path / f"bare{ending}"
    if ending == ".tif":
        tifffile.imwrite(path, data)
    elif ending == ".npy":
        np.save(path, data)
    elif ending == ".png":
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(data))
    else:
        write(path, an_image())
        described = json.loads((path / "zarr.json").read_text())
        for axis in described["attributes"]["ome"]["multiscales"][0]["axes"]:
            del axis["unit"]
        (path / "zarr.json").write_text(json.dumps(described))
    with pytest.raises(MissingPixelSize, match=rf"bare\{ending} has no pixel size\..*pixel_size_nm=.*--pixel-size"):
        read(path)
    assert read(path, pixel_size_nm=3).grid.pixel_size_nm == (3.0, 3.0)


# ---------------------------------------------------------------------------------------------- TIFF
def imagej_reads(path):
    """Pixel width and unit as ImageJ's decoder computes them: 1 / resolution, then unit= of the description."""
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        assert tags[296].value == 1 and not file.is_bigtiff and not file.pages[0].is_tiled
        assert file.pages[0].compression == 1 and tags[270].value.startswith("ImageJ=")
        unit = dict(x.split("=", 1) for x in tags[270].value.splitlines() if "=" in x)["unit"]
        x, y = (Fraction(*tags[c].value) for c in (282, 283))
        assert max(*tags[282].value, *tags[283].value) < 2**31
        return float(1 / y), float(1 / x), unit


@pytest.mark.parametrize("size", [(260.4166667, 260.4166667), (0.0100127, 0.02), (12.345678901, 7.1), (1e6, 3e7)])
def test_imagej_sees_the_pixel_size_in_nm(tmp_path, size):
    y, x, unit = imagej_reads(write(tmp_path / "a.tif", an_image(size=size)))
    assert unit == "nm" and (y, x) == pytest.approx(size, rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_large_images_become_tiled_bigtiff_with_ome_pixel_size(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(tiff_out, "CLASSIC_BELOW", 0)
    image = an_image((1030, 777), dtype)
    path = write(tmp_path / "big.tif", image)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert file.is_bigtiff and page.is_tiled and page.tilewidth == 512 and page.compression == 8
        root = ElementTree.fromstring(file.ome_metadata)
        pixels = next(e for e in root.iter() if e.tag.endswith("}Pixels"))
        assert (float(pixels.get("PhysicalSizeY")), float(pixels.get("PhysicalSizeX"))) == image.grid.pixel_size_nm
        assert pixels.get("PhysicalSizeYUnit") == "nm" and page.tags[296].value == 3
        assert 1e7 * page.tags[283].value[1] / page.tags[283].value[0] == pytest.approx(image.grid.pixel_size_nm[0])
    back = read(path)
    assert np.array_equal(back.array(), image.data) and back.grid == image.grid
    assert back.acquisition.to_dict() == FACTS.to_dict()


def test_large_tiffs_are_read_lazily(tmp_path, monkeypatch):
    image = an_image((700, 900), "uint16")
    plain = write(tmp_path / "plain.tif", image)
    monkeypatch.setattr(tiff_out, "CLASSIC_BELOW", 0)
    tiled = write(tmp_path / "tiled.tif", image)
    monkeypatch.setattr("finescan.io.tiff.LAZY_ABOVE", 1000)
    assert isinstance(read(plain).data, np.memmap)
    lazy = read(tiled)
    assert isinstance(lazy.data, zarr.Array)
    for back in (read(plain), lazy):
        assert np.array_equal(back.array(), image.data)
        assert np.array_equal(np.asarray(back.data[100:110, 5:9]), image.data[100:110, 5:9])


def test_a_zarr_image_streams_into_tiff_with_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_out, "CLASSIC_BELOW", 0)
    grid = Grid.of((6144, 4096), 2.0)
    level = create_ome_zarr(tmp_path / "m.ome.zarr", grid, "uint16")
    row = np.arange(4096, dtype=np.uint16)
    for top in range(0, 6144, 512):
        level[top : top + 512] = np.tile(row + np.uint16(top), (512, 1))
    write(tmp_path / "warm.tif", an_image())
    tracemalloc.start()
    write(tmp_path / "m.tif", Image(level, grid))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * grid.size * 2
    assert np.array_equal(read(tmp_path / "m.tif").array()[::512, 7], np.arange(0, 6144, 512) + 7)


def test_our_own_facts_are_not_believed_after_somebody_resized_the_picture(tmp_path):
    path = write(tmp_path / "a.tif", an_image((40, 60)))
    with tifffile.TiffFile(path) as file:
        text = file.pages[0].description
    tifffile.imwrite(path, an_image((20, 30)).data, description=text, metadata=None)
    with pytest.raises(MissingPixelSize, match=r"a\.tif has no pixel size.*resized or cropped"):
        read(path)


# ---------------------------------------------------------------------------------------------- OME-Zarr
def test_an_unfinished_store_does_not_read_as_done(tmp_path):
    path = tmp_path / "m.ome.zarr"
    image = an_image((700, 1100), "uint16")
    level = create_ome_zarr(path, image.grid, image.dtype)
    assert level.chunks == (512, 512) and level.shards is None
    level[:512] = image.data[:512]
    with pytest.raises(UnreadableFile, match=r"m\.ome\.zarr is not finished.*again"):
        read(path)
    with pytest.raises(OutputError, match="exists already"):
        create_ome_zarr(path, image.grid, image.dtype)
    open_ome_zarr(path)[512:] = image.data[512:]
    finish_ome_zarr(path, acquisition=FACTS)
    once = fingerprint(path)
    back = read(path)
    assert np.array_equal(back.array(), image.data) and back.grid == image.grid
    assert back.acquisition.vendor == "Zeiss"
    finish_ome_zarr(path, acquisition=FACTS)
    assert fingerprint(path) == once


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shard", [None, 1024])
def test_the_pyramid_is_the_mean_and_lies_where_it_says(tmp_path, dtype, shard):
    shape = (1501, 2603)
    image = an_image(shape, dtype)
    path = tmp_path / "m.ome.zarr"
    create_ome_zarr(path, image.grid, dtype, shard=shard)[:] = image.data
    finish_ome_zarr(path)
    group = zarr.open_group(str(path), mode="r")
    scales = group.attrs["ome"]["multiscales"][0]
    assert group.attrs["ome"]["version"] == "0.5"
    assert [a["unit"] for a in scales["axes"]] == ["nanometer"] * 2
    expected, above = image.data, image.grid
    for k, (dataset, grid) in enumerate(zip(scales["datasets"], pyramid_grids(image.grid), strict=True)):
        scale, shift = (t for t in dataset["coordinateTransformations"])
        assert tuple(scale["scale"]) == grid.pixel_size_nm and tuple(shift["translation"]) == grid.origin_nm
        if k:
            # the outer edge stays: each level starts half of its parent's pixel further in
            assert grid.origin_nm == pytest.approx(
                [o + p / 2 for o, p in zip(above.origin_nm, above.pixel_size_nm, strict=True)]
            )
            expected = reference_half(expected)
        assert np.array_equal(group[dataset["path"]][:], expected), k
        above = grid
    assert max(expected.shape) <= 512


def reference_half(data):
    """2 x 2 means by slicing and repetition, independent of the code under test."""
    full = np.pad(data, ((0, data.shape[0] % 2), (0, data.shape[1] % 2)), mode="edge").astype(np.float64)
    mean = full.reshape(full.shape[0] // 2, 2, full.shape[1] // 2, 2).mean(axis=(1, 3))
    return (np.rint(mean) if data.dtype.kind == "u" else mean).astype(data.dtype)


def test_halving_keeps_a_constant_to_the_last_pixel():
    for dtype in ("uint8", "uint16", "float32"):
        assert (halved(np.full((7, 9), 201, dtype)) == 201).all()


def test_ome_zarr_04_with_other_units_and_channels(tmp_path):
    path = tmp_path / "old.ome.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    data = np.stack([an_image().data, an_image(seed=1).data])
    group.create_array("s0", data=data, chunks=(1, 16, 16))
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [
                {"name": "c", "type": "channel"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x", "type": "space", "unit": "nanometer"},
            ],
            "datasets": [
                {
                    "path": "s0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1, 0.5, 20.0]},
                        {"type": "translation", "translation": [0, 1.0, 3.0]},
                    ],
                }
            ],
        }
    ]
    with pytest.raises(InputError, match="holds 2 pictures"):
        read(path)
    image = read(path, channel=1)
    assert np.array_equal(image.array(), data[1])
    assert image.grid.pixel_size_nm == (500.0, 20.0) and image.grid.origin_nm == (1000.0, 3.0)


# ---------------------------------------------------------------------------------------------- others
def test_a_npy_sidecar_may_hold_the_pixel_size_alone(tmp_path):
    np.save(tmp_path / "a.npy", an_image().data)
    (tmp_path / "a.json").write_text('{"pixel_size_nm": 4.5}')
    image = read(tmp_path / "a.npy")
    assert image.grid.pixel_size_nm == (4.5, 4.5) and isinstance(image.data, np.memmap)


def test_sixteen_bit_colour_png_is_not_cut_to_eight_bits(tmp_path):
    import imagecodecs

    grey = an_image(dtype="uint16").data * 257
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(np.stack([grey] * 3, -1))))
    image = read(tmp_path / "rgb.png", pixel_size_nm=1)
    assert image.dtype == np.uint16 and np.array_equal(image.array(), grey)


def test_the_fingerprint_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert fingerprint(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_nanosurf_channels_are_named_and_turned_upright(tmp_path):
    planes = [np.arange(k, k + 12, dtype="<i2").reshape(3, 4) for k in (0, 100)]
    head = "[DataSet]\nGroupCount=2\nGr0-Ch0=DataSet-0:0\nGr1-Ch0=DataSet-1:0\n[DataSet-Info]\nTime/Line=100ms\n"
    for k, frame in enumerate(("Scan forward", "Scan backward")):
        head += f"[DataSet-{k}:0]\nPoints=4\nLines=3\nFrame={frame}\nDim0Unit=m\nDim0Range=8e-9\nDim1Unit=m\n"
        head += "Dim1Range=3e-9\nDim2Name=Z-Axis\nDim2Unit=m\nDim2Range=2e-7\nDim2Min=-1e-7\n"
        head += "SaveMode=Binary\nSaveBits=16\nSaveSign=Signed\nSaveOrder=Intel\n"
    path = tmp_path / "a.nid"
    path.write_bytes(head.encode() + b"#!" + b"".join(p.tobytes() for p in planes))
    with pytest.raises(InputError, match=r"channel=.*0: Scan forward Z-Axis; 1: Scan backward Z-Axis"):
        read(path)
    image = read(path, channel="Scan backward Z-Axis")
    assert np.array_equal(image.array(), planes[1][::-1]) and image.dtype == np.int16
    assert image.grid.pixel_size_nm == pytest.approx((1.0, 2.0))
    assert image.acquisition.extra["value_scale"] == pytest.approx(2e-7 / 65536)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableFile, match="truncated"):
        read(path, channel=0)


def test_nanonis_planes_are_turned_the_right_way_round(tmp_path):
    forward, backward = (np.arange(k, k + 6, dtype=">f4").reshape(2, 3) for k in (0, 10))
    head = (
        ":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n   FLOAT   MSBFIRST\n:SCAN_PIXELS:\n   3   2\n:SCAN_TIME:\n 3E-1 3E-1\n"
        ":SCAN_RANGE:\n 6E-9 2E-9\n:SCAN_OFFSET:\n 1E-7 -2E-8\n:SCAN_ANGLE:\n 5E0\n:SCAN_DIR:\nup\n:DATA_INFO:\n"
        "\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n\t14\tZ\tm\tboth\t7E-8\t0E0\n\n:SCANIT_END:\n\n\n\x1a\x04"
    )
    path = tmp_path / "a.sxm"
    path.write_bytes(head.encode("latin-1") + forward.tobytes() + backward.tobytes())
    assert np.array_equal(read(path, channel="Z forward").array(), forward[::-1])
    image = read(path, channel=1)
    assert np.array_equal(image.array(), backward[::-1, ::-1]) and image.dtype == np.float32
    assert image.grid.pixel_size_nm == pytest.approx((1.0, 2.0))
    assert image.acquisition.stage.x_nm == pytest.approx(100.0) and image.acquisition.dwell_time_us == pytest.approx(
        1e5
    )
    assert struct.unpack(">f", backward.tobytes()[:4]) == (10.0,)
