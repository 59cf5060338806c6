"""Which part of a volume trains, which decides when to stop, and which is only ever used to judge.

Roles belong to boxes of the sample, in voxels of the out grid, and are chosen before any patch exists. Whatever is
farther than the guard gap from every held-out box trains. (Bukka et al. 2025 have no hold-out at all.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError

Box3 = tuple[int, int, int, int, int, int]  # z, y, x of the first voxel, then of the first one behind

KINDS = ("boxes", "slabs")
_TRIES = 400
_CANVAS = 40  # candidates are compared on a canvas thinned to about this many cells per axis
_GREY_BINS = 8


@dataclass(frozen=True)
class VolumeSplitConfig:
    """How held-out boxes are chosen.

    Parameters
    ----------
    kind : "boxes" (three-dimensional, anywhere) or "slabs" (whole slices at an end).
    stop_share, test_share : wanted shares of the usable voxels; 0 for ``test_share`` where another sample judges.
    guard_voxels : gap between roles; None = a sixteenth of the shortest side, 4 to 24.
    seed : of the random search for good boxes.
    most_voxels : of the overlap, at most so many are held in memory (9 bytes each); a larger fine scan is cut to a
        smaller box around its middle, and a note says so.
    boxes : "stop" and "test" boxes of the out grid that an earlier run held out; None = chosen anew.
    """

    kind: str = "boxes"
    stop_share: float = 0.08
    test_share: float = 0.15
    guard_voxels: int | None = None
    seed: int = 0
    most_voxels: int = 200_000_000
    boxes: Mapping[str, Sequence[Sequence[int]]] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"A split of a volume is one of {', '.join(KINDS)}, but {self.kind!r} came.")
        for name, share, least in (("stop_share", self.stop_share, 0.02), ("test_share", self.test_share, 0.0)):
            if not least <= share <= 0.4:
                raise InputError(f"{name} must be between {least:g} and 0.4, but {share} came.")
        if self.guard_voxels is not None and self.guard_voxels < 0:
            raise InputError(f"The guard gap must be 0 voxels or more, but {self.guard_voxels} came.")
        if self.most_voxels < 1000:
            raise InputError(f"most_voxels must be at least 1000, but {self.most_voxels} came.")

    def guard(self, shape: Sequence[int]) -> int:
        """The gap for a volume of a shape, voxels."""
        return int(np.clip(min(shape) // 16, 4, 24)) if self.guard_voxels is None else self.guard_voxels


def choose_boxes(
    usable: NDArray[np.bool_], lr: NDArray[np.float32], config: VolumeSplitConfig
) -> dict[str, list[Box3]]:
    """Held-out boxes of a volume, in its own voxels.

    The best of many random layouts: wanted shares, grey levels as frequent as in the whole, little lost to the gaps.

    Parameters
    ----------
    usable : (d, h, w), voxels that could be learned from.
    lr : coarse grey levels, same shape.
    """
    if not usable.any():
        raise InputError("No voxel of the overlap can be learned from. Check the registration and the field of view.")
    frame = _bounds(usable)  # boxes that reach beyond the fine scan would be held out for nothing
    inner = tuple(slice(a, b) for a, b in zip(frame[:3], frame[3:], strict=True))
    found = _best_boxes(usable[inner], lr[inner], config)
    return {name: [_moved(box, frame)] for name, box in found.items()}


def _best_boxes(usable: NDArray[np.bool_], lr: NDArray[np.float32], config: VolumeSplitConfig) -> dict[str, Box3]:
    step = tuple(max(1, n // _CANVAS) for n in usable.shape)
    every = tuple(slice(None, None, s) for s in step)
    thin, grey = usable[every], lr[every]
    if not thin.any():  # a few scattered voxels between the ones looked at
        thin = np.ones_like(thin)
    edges = np.quantile(grey[thin], np.linspace(0, 1, _GREY_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, grey)
    guard = config.guard(usable.shape)
    gap = tuple(-(-guard // s) for s in step)
    shares = (("test", config.test_share), ("stop", config.stop_share))
    rng = np.random.default_rng(config.seed)
    best, best_score = {}, np.inf  # type: dict[str, Box3], float
    for _ in range(_TRIES):
        boxes = {name: _random_box(rng, thin.shape, share, config.kind) for name, share in shares if share > 0}
        score = _score(boxes, thin, bins, gap, config)
        if score < best_score:
            best, best_score = boxes, score
    return {name: _scaled(box, step, usable.shape) for name, box in best.items()}


def _bounds(mask: NDArray[np.bool_]) -> Box3:
    """The smallest box around what is set."""
    known = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != k))) for k in range(3)]
    (a, b, c), (d, e, f) = ([int(k[at]) for k in known] for at in (0, -1))
    return a, b, c, d + 1, e + 1, f + 1


def _moved(box: Box3, frame: Box3) -> Box3:
    (z, y, x), (a, b, c, d, e, f) = frame[:3], box
    return a + z, b + y, c + x, d + z, e + y, f + x


def paint(mask: NDArray[np.bool_], boxes: Sequence[Box3], grow: int | Sequence[int], value: bool) -> None:
    """Set the inside of boxes, grown on all sides, to a value (in place)."""
    g = (grow,) * 3 if isinstance(grow, int) else tuple(grow)
    for box in boxes:
        mask[tuple(slice(max(0, a - e), max(0, b + e)) for a, b, e in zip(box[:3], box[3:], g, strict=True))] = value


def _random_box(rng: np.random.Generator, shape: Sequence[int], share: float, kind: str) -> Box3:
    """A box of about a share of the shape; half of its faces lie on the shape's, where they cost no gap."""
    share = min(0.9, share * float(np.exp(rng.uniform(-0.3, 0.9))))  # corners of a round field of view are empty
    if kind == "slabs":
        sides = [max(1, round(share * shape[0])), shape[1], shape[2]]
    else:
        stretch = np.exp(rng.uniform(-0.7, 0.7, 3))
        stretch *= (share / np.prod(stretch)) ** (1 / 3)
        sides = [int(np.clip(round(s * n), 1, n)) for s, n in zip(stretch, shape, strict=True)]
    first = [(0, n - s, int(rng.integers(0, n - s + 1)))[rng.integers(3)] for s, n in zip(sides, shape, strict=True)]
    if kind == "slabs":
        first[0] = int(rng.choice([0, shape[0] - sides[0]]))
    z, y, x = first
    return z, y, x, z + sides[0], y + sides[1], x + sides[2]


def _score(
    boxes: dict[str, Box3],
    usable: NDArray[np.bool_],
    bins: NDArray[np.intp],
    gap: Sequence[int],
    config: VolumeSplitConfig,
) -> float:
    total = np.count_nonzero(usable)
    train = usable.copy()
    score = 0.0
    for name, box in boxes.items():
        mask = np.zeros_like(usable)
        paint(mask, [box], 0, True)
        mask &= usable
        for other in boxes:
            if name == "stop" and other == "test":
                paint(mask, [boxes[other]], gap, False)
        wanted = config.stop_share if name == "stop" else config.test_share
        score += 3 * abs(1 - np.count_nonzero(mask) / (wanted * total)) + _distance(bins, mask, usable)
        paint(train, [box], gap, False)
    return score + 2 * (1 - np.count_nonzero(train) / total)


def _distance(bins: NDArray[np.intp], a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Total variation distance of two histograms, 0 to 1."""
    if not a.any():
        return 1.0
    p, q = (np.bincount(bins[m], minlength=_GREY_BINS) / np.count_nonzero(m) for m in (a, b))
    return float(np.abs(p - q).sum() / 2)


def _scaled(box: Box3, step: Sequence[int], shape: Sequence[int]) -> Box3:
    a = [v * s for v, s in zip(box[:3], step, strict=True)]
    b = [n if v == -(-n // s) else v * s for v, s, n in zip(box[3:], step, shape, strict=True)]
    return a[0], a[1], a[2], b[0], b[1], b[2]
