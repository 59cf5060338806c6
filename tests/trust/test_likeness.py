"""Other areas of one sample are like each other, other materials are not, and what differs is said in words."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from skimage import data

from finescan.errors import InputError, ModelError
from finescan.simulation import simulate
from finescan.trust import Likeness, compare_looks, compare_with_card
from finescan.trust.likeness import GREY, feature_distances, powers_at_one_noise
from finescan.values import GreyStatistics, Look, ModelCard, look_of
from finescan.values.look import BANDS, FEATURES

TRAINED = np.zeros((256, 256), bool)
TRAINED[60:200, 50:200] = True  # what a fine scan of a third of the area covers


@cache
def coarse(recipe: str, seed: int) -> np.ndarray:
    return simulate(recipe, size=256, ratio=4, fine=300, seed=seed).lr.array()


def compared(material: str, seed: int, trained: str, trained_seed: int) -> Likeness:
    return compare_looks(look_of(coarse(material, seed)), look_of(coarse(trained, trained_seed), TRAINED))


def white(sigma: float = 20.0, seed: int = 0, shape: tuple[int, int] = (256, 256), mean: float = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sigma, shape)


def blobs(seed: int = 0, size: float = 8.0) -> np.ndarray:
    """Smooth random grey levels around 0 of standard deviation 1."""
    f = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256))
    spectrum = np.fft.rfft2(np.random.default_rng(seed).normal(size=(256, 256))) * np.exp(
        -2 * (np.pi * f * size / 4) ** 2
    )
    out = np.fft.irfft2(spectrum, s=(256, 256))
    return (out - out.mean()) / out.std()


# ---------------------------------------------------------------------------------------- samples
@pytest.mark.parametrize("recipe", ["polycrystal", "porous", "noisy", "lattice", "dual-phase", "case-hardening"])
def test_a_second_map_of_the_same_sample_passes(recipe):
    for seed, trained in ((11, 12), (12, 11)):
        found = compared(recipe, seed, recipe, trained)
        assert found.verdict == "like", found
        assert found.distance <= 1 and not found.fixable


def test_the_two_steels_are_told_apart_whichever_was_trained_on():
    for seed, other in ((11, 11), (12, 11), (11, 12)):
        assert compared("case-hardening", seed, "dual-phase", other).verdict == "unlike"
        assert compared("dual-phase", seed, "case-hardening", other).verdict == "unlike"


@pytest.mark.parametrize("trained", ["polycrystal", "porous", "dual-phase"])
@pytest.mark.parametrize("other", ["lattice", "noisy"])
def test_other_materials_and_other_recordings_fail(trained, other):
    assert compared(other, 11, trained, 12).verdict == "unlike"
    assert compared(trained, 12, other, 11).verdict == "unlike"


def test_halves_of_real_pictures_are_like_each_other_and_unlike_other_pictures():
    pictures: dict[str, Callable[[], np.ndarray]] = {"brick": data.brick, "grass": data.grass, "gravel": data.gravel}
    left = {n: look_of(make()[:, :256]) for n, make in pictures.items()}
    right = {n: look_of(make()[:, 256:]) for n, make in pictures.items()}
    for one in pictures:
        for other in pictures:
            found = compare_looks(right[other], left[one])
            assert (found.verdict == "like") == (one == other), (one, other, found)


# ---------------------------------------------------------------------------------------- distances
def test_an_image_is_no_distance_from_itself():
    look = look_of(30 * blobs() + white(5.0))
    distances = feature_distances(look, look)
    assert set(distances) == {*FEATURES, "patchiness"}
    assert all(d == 0 for d in distances.values())
    assert compare_looks(look, look).distance == 0


def test_distances_have_a_sign_and_grow_with_the_difference():
    trained = look_of(white())
    levels = [compare_looks(look_of(white(mean=100 + d)), trained).distances["level"] for d in (-40, -10, 10, 40)]
    assert levels == sorted(levels)
    assert levels[0] < -3 < levels[1] < 0 < levels[2] < 3 < levels[3]


def test_what_varies_within_the_training_area_may_differ_elsewhere():
    even, patchy = 5 * blobs() + white(2.0), 5 * blobs() + white(2.0)
    steps = 15 * np.random.default_rng(5).normal(size=(8, 8))
    patchy += np.kron(steps, np.ones((32, 32)))
    brighter = 6.0
    strict, lenient = (
        compare_looks(look_of(a + brighter), look_of(a)).distances["level"] * look_of(a).std / brighter
        for a in (even, patchy)
    )
    assert strict > 1.2 * lenient  # per standard deviation


def test_a_small_training_area_is_trusted_less():
    image = coarse("polycrystal", 11)
    small = np.zeros(image.shape, bool)
    small[100:164, 100:164] = True
    darker = look_of(image).mapped(1.0, -3000.0)
    by_large, by_small = (look_of(coarse("polycrystal", 12), m) for m in (TRAINED, small))
    by_small = Look.from_dict({**by_large.to_dict(), "tiles": by_small.tiles})
    assert abs(feature_distances(darker, by_small)["level"]) < 0.8 * abs(feature_distances(darker, by_large)["level"])


def test_noise_counts_once_and_is_not_taken_for_texture():
    structure = 40 * blobs()
    quiet, noisy = look_of(structure + white(2.0)), look_of(structure + white(16.0, seed=1))
    for image, trained in ((quiet, noisy), (noisy, quiet)):
        distances = feature_distances(image, trained)
        assert abs(distances["noise"]) > 3
        assert max(abs(distances[n]) for n in BANDS) < 1.0
    raised = [powers_at_one_noise(quiet, noisy, k)[:2] for k in range(4)]
    assert all(a == pytest.approx(b, rel=0.3) for a, b in raised)


def test_detail_of_another_size_is_seen_under_equal_noise():
    coarse_grained, fine_grained = (look_of(40 * blobs(size=s) + white(4.0)) for s in (16.0, 6.0))
    distances = feature_distances(fine_grained, coarse_grained)
    assert max(distances[n] for n in BANDS) > 3
    assert abs(distances["noise"]) < 1


# ---------------------------------------------------------------------------------------- words
def test_brightness_and_contrast_alone_can_be_repaired():
    trained = look_of(40 * blobs() + white(4.0))
    image = look_of(40 * blobs(1) + white(4.0, seed=1)).mapped(2.0, 150.0)
    found = compare_looks(image, trained)
    assert (found.verdict, found.fixable) == ("unlike", True)
    assert found.sentences[0].startswith("The map is unlike what the model learned from (distance ")
    assert any(s.startswith("Grey levels spread 2 times as far as in training") for s in found.sentences)
    assert "--match-intensities" in found.sentences[-1]
    assert not compare_looks(look_of(coarse("lattice", 11)), trained).fixable


def test_the_mean_of_the_paper_is_said_as_the_paper_says_it():
    trained = look_of(white(22.0, mean=133))
    text = str(compare_looks(look_of(white(22.0, mean=202, seed=1)), trained))
    assert "Mean grey 201.8 where the model learned 133.1 (3.1 standard deviations)." in text


def test_noise_is_said_against_the_contrast():
    structure = 40 * blobs(size=30.0)
    found = compare_looks(look_of(structure + white(12.0)), look_of(structure + white(4.0)))
    assert "Against the contrast, the noise is 2.9 times as strong as in training." in found.sentences


def test_lamellae_that_were_not_in_training_are_said_with_their_period():
    structure = 40 * blobs() + white(4.0)
    x = np.arange(256)
    lamellae = look_of(structure + 30 * np.sin(2 * np.pi * x / 3.4))
    text = str(compare_looks(lamellae, look_of(structure)))
    assert "There is detail with periods of 2.8 to 4 coarse pixels that was hardly there in training" in text
    assert "Lines are more parallel than in training" in text
    text = str(compare_looks(look_of(structure), lamellae))
    assert "Detail with periods of 2.8 to 4 coarse pixels, as in training, is all but missing" in text


def test_inverted_contrast_is_said():
    pores = 40 * np.kron(np.random.default_rng(0).random((64, 64)) < 0.06, np.ones((4, 4))) + white(4.0)
    text = str(compare_looks(look_of(200 - pores), look_of(pores)))
    assert "Features are dark on their surroundings where those of training are bright." in text


def test_the_verdict_like_has_no_advice():
    found = compared("polycrystal", 11, "polycrystal", 12)
    assert found.sentences[0].startswith("The map is like what the model learned from (distance 0.")
    assert not any("Record a fine scan" in s for s in found.sentences)


@pytest.mark.parametrize("trained", ["polycrystal", "lattice", "case-hardening"])
def test_every_difference_can_be_said(trained):
    from finescan.trust.likeness_words import describe

    image, card = look_of(coarse("dual-phase", 11)), look_of(coarse(trained, 12), TRAINED)
    for name in (*FEATURES, "patchiness"):
        for sign in (-1, 1):
            said = describe(image, card, {**dict.fromkeys(FEATURES, 0.0), name: 5.0 * sign}, unlike=True)
            assert len(said) == 1 and said[0].endswith(".") and "nan" not in said[0]


# ---------------------------------------------------------------------------------------- cards
def card(training: dict) -> ModelCard:
    levels = GreyStatistics(1.0, 2.0, 3.0, 4.0)
    return ModelCard("fast", {}, 4, 8, (2.5, 2.5), (4.0, 4.0), levels, levels, training=training)


def test_a_card_is_compared_by_the_look_it_keeps():
    image, trained = look_of(white(seed=1)), look_of(white())
    assert compare_with_card(image, card({"look": trained.to_dict()})) == compare_looks(image, trained)


def test_a_card_of_an_older_version_leaves_it_open():
    found = compare_with_card(look_of(white()), card({}))
    assert found.verdict == "unknown" and not found.fixable
    assert found.sentences[0].startswith("The model card holds no statistics of its training area")
    assert found.to_dict()["distance"] is None


def test_damaged_statistics_and_other_tiles_are_refused():
    with pytest.raises(ModelError, match="statistics of the training area lack"):
        compare_with_card(look_of(white()), card({"look": {"mean": 1.0}}))
    with pytest.raises(InputError, match=r"the image's are 64 px and the training area's 32 px. Pass tile=32"):
        compare_looks(look_of(white(), tile=64), look_of(white()))


def test_grey_levels_are_what_matching_repairs():
    assert set(GREY) == {"level", "contrast"}
    trained = look_of(40 * blobs() + white(4.0))
    image = look_of(40 * blobs(1) + white(4.0, seed=1))
    moved = image.mapped(3.0, -70.0)
    a, b = (compare_looks(x, trained).distances for x in (image, moved))
    assert {n for n in a if a[n] != pytest.approx(b[n], abs=1e-9)} == set(GREY)
