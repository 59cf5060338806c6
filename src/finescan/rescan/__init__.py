"""The rescan room: where to scan again so that beam time pays, and lists of it that instruments read.

>>> from finescan.rescan import Frame, Goal, ScanTimes, plan_rescan  # doctest: +SKIP
"""

from finescan.rescan.doubt import expected_error, interval_error, mean_under
from finescan.rescan.export import EXPORTERS, Exporter, exported, formats_of, write_files
from finescan.rescan.export_stage import ExportOptions
from finescan.rescan.pasting import Pasted, Recorded, measured_share, recorded_on
from finescan.rescan.picture import numbered_picture
from finescan.rescan.plan import Field, Goal, MapReference, RescanPlan, load_plan, plan_bytes, require_map, save_plan
from finescan.rescan.planning import plan_rescan
from finescan.rescan.stage import StageTransform, stage_from_header, stage_from_landmarks
from finescan.rescan.times import Frame, ScanTimes, spoken
from finescan.rescan.travel import ORDERS, order_points
from finescan.rescan.volume_places import VolumePlace, choose_places, error_cells

__all__ = [
    "EXPORTERS",
    "ORDERS",
    "ExportOptions",
    "Exporter",
    "Field",
    "Frame",
    "Goal",
    "MapReference",
    "Pasted",
    "Recorded",
    "RescanPlan",
    "ScanTimes",
    "StageTransform",
    "VolumePlace",
    "choose_places",
    "error_cells",
    "expected_error",
    "exported",
    "formats_of",
    "interval_error",
    "load_plan",
    "mean_under",
    "measured_share",
    "numbered_picture",
    "order_points",
    "plan_bytes",
    "plan_rescan",
    "recorded_on",
    "require_map",
    "save_plan",
    "spoken",
    "stage_from_header",
    "stage_from_landmarks",
    "write_files",
]
