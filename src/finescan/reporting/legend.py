"""Words below a scene: the flags by colour and hatch, and grey levels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from finescan.values import FLAGS

#: colour and hatch per flag; blue to yellow like cividis, never told apart by colour alone
FLAG_STYLES: dict[str, tuple[str, str]] = {
    "no_data": ("#f4f1e6", "cross"),
    "saturated": ("#fee838", "rising"),
    "untrained": ("#f2a33a", "dots"),
    "inconsistent": ("#4f9dff", "falling"),
    "clipped": ("#c9a7ff", "upright"),
    "border": ("#9fd3e8", "level"),
}


def legend(shares: Mapping[str, float]) -> str:
    """The flags by colour and hatch, their share of the field, and what they mean."""
    rows = "".join(
        f'<li data-flag="{name}" title="{escape(FLAGS[name][1])}">{name.replace("_", " ")}: {_percent(share)}</li>'
        for name, share in shares.items()
        if share > 0
    )
    meanings = "".join(
        f"<tr><th scope='row'>{name.replace('_', ' ')}</th><td class='number'>{_percent(shares[name])}</td>"
        f"<td>{escape(text)}</td></tr>"
        for name, (_, text) in FLAGS.items()
    )
    return (
        f'<ul class="legend" aria-label="Flags shown">{rows or "<li>No pixel is flagged here.</li>"}</ul>'
        f"<details><summary>What the flags mean</summary><div class='scroll'><table>"
        f"<caption>Share of this field of view, and meaning</caption>"
        f"<thead><tr><th scope='col'>flag</th><th scope='col' class='number'>share</th>"
        f"<th scope='col'>meaning</th></tr></thead><tbody>{meanings}</tbody></table></div></details>"
    )


def _percent(share: float) -> str:
    if share == 0:
        return "0 %"
    return f"{100 * share:.2g} %" if share >= 1e-4 else "under 0.01 %"


def grey_text(value: float) -> str:
    """Short text of a grey level."""
    if value == 0 or not math.isfinite(value):
        return "0"
    return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e6 else f"{value:.0f}"
