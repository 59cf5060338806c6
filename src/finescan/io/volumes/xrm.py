"""Zeiss X-ray microscopes: reconstructed volumes in .txm and .txrm (OLE2 compound files), through olefile.

The vendor does not publish the format; the table of names below is what public readers agree on. Slices are kept in
the order and orientation in which they are stored.
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError, UnreadableFile
from finescan.io.optional import needed
from finescan.io.volumes.stack import Asked, Stack, VolumeFacts, by_slice
from finescan.values import Acquisition, StagePose

#: Fact -> (names of the stream, first one found counts; struct format of its first value).
STREAMS: dict[str, tuple[tuple[str, ...], str]] = {
    "width": (("ImageInfo/ImageWidth",), "<i"),
    "height": (("ImageInfo/ImageHeight",), "<i"),
    "count": (("ImageInfo/NoOfImages", "ImageInfo/ImagesTaken", "AcquisitionSettings/TotalImages"), "<i"),
    "type": (("ImageInfo/DataType",), "<i"),
    "pixel_um": (("ImageInfo/PixelSize", "ImageInfo/pixelsize"), "<f"),
    "x_um": (("ImageInfo/XPosition",), "<f"),
    "y_um": (("ImageInfo/YPosition",), "<f"),
    "z_um": (("ImageInfo/ZPosition",), "<f"),
    "voltage_kv": (("ImageInfo/Voltage", "ImageInfo/XrayVoltage", "AcquisitionSettings/SrcVoltage"), "<f"),
    "exposure_s": (("ImageInfo/ExpTimes", "ImageInfo/ExpTime"), "<f"),
    "magnification": (("ImageInfo/OpticalMagnification", "ImageInfo/XrayMagnification"), "<f"),
    "camera_pixel_um": (("ImageInfo/CamPixelSize",), "<f"),
    "source_distance": (("ImageInfo/StoRADistance",), "<f"),
    "detector_distance": (("ImageInfo/DtoRADistance",), "<f"),
    "centre_shift": (("ReconSettings/CenterShift",), "<f"),
}
#: Type code -> dtype.
_TYPES = {2: "<i1", 3: "<u1", 4: "<i2", 5: "<u2", 6: "<i4", 7: "<u4", 10: "<f4", 11: "<f8"}
_EXTRA = (
    "voltage_kv",
    "exposure_s",
    "magnification",
    "camera_pixel_um",
    "source_distance",
    "detector_distance",
    "centre_shift",
)


def read_xrm(path: Path, asked: Asked) -> Stack:
    """The slices of a reconstruction, read one by one. Projections (.txrm before reconstruction) are refused."""
    del asked
    olefile = needed("olefile", path, "xrm")
    if not olefile.isOleFile(str(path)):
        raise UnreadableFile(
            f"{path.name} is no OLE2 compound file: it is truncated or of another kind. Copy it again."
        )
    ole = olefile.OleFileIO(str(path))
    said = {fact: _first(ole, names, form) for fact, (names, form) in STREAMS.items()}
    shape = _shape(said, path.name)
    dtype = _dtype(ole, said, path.name)
    if path.suffix.lower() == ".txrm":
        _require_reconstruction(ole, shape[0], path.name)
    plane = shape[1] * shape[2] * dtype.itemsize
    for z in (0, shape[0] - 1):
        _require_slice(ole, z, plane, path.name)
    lock = threading.Lock()

    def read(z: int, rows: slice, columns: slice) -> NDArray[Any]:
        with lock:  # one file position for all
            raw = ole.openstream(_stream(z)).read(plane)
        if len(raw) < plane:
            raise UnreadableFile(f"Slice {z + 1} of {path.name} is truncated. Copy the file again.")
        return np.frombuffer(raw, dtype).reshape(shape[1:])[rows, columns]

    return Stack(by_slice(shape, dtype, read, (1, shape[1], shape[2])), _facts(said))


def _stream(z: int) -> str:
    return f"ImageData{z // 100 + 1}/Image{z + 1}"


def _first(ole: Any, names: tuple[str, ...], form: str) -> float | None:
    """First value of the first stream that is there and long enough (names are not case-sensitive)."""
    for name in names:
        if ole.exists(name):
            raw = ole.openstream(name).read(struct.calcsize(form))
            if len(raw) == struct.calcsize(form):
                value = struct.unpack(form, raw)[0]
                return float(str(np.float32(value))) if form == "<f" else value  # 0.65, not 0.6499999762
    return None


def _shape(said: dict[str, Any], name: str) -> tuple[int, int, int]:
    missing = [f for f in ("count", "height", "width") if not said[f] or said[f] < 1]
    if missing:
        entries = ", ".join(STREAMS[f][0][0] for f in missing)
        raise UnreadableFile(f"{name} has no {entries}: it is no volume of an X-ray microscope, or damaged.")
    return int(said["count"]), int(said["height"]), int(said["width"])


def _dtype(ole: Any, said: dict[str, Any], name: str) -> np.dtype[Any]:
    """From the type code; where that is unknown, an error that gives the bytes of a slice."""
    if said["type"] in _TYPES:
        return np.dtype(_TYPES[said["type"]])
    size = ole.get_size(_stream(0)) if ole.exists(_stream(0)) else 0
    known = ", ".join(f"{code} ({np.dtype(form).name})" for code, form in _TYPES.items())
    raise UnreadableFile(
        f"{name} holds voxels of type {said['type']} ({size} bytes per slice), but {known} are known. Export it as "
        "TIFF stack from the microscope's program."
    )


def _require_slice(ole: Any, z: int, plane: int, name: str) -> None:
    size = ole.get_size(_stream(z)) if ole.exists(_stream(z)) else 0
    if size < plane:
        raise UnreadableFile(
            f"Slice {z + 1} of {name} has {size} of {plane} bytes: the file is truncated or its reconstruction was not "
            "finished. Copy it again."
        )


def _require_reconstruction(ole: Any, count: int, name: str) -> None:
    """Refuse a file with one angle per image that turns from image to image: those are projections."""
    if not ole.exists("ImageInfo/Angles"):
        return
    raw = ole.openstream("ImageInfo/Angles").read()
    angles = np.frombuffer(raw[: len(raw) // 4 * 4], "<f4")[:count]
    if angles.size == count and count > 1 and np.ptp(angles) > 1.0:
        raise InputError(
            f"{name} holds {count} projections ({angles.min():.0f} to {angles.max():.0f} degrees), not a volume. "
            "Reconstruct it with the microscope's program and pass the .txm file."
        )


def _facts(said: dict[str, Any]) -> VolumeFacts:
    at = {f"{a}_nm": None if said[f"{a}_um"] is None else said[f"{a}_um"] * 1e3 for a in "xyz"}
    stage = None if all(v is None for v in at.values()) else StagePose(**at)
    header = "\n".join(f"{STREAMS[fact][0][0]} = {value!r}" for fact, value in said.items() if value is not None)
    extra = {fact: float(said[fact]) for fact in _EXTRA if said[fact] is not None}
    acquisition = Acquisition(vendor="Zeiss", stage=stage, header=header, extra=extra)
    size = said["pixel_um"]
    if not size or size <= 0:
        return VolumeFacts(acquisition)
    return VolumeFacts(acquisition, (size * 1e3,) * 3)
