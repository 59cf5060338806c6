"""From what a run has made to what its report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan import resampling
from finescan.models import Model
from finescan.patches import PatchSet, Piece
from finescan.trust import METRICS, Metric, TrustReport, VolumeMetric
from finescan.trust.map_intervals import Intervals
from finescan.values import FLAGS, Grid, Image, Pair, TrustMap
from finescan.workflow import judging, page_errors, page_merge, page_trust, picture_measures
from finescan.workflow.judging import on_grid
from finescan.workflow.picture_measures import PictureMeasures
from finescan.workflow.place_maps import HeldOutMaps, summary_lines
from finescan.workflow.plan import Plan
from finescan.workflow.suggesting import Suggestion

if TYPE_CHECKING:
    from finescan.workflow.page_volume import FinishedVolume

_OBJECTIVES = {"grey": "grey levels", "joint-histogram": "joint histogram"}
CROP_PX = 320  # output pixels along a crop


@dataclass(frozen=True)
class Finished:
    """Everything a run has made; ``facts`` are those of trust.json."""

    lr: Image
    pairs: tuple[Pair, ...]
    patches: PatchSet
    contestants: Mapping[str, Model]
    model: Model
    enhanced: Image
    flags: TrustMap
    report: TrustReport
    measured: PictureMeasures
    facts: Mapping[str, Any]
    intervals: Intervals | None = None
    suggestion: Suggestion | None = None
    local: HeldOutMaps | None = None


def build(done: Finished, plan: Plan) -> rp.Report:
    """The report of a finished run."""
    card = done.model.card
    return rp.Report(
        title=done.lr.name,
        answer=rp.Answer(done.report.verdict, done.report.sentence, headline_facts(done)),
        overview=_overview(done),
        crops=tuple(_crops(done)),
        registrations=tuple(_registration(p) for p in done.pairs),
        curves=rp.Curves(learning(card.training, ("bicubic", "ridge")), _histograms(done), spectra(done.report)),
        metrics=tuple(_tables(done.report, str(done.facts["method"]))),
        distributions=picture_measures.distributions(done.measured),
        measurements=picture_measures.chapters(done.measured, done.patches.shares()["train"]),
        trust=(*page_merge.chapters(done), *page_trust.chapters(done), *page_errors.chapters(done)),
        plan=tuple(plan.rows()),
        notes=tuple(done.facts["notes"]),
        provenance={
            "inputs": plan.inputs,
            "software": dict(card.provenance),
            "model": {k: v for k, v in card.to_dict().items() if k not in ("training", "provenance")},
            "acquisition": {i.name: i.acquisition.to_dict() for i in (done.lr, *(p.hr for p in done.pairs))},
        },
    )


def summary(facts: Mapping[str, Any]) -> str:
    """What is printed at the end of a run."""
    lines = [f"{'':10} {'PSNR dB':>8} {'SSIM':>7} {'MS-SSIM':>8}"]
    for name, row in facts["scores"].items():
        lines.append(f"{name:10} {row['psnr']:8.2f} {row['ssim']:7.4f} {row['ms_ssim']:8.4f}")
    lines.append(f"{facts['verdict']}: {facts['sentence']}")
    for opinion in facts.get("second_opinions", []):
        lines.append(
            f"second opinion, {opinion['scan']} outside the training scans: {opinion['psnr_matched']:.2f} dB, "
            f"correlation {opinion['correlation']:.3f}"
        )
    noise_free = (facts.get("intervals") or {}).get("noise_free")
    lines += [f"noise-free: {noise_free['sentence']}"] if noise_free else []
    lines += [*picture_measures.summary_lines(facts), *summary_lines(facts)]
    flagged = [f"{name} {100 * share:.2f} %" for name, share in facts["flags"].items() if share > 0]
    lines.append(f"flagged: {', '.join(flagged) or 'nothing'}")
    lines += [f"note: {note}" for note in facts["notes"]]
    lines.append(f"{facts['folder']}: {', '.join(facts['files'])}")
    return "\n".join(lines)


def headline_facts(done: Finished | FinishedVolume) -> tuple[tuple[str, str], ...]:
    """What stands below the verdict, for pictures and volumes."""
    grid = done.enhanced.grid
    size = " × ".join(f"{p:.4g}" for p in grid.pixel_size_nm)
    ratio = " × ".join(f"{r:.3f}" for r in done.patches.sr_factor)
    worst = max(p.residual.split_error_hr_px for p in done.pairs)
    objectives = sorted({str(p.residual.method["objective"]) for p in done.pairs if "objective" in p.residual.method})
    shape = " × ".join(map(str, grid.shape))
    faster = done.facts.get("acceleration")
    time = picture_measures.acceleration_facts(faster) if faster else ()
    one, many = ("fine px", "px") if grid.ndim == 2 else ("fine voxels", "voxels")
    return (
        ("made by", str(done.facts["method"])),
        (f"ratio ({' × '.join(grid.axes.lower())})", ratio),
        ("output", f"{shape} {many} of {size} nm, {done.enhanced.dtype}"),
        ("registration, split error", f"{worst:.2f} {one}"),
        *((("registration compared", " and ".join(_OBJECTIVES[o] for o in objectives)),) if objectives else ()),
        ("held-out blocks", str(done.report.facts["n_blocks"])),
        *_noise_free(done.facts.get("intervals")),
        *time,
        ("run time", f"{done.facts['seconds']:.0f} s"),
    )


def _noise_free(facts: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """The error against the sample, and that of interpolation."""
    found = (facts or {}).get("noise_free") or {}
    if found.get("rms") is None:
        return ()
    other = found.get("interpolation_rms")
    beside = "" if other is None else f", interpolation {other:.4g}"
    return (("error without the fine scan's noise", f"{found['rms']:.4g} grey levels (rms){beside}"),)


def _overview(done: Finished) -> rp.Scene:
    """The whole map; positions count from the map's upper-left edge."""
    extent = _two(done.lr.grid.extent_nm)
    edge = np.asarray(done.lr.grid.edge_nm)
    boxes = []
    for pair in done.pairs:
        nm = pair.lr_from_hr(corners(pair.hr.grid)) - edge
        (y0, x0), (y1, x1) = nm.min(axis=0), nm.max(axis=0)
        boxes.append(rp.Box(pair.hr.name, y0, x0, y1, x1, "fine"))
    for k, region in enumerate(done.patches.regions("test")):
        (y0, x0), (y1, x1) = (np.asarray(e) - edge for e in region.edges_nm)
        boxes.append(rp.Box(f"test {k + 1}", y0, x0, y1, x1, "held-out"))
    layers = [rp.overview_layer("coarse", done.lr), rp.overview_layer("enhanced", done.enhanced)]
    return rp.Scene(
        "The whole map",
        "Coarse and enhanced, reduced for display. Boxes: fine scans, and the held-out blocks the verdict rests on.",
        extent,
        tuple(layers),
        origin_nm=_two(done.lr.grid.edge_nm),
        flags=rp.flags_overview(done.flags),
        flag_shares=done.flags.shares(),
        boxes=tuple(boxes),
        mode="swipe",
        lossless=False,
        overlay=page_trust.overlay(done),
    )


def _crops(done: Finished) -> list[rp.Scene]:
    """Two test places, one training place, and the most doubtful place of the map."""
    scenes = []
    piece = max(done.patches.pieces, key=lambda p: int(p.role_fine("test").sum()))
    for role, count in (("test", 2), ("train", 1)):
        for k, box in enumerate(_places(piece, role, count)):
            words = {"test": "Held out: no network saw the fine scan here.", "train": "Training area, for comparison."}
            title = f"{'Held-out place' if role == 'test' else 'Training place'} {k + 1}"
            scenes.append(_crop_scene(done, piece.out_grid.crop(*box), title, words[role], piece))
    doubtful = _most_doubtful(done)
    if doubtful is not None:
        text = "Where most pixels are flagged. No fine scan was recorded here unless a fine layer is shown."
        scenes.append(_crop_scene(done, doubtful, "Most doubtful place", text, None))
    return scenes


def _places(piece: Piece, role: str, count: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Boxes of CROP_PX with the most pixels of a role; later ones avoid earlier ones."""
    mask = piece.role_fine(role).astype(np.float32)
    h, w = mask.shape
    size = min(CROP_PX, h), min(CROP_PX, w)
    found = []
    for _ in range(count):
        total = np.pad(mask, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        sums = total[size[0] :, size[1] :] - total[: -size[0], size[1] :] - total[size[0] :, : -size[1]]
        sums = sums + total[: -size[0], : -size[1]]
        y, x = (int(v) for v in np.unravel_index(int(sums.argmax()), sums.shape))
        if sums[y, x] < 0.1 * size[0] * size[1]:
            break
        found.append(((y, x), (y + size[0], x + size[1])))
        a, b = size[0] // 2, size[1] // 2  # a later box may overlap this one by half at most
        mask[max(0, y - a) : y + size[0] + a, max(0, x - b) : x + size[1] + b] = 0
    return found


def _most_doubtful(done: Finished) -> Grid | None:
    """The box of the output with the most flagged coarse pixels, the map's border apart."""
    flags = np.asarray(done.flags.flags[...])
    bits = sum(bit for name, (bit, _) in FLAGS.items() if name not in ("border", "saturated"))
    marked = (flags & bits) != 0
    ratio = done.enhanced.grid.shape[0] / flags.shape[0]
    side = max(1, min(round(CROP_PX / ratio), *flags.shape))
    h, w = (n // side for n in flags.shape)
    counts = marked[: h * side, : w * side].reshape(h, side, w, side).sum(axis=(1, 3))
    if counts.max() == 0:
        return None
    y, x = np.unravel_index(int(counts.argmax()), counts.shape)
    grid = done.enhanced.grid
    start = [round(float(v) * side * n / m) for v, n, m in zip((y, x), grid.shape, flags.shape, strict=True)]
    start = [max(0, min(s, n - CROP_PX)) for s, n in zip(start, grid.shape, strict=True)]
    return grid.crop(start, [min(s + CROP_PX, n) for s, n in zip(start, grid.shape, strict=True)])


def _crop_scene(done: Finished, grid: Grid, title: str, caption: str, piece: Piece | None) -> rp.Scene:
    """coarse | bicubic | enhanced | fine on one piece of the output grid."""
    coarse = rp.crop_layer("coarse", done.lr, grid.edge_nm, grid.extent_nm)
    # the coarse scan has grey levels of its own (another detector, another gain)
    coarse = replace(coarse, window=rp.grey_window([coarse.data]))
    bicubic = interpolated(done, grid)
    layers = [coarse, rp.Layer("bicubic", bicubic), rp.Layer("enhanced", _native(done.enhanced, grid))]
    if piece is not None:
        start = np.rint(piece.out_grid.to_index(grid.origin_nm)).astype(int)
        box = tuple(slice(s, s + n) for s, n in zip(start, grid.shape, strict=True))
        layers.append(rp.Layer("fine", np.where(piece.weight[box], piece.hr[box], np.nan).astype(np.float32)))
    return rp.Scene(title, caption, _two(grid.extent_nm), tuple(layers), _two(grid.edge_nm), done.flags)


def interpolated(done: Finished, grid: Grid) -> NDArray[np.float32]:
    """Bicubic interpolation of the coarse map on a piece of the output grid, in the fine scan's grey levels."""
    return judging.interpolated(done.patches, done.lr, done.contestants["bicubic"], grid)


def _native(image: Image, grid: Grid) -> NDArray[Any]:
    values = on_grid(image, grid)
    return values.astype(image.dtype) if np.isfinite(values).all() else values


def _registration(pair: Pair) -> rp.RegistrationPicture:
    """Coarse brought onto the fine scan (at a pitch of about 800 px), the fine scan, and their checkerboard."""
    thin = max(1, max(pair.hr.grid.shape) // 800)
    grid = pair.hr.grid.coarsen(thin)
    hr = resampling.resample(pair.hr, onto=grid).data
    lr = resampling.resample(pair.lr, onto=grid, through=pair.lr_from_hr).data
    both = np.isfinite(lr) & np.isfinite(hr)
    gain, offset = np.polyfit(lr[both].astype(float), hr[both].astype(float), 1) if both.sum() > 16 else (1.0, 0.0)
    mapped = (gain * lr + offset).astype(np.float32)
    layers = (
        rp.Layer("coarse on the fine grid", mapped),
        rp.Layer("fine", hr),
        rp.Layer("checkerboard", rp.checkerboard(mapped, hr)),
    )
    caption = "Structures must run through the checkerboard without a step; coarse grey levels are mapped linearly."
    scene = rp.Scene("Coarse and fine in one frame", caption, _two(grid.extent_nm), layers)
    facts = registration_facts(pair)
    return rp.RegistrationPicture(pair.hr.name, pair.verdict.value, pair.reasons, pair.residual, scene, facts)


def registration_facts(pair: Pair) -> tuple[tuple[str, str], ...]:
    """How a pair was registered, in words."""
    return tuple((k.replace("_", " "), _text(v)) for k, v in pair.residual.method.items())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)


def learning(training: Mapping[str, Any], references: Sequence[str]) -> tuple[rp.Plot, ...]:
    """Learning curves of the networks, with the levels of what they have to beat."""
    history: Sequence[Mapping[str, Any]] = training.get("history", [])
    members = sorted({h.get("member", 0) for h in history})
    if not history:
        return ()
    series = []
    for m in members:
        rows = [h for h in history if h.get("member", 0) == m]
        series.append(rp.Series(f"network {m + 1}", [h["step"] for h in rows], [h["stop_psnr"] for h in rows]))
    last = max(h["step"] for h in history)
    for name in references:
        level = training["stop_psnr"][name]
        series.append(rp.Series(name, [0, last], [level, level], reference=True))
    note = "Measured on the stop blocks; the best point of each network is kept."
    return (rp.Plot("Learning", "step", "PSNR, dB", tuple(series), note),)


def _histograms(done: Finished) -> tuple[rp.Plot, ...]:
    step = max(1, int(np.sqrt(done.enhanced.grid.size / 4e6)))
    arrays = {
        "enhanced": np.asarray(done.enhanced.data[::step, ::step]),
        "fine scan": done.pairs[0].hr.array(),
        "coarse": done.lr.array(),
    }
    note = "Enhanced and fine scan share grey levels; the coarse scan may have others."
    return (rp.Plot("Grey levels", "grey level", "share, %", rp.histogram_series(arrays), note),)


def spectra(report: TrustReport) -> tuple[rp.Plot, ...]:
    """Power spectra, and the correlation with the fine scan by frequency."""
    curves = report.curves
    if "frequency_per_nm" not in curves:
        return ()
    x = [1000 * v for v in curves["frequency_per_nm"]]
    kind = "shell" if report.facts.get("correlation") == "shells" else "ring"

    def series(table: Mapping[str, Sequence[float]]) -> tuple[rp.Series, ...]:
        return tuple(rp.Series(n, x, y, reference=n == "reference") for n, y in table.items() if len(y) == len(x))

    return (
        rp.Plot(
            "Power spectrum", "cycles per µm", "power", series(curves["spectrum"]), "On the test blocks.", log_y=True
        ),
        rp.Plot(
            f"Fourier {kind} correlation with the fine scan", "cycles per µm", "correlation", series(curves["frc"])
        ),
    )


def _tables(report: TrustReport, method: str) -> list[rp.MetricTable]:
    tables = score_tables(report, METRICS)
    return [*tables, _subset_table(report, method)] if report.subsets else tables


def score_tables(
    report: TrustReport, metrics: Mapping[str, Metric] | Mapping[str, VolumeMetric]
) -> list[rp.MetricTable]:
    """Scores as they are, and after a gain and offset fit."""
    columns = tuple(
        rp.Column(m.replace("_", "-").upper(), row.unit, "higher" if row.higher_is_better else "lower")
        for m, row in metrics.items()
    )
    n = report.facts["n_blocks"]
    tables = []
    for kind, words in (("raw", "grey levels as they are"), ("matched", "after one global gain and offset fit")):
        rows = {}
        for name, scores in report.scores.items():
            picked = [scores[m] for m in metrics]
            rows[name] = [
                rp.Score(s.raw, s.raw_error) if kind == "raw" else rp.Score(s.matched, s.matched_error) for s in picked
            ]
        caption = f"Mean ± standard error over {n} held-out blocks; {words}."
        tables.append(rp.MetricTable(f"Scores, {kind}", caption, columns, rows, chosen="enhanced"))
    return tables


def _subset_table(report: TrustReport, method: str) -> rp.MetricTable:
    names = list(report.subsets)
    columns = tuple(rp.Column(f"PSNR, {n}", "dB", "higher") for n in names)
    rows = {
        who: [rp.Score(report.subsets[n]["psnr"][who]) if who in report.subsets[n]["psnr"] else None for n in names]
        for who in report.scores
    }
    caption = f"The same pixels apart: edges, and the brightest and darkest 5 %. The result was made by {method}."
    return rp.MetricTable("Edges and extremes", caption, columns, rows, chosen="enhanced")


def corners(grid: Grid) -> NDArray[np.float64]:
    """Outer corners of a grid (4, 2), nm."""
    h, w = grid.shape
    return grid.to_nm(np.array([[-0.5, -0.5], [-0.5, w - 0.5], [h - 0.5, -0.5], [h - 0.5, w - 0.5]]))


def _two(values: Any) -> tuple[float, float]:
    a, b = (float(v) for v in values)
    return a, b
