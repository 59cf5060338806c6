"""Object analysis of volumes larger than memory: overlapping slabs, every object counted where its centre lies.

A slab is read with a margin of slices on both sides, labelled by itself, and keeps the objects whose centre of mass
lies in its own slices. Where one of those reaches the end of what was read, the margin doubles for good and the slab is
done again, up to ``LONGEST`` times the slab; longer objects cannot be measured this way and are stated as cut.
Threshold and bulk are those of the whole volume. Differences from the analysis in one piece are confined to basins
whose neighbours lie beyond the margin, and to holes that ``fill`` closes. There is no label volume in the end, so
nothing to match by overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.quantification.config import QuantifyConfig
from finescan.quantification.segmentation import (
    Bulk,
    Field,
    Segmentation,
    binarise,
    bulk_mask,
    choose_threshold,
    field_of_view,
    label_sizes,
    mask_size,
    separated,
    tidy,
    touching_faces,
)
from finescan.quantification.shape import Shapes, measure
from finescan.values import Image

MARGIN = 0.5  # of the slab, at first
LONGEST = 2  # margins grow up to this many slabs


@dataclass(frozen=True)
class _Slices:
    """Slices ``start`` to ``stop`` of a volume, still read one by one."""

    data: Any
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start, *self.data.shape[1:])

    def __getitem__(self, z: int) -> NDArray:
        return np.asarray(self.data[self.start + z])


@dataclass(frozen=True)
class _Part:
    """What one slab adds: shapes of its counted objects, and its share of the tally."""

    shapes: Shapes
    tally: dict[str, int]


def segment_in_slabs(
    image: Image, slab: int, *, config: QuantifyConfig, circle: Field = None, bulk: Bulk = None
) -> tuple[Segmentation, Shapes]:
    """Find and measure objects slab by slab; memory is that of the slab and its margins.

    Parameters
    ----------
    image : ZYX, lazy.
    slab : slices per slab; at least as many as the largest object is long, or ``cut`` may count one twice.
    config, circle, bulk : as for :func:`finescan.quantification.quantify`; a hull is made for the whole volume (one
        byte per voxel).

    Returns
    -------
    Segmentation, Shapes : as in one piece, but without labels; objects in the order of the slabs.

    Raises
    ------
    InputError : a picture, or a slab of less than one slice.
    """
    if image.grid.ndim != 3 or slab < 1:
        raise InputError(
            f"Slabs need a volume and at least one slice each, but {image.grid.axes} and {slab} came. Leave slab out "
            "to analyse everything at once."
        )
    field = field_of_view(image.grid, circle)
    inside = bulk_mask(image, image.data, field, bulk, config)
    threshold = choose_threshold(image, image.data, inside, config)
    parts, margin = [], max(1, round(MARGIN * slab))
    for start in range(0, image.grid.shape[0], slab):
        stop = min(start + slab, image.grid.shape[0])
        part, fits = _one(image, (start, stop), margin, field, inside, threshold.value, config, bulk is not None)
        while not fits and margin < LONGEST * slab:
            margin *= 2
            part, fits = _one(image, (start, stop), margin, field, inside, threshold.value, config, bulk is not None)
        parts.append(part)
    shapes = Shapes(**{k: np.concatenate([vars(p.shapes)[k] for p in parts]) for k in vars(parts[0].shapes)})
    tally = {k: sum(p.tally[k] for p in parts) for k in parts[0].tally}
    return Segmentation(None, image.grid, shapes.voxels.size, **tally, threshold=threshold), shapes


def _one(
    image: Image,
    own: tuple[int, int],
    margin: int,
    field: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    threshold: float,
    config: QuantifyConfig,
    air: bool,
) -> tuple[_Part, bool]:
    """One slab, and whether the margin held all of its objects."""
    depth = image.grid.shape[0]
    low, high = max(0, own[0] - margin), min(depth, own[1] + margin)
    box = _Slices(image.data, low, high)
    here = inside if inside.ndim == 2 else inside[low:high]
    core = slice(own[0] - low, own[1] - low)
    pores, missing = binarise(box, here, threshold, config.pores)
    pores = tidy(pores, here, config)
    dark = int(np.count_nonzero(pores[core]))
    labels, n, _ = separated(pores, image.grid, config, here if air else None)
    shapes = measure(labels, n, image.grid.pixel_size_nm)
    small = shapes.voxels < config.min_voxels
    mine = (shapes.centre[:, 0] >= core.start - 0.5) & (shapes.centre[:, 0] < core.stop - 0.5)
    first, last = shapes.start[:, 0] == 0, shapes.stop[:, 0] == high - low
    long = (first & (low > 0)) | (last & (high < depth))
    cut = _cut(labels, n, field, config, (first & (low == 0)) | (last & (high == depth))) | long
    kept = mine & ~small & ~cut
    # an object too long for any margin is stated once, by the slab in which it starts
    starts = (shapes.start[:, 0] >= core.start) & (shapes.start[:, 0] < core.stop) & ~(first & (low > 0))
    in_core = label_sizes(labels[core], n)[1:]
    labelled = int(in_core.sum())
    tally = {
        "cut": int((np.where(long, starts, mine) & cut & ~small).sum()),
        "specks": int((mine & small).sum()),
        "open_voxels": dark - labelled,
        "bulk_voxels": mask_size(here if here.ndim == 2 else here[core], own[1] - own[0]) - int(missing[core].sum()),
        "pore_voxels": int(in_core[~small].sum()),
        "missing_voxels": int(missing[core].sum()),
    }
    return _Part(_moved(shapes, kept, low), tally), not (long & (mine | starts) & ~small).any()


def _cut(
    labels: NDArray[np.int32], n: int, field: NDArray[np.bool_], config: QuantifyConfig, at_ends: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which objects the true faces of the volume cut (the ends of the slab are none)."""
    if config.faces == "none":
        return np.zeros(n, bool)
    if config.faces != "all":
        return at_ends
    return at_ends | touching_faces(labels, n, field, "rim")[1:]


def _moved(shapes: Shapes, kept: Sequence[bool] | NDArray[np.bool_], low: int) -> Shapes:
    """The kept objects, in the slices of the whole volume."""
    shift = np.array([low, 0, 0])
    return Shapes(
        shapes.voxels[kept],
        shapes.centre[kept] + shift,
        shapes.start[kept] + shift,
        shapes.stop[kept] + shift,
        shapes.surface[kept],
    )
