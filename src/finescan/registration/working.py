"""Working images: both scans at one pitch and one sharpness, with what must not be compared masked.

The fine scan is averaged to the coarse one's resolution and read at every k-th pixel (it is never interpolated);
the coarse scan is read directly at the warped positions (its only interpolation, a cubic spline).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.registration.motion import Motion, axis_coordinates
from finescan.registration.slabs import averaged, limits, limits_of, within
from finescan.values import Grid, Image

Array = NDArray[Any]  # float64 throughout

BLUR_PX = 0.53  # standard deviation of the coarse scan's pixel box and spot together, LR px, before it is fitted


def usable(data: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Pixels that hold a measured grey level: finite, and not at the limit where the detector saturates."""
    values = np.asarray(data)
    return within(values, limits(values))


@dataclass(frozen=True)
class Scans:
    """Both scans as floats, reduced to what the registration needs.

    Parameters
    ----------
    fine : HR grey levels (standardised), averaged over ``block`` pixels where the ratio allows; ``fine_ok`` 0 to 1.
    fine_grid : its grid, in the frame of the fine scan.
    coarse : (standardised) the part of the LR map around the start; ``coarse_ok`` boolean.
    first : index of the first pixel of that part in the map.
    ratio : HR pixels per LR pixel and axis at the start.
    """

    hr: Grid
    fine: Array
    fine_ok: Array
    fine_grid: Grid
    coarse: Array
    coarse_ok: NDArray[np.bool_]
    first: tuple[int, ...]
    ratio: Array
    block: tuple[int, ...]


def load_scans(lr: Image, hr: Image, start: Motion, margin: float) -> Scans:
    """Read both scans; of the map only the surroundings (``margin`` LR px) of the start."""
    ratio = start.ratio()
    block = tuple(max(1, int(r / 2)) for r in ratio)
    fine, ok, grid = _reduced(hr, block)
    corners = start.positions([np.array([-1.0, 1.0])] * hr.grid.ndim).reshape(hr.grid.ndim, -1)
    box, first = [], []
    for low, high, n in zip(corners.min(1) - margin, corners.max(1) + margin, lr.grid.shape, strict=True):
        a = int(np.clip(np.floor(low), 0, max(0, n - 8)))
        b = int(np.clip(np.ceil(high) + 1, min(n, a + 8), n))
        box.append(slice(a, b))
        first.append(a)
    coarse = np.asarray(lr.data[tuple(box)])
    coarse_ok = usable_part(lr, tuple(box))
    fine, coarse = _standard(fine, ok >= 1), _standard(_filled(coarse, coarse_ok), coarse_ok)
    return Scans(hr.grid, fine, ok, grid, coarse, coarse_ok, tuple(first), ratio, block)


def _standard(data: Array, ok: NDArray[np.bool_]) -> Array:
    """Mean 0 and standard deviation 1, so that normal equations are well scaled."""
    values = data[ok] if ok.any() else data
    return (data - values.mean()) / max(float(values.std()), 1e-12)


def usable_part(lr: Image, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    """Usable pixels of a box of the map (limits are a property of the whole image; a volume's come from a sample)."""
    return within(np.asarray(lr.data[box]), limits_of(lr))


def _reduced(hr: Image, block: tuple[int, ...]) -> tuple[Array, Array, Grid]:
    levels = limits_of(hr)
    data = hr.data if hr.grid.ndim == 3 else hr.array()
    box = tuple(slice(0, n) for n in hr.grid.shape)
    grey, share = averaged(data, box, block, lambda part, _: within(part, levels))
    fine, ok = grey.astype(np.float64), share.astype(np.float64)
    if (ok == 0).any():
        fine[ok == 0] = fine[ok > 0].mean() if (ok > 0).any() else 0.0
    whole = tuple(n // b * b for n, b in zip(hr.grid.shape, block, strict=True))
    return fine, ok, hr.grid.crop((0,) * len(block), whole).coarsen(block)


def _filled(data: NDArray[np.generic], ok: NDArray[np.bool_]) -> Array:
    """Floats with unusable pixels replaced by the mean of usable ones, so that filters stay finite."""
    out = np.asarray(data, np.float64)
    if ok.all():
        return out
    return np.where(ok, np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0), out[ok].mean() if ok.any() else 0.0)


@dataclass(frozen=True)
class Level:
    """One working pitch.

    Parameters
    ----------
    scale : pitch over the LR pixel.
    grid : working grid in the frame of the fine scan; ``axes`` its xi coordinates.
    fine : HR grey levels on it; ``ok`` where usable.
    outline : gives ``edges``, HR edge strength on it, for detectors that see edges.
    coarse : spline coefficients of the LR part; ``coarse_bad`` > 0 near unusable pixels.
    first : index of its first pixel in the map.
    """

    scale: float
    grid: Grid
    axes: tuple[Array, ...]
    fine: Array
    outline: Callable[[], Array]
    ok: NDArray[np.bool_]
    coarse: Array
    coarse_bad: NDArray[np.float32] | None
    first: tuple[int, ...]

    @cached_property
    def edges(self) -> Array:
        """Only a mixture asks for them, and they take long in a volume."""
        return self.outline()

    def read(self, positions: Array) -> tuple[Array, NDArray[np.bool_]]:
        """LR grey levels at map positions (d, *shape), and where both scans are usable."""
        where = positions - np.asarray(self.first, float).reshape(-1, *(1,) * (positions.ndim - 1))
        values = ndimage.map_coordinates(self.coarse, where, order=3, mode="mirror", prefilter=False)
        ok = self.ok.copy()
        for w, n in zip(where, self.coarse.shape, strict=True):
            ok &= (w >= 0) & (w <= n - 1)
        if self.coarse_bad is not None:
            ok &= ndimage.map_coordinates(self.coarse_bad, where, order=1, mode="nearest") < 0.05
        return values, ok


def make_level(scans: Scans, scale: float, blur_px: float = BLUR_PX) -> Level:
    """Both scans at a pitch of ``scale`` LR pixels, the coarse one's sharpness being ``blur_px`` (LR px)."""
    extra = 0.5 * np.sqrt(max(scale, 1.0) ** 2 - 1)
    block = np.asarray(scans.block, float)
    variance = scans.ratio**2 * (blur_px**2 + extra**2) - (block**2 - 1) / 12 - 1 / 12
    sigma = np.sqrt(np.maximum(variance, 0)) / block
    steps = [max(1, round(float(r * scale / b))) for r, b in zip(scans.ratio, block, strict=True)]
    picks = []
    for n, k in zip(scans.fine.shape, steps, strict=True):
        count = max(1, n // k)
        picks.append(slice((n - (count - 1) * k - 1) // 2, None, k))
    fine, ok = _smooth_masked(scans.fine, scans.fine_ok, sigma, tuple(picks))
    grid = _picked(scans.fine_grid, tuple(picks))

    def outline() -> Array:
        slope = ndimage.gaussian_gradient_magnitude(scans.fine, 1.0)
        edges, _ = _smooth_masked(slope, scans.fine_ok, sigma, tuple(picks))
        return np.asarray(edges / max(float(edges.std()), 1e-12))

    coarse = ndimage.gaussian_filter(scans.coarse, extra, mode="mirror") if extra else scans.coarse
    bad = None
    if not scans.coarse_ok.all():
        bad = ndimage.maximum_filter(~scans.coarse_ok, size=3 + 2 * int(extra + 0.5)).astype(np.float32)
    return Level(
        scale,
        grid,
        axis_coordinates(grid, scans.hr),
        fine,
        outline,
        ok,
        ndimage.spline_filter(coarse, order=3, mode="mirror"),
        bad,
        scans.first,
    )


def _smooth_masked(data: Array, ok: Array, sigma: Array, picks: tuple[slice, ...]) -> tuple[Array, NDArray[np.bool_]]:
    """Gaussian that ignores unusable pixels, read at ``picks``; the reads far from any usable pixel are masked."""
    if ok.min() >= 1:
        out = _gaussian_at(data, sigma, picks)
        return out, np.ones(out.shape, bool)
    weight = _gaussian_at(ok, sigma, picks)
    out = _gaussian_at(data * ok, sigma, picks) / np.maximum(weight, 1e-6)
    return out, weight > 0.97


def _gaussian_at(data: Array, sigma: Array, picks: tuple[slice, ...]) -> Array:
    """Gaussian filter evaluated at the picked pixels only: axis by axis, thinned out after each."""
    for a, (s, pick) in enumerate(zip(sigma, picks, strict=True)):
        if s > 0.05:
            data = ndimage.gaussian_filter1d(data, s, axis=a, mode="mirror", truncate=3.5)
        data = data[(slice(None),) * a + (pick,)]
    return data


def _picked(grid: Grid, picks: tuple[slice, ...]) -> Grid:
    shape = tuple(len(range(*p.indices(n))) for p, n in zip(picks, grid.shape, strict=True))
    size = tuple(p.step * s for p, s in zip(picks, grid.pixel_size_nm, strict=True))
    origin = tuple(grid.to_nm(np.array([p.start for p in picks], float)).tolist())
    return Grid(grid.axes, shape, size, origin)
