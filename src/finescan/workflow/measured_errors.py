"""Error bars of what is measured on a finished picture: for the whole map, and checked on the test blocks.

The correction is learned on every recorded block if the result is about as wrong where the network was trained as
where it was not; else on held-out blocks alone, of which there are few. For the check it is learned without the test
blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan.errors import InputError
from finescan.patches import Piece
from finescan.patches.split import STOP, TEST, TRAIN
from finescan.quantification.alike import Objects
from finescan.quantification.error_bars import (
    DRAWN_PX,
    DRAWS,
    LEVEL,
    ErrorBar,
    constant_spread,
    drawn_errors,
    measure_with_error,
    rehearse,
)
from finescan.quantification.ground import SMALLEST, Ground, Scan, block_numbers, block_side, ground_of, lattice_shape
from finescan.quantification.measurements import Measurements
from finescan.quantification.residuals import ResidualLibrary
from finescan.quantification.tallies import MEASURES, Tally, tally, values
from finescan.values import Image, TrustMap
from finescan.workflow import judging

AS_GOOD = 0.9  # rms error where the network was trained over that elsewhere, from which training area may count too
TEST_BLOCKS = 12  # about as many blocks for the check
SHOWN = ("area_share", "objects_per_area", "mean_diameter_nm", "median_diameter_nm", "interface_per_um")

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """One fine scan with everything measured under it.

    Parameters
    ----------
    piece : of the patches.
    pictures : "enhanced", "fine" and "coarse" on its grid, smoothed alike.
    raw : the enhanced picture as it is.
    known : pixels where all of them hold grey levels.
    found : measurements of each, with labels.
    """

    piece: Piece
    pictures: Mapping[str, NDArray[np.float32]]
    raw: NDArray[np.float32]
    known: Bool
    found: Mapping[str, Measurements]

    def role(self, *roles: int) -> Bool:
        """Known pixels of some roles, saturated ones included."""
        f = self.piece.factor
        mask = np.isin(self.piece.role, roles)
        return np.asarray(np.repeat(np.repeat(mask, f, axis=0), f, axis=1) & self.known)

    def start(self, image: Image) -> list[int]:
        """First pixel of the piece on a map."""
        return [int(v) for v in np.rint(image.grid.to_index(self.piece.out_grid.origin_nm))]


def error_bars(
    seen: Sequence[Seen],
    whole: Mapping[str, Measurements] | None,
    enhanced: Image,
    objects: Objects,
    *,
    spread: Image | None = None,
    flags: TrustMap | None = None,
    measured_share: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Plain JSON values: numbers of the whole map and of the test blocks, with their intervals.

    Parameters
    ----------
    seen : per fine scan.
    whole : "enhanced" and "coarse" on the whole map, with labels; None = the map is too large, only the check remains.
    enhanced : the map as computed.
    objects : what was measured.
    spread : expected size of the error on the grid of the map; None = by grey level, from held-out area.
    flags : pixels without data are left out.
    measured_share : of the map that was recorded finely and pasted in: 0 to 1.
    seed : of everything random.
    """
    trained = _trained_over_held(seen)
    used = [s.known if trained >= AS_GOOD else s.role(STOP, TEST) for s in seen]
    facts: dict[str, Any] = {
        "level": LEVEL, "learned_on": "all recorded blocks" if trained >= AS_GOOD else "held-out blocks",
        "trained_over_held_out_error": trained, "notes": [],
    }  # fmt: skip
    side = block_side(sum(int(np.count_nonzero(u)) for u in used), 2)
    lattice = lattice_shape(enhanced.grid.shape, side)
    ground = _ground(seen, used, enhanced, side)
    facts |= {"blocks": len(ground), "block_side_px": side, "map": None, "factors": {}}
    scatter, area_px = _pixels(seen, enhanced, objects, spread, seed, facts)
    if whole is not None:
        number = block_numbers((0, 0), enhanced.grid.shape, side, lattice)
        number[_missing(enhanced, flags)] = -1
        tallies = {n: tally(m, number, int(np.prod(lattice))) for n, m in whole.items()}
        poorer = None if _alike(tallies["enhanced"], tallies["coarse"]) else tallies["coarse"]
        facts["factors"] = rehearse(ground, tallies["enhanced"], lattice, poorer=poorer, seed=seed)
        pixels = _scaled(scatter, area_px, int(np.count_nonzero(number >= 0)))
        bars = measure_with_error(
            ground, tallies["enhanced"], factors=facts["factors"], pixels=pixels, computed_share=1 - measured_share,
            seed=seed,
        )  # fmt: skip
        coarse = _totals(tallies["coarse"])
        facts["map"] = {n: {**b.to_dict(), "coarse": _number(coarse[n])} for n, b in bars.items()}
    facts["test"] = _check(seen, used, enhanced, facts["factors"], scatter, area_px, seed)
    if len(ground) and facts["map"] and all(b["value"] is None for b in facts["map"].values()):
        facts["notes"].append(
            f"Numbers have no error bars: {len(ground)} blocks of the fine scan are too few, or hold no object."
        )
    return facts


def _ground(seen: Sequence[Seen], used: Sequence[Bool], enhanced: Image, side: int, name: str = "enhanced") -> Ground:
    lattice = lattice_shape(enhanced.grid.shape, side)
    scans = [
        Scan(s.found["fine"], s.found[name], block_numbers(s.start(enhanced), s.known.shape, side, lattice), u)
        for s, u in zip(seen, used, strict=True)
    ]
    return ground_of(scans, lattice, side)


def _trained_over_held(seen: Sequence[Seen]) -> float:
    """Rms error (smoothed pictures) where the network was trained over that of held-out area; 0 where unknown."""

    def rms(roles: tuple[int, ...]) -> float:
        total, count = 0.0, 0
        for s in seen:
            error = (s.pictures["enhanced"] - s.pictures["fine"])[s.role(*roles)].astype(np.float64)
            total, count = total + float(error @ error), count + error.size
        return float(np.sqrt(total / count)) if count else float("nan")

    trained, held = rms((TRAIN,)), rms((STOP, TEST))
    return trained / held if np.isfinite(trained / held if held else np.nan) else 0.0


def _check(
    seen: Sequence[Seen],
    used: Sequence[Bool],
    enhanced: Image,
    factors: Mapping[str, float],
    scatter: Mapping[str, float],
    area_px: int,
    seed: int,
) -> dict[str, Any] | None:
    """Coarse, enhanced and fine on the test blocks, with a correction that was learned without them."""
    tests = [s.role(TEST) for s in seen]
    pixels = sum(int(np.count_nonzero(t)) for t in tests)
    if not pixels:
        return None
    side = max(SMALLEST[2], round((pixels / TEST_BLOCKS) ** 0.5))
    learned = _ground(seen, [u & ~t for u, t in zip(used, tests, strict=True)], enhanced, side)
    held = _ground(seen, tests, enhanced, side)
    if not len(held):
        return None
    fine, coarse = _totals(held.fine), _totals(_ground(seen, tests, enhanced, side, "coarse").enhanced)
    bars = measure_with_error(
        learned, held.enhanced, factors=factors, pixels=_scaled(scatter, area_px, pixels), seed=seed
    )
    return {"blocks": len(held), "learned_on_blocks": len(learned),
            "rows": {n: _row(b, fine[n], coarse[n]) for n, b in bars.items()}}  # fmt: skip


def _row(bar: ErrorBar, fine: float, coarse: float) -> dict[str, Any]:
    return {**bar.to_dict(), "coarse": _number(coarse), "fine": _number(fine), "apart": _number(bar.apart(fine))}


def _pixels(
    seen: Sequence[Seen], enhanced: Image, objects: Objects, spread: Image | None, seed: int, facts: dict[str, Any]
) -> tuple[dict[str, float], int]:
    """Scatter of every measure from single pixels, on a part in the middle of the map, and the pixels of that part."""
    held = [s.role(STOP, TEST) for s in seen]
    size = [min(DRAWN_PX, n) for n in enhanced.grid.shape]
    start = [(n - m) // 2 for n, m in zip(enhanced.grid.shape, size, strict=True)]
    box = tuple(slice(a, a + m) for a, m in zip(start, size, strict=True))
    grey = np.asarray(enhanced.data[box], np.float32)
    try:
        own, part = _spreads(seen, held, spread, grey, box, enhanced)
        errors = ((s.piece.hr - s.raw) / w for s, w in zip(seen, own, strict=True))
        library = ResidualLibrary.of((e, h) for e, h in zip(errors, held, strict=True))
    except InputError as e:
        facts["notes"].append(f"The error bars leave out what single pixels do: {e}")
        return {}, 1
    known = np.isfinite(grey) & np.isfinite(part)
    if not known.all():  # places without data: drawn on their surroundings' level, where they change nothing
        grey = np.where(known, grey, np.float32(np.mean(grey[known]) if known.any() else 0))
        part = np.where(known, part, np.float32(0))
    grid = enhanced.grid.crop(start, [a + m for a, m in zip(start, size, strict=True)])
    scatter, mean = drawn_errors(grey, part, library, grid, objects=objects, seed=seed)
    facts["drawn"] = {"pictures": DRAWS, "of_px": size, "mean": {n: _number(v) for n, v in mean.items()}}
    return scatter, int(np.prod(size))


def _spreads(
    seen: Sequence[Seen],
    held: Sequence[Bool],
    spread: Image | None,
    grey: NDArray[np.float32],
    box: tuple[slice, ...],
    enhanced: Image,
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """The spread under every fine scan and in a box of the map."""
    if spread is not None and spread.grid.same_as(enhanced.grid):
        return [judging.on_grid(spread, s.piece.out_grid) for s in seen], np.asarray(spread.data[box], np.float32)
    known = np.concatenate([h.ravel() for h in held])
    ours = np.concatenate([s.raw.ravel() for s in seen])
    told = constant_spread(ours, ours - np.concatenate([s.piece.hr.ravel() for s in seen]), known)
    return [told(s.raw) for s in seen], told(grey)


def _missing(enhanced: Image, flags: TrustMap | None) -> Any:
    """Pixels of the map without data: an index for arrays of its shape."""
    lost = np.zeros(enhanced.grid.shape, bool)
    if enhanced.dtype.kind == "f":
        lost |= ~np.isfinite(np.asarray(enhanced.data[...]))
    if flags is not None and (gone := flags.where("no_data")).any():
        rows, columns = (enhanced.grid.pixels_under(flags.grid, k) for k in range(2))
        lost |= gone[np.ix_(rows, columns)]
    return lost


def _alike(one: Tally, other: Tally) -> bool:
    """Whether two pictures show the same: the result is the interpolation."""
    return bool(np.allclose(one.object_area, other.object_area, rtol=0.01, atol=0))


def _scaled(scatter: Mapping[str, float], drawn_px: int, area_px: int) -> dict[str, float]:
    """Scatter of an area of another size: errors of single pixels average out."""
    return {n: v * float(np.sqrt(drawn_px / max(area_px, 1))) for n, v in scatter.items()}


def _totals(part: Tally) -> dict[str, float]:
    return {k: float(v[0]) for k, v in values(part.total()).items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---------------------------------------------------------------------------------------------- for readers
def summary_line(facts: Mapping[str, Any], kind: str) -> str | None:
    """The numbers of the map in one line; None where there are none."""
    rows = facts.get("map") or {}
    said = [
        f"{_title(n)} {_shown(n, r['value'])} ({_shown(n, r['low'])} to {_shown(n, r['high'])})"
        for n, r in rows.items()
        if r["value"] is not None and n in SHOWN[:4]
    ]
    if not said:
        return None
    return (
        f"numbers: {kind} objects of the whole map, corrected, {100 * facts['level']:g} % intervals: {'; '.join(said)}"
    )


def chapter(facts: Mapping[str, Any], kind: str) -> tuple[rp.Chapter, ...]:
    """The chapter on numbers with error bars; nothing where nothing was measured."""
    parts: list[Any] = [_words(facts)]
    if facts.get("map"):
        parts.append(map_table(facts["map"], facts["level"]))
    if facts.get("test"):
        parts.append(_test_table(facts["test"], facts["level"]))
    return (rp.Chapter(f"Numbers with error bars: {kind} objects", tuple(parts)),) if len(parts) > 1 else ()


def map_table(rows: Mapping[str, Any], level: float, area: str = "whole map") -> rp.Table:
    """Measured and corrected numbers of a map (or volume), their intervals, and what these are made of."""
    heads = (
        rp.Column(area), rp.Column("unit"), rp.Column("coarse shows"), rp.Column("enhanced shows"),
        rp.Column("corrected"), rp.Column("from"), rp.Column("to"), rp.Column("± blocks"), rp.Column("× places"),
        rp.Column("± pixels"),
    )  # fmt: skip
    table = []
    for name, r in rows.items():
        scale, unit = _scale(name), _unit(name, r["unit"])
        numbers = (r["coarse"], r["measured"], r["value"], r["low"], r["high"], r["parts"].get("blocks"))
        pixels = r["parts"].get("pixels")
        table.append((
            r["title"], unit, *(_times(v, scale) for v in numbers), r["parts"].get("places"), _times(pixels, scale),
        ))  # fmt: skip
    caption = (
        f"Interval of {100 * level:g} % for what a fine scan of the {area} would show, measured alike. Its "
        "parts: standard errors from the scatter between blocks, enlarged by what the rehearsal in other places told, "
        "and from errors of single pixels."
    )
    return rp.Table(area[:1].upper() + area[1:], heads, tuple(table), caption, name="numbers-map")


def _test_table(test: Mapping[str, Any], level: float) -> rp.Table:
    heads = (
        rp.Column("test blocks"), rp.Column("unit"), rp.Column("coarse"), rp.Column("enhanced"),
        rp.Column("corrected"), rp.Column("fine"), rp.Column("fine - corrected, in half widths"),
    )  # fmt: skip
    table = []
    for name, r in test["rows"].items():
        scale, unit = _scale(name), _unit(name, r["unit"])
        half = None if r["value"] is None else _times((r["high"] - r["low"]) / 2, scale)
        value = None if r["value"] is None else rp.Score(scale * r["value"], half)
        table.append((
            r["title"], unit, _times(r["coarse"], scale), _times(r["measured"], scale), value,
            _times(r["fine"], scale), r["apart"],
        ))  # fmt: skip
    caption = (
        f"On {test['blocks']} blocks that no training saw, with a correction learned on {test['learned_on_blocks']} "
        f"others. ± is half of the {100 * level:g} % interval; the last column is between -1 and 1 where what the fine "
        "scan shows lies inside."
    )
    return rp.Table("Check on the test blocks", heads, tuple(table), caption, name="numbers-test")


def _words(facts: Mapping[str, Any]) -> str:
    words = (
        "A number measured on the enhanced map is off: what the coarse scan cannot show is missing, and edges are "
        f"smooth. How far off was learned on {facts['learned_on']} ({facts['blocks']} of {facts['block_side_px']} px) "
        "and is taken off, weighted so that they show what the whole map shows."
    )
    drawn = facts.get("drawn")
    if drawn:
        height, width = drawn["of_px"]
        words += (
            f" Errors of single pixels were drawn {drawn['pictures']} times on {height} × {width} px of the map, from "
            "the errors of held-out area, and segmented in the same way."
        )
    return words


def _title(name: str) -> str:
    return MEASURES[name].title


def _scale(name: str) -> float:
    return {"area_share": 100.0, "mean_diameter_nm": 1e-3, "median_diameter_nm": 1e-3}.get(name, 1.0)


def _unit(name: str, unit: str) -> str:
    return "%" if name == "area_share" else "µm" if unit == "nm" else unit


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def _shown(name: str, value: float | None) -> str:
    unit = _unit(name, MEASURES[name].unit[0])
    return "?" if value is None else f"{_scale(name) * value:.3g} {unit}".strip()
