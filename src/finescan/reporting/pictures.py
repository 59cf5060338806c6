"""From grey levels to pictures a browser shows: windows, downsampled overviews, PNG as data addresses.

The grey window is for display only. It is stated beside every picture, and the grey levels given out by the page
are computed back from it (exactly for 8-bit data, to 1/255 of the window otherwise).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from finescan.errors import InputError
from finescan.reporting.report import Layer
from finescan.values import Grid, Image, TrustMap

_SAMPLES = 1 << 20  # grey levels looked at for a window
_BAND = 1 << 24  # pixels of a big array held at a time

# Eleven colours of the cividis map (Nuñez, Anderton & Renslow 2018, doi:10.1371/journal.pone.0199239)
_CIVIDIS_HEX = "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 f5dc4b fee838"
_CIVIDIS = np.array([list(bytes.fromhex(c)) for c in _CIVIDIS_HEX.split()], np.float64)


def grey_window(arrays: Iterable[NDArray[Any]], percentiles: tuple[float, float] = (0.1, 99.9)) -> tuple[float, float]:
    """Grey levels to show black and white: the outermost percentiles of the arrays; never empty.

    Every array is looked at on a regular subset of at most about a million pixels.
    """
    lows, highs = [], []
    for a in arrays:
        step = max(1, math.isqrt(max(1, a.size // _SAMPLES)))
        v = np.asarray(a[::step, ::step], np.float64)
        v = v[np.isfinite(v)]
        if v.size:
            low, high = np.percentile(v, percentiles)
            lows.append(float(low))
            highs.append(float(high))
    if not lows:
        return 0.0, 1.0
    low, high = min(lows), max(highs)
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def to_levels(data: NDArray[Any], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Grey levels as 0…255.

    Parameters
    ----------
    data : (h, w). NaN becomes 0 (transparent in a PNG).
    window : grey levels that become 0 and 255, beyond is held there; None = uint8 data as they are.
    """
    if window is None:
        if data.dtype != np.uint8:
            raise InputError(f"Only uint8 data go into a picture without a grey window, but {data.dtype} came.")
        return data
    low, high = window
    scaled = np.nan_to_num((np.asarray(data, np.float64) - low) * (255.0 / (high - low)), nan=0.0)
    return np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)


def png_data_uri(data: NDArray[Any], window: tuple[float, float] | None = None) -> str:
    """A lossless grey PNG as a data address; pixels that are NaN are transparent. See :func:`to_levels`."""
    levels = to_levels(data, window)
    missing = ~np.isfinite(data) if np.issubdtype(data.dtype, np.floating) else None
    if missing is not None and missing.any():
        alpha = np.where(missing, 0, 255).astype(np.uint8)
        return _data_uri(Pillow.fromarray(np.stack([levels, alpha], axis=-1)), "PNG")
    return _data_uri(Pillow.fromarray(levels), "PNG")


def jpeg_data_uri(data: NDArray[Any], window: tuple[float, float] | None = None, quality: int = 90) -> str:
    """A JPEG, for overviews only; PNG when a value is missing."""
    if np.issubdtype(data.dtype, np.floating) and not np.isfinite(data).all():
        return png_data_uri(data, window)
    return _data_uri(Pillow.fromarray(to_levels(data, window)), "JPEG", quality=quality)


def cividis_data_uri(data: NDArray[Any], window: tuple[float, float]) -> str:
    """A map in cividis colours as a PNG data address; NaN is transparent."""
    rgb = _cividis(to_levels(data, window))
    alpha = np.where(np.isfinite(data), 255.0, 0.0)[..., None]
    return _data_uri(Pillow.fromarray(np.concatenate([rgb, alpha], axis=-1).round().astype(np.uint8)), "PNG")


def cividis_table() -> list[list[int]]:
    """The 256 colours (red, green, blue) of levels 0…255."""
    table: list[list[int]] = _cividis(np.arange(256, dtype=np.uint8)).round().astype(int).tolist()
    return table


def _cividis(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    position = levels / 255.0 * (len(_CIVIDIS) - 1)
    return np.stack([np.interp(position, np.arange(len(_CIVIDIS)), c) for c in _CIVIDIS.T], axis=-1)


def _data_uri(picture: Pillow.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


# ------------------------------------------------------------------ making layers
def block_for(shape: Sequence[int], max_px: int = 2048) -> int:
    """Smallest whole block that brings the longer side to at most ``max_px``."""
    return max(1, -(-max(shape) // max_px))


def overview_of(array: Any, max_px: int = 2048) -> NDArray[Any]:
    """Means over square blocks of :func:`block_for` pixels, read band by band.

    Parameters
    ----------
    array : (h, w) numpy, memory map or zarr.

    Returns
    -------
    (ceil(h / block), ceil(w / block)) float32; unfinished blocks at the far end are means of what is there. An array
    that is small enough comes back as it is.
    """
    block = block_for(array.shape, max_px)
    if block == 1:
        return np.asarray(array[...])
    return np.concatenate([_block_means(band, block) for band in _bands(array, block)])


def flags_overview(trust: TrustMap, max_px: int = 2048) -> TrustMap:
    """Flags of a large map on a coarser grid: a block has a flag when any of its pixels has it."""
    block = block_for(trust.grid.shape, max_px)
    if block == 1:
        return TrustMap(np.asarray(trust.flags[...]), trust.grid)
    bands = []
    for band in _bands(trust.flags, block):
        rows = np.bitwise_or.reduceat(band, np.arange(0, band.shape[0], block), axis=0)
        bands.append(np.bitwise_or.reduceat(rows, np.arange(0, band.shape[1], block), axis=1))
    return TrustMap(np.concatenate(bands), trust.grid.coarsen(block))


def overview_layer(name: str, image: Image, max_px: int = 2048) -> Layer:
    """The whole image, downsampled, as a layer whose first pixel edge is the scene's."""
    grid = image.grid.coarsen(block_for(image.grid.shape, max_px))
    return Layer(name, overview_of(image.data, max_px), _yx(grid.pixel_size_nm))


def crop_layer(name: str, image: Image, origin_nm: Sequence[float], extent_nm: Sequence[float]) -> Layer:
    """The whole pixels of an image that a scene shows, untouched, placed exactly.

    Parameters
    ----------
    origin_nm : upper-left edge of the scene (y, x), in the frame of the image.
    extent_nm : height and width of the scene.
    """
    grid = image.grid
    first = grid.to_index(np.asarray(origin_nm)) + 0.5
    last = grid.to_index(np.asarray(origin_nm) + np.asarray(extent_nm)) + 0.5
    start = [min(max(0, math.floor(v + 1e-6)), n - 1) for v, n in zip(first, grid.shape, strict=True)]
    stop = [max(a + 1, min(n, math.ceil(v - 1e-6))) for a, v, n in zip(start, last, grid.shape, strict=True)]
    own: Grid = grid.crop(start, stop)
    offset = np.asarray(own.edge_nm) - np.asarray(origin_nm)
    data = np.asarray(image.data[start[0] : stop[0], start[1] : stop[1]])
    return Layer(name, data, _yx(grid.pixel_size_nm), _yx(offset.tolist()))


def _yx(values: Sequence[float]) -> tuple[float, float]:
    y, x = values
    return float(y), float(x)


def _bands(array: Any, block: int) -> Iterable[NDArray[Any]]:
    rows = block * max(1, _BAND // (block * array.shape[1]))
    for first in range(0, array.shape[0], rows):
        yield np.asarray(array[first : first + rows])


def _block_means(band: NDArray[Any], block: int) -> NDArray[np.float32]:
    ys, xs = (np.arange(0, n, block) for n in band.shape)
    sums = np.add.reduceat(np.add.reduceat(band, ys, axis=0, dtype=np.float64), xs, axis=1)
    count = np.outer(np.diff([*ys, band.shape[0]]), np.diff([*xs, band.shape[1]]))
    return (sums / count).astype(np.float32)
