"""Header files of raw volumes: MetaImage (.mhd, .mha) and VGStudio (.vgi)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from finescan.errors import InputError, UnreadableFile
from finescan.io.facts import number, unit_nm
from finescan.io.volumes.raw import Header, RawLayout
from finescan.io.volumes.stack import VolumeFacts
from finescan.values import Acquisition

#: MetaImage element types.
_ELEMENTS = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}


def metaimage(path: Path, layout: RawLayout | None) -> Header:
    """A MetaImage header. Its spacing has no unit unless ``DistanceUnits`` says so (um, mm, cm)."""
    said, text, after = _tags(path)
    if int(said.get("NDims", "3")) != 3:
        raise InputError(f"{path.name} describes an image of {said['NDims']} axes, but a volume has three.")
    if _is_true(said.get("CompressedData", "False")):
        raise UnreadableFile(f"The voxels of {path.name} are compressed. Save it again without compression.")
    name = said.get("ElementDataFile", "")
    if not name or name == "LIST" or "%" in name:
        raise UnreadableFile(f"{path.name} does not name one file of voxels (ElementDataFile = {name or 'nothing'}).")
    inside = name == "LOCAL"
    file = path if inside else path.parent / name
    if layout is None:
        layout = _metaimage_layout(path, said, after if inside else int(said.get("HeaderSize", "0")), file)
    spacing = [number(v) for v in (said.get("ElementSpacing") or said.get("ElementSize") or "").split()][::-1]
    shown = " x ".join(f"{v:g}" for v in spacing if v is not None)
    unit = unit_nm(said.get("DistanceUnits", ""))
    acquisition = Acquisition(header=text, extra={"spacing": shown} if shown else {})
    if unit is None or len(spacing) != 3 or None in spacing:
        doubt = f"Its header gives a spacing of {shown} (z, y, x) without a unit." if shown else ""
        return Header(file, layout, VolumeFacts(acquisition, doubt=doubt))
    z, y, x = (v * unit for v in spacing if v is not None)
    return Header(file, layout, VolumeFacts(acquisition, (z, y, x)))


def _tags(path: Path) -> tuple[dict[str, str], str, int]:
    """Entries of the header, its text, and where it ends (``ElementDataFile`` is always the last line)."""
    raw = path.open("rb").read(1 << 16)
    match = re.search(rb"ElementDataFile\s*=[^\n]*(\n|$)", raw)
    if match is None:
        raise UnreadableFile(f"{path.name} is no MetaImage header: it has no ElementDataFile line.")
    text = raw[: match.end()].decode("utf-8", "replace")
    said = {k.strip(): v.strip() for k, v in (line.split("=", 1) for line in text.splitlines() if "=" in line)}
    return said, text, match.end()


def _metaimage_layout(path: Path, said: dict[str, str], header: int, file: Path) -> RawLayout:
    element = said.get("ElementType", "")
    if element not in _ELEMENTS or int(said.get("ElementNumberOfChannels", "1")) != 1:
        count = said.get("ElementNumberOfChannels", "1")
        raise UnreadableFile(
            f"{path.name} holds {count} x {element or 'no ElementType'} per voxel; one of {', '.join(_ELEMENTS)} is "
            "read."
        )
    x, y, z = _whole(path, said.get("DimSize", ""), "DimSize")
    order = said.get("BinaryDataByteOrderMSB", said.get("ElementByteOrderMSB"))
    dtype = np.dtype(_ELEMENTS[element])
    if order is None and dtype.itemsize > 1:
        raise _order_missing(path, "ElementByteOrderMSB", (z, y, x), dtype.name, header)
    if header == -1 and file.is_file():  # MetaImage: the voxels are the end of the file
        header = file.stat().st_size - x * y * z * dtype.itemsize
    known = None if order is None else ("big" if _is_true(order) else "little")
    return RawLayout((z, y, x), dtype.name, known, max(header, 0))


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1")


def vgi(path: Path, layout: RawLayout | None) -> Header:
    """A VGStudio header: size, type and bits of the first file, resolution with its unit. It has no byte order."""
    text = path.read_text("latin-1")
    said: dict[str, dict[str, str]] = {}
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if match := re.fullmatch(r"[\[{](.*)[\]}]", line):
            section = match[1].lower()
        elif "=" in line:
            key, value = line.split("=", 1)
            said.setdefault(section, {}).setdefault(key.strip().lower(), value.strip())
    file = said.get("file1", {})
    name = file.get("name", "")
    if not name:
        raise UnreadableFile(f"{path.name} names no file of voxels ([file1] Name). Pass the raw file itself.")
    data = path.parent / re.split(r"[\\/]", name)[-1]  # headers carry paths of the machine that wrote them
    if layout is None:
        layout = _vgi_layout(path, {**said.get("representation", {}), **file})
    return Header(data, layout, _vgi_facts(said, text))


def _vgi_layout(path: Path, said: dict[str, str]) -> RawLayout:
    x, y, z = _whole(path, said.get("size", ""), "Size")
    bits = said.get("bitsperelement", "")
    kind = {"unsigned integer": "uint", "signed integer": "int", "float": "float"}.get(said.get("datatype", "").lower())
    if kind is None or bits not in ("8", "16", "32", "64"):
        raise UnreadableFile(
            f"{path.name} holds voxels of {bits or '?'} bit {said.get('datatype', '(no type)')!r}, which is not read."
        )
    header = int(said.get("skipheader", "0"))
    if bits != "8":
        raise _order_missing(path, "byte order", (z, y, x), kind + bits, header)
    return RawLayout((z, y, x), kind + bits, None, header)


def _vgi_facts(said: dict[str, dict[str, str]], text: str) -> VolumeFacts:
    acquisition = Acquisition(header=text)
    for entries in said.values():
        sizes = [number(v) for v in entries.get("resolution", "").split()]
        unit = unit_nm(entries.get("unit", ""))
        if len(sizes) == 3 and None not in sizes and unit is not None:
            x, y, z = (v * unit for v in sizes if v is not None)
            return VolumeFacts(acquisition, (z, y, x))
    return VolumeFacts(acquisition, doubt="Its header gives no resolution with a unit of length.")


def _whole(path: Path, text: str, entry: str) -> tuple[int, int, int]:
    numbers = text.split()
    if len(numbers) != 3 or not all(n.isdigit() for n in numbers):
        raise UnreadableFile(f"{path.name} needs {entry} with three whole numbers (x y z), but {text!r} is there.")
    x, y, z = (int(n) for n in numbers)
    return x, y, z


def _order_missing(path: Path, entry: str, shape: tuple[int, int, int], dtype: str, header: int) -> InputError:
    layout = RawLayout(shape, dtype, "little", max(header, 0))
    return InputError(
        f"{path.name} does not say the byte order of its {dtype} voxels ({entry}). Pass layout={layout} (--raw "
        f"{layout.text}), or the same with 'big'."
    )
