"""How well a score ranks: area under the ROC curve; and a small logistic regression that makes a score of many."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import rankdata

from finescan.errors import InputError

Array = NDArray[np.float64]
_STEPS, _DONE = 50, 1e-8


def auroc(score: ArrayLike, wrong: ArrayLike) -> float:
    """Probability that a wrong item has a higher score than a right one; equal scores count half.

    Parameters
    ----------
    score : any shape, finite.
    wrong : True for the wrong ones, same shape.

    Returns
    -------
    0 to 1, 0.5 for a score that knows nothing; NaN where all are right or all are wrong.

    Examples
    --------
    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    values, positive = np.asarray(score, np.float64).ravel(), np.asarray(wrong, bool).ravel()
    if values.shape != positive.shape or not np.isfinite(values).all():
        raise InputError(
            f"A ranking needs one finite score per item, but {values.size} scores (some not finite?) and "
            f"{positive.size} items came."
        )
    n, m = int(positive.sum()), int((~positive).sum())
    if not (n and m):
        return float("nan")
    return float((rankdata(values)[positive].sum() - n * (n + 1) / 2) / (n * m))


def caught(score: ArrayLike, wrong: ArrayLike, share: float = 0.05) -> float:
    """Share of the wrong items among the highest-scored share of all; ties count in part. NaN if none is wrong."""
    values, positive = np.asarray(score, np.float64).ravel(), np.asarray(wrong, bool).ravel()
    if not positive.any():
        return float("nan")
    level = np.quantile(values, 1 - share, method="inverted_cdf")
    above, equal = values > level, values == level
    room = max(share * values.size - above.sum(), 0) / max(equal.sum(), 1)
    return float((positive[above].sum() + room * positive[equal].sum()) / positive.sum())


@dataclass(frozen=True)
class Logistic:
    """Probability from numbers: logistic of a quadratic function of them.

    Parameters
    ----------
    names : of the numbers.
    middle, scale : what they are centred and divided by; beyond ``reach`` of these they count as that.
    weights : constant, then linear terms, then products of all pairs (squares included).
    """

    names: tuple[str, ...]
    middle: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]

    def probability(self, table: Array) -> Array:
        """(items,) 0 to 1, of (items, numbers)."""
        return np.asarray(expit(_terms(table, np.array(self.middle), np.array(self.scale)) @ np.array(self.weights)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {k: list(v) for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Logistic:
        """Inverse of :meth:`to_dict`."""
        return cls(**{k: tuple(v) for k, v in d.items()})


def fit_logistic(
    table: Array, wrong: NDArray[np.bool_], names: tuple[str, ...], *, ridge: float = 30.0, weight: Array | None = None
) -> Logistic:
    """The logistic regression of smallest penalised deviance, by Newton's method; no random numbers.

    Parameters
    ----------
    table : (items, numbers), finite.
    wrong : (items,) what is to be told.
    ridge : penalty of the squared weights (numbers have variance 1), in items.
    weight : (items,) how much each counts; None = 1.
    """
    middle, scale = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-6)
    x = _terms(table, middle, scale)
    y, w = wrong.astype(np.float64), np.ones(len(table)) if weight is None else weight
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-6
    start = np.clip((w @ y) / w.sum(), 1e-6, 1 - 1e-6)
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(start / (1 - start))
    for _ in range(_STEPS):
        p = expit(x @ beta)
        curvature = w * np.maximum(p * (1 - p), 1e-9)
        slope = x.T @ (w * (y - p)) - penalty * beta
        step = np.linalg.solve((x * curvature[:, None]).T @ x + np.diag(penalty), slope)
        size = np.abs(step).max()
        beta = beta + step * min(1.0, 2.0 / max(size, 1e-12))
        if size < _DONE:
            break
    return Logistic(names, tuple(middle.tolist()), tuple(scale.tolist()), tuple(beta.tolist()))


REACH = 3.0


def _terms(table: Array, middle: Array, scale: Array) -> Array:
    z = np.clip((table - middle) / scale, -REACH, REACH)
    pairs = [z[:, i] * z[:, j] for i, j in combinations_with_replacement(range(z.shape[1]), 2)]
    return np.stack([np.ones(len(z)), *z.T, *pairs], axis=1)
