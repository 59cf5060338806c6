"""Scanning-probe files: Nanosurf ``.nid`` and Nanonis ``.sxm``. Text header, then binary planes.

Grey levels stay as stored; what they mean (unit, scale, offset) is in ``acquisition.extra``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from finescan.errors import UnreadableFile
from finescan.io.facts import Contents, Facts, Picture, number, present, scaled, unit_nm
from finescan.io.vendor_sem import parse_ini
from finescan.values import Acquisition, StagePose

_TYPES = {("8", "Signed"): "i1", ("16", "Signed"): "i2", ("32", "Signed"): "i4", ("16", "Unsigned"): "u2"}


# ---------------------------------------------------------------------------------------------- Nanosurf
def read_nid(path: Path) -> Contents:
    """Nanosurf: INI sections per channel, the marker ``#!``, then the channels one after the other.

    Lines are stored from the lower edge of the field up, so they are put upside down.
    """
    raw = path.read_bytes()
    at = raw.find(b"#!")
    if at < 0:
        raise UnreadableFile(f"{path.name} is truncated: the marker #! before the data is missing. Copy it again.")
    text = _decoded(raw[:at])
    ini = parse_ini(text)
    groups = int(number(ini.get("DataSet", {}).get("GroupCount")) or 0)
    names = [
        ini["DataSet"][key]
        for group in range(groups)
        for key in sorted((k for k in ini["DataSet"] if re.fullmatch(rf"Gr{group}-Ch\d+", k)), key=_trailing)
    ]
    offset, pictures = at + 2, []
    for name in names:
        picture, offset = _nid_channel(raw, offset, ini, name, text, path)
        pictures.append(picture)
    return Contents(tuple(pictures), by="channel")


def _trailing(key: str) -> int:
    return int(re.sub(r".*\D", "", key))


def _nid_channel(
    raw: bytes, offset: int, ini: dict[str, dict[str, str]], name: str, text: str, path: Path
) -> tuple[Picture, int]:
    said, info = ini[name], ini.get("DataSet-Info", {})
    rows, columns = int(said["Lines"]), int(said["Points"])
    code = _TYPES.get((said.get("SaveBits", "16"), said.get("SaveSign", "Signed")))
    if said.get("SaveMode", "Binary") != "Binary" or code is None:
        raise UnreadableFile(f"{path.name}: channel {name} is not stored as plain binary numbers; export it anew.")
    dtype = np.dtype(code).newbyteorder("<" if said.get("SaveOrder", "Intel") == "Intel" else ">")
    data = _plane(raw, offset, dtype, (rows, columns), path)[::-1]
    sizes = [_nid_step(said, "Dim1", rows), _nid_step(said, "Dim0", columns)]
    levels, bits = number(said.get("Dim2Range")), 8 * dtype.itemsize
    line_s = _seconds(info.get("Time/Line", ""))
    acquisition = Acquisition(
        vendor="Nanosurf",
        detector=said.get("Dim2Name"),
        dwell_time_us=None if line_s is None else line_s / columns * 1e6,
        header=text,
        extra=present(
            frame=said.get("Frame"),
            value_unit=said.get("Dim2Unit"),
            value_scale=None if levels is None else levels / 2**bits,
            value_offset=None if levels is None else (number(said.get("Dim2Min")) or 0.0) + levels / 2,
            scan_rotation_deg=number(info.get("Rotation", "")),
            scan_direction=info.get("Scan direction"),
            scan_head=info.get("Scan head"),
            date=f"{info.get('Date', '')} {info.get('Time', '')}".strip(),
        ),
    )
    pixel = None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])
    label = f"{said.get('Frame', '')} {said.get('Dim2Name', name)}".strip()
    picture = Picture(lambda: data, (rows, columns), "YX", label, Facts(acquisition, pixel))
    return picture, offset + rows * columns * dtype.itemsize


def _nid_step(said: dict[str, str], axis: str, count: int) -> float | None:
    unit = unit_nm(said.get(f"{axis}Unit", ""))
    return None if unit is None else scaled(said.get(f"{axis}Range"), unit / count)


def _seconds(text: str) -> float | None:
    match = re.match(r"\s*([\d.]+)\s*(ms|s|µs|us)", text)
    return None if match is None else float(match[1]) * {"s": 1.0, "ms": 1e-3}.get(match[2], 1e-6)


# ---------------------------------------------------------------------------------------------- Nanonis
def read_sxm(path: Path) -> Contents:
    """Nanonis: ``:KEY:`` blocks, ``:SCANIT_END:``, then big-endian float planes, forward and backward per channel.

    The first stored line is the first acquired one; ``up`` scans and backward planes are turned the right way round.
    """
    raw = path.read_bytes()
    end = raw.find(b":SCANIT_END:")
    start = raw.find(b"\x1a\x04", max(end, 0)) + 2
    if end < 0 or start < 2:
        raise UnreadableFile(f"{path.name} is truncated: the end of its header is missing. Copy it again.")
    text = _decoded(raw[:end])
    said = {k: v.strip("\n") for k, v in re.findall(r"^:([^\n]+):\n((?:(?!:[^\n]+:\n).*\n?)*)", text, re.MULTILINE)}
    columns, rows = (int(v) for v in said["SCAN_PIXELS"].split())
    kind = said.get("SCANIT_TYPE", "FLOAT MSBFIRST")
    dtype = np.dtype("f4").newbyteorder("<" if "LSBFIRST" in kind else ">")
    pictures, offset = [], start
    for name, unit, backward in _sxm_channels(said.get("DATA_INFO", "")):
        data = _plane(raw, offset, dtype, (rows, columns), path)
        offset += rows * columns * dtype.itemsize
        data = data[::-1] if said.get("SCAN_DIR", "").strip() == "up" else data
        data = data[:, ::-1] if backward else data
        label = f"{name} {'backward' if backward else 'forward'}"
        pictures.append(_sxm_picture(data, said, text, label, unit))
    return Contents(tuple(pictures), by="channel")


def _sxm_channels(table: str) -> list[tuple[str, str, bool]]:
    """Name, unit and backward? of each plane in the order they are stored."""
    planes = []
    for line in table.splitlines()[1:]:
        cells = line.split("\t")[1:] if line.startswith("\t") else line.split()
        if len(cells) >= 4:
            planes.append((cells[1], cells[2], cells[3] == "backward"))
            if cells[3] == "both":
                planes.append((cells[1], cells[2], True))
    return planes


def _sxm_picture(data: np.ndarray, said: dict[str, str], text: str, label: str, unit: str) -> Picture:
    rows, columns = data.shape
    width, height = ([*map(number, said.get("SCAN_RANGE", "").split()), None, None])[:2]
    x, y = ([*map(number, said.get("SCAN_OFFSET", "").split()), None, None])[:2]
    line_s = (number(said.get("SCAN_TIME", "").split()[0]) if said.get("SCAN_TIME") else None) or 0.0
    acquisition = Acquisition(
        vendor="Nanonis",
        detector=label.rsplit(" ", 1)[0],
        dwell_time_us=line_s / columns * 1e6 or None,
        stage=StagePose(None if x is None else x * 1e9, None if y is None else y * 1e9),
        header=text,
        extra=present(
            value_unit=unit,
            scan_rotation_deg=number(said.get("SCAN_ANGLE", "")),
            scan_direction=said.get("SCAN_DIR", "").strip(),
            bias_v=number(said.get("BIAS", "")),
            date=f"{said.get('REC_DATE', '')} {said.get('REC_TIME', '')}".strip(),
        ),
    )
    pixel = None if width is None or height is None else (height * 1e9 / rows, width * 1e9 / columns)
    return Picture(lambda: data, (rows, columns), "YX", label, Facts(acquisition, pixel))


def _plane(raw: bytes, offset: int, dtype: np.dtype, shape: tuple[int, int], path: Path) -> np.ndarray:
    need = offset + shape[0] * shape[1] * dtype.itemsize
    if need > len(raw):
        raise UnreadableFile(
            f"{path.name} is truncated: part of its picture data is missing ({len(raw)} bytes of {need} expected). "
            "Copy it again from the microscope."
        )
    return np.frombuffer(raw, dtype, shape[0] * shape[1], offset).reshape(shape).astype(dtype.newbyteorder("="))


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return raw.decode("latin-1").replace("\r\n", "\n")
