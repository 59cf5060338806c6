"""One lattice against another: which columns are the same, how far they moved, which were lost or invented."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from finescan.errors import InputError
from finescan.quantification.lattice import Lattice
from finescan.quantification.reduction import nearest_basis

Array = NDArray[np.float64]

SAME = 0.35  # of the distance of neighbours: columns farther apart are not the same one
MARGIN = 1.0  # distance of neighbours from the edge within which nobody is called lost or invented
SHIFT_ROUNDS = 3


@dataclass(frozen=True)
class LatticeChanges:
    """Measured minus reference lattice vectors, whatever basis each side was measured in.

    Parameters
    ----------
    vectors : (2, 2) change of the vectors (y, x) over the length of the reference's, one per row.
    length, length_error : (2,) relative change of the lengths and its standard error.
    angle_deg : change of the angle from the first to the second vector.
    """

    vectors: Array
    length: Array
    length_error: Array
    angle_deg: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, changes in percent."""
        return {
            "vectors_change_percent": (100 * self.vectors).tolist(),
            "length_change_percent": (100 * self.length).tolist(),
            "length_change_error_percent": (100 * self.length_error).tolist(),
            "angle_change_deg": self.angle_deg,
        }

    def __str__(self) -> str:
        (a, b), (da, db) = 100 * self.length, 100 * self.length_error
        return f"vectors {a:+.2f} ± {da:.2f} % and {b:+.2f} ± {db:.2f} %, angle {self.angle_deg:+.2f}°"


@dataclass(frozen=True)
class LatticeComparison:
    """A measured lattice against a reference of the same place.

    Parameters
    ----------
    pairs : (m, 2) rows of the measured columns and of the reference columns that are the same.
    shift_nm : (2,) median of measured minus reference place (y, x), of all pairs: of the whole image, taken out below.
    displacement_nm : (m, 2) measured minus reference place, without the shift.
    lost, invented : rows of the reference columns, of the measured columns without partner, where both could have one.
    compared : (measured, reference) columns in the part of the field where both are whole.
    changes : of the lattice vectors.
    expected_nm : median length that the standard errors of both sides alone would give the displacements.
    """

    pairs: NDArray[np.int64] = field(repr=False)
    shift_nm: Array
    displacement_nm: Array = field(repr=False)
    lost: NDArray[np.int64] = field(repr=False)
    invented: NDArray[np.int64] = field(repr=False)
    compared: tuple[int, int]
    changes: LatticeChanges
    expected_nm: float

    @property
    def distance_nm(self) -> Array:
        """(m,) lengths of the displacements."""
        return np.asarray(np.linalg.norm(self.displacement_nm, axis=1))

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON; lengths in pm, changes in percent."""
        far = 1e3 * self.distance_nm
        return {
            "same": len(self.pairs),
            "lost": len(self.lost),
            "invented": len(self.invented),
            "compared": {"measured": self.compared[0], "reference": self.compared[1]},
            "shift_pm": (1e3 * self.shift_nm).tolist(),
            "displacement_pm": {
                "median": _or_none(np.quantile(far, 0.5) if len(far) else np.nan),
                "p95": _or_none(np.quantile(far, 0.95) if len(far) else np.nan),
                "rms": _or_none(np.sqrt(np.mean(far**2)) if len(far) else np.nan),
            },
            "displacement_expected_pm": _or_none(1e3 * self.expected_nm),
            **self.changes.to_dict(),
        }

    def __str__(self) -> str:
        s = self.summary()
        far = s["displacement_pm"]
        if not s["same"]:
            return f"no column in common; {s['lost']} lost, {s['invented']} invented"
        return (
            f"{s['same']} columns the same, {far['median']:.1f} pm apart (median; 95 %: {far['p95']:.1f}; noise alone "
            f"{s['displacement_expected_pm']:.1f}); {s['lost']} lost, {s['invented']} invented; "
            f"{self.changes}"
        )


def compare_lattices(measured: Lattice, reference: Lattice) -> LatticeComparison:
    """Compare columns and lattice vectors of two images of one place, in one frame.

    Columns are the same when each is the other's nearest one and they are less than 0.35 of the distance of neighbours
    apart, after the shift of the whole image (found in a few rounds, at most half a distance) is taken out.

    Raises
    ------
    InputError : the images have no field in common.

    Examples
    --------
    >>> from finescan.simulation import lattice_sample, record_stem
    >>> from finescan.quantification import measure_lattice
    >>> one = measure_lattice(record_stem(lattice_sample("GaN [11-20]", 4.0, seed=1), 0.0124, pixels=320).image)
    >>> compare_lattices(one, one).summary()["displacement_pm"]["p95"]
    0.0
    """
    a, b = measured.columns, reference.columns
    box = _common_field(measured, reference)
    spacing = b.spacing_nm
    shift, pairs = np.zeros(2), np.empty((0, 2), np.int64)
    for _ in range(SHIFT_ROUNDS):
        pairs = _mutual(a.position_nm - shift, b.position_nm, SAME * spacing)
        if len(pairs):
            shift = np.median(a.position_nm[pairs[:, 0]] - b.position_nm[pairs[:, 1]], axis=0)
    inner = [_within(c, box, MARGIN * spacing) for c in (a.position_nm - shift, b.position_nm)]
    both = inner[0][pairs[:, 0]] | inner[1][pairs[:, 1]]
    pairs = pairs[both]
    lone = [np.setdiff1d(np.flatnonzero(inside), pairs[:, k]) for k, inside in enumerate(inner)]
    error = np.sqrt(a.error_nm[pairs[:, 0]] ** 2 + b.error_nm[pairs[:, 1]] ** 2)
    expected = 1.1774 * float(np.median(np.sqrt((error**2).mean(1)))) if len(pairs) else float("nan")
    return LatticeComparison(
        pairs=pairs,
        shift_nm=shift,
        displacement_nm=a.position_nm[pairs[:, 0]] - b.position_nm[pairs[:, 1]] - shift,
        lost=lone[1],
        invented=lone[0],
        compared=(int(inner[0].sum()), int(inner[1].sum())),
        changes=lattice_changes(measured, reference),
        expected_nm=expected,
    )


def _common_field(measured: Lattice, reference: Lattice) -> tuple[Array, Array]:
    """Lower and upper corner, nm, of where whole columns of both can lie."""
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    for c in (measured.columns, reference.columns):
        reach = c.radius_px * np.asarray(c.grid.pixel_size_nm)
        edge = np.asarray(c.grid.edge_nm)
        low, high = np.maximum(low, edge + reach), np.minimum(high, edge + np.asarray(c.grid.extent_nm) - reach)
    if (high <= low).any():
        raise InputError(
            f"Two lattices are compared where both were seen, but {measured.columns.grid} and {reference.columns.grid} "
            "have no field in common. Register the images first."
        )
    return low, high


def _within(at: Array, box: tuple[Array, Array], margin: float) -> NDArray[np.bool_]:
    return np.asarray(((at > box[0] + margin) & (at < box[1] - margin)).all(1))


def _mutual(a: Array, b: Array, reach: float) -> NDArray[np.int64]:
    """Rows (m, 2) of points that are each other's nearest and closer than ``reach``."""
    if not len(a) or not len(b):
        return np.empty((0, 2), np.int64)
    far, there = spatial.cKDTree(b).query(a, distance_upper_bound=reach)
    _, back = spatial.cKDTree(a).query(b)
    k = np.flatnonzero(np.isfinite(far))
    k = k[back[there[k]] == k]
    return np.stack([k, there[k]], 1).astype(np.int64)


def lattice_changes(measured: Lattice, reference: Lattice) -> LatticeChanges:
    """How the lattice vectors differ; the images need not show the same field, but must lie the same way round."""
    theirs = reference.vectors_nm
    ours = nearest_basis(measured.vectors_nm, theirs)
    exchange = np.abs(np.rint(ours @ np.linalg.inv(measured.vectors_nm)))
    error = np.sqrt((exchange @ measured.vectors_error_nm) ** 2 + reference.vectors_error_nm**2)
    length = np.linalg.norm(theirs, axis=1)
    unit = theirs / length[:, None]
    return LatticeChanges(
        vectors=(ours - theirs) / length[:, None],
        length=np.linalg.norm(ours, axis=1) / length - 1,
        length_error=np.sqrt(((unit * error) ** 2).sum(1)) / length,
        angle_deg=_angle(ours) - _angle(theirs),
    )


def _or_none(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _angle(vectors: Array) -> float:
    """From the first to the second vector, degrees."""
    (ay, ax), (by, bx) = vectors
    return float(np.degrees(np.arctan2(ax * by - ay * bx, ax * bx + ay * by)))
