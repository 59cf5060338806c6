"""PNG and NumPy files."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from finescan.errors import UnreadableFile
from finescan.io.facts import Contents, Facts, Picture
from finescan.io.vendor_general import facts_from, parse_own
from finescan.values import Acquisition

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_png(path: Path) -> Contents:
    """A PNG of 8 or 16 bit; our own facts travel in a text chunk, the printing resolution is not believed."""
    import imagecodecs

    raw = path.read_bytes()
    chunks = png_chunks(raw)
    if not chunks or chunks[-1][0] != b"IEND":
        raise UnreadableFile(f"{path.name} is truncated: the end of the picture is missing. Copy it again.")
    data = imagecodecs.png_decode(raw)
    text = "\n".join(body.split(b"\0", 1)[-1].decode("latin-1") for kind, body in chunks if kind == b"tEXt")
    facts = parse_own(text, data.shape) or Facts(Acquisition(header=text))
    axes = "YX" if data.ndim == 2 else "YXS"
    return Contents((Picture(lambda: data, data.shape, axes, path.name, facts),))


def png_chunks(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of the chunks of a PNG, up to the first incomplete one."""
    chunks, at = [], len(_SIGNATURE)
    while at + 12 <= len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        if at + 12 + length > len(raw):
            break
        chunks.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_with_text(raw: bytes | bytearray, text: str) -> bytes:
    """The PNG with a text chunk behind its header."""
    head = len(_SIGNATURE) + 12 + 13
    body = b"tEXt" + b"Comment\0" + text.encode("latin-1", "backslashreplace")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return bytes(raw[:head] + chunk + raw[head:])


def read_npy(path: Path) -> Contents:
    """A NumPy array, memory-mapped; its facts are in ``name.json`` beside it, when that exists.

    The sidecar is what :func:`finescan.io.write` puts there, or just ``{"pixel_size_nm": 10.0}``.
    """
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if data.ndim not in (2, 3):
        raise UnreadableFile(f"{path.name} has {data.ndim} axes; an array of 2 (rows, columns) or 3 is needed.")
    axes = {2: "YX", 3: "ZYX"}[data.ndim]
    return Contents((Picture(lambda: data, data.shape, axes, path.name, _sidecar(path, data.shape)),))


def _sidecar(path: Path, shape: tuple[int, ...]) -> Facts:
    side = path.with_suffix(".json")
    if not side.is_file():
        return Facts()
    text = side.read_text("utf-8")
    d = json.loads(text)
    if "grid" in d:
        return facts_from(d, text, shape)
    size: Any = d.get("pixel_size_nm")
    y, x = (size, size) if isinstance(size, (int, float)) else (size[-2:] if size else (None, None))
    pixel = None if y is None or x is None else (float(y), float(x))
    return Facts(Acquisition(header=text), pixel)
