"""Recorded pairs: two scans of one place with their own noise, a known drift, and a truth to compare with."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.registration import phase_cross_correlation

from finescan.errors import InputError
from finescan.resampling import resample
from finescan.simulation import (
    RECORDINGS,
    LargePair,
    Recording,
    Section,
    case_hardening,
    dual_phase,
    large_pair,
    noise_free,
    sandstone,
    scanner,
    simulate,
    small_pairs,
    specimen_px,
)
from finescan.values import Image, Warp

QUIET = Recording(counts_per_us=1e6, dtype="float32")  # hardly any noise, nothing rounded
STEEL_PX = 100_000 / 4096


@pytest.fixture(scope="module")
def steel() -> Section:
    return dual_phase((900, 900), seed=3)


@pytest.fixture(scope="module")
def large() -> tuple[Section, LargePair]:
    specimen = dual_phase(specimen_px((160, 120)), seed=2)
    return specimen, large_pair(specimen.image, recording=replace(QUIET, drift_lr_px=4.0), lr_px=(160, 120), seed=1)


def numbers(image: Image) -> np.ndarray:
    return image.array().astype(float)


def shift_nm(still: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """How far a scan lies off a still one, by an independent program; its content moves the other way."""
    window = np.hanning(still.shape[0])[:, None] * np.hanning(still.shape[1])
    a, b = ((v - v.mean()) * window for v in (still, moved))
    return phase_cross_correlation(a, b, upsample_factor=50, normalization=None)[0] * STEEL_PX


# ---------------------------------------------------------------------- noise
@pytest.mark.parametrize("dwell_us", [10.0, 32.0, 100.0])
def test_noise_is_that_of_counting_for_the_dwell_time(steel: Section, dwell_us: float) -> None:
    r = Recording(dwell_us=dwell_us, dtype="float32")
    ratios = []
    for pair in small_pairs(steel.image, 6, recording=r, seed=1):
        for image in pair:
            true = numbers(noise_free(steel.image, image, r))
            grey = (true - r.brightness) / r.contrast
            wanted = r.contrast**2 * grey / (r.counts_per_us * dwell_us)
            ratios.append(np.mean((numbers(image) - true) ** 2 / np.maximum(wanted, 1e-4)))
    assert np.mean(ratios) == pytest.approx(1.0, rel=0.04)


def test_ten_times_the_dwell_time_is_a_tenth_of_the_variance(steel: Section) -> None:
    def variance(dwell_us: float) -> float:
        r = replace(RECORDINGS["dual-phase"], dwell_us=dwell_us)
        fine = [hr for _, hr in small_pairs(steel.image, 6, recording=r, seed=2)]
        return float(np.mean([np.var(numbers(hr) - numbers(noise_free(steel.image, hr, r))) for hr in fine]))

    assert variance(10.0) / variance(100.0) == pytest.approx(10.0, rel=0.1)


def test_the_two_scans_have_their_own_noise(steel: Section) -> None:
    r = Recording(drift_lr_px=0.0, dtype="float32")
    rests = []
    for lr, hr in small_pairs(steel.image, 12, recording=r, ratio=3.0, seed=1):
        # at ratio 3 every coarse pixel lies on the middle one of its nine fine ones
        clean = [numbers(noise_free(steel.image, i, r)) for i in (lr, hr)]
        assert np.allclose(clean[0], clean[1][1::3, 1::3], atol=1e-4)
        rests.append([(numbers(lr) - clean[0]).ravel(), (numbers(hr) - clean[1])[1::3, 1::3].ravel()])
    one, two = np.concatenate(rests, axis=1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert one.std() == pytest.approx(two.std(), rel=0.05)  # the same dwell time


# ---------------------------------------------------------------------- small pairs
def test_small_pairs_have_the_published_form(steel: Section) -> None:
    for lr, hr in small_pairs(steel.image, 3, seed=1):
        assert lr.grid.shape == (32, 32) and hr.grid.shape == (128, 128)
        assert lr.dtype == hr.dtype == np.uint8
        assert hr.grid.pixel_size_nm == pytest.approx((STEEL_PX, STEEL_PX))
        assert lr.grid.refine(4).same_as(hr.grid)
        assert lr.acquisition.dwell_time_us == hr.acquisition.dwell_time_us == 100.0


def test_the_stated_shift_is_the_true_one(steel: Section) -> None:
    r = replace(QUIET, drift_lr_px=1.5)
    for (lr, hr), (_, still) in zip(
        small_pairs(steel.image, 5, recording=r, seed=4),
        small_pairs(steel.image, 5, recording=replace(r, drift_lr_px=0.0), seed=4),
        strict=True,
    ):
        place, moved = hr.acquisition.extra["place_nm"], np.array(hr.acquisition.extra["shift_nm"])
        there = Warp.affine(np.eye(2), np.array(place) - (np.array(hr.grid.edge_nm) + np.array(hr.grid.extent_nm) / 2))
        quiet = noise_free(steel.image, replace_warp(still, there), r)
        assert shift_nm(numbers(quiet), numbers(hr)) == pytest.approx(moved, abs=0.1 * STEEL_PX)
        apart = np.subtract(lr.acquisition.extra["shift_nm"], moved)
        assert np.linalg.norm(apart) <= 1.5 * 4 * STEEL_PX


def replace_warp(image: Image, warp: Warp) -> Image:
    extra = {**image.acquisition.extra, "specimen_from_scan": warp.to_dict()}
    return replace(image, acquisition=replace(image.acquisition, extra=extra))


def test_windows_lie_apart_while_there_is_room_and_always_inside(steel: Section) -> None:
    places = np.array([hr.acquisition.extra["place_nm"] for _, hr in small_pairs(steel.image, 36, seed=5)])
    apart = np.abs(places[:, None] - places).max(-1) + 1e9 * np.eye(36)
    assert apart.min() >= 128 * STEEL_PX
    assert np.ptp(places, axis=0).min() > 0.6 * 900 * STEEL_PX
    more = np.array([hr.acquisition.extra["place_nm"] for _, hr in small_pairs(steel.image, 60, seed=5)])
    assert len(more) == 60
    assert more.min() > 60 * STEEL_PX and more.max() < (900 - 60) * STEEL_PX


@pytest.mark.parametrize(("ratio", "lr_px"), [(2.0, 48), (2.67, 40), (8.0, 16)])
def test_any_ratio_and_window(steel: Section, ratio: float, lr_px: int) -> None:
    ((lr, hr),) = small_pairs(steel.image, 1, recording=QUIET, ratio=ratio, lr_px=lr_px, seed=6)
    assert lr.grid.shape == (lr_px, lr_px) and hr.grid.shape == (round(lr_px * ratio),) * 2
    assert lr.grid.sr_factor(hr.grid) == pytest.approx((ratio, ratio))
    again = resample(lr, onto=hr.grid, antialias=False, outside=None)
    assert np.corrcoef(numbers(again).ravel(), numbers(hr).ravel())[0, 1] > 0.6


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(steel: Section) -> None:
    one, again, other = (small_pairs(steel.image, 2, seed=s)[1] for s in (7, 7, 8))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[1].data, other[1].data)


def test_figures_are_near_the_published_ones(steel: Section) -> None:
    hard = case_hardening((900, 900), seed=3)
    for specimen, name, decibel, similarity in (
        (steel, "dual-phase", 25.57, 0.622),
        (hard, "case-hardening", 18.4, 0.476),
    ):
        r = replace(RECORDINGS[name], drift_lr_px=0.0)  # the published figures are of re-aligned pairs
        scores = []
        for lr, hr in small_pairs(specimen.image, 25, recording=r, seed=9):
            up = np.clip(numbers(resample(lr, onto=hr.grid, antialias=False, outside=None)), 0, 255)
            fine = numbers(hr)
            scores.append(
                (peak_signal_noise_ratio(fine, up, data_range=255), structural_similarity(fine, up, data_range=255))
            )
        mean = np.mean(scores, axis=0)
        assert mean[0] == pytest.approx(decibel, abs=1.8)
        assert mean[1] == pytest.approx(similarity, abs=0.15)


def test_each_material_has_its_own_brightness(steel: Section) -> None:
    means = {}
    for name, specimen in (("dual-phase", steel), ("case-hardening", case_hardening((900, 900), seed=3)),
                           ("sandstone", sandstone((900, 900), seed=3))):  # fmt: skip
        pairs = small_pairs(specimen.image, 25, recording=RECORDINGS[name], seed=1)
        means[name] = float(np.mean([numbers(hr).mean() for _, hr in pairs]))
        assert max(hr.acquisition.extra["saturated_share"] for _, hr in pairs) < 0.06
    assert means["case-hardening"] == pytest.approx(133, abs=8)  # as published
    assert 80 < means["dual-phase"] < 110 and 95 < means["sandstone"] < 125


# ---------------------------------------------------------------------- large pairs
def test_a_large_pair_has_the_stated_forms(large: tuple[Section, LargePair]) -> None:
    _, pair = large
    assert pair.lr.grid.shape == (160, 120) and pair.hr.grid.shape == (640, 480)
    assert pair.truth.grid.same_as(pair.lr.grid.refine(4))
    assert pair.truth.dtype == np.float32


def test_drift_accumulates_to_the_stated_length(large: tuple[Section, LargePair]) -> None:
    _, pair = large
    n, px = pair.hr.grid.shape[0], pair.lr.grid.pixel_size_nm[0]
    rows = pair.hr.grid.to_nm(np.stack([np.arange(n), np.full(n, 240)], -1))
    moved = (pair.lr_from_hr(rows) - rows) / px
    assert np.linalg.norm(moved[-1] - moved[0]) == pytest.approx(4.0, abs=2.0)  # wandering on top
    assert np.linalg.norm(moved, axis=1).max() <= 1.3 * 4.0


def test_the_fine_scan_shows_each_place_where_the_warp_says(large: tuple[Section, LargePair]) -> None:
    specimen, pair = large
    seen = numbers(resample(pair.truth, onto=pair.hr.grid, through=pair.lr_from_hr, antialias=False))
    good = np.isfinite(seen)
    assert good.mean() > 0.9
    right = np.abs(seen - numbers(pair.hr))[good]
    wrong = np.abs(numbers(pair.truth) - numbers(pair.hr))[good]
    assert np.median(right) < 0.02 * np.median(wrong)
    assert np.allclose(numbers(noise_free(specimen.image, pair.hr, QUIET)), numbers(pair.hr), atol=0.02)


def test_an_independent_program_finds_the_drift(large: tuple[Section, LargePair]) -> None:
    _, pair = large
    fine, true = numbers(pair.hr), numbers(pair.truth)
    for first in (40, 280, 500):
        box = np.s_[first : first + 96, 100:380]
        middle = pair.hr.grid.to_nm([first + 47.5, 240.0])
        moved = pair.lr_from_hr(middle) - middle
        assert shift_nm(true[box], fine[box]) == pytest.approx(moved, abs=1.0 * STEEL_PX)


def test_the_coarse_scan_lies_in_the_frame_of_the_truth(large: tuple[Section, LargePair]) -> None:
    _, pair = large
    index = pair.truth.grid.to_index(pair.lr.grid.to_nm(np.stack(np.indices((160, 120)), -1)))
    assert np.allclose(index[3, 5], [4 * 3 + 1.5, 4 * 5 + 1.5])
    seen = numbers(resample(pair.truth, onto=pair.lr.grid, antialias=False))
    assert np.median(np.abs(seen - numbers(pair.lr))) < 5e-3


def test_a_scan_of_many_bands_equals_one_of_one_band(
    large: tuple[Section, LargePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    specimen, pair = large
    whole = numbers(noise_free(specimen.image, pair.hr, QUIET))
    monkeypatch.setattr(scanner, "_PIXELS", 480 * 37)
    assert np.allclose(numbers(noise_free(specimen.image, pair.hr, QUIET)), whole, atol=5e-5)


def test_recipes_of_these_specimens_have_their_own_pixel_and_dwell_time() -> None:
    job = simulate("dual-phase", size=80, fine=96, seed=1)
    assert job.lr.grid.pixel_size_nm[0] == pytest.approx(97.66, abs=0.01)
    assert job.hr[0].acquisition.dwell_time_us == 100.0
    assert simulate("sandstone", size=80, fine=96, seed=1).lr.grid.pixel_size_nm[0] == 2000.0
    assert simulate("sandstone", size=80, fine=96, pixel_size_nm=3000.0).lr.grid.pixel_size_nm[0] == 3000.0


# ---------------------------------------------------------------------- refusals
def test_what_cannot_be_recorded_is_refused(steel: Section) -> None:
    with pytest.raises(InputError, match=r"window of YX 1200 x 1200 px .* must fit, with its drift, into a specimen"):
        small_pairs(steel.image, 2, lr_px=300)
    with pytest.raises(InputError, match="but 0 were asked for"):
        small_pairs(steel.image, 0)
    with pytest.raises(InputError, match=r"needs a specimen of at least \(1074, 1074\) px, but \(900, 900\) came"):
        large_pair(steel.image, lr_px=256)
    with pytest.raises(InputError, match="dwell_us > 0, counts_per_us > 0"):
        Recording(dwell_us=0.0)
    with pytest.raises(InputError, match="has dtype uint8, uint16, float32"):
        small_pairs(steel.image, 1, recording=Recording(dtype="int64"))
    with pytest.raises(InputError, match="dual-phase steel does not say where it lay in the specimen"):
        noise_free(steel.image, steel.image, QUIET)
