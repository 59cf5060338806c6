"""Reading scans a few rows (slices) at a time: limits of their grey levels, and means over whole blocks of pixels.

Nothing here holds more than ``SLAB_PIXELS`` recorded pixels at once, however large the stored volume is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.values import Image

Array = NDArray[np.float32]
Keep = Callable[[NDArray[Any], tuple[slice, ...]], NDArray[np.bool_]]

SLAB_PIXELS = 1 << 24
SAMPLE_PLANES = 9
SAMPLE_PIXELS = 1 << 20
PLATEAU = 2e-4  # share of pixels at the extreme grey level from which that level may be a limit
MUST_KEEP = 0.3  # a mask that leaves less than this share is a property of the image (two levels), not a limit


def limits(data: NDArray[np.generic]) -> tuple[Any, ...]:
    """Grey levels at which the detector saturates, or that fill what was not reconstructed: none, one or two.

    A limit is the lowest or highest level, if it is recorded far more often than each of the next three.
    """
    values = data[np.isfinite(data)]
    if not values.size:
        return ()
    levels, counts = np.unique(values, return_counts=True)
    found, left = [], values.size
    for extreme, others in ((levels[0], counts[:4]), (levels[-1], counts[:-5:-1])):
        # compared with the next *recorded* levels: few counts make few, widely spaced levels
        if len(others) > 1 and others[0] > PLATEAU * data.size and others[0] > 4 * others[1:].max():
            found.append(extreme)
            left -= int(others[0])
    return tuple(found) if left > MUST_KEEP * data.size else ()


def within(data: NDArray[np.generic], levels: Sequence[Any]) -> NDArray[np.bool_]:
    """Pixels that hold a finite grey level which is none of ``levels``."""
    ok = np.isfinite(data)
    for level in levels:
        ok &= data != level
    return ok


def sample_of(image: Image) -> NDArray[Any]:
    """All of a picture, or a part of it if it is large; about a million voxels of a volume, from a few slices."""
    if image.grid.ndim == 2:
        return np.asarray(image.data[...] if image.grid.size < SLAB_PIXELS else image.data[::7, ::7])
    n = image.grid.shape[0]
    planes = sorted({int((k + 0.5) * n / SAMPLE_PLANES) for k in range(SAMPLE_PLANES)})
    thin = max(1, round((image.grid.size / n * len(planes) / SAMPLE_PIXELS) ** 0.5))
    return np.stack([np.asarray(image.data[k])[::thin, ::thin] for k in planes])


def limits_of(image: Image) -> tuple[Any, ...]:
    """:func:`limits` of an image; those of a volume are taken from a sample of it."""
    return limits(sample_of(image) if image.grid.ndim == 3 else image.array())


def usable_of(image: Image) -> NDArray[np.bool_]:
    """:func:`within` its limits, of a whole image; of a volume, slab by slab."""
    levels = limits_of(image)
    if image.grid.ndim == 2:
        return within(image.array(), levels)
    out = np.empty(image.grid.shape, bool)
    rows = max(1, SLAB_PIXELS * image.grid.shape[0] // image.grid.size)
    for first in range(0, len(out), rows):
        out[first : first + rows] = within(np.asarray(image.data[first : first + rows]), levels)
    return out


def averaged(data: Any, box: tuple[slice, ...], block: tuple[int, ...], keep: Keep) -> tuple[Array, Array]:
    """Means over whole blocks of a box, read slab by slab.

    Parameters
    ----------
    data : numpy, memory map or zarr.
    box : what is read, per axis; pixels left over at its far end are not used.
    block : pixels per block and axis.
    keep : (part, its box) to a boolean array: what counts.

    Returns
    -------
    Mean of what counts (0 where nothing does) and share of what counts, both float32.
    """
    shape = tuple((s.stop - s.start) // b for s, b in zip(box, block, strict=True))
    whole = tuple(slice(s.start, s.start + n * b) for s, n, b in zip(box, shape, block, strict=True))
    grey, ok = np.empty(shape, np.float32), np.empty(shape, np.float32)
    across = int(np.prod([s.stop - s.start for s in whole[1:]]))
    rows = max(1, SLAB_PIXELS // max(1, across) // block[0])
    for first in range(0, shape[0], rows):
        last = min(shape[0], first + rows)
        here = (slice(whole[0].start + first * block[0], whole[0].start + last * block[0]), *whole[1:])
        part = np.asarray(data[here])
        grey[first:last], ok[first:last] = _block_means(part, keep(part, here), block)
    return grey, ok


def _block_means(part: NDArray[Any], good: NDArray[np.bool_], block: tuple[int, ...]) -> tuple[Array, Array]:
    if max(block) == 1:
        return np.where(good, part, 0).astype(np.float32, copy=False), good.astype(np.float32)
    shape = [n for s, b in zip(part.shape, block, strict=True) for n in (s // b, b)]
    inner = tuple(range(1, 2 * part.ndim, 2))
    if good.all():
        mean = part.astype(np.float32, copy=False).reshape(shape).mean(inner, dtype=np.float32)
        return mean, np.ones(mean.shape, np.float32)
    values = np.where(good, part, 0).astype(np.float32, copy=False)
    share = good.reshape(shape).mean(inner, dtype=np.float32)
    mean = values.reshape(shape).mean(inner, dtype=np.float32)
    return mean / np.maximum(share, 1e-6) * (share > 0), share
