"""What every search needs: both scans reduced, brought to working grids, and the way back to nm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.registration.location import Candidate, Location
from finescan.registration.prepare import FLATTEN_SHARE, WORKING_SPREAD, Array, Reduced, flatten, level
from finescan.registration.prior import Prior
from finescan.registration.search import OVERSAMPLED, Peak, distinct
from finescan.registration.verdict import decide, stand_out, stands_out_turned
from finescan.values import Grid, Region, Warp

Places = list[tuple[Peak, Grid]]

CANDIDATES = 8
RIVALS = 2  # best places away from the first: further decoys, and looked at on the finest level
RIVAL_SHARE = 0.1  # of the tile: how far away


@dataclass(frozen=True)
class Job:
    """Both scans reduced, the expected matrix, and the centre of the fine scan."""

    lr: Reduced
    hr: Reduced
    expected: NDArray[np.float64]
    hr_centre: NDArray[np.float64]
    extent: NDArray[np.float64]  # of the fine scan in the tile frame, nm
    spread_nm: float  # sharpness of the coarse map
    finest_nm: float  # no working pitch is finer

    @property
    def across_nm(self) -> float:
        """Geometric mean of the sides of the tile."""
        return float(np.prod(self.extent) ** (1 / len(self.extent)))

    def pitch(self, across: float) -> float:
        """Working pitch with so many pixels across the tile, never finer than the coarse map."""
        return max(self.across_nm / across, self.finest_nm)

    def warp(self, peak: Peak, grid: Grid) -> Warp:
        """Working pixels to nm."""
        matrix = peak.matrix @ self.expected
        return Warp.affine(matrix, grid.to_nm(peak.centre) - matrix @ self.hr_centre)


def searched(grid: Grid, prior: Prior, extent: NDArray[np.float64]) -> Region | None:
    """The part of the map in which the tile lies if its centre is within the prior's radius; None = all of it."""
    if prior.centre_nm is None or prior.radius_nm is None:
        return None
    reach = prior.radius_nm + 0.6 * extent
    low, high = (grid.to_index(np.asarray(prior.centre_nm) + s * reach) for s in (-1, 1))
    size = np.asarray(grid.shape)
    if (high < 8).any() or (low > size - 8).any():
        return None
    return Region.clipped(grid, low.tolist(), high.tolist())


def map_grid(grid: Grid, pitch: float) -> Grid:
    """Working grid over the field of view of the map."""
    shape = [max(8, int(e / pitch)) for e in grid.extent_nm]
    return Grid.of(shape, pitch, [e + pitch / 2 for e in grid.edge_nm])


def _spread(job: Job, pitch: float) -> float:
    return max(WORKING_SPREAD * pitch, job.spread_nm)


def tile_level(job: Job, pitch: float) -> tuple[Array, Array]:
    """The fine scan in the tile frame, flattened, oversampled."""
    q = pitch / OVERSAMPLED
    shape = [max(8, round(e / q)) for e in job.extent]
    grid = Grid.of(shape, q, [-(n - 1) / 2 * q for n in shape])
    back = np.linalg.inv(job.expected)
    grey, ok = level(job.hr, grid, _spread(job, pitch), matrix=back, offset_nm=job.hr_centre)
    return flatten(grey, ok, FLATTEN_SHARE * _mean_side(shape)), ok


def map_level(job: Job, source: Reduced, grid: Grid, tile_shape: Sequence[int]) -> tuple[Array, Array]:
    """A map on a working grid, flattened like a tile of the given (oversampled) shape."""
    grey, ok = level(source, grid, _spread(job, grid.pixel_size_nm[0]))
    return flatten(grey, ok, FLATTEN_SHARE * _mean_side(tile_shape) / OVERSAMPLED), ok


def _mean_side(shape: Sequence[int]) -> float:
    return float(np.prod(shape) ** (1 / len(shape)))


def elsewhere(peaks: Sequence[Peak], first: Sequence[Peak], apart: float) -> list[Peak]:
    """The best peaks away from the first, and from each other."""
    return distinct([*first, *peaks], apart, RIVALS + 1, np.inf)[1:]


def around(grid: Grid, centre: NDArray[np.float64], extent: NDArray[np.float64], pitch: float) -> Grid:
    """Working grid around a place, cut at the borders of the map."""
    edge = np.asarray(grid.edge_nm)
    low = np.maximum(centre - 0.75 * extent, edge)
    high = np.minimum(centre + 0.75 * extent, edge + np.asarray(grid.extent_nm))
    shape = np.maximum(8, ((high - low) / pitch).astype(int))
    return Grid.of(shape.tolist(), pitch, (low + pitch / 2).tolist())


def cut(source: Reduced, grid: Grid) -> Reduced:
    """The part of a map under a grid, with a margin for filters."""
    margin = 8.0
    low = source.grid.to_index(grid.edge_nm) - margin
    high = source.grid.to_index(np.asarray(grid.edge_nm) + np.asarray(grid.extent_nm)) + margin
    region = Region.clipped(source.grid, low.tolist(), high.tolist())
    ok = None if source.ok is None else source.ok[region.slices]
    return Reduced(source.grey[region.slices], ok, region.own_grid, source.spread_nm)


@dataclass(frozen=True)
class Hits:
    """What one mode found: places in the map on the finest level, and how far the best stands out from chance."""

    places: Places
    ratio: float
    turned: bool


def compared(rough: list[list[Peak]], fine: list[tuple[Places, float]], grid: Grid, apart_nm: float) -> Hits:
    """Compare the map (first) with the mirrored ones, at the search level and at the finest.

    Parameters
    ----------
    rough : places per map on ``grid``, best first.
    fine : places per map at the finest level, and the best score in the neighbourhood of the best of them.
    apart_nm : how far a place must lie from the best one to tell what chance gives.
    """
    sharp = [places for places, _ in fine]
    top_rough = [abs(v[0].score) if v else 0.0 for v in rough]
    top_sharp = [abs(v[0][0].score) if v else 0.0 for v in sharp]
    top_rough.append(_rival([(p, grid) for p in rough[0]], apart_nm))
    top_sharp.append(max(fine[0][1], _rival(sharp[0], apart_nm)))
    return Hits(sharp[0], stand_out(top_rough, top_sharp), stands_out_turned(top_rough[:-1]))


def _rival(places: list[tuple[Peak, Grid]], apart_nm: float) -> float:
    """Best score in the map itself, but away from the best place: a lattice matches itself everywhere."""
    centres = [g.to_nm(p.centre) for p, g in places]
    far = [abs(p.score) for (p, _), c in zip(places, centres, strict=True) if np.max(np.abs(c - centres[0])) > apart_nm]
    return max(far, default=0.0)


def answered(job: Job, found: dict[str, Hits]) -> Location:
    """The mode whose target stands out most decides."""
    ordered = sorted(found, key=lambda n: -found[n].ratio)
    name = ordered[0]
    candidates = [Candidate(job.warp(p, g), p.score, n) for n in ordered for p, g in found[n].places if p.score]
    first = candidates[0] if candidates else Candidate(Warp.affine(job.expected, np.zeros(len(job.extent))), 0.0, name)
    verdict, reasons = decide(found[name].ratio, _overlap(job, first.lr_from_hr), any(h.turned for h in found.values()))
    return Location(first.lr_from_hr, name, first.score, found[name].ratio, verdict, reasons, _merged(candidates, job))


def _merged(candidates: list[Candidate], job: Job) -> tuple[Candidate, ...]:
    """At most eight places that differ by more than a twentieth of the tile; each mode's best come first."""
    kept: list[Candidate] = []
    apart = 0.05 * float(min(job.extent))
    for c in candidates:
        place = c.lr_from_hr(job.hr_centre)
        if all(np.max(np.abs(place - k.lr_from_hr(job.hr_centre))) > apart for k in kept):
            kept.append(c)
    return tuple(kept[:CANDIDATES])


def _overlap(job: Job, warp: Warp) -> float:
    """Share of the fine scan that lies in the map."""
    steps = (np.arange(32) + 0.5) / 32 - 0.5
    points = np.stack(np.meshgrid(*[steps] * warp.ndim, indexing="ij"), -1) * np.asarray(job.hr.grid.extent_nm)
    place = job.lr.grid.to_index(warp(points + job.hr_centre))
    return float(np.mean(((place > -0.5) & (place < np.asarray(job.lr.grid.shape) - 0.5)).all(-1)))
