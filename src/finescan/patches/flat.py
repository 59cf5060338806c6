"""Eight bits for scanning-probe pictures, for those who ask for them; lines are levelled in finescan.io.flattening.

Never done unasked, and written into the picture's facts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from finescan.errors import InputError
from finescan.values import Image

EIGHT_BIT = "eight_bit"  # entry of ``acquisition.extra``


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
