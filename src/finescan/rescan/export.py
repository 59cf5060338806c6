"""Writing a plan in the forms that other programs read: one row of a table per form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from finescan.errors import InputError, OutputError
from finescan.rescan import export_lists as lists
from finescan.rescan import export_stage as stages
from finescan.rescan.export_stage import ExportOptions
from finescan.rescan.plan import RescanPlan, write_bytes

Plan = TypeVar("Plan")


@dataclass(frozen=True)
class Exporter(Generic[Plan]):
    """One form of a plan of a map, or of one of a volume.

    Parameters
    ----------
    file : name of the file.
    about : who reads it.
    write : plan and options to bytes; InputError when it needs what is not known.
    """

    file: str
    about: str
    write: Callable[[Plan, ExportOptions], bytes]


#: name -> how to write it. The picture of the numbered fields is made by :mod:`finescan.rescan.picture`.
EXPORTERS: dict[str, Exporter[RescanPlan]] = {
    "csv": Exporter("rescan.csv", "people and spreadsheets", lambda plan, _: lists.csv_list(plan)),
    "geojson": Exporter("rescan.geojson", "QuPath", lambda plan, _: lists.geojson(plan)),
    "roiset": Exporter("RoiSet.zip", "ImageJ, Fiji", lambda plan, _: lists.roiset(plan)),
    "serialem": Exporter("rescan.nav", "SerialEM, stage positions", stages.serialem_stage),
    "serialem-map": Exporter("rescan-map.nav", "SerialEM, pixels of a map", stages.serialem_map),
    "micromanager": Exporter("rescan.pos", "Micro-Manager 2", stages.micromanager),
    "openfibsem": Exporter("rescan-openfibsem.yaml", "OpenFIBSEM", stages.openfibsem),
}


def formats_of(text: str) -> tuple[tuple[str, ...], bool]:
    """Names of exporters in ``all`` or ``csv,geojson``, and whether all of them were meant.

    Raises
    ------
    InputError : an unknown name.
    """
    names = tuple(dict.fromkeys(n.strip().lower() for n in text.split(",") if n.strip()))
    if not names or names == ("all",):
        return tuple(EXPORTERS), True
    for name in names:
        if name not in EXPORTERS:
            raise InputError(f"A rescan plan is written as all or {', '.join(EXPORTERS)}, but {name!r} came.")
    return names, False


def exported(
    plan: Plan,
    formats: Sequence[str],
    *,
    options: ExportOptions | None = None,
    skip: bool = False,
    table: Mapping[str, Exporter[Any]] = EXPORTERS,
) -> tuple[dict[str, bytes], list[str]]:
    """A plan in several forms, not written yet.

    Parameters
    ----------
    plan : of a map; of a volume with the table of its forms.
    formats : names from ``table``.
    skip : leave out forms that need what is not known, instead of raising.
    table : :data:`EXPORTERS`, or :data:`finescan.rescan.VOLUME_EXPORTERS`.

    Returns
    -------
    File names with their contents, and one sentence per form that was left out.

    Raises
    ------
    InputError : a form needs a stage position, a height or a map that is not known, and ``skip`` is not set.
    """
    made, left_out = {}, []
    for name in formats:
        row = table[name]
        try:
            made[row.file] = row.write(plan, options or ExportOptions())
        except InputError as e:
            if not skip:
                raise
            left_out.append(f"{row.file} was left out: {e}")
    return made, left_out


def write_files(folder: str | Path, files: Mapping[str, bytes], *, overwrite: bool = False) -> list[Path]:
    """Write files into an existing folder, each whole or not at all; none if one of them exists already.

    Raises
    ------
    OutputError : a file exists and may not be overwritten, or cannot be written.
    """
    paths = {Path(folder) / name: data for name, data in files.items()}
    there = [p for p in paths if p.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists. Choose another folder with -o, or pass --overwrite.")
    for path, data in paths.items():
        write_bytes(path, data)
    return list(paths)
