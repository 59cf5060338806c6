"""A small pair with a known answer: the coarse image is the fine one, blurred, thinned and moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from finescan.resampling import resample
from finescan.values import Grid, Image, Pair, Residual, Verdict, Warp


def _texture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Smooth random grey levels around 100."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 4, mode="wrap")
    return (100 + 30 * smooth / smooth.std()).astype(np.float32)


@pytest.fixture
def texture() -> Callable[..., np.ndarray]:
    """``texture(shape, seed)``: smooth random grey levels around 100."""
    return _texture


@pytest.fixture
def make_pair() -> Callable[..., Pair]:
    """``make_pair(shape, ratio, hr_box, ...)``: a fine image of the whole field, the coarse map, and a cut of it."""

    def make(
        field: tuple[int, int] = (480, 480),
        ratio: float = 4.0,
        box: tuple[int, int, int, int] = (80, 80, 400, 400),
        *,
        gain: float = 1.0,
        seed: int = 0,
        name: str = "fine",
        change: Callable[[np.ndarray], np.ndarray] = lambda a: a,
        valid: np.ndarray | None = None,
    ) -> Pair:
        truth_grid = Grid.of(field, 10.0)
        truth = Image(_texture(field, seed), truth_grid)
        lr_shape = tuple(int(n / ratio) for n in field)
        lr_grid = Grid.of(lr_shape, 10.0 * ratio, 10.0 * ratio / 2 - 5.0)
        lr = resample(truth, onto=lr_grid, outside=None)
        top, left, bottom, right = box
        cut = change(gain * truth.array()[top:bottom, left:right])
        # the fine scan has a frame of its own, as a real file has
        hr = Image(cut, Grid.of(cut.shape, 10.0), name)
        warp = Warp.affine(np.eye(2), (top * 10.0, left * 10.0))
        residual = Residual(0.1, 0.1, 0.9, 3.0, {}, lr_grid)
        coarse = Image(lr.array(), lr_grid, "coarse")
        return Pair(coarse, hr, warp, Verdict.FOUND, (), residual, valid)

    return make
