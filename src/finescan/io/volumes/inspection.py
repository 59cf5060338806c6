"""What is in a volume, from a few slices: facts, and whether it has the round field of view of a tomogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.io.volumes.pieces import some_slices
from finescan.values import Circle, Image

_SLICES = 9
_WINDOW = 1448  # 2 Mpx per slice
#: Side of a corner block over the side of the slice: all of it lies outside the inscribed circle (limit 0.146).
_CORNER = 0.1


@dataclass(frozen=True)
class Sample:
    """Up to nine slices, cut to at most 1448 x 1448 in the middle, and which of their pixels count.

    Parameters
    ----------
    planes : (slices, rows, columns). inside : (rows, columns), False outside the round field of view.
    circular : whether the field of view is round.
    """

    planes: NDArray[Any]
    inside: NDArray[np.bool_]
    circular: bool

    @property
    def values(self) -> NDArray[Any]:
        """All pixels that count, NaN included."""
        return self.planes[:, self.inside]

    @property
    def middle(self) -> NDArray[Any]:
        """The largest square of the middle slice inside the circle; the whole one when the field is not round."""
        plane = self.planes[0]
        if not self.circular:
            return plane
        cut = [slice(round(0.15 * n), n - round(0.15 * n)) for n in plane.shape]
        return plane[cut[0], cut[1]]

    @property
    def constant(self) -> int:
        """Number of sampled slices with a single grey level (or none) inside."""
        spans = (np.ptp(v[~np.isnan(v)] if v.dtype.kind == "f" else v) if v.size else 0 for v in self.values)
        return sum(1 for s in spans if s == 0)


def sample(image: Image) -> Sample:
    """A few slices of a volume; memory stays below 150 MB whatever its size."""
    depth, rows, columns = image.grid.shape
    numbers = some_slices(depth, min(_SLICES, depth))
    round_one = has_round_field(image, numbers)
    window = [slice((n - k) // 2, (n - k) // 2 + k) for n, k in ((n, min(n, _WINDOW)) for n in (rows, columns))]
    planes = np.stack([np.asarray(image.data[z, window[0], window[1]]) for z in numbers])
    inside = np.ones(planes.shape[1:], bool)
    if round_one:
        inside = Circle.inscribed(image.grid).mask(image.grid)[window[0], window[1]]
    return Sample(planes, inside, round_one)


def has_round_field(image: Image, numbers: list[int]) -> bool:
    """Whether the corners of square slices hold nothing: NaN, or one single grey level, while the middle varies."""
    _, rows, columns = image.grid.shape
    if not 0.9 <= rows * image.grid.pixel_size_nm[1] / (columns * image.grid.pixel_size_nm[2]) <= 1.1:
        return False
    high, wide = max(1, int(_CORNER * rows)), max(1, int(_CORNER * columns))
    corners = [
        np.ravel(image.data[z, y, x])
        for z in numbers
        for y in (slice(0, high), slice(rows - high, rows))
        for x in (slice(0, wide), slice(columns - wide, columns))
    ]
    found = np.unique(np.concatenate(corners))  # NaN counts as one value
    if found.size != 1:
        return False
    middle = np.asarray(image.data[numbers[0], rows // 4 : -rows // 4 or None, columns // 4 : -columns // 4 or None])
    return bool(np.unique(middle).size > 1)
