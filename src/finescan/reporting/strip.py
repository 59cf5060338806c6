"""One PNG with several pictures beside each other, for READMEs and slides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from finescan.reporting.figures import nice
from finescan.reporting.pictures import grey_window, to_levels

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
GAP_PX, TITLE_PX = 6, 22


def write_strip(
    path: Path, layers: Mapping[str, NDArray[np.generic]], *, pixel_size_nm: float, enlarge: int = 1
) -> Path:
    """Write pictures of one shape side by side, under their names, with one scale bar.

    Parameters
    ----------
    path : of the PNG.
    layers : name -> (h, w) grey levels; all are shown with one grey window (0.1 and 99.9 percentiles).
    pixel_size_nm : along x, for the scale bar.
    enlarge : whole screen pixels per pixel.
    """
    window = grey_window(layers.values())
    pictures = [np.kron(to_levels(a, window), np.ones((enlarge, enlarge), np.uint8)) for a in layers.values()]
    h, w = pictures[0].shape
    canvas = Pillow.new("L", (len(pictures) * (w + GAP_PX) - GAP_PX, h + TITLE_PX), 255)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for k, (name, picture) in enumerate(zip(layers, pictures, strict=True)):
        canvas.paste(Pillow.fromarray(picture), (k * (w + GAP_PX), TITLE_PX))
        draw.text((k * (w + GAP_PX) + 2, 2), name, fill=0, font=font)
    _scale_bar(draw, font, w, h + TITLE_PX, pixel_size_nm / enlarge)
    part = path.with_suffix(".partial")
    canvas.save(part, "PNG")
    part.replace(path)
    return path


def _scale_bar(draw: ImageDraw.ImageDraw, font: Font, width: int, bottom: int, nm: float) -> None:
    length = nice(width * nm / 5)
    text = f"{length:g} nm"  # the built-in font has no µ
    right = 10 + round(length / nm)
    draw.rectangle((4, bottom - 32, max(right, 10 + 8 * len(text)) + 6, bottom - 4), fill=0)
    draw.rectangle((10, bottom - 10, right, bottom - 7), fill=255)
    draw.text((10, bottom - 30), text, fill=255, font=font)
