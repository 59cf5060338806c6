"""Coarse location: find the fine field anywhere in the coarse map, or say that it is not there.

The door, and the search in pictures; that in volumes is in :mod:`finescan.registration.locate_volume`.

Three modes of comparison (:mod:`finescan.registration.modes`) search position, the two pixel-size ratios and the
rotation; the best places are polished to a full affine map, and judged against the same search in mirrored maps
(:mod:`finescan.registration.verdict`).
"""

from __future__ import annotations

import numpy as np

from finescan.registration.checks import check
from finescan.registration.job import (
    RIVAL_SHARE,
    Hits,
    Job,
    Places,
    answered,
    compared,
    cut,
    map_grid,
    map_level,
    searched,
    tile_level,
)
from finescan.registration.landmarks import locate_from_landmarks
from finescan.registration.locate_volume import Progress, attempt_volume
from finescan.registration.location import Candidate, Location
from finescan.registration.modes import MODES
from finescan.registration.places import Finest, improved
from finescan.registration.prepare import reduce
from finescan.registration.prior import Prior, prior_from_headers
from finescan.registration.search import OVERSAMPLED, Peak, Tile, pose_grid, rotation, search
from finescan.registration.verdict import CLEAR_AT
from finescan.values import Image, Verdict

__all__ = ["Candidate", "Location", "locate", "locate_from_landmarks"]

MIRRORS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))  # the map itself, then the decoys
MAP_PX = 300.0  # the search level has about so many pixels across the map …
TILE_PX = (40.0, 96.0)  # … but so many across the tile (geometric mean of its sides)
FINE_PX = 144.0  # pixels across the tile at the last level
POLISHED = 6  # peaks improved per mode and map, besides the rivals


def locate(
    lr: Image, hr: Image, *, prior: Prior | None = None, seed: int = 0, progress: Progress | None = None
) -> Location:
    """Find the fine scan in the coarse map.

    Parameters
    ----------
    lr, hr : coarse map and fine scan, both pictures or both volumes.
    prior : what is known beforehand; default: what the headers say. It is believed if the result inside it is found;
        otherwise the whole map is searched with the default half-ranges, and the better answer is returned.
    seed : for the sake of one signature; the search draws no random numbers.
    progress : called as ``progress(done, total, message)``.

    Returns
    -------
    Location; "not found" is an answer, not an error.

    Raises
    ------
    InputError : a picture and a volume, the fine scan coarser or larger than the map, too few pixels, or one level.
    """
    check(lr, hr)
    first = prior_from_headers(lr, hr) if prior is None else prior.on(lr.grid.ndim)
    unknown = Prior().on(lr.grid.ndim)
    best = _attempt(lr, hr, first, progress)
    if best.verdict is Verdict.FOUND or first == unknown:
        return best
    for further in (first.anywhere, unknown):
        if further == first:
            continue
        other = _attempt(lr, hr, further, progress)
        best = other if _better(other, best) else best
        if best.verdict is Verdict.FOUND or further == unknown:
            break
    return best


# ---------------------------------------------------------------------------------------------------- one search
def _attempt(lr: Image, hr: Image, prior: Prior, progress: Progress | None) -> Location:
    """One search under one prior."""
    if lr.grid.ndim == 3:
        return attempt_volume(lr, hr, prior, progress)
    job = _job(lr, hr, prior)
    across = float(np.clip(MAP_PX * np.sqrt(np.prod(job.extent) / np.prod(job.lr.grid.extent_nm)), *TILE_PX))
    pitch = job.pitch(across)
    tile_flat, tile_ok = tile_level(job, pitch)
    grid = map_grid(job.lr.grid, pitch)
    flat, ok = map_level(job, job.lr, grid, tile_flat.shape)
    found: dict[str, Hits] = {}
    for k, (name, mode) in enumerate(MODES.items()):
        if progress is not None:
            progress(k, len(MODES), f"searching {lr.name} for {hr.name} ({name})")
        tile = Tile(mode.features(tile_flat, tile_ok, OVERSAMPLED), tile_ok)
        maps = [np.ascontiguousarray(mode.features(np.flip(flat, a), np.flip(ok, a), 1.0)) for a in MIRRORS]
        poses = pose_grid(tile.half, prior.ratio_error, prior.rotation_deg, mode.step_px)
        peaks = search(maps, tile, poses)
        rough = [improved(p, m, tile, mode, most=POLISHED) for p, m in zip(peaks, maps, strict=True)]
        finest = Finest(job, grid, mode, FINE_PX)
        fine = [_finished(finest, p, axes) for p, axes in zip(rough, MIRRORS, strict=True)]
        found[name] = compared(rough, fine, grid, RIVAL_SHARE * float(min(job.extent)))
        if found[name].ratio >= CLEAR_AT:
            break
    if progress is not None:
        progress(len(MODES), len(MODES), f"searched {lr.name} for {hr.name}")
    return answered(job, found)


def _job(lr: Image, hr: Image, prior: Prior) -> Job:
    expected = rotation(prior.rotation_centre_deg) @ np.diag(prior.ratio_centre)
    extent = np.abs(expected) @ np.asarray(hr.grid.extent_nm)
    middle = hr.grid.to_nm((np.asarray(hr.grid.shape) - 1) / 2)
    region = searched(lr.grid, prior, extent)
    part = lr if region is None else lr.crop(region)
    finest = max(float(np.sqrt(np.prod(extent))) / FINE_PX, min(lr.grid.pixel_size_nm))
    spread = 0.5 * max(lr.grid.pixel_size_nm)
    reduced = reduce(part, finest)
    return Job(
        reduced, reduce(hr, finest / OVERSAMPLED), expected, middle, extent, spread, min(reduced.grid.pixel_size_nm)
    )


def _finished(finest: Finest, peaks: list[Peak], mirror: tuple[int, ...]) -> tuple[Places, float]:
    """Places in the mirrored map on the finest level."""
    source = finest.job.lr.mirrored(mirror)
    return finest.look(peaks, lambda grid: cut(source, grid), source.grid, nearby=not mirror)


def _better(a: Location, b: Location) -> bool:
    order = (Verdict.NOT_FOUND, Verdict.DOUBTFUL, Verdict.FOUND)
    return (order.index(a.verdict), a.decoy_ratio) > (order.index(b.verdict), b.decoy_ratio)
