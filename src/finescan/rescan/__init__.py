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
from finescan.rescan.volume_export import VOLUME_EXPORTERS, volume_formats_of
from finescan.rescan.volume_picture import numbered_views
from finescan.rescan.volume_places import VolumePlace, choose_places, error_cells, is_round, misjudged_cells, weighed
from finescan.rescan.volume_plan import (
    FieldOfView,
    TomogramTimes,
    VolumePlan,
    VolumeVisit,
    load_volume_plan,
    visits_in_order,
    volume_plan_bytes,
)
from finescan.rescan.volume_stage import VolumeStage, volume_stage_from_headers, volume_stage_from_landmarks

__all__ = [
    "EXPORTERS",
    "ORDERS",
    "VOLUME_EXPORTERS",
    "ExportOptions",
    "Exporter",
    "Field",
    "FieldOfView",
    "Frame",
    "Goal",
    "MapReference",
    "Pasted",
    "Recorded",
    "RescanPlan",
    "ScanTimes",
    "StageTransform",
    "TomogramTimes",
    "VolumePlace",
    "VolumePlan",
    "VolumeStage",
    "VolumeVisit",
    "choose_places",
    "error_cells",
    "expected_error",
    "exported",
    "formats_of",
    "interval_error",
    "is_round",
    "load_plan",
    "load_volume_plan",
    "mean_under",
    "measured_share",
    "misjudged_cells",
    "numbered_picture",
    "numbered_views",
    "order_points",
    "plan_bytes",
    "plan_rescan",
    "recorded_on",
    "require_map",
    "save_plan",
    "spoken",
    "stage_from_header",
    "stage_from_landmarks",
    "visits_in_order",
    "volume_formats_of",
    "volume_plan_bytes",
    "volume_stage_from_headers",
    "volume_stage_from_landmarks",
    "weighed",
    "write_files",
]
