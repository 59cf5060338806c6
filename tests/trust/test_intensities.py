"""Matching of grey levels: known gains and offsets are found, nothing is rounded, what remains is said."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.trust import match_intensities
from finescan.trust.intensities import left_over, linear_map, mapped, matching_sentences
from finescan.values import GreyStatistics, Grid, Image, Look, ModelCard, look_of


def grey(seed: int = 0, shape: tuple[int, int] = (256, 256)) -> np.ndarray:
    """Two phases and noise, nothing like a normal distribution; the seed moves the phases and draws the noise."""
    rng = np.random.default_rng(99)
    phases = np.kron(rng.random((shape[0] // 8, shape[1] // 8)) < 0.3, np.ones((8, 8)))
    return 80 + 60 * np.roll(phases, 40 * seed, axis=1) + np.random.default_rng(seed).normal(0, 8, shape)


def image(data: np.ndarray) -> Image:
    return Image(data, Grid.of(data.shape, 10.0), "map")


def card(look: Look | None) -> ModelCard:
    levels = GreyStatistics(100.0, 20.0, 40.0, 160.0)
    kept = {} if look is None else {"look": look.to_dict()}
    return ModelCard("fast", {}, 4, 8, (2.5, 2.5), (4.0, 4.0), levels, levels, training=kept)


@pytest.mark.parametrize(("gain", "offset"), [(0.4, 30.0), (1.0, 69.0), (3.0, -100.0)])
def test_a_known_gain_and_offset_are_undone(gain, offset):
    trained = look_of(grey(0))
    found, a, b = match_intensities(image(gain * grey(1) + offset), trained)
    assert a == pytest.approx(1 / gain, rel=0.02)
    assert b == pytest.approx(-offset / gain, abs=2.5)
    again = look_of(found.array())
    assert np.quantile(found.array(), (0.1, 0.5, 0.9)) == pytest.approx(np.quantile(grey(0), (0.1, 0.5, 0.9)), abs=3)
    assert (again.mean, again.std) == (pytest.approx(trained.mean, abs=1), pytest.approx(trained.std, rel=0.03))


def test_the_same_sample_is_mapped_onto_itself():
    _, gain, offset = match_intensities(image(grey()), card(look_of(grey())))
    assert (gain, offset) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))


def test_a_few_glaring_pixels_change_nothing():
    dirty = grey(1)
    dirty[:6] = 5000
    clean = match_intensities(image(grey(1)), look_of(grey()))[1:]
    assert match_intensities(image(dirty), look_of(grey()))[1:] == pytest.approx(clean, rel=0.05, abs=3)


def test_integer_maps_are_not_rounded_and_not_cut_off():
    counts = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found, gain, offset = match_intensities(image(counts), look_of(grey()))
    values = found.array()
    assert values.dtype == found.dtype == np.float32
    assert len(np.unique(values)) > 60000  # 16 bit of grey levels squeezed into a range of 100
    assert values == pytest.approx(gain * counts.astype(float) + offset, rel=1e-6, abs=1e-5)
    dark = match_intensities(image(grey() - 500), look_of(grey() - 900))[0].array()
    assert dark.min() < -850


def test_only_what_is_read_is_mapped_and_missing_pixels_stay_missing():
    recorded = grey(1)
    recorded[3, 4] = np.nan
    recorded.flags.writeable = False
    found, gain, offset = match_intensities(image(recorded), look_of(grey()))
    assert found.data.shape == recorded.shape and found.data.ndim == 2
    assert np.isnan(found.data[0:10, 0:10]).sum() == 1
    assert found.data[20:30, 5] == pytest.approx(gain * recorded[20:30, 5] + offset, rel=1e-6)
    assert found.grid == image(recorded).grid


def test_a_card_of_an_older_version_gives_its_mean_and_standard_deviation():
    found, _, _ = match_intensities(image(3 * grey() + 7), card(None))
    assert (found.array().mean(), found.array().std()) == (pytest.approx(100, abs=0.5), pytest.approx(20, rel=0.02))


def test_contrast_is_never_inverted():
    trained = look_of(grey())
    inverted = image(200 - grey(1))
    found, gain, _ = match_intensities(inverted, trained)
    assert gain > 0
    assert np.corrcoef(found.array().ravel(), inverted.array().ravel())[0, 1] > 0.999


def test_a_bent_contrast_curve_is_told_and_a_straight_one_is_not():
    trained = look_of(grey())
    straight, bent = look_of(2 * grey(1) - 50), look_of(np.exp(grey(1) / 10))
    assert left_over(straight, trained) < 0.05
    assert left_over(bent, trained) > 0.4
    said = matching_sentences(straight, trained, *linear_map(straight, trained))
    assert len(said) == 1
    assert said[0].startswith("Grey levels of the map were matched to the training area: 0.")
    assert "Those of the result are those of the model's fine scan." in said[0]
    more = matching_sentences(bent, trained, *linear_map(bent, trained))
    assert more[1].endswith("which no linear map repairs.")


def test_a_map_with_one_grey_level_nearly_everywhere_is_refused():
    nearly = np.full((256, 256), 5.0)
    nearly[:4] = 9
    with pytest.raises(InputError, match=r"nine of ten pixels of the map have the same one.*--match-intensities"):
        match_intensities(image(nearly), look_of(grey()))
    with pytest.raises(InputError, match="pixels of the training area have the same one"):
        match_intensities(image(grey()), look_of(nearly))


def test_mapping_is_done_in_double_precision():
    assert mapped(np.uint16(40001), 1e-4, -4.0) == np.float32(0.0001)
