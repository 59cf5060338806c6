"""Charts of studies, panel by panel: histograms, box plots, curves with minima. Each is a Figure with its numbers.

Every chart takes plain arrays; names known to :data:`finescan.reporting.axes.STYLES` keep their colour everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.reporting.axes import (
    Axis,
    Panel,
    bottom,
    diamond,
    frame,
    legend_entries,
    legend_step,
    side,
    styles_of,
    svg,
)
from finescan.reporting.chapter import Figure, Table, or_none, slug
from finescan.reporting.figures import curve_styles, curves, minimum
from finescan.reporting.report import Column, Series

_LEFT = 72.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_TABLE_ROWS = 60
_BOX_WORDS = "Box: quartiles and median; diamond: mean; whiskers: one standard deviation; points: evenly chosen values."


@dataclass(frozen=True)
class Sample:
    """Measured values of one kind: ``note`` stands beside the name ("porosity 44.1 %").

    ``reference=True`` is what the others are compared with.
    """

    name: str
    values: ArrayLike
    note: str = ""
    reference: bool = False

    def finite(self) -> NDArray[np.float64]:
        """The values that are numbers."""
        v = np.asarray(self.values, np.float64).ravel()
        return v[np.isfinite(v)]


# ------------------------------------------------------------------ panels
def _panels(count: int, columns: int, width: float, height: float) -> list[Panel]:
    """Frames beside and below each other, with room for headings when there are several."""
    across, down, top = width + _LEFT + 10, height + 86, 34.0 if count > 1 else 14.0
    return [Panel(_LEFT + (k % columns) * across, top + (k // columns) * down, width, height) for k in range(count)]


def _many(
    title: str,
    panels: Mapping[str, Sequence[object]],
    draw: Callable[[str, Panel, bool], str],
    note: str,
    tables: tuple[Table, ...],
    name: str,
    legend: Callable[[float, float, float], tuple[str, int]] | None,
    *,
    height: float = 210.0,
) -> Figure:
    """Small multiples: one frame per panel under its heading, one legend for all."""
    if not panels:
        raise InputError(f"The figure {title!r} needs at least one panel, but none came.")
    columns = 1 if len(panels) == 1 else 2
    frames = _panels(len(panels), columns, 552.0 if columns == 1 else 380.0, height)
    parts = []
    for k, (heading, panel) in enumerate(zip(panels, frames, strict=True)):
        if len(panels) > 1:
            parts.append(f'<text class="head" x="{panel.left:g}" y="{panel.top - 12:g}">{escape(heading)}</text>')
        parts.append(draw(heading, panel, k % columns == 0))
    low = max(p.bottom for p in frames)
    right = max(p.right for p in frames) + 16
    keys, rows = legend(_LEFT, low + 56, right - _LEFT - 16) if legend else ("", 0)
    parts.append(keys)
    return Figure(title, svg(right, low + 52 + 20 * rows, parts, title, note), note, tables, columns > 1, name)


def _called(title: str, heading: str, name: str) -> tuple[str, str]:
    """Title and file name of the table behind a panel."""
    return (f"{title}: {heading}" if heading else title), slug(f"{name or title} {heading}")


# ------------------------------------------------------------------ histograms
def histogram_panels(
    title: str,
    panels: Mapping[str, Sequence[Sample]],
    *,
    bin_width: float,
    x_label: str,
    y_label: str = "count",
    start: float = 0.0,
    note: str = "",
    name: str = "",
) -> Figure:
    """Histograms over each other, one frame per panel (pore diameters per method, one outline per blur).

    All bins are ``bin_width`` wide and begin at ``start``, which no value may lie below; the sample that is the
    reference is filled. The notes of the samples (porosities) stand in the frame.
    """
    everything = [s.finite() for samples in panels.values() for s in samples]
    low = min((float(v.min()) for v in everything if v.size), default=start)
    if low < start:
        raise InputError(f"The bins of {title!r} begin at {start:g}, but {low:g} came. Pass start= below it.")
    top = max((float(v.max()) for v in everything if v.size), default=start + bin_width)
    edges = start + bin_width * np.arange(math.floor((top - start) / bin_width) + 2, dtype=np.float64)
    counts = {h: [np.histogram(s.finite(), edges)[0] for s in samples] for h, samples in panels.items()}
    highest = max((int(c.max()) for cs in counts.values() for c in cs), default=1)
    names = _names(panels)
    style = dict(zip(names, styles_of(names), strict=True))

    def draw(heading: str, panel: Panel, first: bool) -> str:
        x_axis = Axis([edges], False, panel.left, panel.right, limits=(float(edges[0]), float(edges[-1])))
        y_axis = Axis([[0, highest]], False, panel.bottom, panel.top, zero=True)
        parts = [frame(panel, x_axis, y_axis, x_label, y_label if first else "")]
        for k, (s, c) in enumerate(zip(panels[heading], counts[heading], strict=True)):
            parts.append(_outline(s, c, edges, x_axis, y_axis, style[s.name]))
            if s.note:
                parts.append(_note(panel, k, style[s.name], f"{s.name}: {s.note}"))
        return "".join(parts)

    tables = tuple(_histogram_table(_called(title, h, name), panels[h], counts[h], edges, x_label) for h in panels)
    return _many(title, panels, draw, note, tables, name, _line_legend(names, style))


def _outline(s: Sample, counts: NDArray[np.int64], edges: NDArray[np.floating], x: Axis, y: Axis, style: str) -> str:
    points = [f"{float(x.place(edges[0])):.1f} {float(y.place(0)):.1f}"]
    for (a, b), c in zip(itertools.pairwise(edges.tolist()), counts, strict=True):
        points += [f"{float(x.place(v)):.1f} {float(y.place(c)):.1f}" for v in (a, b)]
    points.append(f"{float(x.place(edges[-1])):.1f} {float(y.place(0)):.1f}")
    d = "M" + "L".join(points)
    filled = f'<path class="fill {style}" d="{d}z"/>' if s.reference else ""
    return f'{filled}<path class="curve {style}" d="{d}"><title>{escape(s.name)}</title></path>'


def _note(panel: Panel, k: int, style: str, text: str) -> str:
    y = panel.top + 12 + 17 * k
    return (
        f'<path class="curve {style}" d="M{panel.right - 12:g} {y - 4:g}h12"/>'
        f'<text class="small" x="{panel.right - 18:g}" y="{y:g}" text-anchor="end">{escape(text)}</text>'
    )


def _names(panels: Mapping[str, Sequence[Sample]]) -> list[str]:
    return list(dict.fromkeys(s.name for samples in panels.values() for s in samples))


def _line_legend(names: Sequence[str], style: Mapping[str, str]) -> Callable[[float, float, float], tuple[str, int]]:
    def draw(x: float, y: float, width: float) -> tuple[str, int]:
        step = legend_step(names)
        columns = max(1, int((width + 16) // step))
        entries = legend_entries([(style[n], n) for n in names], x, y, columns=columns, step=step)
        return entries, -(-len(names) // columns)

    return draw


def _histogram_table(
    called: tuple[str, str],
    samples: Sequence[Sample],
    counts: Sequence[NDArray[np.int64]],
    edges: NDArray[np.floating],
    x_label: str,
) -> Table:
    heads = (Column(f"{x_label} from"), Column("to"), *(Column(s.name) for s in samples))
    rows = tuple((a, b, *(int(c[k]) for c in counts)) for k, (a, b) in enumerate(itertools.pairwise(edges.tolist())))
    notes = "; ".join(f"{s.name}: {s.note}" for s in samples if s.note)
    return Table(called[0], heads, rows, notes, name=called[1])


# ------------------------------------------------------------------ boxes
def box_plots(
    title: str,
    panels: Mapping[str, Sequence[Sample]],
    *,
    y_label: str,
    limits: tuple[float, float] | None = None,
    points: int = 120,
    note: str = "",
    name: str = "",
) -> Figure:
    """Boxes of quartiles with median, mean (diamond), standard deviation (whiskers) and points (sphericity per blur).

    Parameters
    ----------
    panels : heading -> samples, a box each.
    limits : of the axis; values beyond are left out of the picture, never out of the numbers.
    points : at most so many points per box, every k-th of the sorted values; their sideways place is fixed.
    """
    values = [s.finite() for samples in panels.values() for s in samples]
    names = _names(panels)
    style = dict(zip(names, styles_of(names), strict=True))

    def draw(heading: str, panel: Panel, first: bool) -> str:
        y_axis = Axis(values, False, panel.bottom, panel.top, limits=limits)
        step = panel.width / len(panels[heading])
        ticks = [(panel.left + step * (k + 0.5), s.name) for k, s in enumerate(panels[heading])]
        parts = [side(panel, y_axis, y_label if first else ""), bottom(panel, ticks, "")]
        for s, (x, _) in zip(panels[heading], ticks, strict=True):
            parts.append(_box(s, x, min(64.0, 0.5 * step), y_axis, panel, style[s.name], points))
        return "".join(parts)

    note = f"{note} {_BOX_WORDS}".strip()
    tables = tuple(_box_table(_called(title, h, name), panels[h], y_label) for h in panels)
    return _many(title, panels, draw, note, tables, name, None)


def _box(s: Sample, x: float, width: float, axis: Axis, panel: Panel, style: str, points: int) -> str:
    v = np.sort(s.finite())
    if not v.size:
        return f'<text class="small" x="{x:.1f}" y="{panel.bottom - 6:.1f}" text-anchor="middle">no value</text>'

    def place(value: float) -> float:
        return min(panel.bottom, max(panel.top, float(axis.place(value))))

    q1, q2, q3 = (place(q) for q in np.percentile(v, (25, 50, 75)))
    mean, sd = float(v.mean()), float(v.std(ddof=1)) if v.size > 1 else 0.0
    low, high = place(mean - sd), place(mean + sd)
    left, cap = x - width / 2, width / 5
    out = []
    for k, value in enumerate(v[:: max(1, -(-v.size // points))]):
        if axis.low <= value <= axis.high:
            aside = ((k * _GOLDEN) % 1.0 - 0.5) * 1.5 * width
            out.append(f'<circle class="point {style}" cx="{x + aside:.1f}" cy="{place(value):.1f}" r="1.7"/>')
    words = f"{s.name}: mean {mean:.4g}, standard deviation {sd:.2g}, {v.size} values"
    out.append(
        f'<rect class="box {style}" x="{left:.1f}" y="{q3:.1f}" width="{width:.1f}" height="{max(0.5, q1 - q3):.1f}">'
        f"<title>{escape(words)}</title></rect>"
        f'<path class="error" d="M{x:.1f} {high:.1f}V{low:.1f}M{x - cap:.1f} {high:.1f}h{2 * cap:.1f}'
        f'M{x - cap:.1f} {low:.1f}h{2 * cap:.1f}M{left:.1f} {q2:.1f}h{width:.1f}"/>{diamond(x, place(mean), words)}'
    )
    return "".join(out)


def _box_table(called: tuple[str, str], samples: Sequence[Sample], y_label: str) -> Table:
    heads = (
        "",
        "values",
        "mean",
        "standard deviation",
        "lowest",
        "lower quartile",
        "median",
        "upper quartile",
        "highest",
    )
    rows = []
    for s in samples:
        v = s.finite()
        marks = np.percentile(v, (0, 25, 50, 75, 100)).tolist() if v.size else [None] * 5
        mean, sd = (float(v.mean()), float(v.std(ddof=1)) if v.size > 1 else 0.0) if v.size else (None, None)
        rows.append((s.name, int(v.size), mean, sd, *marks))
    return Table(called[0], tuple(map(Column, heads)), tuple(rows), y_label, name=called[1])


# ------------------------------------------------------------------ curves
def curve_panels(
    title: str,
    panels: Mapping[str, Sequence[Series]],
    *,
    x_label: str,
    y_label: str,
    minima: bool = True,
    log_x: bool = False,
    log_y: bool = False,
    note: str = "",
    name: str = "",
) -> Figure:
    """Curves, one frame per panel, all on the same axes; a dot marks the lowest point of each (Gaussian fits)."""
    everything = [s for series in panels.values() for s in series]
    names = list(dict.fromkeys(s.name for s in everything))
    by_name = {s.name: s for s in reversed(everything)}
    style = dict(zip(names, curve_styles([by_name[n] for n in names]), strict=True))

    def draw(heading: str, panel: Panel, first: bool) -> str:
        series = panels[heading]
        label = y_label if first else ""
        own = [style[s.name] for s in series]
        return curves(series, own, panel, x_label, label, log_x=log_x, log_y=log_y, minima=minima, like=everything)

    tables = tuple(itertools.chain.from_iterable(
        _curve_tables(_called(title, h, name), series, x_label, y_label, minima) for h, series in panels.items()
    ))  # fmt: skip
    return _many(title, panels, draw, note, tables, name, _line_legend(names, style))


def _curve_tables(
    called: tuple[str, str], series: Sequence[Series], x_label: str, y_label: str, minima: bool
) -> list[Table]:
    title, name = called
    out = []
    if minima:
        lowest = [(s.name, *(minimum(s) or (None, None))) for s in series if not s.reference]
        out.append(
            Table(
                f"{title}, minima", (Column(""), Column(x_label), Column(y_label)), tuple(lowest), name=f"{name}-minima"
            )
        )
    x = np.unique(np.concatenate([np.asarray(s.x, np.float64) for s in series])) if series else np.zeros(0)
    x = x[:: max(1, -(-len(x) // _TABLE_ROWS))]
    known = [
        dict(zip(np.asarray(s.x, np.float64).tolist(), np.asarray(s.y, np.float64).tolist(), strict=True))
        for s in series
    ]
    rows = tuple((float(v), *(or_none(k.get(float(v), math.nan)) for k in known)) for v in x)
    out.append(Table(title, (Column(x_label), *(Column(s.name) for s in series)), rows, y_label, name=name))
    return out
