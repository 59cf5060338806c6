"""Elliptical Gaussians on a constant, fitted to thousands of small windows.

Model of one window, with d the offset from the middle of the spot (pixels)::

    height * exp(-(u² + v²) / 2) + ground,   u = e^a dy + c dx,   v = e^b dx

so that any ellipse is one triple (a, b, c) and no step leaves the ellipses. Weighted least squares by
Levenberg-Marquardt (Marquardt 1963, doi:10.1137/0111030), every window by itself. A usual shape pulls weakly on the
shape of every spot: where noise is strong, or a lattice is hardly more than waves, the data alone do not give a width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]

HEIGHT, Y, X, A, B, C, GROUND = range(7)
ROUNDS = 60
DONE = 1e-5  # pixels, or relative change of a width
LIKE_OTHERS = 0.2  # standard deviation by which the shapes of spots differ: a factor of the width
LEVELS = 24  # groups of equal model grey from which the noise model is learned
LENGTHS = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # of correlation (sigma of the smoothing), pixels or steps
MOST_IN_WINDOW = 250  # pixels that the likeness of neighbours is worked out on
MOST_PIXELS = 150_000  # that the noise model is learned from
REACH = 3.5  # standard deviations out to which a spot is drawn
MEDIAN_OF_SQUARES = 0.4549  # of a normal variable of variance 1


@dataclass(frozen=True)
class Windows:
    """Small round pieces of an image.

    Parameters
    ----------
    centre : (n, 2) pixel in the middle of every window.
    offset : (m, 2) pixels of a window relative to its middle, the same for all.
    grey : (n, m).
    """

    centre: NDArray[np.int64]
    offset: NDArray[np.int64]
    grey: Array

    @classmethod
    def cut(cls, data: Array, centre: NDArray[np.int64], radius: float) -> Windows:
        """Windows of a radius (pixels), which must lie inside the image."""
        offset = disc(radius)
        where = centre[:, None] + offset
        return cls(centre, offset, np.asarray(data[where[..., 0], where[..., 1]], np.float64))

    def only(self, which: NDArray) -> Windows:
        """Some of the windows."""
        return Windows(self.centre[which], self.offset, self.grey[which])

    def first_guess(self, at: NDArray, sigma_px: float) -> Array:
        """Parameters (n, 7) of round spots at places (n, 2) in the image, pixels."""
        out = np.zeros((len(at), 7))
        out[:, HEIGHT], out[:, GROUND] = np.ptp(self.grey, axis=1), self.grey.min(1)
        out[:, [Y, X]] = at - self.centre
        out[:, [A, B]] = -np.log(sigma_px)
        return out


def disc(radius: float) -> NDArray[np.int64]:
    """Pixels (m, 2) within a radius of a pixel."""
    r = int(np.floor(radius))
    every = np.stack(np.meshgrid(*(np.arange(-r, r + 1),) * 2, indexing="ij"), -1).reshape(-1, 2)
    return np.asarray(every[np.hypot(*every.T) <= radius], np.int64)


@dataclass(frozen=True)
class UsualShape:
    """(a, b, c) that spots have on average, and the standard deviations (3,) by which they differ from it."""

    mean: Array
    spread: Array

    @classmethod
    def round(cls, sigma_px: float, spread: float) -> UsualShape:
        """Round spots of a width, known to a factor."""
        inverse = 1 / sigma_px
        return cls(np.array([np.log(inverse), np.log(inverse), 0.0]), spread * np.array([1.0, 1.0, inverse]))


def fit_spots(windows: Windows, start: Array, variance: Array, shape: UsualShape) -> Array:
    """Best parameters (n, 7) of every window; centres relative to the middle of the window, pixels.

    Parameters
    ----------
    start : (n, 7) first guess.
    variance : (n, m) of the noise in every pixel.
    shape : that pulls on the spots.
    """
    out = np.array(start, np.float64)
    _fit_all(windows.grey, 1 / variance, windows.offset, shape.mean, 1 / shape.spread**2, out)
    return out


def usual_shape(windows: Windows, sigma_px: float, narrow: float, wide: float) -> UsualShape:
    """The shape of the mean of all windows, its width kept between ``narrow`` and ``wide`` pixels."""
    mean = Windows(np.zeros((1, 2), np.int64), windows.offset, windows.grey.mean(0, keepdims=True))
    start = mean.first_guess(np.zeros((1, 2)), sigma_px)
    variance = np.full_like(mean.grey, max(1e-4 * float(start[0, HEIGHT]) ** 2, 1e-300))
    fit = fit_spots(mean, start, variance, UsualShape.round(sigma_px, 0.5))
    width = float(np.sqrt(sigmas(fit)[0].prod()))
    return UsualShape.round(float(np.clip(width, narrow, wide)), LIKE_OTHERS)


def spot_grey(parameters: Array, offset: NDArray[np.int64]) -> Array:
    """Grey (n, m) of the model at offsets (m, 2) from the middle of the windows."""
    out = np.empty((len(parameters), len(offset)))
    _grey_all(parameters, offset, out)
    return out


def covariances(windows: Windows, parameters: Array, variance: Array, shape: UsualShape) -> Array:
    """Covariance (n, 7, 7) of the parameters for a noise variance (n, m) in every pixel; inf where undetermined."""
    normal = np.empty((len(parameters), 7, 7))
    _normal_all(1 / variance, windows.offset, shape.mean, 1 / shape.spread**2, parameters, normal)
    diagonal = np.sqrt(np.maximum(np.einsum("nii->ni", normal), 1e-300))
    scale = diagonal[:, :, None] * diagonal[:, None, :]
    sound = np.flatnonzero(np.isfinite(normal).all((1, 2)))
    sound = sound[np.linalg.cond(normal[sound] / scale[sound]) < 1e10]
    out = np.full_like(normal, np.inf)
    out[sound] = np.linalg.inv(normal[sound] / scale[sound]) / scale[sound]
    return out


def noise_model(windows: Windows, parameters: Array) -> tuple[float, float]:
    """(constant, slope) of the noise variance as a function of grey, from what the fits leave over.

    variance = constant + slope * grey: electronic noise and shot noise, neither negative at the darkest model grey.
    Medians of squares in groups of equal model grey, so that a few bad fits do not count.
    """
    m = windows.grey.shape[1]
    some = np.linspace(0, len(parameters) - 1, min(len(parameters), max(1, MOST_PIXELS // m))).astype(int)
    model = spot_grey(parameters[some], windows.offset)
    squares = ((windows.grey[some] - model) ** 2 * m / max(m - 7, 1)).ravel()
    order = np.argsort(model, axis=None, kind="stable")
    groups = np.array_split(order, min(LEVELS, max(2, len(order) // 200)))
    grey = np.array([model.ravel()[g].mean() for g in groups])
    spread = np.array([np.median(squares[g]) for g in groups]) / MEDIAN_OF_SQUARES
    unit, span = float(spread.mean()) or 1.0, max(float(np.ptp(grey)), 1e-300)
    design = np.stack([np.ones(len(grey)), (grey - grey.min()) / span], 1)
    (constant, slope), _ = optimize.nnls(design, spread / unit)
    slope *= unit / span
    return float(constant * unit - slope * grey.min()), float(slope)


def likeness(windows: Windows, parameters: Array) -> float:
    """Factor by which errors' squares grow because the noise of neighbouring pixels is alike (smoothed, enhanced).

    The fit itself takes what is smooth out of the residuals, so their correlation says too little. It is compared with
    what Gaussian noise of several correlation lengths leaves over after the same fit; of the one that fits, the true
    covariance of the places follows. 1 for independent noise.
    """
    usual = np.median(parameters, axis=0)
    usual[[Y, X]] = 0.0
    offset, step = _thinned(windows.offset)
    slope = np.empty((len(offset), 7))
    _slopes_of(usual, offset, slope)
    gain = np.linalg.pinv(slope)  # of the parameters from the grey levels
    rest = np.eye(len(offset)) - slope @ gain
    square = ((offset[:, None] - offset) ** 2).sum(-1).astype(float)
    seen = _neighbours_alike(windows, parameters, step)
    left, factor = [], []
    for length in LENGTHS:
        noise = np.exp(-square / (4 * (length * step) ** 2)) if length else np.eye(len(offset))
        over = rest @ noise @ rest
        left.append(float(over[square == step**2].mean() / np.diag(over).mean()))
        places = ((gain @ noise @ gain.T) / (gain @ gain.T))[[Y, X], [Y, X]].mean()
        factor.append(float(places * (len(offset) - 7) / np.trace(over)))
    # beyond the longest length the residuals say nothing more
    return float(np.interp(seen, np.maximum.accumulate(left), factor)) if seen > left[0] else 1.0


def _thinned(offset: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Every step-th pixel of a window, along both axes, so that few are left; and the step."""
    step = max(1, int(np.ceil(np.sqrt(len(offset) / MOST_IN_WINDOW))))
    return offset[(offset % step == 0).all(1)], step


def _neighbours_alike(windows: Windows, parameters: Array, step: int) -> float:
    """Correlation of residuals of pixels that are ``step`` apart along an axis."""
    offset, m = windows.offset, len(windows.offset)
    some = np.linspace(0, len(parameters) - 1, min(len(parameters), max(8, MOST_PIXELS // m))).astype(int)
    rest = windows.grey[some] - spot_grey(parameters[some], offset)
    place = {tuple(o): k for k, o in enumerate(offset.tolist())}
    beside = [((y + dy, x + dx), k) for (y, x), k in place.items() for dy, dx in ((step, 0), (0, step))]
    pairs = [(k, place[other]) for other, k in beside if other in place]
    a, b = np.array(pairs).T
    return float((rest[:, a] * rest[:, b]).mean() / max(float((rest**2).mean()), 1e-300))


def grey_variance(model: Array, noise: tuple[float, float]) -> Array:
    """Noise variance at a model grey; never below a thousandth of its median."""
    v = noise[0] + noise[1] * model
    return np.asarray(np.maximum(v, max(1e-3 * float(np.median(v)), 1e-300)))


def sigmas(parameters: Array) -> Array:
    """Standard deviations (n, 2) along the longer and the shorter axis, pixels."""
    ea, eb, c = np.exp(parameters[:, A]), np.exp(parameters[:, B]), parameters[:, C]
    half = (ea**2 + eb**2 + c**2) / 2
    root = np.sqrt(np.maximum(half**2 - (ea * eb) ** 2, 0.0))
    return np.stack([1 / np.sqrt(np.maximum(half - root, 1e-300)), 1 / np.sqrt(half + root)], 1)


def render(shape: tuple[int, ...], spots: Array) -> Array:
    """Sum of spots without their ground, centres in pixels of an array of that shape."""
    widest = np.clip(sigmas(spots)[:, 0], 0.5, 50.0)
    total = np.zeros(shape)
    _draw_all(spots, np.ceil(REACH * widest).astype(np.int64), total)
    return total


@numba.njit(cache=True)
def _rise(p, dy, dx):  # type: ignore[no-untyped-def]
    """Grey above the ground at an offset from the middle of the window."""
    y, x = dy - p[1], dx - p[2]
    u, v = np.exp(p[3]) * y + p[5] * x, np.exp(p[4]) * x
    return p[0] * np.exp(-0.5 * (u * u + v * v))


@numba.njit(cache=True)
def _cost(grey, weight, offset, usual, pull, p):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(3):
        total += pull[i] * (p[3 + i] - usual[i]) ** 2
    for k in range(offset.shape[0]):
        total += weight[k] * (grey[k] - p[6] - _rise(p, offset[k, 0], offset[k, 1])) ** 2
    return total


@numba.njit(cache=True)
def _slopes(p, dy, dx, slope):  # type: ignore[no-untyped-def]
    """Derivatives of the model in ``slope`` (7,); returns the grey above the ground."""
    ea, eb, c = np.exp(p[3]), np.exp(p[4]), p[5]
    y, x = dy - p[1], dx - p[2]
    u, v = ea * y + c * x, eb * x
    bell = np.exp(-0.5 * (u * u + v * v))
    rise = p[0] * bell
    slope[0], slope[6] = bell, 1.0
    slope[1], slope[2] = rise * u * ea, rise * (u * c + v * eb)
    slope[3], slope[4], slope[5] = -rise * u * ea * y, -rise * v * v, -rise * u * x
    return rise


@numba.njit(cache=True)
def _slopes_of(p, offset, out):  # type: ignore[no-untyped-def]
    for k in range(len(offset)):
        _slopes(p, offset[k, 0], offset[k, 1], out[k])


@numba.njit(cache=True)
def _normal(grey, weight, offset, usual, pull, p, normal, right):  # type: ignore[no-untyped-def]
    """Fill the normal matrix and the right side."""
    slope = np.empty(7)
    normal[:], right[:] = 0.0, 0.0
    for k in range(offset.shape[0]):
        left = grey[k] - p[6] - _slopes(p, offset[k, 0], offset[k, 1], slope)
        for i in range(7):
            s = weight[k] * slope[i]
            right[i] += s * left
            for j in range(i + 1):
                normal[i, j] += s * slope[j]
    for i in range(3):
        normal[3 + i, 3 + i] += pull[i]
        right[3 + i] -= pull[i] * (p[3 + i] - usual[i])
    for i in range(7):
        for j in range(i):
            normal[j, i] = normal[i, j]


@numba.njit(cache=True)
def _solve(normal, right, damping, step):  # type: ignore[no-untyped-def]
    """Damped step by Cholesky's method, the matrix scaled to a unit diagonal."""
    scale, low = np.empty(7), np.zeros((7, 7))
    for i in range(7):
        scale[i] = np.sqrt(max(normal[i, i], 1e-300))
    for i in range(7):
        for j in range(i + 1):
            s = normal[i, j] / (scale[i] * scale[j])
            if i == j:
                s = 1.0 + damping + 1e-12
            for k in range(j):
                s -= low[i, k] * low[j, k]
            low[i, j] = np.sqrt(max(s, 1e-14)) if i == j else s / low[j, j]
    for i in range(7):
        s = right[i] / scale[i]
        for k in range(i):
            s -= low[i, k] * step[k]
        step[i] = s / low[i, i]
    for i in range(6, -1, -1):
        s = step[i]
        for k in range(i + 1, 7):
            s -= low[k, i] * step[k]
        step[i] = s / low[i, i]
    longest = 0.0
    for i in range(7):
        step[i] /= scale[i]
        if 1 <= i <= 5:
            longest = max(longest, abs(step[i]))
    return longest


@numba.njit(cache=True)
def _fit_one(grey, weight, offset, usual, pull, p):  # type: ignore[no-untyped-def]
    normal, right, step = np.empty((7, 7)), np.empty(7), np.empty(7)
    damping, cost, fresh = 1e-2, _cost(grey, weight, offset, usual, pull, p), False
    for _ in range(ROUNDS):
        if not fresh:
            _normal(grey, weight, offset, usual, pull, p, normal, right)
            fresh = True
        longest = _solve(normal, right, damping, step)
        tried = p + step * min(1.0, 1.0 / max(longest, 1e-300))  # at most one pixel, or a factor e in width
        new = _cost(grey, weight, offset, usual, pull, tried)
        if new <= cost:
            p[:], cost, fresh = tried, new, False
            damping /= 5
            if longest < DONE:
                break
        else:
            damping *= 8
            if not damping < 1e8:
                break


@numba.njit(parallel=True, cache=True)
def _fit_all(grey, weight, offset, usual, pull, p):  # type: ignore[no-untyped-def]
    for n in numba.prange(len(p)):
        _fit_one(grey[n], weight[n], offset, usual, pull, p[n])


@numba.njit(cache=True)
def _grey_all(p, offset, out):  # type: ignore[no-untyped-def]
    for n in range(len(p)):
        for k in range(len(offset)):
            out[n, k] = p[n, 6] + _rise(p[n], offset[k, 0], offset[k, 1])


@numba.njit(cache=True)
def _normal_all(weight, offset, usual, pull, p, normal):  # type: ignore[no-untyped-def]
    for n in range(len(p)):
        _normal(weight[n], weight[n], offset, usual, pull, p[n], normal[n], np.empty(7))


@numba.njit(cache=True)
def _draw_all(spots, reach, total):  # type: ignore[no-untyped-def]
    rows, columns = total.shape
    for n in range(len(spots)):
        y, x = int(np.rint(spots[n, 1])), int(np.rint(spots[n, 2]))
        for i in range(max(0, y - reach[n]), min(rows, y + reach[n] + 1)):
            for j in range(max(0, x - reach[n]), min(columns, x + reach[n] + 1)):
                total[i, j] += _rise(spots[n], i, j)
