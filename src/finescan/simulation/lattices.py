"""Crystals with a known place of every atom column: gallium nitride as a STEM shows it, graphite as an STM does.

The lattice is perfect only on average: GaN has a stacking fault that ends at a partial dislocation, and columns that
are missing or thin; graphite has a step and a point defect. What the microscope does to it is in
:mod:`finescan.simulation.lattice_scans`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.simulation.lattice import paint
from finescan.values import Acquisition, Grid, Image

Array = NDArray[np.float64]

#: nm. GaN: Leszczynski et al. 1996, doi:10.1063/1.118123 (rounded); graphite: the distance of like neighbours.
GAN_A, GAN_C, GRAPHITE_A = 0.3189, 0.5185, 0.2460
GAN_U = 0.377  # bond along c over c: Schulz and Thiemann 1977, doi:10.1016/0038-1098(77)90959-0
NITROGEN = (7 / 31) ** 1.7  # brightness of N over Ga in HAADF; the exponent lies between 1.6 and 2
POISSON_RATIO = 0.2  # of the dislocation's displacements
TRUTH_PIXEL_NM = {"GaN [11-20]": 0.008, "GaN [1-100]": 0.008, "graphite": 0.015}
MARGIN_NM = 1.2  # of the sample around the field that was asked for: room for drift and turned scans


@dataclass(frozen=True)
class Crystal:
    """A periodic pattern of columns.

    Parameters
    ----------
    vectors_nm : (2, 2), one lattice vector (y, x) per row.
    sites : label, place in units of the two vectors, brightness (grey) and standard deviation (nm) of every column of
        the cell.
    background : grey between the columns.
    """

    vectors_nm: tuple[tuple[float, float], tuple[float, float]]
    sites: tuple[tuple[str, tuple[float, float], float, float], ...]
    background: float


def _gan(vectors: tuple[tuple[float, float], tuple[float, float]], heavy: list[tuple[float, float]]) -> Crystal:
    """Ga at the given places and N above each of them along c (the second vector)."""
    light = [(a, (c + GAN_U * GAN_C / vectors[1][0]) % 1.0) for a, c in heavy]
    sites = [("Ga", at, 0.6, 0.025) for at in heavy] + [("N", at, 0.6 * NITROGEN, 0.025) for at in light]
    return Crystal(vectors, tuple(sites), 0.12)


#: c points down the rows. Seen along [11-20] pairs of Ga and N are 0.11 nm apart, Ga in zigzag; seen along [1-100]
#: rows of Ga alternate with N close by. An STM shows every second atom of graphite (Tomanek and Louie 1988,
#: doi:10.1103/PhysRevB.37.8327): a triangular lattice.
CRYSTALS = {
    "GaN [11-20]": _gan(((0.0, GAN_A * np.sqrt(0.75)), (GAN_C, 0.0)), [(0.0, 0.0), (1 / 3, 0.5)]),
    "GaN [1-100]": _gan(((0.0, GAN_A / 2), (GAN_C / 2, 0.0)), [(0.0, 0.0)]),
    "graphite": Crystal(
        ((0.0, GRAPHITE_A), (GRAPHITE_A * np.sqrt(0.75), GRAPHITE_A / 2)), (("C", (0.0, 0.0), 0.2, 0.062),), 0.3
    ),
}


@dataclass(frozen=True)
class LatticeSample:
    """A piece of crystal with the true place of every column.

    Parameters
    ----------
    crystal : name in :data:`CRYSTALS`.
    columns_nm : (n, 2) y, x in the frame of the sample, in which the field of view begins at (0, 0).
    species : (n,) index into ``labels``.
    labels : names of the columns, "Ga", "N" or "C".
    peak : (n,) grey that the middle of the column adds; 0 = a vacancy.
    vectors_nm : (2, 2) lattice vectors (y, x) far from defects, one per row.
    image : noise-free grey levels before any probe, about 0 to 1, a margin around the field included.
    defects : what was put where, one sentence each.
    """

    crystal: str
    columns_nm: Array
    species: NDArray[np.int64]
    labels: tuple[str, ...]
    peak: Array
    vectors_nm: Array
    image: Image
    defects: tuple[str, ...] = ()


def lattice_sample(
    crystal: str,
    field_nm: float,
    *,
    turn_deg: float | None = None,
    defects: bool = True,
    background: bool = True,
    seed: int = 0,
) -> LatticeSample:
    """Grow a square piece of a crystal.

    Parameters
    ----------
    crystal : name in :data:`CRYSTALS`.
    field_nm : edge of the field of view.
    turn_deg : orientation of the lattice in the field; None = random (GaN within 8 degrees, graphite any).
    defects : False leaves the lattice perfect.
    background : False leaves thickness, brightness variation, steps and tilt out.
    seed : of everything random.

    Raises
    ------
    InputError : unknown crystal, or a field of less than four cells.

    Examples
    --------
    >>> sample = lattice_sample("graphite", 3.0, seed=1)
    >>> sample.labels, sample.image.grid.pixel_size_nm
    (('C',), (0.015, 0.015))
    """
    if crystal not in CRYSTALS:
        raise InputError(f"A crystal is one of {', '.join(CRYSTALS)}, but {crystal!r} came.")
    kind = CRYSTALS[crystal]
    rng = np.random.default_rng([seed, 51])
    if turn_deg is None:
        turn_deg = float(rng.uniform(-30, 30) if crystal == "graphite" else rng.uniform(-8, 8))
    vectors = np.asarray(kind.vectors_nm) @ _rotation(turn_deg)
    if field_nm < 4 * np.linalg.norm(vectors, axis=1).max():
        raise InputError(f"A lattice needs a field of at least four cells, but {field_nm:g} nm came. Ask for more.")
    labels = tuple(dict.fromkeys(s[0] for s in kind.sites))
    at, site = _filled(kind, vectors, field_nm, rng.random(2))
    peak = np.array([s[2] for s in kind.sites])[site]
    species = np.array([labels.index(s[0]) for s in kind.sites])[site]
    said: tuple[str, ...] = ()
    step = None
    if defects and crystal == "graphite":
        at, peak, step, said = _stepped_graphite(at, peak, vectors, field_nm, rng)
    elif defects:
        at, peak, said = _faulted_gan(at, peak, species, vectors, field_nm, rng)
    grid = _field_grid(field_nm, TRUTH_PIXEL_NM[crystal])
    slow = _slow(grid, rng) if background else np.zeros(grid.shape, np.float32)
    if background:
        peak = peak * (1 + 0.04 * rng.standard_normal(len(peak))) * (1 + _at(slow, grid, at))
    data = kind.background * (1 + slow)
    _paint_all(data, grid, at, peak, np.array([s[3] for s in kind.sites])[site])
    if step is not None and background:
        data += step(_positions(grid)).astype(np.float32)
    facts = Acquisition(vendor="simulation", pixel_size_from="simulation")
    image = Image(data, grid, f"{crystal} truth", facts)
    return LatticeSample(crystal, at, species, labels, peak, vectors, image, said)


def partial_dislocation(at: Array, core: Array, burgers: Array, plane: Array) -> Array:
    """Displacements around an edge dislocation in an isotropic crystal, its fault on the side that ``plane`` points to.

    Far along ``plane`` the two sides of the fault are shifted by ``burgers`` against each other.

    Parameters
    ----------
    at : (n, 2) positions (y, x), nm.
    core : (2,) of the dislocation.
    burgers : (2,) nm, along ``plane``.
    plane : (2,) unit vector from the core into the fault.

    Source: textbook elasticity, e.g. Hirth and Lothe, *Theory of Dislocations*, 1982, chapter 3.
    """
    normal = np.array([plane[1], -plane[0]])
    b = float(burgers @ plane)
    along, across = (at - core) @ plane, (at - core) @ normal
    r2 = along**2 + across**2 + 1e-4  # 0.01 nm: no infinite shift in the core
    turn = np.arctan2(across, -along)  # the jump lies where `along` is positive
    nu = POISSON_RATIO
    u = b / (2 * np.pi) * (turn - along * across / (2 * (1 - nu) * r2))
    v = b / (2 * np.pi) * ((1 - 2 * nu) / (4 * (1 - nu)) * np.log(r2) + (along**2 - across**2) / (4 * (1 - nu) * r2))
    return u[:, None] * plane + (v - np.median(v))[:, None] * normal


def _rotation(degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _filled(kind: Crystal, vectors: Array, field_nm: float, phase: Array) -> tuple[Array, NDArray[np.int64]]:
    """Columns of the field and its margin: positions (n, 2) and which site of the cell each is."""
    reach = int(np.ceil(1.5 * (field_nm + 2 * MARGIN_NM) / np.linalg.norm(vectors, axis=1).min())) + 2
    index = np.stack(np.meshgrid(*(np.arange(-reach, reach + 1),) * 2, indexing="ij"), -1).reshape(-1, 2)
    at = np.concatenate([(index + phase + np.array(s[1])) @ vectors for s in kind.sites]) + field_nm / 2
    site = np.repeat(np.arange(len(kind.sites)), len(index))
    inside = ((at > -MARGIN_NM - 0.3) & (at < field_nm + MARGIN_NM + 0.3)).all(-1)
    return at[inside], site[inside]


@dataclass(frozen=True)
class _Step:
    """A step of the surface along a line through ``core``: grey as a function of place."""

    core: Array
    normal: Array
    height: float = 0.25
    width_nm: float = 0.15

    def __call__(self, where: Array) -> Array:
        far = np.clip((where - self.core) @ self.normal / self.width_nm, -50, 50)
        return np.asarray(self.height / (1 + np.exp(-far)))


def _faulted_gan(
    at: Array, peak: Array, species: NDArray[np.int64], vectors: Array, field_nm: float, rng: np.random.Generator
) -> tuple[Array, Array, tuple[str, ...]]:
    """GaN: a stacking fault that ends in the field, empty and half-empty columns."""
    first, core = vectors[0] / np.linalg.norm(vectors[0]), field_nm * rng.uniform(0.35, 0.65, 2)
    burgers = vectors[0] / 3
    at = at + partial_dislocation(at, core, burgers, first)
    inside = np.flatnonzero((species == 0) & ((at > 0.5) & (at < field_nm - 0.5)).all(-1))
    count = max(1, round(0.004 * len(inside)))
    hit = rng.choice(inside, min(2 * count, len(inside)), replace=False)
    peak = peak.copy()
    peak[hit[:count]] = 0.0
    peak[hit[count:]] *= 0.55
    fault = (
        f"stacking fault from ({core[0]:.2f}, {core[1]:.2f}) nm along the first vector, shift "
        f"{1000 * np.linalg.norm(burgers):.0f} pm, ending at a partial dislocation"
    )
    return at, peak, (fault, f"{count} empty and {len(hit) - count} half-empty Ga columns")


def _stepped_graphite(
    at: Array, peak: Array, vectors: Array, field_nm: float, rng: np.random.Generator
) -> tuple[Array, Array, _Step, tuple[str, ...]]:
    """Graphite: a step along the first vector, an atom missing and its neighbours brighter."""
    first, core = vectors[0] / np.linalg.norm(vectors[0]), field_nm * rng.uniform(0.35, 0.65, 2)
    step = _Step(core, np.array([first[1], -first[0]]))
    beyond = (at - core) @ step.normal > 0
    # the visible atoms of the next layer lie over the holes of this one
    at = np.where(beyond[:, None], at + (vectors[0] + vectors[1]) / 3, at)
    centre = at[np.argmin(np.linalg.norm(at - field_nm * rng.uniform(0.2, 0.8, 2), axis=1))]
    far = np.linalg.norm(at - centre, axis=1)
    peak = np.where(far < 1e-6, 0.0, peak * (1 + 0.6 * np.exp(-0.5 * (far / 0.35) ** 2)))
    said = (
        f"step of one layer along the first vector through ({core[0]:.2f}, {core[1]:.2f}) nm: {step.height} grey",
        f"an atom missing at ({centre[0]:.2f}, {centre[1]:.2f}) nm, its neighbours brighter",
    )
    return at, peak, step, said


def _field_grid(field_nm: float, pixel: float) -> Grid:
    n = int(np.ceil((field_nm + 2 * MARGIN_NM) / pixel))
    return Grid.of((n, n), pixel, -MARGIN_NM)


def _positions(grid: Grid) -> Array:
    return grid.to_nm(np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1))


def _slow(grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Relative thickness: a wedge and two long waves, about -0.2 to 0.2."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape)
    ky, kx, phase = rng.uniform(-2, 2, 2), rng.uniform(-2, 2, 2), rng.uniform(0, 2 * np.pi, 2)
    out = 0.12 * (rng.uniform(-1, 1) * y[:, None] + rng.uniform(-1, 1) * x)
    for k in range(2):
        out = out + 0.04 * np.sin(ky[k] * y[:, None] + kx[k] * x + phase[k])
    return out.astype(np.float32)


def _at(slow: NDArray[np.float32], grid: Grid, at: Array) -> Array:
    """Value of a slow field at the nearest pixel."""
    index = np.rint(grid.to_index(at)).astype(int)
    y, x = (np.clip(index[:, k], 0, grid.shape[k] - 1) for k in range(2))
    return slow[y, x].astype(np.float64)


def _paint_all(
    data: NDArray[np.float32],
    grid: Grid,
    at: Array,
    peak: Array,
    sigma_nm: Array,
) -> None:
    for sigma in np.unique(sigma_nm):
        own = (sigma_nm == sigma) & (peak != 0)
        paint(data, grid.to_index(at[own]), peak[own], float(sigma) / grid.pixel_size_nm[0])


def shifted(sample: LatticeSample, columns: NDArray[np.int64], shift_nm: Array) -> LatticeSample:
    """The sample with some columns moved, its image painted anew: for tests of what a displacement looks like.

    Parameters
    ----------
    columns : (m,) rows of ``columns_nm``.
    shift_nm : (m, 2) or (2,).
    """
    kind = CRYSTALS[sample.crystal]
    sigma = {s[0]: s[3] for s in kind.sites}
    at = sample.columns_nm.copy()
    at[columns] += shift_nm
    data = np.array(sample.image.data)
    widths = np.array([sigma[sample.labels[k]] for k in sample.species])
    for sign, where in ((-1.0, sample.columns_nm), (1.0, at)):
        _paint_all(data, sample.image.grid, where[columns], sign * sample.peak[columns], widths[columns])
    return replace(sample, columns_nm=at, image=sample.image.with_data(data))
