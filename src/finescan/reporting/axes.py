"""Axes, frames and legends of figures, as SVG text. Colours and fonts come from the style sheet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

#: styles (colour, dash, hatch) of the style sheet; names that come back in several figures keep theirs
STYLES = {
    **dict.fromkeys(("enhanced", "ours", "best", "finescan"), "s1"),
    **dict.fromkeys(("fine", "fine scan", "reference", "ground truth", "truth"), "s2"),
    **dict.fromkeys(("fast", "deepnet"), "s3"),
    **dict.fromkeys(("ridge", "srcnn", "srcnn3d"), "s4"),
    **dict.fromkeys(("lanczos", "richardson-lucy", "richardson_lucy", "rl"), "s5"),
    **dict.fromkeys(("coarse", "input", "recorded", "unprocessed"), "s6"),
    "nearest": "s7",
    **dict.fromkeys(("bicubic", "interpolated", "interpolation"), "s8"),
}
ALL_STYLES = tuple(f"s{k}" for k in range(1, 9))
REFERENCES = ("ref1", "ref2", "ref3")


def styles_of(names: Sequence[str]) -> list[str]:
    """A style per name: its own, else the first one that is free."""
    own = [STYLES.get(n.casefold()) for n in names]
    free = itertools.cycle([s for s in ALL_STYLES if s not in own] or ["s1"])
    out: list[str] = []
    for style in own:
        out.append(style if style is not None and style not in out else next(free))
    return out


@dataclass(frozen=True)
class Panel:
    """The rectangle between the axes, in picture coordinates."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its far edge along x."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height


class Axis:
    """Values to picture coordinates, and the ticks."""

    def __init__(
        self,
        values: Iterable[object],
        log: bool,
        start: float,
        stop: float,
        *,
        zero: bool = False,
        limits: tuple[float, float] | None = None,
    ) -> None:
        """Spans the finite ``values``; ``zero`` starts at zero, ``limits`` are taken as they are."""
        v = np.concatenate([np.asarray(a, np.float64).ravel() for a in values] or [np.zeros(0)])
        v = v[np.isfinite(v) & ((v > 0) if log else True)]
        v = np.log10(v) if log else v
        low, high = (float(v.min()), float(v.max())) if v.size else (0.0, 1.0)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if high - low < 1e-12 * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        margin = 0.03 * (high - low)
        self.log, self.start, self.stop = log, start, stop
        self.low = low if zero and low == 0 else low - margin
        self.high = high + margin
        if limits is not None:
            self.low, self.high = limits

    def place(self, value: object) -> NDArray[np.float64]:
        """Picture coordinate of values; NaN where a logarithmic axis has none."""
        v = np.asarray(value, np.float64)
        if self.log:
            v = np.log10(np.where(v > 0, v, np.nan))
        return self.start + (v - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """About five round values."""
        if self.log and self.high - self.low > 1.2:
            first, last = math.ceil(self.low), math.floor(self.high)
            every = max(1, (last - first + 1) // 6)
            return [10.0**e for e in range(first, last + 1, every)]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        step = nice((high - low) / about)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [k * step for k in range(first, last + 1) if not self.log or k > 0]


def nice(value: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten that is not below ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= value * (1 - 1e-9))


def number(value: float) -> str:
    """Short text of a number for an axis: ``12``, ``0.25``, ``1e-06``."""
    return f"{value:.6g}".replace("-", "−")


def three(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}".replace("-", "−")


# ------------------------------------------------------------------ frames
def frame(panel: Panel, x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    """Grid lines, ticks and labels of both axes."""
    ticks = [(float(x_axis.place(t)), number(t)) for t in x_axis.ticks(max(2, min(5, int(panel.width // 60))))]
    out = [f'<path class="grid" d="M{x:.1f} {panel.top}V{panel.bottom}"/>' for x, _ in ticks]
    return "".join(out) + bottom(panel, ticks, x_label) + side(panel, y_axis, y_label)


def bottom(panel: Panel, ticks: Iterable[tuple[float, str]], label: str) -> str:
    """Words below the frame: (place, text) and the label of the axis."""
    out = [f'<text x="{x:.1f}" y="{panel.bottom + 17}" text-anchor="middle">{escape(t)}</text>' for x, t in ticks]
    middle = (panel.left + panel.right) / 2
    out.append(
        f'<text class="label" x="{middle}" y="{panel.bottom + 37}" text-anchor="middle">{escape(label)}</text>'
        if label
        else ""
    )
    return "".join(out)


def side(panel: Panel, axis: Axis, label: str) -> str:
    """The axis at the left: grid lines, ticks, label; and the two lines of the frame."""
    out = []
    for t in axis.ticks():
        y = float(axis.place(t))
        out.append(f'<path class="grid" d="M{panel.left} {y:.1f}H{panel.right}"/>')
        out.append(f'<text x="{panel.left - 8}" y="{y + 4:.1f}" text-anchor="end">{number(t)}</text>')
    out.append(f'<path class="axis" d="M{panel.left} {panel.top}V{panel.bottom}H{panel.right}"/>')
    x, middle = panel.left - 56, (panel.top + panel.bottom) / 2
    if label:
        out.append(
            f'<text class="label" x="{x:g}" y="{middle}" text-anchor="middle" transform="rotate(-90 {x:g} {middle})">'
            f"{escape(label)}</text>"
        )
    return "".join(out)


def legend_entries(
    entries: Sequence[tuple[str, str]], x: float, y: float, *, columns: int = 3, step: float = 186, bars: bool = False
) -> str:
    """(style, name) pairs in rows ``step`` apart, a piece of line (or bar) before each name."""
    out = []
    for k, (style, name) in enumerate(entries):
        left, middle = x + (k % columns) * step, y + 20 * (k // columns)
        key = bar(left, middle - 6, 30, 12, style) if bars else f'<path class="curve {style}" d="M{left} {middle}h30"/>'
        text = name if len(name) <= step / 8 else name[: int(step / 8) - 1] + "…"
        out.append(f'{key}<text x="{left + 38}" y="{middle + 4}">{escape(text)}<title>{escape(name)}</title></text>')
    return "".join(out)


def legend_step(names: Iterable[str]) -> float:
    """Distance of legend entries that leaves room for the longest name (up to 30 letters)."""
    return 54 + 8.0 * min(30, max(map(len, names), default=0))


def bar(x: float, y: float, width: float, height: float, style: str, words: str = "") -> str:
    """A bar in the colour and with the hatch of a style (no two styles are told apart by colour alone)."""
    title = f"<title>{escape(words)}</title>" if words else ""
    rectangle = (
        f'<rect class="bar {style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">{title}</rect>'
    )
    lines = _hatch(x, y, width, height, style)
    return rectangle + (f'<path class="hatch {style}" d="{lines}"/>' if lines else "")


#: direction (x, y) and distance of the hatch lines of a style; s1 is plain
_HATCHES: dict[str, tuple[tuple[tuple[int, int], float], ...]] = {
    "s2": (((1, -1), 7.0),),
    "s3": (((1, 1), 7.0),),
    "s4": (((1, 0), 5.0),),
    "s5": (((0, 1), 5.0),),
    "s6": (((1, -1), 7.0), ((1, 1), 7.0)),
    "s7": (((1, 0), 6.0), ((0, 1), 6.0)),
    "s8": (((1, -1), 3.5),),
}


def _hatch(x: float, y: float, width: float, height: float, style: str) -> str:
    """Path of the lines, clipped to the bar by calculation: identifiers for clip paths would clash on a page."""
    out = []
    for (dx, dy), step in _HATCHES.get(style, ()):
        if dx and dy:  # lines y = -+x + c
            low, high = (0.0, width + height) if dy < 0 else (-width, height)
            for c in np.arange(low + step, high, step):
                ts = (max(0.0, c - height), min(width, c)) if dy < 0 else (max(0.0, -c), min(width, height - c))
                ends = [(t, c - t if dy < 0 else c + t) for t in ts]
                out.append("M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*[v for a, b in ends for v in (x + a, y + b)]))
        elif dx:
            out += [f"M{x:.1f} {y + c:.1f}h{width:.1f}" for c in np.arange(step, height, step)]
        else:
            out += [f"M{x + c:.1f} {y:.1f}v{height:.1f}" for c in np.arange(step, width, step)]
    return "".join(out)


def diamond(x: float, y: float, words: str = "", size: float = 4.5) -> str:
    """A small diamond, outlined in the colour of the text."""
    title = f"<title>{escape(words)}</title>" if words else ""
    return (
        f'<path class="mark" d="M{x:.1f} {y - size:.1f}l{size} {size}l-{size} {size}l-{size} -{size}z">{title}</path>'
    )


def svg(width: float, height: float, parts: Sequence[str], title: str, description: str) -> str:
    """A picture that says its title and what is to be seen."""
    label = escape(". ".join(t.rstrip(".") for t in (title, description) if t))
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )
