"""The lattice of fitted columns: its vectors, how far every column is from its place, and one lattice against another.

Columns that are a lattice vector apart are joined; what hangs together is a *family*: one kind of column in one
undisturbed piece of crystal. All families share the two vectors, every family has an origin of its own, so neither
several columns per cell nor a stacking fault has to be known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import spatial
from scipy.sparse import coo_array, csgraph

from finescan.errors import InputError
from finescan.quantification.columns import LEAST_HEIGHT, Columns, find_columns
from finescan.quantification.reduction import dual, lengths_and_angle, reduced
from finescan.quantification.spectrum import reciprocal_basis
from finescan.values import Image

Array = NDArray[np.float64]

JOINED = 0.2  # of the distance of neighbours, by which a lattice vector may miss the next column
JOINING = 0.75  # share of the columns that a lattice vector must lead to another one
SMALLEST_FAMILY = 6
FEWEST = 12
MOST_STRAY = 0.5  # share of columns that belong to no family from which on there is no lattice
BLOCKS = 4  # the field is cut in so many parts along each side for the jackknife
BISQUARE = 4.685  # of Tukey's weights (95 % efficient for normal errors)
ROUNDS = 8


@dataclass(frozen=True)
class Lattice:
    """Columns on their lattice.

    Parameters
    ----------
    columns : what was fitted.
    vectors_nm, vectors_error_nm : (2, 2) lattice vectors (y, x), one per row, and their standard errors by a jackknife
        over 16 parts of the field, so that distortions count and not only noise. Errors of the pixel size are not in.
    family : (n,) number of the family of every column, largest first; -1 = on no lattice.
    index : (n, 2) whole numbers of lattice vectors from the origin of the family; 0 where family is -1.
    displacement_nm : (n, 2) from the place that the ideal lattice of its family has for the column; NaN off the
        lattice.
    notes : what the reader must know, in sentences.
    """

    columns: Columns
    vectors_nm: Array
    vectors_error_nm: Array
    family: NDArray[np.int64] = field(repr=False)
    index: NDArray[np.int64] = field(repr=False)
    displacement_nm: Array = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def placed(self) -> NDArray[np.bool_]:
        """(n,) which columns are on the lattice."""
        return np.asarray(self.family >= 0)

    @property
    def cell(self) -> tuple[float, float, float]:
        """Lengths of the vectors, nm, and the angle between them, degrees."""
        return lengths_and_angle(self.vectors_nm)

    @property
    def cell_error(self) -> tuple[float, float, float]:
        """Standard errors of :attr:`cell`."""
        return _cell_error(self.vectors_nm, self.vectors_error_nm)

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        far = 1e3 * np.linalg.norm(self.displacement_nm[self.placed], axis=1)
        return {
            "vectors_pm": (1e3 * self.vectors_nm).tolist(),
            "vectors_error_pm": (1e3 * self.vectors_error_nm).tolist(),
            "cell": _cell_dict(self.cell),
            "cell_error": _cell_dict(self.cell_error),
            "on_lattice": int(self.placed.sum()),
            "off_lattice": int((~self.placed).sum()),
            "families": np.bincount(self.family[self.placed]).tolist(),
            "displacement_pm": {
                "median": float(np.median(far)),
                "p95": float(np.quantile(far, 0.95)),
                "rms": float(np.sqrt(np.mean(far**2))),
            },
            "notes": list(self.notes),
        }

    def table(self) -> dict[str, NDArray]:
        """One row per column, for CSV: place and errors in nm, everything small in pm."""
        c = self.columns
        return {
            "y_nm": c.position_nm[:, 0],
            "x_nm": c.position_nm[:, 1],
            "y_error_pm": 1e3 * c.error_nm[:, 0],
            "x_error_pm": 1e3 * c.error_nm[:, 1],
            "height": c.height,
            "height_error": c.height_error,
            "ground": c.ground,
            "sigma_long_pm": 1e3 * c.sigma_nm[:, 0],
            "sigma_short_pm": 1e3 * c.sigma_nm[:, 1],
            "family": self.family,
            "first": self.index[:, 0],
            "second": self.index[:, 1],
            "y_displacement_pm": 1e3 * self.displacement_nm[:, 0],
            "x_displacement_pm": 1e3 * self.displacement_nm[:, 1],
        }

    def __str__(self) -> str:
        (a, b, angle), (da, db, dangle) = self.cell, self.cell_error
        far = self.summary()["displacement_pm"]
        return (
            f"{len(self.columns)} columns, {int(self.placed.sum())} of them on a lattice of {1e3 * a:.2f} ± "
            f"{1e3 * da:.2f} and {1e3 * b:.2f} ± {1e3 * db:.2f} pm at {angle:.2f} ± {dangle:.2f}°; off their places by "
            f"{far['median']:.1f} pm (median; 95 %: {far['p95']:.1f})"
        )


def measure_lattice(image: Image, *, least_height: float = LEAST_HEIGHT, bright: bool = True) -> Lattice:
    """Find the columns of a picture and the lattice they lie on; see :func:`find_columns` for the options and errors.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :96] * 0.0125
    >>> waves = np.cos(2 * np.pi * y / 0.15) + np.cos(2 * np.pi * x / 0.1)
    >>> from finescan.values import Grid
    >>> [round(v, 3) for v in measure_lattice(Image(waves, Grid.of((96, 96), 0.0125))).cell]
    [0.1, 0.15, 90.0]
    """
    return lattice_of(find_columns(image, least_height=least_height, bright=bright), name=image.name)


def lattice_of(columns: Columns, vectors_nm: Array | None = None, *, name: str = "image") -> Lattice:
    """Place columns on a lattice and fit its vectors.

    Parameters
    ----------
    columns : of at least 12 columns.
    vectors_nm : (2, 2) rough lattice vectors; None = from the periods of the image.
    name : for messages.

    Raises
    ------
    InputError : fewer than half of the columns lie on one lattice.
    """
    if vectors_nm is None:
        vectors_nm = reduced(dual(reciprocal_basis(columns.peaks, name)))
    at = columns.position_nm
    vectors = _local_vectors(at, np.asarray(vectors_nm, float))
    family, index = _families(at, vectors)
    placed = family >= 0
    if placed.sum() < FEWEST or np.mean(~placed) > MOST_STRAY:
        raise InputError(
            f"{name}: only {int(placed.sum())} of {len(at)} columns lie on one lattice, but half of them and at least "
            f"{FEWEST} are needed. Use a larger field, raise least_height (--least-height) if noise is taken for "
            "columns, or give the pieces of a polycrystal one by one."
        )
    weight = _weights(columns, placed)
    vectors, origins, weight = _robust(at[placed], index[placed], family[placed], weight[placed])
    error = _jackknife(at[placed], index[placed], family[placed], weight)
    displacement = np.full(at.shape, np.nan)
    displacement[placed] = at[placed] - index[placed] @ vectors - origins[family[placed]]
    return Lattice(columns, vectors, error, family, index, displacement, _notes(family, len(origins)))


def _local_vectors(at: Array, vectors: Array) -> Array:
    """The two shortest lattice vectors that lead from nearly every column to another one.

    Weak periods hide in noise, and then the spectrum shows too small a cell. So sums of the vectors are tried too.
    """
    tree = spatial.cKDTree(at)
    spacing = float(np.median(tree.query(at, k=2)[0][:, 1]))
    steps = np.array([(0, j) for j in (1, 2, 3)] + [(i, j) for i in (1, 2, 3) for j in range(-3, 4)]) @ vectors
    steps = np.array([_step_of_neighbours(at, tree, s, spacing) for s in steps])
    share = np.array([_joined(at, tree, s, spacing) for s in steps])
    steps = steps[share >= min(JOINING, 0.9 * float(share.max()))]
    steps = steps[np.argsort(np.linalg.norm(steps, axis=1), kind="stable")]
    sine = np.abs(steps[:, 0] * steps[0, 1] - steps[:, 1] * steps[0, 0]) / np.linalg.norm(steps[0])
    across = np.flatnonzero(sine > 0.3 * np.linalg.norm(steps, axis=1))
    if not len(across):
        return vectors
    return reduced(np.stack([steps[0], steps[across[0]]]))


def _step_of_neighbours(at: Array, tree: spatial.cKDTree, step: Array, spacing: float) -> Array:
    """A lattice vector as columns have it: the median over all that are about that far apart."""
    for _ in range(2):
        far, who = tree.query(at + step, distance_upper_bound=2 * JOINED * spacing)
        there = np.isfinite(far)
        step = np.median(at[who[there]] - at[there], axis=0) if there.sum() >= FEWEST else step
    return step


def _joined(at: Array, tree: spatial.cKDTree, step: Array, spacing: float) -> float:
    """Share of the columns, of those whose step does not leave the field, that find another one there."""
    low, high = at.min(0) - spacing / 2, at.max(0) + spacing / 2
    inside = ((at + step > low) & (at + step < high)).all(1)
    far, _ = tree.query(at[inside] + step, distance_upper_bound=JOINED * spacing)
    return float(np.isfinite(far).mean()) if inside.sum() >= FEWEST else 0.0


def _families(at: Array, vectors: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Family (n,) and index (n, 2): joined by lattice vectors and their sum and difference, walked from one column."""
    tree = spatial.cKDTree(at)
    reach = JOINED * float(np.median(tree.query(at, k=2)[0][:, 1]))
    steps = np.array([[1, 0], [0, 1], [1, 1], [1, -1]])
    from_, to, step = [], [], []
    for s in steps:
        far, who = tree.query(at + s @ vectors, distance_upper_bound=reach)
        own = np.flatnonzero(np.isfinite(far))
        from_ += [own, who[own]]
        to += [who[own], own]
        step += [np.tile(s, (len(own), 1)), np.tile(-s, (len(own), 1))]
    graph = coo_array(
        (np.ones(sum(map(len, from_))), (np.concatenate(from_), np.concatenate(to))), (len(at),) * 2
    ).tocsr()
    _, family = csgraph.connected_components(graph, directed=False)
    size = np.bincount(family)
    rank = np.empty(len(size), np.int64)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(size))
    rank[size < SMALLEST_FAMILY] = -1
    index = np.zeros((len(at), 2), np.int64)
    taken = {
        (a, b): s
        for a, b, s in zip(
            np.concatenate(from_).tolist(), np.concatenate(to).tolist(), np.concatenate(step), strict=True
        )
    }
    for k in np.flatnonzero(rank >= 0):
        # the middle of a family as its origin: distortions then add up over the shortest ways
        members = np.flatnonzero(family == k)
        start = members[np.argmin(np.linalg.norm(at[members] - at[members].mean(0), axis=1))]
        order, before = csgraph.breadth_first_order(graph, start, directed=False)
        for n in order[1:]:
            index[n] = index[before[n]] + taken[before[n], n]
    return rank[family], index


def _weights(columns: Columns, placed: NDArray[np.bool_]) -> Array:
    """Inverse squares of the errors, none of them more than 100 times the usual one."""
    square = (columns.error_nm**2).mean(1)
    usual = float(np.median(square[placed])) or 1.0
    return np.asarray(1 / np.maximum(square / usual, 0.01))


def _design(index: NDArray[np.int64], family: NDArray[np.int64], weight: Array, at: Array) -> tuple[Array, Array]:
    """Vectors (2, 2) and origins (families, 2) by weighted least squares: origins are eliminated."""
    count = int(family.max()) + 1
    total = np.bincount(family, weight, count)
    safe = np.where(total > 0, total, 1.0)

    def means(v: Array) -> Array:
        return np.stack([np.bincount(family, weight * c, count) for c in v.T], 1) / safe[:, None]

    i = index.astype(float)
    mi, mr = means(i), means(at)
    di, dr = i - mi[family], at - mr[family]
    vectors = np.asarray(np.linalg.lstsq((di * weight[:, None]).T @ di, (di * weight[:, None]).T @ dr)[0], np.float64)
    return vectors, mr - mi @ vectors


def _robust(
    at: Array, index: NDArray[np.int64], family: NDArray[np.int64], weight: Array
) -> tuple[Array, Array, Array]:
    """Vectors, origins and the final weights: columns far off their place (at defects) count less and less."""
    w = weight
    for _ in range(ROUNDS):
        vectors, origins = _design(index, family, w, at)
        far = np.linalg.norm(at - index @ vectors - origins[family], axis=1)
        scale = BISQUARE * max(float(np.median(far)) / 1.1774, 1e-9)  # the median length of a plane normal vector
        w = weight * np.clip(1 - (far / scale) ** 2, 0, None) ** 2
    return vectors, origins, w


def _jackknife(at: Array, index: NDArray[np.int64], family: NDArray[np.int64], weight: Array) -> Array:
    """Standard errors (2, 2) of the vectors: fits without one part of the field after the other."""
    low, high = at.min(0), at.max(0)
    part = np.minimum(((at - low) / np.maximum(high - low, 1e-300) * BLOCKS).astype(int), BLOCKS - 1)
    block = part[:, 0] * BLOCKS + part[:, 1]
    fits = np.array([_design(index, family, weight * (block != b), at)[0] for b in np.unique(block)])
    n = len(fits)
    return np.asarray(np.sqrt((n - 1) / n * ((fits - fits.mean(0)) ** 2).sum(0)))


def _notes(family: NDArray[np.int64], families: int) -> tuple[str, ...]:
    stray = int((family < 0).sum())
    said = []
    if stray:
        said.append(f"{stray} columns lie on no lattice: at defects, at the edge, or no columns at all.")
    if families > 1:
        said.append(
            f"{families} families of columns share the vectors: several columns per cell, or pieces that are shifted "
            "against each other. Displacements are from the lattice of the own family."
        )
    return tuple(said)


def _cell_error(vectors: Array, error: Array) -> tuple[float, float, float]:
    """First-order errors of lengths and angle from those of the components, taken as independent."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    along = np.sqrt(((unit * error) ** 2).sum(1))
    across = np.sqrt(((unit[:, ::-1] * error) ** 2).sum(1)) / np.linalg.norm(vectors, axis=1)
    return float(along[0]), float(along[1]), float(np.degrees(np.hypot(*across)))


def _cell_dict(cell: tuple[float, float, float]) -> dict[str, float]:
    return {"first_pm": 1e3 * cell[0], "second_pm": 1e3 * cell[1], "angle_deg": cell[2]}
