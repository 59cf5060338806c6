"""Measured resolution follows a known blur, and noise without a common signal does not correlate."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import radial_spectrum, ring_correlation


def white(seed: int, n: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n))


def test_white_noise_has_a_flat_spectrum_of_the_right_height() -> None:
    frequency, power = radial_spectrum([3.0 * white(k, 128) for k in range(6)], (5.0, 5.0))
    assert power.mean() == pytest.approx(9.0 * 25.0, rel=0.03)  # variance times pixel area
    assert power[3:].std() / power.mean() < 0.15
    assert frequency[-1] == pytest.approx(0.1, rel=0.02)  # half a cycle per 5 nm pixel


def test_a_sine_peaks_at_its_own_frequency() -> None:
    x = np.arange(256) * 4.0
    frequency, power = radial_spectrum([np.tile(np.sin(2 * np.pi * x / 40.0), (200, 1))], (6.0, 4.0))
    assert 1 / frequency[np.argmax(power)] == pytest.approx(40.0, rel=0.05)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.5])
def test_the_ring_correlation_of_a_blurred_noisy_image_falls_where_theory_says(sigma: float) -> None:
    noise = 0.1
    blurred = [ndimage.gaussian_filter(white(k), sigma, mode="wrap") for k in range(4)]
    images = [b + noise * white(100 + k) for k, b in enumerate(blurred)]
    curve = ring_correlation(images, [white(k) for k in range(4)], (2.0, 2.0))
    f = curve.frequency_per_nm * 2.0
    transfer = np.exp(-2 * np.pi**2 * sigma**2 * f**2)
    theory = transfer / np.sqrt(transfer**2 + noise**2)
    assert np.abs(curve.correlation - theory)[2:].max() < 0.12
    expected = 1 / np.interp(-0.5, -theory, curve.frequency_per_nm)
    assert curve.resolution_nm("half") == pytest.approx(expected, rel=0.06)
    assert curve.resolution_nm("one_seventh") < curve.resolution_nm("half")


def test_unrelated_noise_has_no_resolution_and_identical_images_have_all() -> None:
    unrelated = ring_correlation([white(0)], [white(1)], (2.0, 2.0))
    assert np.isnan(unrelated.resolution_nm("half"))
    assert (np.abs(unrelated.correlation) < unrelated.threshold("half_bit"))[4:].mean() > 0.95
    assert ring_correlation([white(0)], [white(0)], (2.0, 2.0)).resolution_nm("half_bit") == pytest.approx(4.0)


def test_every_tile_counts_in_the_ring_correlation() -> None:
    one = ring_correlation([white(0, 64)], [white(0, 64)], (1.0, 1.0))
    two = ring_correlation([white(0, 64), white(1, 64)], [white(0, 64), white(2, 64)], (1.0, 1.0))
    assert one.correlation[5:].mean() == pytest.approx(1.0)
    assert two.correlation[5:].mean() == pytest.approx(0.5, abs=0.1)


def test_a_hole_is_refused() -> None:
    holed = white(0, 64)
    holed[3, 3] = np.nan
    with pytest.raises(InputError, match="without NaN"):
        radial_spectrum([holed], (1.0, 1.0))
