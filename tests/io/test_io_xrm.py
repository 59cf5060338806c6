"""Zeiss X-ray microscope files, made by a writer of OLE2 compound files of our own."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
import volume_samples as vs
from ole_files import microscope_volume, write_ole

from finescan.errors import InputError, MissingPixelSize, UnreadableFile
from finescan.io import looks_like_volume, read_volume


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(5, 20, 30), (103, 60, 80)])
def test_a_txm_volume_is_read_slice_by_slice(tmp_path, dtype, shape):
    data = vs.voxels(shape, dtype)
    path = write_ole(tmp_path / "a.txm", microscope_volume(data, position={"X": 12.5, "Y": -3.0, "Z": 100.0}))
    image = read_volume(path)
    assert np.array_equal(image.array(), data) and image.dtype == dtype
    assert np.array_equal(image.data[2:4, 5, ::3], data[2:4, 5, ::3])
    assert image.grid.pixel_size_nm == (650.0, 650.0, 650.0)
    stage = image.acquisition.stage
    assert (stage.x_nm, stage.y_nm, stage.z_nm) == (12500.0, -3000.0, 100000.0)
    assert image.acquisition.vendor == "Zeiss" and image.acquisition.extra["magnification"] == 20.0
    assert looks_like_volume(path)


def test_the_ole_files_of_these_tests_are_what_olefile_expects(tmp_path):
    olefile = pytest.importorskip("olefile")
    path = write_ole(tmp_path / "a.txm", microscope_volume(vs.voxels((103, 60, 80))))
    with olefile.OleFileIO(str(path), raise_defects=olefile.DEFECT_INCORRECT) as file:
        assert len(file.listdir()) == 103 + 6 and file.parsing_issues == []
        assert struct.unpack("<i", file.openstream("ImageInfo/NoOfImages").read()) == (103,)


def test_txm_files_that_cannot_be_read_say_why(tmp_path, monkeypatch):
    data = vs.voxels((4, 20, 30))
    streams = microscope_volume(data)
    for name, change, message in (
        ("type", microscope_volume(data, code=12), r"type 12 \(1200 bytes per slice\), but 2 \(int8\), 3 \(uint8\)"),
        ("size", microscope_volume(data, drop=("ImageWidth",)), r"no ImageInfo/ImageWidth"),
        ("last", {k: v for k, v in streams.items() if k != "ImageData1/Image4"}, r"Slice 4 of .* has 0 of 1200 bytes"),
    ):
        with pytest.raises(UnreadableFile, match=message):
            read_volume(write_ole(tmp_path / f"{name}.txm", change))
    path = write_ole(tmp_path / "none.txm", microscope_volume(data, drop=("PixelSize",)))
    with pytest.raises(MissingPixelSize, match=r"none\.txm has no voxel size"):
        read_volume(path)
    path.write_bytes(b"not ole at all")
    with pytest.raises(UnreadableFile, match=r"no OLE2 compound file"):
        read_volume(path)
    monkeypatch.setitem(sys.modules, "olefile", None)
    with pytest.raises(UnreadableFile, match=r'\.txm files needs an optional reader.*pip install "finescan\[xrm\]"'):
        read_volume(path)


def test_projections_are_no_volume(tmp_path):
    data = vs.voxels((4, 20, 30))
    path = write_ole(tmp_path / "a.txrm", microscope_volume(data, angles=[-90, -45, 0, 45]))
    with pytest.raises(InputError, match=r"4 projections \(-90 to 45 degrees\), not a volume.*pass the \.txm"):
        read_volume(path)
    still = write_ole(tmp_path / "b.txrm", microscope_volume(data, angles=[0, 0, 0, 0]))
    assert np.array_equal(read_volume(still).array(), data)
