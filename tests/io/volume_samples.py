"""Small volumes for the tests."""

from __future__ import annotations

import numpy as np

from finescan.values import Acquisition, Grid, Image, StagePose

FACTS = Acquisition(
    vendor="Zeiss",
    pixel_size_from="user",
    detector="4X <&>",
    stage=StagePose(1.0, -2.0, 3.0, 4.0, 5.0),
    extra={"note": 'µm "quoted" äöü', "voltage_kv": 80.0},
)


def voxels(shape=(9, 21, 34), dtype="uint16", seed=0):
    return (np.random.default_rng(seed).random(shape) * 250).astype(dtype)


def a_volume(shape=(9, 21, 34), dtype="uint16", size=(50.5, 25.25, 12.345678901), seed=0, name="sample"):
    return Image(voxels(shape, dtype, seed), Grid.of(shape, size, (1.5, -20.5, 3.25)), name, FACTS)
