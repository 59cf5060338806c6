"""Volume, place and surface of objects whose answer is known, and of labels that scikit-image and ITK also measure."""

import numpy as np
import pytest
import SimpleITK
from skimage.measure import regionprops

from finescan.quantification.pores import sphericity
from finescan.quantification.shape import directions, measure


def ellipsoid(axes, centre=(0.0, 0.0, 0.0), spacing=(1.0, 1.0, 1.0), turn=None):
    """Voxels whose centre lies inside; ``axes`` in units of ``spacing``, ``centre`` in voxels off the middle."""
    reach = [int(np.ceil(max(axes) / s)) + 2 for s in spacing]
    at = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
    at = (at - np.asarray(centre)) * spacing
    if turn is not None:
        at = at @ turn
    return (((at / np.asarray(axes)) ** 2).sum(-1) <= 1).astype(np.int32)


def turned(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


@pytest.mark.parametrize(
    ("radius", "low", "high"),
    [(3, 0.99, 1.035), (4, 0.99, 1.02), (7, 0.995, 1.01), (20, 0.998, 1.002), (50, 0.998, 1.001)],
)
def test_a_digitised_sphere_has_sphericity_one_wherever_its_centre_lies(radius, low, high):
    rng = np.random.default_rng(radius)
    values = []
    for _ in range(2 if radius == 50 else 8):
        s = measure(ellipsoid((radius,) * 3, rng.random(3)), 1, (1, 1, 1))
        values.append(float(sphericity(s.voxels, s.surface)[0]))
    assert low <= min(values) and max(values) <= high
    assert 0.995 <= np.mean(values) <= 1.025


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (1.0, 1.0, 3.0), (0.5, 1.3, 0.9)])
def test_a_sphere_of_voxels_that_are_no_cubes_has_sphericity_one(spacing):
    rng = np.random.default_rng(0)
    for _ in range(3):
        s = measure(ellipsoid((14, 14, 14), rng.random(3), spacing), 1, spacing)
        assert s.surface[0] == pytest.approx(4 * np.pi * 14**2, rel=0.02)
        assert s.voxels[0] * np.prod(spacing) == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.02)


def test_a_turned_ellipsoid_has_its_known_area():
    a, b, c, p = 24.0, 12.0, 8.0, 1.6075  # Thomsen's formula, within 1.1 %
    known = 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)
    rng = np.random.default_rng(3)
    areas = [measure(ellipsoid((a, b, c), rng.random(3), turn=turned(rng)), 1, (1, 1, 1)).surface[0] for _ in range(6)]
    assert np.mean(areas) == pytest.approx(known, rel=0.015)


def test_turned_cubes_have_their_known_area_on_average():
    rng = np.random.default_rng(5)
    at = np.stack(np.meshgrid(*(np.arange(-38, 39),) * 3, indexing="ij"), -1)
    areas = []
    for _ in range(6):
        inside = (np.abs((at - rng.random(3)) @ turned(rng)) <= 20).all(-1)
        areas.append(measure(inside.astype(np.int32), 1, (1, 1, 1)).surface[0])
    assert np.mean(areas) == pytest.approx(6 * 40**2, rel=0.02)


def test_a_disc_has_its_known_perimeter():
    rng = np.random.default_rng(0)
    for radius in (5, 12, 40):
        disc = ellipsoid((radius,) * 3, (0, *rng.random(2)))
        middle = disc[disc.shape[0] // 2][None]
        assert measure(middle, 1, (1, 1, 1)).surface[0] == pytest.approx(2 * np.pi * radius, rel=0.03)


def random_labels():
    """Seven lumps in two touching groups, one of them at the face."""
    rng = np.random.default_rng(2)
    seeds = rng.random((7, 3)) * (30, 40, 50)
    at = np.stack(np.meshgrid(*(np.arange(n) for n in (30, 40, 50)), indexing="ij"), -1)
    d = np.linalg.norm(at[..., None, :] - seeds, axis=-1)
    return np.where(d.min(-1) < 9, d.argmin(-1) + 1, 0).astype(np.int32)


def test_volume_centroid_and_box_are_scikit_images():
    labels = random_labels()
    s = measure(labels, 7, (1, 1, 1))
    for k, p in enumerate(regionprops(labels)):
        assert s.voxels[k] == p.area and s.voxels.dtype == np.int64
        np.testing.assert_allclose(s.centre[k], p.centroid, rtol=1e-12)
        assert (*s.start[k], *s.stop[k]) == p.bbox


def test_the_surface_is_that_of_itk():
    labels = random_labels()
    labels = np.pad(labels, 1)  # ITK's treatment of the faces is its own affair
    ours = measure(labels, 7, (1, 1, 1)).surface
    theirs = SimpleITK.LabelShapeStatisticsImageFilter()
    theirs.ComputePerimeterOn()
    theirs.Execute(SimpleITK.GetImageFromArray(labels))
    np.testing.assert_allclose(ours, [theirs.GetPerimeter(k + 1) for k in range(7)], rtol=1e-3)


def test_the_number_of_threads_changes_nothing():
    import numba

    labels, before = random_labels(), numba.get_num_threads()
    many = measure(labels, 7, (1, 1, 1))
    try:
        numba.set_num_threads(1)
        one = measure(labels, 7, (1, 1, 1))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(many.surface, one.surface)
    np.testing.assert_array_equal(many.start, one.start)


def test_directions_weigh_one_altogether_and_alike_along_the_edges_of_a_cube():
    steps, lengths, weights = directions((1, 1, 1), (5, 5, 5))
    assert len(steps) == 13 and weights.sum() == pytest.approx(1)
    for length, weight in ((1, 0.0915558), (np.sqrt(2), 0.0739613), (np.sqrt(3), 0.0703913)):
        np.testing.assert_allclose(weights[np.isclose(lengths, length)], weight, rtol=1e-5)
