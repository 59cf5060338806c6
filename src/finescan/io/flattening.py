"""Line-wise flattening of scanning-probe images: every line has an offset and a slope of its own.

Nothing here happens by itself: an image that needs it is recognised, and the user asks for it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values import Image

FLATTENED = "a straight line was fitted to every row and subtracted; the mean was added again"
NOT_FLAT = 0.3  # offsets of lines over the contrast within lines from which on an image needs flattening
CLIPPED_AT = 3.0  # standard deviations beyond which a pixel (a defect, a spike) does not pull its line
ROUNDS = 3


def flatten_lines(image: Image) -> Image:
    """The image without the offset and slope of its lines, float32, same mean; recorded in the acquisition.

    A straight line is fitted to every row by least squares; pixels beyond three standard deviations do not count.
    Steps along the fast axis (rows that lie higher as a whole) are lost with the offsets: they cannot be told apart.

    Raises
    ------
    InputError : a volume, fewer than 8 columns, or pixels that are no numbers.

    Examples
    --------
    >>> from finescan.values import Grid
    >>> rows = np.arange(3.0)[:, None] * 100 + np.arange(16.0)
    >>> float(np.ptp(flatten_lines(Image(rows, Grid.of((3, 16), 0.1))).data)) < 1e-3
    True
    """
    data = _picture(image)
    flat = data - _lines(data)
    facts = replace(image.acquisition, extra={**image.acquisition.extra, "flattened": FLATTENED})
    return replace(image.with_data((flat + data.mean()).astype(np.float32)), acquisition=facts)


def line_unrest(image: Image) -> float:
    """Random offsets of neighbouring lines over the contrast within lines (standard deviations); 0 = none.

    Periodic rows, as of a lattice that lies along the lines, do not count: the offsets are the white part of the row
    means. Noise that averages out along a row is subtracted.
    """
    data = _picture(image)
    inner = data - _lines(data)
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


def _picture(image: Image) -> NDArray[np.float64]:
    if image.grid.ndim != 2 or image.grid.shape[1] < 8:
        raise InputError(
            f"{image.name}: lines of a picture of at least 8 columns can be flattened, but {image.grid} came."
        )
    data = np.asarray(image.data[...], np.float64)
    if not np.isfinite(data).all():
        raise InputError(
            f"{image.name} holds pixels without a number, so its lines cannot be flattened. Crop it first."
        )
    return data


def _lines(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Straight line of every row; robust against outliers by a few rounds of clipping."""
    x = np.linspace(-1, 1, data.shape[1])
    weight = np.ones_like(data)
    for _ in range(ROUNDS):
        n, sx, sxx = weight.sum(1), weight @ x, weight @ x**2
        sy, sxy = (weight * data).sum(1), (weight * data) @ x
        slope = (n * sxy - sx * sy) / np.maximum(n * sxx - sx**2, 1e-12)
        fit = ((sy - slope * sx) / n)[:, None] + slope[:, None] * x
        spread = np.sqrt((weight * (data - fit) ** 2).sum(1) / n)[:, None]
        weight = (np.abs(data - fit) <= CLIPPED_AT * spread + 1e-300).astype(np.float64)
    return fit
