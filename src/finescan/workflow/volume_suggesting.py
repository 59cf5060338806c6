"""The parts of a volume worth scanning again, listed with every run of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finescan import rescan
from finescan.errors import InputError
from finescan.rescan.doubt import flag_sentences
from finescan.trust.map_intervals import Intervals
from finescan.values import Image, Pair, TrustMap
from finescan.workflow.rescanning import INTERVAL_UNIT, scanned_mask
from finescan.workflow.volume_field import box_px, field_like

MOST = 10  # places
UNKNOWN = "Without calibrated intervals nothing tells where the enhanced volume is most wrong."


@dataclass(frozen=True)
class VolumeSuggestion:
    """Places worth scanning again.

    Parameters
    ----------
    places : best first; empty where there is nothing to suggest.
    flags : per place, what is flagged there.
    field : what one tomogram covers; None where there are no places.
    reason : why there are none.
    """

    places: tuple[rescan.VolumePlace, ...] = ()
    flags: tuple[str, ...] = ()
    field: rescan.FieldOfView | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        if self.field is None:
            return {"places": [], "reason": self.reason}
        places = [
            {
                "start_px": list(p.start_px),
                "stop_px": list(p.stop_px),
                "centre_px": list(p.centre_px),
                "reduction": p.reduction,
                "reasons": [words],
            }
            for p, words in zip(self.places, self.flags, strict=True)
        ]
        size, axis = list(self.field.size_nm), self.field.axis or None
        return {"places": places, "size_nm": size, "rotation_axis": axis, "error_unit": INTERVAL_UNIT}


def suggest_in_volume(
    lr: Image, pairs: Sequence[Pair], ranges: Intervals, flags: TrustMap, *, most: int = MOST
) -> VolumeSuggestion:
    """The places, as large as the finest fine volume, whose fine scan would remove most of the expected error.

    Parameters
    ----------
    lr, pairs : the coarse volume and its fine ones.
    ranges : calibrated intervals of the enhanced volume.
    flags : on the coarse grid (or a part of it); they say what is doubted there.
    """
    half = ranges.uncertainty
    if half is None:
        return VolumeSuggestion(reason=UNKNOWN)
    finest = min(pairs, key=lambda p: float(np.prod(p.hr.grid.pixel_size_nm))).hr
    field = field_like(finest.grid, lr.grid, finest)
    error = rescan.error_cells(half, flags.grid)
    scanned = scanned_mask(error.grid, [(p.hr.grid, p.lr_from_hr) for p in pairs])
    try:
        found = rescan.choose_places(error, flags.grid, field.size_nm, axis=field.axis, scanned=scanned, most=most)
    except InputError as e:  # everything is scanned: no reason to fail a run
        return VolumeSuggestion(reason=str(e))
    words = tuple(" ".join(flag_sentences(flags, box_px(p))) for p in found)
    return VolumeSuggestion(tuple(found), words, field)
