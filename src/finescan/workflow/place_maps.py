"""Maps of errors, resolution and likeness of places with fine scan: facts, words, files. No network is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io, trust
from finescan.errors import InputError
from finescan.trust import Consistency, ErrorMaps, error_maps
from finescan.trust.local_judgement import DETAIL, LocalJudgement, UsefulPixel, length, local_facts, threshold_words
from finescan.trust.volume_inputs import Part
from finescan.values import Grid, Image, Region

ENHANCED, BICUBIC = "enhanced", "bicubic"
WELL_KNOWN = 0.9  # of the windows of the best layer of a volume: layers that are as good to look at

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PlaceMaps:
    """The held-out part of one fine scan, a picture or a volume.

    Parameters
    ----------
    grid : of the pictures.
    pictures : "fine" and "enhanced"; NaN where no fine scan is held out. Of a volume three slices each: (y, x), (z, x)
        and (z, y).
    local : maps over windows; None = no window fits in.
    errors : on the coarse pixels under the pictures; None = too little is known.
    error_grid : of these coarse pixels.
    at : the voxel in which the three slices of a volume cross; empty for pictures.
    """

    grid: Grid
    pictures: Mapping[str, Any]
    local: LocalJudgement | None
    errors: ErrorMaps | None
    error_grid: Grid | None = None
    at: tuple[int, ...] = ()


@dataclass(frozen=True)
class HeldOutMaps:
    """What is known place by place.

    Parameters
    ----------
    places : the largest first.
    useful : how fine pixels show anything more; None = not known.
    """

    places: tuple[PlaceMaps, ...]
    useful: UsefulPixel | None

    @property
    def notes(self) -> list[str]:
        """What a reader must know: pixels finer than the detail in them."""
        found = self.useful
        return [] if found is None or not (found.too_fine or np.isnan(found.resolution_nm)) else [found.sentence()]

    def facts(self) -> dict[str, Any]:
        """ "local_resolution" and "error_maps" as plain JSON values."""
        ndim = self.places[0].grid.ndim if self.places else 2
        local = local_facts([p.local for p in self.places if p.local is not None], ndim)
        local["useful_pixel"] = None if self.useful is None else self.useful.to_dict()
        return {"local_resolution": local, "error_maps": error_facts([p.errors for p in self.places if p.errors])}


def part_on(image: Image, grid: Grid) -> Part | None:
    """The voxels of a (lazy) volume under a grid of the same voxels; None where it does not hold all of them."""
    start = np.rint(image.grid.to_index(grid.origin_nm)).astype(int)
    if (start < 0).any() or (start + grid.shape > image.grid.shape).any():
        return None
    return Part(image.data, tuple(start.tolist()), grid.shape)


def volume_place(
    grid: Grid, volumes: Mapping[str, Any], local: LocalJudgement | None, errors: tuple[ErrorMaps, Grid] | None
) -> PlaceMaps:
    """The maps of a place, and three slices of its volumes (lazy or not)."""
    at = _worth_seeing(grid, local)
    shown = {k: slices_through(v, at) for k, v in volumes.items()}
    blank = [~np.isfinite(s) for s in shown["fine"]]
    pictures = {
        k: tuple(np.where(b, np.nan, s).astype(np.float32) for s, b in zip(v, blank, strict=True))
        for k, v in shown.items()
    }
    maps, under = errors or (None, None)
    return PlaceMaps(grid, pictures, local, maps, under, at)


def _worth_seeing(grid: Grid, local: LocalJudgement | None) -> tuple[int, ...]:
    """The voxel that slices are laid through: in the middle, but not where hardly a window is known."""
    if local is None:
        return tuple(n // 2 for n in grid.shape)
    laid = local.windows
    layers = []
    for axis in range(grid.ndim):
        known = laid.used.sum(axis=tuple(a for a in range(grid.ndim) if a != axis))
        good = np.flatnonzero(known >= WELL_KNOWN * known.max())
        layers.append(int(good[np.argmin(np.abs(good - (len(known) - 1) / 2))]))
    return tuple(k * laid.step_px + laid.size_px // 2 for k in layers)


def slices_through(volume: Any, at: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """The three slices of a volume, lazy or not, that cross in a voxel: (y, x), (z, x) and (z, y)."""
    z, y, x = at
    first, second, third = (np.asarray(volume[s]).astype(np.float32) for s in (z, np.s_[:, y], np.s_[:, :, x]))
    return first, second, third


def useful_pixel(
    local: LocalJudgement, name: str, delivered: Grid, coarse: Grid | None = None, resolution_nm: float | None = None
) -> UsefulPixel:
    """How fine pixels of an image show anything more.

    Parameters
    ----------
    delivered, coarse : pixels of the image, and those that were recorded (None = not known).
    resolution_nm : measured on blocks that are larger than the windows; None = from all windows together.
    """
    rings = local.rings[name]
    found, limit = (c.resolution_nm(local.threshold) for c in (rings.pooled, rings.limit))
    recorded = math.nan if coarse is None else max(coarse.pixel_size_nm)
    found = found if resolution_nm is None else resolution_nm
    words = threshold_words(local.threshold)
    return UsefulPixel(found, limit, max(delivered.pixel_size_nm), recorded, words, ndim=delivered.ndim)


def errors_under(
    result: Image, fine: Image, inner: Grid, lr: Image, check: Consistency
) -> tuple[ErrorMaps, Grid] | None:
    """Error maps on the coarse pixels under a place, and their grid; None where hardly any pixel counts.

    Parameters
    ----------
    result, fine : around the place, on one grid; degrading looks beyond the place. NaN = does not count. Volumes may
        be lazy.
    inner : grid of the place.
    check : where it says nothing, consistency is NaN.
    """
    under = _under(inner, lr)
    try:
        compare = trust.volume_error_maps if lr.grid.ndim == 3 else _errors_of_picture
        found = compare(result, fine, lr, check, under)
    except InputError:
        return None
    seen = np.isfinite(found.omission)
    consistency = np.where(seen & check.informative, found.consistency, np.nan).astype(np.float32)
    return ErrorMaps(consistency, found.omission, found.invention), under.own_grid


def _errors_of_picture(result: Image, fine: Image, lr: Image, check: Consistency, under: Region) -> ErrorMaps:
    around = _under(result.grid, lr)
    found = error_maps(result, fine, lr.crop(around), check)
    offset = np.subtract(under.start, around.start)
    part = tuple(slice(a, a + n) for a, n in zip(offset.tolist(), under.shape, strict=True))
    return ErrorMaps(found.consistency[part], found.omission[part], found.invention[part])


def _under(grid: Grid, lr: Image) -> Region:
    """The coarse pixels under a grid of the same frame."""
    ends = [lr.grid.to_index(np.add(grid.edge_nm, v)) + 0.5 for v in (np.zeros(grid.ndim), grid.extent_nm)]
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
        px = "voxels" if "shell" in local["correlation"] else "px"
        lines.append(
            f"places: medians of {local['windows']} windows of {local['window_px']} {px}, blur (full width), detail "
            f"({local['correlation']} {local['threshold_correlation']}), MS-SSIM: {figures}"
        )
    shares = ", ".join(f"{k} {100 * v['share_above_1']:.1f} %" for k, v in errors.items() if v)
    if shares:
        lines.append(f"errors beyond the ordinary limit: {shares} of the places compared")
    return lines


def write_maps(folder: Path, place: PlaceMaps, name: str, *, overwrite: bool = False) -> list[str]:
    """Every map as a float32 picture or volume with its pixel size (NaN = not known); names of the files.

    Parameters
    ----------
    name : of the image whose maps are written.
    """
    made: dict[str, tuple[Floats, Grid]] = {}
    if place.local is not None:
        made |= {k: (v, place.local.grid) for k, v in place.local.maps(name).items()}
    if place.errors is not None and place.error_grid is not None:
        made |= {k: (v, place.error_grid) for k, v in vars(place.errors).items()}
    for key, (values, grid) in made.items():
        io.write(folder / f"{key}.tif", Image(values, grid, key), overwrite=overwrite)
    return [f"{key}.tif" for key in made]


def _figures(row: Mapping[str, Any]) -> str:
    keys = ("blur_fwhm_nm", next(k for k in DETAIL.values() if k in row), "ms_ssim")
    blur, detail, alike = (row[k]["median"] for k in keys)
    lengths = ", ".join("?" if v is None else length(v) for v in (blur, detail))
    return f"{lengths}, {'?' if alike is None else f'{alike:.3f}'}"
