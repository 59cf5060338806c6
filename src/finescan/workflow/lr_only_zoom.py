"""Coarse images alone: the standard evaluation of Möller et al. 2023 on blocks that no network has read.

Beside :mod:`finescan.trust.unseen`, which goes beyond the recorded resolution, this one sees nothing but held-out
blocks: they are made coarser point by point to a level at or below the recorded resolution, and then by the factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan.models import Model
from finescan.trust.unseen import Method
from finescan.trust.zoom_curves import RIM_PX, SMALLEST_PX, ZoomCurve, zoom_curve
from finescan.values import Image, Region
from finescan.workflow.lr_only_judging import CANDIDATE, Judged
from finescan.workflow.lr_only_learning import Learned, as_method

RATIOS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LEAST_RATIO = 0.8  # blocks too small for this level and all above it are left out
MOST_BLOCKS = 4  # the largest ones


def zoom_chapter(images: Sequence[Image], learned: Learned, judged: Judged, trusted_percent: float) -> rp.Chapter:
    """The curve with the limit of trust, or a sentence where all held-out blocks are too small."""
    title = "Zoom curve on held-out blocks"
    curve = block_curve(images, judged.boxes, learned, judged.method)
    if curve is None:
        largest = max((min(b.shape) for row in judged.boxes for b in row), default=0)
        words = (
            f"Not made: it needs a held-out block of {_least_px(learned.patches.factor):.0f} px or more along its "
            f"shorter side, and the largest has {largest} px. Larger images have one."
        )
        return rp.Chapter(title, (words,))
    blocks = len(next(iter(curve.values.values()))["psnr"][0])
    words = (
        f"The standard evaluation of Möller et al. 2023 on held-out blocks (crops: {blocks}): made coarser "
        "point by point to a level, then by the factor, enhanced, and compared with the level. 100 % is what was "
        "recorded; beyond it this evaluation has no answer, and what is said there comes from unseen pixels."
    )
    return rp.Chapter(title, (words, *_figures(curve, judged.method, trusted_percent)))


def block_curve(
    images: Sequence[Image], boxes: Sequence[Sequence[Region]], learned: Learned, method: str
) -> ZoomCurve | None:
    """Bicubic interpolation and a method (a key of ``learned.models``) over levels up to the recorded resolution."""
    factor = learned.patches.factor
    pictures = _blocks(images, boxes, _least_px(factor))
    if not pictures:
        return None
    side = min(min(p.shape) for p in pictures)
    models: Mapping[str, Model] = {"bicubic": learned.models["bicubic"], CANDIDATE: learned.models[method]}
    methods: dict[str, Method] = {n: as_method(m, images[0].grid) for n, m in models.items()}
    grey = learned.patches.hr_grey
    ratios = [r for r in RATIOS if r * side >= LEAST_RATIO * _least_px(factor) - 1e-9]
    return zoom_curve(pictures, ratios, factor, methods, data_range=grey.high - grey.low)


def _least_px(factor: int) -> float:
    """Shorter side from which a block is judged at three levels."""
    return (SMALLEST_PX + 2 * RIM_PX * factor) / LEAST_RATIO


def _blocks(images: Sequence[Image], boxes: Sequence[Sequence[Region]], least: float) -> list[NDArray[Any]]:
    """The largest held-out blocks that are large enough and have a grey level everywhere."""
    found = [i.array()[b.slices].astype(np.float32) for i, row in zip(images, boxes, strict=True) for b in row]
    good = [p for p in found if min(p.shape) >= least and np.isfinite(p).all()]
    return sorted(good, key=lambda p: -min(p.shape))[:MOST_BLOCKS]


def _figures(curve: ZoomCurve, method: str, trusted_percent: float) -> list[rp.Figure]:
    x = [100 * r for r in curve.ratios]
    names = {CANDIDATE: f"predicted ({method})", "bicubic": "bicubic"}
    figures = []
    for metric, heading in (("psnr", "PSNR, dB"), ("ms_ssim", "MS-SSIM")):
        rows = {n: curve.scores[n][metric] for n in names}
        ends = [min(map(min, rows.values())), max(map(max, rows.values()))]
        series = [rp.Series(words, x, rows[n], reference=n == "bicubic") for n, words in names.items()]
        series.append(rp.Series(f"trust up to {trusted_percent:.0f} %", [trusted_percent] * 2, ends, reference=True))
        figures.append(
            rp.curve_panels(
                f"{heading}, held-out blocks alone", {"": series}, x_label="level, % of the recorded resolution",
                y_label=heading, minima=False,
            )
        )  # fmt: skip
    return figures
