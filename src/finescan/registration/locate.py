"""Coarse location: find the fine field anywhere in the coarse map, or say that it is not there.

Three modes of comparison (:mod:`finescan.registration.modes`) search position, the two pixel-size ratios and the
rotation; the best places are polished to a full affine map, and judged against the same search in mirrored maps
(:mod:`finescan.registration.verdict`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.registration.landmarks import locate_from_landmarks
from finescan.registration.location import Candidate, Location
from finescan.registration.modes import MODES, Array, Mode
from finescan.registration.polish import blurred, polish, template_of
from finescan.registration.prepare import FLATTEN_SHARE, WORKING_SPREAD, Reduced, flatten, level, reduce
from finescan.registration.prior import Prior, prior_from_headers
from finescan.registration.search import OVERSAMPLED, Peak, Tile, distinct, pose_grid, rotation, search
from finescan.registration.verdict import CLEAR_AT, decide, stand_out, stands_out_turned
from finescan.values import Grid, Image, Region, Verdict, Warp

__all__ = ["Candidate", "Location", "locate", "locate_from_landmarks"]

Progress = Callable[[float, float, str], None]

MIRRORS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))  # the map itself, then the decoys
MAP_PX = 300.0  # the search level has about so many pixels across the map …
TILE_PX = (40.0, 96.0)  # … but so many across the tile (geometric mean of its sides)
FINE_PX = 144.0  # pixels across the tile at the last level
CANDIDATES = 8
POLISHED = 6  # peaks improved per mode and map, besides the rivals
RIVALS = 2  # best places away from the first: further decoys, and looked at on the finest level
RIVAL_SHARE = 0.1  # of the tile: how far away
BLURS_PX = (1.0, 0.0)  # of the features while polishing
LEAST_TILE_PX = 16.0


def locate(
    lr: Image, hr: Image, *, prior: Prior | None = None, seed: int = 0, progress: Progress | None = None
) -> Location:
    """Find the fine scan in the coarse map.

    Parameters
    ----------
    lr, hr : coarse map and fine scan (2-D).
    prior : what is known beforehand; default: what the headers say. It is believed if the result inside it is found;
        otherwise the whole map is searched with the default half-ranges, and the better answer is returned.
    seed : for the sake of one signature; the search draws no random numbers.
    progress : called as ``progress(done, total, message)``.

    Returns
    -------
    Location; "not found" is an answer, not an error.

    Raises
    ------
    InputError : not 2-D, the fine scan coarser or larger than the map, too few pixels, or a constant image.
    """
    _check(lr, hr)
    first = prior_from_headers(lr, hr) if prior is None else prior
    best = _attempt(lr, hr, first, progress)
    if best.verdict is Verdict.FOUND or first == Prior():
        return best
    for further in (first.anywhere, Prior()):
        if further == first:
            continue
        other = _attempt(lr, hr, further, progress)
        best = other if _better(other, best) else best
        if best.verdict is Verdict.FOUND or further == Prior():
            break
    return best


# ---------------------------------------------------------------------------------------------------- one search
@dataclass(frozen=True)
class _Job:
    """Both scans reduced, the expected matrix, and the centre of the fine scan."""

    lr: Reduced
    hr: Reduced
    expected: NDArray[np.float64]
    hr_centre: NDArray[np.float64]
    extent: NDArray[np.float64]  # of the fine scan in the tile frame, nm
    spread_nm: float  # sharpness of the coarse map

    def pitch(self, across: float) -> float:
        """Working pitch with so many pixels across the tile, never finer than the coarse map."""
        return max(float(np.sqrt(np.prod(self.extent))) / across, min(self.lr.grid.pixel_size_nm))

    def warp(self, peak: Peak, grid: Grid) -> Warp:
        """Working pixels to nm."""
        matrix = peak.matrix @ self.expected
        return Warp.affine(matrix, grid.to_nm(peak.centre) - matrix @ self.hr_centre)


def _attempt(lr: Image, hr: Image, prior: Prior, progress: Progress | None) -> Location:
    """One search under one prior."""
    job = _job(lr, hr, prior)
    across = float(np.clip(MAP_PX * np.sqrt(np.prod(job.extent) / np.prod(job.lr.grid.extent_nm)), *TILE_PX))
    pitch = job.pitch(across)
    tile_flat, tile_ok = _tile_level(job, pitch)
    grid = _map_grid(job.lr.grid, pitch)
    flat, ok = _map_level(job, job.lr, grid, tile_flat.shape)
    found: dict[str, Hits] = {}
    for k, (name, mode) in enumerate(MODES.items()):
        if progress is not None:
            progress(k, len(MODES), f"searching {lr.name} for {hr.name} ({name})")
        tile = Tile(mode.features(tile_flat, tile_ok, OVERSAMPLED), tile_ok)
        maps = [np.ascontiguousarray(mode.features(np.flip(flat, a), np.flip(ok, a), 1.0)) for a in MIRRORS]
        poses = pose_grid(tile.half, prior.ratio_error, prior.rotation_deg, mode.step_px)
        rough = [_polished(p, m, tile, mode) for p, m in zip(search(maps, tile, poses), maps, strict=True)]
        fine = [_finished(job, p, grid, mode, axes) for p, axes in zip(rough, MIRRORS, strict=True)]
        found[name] = _hits(rough, fine, grid, RIVAL_SHARE * float(min(job.extent)))
        if found[name].ratio >= CLEAR_AT:
            break
    if progress is not None:
        progress(len(MODES), len(MODES), f"searched {lr.name} for {hr.name}")
    return _judged(job, found)


def _job(lr: Image, hr: Image, prior: Prior) -> _Job:
    expected = rotation(prior.rotation_centre_deg) @ np.diag(prior.ratio_centre)
    extent = np.abs(expected) @ np.asarray(hr.grid.extent_nm)
    middle = hr.grid.to_nm((np.asarray(hr.grid.shape) - 1) / 2)
    part = _part(lr, prior, extent)
    finest = max(float(np.sqrt(np.prod(extent))) / FINE_PX, min(lr.grid.pixel_size_nm))
    spread = 0.5 * max(lr.grid.pixel_size_nm)
    return _Job(reduce(part, finest), reduce(hr, finest / OVERSAMPLED), expected, middle, extent, spread)


def _part(lr: Image, prior: Prior, extent: NDArray[np.float64]) -> Image:
    """The part of the map in which the tile lies if its centre is within the prior's radius."""
    if prior.centre_nm is None or prior.radius_nm is None:
        return lr
    reach = prior.radius_nm + 0.6 * extent
    low, high = (lr.grid.to_index(np.asarray(prior.centre_nm) + s * reach) for s in (-1, 1))
    size = np.asarray(lr.grid.shape)
    if (high < 8).any() or (low > size - 8).any():
        return lr
    return lr.crop(Region.clipped(lr.grid, low.tolist(), high.tolist()))


def _map_grid(grid: Grid, pitch: float) -> Grid:
    shape = [max(8, int(e / pitch)) for e in grid.extent_nm]
    return Grid.of(shape, pitch, [e + pitch / 2 for e in grid.edge_nm])


def _spread(job: _Job, pitch: float) -> float:
    return max(WORKING_SPREAD * pitch, job.spread_nm)


def _tile_level(job: _Job, pitch: float) -> tuple[Array, Array]:
    """The fine scan in the tile frame, flattened, oversampled."""
    q = pitch / OVERSAMPLED
    shape = [max(8, round(e / q)) for e in job.extent]
    grid = Grid.of(shape, q, [-(n - 1) / 2 * q for n in shape])
    back = np.linalg.inv(job.expected)
    grey, ok = level(job.hr, grid, _spread(job, pitch), matrix=back, offset_nm=job.hr_centre)
    return flatten(grey, ok, FLATTEN_SHARE * float(np.sqrt(np.prod(shape)))), ok


def _map_level(job: _Job, source: Reduced, grid: Grid, tile_shape: Sequence[int]) -> tuple[Array, Array]:
    grey, ok = level(source, grid, _spread(job, grid.pixel_size_nm[0]))
    return flatten(grey, ok, FLATTEN_SHARE * float(np.sqrt(np.prod(tile_shape))) / OVERSAMPLED), ok


def _polished(peaks: list[Peak], field: Array, tile: Tile, mode: Mode) -> list[Peak]:
    """The best distinct peaks improved, and the best other places at the best one's pose; one per place, best first."""
    if not mode.signed:
        peaks = [p for p in peaks if p.score > 0]
    apart = RIVAL_SHARE * 2 * min(tile.half)
    best = distinct(peaks, 3.0, POLISHED, mode.step_px / max(tile.half))
    best = _improved([*best, *_elsewhere(peaks, best[:1], apart)], field, tile, mode)
    if best:  # a lattice matches everywhere once its pose is right
        again = search([field], tile, [best[0].matrix])[0]
        best = [*best, *_improved(_elsewhere(again, best[:1], apart), field, tile, mode)]
    return distinct(sorted(best, key=lambda p: -abs(p.score)), 1.5, CANDIDATES, 1.0)


def _improved(peaks: list[Peak], field: Array, tile: Tile, mode: Mode) -> list[Peak]:
    """Every peak improved first on blurred, then on sharp features, best first."""
    for blur in BLURS_PX:
        template, soft = template_of(tile, blur), blurred(field, blur)
        peaks = [polish(p, soft, template, signed=mode.signed) for p in peaks]
    return sorted(peaks, key=lambda p: -abs(p.score))


def _elsewhere(peaks: Sequence[Peak], first: Sequence[Peak], apart: float) -> list[Peak]:
    """The best peaks away from the first, and from each other."""
    return distinct([*first, *peaks], apart, RIVALS + 1, np.inf)[1:]


def _finished(
    job: _Job, peaks: list[Peak], grid: Grid, mode: Mode, mirror: tuple[int, ...]
) -> tuple[list[tuple[Peak, Grid]], float]:
    """The best few places again on the finest level, and the score of the best's neighbourhood at the same pose.

    Each is looked at in its own cut-out of the (mirrored) map. The neighbourhood matters on lattices: there the finest
    level may lock onto the period, which every neighbour does as well.
    """
    pitch = job.pitch(FINE_PX)
    if pitch > 0.8 * grid.pixel_size_nm[0]:
        return [(p, grid) for p in peaks], 0.0
    flat, ok = _tile_level(job, pitch)
    tile = Tile(mode.features(flat, ok, OVERSAMPLED), ok)
    template = template_of(tile)
    source = job.lr.mirrored(mirror)
    out: list[tuple[Peak, Grid, Array]] = []
    apart = RIVAL_SHARE * float(min(job.extent)) / grid.pixel_size_nm[0]
    for peak in [*peaks[:1], *_elsewhere(peaks, peaks[:1], apart)]:
        own = _around(source.grid, grid.to_nm(peak.centre), job.extent, pitch)
        field_flat, field_ok = _map_level(job, _cut(source, own), own, flat.shape)
        field = mode.features(field_flat, field_ok, 1.0)
        start = Peak(peak.matrix, own.to_index(grid.to_nm(peak.centre)), peak.score)
        out.append((polish(start, field, template, signed=mode.signed), own, field))
    out.sort(key=lambda p: -abs(p[0].score))
    around = search([out[0][2]], tile, [out[0][0].matrix])[0][1:] if out and not mirror else []
    return [(p, g) for p, g, _ in out], max((abs(p.score) for p in around), default=0.0)


def _around(grid: Grid, centre: NDArray[np.float64], extent: NDArray[np.float64], pitch: float) -> Grid:
    """Working grid around a place, cut at the borders of the map."""
    edge = np.asarray(grid.edge_nm)
    low = np.maximum(centre - 0.75 * extent, edge)
    high = np.minimum(centre + 0.75 * extent, edge + np.asarray(grid.extent_nm))
    shape = np.maximum(8, ((high - low) / pitch).astype(int))
    return Grid.of(shape.tolist(), pitch, (low + pitch / 2).tolist())


def _cut(source: Reduced, grid: Grid) -> Reduced:
    """The part of a map under a grid, with a margin for filters."""
    margin = 8.0
    low = source.grid.to_index(grid.edge_nm) - margin
    high = source.grid.to_index(np.asarray(grid.edge_nm) + np.asarray(grid.extent_nm)) + margin
    region = Region.clipped(source.grid, low.tolist(), high.tolist())
    ok = None if source.ok is None else source.ok[region.slices]
    return Reduced(source.grey[region.slices], ok, region.own_grid, source.spread_nm)


# ---------------------------------------------------------------------------------------------------- judgement
@dataclass(frozen=True)
class Hits:
    """What one mode found: places in the map on the finest level, and how far the best stands out from chance."""

    places: list[tuple[Peak, Grid]]
    ratio: float
    turned: bool


def _hits(
    rough: list[list[Peak]], fine: list[tuple[list[tuple[Peak, Grid]], float]], grid: Grid, apart_nm: float
) -> Hits:
    """Compare the map with the mirrored ones, at the search level and at the finest."""
    sharp = [places for places, _ in fine]
    top_rough = [abs(v[0].score) if v else 0.0 for v in rough]
    top_sharp = [abs(v[0][0].score) if v else 0.0 for v in sharp]
    top_rough.append(_rival([(p, grid) for p in rough[0]], apart_nm))
    top_sharp.append(max(fine[0][1], _rival(sharp[0], apart_nm)))
    return Hits(sharp[0], stand_out(top_rough, top_sharp), stands_out_turned(top_rough[: len(MIRRORS)]))


def _rival(places: list[tuple[Peak, Grid]], apart_nm: float) -> float:
    """Best score in the map itself, but away from the best place: a lattice matches itself everywhere."""
    centres = [g.to_nm(p.centre) for p, g in places]
    far = [abs(p.score) for (p, _), c in zip(places, centres, strict=True) if np.max(np.abs(c - centres[0])) > apart_nm]
    return max(far, default=0.0)


def _judged(job: _Job, found: dict[str, Hits]) -> Location:
    """The mode whose target stands out most decides."""
    ordered = sorted(found, key=lambda n: -found[n].ratio)
    name = ordered[0]
    candidates = [Candidate(job.warp(p, g), p.score, n) for n in ordered for p, g in found[n].places if p.score]
    first = candidates[0] if candidates else Candidate(Warp.affine(job.expected, np.zeros(2)), 0.0, name)
    verdict, reasons = decide(found[name].ratio, _overlap(job, first.lr_from_hr), any(h.turned for h in found.values()))
    return Location(first.lr_from_hr, name, first.score, found[name].ratio, verdict, reasons, _merged(candidates, job))


def _merged(candidates: list[Candidate], job: _Job) -> tuple[Candidate, ...]:
    """At most eight places that differ by more than a twentieth of the tile; each mode's best come first."""
    kept: list[Candidate] = []
    apart = 0.05 * float(min(job.extent))
    for c in candidates:
        place = c.lr_from_hr(job.hr_centre)
        if all(np.max(np.abs(place - k.lr_from_hr(job.hr_centre))) > apart for k in kept):
            kept.append(c)
    return tuple(kept[:CANDIDATES])


def _overlap(job: _Job, warp: Warp) -> float:
    """Share of the fine scan that lies in the map."""
    steps = (np.arange(32) + 0.5) / 32 - 0.5
    points = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1) * np.asarray(job.hr.grid.extent_nm)
    place = job.lr.grid.to_index(warp(points + job.hr_centre))
    return float(np.mean(((place > -0.5) & (place < np.asarray(job.lr.grid.shape) - 0.5)).all(-1)))


def _better(a: Location, b: Location) -> bool:
    order = (Verdict.NOT_FOUND, Verdict.DOUBTFUL, Verdict.FOUND)
    return (order.index(a.verdict), a.decoy_ratio) > (order.index(b.verdict), b.decoy_ratio)


# ---------------------------------------------------------------------------------------------------- checks
def _check(lr: Image, hr: Image) -> None:
    if lr.grid.ndim != 2 or hr.grid.ndim != 2:
        raise InputError(f"Both scans must be 2-D, but {lr.grid} and {hr.grid} came. Give landmarks for volumes.")
    if any(r < 0.8 for r in lr.grid.sr_factor(hr.grid)):
        raise InputError(
            f"{hr.name} ({hr.grid}) has larger pixels than {lr.name} ({lr.grid}). Give the coarse map first, "
            "the fine scan second, and check the pixel sizes."
        )
    if any(a > 1.5 * b for a, b in zip(hr.grid.extent_nm, lr.grid.extent_nm, strict=True)):
        raise InputError(f"{hr.name} ({hr.grid}) covers more than {lr.name} ({lr.grid}). Check the pixel sizes.")
    across = [e / p for e, p in zip(hr.grid.extent_nm, lr.grid.pixel_size_nm, strict=True)]
    if min(across) < LEAST_TILE_PX:
        raise InputError(
            f"{hr.name} covers only {min(across):.0f} pixels of {lr.name}; at least {LEAST_TILE_PX:.0f} are needed "
            "to find it. Record a larger fine scan, or check the pixel sizes."
        )
    for image in (lr, hr):
        sample = np.asarray(image.data[...] if image.grid.size < 1 << 24 else image.data[::7, ::7])
        values = sample[np.isfinite(sample)]
        if values.size < sample.size // 10 or values.min() == values.max():
            raise InputError(
                f"{image.name} is constant or holds hardly any finite grey level: nothing can be found in it."
            )
