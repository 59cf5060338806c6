"""Periods of an image: significant peaks of its power spectrum, and the lattice that explains them.

The noise level is local: that of the bins around, and for a peak also that of the loudest straight line through it,
because jitter of the scan lines smears every peak along the slow axis, and a step makes a streak across itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from finescan.errors import InputError
from finescan.quantification.reduction import reduced
from finescan.values import Image

Array = NDArray[np.float64]

FALSE_ALARMS = 0.01  # expected number of peaks in an image of noise, at most
LEAST_SHARE = 0.003  # amplitude of a peak over that of the strongest: weaker ones change nothing that can be seen
BOX = 31  # bins along the edge of the square over which the noise level is taken
LINE = (5, 30)  # bins on both sides of a peak over which a streak is looked for
DIRECTIONS = 24
LOUDEST = 1.8  # level of the loudest of these lines where there is no streak: the largest of many estimates
QUIET = 0.3  # the quantile that tells a streak's level: peaks of the lattice on the line must not
LOWEST = 6  # cycles per field below which everything is slow background
LOBE = 3  # bins from the middle of a peak to its foot: the main lobe of the window
TOLERANCE = 1.5  # bins by which a peak may miss the place that explains it
EULER = 0.5772156649  # the mean of the logarithm of an exponential variable of mean 1 is -EULER
STRONGEST = 12  # peaks that candidate lattices are made of
SMALLEST_PX = 48  # edge of an image whose spectrum says anything


@dataclass(frozen=True)
class Spectrum:
    """Power over the local noise level and amplitude, zero frequency in the middle.

    Parameters
    ----------
    excess : (rows, columns) power over the local noise level; exponentially distributed with mean 1 in noise.
    amplitude : (rows, columns) grey levels: A for a wave A cos(2 pi g r).
    step : (2,) width of a bin, cycles per nm.
    area : pixels that the window leaves, sum(w)² / sum(w²): noise of variance 1 has amplitude² 4 / area on average.
    name : of the image.
    """

    excess: Array
    amplitude: Array
    step: Array
    area: float
    name: str

    @property
    def middle(self) -> NDArray[np.int64]:
        """Bin of frequency zero."""
        return np.array(self.excess.shape) // 2

    @property
    def nyquist(self) -> Array:
        """(2,) highest frequency of the pixels, cycles per nm."""
        return self.step * self.excess.shape / 2

    def threshold(self, false_alarms: float) -> float:
        """Excess that noise exceeds in so many places of the half plane, on average."""
        return float(np.log(self.excess.size / 2 / false_alarms))

    def noise_after(self, fine_px: float, broad_px: float) -> float:
        """Standard deviation of the noise in the difference of two Gaussian smoothings (0, inf: none), grey levels."""
        ky, kx = (np.fft.fftshift(np.fft.fftfreq(n)) for n in self.excess.shape)
        square = ky[:, None] ** 2 + kx**2
        passed = np.exp(-2 * (np.pi * fine_px) ** 2 * square)
        if np.isfinite(broad_px):
            passed = passed - np.exp(-2 * (np.pi * broad_px) ** 2 * square)
        power = self.amplitude**2 / np.maximum(self.excess, 1e-300) * self.area / 4
        return float(np.sqrt(np.mean(power * passed**2)))

    def over_streaks(self, at: NDArray[np.int64]) -> Array:
        """Excess (n,) at bins (n, 2), over the loudest line through each where that is above the square's level."""
        far = np.r_[-LINE[1] : -LINE[0] + 1, LINE[0] : LINE[1] + 1]
        turns = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
        offsets = np.rint(np.stack([np.outer(np.sin(turns), far), np.outer(np.cos(turns), far)], -1)).astype(int)
        bins = np.mod(at[:, None, None] + offsets, self.excess.shape)
        quiet = np.quantile(self.excess[bins[..., 0], bins[..., 1]], QUIET, axis=-1).max(-1, initial=0.0)
        return np.asarray(self.excess[at[:, 0], at[:, 1]] / np.maximum(quiet / -np.log1p(-QUIET) / LOUDEST, 1.0))

    def near(self, frequency: Array, reach: float = TOLERANCE) -> tuple[Array, Array]:
        """Excess and amplitude (n,) of the strongest bin within ``reach`` of frequencies (n, 2); NaN outside."""
        r = int(np.ceil(reach))
        offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1),) * 2, indexing="ij"), -1).reshape(-1, 2)
        offsets = offsets[np.linalg.norm(offsets, axis=1) <= reach + 0.5]
        at = np.rint(frequency / self.step).astype(int)[:, None] + offsets + self.middle
        inside = ((at >= 0) & (at < self.excess.shape)).all(-1)
        amplitude = np.where(
            inside, self.amplitude[tuple(np.where(inside, v, 0) for v in np.moveaxis(at, -1, 0))], -1.0
        )
        best = np.take_along_axis(at, amplitude.argmax(1)[:, None, None], 1)[:, 0]
        known = inside.any(1)
        best = np.where(known[:, None], best, 0)
        return np.where(known, self.over_streaks(best), np.nan), np.where(known, amplitude.max(1), np.nan)


@dataclass(frozen=True)
class Peaks:
    """Significant peaks of a spectrum, strongest first; of each pair +g and -g one.

    Parameters
    ----------
    frequency : (n, 2) y, x, cycles per nm.
    amplitude : (n,) grey levels.
    excess : (n,) power over the local noise level.
    step : (2,) width of a bin, cycles per nm.
    threshold : excess from which on a peak counts.
    false_alarms : expected number of peaks that noise alone makes.
    """

    frequency: Array
    amplitude: Array
    excess: Array
    step: Array
    threshold: float
    false_alarms: float

    def __len__(self) -> int:
        return len(self.amplitude)

    def only(self, which: NDArray) -> Peaks:
        """Some of the peaks."""
        return replace(
            self, frequency=self.frequency[which], amplitude=self.amplitude[which], excess=self.excess[which]
        )


def spectrum(image: Image) -> Spectrum:
    """The power spectrum of a picture and its local noise level.

    A quadratic surface is subtracted and a squared Hann window laid over the image, so that neither tilt nor the
    image's edges make streaks.

    Raises
    ------
    InputError : a volume, less than 48 pixels along an axis, pixels without a number, or a constant image.
    """
    data = _checked(image)
    data = data - _surface(data)
    window = [np.hanning(n + 2)[1:-1] ** 2 for n in data.shape]
    power = np.abs(fft.fftshift(fft.fft2(data * window[0][:, None] * window[1], overwrite_x=True))) ** 2
    total, squares = (float(np.prod([(w**p).sum() for w in window])) for p in (1, 2))
    step = 1 / np.asarray(image.grid.extent_nm)
    return Spectrum(power / _level(power), 2 * np.sqrt(power) / total, step, total**2 / squares, image.name)


def spectrum_peaks(
    image: Image | Spectrum, *, false_alarms: float = FALSE_ALARMS, least_share: float = LEAST_SHARE
) -> Peaks:
    """Periods that stand out of the noise.

    Parameters
    ----------
    image : a picture, or its :func:`spectrum`.
    false_alarms : expected number of peaks that noise alone makes in the whole image.
    least_share : peaks whose amplitude is a smaller share of the strongest one's are left out.

    Returns
    -------
    Peaks : none for an image without periods.
    """
    s = image if isinstance(image, Spectrum) else spectrum(image)
    threshold = s.threshold(false_alarms)
    top = ndimage.maximum_filter(s.amplitude, size=2 * LOBE + 1, mode="wrap")
    at = np.argwhere((s.amplitude >= top) & (s.excess > threshold))
    k = at - s.middle
    half = (k[:, 0] > 0) | ((k[:, 0] == 0) & (k[:, 1] > 0))
    at = at[half & (np.hypot(k[:, 0], k[:, 1]) >= LOWEST)]
    excess = s.over_streaks(at)
    at, excess = at[excess > threshold], excess[excess > threshold]
    amplitude = s.amplitude[at[:, 0], at[:, 1]]
    order = np.argsort(-amplitude, kind="stable")
    order = order[amplitude[order] >= least_share * amplitude.max(initial=0.0)]
    frequency = (at + _vertex(s.amplitude, at) - s.middle) * s.step
    return Peaks(frequency[order], amplitude[order], excess[order], s.step, threshold, false_alarms)


def reciprocal_basis(peaks: Peaks, name: str = "image") -> Array:
    """The two shortest reciprocal lattice vectors that explain the peaks.

    Of all lattices made from two of the strongest peaks, their sums and differences, the coarsest that explains (within
    1.5 bins) all but 3 % of what the best one explains, by power: weak replicas and sidebands do not count.

    Returns
    -------
    (2, 2), one vector (y, x) per row, cycles per nm, refined by least squares on all explained peaks.

    Raises
    ------
    InputError : fewer than two peaks in different directions.
    """
    f = peaks.frequency / peaks.step  # bins: equal tolerance along both axes
    candidates = _candidates(f[:STRONGEST])
    i, j = np.triu_indices(len(candidates), 1)
    pairs = np.stack([candidates[i], candidates[j]], 1) if len(i) else np.empty((0, 2, 2))
    pairs = _shortest(pairs[np.abs(_det(pairs)) >= LOWEST**2])
    pairs = pairs[np.linalg.norm(pairs, axis=-1).min(-1, initial=np.inf) >= LOWEST]
    if not len(pairs) or _explained(pairs, f, peaks.amplitude**2).max() < 0.5:
        raise InputError(
            f"{name}: no lattice was found. {len(peaks)} periods stand out of the noise, but two in different "
            "directions are needed. Check that the image shows a lattice and has enough contrast; STM images "
            "need --flatten."
        )
    area = np.abs(_det(pairs))
    score = _explained(pairs, f, peaks.amplitude**2) - np.pi * TOLERANCE**2 / area  # what chance alone would explain
    good = score >= score.max() - 0.03
    best = int(np.flatnonzero(good)[np.argmax(area[good])])
    return reduced(_refined(pairs[best], f, np.sqrt(peaks.amplitude)) * peaks.step)


def order_of(frequency: Array, basis: Array, step: Array) -> tuple[NDArray[np.int64], Array]:
    """Indices (n, 2) of the nearest lattice points and how far (n,) the frequencies are from them, in bins."""
    index = np.rint(frequency @ np.linalg.inv(basis))
    miss = np.linalg.norm((frequency - index @ basis) / step, axis=-1)
    return index.astype(np.int64), miss


def _checked(image: Image) -> Array:
    if image.grid.ndim != 2:
        raise InputError(
            f"{image.name}: a lattice is judged in a picture, but {image.grid} came. Take one slice of it."
        )
    if min(image.grid.shape) < SMALLEST_PX:
        raise InputError(
            f"{image.name}: a lattice needs at least {SMALLEST_PX} pixels along each edge, but {image.grid} came."
        )
    data = np.asarray(image.data[...], np.float64)
    if not np.isfinite(data).all():
        raise InputError(f"{image.name} holds pixels without a number. Crop the image to where it has data.")
    if data.max() == data.min():
        raise InputError(f"{image.name}: every pixel has the grey level {data.flat[0]:g}, so there is no lattice.")
    return data


def _surface(data: Array) -> Array:
    """Best quadratic surface."""
    y, x = (np.linspace(-1, 1, n) for n in data.shape)
    py, px = (np.linalg.qr(np.vander(v, 3, increasing=True))[0] for v in (y, x))
    kept = (py.T @ data @ px) * np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    return np.asarray(py @ kept @ px.T)


def _level(power: Array) -> Array:
    """Local mean of the noise power: from the mean of logarithms over a square, outliers limited."""
    floor = max(float(power.max()) * 1e-26, 1e-300)  # below it there is only rounding
    power = np.maximum(power, floor)
    level = power
    for limit in (np.inf, 10.0, 10.0):  # the first round finds the peaks, the others do without them
        logs = np.log(np.minimum(power, limit * level))
        level = np.exp(ndimage.uniform_filter(logs, BOX, mode="wrap") + EULER)
    return np.maximum(level, floor)


def _vertex(amplitude: Array, at: NDArray[np.int64]) -> Array:
    """Sub-bin place (n, 2) of maxima, -0.5 to 0.5: a parabola through the logarithms of three bins along each axis."""
    out = np.zeros(at.shape)
    logs = np.log(np.maximum(amplitude, 1e-300))
    for axis in range(2):
        step = np.eye(2, dtype=int)[axis]
        low, mid, high = (logs[tuple(np.mod(at + k * step, logs.shape).T)] for k in (-1, 0, 1))
        bend = low - 2 * mid + high
        out[:, axis] = np.where(bend < 0, (low - high) / np.where(bend < 0, 2 * bend, 1), 0.0)
    return np.clip(out, -0.5, 0.5)


def _candidates(f: Array) -> Array:
    """Peaks, their sums and differences, without the very short ones; bins."""
    if not len(f):
        return f
    i, j = np.triu_indices(len(f), 1)
    every = np.concatenate([f, f[i] - f[j], f[i] + f[j]])
    return every[np.linalg.norm(every, axis=1) >= LOWEST]


def _det(pairs: Array) -> Array:
    return np.asarray(pairs[:, 0, 0] * pairs[:, 1, 1] - pairs[:, 0, 1] * pairs[:, 1, 0])


def _shortest(pairs: Array) -> Array:
    """Gauss reduction of many bases (n, 2, 2) at once."""
    for _ in range(50):
        swap = np.linalg.norm(pairs[:, 0], axis=-1) > np.linalg.norm(pairs[:, 1], axis=-1)
        pairs = np.where(swap[:, None, None], pairs[:, ::-1], pairs)
        a, b = pairs[:, 0], pairs[:, 1]
        times = np.rint((a * b).sum(-1) / np.maximum((a * a).sum(-1), 1e-300))
        if not times.any():
            break
        pairs = np.stack([a, b - times[:, None] * a], 1)
    return pairs


def _explained(pairs: Array, f: Array, weight: Array) -> Array:
    """Share (pairs,) of the peaks' weight that lies within the tolerance of a lattice point."""
    index = np.einsum("nk,pkj->pnj", f, np.linalg.inv(pairs))
    miss = np.linalg.norm(np.einsum("pnj,pjk->pnk", index - np.rint(index), pairs), axis=-1)
    return np.asarray((miss <= TOLERANCE) @ weight / weight.sum())


def _refined(basis: Array, f: Array, weight: Array) -> Array:
    """Least squares; a fault moves the orders of a peak to different sides, so all that are about there count."""
    for reach in (1.0, 1.5, 2.0, 2.0):
        index = np.rint(f @ np.linalg.inv(basis))
        miss = np.linalg.norm(f - index @ basis, axis=1)
        w = weight * (miss <= reach * TOLERANCE)
        basis = np.linalg.lstsq(index * w[:, None], f * w[:, None], rcond=None)[0]
    return basis
