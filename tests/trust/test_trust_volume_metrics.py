"""Measures of volumes agree with independent implementations, honour the mask, and do not depend on slabs."""

import numpy as np
import pytest
import zarr
from scipy import ndimage
from skimage.metrics import structural_similarity

from finescan.errors import InputError
from finescan.trust import VOLUME_METRICS, ms_ssim_maps, ssim_map, volume_scores
from finescan.trust.metrics import VOLUME_MS_WEIGHTS
from finescan.trust.volume_metrics import fitting_weights
from finescan.values import Circle, Grid, Image

RANGE = 4.0


def texture(shape: tuple[int, int, int] = (40, 45, 42), seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return np.tanh(2 * noise / noise.std()).astype(np.float32)


def noisy(volume: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    return volume + np.random.default_rng(seed).normal(0, sigma, volume.shape).astype(np.float32)


def disc(shape: tuple[int, ...]) -> np.ndarray:
    return Circle.inscribed(Grid.of(shape, 1.0)).mask(Grid.of(shape, 1.0))


@pytest.mark.parametrize("name", VOLUME_METRICS)
def test_identical_volumes_score_the_ideal(name: str) -> None:
    row = VOLUME_METRICS[name]
    assert row(texture(), texture(), data_range=RANGE) == pytest.approx(row.ideal, abs=1e-9)


@pytest.mark.parametrize("name", VOLUME_METRICS)
def test_more_noise_in_a_volume_scores_worse(name: str) -> None:
    row, truth = VOLUME_METRICS[name], texture()
    scores = [row(noisy(truth, s), truth, data_range=RANGE) for s in (0.03, 0.1, 0.3, 0.9)]
    assert scores == sorted(scores, reverse=row.higher_is_better)
    assert len(set(scores)) == 4


@pytest.mark.parametrize("name", VOLUME_METRICS)
def test_two_different_volumes_score_differently(name: str) -> None:
    one, two = (VOLUME_METRICS[name](noisy(texture(), 0.2, s), texture(), data_range=RANGE) for s in (1, 2))
    assert one != two


@pytest.mark.parametrize("name", VOLUME_METRICS)
def test_what_lies_outside_the_circle_has_no_influence(name: str) -> None:
    truth, row = texture(), VOLUME_METRICS[name]
    image, mask = noisy(truth, 0.2), disc(truth.shape)
    spoiled, spoiled_truth = image.copy(), truth.copy()
    spoiled[:, ~mask], spoiled_truth[:, ~mask] = np.nan, 1e9
    inside = row(image, truth, data_range=RANGE, mask=mask)
    assert row(spoiled, spoiled_truth, data_range=RANGE, mask=mask) == inside
    assert inside != row(image, truth, data_range=RANGE)
    assert inside == pytest.approx(row(image, truth, data_range=RANGE), rel=0.05)


def test_ssim_agrees_with_scikit_image_in_number_and_map() -> None:
    truth = texture()
    image = noisy(truth, 0.3)
    theirs, full = structural_similarity(
        truth.astype(float),
        image.astype(float),
        data_range=RANGE,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert volume_scores(image, truth, data_range=RANGE).ssim == pytest.approx(theirs, abs=1e-12)
    np.testing.assert_allclose(ssim_map(image, truth, data_range=RANGE), full, atol=1e-6)


def test_a_grey_offset_far_above_the_range_does_not_spoil_ssim() -> None:
    truth = 100 * texture() + 60000
    image = noisy(truth, 20)
    theirs = structural_similarity(
        truth.astype(float),
        image.astype(float),
        data_range=400,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert volume_scores(image, truth, data_range=400).ssim == pytest.approx(theirs, abs=1e-6)


def halved(v: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of 2 x 2 x 2, completed at the far end by voxels of weight 0."""
    pad = [(0, n % 2) for n in v.shape]
    v, w = np.pad(v, pad), np.pad(w, pad)
    n = [s // 2 for s in v.shape]
    split = (n[0], 2, n[1], 2, n[2], 2)
    total = w.reshape(split).sum((1, 3, 5))
    return (v * w).reshape(split).sum((1, 3, 5)) / np.maximum(total, 1e-12), total / 8


def doubled(v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation at voxel centres, border repeated, over what is known."""
    at = np.meshgrid(*((np.arange(n) + 0.5) / 2 - 0.5 for n in shape), indexing="ij")
    known = ~np.isnan(v)
    top, bottom = (
        ndimage.map_coordinates(a, at, order=1, mode="nearest") for a in (np.where(known, v, 0), known.astype(float))
    )
    return top / np.where(bottom > 0, bottom, np.nan)


def whole_volume(x: np.ndarray, y: np.ndarray, w: np.ndarray, weights: tuple[float, ...]) -> tuple[float, np.ndarray]:
    """MS-SSIM and its fused map with whole-volume scipy filters in float64."""
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    score, terms = 1.0, []
    for k, power in enumerate(weights):
        share = np.maximum(ndimage.gaussian_filter(w, 1.5, truncate=3.5), 1e-12)
        moments = (ndimage.gaussian_filter(w * v, 1.5, truncate=3.5) / share for v in (x, y, x * x, y * y, x * y))
        ux, uy, uxx, uyy, uxy = moments
        term = (2 * (uxy - ux * uy) + c2) / (uxx - ux**2 + uyy - uy**2 + c2)
        if k == len(weights) - 1:
            term = term * (2 * ux * uy + c1) / (ux**2 + uy**2 + c1)
        inner = (slice(5, -5),) * 3
        score *= np.average(term[inner], weights=w[inner]) ** power
        terms.append(np.where(w > 0, np.maximum(term, 0) ** power, np.nan))
        (x, next_w), (y, _) = halved(x, w), halved(y, w)
        w = next_w
    fused = terms[-1]
    for own in reversed(terms[:-1]):
        fused = own * doubled(fused, own.shape)
    return score, fused


@pytest.mark.parametrize("masked", [False, True])
def test_ms_ssim_and_its_fused_map_agree_with_the_whole_volume_at_once(masked: bool) -> None:
    truth = texture((44, 47, 61))
    image = noisy(ndimage.gaussian_filter(truth, 0.8), 0.3)
    mask = disc(truth.shape) if masked else np.ones(truth.shape[1:], bool)
    weight = np.broadcast_to(mask, truth.shape).astype(float)
    weights = fitting_weights(truth.shape)
    score, fused = whole_volume(image * weight, truth * weight, weight, weights)
    ours = ms_ssim_maps(image, truth, data_range=RANGE, mask=mask if masked else None)
    assert ours.scores.ms_ssim == pytest.approx(score, abs=1e-6)
    assert ours.scores.weights == weights
    np.testing.assert_array_equal(np.isnan(ours.fused), np.isnan(fused))
    np.testing.assert_allclose(ours.fused, fused, atol=2e-5)


def test_slabs_change_no_bit() -> None:
    truth = texture((53, 30, 41))
    image = noisy(truth, 0.3)
    image[:, 3, 5] = np.nan
    whole = ms_ssim_maps(image, truth, data_range=RANGE, slab=64)
    for slab in (1, 7, 16):
        part = ms_ssim_maps(image, truth, data_range=RANGE, slab=slab)
        np.testing.assert_array_equal(part.ssim, whole.ssim)
        np.testing.assert_array_equal(part.fused, whole.fused)
        assert part.scores == whole.scores == volume_scores(image, truth, data_range=RANGE, slab=slab)


def test_volumes_have_five_scales_from_161_voxels_on_and_fewer_below() -> None:
    assert fitting_weights((200, 161, 300)) == VOLUME_MS_WEIGHTS
    fewer = fitting_weights((160, 300, 300))
    assert len(fewer) == 4
    assert sum(fewer) == pytest.approx(sum(VOLUME_MS_WEIGHTS))
    with pytest.raises(InputError, match="at least 11 voxels along every axis"):
        fitting_weights((10, 300, 300))


def test_psnr_after_a_fit_forgives_gain_and_offset() -> None:
    truth = texture()
    scores = volume_scores(2 * truth + 7, truth, data_range=RANGE)
    assert scores.matched_psnr > 120 > 10 > scores.psnr
    assert (scores.gain, scores.offset) == (pytest.approx(0.5), pytest.approx(-3.5))


def test_mse_and_the_count_are_those_of_the_known_voxels() -> None:
    truth = texture()
    image, mask = noisy(truth, 0.2), disc(truth.shape)
    image[4, 20, 20] = np.nan
    known = mask & np.isfinite(image)
    scores = volume_scores(image, truth, data_range=RANGE, mask=mask)
    assert scores.mse == pytest.approx(np.mean((image[known] - truth[known]).astype(float) ** 2), rel=1e-6)
    assert scores.psnr == pytest.approx(10 * np.log10(RANGE**2 / scores.mse))
    assert (scores.voxels, scores.unknown) == (known.sum(), 1)


def test_maps_are_written_to_a_target_and_are_nan_outside(tmp_path) -> None:
    truth, mask = texture(), disc((40, 45, 42))
    out = np.lib.format.open_memmap(tmp_path / "map.npy", mode="w+", dtype=np.float32, shape=truth.shape)
    maps = ms_ssim_maps(noisy(truth, 0.3), truth, data_range=RANGE, mask=mask, fused_out=out, slab=16)
    assert maps.fused is out
    np.testing.assert_array_equal(np.isnan(out), np.broadcast_to(~mask, out.shape))
    with pytest.raises(InputError, match=r"a target of \(2, 45, 42\) came"):
        ms_ssim_maps(truth, truth, data_range=RANGE, ssim_out=np.empty((2, 45, 42)))


def test_lazy_volumes_of_any_number_format_give_the_same(tmp_path) -> None:
    truth = (100 * texture() + 500).astype(np.uint16)
    image = (truth + np.random.default_rng(2).integers(0, 30, truth.shape)).astype(np.uint16)
    stored = [zarr.create_array(tmp_path / n, data=v, chunks=(16, 16, 16)) for n, v in (("x", image), ("y", truth))]
    out = zarr.create_array(tmp_path / "map", shape=truth.shape, dtype=np.float32, chunks=(16, 16, 16))
    maps = ms_ssim_maps(*stored, data_range=200, fused_out=out, slab=16)
    whole = ms_ssim_maps(image.astype(float), truth.astype(float), data_range=200)
    assert maps.scores == whole.scores
    np.testing.assert_array_equal(out[:], whole.fused)


def test_the_map_is_low_where_a_pore_was_invented_and_high_elsewhere() -> None:
    truth = texture()
    image = truth.copy()
    image[15:22, 15:22, 15:22] = -1
    maps = ms_ssim_maps(image, truth, data_range=RANGE)
    for values in (maps.ssim, maps.fused):
        assert values[16:21, 16:21, 16:21].mean() < 0.5
        assert values[:, 35:, 35:].mean() > 0.99


def test_a_circle_needs_images_that_know_where_they_lie() -> None:
    truth = texture()
    grid = Grid.of(truth.shape, 5.0)
    circle = Circle.inscribed(grid)
    by_circle = volume_scores(Image(noisy(truth, 0.2), grid), truth, data_range=RANGE, mask=circle)
    assert by_circle == volume_scores(noisy(truth, 0.2), truth, data_range=RANGE, mask=circle.mask(grid))
    with pytest.raises(InputError, match="Pass the volumes as Image"):
        volume_scores(truth, truth, data_range=RANGE, mask=circle)


def test_bad_input_is_refused_with_advice() -> None:
    truth = texture()
    with pytest.raises(InputError, match="data_range must be a positive number"):
        volume_scores(truth, truth, data_range=0)
    with pytest.raises(InputError, match="of one shape are compared"):
        volume_scores(truth[1:], truth, data_range=RANGE)
    here, there = (Image(truth, Grid.of(truth.shape, 5.0, origin)) for origin in (0.0, 2.5))
    with pytest.raises(InputError, match="Two volumes on one grid are compared"):
        volume_scores(here, there, data_range=RANGE)
    with pytest.raises(InputError, match="No voxel inside the mask is known"):
        volume_scores(np.full_like(truth, np.nan), truth, data_range=RANGE)
    with pytest.raises(InputError, match="A mask of shape"):
        volume_scores(truth, truth, data_range=RANGE, mask=np.ones((3, 3), bool))
