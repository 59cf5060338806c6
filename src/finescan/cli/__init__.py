"""The command line: one sub-command per verb; parse, call, print.

Exit codes: 0 done, 1 unexpected, 2 usage, 3 bad input, 4 registration refused, 5 output cannot be written,
130 interrupted.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import finescan
from finescan import workflow
from finescan.cli import lattice, merge, models, patches, rescan, studies, training
from finescan.cli.options import (
    Channel,
    Coarse,
    Dataset,
    Fine,
    FinePixelSize,
    FineRaw,
    Frame,
    Json,
    Landmarks,
    Objective,
    Out,
    Overwrite,
    OwnPixelSize,
    PixelSize,
    Raw,
    Seed,
    Set,
    Volume,
    box_of,
    reading_of,
    settings_of,
)
from finescan.cli.output import show
from finescan.cli.progress import Progress

_FIRST = "demo", "check", "run", "enhance", "evaluate", "quantify", "rescan", "merge", "report"


class _InOrder(TyperGroup):
    """Commands in the order a new user needs them; the parts of a run and all others follow."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_FIRST, *(name for name in super().list_commands(ctx) if name not in _FIRST)]


app = typer.Typer(
    cls=_InOrder,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Two scans in, one trustworthy fine map out.",
)
app.add_typer(models.app, name="models")
app.add_typer(studies.app, name="study")
app.command("train")(training.train)
app.command("rescan")(rescan.rescan)
app.command("merge")(merge.merge)
app.command("patches")(patches.patches)
app.command("lattice")(lattice.lattice)


def _version(show: bool) -> None:
    if show:
        print(f"finescan {finescan.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def check(
    coarse: Coarse,
    fine: Fine,
    pixel_size: PixelSize = None,
    fine_pixel_size: FinePixelSize = None,
    channel: Channel = None,
    frame: Frame = None,
    volume: Volume = None,
    raw: Raw = None,
    fine_raw: FineRaw = None,
    dataset: Dataset = None,
    as_json: Json = False,
) -> None:
    """What is in the files and what is wrong with them, in seconds."""
    reading = reading_of(pixel_size, fine_pixel_size, channel, frame, volume, raw, fine_raw, dataset)
    show(workflow.check(coarse, fine, reading=reading), as_json)


@app.command()
def run(
    coarse: Coarse,
    output: Out,
    fine: Annotated[
        list[Path] | None, typer.Argument(help="One or several fine scans of a part of it; with --lr-only more images.")
    ] = None,
    lr_only: Annotated[
        bool, typer.Option("--lr-only", help="There is no fine scan: learn from coarse images alone.")
    ] = False,
    factor: Annotated[
        int | None, typer.Option(help="With --lr-only: enhanced pixels per recorded one; else 2 or 4 by the images.")
    ] = None,
    pixel_size: PixelSize = None,
    fine_pixel_size: FinePixelSize = None,
    channel: Channel = None,
    frame: Frame = None,
    volume: Volume = None,
    raw: Raw = None,
    fine_raw: FineRaw = None,
    dataset: Dataset = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget for training; else 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; else 0.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Network, a name from `finescan models`; else by the files.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Number format of the result: uint8, uint16, float32; else the fine scan's.")
    ] = None,
    landmarks: Landmarks = None,
    objective: Objective = None,
    settings: Set = None,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Interpolate where the result is flagged; fallback.tif says where.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on although the registration is doubtful.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Everything from two files (or coarse images alone) to a report; safe to interrupt, continues where it stopped."""
    asked = {"train.minutes": minutes, "train.seed": seed, "train.architecture": model, "result.dtype": dtype}
    asked["register.objective"] = objective
    asked["result.fallback"] = "flagged" if fallback else None
    choices = {k: v for k, v in asked.items() if v is not None} | settings_of(settings)
    if landmarks:
        choices["register.landmarks"] = workflow.load_landmarks(landmarks)
    if lr_only:
        about_fine = ("--landmarks", landmarks), ("--objective", objective), ("--fine-pixel-size", fine_pixel_size)
        needless = [k for k, v in about_fine if v is not None]
        if needless:
            raise typer.BadParameter(f"{needless[0]} is about fine scans, but with --lr-only there are none.")
        if fallback:
            raise typer.BadParameter("--fallback needs a fine scan: with --lr-only nothing tells where to fall back.")
        with Progress(quiet=as_json) as progress:
            result = workflow.run_lr_only(
                [coarse, *(fine or ())], output, sr_factor=factor,
                reading=reading_of(pixel_size, None, channel, frame, volume),
                choices=choices, overwrite=overwrite, progress=progress,
            )  # fmt: skip
        show(result, as_json)
        return
    if not fine:
        raise typer.BadParameter(
            "A fine scan is missing. Without one, pass --lr-only to learn from coarse images alone."
        )
    if factor is not None:
        raise typer.BadParameter("--factor goes with --lr-only: of a pair the pixel sizes say it.")
    reading = reading_of(pixel_size, fine_pixel_size, channel, frame, volume, raw, fine_raw, dataset)
    with Progress(quiet=as_json) as progress:
        result = workflow.run(  # type: ignore[operator]  # the function, not the module of its name
            coarse, fine, output, reading=reading, choices=choices, force=force, overwrite=overwrite, progress=progress
        )
    show(result, as_json)


@app.command()
def demo(
    output: Out = Path("demo"),
    seed: Seed = 0,
    minutes: Annotated[float, typer.Option(help="Time budget for training, minutes.")] = 0.5,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """The same as run, on a simulated sample with a known answer; needs no files."""
    with Progress(quiet=as_json) as progress:
        result = workflow.demo(output, seed=seed, minutes=minutes, overwrite=overwrite, progress=progress)
    show(result, as_json)


@app.command()
def register(
    coarse: Coarse,
    fine: Fine,
    output: Out,
    pixel_size: PixelSize = None,
    fine_pixel_size: FinePixelSize = None,
    channel: Channel = None,
    frame: Frame = None,
    volume: Volume = None,
    raw: Raw = None,
    fine_raw: FineRaw = None,
    dataset: Dataset = None,
    landmarks: Landmarks = None,
    objective: Objective = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the fine scans in the coarse map; writes one folder per pair."""
    reading = reading_of(pixel_size, fine_pixel_size, channel, frame, volume, raw, fine_raw, dataset)
    with Progress(quiet=as_json) as progress:
        result = workflow.register_files(
            coarse,
            fine,
            output,
            reading=reading,
            landmarks=workflow.load_landmarks(landmarks) if landmarks else None,
            objective=objective or "auto",
            overwrite=overwrite,
            progress=progress,
        )
    show(result, as_json)


@app.command()
def enhance(
    model: Annotated[Path, typer.Argument(help="Model folder written by train or run.")],
    coarse: Coarse,
    output: Out,
    pixel_size: PixelSize = None,
    volume: Volume = None,
    raw: Raw = None,
    dataset: Dataset = None,
    region: Annotated[
        str | None, typer.Option(help="Volumes: only this box of the result, voxels: z0:z1,y0:y1,x0:x1")
    ] = None,
    then: Annotated[
        list[Path] | None, typer.Option("--then", help="Volumes: a further model for the result of the one before.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Number format of the result.")] = None,
    blending: Annotated[
        str, typer.Option(help="How tiles are put together: exact, smooth, or centre (as published for TTSR).")
    ] = "exact",
    match_intensities: Annotated[
        bool,
        typer.Option("--match-intensities", help="Give the map the brightness and contrast the model learned first."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although the map is unlike what the model learned from.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Enhance a coarse map or volume with a trained model; writes .tif, .ome.zarr and more."""
    with Progress(quiet=as_json) as progress:
        result = workflow.enhance_file(
            model,
            coarse,
            output,
            then=then or (),
            region=box_of(region),
            reading=reading_of(pixel_size, None, volume=volume, raw=raw, dataset=dataset),
            dtype=dtype,
            blending=blending,
            match_intensities=match_intensities,
            force=force,
            overwrite=overwrite,
            progress=progress,
        )
    show(result, as_json)


@app.command()
def evaluate(
    result: Annotated[Path, typer.Argument(help="An enhanced image, made by any program.")],
    reference: Annotated[Path, typer.Argument(help="A recorded fine scan of a part of it.")],
    coarse: Annotated[Path | None, typer.Option(help="The coarse scan, to compare with its interpolation.")] = None,
    pixel_size: Annotated[str | None, typer.Option(help="Pixel size of the result in nm.")] = None,
    fine_pixel_size: FinePixelSize = None,
    volume: Volume = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Also write the figures to this JSON; with --physical to this folder."),
    ] = None,
    physical: Annotated[
        bool, typer.Option("--physical", help="The fine image was recorded apart: match pieces of the result in it.")
    ] = False,
    rule: Annotated[str, typer.Option(help="With --physical: robust, or published (Möller et al. 2023).")] = "robust",
    uncertainty: Annotated[
        Path | None, typer.Option(help="Write the half width of the 90 % interval of every pixel to this picture.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Write maps of resolution, likeness and kinds of error to this folder.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Judge an enhanced image against a recorded fine scan; needs no network."""
    reading = reading_of(pixel_size, fine_pixel_size, volume=volume)
    if physical:
        found = workflow.evaluate_physical(
            result,
            reference,
            output,
            coarse=coarse,
            options=workflow.PhysicalOptions(rule),
            reading=reading,
            overwrite=overwrite,
        )
        show(found, as_json)
        return
    judged = workflow.evaluate_files(
        result, reference, coarse=coarse, reading=reading, output=output, uncertainty=uncertainty, maps=maps,
        overwrite=overwrite,
    )  # fmt: skip
    show(judged, as_json)


@app.command()
def quantify(
    image: Annotated[Path, typer.Argument(help="A picture or volume, made by any program.")],
    output: Out,
    reference: Annotated[Path | None, typer.Option(help="Match every pore with those of this file.")] = None,
    objects: Annotated[str, typer.Option(help="Whether pores are dark or bright.")] = "dark",
    threshold: Annotated[float | None, typer.Option(help="Grey level between pore and solid; else automatic.")] = None,
    round_field: Annotated[
        bool, typer.Option("--round", help="Only the largest circle in each slice counts: a round field.")
    ] = False,
    faces: Annotated[
        str,
        typer.Option(
            help="Which faces leave out the pores they cut: ends (first and last slice), all, none, or auto: ends of "
            "volumes, all of pictures."
        ),
    ] = "auto",
    pixel_size: OwnPixelSize = None,
    volume: Volume = None,
    raw: Raw = None,
    dataset: Dataset = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Count and measure pores; writes pores.csv and pores.json."""
    result = workflow.quantify_file(
        image,
        output,
        reference=reference,
        objects=objects,
        threshold=threshold,
        round_field=round_field,
        faces=faces,
        reading=reading_of(pixel_size, None, volume=volume, raw=raw, dataset=dataset),
        overwrite=overwrite,
    )
    show(result, as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: report.html in the folder.")] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a finished run again."""
    show(workflow.report_folder(folder, output), as_json)


@app.command()
def simulate(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A picture (polycrystal, porous, lattice, …) or a volume (foam, …); a wrong one lists all."
        ),
    ],
    output: Out,
    size: Annotated[
        int | None, typer.Option(help="Pixels of the coarse scan along each edge; else 384, volumes 64.")
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="Coarse over fine pixel size; else 4, volumes 3.")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a simulated coarse and fine scan with their known answer."""
    show(workflow.simulate_files(recipe, output, size=size, ratio=ratio, seed=seed, overwrite=overwrite), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, device and optional parts in use, and what is wrong with them."""
    show(workflow.doctor(), as_json)


def main() -> int:
    """Run the command line; returns the exit code (errors are raised for ``__main__`` to print)."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints come again, as our own errors
    outcome = app(standalone_mode=False)
    return int(outcome) if isinstance(outcome, int) else 0
