"""Volumes in one TIFF file: plain pages, BigTIFF, ImageJ and OME stacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from finescan.errors import InputError
from finescan.io.facts import Facts, number, unit_nm
from finescan.io.tiff import LAZY_ABOVE, channel_names, facts_of_page, open_series
from finescan.io.vendor_general import ome_pixels, own_json
from finescan.io.volumes.stack import Asked, Stack, VolumeFacts, as_zyx, own_facts, without_z


def read_tiff_volume(path: Path, asked: Asked) -> Stack:
    """All pages as one volume; on disk when stored without compression or larger than 256 MB."""
    series = open_series(path)
    if len(series) > 1:
        listed = "; ".join(" x ".join(str(n) for n in s.shape) + f" {s.dtype}" for s in series[:4])
        raise InputError(
            f"{path.name} holds pages of different size or kind ({listed}), not one volume. Export the slices of one "
            "volume into a file of their own."
        )
    (one,) = series
    text, plane = _description(one), facts_of_page(one.keyframe, path)
    axes = "".join(a if a in "TCZYXS" else "T" for a in one.axes)
    data, channel = _load(one, path), asked.channel
    if "S" in axes and channel is None:
        channel = _only_grey(data, axes, path.name)
    data = as_zyx(data, axes, path.name, channel, channel_names(text))
    return Stack(data, _facts(text, plane, data.shape))


def _description(series: Any) -> str:
    """ImageDescription of the first page, or of the file where the format keeps it apart."""
    parent = series.parent
    return str(parent.ome_metadata or parent.pages.first.description or "")


def _load(series: Any, path: Path) -> Any:
    if series.dataoffset is not None:
        dtype = series.dtype.newbyteorder(series.parent.byteorder)
        shape = tuple(series.shape)
        series.parent.close()
        return np.memmap(path, dtype, "r", series.dataoffset, shape)
    if series.nbytes < LAZY_ABOVE:
        data = series.asarray()
        series.parent.close()
        return data
    import zarr

    return zarr.open_array(series.aszarr(level=0), mode="r")


def _only_grey(data: Any, axes: str, name: str) -> int:
    """The first colour sample, where the samples of the middle slice are equal."""
    at = axes.index("S")
    middle = np.asarray(
        data[tuple(n // 2 if a not in "YXS" else slice(None) for a, n in zip(axes, data.shape, strict=True))]
    )
    samples = np.moveaxis(middle, [a for a in axes if a in "YXS"].index("S"), 0)
    if all(np.array_equal(samples[0], s) for s in samples[1 : 1 + 2 * (data.shape[at] > 2)]):
        return 0
    raise InputError(
        f"The slices of {name} are colour pictures. Grey levels are needed: export the original, or pass channel=0, 1 "
        "or 2 (--channel) to take one colour."
    )


# ---------------------------------------------------------------------------------------------- facts
def _facts(text: str, plane: Facts, shape: tuple[int, ...]) -> VolumeFacts:
    told = ome_pixels(text) if "<OME" in text[:2000] else None
    own = own_json(told[1] if told else text)
    if own is not None:
        return own_facts(own, text, shape)
    if told is not None:
        depth = _ome_depth(told[0])
        why = "PhysicalSizeZ, the distance between slices, is missing"
    elif text.startswith("ImageJ="):
        depth = _imagej_depth(text, plane)
        why = 'its header has no "spacing", the distance between slices (ImageJ takes that as 1)'
    else:
        depth, why = None, "the file does not say how far apart its slices are"
    if depth is None or plane.pixel_size_nm is None:
        return without_z(plane, why)
    return VolumeFacts(plane.acquisition, (depth, *plane.pixel_size_nm))


def _ome_depth(pixels: Any) -> float | None:
    size, unit = number(pixels.get("PhysicalSizeZ")), unit_nm(str(pixels.get("PhysicalSizeZUnit", "µm")))
    return None if size is None or unit is None else size * unit


def _imagej_depth(text: str, plane: Facts) -> float | None:
    """``spacing`` in units of ``zunit`` or ``unit``.

    ImageJ leaves a spacing of exactly 1 out. That is believed only where pixels are 1 x 1 units as well: other
    programs leave out what they do not know.
    """
    said = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    unit = unit_nm(str(said.get("zunit", said.get("unit", ""))))
    spacing = number(said.get("spacing", ""))
    if unit is None:
        return None
    if spacing is None:
        cubic = plane.pixel_size_nm is not None and np.allclose(plane.pixel_size_nm, unit, rtol=1e-6)
        return unit if cubic else None
    return abs(spacing) * unit
