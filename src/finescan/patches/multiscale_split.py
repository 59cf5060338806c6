"""Which pictures of a written set train, validate and test, and where crops are cut: in a sane way, or as published."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finescan.errors import InputError
from finescan.patches.zoom import UNITS

SPLITS = ("train", "val", "test")
_NUMBER = re.compile(r"R(\d+(?:.\d+)?)")  # the published code takes any character for the decimal point


@dataclass(frozen=True)
class WriteConfig:
    """How a set is written.

    Parameters
    ----------
    crops_per_side : crops along each side of a picture.
    crops_finer, crops_interpolated : the same for pictures finer than recorded and for process 4; None = as many.
    shares : of the pictures that train, validate and test.
    seed : of the shuffled pictures and of the subset.
    digits : decimals of the zoom level in file names.
    test_filters : the test part has only these coarse versions.
    subset : pairs of the validation part that are copied to folders of their own; 0 = none.
    published : to the byte what the published code writes, its peculiarities included: sizes cut to whole pixels, so
        that scales differ a little between axes; nearest neighbours of an even factor shifted by half a fine pixel;
        eight bits; steps between crops rounded down, so that there can be more than asked for; ``crops_finer`` for
        levels with a larger *number*, coarser ones in nm; splits that may leave a part empty.
    published_order : pictures in the order they are passed, which in the published code is the file system's; else
        sorted by name.
    """

    crops_per_side: int = 8
    crops_finer: int | None = None
    crops_interpolated: int | None = None
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    digits: int = 4
    test_filters: tuple[str, ...] = ("nearest",)
    subset: int = 50
    published: bool = False
    published_order: bool = False

    def __post_init__(self) -> None:
        for name in ("crops_per_side", "crops_finer", "crops_interpolated"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, but {value} came.")
        if len(self.shares) != 3 or min(self.shares) < 0 or not 0 < sum(self.shares) <= 1 + 1e-9:
            raise InputError(f"Shares are three numbers from 0 that add up to at most 1, but {self.shares} came.")
        if not 0 <= self.digits <= 12 or self.subset < 0:
            raise InputError(
                f"Names have 0 to 12 digits and a subset 0 or more pairs, but {self.digits} and {self.subset} came."
            )

    def crops_of(self, name: str, recorded: float, unit: str) -> int:
        """Crops per side of a picture, by the zoom level in its name."""
        found = _NUMBER.search(name) if self.published else None
        level = float(found[1]) if found else float(name.rpartition("R")[2])
        larger = level > recorded
        finer = larger if self.published or UNITS[unit] > 0 else level < recorded
        return (self.crops_finer or self.crops_per_side) if finer else self.crops_per_side


def split_pictures(names: Sequence[str], config: WriteConfig, unit: str, rng: random.Random) -> dict[str, list[int]]:
    """Numbers of the pictures of every part, in the order they are shuffled to.

    As published for MX: cut the shuffled list by rounded-down shares. For nm: two pictures at least are left to
    validate and test. Ours: each part with a share has at least one picture; fewer than three all train.
    """
    order = list(range(len(names)))
    if not config.published_order:
        order.sort(key=lambda k: names[k])
    rng.shuffle(order)
    count, (train, val, test) = len(order), config.shares
    if not config.published:
        return _fair(order, train, val, test)
    least, spare = (1, 2) if UNITS[unit] < 0 else (0, 0)
    first = min(int(train * count), count - spare)
    second = first + max(int(val * count), least)
    third = second + max(int(test * count), least)
    return {"train": order[:first], "val": order[first:second], "test": order[second:third]}


def _fair(order: list[int], train: float, val: float, test: float) -> dict[str, list[int]]:
    count = len(order)
    if count < 3 or not train:
        wanted = [0, 0] if train else [round(val * count), count - round(val * count)]
    else:
        wanted = [max(1, round(share * count)) if share else 0 for share in (val, test)]
        while sum(wanted) >= count:
            wanted[int(np.argmax(wanted))] -= 1
    first, second = count - sum(wanted), count - wanted[1]
    return {"train": order[:first], "val": order[first:second], "test": order[second:]}


def crop_starts(length: int, size: int, count: int, published: bool) -> list[int]:
    """Where crops begin along a side: evenly spaced from end to end, or in the published whole steps.

    Examples
    --------
    >>> crop_starts(77, 64, 4, False), len(crop_starts(77, 64, 8, True))
    ([0, 4, 9, 13], 14)
    """
    if length < size:
        return []
    if not published:
        room = length - size
        places = np.linspace(0, room, count) if count > 1 else np.array([room / 2])
        return sorted({int(v) for v in np.rint(places)})
    step = length if count == 1 else max((length - size) // (count - 1), 1)
    return list(range(0, length - size + 1, step))
