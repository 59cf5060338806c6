"""Sharpness, agreement and likeness place by place in volumes of any size: box by box, with what lies around each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.local_judgement import LocalJudgement
from finescan.trust.local_resolution import THRESHOLD, LocalRings, RingSums, local_blur, widths_nm
from finescan.trust.local_similarity import local_ms_ssim
from finescan.trust.local_windows import (
    ALIGNED,
    KNOWN_SHARE,
    SIZES_PX,
    Floats,
    Laid,
    Windows,
    often_enough,
    usual_step,
    window_sums,
)
from finescan.trust.noise_colour import NOISE_VOXELS, noise_spectrum
from finescan.trust.volume_consistency import middle_box
from finescan.values import Grid

BOX_PX = 96  # voxels along an edge of the boxes that are worked on, before their surroundings are added
_CELL = ALIGNED[3]  # voxels: every window begins and ends on a multiple of it
_AROUND = 3.0  # of the widest blur looked for: surroundings that a box is blurred with
_COUNTED_AT_ONCE = 1 << 24  # voxels

Box = tuple[slice, ...]
Bool = NDArray[np.bool_]


def judge_volume_locally(
    images: Mapping[str, Any],
    reference: Any,
    grid: Grid,
    *,
    data_range: float,
    known: Any = None,
    box_px: int = BOX_PX,
) -> LocalJudgement | None:
    """:func:`finescan.trust.judge_locally` for volumes that are read box by box.

    The windows are cubes of 32 voxels, or of 24 or 16 where fewer than twelve of those fit in; they go in steps of a
    quarter of their edge, of a half or a whole where there would be thousands of them. Memory is that of a box and its
    surroundings, some hundred megabytes, whatever the volume.

    Parameters
    ----------
    images : name -> (z, y, x) on ``grid``: anything that slices to an array (memory map, zarr). NaN = not known.
    reference : the fine volume, in the same form.
    grid : ZYX. Voxels with unequal sides are fine: lengths are in nm, and a shell holds one frequency in space; only
        periods between two of the longest and half a window of the shortest sides can then be read.
    data_range : of MS-SSIM, grey levels.
    known : voxels that may count, bool, in the same form; None = all.
    box_px : edge of the boxes; no figure depends on it, but for what lies beyond three widths of the widest blur.

    Returns
    -------
    None where no window fits into the known voxels: then nothing is said.

    Raises
    ------
    InputError : volumes of another shape than the grid.
    """
    held = _Held(images, reference, known, grid)
    laid = _laid(held)
    if laid is None:
        return None
    sigma, detail, alike = ({k: np.full(laid.shape, np.nan, np.float32) for k in images} for _ in range(3))
    sums = []
    for some in _groups(laid, box_px):
        used = laid.used[some]
        if not used.any():
            continue
        values, truth, counts = held.read(_voxels(some, laid))
        windows = Windows(counts, laid.size_px, laid.step_px, used)
        sums.append(RingSums.of(values, truth, windows, grid.pixel_size_nm))
        blur = _blur(held, some, laid)
        for name, value in values.items():
            sigma[name][some] = blur[name]
            detail[name][some][used] = sums[-1].resolutions(name, THRESHOLD)
            alike[name][some] = local_ms_ssim(value, truth, windows, data_range=data_range)
    joined = RingSums.joined(sums)
    limit = joined.limit(_noise(held, joined))
    rings = {k: LocalRings(v, joined.pooled(k), limit) for k, v in detail.items()}
    return LocalJudgement(laid, laid.grid(grid), sigma, rings, alike)


@dataclass(frozen=True)
class _Held:
    """What is compared, read box by box."""

    images: Mapping[str, Any]
    reference: Any
    known: Any
    grid: Grid

    def __post_init__(self) -> None:
        for name, volume in {**self.images, "the fine volume": self.reference}.items():
            if tuple(volume.shape) != self.grid.shape:
                raise InputError(
                    f"The windows lie on {self.grid.shape} voxels, but {name} is {tuple(volume.shape)}. Bring all "
                    "volumes onto one grid."
                )

    def read(self, box: Box) -> tuple[dict[str, Floats], Floats, Bool]:
        """Images, fine volume, and which voxels count."""
        images = {k: np.asarray(v[box]).astype(np.float32) for k, v in self.images.items()}
        truth = np.asarray(self.reference[box]).astype(np.float32)
        return images, truth, np.logical_and.reduce([self._may(box), *map(np.isfinite, (truth, *images.values()))])

    def counts(self, box: Box) -> Bool:
        """Which voxels count; volumes of whole numbers are not read for that."""
        fractions = [v for v in (self.reference, *self.images.values()) if np.dtype(v.dtype).kind == "f"]
        return np.logical_and.reduce([self._may(box), *(np.isfinite(np.asarray(v[box])) for v in fractions)])

    def _may(self, box: Box) -> Bool:
        shape = [s.stop - s.start for s in box]
        return np.ones(shape, bool) if self.known is None else np.asarray(self.known[box], bool)


def _laid(held: _Held) -> Laid | None:
    """The windows, from a count of the voxels that count in every 2 x 2 x 2 of them; a slab of voxels at a time."""
    extent = held.grid.shape
    if min(extent) < SIZES_PX[3][-1]:
        return None
    slab = max(1, _COUNTED_AT_ONCE // (extent[1] * extent[2] * _CELL)) * _CELL
    whole = extent[0] // _CELL * _CELL
    slabs = [(slice(z, min(z + slab, whole)), *(slice(0, n) for n in extent[1:])) for z in range(0, whole, slab)]
    counts = np.concatenate([window_sums(held.counts(box), _CELL, _CELL).astype(np.uint8) for box in slabs])

    def laid(size: int) -> Laid:
        step = usual_step(extent, size)
        return Laid(
            extent, size, step, window_sums(counts, size // _CELL, step // _CELL) >= KNOWN_SHARE * size ** len(extent)
        )

    return often_enough(laid(size) for size in SIZES_PX[3] if min(extent) >= size)


def _noise(held: _Held, sums: RingSums) -> NDArray[np.float64]:
    """Variance of the noise in every shell, from the middle of the volumes."""
    values, truth, known = held.read(middle_box(held.grid, NOISE_VOXELS).slices)
    if not known.any():
        return np.zeros(len(sums.count))
    volumes = [np.where(known, v - v[known].mean(), 0).astype(np.float32) for v in (*values.values(), truth)]
    frequency, variance = noise_spectrum(volumes[:-1], volumes[-1], known)
    voxel_nm = float(np.prod(held.grid.pixel_size_nm)) ** (1 / held.grid.ndim)
    return np.interp((sums.edges[1:] + sums.edges[:-1]) / 2 * voxel_nm, frequency, variance)


def _groups(laid: Laid, box_px: int) -> Iterator[Box]:
    """Neighbouring windows whose voxels are boxes of about ``box_px`` along an edge."""
    each = max(1, (box_px - laid.size_px) // laid.step_px + 1)
    return itertools.product(*([slice(k, min(k + each, n)) for k in range(0, n, each)] for n in laid.shape))


def _voxels(some: Box, laid: Laid, around: Sequence[int] = (0, 0, 0)) -> Box:
    """The voxels of a group of windows, and so many steps around them as there are within the volume."""
    return tuple(
        slice(max(0, s.start - more) * laid.step_px, min(n, (s.stop - 1 + more) * laid.step_px + laid.size_px))
        for s, more, n in zip(some, around, laid.extent_px, strict=True)
    )


def _blur(held: _Held, some: Box, laid: Laid) -> dict[str, Floats]:
    """Blur in a group of windows; the fine volume is blurred with its surroundings."""
    size = held.grid.pixel_size_nm
    reach = _AROUND * widths_nm(laid.size_px, size)[-1] / np.array(size)
    around = np.ceil(reach / laid.step_px).astype(int).tolist()
    values, truth, counts = held.read(_voxels(some, laid, around))
    found = local_blur(values, truth, Windows.of(counts, laid.size_px, laid.step_px), size)
    first = [min(s.start, more) for s, more in zip(some, around, strict=True)]
    inner = tuple(slice(a, a + s.stop - s.start) for a, s in zip(first, some, strict=True))
    return {k: np.where(laid.used[some], v[inner], np.nan).astype(np.float32) for k, v in found.items()}
