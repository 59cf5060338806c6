"""Grouped bars: image quality or recovery per method and blur, with the published figures beside ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.axes import Axis, Panel, bar, bottom, diamond, legend_entries, legend_step, side, styles_of, svg
from finescan.reporting.chapter import Figure, Table, or_none
from finescan.reporting.report import Column

_LEFT, _TOP = 72.0, 14.0


def grouped_bars(
    title: str,
    groups: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    *,
    x_label: str = "",
    y_label: str = "",
    errors: Mapping[str, Sequence[float | None]] | None = None,
    marks: Mapping[str, Sequence[float | None]] | None = None,
    marks_name: str = "published",
    limits: tuple[float, float] | None = None,
    better: str = "",
    note: str = "",
    name: str = "",
) -> Figure:
    """Bars beside each other, group by group (image quality or recovery per method and blur).

    Parameters
    ----------
    groups : words below the groups.
    values : name of the bar -> one value per group; None or NaN = no bar.
    errors : half length of the whisker, same keys and lengths.
    marks : a diamond per bar, to compare with (published figures), for any of the names.
    limits : lowest and highest value of the axis; None = from zero to the highest.
    better : "higher", "lower" or "".
    """
    _check_lengths(title, groups, values, errors, marks)
    panel = Panel(_LEFT, _TOP, max(552.0, 26.0 * len(groups) * len(values)), 278.0)
    numbers = {k: _floats(v) for k, v in values.items()}
    whiskers = {k: _floats(v) for k, v in (errors or {}).items()}
    diamonds = {k: _floats(v) for k, v in (marks or {}).items()}
    tops = [numbers[k] + np.nan_to_num(whiskers.get(k, np.zeros(len(groups)))) for k in numbers]
    y_axis = Axis(
        [*numbers.values(), *tops, *diamonds.values()], False, panel.bottom, panel.top, zero=True, limits=limits
    )
    styles = styles_of(list(values))
    step = panel.width / len(groups)
    width = 0.84 * step / len(values)
    ticks = [(panel.left + step * (g + 0.5), words) for g, words in enumerate(groups)]
    parts = [side(panel, y_axis, y_label), bottom(panel, ticks, x_label)]
    for (k, (bar_name, v)), style in zip(enumerate(numbers.items()), styles, strict=True):
        for g in range(len(groups)):
            x = panel.left + step * (g + 0.08) + width * k
            error, mark = (d[bar_name][g] if bar_name in d else math.nan for d in (whiskers, diamonds))
            parts.append(_bar(x, width, v[g], y_axis, style, f"{bar_name}, {groups[g]}", error, mark))
    parts.append(_legend(list(values), styles, panel, marks_name if diamonds else ""))
    table = _bar_table(title, x_label, y_label, groups, numbers, whiskers, diamonds, marks_name, better)
    height = panel.bottom + 62 + 20 * _legend_rows([*values, *([marks_name] if diamonds else [])], panel)
    return Figure(title, svg(panel.right + 16, height, parts, title, note), note, (table,), len(groups) > 8, name)


def _bar(x: float, width: float, value: float, axis: Axis, style: str, words: str, error: float, mark: float) -> str:
    out = []
    middle = x + width / 2
    if math.isfinite(value):
        base, top = (float(axis.place(v)) for v in (max(0.0, axis.low), value))
        out.append(bar(x + 1, min(base, top), max(1.0, width - 2), abs(base - top), style, f"{words}: {value:.4g}"))
    if math.isfinite(error) and error > 0:
        high, low = (float(axis.place(value + e)) for e in (error, -error))
        out.append(
            f'<path class="error" d="M{middle:.1f} {high:.1f}V{low:.1f}'
            f'M{middle - 3:.1f} {high:.1f}h6M{middle - 3:.1f} {low:.1f}h6"/>'
        )
    if math.isfinite(mark):
        out.append(diamond(middle, float(axis.place(mark)), f"{words}, compared with: {mark:.4g}"))
    return "".join(out)


def _legend_columns(names: Sequence[str], panel: Panel) -> int:
    return max(1, int((panel.width + 16) // legend_step(names)))


def _legend_rows(names: Sequence[str], panel: Panel) -> int:
    return -(-len(names) // _legend_columns(names, panel))


def _legend(names: Sequence[str], styles: Sequence[str], panel: Panel, marks_name: str) -> str:
    everything = [*names, *([marks_name] if marks_name else [])]
    columns, step, y = _legend_columns(everything, panel), legend_step(everything), panel.bottom + 56
    out = legend_entries(list(zip(styles, names, strict=True)), panel.left, y, columns=columns, step=step, bars=True)
    if marks_name:
        k = len(names)
        x, y = panel.left + (k % columns) * step, y + 20 * (k // columns)
        out += diamond(x + 15, y) + f'<text x="{x + 38:g}" y="{y + 4:g}">{escape(marks_name)}</text>'
    return out


def _bar_table(
    title: str,
    x_label: str,
    y_label: str,
    groups: Sequence[str],
    numbers: Mapping[str, NDArray[np.float64]],
    whiskers: Mapping[str, NDArray[np.float64]],
    diamonds: Mapping[str, NDArray[np.float64]],
    marks_name: str,
    better: str,
) -> Table:
    columns = [Column(x_label or "group")]
    rows: list[list[object]] = [[g] for g in groups]
    for name, v in numbers.items():
        extra = [("error", whiskers), (marks_name, diamonds)]
        for head, values in [(name, v), *((f"{name}, {w}", d[name]) for w, d in extra if name in d)]:
            columns.append(Column(head))
            for row, value in zip(rows, values, strict=True):
                row.append(or_none(value))
    caption = f"{y_label}{f'; {better} is better' if better else ''}" if y_label else ""
    return Table(title, tuple(columns), tuple(tuple(r) for r in rows), caption)  # type: ignore[arg-type]


def _check_lengths(title: str, groups: Sequence[str], *tables: Mapping[str, Sequence[float | None]] | None) -> None:
    if not groups or not tables[0]:
        raise InputError(f"The bars of {title!r} need at least one group and one name, but none came.")
    for table in tables:
        for name, values in (table or {}).items():
            if len(values) != len(groups):
                raise InputError(f"{name!r} has {len(values)} values for {len(groups)} groups of {title!r}.")


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if v is None else float(v) for v in values])
