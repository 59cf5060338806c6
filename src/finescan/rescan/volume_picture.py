"""A volume from three sides with its numbered places, for the person at the instrument."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from finescan.errors import InputError
from finescan.rescan.picture import BLUE, DARK, ORANGE, WHITE, round_length, shown_levels
from finescan.rescan.times import spoken
from finescan.rescan.volume_places import AXES
from finescan.rescan.volume_plan import VolumePlan, VolumeVisit

LONGEST_PX = 1300  # of the three views together, along their longer side
LIST_PX = 450  # width of the list beside them
GAP, FONT_PX, LINE = 10, 17, 3
SHIFTS = 6  # places right or down of its corner that a number may stand in
_SLAB = 1 << 23  # voxels that are read at once


@dataclass(frozen=True)
class View:
    """The volume seen along one axis.

    Parameters
    ----------
    along : the axis of sight.
    down, right : axes of the picture.
    corner : left and top, px of the sheet.
    px_per_nm : scale of the sheet.
    """

    along: str
    down: str
    right: str
    corner: tuple[float, float]
    px_per_nm: float

    def xy(self, nm: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
        """On the sheet, of a position (z, y, x) in nm from the outer corner of the volume."""
        x, y = (nm[AXES.index(a)] * self.px_per_nm for a in (self.right, self.down))
        return self.corner[0] + x, self.corner[1] + y


def numbered_views(coarse: Any, plan: VolumePlan) -> bytes:
    """A PNG of the volume seen along z, y and x, with every place, its number, the way of the stage and a list.

    Parameters
    ----------
    coarse : (z, y, x) grey levels, lazy or not, read once slab by slab; what is shown are means along the line of
        sight, like radiographs, in which places of all depths lie above one another.
    plan : its numbers are those of rescan.json and of every list.

    Raises
    ------
    InputError : an array of another shape than the volume.

    Notes
    -----
    Grey levels are stretched between two percentiles for display only.
    """
    if tuple(coarse.shape) != plan.map.grid.shape:
        raise InputError(f"The volume is {tuple(coarse.shape)} voxels, but the plan's has {plan.map.grid.shape}.")
    means = projections(coarse)
    deep, high, wide = plan.map.grid.extent_nm
    scale = LONGEST_PX / max(wide + deep, high + deep)
    font = ImageFont.load_default(size=FONT_PX)
    head = GAP + round(1.4 * FONT_PX)
    left, top = wide * scale + 2 * GAP, high * scale + 2 * head
    views = (
        View("z", "y", "x", (GAP, head), scale),
        View("y", "z", "x", (GAP, top), scale),
        View("x", "y", "z", (left, head), scale),
    )
    size = round(left + max(deep * scale, 0) + GAP), round(top + deep * scale + GAP)
    sheet = Pillow.new("RGB", (size[0] + LIST_PX, size[1] + 2 * FONT_PX + GAP), DARK)
    draw = ImageDraw.Draw(sheet)
    for view in views:
        _paste(sheet, means[view.along], view, plan)
        _drawn(draw, view, plan, font)
    _listed(draw, plan, (size[0] + GAP, GAP), sheet.height, font)
    _scale_bar(draw, plan, scale, size, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def projections(volume: Any) -> dict[str, NDArray[np.float32]]:
    """Means along z (y, x), along y (z, x) and along x (z, y) of what is finite; NaN where nothing is."""
    depth, rows, columns = volume.shape
    along_z, count_z = np.zeros((rows, columns)), np.zeros((rows, columns))
    sides: dict[str, list[NDArray[np.float32]]] = {"y": [], "x": []}
    step = max(1, _SLAB // (rows * columns))
    for first in range(0, depth, step):
        slab = np.asarray(volume[first : first + step], np.float32)
        known = np.isfinite(slab)
        slab = np.where(known, slab, 0)
        along_z += slab.sum(axis=0, dtype=np.float64)
        count_z += known.sum(axis=0)
        for name, axis in (("y", 1), ("x", 2)):
            sides[name].append(_mean(slab.sum(axis=axis, dtype=np.float64), known.sum(axis=axis)))
    return {"z": _mean(along_z, count_z), **{n: np.concatenate(parts) for n, parts in sides.items()}}


def _mean(total: NDArray[Any], count: NDArray[Any]) -> NDArray[np.float32]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _paste(sheet: Pillow.Image, mean: NDArray[np.float32], view: View, plan: VolumePlan) -> None:
    """The grey levels of a view; the side view along x lies with z to the right."""
    grey = Pillow.fromarray(shown_levels(mean.T if view.along == "x" else mean))
    x0, y0 = view.xy((0.0, 0.0, 0.0))
    x1, y1 = view.xy(plan.map.grid.extent_nm)
    size = max(1, round(x1 - x0)), max(1, round(y1 - y0))
    finer = size[0] >= grey.width and size[1] >= grey.height
    way = Pillow.Resampling.NEAREST if finer else Pillow.Resampling.BOX
    sheet.paste(grey.resize(size, way), (round(x0), round(y0)))


def _drawn(draw: ImageDraw.ImageDraw, view: View, plan: VolumePlan, font: Any) -> None:
    """Way, outlines, numbers and name of a view."""
    draw.text((view.corner[0], view.corner[1] - 1.3 * FONT_PX), _named(view), fill=WHITE, font=font)
    points = [view.xy(plan.centre_um(v.place) * 1e3) for v in plan.visits]
    if len(points) > 1:
        draw.line(points, fill=DARK, width=LINE + 1)
        draw.line(points, fill=BLUE, width=LINE - 1)
    for v in plan.visits:
        _outline(draw, view, plan, v)
    taken: list[tuple[float, float, float, float]] = []
    for v in plan.visits:
        taken.append(_number(draw, view.xy(_corner_nm(plan, v.place.start_px)), str(v.order), font, taken))


def _named(view: View) -> str:
    return f"along {view.along}: {view.right} to the right, {view.down} down"


def _corner_nm(plan: VolumePlan, px: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(px, float) * plan.map.grid.pixel_size_nm


def _outline(draw: ImageDraw.ImageDraw, view: View, plan: VolumePlan, v: VolumeVisit) -> None:
    box = tuple(c for px in (v.place.start_px, v.place.stop_px) for c in view.xy(_corner_nm(plan, px)))
    shape = draw.ellipse if plan.field.axis == view.along else draw.rectangle
    for colour, width in ((DARK, LINE + 2), (ORANGE, LINE)):
        shape(box, outline=colour, width=width)


def _number(
    draw: ImageDraw.ImageDraw, corner: tuple[float, float], words: str, font: Any, taken: Sequence[Sequence[float]]
) -> tuple[float, float, float, float]:
    """In the upper left corner of a place, or further right or down where another number stands; returns its plate."""
    plate = 0.0, 0.0, 0.0, 0.0
    for down, right in sorted(itertools.product(range(SHIFTS), repeat=2), key=lambda k: (sum(k), k)):
        x, y = corner[0] + 4 + 1.9 * FONT_PX * right, corner[1] + 2 + 1.2 * FONT_PX * down
        left, top, stop, bottom = draw.textbbox((x, y), words, font=font)
        plate = left - 3, top - 2, stop + 3, bottom + 2
        if not any(_overlap(plate, other) for other in taken):
            break
    draw.rectangle(plate, fill=ORANGE, outline=DARK)
    draw.text((x, y), words, fill=DARK, font=font)
    return plate


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _listed(draw: ImageDraw.ImageDraw, plan: VolumePlan, corner: tuple[float, float], height: int, font: Any) -> None:
    """Where the places are in numbers, as many as there is room for. The font has no µ."""
    x, y = corner
    line = 1.35 * FONT_PX
    stage = plan.stage is not None
    words = "stage x, y, z, um" if stage else "x, y, z from the middle, um"
    room = int((height - y - 5 * line) // line)
    columns = (0, 46, 340)
    rows = [("", words, "removes")]
    for v in plan.visits[:room]:
        at = plan.stage_um(v.place) or plan.from_middle_um(v.place)[::-1].tolist()
        rows.append((str(v.order), ", ".join(f"{a:.1f}" for a in at), f"{100 * v.place.reduction:.1f} %"))
    if len(plan.visits) > room:
        rows.append(("", f"and {len(plan.visits) - room} more in rescan.json", ""))
    for cells in rows:
        for at_x, cell in zip(columns, cells, strict=True):
            draw.text((x + at_x, y), cell, fill=WHITE, font=font)
        y += line


def _scale_bar(draw: ImageDraw.ImageDraw, plan: VolumePlan, scale: float, size: tuple[int, int], font: Any) -> None:
    length, words = round_length(0.2 * size[0] / scale)
    middle = size[1] + FONT_PX
    draw.rectangle((GAP, middle - 3, GAP + length * scale, middle + 3), fill=WHITE)
    draw.text((GAP + length * scale + 8, middle), words, fill=WHITE, font=font, anchor="lm")
    draw.text((size[0] + LIST_PX - GAP, middle), _caption(plan), fill=WHITE, font=font, anchor="rm")


def _caption(plan: VolumePlan) -> str:
    took = "" if plan.seconds is None else f", {spoken(plan.seconds)}"
    count = f"{len(plan.visits)} place" + ("s" if len(plan.visits) != 1 else "")
    field = str(plan.field).replace("µ", "u")
    return f"{count} of {field}{took}: {100 * plan.reduction:.0f} % of the expected error"
