"""Errors of an enhanced map on the parts of the fine scan that train, decide when to stop, and judge.

The error is that of the *recorded* pixels. A fine scan lies on pixels of its own, a little turned against those of the
result, and resampling it takes away between none and two thirds of its noise, in a pattern that comes and goes over
some hundred pixels. So where the scan has pixels of the same size, each pixel of the result is compared with the
nearest recorded one, and the result, which is smooth, is read where that pixel truly lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from finescan.patches import PatchSet, Piece, VolumePatchSet, VolumePiece
from finescan.resampling import sample, spline_coefficients
from finescan.trust.map_intervals import Part
from finescan.values import Grid, Image, Pair
from finescan.workflow.judging import on_grid

SAME_SIZE = 1.1  # of pixels of the scan and of the result, either way
_AT_ONCE, _LATTICE = 1 << 20, 8
LARGEST = 1 << 25  # pixels of a fine scan that are looked up one by one; larger ones are compared as resampled

Floats = NDArray[np.float32]
Reads = Callable[[Piece | VolumePiece, Grid], Floats]


def parts_of(patches: PatchSet | VolumePatchSet, enhanced: Image | Reads, pairs: Sequence[Pair] = ()) -> list[Part]:
    """The fine scans of a run with the result over them.

    Parameters
    ----------
    enhanced : the result, or what enhances the piece under a fine scan, given with its grid.
    pairs : registration of the scans; without it they are compared as resampled.
    """
    known = {p.hr.name: p for p in pairs}
    found = []
    for start, piece, role in _pieces(patches):
        grid = patches.out_grid.crop(start, [a + n for a, n in zip(start, piece.hr.shape, strict=True)])
        seen = on_grid(enhanced, grid) if isinstance(enhanced, Image) else enhanced(piece, grid)
        pair = known.get(piece.name)
        whole = pair is not None and same_pixels(pair.hr.grid, grid) and grid.size <= LARGEST
        error = recorded_error(seen, grid, pair) if whole and pair is not None else seen - piece.hr
        found.append(Part(start, seen, error, role))
    return found


def recorded_error(enhanced: Floats, grid: Grid, pair: Pair) -> Floats:
    """Result less the nearest recorded pixel, the result taken where that pixel lies; NaN beyond the scan.

    Parameters
    ----------
    enhanced : the result on ``grid``, which lies in the frame of the coarse map.
    pair : how the fine scan lies in it.
    """
    missing = ~np.isfinite(enhanced)
    filled = np.where(missing, np.nanmean(enhanced) if not missing.all() else 0.0, enhanced).astype(np.float32)
    coefficients = spline_coefficients(filled)
    out = np.full(grid.shape, np.nan, np.float32)
    recorded, shape = pair.hr.array(), np.array(pair.hr.grid.shape)
    places = _places(grid, pair)
    step = max(1, _AT_ONCE // (grid.size // grid.shape[0]))
    for first in range(0, grid.shape[0], step):
        rows = slice(first, min(first + step, grid.shape[0]))
        axes = [np.arange(rows.start, rows.stop), *(np.arange(n) for n in grid.shape[1:])]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        nearest = np.rint(np.stack([sample(p, index / _LATTICE, order=1, outside=None) for p in places], -1))
        inside = ((nearest >= 0) & (nearest < shape)).all(axis=-1)
        nearest = nearest[inside]
        back = grid.to_index(pair.lr_from_hr(pair.hr.grid.to_nm(nearest)))
        fine = recorded[tuple(nearest.astype(np.intp).T)].astype(np.float32)
        out[rows][inside] = sample(coefficients, back, prefiltered=True) - fine
    out[missing] = np.nan
    return out


def _places(grid: Grid, pair: Pair) -> list[NDArray[np.float64]]:
    """Where in the fine scan every eighth pixel of a grid lies, per axis of the scan, pixels.

    Warps are smooth. A neighbour taken for the nearest pixel would do no harm: its true place is looked up.
    """
    axes = [np.arange(-(-n // _LATTICE) + 1) * _LATTICE for n in grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    there = pair.hr.grid.to_index(pair.lr_from_hr.inverse_at(grid.to_nm(index), tolerance_nm=1e-3))
    return list(np.moveaxis(there, -1, 0))


def _pieces(patches: PatchSet | VolumePatchSet):  # type: ignore[no-untyped-def]
    """Corner on the grid of the result, piece, and pixels of a role, of every fine scan."""
    if isinstance(patches, VolumePatchSet):
        for volume in patches.pieces:
            yield volume.start, volume, partial(patches.counted, volume)
        return
    for piece in patches.pieces:
        start = np.rint(patches.out_grid.to_index(piece.out_grid.origin_nm)).astype(int).tolist()
        yield tuple(start), piece, piece.role_fine


def same_pixels(one: Grid, other: Grid) -> bool:
    """Whether the pixels of a scan and of a result are about equally large, so that they can be compared one by one."""
    ratios = [a / b for a, b in zip(one.pixel_size_nm, other.pixel_size_nm, strict=True)]
    return all(1 / SAME_SIZE <= r <= SAME_SIZE for r in ratios)
