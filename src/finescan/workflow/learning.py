"""``train`` on files: a coarse map with fine scans in it, pairs recorded one by one, or coarse pictures alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finescan import io
from finescan.errors import InputError, OutputError
from finescan.registration import load_pair, register_all, require_found
from finescan.registration.align import AlignOptions
from finescan.values import Image, Pair
from finescan.workflow.folder import make_folder
from finescan.workflow.pair_files import read_pairs
from finescan.workflow.reading import Outcome, Reading, as_paths
from finescan.workflow.verbs import pair_name

if TYPE_CHECKING:
    from finescan.models import Model
    from finescan.patches import MultiscaleConfig, PatchSet, ReferenceBank
    from finescan.training import TrainConfig

Progress = Callable[[float, float, str], None]
Paths = str | Path | Sequence[str | Path]
OURS = "ours"  # the zoom levels of multiscale_default


def train_files(
    coarse: str | Path | None,
    fine: Paths | None,
    output: str | Path,
    *,
    recorded: str | Path | None = None,
    start: str | Path | None = None,
    references: Sequence[str | Path] = (),
    pair_folder: str | Path | None = None,
    objective: str = "auto",
    reading: Reading | None = None,
    config: Mapping[str, Any] | None = None,
    force: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Train a network and write a model folder; continues an interrupted training.

    Parameters
    ----------
    coarse, fine : a coarse scan and fine scans of a part of it; None with ``recorded``.
    output : the model folder.
    recorded : folder of pairs recorded one by one (see :func:`finescan.workflow.pair_files.read_pairs`), instead.
    start : model folder whose weights are trained further, on its own network unless ``config`` names one.
    references : fine scans recorded apart that the texture transformer takes texture from, of the result's pixel size;
        none = cut from the training area.
    pair_folder : written by ``register``; None = register first.
    objective : of the registration.
    config : entries of :class:`finescan.training.TrainConfig` (volumes: ``VolumeTrainConfig``); those of the values in
        it by names such as ``terms.critic``.

    Raises
    ------
    InputError, RegistrationRefused, ModelError, OutputError, TrainingStopped: one sentence each.
    """
    from finescan.models import load_model

    AlignOptions().with_objective(objective)  # a slip is said before anything is read
    _require_one_source(coarse, fine, recorded, pair_folder)
    output, reading = Path(output), reading or Reading()
    if (output / "card.json").exists() and not overwrite:
        raise OutputError(f"{output} holds a finished model. Choose another folder, or pass --overwrite.")
    model = None if start is None else load_model(Path(start))
    options = nested(config or {})
    options.setdefault("architecture", "fast" if model is None else model.card.architecture)
    apart = [reading.fine(p) for p in references]
    if recorded is not None:
        return _train_on_recorded(Path(recorded), output, options, model, apart, reading, overwrite, progress)
    assert coarse is not None and fine is not None  # checked above
    lr, hrs = _scans(coarse, fine, reading)
    _prepare(output, overwrite)
    pairs = _pairs(lr, hrs, pair_folder, objective, force, progress)
    if lr.grid.ndim == 3:
        from finescan.workflow.volume_verbs import train_on_volumes

        return train_on_volumes(pairs, output, options, start=model, progress=progress)
    from finescan.patches import make_patches

    patches, wanted = make_patches(pairs), train_config(options)
    bank = _bank(apart, patches, wanted, model) if apart else None
    made = _learned(patches, output, wanted, progress, start=model, references=bank)
    return _calibrated(made, patches, output, pairs)


def train_alone(
    images: Paths,
    output: str | Path,
    *,
    levels: MultiscaleConfig | str = OURS,
    sr_factor: int | None = None,
    flatten: bool = False,
    reading: Reading | None = None,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Train a network on coarse pictures alone, where no fine scan can be recorded; continues where it stopped.

    Parameters
    ----------
    images : recorded pictures of one zoom level.
    output : the model folder.
    levels : zoom levels to learn from; "ours" = :func:`finescan.patches.multiscale_default` of these pictures.
    sr_factor : of the enhancement, with "ours"; None = 2 for scanning probes, else 4.
    flatten : level the lines of scanning-probe pictures first.
    reading : what the files do not say.
    config : entries of :class:`finescan.training.TrainConfig`.

    Raises
    ------
    InputError, ModelError, OutputError, TrainingStopped: one sentence each.
    """
    from finescan.patches import multiscale_default, multiscale_patches

    output, reading, options = Path(output), reading or Reading(), nested(config or {})
    if (output / "card.json").exists() and not overwrite:
        raise OutputError(f"{output} holds a finished model. Choose another folder, or pass --overwrite.")
    wanted = train_config(options)
    pictures = [reading.coarse(p) for p in as_paths(images)]
    pictures = [io.flatten_lines(p) for p in pictures] if flatten else pictures
    if isinstance(levels, str):
        factor = sr_factor or (2 if any(io.is_probe(p) for p in pictures) else 4)
        levels = multiscale_default(factor, pictures)
    patches = multiscale_patches(pictures, levels)
    _prepare(output, overwrite)
    return _learned(patches, output, wanted, progress)


def _bank(images: Sequence[Image], patches: PatchSet, config: TrainConfig, start: Model | None) -> ReferenceBank:
    """References that were recorded apart; InputError for a network that takes none."""
    from finescan.models import MODELS
    from finescan.patches import bank_from_images
    from finescan.training.references import bank_size

    if not MODELS[config.architecture].references:
        raise InputError(
            f"{config.architecture} takes no texture from references. Leave --reference out, or train ttsr-grey."
        )
    count, side = bank_size(config, start)
    return bank_from_images(
        images, pixel_size_nm=patches.out_grid.pixel_size_nm, count=count, side=side, seed=config.seed
    )


def _require_one_source(coarse: object, fine: object, recorded: object, pair_folder: object) -> None:
    if recorded is None and (coarse is None or not fine):
        raise InputError(
            "Training needs a coarse scan and a fine scan of a part of it, or with --pairs a folder of pairs that were "
            "recorded one by one."
        )
    if recorded is not None and (coarse is not None or fine or pair_folder is not None):
        raise InputError(
            "With --pairs all scans come from that folder, but others were given, too. Leave out one or the other."
        )


def _scans(coarse: str | Path, fine: Paths, reading: Reading) -> tuple[Image, list[Image]]:
    lr = reading.coarse(coarse)
    hrs = [reading.fine(p) for p in as_paths(fine)]
    for hr in hrs:
        io.require_pair(lr, hr)
    return lr, hrs


def _prepare(output: Path, overwrite: bool) -> None:
    make_folder(output)
    if overwrite:
        shutil.rmtree(output / "checkpoint", ignore_errors=True)


def _pairs(
    lr: Image, hrs: list[Image], folder: str | Path | None, objective: str, force: bool, progress: Progress | None
) -> list[Pair]:
    if folder is None:
        pairs = register_all(lr, hrs, progress=progress, objective=objective)
    else:
        pairs = [load_pair(Path(folder) / pair_name(k, hr), lr, hr) for k, hr in enumerate(hrs)]
    for pair in pairs:
        require_found(pair, force=force)
    return pairs


def _train_on_recorded(
    folder: Path,
    output: Path,
    options: Mapping[str, Any],
    start: Model | None,
    apart: Sequence[Image],
    reading: Reading,
    overwrite: bool,
    progress: Progress | None,
) -> Outcome:
    from finescan.models import MODELS
    from finescan.patches import recorded_patches, recorded_references
    from finescan.training.references import bank_size

    config, bank = train_config(options), None
    scans = read_pairs(folder, reading)
    _prepare(output, overwrite)
    patches = recorded_patches(scans)
    if apart:
        bank = _bank(apart, patches, config, start)
    elif MODELS[config.architecture].references:
        count, side = bank_size(config, start)
        bank = recorded_references(scans, count=count, side=side, seed=config.seed)
    return _learned(patches, output, config, progress, start=start, references=bank)


def _learned(patches: PatchSet, output: Path, config: TrainConfig, progress: Progress | None, **given: Any) -> Outcome:
    from finescan.models import save_model
    from finescan.training import train
    from finescan.workflow.model_trust import forget

    model = train(patches, config, folder=output / "checkpoint", progress=progress, **given)
    forget(output)
    save_model(model, output)
    lines = [f"{output}: {model.card}", *model.card.training["notes"]]
    return Outcome({"model": str(output), "card": model.card.to_dict()}, "\n".join(lines))


def _calibrated(made: Outcome, patches: PatchSet, output: Path, pairs: Sequence[Pair]) -> Outcome:
    """The model that was written, with the intervals of what it makes."""
    from finescan.models import load_model
    from finescan.workflow.judging import yardstick
    from finescan.workflow.model_trust import keep, measure_with_model

    model = load_model(output)
    facts = measure_with_model(model, patches, pairs)
    keep(output, model, facts, yardstick(patches, pairs).to_dict())
    return Outcome({**made.facts, "intervals": facts}, f"{made.text}\n{facts['sentence']}")


def train_config(options: Mapping[str, Any]) -> Any:
    """A TrainConfig; an InputError in one sentence when an option makes no sense."""
    from pydantic import ValidationError

    from finescan.training import TrainConfig

    try:
        return TrainConfig(**options)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(v) for v in first["loc"])
        raise InputError(f"The training option {where!r} cannot be {first.get('input')!r}: {first['msg']}.") from e


def training_options(choices: Mapping[str, Any]) -> dict[str, Any]:
    """``train.…`` choices of a plan for TrainConfig; with a fixed number of steps nothing is left to timing."""
    options = {name.split(".")[1]: value for name, value in choices.items() if name != "train.start"}
    steps = options.pop("steps")
    if steps is None:
        return options
    return {**options, "max_steps": steps, "precision": "float32", "threads": min(os.cpu_count() or 1, 8)}


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Entries with dotted names as entries of the values they belong to.

    Examples
    --------
    >>> nested({"loss": "l2", "terms.critic": "patch", "terms.texture": 0.01})
    {'loss': 'l2', 'terms': {'critic': 'patch', 'texture': 0.01}}
    """
    out: dict[str, Any] = {}
    for name, value in options.items():
        outer, dot, inner = name.partition(".")
        if dot:
            out.setdefault(outer, {})[inner] = value
        else:
            out[name] = value
    return out
