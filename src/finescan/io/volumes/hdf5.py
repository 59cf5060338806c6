"""HDF5 and NeXus volumes, read piece by piece; and writing them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError, UnreadableFile
from finescan.io.facts import unit_nm
from finescan.io.ome_zarr import VOLUME_CHUNK
from finescan.io.vendor_general import own_dict
from finescan.io.volumes.pieces import pieces
from finescan.io.volumes.stack import Asked, Lazy, Slices, Stack, VolumeFacts, own_facts, triple
from finescan.values import Acquisition, Image

_KEY = "finescan"
_DATASET = "volume"


def read_hdf5(path: Path, asked: Asked) -> Stack:
    """One dataset of three axes (axes of length one aside)."""
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers the decoders of compressed synchrotron files)
    file = h5py.File(path, "r", locking=False)
    try:
        return _volume(file, path.name, asked.dataset)
    except BaseException:
        file.close()
        raise


def _volume(file: Any, name: str, asked: str | None) -> Stack:
    data = _dataset(file, name, asked)
    keep = _kept(data.shape)
    if len(keep) != 3:
        raise InputError(f"{data.name} in {name} has shape {data.shape}, but a volume has three axes (z, y, x).")
    _require_decodable(data, name)
    shape = tuple(int(data.shape[a]) for a in keep)

    def fetch(where: Slices) -> NDArray[Any]:
        at = dict(zip(keep, where, strict=True))
        return np.asarray(data[tuple(at.get(a, 0) for a in range(data.ndim))])

    chunks = None if data.chunks is None else tuple(int(data.chunks[a]) for a in keep)
    return Stack(Lazy(shape, data.dtype, fetch, chunks), _facts(file, data, shape))


def _kept(shape: tuple[int, ...]) -> list[int]:
    """The axes of a volume: all when there are three, else those longer than one."""
    return list(range(3)) if len(shape) == 3 else [a for a, n in enumerate(shape) if n > 1]


def _dataset(file: Any, name: str, asked: str | None) -> Any:
    import h5py

    found: dict[str, str] = {}

    def look(where: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "uif" and len(_kept(item.shape)) == 3:
            found["/" + where] = f"{' x '.join(str(n) for n in item.shape)} {item.dtype}"

    if asked is not None and asked in file and isinstance(file[asked], h5py.Dataset):
        return file[asked]
    file.visititems(look)
    listed = "; ".join(f"{k} ({v})" for k, v in found.items()) or "none"
    if asked is not None:
        raise InputError(f"{name} has no dataset {asked!r}. Its volumes are: {listed}.")
    if not found:
        raise InputError(f"{name} holds no numeric dataset of three axes. Pass the file with the reconstructed volume.")
    if len(found) > 1:
        raise InputError(
            f"{name} holds {len(found)} volumes and none was chosen. Pass dataset=… (--dataset) with one of: {listed}."
        )
    return file[next(iter(found))]


def _require_decodable(data: Any, name: str) -> None:
    try:
        data[(0,) * data.ndim]
    except OSError as e:
        if "filter" not in str(e) and "plugin" not in str(e):
            raise
        raise UnreadableFile(
            f"{data.name} in {name} is compressed in a way that needs a further decoder. Install it with: "
            'pip install "finescan[hdf5]"'
        ) from e


# ---------------------------------------------------------------------------------------------- facts
def _facts(file: Any, data: Any, shape: tuple[int, ...]) -> VolumeFacts:
    """Voxel size from our attribute, ``voxel_size_nm``, ``element_size_um`` (Fiji, ilastik) or NXdata axes."""
    own = data.attrs.get(_KEY)
    if own is not None:
        return own_facts(json.loads(str(own)), "", shape)
    acquisition = Acquisition(extra={"dataset": str(data.name)})
    for holder in (data, data.parent, file):
        for key, factor in (("voxel_size_nm", 1.0), ("element_size_um", 1e3)):
            size = triple(np.ravel(holder.attrs[key]).tolist()) if key in holder.attrs else None
            if size is not None:
                z, y, x = (v * factor for v in size)
                return VolumeFacts(acquisition, (z, y, x))
    return _nexus(data, acquisition, shape)


def _nexus(data: Any, acquisition: Acquisition, shape: tuple[int, ...]) -> VolumeFacts:
    """Evenly spaced axes with a unit of length in the NXdata group of the dataset."""
    group = data.parent
    names = [_text(v) for v in np.ravel(group.attrs.get("axes", []))]
    if len(names) != 3 or not all(n in group for n in names):
        return VolumeFacts(acquisition)
    size, origin = [], []
    for name, n in zip(names, shape, strict=True):
        positions = np.asarray(group[name], np.float64)
        unit = unit_nm(_text(group[name].attrs.get("units", "")))
        if positions.shape != (n,) or unit is None or n < 2:
            return VolumeFacts(acquisition, doubt=f"Its axis {name!r} has no unit of length.")
        steps = np.diff(positions)
        if not np.allclose(steps, steps[0], rtol=1e-3):
            return VolumeFacts(acquisition, doubt=f"Its axis {name!r} is not evenly spaced.")
        size.append(float((positions[-1] - positions[0]) / (n - 1) * unit))
        origin.append(float(positions[0] * unit))
    return VolumeFacts(acquisition, (size[0], size[1], size[2]), (origin[0], origin[1], origin[2]))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# ---------------------------------------------------------------------------------------------- writing
def write_hdf5(path: Path, image: Image) -> None:
    """Dataset ``volume`` in chunks of 64³ (gzip 1, shuffled), voxel size as Fiji and ilastik expect it, our facts."""
    import h5py

    chunks = tuple(min(VOLUME_CHUNK, n) for n in image.grid.shape)
    with h5py.File(path, "w", locking=False) as file:
        data = file.create_dataset(
            _DATASET, image.grid.shape, image.dtype.newbyteorder("="), chunks=chunks, compression=1, shuffle=True
        )
        data.attrs["voxel_size_nm"] = image.grid.pixel_size_nm
        data.attrs["element_size_um"] = tuple(p / 1e3 for p in image.grid.pixel_size_nm)
        data.attrs["axes"] = image.grid.axes
        data.attrs[_KEY] = json.dumps(own_dict(image.grid, image.acquisition))
        for box, block in pieces(image.data, chunks):
            data[box] = block
