"""The rescan study: the whole loop of coarse map, plan, fine fields and merging, on steel with rare damage.

A coarse map is made of a place that nobody has scanned finely; a network and what is known of voids come from an
earlier place of the specimen. Fine fields are then recorded where a strategy says, and pasted in. How well the void
fraction is known, and how many damage sites were scanned again, is followed over the beam time spent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.patches import make_patches
from finescan.studies import rescan_maps as maps
from finescan.studies.learning import trained, training_facts
from finescan.studies.store import Progress, SizedStudy, StudyFolder, silent, write_page

if TYPE_CHECKING:
    from finescan.models import Model

#: beam time, as shares of a fine scan of everything; the first is that of the coarse map alone
SHARES = (0.0626, 0.08, 0.1, 0.125, 0.16, 0.2)
AIM_SHARE, AIM_FACTOR = 0.125, 4.0  # every site is to be rescanned by then; random's error in a quarter of its time
ALONE_FRAMES = (80, 160, 352)  # fields that random scanning may choose from, px
PICTURED_PX = 192


@dataclass(frozen=True)
class Size:
    """How much is recorded.

    Parameters
    ----------
    count, side : maps, and their edge in fine pixels.
    earlier : edge of the earlier place, which the network and the examples of voids come from.
    spacing_nm, earlier_spacing_nm : one damage site per this length squared, there and at the earlier place.
    steps : of the network.
    draws : of random scanning per map.
    shares : times at which strategies are compared.
    """

    count: int
    side: int
    earlier: int
    spacing_nm: float
    earlier_spacing_nm: float
    steps: int
    draws: int = 200
    shares: tuple[float, ...] = SHARES


SIZES: dict[str, Size] = {
    "quick": Size(4, 3072, 2048, 16_000.0, 8_000.0, 150),
    "medium": Size(12, 4096, 3072, 20_000.0, 8_000.0, 400),
    "full": Size(30, 4096, 4096, 20_000.0, 8_000.0, 1500),
}


class RescanStudy(SizedStudy[Size]):
    """Sizes: "quick" (three minutes of processor time), "medium" (half an hour), "full"."""

    NAME = "rescan"
    SIZES = SIZES


@dataclass(frozen=True)
class RescanResults:
    """What the study found.

    Parameters
    ----------
    study : what was run.
    rows : strategy -> one list per map of what was known at every time (see :func:`rescan_maps.row`).
    alone : per map, random fine scanning without a coarse map: share of time, median error, best frame.
    facts : plain values: times, sites, void fractions, the earlier place.
    training : how the network was trained.
    pictures : row -> pictures of the first map at the planner's aim: coarse, enhanced, with rescans.
    """

    study: RescanStudy
    rows: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
    alone: Sequence[Sequence[Mapping[str, float]]]
    facts: Mapping[str, Any]
    training: Mapping[str, Any]
    pictures: Mapping[str, Sequence[NDArray[np.float32]]] = field(default_factory=dict)

    def median(self, strategy: str, key: str) -> list[float]:
        """Over maps, at every time."""
        return np.median([[float(r[key]) for r in one] for one in self.rows[strategy]], axis=0).tolist()

    def shares(self) -> list[float]:
        """Times, as shares of a fine scan of everything."""
        return list(self.study.numbers.shares)

    @property
    def earlier_share(self) -> float:
        """Time of the earlier place, shared by all maps, over that of a fine scan of everything."""
        rows = self.facts["maps"]
        return float(self.facts["earlier"]["seconds"] / len(rows) / rows[0]["full_s"])

    def alone_error(self, share: float) -> float:
        """Of random scanning alone at a time, median over maps; once everything is scanned there is none."""
        if share >= 1:
            return 0.0
        k = int(np.argmin([abs(r["share"] - share) for r in self.alone[0]]))
        return float(np.median([one[k]["error"] for one in self.alone]))

    def aims(self) -> dict[str, Any]:
        """Whether the planner needs a quarter of random scanning's time, and has every site by an eighth of it all."""
        error, recall = self.median("planner", "error"), self.median("planner", "recall")
        quarter = []
        for share, planner in zip(self.shares(), error, strict=True):
            if AIM_FACTOR * share < 1:
                rivals = [self.alone_error(AIM_FACTOR * (share + extra)) for extra in (0.0, self.earlier_share)]
                names = ("random at four times", "with the earlier place")
                quarter.append({"share": share, "planner": planner, **dict(zip(names, rivals, strict=True))})
        k = int(np.argmin([abs(s - AIM_SHARE) for s in self.shares()]))
        return {
            "quarter": quarter,
            "quarter_reached": [q["share"] for q in quarter if q["planner"] <= q["random at four times"]],
            "recall": recall[k],
            "least_recall": min(float(one[k]["recall"]) for one in self.rows["planner"]),
            "recall_of": {n: self.median(n, "recall")[k] for n in self.rows},
            "by_kind": _by_kind(self.rows["planner"], k),
        }


def run_rescan(
    folder: Path, study: RescanStudy, *, overwrite: bool = False, progress: Progress | None = None
) -> RescanResults:
    """Run the study, or go on with it; the network and what every strategy found stay in ``folder``.

    Parameters
    ----------
    folder : for the network and results.
    study : what to run.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    store = StudyFolder(folder, asdict(study), overwrite=overwrite)
    tell = progress or silent
    size = study.numbers
    earlier = maps.steel(size.earlier, size.earlier_spacing_nm, study.seed + 100)
    lr = maps.record_coarse(earlier, study.seed + 101)
    model = _model(store, study, earlier, lr, tell)
    examples = maps.examples_of(earlier, maps.candidates_of(_enhanced(model, lr, study)))
    rows: dict[str, list[Any]] = {n: [] for n in maps.STRATEGIES}
    alone, facts, pictures = [], [], None
    for k in range(size.count):
        one = _Lazy(study, model, examples, k)
        for n in maps.STRATEGIES:
            tell(k, size.count, f"map {k + 1} of {size.count}: {n}")
            found = store.result(f"map-{k}-{n}", partial(_told, one, n, size))
            rows[n].append(found["rows"])
        known = store.result(f"map-{k}", partial(_facts, one, size))
        alone.append(known.pop("alone"))
        facts.append(known)
        if pictures is None:
            pictures = {n: [store.picture(f"shown-{n}", partial(one.shown, n))] for n in SHOWN}
    tell(size.count, size.count, "done")
    about = {"maps": facts, "earlier": _about(size)}
    return RescanResults(study, rows, alone, about, training_facts(store, "network"), pictures or {})


def study_rescan(
    folder: str | Path,
    *,
    size: str = "medium",
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RescanResults:
    """Run the rescan study and write its page, figures and tables; a stopped study goes on where it was.

    Parameters
    ----------
    folder : ``report.html``, ``figures/`` (SVG, CSV, Markdown), ``results/`` (JSON), ``models/``.
    size, seed, device : see :class:`RescanStudy`.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    from finescan.studies.rescan_page import build

    results = run_rescan(Path(folder), RescanStudy(size, seed, device), overwrite=overwrite, progress=progress)
    write_page(Path(folder), build(results))
    return results


# ------------------------------------------------------------------ parts
SHOWN = ("coarse", "enhanced", "with rescans", "truth")


class _Lazy:
    """A map that is made when something of it is missing."""

    def __init__(self, study: RescanStudy, model: Model, examples: maps.Examples, number: int) -> None:
        self._study, self._model, self._examples, self._number = study, model, examples, number
        self._map: maps.Map | None = None

    @property
    def map(self) -> maps.Map:
        """Made on first use."""
        if self._map is None:
            size, seed = self._study.numbers, self._study.seed + 1000 + 10 * self._number
            section = maps.steel(size.side, size.spacing_nm, seed)
            lr = maps.record_coarse(section, seed + 1)
            enhanced = _enhanced(self._model, lr, self._study)
            self._map = maps.Map(section, lr, enhanced, maps.candidates_of(enhanced), self._examples, seed)
        return self._map

    def shown(self, name: str) -> NDArray[np.float32]:
        """A part around a damage site that the planner scans, by the names in :data:`SHOWN`."""
        return self._shown[name]

    @cached_property
    def _shown(self) -> dict[str, NDArray[np.float32]]:
        one = self.map
        state = maps.start(one)
        seconds = (AIM_SHARE - one.coarse_share) * one.full_s
        maps.record(one, state, maps.STRATEGIES["planner"](one, state, seconds))
        pasted, _ = maps.pasted(one, state)
        sites = [s for s, seen in zip(one.section.sites, maps.rescanned(one, state), strict=True) if seen]
        box = (sites or list(one.section.sites))[0].box
        h, w = one.section.image.grid.shape
        y, x = (min(max(0, (a + b) // 2 - PICTURED_PX // 2), n - PICTURED_PX) for a, b, n in
                ((box[0], box[1], h), (box[2], box[3], w)))  # fmt: skip
        part = slice(y, y + PICTURED_PX), slice(x, x + PICTURED_PX)
        f = maps.RATIO
        coarse = np.asarray(one.lr.data[y // f : (y + PICTURED_PX) // f, x // f : (x + PICTURED_PX) // f], np.float32)
        truth = maps.record_field(one.section, y, x, (PICTURED_PX, PICTURED_PX), one.seed + 5)[0]
        return {
            "coarse": coarse.repeat(f, axis=0).repeat(f, axis=1),
            "enhanced": one.enhanced[part],
            "with rescans": np.asarray(pasted[part], np.float32),
            "truth": np.asarray(truth.data, np.float32),
        }


def _model(store: StudyFolder, study: RescanStudy, earlier: Any, lr: Any, tell: Progress) -> Model:
    from finescan.training import TrainConfig

    size = study.numbers
    margin, side = 40, size.earlier - 80
    hr, warp = maps.record_field(earlier, margin, margin, (side, side), study.seed + 102)
    patches = make_patches([maps.known_pair(lr, replace(hr, name="fine"), warp)])
    config = TrainConfig(max_steps=size.steps, members=1, seed=study.seed, device=study.device)
    return trained(store, "network", patches, config, progress=lambda a, b, text: tell(a, b, f"network: {text}"))


def _enhanced(model: Model, lr: Any, study: RescanStudy) -> NDArray[np.float32]:
    from finescan.enhancement import EnhanceConfig, enhance

    return np.asarray(enhance(model, lr, config=EnhanceConfig(dtype="float32", device=study.device)).image.data)


def _told(lazy: _Lazy, strategy: str, size: Size) -> dict[str, Any]:
    return {"rows": maps.run_strategy(lazy.map, strategy, size.shares)}


def _facts(lazy: _Lazy, size: Size) -> dict[str, Any]:
    one = lazy.map
    earlier = _about(size)["seconds"] / size.count / one.full_s
    wanted = {*size.shares, *(AIM_FACTOR * s for s in size.shares), *(AIM_FACTOR * (s + earlier) for s in size.shares)}
    times = sorted(t for t in wanted if t < 1)
    return {
        "void_fraction": float(one.voids.mean()),
        "sites": len(one.section.sites),
        "full_s": one.full_s,
        "coarse_share": one.coarse_share,
        "field_s": one.times.field_s((maps.FRAME_PX, maps.FRAME_PX)),
        "candidates": len(one.candidates),
        "alone": maps.random_alone(one, times, draws=size.draws, frames=ALONE_FRAMES),
    }


def _about(size: Size) -> dict[str, Any]:
    """What the earlier place cost."""
    fine = (size.earlier - 80) ** 2 * maps.DWELL_US * 1e-6
    coarse = (size.earlier // maps.RATIO) ** 2 * maps.DWELL_US * 1e-6
    return {"seconds": fine + coarse}


def _by_kind(rows: Sequence[Sequence[Mapping[str, Any]]], k: int) -> dict[str, list[int]]:
    """Kind of damage -> rescanned, all."""
    total: dict[str, list[int]] = {}
    for one in rows:
        for kind, (seen, count) in one[k]["kinds"].items():
            entry = total.setdefault(kind, [0, 0])
            entry[0], entry[1] = entry[0] + seen, entry[1] + count
    return total
