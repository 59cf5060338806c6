"""Bad input: every refusal names the file, the fact and the way out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile
import vendor_files as vf

from finescan.errors import InputError, MissingPixelSize, OutputError, UnreadableFile
from finescan.io import read, write
from finescan.values import Grid, Image


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_truncated_tiff_is_refused(tmp_path, keep, compression, bigtiff):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, vf.picture(400, 300), compression=compression, rowsperstrip=16, bigtiff=bigtiff)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(UnreadableFile, match=r"cut\.tif.*(truncated|damaged).*[Cc]opy it again"):
        read(path, pixel_size_nm=1)


def test_a_tiff_whose_directory_comes_last_is_refused_when_truncated(tmp_path):
    whole, path = tmp_path / "w.tif", tmp_path / "cut.tif"
    tifffile.imwrite(whole, vf.picture(40, 60), metadata=None)
    raw = whole.read_bytes()
    first = int.from_bytes(raw[4:8], "little")
    path.write_bytes(raw[:4] + (len(raw) + 5000).to_bytes(4, "little") + raw[8:])
    assert first < len(raw)
    with pytest.raises(UnreadableFile, match=r"cut\.tif"):
        read(path, pixel_size_nm=1)


def test_a_tiff_that_lost_the_end_of_its_header_is_refused(tmp_path):
    tag = vf.tescan_tag(pixel_m=5e-9, strip=9)
    path = vf.tiff(tmp_path / "t.tif", vf.picture(49), code=50431, text=tag)
    raw = bytearray(path.read_bytes())
    at = raw.index(tag)
    # the header as the last thing in the file, as TESCAN stores it, and then cut off
    pointer = raw.index(at.to_bytes(4, "little"))
    raw[pointer : pointer + 4] = len(raw).to_bytes(4, "little")
    path.write_bytes(bytes(raw) + tag)
    assert read(path).acquisition.databar_rows == 9
    path.write_bytes((bytes(raw) + tag)[:-10])
    with pytest.raises(UnreadableFile, match="truncated"):
        read(path, pixel_size_nm=5)


def test_a_stack_that_lost_its_last_pages_is_refused(tmp_path):
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as file:
        for seed in range(5):
            file.write(vf.picture(64, 64, seed=seed), contiguous=False, metadata=None)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UnreadableFile, match="truncated"):
        read(path, pixel_size_nm=1, frame=0)


@pytest.mark.parametrize("ending", [".png", ".npy", ".nid", ".sxm"])
def test_other_truncated_files_are_refused(tmp_path, ending):
    path = tmp_path / f"cut{ending}"
    image = Image(vf.picture(100, 100), Grid.of((100, 100), 5.0))
    if ending in (".png", ".npy"):
        write(path, image)
        raw = path.read_bytes()
    else:
        raw = b"[DataSet]\n" if ending == ".nid" else b":NANONIS_VERSION:\n2\n"
    path.write_bytes(raw[: max(20, len(raw) // 2)])
    with pytest.raises(UnreadableFile, match=rf"cut\{ending}"):
        read(path, pixel_size_nm=1)


def test_empty_missing_and_unknown_files_are_refused(tmp_path):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "notes.docx").write_text("hello")
    with pytest.raises(UnreadableFile, match=r"empty\.tif is empty \(0 bytes\)"):
        read(tmp_path / "empty.tif")
    with pytest.raises(UnreadableFile, match=r"There is no file .*gone\.tif"):
        read(tmp_path / "gone.tif")
    with pytest.raises(UnreadableFile, match=r"notes\.docx is of no kind finescan reads.*\.tif"):
        read(tmp_path / "notes.docx")
    with pytest.raises(UnreadableFile, match="is a folder"):
        read(tmp_path)


def test_a_tiff_under_another_name_is_still_read(tmp_path):
    data = vf.picture()
    vf.tiff(tmp_path / "a.tif", data).rename(tmp_path / "a.dat")
    assert np.array_equal(read(tmp_path / "a.dat", pixel_size_nm=1).array(), data)


@pytest.mark.parametrize("bad", [0, -5.0, 1e12, float("nan"), (1.0, -1.0), (1.0, 2.0, 3.0)])
def test_an_absurd_pixel_size_is_refused(tmp_path, bad):
    path = vf.tiff(tmp_path / "a.tif", vf.picture())
    with pytest.raises(MissingPixelSize, match=r"passed for a\.tif.*pixel_size_nm=.*--pixel-size"):
        read(path, pixel_size_nm=bad)


def test_a_negative_pixel_size_in_the_header_is_refused(tmp_path):
    tag = vf.tescan_tag(pixel_m=-1e-9, strip=0)
    with pytest.raises(MissingPixelSize, match=r"The pixel size in t\.tif is -1 x -1 nm.*--pixel-size"):
        read(vf.tiff(tmp_path / "t.tif", vf.picture(), code=50431, text=tag))


def test_the_users_pixel_size_overrides_and_is_recorded(tmp_path):
    tag = vf.tescan_tag(pixel_m=5e-9, strip=0)
    image = read(vf.tiff(tmp_path / "t.tif", vf.picture(), code=50431, text=tag), pixel_size_nm=(7.0, 8.0))
    assert image.grid.pixel_size_nm == (7.0, 8.0) and image.acquisition.pixel_size_from == "user"


def test_infinite_values_are_refused_and_nan_is_kept(tmp_path):
    data = vf.picture(dtype="float32")
    data[3, 4] = np.nan
    assert np.isnan(read(vf.tiff(tmp_path / "n.tif", data), pixel_size_nm=1).array()[3, 4])
    data[5, :2] = np.inf
    with pytest.raises(InputError, match=r"i\.tif holds 2 infinite values.*NaN"):
        read(vf.tiff(tmp_path / "i.tif", data), pixel_size_nm=1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((30, 30), 7, np.uint8), "is constant"),
        (np.full((30, 30), np.nan, np.float32), "every pixel is NaN"),
        (np.zeros((0, 30), np.float32), "holds no pixels"),
        (np.ones((30, 30), np.complex64), "complex64"),
        (np.zeros((30,), np.float32), "1 axes"),
    ],
)
def test_arrays_without_a_picture_are_refused(tmp_path, data, message):
    np.save(tmp_path / "x.npy", data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.npy", pixel_size_nm=1)


@pytest.mark.parametrize("samples", [3, 4])
def test_equal_colour_channels_are_one_grey_channel_and_others_are_refused(tmp_path, samples):
    grey = vf.picture(dtype="uint16")
    same = np.stack([grey] * 3 + [np.full_like(grey, 65535)] * (samples - 3), axis=-1)
    image = read(vf.tiff(tmp_path / "s.tif", same, photometric="rgb"), pixel_size_nm=1)
    assert np.array_equal(image.array(), grey) and image.dtype == np.uint16
    planar = vf.tiff(tmp_path / "q.tif", np.moveaxis(same, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(planar, pixel_size_nm=1).array(), grey)
    photo = same.copy()
    photo[0, 0, 1] += 3
    path = vf.tiff(tmp_path / "p.tif", photo, photometric="rgb")
    with pytest.raises(InputError, match=r"p\.tif is a colour picture.*up to 3 grey levels.*channel=0"):
        read(path, pixel_size_nm=1)
    assert np.array_equal(read(path, pixel_size_nm=1, channel=1).array(), photo[..., 1])


def test_a_movie_needs_a_frame_unless_all_are_equal(tmp_path):
    movie = np.stack([vf.picture(seed=k) for k in range(4)])
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, movie, photometric="minisblack")
    with pytest.raises(InputError, match=r"m\.tif holds 4 pictures.*frame="):
        read(path, pixel_size_nm=1)
    with pytest.raises(InputError, match=r"no frame 4"):
        read(path, pixel_size_nm=1, frame=4)
    assert np.array_equal(read(path, pixel_size_nm=1, frame=2).array(), movie[2])
    tifffile.imwrite(path, np.stack([movie[0]] * 3), photometric="minisblack")
    assert np.array_equal(read(path, pixel_size_nm=1).array(), movie[0])


def test_choosing_from_a_single_picture_is_an_error(tmp_path):
    path = vf.tiff(tmp_path / "one.tif", vf.picture())
    with pytest.raises(InputError, match="single picture"):
        read(path, pixel_size_nm=1, frame=3)


def test_pictures_of_different_size_need_a_frame(tmp_path):
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(vf.picture(40, 60), metadata=None)
        file.write(vf.picture(21, 37, seed=1), metadata=None)
    with pytest.raises(InputError, match="holds 2 pictures"):
        read(path, pixel_size_nm=1)
    assert read(path, pixel_size_nm=1, frame=1).grid.shape == (21, 37)


def test_a_data_bar_larger_than_the_picture_is_refused(tmp_path):
    with pytest.raises(InputError, match="databar must be 0 to 39 rows, but 40 came"):
        read(vf.tiff(tmp_path / "a.tif", vf.picture()), pixel_size_nm=1, databar=40)


@pytest.mark.parametrize(("ending", "module", "extra"), [(".czi", "czifile", "czi"), (".dm3", "rsciio", "readers")])
def test_a_missing_optional_reader_names_what_to_install(tmp_path, monkeypatch, ending, module, extra):
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"x{ending}").write_bytes(b"ZISRAWFILE" if ending == ".czi" else b"\0\0\0\3")
    with pytest.raises(UnreadableFile, match=rf'pip install "finescan\[{extra}\]"'):
        read(tmp_path / f"x{ending}")


def test_a_false_colour_palette_is_refused(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[0] = np.arange(256) * 257
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, vf.picture(), photometric="palette", colormap=colours)
    with pytest.raises(UnreadableFile, match="false-colour"):
        read(path, pixel_size_nm=1)


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, monkeypatch):
    image = Image(vf.picture(), Grid.of((40, 60), 5.0))
    path = write(tmp_path / "a.tif", image)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"a\.tif exists already.*overwrite"):
        write(path, image)

    def full(*_a, **_k):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("finescan.io.tiff_out.write_bands", full)
    with pytest.raises(OutputError, match=r"disk is full: a\.tif needs about 2400 bytes"):
        write(path, image, overwrite=True)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_writing_into_no_folder_or_an_unknown_format_is_refused(tmp_path):
    image = Image(vf.picture(), Grid.of((40, 60), 5.0))
    with pytest.raises(OutputError, match="no folder"):
        write(tmp_path / "none" / "a.tif", image)
    with pytest.raises(OutputError, match=r"must end in one of.*\.ome\.zarr"):
        write(tmp_path / "a.jpg", image)
