"""Judging an enhanced volume on held-out fine scan, and measuring the pores that the user came for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import trust
from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
from finescan.errors import InputError
from finescan.models import Model
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.quantification import QuantifyConfig, match, quantify, write_csv
from finescan.reporting import PoreNumbers
from finescan.trust import Consistency, TrustReport
from finescan.trust.volume_judgement import judge_volume
from finescan.values import Circle, Grid, Image, Region, TrustMap, flag_bits
from finescan.workflow import volume_errors
from finescan.workflow.field_of_view import rails
from finescan.workflow.folder import write_whole
from finescan.workflow.opening import Job
from finescan.workflow.pasting import Merged
from finescan.workflow.volume_verbs import sizes_text

LARGEST_COUNTED = 1 << 29  # voxels; beyond it pores are counted inside the fine scan only
PORES = "Pores and voids are darker than the solid."
PORES_FILE, SIZES_FILE = "pores.csv", "pore_sizes.csv"
FEW_BLOCKS, SMALLEST_BLOCK = 12, 12  # held-out boxes are halved while they are fewer; voxels along an edge
UNKNOWN = Consistency(0.0, 1.0, 0.0, 1.0, 0.0, explained=0.0)
LEAST_COUNTED = 0.5  # share of the voxels of a judged box
THINNEST = 11  # voxels that a judged box has along every edge: the window of structural similarity


def held_out(patches: VolumePatchSet) -> list[tuple[Region, VolumePiece]]:
    """The test boxes, cut down to where at least half of the voxels count, and the fine scan each is judged on."""
    found = []
    for region in patches.regions("test"):
        known = [(_counted_box(patches, p, region), p) for p in patches.pieces]
        inside = [(box, voxels, p) for (box, voxels), p in known if box is not None]
        if inside:
            widest, _, piece = max(inside, key=lambda row: row[1])
            dense = _dense(patches, widest, piece)
            found += [] if dense is None else [(dense, piece)]
    return found


def _dense(patches: VolumePatchSet, region: Region, piece: VolumePiece) -> Region | None:
    """The better half of a box, again and again until enough of its voxels count; None where that never happens."""

    def share(r: Region) -> float:
        return float(patches.counted(piece, "test", within(piece, r)).mean())

    while share(region) < LEAST_COUNTED:
        if max(region.shape) < 2 * THINNEST:
            return None
        region = max(halves(region), key=share)
    return region


def within(piece: VolumePiece, region: Region) -> tuple[slice, ...]:
    """A box of the out grid as slices of a piece that holds it."""
    return tuple(slice(a - s, b - s) for a, b, s in zip(region.start, region.stop, piece.start, strict=True))


def _counted_box(patches: VolumePatchSet, piece: VolumePiece, region: Region) -> tuple[Region | None, int]:
    """The smallest box around the test voxels of a fine scan in a region, and their number."""
    start = [max(0, a - s) for a, s in zip(region.start, piece.start, strict=True)]
    stop = [min(n, b - s) for b, s, n in zip(region.stop, piece.start, piece.shape, strict=True)]
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        return None, 0
    mask = patches.counted(piece, "test", tuple(slice(a, b) for a, b in zip(start, stop, strict=True)))
    if not mask.any():
        return None, 0
    first, last = ([v + a for v, a in zip(ends, start, strict=True)] for ends in _bounds(mask))
    for axis, n in enumerate(piece.shape):  # a thin box is judged with some uncounted voxels around it
        missing = max(0, min(n, THINNEST) - (last[axis] - first[axis]))
        first[axis] = max(0, min(first[axis] - missing // 2, n - THINNEST))
        last[axis] = max(last[axis], min(n, first[axis] + THINNEST))
    low, high = ([v + s for v, s in zip(ends, piece.start, strict=True)] for ends in (first, last))
    return Region(patches.out_grid, tuple(low), tuple(high)), int(np.count_nonzero(mask))


def _bounds(mask: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """First voxel of the smallest box around what is set, and the first one behind it."""
    known = [np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != k))) for k in range(mask.ndim)]
    return [int(k[0]) for k in known], [int(k[-1]) + 1 for k in known]


def judge(lr: Image, patches: VolumePatchSet, models: Mapping[str, Model], enhanced: Image, method: str) -> TrustReport:
    """The verdict on the test boxes: every model on them, and what was written ("enhanced").

    Where only a region was enhanced, the model that made it stands in on the test boxes outside.
    """
    boxes = held_out(patches)
    places = _blocks(boxes)
    if not places:
        raise InputError("No held-out box is left to judge on. Record a larger fine scan.")
    tiles = [tile for tile, _ in places]
    reference, masks = [], []
    for tile, piece in places:
        box = within(piece, tile)
        reference.append(piece.hr[box])
        masks.append(patches.counted(piece, "test", box))
    config = VolumeEnhanceConfig(dtype="float32", circle=patches.circle)
    results = {}
    for name, model in models.items():  # every box at once: its blocks share their context
        whole = [enhance_volume(model, lr, config=config, region=box).image for box, _ in boxes]
        results[name] = [_written_somewhere(whole, tile) for tile in tiles]
    results["enhanced"] = [_written(enhanced, t, results[method][k]) for k, t in enumerate(tiles)]
    grey = patches.hr_grey
    return judge_volume(
        results,
        reference,
        grid=patches.out_grid,
        tiles=tiles,
        data_range=grey.high - grey.low,
        mask=masks,
        candidate="enhanced",
    )


def _blocks(places: Sequence[tuple[Region, VolumePiece]]) -> list[tuple[Region, VolumePiece]]:
    """Held-out boxes halved along their longest edges until there are enough of them for standard errors."""
    out = list(places)
    while 0 < len(out) < FEW_BLOCKS and all(max(r.shape) >= 2 * SMALLEST_BLOCK for r, _ in out):
        out = [(half, piece) for r, piece in out for half in halves(r)]
    return out


def halves(region: Region) -> tuple[Region, Region]:
    """A box, cut across its longest edge."""
    axis = int(np.argmax(region.shape))
    middle = (region.start[axis] + region.stop[axis]) // 2
    stop, start = list(region.stop), list(region.start)
    stop[axis] = start[axis] = middle
    return Region(region.grid, region.start, tuple(stop)), Region(region.grid, tuple(start), region.stop)


def _written(enhanced: Image, tile: Region, instead: NDArray[np.float32]) -> NDArray[np.float32]:
    """The written volume on a box, ``instead`` where it does not hold all of the box."""
    found = part_of(enhanced, tile)
    return instead if found is None else found


def _written_somewhere(images: Sequence[Image], tile: Region) -> NDArray[np.float32]:
    """A box from the one image that holds it."""
    return next(found for image in images if (found := part_of(image, tile)) is not None)


def part_of(image: Image, tile: Region) -> NDArray[np.float32] | None:
    """The grey levels of a volume in a box; None where it does not hold all of the box."""
    start = np.rint(image.grid.to_index(tile.own_grid.origin_nm)).astype(int)
    stop = start + tile.shape
    if (start < 0).any() or (stop > image.grid.shape).any():
        return None
    return np.asarray(image.data[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))], np.float32)


def yardstick(patches: VolumePatchSet, lr: Image) -> Consistency:
    """How well the *recorded* fine scan explains the coarse one, on the fine scan with the most voxels.

    The test boxes, on which the volume is judged by it, have no part in it. UNKNOWN where it is too small to say.
    """
    piece = max(patches.pieces, key=lambda p: int(np.count_nonzero(p.weight)))
    stop = [s + n for s, n in zip(piece.start, piece.shape, strict=True)]
    grid = patches.out_grid.crop(piece.start, stop)
    seen = piece.weight & ~patches.counted(piece, "test")
    fine = Image(np.where(seen, piece.hr, np.nan).astype(np.float32), grid, piece.name)
    try:
        return trust.calibrate_volume(fine, lr, mask=patches.circle, rails=rails(lr))
    except InputError:  # a few coarse voxels under the fine scan: no reason to give up what was learned
        return UNKNOWN


def mark_inconsistent(enhanced: Image, lr: Image, flags: TrustMap, check: Consistency, circle: Circle) -> TrustMap:
    """The flags with "inconsistent" set where the enhanced volume, degraded again, contradicts the coarse one."""
    if not check.informative:
        return flags
    part, out = part_under(lr, flags.grid), np.array(flags.flags[...])
    for rows, _, bad in trust.consistency_slabs(enhanced, part, check, mask=circle.mask(part.grid)):
        out[rows] |= np.where(bad, np.uint8(flag_bits("inconsistent")), np.uint8(0))
    return TrustMap(out, flags.grid)


def part_under(lr: Image, grid: Grid) -> Image:
    """The coarse volume where flags lie on this grid: all of it, or a region of interest."""
    if grid.same_as(lr.grid):
        return lr
    start = np.rint(lr.grid.to_index(grid.origin_nm)).astype(int)
    return lr.crop(Region(lr.grid, tuple(start.tolist()), tuple((start + grid.shape).tolist())))


@dataclass(frozen=True)
class Measured:
    """Pores of a run.

    Parameters
    ----------
    facts : plain JSON values: "whole" (the enhanced volume), "inside" (the first fine scan) and "error_bars".
    files : names of the tables written.
    inside : coarse, enhanced and fine inside the first fine scan, for the report.
    """

    facts: Mapping[str, Any]
    files: tuple[str, ...] = ()
    inside: tuple[PoreNumbers, ...] = ()


def measure(
    job: Job, lr: Image, patches: VolumePatchSet, enhanced: Image, model: Model, merged: Merged | None = None
) -> Measured:
    """Pores of the enhanced volume, and of coarse, enhanced and fine inside the first fine scan, matched with the fine.

    Holds nothing when nothing is to be measured.

    Parameters
    ----------
    enhanced : as computed by ``model``.
    merged : with recorded voxels pasted in: what is measured on the whole volume; None = the same.
    """
    written, share = (enhanced, 0.0) if merged is None else (merged.image, merged.share)
    wanted = job.plan.choose("measure.objects", "dark", PORES)
    for name in (PORES_FILE, SIZES_FILE):  # of an earlier call: never beside a volume they do not belong to
        (job.folder.path / name).unlink(missing_ok=True)
    if wanted == "none":
        return Measured({})
    wanted = "dark" if wanted == "auto" else wanted
    job.progress(0, 1, "measuring pores")
    config = QuantifyConfig(pores=wanted, faces="all")
    inside, facts, pictures = _inside(lr, patches, enhanced, model, config)
    files: tuple[str, ...] = ()
    if enhanced.grid.size <= LARGEST_COUNTED:
        labelled = enhanced.grid.size <= volume_errors.LARGEST_PX
        whole = quantify(written, config=config, circle=patches.circle, keep_labels=labelled)
        write_csv(job.folder.path / PORES_FILE, whole, overwrite=True)
        write_whole(job.folder.path / SIZES_FILE, sizes_text(whole))
        facts, files = {**facts, "whole": whole.summary(), "error_bars": None}, (PORES_FILE, SIZES_FILE)
        if whole.labels is not None:
            first = patches.pieces[0]
            bars = volume_errors.volume_error_bars(
                patches, first, fine_box(patches, first), pictures, enhanced, whole, config,
                computed_share=1 - share, seed=int(job.plan.values.get("train.seed") or 0),
            )  # fmt: skip
            facts["error_bars"] = bars
            job.notes += bars["notes"]
        job.notes += [f"Pores: {n}" for n in whole.notes if f"Pores: {n}" not in job.notes]
    else:
        job.notes.append("The volume is too large to count its pores at once; they were counted inside the fine scan.")
    job.progress(1, 1, "measuring pores")
    return Measured(facts, files, inside)


def fine_box(patches: VolumePatchSet, piece: VolumePiece) -> Region:
    """The box of the out grid that a fine scan covers, without the coarse context around it."""
    start, stop = ([s + n for s, n in zip(piece.start, ends, strict=True)] for ends in _bounds(piece.weight))
    return Region(patches.out_grid, tuple(start), tuple(stop))


def _inside(
    lr: Image, patches: VolumePatchSet, enhanced: Image, model: Model, config: QuantifyConfig
) -> tuple[tuple[PoreNumbers, ...], dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Count and match inside the first fine scan; most of it was learned from, and the facts say how much.

    The last value holds the volumes themselves.
    """
    piece = patches.pieces[0]
    region = fine_box(patches, piece)
    box = within(piece, region)
    plain = VolumeEnhanceConfig(dtype="float32", circle=patches.circle)
    ours = enhance_volume(model, lr, config=plain, region=region).image
    volumes = {
        "fine": np.where(piece.weight[box], piece.hr[box], np.nan).astype(np.float32),
        "coarse": (patches.gain * piece.lr[box] + patches.offset).astype(np.float32),
        "enhanced": _written(enhanced, region, np.asarray(ours.data)),
    }
    numbers, rows = [], {}
    fine = None
    for name, data in volumes.items():
        pores = quantify(Image(data, region.own_grid, name), config=config, circle=patches.circle)
        fine = fine or pores
        matching = None if name == "fine" else match(pores, fine)
        numbers.append(PoreNumbers.of(name, pores, matching, reference=name == "fine"))
        rows[name] = {**pores.summary(), "matching": None if matching is None else matching.summary()}
    facts = {"box": region.to_dict(), "trained_share": patches.shares().get("train", 0.0), "rows": rows}
    return tuple(numbers), {"inside": facts}, volumes
