"""Small samples of known spheres, digitised by whether a voxel's centre lies inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from finescan.values import Grid, Image

PIXEL = 650.0


def balls(shape, centres, radii, spacing=(1.0, 1.0, 1.0)) -> NDArray[np.float32]:
    """Solid of grey level 1 with pores of grey level 0; centres in voxels, radii in units of ``spacing``."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    grey = np.ones(shape, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        grey[np.linalg.norm((grid - centre) * spacing, axis=-1) <= radius] = 0
    return grey


@pytest.fixture
def pores() -> Callable[..., Image]:
    """``pores(shape, centres, radii, spacing=…, noise=…)``: an image of them, 650 nm per unit of spacing."""

    def make(shape, centres, radii, spacing=(1.0, 1.0, 1.0), noise=0.0) -> Image:
        grey = balls(shape, centres, radii, spacing[-len(shape) :])
        grey += np.random.default_rng(0).normal(0, noise, shape).astype(np.float32) if noise else 0
        size = tuple(PIXEL * s for s in spacing[-len(shape) :])
        return Image(grey, Grid.of(shape, size, origin_nm=100.0))

    return make


@pytest.fixture
def foam(pores) -> tuple[Image, NDArray, NDArray]:
    """Twelve touching spheres on a lattice, noisy: image, centres and radii in nm."""
    centres = np.array([(z, y, x) for z in (16, 36) for y in (14, 34) for x in (12, 32, 52)], float)
    radii = np.full(12, 10.0)
    image = pores((52, 48, 64), centres, radii, noise=0.1)
    return image, centres * PIXEL + 100.0, radii * PIXEL
