"""What readers hand over: pictures with what the file says about them; and the units files write lengths in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finescan.values import Acquisition

#: Length units as instruments spell them (lower case, µ as u), in nm.
UNITS_NM = {
    "pm": 1e-3,
    "picometer": 1e-3,
    "a": 0.1,
    "å": 0.1,
    "ang": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}


@dataclass(frozen=True)
class Facts:
    """What a file says about one picture.

    Parameters
    ----------
    acquisition : instrument facts; its ``databar_rows`` were cut before the file was written.
    pixel_size_nm : y, x in nm as the file states them (not yet checked), or None.
    origin_nm : centre of the first pixel, nm, or None.
    doubt : why a pixel size in the file is not used, one sentence, or "".
    databar_rows : rows at the bottom of the stored picture that hold a data bar.
    """

    acquisition: Acquisition = field(default_factory=Acquisition)
    pixel_size_nm: tuple[float, float] | None = None
    origin_nm: tuple[float, float] | None = None
    doubt: str = ""
    databar_rows: int = 0


@dataclass(frozen=True)
class Picture:
    """One array of a file, not loaded yet.

    Parameters
    ----------
    load : gives the array (numpy, memory map or zarr) of ``shape``.
    shape, axes : one letter per axis; the last two are YX, or YXS when colour samples come last.
    label : what the file calls it.
    facts : what the file says.
    channels : names along a C axis, if any.
    """

    load: Callable[[], Any]
    shape: tuple[int, ...]
    axes: str
    label: str = ""
    facts: Facts = field(default_factory=Facts)
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """All pictures of a file, and the argument (``"channel"`` or ``"frame"``) that chooses between them."""

    pictures: tuple[Picture, ...]
    by: str = "frame"


def unit_nm(unit: str) -> float | None:
    """Length of a unit in nm; None when it is no length (1/nm, pixel, inch, unknown)."""
    text = unit.strip().strip("[]\0").replace("_", "")
    if "\\u" in text:
        text = codecs.decode(text.encode("latin-1", "ignore"), "unicode_escape")
    # micro sign, Greek mu, either of them as UTF-8 read as Latin-1, Latin-1 read as Shift-JIS
    text = re.sub("Âµ|Î¼|ƒÊ|µ|μ", "u", text)
    return UNITS_NM.get(text.lower())


def is_reciprocal(unit: str) -> bool:
    """True for diffraction units such as 1/nm."""
    return bool(re.search(r"1\s*/\s*\w+|\w+\s*(\^-1|⁻¹|-1)$|mrad", unit.strip()))


def length_nm(text: str) -> float | None:
    """``"2.615 µm"`` in nm; None when it is no length."""
    match = re.match(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S+)", text)
    size = unit_nm(match[2]) if match else None
    return None if match is None or size is None else float(match[1]) * size


def number(text: Any) -> float | None:
    """A finite number at the start of a text, or None."""
    match = re.match(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", str(text))
    value = float(match[1]) if match else float("nan")
    return value if np.isfinite(value) else None


def scaled(value: Any, factor: float) -> float | None:
    """``number(value) * factor``, or None."""
    found = number(value)
    return None if found is None else found * factor


def present(**facts: Any) -> dict[str, Any]:
    """Only the facts that are there."""
    return {k: v for k, v in facts.items() if v is not None and v != ""}
