"""Seams: known steps on a lattice are found and measured; the edges of a sample are none."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from finescan.errors import InputError
from finescan.trust import find_seams, seam_strength
from finescan.values import Grid, Image


def tiled(image: np.ndarray, period: tuple[int, int], height: float, phase: tuple[int, int] = (0, 0)) -> np.ndarray:
    """The image with another brightness (standard deviation ``height``) in every tile."""
    rows, columns = (
        np.searchsorted(np.arange(f % p or p, n, p), np.arange(n), side="right")
        for f, p, n in zip(phase, period, image.shape, strict=True)
    )
    level = np.random.default_rng(7).normal(size=(rows.max() + 1, columns.max() + 1))
    return image + height * level[np.ix_(rows, columns)]


def sample() -> np.ndarray:
    """A real photograph with edges in all directions, and a little noise."""
    return data.camera().astype(float) + np.random.default_rng(0).normal(0, 2, (512, 512))


def test_steps_of_a_known_height_give_the_ratio_that_follows_from_it():
    noise = np.random.default_rng(1).normal(0, 1, (1024, 1024))
    height = 4.0
    # a step of +-height between tiles, large against the noise of a difference
    checks = height * ((np.arange(1024) // 64) % 2)
    found = seam_strength(noise + checks[:, None] + checks, 64)
    plain = 2 / np.sqrt(np.pi)  # mean absolute difference of two normal numbers
    rail = np.sqrt(2) * 2.576  # steps count up to the 99 % quantile of all
    assert found.strength == pytest.approx(min(height, rail) / plain, rel=0.05)
    assert found.lines == 30
    assert found.visible


@pytest.mark.parametrize("height", [6.0, 9.0, 16.0])
def test_seams_between_tiles_are_found_with_their_period_and_phase(height):
    image = tiled(sample(), (40, 56), height, (12, 0))
    found = find_seams(image)
    assert found is not None
    assert found.period == (40, 56)
    assert found.phase == (12, 0)
    assert found.visible
    assert found == seam_strength(image, (40, 56), phase=(12, 0))


def test_higher_steps_are_stronger_seams():
    strengths = [seam_strength(tiled(sample(), (48, 48), h), 48).strength for h in (0.0, 1.0, 3.0, 9.0)]
    assert strengths == sorted(strengths)
    assert strengths[0] == pytest.approx(1.0, abs=0.08)
    assert strengths[-1] > 1.5


def test_a_seamless_image_has_none_though_it_has_edges():
    for image in (sample(), data.brick().astype(float), data.grass().astype(float)):
        for period in (32, 48, 64):
            assert not seam_strength(image, period).visible
    assert find_seams(sample()) is None


def test_noise_has_no_period_whatever_the_seed():
    found = [find_seams(np.random.default_rng(seed).normal(size=(200, 240))) for seed in range(25)]
    assert found == [None] * 25


def test_one_bright_edge_on_a_line_is_no_seam():
    image = sample()
    image[128:, :200] += 150
    assert not seam_strength(image, 64).visible


def test_one_axis_can_have_seams_alone():
    image = tiled(sample(), (512, 32), 6.0)
    found = find_seams(image)
    assert found is not None and found.period == (0, 32)
    assert seam_strength(image, (0, 32)).strength > 1.2
    assert not seam_strength(image, (32, 0)).visible


def test_missing_pixels_and_images_with_a_grid_are_taken():
    image = tiled(sample(), (64, 64), 6.0)
    whole = seam_strength(image, 64)
    image[100:300, 200:420] = np.nan
    assert seam_strength(image, 64).strength == pytest.approx(whole.strength, rel=0.25)
    on_grid = Image(np.rint(tiled(sample(), (64, 64), 6.0)).astype(np.int16), Grid.of((512, 512), 10.0))
    assert seam_strength(on_grid, 64).strength == pytest.approx(whole.strength, rel=0.05)


def test_seams_say_what_they_are():
    found = seam_strength(tiled(sample(), (64, 64), 6.0), 64)
    assert str(found).startswith("seams every 64 x 64 px: ")
    assert found.to_dict()["visible"] is True


@pytest.mark.parametrize(
    ("shape", "period", "words"),
    [
        ((512, 512), 8, "at least 16 px apart, but 8 came"),
        ((128, 128), 64, "at least 3 lines, but a lattice of 64 px has 2 in an image of 128 x 128 px"),
        ((40, 40), 16, r"at least 48 x 48 px, but \(40, 40\) came"),
    ],
)
def test_what_cannot_be_judged_is_refused(shape, period, words):
    with pytest.raises(InputError, match=words):
        seam_strength(np.random.default_rng(0).normal(size=shape), period)


def test_nothing_but_missing_pixels_is_refused():
    with pytest.raises(InputError, match="all are NaN"):
        find_seams(np.full((64, 64), np.nan))


def test_few_lines_prove_little():
    few = sum(seam_strength(np.random.default_rng(s).normal(size=(64, 72)), (0, 16)).visible for s in range(200))
    assert few <= 2
