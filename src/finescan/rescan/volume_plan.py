"""VolumePlan: which parts of a volume to scan again, in which order, how long it takes and what it should bring."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.rescan.plan import Goal, MapReference
from finescan.rescan.times import spoken
from finescan.rescan.travel import nearest_tour, order_points, tour_length
from finescan.rescan.volume_places import AXES, VolumePlace
from finescan.rescan.volume_stage import VolumeStage

KIND = "finescan volume rescan plan"
SCHEMA = 2  # 1 had no order of scanning, stage or shape of a field
READ = 1, 2  # schemas whose places a merge still finds
FEW = 60  # places; up to here every trial of a budget is ordered as well as the answer
AS_WRITTEN = "Correct it, or plan again with `finescan rescan`."


@dataclass(frozen=True)
class FieldOfView:
    """What one tomogram covers.

    Parameters
    ----------
    size_nm : extent (z, y, x).
    axis : "z", "y" or "x" of the volume: it is the cylinder around that axis, which is the rotation axis, that fills
        the box; "" = the whole box.
    """

    size_nm: tuple[float, ...]
    axis: str = ""

    def __post_init__(self) -> None:
        if len(self.size_nm) != 3 or any(not (math.isfinite(s) and s > 0) for s in self.size_nm):
            raise InputError(f"A field of view has three positive lengths, but {self.size_nm} nm came.")
        if self.axis not in ("", *AXES):
            raise InputError(f"A rotation axis is z, y or x of the volume, but {self.axis!r} came.")

    @property
    def volume_um3(self) -> float:
        """Of the box or the cylinder, µm³."""
        return math.prod(self.size_nm) * 1e-9 * (math.pi / 4 if self.axis else 1.0)

    def __str__(self) -> str:
        x, y, z = (f"{s / 1e3:.4g}" for s in reversed(self.size_nm))
        if not self.axis:
            return f"{x} x {y} x {z} µm (x, y, z)"
        k = AXES.index(self.axis)
        across = [s for i, s in enumerate(self.size_nm) if i != k]
        if abs(across[0] - across[1]) > 1e-3 * max(across):
            return f"{x} x {y} x {z} µm (x, y, z; elliptical cylinders along {self.axis})"
        return f"{across[0] / 1e3:.4g} µm in diameter and {self.size_nm[k] / 1e3:.4g} µm along {self.axis} (cylinders)"


@dataclass(frozen=True)
class TomogramTimes:
    """What takes time.

    Parameters
    ----------
    scan_s : one tomogram, s; None = not known.
    settle_s : per place, for moving and aligning the sample, s.
    stage_um_per_s : speed of the stage; infinity = ways take no time of their own.
    """

    scan_s: float | None
    settle_s: float = 0.0
    stage_um_per_s: float = math.inf

    def __post_init__(self) -> None:
        if self.scan_s is not None and not (math.isfinite(self.scan_s) and self.scan_s > 0):
            raise InputError(f"A tomogram takes a positive time, but {self.scan_s:g} s came. Pass --scan-time 2h.")
        if not (math.isfinite(self.settle_s) and self.settle_s >= 0):
            raise InputError(f"An overhead is at least 0 s, but {self.settle_s:g} came. Pass --settle 0 for none.")
        if not self.stage_um_per_s > 0:
            raise InputError(f"A stage speed is positive, but {self.stage_um_per_s:g} µm/s came. Pass --stage-speed.")

    def place_s(self, distance_um: float = 0.0) -> float | None:
        """Going there, aligning and scanning, s."""
        return None if self.scan_s is None else distance_um / self.stage_um_per_s + self.settle_s + self.scan_s

    def to_dict(self) -> dict[str, Any]:
        """For JSON; an infinite speed is None."""
        return {**vars(self), "stage_um_per_s": None if math.isinf(self.stage_um_per_s) else self.stage_um_per_s}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> TomogramTimes:
        """Inverse of :meth:`to_dict`."""
        speed = d["stage_um_per_s"]
        return cls(d["scan_s"], float(d["settle_s"]), math.inf if speed is None else float(speed))


@dataclass(frozen=True)
class VolumeVisit:
    """One tomogram of a plan.

    Parameters
    ----------
    order : 1, 2, … in the order of scanning; also its number in pictures and lists.
    priority : 1 = most error removed.
    place : where.
    seconds : way, alignment and scan; None = not known.
    reasons : why here, in sentences.
    """

    order: int
    priority: int
    place: VolumePlace
    seconds: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Name in lists and of files that are merged: R001, R002, …"""
        return f"R{self.order:03d}"


@dataclass(frozen=True)
class VolumePlan:
    """Which parts of a volume to scan again.

    Parameters
    ----------
    map : the coarse volume it refers to.
    field, times : what the instrument records at once, and what takes time.
    goal : when the plan is complete.
    visits : in the order of scanning; they do not overlap.
    stage : from the volume to the stage; None = the plan is in voxels and µm of the volume only.
    error_unit : what "expected error" means, a few words.
    notes : what the reader must know, in sentences.
    """

    map: MapReference
    field: FieldOfView
    times: TomogramTimes
    goal: Goal
    visits: tuple[VolumeVisit, ...]
    stage: VolumeStage | None = None
    error_unit: str = "expected error"
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Of all tomograms, overheads included; None where the time of one is not known."""
        known = [v.seconds for v in self.visits if v.seconds is not None]
        return sum(known) if len(known) == len(self.visits) else None

    @property
    def reduction(self) -> float:
        """Share of the expected error that is removed, 0 to 1."""
        return sum(v.place.reduction for v in self.visits)

    @property
    def volume_share(self) -> float:
        """Of the fields in the coarse volume."""
        return len(self.visits) * self.field.volume_um3 / (math.prod(self.map.grid.extent_nm) * 1e-9)

    def centre_um(self, place: VolumePlace) -> NDArray[np.float64]:
        """Middle (z, y, x) of a place, µm from the outer corner of the coarse volume."""
        return (np.array(place.centre_px) + 0.5) * self.map.grid.pixel_size_nm / 1e3

    def from_middle_um(self, place: VolumePlace) -> NDArray[np.float64]:
        """Middle (z, y, x) of a place, µm from the middle of the coarse volume."""
        return np.asarray(self.centre_um(place) - np.array(self.map.grid.extent_nm) / 2e3)

    def stage_um(self, place: VolumePlace) -> list[float] | None:
        """Stage x, y, z at which the middle of a place lies on the rotation axis."""
        return None if self.stage is None else self.stage(self.map.grid.to_nm(place.centre_px)).tolist()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the plan, and for every place also µm, and stage positions where they are known."""
        return {
            "kind": KIND, "schema": SCHEMA, "map": self.map.to_dict(), "axes": "ZYX",
            "size_nm": list(self.field.size_nm), "rotation_axis": self.field.axis or None,
            "shape": "cylinder" if self.field.axis else "box",
            "times": self.times.to_dict(), "goal": dict(vars(self.goal)),
            "stage": None if self.stage is None else self.stage.to_dict(),
            "error_unit": self.error_unit, "reduction": self.reduction, "volume_share": self.volume_share,
            "seconds": self.seconds, "notes": list(self.notes), "places": [self._visit_dict(v) for v in self.visits],
        }  # fmt: skip

    def _visit_dict(self, v: VolumeVisit) -> dict[str, Any]:
        return {
            "id": v.id, "order": v.order, "priority": v.priority,
            "start_px": list(v.place.start_px), "stop_px": list(v.place.stop_px), "centre_px": list(v.place.centre_px),
            "centre_um": self.centre_um(v.place).tolist(), "from_middle_um": self.from_middle_um(v.place).tolist(),
            "stage_um": self.stage_um(v.place), "reduction": v.place.reduction, "seconds": v.seconds,
            "reasons": list(v.reasons),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, d: Any) -> VolumePlan:
        """Inverse of :meth:`to_dict`; what is computed from other entries is computed anew.

        Raises
        ------
        InputError : no plan of a volume, another version, or entries missing or damaged.
        """
        if not isinstance(d, dict) or d.get("kind") != KIND:
            raise InputError("This JSON holds no rescan plan of a volume. Pass one written by `finescan rescan`.")
        if d.get("schema") != SCHEMA:
            raise InputError(
                f"The rescan plan has schema {d.get('schema')!r}, but {SCHEMA} is written again. Plan again with "
                "`finescan rescan`."
            )
        try:
            return cls(
                MapReference.from_dict(d["map"]),
                FieldOfView(tuple(map(float, d["size_nm"])), d["rotation_axis"] or ""),
                TomogramTimes.from_dict(d["times"]),
                Goal(**d["goal"]),
                tuple(_visit(v) for v in d["places"]),
                None if d["stage"] is None else VolumeStage.from_dict(d["stage"]),
                str(d["error_unit"]),
                tuple(map(str, d["notes"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
            raise InputError(f"The rescan plan is damaged ({type(e).__name__}: {e}). {AS_WRITTEN}") from e

    def __str__(self) -> str:
        count = f"{len(self.visits)} place" + ("s" if len(self.visits) != 1 else "")
        took = "" if self.seconds is None else f" in {spoken(self.seconds)}"
        return (
            f"{count} of {self.field}{took}: {100 * self.reduction:.1f} % of the expected error on "
            f"{100 * self.volume_share:.2g} % of {self.map.name}"
        )


def visits_in_order(
    places: Sequence[VolumePlace],
    map_: MapReference,
    field: FieldOfView,
    times: TomogramTimes,
    goal: Goal,
    reasons: Callable[[VolumePlace], Sequence[str]] = lambda _: (),
) -> tuple[VolumeVisit, ...]:
    """Places, best first, as tomograms in the order of scanning; with a budget, as many as it pays for.

    The stage starts where the coarse volume was scanned: in its middle. Lengths in the volume are those of the stage.
    """
    chosen = list(places[: _paid_for(places, map_, field, times, goal)])
    tour, legs = _tour(chosen, map_, field, goal.order)
    return tuple(
        VolumeVisit(k + 1, i + 1, chosen[i], times.place_s(leg), tuple(reasons(chosen[i])))
        for k, (i, leg) in enumerate(zip(tour, legs, strict=True))
    )


def _paid_for(
    places: Sequence[VolumePlace], map_: MapReference, field: FieldOfView, times: TomogramTimes, goal: Goal
) -> int:
    """How many places, best first, a budget pays for, with the way of the stage; all of them without one."""
    if goal.budget_s is None or times.scan_s is None:
        return len(places)
    low, high = 0, len(places)
    while low < high:
        middle = (low + high + 1) // 2
        legs = _tour(places[:middle], map_, field, goal.order, quick=middle > FEW)[1]
        spent = sum(times.place_s(leg) or 0.0 for leg in legs)
        low, high = (middle, high) if spent <= goal.budget_s * (1 + 1e-9) else (low, middle - 1)
    return low


def _tour(
    places: Sequence[VolumePlace], map_: MapReference, field: FieldOfView, order: str, *, quick: bool = False
) -> tuple[list[int], list[float]]:
    """The order, and the way to each place, µm; in a quick answer the order is not the best, so the ways are longer."""
    if not places:
        return [], []
    middles = np.array([(np.array(p.centre_px) + 0.5) * map_.grid.pixel_size_nm for p in places]) / 1e3
    start = np.array(map_.grid.extent_nm) / 2e3
    if quick and order == "shortest":
        tour = nearest_tour(middles, start)
    else:
        tour = order_points(middles, start=start, order=order, row=[s / 2e3 for s in field.size_nm[:2]])
    return tour.tolist(), tour_length(middles, tour, start=start).tolist()


def load_volume_plan(path: str | Path) -> VolumePlan:
    """A plan of a volume from its ``rescan.json``.

    Raises
    ------
    InputError : the file cannot be read, holds no plan of a volume, one of another version, or a damaged one.
    """
    try:
        d = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"{path} cannot be read as JSON ({e}). Pass a rescan.json of `finescan rescan`.") from e
    return VolumePlan.from_dict(d)


def volume_plan_bytes(plan: VolumePlan) -> bytes:
    """The contents of ``rescan.json``."""
    return json.dumps(plan.to_dict(), indent=1, ensure_ascii=False, allow_nan=False).encode()


def _visit(d: dict[str, Any]) -> VolumeVisit:
    start, stop = (tuple(float(v) for v in d[n]) for n in ("start_px", "stop_px"))
    if not len(start) == len(stop) == 3:
        raise ValueError("a place has three corners along z, y and x")
    seconds = None if d["seconds"] is None else float(d["seconds"])
    place = VolumePlace(start, stop, float(d["reduction"]))
    return VolumeVisit(int(d["order"]), int(d["priority"]), place, seconds, tuple(map(str, d["reasons"])))
