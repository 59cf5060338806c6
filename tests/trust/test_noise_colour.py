"""Noise that neighbouring voxels share is told from white noise; structure that an image lacks is not taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.trust import judge_volume_locally, volume_error_maps
from finescan.trust.bands import band, noise_by_grey, noise_gain
from finescan.trust.consistency import Consistency
from finescan.trust.local_judgement import UsefulPixel
from finescan.trust.noise_colour import noise_colour, noise_spectrum
from finescan.values import Grid, Image, Region

SHAPE = (48, 56, 64)
ALL = np.ones(SHAPE, bool)
SIGMAS = [[s] * 3 for s in (2.0, 1.4, 0.8)]


def noise(shared: float, sigma: float = 10.0, seed: int = 0) -> np.ndarray:
    out = np.random.default_rng(seed).normal(0, 1, SHAPE)
    out = ndimage.gaussian_filter(out, shared) if shared else out
    return (sigma * out / out.std()).astype(np.float32)


def foam(seed: int = 3) -> np.ndarray:
    """Sharp pores of some ten voxels."""
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, SHAPE), 3.0)
    return ndimage.gaussian_filter(60.0 * np.sign(blobs - 0.8 * blobs.std()), 0.6).astype(np.float32)


TRUTH = foam()


@pytest.mark.parametrize("shared", [0.0, 0.6, 0.8])
def test_shared_noise_is_as_strong_at_every_size_as_it_is(shared):
    grain = noise(shared)
    white = float(np.sqrt(np.mean(noise_by_grey(grain, ALL)[1] ** 2)))
    true = [band(grain, s).std() / noise_gain(s) / white for s in SIGMAS]
    found = noise_colour([TRUTH], TRUTH + grain, ALL, SIGMAS)
    assert np.all(np.array(found) / true < 1.2) and np.all(np.array(found) / true > 0.6)
    assert found[0] < 1.15 if not shared else found[0] > 3.5


def test_structure_that_an_image_lacks_is_not_taken_for_noise():
    blurred = ndimage.gaussian_filter(TRUTH, 3.0)
    assert max(noise_colour([blurred], TRUTH + noise(0), ALL, SIGMAS)) < 1.3


def test_the_spectrum_of_shared_noise_is_worked_out_from_a_few_sizes():
    grain = noise(0.6)
    frequency, variance = noise_spectrum([np.zeros(SHAPE, np.float32)], grain, ALL)
    power = np.exp(-((2 * np.pi * 0.6 * frequency) ** 2))  # of the blur, squared
    along = [np.fft.fftfreq(n) for n in SHAPE]
    cells = sum(f**2 for f in np.meshgrid(*along, indexing="ij", sparse=True))
    true = 100.0 * power / np.exp(-((2 * np.pi * 0.6) ** 2) * cells).mean()
    some = (frequency > 0.15) & (frequency < 0.45)
    assert np.all(np.abs(np.log(variance / true)[some]) < np.log(1.35))


def test_little_that_is_known_and_no_noise_at_all_are_no_reason_to_fail():
    few = np.zeros(SHAPE, bool)
    few[:6, :6, :6] = True
    flat = np.zeros(SHAPE, np.float32)
    assert noise_colour([flat], noise(0.8), few, SIGMAS) == [1.0] * 3
    assert noise_colour([flat], flat, ALL, SIGMAS) == [1.0] * 3
    assert not noise_spectrum([flat], flat, ALL)[1].any()


def test_shared_noise_makes_no_omission_and_no_warning_of_a_perfect_volume_but_hides_no_blur():
    grid = Grid.of(SHAPE, 500.0)
    fine, lr = TRUTH + noise(0.7, 20), grid.coarsen(2)
    coarse = Image(TRUTH.reshape(24, 2, 28, 2, 32, 2).mean((1, 3, 5)), lr, "coarse")
    check, every = Consistency(0.3, 1.0, 0.0, 2.0, 4.0, 1.0), Region(lr, (0, 0, 0), lr.shape)
    for enhanced, wrong in ((TRUTH, False), (ndimage.gaussian_filter(TRUTH, 4.0), True)):
        rings = judge_volume_locally({"e": enhanced}, fine, grid, data_range=120.0).rings["e"]
        found, limit = (c.resolution_nm() for c in (rings.pooled, rings.limit))
        assert UsefulPixel(found, limit, 500.0, 1000.0, "0.5", ndim=3).too_fine == wrong, (found, limit)
        if not wrong:
            assert limit == pytest.approx(found, rel=0.2)
        images = [Image(v, grid, "volume") for v in (enhanced, fine)]
        shares = volume_error_maps(*images, coarse, check, every).shares()
        assert shares["invention"] < 0.01 and (shares["omission"] > 0.02 if wrong else shares["omission"] < 0.002), (
            shares
        )
