"""Raw voxels and their layout, and NumPy arrays. The layout comes from a sidecar or an argument, never from a guess.

Sidecars, looked for in this order beside ``name.raw``: ``name.raw.json``, ``name.json`` (ours), ``name.mhd``
(MetaImage), ``name.vgi``, ``name.raw.vgi`` (VGStudio).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finescan.errors import InputError, UnreadableFile
from finescan.io.volumes.stack import Asked, Stack, VolumeFacts, own_facts, picked
from finescan.values import Acquisition

_ORDERS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}


@dataclass(frozen=True)
class RawLayout:
    """How the voxels of a headerless file lie.

    Parameters
    ----------
    shape : z, y, x; x changes fastest.
    dtype : "uint8", "int16", "uint16", "float32", …
    byte_order : "little" or "big"; may be left out for one byte per voxel.
    header_bytes : bytes before the first voxel.

    Examples
    --------
    >>> RawLayout((100, 200, 300), "uint16", "little").bytes
    12000000
    >>> RawLayout.parse("100x200x300,uint16,little").shape
    (100, 200, 300)
    """

    shape: tuple[int, int, int]
    dtype: str
    byte_order: str | None = None
    header_bytes: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(int(n) != n or n < 1 for n in self.shape):
            raise InputError(f"A raw layout needs a shape of three whole numbers (z, y, x), but {self.shape} came.")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype.kind not in "uif":
            raise InputError(
                f"A raw layout needs a dtype like 'uint8', 'uint16' or 'float32', but {self.dtype!r} came."
            )
        if not dtype.isnative and self.byte_order is None:  # '>u2' says it all
            object.__setattr__(self, "byte_order", "big" if dtype.str[0] == ">" else "little")
        object.__setattr__(self, "dtype", dtype.newbyteorder("=").name)
        if self.byte_order not in _ORDERS and not (self.byte_order is None and dtype.itemsize == 1):
            raise InputError(
                f"A raw layout of {dtype.name} needs byte_order='little' or 'big', but {self.byte_order!r} came."
            )
        if self.header_bytes < 0:
            raise InputError(f"header_bytes must not be negative, but {self.header_bytes} came.")

    @classmethod
    def parse(cls, text: str) -> RawLayout:
        """From ``"ZxYxX,dtype[,little|big[,header bytes]]"``, as on a command line."""
        parts = [p.strip() for p in re.split(r"[,:]", text)]
        if len(parts) < 2 or not re.fullmatch(r"\d+[x×]\d+[x×]\d+", parts[0]):
            raise InputError(
                f"A raw layout is written like 100x200x300,uint16,little (z, y, x; then optionally the bytes of a "
                f"header), but {text!r} came."
            )
        shape: Any = tuple(int(n) for n in re.split("[x×]", parts[0]))
        order = parts[2] if len(parts) > 2 else None
        header = parts[3] if len(parts) > 3 else "0"
        if order is not None and order.isdigit():
            order, header = None, order
        return cls(shape, parts[1], order, int(header) if header.isdigit() else -1)

    @property
    def bytes(self) -> int:
        """Size of the whole file."""
        return self.header_bytes + math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype with its byte order."""
        return np.dtype(self.dtype).newbyteorder(_ORDERS[self.byte_order or "little"])

    @property
    def text(self) -> str:
        """As :meth:`parse` reads it."""
        order = [] if self.byte_order is None else [self.byte_order]
        header = [str(self.header_bytes)] if self.header_bytes else []
        return ",".join(["x".join(str(n) for n in self.shape), self.dtype, *order, *header])

    def __str__(self) -> str:
        order = "" if self.byte_order is None else f", {self.byte_order!r}"
        header = f", header_bytes={self.header_bytes}" if self.header_bytes else ""
        return f"RawLayout({self.shape}, {self.dtype!r}{order}{header})"


@dataclass(frozen=True)
class Header:
    """What a sidecar says: the file of the voxels, their layout, the facts."""

    file: Path
    layout: RawLayout
    facts: VolumeFacts


def read_raw(path: Path, asked: Asked) -> Stack:
    """Raw voxels, memory-mapped; layout from the argument, else from a sidecar."""
    header = _sidecar(path, asked.layout)
    layout = asked.layout or (header.layout if header else None)
    if layout is None:
        raise InputError(_how_to_say(path))
    facts = header.facts if header else VolumeFacts(Acquisition(extra={"layout": str(layout)}))
    return Stack(mapped(path, layout), facts)


def read_headed(path: Path, asked: Asked) -> Stack:
    """The volume a header file (.mhd, .vgi) describes."""
    header = _parse(path, None, asked.layout)
    return Stack(mapped(header.file, asked.layout or header.layout), header.facts)


def mapped(path: Path, layout: RawLayout) -> Any:
    """The voxels of a file; an error when it has another number of bytes than the layout needs."""
    if not path.is_file():
        raise UnreadableFile(f"There is no file {path} with the voxels. Put it beside its header, or correct the name.")
    size = path.stat().st_size
    if size != layout.bytes:
        z, y, x = layout.shape
        head = f"{layout.header_bytes} + " if layout.header_bytes else ""
        each = np.dtype(layout.dtype).itemsize
        raise InputError(
            f"{path.name} has {size} bytes, but {head}{z} x {y} x {x} voxels of {layout.dtype} (z, y, x; {each} bytes "
            f"each) take {layout.bytes}. Correct shape, dtype or header_bytes: "
            f"layout=RawLayout((z, y, x), dtype, byte_order, header_bytes), or --raw on the command line."
            f"{_truncated(size, layout)}"
        )
    data = np.memmap(path, layout.stored, "r", layout.header_bytes, layout.shape)
    return picked(data, (None, None, None))


def _truncated(size: int, layout: RawLayout) -> str:
    plane = math.prod(layout.shape[1:]) * np.dtype(layout.dtype).itemsize
    whole, rest = divmod(size - layout.header_bytes, plane)
    if rest == 0 and whole > 0:
        return f" With this y and x it would hold {whole} slices."
    return " If these numbers are right, the file is truncated or has a header: copy it again." if size else ""


# ---------------------------------------------------------------------------------------------- sidecars
def sidecars(path: Path) -> list[Path]:
    """The sidecars that exist, the one to be believed first."""
    names = [f"{path.name}.json", f"{path.stem}.json", f"{path.stem}.mhd", f"{path.stem}.vgi", f"{path.name}.vgi"]
    return [p for p in (path.with_name(n) for n in names) if p.is_file()]


def _sidecar(path: Path, layout: RawLayout | None) -> Header | None:
    found = sidecars(path)
    return _parse(found[0], path, layout) if found else None


def _parse(side: Path, data: Path | None, layout: RawLayout | None) -> Header:
    from finescan.io.volumes import headers

    if side.suffix.lower() == ".json":
        assert data is not None
        return _json(side, data, layout)
    parse = headers.metaimage if side.suffix.lower() in (".mhd", ".mha") else headers.vgi
    header = parse(side, layout)
    return header if data is None else Header(data, header.layout, header.facts)


def _json(side: Path, data: Path, layout: RawLayout | None) -> Header:
    text = side.read_text("utf-8")
    try:
        d = json.loads(text)
        if layout is None:
            shape: Any = tuple(d["shape"] if "shape" in d else d["grid"]["shape"])
            layout = RawLayout(shape, d["dtype"], d.get("byte_order"), int(d.get("header_bytes", 0)))
    except (KeyError, TypeError, ValueError) as e:
        raise InputError(
            f"{side.name} does not describe raw voxels ({type(e).__name__}: {e}). It needs "
            '{"shape": [z, y, x], "dtype": "uint16", "byte_order": "little", "voxel_size_nm": [z, y, x]} and, where '
            'there is a header, "header_bytes".'
        ) from e
    return Header(data, layout, own_facts(d, text, layout.shape))


def _how_to_say(path: Path) -> str:
    size = path.stat().st_size
    hint = ""
    numbers = re.search(r"(\d+)[x_](\d+)[x_](\d+)", path.stem)
    kind = re.search(r"(uint8|uint16|int16|float32)", path.stem.lower())
    if numbers and kind:
        x, y, z = (int(n) for n in numbers.groups())
        if x * y * z * np.dtype(kind[1]).itemsize == size:
            hint = f" Its name and size would fit {x} x {y} x {z} voxels (often x, y, z) of {kind[1]}."
    return (
        f"{path.name} ({size} bytes) does not say how its voxels lie, and there is no sidecar ({path.name}.json, "
        ".mhd or .vgi) beside it. Pass layout=RawLayout((z, y, x), dtype, byte_order), or --raw "
        f"{RawLayout((100, 512, 512), 'uint16', 'little').text} on the command line.{hint}"
    )


# ---------------------------------------------------------------------------------------------- NumPy
def read_npy_volume(path: Path, asked: Asked) -> Stack:
    """A NumPy array of three axes, memory-mapped; facts from ``name.json`` beside it."""
    del asked
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if data.ndim != 3:
        raise InputError(f"{path.name} has {data.ndim} axes, but a volume has three (z, y, x).")
    side = path.with_suffix(".json")
    text = side.read_text("utf-8") if side.is_file() else ""
    facts = own_facts(json.loads(text), text, data.shape) if text else VolumeFacts()
    return Stack(picked(data, (None, None, None)), facts)
