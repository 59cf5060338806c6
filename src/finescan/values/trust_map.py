"""TrustMap: named reasons to doubt a pixel, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.values.grid import Grid

#: bit, name, meaning. One row per reason; the bit is what is stored in the file.
FLAGS: dict[str, tuple[int, str]] = {
    "no_data": (1, "The coarse map holds no usable grey level here (NaN, masked)."),
    "saturated": (2, "The coarse map is saturated here: the true grey level is not recorded."),
    "untrained": (4, "Grey levels here lie outside what the network was trained on; interpolation was used instead."),
    "inconsistent": (8, "Degraded again, the enhanced image does not give the recorded coarse image here."),
    "clipped": (16, "The enhanced grey level did not fit the output's number format and was set to its limit."),
    "border": (32, "Close to the edge of the coarse map: part of the context is mirrored, not recorded."),
    "invention": (64, "The enhanced image probably shows structure here that a fine scan would not show."),
    "omission": (128, "The enhanced image probably lacks structure here that a fine scan would show."),
}

#: what to do about a flag, one row per row of :data:`FLAGS`
ADVICE: dict[str, str] = {
    "no_data": "Leave these pixels out of every measurement, or record them.",
    "saturated": "Record again with less contrast or brightness; measure no grey levels, edges or areas here.",
    "untrained": "Trust it no further than the coarse scan; a fine scan of such a place would teach the network.",
    "inconsistent": "Do not use the enhanced image here; look at the coarse scan, and scan again where it matters.",
    "clipped": "Write with a wider number format (--dtype float32) before grey levels are measured.",
    "border": "Leave these pixels out, or record the coarse map a little larger.",
    "invention": "Do not count or measure small objects here before a fine scan has confirmed them; rescan here first.",
    "omission": "Objects may be missing or too small here: take counts as a lower limit, and rescan here.",
}


def flag_bits(*names: str) -> int:
    """Bits of the named flags, or'ed.

    >>> flag_bits("saturated", "inconsistent")
    10
    """
    bits = 0
    for name in names:
        if name not in FLAGS:
            raise InputError(f"A flag is one of {', '.join(FLAGS)}, but {name!r} came.")
        bits |= FLAGS[name][0]
    return bits


@dataclass(frozen=True)
class TrustMap:
    """Flags of an enhanced image.

    Parameters
    ----------
    flags : uint8 array (numpy or zarr) of ``grid.shape``; bits of :data:`FLAGS`, 0 = no reason to doubt.
    grid : normally the grid of the *coarse* map: doubt is stated per coarse pixel.
    """

    flags: Any
    grid: Grid

    def __post_init__(self) -> None:
        if tuple(self.flags.shape) != self.grid.shape or np.dtype(self.flags.dtype) != np.uint8:
            raise InputError(
                f"Flags must be uint8 of {self.grid.shape}, but {self.flags.dtype} of {tuple(self.flags.shape)} came."
            )

    def where(self, name: str) -> NDArray[np.bool_]:
        """Boolean array: where the named flag is set."""
        return (np.asarray(self.flags[...]) & flag_bits(name)) != 0

    def shares(self) -> dict[str, float]:
        """Share of pixels per flag, 0 to 1."""
        flags = np.asarray(self.flags[...])
        return {name: float(np.count_nonzero(flags & bit)) / flags.size for name, (bit, _) in FLAGS.items()}
