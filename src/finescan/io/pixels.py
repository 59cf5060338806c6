"""Walking over arrays that may be larger than memory, and refusing pixels that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError

#: Pixels looked at in one go.
BAND_PIXELS = 1 << 23


def bands(data: Any, rows: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
    """First row and pixels of consecutive blocks of whole rows."""
    chunk = getattr(data, "chunks", None)
    step = rows or max(1, BAND_PIXELS // max(1, math.prod(data.shape[1:])))
    if rows is None and chunk and isinstance(chunk[0], int):  # decode every stored chunk once only
        step = max(chunk[0], step // chunk[0] * chunk[0])
    for first in range(0, data.shape[0], step):
        yield first, np.asarray(data[first : first + step])


def write_bands(stream: BinaryIO, data: Any, dtype: np.dtype[Any]) -> None:
    """All pixels in C order to an open file, one band in memory at a time."""
    for _, band in bands(data):
        stream.write(np.ascontiguousarray(band, dtype).data)


def require_usable(data: Any, name: str) -> None:
    """Refuse what cannot be a micrograph: no pixels, no numbers, infinite values, one value only, all no-data.

    NaN is allowed: it marks places without data, as in stitched maps.
    """
    if 0 in data.shape:
        raise InputError(f"{name} holds no pixels (its size is {tuple(data.shape)}). Choose another file.")
    dtype = np.dtype(data.dtype)
    if dtype.kind not in "uif":
        raise InputError(f"{name} holds {dtype} values; grey levels (integers or floating point) are needed.")
    if dtype.kind == "f":
        _require_finite(data, name)
    if _constant(data):
        value = np.asarray(data[:1, :1])[0, 0]
        raise InputError(f"{name} is constant (every pixel is {value:g}): there is nothing to see. Check the file.")


def _require_finite(data: Any, name: str) -> None:
    infinite = missing = 0
    for _, band in bands(data):
        infinite += int(np.count_nonzero(np.isinf(band)))
        missing += int(np.count_nonzero(np.isnan(band)))
    if infinite:
        raise InputError(f"{name} holds {infinite} infinite values. Set places without data to NaN and save it again.")
    if missing == data.shape[0] * data.shape[1]:
        raise InputError(f"{name} holds no data: every pixel is NaN. Choose another file.")


def _constant(data: Any) -> bool:
    """One value only, NaN aside; stops at the first band that varies."""
    seen = None
    for _, band in bands(data):
        values = band[~np.isnan(band)] if band.dtype.kind == "f" else band.ravel()
        if values.size == 0:
            continue
        seen = values[0] if seen is None else seen
        if (values != seen).any():
            return False
    return True
