"""How far a map is from the sample itself, although every scan that it can be compared with has noise.

A recorded pixel differs from the map by the error of the map and by noise. The noise of neighbouring pixels is
independent; the error is not, because the beam is wider than a pixel. So the mean product of the differences of two
*neighbouring* pixels is the mean squared error alone, less what the error changes over that distance. That is
extrapolated from one and two pixels back to none: by a parabola, which comes out too low, and by a line, too high. Half
way between them lies the estimate: on seven simulated samples it was 0.98 to 1.04 times the true rms error, also where
the noise was three times the error.

Noise that is alike in neighbouring pixels (a slow amplifier, frames that were aligned, filters, tomograms) counts as
error. Along the slow axis of a scan it is rarest; where the axes do not agree, the lower one counts.

Source: J. T. L. Thong, K. S. Sim, J. C. H. Phang, Scanning 23, 328 (2001), doi:10.1002/sca.4950230506, who take the
noise of a single image from its autocorrelation in this way; here it is that of the difference of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from finescan.errors import InputError
from finescan.trust.spread_model import BOUND, SpreadModel, standardised

LEAST_PIXELS = 4096
NORMAL_90 = 1.645  # half width of the 90 % interval of a normal distribution over its standard deviation
AXES_AGREE = 1.25  # ratio of the mean squared errors along the two axes, up to which their mean counts
TOLD_APART = 2.0  # standard errors above zero from which an error is told apart from noise
_LINE, _PARABOLA = (0.0, 2.0, -1.0), (0.0, 4 / 3, -1 / 3)  # weights of the products 0, 1 and 2 pixels apart
_MIDDLE, _SELF = (0.0, 5 / 3, -2 / 3), (1.0, 0.0, 0.0)
_SAMPLES, _DEPENDENT = 200_000, 3.0  # products fitted; neighbouring ones repeat each other: so many count as one
_UNSURE = 0.5  # standard deviation of a weight of log squared error from twice that of log |difference|

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class NoiseFree:
    """The error of a map against the sample, fine grey levels.

    Parameters
    ----------
    rms : of the map; NaN where it cannot be told apart from noise (then ``high`` is what it may be at most).
    low, high : by the parabola and by the line.
    standard_error : of ``rms``, from block to block.
    recorded_rms, noise_rms : difference to the recorded pixels, and their noise.
    blocks, pixels : that it was measured on.
    """

    rms: float
    low: float
    high: float
    standard_error: float
    recorded_rms: float
    noise_rms: float
    blocks: int
    pixels: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an unknown number is None."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in vars(self).items()}


@dataclass(frozen=True)
class Products:
    """Sums over blocks of the products of differences no, one and two pixels apart.

    Parameters
    ----------
    sums : (blocks, axes, 3).
    counts : (blocks, axes).
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def pixels(self) -> int:
        """Triples of neighbouring pixels along an axis."""
        return int(self.counts.sum(axis=0).min())

    def squares(self, weights: Sequence[float]) -> NDArray[np.float64]:
        """Mean squares, the products weighted and the axes taken together: of all, then without each of the blocks."""
        sums, counts = self.sums.sum(axis=0), self.counts.sum(axis=0)
        sums, counts = (
            np.concatenate([sums[None], sums - self.sums]),
            np.concatenate([counts[None], counts - self.counts]),
        )
        means = sums / np.maximum(counts, 1)[:, :, None]
        along, middle = means @ np.array(weights), means @ np.array(_MIDDLE)
        low, high = middle.min(axis=1), middle.max(axis=1)
        lower = np.take_along_axis(along, middle.argmin(axis=1)[:, None], axis=1)[:, 0]
        return np.where(high <= AXES_AGREE * low, along.mean(axis=1), lower)


def products_of(errors: Sequence[Floats], side: int) -> Products:
    """Products of the differences on the lattices of one or more fine scans, block by block.

    Parameters
    ----------
    errors : map less recorded pixel, (rows, columns) each; NaN where unknown or not to be used.
    side : of a block, pixels; more than the differences are alike over.

    Raises
    ------
    InputError : fewer than 4096 triples of neighbouring pixels, or fewer than two blocks.
    """
    sums, counts = [], []
    for error in errors:
        across = -(-error.shape[1] // side)
        number = np.add.outer(np.arange(error.shape[0]) // side * across, np.arange(error.shape[1]) // side)
        size = int(number.max()) + 1
        of_blocks, count = np.zeros((size, 2, 3)), np.zeros((size, 2))
        for axis in range(2):
            at, products = _triples(error, axis)
            count[:, axis] = np.bincount(number[at], minlength=size)
            for k, values in enumerate(products):
                of_blocks[:, axis, k] = np.bincount(number[at], values, size)
        used = count.min(axis=1) > 0
        sums.append(of_blocks[used])
        counts.append(count[used])
    found = Products(np.concatenate(sums), np.concatenate(counts))
    if found.pixels < LEAST_PIXELS or len(found.sums) < 2:
        raise InputError(
            f"To tell error from noise at least {LEAST_PIXELS} neighbouring held-out pixels in two blocks are needed, "
            f"but {found.pixels} in {len(found.sums)} came. Record a larger fine scan."
        )
    return found


def noise_free(products: Products) -> NoiseFree:
    """The error of a map against the sample."""
    middle, error = _with_error(products.squares(_MIDDLE))
    low, high, recorded = (max(0.0, float(products.squares(w)[0])) for w in (_PARABOLA, _LINE, _SELF))
    known = middle > TOLD_APART * error
    rms = math.sqrt(middle) if known else math.nan
    return NoiseFree(
        rms=rms,
        low=math.sqrt(low) if known else 0.0,
        high=math.sqrt(high if known else max(0.0, middle) + TOLD_APART * error),
        standard_error=error / (2 * rms) if known else math.nan,
        recorded_rms=math.sqrt(recorded),
        noise_rms=math.sqrt(max(0.0, recorded - max(0.0, middle))),
        blocks=len(products.sums),
        pixels=products.pixels,
    )


def gain_db(ours: Products, other: Products) -> tuple[float, float]:
    """By how many dB the squared error of a map is less than that of another, and the standard error of it.

    NaN where one of them cannot be told apart from noise. Both must be of the same pixels.
    """
    if math.isnan(noise_free(ours).rms) or math.isnan(noise_free(other).rms):
        return math.nan, math.nan
    theirs, mine = (np.maximum(p.squares(_MIDDLE), 1e-300) for p in (other, ours))
    return _with_error(10 * np.log10(theirs / mine))


def fit_noise_free(seen: Sequence[Floats], errors: Sequence[Floats], model: SpreadModel) -> SpreadModel:
    """What tells the error of a map against the sample from place to place, as ``model`` tells that of recorded pixels.

    The same local properties; their weights are those with which the mean products of neighbouring differences are
    fitted best (weighted by how far such products scatter, and held near the weights of ``model``).

    Parameters
    ----------
    seen : the map on the lattices of the fine scans, (rows, columns) each.
    errors : as for :func:`products_of`.
    model : of the differences to recorded pixels.

    Raises
    ------
    InputError : fewer than 4096 triples of neighbouring pixels.
    """
    names = [n for n in model.weights if n != "stated"]
    rows, products, spreads = [], [], []
    for grey, error in zip(seen, errors, strict=True):
        columns = standardised(grey, model, names)
        expected = np.log(model.spread(grey), dtype=np.float64) if not model.uses_raw else np.zeros(grey.shape)
        for axis in range(2):
            at, found = _triples(error, axis)
            rows.append(np.stack([c[at] for c in columns], axis=-1).astype(np.float64))
            products.append(_MIDDLE[1] * found[1] + _MIDDLE[2] * found[2])
            spreads.append(expected[at])
    x, product, spread = (np.concatenate(v) for v in (rows, products, spreads))
    if product.size < 2 * LEAST_PIXELS:
        raise InputError(
            f"To tell error from noise at least {LEAST_PIXELS} neighbouring pixels are needed, but {product.size // 2} "
            "came. Record a larger fine scan."
        )
    step = max(1, round(product.size / _SAMPLES))
    x, product, scatter = x[::step], product[::step], np.exp(2 * spread[::step])
    usual = np.array([2 * model.shrinkage * model.weights[n] for n in names])
    whole = max(float(np.sum(product / scatter) / np.sum(1 / scatter)), 1e-3 * float(np.mean(scatter)))
    scatter *= math.sqrt(_DEPENDENT) * float(np.std(product / scatter))

    def left(p: NDArray[np.float64]) -> NDArray[np.float64]:
        expected = whole * np.exp(np.clip(p[0] + x @ p[1:], -2 * BOUND, 2 * BOUND))
        return np.append((product - expected) / scatter, (p[1:] - usual) / _UNSURE)

    best = optimize.least_squares(left, [0.0, *usual], x_scale=0.1).x
    weights = {n: float(w) / 2 for n, w in zip(names, best[1:], strict=True)}
    scaling = {n: model.scaling[n] for n in names}
    typical = math.sqrt(whole * math.exp(float(best[0])))
    return replace(model, weights=weights, scaling=scaling, typical=typical, shrinkage=1.0)


def _triples(error: Floats, axis: int) -> tuple[tuple[NDArray[np.intp], ...], list[NDArray[np.float64]]]:
    """Middles of three known neighbours along an axis, and their products no, one and two pixels apart."""
    turned = np.moveaxis(error, axis, 0)
    known = np.isfinite(turned)
    place = np.nonzero(known[:-2] & known[1:-1] & known[2:])
    a, b, c = (turned[(place[0] + k, *place[1:])].astype(np.float64) for k in range(3))
    at = (place[0] + 1, *place[1:])
    return at if axis == 0 else at[::-1], [(a * a + b * b + c * c) / 3, (a * b + b * c) / 2, a * c]


def _with_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """A figure and its standard error, from that of all blocks and those with one of them left out (jackknife)."""
    each = values[1:]
    return float(values[0]), float(math.sqrt((len(each) - 1) * np.mean((each - each.mean()) ** 2)))
