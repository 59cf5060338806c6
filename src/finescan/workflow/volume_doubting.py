"""The step of a volume run that predicts lost and invented objects: as for pictures, read box by box.

Of a large fine volume some boxes, spread over it, are learned from and judged on; objects that a face of a box cuts
count as what of them lies inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
from finescan.models import Model
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.trust import doubt_flags
from finescan.trust.consistency import Consistency
from finescan.trust.doubt import Doubts, covered
from finescan.trust.doubt_features import HALO_PX, Box, evidence
from finescan.trust.doubt_objects import Seen
from finescan.values import Circle, Image, Region, TrustMap
from finescan.workflow import volume_judging
from finescan.workflow.doubting import LEARNED_FROM, Doubted, facts_of, foreign, learned, marked_as, notes_of

BLOCK_VOXELS = 1 << 23  # fine voxels of a box that is looked at at once
FINE_VOXELS, COARSE_VOXELS = 1 << 25, 1 << 23  # that are looked at in all, of either volume

Maps = dict[str, NDArray[np.float32]]


def mark_volume_doubts(
    enhanced: Image,
    lr: Image,
    flags: TrustMap,
    patches: VolumePatchSet,
    check: Consistency,
    model: Model,
    wanted: str = "dark",
) -> Doubted:
    """Flag where the enhanced volume probably lost or invented an object.

    Parameters
    ----------
    enhanced : as computed; read box by box.
    lr : the coarse volume.
    flags : of the result so far.
    patches : of the run; the training and stop boxes are learned from, the test boxes judge.
    check : the yardstick of the run.
    model : what made the result; it makes what lies outside the region that was enhanced.
    wanted : "dark" or "bright" objects; anything else = what the fine scan sets apart.
    """
    if not check.informative:
        return foreign(flags)
    fines = [(volume_judging.fine_box(patches, p), p) for p in patches.pieces if p.weight.any()]
    tests = volume_judging.held_out(patches)
    scans, held = (
        _seen(patches, enhanced, lr, model, boxes, roles)
        for boxes, roles in ((fines, LEARNED_FROM), (tests, ("test",)))
    )
    objects, doubts = learned(enhanced, lr, check, scans, wanted, patches.circle)
    marked, limits = mark_learned_volume(enhanced, lr, flags, check, doubts, patches.circle)

    def predicted(scan: Seen, box: Box) -> Maps:
        return doubts.probabilities(evidence(scan.image or enhanced, lr, check, doubts.sought, box, patches.circle))

    sought = doubts.sought
    judged = {} if sought is None else doubt_flags.judged(predicted, lr.grid, held, sought)
    return Doubted(marked, facts_of(objects, doubts, marked, limits, judged), notes_of(doubts, objects, lr.grid.ndim))


def mark_learned_volume(
    enhanced: Image, lr: Image, flags: TrustMap, check: Consistency, doubts: Doubts, circle: Circle
) -> tuple[TrustMap, dict[str, float]]:
    """The flags by what was learned, here or on another volume of the model; and the least probabilities per kind.

    Parameters
    ----------
    flags : on the grid of ``lr``, or on the part of it under ``enhanced``.
    circle : the field of view; nothing is flagged outside.
    """
    part = volume_judging.part_under(lr, flags.grid)
    inside = circle.mask(part.grid)
    usable = ~flags.where("no_data") & inside
    untrained = flags.where("untrained")
    strongest = doubt_flags.Strongest(int(doubt_flags.SHARE * np.count_nonzero(usable)), part.grid.shape)
    for box, maps in doubt_flags.doubt_boxes(enhanced, part, check, doubts, circle):
        maps["invention"][untrained[box]] = 0  # interpolation invents nothing
        strongest.add(maps, usable[box], box)
    found, limits = strongest.flagged()
    return marked_as(flags, found), limits


def _seen(
    patches: VolumePatchSet,
    enhanced: Image,
    lr: Image,
    model: Model,
    boxes: Sequence[tuple[Region, VolumePiece]],
    roles: Sequence[str],
) -> list[Seen]:
    """Boxes of the fine scans and the volume over them, known in areas of these roles only."""
    blocks = [(block, piece) for region, piece in boxes for block in _halved(region)]
    ratio = float(np.prod(lr.grid.sr_factor(patches.out_grid)))
    largest = max((b.own_grid.size for b, _ in blocks), default=1)
    most = max(1, int(min(FINE_VOXELS, COARSE_VOXELS * ratio) / largest))
    found = []
    for block, piece in _spread(blocks, most):
        where = tuple(slice(a - s, b - s) for a, b, s in zip(block.start, block.stop, piece.start, strict=True))
        known = np.logical_or.reduce([patches.counted(piece, r, where) for r in roles])
        if known.any():
            image = _around(enhanced, block, lr, model, patches.circle)
            ours = volume_judging.part_of(image or enhanced, block)
            assert ours is not None
            known &= np.isfinite(ours)
            grey = np.where(known, ours, 0).astype(np.float32)
            found.append(Seen(grey, piece.hr[where], known, block.own_grid, image))
    return found


def _halved(region: Region) -> Iterator[Region]:
    """The region, in halves of halves of which each is small enough."""
    if region.own_grid.size <= BLOCK_VOXELS:
        yield region
        return
    for half in volume_judging.halves(region):
        yield from _halved(half)


def _spread(blocks: Sequence[tuple[Region, VolumePiece]], most: int) -> Sequence[tuple[Region, VolumePiece]]:
    """At most so many of them, from everywhere."""
    if len(blocks) <= most:
        return blocks
    return [blocks[int(k)] for k in (np.arange(most) + 0.5) * len(blocks) / most]


def _around(enhanced: Image, block: Region, lr: Image, model: Model, circle: Circle) -> Image | None:
    """The enhanced volume around a block, where only another region was enhanced; None = it holds the block."""
    if volume_judging.part_of(enhanced, block) is not None:
        return None
    start, stop = covered(block.own_grid, lr.grid)
    low, high = (block.grid.to_index(lr.grid.to_nm(v)) for v in (np.subtract(start, HALO_PX), np.add(stop, HALO_PX)))
    region = Region.clipped(block.grid, np.minimum(low, block.start).tolist(), np.maximum(high, block.stop).tolist())
    return enhance_volume(model, lr, config=VolumeEnhanceConfig(dtype="float32", circle=circle), region=region).image
