"""From what a volume run has made to what its report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from finescan import reporting as rp
from finescan.models import Model
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.trust import VOLUME_METRICS, TrustReport
from finescan.trust.map_intervals import Intervals
from finescan.values import Grid, Image, Pair, Region, TrustMap
from finescan.workflow import page_errors, page_merge, page_trust
from finescan.workflow.page import headline_facts, learning, registration_facts, score_tables, spectra
from finescan.workflow.place_maps import HeldOutMaps
from finescan.workflow.plan import Plan
from finescan.workflow.volume_errors import volume_chapter
from finescan.workflow.volume_judging import Measured, fine_box, held_out

MOST_SHOWN = 192  # voxels along an edge of a close look
HISTOGRAM_VOXELS = 4e6


@dataclass(frozen=True)
class FinishedVolume:
    """Everything a volume run has made; ``facts`` are those of trust.json."""

    lr: Image
    pairs: tuple[Pair, ...]
    patches: VolumePatchSet
    interpolated: Model
    model: Model
    enhanced: Image
    flags: TrustMap
    report: TrustReport
    pores: Measured
    facts: Mapping[str, Any]
    intervals: Intervals | None = None
    local: HeldOutMaps | None = None


def build(done: FinishedVolume, plan: Plan) -> rp.Report:
    """The report of a finished volume run."""
    card = done.model.card
    return rp.Report(
        title=done.lr.name,
        answer=rp.Answer(done.report.verdict, done.report.sentence, headline_facts(done)),
        overview=_overview(done),
        crops=tuple(_close_looks(done)),
        registrations=tuple(_registration(done, p) for p in done.pairs),
        curves=rp.Curves(learning(card.training, ("interpolated",)), _histograms(done), spectra(done.report)),
        metrics=tuple(score_tables(done.report, VOLUME_METRICS)),
        trust=(
            *page_merge.volume_chapters(done),
            *page_trust.volume_chapters(done),
            *page_errors.chapters(done),
        ),
        measurements=_measurements(done),
        plan=tuple(plan.rows()),
        notes=tuple(done.facts["notes"]),
        provenance={
            "inputs": plan.inputs,
            "software": dict(card.provenance),
            "model": {k: v for k, v in card.to_dict().items() if k not in ("training", "provenance")},
            "acquisition": {i.name: i.acquisition.to_dict() for i in (done.lr, *(p.hr for p in done.pairs))},
        },
    )


def _overview(done: FinishedVolume) -> rp.VolumeScene:
    boxes = [rp.VolumeBox.of(p.name, fine_box(done.patches, p)) for p in done.patches.pieces]
    for k, (region, _) in enumerate(held_out(done.patches)):
        boxes.append(rp.VolumeBox.of(f"test {k + 1}", region, "held-out"))
    layers = [_coarse(done), rp.VolumeLayer("enhanced", done.enhanced), *_uncertainty(done)]
    return rp.VolumeScene(
        "The whole volume",
        "Coarse and enhanced, at the slices the slider stops at. Boxes: fine scans, and the held-out blocks the "
        "verdict rests on.",
        done.enhanced.grid,
        tuple(layers),
        flags=done.flags,
        flag_shares=done.flags.shares(),
        boxes=tuple(boxes),
        mode="swipe",
        budget_mb=6.0,
    )


def _coarse(done: FinishedVolume) -> rp.VolumeLayer:
    """The coarse volume, in a grey window of its own."""
    middle = np.asarray(done.lr.data[done.lr.grid.shape[0] // 2])
    return rp.VolumeLayer("coarse", done.lr, rp.grey_window([middle]))


def _uncertainty(done: FinishedVolume) -> list[rp.VolumeLayer]:
    """Half width of the 90 % interval, in colours."""
    half = None if done.intervals is None else done.intervals.uncertainty
    if half is None:
        return []
    top = float(np.nanpercentile(np.asarray(half.data[half.grid.shape[0] // 2]), 99.5)) or 1.0
    return [rp.VolumeLayer("± (90 %)", half, (0.0, top), "cividis", "grey levels")]


def _close_looks(done: FinishedVolume) -> list[rp.VolumeScene]:
    """The first held-out places at full resolution, with the fine scan beside."""
    scenes = []
    for k, (region, piece) in enumerate(held_out(done.patches)[:2]):
        grid = _around(done.patches.out_grid, region)
        layers = (
            _coarse(done),
            rp.VolumeLayer("interpolated", _piece_image(done, piece, coarse=True)),
            rp.VolumeLayer("enhanced", done.enhanced),
            rp.VolumeLayer("fine", _piece_image(done, piece)),
        )
        box = rp.VolumeBox.of("held out", region, "held-out")
        scenes.append(
            rp.VolumeScene(
                f"Held-out place {k + 1}",
                "Inside the box no network saw the fine scan.",
                grid,
                layers,
                boxes=(box,),
                mode="side",
                slices=25,
                budget_mb=3.0,
            )
        )
    return scenes


def _around(grid: Grid, region: Region) -> Grid:
    """The region with some surroundings, at most MOST_SHOWN voxels along an edge."""
    start, stop = [], []
    for a, b, n in zip(region.start, region.stop, grid.shape, strict=True):
        more = max(0, min(MOST_SHOWN, n) - (b - a)) // 2
        low = max(0, a - min(more, 24))
        start.append(low)
        stop.append(min(n, b + 24, low + MOST_SHOWN))
    return grid.crop(start, stop)


def _piece_image(done: FinishedVolume, piece: VolumePiece, *, coarse: bool = False) -> Image:
    stop = [s + n for s, n in zip(piece.start, piece.shape, strict=True)]
    grid = done.patches.out_grid.crop(piece.start, stop)
    if coarse:
        return Image((done.patches.gain * piece.lr + done.patches.offset).astype(np.float32), grid, "interpolated")
    return Image(np.where(piece.weight, piece.hr, np.nan).astype(np.float32), grid, piece.name)


def _registration(done: FinishedVolume, pair: Pair) -> rp.RegistrationPicture:
    piece = next(p for p in done.patches.pieces if p.name == pair.hr.name)
    scene = rp.VolumeScene(
        "Coarse and fine in one frame",
        "The coarse volume, its grey levels mapped linearly, and the fine one, both on the grid of the result.",
        fine_box(done.patches, piece).own_grid,
        (
            rp.VolumeLayer("coarse on the fine grid", _piece_image(done, piece, coarse=True)),
            rp.VolumeLayer("fine", _piece_image(done, piece)),
        ),
        mode="swipe",
        slices=17,
        budget_mb=2.0,
    )
    facts = registration_facts(pair)
    return rp.RegistrationPicture(pair.hr.name, pair.verdict.value, pair.reasons, pair.residual, scene, facts)


def _histograms(done: FinishedVolume) -> tuple[rp.Plot, ...]:
    step = max(1, round((done.enhanced.grid.size / HISTOGRAM_VOXELS) ** (1 / 3)))
    piece = done.patches.pieces[0]
    arrays = {
        "enhanced": np.asarray(done.enhanced.data[::step, ::step, ::step]),
        "fine scan": np.where(piece.weight, piece.hr, np.nan)[::step, ::step, ::step],
        "coarse": np.asarray(done.lr.data[::step, ::step, ::step]),
    }
    note = "Enhanced and fine scan share grey levels; the coarse scan may have others."
    return (rp.Plot("Grey levels", "grey level", "share, %", rp.histogram_series(arrays), note),)


def _measurements(done: FinishedVolume) -> tuple[rp.Chapter, ...]:
    if not done.pores.inside:
        return ()
    share = done.pores.facts["inside"]["trained_share"]
    caption = (
        f"Every pore is matched with those of the fine scan. The network learned from {100 * share:.0f} % of the fine "
        "scan, so this shows what it can do at best; the held-out blocks above show what it does elsewhere."
    )
    bars = volume_chapter(done.pores.facts.get("error_bars"))
    return (rp.pore_chapter(done.pores.inside, caption=caption), *bars)
