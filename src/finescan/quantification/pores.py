"""quantify: from an image to the numbers of its pores."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from finescan.quantification.config import QuantifyConfig
from finescan.quantification.measurements import Measurements
from finescan.quantification.segmentation import Bulk, Field, Segmentation, segment
from finescan.quantification.shape import Shapes, measure
from finescan.quantification.slabs import MARGIN, segment_in_slabs
from finescan.quantification.threshold import TWO_GROUPS
from finescan.values import Grid, Image

#: Voxels (a ball of radius 2), pixels (a disc of radius 2): smaller objects have a size but no shape.
SHAPELESS_BELOW = {3: 33, 2: 13}
BYTES_PER_VOXEL = 16  # at the peak of the analysis in one piece


def quantify(
    image: Image,
    *,
    config: QuantifyConfig | None = None,
    circle: Field = None,
    bulk: Bulk = None,
    keep_labels: bool = True,
    slab: int | None = None,
) -> Measurements:
    """Find, separate, count and measure the pores of a volume (or a picture).

    Threshold, closing, separation of touching objects, removal of the cut ones, object analysis (Bukka et al. 2025,
    doi:10.1515/mim-2024-0017, section 2.5).

    Parameters
    ----------
    image : grey levels, ZYX or YX, any number format; read slice by slice if lazy. Voxels need not be cubes.
    config : choices; None = the published ones.
    circle : field of view, a Circle or a boolean array (y, x): what lies outside is not looked at and may be NaN.
        None = everything.
    bulk : where the sample is: a Circle, a boolean mask (z, y, x) or (y, x), or "hull" (the convex hull of the solid,
        slice by slice). Porosity refers to it; what lies outside it is air, and so is a dark rim or dent of the sample
        that opens to it as wide as it is deep. None = the whole field of view is sample.
    keep_labels : keep the label volume (needed for matching; 4 bytes per voxel).
    slab : slices that are analysed at once, with margins; for volumes larger than memory, which need 16 bytes per voxel
        in one piece. The table is the same but for rare basins; there are no labels. None = everything at once if half
        of the machine's memory holds it, else as many slices as a quarter of it holds.

    Raises
    ------
    InputError : a mask of another shape, no finite grey level, or a constant image without a threshold.

    Examples
    --------
    >>> ball = np.hypot(*np.mgrid[-20:21, -20:21]) > 8.4
    >>> print(quantify(Image(ball.astype(np.float32), Grid.of((41, 41), 10.0))))
    1 pore, porosity 13.15 %, mean sphericity 1.000
    """
    config = config or QuantifyConfig()
    slab = slab or _slab(image.grid)
    if slab is not None:
        found, shapes = segment_in_slabs(image, slab, config=config, circle=circle, bulk=bulk)
    else:
        found = segment(image, config=config, circle=circle, bulk=bulk)
        assert found.labels is not None
        shapes = measure(found.labels, found.count, (1.0, *image.grid.pixel_size_nm)[-3:])
    table = object_table(shapes, image.grid)
    name = "sphericity" if image.grid.ndim == 3 else "circularity"
    raw = table[name]
    table[name] = np.minimum(raw, 1.0)
    tally = {
        "objects": found.count,
        **{
            k: getattr(found, k)
            for k in ("cut", "specks", "open_voxels", "bulk_voxels", "pore_voxels", "missing_voxels")
        },
        "shapeless": int(np.isnan(raw).sum()),
        "clipped": int((raw > 1).sum()),
    }
    return Measurements(
        grid=image.grid,
        table=table,
        tally=tally,
        threshold=found.threshold,
        config=config,
        notes=tuple(_notes(found, config, raw)),
        labels=found.labels.reshape(image.grid.shape) if keep_labels and found.labels is not None else None,
    )


def _slab(grid: Grid) -> int | None:
    """Slices at once that the machine's memory suggests; None = all (also where its memory is not known)."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    if grid.ndim == 2 or BYTES_PER_VOXEL * grid.size <= memory / 2:
        return None
    return max(1, int(memory / 4 / (BYTES_PER_VOXEL * grid.size / grid.shape[0]) / (1 + 2 * MARGIN)))


def object_table(shapes: Shapes, grid: Grid) -> dict[str, NDArray]:
    """The columns of :class:`Measurements`; sphericity (circularity) not yet clipped."""
    three, axes = grid.ndim == 3, "zyx"[-grid.ndim :]
    centre = grid.to_nm(shapes.centre[:, -grid.ndim :])
    size = shapes.voxels * float(np.prod(grid.pixel_size_nm))
    surface = np.where(shapes.voxels < SHAPELESS_BELOW[grid.ndim], np.nan, shapes.surface)
    table: dict[str, NDArray] = {"label": np.arange(1, size.size + 1), "voxels": shapes.voxels}
    table["volume_nm3" if three else "area_nm2"] = size
    table |= {f"{a}_nm": centre[:, k] for k, a in enumerate(axes)}
    for name, corner in (("start", shapes.start), ("stop", shapes.stop)):
        table |= {f"{a}_{name}": corner[:, k - grid.ndim] for k, a in enumerate(axes)}
    table["diameter_nm"] = np.cbrt(6 * size / np.pi) if three else np.sqrt(4 * size / np.pi)
    if three:
        return table | {"area_nm2": surface, "sphericity": sphericity(size, surface)}
    return table | {"perimeter_nm": surface, "circularity": 4 * np.pi * size / surface**2}


def sphericity(volume: NDArray, area: NDArray) -> NDArray[np.float64]:
    """Surface of the sphere of the same volume over the surface: 1 for a sphere (Wadell 1935, doi:10.1086/624298)."""
    return np.asarray(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)


def _notes(found: Segmentation, config: QuantifyConfig, raw: NDArray[np.float64]) -> list[str]:
    """What the reader must know."""
    t, notes = found.threshold, []
    if not t.two_groups:
        notes.append(
            f"The grey levels do not fall into two groups (contrast {t.contrast:.1f}; a flat histogram has "
            f"{TWO_GROUPS}, two groups have more), so the automatic threshold {t.value:.6g} is arbitrary. Pass "
            "threshold= if you know it."
        )
    share = found.pore_voxels / max(found.bulk_voxels, 1)
    if found.count == 0:
        notes.append(_why_none(found, config, share))
    if found.labels is None:
        notes.append("Analysed in slabs: there is no label volume, so objects cannot be matched by overlap.")
    if found.missing_voxels:
        notes.append(f"{found.missing_voxels} voxels of the bulk hold no number and were left out.")
    shapeless, above = int(np.isnan(raw).sum()), int((raw > 1).sum())
    if shapeless:
        notes.append(f"{shapeless} of {raw.size} objects are too small for a shape and have a size only.")
    if above:
        notes.append(
            f"{above} of {raw.size} objects measured rounder than a sphere (at most {np.nanmax(raw):.3f}) and are "
            "given as 1: the error of the surface of small objects."
        )
    return notes


def _why_none(found: Segmentation, config: QuantifyConfig, share: float) -> str:
    """One sentence and the advice for an empty table."""
    if share > 0.99:
        return (
            f"{100 * share:.1f} % of the bulk is one pore: the threshold {found.threshold.value:.6g} lies beyond the "
            "grey levels of the solid. Pass threshold=, check pores= ('dark' or 'bright'), or give the sample's own "
            "outline as bulk=."
        )
    if found.cut:
        return (
            f"No whole pore: all {found.cut} objects are cut by the faces. Use a larger volume, or faces='none' to "
            "count cut ones."
        )
    side = "darker" if config.pores == "dark" else "brighter"
    return (
        f"No pores: no object of at least {config.min_voxels} voxels is {side} than {found.threshold.value:.6g} "
        f"({found.specks} smaller ones, {found.open_voxels} voxels open to the outside). Check pores= ('dark' or "
        "'bright'), threshold= and bulk=, or lower min_voxels."
    )
