"""One map of the rescan study: a steel with rare damage, scanned coarsely, and what every strategy finds in it.

What is measured is the share of the area that is void. A strategy says where fine fields are recorded; everything else
is the same for all: in a recorded field a void is what is there (the outline that a person would draw), elsewhere the
candidates of the enhanced map stand for it (see :mod:`finescan.quantification.candidates`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan import rescan
from finescan.errors import InputError
from finescan.quantification.candidates import LEAST_PX, AreaModel, Candidates, find_candidates, fit_areas, with_share
from finescan.rescan.baselines import BASELINES
from finescan.rescan.pasting import measured_share, recorded_on
from finescan.simulation import RECORDINGS, Section, dual_phase, scan
from finescan.values import Grid, Image, Pair, Residual, TrustMap, Verdict, Warp

RATIO = 4
FRAME_PX = 80  # of a fine field: 2 µm
DWELL_US = 100.0
SETTLE_S = 0.3  # per field: the beam is deflected, the stage stands
PLACED_NM = 100.0  # standard deviation, per axis, of where a field is recorded about where it was planned
FULL_FRAME_PX = 1024  # of the fine scan of everything that times are compared with
BLACK = 20.0  # grey level of nothing, 8 bit
CANDIDATE: dict[str, float] = {"width_px": 12.0, "contrast": 0.5}
COVERED = 0.95  # share of a candidate that must be recorded for it to be known
GOES_ON_PX = 8  # how far beyond a field a void that it cuts is looked for first
FOUND = 0.75  # share of a site's pixels that must be recorded for it to count as rescanned

Bool = NDArray[np.bool_]
Plan = Callable[["Map", "State", float], list[tuple[float, float]]]


@dataclass(frozen=True)
class Examples:
    """Candidates whose objects are known: features, pixels of void in each, void per pixel outside all candidates."""

    features: NDArray[np.float64]
    objects: NDArray[np.float64]
    missed: float

    def model(self, features: NDArray[np.float64], objects: NDArray[np.float64]) -> AreaModel:
        """Fitted on these and on further ones."""
        x, y = np.concatenate([self.features, features]), np.concatenate([self.objects, objects])
        return fit_areas(x, y, missed=self.missed)


@dataclass(frozen=True)
class Map:
    """A section, its coarse scan, the enhanced map, and the candidates in it.

    Parameters
    ----------
    section : the truth.
    lr, enhanced : coarse scan, and the enhanced map on the pixels of the section.
    candidates : of the enhanced map.
    examples : known from an earlier place.
    seed : of placement and noise.
    """

    section: Section
    lr: Image
    enhanced: NDArray[np.float32]
    candidates: Candidates
    examples: Examples
    seed: int

    @property
    def voids(self) -> Bool:
        """Where the truth is void."""
        return self.section.mask("void")

    @property
    def times(self) -> rescan.ScanTimes:
        """Of one field, and of the coarse map."""
        times = rescan.ScanTimes(DWELL_US, SETTLE_S)
        rows, columns = self.lr.grid.shape
        return rescan.ScanTimes(DWELL_US, SETTLE_S, coarse_s=times.scan_s((rows, columns)))

    @property
    def frame(self) -> rescan.Frame:
        """Of one field."""
        y, x = self.section.image.grid.pixel_size_nm
        return rescan.Frame((FRAME_PX, FRAME_PX), (y, x))

    @property
    def full_s(self) -> float:
        """A fine scan of everything, s, in large frames."""
        y, x = self.section.image.grid.pixel_size_nm
        return self.times.everything_s(self.lr.grid, rescan.Frame((FULL_FRAME_PX, FULL_FRAME_PX), (y, x)))

    @property
    def coarse_share(self) -> float:
        """Time of the coarse map over that of a fine scan of everything."""
        return float(self.times.coarse_s or 0.0) / self.full_s


@dataclass
class State:
    """What a strategy has recorded so far.

    Parameters
    ----------
    measured : (h, w) pixels of the section that are recorded.
    fields : places (y, x) of the first pixel of every field, fine pixels, as recorded.
    planned : (h, w) coarse pixels where a field was put.
    model : what candidates amount to, as far as known.
    """

    measured: Bool
    planned: Bool
    model: AreaModel
    fields: list[tuple[int, int]] = field(default_factory=list)


# ------------------------------------------------------------------ making a map
def record_coarse(section: Section, seed: int) -> Image:
    """The coarse scan of a section: every fourth place of the same beam."""
    grid = section.image.grid.coarsen(RATIO)
    return scan(section.image, grid, RECORDINGS["dual-phase"].scanner, seed=seed, name="coarse")


def record_field(section: Section, y: float, x: float, shape: tuple[int, int], seed: int) -> tuple[Image, Warp]:
    """A fine scan whose first pixel lies at (y, x) of the section, and where it lies."""
    grid = Grid.of(shape, section.image.grid.pixel_size_nm)
    warp = Warp.affine(np.eye(2), section.image.grid.to_nm([y, x]) - grid.to_nm([0.0, 0.0]))
    return scan(section.image, grid, RECORDINGS["dual-phase"].scanner, warp=warp, seed=seed, name="field"), warp


def known_pair(lr: Image, hr: Image, warp: Warp) -> Pair:
    """A pair whose registration is taken as known."""
    return Pair(lr, hr, warp, Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, hr.grid))


def candidates_of(enhanced: NDArray[np.float32]) -> Candidates:
    """Dark spots that may be voids."""
    return find_candidates(enhanced, black=BLACK, **CANDIDATE)


def examples_of(section: Section, found: Candidates) -> Examples:
    """Candidates of a map whose truth is known everywhere."""
    voids = section.mask("void")
    objects = found.sums(voids)
    outside = found.labels == 0
    return Examples(found.features, objects, float(voids[outside].sum() / max(1, outside.sum())))


def steel(side: int, spacing_nm: float, seed: int) -> Section:
    """Dual-phase steel with one damage site per ``spacing_nm`` squared."""
    return dual_phase((side, side), site_spacing_nm=spacing_nm, seed=seed)


# ------------------------------------------------------------------ recording and measuring
def start(one: Map) -> State:
    """After the coarse map."""
    return State(np.zeros(one.section.image.grid.shape, bool), np.zeros(one.lr.grid.shape, bool), _fitted(one, None))


def record(one: Map, state: State, places: Sequence[tuple[float, float]]) -> None:
    """Record fields near their planned places (first pixel, coarse pixels), and learn from them."""
    rng = np.random.default_rng([one.seed, 61, len(state.fields)])
    pixel, limit = one.section.image.grid.pixel_size_nm[0], np.array(state.measured.shape) - FRAME_PX
    size = FRAME_PX // RATIO
    for y, x in places:
        at = np.array([y, x]) * RATIO + rng.normal(0, PLACED_NM / pixel, 2)
        row, column = np.clip(np.rint(at), 0, limit).astype(int).tolist()
        state.fields.append((row, column))
        state.measured[row : row + FRAME_PX, column : column + FRAME_PX] = True
        state.planned[round(y) : round(y) + size, round(x) : round(x) + size] = True
    state.model = _fitted(one, state)


def _fitted(one: Map, state: State | None) -> AreaModel:
    found = one.candidates
    known = np.zeros(len(found), bool) if state is None else covered(one, state) >= COVERED
    objects = found.sums(one.voids)[known] if known.any() else np.zeros(0)
    model = one.examples.model(found.features[known], objects)
    return with_share(model, found.features[~known], (objects >= LEAST_PX).astype(float)) if (~known).any() else model


def covered(one: Map, state: State) -> NDArray[np.float64]:
    """Share of every candidate that is recorded."""
    total = np.bincount(one.candidates.labels.ravel(), minlength=len(one.candidates) + 1)[1:]
    return one.candidates.sums(state.measured) / np.maximum(total, 1)


def estimate(one: Map, state: State) -> tuple[float, float]:
    """Void fraction and its standard deviation: recorded voids, and the candidates where nothing was recorded."""
    mean, variance = state.model.expected(one.candidates.features)
    left = 1 - covered(one, state)
    outside = int(np.count_nonzero((one.candidates.labels == 0) & ~state.measured))
    recorded = int(np.count_nonzero(one.voids & state.measured))
    area = recorded + float(mean @ left) + state.model.missed * outside
    return area / state.measured.size, float(np.sqrt(variance @ left**2)) / state.measured.size


def rescanned(one: Map, state: State) -> list[bool]:
    """Per damage site, whether it was recorded."""
    voids, out = one.voids, []
    for site in one.section.sites:
        y0, y1, x0, x1 = site.box
        here = voids[y0:y1, x0:x1]
        seen, all_ = int(np.count_nonzero(here & state.measured[y0:y1, x0:x1])), int(np.count_nonzero(here))
        out.append(seen >= FOUND * max(1, all_))
    return out


def pasted(one: Map, state: State) -> tuple[rescan.Pasted, NDArray[np.float32]]:
    """The enhanced map with every field recorded and pasted in, and the mask of recorded pixels."""
    grid = one.section.image.grid
    pieces = []
    for k, (y, x) in enumerate(state.fields):
        image, warp = record_field(one.section, y, x, (FRAME_PX, FRAME_PX), one.seed + 1000 + k)
        piece = recorded_on(image, grid, warp)
        pieces += [piece] if piece is not None else []
    return rescan.Pasted(one.enhanced, pieces), measured_share(pieces, grid.shape)


# ------------------------------------------------------------------ strategies
def value_of(one: Map, state: State) -> NDArray[np.float32]:
    """What a fine scan of a coarse pixel is worth: the variance of the void area that candidates hold there.

    A void that a field cuts goes on beyond it: there the variance is that of a usual void.
    """
    _, variance = state.model.expected(one.candidates.features)
    spread = one.candidates.spread(variance * (1 - covered(one, state)) ** 2)
    goes_on = ndimage.maximum_filter(one.voids & state.measured, 2 * GOES_ON_PX + 1) & ~state.measured
    known = one.examples.objects[one.examples.objects > 0]
    spread[goes_on] += np.float32(np.var(known) / (2 * GOES_ON_PX) ** 2)
    h, w = one.lr.grid.shape
    return spread.reshape(h, RATIO, w, RATIO).sum(axis=(1, 3))


def _planned(
    one: Map, state: State, seconds: float, error: NDArray[np.float32], **how: object
) -> list[tuple[float, float]]:
    try:
        plan = rescan.plan_rescan(
            error,
            rescan.MapReference("map", one.lr.grid),
            frame=one.frame,
            times=one.times,
            goal=rescan.Goal(budget_s=seconds),
            scanned=state.planned,
            **how,  # type: ignore[arg-type]
        )
    except InputError:  # the budget is shorter than a field, or nothing is left
        return []
    return [f.start_px for f in plan.fields]


def _placed(name: str) -> Plan:
    def places(one: Map, state: State, seconds: float) -> list[tuple[float, float]]:
        even = np.ones(one.lr.grid.shape, np.float32)
        spots = {name: lambda task, wanted: BASELINES[name](task, wanted, seed=one.seed)}
        return _planned(one, state, seconds, even, placements=spots, refine=False)

    return places


def _uncertain(one: Map, state: State, seconds: float) -> list[tuple[float, float]]:
    """Where the pixels of the enhanced map are least certain, whatever they mean."""
    certain = TrustMap(np.zeros(one.lr.grid.shape, np.uint8), one.lr.grid)
    return _planned(one, state, seconds, rescan.expected_error(one.lr.array(), certain))


def _valued(one: Map, state: State, seconds: float) -> list[tuple[float, float]]:
    return _planned(one, state, seconds, value_of(one, state))


#: strategy -> where to record next within so many seconds. All but the last plan once; that learns round by round.
STRATEGIES: dict[str, Plan] = {
    "random": _placed("random"),
    "uniform grid": _placed("uniform grid"),
    "uncertainty": _uncertain,
    "planner": _valued,
}


def run_strategy(one: Map, name: str, shares: Sequence[float]) -> list[dict[str, object]]:
    """A strategy at several times (shares of a fine scan of everything, the coarse map counted): what it knows then."""
    rows, state, spent = [], start(one), one.coarse_share
    for share in shares:
        if name != "planner":
            state, spent = start(one), one.coarse_share
        seconds = (share - spent) * one.full_s
        places = STRATEGIES[name](one, state, seconds) if seconds > 0 else []
        record(one, state, places)
        spent += len(places) * one.times.field_s((FRAME_PX, FRAME_PX)) / one.full_s
        rows.append(row(one, state, share, spent))
    return rows


def row(one: Map, state: State, share: float, spent: float) -> dict[str, object]:
    """What is known at a time."""
    fraction, deviation = estimate(one, state)
    true = float(one.voids.mean())
    seen = rescanned(one, state)
    kinds = {k: [s for s, site in zip(seen, one.section.sites, strict=True) if site.kind == k] for k in _kinds(one)}
    return {
        "share": share,
        "spent": spent,
        "fields": len(state.fields),
        "fraction": fraction,
        "deviation": deviation,
        "error": abs(fraction / true - 1),
        "recall": float(np.mean(seen)),
        "kinds": {k: [sum(v), len(v)] for k, v in kinds.items()},
    }


def _kinds(one: Map) -> list[str]:
    return sorted({s.kind for s in one.section.sites})


def random_alone(one: Map, shares: Sequence[float], *, draws: int, frames: Sequence[int]) -> list[Mapping[str, float]]:
    """Fine fields at random places and no coarse map: the mean of what they hold, its median error over many draws.

    Fields are tiles of the map, drawn without replacement, of that size which errs least: the best that random
    scanning can do by itself.
    """
    rng = np.random.default_rng([one.seed, 67])
    true = float(one.voids.mean())
    rows: list[Mapping[str, float]] = []
    for share in shares:
        errors = {px: _tile_error(one, px, share, true, draws, rng) for px in frames}
        best = min(errors, key=lambda px: errors[px])
        rows.append({"share": share, "error": errors[best], "frame": float(best)})
    return rows


def _tile_error(one: Map, px: int, share: float, true: float, draws: int, rng: np.random.Generator) -> float:
    h, w = (n // px for n in one.voids.shape)
    tiles = one.voids[: h * px, : w * px].reshape(h, px, w, px).mean(axis=(1, 3)).ravel()
    count = min(len(tiles), int(share * one.full_s / one.times.field_s((px, px))))
    if count == 0:
        return float("inf")
    means = [float(tiles[rng.permutation(len(tiles))[:count]].mean()) for _ in range(draws)]
    return float(np.median(np.abs(np.array(means) / true - 1)))
