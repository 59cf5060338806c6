"""``finescan rescan``: where to scan again."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from finescan import workflow
from finescan.cli.options import Json, Overwrite, sizes_of
from finescan.cli.output import show


def rescan(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the results go; else rescan/ in the run folder.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Beam time to spend: 20min, 90s or 1.5h.")] = None,
    until: Annotated[str | None, typer.Option(help="Share of the expected error to remove: 95%.")] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            help="Width x height of a fine scan, px: 1024x884; else as the recorded one. Volumes: of the detector "
            "(cylinders around the rotation axis), or x, y, z: 500x500x400um."
        ),
    ] = None,
    max_frame: Annotated[
        str | None, typer.Option(help="Largest frame of the instrument, px: neighbouring fields are merged up to it.")
    ] = None,
    fine_pixel_size: Annotated[
        str | None, typer.Option(help="Pixel size of the new scans in nm; else that of the enhanced map.")
    ] = None,
    dwell: Annotated[float | None, typer.Option(help="Time per pixel, µs; else as the recorded fine scan.")] = None,
    settle: Annotated[
        float | None,
        typer.Option(help="Overhead per field: stage settling, focus, alignment, s; else 2, for volumes 0."),
    ] = None,
    stage_speed: Annotated[float, typer.Option(help="Speed of the stage, µm/s; else moves take no time.")] = math.inf,
    line_overhead: Annotated[float, typer.Option(help="Fly-back per line, µs.")] = 0.0,
    order: Annotated[
        str, typer.Option(help="shortest (way of the stage) or rows (always from the left, against backlash).")
    ] = "shortest",
    value: Annotated[
        Path | None,
        typer.Option(help="Picture or volume on the coarse grid whose grey levels say how much a pixel matters."),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="Plan for the measured area or volume of dark or bright objects, instead of every pixel."),
    ] = None,
    stage_landmarks: Annotated[
        Path | None,
        typer.Option(
            help="Instead of the header: YAML or JSON, a list of pairs of lists: map px (y, x), stage µm (x, y). "
            "Volumes: CSV with x_px, y_px, z_px, x_um, y_um, z_um of 4 or more voxels, the stage standing so that the "
            "voxel is in the middle of the field of view."
        ),
    ] = None,
    stage_z: Annotated[float | None, typer.Option(help="Height of the stage, µm, for the lists.")] = None,
    map_id: Annotated[int | None, typer.Option(help="MapID of the coarse map in SerialEM's Navigator.")] = None,
    xy_stage: Annotated[str, typer.Option(help="Name of the stage in Micro-Manager.")] = "XYStage",
    z_stage: Annotated[str, typer.Option(help="Name of the focus drive in Micro-Manager.")] = "ZStage",
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="all, or some of csv,geojson,roiset,serialem,serialem-map,micromanager,openfibsem; volumes: "
            "csv,roiset,micromanager.",
        ),
    ] = "all",
    scan_time: Annotated[str | None, typer.Option(help="Volumes: time of one fine tomogram: 2h.")] = None,
    rotation_axis: Annotated[
        str | None,
        typer.Option(help="Volumes: z, y or x: a tomogram covers the cylinder around it; else as the fine volume."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A rescan.json of this run to write again, instead of planning.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Where to scan again so that beam time pays; writes rescan.json, a numbered picture and lists for instruments."""
    from finescan.rescan import ExportOptions
    from finescan.workflow.rescanning import RescanOptions

    shape, shape_um = _frame(frame)
    options = RescanOptions(
        budget,
        until,
        order,
        shape,
        _size(max_frame),
        sizes_of(fine_pixel_size),
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
        shape_um,
        rotation_axis,
    )
    show(
        workflow.rescan_folder(folder, output or folder / "rescan", options=options, plan=plan, overwrite=overwrite),
        as_json,
    )


def _frame(text: str | None) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
    """``1024x884``, ``800x800x700`` in pixels or ``500x400um``: lengths in px or in µm."""
    if text is None:
        return None, None
    match = re.fullmatch(r"\s*([\d.]+(?:\s*[x×,]\s*[\d.]+){1,2})\s*(um|µm|μm|px|)\s*", text.lower())
    parts = re.split(r"\s*[x×,]\s*", match[1]) if match else []
    try:
        if match and match[2] in ("", "px"):
            return tuple(int(p) for p in parts), None
        if match:
            return None, tuple(float(p) for p in parts)
    except ValueError:
        pass
    raise typer.BadParameter(
        "A frame is width x height in pixels (of volumes also 500x400um or 800x800x700), such as 1024x884, but "
        f"{text!r} came."
    )


def _size(text: str | None) -> tuple[int, int] | None:
    """``1024x884``: width and height."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*[x×,]\s*(\d+)\s*", text.lower())
    if match is None:
        raise typer.BadParameter(f"A frame is width x height in pixels, such as 1024x884, but {text!r} came.")
    return int(match[1]), int(match[2])
