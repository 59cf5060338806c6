"""What is measured on a finished picture: scores tile by tile, sizes of objects, and how much faster it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan import reporting as rp
from finescan import trust
from finescan.errors import InputError
from finescan.models import Model
from finescan.patches import PatchSet, Piece
from finescan.patches.split import TEST
from finescan.quantification import (
    Measurements,
    Objects,
    SizeComparison,
    calmed,
    choose_objects,
    compare,
    measure_alike,
    pooled,
    size_classes,
    write_csv,
)
from finescan.trust import TileScores
from finescan.values import Image, Pair, TrustMap
from finescan.workflow import judging, measured_errors
from finescan.workflow.folder import write_whole
from finescan.workflow.opening import Job
from finescan.workflow.volume_verbs import sizes_text

LARGEST_COUNTED_PX = 1 << 26  # output pixels up to which the objects of the whole map are counted (30 bytes per pixel)
PORES_FILE, SIZES_FILE = "pores.csv", "pore_sizes.csv"
HELD_OUT, FINE_AREA, MAP = "held-out blocks", "whole fine area", "whole map"
AUTOMATIC = "Measured where a valley of the fine scan's grey levels sets dark (else bright) objects apart."


@dataclass(frozen=True)
class PictureMeasures:
    """Measurements of a run.

    Parameters
    ----------
    facts : plain JSON values: "tiles", "sizes", "error_bars", "acceleration".
    objects : which were measured, and why.
    tiles : scores tile by tile, or None where the held-out area holds no tile.
    sizes : objects in the held-out blocks, in the whole fine area and in the whole map; none if nothing was measured.
    files : names of the tables written.
    """

    facts: Mapping[str, Any]
    objects: Objects
    tiles: TileScores | None = None
    sizes: tuple[SizeComparison, ...] = ()
    files: tuple[str, ...] = ()


def measure(
    job: Job,
    lr: Image,
    hrs: Sequence[Image],
    pairs: Sequence[Pair],
    patches: PatchSet,
    contestants: Mapping[str, Model],
    enhanced: Image,
    written: Image | None = None,
    *,
    spread: Image | None = None,
    flags: TrustMap | None = None,
    measured_share: float = 0.0,
) -> PictureMeasures:
    """Everything that is measured besides the verdict; tables go into the run folder.

    Parameters
    ----------
    hrs : all fine scans that were recorded: they cost time, whether they could be used or not.
    pairs, patches : those that were used.
    contestants : with "bicubic" and "nearest".
    enhanced : as computed.
    written : with recorded pixels pasted in: what is measured on the whole map; None = the same.
    spread : expected size of the error of every pixel, for the error bars; None = by grey level.
    flags : of the result: places without data are left out of the error bars.
    measured_share : of the map that was recorded finely and pasted in, 0 to 1.
    """
    for name in (PORES_FILE, SIZES_FILE):  # of an earlier call: never beside a map they do not belong to
        (job.folder.path / name).unlink(missing_ok=True)
    faster = trust.measure_acceleration(lr, hrs)
    job.progress(0, 1, "measuring")
    tiles = _tile_scores(patches, contestants, enhanced)
    wanted = job.plan.choose("measure.objects", "auto", AUTOMATIC)
    areas = [] if wanted == "none" else [_Area.of(p, pairs, contestants["bicubic"], enhanced) for p in patches.pieces]
    objects = choose_objects(_fine_levels(areas), wanted)
    if wanted == "auto":
        job.plan.force("measure.objects", "auto", f"{AUTOMATIC} Here: {objects.reason}")
    sizes: list[SizeComparison] = []
    files: tuple[str, ...] = ()
    bars: dict[str, Any] | None = None
    if objects.kind != "none":
        sizes, seen = _under_the_fine_scans(lr, patches, areas, objects)
        found = None
        if enhanced.grid.size <= LARGEST_COUNTED_PX:
            found = _whole_map(job, lr, patches, contestants["bicubic"], written or enhanced, objects)
            everywhere = np.ones(enhanced.grid.shape, bool)
            sizes.append(compare(found, area=MAP, edges_nm=_classes(lr), counted=everywhere, against="coarse"))
            files = (PORES_FILE, SIZES_FILE)
        else:
            job.notes.append(_too_large(objects))
        bars = measured_errors.error_bars(
            seen, found, enhanced, objects, spread=spread, flags=flags, measured_share=measured_share,
            seed=int(job.plan.values.get("train.seed") or 0),
        )  # fmt: skip
        job.notes += bars["notes"]
    job.progress(1, 1, "measuring")
    facts = {
        "tiles": None if tiles is None else tiles.summary("enhanced"),
        "sizes": _size_facts(objects, sizes),
        "error_bars": bars,
        "acceleration": faster.to_dict(),
    }
    return PictureMeasures(facts, objects, tiles, tuple(sizes), files)


def _tile_scores(patches: PatchSet, contestants: Mapping[str, Model], enhanced: Image) -> TileScores | None:
    """SSIM of enhanced, bicubic and nearest on small tiles of the held-out fine scan."""
    models = {n: contestants[n] for n in ("bicubic", "nearest")}
    held = judging.held_out(patches, models, enhanced, name="enhanced")
    results = {n: held.results[n] for n in ("enhanced", *models)}
    grey = patches.hr_grey
    try:
        return trust.tile_scores(
            results, held.reference, data_range=grey.high - grey.low, mask=held.mask, regions=held.tiles
        )
    except InputError:  # blocks that are narrower than the smallest tile: the scores over whole blocks remain
        return None


@dataclass(frozen=True)
class _Area:
    """Coarse (interpolated), enhanced and fine under one fine scan, smoothed alike, and where all are known."""

    piece: Piece
    pictures: Mapping[str, NDArray[np.float32]]
    known: NDArray[np.bool_]
    enhanced: NDArray[np.float32]  # not smoothed

    @classmethod
    def of(cls, piece: Piece, pairs: Sequence[Pair], bicubic: Model, enhanced: Image) -> _Area:
        pictures = {
            "coarse": bicubic.predict(piece.lr),
            "enhanced": judging.on_grid(enhanced, piece.out_grid),
            "fine": piece.hr,
        }
        known = _recorded(piece, next(p for p in pairs if p.hr.name == piece.name))
        known &= np.logical_and.reduce([np.isfinite(v) for v in pictures.values()])
        return cls(piece, {n: calmed(v, known) for n, v in pictures.items()}, known, pictures["enhanced"])

    def held_out(self) -> NDArray[np.bool_]:
        """Known pixels of the test role, saturated ones included."""
        f = self.piece.factor
        return np.repeat(np.repeat(self.piece.role == TEST, f, axis=0), f, axis=1) & self.known


def _fine_levels(areas: Sequence[_Area]) -> NDArray[np.float32]:
    """Grey levels of all fine scans, smoothed, where they are known."""
    parts = [a.pictures["fine"][a.known] for a in areas]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _recorded(piece: Piece, pair: Pair) -> NDArray[np.bool_]:
    """Where a fine scan holds grey levels, whole coarse pixels at a time; its saturated pixels are among them.

    The piece's own weight leaves saturated pixels out: they are nothing to learn from, but pores are often black.
    """
    nm = piece.work_grid.to_nm(np.moveaxis(np.indices(piece.work_grid.shape), 0, -1))
    index = pair.hr.grid.to_index(pair.lr_from_hr.inverse_at(nm))
    inside = ((index >= 0) & (index <= np.array(pair.hr.grid.shape) - 1)).all(axis=-1)
    inside = ndimage.binary_erosion(inside, np.ones((3, 3), bool))
    known = np.repeat(np.repeat(inside, piece.factor, axis=0), piece.factor, axis=1)
    complete = pair.hr.dtype.kind != "f" or bool(np.isfinite(pair.hr.array()).all())
    return known if complete else known & piece.weight


def _under_the_fine_scans(
    lr: Image, patches: PatchSet, areas: Sequence[_Area], objects: Objects
) -> tuple[list[SizeComparison], list[measured_errors.Seen]]:
    """Coarse, enhanced and fine in the held-out blocks and in the whole fine area; and what was found per fine scan."""
    edges, seen = _classes(lr), []
    parts: dict[str, list[SizeComparison]] = {HELD_OUT: [], FINE_AREA: []}
    for area in areas:
        grid = area.piece.out_grid
        found = measure_alike(area.pictures, grid, objects=objects, field=area.known)
        seen.append(measured_errors.Seen(area.piece, area.pictures, area.enhanced, area.known, found))
        tiles = judging.held_out_tiles(patches, area.piece, grid, 0) or None
        for name, counted, regions in ((HELD_OUT, area.held_out(), tiles), (FINE_AREA, area.known, None)):
            if counted.any():
                part = compare(found, area=name, edges_nm=edges, counted=counted, reference="fine", regions=regions)
                parts[name].append(part)
    return [pooled(p) for p in parts.values() if p], seen


def _whole_map(
    job: Job, lr: Image, patches: PatchSet, bicubic: Model, enhanced: Image, objects: Objects
) -> dict[str, Measurements]:
    """Coarse and enhanced over the whole map; the table of all objects goes into the run folder."""
    everywhere = np.ones(enhanced.grid.shape, bool)
    pictures = {
        "coarse": calmed(judging.interpolated(patches, lr, bicubic, enhanced.grid), everywhere),
        "enhanced": calmed(enhanced.array(), everywhere),
    }
    found = measure_alike(pictures, enhanced.grid, objects=objects)
    write_csv(job.folder.path / PORES_FILE, found["enhanced"], overwrite=True)
    write_whole(job.folder.path / SIZES_FILE, sizes_text(found["enhanced"]))
    return found


def _too_large(objects: Objects) -> str:
    assert objects.threshold is not None
    level = f"{objects.threshold.value:.6g}"
    return (
        "The map is too large to count all its objects by the way; they were counted inside the fine scan only. "
        f"`finescan quantify --objects {objects.kind} --threshold {level}` counts those of the map."
    )


def _classes(lr: Image) -> NDArray[np.float64]:
    return size_classes(float(np.sqrt(np.prod(lr.grid.pixel_size_nm))))


def _size_facts(objects: Objects, sizes: Sequence[SizeComparison]) -> dict[str, Any]:
    return {
        "objects": objects.kind,
        "reason": objects.reason,
        "threshold": None if objects.threshold is None else objects.threshold.to_dict(),
        "areas": {c.area: c.to_dict() for c in sizes},
    }


# ------------------------------------------------------------------ for readers
def summary_lines(facts: Mapping[str, Any]) -> list[str]:
    """What a run prints of its measurements."""
    lines = []
    tiles, sizes = facts.get("tiles"), facts.get("sizes") or {}
    if tiles:
        means = ", ".join(f"{n} {s['mean']:.3f}" for n, s in tiles["scores"].items())
        share = 100 * tiles["improved_share"]["bicubic"]
        lines.append(
            f"tiles: {tiles['metric'].upper()} of {tiles['tiles']} held-out tiles of {tiles['tile_px']} px: {means}; "
            f"better than bicubic on {share:.0f} %"
        )
    rows = sizes.get("areas", {}).get(HELD_OUT, {}).get("rows", {})
    if rows:
        counts = ", ".join(f"{n} {r['objects']}" for n, r in rows.items())
        apart = ", ".join(f"{n} {r['ks_distance']:.2f}" for n, r in rows.items() if r.get("ks_distance") is not None)
        lines.append(
            f"sizes: {sizes['objects']} objects in the held-out blocks: {counts}"
            + (f"; distance of their sizes to the fine scan's: {apart}" if apart else "")
        )
    numbers = measured_errors.summary_line(facts["error_bars"], sizes["objects"]) if facts.get("error_bars") else None
    lines += [numbers] if numbers else []
    if facts.get("acceleration"):
        lines.append(f"time: {trust.Acceleration.from_dict(facts['acceleration'])}")
    return lines


def acceleration_facts(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The acceleration below the verdict, in two short facts."""
    faster = trust.Acceleration.from_dict(facts)
    what = "imaging time" if faster.in_seconds else "pixels recorded"
    return ("acceleration", f"{faster.factor:.1f} × (by {faster.timed_by})"), (what, faster.spent_instead_of)


def distributions(measured: PictureMeasures) -> tuple[rp.Chapter, ...]:
    """The chapter on scores tile by tile."""
    if measured.tiles is None:
        return ()
    words = (
        "How alike the fine scan is on every small tile of the held-out area: the enhanced map, the coarse one "
        "interpolated bicubically, and the coarse pixels as they are (nearest).",
    )
    return (rp.tile_chapter(measured.tiles, candidate="enhanced", words=words),)


def chapters(measured: PictureMeasures, trained_share: float) -> tuple[rp.Chapter, ...]:
    """The chapters on sizes of objects, and on numbers with error bars.

    Parameters
    ----------
    trained_share : of the fine area, 0 to 1: there the enhanced map knows the answer.
    """
    if not measured.sizes:
        return ()
    kind = measured.objects.kind
    words = (
        f"{measured.objects.reason} That threshold holds for all pictures, in the grey levels of the fine scan. The "
        "coarse one is interpolated bicubically to the pixels of the fine one, and all are smoothed by one fine pixel "
        "against noise. Objects cut by the border are not counted.",
        "An object belongs to the held-out blocks if its centre lies there. Of the whole fine area the network learned "
        f"from {100 * trained_share:.0f} %, so that table shows what it can do at best.",
    )
    sizes = rp.size_chapter(
        measured.sizes, title=f"Sizes of {kind} objects{' (pores)' if kind == 'dark' else ''}", words=words
    )
    return (sizes, *measured_errors.chapter(measured.facts["error_bars"], kind))
