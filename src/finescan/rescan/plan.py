"""RescanPlan: where to scan again, in which order, how long it takes and what it is expected to bring."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from finescan.errors import InputError, OutputError
from finescan.rescan.stage import StageTransform
from finescan.rescan.times import Frame, ScanTimes, spoken
from finescan.values import Grid

SCHEMA = 1
KIND = "finescan rescan plan"
_UNITS_S = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Goal:
    """When a plan is complete; exactly one of ``budget_s`` and ``until``.

    Parameters
    ----------
    budget_s : beam time for the fields, overheads included, s.
    until : share of the expected error that is to be removed, 0 to 1.
    order : a name from :data:`finescan.rescan.travel.ORDERS`.
    """

    budget_s: float | None = None
    until: float | None = None
    order: str = "shortest"

    def __post_init__(self) -> None:
        if (self.budget_s is None) == (self.until is None):
            raise InputError("A plan needs either a budget of time or a share of the error to remove: pass --budget "
                             "20min or --until 95%.")  # fmt: skip
        if self.budget_s is not None and not (math.isfinite(self.budget_s) and self.budget_s > 0):
            raise InputError(f"A budget is a positive time, but {self.budget_s:g} s came. Pass for example 20min.")
        if self.until is not None and not 0 < self.until <= 1:
            raise InputError(f"A share of the error is more than 0 and at most 100 %, but {self.until:.3g} came.")

    @classmethod
    def parse(cls, budget: str | None, until: str | None, order: str = "shortest") -> Goal:
        """From words: ``20min``, ``90s``, ``1.5h``; ``95%`` or ``0.95``."""
        return cls(None if budget is None else _seconds(budget), None if until is None else _share(until), order)

    def __str__(self) -> str:
        if self.budget_s is not None:
            return f"{spoken(self.budget_s)} of beam time"
        return f"{100 * (self.until or 0):.3g} % of the expected error"


@dataclass(frozen=True)
class MapReference:
    """The coarse map a plan refers to.

    Parameters
    ----------
    name, grid, sha256 : of the coarse file; an empty hash is compared with nothing.
    rows_below : rows of the stored picture below the grid (a data bar that was cut off).
    """

    name: str
    grid: Grid
    sha256: str = ""
    rows_below: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "grid": self.grid.to_dict()}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> MapReference:
        """Inverse of :meth:`to_dict`."""
        return cls(d["name"], Grid.from_dict(d["grid"]), d.get("sha256", ""), int(d.get("rows_below", 0)))


@dataclass(frozen=True)
class Field:
    """One acquisition.

    Parameters
    ----------
    order : 1, 2, … in the order of scanning; also its number in pictures and lists.
    priority : 1 = most error removed per second.
    start_px, size_px : upper left corner and size (y, x) in map pixels; (0, 0) is the outer corner of the first pixel.
    frame_px : rows, columns of the fine scan.
    reduction : share of the map's expected error that it removes, 0 to 1.
    seconds : stage move, settling and scan.
    reasons : why here, in sentences.
    """

    order: int
    priority: int
    start_px: tuple[float, float]
    size_px: tuple[float, float]
    frame_px: tuple[int, int]
    reduction: float
    seconds: float
    reasons: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Name in lists: F001, F002, …"""
        return f"F{self.order:03d}"

    @property
    def stop_px(self) -> tuple[float, float]:
        """Lower right corner (y, x)."""
        return self.start_px[0] + self.size_px[0], self.start_px[1] + self.size_px[1]

    @property
    def centre_px(self) -> tuple[float, float]:
        """Centre (y, x) in corner-based map pixels."""
        return self.start_px[0] + self.size_px[0] / 2, self.start_px[1] + self.size_px[1] / 2

    def corners_px(self) -> tuple[tuple[float, float], ...]:
        """(y, x) of the upper left, upper right, lower right and lower left corner."""
        (top, left), (bottom, right) = self.start_px, self.stop_px
        return (top, left), (top, right), (bottom, right), (bottom, left)


@dataclass(frozen=True)
class RescanPlan:
    """Where to scan again.

    Parameters
    ----------
    map : the coarse map it refers to.
    frame, times : what the instrument records at once, and what takes time.
    goal : when the plan is complete.
    fields : in the order of scanning; they do not overlap.
    stage : from the map to the stage; None = the plan is in map pixels only.
    error_unit : what "expected error" means, a few words.
    notes : what the reader must know, in sentences.
    """

    map: MapReference
    frame: Frame
    times: ScanTimes
    goal: Goal
    fields: tuple[Field, ...]
    stage: StageTransform | None = None
    error_unit: str = "expected error"
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        """Beam time of all fields, overheads included."""
        return sum(f.seconds for f in self.fields)

    @property
    def reduction(self) -> float:
        """Share of the expected error that is removed, 0 to 1."""
        return sum(f.reduction for f in self.fields)

    @property
    def area_share(self) -> float:
        """Area of the fields over that of the map."""
        rows, columns = self.map.grid.shape
        return sum(f.size_px[0] * f.size_px[1] for f in self.fields) / (rows * columns)

    @property
    def everything_s(self) -> float:
        """A fine scan of the whole map, s."""
        return self.times.everything_s(self.map.grid, self.frame)

    @property
    def relative_time(self) -> float | None:
        """Coarse map and fields over a fine scan of everything; None where the time of the map is not known."""
        if self.times.coarse_s is None:
            return None
        return (self.times.coarse_s + self.seconds) / self.everything_s

    def nm(self, corner_px: Any) -> Any:
        """Positions (y, x) in nm in the frame of the map, of corner-based map pixels (last axis)."""
        return self.map.grid.to_nm(np.asarray(corner_px, float) - 0.5)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the plan, and for every field also nm, and stage positions where they are known."""
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "map": self.map.to_dict(),
            "frame": self.frame.to_dict(),
            "times": self.times.to_dict(),
            "goal": dict(vars(self.goal)),
            "stage": None if self.stage is None else self.stage.to_dict(),
            "expected": {
                "error": self.error_unit,
                "reduction": self.reduction,
                "seconds": self.seconds,
                "area_share": self.area_share,
                "everything_s": self.everything_s,
                "relative_time": self.relative_time,
            },
            "notes": list(self.notes),
            "fields": [self._field_dict(f) for f in self.fields],
        }

    def _field_dict(self, f: Field) -> dict[str, Any]:
        size_nm = [s * p for s, p in zip(f.size_px, self.map.grid.pixel_size_nm, strict=True)]
        centre = self.nm(f.centre_px)
        at = None if self.stage is None else self.stage(centre).tolist()
        further = {"id": f.id, "centre_px": list(f.centre_px), "centre_nm": centre.tolist(), "size_nm": size_nm}
        return {**further, "stage_um": at, **{k: _listed(v) for k, v in vars(f).items()}}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> RescanPlan:
        """Inverse of :meth:`to_dict`; of a field, what is computed from other entries is computed anew.

        Raises
        ------
        InputError : no plan, another version, or entries missing or damaged.
        """
        if not isinstance(d, dict) or d.get("kind") != KIND:
            raise InputError("This JSON holds no rescan plan. Pass a rescan.json written by `finescan rescan`.")
        if d.get("schema") != SCHEMA:
            raise InputError(
                f"The rescan plan has schema {d.get('schema')!r}, but this program reads {SCHEMA}. Plan again with "
                "`finescan rescan`."
            )
        try:
            return cls(
                MapReference.from_dict(d["map"]),
                Frame.from_dict(d["frame"]),
                ScanTimes.from_dict(d["times"]),
                Goal(**d["goal"]),
                tuple(_field(f) for f in d["fields"]),
                None if d["stage"] is None else StageTransform.from_dict(d["stage"]),
                str(d["expected"]["error"]),
                tuple(d["notes"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise InputError(
                f"The rescan plan is damaged ({type(e).__name__}: {e}). Correct it, or plan again with "
                "`finescan rescan`."
            ) from e

    def __str__(self) -> str:
        count = f"{len(self.fields)} field" + ("s" if len(self.fields) != 1 else "")
        return (
            f"{count} in {spoken(self.seconds)}: {100 * self.reduction:.1f} % of the expected error on "
            f"{100 * self.area_share:.1f} % of {self.map.name}"
        )


def save_plan(plan: RescanPlan, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write ``rescan.json``, whole or not at all.

    Raises
    ------
    OutputError : the file exists and may not be overwritten, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists. Choose another folder with -o, or pass --overwrite.")
    write_bytes(path, plan_bytes(plan))
    return path


def plan_bytes(plan: RescanPlan) -> bytes:
    """The contents of ``rescan.json``."""
    return json.dumps(plan.to_dict(), indent=1, ensure_ascii=False, allow_nan=False).encode()


def load_plan(path: str | Path) -> RescanPlan:
    """Inverse of :func:`save_plan`.

    Raises
    ------
    InputError : the file cannot be read, holds no plan, one of another version, or a damaged one.
    """
    try:
        d = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"{path} cannot be read as JSON ({e}). Pass a rescan.json of `finescan rescan`.") from e
    return RescanPlan.from_dict(d)


def require_map(plan: RescanPlan, other: MapReference) -> None:
    """InputError unless a plan was made for this map: same grid and, where both are known, same file."""
    same_file = not (plan.map.sha256 and other.sha256) or plan.map.sha256 == other.sha256
    if not (same_file and plan.map.grid.same_as(other.grid)):
        raise InputError(
            f"The rescan plan was made for {plan.map.name} ({plan.map.grid}), but {other.name} ({other.grid}) is "
            "another file or lies on another grid. Pass the run it was planned from, or plan again."
        )


def write_bytes(path: Path, data: bytes) -> None:
    """Bytes under their final name only when complete; OutputError says why not."""
    part = path.with_name(path.name + ".partial")
    try:
        with part.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({e.strerror}). Choose another folder with -o.") from e


def _field(d: dict[str, Any]) -> Field:
    start, size, frame = d["start_px"], d["size_px"], d["frame_px"]
    return Field(
        int(d["order"]),
        int(d["priority"]),
        (float(start[0]), float(start[1])),
        (float(size[0]), float(size[1])),
        (int(frame[0]), int(frame[1])),
        float(d["reduction"]),
        float(d["seconds"]),
        tuple(map(str, d["reasons"])),
    )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _seconds(text: str) -> float:
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]+)\s*", text.lower())
    unit = _UNITS_S.get(match[2]) if match else None
    if match is None or unit is None:
        raise InputError(f"A budget is a time with its unit, such as 20min, 90s or 1.5h, but {text!r} came.")
    return float(match[1]) * unit


def _share(text: str) -> float:
    words = text.strip()
    try:
        return float(words[:-1]) / 100 if words.endswith("%") else float(words)
    except ValueError:
        raise InputError(f"A share of the error is written as 95% or 0.95, but {text!r} came.") from None
