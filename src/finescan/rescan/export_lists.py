"""Lists of fields in map pixels: CSV to be read or typed, GeoJSON for QuPath, regions of interest for ImageJ."""

from __future__ import annotations

import csv
import io
import json
import struct
import uuid
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finescan.rescan.plan import Field, RescanPlan

HEADER = (
    "order", "id", "priority", "stage_x_um", "stage_y_um", "stage_sigma_um", "centre_x_px", "centre_y_px", "left_px",
    "top_px", "width_px", "height_px", "centre_x_um", "centre_y_um", "width_um", "height_um", "frame_columns",
    "frame_rows", "pixel_size_x_nm", "pixel_size_y_nm", "dwell_us", "seconds", "error_removed_percent", "reason",
)  # fmt: skip

RECTANGLE, OVAL = 1, 2  # kinds of regions in ImageJ
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same plan


def csv_list(plan: RescanPlan) -> bytes:
    """One row per field in the order of scanning; see :data:`HEADER`.

    Map positions in px count from the outer corner of the first pixel (right, down); in µm they are in the frame of
    the map's grid. Stage columns are empty where the stage is not known. UTF-8, commas, decimal points.
    """
    return csv_bytes(HEADER, (_row(plan, f) for f in plan.fields))


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A table for spreadsheets: UTF-8, commas, lines as RFC 4180 wants them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _row(plan: RescanPlan, f: Field) -> list[str]:
    (top, left), (high, wide) = f.start_px, f.size_px
    (cy, cx), (py, px) = f.centre_px, plan.map.grid.pixel_size_nm
    y_um, x_um = (float(v) * 1e-3 for v in plan.nm(f.centre_px))
    stage = ["", "", ""]
    if plan.stage is not None:
        sigma = plan.stage.sigma_nm
        x, y = plan.stage(plan.nm(f.centre_px))
        stage = [f"{x:.4f}", f"{y:.4f}", "" if sigma is None else f"{sigma * 1e-3:.3g}"]
    places = [cx, cy, left, top, wide, high, x_um, y_um, wide * px * 1e-3, high * py * 1e-3]
    fine = [f"{v:.6g}" for v in (*reversed(plan.frame.pixel_size_nm), plan.times.dwell_us, f.seconds)]
    return [
        *(str(f.order), f.id, str(f.priority), *stage),
        *(f"{v:.3f}" for v in places),
        *(str(f.frame_px[1]), str(f.frame_px[0]), *fine, f"{100 * f.reduction:.4g}", " ".join(f.reasons)),
    ]


def geojson(plan: RescanPlan) -> bytes:
    """Annotations for QuPath: x, y in pixels of the map from its upper left corner, closed rings."""
    features = [_feature(plan, f) for f in plan.fields]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1, ensure_ascii=False).encode()


def _feature(plan: RescanPlan, f: Field) -> dict[str, Any]:
    ring = [[x, y] for y, x in f.corners_px()]
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{plan.map.sha256}/{f.id}/{f.start_px}/{f.size_px}")
    return {
        "type": "Feature",
        "id": str(name),
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            "objectType": "annotation",
            "name": f"{f.order} ({f.id})",
            "classification": {"name": "rescan", "color": [230, 159, 0]},
            "measurements": {
                "priority": f.priority,
                "error removed %": 100 * f.reduction,
                "seconds": f.seconds,
            },
        },
    }


def roiset(plan: RescanPlan) -> bytes:
    """A zip of rectangles for ImageJ's ROI manager, in pixels of the map from its upper left corner."""
    named = ((f"{f.order:04d}-{f.id}", f) for f in plan.fields)
    return roi_zip({name: roi(name, f.start_px, f.stop_px) for name, f in named})


def roi_zip(rois: Mapping[str, bytes]) -> bytes:
    """Regions by their names, as ImageJ's ROI manager opens them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in rois.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.roi", _ZIP_DATE), data)
    return buffer.getvalue()


def roi(
    name: str, start: tuple[float, float], stop: tuple[float, float], *, kind: int = RECTANGLE, position: int = 0
) -> bytes:
    """One region with sub-pixel corners (y, x): two headers of 64 bytes, big-endian, then the name as UTF-16.

    Layout as ImageJ's own decoder documents it: the first header holds the bounds as 16-bit numbers for old programs
    and as floats for new ones (option 128, from version 223) and the slice of a stack, counted from 1 (0 = all of
    them), the second one where the name is.
    """
    (top, left), (bottom, right) = start, stop
    bounds = (min(65535, max(0, round(v))) for v in (top, left, bottom, right))
    first = struct.pack(">4sHBx4HH4f", b"Iout", 227, kind, *bounds, 0, left, top, right - left, bottom - top)
    first += struct.pack(">H12xHHBBHiI", 0, 0, 128, 0, 0, 0, position, 64)
    second = struct.pack(">4x3iII", 0, 0, 0, 128, len(name)).ljust(64, b"\0")
    return first + second + name.encode("utf-16-be")
