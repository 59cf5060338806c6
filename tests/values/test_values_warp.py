"""Warp: affine and spline parts against scipy and against known answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.interpolate import BSpline

from finescan.errors import InputError
from finescan.values import Grid, Warp
from finescan.values.warp import bspline, bspline_weights


def rotation(degrees):
    a = np.radians(degrees)
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


@pytest.fixture
def bent():
    """Rotation and stretch with a smooth displacement of some nm."""
    knots = Grid.of((9, 8), 100.0, (-200.0, -200.0))
    moved = np.random.default_rng(4).normal(0, 8, (2, 9, 8))
    return Warp(rotation(2.0) @ np.diag([0.9, 1.1]), np.array([30.0, -50.0]), knots, moved)


def test_the_spline_agrees_with_scipy():
    coefficients = np.random.default_rng(1).normal(size=12)
    # uniform knots such that coefficient k is centred on coordinate k
    reference = BSpline(np.arange(-2, 14), coefficients, 3)
    x = np.linspace(1.0, 10.0, 57)
    np.testing.assert_allclose(bspline(coefficients, [x]), reference(x), atol=1e-12)


def test_the_spline_of_two_axes_is_the_product_of_one_dimensional_ones():
    rng = np.random.default_rng(2)
    a, b, x, y = rng.normal(size=7), rng.normal(size=6), rng.uniform(1, 5, 20), rng.uniform(1, 4, 20)
    expected = bspline(a, [x]) * bspline(b, [y])
    np.testing.assert_allclose(bspline(np.outer(a, b), [x, y]), expected, atol=1e-12)


def test_spline_weights_sum_to_one_and_repeat_the_border():
    t = np.linspace(0, 1, 11)
    np.testing.assert_allclose(sum(bspline_weights(t)), 1.0)
    np.testing.assert_allclose(bspline(np.array([3.0, 3.0, 3.0]), [np.array([-50.0, 0.5, 80.0])]), 3.0)


def test_a_single_knot_means_constant_along_that_axis():
    knots = Grid.of((6, 1), 10.0)
    moved = np.random.default_rng(5).normal(size=(2, 6, 1))
    warp = Warp(np.eye(2), np.zeros(2), knots, moved)
    np.testing.assert_allclose(warp((20.0, 0.0)) - (20.0, 0.0), warp((20.0, 500.0)) - (20.0, 500.0), atol=1e-12)


def test_the_inverse_leads_back(bent):
    x = np.random.default_rng(0).uniform(-100, 400, (50, 2))
    np.testing.assert_allclose(bent.inverse_at(bent(x)), x, atol=1e-5)
    affine = Warp.affine(bent.matrix, bent.offset_nm)
    np.testing.assert_allclose(affine.inverse_affine()(affine(x)), x, atol=1e-10)


def test_an_affine_warp_after_a_bent_one_is_their_composition(bent):
    after = Warp.affine(rotation(-7.0) * 1.3, [5.0, 6.0])
    x = np.random.default_rng(3).uniform(-100, 400, (30, 2))
    np.testing.assert_allclose(after.after(bent)(x), after(bent(x)), atol=1e-9)
    with pytest.raises(InputError, match="Only an affine warp can be applied after another"):
        bent.after(after)


def test_scales_and_rotation_are_those_it_was_made_with():
    warp = Warp.affine(rotation(3.5) @ np.diag([0.88, 1.0]), [0.0, 0.0])
    assert warp.scales() == pytest.approx((0.88, 1.0))
    assert warp.rotation_deg() == pytest.approx(3.5)
    assert "rotation 3.50 deg" in str(warp)


def test_a_warp_survives_being_written(bent):
    back = Warp.from_dict(json.loads(json.dumps(bent.to_dict())))
    x = np.array([[10.0, 20.0], [300.0, 5.0]])
    np.testing.assert_array_equal(back(x), bent(x))
    assert Warp.from_dict(Warp.identity(3).to_dict()).ndim == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Warp.affine(np.eye(3), [0.0, 0.0]), "finite 2 x 2 matrix, but shape"),
        (lambda: Warp.affine(np.diag([1.0, 0.0]), [0.0, 0.0]), "invertible, but its determinant is zero"),
        (lambda: Warp.affine(np.full((2, 2), np.nan), [0.0, 0.0]), "finite"),
        (lambda: Warp(np.eye(2), np.zeros(2), Grid.of((3, 3), 1.0)), "both knots and displacement"),
        (lambda: Warp(np.eye(2), np.zeros(2), Grid.of((3, 3), 1.0), np.zeros((2, 4, 4))), "must be"),
    ],
)
def test_impossible_warps_are_refused_in_words(make, words):
    with pytest.raises(InputError, match=words):
        make()
