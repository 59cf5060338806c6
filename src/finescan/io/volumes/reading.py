"""read_volume(): any file that holds a volume, to an Image with axes ZYX. The table of volume readers is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from finescan.errors import FinescanError, InputError, UnreadableFile
from finescan.io.reading import SIGNATURES
from finescan.io.sizes import settled
from finescan.io.volumes.hdf5 import read_hdf5
from finescan.io.volumes.pieces import some_slices
from finescan.io.volumes.raw import RawLayout, read_headed, read_npy_volume, read_raw, sidecars
from finescan.io.volumes.slices import read_slices, slice_files
from finescan.io.volumes.stack import Asked, Stack
from finescan.io.volumes.tiff import read_tiff_volume
from finescan.io.volumes.xrm import read_xrm
from finescan.io.volumes.zarr import read_zarr_volume
from finescan.values import Grid, Image

#: A file of pictures with fewer slices is not taken for a volume unless asked.
LEAST_SLICES = 5
_SAMPLED, _WINDOW = 33, 256


@dataclass(frozen=True)
class VolumeKind:
    """One kind of file.

    Parameters
    ----------
    read : reader(path, asked).
    ends : ends of the file name, lower case.
    takes : names of the arguments it uses.
    """

    read: Callable[[Path, Asked], Stack]
    ends: tuple[str, ...]
    takes: tuple[str, ...] = ()


#: Kind of file -> how it is read and recognised.
VOLUME_READERS: dict[str, VolumeKind] = {
    "TIFF": VolumeKind(read_tiff_volume, (".tif", ".tiff", ".btf"), ("channel",)),
    "NumPy": VolumeKind(read_npy_volume, (".npy",)),
    "OME-Zarr": VolumeKind(read_zarr_volume, (".zarr",), ("channel",)),
    "raw": VolumeKind(read_raw, (".raw", ".vol", ".bin", ".dat"), ("layout",)),
    "header": VolumeKind(read_headed, (".mhd", ".mha", ".vgi"), ("layout",)),
    "HDF5": VolumeKind(read_hdf5, (".h5", ".hdf5", ".hdf", ".nxs", ".nx"), ("dataset",)),
    "X-ray microscope": VolumeKind(read_xrm, (".txm", ".txrm")),
    "folder of slices": VolumeKind(read_slices, ()),
}


def read_volume(
    path: str | Path,
    *,
    voxel_size_nm: float | Sequence[float] | None = None,
    layout: RawLayout | None = None,
    dataset: str | None = None,
    channel: int | str | None = None,
    constant_ok: bool = False,
) -> Image:
    """Read one volume with its voxel size and what the instrument said about it.

    Parameters
    ----------
    path : TIFF stack, folder of numbered slices, raw voxels or their header, NumPy, OME-Zarr, HDF5 or NeXus, Zeiss
        .txm; see :data:`VOLUME_READERS`.
    voxel_size_nm : one number or (z, y, x), nm; overrides the file's.
    layout : of raw voxels; overrides a sidecar.
    dataset : path inside an HDF5 file that holds several volumes.
    channel : which one, counted from 0 (or its name), where a file holds several.
    constant_ok : do not look whether there is anything to see; for masks and flags, which may be 0 everywhere.

    Returns
    -------
    Image with axes ZYX; grey levels and dtype as stored. Its data stay on disk where the format allows: index them
    (``image.data[10:20, :, 5]``) and no more than that is read. NaN is allowed and marks what has no data, as outside
    the circle of a tomogram.

    Raises
    ------
    UnreadableFile : no such file, truncated, unknown kind, or an optional reader is missing.
    MissingPixelSize : the file has none (or an absurd one) and none was passed.
    InputError : wrong layout, missing slice, several volumes and no choice, constant, no data.
    """
    path = Path(path)
    kind = VOLUME_READERS[_kind_of(path, layout)]
    asked = Asked(layout, dataset, channel)
    _require_taken(path, kind, asked)
    try:
        stack = kind.read(path, asked)
        require_usable_volume(stack.data, path.name, constant_ok=constant_ok)
    except (FinescanError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as e:
        raise UnreadableFile(
            f"{path.name} could not be read ({type(e).__name__}: {str(e).strip() or 'no details'}). It is truncated, "
            "damaged or of an unknown kind; copy it again or export it as TIFF stack."
        ) from e
    facts = stack.facts
    size, source, origin = settled(
        facts.voxel_size_nm,
        voxel_size_nm,
        path.name,
        origin=facts.origin_nm,
        doubt=facts.doubt,
        source=facts.acquisition.pixel_size_from,
        ndim=3,
    )
    grid = Grid("ZYX", tuple(int(n) for n in stack.data.shape), size, origin)
    return Image(stack.data, grid, path.name, replace(facts.acquisition, pixel_size_from=source), str(path))


def looks_like_volume(path: str | Path) -> bool:
    """Whether a file or folder holds a volume rather than a picture, judged from its name and header alone.

    Pictures in one file count as slices from five on, if nothing says that they are frames of a movie or channels.
    False for what does not exist or cannot be read.
    """
    path = Path(path)
    try:
        kind = _kind_of(path, None)
        if kind in ("TIFF", "NumPy", "OME-Zarr"):
            return _many_slices(path, kind)
    except (FinescanError, OSError, ValueError, KeyError):
        return False
    return True


def _many_slices(path: Path, kind: str) -> bool:
    if kind == "TIFF":
        import tifffile

        with tifffile.TiffFile(path) as file:
            one = file.series[0]
            counted = [n for a, n in zip(one.axes, one.shape, strict=True) if a not in "TCYXS" and n > 1]
            return len(counted) == 1 and counted[0] >= LEAST_SLICES
    if kind == "NumPy":
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        return len(shape) == 3 and min(shape) >= LEAST_SLICES
    from finescan.io.ome_zarr import read_scaled

    found = read_scaled(path)
    return "Z" in found.letters and int(found.array.shape[found.letters.index("Z")]) >= LEAST_SLICES


def _kind_of(path: Path, layout: RawLayout | None) -> str:
    """Row of :data:`VOLUME_READERS`; the content of a file is believed more than its name, a layout more than both."""
    if not path.exists():
        raise UnreadableFile(f"There is no file {path}. Check the name and the folder.")
    name = path.name.lower()
    if path.is_dir():
        if name.endswith(".zarr") or any((path / n).exists() for n in ("zarr.json", ".zgroup")):
            return "OME-Zarr"
        if slice_files(path):
            return "folder of slices"
        raise UnreadableFile(f"The folder {path} holds no slices (.tif, .png) and is no OME-Zarr. Pass another one.")
    ends = next((kind for kind, row in VOLUME_READERS.items() if name.endswith(row.ends)), None) if name else None
    if ends == "raw" and (layout is not None or sidecars(path)):
        return ends
    with path.open("rb") as f:
        head = f.read(32)
    if not head:
        raise UnreadableFile(f"{path.name} is empty (0 bytes). Copy it again from the microscope.")
    told = next((end for start, end in SIGNATURES.items() if head.startswith(start)), "")
    kind = next((kind for kind, row in VOLUME_READERS.items() if told in row.ends), ends)
    if kind is None:
        known = ", ".join(e for row in VOLUME_READERS.values() for e in row.ends)
        raise UnreadableFile(
            f"{path.name} is of no kind that holds volumes ({known}, or a folder of slices). Export it as TIFF stack."
        )
    return kind


def _require_taken(path: Path, kind: VolumeKind, asked: Asked) -> None:
    """An argument that this kind of file cannot use is a mistake."""
    for name, value in vars(asked).items():
        if value is not None and name not in kind.takes:
            users = ", ".join(e for row in VOLUME_READERS.values() if name in row.takes for e in row.ends)
            raise InputError(f"{name}= is for {users} files, but {path.name} came. Leave it out.")


# ---------------------------------------------------------------------------------------------- usable
def require_usable_volume(data: Any, name: str, *, constant_ok: bool = False) -> None:
    """Refuse what cannot be a tomogram: one slice, no numbers, infinite values, constant, no data.

    A few slices are looked at, first the middle of three; only while nothing is found, more and whole ones.
    """
    if len(data.shape) != 3 or min(data.shape) < 2:
        raise InputError(
            f"{name} has shape {tuple(data.shape)}, but a volume has at least 2 slices, rows and columns. A single "
            "picture is read with read()."
        )
    if np.dtype(data.dtype).kind not in "uif":
        raise InputError(f"{name} holds {data.dtype} values; grey levels (integers or floating point) are needed.")
    if constant_ok:
        return
    windows = [slice((n - k) // 2, (n + k) // 2) for n, k in ((n, min(n, _WINDOW)) for n in data.shape[1:])]
    seen: set[float] = set()
    for z in some_slices(data.shape[0], 3):
        seen |= _levels(np.asarray(data[z, windows[0], windows[1]]), name, z)
    for z in some_slices(data.shape[0], _SAMPLED):
        if len(seen) > 1:
            return
        seen |= _levels(np.asarray(data[z]), name, z)
    if not seen:
        raise InputError(f"{name} holds no data: every voxel looked at is NaN. Choose another file.")
    if len(seen) == 1:
        raise InputError(
            f"{name} is constant (every voxel looked at is {seen.pop():g}): there is nothing to see. Check the file."
        )


def _levels(plane: Any, name: str, z: int) -> set[float]:
    """Lowest and highest level of a slice, NaN aside; nothing when it is all NaN."""
    values = plane[~np.isnan(plane)] if plane.dtype.kind == "f" else plane
    if values.size == 0:
        return set()
    found = {float(values.min()), float(values.max())}
    if not all(np.isfinite(v) for v in found):
        raise InputError(
            f"Slice {z} of {name} holds infinite values. Set places without data to NaN and save it again."
        )
    return found
