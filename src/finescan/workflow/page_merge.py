"""What was recorded since, as a chapter of the report of a merged run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from finescan import reporting as rp
from finescan.values import Pair
from finescan.workflow import page_trust
from finescan.workflow.foreseen import held

if TYPE_CHECKING:
    from finescan.workflow.page import Finished
    from finescan.workflow.page_volume import FinishedVolume

_COLUMNS = (
    rp.Column("rescan"),
    rp.Column("planned as"),
    rp.Column("off its planned middle", "µm"),
    rp.Column("split error", "fine px"),
    rp.Column("gain of its grey levels"),
    rp.Column("foreseen by the 90 % intervals", "%"),
    rp.Column("rms error before", "grey levels"),
)


def chapters(done: Finished) -> tuple[rp.Chapter, ...]:
    """The rescans with their places; nothing for a run without any."""
    merged = done.facts.get("merged")
    if not merged:
        return ()
    known = {r["name"]: r for r in merged.get("rescans", ())}
    pairs = [p for p in done.pairs if p.hr.name in merged["scans"]]
    rows = tuple(_row(done, p, known.get(p.hr.name, {})) for p in pairs)
    places = rp.Places("Rescans", _COLUMNS, rows, "Pictures: the result at the middle of each.")
    return (rp.Chapter("Measured again", (_words(merged, done.facts), places)),)


def volume_chapters(done: FinishedVolume) -> tuple[rp.Chapter, ...]:
    """The rescans of a volume; nothing for a run without any."""
    merged = done.facts.get("merged")
    if not merged:
        return ()
    known = {r["name"]: r for r in merged.get("rescans", ())}
    pairs = [p for p in done.pairs if p.hr.name in merged["scans"]]
    rows = tuple(_volume_cells(p, known.get(p.hr.name, {})) for p in pairs)
    columns = (_COLUMNS[0], rp.Column("middle, z y x", "coarse voxels"), *_COLUMNS[3:])
    table = rp.Table("Rescans", columns, rows, "Their places are drawn in the whole volume above.")
    return (rp.Chapter("Measured again", (_words(merged, done.facts), table)),)


def _row(done: Finished, pair: Pair, facts: Mapping[str, Any]) -> rp.Place:
    h, w = pair.hr.grid.shape
    rim = np.array([(y, x) for y in (-0.5, h - 0.5) for x in (-0.5, w - 0.5)])
    nm = pair.lr_from_hr(pair.hr.grid.to_nm(rim)) - np.asarray(done.lr.grid.edge_nm)
    (y0, x0), (y1, x1) = nm.min(axis=0), nm.max(axis=0)
    picture = page_trust.thumbnail(done.enhanced, nm.mean(axis=0) + done.lr.grid.edge_nm)
    return rp.Place(_cells(pair, facts), (float(y0), float(x0), float(y1), float(x1)), picture)


def _cells(pair: Pair, facts: Mapping[str, Any]) -> tuple[Any, ...]:
    grey, said = facts.get("grey"), facts.get("foreseen")
    return (
        pair.hr.name,
        facts.get("field") or "",
        facts.get("away_um"),
        pair.residual.split_error_hr_px,
        None if grey is None else grey[0],
        round(100 * held(said), 1) if said else None,
        said["rms_error"] if said else None,
    )


def _volume_cells(pair: Pair, facts: Mapping[str, Any]) -> tuple[Any, ...]:
    name, _, _, *rest = _cells(pair, facts)
    middle = ", ".join(f"{v:.1f}" for v in facts["centre_px"]) if "centre_px" in facts else None
    return (name, middle, *rest)


def _words(merged: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    count = len(merged["scans"])
    scans = f"{count} rescan{'' if count == 1 else 's'}"
    text = (
        f"{100 * merged['measured_share']:.2f} % of the result was recorded by {scans}: these grey levels stand in the "
        "result, with borders that fade. The verdict above rests on the result as it was computed, in places that no "
        "training has seen."
    )
    before = (merged.get("before") or {}).get("enhanced")
    if not before:
        return text
    now = facts["scores"]["enhanced"]
    return f"{text} There it has {now['psnr']:.2f} dB; before the rescans it had {before['psnr']:.2f} dB."
