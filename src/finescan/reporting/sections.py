"""The sections of the page, one function each. Everything that comes from outside is escaped here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from finescan.reporting.chapter import Chapter
from finescan.reporting.chapters import chapter_html
from finescan.reporting.figures import colour_map, line_plot, residual_arrows
from finescan.reporting.report import (
    Column,
    MetricTable,
    Plot,
    RegistrationPicture,
    Report,
    Score,
)
from finescan.reporting.scenes import SceneWriter
from finescan.reporting.volume import VolumeScene
from finescan.reporting.words import VOLUME_KEYS, mean_and_error
from finescan.values import Residual

_TABLE_ROWS = 60  # rows of the table behind a plot

VERDICTS = {
    "better": ("▲ Better than interpolation", "better"),
    "equal": ("= No better than interpolation", "equal"),
    "worse": ("▼ Worse than interpolation", "worse"),
}

_KEYS = (
    "Click a picture, then: <kbd>arrows</kbd> move, <kbd>+</kbd> <kbd>−</kbd> or wheel zoom, <kbd>0</kbd> fit, "
    "<kbd>1</kbd> one fine pixel per screen pixel, <kbd>[</kbd> <kbd>]</kbd> move the curtain, hold <kbd>B</kbd> to "
    "blink, <kbd>F</kbd> flags, <kbd>Shift</kbd>+<kbd>arrows</kbd> move the reading point. All pictures of a figure "
    "move together. Enlarged pixels are never smoothed."
)


@dataclass(frozen=True)
class Section:
    """One section: ``name`` is its address on the page."""

    name: str
    title: str
    html: str


def all_sections(report: Report, scenes: SceneWriter) -> list[Section]:
    """Every section, in reading order; one without content says so."""
    return [
        _answer(report),
        section("overview", _whole(report), _overview(report, scenes)),
        *_trust(report, scenes),
        section("crops", "Close-ups", _crops(report, scenes)),
        section("metrics", "Scores", _scores(report, scenes)),
        *_measurements(report, scenes),
        section("spectra", "Detail", _plots(report.curves.spectra, "No power spectrum or ring correlation")),
        section("histograms", "Grey levels", _plots(report.curves.histograms, "No histogram")),
        section("registration", "Registration", _registrations(report, scenes)),
        section("training", "Training", _plots(report.curves.learning, "No learning curve")),
        section("plan", "Choices", _plan(report.plan)),
        section("provenance", "Provenance", provenance_html(report.provenance)),
    ]


def section(name: str, title: str, html: str) -> Section:
    """A section under its heading."""
    return Section(name, title, f'<section id="{name}"><h2>{escape(title)}</h2>{html}</section>')


def _nothing(what: str) -> str:
    return f'<p class="muted">{what} was recorded for this report.</p>'


def _answer(report: Report) -> Section:
    answer = report.answer
    words, kind = VERDICTS.get(answer.verdict, (answer.verdict.capitalize(), "equal"))
    return Section("answer", "Verdict", answer_html(kind, words, answer.sentence, answer.facts, report.notes))


def answer_html(kind: str, words: str, sentence: str, facts: Iterable[tuple[str, str]], notes: Sequence[str]) -> str:
    """The result, in the colour of its ``kind`` ("better", "equal", "worse"), and what to know right below."""
    return (
        f'<section id="answer"><div class="answer {escape(kind)}"><h2>{escape(words)}</h2>'
        f'<p class="sentence">{escape(sentence)}</p>{_facts(facts)}</div>{_notes(notes)}</section>'
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(n)}</li>" for n in notes)
    return f'<section id="notes" class="notes"><h2>Please note</h2><ul>{items}</ul></section>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{items}</dl>' if items else ""


def _measurements(report: Report, scenes: SceneWriter) -> list[Section]:
    if not report.measurements:
        return []
    return [section("measurements", "Measured", _chapters(report.measurements, scenes))]


def _trust(report: Report, scenes: SceneWriter) -> list[Section]:
    if not report.trust:
        return []
    return [section("trust", "Trust", _chapters(report.trust, scenes))]


def _chapters(chapters: Iterable[Chapter], scenes: SceneWriter) -> str:
    return "".join(f"{f'<h3>{escape(c.title)}</h3>' if c.title else ''}{chapter_html(c, scenes)}" for c in chapters)


def _scores(report: Report, scenes: SceneWriter) -> str:
    tables = "".join(metric_table(t) for t in report.metrics) or _nothing("No score")
    return tables + _chapters(report.distributions, scenes)


# ------------------------------------------------------------------ pictures
def _overview(report: Report, scenes: SceneWriter) -> str:
    if report.overview is None:
        return _nothing("No overview")
    keys = VOLUME_KEYS if isinstance(report.overview, VolumeScene) else _KEYS
    return f'<p class="help muted prose">{keys}</p>{scenes.html(report.overview)}'


def _whole(report: Report) -> str:
    return "The volume" if isinstance(report.overview, VolumeScene) else "The map"


def _crops(report: Report, scenes: SceneWriter) -> str:
    if not report.crops:
        return _nothing("No close-up")
    intro = '<p class="prose">At native resolution; the pictures are stored without loss.</p>'
    return intro + "".join(scenes.html(c) for c in report.crops)


def _registrations(report: Report, scenes: SceneWriter) -> str:
    return "".join(_registration(r, scenes) for r in report.registrations) or _nothing("No registration")


def _registration(picture: RegistrationPicture, scenes: SceneWriter) -> str:
    r = picture.residual
    facts = [
        ("verdict", picture.verdict),
        ("split-fit error", f"{r.split_error_hr_px:.2f} px of the fine scan"),
        ("expected error (median)", f"{r.sigma_hr_px:.2f} px of the fine scan"),
        ("peak over decoy peak", "hand-picked" if math.isnan(r.decoy_ratio) else f"{r.decoy_ratio:.2f}"),
        ("correlation (not an accuracy)", f"{r.correlation:.3f}"),
    ]
    facts += [("compared", str(r.method["objective"]))] if "objective" in r.method else []
    more = _fact_table(picture.facts)
    reasons = "".join(f"<li>{escape(t)}</li>" for t in picture.reasons)
    scene = "" if picture.scene is None else scenes.html(picture.scene)
    return (
        f'<h3>{escape(picture.name)}</h3>{_facts(facts)}<ul class="prose">{reasons}</ul>{more}{scene}'
        f'<div class="plots small">{_residual_figures(r)}</div>'
    )


def _fact_table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(str(k))}</th><td class="path">{escape(str(v))}</td></tr>' for k, v in facts
    )
    if not rows:
        return ""
    table = f'<div class="scroll"><table><caption>Method and figures found</caption><tbody>{rows}</tbody></table></div>'
    return f"<details><summary>How it was found</summary>{table}</details>"


def _residual_figures(r: Residual) -> str:
    extent, volume = (r.grid.extent_nm[-2], r.grid.extent_nm[-1]), r.grid.ndim == 3
    out = []
    for plane in ("YX", "ZX") if volume else ("YX",):
        if len(r.blocks):
            axes = r.grid.axes.lower()
            head = (*(f"{a} (nm)" for a in axes), *(f"d{a} (px)" for a in axes))
            caption = "Arrows: what is left between the scans, block by block, enlarged."
            caption += f" Seen along {'z' if plane == 'YX' else 'y'}." if volume else ""
            table = _table(head, r.blocks.tolist(), "Blocks")
            out.append(_figure(residual_arrows(r, plane=plane), caption, table))
    maps: tuple[tuple[str, str, str, bool], ...] = (
        ("sigma_hr_px", "Expected registration error", "px of the fine scan", False),
        ("residual", "Fine minus coarse after the grey map", "standard deviations", True),
    )
    for key, title, unit, centred in maps:
        if key in r.maps:
            data = np.asarray(r.maps[key])
            if volume:
                data, title = data[data.shape[0] // 2], f"{title}, middle slice"
            svg = colour_map(data, extent, title, unit, centred=centred)
            out.append(_figure(svg, f"{title}.", _map_table(data)))
    return "".join(out)


def _map_table(data: np.ndarray[Any, Any]) -> str:
    finite = data[np.isfinite(data)]
    marks = (0, 5, 25, 50, 75, 95, 100)
    values = np.percentile(finite, marks) if finite.size else [math.nan] * len(marks)
    return _table(("percentile", "value"), list(zip(marks, values, strict=True)), "Distribution of the map")


# ------------------------------------------------------------------ plots and tables
def _plots(plots: Sequence[Plot], nothing: str) -> str:
    if not plots:
        return _nothing(nothing)
    return f'<div class="plots">{"".join(map(_plot, plots))}</div>'


def _plot(p: Plot) -> str:
    svg = line_plot(p.series, p.x_label, p.y_label, title=p.title, description=p.note, log_x=p.log_x, log_y=p.log_y)
    tables = "".join(_table((p.x_label, p.y_label), _thinned(s.x, s.y), s.name) for s in p.series)
    return _figure(svg, p.note, tables, title=p.title)


def _figure(svg: str, caption: str, table: str, *, title: str = "") -> str:
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return (
        f"<figure>{head}{svg}<figcaption><p>{escape(caption)}</p></figcaption>"
        f"<details><summary>The numbers</summary>{table}</details></figure>"
    )


def _thinned(x: Any, y: Any) -> list[tuple[float, float]]:
    step = max(1, -(-len(x) // _TABLE_ROWS))
    return [(float(a), float(b)) for a, b in zip(x[::step], y[::step], strict=True)]


def _table(head: Sequence[str], rows: Iterable[Sequence[float]], caption: str) -> str:
    heads = "".join(f'<th scope="col" class="number">{escape(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f'<td class="number">{v:.5g}</td>' for v in row) + "</tr>" for row in rows)
    caption = escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def metric_table(table: MetricTable) -> str:
    """Scores as mean ± standard error; the best of a column is bold and marked with a star."""
    heads = "".join(_head(c) for c in table.columns)
    best = [_best(table, k) for k in range(len(table.columns))]
    with_errors = any(s is not None and s.standard_error for scores in table.rows.values() for s in scores)
    rows = []
    for name, scores in table.rows.items():
        cells = "".join(_score(s, name in b) for s, b in zip(scores, best, strict=True))
        chosen = name == table.chosen
        mark = ' <span class="muted">(the result)</span>' if chosen else ""
        rows.append(f'<tr{" class=chosen" if chosen else ""}><th scope="row">{escape(name)}{mark}</th>{cells}</tr>')
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(table.title)}"><table><caption>{escape(table.caption)}</caption>'
        f'<thead><tr><th scope="col"></th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f'<p class="muted">{"Mean ± standard error. " if with_errors else ""}★ best of its column.</p>'
    )


def _head(c: Column) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(c.better, "")
    unit = f" ({escape(c.unit)})" if c.unit else ""
    spoken = f' title="{c.better} is better"' if c.better else ""
    return f'<th scope="col" class="number"{spoken}>{escape(c.name)}{unit}{arrow}</th>'


def _best(table: MetricTable, k: int) -> set[str]:
    pick: dict[str, Callable[..., float]] = {"higher": max, "lower": min}
    better = table.columns[k].better
    values = {n: s[k].mean for n, s in table.rows.items() if s[k] is not None and math.isfinite(s[k].mean)}  # type: ignore[union-attr]
    if better not in pick or len(values) < 2:
        return set()
    top = pick[better](values.values())
    return {n for n, v in values.items() if v == top}


def _score(score: Score | None, best: bool) -> str:
    if score is None or math.isnan(score.mean):
        return '<td class="number">–</td>'
    text = mean_and_error(score)
    return f'<td class="number best">★ {text}</td>' if best else f'<td class="number">{text}</td>'


def _plan(plan: Sequence[tuple[str, str, str]]) -> str:
    if not plan:
        return _nothing("No plan")
    rows = "".join(
        f'<tr><th scope="row">{escape(str(c))}</th><td class="path">{escape(str(v))}</td><td>{escape(str(w))}</td></tr>'
        for c, v, w in plan
    )
    return (
        '<div class="scroll"><table><caption>What was chosen, and why. Change a value in the plan file and run again.'
        '</caption><thead><tr><th scope="col">choice</th><th scope="col">value</th><th scope="col">why</th></tr>'
        "</thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def provenance_html(provenance: Mapping[str, Any]) -> str:
    """Where everything comes from, flattened to a table."""
    if not provenance:
        return _nothing("No provenance")
    rows = "".join(
        f'<tr><th scope="row">{escape(k)}</th><td class="path">{escape(v)}</td></tr>' for k, v in _flat(provenance)
    )
    return (
        '<div class="scroll"><table><caption>Files, versions and seeds behind this page.</caption>'
        '<thead><tr><th scope="col">fact</th><th scope="col">value</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Nested mappings as ``a.b`` names; everything else as text."""
    if isinstance(value, Mapping):
        for k, v in value.items():
            yield from _flat(v, f"{name}.{k}" if name else str(k))
    elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        for k, v in enumerate(value, 1):
            yield from _flat(v, f"{name} {k}")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
