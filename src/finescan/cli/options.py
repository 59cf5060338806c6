"""Options that several commands share, and what their words mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from finescan import workflow

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
OwnPixelSize = Annotated[
    str | None,
    typer.Option(help="Pixel size of the image in nm, when its file has none: 50, or 50,49 (y, x; z, y, x)."),
]
FinePixelSize = Annotated[
    str | None,
    typer.Option(help="Pixel size of the fine scans in nm, when their files have none: 10 or 10,9.8 (y, x)."),
]
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
    # no brackets: the help would take them for markup
    typer.Option(
        help="YAML or JSON file of hand-picked points: per fine scan a list of pairs of lists, fine px (y, x) and "
        "coarse px (y, x)."
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="What the registration compares: grey (levels), joint-histogram (other detectors) or auto.",
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any choice of plan.yaml: --set train.members=1")]


def reading_of(
    pixel_size: str | None,
    fine_pixel_size: str | None,
    channel: str | None = None,
    frame: int | None = None,
    volume: bool | None = None,
    raw: str | None = None,
    fine_raw: str | None = None,
    dataset: str | None = None,
) -> Any:
    """What the options say about the files, as a Reading."""
    return workflow.Reading(
        sizes_of(pixel_size),
        sizes_of(fine_pixel_size),
        channel_of(channel),
        frame,
        volume,
        layout_of(raw),
        layout_of(fine_raw),
        dataset,
    )


def sizes_of(text: str | None) -> tuple[float, ...] | None:
    """``50``, ``50,49`` or ``50,49,49`` as numbers."""
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


def size_of(text: str) -> tuple[float, float]:
    """``25`` or ``25,24`` as two numbers (y, x)."""
    values = sizes_of(text) or ()
    if len(values) == 3:
        raise typer.BadParameter(f"The pixel size of a picture is one number, or two (y, x), in nm, but {text!r} came.")
    return values[0], values[-1]


def layout_of(text: str | None) -> Any:
    """A RawLayout."""
    from finescan.io import RawLayout

    return None if text is None else RawLayout.parse(text)


def box_of(text: str | None) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """``z0:z1,y0:y1,x0:x1`` as the first and the last-but-one corner, voxels."""
    if text is None:
        return None
    try:
        edges = [tuple(int(v) for v in part.split(":")) for part in text.split(",")]
        start, stop = zip(*edges, strict=True)
    except ValueError as e:
        raise typer.BadParameter(f"A region is z0:z1,y0:y1,x0:x1 in voxels of the result, but {text!r} came.") from e
    if len(start) != 3:
        raise typer.BadParameter(f"A region of a volume has three ranges (z, y, x), but {text!r} has {len(start)}.")
    return start, stop


def channel_of(text: str | None) -> int | str | None:
    """A number where it is one, else a name."""
    return int(text) if text is not None and text.isdigit() else text


def settings_of(pairs: list[str] | None) -> dict[str, Any]:
    """``name=value`` entries, with values as in plan.yaml."""
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
