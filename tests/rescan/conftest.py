"""What the rescan tests share: maps with clustered errors, and a small plan with a field pattern without symmetry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from finescan.rescan import Field, Frame, Goal, MapReference, RescanPlan, ScanTimes, StageTransform
from finescan.values import Grid


@pytest.fixture(scope="session")
def clustered() -> Callable[..., NDArray[np.float32]]:
    """``clustered(n, seed)``: low errors everywhere and groups of small places with large ones."""

    def make(n: int, seed: int, groups: int = 20) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        error = 0.02 * rng.random((n, n)).astype(np.float32)
        for _ in range(groups):
            centre, count, width = rng.random(2) * n, rng.integers(20, 120), rng.uniform(6, 25)
            for y, x in rng.normal(centre, width, (count, 2)).astype(int):
                if 0 <= y < n - 3 and 0 <= x < n - 3:
                    error[y : y + 3, x : x + 3] += rng.random()
        return error

    return make


@pytest.fixture
def crooked() -> RescanPlan:
    """Three fields of an L (no mirror or turn of it is the same), on pixels that are not square, on a turned stage."""
    grid = Grid("YX", (300, 400), (50.0, 40.0), (1000.0, -500.0))
    frame = Frame((80, 100), (10.0, 10.0))
    size = (16.0, 25.0)
    times = ScanTimes(dwell_us=3.0, settle_s=2.0, stage_um_per_s=100.0, coarse_s=60.0)
    at = [(20, 30), (200, 30), (200, 310)]
    fields = tuple(
        Field(
            k + 1, 3 - k, (float(y), float(x)), size, (80, 100), 0.1 * (k + 1), 5.0 + k, (f"Reason {k}, with a comma.",)
        )
        for k, (y, x) in enumerate(at)
    )
    stage = StageTransform(
        ((0.0003, 0.00095, -3211.5), (-0.00095, 0.0003, 1234.25)), "From a test.", 800.0, 3906.93, -129.0, 32.0
    )
    return RescanPlan(
        MapReference("coarse.tif", grid, "ab" * 32, rows_below=7), frame, times, Goal(budget_s=60.0), fields, stage
    )
