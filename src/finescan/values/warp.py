"""Warp: the map between the frames of two grids, affine plus smooth displacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.values.grid import Grid

_AT_ONCE = 1 << 12  # positions of a spline: what is needed of them stays in the cache


@dataclass(frozen=True)
class Warp:
    """Positions of one frame (nm) to positions of another (nm): ``y = matrix @ x + offset_nm + displacement(x)``.

    ``lr_from_hr`` is a Warp: coordinates of the fine scan in, coordinates of the coarse map out.

    Parameters
    ----------
    matrix : (d, d), dimensionless.
    offset_nm : (d,).
    knots : Grid in the *incoming* frame on which ``displacement_nm`` is given, or None for a purely affine map.
    displacement_nm : (d, *knots.shape) cubic B-spline **coefficients**; an axis with a single knot means
        "constant along that axis" (a scan-line drift has knots along the slow axis only). Outside the knots the
        border coefficient is repeated, so knots must reach two steps past the field.
    """

    matrix: NDArray[np.float64]
    offset_nm: NDArray[np.float64]
    knots: Grid | None = None
    displacement_nm: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        d = len(self.offset_nm)
        if np.shape(self.matrix) != (d, d) or not np.isfinite(self.matrix).all():
            raise InputError(f"A warp needs a finite {d} x {d} matrix, but shape {np.shape(self.matrix)} came.")
        if abs(np.linalg.det(self.matrix)) < 1e-9:
            raise InputError("A warp's matrix must be invertible, but its determinant is zero.")
        if (self.knots is None) != (self.displacement_nm is None):
            raise InputError("A warp needs both knots and displacement, or neither.")
        moved = self.displacement_nm
        if self.knots is not None and moved is not None and moved.shape != (d, *self.knots.shape):
            raise InputError(f"A warp's displacement must be {(d, *self.knots.shape)}.")

    @classmethod
    def affine(cls, matrix: ArrayLike, offset_nm: ArrayLike) -> Warp:
        """A purely affine warp."""
        return cls(np.asarray(matrix, np.float64), np.asarray(offset_nm, np.float64))

    @classmethod
    def identity(cls, ndim: int = 2) -> Warp:
        """Both frames are one."""
        return cls.affine(np.eye(ndim), np.zeros(ndim))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.offset_nm)

    def __call__(self, nm: ArrayLike) -> NDArray[np.float64]:
        """Map positions (…, d) in nm."""
        x = np.asarray(nm, np.float64)
        y = x @ self.matrix.T + self.offset_nm
        if self.knots is not None:
            y = y + self.displacement(x)
        return y

    def displacement(self, nm: ArrayLike) -> NDArray[np.float64]:
        """The non-affine part (…, d) in nm at positions (…, d)."""
        x = np.asarray(nm, np.float64)
        if self.knots is None or self.displacement_nm is None:
            return np.zeros_like(x)
        index = np.moveaxis(self.knots.to_index(x), -1, 0)
        return np.moveaxis(bsplines(self.displacement_nm, index), 0, -1)

    def inverse_at(self, nm: ArrayLike, *, iterations: int = 30, tolerance_nm: float = 1e-6) -> NDArray[np.float64]:
        """Incoming positions that map to the given outgoing positions (…, d), by fixed-point iteration."""
        y = np.asarray(nm, np.float64)
        back = np.linalg.inv(self.matrix)
        x = (y - self.offset_nm) @ back.T
        for _ in range(iterations if self.knots is not None else 0):
            step = (y - self(x)) @ back.T
            x = x + step
            if float(np.max(np.abs(step), initial=0.0)) < tolerance_nm:
                break
        return x

    def inverse_affine(self) -> Warp:
        """Inverse of the affine part alone."""
        back = np.linalg.inv(self.matrix)
        return Warp.affine(back, -back @ self.offset_nm)

    def after(self, first: Warp) -> Warp:
        """``x -> self(first(x))`` for an affine ``self``; the displacement of ``first`` is carried along exactly."""
        if self.knots is not None:
            raise InputError("Only an affine warp can be applied after another one; evaluate point by point instead.")
        moved = None
        if first.displacement_nm is not None:
            moved = np.tensordot(self.matrix, first.displacement_nm, axes=1)
        return replace(
            first,
            matrix=self.matrix @ first.matrix,
            offset_nm=self.matrix @ first.offset_nm + self.offset_nm,
            displacement_nm=moved,
        )

    def scales(self) -> tuple[float, ...]:
        """Length in the outgoing frame of a unit step along each incoming axis."""
        return tuple(np.linalg.norm(self.matrix, axis=0).tolist())

    def rotation_deg(self) -> float:
        """In-plane rotation of the last two axes, degrees, from the nearest rotation matrix."""
        u, _, vt = np.linalg.svd(self.matrix[-2:, -2:])
        r = u @ vt
        return float(np.degrees(np.arctan2(r[1, 0] - r[0, 1], r[0, 0] + r[1, 1])))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        d: dict[str, Any] = {"matrix": self.matrix.tolist(), "offset_nm": self.offset_nm.tolist()}
        if self.knots is not None and self.displacement_nm is not None:
            d |= {"knots": self.knots.to_dict(), "displacement_nm": self.displacement_nm.tolist()}
        return d

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Warp:
        """Inverse of :meth:`to_dict`."""
        knots = Grid.from_dict(d["knots"]) if "knots" in d else None
        moved = np.asarray(d["displacement_nm"], np.float64) if "knots" in d else None
        return cls(np.asarray(d["matrix"], np.float64), np.asarray(d["offset_nm"], np.float64), knots, moved)

    def __str__(self) -> str:
        kind = "affine" if self.knots is None else f"affine + spline of {self.knots.shape} knots"
        scale = " x ".join(f"{s:.4f}" for s in self.scales())
        return f"warp: {kind}, scale {scale}, rotation {self.rotation_deg():.2f} deg"


def bspline(coefficients: NDArray[np.float64], index: Sequence[ArrayLike] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Value of a cubic B-spline with the given coefficients at fractional knot coordinates (one array per axis).

    Uniform cubic B-spline, border coefficients repeated; an axis of length one is constant.
    """
    return np.asarray(bsplines(np.asarray(coefficients)[None], index)[0])


def bsplines(
    coefficients: NDArray[np.float64], index: Sequence[ArrayLike] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """As :func:`bspline`, for several splines (m, *knots) with the same knots: (m, *positions).

    Weights are worked out once for all of them, and for some positions at a time, which the processor's cache holds.
    """
    idx = np.broadcast_arrays(*(np.asarray(i, np.float64) for i in index))
    shape, flat = idx[0].shape, [i.ravel() for i in idx]
    out = np.zeros((len(coefficients), flat[0].size))
    for first in range(0, flat[0].size, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        _add(out[:, part], coefficients, [i[part] for i in flat])
    return out.reshape(len(coefficients), *shape)


def _add(out: NDArray[np.float64], coefficients: NDArray[np.float64], index: Sequence[NDArray[np.float64]]) -> None:
    """Add the splines' values at positions (n,) per axis to ``out`` (m, n)."""
    combos: list[tuple[Any, Any]] = [(0, 1.0)]  # place in the flat coefficients and weight, of every knot in reach
    for i, n in zip(index, coefficients.shape[1:], strict=True):
        if n == 1:
            continue
        i = np.clip(i, -2.0, n + 1.0)
        base = np.floor(i).astype(np.intp)
        near = [(np.clip(base + k - 1, 0, n - 1), w) for k, w in enumerate(bspline_weights(i - base))]
        combos = [(where * n + at, weight * w) for where, weight in combos for at, w in near]
    for values, sums in zip(coefficients.reshape(len(coefficients), -1), out, strict=True):
        for where, weight in combos:
            sums += weight * values[where]


def bspline_weights(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The four cubic B-spline weights at a fraction ``t`` in [0, 1) past a knot, for knots -1, 0, 1, 2."""
    u = 1.0 - t
    t2, u2 = t * t, u * u  # products are much faster than powers
    t3, u3 = t2 * t, u2 * u
    return (u3 / 6, (3 * t3 - 6 * t2 + 4) / 6, (3 * u3 - 6 * u2 + 4) / 6, t3 / 6)
