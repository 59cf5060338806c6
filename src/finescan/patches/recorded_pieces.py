"""Pieces of separately recorded pairs: every patch that was found again, cut out on whole pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from finescan.patches.pieces import Piece
from finescan.patches.realign import Offset
from finescan.patches.recorded_roles import Layout
from finescan.patches.recorded_scans import Pairs, Scans, Setup, prepared
from finescan.patches.sampling import LEAST_WEIGHT
from finescan.values import Grid

Box = tuple[int, int, int, int]
Bool = NDArray[np.bool_]


def canvas(pairs: Pairs, layout: Layout, setup: Setup) -> tuple[Grid, Grid]:
    """Working grid and grid of the result of the canvas; those of the pair itself if there is only one."""
    work, out = setup.grids(pairs[0][0])
    if len(pairs) == 1:
        return work, out
    whole = Grid.of(layout.shape, work.pixel_size_nm)
    return whole, whole.refine(setup.factor)


def with_context(corner: Sequence[int], shape: Sequence[int], patch: int, context: int) -> Box:
    """A patch and the context around it, as far as the scan reaches: top, left, bottom, right."""
    (y, x), (h, w) = corner, shape
    return max(0, y - context), max(0, x - context), min(h, y + patch + context), min(w, x + patch + context)


def cut_pieces(
    pairs: Pairs, layout: Layout, offsets: Sequence[Offset], keep: Bool, setup: Setup, *, patch: int, context: int
) -> tuple[list[Piece], Bool]:
    """The kept patches of a layout that hold enough pixels that count, and which those are.

    A fine patch is a view into its scan where it can be, so that many of them cost no memory.
    """
    work, out = canvas(pairs, layout, setup)
    table, usable, pieces = layout.patches, keep.copy(), []
    for k in np.unique(table[keep, 0]).tolist():
        scans = prepared(pairs[k], setup)
        members = np.flatnonzero(keep & (table[:, 0] == k)).tolist()
        sparse = len(members) * (patch + 2 * context) ** 2 < scans.lr.size
        for row in members:
            top, left, role = table[row, 1:].tolist()
            box = with_context((top, left), scans.lr.shape, patch, context)
            inner = (top - box[0], left - box[1])
            lr, hr, weight = _cut(scans, box, inner, patch, offsets[row].shift, setup.factor)
            if np.count_nonzero(weight) < LEAST_WEIGHT * (patch * setup.factor) ** 2:
                usable[row] = False
                continue
            if sparse:  # a view would keep the whole scan in memory
                lr, hr = lr.copy(), hr.copy()
            start = [box[0] + layout.corners[k][0], box[1] + layout.corners[k][1]]
            stop = [start[0] + lr.shape[0], start[1] + lr.shape[1]]
            fine = out.crop([v * setup.factor for v in start], [v * setup.factor for v in stop])
            name = pairs[k][1].name if len(members) == 1 else f"{pairs[k][1].name} ({top}, {left})"
            roles = _square(lr.shape, inner, patch, 1).astype(np.int8) * np.int8(role)
            pieces.append(Piece(lr, hr, weight, roles, work.crop(start, stop), fine, name))
    return pieces, usable


def _cut(
    scans: Scans, box: Box, inner: tuple[int, int], patch: int, shift: tuple[float, float], factor: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], Bool]:
    """Coarse and fine grey levels of a box, and the fine pixels that count: those of the patch without its context."""
    top, left, bottom, right = box
    lr, bad_lr = scans.lr[top:bottom, left:right], scans.bad_lr[top:bottom, left:right]
    first = [math.floor(factor * a + s + 0.5) for a, s in zip((top, left), shift, strict=True)]
    indices = [f + np.arange(factor * n) for f, n in zip(first, lr.shape, strict=True)]
    inside = [(i >= 0) & (i < n) for i, n in zip(indices, scans.hr.shape, strict=True)]
    weight = _square(lr.shape, inner, patch, factor)
    if all(i.all() for i in inside):
        window = tuple(slice(f, f + len(i)) for f, i in zip(first, indices, strict=True))
        hr, bad_hr = scans.hr[window], scans.bad_hr[window]
    else:  # beyond its edge the fine scan is mirrored, and does not count
        near = np.ix_(*(_mirrored(i, n) for i, n in zip(indices, scans.hr.shape, strict=True)))
        hr, bad_hr = scans.hr[near], scans.bad_hr[near]
        weight = weight & inside[0][:, None] & inside[1][None]
    if bad_hr.any() or bad_lr.any():
        weight = weight & ~bad_hr & ~np.repeat(np.repeat(bad_lr, factor, axis=0), factor, axis=1)
    return lr, hr, weight


def _mirrored(index: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Pixel numbers that reach beyond 0 to count - 1, folded back."""
    folded = index % (2 * count)
    return np.where(folded < count, folded, 2 * count - 1 - folded)


@lru_cache(maxsize=64)
def _square(shape: tuple[int, ...], corner: tuple[int, int], side: int, factor: int) -> Bool:
    """A square of a coarse box, True on its fine pixels; read-only, because all pieces of one form share it."""
    mask = np.zeros([factor * n for n in shape], bool)
    mask[tuple(slice(factor * c, factor * (c + side)) for c in corner)] = True
    mask.flags.writeable = False
    return mask
