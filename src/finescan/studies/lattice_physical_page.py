"""The physical evaluation of the lattice study on its page: Figures 6 and 8 of Möller et al. 2023, and the matching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from finescan import reporting as rp
from finescan.studies.lattice_physical import SEARCHED, PhysicalResults
from finescan.studies.lattice_words import NAMES, SAMPLES, WORDS
from finescan.trust.physical_curve import CREDIBLE, PhysicalCurve, Placed

FIGURES = {("stem", "ms_ssim"): "paper's Figure 6", ("stm", "ms_ssim"): "paper's Figure 8"}
SAME_PX = 1.0  # nearer places are one place
PAPER = (
    "Crops of a coarse picture, enhanced, are looked for in a fine picture that was recorded apart: other noise, drift "
    "and jitter, a pixel size that is up to 0.5 % off and a field turned by up to 0.7°. All methods are scored where "
    "the mean of their pictures was found, after one gain and one offset per piece. The paper states no numbers for "
    "its Figures 6 and 8: for STEM they confirm the order of the standard evaluation; for STM it reports very low "
    "MS-SSIM, with single-scale training above its own lists, and blames the noise of its scans."
)


def physical_parts(found: Mapping[str, PhysicalResults]) -> list[rp.Figure | rp.Table | str]:
    """Curves, what was placed, and whom the matching favours."""
    parts: list[rp.Figure | rp.Table | str] = [PAPER]
    for kind, one in found.items():
        if one.why_not:
            parts.append(f"{SAMPLES[kind]}: not everything was judged on pictures recorded apart. {one.why_not}")
        if one.curve is None:
            continue
        parts += [*_curves(kind, one.curve), placed_table(kind, one), score_table(kind, one.curve)]
        if one.own:
            parts.append(matching_table(kind, one.curve, one.own))
    return parts


def _curves(kind: str, found: PhysicalCurve) -> list[rp.Figure]:
    curve = found.curve
    figures = []
    for metric in curve.metrics:
        published = FIGURES.get((kind, metric))
        series = [
            rp.Series(NAMES[n], curve.percent, row[metric], reference=n == "bicubic") for n, row in curve.scores.items()
        ]
        title = f"{SAMPLES[kind]}, recorded apart: {WORDS[metric]} over zoom level" + (
            f" ({published})" if published else ""
        )
        figures.append(
            rp.curve_panels(
                title, {"": series}, x_label="zoom level, % of the recorded",
                y_label="dB" if metric == "psnr" else WORDS[metric], minima=False, note=_shares(found),
                name=f"physical-{kind}-{metric.replace('_', '-')}",
            )
        )  # fmt: skip
    return figures


def _shares(found: PhysicalCurve) -> str:
    levels = zip(found.percent, found.found, found.tried, strict=True)
    return "Pieces placed: " + ", ".join(f"{n} of {of} at {p:.0f} %" for p, n, of in levels) + "."


def score_table(kind: str, found: PhysicalCurve) -> rp.Table:
    """Every level's scores; empty where no piece was found."""
    table = found.table()
    columns = [rp.Column("method")]
    for p in found.percent:
        columns += [
            rp.Column(f"{WORDS[m]} at {p:.0f} %", "dB" if m == "psnr" else "", "higher") for m in found.curve.metrics
        ]
    levels = range(len(found.percent))
    rows = tuple(
        (NAMES[n], *(table[f"{n} {m}"][k] for k in levels for m in found.curve.metrics)) for n in found.curve.values
    )
    return rp.Table(f"{SAMPLES[kind]}: recorded apart, at shared places", tuple(columns), rows, name=f"physical-{kind}")


def placed_table(kind: str, one: PhysicalResults) -> rp.Table:
    """How many pieces were placed at every level, and how well: scale and turn beside those that were recorded."""
    assert one.curve is not None
    columns = (
        rp.Column("level", "%"), rp.Column("side", "px"), rp.Column("pieces"), rp.Column("placed"),
        rp.Column("refused"), rp.Column("correlation, median"), rp.Column("places as good, median"),
        rp.Column("scale, median"), rp.Column("scale, recorded"), rp.Column("turn, median", "°"),
        rp.Column("turn, recorded", "°"),
    )  # fmt: skip
    scale, turn = one.true_fit
    rows = []
    levels = zip(one.curve.percent, one.curve.piece_px, one.curve.placed, strict=True)
    for percent, side, placed in levels:
        kept = [p for p in placed if p.found]
        r, rivals, scales, turns = (_median(kept, f) for f in ("correlations", "rivals", "scales", "turns_deg"))
        rows.append(
            (f"{percent:.0f}", side, len(placed), len(kept), len(placed) - len(kept), r, rivals, scales, scale, turns,
             turn)
        )  # fmt: skip
    ends = f"{100 * max(SEARCHED['scales']) - 100:.0f} %, {max(SEARCHED['turns_deg']):g}°"
    caption = (
        f"Refused: smoothed pieces that correlate by less than {CREDIBLE} with their place, or whose scale or turn "
        f"ends where the search does ({ends}). Levels with less than a third placed have no scores. Scale and turn as "
        "recorded are those of the whole fields; drift makes them other ones in a piece. On a lattice many places are "
        "equal: a piece is compared with one like it."
    )
    return rp.Table(f"{SAMPLES[kind]}: pieces placed", columns, tuple(rows), caption, name=f"placed-{kind}")


def _median(kept: list[Placed], field: str) -> float | None:
    return float(np.median([next(iter(getattr(p, field).values())) for p in kept])) if kept else None


def matching_table(kind: str, shared: PhysicalCurve, own: Mapping[str, PhysicalCurve]) -> rp.Table:
    """Lead over bicubic interpolation at the finest level, at shared places and at each method's own."""
    names = list(next(iter(own.values())).curve.values)
    kinds = {"shared places": shared, **{f"own places, {rule}": found for rule, found in own.items()}}
    columns = [rp.Column("method")]
    for words in kinds:
        columns += [
            rp.Column(f"{WORDS[m]} over bicubic, {words}", "dB" if m == "psnr" else "") for m in shared.curve.metrics
        ]
    columns.append(rp.Column("own place is the shared one", "%"))
    rows: list[tuple[Any, ...]] = []
    for n in names:
        gains = [found.curve.gains(n, m)[-1] for found in kinds.values() for m in shared.curve.metrics]
        rows.append((NAMES[n], *gains, _same(n, shared, own.get("robust"))))
    caption = (
        "Whom the matching favours: where methods are matched by themselves, a method may find a place that suits it. "
        "The published rule refuses no piece and is compared on pixels half a pixel off, as published."
    )
    return rp.Table(
        f"{SAMPLES[kind]}: shared and own places, {shared.percent[-1]:.0f} %", tuple(columns), tuple(rows), caption,
        name=f"matching-{kind}",
    )  # fmt: skip


def _same(name: str, shared: PhysicalCurve, own: PhysicalCurve | None) -> float | None:
    """Percent of the pieces that a method finds where the mean of all methods is."""
    if own is None:
        return None
    pairs = zip(shared.placed[-1], own.placed[-1], strict=True)
    far = [np.subtract(a.centres[name], b.centres[name]) for a, b in pairs]
    return 100 * float(np.mean([np.hypot(*d) < SAME_PX for d in far]))


def physical_lines(kind: str, one: PhysicalResults) -> list[str]:
    """For a terminal."""
    if one.curve is None:
        return [f"{SAMPLES[kind]}, recorded apart: {one.why_not}"]
    curve, lines = one.curve.curve, []
    for metric in curve.metrics:
        digits = 2 if metric == "psnr" else 3
        lines.append(f"{SAMPLES[kind]}, recorded apart, {WORDS[metric]} at % of the recorded resolution")
        lines.append(" " * 36 + "".join(f"{p:9.0f}" for p in curve.percent))
        lines += [
            f"{NAMES[n]:36}" + "".join(f"{v:9.{digits}f}" for v in row[metric]) for n, row in curve.scores.items()
        ]
    return [*lines, f"  {_shares(one.curve)}"]
