"""From grey levels to labelled objects: threshold, closing, separation, removal of what is cut or is no object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from finescan.errors import InputError
from finescan.quantification.config import QuantifyConfig
from finescan.quantification.distance import distance_to_wall
from finescan.quantification.separation import separate
from finescan.quantification.threshold import Threshold, otsu, sample
from finescan.values import Circle, Grid, Image

Bulk = Circle | NDArray[np.bool_] | str | None
Field = Circle | NDArray[np.bool_] | None
HULL = "hull"
HULL_PIECE = 0.001  # pieces of solid smaller than this share of the largest are noise


@dataclass(frozen=True)
class Segmentation:
    """Labelled objects.

    Parameters
    ----------
    labels : (z, y, x) int32: 0 no object, 1 … count the counted objects, the rest those cut by the faces; None for
        volumes that were analysed in slabs.
    grid : of the image (a picture's labels have one slice).
    count, cut : number of objects that count, and of those that do not because the faces cut them.
    specks : number of objects dropped because they were too small.
    open_voxels : pore voxels of the bulk mask that belong to the air around it (a rim, a dent), not to an object.
    bulk_voxels, pore_voxels : of the bulk mask (finite grey levels), and of all objects in it, cut ones included.
    missing_voxels : voxels of the bulk mask without a finite grey level.
    threshold : the grey level that parts pores from solid.
    """

    labels: NDArray[np.int32] | None
    grid: Grid
    count: int
    cut: int
    specks: int
    open_voxels: int
    bulk_voxels: int
    pore_voxels: int
    missing_voxels: int
    threshold: Threshold


def segment(
    image: Image, *, config: QuantifyConfig | None = None, circle: Field = None, bulk: Bulk = None
) -> Segmentation:
    """Find the pores of an image; parameters as for :func:`finescan.quantification.quantify`.

    Memory: 11 to 14 bytes per voxel at the peak, besides the image itself (which is read slice by slice if lazy).

    Raises
    ------
    InputError : a mask of another shape, no finite grey level, or a constant image without ``threshold``.
    """
    config = config or QuantifyConfig()
    data = stack(image)
    field = field_of_view(image.grid, circle)
    inside = bulk_mask(image, data, field, bulk, config)
    threshold = choose_threshold(image, data, inside, config)
    pores, missing = binarise(data, inside, threshold.value, config.pores)
    pores = tidy(pores, inside, config)
    labels, n, open_voxels = separated(pores, image.grid, config, None if bulk is None else inside)
    del pores
    sizes = label_sizes(labels, n)
    small = sizes < config.min_voxels
    cut = touching_faces(labels, n, field, config.faces) & ~small
    small[0] = cut[0] = False
    number, kept = _numbers(small, cut)
    for z in range(labels.shape[0]):
        labels[z] = number[labels[z]]
    return Segmentation(
        labels=labels,
        grid=image.grid,
        count=kept,
        cut=int(cut.sum()),
        specks=int(small.sum()),
        open_voxels=open_voxels,
        bulk_voxels=mask_size(inside, labels.shape[0]) - int(missing.sum()),
        pore_voxels=int(sizes[1:][~small[1:]].sum()),
        missing_voxels=int(missing.sum()),
        threshold=threshold,
    )


def stack(image: Image) -> Any:
    """The voxels as (z, y, x), not read yet where the image is lazy; a picture is one slice."""
    return image.data if image.grid.ndim == 3 else np.asarray(image.data[...])[None]


def field_of_view(grid: Grid, circle: Field) -> NDArray[np.bool_]:
    """Columns (y, x) with grey levels: inside the circle, or where the given array is True; all where there is none."""
    if circle is None:
        return np.ones(grid.shape[-2:], bool)
    if isinstance(circle, Circle):
        return circle.mask(grid)
    if circle.dtype != bool or circle.shape != grid.shape[-2:] or not circle.any():
        raise InputError(
            f"A field of view is a Circle or a boolean array of {grid.shape[-2:]} px that is True somewhere, but "
            f"{circle.dtype} of {circle.shape} came."
        )
    return circle


def bulk_mask(
    image: Image, data: Any, field: NDArray[np.bool_], bulk: Bulk, config: QuantifyConfig
) -> NDArray[np.bool_]:
    """The mask of the bulk, (y, x) or (z, y, x), within the field of view."""
    if bulk is None:
        return field
    if isinstance(bulk, Circle):
        mask = bulk.mask(image.grid) & field
    elif isinstance(bulk, str):
        if bulk != HULL:
            raise InputError(f"bulk is a Circle, a mask array or {HULL!r}, but {bulk!r} came.")
        mask = _hulls(data, field, choose_threshold(image, data, field, config).value, config.pores)
    else:
        mask = _given_mask(image, np.asarray(bulk)) & field
    if not mask.any():
        raise InputError(f"{image.name}: the bulk mask holds no voxel of the field of view. Check circle= and bulk=.")
    return np.asarray(mask)


def choose_threshold(image: Image, data: Any, mask: NDArray[np.bool_], config: QuantifyConfig) -> Threshold:
    """The given threshold, or Otsu's of the grey levels inside the mask."""
    if config.threshold is not None:
        return Threshold(float(config.threshold))
    return otsu(sample(data, mask), name=image.name)


def binarise(
    data: Any, inside: NDArray[np.bool_], threshold: float, pores: str
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Pore voxels of the bulk, (z, y, x), and per slice the number of voxels of the bulk without a number."""
    out, missing = np.empty(data.shape, bool), np.zeros(data.shape[0], np.int64)
    for z in range(data.shape[0]):
        plane, here = np.asarray(data[z]), inside if inside.ndim == 2 else inside[z]
        out[z] = is_pore(plane, threshold, pores) & here
        if plane.dtype.kind == "f":
            missing[z] = np.count_nonzero(~np.isfinite(plane) & here)
    return out, missing


def is_pore(plane: NDArray, threshold: float, pores: str) -> NDArray[np.bool_]:
    """Dark is ``<= threshold``, bright is above; NaN is neither."""
    return np.asarray(plane <= threshold if pores == "dark" else plane > threshold)


def tidy(pores: NDArray[np.bool_], inside: NDArray[np.bool_], config: QuantifyConfig) -> NDArray[np.bool_]:
    """Closing with the 6-neighbour element (the faces are continued outwards), then holes filled if asked for.

    The air around the bulk takes no part, so the closing opens no thin wall between a pore and the air.
    """
    element = ndimage.generate_binary_structure(3, 1)
    if pores.shape[0] == 1:
        element[[0, 2]] = False
    if config.closing:
        reach = [0 if n == 1 else 2 * config.closing for n in pores.shape]
        wide = np.pad(pores, [(r, r) for r in reach], mode="edge")
        for step in (ndimage.binary_dilation, ndimage.binary_erosion):
            for _ in range(config.closing):
                wide = step(wide, element)
        pores = np.ascontiguousarray(wide[tuple(slice(r, r + n) for r, n in zip(reach, pores.shape, strict=True))])
    if config.fill:
        pores = _filled(pores, element)
    pores &= inside
    return pores


def touching_faces(labels: NDArray[np.int32], n: int, field: NDArray[np.bool_], faces: str) -> NDArray[np.bool_]:
    """Which labels (0 … n) are cut: by the first or last slice ("ends"), the sides or rim ("rim"), or any ("all")."""
    cut = np.zeros(n + 1, bool)
    if faces == "auto":
        faces = "all" if labels.shape[0] == 1 else "ends"
    if faces in ("ends", "all") and labels.shape[0] > 1:
        cut[labels[0]] = cut[labels[-1]] = True
    if faces in ("rim", "all"):
        rim = field & ~ndimage.binary_erosion(field)  # beyond the volume counts as outside
        for plane in labels:
            cut[plane[rim]] = True
    return cut


def label_sizes(labels: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """Voxels per label 0 … n, counted slice by slice (numpy would make an int64 copy of everything)."""
    sizes = np.zeros(n + 1, np.int64)
    for plane in labels:
        sizes += np.bincount(plane.ravel(), minlength=n + 1)
    return sizes


def separated(
    pores: NDArray[np.bool_], grid: Grid, config: QuantifyConfig, bulk: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int32], int, int]:
    """Labels, their number, and the pore voxels that went to the air around the bulk; changes ``pores``.

    Lengths are in the geometric mean of the voxel's edges.
    """
    edges = (1.0, *grid.pixel_size_nm) if grid.ndim == 2 else grid.pixel_size_nm
    spacing = np.asarray(edges) / np.prod(grid.pixel_size_nm) ** (1 / grid.ndim)
    depth = np.inf if config.depth is None else config.depth
    outside = None if bulk is None else ~bulk
    dark = int(np.count_nonzero(pores))
    if outside is not None:
        pores |= outside
    labels, n = separate(distance_to_wall(pores, spacing), spacing, depth, outside)
    return labels, n, dark - int(np.count_nonzero(labels))


def mask_size(mask: NDArray[np.bool_], depth: int) -> int:
    """Voxels of a mask (y, x), which holds for ``depth`` slices, or (z, y, x)."""
    return int(np.count_nonzero(mask)) * (depth if mask.ndim == 2 else 1)


def _numbers(dropped: NDArray[np.bool_], cut: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Old label -> new one: counted objects first, then the cut ones, dropped ones 0; and how many count."""
    number = np.zeros(dropped.size, np.int32)
    counted = np.flatnonzero(~dropped & ~cut)[1:]
    number[counted] = np.arange(1, counted.size + 1)
    number[cut] = np.arange(counted.size + 1, counted.size + 1 + int(cut.sum()))
    return number, counted.size


def _given_mask(image: Image, mask: NDArray) -> NDArray[np.bool_]:
    shape = image.grid.shape
    if mask.dtype != bool or mask.shape not in (shape, shape[-2:]):
        raise InputError(
            f"{image.name}: a bulk mask must be boolean of shape {shape} or {shape[-2:]}, but {mask.dtype} of "
            f"{mask.shape} came."
        )
    return mask[None] if mask.ndim == 3 and len(shape) == 2 else mask


def _hulls(data: Any, field: NDArray[np.bool_], threshold: float, pores: str) -> NDArray[np.bool_]:
    """Per slice, the convex hull of the solid, noise smoothed and small pieces left out."""
    out = np.zeros(data.shape, bool)
    for z in range(data.shape[0]):
        plane = np.asarray(data[z], np.float32)
        known = field & np.isfinite(plane)
        smooth = ndimage.gaussian_filter(np.where(known, plane, np.float32(threshold)), 1.0)
        solid = known & ~is_pore(smooth, threshold, pores)
        pieces, n = ndimage.label(solid)
        sizes = np.bincount(pieces.ravel())
        kept = sizes >= max(20, HULL_PIECE * sizes[1:].max(initial=0))
        kept[0] = False
        if n and kept.any():
            out[z] = _convex(kept[pieces])
    return out & field


def _convex(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose centres lie in the convex hull of the mask's pixel centres; the mask itself if it is a line."""
    points = np.argwhere(mask)
    try:
        faces = spatial.ConvexHull(points).equations
    except spatial.QhullError:
        return mask
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    inside = np.ones(mask.shape, bool)
    for normal_y, normal_x, offset in faces:
        inside &= normal_y * y + normal_x * x + offset <= 1e-9
    return inside


def _filled(pores: NDArray[np.bool_], element: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Solid that is not connected with any side of the volume becomes pore."""
    solid, n = ndimage.label(~pores, element, output=np.int32)
    open_ = np.zeros(n + 1, bool)
    for axis in range(3):
        if solid.shape[axis] > 1:
            open_[np.take(solid, [0, -1], axis)] = True
    open_[0] = False
    return np.asarray(~open_[solid])
