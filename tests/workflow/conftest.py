"""What the tests of volume runs share: a small simulated pair of volumes, and one finished run of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: enough for a gain of some dB on this pair, in seconds
SMALL_VOLUME = {"train.steps": 150, "result.method": "volume"}


@contextmanager
def small_networks() -> Iterator[None]:
    """Patches of 24 voxels per side, and blocks of 32 x 64 x 64, where usual ones would be larger than the volume."""
    from finescan.enhancement import volume_layout
    from finescan.training.volume_config import RECIPES

    with pytest.MonkeyPatch.context() as patch:
        usual = RECIPES["quick"][""]
        patch.setitem(RECIPES["quick"], "", replace(usual, batch=1, slices=24, side=24, looks=2))
        patch.setattr(volume_layout, "_DEPTHS", (32,))
        patch.setattr(volume_layout, "_SIDES", (64,))
        yield


@pytest.fixture(autouse=True)
def _registered_once(registered_once) -> None:
    """Registration takes a third of a small run."""


@pytest.fixture(scope="session")
def volumes(once: Callable[..., Path]) -> Path:
    """coarse.tif, fine.tif (ratio 2, z y x) and truth.npy, the noise-free answer on the grid of the result."""
    from finescan import io
    from finescan.simulation.volumes import Placement, simulate_volume_pair

    def make(folder: Path) -> None:
        middle = Placement(centre=(0.5, 0.5, 0.5), rotation_deg=0.5)
        pair = simulate_volume_pair(
            (28, 36, 36), ratio=2, fine=(40, 54, 54), noise=(0.005, 0.01), placement=middle, with_truth=True, seed=1
        )
        io.write(folder / "coarse.tif", pair.lr)
        io.write(folder / "fine.tif", pair.hr)
        assert pair.truth is not None
        np.save(folder / "truth.npy", pair.truth.array())

    return once("volumes", make)


@pytest.fixture(scope="session")
def finished_volume(once: Callable[..., Path], volumes: Path) -> Path:
    """A finished run folder of ``volumes``; copy it before changing anything."""
    from finescan import workflow

    def make(folder: Path) -> None:
        with small_networks():
            workflow.run(volumes / "coarse.tif", volumes / "fine.tif", folder, choices=SMALL_VOLUME)

    return once("finished-volume", make)


@pytest.fixture(scope="session")
def tiny_networks() -> Callable[[], Any]:
    """:func:`small_networks`, for fixtures of a whole session."""
    return small_networks


@pytest.fixture
def small() -> Iterator[Any]:
    """Training and enhancement as those of ``finished_volume``."""
    with small_networks():
        yield
