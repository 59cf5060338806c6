"""What the training role says about the grey levels of a pair: statistics, the map from coarse to fine, the range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.patches import grey
from finescan.patches.pieces import Piece
from finescan.patches.split import TRAIN
from finescan.values import GreyStatistics

SMOOTH_PX = 1.5  # sigma of the averages the grey map is fitted on, coarse pixels


def training_grey(pieces: Sequence[Piece]) -> tuple[GreyStatistics, GreyStatistics, float, float, float]:
    """Statistics of both scans, gain, offset and correlation, over the training role only."""
    coarse, fine, x, y, noise = [], [], [], [], []
    for p in pieces:
        f, (h, w) = p.factor, p.lr.shape
        mask = p.role_fine("train")
        blocks = mask.reshape(h, f, w, f)
        whole = np.asarray(np.all(blocks, axis=(1, 3)))
        coarse.append(p.lr[np.any(blocks, axis=(1, 3))])
        fine.append(p.hr[mask])
        if not whole.any():  # a scan that only judges
            continue
        noise.append(grey.white_noise(p.lr, whole) ** 2)
        x.append(smooth(p.lr, whole)[whole])
        y.append(smooth(p.hr.reshape(h, f, w, f).mean(axis=(1, 3)), whole)[whole])
    left = float(np.mean(noise)) / (4 * np.pi * SMOOTH_PX**2)  # what smoothing leaves of white noise
    gain, offset, r = grey.grey_map(np.concatenate(x), np.concatenate(y), noise_variance=left)
    return grey.statistics(np.concatenate(coarse)), grey.statistics(np.concatenate(fine)), gain, offset, r


def smooth(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Gaussian average over the masked pixels only: noise would bias a regression towards zero gain."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTH_PX)
    return ndimage.gaussian_filter(np.where(mask, data, 0).astype(np.float32), SMOOTH_PX) / np.maximum(weight, 1e-6)


def learned_range(pieces: Sequence[Piece], gain: float) -> tuple[float, float]:
    """Locally averaged coarse grey levels that were learned: where most of the fine pixels counted.

    A bright edge that the fine scan records as saturated is in the training area, but nothing was learned there. At the
    dark end (the bright one of an inverted pair) the whole training area counts: cut off or not, black is black.
    """
    learned, present = [], []
    for p in pieces:
        f, (h, w) = p.factor, p.lr.shape
        average, share = grey.local_average(p.lr), p.role_fine("train").reshape(h, f, w, f).mean(axis=(1, 3))
        learned.append(average[share > 0.5])
        present.append(average[p.role == TRAIN])
    ends = [np.percentile(np.concatenate(v), grey.RANGE_PERCENTILES) for v in (present, learned)]
    low, high = (ends[0][0], ends[1][1]) if gain > 0 else (ends[1][0], ends[0][1])
    return float(low), float(high)


def contrast_notes(gain: float, r: float) -> list[str]:
    """What to say about a grey map of this gain and correlation; nothing when it is an ordinary one."""
    if abs(r) < 0.3:
        return [f"Coarse and fine grey levels hardly correlate (r = {r:.2f}): the grey map is a rough one."]
    return ["The contrast of the two scans is inverted; the grey map takes care of it."] if gain < 0 else []


def saturation_notes(shares: Mapping[str, float]) -> list[str]:
    """What to say about shares of saturated pixels, "lr" and "hr"; nothing where hardly any is."""
    return [
        f"{100 * shares[key]:.1f} % of the {name} is saturated in the overlap and was not learned from."
        for key, name in (("lr", "coarse map"), ("hr", "fine scan"))
        if shares[key] > 0.001
    ]
