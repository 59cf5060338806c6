"""Where lost and invented objects are flagged: the most probable places, and no more of them than a reader can look at.

Pictures keep the probability of every coarse pixel; of volumes, which are read box by box, only that of the voxels that
may come to be flagged is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array, csgraph

from finescan.trust.consistency import Consistency
from finescan.trust.doubt import KINDS, Doubts, covered
from finescan.trust.doubt_features import Box, Sought, around, evidence
from finescan.trust.doubt_objects import Seen, wrong_objects
from finescan.trust.ranking import auroc
from finescan.values import Circle, Grid, Image

BAND_PX = 1 << 22  # fine pixels at a time
BOX_PX = 1 << 25  # fine voxels at a time, with those around
SHARE = 0.05  # of the area is flagged at most …
LEAST = 0.03  # … and nothing that is less probable than this,
PLACE = 0.2  # and no place in which fewer coarse pixels than this are expected to be wrong (the sum over the place)

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Maps = dict[str, Floats]


def doubt_maps(enhanced: Image, lr: Image, check: Consistency, doubts: Doubts, circle: Circle | None = None) -> Maps:
    """Per kind of error, the probability that each coarse pixel holds (a part of) a wrong object; part by part.

    Parameters
    ----------
    enhanced, lr, check : as for :func:`finescan.trust.doubt.learn_doubts`.
    doubts : what was learned.
    circle : field of view of a volume.
    """
    out = {kind: np.zeros(lr.grid.shape, np.float32) for kind in KINDS}
    for box, found in doubt_boxes(enhanced, lr, check, doubts, circle):
        for kind, p in found.items():
            out[kind][box] = p
    return out


def doubt_boxes(
    enhanced: Image, lr: Image, check: Consistency, doubts: Doubts, circle: Circle | None = None
) -> Iterator[tuple[tuple[slice, ...], Maps]]:
    """As :func:`doubt_maps`, but one box of the coarse scan after the other: slices and the probabilities there."""
    for start, stop in _boxes(lr.grid, enhanced.grid, check):
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        if circle is not None and not circle.mask(lr.grid.crop(start, stop)).any():
            yield box, {kind: np.zeros([b - a for a, b in zip(start, stop, strict=True)], np.float32) for kind in KINDS}
        else:
            yield box, doubts.probabilities(evidence(enhanced, lr, check, doubts.sought, (start, stop), circle))


def _boxes(coarse: Grid, fine: Grid, check: Consistency) -> Iterator[Box]:
    """Bands of rows of pictures; boxes of volumes, halved along the longest side until they fit into memory."""
    if coarse.ndim == 2:
        ratio = fine.size / coarse.shape[0]  # fine pixels per coarse row
        step = max(32, int(BAND_PX // max(ratio, 1)))
        for first in range(0, coarse.shape[0], step):
            yield (first, 0), (min(first + step, coarse.shape[0]), coarse.shape[1])
        return
    waiting: list[Box] = [((0,) * 3, coarse.shape)]
    per_voxel = max(1.0, float(np.prod(coarse.sr_factor(fine))))
    while waiting:
        start, stop = waiting.pop()
        low, high = around(start, stop, coarse, check)
        longest = int(np.argmax(np.subtract(stop, start)))
        if np.prod(high - low) * per_voxel <= BOX_PX or stop[longest] - start[longest] <= 16:
            yield start, stop
            continue
        middle = (start[longest] + stop[longest]) // 2
        waiting.append((tuple(np.where(np.arange(3) == longest, middle, start).tolist()), stop))
        waiting.append((start, tuple(np.where(np.arange(3) == longest, middle, stop).tolist())))


# ------------------------------------------------------------------ judging
def judged(
    predicted: Callable[[Seen, Box], Maps], coarse: Grid, scans: Sequence[Seen], sought: Sought
) -> dict[str, Any]:
    """How well the probabilities rank objects of fine scans that were not learned from.

    Parameters
    ----------
    predicted : gives the probabilities in the box of the coarse scan that lies under one of the fine scans.
    coarse : its grid.

    Returns
    -------
    per kind "auroc" (wrong objects above found ones; the score of an object is its mean probability), "wrong" and
    "right" objects; AUROC is None where either is missing.
    """
    scores: dict[str, list[NDArray[np.float64]]] = {k: [] for k in KINDS}
    truth: dict[str, list[Mask]] = {k: [] for k in KINDS}
    for scan in scans:
        labels, box = wrong_objects(scan, sought), covered(scan.grid, coarse)
        under = [scan.grid.pixels_under(coarse, axis) - box[0][axis] for axis in range(coarse.ndim)]
        where, maps = np.ix_(*under), predicted(scan, box)
        for kind, objects, wrong in (
            ("omission", labels.theirs, labels.lost),
            ("invention", labels.ours, labels.invented),
        ):
            mean = ndimage.mean(maps[kind][where], objects, np.arange(1, wrong.size))
            scores[kind].append(np.asarray(mean, np.float64))
            truth[kind].append(wrong[1:])
    found = {}
    for kind in KINDS:
        score, wrong = np.concatenate([*scores[kind], np.zeros(0)]), np.concatenate([*truth[kind], np.zeros(0, bool)])
        area = auroc(score, wrong) if wrong.size else float("nan")
        found[kind] = {
            "auroc": None if np.isnan(area) else area,
            "wrong": int(wrong.sum()),
            "right": int(wrong.size - wrong.sum()),
        }
    return found


# ------------------------------------------------------------------ flags
def doubted(maps: dict[str, Floats], usable: Mask) -> tuple[dict[str, Mask], dict[str, float]]:
    """The coarse pixels that are flagged, and the least probability of those of either kind.

    At most :data:`SHARE` of the usable area is flagged, half of it for each kind of error; what one kind leaves is the
    other's. And no pixel below :data:`LEAST`, and no place (pixels that touch) with less than :data:`PLACE` in all.

    Parameters
    ----------
    maps : of :func:`doubt_maps`.
    usable : True where a flag may be set.
    """
    room = int(SHARE * usable.sum())
    wanted = {k: int(np.count_nonzero(usable & (p >= LEAST))) for k, p in maps.items()}
    limits = _limits({k: p[usable] for k, p in maps.items()}, wanted, room)
    masks = {k: usable & (p >= limits[k]) for k, p in maps.items()}
    for kind, mask in masks.items():
        index = np.flatnonzero(mask)
        mask.reshape(-1)[index[~_likely(index, maps[kind].reshape(-1)[index], mask.shape)]] = False
    return masks, limits


def _likely(index: NDArray[np.int64], p: Floats, shape: Sequence[int]) -> Mask:
    """Which of these pixels (flat indices, ascending, and probabilities) lie in places that are worth a look.

    Only the pixels themselves are held, of which a large volume has few.
    """
    if not index.size:
        return np.zeros(0, bool)
    wider = tuple(n + 1 for n in shape)  # so that no neighbour is beyond an end
    flat = np.ravel_multi_index(np.unravel_index(index, tuple(shape)), wider)
    ends = []
    for step in np.ndindex(*(3,) * len(shape)):
        away = int(np.ravel_multi_index(step, wider)) - int(np.ravel_multi_index((1,) * len(shape), wider))
        if away > 0:  # the others are the same pairs, the other way round
            at = np.searchsorted(flat, flat + away)
            first = np.flatnonzero(flat[np.minimum(at, flat.size - 1)] == flat + away)
            ends.append(np.stack([first, at[first]]))
    one, other = np.concatenate(ends, axis=1)
    pairs = coo_array((np.ones(one.size, bool), (one, other)), shape=(flat.size, flat.size))
    count, place = csgraph.connected_components(pairs, directed=False)
    return np.asarray((np.bincount(place, p, minlength=count) >= PLACE)[place], bool)


def _limits(found: Maps, wanted: dict[str, int], room: int) -> dict[str, float]:
    """Per kind the least probability that is flagged: half of the room, and what the other kind leaves of its own."""
    return {kind: _limit(found[kind], room - min(wanted[other], room // 2)) for kind, other in (KINDS, KINDS[::-1])}


def _limit(p: Floats, most: int) -> float:
    """The least probability of at most so many pixels; :data:`LEAST` at least."""
    if most >= p.size:
        return LEAST
    highest = np.partition(p, p.size - 1 - most)[p.size - 1 - most] if p.size else 0.0
    return max(LEAST, float(np.nextafter(np.float32(highest), np.float32(2))))


@dataclass
class Strongest:
    """What :func:`doubted` would flag, of a volume that comes box by box: never all of it is held.

    Parameters
    ----------
    room : how many voxels may be flagged.
    shape : of the volume.
    """

    room: int
    shape: tuple[int, ...]
    wanted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    _index: dict[str, NDArray[np.int64]] = field(default_factory=lambda: {k: np.zeros(0, np.int64) for k in KINDS})
    _found: Maps = field(default_factory=lambda: {k: np.zeros(0, np.float32) for k in KINDS})

    def add(self, maps: Maps, usable: Mask, box: tuple[slice, ...]) -> None:
        """The probabilities in a box."""
        for kind, p in maps.items():
            at = np.nonzero(usable & (p >= LEAST))
            whole = [i + s.start for i, s in zip(at, box, strict=True)]
            self.wanted[kind] += at[0].size
            index = np.concatenate([self._index[kind], np.ravel_multi_index(whole, self.shape).astype(np.int64)])
            found = np.concatenate([self._found[kind], p[at]])
            if found.size > 2 * self.room + 1:  # one more than may be flagged says where to stop
                kept = np.argpartition(found, found.size - self.room - 1)[-self.room - 1 :]
                index, found = index[kept], found[kept]
            self._index[kind], self._found[kind] = index, found

    def flagged(self) -> tuple[dict[str, NDArray[np.int64]], dict[str, float]]:
        """Per kind the flat indices of what is flagged, and the least probability there."""
        limits = _limits(self._found, self.wanted, self.room)
        out = {}
        for kind, p in self._found.items():
            chosen = np.flatnonzero(p >= limits[kind])
            chosen = chosen[np.argsort(self._index[kind][chosen])]
            index = self._index[kind][chosen]
            out[kind] = index[_likely(index, p[chosen], self.shape)]
        return out, limits
