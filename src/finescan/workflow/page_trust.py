"""How far a result can be trusted and where to scan again, as the chapters of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan import reporting as rp
from finescan.rescan import FieldOfView, spoken
from finescan.values import ADVICE, FLAGS, Image, TrustMap, flag_bits
from finescan.workflow.judging import on_grid
from finescan.workflow.pasting import NOISE_FREE_FILE
from finescan.workflow.suggesting import Suggestion

if TYPE_CHECKING:
    from finescan.workflow.page import Finished
    from finescan.workflow.page_volume import FinishedVolume

SAMPLE_LAYER = "± grey levels of the sample (90 %)"
THUMBNAIL_PX = 96  # output pixels along a picture of a place
_FLAG_COLUMNS = rp.Column("flag"), rp.Column("share", "%"), rp.Column("what it means"), rp.Column("what to do")


def chapters(done: Finished) -> tuple[rp.Chapter, ...]:
    """Intervals, reasons to doubt with their worst places, parts unlike the training area, and where to scan again."""
    parts = (_intervals(done.facts), _flags(done), _unlike(done), _places(done))
    return tuple(c for c in parts if c is not None)


def volume_chapters(done: FinishedVolume) -> tuple[rp.Chapter, ...]:
    """Intervals, and reasons to doubt, of a volume."""
    rows = [
        _flag_cells(name, share)
        for name, share in sorted(done.flags.shares().items(), key=lambda s: -s[1])
        if share > 0
    ]
    part = rp.Table("Flags", _FLAG_COLUMNS, tuple(rows)) if rows else "No voxel is flagged."
    doubts = rp.Chapter("Reasons to doubt", (*_ranked(done.facts), part))
    again = _volume_places(done.lr, done.facts)
    return tuple(c for c in (_intervals(done.facts), doubts, again) if c is not None)


def _volume_places(lr: Image, facts: Mapping[str, Any]) -> rp.Chapter:
    """Parts of a volume worth scanning again."""
    found = facts["suggested_rescans"]
    if not found["places"]:
        return rp.Chapter("Where to scan again", (found["reason"],))
    columns = (
        rp.Column("place"),
        rp.Column("x, y, z of the middle", "µm"),
        rp.Column("x, y, z of the middle", "coarse voxels"),
        rp.Column("removes", "% of the expected error"),
        rp.Column("flags"),
    )
    rows = []
    for k, place in enumerate(found["places"], 1):
        middle = place["centre_px"]
        um = (np.array(middle) + 0.5) * lr.grid.pixel_size_nm / 1e3
        at = (", ".join(f"{v:.4g}" for v in um[::-1]), ", ".join(f"{v:.1f}" for v in middle[::-1]))
        nm = [v * p for n in ("start_px", "stop_px") for v, p in zip(place[n], lr.grid.pixel_size_nm, strict=True)]
        cells = (str(k), *at, round(100 * place["reduction"], 1), " ".join(place["reasons"]))
        rows.append(rp.Place(cells, tuple(nm)))
    field = FieldOfView(tuple(found["size_nm"]), found.get("rotation_axis") or "")
    total = 100 * sum(p["reduction"] for p in found["places"])
    words = (
        f"Fine scans of these {len(rows)} places of {field} would remove {total:.0f} % of the expected "
        f"error: {found['error_unit']}. Micrometres count from the outer corner of the coarse volume. "
        f"`finescan rescan {facts['folder']} --budget 8h --scan-time 2h` plans for a budget, and `finescan merge` "
        "takes the new scans in."
    )
    return rp.Chapter("Where to scan again", (words, rp.Places("Places", columns, tuple(rows))))


def overlay(done: Finished) -> rp.Layer | None:
    """The half width of the 90 % interval, of the sample itself where that is known, reduced for the overview."""
    if done.intervals is None or done.intervals.uncertainty is None:
        return None
    sample = done.intervals.noise_free
    half, name = (done.intervals.uncertainty, "± grey levels (90 %)") if sample is None else (sample, SAMPLE_LAYER)
    layer = rp.overview_layer(name, half)
    top = float(np.nanpercentile(layer.data, 99.5)) or 1.0
    return rp.Layer(layer.name, layer.data, layer.pixel_size_nm, layer.offset_nm, (0.0, top))


# ------------------------------------------------------------------ intervals
def _intervals(facts: Mapping[str, Any]) -> rp.Chapter | None:
    found = facts.get("intervals")
    if not found or not found.get("levels"):
        return None
    columns = (
        rp.Column("interval"),
        rp.Column("holds the fine scan", "%"),
        rp.Column("mean width", "grey levels"),
        rp.Column("width if constant", "grey levels"),
        rp.Column("narrower at equal coverage by", "%"),
    )
    names = ("coverage", "coverage_error", "width", "constant_width", "narrower")
    figures_of = {n: found[n] or [None] * len(found["levels"]) for n in names}
    rows = []
    for k, level in enumerate(found["levels"]):
        mean, error, width, constant, narrower = (figures_of[n][k] for n in names)
        held = None if mean is None else rp.Score(100 * mean, None if error is None else 100 * error)
        rows.append(
            (f"{100 * level:g} %", held, width, constant, None if narrower is None else round(100 * narrower, 1))
        )
    caption = f"Calibrated on {found['blocks']} blocks of about {found['block_px']:.0f} px along a side"
    checked = f", checked on {found['check_blocks']} others" if found["check_blocks"] else ""
    table = rp.Table("Intervals", columns, tuple(rows), f"{caption}{checked}.")
    curve = found.get("curve") or {}
    figures = [_coverage(curve)] if curve.get("nominal") else []
    words = [found["sentence"], *_noise_free(found), *found.get("notes", ())]
    return rp.Chapter("How far off a pixel may be", (*words, table, *figures))


def _noise_free(facts: Mapping[str, Any]) -> list[str]:
    """How far the map is from the sample, and where that is said for every pixel."""
    found = facts.get("noise_free")
    if not found:
        return []
    if "spread_model" not in found:
        return [found["sentence"]]
    return [
        f"{found['sentence']} {NOISE_FREE_FILE} holds it for every pixel, as ± of a 90 % interval: estimated, not "
        "calibrated, because the sample without noise was never recorded."
    ]


def _coverage(curve: Mapping[str, Sequence[float]]) -> rp.Figure:
    nominal = [100 * v for v in curve["nominal"]]
    achieved = [100 * v for v in curve["achieved"]]
    series = (
        rp.Series("achieved", nominal, achieved),
        rp.Series("as promised", nominal, nominal, reference=True),
    )
    svg = rp.line_plot(series, "promised, %", "achieved, %", title="Coverage of the intervals")
    rows = tuple(zip(nominal, achieved, strict=True))
    table = rp.Table("Coverage of the intervals", (rp.Column("promised", "%"), rp.Column("achieved", "%")), rows)
    note = "On blocks of fine scan that neither training nor calibration has seen. On the line, promises are kept."
    return rp.Figure("Coverage of the intervals", svg, note, (table,))


# ------------------------------------------------------------------ flags
def _flags(done: Finished) -> rp.Chapter:
    rows = []
    for name, share in done.flags.shares().items():
        if share > 0:
            box = worst_box(done.flags, name)
            rows.append(rp.Place(_flag_cells(name, share), place_box(done.lr, box), _picture(done, box)))
    if not rows:
        return rp.Chapter("Reasons to doubt", ("No pixel is flagged.",))
    rows.sort(key=lambda r: -float(r.cells[1]))  # type: ignore[arg-type]
    caption = "Pictures: the enhanced map where most pixels carry the flag."
    table = rp.Places("Flags", _FLAG_COLUMNS, tuple(rows), caption, _window(done))
    return rp.Chapter("Reasons to doubt", (*_ranked(done.facts), table))


def _ranked(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """How well lost and invented objects are told where that can be checked; what else is known is among the notes."""
    told = (facts.get("doubts") or {}).get("sentence", "")
    return (told,) if told and told not in facts["notes"] else ()


def _flag_cells(name: str, share: float) -> tuple[str, float, str, str]:
    return name.replace("_", " "), round(100 * share, 2), FLAGS[name][1], ADVICE[name]


def worst_box(flags: TrustMap, name: str, side: int = 16) -> tuple[slice, slice]:
    """The square of coarse pixels with the most flagged ones."""
    marked = (np.asarray(flags.flags[...]) & flag_bits(name)) != 0
    side = min(side, *marked.shape)
    total = np.pad(marked, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    y, x = (int(v) for v in np.unravel_index(int(sums.argmax()), sums.shape))
    return slice(y, y + side), slice(x, x + side)


def place_box(lr: Image, box: tuple[slice, slice]) -> tuple[float, float, float, float]:
    """A box of coarse pixels as nm from the map's upper left edge."""
    (y, x), (rows, columns) = lr.grid.pixel_size_nm, box
    return rows.start * y, columns.start * x, rows.stop * y, columns.stop * x


def thumbnail(enhanced: Image, nm: ArrayLike) -> NDArray[np.float32]:
    """A small part of the result around a place, inside the map."""
    out = enhanced.grid
    centre = np.rint(out.to_index(nm)).astype(int)
    size = np.minimum(THUMBNAIL_PX, out.shape)
    start = np.clip(centre - size // 2, 0, np.array(out.shape) - size)
    return on_grid(enhanced, out.crop(start.tolist(), (start + size).tolist()))


def _picture(done: Finished, box: tuple[slice, slice]) -> NDArray[np.float32]:
    """The result around the middle of a box of coarse pixels."""
    return thumbnail(done.enhanced, done.lr.grid.to_nm([(b.start + b.stop - 1) / 2 for b in box]))


def _window(done: Finished) -> tuple[float, float]:
    return rp.grey_window([rp.overview_of(done.enhanced.data)])


# ------------------------------------------------------------------ parts unlike the training area
def _unlike(done: Finished) -> rp.Chapter | None:
    places = (done.facts.get("likeness") or {}).get("places")
    if not places or not places["worst"]:
        return None
    scale = np.array(done.lr.grid.shape) / _work_shape(done)
    rows = []
    for k, part in enumerate(places["worst"], 1):
        start, stop = (np.rint(np.array(part[n]) * scale).astype(int).tolist() for n in ("start_px", "stop_px"))
        box = slice(start[0], stop[0]), slice(start[1], stop[1])
        rows.append(rp.Place((f"part {k}", part["distance"]), place_box(done.lr, box), _picture(done, box)))
    words = (
        f"{100 * places['unlike_share']:.0f} % of the {places['parts']} parts of the map differ from what the model "
        "learned from by more than parts of one sample do."
    )
    columns = (rp.Column("place"), rp.Column("distance, limit 1"))
    return rp.Chapter(
        "Unlike the training area", (words, rp.Places("Most unlike", columns, tuple(rows), "", _window(done)))
    )


def _work_shape(done: Finished) -> NDArray[np.int64]:
    card = done.model.card
    return np.array(done.lr.grid.refine(card.sr_factor).coarsen(card.factor).shape)


# ------------------------------------------------------------------ where to scan again
def _places(done: Finished) -> rp.Chapter | None:
    found: Suggestion | None = done.suggestion
    if found is None:
        return None
    if found.plan is None:
        return rp.Chapter("Where to scan again", (found.reason,))
    timed = found.timed
    columns = (
        rp.Column("place"),
        rp.Column("x, y of the middle", "µm"),
        rp.Column("removes", "% of the expected error"),
        *((rp.Column("takes"),) if timed else ()),
        rp.Column("why"),
    )
    rows = []
    for k, field in enumerate(found.fields, 1):
        (top, left), (bottom, right) = field.start_px, field.stop_px
        box = slice(round(top), round(bottom)), slice(round(left), round(right))
        y, x = np.array(field.centre_px) * done.lr.grid.pixel_size_nm / 1e3
        words = " ".join(field.reasons)
        took = (spoken(field.seconds),) if timed else ()
        cells = (str(k), f"{x:.4g}, {y:.4g}", round(100 * field.reduction, 1), *took, words)
        rows.append(rp.Place(cells, place_box(done.lr, box), _picture(done, box)))
    total = 100 * sum(f.reduction for f in found.fields)
    words = (
        f"Fine scans of these {len(rows)} places of {found.plan.frame} would remove {total:.0f} % of the expected "
        f"error: {found.plan.error_unit}. `finescan rescan {done.facts['folder']} --budget 20min` plans for a budget "
        "of beam time and writes lists that microscopes read; `finescan merge` takes the new scans in."
    )
    return rp.Chapter("Where to scan again", (words, rp.Places("Places", columns, tuple(rows), "", _window(done))))
