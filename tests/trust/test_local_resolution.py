"""Maps of resolution: a blur that grows to the right is found as it is, and invention makes nothing sharper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import ms_ssim, ring_correlation
from finescan.trust.local_judgement import UsefulPixel, judge_locally, local_facts
from finescan.trust.local_resolution import FWHM, local_blur, local_rings
from finescan.trust.local_similarity import local_ms_ssim, scales
from finescan.trust.local_windows import Windows, filled, fitting_windows
from finescan.values import Grid

NM = (5.0, 5.0)


def grains(shape: tuple[int, int] = (160, 320), seed: int = 0) -> np.ndarray:
    """Flat grains of random grey level with sharp borders: strong at all frequencies, as real pictures are."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, shape, (shape[0] * shape[1] // 150, 2))
    seeds = np.zeros(shape)
    seeds[tuple(place.astype(int).T)] = rng.uniform(60, 200, len(place))
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return seeds[tuple(nearest)]


FINE = grains()
WINDOWS = Windows.of(np.ones(FINE.shape, bool), 64)


def noise(sigma: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, FINE.shape)


def growing(fine: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Blurred by another sigma in every column."""
    levels = np.linspace(sigmas.min(), sigmas.max(), 40)
    stack = np.stack([ndimage.gaussian_filter(fine, s, mode="mirror") for s in levels])
    k = np.clip(np.searchsorted(levels, sigmas), 1, len(levels) - 1)
    part = (sigmas - levels[k - 1]) / (levels[k] - levels[k - 1])
    columns = np.arange(fine.shape[1])
    return (1 - part) * stack[k - 1, :, columns].T + part * stack[k, :, columns].T


def test_a_blur_that_grows_from_left_to_right_is_given_back():
    sigmas = np.linspace(1.0, 4.0, FINE.shape[1])
    enhanced = 0.8 * growing(FINE, sigmas) + 17 + noise(1.0)
    found = local_blur({"e": enhanced}, FINE, WINDOWS, NM)["e"] / NM[0]
    middle = sigmas[32 + 16 * np.arange(found.shape[1])]
    assert np.median(np.abs(found / middle - 1)) < 0.03 and np.abs(found / middle - 1).max() < 0.12
    rings = local_rings({"e": enhanced}, FINE, WINDOWS, NM)["e"].resolution_nm
    by_column = np.nanmedian(rings, axis=0)
    assert by_column[-1] > 2 * by_column[0] and np.corrcoef(by_column, middle)[0, 1] > 0.95


def test_the_sharp_scan_itself_has_no_blur_and_a_very_wide_blur_stays_at_the_widest():
    wide = ndimage.gaussian_filter(FINE, 16)
    found = local_blur({"same": FINE, "wide": wide, "other": noise(10)}, FINE, WINDOWS, NM)
    assert np.nanmax(found["same"]) < 0.1 * NM[0]
    assert np.nanmax(found["wide"]) == pytest.approx(64 / 6 * NM[0])
    assert np.isnan(found["other"]).all()  # nothing in common: nothing is said


def test_pixels_that_are_no_squares_give_the_same_blur_in_nm():
    enhanced = ndimage.gaussian_filter(FINE, (3.0, 1.5))
    found = local_blur({"e": enhanced}, FINE, WINDOWS, (4.0, 8.0))["e"]
    assert np.median(found) == pytest.approx(12.0, rel=0.03)


def test_one_window_has_the_ring_correlation_and_the_ms_ssim_of_that_window_alone():
    enhanced = ndimage.gaussian_filter(FINE, 1.5) + noise(6.0)
    rings = local_rings({"e": enhanced}, FINE, WINDOWS, NM, threshold="one_seventh")["e"]
    known = WINDOWS.known.copy()
    known[10:14, 10:20] = False
    windows = Windows.of(known, 64)
    alike = local_ms_ssim(enhanced, FINE, windows, data_range=140.0)
    for row, column, y, x in WINDOWS.starts()[::23]:
        box = slice(y, y + 64), slice(x, x + 64)
        alone = ring_correlation([enhanced[box]], [FINE[box]], NM)
        assert rings.resolution_nm[row, column] == pytest.approx(alone.resolution_nm("one_seventh"), rel=1e-3)
        expected = ms_ssim(enhanced[box], FINE[box], data_range=140.0, mask=known[box])
        assert alike[row, column] == pytest.approx(expected, abs=1e-6)
    assert scales(windows) == 3 and scales(Windows.of(known, 32)) == 2


def test_texture_that_was_invented_makes_nothing_sharper():
    rng = np.random.default_rng(5)
    blurred = ndimage.gaussian_filter(FINE, 3.0) + noise(1.5)
    images = {"blurred": blurred}
    for name, sharp in (
        ("noise", noise(12, 3)),
        ("texture", grains(seed=9) - 130),
        ("dots", 90.0 * (rng.random(FINE.shape) > 0.98)),
    ):
        images[name] = blurred + sharp * (8 / sharp.std())
    sharpened = ndimage.gaussian_filter(FINE, 3.0)
    images["edges"] = sharpened + 2 * (sharpened - ndimage.gaussian_filter(sharpened, 3.0)) + noise(12, 4)
    blur = {k: np.nanmedian(v) for k, v in local_blur(images, FINE, WINDOWS, NM).items()}
    rings = {k: np.nanmedian(v.resolution_nm) for k, v in local_rings(images, FINE, WINDOWS, NM).items()}
    for name in ("noise", "texture", "dots"):
        assert blur[name] > 0.95 * blur["blurred"], name
        assert rings[name] > rings["blurred"], name
    assert rings["edges"] > rings["blurred"]  # contrast that was raised is no detail that was gained
    power = {k: np.abs(np.fft.rfft2(v))[20:60, 20:60].mean() for k, v in images.items()}
    assert power["noise"] > 3 * power["blurred"]  # although its spectrum looks sharper


def test_the_noise_of_the_fine_scan_is_told_from_a_lack_of_detail():
    recorded = FINE + noise(40)
    images = {"perfect": FINE, "blurred": ndimage.gaussian_filter(FINE, 3.0) + noise(1.0, 2)}
    found = local_rings(images, recorded, WINDOWS, NM)
    limit = found["perfect"].limit.resolution_nm()
    assert limit == pytest.approx(found["perfect"].pooled.resolution_nm(), rel=0.1)
    assert found["blurred"].pooled.resolution_nm() > 1.2 * limit


# ---------------------------------------------------------------------------------------- windows
def test_windows_with_pixels_missing_are_left_out_and_say_nothing_of_the_others():
    known = np.ones(FINE.shape, bool)
    known[:, 200:] = False
    known[5, 5] = False  # one of 4096 does no harm
    spoiled, reference = (np.where(known, v, 1e6) for v in (ndimage.gaussian_filter(FINE, 2.0), FINE))
    reference[~known] = np.nan
    found = judge_locally({"e": spoiled}, reference, known, Grid.of(FINE.shape, 5.0), data_range=140.0)
    maps = found.maps("e")
    assert found.windows.size_px == 64 and found.windows.step_px == 16
    used = found.windows.used
    assert used[:, :9].all() and not used[:, 10:].any()
    for values in maps.values():
        assert np.isnan(values[~used]).all() and np.isfinite(values[used]).mean() > 0.95
    assert np.nanmedian(maps["blur_fwhm_nm"]) == pytest.approx(FWHM * 10.0, rel=0.05)
    assert found.grid.origin_nm == (31.5 * 5.0, 31.5 * 5.0) and found.grid.pixel_size_nm == (80.0, 80.0)
    facts = local_facts([found, found])
    assert facts["windows"] == 2 * used.sum() and facts["images"]["e"]["frc_nm"]["unread_share"] < 0.05


def test_small_areas_get_smaller_windows_and_tiny_ones_none():
    assert fitting_windows(np.ones((40, 200), bool)).size_px == 32
    assert fitting_windows(np.ones((64, 64), bool)).size_px == 32  # one window of 64 is not enough
    assert fitting_windows(np.ones((31, 500), bool)) is None
    assert (
        judge_locally({"e": FINE}, FINE, np.zeros(FINE.shape, bool), Grid.of(FINE.shape, 5.0), data_range=1.0) is None
    )
    assert local_facts([])["windows"] == 0


def test_missing_pixels_are_filled_from_their_surroundings_only():
    known = np.ones((64, 64), bool)
    known[20:23, 30] = False
    picture = np.full((64, 64), 90.0, np.float32)
    picture[~known] = np.nan
    assert np.allclose(filled(picture, known), 90.0)


@pytest.mark.parametrize(("size", "step"), [(30, 10), (64, 24), (16, 4), (64, 2)])
def test_sizes_that_do_not_fit_are_refused(size, step):
    with pytest.raises(InputError, match=r"Pass e\.g\. 64 and 16"):
        Windows.of(np.ones((128, 128), bool), size, step)


def test_other_shapes_and_unknown_thresholds_are_refused():
    with pytest.raises(InputError, match=r"The windows lie on .* but e is"):
        local_blur({"e": FINE[1:]}, FINE, WINDOWS, NM)
    with pytest.raises(InputError, match="A threshold is one of"):
        local_rings({"e": FINE}, FINE, WINDOWS, NM, threshold="quarter")
    with pytest.raises(InputError, match="data_range must be"):
        local_ms_ssim(FINE, FINE, WINDOWS, data_range=0.0)
    with pytest.raises(InputError, match="The windows lie on"):
        local_ms_ssim(FINE[1:], FINE, WINDOWS, data_range=1.0)
    with pytest.raises(InputError, match="No window lies within"):
        local_rings({"e": FINE}, FINE, Windows.of(np.zeros(FINE.shape, bool), 64), NM)


# ---------------------------------------------------------------------------------------- the useful pixel
def test_pixels_finer_than_the_detail_are_warned_of_and_needed_ones_are_not():
    fine = UsefulPixel(48.0, 20.0, 10.0, 40.0, "0.5")
    assert fine.too_fine and fine.useful_ratio == pytest.approx(40 / 24)
    assert fine.sentence() == (
        "The map has pixels of 10 nm but holds detail down to 48 nm only (ring correlation 0.5 with held-out fine "
        "scan): pixels finer than 24 nm show nothing more. The useful ratio to the coarse pixels is 1.7, the delivered "
        "one 4."
    )
    needed = UsefulPixel(22.0, 20.0, 10.0, 40.0, "0.5")
    assert not needed.too_fine and "which its pixels of 10 nm are needed for" in needed.sentence()
    alone = UsefulPixel(48.0, 20.0, 10.0, math.nan, "0.5")
    assert alone.sentence().endswith("show nothing more.") and alone.to_dict()["ratio"] is None
    lost = UsefulPixel(2000.0, 20.0, 10.0, 40.0, "1/7")
    assert lost.sentence().endswith(
        "finer than 1 µm show nothing more. That is coarser than the coarse pixels of 40 nm themselves."
    )


def test_a_noisy_fine_scan_gives_no_warning_but_says_so():
    found = UsefulPixel(48.0, 45.0, 10.0, 40.0, "0.5")
    assert found.noise_limited and not found.too_fine
    assert "the noise of the fine scan itself hides" in found.sentence()
    assert found.to_dict()["useful_ratio"] == pytest.approx(40 / 24)


def test_a_map_that_agrees_with_nothing_says_so():
    found = UsefulPixel(math.nan, 20.0, 10.0, 40.0, "0.5")
    assert found.to_dict()["resolution_nm"] is None and not found.too_fine
    assert "No common detail was found" in found.sentence()
