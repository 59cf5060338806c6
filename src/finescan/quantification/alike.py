"""Several pictures of one place measured alike: one smoothing, one threshold, one segmentation; then compared.

The threshold comes from the recorded fine scan, in whose grey levels all pictures are, so what differs between them is
the pictures and not the thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.quantification.config import QuantifyConfig
from finescan.quantification.groups import clearest_group, outer_group
from finescan.quantification.matching import MEASURED_FATES, REFERENCE_FATES, Matching, match
from finescan.quantification.measurements import Measurements
from finescan.quantification.pores import quantify
from finescan.quantification.sizes import SizeComparison, SizeSample, area_share
from finescan.quantification.threshold import Threshold, otsu
from finescan.values import Grid, Image, Region

# against noise, pixels of the result; the same for every picture. Objects of few pixels come out smaller by it (a disc
# of 6 px by 0.7 px), in all pictures alike
SMOOTH_PX = 1.0
WANTED = ("auto", "dark", "bright", "none")


@dataclass(frozen=True)
class Objects:
    """What is measured.

    Parameters
    ----------
    kind : "dark", "bright" or "none".
    threshold : the grey level that parts them from the rest, None for "none".
    reason : why, in a sentence.
    """

    kind: str
    threshold: Threshold | None
    reason: str


def choose_objects(fine: NDArray, wanted: str = "auto") -> Objects:
    """What to measure, from the (smoothed) grey levels of the fine scan.

    Parameters
    ----------
    fine : any shape; NaN = no value.
    wanted : "dark", "bright", "none", or "auto": the dark group of grey levels if a valley of the histogram sets one
        apart, else the bright one, else nothing.

    Raises
    ------
    InputError : another word, or a constant fine scan in which something must be measured.
    """
    if wanted not in WANTED:
        raise InputError(f"Objects are one of {', '.join(WANTED)}, but {wanted!r} came.")
    if wanted == "none":
        return Objects("none", None, "Nothing was to be measured.")
    if wanted == "auto":
        found = clearest_group(fine)
        if found is None:
            return Objects("none", None, "No valley of the fine scan's grey levels sets dark or bright objects apart.")
        return Objects(*found, _valley_reason(*found))
    threshold = outer_group(fine, wanted)
    if threshold is not None:
        return Objects(wanted, threshold, _valley_reason(wanted, threshold))
    threshold = otsu(fine, name="the fine scan")
    doubt = "" if threshold.two_groups else ", though the grey levels do not fall into two groups"
    return Objects(
        wanted, threshold, f"No valley sets {wanted} objects apart; Otsu's threshold {threshold.value:.5g} does{doubt}."
    )


def _valley_reason(kind: str, threshold: Threshold) -> str:
    side = "below" if kind == "dark" else "above"
    return f"A valley of the fine scan's grey levels sets {kind} objects apart, {side} {threshold.value:.5g}."


def calmed(data: NDArray, field: NDArray[np.bool_], sigma_px: float = SMOOTH_PX) -> NDArray[np.float32]:
    """Gaussian average over the pixels of the field only; NaN outside.

    Parameters
    ----------
    data : (h, w) grey levels, whatever they are outside ``field``.
    field : (h, w) True where they count.
    """
    whole = bool(field.all())
    values = np.where(field, data, 0).astype(np.float32)
    soft = ndimage.gaussian_filter(values, sigma_px, mode="nearest")
    if whole:
        return soft
    weight = ndimage.gaussian_filter(field.astype(np.float32), sigma_px, mode="nearest")
    return np.where(field, soft / np.maximum(weight, 1e-6), np.nan).astype(np.float32)


def measure_alike(
    pictures: Mapping[str, NDArray], grid: Grid, *, objects: Objects, field: NDArray[np.bool_] | None = None
) -> dict[str, Measurements]:
    """Objects of every picture, found in the same way.

    Parameters
    ----------
    pictures : name -> (h, w) grey levels, all in those of the fine scan, already smoothed alike (:func:`calmed`).
    grid : of all of them.
    objects : what to measure; its ``kind`` is not "none".
    field : True where pixels count; None = everywhere. Objects cut by its border are labelled but not counted.
    """
    if objects.threshold is None:
        raise InputError("There is nothing to measure: the objects are 'none'. Ask for dark or bright ones.")
    config = QuantifyConfig(pores=objects.kind, threshold=objects.threshold.value, faces="all")
    return {n: quantify(Image(v, grid, n), config=config, circle=field) for n, v in pictures.items()}


def compare(
    measured: Mapping[str, Measurements],
    *,
    area: str,
    edges_nm: NDArray[np.float64],
    counted: NDArray[np.bool_],
    reference: str | None = None,
    against: str | None = None,
    regions: Sequence[Region] | None = None,
) -> SizeComparison:
    """Compare what was measured alike, in a part of the pictures.

    Parameters
    ----------
    measured : name -> measurements with labels, on one grid.
    area : what the part is, for readers.
    edges_nm : classes of diameters.
    counted : True in the part; an object belongs to it if its centre does.
    reference : the one whose objects the others' are matched with; None = nothing is matched.
    against : the one whose sizes the others' are compared with; None = the reference, else the first.
    regions : boxes of the part, for the standard errors; None = the whole picture.
    """
    true = None if reference is None else measured[reference]
    samples = []
    for name, m in measured.items():
        here = _inside(m, counted)
        assert m.labels is not None
        share, error, blocks = area_share(m.labels > 0, counted, regions)
        fates = {} if true is None or m is true else _fates(match(m, true), here, _inside(true, counted))
        samples.append(
            SizeSample(
                name,
                m.diameter_nm[here],
                share,
                error,
                blocks,
                int(np.count_nonzero(counted)),
                reference=m is true,
                **fates,
            )
        )
    return SizeComparison(area, tuple(samples), edges_nm, against or reference or samples[0].name)


def _inside(measured: Measurements, counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Per object whether its centre lies on a counted pixel."""
    centres = np.stack([measured.table["y_nm"], measured.table["x_nm"]], axis=-1)
    index = np.rint(measured.grid.to_index(centres)).astype(int)
    y, x = np.clip(index, 0, np.array(counted.shape) - 1).T
    return counted[y, x]


def _fates(matching: Matching, here: NDArray[np.bool_], there: NDArray[np.bool_]) -> dict[str, int]:
    """Reference objects of the part found and lost, and measured ones invented."""
    of_reference, of_measured = matching.reference_fate[there], matching.measured_fate[here]
    return {
        "found": int(np.sum(of_reference == REFERENCE_FATES.index("found"))),
        "lost": int(np.sum(of_reference == REFERENCE_FATES.index("lost"))),
        "invented": int(np.sum(of_measured == MEASURED_FATES.index("invented"))),
    }
