"""Formats read by other people's packages, which are installed only on request.

``czifile`` is BSD. RosettaSciIO is GPL-3: it is an extra that users may install, it is never part of finescan.
"""

from __future__ import annotations

import logging
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from finescan.errors import UnreadableFile
from finescan.io.facts import Contents, Facts, Picture, is_reciprocal, length_nm, number, present, unit_nm
from finescan.values import Acquisition, StagePose

#: Extension -> RosettaSciIO plugin.
ROSETTA = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".ser": "tia",
    ".emi": "tia",
    ".emd": "emd",
    ".img": "jeol",
}


def needed(module: str, path: Path, extra: str) -> Any:
    """A module of an optional package; an error that says what to install when it is not there."""
    try:
        return import_module(module)
    except ImportError as e:
        raise UnreadableFile(
            f"{path.name}: reading {path.suffix} files needs an optional reader. Install it with: "
            f'pip install "finescan[{extra}]"'
        ) from e


# ---------------------------------------------------------------------------------------------- Zeiss CZI
def read_czi(path: Path) -> Contents:
    """Zeiss CZI: the whole picture, scaling in metres from its XML."""
    czifile = needed("czifile", path, "czi")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = czifile.CziFile(str(path))
        text = file.metadata()
        axes = "".join(a if a in "TCZYX" else ("S" if a == "0" else "T") for a in file.axes)
        shape = tuple(int(n) for n in file.shape)

    def load() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return file.asarray(max_workers=1)

    return Contents((Picture(load, shape, axes, path.name, _czi_facts(text)),))


def _czi_facts(text: str) -> Facts:
    root = ElementTree.fromstring(text)

    def first(tag: str) -> str:
        found = root.find(f".//{tag}")
        return (found.text or "") if found is not None else ""

    sizes = [number(root.findtext(f".//Scaling/Items/Distance[@Id='{axis}']/Value", "")) for axis in "YX"]
    y, x = (None if v is None else v * 1e9 for v in sizes)
    volts, distance = first("AcceleratingVoltage"), length_nm(first("WorkingDistance"))
    at_x, at_y, at_z = (length_nm(first(f"Stage{axis}Position")) for axis in "XYZ")
    stage = StagePose(at_x, at_y, at_z, number(first("StageRotation")), number(first("StageTilt")))
    acquisition = Acquisition(
        vendor="Zeiss",
        detector=first("DetectorName") or first("SignalA") or None,
        stage=stage,
        header=text,
        extra=present(
            voltage_kv=number(volts),
            working_distance_mm=None if distance is None else distance * 1e-6,
            date=first("AcquisitionDateAndTime"),
            model=first("System"),
        ),
    )
    return Facts(acquisition, None if y is None or x is None else (y, x))


# ---------------------------------------------------------------------------------------------- RosettaSciIO
def read_rosetta(path: Path) -> Contents:
    """DigitalMicrograph, TIA, EMD and JEOL Analysis Station through RosettaSciIO."""
    plugin = needed("rsciio." + ROSETTA[path.suffix.lower()], path, "readers")
    logging.getLogger("rsciio").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = plugin.file_reader(str(path))
    pictures = tuple(_rosetta_picture(d) for d in found if d["data"].ndim >= 2)
    if not pictures:
        raise UnreadableFile(f"{path.name} holds no picture (spectra only?). Choose the file with the image.")
    return Contents(pictures, by="frame")


def _rosetta_picture(found: dict[str, Any]) -> Picture:
    data, axes = found["data"], found["axes"]
    sizes, doubt = [], ""
    for axis in axes[-2:]:
        unit = str(axis.get("units") or "")
        nm = unit_nm(unit)
        doubt = f"Its unit is {unit!r}: a diffraction pattern, not an image." if is_reciprocal(unit) else doubt
        sizes.append(None if nm is None or doubt else float(axis["scale"]) * nm)
    y, x = sizes
    meta = found.get("metadata", {})
    instrument = meta.get("Acquisition_instrument", {})
    microscope = instrument.get("TEM") or instrument.get("SEM") or {}
    general = meta.get("General", {})
    acquisition = Acquisition(
        vendor={"dm3": "Gatan", "dm4": "Gatan", "img": "JEOL"}.get(
            str(general.get("original_filename", "")).rsplit(".", 1)[-1].lower(), "Thermo Fisher"
        ),
        header=_as_text(found.get("original_metadata", {})),
        extra=present(
            voltage_kv=number(microscope.get("beam_energy", "")),
            date=f"{general.get('date', '')} {general.get('time', '')}".strip(),
        ),
    )
    pixel = None if y is None or x is None else (y, x)
    names = "T" * (data.ndim - 2) + "YX"
    label = str(general.get("title") or general.get("original_filename") or "")
    return Picture(lambda: data, data.shape, names, label, Facts(acquisition, pixel, doubt=doubt))


def _as_text(d: Any, indent: str = "") -> str:
    """A nested dictionary as indented lines; long binary values shortened."""
    lines = []
    for key, value in d.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _as_text(value, indent + "  ")]
        else:
            short = re.sub(r"\s+", " ", str(value))[:200]
            lines.append(f"{indent}{key} = {short}")
    return "\n".join(lines)
