"""Maps of resolution and likeness in volumes: known blurs and cut-offs are given back where they are, box by box."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from finescan.errors import InputError
from finescan.trust import judge_volume_locally, local_volumes, shell_correlation, volume_scores
from finescan.trust.local_judgement import UsefulPixel, judge_locally, local_facts
from finescan.trust.local_resolution import FWHM, local_blur, local_rings
from finescan.trust.local_similarity import local_ms_ssim, scales
from finescan.trust.local_windows import Windows, fitting_windows, usual_step
from finescan.trust.volume_inputs import Part
from finescan.values import Grid, Region

NM = (500.0, 500.0, 500.0)


def grains(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Flat grains of random grey level with sharp borders."""
    rng = np.random.default_rng(seed)
    place = (rng.uniform(0, 1, (math.prod(shape) // 120, 3)) * shape).astype(int)
    seeds = np.zeros(shape)
    seeds[tuple(place.T)] = rng.uniform(60, 200, len(place))
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return seeds[tuple(nearest)].astype(np.float32)


FINE = grains((40, 48, 64))
GRID = Grid.of(FINE.shape, 500.0)
WINDOWS = Windows.of(np.ones(FINE.shape, bool), 24)


def noise(sigma: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, FINE.shape).astype(np.float32)


def half_blurred() -> np.ndarray:
    """Sharp (sigma of one voxel) on the left, blurred (two and a half) on the right, with another gain and offset."""
    out = ndimage.gaussian_filter(FINE, 1.0)
    out[:, :, 32:] = ndimage.gaussian_filter(FINE, 2.5)[:, :, 32:]
    return 0.8 * out + 17 + noise(1.0)


class Counting:
    """A volume on disk: what was read of it is counted."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype, self.most = data, data.shape, data.dtype, 0

    def __getitem__(self, box):
        part = self.data[box]
        self.most = max(self.most, part.size)
        return part


# ---------------------------------------------------------------------------------------- known answers
@pytest.mark.parametrize(("sigma", "size_nm"), [(1.5, NM), ((2.0, 1.0, 1.0), (400.0, 800.0, 800.0))])
def test_the_width_of_a_blur_is_given_back_also_where_voxels_are_no_cubes(sigma, size_nm):
    blurred = 0.7 * ndimage.gaussian_filter(FINE, sigma) + 30
    found = local_blur({"e": blurred}, FINE, WINDOWS, size_nm)["e"]
    expected = 1.5 * 500 if np.isscalar(sigma) else 800.0
    assert found.shape == (3, 5, 7)
    assert np.abs(found / expected - 1).max() < 0.08 and np.median(found) == pytest.approx(expected, rel=0.03)


def test_the_map_shows_which_half_is_blurred():
    found = judge_volume_locally({"e": half_blurred(), "same": FINE}, FINE, GRID, data_range=140.0)
    maps = found.maps("e")
    left, right = np.s_[:, :, :1], np.s_[:, :, -1:]
    assert np.median(maps["blur_fwhm_nm"][left]) == pytest.approx(FWHM * 500, rel=0.05)
    assert np.median(maps["blur_fwhm_nm"][right]) == pytest.approx(FWHM * 2.5 * 500, rel=0.05)
    assert maps["fsc_nm"][right].min() > 1.4 * maps["fsc_nm"][left].max()
    assert maps["ms_ssim"][right].max() < maps["ms_ssim"][left].min() - 0.1
    same = found.maps("same")
    assert same["blur_fwhm_nm"].max() < 0.2 * 500 and np.allclose(same["ms_ssim"], 1) and (same["fsc_nm"] == 1000).all()


@pytest.mark.parametrize("size_nm", [NM, (700.0, 500.0, 500.0)])
def test_a_volume_that_agrees_up_to_a_known_frequency_has_that_resolution(size_nm):
    shape, rng, cut_nm = (48, 64, 64), np.random.default_rng(3), 2400.0
    fine, other = (rng.normal(0, 10, shape) for _ in range(2))
    along = [np.fft.fftfreq(n, p) for n, p in zip(shape, size_nm, strict=True)]
    low = sum(f**2 for f in np.meshgrid(*along, indexing="ij")) < 1 / cut_nm**2
    result = np.fft.ifftn(np.where(low, np.fft.fftn(fine), np.fft.fftn(other))).real
    windows = Windows.of(np.ones(shape, bool), 32)
    found = local_rings({"e": result}, fine, windows, size_nm)["e"]
    assert np.median(found.resolution_nm) == pytest.approx(cut_nm, rel=0.05)
    assert found.pooled.resolution_nm() == pytest.approx(cut_nm, rel=0.03)


def test_one_window_has_the_shell_correlation_and_the_ms_ssim_of_that_window_alone():
    result = half_blurred()
    rings = local_rings({"e": result}, FINE, WINDOWS, NM, threshold="one_seventh")["e"]
    alike = local_ms_ssim(result, FINE, WINDOWS, data_range=140.0)
    for *at, z, y, x in WINDOWS.starts()[::19]:
        box = np.s_[z : z + 24, y : y + 24, x : x + 24]
        alone = shell_correlation([result[box]], [FINE[box]], NM)
        assert rings.resolution_nm[tuple(at)] == pytest.approx(alone.resolution_nm("one_seventh"), rel=1e-3)
        expected = volume_scores(result[box], FINE[box], data_range=140.0)
        assert len(expected.weights) == scales(WINDOWS) == 2
        assert alike[tuple(at)] == pytest.approx(expected.ms_ssim, abs=1e-6)


def test_small_windows_have_one_scale_which_is_the_ssim_of_scikit_image():
    result, windows = half_blurred(), Windows.of(np.ones(FINE.shape, bool), 16)
    alike = local_ms_ssim(result, FINE, windows, data_range=140.0)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 140.0}
    for *at, z, y, x in windows.starts()[::97]:
        box = np.s_[z : z + 16, y : y + 16, x : x + 16]
        _, there = structural_similarity(result[box].astype(float), FINE[box].astype(float), full=True, **options)
        assert alike[tuple(at)] == pytest.approx(there[5:-5, 5:-5, 5:-5].mean(), abs=1e-6)


# ---------------------------------------------------------------------------------------- box by box
def test_no_figure_depends_on_the_boxes_and_no_more_than_a_box_is_read(monkeypatch):
    monkeypatch.setattr(local_volumes, "NOISE_VOXELS", 30_000)
    long = np.round(grains((20, 24, 260), 2)).astype(np.uint8)
    result = np.round(ndimage.gaussian_filter(long.astype(np.float32), (0, 0, 1.2))).astype(np.uint16)
    lazy, fine, grid = Counting(result), Counting(long), Grid.of(long.shape, 500.0)
    small = judge_volume_locally({"e": lazy}, fine, grid, data_range=140.0, box_px=40)
    known = np.ones(long.shape, bool)
    whole = judge_locally({"e": result.astype(np.float32)}, long.astype(np.float32), known, grid, data_range=140.0)
    assert small.windows.size_px == 16 and np.array_equal(small.windows.used, whole.windows.used)
    for name, values in small.maps("e").items():
        assert np.allclose(values, whole.maps("e")[name], rtol=2e-3), name
    assert small.rings["e"].pooled.resolution_nm() == pytest.approx(whole.rings["e"].pooled.resolution_nm(), rel=1e-6)
    assert max(lazy.most, fine.most) < 0.3 * result.size


def test_what_does_not_count_has_no_influence():
    known = np.ones(FINE.shape, bool)
    known[:, :, 32:] = False
    known[3, 5, 7] = False
    spoiled, reference = (np.where(known, v, 1e6).astype(np.float32) for v in (half_blurred(), FINE))
    reference[~known] = np.nan
    found = judge_volume_locally({"e": spoiled}, reference, GRID, data_range=140.0)
    again = judge_volume_locally(
        {"e": spoiled}, np.nan_to_num(reference, nan=-3e5), GRID, data_range=140.0, known=known
    )
    used = found.windows.used
    assert used.any() and not used[:, :, -3:].any()
    for name, values in found.maps("e").items():
        assert np.isfinite(values[used]).all() and np.isnan(values[~used]).all()
        assert np.allclose(values, again.maps("e")[name], rtol=1e-4, equal_nan=True)
    assert np.median(found.maps("e")["blur_fwhm_nm"][used]) == pytest.approx(FWHM * 500, rel=0.06)


def test_thin_volumes_get_smaller_windows_and_very_thin_ones_none():
    assert fitting_windows(np.ones((48, 64, 64), bool)).size_px == 32
    assert fitting_windows(np.ones((28, 48, 48), bool)).size_px == 24
    assert fitting_windows(np.ones((17, 40, 40), bool)).size_px == 16
    thin = FINE[:15]
    assert judge_volume_locally({"e": thin}, thin, Grid.of(thin.shape, 500.0), data_range=140.0) is None
    assert local_facts([], 3)["reason"] == "No window of 16 px fits into the held-out fine scan."
    assert [usual_step((n,) * 3, 32) for n in (100, 200, 400, 1024)] == [8, 16, 32, 32]


def test_where_no_voxel_counts_nothing_is_said():
    nothing = np.full(FINE.shape, np.nan, np.float32)
    assert judge_volume_locally({"e": FINE}, nothing, GRID, data_range=140.0) is None


def test_very_unequal_voxels_leave_no_period_to_read_but_a_blur():
    grid = Grid.of(FINE.shape, (5000.0, 500.0, 500.0))
    blurred = ndimage.gaussian_filter(FINE, (0.2, 2.0, 2.0))
    found = judge_volume_locally({"e": blurred}, FINE, grid, data_range=140.0)
    shortest, longest = local_facts([found], 3)["readable_nm"]
    assert shortest == 10000.0 and longest == 8000.0 and np.isnan(found.maps("e")["fsc_nm"]).all()
    assert np.median(found.maps("e")["blur_fwhm_nm"]) == pytest.approx(FWHM * 1000, rel=0.2)


# ---------------------------------------------------------------------------------------- words
def test_volumes_are_spoken_of_in_voxels_and_shells():
    fine = UsefulPixel(4800.0, 2000.0, 1000.0, 4000.0, "0.5", ndim=3)
    assert fine.too_fine and fine.sentence() == (
        "The volume has voxels of 1 µm but holds detail down to 4.8 µm only (shell correlation 0.5 with held-out fine "
        "scan): voxels finer than 2.4 µm show nothing more. The useful ratio to the coarse voxels is 1.7, the "
        "delivered one 4."
    )


def test_other_shapes_and_windows_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"The windows lie on \(40, 48, 64\) voxels, but e is \(39, 48, 64\)"):
        judge_volume_locally({"e": FINE[1:]}, FINE, GRID, data_range=1.0)
    with pytest.raises(InputError, match=r"at least 16 px along each side .* Pass e\.g\. 32 and 8"):
        Windows.of(np.ones((40, 40, 40), bool), 12)


def test_a_part_of_a_volume_reads_what_an_array_would_give():
    whole = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    region = Region(Grid.of(whole.shape, 1.0), (1, 2, 3), (5, 7, 6))
    part, array = Part.of(whole, region), whole[region.slices]
    assert part.shape == array.shape and part.dtype == array.dtype
    for index in (2, -1, ..., np.s_[1:3], np.s_[:, 2], np.s_[..., -2], np.s_[::2, 1:], np.s_[1, 2, 0], np.s_[3:1]):
        assert np.array_equal(part[index], array[index])
    with pytest.raises(IndexError):
        part[4]
