"""Methods over zoom levels where the fine picture was recorded apart: the physical evaluation of Möller et al. 2023.

Both the coarse and the fine picture are made coarser point by point to a *level*. Crops of the coarse one are enhanced,
found in the fine one (:mod:`finescan.trust.physical`) and compared with what lies there; so methods are asked for what
the instrument really records at a low magnification, with noise, drift and pixel sizes of its own.

Where a crop lies is a choice, and who makes it can win by it. With "shared" places, the mean of all methods' pictures
is matched, and all of them are scored there, scaled and turned alike. With "own" places, as published, every method
is matched by itself; both side by side show whom the matching favours.

Source: B. Möller et al., CVPR Workshops 2023, section 4.2 and Figures 6, 8 and 10.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.metrics import METRICS, matched
from finescan.trust.physical import SCALES, TURNS_DEG, Match, match_piece
from finescan.trust.zoom_curves import KERNELS, Array, Method, ZoomCurve, checked_answer

PLACES = ("shared", "own")
KERNEL_OF = {"robust": "nearest", "published": "published"}  # rule of the matching -> how levels are made
CREDIBLE = 0.5  # correlation from which a piece counts as found
PIECE_PX = 256  # as published
LARGEST_SHARE = 0.7  # of the fine level's side
LEAST_PIECE_PX = 48
LEAST_PLACED = 1 / 3  # of a level's pieces: where fewer are found, the few may be wrong
MARGIN_PX = 8  # coarse pixels around a crop that methods see and that are not judged


@dataclass(frozen=True)
class Placed:
    """One crop of one level, and where methods were scored.

    Parameters
    ----------
    start : upper left corner of the crop, pixels of the coarse level's picture.
    centres : method -> (y, x) of the middle in the fine level's picture.
    scales, turns_deg, correlations : method -> of its match.
    rivals : method -> other places that fit nearly as well.
    found : the crop is scored; not where a match is not credible (:func:`credible`).
    """

    start: tuple[int, int]
    centres: Mapping[str, tuple[float, float]]
    scales: Mapping[str, float]
    turns_deg: Mapping[str, float]
    correlations: Mapping[str, float]
    rivals: Mapping[str, int]
    found: bool


@dataclass(frozen=True)
class PhysicalCurve:
    """Scores of methods over zoom levels in a fine picture that was recorded apart.

    Parameters
    ----------
    curve : scores of the crops that were found, in levels where at least a third was; grey levels are brought together
        by one gain and one offset per crop and method first.
    ratios : all levels that were asked for, rising.
    placed : per level, its crops.
    piece_px : per level, side of the pieces, pixels of the fine level's picture.
    rule : row of :data:`finescan.trust.physical.RULES`.
    places : row of :data:`PLACES`.
    """

    curve: ZoomCurve
    ratios: tuple[float, ...]
    placed: tuple[tuple[Placed, ...], ...]
    piece_px: tuple[int, ...]
    rule: str
    places: str

    @property
    def percent(self) -> tuple[float, ...]:
        """All levels, as :attr:`ZoomCurve.percent`."""
        return tuple(float(f"{100 * self.curve.sr_factor * r:.6g}") for r in self.ratios)

    @property
    def tried(self) -> tuple[int, ...]:
        """Crops per level."""
        return tuple(len(row) for row in self.placed)

    @property
    def found(self) -> tuple[int, ...]:
        """Crops per level that have a place."""
        return tuple(sum(p.found for p in row) for row in self.placed)

    def table(self) -> dict[str, list[Any]]:
        """One row per level, for CSV: crops tried and found, then every method's scores; empty where too few were."""
        known = dict(zip(self.curve.ratios, range(len(self.curve.ratios)), strict=True))
        out: dict[str, list[Any]] = {
            "percent": list(self.percent), "piece_px": list(self.piece_px), "tried": list(self.tried),
            "found": list(self.found),
        }  # fmt: skip
        for name, row in self.curve.scores.items():
            out |= {f"{name} {m}": [v[known[r]] if r in known else None for r in self.ratios] for m, v in row.items()}
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        placed = [[dict(vars(p)) for p in row] for row in self.placed]
        return {
            "curve": self.curve.to_dict(), "ratios": list(self.ratios), "placed": placed,
            "piece_px": list(self.piece_px), "rule": self.rule, "places": self.places,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> PhysicalCurve:
        """Inverse of :meth:`to_dict`."""
        placed = tuple(tuple(_placed_from(p) for p in row) for row in d["placed"])
        curve, ratios = ZoomCurve.from_dict(d["curve"]), tuple(d["ratios"])
        return cls(curve, ratios, placed, tuple(d["piece_px"]), str(d["rule"]), str(d["places"]))


def _placed_from(d: Mapping[str, Any]) -> Placed:
    centres = {n: (float(c[0]), float(c[1])) for n, c in d["centres"].items()}
    return Placed(**{**d, "start": tuple(d["start"]), "centres": centres})


def physical_curve(
    coarse: NDArray[Any],
    fine: NDArray[Any],
    ratios: Sequence[float],
    sr_factor: int,
    methods: Mapping[str, Method],
    *,
    data_range: float,
    rule: str = "robust",
    places: str = "shared",
    metrics: Sequence[str] = ("psnr", "ms_ssim"),
    piece_px: int = PIECE_PX,
    per_side: int = 2,
    scales: Sequence[float] = SCALES,
    turns_deg: Sequence[float] = TURNS_DEG,
) -> PhysicalCurve:
    """Judge methods over zoom levels on a coarse and a fine picture of one kind of sample, recorded apart.

    Parameters
    ----------
    coarse, fine : (h, w) grey levels, finite; the fine pixels are nominally ``sr_factor`` times smaller.
    ratios : pixels per axis of each level over those of the pictures, above 0 and at most 1.
    sr_factor : by which methods enhance.
    methods : name -> function of a coarse picture (h, w), float32, that gives (sr_factor * h, sr_factor * w).
    data_range : grey levels of the fine picture that the metrics refer to.
    rule : row of :data:`finescan.trust.physical.RULES`; it also says how levels are made.
    places : row of :data:`PLACES`.
    metrics : rows of :data:`finescan.trust.metrics.METRICS`.
    piece_px : largest side of a piece, fine pixels of the level; smaller where the level's picture is.
    per_side : crops along each side of the coarse picture.
    scales, turns_deg : that are searched; see :func:`finescan.trust.physical.match_piece`.

    Raises
    ------
    InputError : a level too small to cut pieces from; a ratio, rule, metric or kind of places that does not exist; too
        few pieces found at every level.
    """
    pictures = [np.asarray(p, np.float32) for p in (coarse, fine)]
    _require(pictures, ratios, methods, rule, places, metrics)
    values: dict[str, dict[str, list[tuple[float, ...]]]] = {n: {m: [] for m in metrics} for n in methods}
    levels, rows, sides = sorted(ratios), [], []
    search = {"rule": rule, "scales": scales, "turns_deg": turns_deg, "data_range": data_range}
    for ratio in levels:
        low, high = (KERNELS[KERNEL_OF[rule]](p, ratio) for p in pictures)
        side = _side(low.shape, high.shape, sr_factor, piece_px)
        starts = _starts(low.shape, side // sr_factor, per_side)
        pieces = [_pieces(low, start, side // sr_factor, sr_factor, methods) for start in starts]
        seen = _all_seen(pieces, np.asarray(high, np.float64), places, **search)
        crops = [_placed(start, s, scales, turns_deg) for start, s in zip(starts, seen, strict=True)]
        rows.append(tuple(crops))
        sides.append(side)
        if _enough(crops):
            _score(values, [s for s, c in zip(seen, crops, strict=True) if c.found], data_range)
    known = tuple(r for r, row in zip(levels, rows, strict=True) if _enough(row))
    if not known:
        raise InputError(
            f"Only {sum(c.found for row in rows for c in row)} of {sum(map(len, rows))} pieces were found in the fine "
            f"picture: others correlate by less than {CREDIBLE}, or their scale or turn is beyond what is searched. "
            "Check that both pictures show the same kind of sample and that their pixel sizes are right."
        )
    scores = {n: {m: tuple(v) for m, v in row.items()} for n, row in values.items()}
    curve = ZoomCurve(known, sr_factor, scores, KERNEL_OF[rule])
    return PhysicalCurve(curve, tuple(levels), tuple(rows), tuple(sides), rule, places)


# ---------------------------------------------------------------------------------------------- crops
def _side(low: Sequence[int], high: Sequence[int], factor: int, largest: int) -> int:
    """Side of a level's pieces, fine pixels: a multiple of the factor that fits into both pictures."""
    room = factor * (min(low) - 2 * MARGIN_PX)
    side = int(min(largest, LARGEST_SHARE * min(high), room)) // factor * factor
    if side < LEAST_PIECE_PX:
        raise InputError(
            f"Pieces of at least {LEAST_PIECE_PX} px are matched, but a level of {low[0]} x {low[1]} coarse and "
            f"{high[0]} x {high[1]} fine px allows {max(side, 0)} px. Use larger pictures or finer levels."
        )
    return side


def _starts(shape: Sequence[int], side: int, count: int) -> list[tuple[int, int]]:
    """Upper left corners, spread evenly; a margin is left around all crops."""
    axes = []
    for n in shape:
        room = n - side - 2 * MARGIN_PX
        axes.append(sorted({MARGIN_PX + round(v) for v in (np.arange(count) + 0.5) / count * room}))
    return [(y, x) for y, x in itertools.product(*axes)]


def _pieces(
    low: Array, start: tuple[int, int], side: int, factor: int, methods: Mapping[str, Method]
) -> dict[str, NDArray[np.float64]]:
    """What every method makes of a crop; it sees the margin too."""
    around = tuple(slice(a - MARGIN_PX, a + side + MARGIN_PX) for a in start)
    crop = np.ascontiguousarray(low[around], np.float32)
    inner = (slice(factor * MARGIN_PX, factor * (MARGIN_PX + side)),) * 2
    made = {n: checked_answer(n, method(crop), crop.shape, factor) for n, method in methods.items()}
    return {n: a[inner].astype(np.float64) for n, a in made.items()}


# ---------------------------------------------------------------------------------------------- places
Seen = dict[str, tuple[Match, NDArray[np.float64]]]  # method -> where it is compared, and its picture there


def _all_seen(
    pieces: Sequence[Mapping[str, NDArray[np.float64]]], fine: NDArray[np.float64], places: str, **search: Any
) -> list[Seen]:
    def one(piece: Mapping[str, NDArray[np.float64]]) -> Seen:
        if places == "own":
            own = {n: match_piece(a, fine, **search) for n, a in piece.items()}
            return {n: (m, m.applied(piece[n])) for n, m in own.items()}
        shared = match_piece(np.mean(list(piece.values()), axis=0), fine, **search)
        return {n: (shared, shared.applied(a)) for n, a in piece.items()}

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # what takes the time leaves the interpreter free
        return list(pool.map(one, pieces))


def _placed(start: tuple[int, int], seen: Seen, scales: Sequence[float], turns_deg: Sequence[float]) -> Placed:
    matches = {n: m for n, (m, _) in seen.items()}
    return Placed(
        start,
        {n: m.centre for n, m in matches.items()},
        {n: m.scale for n, m in matches.items()},
        {n: m.turn_deg for n, m in matches.items()},
        {n: m.correlation for n, m in matches.items()},
        {n: m.rivals for n, m in matches.items()},
        all(credible(m, scales, turns_deg) for m in matches.values()),
    )


def credible(match: Match, scales: Sequence[float] = SCALES, turns_deg: Sequence[float] = TURNS_DEG) -> bool:
    """Whether a piece was found: it correlates, and its scale and turn lie inside what was searched.

    The published rule takes every place.
    """
    if match.rule == "published":
        return True
    inside = min(scales) < match.scale < max(scales) and min(turns_deg) < match.turn_deg < max(turns_deg)
    return inside and match.correlation >= CREDIBLE


def _enough(crops: Sequence[Placed]) -> bool:
    return sum(c.found for c in crops) >= LEAST_PLACED * len(crops)


def _score(values: dict[str, dict[str, list[tuple[float, ...]]]], seen: Sequence[Seen], span: float) -> None:
    """Append a level's scores."""
    for name, row in values.items():
        pairs = [(matched(a, m.fine, m.known)[0], m) for m, a in (s[name] for s in seen)]
        for metric, found in row.items():
            found.append(tuple(METRICS[metric](a, m.fine, data_range=span, mask=m.known) for a, m in pairs))


# ---------------------------------------------------------------------------------------------- checks
def _require(
    pictures: Sequence[Array], ratios: Sequence[float], methods: Mapping[str, Method], rule: str, places: str,
    metrics: Sequence[str],
) -> None:  # fmt: skip
    if rule not in KERNEL_OF:
        raise InputError(f"Pieces are matched by the rule {' or '.join(KERNEL_OF)}, but {rule!r} came.")
    if places not in PLACES:
        raise InputError(f"Methods are scored at places that are {' or '.join(PLACES)}, but {places!r} came.")
    unknown = [m for m in metrics if m not in METRICS]
    if unknown or not metrics:
        raise InputError(f"Metrics are some of {', '.join(METRICS)}, but {', '.join(unknown) or 'none'} came.")
    if not methods:
        raise InputError("A curve needs methods, but none came.")
    wrong = [r for r in ratios if not 0 < r <= 1]
    if wrong or not ratios:
        raise InputError(
            f"Levels are above 0 and at most 1, the fine picture's own, but {wrong[0] if wrong else 'none'} came."
        )
    for name, picture in zip(("coarse", "fine"), pictures, strict=True):
        if picture.ndim != 2 or not np.isfinite(picture).all():
            raise InputError(f"The {name} picture must be (h, w) finite grey levels. Crop it to where it was recorded.")
