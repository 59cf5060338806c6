"""Learning from coarse images alone: which zoom levels, and which contestant makes the result.

Which lists of zoom levels help differs from image to image, and one level down does not tell: a network can gain dBs
there and lose more at the finest levels. So several are tried, and what does best on *unseen recorded pixels* at levels
from half the factor on makes the result, on the stop blocks, which have no part in the judgement.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.errors import InputError
from finescan.models import MODELS, Model, load_model, save_model
from finescan.patches import PRESETS, MultiscaleConfig, PatchSet, multiscale_default, multiscale_patches
from finescan.patches.grey import cut_levels, filled, saturated
from finescan.patches.multiscale_config import between
from finescan.patches.multiscale_roles import held_places
from finescan.training import fit_contestants, train
from finescan.trust.unseen import Array, Method, UnseenCurve, least_counting, unseen_curve
from finescan.values import Grid, Image, Region
from finescan.workflow.checks import require_method
from finescan.workflow.learning import train_config, training_options
from finescan.workflow.opening import Job

LARGE_ENOUGH = 480  # pixels along the shorter side from which four times as many can be learned and judged
SMALLEST_PX = 16  # of a held-out box, recorded pixels
BLOCKS_ALONG = 16  # blocks of such a share of the picture, but of 16 to 64 px: small pictures need errors, too
Boxes = tuple[tuple[Region, ...], ...]  # of every image
TRAINED = ("train.architecture", "train.minutes", "train.steps", "train.members", "train.seed")
#: single pixels only: averaged coarse versions hold less noise than a scan has, and with them nothing is learned
_POINTS = ("nearest",)
_COARSER = between(0.4, 0.95, 0.05)

#: lists of ours: factor and images -> zoom levels
LISTS: dict[str, Callable[[int, Sequence[Image]], MultiscaleConfig]] = {
    "decoupled": lambda factor, images: multiscale_default(factor, images),
    "finer": lambda factor, _: MultiscaleConfig(_COARSER, (1.2, 1.5, 1.8), sr_factor=factor, filters=_POINTS),
    "coarser": lambda factor, _: MultiscaleConfig(_COARSER, sr_factor=factor, filters=_POINTS),
}
TRIED = ("decoupled", "finer")  # unless others are asked for


@dataclass(frozen=True)
class Learned:
    """What was learned from one list of zoom levels.

    Parameters
    ----------
    name : of the list.
    config, patches : the list, and the training set it made.
    network : trained.
    contestants : nearest, bicubic, lanczos, ridge.
    held : "stop" and "test" -> boxes of every image in recorded pixels.
    """

    name: str
    config: MultiscaleConfig
    patches: PatchSet
    network: Model
    contestants: Mapping[str, Model]
    held: Mapping[str, Boxes]

    @property
    def models(self) -> dict[str, Model]:
        """Everything that could make the result."""
        return {**self.contestants, self.network.card.architecture: self.network}


def choose_factor(job: Job, images: Sequence[Image]) -> int:
    """Enhanced pixels per recorded one, a choice of the plan; InputError where the network has another one."""
    small = min(min(i.grid.shape) for i in images) < LARGE_ENOUGH
    probe = any(io.is_probe(i) for i in images)
    why = "As published for scanning probes." if probe else "A small image: there is too little to learn more from."
    why = why if probe or small else "As published for electron microscopes; ask for 2 where that is enough."
    factor = int(job.plan.choose("target.factor", 2 if probe or small else 4, why))
    MultiscaleConfig(sr_factor=factor)  # refuses what no list of zoom levels can be made for
    name = job.plan.choose("train.architecture", "fast", "Small, and learns all there is in a minute.")
    known = MODELS[name].factors
    if known and factor not in known:
        raise InputError(
            f"The network {name} enhances by {' or '.join(map(str, known))}, but the factor is {factor}. Pass one of "
            "these with --factor, or use the network fast."
        )
    return factor


def training_sets(
    job: Job, images: Sequence[Image]
) -> tuple[dict[str, tuple[MultiscaleConfig, PatchSet]], dict[str, Boxes]]:
    """The training set of every list of zoom levels that is to be tried, and the held-out boxes, which they share."""
    factor = choose_factor(job, images)
    asked = job.plan.choose(
        "train.levels", "auto", "Several lists are tried; what does best on unseen recorded pixels is used."
    )
    job.progress(0, 1, "laying out training data")
    configs = {name: levels_of(name, factor, images) for name in (TRIED if asked == "auto" else [asked])}
    sets = {name: (config, multiscale_patches(images, config)) for name, config in configs.items()}
    held = held_boxes(images, next(iter(configs.values())))
    if not any(held["test"]):
        raise InputError(
            f"No held-out block of at least {SMALLEST_PX} px is left to judge on. Use larger or more images, or a "
            "smaller factor."
        )
    job.step("patches", ("target.factor", "train.levels"))
    job.progress(1, 1, "laying out training data")
    return sets, held


def levels_of(name: str, factor: int, images: Sequence[Image]) -> MultiscaleConfig:
    """A list of ours or a published one, by its name."""
    if name in LISTS:
        return LISTS[name](factor, images)
    config = PRESETS[name]
    if config.sr_factor != factor or config.reads != 1:
        raise InputError(
            f"The zoom levels {name!r} are for images of the recorded level and a factor of {config.sr_factor}, but "
            f"the factor is {factor}. Choose other levels (train.levels) or another factor."
        )
    return config


def learn(job: Job, sets: Mapping[str, tuple[MultiscaleConfig, PatchSet]], held: Mapping[str, Boxes]) -> list[Learned]:
    """A network for every training set; the time budget is shared."""
    plan = job.plan
    plan.choose("train.minutes", 1.0, "Most of the gain is there after a minute.")
    plan.choose("train.steps", None, "From the time budget; a number makes every run on this machine equal to the bit.")
    plan.choose("train.members", 3, "Spare time goes to more networks, whose mean is better than any of them.")
    plan.choose("train.seed", 0, "Fixed, so that the same files give the same result.")
    require_method({"result.method": plan.values.get("result.method", "auto"), **plan.part(TRAINED)})
    key = job.step("train", TRAINED)
    job.save_plan()
    out: list[Learned] = []
    for name, (config, patches) in sets.items():
        network = _trained(job, name, patches, key, (len(out), len(sets)))
        out.append(Learned(name, config, patches, network, fit_contestants(patches), held))
    return out


def _trained(job: Job, name: str, patches: PatchSet, key: str, place: tuple[int, int]) -> Model:
    """The network of one list of zoom levels; ``place`` is its number and how many share the time."""
    folder, step = job.folder.path / "models" / name, f"train {name}"
    if job.folder.is_done(step, key, f"models/{name}/card.json"):
        return load_model(folder)
    options = training_options(job.plan.part(TRAINED))
    if "minutes" in options:
        options["minutes"] = options["minutes"] / place[1]

    def progress(done: float, total: float, message: str) -> None:
        job.progress(place[0] + done / total, place[1], f"{name} levels, {message}")

    model = train(patches, train_config(options), folder=folder / f"checkpoint-{key}", progress=progress)
    save_model(model, folder)
    job.folder.finish(step, key)
    facts = {k: model.card.training.get(k) for k in ("seconds", "steps", "stop_psnr")}
    job.folder.log("trained", levels=name, **facts)
    return load_model(folder)


def keep(job: Job, chosen: Learned, method: str) -> None:
    """The model that made the result (of an interpolation, the network that was not good enough) in ``model/``."""
    model = chosen.models[method] if method in ("ridge", chosen.network.card.architecture) else chosen.network
    shutil.rmtree(job.folder.path / "model", ignore_errors=True)
    save_model(model, job.folder.path / "model")


# ---------------------------------------------------------------------------------------------- choosing
def choose(job: Job, images: Sequence[Image], learned: Sequence[Learned]) -> tuple[str, Learned, UnseenCurve | None]:
    """What makes the result: method, what it was learned with, and the contest on the stop blocks."""
    asked = str(job.plan.choose("result.method", "auto", "What does best on unseen recorded pixels; else bicubic."))
    boxes = learned[0].held["stop"]
    entries = {"bicubic": (learned[0], "bicubic")}
    for one in learned:
        for method in ("ridge", one.network.card.architecture):
            if asked in ("auto", method):
                entries[f"{method}, {one.name}"] = (one, method)
    if asked not in ("auto", *(m for _, m in entries.values())):
        return asked, learned[0], None
    methods = {n: as_method(one.models[m], images[0].grid) for n, (one, m) in entries.items()}
    curve = contest(
        images, boxes, learned[0].patches, methods, "bicubic", least_level=least_counting(learned[0].patches.factor)
    )
    if curve is None:
        return (str(learned[0].network.card.training["chosen"]) if asked == "auto" else asked), learned[0], None
    best = best_of(curve, [n for n, (_, m) in entries.items() if asked in ("auto", m)])
    return entries[best][1], entries[best][0], curve


def best_of(curve: UnseenCurve, rivals: Sequence[str]) -> str:
    """The rival with the highest mean PSNR over levels; the baseline goes before those with a lower MS-SSIM."""
    base = np.array(curve.scores[curve.baseline]["ms_ssim"])

    def like(name: str) -> bool:
        return bool(np.mean(np.array(curve.scores[name]["ms_ssim"]) - base) >= 0)

    good = [n for n in rivals if curve.baseline not in rivals or like(n)]
    return max(good, key=lambda n: float(np.mean(curve.scores[n]["psnr"])))


def held_boxes(images: Sequence[Image], config: MultiscaleConfig) -> dict[str, Boxes]:
    """Held-out boxes of every image by role, in recorded pixels: not learned from at any level."""
    pictures = [filled(i.array())[0] for i in images]
    held, _ = held_places(pictures, [i.name for i in images], config.sr_factor, config.split)

    def large(image: Image, boxes: Sequence[tuple[int, int, int, int]]) -> tuple[Region, ...]:
        kept = [b for b in boxes if min(b[2] - b[0], b[3] - b[1]) >= SMALLEST_PX]
        return tuple(Region.clipped(image.grid, b[:2], b[2:]) for b in kept)

    return {
        role: tuple(large(i, h.get(role, [])) for i, h in zip(images, held, strict=True)) for role in ("stop", "test")
    }


def split_px(images: Sequence[Image]) -> int:
    """Side of the blocks that held-out boxes are cut into."""
    return int(np.clip(min(min(i.grid.shape) for i in images) // BLOCKS_ALONG, 16, 64))


def as_method(model: Model, grid: Grid) -> Method:
    """A model as a function of pictures, which are taken for recorded ones of its pixel size."""
    config = EnhanceConfig(dtype="float32", saturation=(None, None), pyramid=False)

    def method(picture: Array) -> Array:
        image = Image(np.asarray(picture, np.float32), Grid.of(picture.shape, grid.pixel_size_nm), "one level down")
        return np.asarray(enhance(model, image, config=config).image.data, np.float32)

    return method


def contest(
    images: Sequence[Image], boxes: Sequence[Sequence[Region]], patches: PatchSet, methods: Mapping[str, Method],
    candidate: str, **options: Any,
) -> UnseenCurve | None:  # fmt: skip
    """Methods on unseen recorded pixels of some boxes; None where there is too little to judge with."""
    recorded = [i.array() for i in images]
    bad = [saturated(a, cut_levels(a)) for a in recorded]
    grey = patches.hr_grey
    try:
        return unseen_curve(
            list(zip(recorded, boxes, strict=True)), patches.factor, methods, data_range=grey.high - grey.low,
            candidate=candidate, bad=bad, split_px=split_px(images), **options,
        )  # fmt: skip
    except InputError:
        return None
