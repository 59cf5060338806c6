"""Structure invented at the scale of a coarse pixel is found; a clean result is left alone."""

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.resampling import resample
from finescan.simulation import polycrystal
from finescan.simulation.scanner import FWHM, Scanner, scan
from finescan.trust import Consistency, calibrate, consistency_bands, consistency_map, degrade, fit_psf_sigma
from finescan.values import Grid, Image

BLUR = 0.6  # sigma in coarse pixels
RAIL = 0.55  # grey at which the coarse amplifier saturates in the saturated scan


def scene(ratio: float = 4.0, saturate: bool = False, seed: int = 1) -> tuple[Image, Image, Image]:
    """Coarse scan, recorded fine scan of the left half (NaN elsewhere), noise-free fine image of everything."""
    coarse = Grid.of((90, 110), 100.0)
    field = coarse.refine(ratio)
    truth = polycrystal(field.shape, field.pixel_size_nm, seed=seed)
    truth = truth.with_data(truth.data, field)
    rails = (-0.5, RAIL) if saturate else None
    lr_scanner = Scanner(BLUR * 100.0 * FWHM, 300.0, saturate_at=rails)
    lr = scan(truth, coarse, lr_scanner, seed=seed, name="coarse")
    fine = scan(truth, field, Scanner(0.0, 100.0, gain=0.7, offset=0.2), seed=seed + 1, name="fine")
    clean = scan(truth, field, Scanner(0.0, gain=0.7, offset=0.2), name="clean").data.astype(np.float32)
    recorded = fine.data.astype(np.float32)
    recorded[:, field.shape[1] // 2 :] = np.nan
    return lr, fine.with_data(recorded), fine.with_data(clean)


def with_blob(image: Image, at: tuple[int, int], radius_px: float, depth: float) -> Image:
    y, x = np.ogrid[: image.grid.shape[0], : image.grid.shape[1]]
    blob = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * (radius_px / 2) ** 2))
    return image.with_data((image.data - depth * blob).astype(np.float32))


@pytest.mark.parametrize("ratio", [4.0, 2.67])
def test_the_blur_of_the_coarse_probe_is_found(ratio: float) -> None:
    lr, recorded, _ = scene(ratio)
    sigma, gain, _, rms = fit_psf_sigma(recorded, lr)
    assert sigma == pytest.approx(BLUR, abs=0.06)
    assert gain == pytest.approx(1 / 0.7, rel=0.03)
    shot = np.sqrt(0.45 / 300) * 12000
    assert shot * 0.8 < rms < shot * 1.6


@pytest.mark.parametrize("ratio", [4.0, 2.67])
def test_a_clean_result_is_left_alone(ratio: float) -> None:
    lr, recorded, clean = scene(ratio)
    check = calibrate(recorded, lr)
    _, flags = consistency_map(clean, lr, check)
    assert check.informative and check.explained > 0.9
    assert flags.mean() < 0.01


def test_a_dark_blob_is_flagged_where_it_is_and_only_there() -> None:
    lr, recorded, clean = scene()
    check = calibrate(recorded, lr)
    residual, flags = consistency_map(with_blob(clean, (200, 320), 12, 2500), lr, check)
    assert flags[50, 80] and residual[50, 80] < -check.threshold  # 200 / 4, 320 / 4
    before = consistency_map(clean, lr, check)[1]
    new = np.argwhere(flags & ~before)
    assert 0 < len(new) < 60
    assert np.abs(new - (49.6, 79.6)).max() < 6


def test_a_dark_blob_in_a_saturated_area_is_flagged_and_a_clean_result_there_is_not() -> None:
    lr, recorded, clean = scene(saturate=True)
    top = float(lr.data.max())
    white = lr.data == top
    assert white.mean() > 0.1
    check = calibrate(recorded, lr, rails=(None, top))
    clean_flags = consistency_map(clean, lr, check)[1]
    assert clean_flags.mean() < 0.01 and clean_flags[white].mean() < 0.01
    inside = np.argwhere(white[10:-10, 60:-10])  # where no fine scan was recorded
    y, x = (inside[len(inside) // 2] + (10, 60)).tolist()
    fine_at = (4 * y + 1, 4 * x + 1)
    level = clean.data[fine_at]
    blob = with_blob(clean, fine_at, 12, 0.5 * (level - 8000))
    assert consistency_map(blob, lr, check)[1][y, x]


def test_an_enhanced_image_cut_off_like_the_fine_scan_is_not_blamed_for_it() -> None:
    lr, recorded, clean = scene()
    top = 8000 + 12000 * (0.2 + 0.7 * 0.55)  # level at which the fine amplifier saturates
    cut, cut_clean = (v.with_data(np.minimum(v.data, top)) for v in (recorded, clean))
    assert (cut_clean.data == top).mean() > 0.1
    check = calibrate(cut, lr, fine_rails=(None, top))
    assert check.rails[1] == pytest.approx(check.gain * top + check.offset)
    assert consistency_map(cut_clean, lr, check)[1].mean() < 0.01
    y, x = np.argwhere(cut_clean.data[40:-40, 40:-40] == top)[5000] + 40
    flags = consistency_map(with_blob(cut_clean, (y, x), 12, 2500), lr, check)[1]
    assert flags[y // 4, x // 4]


def test_detail_finer_than_the_coarse_probe_is_not_called_inconsistent() -> None:
    lr, recorded, clean = scene()
    check = calibrate(recorded, lr)
    checker = 800 * (-1.0) ** np.add.outer(np.arange(clean.grid.shape[0]), np.arange(clean.grid.shape[1]))
    assert consistency_map(clean.with_data(clean.data + checker.astype(np.float32)), lr, check)[1].mean() < 0.01


@pytest.mark.parametrize("ratio", [4.0, 2.67])
def test_bands_give_the_same_as_the_whole(ratio: float) -> None:
    lr, recorded, clean = scene(ratio)
    check = calibrate(recorded, lr)
    bad = with_blob(clean, (200, 240), 12, 2500)
    whole, flags = consistency_map(bad, lr, check)
    rows, parts, part_flags = zip(*consistency_bands(bad, lr, check, rows=17), strict=True)
    assert [r.start for r in rows] == list(range(0, 90, 17))
    assert np.allclose(np.vstack(parts), whole, atol=0.02, equal_nan=True)
    assert (np.vstack(part_flags) != flags).mean() < 0.001


def test_degrading_matches_an_independent_resampling_of_a_smooth_image() -> None:
    fine = Grid.of((120, 150), 10.0)
    y, x = np.mgrid[:120, :150]
    image = Image((100 + 20 * np.sin(x / 15.0) + 10 * np.cos(y / 11.0)).astype(np.float32), fine)
    coarse = fine.coarsen(3)
    ours = degrade(image, coarse, psf_sigma_px=0.05)
    theirs = resample(image, onto=coarse, antialias=False).array()
    assert np.allclose(ours, theirs, atol=0.1)


def test_degrading_damps_a_sine_by_the_gaussian_transfer_function() -> None:
    fine = Grid.of((120, 150), 10.0)
    wave = np.tile(np.sin(np.arange(150) / 6.0), (120, 1)).astype(np.float32)
    ours = degrade(Image(wave, fine), fine.coarsen(3), psf_sigma_px=1.0)  # 3 fine pixels
    at = 3 * np.arange(50) + 1
    assert np.allclose(ours[20, 8:-8], (np.exp(-0.5 * (3 / 6.0) ** 2) * np.sin(at / 6.0))[8:-8], atol=0.005)


def test_degrading_leaves_out_what_is_not_covered() -> None:
    lr, recorded, clean = scene()
    out, full = (degrade(v, lr.grid, psf_sigma_px=BLUR) for v in (recorded, clean))
    assert np.isnan(out[:, 56:]).all() and np.isfinite(out[:, :52]).all()
    good = np.isfinite(out)
    assert np.corrcoef(out[good], full[good])[0, 1] > 0.97


def test_another_detector_makes_the_check_uninformative() -> None:
    check = calibrate(scene(seed=7)[1], scene(seed=1)[0])
    assert check.explained < 0.2 and not check.informative


def test_the_yardstick_survives_json() -> None:
    check = Consistency(0.5, 1.4, -3.0, 12.0, 4.5, 0.9, (float("-inf"), 255.0))
    assert Consistency.from_dict(check.to_dict()) == check
    assert check.to_dict()["rails"] == [None, 255.0]


def test_too_little_overlap_is_refused() -> None:
    lr, recorded, _ = scene()
    with pytest.raises(InputError, match="at least 64 are needed"):
        calibrate(recorded, lr, mask=np.zeros(lr.grid.shape, bool))
    with pytest.raises(InputError, match="no finite pixel"):
        calibrate(recorded.with_data(np.full_like(recorded.data, np.nan)), lr)
