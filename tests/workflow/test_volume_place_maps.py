"""Maps place by place in volumes: of held-out boxes only, in the report of a run, and of results of other programs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan import io, workflow
from finescan.errors import OutputError
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.trust import Consistency
from finescan.trust.local_resolution import FWHM
from finescan.trust.local_windows import Windows
from finescan.values import Circle, GreyStatistics, Grid, Image
from finescan.workflow.page_errors import chapter
from finescan.workflow.place_maps import HeldOutMaps, PlaceMaps, summary_lines
from finescan.workflow.place_pictures import CUTS, painted, place_figure
from finescan.workflow.volume_held_out_maps import map_held_out_boxes

SHAPE = (48, 56, 64)
GRID = Grid.of(SHAPE, 500.0)
CHECK = Consistency(0.5, 1.0, 0.0, 2.0, 4.0, 0.9)
TEST = (6, 8, 10, 42, 48, 58)  # z, y, x of the first voxel, then of the first one behind


def scene(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 1.5)
    return 120 + 40 * np.sign(blobs) + rng.normal(0, 2, SHAPE)


def coarse_of(fine: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(fine, 0.9).reshape(24, 2, 28, 2, 32, 2).mean((1, 3, 5)).astype(np.float32)


def patches_of(fine: np.ndarray, known: np.ndarray | None = None) -> VolumePatchSet:
    lr = coarse_of(fine).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    hr = fine if known is None else np.where(known, fine, 1e5)
    piece = VolumePiece(lr, hr.astype(np.float32), np.ones(SHAPE, bool), (0, 0, 0), np.zeros(SHAPE[1:]), "fine")
    grey = GreyStatistics(120.0, 40.0, 60.0, 180.0)
    whole = Circle((SHAPE[1] * 250.0, SHAPE[2] * 250.0), 1e6)
    boxes, levels = {"stop": [], "test": [TEST]}, (60.0, 180.0)
    return VolumePatchSet((piece,), (2.0,) * 3, GRID, whole, grey, grey, 1.0, 0.0, levels, "uint16", boxes, 2)


def measured(fine: np.ndarray, enhanced: np.ndarray, known: np.ndarray | None = None) -> HeldOutMaps:
    lr = Image(coarse_of(fine), GRID.coarsen(2), "coarse")
    return map_held_out_boxes(patches_of(fine, known), lr, Image(enhanced.astype(np.float32), GRID, "enhanced"), CHECK)


FINE = scene()


@pytest.fixture(scope="module")
def enhanced() -> np.ndarray:
    """Blurred more on the right, with a bright block that is not there."""
    out = ndimage.gaussian_filter(FINE, 1.0)
    out[:, :, 34:] = ndimage.gaussian_filter(FINE, 2.0)[:, :, 34:]
    out[20:26, 20:26, 20:26] += 150
    return out


@pytest.fixture(scope="module")
def found(enhanced) -> HeldOutMaps:
    return measured(FINE, enhanced)


def test_the_held_out_box_is_mapped_and_shows_where_the_result_is_wrong(found):
    (place,) = found.places
    assert place.grid.shape == (36, 40, 48) and place.local.windows.size_px == 24
    blur = place.local.maps("enhanced")["blur_fwhm_nm"]
    assert np.median(blur[:, :, 0]) == pytest.approx(FWHM * 500, rel=0.1)
    assert np.median(blur[:, :, -1]) == pytest.approx(FWHM * 1000, rel=0.1)
    assert place.error_grid.shape == (18, 20, 24) and place.errors.invention[8, 7, 6] > 1.5  # of the bright block
    assert np.median(place.errors.invention) < 0.5 and place.errors.consistency[8, 7, 6] > 3
    row = found.facts()["local_resolution"]["images"]
    assert set(row) == {"enhanced", "interpolated"}
    assert row["interpolated"]["blur_fwhm_nm"]["median"] > row["enhanced"]["blur_fwhm_nm"]["low"]
    json.dumps(found.facts(), allow_nan=False)


def test_nothing_outside_the_held_out_box_is_looked_at_in_the_fine_volume(found, enhanced):
    inside = np.zeros(SHAPE, bool)
    inside[tuple(map(slice, TEST[:3], TEST[3:]))] = True
    again = measured(FINE, enhanced, inside)
    for name in ("enhanced", "interpolated"):
        for key, values in found.places[0].local.maps(name).items():
            assert np.array_equal(values, again.places[0].local.maps(name)[key])
    for kind in ("consistency", "omission", "invention"):
        assert np.array_equal(*(getattr(f.places[0].errors, kind) for f in (found, again)))


def test_a_region_that_does_not_hold_the_box_has_no_maps():
    part = GRID.crop((0, 0, 0), (48, 56, 40))
    lr = Image(coarse_of(FINE), GRID.coarsen(2), "coarse")
    found = map_held_out_boxes(patches_of(FINE), lr, Image(FINE[:, :, :40].astype(np.float32), part, "part"), CHECK)
    assert found.places == () and found.useful is None and found.notes == []
    assert chapter(found, {**found.facts(), "notes": []}) == ()


def test_voxels_finer_than_the_detail_are_a_note(found):
    (note,) = found.notes
    assert note.startswith("The volume has voxels of 500 nm but holds detail down to ")
    assert "(shell correlation 0.5 with held-out fine scan)" in note and "coarse voxels of 1 µm" in note
    places, errors = summary_lines(found.facts())
    assert "windows of 24 voxels" in places and "detail (shell correlation 0.5)" in places and "interpolated" in places
    assert errors.startswith("errors beyond the ordinary limit: consistency ")


def test_the_chapter_has_three_slices_of_every_map(found):
    (made,) = chapter(found, {**found.facts(), "notes": []})
    words = " ".join(p if isinstance(p, str) else f"{p.title} {p.svg} {p.note}" for p in made.parts)
    assert all(words.count(f">{cut}</text>") == 5 for cut in CUTS)
    for expected in (">invention</text>", ">interpolated</text>", "windows of 24 voxels (12 µm)", "coarse voxel; 1 is"):
        assert expected in words
    assert "MS-SSIM with the fine scan in the same windows (2 scales)" in words and "ring correlation" not in words
    assert found.notes[0] in made.parts[0]
    median = found.facts()["local_resolution"]["images"]["enhanced"]["ms_ssim"]["median"]
    assert f"Dark is alike. Medians: enhanced {median:.3g}, interpolated " in words


def test_slices_cross_in_the_voxel_that_was_said_and_lie_in_frames_of_one_shape():
    volume = np.arange(6 * 8 * 10, dtype=np.float32).reshape(6, 8, 10)
    grid = Grid.of(volume.shape, (20.0, 10.0, 10.0))
    place = PlaceMaps(grid, {}, None, None, at=(4, 2, 7))
    one = place_figure("Volume", place, {"a": volume}, grid.pixel_size_nm, window=(0, 480))
    slices = volume[4], volume[:, 2], volume[:, :, 7]
    other = place_figure("Volume", place, {"a": slices}, grid.pixel_size_nm, window=(0, 480))
    assert one.svg == other.svg and one.svg.count("<image") == 4  # three slices and the key
    moved = place_figure("Volume", replace(place, at=(4, 2, 8)), {"a": volume}, grid.pixel_size_nm, window=(0, 480))
    assert moved.svg != one.svg
    half = volume[::2, ::2, ::2]  # a map with voxels of twice the size is cut at the same place
    sizes = [2 * p for p in grid.pixel_size_nm]
    maps = [place_figure("Map", place, {"a": v}, sizes) for v in (half, (half[2], half[:, 1], half[:, :, 3]))]
    assert maps[0].svg == maps[1].svg


def test_windows_are_painted_around_their_middles_in_volumes_too():
    windows = Windows.of(np.ones((16, 24, 16), bool), 16).laid
    out = painted(np.array([[[1.0], [2.0], [3.0]]], np.float32), windows)
    assert windows.step_px == 4 and out.shape == (8, 12, 8)
    assert np.isfinite(out).sum() == 3 * 8 and out[3, 3, 3] == out[4, 4, 4] == 1 and out[3, 8, 4] == 3


# ---------------------------------------------------------------------------------------- runs and other programs
def test_a_run_of_volumes_states_its_maps_in_its_facts_and_on_its_page(finished_volume):
    facts = json.loads((finished_volume / "trust.json").read_text())
    page = (finished_volume / "report.html").read_text(encoding="utf-8")
    assert set(facts["error_maps"]) == {"consistency", "omission", "invention"}
    assert "Errors and resolution, place by place" in page and ">invention</text>" in page
    local = facts["local_resolution"]
    assert (local["useful_pixel"]["sentence"] if local["windows"] else local["reason"]) in page


def test_evaluate_writes_maps_of_any_volume_with_voxel_size_figures_and_numbers(tmp_path, enhanced):
    for name, values, grid in (
        ("result", enhanced, GRID),
        ("fine", FINE, GRID),
        ("coarse", coarse_of(FINE), GRID.coarsen(2)),
    ):
        io.write(tmp_path / f"{name}.tif", Image(values.astype(np.float32), grid, name))
    out = tmp_path / "maps"
    judged = workflow.evaluate_files(
        tmp_path / "result.tif", tmp_path / "fine.tif", coarse=tmp_path / "coarse.tif", maps=out
    )
    assert sorted(p.name for p in out.iterdir()) == sorted(judged.facts["maps"])
    blur = io.read_volume(out / "blur_fwhm_nm.tif")
    assert blur.grid.shape == (3, 4, 5) and blur.grid.pixel_size_nm == pytest.approx((4000.0,) * 3)
    assert blur.array()[:, :, 0].mean() == pytest.approx(FWHM * 500, rel=0.1)
    assert io.read_volume(out / "omission.tif").grid.same_as(GRID.coarsen(2), tolerance=1e-3)
    facts = json.loads((out / "maps.json").read_text())
    assert facts["local_resolution"]["images"]["result"]["ms_ssim"]["median"] == pytest.approx(
        np.nanmedian(io.read_volume(out / "ms_ssim.tif").array())
    )
    assert facts["error_maps"] == judged.facts["error_maps"] and facts["error_maps"]["invention"]["share_above_1"] > 0
    assert (
        ">xz slice</text>" in (out / "local-blur-full-width.svg").read_text() and (out / "compared-place.svg").exists()
    )
    assert "(shell correlation 0.5 with the reference)" in str(judged)
    with pytest.raises(OutputError, match="is not empty"):
        workflow.evaluate_files(tmp_path / "result.tif", tmp_path / "fine.tif", maps=out)
    corner = GRID.crop((0, 0, 0), (24, 24, 28))
    for name, values in (("result", enhanced), ("fine", FINE)):
        small = Image(values[:24, :24, :28].astype(np.float32), corner, name)
        io.write(tmp_path / f"{name}.tif", small, overwrite=True)
    alone = workflow.evaluate_files(tmp_path / "result.tif", tmp_path / "fine.tif", maps=tmp_path / "alone")
    assert alone.facts["maps"][:3] == ["blur_fwhm_nm.tif", "fsc_nm.tif", "ms_ssim.tif"]
    assert alone.facts["error_maps"]["omission"] is None and "omission.tif" not in alone.facts["maps"]
