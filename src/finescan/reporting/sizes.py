"""Objects of pictures, measured alike and compared: a table per area, cumulative curves and histograms of the sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.axes import nice
from finescan.reporting.chapter import Cell, Chapter, Figure, Table, or_none, slug
from finescan.reporting.charts import Sample, curve_panels, histogram_panels
from finescan.reporting.report import Column, Score, Series

if TYPE_CHECKING:
    from finescan.quantification import SizeComparison, SizeSample
    from finescan.trust import TileScores

_UNITS = ((1e6, "mm"), (1e3, "µm"), (1.0, "nm"))
_POINTS = 60  # of a cumulative curve
_BINS = 22  # of a histogram, about
_HOW = (
    "KS distance is the largest difference between the cumulative sizes of two pictures: 0 is alike, 1 wholly "
    "different; independent samples of one kind exceed the limit once in twenty times. It compares how sizes are "
    "distributed, not how many objects there are: read it with the counts. The last columns count objects by diameter; "
    "their first edge is one coarse pixel."
)
_SHOWN = 0.995  # of the objects lie within the histogram; the rest would leave the others in its first bins


def size_chapter(
    comparisons: Sequence[SizeComparison], *, title: str, words: Sequence[str] = (), name: str = "sizes"
) -> Chapter:
    """Tables, cumulative curves and histograms of what :func:`finescan.quantification.compare` gave.

    Parameters
    ----------
    comparisons : one per area; areas without any object have a table, but no curve.
    title : of the chapter.
    words : paragraphs above the tables.
    name : of the files that figures are written to.
    """
    if not comparisons:
        raise InputError("A chapter about sizes needs at least one comparison, but none came.")
    unit, word = _unit(comparisons)
    tables = [size_table(c, unit, word, name=f"{name}-{slug(c.area)}") for c in comparisons]
    drawn = [c for c in comparisons if any(s.count for s in c.samples)]
    curves = (_cumulative(drawn, unit, word, name),) if drawn else ()
    return Chapter(title, (*words, _HOW, *tables, *curves, *(_histogram(c, unit, word, name) for c in drawn)))


def size_table(comparison: SizeComparison, unit: float, word: str, *, name: str = "") -> Table:
    """One row per picture: objects, share of area, diameters, distance of the distributions, counts per class."""
    matched = any(s.found is not None for s in comparison.samples)
    fates = [Column("found", "%", "higher"), Column("invented", "%", "lower")] if matched else []
    heads = (
        Column(""), Column("objects"), Column("share of area", "%"), Column("median diameter", word),
        Column("mean diameter", word), Column(f"KS distance to {comparison.against}"), Column("5 % limit"),
        *fates, *(Column(f"{c} {word}") for c in class_names(comparison.edges_nm / unit)),
    )  # fmt: skip
    rows = tuple(_row(comparison, s, unit, matched) for s in comparison.samples)
    caption = f"Share of area ± standard error over {comparison.samples[0].blocks} blocks."
    return Table(comparison.area[:1].upper() + comparison.area[1:], heads, rows, caption, name=name)


def class_names(edges: NDArray[np.float64]) -> list[str]:
    """Words for classes between edges: "below 0.1", "0.1–0.2", …, "from 0.8"."""
    texts = [f"{e:.3g}" for e in edges]
    out = [f"{a}–{b}" for a, b in itertools.pairwise(texts)]
    out[0], out[-1] = f"below {texts[1]}", f"from {texts[-2]}"
    return out


def _row(comparison: SizeComparison, s: SizeSample, unit: float, matched: bool) -> tuple[Cell, ...]:
    own = s.name == comparison.against
    true = next((r.count for r in comparison.samples if r.reference), 0)
    found = None if s.found is None or not true else 100.0 * s.found / true
    wrong = None if s.invented is None or not s.count else 100.0 * s.invented / s.count
    return (
        s.name, s.count, Score(100 * s.area_share, or_none(100 * s.area_error)),
        or_none(s.median_nm / unit), or_none(s.mean_nm / unit),
        None if own else or_none(comparison.distance(s.name)), None if own else or_none(comparison.limit(s.name)),
        *((found, wrong) if matched else ()), *(int(n) for n in s.per_class(comparison.edges_nm)),
    )  # fmt: skip


def _unit(comparisons: Sequence[SizeComparison]) -> tuple[float, str]:
    largest = max((float(s.diameters_nm.max()) for c in comparisons for s in c.samples if s.count), default=1.0)
    return next(((u, w) for u, w in _UNITS if largest >= u), _UNITS[-1])


def _panels(comparisons: Sequence[SizeComparison]) -> Mapping[str, list[SizeSample]]:
    return {c.area: [s for s in c.samples if s.count] for c in comparisons}


def _cumulative(comparisons: Sequence[SizeComparison], unit: float, word: str, name: str) -> Figure:
    """Share of the objects up to a diameter."""
    panels = {}
    for area, samples in _panels(comparisons).items():
        low = min(float(s.diameters_nm.min()) for s in samples) / unit
        high = max(float(s.diameters_nm.max()) for s in samples) / unit
        x = np.geomspace(low, max(high, 1.001 * low), _POINTS)
        x[-1] = max(high, x[-1])
        panels[area] = [Series(s.name, x, _share_up_to(s.diameters_nm / unit, x)) for s in samples]
    return curve_panels(
        "Cumulative sizes", panels, x_label=f"equivalent diameter ({word})", y_label="objects up to it, %",
        minima=False, log_x=True, note="Where two curves lie apart most is the KS distance.", name=f"{name}-cumulative",
    )  # fmt: skip


def _share_up_to(values: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100.0 * np.searchsorted(np.sort(values), x * (1 + 1e-12), side="right") / values.size


def _histogram(comparison: SizeComparison, unit: float, word: str, name: str) -> Figure:
    """Objects per bin of diameter; areas have figures of their own, because their counts differ widely."""
    samples = [s for s in comparison.samples if s.count]
    everything = np.concatenate([s.diameters_nm for s in samples]) / unit
    largest, usual = float(everything.max()), float(np.quantile(everything, _SHOWN))
    top = usual if largest > 1.5 * usual else largest
    width = nice(top / _BINS)
    shown = [Sample(s.name, np.minimum(s.diameters_nm / unit, top), f"{s.count} objects", s.reference) for s in samples]
    note = f"Bins of {width:g} {word}."
    note += " The filled outline is the reference." if any(s.reference for s in samples) else ""
    note += f" The last bin also holds what is larger (up to {largest:.3g} {word})." if largest > top else ""
    return histogram_panels(
        f"Sizes, {comparison.area}", {"": shown}, bin_width=width, x_label=f"equivalent diameter ({word})",
        y_label="objects", note=note, name=f"{name}-histogram-{slug(comparison.area)}",
    )  # fmt: skip


def tile_chapter(scores: TileScores, *, candidate: str, words: Sequence[str] = (), name: str = "tiles") -> Chapter:
    """Scores tile by tile as histograms over each other, with the numbers.

    Parameters
    ----------
    scores : of the contestants, the candidate first.
    candidate : the one that is compared with the others.
    words : paragraphs above.
    name : of the files that the figure is written to.
    """
    metric = scores.metric.upper().replace("_", "-")
    summary = scores.summary(candidate)
    heads = (
        Column(""), Column("mean", "", "higher"), Column("standard deviation"), Column("lower quartile", "", "higher"),
        Column("median", "", "higher"), Column("upper quartile", "", "higher"), Column(f"{candidate} better", "%"),
    )  # fmt: skip
    rows = tuple(_tile_row(n, summary, n == candidate) for n in scores.scores)
    title = f"{scores.count} tiles of {scores.tile_px} × {scores.tile_px} fine pixels"
    table = Table(title, heads, rows, name=f"{name}-table")
    samples = [Sample(n, v, f"mean {float(np.mean(v)):.3f}") for n, v in scores.scores.items()]
    low, high = (float(f([f(v) for v in scores.scores.values()])) for f in (np.min, np.max))
    width = nice(max(high - low, 1e-6) / _BINS)
    figure = histogram_panels(
        f"{metric} of the tiles", {"": samples}, bin_width=width, start=width * math.floor(low / width), x_label=metric,
        y_label="tiles", note=f"Bins of {width:g}. Further right is better.", name=f"{name}-histogram",
    )  # fmt: skip
    return Chapter(f"{metric}, tile by tile", (*words, table, figure))


def _tile_row(name: str, summary: Mapping[str, Any], own: bool) -> tuple[Cell, ...]:
    row = summary["scores"][name]
    better = None if own else 100.0 * summary["improved_share"][name]
    return (name, row["mean"], row["std"], row["q1"], row["median"], row["q3"], better)
