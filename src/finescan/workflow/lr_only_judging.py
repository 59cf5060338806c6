"""Judging without a fine scan: one level down, over zoom levels, and by the lattice where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import trust
from finescan.patches.grey import cut_levels, saturated
from finescan.trust import Gain, TrustReport
from finescan.trust.blocks import blocks
from finescan.trust.unseen import Method, Reach, UnseenCurve, at_recorded, decimated, least_counting, reach, unseen
from finescan.trust.verdict import LEAST_DB
from finescan.values import Grid, Image, Region
from finescan.workflow.lattice_judging import LatticeJudgement, judge_lattice
from finescan.workflow.lr_only_learning import Learned, as_method, contest, split_px

CANDIDATE = "enhanced"
KERNELS = {
    "points": "single recorded pixels, one in every {n} × {n}: what a scan with larger steps records",
    "averages": "averages of {n} × {n} recorded pixels: what a detector with larger pixels records",
}
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Down:
    """One level down for one image and one kernel: everything on the grid of the recorded image.

    Parameters
    ----------
    coarse : the recorded image made coarser, (h, w).
    results : contestant -> prediction of the recorded image, NaN where there is none.
    known : recorded pixels that were not seen and say something.
    """

    coarse: Array
    results: Mapping[str, Array]
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What can be said without a fine scan.

    Parameters
    ----------
    images : as enhanced.
    report, averages : one level down, from single pixels and from averages; the verdict where there are no levels.
    curve, reach : the candidate against bicubic over zoom levels, and how far it can be trusted.
    method : the candidate.
    downs : of every image, by kernel.
    boxes : held-out boxes of every image.
    result_is_interpolation : the candidate was rejected.
    lattices : of every image; empty before the result exists.
    """

    images: tuple[Image, ...]
    report: TrustReport
    averages: TrustReport
    curve: UnseenCurve | None
    reach: Reach
    method: str
    downs: tuple[Mapping[str, Down], ...] = field(repr=False)
    boxes: tuple[tuple[Region, ...], ...] = field(repr=False)
    result_is_interpolation: bool = False
    lattices: tuple[LatticeJudgement, ...] = ()

    @property
    def trusted_percent(self) -> float:
        """Percent of the recorded resolution up to which the result is better than interpolation."""
        return round(100 * self.reach.trusted, 1) if self.is_better and not self.result_is_interpolation else 100.0

    @property
    def is_better(self) -> bool:
        """Whether the candidate is better than interpolation at the finest levels; without levels, one level down."""
        return down_verdict(self.report) == "better" if self.curve is None else self.reach.everywhere

    def rejected(self) -> Judged:
        """The same where the result is the interpolation."""
        return replace(self, result_is_interpolation=True)

    def with_lattices(self, images: Sequence[Image], enhanced: Sequence[Image]) -> Judged:
        """With the judgement of every image's lattice, where it has one."""
        found = []
        for image, result, down in zip(images, enhanced, self.downs, strict=True):
            made = down["points"].results
            found.append(judge_lattice(image, result, before=made.get("bicubic"), after=made[CANDIDATE]))
        return replace(self, lattices=tuple(found))

    def lattice_facts(self) -> list[dict[str, Any]]:
        """For JSON, one entry per image."""
        return [lattice.to_dict() for lattice in self.lattices]

    def notes(self) -> list[str]:
        """Sentences about what must be known."""
        several = len(self.images) > 1
        return [
            f"{image.name}: {n}" if several else n
            for image, lattice in zip(self.images, self.lattices, strict=True)
            for n in lattice.notes()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "one_level_down": {"points": self.report.to_dict(), "averages": self.averages.to_dict()},
            "curve": None if self.curve is None else self.curve.to_dict(),
            "candidate": self.method,
        }


def judge_images(images: Sequence[Image], learned: Learned, method: str) -> Judged:
    """Judge contestants and the network on unseen recorded pixels of the test blocks.

    Parameters
    ----------
    images : as learned from.
    method : name of the one that would make the result.
    """
    patches = learned.patches
    methods = {n: as_method(m, images[0].grid) for n, m in learned.models.items()}
    boxes = learned.held["test"]
    downs = tuple({k: _down(i, k, patches.factor, methods, method) for k in KERNELS} for i in images)
    grey = patches.hr_grey
    points, averages = (_judge([d[k] for d in downs], images, boxes, grey.high - grey.low) for k in KERNELS)
    rivals = {"bicubic": methods["bicubic"], CANDIDATE: methods[method]}
    curve = contest(images, boxes, patches, rivals, CANDIDATE)
    far = reach(curve) if curve else Reach(1.0, 1.0, 1.0, Gain(*(float("nan"),) * 4, 0, "equal"))
    return Judged(tuple(images), points, averages, curve, far, method, downs, boxes)


def _down(image: Image, kernel: str, factor: int, methods: Mapping[str, Method], chosen: str) -> Down:
    recorded = image.array()
    bad = saturated(recorded, cut_levels(recorded)) | ~np.isfinite(recorded)
    picture = np.where(np.isfinite(recorded), recorded, np.nan).astype(np.float32)
    if kernel == "points":
        coarse, known = decimated(picture, factor), unseen(picture.shape, factor)
        results = {n: at_recorded(m(coarse), picture.shape, factor, factor) for n, m in methods.items()}
    else:
        coarse, known = _averaged(picture, factor), np.ones(picture.shape, bool)
        results = {n: _padded(m(coarse), picture.shape) for n, m in methods.items()}
    return Down(coarse, {**results, CANDIDATE: results[chosen]}, known & ~bad)


def _averaged(picture: Array, factor: int) -> Array:
    h, w = (n // factor for n in picture.shape)
    blocks = picture[: h * factor, : w * factor].reshape(h, factor, w, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _padded(result: Array, shape: Sequence[int]) -> Array:
    out = np.full(tuple(shape), np.nan, np.float32)
    out[: result.shape[0], : result.shape[1]] = result
    return out


def _judge(
    downs: Sequence[Down], images: Sequence[Image], boxes: Sequence[Sequence[Region]], data_range: float
) -> TrustReport:
    """All images below each other, where they have held-out boxes."""
    used = [k for k, found in enumerate(boxes) if found]
    rows = np.cumsum([0, *(images[k].grid.shape[0] for k in used)]).tolist()
    shape = rows[-1], max(images[k].grid.shape[1] for k in used)
    grid = Grid.of(shape, images[0].grid.pixel_size_nm)

    def stacked(parts: Sequence[NDArray[Any]], empty: Any) -> NDArray[Any]:
        out = np.full(shape, empty)
        for row, part in zip(rows, parts, strict=False):
            out[row : row + part.shape[0], : part.shape[1]] = part
        return out

    tiles = [
        Region(grid, (row + r.start[0], r.start[1]), (row + r.stop[0], r.stop[1]))
        for row, k in zip(rows, used, strict=False)
        for r in boxes[k]
    ]
    return trust.evaluate(
        {n: stacked([downs[k].results[n] for k in used], np.float32(np.nan)) for n in downs[0].results},
        stacked([images[k].array().astype(np.float32) for k in used], np.float32(np.nan)),
        grid=grid,
        tiles=blocks(tiles, split_px(images)),
        data_range=data_range,
        mask=stacked([downs[k].known for k in used], False),
        candidate=CANDIDATE,
    )


def down_verdict(report: TrustReport) -> str:
    """Verdict one level down: by PSNR as in :mod:`finescan.trust.verdict`, and by MS-SSIM instead of SSIM.

    The answer is single recorded pixels with all their noise, which SSIM's small windows take for structure.
    """
    raw, fitted = (report.gains["psnr"][k] for k in ("raw", "matched"))
    if "worse" in (raw.significance, fitted.significance):
        return "worse"
    better = raw.significance == fitted.significance == "better" and min(raw.mean, fitted.mean) >= LEAST_DB
    return "better" if better and report.gains["ms_ssim"]["raw"].significance != "worse" else "equal"


def _gained(judged: Judged, k: int = -1) -> str:
    """Figures at a level (its number in the curve); without a curve, one level down."""
    curve, report = judged.curve, judged.report
    if curve is None:
        psnr, alike, where = report.gains["psnr"]["raw"], report.gains["ms_ssim"]["raw"], "at 100 %"
    else:
        psnr, alike, where = curve.gains[k], curve.similarity[k], f"at {100 * curve.levels[k]:.0f} %"
    said = f"PSNR {psnr.mean:+.2f} ± {psnr.error:.2f} dB, MS-SSIM {alike.mean:+.3f} ± {alike.error:.3f} {where}"
    if psnr.mean > 0 and psnr.significance == "equal":
        between = f"{psnr.low:+.2f} and {psnr.high:+.2f} dB"
        return f"{said}, which may be chance: with {psnr.n} blocks, 95 % lie between {between}"
    return said


def verdict_of(judged: Judged) -> tuple[str, str]:
    """Verdict of the result, and the sentence that says how far to trust it."""
    far, curve = judged.reach, judged.curve
    finer = "Do not trust detail finer than recorded."
    if judged.result_is_interpolation:
        said = f"The result is the bicubic interpolation, because nothing better was shown{_why(judged)}. {finer}"
        return "equal", said
    if not judged.is_better:
        worse = down_verdict(judged.report) if curve is None else curve.gains[-1].significance
        said = f"Made by {judged.method}, as was asked for, though nothing better was shown{_why(judged)}. {finer}"
        return ("worse" if worse == "worse" else "equal"), said
    shown = (
        "On recorded pixels it had not seen, the result is better than bicubic interpolation up to "
        f"{100 * far.shown:.0f} % of the recorded resolution: {_gained(judged)}, in {judged.report.facts['n_blocks']} "
        "held-out blocks."
    )
    if curve is None:
        return "better", f"{shown} The image is too small to judge other levels."
    return "better", f"{shown} Beyond {100 * far.measured:.0f} % there is nothing to judge with; {_trend(far, curve)}."


def _trend(far: Reach, curve: UnseenCurve) -> str:
    gain, result = far.at_result, f"{100 * curve.factor:.0f} %"
    if far.trusted >= curve.factor - 1e-9:
        return f"by the trend of its gain the advantage holds up to the {result} of the result"
    return (
        f"by the trend of its gain ({gain.mean:+.2f} dB at the {result} of the result, 95 %: {gain.low:+.2f} to "
        f"{gain.high:+.2f}) the advantage can be expected up to {100 * far.trusted:.0f} %"
    )


def _why(judged: Judged) -> str:
    """Where the candidate failed."""
    curve, far = judged.curve, judged.reach
    if judged.method == "bicubic":
        return " where the choice is made"
    said = f": on unseen recorded pixels {judged.method} gains "
    if curve is None:
        return said + _gained(judged)
    failed = (k for k, v in enumerate(curve.levels) if v >= least_counting(curve.factor) and not curve.better[k])
    worst = min(failed, key=lambda k: curve.gains[k].mean)
    smaller = [f for f in (3, 2) if f < curve.factor and far.shown >= f - 1e-9]
    return said + _gained(judged, worst) + (f"; a factor of {smaller[0]} may be had" if smaller else "")


def levels_csv(judged: Judged) -> str:
    """The curve as text."""
    table = {} if judged.curve is None else judged.curve.table()
    rows = zip(*table.values(), strict=True)
    return (
        "\n".join(
            [",".join(table), *(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row) for row in rows)]
        )
        + "\n"
    )
