"""Judging the enhanced map on held-out fine scan, and marking where it contradicts the coarse one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finescan import resampling, trust
from finescan.errors import InputError
from finescan.patches import PatchSet, Piece, work_lr
from finescan.trust import Consistency, TrustReport
from finescan.values import Grid, Image, Pair, Region, TrustMap, flag_bits

SMALLEST_TILE_PX = 24  # output pixels; a held-out box with a shorter side holds no structure to compare


class Predicts(Protocol):
    """Anything that enhances a block: a Model."""

    def predict(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fine grey levels of a block of coarse ones."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """Every contestant and the reference on the pieces that hold test blocks.

    One piece lies on its own grid in the frame of the coarse map (``in_place``). Several are laid out below each other
    on a grid without a place: metrics work block by block.
    """

    results: Mapping[str, NDArray[np.float32]]
    reference: NDArray[np.float32]
    mask: NDArray[np.bool_]
    tiles: tuple[Region, ...]
    grid: Grid
    in_place: bool


def held_out(patches: PatchSet, models: Mapping[str, Predicts], enhanced: Image, *, name: str) -> HeldOut:
    """Collect the test blocks: contestants by their models, the enhanced map (as ``name``) from what was written."""
    pieces = [p for p in patches.pieces if p.role_fine("test").any()]
    if not pieces:
        raise InputError("No held-out area is left to judge on. Record a larger fine scan.")
    rows = np.cumsum([0, *(p.hr.shape[0] for p in pieces)])
    shape = int(rows[-1]), max(p.hr.shape[1] for p in pieces)
    in_place = len(pieces) == 1
    grid = pieces[0].out_grid if in_place else Grid.of(shape, patches.out_grid.pixel_size_nm)
    reference = np.full(shape, np.nan, np.float32)
    mask = np.zeros(shape, bool)
    results = {n: np.full(shape, np.nan, np.float32) for n in (*models, name)}
    tiles: list[Region] = []
    for piece, row in zip(pieces, rows[:-1].tolist(), strict=True):
        box = slice(row, row + piece.hr.shape[0]), slice(0, piece.hr.shape[1])
        reference[box], mask[box] = piece.hr, piece.role_fine("test")
        for n, model in models.items():
            results[n][box] = model.predict(piece.lr)
        results[name][box] = on_grid(enhanced, piece.out_grid)
        tiles += held_out_tiles(patches, piece, grid, row)
    return HeldOut(results, reference, mask, tuple(tiles), grid, in_place)


def on_grid(image: Image, grid: Grid) -> NDArray[np.float32]:
    """The part of an image under a grid of the same pixels; NaN where the grid reaches beyond the image."""
    start = np.rint(image.grid.to_index(grid.origin_nm)).astype(int)
    low = np.clip(start, 0, image.grid.shape)
    high = np.clip(start + grid.shape, 0, image.grid.shape)
    out = np.full(grid.shape, np.nan, np.float32)
    if (high > low).all():
        inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[inside] = image.data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def interpolated(patches: PatchSet, lr: Image, bicubic: Predicts, grid: Grid) -> NDArray[np.float32]:
    """Bicubic interpolation of the coarse map on a piece of the output grid, in the fine scan's grey levels."""
    f, work = patches.factor, patches.work_grid
    start = np.rint(patches.out_grid.to_index(grid.origin_nm)).astype(int)
    low = np.clip(start // f - 3, 0, work.shape)
    high = np.clip(-(-(start + grid.shape) // f) + 3, 0, work.shape)
    block = work_lr(lr, work, low.tolist(), high.tolist()).array()
    fine = bicubic.predict(block)
    a, b = (start - low * f).tolist()
    return fine[a : a + grid.shape[0], b : b + grid.shape[1]]


def held_out_tiles(patches: PatchSet, piece: Piece, grid: Grid, row: int) -> list[Region]:
    """Test boxes of the map that touch this piece, on the collecting grid; boxes never overlap each other.

    Parameters
    ----------
    grid : of the collected pieces; ``row`` is the piece's first row on it.
    """
    start = np.rint(patches.out_grid.to_index(piece.out_grid.origin_nm)).astype(int)
    taken = np.zeros(piece.hr.shape, bool)
    test = piece.role_fine("test")
    out = []
    for region in patches.regions("test"):
        low = np.clip(np.array(region.start) - start, 0, piece.hr.shape)
        high = np.clip(np.array(region.stop) - start, 0, piece.hr.shape)
        box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        if (high - low).min() < SMALLEST_TILE_PX or not test[box].any() or taken[box].any():
            continue
        taken[box] = True
        out.append(Region(grid, (row + box[0].start, box[1].start), (row + box[0].stop, box[1].stop)))
    return out


def judge(held: HeldOut, *, data_range: float, candidate: str, coarse: Image, check: Consistency) -> TrustReport:
    """The verdict on the test blocks; with one piece also how much of each contestant contradicts the coarse map."""
    return trust.evaluate(
        held.results,
        held.reference,
        grid=held.grid,
        tiles=held.tiles,
        data_range=data_range,
        mask=held.mask,
        candidate=candidate,
        coarse=coarse if held.in_place and check.informative else None,
        consistency=check if held.in_place and check.informative else None,
    )


def yardstick(patches: PatchSet, pairs: Sequence[Pair]) -> Consistency:
    """How well the *recorded* fine scan explains the coarse one, on the piece with the largest training area.

    The test blocks, on which the map is judged by it, have no part in it.
    """
    piece = max(patches.pieces, key=lambda p: int(p.role_fine("train").sum()))
    pair = next(p for p in pairs if p.hr.name == piece.name)
    fine = np.where(piece.weight & ~piece.role_fine("test"), piece.hr, np.nan).astype(np.float32)
    return trust.calibrate(
        Image(fine, piece.out_grid, piece.name),
        pair.lr,
        rails=rails(pair.lr),
        fine_rails=trust.saturation_levels(pair.hr.array()),
    )


def rails(lr: Image) -> tuple[float | None, float | None]:
    """Levels at which the coarse map saturates, from a subset of rows of a large map."""
    step = max(1, lr.grid.size >> 26)
    return trust.saturation_levels(np.asarray(lr.data[::step]))


def mark_inconsistent(enhanced: Image, lr: Image, flags: TrustMap, check: Consistency) -> TrustMap:
    """The flags with "inconsistent" set where the enhanced map, degraded again, contradicts the coarse one."""
    if not check.informative:  # the recorded fine scan itself contradicts the coarse one (another detector)
        return flags
    out = np.array(flags.flags[...])
    bit = flag_bits("inconsistent")
    for rows, _, bad in trust.consistency_bands(enhanced, lr, check):
        out[rows] = np.where(bad, out[rows] | bit, out[rows] & ~np.uint8(bit))
    return TrustMap(out, flags.grid)


def second_opinions(pairs: Sequence[Pair], patches: PatchSet, enhanced: Image) -> list[dict[str, Any]]:
    """:func:`second_opinion` of every fine scan that only judges."""
    grey = patches.hr_grey
    trainers = [p for p in pairs if p.hr.name not in patches.judges]
    judges = (p for p in pairs if p.hr.name in patches.judges)
    opinions = (second_opinion(enhanced, p, trainers, data_range=grey.high - grey.low) for p in judges)
    return [found for found in opinions if found]


def second_opinion(enhanced: Image, pair: Pair, others: Sequence[Pair], *, data_range: float) -> dict[str, Any] | None:
    """The enhanced map against a fine scan that was too coarse to train, outside the scans that did train.

    Both are compared at the scan's own pixel size, in the frame of the map. None when hardly anything is left.
    """
    grid = _map_grid(enhanced, pair)
    fine = resampling.resample(pair.hr, onto=grid, through=pair.lr_from_hr, inverse=True)
    ours = resampling.resample(enhanced, onto=grid)
    known = np.isfinite(fine.data) & np.isfinite(ours.data)
    nm = grid.to_nm(np.moveaxis(np.indices(grid.shape), 0, -1))
    for other in others:
        index = other.hr.grid.to_index(other.lr_from_hr.inverse_at(nm))
        known &= ~((index > -0.5) & (index < np.array(other.hr.grid.shape) - 0.5)).all(axis=-1)
    if known.sum() < 4096:
        return None
    a, b = np.asarray(ours.data[known], np.float64), np.asarray(fine.data[known], np.float64)
    gain, offset = np.polyfit(a, b, 1)
    error = float(np.sqrt(np.mean((gain * a + offset - b) ** 2)))
    return {
        "scan": pair.hr.name,
        "pixels": int(known.sum()),
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "psnr_matched": float(20 * np.log10(data_range / error)) if error else float("inf"),
        "gain": float(gain),
        "offset": float(offset),
    }


def _map_grid(enhanced: Image, pair: Pair) -> Grid:
    """The map's frame at the pitch of the pair's fine scan, over the box the scan covers."""
    pitch = pair.lr.grid.refine(pair.sr_factor)
    h, w = pair.hr.grid.shape
    corners = pair.hr.grid.to_nm(np.array([[0, 0], [0, w - 1], [h - 1, 0], [h - 1, w - 1]], float))
    index = pitch.to_index(pair.lr_from_hr(corners))
    low = np.clip(np.floor(index.min(axis=0)), 0, np.array(pitch.shape) - 1).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)) + 1, low + 1, pitch.shape).astype(int)
    return pitch.crop(low.tolist(), high.tolist())
