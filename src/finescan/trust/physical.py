"""Physical evaluation: where in a separately recorded fine image does a piece of an enhanced one lie?

Both come from two recordings, with noise of their own, pixel sizes that are a little off and fields that are a little
turned, so that nothing can be compared before the piece has been found, scaled and turned.

"robust", ours: places are proposed by the normalised (Pearson) correlation of smoothed pictures, the best few are
scaled and turned in steps, SSIM decides between them, and the place is polished to parts of a pixel.
"published" (B. Möller et al., CVPR Workshops 2023, by their code): correlation that is not normalised, of pictures
blurred by a 3 x 3 box; scales, then turns, within 50 px around the first place; PSNR decides; turned pieces have black
corners.

On a lattice many places are the same: the number of rivals is part of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, signal

from finescan.errors import InputError
from finescan.trust.metrics import SMALLEST, matched, psnr, ssim

Array = NDArray[np.float64]
Corner = tuple[int, int]

RULES = ("robust", "published")
SMOOTH_PX, RIM_PX = 1.5, 4  # of both pictures for proposals (robust), and what is cut off a smoothed piece
PROPOSALS, PROPOSAL_GAP = 4, 6  # most places, and pixels between any two
RIVAL = 0.95  # of the best correlation, from which on another place is a rival
MOST_RIVALS = 99
SCALES = tuple(np.linspace(0.9, 1.1, 25).tolist())
TURNS_DEG = tuple(np.linspace(-3.0, 3.0, 25).tolist())
THINNED_PX = 120
PERIMETER_PX = 50  # published
NEAR_PX = 8  # robust: a proposal moves this far while it is scaled and turned
MOST_POLISH = 4.0  # units of the polishing: where noise is strong, a piece shrunk to nothing correlates best
LEAST_OVERLAP = 0.5  # of the piece that must lie in the fine image


@dataclass(frozen=True)
class Match:
    """A piece of an enhanced picture in a fine one.

    Parameters
    ----------
    centre : (y, x) of the middle of the piece, pixels of the fine picture.
    scale : pixels of the fine picture per pixel of the piece; 1.01 = the piece must be enlarged by 1 %.
    turn_deg : by which the piece must be turned, from y to x as the picture is drawn (clockwise for positive ones).
    correlation : Pearson, of the smoothed piece and place; for the published rule of the two as they are.
    rivals : other places that correlate at least 0.95 times as well before anything is scaled or turned.
    second : correlation of the best of them over that of the best; 0 without.
    piece, fine : what is compared, of one shape: the piece, and the fine picture on its pixels (robust); the scaled and
        turned piece, and the fine pixels under it (published).
    known : where both say something.
    rule : that was used.
    """

    centre: tuple[float, float]
    scale: float
    turn_deg: float
    correlation: float
    rivals: int
    second: float
    piece: Array = field(repr=False)
    fine: Array = field(repr=False)
    known: NDArray[np.bool_] = field(repr=False)
    rule: str = "robust"

    def applied(self, picture: NDArray[Any]) -> Array:
        """Another picture of the piece's place, treated as the piece was, to be compared with ``fine``."""
        values = np.asarray(picture, np.float64)
        return values if self.rule == "robust" else _turned_piece(_resized(values, self.scale), self.turn_deg)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        names = ("centre", "scale", "turn_deg", "correlation", "rivals", "second")
        return {n: list(v) if isinstance(v := getattr(self, n), tuple) else v for n in names}

    def __str__(self) -> str:
        y, x = self.centre
        rivals = f"; {self.rivals} other places fit as well (to {100 * (1 - RIVAL):.0f} %)" if self.rivals else ""
        return (
            f"found at ({y:.2f}, {x:.2f}) px, scale {self.scale:.4f}, turned by {self.turn_deg:+.2f}°, correlation "
            f"{self.correlation:.3f}{rivals}"
        )


def match_piece(
    piece: NDArray[Any],
    fine: NDArray[Any],
    *,
    rule: str = "robust",
    by: str | None = None,
    scales: Sequence[float] = SCALES,
    turns_deg: Sequence[float] = TURNS_DEG,
    data_range: float | None = None,
) -> Match:
    """Find a piece of an enhanced picture in a fine picture of nominally the same pixel size.

    Parameters
    ----------
    piece : (h, w) grey levels, finite, at least 24 px along each side.
    fine : larger by at least a tenth along both axes, finite. Its grey levels may differ from those of the piece by a
        gain and an offset (robust); the published rule compares them as they are.
    rule : a row of :data:`RULES`.
    by : "ssim" or "psnr", which decides between scales, turns and places; None = by rule.
    scales, turns_deg : what is tried.
    data_range : grey levels that both refer to; None = those of the fine picture.

    Raises
    ------
    InputError : a piece that is too small or too large, or that is constant.
    """
    a, b = np.asarray(piece, np.float64), np.asarray(fine, np.float64)
    _check(a, b, rule, by)
    span = data_range or float(np.ptp(b))
    if rule == "published":
        return _published(a, b, by or "psnr", scales, turns_deg, span)
    return _robust(a, b, by or "ssim", scales, turns_deg, span)


def _check(piece: Array, fine: Array, rule: str, by: str | None) -> None:
    if rule not in RULES:
        raise InputError(f"Pieces are matched by the rule {' or '.join(RULES)}, but {rule!r} came.")
    if by not in (None, "ssim", "psnr"):
        raise InputError(f"A match is chosen by 'ssim' or 'psnr', but {by!r} came.")
    if piece.ndim != 2 or fine.ndim != 2 or min(piece.shape) < 24:
        raise InputError(f"A piece is a picture of at least 24 x 24 px, but {piece.shape} px came. Cut a larger one.")
    if any(m * 1.1 > n for m, n in zip(piece.shape, fine.shape, strict=True)):
        raise InputError(
            f"A piece of {piece.shape[0]} x {piece.shape[1]} px is looked for in a larger picture, but that has "
            f"{fine.shape[0]} x {fine.shape[1]} px. Cut a smaller piece."
        )
    for name, picture in (("piece", piece), ("fine picture", fine)):
        if not np.isfinite(picture).all():
            raise InputError(f"The {name} holds pixels without a number. Cut a part without them.")
        if np.ptp(picture) == 0:
            raise InputError(f"The {name} has one grey level only, so it matches everywhere. Choose another one.")


# ---------------------------------------------------------------------------------------------- correlation
def pearson_map(picture: Array, piece: Array) -> Array:
    """Pearson correlation of a piece with every place of a picture that holds all of it.

    Returns
    -------
    (H - h + 1, W - w + 1), -1 to 1; 0 where the picture is constant. Index = upper left corner of the place.
    """
    zero = piece - piece.mean()
    size = piece.size
    shifted = picture - picture.mean()
    cross = signal.fftconvolve(shifted, zero[::-1, ::-1], mode="valid")
    total, squares = (_box_sums(v, piece.shape) for v in (shifted, shifted**2))
    variance = squares - total**2 / size
    floor = 1e-10 * max(float(variance.max()), 1e-300)
    out = np.where(variance > floor, cross / np.sqrt(np.maximum(variance, floor) * (zero**2).sum()), 0.0)
    return np.asarray(np.clip(out, -1.0, 1.0))


def _box_sums(values: Array, shape: Sequence[int]) -> Array:
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    h, w = shape
    return np.asarray(total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w])


def _peaks(scores: Array, count: int, gap: int) -> list[Corner]:
    """The highest local maxima, highest first; without any (a slope), the highest place."""
    top = ndimage.maximum_filter(scores, 2 * gap + 1) == scores
    order = np.argsort(scores[top])[::-1][:count]
    places = np.argwhere(top)[order].tolist()
    return [(int(y), int(x)) for y, x in places]


# ---------------------------------------------------------------------------------------------- ours
def _robust(piece: Array, fine: Array, by: str, scales: Sequence[float], turns: Sequence[float], span: float) -> Match:
    rim = (slice(RIM_PX, -RIM_PX),) * 2  # smoothed with nothing beyond the edge
    calm_piece, calm = ndimage.gaussian_filter(piece, SMOOTH_PX)[rim], ndimage.gaussian_filter(fine, SMOOTH_PX)
    scores = pearson_map(calm, calm_piece)
    places = _peaks(scores, MOST_RIVALS + 1, PROPOSAL_GAP)
    heights = np.array([scores[p] for p in places])
    rivals = int((heights[1:] >= RIVAL * heights[0]).sum()) if heights[0] > 0 else 0
    second = float(heights[1] / heights[0]) if len(heights) > 1 and heights[0] > 0 else 0.0
    middle = (np.array(calm_piece.shape) - 1) / 2
    best: tuple[float, Array] | None = None
    for place in places[:PROPOSALS]:
        found = _refined(calm_piece, calm, np.array([*(place + middle), 1.0, 0.0]), scales, turns)
        value = _fit(piece, fine, found, by, span)
        if best is None or value > best[0]:
            best = value, found
    assert best is not None  # there is always a highest place
    polished = _polished(calm_piece, calm, best[1])
    theirs, known = _seen(fine, piece.shape, polished)
    r = _correlation(calm_piece, *_seen(calm, calm_piece.shape, polished))
    y, x, scale, turn = polished.tolist()
    return Match((y, x), scale, turn, r, rivals, max(second, 0.0), piece, theirs, known)


def _refined(piece: Array, fine: Array, start: Array, scales: Sequence[float], turns: Sequence[float]) -> Array:
    """Best scale, then turn, then scale again, each with the place that fits it best nearby.

    Of large pieces every second pixel is looked at: they are smoothed, and are polished afterwards.
    """
    if min(piece.shape) < THINNED_PX:
        return _stepped(piece, fine, start, scales, turns)
    half = [(n - 1) // 2 for n in piece.shape]
    thin = piece[: 2 * half[0] + 1 : 2, : 2 * half[1] + 1 : 2]
    aside = np.array([*((np.array(piece.shape) - 1) / 2 - half), 0.0, 0.0])
    double = np.array([1.0, 1.0, 2.0, 1.0])
    found = _stepped(thin, fine, (start - aside) * double, [2 * s for s in scales], turns)
    return np.asarray(found / double + aside)


def _stepped(piece: Array, fine: Array, start: Array, scales: Sequence[float], turns: Sequence[float]) -> Array:
    found, best = start, -np.inf
    for which, values in ((2, scales), (3, turns), (2, scales)):
        for value in values:
            trial = found.copy()
            trial[which] = value
            moved, r = _moved(piece, fine, trial)
            if r > best:
                found_here, best = moved, r
                kept = found_here
        found = kept
    return found


def _moved(piece: Array, fine: Array, where: Array) -> tuple[Array, float]:
    """The place near a trial that correlates best: the fine picture around it, on the pixels of the piece."""
    margin = NEAR_PX
    shape = tuple(n + 2 * margin for n in piece.shape)
    around, known = _seen(fine, shape, where, order=1)
    if known.mean() < LEAST_OVERLAP:
        return where, -np.inf
    scores = pearson_map(np.where(known, around, around[known].mean()), piece)
    y, x = np.unravel_index(int(scores.argmax()), scores.shape)
    moved = where.copy()
    moved[:2] += _turned(where) @ np.array([y - margin, x - margin], float)
    return moved, float(scores[y, x])


def _turned(where: Array) -> Array:
    """Matrix from pixels of the piece to pixels of the fine picture (y, x)."""
    c, s = np.cos(np.radians(where[3])), np.sin(np.radians(where[3]))
    return np.asarray(where[2] * np.array([[c, s], [-s, c]]))


def _seen(
    fine: Array, shape: Sequence[int], where: Array, *, order: int = 3, prefilter: bool = True
) -> tuple[Array, NDArray[np.bool_]]:
    """The fine picture on the pixels of a piece of this shape, and which of them it covers."""
    matrix, centre = _turned(where), where[:2]
    offset = centre - matrix @ ((np.array(shape) - 1) / 2)
    low = np.maximum(np.floor(centre - _reach(shape, where)).astype(int), 0)
    high = np.minimum(np.ceil(centre + _reach(shape, where)).astype(int) + 1, fine.shape)
    if (high - low < 2).any():
        return np.zeros(tuple(shape)), np.zeros(tuple(shape), bool)
    part = fine[low[0] : high[0], low[1] : high[1]]
    out = ndimage.affine_transform(
        part, matrix, offset - low, output_shape=tuple(shape), order=order, mode="constant", cval=np.nan,
        prefilter=prefilter,
    )  # fmt: skip
    known = np.isfinite(out)
    return np.where(known, out, 0.0), known


def _reach(shape: Sequence[int], where: Array) -> float:
    return float(where[2] * np.linalg.norm(np.asarray(shape, float)) / 2 + 6)


def _correlation(piece: Array, theirs: Array, known: NDArray[np.bool_]) -> float:
    if known.mean() < LEAST_OVERLAP:
        return -1.0
    a, b = piece[known], theirs[known]
    spread = a.std() * b.std()
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread > 0 else 0.0


def _fit(piece: Array, fine: Array, where: Array, by: str, span: float) -> float:
    """SSIM or PSNR of the pictures as they are, after a gain and an offset."""
    theirs, known = _seen(fine, piece.shape, where)
    if known.mean() < LEAST_OVERLAP or min(piece.shape) < SMALLEST:
        return -np.inf
    ours, _, _ = matched(piece, theirs, known)
    return {"ssim": ssim, "psnr": psnr}[by](ours, theirs, data_range=span, mask=known)


def _polished(piece: Array, fine: Array, start: Array) -> Array:
    """Place, scale and turn to parts of a pixel, by the correlation of the smoothed pictures."""
    unit = np.array([0.5, 0.5, 0.004, 0.12])  # half a pixel, and half a step of the search
    spline = ndimage.spline_filter(fine, 3, mode="mirror")

    def loss(step: Array) -> float:
        if np.abs(step).max() > MOST_POLISH:
            return 1.0
        return -_correlation(piece, *_seen(spline, piece.shape, start + unit * step, prefilter=False))

    simplex = np.vstack([np.zeros(4), np.eye(4)])
    options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-7, "maxfev": 250}
    found = optimize.minimize(loss, np.zeros(4), method="Nelder-Mead", options=options)
    return np.asarray(start + unit * found.x) if -found.fun >= -loss(np.zeros(4)) else start


# ---------------------------------------------------------------------------------------------- as published
def _published(
    piece: Array, fine: Array, by: str, scales: Sequence[float], turns: Sequence[float], span: float
) -> Match:
    """The rule of the published code, its quirks included."""
    blurred = ndimage.uniform_filter(fine, 3, mode="mirror")
    y, x = _first_place(blurred, piece)
    p, (h, w) = PERIMETER_PX, piece.shape
    top, left = max(0, y - p), max(0, x - p)
    part = slice(top, min(fine.shape[0], y + h + p)), slice(left, min(fine.shape[1], x + w + p))
    within, calm = fine[part], blurred[part]

    def best_of(versions: Sequence[tuple[float, Array]]) -> tuple[float, Array, Corner]:
        found: tuple[float, float, Array, Corner] | None = None
        for value, version in versions:
            if any(m > n for m, n in zip(version.shape, within.shape, strict=True)):
                continue
            at = _first_place(calm, version)
            place = within[at[0] : at[0] + version.shape[0], at[1] : at[1] + version.shape[1]]
            score = {"ssim": ssim, "psnr": psnr}[by](version, place, data_range=span)
            if found is None or score > found[0]:  # the first maximum wins
                found = score, value, version, at
        if found is None:
            raise InputError("No scale of the piece fits into the fine picture. Cut a smaller piece.")
        return found[1:]

    scale, scaled, _ = best_of([(s, _resized(piece, s)) for s in scales])
    turn, final, at = best_of([(t, _turned_piece(scaled, t)) for t in turns])
    place = within[at[0] : at[0] + final.shape[0], at[1] : at[1] + final.shape[1]]
    centre = [top + at[0] + (final.shape[0] - 1) / 2, left + at[1] + (final.shape[1] - 1) / 2]
    r = _correlation(final, place, np.ones(final.shape, bool))
    known = np.ones(final.shape, bool)
    return Match((centre[0], centre[1]), scale, turn, r, 0, 0.0, final, place, known, "published")


def _first_place(blurred: Array, piece: Array) -> Corner:
    """Where the correlation with the piece without its mean, not normalised, is highest."""
    calm = ndimage.uniform_filter(piece, 3, mode="mirror")
    scores = signal.fftconvolve(blurred, (calm - calm.mean())[::-1, ::-1], mode="valid")
    y, x = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(y), int(x)


def _resized(piece: Array, scale: float) -> Array:
    shape = [max(SMALLEST, round(n * scale)) for n in piece.shape]
    step = [n / m for n, m in zip(piece.shape, shape, strict=True)]
    offset = [s / 2 - 0.5 for s in step]
    return np.asarray(ndimage.affine_transform(piece, step, offset, tuple(shape), order=1, mode="nearest"))


def _turned_piece(piece: Array, turn: float) -> Array:
    """Turned on a canvas that holds all of it, bilinear, zeros outside; clockwise for positive turns."""
    return np.asarray(ndimage.rotate(piece, -turn, reshape=True, order=1, mode="constant", cval=0.0))
