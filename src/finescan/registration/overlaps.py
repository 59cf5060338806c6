"""Do two registered fine scans agree about the place of what both of them show?"""

from __future__ import annotations

import numpy as np

from finescan.registration.align import AlignOptions, align
from finescan.values import Pair, Region, Verdict, Warp

LEAST_PX = 64  # HR px per axis two scans must share to be compared


def overlap_disagreement(a: Pair, b: Pair) -> float | None:
    """Median distance, in LR px, between where ``a`` and ``b`` place the same piece of specimen in the coarse map.

    The overlap of the fine scans is registered directly on each other; None if they hardly overlap, or if one of them
    was not found.
    """
    if Verdict.NOT_FOUND in (a.verdict, b.verdict):
        return None
    shared = _shared(a, b)
    if shared is None:
        return None
    part = a.hr.crop(shared)
    nm = part.grid.to_nm(_mesh(part.grid.shape))
    there = b.lr_from_hr.inverse_at(a.lr_from_hr(nm))
    start = _affine_through(nm.reshape(-1, nm.shape[-1]), there.reshape(-1, nm.shape[-1]))
    direct = align(b.hr, part, start, options=AlignOptions(stretches=(0.0,), finish=1.0))
    if direct.left_cell:
        return None
    apart = (b.lr_from_hr(direct.warp(nm)) - a.lr_from_hr(nm)) / np.asarray(a.lr.grid.pixel_size_nm)
    return float(np.median(np.linalg.norm(apart, axis=-1)))


def _mesh(shape: tuple[int, ...], points: int = 24) -> np.ndarray:
    axes = [np.linspace(0, n - 1, points) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _shared(a: Pair, b: Pair) -> Region | None:
    """The box of fine pixels of ``a`` that lie in ``b``."""
    mesh = _mesh(a.hr.grid.shape, 48)
    there = b.hr.grid.to_index(b.lr_from_hr.inverse_at(a.lr_from_hr(a.hr.grid.to_nm(mesh))))
    inside = ((there >= 0) & (there <= np.asarray(b.hr.grid.shape) - 1)).all(-1)
    if not inside.any():
        return None
    low, high = mesh[inside].min(0), mesh[inside].max(0) + 1
    if (high - low < LEAST_PX).any():
        return None
    return Region.clipped(a.hr.grid, low.tolist(), high.tolist())


def _affine_through(x: np.ndarray, y: np.ndarray) -> Warp:
    columns = np.column_stack([x, np.ones(len(x))])
    solution = np.linalg.lstsq(columns, y, rcond=None)[0]
    return Warp.affine(solution[:-1].T, solution[-1])
