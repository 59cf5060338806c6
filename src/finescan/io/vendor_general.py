"""TIFF dialects of programs: our own, OME, ImageJ, DigitalMicrograph, Olympus; and bare resolution tags."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from finescan.io.facts import Facts, is_reciprocal, number, unit_nm
from finescan.values import Acquisition, Grid

if TYPE_CHECKING:
    from finescan.io.vendor import Tags

_OWN = "finescan="

#: Dots per inch that printers, scanners and image libraries write when they know nothing.
DEFAULT_DPI = (1, 72, 75, 90, 96, 100, 120, 144, 150, 180, 192, 200, 240, 250, 254, 300, 350, 360, 400, 600, 720, 1200)


# ---------------------------------------------------------------------------------------------- our own
def own_text(grid: Grid, acquisition: Acquisition) -> str:
    """Our facts as one line of JSON (ASCII), to be put into files."""
    return _OWN + json.dumps(own_dict(grid, acquisition))


def own_dict(grid: Grid, acquisition: Acquisition) -> dict[str, Any]:
    """Our facts as plain JSON values; what JSON does not know becomes text."""
    return json.loads(json.dumps({"grid": grid.to_dict(), "acquisition": acquisition.to_dict()}, default=str))


def parse_own(text: str, shape: tuple[int, ...]) -> Facts | None:
    """Inverse of :func:`own_text`, found anywhere in a text on a line of its own; ``shape`` is the picture's."""
    found = own_json(text)
    return None if found is None else facts_from(found, text, shape)


def own_json(text: str) -> dict[str, Any] | None:
    """What :func:`own_text` put into a text, or None."""
    match = re.search(rf"^\s*{_OWN}(\{{.*\}})\s*$", text, re.MULTILINE)
    return None if match is None else json.loads(match[1])


def facts_from(d: dict[str, Any], header: str, shape: tuple[int, ...]) -> Facts:
    """Inverse of :func:`own_dict`; no pixel size when the facts describe a picture of another shape.

    One slice of a volume has the pixel size of the volume.
    """
    grid = Grid.from_dict(d["grid"])
    acquisition = Acquisition.from_dict({**d["acquisition"], "header": header})
    y, x = grid.pixel_size_nm[-2:]
    if grid.shape[-len(shape) :] != tuple(shape):
        doubt = f"finescan wrote it with {grid.shape} px, but it has {tuple(shape)} px now: it was resized or cropped."
        return Facts(acquisition, doubt=doubt)
    return Facts(acquisition, (y, x), (grid.origin_nm[-2], grid.origin_nm[-1]))


def own(tags: Tags) -> Facts | None:
    """A TIFF written by finescan. Its data bar was cut before, so nothing is cut again."""
    if tags.description.startswith("<?xml"):
        node = ome_pixels(tags.description)
        return None if node is None else parse_own(node[1], tags.shape)
    return parse_own(tags.description, tags.shape)


# ---------------------------------------------------------------------------------------------- OME
def ome_xml(tags: Tags) -> Facts | None:
    """OME-TIFF: PhysicalSizeY, PhysicalSizeX with their units (µm when not said, as OME defines)."""
    text = tags.description
    found = ome_pixels(text) if "<OME" in text[:2000] else None
    if found is None:
        return None
    pixels = found[0]
    sizes = []
    for axis in "YX":
        size, unit = number(pixels.get(f"PhysicalSize{axis}")), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        nm = unit_nm(unit)
        sizes.append(None if size is None or nm is None else size * nm)
    y, x = sizes
    return Facts(Acquisition(header=text), None if y is None or x is None else (y, x))


def ome_pixels(text: str) -> tuple[Any, str] | None:
    """Of OME-XML: the first Pixels element and the Description of its Image."""
    try:
        root = ElementTree.fromstring(text.strip("\0 \n").encode("utf-8"))
    except ElementTree.ParseError:
        return None
    pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
    told = next((e.text or "" for e in root.iter() if e.tag.endswith("}Description")), "")
    return None if pixels is None else (pixels, told)


# ---------------------------------------------------------------------------------------------- ImageJ
def imagej(tags: Tags) -> Facts | None:
    """ImageJ: ``unit=`` in the description, resolution tags in pixels per that unit."""
    text = tags.description
    if not text.startswith("ImageJ="):
        return None
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    more = tags.values.get(50839)
    info = str(more.get("Info") or "") if isinstance(more, dict) else ""
    acquisition = Acquisition(vendor="", header=f"{text}\n{info}".strip())
    unit = said.get("unit", "")
    if is_reciprocal(unit):
        return Facts(acquisition, doubt=f"Its unit is {unit!r}: a diffraction pattern, not an image.")
    nm = unit_nm(unit)
    y_nm = unit_nm(said.get("yunit", unit))
    x, y = _per_unit(tags, 282), _per_unit(tags, 283)
    if nm is None or y_nm is None or not x or not y:
        return Facts(acquisition)
    return Facts(acquisition, (y_nm / y, nm / x))


def _per_unit(tags: Tags, code: int) -> float | None:
    value = tags.values.get(code)
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0] / value[1] if value[1] else None
    return number(value) if value is not None else None


# ---------------------------------------------------------------------------------------------- others
def olympus(tags: Tags) -> Facts | None:
    """Olympus Soft Imaging: pixel size in metres in tag 33560 or 33471 (already decoded by tifffile)."""
    sis = next((v for c in (33560, 33471) if isinstance(v := tags.values.get(c), dict)), None)
    if sis is None:
        return None
    acquisition = Acquisition(
        vendor="Olympus SIS",
        header="\n".join(f"{k}={v}" for k, v in sis.items()),
        extra={"model": tags.values.get(272)},
    )
    y, x = number(sis.get("pixelsizey")), number(sis.get("pixelsizex"))
    return Facts(acquisition, None if y is None or x is None else (y * 1e9, x * 1e9))


def digitalmicrograph(tags: Tags) -> Facts | None:
    """Gatan DigitalMicrograph: scales in tags 65009 (x) and 65010 (y), units in 65012, 65013 or 65003, 65004."""
    if 65009 not in tags.values or 65010 not in tags.values:
        return None
    names = ("65003", "65004", "65009", "65010", "65012", "65013", "65022", "65024", "65025")
    header = "\n".join(f"{k}={tags.values[int(k)]}" for k in names if int(k) in tags.values)
    sizes = []
    for scale, *units in ((65010, 65013, 65004), (65009, 65012, 65003)):
        unit = next((str(tags.values[u]) for u in units if unit_nm(str(tags.values.get(u, "")))), "")
        size, nm = number(tags.values[scale]), unit_nm(unit)
        sizes.append(None if size is None or nm is None else size * nm)
    y, x = sizes
    pixel = None if y is None or x is None else (y, x)
    doubt = "" if pixel else "DigitalMicrograph gives its scale in a unit that is no length."
    return Facts(Acquisition(vendor="Gatan", header=header), pixel, doubt=doubt)


def resolution_tags(tags: Tags) -> Facts | None:
    """Bare resolution tags, believed only in pixels per cm and unlike any printer's default.

    A pixel larger than 100 µm, an inch unit, or a usual dpi value is what programs write that know nothing.
    """
    x, y = _per_unit(tags, 282), _per_unit(tags, 283)
    header = tags.description
    if not x or not y or int(tags.values.get(296, 2)) != 3:
        return Facts(Acquisition(header=header))
    usual = any(abs(v * 2.54 / dpi - 1) < 0.01 for v in (x, y) for dpi in DEFAULT_DPI)
    if usual or min(x, y) < 100:
        return Facts(Acquisition(header=header))
    return Facts(Acquisition(header=header, extra={"pixel_size_note": "TIFF resolution tags"}), (1e7 / y, 1e7 / x))
