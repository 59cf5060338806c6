"""EnhanceConfig and Enhanced: what enhancement takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from finescan.errors import InputError
from finescan.values import Image, TrustMap

#: how neighbouring tiles are put together
BLENDINGS: dict[str, str] = {
    "exact": "the context of every tile is cropped away; tiled equals untiled",
    "smooth": "overlapping tiles fade into each other; for networks of unbounded context",
    "centre": "as published for TTSR: small tiles of which the central 62.5 % is kept",
}


@dataclass(frozen=True)
class EnhanceConfig:
    """Options of :func:`finescan.enhancement.enhance`.

    Parameters
    ----------
    dtype : number format of the result; None = the fine scan's, from the model card.
    blending : a row of :data:`BLENDINGS`. Networks that look at one small picture at a time have no exact halo;
        "exact" and "smooth" both let their answers fade into each other.
    tile : kept coarse pixels per tile and axis; None = chosen from factor, halo and device.
    overlap : coarse pixels that neighbouring tiles share on each side with "smooth"; None = an eighth of a tile.
    saturation : (low, high) grey levels of the coarse map at or beyond which it is cut off, each may be None;
        None alone = the upper limit of an integer format if more than 0.01 % of the pixels hold it.
    spread : also write what the model itself says of its spread, if it says anything: the standard deviation between
        the members of an ensemble.
    guard : fall back to interpolation where the coarse map leaves what the network was trained on.
    device : "auto", "cpu" or a torch device.
    threads : torch threads; None = as torch is set.
    overwrite : discard whatever an earlier run left in the folder.
    pyramid : add coarser levels for viewers to a result in a folder.
    """

    dtype: str | None = None
    blending: str = "exact"
    tile: int | None = None
    overlap: int | None = None
    saturation: tuple[float | None, float | None] | None = None
    guard: bool = True
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False
    pyramid: bool = True
    spread: bool = False

    def __post_init__(self) -> None:
        if self.blending not in BLENDINGS:
            known = " or ".join(repr(name) for name in BLENDINGS)
            raise InputError(f"Blending is {known}, but {self.blending!r} came.")
        for name in ("tile", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, but {value} came. Leave it out to have it chosen.")
        if self.overlap is not None and self.overlap < 0:
            raise InputError(f"overlap must be at least 0 coarse pixels, but {self.overlap} came.")
        if self.dtype is not None and np.dtype(self.dtype).kind not in "uif":
            raise InputError(f"The result is of integers or floats, but dtype {self.dtype!r} came.")

    def identity(self) -> dict[str, Any]:
        """The options that change the result (not where or how fast it is computed), for the ledger."""
        names = ("dtype", "blending", "tile", "overlap", "saturation", "guard")
        found = {n: list(v) if isinstance(v := getattr(self, n), tuple) else v for n in names}
        return {**found, "spread": True} if self.spread else found


@dataclass(frozen=True)
class Enhanced:
    """What :func:`finescan.enhancement.enhance` gives.

    Parameters
    ----------
    image : on ``lr.grid.refine(sr_factor)``; numpy, or zarr when written to a folder.
    trust : flags on the grid of the coarse map.
    notes : plain sentences about what happened (memory ran out, grey levels set to the limit …).
    seconds : wall time of this call.
    computed : blocks computed by this call; 0 when a finished result was found.
    spread : what the model says of its spread, fine grey levels, positive, float32, on the grid of ``image``: raw, not
        calibrated, and untouched where interpolation took over. None unless asked for, or if the model says nothing.
    """

    image: Image
    trust: TrustMap
    notes: tuple[str, ...]
    seconds: float
    computed: int
    spread: Image | None = None

    def __str__(self) -> str:
        return f"{self.image}; {self.computed} blocks in {self.seconds:.1f} s"
