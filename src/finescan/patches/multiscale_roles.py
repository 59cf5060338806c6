"""Which places of the recorded pictures train, stop and test, and what that means at every zoom level.

Places are chosen once, on the recorded pictures. A coarse pixel of a level belongs to a held-out block when all of it
lies inside, and trains when it is farther from every block than the gap, counted in coarse pixels of that level: no
training patch, no context around one and no filter that made them reaches into a held-out block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches.split import NONE, STOP, TEST, TRAIN, Box, SplitConfig, assign_roles
from finescan.patches.zoom import resized

WHOLE_FROM = 5  # pictures from which whole ones are held out

Held = dict[str, list[Box]]  # per role, rectangles in recorded pixels
Array = NDArray[np.float32]


def held_places(
    pictures: Sequence[Array], names: Sequence[str], factor: int, config: SplitConfig
) -> tuple[list[Held], list[str]]:
    """Held-out rectangles of every picture, recorded pixels, and sentences about them.

    Parameters
    ----------
    pictures : recorded grey levels, finite.
    names : of the pictures.
    factor : recorded pixels per coarse pixel at the recorded level, which the gap is counted in.
    config : "blocks" and "halves" of every picture; "leave-one-out" holds out whole pictures; "auto" decides by
        their number.
    """
    whole = config.kind == "leave-one-out" or (config.kind == "auto" and len(pictures) >= WHOLE_FROM)
    if whole:
        return _whole(pictures, names, config)
    kind = "blocks" if config.kind == "auto" else config.kind
    blocks = SplitConfig(kind, config.guard_lr_px, config.seed, config.stop_share, config.test_share)
    return [_blocks(p, name, factor, blocks) for p, name in zip(pictures, names, strict=True)], []


def _blocks(picture: Array, name: str, factor: int, config: SplitConfig) -> Held:
    shape = picture.shape[0] // factor, picture.shape[1] // factor
    coarse = resized(picture[: shape[0] * factor, : shape[1] * factor], shape, "box")
    split = assign_roles([np.ones(shape, bool)], [name], coarse, config)
    return {role: [_scaled(b, factor) for b in boxes] for role, boxes in split.boxes.items()}


def _whole(pictures: Sequence[Array], names: Sequence[str], config: SplitConfig) -> tuple[list[Held], list[str]]:
    """About the wanted shares of the pictures, at least one for each role, chosen by the seed."""
    count = len(pictures)
    if count < 3:
        raise InputError(
            f"Whole pictures can only be held out where there are three or more, but {count} came. Use blocks."
        )
    test = min(max(1, round(config.test_share * count)), count - 2)
    stop = min(max(1, round(config.stop_share * count)), count - 1 - test)
    order = np.random.default_rng(config.seed).permutation(count).tolist()
    if config.left_out is not None:
        order = _first(order, names, config.left_out)
    roles = {k: "test" if place < test else "stop" for place, k in enumerate(order[: test + stop])}
    held: list[Held] = [{roles[k]: [(0, 0, *p.shape)]} if k in roles else {} for k, p in enumerate(pictures)]
    listed = ", ".join(names[k] for k in sorted(roles) if roles[k] == "test")
    return held, [f"Whole pictures are held out: {stop} to stop the training, {test} to judge ({listed})."]


def _first(order: list[int], names: Sequence[str], name: str) -> list[int]:
    if name not in names:
        raise InputError(f"The picture to leave out is one of {', '.join(names)}, but {name!r} came.")
    at = list(names).index(name)
    return [at, *(k for k in order if k != at)]


def roles_at(
    held: Held, shape: Sequence[int], scale: float, guard: int, start: Sequence[int] = (0, 0)
) -> tuple[NDArray[np.int8], Held]:
    """Roles of the coarse pixels of a level, and the rectangles that hold the held-out ones.

    Parameters
    ----------
    held : in recorded pixels.
    shape : of the coarse picture.
    scale : its pixels per recorded pixel.
    guard : gap, its pixels.
    start : its corner, in coarse pixels of the whole level.
    """
    roles = np.full(tuple(shape), TRAIN, np.int8)
    inner = {role: [b for box in boxes if (b := _inside(box, scale, start, shape))] for role, boxes in held.items()}
    for boxes in held.values():
        for box in boxes:
            roles[_outside(box, scale, start, guard)] = NONE
    _paint(roles, inner.get("stop", []), STOP)
    for box in held.get("test", []):  # where both meet, nothing near a test block stops
        near = roles[_outside(box, scale, start, guard)]
        near[near == STOP] = NONE
    _paint(roles, inner.get("test", []), TEST)
    return roles, inner


def _paint(roles: NDArray[np.int8], boxes: Sequence[Box], role: int) -> None:
    for t, x, b, r in boxes:
        roles[t:b, x:r] = role


def _inside(box: Box, scale: float, start: Sequence[int], shape: Sequence[int]) -> Box | None:
    """Pixels that lie in a rectangle completely, clipped to the picture; None without any."""
    t, x = (max(0, math.ceil(v * scale - 1e-6) - s) for v, s in zip(box[:2], start, strict=True))
    b, r = (min(n, math.floor(v * scale + 1e-6) - s) for v, s, n in zip(box[2:], start, shape, strict=True))
    return (t, x, b, r) if t < b and x < r else None


def _outside(box: Box, scale: float, start: Sequence[int], grow: int) -> tuple[slice, slice]:
    """Pixels that a rectangle touches, and a margin."""
    t, x = (math.floor(v * scale + 1e-6) - grow - s for v, s in zip(box[:2], start, strict=True))
    b, r = (math.ceil(v * scale - 1e-6) + grow - s for v, s in zip(box[2:], start, strict=True))
    return slice(max(0, t), max(0, b)), slice(max(0, x), max(0, r))


def _scaled(box: Box, factor: int) -> Box:
    t, x, b, r = (v * factor for v in box)
    return t, x, b, r
