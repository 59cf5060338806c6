"""read(): any file finescan knows, to an Image. The table of readers is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from finescan.errors import FinescanError, InputError, UnreadableFile
from finescan.io.facts import Contents, Facts
from finescan.io.ome_zarr import read_ome_zarr
from finescan.io.optional import read_czi, read_rosetta
from finescan.io.pixels import require_usable
from finescan.io.plain import read_npy, read_png
from finescan.io.selection import choose
from finescan.io.sizes import settled
from finescan.io.spm import read_nid, read_sxm
from finescan.io.tiff import read_gzipped_tiff, read_tiff
from finescan.values import Grid, Image

#: End of the file name (lower case) -> reader(path) giving all pictures of the file. Longest end first.
READERS: dict[str, Callable[[Path], Contents]] = {
    ".ome.zarr": read_ome_zarr,
    ".tif.gz": read_gzipped_tiff,
    ".tiff.gz": read_gzipped_tiff,
    ".zarr": read_ome_zarr,
    ".tiff": read_tiff,
    ".tif": read_tiff,
    ".btf": read_tiff,
    ".png": read_png,
    ".npy": read_npy,
    ".nid": read_nid,
    ".sxm": read_sxm,
    ".czi": read_czi,
    ".dm3": read_rosetta,
    ".dm4": read_rosetta,
    ".ser": read_rosetta,
    ".emi": read_rosetta,
    ".emd": read_rosetta,
    ".img": read_rosetta,
}

#: First bytes of a file -> the name its content would have; believed more than the file's own name.
SIGNATURES: dict[bytes, str] = {
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\x93NUMPY": ".npy",
    b"[DataSet]": ".nid",
    b":NANONIS_VERSION:": ".sxm",
    b"ZISRAWFILE": ".czi",
}


def read(
    path: str | Path,
    *,
    pixel_size_nm: float | Sequence[float] | None = None,
    channel: int | str | None = None,
    frame: int | None = None,
    databar: int | None = None,
) -> Image:
    """Read one picture with its pixel size and what the instrument said about it.

    Parameters
    ----------
    path : TIFF (vendors' dialects included), PNG, OME-Zarr, NumPy and more; see :data:`READERS`.
    pixel_size_nm : one number or (y, x), nm; overrides the file's.
    channel, frame : which one, counted from 0 (or the channel's name), where a file holds several that differ.
    databar : rows to cut off the bottom; None = what the header or a painted bar says, 0 = cut nothing.

    Returns
    -------
    Image with axes YX; grey levels and dtype as stored. Large files stay on disk (memory map or zarr array).

    Raises
    ------
    UnreadableFile : no such file, truncated, unknown kind, or an optional reader is missing.
    MissingPixelSize : the file has none (or a negative, zero or absurd one) and none was passed.
    InputError : nothing to learn from: several pictures and no choice, colour, constant, infinite values.
    """
    path = Path(path)
    reader = _reader_for(path)
    try:
        picture = choose(reader(path), path.name, channel=channel, frame=frame)
        data = picture.data
        facts = picture.facts
        rows = _databar_rows(facts, databar, data.shape, path.name)
        data = data[: data.shape[0] - rows] if rows else data
        require_usable(data, path.name)
    except (FinescanError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as e:
        raise UnreadableFile(
            f"{path.name} could not be read ({type(e).__name__}: {str(e).strip() or 'no details'}). It is truncated, "
            "damaged or of an unknown kind; copy it again or export it as TIFF."
        ) from e
    size, source, origin = settled(
        facts.pixel_size_nm,
        pixel_size_nm,
        path.name,
        origin=facts.origin_nm,
        doubt=facts.doubt,
        source=facts.acquisition.pixel_size_from,
    )
    cut = facts.acquisition.databar_rows + rows
    acquisition = replace(facts.acquisition, databar_rows=cut, pixel_size_from=source)
    grid = Grid("YX", tuple(int(n) for n in data.shape), size, origin)
    return Image(data, grid, path.name, acquisition, str(path))


def _reader_for(path: Path) -> Callable[[Path], Contents]:
    if not path.exists():
        raise UnreadableFile(f"There is no file {path}. Check the name and the folder.")
    name = path.name.lower()
    if path.is_file():
        with path.open("rb") as f:
            head = f.read(32)
        if not head:
            raise UnreadableFile(f"{path.name} is empty (0 bytes). Copy it again from the microscope.")
        name = next((end for start, end in SIGNATURES.items() if head.startswith(start)), name)
    elif not name.endswith(".zarr") and not (path / "zarr.json").exists() and not (path / ".zgroup").exists():
        raise UnreadableFile(f"{path} is a folder. Pass one file, or an OME-Zarr folder.{_volume_hint(path)}")
    else:
        name = ".ome.zarr"
    reader = next((r for end, r in READERS.items() if name.endswith(end)), None)
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise UnreadableFile(
            f"{path.name} is of no kind finescan reads ({known}). Export it as 8 or 16 bit TIFF.{_volume_hint(path)}"
        )
    return reader


def _volume_hint(path: Path) -> str:
    from finescan.io.volumes.reading import looks_like_volume

    return " A volume is read with read_volume (--volume on the command line)." if looks_like_volume(path) else ""


def _databar_rows(facts: Facts, databar: int | None, shape: tuple[int, ...], name: str) -> int:
    if databar is None:
        return facts.databar_rows
    if not 0 <= databar < shape[0]:
        raise InputError(
            f"{name} has {shape[0]} rows, so databar must be 0 to {shape[0] - 1} rows, but {databar} came. Pass 0 to "
            "keep everything."
        )
    return databar
