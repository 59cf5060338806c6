"""A small foam as the volume part of a page would get it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finescan.reporting import VolumeBox, VolumeLayer, VolumeScene
from finescan.resampling import resample
from finescan.values import Circle, Grid, Image, TrustMap


def foam(size: int = 96, pores: int = 60, seed: int = 5) -> np.ndarray:
    """Spheres in a cylinder, (3/4 size, size, size) float32: 1 solid, 0 pore and outside."""
    rng = np.random.default_rng(seed)
    depth = 3 * size // 4
    z, y, x = np.ogrid[:depth, :size, :size]
    solid = np.broadcast_to(np.hypot(y - size / 2, x - size / 2) < 0.44 * size, (depth, size, size)).astype(np.float32)
    for _ in range(pores):
        r = rng.uniform(0.03, 0.1) * size
        cz, cy, cx = rng.uniform(0, 1, 3) * (depth, size, size)
        solid[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < r * r] = 0
    return solid


def make_volume_scene(size: int = 96, **more: object) -> VolumeScene:
    """Coarse, interpolated, enhanced, reference and a quality map over one field; coarse is NaN outside its circle."""
    rng = np.random.default_rng(0)
    truth = foam(size)
    fine = Grid.of(truth.shape, (1100.0, 1000.0, 1000.0), (5e4, 1e5, 2e5))
    grey = 8000 + 30000 * ndimage.gaussian_filter(truth, 0.7)
    lr_grid = fine.coarsen(4)
    blurred = ndimage.gaussian_filter(truth, 3.0)[2::4, 2::4, 2::4] * 30000 + 8000
    coarse = blurred + rng.normal(0, 900, blurred.shape)
    lr = Image(coarse.astype(np.float32), lr_grid, "coarse")
    up = resample(lr, onto=fine, outside=None)
    outside = ~Circle.inscribed(fine).mask(fine)
    coarse_masked = np.where(~Circle.inscribed(lr_grid).mask(lr_grid), np.nan, lr.data).astype(np.float32)
    enhanced = (ndimage.gaussian_filter(grey, 0.8) + rng.normal(0, 300, grey.shape)).clip(0, 65535).astype(np.uint16)
    quality = (1 - ndimage.gaussian_filter(np.abs(enhanced - grey) / 9000, 2)).clip(0, 1).astype(np.float32)
    quality[:, outside] = np.nan
    d, h, w = fine.shape
    part = fine.crop((d // 4, h // 4, w // 4), (3 * d // 4, 3 * h // 4, 3 * w // 4))
    reference = grey[d // 4 : 3 * d // 4, h // 4 : 3 * h // 4, w // 4 : 3 * w // 4].astype(np.uint16)
    flags = np.zeros(lr_grid.shape, np.uint8)
    flags[:1] |= 32
    flags[2 : 2 + d // 16, h // 20 : h // 10, w // 20 : w // 10] |= 8
    flags[:, ~Circle.inscribed(lr_grid).mask(lr_grid)] |= 1
    held = fine.crop((d // 4, h // 4, w // 4), (d // 2, h // 2, w // 2))
    options: dict = {
        "flags": TrustMap(flags, lr_grid),
        "boxes": (VolumeBox.of("fine scan", part), VolumeBox.of("held out", held, "held-out")),
    }
    layers = (
        VolumeLayer("coarse", Image(coarse_masked, lr_grid)),
        VolumeLayer("interpolated", up),
        VolumeLayer("enhanced", Image(enhanced, fine)),
        VolumeLayer("reference", Image(reference, part)),
        VolumeLayer("MS-SSIM", Image(quality, fine), (0.0, 1.0), "cividis_r", ""),
    )
    return VolumeScene(
        "The whole volume", "Coarse scan, interpolation, enhancement, and the fine scan where there is one.",
        fine, layers, **(options | more),
    )  # fmt: skip
