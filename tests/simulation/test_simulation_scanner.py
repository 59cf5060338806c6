"""The instrument does what it is told: sampling, noise, drift, grey levels."""

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.simulation import Scanner, polycrystal, random_warp, scan
from finescan.simulation.scanner import expected
from finescan.values import Grid, Image, Warp


def flat(grey: float, n: int = 128) -> Image:
    return Image(np.full((n, n), grey, np.float32), Grid.of((n, n), 10.0))


def test_shot_noise_has_the_variance_of_counting() -> None:
    image = scan(flat(0.4), Grid.of((128, 128), 10.0), Scanner(0.0, counts=50.0, dtype="float32"), seed=1)
    assert image.data.mean() == pytest.approx(0.4, abs=0.005)
    assert image.data.var() == pytest.approx(0.4 / 50.0, rel=0.05)


def test_gain_scales_signal_and_noise_alike() -> None:
    image = scan(flat(0.4), Grid.of((128, 128), 10.0), Scanner(0.0, 50.0, gain=-2.0, offset=1.0, dtype="float32"))
    assert image.data.mean() == pytest.approx(0.2, abs=0.01)
    assert image.data.var() == pytest.approx(4 * 0.4 / 50.0, rel=0.05)


def test_levels_are_stated_and_lead_back_to_grey() -> None:
    image = scan(flat(0.25), Grid.of((32, 32), 40.0), Scanner(0.0, dtype="uint16"))
    facts = image.acquisition.extra
    assert image.dtype == np.uint16 and image.grid.pixel_size_nm == (40.0, 40.0)
    assert (image.data[3, 3] - facts["level_of_zero"]) / facts["levels_per_grey"] == pytest.approx(0.25, abs=1e-4)


def test_a_probe_samples_where_a_camera_averages() -> None:
    stripes = np.tile(np.array([0, 0, 1, 0], np.float32), (64, 16))
    truth = Image(stripes, Grid.of(stripes.shape, 10.0))
    grid = Grid.of((14, 14), 40.0, (20.0, 20.0))  # every pixel centre on a stripe
    point = expected(truth, grid, Scanner(0.0))
    area = expected(truth, grid, Scanner(0.0, pixel="area"))
    assert np.allclose(point, 1.0, atol=1e-3)
    assert np.allclose(area, 0.25, atol=0.02)


def test_the_probe_width_is_the_stated_one() -> None:
    spot = np.zeros((101, 101), np.float32)
    spot[50, 50] = 1.0
    seen = expected(Image(spot, Grid.of(spot.shape, 2.0)), Grid.of(spot.shape, 2.0), Scanner(20.0))
    row = seen[50] / seen[50].max()
    assert row[45] == pytest.approx(0.5, abs=0.02)  # 10 nm from the middle of a 20 nm wide peak
    assert seen.sum() == pytest.approx(1.0, abs=1e-3)


def test_drift_displaces_rows_by_its_stated_peak() -> None:
    grid = Grid.of((200, 160), 10.0)
    warp = random_warp(grid, centre_nm=(1000.0, 800.0), drift_nm=70.0, seed=4)
    nm = grid.to_nm(np.stack(np.meshgrid(np.arange(200), np.arange(160), indexing="ij"), -1))
    moved = warp.displacement(nm)
    assert np.linalg.norm(moved, axis=-1).max() == pytest.approx(70.0, rel=1e-3)
    assert np.ptp(moved, axis=1).max() < 1e-9  # whole rows move
    assert np.ptp(moved[:, 0], axis=0).max() > 10.0


def test_a_drifting_scan_shows_each_row_where_the_warp_says() -> None:
    ramp = np.add.outer(np.zeros(400), np.arange(400)).astype(np.float32)
    truth = Image(ramp, Grid.of(ramp.shape, 10.0))
    grid = Grid.of((200, 160), 10.0)
    warp = random_warp(grid, centre_nm=(2000.0, 2000.0), drift_nm=70.0, seed=4)
    seen = expected(truth, grid, Scanner(0.0), warp=warp)
    rows = grid.to_nm(np.stack([np.arange(200), np.full(200, 80)], -1))
    assert np.allclose(seen[:, 80], warp(rows)[:, 1] / 10.0, atol=1e-3)


def test_a_smooth_warp_is_not_row_wise() -> None:
    grid = Grid.of((200, 160), 10.0)
    warp = random_warp(grid, centre_nm=(0.0, 0.0), smooth_nm=60.0, seed=4)
    nm = grid.to_nm(np.stack(np.meshgrid(np.arange(200), np.arange(160), indexing="ij"), -1))
    moved = warp.displacement(nm)
    assert np.linalg.norm(moved, axis=-1).max() == pytest.approx(60.0, rel=1e-3)
    assert np.ptp(moved[..., 1], axis=1).max() > 10.0


def test_the_affine_part_of_a_warp_is_the_stated_one() -> None:
    grid = Grid.of((100, 100), 10.0)
    warp = random_warp(grid, centre_nm=(7000.0, 3000.0), scale_error=(-0.12, 0.02), rotation_deg=3.0)
    assert warp.scales() == pytest.approx((0.88, 1.02))
    assert warp.rotation_deg() == pytest.approx(3.0, abs=0.05)
    assert warp(grid.to_nm([49.5, 49.5])) == pytest.approx([7000.0, 3000.0])


def test_line_jitter_moves_whole_lines_by_the_stated_rms() -> None:
    ramp = np.add.outer(np.zeros(300), np.arange(400)).astype(np.float32)
    truth = Image(ramp, Grid.of(ramp.shape, 10.0))
    seen = expected(truth, Grid.of((200, 100), 10.0, (500.0, 1000.0)), Scanner(0.0, line_jitter_nm=20.0), seed=2)
    shift = seen - (np.arange(100) + 100)
    assert shift.std(axis=0).mean() == pytest.approx(2.0, rel=0.15)
    assert shift.std(axis=1).max() < 1e-2


def test_grey_levels_that_do_not_fit_are_an_error_unless_saturation_was_asked() -> None:
    grid = Grid.of((16, 16), 10.0)
    with pytest.raises(InputError, match="uint8 holds 0 to 255, but the scan reaches 380"):
        scan(flat(3.0), grid, Scanner(0.0, dtype="uint8"))
    image = scan(flat(3.0), grid, Scanner(0.0, dtype="uint8", saturate_at=(0.0, 1.5)))
    assert (image.data == 200).all()
    assert image.acquisition.extra["saturated_share"] == 1.0


def test_a_scan_outside_the_field_is_refused() -> None:
    with pytest.raises(InputError, match="leaves the simulated field"):
        scan(flat(0.5), Grid.of((16, 16), 10.0), Scanner(0.0), warp=Warp.affine(np.eye(2), [0.0, 1200.0]))


def test_nonsense_settings_are_refused() -> None:
    with pytest.raises(InputError, match="pixel 'point' or 'area'"):
        Scanner(1.0, pixel="square")
    with pytest.raises(InputError, match="counts > 0"):
        Scanner(1.0, counts=0.0)


def test_the_same_seed_gives_the_same_scan_and_another_seed_another() -> None:
    truth = polycrystal((96, 96), 10.0, seed=0)
    grid, scanner = Grid.of((20, 20), 40.0, (20.0, 20.0)), Scanner(40.0, 100.0)
    one, again, other = (scan(truth, grid, scanner, seed=s).data for s in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
