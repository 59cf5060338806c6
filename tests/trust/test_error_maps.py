"""Errors against a fine scan: what was deleted is omitted, what was painted is invented, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.consistency import Consistency
from finescan.trust.error_maps import error_maps
from finescan.values import Grid, Image

GRID = Grid.of((128, 128), 10.0)
CHECK = Consistency(0.4, 1.0, 0.0, 1.0, 4.0, 1.0)


def scene(*pores: tuple[int, int]) -> np.ndarray:
    yy, xx = np.mgrid[:128, :128]
    out = np.full((128, 128), 200.0)
    for y, x in pores:
        out -= 120 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * 4.0**2))
    return out


def maps(enhanced: np.ndarray, fine: np.ndarray):
    lr = ndimage.gaussian_filter(fine, 1.6).reshape(32, 4, 32, 4).mean((1, 3)).astype(np.float32)
    image = [Image(a.astype(np.float32), GRID, "picture") for a in (enhanced, fine)]
    return error_maps(*image, Image(lr, GRID.coarsen(4), "coarse"), CHECK)


BOTH, ONE = scene((40, 40), (90, 84)), scene((40, 40))


def test_a_deleted_pore_is_omitted_and_a_painted_one_invented_there_and_nowhere_else():
    for enhanced, fine, name, other in ((ONE, BOTH, "omission", "invention"), (BOTH, ONE, "invention", "omission")):
        found = maps(enhanced, fine + np.random.default_rng(3).normal(0, 6, fine.shape))
        wrong = getattr(found, name)
        assert wrong[22, 21] > 3
        far = np.hypot(*(np.mgrid[:32, :32] - np.array([22, 21])[:, None, None])) > 6
        assert wrong[22, 21] > 5 * wrong[far].max() and (wrong[far] > 1).mean() < 0.03
        assert (getattr(found, other)[far] > 1).mean() < 0.01


def test_noise_gain_and_small_shifts_are_no_errors():
    rng = np.random.default_rng(0)
    noisy = BOTH + rng.normal(0, 6, BOTH.shape)
    for enhanced in (BOTH, 0.5 * BOTH + 30, ndimage.shift(BOTH, (1.0, -0.8), mode="nearest")):
        shares = maps(enhanced, noisy).shares()
        assert shares["omission"] < 0.01 and shares["invention"] < 0.01


def test_other_grids_and_too_little_overlap_are_refused():
    with pytest.raises(InputError, match="Errors are mapped on one grid"):
        coarse = Image(ONE[::4, ::4], GRID.coarsen(4), "c")
        error_maps(Image(ONE, GRID, "a"), Image(ONE, Grid.of((128, 128), 9.0), "b"), coarse, CHECK)
    with pytest.raises(InputError, match="At least 64 pixels must be known"):
        maps(np.full((128, 128), np.nan), ONE)
