"""The lattice study as a page: the curves and the table of Möller et al. 2023, and what became of the columns."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import finescan
from finescan import reporting as rp
from finescan.studies.lattice_data import KINDS, MAIN, OURS
from finescan.studies.lattice_physical_page import physical_lines, physical_parts
from finescan.studies.lattice_words import NAMES, SAMPLES, WORDS
from finescan.trust.zoom_curves import ZoomCurve

if TYPE_CHECKING:
    from finescan.studies.lattice import LatticeResults

FIGURES = {
    ("stem", "psnr"): "paper's Figure 1",
    ("stem", "ms_ssim"): "paper's Figure 5",
    ("stm", "ms_ssim"): "paper's Figure 7",
}
#: method -> percent -> PSNR and MS-SSIM in Möller et al. 2023, Table 3 (GaN, STEM, their own recordings)
PUBLISHED: dict[str, dict[int, tuple[float, float]]] = {
    "bicubic": {200: (21.97, 0.8021), 300: (22.13, 0.7577), 400: (22.15, 0.7151)},
    "single-scale": {200: (19.67, 0.4272), 300: (19.56, 0.4094), 400: (19.96, 0.4770)},
    "coarser": {200: (17.90, 0.1037), 300: (18.52, 0.2343), 400: (19.18, 0.3674)},
    "finer": {200: (23.01, 0.8612), 300: (22.39, 0.7679), 400: (22.47, 0.7265)},
    MAIN: {200: (23.03, 0.8575), 300: (22.86, 0.8015), 400: (21.58, 0.6889)},
    "converging": {200: (22.96, 0.8541), 300: (22.15, 0.7586), 400: (22.17, 0.7160)},
}
ACROSS = 5  # pictures side by side
LEAST_PERCENT = 100.0  # levels from which on the aims count


def build(results: LatticeResults) -> rp.StudyReport:
    """The page of a finished study."""
    aims = {kind: aim_rows(curve) for kind, curve in results.curves.items()}
    met = all(row[-1] == "yes" for rows in aims.values() for row in rows)
    stem = results.curves["stem"]
    gain = stem.gains(OURS)
    return rp.StudyReport(
        title=f"Lattice study, {results.study.size}",
        headline=f"finescan {gain[-1]:+.2f} dB over bicubic at {stem.percent[-1]:.0f} % of what was recorded (GaN)",
        sentence=_sentence(results),
        verdict="better" if met else "equal",
        chapters=(
            rp.Chapter("Curves over zoom levels", tuple(_curves(results))),
            rp.Chapter("Table 3 of the paper", tuple(_tables(results))),
            rp.Chapter("Pictures recorded apart", tuple(physical_parts(results.physical))),
            rp.Chapter("Aims", tuple(_aims(aims))),
            rp.Chapter("Atom columns", tuple(_lattices(results))),
            rp.Chapter("Pictures", tuple(_pictures(results))),
            rp.Chapter("Costs", (cost_table(results),)),
        ),
        facts=tuple(
            (SAMPLES[k], f"better than bicubic up to {c.better_up_to(OURS):.0f} %") for k, c in results.curves.items()
        ),
        notes=_notes(results),
        provenance={
            "finescan": finescan.__version__,
            "python": platform.python_version(),
            "study": dict(vars(results.study)),
            "numbers": dict(vars(results.study.numbers)),
        },
    )


def _sentence(results: LatticeResults) -> str:
    parts = []
    for kind, curve in results.curves.items():
        rows = {m: curve.gains(OURS, m) for m in curve.metrics}
        parts.append(
            f"{SAMPLES[kind]}, ×{curve.sr_factor}: {min(rows['psnr']):+.2f} to {max(rows['psnr']):+.2f} dB in PSNR and "
            f"{min(rows['ms_ssim']):+.3f} to {max(rows['ms_ssim']):+.3f} in MS-SSIM over bicubic interpolation, from "
            f"{curve.percent[0]:.0f} to {curve.percent[-1]:.0f} % of the resolution of the pictures it learned from"
        )
    return ". ".join(parts) + "."


def _notes(results: LatticeResults) -> tuple[str, ...]:
    size = results.study.numbers
    notes = [
        "Samples and scans are simulated: grey levels, noise and drift are not those of the paper's instruments, so "
        "its numbers show what order methods have and not what values they should reach here.",
        "Levels: 100 % is the resolution of the pictures that were learned from. Pictures of a level, and what methods "
        "get to enhance, are single pixels of the fine picture, as published, compared at their true places.",
    ]
    if size.minutes is not None:
        notes.append(
            f"The paper trains SwinIR-light for 150 000 iterations on a graphics card; here every method has the "
            f"network {size.architecture} and {size.minutes:g} minutes of a processor, so lists of zoom levels are "
            "compared, not networks."
        )
    return (*notes, *(f"{SAMPLES[k]}: {n}" for k, found in results.notes.items() for n in found))


# ------------------------------------------------------------------ curves and tables
def _curves(results: LatticeResults) -> list[rp.Figure]:
    figures = []
    for kind, curve in results.curves.items():
        for metric in curve.metrics:
            published = FIGURES.get((kind, metric))
            words = f" ({published})" if published else ""
            series = [
                rp.Series(NAMES[n], curve.percent, row[metric], reference=n == "bicubic")
                for n, row in curve.scores.items()
            ]
            figures.append(
                rp.curve_panels(
                    f"{SAMPLES[kind]}: {WORDS[metric]} over zoom level{words}", {"": series},
                    x_label="zoom level, % of the recorded", y_label="dB" if metric == "psnr" else WORDS[metric],
                    minima=False, name=f"curve-{kind}-{metric.replace('_', '-')}",
                )
            )  # fmt: skip
    return figures


def _tables(results: LatticeResults) -> list[rp.Table | str]:
    parts: list[rp.Table | str] = [
        table_3(results.curves["stem"], "GaN, STEM: Table 3, pixels at their true places", "table-3"),
        table_3(
            results.published["stem"],
            "GaN, STEM: Table 3, decimated as published (half a pixel off)",
            "table-3-published",
        ),
        "The Gauss metrics are the published code's: the mean over the pictures as they are and smoothed by two "
        "binomial filters, so that noise counts less.",
    ]
    for kind, curve in results.published.items():
        parts.append(gauss_table(curve, f"{SAMPLES[kind]}: decimated as published, Gauss metrics", f"gauss-{kind}"))
    return parts


def table_3(curve: ZoomCurve, title: str, name: str) -> rp.Table:
    """PSNR and MS-SSIM at 200, 300 and 400 %, with the paper's beside."""
    columns = [rp.Column("method")]
    for p in (200, 300, 400):
        for metric, unit in (("psnr", "dB"), ("ms_ssim", "")):
            columns += [
                rp.Column(f"{WORDS[metric]} at {p} %", unit, "higher"),
                rp.Column(f"{WORDS[metric]} at {p} %, paper", unit),
            ]
    rows = []
    for method in curve.values:
        cells: list[Any] = [NAMES[method]]
        for p in (200, 300, 400):
            paper = PUBLISHED.get(method, {}).get(p, (None, None))
            for k, metric in enumerate(("psnr", "ms_ssim")):
                cells += [curve.at(p)[method][metric], paper[k]]
        rows.append(tuple(cells))
    return rp.Table(title, tuple(columns), tuple(rows), name=name)


def gauss_table(curve: ZoomCurve, title: str, name: str) -> rp.Table:
    """All levels and metrics of the published kind."""
    columns = [rp.Column("method")]
    for p in curve.percent:
        columns += [
            rp.Column(f"{WORDS[m]} at {p:.0f} %", "dB" if "psnr" in m else "", "higher")
            for m in curve.metrics
            if "gauss" in m
        ]
    found = curve.scores
    rows: tuple[tuple[Any, ...], ...] = tuple(
        (NAMES[n], *(found[n][m][k] for k in range(len(curve.percent)) for m in curve.metrics if "gauss" in m))
        for n in found
    )
    return rp.Table(title, tuple(columns), rows, name=name)


def aim_rows(curve: ZoomCurve) -> list[tuple[Any, ...]]:
    """What was to be reached, by how much it is, and whether it is."""
    rows: list[tuple[Any, ...]] = []
    kept = [k for k, p in enumerate(curve.percent) if p >= LEAST_PERCENT - 1e-6]
    edge = 0.9 * 100 * curve.sr_factor  # 360 % of 400 %
    for metric in ("psnr", "ms_ssim"):
        gains = curve.gains(OURS, metric)
        near = min(gains[k] for k in kept if curve.percent[k] <= edge + 1e-6)
        far = min(gains[k] for k in kept)
        rows.append((f"above bicubic up to {edge:.0f} %", WORDS[metric], near, _met(near > 0)))
        rows.append((f"never below it to {100 * curve.sr_factor} %", WORDS[metric], far, _met(far >= 0)))
        for p in range(200, 100 * curve.sr_factor + 1, 100):
            lead = curve.at(p)[OURS][metric] - curve.at(p)[MAIN][metric]
            rows.append((f"above the paper's main list at {p} %", WORDS[metric], lead, _met(lead > 0)))
    return rows


def _met(good: bool) -> str:
    return "yes" if good else "no"


def _aims(aims: Mapping[str, list[tuple[Any, ...]]]) -> list[rp.Table]:
    columns = (rp.Column("aim"), rp.Column("metric"), rp.Column("smallest lead"), rp.Column("met"))
    return [
        rp.Table(f"{SAMPLES[kind]}: aims of this package", columns, tuple(rows), name=f"aims-{kind}")
        for kind, rows in aims.items()
    ]


# ------------------------------------------------------------------ columns
def _lattices(results: LatticeResults) -> list[rp.Table | str]:
    parts: list[rp.Table | str] = []
    for kind, found in results.lattices.items():
        if "why_not" in found:
            parts.append(f"{SAMPLES[kind]}: no lattice was judged. {found['why_not']}")
            continue
        parts.append(lattice_table(found, kind))
        parts += [
            f"{NAMES.get(n, n)}: no lattice was found. {f['why_not']}" for n, f in found.items() if "why_not" in f
        ]
    return parts


def lattice_table(found: Mapping[str, Any], kind: str) -> rp.Table:
    """Columns, vectors and periods of every method."""
    columns = (
        rp.Column("method"), rp.Column("column off, median", "pm", "lower"), rp.Column("95 %", "pm", "lower"),
        rp.Column("columns"), rp.Column("lost", "", "lower"), rp.Column("invented", "", "lower"),
        rp.Column("first vector", "%"), rp.Column("second vector", "%"), rp.Column("angle", "°"),
        rp.Column("jitter seen", "pm"), rp.Column("periods not supported", "", "lower"),
    )  # fmt: skip
    rows = []
    for name, one in found.items():
        periods = one.get("periods")
        doubted = None if periods is None else sum(periods[v] for v in ("replica", "contradicted", "invented"))
        c = one.get("columns")
        if c is None:
            rows.append((NAMES.get(name, name), *(None,) * 9, doubted))
            continue
        far, change = c["displacement_pm"], c["length_change_percent"]
        rows.append(
            (NAMES.get(name, name), far["median"], far["p95"], c["same"], c["lost"], c["invented"], *change,
             c["angle_change_deg"], one["scan"]["jitter_rms_pm"], doubted)
        )  # fmt: skip
    caption = (
        "The coarse picture of another sample, enhanced, against the same scan without noise and jitter. Columns are "
        "off by what noise, jitter and the method do together; vectors and angle: difference from the truth."
    )
    return rp.Table(f"{SAMPLES[kind]}: atom columns", columns, tuple(rows), caption, name=f"columns-{kind}")


def _pictures(results: LatticeResults) -> list[rp.Figure]:
    figures = []
    for kind, row in results.pictures.items():
        size, names = KINDS[kind], [NAMES.get(n, n) for n in row]
        lines = {k: names[k : k + ACROSS] + [""] * (k + ACROSS - len(names)) for k in range(0, len(names), ACROSS)}
        pictures = [*row.values(), *[None] * ACROSS]
        figures.append(
            rp.picture_grid(
                f"{SAMPLES[kind]}: {size.coarse:g} {size.unit}, enhanced to {size.fine:g} {size.unit}",
                {" " * (k // ACROSS): pictures[k : k + ACROSS] for k in lines}, [""] * ACROSS,
                labels={" " * (k // ACROSS): line for k, line in lines.items()}, cell=260.0, name=f"pictures-{kind}",
                note="One window for all; truth: the same scan without noise, in its contrast.",
            )
        )  # fmt: skip
    return figures


def cost_table(results: LatticeResults) -> rp.Table:
    """Training time, steps per second and weights."""
    rows = []
    for name, t in results.training.items():
        config, steps = t.get("config") or {}, sum(t["steps"] or [0])
        rows.append(
            (
                name,
                config.get("architecture"),
                t["weights"],
                steps,
                t["seconds"],
                steps / t["seconds"],
                str(t["device"]),
            )
        )
    columns = (
        rp.Column("model"), rp.Column("network"), rp.Column("weights"), rp.Column("steps"), rp.Column("training", "s"),
        rp.Column("steps per second"), rp.Column("device"),
    )  # fmt: skip
    return rp.Table("What training cost", columns, tuple(rows), name="costs")


def text_table(results: LatticeResults) -> str:
    """The curves and columns for a terminal."""
    lines = []
    for kind, curve in results.curves.items():
        for metric in curve.metrics:
            lines.append(f"{SAMPLES[kind]}, {WORDS[metric]} at % of the recorded resolution")
            lines.append(" " * 36 + "".join(f"{p:9.0f}" for p in curve.percent))
            digits = 2 if metric == "psnr" else 3
            lines += [
                f"{NAMES[n]:36}" + "".join(f"{v:9.{digits}f}" for v in row[metric]) for n, row in curve.scores.items()
            ]
        lines += [f"  {aim}, {metric}: {value:+.3f}, {met}" for aim, metric, value, met in aim_rows(curve)]
        lines += ["", *physical_lines(kind, results.physical[kind]), ""]
        found = results.lattices[kind]
        for name, one in found.items():
            c = one.get("columns") if isinstance(one, Mapping) else None
            if c is not None:
                far = c["displacement_pm"]
                off = f"off by {far['median'] or 0:.1f} pm (95 %: {far['p95'] or 0:.1f})"
                lines.append(f"{NAMES.get(name, name):36}{off}, {c['lost']} lost, {c['invented']} invented")
        lines.append("")
    return "\n".join(lines)
