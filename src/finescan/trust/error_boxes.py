"""Three kinds of error in volumes of any size, box by box: :mod:`finescan.trust.error_maps` in three dimensions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from finescan.errors import InputError
from finescan.trust.bands import gathered
from finescan.trust.consistency import SMOOTH_PX, Consistency, residual_map
from finescan.trust.error_maps import ErrorMaps, Unit, compared, sizes
from finescan.trust.noise_colour import NOISE_VOXELS, noise_colour
from finescan.trust.volume_consistency import blur_reach, degrade_volume_onto, middle_box
from finescan.values import Grid, Image, Region

BOX_PX = 128  # fine voxels along an edge of the boxes that are worked on, before their surroundings are added
_AVERAGED = 2 * math.ceil(4 * SMOOTH_PX) + 1  # coarse voxels that two local averages reach
_ENOUGH = 64


def volume_error_maps(
    enhanced: Image, fine: Image, lr: Image, check: Consistency, region: Region, *, box_px: int = BOX_PX
) -> ErrorMaps:
    """Compare an enhanced volume with a fine volume of (a part of) its field.

    Parameters
    ----------
    enhanced, fine : on one grid in the frame of ``lr``; NaN = not known. Both may be lazy: they are read box by box,
        with what lies around each, which takes some hundred megabytes whatever the volume.
    lr : the coarse volume; may be lazy.
    check : the yardstick of :func:`finescan.trust.calibrate_volume`.
    region : of ``lr.grid``, the coarse voxels that are wanted.
    box_px : edge of the boxes, fine voxels. No figure depends on it.

    Returns
    -------
    ErrorMaps on the region's own grid. Gain, offset and noise are those of two million voxels around the middle; the
    noise may be shared by neighbours (:func:`finescan.trust.noise_colour.noise_colour`).

    Raises
    ------
    InputError : other grids, or fewer than 64 voxels around the middle that both know.
    """
    if not enhanced.grid.same_as(fine.grid, tolerance=1e-3):
        raise InputError(
            f"Errors are mapped on one grid, but {enhanced.name} is {enhanced.grid} and {fine.name} is {fine.grid}. "
            "Resample the fine volume onto the grid of the enhanced one."
        )
    factor = lr.grid.sr_factor(fine.grid)
    unit = _unit(enhanced, fine, factor)
    maps = ErrorMaps(*(np.full(region.shape, np.nan, np.float32) for _ in range(3)))
    for inner in _parts(region, [max(1, round(box_px / f)) for f in factor]):
        wide = Region.clipped(lr.grid, [a - _AVERAGED for a in inner.start], [b + _AVERAGED for b in inner.stop])
        box = _fine_box(wide, fine.grid, check)
        if box is None:
            continue
        ours, recorded = (np.asarray(i.data[box.slices]).astype(np.float32) for i in (enhanced, fine))
        known = np.isfinite(ours) & np.isfinite(recorded)
        missing, extra = compared(ours, recorded, known, factor, unit)
        at, within = _inside(inner, region), _inside(inner, wide)
        maps.omission[at] = gathered(missing, box.own_grid, inner.own_grid)
        maps.invention[at] = gathered(extra, box.own_grid, inner.own_grid)
        degraded = degrade_volume_onto(
            Image(ours, box.own_grid, enhanced.name), wide.own_grid, psf_sigma_px=check.psf_sigma_px
        )
        residual, _ = residual_map(degraded, lr.crop(wide).array().astype(np.float32), check)
        maps.consistency[at] = np.abs(residual / np.float32(check.threshold))[within]
    return maps


def _unit(enhanced: Image, fine: Image, factor: tuple[float, ...]) -> Unit:
    """From the middle of both."""
    box = middle_box(fine.grid)
    ours, recorded = (np.asarray(i.data[box.slices]).astype(np.float32) for i in (enhanced, fine))
    known = np.isfinite(ours) & np.isfinite(recorded)
    if known.sum() < _ENOUGH:
        raise InputError(
            f"At least {_ENOUGH} voxels around the middle must be known in both volumes to map errors, but "
            f"{int(known.sum())} are. Check the mask, and that both volumes lie in one frame."
        )
    unit = Unit.of(ours, recorded, known)
    part = middle_box(box.own_grid, NOISE_VOXELS).slices
    if not known[part].any():
        return unit
    one, other = (np.where(known, v - v[known].mean(), 0).astype(np.float32)[part] for v in (ours, recorded))
    return replace(unit, colour=tuple(noise_colour([one], other, known[part], sizes(factor))))


def _parts(region: Region, each: Sequence[int]) -> Iterator[Region]:
    """A region in boxes of at most so many voxels along each axis."""
    along = [
        [(k, min(k + e, b)) for k in range(a, b, e)] for a, b, e in zip(region.start, region.stop, each, strict=True)
    ]
    for ends in itertools.product(*along):
        yield Region(region.grid, tuple(a for a, _ in ends), tuple(b for _, b in ends))


def _fine_box(wide: Region, grid: Grid, check: Consistency) -> Region | None:
    """The fine voxels under coarse ones and all that blurs into those; None where there is none."""
    start, stop = [], []
    for a, b, scale, offset, n in zip(wide.start, wide.stop, *wide.grid.step_to(grid), grid.shape, strict=True):
        more = blur_reach(scale, check.psf_sigma_px)
        start.append(max(0, math.floor(scale * (a - 0.5) + offset - more)))
        stop.append(min(n, math.ceil(scale * (b - 0.5) + offset + more) + 1))
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        return None
    return Region(grid, tuple(start), tuple(stop))


def _inside(part: Region, whole: Region) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for a, b, o in zip(part.start, part.stop, whole.start, strict=True))
