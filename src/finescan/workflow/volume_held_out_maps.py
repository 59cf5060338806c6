"""What held-out boxes of a fine volume say about a result place by place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finescan import trust
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.trust import Consistency, ErrorMaps
from finescan.values import Grid, Image, Region
from finescan.workflow.held_out_maps import CONTEXT_PX
from finescan.workflow.place_maps import (
    ENHANCED,
    HeldOutMaps,
    PlaceMaps,
    errors_under,
    part_on,
    useful_pixel,
    volume_place,
)
from finescan.workflow.volume_judging import held_out, within

INTERPOLATED = "interpolated"

Floats = NDArray[np.float32]


def map_held_out_boxes(patches: VolumePatchSet, lr: Image, enhanced: Image, check: Consistency) -> HeldOutMaps:
    """Compare the enhanced volume, and interpolation, with the held-out boxes of every fine volume.

    Parameters
    ----------
    enhanced : as computed, no recorded voxels pasted in; may be lazy, and a part of the volume: boxes that it does not
        hold are left out.
    check : the yardstick of consistency; where it says nothing, there is no map of consistency.

    Returns
    -------
    The useful voxel is that of all windows of the largest box together: the blocks that the verdict rests on may be
    smaller than a window.
    """
    boxes = sorted(held_out(patches), key=lambda row: -int(np.prod(row[0].shape)))
    found = (_place(patches, region, piece, lr, enhanced, check) for region, piece in boxes)
    places = tuple(p for p in found if p is not None)
    local = next((p.local for p in places if p.local is not None), None)
    useful = None if local is None else useful_pixel(local, ENHANCED, patches.out_grid, lr.grid)
    return HeldOutMaps(places, useful)


def _place(
    patches: VolumePatchSet, region: Region, piece: VolumePiece, lr: Image, enhanced: Image, check: Consistency
) -> PlaceMaps | None:
    ours = part_on(enhanced, region.own_grid)
    if ours is None:
        return None
    box, grey = within(piece, region), patches.hr_grey
    fine = np.where(patches.counted(piece, "test", box), piece.hr[box], np.nan).astype(np.float32)
    plain = (patches.gain * piece.lr[box] + patches.offset).astype(np.float32)
    volumes = {ENHANCED: ours, INTERPOLATED: plain}
    local = trust.judge_volume_locally(volumes, fine, region.own_grid, data_range=grey.high - grey.low)
    errors = _errors(fine, region, lr, enhanced, check)
    return volume_place(region.own_grid, {"fine": fine, ENHANCED: ours}, local, errors)


def _errors(
    fine: Floats, region: Region, lr: Image, enhanced: Image, check: Consistency
) -> tuple[ErrorMaps, Grid] | None:
    """The fine volume is known inside the box only; what is degraded reaches beyond."""
    more = [round(CONTEXT_PX * f) for f in lr.grid.sr_factor(region.grid)]
    start = np.rint(region.grid.to_index(enhanced.grid.origin_nm)).astype(int)
    stop = start + enhanced.grid.shape
    wide = Region(
        region.grid,
        tuple(max(a - m, int(low)) for a, m, low in zip(region.start, more, start, strict=True)),
        tuple(min(b + m, int(high)) for b, m, high in zip(region.stop, more, stop, strict=True)),
    )
    around = np.full(wide.shape, np.nan, np.float32)
    around[tuple(slice(a - o, b - o) for a, b, o in zip(region.start, region.stop, wide.start, strict=True))] = fine
    ours = part_on(enhanced, wide.own_grid)
    recorded = Image(around, wide.own_grid, "fine")
    return errors_under(Image(ours, wide.own_grid, ENHANCED), recorded, region.own_grid, lr, check)
