"""The tomograph against closed forms, numeric integration, another program's numbers, and the analytic truth."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from finescan.errors import InputError
from finescan.simulation import (
    ConeBeam,
    Exposure,
    Spheres,
    expose,
    grow_foam,
    project,
    project_volume,
    reconstruct,
    voxelise,
)
from finescan.simulation.beams import blur
from finescan.simulation.tomography import WINDOWS, attenuation_for, ramp_filtered
from finescan.values import Circle, Grid, Image

CENTRE = (15.5, 15.5, 15.5)
GRID = Grid.of((32, 32, 32), 1.0)


def three_balls() -> Spheres:
    """Pores of different size at places that no mirror or quarter turn maps onto each other."""
    at = [[10.0, 8.0, 18.0], [21.0, 20.5, 12.0], [16.0, 17.0, 24.0]]
    return Spheres.of(at, [4.0, 5.0, 2.5], CENTRE, 14.0, 60.0)


def wide_beam(views: int = 48) -> ConeBeam:
    return ConeBeam.around(GRID, views=views, margin_px=6, source=4.0, detector=6.0)


def ray(geometry: ConeBeam, view: int, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and direction (z, y, x) of the ray to a pixel, written down from the geometry's description."""
    a = geometry.angles[view]
    towards, along = np.array([0, np.sin(a), np.cos(a)]), np.array([0, np.cos(a), -np.sin(a)])
    rows, columns = geometry.detector_shape
    v, u = (row - (rows - 1) / 2) * geometry.pixel_nm, (column - (columns - 1) / 2) * geometry.pixel_nm
    source = np.asarray(geometry.axis_nm) + geometry.source_object_nm * towards
    pixel = source - geometry.source_detector_nm * towards + u * along + v * np.array([1.0, 0, 0])
    return source, (pixel - source) / np.linalg.norm(pixel - source)


def chord(source: np.ndarray, way: np.ndarray, at: np.ndarray, r: float) -> float:
    foot = np.linalg.norm(np.cross(way, at - source))
    return 2 * np.sqrt(max(0.0, r * r - foot * foot))


def test_rays_through_a_ball_have_their_closed_form_length() -> None:
    geometry, foam = wide_beam(12), three_balls()
    solid = Spheres.of([], [], CENTRE, 14.0, 60.0)
    missing = project(solid, geometry) - project(foam, geometry)
    rng = np.random.default_rng(0)
    for view, row, column in zip(*(rng.integers(0, n, 400) for n in missing.shape), strict=True):
        s, w = ray(geometry, view, row, column)
        expected = sum(chord(s, w, c, r) for c, r in zip(foam.position_nm, foam.radius_nm, strict=True))
        assert missing[view, row, column] == pytest.approx(expected, abs=2e-5)


def test_rays_through_cut_pores_and_flat_ends_agree_with_numeric_integration() -> None:
    foam = Spheres.of([[4.0, 12.0, 18.0], [26.5, 19.0, 12.0]], [4.0, 6.0], CENTRE, 13.0, 25.0)
    geometry = ConeBeam(90.0, 140.0, (40, 36), 1.6, 7, (14.0, 15.0, 16.5))
    lengths = project(foam, geometry)
    rng = np.random.default_rng(1)
    step = 0.002
    t = np.arange(50.0, 130.0, step)
    for view, row, column in zip(*(rng.integers(0, n, 40) for n in lengths.shape), strict=True):
        s, w = ray(geometry, view, row, column)
        p = s + t[:, None] * w
        inside = (np.hypot(p[:, 1] - 15.5, p[:, 2] - 15.5) < 13.0) & (np.abs(p[:, 0] - 15.5) < 12.5)
        for c, r in zip(foam.position_nm, foam.radius_nm, strict=True):
            inside &= ((p - c) ** 2).sum(axis=1) > r * r
        assert lengths[view, row, column] == pytest.approx(inside.sum() * step, abs=5 * step)


def test_projections_through_voxels_agree_with_exact_chords() -> None:
    solid = Spheres.of([], [], CENTRE, 14.0, 60.0)
    foam = Spheres.of([[11.3, 19.1, 12.6]], [7.0], CENTRE, 14.0, 60.0)
    ball = Image(voxelise(solid, GRID).data - voxelise(foam, GRID).data, GRID)
    geometry = wide_beam(9)
    exact = project(solid, geometry) - project(foam, geometry)
    joseph = project_volume(ball, geometry)
    assert joseph.sum() == pytest.approx(exact.sum(), rel=5e-3)
    assert np.abs(joseph - exact).max() < 2.5 and np.sqrt(np.mean((joseph - exact) ** 2)) < 0.15
    rows, columns = (np.arange(n) for n in geometry.detector_shape)
    for a, b in zip(joseph, exact, strict=True):  # same place on the detector, to a few hundredths of a pixel
        assert (a.sum(1) @ rows) / a.sum() == pytest.approx((b.sum(1) @ rows) / b.sum(), abs=0.06)
        assert (a.sum(0) @ columns) / a.sum() == pytest.approx((b.sum(0) @ columns) / b.sum(), abs=0.06)


def test_the_reconstruction_is_the_phantom_and_not_its_mirror_image() -> None:
    foam, geometry = three_balls(), wide_beam(96)
    truth = voxelise(foam, GRID).data
    volume = reconstruct(project(foam, geometry), geometry, GRID).data
    mask = Circle.inscribed(GRID).mask(GRID)

    def rms(other: np.ndarray) -> float:
        return float(np.sqrt(np.mean((volume - other)[:, mask] ** 2)))

    assert rms(truth) < 0.09
    mirrored = [truth[::-1], truth[:, ::-1], truth[:, :, ::-1], truth.swapaxes(1, 2), truth[:, ::-1, ::-1]]
    assert min(rms(m) for m in mirrored) > 0.2


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.5, -0.25, 0.3)])
def test_the_axis_is_where_the_geometry_says(shift: tuple[float, float, float]) -> None:
    """The centre of mass of each pore comes back, also when the axis does not hit the middle of the volume."""
    foam = three_balls()
    axis = tuple(c + s for c, s in zip(CENTRE, shift, strict=True))
    geometry = ConeBeam(128.0, 192.0, (56, 52), 1.5, 96, axis)
    solid = Spheres.of([], [], CENTRE, 14.0, 60.0)
    balls = reconstruct(project(solid, geometry) - project(foam, geometry), geometry, GRID, outside=0.0).data
    where = np.stack(np.meshgrid(*(np.arange(32),) * 3, indexing="ij"), -1)
    for c, r in zip(foam.position_nm, foam.radius_nm, strict=True):
        near = np.linalg.norm(where - c, axis=-1) < r + 1.5
        found = (where[near] * balls[near][:, None]).sum(0) / balls[near].sum()
        assert np.abs(found - c).max() < 0.06
        assert balls[near].sum() == pytest.approx(4 / 3 * np.pi * r**3, rel=0.05)


def test_solid_is_one_and_air_is_zero_up_to_the_end_faces() -> None:
    grid = Grid.of((64, 64, 64), 1000.0)
    foam = grow_foam(grid, seed=2, overhang_nm=8000.0)
    geometry = ConeBeam.around(grid, views=128)
    truth = voxelise(foam, grid).data
    volume = reconstruct(project(foam, geometry), geometry, grid, circle=Circle.inscribed(grid)).data
    for slices, error in ((slice(0, 4), 0.015), (slice(26, 38), 0.005), (slice(60, 64), 0.015)):
        solid = (ndimage.minimum_filter(truth, 5) > 0.999)[slices]
        pore = (ndimage.maximum_filter(truth, 5) < 0.001)[slices] & Circle.inscribed(grid).mask(grid)
        assert volume[slices][solid].mean() == pytest.approx(1.0, abs=error)
        assert volume[slices][pore].mean() == pytest.approx(0.0, abs=error)


# RTK 2.7.0 (FDKConeBeamReconstructionFilter, no truncation correction, no window) on the projections of
# three_balls() in wide_beam(48): grey level at (z, y, x).
RTK = {
    (10, 8, 18): 0.01301,
    (21, 20, 12): -0.00257,
    (16, 17, 24): -0.00110,
    (16, 17, 21): 0.90669,
    (10, 12, 18): 0.52584,
    (21, 25, 12): 0.18165,
    (5, 20, 7): 0.98910,
    (16, 16, 16): 0.99094,
    (2, 9, 9): 0.99879,
    (29, 22, 13): 0.99860,
    (13, 4, 18): 0.97246,
    (24, 12, 24): 0.99768,
}


def test_fdk_gives_the_numbers_of_the_reconstruction_toolkit() -> None:
    geometry = wide_beam(48)
    volume = reconstruct(project(three_balls(), geometry), geometry, GRID).data
    assert all(volume[at] == pytest.approx(value, abs=2e-5) for at, value in RTK.items())


def test_fdk_equals_the_installed_reconstruction_toolkit() -> None:
    itk = pytest.importorskip("itk")
    rtk = getattr(itk, "RTK", None)
    if rtk is None:
        pytest.skip("itk is installed without its reconstruction toolkit (itk-rtk)")
    geometry = wide_beam(48)
    lengths = project(three_balls(), geometry)
    other = rtk_fdk(itk, rtk, lengths, geometry, GRID)
    own = reconstruct(lengths, geometry, GRID, circle=Circle.inscribed(GRID)).data
    inside = np.isfinite(own)
    assert np.abs(own - other)[inside].max() < 5e-5


def rtk_fdk(itk, rtk, lengths: np.ndarray, geometry: ConeBeam, grid: Grid) -> np.ndarray:
    turns = rtk.ThreeDCircularProjectionGeometry.New()
    for a in np.degrees(geometry.angles):
        turns.AddProjection(geometry.source_object_nm, geometry.source_detector_nm, float(a))
    images = itk.image_from_array(np.ascontiguousarray(lengths))
    images.SetSpacing([geometry.pixel_nm, geometry.pixel_nm, 1.0])
    rows, columns = lengths.shape[1:]
    images.SetOrigin([-(columns - 1) / 2 * geometry.pixel_nm, -(rows - 1) / 2 * geometry.pixel_nm, 0.0])
    empty = rtk.ConstantImageSource[itk.Image[itk.F, 3]].New()
    (nz, ny, nx), voxel = grid.shape, grid.pixel_size_nm[0]
    empty.SetSize([ny, nz, nx])  # its y axis is the axis of rotation
    empty.SetSpacing([voxel] * 3)
    empty.SetOrigin([-(ny - 1) / 2 * voxel, -(nz - 1) / 2 * voxel, -(nx - 1) / 2 * voxel])
    fdk = rtk.FDKConeBeamReconstructionFilter[itk.Image[itk.F, 3]].New()
    fdk.SetInput(0, empty.GetOutput())
    fdk.SetInput(1, images)
    fdk.SetGeometry(turns)
    fdk.Update()
    return itk.array_from_image(fdk.GetOutput()).transpose(1, 2, 0)


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_keeps_the_mean_and_only_the_ramp_keeps_all_noise(window: str) -> None:
    geometry = wide_beam(48)
    lengths = project(Spheres.of([], [], CENTRE, 14.0, 80.0), geometry)
    flat = reconstruct(lengths, geometry, GRID, window=window).data
    mask = Circle(CENTRE[1:], 10.0).mask(GRID)
    assert flat[:, mask].mean() == pytest.approx(1.0, abs=0.01)
    noise = np.random.default_rng(0).standard_normal(lengths.shape).astype(np.float32)
    spread = ramp_filtered(noise, geometry, window=window).std() / ramp_filtered(noise, geometry).std()
    assert spread == 1.0 if window == "ramp" else 0.2 < spread < 0.95


def test_a_slab_or_a_region_has_the_values_of_the_whole() -> None:
    geometry = wide_beam(24)
    lengths = project(three_balls(), geometry)
    whole = reconstruct(lengths, geometry, GRID).data
    part = reconstruct(lengths, geometry, GRID.crop((9, 4, 11), (15, 27, 30))).data
    assert np.nanmax(np.abs(part - whole[9:15, 4:27, 11:30])) < 2e-6
    assert np.array_equal(np.isnan(part), np.isnan(whole[9:15, 4:27, 11:30]))


def test_voxels_of_another_size_lie_where_their_grid_says() -> None:
    geometry, foam = wide_beam(24), three_balls()
    lengths = project(foam, geometry)
    whole = reconstruct(lengths, geometry, GRID).data
    every_second = Grid.of((16, 16, 11), (2.0, 2.0, 3.0), (0.0, 1.0, 1.0))
    part = reconstruct(lengths, geometry, every_second, circle=Circle(CENTRE[1:], 16.0)).data
    inside = np.isfinite(part)
    assert np.abs(part - whole[::2, 1::2, 1::3])[inside].max() < 2e-6 and inside.sum() > 1500
    thick = Grid.of((22, 32, 32), (1.5, 1.0, 1.0))
    solid = Spheres.of([], [], CENTRE, 14.0, 60.0)
    balls = Image(voxelise(solid, thick).data - voxelise(foam, thick).data, thick)
    exact = project(solid, geometry) - lengths
    assert project_volume(balls, geometry).sum() == pytest.approx(exact.sum(), rel=0.01)


def test_views_may_come_piece_by_piece() -> None:
    geometry, foam = wide_beam(70), three_balls()
    asked = []

    def lengths(views: range) -> np.ndarray:
        asked.append(len(views))
        return project(foam, geometry, views)

    piecewise = reconstruct(lengths, geometry, GRID).data
    assert asked == [32, 32, 6]
    assert np.array_equal(piecewise, reconstruct(project(foam, geometry), geometry, GRID).data, equal_nan=True)


def test_outside_the_circle_is_nan_or_the_stated_level() -> None:
    geometry = wide_beam(8)
    lengths = project(three_balls(), geometry)
    circle = Circle(CENTRE[1:], 9.0)
    volume = reconstruct(lengths, geometry, GRID, circle=circle, outside=-5.0).data
    assert (volume[:, ~circle.mask(GRID)] == -5.0).all() and (volume[:, circle.mask(GRID)] > -5.0).all()


def test_what_the_detector_cannot_see_is_refused() -> None:
    geometry = ConeBeam(128.0, 192.0, (30, 46), 1.5, 8, CENTRE)
    lengths = project(three_balls(), geometry)
    with pytest.raises(InputError, match="taller detector or fewer slices"):
        reconstruct(lengths, geometry, GRID, circle=Circle(CENTRE[1:], 14.0))
    with pytest.raises(InputError, match=r"sees a circle of radius 22\.16.. nm in every view, but one of 23 nm"):
        reconstruct(lengths, geometry, GRID.crop((8, 0, 0), (24, 32, 32)), circle=Circle(CENTRE[1:], 23.0))
    with pytest.raises(InputError, match="one of ramp, shepp-logan, cosine, hann, but 'boxcar' came"):
        reconstruct(lengths, geometry, GRID.crop((14, 0, 0), (18, 32, 32)), window="boxcar")
    with pytest.raises(InputError, match="does not see the sample"):
        attenuation_for(three_balls(), ConeBeam(128.0, 192.0, (30, 46), 1.5, 8, (900.0, 900.0, 900.0)))
    with pytest.raises(InputError, match="without NaN"):
        project_volume(Image(np.full((4, 4, 4), np.nan), Grid.of((4, 4, 4), 1.0)), geometry)


def test_the_blur_has_the_stated_width() -> None:
    spot = np.zeros((1, 81, 81), np.float32)
    spot[0, 40, 40] = 1.0
    for sigma in (1.0, 3.0, 7.5):
        seen = blur(spot, sigma)[0]
        r = np.arange(81) - 40.0
        assert seen.sum() == pytest.approx(1.0, abs=1e-5)
        for axis in (0, 1):
            assert np.sqrt((seen.sum(axis) * r**2).sum()) == pytest.approx(sigma, rel=2e-3)


def test_counts_have_the_noise_that_poisson_predicts() -> None:
    lengths = np.full((4, 100, 100), 30.0, np.float32)
    exposure = Exposure(0.0, 20_000.0, 0.05, seed=3)
    seen = expose(lengths, exposure)
    counts = 20_000.0 * np.exp(-0.05 * 30.0)
    assert seen.mean() == pytest.approx(30.0, abs=0.01)
    assert seen.std() == pytest.approx(1 / (0.05 * np.sqrt(counts)), rel=0.02)
    assert np.array_equal(expose(lengths[2:], exposure, range(2, 4)), seen[2:])  # noise belongs to the view
    assert not np.array_equal(seen[0], seen[1])
    assert np.allclose(expose(lengths, Exposure(2.0, float("inf"), 0.05)), 30.0, atol=1e-4)


def test_a_pixel_without_counts_stays_finite() -> None:
    seen = expose(np.full((1, 20, 20), 1000.0, np.float32), Exposure(0.0, 100.0, 0.05))
    assert np.isfinite(seen).all() and seen.max() == pytest.approx(np.log(200.0) / 0.05, rel=1e-5)


def test_geometry_survives_its_written_form_and_refuses_nonsense() -> None:
    geometry = wide_beam()
    assert ConeBeam.from_dict(geometry.to_dict()) == geometry
    assert geometry.pitch_nm == pytest.approx(1.0) and geometry.circle.radius_nm > 16.0
    with pytest.raises(InputError, match="source_object_nm <= source_detector_nm"):
        ConeBeam(10.0, 5.0, (4, 4), 1.0, 3, CENTRE)
    with pytest.raises(InputError, match="at least 1 view"):
        ConeBeam(10.0, 20.0, (4, 4), 1.0, 0, CENTRE)
    with pytest.raises(InputError, match="photons > 0"):
        Exposure(1.0, 0.0, 0.1)
    with pytest.raises(InputError, match="outside the field"):
        ConeBeam.around(GRID, source=0.4)


SCRIPT = """
import hashlib, numpy as np
from finescan.simulation import plan_foam, record_foam, true_foam
foam = plan_foam(32, seed=4)
print(hashlib.sha256(record_foam(foam, 2.0).data.tobytes() + true_foam(foam).data.tobytes()).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    seen = set()
    for threads in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT], env={**os.environ, "NUMBA_NUM_THREADS": threads}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        seen.add(run.stdout.strip())
    assert len(seen) == 1 and len(seen.pop()) == 64
