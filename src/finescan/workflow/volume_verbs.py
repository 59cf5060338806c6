"""The single verbs on files that hold volumes; :mod:`finescan.workflow.verbs` sends volumes here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finescan import io
from finescan.enhancement import Enhanced
from finescan.errors import InputError, ModelError
from finescan.models import Model
from finescan.quantification import Measurements
from finescan.values import Circle, Image, Pair, Region
from finescan.workflow.comparing import Compared
from finescan.workflow.folder import require_empty, write_json, write_whole
from finescan.workflow.model_trust import Carried, with_flags, with_intervals
from finescan.workflow.reading import Outcome, Reading
from finescan.workflow.volume_likeness import with_training_look

Progress = Callable[[float, float, str], None]
Box = tuple[tuple[int, ...], tuple[int, ...]]


def train_on_volumes(
    pairs: Sequence[Pair],
    output: Path,
    config: Mapping[str, Any],
    *,
    start: Model | None = None,
    progress: Progress | None,
) -> Outcome:
    """Train a network for volumes on registered pairs and write a model folder; continues an interrupted training.

    ``start`` is a model of the same architecture whose weights are trained further.
    """
    from finescan.models import save_model
    from finescan.patches import make_volume_patches
    from finescan.training import VolumeTrainConfig, train_volume

    options = dict(config)
    if options.get("architecture") == "fast":  # the default for pictures
        options["architecture"] = "volume"
    patches, settings = make_volume_patches(pairs), VolumeTrainConfig.of(**options)
    model = train_volume(patches, settings, initial=start, folder=output / "checkpoint", progress=progress)
    model = with_training_look(model, pairs[0].lr, patches)
    save_model(model, output)
    return Outcome({"model": str(output), "card": model.card.to_dict()}, f"{output}: {model.card}")


def enhance_volume_file(
    models: Sequence[Model],
    lr: Image,
    output: Path,
    compared: Compared,
    carried: Carried,
    *,
    dtype: str | None = None,
    region: Box | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Enhance a coarse volume with one model, or with several after each other.

    ``compared`` says how like the volume is to what the first model learned from, ``carried`` are the intervals of the
    model; the map of half widths is written if there are any. Work in progress is kept in ``<output>.work`` and
    continued by the next call.
    """
    from finescan.enhancement import VolumeEnhanceConfig, enhance_chain, enhance_volume

    config = VolumeEnhanceConfig(dtype=dtype, overwrite=overwrite)
    work = output.with_name(output.name + ".work")
    if len(models) > 1:
        if region is not None:
            raise InputError("A region can be enhanced by one model at a time. Leave out the region, or --then.")
        enhanced = enhance_chain(models, lr, work, config=config, progress=progress)[-1]
    else:
        grid = lr.grid.refine(models[0].card.sr_factor)
        box = None if region is None else Region(grid, *region)
        enhanced = enhance_volume(models[0], lr, folder=work, config=config, region=box, progress=progress)
    enhanced = compared.recorded(enhanced)
    enhanced = with_flags(enhanced, lr, carried, compared.counted.verdict)
    enhanced, known = with_intervals(enhanced, carried, output, compared.counted.verdict, overwrite)
    made = published(enhanced, output, work, overwrite)
    return Outcome({**made.facts, **compared.facts, **known}, made.text)


def published(enhanced: Enhanced, output: Path, work: Path, overwrite: bool) -> Outcome:
    """Write what was enhanced and its flags, drop the work in progress, and say what was made."""
    flags = flags_path(output)
    io.write(output, enhanced.image, overwrite=overwrite)
    io.write(flags, Image(enhanced.trust.flags, enhanced.trust.grid, flags.name), overwrite=overwrite)
    shutil.rmtree(work)
    shares = enhanced.trust.shares()
    lines = [f"{output}: {enhanced.image.grid}, {enhanced.image.dtype}", *enhanced.notes]
    lines += [f"flagged {name}: {100 * share:.2f} %" for name, share in shares.items() if share]
    return Outcome({"output": str(output), "grid": enhanced.image.grid.to_dict(), "flags": shares}, "\n".join(lines))


def flags_path(output: Path) -> Path:
    """Where the flags of an enhanced file go."""
    return output.with_name(output.name.split(".")[0] + ".flags.tif")


def require_one_kind(model: Model, lr: Image) -> None:
    """ModelError for a model of pictures and a volume, or the other way round."""
    if model.card.axes != lr.grid.axes:
        kinds = {"YX": "pictures", "ZYX": "volumes"}
        raise ModelError(
            f"The model is for {kinds[model.card.axes]}, but {lr.name} was read as one of {kinds[lr.grid.axes]}. Pass "
            "--volume or --picture to say how to read the file, or use another model."
        )


def simulate_volume_files(sample: str, output: Path, size: int, ratio: float, seed: int, overwrite: bool) -> Outcome:
    """Write ``coarse.tif``, ``fine.tif``, ``truth.tif`` and ``truth.json`` (the true warp) of a simulated pair."""
    from finescan.simulation.volumes import simulate_volume_pair
    from finescan.workflow.folder import make_folder

    pair = simulate_volume_pair(
        size, ratio=ratio, fine=round(0.6 * size * ratio), sample=sample, with_truth=True, seed=seed
    )
    make_folder(output)
    images = {"coarse.tif": pair.lr, "fine.tif": pair.hr, "truth.tif": pair.truth}
    for name, image in images.items():
        if image is not None:
            io.write(output / name, image, overwrite=overwrite)
    truth = {"sample": sample, "seed": seed, "lr_from_hr": [pair.lr_from_hr.to_dict()]}
    write_json(output / "truth.json", truth)
    files = [str(output / n) for n in (*images, "truth.json")]
    return Outcome({"files": files, "sample": sample, "seed": seed}, "\n".join(files))


def quantify_file(
    path: str | Path,
    output: str | Path,
    *,
    reference: str | Path | None = None,
    objects: str = "dark",
    threshold: float | None = None,
    round_field: bool = False,
    faces: str = "auto",
    reading: Reading | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Find, separate, count and measure the pores of an image or a volume, made by any program.

    Parameters
    ----------
    path : picture or volume.
    output : folder for ``pores.csv`` (one row per pore), ``sizes.csv`` (distribution of diameters) and ``pores.json``
        (counts, porosity, means).
    reference : another file on the same grid; every pore is matched with its pores.
    objects : "dark" or "bright".
    threshold : grey level; None = automatic.
    round_field : the field of view is the circle inside each slice.
    faces : which cut objects are left out: "auto", "ends", "all" or "none".
    reading : what the files do not say.

    Raises
    ------
    InputError, OutputError. No pore at all is no error: the notes say why.
    """
    from finescan.quantification import QuantifyConfig, match, quantify, write_csv
    from finescan.workflow.folder import make_folder

    output, reading = Path(output), reading or Reading()
    config = QuantifyConfig(pores=objects, threshold=threshold, faces=faces)
    image = reading.coarse(path)
    other = None if reference is None else reading.coarse(reference)
    require_empty(output, overwrite=overwrite)
    circle = Circle.inscribed(image.grid) if round_field else None
    pores = quantify(image, config=config, circle=circle)
    facts: dict[str, Any] = {"file": str(path), **pores.summary()}
    lines = [f"{image.name}: {pores}", *pores.notes]
    if other is not None:
        theirs = quantify(other, config=config, circle=circle)
        matching = match(pores, theirs)
        facts["matching"] = matching.summary()
        lines += [f"{other.name}: {theirs}", str(matching)]
    make_folder(output)
    write_csv(output / "pores.csv", pores, overwrite=overwrite)
    write_whole(output / "sizes.csv", sizes_text(pores))
    write_json(output / "pores.json", facts)
    return Outcome(facts, "\n".join([*lines, f"{output}: pores.csv, sizes.csv, pores.json"]))


def sizes_text(pores: Measurements) -> str:
    """The distribution of diameters as CSV."""
    sizes = pores.sizes
    rows = zip(sizes.edges[:-1].tolist(), sizes.edges[1:].tolist(), sizes.counts.tolist(), strict=True)
    lines = ["from_nm,to_nm,pores", *(f"{a:.9g},{b:.9g},{n}" for a, b, n in rows)]
    return "\n".join(lines) + "\n"
