"""Objects that an enhanced map lost or invented, where a fine scan says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.trust.doubt_features import Sought
from finescan.values import Grid, Image

COVERED = 0.5  # share of an object that the other picture must show …
NEAR_PX = 2  # … within this many fine pixels
LEAST_SIDE_PX = 2  # fine pixels along a square (cube); anything smaller is noise in either picture

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """One fine scan and the enhanced map (or volume) over it.

    Parameters
    ----------
    enhanced, fine : ([d,] h, w) fine grey levels.
    known : ([d,] h, w) True where both may be used.
    grid : of both, in the frame of the coarse scan.
    image : an image that shows the same of the map with more around it; None = the whole map does.
    """

    enhanced: Floats
    fine: Floats
    known: Mask
    grid: Grid
    image: Image | None = None

    def objects(self, sought: Sought) -> tuple[Mask, Mask]:
        """Objects of the enhanced map and of the fine scan, nothing from outside the known area in them."""
        ours, theirs = (
            sought.margin(averaged(v, self.known, sought.smooth_px)) >= 0 for v in (self.enhanced, self.fine)
        )
        return ours & self.known, theirs & self.known


@dataclass(frozen=True)
class Labels:
    """Objects by number (0 = none), and which of them are wrong.

    Parameters
    ----------
    theirs, ours : ([d,] h, w) objects of the fine scan and of the enhanced map.
    lost, invented : per object whether the other picture lacks it; the first entry, of no object, is False.
    """

    theirs: NDArray[np.int32]
    ours: NDArray[np.int32]
    lost: Mask
    invented: Mask

    def masks(self) -> dict[str, Mask]:
        """Pixels of lost and of invented objects, by kind of error."""
        return {"omission": self.lost[self.theirs], "invention": self.invented[self.ours]}

    @property
    def counts(self) -> dict[str, int]:
        """Objects of the fine scan that were found and lost, and invented ones."""
        lost, invented = int(self.lost.sum()), int(self.invented.sum())
        return {"found": self.lost.size - 1 - lost, "lost": lost, "invented": invented}


def wrong_objects(scan: Seen, sought: Sought) -> Labels:
    """Objects of either picture of which the other shows less than half, within two pixels."""
    ours, theirs = scan.objects(sought)
    (a, lost), (b, invented) = _lacking(theirs, ours), _lacking(ours, theirs)
    return Labels(a, b, lost, invented)


def _lacking(shown: Mask, by: Mask) -> tuple[NDArray[np.int32], Mask]:
    """Objects, numbered, that are not too small, and which of them the other picture lacks."""
    labels, count = ndimage.label(shown)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = sizes >= LEAST_SIDE_PX**shown.ndim
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    labels = number[labels]
    steps = np.mgrid[(slice(-NEAR_PX, NEAR_PX + 1),) * shown.ndim]
    near = ndimage.binary_dilation(by, (steps**2).sum(axis=0) <= NEAR_PX**2)
    total = int(kept.sum())
    covered_px = np.bincount(labels[near], minlength=total + 1)
    wrong = covered_px < COVERED * np.r_[np.inf, sizes[kept]]
    wrong[0] = False
    return labels, wrong


def averaged(values: Floats, known: Mask, sigma_px: float) -> Floats:
    """Gaussian average over the known pixels only."""
    total = ndimage.gaussian_filter(np.where(known, values, 0).astype(np.float32), sigma_px, mode="nearest")
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma_px, mode="nearest")
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32)
