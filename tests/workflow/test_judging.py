"""Judging on the written map: the right pixels, the right places, an opinion from outside the training scans."""

from dataclasses import replace

import numpy as np
import pytest

from finescan.patches import make_patches
from finescan.simulation import Scanner, random_warp, scan, simulate
from finescan.training import fit_contestants
from finescan.trust import Consistency
from finescan.values import Grid, Image, Pair, Residual, TrustMap, Verdict, flag_bits
from finescan.workflow import judging


def as_pair(job, k=0):
    hr = job.hr[k]
    residual = Residual(0.1, 0.1, 0.9, 3.0, {}, hr.grid.coarsen(4))
    return Pair(job.lr, hr, job.lr_from_hr[k], Verdict.FOUND, (), residual)


@pytest.fixture(scope="module")
def job():
    return simulate("porous", size=160, ratio=4.0, fine=400, counts=(2000.0, 2000.0), seed=5)


def test_the_part_under_a_grid_is_nan_where_the_image_ends():
    image = Image(np.arange(12.0).reshape(3, 4), Grid.of((3, 4), 10.0))
    out = judging.on_grid(image, image.grid.crop((1, 2), (5, 6)))
    assert out.shape == (4, 4)
    np.testing.assert_array_equal(out[:2, :2], [[6, 7], [10, 11]])
    assert np.isnan(out[2:]).all() and np.isnan(out[:, 2:]).all()


def test_the_truth_scores_better_than_every_contestant_on_the_held_out_blocks(job):
    patches = make_patches([as_pair(job)])
    contestants = fit_contestants(patches)
    held = judging.held_out(patches, contestants, job.truth, name="enhanced")
    assert held.in_place and held.mask.any()
    check = judging.yardstick(patches, [as_pair(job)])
    grey = patches.hr_grey
    report = judging.judge(held, data_range=grey.high - grey.low, candidate="enhanced", coarse=job.lr, check=check)
    assert report.verdict == "better"
    best = max(report.scores[n]["psnr"].raw for n in contestants)
    assert report.scores["enhanced"]["psnr"].raw > best + 1
    assert report.facts["consistency"] is not None


def test_what_the_test_blocks_recorded_has_no_part_in_the_yardstick(job):
    patches = make_patches([as_pair(job)])
    piece = patches.pieces[0]
    found = judging.yardstick(patches, [as_pair(job)])
    for role, same in (("test", True), ("train", False)):
        changed = replace(piece, hr=np.where(piece.role_fine(role), piece.hr.mean(), piece.hr).astype(np.float32))
        assert (judging.yardstick(replace(patches, pieces=(changed,)), [as_pair(job)]) == found) is same


def test_a_contradiction_is_marked_and_other_flags_stay(job):
    patches = make_patches([as_pair(job)])
    check = judging.yardstick(patches, [as_pair(job)])
    assert check.informative
    flags = TrustMap(np.full(job.lr.grid.shape, flag_bits("saturated"), np.uint8), job.lr.grid)
    painted = job.truth.array().copy()
    painted[200:260, 300:360] -= 0.5 * np.ptp(painted)
    marked = judging.mark_inconsistent(job.truth.with_data(painted), job.lr, flags, check)
    place = marked.where("inconsistent")[50:65, 75:90]
    assert place.mean() > 0.6
    elsewhere = marked.where("inconsistent").copy()
    elsewhere[45:70, 70:95] = False
    assert elsewhere.mean() < 0.02
    assert marked.where("saturated").all()
    assert not flags.where("inconsistent").any()  # the given flags are not changed


def test_nothing_is_marked_when_even_the_recorded_scan_contradicts():
    lr = Image(np.zeros((8, 8)), Grid.of((8, 8), 4.0))
    flags = TrustMap(np.zeros((8, 8), np.uint8), lr.grid)
    blind = Consistency(0.5, 1.0, 0.0, 1.0, 4.0, explained=0.1)
    out = judging.mark_inconsistent(Image(np.ones((32, 32)) * 99, lr.grid.refine(4)), lr, flags, blind)
    assert not out.where("inconsistent").any()


def test_a_second_opinion_knows_the_true_map_from_a_wrong_one():
    """A scan of the same sample at a coarser pitch judges the map where the training scan did not look."""
    fine = simulate("porous", size=160, ratio=4.0, fine=300, counts=(2000.0, 2000.0), seed=8)
    trainer = as_pair(fine)
    # the judge records the same truth at twice the pixel size
    grid = Grid.of((280, 280), 50.0)
    warp = random_warp(grid, centre_nm=(8000.0, 8000.0), scale_error=(0.01, -0.01), rotation_deg=1.0, seed=1)
    unit = fine.truth.with_data((fine.truth.array() - 8000) / 12000)
    hr = scan(unit, grid, Scanner(60.0, counts=2000.0), warp=warp, seed=2, name="judge")
    judge = Pair(fine.lr, hr, warp, Verdict.FOUND, (), trainer.residual)
    good = judging.second_opinion(fine.truth, judge, [trainer], data_range=8000.0)
    wrong = judging.second_opinion(
        fine.truth.with_data(fine.truth.array()[::-1].copy()), judge, [trainer], data_range=8e3
    )
    assert good is not None and wrong is not None
    assert good["correlation"] > 0.95 and wrong["correlation"] < 0.5
    assert good["gain"] == pytest.approx(1.0, abs=0.1)
    # where a training scan covers everything, nobody is left to judge
    assert judging.second_opinion(fine.truth, judge, [judge], data_range=8000.0) is None
