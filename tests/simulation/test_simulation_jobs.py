"""Simulated jobs: the stated truth and warps are the true ones."""

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.resampling import resample
from finescan.simulation import RECIPES, first_detector, grow, lattice, polycrystal, second_detector, simulate
from finescan.values import Image, Warp


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    good = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[good], b[good])[0, 1])


def moved(truth: Image, grid, warp: Warp) -> np.ndarray:
    return resample(truth, onto=grid, through=warp, antialias=False).array()


@pytest.mark.parametrize("recipe", ["polycrystal", "lattice", "warp", "inverted", "detector", "tilt"])
def test_the_truth_seen_through_the_true_warp_is_the_fine_scan(recipe: str) -> None:
    job = simulate(recipe, size=160, fine=192, counts=(1e7, 1e7), seed=3)
    fine, warp = job.hr[0].data.astype(float), job.lr_from_hr[0]
    right = moved(job.truth, job.hr[0].grid, warp)
    wrong = moved(job.truth, job.hr[0].grid, Warp.affine(np.eye(2), [0.0, 50.0]).after(warp))  # 2 HR px off
    assert correlation(fine, right) > (0.96 if RECIPES[recipe].shading else 0.995)
    assert correlation(fine, wrong) < correlation(fine, right) - 0.05
    if not RECIPES[recipe].shading:
        assert np.nanmedian(np.abs(fine - right)) < 60  # of 12000 levels per grey


def test_the_coarse_map_lies_where_its_grid_says() -> None:
    job = simulate(size=128, fine=128, counts=(1e7, 1e7), seed=1)
    seen = resample(job.truth, onto=job.lr.grid).array()
    shifted = resample(job.truth, onto=job.lr.grid, through=Warp.affine(np.eye(2), [50.0, 0.0])).array()
    assert correlation(seen, job.lr.data) > 0.98
    assert 1 - correlation(shifted, job.lr.data) > 5 * (1 - correlation(seen, job.lr.data))


@pytest.mark.parametrize("ratio", [2.67, 5.0, 1.5])
def test_any_ratio_gives_the_refined_grid(ratio: float) -> None:
    job = simulate(size=(100, 131), ratio=ratio, fine=96, seed=2)
    assert job.truth.grid.same_as(job.lr.grid.refine(ratio))
    assert job.hr[0].grid.pixel_size_nm == pytest.approx((100.0 / ratio,) * 2)
    assert job.lr.grid.shape == (100, 131)


def test_an_inverted_scan_anticorrelates_with_the_uninverted_one() -> None:
    job = simulate("inverted", size=128, fine=256, seed=1)
    lr_there = resample(job.lr, onto=job.hr[0].grid, through=job.lr_from_hr[0]).array()
    assert correlation(lr_there, job.hr[0].data.astype(float)) < -0.5


@pytest.mark.parametrize("seed", range(4))
def test_the_second_detector_is_nearly_uncorrelated_with_the_first(seed: int) -> None:
    specimen = grow((1024, 1024), seed=seed)
    one, two = first_detector(specimen), second_detector(specimen)
    assert abs(correlation(one, two)) < 0.2
    assert min(one.min(), two.min()) >= 0 and max(one.max(), two.max()) <= 1


def test_there_is_detail_finer_than_a_coarse_pixel() -> None:
    image = polycrystal((512, 512), 10.0, seed=0).data
    spectrum = np.abs(np.fft.rfft2(image - image.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512))
    assert spectrum[frequency > 1 / 8].sum() > 0.03 * spectrum.sum()  # beyond the Nyquist frequency of ratio 4


def test_a_lattice_has_the_stated_period() -> None:
    image = lattice((512, 512), 10.0, seed=2, period_px=26.0).data
    spectrum = np.abs(np.fft.rfft2((image - image.mean()) * np.hanning(512)[:, None] * np.hanning(512)))
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512))
    peak = frequency.flat[np.argmax(spectrum * (frequency < 0.05))]
    assert 25.0 < 1 / peak < 29.0  # one axis is 8 % longer than the other


def test_noise_scales_with_the_recipe() -> None:
    quiet, noisy = (simulate(r, size=96, fine=96, seed=1).lr.data.astype(float) for r in ("polycrystal", "noisy"))
    clean = simulate(size=96, fine=96, counts=(1e8, 1e8), seed=1).lr.data.astype(float)
    assert np.var(noisy - clean) / np.var(quiet - clean) == pytest.approx(15.0, rel=0.2)


def test_several_fine_scans_lie_in_different_places() -> None:
    job = simulate(size=128, fine=96, fine_scans=2, seed=1)
    assert len(job.hr) == len(job.lr_from_hr) == 2
    assert not np.allclose(job.lr_from_hr[0].offset_nm, job.lr_from_hr[1].offset_nm)
    assert not np.array_equal(job.hr[0].data, job.hr[1].data)


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_recipe_gives_a_complete_job_again_and_again(recipe: str, dtype: str) -> None:
    one, again, other = (simulate(recipe, size=80, fine=96, dtype=dtype, seed=s) for s in (7, 7, 8))
    assert one.lr.dtype == one.hr[0].dtype == np.dtype(dtype)
    assert np.array_equal(one.hr[0].data, again.hr[0].data) and np.array_equal(one.lr.data, again.lr.data)
    assert not np.array_equal(one.lr.data, other.lr.data)
    assert one.lr.data.std() > 0 and one.hr[0].data.std() > 0


def test_an_unknown_recipe_and_an_oversized_fine_scan_are_refused() -> None:
    with pytest.raises(InputError, match="A recipe is one of polycrystal, porous"):
        simulate("cheese")
    with pytest.raises(InputError, match="does not fit into a coarse map"):
        simulate(size=64, fine=512)
