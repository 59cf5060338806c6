"""What held-out fine scan says about a result place by place: errors, resolution, likeness, and its useful pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finescan.patches import PatchSet, Piece
from finescan.trust import Consistency, ErrorMaps, TrustReport
from finescan.trust.local_judgement import judge_locally
from finescan.trust.local_resolution import THRESHOLD
from finescan.values import Grid, Image
from finescan.workflow.judging import Predicts, on_grid
from finescan.workflow.place_maps import BICUBIC, ENHANCED, HeldOutMaps, PlaceMaps, errors_under, useful_pixel

CONTEXT_PX = 12  # coarse pixels around the held-out part that degrading the result may look at


def map_held_out(
    patches: PatchSet,
    lr: Image,
    bicubic: Predicts,
    enhanced: Image,
    check: Consistency,
    report: TrustReport | None = None,
) -> HeldOutMaps:
    """Compare the enhanced map, and interpolation, with the held-out blocks of every fine scan.

    Parameters
    ----------
    bicubic : the interpolation, in the fine scan's grey levels.
    enhanced : as computed, no recorded pixels pasted in.
    check : the yardstick of consistency; where it says nothing, there is no map of consistency.
    report : its ring correlation over whole blocks gives the useful pixel; None (or blocks with holes) = the windows.
    """
    grey = patches.hr_grey
    held = [p for p in patches.pieces if p.role_fine("test").any()]
    held.sort(key=lambda p: -int(p.role_fine("test").sum()))
    places = tuple(_place(p, lr, bicubic, enhanced, check, grey.high - grey.low) for p in held)
    local = next((p.local for p in places if p.local is not None), None)
    measured = {} if report is None else report.curves.get("resolution_nm", {}).get(report.candidate, {})
    useful = (
        None if local is None else useful_pixel(local, ENHANCED, patches.out_grid, lr.grid, measured.get(THRESHOLD))
    )
    return HeldOutMaps(places, useful)


def _place(
    piece: Piece, lr: Image, bicubic: Predicts, enhanced: Image, check: Consistency, data_range: float
) -> PlaceMaps:
    test = piece.role_fine("test")
    box = _around(test)
    known, grid = test[box], piece.out_grid.crop([s.start for s in box], [s.stop for s in box])
    images = {ENHANCED: on_grid(enhanced, grid), BICUBIC: bicubic.predict(piece.lr)[box]}
    known = known & np.logical_and.reduce([np.isfinite(v) for v in images.values()])
    local = judge_locally(images, piece.hr[box], known, grid, data_range=data_range)
    pictures = {"fine": piece.hr[box], ENHANCED: images[ENHANCED]}
    shown = {k: np.where(known, v, np.nan).astype(np.float32) for k, v in pictures.items()}
    errors, under = _errors(piece, test, box, lr, enhanced, check) or (None, None)
    return PlaceMaps(grid, shown, local, errors, under)


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
) -> tuple[ErrorMaps, Grid] | None:
    wide = _around(test, CONTEXT_PX * piece.factor)
    grid = piece.out_grid.crop([s.start for s in wide], [s.stop for s in wide])
    fine = Image(np.where(test, piece.hr, np.nan)[wide].astype(np.float32), grid, piece.name)
    inner = piece.out_grid.crop([s.start for s in box], [s.stop for s in box])
    return errors_under(Image(on_grid(enhanced, grid), grid, ENHANCED), fine, inner, lr, check)
