"""Volumes written by other programs: voxel size, unit, order of bytes and slices as those programs mean them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import volume_samples as vs

from finescan.errors import InputError, MissingPixelSize, UnreadableFile
from finescan.io import RawLayout, looks_like_volume, read_volume, write
from finescan.io.volumes import writing
from finescan.values import Grid, Image

SIZE = (50.0, 20.0, 10.0)


# ---------------------------------------------------------------------------------------------- TIFF
def imagej(path, data, *, unit="um", spacing=0.05, size=(0.02, 0.01), **more):
    metadata = {"axes": "ZYX", "unit": unit, **({} if spacing is None else {"spacing": spacing}), **more}
    tifffile.imwrite(path, data, imagej=True, resolution=(1 / size[1], 1 / size[0]), metadata=metadata)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m", "nm", "mm"])
def test_an_imagej_stack_has_spacing_and_resolution_in_its_unit(tmp_path, dtype, unit):
    factor = {"nm": 1.0, "mm": 1e6}.get(unit, 1e3)
    image = read_volume(imagej(tmp_path / "a.tif", vs.voxels(dtype=dtype), unit=unit))
    assert image.grid.pixel_size_nm == pytest.approx([0.05 * factor, 0.02 * factor, 0.01 * factor])
    assert image.dtype == dtype and np.array_equal(image.array(), vs.voxels(dtype=dtype))
    assert isinstance(image.data, np.ndarray)


def test_the_z_unit_of_imagej_may_differ(tmp_path):
    path = imagej(tmp_path / "a.tif", vs.voxels(), zunit="nm", spacing=70.0)
    assert read_volume(path).grid.pixel_size_nm == pytest.approx((70.0, 20.0, 10.0))


def test_inch_pixels_and_missing_spacing_are_no_voxel_size(tmp_path):
    path = imagej(tmp_path / "inch.tif", vs.voxels(), unit="inch", spacing=1.0)
    with pytest.raises(
        MissingPixelSize, match=r"inch\.tif has no voxel size\..*voxel_size_nm=\(z, y, x\).*--pixel-size"
    ):
        read_volume(path)
    path = imagej(tmp_path / "flat.tif", vs.voxels(), spacing=None)
    with pytest.raises(MissingPixelSize, match=r"pixels are 20 x 10 nm \(y, x\), but its header has no \"spacing\""):
        read_volume(path)
    # ImageJ itself leaves out a spacing of 1
    path = imagej(tmp_path / "one.tif", vs.voxels(), spacing=None, size=(1.0, 1.0))
    assert read_volume(path).grid.pixel_size_nm == pytest.approx((1e3, 1e3, 1e3))
    tifffile.imwrite(tmp_path / "plain.tif", vs.voxels(), photometric="minisblack", resolution=(72, 72))
    with pytest.raises(MissingPixelSize, match=r"plain\.tif has no voxel size\. Pass"):
        read_volume(tmp_path / "plain.tif")
    assert read_volume(tmp_path / "plain.tif", voxel_size_nm=7).grid.pixel_size_nm == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_plain_pages_are_a_volume_whatever_the_storage(tmp_path, monkeypatch, bigtiff, compression, byteorder):
    data = vs.voxels((6, 40, 50), "uint16")
    path = tmp_path / "p.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        for plane in data:
            file.write(plane, compression=compression, contiguous=False, metadata=None, rowsperstrip=16)
    assert looks_like_volume(path)
    for lazy in (1 << 28, 1):
        monkeypatch.setattr("finescan.io.volumes.tiff.LAZY_ABOVE", lazy)
        image = read_volume(path, voxel_size_nm=SIZE)
        assert image.grid.pixel_size_nm == SIZE and image.dtype == np.dtype("uint16") and image.dtype.isnative
        assert np.array_equal(image.array(), data)
        assert np.array_equal(np.asarray(image.data[2:5, 7, 3:9]), data[2:5, 7, 3:9])


def test_an_ome_stack_has_its_physical_sizes_and_channels_are_chosen(tmp_path):
    data = np.stack([vs.voxels(), vs.voxels(seed=1)], axis=1)
    metadata = {
        "axes": "ZCYX", "PhysicalSizeX": 0.01, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 20.0,
        "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 0.05, "Channel": {"Name": ["absorption", "phase"]},
    }  # fmt: skip
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, metadata=metadata, ome=True, photometric="minisblack")
    with pytest.raises(InputError, match=r"channel=.*0: absorption; 1: phase"):
        read_volume(path)
    for chosen in (1, "phase"):
        image = read_volume(path, channel=chosen)
        assert np.array_equal(image.array(), data[:, 1])
        assert image.grid.pixel_size_nm == pytest.approx(SIZE)
    with pytest.raises(InputError, match="no channel 2"):
        read_volume(path, channel=2)


def test_grey_slices_saved_in_colour_are_grey_and_coloured_ones_are_refused(tmp_path):
    grey = vs.voxels(dtype="uint8")
    same, path = np.stack([grey] * 3, axis=-1), tmp_path / "rgb.tif"
    tifffile.imwrite(path, same, photometric="rgb")
    assert np.array_equal(read_volume(path, voxel_size_nm=1).array(), grey)
    same[4, 0, 0, 1] += 1
    tifffile.imwrite(path, same, photometric="rgb")
    with pytest.raises(InputError, match=r"rgb\.tif are colour pictures.*channel=0"):
        read_volume(path, voxel_size_nm=1)
    assert np.array_equal(read_volume(path, voxel_size_nm=1, channel=1).array(), same[..., 1])


def test_imagej_reads_a_written_stack(tmp_path):
    """What ImageJ's own decoder needs: classic TIFF, plain contiguous pages, images=, spacing=, unit=, resolution."""
    image = vs.a_volume(size=SIZE)
    with tifffile.TiffFile(write(tmp_path / "a.tif", image)) as file:
        assert file.is_imagej and not file.is_bigtiff and len(file.pages) == 9
        told = file.imagej_metadata
        assert (told["images"], told["slices"], told["unit"], told["spacing"]) == (9, 9, "nm", 50.0)
        first = file.pages.first
        assert first.compression == 1 and first.tags[296].value == 1
        x, y = (first.tags[c].value for c in (282, 283))
        assert (x[1] / x[0], y[1] / y[0]) == pytest.approx((10.0, 20.0))
        offsets = [p.dataoffsets[0] for p in file.pages]
        assert np.all(np.diff(offsets) == 21 * 34 * 2)
        assert file.series[0].axes == "ZYX" and np.array_equal(file.asarray(), image.data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_stack_beyond_four_gigabytes_is_bigtiff_with_ome_sizes(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(writing, "CLASSIC_BELOW", 0)
    image = vs.a_volume(dtype=dtype, size=SIZE)
    path = write(tmp_path / "big.tif", image)
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff and file.is_ome and file.series[0].axes == "ZYX"
        assert 'SizeZ="9"' in file.ome_metadata and 'PhysicalSizeZ="50.0"' in file.ome_metadata
        assert np.array_equal(file.series[0].asarray(), image.data)
    back = read_volume(path)
    assert back.grid == image.grid and np.array_equal(back.array(), image.data)
    assert isinstance(back.data, np.memmap) and back.acquisition.to_dict() == vs.FACTS.to_dict()


# ---------------------------------------------------------------------------------------------- slices
@pytest.mark.parametrize("ending", [".tif", ".png"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_slices_are_sorted_by_number_not_by_letters(tmp_path, ending, compression):
    import imagecodecs

    data = vs.voxels((12, 20, 30))
    for k, plane in enumerate(data, start=5):  # rec_5, rec_6, … rec_16: text order would begin with rec_10
        path = tmp_path / f"2024_rec_{k}{ending}"
        if ending == ".tif":
            tifffile.imwrite(path, plane, compression=compression, metadata=None, byteorder=">")
        else:
            path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(plane)))
    (tmp_path / "scan.log").write_text("kV = 80")
    image = read_volume(tmp_path, voxel_size_nm=SIZE)
    assert np.array_equal(image.array(), data) and image.dtype == np.uint16 and image.grid.pixel_size_nm == SIZE
    assert np.array_equal(image.data[3:11:3, 4:6, 7], data[3:11:3, 4:6, 7])
    with pytest.raises(MissingPixelSize, match="has no voxel size"):
        read_volume(tmp_path)
    (tmp_path / "finescan.json").write_text(json.dumps({"voxel_size_nm": SIZE}))
    assert read_volume(tmp_path).grid.pixel_size_nm == SIZE


def test_slices_with_a_pixel_size_still_need_their_distance(tmp_path):
    for k in range(3):
        write(tmp_path / f"s{k}.tif", Image(vs.voxels(seed=k)[0], Grid.of((21, 34), (20.0, 10.0))))
    with pytest.raises(MissingPixelSize, match=r"pixels are 20 x 10 nm \(y, x\), but nothing says how far apart"):
        read_volume(tmp_path)


# ---------------------------------------------------------------------------------------------- raw and headers
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("ending", [".raw", ".vol", ".bin", ".dat"])
def test_raw_voxels_are_read_as_their_layout_says(tmp_path, order, dtype, ending):
    data = vs.voxels(dtype=dtype)
    path = tmp_path / f"a{ending}"
    stored = data.astype(data.dtype.newbyteorder(">" if order == "big" else "<"))
    path.write_bytes(b"HEAD" + stored.tobytes())
    layout = RawLayout(data.shape, dtype, order, header_bytes=4)
    image = read_volume(path, layout=layout, voxel_size_nm=SIZE)
    assert np.array_equal(image.array(), data) and image.dtype == dtype and image.dtype.isnative
    assert np.array_equal(image.data[1:3, ::4, 5], data[1:3, ::4, 5])
    side = {"shape": data.shape, "dtype": dtype, "byte_order": order, "header_bytes": 4, "voxel_size_nm": SIZE}
    for name in (f"a{ending}.json", "a.json"):
        (tmp_path / name).write_text(json.dumps(side))
        image = read_volume(path)
        assert np.array_equal(image.array(), data) and image.grid.pixel_size_nm == SIZE
        (tmp_path / name).unlink()


def test_a_layout_on_a_command_line():
    assert RawLayout.parse("9x21x34,uint16,big,512") == RawLayout((9, 21, 34), "uint16", "big", 512)
    assert RawLayout.parse("9x21x34:uint8") == RawLayout((9, 21, 34), "uint8")
    for layout in (RawLayout((9, 21, 34), "uint16", "big", 512), RawLayout((9, 21, 34), "uint8")):
        assert RawLayout.parse(layout.text) == layout
    assert RawLayout.parse("9x21x34,uint8,512").header_bytes == 512
    assert RawLayout((9, 21, 34), ">u2") == RawLayout((9, 21, 34), "uint16", "big")
    assert str(RawLayout((9, 21, 34), "uint16", "big", 4)) == "RawLayout((9, 21, 34), 'uint16', 'big', header_bytes=4)"
    for text in ("9x21,uint8", "9x21x34", "9 21 34 uint8"):
        with pytest.raises(InputError, match=r"written like 100x200x300,uint16,little"):
            RawLayout.parse(text)


META = """ObjectType = Image
NDims = 3
BinaryData = True
{order}
ElementSpacing = 0.01 0.02 0.05
{unit}DimSize = 34 21 9
ElementType = {element}
ElementDataFile = {file}
"""


@pytest.mark.parametrize(("msb", "char"), [("True", ">"), ("False", "<")])
def test_a_metaimage_has_its_type_and_byte_order_and_asks_for_the_unit(tmp_path, msb, char):
    data = vs.voxels()
    (tmp_path / "v.raw").write_bytes(data.astype(char + "u2").tobytes())
    text = META.format(order=f"BinaryDataByteOrderMSB = {msb}", unit="", element="MET_USHORT", file="v.raw")
    (tmp_path / "v.mhd").write_text(text)
    for name in ("v.mhd", "v.raw"):
        with pytest.raises(
            MissingPixelSize, match=r"spacing of 0\.05 x 0\.02 x 0\.01 \(z, y, x\) without a unit\. Pass"
        ):
            read_volume(tmp_path / name)
        image = read_volume(tmp_path / name, voxel_size_nm=SIZE)
        assert np.array_equal(image.array(), data) and image.acquisition.extra["spacing"] == "0.05 x 0.02 x 0.01"
    (tmp_path / "v.mhd").write_text(text.replace("DimSize", "DistanceUnits = um\nDimSize"))
    assert read_volume(tmp_path / "v.mhd").grid.pixel_size_nm == pytest.approx(SIZE)


def test_a_metaimage_by_simpleitk_is_read(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    data = vs.voxels(dtype="float32")
    picture = sitk.GetImageFromArray(data)
    picture.SetSpacing((10.0, 20.0, 50.0))
    for name in ("a.mhd", "a.mha"):
        sitk.WriteImage(picture, str(tmp_path / name))
        image = read_volume(tmp_path / name, voxel_size_nm=SIZE)
        assert np.array_equal(image.array(), data) and image.dtype == np.float32
    sitk.WriteImage(picture, str(tmp_path / "z.mha"), useCompression=True)
    with pytest.raises(UnreadableFile, match=r"z\.mha are compressed\. Save it again without"):
        read_volume(tmp_path / "z.mha", voxel_size_nm=SIZE)


VGI = """{{volume1}}
[representation]
size = 34 21 9
datatype = unsigned integer
datarange = 0 -1
bitsperelement = {bits}
[file1]
SkipHeader = 0
FileFormat = raw
Size = 34 21 9
Name = D:\\scans\\v.vol
Datatype = unsigned integer
BitsPerElement = {bits}
{{volumeprimitive12}}
[geometry]
resolution = 0.00001 0.00002 0.00005
unit = mm
"""


def test_a_vgstudio_header_has_resolution_and_unit(tmp_path):
    data = vs.voxels(dtype="uint8")
    (tmp_path / "v.vol").write_bytes(data.tobytes())
    (tmp_path / "v.vgi").write_text(VGI.format(bits=8))
    for name in ("v.vgi", "v.vol"):
        image = read_volume(tmp_path / name)
        assert np.array_equal(image.array(), data) and image.grid.pixel_size_nm == pytest.approx(SIZE)


def test_a_vgstudio_header_of_16_bit_voxels_does_not_say_the_byte_order(tmp_path):
    data = vs.voxels()
    (tmp_path / "v.vol").write_bytes(data.tobytes())
    (tmp_path / "v.vgi").write_text(VGI.format(bits=16))
    with pytest.raises(InputError, match=r"byte order of its uint16.*RawLayout\(\(9, 21, 34\), 'uint16', 'little'\)"):
        read_volume(tmp_path / "v.vgi")
    image = read_volume(tmp_path / "v.vgi", layout=RawLayout((9, 21, 34), "uint16", "little"))
    assert np.array_equal(image.array(), data) and image.grid.pixel_size_nm == pytest.approx(SIZE)


def test_a_npy_volume_may_be_in_fortran_or_big_endian_order(tmp_path):
    data = vs.voxels()
    (tmp_path / "a.json").write_text('{"pixel_size_nm": 4.5}')
    for stored in (np.asfortranarray(data), data.astype(">u2")):
        np.save(tmp_path / "a.npy", stored)
        image = read_volume(tmp_path / "a.npy")
        assert np.array_equal(image.array(), data) and image.dtype.isnative
        assert image.grid.pixel_size_nm == (4.5, 4.5, 4.5)


# ---------------------------------------------------------------------------------------------- HDF5
def h5(path, **datasets):
    import h5py

    with h5py.File(path, "w") as file:
        for name, (data, attributes) in datasets.items():
            made = file.create_dataset(name.replace("__", "/"), data=data, chunks=True)
            made.attrs.update(attributes)
    return path


@pytest.mark.parametrize("ending", [".h5", ".hdf5", ".nxs", ".nx"])
def test_the_only_volume_of_an_hdf5_file_is_found(tmp_path, ending):
    told = {"element_size_um": (0.05, 0.02, 0.01)}
    path = h5(tmp_path / f"a{ending}", angles=(np.arange(9.0), {}), entry__rec=(vs.voxels(dtype=">u2"), told))
    image = read_volume(path)
    assert np.array_equal(image.array(), vs.voxels()) and image.dtype == np.uint16 and image.dtype.isnative
    assert image.grid.pixel_size_nm == pytest.approx(SIZE) and image.acquisition.extra["dataset"] == "/entry/rec"
    assert looks_like_volume(path)


def test_of_several_volumes_in_hdf5_one_must_be_named(tmp_path):
    path = h5(tmp_path / "a.h5", raw=(vs.voxels(), {}), rec=(vs.voxels(seed=1)[None], {"voxel_size_nm": SIZE}))
    with pytest.raises(
        InputError, match=r"2 volumes.*dataset=… \(--dataset\) with one of: /raw \(9 x 21 x 34 uint16\); /rec"
    ):
        read_volume(path)
    for name in ("rec", "/rec"):
        image = read_volume(path, dataset=name)
        assert np.array_equal(image.array(), vs.voxels(seed=1)) and image.grid.pixel_size_nm == SIZE
    with pytest.raises(InputError, match=r"no dataset 'rac'.*/raw"):
        read_volume(path, dataset="rac")
    with pytest.raises(MissingPixelSize, match=r"a\.h5 has no voxel size"):
        read_volume(path, dataset="raw")


def test_nexus_axes_give_voxel_size_and_origin(tmp_path):
    import h5py

    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/data")
        group.attrs.update({"NX_class": "NXdata", "signal": "rec", "axes": ["z", "y", "x"]})
        group["rec"] = vs.voxels()
        for name, n, step in (("z", 9, 0.05), ("y", 21, 0.02), ("x", 34, 0.01)):
            group[name] = 1.0 + step * np.arange(n)
            group[name].attrs["units"] = "um"
    image = read_volume(path)
    assert image.grid.pixel_size_nm == pytest.approx(SIZE) and image.grid.origin_nm == pytest.approx((1e3, 1e3, 1e3))
    del image  # the file is open as long as somebody may read from it
    with h5py.File(path, "a") as file:
        file["entry/data/z"][4] += 0.02
    with pytest.raises(MissingPixelSize, match="axis 'z' is not evenly spaced"):
        read_volume(path)


def test_fiji_and_ilastik_find_the_voxel_size_of_a_written_hdf5(tmp_path):
    import h5py

    with h5py.File(write(tmp_path / "a.h5", vs.a_volume(size=SIZE)), "r") as file:
        (name,) = file
        assert tuple(file[name].attrs["element_size_um"]) == pytest.approx((0.05, 0.02, 0.01))
        assert file[name].shape == (9, 21, 34) and file[name].chunks == (9, 21, 34)
