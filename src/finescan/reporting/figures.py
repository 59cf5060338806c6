"""Figures as SVG text: curves, residual arrows, colour maps. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.pictures import cividis_data_uri, grey_window
from finescan.reporting.report import Series
from finescan.values import Residual

_WIDTH, _HEIGHT = 640.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 72.0, 16.0, 14.0, 48.0
#: styles (colour and dash) of the style sheet; names that come back in several plots keep theirs
_STYLES = {
    "enhanced": "s1",
    **dict.fromkeys(("fine", "fine scan", "reference"), "s2"),
    **{"fast": "s3", "ridge": "s4", "lanczos": "s5", "nearest": "s7", "coarse": "s6", "bicubic": "s8"},
}
_REFERENCES = ("ref1", "ref2", "ref3")


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
    x_axis = _Axis([s.x for s in series], log_x, _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis([s.y for s in series], log_y, _HEIGHT - _BOTTOM, _TOP)
    rows = -(-len(series) // 3)
    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    for k, (s, style) in enumerate(zip(series, _styles(series), strict=True)):
        parts.append(f'<path class="curve {style}" d="{_path(s, x_axis, y_axis)}"/>')
        parts.append(_legend_entry(k, style, s.name))
    return _svg(_WIDTH, _HEIGHT + 20 * rows, parts, title or y_label, description)


def _styles(series: Sequence[Series]) -> list[str]:
    """A style per curve: that of its name, else the first one that is free."""
    taken = {_STYLES[s.name] for s in series if s.name in _STYLES and not s.reference}
    free = itertools.cycle([s for s in sorted(set(_STYLES.values())) if s not in taken] or ["s1"])
    references = itertools.cycle(_REFERENCES)
    return [next(references) if s.reference else _STYLES.get(s.name) or next(free) for s in series]


class _Axis:
    """Values to picture coordinates, and the ticks."""

    def __init__(self, values: Iterable[object], log: bool, start: float, stop: float) -> None:
        v = np.concatenate([np.asarray(a, np.float64).ravel() for a in values] or [np.zeros(0)])
        v = v[np.isfinite(v) & ((v > 0) if log else True)]
        v = np.log10(v) if log else v
        low, high = (float(v.min()), float(v.max())) if v.size else (0.0, 1.0)
        if high - low < 1e-12 * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        margin = 0.03 * (high - low)
        self.log, self.low, self.high, self.start, self.stop = log, low - margin, high + margin, start, stop

    def place(self, value: object) -> NDArray[np.float64]:
        v = np.asarray(value, np.float64)
        if self.log:
            v = np.log10(np.where(v > 0, v, np.nan))
        return self.start + (v - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        if self.log and self.high - self.low > 1.2:
            first, last = math.ceil(self.low), math.floor(self.high)
            every = max(1, (last - first + 1) // 6)
            return [10.0**e for e in range(first, last + 1, every)]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        step = nice((high - low) / 5)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [k * step for k in range(first, last + 1) if not self.log or k > 0]


def nice(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten that is not below ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= value * (1 - 1e-9))


def number(value: float) -> str:
    """Short text of a number for an axis: ``12``, ``0.25``, ``1e-06``."""
    return f"{value:.6g}".replace("-", "−")


def _frame(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> str:
    left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    out = []
    for t in x_axis.ticks():
        x = float(x_axis.place(t))
        out.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{number(t)}</text>')
    for t in y_axis.ticks():
        y = float(y_axis.place(t))
        out.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        out.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{number(t)}</text>')
    out.append(f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>')
    out.append(
        f'<text class="label" x="{(left + right) / 2}" y="{bottom + 37}" text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (top + bottom) / 2
    out.append(
        f'<text class="label" x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        f"{escape(y_label)}</text>"
    )
    return "".join(out)


def _path(s: Series, x_axis: _Axis, y_axis: _Axis) -> str:
    pen, out = "M", []
    for x, y in zip(x_axis.place(s.x), y_axis.place(s.y), strict=True):
        if math.isfinite(x) and math.isfinite(y):
            out.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(out)


def _legend_entry(k: int, style: str, name: str) -> str:
    x, y = _LEFT + (k % 3) * 186, _HEIGHT + 8 + 20 * (k // 3)
    text = name if len(name) <= 22 else name[:21] + "…"
    return (
        f'<path class="curve {style}" d="M{x} {y}h30"/><text x="{x + 38}" y="{y + 4}">{escape(text)}'
        f"<title>{escape(name)}</title></text>"
    )


def _svg(width: float, height: float, parts: Sequence[str], title: str, description: str) -> str:
    label = escape(". ".join(t.rstrip(".") for t in (title, description) if t))
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )


# ------------------------------------------------------------------ maps over the fine scan
def residual_arrows(residual: Residual, extent_nm: tuple[float, float] | None = None) -> str:
    """The block check of a registration: an arrow per block, enlarged, with an arrow of known length as key.

    Parameters
    ----------
    residual : its ``blocks`` (y, x in nm, dy, dx in HR px) and ``grid`` are drawn.
    extent_nm : height and width of the fine scan; None = that of ``residual.grid``.
    """
    height_nm, width_nm = extent_nm or (residual.grid.extent_nm[-2], residual.grid.extent_nm[-1])
    y0, x0 = residual.grid.edge_nm[-2:]
    width, height = _fit(width_nm, height_nm)
    scale = width / width_nm
    blocks = np.asarray(residual.blocks, np.float64)
    blocks = blocks[np.isfinite(blocks).all(axis=1)]
    length = np.hypot(blocks[:, 2], blocks[:, 3])
    key = nice(max(1e-3, float(np.max(length, initial=0.0)) / 2))
    per_px = min(48.0, 0.6 * width / max(1.0, math.sqrt(max(1, len(blocks))))) / (2 * key)
    parts = [f'<rect class="field" x="0.5" y="0.5" width="{width - 1:.1f}" height="{height - 1:.1f}"/>']
    for y, x, dy, dx in blocks:
        parts.append(_arrow((x - x0) * scale, (y - y0) * scale, dx * per_px, dy * per_px))
    parts.append(_arrow(8, height + 18, key * per_px, 0.0))
    parts.append(f'<text x="{16 + key * per_px:.1f}" y="{height + 22:.1f}">{number(key)} px of the fine scan</text>')
    text = f"{len(blocks)} blocks, longest arrow {float(np.max(length, initial=0.0)):.2f} px of the fine scan"
    return _svg(width, height + 32, parts, "What is left after registration, block by block", text)


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
        f'<text x="0" y="{height + 34:.1f}">{_three(low)}</text>',
        f'<text x="{width / 2:.1f}" y="{height + 34:.1f}" text-anchor="middle">{escape(unit)}</text>',
        f'<text x="{width:.1f}" y="{height + 34:.1f}" text-anchor="end">{_three(high)}</text>',
    ]
    finite = data[np.isfinite(data)]
    middle = f"median {float(np.median(finite)):.3g}" if finite.size else "no value"
    return _svg(width, height + 42, parts, title, f"Colours from {_three(low)} to {_three(high)}, {unit}; {middle}")


def _three(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _fit(width_nm: float, height_nm: float, side: float = 320.0) -> tuple[float, float]:
    scale = side / max(width_nm, height_nm)
    return max(24.0, width_nm * scale), max(24.0, height_nm * scale)
