"""Candidates: places of an enhanced map that may be an object (a void, a crack), and how much of one to expect there.

A map whose fine structure is computed shows more dark spots than there are voids, and some voids only faintly. What a
spot amounts to is learned where fine scans exist: the chance that it is an object at all (logistic regression with a
ridge) times the area it then has. The variance of that area says where a fine scan would help the measured fraction
most: a large spot of doubtful nature first, a certain or a tiny one last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError

SMOOTH_PX = 1.0  # Gaussian against single pixels
GROW_PX = 3  # a candidate's surroundings that count as its own: an object may be a little larger than its dark core
RIDGE = 1.0
LEAST_PX = 4.0  # of objects in a candidate from which it counts as one
ROUNDS = 30
NAMES = ("size", "depth", "mean depth", "darkest", "surroundings", "length", "edge", "fullness")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Spots darker than what is around them, each with its nearest surroundings.

    Parameters
    ----------
    labels : (h, w) int32, number of the candidate (from 1) whose spot or surroundings a pixel belongs to; 0 = none.
    boxes : (n, 4) first and last + 1 row and column of spot and surroundings: y0, y1, x0, x1.
    features : (n, 8) what it looks like, see :data:`NAMES`: logarithm of its area; how much darker than its
        surroundings its darkest pixel and its mean are (share); its darkest grey and that of its surroundings over the
        median of the map; logarithm of the diagonal of its box; step from the spot to its rim over the median of the
        map; logarithm of its area over the square of that diagonal.
    """

    labels: NDArray[np.int32]
    boxes: NDArray[np.intp]
    features: Floats

    def __len__(self) -> int:
        return len(self.features)

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sum of a map over every candidate and its surroundings."""
        total = np.bincount(self.labels.ravel(), np.asarray(values, np.float64).ravel(), minlength=len(self) + 1)
        return np.asarray(total[1:])

    def spread(self, values: Floats) -> NDArray[np.float32]:
        """A map that holds the value of every candidate, spread evenly over its spot and surroundings."""
        pixels = np.bincount(self.labels.ravel(), minlength=len(self) + 1)[1:]
        return np.concatenate([[0.0], values / np.maximum(pixels, 1)]).astype(np.float32)[self.labels]


def find_candidates(grey: NDArray[Any], *, black: float, width_px: float = 16.0, contrast: float = 0.4) -> Candidates:
    """Spots of a map that are darker than what is around them (negate map and ``black`` for bright ones).

    A spot is compared with the morphological closing of the map: what it would be if nothing dark were narrower than
    ``width_px``. That finds a void in a grey grain and a grey crack in a bright one alike.

    Parameters
    ----------
    grey : (h, w) grey levels, finite.
    black : grey level of nothing (of the inside of a deep void).
    width_px : objects are narrower than this along one direction.
    contrast : share by which a spot is darker than its surroundings. Generous: what is none costs little, what is
        missed is lost.
    """
    soft = ndimage.gaussian_filter(np.asarray(grey, np.float32), SMOOTH_PX) - np.float32(black)
    around = _closed(soft, width_px)
    middle = max(float(np.median(soft)), 1e-9)
    floor = 0.05 * middle
    spots = soft < (1 - contrast) * np.maximum(around, floor)
    # a thin crack that a coarse scan hits here and there is a row of spots: what nearly touches is one candidate
    labels, count = ndimage.label(ndimage.maximum_filter(spots, 2 * GROW_PX + 1), np.ones((3, 3), int))
    labels = labels.astype(np.int32)
    boxes, features = np.zeros((count, 4), np.intp), np.zeros((count, len(NAMES)))
    for k, box in enumerate(ndimage.find_objects(labels)):
        here = labels[box] == k + 1
        own = spots[box] & here
        dark, beside = soft[box][own], float(np.mean(around[box][own]))
        rows, columns = (np.flatnonzero(own.any(axis=1 - a)) for a in (0, 1))
        boxes[k] = box[0].start, box[0].stop, box[1].start, box[1].stop
        reach = np.hypot(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
        rim = soft[box][here & ~own]
        least, mean = float(dark.min()), float(dark.mean())
        step = (float(rim.mean()) - mean) / middle if rim.size else 0.0
        size = np.log(dark.size)
        looks = 1 - least / beside, 1 - mean / beside, least / middle, beside / middle
        features[k] = size, *looks, np.log(reach), step, size - 2 * np.log(reach)
    return Candidates(labels, boxes, features)


def _closed(soft: NDArray[np.float32], width_px: float) -> NDArray[np.float32]:
    """Morphological closing by a square: nothing dark that is narrower is left."""
    size = max(3, round(width_px) | 1)
    return np.asarray(ndimage.minimum_filter(ndimage.maximum_filter(soft, size), size), np.float32)


@dataclass(frozen=True)
class AreaModel:
    """What candidates amount to.

    Parameters
    ----------
    chance_of, area_of : coefficients on the standardised features, the constant last: of the log odds that it is an
        object, and of the logarithm of the area it then has.
    centre, scale : of the features.
    scatter : standard deviation of that logarithm.
    share : of the candidates it was fitted on that are objects.
    missed : area of objects that no candidate holds, per pixel outside all candidates.
    """

    chance_of: Floats
    area_of: Floats
    centre: Floats
    scale: Floats
    scatter: float
    share: float
    missed: float = 0.0

    def chance(self, features: Floats) -> Floats:
        """That a candidate is an object, 0 to 1."""
        return _sigmoid(_design(features, self.centre, self.scale) @ self.chance_of)

    def expected(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the area of objects in every candidate, px and px²."""
        chance = self.chance(features)
        log_area = _design(features, self.centre, self.scale) @ self.area_of
        full = np.exp(np.minimum(log_area, np.log(1e9)) + self.scatter**2 / 2)
        spread = np.exp(self.scatter**2) - 1
        return chance * full, full**2 * (chance * (1 - chance) + chance * spread)


def fit_areas(
    features: Floats, objects: Floats, *, missed: float = 0.0, least_px: float = LEAST_PX, ridge: float = RIDGE
) -> AreaModel:
    """Learn from candidates under fine scans what others amount to.

    Parameters
    ----------
    features : of the candidates, see :class:`Candidates`; several maps one after the other.
    objects : (n,) pixels of objects that the fine scan shows in each.
    missed : see :class:`AreaModel`.
    least_px : from which a candidate counts as an object.
    ridge : of both regressions; with few examples they stay near the overall share and the mean area.

    Raises
    ------
    InputError : hardly an example of an object, or of none.
    """
    real = objects >= least_px
    if real.sum() < 2 or real.all():
        raise InputError(
            f"{int(real.sum())} of {len(real)} candidates under the fine scans are objects: what others are cannot be "
            "told from that. Scan a place that holds some, or set another contrast."
        )
    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    x = _design(features, centre, scale)
    penalty = np.diag([ridge] * (x.shape[1] - 1) + [1e-9])
    size, some = np.log(objects[real]), x[real]
    middle = np.append(np.zeros(x.shape[1] - 1), size.mean())  # the ridge pulls to the mean area, not to the slope 0
    area_of = middle + np.linalg.solve(some.T @ some + penalty, some.T @ (size - some @ middle))
    left = size - some @ area_of
    scatter = float(np.sqrt(np.sum(left**2) / max(1.0, len(left) - x.shape[1] / 2)))
    return AreaModel(_logistic(x, real, penalty), area_of, centre, scale, scatter, float(real.mean()), missed)


def _logistic(x: Floats, real: NDArray[np.bool_], penalty: Floats) -> Floats:
    """Logistic regression by Newton's method, every step halved until it helps."""

    def loss(w: Floats) -> float:
        v = x @ w
        return float(np.sum(np.logaddexp(0, v)) - v[real].sum() + w @ penalty @ w / 2)

    weights = np.zeros(x.shape[1])
    weights[-1] = np.log(real.mean() / (1 - real.mean()))
    now = loss(weights)
    for _ in range(ROUNDS):
        p = _sigmoid(x @ weights)
        curve = (x * (p * (1 - p))[:, None]).T @ x + penalty + 1e-9 * np.eye(len(weights))
        step = np.linalg.solve(curve, x.T @ (real - p) - penalty @ weights)
        while (then := loss(weights + step)) > now and np.abs(step).max() > 1e-10:
            step = step / 2
        weights, before, now = weights + step, now, min(then, now)
        if before - now < 1e-10 * (1 + abs(now)):
            break
    return weights


def with_share(model: AreaModel, features: Floats, known: Floats | None = None) -> AreaModel:
    """The model for a map on which another share of the candidates are objects, which the candidates themselves tell.

    Objects and others look as they did where the model was fitted, only their numbers differ (prior shift; expectation
    maximisation of M. Saerens et al., Neural Computation 14 (2002) 21, doi:10.1162/089976602753284446).

    Parameters
    ----------
    features : of all candidates of the map whose objects are not known.
    known : (m,) whether (0 or 1) each further candidate of the map is an object; None = none is known.
    """
    real, further = (0.0, 0) if known is None else (float(np.sum(known)), len(known))
    chance = model.chance(features)
    odds = np.log(np.maximum(chance, 1e-12)) - np.log(np.maximum(1 - chance, 1e-12))
    start = share = model.share
    for _ in range(500):
        moved = odds + np.log(share / (1 - share)) - np.log(start / (1 - start))
        new = (float(_sigmoid(moved).sum()) + real) / (len(features) + further)
        new = min(max(new, 1e-6), 1 - 1e-6)
        if abs(new - share) < 1e-9:
            break
        share = new
    weights = model.chance_of.copy()
    weights[-1] += np.log(share / (1 - share)) - np.log(start / (1 - start))
    return replace(model, chance_of=weights, share=share)


def _design(features: Floats, centre: Floats, scale: Floats) -> Floats:
    return np.column_stack([(features - centre) / scale, np.ones(len(features))])


def _sigmoid(v: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(v, -40, 40))))
