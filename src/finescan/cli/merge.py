"""``finescan merge``: rescans back into the run they were planned from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finescan import workflow
from finescan.cli.options import FinePixelSize, Json, Overwrite, Set, settings_of, sizes_of
from finescan.cli.output import show
from finescan.cli.progress import Progress


def merge(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    rescans: Annotated[list[Path] | None, typer.Argument(help="Fine scans recorded since: rescans/*.tif")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The new run folder; else the old one's name with -merged.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="rescan.json they were recorded by; else one beside them, or in the run folder.")
    ] = None,
    match_grey: Annotated[
        bool,
        typer.Option("--match-grey", help="Bring rescans of other brightness or contrast to the run's grey levels."),
    ] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Go on without rescans that are not found in the map.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Time for training; else half of the first one's.")] = None,
    fine_pixel_size: FinePixelSize = None,
    budget: Annotated[str | None, typer.Option(help="Also plan a further round of so much beam time: 20min.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Also plan a further round to this share of the error: 95%.")
    ] = None,
    dwell: Annotated[float | None, typer.Option(help="Of the further round: time per pixel, µs.")] = None,
    settings: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Use rescans whose registration is doubtful.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Take rescans into a finished run: register, learn, enhance and judge again, paste what was recorded."""
    from finescan.workflow.merging import MergeOptions
    from finescan.workflow.rescanning import RescanOptions

    further = RescanOptions(budget, until, dwell_us=dwell) if budget or until else None
    options = MergeOptions(plan, match_grey, skip, sizes_of(fine_pixel_size), minutes, further)
    with Progress(quiet=as_json) as progress:
        result = workflow.merge(
            folder,
            rescans or [],
            output,
            options=options,
            choices=settings_of(settings),
            force=force,
            overwrite=overwrite,
            progress=progress,
        )
    show(result, as_json)
