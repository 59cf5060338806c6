"""Errors against a fine volume: a deleted pore is omitted, a painted one invented, and no figure depends on boxes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import volume_error_maps
from finescan.trust.consistency import Consistency
from finescan.values import Grid, Image, Region

SHAPE = (36, 48, 56)
GRID = Grid.of(SHAPE, 500.0)
COARSE = GRID.coarsen(2)
CHECK = Consistency(0.5, 1.0, 0.0, 2.0, 4.0, 1.0)
ALL = Region(COARSE, (0, 0, 0), COARSE.shape)
PLACE = (11, 14, 20)  # of the second pore, coarse voxels


def scene(*pores: tuple[int, int, int]) -> np.ndarray:
    along = np.meshgrid(*map(np.arange, SHAPE), indexing="ij", sparse=True)
    out = np.full(SHAPE, 200.0)
    for pore in pores:
        out -= 120 * np.exp(-sum((a - p) ** 2 for a, p in zip(along, pore, strict=True)) / (2 * 2.5**2))
    return out


BOTH, ONE = scene((10, 12, 12), (23, 29, 41)), scene((10, 12, 12))


def image(values: np.ndarray, grid: Grid = GRID) -> Image:
    return Image(values.astype(np.float32), grid, "volume")


def coarse(fine: np.ndarray) -> Image:
    means = ndimage.gaussian_filter(fine, 0.9).reshape(18, 2, 24, 2, 28, 2).mean((1, 3, 5))
    return image(means + np.random.default_rng(5).normal(0, 2, means.shape), COARSE)


def maps(enhanced: np.ndarray, fine: np.ndarray, **more):
    noisy = fine + np.random.default_rng(3).normal(0, 6, SHAPE)
    return volume_error_maps(image(enhanced), image(noisy), coarse(fine), CHECK, more.pop("region", ALL), **more)


def test_a_deleted_pore_is_omitted_and_a_painted_one_invented_there_and_nowhere_else():
    along = np.meshgrid(*map(np.arange, COARSE.shape), indexing="ij", sparse=True)
    far = sum((a - p) ** 2 for a, p in zip(along, PLACE, strict=True)) > 8**2
    for enhanced, fine, name, other in ((ONE, BOTH, "omission", "invention"), (BOTH, ONE, "invention", "omission")):
        found = maps(enhanced, fine)
        wrong = getattr(found, name)
        assert wrong[PLACE] > 3 and found.consistency[PLACE] > 3
        assert wrong[PLACE] > 5 * wrong[far].max() and (wrong[far] > 1).mean() < 0.01
        assert (getattr(found, other)[far] > 1).mean() < 0.01 and (found.consistency[far] > 1).mean() < 0.01


def test_noise_gain_and_small_shifts_are_no_omissions_or_inventions():
    for enhanced in (BOTH, 0.5 * BOTH + 30, ndimage.shift(BOTH, (0.5, -0.6, 0.4), mode="nearest")):
        shares = maps(enhanced, BOTH).shares()
        assert shares["omission"] < 0.01 and shares["invention"] < 0.01


def test_boxes_and_regions_give_the_same_figures():
    whole = maps(ONE, BOTH)
    part = maps(ONE, BOTH, region=Region(COARSE, (4, 3, 9), (17, 22, 28)), box_px=26)
    for name, values in vars(part).items():
        assert np.array_equal(values, getattr(whole, name)[4:17, 3:22, 9:28]), name


def test_where_the_fine_volume_is_not_known_nothing_is_said_of_omission_and_invention():
    fine = BOTH.copy()
    fine[:, :, 40:] = np.nan
    found = volume_error_maps(image(ONE), image(fine), coarse(BOTH), CHECK, ALL)
    for values in (found.omission, found.invention):
        assert np.isnan(values[:, :, 20:]).all() and np.isfinite(values[:, :, :20]).all()


def test_other_grids_and_too_little_overlap_are_refused():
    with pytest.raises(InputError, match="Errors are mapped on one grid"):
        volume_error_maps(image(ONE), image(ONE, Grid.of(SHAPE, 400.0)), coarse(ONE), CHECK, ALL)
    with pytest.raises(InputError, match="At least 64 voxels around the middle must be known in both"):
        volume_error_maps(image(ONE), image(np.full(SHAPE, np.nan)), coarse(ONE), CHECK, ALL)
