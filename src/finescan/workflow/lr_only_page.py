"""From what a run on coarse images alone has made to what its report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan import resampling
from finescan.trust import METRICS
from finescan.trust.self_consistency import SelfConsistency
from finescan.values import Grid, Image, Region, TrustMap
from finescan.workflow.judging import on_grid
from finescan.workflow.lattice_judging import LatticeJudgement
from finescan.workflow.lr_only_judging import CANDIDATE, KERNELS, Judged
from finescan.workflow.lr_only_learning import Learned
from finescan.workflow.lr_only_zoom import zoom_chapter
from finescan.workflow.page import learning, score_tables, spectra
from finescan.workflow.plan import Plan

CROP_PX = 320  # output pixels along a crop of the result
DOWN_PX = 192  # recorded pixels along a crop one level down
MOST_CROPS = 3  # images that are shown at native resolution


@dataclass(frozen=True)
class FinishedAlone:
    """Everything a run on coarse images alone has made; ``facts`` are those of trust.json."""

    images: tuple[Image, ...]
    learned: Learned
    enhanced: tuple[Image, ...]
    flags: tuple[TrustMap, ...]
    checks: tuple[SelfConsistency | None, ...]
    judged: Judged
    facts: Mapping[str, Any]


def build(done: FinishedAlone, plan: Plan) -> rp.Report:
    """The report of a finished run."""
    card, judged = done.learned.network.card, done.judged
    title = done.images[0].name if len(done.images) == 1 else f"{done.images[0].name} and {len(done.images) - 1} more"
    return rp.Report(
        title=title,
        answer=rp.Answer(str(done.facts["verdict"]), str(done.facts["sentence"]), _headline(done)),
        overview=_overview(done),
        crops=(*_down_scenes(done), *_crop_scenes(done)),
        curves=rp.Curves(learning(card.training, ("bicubic", "ridge")), _histograms(done), spectra(judged.report)),
        metrics=_tables(done),
        trust=tuple(_trust(done)),
        plan=tuple(plan.rows()),
        notes=tuple(done.facts["notes"]),
        provenance={
            "inputs": plan.inputs,
            "software": dict(card.provenance),
            "model": {k: v for k, v in card.to_dict().items() if k not in ("training", "provenance")},
            "acquisition": {i.name: i.acquisition.to_dict() for i in done.images},
        },
    )


def summary(facts: Mapping[str, Any]) -> str:
    """What is printed at the end of a run."""
    lines = [f"{'one level down':14} {'PSNR dB':>8} {'SSIM':>7} {'MS-SSIM':>8}"]
    for name, row in facts["scores"].items():
        lines.append(f"{name:14} {row['psnr']:8.2f} {row['ssim']:7.4f} {row['ms_ssim']:8.4f}")
    lines.append(f"{facts['verdict']}: {facts['sentence']}")
    lines.append(f"trust up to {facts['trusted_percent']:.0f} % of the recorded resolution")
    for image, lattice in zip(facts["images"], facts["lattices"], strict=True):
        lines += [f"{image['name']}: {line}" for line in _lattice_lines(lattice)]
    flagged = [f"{name} {100 * share:.2f} %" for name, share in facts["flags"].items() if share > 0]
    lines.append(f"flagged: {', '.join(flagged) or 'nothing'}")
    lines += [f"note: {note}" for note in facts["notes"]]
    lines.append(f"{facts['folder']}: {', '.join(facts['files'])}")
    return "\n".join(lines)


def _lattice_lines(facts: Mapping[str, Any]) -> list[str]:
    if not facts["periodic"]:
        return ["no lattice found, so none is judged"]
    out = []
    for name, words in (("before", "interpolated"), ("after", "predicted")):
        part = facts[name]
        if part and part["displacement_pm"]["median"] is not None:
            out.append(
                f"one level down, {words}: {part['same']} columns {part['displacement_pm']['median']:.1f} pm (median) "
                f"from the recorded ones, {part['lost']} lost, {part['invented']} invented"
            )
    if facts["periods"]:
        doubted = sum(facts["periods"][v] for v in ("replica", "contradicted", "invented"))
        out.append(f"{facts['periods']['peaks']} periods in the enhanced image, {doubted} of them not supported")
    return out


# ---------------------------------------------------------------------------------------------- above
def _headline(done: FinishedAlone) -> tuple[tuple[str, str], ...]:
    grid = done.enhanced[0].grid
    size = " × ".join(f"{p:.4g}" for p in grid.pixel_size_nm)
    far = done.judged.reach
    return (
        ("trust up to", f"{done.facts['trusted_percent']:.0f} % of the recorded resolution"),
        ("shown on unseen recorded pixels up to", f"{100 * far.shown:.0f} %"),
        ("made by", str(done.facts["method"])),
        ("factor", str(done.facts["factor"])),
        (
            "output",
            f"{len(done.enhanced)} × {' × '.join(map(str, grid.shape))} px of {size} nm, {done.enhanced[0].dtype}",
        ),
        ("held-out blocks", str(done.judged.report.facts["n_blocks"])),
        ("run time", f"{done.facts['seconds']:.0f} s"),
    )


def _overview(done: FinishedAlone) -> rp.Scene:
    """The first image as a whole."""
    image, flags = done.images[0], done.flags[0]
    edge = np.asarray(image.grid.edge_nm)
    boxes = []
    for k, region in enumerate(done.judged.boxes[0]):
        (y0, x0), (y1, x1) = (np.asarray(e) - edge for e in region.edges_nm)
        boxes.append(rp.Box(f"test {k + 1}", y0, x0, y1, x1, "held-out"))
    return rp.Scene(
        "The whole image",
        f"{image.name} as recorded and enhanced, reduced for display. Boxes: held-out blocks the verdict rests on.",
        _two(image.grid.extent_nm),
        (rp.overview_layer("recorded", image), rp.overview_layer("enhanced", done.enhanced[0])),
        origin_nm=_two(image.grid.edge_nm),
        flags=rp.flags_overview(flags),
        flag_shares=flags.shares(),
        boxes=tuple(boxes),
        mode="swipe",
        lossless=False,
    )


# ---------------------------------------------------------------------------------------------- places
def _down_scenes(done: FinishedAlone) -> list[rp.Scene]:
    """One level down in a held-out block: what the network was asked, and the recorded answer."""
    scenes = []
    for image, down, boxes in list(zip(done.images, done.judged.downs, done.judged.boxes, strict=True))[:MOST_CROPS]:
        if not boxes:
            continue
        box = _middle_box(boxes[0], DOWN_PX)
        made = down["points"]
        grid, factor = box.own_grid, done.learned.patches.factor
        step = tuple(p * factor for p in image.grid.pixel_size_nm)
        origin = image.grid.to_nm(np.full(2, float(factor // 2)))
        coarse = Image(made.coarse, Grid.of(made.coarse.shape, step, origin.tolist()), "every pixel taken")
        layers = [rp.crop_layer(f"1 in {factor} × {factor} pixels", coarse, grid.edge_nm, grid.extent_nm)]
        layers += [
            rp.Layer(words, made.results[n][box.slices])
            for n, words in (("bicubic", "bicubic"), (CANDIDATE, f"predicted ({done.judged.method})"))
        ]
        layers.append(rp.Layer("recorded", image.array()[box.slices]))
        caption = (
            "Held out: the network never saw these pixels. It reads the picture on the left; the answer is recorded."
        )
        title = f"One level down, {image.name}"
        scenes.append(rp.Scene(title, caption, _two(grid.extent_nm), tuple(layers), _two(grid.edge_nm)))
    return scenes


def _crop_scenes(done: FinishedAlone) -> list[rp.Scene]:
    """The middle of every result at its own pixels; nobody recorded these."""
    scenes = []
    for image, enhanced, flags in list(zip(done.images, done.enhanced, done.flags, strict=True))[:MOST_CROPS]:
        box = _middle_box(Region(enhanced.grid, (0, 0), enhanced.grid.shape), CROP_PX)
        grid = box.own_grid
        bicubic = np.asarray(resampling.resample(image, onto=grid, outside=None).data)
        layers = (
            rp.crop_layer("recorded", image, grid.edge_nm, grid.extent_nm),
            rp.Layer("bicubic", bicubic),
            rp.Layer("enhanced", _native(enhanced, grid)),
        )
        caption = "The middle of the result. Nothing finer was recorded here: this is what has to be believed."
        title = f"The result, {image.name}"
        scenes.append(rp.Scene(title, caption, _two(grid.extent_nm), layers, _two(grid.edge_nm), flags))
    return scenes


def _middle_box(region: Region, side: int) -> Region:
    start = [a + max(0, (b - a - side) // 2) for a, b in zip(region.start, region.stop, strict=True)]
    stop = [min(b, a + side) for a, b in zip(start, region.stop, strict=True)]
    return Region(region.grid, tuple(start), tuple(stop))


def _native(image: Image, grid: Grid) -> NDArray[Any]:
    values = on_grid(image, grid)
    return values.astype(image.dtype) if np.isfinite(values).all() else values


# ---------------------------------------------------------------------------------------------- figures
def _histograms(done: FinishedAlone) -> tuple[rp.Plot, ...]:
    step = max(1, int(np.sqrt(done.enhanced[0].grid.size / 4e6)))
    arrays = {"enhanced": np.asarray(done.enhanced[0].data[::step, ::step]), "recorded": done.images[0].array()}
    note = "The enhanced image has the grey levels of the recorded one; noise that is left out makes it narrower."
    return (rp.Plot("Grey levels", "grey level", "share, %", rp.histogram_series(arrays), note),)


def _tables(done: FinishedAlone) -> tuple[rp.MetricTable, ...]:
    factor = done.learned.patches.factor
    out = []
    for kernel, report in (("points", done.judged.report), ("averages", done.judged.averages)):
        for table in score_tables(report, METRICS):
            words = KERNELS[kernel].format(n=factor)
            title = f"One level down, from {kernel}: {table.title[8:]}"
            out.append(rp.MetricTable(title, f"From {words}. {table.caption}", table.columns, table.rows, CANDIDATE))
    return tuple(out)


def _trust(done: FinishedAlone) -> list[rp.Chapter]:
    chapters, trusted = [], float(done.facts["trusted_percent"])
    if done.judged.curve is not None:
        chapters.append(_reach_chapter(done.judged, trusted))
    chapters.append(zoom_chapter(done.images, done.learned, done.judged, trusted))
    if done.facts["contest"] is not None:
        chapters.append(_contest_chapter(done.facts["contest"]))
    chapters.append(_consistency_chapter(done))
    chapters += [
        _lattice_chapter(i.name, lattice) for i, lattice in zip(done.images, done.judged.lattices, strict=True)
    ]
    return chapters


def _reach_chapter(judged: Judged, trusted_percent: float) -> rp.Chapter:
    curve = judged.curve
    assert curve is not None
    x = [100 * v for v in curve.levels]
    names = {CANDIDATE: f"predicted ({judged.method})", "bicubic": "bicubic"}
    panels = {
        heading: [rp.Series(words, x, curve.scores[n][m], reference=n == "bicubic") for n, words in names.items()]
        for m, heading in (("psnr", "PSNR, dB"), ("ms_ssim", "MS-SSIM"))
    }
    figures = [
        rp.curve_panels(
            heading, {"": series}, x_label="level, % of the recorded resolution", y_label=heading, minima=False
        )
        for heading, series in panels.items()
    ]
    ends = [100 * max(curve.levels), 100 * curve.factor]
    trend = [curve.gain_at(v / 100) for v in ends]
    gains = [
        rp.Series("measured", x, [g.mean for g in curve.gains]),
        rp.Series("lower end of its 95 % interval", x, [g.low for g in curve.gains], reference=True),
        rp.Series("trend", ends, [g.mean for g in trend]),
        rp.Series("lower end of the trend's interval", ends, [g.low for g in trend], reference=True),
    ]
    spread = [v for s in gains for v in np.asarray(s.y, float).tolist() if np.isfinite(v)]
    limit = [trusted_percent] * 2
    gains.append(rp.Series(f"trust up to {trusted_percent:.0f} %", limit, [min(spread), max(spread)], reference=True))
    figures.append(
        rp.curve_panels(
            "Gain over bicubic interpolation", {"": gains}, x_label="level, % of the recorded resolution",
            y_label="PSNR gain, dB", minima=False,
        )
    )  # fmt: skip
    words = (
        "Every n-th recorded pixel is read, and the pixels in between, which were not, are the answer. The factor over "
        "n is the level: above 100 % the prediction is finer than what was recorded. Beyond the last level the gain is "
        "continued as a straight line over the logarithm of the level, through the finest three, block by block; that "
        "it is straight is an assumption."
    )
    return rp.Chapter("How far beyond the recorded resolution", (words, *figures))


def _contest_chapter(contest: Mapping[str, Any]) -> rp.Chapter:
    levels = [f"{100 * v:.0f} %" for v in contest["levels"]]
    columns = (rp.Column("contestant"), *(rp.Column(f"PSNR, {v}", "dB", "higher") for v in levels),
               *(rp.Column(f"MS-SSIM, {v}", "", "higher") for v in levels))  # fmt: skip
    rows = tuple((name, *row["psnr"], *row["ms_ssim"]) for name, row in contest["scores"].items())
    words = (
        "What might have made the result, on unseen recorded pixels of the stop blocks: each method with the zoom "
        "levels it learned from. The highest mean PSNR won, of those whose mean MS-SSIM is not below that of bicubic "
        "interpolation."
    )
    return rp.Chapter("What was tried", (words, rp.Table("Contest on the stop blocks", columns, rows, name="contest")))


def _consistency_chapter(done: FinishedAlone) -> rp.Chapter:
    columns = (
        rp.Column("image"), rp.Column("noise of the scan", "grey levels"),
        rp.Column("degraded minus recorded", "grey levels"),
        rp.Column("ratio"), rp.Column("contrast", ""), rp.Column("inconsistent", "%"),
    )  # fmt: skip
    rows = tuple(
        (i.name, c.noise, c.residual, c.ratio, 1 / c.gain if c.gain else None, 100 * f.shares()["inconsistent"])
        for i, f, c in zip(done.images, done.flags, done.checks, strict=True)
        if c is not None
    )
    words = (
        "The enhanced image, degraded to the recorded pixels, must give back the recorded image within its noise. A "
        "ratio of 0 keeps all of the noise, 1 leaves it out, and more contradicts what was recorded."
    )
    return rp.Chapter("Consistency with the recorded image", (words, rp.Table("Degraded again", columns, rows)))


def _lattice_chapter(name: str, found: LatticeJudgement) -> rp.Chapter:
    title = f"Lattice of {name}"
    if not found.periodic:
        return rp.Chapter(title, (found.why_not,))
    parts: list[Any] = [f"Recorded: {found.recorded}.", f"Scan: {found.scan}." if found.scan else ""]
    if found.enhanced is not None:
        parts.append(f"Enhanced: {found.enhanced}.")
    columns = (
        rp.Column("columns of"), rp.Column("the same"), rp.Column("median distance", "pm"), rp.Column("95 %", "pm"),
        rp.Column("noise alone", "pm"), rp.Column("lost"), rp.Column("invented"),
    )  # fmt: skip
    rows = []
    for words, part in (
        ("the interpolation, one level down", found.before),
        ("the prediction, one level down", found.after),
        ("the enhanced image", found.moved),
    ):
        if part is not None:
            s = part.summary()
            far = s["displacement_pm"]
            rows.append(
                (words, s["same"], far["median"], far["p95"], s["displacement_expected_pm"], s["lost"], s["invented"])
            )
    caption = "Against the columns of the recorded image, which are the unseen answer one level down."
    parts.append(rp.Table("Columns before and after", columns, tuple(rows), caption, name=f"columns-{name}"))
    if found.periods is not None:
        parts.append(f"Periods of the enhanced image that the recorded one is asked about: {found.periods}.")
    return rp.Chapter(title, tuple(p for p in parts if p))


def _two(values: Sequence[float]) -> tuple[float, float]:
    a, b = (float(v) for v in values)
    return a, b
