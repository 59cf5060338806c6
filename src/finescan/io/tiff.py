"""Reading TIFF, BigTIFF, OME-TIFF, ImageJ TIFF and vendors' TIFF, through tifffile."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from finescan.errors import UnreadableFile
from finescan.io.databar import painted_bar
from finescan.io.facts import Contents, Facts, Picture
from finescan.io.vendor import TEXT_TAGS, Tags, facts_of

#: Larger pictures stay on disk: mapped when contiguous, else decoded tile by tile through a zarr view.
LAZY_ABOVE = 1 << 28

_PALETTE, _MIN_IS_WHITE = 3, 0
#: Bytes per value of the TIFF types (1 where missing).
_TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def read_tiff(path: Path) -> Contents:
    """All pictures of a TIFF file (one per tifffile series), thumbnails and reduced copies left out."""
    return Contents(tuple(_picture(s, path) for s in open_series(path)), by="frame")


def read_gzipped_tiff(path: Path) -> Contents:
    """A TIFF inside gzip, unpacked in memory."""
    import tifffile

    plain = gzip.decompress(path.read_bytes())
    series = _whole_series(tifffile.TiffFile(io.BytesIO(plain)), path, len(plain))
    return Contents(tuple(_picture(s, path) for s in series), by="frame")


def open_series(path: Path) -> list[Any]:
    """The tifffile series of a file that is known to be whole, thumbnails and reduced copies left out."""
    import tifffile

    return _whole_series(tifffile.TiffFile(path), path, path.stat().st_size)


def _whole_series(file: Any, path: Path, size: int) -> list[Any]:
    if not len(file.pages):
        raise UnreadableFile(f"{path.name} holds no picture: it is truncated or damaged. Copy it again.")
    _require_whole_chain(file, path, size)
    series = [s for s in file.series if not _is_reduced(s)] or list(file.series)
    if any(33560 in s.keyframe.tags for s in series):  # Olympus puts a coloured preview first
        series = [s for s in series if 33560 in s.keyframe.tags]
    for s in series:
        _require_whole_data(s, path, size)
    return series


def _is_reduced(series: Any) -> bool:
    return bool(int(series.keyframe.subfiletype or 0) & 1)


def _picture(series: Any, path: Path) -> Picture:
    axes = "".join(a if a in "TCZYXS" else "T" for a in series.axes)
    shape = tuple(int(n) for n in series.shape)
    page = series.keyframe
    label = series.name or " x ".join(str(n) for n in shape) + f" {series.dtype}"
    names = channel_names(str(page.description or ""))
    return Picture(lambda: _load(series, path), shape, axes, label, facts_of_page(page, path), names)


def facts_of_page(page: Any, path: Path) -> Facts:
    """What the tags of one page say, in whichever dialect."""
    _require_grey_palette(page, path)

    def bar_of() -> int:
        return painted_bar(np.asarray(page.asarray())) if page.samplesperpixel == 1 else 0

    values = {tag.code: tag.value for tag in page.tags.values() if tag.code not in TEXT_TAGS}
    texts = {code: _tag_bytes(page, code) for code in TEXT_TAGS if code in page.tags}
    facts = facts_of(Tags(values, texts, (int(page.imagelength), int(page.imagewidth)), path, bar_of))
    if int(page.photometric) == _MIN_IS_WHITE:
        extra = {**facts.acquisition.extra, "photometric": "min-is-white"}
        facts = replace(facts, acquisition=replace(facts.acquisition, extra=extra))
    return facts


def _load(series: Any, path: Path) -> Any:
    """Numpy for ordinary sizes; a memory map or a zarr view above :data:`LAZY_ABOVE`."""
    if series.nbytes < LAZY_ABOVE:
        data = series.asarray()
        series.parent.close()
        return data
    if series.dataoffset is not None and path.suffix != ".gz":
        order = series.parent.byteorder
        dtype = series.dtype.newbyteorder(order)
        series.parent.close()
        return np.memmap(path, dtype, "r", series.dataoffset, tuple(series.shape))
    import zarr

    return zarr.open_array(series.aszarr(level=0), mode="r")


def _tag_bytes(page: Any, code: int) -> bytes:
    """A private tag as stored."""
    tag = page.tags[code]
    handle = page.parent.filehandle
    handle.seek(tag.valueoffset)
    return bytes(handle.read(tag.count))


def channel_names(description: str) -> tuple[str, ...]:
    """Names of the channels in OME-XML."""
    return tuple(re.findall(r'<Channel[^>]*\bName="([^"]*)"', description))


# ---------------------------------------------------------------------------------------------- checks
def _require_grey_palette(page: Any, path: Path) -> None:
    """A palette of greys in order is harmless; any other palette is a false-colour picture."""
    if int(page.photometric) != _PALETTE or page.colormap is None:
        return
    red, green, blue = (np.asarray(c, np.int64) for c in page.colormap)
    if not ((red == green).all() and (green == blue).all() and (np.diff(red) > 0).all()):
        raise UnreadableFile(
            f"{path.name} is a false-colour picture (it has a colour table), not grey levels. Export the original "
            "grey image from the microscope's program."
        )


def _require_whole_data(series: Any, path: Path, size: int) -> None:
    """Every strip and tile must lie inside the file: readers may fill missing ones with zeros."""
    end = 0
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    for page in _pages(series):
        if not len(page.dataoffsets):
            raise _truncated(path, size, None)
        counts = page.databytecounts
        end = max(end, *(o + c for o, c in zip(page.dataoffsets, counts, strict=False)))
        if len(page.dataoffsets) < _segments(page) or any(c == 0 for c in counts):
            raise _truncated(path, size, None)
    if end > size:
        raise _truncated(path, size, end)


def _pages(series: Any) -> Iterator[Any]:
    for page in series.pages:
        if page is not None:
            yield page


def _segments(page: Any) -> int:
    return int(np.prod(page.keyframe.chunked)) if page.keyframe is not None else 1


def _require_whole_chain(file: Any, path: Path, size: int) -> None:
    """Every image directory, every tag value and the chain between directories must lie inside the file."""
    tiff = file.tiff
    order: Literal["little", "big"] = "little" if file.byteorder == "<" else "big"
    at = int(file.pages.first.offset)
    for _ in range(len(file.pages)):
        file.filehandle.seek(at)
        count = int.from_bytes(file.filehandle.read(tiff.tagnosize), order)
        raw = file.filehandle.read(count * tiff.tagsize + tiff.offsetsize)
        if len(raw) < count * tiff.tagsize + tiff.offsetsize:
            raise _truncated(path, size, at + tiff.tagnosize + count * tiff.tagsize + tiff.offsetsize)
        ends = [_value_end(raw[k * tiff.tagsize : (k + 1) * tiff.tagsize], order) for k in range(count)]
        at = int.from_bytes(raw[-tiff.offsetsize :], order)
        if max([at, *ends]) > size:
            raise _truncated(path, size, max([at, *ends]))
        if at == 0:
            return


def _value_end(entry: bytes, order: Literal["little", "big"]) -> int:
    """Where the value of a directory entry ends in the file; 0 when it sits in the entry itself."""
    half = (len(entry) - 4) // 2  # 4 bytes each for count and offset, 8 in BigTIFF
    kind = int.from_bytes(entry[2:4], order)
    length = int.from_bytes(entry[4 : 4 + half], order) * _TYPE_BYTES.get(kind, 1)
    return 0 if length <= half else int.from_bytes(entry[-half:], order) + length


def _truncated(path: Path, size: int, needed: int | None) -> UnreadableFile:
    wanted = f" of {needed} expected" if needed else ""
    return UnreadableFile(
        f"{path.name} is truncated: part of its picture data is missing ({size} bytes{wanted}). Copy it again from "
        "the microscope."
    )
