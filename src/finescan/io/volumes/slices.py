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
    at = _where_numbered(files)
    numbered = sorted((_number(folder, f, at), f) for f in files)
    _require_one_series(folder, [f for _, f in numbered], at)
    numbers = [n for n, _ in numbered]
    steps = np.diff(numbers)
    if (steps == 0).any():
        k = int(np.argmin(steps))
        raise InputError(
            f"The folder {folder.name} has two slices with one number: {numbered[k][1].name} and "
            f"{numbered[k + 1][1].name}. Remove the one that does not belong."
        )
    if steps.size and (steps != steps.min()).any():
        raise InputError(_gap_told(folder, numbered, int(steps.min()), at))
    return [f for _, f in numbered]


def _rarer(files: list[Path]) -> str:
    kinds = [_kind(f) for f in files]
    return min(sorted(set(kinds)), key=kinds.count)


def _parts(file: Path) -> list[str]:
    """The name cut before and after its numbers, which are at the odd places."""
    return re.split(r"(\d+)", file.stem)


def _where_numbered(files: list[Path]) -> int:
    """Place of the slice number in :func:`_parts`: the last number that differs (``rec_0007_8bit.tif``)."""
    parts = [_parts(f) for f in files]
    lengths = [len(p) for p in parts]
    usual = max(sorted(set(lengths)), key=lengths.count)
    alike = [p for p in parts if len(p) == usual]
    differing = [k for k in range(1, usual, 2) if len({p[k] for p in alike}) > 1]
    return differing[-1] if differing else max(usual - 2, 1)


def _number(folder: Path, file: Path, at: int) -> int:
    parts = _parts(file)
    if len(parts) == 1:
        raise InputError(
            f"{file.name} in {folder.name} has no slice number in its name. Move it out of the folder, or number it."
        )
    return int(parts[min(at, len(parts) - 2)])


def _renumbered(file: Path, at: int, number: str) -> str:
    """The name with another slice number."""
    parts = _parts(file)
    parts[min(at, len(parts) - 2)] = number
    return "".join(parts)


def _require_one_series(folder: Path, files: list[Path], at: int) -> None:
    names = [_renumbered(f, at, "…") for f in files]
    usual = max(sorted(set(names)), key=names.count)
    odd = next((f for f, n in zip(files, names, strict=True) if n != usual), None)
    if odd is not None:
        raise InputError(
            f"{odd.name} in {folder.name} is named differently from the other slices ({usual}). Move it out: a folder "
            "must hold the slices of one volume."
        )


def _gap_told(folder: Path, numbered: list[tuple[int, Path]], step: int, at: int) -> str:
    there = {n for n, _ in numbered}
    missing = [n for n in range(numbered[0][0], numbered[-1][0] + 1, step) if n not in there]
    before = next(f for n, f in reversed(numbered) if n < missing[0])
    digits = str(missing[0]).zfill(len(_parts(before)[at]))
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return (
        f"The slice {_renumbered(before, at, digits)}{before.suffix} is missing in {folder.name}{more}: the slices "
        "must be numbered without a gap. Copy it there, or export the volume again."
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
