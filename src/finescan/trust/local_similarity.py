"""MS-SSIM place by place in a picture or a volume."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.local_windows import Floats, Laid, Windows
from finescan.trust.metrics import MS_WEIGHTS, RADIUS, VOLUME_MS_WEIGHTS, halved, ssim_terms

Array = NDArray[np.float64]


def local_ms_ssim(
    image: NDArray[np.floating], reference: NDArray[np.floating], windows: Windows, *, data_range: float
) -> Floats:
    """Multi-scale SSIM of an image with its reference, window by window: :func:`finescan.trust.ms_ssim` of each alone.

    In volumes, with the weights of theirs, what :func:`finescan.trust.volume_scores` gives for each window alone
    (there, voxels that do not count weigh a little otherwise at the coarser scale).

    Parameters
    ----------
    image, reference : (h, w) or (d, h, w) grey levels.
    windows : laid over them; pixels that do not count have no influence.
    data_range : grey levels the number refers to. Never guessed.

    Returns
    -------
    (rows, columns) of windows, of a volume (layers, rows, columns); NaN = not used. As many scales as have 11 pixels in
    a window (:func:`scales`).

    Raises
    ------
    InputError : other shapes, no data range.

    Source: Wang, Simoncelli, Bovik 2003, doi:10.1109/ACSSC.2003.1292216.
    """
    m = windows.known
    if np.shape(image) != m.shape or np.shape(reference) != m.shape:
        raise InputError(
            f"The windows lie on {m.shape} px, but the pictures are {np.shape(image)} and {np.shape(reference)}. "
            "Bring all onto one grid."
        )
    if not (np.isfinite(data_range) and data_range > 0):
        raise InputError(
            f"data_range must be a positive number of grey levels, but {data_range} came. Pass the range of the "
            "reference, e.g. 255 for full 8-bit contrast."
        )
    x, y = (np.where(m, np.asarray(v, np.float64), 0.0) for v in (image, reference))
    weights = used_weights(windows.size_px, m.ndim)
    count = len(weights)
    value = np.ones(windows.shape)
    for k, weight in enumerate(weights):
        luminance, structure = ssim_terms(x, y, m, data_range)
        term = structure if k < count - 1 else luminance * structure
        value *= np.maximum(_interior_means(term, m, windows, 2**k), 0.0) ** weight
        x, y, m = halved(x, y, m)
    return np.where(windows.used, value, np.nan).astype(np.float32)


def scales(windows: Windows | Laid) -> int:
    """How many scales a window holds: three in 64 and 48 px, two in 32 and 24 px, one in 16 px."""
    return sum(windows.size_px // 2**k >= 2 * RADIUS + 1 for k in range(len(MS_WEIGHTS)))


def used_weights(size_px: int, ndim: int) -> Array:
    """Exponents of as many scales as a window holds; of volumes their sum is that of all five, as in the whole."""
    every = MS_WEIGHTS if ndim == 2 else VOLUME_MS_WEIGHTS
    some = np.array([w for k, w in enumerate(every) if size_px // 2**k >= 2 * RADIUS + 1])
    return some / sum(some.tolist()) * (1.0 if ndim == 2 else sum(every))


def _interior_means(values: Array, m: NDArray[np.bool_], windows: Windows, scale: int) -> Array:
    """Mean over the pixels of each window that count, five of border left out; 0 where none does."""
    size, step = windows.size_px // scale - 2 * RADIUS, windows.step_px // scale
    total, count = (_box_sums(v, windows.shape, size, step) for v in (np.where(m, values, 0.0), m))
    return total / np.maximum(count, 1)


def _box_sums(values: NDArray[np.float64] | NDArray[np.bool_], shape: tuple[int, ...], size: int, step: int) -> Array:
    table = np.asarray(values, np.float64)
    for axis in range(values.ndim):
        table = np.cumsum(table, axis=axis)
    table = np.pad(table, [(1, 0)] * values.ndim)
    first = [RADIUS + step * np.arange(n) for n in shape]
    total = np.zeros(shape)
    for ends in itertools.product((1, 0), repeat=values.ndim):  # the sum up to a corner, with the sign of the corner
        corner = table[np.ix_(*(a + size * e for a, e in zip(first, ends[::-1], strict=True)))]
        total += (-1) ** (values.ndim - sum(ends)) * corner
    return total
