"""What hints at a lost or an invented object where no fine scan was recorded: a few numbers per coarse pixel.

Objects are what lies beyond a grey level. How far the enhanced image and the coarse scan are beyond it, in standard
deviations of the coarse scan's noise, tells which objects are near calls. And what the enhanced image would show in the
coarse scan, if it were true, must be there: a structure that should be seen and is not has no support.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.trust.bands import band, gathered, noise_gain
from finescan.trust.consistency import Consistency, degrade, local_mean
from finescan.trust.error_maps import SHARE, lacking
from finescan.trust.volume_consistency import blur_reach, degrade_volume_onto
from finescan.values import Circle, Grid, Image, Region

COLUMNS = ("enhanced", "enhanced, not smoothed", "coarse", "coarse, smoothed", "coarse nearby", "enhanced nearby")
NEARBY_PX = 3  # coarse pixels whose largest margin is the one nearby
DEPTH_PX = 4  # coarse pixels within which the middle of an object is looked for; in larger ones nothing is a near call
COARSE_SMOOTH_PX = 0.7  # sigma, coarse pixels
WIDEST_PX = 1.6  # and at most that, where a volume is blurred over several coarse pixels; see HALO_PX
NEAR_PX = 1.5  # sigma of the neighbourhood in which structure is compared: about that of a small object, coarse pixels
RIM_PX = 2  # coarse pixels inside a round field of view where nothing is said
HALO_PX = 12  # coarse pixels of context, beside those of the blur
_LEAST_NOISE = 0.1  # of the noise of the whole: it never counts as less
_TRUNCATE = 4.0

Floats = NDArray[np.float32]
Whole = NDArray[np.intp]
Box = tuple[tuple[int, ...], tuple[int, ...]]  # first pixel and the one behind the last, coarse pixels


@dataclass(frozen=True)
class Sought:
    """The objects: what is darker (or brighter) than a grey level of the smoothed fine scan.

    Parameters
    ----------
    dark : darker; else brighter.
    threshold : fine grey level that parts them from the rest.
    smooth_px : sigma of the Gaussian average before, fine pixels.
    """

    dark: bool
    threshold: float
    smooth_px: float = 1.0

    def margin(self, grey: Floats) -> Floats:
        """How far beyond the threshold, fine grey levels; positive inside objects."""
        return np.asarray((self.threshold - grey) if self.dark else (grey - self.threshold), np.float32)


@dataclass(frozen=True)
class Evidence:
    """What was measured, per coarse pixel (voxel) of a box; shapes of volumes have one axis more.

    Parameters
    ----------
    columns : (h, w, 6) margins named :data:`COLUMNS`, compressed (see :func:`compressed`); none if nothing is sought.
    nearby : (h, w) largest margin of the smoothed enhanced image nearby, fine grey levels; NaN if nothing is sought.
    peak : (h, w) that of the best candidate nearby, which is no object itself and no shoulder of one; -inf = none.
    depth : (h, w) largest margin of the object that the pixel belongs to, inf = to none.
    missing : (h, w) structure of the coarse scan (of the objects' sign, if any are sought) that the enhanced image
        would show at less than half its strength within a pixel; standard deviations of noise, 0 or more.
    strength : (h, w) standard deviations by which the structure of the enhanced image around would show in the coarse
        scan.
    shortfall : (h, w) how much of that does not show, same unit; about normal around 0 if the structure is there.
    grey : (h, w) coarse grey level, averaged over some pixels.
    known : (h, w) where anything can be said.
    """

    columns: Floats
    nearby: Floats
    peak: Floats
    depth: Floats
    missing: Floats
    strength: Floats
    shortfall: Floats
    grey: Floats
    known: NDArray[np.bool_]


def evidence(
    enhanced: Image,
    lr: Image,
    check: Consistency,
    sought: Sought | None,
    box: Box | None = None,
    circle: Circle | None = None,
) -> Evidence:
    """Look at (a part of) an enhanced image or volume through the coarse scan.

    Parameters
    ----------
    enhanced : grey levels of the fine scan on a fine grid in the frame of ``lr``; NaN = unknown; arrays may be lazy.
    lr : the coarse scan.
    check : the yardstick of :func:`finescan.trust.calibrate` (of volumes: ``calibrate_volume``): blur, gain, noise by
        grey level.
    sought : the objects; None = only support is looked at.
    box : part of ``lr`` that is looked at, with context around; None = all. The answer is that of the whole.
    circle : field of view of a volume; nothing is said outside; None = all is inside.
    """
    start, stop = box or ((0,) * lr.grid.ndim, lr.grid.shape)
    low, high = (tuple(int(v) for v in ends) for ends in around(start, stop, lr.grid, check))
    ours, theirs = _parts(enhanced, lr, low, high, check)
    found = _evidence(ours, theirs, check, sought, circle)
    inner = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, low, strict=True))
    return Evidence(**{name: values[inner] for name, values in vars(found).items()})


def around(start: Sequence[int], stop: Sequence[int], grid: Grid, check: Consistency) -> tuple[Whole, Whole]:
    """The corners of a box with the context it needs, coarse pixels."""
    # pictures are degraded with what lies in the box alone, volumes with fine voxels from outside it, too
    halo = HALO_PX + (check.halo_px if grid.ndim == 2 else 0)
    return np.maximum(np.array(start) - halo, 0), np.minimum(np.array(stop) + halo, grid.shape)


def _parts(
    enhanced: Image, lr: Image, start: tuple[int, ...], stop: tuple[int, ...], check: Consistency
) -> tuple[Image, Image]:
    """The fine pixels under a box of coarse ones (those of volumes with what blurs into it), and the box."""
    scale, offset = lr.grid.step_to(enhanced.grid)
    more = [blur_reach(s, check.psf_sigma_px) if lr.grid.ndim == 3 else 0.0 for s in scale]
    low = [max(0, int(np.floor(s * (i - 0.5) + o - m))) for s, i, o, m in zip(scale, start, offset, more, strict=True)]
    high = [
        max(lo, min(n, int(np.ceil(s * (i - 0.5) + o + m)) + 1))
        for s, i, o, m, n, lo in zip(scale, stop, offset, more, enhanced.grid.shape, low, strict=True)
    ]
    return enhanced.crop(Region(enhanced.grid, tuple(low), tuple(high))), lr.crop(Region(lr.grid, start, stop))


def _evidence(enhanced: Image, lr: Image, check: Consistency, sought: Sought | None, circle: Circle | None) -> Evidence:
    recorded = np.asarray(lr.data[...], np.float32)
    enhanced = enhanced if circle is None else _inside(enhanced, circle)
    degraded = degrade if lr.grid.ndim == 2 else degrade_volume_onto
    predicted = np.float32(check.gain) * degraded(enhanced, lr.grid, psf_sigma_px=check.psf_sigma_px)
    predicted = predicted + np.float32(check.offset)
    known = np.isfinite(recorded) & np.isfinite(predicted)
    recorded, predicted = _filled(known if circle is None else known & circle.mask(lr.grid), recorded, predicted)
    if circle is not None:  # close to its rim there is too little around
        known &= circle.distance(lr.grid) * circle.radius_nm <= circle.radius_nm - RIM_PX * max(lr.grid.pixel_size_nm)
    grey = local_mean(recorded).astype(np.float32)
    noise = np.maximum(check.noise_at(grey), 1e-6 + _LEAST_NOISE * check.noise_sigma).astype(np.float32)
    columns, nearby = np.zeros((*known.shape, 0), np.float32), np.full(known.shape, np.nan, np.float32)
    peak, depth = (np.full(known.shape, v, np.float32) for v in (-np.inf, np.inf))
    signs: tuple[int, ...] = (1, -1)
    if sought is not None:
        columns, margin, best = _margins(enhanced, lr, recorded, noise, check, sought)
        nearby, (peak, depth) = ndimage.maximum_filter(margin, NEARBY_PX), _calls(margin, best)
        signs = (-1,) if sought.dark == (check.gain >= 0) else (1,)
    # a saturated pixel says "this bright or brighter": within the rails alone can the two be compared
    recorded, predicted = (np.clip(v, *check.rails) for v in (recorded, predicted))
    strength, shortfall = _support(predicted, recorded, noise)
    missing = _missing(predicted, recorded, noise, signs, _object_px(check, noise.ndim))
    return Evidence(columns, nearby, peak, depth, missing, strength, shortfall, grey, known)


def _margins(
    enhanced: Image, lr: Image, recorded: Floats, noise: Floats, check: Consistency, sought: Sought
) -> tuple[Floats, Floats, Floats]:
    """The columns of evidence; of every coarse pixel the largest margin, and the best candidate (fine grey levels)."""
    values = np.asarray(enhanced.data[...], np.float32)
    (grey,) = _filled(np.isfinite(values), values)
    soft = ndimage.gaussian_filter(grey, sought.smooth_px, mode="nearest")
    of_soft, of_grey = (
        np.nan_to_num(gathered(sought.margin(v), enhanced.grid, lr.grid)).astype(np.float32) for v in (soft, grey)
    )
    gain = np.float32(abs(check.gain))
    level = np.float32(check.gain * sought.threshold + check.offset)
    sign = 1 if sought.dark == (check.gain >= 0) else -1
    coarse = sign * (level - recorded) / noise
    smooth = sign * (level - ndimage.gaussian_filter(recorded, COARSE_SMOOTH_PX, mode="nearest")) / noise
    scaled = [v * gain / noise for v in (of_soft, of_grey)]
    table = [*scaled, coarse, smooth, *(ndimage.maximum_filter(v, NEARBY_PX) for v in (coarse, scaled[0]))]
    best = _candidates(of_soft)
    if lr.grid.ndim == 3:  # a wall between pores may be thinner than a coarse voxel, and small pores lie in it
        within = gathered(_candidates(sought.margin(soft)), enhanced.grid, lr.grid)
        best = np.where((of_soft < 0) & np.isfinite(within), within, best)
    return compressed(np.stack(table, axis=-1)), of_soft, best


def _candidates(margin: Floats) -> Floats:
    """The margin at local maxima that are no objects; -inf elsewhere."""
    return np.where((margin == ndimage.maximum_filter(margin, NEARBY_PX)) & (margin < 0), margin, np.float32(-np.inf))


def _calls(margin: Floats, peak: Floats) -> tuple[Floats, Floats]:
    """How near a call it was: of what is no object, the best candidate nearby; of objects, their largest margin."""
    shown = margin >= 0
    depth = np.where(shown, margin, -np.inf)
    for _ in range(DEPTH_PX):  # within the object only
        depth = np.where(shown, ndimage.maximum_filter(depth, 3), -np.inf)
    depth[~shown] = np.inf
    return ndimage.maximum_filter(peak, NEARBY_PX).astype(np.float32), depth.astype(np.float32)


def _support(predicted: Floats, recorded: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """How strongly the structure around would show, and how much of it does not, in standard deviations."""
    ours, theirs = (
        (v - ndimage.gaussian_filter(v, NEAR_PX, truncate=_TRUNCATE)) / noise for v in (predicted, recorded)
    )
    energy, shared = (ndimage.gaussian_filter(v, NEAR_PX, truncate=_TRUNCATE) for v in (ours * ours, ours * theirs))
    area = np.float32((4 * np.pi * NEAR_PX**2) ** (noise.ndim / 2))  # pixels that count in a Gaussian neighbourhood
    strength = np.sqrt(area * np.maximum(energy, 0))
    return strength, (area * (energy - shared) / np.maximum(strength, 1e-3)).astype(np.float32)


def _object_px(check: Consistency, axes: int) -> float:
    """Sigma of the smallest objects in the coarse scan; volumes may be blurred over several of their voxels."""
    return COARSE_SMOOTH_PX if axes == 2 else float(np.clip(check.psf_sigma_px / 2, COARSE_SMOOTH_PX, WIDEST_PX))


def _missing(predicted: Floats, recorded: Floats, noise: Floats, signs: tuple[int, ...], sigma_px: float) -> Floats:
    """Structure of small objects that only the recorded one shows, brighter (sign 1) or darker than around."""
    sigma = [sigma_px] * noise.ndim
    ours, theirs = (band(v, sigma) / (noise * np.float32(noise_gain(sigma))) for v in (predicted, recorded))
    return np.maximum.reduce([lacking(s * theirs, s * ours, [1.0] * noise.ndim) / np.float32(SHARE) for s in signs])


def compressed(values: Floats) -> Floats:
    """Sign and logarithm: 100 standard deviations say little more than 50."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)), np.float32)


def _inside(enhanced: Image, circle: Circle) -> Image:
    """What lies in the field of view; NaN outside, where integers hold 0, which looks like an object."""
    mask = circle.mask(enhanced.grid)
    if mask.all():
        return enhanced
    return enhanced.with_data(np.where(mask, np.asarray(enhanced.data[...], np.float32), np.float32(np.nan)))


def _filled(good: NDArray[np.bool_], *pictures: Floats) -> tuple[Floats, ...]:
    """Unknown pixels as the nearest known one."""
    if good.all():
        return pictures
    if not good.any():
        return tuple(np.zeros_like(p) for p in pictures)
    if good.ndim == 3 and (good == good[:1]).all():  # a round field of view: slice by slice is much faster
        inside = ndimage.distance_transform_edt(~good[0], return_distances=False, return_indices=True)
        return tuple(p[:, *inside] for p in pictures)
    nearest = ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True)
    return tuple(p[tuple(nearest)] for p in pictures)
