"""Where does a map stop being like what a model learned from? The look of every part of it against the training area's.

A part is compared exactly as a whole map is (:mod:`finescan.trust.likeness`). Parts of 128 px are the smallest that can
be told apart: on six simulated materials, no part of that size of the same sample was called unlike, and 27 of 30 other
materials were found in every part; with 64 px, one part in a hundred and 15 of 30.

Where a sample differs from place to place (smooth hills around a milled site), hardly any place is like the whole of
it, those of the training area included. Then a part is compared with the places of the training area one by one, and
the likest counts. That finds less (a place tells less than a whole area), so it is done for such samples only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.likeness import compare_looks
from finescan.values import Look, look_of
from finescan.values.look import PLACE_PX as PART_PX

MOST_PARTS = 32  # along each side; parts of larger maps are larger
_TILES = 64  # of one part that are looked at
VARIED = 0.05  # share of the training area's own places that are unlike the whole of it, from which it is uneven


@dataclass(frozen=True)
class PartLikeness:
    """The verdict part by part.

    Parameters
    ----------
    distance : (rows, columns) float32, one number per part: 1 is the limit between like and unlike; NaN where nothing
        is recorded, or all of one grey level. The last part of an axis takes what is left over.
    side : of a part, pixels.
    shape : of the map.
    """

    distance: NDArray[np.float32]
    side: int
    shape: tuple[int, int]

    @property
    def unlike(self) -> NDArray[np.bool_]:
        """Which parts are unlike."""
        return np.asarray(self.distance > 1)

    @property
    def share(self) -> float:
        """Of the parts that could be compared, how many are unlike, 0 to 1; NaN when none could be."""
        known = np.isfinite(self.distance)
        return float(self.unlike[known].mean()) if known.any() else math.nan

    def box(self, row: int, column: int) -> tuple[slice, slice]:
        """A part in pixels of the map."""
        ends = [
            n if k == count - 1 else (k + 1) * self.side
            for k, n, count in zip((row, column), self.shape, self.distance.shape, strict=True)
        ]
        return slice(row * self.side, ends[0]), slice(column * self.side, ends[1])

    def worst(self, most: int = 5) -> list[tuple[tuple[slice, slice], float]]:
        """The most unlike parts and their distances; none of those that are like."""
        unlike = sorted(
            ((float(self.distance[k]), k) for k in zip(*np.nonzero(self.unlike), strict=True)), reverse=True
        )
        return [(self.box(int(row), int(column)), d) for d, (row, column) in unlike[:most]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        known = int(np.isfinite(self.distance).sum())
        worst = [
            {"start_px": [b.start for b in box], "stop_px": [b.stop for b in box], "distance": d}
            for box, d in self.worst()
        ]
        return {"side_px": self.side, "parts": known, "unlike_share": self.share if known else None, "worst": worst}


def compare_parts(array: Any, card: Look, places: Sequence[Look] = (), *, side: int | None = None) -> PartLikeness:
    """Which parts of a map are unlike the training area of a model.

    Parameters
    ----------
    array : (rows, columns) real grey levels at the pixel size the network reads; numpy, memory map, zarr or anything of
        that shape that slices. NaN is left out.
    card : look of the training area.
    places : looks of places of the training area; they count where more than one in twenty is unlike the whole of it.
    side : of a part, pixels; None = 128, or more for maps of more than 32 such parts along a side.

    Raises
    ------
    InputError : a map smaller than one part.
    """
    shape = (int(array.shape[0]), int(array.shape[1]))
    side = side or max(PART_PX, math.ceil(max(shape) / MOST_PARTS))
    if min(shape) < side:
        raise InputError(
            f"A map is compared in parts of {side} x {side} px, but this one has {shape[0]} x {shape[1]} px. Compare "
            "it as a whole (compare_looks)."
        )
    seen = [card]
    if places and float(np.mean([compare_looks(place, card).distance > 1 for place in places])) > VARIED:
        seen += places
    found = PartLikeness(np.full([n // side for n in shape], np.nan, np.float32), side, shape)
    for row, column in np.ndindex(found.distance.shape):
        found.distance[row, column] = _distance(array[found.box(row, column)], seen)
    return found


def _distance(part: Any, seen: Sequence[Look]) -> float:
    try:
        look = look_of(part, tile=seen[0].tile, most=_TILES)
    except InputError:  # nothing recorded, or nothing but one grey level
        return math.nan
    return min(compare_looks(look, one).distance for one in seen)


def parts_sentence(parts: Mapping[str, Any]) -> str:
    """The share of unlike parts, and where the worst of them lies, in words; empty when all are like or all unlike.

    ``parts`` is :meth:`PartLikeness.to_dict`.
    """
    share = parts["unlike_share"]
    if not share or share == 1:
        return ""
    worst = parts["worst"][0]
    (y0, x0), (y1, x1) = worst["start_px"], worst["stop_px"]
    return (
        f"{100 * share:.0f} % of the map ({round(share * parts['parts'])} of {parts['parts']} parts of "
        f"{parts['side_px']} px) is unlike what the model learned from, most of all rows {y0} to {y1}, columns {x0} to "
        f"{x1} (distance {worst['distance']:.1f}, limit 1). Be careful there, or record a fine scan there."
    )
