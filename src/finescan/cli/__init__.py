"""The command line: one sub-command per verb; parse, call, print.

Exit codes: 0 done, 1 unexpected, 2 usage, 3 bad input, 4 registration refused, 5 output cannot be written,
130 interrupted.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

import finescan
from finescan import workflow
from finescan.cli.progress import Progress

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Two scans in, one trustworthy fine map out.",
)

Coarse = Annotated[Path, typer.Argument(help="The coarse scan of the whole area.")]
Fine = Annotated[list[Path], typer.Argument(help="One or several fine scans of a part of it.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="Where the results go.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
PixelSize = Annotated[
    str | None,
    typer.Option(help="Pixel size of the coarse scan in nm, when its file has none: 50, or 50,49 (y, x; z, y, x)."),
]
FinePixelSize = Annotated[str | None, typer.Option(help="Pixel size of the fine scans in nm: 10 or 10,9.8 (y, x).")]
Channel = Annotated[str | None, typer.Option(help="Which channel to use of files with several, by name or number.")]
Frame = Annotated[int | None, typer.Option(help="Which frame to use of files with several.")]
Volume = Annotated[
    bool | None, typer.Option("--volume/--picture", help="Read the files as volumes, or as pictures; else by content.")
]
Raw = Annotated[
    str | None,
    typer.Option(
        "--raw", help="Layout of a raw coarse volume (z, y, x, format, byte order): 100x200x200,uint16,little"
    ),
]
FineRaw = Annotated[str | None, typer.Option("--fine-raw", help="Layout of raw fine volumes, as --raw.")]
Dataset = Annotated[str | None, typer.Option(help="Which dataset to use of HDF5 files with several.")]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        help="YAML or JSON file of hand-picked points; per fine scan [[[y, x] fine px, [y, x] coarse px], …]."
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any choice of plan.yaml: --set train.members=1")]


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
    reading = _reading(pixel_size, fine_pixel_size, channel, frame, volume, raw, fine_raw, dataset)
    _show(workflow.check(coarse, fine, reading=reading), as_json)


@app.command()
def run(
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
    minutes: Annotated[float | None, typer.Option(help="Time budget for training.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    model: Annotated[str | None, typer.Option(help="Network, a name from `finescan models`.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Number format of the result; else the fine scan's.")] = None,
    landmarks: Landmarks = None,
    settings: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Go on although the registration is doubtful.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Everything from two files to a report; safe to interrupt, continues where it stopped."""
    asked = {"train.minutes": minutes, "train.seed": seed, "train.architecture": model, "result.dtype": dtype}
    choices = {k: v for k, v in asked.items() if v is not None} | _settings(settings)
    if landmarks:
        choices["register.landmarks"] = workflow.load_landmarks(landmarks)
    reading = _reading(pixel_size, fine_pixel_size, channel, frame, volume, raw, fine_raw, dataset)
    with Progress(quiet=as_json) as progress:
        result = workflow.run(
            coarse, fine, output, reading=reading, choices=choices, force=force, overwrite=overwrite, progress=progress
        )
    _show(result, as_json)


@app.command()
def demo(
    output: Out = Path("demo"),
    seed: Seed = 0,
    minutes: Annotated[float, typer.Option(help="Time budget for training.")] = 0.5,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """The same as run, on a simulated sample with a known answer; needs no files."""
    with Progress(quiet=as_json) as progress:
        result = workflow.demo(output, seed=seed, minutes=minutes, overwrite=overwrite, progress=progress)
    _show(result, as_json)


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
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find the fine scans in the coarse map; writes one folder per pair."""
    reading = _reading(pixel_size, fine_pixel_size, channel, frame, volume, raw, fine_raw, dataset)
    with Progress(quiet=as_json) as progress:
        result = workflow.register_files(
            coarse,
            fine,
            output,
            reading=reading,
            landmarks=workflow.load_landmarks(landmarks) if landmarks else None,
            overwrite=overwrite,
            progress=progress,
        )
    _show(result, as_json)


@app.command()
def train(
    coarse: Coarse,
    fine: Fine,
    output: Out,
    pair: Annotated[Path | None, typer.Option(help="Folder written by `finescan register`.")] = None,
    pixel_size: PixelSize = None,
    fine_pixel_size: FinePixelSize = None,
    volume: Volume = None,
    raw: Raw = None,
    fine_raw: FineRaw = None,
    dataset: Dataset = None,
    minutes: Annotated[float, typer.Option(help="Time budget for training.")] = 1.0,
    seed: Seed = 0,
    model: Annotated[str, typer.Option(help="Network, a name from `finescan models`.")] = "fast",
    force: Annotated[bool, typer.Option("--force", help="Go on although the registration is doubtful.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a network on the overlap; writes a model folder."""
    reading = _reading(pixel_size, fine_pixel_size, None, None, volume, raw, fine_raw, dataset)
    with Progress(quiet=as_json) as progress:
        result = workflow.train_files(
            coarse,
            fine,
            output,
            pair_folder=pair,
            reading=reading,
            config={"minutes": minutes, "seed": seed, "architecture": model},
            force=force,
            overwrite=overwrite,
            progress=progress,
        )
    _show(result, as_json)


@app.command()
def enhance(
    model: Annotated[Path, typer.Argument(help="Model folder written by train or run.")],
    coarse: Coarse,
    output: Out,
    pixel_size: PixelSize = None,
    dtype: Annotated[str | None, typer.Option(help="Number format of the result.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Enhance a coarse map with a trained model; writes .tif or .ome.zarr."""
    with Progress(quiet=as_json) as progress:
        result = workflow.enhance_file(
            model,
            coarse,
            output,
            reading=workflow.Reading(_sizes(pixel_size)),
            dtype=dtype,
            overwrite=overwrite,
            progress=progress,
        )
    _show(result, as_json)


@app.command()
def evaluate(
    result: Annotated[Path, typer.Argument(help="An enhanced image, made by any program.")],
    reference: Annotated[Path, typer.Argument(help="A recorded fine scan of a part of it.")],
    coarse: Annotated[Path | None, typer.Option(help="The coarse scan, to compare with its interpolation.")] = None,
    pixel_size: Annotated[str | None, typer.Option(help="Pixel size of the result in nm.")] = None,
    fine_pixel_size: FinePixelSize = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also write the figures to this JSON.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Judge an enhanced image against a recorded fine scan; needs no network."""
    reading = workflow.Reading(_sizes(pixel_size), _sizes(fine_pixel_size))
    judged = workflow.evaluate_files(
        result, reference, coarse=coarse, reading=reading, output=output, overwrite=overwrite
    )
    _show(judged, as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: report.html in the folder.")] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a finished run again."""
    _show(workflow.report_folder(folder, output), as_json)


@app.command()
def simulate(
    recipe: Annotated[str, typer.Argument(help="A name from the RECIPES table, for instance polycrystal.")],
    output: Out,
    size: Annotated[int, typer.Option(help="Pixels of the coarse map along each side.")] = 384,
    ratio: Annotated[float, typer.Option(help="Coarse over fine pixel size.")] = 4.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a simulated coarse and fine scan with their known answer."""
    _show(workflow.simulate_files(recipe, output, size=size, ratio=ratio, seed=seed, overwrite=overwrite), as_json)


@app.command()
def models(
    path: Annotated[Path | None, typer.Argument(help="A model folder, to print its card.")] = None,
    as_json: Json = False,
) -> None:
    """The networks and baselines there are, or the card of a trained one."""
    _show(workflow.list_models(path), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, device and optional parts in use, and what is wrong with them."""
    _show(workflow.doctor(), as_json)


def _show(result: Any, as_json: bool) -> None:
    print(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) if as_json else str(result))


def _reading(
    pixel_size: str | None,
    fine_pixel_size: str | None,
    channel: str | None = None,
    frame: int | None = None,
    volume: bool | None = None,
    raw: str | None = None,
    fine_raw: str | None = None,
    dataset: str | None = None,
) -> Any:
    return workflow.Reading(
        _sizes(pixel_size),
        _sizes(fine_pixel_size),
        _channel(channel),
        frame,
        volume,
        _layout(raw),
        _layout(fine_raw),
        dataset,
    )


def _sizes(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 2, 3):
        raise typer.BadParameter(
            f"A pixel size is one number, or one per axis with commas (y, x or z, y, x), in nm, but {text!r} came."
        )
    return values


def _layout(text: str | None) -> Any:
    from finescan.io import RawLayout

    return None if text is None else RawLayout.parse(text)


def _channel(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdigit() else text


def _settings(pairs: list[str] | None) -> dict[str, Any]:
    import yaml

    out = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set needs name=value, but {pair!r} came.")
        try:
            out[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as e:
            raise typer.BadParameter(f"--set {name} needs a value as in plan.yaml, but {value!r} came.") from e
    return out


def main() -> int:
    """Run the command line; returns the exit code (errors are raised for ``__main__`` to print)."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints come again, as our own errors
    outcome = app(standalone_mode=False)
    return int(outcome) if isinstance(outcome, int) else 0
