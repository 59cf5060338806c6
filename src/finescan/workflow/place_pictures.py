"""Pictures and maps of a place as one figure: side by side for pictures, in three slices each for volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan.trust.local_windows import Laid
from finescan.workflow.place_maps import PlaceMaps, slices_through

CELL, SLICE_CELL = 270.0, 210.0
CUTS = ("xy slice", "xz slice", "yz slice")
_AXES = ((1, 2), (0, 2), (0, 1))  # of these slices

Floats = NDArray[np.float32]


def place_figure(
    title: str,
    place: PlaceMaps,
    pictures: Mapping[str, Any],
    size_nm: Sequence[float],
    *,
    words: Sequence[str] | None = None,
    **options: Any,
) -> rp.Figure:
    """Everything that covers a place, on one scale.

    Parameters
    ----------
    pictures : heading -> (h, w) array from the corner of the place; of a volume a (d, h, w) array, or three slices.
    size_nm : of their pixels, per axis.
    words : for each of them, written into it.
    options : of :func:`finescan.reporting.picture_grid`.
    """
    if not place.at:
        labels = None if words is None else {"": list(words)}
        size, row = (size_nm[0], size_nm[1]), {"": list(pictures.values())}
        return rp.picture_grid(
            title, row, tuple(pictures), pixel_size_nm=size, labels=labels, **{"cell": CELL, **options}
        )
    rows = {k: _three(v, place, size_nm) for k, v in pictures.items()}
    labels = None if words is None else {k: [w, "", ""] for k, w in zip(rows, words, strict=True)}
    return rp.picture_grid(title, rows, CUTS, pixel_size_nm=min(size_nm), labels=labels, cell=SLICE_CELL, **options)


def _three(volume: Any, place: PlaceMaps, size_nm: Sequence[float]) -> list[Floats]:
    """Three slices on square pixels, all in frames of one shape."""
    if not isinstance(volume, tuple):
        scale = np.asarray(place.grid.pixel_size_nm) / size_nm
        at = np.minimum(((np.array(place.at) + 0.5) * scale).astype(int), np.array(volume.shape) - 1)
        volume = slices_through(volume, at.tolist())
    step = min(size_nm)
    square = [
        s[np.ix_(*(_nearest(n, size_nm[a] / step) for n, a in zip(s.shape, axes, strict=True)))]
        for s, axes in zip(volume, _AXES, strict=True)
    ]
    frame = np.max([s.shape for s in square], axis=0)
    return [_framed(s, frame) for s in square]


def _nearest(n: int, stretch: float) -> NDArray[np.int_]:
    """Which of ``n`` lines stands for each of ``n * stretch``."""
    return np.minimum(((np.arange(max(1, round(n * stretch))) + 0.5) / stretch).astype(int), n - 1)


def _framed(values: Floats, frame: NDArray[np.int_]) -> Floats:
    """In the middle of an empty frame."""
    out = np.full(frame, np.nan, np.float32)
    start = (frame - values.shape) // 2
    out[tuple(slice(a, a + n) for a, n in zip(start, values.shape, strict=True))] = values
    return out


def painted(values: Floats, windows: Laid) -> Floats:
    """Windows as squares (cubes) of a step around their middles, on half steps over the whole place."""
    half = windows.step_px // 2
    start = (windows.size_px - windows.step_px) // 2 // half
    out = np.full([-(-n // half) for n in windows.extent_px], np.nan, np.float32)
    for axis in range(values.ndim):
        values = values.repeat(2, axis=axis)
    out[tuple(slice(start, start + n) for n in values.shape)] = values
    return out
