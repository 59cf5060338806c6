"""Windows laid over a picture or a volume, so that figures can be given place by place: which count, sums in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.values import Grid

SIZES_PX = {2: (64, 48, 32), 3: (32, 24, 16)}  # by number of axes: the largest that fits in often enough
ENOUGH = 12  # windows
OVERLAP = 4  # a step is a quarter of a window
MOST = {2: 20_000, 3: 8_000}  # windows; beyond, the step is half a window
KNOWN_SHARE = 0.95  # of the pixels of a window
_FILL_PX = 2.0  # sigma of the average that stands in for single missing pixels
ALIGNED = {2: 4, 3: 2}  # pixels: what 2 x 2 means, as often as a window has scales for, keep whole

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Laid:
    """Square windows in rows and columns over a picture; cubic ones over a volume.

    Parameters
    ----------
    extent_px : of the picture or volume.
    size_px, step_px : side of a window and distance between neighbours, pixels; multiples of 4, of 2 in volumes.
    used : (rows, columns) or (layers, rows, columns) of windows that count.
    """

    extent_px: tuple[int, ...]
    size_px: int
    step_px: int
    used: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return self.used.shape

    def grid(self, pixels: Grid) -> Grid:
        """Where the middles of the windows lie, in the frame of the picture."""
        middle = pixels.to_nm(np.full(pixels.ndim, (self.size_px - 1) / 2))
        step = tuple(self.step_px * p for p in pixels.pixel_size_nm)
        return Grid(pixels.axes, self.shape, step, tuple(middle.tolist()))


@dataclass(frozen=True)
class Windows:
    """Windows over a picture or volume that is held in memory.

    Parameters
    ----------
    known : (h, w) or (d, h, w), pixels that count.
    size_px, step_px, used : as of :class:`Laid`; a window is used if at least 95 % of its pixels count.
    """

    known: NDArray[np.bool_]
    size_px: int
    step_px: int
    used: NDArray[np.bool_]

    @classmethod
    def of(cls, known: NDArray[np.bool_], size_px: int, step_px: int | None = None) -> Windows:
        """Windows of a given size; ``step_px`` None = :func:`usual_step`.

        Raises
        ------
        InputError : sizes that are no multiples of 4 (2 in volumes), or a step that is no part of the size.
        """
        known = np.asarray(known, bool)
        step_px = usual_step(known.shape, size_px) if step_px is None else step_px
        least, aligned = SIZES_PX[known.ndim][-1], ALIGNED[known.ndim]
        if size_px < least or size_px % aligned or step_px < 1 or step_px % aligned or size_px % step_px:
            raise InputError(
                f"A window has at least {least} px along each side and goes in steps that divide it, all in "
                f"multiples of {aligned}, but {size_px} px in steps of {step_px} px came. Pass e.g. "
                f"{SIZES_PX[known.ndim][0]} and {SIZES_PX[known.ndim][0] // OVERLAP}."
            )
        return cls(known, size_px, step_px, window_sums(known, size_px, step_px) >= KNOWN_SHARE * size_px**known.ndim)

    @property
    def laid(self) -> Laid:
        """Where the windows lie, without the pixels."""
        return Laid(self.known.shape, self.size_px, self.step_px, self.used)

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return self.used.shape

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum over the pixels of each window that count, (rows, columns); what does not count may be anything."""
        whole = bool(self.known.all())
        return window_sums(values if whole else np.where(self.known, values, 0), self.size_px, self.step_px)

    def starts(self) -> list[tuple[int, ...]]:
        """Of every window that is used: its place among the windows, then its first pixel, axis by axis."""
        return [(*at, *(k * self.step_px for k in at)) for at in np.argwhere(self.used).tolist()]


Fits = TypeVar("Fits", Laid, Windows)


def usual_step(extent_px: Sequence[int], size_px: int) -> int:
    """A quarter of a window; where there would be too many windows half of it, and then a whole one."""
    ndim = len(extent_px)
    for step in (size_px // OVERLAP, size_px // 2):
        if step % ALIGNED[ndim] == 0 and math.prod(extent_px) / max(step, 1) ** ndim <= MOST[ndim]:
            return step
    return size_px // 2 if ndim == 2 else size_px


def fitting_windows(known: NDArray[np.bool_]) -> Windows | None:
    """Windows of 64 px, or of 48 or 32 px where fewer than 12 of those fit in; None where none fits.

    In volumes windows of 32 voxels, or of 24 or 16: a shell of a small cube holds as many coefficients as a ring of a
    large square, and a fine volume is seldom thick.
    """
    return often_enough(Windows.of(known, size) for size in SIZES_PX[known.ndim] if min(known.shape) >= size)


def often_enough(found: Iterable[Fits]) -> Fits | None:
    """The first (largest) windows that fit in often enough, else the last that fit in at all; None = none does."""
    some = [w for w in found if w.used.any()]
    return next((w for w in some if w.used.sum() >= ENOUGH), some[-1] if some else None)


def filled(values: NDArray[np.floating], known: NDArray[np.bool_]) -> Floats:
    """The picture with its pixels that do not count replaced by an average of their surroundings."""
    values = np.asarray(values, np.float32)
    if known.all():
        return values
    middle = np.float32(values[known].mean(dtype=np.float64)) if known.any() else np.float32(0)
    inside = np.where(known, values - middle, 0)
    weight = ndimage.gaussian_filter(known.astype(np.float32), _FILL_PX)
    around = ndimage.gaussian_filter(inside, _FILL_PX) / np.maximum(weight, 1e-3)
    return np.where(known, values, around + middle).astype(np.float32)


def window_sums(values: NDArray[np.number] | NDArray[np.bool_], size: int, step: int) -> NDArray[np.float64]:
    """Sums over windows, from sums over squares (cubes) as wide as the step, which is a part of the size."""
    count = [n // step for n in values.shape]
    if min(count) * step < size:
        return np.zeros((0,) * values.ndim)
    total = values[tuple(slice(n * step) for n in count)].reshape([m for n in count for m in (n, step)])
    for axis in range(1, values.ndim):
        total = total.sum(axis=axis)
    total = total.sum(axis=values.ndim, dtype=np.float64)
    for axis in range(values.ndim):
        total = np.moveaxis(_running(np.moveaxis(total, axis, 0), size // step), 0, axis)
    return total


def _running(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sums of ``count`` neighbours down the rows."""
    return sum((values[k : len(values) - count + 1 + k] for k in range(1, count)), values[: len(values) - count + 1])


def quantiles(values: NDArray[np.floating], at: Sequence[float]) -> list[float] | None:
    """Of the finite values; None where there are none."""
    known = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(known, at)] if known.size else None
