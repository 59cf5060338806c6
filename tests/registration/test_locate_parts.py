"""Parts of the location: priors from headers, landmarks, checks, pose grid, features, verdict."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.registration.locate import locate, locate_from_landmarks
from finescan.registration.modes import MODES, orientation_features, whitened_features
from finescan.registration.polish import polish, template_of
from finescan.registration.prepare import flatten, reduce
from finescan.registration.prior import Prior, prior_from_headers
from finescan.registration.search import OVERSAMPLED, Peak, Tile, pose_grid, rotation, search
from finescan.registration.verdict import CLEAR_AT, DOUBTFUL_AT, FOUND_AT, decide, stand_out
from finescan.values import Acquisition, Grid, Image, StagePose, Verdict, Warp


def image(shape: tuple[int, int], pixel_nm: float, seed: int = 0, **facts: object) -> Image:
    """Noise with facts."""
    data = np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)
    return Image(data, Grid.of(shape, pixel_nm), "noise", Acquisition(**facts))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ priors
def test_without_facts_the_prior_is_the_whole_map() -> None:
    assert prior_from_headers(image((64, 64), 10.0), image((64, 64), 2.0)) == Prior()


def test_stage_x_is_to_the_right_and_stage_y_upwards() -> None:
    lr = image((1000, 1000), 100.0, stage=StagePose(x_nm=0.0, y_nm=0.0))
    hr = image((500, 500), 25.0, stage=StagePose(x_nm=10_000.0, y_nm=20_000.0))
    prior = prior_from_headers(lr, hr)
    middle = 99_900 / 2
    assert prior.centre_nm == pytest.approx((middle - 20_000, middle + 10_000))


def test_ion_images_are_foreshortened_by_the_angle_between_the_columns_less_the_tilt() -> None:
    facts = {"vendor": "Thermo Fisher", "extra": {"beam": "ion"}}
    lr = image((64, 64), 10.0, stage=StagePose(tilt_deg=32.0), **facts)
    hr = image((64, 64), 2.0, stage=StagePose(tilt_deg=52.0), **facts)
    stretch = prior_from_headers(lr, hr).ratio_centre
    assert stretch == pytest.approx((np.cos(np.radians(20.0)), 1.0))


def test_electron_images_are_foreshortened_by_the_tilt() -> None:
    lr = image((64, 64), 10.0, stage=StagePose(tilt_deg=0.0))
    hr = image((64, 64), 2.0, stage=StagePose(tilt_deg=20.0))
    assert prior_from_headers(lr, hr).ratio_centre == pytest.approx((1 / np.cos(np.radians(20.0)), 1.0))


def test_a_stage_position_outside_the_map_is_not_used() -> None:
    lr = image((64, 64), 10.0, stage=StagePose(x_nm=0.0, y_nm=0.0))
    hr = image((64, 64), 2.0, stage=StagePose(x_nm=5000.0, y_nm=0.0))
    assert prior_from_headers(lr, hr).centre_nm is None


def test_scan_rotations_are_subtracted() -> None:
    lr = image((64, 64), 10.0, extra={"scan_rotation_deg": 350.0})
    hr = image((64, 64), 2.0, extra={"scan_rotation_deg": 10.0})
    assert prior_from_headers(lr, hr).rotation_centre_deg == pytest.approx(20.0)


def test_a_prior_needs_centre_and_radius_together() -> None:
    with pytest.raises(InputError, match="both centre_nm and radius_nm"):
        Prior(centre_nm=(0.0, 0.0))
    with pytest.raises(InputError, match=r"0 to 0\.5 for the pixel-size ratio"):
        Prior(ratio_error=(0.6, 0.1))


# ------------------------------------------------------------------------------------------------ landmarks
def landmark_job(points: list[tuple[float, float]]) -> tuple[Image, Image, Warp, list]:
    lr, hr = image((200, 200), 40.0), image((400, 400), 10.0)
    true = Warp.affine([[0.9, 0.03], [-0.02, 1.05]], [1200.0, 900.0])
    marks = [(p, tuple(lr.grid.to_index(true(hr.grid.to_nm(p))))) for p in points]
    return lr, hr, true, marks


def test_three_landmarks_give_the_affine_map_exactly() -> None:
    lr, hr, true, marks = landmark_job([(10, 10), (380, 30), (200, 370)])
    found = locate_from_landmarks(lr, hr, marks)
    assert found.lr_from_hr.matrix == pytest.approx(true.matrix)
    assert found.lr_from_hr.offset_nm == pytest.approx(true.offset_nm)
    assert found.verdict is Verdict.FOUND and np.isnan(found.decoy_ratio)


def test_the_misfit_of_landmarks_is_stated() -> None:
    lr, hr, _, marks = landmark_job([(10, 10), (380, 30), (200, 370), (300, 200)])
    marks[3] = (marks[3][0], (marks[3][1][0] + 4.0, marks[3][1][1]))
    reason = locate_from_landmarks(lr, hr, marks).reasons[0]
    worst = float(reason.split("fit to ")[1].split(" ")[0])
    assert 0.5 < worst < 4.0


def test_two_landmarks_give_a_similarity() -> None:
    lr, hr = image((200, 200), 40.0), image((400, 400), 10.0)
    true = Warp.affine(1.1 * rotation(3.0), [1000.0, 500.0])
    marks = [(p, tuple(lr.grid.to_index(true(hr.grid.to_nm(p))))) for p in ((10, 20), (300, 350))]
    found = locate_from_landmarks(lr, hr, marks).lr_from_hr
    assert found.matrix == pytest.approx(true.matrix) and found.rotation_deg() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        ([((0, 0), (0, 0))], "At least two landmarks"),
        ([((0, 0), (0, 0)), ((0, 0), (0, 0))], "different points"),
        ([((0, 0), (0, 0)), ((9, 9), (9, 9)), ((20, 20), (20, 20))], "on one line"),
        ([((0, 0), (0, 0)), ((900, 9), (9, 9))], "outside"),
    ],
)
def test_unusable_landmarks_are_refused(marks: list, text: str) -> None:
    with pytest.raises(InputError, match=text):
        locate_from_landmarks(image((100, 100), 40.0), image((200, 200), 10.0), marks)


# ------------------------------------------------------------------------------------------------ refusals
def test_swapped_scans_are_named() -> None:
    with pytest.raises(InputError, match="Give the coarse map first"):
        locate(image((200, 200), 10.0), image((100, 100), 40.0))


def test_a_constant_image_is_named() -> None:
    flat = Image(np.ones((200, 200), np.uint8), Grid.of((200, 200), 10.0), "flat")
    with pytest.raises(InputError, match="flat is constant"):
        locate(image((200, 200), 40.0), flat)


def test_a_fine_scan_of_a_few_coarse_pixels_is_named() -> None:
    with pytest.raises(InputError, match="at least 16 are needed"):
        locate(image((200, 200), 40.0), image((40, 40), 4.0))


def test_a_fine_scan_that_covers_more_than_the_map_is_named() -> None:
    with pytest.raises(InputError, match="covers more than"):
        locate(image((100, 100), 10.0), image((400, 400), 5.0))


# ------------------------------------------------------------------------------------------------ parts
def test_the_pose_grid_covers_its_range_without_gaps() -> None:
    poses = pose_grid((32.0, 32.0), (0.15, 0.15), 5.0, 2.0)
    factors = np.unique(np.round([np.linalg.norm(m[:, 0]) for m in poses], 6))
    assert np.max(np.diff(factors)) * 32 <= 2.0 + 1e-6
    assert factors[0] - np.diff(factors)[0] / 2 <= 0.85 + 1e-6 and factors[-1] + np.diff(factors)[0] / 2 >= 1.15 - 1e-6


def test_the_search_finds_a_tile_that_reaches_past_the_border() -> None:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.normal(size=(80, 80)), np.ones((4, 4))).astype(np.float32)
    tile = Tile(np.kron(scene[None, 100:164, 100:164], np.ones((1, 2, 2), np.float32)), np.ones((128, 128), np.float32))
    field = scene[None, 120:300, 90:300]  # 20 rows of the tile are outside
    best = search([field], tile, [np.eye(2)])[0][0]
    assert best.centre == pytest.approx([100 + 31.5 - 120, 100 + 31.5 - 90], abs=1.0)
    assert best.score == pytest.approx((44 / 64) ** 0.5, abs=0.12)


def test_inverted_contrast_gives_a_negative_score() -> None:
    scene = np.kron(np.random.default_rng(0).normal(size=(40, 40)), np.ones((4, 4))).astype(np.float32)
    tile = Tile(-np.kron(scene[None, 40:104, 40:104], np.ones((1, 2, 2), np.float32)), np.ones((128, 128), np.float32))
    best = search([scene[None]], tile, [np.eye(2)])[0][0]
    assert best.score < -0.8


def test_polishing_reaches_the_known_affine_map() -> None:
    from scipy import ndimage

    scene = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(200, 200)), 2.0).astype(np.float32)
    true, centre = np.array([[1.05, 0.02], [-0.03, 0.96]]), np.array([101.3, 97.8])
    fine = np.linalg.inv(np.eye(2) * OVERSAMPLED)
    pixels = ndimage.affine_transform(
        scene, true @ fine, offset=centre - true @ fine @ np.full(2, 63.5), output_shape=(128, 128), order=3
    )
    template = template_of(Tile(pixels[None], np.ones((128, 128), np.float32)))
    start = Peak(np.eye(2), centre + np.array([1.5, -1.0]), 0.0)
    best = polish(start, scene[None], template, signed=True, iterations=30)
    assert best.matrix == pytest.approx(true, abs=0.004)
    assert best.centre == pytest.approx(centre, abs=0.08)
    assert best.score > 0.98


def test_orientation_is_the_same_for_inverted_contrast() -> None:
    flat = np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32)
    ok = np.ones_like(flat)
    assert np.allclose(orientation_features(flat, ok, 1.0), orientation_features(-flat, ok, 1.0))


def test_whitening_takes_a_lattice_out_and_keeps_its_flaw() -> None:
    y, x = np.mgrid[:128, :128]
    flat = (np.cos(2 * np.pi * x / 8) + np.cos(2 * np.pi * y / 8)).astype(np.float32)
    flat[60:64, 60:64] -= 3.0
    seen = np.abs(whitened_features(flat, np.ones_like(flat), 1.0)[0])
    away = np.ones_like(seen, bool)
    away[50:74, 50:74] = False
    away[:12], away[-12:], away[:, :12], away[:, -12:] = False, False, False, False
    assert seen[56:68, 56:68].max() > 3 * seen[away].max()


def test_flattening_removes_shading_and_ignores_what_is_masked() -> None:
    rng = np.random.default_rng(3)
    texture = rng.normal(0, 1, (120, 120)).astype(np.float32)
    ramp = np.linspace(0.7, 1.3, 120, dtype=np.float32)[:, None]
    ok = np.ones_like(texture)
    ok[:, 100:] = 0
    shaded = (texture + 8) * ramp
    shaded[:, 100:] = 1e6
    a, b = flatten(texture, ok, 10.0), flatten(shaded, ok, 10.0)
    assert np.corrcoef(a[:, :100].ravel(), b[:, :100].ravel())[0, 1] > 0.98
    assert not b[:, 100:].any()


def test_a_data_bar_and_nan_pixels_are_masked() -> None:
    data = np.random.default_rng(4).uniform(10, 200, (100, 100)).astype(np.float32)
    data[90:] = 0.0
    data[20:24, 40:44] = np.nan
    got = reduce(Image(data, Grid.of((100, 100), 10.0)), 20.0)
    assert got.ok is not None and not got.ok[45:].any() and not got.ok[10:12, 20:22].any()
    assert got.ok[:10].all() and np.isfinite(got.grey).all()


def test_block_means_are_exact_and_keep_their_place() -> None:
    data = np.arange(48, dtype=np.float32).reshape(6, 8) + np.random.default_rng(0).normal(size=(6, 8))
    got = reduce(Image(data, Grid.of((6, 8), 10.0, 5.0)), 20.0)
    assert got.grey == pytest.approx(data.reshape(3, 2, 4, 2).mean((1, 3)), rel=1e-5)
    assert got.grid.origin_nm == (10.0, 10.0) and got.grid.pixel_size_nm == (20.0, 20.0)


def test_a_small_score_on_the_finest_level_alone_proves_nothing() -> None:
    assert stand_out([0.40, 0.39, 0.38], [0.10, 0.02, 0.03]) < DOUBTFUL_AT
    assert stand_out([0.80, 0.39, 0.38], [0.70, 0.10, 0.12]) > CLEAR_AT


@pytest.mark.parametrize(
    ("ratio", "verdict", "text"),
    [(FOUND_AT, Verdict.FOUND, "was found"), (FOUND_AT - 0.01, Verdict.DOUBTFUL, "doubtful"),
     (DOUBTFUL_AT - 0.01, Verdict.NOT_FOUND, "pick landmarks by hand")],
)  # fmt: skip
def test_the_answer_has_three_ways_and_says_what_to_do(ratio: float, verdict: Verdict, text: str) -> None:
    got, reasons = decide(ratio, 1.0, False)
    assert got is verdict and text in reasons[0]


def test_there_are_three_modes() -> None:
    assert set(MODES) == {"ncc", "orientation", "whitened"}
