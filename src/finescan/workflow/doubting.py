"""The step of a run that predicts lost and invented objects, also where no fine scan was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.patches import ROLES, PatchSet, Piece
from finescan.quantification import Objects, calmed, choose_objects
from finescan.quantification.alike import SMOOTH_PX
from finescan.resampling import sample
from finescan.trust import doubt, doubt_flags
from finescan.trust.consistency import Consistency
from finescan.trust.doubt_features import Box, Sought
from finescan.trust.doubt_objects import Seen
from finescan.values import Circle, Grid, Image, Pair, TrustMap, flag_bits
from finescan.workflow.judging import on_grid

LEARNED_FROM = ("train", "stop")  # the test blocks judge
TELLING = 5  # wrong and right objects in the test blocks from which a ranking is stated
_VERSION, _ROWS = 2, 512
WORDS = {"omission": "lost", "invention": "invented"}
FOREIGN = (
    "Coarse and fine scan show different things, so lost and invented objects are not predicted: no pixel is "
    "flagged as omission or invention."
)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Doubted:
    """Flags with "omission" and "invention" set, and what is known of them.

    Parameters
    ----------
    flags : on the grid of the coarse map.
    facts : plain JSON values for ``trust.json``.
    notes : sentences for the user.
    maps : per kind of error the probability per coarse pixel, float32; none where nothing is predicted.
    """

    flags: TrustMap
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def mark_doubts(
    enhanced: Image,
    lr: Image,
    flags: TrustMap,
    patches: PatchSet,
    pairs: Sequence[Pair],
    check: Consistency,
    wanted: str = "auto",
) -> Doubted:
    """Flag where the enhanced map probably lost or invented an object.

    Parameters
    ----------
    enhanced : as computed; read band by band.
    lr : the coarse map.
    flags : of the result so far.
    patches, pairs : of the run; the training and stop areas are learned from, the test blocks judge.
    check : the yardstick of the run.
    wanted : "dark" or "bright" objects; anything else = what the fine scan sets apart.
    """
    if not check.informative:
        return foreign(flags)
    scans, held = (_seen(patches, pairs, enhanced, roles) for roles in (LEARNED_FROM, ("test",)))
    objects, doubts = learned(enhanced, lr, check, scans, wanted)
    marked, maps, limits = mark_learned(enhanced, lr, flags, check, doubts)

    def predicted(_: Seen, box: Box) -> dict[str, NDArray[np.float32]]:
        return {kind: p[tuple(slice(a, b) for a, b in zip(*box, strict=True))] for kind, p in maps.items()}

    sought = doubts.sought
    judged = {} if sought is None else doubt_flags.judged(predicted, lr.grid, held, sought)
    return Doubted(
        marked, facts_of(objects, doubts, marked, limits, judged), notes_of(doubts, objects, lr.grid.ndim), maps
    )


def foreign(flags: TrustMap) -> Doubted:
    """Where the coarse scan says nothing about the fine one, nothing is flagged, and it is said."""
    return Doubted(marked_as(flags, {}), {"predicted": False, "sentence": FOREIGN}, (FOREIGN,))


def learned(
    enhanced: Image,
    lr: Image,
    check: Consistency,
    scans: Sequence[Seen],
    wanted: str,
    circle: Circle | None = None,
) -> tuple[Objects, doubt.Doubts]:
    """What an object is, and what tells wrong ones."""
    objects = chosen(scans, wanted)
    sought = None
    if objects.threshold is not None:
        sought = Sought(objects.kind == "dark", float(objects.threshold.value), SMOOTH_PX)
    return objects, doubt.learn_doubts(enhanced, lr, check, scans, sought, circle)


def facts_of(
    objects: Objects,
    doubts: doubt.Doubts,
    marked: TrustMap,
    limits: Mapping[str, float],
    judged: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """For ``trust.json``."""
    shares = marked.shares()
    return {
        "predicted": True,
        "objects": objects.kind,
        "threshold": None if doubts.sought is None else doubts.sought.threshold,
        "least_probability": doubt_flags.LEAST,
        "least_sum_of_a_place": doubt_flags.PLACE,
        "largest_share": doubt_flags.SHARE,
        "limits": limits,
        "shares": {kind: shares[kind] for kind in doubt.KINDS},
        "learned": sorted(doubts.learned),
        "objects_learned_from": doubts.counts,
        "model": doubts.to_dict(),
        "test_blocks": judged,
        "sentence": " ".join(_ranking(kind, objects.kind, row) for kind, row in judged.items()),
    }


def mark_learned(
    enhanced: Image, lr: Image, flags: TrustMap, check: Consistency, doubts: doubt.Doubts
) -> tuple[TrustMap, dict[str, NDArray[np.float32]], dict[str, float]]:
    """The flags by what was learned, here or on another map of the model; probabilities, and least ones, per kind."""
    maps = doubt_flags.doubt_maps(enhanced, lr, check, doubts)
    maps["invention"][flags.where("untrained")] = 0  # interpolation invents nothing
    masks, limits = doubt_flags.doubted(maps, ~flags.where("no_data"))
    return marked_as(flags, masks), maps, limits


def of_key(wanted: str) -> list[Any]:
    """What the flags depend on beside the map: objects that were asked for, and how this step goes about it."""
    return [_VERSION, wanted if wanted in ("dark", "bright") else "auto"]


def chosen(scans: Sequence[Seen], wanted: str) -> Objects:
    """What is an object: as for the measurements, but of the area that is learned from."""
    levels = [calmed(s.fine, s.known)[s.known] for s in scans]
    if not levels or not sum(v.size for v in levels):
        return Objects("none", None, "No fine scan is left to choose objects from.")
    return choose_objects(np.concatenate(levels), wanted if wanted in ("dark", "bright") else "auto")


def _seen(patches: PatchSet, pairs: Sequence[Pair], enhanced: Image, roles: Sequence[str]) -> list[Seen]:
    """The fine scans and the map over them, known in areas of these roles only."""
    by_name = {p.hr.name: p for p in pairs}
    found = []
    for piece in patches.pieces:
        ours = on_grid(enhanced, piece.out_grid)
        known = _recorded(piece, by_name[piece.name], roles) & np.isfinite(ours)
        if known.any():
            found.append(Seen(np.where(known, ours, 0).astype(np.float32), piece.hr, known, piece.out_grid))
    return found


def _recorded(piece: Piece, pair: Pair, roles: Sequence[str]) -> Mask:
    """Pixels of these roles; saturated ones are among them, because pores are often black, but no changed specimen."""
    role, f = np.isin(piece.role, [ROLES[r] for r in roles]), piece.factor
    known = np.repeat(np.repeat(role, f, axis=0), f, axis=1)
    return known if pair.valid is None else known & _valid(piece.out_grid, pair)


def _valid(grid: Grid, pair: Pair) -> Mask:
    """Where the registration says that both scans show the same."""
    valid, out = np.asarray(pair.valid, np.float32), np.empty(grid.shape, bool)
    for first in range(0, grid.shape[0], _ROWS):
        rows = slice(first, min(first + _ROWS, grid.shape[0]))
        index = np.stack(np.meshgrid(np.arange(rows.start, rows.stop), np.arange(grid.shape[1]), indexing="ij"), -1)
        there = pair.hr.grid.to_index(pair.lr_from_hr.inverse_at(grid.to_nm(index)))
        out[rows] = sample(valid, there, order=1, outside=0.0) > 0.999
    return out


def marked_as(flags: TrustMap, masks: Mapping[str, Mask | NDArray[np.int64]]) -> TrustMap:
    """The flags with those of these kinds as in the masks (or at flat indices), and unset where there is no mask."""
    out = np.array(flags.flags[...])
    for kind in doubt.KINDS:
        out &= ~np.uint8(flag_bits(kind))
        if kind in masks:
            where = masks[kind]
            (out if where.dtype == bool else out.reshape(-1))[where] |= np.uint8(flag_bits(kind))
    return TrustMap(out, flags.grid)


# ------------------------------------------------------------------ for readers
def notes_of(doubts: doubt.Doubts, objects: Objects, axes: int) -> tuple[str, ...]:
    """What a reader must know of how wrong objects were told."""
    if doubts.sought is None:
        return (
            "The fine scan sets no dark or bright objects apart, so omission and invention are flagged only where the "
            "coarse scan itself shows structure that the enhanced map lacks, or lacks what it should show.",
        )
    few = [WORDS[k] for k in doubt.KINDS if k not in doubts.learned]
    if not few:
        return ()
    seen = " and ".join(f"{doubts.counts[name]} {name}" for name in few)
    return (
        f"The fine scan held {seen} {objects.kind} objects, too few to learn from ({doubt.ENOUGH[axes]} are needed): "
        "there the flags rest on how near a call each object is for an error of the ordinary size.",
    )


def _ranking(kind: str, objects: str, row: Mapping[str, Any]) -> str:
    """How well objects of the test blocks were ranked, or that there are too few."""
    name = f"{WORDS[kind]} {objects} objects"
    if row["auroc"] is None or min(row["wrong"], row["right"]) < TELLING:
        return (
            f"The test blocks hold {row['wrong']} {name} and {row['right']} others, too few to say how well they are "
            f"ranked ({TELLING} of each are needed)."
        )
    return (
        f"In the test blocks the {row['wrong']} {name} are ranked above the {row['right']} others with an AUROC of "
        f"{row['auroc']:.2f}."
    )
