"""Separable functions on a grid of pixels, and sums over pixels of their products.

Every displacement and every shading field of the registration is a sum of products of one-dimensional functions
(1, xi, cubic B-splines; 1, xi, xi**2). Sums over all pixels of an image times two such functions then cost a few
small matrix products instead of a matrix with one row per pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.values.warp import bspline_weights

Array = NDArray[Any]  # float64 throughout


@dataclass(frozen=True)
class Basis:
    """Products of one-dimensional functions.

    Parameters
    ----------
    tables : per axis (pixels, functions of that axis).
    functions : (n, d) which function of each axis makes up product k.
    """

    tables: tuple[Array, ...]
    functions: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.functions)

    def evaluate(self, coefficients: Array) -> Array:
        """Fields (m, *shape) of coefficients (m, n)."""
        shape = tuple(t.shape[1] for t in self.tables)
        dense = np.zeros((len(coefficients), *shape))
        where: Any = (slice(None), *self.functions.T)
        dense[where] = coefficients
        return contract(dense, [t.T for t in self.tables])

    def sums(self, images: Array) -> Array:
        """Sums over pixels (m, n) of images (m, *shape) times every function."""
        return contract(images, self.tables)[(slice(None), *self.functions.T)]

    def cross(self, other: Basis, images: Array) -> Array:
        """Sums over pixels (m, n, n_other) of images times every function of both bases."""
        tables: list[Array] = []
        where: list[Any] = []
        for a, (mine, theirs) in enumerate(zip(self.tables, other.tables, strict=True)):
            tables.append((mine[:, :, None] * theirs[:, None, :]).reshape(len(mine), -1))
            where.append(self.functions[:, None, a] * theirs.shape[1] + other.functions[None, :, a])
        return contract(images, tables)[(slice(None), *where)]

    def gram(self, images: Array) -> Array:
        """Sums over pixels (m, n, n) of images times every pair of functions."""
        tables: list[Array] = []
        where: list[Any] = []
        for a, mine in enumerate(self.tables):
            first, second = np.triu_indices(mine.shape[1])
            slot = np.zeros((mine.shape[1],) * 2, np.intp)
            slot[first, second] = slot[second, first] = np.arange(len(first))
            tables.append(mine[:, first] * mine[:, second])
            where.append(slot[self.functions[:, None, a], self.functions[None, :, a]])
        return contract(images, tables)[(slice(None), *where)]


def contract(images: Array, tables: Sequence[Array]) -> Array:
    """Images (m, n1, n2, …) summed against a table (n_a, k_a) along every axis: (m, k1, k2, …)."""
    # the smallest table first: the later, larger ones then meet a shorter array
    order = sorted(range(len(tables)), key=lambda a: tables[a].shape[1] / tables[a].shape[0])
    for a in order:
        images = np.moveaxis(np.tensordot(images, tables[a], axes=([a + 1], [0])), -1, a + 1)
    return images


def polynomials(axes: Sequence[Array], degree: int) -> Basis:
    """All monomials up to a total degree in coordinates ``axes`` (one array per axis, about -1 to 1)."""
    tables = tuple(np.stack([x**k for k in range(degree + 1)], axis=1) for x in axes)
    powers = [p for p in product(range(degree + 1), repeat=len(axes)) if sum(p) <= degree]
    return Basis(tables, np.array(sorted(powers, key=sum), dtype=np.intp))


def displacements(axes: Sequence[Array], intervals: Sequence[int]) -> Basis:
    """The functions a displacement is made of.

    ``intervals[a]`` knot intervals of a cubic B-spline along axis a, 0 = constant along it. Without any spline the
    functions are 1 and the coordinates; with one, the tensor B-splines (which hold 1 and the coordinates of their
    axes) and the coordinates of the axes without.
    """
    linear = [np.stack([np.ones_like(x), x], axis=1) for x in axes]
    splines = [bspline_table(x, n) if n else np.zeros((len(x), 0)) for x, n in zip(axes, intervals, strict=True)]
    tables = tuple(np.concatenate([a, b], axis=1) for a, b in zip(linear, splines, strict=True))
    zero = (0,) * len(axes)
    ones = [tuple(int(a == b) for b in range(len(axes))) for a, n in enumerate(intervals) if not n]
    ranges = [range(2, n + 5) if n else range(1) for n in intervals]
    first = [zero] if not any(intervals) else []
    functions = [*first, *ones, *(product(*ranges) if any(intervals) else [])]
    return Basis(tables, np.array(functions, dtype=np.intp))


def bspline_table(x: Array, intervals: int) -> Array:
    """Values (len(x), intervals + 3) of the cubic B-splines with ``intervals`` equal intervals over [-1, 1]."""
    t = np.clip((x + 1) / 2 * intervals, 0, intervals)
    base = np.minimum(np.floor(t).astype(np.intp), intervals - 1)
    table = np.zeros((len(x), intervals + 3))
    for k, weight in enumerate(bspline_weights(t - base)):
        table[np.arange(len(x)), base + k] = weight
    return table


def curvature(intervals: Sequence[int]) -> Array:
    """Matrix (n, n) whose quadratic form is the squared second difference of the B-spline coefficients.

    Ordered as the functions of :func:`displacements`; second differences along every spline axis.
    """
    sizes = [n + 3 if n else 1 for n in intervals]
    linear = sum(1 for n in intervals if not n) + (not any(intervals))
    count = int(np.prod(sizes)) if any(intervals) else 0
    total = np.zeros((linear + count, linear + count))
    for a, n in enumerate(intervals):
        if n:
            second = np.diff(np.eye(sizes[a]), 2, axis=0)
            eyes = [np.eye(s) for s in sizes]
            eyes[a] = second.T @ second
            block: Array = np.eye(1)
            for e in eyes:
                block = np.kron(block, e)
            total[linear:, linear:] += block
    return total
