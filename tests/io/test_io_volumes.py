"""Contract of every writer and reader of volumes: read again, everything is as it was, and stays on disk."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import volume_samples as vs

from finescan import io
from finescan.errors import InputError, OutputError, UnreadableFile
from finescan.io import VOLUME_READERS, VOLUME_WRITERS, RawLayout, looks_like_volume, read_volume, write
from finescan.io.volumes import pieces
from finescan.io.volumes.stack import Lazy
from finescan.values import Grid, Image


def named(folder, ending):
    return folder / ("out ü" + ending.rstrip("/"))


@pytest.mark.parametrize("ending", VOLUME_WRITERS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32", "float64"])
def test_a_written_volume_is_read_as_it_was(tmp_path, ending, dtype):
    image = vs.a_volume(dtype=dtype)
    path = named(tmp_path, ending)
    assert write(path, image) == path
    back = read_volume(path)
    assert back.dtype == image.dtype and back.grid == image.grid and back.grid.axes == "ZYX"
    assert np.array_equal(back.array(), image.data)
    assert back.acquisition.to_dict() == vs.FACTS.to_dict()
    assert back.source == str(path)
    assert looks_like_volume(path)


@pytest.mark.parametrize("ending", VOLUME_WRITERS)
@pytest.mark.parametrize("shape", [(130, 67, 65), (2, 3, 300)])
def test_any_box_of_a_written_volume_is_the_box_of_the_original(tmp_path, ending, shape):
    image = vs.a_volume(shape)
    data = read_volume(write(named(tmp_path, ending), image)).data
    every = slice(None)
    for key in (
        *(0, -1, slice(1, None), (every, 2, slice(3, 9)), (Ellipsis, -1)),
        *((slice(0, 2), Ellipsis, slice(None, None, 7)), (slice(5, 1), every, 0), (1, 2, 3)),
    ):
        assert np.array_equal(np.asarray(data[key]), image.data[key]), key
    assert np.array_equal(np.asarray(data), image.data)


@pytest.mark.parametrize("ending", VOLUME_WRITERS)
def test_nothing_is_overwritten_unless_asked_and_no_temporary_file_stays(tmp_path, ending):
    path = write(named(tmp_path, ending), vs.a_volume())
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        write(path, vs.a_volume(seed=1))
    assert np.array_equal(read_volume(path).array(), vs.voxels())
    write(path, vs.a_volume(seed=1), overwrite=True)
    assert np.array_equal(read_volume(path).array(), vs.voxels(seed=1))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("ending", VOLUME_WRITERS)
def test_a_failing_write_leaves_nothing_behind(tmp_path, ending):
    def fail(where):
        raise OSError(28, "No space left on device")

    broken = Image(Lazy((9, 21, 34), "uint16", fail), Grid.of((9, 21, 34), 5.0), "broken")
    with pytest.raises(OutputError, match="disk is full"):
        write(named(tmp_path, ending), broken)
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_volume_that_is_written_can_be_read(tmp_path):
    read_by = {e for row in VOLUME_READERS.values() for e in row.ends}
    assert all(e == "/" or any(e.endswith(r) for r in read_by) for e in VOLUME_WRITERS)


def test_nan_outside_the_circle_survives_every_format_that_holds_floats(tmp_path):
    image = vs.a_volume((6, 30, 30), "float32")
    y, x = np.mgrid[:30, :30] - 14.5
    image.data[:, np.hypot(y, x) > 15] = np.nan
    for ending in VOLUME_WRITERS:
        back = read_volume(write(named(tmp_path, ending), image)).array()
        assert np.array_equal(back, image.data, equal_nan=True) and np.isnan(back).any()


def test_a_volume_needs_an_ending_that_holds_volumes_and_a_picture_one_for_pictures(tmp_path):
    with pytest.raises(OutputError, match=r"v\.png must end in one of \.ome\.zarr.*folder of TIFF slices"):
        write(tmp_path / "v.png", vs.a_volume())
    flat = Image(vs.voxels()[0], Grid.of((21, 34), 5.0))
    for name in ("p.h5", "p"):
        with pytest.raises(OutputError, match=r"must end in one of .*\.png.* to hold a picture"):
            write(tmp_path / name, flat)


def test_a_name_with_a_dot_is_a_folder_when_it_ends_in_a_slash(tmp_path):
    path = write(f"{tmp_path}/run.v2/", vs.a_volume())
    assert sorted(p.name for p in path.iterdir())[:2] == ["finescan.json", "slice_0000.tif"]
    assert read_volume(path).grid == vs.a_volume().grid


# ---------------------------------------------------------------------------------------------- laziness
def test_a_volume_larger_than_memory_is_opened_described_and_read_in_part(tmp_path):
    layout = RawLayout((32768, 2048, 2048), "uint16", "little")
    path = tmp_path / "huge.raw"
    plane = vs.voxels((2048, 2048))
    with path.open("wb") as f:  # 256 GiB, of which two slices exist
        f.seek(layout.bytes - plane.nbytes)
        f.write(plane.tobytes())
        f.seek(16384 * plane.nbytes)
        f.write(plane.tobytes())
    tracemalloc.start()
    image = read_volume(path, layout=layout, voxel_size_nm=100)
    corner = np.asarray(image.data[-3:, :10, :10])
    facts = io.describe(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(corner[2], plane[:10, :10]) and not corner[:2].any()
    assert facts["slices"] == 32768 and facts["levels"] == 250
    assert peak < 400e6


@pytest.mark.parametrize("ending", [".ome.zarr", ".h5", ".tif", "/"])
def test_opening_and_reading_a_corner_does_not_read_the_volume(tmp_path, ending):
    z, y, x = (np.arange(n, dtype=np.uint8) for n in (200, 512, 512))
    image = Image((z[:, None, None] + 3 * y[:, None]) ^ x, Grid.of((200, 512, 512), 5.0))
    path = write(named(tmp_path, ending), image)
    read_volume(path)  # imports
    tracemalloc.start()
    corner = read_volume(path).data[:8, :8, :8]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(corner, image.data[:8, :8, :8])
    assert peak < image.data.nbytes / 3


def test_slices_are_read_when_indexed_and_no_others(tmp_path, monkeypatch):
    from finescan.io.volumes import slices

    path = write(tmp_path / "slices", vs.a_volume((40, 20, 20)))
    image, seen = read_volume(path), []
    pixels = slices.Slice.pixels

    def spy(self, rows, columns):
        seen.append((self.path.name, rows, columns))
        return pixels(self, rows, columns)

    monkeypatch.setattr(slices.Slice, "pixels", spy)
    image.data[10:20:4, 5:7, 3]
    assert [s[0] for s in seen] == ["slice_0010.tif", "slice_0014.tif", "slice_0018.tif"]
    assert seen[0][1:] == (slice(5, 7, 1), slice(3, 4, 1))


@pytest.mark.parametrize("ending", VOLUME_WRITERS)
def test_a_lazy_volume_is_written_piece_by_piece(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1 << 16)
    whole, asked = vs.voxels((128, 70, 66), "uint16"), []

    def fetch(where):
        block = whole[where]
        asked.append(block.nbytes)
        return block

    image = Image(Lazy(whole.shape, whole.dtype, fetch), vs.a_volume(whole.shape).grid, "lazy")
    path = write(named(tmp_path, ending), image)
    assert np.array_equal(read_volume(path).array(), whole)
    if ending != ".ome.zarr":  # a store is written in whole shards
        assert max(asked) <= 64 * 64 * 64 * 2
    assert sum(asked) == whole.nbytes  # nothing is read twice


def test_boxes_of_a_copy_cover_the_volume_once_and_stay_small():
    class Counted:
        shape, dtype = (150, 500, 2000), np.dtype(np.uint8)

        def __getitem__(self, box):
            return np.empty([len(range(*s.indices(n))) for s, n in zip(box, self.shape, strict=True)], np.uint8)

    seen = np.zeros((150, 500, 2000), np.uint8)
    for box, block in pieces.pieces(Counted(), (64, 64, 64)):
        assert block.nbytes <= pieces.PIECE_BYTES and box[0].start % 64 == box[1].start % 64 == box[2].start % 64 == 0
        seen[box] += 1
    assert (seen == 1).all()


def test_indices_that_a_volume_on_disk_cannot_serve_are_errors(tmp_path):
    data = read_volume(write(tmp_path / "v.h5", vs.a_volume())).data
    for key, message in (
        ((0, 0, 0, 0), "4 indices"),
        (9, "outside an axis of 9"),
        (slice(None, None, -1), "positive steps"),
        ([1, 2], "list came"),
    ):
        with pytest.raises(IndexError, match=message):
            data[key]


# ---------------------------------------------------------------------------------------------- picture or volume
def test_pictures_movies_and_missing_files_do_not_look_like_volumes(tmp_path):
    import tifffile

    flat = Image(vs.voxels()[0], Grid.of((21, 34), 5.0))
    for ending in io.WRITERS:
        assert not looks_like_volume(write(tmp_path / f"flat{ending}", flat))
    tifffile.imwrite(tmp_path / "movie.tif", vs.voxels((8, 9, 10), "uint8"), imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "four.tif", vs.voxels((4, 9, 10)), photometric="minisblack")
    tifffile.imwrite(tmp_path / "rgb.tif", vs.voxels((20, 30, 3), "uint8"), photometric="rgb")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "folder").mkdir()
    for name in ("movie.tif", "four.tif", "rgb.tif", "text.txt", "empty.tif", "folder", "gone.tif"):
        assert not looks_like_volume(tmp_path / name), name


def test_read_of_a_stack_tells_about_read_volume(tmp_path):
    path = write(tmp_path / "stack.tif", vs.a_volume((7, 20, 20)))
    with pytest.raises(InputError, match=r"holds 7 pictures.*frame=.*read_volume \(--volume"):
        io.read(path)
    path = write(tmp_path / "more.tif", vs.a_volume((40, 20, 20)))
    with pytest.raises(InputError, match=r"holds 40 slices.*frame=.*read_volume \(--volume"):
        io.read(path)
    for path in (write(tmp_path / "a.h5", vs.a_volume()), write(tmp_path / "slices", vs.a_volume())):
        with pytest.raises(UnreadableFile, match=r"A volume is read with read_volume \(--volume"):
            io.read(path)
    path = tmp_path / "more.tif"
    one = io.read(path, frame=3)
    assert np.array_equal(one.array(), vs.voxels((40, 20, 20))[3])
    assert one.grid.pixel_size_nm == vs.a_volume().grid.pixel_size_nm[1:]
