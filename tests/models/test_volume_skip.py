"""What the correction of the network for volumes is added to."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from finescan.models import build


def _linear_part(x: np.ndarray) -> np.ndarray:
    """The untrained network without its correction."""
    network = build("volume", 1, {"width": 4, "levels": 1, "blocks": 1})
    for p in network.tail.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(p)
    with torch.inference_mode():
        return network(torch.from_numpy(x)[None, None])[0, 0].numpy()


def test_the_linear_part_starts_as_a_gaussian_of_one_voxel():
    x = np.random.default_rng(0).normal(size=(16, 20, 24)).astype(np.float32)
    expected = x.astype(np.float64)
    for axis in range(3):
        expected = ndimage.gaussian_filter1d(expected, 1.0, axis=axis, radius=2)
    inner = (slice(2, -2),) * 3
    assert np.allclose(_linear_part(x)[inner], expected[inner], atol=1e-5)


def test_a_constant_stays_that_constant_up_to_the_faces():
    assert np.allclose(_linear_part(np.full((8, 12, 16), 3.5, np.float32)), 3.5, atol=1e-5)
