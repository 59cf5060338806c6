"""Motion: the map of the registration in the solver's units, and its way to and from a Warp.

Fine-scan positions are coordinates xi, -1 to 1 between the outer edges of the field; coarse positions are pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.registration.basis import Basis, displacements
from finescan.values import Grid, Warp

Array = NDArray[Any]  # float64 throughout


@dataclass(frozen=True)
class Motion:
    """Coarse pixel coordinates as a function of xi: ``affine @ (1, xi) + sum of parameters * functions``.

    Parameters
    ----------
    hr, lr : grids of the two images.
    affine : (d, 1 + d), LR px.
    intervals : B-spline intervals per axis of the fine scan (0 = none); see :func:`basis.displacements`.
    parameters : (d, n functions), LR px; empty while the map is affine.
    """

    hr: Grid
    lr: Grid
    affine: Array
    intervals: tuple[int, ...] = ()
    parameters: Array = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def from_warp(cls, warp: Warp, hr: Grid, lr: Grid) -> Motion:
        """The affine part of a warp."""
        centre, half = centre_and_half(hr)
        offset = lr.to_index(warp.matrix @ centre + warp.offset_nm)
        matrix = warp.matrix * half / np.asarray(lr.pixel_size_nm)[:, None]
        return cls(hr, lr, np.column_stack([offset, matrix]), (0,) * hr.ndim)

    @property
    def is_affine(self) -> bool:
        """No spline yet."""
        return not any(self.intervals)

    def ratio(self) -> Array:
        """HR pixels per LR pixel, per axis of the fine scan (the found one, not the nominal)."""
        per_pixel = np.linalg.norm(self.affine[:, 1:], axis=0) * 2 / np.asarray(self.hr.shape)
        return 1 / per_pixel

    def basis(self, axes: Sequence[Array]) -> Basis:
        """The functions of this motion on the product grid of ``axes`` (xi values per axis)."""
        return displacements(axes, self.intervals)

    def positions(self, axes: Sequence[Array], basis: Basis | None = None) -> Array:
        """LR pixel coordinates (d, *shape) on the product grid of ``axes``."""
        shape = tuple(len(x) for x in axes)
        out = np.empty((len(axes), *shape))
        out[...] = self.affine[:, 0].reshape(-1, *(1,) * len(axes))
        for a, x in enumerate(axes):
            along = x.reshape([-1 if b == a else 1 for b in range(len(axes))])
            out += self.affine[:, 1 + a].reshape(-1, *(1,) * len(axes)) * along
        if not self.is_affine:
            out += (basis or self.basis(axes)).evaluate(self.parameters)
        return out

    def moved(self, step: Array) -> Motion:
        """With a step (d, n functions) added."""
        if self.is_affine:
            return replace(self, affine=self.affine + step)
        return replace(self, parameters=self.parameters + step)

    def with_spline(self, intervals: Sequence[int]) -> Motion:
        """The same map with room for a spline; a row spline already there is carried over exactly."""
        intervals = tuple(int(n) for n in intervals)
        d = self.hr.ndim
        linear = sum(1 for n in intervals if not n)
        sizes = tuple(n + 3 for n in intervals if n)
        parameters = np.zeros((d, linear + int(np.prod(sizes))))
        if self.is_affine:
            return Motion(self.hr, self.lr, self.affine, intervals, parameters)
        kept = [n == m for n, m in zip(self.intervals, intervals, strict=True)]
        if any(m and not k for m, k in zip(self.intervals, kept, strict=True)):
            raise ValueError(f"a spline of {self.intervals} intervals cannot become one of {intervals}")
        mine = sum(1 for n in self.intervals if not n)
        affine = self.affine.copy()
        free = [a for a, n in enumerate(self.intervals) if not n]
        affine[:, [1 + a for a in free]] += self.parameters[:, :mine]
        coarse = self.parameters[:, mine:].reshape(d, *(n + 3 if n else 1 for n in self.intervals))
        full = np.broadcast_to(coarse, (d, *(n + 3 if n else 1 for n in intervals)))
        parameters[:, linear:] = full.reshape(d, -1)
        return Motion(self.hr, self.lr, affine, intervals, parameters)

    def to_warp(self) -> Warp:
        """The same map in nm."""
        centre, half = centre_and_half(self.hr)
        step = np.asarray(self.lr.pixel_size_nm)
        affine, coefficients = self._normal_form()
        matrix = affine[:, 1:] / half * step[:, None]
        offset = self.lr.to_nm(affine[:, 0]) - matrix @ centre
        if coefficients is None:
            return Warp.affine(matrix, offset)
        moved = coefficients * step.reshape(-1, *(1,) * self.hr.ndim)
        return Warp(matrix, offset, self._knots(), moved)

    def _normal_form(self) -> tuple[Array, Array | None]:
        """Affine part and spline coefficients (d, *knots) free of constant and slope, padded by a knot each side."""
        if self.is_affine:
            return self.affine, None
        affine, d = self.affine.copy(), self.hr.ndim
        free = [a for a, n in enumerate(self.intervals) if not n]
        affine[:, [1 + a for a in free]] += self.parameters[:, : len(free)]
        coefficients = self.parameters[:, len(free) :].reshape(d, *(n + 3 if n else 1 for n in self.intervals))
        at = [(np.arange(n + 3) - 1) / n * 2 - 1 if n else np.zeros(1) for n in self.intervals]
        mesh = np.meshgrid(*at, indexing="ij")
        columns = [np.ones(mesh[0].size), *(m.ravel() for m, n in zip(mesh, self.intervals, strict=True) if n)]
        line, *_ = np.linalg.lstsq(np.stack(columns, 1), coefficients.reshape(d, -1).T, rcond=None)
        affine[:, 0] += line[0]
        affine[:, [1 + a for a, n in enumerate(self.intervals) if n]] += line[1:].T
        rest = coefficients - (np.stack(columns, 1) @ line).T.reshape(coefficients.shape)
        for a, n in enumerate(self.intervals):
            if n:
                rest = np.concatenate(
                    [
                        2 * rest.take([0], a + 1) - rest.take([1], a + 1),
                        rest,
                        2 * rest.take([-1], a + 1) - rest.take([-2], a + 1),
                    ],
                    axis=a + 1,
                )
        return affine, rest

    def _knots(self) -> Grid:
        centre, half = centre_and_half(self.hr)
        shape = tuple(n + 5 if n else 1 for n in self.intervals)
        size = tuple(2 * h / max(n, 1) for h, n in zip(half, self.intervals, strict=True))
        origin = tuple(c - h - 2 * s if n else c for c, h, s, n in zip(centre, half, size, self.intervals, strict=True))
        return Grid(self.hr.axes, shape, size, origin)


def centre_and_half(grid: Grid) -> tuple[Array, Array]:
    """Centre of the field of view and half its extent per axis, nm."""
    half = np.asarray(grid.extent_nm) / 2
    return np.asarray(grid.edge_nm) + half, half


def axis_coordinates(grid: Grid, field_of: Grid) -> tuple[Array, ...]:
    """Coordinates xi of the pixel centres of ``grid`` along every axis, relative to the field of ``field_of``."""
    centre, half = centre_and_half(field_of)
    return tuple(
        (o + p * np.arange(n) - c) / h
        for o, p, n, c, h in zip(grid.origin_nm, grid.pixel_size_nm, grid.shape, centre, half, strict=True)
    )
