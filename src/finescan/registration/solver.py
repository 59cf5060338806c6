"""Gauss-Newton on one working level, with the grey map projected out of the normal equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.registration.basis import Basis, curvature, polynomials
from finescan.registration.greymap import GreyFit, Mixture, correlation, fit_linear, fit_mixed
from finescan.registration.motion import Motion
from finescan.registration.working import Level

Array = NDArray[Any]  # float64 throughout

STEP_LIMIT_PX = 2.0
# What a linear objective may fall on the way. Noise is blurred between grid points, so a start that happens to lie
# there looks better than it is; in volumes, with three axes to interpolate along, by a hundredth at a few counts.
SLACK = {2: 2e-3, 3: 2e-2}
FIVE_POINT = np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12


@dataclass(frozen=True)
class State:
    """The scans laid on each other by a motion at a level.

    Parameters
    ----------
    motion, grey : the map and the grey map.
    ok : where both scans count; ``coarse`` the LR grey levels there.
    """

    motion: Motion
    grey: GreyFit
    ok: NDArray[np.bool_]
    coarse: Array

    def correlation(self, level: Level) -> float:
        """NCC of the coarse grey levels and those expected from the fine ones alone."""
        mixture = self.grey.mixture
        return correlation(self.coarse, mixture.expected(level.fine) if mixture else self.grey.target, self.ok)

    @property
    def objective(self) -> float:
        """Larger is better; comparable only within one kind of grey map."""
        return self.grey.objective


@dataclass(frozen=True)
class Normal:
    """Normal equations of a step: ``matrix @ step = right``, parameters ordered (component, function)."""

    matrix: Array
    right: Array


class LevelSolver:
    """Gauss-Newton at one level for one set of displacement functions.

    Parameters
    ----------
    level : the working images.
    motion : whose functions are used.
    mixture : kind of grey map.
    keep : boolean array on the level's grid, or None; False pixels are not used (split fits).
    stiffness : curvature ridge of the spline, times the mean diagonal of the normal matrix.
    shading_degree : of the gain and offset fields.
    guess : a mixture to begin with.
    """

    def __init__(
        self,
        level: Level,
        motion: Motion,
        *,
        mixture: bool,
        keep: NDArray[np.bool_] | None = None,
        stiffness: float = 0.02,
        shading_degree: int = 2,
        guess: Mixture | None = None,
    ) -> None:
        self.level, self.mixture, self.keep, self.stiffness = level, mixture, keep, stiffness
        self.guess = guess
        self.basis: Basis = motion.basis(level.axes)
        self.shading = polynomials(level.axes, shading_degree)
        self.ridge = curvature(motion.intervals)

    def look(self, motion: Motion, last: State | None = None) -> State:
        """Both scans under a motion, with the best grey map; ``last`` gives the robust weights a start."""
        coarse, ok = self.level.read(motion.positions(self.level.axes, self.basis))
        if self.keep is not None:
            ok &= self.keep
        if np.count_nonzero(ok) < 3 * len(self.shading) + self.basis.functions.size:
            return State(motion, _nothing(coarse), ok, coarse)
        if self.mixture:
            guess = last.grey.mixture if last else self.guess
            grey = fit_mixed(self.level.fine, self.level.edges, coarse, ok, self.shading, start=guess)
        else:
            grey = fit_linear(self.level.fine, coarse, ok, self.shading, last=last.grey if last else None)
        return State(motion, grey, ok, coarse)

    def gradients(self, state: State) -> Array:
        """d(grey)/d(LR position) per component (d, *shape): mean of both images, 0 where masked."""
        mean = np.where(state.ok, 0.5 * (state.coarse + state.grey.target), 0.0)
        ok = ndimage.binary_erosion(state.ok, iterations=2, border_value=1) if not state.ok.all() else state.ok
        slopes = np.stack([ndimage.correlate1d(mean, FIVE_POINT, axis=a, mode="mirror") for a in range(mean.ndim)])
        per_xi = [x[1] - x[0] if len(x) > 1 else 1.0 for x in self.level.axes]
        jacobian = state.motion.affine[:, 1:] * np.asarray(per_xi)  # LR px per working px
        inverse = np.linalg.inv(jacobian)
        return np.einsum("ac,a...->c...", inverse, slopes) * ok

    def normal(self, state: State) -> Normal:
        """Normal equations with the grey map projected out and the ridge added."""
        grey, basis, shading = state.grey, self.basis, self.shading
        gradient = self.gradients(state)
        d, n = len(gradient), len(basis)
        pairs = [(a, b) for a in range(d) for b in range(a, d)]
        grams = basis.gram(np.stack([grey.weight * gradient[a] * gradient[b] for a, b in pairs]))
        matrix = np.empty((d, n, d, n))
        for (a, b), g in zip(pairs, grams, strict=True):
            matrix[a, :, b], matrix[b, :, a] = g, g
        right = basis.sums(grey.weight * gradient * -grey.residual)
        columns = grey.columns
        m, k = len(columns), len(shading)
        mixed = np.empty((d, n, m, k))
        inner = np.empty((m, k, m, k))
        for i in range(m):
            mixed[:, :, i] = basis.cross(shading, grey.weight * columns[i] * gradient)
            inner[i] = shading.gram(grey.weight * columns[i] * columns).transpose(1, 0, 2)
        flat, mixed_flat = matrix.reshape(d * n, d * n), mixed.reshape(d * n, m * k)
        gain = np.linalg.lstsq(inner.reshape(m * k, m * k), mixed_flat.T, rcond=1e-10)[0]
        flat = flat - mixed_flat @ gain
        total, pull = self._ridge(flat, state.motion)
        return Normal(total, right.ravel() - pull)

    def _ridge(self, matrix: Array, motion: Motion) -> tuple[Array, Array]:
        size = np.trace(matrix) / len(matrix)
        total = matrix + np.eye(len(matrix)) * 1e-7 * size
        if motion.is_affine:
            return total, np.zeros(len(matrix))
        strength = self.stiffness * size
        block = np.kron(np.eye(motion.hr.ndim), strength * self.ridge)
        return total + block, block @ motion.parameters.ravel()

    def step(self, state: State) -> Array:
        """The Gauss-Newton step (d, n), at most ``STEP_LIMIT_PX`` LR px anywhere at this level's pitch."""
        normal = self.normal(state)
        step = np.linalg.solve(normal.matrix, normal.right).reshape(state.motion.hr.ndim, -1)
        largest = self.size_of(step)
        limit = STEP_LIMIT_PX * max(1.0, self.level.scale)
        return step * min(1.0, limit / max(largest, 1e-12))

    def size_of(self, step: Array) -> float:
        """Largest displacement of a step, LR px, over a coarse selection of pixels."""
        thin = Basis(tuple(t[np.linspace(0, len(t) - 1, 9).astype(int)] for t in self.basis.tables),
                     self.basis.functions)  # fmt: skip
        return float(np.linalg.norm(thin.evaluate(step), axis=0).max())

    def run(self, motion: Motion, *, steps: int, tolerance_px: float = 0.01, insist: bool = False) -> State:
        """Steps until the largest one is below ``tolerance_px`` LR px; the best state met is returned.

        ``insist`` returns the last one instead: a split fit must say where its half of the data leads.
        """
        best = state = self.look(motion)
        # robust weights move with the fit, so a linear objective may fall a little on the way; the mixture's step is
        # no exact ascent direction, and going on past its best would follow noise
        slack, patience = (0.0, 1e-3) if self.mixture else (SLACK[motion.hr.ndim], np.inf)
        for _ in range(steps):
            if not np.isfinite(state.objective):
                break
            try:
                step = self.step(state)
            except np.linalg.LinAlgError:  # no grey level varies where both scans count
                return State(motion, _nothing(state.coarse), state.ok, state.coarse)
            state = self.look(state.motion.moved(step), state)
            if insist or state.objective >= best.objective - slack:
                best = state
            elif state.objective < best.objective - patience:
                break
            if self.size_of(step) < tolerance_px:
                break
        return best


def _nothing(coarse: Array) -> GreyFit:
    zero = np.zeros(coarse.shape)
    return GreyFit(zero, zero, zero, 1.0, float("-inf"), np.zeros((1, *coarse.shape)))
