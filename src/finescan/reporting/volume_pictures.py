"""From lazy volumes to the pictures of a page: reads only the slices shown, encodes them one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.reporting.pictures import grey_window, jpeg_data_uri, png_data_uri, to_levels
from finescan.reporting.volume import VolumeLayer, VolumeScene
from finescan.values import Grid

CUTS = {"xy": (1, 2), "xz": (0, 2), "yz": (0, 1)}  # rows and columns of each cut's picture
_FEWEST = 33
_AT_ONCE = 1 << 24  # voxels of slices read together


@dataclass(frozen=True)
class Quality:
    """How pictures are stored: ``jpeg`` quality (None = PNG), longest side, most slider stops."""

    jpeg: int | None
    max_px: int
    stops: int


@dataclass
class Album:
    """The pictures of a scene, every one stored once, known by number."""

    uris: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def add(self, uri: str) -> int:
        """Number of a picture."""
        if uri not in self._known:
            self._known[uri] = len(self.uris)
            self.uris.append(uri)
        return self._known[uri]


@dataclass(frozen=True)
class Part:
    """The part of a volume a scene shows: whole voxels, index ranges per axis on the volume's own grid."""

    grid: Grid
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @classmethod
    def of(cls, grid: Grid, scene: Grid) -> Part | None:
        """None when the volume lies outside the scene."""
        low = grid.to_index(scene.edge_nm) + 0.5
        high = grid.to_index(np.asarray(scene.edge_nm) + np.asarray(scene.extent_nm)) + 0.5
        start = tuple(max(0, math.floor(v + 1e-6)) for v in low)
        stop = tuple(min(n, math.ceil(v - 1e-6)) for v, n in zip(high, grid.shape, strict=True))
        return cls(grid, start, stop) if all(a < b for a, b in zip(start, stop, strict=True)) else None

    def nearest(self, nm: float, axis: int) -> int | None:
        """Index of the voxel a position along one axis lies in; None when outside."""
        i = math.floor((nm - self.grid.edge_nm[axis]) / self.grid.pixel_size_nm[axis] + 1e-6)
        return i if self.start[axis] <= i < self.stop[axis] else None

    def middle(self, axis: int) -> int:
        """Index of the middle along one axis."""
        return (self.start[axis] + self.stop[axis]) // 2

    def geometry(self, cut: str, scene: Grid, block: int) -> dict[str, list[float]]:
        """Pixel size and offset (rows, columns) of a cut's pictures, counted from the scene's edge."""
        axes = CUTS[cut]
        edge = [self.grid.edge_nm[a] + self.start[a] * self.grid.pixel_size_nm[a] - scene.edge_nm[a] for a in axes]
        return {"pixel": [block * self.grid.pixel_size_nm[a] for a in axes], "offset": edge}


# ------------------------------------------------------------------ reading
def planes(array: Any, part: Part, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[Any]]]:
    """XY slices of a lazy volume. Of a chunked one, every chunk is read once, a row of chunks at a time."""
    deep, high = _chunk(array)
    ys, xs = (slice(a, b) for a, b in zip(part.start[1:], part.stop[1:], strict=True))
    for group in _groups(indices, deep, max(1, _AT_ONCE // (math.prod(array.shape[1:])))):
        if len(group) == 1 or high == 0:
            for z in group:
                yield z, np.asarray(array[z : z + 1, ys, xs])[0]
            continue
        rows = [slice(max(y, ys.start), min(y + high, ys.stop)) for y in range(ys.start // high * high, ys.stop, high)]
        chosen = [z - group[0] for z in group]
        strips = [np.asarray(array[group[0] : group[-1] + 1, row, xs])[chosen] for row in rows]
        yield from zip(group, np.concatenate(strips, axis=1), strict=True)


def _chunk(array: Any) -> tuple[int, int]:
    """Height of a volume's chunks along z and y; (1, 0) when it has none."""
    chunks = getattr(array, "chunks", None)
    return (int(chunks[0]), int(chunks[1])) if chunks is not None else (1, 0)


def _groups(indices: Sequence[int], deep: int, most: int) -> list[list[int]]:
    """Slices in one layer of chunks, at most so many together."""
    groups: list[list[int]] = []
    for z in indices:
        if groups and z // deep == groups[-1][0] // deep and len(groups[-1]) < most:
            groups[-1].append(z)
        else:
            groups.append([z])
    return groups


def cut_of(array: Any, part: Part, cut: str, index: int) -> NDArray[Any]:
    """One XZ or YZ cut, ``index`` along the axis that is cut."""
    fixed = ({0, 1, 2} - set(CUTS[cut])).pop()
    where = [slice(a, b) for a, b in zip(part.start, part.stop, strict=True)]
    where[fixed] = slice(index, index + 1)
    return np.asarray(array[tuple(where)]).squeeze(fixed)


def shrunk(data: NDArray[Any], block: int, *, flags: bool = False) -> NDArray[Any]:
    """Means (or'ed bits for flags) over square blocks; unchanged for a block of 1. NaN only where all are NaN."""
    if block == 1:
        return data
    rows, columns = (np.arange(0, n, block) for n in data.shape)
    if flags:
        return np.bitwise_or.reduceat(np.bitwise_or.reduceat(data, rows, 0), columns, 1)

    def sums(v: NDArray[Any]) -> NDArray[np.float64]:
        return np.add.reduceat(np.add.reduceat(v, rows, 0, dtype=np.float64), columns, 1)

    finite = np.isfinite(data)
    count = sums(finite)
    total = sums(np.where(finite, data, 0))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


# ------------------------------------------------------------------ how much fits
def choose_quality(scene: VolumeScene, samples: Mapping[str, NDArray[Any]], window: tuple[float, float]) -> Quality:
    """The best way of storing that stays within the scene's budget, judged by one XY slice per layer."""
    n = len(scene.stops())
    fewer, whole = min(n, _FEWEST), scene.max_px
    ways = [
        Quality(None, whole, n),
        Quality(90, whole, n),
        Quality(80, whole, n),
        Quality(80, whole, fewer),
        Quality(65, whole, fewer),
    ]
    ways += [Quality(q, max(16, whole // k), m) for k in (2, 3, 4) for q, m in ((85, n), (80, fewer))]
    budget = scene.budget_mb * 1e6
    for way in ways:
        if sum(_cost(scene, layer, samples.get(layer.name), way, window) for layer in scene.layers) <= budget:
            return way
    return ways[-1]


def _cost(
    scene: VolumeScene, layer: VolumeLayer, sample: NDArray[Any] | None, way: Quality, common: tuple[float, float]
) -> float:
    part = Part.of(layer.image.grid, scene.grid)
    if sample is None or part is None:
        return 0.0
    stops = min(way.stops, part.stop[0] - part.start[0])
    uri, mask = encode(shrunk(sample, block_of(part, way.max_px)), layer.window or common, way.jpeg)
    depth = 2 * (part.stop[0] - part.start[0]) / max(sample.shape)  # the XZ and YZ cuts
    return (1.1 * stops + depth) * len(uri) + len(mask or "")


def block_of(part: Part, max_px: int) -> int:
    """Voxels per pixel of a layer's pictures, one number for its three cuts."""
    return max(1, -(-max(b - a for a, b in zip(part.start, part.stop, strict=True)) // max_px))


# ------------------------------------------------------------------ encoding
def encode(data: NDArray[Any], window: tuple[float, float], jpeg: int | None) -> tuple[str, str | None]:
    """A picture, and a second one that is 0 where the first has no value (None when it has values everywhere).

    uint8 data stay as they are in a PNG; everything else becomes levels 0 to 255 of the window.
    """
    missing = ~np.isfinite(data) if np.issubdtype(data.dtype, np.floating) else None
    mask = None
    if missing is not None and missing.any():
        mask = png_data_uri(np.where(missing, 0, 255).astype(np.uint8))
        # a JPEG of a rim to black would ring into the picture
        data = np.where(missing, np.nanmedian(data) if not missing.all() else window[0], data)
    levels = data if data.dtype == np.uint8 else to_levels(data, window)
    return (png_data_uri(levels) if jpeg is None else jpeg_data_uri(levels, quality=jpeg)), mask


def common_window(scene: VolumeScene, cuts: Mapping[str, Sequence[NDArray[Any]]]) -> tuple[float, float]:
    """Grey levels shown black and white: of the three cuts of every grey layer without a window of its own."""
    return grey_window(c for layer in scene.layers if layer.window is None for c in cuts.get(layer.name, ()))
