"""How good a registration is: split fit, sigma map, block shifts against noise, residual map.

NCC and forward/backward differences stay perfect while the map is pixels off; these figures do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.registration.align import Alignment
from finescan.registration.basis import Basis
from finescan.registration.motion import Motion
from finescan.registration.solver import LevelSolver, State

Array = NDArray[Any]  # float64 throughout

CORRELATED = 1.7  # residuals are correlated by smoothing: observed error over the normal-matrix sigma
CALIBRATED = 1.18  # true rms error over the bare figure of the split fit, median of simulated pairs (seeds < 1000)
BORDER_PX = 8  # LR px at the border of the field where errors are not judged
BLOCKS = 8  # per axis
SMALLEST_BLOCK_PX = 12
DRAWS = 4
STRIPES = 8


@dataclass(frozen=True)
class Blocks:
    """Shifts left in blocks of the field.

    Parameters
    ----------
    table : (n, 2 d): centre (nm, frame of the fine scan), shift (HR px).
    excess : mean squared shift over that of noise alone; about 1 if the model holds.
    excess_hr_px : rms shift beyond noise, HR px.
    noise_hr_px : rms shift expected from noise alone, HR px.
    """

    table: Array
    excess: float
    excess_hr_px: float
    noise_hr_px: float


def solver_for(alignment: Alignment, keep: NDArray[np.bool_] | None = None) -> LevelSolver:
    """The solver of the alignment's last fit at LR pitch, optionally on some pixels only."""
    return LevelSolver(
        alignment.level,
        alignment.motion,
        mixture=alignment.mixture,
        keep=keep,
        stiffness=alignment.stiffness,
        guess=alignment.state.grey.mixture,
    )


def hr_from_lr(motion: Motion) -> Array:
    """Matrix that takes a small displacement in LR px to one in HR px."""
    return np.linalg.inv(motion.affine[:, 1:] * (2 / np.asarray(motion.hr.shape)))


def judged_axes(motion: Motion, points: int = 33) -> list[Array]:
    """Coordinates xi of a regular sample of the field without its border."""
    border = np.minimum(0.25, 2 * BORDER_PX * motion.ratio() / np.asarray(motion.hr.shape))
    return [np.linspace(-1 + b, 1 - b, points) for b in border]


def split_error(alignment: Alignment, *, stripes: bool = False) -> float:
    """Half the rms difference of two fits on disjoint halves, HR px; inf if a half cannot be fitted.

    Halves are left and right of the middle of what can be compared: a row spline can be fitted in either, and a wrong
    model shows. A tensor spline cannot, and is split into alternating ``stripes``; they see a wrong model less well.
    """
    motion, shape = alignment.motion, alignment.level.grid.shape
    slow = next((a for a, n in enumerate(motion.intervals) if n), 0)
    across = len(shape) - 1 if slow != len(shape) - 1 else 0
    parts = 2 * STRIPES if stripes else 2
    # halves of what counts: a scan that lies partly outside would else leave one of them empty
    used = alignment.state.ok.sum(axis=tuple(a for a in range(len(shape)) if a != across))
    side = ((np.cumsum(used) - used) * parts // max(int(used.sum()), 1)) % 2
    side = side.reshape([-1 if a == across else 1 for a in range(len(shape))])
    axes = judged_axes(motion)
    fields, expected = [], []
    for k in range(2):
        solver = solver_for(alignment, np.broadcast_to(side == k, shape))
        state = solver.run(motion, steps=6, insist=True)
        if not np.isfinite(state.objective):
            return float("inf")
        fields.append(state.motion.positions(axes))
        expected.append(_mean_variance(solver, state, axes))
    apart = np.tensordot(hr_from_lr(motion), fields[0] - fields[1], axes=1)
    whole = _mean_variance(solver_for(alignment), alignment.state, axes)
    # a half extrapolates into the other: that part of the difference is no error of the whole fit (a mixture's error
    # is mostly not of this kind)
    reach = np.sqrt(max(1.0, 0.25 * sum(expected) / max(whole, 1e-300))) if not alignment.mixture else CALIBRATED
    return 0.5 * float(np.sqrt((apart**2).sum(0).mean())) * CALIBRATED / reach


def _mean_variance(solver: LevelSolver, state: State, axes: Sequence[Array]) -> float:
    """Mean variance of the position over the judged field expected from noise, HR px squared."""
    d, n = len(state.motion.affine), len(solver.basis)
    covariance = np.linalg.pinv(solver.normal(state).matrix, hermitian=True).reshape(d, n, d, n)
    to_hr = hr_from_lr(state.motion)
    joint = np.einsum("ac,cidj,ad->ij", to_hr, covariance, to_hr) * _variance_of_unit_weight(state)
    basis = state.motion.basis(axes)
    return float(np.sum(basis.gram(np.ones((1, *(len(x) for x in axes))))[0] * joint) / np.prod([len(x) for x in axes]))


def sigma_map(alignment: Alignment) -> Array:
    """Standard error of the position per working pixel, HR px per axis (rms), from the normal matrix times 1.7."""
    solver, state = solver_for(alignment), alignment.state
    d, n = len(state.motion.affine), len(solver.basis)
    covariance = np.linalg.pinv(solver.normal(state).matrix, hermitian=True).reshape(d, n, d, n)
    scale = _variance_of_unit_weight(state)
    to_hr = hr_from_lr(state.motion)
    joint = np.einsum("ac,cidj,ad->ij", to_hr, covariance, to_hr) * scale / d
    shape = alignment.level.grid.shape
    thin = [np.unique(np.linspace(0, s - 1, min(s, 24)).astype(int)) for s in shape]
    basis = Basis(tuple(t[i] for t, i in zip(solver.basis.tables, thin, strict=True)), solver.basis.functions)
    values = basis.evaluate(np.eye(n)).reshape(n, -1)
    variance = np.einsum("ip,ij,jp->p", values, joint, values).reshape([len(i) for i in thin])
    coarse = CORRELATED * np.sqrt(np.maximum(variance, 0))
    where = [np.interp(np.arange(s), i, np.arange(len(i))) for s, i in zip(shape, thin, strict=True)]
    return ndimage.map_coordinates(coarse, np.meshgrid(*where, indexing="ij"), order=1, mode="nearest")


def _variance_of_unit_weight(state: State) -> float:
    """Mean weighted squared residual: 1 if the weights were the inverse variances."""
    weight = state.grey.weight
    used = np.count_nonzero(weight)
    return float((weight * state.grey.residual**2).sum() / max(used, 1))


def block_shifts(alignment: Alignment, *, seed: int = 0) -> Blocks:
    """One Gauss-Newton shift per block of the registered pair, and the same for noise alone.

    The noise is white noise of the coarse scan, read at the same positions and scaled to the residual left in each
    block after its own shift, so that a wrong model does not hide itself.
    """
    state, level = alignment.state, alignment.level
    gradient = solver_for(alignment).gradients(state)
    label, count = _labels(level.grid.shape, alignment.motion)
    blocks = _BlockSums(label, count, gradient, state.grey.weight, hr_from_lr(state.motion))
    shift = blocks.shifts(state.grey.residual)
    left = blocks.left(state.grey.residual)
    rng = np.random.default_rng([seed, 71])
    positions = state.motion.positions(level.axes)
    draws = []
    for _ in range(DRAWS):
        noise = _noise_like(alignment, positions, rng)
        draws.append(blocks.shifts(noise * (left / np.maximum(blocks.rms(noise), 1e-12))[label]))
    variance = np.mean([s**2 for s in draws], axis=(0, 2))
    good = blocks.good & (variance > 0)
    if np.count_nonzero(good) < 4:
        return Blocks(np.zeros((0, 2 * shift.shape[1])), 1.0, 0.0, 0.0)
    variance = 0.5 * variance + 0.5 * np.median(variance[good])
    d = shift.shape[1]
    shift_power, noise_power = (shift[good] ** 2).sum(1), d * variance[good]
    excess = float(np.mean(np.minimum(shift_power / noise_power, 50.0)))
    beyond = float(np.sqrt(max(0.0, float(np.mean(shift_power - noise_power)))))
    table = np.column_stack([_block_centres(alignment, label, count)[good], shift[good]])
    return Blocks(table, excess, beyond, float(np.sqrt(noise_power.mean())))


def _labels(shape: Sequence[int], motion: Motion) -> tuple[NDArray[np.intp], int]:
    """Block number of every working pixel, and how many blocks there are."""
    per_axis = [max(2, min(BLOCKS, n // SMALLEST_BLOCK_PX)) for n in shape]
    index = [np.arange(n) * k // n for n, k in zip(shape, per_axis, strict=True)]
    label = np.ravel_multi_index(np.meshgrid(*index, indexing="ij"), per_axis)
    return label, int(np.prod(per_axis))


class _BlockSums:
    """Normal equations of one shift per block."""

    def __init__(self, label: NDArray[np.intp], count: int, gradient: Array, weight: Array, to_hr: Array) -> None:
        self.label, self.count, self.gradient, self.weight, self.to_hr = label, count, gradient, weight, to_hr
        d = len(gradient)
        matrix = np.empty((count, d, d))
        for a in range(d):
            for b in range(d):
                matrix[:, a, b] = self._sum(weight * gradient[a] * gradient[b])
        eigen = np.linalg.eigvalsh(matrix)
        share = self._sum((weight > 0).astype(float)) / np.maximum(np.bincount(label.ravel(), minlength=count), 1)
        self.good = (share > 0.6) & (eigen[:, 0] > 0.05 * np.median(eigen[:, -1]))
        self.inverse = np.linalg.pinv(matrix + 1e-12 * np.eye(d))

    def _sum(self, image: Array) -> Array:
        return np.bincount(self.label.ravel(), weights=image.ravel(), minlength=self.count)

    def _solve(self, residual: Array) -> Array:
        right = np.stack([self._sum(-self.weight * g * residual) for g in self.gradient], axis=1)
        return np.einsum("nab,nb->na", self.inverse, right)

    def shifts(self, residual: Array) -> Array:
        """(blocks, d) HR px."""
        return self._solve(residual) @ self.to_hr.T

    def rms(self, residual: Array) -> Array:
        """Weighted rms per block."""
        total = np.maximum(self._sum(self.weight), 1e-300)
        return np.sqrt(self._sum(self.weight * residual**2) / total)

    def left(self, residual: Array) -> Array:
        """Weighted rms per block after its own shift."""
        moved = np.einsum("d...,d...->...", self.gradient, np.moveaxis(self._solve(residual)[self.label], -1, 0))
        return self.rms(np.where(self.weight > 0, residual + moved, 0.0))


def _noise_like(alignment: Alignment, positions: Array, rng: np.random.Generator) -> Array:
    """White noise of the coarse scan as it looks at the working pixels."""
    first = np.asarray(alignment.level.first, float).reshape(-1, *(1,) * (positions.ndim - 1))
    noise = ndimage.spline_filter(rng.standard_normal(alignment.level.coarse.shape), order=3, mode="mirror")
    return ndimage.map_coordinates(noise, positions - first, order=3, mode="mirror", prefilter=False)


def _block_centres(alignment: Alignment, label: NDArray[np.intp], count: int) -> Array:
    grid = alignment.level.grid
    total = np.maximum(np.bincount(label.ravel(), minlength=count), 1)
    index = [np.bincount(label.ravel(), weights=i.ravel(), minlength=count) / total for i in np.indices(grid.shape)]
    return grid.to_nm(np.stack(index, axis=1))
