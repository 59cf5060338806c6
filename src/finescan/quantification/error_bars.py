"""Measured numbers of an enhanced map, corrected by the fine scan and with error bars.

A number measured on an enhanced map is wrong in two ways. It is *biased*: objects that are too small for the coarse
scan are missing, edges are smooth, noise makes no specks. And it is *uncertain*: how wrong it is differs from place to
place, and only a small part was recorded finely.

The correction is learned block by block where enhanced map and fine scan both exist. Blocks are weighted so that what
the enhanced map shows in them adds up to what it shows on the whole map (calibration weighting, Deville and Särndal
1992, doi:10.1080/01621459.1992.10475217); the weighted difference between fine and enhanced is the correction. Its
error comes from the scatter between blocks (a bootstrap with random weights that neighbouring blocks share), and is
enlarged by what a *rehearsal* tells: the same correction, learned in the same way in many places of the map where the
enhanced map plays the fine scan and a poorer picture plays the enhanced one. There the true answer is known, so the
rehearsal shows how far blocks in one place speak for the whole map. What single pixels may do
(:mod:`finescan.quantification.residuals`) is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from finescan.errors import InputError
from finescan.quantification.alike import Objects, calmed, measure_alike
from finescan.quantification.ground import Ground
from finescan.quantification.residuals import ResidualLibrary, plausible
from finescan.quantification.tallies import MEASURES, Tally, tally, values
from finescan.values import Grid

LEVEL = 0.9
FEWEST = 6  # blocks below which their scatter says nothing
RIDGE = 4.0  # blocks' worth of doubt about the calibration: few blocks are hardly reweighted
RESAMPLED, REHEARSED = 200, 40  # bootstrap weights; those of every rehearsal
PLACES = 5  # rehearsals along every axis
LARGEST_FACTOR = 4.0  # of the blocks' own place: where it shows next to nothing, the factor would be anything
FEWEST_PLACES = 3.0  # times the used area that a map must have to rehearse on
DRAWS, DRAWN_PX = 6, 512  # plausible pictures, and the edge of the part of the map they are drawn on

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorBar:
    """One measured number.

    Parameters
    ----------
    name : row of :data:`finescan.quantification.tallies.MEASURES`.
    unit : of all numbers.
    measured : on the enhanced map as it is.
    value, low, high : corrected, and its interval of ``level``; NaN where it cannot be had.
    error : standard error of the value.
    parts : what it is made of: "blocks" (scatter between them), "places" (factor from the rehearsal), "pixels".
    blocks : that the correction was learned on.
    level : of the interval.
    """

    name: str
    unit: str
    measured: float
    value: float
    low: float
    high: float
    error: float
    parts: Mapping[str, float]
    blocks: int
    level: float = LEVEL

    def apart(self, other: float) -> float:
        """How far another number lies from the value, in half widths of the interval: -1 to 1 is inside."""
        half = self.high - self.value if other > self.value else self.value - self.low
        return (other - self.value) / half if half > 0 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is not known is None."""
        plain = {k: v for k, v in vars(self).items() if k not in ("name", "parts")}
        return _without_nan({**plain, "title": MEASURES[self.name].title, "parts": _without_nan(self.parts)})


def measure_with_error(
    ground: Ground,
    whole: Tally,
    *,
    factors: Mapping[str, float] | None = None,
    pixels: Mapping[str, float] | None = None,
    computed_share: float = 1.0,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, ErrorBar]:
    """Every measure of an area of the enhanced map, corrected, with its interval.

    Parameters
    ----------
    ground : blocks with a fine scan.
    whole : of the enhanced map in the area that the numbers are for.
    factors : from :func:`rehearse`; None = the blocks are taken to speak for the area.
    pixels : standard error from single pixels, from :func:`drawn_errors`; None = none.
    computed_share : share of the area that was computed; the rest was recorded finely and needs no correction.
    level : of the intervals, 0 to 1.
    seed : of the bootstrap.

    Raises
    ------
    InputError : a level that is no probability.

    Notes
    -----
    With fewer than 6 blocks, or without any object in one of the pictures, a number has neither value nor interval.
    """
    if not 0 < level < 1:
        raise InputError(f"The level of an interval lies between 0 and 1, but {level} came.")
    n = len(ground)
    shown = {k: float(v[0]) for k, v in values(whole.total()).items()}
    if n < FEWEST:
        return {k: _unknown(k, v, n, level) for k, v in shown.items()}
    weights = block_weights(ground, RESAMPLED, seed)
    corrected, errors = _corrected(ground, whole, shown, weights, computed_share)
    times = float(whole.area.sum() / ground.enhanced.area.sum())
    known = min(ground.independent, times + 1) if times >= FEWEST_PLACES else ground.independent
    freedom = max(1.0, known - 1)
    own = float(np.sqrt(1 + 1 / times))  # the area's own scatter about its mean
    reach = float(special.stdtrit(freedom, 0.5 + level / 2))
    out = {}
    for name, measured in shown.items():
        blocks, places = errors[name] * own, max(1.0, (factors or {}).get(name, 1.0))
        drawn = (pixels or {}).get(name, 0.0)
        error = float(np.hypot(blocks * places, drawn))
        low, high = _interval(corrected[name], reach * error, MEASURES[name].ratio)
        out[name] = ErrorBar(
            name, _unit(name), measured, corrected[name], low, min(high, 1.0) if name == "area_share" else high, error,
            {"blocks": blocks, "places": places, "pixels": drawn}, n, level,
        )  # fmt: skip
    return out


def calibration_weights(features: Floats, target: Floats, base: Floats) -> Floats:
    """Weights of blocks, sum 1, with which the mean of their features comes close to a target.

    Parameters
    ----------
    features : (n, p) of the blocks, in units of their scatter over the map.
    target : (p,) of the area.
    base : (k, n) weights to start from, not negative.

    Returns
    -------
    (k, n), not negative. With few blocks (or a far target) the target is only approached: :data:`RIDGE`.
    """
    base = base / base.sum(axis=1, keepdims=True)
    mean = base @ features
    apart = features[None] - mean[:, None]
    square = np.einsum("kn,knp,knq->kpq", base, apart, apart)
    square += RIDGE / len(features) * np.eye(features.shape[1])
    slope = np.linalg.solve(square, (target - mean)[..., None])
    found = np.maximum(base * (1 + (apart @ slope)[..., 0]), 0.0) + 1e-12
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def block_weights(ground: Ground, count: int, seed: int) -> Floats:
    """(count, n) random weights of mean and variance 1, alike for neighbouring blocks (Bayesian bootstrap).

    Exponential weights (Rubin 1981, doi:10.1214/aos/1176345338) through a Gaussian copula with the blocks' nearness.
    """
    power, ways = np.linalg.eigh(ground.near)
    root = ways * np.sqrt(np.maximum(power, 0.0))
    root /= np.sqrt((root**2).sum(axis=1, keepdims=True))
    normal = np.random.default_rng([seed, 61]).standard_normal((count, len(ground))) @ root.T
    return np.asarray(-special.log_ndtr(-normal))


def rehearse(
    ground: Ground, whole: Tally, shape: Sequence[int], *, poorer: Tally | None = None, seed: int = 0
) -> dict[str, float]:
    """Factors (at least 1) by which the scatter between neighbouring blocks understates the error for the whole map.

    Parameters
    ----------
    ground : the blocks with a fine scan; their pattern is moved over the map.
    whole : of the enhanced map, one block per place of the lattice, in order: here the answer is known.
    shape : of the lattice.
    poorer : of a picture that shows less (the coarse map, interpolated), the same blocks; None = no picture: the mean
        over the pattern is compared with the mean of the map.
    seed : of the bootstrap.

    Returns
    -------
    One per measure: the largest one of what is missed at all places over what their blocks let expect; of that over
    what the blocks of the fine scan itself let expect, which may lie in a calm part of the map (at most 4); and of the
    mean over all measures. Empty where the map is not at least three times as large as the blocks, or they are too few.
    """
    if len(ground) < FEWEST or whole.area.sum() < FEWEST_PLACES * ground.enhanced.area.sum():
        return {}
    shown = {k: float(v[0]) for k, v in values(whole.total()).items()}
    lesser = None if poorer is None else {k: float(v[0]) for k, v in values(poorer.total()).items()}
    weights = block_weights(ground, REHEARSED, seed)
    missed: dict[str, list[tuple[float, float]]] = {k: [] for k in MEASURES}
    own: dict[str, float] = {}
    here = np.ravel_multi_index(tuple(ground.place.T), tuple(shape))
    for number in (here, *_moved(ground.place, shape)):
        part = _taken(whole, number)
        if not (part.area > 0).all():
            continue
        if poorer is None or lesser is None:
            found, errors = _plain(part, weights)
        else:
            played = Ground(part, _taken(poorer, number), ground.place)
            found, errors = _corrected(played, poorer, lesser, weights, 1.0)
        if number is here:
            own = errors
            continue
        for name in MEASURES:
            missed[name].append((found[name] - shown[name], errors[name]))
    return _factors(missed, own)


def drawn_errors(
    enhanced: NDArray[Any],
    spread: NDArray[Any],
    library: ResidualLibrary,
    grid: Grid,
    *,
    objects: Objects,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, float]]:
    """What single pixels do to every measure of a picture: scatter over plausible pictures, and their mean.

    Parameters
    ----------
    enhanced, spread : (h, w) float grey levels, all known.
    library : errors of held-out area in units of the spread.
    grid : of the picture.
    objects : what is measured.
    """
    known, one = np.ones(enhanced.shape, bool), np.zeros(enhanced.shape, np.intp)
    rows = []
    for k in range(draws):
        drawn = calmed(plausible(enhanced, spread, library, seed=[seed, 62, k]), known)
        found = measure_alike({"drawn": drawn}, grid, objects=objects)["drawn"]
        rows.append([float(v[0]) for v in values(tally(found, one)).values()])
    table = np.array(rows)
    scatter = table.std(axis=0, ddof=1) if draws > 1 else np.full(len(MEASURES), np.nan)
    names = list(MEASURES)
    return (
        {n: float(s) if np.isfinite(s) else 0.0 for n, s in zip(names, scatter, strict=True)},
        dict(zip(names, table.mean(axis=0).tolist(), strict=True)),
    )


def constant_spread(enhanced: NDArray[Any], error: NDArray[Any], known: NDArray[np.bool_], bins: int = 12) -> Any:
    """How large the error is at every grey level: a function of grey levels, for maps whose spread nobody states.

    Parameters
    ----------
    enhanced, error : grey levels and what they miss, any shape; ``known`` where they count.

    Returns
    -------
    A function: grey levels -> standard deviation of the error there, float32, interpolated between quantiles.
    """
    grey, missed = np.asarray(enhanced)[known].astype(np.float64), np.asarray(error)[known].astype(np.float64)
    if grey.size < 2:
        raise InputError("No pixel with a fine scan is known to tell the spread from. Record a larger fine scan.")
    edges = np.unique(np.quantile(grey, np.linspace(0, 1, bins + 1)))
    number = np.clip(np.searchsorted(edges, grey, side="right") - 1, 0, max(0, len(edges) - 2))
    count = np.bincount(number)
    some = count > 0
    middle = np.bincount(number, grey)[some] / count[some]
    size = np.sqrt(np.bincount(number, missed**2)[some] / count[some])
    size = np.maximum(size, 1e-6 * max(float(np.sqrt(np.mean(missed**2))), 1e-12))
    return lambda v: np.interp(np.asarray(v, np.float64), middle, size).astype(np.float32)


# ---------------------------------------------------------------------------------------------- the correction
def _features(part: Tally) -> Floats:
    """(n, 3) what a picture shows in every block: share of objects, their number and their border per area."""
    count = np.bincount(part.owner, minlength=len(part))
    table = np.stack([part.object_area, count.astype(np.float64), part.interface], axis=1)
    return np.asarray(table / np.maximum(part.area, 1e-300)[:, None])


def _corrected(
    ground: Ground, whole: Tally, shown: Mapping[str, float], weights: Floats, computed_share: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Values and their standard errors from the scatter between blocks."""
    n = len(ground)
    scale = _features(whole).std(axis=0) if len(whole) >= FEWEST else _features(ground.enhanced).std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    target = _features(whole.total())[0] / scale
    area = ground.enhanced.area
    first = np.vstack([np.ones(n), weights]) * area
    found = calibration_weights(_features(ground.enhanced) / scale, target, first) / area
    fine, enhanced = values(ground.fine, found), values(ground.enhanced, found)
    lost = float(np.sqrt(n / max(1, n - 1 - _features(whole).shape[1])))
    out, errors = {}, {}
    for name, measure in MEASURES.items():
        change = _change(fine[name], enhanced[name], shown[name], measure.ratio) * computed_share
        out[name] = shown[name] + float(change[0])
        known = change[1:][np.isfinite(change[1:])]
        errors[name] = lost * float(known.std()) if known.size > 1 else float("nan")
    return out, errors


def _change(fine: Floats, enhanced: Floats, shown: float, ratio: bool) -> Floats:
    """What is to be added to the measured number, per set of weights."""
    if not ratio:
        return np.asarray(fine - enhanced)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(shown * (fine / enhanced - 1))


def _plain(part: Tally, weights: Floats) -> tuple[dict[str, float], dict[str, float]]:
    """Measures of blocks as they are, and their standard errors."""
    found = values(part, np.vstack([np.ones(len(part)), weights]))
    return {k: float(v[0]) for k, v in found.items()}, {k: _scatter(v[1:]) for k, v in found.items()}


def _scatter(draws: Floats) -> float:
    """Of what is known; NaN where no draw held what is measured (not one object)."""
    return float(np.nanstd(draws)) if np.isfinite(draws).any() else float("nan")


# ---------------------------------------------------------------------------------------------- the rehearsal
def _moved(place: NDArray[np.intp], shape: Sequence[int]) -> list[NDArray[np.intp]]:
    """The pattern of blocks at evenly spread places of the lattice, as numbers of its blocks; it wraps around."""
    steps = [np.unique(np.linspace(0, n, PLACES, endpoint=False).astype(int)) for n in shape]
    grids = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, len(shape))
    return [np.asarray(np.ravel_multi_index(tuple(((place + g) % shape).T), tuple(shape))) for g in grids]


def _taken(whole: Tally, number: NDArray[np.intp]) -> Tally:
    """The blocks of some numbers, in their order."""
    order = np.full(len(whole), -1, np.intp)
    order[number] = np.arange(len(number))
    owner = order[whole.owner]
    mine = owner >= 0
    return Tally(
        whole.area[number], whole.object_area[number], whole.interface[number], owner[mine], whole.diameter_nm[mine]
    )


def _factors(missed: Mapping[str, Sequence[tuple[float, float]]], here: Mapping[str, float]) -> dict[str, float]:
    usual, calm = {}, {}
    for name, rows in missed.items():
        table = np.array([r for r in rows if np.isfinite(r).all()])
        if len(table) < 2 or not (table[:, 1] > 0).any():
            continue
        off = float(np.sqrt(np.mean(table[:, 0] ** 2)))
        usual[name] = off / float(np.sqrt(np.mean(table[:, 1] ** 2)))
        if here.get(name, 0.0) > 0:
            calm[name] = min(off / here[name], LARGEST_FACTOR)
    if not usual:
        return {}
    mean = float(np.sqrt(np.mean(np.square(list(usual.values())))))
    return {name: max(1.0, mean, usual.get(name, 1.0), calm.get(name, 1.0)) for name in missed}


# ---------------------------------------------------------------------------------------------- results
def _interval(value: float, half: float, ratio: bool) -> tuple[float, float]:
    """Ends of an interval: as far up as down, or by the same factor where errors are factors."""
    if ratio and value > 0:
        factor = float(np.exp(half / value))
        return value / factor, value * factor
    return max(0.0, value - half), value + half


def _unknown(name: str, measured: float, blocks: int, level: float) -> ErrorBar:
    nan = float("nan")
    return ErrorBar(name, _unit(name), measured, nan, nan, nan, nan, {}, blocks, level)


def _unit(name: str) -> str:
    return MEASURES[name].unit[0]


def in_volumes(bar: ErrorBar) -> ErrorBar:
    """The same with the unit that the measure has in volumes."""
    return replace(bar, unit=MEASURES[bar.name].unit[1])


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
