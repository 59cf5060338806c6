"""Periods: which stand out of noise, and which of an enhanced image the coarse scan does not vouch for."""

from dataclasses import replace

import numpy as np
import pytest
from lattice_samples import PIXEL, drawn, places
from scipy import ndimage

from finescan import resampling
from finescan.errors import InputError
from finescan.quantification import find_inventions, reciprocal_basis, spectrum_peaks
from finescan.quantification.invention import VERDICTS, _length
from finescan.quantification.spectrum import spectrum
from finescan.simulation import STEM_FAULTS, simulate_lattice
from finescan.values import Grid, Image

RATIO = 4


def noise(seed, n=128):
    return Image(np.random.default_rng(seed).standard_normal((n, n)), Grid.of((n, n), 0.1), "noise")


@pytest.fixture(scope="module")
def pair():
    """A recorded image, the coarse scan that nearest-neighbour decimation makes of it, and its cubic interpolation."""
    fine = simulate_lattice("stem", pixels=512, zooms=(5, 10), faults=(STEM_FAULTS,) * 2, seed=3).coarse.image
    size = fine.grid.pixel_size_nm[0] * RATIO
    coarse = Image(fine.data[::RATIO, ::RATIO].astype(np.float32), Grid.of((128, 128), size), "coarse")
    grid = coarse.grid.refine(RATIO)
    recorded = Image(fine.data.astype(np.float32), grid, "recorded")
    return recorded, coarse, resampling.resample(coarse, onto=grid, outside=None)


def count(verdicts, name):
    return int(np.sum(verdicts.verdict == VERDICTS.index(name)))


def with_wave(image, per_nm, amplitude):
    """The image and a wave of a frequency (y, x)."""
    y, x = np.moveaxis(image.grid.to_nm(np.stack(np.indices(image.grid.shape), -1)), -1, 0)
    wave = amplitude * np.cos(2 * np.pi * (per_nm[0] * y + per_nm[1] * x))
    return image.with_data((image.data + wave).astype(np.float32))


def test_noise_makes_no_more_periods_than_promised() -> None:
    for promised, images in ((1.0, 60), (0.05, 60)):
        found = sum(len(spectrum_peaks(noise(s), false_alarms=promised)) for s in range(images))
        assert found <= promised * images + 3 * np.sqrt(promised * images)
    assert sum(len(spectrum_peaks(noise(s), false_alarms=5.0)) for s in range(20)) > 10  # the threshold is not far off


def test_a_wave_has_its_place_and_amplitude() -> None:
    image = with_wave(noise(1, 200), (1.234, -2.345), 0.7)
    peaks = spectrum_peaks(image)
    assert len(peaks) == 1 and peaks.amplitude[0] == pytest.approx(0.7, rel=0.1)
    assert np.abs(np.abs(peaks.frequency[0]) - (1.234, 2.345)).max() < 0.1 * peaks.step[0]


def test_a_step_and_jumping_lines_are_streaks_and_no_periods() -> None:
    y, x = np.mgrid[:200, :200]
    edge = Image(3.0 * (y + 0.37 * x > 130) + noise(2, 200).data, Grid.of((200, 200), 0.1))
    assert len(spectrum_peaks(edge)) == 0
    lines = noise(3, 200).data + np.random.default_rng(4).normal(0, 1, (200, 1))
    assert len(spectrum_peaks(edge.with_data(lines))) == 0


def test_the_basis_explains_all_periods_and_is_not_too_small() -> None:
    vectors = np.array([[0.0, 12.3], [14.1, 2.0]])
    image = drawn((300, 300), places((300, 300), vectors), sigma=2.0, counts=5.0)
    basis = reciprocal_basis(spectrum_peaks(image))
    volume = abs(np.linalg.det(basis)) * abs(np.linalg.det(vectors * PIXEL))
    assert volume == pytest.approx(1, rel=2e-3)
    with pytest.raises(InputError, match=r"noise: no lattice was found. 0 periods"):
        reciprocal_basis(spectrum_peaks(noise(5)), "noise")


def test_noise_level_and_its_smoothing() -> None:
    waves = spectrum(noise(6, 256))
    assert waves.noise_after(0.0, np.inf) == pytest.approx(1.0, rel=0.05)
    smooth = ndimage.gaussian_filter(noise(6, 256).data, 2.0) - ndimage.gaussian_filter(noise(6, 256).data, 6.0)
    assert waves.noise_after(2.0, 6.0) == pytest.approx(smooth.std(), rel=0.1)


def test_real_periods_are_not_flagged(pair) -> None:
    recorded, coarse, _ = pair
    verdicts = find_inventions(recorded, coarse)
    assert not verdicts.doubted.any() and count(verdicts, "supported") > 8
    assert count(verdicts, "extrapolated") >= 1  # harmonics that only the fine recording shows
    beyond = verdicts.of("extrapolated")
    assert (np.abs(verdicts.order[beyond]).max(1) > 0).all()


@pytest.mark.parametrize(
    ("between", "verdict"), [((0.5, 1.5), "contradicted"), ((3.5, 3.5), "invented"), ((-1.5, 9.5), "invented")]
)
def test_a_made_up_period_is_found(pair, between, verdict) -> None:
    """Halfway between lattice points, in the coarse scan's band and beyond."""
    recorded, coarse, interpolated = pair
    per_nm = np.array(between) @ find_inventions(recorded, coarse).basis
    for image in (recorded, interpolated):
        before = find_inventions(image, coarse)
        verdicts = find_inventions(with_wave(image, per_nm, 300.0), coarse)
        assert count(verdicts, verdict) == count(before, verdict) + 1
        flagged = verdicts.table()["period_pm"][verdicts.of(verdict)]
        assert np.abs(flagged - 1e3 / np.hypot(*per_nm)).min() < 2
    assert verdict in str(verdicts) and verdicts.summary()[verdict] >= 1


def test_a_made_up_period_that_is_a_harmonic_is_called_extrapolated(pair) -> None:
    _, coarse, interpolated = pair
    basis = find_inventions(interpolated, coarse).basis
    verdicts = find_inventions(with_wave(interpolated, tuple(np.array([1, 6]) @ basis), 100.0), coarse)
    at = np.argmin(np.abs(np.linalg.norm(verdicts.peaks.frequency - np.array([1, 6]) @ basis, axis=1)))
    assert VERDICTS[verdicts.verdict[at]] == "extrapolated" and verdicts.order[at].tolist() in ([1, 6], [-1, -6])


def test_replicas_of_enlarged_pixels_are_called_so(pair) -> None:
    recorded, coarse, _ = pair
    blocks = np.repeat(np.repeat(coarse.data, RATIO, 0), RATIO, 1)
    verdicts = find_inventions(recorded.with_data(blocks), coarse)
    assert count(verdicts, "replica") > 30 and count(verdicts, "supported") > 8
    assert count(verdicts, "invented") + count(verdicts, "contradicted") <= 0.02 * len(verdicts.peaks)


def test_blurring_loses_periods(pair) -> None:
    recorded, coarse, _ = pair
    blurred = recorded.with_data(ndimage.gaussian_filter(recorded.data, 8.0))
    lost = find_inventions(blurred, coarse).lost
    kept = np.exp(-2 * (np.pi * 8 * 0.0124 * np.linalg.norm(lost, axis=1)) ** 2)
    assert len(lost) > 6 and kept.max() < 0.35  # a quarter, and what noise adds
    assert len(find_inventions(recorded, coarse).lost) == 0


def test_a_period_that_was_blown_up_is_contradicted(pair) -> None:
    recorded, coarse, _ = pair
    weak = find_inventions(recorded, coarse)
    k = np.flatnonzero(weak.of("supported"))[-1]
    blown = with_wave(recorded, tuple(weak.peaks.frequency[k]), 30 * weak.peaks.amplitude[k])
    assert count(find_inventions(blown, coarse), "contradicted") >= 1


def test_only_images_of_one_field_are_compared(pair) -> None:
    recorded, coarse, _ = pair
    with pytest.raises(InputError, match=r"two images of one field, the second the coarser one, .* Pass the scan that"):
        find_inventions(coarse, recorded)
    elsewhere = replace(coarse, data=coarse.data[:90], grid=coarse.grid.crop((0, 0), (90, 128)))
    with pytest.raises(InputError, match="two images of one field"):
        find_inventions(recorded, elsewhere)


@pytest.mark.parametrize(
    ("pm", "said"), [(246.3, "246 pm"), (9990.0, "9990 pm"), (134017.0, "134 nm"), (2.5e6, "2.5 µm")]
)
def test_long_periods_are_not_said_in_picometres(pm, said):
    assert _length(pm) == said
