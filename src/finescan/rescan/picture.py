"""The map with its numbered fields, for the person at the instrument."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from finescan.errors import InputError
from finescan.rescan.plan import Field, RescanPlan
from finescan.rescan.times import spoken

LONGEST_PX, SHORTEST_PX = 2400, 900  # of the longer side of the picture
ORANGE, BLUE, DARK, WHITE = (255, 176, 0), (90, 200, 250), (0, 0, 0), (255, 255, 255)
WINDOW = (0.5, 99.5)  # percentiles shown as black and white
_SAMPLES = 1 << 20


def numbered_picture(coarse: Any, plan: RescanPlan) -> bytes:
    """A PNG of the map with every field, its number in the order of scanning, the way of the stage and a scale bar.

    Parameters
    ----------
    coarse : (h, w) grey levels of the map, any dtype, lazy or not; the picture is made of means over blocks of it.
    plan : its numbers are those of rescan.json and of every list.

    Raises
    ------
    InputError : an array of another shape than the map.

    Notes
    -----
    Grey levels are stretched between two percentiles for display only.
    """
    if tuple(coarse.shape) != plan.map.grid.shape:
        raise InputError(f"The picture is {tuple(coarse.shape)} px, but the plan's map has {plan.map.grid.shape}.")
    grey = Pillow.fromarray(shown_levels(_reduced(coarse)))
    scale = max(1, SHORTEST_PX // max(grey.size))
    canvas = grey.resize((grey.width * scale, grey.height * scale), Pillow.Resampling.NEAREST).convert("RGB")
    per_px = canvas.height / plan.map.grid.shape[0], canvas.width / plan.map.grid.shape[1]
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=max(13, round(max(canvas.size) / 75)))
    line = max(2, round(max(canvas.size) / 700))
    _way(draw, plan, per_px, line)
    for f in plan.fields:
        _box(draw, f, per_px, line)
    for f in plan.fields:
        _number(draw, f, per_px, font)
    buffer = io.BytesIO()
    _with_strip(canvas, plan, per_px[1], font).save(buffer, "PNG")
    return buffer.getvalue()


def _reduced(coarse: Any) -> NDArray[np.float32]:
    """Means over square blocks, read band by band."""
    block = max(1, -(-max(coarse.shape) // LONGEST_PX))
    if block == 1:
        return np.asarray(coarse[...], np.float32)
    h, w = (n // block * block for n in coarse.shape)
    bands = []
    for first in range(0, h, block):
        band = np.asarray(coarse[first : first + block, :w], np.float32)
        bands.append(band.reshape(block, w // block, block).mean(axis=(0, 2)))
    return np.stack(bands)


def shown_levels(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    step = max(1, math.isqrt(max(1, grey.size // _SAMPLES)))
    known = grey[::step, ::step]
    known = known[np.isfinite(known)]
    low, high = np.percentile(known, WINDOW) if known.size else (0.0, 1.0)
    scaled = (np.nan_to_num(grey, nan=low) - low) * (255.0 / max(high - low, 1e-9))
    return np.clip(scaled + 0.5, 0, 255).astype(np.uint8)


def _xy(point: tuple[float, float], per_px: tuple[float, float]) -> tuple[float, float]:
    return point[1] * per_px[1], point[0] * per_px[0]


def _way(draw: ImageDraw.ImageDraw, plan: RescanPlan, per_px: tuple[float, float], line: int) -> None:
    """From field to field, as straight lines."""
    points = [_xy(f.centre_px, per_px) for f in plan.fields]
    if len(points) > 1:
        draw.line(points, fill=DARK, width=line + 1)
        draw.line(points, fill=BLUE, width=max(1, line - 1))


def _box(draw: ImageDraw.ImageDraw, f: Field, per_px: tuple[float, float], line: int) -> None:
    box = (*_xy(f.start_px, per_px), *_xy(f.stop_px, per_px))
    for colour, width in ((DARK, line + 2), (ORANGE, line)):
        draw.rectangle(box, outline=colour, width=width)


def _number(draw: ImageDraw.ImageDraw, f: Field, per_px: tuple[float, float], font: Any) -> None:
    """In the upper left corner of the field."""
    x, y = _xy(f.start_px, per_px)
    words = str(f.order)
    left, top, right, bottom = draw.textbbox((x + 4, y + 2), words, font=font)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=ORANGE, outline=DARK)
    draw.text((x + 4, y + 2), words, fill=DARK, font=font)


def _with_strip(canvas: Pillow.Image, plan: RescanPlan, per_px: float, font: Any) -> Pillow.Image:
    """The picture with a scale bar and the plan in a line below it, where they cover nothing."""
    high = round(2.2 * font.size)
    out = Pillow.new("RGB", (canvas.width, canvas.height + high), DARK)
    out.paste(canvas)
    draw = ImageDraw.Draw(out)
    length, words = round_length(0.2 * canvas.width * plan.map.grid.pixel_size_nm[1] / per_px)
    wide = length / plan.map.grid.pixel_size_nm[1] * per_px
    middle = canvas.height + high / 2
    draw.rectangle((12, middle - high / 10, 12 + wide, middle + high / 10), fill=WHITE)
    draw.text((12 + wide + 8, middle), words, fill=WHITE, font=font, anchor="lm")
    draw.text((canvas.width - 12, middle), _caption(plan), fill=WHITE, font=font, anchor="rm")
    return out


def round_length(about_nm: float) -> tuple[float, str]:
    """The largest 1, 2 or 5 times a power of ten, nm, below a length; the font has no µ."""
    power = 10.0 ** math.floor(math.log10(about_nm))
    length = power * max(m for m in (1, 2, 5) if m * power <= about_nm * (1 + 1e-9))
    return length, f"{length / 1e3:g} um" if length >= 1e3 else f"{length:g} nm"


def _caption(plan: RescanPlan) -> str:
    return f"{len(plan.fields)} fields, {spoken(plan.seconds)}, {100 * plan.reduction:.0f} % of the expected error"
