"""Words that several parts of a page share: flags by colour and hatch, grey levels, scores with their error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from finescan.reporting.report import Score
from finescan.values import FLAGS

#: how the pictures of a volume are worked, as HTML
VOLUME_KEYS = (
    "The slider goes along z; so do <kbd>PgUp</kbd> <kbd>PgDn</kbd> <kbd>Home</kbd> <kbd>End</kbd> and the wheel on a "
    "picture that was clicked, and a click on the XZ or YZ cut. Then: <kbd>L</kbd> next volume, hold <kbd>B</kbd> to "
    "blink, <kbd>arrows</kbd> move, <kbd>+</kbd> <kbd>−</kbd> or <kbd>Ctrl</kbd>+wheel zoom, <kbd>0</kbd> fit, "
    "<kbd>[</kbd> <kbd>]</kbd> move the curtain, <kbd>F</kbd> flags, <kbd>Shift</kbd>+<kbd>arrows</kbd> move the "
    "reading point. Thin lines show where the other cuts run; a faint box lies at another depth."
)

#: colour and hatch per flag; blue to yellow like cividis, never told apart by colour alone
FLAG_STYLES: dict[str, tuple[str, str]] = {
    "no_data": ("#f4f1e6", "cross"),
    "saturated": ("#fee838", "rising"),
    "untrained": ("#f2a33a", "dots"),
    "inconsistent": ("#4f9dff", "falling"),
    "clipped": ("#c9a7ff", "upright"),
    "border": ("#9fd3e8", "level"),
    "invention": ("#ffd7a8", "boxes"),
    "omission": ("#7fe0c3", "rings"),
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


def mean_and_error(score: Score) -> str:
    """``31.42 ± 0.05``: the error with two digits, the mean with as many decimals."""
    error = score.standard_error
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(score.mean):
        return f"{score.mean:#.4g}".rstrip(".")
    decimals = min(6, max(0, 1 - math.floor(math.log10(error))))
    return f"{score.mean:.{decimals}f} ± {error:.{decimals}f}"
