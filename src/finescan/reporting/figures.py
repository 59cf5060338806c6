"""Figures as SVG text: curves, residual arrows, colour maps. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.axes import REFERENCES, Axis, Panel, frame, legend_entries, nice, number, styles_of, svg, three
from finescan.reporting.pictures import cividis_data_uri, grey_window
from finescan.reporting.report import Series
from finescan.values import Residual

_WIDTH, _HEIGHT = 640.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 72.0, 16.0, 14.0, 48.0


def checkerboard(a: NDArray[np.generic], b: NDArray[np.generic], tiles: int = 8) -> NDArray[np.generic]:
    """Tiles of ``a`` and ``b`` in turn, about ``tiles`` along the longer side; ``a`` in the upper-left corner."""
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"A checkerboard needs two pictures of one 2D shape, but {a.shape} and {b.shape} came.")
    size = max(1, math.ceil(max(a.shape) / tiles))
    y, x = (np.arange(n) // size for n in a.shape)
    return np.where((y[:, None] + x) % 2 == 0, a, b)


def histogram_series(arrays: Mapping[str, NDArray[np.generic]], bins: int = 128) -> tuple[Series, ...]:
    """Share of pixels per grey level, all arrays on one set of bins (percent per bin, centre of bin as x).

    Bins are whole grey levels wide for integer data. Values beyond the 0.01 and 99.99 percentiles are counted in the
    first and last bin.
    """
    low, high = grey_window(arrays.values(), (0.01, 99.99))
    if all(np.issubdtype(a.dtype, np.integer) for a in arrays.values()):
        width = float(max(1, math.ceil((high - low + 1) / bins)))
        start = math.floor(low) - 0.5
        edges = start + width * np.arange(math.ceil((high - start) / width) + 1, dtype=np.float64)
    else:
        edges = np.linspace(low, high, bins + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    out = []
    for name, a in arrays.items():
        v = np.asarray(a, np.float64).ravel()
        counts, _ = np.histogram(np.clip(v[np.isfinite(v)], edges[0], edges[-1]), edges)
        out.append(Series(name, centres, 100.0 * counts / max(1, counts.sum())))
    return tuple(out)


# ------------------------------------------------------------------ curves
def line_plot(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    title: str = "",
    description: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Curves with axes and legend as SVG.

    Curves differ by colour *and* dash pattern. Values that are not finite (or not positive on a logarithmic axis)
    leave a gap.
    """
    panel = Panel(_LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM)
    styles = curve_styles(series)
    parts = [
        curves(series, styles, panel, x_label, y_label, log_x=log_x, log_y=log_y),
        legend_entries([(style, s.name) for style, s in zip(styles, series, strict=True)], _LEFT, _HEIGHT + 8),
    ]
    return svg(_WIDTH, _HEIGHT + 20 * -(-len(series) // 3), parts, title or y_label, description)


def curves(
    series: Sequence[Series],
    styles: Sequence[str],
    panel: Panel,
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    minima: bool = False,
    like: Sequence[Series] = (),
) -> str:
    """Curves in a frame. ``minima`` marks the lowest point of each; ``like`` are further curves the axes span."""
    x_axis = Axis([s.x for s in (*series, *like)], log_x, panel.left, panel.right)
    y_axis = Axis([s.y for s in (*series, *like)], log_y, panel.bottom, panel.top)
    parts = [frame(panel, x_axis, y_axis, x_label, y_label)]
    for s, style in zip(series, styles, strict=True):
        parts.append(f'<path class="curve {style}" d="{_path(s, x_axis, y_axis)}"/>')
        if minima and not s.reference and (lowest := minimum(s)) is not None:
            x, y = float(x_axis.place(lowest[0])), float(y_axis.place(lowest[1]))
            words = f"{s.name}: lowest at {number(lowest[0])}"
            parts.append(
                f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(words)}</title></circle>'
            )
    return "".join(parts)


def minimum(s: Series) -> tuple[float, float] | None:
    """The lowest finite point of a curve."""
    y = np.asarray(s.y, np.float64)
    if not np.isfinite(y).any():
        return None
    k = int(np.nanargmin(np.where(np.isfinite(y), y, np.nan)))
    return float(np.asarray(s.x)[k]), float(y[k])


def curve_styles(series: Sequence[Series]) -> list[str]:
    """A style per curve: that of its name, else the first one that is free."""
    own = iter(styles_of([s.name for s in series if not s.reference]))
    references = itertools.cycle(REFERENCES)
    return [next(references) if s.reference else next(own) for s in series]


def _path(s: Series, x_axis: Axis, y_axis: Axis) -> str:
    pen, out = "M", []
    for x, y in zip(x_axis.place(s.x), y_axis.place(s.y), strict=True):
        if math.isfinite(x) and math.isfinite(y):
            out.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(out)


# ------------------------------------------------------------------ maps over the fine scan
def residual_arrows(residual: Residual, extent_nm: tuple[float, float] | None = None, *, plane: str = "YX") -> str:
    """The block check of a registration: an arrow per block, enlarged, with an arrow of known length as key.

    Parameters
    ----------
    residual : its ``blocks`` (y, x in nm, dy, dx in HR px; with z before each in volumes) and ``grid`` are drawn.
    extent_nm : height and width of the fine scan; None = that of ``residual.grid``.
    plane : the axes that run down and across; blocks of a volume are drawn over each other.
    """
    down, across = (residual.grid.axes.index(axis) for axis in plane)
    height_nm, width_nm = extent_nm or (residual.grid.extent_nm[down], residual.grid.extent_nm[across])
    y0, x0 = residual.grid.edge_nm[down], residual.grid.edge_nm[across]
    width, height = _fit(width_nm, height_nm)
    scale = width / width_nm
    blocks = np.asarray(residual.blocks, np.float64)
    d = residual.grid.ndim
    blocks = blocks[np.isfinite(blocks).all(axis=1)][:, [down, across, d + down, d + across]]
    length = np.hypot(blocks[:, 2], blocks[:, 3])
    key = nice(max(1e-3, float(np.max(length, initial=0.0)) / 2))
    per_px = min(48.0, 0.6 * width / max(1.0, math.sqrt(max(1, len(blocks))))) / (2 * key)
    parts = [f'<rect class="field" x="0.5" y="0.5" width="{width - 1:.1f}" height="{height - 1:.1f}"/>']
    for y, x, dy, dx in blocks:
        parts.append(_arrow((x - x0) * scale, (y - y0) * scale, dx * per_px, dy * per_px))
    parts.append(_arrow(8, height + 18, key * per_px, 0.0))
    parts.append(f'<text x="{16 + key * per_px:.1f}" y="{height + 22:.1f}">{number(key)} px of the fine scan</text>')
    text = f"{len(blocks)} blocks, longest arrow {float(np.max(length, initial=0.0)):.2f} px of the fine scan"
    title = "What is left after registration, block by block"
    return svg(width, height + 32, parts, title if d == 2 else f"{title}, {plane} plane", text)


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    size = math.hypot(dx, dy)
    if size < 1.5:
        return f'<circle class="arrow" cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>'
    head = min(6.0, 0.5 * size)
    ux, uy, ex, ey = dx / size, dy / size, x + dx, y + dy
    wings = [(ex - head * (ux * 0.9 - s * uy * 0.5), ey - head * (uy * 0.9 + s * ux * 0.5)) for s in (1, -1)]
    (ax, ay), (bx, by) = wings
    head_line = f"M{ax:.1f} {ay:.1f}L{ex:.1f} {ey:.1f}L{bx:.1f} {by:.1f}"
    return f'<path class="arrow" d="M{x:.1f} {y:.1f}L{ex:.1f} {ey:.1f}{head_line}"/>'


def colour_map(
    data: NDArray[np.floating], extent_nm: tuple[float, float], title: str, unit: str, *, centred: bool = False
) -> str:
    """A map in cividis colours with its colour bar, as SVG.

    Parameters
    ----------
    data : (h, w); NaN is left empty.
    extent_nm : height and width, for the aspect ratio.
    unit : words at the colour bar.
    centred : the same span on both sides of zero.
    """
    low, high = grey_window([data], (0.5, 99.5))
    if centred:
        high = max(abs(low), abs(high))
        low = -high
    width, height = _fit(extent_nm[1], extent_nm[0])
    picture, bar = (cividis_data_uri(d, (low, high)) for d in (data, np.linspace(low, high, 64)[None, :]))
    image = '<image class="pixels" preserveAspectRatio="none" '
    parts = [
        f'{image}x="0" y="0" width="{width:.1f}" height="{height:.1f}" href="{picture}"/>',
        f'{image}x="0" y="{height + 8:.1f}" width="{width:.1f}" height="10" href="{bar}"/>',
        f'<text x="0" y="{height + 34:.1f}">{three(low)}</text>',
        f'<text x="{width / 2:.1f}" y="{height + 34:.1f}" text-anchor="middle">{escape(unit)}</text>',
        f'<text x="{width:.1f}" y="{height + 34:.1f}" text-anchor="end">{three(high)}</text>',
    ]
    finite = data[np.isfinite(data)]
    middle = f"median {float(np.median(finite)):.3g}" if finite.size else "no value"
    return svg(width, height + 42, parts, title, f"Colours from {three(low)} to {three(high)}, {unit}; {middle}")


def _fit(width_nm: float, height_nm: float, side: float = 320.0) -> tuple[float, float]:
    scale = side / max(width_nm, height_nm)
    return max(24.0, width_nm * scale), max(24.0, height_nm * scale)
