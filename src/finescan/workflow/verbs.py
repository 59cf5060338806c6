"""The single verbs on files: what the command line calls, each also usable from Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from finescan import io
from finescan.errors import InputError, OutputError
from finescan.registration import AlignOptions, register_all, save_pair
from finescan.registration.prior import prior_from_headers
from finescan.values import Image, Pair
from finescan.workflow.folder import make_folder, require_empty, write_json
from finescan.workflow.reading import Outcome, Reading, as_paths

Progress = Callable[[float, float, str], None]
SIZE_TOLERANCE = 0.05  # relative, besides what the stage tilts explain; beyond it a pixel size is wrong
Landmarks = Sequence[Sequence[Sequence[Sequence[float]]]]


def register_files(
    coarse: str | Path,
    fine: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    reading: Reading | None = None,
    landmarks: Landmarks | None = None,
    objective: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Find fine scans in a coarse map and write one folder per pair under ``output``.

    Parameters
    ----------
    objective : what the refinement compares: "auto", "grey" or "joint-histogram".

    Raises
    ------
    InputError, OutputError; a refused registration is *no* error here: the verdict is in the outcome.
    """
    output = Path(output)
    reading = reading or Reading()
    AlignOptions().with_objective(objective)  # a slip is said before anything is read
    lr = reading.coarse(coarse)
    hrs = [reading.fine(p) for p in as_paths(fine)]
    for hr in hrs:
        io.require_pair(lr, hr)
    require_empty(output, overwrite=overwrite)
    make_folder(output)
    pairs = register_all(lr, hrs, landmarks=landmarks, progress=progress, objective=objective)
    for k, pair in enumerate(pairs):
        save_pair(pair, output / pair_name(k, pair.hr))
    return Outcome({"pairs": [pair_facts(p) for p in pairs]}, "\n".join(pair_text(p) for p in pairs))


def pair_name(index: int, hr: Image) -> str:
    """Folder name of the ``index``-th pair: unique, and safe on every system."""
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(hr.name).stem)
    return f"{index + 1:02d}-{stem[:60]}"


def pair_facts(pair: Pair) -> dict[str, Any]:
    """A pair's verdict and figures, for JSON."""
    return {
        "coarse": pair.lr.name,
        "fine": pair.hr.name,
        "verdict": pair.verdict.value,
        "reasons": list(pair.reasons),
        **pair.residual.to_dict(),
        "lr_from_hr": pair.lr_from_hr.to_dict(),
    }


def pair_text(pair: Pair) -> str:
    """A pair in a few lines."""
    r = pair.residual
    centre = pair.hr.grid.to_nm([(n - 1) / 2 for n in pair.hr.grid.shape])
    where = ", ".join(f"{v:.1f}" for v in pair.lr.grid.to_index(pair.lr_from_hr(centre)))
    head = f"{pair.hr.name} in {pair.lr.name}: {pair.verdict.value}, centre at coarse pixel ({where})"
    figures = f"  split error {r.split_error_hr_px:.2f} fine px, decoy ratio {r.decoy_ratio:.2f}, {pair.lr_from_hr}"
    figures += f", by {objective}" if (objective := r.method.get("objective")) else ""
    return "\n".join([head, figures, *(f"  {reason}" for reason in pair.reasons)])


def size_note(pair: Pair) -> str:
    """What to tell about pixel sizes that the pictures contradict, or nothing."""
    scales, expected = pair.lr_from_hr.scales(), prior_from_headers(pair.lr, pair.hr).ratio_centre
    if max(abs(s / e - 1) for s, e in zip(scales, expected, strict=True)) <= SIZE_TOLERANCE:
        return ""
    shown = " × ".join(f"{s:.3f}" for s in scales)
    return (
        f"The pixel sizes of {pair.lr.name} and {pair.hr.name} do not fit the pictures: the fine scan is {shown} times "
        "(y × x) as long as its pixel size says. Lengths in the result are those of the coarse scan."
    )


def load_landmarks(path: str | Path) -> Landmarks:
    """Hand-picked points from YAML or JSON: per fine scan a list of ``[[y, x] fine px, [y, x] coarse px]``.

    Raises
    ------
    InputError : the file is missing or its content has another shape.
    """
    shape = "per fine scan a list of [[y, x] in fine pixels, [y, x] in coarse pixels], at least two"
    try:
        body = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        marks = [[[[float(v) for v in point] for point in couple] for couple in scan] for scan in body]
    except (OSError, yaml.YAMLError, TypeError, ValueError) as e:
        raise InputError(f"{path} holds no landmarks ({e}). Expected: {shape}.") from e
    if any(len(scan) < 2 or any(len(c) != 2 or any(len(p) != 2 for p in c) for c in scan) for scan in marks):
        raise InputError(f"{path} holds landmarks of another shape. Expected: {shape}.")
    return marks


def enhance_file(
    model: str | Path,
    coarse: str | Path,
    output: str | Path,
    *,
    then: Sequence[str | Path] = (),
    region: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    reading: Reading | None = None,
    dtype: str | None = None,
    blending: str = "exact",
    match_intensities: bool = False,
    force: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Enhance a coarse map or volume with a model folder.

    A map or volume is first compared with what the model learned from, and refused if it is unlike it. Beside the
    result lie its flags and, if the model carries intervals, the half width of the 90 % interval of every pixel. Work
    in progress is kept in ``<output>.work`` and continued by the next call.

    Parameters
    ----------
    model : folder written by ``train`` or ``run``.
    coarse : the map or volume.
    output : ends in ``.tif``, ``.npy``, ``.png`` or ``.ome.zarr``; volumes also in ``.h5`` or ``.raw``.
    then : volumes: further model folders, each for the voxel size the one before arrives at.
    region : volumes: (start, stop) of a box of the result, voxels; only that is enhanced.
    blending : pictures: row of :data:`finescan.enhancement.config.BLENDINGS`.
    match_intensities : pictures: map the grey levels linearly to those of the training area first.
    force : go on although the map is unlike the training area; the outcome keeps that it was forced.

    Raises
    ------
    MapRefused : the map is unlike the training area, and there was no ``force``.
    """
    from finescan.enhancement import EnhanceConfig, enhance
    from finescan.models import load_model, require_ratio
    from finescan.workflow.comparing import prepare
    from finescan.workflow.model_trust import carried_by, intervals_paths, with_flags, with_intervals
    from finescan.workflow.volume_verbs import enhance_volume_file, flags_path, published, require_one_kind

    output = Path(output)
    for path in (output, flags_path(output), *intervals_paths(output)):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists. Choose another name, or pass --overwrite.")
    loaded = [load_model(Path(m)) for m in (model, *then)]
    lr = (reading or Reading()).coarse(coarse)
    require_one_kind(loaded[0], lr)
    require_ratio(loaded[0], lr)
    if lr.grid.ndim == 3:
        if blending != "exact":
            raise InputError(
                f"Tiles of volumes are put together exactly, but blending {blending!r} came. Leave it out."
            )
        if match_intensities:
            raise InputError("Grey levels are matched for pictures only. Leave out --match-intensities.")
    elif then or region is not None:
        raise InputError("Regions and chains of models are for volumes. Crop the map first, or enhance its result.")
    compared = prepare(lr, loaded[0].card, match=match_intensities, force=force)
    if not force:
        compared.require_like(lr.name)
    if progress is not None and compared.likeness.verdict == "unlike":
        progress(1, 1, "comparing: the map is unlike what the model learned from")
    carried = carried_by(Path(model), loaded[0], chained=bool(then))
    if lr.grid.ndim == 3:
        return enhance_volume_file(
            loaded, lr, output, compared, carried, dtype=dtype, region=region, overwrite=overwrite, progress=progress
        )
    work = output.with_name(output.name + ".work")
    config = EnhanceConfig(dtype=dtype, blending=blending, saturation=compared.saturation, overwrite=overwrite)
    enhanced = compared.recorded(enhance(loaded[0], compared.lr, folder=work, config=config, progress=progress))
    enhanced = with_flags(enhanced, compared.lr, carried, compared.counted.verdict)
    enhanced, known = with_intervals(enhanced, carried, output, compared.counted.verdict, overwrite)
    made = published(enhanced, output, work, overwrite)
    return Outcome({**made.facts, **compared.facts, **known}, made.text)


def simulate_files(
    recipe: str,
    output: str | Path,
    *,
    size: int | None = None,
    ratio: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Outcome:
    """Write ``coarse.tif``, ``fine*.tif``, ``truth.tif`` and ``truth.json`` (the true warps) of a simulated job.

    Parameters
    ----------
    recipe : picture from the RECIPES table, or volume from the SAMPLES table.
    size : pixels (384) or voxels (64) of the coarse scan along every edge.
    ratio : coarse over fine pixel size; 4 for pictures, 3 for volumes.
    """
    from finescan.simulation import RECIPES, simulate
    from finescan.simulation.bodies import SAMPLES

    output = Path(output)
    if recipe in SAMPLES:
        from finescan.workflow.volume_verbs import simulate_volume_files

        return simulate_volume_files(recipe, output, size or 64, ratio or 3.0, seed, overwrite)
    if recipe not in RECIPES:
        raise InputError(f"A recipe is one of {', '.join([*RECIPES, *SAMPLES])}, but {recipe!r} came.")
    size, ratio = size or 384, ratio or 4.0
    job = simulate(recipe, size=size, ratio=ratio, fine=int(size * ratio * 0.45), seed=seed)
    make_folder(output)
    names = ["coarse.tif", *(f"{hr.name.replace(' ', '-')}.tif" for hr in job.hr), "truth.tif"]
    for name, image in zip(names, (job.lr, *job.hr, job.truth), strict=True):
        io.write(output / name, image, overwrite=overwrite)
    truth = {"recipe": recipe, "seed": seed, "lr_from_hr": [w.to_dict() for w in job.lr_from_hr]}
    write_json(output / "truth.json", truth)
    files = [str(output / n) for n in (*names, "truth.json")]
    return Outcome({"files": files, "recipe": recipe, "seed": seed}, "\n".join(files))


def list_models(path: str | Path | None = None) -> Outcome:
    """The table of networks and baselines, or the card of the model folder ``path``."""
    from finescan.models import MODELS, load_model

    if path is not None:
        card = load_model(Path(path)).card.to_dict()
        return Outcome(card, json.dumps(card, indent=1, ensure_ascii=False))
    rows = {name: spec.sentence for name, spec in MODELS.items()}
    return Outcome(rows, "\n".join(f"{name:9} {text}" for name, text in rows.items()))
