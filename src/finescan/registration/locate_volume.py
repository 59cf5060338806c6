"""Coarse location in volumes: where a fine volume lies in a coarse one, or that it does not.

One Fourier correlation per pose gives the normalised correlation at every position. The decoys are the seven mirrored
and turned copies of the *tile*, searched in the same map: chance is what they reach, and the map is transformed once.
The best places are improved to a full affine map (twelve parameters), again at the finest level in cut-outs that are
read from the stored volume, so that neither volume is ever held at its recorded pitch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.registration.job import (
    RIVAL_SHARE,
    Hits,
    Job,
    answered,
    compared,
    map_grid,
    map_level,
    searched,
    tile_level,
)
from finescan.registration.location import Location
from finescan.registration.modes import MODES, Mode
from finescan.registration.places import Finest, improved
from finescan.registration.prepare import Reduced, reduce
from finescan.registration.prior import Prior
from finescan.registration.search import OVERSAMPLED, Peak, Tile, pose_grid, rotation, search
from finescan.registration.slabs import limits_of
from finescan.registration.verdict import CLEAR_AT
from finescan.values import Grid, Image, Region

Progress = Callable[[float, float, str], None]

LOOKS = ("ncc", "whitened")  # modes tried, in this order, until one stands out
TILE_PX = (12.0, 32.0)  # pixels across the tile at the search level (geometric mean of its sides)
MAP_PX = 192.0  # and at most so many across the map, if the tile keeps the lower of these
FINE_PX = 48.0  # pixels across the tile at the last level
PER_POSE = 4  # places kept of every pose: a single pose often serves all
POLISHED = 3  # peaks improved per copy of the tile, besides the rivals
MARGIN_PX = 8  # working pixels read around a cut-out, for filters
COPIES = [np.diag(s) for s in itertools.product((1.0, -1.0), repeat=3)]  # the tile itself, then the decoys


def attempt_volume(lr: Image, hr: Image, prior: Prior, progress: Progress | None) -> Location:
    """One search under one prior (of three axes)."""
    levels = limits_of(lr)
    job = _job(lr, hr, prior, levels)
    found: dict[str, Hits] = {}
    for k, name in enumerate(LOOKS):
        if progress is not None:
            progress(k, len(LOOKS), f"searching {lr.name} for {hr.name} ({name})")
        found[name] = _hits(job, prior, MODES[name], lambda own: _cut(lr, own, levels))
        if found[name].ratio >= CLEAR_AT:
            break
    if progress is not None:
        progress(len(LOOKS), len(LOOKS), f"searched {lr.name} for {hr.name}")
    return answered(job, found)


def _hits(job: Job, prior: Prior, mode: Mode, seen: Callable[[Grid], Reduced]) -> Hits:
    """What one mode finds: the tile and its mirrored copies, searched and improved."""
    grid = map_grid(job.lr.grid, _search_pitch(job.extent, job.lr.grid.extent_nm, job.finest_nm))
    flat, ok = tile_level(job, grid.pixel_size_nm[0])
    tile = Tile(mode.features(flat, ok, OVERSAMPLED), ok)
    field = np.ascontiguousarray(mode.features(*map_level(job, job.lr, grid, flat.shape), 1.0))
    poses = pose_grid(tile.half, prior.ratio_error, prior.rotation_deg, mode.step_px)
    peaks = search([field], tile, [p @ c for c in COPIES for p in poses], per_pose=PER_POSE)[0]
    rough = [improved(_of_copy(peaks, c), field, tile, mode, most=POLISHED, again=k == 0) for k, c in enumerate(COPIES)]
    finest = Finest(job, grid, mode, FINE_PX)
    fine = [finest.look(p, seen, job.lr.grid, nearby=k == 0) for k, p in enumerate(rough)]
    return compared(rough, fine, grid, RIVAL_SHARE * float(min(job.extent)))


def _of_copy(peaks: list[Peak], copy: NDArray[np.float64]) -> list[Peak]:
    """The peaks of one copy of the tile (no pose turns an axis around)."""
    return [p for p in peaks if (np.sign(np.diag(p.matrix)) == np.diag(copy)).all()]


def _job(lr: Image, hr: Image, prior: Prior, levels: tuple[Any, ...]) -> Job:
    """Both volumes reduced: the coarse one to the pitch of the search, the fine one to that of the last level."""
    expected = rotation(prior.rotation_centre_deg, 3) @ np.diag(prior.ratio_centre)
    extent = np.abs(expected) @ np.asarray(hr.grid.extent_nm)
    middle = hr.grid.to_nm((np.asarray(hr.grid.shape) - 1) / 2)
    region = searched(lr.grid, prior, extent)
    own = lr.grid if region is None else region.own_grid
    recorded = min(lr.grid.pixel_size_nm)
    finest = max(float(np.prod(extent)) ** (1 / 3) / FINE_PX, recorded)
    reduced = reduce(lr, _search_pitch(extent, own.extent_nm, recorded), region, levels)
    spread = 0.5 * max(lr.grid.pixel_size_nm)
    return Job(reduced, reduce(hr, finest / OVERSAMPLED), expected, middle, extent, spread, recorded)


def _search_pitch(extent: NDArray[np.float64], field_nm: tuple[float, ...], finest: float) -> float:
    """Working pitch of the search: enough pixels across the tile, not too many across the map."""
    tile, field = float(np.prod(extent)) ** (1 / 3), float(np.prod(field_nm)) ** (1 / 3)
    return max(tile / float(np.clip(MAP_PX * tile / field, *TILE_PX)), finest)


def _cut(lr: Image, own: Grid, levels: tuple[Any, ...]) -> Reduced:
    """The coarse volume under a working grid, with a margin, read at about the pitch of that grid."""
    margin = MARGIN_PX * np.asarray(own.pixel_size_nm)
    edge = np.asarray(own.edge_nm)
    low = lr.grid.to_index(edge - margin)
    high = lr.grid.to_index(edge + np.asarray(own.extent_nm) + margin)
    return reduce(lr, own.pixel_size_nm[0], Region.clipped(lr.grid, low.tolist(), high.tolist()), levels)
