"""How wrong each pixel of an enhanced image is expected to be, learned from a recorded fine scan; without a network.

log |error| is regressed on a few local properties of the enhanced image: its grey level (noise grows with it), the
gradient, the local standard deviation, and the spread that the network itself states, where it states one.
It works for any image: a network's, an interpolation, or what other software made, of two or three axes. What comes
out is positive and bounded, and only relative: :mod:`finescan.trust.intervals` makes grey levels of it.

All properties are local (:attr:`SpreadModel.reach_px`), so a map is worked on band by band
(:mod:`finescan.trust.spread_map`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError

FINEST_PX = 1.0  # sigma at which grey level and gradient are looked at, fine pixels
SCALE = 0.5  # sigma within which the local standard deviation is taken, coarse pixels; a second scale told no more
TRUNCATE = 3.0
LEAST_PIXELS = 256
_SAMPLES = 200_000
_RIDGE = 1e-3
_FLOOR = 0.02  # of the rms error: smaller errors are as good as none, and their logarithm would outweigh all others
_FARTHEST = 3.0  # standard deviations of a property, beyond which it is held
BOUND = 2.5  # of the logarithm: no spread is more than 12 times the typical one, or less than a twelfth
SHRINKAGES = (1.0, 0.85, 0.7, 0.5, 0.0)
_LEVEL, _DEAR = 0.9, 0.15
_FOLD_PX = 32  # edge of the blocks that are left out in turn to choose the shrinkage

Floats = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """A part of the sample with its fine scan: enhanced, enhanced - recorded, which pixels count, the raw spread."""

    enhanced: NDArray[Any]
    error: Floats
    known: Bool
    raw: Floats | None = None


@dataclass(frozen=True)
class SpreadModel:
    """A fitted regression.

    Parameters
    ----------
    weights : per property, of its standardised value.
    scaling : per property, (added before the logarithm, mean, standard deviation); nothing is added to the grey level,
        which is taken as it is.
    typical : typical |error|, fine grey levels.
    scale_px : fine pixels per coarse pixel, per axis.
    shrinkage : power to which the spread is raised, 0 to 1: 0 = the same everywhere. The one with which intervals were
        narrowest on parts that the regression did not see.
    """

    weights: Mapping[str, float]
    scaling: Mapping[str, tuple[float, float, float]]
    typical: float
    scale_px: tuple[float, ...]
    shrinkage: float = 1.0

    @property
    def reach_px(self) -> int:
        """Pixels around a place on which its spread depends."""
        return int(np.ceil(TRUNCATE * max(FINEST_PX, *_sigmas(self.scale_px)))) + 1

    @property
    def uses_raw(self) -> bool:
        """Whether the network's own spread is one of the properties."""
        return "stated" in self.weights

    def spread(self, enhanced: NDArray[Any], raw: Floats | None = None) -> Floats:
        """Expected size of the error, fine grey levels: positive, float32, of the shape of ``enhanced``.

        Parameters
        ----------
        enhanced : grey levels; NaN is taken as the mean of all.
        raw : the network's own spread, for a model that was fitted with one.
        """
        columns = standardised(enhanced, self, list(self.weights), raw)
        return self.of(dict(zip(self.weights, columns, strict=True)))

    def of(self, columns: Mapping[str, Floats]) -> Floats:
        """As :meth:`spread`, from the properties themselves, in the standard deviations of those fitted on."""
        total: Floats = sum(np.float32(w) * columns[n] for n, w in self.weights.items())  # type: ignore[assignment]
        np.clip(total, -BOUND, BOUND, out=total)
        return np.float32(self.typical) * np.exp(np.float32(self.shrinkage) * total)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "weights": dict(self.weights),
            "scaling": {k: list(v) for k, v in self.scaling.items()},
            "typical": self.typical,
            "scale_px": list(self.scale_px),
            "shrinkage": self.shrinkage,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> SpreadModel:
        """Inverse of :meth:`to_dict`."""
        scaling = {k: (float(v[0]), float(v[1]), float(v[2])) for k, v in d["scaling"].items()}
        return cls(dict(d["weights"]), scaling, d["typical"], tuple(d["scale_px"]), d["shrinkage"])


def flat_spread(scale_px: Sequence[float], typical: float = 1.0) -> SpreadModel:
    """The same spread everywhere: what there is when nothing can be learned."""
    names = ("grey", "gradient", "deviation")
    return SpreadModel(dict.fromkeys(names, 0.0), dict.fromkeys(names, (1.0, 0.0, 1.0)), typical, tuple(scale_px), 0.0)


def standardised(
    enhanced: NDArray[Any], model: SpreadModel, names: Sequence[str], raw: Floats | None = None
) -> list[Floats]:
    """Properties of an image in the standard deviations of those a model was fitted on, one per name."""
    if "stated" in names and raw is None:
        raise InputError("This model of the spread was fitted with the network's own spread, but none came.")
    found = properties(enhanced, model.scale_px, model.scaling["grey"][1], raw if "stated" in names else None)
    return [_standardised(n, found[n], model.scaling[n]) for n in names]


def properties(
    enhanced: NDArray[Any], scale_px: Sequence[float], mean: float, raw: Floats | None = None
) -> dict[str, Floats]:
    """What the spread is told from, by name, each of the shape of ``enhanced``.

    Parameters
    ----------
    scale_px : fine pixels per coarse pixel, per axis.
    mean : grey level that is taken off first (so that squares keep their digits), and put where there is none.
    raw : the network's own spread.
    """
    x = np.asarray(enhanced, np.float32) - np.float32(mean)
    x = np.where(np.isfinite(x), x, np.float32(0))
    found = {"grey": _smooth(x, FINEST_PX) + np.float32(mean), "gradient": _gradient(x)}
    found["deviation"] = _deviation(x, _sigmas(scale_px))
    if raw is not None:
        found["stated"] = np.where(np.isfinite(raw), raw, np.float32(0)).astype(np.float32)
    return found


def fit_spread(parts: Iterable[Example], scale_px: Sequence[float]) -> SpreadModel:
    """The regression on parts of the sample with a recorded fine scan.

    Parameters
    ----------
    parts : whose pixels must not be those that intervals are calibrated on; that the network was trained there does no
        harm, because only where it is *more* wrong than elsewhere is learned.
    scale_px : fine pixels per coarse pixel, per axis.

    Raises
    ------
    InputError : fewer than 256 known pixels.
    """
    parts = [p for p in parts if p.known.any()]
    count = sum(int(np.count_nonzero(p.known)) for p in parts)
    if count < LEAST_PIXELS:
        raise InputError(
            f"Where an image is wrong can be learned from at least {LEAST_PIXELS} pixels with a fine scan, but {count} "
            "are known. Record a larger fine scan."
        )
    step = max(1, round(count / _SAMPLES))
    mean = float(np.mean([np.mean(p.enhanced[p.known], dtype=np.float64) for p in parts]))
    rows = [_sampled(p, scale_px, mean, step) for p in parts]
    raw = all("stated" in r[0] for r in rows)
    values = {n: np.concatenate([r[0][n] for r in rows]) for n in rows[0][0] if raw or n != "stated"}
    error, fold = (np.concatenate([r[k] for r in rows]) for k in (1, 2))
    model = _regression(values, error, tuple(float(s) for s in scale_px))
    return replace(model, shrinkage=_shrinkage(values, error, fold, model))


# ---------------------------------------------------------------------------------------------- fitting
def _sampled(
    part: Example, scale_px: Sequence[float], mean: float, step: int
) -> tuple[dict[str, Floats], Floats, NDArray[np.int8]]:
    """Properties, errors and fold (0 or 1) of some known pixels."""
    at = np.flatnonzero(part.known)[::step]
    found = properties(part.enhanced, scale_px, mean, part.raw)
    place = np.unravel_index(at, part.known.shape)
    fold = sum(p // _FOLD_PX for p in place) % 2
    return {n: v.ravel()[at] for n, v in found.items()}, part.error.ravel()[at], np.asarray(fold, np.int8)


def _regression(values: Mapping[str, Floats], error: Floats, scale_px: tuple[float, ...]) -> SpreadModel:
    scaling = {n: _scaling(n, v) for n, v in values.items()}
    columns = [_standardised(n, v, scaling[n]) for n, v in values.items()]
    design = np.stack([np.ones(len(error)), *columns], axis=-1).astype(np.float64)
    size = np.abs(error).astype(np.float64)
    floor = _FLOOR * float(np.sqrt(np.mean(size**2))) or 1e-12
    target = np.log(np.maximum(size, floor))
    normal = design.T @ design + _RIDGE * len(error) * np.diag([0.0, *np.ones(len(columns))])
    weights = np.linalg.solve(normal, design.T @ target)
    named = {n: float(w) for n, w in zip(values, weights[1:], strict=True)}
    return SpreadModel(named, scaling, max(float(np.median(size)), floor), scale_px)


def _shrinkage(values: Mapping[str, Floats], error: Floats, fold: NDArray[np.int8], model: SpreadModel) -> float:
    """The power with which intervals of one coverage are narrowest on blocks the regression has not seen."""
    widths = np.zeros(len(SHRINKAGES))
    for left_out in (0, 1):
        seen, unseen = fold != left_out, fold == left_out
        if min(np.count_nonzero(seen), np.count_nonzero(unseen)) < LEAST_PIXELS // 4:
            return 1.0
        fitted = _regression({n: v[seen] for n, v in values.items()}, error[seen], model.scale_px)
        logs = sum(
            fitted.weights[n] * _standardised(n, v[unseen], fitted.scaling[n]).astype(np.float64)
            for n, v in values.items()
        )
        logs = np.clip(logs, -BOUND, BOUND)
        size = np.abs(error[unseen]).astype(np.float64)
        for k, power in enumerate(SHRINKAGES):
            spread = np.exp(power * logs)
            widths[k] += np.quantile(size / spread, _LEVEL) * spread.mean()
    dear = 1 + _DEAR * (1 - np.array(SHRINKAGES))  # what is gained must be worth that doubtful places are told less
    return SHRINKAGES[int(np.argmin(widths * dear))]


def _scaling(name: str, values: Floats) -> tuple[float, float, float]:
    if name == "grey":
        return 0.0, float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)) or 1.0
    added = float(np.quantile(values, 0.2)) + 1e-3 * float(values.mean(dtype=np.float64)) or 1e-12
    logs = np.log(values.astype(np.float64) + added)
    return added, float(logs.mean()), float(logs.std()) or 1.0


def _standardised(name: str, values: Floats, scaling: tuple[float, float, float]) -> Floats:
    added, mean, deviation = scaling
    x = values if name == "grey" else np.log(values + np.float32(added))
    return np.clip((x - np.float32(mean)) / np.float32(deviation), -_FARTHEST, _FARTHEST).astype(np.float32)


# ---------------------------------------------------------------------------------------------- looking
def _sigmas(scale_px: Sequence[float]) -> list[float]:
    return [max(0.7, SCALE * s) for s in scale_px]


def _smooth(x: Floats, sigma: float | Sequence[float]) -> Floats:
    return ndimage.gaussian_filter(x, sigma, truncate=TRUNCATE)


def _gradient(x: Floats) -> Floats:
    total = np.zeros_like(x)
    for axis in range(x.ndim):
        order = [int(a == axis) for a in range(x.ndim)]
        total += ndimage.gaussian_filter(x, FINEST_PX, order=order, truncate=TRUNCATE) ** 2
    return np.sqrt(total)


def _deviation(x: Floats, sigma: Sequence[float]) -> Floats:
    mean = _smooth(x, sigma)
    return np.sqrt(np.maximum(_smooth(x * x, sigma) - mean * mean, 0))
