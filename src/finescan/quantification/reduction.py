"""Bases of plane lattices: the shortest one, and how two bases of the same lattice go into each other."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def reduced(basis: Array) -> Array:
    """The two shortest vectors of a lattice (Gauss reduction), the first nearer to the x axis and pointing right.

    Parameters
    ----------
    basis : (2, 2), one vector (y, x) per row.

    Examples
    --------
    >>> reduced(np.array([[0.0, 1.0], [2.0, 5.0]]))
    array([[0., 1.],
           [2., 0.]])
    """
    a, b = (np.asarray(v, float) for v in basis)
    for _ in range(1000):
        if a @ a > b @ b:
            a, b = b, a
        step = np.rint(a @ b / (a @ a))
        if step == 0:
            break
        b = b - step * a
    if abs(a[1]) / np.linalg.norm(a) < abs(b[1]) / np.linalg.norm(b):
        a, b = b, a
    a = a if a[1] >= 0 else -a
    return np.stack([a, b if b[0] >= 0 else -b])


def dual(basis: Array) -> Array:
    """Reciprocal basis (without 2 pi): real lattice vectors (rows, nm) from cycles per nm, and the other way round."""
    return np.asarray(np.linalg.inv(basis).T)


def as_expected(vectors: Array, expected: Array, *, mirrored: bool = True) -> Array:
    """The vectors of the lattice that are most like the expected ones, up to a rotation (and a mirror).

    Parameters
    ----------
    vectors, expected : (2, 2), one vector per row.

    Returns
    -------
    (2, 2) : whole-number combinations of ``vectors``, row k like row k of ``expected``.
    """
    best, least = vectors, np.inf
    for m in _unimodular():
        if not mirrored and np.linalg.det(m @ vectors) * np.linalg.det(expected) < 0:
            continue
        candidate = m @ vectors
        strain = float(np.linalg.norm(candidate @ candidate.T - expected @ expected.T))
        turned = float(np.linalg.norm(candidate - expected))  # of equally good ones, the least turned
        if strain + 1e-6 * turned < least:
            best, least = candidate, strain + 1e-6 * turned
    return np.asarray(best)


def nearest_basis(vectors: Array, reference: Array) -> Array:
    """The vectors of the lattice that lie nearest to the reference's, direction included."""
    return min((m @ vectors for m in _unimodular()), key=lambda v: float(np.linalg.norm(v - reference)))


def cell_vectors(first_nm: float, second_nm: float, angle_deg: float) -> Array:
    """(2, 2) vectors of a cell from two lengths and the angle between them; the first along x."""
    t = np.radians(angle_deg)
    return np.array([[0.0, first_nm], [second_nm * np.sin(t), second_nm * np.cos(t)]])


def lengths_and_angle(vectors: Array) -> tuple[float, float, float]:
    """Lengths of two vectors and the angle between them, degrees."""
    a, b = np.linalg.norm(vectors, axis=1)
    cosine = float(np.clip(vectors[0] @ vectors[1] / (a * b), -1, 1))
    return float(a), float(b), float(np.degrees(np.arccos(cosine)))


def _unimodular() -> list[NDArray[np.float64]]:
    entries = itertools.product((-2.0, -1.0, 0.0, 1.0, 2.0), repeat=4)
    every = (np.array(e).reshape(2, 2) for e in entries)
    return [m for m in every if abs(abs(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]) - 1) < 1e-9]
