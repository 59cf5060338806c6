"""``finescan rescan``: where to scan again."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from finescan import workflow
from finescan.cli.options import Json, Out, Overwrite, sizes_of
from finescan.cli.output import show


def rescan(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    output: Out,
    budget: Annotated[str | None, typer.Option(help="Beam time to spend: 20min, 90s or 1.5h.")] = None,
    until: Annotated[str | None, typer.Option(help="Share of the expected error to remove: 95%.")] = None,
    frame: Annotated[
        str | None, typer.Option(help="Width x height of a fine scan, px: 1024x884; else as the recorded one.")
    ] = None,
    max_frame: Annotated[
        str | None, typer.Option(help="Largest frame of the instrument, px: neighbouring fields are merged up to it.")
    ] = None,
    fine_pixel_size: Annotated[
        str | None, typer.Option(help="Pixel size of the new scans in nm; else that of the enhanced map.")
    ] = None,
    dwell: Annotated[float | None, typer.Option(help="Time per pixel, µs; else as the recorded fine scan.")] = None,
    settle: Annotated[float, typer.Option(help="Overhead per field: stage settling, focus, s.")] = 2.0,
    stage_speed: Annotated[float, typer.Option(help="Speed of the stage, µm/s; else moves take no time.")] = math.inf,
    line_overhead: Annotated[float, typer.Option(help="Fly-back per line, µs.")] = 0.0,
    order: Annotated[
        str, typer.Option(help="shortest (way of the stage) or rows (always from the left, against backlash).")
    ] = "shortest",
    value: Annotated[
        Path | None, typer.Option(help="Picture on the coarse grid whose grey levels say how much a pixel matters.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="Plan for the measured area of dark or bright objects, instead of every pixel.")
    ] = None,
    stage_landmarks: Annotated[
        Path | None, typer.Option(help="YAML or JSON: [[[y, x] map px, [x, y] stage µm], …], instead of the header.")
    ] = None,
    stage_z: Annotated[float | None, typer.Option(help="Height of the stage, µm, for the lists.")] = None,
    map_id: Annotated[int | None, typer.Option(help="MapID of the coarse map in SerialEM's Navigator.")] = None,
    xy_stage: Annotated[str, typer.Option(help="Name of the stage in Micro-Manager.")] = "XYStage",
    z_stage: Annotated[str, typer.Option(help="Name of the focus drive in Micro-Manager.")] = "ZStage",
    formats: Annotated[
        str,
        typer.Option(
            "--format", help="all, or some of csv,geojson,roiset,serialem,serialem-map,micromanager,openfibsem."
        ),
    ] = "all",
    scan_time: Annotated[str | None, typer.Option(help="Volumes: time of one fine tomogram: 2h.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A rescan.json of this run to write again, instead of planning.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Where to scan again so that beam time pays; writes rescan.json, a numbered picture and lists for instruments."""
    from finescan.rescan import ExportOptions
    from finescan.workflow.rescanning import RescanOptions

    size = sizes_of(fine_pixel_size)
    options = RescanOptions(
        budget,
        until,
        order,
        _size(frame),
        _size(max_frame),
        None if size is None else (size[0], size[-1]),
        dwell,
        settle,
        stage_speed,
        line_overhead,
        value,
        measure,
        stage_landmarks,
        formats,
        ExportOptions(stage_z, map_id, xy_stage, z_stage),
        scan_time,
    )
    show(workflow.rescan_folder(folder, output, options=options, plan=plan, overwrite=overwrite), as_json)


def _size(text: str | None) -> tuple[int, int] | None:
    """``1024x884``: width and height."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*[x×,]\s*(\d+)\s*", text.lower())
    if match is None:
        raise typer.BadParameter(f"A frame is width x height in pixels, such as 1024x884, but {text!r} came.")
    return int(match[1]), int(match[2])
