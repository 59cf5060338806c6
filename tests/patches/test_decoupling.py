"""Noise that is measured, and pairs of pictures that do not share it."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.patches import MultiscaleConfig, multiscale_default, multiscale_patches, write_multiscale
from finescan.patches.decoupling import NoiseModel, decoupled, decoupled_points, noise_of, noise_share
from finescan.values import Grid, Image

RNG = np.random.default_rng(3)
Y, X = np.mgrid[:256, :256]
LATTICE = (np.cos(2 * np.pi * X / 5.1) * np.cos(2 * np.pi * (Y + 0.3 * X) / 5.7)).astype(np.float32)


def _image(picture: np.ndarray) -> Image:
    return Image(picture.astype(np.float32), Grid.of(picture.shape, 0.01), "lattice")


@pytest.mark.parametrize(("contrast", "sigma"), [(0.0, 1.0), (3.0, 1.0), (0.5, 2.0)])
def test_white_noise_is_measured_beside_a_lattice(contrast: float, sigma: float) -> None:
    picture = 100 + contrast * LATTICE + RNG.normal(0, sigma, LATTICE.shape)
    found = float(noise_of(picture.astype(np.float32)).variance(picture).mean())
    assert found == pytest.approx(sigma**2, rel=0.06)
    wanted = sigma**2 / picture.var()
    assert noise_share(picture, noise_of(picture.astype(np.float32))) == pytest.approx(wanted, rel=0.06)


def test_noise_that_grows_with_the_grey_level_is_told_from_constant_noise() -> None:
    slow = 100 + 80 * np.cos(X / 40.0)
    shot = noise_of(RNG.poisson(slow).astype(np.float32))
    assert shot.slope == pytest.approx(1.0, abs=0.1) and shot.variance(np.array(100.0)) == pytest.approx(100, rel=0.05)
    assert noise_of((slow + RNG.normal(0, 10, slow.shape)).astype(np.float32)).slope < 0.1
    assert noise_of(np.full((64, 64), 7, np.float32)) == NoiseModel(0.0, 0.0)


def test_decoupled_versions_have_the_promised_noise_and_share_the_promised_part_of_it() -> None:
    noise = NoiseModel(4.0, 0.0)
    recorded = RNG.normal(0, 2.0, (512, 512)).astype(np.float32)
    for part in (0.4, 1.0):
        first, second = decoupled(recorded, noise, part, np.random.default_rng(0))
        assert np.cov(first.ravel(), second.ravel())[0, 1] == pytest.approx(4 * (1 - part), abs=0.08)
        assert first.var() == pytest.approx(4 * (1 + part / 2), rel=0.02)
        assert second.var() == pytest.approx(4 * (1 + 2 * part), rel=0.02)


@pytest.mark.parametrize("ratio", [0.5, 0.62])
def test_interpolated_points_are_as_noisy_as_recorded_pixels(ratio: float) -> None:
    noise = NoiseModel(1.0, 0.0)
    picture = RNG.normal(50, 1, (400, 400)).astype(np.float32)
    stop = (int(400 * ratio),) * 2
    first, _ = decoupled(picture, noise, 0.5, np.random.default_rng(0))
    points = decoupled_points(first, noise, 0.5, ratio, (0, 0), stop, np.random.default_rng(1))
    assert points.shape == stop and points.mean() == pytest.approx(50, abs=0.05)
    assert 0.97 < points[2:-2, 2:-2].var() < 1.3


def test_our_levels_end_at_the_factor_and_trust_noisy_pictures_less() -> None:
    clean, noisy = (_image(100 + 10 * LATTICE + RNG.normal(0, s, LATTICE.shape)) for s in (0.5, 5.0))
    ours, other = multiscale_default(4, clean), multiscale_default(2, [noisy])
    assert ours.beta[-1] == 4 and other.beta[-1] == 2 and ours.filters == ("nearest",) and not ours.alpha
    assert ours.decoupling > 0.95 and 0.4 < other.decoupling < 0.6


def test_finer_levels_of_a_training_set_do_not_share_noise() -> None:
    """Of white noise alone, the coarse picture says nothing about the fine one."""
    image = _image(RNG.normal(100, 5, (256, 256)))

    def likeness(part: float) -> float:
        patches = multiscale_patches(
            [image], MultiscaleConfig(beta=(2.0,), sr_factor=2, filters=("nearest",), decoupling=part)
        )
        finer = next(p for p in patches.pieces if "2 x" in p.name)
        blocks = finer.hr.reshape(finer.lr.shape[0], 2, finer.lr.shape[1], 2).mean(axis=(1, 3))
        return float(np.corrcoef(finer.lr.ravel(), blocks.ravel())[0, 1])

    assert likeness(0.0) > 0.9 and abs(likeness(1.0)) < 0.03


def test_an_absurd_part_and_written_sets_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"from 0 \(none\) to 1 \(all\), but 1.5 came"):
        MultiscaleConfig(decoupling=1.5)
    with pytest.raises(InputError, match="made while training and not written"):
        write_multiscale([_image(LATTICE)], tmp_path, MultiscaleConfig(decoupling=0.5))
