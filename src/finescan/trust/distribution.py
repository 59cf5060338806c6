"""Scores tile by tile: how often a result is good, not only how good it is on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE
from finescan.trust.metrics import METRICS, SMALLEST
from finescan.values import Region

TILE_PX = (64, 48, 32)  # sides tried when none is given: the first that gives enough tiles
ENOUGH = 24


@dataclass(frozen=True)
class TileScores:
    """One number per tile and contestant.

    Parameters
    ----------
    metric : a name from METRICS.
    tile_px : side of the tiles, pixels of the result.
    starts : (tiles, 2) first row and column of every tile.
    scores : contestant -> (tiles,) float64, all on the same tiles and pixels.
    """

    metric: str
    tile_px: int
    starts: NDArray[np.int64]
    scores: Mapping[str, NDArray[np.float64]]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.starts)

    def improved(self, candidate: str, baseline: str) -> float:
        """Share of the tiles, 0 to 1, on which the candidate is better than the baseline."""
        one, other = self.scores[candidate], self.scores[baseline]
        return float(np.mean(one > other if METRICS[self.metric].higher_is_better else one < other))

    def summary(self, candidate: str) -> dict[str, Any]:
        """Plain numbers for JSON: mean, standard deviation, quartiles per contestant, and how often the candidate wins.

        Parameters
        ----------
        candidate : the others are what it is compared with.
        """
        return {
            "metric": self.metric,
            "tile_px": self.tile_px,
            "tiles": self.count,
            "scores": {name: _spread(values) for name, values in self.scores.items()},
            "improved_share": {n: self.improved(candidate, n) for n in self.scores if n != candidate},
        }


def tile_scores(
    results: Mapping[str, NDArray],
    reference: NDArray,
    *,
    data_range: float,
    mask: NDArray[np.bool_] | None = None,
    regions: Sequence[Region] | None = None,
    tile: int | None = None,
    metric: str = "ssim",
) -> TileScores:
    """A metric on every small tile of the held-out area.

    Parameters
    ----------
    results : contestant -> image of the reference's shape; NaN = not available.
    reference : the recorded fine scan.
    data_range : grey levels that the metric refers to; never guessed.
    mask : True where pixels may count; None = all. A tile counts if half of its pixels are known in all images.
    regions : boxes that are cut into tiles, each from its own middle; None = everything.
    tile : side of a tile, pixels; None = 64, or 48 or 32 where that would give fewer than 24 tiles.
    metric : a name from METRICS.

    Raises
    ------
    InputError : an unknown metric, shapes that differ, a tile below 16 pixels, or no tile at all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(100, 20, (128, 128))
    >>> results = {"bicubic": truth + rng.normal(0, 9, truth.shape), "enhanced": truth + rng.normal(0, 3, truth.shape)}
    >>> scores = tile_scores(results, truth, data_range=100.0, tile=32)
    >>> scores.count, scores.improved("enhanced", "bicubic")
    (16, 1.0)
    """
    truth, images = np.asarray(reference), {n: np.asarray(v) for n, v in results.items()}
    _check(images, truth, tile, metric)
    known = np.isfinite(truth) if mask is None else np.isfinite(truth) & np.asarray(mask, bool)
    for image in images.values():
        known &= np.isfinite(image)
    side, boxes = _tiles(known, regions, (tile,) if tile else TILE_PX)
    if not boxes:
        raise InputError(
            f"No tile of {side} x {side} px has half of its pixels known in all images. Pass a smaller tile, or check "
            "the mask."
        )
    score = METRICS[metric]
    scores = {
        name: np.array([score(image[b], truth[b], data_range=data_range, mask=known[b]) for b in boxes])
        for name, image in images.items()
    }
    starts = np.array([[s.start for s in b] for b in boxes], np.int64)
    sound = np.all([np.isfinite(v) for v in scores.values()], axis=0)  # a tile known at its border only has no score
    return TileScores(metric, side, starts[sound], {n: v[sound] for n, v in scores.items()})


def _check(images: Mapping[str, NDArray], truth: NDArray, tile: int | None, metric: str) -> None:
    if metric not in METRICS:
        raise InputError(f"A metric is one of {', '.join(METRICS)}, but {metric!r} came.")
    if not images or truth.ndim != 2:
        raise InputError("Tiles need at least one result and a 2-D reference. Pass pictures.")
    for name, image in images.items():
        if image.shape != truth.shape:
            raise InputError(f"All images must have the reference's {truth.shape} px, but {name} has {image.shape}.")
    if tile is not None and tile < SMALLEST:
        raise InputError(f"A tile needs at least {SMALLEST} px per axis, but {tile} came.")


def _tiles(
    known: NDArray[np.bool_], regions: Sequence[Region] | None, sides: Sequence[int]
) -> tuple[int, list[tuple[slice, slice]]]:
    """The first side that gives enough tiles (else the last), and the tiles that count."""
    areas = [(slice(0, known.shape[0]), slice(0, known.shape[1]))] if regions is None else [r.slices for r in regions]
    for side in sides:
        boxes = [b for area in areas for b in _cut(area[0], area[1], side) if known[b].mean() >= VALID_SHARE]
        if len(boxes) >= ENOUGH:
            break
    return side, boxes


def _cut(rows: slice, columns: slice, side: int) -> list[tuple[slice, slice]]:
    """Whole tiles side by side around the middle of a box."""
    starts = []
    for s in (rows, columns):
        count = (s.stop - s.start) // side
        first = s.start + (s.stop - s.start - count * side) // 2
        starts.append([first + k * side for k in range(count)])
    return [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]


def _spread(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, sample standard deviation and quartiles."""
    if not values.size:
        return dict.fromkeys(("mean", "std", "q1", "median", "q3"))
    q1, median, q3 = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    std = float(values.std(ddof=1)) if values.size > 1 else None
    return {"mean": float(values.mean()), "std": std, "q1": q1, "median": median, "q3": q3}
