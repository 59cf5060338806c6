"""Judging without any fine scan: recorded pixels that a method has not seen are its answer sheet.

Every n-th recorded pixel, along both axes, is a scan with n times larger steps: point by point what the microscope
would have recorded. A method that enhances it by its factor f must predict the pixels in between, at f / n of the
recorded resolution: with a factor of 4 and every second pixel at 200 %, which is *beyond* what was recorded. Steps need
not be whole: of four pixels in five, or two in three, the nearest to every place are read, up to half a pixel off, as
in the published zoom levels. At f / 1.25 the answers end; what can be said beyond is the trend of the gain.

The published evaluation (B. Möller et al., CVPR Workshops 2023) decimates by nearest neighbours, which moves the
picture by half a pixel for even factors. Here predictions are taken at the true places of the recorded pixels, by a
cubic spline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

from finescan.errors import InputError
from finescan.trust.blocks import blocks, mean_and_error, nearness, paired_gain
from finescan.trust.metrics import METRICS
from finescan.trust.report import Gain
from finescan.values import Region

Array = NDArray[np.float32]
Method = Callable[[Array], Array]

STEPS = (1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
LEAST_LEVEL = 0.5  # coarser than this says little about what is finer than recorded
SMALLEST_PX = 24  # of a decimated picture
CURVE_METRICS = ("psnr", "ms_ssim")
VALID_SHARE = 0.25  # of a block that was not seen and is known: with a step of 1.25 there are 36 %
TREND_LEVELS = 3  # finest ones, through which the trend goes: what networks do may change from level to level
GRID = 0.05  # of levels at which the trend is asked


def decimated(picture: NDArray[Any], step: float) -> NDArray[Any]:
    """Every ``step``-th pixel of both axes: those that hold the centres of pixels ``step`` times as large.

    >>> decimated(np.arange(36).reshape(6, 6), 2).tolist()
    [[7, 9, 11], [19, 21, 23], [31, 33, 35]]
    >>> decimated(np.arange(36).reshape(6, 6), 1.5)[0].tolist()
    [0, 2, 3, 5]
    """
    return np.ascontiguousarray(picture[np.ix_(*(_taken(n, step) for n in picture.shape))])


def unseen(shape: Sequence[int], step: float) -> NDArray[np.bool_]:
    """Which pixels :func:`decimated` leaves out."""
    out = np.ones(tuple(shape), bool)
    out[np.ix_(*(_taken(n, step) for n in shape))] = False
    return out


def _taken(length: int, step: float) -> NDArray[np.intp]:
    count = int(np.floor(length / step + 1e-9))
    return np.floor((np.arange(count) + 0.5) * step + 1e-9).astype(np.intp)


def _first(step: float) -> float:
    """Place of the first decimated pixel, in recorded ones; of steps that are not whole, the mean over their period."""
    k = np.arange(64)
    return float(np.mean(np.floor((k + 0.5) * step + 1e-9) - k * step))


def at_recorded(result: NDArray[Any], shape: Sequence[int], step: float, factor: int) -> Array:
    """The enhanced decimated picture at the places of the recorded pixels, by a cubic spline.

    Parameters
    ----------
    result : (factor * h, factor * w), of a decimated picture (h, w); pixels without a value (NaN) spread by two pixels.
    shape : of the recorded picture.
    step, factor : of the decimation and of the enhancement.

    Returns
    -------
    float32 of ``shape``; NaN beyond the outer edges of the enhanced picture.
    """
    values = np.asarray(result, np.float64)
    missing = ~np.isfinite(values)
    scale, offset = factor / step, (0.5 - _first(step) / step) * factor - 0.5
    options = {"output_shape": tuple(shape), "mode": "nearest"}
    filled = np.where(missing, np.nanmean(values) if missing.any() else 0.0, values)
    out = ndimage.affine_transform(filled, [scale, scale], offset, order=3, **options)
    if missing.any():
        wide = ndimage.binary_dilation(missing, np.ones((5, 5), bool)).astype(np.float32)
        out[ndimage.affine_transform(wide, [scale, scale], offset, order=0, **options) > 0] = np.nan
    for axis, (n, full) in enumerate(zip(values.shape, shape, strict=True)):
        place = np.arange(full) * scale + offset
        beyond = (place < -0.5 - 1e-9) | (place > n - 0.5 + 1e-9)
        out[(slice(None),) * axis + (beyond,)] = np.nan
    return np.asarray(out, np.float32)


@dataclass(frozen=True)
class UnseenCurve:
    """A candidate against a baseline over zoom levels, on held-out blocks of unseen recorded pixels.

    Parameters
    ----------
    levels : resolution of the answers over the recorded one, rising; 2 = 200 %.
    steps : of the decimations, in recorded pixels.
    scores : method -> metric -> mean over blocks per level.
    gains, similarity : gain of the candidate over the baseline per level, in PSNR (dB) and in MS-SSIM.
    per_block : (levels, blocks) the PSNR gains block by block.
    near : (blocks, blocks) how much blocks belong together.
    factor : of the enhancement.
    candidate, baseline : names.
    """

    levels: tuple[float, ...]
    steps: tuple[float, ...]
    scores: Mapping[str, Mapping[str, tuple[float, ...]]]
    gains: tuple[Gain, ...]
    similarity: tuple[Gain, ...]
    per_block: NDArray[np.float64] = field(repr=False)
    near: NDArray[np.float64] = field(repr=False)
    factor: int = 2
    candidate: str = "enhanced"
    baseline: str = "bicubic"

    @property
    def better(self) -> tuple[bool, ...]:
        """Per level: PSNR is significantly higher, and MS-SSIM not significantly lower."""
        both = zip(self.gains, self.similarity, strict=True)
        return tuple(p.significance == "better" and s.significance != "worse" for p, s in both)

    def gain_at(self, level: float) -> Gain:
        """PSNR gain by the trend at a level: a line over log(level) through each block's gains at the finest three.

        The interval holds the scatter between blocks; whether the trend is straight nobody can say.
        """
        x, values = np.log2(self.levels[-TREND_LEVELS:]), self.per_block[-TREND_LEVELS:]
        known = np.isfinite(values).all(axis=0)
        if not known.any() or len(x) < 2:
            return paired_gain(np.full(1, np.nan))
        line = np.polyfit(x, values[:, known], 1)
        return paired_gain(line[0] * np.log2(level) + line[1], self.near[np.ix_(known, known)])

    def table(self) -> dict[str, list[Any]]:
        """One row per level, for CSV: level in percent, scores in dB (PSNR) and without unit (MS-SSIM)."""
        out: dict[str, list[Any]] = {"level_percent": [100 * v for v in self.levels], "every": list(self.steps)}
        for name, row in self.scores.items():
            out |= {f"{name}_{metric}": list(values) for metric, values in row.items()}
        out |= {k: [getattr(g, v) for g in self.gains] for k, v in (("gain", "mean"), ("low", "low"), ("high", "high"))}
        out["ms_ssim_gain"] = [g.mean for g in self.similarity]
        return out | {"better": list(self.better)}

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {**self.table(), "factor": self.factor, "candidate": self.candidate, "baseline": self.baseline}


@dataclass(frozen=True)
class Reach:
    """How far beyond the recorded resolution a method is better than its baseline.

    Parameters
    ----------
    shown : highest level up to which it is better on unseen recorded pixels (see :attr:`UnseenCurve.better`), counted
        from half the factor on; 1 where it is not even better there.
    measured : highest level there was something to judge with.
    trusted : level up to which it is better by measurement and, beyond ``measured``, by the trend of the gain (its 95 %
        interval stays above zero); at most the factor of the enhancement.
    at_result : the gain that the trend gives at the factor itself.
    everywhere : it is better at all measured levels from half the factor on.
    """

    shown: float
    measured: float
    trusted: float
    at_result: Gain
    everywhere: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        gain = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in vars(self.at_result).items()}
        names = ("shown", "measured", "trusted")
        percent = {f"{n}_percent": round(100 * getattr(self, n), 1) for n in names}
        return {**percent, "everywhere": self.everywhere, "trend_at_result": gain}


def steps_for(factor: int, shape: Sequence[int], least_level: float = LEAST_LEVEL) -> tuple[float, ...]:
    """Decimations that tell something for a factor, of a picture of this shape; the smallest step first."""
    return tuple(n for n in STEPS if factor / n >= least_level - 1e-9 and min(shape) // n >= SMALLEST_PX)


def unseen_curve(
    pictures: Sequence[tuple[NDArray[Any], Sequence[Region]]],
    factor: int,
    methods: Mapping[str, Method],
    *,
    data_range: float,
    candidate: str,
    baseline: str = "bicubic",
    bad: Sequence[NDArray[np.bool_] | None] | None = None,
    split_px: int = 64,
    least_level: float = LEAST_LEVEL,
) -> UnseenCurve:
    """Compare methods on recorded pixels they have not seen, at all levels there are.

    Parameters
    ----------
    pictures : recorded grey levels and held-out boxes of them, in their pixels; a picture without boxes is left out.
    factor : by which all methods enhance.
    methods : name -> function of a picture (h, w), float32, that gives (factor * h, factor * w).
    data_range : grey levels that PSNR and MS-SSIM refer to.
    candidate, baseline : names of the methods that are compared.
    bad : True where a recorded pixel says nothing (saturated), per picture.
    split_px : held-out boxes are cut into blocks down to this side, for the standard errors.
    least_level : coarser levels are left out.

    Raises
    ------
    InputError : nothing to judge with.
    """
    for name in (candidate, baseline):
        if name not in methods:
            raise InputError(f"The methods must hold {name!r}, but only {', '.join(methods) or 'none'} came.")
    used = [(k, np.asarray(p, np.float32), blocks(boxes, split_px)) for k, (p, boxes) in enumerate(pictures) if boxes]
    steps = steps_for(factor, np.min([p.shape for _, p, _ in used], axis=0), least_level) if used else ()
    if not steps:
        raise InputError(
            f"Recorded pixels can only judge where a picture has held-out boxes and at least {2 * SMALLEST_PX} px "
            "along each side. Use a larger picture."
        )
    found = {n: _at_step(used, bad, factor, n, methods, data_range) for n in steps[::-1]}
    near = linalg.block_diag(*(nearness(b) for _, _, b in used))
    per_block = np.array([f[candidate]["psnr"] - f[baseline]["psnr"] for f in found.values()])
    scores = {
        name: {m: tuple(mean_and_error(f[name][m])[0] for f in found.values()) for m in CURVE_METRICS}
        for name in methods
    }
    gains = tuple(paired_gain(row, near) for row in per_block)
    alike = tuple(paired_gain(f[candidate]["ms_ssim"] - f[baseline]["ms_ssim"], near) for f in found.values())
    levels = tuple(factor / n for n in found)
    return UnseenCurve(levels, tuple(found), scores, gains, alike, per_block, near, factor, candidate, baseline)


def _at_step(
    used: Sequence[tuple[int, Array, Sequence[Region]]],
    bad: Sequence[NDArray[np.bool_] | None] | None,
    factor: int,
    step: float,
    methods: Mapping[str, Method],
    data_range: float,
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """method -> metric -> one number per block of all pictures; NaN for blocks in which too little is known."""
    found: dict[str, dict[str, list[float]]] = {name: {m: [] for m in CURVE_METRICS} for name in methods}
    for k, picture, boxes in used:
        coarse = decimated(picture, step)
        results = {n: at_recorded(method(coarse), picture.shape, step, factor) for n, method in methods.items()}
        valid = unseen(picture.shape, step) & np.isfinite(picture)
        wrong = None if bad is None else bad[k]
        if wrong is not None:
            valid &= ~wrong
        for image in results.values():
            valid &= np.isfinite(image)
        for box in boxes:
            mask = valid[box.slices]
            for name, image in results.items():
                for m in CURVE_METRICS:
                    value = np.nan
                    if mask.mean() >= VALID_SHARE:
                        value = METRICS[m](image[box.slices], picture[box.slices], data_range=data_range, mask=mask)
                    found[name][m].append(value)
    return {name: {m: np.array(v) for m, v in row.items()} for name, row in found.items()}


def reach(curve: UnseenCurve) -> Reach:
    """How far beyond the recorded resolution the candidate is better than the baseline.

    Only levels from half the factor on count: there methods read pictures that are at most twice as coarse as those
    they are made for. What they do with coarser ones does not matter.
    """
    shown, last = 1.0, max(curve.levels)
    beyond = [
        (v, better) for v, better in zip(curve.levels, curve.better, strict=True) if v >= least_counting(curve.factor)
    ]
    for level, better in beyond:
        if not better:
            break
        shown = level
    everywhere = bool(beyond) and all(better for _, better in beyond)
    return Reach(shown, last, _by_trend(curve, shown) if everywhere else shown, curve.gain_at(curve.factor), everywhere)


def least_counting(factor: int) -> float:
    """The coarsest level that counts for a result of this factor."""
    return max(1.0, factor / 2) - 1e-9


def _by_trend(curve: UnseenCurve, level: float) -> float:
    """The last level, in steps of 5 %, at which the trend's interval is above zero without a break."""
    while level < curve.factor - 1e-9:
        following = min(level + GRID, float(curve.factor))
        if not curve.gain_at(following).low > 0:
            break
        level = following
    return level
