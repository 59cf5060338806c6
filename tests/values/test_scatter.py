"""Cut-off grey levels lie together, those that no electron reached lie scattered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.io.inspection import describe
from finescan.patches import saturation_levels
from finescan.trust import saturation_levels as rails
from finescan.values import Grid, Image, scattered


def structure(shape=(256, 256)):
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 8)
    return field / field.std()


def events(shape=(256, 256)):
    """Pulse heights of few electrons per pixel: many pixels hold exactly 0, and few hold any one other level."""
    rng = np.random.default_rng(1)
    return np.rint(rng.gamma(np.maximum(rng.poisson(2 * np.exp(0.3 * structure(shape))), 1e-9) * 4, 25)).astype(
        np.uint16
    )


def test_pixels_without_an_electron_are_not_cut_off():
    picture = events()
    assert 0.1 < np.mean(picture == 0) < 0.2 and scattered(picture == 0)
    assert saturation_levels(picture) == rails(picture) == (None, None)
    assert describe(Image(picture, Grid.of(picture.shape, 1.0)))["saturated_low"] == 0


@pytest.mark.parametrize("noise", [0.2, 0.6])
def test_a_dark_end_that_was_cut_off_stays_one(noise):
    rng = np.random.default_rng(2)
    grey = structure() + 1.2 + noise * rng.standard_normal((256, 256))
    picture = np.rint(20 * np.maximum(0, grey)).astype(np.uint8)
    assert not scattered(picture == 0)
    assert saturation_levels(picture)[0] == rails(picture)[0] == 0
    assert describe(Image(picture, Grid.of(picture.shape, 1.0)))["saturated_low"] > 0.1


def test_it_is_the_share_of_neighbours_that_decides_in_any_number_of_axes():
    board = np.indices((8, 8)).sum(axis=0) % 2 == 0
    assert scattered(board) and not scattered(np.ones((8, 8), bool)) and not scattered(np.zeros((8, 8), bool))
    block = np.zeros((6, 6, 6), bool)
    block[:3] = True
    assert not scattered(block) and scattered(np.random.default_rng(0).random((20, 20, 20)) < 0.2)
    assert not scattered(np.array([True, False, True]))  # on a line nothing can be told
