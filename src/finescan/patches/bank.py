"""The bank of references: crops of the fine scan that texture may be taken from.

It is cut from the training area alone, so nothing that judges is ever seen (T. Reclik et al., Materials & Design 2025,
doi:10.1016/j.matdes.2025.113955, section 2.3.1: 256 references of 300 x 300 pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches.pieces import PatchSet
from finescan.patches.split import TRAIN
from finescan.values import Image

NOT_COUNTED = 0.02  # share of a crop that may be saturated or missing: single white pixels are part of a texture
SAME_PIXEL = 0.02  # references recorded apart may differ this much in pixel size
_CANDIDATES = 16_384  # places among which crops are spread
_STEP = 4  # a crop that does not fit is made smaller, to a multiple of this

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class ReferenceBank:
    """Crops that texture may be taken from.

    Parameters
    ----------
    crops : (n, side, side) float32 fine grey levels, finite.
    corners : (n, 2) row and column of each crop on the ``out_grid`` of the PatchSet, the grid of the whole map; of
        separately recorded references on the image they come from.
    piece : (n,) index of the piece that each was cut from; -1 for separately recorded ones.
    notes : sentences about what was decided.
    """

    crops: NDArray[np.float32]
    corners: NDArray[np.intp]
    piece: NDArray[np.intp]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.crops.ndim != 3 or len(self.crops) == 0 or self.crops.shape[1] != self.crops.shape[2]:
            raise InputError(
                f"A bank of references needs at least one square crop, but an array of shape {self.crops.shape} came. "
                "Cut references from a larger training area, or pass reference images."
            )
        if not np.isfinite(self.crops).all():
            raise InputError("A bank of references needs finite grey levels, but some are NaN or infinite.")
        if len(self.corners) != len(self.crops) or len(self.piece) != len(self.crops):
            raise InputError(
                f"A bank needs a corner and a piece for each of its {len(self.crops)} crops, but {len(self.corners)} "
                f"and {len(self.piece)} came."
            )

    @property
    def side(self) -> int:
        """Of the crops, fine pixels."""
        return int(self.crops.shape[1])

    def __len__(self) -> int:
        return len(self.crops)

    def __str__(self) -> str:
        return f"{len(self)} references of {self.side} x {self.side} px"


def cut_references(
    patches: PatchSet, *, count: int = 256, side: int = 300, smallest: int = 128, seed: int = 0
) -> ReferenceBank:
    """Cut references out of the training area, spread as evenly as they can be.

    Every pixel of a crop has the training role; at most 2 % of them may be saturated or missing (missing ones hold the
    grey level of the nearest pixel). Crops may overlap where the area is small, but none comes twice.

    Parameters
    ----------
    count : wanted crops; 256 as published.
    side : of a crop, fine pixels; 300 as published. Made smaller (a multiple of 4) where no such crop fits.
    smallest : side below which no crop is cut: that of a training patch, fine pixels.
    seed : of the choice of places.

    Raises
    ------
    InputError : the training area has no room for the smallest crop, or a count or size that makes no sense.
    """
    fields = [Field(p.hr, p.role == TRAIN, p.factor, p.weight) for p in patches.pieces]
    crops, corners, piece, notes = spread(fields, count, side, smallest, seed, "training area")
    origin = [np.rint(patches.out_grid.to_index(p.out_grid.origin_nm)).astype(np.intp) for p in patches.pieces]
    return ReferenceBank(crops, corners + np.array(origin)[piece], piece, notes)


def bank_from_images(
    images: Sequence[Image],
    *,
    pixel_size_nm: Sequence[float],
    count: int = 256,
    side: int = 300,
    smallest: int = 128,
    seed: int = 0,
) -> ReferenceBank:
    """A bank of references that were recorded apart, as images of ``side`` pixels or larger ones to be divided.

    Parameters
    ----------
    images : fine scans, in the grey levels of the fine scans to learn from.
    pixel_size_nm : of the result, per axis; every image must have it within 2 %.
    count, side, smallest, seed : see :func:`cut_references`.

    Raises
    ------
    InputError : no image, another pixel size, or none as large as the smallest crop.
    """
    if not images:
        raise InputError("A bank of references needs at least one image, but none came.")
    for image in images:
        sizes = image.grid.pixel_size_nm
        if any(abs(a / b - 1) > SAME_PIXEL for a, b in zip(sizes, pixel_size_nm, strict=True)):
            raise InputError(
                f"References must have the pixel size of the result, {_nm(pixel_size_nm)} nm, but {image.name} has "
                f"{_nm(sizes)} nm. Resample it, or leave it out."
            )
    arrays = [np.asarray(image.array(), np.float32) for image in images]
    fields = [Field(a, np.isfinite(a), 1, np.isfinite(a)) for a in arrays]
    crops, corners, _, notes = spread(fields, count, side, smallest, seed, "reference images")
    return ReferenceBank(crops, corners, np.full(len(crops), -1, np.intp), notes)


@dataclass(frozen=True)
class Field:
    """Where crops may be cut.

    Parameters
    ----------
    grey : (h, w) fine grey levels.
    allowed : where a crop may lie; (h / factor, w / factor).
    counts : (h, w), which pixels are neither saturated nor missing.
    """

    grey: NDArray[np.float32]
    allowed: Bool
    factor: int
    counts: Bool


Spread = tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp], tuple[str, ...]]


def spread(fields: Sequence[Field], count: int, side: int, smallest: int, seed: int, where: str) -> Spread:
    """Crops, their corners (n, 2) in their field, the number of that field, and notes; see :func:`cut_references`."""
    if count < 1 or not 1 <= smallest <= side:
        raise InputError(
            f"A bank needs a count of at least 1 and a reference not smaller than a patch, but count={count}, "
            f"side={side} and smallest={smallest} came."
        )
    sides = [side, *range((side - 1) // _STEP * _STEP, smallest - 1, -_STEP)]
    fits = _first_fitting(fields, sides)
    if fits is None:
        raise InputError(
            f"The {where} has no room for a reference of {smallest} x {smallest} fine pixels, and a reference smaller "
            "than a patch teaches nothing. Record a larger fine scan, or use smaller patches."
        )
    rng = np.random.default_rng([seed, 71])
    places = _candidates(fields, fits, max(_CANDIDATES, 4 * count), rng)
    chosen = places[_farthest(places, count)]
    chosen = chosen[np.lexsort(chosen.T[::-1])]
    notes = []
    if fits < side:
        notes.append(f"No reference of {side} fine pixels fits the {where}; they are {fits} pixels wide.")
    if len(chosen) < count:
        notes.append(f"Only {len(chosen)} of {count} references fit the {where}.")
    crops = np.stack([fields[k].grey[y : y + fits, x : x + fits] for k, y, x in chosen.tolist()])
    return crops, chosen[:, 1:], chosen[:, 0], tuple(notes)


def _first_fitting(fields: Sequence[Field], sides: Sequence[int]) -> int | None:
    """The first (largest) side of which a crop fits somewhere; halving, as larger ones fit only where smaller do."""

    def fit(side: int) -> bool:
        return any(_admissible(f, side).any() for f in fields)

    if fit(sides[0]):
        return sides[0]
    low, high = 0, len(sides) - 1
    if not fit(sides[high]):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fit(sides[middle]) else (middle, high)
    return sides[high]


def _admissible(field: Field, side: int) -> Bool:
    """Upper left corners of crops that lie wholly where they may, and count almost everywhere."""
    f = field.factor
    if f * min(np.count_nonzero(field.allowed.any(axis=k)) for k in (0, 1)) < side:
        return np.zeros((0, 0), bool)
    forbidden = ~np.repeat(np.repeat(field.allowed, f, axis=0), f, axis=1)
    good = _window_counts(forbidden, side) == 0
    lost = ~field.counts & ~forbidden
    if lost.any():
        good &= _window_counts(lost, side) <= NOT_COUNTED * side * side
    return np.asarray(good)


def _window_counts(mask: Bool, side: int) -> NDArray[np.int32]:
    """True pixels in every side x side window (summed-area table of whole numbers: exact, at half the memory)."""
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=0, dtype=np.int32, out=total[1:, 1:])
    np.cumsum(total, axis=1, out=total)
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]


def _candidates(fields: Sequence[Field], side: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(n, 3) field, row and column of places among which to choose, in random order; all of them where there are few.

    Every field offers as many as any other: the choice that follows weighs them by the area they cover.
    """
    each = max(64, most // len(fields))
    found = []
    for k, field in enumerate(fields):
        good = _admissible(field, side)
        places = np.flatnonzero(good)
        if len(places) > each:
            places = rng.choice(places, each, replace=False)
        if len(places):
            found.append(np.stack([np.full(len(places), k), *np.unravel_index(places, good.shape)], axis=1))
    return rng.permutation(np.concatenate(found), axis=0)


def _farthest(places: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Indices of places, each as far as can be from those before it; places of different fields are infinitely far."""
    distance = np.full(len(places), np.inf)
    chosen: list[int] = []
    for _ in range(min(count, len(places))):
        new = int(distance.argmax())
        chosen.append(new)
        off = ((places[:, 1:] - places[new, 1:]).astype(float) ** 2).sum(axis=1)
        distance = np.where(places[:, 0] == places[new, 0], np.minimum(distance, off), distance)
        distance[new] = -1.0
    return np.array(chosen, np.intp)


def _nm(values: Sequence[float]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
