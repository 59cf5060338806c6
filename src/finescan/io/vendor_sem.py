"""TIFF dialects of scanning microscopes: OpenFIBSEM, FEI/Thermo Fisher, Zeiss SmartSEM, TESCAN, JEOL.

Written from the files themselves. Lengths in these headers are metres unless said otherwise, angles radians for
Thermo Fisher and OpenFIBSEM, degrees for the others.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finescan.io.facts import Facts, length_nm, number, present, scaled
from finescan.values import Acquisition, StagePose

if TYPE_CHECKING:
    from finescan.io.vendor import Tags

_DEG = 180 / math.pi


# ---------------------------------------------------------------------------------------------- OpenFIBSEM
def openfibsem(tags: Tags) -> Facts | None:
    """JSON ImageDescription of OpenFIBSEM."""
    text = tags.description
    if not text.lstrip().startswith("{") or "microscope_state" not in text:
        return None
    d = json.loads(text)
    beam = str(d.get("beam_type") or "")
    state = d.get("microscope_state") or {}
    settings = state.get("ib_settings" if beam == "ION" else "eb_settings") or {}
    detector = d.get("detector_settings") or {}
    acquisition = Acquisition(
        vendor="OpenFIBSEM",
        detector=detector.get("type"),
        dwell_time_us=scaled(d.get("dwell_time"), 1e6),
        stage=_openfibsem_stage(state.get("absolute_position") or state.get("stage_position")),
        header=text,
        extra=present(
            beam=beam.lower(),
            detector_mode=detector.get("mode"),
            voltage_kv=scaled(settings.get("voltage"), 1e-3),
            current_pa=scaled(settings.get("beam_current"), 1e12),
            working_distance_mm=scaled(settings.get("working_distance"), 1e3),
            scan_rotation_deg=scaled(settings.get("scan_rotation"), _DEG),
            date=state.get("timestamp"),
        ),
    )
    size = d.get("pixel_size") or {}
    pixel = _both(scaled(size.get("y"), 1e9), scaled(size.get("x"), 1e9))
    rows, columns = tags.shape
    # "shape" is the array OpenFIBSEM wrote; older files state the scan as width, height only
    height, width = (d.get("shape") or (d.get("resolution") or [columns, rows])[::-1])[:2]
    return _unless_resized(Facts(acquisition, pixel), (rows, columns), (height, width))


def _openfibsem_stage(d: dict[str, Any] | None) -> StagePose | None:
    if not d:
        return None
    x, y, z = (scaled(d.get(k), 1e9) for k in "xyz")
    return StagePose(x, y, z, scaled(d.get("r"), _DEG), scaled(d.get("t"), _DEG))


# ---------------------------------------------------------------------------------------------- Thermo Fisher
def thermo(tags: Tags) -> Facts | None:
    """FEI / Thermo Fisher: INI text in tag 34682 (34680 in older files)."""
    raw = tags.texts.get(34682) or tags.texts.get(34680)
    if raw is None or b"[" not in raw:
        return None
    text = raw.rstrip(b"\0").decode("latin-1")
    ini = parse_ini(text)
    beam = ini.get("Beam", {})
    scan = {**ini.get(beam.get("Scan") or "", {}), **ini.get("Scan", {})}
    column = {**beam, **ini.get(beam.get("Beam") or "", {})}
    image = ini.get("Image", {})
    pixel = _both(scaled(scan.get("PixelHeight"), 1e9), scaled(scan.get("PixelWidth"), 1e9))
    rows, columns = tags.shape
    height, width = number(image.get("ResolutionY")), number(image.get("ResolutionX"))
    if pixel is None and width and height:  # navigation cameras state only the field of view
        pixel = _both(scaled(column.get("VFW"), 1e9 / height), scaled(column.get("HFW"), 1e9 / width))
    bar = int(rows - height) if height and width == columns and rows > height else 0
    if not bar and not height and (stated := number(ini.get("PrivateFei", {}).get("DatabarHeight"))):
        bar = int(stated) if stated < rows / 2 else 0
    acquisition = Acquisition(
        vendor="Thermo Fisher",
        detector=ini.get("Detectors", {}).get("Name") or None,
        dwell_time_us=scaled(scan.get("Dwelltime") or scan.get("Dwell"), 1e6),
        stage=_thermo_stage({**column, **ini.get("Stage", {})}),
        header=text,
        extra=present(
            beam={"EBeam": "electron", "IBeam": "ion"}.get(beam.get("Beam", "")),
            detector_mode=ini.get("Detectors", {}).get("Mode"),
            voltage_kv=scaled(column.get("HV"), 1e-3),
            current_pa=scaled(column.get("BeamCurrent"), 1e12),
            working_distance_mm=scaled(column.get("WD"), 1e3),
            scan_rotation_deg=scaled(column.get("ScanRotation"), _DEG),
            tilt_correction=column.get("TiltCorrectionIsOn"),
            date=" ".join(ini.get("User", {}).get(k, "") for k in ("Date", "Time")).strip(),
            model=ini.get("System", {}).get("SystemType"),
        ),
    )
    return _unless_resized(Facts(acquisition, pixel, databar_rows=bar), (rows - bar, columns), (height, width))


def _thermo_stage(d: dict[str, str]) -> StagePose:
    x, y, z = (scaled(d.get("Stage" + k), 1e9) for k in "XYZ")
    tilt = scaled(d.get("StageT") or d.get("StageTa"), _DEG)
    return StagePose(x, y, z, scaled(d.get("StageR"), _DEG), tilt)


# ---------------------------------------------------------------------------------------------- Zeiss
def zeiss(tags: Tags) -> Facts | None:
    """Zeiss SmartSEM: lines of ``KEY`` and ``Name = value unit`` in tag 34118."""
    raw = tags.texts.get(34118)
    if raw is None:
        return None
    text = raw.rstrip(b"\0").decode("latin-1")
    lines = text.splitlines()
    said = {
        key.strip(): line.split("=", 1)[1].strip() if "=" in line else line.split(":", 1)[-1].strip()
        for key, line in pairwise(lines)
        if re.fullmatch(r"(AP|DP|SV)_\w+", key.strip())
    }
    x, y, z = (length_nm(said.get(f"AP_STAGE_AT_{k}", "")) for k in "XYZ")
    turn, tilt = (number(said.get(f"AP_STAGE_AT_{k}", "")) for k in "RT")
    volts = said.get("AP_ACTUALKV", "")
    acquisition = Acquisition(
        vendor="Zeiss",
        detector=said.get("DP_DETECTOR_TYPE") or said.get("DP_DETECTOR_CHANNEL"),
        dwell_time_us=_zeiss_dwell(said, tags.shape[1]),
        stage=StagePose(x, y, z, turn, tilt),
        header=text,
        extra=present(
            voltage_kv=scaled(volts, 1.0 if "kV" in volts else 1e-3),
            working_distance_mm=_mm(said.get("AP_WD", "")),
            scan_rotation_deg=number(said.get("AP_SCANROTATION", "")),
            date=" ".join(said.get(k, "") for k in ("AP_DATE", "AP_TIME")).strip(),
            serial_number=said.get("SV_SERIAL_NUMBER"),
        ),
    )
    pixel = _zeiss_pixel(said, lines, tags.shape[1])
    stored = [number(v) for v in said.get("DP_IMAGE_STORE", "").split("*")]
    facts = Facts(acquisition, _both(pixel, pixel), databar_rows=tags.bar_of())
    return _unless_resized(facts, tags.shape, (None, stored[0]))


def _zeiss_dwell(said: dict[str, str], columns: int) -> float | None:
    """Line time over pixels; the entry Dwell Time describes something else (50 ns beside 51 µs in a real file)."""
    line = _time_us(said.get("AP_LINE_TIME", ""))
    return None if line is None else line / columns


def _zeiss_pixel(said: dict[str, str], lines: list[str], columns: int) -> float | None:
    """Image Pixel Size; without it, Pixel Size, which holds for a display 1024 px wide."""
    size = length_nm(said.get("AP_IMAGE_PIXEL_SIZE", ""))
    if size is None:
        shown = length_nm(said.get("AP_PIXEL_SIZE", ""))
        size = None if shown is None else shown * 1024 / columns
    # the nameless numbers at the top repeat it in metres with more digits
    exact = scaled(lines[3], 1e9) if len(lines) > 3 else None
    return exact if size and exact and abs(exact / size - 1) < 2e-3 else size


# ---------------------------------------------------------------------------------------------- TESCAN
def tescan(tags: Tags) -> Facts | None:
    """TESCAN: ``key=value`` blocks in tag 50431, or a ``.hdr`` file (INI) beside the picture."""
    text = _tescan_text(tags.texts.get(50431) or b"") or (_sidecar_hdr(tags.path) if tags.path.name else "")
    said = {k: v for section in parse_ini(text).values() for k, v in section.items()}
    if "PixelSizeX" not in said:
        return None
    strip = int(number(said.get("ImageStripSize")) or 0)
    pixel = _both(scaled(said.get("PixelSizeY"), 1e9), scaled(said.get("PixelSizeX"), 1e9))
    x, y, z = (scaled(said.get(f"Stage{k}"), 1e9) for k in "XYZ")
    tilt = next((number(said[k]) for k in ("StageTilt", "StageTiltX") if k in said), None)
    acquisition = Acquisition(
        vendor="TESCAN",
        detector=said.get("Detector") or said.get("Detector0"),
        dwell_time_us=scaled(said.get("DwellTime"), 1e6),
        stage=StagePose(x, y, z, number(said.get("StageRotation", "")), tilt),
        header=text,
        extra=present(
            voltage_kv=scaled(said.get("HV"), 1e-3),
            current_pa=scaled(said.get("PredictedBeamCurrent") or said.get("SpecimenCurrent"), 1e12),
            working_distance_mm=scaled(said.get("WD"), 1e3),
            scan_rotation_deg=number(said.get("ScanRotation", "")),
            date=" ".join(said.get(k, "") for k in ("Date", "Time")).strip(),
            model=said.get("Device"),
        ),
    )
    return Facts(acquisition, pixel, databar_rows=strip if strip < tags.shape[0] / 2 else 0)


def _tescan_text(raw: bytes) -> str:
    """The text blocks: each is a 4-byte length, a 2-byte kind and length - 2 bytes (kind 1 is a thumbnail)."""
    texts, at = [], 0
    while at + 6 <= len(raw):
        length, kind = struct.unpack_from("<IH", raw, at)
        block = raw[at + 6 : at + 4 + length]
        if length < 2 or at + 4 + length > len(raw):
            break
        if kind != 1 and b"=" in block:
            texts.append(block.rstrip(b"\0").decode("utf-8", "replace"))
        at += 4 + length
    # some versions store the bare text
    return "\n".join(texts) or (raw.decode("utf-8", "replace") if b"PixelSizeX=" in raw else "")


def _sidecar_hdr(path: Path) -> str:
    """Text of ``name.hdr`` or ``name-tif.hdr`` beside the picture."""
    for name in (f"{path.stem}.hdr", f"{path.stem}-{path.suffix[1:]}.hdr"):
        side = path.with_name(name)
        if side.is_file():
            return side.read_text("utf-8", "replace")
    return ""


# ---------------------------------------------------------------------------------------------- JEOL
def jeol(tags: Tags) -> Facts | None:
    """JEOL: XML of the SightX program, or the ``.txt`` beside an SEM picture."""
    if "<TemReporter" in tags.description:
        return _jeol_sightx(tags)
    side = tags.path.with_suffix(".txt")
    text = side.read_text("latin-1") if tags.path.name and side.is_file() else ""
    return jeol_sidecar(text, tags.shape) if "$CM_" in text or "$$SM_" in text else None


def _jeol_sightx(tags: Tags) -> Facts:
    """Camera pixels per metre times the magnification; refused when the picture is a diffraction pattern."""
    text = tags.description

    def value(name: str, start: int = 0) -> str:
        match = re.compile(rf"<{name}>\s*([^<]*?)\s*<").search(text, start)
        return match[1] if match else ""

    # the scale bar's own record belongs to this picture; the first in the file may belong to another camera
    at = max(text.find("<DrawImageInformation>"), 0)
    magnification = number(value("SelectorValue", at))
    per_metre = [number(value(k, text.find("<PixelsPerMeter>", at))) for k in ("Vertical", "Horizontal")]
    sizes = [1e9 / (p * magnification) if p and magnification else None for p in per_metre]
    diffraction = "Diffraction" in value("Measurement_UnitType", at) or "DIFF" in value("ImageFormingMode").upper()
    acquisition = Acquisition(
        vendor="JEOL",
        stage=StagePose(tilt_deg=number(value("TX", max(text.find("<StagePosition>"), 0)))),
        header=text,
        extra=present(
            voltage_kv=scaled(value("AccelerationVoltage"), 1e-3), model=value("Instruments"), date=value("DateTime")
        ),
    )
    if diffraction:
        return Facts(acquisition, doubt="The picture is a diffraction pattern; its scale is in 1/nm, not in nm.")
    return Facts(acquisition, _both(sizes[0], sizes[1]))


def jeol_sidecar(text: str, shape: tuple[int, int]) -> Facts:
    """``$KEY value`` lines: length in $$SM_MICRON_MARKER over pixels in $$SM_MICRON_BAR."""
    said = {k: v.strip() for k, v in re.findall(r"^(\$+\w+)[ \t]+(.*)$", text, re.MULTILINE)}
    bar, marker = number(said.get("$$SM_MICRON_BAR", "")), length_nm(said.get("$$SM_MICRON_MARKER", ""))
    size = marker / bar if bar and marker else None
    full = [number(v) for v in said.get("$CM_FULL_SIZE", "").split()]
    width, height = full[:2] if len(full) >= 2 else (None, None)
    rows, columns = shape
    strip = int(rows - height) if height and width == columns and rows > height else 0
    acquisition = Acquisition(
        vendor="JEOL",
        detector=said.get("$CM_SIGNAL_NAME") or said.get("$CM_SIGNAL"),
        header=text,
        extra=present(
            voltage_kv=number(said.get("$CM_ACCEL_VOLT", "")),
            working_distance_mm=number(said.get("$$SM_WD", "")),
            date=" ".join(said.get(k, "") for k in ("$CM_DATE", "$CM_TIME")).strip(),
            stage_text=said.get("$CM_STAGE_POS"),
            model=said.get("$CM_INSTRUMENT"),
        ),
    )
    bar = strip if strip < rows / 2 else 0
    return _unless_resized(Facts(acquisition, _both(size, size), databar_rows=bar), shape, (None, width))


# ---------------------------------------------------------------------------------------------- shared
def parse_ini(text: str) -> dict[str, dict[str, str]]:
    """``[section]`` and ``key=value`` lines, values as text; lines before a section go under ``""``."""
    sections: dict[str, dict[str, str]] = {"": {}}
    here = sections[""]
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            here = sections.setdefault(line[1:-1], {})
        elif "=" in line:
            key, value = line.split("=", 1)
            here[key.strip()] = value.strip()
    return sections


def _both(y: float | None, x: float | None) -> tuple[float, float] | None:
    return None if y is None or x is None else (y, x)


def _unless_resized(facts: Facts, shape: tuple[int, int], stated: tuple[float | None, float | None]) -> Facts:
    """Without the pixel size when the header describes a picture of another size."""
    if all(n is None or n == s for n, s in zip(stated, shape, strict=True)) or facts.pixel_size_nm is None:
        return facts
    size = " x ".join("?" if n is None else f"{n:g}" for n in stated)
    doubt = (
        f"Its header speaks of {size} px (rows x columns) but the picture has {shape[0]} x {shape[1]} px: it was "
        "resized or cropped later, so the pixel size in the header may no longer hold."
    )
    return replace(facts, pixel_size_nm=None, doubt=doubt)


def _mm(text: str) -> float | None:
    found = length_nm(text)
    return None if found is None else found * 1e-6


def _time_us(text: str) -> float | None:
    match = re.match(r"([\d.eE+-]+)\s*(ns|µs|us|ms|s)", text)
    factor = {"ns": 1e-3, "µs": 1.0, "us": 1.0, "ms": 1e3, "s": 1e6}
    return scaled(match[1], factor[match[2]]) if match else None
