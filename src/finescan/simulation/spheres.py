"""Spheres in a cylinder: the table that is the ground truth of a foam, and its grey levels on any grid."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.values import Acquisition, Grid, Image

TOUCH = 1e-6  # relative overlap up to which two spheres are said to touch
CSV_COLUMNS = ("z_nm", "y_nm", "x_nm", "radius_nm")


@dataclass(frozen=True)
class Spheres:
    """Round pores that do not overlap, in an upright cylinder of solid.

    The axis of the cylinder is parallel to z. Pores lie inside its round wall; its flat ends may cut them.

    Parameters
    ----------
    position_nm : (n, 3) z, y, x of the centres, nm, in the frame of the volume.
    radius_nm : (n,).
    centre_nm : z, y, x of the middle of the cylinder.
    cylinder_radius_nm, cylinder_height_nm : of the cylinder.

    Raises
    ------
    InputError : spheres that overlap or reach through the wall.
    """

    position_nm: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    centre_nm: tuple[float, float, float]
    cylinder_radius_nm: float
    cylinder_height_nm: float

    def __post_init__(self) -> None:
        n = len(self.radius_nm)
        if self.position_nm.shape != (n, 3) or not np.isfinite(self.position_nm).all():
            raise InputError(f"{n} spheres need positions of shape ({n}, 3), but {self.position_nm.shape} came.")
        if not (self.radius_nm > 0).all() or not min(self.cylinder_radius_nm, self.cylinder_height_nm) > 0:
            raise InputError("Spheres and their cylinder need positive radii and a positive height.")
        off = np.hypot(*(self.position_nm[:, 1:] - self.centre_nm[1:]).T) + self.radius_nm
        if n and off.max() > self.cylinder_radius_nm * (1 + TOUCH):
            raise InputError("Spheres must lie inside the wall of their cylinder, but at least one reaches through it.")
        pair = overlapping(self.position_nm, self.radius_nm)
        if pair is not None:
            raise InputError(
                f"Spheres must not overlap, but number {pair[0]} and number {pair[1]} do. "
                "Remove one of them: the chords of overlapping pores would be counted twice."
            )

    def __len__(self) -> int:
        return len(self.radius_nm)

    @property
    def porosity(self) -> float:
        """Volume of the pores over that of the cylinder, pores cut by its flat ends counted in part."""
        low = self.centre_nm[0] - self.cylinder_height_nm / 2
        z = np.stack([low - self.position_nm[:, 0], low + self.cylinder_height_nm - self.position_nm[:, 0]])
        h = np.clip(z, -self.radius_nm, self.radius_nm)
        below = np.pi * (self.radius_nm**2 * h - h**3 / 3)
        return float((below[1] - below[0]).sum() / (np.pi * self.cylinder_radius_nm**2 * self.cylinder_height_nm))

    def whole_inside(self, grid: Grid) -> NDArray[np.bool_]:
        """Which spheres lie whole inside the box of a grid (outer voxel edges), (n,) bool."""
        low = np.asarray(grid.edge_nm)
        high = low + np.asarray(grid.extent_nm)
        r = self.radius_nm[:, None]
        return np.asarray(((self.position_nm - r >= low) & (self.position_nm + r <= high)).all(axis=1))

    def touching(self, grid: Grid) -> NDArray[np.bool_]:
        """Which spheres reach into the box of a grid at all, (n,) bool."""
        low = np.asarray(grid.edge_nm)
        nearest = np.clip(self.position_nm, low, low + np.asarray(grid.extent_nm))
        return np.asarray(((self.position_nm - nearest) ** 2).sum(axis=1) < self.radius_nm**2)

    def part(self, keep: NDArray[Any]) -> Spheres:
        """Some of the spheres (index or mask) in the same cylinder."""
        return Spheres(
            self.position_nm[keep], self.radius_nm[keep], self.centre_nm, self.cylinder_radius_nm,
            self.cylinder_height_nm,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {
            "position_nm": self.position_nm.tolist(),
            "radius_nm": self.radius_nm.tolist(),
            "centre_nm": list(self.centre_nm),
            "cylinder_radius_nm": self.cylinder_radius_nm,
            "cylinder_height_nm": self.cylinder_height_nm,
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Spheres:
        """Inverse of :meth:`to_dict`; overlaps are refused."""
        return cls.of(
            d["position_nm"], d["radius_nm"], d["centre_nm"], d["cylinder_radius_nm"], d["cylinder_height_nm"]
        )

    @classmethod
    def of(
        cls,
        position_nm: ArrayLike,
        radius_nm: ArrayLike,
        centre_nm: Sequence[float],
        cylinder_radius_nm: float,
        cylinder_height_nm: float,
    ) -> Spheres:
        """From any numbers; no spheres at all is allowed."""
        z, y, x = (float(v) for v in centre_nm)
        at = np.asarray(position_nm, np.float64).reshape(-1, 3)
        radius = np.asarray(radius_nm, np.float64).reshape(-1)
        return cls(at, radius, (z, y, x), float(cylinder_radius_nm), float(cylinder_height_nm))

    def write_csv(self, path: str | Path) -> Path:
        """One line per sphere, columns :data:`CSV_COLUMNS`, numbers that read back to the same bits."""
        path = Path(path)
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(CSV_COLUMNS)
            rows.writerows([*at, r] for at, r in zip(self.position_nm.tolist(), self.radius_nm.tolist(), strict=True))
        return path

    def __str__(self) -> str:
        if not len(self):
            return "no spheres"
        return f"{len(self)} spheres of {2 * self.radius_nm.min():.4g} to {2 * self.radius_nm.max():.4g} nm across"


# ---------------------------------------------------------------------- cells
def cell_size(radius: NDArray[np.float64], volume: float) -> float:
    """Edge of a search cell: the median diameter, yet no more than about 8 million cells."""
    return max(2 * float(np.median(radius)), (volume / 8e6) ** (1 / 3))


@numba.njit(cache=True)
def enter(head: Any, link: Any, owner: Any, used: int, k: int, at: Any, r: float, low: Any, cell: float) -> int:
    """Enter sphere ``k`` in the list of every cell its bounding box overlaps; the new number of entries."""
    n = head.shape
    a0, b0 = max(0, int((at[0] - r - low[0]) / cell)), min(n[0] - 1, int((at[0] + r - low[0]) / cell))
    a1, b1 = max(0, int((at[1] - r - low[1]) / cell)), min(n[1] - 1, int((at[1] + r - low[1]) / cell))
    a2, b2 = max(0, int((at[2] - r - low[2]) / cell)), min(n[2] - 1, int((at[2] + r - low[2]) / cell))
    for i in range(a0, b0 + 1):
        for j in range(a1, b1 + 1):
            for m in range(a2, b2 + 1):
                link[used] = head[i, j, m]
                owner[used] = k
                head[i, j, m] = used
                used += 1
    return used


@numba.njit(cache=True)
def hit(head: Any, link: Any, owner: Any, at: Any, r: float, low: Any, cell: float, centres: Any, radii: Any) -> int:
    """Number of a sphere that overlaps the one at ``at`` with radius ``r``, -1 if none does."""
    n = head.shape
    a0, b0 = max(0, int((at[0] - r - low[0]) / cell)), min(n[0] - 1, int((at[0] + r - low[0]) / cell))
    a1, b1 = max(0, int((at[1] - r - low[1]) / cell)), min(n[1] - 1, int((at[1] + r - low[1]) / cell))
    a2, b2 = max(0, int((at[2] - r - low[2]) / cell)), min(n[2] - 1, int((at[2] + r - low[2]) / cell))
    for i in range(a0, b0 + 1):
        for j in range(a1, b1 + 1):
            for m in range(a2, b2 + 1):
                e = head[i, j, m]
                while e >= 0:
                    k = owner[e]
                    d0, d1, d2 = at[0] - centres[k, 0], at[1] - centres[k, 1], at[2] - centres[k, 2]
                    reach = r + radii[k]
                    if d0 * d0 + d1 * d1 + d2 * d2 < reach * reach:
                        return k
                    e = link[e]
    return -1


def entries(radius: NDArray[np.float64], cell: float) -> int:
    """Enough places for the lists of :func:`enter`."""
    return int((np.floor(2 * radius / cell) + 2).astype(np.int64).__pow__(3).sum())


@numba.njit(cache=True)
def _first_overlap(
    centres: Any, radii: Any, low: Any, cell: float, head: Any, link: Any, owner: Any
) -> tuple[int, int]:
    used = 0
    for k in range(len(radii)):
        other = hit(head, link, owner, centres[k], radii[k], low, cell, centres, radii)
        if other >= 0:
            return other, k
        used = enter(head, link, owner, used, k, centres[k], radii[k], low, cell)
    return -1, -1


def empty_cells(
    low: NDArray[np.float64], high: NDArray[np.float64], radius: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], float]:
    """``head, link, owner, cell``: lists of spheres per cell for a box, all still empty."""
    cell = cell_size(radius, float(np.prod(high - low)))
    shape = np.maximum(1, np.ceil((high - low) / cell).astype(int))
    room = entries(radius, cell)
    return np.full(tuple(shape), -1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64), cell


def overlapping(position: NDArray[np.float64], radius: NDArray[np.float64]) -> tuple[int, int] | None:
    """The first two spheres that overlap by more than :data:`TOUCH` of their size, None if no two do."""
    if len(radius) < 2:
        return None
    low = (position - radius[:, None]).min(0)
    high = (position + radius[:, None]).max(0)
    head, link, owner, cell = empty_cells(low, high, radius)
    order = np.argsort(-radius, kind="stable")
    a, b = _first_overlap(position[order], radius[order] * (1 - TOUCH), low, cell, head, link, owner)
    return None if a < 0 else (int(order[a]), int(order[b]))


# ---------------------------------------------------------------------- grey levels
def voxelise(spheres: Spheres, grid: Grid, *, supersampling: int = 4, solid: float = 1.0, pore: float = 0.0) -> Image:
    """What a noise-free instrument with box-shaped voxels would record: the share of solid in every voxel.

    Parameters
    ----------
    spheres : the sample.
    grid : ZYX, any part of the frame, any voxel size per axis. A slab gives the same bits as that slab of a whole.
    supersampling : voxels that a surface crosses are averaged over this many points per axis.
    solid, pore : grey levels of solid, and of pores and the air around the cylinder.

    Returns
    -------
    Image float32.

    Examples
    --------
    >>> one = Spheres.of([[0.0, 0.0, 0.0]], [20.0], (0.0, 0.0, 0.0), 40.0, 200.0)
    >>> voxelise(one, Grid.of((1, 1, 5), 10.0, (0.0, 0.0, 0.0))).data.round(1).ravel().tolist()
    [0.0, 0.0, 0.5, 1.0, 0.5]
    """
    if grid.axes != "ZYX" or supersampling < 1:
        raise InputError(f"Voxels need a ZYX grid and supersampling of at least 1, but {grid} came.")
    near = np.flatnonzero(spheres.touching(grid))
    out = np.empty(grid.shape, np.float32)
    middle = np.asarray(spheres.centre_nm)
    _fill(
        out, spheres.position_nm[near], spheres.radius_nm[near], middle, spheres.cylinder_radius_nm,
        spheres.cylinder_height_nm / 2, np.asarray(grid.origin_nm), np.asarray(grid.pixel_size_nm), supersampling,
    )  # fmt: skip
    if (solid, pore) != (1.0, 0.0):
        out *= np.float32(solid - pore)
        out += np.float32(pore)
    return Image(out, grid, "truth", Acquisition(vendor="simulation", pixel_size_from="simulation"))


@numba.njit(parallel=True, cache=True)
def _fill(
    out: Any, centres: Any, radii: Any, middle: Any, wall: float, half: float, origin: Any, step: Any, fine: int
) -> None:
    """Solid share per voxel; planes in parallel, spheres in a fixed order, so the bits depend on nothing else."""
    nz, ny, nx = out.shape
    diagonal = 0.5 * np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
    for iz in numba.prange(nz):
        z = origin[0] + step[0] * iz
        _cylinder(out[iz], z, middle, wall, half, origin, step, fine)
        for k in range(len(radii)):
            r = radii[k]
            dz = z - centres[k, 0]
            if abs(dz) - 0.5 * step[0] >= r:
                continue
            y0 = max(0, int(np.ceil((centres[k, 1] - r - origin[1]) / step[1] - 0.5)))
            y1 = min(ny - 1, int(np.floor((centres[k, 1] + r - origin[1]) / step[1] + 0.5)))
            x0 = max(0, int(np.ceil((centres[k, 2] - r - origin[2]) / step[2] - 0.5)))
            x1 = min(nx - 1, int(np.floor((centres[k, 2] + r - origin[2]) / step[2] + 0.5)))
            for iy in range(y0, y1 + 1):
                dy = origin[1] + step[1] * iy - centres[k, 1]
                for ix in range(x0, x1 + 1):
                    dx = origin[2] + step[2] * ix - centres[k, 2]
                    distance = np.sqrt(dz * dz + dy * dy + dx * dx)
                    if distance > r + diagonal:
                        continue
                    share = 1.0 if distance < r - diagonal else _share(dz, dy, dx, r, step, fine)
                    # a pore cut by the flat end of the cylinder: only the part inside was ever solid
                    out[iz, iy, ix] = max(0.0, out[iz, iy, ix] - share)


@numba.njit(cache=True)
def _cylinder(plane: Any, z: float, middle: Any, wall: float, half: float, origin: Any, step: Any, fine: int) -> None:
    """Share of the solid cylinder in the voxels of one plane."""
    top = min(z + 0.5 * step[0], middle[0] + half) - max(z - 0.5 * step[0], middle[0] - half)
    height = min(1.0, max(0.0, top / step[0]))
    diagonal = 0.5 * np.sqrt(step[1] ** 2 + step[2] ** 2)
    for iy in range(plane.shape[0]):
        dy = origin[1] + step[1] * iy - middle[1]
        for ix in range(plane.shape[1]):
            dx = origin[2] + step[2] * ix - middle[2]
            distance = np.sqrt(dy * dy + dx * dx)
            share = 0.0
            if distance < wall - diagonal:
                share = 1.0
            elif distance < wall + diagonal:
                inside = 0
                for j in range(fine):
                    y = dy + step[1] * ((j + 0.5) / fine - 0.5)
                    for i in range(fine):
                        x = dx + step[2] * ((i + 0.5) / fine - 0.5)
                        inside += y * y + x * x <= wall * wall
                share = inside / (fine * fine)
            plane[iy, ix] = height * share


@numba.njit(cache=True)
def _share(dz: float, dy: float, dx: float, r: float, step: Any, fine: int) -> float:
    """Share of a voxel inside a sphere whose centre lies ``dz, dy, dx`` away."""
    inside = 0
    for k in range(fine):
        z = dz + step[0] * ((k + 0.5) / fine - 0.5)
        for j in range(fine):
            y = dy + step[1] * ((j + 0.5) / fine - 0.5)
            room = r * r - z * z - y * y
            for i in range(fine):
                x = dx + step[2] * ((i + 0.5) / fine - 0.5)
                inside += x * x <= room
    return inside / fine**3
