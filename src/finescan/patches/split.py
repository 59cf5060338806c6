"""Which part of the sample trains, which decides when to stop, and which is only ever used to judge.

Roles belong to places of the *sample*, on the grid the network reads in the frame of the coarse map, and are chosen
before any patch exists: two overlapping fine scans cannot leak into each other. A gap of ``guard_lr_px`` coarse
pixels, at least the reach of the network, belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError

NONE, TRAIN, STOP, TEST = 0, 1, 2, 3
ROLES = {"train": TRAIN, "stop": STOP, "test": TEST}
KINDS = ("auto", "blocks", "leave-one-out", "halves")

_TRIES = 600
_CANVAS = 160  # candidates are compared on a canvas thinned to about this many pixels per axis
_GREY_BINS, _UNLIKE_BINS = 8, 5

Bool = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # top, left, bottom, right (bottom and right excluded)


@dataclass(frozen=True)
class SplitConfig:
    """How held-out data are chosen.

    Parameters
    ----------
    kind : "blocks" (rectangles of the fine scan), "leave-one-out" (one whole fine scan tests), "halves" (left half
        trains, right half tests) or "auto": leave-one-out with several scans of one pitch, else blocks.
    guard_lr_px : gap between roles, coarse pixels; at least the network's halo.
    seed : of the random search for a good layout.
    stop_share, test_share : wanted shares of the area.
    left_out : name of the scan that tests in leave-one-out; None = the one whose grey levels resemble the rest most.
    boxes : rectangles on the working grid of the whole map that were held out before, per role ("test", "stop"): they
        stay held out, all other area trains, and nothing is searched. None = chosen by ``kind``.
    """

    kind: str = "auto"
    guard_lr_px: int = 12
    seed: int = 0
    stop_share: float = 0.12
    test_share: float = 0.18
    left_out: str | None = None
    boxes: Mapping[str, Sequence[Box]] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"A split is one of {', '.join(KINDS)}, but {self.kind!r} came.")
        if self.guard_lr_px < 0:
            raise InputError(f"The guard gap must be 0 coarse pixels or more, but {self.guard_lr_px} came.")
        for name, share in (("stop_share", self.stop_share), ("test_share", self.test_share)):
            if not 0.02 <= share <= 0.4:
                raise InputError(f"{name} must be between 0.02 and 0.4, but {share} came.")


@dataclass(frozen=True)
class Split:
    """Roles on a canvas (coarse pixels) and the rectangles they were made of."""

    roles: NDArray[np.int8]
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def assign_roles(
    usable: Sequence[Bool],
    names: Sequence[str],
    lr: NDArray[np.float32],
    config: SplitConfig,
    unlike: NDArray[np.float32] | None = None,
) -> Split:
    """Give every usable coarse pixel a role.

    Parameters
    ----------
    usable : one boolean canvas per fine scan, True where the scan covers the coarse pixel completely.
    names : of the scans.
    lr : the coarse grey levels on the same canvas.
    unlike : how far the fine scan is from what the coarse one lets expect (the sample changed, the registration is
        off, another contrast), on the same canvas. Held-out areas should resemble the whole in both.
    """
    if not any(mask.any() for mask in usable):
        raise InputError("The fine scan does not cover a single whole pixel of the coarse map. Check the registration.")
    bins = _binned(lr, unlike, np.logical_or.reduce(list(usable)))
    kind = config.kind
    if kind == "auto":
        kind = "leave-one-out" if len(usable) > 1 else "blocks"
    if kind == "leave-one-out":
        split = _leave_one_out(usable, names, bins, config)
        if split is not None:
            return split
        note = "Leaving one whole fine scan out leaves too little to train on, so blocks of the scans are held out."
        blocks = _blocks(np.logical_or.reduce(list(usable)), bins, config)
        return Split(blocks.roles, blocks.boxes, (note, *blocks.notes))
    everywhere = np.logical_or.reduce(list(usable))
    return _halves(everywhere, bins, config) if kind == "halves" else _blocks(everywhere, bins, config)


def _blocks(usable: Bool, bins: NDArray[np.int8], config: SplitConfig) -> Split:
    return _search(usable, bins, config, config.test_share, config.stop_share)


def _halves(usable: Bool, bins: NDArray[np.int8], config: SplitConfig) -> Split:
    top, left, bottom, right = bounding_box(usable)
    middle = (left + right) // 2
    train, test = usable.copy(), usable.copy()
    train[:, middle:] = False
    test[:, : middle + config.guard_lr_px] = False
    found = _search(train, bins, config, 0.0, config.stop_share)
    found.roles[test] = TEST
    boxes = {**found.boxes, "test": [(top, middle + config.guard_lr_px, bottom, right)]}
    return Split(found.roles, boxes)


def _leave_one_out(
    usable: Sequence[Bool], names: Sequence[str], bins: NDArray[np.int8], config: SplitConfig
) -> Split | None:
    if len(usable) < 2:
        raise InputError("Leave-one-out needs at least two fine scans of one pixel size, but one came. Use blocks.")
    if config.left_out is not None and config.left_out not in names:
        raise InputError(f"The scan to leave out is one of {', '.join(names)}, but {config.left_out!r} came.")
    everywhere = np.logical_or.reduce(list(usable))
    candidates = [names.index(config.left_out)] if config.left_out else range(len(usable))

    def near(k: int) -> Bool:
        return ndimage.distance_transform_cdt(~usable[k], "chessboard") <= config.guard_lr_px

    def unlike(k: int) -> float:
        rest = everywhere & ~near(k)
        enough = np.count_nonzero(rest) >= 0.25 * np.count_nonzero(everywhere)
        return _distance(bins, usable[k], rest) if enough else np.inf

    scores = {k: unlike(k) for k in candidates}
    best = min(scores, key=lambda k: scores[k])
    if not np.isfinite(scores[best]):
        return None
    found = _search(everywhere & ~near(best), bins, config, 0.0, config.stop_share)
    found.roles[usable[best]] = TEST
    note = f"{names[best]} was kept out of training as a whole and only judges."
    return Split(found.roles, {**found.boxes, "test": [bounding_box(usable[best])]}, (note,))


def bounding_box(mask: Bool) -> Box:
    """Smallest box holding every True pixel; InputError for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise InputError("The fine scan does not cover a single pixel of the coarse map. Check the registration.")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _search(usable: Bool, bins: NDArray[np.int8], config: SplitConfig, test_share: float, stop_share: float) -> Split:
    """The best of many random layouts of rectangles.

    Wanted are the given shares, held-out areas whose classes are as frequent as in the whole, and little area lost to
    guard gaps (which is what pushes rectangles against the edges of the scan).
    """
    step = max(1, -(-max(usable.shape) // _CANVAS))
    thin, guard = usable[::step, ::step], -(-config.guard_lr_px // step)
    classes, total = bins[::step, ::step], np.count_nonzero(thin)
    rng = np.random.default_rng(config.seed)
    frame = bounding_box(thin)
    best, best_score = ([], []), np.inf  # type: tuple[list[Box], list[Box]], float
    for _ in range(_TRIES):
        boxes = (_rectangles(rng, frame, test_share * total, guard), _rectangles(rng, frame, stop_share * total, guard))
        roles = painted(thin, boxes[0], boxes[1], guard)
        score = _score(roles, classes, thin, test_share, stop_share)
        if score < best_score:
            best, best_score = boxes, score
    test, stop = ([_scaled(b, step, usable.shape) for b in boxes] for boxes in best)
    return Split(painted(usable, test, stop, config.guard_lr_px), {"test": test, "stop": stop})


def _rectangles(rng: np.random.Generator, frame: Box, area: float, guard: int) -> list[Box]:
    """One to three random rectangles of a total area inside a frame; those close to its edge are moved to it."""
    if area < 1:
        return []
    top, left, bottom, right = frame
    count = int(rng.integers(1, 4))
    boxes = []
    for _ in range(count):
        side = np.sqrt(area / count)
        stretch = float(np.exp(rng.uniform(-1.2, 1.2)))
        h = int(np.clip(round(side * stretch), 1, bottom - top))
        w = int(np.clip(round(area / count / h), 1, right - left))
        y, x = int(rng.integers(top, bottom - h + 1)), int(rng.integers(left, right - w + 1))
        y = top if y - top < 2 * guard else bottom - h if bottom - h - y < 2 * guard else y
        x = left if x - left < 2 * guard else right - w if right - w - x < 2 * guard else x
        boxes.append((y, x, y + h, x + w))
    return boxes


def painted(usable: Bool, test: Sequence[Box], stop: Sequence[Box], guard: int) -> NDArray[np.int8]:
    """Roles for given test and stop rectangles; all that is usable and farther than the guard from both trains."""
    near_test, near_stop = _filled(usable.shape, test, guard), _filled(usable.shape, stop, guard)
    roles = np.where(usable & ~near_test & ~near_stop, TRAIN, NONE).astype(np.int8)
    roles[usable & _filled(usable.shape, stop, 0) & ~near_test] = STOP
    roles[usable & _filled(usable.shape, test, 0)] = TEST
    return roles


def _filled(shape: tuple[int, ...], boxes: Sequence[Box], grow: int) -> Bool:
    mask = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        mask[max(0, top - grow) : bottom + grow, max(0, left - grow) : right + grow] = True
    return mask


def _score(
    roles: NDArray[np.int8], bins: NDArray[np.int8], usable: Bool, test_share: float, stop_share: float
) -> float:
    total = np.count_nonzero(usable)
    score = 0.0
    for role, wanted, weight in ((TEST, test_share, 1.0), (STOP, stop_share, 0.7)):
        if wanted > 0:
            mask = roles == role
            missing = max(0.0, 1 - np.count_nonzero(mask) / (wanted * total))
            score += 3 * missing + weight * _distance(bins, mask, usable)
    train = np.count_nonzero(roles == TRAIN) / total
    return score + 1.5 * (1 - train)


def _binned(lr: NDArray[np.float32], unlike: NDArray[np.float32] | None, usable: Bool) -> NDArray[np.int8]:
    """Every pixel's class: the quantile of its smoothed grey level, and that of its unlikeness."""
    classes = _quantile(lr, usable, _GREY_BINS)
    if unlike is not None:
        classes = classes * _UNLIKE_BINS + _quantile(unlike, usable, _UNLIKE_BINS)
    return classes.astype(np.int8)


def _quantile(values: NDArray[np.float32], usable: Bool, count: int) -> NDArray[np.intp]:
    smooth = ndimage.uniform_filter(values, 3, mode="mirror")
    edges = np.quantile(smooth[usable], np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, smooth)


def _distance(bins: NDArray[np.int8], a: Bool, b: Bool) -> float:
    """Total variation distance of two histograms, 0 to 1."""
    if not a.any() or not b.any():
        return 1.0
    p, q = (np.bincount(bins[m], minlength=_GREY_BINS * _UNLIKE_BINS) / np.count_nonzero(m) for m in (a, b))
    return float(np.abs(p - q).sum() / 2)


def _scaled(box: Box, step: int, shape: tuple[int, ...]) -> Box:
    top, left, bottom, right = (v * step for v in box)
    return top, left, min(bottom, shape[0]), min(right, shape[1])
