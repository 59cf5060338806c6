"""A polished section with a known answer: its picture, its phases, and the damage in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.values import Acquisition, Grid, Image

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

RIM_PX = 1.6  # width of the bright edge of a void
GAP_PX = 6  # at least this much sound material between two voids
TRIES = 60  # places looked at per void that is wanted


@dataclass(frozen=True)
class DamageSite:
    """One void.

    Parameters
    ----------
    kind : how it came about, e.g. "martensite crack".
    centre_nm : of gravity, y and x, in the frame of the section.
    area_nm2 : of the void, partial pixels counted by their share.
    box : rows and columns that it touches, first and last + 1: (y0, y1, x0, x1).
    """

    kind: str
    centre_nm: tuple[float, float]
    area_nm2: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Section:
    """What is there, and how an ideal detector shows it.

    Parameters
    ----------
    image : noise-free float32 grey levels, 0 to 1.
    phases : (ny, nx) uint8, index into ``names``; a pixel belongs to the phase that fills most of it.
    names : of the phases.
    sites : the damage, if the material has any.
    cells : (ny, nx) labels of grains or colonies.
    period_nm : per label the distance between lamellae, seen in the section; NaN where there are none, () if unused.
    seed : the same seed gives the same section.
    """

    image: Image
    phases: NDArray[np.uint8]
    names: tuple[str, ...]
    sites: tuple[DamageSite, ...]
    cells: NDArray[np.int32]
    period_nm: NDArray[np.float64]
    seed: int

    def mask(self, name: str) -> Mask:
        """Where a phase is, (ny, nx)."""
        if name not in self.names:
            raise InputError(f"This section has the phases {', '.join(self.names)}, but {name!r} was asked for.")
        return np.asarray(self.phases == self.names.index(name))

    def fraction(self, name: str) -> float:
        """Share of the area that is this phase."""
        return float(self.mask(name).mean())

    def __str__(self) -> str:
        shares = ", ".join(f"{100 * self.fraction(n):.1f} % {n}" for n in self.names)
        return f"{self.image.name}: {self.image.grid}; {shares}; {len(self.sites)} damage sites"


def checked_grid(shape: Sequence[int], pixel_size_nm: float | Sequence[float], smallest_px: int = 64) -> Grid:
    """Grid of a section; square pixels, at least ``smallest_px`` along both axes."""
    grid = Grid.of(tuple(shape), pixel_size_nm)
    if grid.ndim != 2 or min(grid.shape) < smallest_px or grid.pixel_size_nm[0] != grid.pixel_size_nm[1]:
        raise InputError(
            f"A section has two axes of at least {smallest_px} square pixels, but {grid} came. Make it larger."
        )
    return grid


def facts(image: Array, grid: Grid, name: str) -> Image:
    """The picture of a section as an Image."""
    return Image(image, grid, name, Acquisition(vendor="simulation", pixel_size_from="simulation"))


def drawn(section_grid: Grid, kind: str, share: Array, corner: tuple[int, int]) -> DamageSite:
    """The facts of a void, from the share of each pixel that it fills; ``share`` starts at the pixel ``corner``."""
    where = ndimage.find_objects((share > 0).astype(np.uint8))[0]
    y0, x0 = (c + s.start for c, s in zip(corner, where, strict=True))
    share = share[where]
    total = float(share.sum(dtype=np.float64))
    y, x = (np.arange(n, dtype=np.float64) + c for n, c in zip(share.shape, (y0, x0), strict=True))
    at = [float((share.sum(1) @ y) / total), float((share.sum(0) @ x) / total)]
    area = total * section_grid.pixel_size_nm[0] * section_grid.pixel_size_nm[1]
    box = (y0, y0 + share.shape[0], x0, x0 + share.shape[1])
    centre_y, centre_x = section_grid.to_nm(at).tolist()
    return DamageSite(kind, (centre_y, centre_x), area, box)


def carve(grey: Array, share: Array, *, rim: float, depth_px: float = 2.0) -> None:
    """Turn part of a picture into a void, in place: black where it is deep, greyer where narrow, with a bright rim."""
    deep = ndimage.gaussian_filter(share, depth_px)
    halo = ndimage.gaussian_filter(share, RIM_PX) * (1 - share)
    grey += np.float32(2.2 * rim) * halo
    floor = 0.03 + 0.16 * np.clip(1 - deep, 0, 1) ** 2
    grey += (floor - grey) * share


#: a void at a place: (row, column, generator) -> share of each pixel and first pixel of the box, or None if none fits
Draw = Callable[[int, int, np.random.Generator], tuple[Array, tuple[int, int]] | None]


@dataclass
class Damage:
    """Voids drawn one after another into a picture and a phase map, never closer than GAP_PX to each other."""

    grey: Array
    phases: NDArray[np.uint8]
    grid: Grid
    void: int
    rim: float
    taken: Mask
    sites: list[DamageSite]

    @classmethod
    def of(cls, grey: Array, phases: NDArray[np.uint8], grid: Grid, void: int, rim: float) -> Damage:
        """No voids yet."""
        return cls(grey, phases, grid, void, rim, np.zeros(phases.shape, bool), [])

    def add(self, kind: str, wanted: int, places: NDArray[np.intp], draw: Draw, rng: np.random.Generator) -> None:
        """Up to ``wanted`` voids at some of the ``places`` (n, 2); fewer where they do not fit."""
        order = rng.permutation(len(places))[: wanted * TRIES]
        found = 0
        for y, x in places[order]:
            if found >= wanted:
                break
            one = draw(int(y), int(x), rng)
            found += one is not None and self.place(kind, *one)

    def place(self, kind: str, share: Array, corner: tuple[int, int]) -> bool:
        """One void, given as the share of each pixel of a box; False if it is empty or too near another."""
        box = np.s_[corner[0] : corner[0] + share.shape[0], corner[1] : corner[1] + share.shape[1]]
        if share.max() < 0.5 or (self.taken[box] & (share > 0)).any():
            return False
        self.sites.append(drawn(self.grid, kind, share, corner))
        carve(self.grey[box], share, rim=self.rim)
        self.phases[box][share >= 0.5] = self.void
        y0, x0 = (max(0, c - GAP_PX) for c in corner)
        near = self.taken[y0 : corner[0] + share.shape[0] + GAP_PX, x0 : corner[1] + share.shape[1] + GAP_PX]
        mark = np.zeros(near.shape, bool)
        mark[corner[0] - y0 :, corner[1] - x0 :][: share.shape[0], : share.shape[1]] = share > 0
        near |= ndimage.binary_dilation(mark, iterations=GAP_PX)
        return True


def box_around(y: int, x: int, reach: int, shape: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Rows and columns (y0, y1, x0, x1) within ``reach`` of a pixel; None if that leaves the section."""
    if y - reach < 0 or x - reach < 0 or y + reach >= shape[0] or x + reach >= shape[1]:
        return None
    return y - reach, y + reach + 1, x - reach, x + reach + 1


def main_part(share: Array, at: tuple[int, int]) -> Array:
    """The connected part of a void nearest to a pixel of its box; everything else is set to 0."""
    parts, n = ndimage.label(share > 0)
    if n == 0:
        return share
    y, x = np.nonzero(parts)
    own = parts[y, x][np.argmin((y - at[0]) ** 2 + (x - at[1]) ** 2)]
    return np.where(parts == own, share, np.float32(0))


def frame(reach: int, angle: float) -> tuple[Array, Array]:
    """Coordinates along and across a line of direction ``angle`` (rad, from +x to +y) in a box of half width reach."""
    r = np.arange(-reach, reach + 1, dtype=np.float32)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * r + s * r[:, None], c * r[:, None] - s * r


def wavering(along: Array, length_px: float, rng: np.random.Generator) -> Array:
    """A random smooth function of the coordinate along a void, about -1 to 1."""
    out = np.zeros_like(along)
    for k in (1, 2, 3):
        out += np.float32(rng.normal() / k) * np.sin(np.float32(2 * k / length_px) * along + rng.uniform(0, 6.3))
    return np.asarray(0.6 * out, np.float32)
