"""Lists of places of a volume parsed back: places, units by value and flips, on a pattern without any symmetry."""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from finescan.errors import InputError
from finescan.rescan import (
    VOLUME_EXPORTERS,
    ExportOptions,
    FieldOfView,
    Goal,
    MapReference,
    TomogramTimes,
    VolumePlace,
    VolumePlan,
    VolumeStage,
    VolumeVisit,
    exported,
    numbered_views,
    volume_formats_of,
)
from finescan.rescan.volume_picture import projections
from finescan.values import Grid

#: z, y, x of the first corners: an L that no turn or mirror image of it is
CORNERS = [(2, 4, 8), (2, 40, 8), (2, 40, 70), (20, 4, 8)]
SIZE = (6, 10, 12)  # voxels
GRID = Grid("ZYX", (30, 60, 100), (800.0, 500.0, 400.0), (400.0, -250.0, 7000.0))
STAGE = VolumeStage(
    ((1e-4, 2e-4, 9e-4, 100.0), (0.0, -1e-3, 1e-4, -20.0), (-1e-3, 0.0, 0.0, 3000.0)), "From a test.", (1.5, 2.5, 3.5)
)


def plan(axis="z", stage=STAGE, corners=CORNERS):
    visits = tuple(
        VolumeVisit(
            k + 1,
            len(corners) - k,
            VolumePlace(c, tuple(np.add(c, SIZE)), 0.01 * (k + 1)),
            60.0 + k,
            (f"Why {k}, so.",),
        )
        for k, c in enumerate(tuple(map(float, c)) for c in corners)
    )
    field = FieldOfView(tuple(n * p for n, p in zip(SIZE, GRID.pixel_size_nm, strict=True)), axis)
    map_ = MapReference("coarse.tif", GRID, "ab" * 32)
    return VolumePlan(map_, field, TomogramTimes(60.0), Goal(until=0.1), visits, stage)


def written(a_plan, name, **options) -> bytes:
    files, left_out = exported(a_plan, [name], options=ExportOptions(**options), table=VOLUME_EXPORTERS)
    assert list(files) == [VOLUME_EXPORTERS[name].file] and not left_out
    return files[VOLUME_EXPORTERS[name].file]


def stage_um(corner):
    """By hand: the middle in nm of the grid, then the matrix."""
    z, y, x = (np.add(corner, np.array(SIZE) / 2) - 0.5) * GRID.pixel_size_nm + GRID.origin_nm
    return 1e-4 * z + 2e-4 * y + 9e-4 * x + 100, -1e-3 * y + 1e-4 * x - 20, -1e-3 * z + 3000


def test_csv():
    rows = list(csv.DictReader(io.StringIO(written(plan(), "csv").decode())))
    for k, (row, corner) in enumerate(zip(rows, CORNERS, strict=True)):
        number = {n: float(v) for n, v in row.items() if n not in ("id", "reason", "shape")}
        assert (row["id"], number["order"], number["priority"]) == (f"R{k + 1:03d}", k + 1, 4 - k)
        middle = np.add(corner, np.array(SIZE) / 2)
        assert [number[f"centre_{n}_px"] for n in "zyx"] == list(middle - 0.5)
        um = middle * (0.8, 0.5, 0.4)
        assert [number[f"centre_{n}_um"] for n in "zyx"] == pytest.approx(um)
        assert [number[f"from_middle_{n}_um"] for n in "zyx"] == pytest.approx(um - (12, 15, 20))
        assert [number[f"size_{n}_um"] for n in "zyx"] == pytest.approx((4.8, 5.0, 4.8))
        assert [number[f"size_{n}_px"] for n in "zyx"] == list(SIZE)
        assert [number[f"stage_{n}_um"] for n in "xyz"] == pytest.approx(stage_um(corner), abs=1e-4)
        assert [number[f"stage_sigma_{n}_um"] for n in "xyz"] == [1.5, 2.5, 3.5]
        assert (number["seconds"], number["reduction_percent"]) == (60 + k, k + 1)
        assert row["reason"] == f"Why {k}, so." and row["shape"] == "cylinder along z"
    lost = list(csv.DictReader(io.StringIO(written(plan("", None), "csv").decode())))
    assert lost[0]["stage_x_um"] == lost[0]["stage_sigma_z_um"] == "" and lost[0]["shape"] == "box"


def read_roi(data: bytes) -> tuple:
    """Kind, (x, y, width, height) and slice as ImageJ's decoder reads them: by the offsets it documents."""
    assert data[:4] == b"Iout" and struct.unpack_from(">H", data, 50)[0] & 128
    return data[6], struct.unpack_from(">4f", data, 18), struct.unpack_from(">i", data, 56)[0]


@pytest.mark.parametrize("axis", ["z", "", "x", "y"])
def test_regions_lie_in_the_slices_that_a_place_covers(axis):
    with zipfile.ZipFile(io.BytesIO(written(plan(axis), "roiset"))) as archive:
        found = {n: read_roi(archive.read(n)) for n in archive.namelist()}
    assert len(found) == 4 * SIZE[0]
    for k, (z, y, x) in enumerate(CORNERS):
        for slice_ in range(z, z + SIZE[0]):
            kind, bounds, position = found[f"{k + 1:04d}-R{k + 1:03d}-z{slice_ + 1:04d}.roi"]
            assert position == slice_ + 1 and kind == (2 if axis == "z" else 1)
            half = np.sqrt(1 - ((slice_ - z + 0.5) / 3 - 1) ** 2)
            high, wide = SIZE[1] * (half if axis == "x" else 1), SIZE[2] * (half if axis == "y" else 1)
            expected = x + (SIZE[2] - wide) / 2, y + (SIZE[1] - high) / 2, wide, high
            assert bounds == pytest.approx(expected, rel=1e-6)


def test_of_many_places_some_slices_are_listed():
    many = plan(corners=[CORNERS[0]] * 900)
    with zipfile.ZipFile(io.BytesIO(written(many, "roiset"))) as archive:
        names = archive.namelist()
    assert len(names) == 2700 and [n[-8:-4] for n in names[:3]] == ["0003", "0005", "0008"]


def test_micromanager():
    d = json.loads(written(plan(), "micromanager", xy_stage="Table", z_stage="Lift"))
    for k, (entry, corner) in enumerate(zip(d["map"]["StagePositions"]["array"], CORNERS, strict=True)):
        devices = {p["Device"]["scalar"]: p["Position_um"]["array"] for p in entry["DevicePositions"]["array"]}
        x, y, z = stage_um(corner)
        assert devices["Table"] == pytest.approx([x, y]) and devices["Lift"] == pytest.approx([z])
        assert entry["Label"]["scalar"] == f"{k + 1:03d}-R{k + 1:03d}" and entry["GridCol"]["scalar"] == k
    with pytest.raises(
        InputError, match=r"Micro-Manager needs stage positions, but those of coarse\.tif are not known"
    ):
        written(plan(stage=None), "micromanager")
    files, left_out = exported(plan(stage=None), list(VOLUME_EXPORTERS), skip=True, table=VOLUME_EXPORTERS)
    assert set(files) == {"rescan.csv", "RoiSet.zip"} and left_out[0].startswith("rescan.pos was left out: ")


def test_flat_forms_are_refused_by_name():
    assert volume_formats_of(("csv",), False) == ("csv",)
    assert volume_formats_of(("csv", "geojson"), True) == tuple(VOLUME_EXPORTERS)
    with pytest.raises(InputError, match=r"rescan\.geojson \(QuPath\) holds flat fields only"):
        volume_formats_of(("geojson",), False)


# ------------------------------------------------------------------ the picture
def test_views_are_means_along_each_axis():
    volume = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    volume[:, :2] = np.nan
    volume[1, 3, 4] = np.nan
    found = projections(volume)
    for name, axis in (("z", 0), ("y", 1), ("x", 2)):
        with np.errstate(all="ignore"):
            known = np.isfinite(volume)
            expected = np.where(known, volume, 0).sum(axis) / known.sum(axis)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_places_are_drawn_where_the_volume_is_bright():
    """Bright boxes of the L lie inside the outlines of all three views; an outline goes round nothing else."""
    volume = np.zeros(GRID.shape, np.uint8)
    for corner in CORNERS:
        volume[tuple(slice(c, c + n) for c, n in zip(corner, SIZE, strict=True))] = 200
    shown = Pillow.open(io.BytesIO(numbered_views(volume, plan("", None)))).convert("RGB")
    bare = Pillow.open(io.BytesIO(numbered_views(volume, replace(plan("", None), visits=())))).convert("RGB")
    grey, drawn = np.asarray(bare, int), np.asarray(shown, int)
    width = round(1300 / max(40 + 24, 30 + 24) * (40 + 24)) + 30  # the views; the list lies to the right
    orange = (np.abs(drawn - (255, 176, 0)).sum(-1) < 30)[:, :width]
    bright = (grey.min(-1) > 60)[:, :width] & (np.ptp(grey, axis=-1) == 0)[:, :width]
    from scipy import ndimage

    bright = ndimage.binary_opening(bright, iterations=8)  # without the words
    count = ndimage.label(bright)[1]
    assert count == 3 + 3 + 3  # of four boxes two lie behind each other in every view
    ring = ndimage.binary_dilation(bright, iterations=3) & ~ndimage.binary_erosion(bright, iterations=3)
    assert orange[ring].mean() > 0.4
    far = ndimage.distance_transform_edt(~ndimage.binary_dilation(ring, iterations=4))
    assert (far[orange] < 45).all()  # nothing but their numbers, which stand in their corners


def test_the_picture_is_of_the_same_volume():
    with pytest.raises(InputError, match=r"The volume is \(3, 3, 3\) voxels, but the plan's has"):
        numbered_views(np.zeros((3, 3, 3)), plan())
