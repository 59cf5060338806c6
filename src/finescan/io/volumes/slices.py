"""A folder with one picture per slice: TIFF or PNG, numbered, read one by one on access."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError, UnreadableFile
from finescan.io.facts import Facts
from finescan.io.volumes.stack import Asked, Stack, VolumeFacts, by_slice, own_facts, without_z

#: Facts of the whole folder: what finescan writes, or just ``{"voxel_size_nm": [z, y, x]}``.
SIDECAR = "finescan.json"

_GREY_PNG = {(1, 0): "uint8", (2, 0): "uint8", (4, 0): "uint8", (8, 0): "uint8", (16, 0): "uint16"}


@dataclass(frozen=True)
class Slice:
    """One file: rows and columns, dtype as stored, and where its pixels begin (None = they must be decoded)."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int | None

    def pixels(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Part of the picture; from disk alone where it is stored plainly."""
        if self.offset is not None:
            return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows, columns])
        return KINDS[_kind(self.path)][1](self.path)[rows, columns]


def slice_files(folder: Path) -> list[Path]:
    """The pictures of a folder, unsorted; other files (logs, tables, sidecars) do not count."""
    return [p for p in folder.iterdir() if p.is_file() and _kind(p) and not p.name.startswith(".")]


def read_slices(path: Path, asked: Asked) -> Stack:
    """The numbered pictures of a folder as one volume; headers are checked now, pixels read when needed."""
    del asked
    files = _in_order(path)
    slices = [KINDS[_kind(f)][0](f) for f in files]
    first = slices[0]
    for s in slices[1:]:
        _require_alike(path, first, s)
    shape = (len(slices), *first.shape)
    chunks = (1, 1, first.shape[1]) if first.offset is not None else (1, *first.shape)
    data = by_slice(shape, first.dtype, lambda z, rows, columns: slices[z].pixels(rows, columns), chunks)
    return Stack(data, _facts(path, files, shape))


def _facts(folder: Path, files: list[Path], shape: Sequence[int]) -> VolumeFacts:
    """From the sidecar, else what the first slice says, which knows nothing about its distance to the next."""
    first = files[0]
    side = folder / SIDECAR
    if side.is_file():
        text = side.read_text("utf-8")
        return own_facts(json.loads(text), text, shape)
    plane = Facts()
    if _kind(first) == "TIFF":
        from finescan.io.tiff import facts_of_page, open_series

        (series,) = open_series(first)
        plane = facts_of_page(series.keyframe, first)
        series.parent.close()
    extra = {**plane.acquisition.extra, "first_slice": first.name, "last_slice": files[-1].name}
    plane = replace(plane, acquisition=replace(plane.acquisition, extra=extra))
    return without_z(plane, "nothing says how far apart the slices are")


def _kind(path: Path) -> str:
    return {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}.get(path.suffix.lower(), "")


# ---------------------------------------------------------------------------------------------- order
def _in_order(folder: Path) -> list[Path]:
    """Files sorted by the number in their names; a gap, a double or an odd one is an error that names it."""
    files = slice_files(folder)
    if not files:
        raise UnreadableFile(f"The folder {folder.name} holds no slices (.tif, .png). Pass the folder they lie in.")
    kinds = sorted({_kind(f) for f in files})
    if len(kinds) > 1:
        odd = min((f.name for f in files if _kind(f) == _rarer(files)), default="")
        raise InputError(
            f"The folder {folder.name} mixes {' and '.join(kinds)} files (for example {odd}). Put the slices of one "
            "volume, all of one kind, into a folder of their own."
        )
    numbered = sorted((_number(folder, f), f) for f in files)
    _require_one_series(folder, [f for _, f in numbered])
    numbers = [n for n, _ in numbered]
    steps = np.diff(numbers)
    if (steps == 0).any():
        at = int(np.argmin(steps))
        raise InputError(
            f"The folder {folder.name} has two slices with one number: {numbered[at][1].name} and "
            f"{numbered[at + 1][1].name}. Remove the one that does not belong."
        )
    if steps.size and (steps != steps.min()).any():
        raise InputError(_gap_told(folder, numbered, int(steps.min())))
    return [f for _, f in numbered]


def _rarer(files: list[Path]) -> str:
    kinds = [_kind(f) for f in files]
    return min(sorted(set(kinds)), key=kinds.count)


def _number(folder: Path, file: Path) -> int:
    found = re.findall(r"\d+", file.stem)
    if not found:
        raise InputError(
            f"{file.name} in {folder.name} has no slice number in its name. Move it out of the folder, or number it."
        )
    return int(found[-1])


def _series(file: Path) -> str:
    """The name with its last number taken out."""
    return re.sub(r"\d+(?=\D*$)", "#", file.stem)


def _require_one_series(folder: Path, files: list[Path]) -> None:
    names = [_series(f) for f in files]
    usual = max(sorted(set(names)), key=names.count)
    odd = next((f for f, n in zip(files, names, strict=True) if n != usual), None)
    if odd is not None:
        raise InputError(
            f"{odd.name} in {folder.name} is named differently from the other slices ({usual.replace('#', '…')}). Move "
            "it out: a folder must hold the slices of one volume."
        )


def _gap_told(folder: Path, numbered: list[tuple[int, Path]], step: int) -> str:
    there = {n for n, _ in numbered}
    first, last = numbered[0], numbered[-1][0]
    missing = [n for n in range(first[0], last + 1, step) if n not in there]
    before = max(n for n in there if n < missing[0])
    name = next(f for n, f in numbered if n == before)
    text = re.findall(r"\d+", name.stem)[-1]
    digits = str(missing[0]).zfill(len(text))
    expected = re.sub(r"\d+(?=\D*$)", digits, name.stem) + name.suffix
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return (
        f"The slice {expected} is missing in {folder.name}{more}: the slices must be numbered without a gap. Copy it "
        "there, or export the volume again."
    )


# ---------------------------------------------------------------------------------------------- one file
def _require_alike(folder: Path, first: Slice, other: Slice) -> None:
    if other.shape != first.shape or other.dtype != first.dtype:
        a, b = (f"{s.shape[0]} x {s.shape[1]} px {s.dtype.name}" for s in (first, other))
        raise InputError(
            f"{other.path.name} in {folder.name} is {b}, but {first.path.name} is {a}. All slices of a volume must "
            "have one size and number format; export it again or move the file out."
        )


def _tiff_slice(path: Path) -> Slice:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            count, page, order = len(file.pages), file.pages.first, file.byteorder
    except Exception as e:  # tifffile raises many kinds
        raise UnreadableFile(f"{path.name} could not be read ({e}). Copy the slice again.") from e
    if count != 1 or page.samplesperpixel != 1 or int(page.photometric) not in (0, 1):
        what = f"holds {count} pages" if count != 1 else "is a colour picture"
        raise InputError(f"{path.name} {what}, but a slice is one grey picture per file. Export the slices again.")
    end = max((o + c for o, c in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
    if end == 0 or end > path.stat().st_size:
        raise UnreadableFile(f"{path.name} is truncated: part of its pixels is missing. Copy the slice again.")
    offset = page.dataoffsets[0] if page.is_contiguous and page.dtype is not None else None
    shape = (int(page.imagelength), int(page.imagewidth))
    return Slice(path, shape, np.dtype(page.dtype).newbyteorder(order), offset)


def _tiff_pixels(path: Path) -> NDArray[Any]:
    import tifffile

    return np.asarray(tifffile.imread(path, maxworkers=1))


def _png_slice(path: Path) -> Slice:
    with path.open("rb") as f:
        head = f.read(33)
    if len(head) < 33 or head[:8] != b"\x89PNG\r\n\x1a\n":
        raise UnreadableFile(f"{path.name} is no PNG file, or a truncated one. Copy the slice again.")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if (bits, colour) not in _GREY_PNG:
        raise InputError(f"{path.name} is a colour picture, but slices must be grey. Export the slices again.")
    return Slice(path, (height, width), np.dtype(_GREY_PNG[bits, colour]), None)


def _png_pixels(path: Path) -> NDArray[Any]:
    import imagecodecs

    try:
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    except Exception as e:  # the codec's own errors
        raise UnreadableFile(f"{path.name} could not be decoded ({e}). Copy the slice again.") from e


#: Kind of file -> (header check, decoder).
KINDS: dict[str, tuple[Callable[[Path], Slice], Callable[[Path], NDArray[Any]]]] = {
    "TIFF": (_tiff_slice, _tiff_pixels),
    "PNG": (_png_slice, _png_pixels),
}
