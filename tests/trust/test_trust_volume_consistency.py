"""Volumes degraded again: the known blur is found, inventions are seen, slabs and the circle change nothing."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust import calibrate_volume, consistency_slabs, degrade_volume_onto
from finescan.values import Circle, Grid, Image, Region

COARSE = Grid.of((40, 44, 42), 900.0)
FINE = COARSE.refine(3)
NOISE = 0.04


def specimen(seed: int = 0) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(FINE.shape), 4.0)
    return (field > 0).astype(np.float32)


def recorded(truth: np.ndarray, sigma: float = 3.0, gain: float = 2.0, offset: float = 5.0) -> Image:
    """The coarse volume: blurred by ``sigma`` fine voxels, every third voxel, other grey levels, noise."""
    coarse = gain * ndimage.gaussian_filter(truth, sigma)[1::3, 1::3, 1::3] + offset
    return Image(coarse + np.random.default_rng(1).normal(0, NOISE, coarse.shape).astype(np.float32), COARSE, "coarse")


def fine_part(truth: np.ndarray) -> Image:
    region = Region(FINE, (18, 20, 22), (98, 104, 102))
    return Image(truth, FINE, "fine").crop(region)


def test_degrading_is_blurring_and_sampling() -> None:
    truth = specimen()
    ours = degrade_volume_onto(Image(truth, FINE), COARSE, psf_sigma_px=1.0)
    theirs = ndimage.gaussian_filter(truth, 3.0, mode="reflect")[1::3, 1::3, 1::3]
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_degrading_between_voxels_keeps_a_slope_and_flat_voxels_are_flat() -> None:
    fine = Grid.of((60, 50, 40), (300.0, 200.0, 250.0))
    coarse = Grid.of((23, 20, 20), (800.0, 450.0, 450.0), (1000.0, 700.0, 700.0))
    z, y, x = (fine.origin_nm[a] + fine.pixel_size_nm[a] * np.arange(fine.shape[a]) for a in range(3))
    slope = (z[:, None, None] + 2 * y[:, None] - x).astype(np.float32)
    ours = degrade_volume_onto(Image(slope, fine), coarse, psf_sigma_px=0.6, mirror=False)
    zc, yc, xc = (coarse.origin_nm[a] + coarse.pixel_size_nm[a] * np.arange(coarse.shape[a]) for a in range(3))
    known = np.isfinite(ours)
    assert 0.5 < known.mean() < 1
    deep = (slice(3, -3),) * 3
    expected = zc[:, None, None] + 2 * yc[:, None] - xc
    inner = known[deep] & ndimage.binary_erosion(known, iterations=2)[deep]
    np.testing.assert_allclose(ours[deep][inner], expected[deep][inner], atol=5.0)


def test_the_yardstick_finds_blur_gain_offset_and_noise() -> None:
    truth = specimen()
    check = calibrate_volume(fine_part(truth), recorded(truth))
    assert check.psf_sigma_px == pytest.approx(1.0, abs=0.03)
    assert (check.gain, check.offset) == (pytest.approx(2.0, rel=0.02), pytest.approx(5.0, abs=0.03))
    assert check.noise_sigma == pytest.approx(NOISE, rel=0.1)
    assert check.informative and check.explained > 0.95


def test_a_coarse_volume_with_the_voxels_of_the_fine_one_may_be_widely_blurred() -> None:
    grid = Grid.of((70, 72, 74), 500.0)
    truth = specimen()[:70, :72, :74]
    coarse = ndimage.gaussian_filter(truth, 5.0) + np.random.default_rng(2).normal(0, 0.02, truth.shape)
    check = calibrate_volume(Image(truth, grid), Image(coarse.astype(np.float32), grid))
    assert check.psf_sigma_px == pytest.approx(5.0, rel=0.03)


def flags(enhanced: np.ndarray, truth: np.ndarray, mask: Circle | None = None) -> np.ndarray:
    coarse = recorded(truth)
    check = calibrate_volume(fine_part(truth), coarse)
    slabs = consistency_slabs(Image(enhanced, FINE), coarse, check, mask=mask)
    return np.concatenate([bad for _, _, bad in slabs])


def test_the_truth_is_consistent_and_an_invented_pore_is_not() -> None:
    truth = specimen()
    assert flags(truth, truth).mean() < 2e-3
    solid = np.argwhere(ndimage.minimum_filter(truth, 7) > 0)
    z, y, x = (int(v) for v in solid[np.abs(solid - 60).sum(1).argmin()])
    invented = truth.copy()
    invented[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] = 0
    seen = flags(invented, truth)
    assert seen[z // 3 - 1 : z // 3 + 2, y // 3 - 1 : y // 3 + 2, x // 3 - 1 : x // 3 + 2].mean() > 0.5
    seen[z // 3 - 4 : z // 3 + 5, y // 3 - 4 : y // 3 + 5, x // 3 - 4 : x // 3 + 5] = False
    assert seen.mean() < 2e-3


def test_slabs_give_the_figures_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = specimen()
    coarse, enhanced = recorded(truth), Image(specimen(3), FINE)
    check = calibrate_volume(fine_part(truth), coarse)
    ((_, residual, bad),) = consistency_slabs(enhanced, coarse, check)
    monkeypatch.setattr("finescan.trust.volume_consistency._SLAB_VOXELS", 1)
    slabs = list(consistency_slabs(enhanced, coarse, check))
    assert len(slabs) == 5
    np.testing.assert_allclose(np.concatenate([r for _, r, _ in slabs]), residual, atol=1e-3)
    assert (np.concatenate([b for _, _, b in slabs]) != bad).mean() < 1e-4
    assert [s.start for s, _, _ in slabs] == [0, 9, 18, 27, 36]


def test_nothing_is_said_outside_the_circle() -> None:
    truth, circle = specimen(), Circle.inscribed(COARSE)
    enhanced = truth.copy()
    enhanced[:, ~circle.mask(FINE)] = np.nan
    assert flags(enhanced, truth, circle).mean() < 2e-3
    wrong = np.where(circle.mask(FINE), truth, 1 - truth)
    assert not flags(wrong, truth, circle)[:, ~circle.mask(COARSE)].any()


def test_volumes_that_do_not_overlap_are_refused() -> None:
    truth = specimen()
    far = Grid.of((30, 30, 30), 300.0, (1e6, 0.0, 0.0))
    with pytest.raises(InputError, match="do not overlap"):
        calibrate_volume(Image(truth[:30, :30, :30], far, "fine"), recorded(truth))
