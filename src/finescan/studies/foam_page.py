"""The foam study as a page: the figures and the table of Bukka et al. 2025, 10.1515/mim-2024-0017, with ours beside."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import finescan
from finescan import reporting as rp
from finescan.studies.foam_judging import BIN_VOXELS
from finescan.values import Image

if TYPE_CHECKING:
    from finescan.studies.foam import FoamResults

NAMES = {
    "recorded": "unprocessed",
    "richardson-lucy": "Richardson-Lucy",
    "srcnn3d": "SRCNN",
    "deepnet": "DeepNet",
    "volume": "finescan",
}
OURS, THEIRS = "volume", "deepnet"
#: Recovery in % that the text of the paper states, by method and blur ("over", "under" and "about" as words).
PUBLISHED_RECOVERY: dict[str, dict[float, tuple[str, float]]] = {
    "deepnet": {3.0: ("over", 95.0), 5.0: ("over", 95.0), 7.0: ("over", 95.0), 9.0: ("over", 85.0)},
    "srcnn3d": {9.0: ("about", 60.0)},
    "richardson-lucy": {3.0: ("under", 90.0)},
}
#: What finescan's own network is to reach: recovery in % by blur; invented pores, porosity and sphericity in %.
AIMS: dict[float, float] = {3.0: 98.0, 5.0: 97.0, 7.0: 96.0, 9.0: 92.0}
PICTURED = (3.0, 9.0)  # blurs of the similarity maps, as published


def build(results: FoamResults) -> rp.StudyReport:
    """The page of a finished study."""
    study = results.study
    ours = [m for m in (OURS, THEIRS) if m in study.methods]
    best = ours[0] if ours else study.methods[-1]
    numbers = ", ".join(f"{_recovery(results, best, s):.1f} % at blur {s:g}" for s in study.sigmas)
    return rp.StudyReport(
        title=f"Foam study, {study.size}³ voxels",
        headline=f"{NAMES[best]} recovers {_recovery(results, best, study.sigmas[-1]):.0f} % of the pores at the "
        f"strongest blur",
        sentence=f"Pores of an unseen foam that {NAMES[best]} finds, matched one by one: {numbers}.",
        chapters=(
            rp.Chapter(
                "Pores", (_recovery_bars(results), pore_table(results), size_table(results), *_pore_figures(results))
            ),
            rp.Chapter("Image quality", tuple(_quality(results))),
            rp.Chapter("Pictures", tuple(_pictures(results))),
            rp.Chapter("Effective resolution", (_blur_curves(results),)),
        ),
        facts=_facts(results),
        notes=_notes(results),
        provenance={
            "finescan": finescan.__version__,
            "python": platform.python_version(),
            "study": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(study).items()},
        },
    )


def _facts(results: FoamResults) -> tuple[tuple[str, str], ...]:
    truth, study = results.truth["alternate"], results.study
    return (
        ("true pores", str(truth["count"])),
        ("true porosity", f"{100 * truth['porosity']:.2f} %"),
        ("mean sphericity of the truth", f"{truth['sphericity']:.3f}"),
        ("training per network", f"{study.budget:g} min"),
    )


def _notes(results: FoamResults) -> tuple[str, ...]:
    study = results.study
    notes = []
    if study.size < 512:
        notes.append(
            f"The paper has 512³ voxels and trains on two graphics cards for 10,000 steps; here are {study.size}³ and "
            f"{study.budget:g} minutes per network and blur, so networks see fewer pores and fewer steps, and the "
            "largest pores are missing. To make up for some of it every network goes on from what it learned at the "
            "next weaker blur."
        )
    notes.append(
        "Published figures are those the paper's text states; it counts pores, here every pore is matched with a true "
        "one. Counts are in the table as well."
    )
    return tuple(notes)


def _recovery(results: FoamResults, method: str, sigma: float) -> float:
    return 100.0 * float(results.row("alternate", method, sigma)["matching"]["recovery"] or 0.0)


def _groups(results: FoamResults) -> list[str]:
    return [f"{s:g}" for s in results.study.sigmas]


def _recovery_bars(results: FoamResults) -> rp.Figure:
    sigmas = results.study.sigmas
    methods = ("recorded", *results.study.methods)  # first here as in the other figures, for the same colours
    values = {NAMES[m]: [_recovery(results, m, s) for s in sigmas] for m in methods}
    marks = {NAMES[m]: [PUBLISHED_RECOVERY.get(m, {}).get(s, ("", None))[1] for s in sigmas] for m in methods}
    return rp.grouped_bars(
        "Pores recovered (paper's Figure 5)",
        _groups(results),
        values,
        x_label="blur of the projections, pixels",
        y_label="pores found, %",
        marks=marks,
        limits=(0, 100),
        better="higher",
        note="Of the true pores of the alternate foam, matched one by one. Diamonds: what the paper's text states.",
        name="figure-5-recovery",
    )


def pore_table(results: FoamResults) -> rp.Table:
    """The paper's pore figures for every method and blur, with recovery by matching beside the plain count."""
    truth = results.truth["alternate"]
    columns = (
        rp.Column("method"), rp.Column("blur"), rp.Column("found", "%", "higher"), rp.Column("published"),
        rp.Column("aim"), rp.Column("lost"), rp.Column("merged"), rp.Column("split"),
        rp.Column("invented", "%", "lower"), rp.Column("count", "%"), rp.Column("porosity", "%"),
        rp.Column("porosity error", "%"), rp.Column("mean sphericity"), rp.Column("sphericity error", "%"),
    )  # fmt: skip
    rows = []
    for method in ("recorded", *results.study.methods):
        for sigma in results.study.sigmas:
            rows.append(_pore_row(results.row("alternate", method, sigma), truth))
    caption = (
        f"Alternate foam: {truth['count']} true pores, porosity {100 * truth['porosity']:.2f} %, mean sphericity "
        f"{truth['sphericity']:.3f}. Found, lost, merged, split and invented by matching; count is the plain number of "
        "pores over the true one, as published."
    )
    return rp.Table("Pores of the alternate foam", columns, tuple(rows), caption, name="pores")


def size_table(results: FoamResults) -> rp.Table:
    """Share of the true pores found, by their diameter: small ones go first."""
    edges = results.row("alternate", "recorded", results.study.sigmas[0])["recovery_by_size"]["edges_voxels"]
    heads = [f"{a:g}–{b:g}" for a, b in itertools.pairwise(edges)]
    columns = (rp.Column("method"), rp.Column("blur"), *(rp.Column(h, "%", "higher") for h in heads))
    rows: list[tuple[Any, ...]] = []
    for method in ("recorded", *results.study.methods):
        for sigma in results.study.sigmas:
            sizes = results.row("alternate", method, sigma)["recovery_by_size"]
            shares = [100 * f / n if n else None for f, n in zip(sizes["found"], sizes["references"], strict=True)]
            rows.append((NAMES[method], f"{sigma:g}", *shares))
    counts = results.row("alternate", "recorded", results.study.sigmas[0])["recovery_by_size"]["references"]
    caption = f"By diameter in voxels; there are {', '.join(map(str, counts))} true pores of these sizes."
    return rp.Table("Pores found, by size", columns, tuple(rows), caption, name="pores-by-size")


def _pore_row(row: Mapping[str, Any], truth: Mapping[str, Any]) -> tuple[Any, ...]:
    method, sigma, pores, matching = row["method"], row["sigma"], row["pores"], row["matching"]
    words, published = PUBLISHED_RECOVERY.get(method, {}).get(sigma, ("", None))
    reference = matching["reference"]
    shape = pores["sphericity"]
    return (
        NAMES[method], f"{sigma:g}", _percent(matching["recovery"]),
        None if published is None else f"{words} {published:g} %",
        f"{AIMS[sigma]:g} %" if method == OURS and sigma in AIMS else None,
        reference["lost"], reference["merged"], reference["split"], _percent(matching["invented_share"]),
        _percent(matching["count_ratio"]), _percent(pores["porosity"]),
        100 * (pores["porosity"] / truth["porosity"] - 1), shape,
        None if shape is None else 100 * (shape / truth["sphericity"] - 1),
    )  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _pore_figures(results: FoamResults) -> tuple[rp.Figure, ...]:
    """Figures 6 and 7: diameters and sphericities, a panel per method and realisation."""
    sizes: dict[str, list[rp.Sample]] = {}
    shapes: dict[str, list[rp.Sample]] = {}
    kinds = [("training", THEIRS)] if THEIRS in results.study.methods else []
    for realisation, method in (*kinds, *(("alternate", m) for m in results.study.methods)):
        heading = NAMES[method] + (", training foam" if realisation == "training" else "")
        truth = results.truth[realisation]
        rows = [results.row(realisation, method, s) for s in results.study.sigmas]
        sizes[heading] = [_sample("truth", truth, "diameters", True), *(_sample("", r, "diameters") for r in rows)]
        shapes[heading] = [
            _sample("truth", truth, "sphericities", True),
            *(_sample("", r, "sphericities") for r in rows),
        ]
    return (
        rp.histogram_panels(
            "Pore diameters (paper's Figure 6)",
            sizes,
            bin_width=BIN_VOXELS,
            x_label="equivalent diameter, voxels",
            y_label="pores",
            note="Bins of five voxels as published; porosities beside the names.",
            name="figure-6-diameters",
        ),
        rp.box_plots(
            "Sphericity (paper's Figure 7)",
            shapes,
            y_label="sphericity",
            limits=(0.4, 1.0),
            name="figure-7-sphericity",
        ),
    )


def _sample(name: str, row: Mapping[str, Any], what: str, reference: bool = False) -> rp.Sample:
    pores = row if reference else row["pores"]
    note = f"porosity {100 * pores['porosity']:.1f} %" if what == "diameters" else ""
    return rp.Sample(name or f"blur {row['sigma']:g}", pores[what], note, reference)


def _quality(results: FoamResults) -> list[rp.Figure]:
    methods = ("recorded", *results.study.methods)
    figures = []
    for key, title, label, better in (
        ("mse", "Mean squared error", "MSE", "lower"),
        ("psnr", "Peak signal-to-noise ratio", "PSNR, dB", "higher"),
        ("ssim", "Structural similarity", "SSIM", "higher"),
        ("ms_ssim", "Multi-scale structural similarity", "MS-SSIM", "higher"),
    ):
        values = {
            NAMES[m]: [results.row("alternate", m, s)["scores"][key] for s in results.study.sigmas] for m in methods
        }
        figures.append(
            rp.grouped_bars(
                f"{title} (paper's Figure 3)" if key != "ms_ssim" else title,
                _groups(results),
                values,
                x_label="blur of the projections, pixels",
                y_label=label,
                better=better,
                note="Alternate foam, inside the reconstructed circle, against the truth.",
                name=f"figure-3-{key.replace('_', '-')}",
            )
        )
    return figures


def _pictures(results: FoamResults) -> list[rp.Figure]:
    sigmas, methods = results.study.sigmas, results.study.methods
    columns = [f"blur {s:g}" for s in sigmas]
    size = results.volumes["alternate truth"].grid.pixel_size_nm[1]
    rows: dict[str, list[NDArray[np.float32] | None]] = {
        "recorded": [_middle(results.volumes[f"alternate lres {s:g}"]) for s in sigmas]
    }
    rows |= {NAMES[m]: [_middle(results.volumes[f"alternate {m} {s:g}"]) for s in sigmas] for m in methods}
    rows["truth"] = [_middle(results.volumes["alternate truth"]), *([None] * (len(sigmas) - 1))]
    figures = [
        rp.picture_grid(
            "Middle slices of the alternate foam (paper's Figure 4)",
            rows,
            columns,
            pixel_size_nm=size,
            window=(-0.2, 1.2),
            note="One window for all.",
            name="figure-4-slices",
        )
    ]
    if THEIRS in methods:
        both = {
            f"{name} foam": [_middle(results.volumes[f"{name} {THEIRS} {s:g}"]) for s in sigmas]
            for name in ("training", "alternate")
        }
        figures.insert(
            0,
            rp.picture_grid(
                "DeepNet on the foam it learned from and on the other (paper's Figure 2)",
                both,
                columns,
                pixel_size_nm=size,
                window=(-0.2, 1.2),
                name="figure-2-realisations",
            ),
        )
    return [*figures, _similarity_maps(results, size)]


def _similarity_maps(results: FoamResults, size: float) -> rp.Figure:
    shown = [s for s in results.study.sigmas if s in PICTURED] or [results.study.sigmas[-1]]
    maps = {NAMES[m]: [results.maps[f"alternate {m} {s:g}"] for s in shown] for m in results.study.methods}
    labels = {
        NAMES[m]: [f"{results.row('alternate', m, s)['scores']['ms_ssim']:.3f}" for s in shown]
        for m in results.study.methods
    }
    return rp.picture_grid(
        "Similarity maps, all scales fused (paper's Figure 8)",
        maps,
        [f"blur {s:g}" for s in shown],
        pixel_size_nm=size,
        window=(0.0, 1.0),
        colours="cividis_r",
        unit="local MS-SSIM",
        labels=labels,
        note="Bright: unlike the truth. In the pictures: MS-SSIM of the volume.",
        name="figure-8-similarity",
    )


def _blur_curves(results: FoamResults) -> rp.Figure:
    panels: dict[str, list[rp.Series]] = {}
    for method in ("recorded", *results.study.methods):
        rows = [results.row("alternate", method, s) for s in results.study.sigmas]
        panels[NAMES[method]] = [
            rp.Series(f"blur {r['sigma']:g}", r["blur"]["curve_sigma"], r["blur"]["curve_mse"]) for r in rows
        ]
    return rp.curve_panels(
        "Gaussian fit (paper's Figure 9)",
        panels,
        x_label="blur of the truth, voxels",
        y_label="MSE",
        note="The lowest point of a curve is the effective resolution of the volume.",
        name="figure-9-gaussian-fit",
    )


def _middle(image: Image) -> NDArray[np.float32]:
    return np.asarray(image.data[image.grid.shape[0] // 2], np.float32)


def text_table(results: FoamResults) -> str:
    """The pore table for a terminal."""
    heads = ("", "blur", "found %", "invented %", "porosity %", "error %", "sphericity", "error %", "PSNR", "SSIM")
    lines = [_line(heads)]
    truth = results.truth["alternate"]
    for method in ("recorded", *results.study.methods):
        for sigma in results.study.sigmas:
            row = results.row("alternate", method, sigma)
            cells: Sequence[Any] = _pore_row(row, truth)
            numbers = (cells[2], cells[8], cells[10], cells[11], cells[12], cells[13])
            scores = row["scores"]
            shown = [_short(v) for v in (*numbers, scores["psnr"], scores["ssim"])]
            lines.append(_line((NAMES[method], f"{sigma:g}", *shown)))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:16}" + "".join(f"{c:>11}" for c in cells[1:])


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 1.5 else f"{value:.2f}"
