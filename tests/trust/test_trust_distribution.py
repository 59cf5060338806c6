"""Scores tile by tile, against scikit-image on the same tiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from finescan.errors import InputError
from finescan.trust import tile_scores
from finescan.values import Grid, Region

SHAPE = (200, 264)
GRID = Grid.of(SHAPE, 10.0)


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    return 100 + 20 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2) / 0.14


def worse(truth, sigma, seed=1):
    return truth + np.random.default_rng(seed).normal(0, sigma, truth.shape)


def test_every_tile_has_the_score_of_an_independent_implementation(truth):
    image = worse(truth, 8)
    found = tile_scores({"enhanced": image}, truth, data_range=150.0, tile=64)
    assert found.count == 3 * 4
    for (y, x), score in zip(found.starts, found.scores["enhanced"], strict=True):
        box = slice(y, y + 64), slice(x, x + 64)
        wanted = structural_similarity(
            image[box], truth[box], data_range=150.0, gaussian_weights=True, use_sample_covariance=False, sigma=1.5
        )
        assert score == pytest.approx(wanted, abs=1e-10)


def test_tiles_are_cut_from_the_middle_of_each_region_and_never_overlap(truth):
    regions = [Region(GRID, (0, 0), (72, 132)), Region(GRID, (100, 140), (199, 204))]
    found = tile_scores({"enhanced": worse(truth, 5)}, truth, data_range=150.0, tile=32, regions=regions)
    first, second = found.starts[:8].tolist(), found.starts[8:].tolist()
    assert first == [[4 + 32 * a, 2 + 32 * b] for a in range(2) for b in range(4)]
    assert second == [[101 + 32 * a, 140 + 32 * b] for a in range(3) for b in range(2)]


def test_small_areas_get_smaller_tiles(truth):
    sides = [
        tile_scores({"e": worse(truth, 5)}, truth, data_range=150.0, regions=[Region(GRID, (0, 0), stop)]).tile_px
        for stop in ((200, 264), (130, 130))
    ]
    big = np.tile(truth, (3, 2))
    sides.insert(0, tile_scores({"e": worse(big, 5)}, big, data_range=150.0).tile_px)
    assert sides == [64, 32, 32]


def test_pixels_that_do_not_count_change_nothing_and_tiles_without_half_of_them_are_left_out(truth):
    image, mask = worse(truth, 5), np.ones(SHAPE, bool)
    mask[:, :100] = False
    spoilt = np.where(mask, image, 1e6)
    spoilt[150:, :] = np.nan
    found = tile_scores({"enhanced": spoilt}, truth, data_range=150.0, mask=mask, tile=50)
    assert (found.starts[:, 0] < 150).all() and (found.starts[:, 1] >= 57).all()
    clean = tile_scores({"enhanced": image}, truth, data_range=150.0, mask=mask, tile=50)
    np.testing.assert_array_equal(found.scores["enhanced"], clean.scores["enhanced"][: found.count])


def test_the_summary_says_how_often_the_candidate_wins(truth):
    results = {"enhanced": worse(truth, 4), "bicubic": worse(truth, 12), "other": worse(truth, 4, seed=2)}
    results["enhanced"][:64] = worse(truth, 40)[:64]
    found = tile_scores(results, truth, data_range=150.0, tile=64)
    summary = found.summary("enhanced")
    ordered = np.sort(found.scores["bicubic"])
    row = summary["scores"]["bicubic"]
    assert row["median"] == pytest.approx((ordered[5] + ordered[6]) / 2)
    assert row["mean"] == pytest.approx(ordered.mean()) and row["q1"] < row["median"] < row["q3"]
    assert 0.5 < summary["improved_share"]["bicubic"] < 1  # the spoilt stripe loses
    assert summary["improved_share"]["other"] < summary["improved_share"]["bicubic"]
    assert found.improved("bicubic", "enhanced") == pytest.approx(1 - summary["improved_share"]["bicubic"])


def test_lower_is_better_for_errors(truth):
    results = {"enhanced": worse(truth, 4), "bicubic": worse(truth, 12)}
    assert tile_scores(results, truth, data_range=150.0, tile=64, metric="rmse").improved("enhanced", "bicubic") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "ssmi"}, "one of psnr, ssim, .* but 'ssmi' came"),
        ({"tile": 8}, r"at least 16 px per axis, but 8 came"),
        ({"mask": np.zeros(SHAPE, bool)}, "No tile of 32 x 32 px has half of its pixels"),
        ({"results": {"a": np.zeros((3, 3))}}, r"reference's \(200, 264\) px, but a has \(3, 3\)"),
    ],
)
def test_what_makes_no_sense_is_refused(truth, options, words):
    results = options.pop("results", {"enhanced": truth})
    with pytest.raises(InputError, match=words):
        tile_scores(results, truth, data_range=150.0, **options)
