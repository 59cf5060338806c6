"""A small volume pair with a known map, for the tests of the registration in 3-D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from finescan.values import Grid, Image, Warp

KNOTS = 7  # of the drift along z


@dataclass(frozen=True)
class VolumeJob:
    """A coarse and a fine volume of one specimen, and the map between them."""

    lr: Image
    hr: Image
    truth: Warp

    def errors(self, found: Warp, border: float = 0.1) -> np.ndarray:
        """Distances of two maps over the field without its border, fine voxels."""
        axes = [np.linspace(border * n, (1 - border) * (n - 1), 9) for n in self.hr.grid.shape]
        nm = self.hr.grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
        return np.linalg.norm((found(nm) - self.truth(nm)) / np.asarray(self.hr.grid.pixel_size_nm), axis=-1)


def spheres(shape, rng, share=0.25):
    """Bubbles with soft edges, bright on dark, some fine texture between them."""
    out = np.zeros(shape, np.float32)
    for _ in range(int(share * np.prod(shape) / 400)):
        r = rng.uniform(2.5, 8.0)
        c = [rng.uniform(0, n) for n in shape]
        box = tuple(slice(max(0, int(m - r - 3)), min(n, int(m + r + 4))) for m, n in zip(c, shape, strict=True))
        mesh = np.ogrid[box]
        far = np.sqrt(sum((g - m) ** 2 for g, m in zip(mesh, c, strict=True)))
        out[box] = np.maximum(out[box], 1 / (1 + np.exp((far - r) / 0.5)))
    return out + 0.1 * ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 1.5)


def turned(z_deg, tilt_deg, scale):
    """Rotation about z and a small tilt about y, times length factors."""
    a, b = np.radians(z_deg), np.radians(tilt_deg)
    about_z = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    return about_z @ about_y @ np.diag(scale)


def volume_job(
    seed=1, *, coarse=(52, 52, 52), fine=(72, 72, 72), block=(3, 3, 3), turn=2.0, tilt=0.6, drift=1.0,
    scale=(1.01, 0.99, 1.005), noise=0.05, invert=False, shift=None, mirror=False, offset=0.0,
):  # fmt: skip
    """A pair with 100 nm fine voxels; lengths in coarse voxels.

    ``block`` fine voxels per coarse one; ``drift`` peak along x and y; ``shift`` of the fine centre from the middle of
    the map (random by default); ``offset`` of the coarse frame, nm.
    """
    rng = np.random.default_rng([seed, 5])
    size = [c * b for c, b in zip(coarse, block, strict=True)]
    sample = spheres(size, rng)
    step = 100.0
    whole = Grid.of(size, step)
    lr_data = ndimage.gaussian_filter(sample, [0.45 * b for b in block])
    lr_data = lr_data.reshape([n for c, b in zip(coarse, block, strict=True) for n in (c, b)]).mean((1, 3, 5))
    room = [max(0.0, (c - f / b) / 2 - 3) for c, f, b in zip(coarse, fine, block, strict=True)]
    moved = rng.uniform(-1, 1, 3) * room if shift is None else np.asarray(shift, float)
    hr_grid = Grid.of(fine, step)
    matrix = turned(turn, tilt, scale)
    middle = hr_grid.to_nm((np.asarray(fine) - 1) / 2)
    target = whole.to_nm((np.asarray(size) - 1) / 2) + moved * np.asarray(block) * step
    bend = np.zeros((3, KNOTS, 1, 1))
    bend[1:, :, 0, 0] = rng.uniform(-1, 1, (2, KNOTS)) * drift * max(block) * step
    knots = Grid.of((KNOTS, 1, 1), [fine[0] * step / (KNOTS - 5), step, step], [-2 * fine[0] * step / (KNOTS - 5), 0, 0])
    truth = Warp(matrix, target - matrix @ middle, knots, bend)
    index = whole.to_index(truth(hr_grid.to_nm(np.stack(np.indices(fine), -1))))
    hr_data = ndimage.map_coordinates(sample, np.moveaxis(index, -1, 0), order=3, mode="mirror")
    hr_data = 1 - hr_data if invert else hr_data
    hr_data = hr_data[:, :, ::-1].copy() if mirror else hr_data
    lr_data, hr_data = (x + noise * rng.standard_normal(x.shape) for x in (lr_data, hr_data))
    lr_grid = whole.coarsen(block)
    lr_grid = Grid.of(coarse, lr_grid.pixel_size_nm, np.asarray(lr_grid.origin_nm) + offset)
    truth = Warp.affine(np.eye(3), np.full(3, float(offset))).after(truth)
    lr = Image((1000 + 800 * lr_data).astype(np.float32), lr_grid, "coarse")
    return VolumeJob(lr, Image((3000 + 2000 * hr_data).astype(np.float32), hr_grid, "fine"), truth)


@pytest.fixture(scope="session")
def make_volume_job():
    """The maker of pairs."""
    return volume_job
