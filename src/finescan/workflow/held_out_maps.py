"""Errors, resolution and likeness of a result place by place, where fine scan was held out; and its useful pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches import PatchSet, Piece
from finescan.trust import Consistency, ErrorMaps, error_maps
from finescan.trust.local_judgement import LocalJudgement, UsefulPixel, judge_locally, local_facts
from finescan.values import Grid, Image, Region
from finescan.workflow.judging import Predicts, on_grid

CONTEXT_PX = 12  # coarse pixels around the held-out part that degrading the result may look at
ENHANCED, BICUBIC = "enhanced", "bicubic"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class HeldOutPlace:
    """The held-out part of one fine scan.

    Parameters
    ----------
    grid : of the pictures.
    pictures : "fine" and "enhanced"; NaN where no fine scan is held out.
    local : maps over windows; None = no window fits in.
    errors : on the coarse pixels under the pictures; None = too little is known.
    """

    grid: Grid
    pictures: Mapping[str, Floats]
    local: LocalJudgement | None
    errors: ErrorMaps | None


@dataclass(frozen=True)
class HeldOutMaps:
    """What is known place by place.

    Parameters
    ----------
    places : the largest first.
    useful : how fine pixels show anything more; None = not known.
    """

    places: tuple[HeldOutPlace, ...]
    useful: UsefulPixel | None

    @property
    def notes(self) -> list[str]:
        """What a reader must know: pixels finer than the detail in them."""
        found = self.useful
        return [] if found is None or not (found.too_fine or np.isnan(found.resolution_nm)) else [found.sentence()]

    def facts(self) -> dict[str, Any]:
        """ "local_resolution" and "error_maps" as plain JSON values."""
        local = local_facts([p.local for p in self.places if p.local is not None])
        local["useful_pixel"] = None if self.useful is None else self.useful.to_dict()
        return {"local_resolution": local, "error_maps": error_facts([p.errors for p in self.places if p.errors])}


def map_held_out(patches: PatchSet, lr: Image, bicubic: Predicts, enhanced: Image, check: Consistency) -> HeldOutMaps:
    """Compare the enhanced map, and interpolation, with the held-out blocks of every fine scan.

    Parameters
    ----------
    bicubic : the interpolation, in the fine scan's grey levels.
    enhanced : as computed, no recorded pixels pasted in.
    check : the yardstick of consistency; where it says nothing, there is no map of consistency.
    """
    grey = patches.hr_grey
    held = [p for p in patches.pieces if p.role_fine("test").any()]
    held.sort(key=lambda p: -int(p.role_fine("test").sum()))
    places = tuple(_place(p, lr, bicubic, enhanced, check, grey.high - grey.low) for p in held)
    local = next((p.local for p in places if p.local is not None), None)
    return HeldOutMaps(places, None if local is None else useful_pixel(local, ENHANCED, lr.grid, patches.out_grid))


def useful_pixel(local: LocalJudgement, name: str, coarse: Grid, delivered: Grid) -> UsefulPixel:
    """How fine pixels of an image show anything more, from all windows together."""
    rings = local.rings[name]
    pixel, recorded = (max(g.pixel_size_nm) for g in (delivered, coarse))
    return UsefulPixel.of(rings.pooled, rings.limit, pixel, recorded, local.threshold)


def _place(
    piece: Piece, lr: Image, bicubic: Predicts, enhanced: Image, check: Consistency, data_range: float
) -> HeldOutPlace:
    test = piece.role_fine("test")
    box = _around(test)
    known, grid = test[box], piece.out_grid.crop([s.start for s in box], [s.stop for s in box])
    images = {ENHANCED: on_grid(enhanced, grid), BICUBIC: bicubic.predict(piece.lr)[box]}
    known = known & np.logical_and.reduce([np.isfinite(v) for v in images.values()])
    local = judge_locally(images, piece.hr[box], known, grid, data_range=data_range)
    pictures = {"fine": piece.hr[box], ENHANCED: images[ENHANCED]}
    shown = {k: np.where(known, v, np.nan).astype(np.float32) for k, v in pictures.items()}
    return HeldOutPlace(grid, shown, local, _errors(piece, test, box, lr, enhanced, check))


def _around(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice]:
    """The smallest box with all of a mask, grown by a margin within the array."""
    lines = [np.flatnonzero(mask.any(axis=1 - a)) for a in range(2)]
    rows, columns = (
        slice(max(0, int(v[0]) - margin), min(n, int(v[-1]) + 1 + margin))
        for v, n in zip(lines, mask.shape, strict=True)
    )
    return rows, columns


def _errors(
    piece: Piece, test: NDArray[np.bool_], box: tuple[slice, slice], lr: Image, enhanced: Image, check: Consistency
) -> ErrorMaps | None:
    wide = _around(test, CONTEXT_PX * piece.factor)
    grid = piece.out_grid.crop([s.start for s in wide], [s.stop for s in wide])
    fine = Image(np.where(test, piece.hr, np.nan)[wide].astype(np.float32), grid, piece.name)
    inner = piece.out_grid.crop([s.start for s in box], [s.stop for s in box])
    around, under = (_under(g, lr) for g in (grid, inner))
    try:
        found = error_maps(Image(on_grid(enhanced, grid), grid, ENHANCED), fine, lr.crop(around), check)
    except InputError:  # hardly any pixel counts: there is nothing to map
        return None
    offset = np.subtract(under.start, around.start)
    part = tuple(slice(a, a + n) for a, n in zip(offset.tolist(), under.shape, strict=True))
    seen = np.isfinite(found.omission[part])
    consistency = np.where(seen & check.informative, found.consistency[part], np.nan).astype(np.float32)
    return ErrorMaps(consistency, found.omission[part], found.invention[part])


def _under(grid: Grid, lr: Image) -> Region:
    """The coarse pixels under a grid of the same frame."""
    ends = [lr.grid.to_index(np.add(grid.edge_nm, v)) + 0.5 for v in (np.zeros(2), grid.extent_nm)]
    return Region.clipped(lr.grid, np.floor(ends[0] + 1e-6).tolist(), np.ceil(ends[1] - 1e-6).tolist())


def error_facts(found: Sequence[ErrorMaps]) -> dict[str, Any]:
    """Per kind of error: median, and share of the coarse pixels above 1, the ordinary limit; None = not known."""
    out: dict[str, Any] = {}
    for kind in ("consistency", "omission", "invention"):
        values = np.concatenate([np.zeros(0, np.float32), *(getattr(e, kind).ravel() for e in found)])
        values = values[np.isfinite(values)]
        known = (
            {"median": float(np.median(values)), "share_above_1": float(np.mean(values > 1))} if values.size else None
        )
        out[kind] = known
    return out


def summary_lines(facts: Mapping[str, Any]) -> list[str]:
    """What is printed of it."""
    local, errors = facts.get("local_resolution") or {}, facts.get("error_maps") or {}
    lines = []
    rows = local.get("images") or {}
    if rows:
        figures = "; ".join(f"{n} {_figures(r)}" for n, r in rows.items())
        lines.append(
            f"places: medians of {local['windows']} windows of {local['window_px']} px, blur (full width), detail "
            f"(ring correlation {local['threshold_correlation']}), MS-SSIM: {figures}"
        )
    shares = ", ".join(f"{k} {100 * v['share_above_1']:.1f} %" for k, v in errors.items() if v)
    if shares:
        lines.append(f"errors beyond the ordinary on held-out coarse pixels: {shares}")
    return lines


def _figures(row: Mapping[str, Any]) -> str:
    blur, detail, alike = (row[k]["median"] for k in ("blur_fwhm_nm", "frc_nm", "ms_ssim"))
    lengths = ", ".join("?" if v is None else f"{v:.3g} nm" for v in (blur, detail))
    return f"{lengths}, {'?' if alike is None else f'{alike:.3f}'}"
