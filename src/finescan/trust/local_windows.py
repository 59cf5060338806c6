"""Windows laid over a picture, so that a figure can be given place by place: which of them count, and sums in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.values import Grid

SIZES_PX = (64, 48, 32)  # the largest that fits in often enough
ENOUGH = 12  # windows
OVERLAP = 4  # a step is a quarter of a window
MOST = 20_000  # windows; beyond, the step is half a window
KNOWN_SHARE = 0.95  # of the pixels of a window
_FILL_PX = 2.0  # sigma of the average that stands in for single missing pixels
_ALIGNED = 4  # pixels: what 2 x 2 means twice over keep whole

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Square windows in rows and columns over a picture.

    Parameters
    ----------
    known : (h, w) pixels that count.
    size_px, step_px : side of a window and distance between neighbours, pixels; multiples of 4.
    used : (rows, columns) windows of which at least 95 % of the pixels count.
    """

    known: NDArray[np.bool_]
    size_px: int
    step_px: int
    used: NDArray[np.bool_]

    @classmethod
    def of(cls, known: NDArray[np.bool_], size_px: int, step_px: int | None = None) -> Windows:
        """Windows of a given size; ``step_px`` None = a quarter of it, half of it on a very large picture.

        Raises
        ------
        InputError : sizes that are no multiples of 4, or a step that is no part of the size.
        """
        known = np.asarray(known, bool)
        if step_px is None:
            quarter = size_px // OVERLAP
            step_px = quarter if known.size / max(quarter, 1) ** 2 <= MOST else size_px // 2
        if size_px < SIZES_PX[-1] or size_px % _ALIGNED or step_px < 1 or step_px % _ALIGNED or size_px % step_px:
            raise InputError(
                f"A window has at least {SIZES_PX[-1]} px along each side and goes in steps that divide it, all in "
                f"multiples of {_ALIGNED}, but {size_px} px in steps of {step_px} px came. Pass e.g. 64 and 16."
            )
        counts = _summed(known, size_px, step_px)
        return cls(known, size_px, step_px, counts >= KNOWN_SHARE * size_px**2)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return self.used.shape[0], self.used.shape[1]

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum over the pixels of each window that count, (rows, columns); what does not count may be anything."""
        whole = bool(self.known.all())
        return _summed(values if whole else np.where(self.known, values, 0), self.size_px, self.step_px)

    def starts(self) -> list[tuple[int, int, int, int]]:
        """(row, column, first line, first column of pixels) of every window that is used."""
        return [(r, c, r * self.step_px, c * self.step_px) for r, c in np.argwhere(self.used).tolist()]

    def grid(self, pixels: Grid) -> Grid:
        """Where the middles of the windows lie, in the frame of the picture."""
        middle = pixels.to_nm(np.full(2, (self.size_px - 1) / 2))
        step = tuple(self.step_px * p for p in pixels.pixel_size_nm)
        return Grid(pixels.axes, self.shape, step, tuple(middle.tolist()))


def fitting_windows(known: NDArray[np.bool_]) -> Windows | None:
    """Windows of 64 px, or of 48 or 32 px where fewer than 12 of those fit in; None where none fits."""
    found = [Windows.of(known, size) for size in SIZES_PX if min(known.shape) >= size]
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


def _summed(values: NDArray[np.number] | NDArray[np.bool_], size: int, step: int) -> NDArray[np.float64]:
    """Sums over windows, from sums over squares as wide as the step."""
    rows, columns = (n // step for n in values.shape)
    if min(rows, columns) * step < size:
        return np.zeros((0, 0))
    squares = values[: rows * step, : columns * step].reshape(rows, step, columns, step)
    total = squares.sum(axis=1).sum(axis=2, dtype=np.float64)
    each = size // step
    return _running(_running(total, each).T, each).T


def _running(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sums of ``count`` neighbours down the rows."""
    return sum((values[k : len(values) - count + 1 + k] for k in range(1, count)), values[: len(values) - count + 1])


def quantiles(values: NDArray[np.floating], at: Sequence[float]) -> list[float] | None:
    """Of the finite values; None where there are none."""
    known = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(known, at)] if known.size else None
