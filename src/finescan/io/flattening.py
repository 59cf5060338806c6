"""Line-wise flattening of scanning-probe images: every line has an offset and a slope of its own.

A tunnelling microscope follows the slope of the sample and jumps between lines; both are far larger than atoms.
Nothing here happens by itself: an image that needs it is recognised, and whoever takes the lines off says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values import Image

#: how lines are found -> what is written into the facts of the image
RULES: dict[str, str] = {
    "robust": "a straight line was fitted to every row and subtracted; the mean was added again",
    "published": "a straight line taken off every row",
}
FLATTENED = "flattened"  # entry of ``acquisition.extra``
NOT_FLAT = 0.3  # offsets of lines over the contrast within lines from which on an image needs flattening
MOST_UNEVEN = 0.5  # share of the variance that may be offsets and slopes of lines
CLIPPED_AT = 3.0  # standard deviations beyond which a pixel (a defect, a spike) does not pull its line
ROUNDS = 3
PROBES = ("Nanosurf", "Nanonis")  # vendors of scanning-probe microscopes


def flatten_lines(image: Image, rule: str = "robust") -> Image:
    """The image without the offset and slope of its lines; recorded in ``acquisition.extra["flattened"]``.

    Steps along the fast axis (rows that lie higher as a whole) are lost with the offsets: they cannot be told apart.

    Parameters
    ----------
    image : (rows, columns) of at least 8 columns; missing pixels (NaN) are left out of the fits and stay missing.
    rule : "robust": a least-squares line per row in which pixels beyond three standard deviations do not count, and
        the mean of the image stays. "published" (Möller et al. 2023): all pixels count, and rows become heights about
        their own trend.

    Returns
    -------
    Image, float32 (float64 stays float64).

    Raises
    ------
    InputError : a volume, fewer than 8 columns, no number at all, or an unknown rule.

    Examples
    --------
    >>> from finescan.values import Grid
    >>> rows = np.arange(3.0)[:, None] * 100 + np.arange(16.0)
    >>> float(np.ptp(flatten_lines(Image(rows, Grid.of((3, 16), 0.1))).data)) < 1e-3
    True
    """
    if rule not in RULES:
        raise InputError(f"Lines are flattened by the rule {' or '.join(RULES)}, but {rule!r} came.")
    data = _picture(image)
    if not np.isfinite(data).any():
        raise InputError(f"{image.name} holds pixels without a number only, so it has no lines to flatten.")
    robust = rule == "robust"
    trends = row_trends(data, rounds=ROUNDS if robust else 1)
    flat = data - trends
    extra: dict[str, Any] = {**image.acquisition.extra, FLATTENED: RULES[rule]}
    if robust:
        flat += trends[np.isfinite(data)].mean()
    else:
        extra.pop("value_offset", None)  # it is gone with the trends
    wide = image.dtype == np.float64
    return replace(
        image.with_data(flat if wide else flat.astype(np.float32)), acquisition=replace(image.acquisition, extra=extra)
    )


def line_unrest(image: Image) -> float:
    """Random offsets of neighbouring lines over the contrast within lines (standard deviations); 0 = none.

    Periodic rows, as of a lattice that lies along the lines, do not count: the offsets are the white part of the row
    means. Noise that averages out along a row is subtracted.
    """
    data = _finite(image)
    inner = data - row_trends(data, rounds=ROUNDS)
    within = float(inner.std())
    if data.shape[0] < 16 or within == 0:
        return 0.0
    means = data.mean(axis=1)
    power = np.abs(np.fft.rfft(np.diff(means) * np.hanning(len(means) - 1))) ** 2
    gain = 4 * np.sin(np.pi * np.fft.rfftfreq(len(means) - 1)) ** 2  # of the difference of neighbours
    upper = len(power) // 4
    white = float(np.median(power[upper:] / gain[upper:])) / np.log(2) / np.sum(np.hanning(len(means) - 1) ** 2)
    pixel_noise = float(np.median(np.abs(np.diff(inner, axis=1)))) / 0.6745 / np.sqrt(2)
    return float(np.sqrt(max(white - pixel_noise**2 / data.shape[1], 0.0))) / within


def require_flat(image: Image) -> None:
    """InputError for an image whose lines jump against each other, with the advice to flatten it."""
    unrest = line_unrest(image)
    if unrest > NOT_FLAT:
        raise InputError(
            f"{image.name} is not flattened: its lines jump against each other by {unrest:.1f} times the contrast "
            "within them. Pass --flatten to subtract a straight line from every row (flatten_lines in Python)."
        )


def require_level(image: Image, *, probe: bool | None = None) -> None:
    """InputError for a scanning-probe picture as it was recorded, lines not levelled.

    Other pictures pass, and so does whatever says in its facts that it was flattened.

    Parameters
    ----------
    probe : whether it is such a picture; None = as far as its facts tell.
    """
    if not (is_probe(image) if probe is None else probe) or is_flattened(image):
        return
    share = unevenness(image.array())
    if share > MOST_UNEVEN:
        raise InputError(
            f"{image.name} is not flattened: {100 * share:.0f} % of the variance of its grey levels is offsets and "
            "slopes of single scan lines. Level the lines with flatten_lines (--flatten on the command line)."
        )


def is_flattened(image: Image) -> bool:
    """Whether the picture says in its facts that its lines were flattened."""
    return bool(image.acquisition.extra.get(FLATTENED))


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


def row_trends(data: NDArray[Any], *, rounds: int = 1) -> NDArray[np.float64]:
    """The straight line that fits each row best, (rows, columns); the mean where only one pixel is known.

    Parameters
    ----------
    data : (rows, columns); missing pixels (NaN) do not count.
    rounds : fits; from the second on, pixels far from the line of the one before do not count.
    """
    values = np.asarray(data, np.float64)
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    weight = known.astype(np.float64)
    fit = _weighted_lines(filled, weight)
    for _ in range(rounds - 1):
        far = np.abs(filled - fit)
        spread = np.sqrt((weight * far**2).sum(1, keepdims=True) / np.maximum(weight.sum(1, keepdims=True), 1.0))
        weight = (known & (far <= CLIPPED_AT * spread + 1e-300)).astype(np.float64)
        fit = _weighted_lines(filled, weight)
    return fit


def _weighted_lines(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    columns = np.arange(values.shape[1])
    count = np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    x = columns - (weight * columns).sum(axis=1, keepdims=True) / count
    mean = (weight * values).sum(axis=1, keepdims=True) / count
    slope = (x * weight * (values - mean)).sum(axis=1, keepdims=True)
    return np.asarray(mean + slope / np.maximum((weight * x**2).sum(axis=1, keepdims=True), 1e-12) * x)


def _picture(image: Image) -> NDArray[np.float64]:
    if image.grid.ndim != 2 or image.grid.shape[1] < 8:
        raise InputError(
            f"{image.name}: lines of a picture of at least 8 columns can be flattened, but {image.grid} came."
        )
    return np.asarray(image.data[...], np.float64)


def _finite(image: Image) -> NDArray[np.float64]:
    data = _picture(image)
    if not np.isfinite(data).all():
        raise InputError(
            f"{image.name} holds pixels without a number, so the unrest of its lines cannot be measured. Crop it first."
        )
    return data
