"""Methods over zoom levels where a fine picture exists: the standard evaluation of Möller et al. 2023.

A fine picture is made coarser point by point, as a scan with larger steps would have recorded it: first to a *level*
(a pseudo-real picture), then by the factor of the enhancement. What a method makes of the second is compared with the
first. At the finest level that is the fine picture itself, and the coarse one is what training pictures are like; so
100 % is the resolution of the training pictures, and 400 % (for a factor of 4) what nobody recorded.

Source: B. Möller et al., CVPR Workshops 2023, section 4.2. Their decimation holds pixels that lie half a pixel beside
the places their pictures claim ("published"); ours asks methods for the grey levels at the true places ("nearest").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.trust.metrics import METRICS
from finescan.trust.unseen import at_recorded, decimated

Array = NDArray[np.float32]
Method = Callable[[Array], Array]
Measure = Callable[[Array, Array, float], float]

CROP_PX = 256  # as published
SMALLEST_PX = 32  # of a crop
RIM_PX = 2  # coarse pixels at the border of a picture that are not judged: what lies beyond is a guess of each method
BINOMIALS = ((1.0,), (1.0, 2.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0))


@dataclass(frozen=True)
class ZoomCurve:
    """Scores of methods over zoom levels.

    Parameters
    ----------
    ratios : pixels of the level's picture over those of the fine picture, rising, at most 1.
    sr_factor : of the enhancement.
    values : method -> metric -> per level the scores of its crops.
    kernel : how pictures were made coarser.
    """

    ratios: tuple[float, ...]
    sr_factor: int
    values: Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]]
    kernel: str = "nearest"

    @property
    def percent(self) -> tuple[float, ...]:
        """Levels over the resolution of a scan that is ``sr_factor`` times coarser than the fine picture."""
        return tuple(float(f"{100 * self.sr_factor * r:.6g}") for r in self.ratios)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(next(iter(self.values.values())))

    @property
    def scores(self) -> dict[str, dict[str, list[float]]]:
        """Method -> metric -> mean over crops, per level."""
        return {
            name: {m: [float(np.mean(crops)) for crops in levels] for m, levels in row.items()}
            for name, row in self.values.items()
        }

    def gains(self, method: str, metric: str = "psnr", *, baseline: str = "bicubic") -> list[float]:
        """Mean over crops of the method's score less the baseline's, per level."""
        pairs = zip(self.values[method][metric], self.values[baseline][metric], strict=True)
        return [float(np.mean(np.subtract(a, b))) for a, b in pairs]

    def better_up_to(self, method: str, *, baseline: str = "bicubic") -> float:
        """Last level in percent up to which a method is above the baseline in all metrics, without a gap; 0 = none."""
        rows = np.array([self.gains(method, m, baseline=baseline) for m in self.metrics])
        good = np.asarray((rows > 0).all(axis=0))
        count = len(good) if good.all() else int(np.argmin(good))
        return self.percent[count - 1] if count else 0.0

    def at(self, percent: float) -> dict[str, dict[str, float]]:
        """Method -> metric -> score at the level nearest to a percentage."""
        k = int(np.argmin(np.abs(np.array(self.percent) - percent)))
        return {name: {m: v[k] for m, v in row.items()} for name, row in self.scores.items()}

    def table(self) -> dict[str, list[Any]]:
        """One row per level, for CSV: level in percent, crops, then every method's scores."""
        first = next(iter(self.values.values()))[self.metrics[0]]
        out: dict[str, list[Any]] = {"percent": list(self.percent), "crops": [len(c) for c in first]}
        for name, row in self.scores.items():
            out |= {f"{name} {m}": v for m, v in row.items()}
        return out

    def table_3(self, percents: Sequence[float] = (200, 300, 400)) -> dict[str, list[Any]]:
        """The paper's Table 3: one row per method, all metrics at some levels."""
        levels = {p: self.at(p) for p in percents}
        out: dict[str, list[Any]] = {"method": list(self.values)}
        for p, found in levels.items():
            out |= {f"{m} at {p:g} %": [found[name][m] for name in self.values] for m in self.metrics}
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {n: {m: [list(c) for c in levels] for m, levels in row.items()} for n, row in self.values.items()}
        return {"ratios": list(self.ratios), "sr_factor": self.sr_factor, "kernel": self.kernel, "values": values}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> ZoomCurve:
        """Inverse of :meth:`to_dict`."""
        values = {n: {m: tuple(map(tuple, v)) for m, v in row.items()} for n, row in d["values"].items()}
        return cls(tuple(d["ratios"]), int(d["sr_factor"]), values, str(d["kernel"]))


def zoom_curve(
    image: NDArray[Any] | Sequence[NDArray[Any]],
    ratios: Sequence[float],
    sr_factor: int,
    methods: Mapping[str, Method],
    *,
    data_range: float,
    kernel: str = "nearest",
    metrics: Sequence[str] = ("psnr", "ms_ssim"),
    crop: int = CROP_PX,
) -> ZoomCurve:
    """Judge methods over zoom levels on one or several fine pictures that none of them has seen.

    Parameters
    ----------
    image : (h, w) grey levels, finite; or several such pictures.
    ratios : pixels per axis of each level over those of the fine picture, above 0 and at most 1.
    sr_factor : by which methods enhance.
    methods : name -> function of a coarse picture (h, w), float32, that gives (sr_factor * h, sr_factor * w).
    data_range : grey levels that the metrics refer to.
    kernel : row of :data:`KERNELS`.
    metrics : rows of :data:`MEASURES`.
    crop : side of the squares that are scored one by one, pixels of the level; of smaller pictures the whole.

    Raises
    ------
    InputError : a ratio, kernel or metric that does not exist; a level too small to judge; a method whose answer has
        another size.

    Examples
    --------
    >>> ramp = np.add.outer(np.arange(256.0), np.arange(256.0))
    >>> twice = lambda lr: lr.repeat(2, axis=0).repeat(2, axis=1)
    >>> zoom_curve(ramp, (0.5, 1.0), 2, {"nearest": twice}, data_range=510).percent
    (100.0, 200.0)
    """
    pictures = [np.asarray(p, np.float32) for p in ([image] if isinstance(image, np.ndarray) else image)]
    _require(pictures, ratios, sr_factor, methods, kernel, metrics)
    values: dict[str, dict[str, list[tuple[float, ...]]]] = {n: {m: [] for m in metrics} for n in methods}
    for ratio in sorted(ratios):
        scores: dict[tuple[str, str], list[float]] = {}
        for picture in pictures:
            target, coarse, places = _level(picture, ratio, sr_factor, kernel)
            boxes = _crops(target.shape, crop, RIM_PX * sr_factor)
            for name, method in methods.items():
                answer = places(checked_answer(name, method(coarse), coarse.shape, sr_factor))
                for m in metrics:
                    row = scores.setdefault((name, m), [])
                    row += [MEASURES[m](answer[b], target[b], data_range) for b in boxes]
        for (name, m), row in scores.items():
            values[name][m].append(tuple(row))
    found = {n: {m: tuple(v) for m, v in row.items()} for n, row in values.items()}
    return ZoomCurve(tuple(sorted(ratios)), sr_factor, found, kernel)


# ---------------------------------------------------------------------------------------------- pictures of a level
def _level(picture: Array, ratio: float, factor: int, kernel: str) -> tuple[Array, Array, Callable[[Array], Array]]:
    """The level's picture, its coarser version, and what brings an answer to the places of the level's pixels."""
    target = KERNELS[kernel](picture, ratio)
    h, w = (n // factor * factor for n in target.shape)
    target = target[:h, :w]
    coarse = decimated(target, factor)  # of whole factors it is the same pixels as published
    if kernel == "published":
        return target, coarse, lambda answer: answer
    return target, coarse, lambda answer: _filled(at_recorded(answer, target.shape, factor, factor))


def _filled(answer: Array) -> Array:
    """Pixels beyond the answer's outer edge lie in the rim that is not judged."""
    return np.nan_to_num(answer, nan=0.0)


def truncated(picture: NDArray[Any], ratio: float) -> NDArray[Any]:
    """Nearest neighbours as published: whole numbers of pixels by cutting off, both axes scaled to fill them.

    >>> truncated(np.arange(49).reshape(7, 7), 0.6)[0].tolist()
    [0, 2, 4, 6]
    """
    rows, columns = (_pillow_nearest(n, int(n * ratio)) for n in picture.shape)
    return np.ascontiguousarray(picture[np.ix_(rows, columns)])


def _pillow_nearest(length: int, count: int) -> NDArray[np.intp]:
    return np.floor((np.arange(count) + 0.5) * (length / count)).astype(np.intp)


#: name -> the picture of a level, from the fine picture and the ratio
KERNELS: dict[str, Callable[[NDArray[Any], float], NDArray[Any]]] = {
    "nearest": lambda picture, ratio: decimated(picture, 1 / ratio),
    "published": truncated,
}


def _crops(shape: Sequence[int], side: int, rim: int) -> list[tuple[slice, slice]]:
    """Squares beside each other inside the rim, in its middle; of a picture with no room for one, the whole inside."""
    axes = []
    for n in shape:
        room = n - 2 * rim
        size = min(side, room)
        count = room // size
        first = rim + (room - count * size) // 2
        axes.append([slice(first + k * size, first + (k + 1) * size) for k in range(count)])
    return [(a, b) for a in axes[0] for b in axes[1]]


# ---------------------------------------------------------------------------------------------- scores
def _metric(name: str) -> Measure:
    return lambda answer, target, data_range: METRICS[name](answer, target, data_range=data_range)


def _over_blurs(name: str) -> Measure:
    """Mean over both pictures as they are and blurred by 3 x 3 and 5 x 5 binomials, so that noise counts less."""

    def measure(answer: Array, target: Array, data_range: float) -> float:
        pairs = ((_binomial(answer, taps), _binomial(target, taps)) for taps in BINOMIALS)
        return float(np.mean([METRICS[name](a, t, data_range=data_range) for a, t in pairs]))

    return measure


def _binomial(picture: Array, taps: Sequence[float]) -> Array:
    weights = np.array(taps) / sum(taps)
    rows = ndimage.correlate1d(picture.astype(np.float64), weights, axis=0, mode="mirror")
    return np.asarray(ndimage.correlate1d(rows, weights, axis=1, mode="mirror"), np.float32)


#: name -> measure(answer, target, data_range); "gauss-…" is the published code's Gauss metric
MEASURES: dict[str, Measure] = {
    **{m: _metric(m) for m in ("psnr", "ssim", "ms_ssim")},
    **{f"gauss-{m}": _over_blurs(m) for m in ("psnr", "ssim", "ms_ssim")},
}


# ---------------------------------------------------------------------------------------------- checks
def _require(
    pictures: Sequence[Array], ratios: Sequence[float], factor: int, methods: Mapping[str, Method], kernel: str,
    metrics: Sequence[str],
) -> None:  # fmt: skip
    if kernel not in KERNELS:
        raise InputError(f"Pictures are made coarser by {', '.join(KERNELS)}, but {kernel!r} came.")
    unknown = [m for m in metrics if m not in MEASURES]
    if unknown or not metrics:
        raise InputError(f"Metrics are some of {', '.join(MEASURES)}, but {', '.join(unknown) or 'none'} came.")
    if not methods or not pictures:
        raise InputError(f"A curve needs pictures and methods, but {len(pictures)} and {len(methods)} came.")
    wrong = [r for r in ratios if not 0 < r <= 1]
    if wrong or not ratios:
        raise InputError(
            f"Levels are above 0 and at most 1, the fine picture's own, but {wrong[0] if wrong else 'none'} came."
        )
    least = SMALLEST_PX + 2 * RIM_PX * factor
    for picture in pictures:
        if picture.ndim != 2 or min(picture.shape) * min(ratios) < least:
            raise InputError(
                f"The coarsest level must have {least} x {least} px or more to be judged, but a picture of "
                f"{' x '.join(map(str, picture.shape))} px at {min(ratios):g} has less. Use a larger picture or finer "
                "levels."
            )
        if not np.isfinite(picture).all():
            raise InputError("A fine picture has pixels without a grey level. Crop it to where it was recorded.")


def checked_answer(name: str, answer: Array, coarse: Sequence[int], factor: int) -> Array:
    """What a method made of a coarse picture of this shape; another size is an InputError that names the method."""
    wanted = tuple(n * factor for n in coarse)
    if answer.shape != wanted:
        raise InputError(
            f"{name} must answer {coarse[0]} x {coarse[1]} px with {wanted[0]} x {wanted[1]} px, but gave "
            f"{' x '.join(map(str, answer.shape))}."
        )
    return np.asarray(answer, np.float32)
