"""What the volume part of a page is made of: frozen values around lazy arrays; only the slices shown are ever read.

Axes are Z, Y, X. Positions are nm in the frame of the coarse volume, absolute (not counted from the scene's edge).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finescan.errors import InputError
from finescan.values import Grid, Image, Region, TrustMap

VOLUME_MODES = ("single", "side", "swipe")
COLOURS = ("grey", "cividis", "cividis_r")
Point = tuple[float, float, float]


@dataclass(frozen=True)
class VolumeLayer:
    """One volume of a scene.

    Parameters
    ----------
    name : what the reader sees: "coarse", "interpolated", "enhanced", "reference", "MS-SSIM", …
    image : ZYX, in the frame of the coarse volume; any voxel size per axis, any part of the scene; NaN = no value.
        A lazy array is only read where slices are shown.
    window : grey levels shown black and white; None = the window common to the scene. A map needs one of its own.
    colours : "grey", or "cividis" (high = bright) or "cividis_r" (low = bright) for a map.
    unit : words at the colour bar of a map.
    """

    name: str
    image: Image
    window: tuple[float, float] | None = None
    colours: str = "grey"
    unit: str = ""

    def __post_init__(self) -> None:
        if self.image.grid.axes != "ZYX":
            raise InputError(
                f"The layer {self.name!r} of a volume needs axes ZYX, but {self.image.grid.axes} came. "
                "Pass a picture as Layer in a Scene."
            )
        if self.colours not in COLOURS:
            raise InputError(f"A layer is shown in {', '.join(COLOURS)}, but {self.colours!r} came.")
        if self.colours != "grey" and self.window is None:
            raise InputError(f"The map {self.name!r} needs a window of its own. Pass window=(lowest, highest).")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(f"The grey window of {self.name!r} must rise, but {self.window} came.")


@dataclass(frozen=True)
class VolumeBox:
    """A box in a volume, drawn in all three cuts; faint where the cut passes outside it.

    ``start_nm`` and ``stop_nm`` (z, y, x) are its outer edges in the frame of the coarse volume. ``kind`` is "fine"
    (a fine scan), "held-out" (a block kept for judging), "train" or "crop".
    """

    label: str
    start_nm: Point
    stop_nm: Point
    kind: str = "fine"

    def __post_init__(self) -> None:
        if not all(a < b for a, b in zip(self.start_nm, self.stop_nm, strict=True)):
            raise InputError(f"The box {self.label!r} must end after it starts, but {self.start_nm} to {self.stop_nm}.")

    @classmethod
    def of(cls, label: str, region: Region | Grid, kind: str = "fine") -> VolumeBox:
        """The box of a region, or the whole field of a grid."""
        grid = region.own_grid if isinstance(region, Region) else region
        start = tuple(grid.edge_nm)
        stop = tuple(e + x for e, x in zip(grid.edge_nm, grid.extent_nm, strict=True))
        return cls(label, start, stop, kind)  # type: ignore[arg-type]


@dataclass(frozen=True)
class VolumeScene:
    """Volumes over one field of view: an XY slice with a slider along z, and the XZ and YZ cuts through one point.

    Parameters
    ----------
    title, caption : words above the pictures.
    grid : the field shown, ZYX, in the frame of the coarse volume; the slider and the readout count its voxels
        (normally the grid of the result).
    layers : at least one.
    at_nm : (z, y, x) the slice shown first, and where the XZ cut (y) and the YZ cut (x) lie; None = the middle.
    flags : reasons to doubt (ZYX, normally on the coarse grid), or None.
    boxes : boxes to draw.
    mode : "single" (one layer at a time), "side" (all beside each other) or "swipe" (a curtain between two).
    slices : at most so many stops of the slider, spread evenly over z; odd numbers hit the middle.
    max_px : longest side of an embedded picture; a longer one is shrunk by whole blocks.
    budget_mb : about the size the pictures may take on the page (all volumes of a page together take at most 13.5 MB,
        the first ones come first); the means to keep it are JPEG instead of PNG, then
        fewer slices (down to 33), then smaller pictures. What was done is said below the pictures.
    flag_shares : share (0 to 1) per flag when already known; None = counted, slab by slab.
    """

    title: str
    caption: str
    grid: Grid
    layers: tuple[VolumeLayer, ...]
    at_nm: Point | None = None
    flags: TrustMap | None = None
    boxes: tuple[VolumeBox, ...] = ()
    mode: str = "single"
    slices: int = 49
    max_px: int = 512
    budget_mb: float = 10.0
    flag_shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError(f"The volume scene {self.title!r} needs at least one layer, but none came.")
        if self.grid.axes != "ZYX":
            raise InputError(f"The volume scene {self.title!r} needs a ZYX grid, but {self.grid.axes} came.")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise InputError(f"The layers of {self.title!r} need names that differ, but {names} came.")
        if self.mode not in VOLUME_MODES:
            raise InputError(f"A volume scene opens in mode {', '.join(VOLUME_MODES)}, but {self.mode!r} came.")
        if self.slices < 1 or self.max_px < 16 or self.budget_mb <= 0:
            raise InputError(
                f"The volume scene {self.title!r} needs at least one slice, 16 px and some budget, but "
                f"slices={self.slices}, max_px={self.max_px}, budget_mb={self.budget_mb} came."
            )
        if self.at_nm is not None and not _inside(self.grid, self.at_nm):
            raise InputError(f"The cuts of {self.title!r} must lie inside its field, but at_nm={self.at_nm} came.")

    @property
    def at(self) -> Point:
        """(z, y, x) of the cuts, nm."""
        z, y, x = self.at_nm or self.grid.to_nm([n // 2 for n in self.grid.shape]).tolist()
        return z, y, x

    def stops(self, most: int | None = None) -> tuple[int, ...]:
        """Slices of ``grid`` at which the slider stops: first, last, and evenly around the slice shown first."""
        depth, n = self.grid.shape[0], min(self.slices, most or self.slices)
        if depth <= n:
            return tuple(range(depth))
        middle = round(float(self.grid.to_index(self.at)[0]))
        below = round((n - 1) * middle / (depth - 1))
        down = np.linspace(0, middle, below + 1) if below else np.array([float(middle)])
        up = np.linspace(middle, depth - 1, n - below)[1:]
        return tuple(sorted({round(float(v)) for v in (*down, *up)}))


def _inside(grid: Grid, point: Point) -> bool:
    return all(-0.5 <= i <= n - 0.5 for i, n in zip(grid.to_index(point), grid.shape, strict=True))
