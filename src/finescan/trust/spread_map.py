"""SpreadMap: the spread, or the half width of an interval, of a map of any size, computed where it is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.spread_model import SpreadModel, standardised
from finescan.values import Image

BAND_PIXELS = 1 << 22

Box = tuple[slice, ...]


class SpreadMap:
    """Behaves as a float32 array (shape, dtype, numbers and slices with unit steps) and holds one band at most.

    Parameters
    ----------
    model : tells the spread.
    enhanced : numpy, memory map or zarr. Where it is NaN, so is the answer.
    raw : the network's own spread on the same grid, for a model that uses it.
    factor : what the spread is multiplied with.
    missing : mask on a coarser grid of the same frame; where it is True, the answer is NaN.
    least : another model of the same properties, and its factor: the answer is the lesser of the two.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        model: SpreadModel,
        enhanced: Image,
        raw: Image | None = None,
        *,
        factor: float = 1.0,
        missing: Image | None = None,
        least: tuple[SpreadModel, float] | None = None,
    ) -> None:
        self.model, self.enhanced, self.raw, self.factor, self.missing = model, enhanced, raw, factor, missing
        self.least = least
        self.shape, self.ndim = tuple(enhanced.grid.shape), enhanced.grid.ndim
        self._rows = max(1, BAND_PIXELS // (enhanced.grid.size // self.shape[0]))
        self._kept: tuple[int, NDArray[np.float32]] | None = None

    def times(self, factor: float) -> SpreadMap:
        """The same, multiplied."""
        least = None if self.least is None else (self.least[0], self.least[1] * factor)
        return self._again(self.factor * factor, least)

    def at_most(self, model: SpreadModel, factor: float) -> SpreadMap:
        """The same, or ``factor`` times the spread by another model of the same properties where that is less."""
        return self._again(self.factor, (model, factor))

    def _again(self, factor: float, least: tuple[SpreadModel, float] | None) -> SpreadMap:
        return SpreadMap(self.model, self.enhanced, self.raw, factor=factor, missing=self.missing, least=least)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        box, alone = _box(key, self.shape)
        narrow = any(2 * (s.stop - s.start) < n for s, n in zip(box[1:], self.shape[1:], strict=True))
        found = self._computed(box) if narrow else self._from_bands(box)
        return found[tuple(0 if single else slice(None) for single in alone)] if any(alone) else found

    def _from_bands(self, box: Box) -> NDArray[np.float32]:
        first, last = box[0].start // self._rows, max(box[0].start, box[0].stop - 1) // self._rows
        bands = [self._band(k) for k in range(first, last + 1)]
        whole = bands[0] if len(bands) == 1 else np.concatenate(bands)
        start = first * self._rows
        return whole[(slice(box[0].start - start, box[0].stop - start), *box[1:])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype)

    def _band(self, number: int) -> NDArray[np.float32]:
        """Whole rows; the last band that was asked for is kept, because readers go through it in smaller steps."""
        if self._kept is None or self._kept[0] != number:
            rows = slice(number * self._rows, min(self.shape[0], (number + 1) * self._rows))
            self._kept = number, self._computed((rows, *(slice(0, n) for n in self.shape[1:])))
        return self._kept[1]

    def _computed(self, box: Box) -> NDArray[np.float32]:
        reach = self.model.reach_px
        wide = tuple(
            slice(max(0, s.start - reach), min(n, s.stop + reach)) for s, n in zip(box, self.shape, strict=True)
        )
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wide, strict=True))
        grey = np.asarray(self.enhanced.data[wide])
        stated = None if self.raw is None else np.asarray(self.raw.data[wide], np.float32)
        names = list(self.model.weights)
        columns = {n: c[inner] for n, c in zip(names, standardised(grey, self.model, names, stated), strict=True)}
        found = self.model.of(columns) * np.float32(self.factor)
        if self.least is not None:
            np.minimum(found, self.least[0].of(columns) * np.float32(self.least[1]), out=found)
        if grey.dtype.kind == "f":
            found[~np.isfinite(grey[inner])] = np.nan
        if self.missing is not None:
            found[self._missing_in(box)] = np.nan
        return found

    def _missing_in(self, box: Box) -> NDArray[np.bool_]:
        """The coarse mask under a box, by the coarse pixel that each pixel lies in."""
        assert self.missing is not None
        grid = self.missing.grid
        scale, offset = self.enhanced.grid.step_to(grid)
        owners = [
            np.clip(np.floor(np.arange(s.start, s.stop) * a + o + 0.5 + 1e-9), 0, n - 1).astype(np.intp)
            for s, a, o, n in zip(box, scale, offset, grid.shape, strict=True)
        ]
        return np.asarray(self.missing.data)[np.ix_(*owners)]


def _box(key: Any, shape: tuple[int, ...]) -> tuple[Box, list[bool]]:
    """An index of numbers and slices with unit steps as one slice per axis, and which axes were a number."""
    keys = key if isinstance(key, tuple) else (key,)
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys = (*keys[:at], *[slice(None)] * (len(shape) - len(keys) + 1), *keys[at + 1 :])
    keys = (*keys, *[slice(None)] * (len(shape) - len(keys)))
    alone = [isinstance(k, (int, np.integer)) for k in keys]
    fits = [one or (isinstance(k, slice) and k.step in (None, 1)) for k, one in zip(keys, alone, strict=True)]
    if len(keys) != len(shape) or not all(fits):
        raise InputError(f"A map of spreads is read in boxes (slices with unit steps), but the index {key} came.")
    return tuple(_slice(k, n) for k, n in zip(keys, shape, strict=True)), alone


def _slice(key: Any, length: int) -> slice:
    if isinstance(key, slice):
        return slice(*key.indices(length)[:2])
    number = range(length)[key]  # negative ones count from the end; IndexError beyond
    return slice(number, number + 1)
