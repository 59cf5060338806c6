"""The interpolators against outside references, and the ridge filter against the answer it must find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from finescan.models import build, fit_ridge
from finescan.models.layers import phase_filters

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("name", "method"), [("bicubic", Picture.Resampling.BICUBIC),
                                              ("lanczos", Picture.Resampling.LANCZOS),
                                              ("nearest", Picture.Resampling.NEAREST)])  # fmt: skip
@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_interpolation_agrees_with_pillow(name: str, method: Picture.Resampling, factor: int) -> None:
    scan = RNG.normal(size=(20, 23)).astype(np.float32)
    ours = build(name, factor)(torch.from_numpy(scan)[None, None])[0, 0].numpy()
    theirs = np.asarray(Picture.fromarray(scan).resize((23 * factor, 20 * factor), method))
    inner = slice(4 * factor, -4 * factor)
    np.testing.assert_allclose(ours[inner, inner], theirs[inner, inner], atol=2e-6)


@pytest.mark.parametrize("factor", [1, 2, 5, 8])
def test_cubic_interpolation_keeps_a_plane_and_sits_at_the_right_place(factor: int) -> None:
    y, x = np.mgrid[0:16, 0:16].astype(np.float32)
    out = build("bicubic", factor)(torch.from_numpy(2 * y - 3 * x)[None, None])[0, 0].numpy()
    at = (np.arange(16 * factor) + 0.5) / factor - 0.5
    expected = 2 * at[:, None] - 3 * at[None, :]
    inner = slice(3 * factor, -3 * factor)
    np.testing.assert_allclose(out[inner, inner], expected[inner, inner], atol=1e-4)


def test_every_phase_filter_sums_to_one_and_factor_one_changes_nothing() -> None:
    for kernel in ("nearest", "bicubic", "lanczos"):
        for factor in (1, 2, 3, 16):
            np.testing.assert_allclose(phase_filters(kernel, factor).sum(axis=1), 1, rtol=1e-12)
        scan = torch.from_numpy(RNG.normal(size=(1, 1, 9, 9)).astype(np.float32))
        np.testing.assert_allclose(build(kernel, 1)(scan), scan, atol=1e-6)


def test_the_ridge_filter_finds_a_known_filter() -> None:
    x = RNG.normal(size=(120, 130)).astype(np.float32)
    truth = build("ridge", 2, {"radius": 2})
    kernel = torch.from_numpy(RNG.normal(size=(4, 1, 5, 5)).astype(np.float32))
    truth.weight.data.copy_(kernel - kernel.mean(dim=(1, 2, 3), keepdim=True))
    with torch.inference_mode():
        y = truth(torch.from_numpy(x)[None, None])[0, 0].numpy()
    weight = np.ones_like(y)
    y[:40], weight[:40] = 1e4, 0  # what has no weight must not be looked at
    found = fit_ridge([(x, y, weight)], 2, radius=2, strength=1e-9)
    np.testing.assert_allclose(found.weight.detach(), truth.weight.detach(), atol=1e-3)


def test_a_ridge_filter_without_data_is_bicubic_interpolation() -> None:
    x = RNG.normal(size=(20, 20)).astype(np.float32)
    empty = fit_ridge([(x, np.zeros((60, 60), np.float32), np.zeros((60, 60), np.float32))], 3)
    scan = torch.from_numpy(x)[None, None]
    np.testing.assert_array_equal(empty(scan).detach(), build("bicubic", 3)(scan))
