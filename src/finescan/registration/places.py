"""From peaks of the search to places: improved at the search level, looked at again at the finest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from finescan.registration.job import CANDIDATES, RIVAL_SHARE, Job, Places, around, elsewhere, map_level, tile_level
from finescan.registration.modes import Array, Mode
from finescan.registration.polish import blurred, polish, template_of
from finescan.registration.prepare import Reduced
from finescan.registration.search import OVERSAMPLED, Peak, Tile, distinct, search
from finescan.values import Grid

BLURS_PX = (1.0, 0.0)  # of the features while polishing


def improved(peaks: list[Peak], field: Array, tile: Tile, mode: Mode, *, most: int, again: bool = True) -> list[Peak]:
    """The best distinct peaks improved, and the best other places at the best one's pose; one per place, best first.

    Parameters
    ----------
    peaks : of the search, best first.
    field : features of the map, (channels, *shape).
    tile : what was searched.
    mode : how it was looked at.
    most : peaks improved, besides the rivals.
    again : search once more at the pose of the best place, for further rivals.
    """
    if not mode.signed:
        peaks = [p for p in peaks if p.score > 0]
    apart = RIVAL_SHARE * 2 * min(tile.half)
    best = distinct(peaks, 3.0, most, mode.step_px / max(tile.half))
    best = _polished([*best, *elsewhere(peaks, best[:1], apart)], field, tile, mode)
    if best and again:  # a lattice matches everywhere once its pose is right
        further = search([field], tile, [best[0].matrix])[0]
        best = [*best, *_polished(elsewhere(further, best[:1], apart), field, tile, mode)]
    return distinct(sorted(best, key=lambda p: -abs(p.score)), 1.5, CANDIDATES, 1.0)


def _polished(peaks: list[Peak], field: Array, tile: Tile, mode: Mode) -> list[Peak]:
    """Every peak improved first on blurred, then on sharp features, best first."""
    for blur in BLURS_PX:
        template, soft = template_of(tile, blur), blurred(field, blur)
        peaks = [polish(p, soft, template, signed=mode.signed) for p in peaks]
    return sorted(peaks, key=lambda p: -abs(p.score))


class Finest:
    """The finest level: the tile at its pitch, and places looked at in their own cut-outs of the map.

    Parameters
    ----------
    job : what is searched; ``mode`` how it is looked at.
    grid : working grid of the search level.
    across : pixels across the tile at the finest level.
    """

    def __init__(self, job: Job, grid: Grid, mode: Mode, across: float) -> None:
        self.job, self.grid, self.mode = job, grid, mode
        self.pitch = job.pitch(across)
        self.adds = self.pitch <= 0.8 * grid.pixel_size_nm[0]
        if self.adds:
            flat, ok = tile_level(job, self.pitch)
            self.tile = Tile(mode.features(flat, ok, OVERSAMPLED), ok)
            self.template = template_of(self.tile)

    def look(
        self, peaks: Sequence[Peak], seen: Callable[[Grid], Reduced], field_of: Grid, *, nearby: bool
    ) -> tuple[Places, float]:
        """The best few places again, and with ``nearby`` the best score in the neighbourhood at the best's pose.

        The neighbourhood matters on lattices: there the finest level may lock onto the period, which every neighbour
        does as well.

        Parameters
        ----------
        peaks : on the search level, best first.
        seen : gives the (mirrored) map under a working grid, with a margin.
        field_of : whose field of view the map fills.
        """
        if not self.adds:
            return [(p, self.grid) for p in peaks], 0.0
        out: list[tuple[Peak, Grid, Array]] = []
        apart = RIVAL_SHARE * float(min(self.job.extent)) / self.grid.pixel_size_nm[0]
        for peak in [*peaks[:1], *elsewhere(peaks, peaks[:1], apart)]:
            centre = self.grid.to_nm(peak.centre)
            own = around(field_of, centre, self.job.extent, self.pitch)
            flat, ok = map_level(self.job, seen(own), own, self.tile.ok.shape)
            field = self.mode.features(flat, ok, 1.0)
            start = Peak(peak.matrix, own.to_index(centre), peak.score)
            out.append((polish(start, field, self.template, signed=self.mode.signed), own, field))
        out.sort(key=lambda p: -abs(p[0].score))
        others = search([out[0][2]], self.tile, [out[0][0].matrix])[0][1:] if out and nearby else []
        return [(p, g) for p, g, _ in out], max((abs(p.score) for p in others), default=0.0)
