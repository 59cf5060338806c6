"""What a rescan of a volume needs to know of the instrument: field of view, times, stage."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from finescan import rescan
from finescan.errors import InputError
from finescan.rescan.volume_places import AXES, is_round
from finescan.values import Grid, Image
from finescan.workflow.rescanning import Recorded, RescanOptions, posed

ACROSS = 2  # a place is at most this part of the volume along each side, unless a frame is given
COLUMNS = "z_px", "y_px", "x_px", "x_um", "y_um", "z_um"  # of a list of landmarks


def place_size(fine: Grid, coarse: Grid) -> tuple[float, ...]:
    """Extent of a place (z, y, x), nm: that of a fine volume, or half of the coarse one where that is less."""
    return tuple(min(a, b / ACROSS) for a, b in zip(fine.extent_nm, coarse.extent_nm, strict=True))


def box_px(place: rescan.VolumePlace) -> tuple[slice, ...]:
    """The whole coarse voxels that a place touches."""
    return tuple(slice(math.floor(a), math.ceil(b)) for a, b in zip(place.start_px, place.stop_px, strict=True))


def field_like(fine: Grid, coarse: Grid, volume: Image | None) -> rescan.FieldOfView:
    """A field of view as that of a fine volume: a cylinder around z where its corners hold nothing.

    Parameters
    ----------
    fine, coarse : grids.
    volume : the fine volume itself; None = it is not there any more, and the whole box counts.
    """
    return rescan.FieldOfView(place_size(fine, coarse), "z" if volume is not None and is_round(volume) else "")


def asked_field(
    coarse: Image, finest: Recorded, target_nm: Sequence[float], options: RescanOptions
) -> rescan.FieldOfView:
    """The field of one tomogram, as asked for or as the finest fine volume has it.

    Two numbers are the width and height of the detector: interior tomography reconstructs the cylinder of that
    diameter and height around the rotation axis. Three are x, y, z of a box, of which a cylinder is covered where the
    fine volume is one, or where a rotation axis is named.

    Raises
    ------
    InputError : a frame of another number of lengths, or larger than the volume.
    """
    axis = options.rotation_axis
    like = field_like(finest.grid, coarse.grid, finest.image)
    given = options.frame_um or options.frame
    if given is None:
        return rescan.FieldOfView(like.size_nm, axis or like.axis)
    if len(given) not in (2, 3):
        raise InputError(f"A frame has 2 or 3 lengths, but {len(given)} came. Pass for example --frame 800x700.")
    around = axis or ("z" if len(given) == 2 else like.axis)
    size = [float(v) for v in reversed(given)]
    if len(given) == 2:
        size = [size[0] if name == around else size[1] for name in AXES]
    pixel = (1e3,) * 3 if options.frame_um is not None else options.pixel_size_nm or tuple(target_nm)
    pixel = (pixel[0],) * (3 - len(pixel)) + tuple(pixel)
    field = rescan.FieldOfView(tuple(s * p for s, p in zip(size, pixel, strict=True)), around)
    if any(s > e * (1 + 1e-9) for s, e in zip(field.size_nm, coarse.grid.extent_nm, strict=True)):
        most = " x ".join(f"{e / 1e3:.4g}" for e in coarse.grid.extent_nm[::-1])
        raise InputError(
            f"A frame of {field} does not fit into {coarse.name}, which has {most} µm (x, y, z). Pass a smaller "
            "--frame."
        )
    return field


def tomogram_times(finest: Recorded, options: RescanOptions, *, needed: bool) -> rescan.TomogramTimes:
    """Time of one tomogram with its overheads.

    Parameters
    ----------
    needed : whether the plan cannot do without.

    Raises
    ------
    InputError : it is needed and not known.
    """
    if options.scan_time is None and needed:
        raise InputError(
            f"A budget needs the time that one fine tomogram takes, but {_no_time(finest)}. Pass for example "
            "--scan-time 2h, or a share of the error with --until 80%."
        )
    seconds = None if options.scan_time is None else rescan.Goal.parse(options.scan_time, None).budget_s
    return rescan.TomogramTimes(seconds, options.settle_s or 0.0, options.stage_um_per_s)


def _no_time(finest: Recorded) -> str:
    """What is known of it."""
    exposure = None if finest.image is None else finest.image.acquisition.extra.get("exposure_s")
    if exposure is None:
        return "none came"
    return f"none came: {finest.name} states {exposure:.4g} s per projection, not how many there were"


# ------------------------------------------------------------------ stage
def volume_stage(
    coarse: Image, recorded: Sequence[Recorded], landmarks: Path | None
) -> tuple[rescan.VolumeStage | None, str]:
    """From the volume to the stage, or None with a sentence why it is not known."""
    if landmarks is not None:
        return rescan.volume_stage_from_landmarks(coarse.grid, *read_landmarks(landmarks)), ""
    return rescan.volume_stage_from_headers(coarse, posed(recorded))


def read_landmarks(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxels (z, y, x) and stage positions (x, y, z in µm) from a file.

    A .csv has the columns x_px, y_px, z_px, x_um, y_um, z_um in any order (voxels count from 0); YAML or JSON holds
    ``[[[z, y, x] voxel, [x, y, z] stage µm], …]``.

    Raises
    ------
    InputError : a file that cannot be read as either.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _from_csv(text) if path.suffix.lower() == ".csv" else [[*a, *b] for a, b in yaml.safe_load(text)]
        points = np.array(rows, np.float64).reshape(len(rows), 6)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as e:
        raise InputError(
            f"{path} is no list of landmarks of a volume ({type(e).__name__}: {e}). Pass a CSV with the columns x_px, "
            "y_px, z_px, x_um, y_um, z_um, or YAML with [[[z, y, x] voxel, [x, y, z] stage µm], …]."
        ) from e
    return points[:, :3], points[:, 3:]


def _from_csv(text: str) -> list[list[Any]]:
    lines = text.splitlines()
    mark = max(",;\t", key=(lines or [""])[0].count)
    reader = csv.DictReader(lines, delimiter=mark)
    reader.fieldnames = [n.strip().lower() for n in reader.fieldnames or ()]
    rows = list(reader)
    if any(None in row or None in row.values() for row in rows):  # also where commas are decimal points as well
        raise ValueError("not every line has as many entries as the first one")
    return [[float(row[c].replace(",", ".")) for c in COLUMNS] for row in rows]
