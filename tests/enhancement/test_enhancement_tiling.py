"""Tiles leave no trace, the grid is exact, constants stay constant."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from scipy import ndimage

from finescan.enhancement import EnhanceConfig, enhance
from finescan.enhancement.predictor import blending_weights
from finescan.errors import InputError, ModelError
from finescan.resampling import resample
from finescan.values import Grid, Image

RATIOS = [(4.0, 4), (2.67, 2), (1.5, 1), (1.5, 2), ((2.35, 2.67), 2), (5.3, 5)]


def relative_difference(a, b):
    """Largest difference relative to the range of the first."""
    return float(np.nanmax(np.abs(a - b)) / (np.nanmax(a) - np.nanmin(a)))


@pytest.mark.parametrize(("ratio", "factor"), RATIOS)
@pytest.mark.parametrize("name", ["bicubic", "lanczos", "fast"])
def test_tiled_equals_untiled(name, ratio, factor, model_of, map_of):
    rng = np.random.default_rng(crc32(f"{name} {ratio} {factor}".encode()))
    model = model_of(name, ratio, factor)
    lr = map_of((int(rng.integers(30, 90)), int(rng.integers(30, 90))))
    whole = enhance(model, lr, config=EnhanceConfig(tile=1000))
    for tile in rng.integers(3, 60, 2):
        tiled = enhance(model, lr, config=EnhanceConfig(tile=int(tile)))
        assert relative_difference(whole.image.data, tiled.image.data) <= 1e-6
        np.testing.assert_array_equal(whole.trust.flags, tiled.trust.flags)


def test_untiled_equals_the_bare_network_on_the_mirrored_map(model_of, map_of):
    model, lr = model_of("fast", 3.0), map_of((40, 51))
    halo, f = model.halo, model.factor
    bare = model.predict(np.pad(lr.data, halo, mode="reflect"))[halo * f : -halo * f, halo * f : -halo * f]
    result = enhance(model, lr, config=EnhanceConfig(tile=17, guard=False))
    assert relative_difference(bare, result.image.data) <= 1e-6


def test_a_non_integer_ratio_reads_the_map_resampled_once_as_a_whole(model_of, map_of):
    model, lr = model_of("bicubic", 2.67, 2), map_of((45, 38))
    out = lr.grid.refine(2.67)
    work = resample(lr, onto=out.coarsen(2), outside=None)
    bare = model.predict(np.pad(work.data, 2, mode="reflect"))[4:-4, 4:-4][: out.shape[0], : out.shape[1]]
    result = enhance(model, lr, config=EnhanceConfig(tile=13))
    assert relative_difference(bare, result.image.data) <= 3e-6


@pytest.mark.parametrize("overlap", [0, 1, 4, 9, 30])
@pytest.mark.parametrize("tile", [1, 5, 16, 100])
def test_blending_a_network_with_a_finite_halo_changes_nothing(tile, overlap, model_of, map_of):
    model, lr = model_of("lanczos", 2.0), map_of((23, 18))
    exact = enhance(model, lr, config=EnhanceConfig(tile=100))
    smooth = enhance(model, lr, config=EnhanceConfig(tile=tile, overlap=overlap, blending="smooth"))
    assert relative_difference(exact.image.data, smooth.image.data) <= 1e-6


@pytest.mark.parametrize("blending", ["exact", "smooth"])
@pytest.mark.parametrize("ratio", [4.0, 1.5, 2.67])
@pytest.mark.parametrize(("tile", "overlap"), [(3, 1), (7, 7), (16, 5), (64, 2)])
def test_a_constant_stays_that_constant_to_the_last_border_pixel(blending, ratio, tile, overlap, model_of):
    lr = Image(np.full((19, 26), 137.25, np.float32), Grid.of((19, 26), 10.0))
    for name in ("bicubic", "fast"):
        model = model_of(name, ratio, max(1, int(ratio)))
        result = enhance(model, lr, config=EnhanceConfig(tile=tile, overlap=overlap, blending=blending))
        np.testing.assert_allclose(result.image.data, 137.25, rtol=3e-6)


class UnboundedModel:
    """Answers each block with its mean added: every output pixel depends on the whole block."""

    def __init__(self, inner):
        self.inner, self.card, self.halo, self.factor, self.device = inner, inner.card, inner.halo, inner.factor, "cpu"
        self.windows = None

    def to(self, device):
        return self

    def predict(self, block):
        return self.inner.predict(block) + block.mean()


def test_blending_hides_the_seams_of_a_network_with_unbounded_context(model_of):
    ramp = np.tile(np.linspace(0, 300, 120, dtype=np.float32), (24, 1))
    lr = Image(ramp, Grid.of(ramp.shape, 10.0))
    model = UnboundedModel(model_of("bicubic", 2.0))
    steps = {}
    for blending in ("exact", "smooth"):
        result = enhance(model, lr, config=EnhanceConfig(tile=24, overlap=12, blending=blending))
        steps[blending] = np.abs(np.diff(result.image.data[20, 20:-20])).max()
    assert steps["exact"] > 30  # tiles differ by tens of grey levels …
    assert steps["smooth"] < 7  # … and the blend has no step


@pytest.mark.parametrize(("n", "ramp"), [(1, 0), (5, 8), (12, 4), (40, 40)])
def test_blending_weights_are_positive_everywhere(n, ramp):
    weights = blending_weights(n, ramp)
    assert weights.min() > 0
    assert weights.max() <= 1


@pytest.mark.parametrize("shape", [(17, 5), (33, 64), (1, 9), (2, 2)])
@pytest.mark.parametrize("ratio", [4.0, 2.67, 1.5, (3.3, 2.9), 7.77])
def test_the_output_grid_is_exactly_the_refined_coarse_grid(shape, ratio, model_of, map_of):
    model = model_of("bicubic", ratio, max(1, int(np.min(ratio))))
    lr = map_of(shape)
    result = enhance(model, lr, config=EnhanceConfig(tile=8))
    per_axis = (ratio, ratio) if isinstance(ratio, float) else ratio
    assert result.image.data.shape == tuple(int(np.floor(n * r + 0.5)) for n, r in zip(shape, per_axis, strict=True))
    assert result.image.grid.same_as(lr.grid.refine(ratio))
    assert result.trust.grid == lr.grid
    assert np.isfinite(result.image.data).all()


@pytest.mark.parametrize(("name", "tolerance"), [("nearest", 0.05), ("bicubic", 0.05)])
@pytest.mark.parametrize("ratio", [4.0, 2.67, 1.5, 5.3])
def test_a_checker_target_lies_where_it_lay(name, tolerance, ratio, model_of):
    """Centroids of spots in nm, before and after, to 0.05 coarse pixels."""
    grid = Grid.of((64, 80), 10.0, (1000.0, -500.0))
    centres = np.array([(r, c) for r in range(8, 60, 16) for c in range(8, 76, 16)], float)
    y, x = np.indices(grid.shape)
    spots = sum(np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * 2.0**2)) for r, c in centres)
    lr = Image((100 * spots).astype(np.float32), grid)
    model = model_of(name, ratio, max(1, round(ratio)))
    result = enhance(model, lr, config=EnhanceConfig(tile=19))
    cells, _ = ndimage.label(np.asarray(result.image.data) > 5)
    found = np.array(ndimage.center_of_mass(result.image.data, cells, range(1, cells.max() + 1)))
    assert len(found) == len(centres)
    off = result.image.grid.to_nm(found) - grid.to_nm(centres)
    assert np.abs(off).max() < tolerance * 10.0


def test_a_map_of_another_pixel_size_is_refused_with_both_sizes(model_of, map_of):
    lr = map_of((20, 20))
    wrong = replace(lr, grid=Grid.of((20, 20), 13.0))
    with pytest.raises(ModelError, match=r"10 x 10 nm.*13 x 13 nm"):
        enhance(model_of("bicubic", 4.0), wrong)


def test_a_complex_image_is_refused(model_of, map_of):
    lr = map_of((20, 20))
    with pytest.raises(InputError, match="complex64"):
        enhance(model_of(), lr.with_data(lr.data.astype(np.complex64)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blending": "nice"}, "'exact' or 'smooth' or 'centre', but 'nice' came"),
        ({"tile": 0}, "tile must be at least 1, but 0 came"),
        ({"overlap": -1}, "overlap must be at least 0"),
        ({"dtype": "complex64"}, "integers or floats"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(InputError, match=words):
        EnhanceConfig(**options)
