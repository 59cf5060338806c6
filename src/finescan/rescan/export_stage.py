"""Lists of fields for programs that drive the stage: SerialEM, Micro-Manager, OpenFIBSEM.

Each of them takes its own unit: SerialEM and Micro-Manager µm, OpenFIBSEM metres and radians.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from finescan.errors import InputError
from finescan.rescan.plan import Field, RescanPlan
from finescan.rescan.stage import StageTransform

Points = list[tuple[float, float]]  # x, y
ORANGE, POLYGON, REGISTRATION = 3, 1, 1  # SerialEM: colour and kind of an item, and the registration it lies in


@dataclass(frozen=True)
class ExportOptions:
    """What the programs must be told besides the plan.

    Parameters
    ----------
    stage_z_um : height of the stage for SerialEM, which moves there; None = that of the map's header.
    serialem_map_id : MapID of the coarse map in the Navigator of SerialEM, for items in map pixels.
    xy_stage, z_stage : names of the devices in Micro-Manager's configuration.
    coordinate_system : of OpenFIBSEM's positions.
    """

    stage_z_um: float | None = None
    serialem_map_id: int | None = None
    xy_stage: str = "XYStage"
    z_stage: str = "ZStage"
    coordinate_system: str = "RAW"


def require_stage(plan: RescanPlan, name: str) -> StageTransform:
    """The plan's stage transform, or InputError."""
    if plan.stage is None:
        raise InputError(
            f"The list for {name} needs stage positions, but the header of {plan.map.name} has none. Pass "
            "--stage-landmarks, or take a list in map pixels (csv, geojson, roiset)."
        )
    return plan.stage


# ------------------------------------------------------------------ SerialEM
def serialem_stage(plan: RescanPlan, options: ExportOptions) -> bytes:
    """Navigator items at stage positions (µm): polygons marked for acquisition, in the order of scanning."""
    stage, z = require_stage(plan, "SerialEM"), _height(plan, options)
    items = []
    for f in plan.fields:
        x, y = stage(plan.nm(f.centre_px))
        corners = [(float(cx), float(cy)) for cx, cy in stage(plan.nm(f.corners_px()))]
        items.append(_item(f, {"StageXYZ": f"{x:.4f} {y:.4f} {z:.4f}"}, corners, 4))
    return _navigator(items)


def serialem_map(plan: RescanPlan, options: ExportOptions) -> bytes:
    """External Navigator items in pixels of a map that SerialEM has loaded; it finds the stage positions itself.

    Pixels count from the lower left corner of the map, to the right and upwards: rows of ours are turned round.
    """
    if options.serialem_map_id is None:
        raise InputError(
            "SerialEM items in map pixels name the map they lie on, but no map was named. Pass its MapID with --map-id."
        )
    z = _height(plan, options)
    height = plan.map.grid.shape[0] + plan.map.rows_below
    items = []
    for f in plan.fields:
        y, x = f.centre_px
        where = {"CoordsInMap": f"{x:.3f} {height - y:.3f} {z:.4f}", "DrawnID": str(options.serialem_map_id)}
        items.append(_item(f, where, [(cx, height - cy) for cy, cx in f.corners_px()], 3))
    return _navigator(items)


def _height(plan: RescanPlan, options: ExportOptions) -> float:
    known = plan.stage.z_um if plan.stage is not None else None
    z = options.stage_z_um if options.stage_z_um is not None else known
    if z is None:
        raise InputError(
            "SerialEM moves the stage to the height of every item, but the height of the stage is not known. Pass "
            "--stage-z in µm."
        )
    return z


def _item(f: Field, where: dict[str, str], corners: Points, digits: int) -> list[str]:
    ring = [*corners, corners[0]]
    entries = {
        "Color": str(ORANGE),
        **where,
        "NumPts": str(len(ring)),
        "Regis": str(REGISTRATION),
        "Type": str(POLYGON),
        "Note": f"{f.id} priority {f.priority} {100 * f.reduction:.3g} % of the error",
        "Acquire": "1",
        "MapID": str(f.order),  # below 100000, where the program's own numbers begin
        "PtsX": " ".join(f"{x:.{digits}f}" for x, _ in ring),
        "PtsY": " ".join(f"{y:.{digits}f}" for _, y in ring),
    }
    return [f"[Item = {f.order}]", *(f"{k} = {v}" for k, v in entries.items()), ""]


def _navigator(items: list[list[str]]) -> bytes:
    head = ["AdocVersion = 2.00", "LastSavedAs = rescan.nav", ""]
    return "\r\n".join([*head, *(line for item in items for line in item)]).encode("ascii")


# ------------------------------------------------------------------ Micro-Manager
def micromanager(plan: RescanPlan, options: ExportOptions) -> bytes:
    """A position list of Micro-Manager 2: JSON of typed values, positions in µm."""
    stage = require_stage(plan, "Micro-Manager")
    z = options.stage_z_um if options.stage_z_um is not None else stage.z_um
    return position_list(
        [(f"{f.order:03d}-{f.id}", stage(plan.nm(f.centre_px)).tolist(), z) for f in plan.fields], options
    )


def position_list(places: Sequence[tuple[str, list[float], float | None]], options: ExportOptions) -> bytes:
    """Names, (x, y) and z of the stage, µm, as a position list of Micro-Manager 2."""
    entries = [_position(k, *place, options) for k, place in enumerate(places)]
    document = {
        "encoding": "UTF-8",
        "format": "Micro-Manager Property Map",
        "major_version": 2,
        "minor_version": 0,
        "map": {"StagePositions": {"type": "PROPERTY_MAP", "array": entries}},
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _position(k: int, label: str, xy: list[float], z: float | None, options: ExportOptions) -> dict[str, Any]:
    devices = [(options.xy_stage, xy), *([] if z is None else [(options.z_stage, [z])])]
    return {
        "Label": _typed("STRING", label),
        "DefaultXYStage": _typed("STRING", options.xy_stage),
        "DefaultZStage": _typed("STRING", "" if z is None else options.z_stage),
        "GridRow": _typed("INTEGER", 0),
        "GridCol": _typed("INTEGER", k),
        "Properties": _typed("PROPERTY_MAP", {}),
        "DevicePositions": {
            "type": "PROPERTY_MAP",
            "array": [
                {"Device": _typed("STRING", name), "Position_um": {"type": "DOUBLE", "array": values}}
                for name, values in devices
            ],
        },
    }


def _typed(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "scalar": value}


# ------------------------------------------------------------------ OpenFIBSEM
def openfibsem(plan: RescanPlan, options: ExportOptions) -> bytes:
    """A list of stage positions of OpenFIBSEM: metres and radians; what is not known is null and stays as it is."""
    stage = require_stage(plan, "OpenFIBSEM")
    z = options.stage_z_um if options.stage_z_um is not None else stage.z_um
    positions = []
    for f in plan.fields:
        x, y = (float(v) * 1e-6 for v in stage(plan.nm(f.centre_px)))
        positions.append(
            {
                "name": f"{f.order:03d}-{f.id}",
                "x": x,
                "y": y,
                "z": None if z is None else z * 1e-6,
                "r": _radians(stage.rotation_deg),
                "t": _radians(stage.tilt_deg),
                "coordinate_system": options.coordinate_system,
            }
        )
    return yaml.safe_dump(positions, sort_keys=False).encode()


def _radians(degrees: float | None) -> float | None:
    return None if degrees is None else math.radians(degrees)
