"""The rescan study as a page: error of the void fraction and rescanned sites over beam time."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

import finescan
from finescan import reporting as rp
from finescan.studies import rescan_maps as maps

if TYPE_CHECKING:
    from finescan.studies.rescan import RescanResults

NAMES = {"random": "random", "uniform grid": "uniform grid", "uncertainty": "least certain", "planner": "planner"}
ALONE = "random alone"  # without a coarse map


def build(results: RescanResults) -> rp.StudyReport:
    """The page of a finished study."""
    aims = results.aims()
    reached = len(aims["quarter_reached"])
    return rp.StudyReport(
        title=f"Rescan study, {results.study.size}",
        headline=f"{100 * aims['recall']:.0f} % of the damage sites in an eighth of the time of a fine scan",
        sentence=_sentence(results),
        verdict="better" if reached == len(aims["quarter"]) and aims["least_recall"] == 1 else "equal",
        chapters=(
            rp.Chapter("Void fraction", (error_figure(results), quarter_table(results))),
            rp.Chapter("Damage sites", (recall_figure(results), kind_table(results))),
            rp.Chapter("What it looks like", (_pictures(results),)),
            rp.Chapter("How it was measured", _words(results)),
        ),
        facts=_facts(results),
        notes=(
            "The network, and the examples of what candidates amount to, come from an earlier place of the specimen, "
            f"scanned in {results.facts['earlier']['seconds']:.0f} s. The curves leave that out: it serves every map.",
            "The registration of the fields is taken as known (each lies about 0.1 µm from where it was planned), and "
            "the network is not trained further between the rounds.",
        ),
        provenance={
            "finescan": finescan.__version__,
            "python": platform.python_version(),
            "study": dict(vars(results.study)),
            "numbers": dict(vars(results.study.numbers)),
            "maps": list(results.facts["maps"]),
        },
    )


def _sentence(results: RescanResults) -> str:
    aims = results.aims()
    q = [v for v in aims["quarter"] if v["share"] == 0.125] or aims["quarter"][-1:]
    rivals = ", ".join(f"{NAMES[n]} {100 * v:.0f} %" for n, v in aims["recall_of"].items() if n != "planner")
    return (
        f"In {100 * q[0]['share']:.3g} % of the time of a fine scan of everything the planner knows the void fraction "
        f"to {100 * q[0]['planner']:.2g} %; random fine scanning without a coarse map, in four times as long, to "
        f"{100 * q[0]['random at four times']:.2g} %. Damage sites rescanned by an eighth of that time: planner "
        f"{100 * aims['recall']:.0f} %, {rivals}."
    )


def _facts(results: RescanResults) -> tuple[tuple[str, str], ...]:
    rows = results.facts["maps"]
    sites = sum(r["sites"] for r in rows)
    return (
        ("maps", f"{len(rows)} of {results.study.numbers.side}² fine px, {sites} damage sites"),
        ("void fraction", f"{100 * float(np.mean([r['void_fraction'] for r in rows])):.3f} %"),
        (
            "a fine scan of everything",
            f"{rows[0]['full_s']:.0f} s; the coarse map {100 * rows[0]['coarse_share']:.1f} %",
        ),
        ("a field", f"{maps.FRAME_PX}² px, {rows[0]['field_s']:.2f} s, {maps.SETTLE_S:g} s of it to settle"),
        ("candidates per map", f"{float(np.mean([r['candidates'] for r in rows])):.0f}"),
    )


def error_figure(results: RescanResults) -> rp.Figure:
    """Median error of the void fraction over time."""
    x = [100 * s for s in results.shares()]
    series = [rp.Series(NAMES[n], x, [100 * v for v in results.median(n, "error")]) for n in results.rows]
    times = [r["share"] for r in results.alone[0]]
    series.append(rp.Series(ALONE, [100 * t for t in times], [100 * results.alone_error(t) for t in times], True))
    svg = rp.line_plot(
        series, "beam time, % of a fine scan", "error of the void fraction, %", title="Error of the void fraction",
        log_y=True,
    )  # fmt: skip
    columns = (rp.Column("time", "%"), *(rp.Column(NAMES[n], "%", "lower") for n in results.rows), rp.Column(ALONE, "%", "lower"))  # fmt: skip # noqa: E501
    errors = {n: results.median(n, "error") for n in results.rows}
    rows: tuple[tuple[str | float, ...], ...] = tuple(
        (f"{100 * s:.3g}", *(100 * errors[n][k] for n in results.rows), 100 * results.alone_error(s))
        for k, s in enumerate(results.shares())
    )
    note = "Median over the maps of the distance from the true void fraction, in per cent of it."
    table = rp.Table("Error of the void fraction", columns, rows, name="error-by-time")
    return rp.Figure("Error of the void fraction", svg, note, (table,), name="error")


def quarter_table(results: RescanResults) -> rp.Table:
    """The planner against random scanning alone in four times as long."""
    columns = (
        rp.Column("planner's time", "%"),
        rp.Column("its error", "%"),
        rp.Column("random alone in four times as long", "%"),
        rp.Column("reached"),
        rp.Column("the same, with the earlier place", "%"),
        rp.Column("reached, too"),
    )

    def reached(q: Mapping[str, float], rival: str) -> str:
        return "yes" if q["planner"] <= q[rival] else "no"

    rows = tuple(
        (
            f"{100 * q['share']:.3g}",
            100 * q["planner"],
            100 * q["random at four times"],
            reached(q, "random at four times"),
            100 * q["with the earlier place"],
            reached(q, "with the earlier place"),
        )
        for q in results.aims()["quarter"]
    )
    caption = (
        "The first row is the coarse map alone. With the earlier place: its time, shared by the maps of this study "
        f"({100 * results.earlier_share:.0f} % of a fine scan each), is part of the planner's."
    )
    return rp.Table("A quarter of the time", columns, rows, caption, name="quarter")


def recall_figure(results: RescanResults) -> rp.Figure:
    """Share of damage sites rescanned over time."""
    x = [100 * s for s in results.shares()]
    recall = {n: results.median(n, "recall") for n in results.rows}
    series = [rp.Series(NAMES[n], x, [100 * v for v in recall[n]]) for n in results.rows]
    svg = rp.line_plot(
        series, "beam time, % of a fine scan", "damage sites rescanned, %", title="Damage sites rescanned"
    )
    columns = (rp.Column("time", "%"), *(rp.Column(NAMES[n], "%", "higher") for n in results.rows))
    rows: tuple[tuple[str | float, ...], ...] = tuple(
        (f"{100 * s:.3g}", *(100 * recall[n][k] for n in results.rows)) for k, s in enumerate(results.shares())
    )
    note = f"A site counts when {100 * maps.FOUND:.0f} % of its pixels lie in recorded fields; median over the maps."
    table = rp.Table("Damage sites rescanned", columns, rows, name="recall-by-time")
    return rp.Figure("Damage sites rescanned", svg, note, (table,), name="recall")


def kind_table(results: RescanResults) -> rp.Table:
    """By kind of damage, at an eighth of the time."""
    rows = tuple((kind, seen, count, 100 * seen / count) for kind, (seen, count) in results.aims()["by_kind"].items())
    columns = (rp.Column("kind"), rp.Column("rescanned"), rp.Column("all"), rp.Column("share", "%"))
    return rp.Table("The planner at an eighth of the time", columns, rows, "All maps together.", name="kinds")


def _pictures(results: RescanResults) -> rp.Figure:
    names = list(results.pictures)
    return rp.picture_grid(
        "Around a damage site of the first map",
        {"": [results.pictures[n][0] for n in names]},
        names,
        pixel_size_nm=100_000 / 4096,
        window=(15.0, 190.0),
        note="With rescans: recorded fields stand in the enhanced map. Truth: a fine scan of the place.",
        name="place",
    )


def _words(results: RescanResults) -> tuple[str, ...]:
    return (
        "Every strategy has the same estimator: voids that were recorded, and elsewhere the expected void area of the "
        "candidates of the enhanced map. What a candidate amounts to is learned from the earlier place and from the "
        "fields recorded so far (logistic regression of its look; the share of voids among all candidates is estimated "
        "on the map itself). In a recorded field a void is what is there, as a person would outline it.",
        "The planner puts fields where the variance of that expected area is largest per second, and learns between "
        "the rounds; the others plan once for each time. The least certain pixels are those of the largest local "
        "variance of the coarse map.",
        "Random scanning alone spends no time on a coarse map: the mean of tiles drawn without replacement, of that "
        "size which errs least at each time; median over many draws, then over the maps.",
    )


def text_table(results: RescanResults) -> str:
    """The main figures for a terminal."""
    lines = [_sentence(results), f"{'time':>6}  " + "  ".join(f"{n:>22}" for n in (*NAMES, "random alone"))]
    error, recall = ({n: results.median(n, k) for n in results.rows} for k in ("error", "recall"))
    for k, s in enumerate(results.shares()):
        cells = [f"{100 * error[n][k]:7.1f} % {100 * recall[n][k]:9.0f} %" for n in results.rows]
        lines.append(
            f"{100 * s:5.3g} %  " + "  ".join(f"{c:>22}" for c in cells) + f"  {100 * results.alone_error(s):7.1f} %"
        )
    lines.append("in each cell: error of the void fraction, and damage sites rescanned")
    return "\n".join(lines)
