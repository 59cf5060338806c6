"""Tally: what a segmented picture holds, block by block, so that measures of any part of it are sums over blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.quantification.measurements import Measurements
from finescan.quantification.shape import directions

UM = 1000.0  # nm

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """Counts per block.

    Parameters
    ----------
    area : (n,) counted area of every block, µm² (µm³ in volumes).
    object_area : (n,) of all objects in it, those cut by the border of the picture included.
    interface : (n,) length of the border between objects and the rest, µm (µm² in volumes).
    owner : (m,) block of every counted object, by its centre.
    diameter_nm : (m,) equivalent diameter of every counted object.
    """

    area: Floats
    object_area: Floats
    interface: Floats
    owner: NDArray[np.intp]
    diameter_nm: Floats

    def __len__(self) -> int:
        return len(self.area)

    def total(self) -> Tally:
        """Everything in one block."""
        area, objects, border = (np.array([v.sum()]) for v in (self.area, self.object_area, self.interface))
        return Tally(area, objects, border, np.zeros(self.owner.size, np.intp), self.diameter_nm)

    def only(self, kept: NDArray[np.bool_]) -> Tally:
        """Some of the blocks."""
        number = np.cumsum(kept) - 1
        mine = kept[self.owner]
        return Tally(
            self.area[kept], self.object_area[kept], self.interface[kept],
            number[self.owner[mine]], self.diameter_nm[mine],
        )  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """One number of a picture.

    Parameters
    ----------
    title : for readers.
    unit : of pictures and of volumes.
    of : tally and weights of its blocks (k, n) -> k values; NaN where there is nothing to measure.
    ratio : errors are a factor, not a difference: so are those of sizes, and of counts (objects that the border of a
        fine scan cuts are missing in all pictures alike).
    """

    title: str
    unit: tuple[str, str]
    of: Callable[[Tally, Floats], Floats]
    ratio: bool = False


def _share(tally: Tally, weights: Floats) -> Floats:
    return _ratio(weights @ tally.object_area, weights @ tally.area)


def _density(tally: Tally, weights: Floats) -> Floats:
    counts = np.bincount(tally.owner, minlength=len(tally)).astype(np.float64)
    return _ratio(weights @ counts, weights @ tally.area)


def _interface(tally: Tally, weights: Floats) -> Floats:
    return _ratio(weights @ tally.interface, weights @ tally.area)


def _mean(tally: Tally, weights: Floats) -> Floats:
    counts = np.bincount(tally.owner, minlength=len(tally)).astype(np.float64)
    sums = np.bincount(tally.owner, tally.diameter_nm, minlength=len(tally))
    return _ratio(weights @ sums, weights @ counts)


def _median(tally: Tally, weights: Floats) -> Floats:
    """Weighted median: the diameter at which half of the weight is reached, linear between objects."""
    if not tally.owner.size:
        return np.full(len(weights), np.nan)
    order = np.argsort(tally.diameter_nm)
    sizes = tally.diameter_nm[order]
    out = np.full(len(weights), np.nan)
    for k, own in enumerate(weights[:, tally.owner[order]]):
        reached = np.cumsum(own) - own / 2
        if own.sum() > 0:
            out[k] = np.interp(own.sum() / 2, reached, sizes)
    return out


#: name -> measure. All but the share of area are per area or means, so pictures of any size compare.
MEASURES: dict[str, Measure] = {
    "area_share": Measure("share of area", ("", ""), _share),
    "objects_per_area": Measure("objects per area", ("1/µm²", "1/µm³"), _density, True),
    "mean_diameter_nm": Measure("mean diameter", ("nm", "nm"), _mean, True),
    "median_diameter_nm": Measure("median diameter", ("nm", "nm"), _median, True),
    "interface_per_um": Measure("interface per area", ("µm/µm²", "µm²/µm³"), _interface),
}


def joined(parts: Sequence[Tally]) -> Tally:
    """The blocks of several tallies, one after the other."""
    before = np.cumsum([0, *(len(p) for p in parts)])
    none = np.zeros(0)
    return Tally(
        np.concatenate([none, *(p.area for p in parts)]),
        np.concatenate([none, *(p.object_area for p in parts)]),
        np.concatenate([none, *(p.interface for p in parts)]),
        np.concatenate([none, *(p.owner + b for p, b in zip(parts, before, strict=False))]).astype(np.intp),
        np.concatenate([none, *(p.diameter_nm for p in parts)]),
    )


def values(tally: Tally, weights: Floats | None = None) -> dict[str, Floats]:
    """Every measure, for every row of weights (k, n); None = all blocks alike."""
    weights = np.ones((1, len(tally))) if weights is None else np.atleast_2d(weights)
    return {name: m.of(tally, weights) for name, m in MEASURES.items()}


def tally(measured: Measurements, block: NDArray[np.integer], blocks: int | None = None) -> Tally:
    """Count objects, their area and their interface, block by block.

    Parameters
    ----------
    measured : with labels.
    block : of the picture's shape: number of the block (from 0) that a pixel belongs to; negative = it does not count.
    blocks : how many there are; None = as many as the highest number says.
    """
    labels = measured.labels
    if labels is None or labels.shape != block.shape:
        raise InputError(
            f"Blocks must have the shape of the labels, but {block.shape} came for "
            f"{None if labels is None else labels.shape}. Measure with keep_labels=True."
        )
    n = int(block.max(initial=-1)) + 1 if blocks is None else blocks
    cell = float(np.prod(measured.grid.pixel_size_nm)) / UM**measured.grid.ndim
    inside, objects = block >= 0, labels > 0
    area = cell * np.bincount(block[inside], minlength=n).astype(np.float64)
    owned = cell * np.bincount(block[inside & objects], minlength=n).astype(np.float64)
    spacing = (1.0, *(p / UM for p in measured.grid.pixel_size_nm))[-3:]
    owner = _owners(measured, block)
    return Tally(
        area, owned, _interfaces(objects, block, n, spacing), owner[owner >= 0], measured.diameter_nm[owner >= 0]
    )


def _owners(measured: Measurements, block: NDArray[np.integer]) -> NDArray[np.intp]:
    """The block that the centre of every counted object lies in."""
    axes = "zyx"[-measured.grid.ndim :]
    centres = np.stack([measured.table[f"{a}_nm"] for a in axes], axis=-1)
    index = np.rint(measured.grid.to_index(centres)).astype(int)
    index = np.clip(index, 0, np.array(block.shape) - 1)
    return np.asarray(block[tuple(index.T)], np.intp)


def _interfaces(objects: NDArray[np.bool_], block: NDArray[np.integer], n: int, spacing: Sequence[float]) -> Floats:
    """Crofton's length (area) of the border of all objects per block: lines that cross it, see :mod:`.shape`."""
    if objects.ndim == 2:
        objects, block = objects[None], block[None]
    flat = objects.shape[0] == 1
    steps, lengths, weights = directions(spacing, objects.shape)
    line_density = np.prod(spacing[1:] if flat else spacing) / lengths
    out = np.zeros(n)
    for step, each in zip(steps, weights * line_density, strict=True):
        here = tuple(slice(max(0, -s), m - max(0, s)) for s, m in zip(step, objects.shape, strict=True))
        there = tuple(slice(max(0, s), m - max(0, -s)) for s, m in zip(step, objects.shape, strict=True))
        crossed = (objects[here] != objects[there]) & (block[here] >= 0) & (block[there] >= 0)
        out += each / 2 * np.bincount(block[here][crossed], minlength=n)
    return (np.pi if flat else 4.0) * out


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
