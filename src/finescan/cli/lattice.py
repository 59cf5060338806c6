"""``finescan lattice``: atom columns and what the scan or an enhancement did to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finescan import workflow
from finescan.cli.options import Channel, FinePixelSize, Frame, Json, Out, Overwrite, OwnPixelSize, reading_of, sizes_of
from finescan.cli.output import show


def lattice(
    image: Annotated[Path, typer.Argument(help="A picture of a lattice, recorded or enhanced by any program.")],
    output: Out,
    reference: Annotated[Path | None, typer.Option(help="A picture of the same field to compare with.")] = None,
    coarse: Annotated[
        Path | None, typer.Option(help="The scan the picture was made from: which of its periods are invented?")
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help="True cell, for the linear drift: two lengths in nm, angle: 0.246,0.246,60")
    ] = None,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Subtract a straight line from every row first (STM).")
    ] = False,
    least_height: Annotated[float, typer.Option(help="Share of the usual height a column must have.")] = 0.25,
    dark: Annotated[bool, typer.Option("--dark", help="Columns are dark on bright.")] = False,
    pixel_size: OwnPixelSize = None,
    fine_pixel_size: FinePixelSize = None,
    coarse_pixel_size: Annotated[str | None, typer.Option(help="Pixel size of the --coarse scan in nm.")] = None,
    channel: Channel = None,
    frame: Frame = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit atom columns: lattice, displacements, jitter, drift; lost and invented columns and periods."""
    from finescan.workflow.lattices import LatticeOptions

    result = workflow.lattice_file(
        image,
        output,
        reference=reference,
        coarse=coarse,
        options=LatticeOptions(_cell(cell), flatten, least_height, not dark, sizes_of(coarse_pixel_size)),
        reading=reading_of(pixel_size, fine_pixel_size, channel, frame, volume=False),
        overwrite=overwrite,
    )
    show(result, as_json)


def _cell(text: str | None) -> tuple[float, float, float] | None:
    """``0.246,0.246,60`` as numbers."""
    if text is None:
        return None
    try:
        first, second, angle = (float(v) for v in text.split(","))
    except ValueError as e:
        raise typer.BadParameter(
            f"A cell is two lengths in nm and the angle between them, such as 0.246,0.246,60, but {text!r} came."
        ) from e
    return first, second, angle
