"""Volumes made worse by stated amounts, and pairs whose warp is the stated one."""

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.resampling import resample
from finescan.simulation import SAMPLES, Placement, blur_growing, degrade_volume, simulate_volume_pair
from finescan.values import Circle, Grid, Image, Warp


def textured(shape: tuple[int, ...] = (24, 30, 36), seed: int = 0, dtype: str = "float32") -> Image:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return Image((120 + 200 * noise).astype(dtype), Grid.of(shape, (2.0, 1.0, 1.0)), "sample")


def test_whole_binning_is_the_mean_of_blocks() -> None:
    image = textured()
    coarse = degrade_volume(image, binning=(2, 3, 4))
    assert coarse.grid == image.grid.refine((1 / 2, 1 / 3, 1 / 4)) and coarse.grid.pixel_size_nm == (4.0, 3.0, 4.0)
    blocks = image.data.reshape(12, 2, 10, 3, 9, 4).mean(axis=(1, 3, 5))
    assert np.allclose(coarse.data, blocks, rtol=1e-6)


def test_any_ratio_keeps_the_mean_and_straight_ramps() -> None:
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (20, 20, 20)), indexing="ij")
    image = Image(3 * z - y + 0.5 * x, Grid.of((20, 20, 20), 1.0))
    coarse = degrade_volume(image, binning=2.5)
    at = coarse.grid.to_nm(np.stack(np.meshgrid(*(np.arange(8),) * 3, indexing="ij"), -1))
    # a partly filled fine pixel counts as if its level filled the part: at most a tenth of a pixel's step
    assert np.abs(coarse.data - (3 * at[..., 0] - at[..., 1] + 0.5 * at[..., 2])).max() < 0.5
    assert coarse.data.mean() == pytest.approx(image.data.mean(), rel=1e-6)


def test_the_psf_has_the_stated_width_per_axis() -> None:
    spot = np.zeros((41, 41, 41), np.float32)
    spot[20, 20, 20] = 1.0
    seen = degrade_volume(Image(spot, Grid.of(spot.shape, 1.0)), psf_sigma_px=(1.0, 2.0, 3.0)).data
    r2 = (np.arange(41) - 20.0) ** 2
    for axis, sigma in enumerate((1.0, 2.0, 3.0)):
        others = tuple(a for a in range(3) if a != axis)
        assert np.sqrt((seen.sum(others) * r2).sum() / seen.sum()) == pytest.approx(sigma, rel=0.01)


def test_noise_is_what_was_asked_for_and_belongs_to_the_seed() -> None:
    flat = Image(np.full((40, 40, 40), 50.0, np.float32), Grid.of((40, 40, 40), 1.0))
    assert degrade_volume(flat, noise=3.0, seed=1).data.std() == pytest.approx(3.0, rel=0.02)
    counted = degrade_volume(flat, counts_per_grey=4.0, seed=1).data
    assert counted.std() == pytest.approx(np.sqrt(50.0 / 4.0), rel=0.02) and counted.mean() == pytest.approx(
        50, rel=1e-3
    )
    a, b, c = (degrade_volume(flat, noise=3.0, seed=s).data for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_whole_numbers_are_kept_and_never_clipped_in_silence() -> None:
    image = Image(np.full((20, 20, 20), 250, np.uint8), Grid.of((20, 20, 20), 1.0))
    with pytest.raises(InputError, match="uint8 holds 0 to 255, but the degraded volume reaches"):
        degrade_volume(image, noise=5.0)
    limited = degrade_volume(image, noise=5.0, saturate=True)
    assert limited.dtype == np.uint8
    assert limited.acquisition.extra["saturated_share"] == pytest.approx(0.136, abs=0.03)  # beyond 1.1 sigma
    assert degrade_volume(image, noise=5.0, dtype="float32").data.max() > 260
    assert degrade_volume(image, binning=2).data.tolist() == np.full((10, 10, 10), 250).tolist()


def test_what_was_not_recorded_does_not_spread() -> None:
    image = textured((16, 32, 32))
    mask = Circle.inscribed(image.grid).mask(image.grid)
    image.data[:, ~mask] = np.nan
    same = degrade_volume(image, psf_sigma_px=2.0)
    assert np.array_equal(np.isnan(same.data), np.isnan(image.data))
    assert np.abs(same.data[:, mask] - 120).max() < 60  # no dark rim from the outside
    coarse = degrade_volume(image, binning=4)
    assert np.isnan(coarse.data[0, 0, 0]) and np.isfinite(coarse.data[:, 4, 4]).all()
    with pytest.raises(InputError, match="uint16 cannot say"):
        degrade_volume(image, dtype="uint16")


def test_a_warped_coarse_volume_lies_where_the_warp_says() -> None:
    image = textured((30, 40, 40))
    onto = Grid.of((8, 8, 8), (4.0, 2.5, 2.5), (10.0, 6.0, 6.0))
    moved = degrade_volume(image, onto=onto, through=Warp.affine(np.eye(3), [4.0, 5.0, 5.0])).data
    there = degrade_volume(image, onto=Grid.of((8, 8, 8), (4.0, 2.5, 2.5), (14.0, 11.0, 11.0))).data
    elsewhere = degrade_volume(image, onto=onto).data
    assert np.corrcoef(moved.ravel(), there.ravel())[0, 1] > 0.98
    assert abs(np.corrcoef(moved.ravel(), elsewhere.ravel())[0, 1]) < 0.5


def test_senseless_degradation_is_refused() -> None:
    with pytest.raises(InputError, match="binning >= 1"):
        degrade_volume(textured(), binning=0.5)
    with pytest.raises(InputError, match="negative grey levels"):
        degrade_volume(Image(np.full((4, 4, 4), -1.0), Grid.of((4, 4, 4), 1.0)), counts_per_grey=3.0)


def test_a_growing_blur_has_the_intended_width_at_every_distance() -> None:
    n = 81
    image = Image(np.zeros((41, n, n), np.float32), Grid.of((41, n, n), 1.0))
    places = {0: (40, 40), 15: (40, 55), 25: (15, 40)}
    for y, x in places.values():
        alone = image.with_data(image.data.copy())
        alone.data[20, y, x] = 1.0
        seen = blur_growing(alone, sigma_centre_px=1.0, sigma_rim_px=4.0, circle=Circle((40.0, 40.0), 40.0)).data
        profile = seen[:, y, x] / seen[20, y, x]
        sigma = np.sqrt(-0.5 / np.log(profile[21]))  # of the middle of the spot along z
        wanted = 1.0 + 3.0 * np.hypot(y - 40, x - 40) / 40
        assert sigma == pytest.approx(wanted, rel=0.03)
    with pytest.raises(InputError, match="sigma_centre_px < sigma_rim_px"):
        blur_growing(image, sigma_centre_px=3.0, sigma_rim_px=2.0)


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_true_warp_lays_the_coarse_volume_onto_the_fine_one(sample: str) -> None:
    pair = simulate_volume_pair(32, ratio=2.5, fine=40, sample=sample, noise=(0.01, 0.01), seed=4)

    def likeness(warp: Warp) -> float:
        seen = resample(pair.lr, onto=pair.hr.grid, through=warp).data
        fine = ndimage.gaussian_filter(pair.hr.data.astype(np.float32), 1.6)
        inside = np.isfinite(seen)
        return float(np.corrcoef(seen[inside], fine[inside])[0, 1])

    right = likeness(pair.lr_from_hr)
    assert right > 0.96
    for axis in range(3):
        for step in (-0.4, 0.4):
            off = np.zeros(3)
            off[axis] = step * 3000.0
            wrong = Warp.affine(pair.lr_from_hr.matrix, pair.lr_from_hr.offset_nm + off)
            assert likeness(wrong) < right - 0.003


def test_drift_moves_whole_slices_in_their_plane_by_its_stated_peak() -> None:
    pair = simulate_volume_pair(32, ratio=2, fine=32, placement=Placement(drift_lr_px=1.5), seed=2)
    z = np.arange(32)
    nm = pair.hr.grid.to_nm(np.stack(np.meshgrid(z, [0, 31], [0, 31], indexing="ij"), -1))
    moved = pair.lr_from_hr.displacement(nm)
    assert np.linalg.norm(moved, axis=-1).max() == pytest.approx(1.5 * 3000.0, rel=1e-6)
    assert (moved[..., 0] == 0).all() and np.ptp(moved, axis=(1, 2)).max() < 1e-9


def test_the_fine_scan_is_no_resampling_of_the_coarse_one() -> None:
    pair = simulate_volume_pair(24, ratio=3, fine=40, noise=(0.0, 0.0), seed=3, dtype="float32")
    up = resample(pair.lr, onto=pair.hr.grid, through=pair.lr_from_hr).data
    inside = np.isfinite(up)
    sharp = [np.nanstd(np.diff(v, axis=2)[inside[..., 1:] & inside[..., :-1]]) for v in (up, pair.hr.data)]
    assert sharp[1] > 1.5 * sharp[0]


def test_contrast_can_be_inverted_and_levels_lead_back_to_grey() -> None:
    plain, turned = (simulate_volume_pair(24, ratio=2, fine=20, inverted=i, seed=5) for i in (False, True))
    assert np.corrcoef(plain.hr.data.ravel(), turned.hr.data.ravel())[0, 1] < -0.8
    facts = plain.lr.acquisition.extra
    grey = (plain.lr.data.astype(float) - facts["level_of_zero"]) / facts["levels_per_grey"]
    assert np.median(grey[grey > 0.45]) == pytest.approx(0.69, abs=0.05)  # the solid around the pores


def test_the_truth_is_the_fine_scan_of_the_whole_field() -> None:
    middle = Placement((0.5, 0.5, 0.5), rotation_deg=0.0, scale=0.0, shear=0.0)
    pair = simulate_volume_pair(24, ratio=2, fine=24, noise=(0.0, 0.0), placement=middle, with_truth=True, seed=6)
    assert pair.truth is not None and pair.truth.grid == pair.lr.grid.refine(2)
    assert np.abs(pair.truth.data[12:36, 12:36, 12:36] - pair.hr.data).max() <= 0.51  # rounding to whole levels


def test_a_fine_volume_may_lie_partly_outside_when_told_to() -> None:
    pair = simulate_volume_pair(24, ratio=2, fine=24, placement=Placement((0.5, 0.95, 0.5)), seed=6)
    far = pair.lr_from_hr(pair.hr.grid.to_nm((0, 23, 0)))
    assert far[1] > 24 * 3000.0
    with pytest.raises(InputError, match="does not fit into a coarse one"):
        simulate_volume_pair(24, ratio=2, fine=60)
    with pytest.raises(InputError, match="one of foam, grains, fibres, but 'cheese' came"):
        simulate_volume_pair(24, ratio=2, fine=24, sample="cheese")


def test_voxels_may_differ_per_axis() -> None:
    pair = simulate_volume_pair((16, 28, 30), ratio=(2, 3, 2.5), fine=(18, 30, 28), voxel_nm=(5000, 3000, 3000), seed=1)
    assert pair.hr.grid.pixel_size_nm == (2500.0, 1000.0, 1200.0)
    up = resample(pair.lr, onto=pair.hr.grid, through=pair.lr_from_hr).data
    inside = np.isfinite(up)
    assert np.corrcoef(up[inside], pair.hr.data[inside])[0, 1] > 0.75
