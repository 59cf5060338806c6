"""Plausible fine images: the enhanced one plus errors like those that were measured where a fine scan exists.

A measure of a segmented picture does not follow from the error of every pixel: neighbours are wrong together, noise
makes specks, and a smooth picture lacks both. So whole fields of errors are drawn. They are put together of pieces of
the errors that held-out area showed, in units of the spread: their correlation in space, their noise and their rare
large values are those that were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError

PIECE_PX = 48  # largest edge of a piece of errors
SMALLEST_PX = 12
OVERLAP = 0.25  # of a piece: where two are blended

Floats = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class ResidualLibrary:
    """Errors of held-out area in units of the spread.

    Parameters
    ----------
    fields : (fine - enhanced) / spread, one array per held-out box.
    corners : per field, (n, 2) upper-left corners of the pieces of ``side`` pixels that are known everywhere.
    side : edge of a piece, pixels.
    """

    fields: tuple[Floats, ...]
    corners: tuple[NDArray[np.intp], ...]
    side: int

    @classmethod
    def of(cls, parts: Iterable[tuple[Floats, Bool]], side: int = PIECE_PX) -> ResidualLibrary:
        """From (standardised error, known) of boxes of held-out area, both (h, w).

        Pieces are as large as ``side`` or as the boxes allow, but not smaller than 12 px.

        Raises
        ------
        InputError : no box holds a piece that is known everywhere.
        """
        boxes = [(np.where(k & np.isfinite(e), e, 0).astype(np.float32), k & np.isfinite(e)) for e, k in parts]
        while True:
            found = [_corners(known, side) for _, known in boxes]
            if any(len(c) for c in found):
                break
            side = int(side * 0.75)
            if side < SMALLEST_PX:
                raise InputError(
                    f"Errors are drawn in pieces of at least {SMALLEST_PX} px, but no held-out box is that large. "
                    "Record a larger fine scan."
                )
        kept = [k for k, c in enumerate(found) if len(c)]
        return cls(tuple(boxes[k][0] for k in kept), tuple(found[k] for k in kept), side)

    @property
    def pixels(self) -> int:
        """Pixels of the held-out boxes."""
        return sum(f.size for f in self.fields)

    def pieces(self, count: int, rng: np.random.Generator) -> Iterable[Floats]:
        """Random pieces, turned upside down and mirrored at random."""
        sizes = np.array([len(c) for c in self.corners], float)
        for box in rng.choice(len(sizes), count, p=sizes / sizes.sum()):
            y, x = self.corners[box][rng.integers(len(self.corners[box]))]
            piece = self.fields[box][y : y + self.side, x : x + self.side]
            yield piece[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


def error_field(shape: Sequence[int], library: ResidualLibrary, seed: int | Sequence[int]) -> Floats:
    """A field of errors in units of the spread, put together of random pieces.

    Where pieces meet they fade into each other with weights whose squares add to one: the variance stays.
    """
    rng = np.random.default_rng(seed)
    side, overlap = library.side, int(library.side * OVERLAP)
    step = side - overlap
    counts = [-(-int(n) // step) + 1 for n in shape]
    out = np.zeros([c * step + overlap for c in counts], np.float32)
    window = _window(side, overlap)
    for k, piece in enumerate(library.pieces(counts[0] * counts[1], rng)):
        y, x = (step * v for v in divmod(k, counts[1]))
        out[y : y + side, x : x + side] += window * piece
    return out[overlap : overlap + shape[0], overlap : overlap + shape[1]]


def plausible(enhanced: Floats, spread: Floats, library: ResidualLibrary, *, seed: int | Sequence[int]) -> Floats:
    """One plausible fine image.

    Parameters
    ----------
    enhanced : (h, w) grey levels.
    spread : (h, w) expected size of the error, the one the library's errors were divided by.
    library : errors of held-out area.
    seed : of the drawing.

    Returns
    -------
    (h, w) float32 in the same grey levels.
    """
    if enhanced.shape != spread.shape or enhanced.ndim != 2:
        raise InputError(
            f"An enhanced picture and its spread have one 2-D shape, but {enhanced.shape} and {spread.shape} came."
        )
    return np.asarray(enhanced, np.float32) + spread * error_field(enhanced.shape, library, seed)


def _corners(known: Bool, side: int) -> NDArray[np.intp]:
    """Upper-left corners of all squares that are known everywhere."""
    if min(known.shape) < side:
        return np.zeros((0, 2), np.intp)
    total = np.pad(known.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return np.argwhere(sums == side * side)


def _window(side: int, overlap: int) -> Floats:
    """Weights of a piece; the squares of those of neighbours add to one."""
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1))
    line = np.concatenate([ramp, np.ones(side - 2 * overlap), ramp[::-1]])
    return np.asarray(line[:, None] * line[None], np.float32)
