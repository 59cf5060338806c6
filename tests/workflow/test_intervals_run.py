"""Intervals of runs and of other people's images: from files, for any method, with what can be missing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.patches import make_patches
from finescan.simulation import simulate
from finescan.training import fit_contestants
from finescan.trust.map_intervals import intervals_from, intervals_of
from finescan.values import Grid, Image, Pair, Region, Residual, TrustMap, Verdict, Warp, flag_bits
from finescan.workflow import evaluating
from finescan.workflow.folder import RunFolder
from finescan.workflow.interval_parts import parts_of, recorded_error
from finescan.workflow.intervals import interval_facts, measure_intervals
from finescan.workflow.opening import Job
from finescan.workflow.pasting import UNCERTAINTY_FILE as FILE
from finescan.workflow.plan import Plan
from finescan.workflow.reading import Reading


def pair_of(lr, hr, warp):
    return Pair(lr, hr, warp, Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, lr.grid))


@pytest.fixture(scope="module")
def interpolated():
    """A registered pair, and its map by bicubic interpolation: pair, patches, enhanced, flags."""
    job = simulate("porous", size=96, ratio=4, fine=320, seed=2)
    pair = pair_of(job.lr, job.hr[0], job.lr_from_hr[0])
    patches = make_patches([pair])
    done = enhance(fit_contestants(patches)["bicubic"], job.lr, config=EnhanceConfig(guard=False))
    return pair, patches, done.image, done.trust


@pytest.fixture
def job(tmp_path):
    """An opened run whose map is finished."""
    made = Job(RunFolder(tmp_path, {}), Plan(), Reading(), lambda done, total, message: None)
    made.folder.finish("enhance", "some key")
    return made


def measured(job, made):
    pair, patches, enhanced, flags = made
    return measure_intervals(job, patches, "bicubic", enhanced, flags, pairs=[pair])


def test_intervals_of_an_interpolated_map_hold_on_the_test_blocks(job, interpolated):
    found = measured(job, interpolated)
    calibration = found.calibration
    assert calibration.levels == (0.8, 0.9, 0.95) and calibration.blocks >= 19
    np.testing.assert_allclose(calibration.coverage, calibration.levels, atol=0.04)
    facts = json.loads(json.dumps(dict(found.facts), allow_nan=False))
    assert facts["block_side_px"] >= 2 * facts["correlation_px"]
    assert facts["curve"]["nominal"][0] == 0.05 and "as recorded" in facts["target"]
    assert facts["sentence"].startswith(f"Intervals calibrated on {calibration.blocks} blocks of at least")


def test_the_map_of_half_widths_is_written_once_and_made_anew_for_a_new_result(job, interpolated, tmp_path):
    found = measured(job, interpolated)
    written = io.read(tmp_path / FILE)
    enhanced = interpolated[2]
    assert found.files[0] == FILE and written.dtype == np.float32
    assert written.grid.shape == enhanced.grid.shape
    assert written.grid.pixel_size_nm == pytest.approx(enhanced.grid.pixel_size_nm)
    np.testing.assert_allclose(written.array(), found.calibration.factor(0.9) * np.asarray(found.spread.data))
    np.testing.assert_array_equal(written.array(), np.asarray(found.uncertainty.data))
    before = (tmp_path / FILE).stat().st_mtime_ns
    again = measured(job, interpolated)
    assert (tmp_path / FILE).stat().st_mtime_ns == before and again.calibration == found.calibration
    (tmp_path / FILE).unlink()
    measured(job, interpolated)
    np.testing.assert_array_equal(io.read(tmp_path / FILE).array(), written.array())
    job.folder.finish("enhance", "another key")
    stamped = (tmp_path / FILE).stat().st_mtime_ns
    measured(job, interpolated)
    assert (tmp_path / FILE).stat().st_mtime_ns != stamped


def test_places_without_data_have_no_interval(job, interpolated):
    pair, patches, enhanced, flags = interpolated
    bits = np.array(flags.flags)
    bits[3:5, 7] |= np.uint8(flag_bits("no_data"))
    found = measured(job, (pair, patches, enhanced, TrustMap(bits, flags.grid)))
    assert np.isnan(np.asarray(found.spread.data)).sum() == 2 * 16
    assert np.isnan(found.spread.data[12:20, 28:32]).all()


def test_too_few_blocks_are_a_note_and_no_map(job, interpolated, tmp_path):
    pair, patches, enhanced, flags = interpolated
    (tmp_path / FILE).write_bytes(b"of an earlier result")
    t, x, _, _ = patches.boxes["stop"][0]
    few = replace(patches, boxes={**patches.boxes, "stop": [(t, x, t + 4, x + 4)]})
    found = measured(job, (pair, few, enhanced, flags))
    assert found.calibration is None and found.uncertainty is None and not (tmp_path / FILE).exists()
    assert "need at least 4 held-out blocks, but 1 are left" in found.notes[0] and found.facts["levels"] == []
    assert np.isfinite(np.asarray(found.spread.data[:8, :8])).all()  # where it is wrong is still known
    with pytest.raises(Exception, match="too few held-out blocks"):
        found.half_width(0.9)


def test_no_held_out_blocks_left_is_said(job, interpolated):
    pair, patches, enhanced, flags = interpolated
    found = measured(job, (pair, replace(patches, boxes={}), enhanced, flags))
    assert "need at least 4 held-out blocks, but 0 are left" in found.facts["sentence"]


def test_recorded_pixels_are_compared_where_they_lie():
    """Both scans see one smooth field; the fine one is shifted and turned, so resampling would be needed otherwise."""

    def field(nm):
        return (100 + 20 * np.sin(nm[..., 0] / 60) * np.cos(nm[..., 1] / 45)).astype(np.float32)

    out, fine = Grid.of((80, 90), 5.0), Grid.of((50, 60), 5.0)
    turn = np.radians(2.0)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    warp = Warp.affine(matrix, [70.0, 60.0])
    y = np.moveaxis(np.indices(fine.shape), 0, -1)
    noise = np.random.default_rng(0).normal(0, 3, fine.shape).astype(np.float32)
    hr = Image(field(warp(fine.to_nm(y))) + noise, fine, "fine")
    seen = field(out.to_nm(np.moveaxis(np.indices(out.shape), 0, -1)))
    error = recorded_error(seen, out, pair_of(Image(seen, out, "coarse"), hr, warp))
    known = np.isfinite(error)
    assert 0.8 * fine.size < known.sum() < 1.2 * fine.size
    assert error[known].std() == pytest.approx(3.0, rel=0.03)  # all of the noise, and nothing of the structure
    seen[40, 45] = np.nan
    assert np.isnan(recorded_error(seen, out, pair_of(Image(seen, out, "coarse"), hr, warp))[40, 45])


def test_scans_without_a_registration_are_compared_as_resampled(interpolated):
    pair, patches, enhanced, _ = interpolated
    plain, recorded = (parts_of(patches, enhanced, pairs)[0] for pairs in ((), (pair,)))
    piece, known = patches.pieces[0], recorded.known("stop", "test")
    np.testing.assert_array_equal(plain.error[known], (plain.enhanced - piece.hr)[known])
    assert recorded.error[known].std() > plain.error[known].std()  # resampling takes noise away


def test_the_facts_of_one_map_serve_another_one(interpolated):
    pair, patches, enhanced, _ = interpolated
    facts = interval_facts(patches, enhanced, [pair])
    other = Image(np.rot90(enhanced.array()).copy(), Grid.of(enhanced.grid.shape[::-1], enhanced.grid.pixel_size_nm))
    turned = np.asarray(intervals_from(facts, other).spread.data)
    np.testing.assert_allclose(turned, np.rot90(np.asarray(intervals_from(facts, enhanced).spread.data)), rtol=1e-3)


def test_a_finished_volume_has_intervals_too(finished_volume):
    facts = json.loads((finished_volume / "trust.json").read_text())
    half, enhanced = io.read_volume(finished_volume / FILE), io.read_volume(finished_volume / "enhanced.tif")
    assert FILE in facts["files"] and half.grid.same_as(enhanced.grid)
    assert half.dtype == np.float32 and half.array().min() > 0
    assert facts["intervals"]["blocks"] >= 9 and facts["intervals"]["levels"][:2] == [0.8, 0.9]


# ---------------------------------------------------------------------------------------------- other people's images
@pytest.fixture(scope="module")
def foreign():
    """An image whose errors grow with its grey level, and the fine scan of its left part."""
    rng = np.random.default_rng(4)
    smooth = ndimage.gaussian_filter(rng.standard_normal((320, 400)), 6)
    image = (1000 + 200 * smooth / smooth.std()).astype(np.float32)
    fine = image + 30 * np.exp((image - 1000) / 200) * rng.standard_normal(image.shape)
    return Image(image, Grid.of(image.shape, 10.0), "theirs.tif"), fine.astype(np.float32)


def test_somebody_elses_image_gets_intervals_that_hold_where_it_has_no_fine_scan(foreign):
    image, fine = foreign
    found = intervals_of(image, fine[:, :240], (0, 0), (4.0, 4.0))
    right = (slice(None), slice(248, None))
    error = np.abs(image.data - fine)[right]
    for level in found.calibration.levels:
        # with some 30 blocks, a little more than was asked for: one unseen block counts as infinitely wrong
        assert level - 0.02 < np.mean(error <= np.asarray(found.half_width(level))[right]) < level + 0.05
    assert found.calibration.narrower[1] > 0.2 and "resampled" in found.facts["target"]


def test_evaluate_writes_the_map_for_a_scan_of_another_pixel_size(foreign, finescan, tmp_path, monkeypatch):
    whole, _ = foreign
    image = whole.crop(Region(whole.grid, (0, 0), (200, 220)))
    io.write(tmp_path / "theirs.tif", image)
    rng = np.random.default_rng(5)
    zoomed = ndimage.zoom(image.data[20:180, 24:200], 1.25, order=3, grid_mode=True, mode="mirror")
    zoomed += 10 * rng.standard_normal(zoomed.shape)
    io.write(tmp_path / "fine.tif", Image(zoomed.astype(np.float32), Grid.of(zoomed.shape, 8.0), "fine.tif"))
    place = Warp.affine(np.eye(2), [20 * 10.0 - 1.0, 24 * 10.0 - 1.0])  # registration has tests of its own
    monkeypatch.setattr(evaluating, "register", lambda ours, theirs: pair_of(ours, theirs, place))
    said = finescan(
        "evaluate", tmp_path / "theirs.tif", tmp_path / "fine.tif", "--uncertainty", tmp_path / "u.tif", "-o",
        tmp_path / "facts.json",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "Intervals calibrated on" in said.out
    half = io.read(tmp_path / "u.tif")
    assert half.grid.shape == image.grid.shape and half.grid.pixel_size_nm == (10.0, 10.0)
    facts = json.loads((tmp_path / "facts.json").read_text())["intervals"]
    assert facts["check_blocks"] > 4 and abs(facts["coverage"][0] - 0.8) < 0.1
    again = finescan("evaluate", tmp_path / "theirs.tif", tmp_path / "fine.tif", "--uncertainty", tmp_path / "u.tif")
    assert again.code != 0 and "u.tif exists" in again.err
