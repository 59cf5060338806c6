"""The only interpolator: grey levels of an image on another grid, through a warp.

Cubic B-spline interpolation (scipy.ndimage, mirrored borders). Going to a coarser pitch, the image is first
smoothed to the new pitch unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.values import Grid, Image, Warp

_ROWS = 1 << 20  # output pixels evaluated at a time, to bound the memory of coordinates


def spline_coefficients(data: NDArray[np.floating], order: int = 3) -> NDArray[np.floating]:
    """B-spline coefficients of an array for :func:`sample` (mirrored borders), same shape and float dtype."""
    if order <= 1:
        return data
    return ndimage.spline_filter(data, order=order, output=data.dtype, mode="mirror")


def sample(
    data: NDArray[np.floating],
    index: NDArray[np.floating],
    *,
    order: int = 3,
    prefiltered: bool = False,
    outside: float | None = np.nan,
) -> NDArray[np.floating]:
    """Interpolated grey levels at fractional pixel coordinates.

    Parameters
    ----------
    data : float array (d axes), or its :func:`spline_coefficients` with ``prefiltered=True``.
    index : (…, d) pixel coordinates, 0 = centre of the first pixel.
    order : 0 nearest, 1 linear, 3 cubic spline.
    outside : value more than half a pixel outside the array; None = mirror.

    Returns
    -------
    Array of ``index.shape[:-1]``, dtype of ``data``.
    """
    where = np.moveaxis(index, -1, 0)
    out = ndimage.map_coordinates(
        data, where, order=order, mode="mirror", prefilter=not prefiltered and order > 1, output=data.dtype
    )
    if outside is not None:
        far = np.zeros(out.shape, bool)
        for w, n in zip(where, data.shape, strict=True):
            far |= (w < -0.5) | (w > n - 0.5)
        out[far] = outside
    return out


def resample(
    image: Image,
    *,
    onto: Grid,
    through: Warp | None = None,
    inverse: bool = False,
    order: int = 3,
    antialias: bool = True,
    outside: float | None = np.nan,
) -> Image:
    """The image on another grid.

    Parameters
    ----------
    image : to be read; float64 data stay float64, everything else becomes float32 (grey levels unchanged).
    onto : grid of the result.
    through : maps nm in the frame of ``onto`` to nm in the frame of ``image``; None = one frame.
    inverse : ``through`` maps the other way round, and its inverse is used.
    order : 0, 1 or 3.
    antialias : smooth first when ``onto`` is coarser (a Gaussian that brings one pixel's box to the other's width).
    outside : value where ``onto`` leaves the image; None = mirror.

    Returns
    -------
    Image on ``onto`` with the facts of ``image``.
    """
    if image.grid.ndim != onto.ndim:
        raise InputError(f"{image.name} has axes {image.grid.axes} but the target grid has {onto.axes}.")
    warp = through or Warp.identity(onto.ndim)
    data = np.asarray(image.data[...])
    data = data if data.dtype == np.float64 else data.astype(np.float32)
    if antialias:
        data = smoothed(data, image.grid, onto, warp.inverse_affine() if inverse else warp)
    coefficients = spline_coefficients(data, order)
    out = np.empty(onto.shape, data.dtype)
    step = max(1, _ROWS // max(1, onto.size // onto.shape[0]))
    for first in range(0, onto.shape[0], step):
        last = min(first + step, onto.shape[0])
        nm = onto.to_nm(np.stack(np.meshgrid(*_ranges(onto.shape, first, last), indexing="ij"), axis=-1))
        index = image.grid.to_index(warp.inverse_at(nm) if inverse else warp(nm))
        out[first:last] = sample(coefficients, index, order=order, prefiltered=True, outside=outside)
    return image.with_data(out, onto)


def _ranges(shape: Sequence[int], first: int, last: int) -> list[NDArray[np.float64]]:
    return [np.arange(first, last, dtype=np.float64), *(np.arange(n, dtype=np.float64) for n in shape[1:])]


def smoothed(data: NDArray[np.floating], grid: Grid, onto: Grid, warp: Warp) -> NDArray[np.floating]:
    """Array smoothed before it is sampled at a coarser pitch; unchanged when the pitch is about the same.

    A Gaussian whose variance is the difference of the two pixels' box variances (step²/12), in image pixels.
    ``warp`` maps nm in the frame of ``onto`` to nm in the frame of ``grid``; its affine part counts.
    """
    footprint = np.sqrt((np.asarray(warp.matrix) ** 2) @ np.asarray(onto.pixel_size_nm) ** 2)
    ratio = footprint / np.asarray(grid.pixel_size_nm)
    sigma = [float(np.sqrt((r**2 - 1) / 12)) if r > 1.1 else 0.0 for r in ratio]
    return ndimage.gaussian_filter(data, sigma, mode="mirror") if any(sigma) else data
