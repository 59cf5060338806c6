"""Writing a plan of a volume in the forms that make sense for places in space: one row of a table per form."""

from __future__ import annotations

import math
from collections.abc import Sequence

from finescan.errors import InputError
from finescan.rescan.export import EXPORTERS, Exporter
from finescan.rescan.export_lists import OVAL, RECTANGLE, csv_bytes, roi, roi_zip
from finescan.rescan.export_stage import ExportOptions, position_list
from finescan.rescan.volume_plan import VolumePlan, VolumeVisit

MOST_REGIONS = 2000  # in a list for ImageJ; of many places not every slice is in it
LEAST_SLICES = 3  # of every place: the first, the middle and the last
_NAMES = "x", "y", "z"  # lists are in the order of instruments
HEADER = (
    "order", "id", "priority", *(f"stage_{n}_um" for n in _NAMES), *(f"stage_sigma_{n}_um" for n in _NAMES),
    *(f"centre_{n}_um" for n in _NAMES), *(f"from_middle_{n}_um" for n in _NAMES), *(f"size_{n}_um" for n in _NAMES),
    *(f"centre_{n}_px" for n in _NAMES), *(f"size_{n}_px" for n in _NAMES), "shape", "seconds", "reduction_percent",
    "reason",
)  # fmt: skip


def volume_csv(plan: VolumePlan, options: ExportOptions) -> bytes:
    """One row per place in the order of scanning; see :data:`HEADER`.

    Voxels: 0 = centre of the first one. "centre" in µm counts from the outer corner of the coarse volume,
    "from_middle" from its middle, along its x, y and z. Stage columns are empty where the stage is not known.
    """
    del options
    return csv_bytes(HEADER, (_line(plan, v) for v in plan.visits))


def _line(plan: VolumePlan, v: VolumeVisit) -> list[str]:
    at = plan.stage_um(v.place)
    sigma = None if plan.stage is None else plan.stage.sigma_um
    size_px = [b - a for a, b in zip(v.place.start_px, v.place.stop_px, strict=True)]
    lengths = [
        *plan.centre_um(v.place)[::-1],
        *plan.from_middle_um(v.place)[::-1],
        *(s / 1e3 for s in plan.field.size_nm[::-1]),
    ]
    return [
        *(str(v.order), v.id, str(v.priority)),
        *(("",) * 3 if at is None else (f"{s:.4f}" for s in at)),
        *(("",) * 3 if sigma is None else (f"{s:.3g}" for s in sigma)),
        *(f"{s:.4f}" for s in lengths),
        *(f"{s:.2f}" for s in (*v.place.centre_px[::-1], *size_px[::-1])),
        f"cylinder along {plan.field.axis}" if plan.field.axis else "box",
        "" if v.seconds is None else f"{v.seconds:.6g}",
        f"{100 * v.place.reduction:.3f}",
        " ".join(v.reasons),
    ]


def volume_roiset(plan: VolumePlan, options: ExportOptions) -> bytes:
    """A zip for ImageJ's ROI manager: per slice of the coarse stack, what each place covers of it.

    Pixels count from the upper left corner, slices from 1. A cylinder around z is an oval; one that lies in the slices
    is a rectangle as wide as its chord there.
    """
    del options
    count = max(LEAST_SLICES, MOST_REGIONS // max(1, len(plan.visits)))
    regions = {}
    for v in plan.visits:
        for z in _slices(v, count, plan.map.grid.shape[0]):
            name = f"{v.order:04d}-{v.id}-z{z + 1:04d}"
            regions[name] = _region(plan, v, z, name)
    return roi_zip(regions)


def _slices(v: VolumeVisit, count: int, depth: int) -> list[int]:
    """Slices whose centre lies in a place, at most so many of them, ends included."""
    first = min(depth - 1, max(0, math.ceil(v.place.start_px[0] - 0.5 - 1e-6)))
    last = min(depth - 1, max(first, math.ceil(v.place.stop_px[0] - 0.5 - 1e-6) - 1))
    n = min(count, last - first + 1)
    return sorted({first + round(k * (last - first) / max(1, n - 1)) for k in range(n)})


def _region(plan: VolumePlan, v: VolumeVisit, z: int, name: str) -> bytes:
    (low, *start), (high, *stop) = v.place.start_px, v.place.stop_px
    if plan.field.axis in ("y", "x"):  # across the axis the cylinder is as wide as its chord
        k = 1 if plan.field.axis == "y" else 0
        away = min(1.0, abs((z + 0.5 - low) / (high - low) * 2 - 1))
        middle, half = (start[k] + stop[k]) / 2, (stop[k] - start[k]) / 2 * math.sqrt(1 - away**2)
        start[k], stop[k] = middle - half, middle + half
    kind = OVAL if plan.field.axis == "z" else RECTANGLE
    return roi(name, (start[0], start[1]), (stop[0], stop[1]), kind=kind, position=z + 1)


def volume_micromanager(plan: VolumePlan, options: ExportOptions) -> bytes:
    """A position list of Micro-Manager 2 with the XY stage and the height of every place, µm."""
    if plan.stage is None:
        raise InputError(
            f"The list for Micro-Manager needs stage positions, but those of {plan.map.name} are not known. Pass "
            "--stage-landmarks, or take a list in voxels (csv, roiset)."
        )
    at = [(v, plan.stage(plan.map.grid.to_nm(v.place.centre_px)).tolist()) for v in plan.visits]
    return position_list([(f"{v.order:03d}-{v.id}", [x, y], z) for v, (x, y, z) in at], options)


#: name -> how to write it. The picture of the numbered places is made by :mod:`finescan.rescan.volume_picture`.
VOLUME_EXPORTERS: dict[str, Exporter[VolumePlan]] = {
    "csv": Exporter("rescan.csv", "people and spreadsheets", volume_csv),
    "roiset": Exporter("RoiSet.zip", "ImageJ, Fiji", volume_roiset),
    "micromanager": Exporter("rescan.pos", "Micro-Manager 2", volume_micromanager),
}


def volume_formats_of(names: Sequence[str], everything: bool) -> tuple[str, ...]:
    """Of the forms of :func:`finescan.rescan.formats_of`, those for volumes.

    Raises
    ------
    InputError : a form was asked for that holds flat fields only.
    """
    if everything:
        return tuple(VOLUME_EXPORTERS)
    for name in names:
        if name not in VOLUME_EXPORTERS:
            raise InputError(
                f"{EXPORTERS[name].file} ({EXPORTERS[name].about}) holds flat fields only, but the run is one of "
                f"volumes. Take {', '.join(VOLUME_EXPORTERS)}, or all of these."
            )
    return tuple(names)
