"""``finescan patches``: training sets from coarse pictures alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from finescan import workflow
from finescan.cli.options import Channel, Frame, Json, Overwrite, OwnPixelSize, Seed, reading_of
from finescan.cli.output import show
from finescan.cli.progress import Progress

LIST = "numbers with commas, or first:last:step"


def patches(
    images: Annotated[list[Path], typer.Argument(help="Recorded pictures of one zoom level.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the written set.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the set as files; else only say what it would hold.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="Published zoom levels (stem, stm, stem-converging …); else by the factor.")
    ] = None,
    factor: Annotated[int | None, typer.Option(help="Fine pixels per coarse pixel.")] = None,
    alpha: Annotated[str | None, typer.Option(help=f"Coarser levels, over the recorded one: {LIST}.")] = None,
    beta: Annotated[str | None, typer.Option(help=f"Finer levels: {LIST}.")] = None,
    gamma: Annotated[str | None, typer.Option(help=f"Coarse pictures that are interpolated: {LIST}.")] = None,
    filters: Annotated[str | None, typer.Option(help="Some of nearest,lanczos,bilinear,bicubic,box,hamming.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="The recorded zoom level, for names: 5MX (larger is finer) or 24nm (smaller is).")
    ] = None,
    crop: Annotated[int | None, typer.Option(help="Side of a training crop, fine pixels.")] = None,
    crops_per_side: Annotated[int, typer.Option(help="Crops along each side of a picture.")] = 8,
    shares: Annotated[str, typer.Option(help="Shares of the pictures that train, validate, test.")] = "0.8,0.1,0.1",
    seed: Seed = 0,
    published: Annotated[
        bool, typer.Option("--published", help="To the byte what the published code writes; 8-bit pictures only.")
    ] = False,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="Pictures in the order they are named, not sorted.")
    ] = False,
    flatten: Annotated[bool, typer.Option("--flatten", help="Level the lines of a scanning-probe picture.")] = False,
    eight_bit: Annotated[
        str | None, typer.Option(help="Cut off at two percentiles and use 256 grey levels, as published for STM: 2,98")
    ] = None,
    pixel_size: OwnPixelSize = None,
    channel: Channel = None,
    frame: Frame = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Training sets from coarse pictures alone: what one would hold, or its files."""
    if write and output is None:
        raise typer.BadParameter("--write needs a folder for the files: -o FOLDER.")
    if output is not None and not write:
        raise typer.BadParameter("A folder was given, but nothing is written without --write.")
    from finescan.patches import WriteConfig
    from finescan.workflow.patching import Preparation, zoom_config

    config = zoom_config(
        preset,
        factor=factor,
        scale=scale_of(scale),
        alpha=numbers(alpha),
        beta=numbers(beta),
        gamma=numbers(gamma),
        filters=None if filters is None else tuple(filters.split(",")),
        crop=crop,
    )
    writing = WriteConfig(
        crops_per_side=crops_per_side,
        shares=_exactly(3, shares, "Shares"),
        seed=seed,
        published=published,
        published_order=keep_order,
    )
    percentiles = (2.0, 98.0) if eight_bit is None else _exactly(2, eight_bit, "Percentiles")
    with Progress(quiet=as_json or not write) as progress:
        result = workflow.patch_files(
            images,
            output,
            config=config,
            writing=writing,
            preparation=Preparation(flatten, eight_bit is not None, percentiles),
            reading=reading_of(pixel_size, None, channel, frame, volume=False),
            overwrite=overwrite,
            progress=progress,
        )
    show(result, as_json)


def scale_of(text: str | None) -> Any:
    """``5MX`` or ``24nm`` as a ZoomScale."""
    from finescan.patches import ZoomScale

    if text is None:
        return None
    found = re.fullmatch(r"\s*([\d.]+(?:e[-+]?\d+)?)\s*([A-Za-z]+)\s*", text)
    if found is None:
        raise typer.BadParameter(f"A zoom level is a number and its unit, such as 5MX or 24nm, but {text!r} came.")
    return ZoomScale(float(found[1]), found[2])


def numbers(text: str | None) -> tuple[float, ...] | None:
    """``0.5,0.75`` or ``0.25:0.95:0.05``; an empty text is an empty list."""
    from finescan.patches.multiscale_config import between

    if text is None:
        return None
    try:
        if ":" in text:
            first, last, step = (float(v) for v in text.split(":"))
            return between(first, last, step)
        return tuple(float(v) for v in text.split(",") if v.strip())
    except ValueError as e:
        raise typer.BadParameter(f"A list of levels is {LIST}, but {text!r} came.") from e


def _exactly(count: int, text: str, what: str) -> Any:
    values = numbers(text) or ()
    if len(values) != count:
        raise typer.BadParameter(f"{what} are {count} numbers with commas between them, but {text!r} came.")
    return values
