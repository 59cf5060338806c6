"""write(): an Image to a file, atomically. The table of writers is here."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from finescan.errors import InputError, OutputError
from finescan.io.ome_zarr import SHARD, create_ome_zarr, finish_ome_zarr, open_ome_zarr
from finescan.io.pixels import write_bands
from finescan.io.plain import png_with_text
from finescan.io.tiff_out import write_tiff
from finescan.io.vendor_general import own_dict, own_text
from finescan.io.volumes.writing import VOLUME_WRITERS
from finescan.values import Image

__all__ = ["WRITERS", "create_ome_zarr", "finish_ome_zarr", "open_ome_zarr", "write"]


def write(path: str | Path, image: Image, *, overwrite: bool = False) -> Path:
    """Write an image with its pixel size, unit and what is known about it.

    The file appears under its name only when it is complete. Data on disk (memory map, zarr) are streamed band by
    band; grey levels and dtype are never changed.

    Parameters
    ----------
    path : ``.tif`` (Fiji reads pixel size and unit; tiled BigTIFF when large), ``.npy`` (plus ``.json``),
        ``.png`` (8 and 16 bit only) or ``.ome.zarr``. For volumes ``.tif`` (one stack), ``.npy``, ``.raw`` (plus
        ``.raw.json``), ``.h5``, ``.ome.zarr``, or a name without an ending: a folder of TIFF slices.
    overwrite : replace what is there.

    Raises
    ------
    InputError : the format cannot hold this image. OutputError : exists already, cannot be written, disk full.
    """
    folder = str(path).endswith(("/", "\\"))
    path = Path(path)
    writer = _writer_for(path, image, folder)
    _require_free(path, overwrite)
    need = image.grid.size * image.dtype.itemsize
    with _errors_named(path, need), _replacing(path) as temporary:
        writer(temporary, image)
    return path


def _writer_for(path: Path, image: Image, folder: bool) -> Callable[[Path, Image], None]:
    """The row of the table for pictures or for volumes; a volume goes to a folder of slices when no ending is given."""
    writers = WRITERS if image.grid.ndim == 2 else VOLUME_WRITERS
    ending = next((end for end in writers if path.name.lower().endswith(end)), "")
    if "/" in writers and (folder or not path.suffix):
        ending = "/"
    if not ending:
        kind = "picture" if image.grid.ndim == 2 else "volume"
        known = ", ".join(e for e in writers if e != "/")
        more = ", or be a folder name without an ending (a folder of TIFF slices)" if "/" in writers else ""
        raise OutputError(f"{path.name} must end in one of {known} to hold a {kind}{more}.")
    return writers[ending]


# ---------------------------------------------------------------------------------------------- formats
def _write_npy(path: Path, image: Image) -> None:
    dtype = image.dtype.newbyteorder("<")
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": image.grid.shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_2_0(stream, head)
        write_bands(stream, image.data, dtype)
    facts = {"pixel_size_nm": list(image.grid.pixel_size_nm), **own_dict(image.grid, image.acquisition)}
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1), "utf-8")


def _write_png(path: Path, image: Image) -> None:
    import imagecodecs

    if image.dtype.newbyteorder("=") not in (np.dtype(np.uint8), np.dtype(np.uint16)) or image.grid.ndim != 2:
        raise InputError(
            f"A PNG holds 8 or 16 bit grey levels in 2D, but {image.name} is {image.dtype} {image.grid.axes}. Write a "
            ".tif, or convert the grey levels yourself first."
        )
    data = np.ascontiguousarray(image.array().astype(image.dtype.newbyteorder("=")))
    path.write_bytes(png_with_text(imagecodecs.png_encode(data), own_text(image.grid, image.acquisition)))


def _write_ome_zarr(path: Path, image: Image) -> None:
    level = create_ome_zarr(path, image.grid, image.dtype, shard=SHARD)
    unit = level.shards
    for top in range(0, image.grid.shape[0], unit[0]):
        for left in range(0, image.grid.shape[1], unit[1]):
            box = (slice(top, top + unit[0]), slice(left, left + unit[1]))
            level[box] = np.asarray(image.data[box])
    finish_ome_zarr(path, name=image.name, acquisition=image.acquisition)


#: End of the file name -> writer(temporary path, image).
WRITERS: dict[str, Callable[[Path, Image], None]] = {
    ".ome.zarr": _write_ome_zarr,
    ".tiff": write_tiff,
    ".tif": write_tiff,
    ".npy": _write_npy,
    ".png": _write_png,
}


# ---------------------------------------------------------------------------------------------- atomicity
def _companions(path: Path) -> list[Path]:
    """The file and what is written beside it."""
    if path.suffix == ".raw":
        return [path, path.with_name(f"{path.name}.json")]
    return [path, path.with_suffix(".json")] if path.suffix == ".npy" else [path]


def _require_free(path: Path, overwrite: bool) -> None:
    there = [p for p in _companions(path) if p.exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists already. Choose another name, or pass overwrite=True (--overwrite).")
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent} to write {path.name} into. Make it first.")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well, and is removed otherwise."""
    ending = ".ome.zarr" if path.name.lower().endswith(".ome.zarr") else path.suffix
    temporary = path.with_name(f".{path.name.removesuffix(ending)}.{uuid.uuid4().hex[:8]}{ending}")
    try:
        yield temporary
        # companions first: the file itself appears last
        for made, final in reversed(list(zip(_companions(temporary), _companions(path), strict=True))):
            _take_place(made, final)
    finally:
        for leftover in _companions(temporary):
            _remove(leftover)


def _take_place(made: Path, final: Path) -> None:
    if not (final.is_dir() and made.is_dir()):
        made.replace(final)
        return
    aside = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
    final.replace(aside)
    made.replace(final)
    shutil.rmtree(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _errors_named(path: Path, need: int) -> Iterator[None]:
    """System errors as sentences."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC):
            free = shutil.disk_usage(path.parent).free
            raise OutputError(
                f"The disk is full: {path.name} needs about {need} bytes and {free} are free in {path.parent}. Free "
                "some space, or write elsewhere."
            ) from e
        reason = os.strerror(e.errno) if e.errno else str(e)
        raise OutputError(f"{path} cannot be written ({reason}). Check the folder and its permissions.") from e
