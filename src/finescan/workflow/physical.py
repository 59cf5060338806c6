"""``evaluate --physical``: pieces of an enhanced image, found in a fine image that was recorded apart."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import resampling, trust
from finescan.errors import InputError, OutputError
from finescan.reporting.strip import write_strip
from finescan.trust.physical import Match, match_piece
from finescan.trust.physical_scores import scores_by_level
from finescan.values import Grid, Image
from finescan.workflow.folder import make_folder, write_json, write_whole
from finescan.workflow.reading import Outcome, Reading

SMALLEST_PX, LARGEST_SHARE = 48, 0.8  # side of a piece; of the fine image's shorter side
PER_SIDE = 3  # pieces along each side of the enhanced image
CREDIBLE = 0.5  # correlation below which a piece is not said to be found
ENHANCED, BASELINE = "enhanced", "bicubic"


@dataclass(frozen=True)
class PhysicalOptions:
    """How pieces are matched.

    Parameters
    ----------
    rule : "robust" or "published", see :mod:`finescan.trust.physical`.
    by : "ssim" or "psnr"; None = by rule.
    piece_px : largest side of a piece.
    per_side : pieces along each side of the enhanced image.
    """

    rule: str = "robust"
    by: str | None = None
    piece_px: int = 256
    per_side: int = PER_SIDE


def evaluate_physical(
    result: str | Path,
    fine: str | Path,
    output: str | Path | None = None,
    *,
    coarse: str | Path | None = None,
    options: PhysicalOptions | None = None,
    reading: Reading | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Match pieces of an enhanced image in a fine image that was recorded apart, and score them.

    Parameters
    ----------
    result : enhanced image, made by any program.
    fine : recorded fine image of the same kind of sample; it need not show the same place if that repeats (a lattice).
    output : folder for ``physical.json``, ``physical.csv`` (one row per piece, level and method) and ``physical.png``
        (the best pair); None = nothing is written.
    coarse : the image that the result was made from, in its frame: its interpolation is scored at the same places.
    options : how pieces are matched.
    reading : ``pixel_size_nm`` of the result and ``fine_pixel_size_nm`` of the fine image, when the files have none.

    Raises
    ------
    InputError, OutputError.
    """
    options, reading = options or PhysicalOptions(), reading or Reading()
    if output is not None and (Path(output) / "physical.json").exists() and not overwrite:
        raise OutputError(f"{output} holds an evaluation. Choose another folder, or pass --overwrite.")
    ours, theirs = reading.coarse(result), reading.fine(fine)
    _require_pictures(ours, theirs)
    size = tuple(max(a, b) for a, b in zip(ours.grid.pixel_size_nm, theirs.grid.pixel_size_nm, strict=True))
    order = 0 if options.rule == "published" else 3
    pictures = {ENHANCED: _at_size(ours, size, 3)}
    if coarse is not None:
        scan = replace(reading, pixel_size_nm=None).coarse(coarse)
        pictures[BASELINE] = resampling.resample(scan, onto=pictures[ENHANCED].grid, outside=None)
    reference = _at_size(theirs, size, order)
    found = _matched(pictures, reference, options)
    facts = _facts(ours, theirs, size, found, options)
    lines = _lines(facts)
    if output is not None:
        folder = Path(output)
        make_folder(folder)
        write_whole(folder / "physical.csv", _csv(found))
        write_json(folder / "physical.json", facts)
        _picture(folder / "physical.png", max(found, key=lambda f: f.match.correlation), float(size[1]))
        lines.append(f"{folder}: physical.json, physical.csv, physical.png")
    return Outcome(facts, "\n".join(lines))


@dataclass(frozen=True)
class _Found:
    """A piece (row and column among the pieces), where it was found, and its scores: method -> level -> metric."""

    place: tuple[int, int]
    match: Match
    pictures: Mapping[str, NDArray[np.float64]]
    scores: Mapping[str, Mapping[int, Mapping[str, float]]]


def _require_pictures(*images: Image) -> None:
    for image in images:
        if image.grid.ndim != 2:
            raise InputError(
                f"{image.name} is {image.grid}, but pieces of pictures are matched. Choose one of its slices."
            )
        y, x = image.grid.pixel_size_nm
        if abs(y / x - 1) > 0.01:
            raise InputError(
                f"Pieces are matched on square pixels, but those of {image.name} are {y:.6g} x {x:.6g} nm. Resample it "
                "to equal sizes first, or pass the right pixel size."
            )


def _at_size(image: Image, size: Sequence[float], order: int) -> Image:
    """The image at a pixel size that is no finer than its own; unchanged where they are the same."""
    ratio = [p / s for p, s in zip(image.grid.pixel_size_nm, size, strict=True)]
    if all(abs(r - 1) < 1e-6 for r in ratio):
        return image
    h, w = (max(1, int(n * r + 1e-6)) for n, r in zip(image.grid.shape, ratio, strict=True))
    origin = [e + s / 2 for e, s in zip(image.grid.edge_nm, size, strict=True)]
    grid = Grid.of((h, w), tuple(size), origin)
    return resampling.resample(image, onto=grid, order=order, antialias=order > 0, outside=None)


def _matched(pictures: Mapping[str, Image], reference: Image, options: PhysicalOptions) -> list[_Found]:
    shape = pictures[ENHANCED].grid.shape
    side = min(options.piece_px, min(shape), int(LARGEST_SHARE * min(reference.grid.shape)))
    if side < SMALLEST_PX:
        raise InputError(
            f"Pieces of at least {SMALLEST_PX} px are matched, but the enhanced one has {shape[0]} x {shape[1]} px "
            f"and the fine one {reference.grid.shape[0]} x {reference.grid.shape[1]} at that pixel size. Use "
            "larger images."
        )
    grey = trust.grey_statistics(reference.array())
    span, fine = grey.high - grey.low, np.asarray(reference.array(), np.float64)
    rows, columns = (_starts(n, side, options.per_side) for n in shape)
    arrays = {name: np.asarray(image.array(), np.float64) for name, image in pictures.items()}
    found = []
    for y, x in itertools.product(rows, columns):
        cut = {name: a[y : y + side, x : x + side] for name, a in arrays.items()}
        match = match_piece(cut[ENHANCED], fine, rule=options.rule, by=options.by, data_range=span)
        seen = {name: match.applied(a) for name, a in cut.items()}
        scores = {n: scores_by_level(a, match.fine, match.known, data_range=span) for n, a in seen.items()}
        found.append(_Found((y, x), match, seen, scores))
    return found


def _starts(length: int, side: int, count: int) -> list[int]:
    room = length - side
    return sorted({int(v) for v in np.rint(np.linspace(0, room, count) if count > 1 else [room / 2])})


# ---------------------------------------------------------------------------------------------- saying
def _facts(
    ours: Image, theirs: Image, size: Sequence[float], found: Sequence[_Found], options: PhysicalOptions
) -> dict[str, Any]:
    credible = [f for f in found if f.match.correlation >= CREDIBLE]
    means: dict[str, Any] = {}
    for name in found[0].scores:
        means[name] = {}
        for level in found[0].scores[name]:
            rows = [f.scores[name][level] for f in credible if level in f.scores[name]]
            means[name][str(level)] = {m: float(np.mean([r[m] for r in rows])) for m in rows[0]} if rows else {}
    notes = _notes(found, credible)
    return {
        "file": str(ours.source or ours.name),
        "fine": str(theirs.source or theirs.name),
        "rule": options.rule,
        "pixel_size_nm": list(size),
        "pieces": [{"place": list(f.place), **f.match.to_dict()} for f in found],
        "piece_px": int(max(found[0].pictures[ENHANCED].shape)),
        "credible": len(credible),
        "scores": means,
        "notes": notes,
    }


def _notes(found: Sequence[_Found], credible: Sequence[_Found]) -> list[str]:
    notes = []
    rivals = [f.match.rivals for f in credible]
    if rivals and np.median(rivals) >= 1:
        notes.append(
            f"Every piece fits {int(np.median(rivals))} other places nearly as well (median; correlation within 5 %), "
            "as on a lattice: it is compared with an equal place, not with the same atoms."
        )
    if len(credible) < len(found):
        notes.append(
            f"{len(found) - len(credible)} of {len(found)} pieces were not found (correlation below {CREDIBLE}) and "
            "are not in the means: the fine image may show another place."
        )
    edge = [f for f in credible if abs(f.match.scale - 1) > 0.095 or abs(f.match.turn_deg) > 2.9]
    if edge:
        notes.append(f"{len(edge)} pieces ended at the limit of scales or turns: check the pixel sizes.")
    return notes


def _lines(facts: Mapping[str, Any]) -> list[str]:
    pieces = facts["pieces"]
    scale, turn, r = (float(np.median([p[k] for p in pieces])) for k in ("scale", "turn_deg", "correlation"))
    lines = [
        f"{facts['credible']} of {len(pieces)} pieces found by the {facts['rule']} rule; medians: correlation {r:.3f}, "
        f"scale {scale:.4f}, turned by {turn:+.2f}°"
    ]
    names = ("psnr", "gauss_psnr", "ssim", "ms_ssim", "gauss_ms_ssim")
    lines.append(f"{'':10} {'pixel nm':>9} " + " ".join(f"{n:>13}" for n in names))
    for name, levels in facts["scores"].items():
        for level, row in levels.items():
            if row:
                size = facts["pixel_size_nm"][1] * int(level)
                lines.append(f"{name:10} {size:9.5g} " + " ".join(f"{row[n]:13.4f}" for n in names))
    return lines + [f"note: {n}" for n in facts["notes"]]


def _csv(found: Sequence[_Found]) -> str:
    metrics = list(next(iter(next(iter(found[0].scores.values())).values())))
    head = "row,column,centre_y,centre_x,scale,turn_deg,correlation,rivals,second,method,averaged," + ",".join(metrics)
    lines = [head]
    for f in found:
        m = f.match
        where = [*f.place, *m.centre, m.scale, m.turn_deg, m.correlation, m.rivals, m.second]
        for name, levels in f.scores.items():
            for level, row in levels.items():
                cells = [*where, name, level, *(row[k] for k in metrics)]
                lines.append(",".join(f"{c:.6g}" if isinstance(c, float) else str(c) for c in cells))
    return "\n".join(lines) + "\n"


def _picture(path: Path, best: _Found, nm: float) -> None:
    fitted = {
        n: trust.matched(a, best.match.fine, best.match.known)[0].astype(np.float32) for n, a in best.pictures.items()
    }
    fine = np.where(best.match.known, best.match.fine, np.nan).astype(np.float32)
    write_strip(path, {**fitted, "fine": fine}, pixel_size_nm=nm, enlarge=max(1, 300 // max(fine.shape)))
