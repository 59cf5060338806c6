"""Small lattices drawn by hand, for tests of columns: exact Gaussians on exact places."""

from __future__ import annotations

import numpy as np

from finescan.values import Grid, Image

PIXEL = 0.0124


def places(shape, vectors, *, phase=(0.3, 0.4)):
    """(n, 2) lattice points (y, x) in a field and a little around it, pixels; vectors (2, 2) in pixels, one per row."""
    reach = int(np.ceil(2 * max(shape) / np.linalg.norm(vectors, axis=1).min()))
    index = np.stack(np.meshgrid(*(np.arange(-reach, reach + 1),) * 2, indexing="ij"), -1).reshape(-1, 2)
    at = (index + np.asarray(phase)) @ np.asarray(vectors, float) + np.asarray(shape) / 2
    inside = ((at > -20) & (at < np.asarray(shape) + 20)).all(1)
    return at[inside]


def drawn(shape, at, *, sigma=3.0, height=60.0, ground=10.0, counts=None, seed=0, pixel=PIXEL, name="drawn"):
    """An image of round spots at places (pixels); ``counts`` electrons per grey level make shot noise."""
    y, x = (np.arange(n) for n in shape)
    height = np.broadcast_to(height, len(at))
    rows = np.exp(-0.5 * ((y[:, None] - at[:, 0]) / sigma) ** 2)
    columns = np.exp(-0.5 * ((x[:, None] - at[:, 1]) / sigma) ** 2)
    grey = ground + (rows * height) @ columns.T
    if counts is not None:
        grey = np.random.default_rng(seed).poisson(grey * counts) / counts
    return Image(grey, Grid.of(shape, pixel), name)
