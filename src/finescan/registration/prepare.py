"""Both scans brought to one working pitch and one sharpness, slow shading and local contrast taken out.

The *tile frame* has its origin in the centre of the fine scan; a fixed matrix (expected ratio and rotation of the
:class:`Prior`) has already been applied to it, so that the search only has to look around the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.registration.slabs import SLAB_PIXELS, Keep, averaged, limits_of, within
from finescan.registration.working import usable
from finescan.values import Grid, Image, Region

Array = NDArray[np.float32]

PIXEL_SPREAD = 0.5  # standard deviation of pixel box and probe together, pixels of the scan
WORKING_SPREAD = 0.55  # standard deviation of the sharpness compared, pixels of the working grid
BANNER_SHARE = 0.6  # share of one extreme grey level in a row from which it may belong to a data bar or a black border
FLATTEN_SHARE = 1 / 6  # width of the local mean and contrast over the width of the tile
CONTRAST_FLOOR = 0.25  # local contrast below this share of the overall one is not amplified further


@dataclass(frozen=True)
class Reduced:
    """Grey levels averaged over whole blocks of pixels.

    Parameters
    ----------
    grey : float32, 0 where nothing is usable.
    ok : share of usable pixels in each, 0 to 1, float32; None = all.
    grid : in the frame of the image.
    spread_nm : standard deviation of its sharpness per axis, nm.
    """

    grey: Array
    ok: Array | None
    grid: Grid
    spread_nm: tuple[float, ...]

    def mirrored(self, axes: tuple[int, ...]) -> Reduced:
        """The picture mirrored along ``axes``, on the same grid."""
        return replace(self, grey=np.flip(self.grey, axes), ok=None if self.ok is None else np.flip(self.ok, axes))


def reduce(
    image: Image, pitch_nm: float, region: Region | None = None, levels: tuple[Any, ...] | None = None
) -> Reduced:
    """Average over the largest whole blocks that are not larger than the pitch; a few rows in memory at a time.

    Parameters
    ----------
    image : to be read; lazily stored volumes stay on disk.
    pitch_nm : largest pitch of the result.
    region : the part that is read; None = all.
    levels : limits of the detector, if they are known already (for volumes).
    """
    grid = image.grid if region is None else region.own_grid
    block = tuple(max(1, int(pitch_nm / p + 1e-6)) for p in grid.pixel_size_nm)
    box = tuple(slice(0, n) for n in grid.shape) if region is None else region.slices
    small = image.grid.ndim == 2 and image.grid.size <= SLAB_PIXELS
    grey, ok = averaged(image.array() if small else image.data, box, block, _counted(image, levels))
    size = grid.pixel_size_nm
    reduced = Grid.of(grey.shape, [p * b for p, b in zip(size, block, strict=True)],
                      [e + p * b / 2 for e, p, b in zip(grid.edge_nm, size, block, strict=True)])  # fmt: skip
    spread = tuple(p * (PIXEL_SPREAD**2 + (b * b - 1) / 12) ** 0.5 for p, b in zip(size, block, strict=True))
    return Reduced(grey, None if ok.min() > 0.999 else ok, reduced, spread)


def _counted(image: Image, levels: tuple[Any, ...] | None) -> Keep:
    """What of an image counts: finite, no limit of the detector, no data bar."""
    if image.grid.ndim == 3:
        known = limits_of(image) if levels is None else levels
        return lambda part, box: within(part, known)
    ends = _bar_limits(image)
    mask = usable(image.array()) if image.grid.size <= SLAB_PIXELS else None

    def keep(part: NDArray[Any], box: tuple[slice, ...]) -> NDArray[np.bool_]:
        return (mask[box] if mask is not None else np.isfinite(part)) & _inside(ends, box[0], part.shape)

    return keep


def _bar_limits(image: Image) -> tuple[int, int]:
    """First and last (excluded) row of the picture: rows at the ends that hold mostly one extreme level are cut.

    At most a fifth of the rows at each end; data bars normally were cut by the reader already.
    """
    n = image.grid.shape[0]
    most = n // 5
    ends = []
    for rows in (np.asarray(image.data[:most]), np.asarray(image.data[n - most :])[::-1]):
        extreme = [np.mean(rows == level, axis=1) for level in (rows.min(initial=0), rows.max(initial=0))]
        bar = np.maximum(*extreme) > BANNER_SHARE if rows.size else np.zeros(0, bool)
        ends.append(int(np.argmin(bar)) if bar.size and not bar.all() else 0)
    return ends[0], n - ends[1]


def _inside(limits: tuple[int, int], rows: slice, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    index = np.arange(rows.start, rows.start + shape[0])
    inside = (index >= limits[0]) & (index < limits[1])
    return inside.reshape((-1,) + (1,) * (len(shape) - 1))


def level(
    source: Reduced, grid: Grid, spread_nm: float, *, matrix: NDArray[np.floating] | None = None,
    offset_nm: NDArray[np.floating] | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Grey levels on a working grid at a given sharpness, and the share of usable pixels there.

    Parameters
    ----------
    source : what is read.
    grid : of the result.
    spread_nm : standard deviation of the sharpness of the result.
    matrix, offset_nm : position in the frame of ``source`` = ``matrix @ position on grid + offset_nm``.

    Returns
    -------
    Two float32 arrays on ``grid``; the second is 0 outside the source.
    """
    d = grid.ndim
    m = np.eye(d) if matrix is None else matrix
    shift = np.zeros(d) if offset_nm is None else offset_nm
    q = np.asarray(source.grid.pixel_size_nm)
    sigma = [float(np.sqrt(max(0.0, spread_nm**2 - s * s)) / p) for s, p in zip(source.spread_nm, q, strict=True)]
    ok = np.ones(source.grey.shape, np.float32) if source.ok is None else source.ok
    index = m * np.asarray(grid.pixel_size_nm) / q[:, None]
    start = source.grid.to_index(m @ np.asarray(grid.origin_nm) + shift)
    grey = source.grey
    if source.ok is not None:
        smooth = ndimage.gaussian_filter(ok, sigma, mode="nearest")
        grey = ndimage.gaussian_filter(grey * ok, sigma, mode="nearest") / np.maximum(smooth, 1e-3)
    elif max(sigma) > 0:
        grey = ndimage.gaussian_filter(grey, sigma, mode="nearest")
    if np.count_nonzero(index - np.diag(np.diag(index))) == 0:
        index = np.diag(index)  # separable, faster
    out = ndimage.affine_transform(grey, index, start, output_shape=grid.shape, order=1, mode="nearest")
    share = ndimage.affine_transform(ok, index, start, output_shape=grid.shape, order=1, mode="constant", cval=0.0)
    return out, share


def flatten(grey: Array, ok: Array, width_px: float) -> Array:
    """Local mean removed, local contrast made one (with a floor); 0 where nothing is usable.

    This takes out shading, detector gain and slow charging alike, and makes one normalisation fit the whole map.

    Parameters
    ----------
    grey, ok : from :func:`level`.
    width_px : standard deviation of the neighbourhood, working pixels.
    """
    weight = np.where(ok > 0.5, ok, 0).astype(np.float32)
    count = _around(weight, width_px) + np.float32(1e-4)
    mean = _around(grey * weight, width_px) / count
    centred = (grey - mean) * (weight > 0)
    local = np.maximum(_around(centred**2 * weight, width_px), 0) / count
    overall = float(np.sum(centred**2 * weight) / max(1e-9, float(weight.sum())))
    if overall <= 0:
        return np.zeros_like(grey)
    return (centred / np.sqrt(local + (CONTRAST_FLOOR**2 * overall))).astype(np.float32)


def _around(values: Array, width_px: float) -> Array:
    """Local mean with a bell of this standard deviation (two boxes, whose cost does not grow with the width)."""
    size = max(3, 2 * round(np.sqrt(6 * width_px**2 + 1) / 2 - 0.5) + 1)
    for _ in range(2):
        values = ndimage.uniform_filter(values, size, mode="constant")
    return values
