"""Preparation of scanning-probe pictures: lines levelled, and eight bits for those who ask for them.

A tunnelling microscope follows the slope of the sample and jumps between lines; both are far larger than atoms, and a
network would learn them first. Neither step is ever done unasked, and both are written into the picture's facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values import Image

PROBES = ("Nanosurf", "Nanonis")  # vendors of scanning-probe microscopes
MOST_UNEVEN = 0.5  # share of the variance that may be offsets and slopes of lines
FLATTENED, EIGHT_BIT = "flattened", "eight_bit"  # entries of ``acquisition.extra``


def flatten_lines(image: Image) -> Image:
    """The picture with a straight line taken off every row (the fast scan direction).

    Rows are then heights about their own trend. What is left out: real steps and slopes along the rows.

    Parameters
    ----------
    image : (rows, columns); missing pixels (NaN) are left out of the fits and stay missing.

    Returns
    -------
    Image, float32 (float64 stays float64); ``acquisition.extra["flattened"]`` says what was done.
    """
    data = image.array()
    wide = data.dtype == np.float64
    levelled = data.astype(np.float64) - row_trends(data)
    extra = {k: v for k, v in image.acquisition.extra.items() if k != "value_offset"}  # it is gone with the trends
    extra[FLATTENED] = "a straight line taken off every row"
    return replace(
        image.with_data(levelled if wide else levelled.astype(np.float32)),
        acquisition=replace(image.acquisition, extra=extra),
    )


def to_eight_bit(image: Image, percentiles: tuple[float, float] = (2.0, 98.0)) -> Image:
    """The picture in 256 grey levels, cut off at two percentiles: what the published networks for STM were trained on.

    Rounded down, as published. ``acquisition.extra["eight_bit"]`` keeps the grey levels that became 0 and 255 and the
    share of pixels that was cut off at each end; such pixels cannot be restored.

    Raises
    ------
    InputError : missing pixels, percentiles that are not 0 <= low < high <= 100, or nothing between them.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise InputError(f"Percentiles run from 0 to 100, the lower one first, but {low:g} and {high:g} came.")
    data = image.array().astype(np.float64)
    if not np.isfinite(data).all():
        raise InputError(
            f"{image.name} has missing pixels, for which 8-bit pictures have no grey level. Crop them away."
        )
    bottom, top = np.percentile(data, (low, high))
    if not top > bottom:
        raise InputError(
            f"{image.name} has one grey level between its {low:g} and {high:g} percentiles. Use wider ones."
        )
    scaled = ((np.clip(data, bottom, top) - bottom) / (top - bottom) * 255).astype(np.uint8)
    extra: dict[str, Any] = dict(image.acquisition.extra)
    if "value_scale" in extra:
        extra["value_offset"] = extra.get("value_offset", 0.0) + extra["value_scale"] * float(bottom)
        extra["value_scale"] *= float(top - bottom) / 255
    extra[EIGHT_BIT] = {
        "low": float(bottom),
        "high": float(top),
        "below": float((data < bottom).mean()),
        "above": float((data > top).mean()),
    }
    return replace(image.with_data(scaled), acquisition=replace(image.acquisition, extra=extra))


def require_flat(image: Image, *, probe: bool | None = None) -> None:
    """InputError for a scanning-probe picture as it was recorded, lines not levelled.

    Other pictures pass, and so does whatever says in its facts that it was flattened.

    Parameters
    ----------
    probe : whether it is such a picture; None = as far as its facts tell.
    """
    extra = image.acquisition.extra
    if extra.get(FLATTENED) or not (is_probe(image) if probe is None else probe):
        return
    share = unevenness(image.array())
    if share > MOST_UNEVEN:
        raise InputError(
            f"{image.name} is not flattened: {100 * share:.0f} % of the variance of its grey levels is offsets and "
            "slopes of single scan lines. Level the lines with flatten_lines (--flatten on the command line)."
        )


def is_probe(image: Image) -> bool:
    """Whether a scanning-probe microscope recorded the picture, as far as its facts tell."""
    extra: Mapping[str, Any] = image.acquisition.extra
    return image.acquisition.vendor in PROBES or str(extra.get("technique", "")).upper() in ("STM", "AFM", "SPM")


def unevenness(data: NDArray[Any]) -> float:
    """Share of the variance of a picture that is the straight lines of its rows, 0 to 1."""
    values = np.asarray(data, np.float64)
    known = np.isfinite(values)
    total = float(np.var(values[known]))
    return 0.0 if total == 0 else float(np.var(np.where(known, row_trends(values), np.nan)[known]) / total)


def row_trends(data: NDArray[Any]) -> NDArray[np.float64]:
    """The straight line that fits each row best, (rows, columns); the mean where only one pixel is known."""
    values = np.asarray(data, np.float64)
    known = np.isfinite(values).astype(np.float64)
    filled = np.where(known > 0, values, 0.0)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1.0)
    x = np.arange(values.shape[1]) - (known * np.arange(values.shape[1])).sum(axis=1, keepdims=True) / count
    mean = filled.sum(axis=1, keepdims=True) / count
    spread = (known * x**2).sum(axis=1, keepdims=True)
    slope = (x * known * (filled - mean)).sum(axis=1, keepdims=True) / np.maximum(spread, 1e-12)
    return mean + slope * x
