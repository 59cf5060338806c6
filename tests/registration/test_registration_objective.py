"""The joint-histogram objective: that it is the published one, and what asking for an objective does."""

from __future__ import annotations

import numpy as np
import pytest

from finescan.errors import InputError
from finescan.registration import OBJECTIVES, AlignOptions, register, register_all
from finescan.registration.greymap import OUTLIERS, Mixture
from finescan.simulation import simulate
from finescan.values import Verdict

PHASES = Mixture(
    share=np.array([0.5, 0.3, 0.2]),
    mean=np.array([[-2.0, 1.0], [0.0, -2.0], [2.0, 2.0]]),
    covariance=np.array([[[0.04, 0.01], [0.01, 0.05]], [[0.03, -0.02], [-0.02, 0.06]], [[0.05, 0.0], [0.0, 0.02]]]),
    centre=np.array([100.0, 50.0]),
    spread=np.array([20.0, 10.0]),
)


def levels(n=400, seed=0):
    """Fine and coarse grey levels drawn from the phases, and the phase of each."""
    rng = np.random.default_rng(seed)
    phase = rng.integers(0, 3, n)
    z = np.stack([rng.multivariate_normal(PHASES.mean[k], 0.5 * PHASES.covariance[k]) for k in phase])
    both = PHASES.centre + PHASES.spread * z
    return both[:, 0], both[:, 1], phase


def test_residual_and_weight_are_those_of_the_published_newton_step():
    """Per phase the quadratic form a f^2 + 2 b f g + c g^2 has the gradient b f + c g and the curvature c."""
    fine, coarse, phase = levels()
    target, weight, _ = PHASES.parts(fine, coarse)
    z = (np.stack([fine, coarse], 1) - PHASES.centre) / PHASES.spread
    inverse = np.linalg.inv(PHASES.covariance)[phase]
    f, g = (z - PHASES.mean[phase]).T
    gradient = (inverse[:, 0, 1] * f + inverse[:, 1, 1] * g) / PHASES.spread[1]
    curvature = inverse[:, 1, 1] / PHASES.spread[1] ** 2
    # phases overlap hardly and the flat background takes little: what is published for one phase holds
    likely = np.abs(f) + np.abs(g) < 0.4
    assert likely.sum() > 100
    np.testing.assert_allclose(weight[likely], curvature[likely], rtol=0.05)
    np.testing.assert_allclose((weight * (coarse - target))[likely], gradient[likely], rtol=0.05, atol=1e-3)


def test_the_residual_is_the_slope_of_the_log_likelihood():
    fine, coarse, _ = levels(seed=1)

    def log_likelihood(grey):
        f, g = (fine - PHASES.centre[0]) / PHASES.spread[0], (grey - PHASES.centre[1]) / PHASES.spread[1]
        total = np.full(f.shape, OUTLIERS / 36)
        for share, mean, covariance in zip(PHASES.share, PHASES.mean, PHASES.covariance, strict=True):
            d = np.stack([f, g], 1) - mean
            power = np.einsum("ni,ij,nj->n", d, np.linalg.inv(covariance), d)
            total += share * np.exp(-0.5 * power) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
        return np.log(total)

    step = 1e-4
    slope = (log_likelihood(coarse + step) - log_likelihood(coarse - step)) / (2 * step)
    target, weight, _ = PHASES.parts(fine, coarse)
    np.testing.assert_allclose(-weight * (coarse - target), slope, rtol=1e-4, atol=1e-6)


def error(pair, truth):
    """Where the pair and another warp (or pair) put the points of the fine scan, distance in fine pixels, median."""
    axes = [np.linspace(32, n - 33, 30) for n in pair.hr.grid.shape]
    nm = pair.hr.grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    apart = (pair.lr_from_hr(nm) - truth(nm)) / np.asarray(pair.hr.grid.pixel_size_nm)
    return float(np.median(np.linalg.norm(apart, axis=-1)))


def test_two_detectors_need_the_joint_histogram():
    job = simulate("detector", size=192, ratio=4.0, fine=512, lr_pixel="area", seed=3)
    by_grey, by_histogram = (register(job.lr, job.hr[0], objective=o) for o in ("grey", "joint-histogram"))
    assert by_histogram.verdict is Verdict.FOUND and by_grey.verdict is Verdict.DOUBTFUL
    assert error(by_histogram, job.lr_from_hr[0]) < 2.0 < 6.0 < error(by_grey, job.lr_from_hr[0])
    assert by_histogram.residual.method["objective"] == "joint-histogram"
    assert any("joint histogram" in r for r in by_histogram.reasons)
    # what was asked for stays, even where it does not do
    assert by_grey.residual.method["objective"] == "grey"
    assert not any("joint histogram" in r for r in by_grey.reasons)


def test_scans_of_one_detector_lie_the_same_way_by_either_objective():
    job = simulate("polycrystal", size=176, ratio=4.0, fine=448, lr_pixel="area", seed=2)
    by_grey, by_histogram = (register_all(job.lr, job.hr, objective=o)[0] for o in ("grey", "joint-histogram"))
    assert by_grey.residual.method["objective"] == "grey"
    assert by_histogram.residual.method["objective"] == "joint-histogram"
    assert 0 < error(by_histogram, by_grey.lr_from_hr) < 0.1
    assert max(error(p, job.lr_from_hr[0]) for p in (by_grey, by_histogram)) < 0.2


def test_an_unknown_objective_is_refused_before_anything_is_searched():
    job = simulate("polycrystal", size=64, ratio=4.0, fine=96, seed=2)
    with pytest.raises(InputError, match=r"one of auto, grey, joint-histogram, but 'mutual' came\."):
        register(job.lr, job.hr[0], objective="mutual")


def test_automatic_leaves_the_options_as_they_are():
    for grey in OBJECTIVES.values():
        assert AlignOptions(grey=grey).with_objective("auto").grey == grey
    assert AlignOptions(grey="linear").with_objective("joint-histogram").grey == "mixture"
