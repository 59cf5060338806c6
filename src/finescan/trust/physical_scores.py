"""Scores of a matched pair of pictures: as they are, averaged with softened versions, and at coarser levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.trust.metrics import METRICS, SMALLEST, matched

Array = NDArray[np.float64]

PAIR_METRICS = ("psnr", "ssim", "ms_ssim")
#: OpenCV's Gaussians of 3 and 5 pixels with sigma 0, which the published "Gauss metric" averages over
BINOMIALS = ((1.0, 2.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0))
LEVELS = (1, 2, 4)  # pixels averaged along each axis


def softened(picture: NDArray[np.floating], kernel: Sequence[float]) -> Array:
    """The picture convolved with a kernel along both axes, mirrored about its border pixels.

    >>> softened(np.array([[0.0, 0, 0], [0, 16, 0], [0, 0, 0]]), (1, 2, 1)).tolist()
    [[4.0, 4.0, 4.0], [4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]
    """
    weights = np.asarray(kernel, float) / np.sum(kernel)
    out = np.asarray(picture, np.float64)
    for axis in (0, 1):
        out = ndimage.convolve1d(out, weights, axis=axis, mode="mirror")
    return np.asarray(out)


def pair_scores(
    piece: NDArray[np.floating], fine: NDArray[np.floating], known: NDArray[np.bool_], *, data_range: float
) -> dict[str, float]:
    """PSNR (dB), SSIM and MS-SSIM of a pair, and each as the published Gauss metric.

    Grey levels are brought together by one gain and one offset first: two recordings do not share them.

    Parameters
    ----------
    piece, fine : (h, w) grey levels.
    known : pixels that count.
    data_range : of the fine picture.

    Returns
    -------
    Metric -> value; ``gauss_…`` is the mean over the pictures as they are and softened over 3 and 5 pixels.
    """
    ours, _, _ = matched(piece, fine, known)
    inner = ndimage.binary_erosion(known, np.ones((5, 5)), border_value=1)
    out: dict[str, float] = {}
    for name in PAIR_METRICS:
        metric = METRICS[name]
        plain = metric(ours, fine, data_range=data_range, mask=known)
        soft = [metric(softened(ours, k), softened(fine, k), data_range=data_range, mask=inner) for k in BINOMIALS]
        out |= {name: plain, f"gauss_{name}": float(np.mean([plain, *soft]))}
    return out


def scores_by_level(
    piece: NDArray[np.floating], fine: NDArray[np.floating], known: NDArray[np.bool_], *, data_range: float
) -> Mapping[int, dict[str, float]]:
    """:func:`pair_scores` of the pair and of averages over 2 x 2 and 4 x 4 pixels, as far as they are large enough."""
    out: dict[int, dict[str, float]] = {}
    for n in LEVELS:
        shape = [v // n for v in piece.shape]
        if min(shape) < SMALLEST:
            break
        a, b = (_averaged(np.where(known, v, 0.0), n) for v in (piece, fine))
        every = _averaged(known.astype(float), n) > 1 - 1e-9
        if every.any():
            out[n] = pair_scores(a, b, every, data_range=data_range)
    return out


def _averaged(picture: NDArray[np.floating], n: int) -> Array:
    h, w = (v // n for v in picture.shape)
    return np.asarray(picture[: h * n, : w * n].reshape(h, n, w, n).mean(axis=(1, 3)), np.float64)
