"""Writing a plan in the forms that other programs read: one row of a table per form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finescan.errors import InputError, OutputError
from finescan.rescan import export_lists as lists
from finescan.rescan import export_stage as stages
from finescan.rescan.export_stage import ExportOptions
from finescan.rescan.plan import RescanPlan, write_bytes


@dataclass(frozen=True)
class Exporter:
    """One form.

    Parameters
    ----------
    file : name of the file.
    about : who reads it.
    write : plan and options to bytes; InputError when it needs what is not known.
    """

    file: str
    about: str
    write: Callable[[RescanPlan, ExportOptions], bytes]


#: name -> how to write it. The picture of the numbered fields is made by :mod:`finescan.rescan.picture`.
EXPORTERS: dict[str, Exporter] = {
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


def export_plan(
    plan: RescanPlan,
    folder: str | Path,
    formats: Sequence[str],
    *,
    options: ExportOptions | None = None,
    skip: bool = False,
    overwrite: bool = False,
) -> tuple[list[Path], list[str]]:
    """Write a plan in several forms; either all files are new or nothing is written.

    Parameters
    ----------
    folder : an existing folder.
    formats : names from :data:`EXPORTERS`.
    skip : leave out forms that need what is not known, instead of raising.

    Returns
    -------
    The files, and one sentence per form that was left out.

    Raises
    ------
    InputError : a form needs a stage position, a height or a map that is not known, and ``skip`` is not set.
    OutputError : a file exists, or cannot be written.
    """
    made: dict[Path, bytes] = {}
    left_out = []
    for name in formats:
        try:
            made[Path(folder) / EXPORTERS[name].file] = EXPORTERS[name].write(plan, options or ExportOptions())
        except InputError as e:
            if not skip:
                raise
            left_out.append(f"{name} was left out: {e}")
    there = [p for p in made if p.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists. Choose another folder with -o, or pass --overwrite.")
    for path, data in made.items():
        write_bytes(path, data)
    return list(made), left_out
