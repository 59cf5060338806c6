"""Grey maps: what coarse grey level a fine grey level stands for, when nobody knows.

Linear: gain and offset, each a low-order field (shading). Mixture: the joint histogram of both scans as a sum of
Gaussians, after Tudisco et al., "An extension of digital volume correlation for multimodality image registration",
Meas. Sci. Technol. 28 (2017) 095401, doi:10.1088/1361-6501/aa7b48; several coarse levels may belong to one fine level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.registration.basis import Basis

Array = NDArray[Any]  # float64 throughout

BINS = 48
COMPONENTS = 8  # a surplus does no harm
OUTLIERS = 0.02  # share of pixels of the flat background component
CAUCHY = 2.4  # residuals beyond this many sigmas lose weight (95 % efficiency for Gaussian noise)


@dataclass(frozen=True)
class Mixture:
    """Gaussians over (fine, coarse) grey level, both standardised.

    Parameters
    ----------
    share : (k,) weights; mean : (k, 2); covariance : (k, 2, 2).
    centre, spread : (2,) of the standardisation.
    """

    share: Array
    mean: Array
    covariance: Array
    centre: Array
    spread: Array

    def expected(self, fine: Array) -> Array:
        """Mean coarse level for a fine one, without looking at the coarse one."""
        h = (fine - self.centre[0]) / self.spread[0]
        total, weight = np.zeros(h.shape), np.full(h.shape, 1e-300)
        for share, mean, cov in zip(self.share, self.mean, self.covariance, strict=True):
            p = share * np.exp(-0.5 * (h - mean[0]) ** 2 / cov[0, 0]) / np.sqrt(cov[0, 0])
            total += p * (mean[1] + cov[0, 1] / cov[0, 0] * (h - mean[0]))
            weight += p
        return self.centre[1] + self.spread[1] * total / weight

    def parts(self, fine: Array, coarse: Array) -> tuple[Array, Array, Array]:
        """Expected coarse level, its weight (1 / variance), and the gain in log likelihood over independence."""
        h = (fine - self.centre[0]) / self.spread[0]
        g = (coarse - self.centre[1]) / self.spread[1]
        target, weight, total, alone = (np.zeros(h.shape) for _ in range(4))
        marginal = np.zeros(h.shape)
        for share, mean, cov in zip(self.share, self.mean, self.covariance, strict=True):
            slope = cov[0, 1] / cov[0, 0]
            variance = cov[1, 1] - slope * cov[0, 1]
            expected = mean[1] + slope * (h - mean[0])
            p_h = share * np.exp(-0.5 * (h - mean[0]) ** 2 / cov[0, 0]) / np.sqrt(2 * np.pi * cov[0, 0])
            p = p_h * np.exp(-0.5 * (g - expected) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
            target += p / variance * expected
            weight += p / variance
            total += p
            alone += p_h
            marginal += share * np.exp(-0.5 * (g - mean[1]) ** 2 / cov[1, 1]) / np.sqrt(2 * np.pi * cov[1, 1])
        background = OUTLIERS / 36
        # a far pixel keeps a finite target: the nearest component's line
        target = target / np.maximum(weight, 1e-300)
        weight = weight / (total + background)
        gain = np.log((total + background) / ((alone + background) * (marginal + background)))
        return self.centre[1] + self.spread[1] * target, weight / self.spread[1] ** 2, gain


def fit_mixture(
    fine: Array, coarse: Array, ok: NDArray[np.bool_], *, components: int = COMPONENTS, start: Mixture | None = None
) -> Mixture:
    """Expectation maximisation on the joint histogram.

    Parameters
    ----------
    fine, coarse : grey levels at the same places; ``ok`` where both count.
    components : Gaussians; a surplus does no harm.
    start : a previous answer to continue from.

    Returns
    -------
    Mixture in grey levels of the inputs.
    """
    both = np.stack([fine[ok], coarse[ok]])
    if start is None:
        low, high = np.percentile(both, [1, 99], axis=1)
        centre, spread = (low + high) / 2, np.maximum((high - low) / 4, 1e-12)
    else:
        centre, spread = start.centre, start.spread
    z = np.clip((both - centre[:, None]) / spread[:, None], -2.999, 2.999)
    where = ((z + 3) * (BINS / 6)).astype(np.intp)
    count = np.bincount(where[0] * BINS + where[1], minlength=BINS * BINS).astype(np.float64)
    used = np.flatnonzero(count)
    middles = (np.stack([used // BINS, used % BINS], 1) + 0.5) * 6 / BINS - 3
    weight = count[used] / count.sum()
    model = start or _first_guess(middles, weight, components, centre, spread)
    for _ in range(40 if start is None else 3):
        model = _em_step(model, middles, weight)
    return model


def _first_guess(x: Array, weight: Array, k: int, centre: Array, spread: Array) -> Mixture:
    """Components along the fine grey level, equal shares."""
    order = np.argsort(x[:, 0], kind="stable")
    rank = np.empty(len(x))
    rank[order] = np.cumsum(weight[order])
    part = np.minimum((rank * k).astype(int), k - 1)
    means = np.stack([np.average(x[part == j], axis=0, weights=weight[part == j]) if (part == j).any() else
                      np.zeros(2) for j in range(k)])  # fmt: skip
    cov = np.broadcast_to(np.diag([0.15, 0.6]), (k, 2, 2)).copy()
    return Mixture(np.full(k, 1 / k), means, cov, centre, spread)


def _em_step(m: Mixture, x: Array, weight: Array) -> Mixture:
    d = x[None] - m.mean[:, None]
    inverse = np.linalg.inv(m.covariance)
    p = np.exp(-0.5 * np.einsum("kni,kij,knj->kn", d, inverse, d))
    p *= (m.share / (2 * np.pi * np.sqrt(np.linalg.det(m.covariance))))[:, None]
    p *= weight / (p.sum(0) + OUTLIERS / 36)
    total = p.sum(1) + 1e-9
    mean = (p @ x) / total[:, None]
    d = x[None] - mean[:, None]
    cov = np.einsum("kn,kni,knj->kij", p, d, d) / total[:, None, None]
    # a component never gets narrower than a histogram bin
    cov += np.eye(2) * (6 / BINS) ** 2 / 12 + 1e-3 * np.eye(2)
    return replace(m, share=total / total.sum(), mean=mean, covariance=cov)


@dataclass(frozen=True)
class GreyFit:
    """The grey map at one position of the scans.

    Parameters
    ----------
    target : expected coarse grey level per pixel.
    residual : coarse minus target, 0 where masked.
    weight : per pixel, 1 / variance of the residual, robust, 0 where masked.
    sigma : robust standard deviation of the residual, grey levels.
    objective : share of the coarse variance explained (linear) or mean log-likelihood gain in nats (mixture).
    columns : images whose products with shading fields are fitted along (variable projection).
    mixture : the mixture, or None for the linear map.
    """

    target: Array
    residual: Array
    weight: Array
    sigma: float
    objective: float
    columns: Array
    mixture: Mixture | None = None


def fit_linear(fine: Array, coarse: Array, ok: NDArray[np.bool_], shading: Basis, *, last: GreyFit | None) -> GreyFit:
    """Gain and offset fields for the scans as they lie, with Cauchy weights from the residuals of the ``last`` fit."""
    plain = ok.astype(np.float64)
    columns = np.stack([fine, np.ones(fine.shape)])
    weight = plain if last is None else plain * _cauchy(last.residual, last.sigma)
    for _ in range(2 if last is None else 1):
        target = _projected(coarse, columns, weight, shading)
        residual = np.where(ok, coarse - target, 0.0)
        sigma = _spread(residual[ok])
        weight = plain * _cauchy(residual, sigma)
    flat = coarse - _projected(coarse, columns[1:], weight, shading)
    return GreyFit(target, residual, weight / sigma**2, sigma, _explained(flat, residual, weight), columns)


def fit_mixed(
    fine: Array, edges: Array, coarse: Array, ok: NDArray[np.bool_], shading: Basis, *, start: Mixture | None
) -> GreyFit:
    """Mixture plus slow fields of offset and of edge brightness (other detectors show edges brighter).

    The mixture weighs outliers down by itself, so there are no Cauchy weights.
    """
    model = fit_mixture(fine, coarse, ok, start=start)
    base, weight, gain = model.parts(fine, coarse)
    weight = weight * ok
    columns = np.stack([np.ones(fine.shape), edges])
    target = base + _projected(coarse - base, columns, weight, shading)
    residual = np.where(ok, coarse - target, 0.0)
    return GreyFit(target, residual, weight, _spread(residual[ok]), float(gain[ok].mean()), columns, model)


def _spread(values: Array) -> float:
    """Robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(values))) + 1e-12


def _cauchy(residual: Array, sigma: float) -> Array:
    return 1 / (1 + (residual / (CAUCHY * sigma)) ** 2)


def _projected(values: Array, columns: Array, weight: Array, shading: Basis) -> Array:
    """Weighted least-squares fit of ``values`` by columns times shading fields."""
    m, n = len(columns), len(shading)
    gram = np.empty((m, n, m, n))
    for i in range(m):
        gram[i] = shading.gram(weight * columns[i] * columns).transpose(1, 0, 2)
    right = shading.sums(weight * columns * values)
    a = np.linalg.lstsq(gram.reshape(m * n, m * n), right.ravel(), rcond=1e-10)[0]
    return (shading.evaluate(a.reshape(m, n)) * columns).sum(0)


def _explained(flat: Array, residual: Array, weight: Array) -> float:
    """Share of the variance explained by the fine scan; ``flat`` is the coarse one without its slow shading."""
    return 1 - float(np.sum(weight * residual**2) / max(np.sum(weight * flat**2), 1e-300))


def correlation(a: Array, b: Array, ok: NDArray[np.bool_]) -> float:
    """Pearson correlation of two images over a mask; 0 if either is constant there."""
    if np.count_nonzero(ok) < 3 or np.std(a[ok]) < 1e-12 or np.std(b[ok]) < 1e-12:
        return 0.0
    return float(np.corrcoef(a[ok], b[ok])[0, 1])
