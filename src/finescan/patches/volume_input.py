"""A box of the coarse volume on the grid of the result: what every network for volumes reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values import Grid, Image

_TAPS = (-1, 0, 1, 2)


def volume_input(
    lr: Image, out_grid: Grid, start: Sequence[int], stop: Sequence[int], *, fill: float = 0.0
) -> NDArray[np.float32]:
    """The coarse volume on the box ``start`` to ``stop`` of the out grid.

    Separable cubic convolution (R. Keys, IEEE Trans. ASSP 29 (1981) 1153, doi:10.1109/TASSP.1981.1163711); where both
    grids are the same the grey levels are read as they are. A voxel gets the same number whatever the box: each is the
    sum of the same products in the same order. Only the part of ``lr`` that is needed is read. Beyond the volume it
    is mirrored.

    Parameters
    ----------
    lr : the coarse volume, ZYX; its data may be lazy.
    out_grid : grid of the result, in the frame of ``lr``.
    start, stop : (z, y, x) in voxels of ``out_grid``; may reach outside it.
    fill : what missing voxels (NaN, infinite) become, before anything is interpolated.

    Returns
    -------
    (stop - start) float32, finite, C-ordered.
    """
    if lr.grid.axes != "ZYX" or out_grid.axes != "ZYX":
        raise InputError(f"A volume with axes ZYX is needed, but {lr.name} has {lr.grid.axes}. Read it as a volume.")
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        raise InputError(f"A box needs at least one voxel, but {tuple(start)} to {tuple(stop)} came.")
    if out_grid.same_as(lr.grid):
        wanted = [mirrored(np.arange(a, b), n) for a, b, n in zip(start, stop, lr.grid.shape, strict=True)]
        data, local = _read(lr, wanted, fill)
        return np.ascontiguousarray(data[np.ix_(*local)])
    scale, offset = out_grid.step_to(lr.grid)
    taps, weights = [], []
    for a, b, s, o, n in zip(start, stop, scale, offset, lr.grid.shape, strict=True):
        at = s * np.arange(a, b, dtype=np.float64) + o
        base = np.floor(at + 1e-9)  # a voxel centre that meets another one to rounding is that voxel
        taps.append(np.stack([mirrored(base.astype(np.int64) + k, n) for k in _TAPS]))
        weights.append(keys_weights(np.maximum(at - base, 0.0)))
    data, local = _read(lr, [t.ravel() for t in taps], fill)
    for axis in range(3):
        data = _along(data, local[axis].reshape(taps[axis].shape), weights[axis], axis)
    return np.ascontiguousarray(data)


def mirrored(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Indices beyond an axis of ``n`` voxels, reflected at its edges (the border voxel comes twice)."""
    index = np.mod(index, 2 * n)
    return np.where(index < n, index, 2 * n - 1 - index)


def keys_weights(t: NDArray[np.float64]) -> NDArray[np.float32]:
    """The four weights (4, n) of cubic convolution at fractions ``t`` in [0, 1); each column sums to one."""
    w = np.stack(
        [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
    )
    return w.astype(np.float32)


def _read(lr: Image, wanted: Sequence[NDArray[np.int64]], fill: float) -> tuple[NDArray[np.float32], list]:
    """The smallest box that holds the wanted indices, as finite float32, and the indices within it."""
    first = [int(w.min()) for w in wanted]
    box = tuple(slice(a, int(w.max()) + 1) for a, w in zip(first, wanted, strict=True))
    data = np.asarray(lr.data[box]).astype(np.float32)
    if lr.dtype.kind == "f":
        data[~np.isfinite(data)] = fill
    return data, [w - a for a, w in zip(first, wanted, strict=True)]


def _along(
    data: NDArray[np.float32], taps: NDArray[np.int64], weights: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    """One axis of the separable interpolation; plain products and sums, so that the box does not matter."""
    shape = [1, 1, 1]
    shape[axis] = -1
    out = np.take(data, taps[0], axis=axis) * weights[0].reshape(shape)
    for k in range(1, len(taps)):
        out += np.take(data, taps[k], axis=axis) * weights[k].reshape(shape)
    return out
