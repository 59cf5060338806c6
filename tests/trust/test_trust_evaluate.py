"""The verdict: who wins, by how much, where; every tile counts and nothing hides grey-level drift."""

import json

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.simulation import polycrystal
from finescan.trust import METRICS, TrustReport, calibrate, degrade, evaluate
from finescan.values import Grid, Image, Region

SHAPE = (256, 320)
GRID = Grid.of(SHAPE, 10.0)
RANGE = 1.0


def tiles(step: int = 64, shape: tuple[int, int] = SHAPE) -> list[Region]:
    grid = Grid.of(shape, 10.0)
    return [
        Region(grid, (y, x), (y + step, x + step))
        for y in range(0, shape[0] - step + 1, step)
        for x in range(0, shape[1] - step + 1, step)
    ]


TRUTH = polycrystal(SHAPE, 10.0, seed=5).data.astype(float)
REFERENCE = TRUTH + np.random.default_rng(9).normal(0, 0.02, SHAPE)


def blurred(sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(TRUTH, sigma)


def judged(candidate: np.ndarray, **options) -> TrustReport:
    settings = {"grid": GRID, "tiles": tiles(), "data_range": RANGE} | options
    return evaluate({"bicubic": blurred(2.0), "network": candidate}, REFERENCE, **settings)


def test_a_sharper_result_is_better_by_the_right_amount() -> None:
    report = judged(blurred(1.0))
    assert report.verdict == "better"
    expected = [
        METRICS["psnr"](blurred(1.0)[t.slices], REFERENCE[t.slices], data_range=RANGE)
        - METRICS["psnr"](blurred(2.0)[t.slices], REFERENCE[t.slices], data_range=RANGE)
        for t in tiles()
    ]
    gain = report.gains["psnr"]["raw"]
    assert gain.mean == pytest.approx(np.mean(expected))
    assert 1 <= gain.error / (np.std(expected, ddof=1) / np.sqrt(20)) < 2  # neighbours are not independent
    assert gain.n == 20 and gain.low < gain.mean < gain.high
    assert f"{gain.mean:+.2f} ± {gain.error:.2f} dB" in report.sentence
    assert [b.gain["psnr"] for b in report.blocks] == pytest.approx(expected)
    assert report.blocks[1].start == (0, 64)


def test_a_blurrier_result_is_worse() -> None:
    report = judged(blurred(3.0))
    assert report.verdict == "worse"
    assert report.gains["rmse"]["raw"].mean < 0  # positive is better, whatever the direction of the metric
    assert "is worse than bicubic" in report.sentence


def test_the_same_image_is_equal_and_so_is_one_that_differs_by_nothing_but_noise() -> None:
    assert judged(blurred(2.0)).verdict == "equal"
    again = blurred(2.0)
    again[::2] += 1e-4
    again[1::2] -= 1e-4
    assert judged(again).verdict == "equal"


def test_a_gain_below_use_is_equal_even_if_significant() -> None:
    report = judged(blurred(1.995))
    assert report.gains["psnr"]["raw"].significance == "better"
    assert report.verdict == "equal"


def test_a_gain_in_one_block_only_is_not_shown_to_be_better() -> None:
    lucky = blurred(2.0)
    lucky[:64, :64] = TRUTH[:64, :64]
    assert judged(lucky).verdict == "equal"


def test_a_perfect_result_is_better() -> None:
    perfect = {"bicubic": blurred(2.0), "network": TRUTH}
    report = evaluate(perfect, TRUTH, grid=GRID, tiles=tiles(), data_range=1)
    assert report.verdict == "better"
    assert report.scores["network"]["psnr"].raw == float("inf")


def test_a_gain_by_nothing_but_an_offset_is_equal() -> None:
    offset = {"bicubic": REFERENCE + 0.1, "network": REFERENCE}
    report = evaluate(offset, REFERENCE, grid=GRID, tiles=tiles(), data_range=1)
    assert report.gains["psnr"]["raw"].significance == "better"
    assert report.gains["psnr"]["matched"].significance == "equal"
    assert report.verdict == "equal"


def test_a_grey_level_error_shows_raw_and_not_matched() -> None:
    report = judged(0.8 * blurred(1.0) + 0.05)
    score = report.scores["network"]["psnr"]
    assert score.matched - score.raw > 3
    assert report.curves["match"]["network"][0] > 1.2
    assert report.gains["psnr"]["matched"].significance == "better"
    assert report.verdict == "worse"


@pytest.mark.parametrize("spoiled", [0, 7, 19])
def test_every_tile_counts_in_every_metric(spoiled: int) -> None:
    image = blurred(1.0)
    box = tiles()[spoiled].slices
    image[box] = np.random.default_rng(0).uniform(0, 1, (64, 64))
    before, after = judged(blurred(1.0)).scores["network"], judged(image).scores["network"]
    for name, row in METRICS.items():
        own = row(image[box], REFERENCE[box], data_range=RANGE)
        was = row(blurred(1.0)[box], REFERENCE[box], data_range=RANGE)
        assert after[name].n == before[name].n == 20
        assert (after[name].raw < before[name].raw) == row.higher_is_better
        assert after[name].raw - before[name].raw == pytest.approx((own - was) / 20)


def test_pixels_outside_the_tiles_do_not_count() -> None:
    image = blurred(1.0)
    image[200:, :] = 7.0
    some = [t for t in tiles() if t.stop[0] <= 192]
    assert judged(image, tiles=some).scores == judged(blurred(1.0), tiles=some).scores


def test_few_tiles_are_cut_so_that_an_error_can_be_stated() -> None:
    report = judged(blurred(1.0), tiles=[Region(GRID, (0, 0), (256, 320))])
    gain = report.gains["psnr"]["raw"]
    assert gain.n == 16 and gain.error > 0  # blocks of 64 x 80 px
    assert report.facts["n_tiles"] == 1 and report.facts["n_blocks"] == 16


def test_one_small_tile_can_show_no_gain() -> None:
    report = judged(TRUTH, tiles=[Region(GRID, (0, 0), (64, 64))])
    assert report.verdict == "equal"
    assert "no standard error" in report.sentence


def test_all_contestants_are_judged_on_the_same_pixels() -> None:
    holed, mask = blurred(1.0), np.ones(SHAPE, bool)
    holed[70:90, 70:120] = np.nan
    mask[10:20, 10:20] = False
    report = judged(holed, mask=mask)
    same = blurred(1.0)
    same[10:20, 10:20] = 9.0  # masked, so of no consequence
    same[70:90, 70:120] = np.nan
    assert report.scores == judged(same, mask=mask).scores
    assert report.scores["bicubic"] != judged(blurred(1.0)).scores["bicubic"]
    holed[:64, :64] = np.nan
    assert judged(holed).facts["left_out_blocks"] == 1


def test_a_contestant_that_is_not_there_spoils_nothing() -> None:
    two = {"bicubic": blurred(2.0), "network": blurred(1.0)}
    three = two | {"ridge": np.full(SHAPE, np.nan)}
    alone, among = (evaluate(r, REFERENCE, grid=GRID, tiles=tiles(), data_range=RANGE) for r in (two, three))
    assert among.facts["left_out_contestants"] == ["ridge"]
    assert among.scores == alone.scores


def test_a_loss_in_bright_areas_is_told_although_the_mean_gains() -> None:
    image = blurred(0.7)
    bright = ndimage.gaussian_filter(REFERENCE, 2.0) >= np.quantile(ndimage.gaussian_filter(REFERENCE, 2.0), 0.95)
    image[bright] -= 0.08
    report = judged(image)
    assert report.subsets["bright"]["gain"].significance == "worse"
    assert report.subsets["dark"]["gain"].significance != "worse"
    assert report.subsets["bright"]["share"] == pytest.approx(0.05, abs=0.002)
    assert "It loses on the brightest 5 %" in report.sentence


def test_edges_are_judged_apart() -> None:
    report = judged(blurred(1.0))
    edges = report.subsets["edges"]
    assert edges["psnr"]["network"] < report.scores["network"]["psnr"].raw  # edges are harder
    assert edges["gain"].mean > report.gains["psnr"]["raw"].mean


def test_the_ring_correlation_ranks_sharpness_and_the_curves_are_complete() -> None:
    curves = judged(blurred(1.0)).curves
    nm = {k: v["half"] for k, v in curves["resolution_nm"].items()}
    assert nm["network"] < nm["bicubic"]
    n = len(curves["frequency_per_nm"])
    assert all(len(c) == n for c in [*curves["frc"].values(), *curves["spectrum"].values()])
    assert set(curves["spectrum"]) == {"bicubic", "network", "reference"}
    assert curves["grey"]["network"]["earth_mover"] < 0.1


def test_contradicting_the_coarse_scan_is_counted_per_contestant() -> None:
    coarse_grid = GRID.coarsen(4)
    noise = np.random.default_rng(3).normal(0, 0.01, coarse_grid.shape)
    coarse = Image(degrade(Image(TRUTH, GRID), coarse_grid, psf_sigma_px=0.6) + noise, coarse_grid)
    check = calibrate(Image(REFERENCE, GRID), coarse)
    image = TRUTH.copy()
    image[100:140, 100:140] -= 0.2
    shares = judged(image, coarse=coarse, consistency=check).facts["consistency"]["inconsistent_share"]
    clean = judged(TRUTH, coarse=coarse, consistency=check).facts["consistency"]["inconsistent_share"]
    assert clean["network"] < 0.01
    # 10 x 10 coarse pixels and the blur around them
    assert 90 < shares["network"] * coarse_grid.size < 15**2


def test_the_report_survives_json() -> None:
    report = evaluate({"bicubic": blurred(2.0), "network": TRUTH}, TRUTH, grid=GRID, tiles=tiles(), data_range=RANGE)
    text = json.dumps(report.to_dict(), allow_nan=False)
    back = TrustReport.from_dict(json.loads(text))
    assert back.scores["network"]["psnr"].raw == float("inf")
    assert back.gains == report.gains and back.blocks == report.blocks
    assert back.subsets == report.subsets and back.sentence == report.sentence
    assert json.dumps(back.to_dict(), allow_nan=False) == text


def test_wrong_inputs_are_refused_with_advice() -> None:
    with pytest.raises(InputError, match="'bicubic' is not among network"):
        evaluate({"network": TRUTH}, TRUTH, grid=GRID, tiles=tiles(), data_range=1)
    with pytest.raises(InputError, match="At least one held-out tile"):
        judged(TRUTH, tiles=[])
    with pytest.raises(InputError, match="must not overlap"):
        judged(TRUTH, tiles=[*tiles(), tiles()[3]])
    with pytest.raises(InputError, match="boxes on the grid of the results"):
        judged(TRUTH, tiles=tiles(shape=(128, 128)))
    with pytest.raises(InputError, match="at least 16 px"):
        judged(TRUTH, tiles=[Region(GRID, (0, 0), (8, 64))])
    with pytest.raises(InputError, match=r"network is \(100, 100\)"):
        judged(TRUTH[:100, :100])
    with pytest.raises(InputError, match="data_range must be"):
        judged(TRUTH, data_range=-1.0)
    with pytest.raises(InputError, match="No held-out tile has half"):
        judged(np.full(SHAPE, np.nan))


def test_read_only_inputs_are_accepted_and_unchanged() -> None:
    results = {"bicubic": blurred(2.0), "network": blurred(1.0)}
    mask = np.ones(SHAPE, bool)
    for a in (*results.values(), mask):
        a.flags.writeable = False
    before = {k: v.copy() for k, v in results.items()}
    one, two = (evaluate(results, REFERENCE, grid=GRID, tiles=tiles(), data_range=RANGE, mask=mask) for _ in range(2))
    assert all(np.array_equal(before[k], v) for k, v in results.items())
    assert one.to_dict() == two.to_dict()
