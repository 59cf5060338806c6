"""How well are lost and invented pores told where no fine scan was recorded? Simulated maps, true specimen known.

    python benchmarks/error_maps.py [--volumes] [--quick] [--cases porous noisy …] [--seeds 2] [--steps 400]

Every map has a fine scan (4 x) of a part, from which a network learns and from whose pores the doubts are learned. All
pores outside it count: true ones as found or lost, enhanced ones as found or invented (`quantification.match`). Printed
per case: AUROC with which lost pores are ranked above found ones by the predicted probability of omission, and
invented above found ones by that of invention (aim: 0.90 or more); the share of the area that is flagged (5 % at most);
the share of all wrong pores that the flags touch (aim: half or more); and the share of the flagged places (connected
coarse pixels) that hold a wrong pore, or touch one.

Cases of pictures: `adversarial` is trained against a critic, `foreign` learned on another kind of sample and is brought
to the grey levels of this one; both are used without the guard that falls back to interpolation. Of volumes
(`--volumes`) a pore is wrong if the other volume shows less than half of it within two fine voxels, which is what the
flags mean, because pores that touch are one object there; `tomogram` is a foam recorded twice by a simulated cone-beam
tomograph, sharp and blurred, with the same voxels; the network of `foreign foam` learned from grains; `implanted` has
12 pores wiped out of the result and 12 others copied into solid, because networks rarely invent pores in a foam.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.enhancement import EnhanceConfig, VolumeEnhanceConfig, enhance, enhance_volume
from finescan.patches import PatchSet, SplitConfig, VolumePatchSet, make_patches, make_volume_patches
from finescan.quantification.alike import calmed
from finescan.quantification.matching import MEASURED_FATES, REFERENCE_FATES, match
from finescan.simulation import Simulated, simulate
from finescan.simulation.foam_scans import plan_foam, record_foam, true_foam
from finescan.simulation.volumes import Placement, simulate_volume_pair
from finescan.training import TrainConfig, VolumeTrainConfig, train, train_volume
from finescan.training.config import TermOptions
from finescan.trust.consistency import Consistency
from finescan.trust.doubt import Doubts
from finescan.trust.doubt_features import Sought
from finescan.trust.doubt_flags import doubt_maps
from finescan.trust.doubt_objects import Seen, wrong_objects
from finescan.trust.ranking import auroc
from finescan.values import Circle, Grid, Image, Pair, Region, Residual, TrustMap, Verdict, Warp
from finescan.workflow import doubting, judging, volume_doubting, volume_judging
from finescan.workflow.field_of_view import corners_are_empty, field_of_view

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


@dataclass(frozen=True)
class VolumeCase:
    """A sample, coarse over fine voxel size, noise of both scans, edges in coarse and in fine voxels."""

    sample: str
    ratio: int
    noise: tuple[float, float] = (0.06, 0.05)
    size: int = 60
    fine: int = 96
    wanted: str = "dark"
    learned_on: str | None = None
    implanted: int = 0


VOLUMES = {
    "foam": VolumeCase("foam", 3),
    "noisy foam": VolumeCase("foam", 3, (0.15, 0.08)),
    "grains": VolumeCase("grains", 3, (0.1, 0.08), wanted="bright"),
    "foreign foam": VolumeCase("foam", 3, learned_on="grains"),
    "implanted": VolumeCase("foam", 3, implanted=12),
    "tomogram": VolumeCase("tomogram", 1, size=128, fine=64),
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


def outside_volume(coarse: Grid, patches: VolumePatchSet, ratio: int) -> NDArray[np.bool_]:
    """As :func:`outside`, of a volume."""
    out = np.zeros(coarse.shape, bool)
    out[(slice(BORDER_PX, -BORDER_PX),) * 3] = True
    out &= patches.circle.distance(coarse) < 1 - BORDER_PX * coarse.pixel_size_nm[1] / patches.circle.radius_nm
    for piece in patches.pieces:
        known = volume_judging.fine_box(patches, piece)
        box = [slice(max(0, a // ratio - 2), -(-b // ratio) + 2) for a, b in zip(known.start, known.stop, strict=True)]
        out[tuple(box)] = False
    return out


def fine(values: NDArray[Any], ratio: int = RATIO) -> NDArray[Any]:
    """Coarse pixels as blocks of fine ones."""
    for axis in range(values.ndim):
        values = np.repeat(values, ratio, axis=axis)
    return values


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
        lost, invented = (
            np.r_[False, fate == names.index(word)]
            for fate, names, word in (
                (fates.reference_fate, REFERENCE_FATES, "lost"),
                (fates.measured_fate, MEASURED_FATES, "invented"),
            )
        )
        counted = {
            "omission": lost | np.r_[False, fates.reference_fate == REFERENCE_FATES.index("found")],
            "invention": invented | np.r_[False, fates.measured_fate == MEASURED_FATES.index("found")],
        }
        self.judge(done, {"omission": (true, lost), "invention": (ours, invented)}, counted, where, RATIO)

    def judge(
        self,
        done: doubting.Doubted,
        objects: dict[str, tuple[NDArray[Any], NDArray[np.bool_]]],
        counted: dict[str, NDArray[np.bool_]],
        where: NDArray[np.bool_],
        ratio: int,
    ) -> None:
        """One map or volume: per kind the numbered objects, which of them are wrong, and which take part at all."""
        masks = {k: done.flags.where(k) & where for k in self.scores}
        usable, flagged = fine(where, ratio), fine(masks["omission"] | masks["invention"], ratio)
        wrong_px = np.zeros(usable.shape, bool)
        for kind, (labels, is_wrong) in objects.items():
            number = np.arange(1, labels.max() + 1)
            inside, wrong = ndimage.mean(usable, labels, number) > 0.5, is_wrong[1:]
            score = np.asarray(ndimage.mean(fine(done.maps[kind], ratio), labels, number))
            self.scores[kind].append(score[inside & counted[kind][1:]])
            self.wrong[kind].append(wrong[inside & counted[kind][1:]])
            self.touched.append(np.asarray(ndimage.maximum(flagged, labels, number))[inside & wrong])
            wrong_px |= is_wrong[labels]
        places, count = ndimage.label(fine(ndimage.binary_dilation(masks["omission"] | masks["invention"]), ratio))
        self.right_flags.append(np.asarray(ndimage.maximum(wrong_px, places, np.arange(1, count + 1))))
        self.area.append(float((masks["omission"] | masks["invention"])[where].mean()))

    def __iadd__(self, other: Tally) -> Tally:
        """The maps of both."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            if isinstance(mine, dict):
                for kind in mine:
                    mine[kind] += theirs[kind]
            else:
                mine += theirs
        return self

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


@dataclass(frozen=True)
class Volume:
    """A coarse volume, what is known about it, and what was made of it."""

    lr: Image
    truth: Image
    patches: VolumePatchSet
    image: Image
    flags: TrustMap
    check: Consistency
    wanted: str


def volume_pair(case: VolumeCase, seed: int) -> tuple[Image, Image, Warp, Image]:
    """Coarse and fine volume, how they lie, and the truth on the fine grid."""
    if case.sample == "tomogram":
        foam = plan_foam(case.size, seed=seed)
        lr, hr, truth = record_foam(foam, 3.0), record_foam(foam, 1.0, role="hres"), true_foam(foam)
        start = tuple((n - case.fine) // 2 - 16 for n in foam.grid.shape)
        part = Region(foam.grid, start, tuple(a + case.fine for a in start))
        return lr, hr.crop(part), Warp.identity(3), truth
    corner = Placement(centre=(0.32, 0.32, 0.32), rotation_deg=0.3, scale=0.002)
    pair = simulate_volume_pair(
        case.size, ratio=case.ratio, fine=case.fine, sample=case.sample, noise=case.noise, placement=corner,
        with_truth=True, seed=seed,
    )  # fmt: skip
    assert pair.truth is not None
    return pair.lr, pair.hr, pair.lr_from_hr, pair.truth


def volume_patches(case: VolumeCase, seed: int) -> tuple[Image, Image, VolumePatchSet]:
    """Coarse volume, truth, and the fine volume laid out for training."""
    lr, hr, warp, truth = volume_pair(case, seed)
    pair = Pair(lr, hr, warp, Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, lr.grid))
    circle = field_of_view(lr, corners_are_empty(lr, Circle.inscribed(lr.grid)))
    return lr, truth, make_volume_patches([pair], circle=circle)


def volume(case: VolumeCase, seed: int, steps: int) -> Volume:
    """Simulate, learn, enhance."""
    lr, truth, patches = volume_patches(case, seed)
    lesson = patches
    if case.learned_on is not None:
        lesson = volume_patches(replace(case, sample=case.learned_on), seed + 50)[2]
    config = VolumeTrainConfig(max_steps=steps, threads=1, seed=seed, batch=1, slices=32, side=32)
    model, how = train_volume(lesson, config), VolumeEnhanceConfig(dtype="float32", circle=patches.circle)
    made, check = enhance_volume(model, lr, config=how), volume_judging.yardstick(patches, lr)
    image = made.image if not case.implanted else implanted(made.image, patches, case, seed)
    return Volume(lr, truth, patches, image, made.trust, check, case.wanted)


def implanted(image: Image, patches: VolumePatchSet, case: VolumeCase, seed: int) -> Image:
    """Small pores that stand alone wiped out, and others copied into solid; nothing where there is a fine scan."""
    out, rng = image.array().copy(), np.random.default_rng(seed)
    level = np.quantile(out, (0.02, 0.9)).mean()
    labels, count = ndimage.label(out < level)
    free = fine(outside_volume(image.grid.coarsen(case.ratio), patches, case.ratio), case.ratio)
    solid = ndimage.distance_transform_cdt(out >= level)
    bodies, copies = ndimage.find_objects(labels), []
    for number in rng.permutation(count) + 1:
        box = tuple(slice(s.start - 2, s.stop + 2) for s in bodies[number - 1])
        alone = free[box].all() and not ((labels[box] != number) & (labels[box] > 0)).any()
        if not (min(s.start for s in box) >= 0 and alone and 30 <= (labels[box] == number).sum() <= 600):
            continue
        ground = np.quantile(out[box], 0.9)
        copies.append(np.where(solid[box] <= 2, ground - out[box], 0))
        if len(copies) <= case.implanted:
            out[box] = np.where(solid[box] <= 2, ground, out[box])
        if len(copies) == 2 * case.implanted:
            break
    for copy in copies[-case.implanted :]:
        half = max(copy.shape) // 2
        places = np.argwhere(free & (ndimage.minimum_filter(out, 2 * half + 1) >= level))
        if not len(places):
            continue
        at = places[rng.integers(len(places))] - np.array(copy.shape) // 2
        out[tuple(slice(a, a + n) for a, n in zip(at, copy.shape, strict=True))] -= copy
    return image.with_data(out)


def one_volume(made: Volume, ratio: int, tally: Tally) -> dict[str, Any]:
    """Predict, judge."""
    circle = made.patches.circle
    done = volume_doubting.mark_volume_doubts(
        made.image,
        made.lr,
        made.flags,
        made.patches,
        made.check,
        None,
        made.wanted,  # type: ignore[arg-type]
    )
    if not done.facts["predicted"] or done.facts["threshold"] is None:
        return done.facts
    doubts = Doubts.from_dict(done.facts["model"])
    done = replace(done, maps=doubt_maps(made.image, made.lr, made.check, doubts, circle))
    known = np.broadcast_to(circle.mask(made.truth.grid), made.truth.grid.shape)
    pictures = [np.nan_to_num(np.asarray(i.data, np.float32)) for i in (made.image, made.truth)]
    labels = wrong_objects(Seen(*pictures, known, made.truth.grid), doubts.sought)
    objects = {"omission": (labels.theirs, labels.lost), "invention": (labels.ours, labels.invented)}
    counted = {kind: np.ones(wrong.shape, bool) for kind, (_, wrong) in objects.items()}
    tally.judge(done, objects, counted, outside_volume(made.lr.grid, made.patches, ratio), ratio)
    return done.facts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", action="store_true", help="volumes in the place of pictures")
    parser.add_argument("--quick", action="store_true", help="one seed, a shorter training, and no critic or tomograph")
    parser.add_argument("--cases", nargs="+", choices=[*CASES, *VOLUMES])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--steps", type=int, help="of the training; 400 for pictures, 200 for volumes")
    a = parser.parse_args()
    seeds = range(a.first, a.first + (1 if a.quick else a.seeds))
    steps = a.steps or (120 if a.quick else 200 if a.volumes else 400)
    slow = ["tomogram", *(name for name, case in CASES.items() if case.training)]
    cases = a.cases or [n for n in (VOLUMES if a.volumes else CASES) if not (a.quick and n in slow)]
    print(f"{'':12} {'AUROC lost':>21}  {'AUROC invented':>21}  flagged  holds of wrong  right flags")
    everything = Tally()
    for name in cases:
        tally, began = Tally(), time.perf_counter()
        if name in VOLUMES:
            case = VOLUMES[name]
            learned = [one_volume(volume(case, s, steps), case.ratio, tally) for s in seeds]
        else:
            learned = [one(CASES[name], s, 256, 560, steps, tally) for s in seeds]
        told(name, tally, learned, (time.perf_counter() - began) / len(seeds))
        everything += tally
    print(f"{'all':12} {everything.line()}")


def told(name: str, tally: Tally, learned: list[dict[str, Any]], took: float) -> None:
    """A line of the table."""
    counts = ", ".join(
        "/".join(str(f["objects_learned_from"].get(k, 0)) for k in ("found", "lost", "invented")) if f["predicted"]
        else "nothing" for f in learned
    )  # fmt: skip
    print(f"{name:12} {tally.line()}   learned from {counts}; {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
