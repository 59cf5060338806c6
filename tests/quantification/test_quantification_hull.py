"""The convex hull of the sample, slice by slice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from finescan.quantification.segmentation import _convex


@pytest.mark.parametrize("seed", range(6))
def test_the_hull_of_a_blob_is_that_of_scikit_image(seed):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.random((60, 80)), 4) > 0.52
    mask[rng.integers(60, size=3), rng.integers(80, size=3)] = True
    assert np.array_equal(_convex(mask), convex_hull_image(mask, offset_coordinates=False))


def test_pixels_on_one_line_are_their_own_hull():
    mask = np.zeros((9, 9), bool)
    mask[4, 2:5] = True
    assert np.array_equal(_convex(mask), mask)
    mask[4, 2:5] = False
    mask[1, 1] = True
    assert np.array_equal(_convex(mask), mask)
