"""A small PatchSet of a texture with edges, where a network can beat interpolation within seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from finescan.models.srresnet import PatchDiscriminator
from finescan.patches import PatchSet, SplitConfig, make_patches
from finescan.training.adversarial import ADVERSARIES, Adversary
from finescan.values import Grid, Image, Pair, Residual, Verdict, Warp


def _two_phases(side: int, seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 3.5)
    return np.where(noise > 0, 160.0, 80.0).astype(np.float32)


@pytest.fixture(scope="session")
def make_set() -> Callable[..., PatchSet]:
    """``make_set(side, factor, seed, noise)``: blurred, thinned, noisy coarse image of a two-phase texture."""

    def make(side: int = 360, factor: int = 3, seed: int = 0, noise: float = 2.0, gain: float = 1.0) -> PatchSet:
        rng = np.random.default_rng(seed + 100)
        fine = _two_phases(side, seed)
        blurred = ndimage.gaussian_filter(fine, 1.0)
        n = side // factor
        coarse = blurred.reshape(n, factor, n, factor).mean(axis=(1, 3)) * gain + rng.normal(0, noise, (n, n))
        grid = Grid.of(fine.shape, 10.0)
        lr_grid = grid.coarsen(factor)
        lr = Image(coarse.astype(np.float32), lr_grid, "coarse")
        residual = Residual(0.1, 0.1, 0.9, 3.0, {}, lr_grid)
        pair = Pair(lr, Image(fine, grid, "fine"), Warp.identity(), Verdict.FOUND, (), residual)
        return make_patches([pair], config=SplitConfig(kind="blocks", guard_lr_px=8))

    return make


@pytest.fixture(scope="session")
def patches(make_set) -> PatchSet:
    return make_set()


@pytest.fixture
def small_critics(monkeypatch) -> None:
    """Critics of the same kinds with few weights: checkpoints after every step are then cheap."""
    flat = nn.Sequential
    for name, build in (
        ("wgan-gp", lambda side: flat(nn.Conv2d(1, 4, 3, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.LazyLinear(1))),
        ("patch", lambda side: PatchDiscriminator(widths=(4, 8))),
    ):
        row = ADVERSARIES[name]
        made = Adversary(_ready(build), row.loss, row.verdict, row.betas, row.steps)
        monkeypatch.setitem(ADVERSARIES, name, made)


def _ready(build):
    def built(side: int) -> nn.Module:
        critic = build(side)
        critic(torch.zeros(1, 1, side, side))
        return critic

    return built
