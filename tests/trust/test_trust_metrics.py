"""Every metric agrees with an independent implementation, honours its mask, and can tell images apart."""

import numpy as np
import pytest
from scipy import ndimage, signal
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from finescan.errors import InputError
from finescan.trust import METRICS, essim, matched, ms_ssim, psnr, rmse, ssim
from finescan.trust.metrics import K1, K2, MS_WEIGHTS

RANGE = 200.0


def picture(shape: tuple[int, int] = (192, 208), seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return 100 + 60 * np.tanh(8 * noise)


def noisy(image: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    return image + np.random.default_rng(seed).normal(0, sigma, image.shape)


@pytest.mark.parametrize("name", METRICS)
def test_identical_images_score_the_ideal(name: str) -> None:
    assert METRICS[name](picture(), picture(), data_range=RANGE) == pytest.approx(METRICS[name].ideal)


@pytest.mark.parametrize("name", METRICS)
def test_more_noise_scores_worse(name: str) -> None:
    row, truth = METRICS[name], picture()
    scores = [row(noisy(truth, s), truth, data_range=RANGE) for s in (3.0, 10.0, 30.0, 90.0)]
    assert scores == sorted(scores, reverse=row.higher_is_better)
    assert len(set(scores)) == 4


@pytest.mark.parametrize("name", METRICS)
def test_different_images_score_differently(name: str) -> None:
    truth = picture()
    one, two = (METRICS[name](noisy(truth, 9.0, s), truth, data_range=RANGE) for s in (1, 2))
    assert one != two


@pytest.mark.parametrize("name", METRICS)
def test_masked_pixels_have_no_influence(name: str) -> None:
    truth = picture()
    image, mask = noisy(truth, 8.0), np.ones(truth.shape, bool)
    mask[40:90, 60:120] = False
    spoiled, spoiled_truth = image.copy(), truth.copy()
    spoiled[~mask], spoiled_truth[~mask] = np.nan, 1e9
    with_mask = METRICS[name](image, truth, data_range=RANGE, mask=mask)
    assert METRICS[name](spoiled, spoiled_truth, data_range=RANGE, mask=mask) == with_mask
    assert with_mask != METRICS[name](image, truth, data_range=RANGE)
    assert with_mask == pytest.approx(METRICS[name](image, truth, data_range=RANGE), rel=0.05)


@pytest.mark.parametrize("name", METRICS)
def test_a_masked_defect_costs_nothing(name: str) -> None:
    truth = picture()
    image, mask = truth.copy(), np.ones(truth.shape, bool)
    image[40:90, 60:120] = 0
    mask[40:90, 60:120] = False
    assert METRICS[name](image, truth, data_range=RANGE, mask=mask) == pytest.approx(METRICS[name].ideal)
    assert METRICS[name](image, truth, data_range=RANGE) != pytest.approx(METRICS[name].ideal)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_asks_for_its_data_range_and_for_equal_shapes(name: str) -> None:
    with pytest.raises(TypeError):
        METRICS[name](picture(), picture())
    with pytest.raises(InputError, match="data_range must be a positive number"):
        METRICS[name](picture(), picture(), data_range=0.0)
    with pytest.raises(InputError, match="two 2-D images of one shape"):
        METRICS[name](picture(), picture((190, 208)), data_range=RANGE)
    hole = picture()
    hole[3, 3] = np.nan
    with pytest.raises(InputError, match="1 pixels that count are NaN"):
        METRICS[name](hole, picture(), data_range=RANGE)


def test_psnr_agrees_with_scikit_image() -> None:
    image, truth = noisy(picture(), 12.0), picture()
    assert psnr(image, truth, data_range=RANGE) == pytest.approx(
        peak_signal_noise_ratio(truth, image, data_range=RANGE), abs=1e-10
    )
    assert psnr(image, truth, data_range=RANGE) == pytest.approx(
        20 * np.log10(RANGE / rmse(image, truth, data_range=RANGE))
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_ssim_agrees_with_scikit_image(dtype: type) -> None:
    image, truth = (v.clip(0, 255).astype(dtype) for v in (noisy(picture(), 12.0), picture()))
    theirs = structural_similarity(
        truth.astype(float), image.astype(float), data_range=RANGE, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(image, truth, data_range=RANGE) == pytest.approx(theirs, abs=1e-9)


def written_out_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The formulas of the paper with explicit 11 x 11 'valid' convolutions."""
    t = np.arange(-5, 6)
    window = np.exp(-(t[:, None] ** 2 + t**2) / (2 * 1.5**2))
    window /= window.sum()
    result = 1.0
    for k, weight in enumerate(MS_WEIGHTS):
        ux, uy, uxx, uyy, uxy = (signal.convolve2d(v, window, "valid") for v in (x, y, x * x, y * y, x * y))
        c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
        structure = (2 * (uxy - ux * uy) + c2) / (uxx - ux**2 + uyy - uy**2 + c2)
        luminance = (2 * ux * uy + c1) / (ux**2 + uy**2 + c1)
        result *= (structure * (luminance if k == 4 else 1)).mean() ** weight
        x, y = (signal.convolve2d(v, np.full((2, 2), 0.25), "valid")[::2, ::2] for v in (x, y))
    return float(result)


def test_ms_ssim_agrees_with_the_formulas_written_out() -> None:
    truth = picture((200, 240))
    image = ndimage.gaussian_filter(noisy(truth, 12.0), 0.8)
    assert ms_ssim(image, truth, data_range=RANGE) == pytest.approx(written_out_ms_ssim(image, truth), abs=1e-9)


def test_ms_ssim_with_one_scale_is_ssim() -> None:
    truth = picture((21, 21))
    image = noisy(truth, 8.0)
    assert ms_ssim(image, truth, data_range=RANGE) == pytest.approx(ssim(image, truth, data_range=RANGE))


def written_out_essim(x: np.ndarray, y: np.ndarray) -> float:
    """Block by block and pixel by pixel."""
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    scores = []
    edges = []
    for v in (x, y):
        p = np.pad(v, 1, mode="edge")
        dy = (p[2:, :-2] + 2 * p[2:, 1:-1] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[:-2, 1:-1] + p[:-2, 2:])
        dx = (p[:-2, 2:] + 2 * p[1:-1, 2:] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[1:-1, :-2] + p[2:, :-2])
        with np.errstate(divide="ignore", invalid="ignore"):
            angle = np.degrees(np.arctan(dy / dx))
        edges.append((np.abs(dx) + np.abs(dy), np.nan_to_num(angle, nan=0.0)))
    for i in range(0, x.shape[0] - 15, 16):
        for j in range(0, x.shape[1] - 15, 16):
            box = np.s_[i : i + 16, j : j + 16]
            a, b = x[box], y[box]
            light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
            contrast = (2 * a.std() * b.std() + c2) / (a.var() + b.var() + c2)
            ha, hb = (np.histogram(angle[box], np.linspace(-90, 90, 9), weights=size[box])[0] for size, angle in edges)
            covariance = np.mean((ha - ha.mean()) * (hb - hb.mean()))
            scores.append(light * contrast * (covariance + c2 / 2) / (ha.std() * hb.std() + c2 / 2))
    return float(np.mean(scores))


def test_essim_agrees_with_the_formulas_written_out() -> None:
    truth = picture((100, 70))
    image = ndimage.gaussian_filter(noisy(truth, 12.0), 1.0)
    assert essim(image, truth, data_range=RANGE) == pytest.approx(written_out_essim(image, truth), abs=1e-6)


def test_essim_sees_turned_edges_that_keep_mean_and_contrast() -> None:
    y, x = np.mgrid[:64, :64]
    upright, lying = 100 + 50 * np.sin(x / 2.0), 100 + 50 * np.sin(y / 2.0)
    assert essim(lying, upright, data_range=RANGE) < 0.3
    assert essim(100 + 50 * np.sin(x / 2.0 + 1.0), upright, data_range=RANGE) > 0.9  # same direction, other place


def test_matching_undoes_gain_and_offset_and_says_which() -> None:
    truth = picture()
    image = 0.5 * truth + 40
    back, gain, offset = matched(image, truth)
    assert (gain, offset) == (pytest.approx(2.0), pytest.approx(-80.0))
    assert np.allclose(back, truth)
    assert psnr(image, truth, data_range=RANGE) < 30 < psnr(back, truth, data_range=RANGE)


def test_matching_a_constant_image_only_shifts_it() -> None:
    back, gain, offset = matched(np.full((32, 32), 7.0), picture((32, 32)))
    assert gain == 1.0
    assert np.allclose(back, picture((32, 32)).mean()) and offset == pytest.approx(picture((32, 32)).mean() - 7)
