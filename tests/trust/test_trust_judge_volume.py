"""The verdict on volumes: right for better, equal and worse contestants, the same for every form of input."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import VOLUME_METRICS, TrustReport, judge_volume, shell_correlation, shell_spectrum, volume_scores
from finescan.values import Circle, Grid, Image, Region

GRID = Grid.of((32, 128, 128), 500.0)
RANGE = 2.0


def truth(seed: int = 0) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(GRID.shape), 2.0)
    return np.tanh(3 * field / field.std()).astype(np.float32)


def tiles(side: int = 32, grid: Grid = GRID) -> list[Region]:
    return [Region(grid, (0, y, x), (32, y + side, x + side)) for y in range(0, 128, side) for x in range(0, 128, side)]


def blurred(sigma: float, noise: float = 0.1, seed: int = 1) -> np.ndarray:
    volume = ndimage.gaussian_filter(truth(), sigma) if sigma else truth()
    return volume + np.random.default_rng(seed).normal(0, noise, GRID.shape).astype(np.float32)


def judged(candidate: np.ndarray, **options) -> TrustReport:
    results = {"interpolated": blurred(1.5), "network": candidate}
    return judge_volume(results, truth(), **{"grid": GRID, "tiles": tiles(), "data_range": RANGE, **options})


def test_a_sharper_result_is_better_a_blurred_one_worse_and_the_same_one_equal() -> None:
    better, worse, equal = judged(blurred(1.0)), judged(blurred(2.5)), judged(blurred(1.5))
    assert (better.verdict, worse.verdict, equal.verdict) == ("better", "worse", "equal")
    gain = better.gains["psnr"]["raw"]
    assert gain.low < gain.mean < gain.high and gain.low > 0 and gain.n == 16
    assert "held-out blocks" in better.sentence
    assert equal.gains["psnr"]["raw"].mean == 0


def test_another_realisation_of_the_same_noise_is_not_called_better() -> None:
    assert judged(blurred(1.5, seed=7)).verdict == "equal"


def test_scores_are_those_of_the_blocks() -> None:
    image = blurred(1.0)
    assert judged(image, tiles=tiles(64)).facts["block_px"] == [[32, 32, 32]] * 16  # four tiles, halved twice
    own = tiles()
    report = judged(image, tiles=own)
    each = [volume_scores(image[t.slices], truth()[t.slices], data_range=RANGE) for t in own]
    for m, row in VOLUME_METRICS.items():
        assert report.scores["network"][m].raw == pytest.approx(np.mean([row.value(s) for s in each]))
    assert set(report.gains) == set(VOLUME_METRICS)


def test_gain_and_offset_count_as_is_but_not_after_the_fit() -> None:
    report = judged(1.2 * blurred(0.0, 0.02) + 0.5)
    psnr = report.scores["network"]["psnr"]
    assert psnr.matched > psnr.raw + 10
    assert report.curves["match"]["network"] == pytest.approx([1 / 1.2, -0.5 / 1.2], abs=0.01)
    assert report.verdict == "worse"


def test_the_form_of_the_input_does_not_matter(tmp_path) -> None:
    np.save(tmp_path / "network.npy", blurred(1.0))
    by_tile = {"interpolated": [blurred(1.5)[t.slices] for t in tiles()]}
    mixed = judge_volume(
        {**by_tile, "network": np.load(tmp_path / "network.npy", mmap_mode="r")},
        Image(truth(), GRID),
        grid=GRID,
        tiles=tiles(),
        data_range=RANGE,
    )
    assert mixed.to_dict() == judged(blurred(1.0)).to_dict()


def test_only_the_circle_counts() -> None:
    circle = Circle.inscribed(GRID)
    outside = ~circle.mask(GRID)
    image, reference, base = blurred(1.0), truth(), blurred(1.5)
    honest = judge_volume(
        {"interpolated": base, "network": image}, reference, grid=GRID, tiles=tiles(), data_range=RANGE, mask=circle
    )
    image[:, outside], reference[:, outside], base[:, outside] = np.nan, 1e6, -1e6
    spoiled = judge_volume(
        {"interpolated": base, "network": image}, reference, grid=GRID, tiles=tiles(), data_range=RANGE, mask=circle
    )
    assert spoiled.scores["network"]["psnr"] == honest.scores["network"]["psnr"]
    assert spoiled.verdict == honest.verdict == "better"
    assert 0.8 < honest.facts["valid_share"] < 1
    assert honest.facts["left_out_blocks"] == 4  # in the corners


def test_a_mask_may_come_whole_or_tile_by_tile() -> None:
    mask = np.random.default_rng(4).random(GRID.shape) < 0.9
    whole = judged(blurred(1.0), mask=mask)
    assert judged(blurred(1.0), mask=[mask[t.slices] for t in tiles()]).scores == whole.scores
    assert whole.facts["valid_share"] == pytest.approx(mask.mean())


def test_tiles_that_are_not_covered_are_left_out_and_so_is_a_contestant_without_half_of_them() -> None:
    hole, lazy = blurred(1.0), np.full(GRID.shape, np.nan, np.float32)
    hole[:, :32, :32] = np.nan
    report = judge_volume(
        {"interpolated": blurred(1.5), "absent": lazy, "network": hole},
        truth(),
        grid=GRID,
        tiles=tiles(),
        data_range=RANGE,
    )
    assert report.facts["left_out_contestants"] == ["absent"]
    assert (report.facts["left_out_blocks"], report.facts["n_blocks"]) == (1, 15)
    assert all(b.start != (0, 0, 0) for b in report.blocks)


def test_the_report_survives_json() -> None:
    report = judged(blurred(1.0))
    again = TrustReport.from_dict(report.to_dict())
    assert again.blocks[0].start == report.blocks[0].start
    assert again.to_dict() == report.to_dict()


def test_edges_are_judged_apart() -> None:
    candidate = blurred(1.5)
    steep = ndimage.gaussian_gradient_magnitude(truth(), 1.5) > np.quantile(
        ndimage.gaussian_gradient_magnitude(truth(), 1.5), 0.9
    )
    candidate[steep] = truth()[steep]
    subsets = judged(candidate).subsets
    assert subsets["edges"]["gain"].significance == "better"
    assert subsets["edges"]["gain"].mean > 3 > abs(subsets["bright"]["gain"].mean)
    assert subsets["edges"]["share"] == pytest.approx(0.1, abs=0.01)


def test_the_shell_correlation_tells_sharp_from_blurred() -> None:
    resolution = judged(blurred(0.5)).curves["resolution_nm"]
    assert 1000 <= resolution["network"]["half"] < resolution["interpolated"]["half"]


def white(seed: int, n: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n, n))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_the_shell_correlation_of_a_blurred_noisy_volume_falls_where_theory_says(sigma: float) -> None:
    noise = 0.1
    images = [ndimage.gaussian_filter(white(k), sigma, mode="wrap") + noise * white(9 + k) for k in range(2)]
    curve = shell_correlation(images, [white(k) for k in range(2)], (2.0, 2.0, 2.0))
    f = curve.frequency_per_nm * 2.0
    transfer = np.exp(-2 * np.pi**2 * sigma**2 * f**2)
    theory = transfer / np.sqrt(transfer**2 + noise**2)
    assert np.abs(curve.correlation - theory)[3:].max() < 0.1
    expected = 1 / np.interp(-0.5, -theory, curve.frequency_per_nm)
    assert curve.resolution_nm("half") == pytest.approx(expected, rel=0.06)


def test_unrelated_volumes_stay_below_the_half_bit_curve_and_white_noise_is_flat() -> None:
    unrelated = shell_correlation([white(0)], [white(1)], (2.0, 2.0, 2.0))
    assert np.isnan(unrelated.resolution_nm("half"))
    assert (np.abs(unrelated.correlation) < unrelated.threshold("half_bit"))[3:].mean() > 0.95
    _, power = shell_spectrum([3.0 * white(0)], (5.0, 5.0, 5.0))
    assert power.mean() == pytest.approx(9.0 * 125.0, rel=0.05)


def test_bad_input_of_a_judgement_is_refused_with_advice() -> None:
    with pytest.raises(InputError, match="'bicubic' is not among"):
        judged(blurred(1.0), baseline="bicubic")
    with pytest.raises(InputError, match="must lie on the grid"):
        judged(blurred(1.0)[1:])
    with pytest.raises(InputError, match="one array per held-out tile"):
        judge_volume({"interpolated": [truth()]}, truth(), grid=GRID, tiles=tiles(), data_range=RANGE)
    with pytest.raises(InputError, match="data_range must be a positive number"):
        judged(blurred(1.0), data_range=0.0)
    with pytest.raises(InputError, match="must not overlap"):
        judged(blurred(1.0), tiles=[*tiles(), tiles()[0]])
    with pytest.raises(InputError, match="at least 11 px per axis"):
        judged(blurred(1.0), tiles=[Region(GRID, (0, 0, 0), (8, 32, 32))])
    with pytest.raises(InputError, match="No held-out tile has half of its voxels known"):
        judged(np.full(GRID.shape, np.nan))
    with pytest.raises(InputError, match=r"A mask of shape \(128, 128\) is needed"):
        judged(blurred(1.0), mask=np.ones((3, 3), bool))
