"""Pictures and maps in rows and columns (methods down, blurs across), as one Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.axes import nice, svg
from finescan.reporting.chapter import Figure, Table
from finescan.reporting.pictures import cividis_data_uri, grey_window, jpeg_data_uri
from finescan.reporting.report import Column
from finescan.reporting.volume_pictures import shrunk
from finescan.reporting.words import grey_text

_HEAD, _GAP = 26.0, 6.0


def picture_grid(
    title: str,
    rows: Mapping[str, Sequence[NDArray[Any] | None]],
    columns: Sequence[str],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    window: tuple[float, float] | None = None,
    colours: str = "grey",
    unit: str = "grey level",
    labels: Mapping[str, Sequence[str]] | None = None,
    cell: float = 190.0,
    max_px: int = 400,
    note: str = "",
    name: str = "",
) -> Figure:
    """Pictures in a table, all with one window and one scale.

    Parameters
    ----------
    rows : heading -> (h, w) pictures, one per column; None leaves its place empty; NaN is left empty.
    columns : headings across.
    pixel_size_nm : (y, x) or one number, for the scale bar; None = no scale bar.
    window : grey levels shown black and white; None = the 0.1 and 99.9 percentiles of all.
    colours : "grey", "cividis" (high = bright) or "cividis_r" (low = bright).
    unit : words at the colour bar.
    labels : words in each picture ("MS-SSIM 0.97"), same shape as ``rows``; they are the figure's numbers.
    cell : width of a picture in the figure.
    max_px : longest side of a stored picture; a longer one is shrunk by whole blocks.
    """
    pictures = [p for row in rows.values() for p in row if p is not None]
    if not pictures or not columns:
        raise InputError(f"The pictures of {title!r} need at least one row, one column and one picture.")
    for heading, row in rows.items():
        if len(row) != len(columns):
            raise InputError(f"{heading!r} has {len(row)} pictures for {len(columns)} columns of {title!r}.")
    window = window or grey_window(pictures)
    size_y, size_x = (pixel_size_nm,) * 2 if isinstance(pixel_size_nm, (int, float)) else pixel_size_nm or (1.0, 1.0)
    height = max(p.shape[0] * size_y / (p.shape[1] * size_x) for p in pictures) * cell
    left = 20.0 + 8.4 * max(map(len, rows))
    parts = _headings(columns, cell, left)
    for r, (heading, row) in enumerate(rows.items()):
        y = _HEAD + r * (height + _GAP)
        parts.append(
            f'<text class="head" x="{left - 12:g}" y="{y + height / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(heading)}</text>"
        )
        for c, picture in enumerate(row):
            words = "" if labels is None else labels[heading][c]
            parts.append(_cell(picture, left + c * (cell + _GAP), y, cell, height, window, colours, words, max_px))
    if pixel_size_nm is not None:
        parts.append(
            _scale_bar(cell / (pictures[0].shape[1] * size_x), cell, left, _HEAD + len(rows) * (height + _GAP))
        )
    bottom = _HEAD + len(rows) * (height + _GAP)
    width = left + len(columns) * (cell + _GAP)
    parts.append(_key(window, colours, unit, width, bottom))
    tables = () if labels is None else (_labels_table(title, labels, columns),)
    return Figure(title, svg(width, bottom + 46, parts, title, note), note, tables, width > 700, name)


def _headings(columns: Sequence[str], cell: float, left: float) -> list[str]:
    return [
        f'<text class="head" x="{left + c * (cell + _GAP) + cell / 2:.1f}" y="{_HEAD - 9:g}" text-anchor="middle">'
        f"{escape(words)}</text>"
        for c, words in enumerate(columns)
    ]


def _cell(
    picture: NDArray[Any] | None,
    x: float,
    y: float,
    width: float,
    height: float,
    window: tuple[float, float],
    colours: str,
    words: str,
    max_px: int,
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    if picture is None:
        return f'<rect class="cell" {place}/>'
    uri = picture_uri(shrunk(np.asarray(picture), max(1, -(-max(picture.shape) // max_px))), window, colours)
    text = f'<text class="over halo" x="{x + 7:.1f}" y="{y + height - 8:.1f}">{escape(words)}</text>' if words else ""
    return f'<image class="pixels" preserveAspectRatio="none" {place} href="{uri}"/>{text}'


def picture_uri(data: NDArray[Any], window: tuple[float, float], colours: str) -> str:
    """A picture (JPEG) or a map in colours (PNG) as a data address."""
    if colours == "grey":
        return jpeg_data_uri(np.asarray(data, np.float32), window)
    low, high = window
    if colours == "cividis_r":
        return cividis_data_uri(-np.asarray(data, np.float64), (-high, -low))
    return cividis_data_uri(data, window)


def _scale_bar(per_nm: float, cell: float, x: float, y: float) -> str:
    nm = nice(0.3 * cell / per_nm / 2)
    unit, words = next((u, w) for u, w in ((1e6, "mm"), (1e3, "µm"), (1.0, "nm"), (0.0, "nm")) if nm >= u)
    length = nm * per_nm
    return (
        f'<path class="error" d="M{x:g} {y + 10:.1f}v6h{length:.1f}v-6"/>'
        f'<text x="{x + length + 8:.1f}" y="{y + 18:.1f}">{nm / (unit or 1.0):g} {words}</text>'
    )


def _key(window: tuple[float, float], colours: str, unit: str, right: float, y: float) -> str:
    low, high = window
    bar = picture_uri(np.linspace(low, high, 128)[None, :], window, colours)
    left, width = right - _GAP - 260.0, 170.0
    first, last = (grey_text(v).replace("-", "−") for v in window)
    return (
        f'<text x="{left - 6:g}" y="{y + 18:.1f}" text-anchor="end">{escape(unit)}  {first}</text>'
        f'<image class="pixels" preserveAspectRatio="none" x="{left:g}" y="{y + 8:.1f}" width="{width:g}" height="12" '
        f'href="{bar}"/><text x="{left + width + 6:g}" y="{y + 18:.1f}">{last}</text>'
    )


def _labels_table(title: str, labels: Mapping[str, Sequence[str]], columns: Sequence[str]) -> Table:
    heads = (Column(""), *(Column(c) for c in columns))
    return Table(title, heads, tuple((heading, *row) for heading, row in labels.items()))
