"""What each patch of separately recorded pairs is for, chosen by blocks of the sample before any patch is cut.

Many pairs: whole pairs get a role, those that lie close together in the sample the same one. Few pairs: each is cut
into blocks, as one registered pair would be (:mod:`finescan.patches.split`). Whatever would come closer to held-out
sample than the gap is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from finescan.errors import InputError
from finescan.patches.sampling import window_sums
from finescan.patches.split import ROLES, STOP, TEST, TRAIN, Box, SplitConfig, assign_roles, painted

WHOLE_FROM = 10  # pairs; from here on whole pairs are held out
_PAIRS_PER_BLOCK = 6
_DRAWS = 60  # of blocks that are held out; the one that loses least to gaps is taken

Corner = tuple[int, int]
Roles = NDArray[np.int8]


@dataclass(frozen=True)
class Layout:
    """Patches and roles of several pairs on one common canvas, coarse pixels.

    Parameters
    ----------
    shape : of the canvas.
    corners : upper left corner of each pair on it.
    patches : (m, 4) pair, top, left (in pixels of the pair) and role of every patch; patches never overlap.
    boxes : per held-out role, rectangles of the canvas that hold it.
    roles : of each pair's pixels (blocks), or one role for all of them.
    notes : sentences about what was decided.
    """

    shape: Corner
    corners: tuple[Corner, ...]
    patches: NDArray[np.intp]
    boxes: dict[str, list[Box]]
    roles: tuple[Roles | int, ...]
    notes: tuple[str, ...]


def lay_out(
    shapes: Sequence[Corner],
    lr: Callable[[int], NDArray[np.float32]],
    places_nm: NDArray[np.float64] | None,
    pixel_size_nm: Sequence[float],
    *,
    patch: int,
    gap: int,
    shares: Sequence[float],
    seed: int,
) -> Layout:
    """Give every patch of every pair a role.

    Parameters
    ----------
    shapes : coarse pixels of each pair.
    lr : coarse grey levels of a pair by its number; asked for only where pairs are cut into blocks.
    places_nm : (n, 2) centre (y, x) of each pair in the sample; None = unknown.
    pixel_size_nm : of the coarse pixels.
    patch, gap : side of a patch, and between roles, coarse pixels.
    shares : of training, stop and test.
    seed : of every choice.

    Raises
    ------
    InputError : a pair smaller than a patch, or too little to give every role a patch.
    """
    for k, shape in enumerate(shapes):
        if min(shape) < patch:
            raise InputError(
                f"Patches of {patch} coarse pixels do not fit pair {k + 1} of {shape[0]} x {shape[1]} coarse pixels. "
                "Use a smaller patch_lr_px."
            )
    roomy = min(min(s) for s in shapes) >= 4 * patch + 2 * gap
    if len(shapes) < WHOLE_FROM and roomy:
        return _by_blocks(shapes, lr, patch, gap, shares, seed)
    if len(shapes) < 3:
        raise InputError(
            f"Training, stopping and testing need three pairs, or pairs of {4 * patch + 2 * gap} coarse pixels and "
            f"more, but {len(shapes)} of {shapes[0][0]} x {shapes[0][1]} came. Record more or larger pairs, or use a "
            "smaller patch_lr_px."
        )
    roles, notes = pair_roles(shapes, places_nm, pixel_size_nm, gap, shares, seed)
    return _by_pairs(shapes, roles, notes, patch)


def pair_roles(
    shapes: Sequence[Corner],
    places_nm: NDArray[np.float64] | None,
    pixel_size_nm: Sequence[float],
    gap: int,
    shares: Sequence[float],
    seed: int,
) -> tuple[Roles, tuple[str, ...]]:
    """One role for each whole pair (0 = left out), and what to say about it."""
    rng = np.random.default_rng([seed, 51])
    if places_nm is None:
        note = (
            "Nothing says where in the sample the pairs lie, so whole pairs were drawn by chance: neighbours may have "
            "different roles."
        )
        return _drawn(np.arange(len(shapes)), shares, rng), (note,)
    blocks = _block_numbers(places_nm)
    extent = np.array([[n * p for n, p in zip(s, pixel_size_nm, strict=True)] for s in shapes])
    places = places_nm / (extent.max(axis=0) + gap * np.asarray(pixel_size_nm))
    best, best_score = np.zeros(len(shapes), np.int8), np.inf
    for _ in range(_DRAWS):
        roles = _drawn(blocks, shares, rng)
        for role, others in ((STOP, (TEST,)), (TRAIN, (TEST, STOP))):
            _leave_out_near(roles, places, role, others)
        if (score := _loss(roles, shares)) < best_score:
            best, best_score = roles, score
    note = f"Roles belong to {len(np.unique(blocks))} blocks of the sample"
    lost = np.count_nonzero(best == 0)
    return best, (f"{note}; {lost} pair(s) closer than {gap} coarse pixels to another role's were left out.",)


def _loss(roles: Roles, shares: Sequence[float]) -> float:
    """Less is better: little held out in vain, and held-out shares not much smaller than wanted."""
    found = [np.count_nonzero(roles == role) / len(roles) for role in (TRAIN, STOP, TEST)]
    missing = sum(max(0.0, 1 - f / s) for f, s in zip(found[1:], shares[1:], strict=True))
    return missing + 1.5 * (1 - found[0])


def _block_numbers(places_nm: NDArray[np.float64]) -> NDArray[np.intp]:
    """Square blocks of the sample, about six pairs in each."""
    low = places_nm.min(axis=0)
    area = float(np.prod(np.maximum(np.ptp(places_nm, axis=0), 1.0)))
    count = int(np.clip(len(places_nm) / _PAIRS_PER_BLOCK, 10, 100))
    side = float(np.sqrt(area / count))
    while True:
        cell = np.floor((places_nm - low) / side).astype(np.intp)
        found, numbers = np.unique(cell, axis=0, return_inverse=True)
        if len(found) > 0.6 * count or side < 1.0:
            return np.asarray(numbers).ravel()
        side /= 1.5  # pairs from places far apart: most blocks would be empty, and the others too large


def _drawn(groups: NDArray[np.intp], shares: Sequence[float], rng: np.random.Generator) -> Roles:
    """Groups in random order become test and stop as long as that brings the share closer (at least one each)."""
    roles = np.full(len(groups), TRAIN, np.int8)
    order = rng.permutation(np.unique(groups)).tolist()
    for role, share in ((TEST, shares[2]), (STOP, shares[1])):
        missing = share * len(groups)
        for group in order[:-1]:
            size = np.count_nonzero(groups == group)
            if abs(missing - size) < abs(missing) or not (roles == role).any():
                roles[groups == group] = role
                missing -= size
        order = [g for g in order if (roles[groups == g] == TRAIN).all()]
    return roles


def _leave_out_near(roles: Roles, places: NDArray[np.float64], role: int, others: Sequence[int]) -> None:
    """Pairs of a role less than 1 (larger axis) from one of another role get none."""
    mine, held = np.flatnonzero(roles == role), np.isin(roles, others)
    if held.any() and len(mine):
        nearest = cKDTree(places[held]).query(places[mine], p=np.inf)[0]
        roles[mine[nearest < 1 - 1e-9]] = 0


def _by_pairs(shapes: Sequence[Corner], roles: Roles, notes: tuple[str, ...], patch: int) -> Layout:
    """Pairs in rows of a canvas, those of one role together, so that one rectangle holds a role."""
    cell = max(s[0] for s in shapes), max(s[1] for s in shapes)
    columns = int(np.ceil(np.sqrt(len(shapes))))
    corners: list[Corner] = [(0, 0)] * len(shapes)
    boxes: dict[str, list[Box]] = {"test": [], "stop": []}
    row = 0
    for name, role in (("train", TRAIN), ("stop", STOP), ("test", TEST), ("none", 0)):
        members = np.flatnonzero(roles == role).tolist()
        for k, member in enumerate(members):
            corners[member] = (row + k // columns) * cell[0], k % columns * cell[1]
        rows = -(-len(members) // columns)
        if name in boxes and members:
            boxes[name] = [(row * cell[0], 0, (row + rows) * cell[0], columns * cell[1])]
        row += rows
    patches = [
        (k, top, left, int(role))
        for k, (shape, role) in enumerate(zip(shapes, roles, strict=True))
        if role
        for top, left in _regular(shape, patch)
    ]
    canvas = row * cell[0], columns * cell[1]
    return Layout(canvas, tuple(corners), _table(patches), boxes, tuple(roles.tolist()), notes)


def _by_blocks(
    shapes: Sequence[Corner],
    lr: Callable[[int], NDArray[np.float32]],
    patch: int,
    gap: int,
    shares: Sequence[float],
    seed: int,
) -> Layout:
    """Pairs below each other on a canvas, each cut into blocks of its own."""
    corners: list[Corner] = []
    boxes: dict[str, list[Box]] = {"test": [], "stop": []}
    patches, roles, row = [], [], 0
    for k, shape in enumerate(shapes):
        corners.append((row, 0))
        mine, held, found = _blocks_of(lr(k), patch, gap, shares, seed + 7919 * k)
        roles.append(mine)
        patches += [(k, *p) for p in found]
        for name, some in held.items():
            boxes[name] += [(top + row, left, bottom + row, right) for top, left, bottom, right in some]
        row += shape[0]
    note = f"Roles belong to blocks of each pair, with gaps of {gap} coarse pixels between them."
    canvas = row, max(s[1] for s in shapes)
    return Layout(canvas, tuple(corners), _table(patches), boxes, tuple(roles), (note,))


def _blocks_of(
    lr: NDArray[np.float32], patch: int, gap: int, shares: Sequence[float], seed: int
) -> tuple[Roles, dict[str, list[Box]], list[tuple[int, int, int]]]:
    """Roles, held-out boxes and patches (top, left, role) of one pair; held-out boxes are whole numbers of patches."""
    (h, w), (y, x) = lr.shape, (n % patch // 2 for n in lr.shape)
    cells = lr[y : y + h // patch * patch, x : x + w // patch * patch]
    means = cells.reshape(h // patch, patch, w // patch, patch).mean(axis=(1, 3))
    config = SplitConfig("blocks", -(-gap // patch), seed, stop_share=shares[1], test_share=shares[2])
    split = assign_roles([np.ones(means.shape, bool)], ["pair"], means, config)
    boxes = {
        name: [(y + patch * t, x + patch * a, y + patch * b, x + patch * r) for t, a, b, r in some]
        for name, some in split.boxes.items()
    }
    roles = painted(np.ones(lr.shape, bool), boxes["test"], boxes["stop"], gap)
    found = [(top, left, role) for role in (TRAIN, STOP, TEST) for top, left in packed(roles == role, patch)]
    return roles, boxes, found


def packed(mask: NDArray[np.bool_], side: int) -> list[Corner]:
    """Upper left corners of squares that lie wholly in a mask and do not overlap, packed row by row."""
    free = window_sums(mask.astype(np.float64), side) > side * side - 0.5
    flat, corners, at = free.ravel(), [], 0
    while at < flat.size:
        at += int(flat[at:].argmax())
        if not flat[at]:
            break
        y, x = divmod(at, free.shape[1])
        corners.append((y, x))
        free[max(0, y - side + 1) : y + side, max(0, x - side + 1) : x + side] = False
    return corners


def _regular(shape: Corner, side: int) -> list[Corner]:
    """As many squares as fit, in rows and columns about the middle."""
    rows, columns = ([(n - n // side * side) // 2 + k * side for k in range(n // side)] for n in shape)
    return [(y, x) for y in rows for x in columns]


def _table(patches: Sequence[tuple[int, ...]]) -> NDArray[np.intp]:
    table = np.array(patches, np.intp).reshape(-1, 4)
    for name, role in ROLES.items():
        if not (table[:, 3] == role).any():
            raise InputError(
                f"No patch is left for the {name} role. Record more or larger pairs, or use a smaller patch_lr_px, "
                "search_lr_px or guard_lr_px."
            )
    return table
