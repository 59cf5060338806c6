"""Bad volumes: every refusal names the file, the fact and the way out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import volume_samples as vs

from finescan.errors import InputError, MissingPixelSize, UnreadableFile
from finescan.io import VOLUME_WRITERS, RawLayout, read_volume, write
from finescan.values import Grid, Image


def refused(path, message, error=InputError, **how):
    with pytest.raises(error, match=message) as caught:
        read_volume(path, **{"voxel_size_nm": 5.0, **how})
    assert len(str(caught.value)) < 600
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- raw
def raw(path, shape=(9, 21, 34), dtype="uint16"):
    path.write_bytes(vs.voxels(shape, dtype).tobytes())
    return path


def test_a_raw_file_without_a_layout_asks_for_it_and_guesses_nothing(tmp_path):
    told = refused(raw(tmp_path / "scan.raw"), r"scan\.raw \(12852 bytes\) does not say how its voxels lie")
    assert "scan.raw.json" in told and "layout=RawLayout((z, y, x), dtype, byte_order)" in told
    assert "--raw 100x512x512,uint16,little on the command line" in told
    told = refused(raw(tmp_path / "scan_34x21x9_uint16.raw"), "does not say how its voxels lie")
    assert "fit 34 x 21 x 9 voxels (often x, y, z) of uint16" in told


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (((9, 21, 35), "uint16", "little"), r"has 12852 bytes, but 9 x 21 x 35 voxels of uint16 .* take 13230"),
        (((8, 21, 34), "uint16", "little"), r"take 11424\..*With this y and x it would hold 9 slices"),
        (((10, 21, 34), "uint16", "little"), r"take 14280\..*it would hold 9 slices"),
        (((9, 21, 34), "float32", "little"), r"4 bytes each\) take 25704\. Correct shape, dtype or header_bytes"),
        (((9, 21, 34), "uint16", "little", 512), r"but 512 \+ 9 x 21 x 34 .* take 13364"),
        (((9, 21, 33), "uint16", "little"), r"truncated or has a header"),
    ],
)
def test_a_wrong_number_of_bytes_says_how_many_were_expected(tmp_path, layout, message):
    refused(raw(tmp_path / "scan.raw"), message, layout=RawLayout(*layout))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (((9, 21, 34), "uint16"), r"uint16 needs byte_order='little' or 'big', but None came"),
        (((9, 21, 34), "uint16", "middle"), r"but 'middle' came"),
        (((9, 21), "uint8"), r"shape of three whole numbers \(z, y, x\), but \(9, 21\) came"),
        (((9, 0, 34), "uint8"), r"but \(9, 0, 34\) came"),
        (((9, 21, 34), "colour"), r"dtype like 'uint8', .* but 'colour' came"),
        (((9, 21, 34), "complex64", "little"), r"but 'complex64' came"),
        (((9, 21, 34), "uint8", None, -4), r"must not be negative, but -4 came"),
    ],
)
def test_an_impossible_layout_is_refused(layout, message):
    with pytest.raises(InputError, match=message):
        RawLayout(*layout)


def test_one_byte_per_voxel_needs_no_byte_order(tmp_path):
    path = raw(tmp_path / "a.raw", dtype="uint8")
    layout = RawLayout((9, 21, 34), "uint8")
    assert read_volume(path, layout=layout, voxel_size_nm=5).dtype == np.uint8
    (tmp_path / "a.json").write_text('{"voxel_size_nm": [3, 2, 1]}')  # a sidecar may leave the layout to the argument
    assert read_volume(path, layout=layout).grid.pixel_size_nm == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("drop", ["shape", "dtype", "byte_order", "voxel_size_nm"])
def test_an_incomplete_sidecar_is_refused(tmp_path, drop):
    path = raw(tmp_path / "a.raw")
    side = {"shape": [9, 21, 34], "dtype": "uint16", "byte_order": "little", "voxel_size_nm": [5, 5, 5]}
    del side[drop]
    (tmp_path / "a.json").write_text(json.dumps(side))
    if drop == "voxel_size_nm":
        refused(path, r"a\.raw has no voxel size\. Pass voxel_size_nm=", MissingPixelSize, voxel_size_nm=None)
    elif drop == "byte_order":
        refused(path, r"uint16 needs byte_order='little' or 'big'")
    else:
        refused(
            path, rf'a\.json does not describe raw voxels \(KeyError: .*{drop if drop == "dtype" else "grid"}.*"shape"'
        )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ElementType = MET_UCHAR\nDimSize = 34 21 9\nElementDataFile = gone.raw", r"There is no file .*gone\.raw"),
        (
            "ElementType = MET_USHORT\nDimSize = 34 21 9\nElementDataFile = v.raw",
            r"byte order.*\(9, 21, 34\), 'uint16'",
        ),
        ("ElementType = MET_UCHAR\nDimSize = 34 21\nElementDataFile = v.raw", r"DimSize with three whole numbers"),
        ("ElementType = MET_RGB\nDimSize = 34 21 9\nElementDataFile = v.raw", r"1 x MET_RGB per voxel"),
        ("DimSize = 34 21 9\nElementDataFile = LIST", r"does not name one file of voxels"),
        ("DimSize = 34 21 9\n", r"no MetaImage header: it has no ElementDataFile"),
        ("NDims = 2\nElementDataFile = v.raw", r"an image of 2 axes"),
    ],
)
def test_a_bad_metaimage_header_is_refused(tmp_path, lines, message):
    raw(tmp_path / "v.raw", dtype="uint8")
    (tmp_path / "v.mhd").write_text(lines)
    refused(tmp_path / "v.mhd", message)


# ---------------------------------------------------------------------------------------------- slices
def slices(folder, numbers, *, name="rec_{:04d}.tif", shape=(20, 30), dtype="uint16"):
    folder.mkdir(exist_ok=True)
    for k in numbers:
        tifffile.imwrite(folder / name.format(k), vs.voxels(shape, dtype, k), metadata=None)
    return folder


def test_a_missing_slice_is_named(tmp_path):
    folder = slices(tmp_path / "scan", [*range(5, 9), *range(11, 20)])
    refused(folder, r"The slice rec_0009\.tif is missing in scan \(and 1 more\): the slices must be numbered without")
    refused(slices(tmp_path / "b", [8, 9, 11], name="x{}.tif"), r"The slice x10\.tif is missing in b:")


def test_the_slice_number_may_stand_anywhere_in_the_name(tmp_path):
    folder = slices(tmp_path / "scan", range(8, 12), name="20x_{}_8bit.tif")
    data = read_volume(folder, voxel_size_nm=5).array()
    assert np.array_equal(data, [vs.voxels((20, 30), "uint16", k) for k in range(8, 12)])
    (folder / "20x_10_8bit.tif").unlink()
    refused(folder, r"The slice 20x_10_8bit\.tif is missing in scan:")


def test_slices_of_another_size_or_kind_are_named(tmp_path):
    folder = slices(tmp_path / "size", range(5))
    slices(folder, [3], shape=(20, 31))
    refused(folder, r"rec_0003\.tif in size is 20 x 31 px uint16, but rec_0000\.tif is 20 x 30 px uint16")
    folder = slices(tmp_path / "type", range(5))
    slices(folder, [4], dtype="uint8")
    refused(folder, r"rec_0004\.tif in type is 20 x 30 px uint8, but rec_0000\.tif is 20 x 30 px uint16")
    folder = slices(tmp_path / "mixed", range(5))
    (folder / "rec_0005.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(folder, r"The folder mixed mixes PNG and TIFF files \(for example rec_0005\.png\)")


def test_odd_files_among_the_slices_are_named(tmp_path):
    folder = slices(tmp_path / "odd", range(5))
    slices(folder, [2], name="overview{}.tif")
    refused(folder, r"overview2\.tif in odd is named differently from the other slices \(rec_…\)\. Move it out")
    folder = slices(tmp_path / "twice", range(5))
    slices(folder, [3], name="rec_{}.tif")
    refused(folder, r"two slices with one number: rec_0003\.tif and rec_3\.tif")
    folder = slices(tmp_path / "bare", range(5))
    slices(folder, [0], name="preview.tif")
    refused(folder, r"preview\.tif in bare has no slice number in its name")


def test_slices_that_are_damaged_or_no_slices_are_named(tmp_path):
    folder = slices(tmp_path / "cut", range(5))
    whole = (folder / "rec_0002.tif").read_bytes()
    (folder / "rec_0002.tif").write_bytes(whole[:-300])
    refused(folder, r"rec_0002\.tif is truncated", UnreadableFile)
    (folder / "rec_0002.tif").write_bytes(b"II*")
    refused(folder, r"rec_0002\.tif could not be read.*Copy the slice again", UnreadableFile)
    tifffile.imwrite(folder / "rec_0002.tif", vs.voxels((3, 20, 30)), photometric="minisblack")
    refused(folder, r"rec_0002\.tif holds 3 pages, but a slice is one grey picture per file")
    tifffile.imwrite(folder / "rec_0002.tif", vs.voxels((20, 30, 3), "uint8"), photometric="rgb")
    refused(folder, r"rec_0002\.tif is a colour picture")


def test_a_folder_without_slices_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("no slices here")
    refused(tmp_path, r"holds no slices \(\.tif, \.png\) and is no OME-Zarr", UnreadableFile)
    refused(slices(tmp_path / "one", [1]), r"one has shape \(1, 20, 30\), but a volume has at least 2 slices")


def test_every_second_slice_is_a_volume(tmp_path):
    assert read_volume(slices(tmp_path / "a", range(0, 20, 2)), voxel_size_nm=5).grid.shape == (10, 20, 30)


# ---------------------------------------------------------------------------------------------- any kind
def test_missing_empty_and_unknown_files_are_refused(tmp_path):
    refused(tmp_path / "gone.tif", r"There is no file .*gone\.tif", UnreadableFile)
    for name in ("empty.tif", "empty.raw"):
        (tmp_path / name).touch()
        refused(tmp_path / name, r"is empty \(0 bytes\)", UnreadableFile)
    (tmp_path / "a.docx").write_text("hello")
    refused(
        tmp_path / "a.docx", r"a\.docx is of no kind that holds volumes \(\.tif.*folder of slices\)", UnreadableFile
    )


@pytest.mark.parametrize("ending", [".tif", ".npy", ".h5"])
@pytest.mark.parametrize("keep", [0.3, 0.97])
def test_a_truncated_volume_is_refused(tmp_path, ending, keep):
    path = write(tmp_path / f"cut{ending}", vs.a_volume((20, 40, 50)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    told = refused(path, rf"cut\{ending}", UnreadableFile)
    assert "truncated" in told and "opy it again" in told


def test_an_unfinished_store_is_no_volume(tmp_path):
    from finescan.io import create_ome_zarr

    create_ome_zarr(tmp_path / "v.ome.zarr", vs.a_volume().grid, "uint16")
    refused(tmp_path / "v.ome.zarr", r"v\.ome\.zarr is not finished", UnreadableFile)


@pytest.mark.parametrize("ending", VOLUME_WRITERS)
def test_volumes_with_nothing_in_them_are_refused(tmp_path, ending):
    grid = Grid.of((9, 21, 34), 5.0)
    for name, value, message in (
        ("nan", np.nan, r"holds no data: every voxel looked at is NaN"),
        ("flat", 3.5, r"is constant \(every voxel looked at is 3\.5\)"),
    ):
        data = np.full(grid.shape, value, np.float32)
        path = write(tmp_path / f"{name}{ending.rstrip('/')}", Image(data, grid))
        refused(path, message)
        assert read_volume(path, constant_ok=True).grid == grid


def test_one_varying_slice_is_enough_and_infinite_values_are_refused(tmp_path):
    data = np.zeros((9, 21, 34), np.float32)
    data[1, 0, 0] = 1.0
    path = write(tmp_path / "v.npy", Image(data, Grid.of(data.shape, 5.0)))
    assert read_volume(path).grid.shape == (9, 21, 34)
    data[4, 10, 10] = np.inf
    path = write(tmp_path / "i.npy", Image(data, Grid.of(data.shape, 5.0)))
    refused(path, r"Slice 4 of i\.npy holds infinite values\. Set places without data to NaN")


@pytest.mark.parametrize("bad", [0, -5.0, 1e12, float("nan"), (1.0, 2.0), (1.0, 1.0, -1.0)])
def test_an_absurd_voxel_size_is_refused(tmp_path, bad):
    path = write(tmp_path / "a.npy", vs.a_volume())
    refused(path, r"The voxel size passed for a\.npy.*voxel_size_nm=\(z, y, x\)", MissingPixelSize, voxel_size_nm=bad)


def test_the_users_voxel_size_overrides_and_the_origin_keeps_its_voxel(tmp_path):
    image = read_volume(write(tmp_path / "a.npy", vs.a_volume(size=(50.0, 20.0, 10.0))), voxel_size_nm=(100, 20, 5))
    assert image.grid.pixel_size_nm == (100.0, 20.0, 5.0) and image.grid.origin_nm == (3.0, -20.5, 1.625)
    assert image.acquisition.pixel_size_from == "user"


def test_an_argument_the_file_cannot_use_is_an_error(tmp_path):
    path = write(tmp_path / "a.npy", vs.a_volume())
    refused(path, r"layout= is for \.raw, .* files, but a\.npy came", layout=RawLayout((9, 21, 34), "uint8"))
    refused(path, r"dataset= is for \.h5, .* files, but a\.npy came", dataset="rec")
    refused(path, r"channel= is for \.tif, .*\.zarr files, but a\.npy came", channel=0)


def test_a_single_picture_and_a_series_of_volumes_are_no_volume(tmp_path):
    tifffile.imwrite(tmp_path / "flat.tif", vs.voxels((20, 30)))
    refused(tmp_path / "flat.tif", r"flat\.tif holds an array with axes YX.*A single picture is read with read\(\)")
    np.save(tmp_path / "four.npy", vs.voxels((2, 9, 21, 34)))
    refused(tmp_path / "four.npy", r"four\.npy has 4 axes, but a volume has three")
    tifffile.imwrite(tmp_path / "t.tif", vs.voxels((3, 9, 21, 34)), imagej=True, metadata={"axes": "TZYX"})
    refused(tmp_path / "t.tif", r"t\.tif holds 3 volumes \(axes TZYX.*Export the one you want")
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        for shape in ((20, 30), (20, 31)):
            file.write(vs.voxels(shape), metadata=None)
    refused(tmp_path / "two.tif", r"two\.tif holds pages of different size or kind \(20 x 30 uint16; 20 x 31 uint16\)")


def test_our_facts_are_not_believed_after_somebody_cropped_the_volume(tmp_path):
    path = write(tmp_path / "a.npy", vs.a_volume())
    np.save(path, vs.voxels((8, 21, 34)))
    refused(path, r"a\.npy has no voxel size.*\(9, 21, 34\) voxels.*cropped", MissingPixelSize, voxel_size_nm=None)


def test_hdf5_files_without_a_volume_or_its_decoder_are_refused(tmp_path, monkeypatch):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["angles"] = np.arange(9.0)
        file["names"] = "text"
        file["flat"] = vs.voxels((20, 30))
    refused(tmp_path / "a.h5", r"a\.h5 holds no numeric dataset of three axes")
    refused(tmp_path / "a.h5", r"/flat in a\.h5 has shape \(20, 30\)", dataset="flat")

    def broken(self, key):
        raise OSError("can't open directory or filter plugin is missing")

    path = write(tmp_path / "b.h5", vs.a_volume())
    monkeypatch.setattr(h5py.Dataset, "__getitem__", broken)
    refused(path, r'/volume in b\.h5 is compressed.*pip install "finescan\[hdf5\]"', UnreadableFile)
