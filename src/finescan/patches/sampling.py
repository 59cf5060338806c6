"""PatchSampler: random training patches, reproducible and resumable to the bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches.pieces import PatchSet, Piece
from finescan.patches.split import TRAIN

LEAST_WEIGHT = 0.25  # share of a patch's kept pixels that must count
SYMMETRIES = {"none": (0,), "flips": (0, 1, 2, 3), "all": tuple(range(8))}

Batch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class PatchSampler:
    """Draws batches from the training role of a PatchSet.

    A patch of ``size`` coarse pixels is read; the loss sees what is left after ``crop`` coarse pixels are taken off
    each side, and all of that lies in the training role.

    Parameters
    ----------
    patches : what to draw from.
    size : side of a patch, coarse pixels; made smaller where no such patch fits.
    crop : border that only gives context, coarse pixels.
    augment : "all" eight symmetries of the square, "flips" (what an anisotropic scan allows) or "none".
    seed : the sequence of batches depends on nothing else.
    """

    def __init__(
        self, patches: PatchSet, *, size: int = 32, crop: int = 2, augment: str = "all", seed: int = 0
    ) -> None:
        if augment not in SYMMETRIES:
            raise InputError(f"augment is one of {', '.join(SYMMETRIES)}, but {augment!r} came.")
        self._patches = patches
        self._symmetries = SYMMETRIES[augment]
        self.crop = crop
        self.size, self._places = _fitting(patches.pieces, size, crop)
        counts = [len(p) for p in self._places]
        self._ends = np.cumsum(counts)
        self._odds = _odds(patches.chances, counts)
        self._rng = np.random.default_rng(seed)

    @property
    def positions(self) -> int:
        """Number of different patch positions."""
        return int(self._ends[-1])

    def batch(self, count: int) -> Batch:
        """Coarse (count, s, s) grey levels, fine (count, f * s, f * s) ones, and the weight of every fine pixel."""
        return self.cut(*self.draw(count))

    def draw(self, count: int) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """``count`` random positions (0 up to :attr:`positions`) and symmetries, for :meth:`cut`."""
        if self._odds is None:
            draws = self._rng.integers(0, self.positions, count)
        else:
            pieces = np.searchsorted(self._odds, self._rng.random(count), side="right")
            starts = np.concatenate([[0], self._ends])
            draws = self._rng.integers(starts[pieces], starts[pieces + 1])
        return draws, self._rng.choice(self._symmetries, count)

    def cut(self, draws: NDArray[np.integer], turns: NDArray[np.integer]) -> Batch:
        """The patches at positions, each turned by its symmetry; see :meth:`batch`."""
        cuts = [self._cut(int(d), int(t)) for d, t in zip(draws, turns, strict=True)]
        lr, hr, weight = (np.stack(parts) for parts in zip(*cuts, strict=True))
        return lr, hr, weight

    def coarse(self, draws: NDArray[np.integer]) -> NDArray[np.float32]:
        """The coarse part alone of the patches at positions, not turned: (n, s, s)."""
        parts = []
        for draw in draws:
            k, y, x = self.place(int(draw))
            parts.append(self._patches.pieces[k].lr[y : y + self.size, x : x + self.size])
        return np.stack(parts)

    def place(self, draw: int) -> tuple[int, int, int]:
        """Piece, row and column (coarse pixels of the piece) of a position's upper left corner."""
        k = int(np.searchsorted(self._ends, draw, side="right"))
        y, x = self._places[k][draw - (self._ends[k - 1] if k else 0)]
        return k, int(y), int(x)

    @property
    def places(self) -> list[NDArray[np.intp]]:
        """Upper left corners (n, 2) per piece; positions are counted through them in this order."""
        return self._places

    def state_dict(self) -> dict[str, Any]:
        """State of the random numbers; the text form survives any file format."""
        return {"random": json.dumps(self._rng.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        self._rng.bit_generator.state = json.loads(state["random"])

    def _cut(self, draw: int, turn: int) -> Batch:
        k, y, x = self.place(draw)
        piece = self._patches.pieces[k]
        f, s, c = piece.factor, self.size, self.crop
        fine = (slice(y * f, (y + s) * f), slice(x * f, (x + s) * f))
        weight = np.zeros((s * f, s * f), np.float32)
        inner = slice(c * f, (s - c) * f)
        weight[inner, inner] = piece.weight[fine][inner, inner]
        lr, hr, weight = (turned(a, turn) for a in (piece.lr[y : y + s, x : x + s], piece.hr[fine], weight))
        return lr, hr, weight


def _odds(chances: Sequence[float], counts: Sequence[int]) -> NDArray[np.float64] | None:
    """Summed probability of every piece up to and with each; None = by the number of positions.

    A piece without any position is never drawn from.
    """
    if not chances:
        return None
    odds = np.where(np.asarray(counts) > 0, np.asarray(chances, float), 0.0)
    if not odds.sum() > 0:
        raise InputError("Every piece that has room for a patch has a chance of 0. Give one of them a positive chance.")
    summed = np.cumsum(odds / odds.sum())
    summed[np.flatnonzero(odds)[-1] :] = 1.0  # not 0.9999999: the last one is drawn from, those behind it never
    return summed


def turned(array: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """One of the eight symmetries of the square: bit 0 flips rows, bit 1 columns, bit 2 transposes."""
    if turn & 1:
        array = array[::-1]
    if turn & 2:
        array = array[:, ::-1]
    return array.T if turn & 4 else array


def _fitting(pieces: Sequence[Piece], size: int, crop: int) -> tuple[int, list[NDArray[np.intp]]]:
    """The largest patch size up to ``size`` that fits somewhere, and all its positions per piece."""
    while size >= 2 * crop + 8:
        places = _all_positions(pieces, size, crop)
        if sum(len(p) for p in places) >= 16:
            return size, places
        size = size * 3 // 4
    raise InputError(
        "The training area has no room for a patch of 8 x 8 coarse pixels: it is too small, or missing and saturated "
        "pixels (of the lowest or highest grey level) cut it into pieces. Record a larger scan, or one with fewer of "
        "them."
    )


def _all_positions(pieces: Sequence[Piece], size: int, crop: int) -> list[NDArray[np.intp]]:
    """:func:`_positions` of all pieces, made once for those that share their roles and weights."""
    found: dict[tuple[int, int], NDArray[np.intp]] = {}
    for p in pieces:
        key = (id(p.role), id(p.weight))
        if key not in found:
            found[key] = _positions(p, size, crop)
    return [found[id(p.role), id(p.weight)] for p in pieces]


def _positions(piece: Piece, size: int, crop: int) -> NDArray[np.intp]:
    """Upper left corners (n, 2) of patches whose kept part trains everywhere and counts enough."""
    kept = size - 2 * crop
    h, w = piece.lr.shape
    if h < size or w < size:
        return np.zeros((0, 2), np.intp)
    f = piece.factor
    counted = piece.weight.reshape(h, f, w, f).mean(axis=(1, 3), dtype=np.float64)
    trains, counts = (window_sums(a, kept) for a in ((piece.role == TRAIN).astype(np.float64), counted))
    good = (trains > kept * kept - 0.5) & (counts >= LEAST_WEIGHT * kept * kept)
    good = good[crop : crop + h - size + 1, crop : crop + w - size + 1]
    return np.argwhere(good)


def window_sums(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sum over every side x side window (summed-area table)."""
    total = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
