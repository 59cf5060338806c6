"""Recovery by matching objects: which pores of the reference were found, lost, merged or split, and which invented.

Counting labels, as published, lets errors cancel: a pore that is lost and one that noise invented add up to none. Here
the overlap of the two label volumes decides.

Of every pair of a measured object m and a reference object r, let n be the voxels they share.

found      m and r share more with each other than with anybody else, and n over the voxels of either (IoU) is at least
           0.25 (spheres about one centre: diameters that differ 1.59-fold); more than 0.5 where m merges or r is split.
merged     r was not found, and half of it or more lies in an m that holds half or more of several reference objects.
split      r was not found, and several m lie by half or more inside it.
lost       every other r.
merging    m is no find and holds half or more of several reference objects.
fragment   m is no find and lies by half or more inside an r.
invented   every other m.

Objects cut by the faces take part, because an object may touch the face in one volume and not in the other; but only
counted objects of either side appear in the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.quantification.measurements import Measurements
from finescan.quantification.spheres import label_spheres

MIN_IOU = 0.25
MIN_IOU_ENTANGLED = 0.5
REFERENCE_FATES = ("found", "merged", "split", "lost")
MEASURED_FATES = ("found", "merging", "fragment", "invented")


@dataclass(frozen=True)
class Matching:
    """Who is who.

    Parameters
    ----------
    reference_fate : (references,) index into :data:`REFERENCE_FATES`; row k is reference object k + 1.
    measured_fate : (measured,) index into :data:`MEASURED_FATES`.
    partner : (references,) label of the measured object that is the find, 0 if not found; a label above the number of
        counted objects is one that the faces cut.
    iou : (references,) voxels shared over voxels of either, of the finds; NaN if not found.
    reference_diameter_nm : (references,) equivalent spherical diameters, for the recovery by size.
    """

    reference_fate: NDArray[np.int8]
    measured_fate: NDArray[np.int8]
    partner: NDArray[np.int64]
    iou: NDArray[np.float64]
    reference_diameter_nm: NDArray[np.float64]

    @property
    def recovery(self) -> float:
        """Found over reference objects, 0 to 1; NaN without reference objects."""
        return _share(self.references["found"], self.reference_fate.size)

    @property
    def invented_share(self) -> float:
        """Invented over measured objects, 0 to 1; NaN without measured objects."""
        return _share(self.measured["invented"], self.measured_fate.size)

    @property
    def count_ratio(self) -> float:
        """The published number: measured over reference objects, whoever they are; errors cancel in it."""
        return _share(self.measured_fate.size, self.reference_fate.size)

    @property
    def references(self) -> dict[str, int]:
        """Reference objects per fate."""
        return {name: int(np.sum(self.reference_fate == k)) for k, name in enumerate(REFERENCE_FATES)}

    @property
    def measured(self) -> dict[str, int]:
        """Measured objects per fate."""
        return {name: int(np.sum(self.measured_fate == k)) for k, name in enumerate(MEASURED_FATES)}

    @property
    def pairs(self) -> NDArray[np.int64]:
        """(n, 2): label of the reference object, label of the measured one that is its find."""
        r = np.flatnonzero(self.partner) + 1
        return np.stack([r, self.partner[r - 1]], axis=1)

    def recovery_at(self, min_iou: float) -> float:
        """Share of the reference objects found with at least this overlap (IoU), 0 to 1."""
        return _share(int(np.sum(self.iou >= min_iou)), self.iou.size)

    def recovery_by_size(self, edges_nm: ArrayLike) -> dict[str, NDArray]:
        """Recovery per bin of reference diameter.

        Parameters
        ----------
        edges_nm : (bins + 1,) ascending; the last bin includes its upper edge.

        Returns
        -------
        dict : ``edges_nm``, ``references`` and ``found`` (bins,) int64, ``recovery`` (bins,) with NaN where none are.
        """
        edges = np.asarray(edges_nm, np.float64)
        all_ = np.histogram(self.reference_diameter_nm, edges)[0].astype(np.int64)
        found = np.histogram(self.reference_diameter_nm[self.reference_fate == 0], edges)[0].astype(np.int64)
        share = np.divide(found, all_, out=np.full(all_.size, np.nan), where=all_ > 0)
        return {"edges_nm": edges, "references": all_, "found": found, "recovery": share}

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        shares = {
            "recovery": self.recovery,
            "recovery_half_overlap": self.recovery_at(MIN_IOU_ENTANGLED),
            "invented_share": self.invented_share,
            "count_ratio": self.count_ratio,
            "mean_iou": float(np.nanmean(self.iou)) if self.references["found"] else float("nan"),
        }
        numbers: Mapping[str, Any] = {"reference": self.references, "measured": self.measured}
        return dict(numbers) | {k: None if np.isnan(v) else v for k, v in shares.items()}

    def __str__(self) -> str:
        if not self.reference_fate.size:
            return f"nothing to match {self.measured_fate.size} objects with"
        r, m = self.references, self.measured
        return (
            f"{r['found']} of {self.reference_fate.size} found ({100 * self.recovery:.1f} %), {r['lost']} lost, "
            f"{r['merged']} merged, {r['split']} split; {m['invented']} of {self.measured_fate.size} invented"
        )


def match(measured: Measurements | NDArray, reference: Measurements | NDArray) -> Matching:
    """Match measured objects with reference objects by overlap; see the head of this file for the definitions.

    Parameters
    ----------
    measured, reference : measurements with labels, or label arrays (z, y, x) or (y, x) of whole numbers, 0 = no object,
        1 … n; all labels of an array count. Diameters of arrays are in voxels.

    Raises
    ------
    InputError : arrays of different shape, grids of different places, measurements without labels, negative labels.
    """
    both_known = isinstance(measured, Measurements) and isinstance(reference, Measurements)
    if both_known and not measured.grid.same_as(reference.grid, tolerance=1e-3):  # type: ignore[union-attr]
        raise InputError(
            "Objects can be matched on one grid only, but the measured volume is "
            f"{measured.grid} and the reference {reference.grid}. Quantify both on the same grid."  # type: ignore[union-attr]
        )
    m, m_count = _labels(measured, "measured")
    r, r_count = _labels(reference, "reference")
    if m.shape != r.shape:
        raise InputError(f"Labels of one shape are needed, but {m.shape} (measured) and {r.shape} (reference) came.")
    table = overlaps(m, r)
    if isinstance(reference, Measurements):
        diameters = reference.diameter_nm
    else:
        diameters = np.cbrt(6 * table.reference_voxels[1 : r_count + 1] / np.pi)
    return _decided(table, m_count, r_count, np.asarray(diameters, np.float64))


def match_spheres(measured: Measurements, centres_nm: ArrayLike, radii_nm: ArrayLike) -> Matching:
    """Match with spheres whose places are known; those cut by the first and last slice do not count.

    Parameters
    ----------
    measured : with labels, ZYX.
    centres_nm : (n, 3) z, y, x in the frame of the measured volume.
    radii_nm : (n,).

    Returns
    -------
    Matching : reference object k + 1 is the k-th of the spheres that have no voxel in those slices, in the given order.
    """
    truth = label_spheres(measured.grid, centres_nm, radii_nm)
    m, m_count = _labels(measured, "measured")
    diameters = 2 * np.asarray(radii_nm, np.float64)[truth.sphere[: truth.whole]]
    return _decided(overlaps(m, truth.labels), m_count, truth.whole, diameters)


@dataclass(frozen=True)
class Overlaps:
    """Sparse contingency table: pair k shares ``shared[k]`` voxels; and the voxels of every label 0 … n (int64)."""

    measured: NDArray[np.int64]
    reference: NDArray[np.int64]
    shared: NDArray[np.int64]
    measured_voxels: NDArray[np.int64]
    reference_voxels: NDArray[np.int64]


def overlaps(measured: NDArray, reference: NDArray) -> Overlaps:
    """Count the voxels that every pair of labels shares, slice by slice (64 bit; pairs with 0 are left out)."""
    m3, r3 = (a if a.ndim == 3 else a[None] for a in (measured, reference))
    width = int(r3.max(initial=0)) + 1
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    pending: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for z in range(m3.shape[0]):
        pending.append(_summed(*_runs(np.ascontiguousarray(m3[z]), np.ascontiguousarray(r3[z]), width)))
        if len(pending) == 64 or z == m3.shape[0] - 1:
            keys, counts = _summed(
                np.concatenate([keys, *(p[0] for p in pending)]), np.concatenate([counts, *(p[1] for p in pending)])
            )
            pending = []
    m, r = keys // width, keys % width
    m_voxels = _totals(m, counts, int(m3.max(initial=0)))
    r_voxels = _totals(r, counts, width - 1)
    both = (m > 0) & (r > 0)
    return Overlaps(m[both], r[both], counts[both], m_voxels, r_voxels)


def _decided(t: Overlaps, m_count: int, r_count: int, diameters: NDArray[np.float64]) -> Matching:
    """Fates from overlaps; see the head of this file."""
    m_size, r_size = t.measured_voxels, t.reference_voxels
    of_r, of_m = t.shared / r_size[t.reference], t.shared / m_size[t.measured]
    iou = t.shared / (m_size[t.measured] + r_size[t.reference] - t.shared)
    holds = np.bincount(t.measured[of_r >= 0.5], minlength=m_size.size)
    parts = np.bincount(t.reference[of_m >= 0.5], minlength=r_size.size)
    merging, splitting = holds >= 2, parts >= 2
    entangled = merging[t.measured] | splitting[t.reference]
    mutual = _best(t.measured, t.shared, m_size.size) & _best(t.reference, t.shared, r_size.size)
    find = mutual & np.where(entangled, iou > MIN_IOU_ENTANGLED, iou >= MIN_IOU)

    partner, quality = np.zeros(r_size.size, np.int64), np.full(r_size.size, np.nan)
    partner[t.reference[find]], quality[t.reference[find]] = t.measured[find], iou[find]
    in_merging = np.zeros(r_size.size, bool)
    in_merging[t.reference[(of_r >= 0.5) & merging[t.measured]]] = True
    r_fate = np.select([partner > 0, in_merging, splitting], [0, 1, 2], 3).astype(np.int8)

    is_find, inside = np.zeros(m_size.size, bool), np.zeros(m_size.size, bool)
    is_find[t.measured[find]] = True
    inside[t.measured[of_m >= 0.5]] = True
    m_fate = np.select([is_find, merging, inside], [0, 1, 2], 3).astype(np.int8)
    r, m = slice(1, r_count + 1), slice(1, m_count + 1)
    return Matching(r_fate[r], m_fate[m], partner[r], quality[r], diameters)


def _best(owner: NDArray[np.int64], shared: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which pair is the first of those with the greatest overlap of its owner."""
    most = np.zeros(size, np.int64)
    np.maximum.at(most, owner, shared)
    top = np.flatnonzero(shared == most[owner])
    _, first = np.unique(owner[top], return_index=True)
    best = np.zeros(owner.size, bool)
    best[top[first]] = True
    return best


def _labels(objects: Measurements | NDArray, side: str) -> tuple[NDArray, int]:
    """Label array and number of counted objects."""
    if isinstance(objects, Measurements):
        if objects.labels is None:
            raise InputError(f"The {side} objects have no labels to match. Quantify with keep_labels=True.")
        return objects.labels, objects.count
    labels = np.asarray(objects)
    if labels.dtype.kind not in "iu" or labels.ndim not in (2, 3) or labels.min(initial=0) < 0:
        raise InputError(
            f"The {side} labels must be whole numbers from 0 up, (z, y, x) or (y, x), but {labels.dtype} of "
            f"{labels.shape} came."
        )
    return labels, int(labels.max(initial=0))


def _summed(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    unique, where = np.unique(keys, return_inverse=True)
    total = np.zeros(unique.size, np.int64)
    np.add.at(total, where, counts)
    return unique, total


def _totals(owner: NDArray[np.int64], counts: NDArray[np.int64], last: int) -> NDArray[np.int64]:
    total = np.zeros(last + 1, np.int64)
    np.add.at(total, owner, counts)
    return total


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


@numba.njit(cache=True)
def _runs(m, r, width):  # type: ignore[no-untyped-def]
    """Runs of voxels with one pair of labels: pair as ``m * width + r``, and length; pair 0 (nobody) is left out."""
    ny, nx = m.shape
    keys, counts = np.empty(ny * nx, np.int64), np.empty(ny * nx, np.int64)
    k = 0
    for y in range(ny):
        last = np.int64(0)
        for x in range(nx):
            key = np.int64(m[y, x]) * width + np.int64(r[y, x])
            if key != 0 and key == last:
                counts[k - 1] += 1
            elif key != 0:
                keys[k], counts[k] = key, 1
                k += 1
            last = key
    return keys[:k].copy(), counts[:k].copy()
