"""How well are lost and invented pores told where no fine scan was recorded? Simulated maps, true specimen known.

    python benchmarks/error_maps.py [--quick] [--cases porous noisy …] [--seeds 2] [--first 100] [--steps 400]

Every map has a fine scan (4 x) of a part, from which a network learns and from whose pores the doubts are learned. All
pores outside it count: true ones as found or lost, enhanced ones as found or invented (`quantification.match`). Printed
per case: AUROC with which lost pores are ranked above found ones by the predicted probability of omission, and
invented above found ones by that of invention (aim: 0.90 or more); the share of the area that is flagged (5 % at most);
the share of all wrong pores that the flags touch (aim: half or more); and the share of the flagged places (connected
coarse pixels) that hold a wrong pore, or touch one.

Cases: `adversarial` is trained against a critic, `foreign` learned on another kind of sample and is brought to the grey
levels of this one; both are used without the guard that falls back to interpolation.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.enhancement import EnhanceConfig, enhance
from finescan.patches import PatchSet, SplitConfig, make_patches
from finescan.quantification.alike import calmed
from finescan.quantification.matching import MEASURED_FATES, REFERENCE_FATES, match
from finescan.simulation import Simulated, simulate
from finescan.training import TrainConfig, train
from finescan.training.config import TermOptions
from finescan.trust.doubt_features import Sought
from finescan.trust.ranking import auroc
from finescan.values import Grid, Image, Pair, Residual, TrustMap, Verdict
from finescan.workflow import doubting, judging

RATIO, BORDER_PX, SMALLEST_PX = 4, 3, 6
CRITIC = TermOptions(critic="patch", adversarial=0.03, content_share=0.4)


@dataclass(frozen=True)
class Case:
    """A sample, the counts per pixel of both scans, and how the network learned."""

    recipe: str
    counts: tuple[float, float] | None = None
    learned_on: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    guard: bool = True


CASES = {
    "porous": Case("porous", (300.0, 400.0)),
    "noisy": Case("porous", (40.0, 60.0)),
    "sandstone": Case("sandstone"),
    "adversarial": Case("porous", (300.0, 400.0), training={"terms": CRITIC}, guard=False),
    "foreign": Case("porous", (300.0, 400.0), learned_on="sandstone", guard=False),
}


def scans(recipe: str, seed: int, size: int, fine: int, counts: tuple[float, float] | None) -> tuple[Simulated, Pair]:
    """A simulated map with its fine scan, perfectly registered."""
    job = simulate(recipe, size=size, ratio=float(RATIO), fine=fine, dtype="uint8", seed=seed, counts=counts)
    residual = Residual(0.0, 0.0, 1.0, float("nan"), {}, job.lr.grid)
    return job, Pair(job.lr, job.hr[0], job.lr_from_hr[0], Verdict.FOUND, (), residual)


def enhanced(case: Case, job: Simulated, patches: PatchSet, seed: int, size: int, fine: int, steps: int) -> Image:
    """The whole map by the case's network."""
    own = case.learned_on is None
    lesson = patches if own else make_patches([scans(str(case.learned_on), seed + 50, size, fine, None)[1]])
    config = TrainConfig(architecture="fast", max_steps=steps, members=1, threads=1, seed=seed, **case.training)
    model = train(lesson, config)
    how = EnhanceConfig(dtype="float32", guard=case.guard)
    if own:
        return enhance(model, job.lr, config=how).image
    theirs, ours = lesson.lr_grey, patches.lr_grey
    grey = (job.lr.array().astype(np.float32) - ours.mean) * (theirs.std / ours.std) + theirs.mean
    lr = Image(grey.astype(np.float32), Grid.of(job.lr.grid.shape, lesson.work_grid.pixel_size_nm), "coarse")
    out = enhance(model, lr, config=how).image.array()
    theirs, ours = lesson.hr_grey, patches.hr_grey
    return Image(((out - theirs.mean) * (ours.std / theirs.std) + ours.mean).astype(np.float32), patches.out_grid, "sr")


def labelled(picture: NDArray[Any], sought: Sought) -> NDArray[np.int32]:
    """Pores by number, from 1; those of a few pixels are noise."""
    labels, count = ndimage.label(sought.margin(calmed(picture, np.ones(picture.shape, bool))) >= 0)
    kept = np.bincount(labels.ravel(), minlength=count + 1) >= SMALLEST_PX
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]


def outside(coarse: Grid, patches: PatchSet) -> NDArray[np.bool_]:
    """Coarse pixels away from the fine scan and from the border of the map."""
    out = np.zeros(coarse.shape, bool)
    out[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = True
    for piece in patches.pieces:
        start = np.rint(coarse.to_index(piece.work_grid.origin_nm)).astype(int)
        box = [slice(max(0, a - 2), a + n + 2) for a, n in zip(start.tolist(), piece.lr.shape, strict=True)]
        out[tuple(box)] = False
    return out


def fine(values: NDArray[Any]) -> NDArray[Any]:
    """Coarse pixels as blocks of fine ones."""
    return np.repeat(np.repeat(values, RATIO, axis=0), RATIO, axis=1)


@dataclass
class Tally:
    """Scores of objects, whether they are wrong, and whether a flag touches them; of flags, and what they touch."""

    scores: dict[str, list[NDArray[Any]]] = field(default_factory=lambda: {"omission": [], "invention": []})
    wrong: dict[str, list[NDArray[Any]]] = field(default_factory=lambda: {"omission": [], "invention": []})
    touched: list[NDArray[Any]] = field(default_factory=list)
    right_flags: list[NDArray[Any]] = field(default_factory=list)
    area: list[float] = field(default_factory=list)

    def add(self, done: doubting.Doubted, true: NDArray[Any], ours: NDArray[Any], where: NDArray[np.bool_]) -> None:
        """One map."""
        fates = match(ours, true)
        wrong_px = np.zeros(true.shape, bool)
        usable = fine(where)
        masks = {k: done.flags.where(k) & where for k in self.scores}
        flagged = fine(masks["omission"] | masks["invention"])
        for kind, labels, fate, names in (
            ("omission", true, fates.reference_fate, REFERENCE_FATES),
            ("invention", ours, fates.measured_fate, MEASURED_FATES),
        ):
            number = np.arange(1, labels.max() + 1)
            inside = ndimage.mean(usable, labels, number) > 0.5
            wrong = fate == names.index("lost" if kind == "omission" else "invented")
            counted = inside & (wrong | (fate == names.index("found")))
            score = np.asarray(ndimage.mean(fine(done.maps[kind]), labels, number))
            self.scores[kind].append(score[counted])
            self.wrong[kind].append(wrong[counted])
            self.touched.append(np.asarray(ndimage.maximum(flagged, labels, number))[inside & wrong])
            wrong_px |= np.r_[False, wrong][labels]
        places, count = ndimage.label(fine(ndimage.binary_dilation(masks["omission"] | masks["invention"])))
        self.right_flags.append(np.asarray(ndimage.maximum(wrong_px, places, np.arange(1, count + 1))))
        self.area.append(float((masks["omission"] | masks["invention"])[where].mean()))

    def line(self) -> str:
        """For the table."""
        parts = []
        for kind in self.scores:
            score, wrong = np.concatenate(self.scores[kind]), np.concatenate(self.wrong[kind])
            area = auroc(score, wrong) if wrong.any() and not wrong.all() else float("nan")
            parts.append(f"{area:8.3f} ({int(wrong.sum()):3d} of {wrong.size:4d})")
        touched, right = np.concatenate(self.touched), np.concatenate(self.right_flags)
        share = 100 * float(np.mean(touched)) if touched.size else float("nan")
        return f"{'  '.join(parts)} {100 * np.mean(self.area):6.1f} % {share:8.0f} % {100 * np.mean(right):8.0f} %"


def one(case: Case, seed: int, size: int, scan_px: int, steps: int, tally: Tally) -> dict[str, Any]:
    """Simulate, learn, enhance, predict, judge."""
    job, pair = scans(case.recipe, seed, size, scan_px, case.counts)
    patches = make_patches([pair], config=SplitConfig(guard_lr_px=12))
    image = enhanced(case, job, patches, seed, size, scan_px, steps)
    check = judging.yardstick(patches, [pair])
    blank = TrustMap(np.zeros(job.lr.grid.shape, np.uint8), job.lr.grid)
    done = doubting.mark_doubts(image, job.lr, blank, patches, [pair], check)
    if done.facts["threshold"] is None:
        return done.facts
    sought = Sought(done.facts["objects"] == "dark", done.facts["threshold"])
    pictures = (job.truth.array().astype(np.float32), image.array().astype(np.float32))
    tally.add(done, *(labelled(p, sought) for p in pictures), outside(job.lr.grid, patches))
    return done.facts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, a shorter training, and no critic")
    parser.add_argument("--cases", nargs="+", choices=list(CASES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--steps", type=int, default=400)
    a = parser.parse_args()
    seeds, steps = (1, 120) if a.quick else (a.seeds, a.steps)
    cases = a.cases or [name for name, case in CASES.items() if not (a.quick and case.training)]
    print(f"{'':12} {'AUROC lost':>21}  {'AUROC invented':>21}  flagged  holds of wrong  right flags")
    everything = Tally()
    for name in cases:
        tally, began = Tally(), time.perf_counter()
        learned = [one(CASES[name], s, 256, 560, steps, tally) for s in range(a.first, a.first + seeds)]
        took = (time.perf_counter() - began) / seeds
        counts = ", ".join("/".join(str(f["objects_learned_from"].get(k, 0)) for k in ("found", "lost", "invented"))
                           for f in learned)  # fmt: skip
        print(f"{name:12} {tally.line()}   learned from {counts}; {took:.0f} s", flush=True)
        for mine, theirs in zip(vars(everything).values(), vars(tally).values(), strict=True):
            if isinstance(mine, dict):
                for kind in mine:
                    mine[kind] += theirs[kind]
            else:
                mine += theirs
    print(f"{'all':12} {everything.line()}")


if __name__ == "__main__":
    main()
