"""``finescan train``: from scans to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from finescan import workflow
from finescan.cli.options import (
    Dataset,
    FinePixelSize,
    FineRaw,
    Json,
    Objective,
    Out,
    Overwrite,
    PixelSize,
    Raw,
    Seed,
    Volume,
    reading_of,
    settings_of,
)
from finescan.cli.output import show
from finescan.cli.patches import LIST, numbers
from finescan.cli.progress import Progress

_PRESETS = "a published list (stem, stem-converging, stm, stm-converging …)"


def train(
    output: Out,
    coarse: Annotated[Path | None, typer.Argument(help="The coarse scan of the whole area.")] = None,
    fine: Annotated[list[Path] | None, typer.Argument(help="One or several fine scans of a part of it.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Instead of scans: folder of pairs recorded one by one, coarse/NAME and fine/NAME."),
    ] = None,
    lr_only: Annotated[
        bool, typer.Option("--lr-only", help="All files are coarse pictures of one zoom level: no fine scan exists.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help=f"With --lr-only, zoom levels: ours, none (the recorded one) or {_PRESETS}.")
    ] = None,
    factor: Annotated[int | None, typer.Option(help="With --lr-only, fine pixels per coarse one.")] = None,
    alpha: Annotated[str | None, typer.Option(help=f"With --lr-only, coarser levels: {LIST}.")] = None,
    beta: Annotated[str | None, typer.Option(help=f"With --lr-only, finer levels: {LIST}.")] = None,
    gamma: Annotated[str | None, typer.Option(help=f"With --lr-only, levels that are interpolated: {LIST}.")] = None,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="With --lr-only, level the lines of scanning-probe pictures first.")
    ] = False,
    start: Annotated[Path | None, typer.Option("--from", help="Model folder whose weights to go on from.")] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(help="Fine scan, recorded apart, that a texture transformer takes texture from; several times."),
    ] = None,
    pair: Annotated[Path | None, typer.Option(help="Folder written by `finescan register`.")] = None,
    objective: Objective = None,
    pixel_size: PixelSize = None,
    fine_pixel_size: FinePixelSize = None,
    volume: Volume = None,
    raw: Raw = None,
    fine_raw: FineRaw = None,
    dataset: Dataset = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget for training; else 1, or as published.")] = None,
    seed: Seed = 0,
    model: Annotated[
        str | None, typer.Option(help="Network, a name from `finescan models`; else that of --from, or fast.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="auto, or published: sizes, rates, losses and length as in the papers.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Of the pixels: l1, l2 or charbonnier.")] = None,
    critic: Annotated[
        str | None, typer.Option(help="Adversarial training: wgan-gp (TTSR), patch (DLE-EM) or none.")
    ] = None,
    vgg: Annotated[
        str | None, typer.Option(help="Weights of VGG19 for the perceptual loss: a file, or an address.")
    ] = None,
    vgg_sha256: Annotated[str | None, typer.Option(help="What that file must hash to; an address needs it.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any training option: --set batch=8 --set terms.texture=0.01"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on although the registration is doubtful.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a network on the overlap, on recorded pairs, or on coarse pictures alone; writes a model folder."""
    asked = {"minutes": minutes, "architecture": model, "recipe": recipe, "loss": loss}
    asked |= {"terms.critic": critic, "terms.vgg": vgg, "terms.vgg_sha256": vgg_sha256}
    config: dict[str, Any] = {
        "seed": seed,
        **{k: v for k, v in asked.items() if v is not None},
        **settings_of(settings),
    }
    reading = reading_of(pixel_size, fine_pixel_size, None, None, volume, raw, fine_raw, dataset)
    zoom = {"preset": preset, "factor": factor, "alpha": alpha, "beta": beta, "gamma": gamma}
    if lr_only:
        _require_alone(pairs=pairs, start=start, reference=reference, pair=pair, fine_pixel_size=fine_pixel_size)
        if coarse is None:
            raise typer.BadParameter("Nothing to learn from. Pass one or several coarse pictures of one zoom level.")
        with Progress(quiet=as_json) as progress:
            result = workflow.train_alone(
                [coarse, *(fine or ())],
                output,
                levels=_levels(zoom),
                sr_factor=factor,
                flatten=flatten,
                reading=reading,
                config=config,
                overwrite=overwrite,
                progress=progress,
            )
        show(result, as_json)
        return
    given = [f"--{n}" for n, v in {**zoom, "flatten": flatten or None}.items() if v is not None]
    if given:
        raise typer.BadParameter(f"{', '.join(given)} belong to --lr-only: pass it, or leave them out.")
    with Progress(quiet=as_json) as progress:
        result = workflow.train_files(
            coarse,
            fine,
            output,
            recorded=pairs,
            start=start,
            references=reference or (),
            pair_folder=pair,
            objective=objective or "auto",
            reading=reading,
            config=config,
            force=force,
            overwrite=overwrite,
            progress=progress,
        )
    show(result, as_json)


def _require_alone(**others: object) -> None:
    given = [f"--{name.replace('_', '-').replace('start', 'from')}" for name, value in others.items() if value]
    if given:
        raise typer.BadParameter(f"With --lr-only there are coarse pictures alone: leave {', '.join(given)} out.")


def _levels(zoom: dict[str, Any]) -> Any:
    """Zoom levels that the options stand for: "ours", or a MultiscaleConfig."""
    from finescan.patches import single_scale
    from finescan.workflow.patching import zoom_config

    lists: dict[str, Any] = {name: numbers(zoom[name]) for name in ("alpha", "beta", "gamma")}
    preset, factor = zoom["preset"], zoom["factor"]
    asked = any(v is not None for v in lists.values())
    if preset in (None, "ours") and not asked:
        return "ours"
    if preset == "ours":
        raise typer.BadParameter("The preset ours has its own lists: leave --alpha, --beta and --gamma out.")
    if preset == "none" and not asked:
        return single_scale(factor or 4)
    if preset == "none":
        preset, lists = None, {k: v or () for k, v in lists.items()}
    return zoom_config(preset, factor=factor, **lists)
