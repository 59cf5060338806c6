"""The published experiment in small: grey levels, blur, noise and independence of the recorded volumes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, optimize

from finescan.errors import InputError
from finescan.simulation import (
    FoamPair,
    Sizes,
    plan_foam,
    realisations,
    record_foam,
    record_growing_foam,
    simulate_foam,
    true_foam,
)
from finescan.values import Circle

SIZE = 56


@pytest.fixture(scope="module")
def pair() -> FoamPair:
    return simulate_foam(SIZE, sigma_px=(1, 3), seed=1, views=112)


def fitted_sigma(truth: np.ndarray, volume: np.ndarray, mask: np.ndarray) -> float:
    """Blur of the truth that fits best inside the mask, away from the end faces, gain and offset free."""
    filled = np.nan_to_num(truth)
    middle = slice(12, -12)

    def misfit(sigma: float) -> float:
        model, seen = ndimage.gaussian_filter(filled, sigma)[middle, mask], volume[middle, mask]
        a, b = np.polyfit(model.ravel(), seen.ravel(), 1)
        return float(np.mean((a * model + b - seen) ** 2))

    return float(optimize.minimize_scalar(misfit, bounds=(0.3, 8.0), method="bounded").x)


def test_all_volumes_share_grid_and_circle_and_nothing_is_inside_nan(pair: FoamPair) -> None:
    inside = pair.circle.mask(pair.truth.grid)
    for image in (pair.truth, pair.hres, *pair.lres.values()):
        assert image.grid == pair.foam.grid and image.dtype == np.float32
        assert np.isfinite(image.data[:, inside]).all() and np.isnan(image.data[:, ~inside]).all()
    assert pair.lres[3.0].acquisition.extra["blur_sigma_px"] == 3.0
    assert pair.truth.grid.pixel_size_nm == (1000.0,) * 3


def test_the_mean_grey_is_kept_from_truth_to_scan(pair: FoamPair) -> None:
    inside = pair.circle.mask(pair.truth.grid)
    truth = pair.truth.data[:, inside].mean()
    assert pair.hres.data[:, inside].mean() == pytest.approx(truth, rel=0.02)
    core = ndimage.minimum_filter(np.nan_to_num(pair.truth.data), 5) > 0.999
    assert pair.hres.data[core].mean() == pytest.approx(1.0, abs=0.02)


def test_the_blur_of_the_projections_is_found_again_in_the_volume(pair: FoamPair) -> None:
    """In a sample that absorbs little; in a strong absorber blurred intensities are not quite blurred lengths."""
    inner = Circle(pair.circle.centre_nm, 0.75 * pair.circle.radius_nm).mask(pair.truth.grid)
    weak = replace(pair.foam, photons=float("inf"), attenuation_per_nm=pair.foam.attenuation_per_nm / 50)
    for sigma in (1.0, 3.0):
        found = fitted_sigma(pair.truth.data, record_foam(weak, sigma).data, inner)
        assert found == pytest.approx(np.hypot(sigma, 0.25), rel=0.02)  # 0.25: linear interpolation between pixels
    assert fitted_sigma(pair.truth.data, pair.lres[3.0].data, inner) == pytest.approx(3.0, abs=0.2)


def test_coarse_and_fine_scans_have_independent_noise(pair: FoamPair) -> None:
    """Both were blurred by one pixel, so that their difference is noise alone: of twice the variance of one."""
    foam = pair.foam
    quiet = record_foam(plan_foam(SIZE, seed=1, views=112, photons=float("inf")), 1.0).data
    inside = foam.circle.mask(foam.grid)
    a, b = (v.data[:, inside] - quiet[:, inside] for v in (pair.hres, pair.lres[1.0]))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02
    assert a.std() == pytest.approx(b.std(), rel=0.02) and a.std() > 0.01


def test_four_times_the_photons_halve_the_noise() -> None:
    spread = []
    for photons in (10_000.0, 40_000.0):
        noisy, quiet = (record_foam(plan_foam(32, seed=3, photons=p), 1.0).data for p in (photons, float("inf")))
        spread.append(np.nanstd(noisy - quiet))
    assert spread[0] / spread[1] == pytest.approx(2.0, rel=0.03)


def test_the_two_realisations_differ_and_a_seed_repeats_its_bits() -> None:
    seeds = realisations(0)
    assert seeds == {"training": 0, "alternate": 1} and not set(realisations(1).values()) & set(seeds.values())
    one, again, other = (record_foam(plan_foam(32, seed=s), 2.0).data for s in (0, 0, seeds["alternate"]))
    assert np.array_equal(one, again, equal_nan=True)
    assert np.corrcoef(np.nan_to_num(one).ravel(), np.nan_to_num(other).ravel())[0, 1] < 0.9
    assert np.nanstd(one - other) > 0.1


def test_a_slab_is_recorded_with_the_values_of_the_whole() -> None:
    foam = plan_foam(40, seed=2)
    slab = foam.grid.crop((10, 0, 0), (18, 40, 40))
    assert np.nanmax(np.abs(record_foam(foam, 3.0, grid=slab).data - record_foam(foam, 3.0).data[10:18])) < 1e-5
    assert np.array_equal(true_foam(foam, grid=slab).data, true_foam(foam).data[10:18], equal_nan=True)


def test_many_noiseless_views_approach_the_analytic_truth() -> None:
    foam = plan_foam(32, seed=2)
    exact, inside = true_foam(foam).data, foam.circle.mask(foam.grid)
    few, many = (true_foam(foam, truth="many views", views=n).data for n in (24, 256))
    error = [np.sqrt(np.mean((v - exact)[:, inside] ** 2)) for v in (few, many)]
    assert error[1] < 0.09 and error[0] > 1.3 * error[1]


def test_a_growing_blur_is_that_of_the_centre_inside_and_that_of_the_rim_outside() -> None:
    foam = plan_foam(SIZE, seed=1, views=112, sizes=Sizes(8_000.0, 0.3, 4_000.0, 14_000.0))
    grown, truth = record_growing_foam(foam, 1.0, 4.0).data, np.nan_to_num(true_foam(foam).data)
    distance = foam.circle.distance(foam.grid)
    inner = fitted_sigma(truth, grown, distance < 0.3)
    outer = fitted_sigma(truth, grown, (distance > 0.55) & (distance < 0.75))
    assert inner == pytest.approx(1.0 + 3.0 * 0.2, abs=0.4)
    assert outer == pytest.approx(1.0 + 3.0 * 0.65, abs=0.4)


def test_a_growing_blur_does_not_change_the_noise() -> None:
    """Noise is highest on the axis, where paths are longest; growing and constant blur must show the same course."""
    noisy, quiet = (plan_foam(40, seed=1, photons=p) for p in (20_000.0, float("inf")))
    grown = record_growing_foam(noisy, 1.0, 5.0).data - record_growing_foam(quiet, 1.0, 5.0).data
    plain = record_foam(noisy, 3.0).data - record_foam(quiet, 3.0).data
    distance = noisy.circle.distance(noisy.grid)
    for low in (0.1, 0.3, 0.5, 0.7):
        ring = (distance >= low) & (distance < low + 0.2)
        assert grown[:, ring].std() == pytest.approx(plain[:, ring].std(), rel=0.03)


def test_gap_filled_foam_is_recorded_too() -> None:
    foam = plan_foam(32, mode="gap filling", seed=1)
    assert 0 < len(foam.whole) < len(foam.spheres)
    assert np.isfinite(record_foam(foam, 1.0).data[16, 16, 16])


def test_unknown_roles_and_truths_are_refused() -> None:
    foam = plan_foam(32)
    with pytest.raises(InputError, match="one of hres, lres, but 'mres' came"):
        record_foam(foam, 1.0, role="mres")
    with pytest.raises(InputError, match="'analytic' or from 'many views', but 'guess' came"):
        true_foam(foam, truth="guess")
