"""Consistency of volumes: the enhanced volume, degraded again, must give the recorded coarse one.

The yardstick and the figures are those of :mod:`finescan.trust.consistency`; only the way to degrade differs: blur and
sampling are one sparse matrix per axis, so a volume is degraded without coordinates and slab by slab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from finescan.errors import InputError
from finescan.trust.consistency import SMOOTH_PX, WIDEST_PX, Consistency, closed, residual_map, yardstick
from finescan.trust.volume_inputs import mask_slices
from finescan.trust.volume_pyramid import mirrored
from finescan.values import Circle, Grid, Image, Region

Floats = NDArray[np.float32]

WIDEST_FINE = 12.0  # a coarse volume may have the voxels of the fine one and be blurred all the same
_REACH = 4.0  # radius of a blur, sigmas
_COVERED = 0.9  # share of the blur's weight that must be known
_NARROWEST_FINE = 0.5  # a narrower Gaussian cannot be sampled at fine voxels
_FIT_VOXELS = 1 << 21  # fine voxels the yardstick is taken from
_SLAB_VOXELS = 1 << 24  # fine voxels at a time


def degrade_volume_onto(image: Image, onto: Grid, *, psf_sigma_px: float, mirror: bool = True) -> Floats:
    """A fine volume blurred and sampled at the voxels of a coarse grid of the same frame.

    Parameters
    ----------
    image : on the fine grid; NaN voxels are left out of the blur.
    onto : the coarse grid; voxels of it less than nine tenths of whose blur the fine volume knows become NaN.
    psf_sigma_px : Gaussian blur in voxels of ``onto``, per axis the same number.
    mirror : beyond the ends of the fine volume is its mirror image; False = unknown.
    """
    values = np.asarray(image.data[...], np.float32)
    good = np.isfinite(values)
    along = [
        _matrix(n, m, scale, offset, max(psf_sigma_px * scale, _NARROWEST_FINE), mirror)
        for n, m, scale, offset in zip(onto.shape, values.shape, *onto.step_to(image.grid), strict=True)
    ]
    if good.all():
        share = np.array(1.0, np.float32)
        for matrix in along:  # rows that reach beyond the volume have lost weight
            share = np.multiply.outer(share, np.asarray(matrix.sum(axis=1), np.float32).ravel())
    else:
        share = _apply(along, good.astype(np.float32))
        values = np.where(good, values, np.float32(0))
    return np.where(share > _COVERED, _apply(along, values) / np.maximum(share, 1e-3), np.float32(np.nan))


def calibrate_volume(
    fine: Image,
    coarse: Image,
    *,
    mask: Circle | NDArray[np.bool_] | None = None,
    rails: tuple[float | None, float | None] = (None, None),
    fine_rails: tuple[float | None, float | None] = (None, None),
) -> Consistency:
    """The yardstick: how well the recorded fine volume, degraded, gives the coarse one.

    It is taken from the middle of the fine volume, at most two million fine voxels.

    Parameters
    ----------
    fine : recorded fine volume on a fine grid in the frame of ``coarse`` (NaN where it is not); may be lazy.
    coarse : the coarse volume; may be lazy.
    mask : coarse voxels that may be used: a Circle, or bool (y, x) or (z, y, x) on the coarse grid; None = all.
    rails, fine_rails : levels at which the coarse and the fine volume saturate; voxels at a rail are not used.

    Raises
    ------
    InputError : fewer than 64 usable coarse voxels, or no overlap.
    """
    (low, high), (dark, bright) = closed(rails), closed(fine_rails)
    part = fine.crop(middle_box(fine.grid))
    region = _under(part, coarse)
    recorded = coarse.crop(region)
    values = np.asarray(recorded.data, np.float32)
    usable = (values > low) & (values < high) & _mask_part(mask, coarse.grid, region)
    with np.errstate(invalid="ignore"):
        at_rail = (part.data <= dark) | (part.data >= bright)
    if at_rail.any():
        part = part.with_data(np.where(at_rail, np.nan, part.data).astype(np.float32))
    ratio = min(coarse.grid.sr_factor(fine.grid))
    return yardstick(
        lambda s: degrade_volume_onto(part, recorded.grid, psf_sigma_px=s, mirror=False),
        values,
        usable,
        (_NARROWEST_FINE / ratio, max(WIDEST_PX, WIDEST_FINE / ratio)),
        (low, high, dark, bright),
    )


def consistency_slabs(
    enhanced: Image, lr: Image, check: Consistency, *, mask: Circle | NDArray[np.bool_] | None = None
) -> Iterator[tuple[slice, Floats, NDArray[np.bool_]]]:
    """Residual and inconsistent voxels of a volume of any size, slab by slab; the arrays may be lazy.

    Parameters
    ----------
    enhanced : grey levels of the fine volume, on a fine grid in the frame of ``lr``; NaN = no data.
    lr : the coarse volume.
    check : from :func:`calibrate_volume`.
    mask : coarse voxels that are judged, as there; None = all. The others are NaN and not inconsistent.

    Yields
    ------
    slices of ``lr``, and of these the locally averaged residual in standard deviations of the noise (NaN where not
    covered) and where it exceeds the threshold. The same figures whatever the slabs.
    """
    depth, halo = lr.grid.shape[0], 2 * int(np.ceil(_REACH * SMOOTH_PX)) + 1  # two local averages
    scale, offset = (v[0] for v in lr.grid.step_to(enhanced.grid))
    step = max(halo, round(_SLAB_VOXELS / int(np.prod(enhanced.grid.shape[1:])) / scale))
    for first in range(0, depth, step):
        last = min(first + step, depth)
        a, b = max(0, first - halo), min(depth, last + halo)
        region = Region(lr.grid, (a, 0, 0), (b, *lr.grid.shape[1:]))
        band = lr.crop(region)
        reach = blur_reach(scale, check.psf_sigma_px)
        low = max(0, int(np.floor(scale * (a - 0.5) + offset - reach)))
        high = min(enhanced.grid.shape[0], int(np.ceil(scale * (b - 0.5) + offset + reach)) + 1)
        inner = slice(first - a, last - a)
        shape = (last - first, *lr.grid.shape[1:])
        residual, flags = np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
        if low < high:
            box = Region(enhanced.grid, (low, 0, 0), (high, *enhanced.grid.shape[1:]))
            degraded = degrade_volume_onto(enhanced.crop(box), band.grid, psf_sigma_px=check.psf_sigma_px)
            degraded[~np.broadcast_to(_mask_part(mask, lr.grid, region), degraded.shape)] = np.nan
            found = residual_map(degraded, np.asarray(band.data, np.float32), check)
            residual, flags = found[0][inner], found[1][inner]
        yield slice(first, last), residual, flags


def blur_reach(scale: float, psf_sigma_px: float) -> float:
    """Fine voxels beyond a coarse voxel that blur into it, ``scale`` fine voxels being one coarse voxel."""
    return _REACH * max(psf_sigma_px * scale, _NARROWEST_FINE)


def _matrix(n: int, m: int, scale: float, offset: float, sigma: float, mirror: bool) -> sparse.csr_matrix:
    """(n, m): Gaussian of ``sigma`` fine voxels around coarse voxel i, which lies at fine index scale * i + offset."""
    radius = int(np.ceil(_REACH * sigma))
    rows, columns, weights = [], [], []
    for i in range(n):
        centre = scale * i + offset
        if not -0.5 <= centre <= m - 0.5:
            continue
        at = np.arange(int(np.floor(centre)) - radius, int(np.floor(centre)) + radius + 2)
        taps = np.exp(-0.5 * ((at - centre) / sigma) ** 2)
        taps /= taps.sum()
        inside = (at >= 0) & (at < m)
        if mirror:
            at = np.array([mirrored(k, m) for k in at.tolist()])
        else:
            at, taps = at[inside], taps[inside]
        rows += [i] * len(at)
        columns += at.tolist()
        weights += taps.tolist()
    return sparse.csr_matrix((np.array(weights, np.float32), (rows, columns)), shape=(n, m))


def _apply(along: Sequence[sparse.csr_matrix], values: Floats) -> Floats:
    """One matrix per axis, z first: that leaves the fewest voxels for the others."""
    z, y, x = along
    thin = np.asarray(z @ values.reshape(values.shape[0], -1)).reshape(z.shape[0], *values.shape[1:])
    out = np.empty((z.shape[0], y.shape[0], x.shape[0]), np.float32)
    for k, plane in enumerate(thin):
        out[k] = (x @ (y @ plane).T).T
    return out


def middle_box(grid: Grid, most: int = _FIT_VOXELS) -> Region:
    """A box around the middle of a grid, of at most so many voxels."""
    shape = list(grid.shape)
    while np.prod(shape) > most:
        longest = int(np.argmax(shape))
        shape[longest] -= max(1, shape[longest] // 16)
    start = [(n - s) // 2 for n, s in zip(grid.shape, shape, strict=True)]
    return Region(grid, tuple(start), tuple(a + s for a, s in zip(start, shape, strict=True)))


def _under(part: Image, coarse: Image) -> Region:
    """The coarse voxels whose centres lie under a fine volume."""
    corner = part.grid.edge_nm
    low, high = (coarse.grid.to_index(e) for e in (corner, np.add(corner, part.grid.extent_nm)))
    start = np.maximum(np.ceil(low).astype(int), 0)
    stop = np.minimum(np.floor(high).astype(int) + 1, coarse.grid.shape)
    if (start >= stop).any():
        raise InputError(f"{part.name} and {coarse.name} do not overlap. Bring both into the frame of {coarse.name}.")
    return Region(coarse.grid, tuple(start.tolist()), tuple(stop.tolist()))


def _mask_part(mask: Any, grid: Grid, region: Region) -> NDArray[np.bool_]:
    if isinstance(mask, Circle):
        mask = mask.mask(grid)
    rows = mask_slices(mask, region.start[0], region.stop[0])
    return rows if mask is None else rows[:, region.slices[1], region.slices[2]]
