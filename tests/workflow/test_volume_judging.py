"""Judging volumes: the held-out boxes, the flags, round fields of view."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from finescan import resampling
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.trust import Consistency
from finescan.values import Circle, GreyStatistics, Grid, Image, Region, TrustMap, flag_bits
from finescan.workflow import volume_judging as judging
from finescan.workflow.field_of_view import corners_are_empty
from finescan.workflow.folder import RunFolder
from finescan.workflow.opening import Job
from finescan.workflow.plan import Plan
from finescan.workflow.reading import Reading

OUT = Grid.of((40, 60, 60), 10.0)


def bodies(shape, seed=0):
    """Smooth random grey levels around 100."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return (100 + 20 * field / field.std()).astype(np.float32)


def piece(start, shape, counted, name="fine"):
    """A piece of zeros that counts inside a box (slices) of it."""
    weight = np.zeros(shape, bool)
    weight[counted] = True
    zeros = np.zeros(shape, np.float32)
    return VolumePiece(zeros, zeros, weight, start, np.zeros(shape[1:], np.float32), name)


def patches(pieces, test):
    nothing = GreyStatistics(0.0, 1.0, 0.0, 1.0)
    circle = Circle.inscribed(OUT)
    return VolumePatchSet(
        tuple(pieces), (2.0,) * 3, OUT, circle, nothing, nothing, 1.0, 0.0, (0.0, 0.0), "uint16",
        {"test": test, "stop": []}, 4,
    )  # fmt: skip


def test_what_the_test_boxes_recorded_has_no_part_in_the_yardstick():
    fine = bodies(OUT.shape)
    lr = resampling.resample(Image(fine, OUT), onto=OUT.coarsen(2))
    found = []
    for changed in (np.s_[0:0], np.s_[2:14], np.s_[22:38]):  # nothing, in the test box, elsewhere
        hr = fine.copy()
        hr[changed] = hr[changed][::-1]
        whole = piece((0, 0, 0), OUT.shape, np.s_[:])
        found.append(judging.yardstick(patches([replace(whole, hr=hr)], [(0, 0, 0, 16, 60, 60)]), lr))
    assert found[0].informative and found[1] == found[0] != found[2]


def test_a_held_out_box_ends_where_the_fine_scan_ends():
    p = piece((0, 0, 0), (40, 60, 60), np.s_[8:32, 10:50, 10:50])
    ((region, on),) = judging.held_out(patches([p], [(4, 30, 0, 30, 60, 60)]))
    assert on is p and (region.start, region.stop) == ((8, 30, 10), (30, 50, 50))


def test_a_box_belongs_to_the_scan_in_which_most_of_it_counts():
    a = piece((0, 0, 0), (40, 60, 60), np.s_[0:40, 0:60, 0:22], "a")
    b = piece((0, 0, 10), (40, 60, 50), np.s_[:, :, 5:50], "b")
    ((region, on),) = judging.held_out(patches([a, b], [(0, 0, 20, 20, 40, 50)]))
    assert on.name == "b" and (region.start, region.stop) == ((0, 0, 20), (20, 40, 50))


def test_thin_boxes_grow_to_the_window_of_structural_similarity():
    p = piece((0, 0, 0), (40, 60, 60), np.s_[30:40, 0:60, 0:60])
    ((region, _),) = judging.held_out(patches([p], [(30, 0, 0, 40, 30, 30)]))
    assert region.shape == (11, 30, 30) and region.stop[0] == 40


def test_a_box_of_which_little_counts_shrinks_to_the_part_that_does():
    patchy = np.zeros((40, 60, 60), bool)
    patchy[0:20, 0:30, 0:30] = True
    patchy[39, 59, 59] = True  # keeps the box wide
    ((region, _),) = judging.held_out(patches([piece((0, 0, 0), patchy.shape, patchy)], [(0, 0, 0, 40, 60, 60)]))
    assert patchy[region.slices].mean() >= 0.5 and min(region.shape) >= judging.THINNEST
    sparse = np.zeros((40, 60, 60), bool)
    sparse[::4] = True
    assert judging.held_out(patches([piece((0, 0, 0), sparse.shape, sparse)], [(0, 0, 0, 40, 60, 60)])) == []


def test_a_fine_scan_too_small_for_a_yardstick_leaves_nothing_to_contradict():
    grid = Grid.of((12, 12, 12), 10.0)
    p = piece((0, 0, 0), grid.shape, np.s_[:])
    lr = Image(bodies((20, 30, 30)), OUT.coarsen(2))
    assert judging.yardstick(patches([p], []), lr) is judging.UNKNOWN and not judging.UNKNOWN.informative


def test_a_box_without_a_single_counted_voxel_is_no_place_to_judge():
    p = piece((0, 0, 0), (40, 60, 60), np.s_[0:10, 0:60, 0:60])
    assert judging.held_out(patches([p], [(20, 0, 0, 40, 30, 30)])) == []


def test_corners_with_one_grey_level_or_nan_are_empty_and_others_are_not():
    grid = Grid.of((6, 40, 40), 10.0)
    circle = Circle.inscribed(grid)
    outside = np.broadcast_to(~circle.mask(grid), grid.shape)
    full = bodies(grid.shape)
    for level in (np.nan, 0.0):
        assert corners_are_empty(Image(np.where(outside, np.float32(level), full), grid), circle)
    assert not corners_are_empty(Image(full, grid), circle)


@pytest.mark.parametrize("box", [None, ((4, 12, 8), (36, 52, 56))])
def test_a_contradiction_is_marked_in_its_place_and_other_flags_stay(box):
    fine = Image(bodies(OUT.shape), OUT)
    lr = resampling.resample(fine, onto=OUT.coarsen(2), antialias=True)
    circle = Circle((0.0, 0.0), 1e6)
    check = judging.trust.calibrate_volume(fine, lr, mask=circle)
    assert check.informative
    painted = fine.array().copy()
    painted[16:28, 20:40, 24:44] -= 90
    region = Region(OUT, *(box or ((0, 0, 0), OUT.shape)))
    ours, coarse = Image(painted[region.slices], region.own_grid), region.own_grid.coarsen(2)
    flags = TrustMap(np.full(coarse.shape, flag_bits("border"), np.uint8), coarse)
    marked = judging.mark_inconsistent(ours, lr, flags, check, circle)
    corner = [a // 2 for a in region.start]
    there = tuple(slice(a - c, b - c) for (a, b), c in zip(((9, 13), (11, 19), (13, 21)), corner, strict=True))
    assert marked.where("inconsistent")[there].mean() > 0.6
    far = marked.where("inconsistent").copy()
    far[tuple(slice(max(0, s.start - 5), s.stop + 5) for s in there)] = False
    assert far.mean() < 0.02
    assert marked.where("border").all() and not flags.where("inconsistent").any()


def test_nothing_is_marked_when_even_the_recorded_scan_contradicts():
    lr = Image(np.zeros((8, 8, 8), np.float32), Grid.of((8, 8, 8), 20.0))
    blind = Consistency(0.5, 1.0, 0.0, 1.0, 2.0, explained=0.1)
    flags = TrustMap(np.zeros((8, 8, 8), np.uint8), lr.grid)
    ours = Image(np.full((16, 16, 16), 99, np.float32), lr.grid.refine(2))
    out = judging.mark_inconsistent(ours, lr, flags, blind, Circle.inscribed(lr.grid))
    assert not out.where("inconsistent").any()


def test_where_no_pores_are_wanted_none_are_measured_and_none_of_an_earlier_call_are_left(tmp_path):
    for name in (judging.PORES_FILE, judging.SIZES_FILE):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("old")
    folder = RunFolder(tmp_path / "run", {}, overwrite=True)
    job = Job(folder, Plan({"measure.objects": "none"}), Reading(), lambda *_: None)
    unused = SimpleNamespace()
    assert judging.measure(job, unused, unused, unused, unused) == judging.Measured({})
    assert not (folder.path / judging.PORES_FILE).exists() and not (folder.path / judging.SIZES_FILE).exists()


# ------------------------------------------------------------------ error bars
def test_porosity_of_the_whole_volume_is_corrected_by_what_the_fine_scan_shows():
    from scipy import ndimage

    from finescan.quantification import QuantifyConfig, quantify
    from finescan.workflow.volume_errors import volume_chapter, volume_error_bars

    shape = (48, 80, 80)
    grid = Grid.of(shape, 100.0)
    rng = np.random.default_rng(2)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 2.0)
    fine = np.where(field < np.quantile(field, 0.2), 20, 100).astype(np.float32)
    seen = ndimage.gaussian_filter(fine, 1.5)  # small pores are lost
    corner = np.s_[0:40, 0:44, 0:44]
    region = Region(grid, (0, 0, 0), (40, 44, 44))
    circle = Circle((0.0, 0.0), 1e9)
    p = piece((0, 0, 0), (40, 44, 44), np.s_[:, :, :])
    nothing = GreyStatistics(0.0, 1.0, 0.0, 1.0)
    held = {"test": [(0, 0, 0, 20, 44, 44)], "stop": []}
    cut = VolumePatchSet((p,), (2.0,) * 3, grid, circle, nothing, nothing, 1.0, 0.0, (0.0, 0.0), "uint16", held, 2)
    config = QuantifyConfig(threshold=60.0, faces="all")
    whole = quantify(Image(seen, grid), config=config)
    pictures = {"fine": fine[corner], "enhanced": seen[corner]}
    facts = volume_error_bars(cut, p, region, pictures, Image(seen, grid), whole, config)
    share = facts["map"]["area_share"]
    true = quantify(Image(fine, grid), config=config).porosity
    assert share["measured"] == pytest.approx(whole.porosity, rel=1e-3)
    assert share["low"] <= true <= share["high"] < 2 * true and not share["low"] <= share["measured"] <= share["high"]
    assert facts["learned_on"] == "all recorded blocks" and facts["blocks"] >= 20
    assert facts["map"]["objects_per_area"]["unit"] == "1/µm³"
    assert volume_chapter(facts)[0].title == "Numbers with error bars" and volume_chapter(None) == ()
