"""Piece and PatchSet: what a network learns from, laid out on the grids that enhancement will use."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches.split import ROLES, Box
from finescan.values import GreyStatistics, Grid, Region

WORST_STRETCH = 1.06  # the pixel the network reads may be this much larger than the recorded one


def choose_factor(sr_factor: float | Sequence[float]) -> int:
    """Whole number of output pixels per working coarse pixel for a real ratio.

    The nearest whole number, unless that would make the working pixel more than 6 % larger than the recorded one
    (detail would be lost); then the next lower one, never below 1. With a ratio per axis the smallest answer.

    Examples
    --------
    >>> [choose_factor(r) for r in (5.0, 2.67, 1.92, 1.5, 4.9)]
    [5, 2, 2, 1, 5]
    """
    ratios = [float(r) for r in sr_factor] if isinstance(sr_factor, Sequence) else [float(sr_factor)]
    if not ratios or any(not (math.isfinite(r) and r > 0) for r in ratios):
        raise InputError(f"A pixel-size ratio must be a positive number, but {sr_factor} came.")

    def whole(ratio: float) -> int:
        nearest = math.floor(ratio + 0.5)
        return max(1, nearest if nearest <= WORST_STRETCH * ratio else math.floor(ratio))

    return min(whole(r) for r in ratios)


@dataclass(frozen=True)
class Piece:
    """One fine scan and the coarse map under it, on the working and the output grid, with a margin of context.

    Parameters
    ----------
    lr : (h, w) float32 coarse grey levels on ``work_grid``, finite everywhere.
    hr : (h * factor, w * factor) float32 fine grey levels on ``out_grid``, finite; meaningless where weight is False.
    weight : bool like ``hr``: False where missing, invalid, outside the scan, or saturated in either scan.
    role : (h, w) int8: 0 none, 1 train, 2 stop, 3 test.
    work_grid, out_grid : where the pixels lie, in the frame of the coarse map.
    name : of the fine scan.
    boxes : per role, rectangles in the piece's own coarse pixels, where those of the set do not say it: the piece has
        pixels of another size, or does not judge although it holds pixels of the role.
    """

    lr: NDArray[np.float32]
    hr: NDArray[np.float32]
    weight: NDArray[np.bool_]
    role: NDArray[np.int8]
    work_grid: Grid
    out_grid: Grid
    name: str
    boxes: Mapping[str, Sequence[Box]] | None = None

    @property
    def factor(self) -> int:
        """Output pixels per working pixel."""
        return self.hr.shape[0] // self.lr.shape[0]

    def role_fine(self, role: str) -> NDArray[np.bool_]:
        """Boolean array on ``out_grid``: pixels of a role ("train", "stop" or "test") that count."""
        f = self.factor
        mask = self.role == ROLES[role]
        return np.repeat(np.repeat(mask, f, axis=0), f, axis=1) & self.weight


@dataclass(frozen=True)
class PatchSet:
    """Everything training needs, and nothing that judging alone may see is hidden in the statistics.

    Parameters
    ----------
    pieces : one per fine scan of the target pitch.
    factor : whole output pixels per working pixel.
    sr_factor : recorded coarse over target pixel size, per axis.
    out_grid, work_grid : of the whole map, see docs/architecture.md.
    lr_grey, hr_grey : statistics over the training role.
    gain, offset : ``hr = gain * lr + offset`` over the training role, robust.
    lr_range : 0.01 and 99.99 percentile of the locally averaged (5 x 5) coarse grey levels that were learned.
    hr_dtype : number format of the fine scans.
    saturated : share of saturated pixels of the covered area, "lr" and "hr".
    boxes : per role, rectangles (top, left, bottom, right) on ``work_grid`` that hold it.
    judges : names of scans too coarse to train at the target pitch.
    notes : sentences about what was decided.
    chances : how often each piece is drawn from, relative to the others; none = by the number of its patches.
    read : the pictures the model will read and where they were learned from (array, mask), where the pieces' coarse
        pixels are of other sizes; none = the pieces'.
    """

    pieces: tuple[Piece, ...]
    factor: int
    sr_factor: tuple[float, ...]
    out_grid: Grid
    work_grid: Grid
    lr_grey: GreyStatistics
    hr_grey: GreyStatistics
    gain: float
    offset: float
    lr_range: tuple[float, float]
    hr_dtype: str
    saturated: dict[str, float]
    boxes: dict[str, list[tuple[int, int, int, int]]]
    judges: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()
    read: tuple[tuple[NDArray[Any], NDArray[np.bool_]], ...] = ()

    def regions(self, role: str) -> list[Region]:
        """Boxes of ``out_grid`` that hold the pixels of a role ("stop" or "test")."""
        f = self.factor
        return [
            Region.clipped(self.out_grid, (t * f, x * f), (b * f, r * f)) for t, x, b, r in self.boxes.get(role, [])
        ]

    def shares(self) -> dict[str, float]:
        """Share of the covered area per role; what is missing to 1 is guard gap."""
        pieces = self._different
        covered = sum(int(np.count_nonzero(self._covered(p))) for p in pieces)
        if not covered:
            raise InputError("Nothing is left to learn from: every pixel is missing, saturated or badly registered.")
        return {n: sum(int(np.count_nonzero(p.role == r)) for p in pieces) / covered for n, r in ROLES.items()}

    def held(self, piece: Piece, role: str) -> list[Box]:
        """Rectangles in coarse pixels of a piece that hold all its pixels of a role ("stop" or "test")."""
        if piece.boxes is not None:
            return list(piece.boxes.get(role, ()))
        dy, dx = (round(float(v)) for v in self.work_grid.to_index(piece.work_grid.origin_nm))
        h, w = piece.lr.shape
        found = []
        for top, left, bottom, right in self.boxes.get(role, []):
            t, x, b, r = max(0, top - dy), max(0, left - dx), min(h, bottom - dy), min(w, right - dx)
            if t < b and x < r and (piece.role[t:b, x:r] == ROLES[role]).any():
                found.append((t, x, b, r))
        return found

    def fingerprint(self) -> str:
        """Hash of all data and roles; the same data and split give the same text."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        h = hashlib.sha256(repr((self.factor, self.sr_factor, self.gain, self.offset, self.hr_grey)).encode())
        if self.chances:
            h.update(repr(self.chances).encode())
        seen: dict[int, bytes] = {}  # pieces may share arrays
        for p in self.pieces:
            for array in (p.lr, p.hr, p.weight, p.role):
                if id(array) not in seen:
                    h.update(np.ascontiguousarray(array).tobytes())
                    seen[id(array)] = str(len(seen)).encode()
                else:
                    h.update(seen[id(array)])
        return h.hexdigest()

    @property
    def _different(self) -> list[Piece]:
        """One of all pieces that share their roles and weights."""
        return list({(id(p.role), id(p.weight)): p for p in self.pieces}.values())

    def _covered(self, piece: Piece) -> NDArray[np.bool_]:
        f = piece.factor
        h, w = piece.lr.shape
        inside: NDArray[np.bool_] = np.any(piece.weight.reshape(h, f, w, f), axis=(1, 3))
        return inside

    def __str__(self) -> str:
        shares = ", ".join(f"{n} {100 * s:.0f} %" for n, s in self.shares().items())
        kind = "pieces of zoom levels" if self.chances else "fine scan(s)"
        return f"{len(self.pieces)} {kind}, x{self.factor}: {shares}"
