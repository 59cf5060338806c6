"""Zoom levels, and the six filters that make pictures of other levels from a recorded one.

Pillow is the reference for the filters (Möller et al. 2023 use it), so Pillow does it: eight-bit pictures in eight
bits, to the byte, where the published data are to be made again; everything else in 32-bit floats, which keep all grey
levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from finescan.errors import InputError

#: name -> Pillow's number of it, which is also what the published file names hold
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
#: unit of a zoom scale -> +1 where a larger number shows more detail (magnification), -1 where a smaller one does
UNITS = {"MX": 1, "x": 1, "nm": -1, "pm": -1}

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the source, edges included: as Pillow


@dataclass(frozen=True)
class ZoomScale:
    """What zoom levels are counted in, through one number: the level of the recorded pictures.

    Parameters
    ----------
    recorded : level of the recorded pictures.
    unit : "MX" (million-fold magnification, STEM) or "x", where larger is finer; "nm" or "pm" (side of a scan or of a
        pixel, STM), where smaller is finer.

    Examples
    --------
    >>> ZoomScale(5, "MX").ratio(10), ZoomScale(24, "nm").ratio(12)
    (2.0, 2.0)
    >>> ZoomScale(24, "nm").level(1.5)
    16.0
    """

    recorded: float = 1.0
    unit: str = "x"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InputError(f"Zoom levels are counted in {', '.join(UNITS)}, but {self.unit!r} came.")
        if not (math.isfinite(self.recorded) and self.recorded > 0):
            raise InputError(f"The recorded zoom level must be a positive number, but {self.recorded} came.")

    def ratio(self, level: float) -> float:
        """Pixels per length at a level over those at the recorded one."""
        if not (math.isfinite(level) and level > 0):
            raise InputError(f"A zoom level must be a positive number, but {level} came.")
        return level / self.recorded if UNITS[self.unit] > 0 else self.recorded / level

    def ratios(self, levels: Sequence[float]) -> tuple[float, ...]:
        """:meth:`ratio` of several."""
        return tuple(self.ratio(v) for v in levels)

    def level(self, ratio: float) -> float:
        """The inverse of :meth:`ratio`, without the last few binary digits (6.0 and not 6.000000000000001)."""
        level = ratio * self.recorded if UNITS[self.unit] > 0 else self.recorded / ratio
        return float(f"{level:.12g}")

    def named(self, ratio: float) -> str:
        """``6 MX``."""
        return f"{self.level(ratio):.6g} {self.unit}"


def resized(
    picture: NDArray[Any], shape: Sequence[int], filter_name: str, *, box: Box | None = None, eight_bit: bool = False
) -> NDArray[Any]:
    """A picture with another number of pixels.

    Parameters
    ----------
    picture : (h, w) grey levels.
    shape : rows and columns of the result.
    filter_name : row of :data:`FILTERS`. When pixels get fewer, all but "nearest" average over the area of the new
        ones; "nearest" takes one pixel as it is, noise included.
    box : part of the source that the result shows, whole source by default. Pixels around it still count as
        neighbours: the part of a whole and the whole of a part are the same.
    eight_bit : compute and round in eight bits; the picture must be uint8, and so is the result.

    Returns
    -------
    float32 (uint8 with ``eight_bit``), not clipped: sharp filters overshoot.
    """
    if filter_name not in FILTERS:
        raise InputError(f"A resampling filter is one of {', '.join(FILTERS)}, but {filter_name!r} came.")
    if eight_bit and picture.dtype != np.uint8:
        raise InputError(
            f"Resampling in eight bits needs 8-bit grey levels (uint8), but {picture.dtype} came. Convert the picture "
            "with to_eight_bit first, or keep its grey levels and leave the published rounding out."
        )
    source = np.ascontiguousarray(picture if eight_bit else np.asarray(picture, np.float32))
    size = (int(shape[1]), int(shape[0]))
    return np.array(Pillow.fromarray(source).resize(size, Pillow.Resampling(FILTERS[filter_name]), box))


def zoomed(
    picture: NDArray[np.float32], ratio: float, start: Sequence[int] = (0, 0), stop: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """A recorded picture at another zoom level: nearest neighbours below 1 (keeps the noise), bicubic above.

    Both axes are scaled by exactly ``ratio``; a rest of less than a pixel at the far ends is left out.

    Parameters
    ----------
    picture : (h, w) recorded grey levels.
    ratio : pixels of the result per recorded pixel and axis.
    start, stop : the box of the level to make, in its own pixels; None = up to :func:`zoomed_shape`.
    """
    stop = stop or zoomed_shape(picture.shape, ratio)
    if ratio <= 1:
        rows, columns = (_nearest(a, b, ratio) for a, b in zip(start, stop, strict=True))
        return np.asarray(picture[np.ix_(rows, columns)], np.float32)
    box = (start[1] / ratio, start[0] / ratio, stop[1] / ratio, stop[0] / ratio)
    box = (*box[:2], min(box[2], picture.shape[1]), min(box[3], picture.shape[0]))  # the last binary digit
    return resized(picture, (stop[0] - start[0], stop[1] - start[1]), "bicubic", box=box)


def points(
    picture: NDArray[np.float32], ratio: float, start: Sequence[int], stop: Sequence[int], *, interpolated: bool = False
) -> list[NDArray[np.float32]]:
    """What a scan with larger steps would have recorded: single points of the sample, at the centres of its pixels.

    Nearest neighbours keep the noise. Where a centre lies just between two recorded pixels (in the middle of two or
    four, for a start) there are two versions, one with those before and one with those behind it: taking always the
    same side would teach a shift by half a pixel.

    Parameters
    ----------
    picture : (h, w) recorded grey levels.
    ratio : pixels of the result per recorded pixel and axis, at most 1.
    start, stop : the box to make, in pixels of the result.
    interpolated : of a picture that was made finer by bicubic interpolation: its grey levels at exactly the centres.

    Returns
    -------
    One version, or two.
    """
    if interpolated:
        return [_cubic(_cubic(picture, start[0], stop[0], ratio).T, start[1], stop[1], ratio).T]
    sides = [tuple(_nearest(a, b, ratio, e) for a, b in zip(start, stop, strict=True)) for e in (-1e-6, 1e-6)]
    same = all(np.array_equal(a, b) for a, b in zip(*sides, strict=True))
    return [np.asarray(picture[np.ix_(*index)], np.float32) for index in (sides[1:] if same else sides)]


def _nearest(start: int, stop: int, ratio: float, side: float = 1e-9) -> NDArray[np.intp]:
    """Recorded pixels that hold the centres of a level's pixels; the same ones whatever part of the level is made."""
    return np.floor((np.arange(start, stop) + 0.5) / ratio + side).astype(np.intp)


def cubic_weights(start: int, stop: int, ratio: float, length: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Recorded pixels and their weights, (n, 4) each, for the grey levels at the centres of a level's pixels.

    The kernel is that of Pillow's bicubic filter (R. Keys 1981, a = -1/2). At the border, what is left of it is scaled
    to a sum of 1, as there.
    """
    where = (np.arange(start, stop) + 0.5) / ratio - 0.5
    taps = np.floor(where).astype(np.intp)[:, None] + np.arange(-1, 3)
    d = np.abs(where[:, None] - taps)
    weight = np.where(d <= 1, (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)
    weight[(taps < 0) | (taps >= length)] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(taps, 0, length - 1), weight


def _cubic(picture: NDArray[np.float32], start: int, stop: int, ratio: float) -> NDArray[np.float32]:
    """Rows at the centres of a level's."""
    taps, weight = cubic_weights(start, stop, ratio, len(picture))
    return np.ascontiguousarray(np.einsum("nk,nkw->nw", weight.astype(np.float32), picture[taps]))


def zoomed_shape(shape: Sequence[int], ratio: float) -> tuple[int, int]:
    """Whole pixels of a picture at a zoom level."""
    h, w = (math.floor(n * ratio + 1e-6) for n in shape)
    return h, w
