"""Vendors' headers: pixel size, stage, detector, dwell time, data bar."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import tifffile
import vendor_files as vf

from finescan.errors import InputError, MissingPixelSize
from finescan.io import read


def test_thermo_header_gives_pixel_size_stage_and_bar(tmp_path):
    path = vf.tiff(tmp_path / "a.tif", vf.picture(47), code=34682, text=vf.thermo_text(rows=40, columns=60))
    image = read(path)
    assert image.grid.shape == (40, 60) and image.acquisition.databar_rows == 7
    assert image.grid.pixel_size_nm == pytest.approx((3372.4 * 0.9, 3372.4))
    said = image.acquisition
    assert (said.vendor, said.detector, said.dwell_time_us) == ("Thermo Fisher", "ETD", pytest.approx(10.0))
    assert said.stage.tilt_deg == pytest.approx(30.0) and said.stage.x_nm == pytest.approx(25760.0)
    assert said.extra["voltage_kv"] == pytest.approx(5.0)
    assert said.extra["scan_rotation_deg"] == pytest.approx(np.degrees(0.5))
    assert said.pixel_size_from == "header" and "[Stage]" in said.header


def test_thermo_header_of_a_resized_picture_is_not_believed(tmp_path):
    path = vf.tiff(tmp_path / "a.tif", vf.picture(40, 30), code=34682, text=vf.thermo_text(rows=80, columns=60))
    with pytest.raises(MissingPixelSize, match=r"80 x 60 px.*resized or cropped.*--pixel-size"):
        read(path)


def test_thermo_field_of_view_gives_the_pixel_size_when_nothing_else_does(tmp_path):
    text = vf.thermo_text(rows=40, columns=60).replace("PixelWidth=", "Nothing=")
    text = text.replace("WD=0.004", "WD=0.004\nHFW=0.00006\nVFW=0.00002")
    image = read(vf.tiff(tmp_path / "a.tif", vf.picture(), code=34682, text=text))
    assert image.grid.pixel_size_nm == pytest.approx((500.0, 1000.0))


def test_thermo_navigation_camera_without_scale_is_refused(tmp_path):
    text = vf.thermo_text(rows=40, columns=60).replace("PixelWidth=", "Nothing=")
    with pytest.raises(MissingPixelSize, match=r"a\.tif has no pixel size\. Pass pixel_size_nm"):
        read(vf.tiff(tmp_path / "a.tif", vf.picture(), code=34682, text=text))


@pytest.mark.parametrize(
    ("columns", "image_pixel", "pixel", "truth"),
    [
        (2048, "12.33 nm", "24.65 nm", 12.33),  # Pixel Size is twice too large
        (512, None, "5.825 nm", 11.65),  # only the display's pixel size: corrected by 1024 / 512
        (1024, "2.615 µm", "2.615 µm", 2615.0),
        (1024, "850.0 pm", "850.0 pm", 0.85),
    ],
)
def test_zeiss_image_pixel_size_is_used_never_the_displays(tmp_path, columns, image_pixel, pixel, truth):
    text = vf.zeiss_text(columns, image_pixel=image_pixel, pixel=pixel, line3=0.0)
    image = read(vf.tiff(tmp_path / "z.tif", vf.picture(columns * 3 // 4, columns), code=34118, text=text))
    assert image.grid.pixel_size_nm == pytest.approx((truth, truth))
    assert image.acquisition.stage.x_nm == pytest.approx(75.6442e6)
    assert image.acquisition.stage.tilt_deg == pytest.approx(12.5)
    assert image.acquisition.dwell_time_us == pytest.approx(51.2e3 / columns)
    assert image.acquisition.detector == "InLens" and image.acquisition.databar_rows == 0


def test_zeiss_nameless_number_adds_digits_only_when_it_agrees(tmp_path):
    agree = vf.zeiss_text(1024, image_pixel="2.615 µm", pixel="2.615 µm", line3=2.614514e-6)
    other = vf.zeiss_text(1024, image_pixel="2.615 µm", pixel="2.615 µm", line3=5.229e-6)
    data = vf.picture(768, 1024)
    assert read(vf.tiff(tmp_path / "a.tif", data, code=34118, text=agree)).grid.pixel_size_nm[0] == 2614.514
    assert read(vf.tiff(tmp_path / "b.tif", data, code=34118, text=other)).grid.pixel_size_nm[0] == 2615.0


def test_zeiss_painted_bar_is_found_and_cut(tmp_path):
    data = vf.picture(768, 1024)
    data[700:766, 2:-1] = 255
    data[700, 2:-1] = data[765, 2:-1] = 0  # the frame of the bar
    data[720:740, 100:140] = 0  # writing
    text = vf.zeiss_text(1024, image_pixel="10.0 nm", pixel="10.0 nm", line3=0.0)
    path = vf.tiff(tmp_path / "z.tif", data, code=34118, text=text)
    image = read(path)
    assert image.grid.shape == (700, 1024) and image.acquisition.databar_rows == 68
    assert read(path, databar=0).grid.shape == (768, 1024)
    assert read(path, databar=100).grid.shape == (668, 1024)
    assert np.array_equal(image.array(), data[:700])


def test_a_saturated_lower_edge_is_no_bar(tmp_path):
    data = vf.picture(768, 1024)
    data[700:, :900] = 255
    text = vf.zeiss_text(1024, image_pixel="10.0 nm", pixel="10.0 nm", line3=0.0)
    assert read(vf.tiff(tmp_path / "z.tif", data, code=34118, text=text)).acquisition.databar_rows == 0


def test_an_unknown_vendors_bar_is_left_alone(tmp_path):
    data = vf.picture(768, 1024)
    data[700:] = 255
    assert read(vf.tiff(tmp_path / "u.tif", data), pixel_size_nm=1).grid.shape == (768, 1024)


def test_tescan_tag_gives_pixel_size_and_strip(tmp_path):
    tag = vf.tescan_tag(pixel_m=146.484375e-9, strip=9)
    image = read(vf.tiff(tmp_path / "t.tif", vf.picture(49, dtype="uint16"), code=50431, text=tag))
    assert image.grid.pixel_size_nm == pytest.approx((146.484375, 146.484375))
    assert image.grid.shape == (40, 60) and image.acquisition.databar_rows == 9 and image.dtype == np.uint16
    assert image.acquisition.dwell_time_us == pytest.approx(32.0)
    assert image.acquisition.stage.tilt_deg == 10.0 and image.acquisition.stage.x_nm == pytest.approx(1.9e6)
    assert "\r\n" in image.acquisition.header or "\n" in image.acquisition.header


def test_tescan_sidecar_is_read_when_the_tag_is_gone(tmp_path):
    path = vf.tiff(tmp_path / "t.tif", vf.picture())
    (tmp_path / "t-tif.hdr").write_text("[MAIN]\nPixelSizeX=2e-8\nPixelSizeY=3e-8\nImageStripSize=0\n[SEM]\nHV=10000\n")
    image = read(path)
    assert image.grid.pixel_size_nm == pytest.approx((30.0, 20.0))
    assert image.acquisition.vendor == "TESCAN" and image.acquisition.extra["voltage_kv"] == 10.0


def test_jeol_sidecar_gives_pixel_size_and_bar(tmp_path):
    path = vf.tiff(tmp_path / "j.tif", vf.picture(46))
    (tmp_path / "j.txt").write_bytes(vf.JEOL_SEM.encode("latin-1"))
    image = read(path)
    assert image.grid.pixel_size_nm == pytest.approx((200.0, 200.0))
    assert image.grid.shape == (40, 60) and image.acquisition.detector == "SEI"


def test_jeol_sidecar_of_a_resized_picture_is_not_believed(tmp_path):
    path = vf.tiff(tmp_path / "j.tif", vf.picture(80, 120))
    (tmp_path / "j.txt").write_bytes(vf.JEOL_SEM.encode("latin-1"))
    with pytest.raises(MissingPixelSize, match="resized"):
        read(path)


def test_jeol_sightx_uses_the_pictures_own_camera_scale_and_refuses_diffraction(tmp_path):
    image_text = vf.JEOL_SIGHTX.format(mode="modeMAG1", unit="UnitType_Length")
    path = vf.tiff(tmp_path / "j.tif", vf.picture(), description=image_text)
    packed = tmp_path / "j.tif.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for p in (path, packed):
        assert read(p).grid.pixel_size_nm == pytest.approx((2.0, 2.0))
    pattern = vf.JEOL_SIGHTX.format(mode="modeDIFF", unit="UnitType_Diffraction")
    with pytest.raises(MissingPixelSize, match="diffraction pattern"):
        read(vf.tiff(tmp_path / "d.tif", vf.picture(), description=pattern))


def test_openfibsem_json_gives_pixel_size_and_tilt_in_degrees(tmp_path):
    said = {
        "beam_type": "ION",
        "dwell_time": 1e-6,
        "pixel_size": {"x": 52.08e-9, "y": 50e-9},
        "microscope_state": {
            "absolute_position": {"x": -0.003, "y": 0.004, "z": 0.03, "r": 0.5, "t": 0.6108652382},
            "ib_settings": {"voltage": 30000.0, "beam_current": 2e-11},
            "eb_settings": {"voltage": 2000.0},
        },
        "detector_settings": {"type": "ETD", "mode": "SecondaryElectrons"},
        "shape": [40, 60],
    }
    image = read(vf.tiff(tmp_path / "o.tif", vf.picture(), description=json.dumps(said)))
    assert image.grid.pixel_size_nm == pytest.approx((50.0, 52.08))
    assert image.acquisition.stage.tilt_deg == pytest.approx(35.0)
    assert image.acquisition.extra["voltage_kv"] == 30.0 and image.acquisition.dwell_time_us == pytest.approx(1.0)
    said["shape"] = [80, 120]
    with pytest.raises(MissingPixelSize, match="resized"):
        read(vf.tiff(tmp_path / "p.tif", vf.picture(), description=json.dumps(said)))


@pytest.mark.parametrize(
    ("unit", "nm"), [("nm", 1), ("micron", 1e3), ("\\u00B5m", 1e3), ("um", 1e3), ("mm", 1e6), ("pm", 1e-3)]
)
def test_imagej_unit_times_resolution_is_the_pixel_size(tmp_path, unit, nm):
    path = vf.tiff(
        tmp_path / "i.tif",
        vf.picture(),
        description=f"ImageJ=1.53t\nunit={unit}\n",
        resolution=(4.0, 5.0),
        resolutionunit="none",
    )
    assert read(path).grid.pixel_size_nm == pytest.approx((nm / 5, nm / 4))


@pytest.mark.parametrize("unit", ["inch", "pixel", ""])
def test_imagej_without_a_length_unit_has_no_pixel_size(tmp_path, unit):
    text = f"ImageJ=1.53t\nunit={unit}\n"
    path = vf.tiff(tmp_path / "i.tif", vf.picture(), description=text, resolution=(100.0, 100.0))
    with pytest.raises(MissingPixelSize, match="--pixel-size"):
        read(path)


def test_imagej_diffraction_unit_is_refused_by_name(tmp_path):
    text = "ImageJ=1.53t\nunit=1/nm\n"
    path = vf.tiff(tmp_path / "i.tif", vf.picture(), description=text, resolution=(100.0, 100.0))
    with pytest.raises(MissingPixelSize, match=r"1/nm.*diffraction"):
        read(path)


def test_ome_tiff_units_and_channels(tmp_path):
    data = np.stack([vf.picture(), vf.picture(seed=1)])
    path = tmp_path / "m.ome.tif"
    meta = {
        "axes": "CYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.002,
        "Channel": {"Name": ["SE", "BSE"]},
    }
    tifffile.imwrite(path, data, metadata=meta, photometric="minisblack")
    with pytest.raises(InputError, match=r"holds 2 pictures.*channel=.*0: SE; 1: BSE"):
        read(path)
    image = read(path, channel="BSE")
    assert np.array_equal(image.array(), data[1])
    assert image.grid.pixel_size_nm == pytest.approx((2.0, 0.5))  # µm is OME's default unit


@pytest.mark.parametrize(
    ("dots", "unit", "nm"),
    [(1e6, "centimeter", 10.0), (28.346, "centimeter", None), (118.11, "centimeter", None), (1e6, "inch", None)],
)
def test_bare_resolution_tags_are_believed_only_when_credible(tmp_path, dots, unit, nm):
    path = vf.tiff(tmp_path / "r.tif", vf.picture(), resolution=(dots, dots), resolutionunit=unit)
    if nm is None:
        with pytest.raises(MissingPixelSize):
            read(path)
    else:
        assert read(path).grid.pixel_size_nm == pytest.approx((nm, nm))


def test_digitalmicrograph_tags(tmp_path):
    tags = [(65009, 12, 1, 0.002, True), (65010, 12, 1, 0.003, True), (65012, 2, 0, "micrometer", True)]
    tags += [(65013, 2, 0, "micrometer", True)]
    tifffile.imwrite(tmp_path / "g.tif", vf.picture(), extratags=tags, metadata=None)
    assert read(tmp_path / "g.tif").grid.pixel_size_nm == pytest.approx((3.0, 2.0))
