"""QuantifyConfig: the choices of the object analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finescan.errors import InputError

PORES = ("dark", "bright")
FACES = ("auto", "ends", "all", "none")


@dataclass(frozen=True)
class QuantifyConfig:
    """Options of :func:`finescan.quantification.quantify`.

    Parameters
    ----------
    pores : whether the objects are the "dark" voxels (grey level <= threshold) or the "bright" ones (> threshold).
    threshold : grey level; None = Otsu's, from the field of view.
    closing : steps of the binary closing of the pore space with the 6-neighbour element (4-neighbour in 2-D); 0 = none.
    fill : fill holes that are wholly enclosed by a pore.
    depth : touching objects are separated where both sides are at least this much thicker (voxels of distance to the
        wall) than the neck between them; None = touching objects stay one.
    faces : which cut objects are not counted: those at the first and last slice ("ends", as published), at any side of
        the volume or the rim of the field of view ("all"), or "none"; "auto" is "ends" for volumes, "all" for pictures.
    min_voxels : smaller objects are noise: they are dropped, and their number is stated.
    bin_nm : bin width of the size distribution, nm; None = five voxels, as published.
    """

    pores: str = "dark"
    threshold: float | None = None
    closing: int = 1
    fill: bool = False
    depth: float | None = 0.3
    faces: str = "auto"
    min_voxels: int = 8
    bin_nm: float | None = None

    def __post_init__(self) -> None:
        if self.pores not in PORES:
            raise InputError(f"Pores are 'dark' or 'bright', but {self.pores!r} came.")
        if self.faces not in FACES:
            raise InputError(f"faces is one of {', '.join(FACES)}, but {self.faces!r} came.")
        if self.closing < 0 or self.min_voxels < 1:
            raise InputError(
                "closing must be at least 0 steps and min_voxels at least 1, but "
                f"{self.closing} and {self.min_voxels} came."
            )
        if self.depth is not None and not self.depth >= 0:
            raise InputError(f"depth must be at least 0 voxels, or None to separate nothing, but {self.depth} came.")
        if self.bin_nm is not None and not self.bin_nm > 0:
            raise InputError(f"bin_nm must be a positive width in nm, but {self.bin_nm} came.")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))
