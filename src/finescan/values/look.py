"""Look: what an image looks like in a few dozen numbers, and how far they differ from place to place.

A model card keeps the look of its training area; a map's look is held against it before the model is used. Everything
is measured on small square tiles, so that maps of any size compare, and given with its spread between tiles: what
differs by less than places of one sample differ says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError, ModelError

TILE = 32  # px; smaller than any training area
MOST_TILES = 400
PLACE_PX = 128  # side of the places of an area that are looked at one by one; smaller ones cannot be told apart
MOST_PLACES = 32
QUANTILES = tuple(k / 20 for k in range(1, 20))
#: upper ends of the frequency bands in cycles per pixel, half octaves; each reaches down to the next, the last to 0
BAND_EDGES = tuple(0.5 * 2 ** (-k / 2) for k in range(-1, 7))
BANDS = tuple(f"band {k}" for k in range(len(BAND_EDGES)))
FEATURES = ("level", "contrast", "noise", *BANDS, "edges", "orientation", "skew", "flat", "quiet", "typical", "busy")
FLOOR = 0.02  # of the standard deviation: weaker structure (rounding, empty areas) is not told apart
_SHARES = (0.5, 0.25, 0.1)  # of a tile that must be known; less is asked for where nothing else is left
_FEW = 64  # tiles below which they overlap by half
_CELL = 8  # px, side of the cells of the local contrast
_FLAT = 1.2  # times the noise: a cell of pure noise has more contrast once in fifty times
_EDGE = 3.0  # times the median gradient: 0.2 % of the gradients of white noise are stronger

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """Statistics of an image.

    Parameters
    ----------
    tile : side of the square tiles the statistics were taken on, pixels.
    tiles : tiles that do not overlap; with overlapping ones, the area in tiles.
    mean, std : of all grey levels.
    quantiles : grey levels at the probabilities 0.05, 0.10 … 0.95.
    typical : mean over the tiles of each of :data:`FEATURES`; grey levels are in standard deviations from the mean.
        level: mean. contrast: log of the standard deviation. noise: log of it (Immerkær). band k: log of the power
        between two of :data:`BAND_EDGES`, noise included. edges: log of the share of strong gradients.
        orientation: 0 isotropic, 1 all lines parallel. skew: of the grey levels, noise halved. flat: share of cells of
        8 x 8 px with hardly more contrast than noise. quiet, typical, busy: logs of the 10, 50 and 90 % quantiles of
        the contrast of these cells.
    spread : standard deviation over the tiles of the same.
    """

    tile: int
    tiles: float
    mean: float
    std: float
    quantiles: tuple[float, ...]
    typical: Mapping[str, float]
    spread: Mapping[str, float]

    @property
    def noise(self) -> float:
        """Standard deviation of the pixel-to-pixel noise in a usual tile, grey levels."""
        return self.std * max(0.0, float(np.exp(self.typical["noise"])) - FLOOR)

    def mapped(self, gain: float, offset: float) -> Look:
        """The look of ``gain * image + offset``, for a positive gain."""
        if not gain > 0:
            raise InputError(f"Grey levels are mapped with a positive gain, but {gain} came.")
        quantiles = tuple(gain * q + offset for q in self.quantiles)
        return Look(
            self.tile, self.tiles, gain * self.mean + offset, gain * self.std, quantiles, self.typical, self.spread
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        d = dict(vars(self))
        return {**d, "quantiles": list(self.quantiles), "typical": dict(self.typical), "spread": dict(self.spread)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Look:
        """Inverse of :meth:`to_dict`; raises ModelError on missing or unknown entries."""
        try:
            look = cls(**{**d, "quantiles": tuple(d["quantiles"])})
            missing = [n for n in FEATURES if n not in look.typical or n not in look.spread]
        except (KeyError, TypeError) as e:
            raise ModelError(f"The statistics of the training area lack entries or have unknown ones ({e}).") from e
        if missing or len(look.quantiles) != len(QUANTILES):
            raise ModelError(f"The statistics of the training area lack {', '.join(missing) or 'quantiles'}.")
        return look

    def __str__(self) -> str:
        return f"mean grey {self.mean:.4g}, standard deviation {self.std:.4g}, noise {self.noise:.3g}"


def look_of(array: Any, mask: Bool | None = None, *, tile: int = TILE, most: int = MOST_TILES) -> Look:
    """The look of an image, or of a part of it.

    Parameters
    ----------
    array : (rows, columns) real grey levels; numpy, memory map, zarr, or anything of that shape that slices. Only the
        tiles that are used are read. NaN is left out.
    mask : boolean array of the same shape: True where pixels count; None = everywhere.
    tile : side of the tiles, pixels.
    most : of a larger image this many tiles are used, evenly spread over it, always the same ones.

    Raises
    ------
    InputError : nothing but missing pixels, or all of one grey level.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(100, 20, (256, 256))
    >>> round(look_of(noise).noise)
    20
    """
    return look_of_parts([(array, mask)], tile=tile, most=most)


def look_of_parts(parts: Iterable[tuple[Any, Bool | None]], *, tile: int = TILE, most: int = MOST_TILES) -> Look:
    """As :func:`look_of`, of several images (array, mask) of one sample taken together."""
    some = list(parts)
    thinned = [some[k] for k in _spaced(len(some), most)] if len(some) > most else some
    cut = [_tiles(array, mask, tile, most) for array, mask in thinned]
    tiles, area = np.concatenate([t for t, _ in cut]), sum(a for _, a in cut)
    if len(tiles) > most:
        tiles = tiles[_spaced(len(tiles), most)]
    if not len(tiles):
        raise InputError(f"Statistics need a part of {tile} x {tile} px with grey levels, but everything is missing.")
    # overlapping tiles count some pixels more often than others: of a small area, all grey levels are taken once
    few = all(m is not None for _, m in thinned) and area < most
    grey = np.concatenate([_masked(a, m) for a, m in thinned if m is not None]) if few else tiles[np.isfinite(tiles)]
    mean, std = float(grey.mean()), float(grey.std())
    if std <= 1e-6 * max(abs(mean), 1e-30):
        raise InputError(f"Statistics need different grey levels, but all are {mean:.6g}. Is it the right file?")
    values = tile_features((tiles - mean) / std)
    quantiles = tuple(float(q) for q in np.quantile(grey, QUANTILES))
    spread = {n: float(v.std(ddof=1)) if len(v) > 1 else 0.0 for n, v in values.items()}
    typical = {n: float(v.mean()) for n, v in values.items()}
    return Look(tile, min(float(len(tiles)), area), mean, std, quantiles, typical, spread)


def looks_of_places(parts: Iterable[tuple[Array, Bool]]) -> list[Look]:
    """The looks of places of 128 x 128 px of an area, one by one: what it looks like here and there.

    Parameters
    ----------
    parts : images (array, mask) of one sample; the mask is True in the area.

    Returns
    -------
    At most 32, of places that overlap by half and lie at least half in the area; none of a smaller area, and none of
    places of one grey level.
    """
    found: list[tuple[Array, Bool]] = []
    for array, mask in parts:
        rows, columns = (range(0, n - PLACE_PX + 1, PLACE_PX // 2) for n in mask.shape)
        boxes = [(slice(y, y + PLACE_PX), slice(x, x + PLACE_PX)) for y in rows for x in columns]
        found += [(array[box], mask[box]) for box in boxes if mask[box].mean() >= _SHARES[0]]
    if len(found) > MOST_PLACES:
        found = [found[k] for k in _spaced(len(found), MOST_PLACES)]
    looks = []
    for array, mask in found:
        with suppress(InputError):
            looks.append(look_of_parts([(array, mask)]))
    return looks


def tile_features(tiles: Array) -> dict[str, Array]:
    """Every one of :data:`FEATURES` of every tile.

    Parameters
    ----------
    tiles : (count, side, side) grey levels in standard deviations from the mean of the image; NaN is left out.
    """
    gaps = bool(np.isnan(tiles).any())
    mean, std, median, quantile = (
        (np.nanmean, np.nanstd, np.nanmedian, np.nanquantile) if gaps else (np.mean, np.std, np.median, np.quantile)
    )
    level = mean(tiles, axis=(1, 2))
    centred = tiles - level[:, None, None]
    noise = median(np.abs(_second(_second(tiles, 1), 2)), axis=(1, 2)) / 0.6745 / 6  # Immerkær 1996, with a median
    out = {"level": level, "contrast": _log(std(tiles, axis=(1, 2))), "noise": _log(noise)}
    power = band_power(centred)
    out |= {n: np.log(power[:, k] + FLOOR**2 * white_shares(tiles.shape[1])[k]) for k, n in enumerate(BANDS)}
    gy, gx = _gradients(tiles)
    size = np.hypot(gy, gx)
    strong = size > np.maximum(_EDGE * median(size, axis=(1, 2)), FLOOR)[:, None, None]
    known = np.isfinite(size).mean(axis=(1, 2))
    out["edges"] = np.log(strong.mean(axis=(1, 2)) / known + 0.01)
    out["orientation"] = _orientation(np.nan_to_num(gy), np.nan_to_num(gx))
    halved = _cells(centred, 2).mean(axis=(2, 4))  # noise hides the skew of the sample
    moments = [mean(halved**k, axis=(1, 2)) for k in (1, 2, 3)]
    out["skew"] = _skew(*moments)
    local = _contrast(_cells(tiles, _CELL))
    flat = local < _FLAT * (np.median(noise) + FLOOR)
    out["flat"] = flat.sum(axis=(1, 2)) / np.isfinite(local).sum(axis=(1, 2))
    out |= {n: _log(quantile(local, q, axis=(1, 2))) for n, q in (("quiet", 0.1), ("typical", 0.5), ("busy", 0.9))}
    return out


def band_power(tiles: Array) -> Array:
    """Power in each band of :data:`BAND_EDGES`, (count, bands); it adds up to the variance of a tile.

    ``tiles`` is (count, side, side) with mean 0; NaN counts as nothing. A periodogram under a Hann window, of tiles
    freed of their slope.
    """
    side = tiles.shape[1]
    known = np.isfinite(tiles)
    values = np.where(known, tiles, 0.0)
    ramp = np.linspace(-0.5, 0.5, side)
    steep = 1.0 / (side * (ramp**2).sum())
    for line in (ramp[:, None], ramp[None, :]):
        slope = (values * line).sum(axis=(1, 2), keepdims=True) * steep
        values = np.where(known, values - slope * line, 0.0)
    hann = np.hanning(side + 2)[1:-1]
    window = np.multiply.outer(hann, hann) * known
    weight = window.sum(axis=(1, 2), keepdims=True)
    values = (values - (values * window).sum(axis=(1, 2), keepdims=True) / weight) * window
    power = np.abs(np.fft.rfft2(values)) ** 2 / ((window**2).sum(axis=(1, 2)) * side**2)[:, None, None]
    band, count = _bands(side)
    return np.stack([(power * (count * (band == k))).sum(axis=(1, 2)) for k in range(len(BANDS))], axis=1)


def white_shares(side: int = TILE) -> Array:
    """Share of the power of white noise in each band."""
    band, count = _bands(side)
    shares = np.bincount(band.ravel(), count.ravel(), len(BANDS))
    return shares / shares.sum()


# ---------------------------------------------------------------------------------------------- steps
def _log(values: Array) -> Array:
    return np.log(values + FLOOR)


def _second(values: Array, axis: int) -> Array:
    """Second differences along an axis."""
    return np.diff(values, 2, axis=axis)


def _gradients(tiles: Array) -> tuple[Array, Array]:
    """Sobel derivatives, grey levels per pixel, without the outermost pixels."""
    along_x = tiles[:, 2:] + 2 * tiles[:, 1:-1] + tiles[:, :-2]
    along_y = tiles[:, :, 2:] + 2 * tiles[:, :, 1:-1] + tiles[:, :, :-2]
    return (along_y[:, 2:] - along_y[:, :-2]) / 8, (along_x[:, :, 2:] - along_x[:, :, :-2]) / 8


def _orientation(gy: Array, gx: Array) -> Array:
    """Coherence of the structure tensor in cells of about half a tile, weighted by their gradients."""
    side = max(1, gy.shape[1] // 2)
    yy, xx, xy = (_cells(v, side).sum(axis=(2, 4)) for v in (gy * gy, gx * gx, gy * gx))
    aligned = np.hypot(yy - xx, 2 * xy).sum(axis=(1, 2))
    return aligned / ((yy + xx).sum(axis=(1, 2)) + FLOOR**2)


def _skew(first: Array, second: Array, third: Array) -> Array:
    """From the first three moments."""
    variance = second - first**2
    return (third - 3 * first * variance - first**3) / (variance + FLOOR**2) ** 1.5


def _cells(tiles: Array, side: int) -> Array:
    """(count, rows, side, columns, side); what is left over at the end of a tile is dropped."""
    n, kept = len(tiles), tiles.shape[1] // side
    return tiles[:, : kept * side, : kept * side].reshape(n, kept, side, kept, side)


def _contrast(cells: Array) -> Array:
    """Standard deviation of every cell; NaN with fewer than two pixels."""
    known = np.isfinite(cells)
    count = known.sum(axis=(2, 4), keepdims=True)
    middle = np.where(known, cells, 0.0).sum(axis=(2, 4), keepdims=True) / np.maximum(count, 1)
    square = np.where(known, cells - middle, 0.0) ** 2
    spread = np.sqrt(square.sum(axis=(2, 4)) / np.maximum(count[:, :, 0, :, 0], 1))
    return np.where(count[:, :, 0, :, 0] > 1, spread, np.nan)


def _bands(side: int) -> tuple[NDArray[np.intp], Array]:
    """Band of every coefficient of ``rfft2`` and how often it counts (0 for the mean)."""
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    band = np.searchsorted(np.array(BAND_EDGES[:0:-1]), radius - 1e-12)
    count = np.full(radius.shape, 2.0)
    count[:, 0] = 1.0
    if side % 2 == 0:
        count[:, -1] = 1.0
    count[0, 0] = 0.0
    return len(BANDS) - 1 - band, count


def _tiles(array: Any, mask: Bool | None, tile: int, most: int) -> tuple[Array, float]:
    """Tiles (count, tile, tile), NaN where nothing is known, and the area they stand for, in tiles."""
    corners = _corners(array.shape, tile, most) if mask is None else _masked_corners(np.asarray(mask, bool), tile, most)
    found = np.stack([_tile(array, mask, y, x, tile) for y, x in corners]) if corners else np.zeros((0, tile, tile))
    known = np.isfinite(_second(_second(found, 1), 2)).mean(axis=(1, 2))  # whole neighbourhoods of 3 x 3
    least = next((s for s in _SHARES if (known >= s).any()), 2.0)
    inside = math.prod(min(tile, n) for n in array.shape) * max(1, len(found))
    share = np.count_nonzero(np.isfinite(found)) / inside if mask is None else 1.0
    area = math.prod(array.shape) * share if mask is None else np.count_nonzero(mask)
    return found[known >= least], area / tile**2


def _corners(shape: tuple[int, ...], tile: int, most: int) -> list[tuple[int, int]]:
    """Evenly spaced tiles; overlapping by half where there are few, with gaps where there are too many."""
    counts = [max(1, n // tile) for n in shape]
    if counts[0] * counts[1] < _FEW:
        counts = [max(1, 2 * n // tile - 1) for n in shape]
    thinned = max(1.0, (counts[0] * counts[1] / most) ** 0.5)
    rows, columns = (
        np.rint(np.linspace(0, max(n - tile, 0), max(1, int(c / thinned)))).astype(int).tolist()
        for n, c in zip(shape, counts, strict=True)
    )
    return [(y, x) for y in rows for x in columns]


def _masked_corners(mask: Bool, tile: int, most: int) -> list[tuple[int, int]]:
    """Overlapping tiles that the mask fills at least by half, or as far as it can."""
    step = tile // 4 if np.count_nonzero(mask) < _FEW * tile**2 else tile // 2
    rows, columns = (np.array(sorted({*range(0, max(n - tile, 0) + 1, step), max(n - tile, 0)})) for n in mask.shape)
    total = np.pad(mask, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    ends = [np.minimum(first + tile, n) for first, n in zip((rows, columns), mask.shape, strict=True)]
    down = total[ends[0]] - total[rows]
    filled = (down[:, ends[1]] - down[:, columns]) / tile**2
    least = next((s for s in _SHARES if (filled >= s).any()), 2.0)
    found = [(int(rows[a]), int(columns[b])) for a, b in np.argwhere(filled >= least)]
    return found if len(found) <= most else [found[k] for k in _spaced(len(found), most)]


def _tile(array: Any, mask: Bool | None, y: int, x: int, tile: int) -> Array:
    box = slice(y, y + tile), slice(x, x + tile)
    part = np.asarray(array[box], np.float64)
    known = np.isfinite(part) if mask is None else np.isfinite(part) & mask[box]
    out = np.full((tile, tile), np.nan)
    out[: part.shape[0], : part.shape[1]] = np.where(known, part, np.nan)
    return out


def _masked(array: Any, mask: Bool) -> Array:
    """The known grey levels under a mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=k)) for k in (1, 0))
    if not len(rows):
        return np.zeros(0)
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    values = np.asarray(array[box], np.float64)[mask[box]]
    return values[np.isfinite(values)]


def _spaced(count: int, kept: int) -> NDArray[np.intp]:
    """``kept`` of ``count`` indices, evenly spaced."""
    return np.rint(np.linspace(0, count - 1, kept)).astype(np.intp)
