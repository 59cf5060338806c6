"""From map to stage: the header's conventions against a real pair that was moved by a known amount, and landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.rescan import StageTransform, stage_from_header, stage_from_landmarks
from finescan.values import Acquisition, Grid, Image, StagePose

GRID = Grid.of((1024, 1536), 195.3125)
#: stage poses in the headers of two overlapping pictures of a Thermo Fisher instrument (ion beam at 52 degrees), and
#: where the centre of the second lies in the first, from cross-correlation: 462 px down, 542 px to the left
FIRST = StagePose(-3061430.0, -2588460.0, 3906930.0, -128.997, 31.999)
SECOND = StagePose(-3167350.0, -2683620.0, 3910300.0, -128.997, 31.999)


def picture(pose: StagePose | None, grid: Grid = GRID, **facts) -> Image:
    extra = {k: facts.pop(k) for k in ("beam", "scan_rotation_deg") if k in facts}
    acquisition = Acquisition(stage=pose, extra=extra, **facts)
    return Image(np.zeros(grid.shape, np.uint8), grid, "map.tif", acquisition)


def test_a_real_picture_lies_where_the_header_of_another_one_puts_it():
    middle = np.array([511.5, 767.5])
    found = GRID.to_nm(middle + np.array([462, -542]))
    first = picture(FIRST, vendor="Thermo Fisher", beam="ion")
    stage = stage_from_header(first, [("second.tif", found, SECOND)])
    assert stage(GRID.to_nm(middle)) == pytest.approx([-3061.43, -2588.46])
    assert stage(found) == pytest.approx([-3167.35, -2683.62], abs=1.0)  # µm, of a move of 142 µm
    assert stage.sigma_nm == pytest.approx(577, abs=5)
    assert stage.handedness == "right"
    assert "second.tif lies 0.816 µm from where it puts it" in stage.source
    wrong = [(462, 542), (-462, -542), (-462, 542)]
    assert all(np.abs(stage(GRID.to_nm(middle + np.array(w))) - [-3167.35, -2683.62]).max() > 150 for w in wrong)


def test_a_header_that_nothing_confirms_says_so():
    stage = stage_from_header(picture(FIRST))
    assert stage.sigma_nm is None and "check the first field by eye" in str(stage) and "not known" in str(stage)
    assert (stage.z_um, stage.tilt_deg) == (pytest.approx(3906.93), 31.999)


def test_without_a_pose_there_is_no_transform():
    assert stage_from_header(picture(None)) is None
    assert stage_from_header(picture(StagePose(tilt_deg=10.0))) is None


def test_scan_rotation_turns_the_picture():
    """At 90 degrees the picture is turned by 90: stage x runs along the rows' direction, see registration.prior."""
    grid = Grid.of((101, 101), 100.0)
    pose = StagePose(0.0, 0.0)
    centre = grid.to_nm([50.0, 50.0])
    plain = stage_from_header(picture(pose, grid))
    turned = stage_from_header(picture(pose, grid, scan_rotation_deg=90.0))
    assert plain(centre + np.array([0, 1000])) == pytest.approx([1.0, 0.0])
    assert plain(centre + np.array([1000, 0])) == pytest.approx([0.0, -1.0])
    assert turned(centre + np.array([1000, 0])) == pytest.approx([1.0, 0.0])
    assert turned(centre + np.array([0, 1000])) == pytest.approx([0.0, 1.0])
    assert plain.handedness == turned.handedness == "right"


def test_it_is_the_inverse_of_what_the_registration_expects_of_headers():
    """prior_from_headers predicts where a fine scan lies; the transform must put the stage back there."""
    from finescan.registration.prior import prior_from_headers

    coarse = picture(StagePose(1e6, 2e6, None, 0.0, 30.0), scan_rotation_deg=25.0)
    fine = picture(StagePose(1.02e6, 2.03e6, None, 0.0, 30.0), Grid.of((64, 64), 40.0), scan_rotation_deg=25.0)
    prior = prior_from_headers(coarse, fine)
    assert stage_from_header(coarse)(prior.centre_nm) == pytest.approx([1020.0, 2030.0], abs=1e-6)


def test_a_data_bar_that_was_painted_over_the_picture_moves_the_centre():
    grid = Grid.of((90, 100), 100.0)
    pose = StagePose(0.0, 0.0)
    middle = grid.to_nm([44.5, 49.5])
    assert stage_from_header(picture(pose, grid, vendor="TESCAN", databar_rows=10))(middle) == pytest.approx([0, 0])
    assert stage_from_header(picture(pose, grid, vendor="Zeiss", databar_rows=10))(middle) == pytest.approx([0, 0.5])


def test_landmarks_give_back_a_known_transform():
    grid = Grid("YX", (300, 400), (50.0, 40.0), (7.0, -3.0))
    true = StageTransform(((0.0003, 0.00095, -3211.5), (-0.0009, 0.0003, 1234.25)), "known")
    pixels = [(10.0, 20.0), (250.0, 30.0), (40.0, 380.0), (200.0, 300.0), (150.0, 90.0)]
    marks = [(p, true(grid.to_nm(p)).tolist()) for p in pixels]
    found = stage_from_landmarks(grid, marks)
    assert np.asarray(found.matrix) == pytest.approx(np.asarray(true.matrix), abs=1e-9)
    assert found.sigma_nm == pytest.approx(0, abs=1e-3)
    assert stage_from_landmarks(grid, marks[:3]).sigma_nm is None  # three points always fit


def test_the_uncertainty_of_landmarks_is_how_badly_they_fit():
    """200 landmarks with 0.5 µm of noise per axis: the stated sigma is 500 nm within its own spread."""
    rng = np.random.default_rng(0)
    true = StageTransform(((0.0, 0.001, 5.0), (-0.001, 0.0, 6.0)), "known")
    pixels = rng.random((200, 2)) * GRID.shape
    marks = [(p, true(GRID.to_nm(p)) + rng.normal(0, 0.5, 2)) for p in pixels]
    assert stage_from_landmarks(GRID, marks).sigma_nm == pytest.approx(500, rel=0.1)


@pytest.mark.parametrize("turn", [0.0, 30.0, 200.0])
def test_two_landmarks_give_a_rotation_with_the_stage_axis_upwards(turn):
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    true = StageTransform(((s * 1.1e-3, c * 1.1e-3, 12.0), (-c * 1.1e-3, s * 1.1e-3, -7.0)), "known")
    marks = [(p, true(GRID.to_nm(p)).tolist()) for p in ((100.0, 200.0), (700.0, 900.0))]
    found = stage_from_landmarks(GRID, marks)
    assert np.asarray(found.matrix) == pytest.approx(np.asarray(true.matrix), abs=1e-8)
    assert found.handedness == "right"


def test_handedness_sees_a_mirror():
    assert StageTransform(((0.0, 0.001, 0.0), (0.001, 0.0, 0.0)), "").handedness == "left"  # stage y runs downwards
    assert StageTransform(((0.001, 0.0, 0.0), (0.0, 0.001, 0.0)), "").handedness == "right"


def test_landmarks_that_cannot_be_used():
    pair = "[[y, x] map px, [x, y] stage µm]".replace("[", r"\[").replace("]", r"\]")
    for bad in ([], [((1, 2), (3, 4))], [((1, 2), (3, 4)), ((1, 2, 3), (3, 4))], [1, 2], [((1, "a"), (3, 4))] * 2):
        with pytest.raises(InputError, match=pair):
            stage_from_landmarks(GRID, bad)
    with pytest.raises(InputError, match="must be different points"):
        stage_from_landmarks(GRID, [((1, 2), (3, 4)), ((1, 2), (5, 6))])
    line = [((k * 10.0, k * 20.0), (k * 1.0, k * 2.0)) for k in range(4)]
    with pytest.raises(InputError, match="lie on one line"):
        stage_from_landmarks(GRID, line)
    with pytest.raises(InputError, match="invertible 2 x 3 matrix"):
        StageTransform(((1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), "flat")
