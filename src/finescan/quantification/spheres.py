"""Spheres with known places as labels: the truth that a simulated foam is matched with."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.values import Grid


@dataclass(frozen=True)
class LabelledSpheres:
    """Spheres on a grid.

    Parameters
    ----------
    labels : (z, y, x) int32; 1 … ``whole`` have no voxel in the first and the last slice, the others are cut there.
    sphere : (n,) row of the given table that label k + 1 stands for.
    whole : number of spheres that are not cut.
    """

    labels: NDArray[np.int32]
    sphere: NDArray[np.int64]
    whole: int


def label_spheres(grid: Grid, centres_nm: ArrayLike, radii_nm: ArrayLike) -> LabelledSpheres:
    """Label every voxel whose centre lies inside a sphere.

    Spheres that do not reach into the grid have a label but no voxels, and come last with the cut ones.

    Parameters
    ----------
    grid : ZYX.
    centres_nm : (n, 3) z, y, x in the frame of the grid.
    radii_nm : (n,) positive.

    Raises
    ------
    InputError : a picture's grid, or tables that do not fit together.
    """
    centres, radii = np.asarray(centres_nm, np.float64), np.asarray(radii_nm, np.float64)
    if grid.ndim != 3 or centres.ndim != 2 or centres.shape != (radii.size, 3) or not (radii > 0).all():
        raise InputError(
            "Spheres need a ZYX grid, centres of shape (n, 3) and n positive radii, but "
            f"{grid.axes}, {centres.shape} and {radii.shape} came."
        )
    first, last = grid.origin_nm[0], grid.origin_nm[0] + grid.extent_nm[0] - grid.pixel_size_nm[0]
    whole = (centres[:, 0] - radii > first) & (centres[:, 0] + radii < last)
    order = np.concatenate([np.flatnonzero(whole), np.flatnonzero(~whole)])
    labels = np.zeros(grid.shape, np.int32)
    _paint(labels, grid.to_index(centres[order]), radii[order], np.asarray(grid.pixel_size_nm))
    return LabelledSpheres(labels, order.astype(np.int64), int(whole.sum()))


@numba.njit(cache=True)
def _paint(labels, centres, radii, step):  # type: ignore[no-untyped-def]
    """Voxels of every sphere, first come first served; ``centres`` in voxels, ``radii`` and ``step`` in nm."""
    first, last = np.empty(3, np.int64), np.empty(3, np.int64)
    for k in range(len(radii)):
        for axis in range(3):
            reach = radii[k] / step[axis]
            first[axis] = max(0, int(np.ceil(centres[k, axis] - reach)))
            last[axis] = min(labels.shape[axis], int(np.floor(centres[k, axis] + reach)) + 1)
        for z in range(first[0], last[0]):
            dz = ((z - centres[k, 0]) * step[0]) ** 2
            for y in range(first[1], last[1]):
                dy = dz + ((y - centres[k, 1]) * step[1]) ** 2
                for x in range(first[2], last[2]):
                    if dy + ((x - centres[k, 2]) * step[2]) ** 2 <= radii[k] ** 2 and labels[z, y, x] == 0:
                        labels[z, y, x] = k + 1
