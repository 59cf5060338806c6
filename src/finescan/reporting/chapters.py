"""Chapters as HTML: figures with their numbers, tables, scenes, words. All that comes from outside is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from numpy.typing import NDArray

from finescan.reporting.chapter import Cell, Chapter, Figure, Part, Places, Table
from finescan.reporting.pictures import grey_window, png_data_uri
from finescan.reporting.report import Column, Score
from finescan.reporting.scenes import SceneWriter
from finescan.reporting.volume import VolumeScene
from finescan.reporting.words import VOLUME_KEYS, mean_and_error

_ARROWS = {"higher": " ↑", "lower": " ↓"}
_PICK: dict[str, Callable[..., float]] = {"higher": max, "lower": min}


def chapter_html(chapter: Chapter, scenes: SceneWriter) -> str:
    """The parts in order; figures that are not wide stand beside each other."""
    out: list[str] = []
    row: list[Figure] = []

    def flush() -> None:
        if row:
            out.append(f'<div class="plots">{"".join(map(figure_html, row))}</div>')
            row.clear()

    if any(isinstance(part, VolumeScene) for part in chapter.parts):
        out.append(f'<p class="help muted prose">{VOLUME_KEYS}</p>')
    for part in chapter.parts:
        if isinstance(part, Figure) and not part.wide:
            row.append(part)
            continue
        flush()
        out.append(_part(part, scenes))
    flush()
    return "".join(out)


def _part(part: Part, scenes: SceneWriter) -> str:
    if isinstance(part, str):
        return f'<p class="prose">{escape(part)}</p>'
    if isinstance(part, Table):
        return table_html(part)
    if isinstance(part, Places):
        return places_html(part)
    if isinstance(part, Figure):
        return f'<div class="plots wide">{figure_html(part)}</div>'
    return scenes.html(part)


def figure_html(figure: Figure) -> str:
    """Title, picture, note, and the numbers to unfold."""
    numbers = "".join(_bare_table(t) for t in figure.tables)
    details = f"<details><summary>The numbers</summary>{numbers}</details>" if numbers else ""
    return (
        f"<figure><h3>{escape(figure.title)}</h3>{figure.svg}"
        f"{f'<figcaption><p>{escape(figure.note)}</p></figcaption>' if figure.note else ''}{details}</figure>"
    )


def table_html(table: Table) -> str:
    """Title and rows; the best of a column (or of a group in it) is bold and marked with a star."""
    starred = any(c.better for c in table.columns)
    return f"<h3>{escape(table.title)}</h3>{_bare_table(table)}" + (
        f'<p class="muted">★ best{f" per {escape(table.best_within)}" if table.best_within else ""}.</p>'
        if starred
        else ""
    )


def places_html(places: Places) -> str:
    """Title and rows, each with its picture and a button that the page's script brings to life."""
    heads = "".join(f'<th scope="col">{escape(_with_unit(c))}</th>' for c in places.columns)
    decimals = _decimals([row.cells for row in places.rows])
    rows = "".join(
        f"<tr><td>{_thumbnail(row.thumbnail, places)}</td>"
        + "".join(_cell(v, False, k, decimals[k]) for k, v in enumerate(row.cells))
        + f"<td>{_go_to(row.box, str(row.cells[0]))}</td></tr>"
        for row in places.rows
    )
    caption = f"<caption>{escape(places.caption)}</caption>" if places.caption else ""
    return (
        f'<h3>{escape(places.title)}</h3><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(places.title)}"><table class="places">{caption}<thead><tr><td></td>{heads}<td></td></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _with_unit(column: Column) -> str:
    return f"{column.name} ({column.unit})" if column.unit else column.name


def _thumbnail(picture: NDArray[Any] | None, places: Places) -> str:
    if picture is None:
        return ""
    uri = png_data_uri(picture, places.window or grey_window([picture]))
    return f'<img class="thumbnail" alt="" src="{uri}">'


def _go_to(box: tuple[float, ...] | None, name: str) -> str:
    if box is None:
        return ""
    where = " ".join(f"{v:.6g}" for v in box)
    return (
        f'<button type="button" class="goto" hidden data-box="{where}" aria-label="Show {escape(name)}">Go to</button>'
    )


def _bare_table(table: Table) -> str:
    best, decimals = best_cells(table), _decimals(table.rows)
    heads = "".join(_head(c, k, table) for k, c in enumerate(table.columns))
    rows = []
    for r, row in enumerate(table.rows):
        cells = "".join(_cell(v, (r, k) in best, k, decimals[k]) for k, v in enumerate(row))
        new = r > 0 and table.best_within and _group(table, r) != _group(table, r - 1)
        rows.append(f"<tr{' class=group' if new else ''}>{cells}</tr>")
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f'<table class="numbers">{caption}<thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _head(column: Column, k: int, table: Table) -> str:
    arrow = _ARROWS.get(column.better, "")
    unit = f" ({escape(column.unit)})" if column.unit else ""
    spoken = f' title="{column.better} is better"' if column.better else ""
    numeric = k > 0 and any(not isinstance(row[k], str) and row[k] is not None for row in table.rows)
    return f'<th scope="col"{" class=number" if numeric else ""}{spoken}>{escape(column.name)}{unit}{arrow}</th>'


def _cell(value: Cell, best: bool, k: int, decimals: int | None) -> str:
    text = escape(cell_text(value, decimals))
    if k == 0:
        return f'<th scope="row">{text}</th>'
    if isinstance(value, str):
        return f"<td>{text}</td>"
    return f'<td class="number best">★ {text}</td>' if best else f'<td class="number">{text}</td>'


def cell_text(value: Cell, decimals: int | None = None) -> str:
    """A cell for readers: four digits (or so many behind the point), an error with two, a dash for nothing."""
    if isinstance(value, str):
        return value
    mean = value.mean if isinstance(value, Score) else value
    if mean is None or math.isnan(mean):
        return "–"
    if isinstance(value, Score):
        text = mean_and_error(value)
    elif isinstance(mean, int) or not math.isfinite(mean):
        text = str(mean)
    elif decimals is not None:
        text = f"{mean:.{decimals}f}"
    else:
        text = f"{mean:.0f}" if 1e4 <= abs(mean) < 1e7 else f"{mean:#.4g}".rstrip(".")
    return text.replace("-", "−")


def _decimals(rows: Sequence[Sequence[Cell]]) -> list[int | None]:
    """Per column, how many digits behind the point its numbers were rounded to; None = not to two or fewer."""
    return [_rounded_to(column) for column in zip(*rows, strict=True)]


def _rounded_to(column: Sequence[Cell]) -> int | None:
    numbers = [v for v in column if isinstance(v, float) and math.isfinite(v)]
    if any(isinstance(v, Score) for v in column):
        return None
    return next((d for d in range(3) if all(v == round(v, d) for v in numbers)), None)


def best_cells(table: Table) -> set[tuple[int, int]]:
    """(row, column) of the best values, group by group; none in a group of one."""
    groups = list(dict.fromkeys(_group(table, r) for r in range(len(table.rows))))
    out: set[tuple[int, int]] = set()
    for k, column in enumerate(table.columns):
        for group in groups if column.better in _PICK else ():
            values = {r: number for r in range(len(table.rows)) if _group(table, r) == group
                      and (number := _number(table.rows[r][k])) is not None}  # fmt: skip
            if len(values) > 1:
                top = _PICK[column.better](values.values())
                out |= {(r, k) for r, v in values.items() if v == top}
    return out


def _group(table: Table, row: int) -> Cell:
    if not table.best_within:
        return ""
    return table.rows[row][[c.name for c in table.columns].index(table.best_within)]


def _number(value: Cell) -> float | None:
    number = value.mean if isinstance(value, Score) else value
    return None if number is None or isinstance(number, str) or not math.isfinite(number) else float(number)


# ------------------------------------------------------------------ for other programs
def markdown(table: Table) -> str:
    """The table for a document: best values bold."""
    best, decimals = best_cells(table), _decimals(table.rows)
    heads = [f"{c.name}{f' ({c.unit})' if c.unit else ''}{_ARROWS.get(c.better, '')}" for c in table.columns]
    lines = [heads, [":--", *["--:"] * (len(heads) - 1)]]
    for r, row in enumerate(table.rows):
        lines.append(
            [
                f"**{cell_text(v, decimals[k])}**" if (r, k) in best else cell_text(v, decimals[k])
                for k, v in enumerate(row)
            ]
        )
    text = "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |" for cells in lines)
    return f"{text}\n" + (f"\n{table.caption}\n" if table.caption else "")


def csv_rows(table: Table) -> list[list[Cell]]:
    """Heads and rows with full precision; a column with errors becomes two."""
    errors = [any(isinstance(row[k], Score) and row[k].standard_error is not None for row in table.rows)  # type: ignore[union-attr]
              for k in range(len(table.columns))]  # fmt: skip
    head: list[Cell] = []
    for column, error in zip(table.columns, errors, strict=True):
        words = f"{column.name}{f' ({column.unit})' if column.unit else ''}"
        head += [words, f"{words}, standard error"] if error else [words]
    return [
        head,
        *([v for cell, e in zip(row, errors, strict=True) for v in _csv_cells(cell, e)] for row in table.rows),
    ]


def _csv_cells(value: Cell, error: bool) -> Sequence[Cell]:
    score = value if isinstance(value, Score) else None
    plain = score.mean if score is not None else value
    return [plain, score.standard_error if score is not None else None] if error else [plain]
