"""A short list of places worth scanning again, made with every run; ``finescan rescan`` plans them in earnest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import rescan
from finescan.errors import InputError
from finescan.rescan.doubt import flag_sentences
from finescan.trust import Consistency
from finescan.values import Grid, Image, Pair, TrustMap
from finescan.workflow.intervals import Intervals
from finescan.workflow.rescanning import ERROR_UNIT, INTERVAL_UNIT, SAMPLE_UNIT, scanned_mask

MOST = 10  # places
ACROSS = 8  # a place is at most this part of the map along each side
SETTLE_S = 2.0


@dataclass(frozen=True)
class Suggestion:
    """Places worth scanning again.

    Parameters
    ----------
    plan : fields in order of what they bring per time; None = there is nothing to suggest.
    timed : whether the dwell time is known, and so the times of the plan.
    reason : why there is no plan.
    """

    plan: rescan.RescanPlan | None
    timed: bool = False
    reason: str = ""

    @property
    def fields(self) -> list[rescan.Field]:
        """Most error per time first."""
        return [] if self.plan is None else sorted(self.plan.fields, key=lambda f: f.priority)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        if self.plan is None:
            return {"places": [], "reason": self.reason}
        places = [
            {
                "start_px": list(f.start_px),
                "stop_px": list(f.stop_px),
                "reduction": f.reduction,
                "seconds": f.seconds if self.timed else None,
                "reasons": list(f.reasons),
            }
            for f in self.fields
        ]
        return {"places": places, "frame_px": list(self.plan.frame.shape_px), "error_unit": self.plan.error_unit}


@dataclass(frozen=True)
class Expected:
    """Expected squared error per coarse pixel, and what that is, for readers."""

    error: NDArray[np.float32]
    unit: str


def expected(lr: Image, flags: TrustMap, intervals: Intervals, check: Consistency) -> Expected:
    """From the run's calibrated intervals, or without them from the local variance of the coarse map and its flags."""
    half, unit = intervals.noise_free, SAMPLE_UNIT
    if half is None:
        half, unit = intervals.uncertainty, INTERVAL_UNIT
    if half is None:
        return Expected(rescan.expected_error(lr.array(), flags, noise_sigma=check.noise_sigma), ERROR_UNIT)
    return Expected(rescan.interval_error(half, flags), unit)


def suggest(
    lr: Image,
    pairs: Sequence[Pair],
    error: Expected,
    flags: TrustMap,
    pixel_size_nm: Sequence[float],
    *,
    most: int = MOST,
) -> Suggestion:
    """The places whose fine scan would remove most of the expected error.

    Parameters
    ----------
    lr, pairs : the map and its fine scans.
    error : what is expected to be wrong.
    flags : on the coarse grid; they say why.
    pixel_size_nm : of a fine scan (y, x).
    most : places.
    """
    size = float(pixel_size_nm[0]), float(pixel_size_nm[1])
    finest = min(pairs, key=lambda p: float(np.prod(p.hr.grid.pixel_size_nm)))
    dwell = finest.hr.acquisition.dwell_time_us
    frame = rescan.Frame(_frame(lr.grid, finest.hr.grid, size), size)
    times = rescan.ScanTimes(dwell or 1.0, SETTLE_S)
    try:
        plan = rescan.plan_rescan(
            error.error,
            rescan.MapReference(lr.name, lr.grid),
            frame=frame,
            times=times,
            goal=rescan.Goal(budget_s=most * times.field_s(frame.shape_px) * (1 + 1e-9)),
            scanned=scanned_mask(lr.grid, [(p.hr.grid, p.lr_from_hr) for p in pairs]),
            error_unit=error.unit,
            reasons=lambda box: flag_sentences(flags, box),
        )
    except InputError as e:  # everything is scanned, or no place is left: no reason to fail a run
        return Suggestion(None, reason=str(e))
    return Suggestion(plan, dwell is not None)


def _frame(coarse: Grid, fine: Grid, size: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns of a place: those of the fine scan, or an eighth of the map where that is less."""
    extents = (min(a, b / ACROSS) for a, b in zip(fine.extent_nm, coarse.extent_nm, strict=True))
    least = (c / s for c, s in zip(coarse.pixel_size_nm, size, strict=True))
    rows, columns = (max(math.ceil(m), round(e / s)) for e, s, m in zip(extents, size, least, strict=True))
    return rows, columns
