"""The distance to the wall against scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.quantification.distance import distance_to_wall


@pytest.mark.parametrize("shape", [(23, 31, 37), (1, 40, 33), (9, 1, 20)])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 1, 1.3)])
def test_the_distance_is_scipys(shape, spacing):
    inside = np.random.default_rng(0).random(shape) > 0.03
    expected = ndimage.distance_transform_edt(inside, sampling=spacing)
    np.testing.assert_allclose(distance_to_wall(inside, spacing), expected, atol=1e-5)


def test_without_any_wall_the_distance_is_finite_and_huge():
    d = distance_to_wall(np.ones((3, 4, 5), bool), (1, 1, 1))
    assert np.isfinite(d).all() and d.min() > 1e9
