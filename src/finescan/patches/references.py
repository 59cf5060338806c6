"""Which reference goes with which patch, and training patches that bring theirs along.

The choice is made once per training set, by likeness of embeddings that a network supplies (T. Reclik et al., Materials
& Design 2025, doi:10.1016/j.matdes.2025.113955, section 2.3.1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from finescan.errors import InputError
from finescan.patches.bank import ReferenceBank, bank_from_images, cut_references
from finescan.patches.pieces import PatchSet
from finescan.patches.sampling import SYMMETRIES, PatchSampler, turned

__all__ = ["ReferenceBank", "TripletSampler", "bank_from_images", "choose_references", "cut_references", "likenesses"]

_CHUNK = 64  # patches shown to the chooser at a time
_ROWS = 4096  # queries compared at a time

Bool = NDArray[np.bool_]
#: coarse (n, s, s), fine (n, f * s, f * s), weight like it, reference (n, side, side)
TripletBatch = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
#: coarse patches (k, s, s) -> number of the reference (k,), or the likeness of every reference (k, n)
Choose = Callable[[NDArray[np.float32]], NDArray[Any]]


def choose_references(
    queries: NDArray[np.floating], keys: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The most similar reference of every query: largest cosine of their embeddings, the first of equals.

    Equations 3 and 4 of Reclik et al. 2025. A vector of zeros is like nothing (cosine 0).

    Parameters
    ----------
    queries : (m, d) embeddings of coarse patches.
    keys : (n, d) embeddings of references.

    Returns
    -------
    number of the reference (m,), and its cosine (m,) from -1 to 1.

    Examples
    --------
    >>> which, cosine = choose_references(np.array([[2.0, 0.0]]), np.array([[0.0, 1.0], [3.0, 0.0]]))
    >>> int(which[0]), float(cosine[0])
    (1, 1.0)
    """
    best, cosine = np.empty(len(queries), np.intp), np.empty(len(queries), np.float32)
    for first in range(0, len(queries), _ROWS):
        rows = slice(first, first + _ROWS)
        table = likenesses(queries[rows], keys)
        best[rows] = table.argmax(axis=1)
        cosine[rows] = table.max(axis=1)
    return best, cosine


def likenesses(queries: NDArray[np.floating], keys: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cosines (m, n) of all queries (m, d) with all keys (n, d); see :func:`choose_references`."""
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1] or len(keys) == 0:
        raise InputError(
            f"Embeddings must be (m, d) and (n, d) with n at least 1, but {queries.shape} and {keys.shape} came."
        )
    return np.clip(_units(queries) @ _units(keys).T, -1, 1)


def _units(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    v = np.asarray(vectors, np.float64)
    if not np.isfinite(v).all():
        raise InputError("Embeddings must be finite, but some are NaN or infinite.")
    length = np.sqrt((v**2).sum(axis=1, keepdims=True))
    return (v / np.where(length > 0, length, 1)).astype(np.float32)


class TripletSampler:
    """Random training patches, each with the reference that suits it; see :class:`PatchSampler`.

    Coarse, fine and weight are those that a PatchSampler of the same seed draws. References are chosen once, for
    patches on a lattice of positions; a patch takes the choice of the nearest of them.

    Parameters
    ----------
    patches, size, crop, augment, seed : as in :class:`PatchSampler`.
    bank : references to choose from, not smaller than a patch.
    augment_references : symmetries of the references, drawn apart from those of the pair.
    choose : called once for at most 64 coarse patches at a time, grey levels (k, size, size); gives the number of the
        best reference (k,), or the likeness of every reference (k, n). In the second form the best one that does not
        overlap the patch is taken: one that shows the patch itself would teach the network to copy.
    step : coarse pixels between lattice positions; None = half a patch.

    Attributes
    ----------
    chosen : (m,) number of the reference for every lattice position.
    last : (count,) the same for the patches of the last batch.
    notes : sentences about what was decided.
    """

    def __init__(
        self,
        patches: PatchSet,
        bank: ReferenceBank,
        *,
        choose: Choose,
        size: int = 32,
        crop: int = 2,
        augment: str = "all",
        augment_references: str = "all",
        seed: int = 0,
        step: int | None = None,
    ) -> None:
        if augment_references not in SYMMETRIES:
            raise InputError(f"augment_references is one of {', '.join(SYMMETRIES)}, but {augment_references!r} came.")
        self._sampler = PatchSampler(patches, size=size, crop=crop, augment=augment, seed=seed)
        self.size, self.crop, self.bank = self._sampler.size, crop, bank
        if bank.side < patches.factor * self.size:
            raise InputError(
                f"A reference must not be smaller than a patch of {patches.factor * self.size} fine pixels, but those "
                f"of the bank have {bank.side}. Cut larger references, or use smaller patches."
            )
        self._symmetries = SYMMETRIES[augment_references]
        self._random = np.random.default_rng([seed, 72])
        lattice, self._nearest = _lattice(self._sampler.places, step or max(1, self.size // 2))
        self.chosen, self.notes = self._choices(patches, lattice, choose)
        self.last = np.zeros(0, np.intp)

    @property
    def positions(self) -> int:
        """Number of different patch positions."""
        return self._sampler.positions

    def batch(self, count: int) -> TripletBatch:
        """Coarse (count, s, s), fine (count, f * s, f * s), weight like it, and references (count, side, side)."""
        draws, turns = self._sampler.draw(count)
        self.last = self.chosen[self._nearest[draws]]
        own = self._random.choice(self._symmetries, count)
        reference = np.stack([turned(self.bank.crops[k], int(t)) for k, t in zip(self.last, own, strict=True)])
        return *self._sampler.cut(draws, turns), reference

    def state_dict(self) -> dict[str, Any]:
        """State of the random numbers; the text form survives any file format."""
        return {**self._sampler.state_dict(), "references": json.dumps(self._random.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where :meth:`state_dict` was taken."""
        self._sampler.load_state_dict(state)
        self._random.bit_generator.state = json.loads(state["references"])

    def _choices(
        self, patches: PatchSet, lattice: NDArray[np.intp], choose: Choose
    ) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        chosen = np.empty(len(lattice), np.intp)
        inside = 0
        for first in range(0, len(lattice), _CHUNK):
            some = lattice[first : first + _CHUNK]
            overlap = self._overlaps(patches, some)
            numbers = _numbers(np.asarray(choose(self._sampler.coarse(some))), overlap)
            chosen[first : first + _CHUNK] = numbers
            inside += int(np.count_nonzero(overlap[np.arange(len(some)), numbers]))
        if not inside:
            return chosen, ()
        return chosen, (f"{100 * inside / len(lattice):.0f} % of the patches lie in the reference chosen for them.",)

    def _overlaps(self, patches: PatchSet, draws: NDArray[np.intp]) -> Bool:
        """Which references show part of which patch (k, n)."""
        places = [self._sampler.place(int(d)) for d in draws]
        origin = [patches.out_grid.to_index(patches.pieces[k].out_grid.origin_nm) for k, _, _ in places]
        corner = np.rint(origin) + patches.factor * np.array([p[1:] for p in places])
        off = self.bank.corners[None] - corner[:, None]
        near = (off < patches.factor * self.size) & (off > -self.bank.side)
        return np.asarray(near.all(axis=-1) & (self.bank.piece >= 0))


def _numbers(answer: NDArray[Any], overlap: Bool) -> NDArray[np.intp]:
    """Numbers of references from what a chooser gave: numbers, or likenesses to be cleared of overlaps."""
    if answer.shape == overlap.shape and answer.dtype.kind == "f":
        free = np.where(overlap & ~overlap.all(axis=1, keepdims=True), -np.inf, answer)
        return free.argmax(axis=1)
    k, n = overlap.shape
    if answer.shape != (k,) or answer.dtype.kind not in "iu" or (answer < 0).any() or (answer >= n).any():
        raise InputError(
            f"choose must give {k} whole numbers from 0 to {n - 1}, or ({k}, {n}) likenesses, but an array "
            f"{answer.shape} of {answer.dtype} came."
        )
    return answer.astype(np.intp)


def _lattice(places: Sequence[NDArray[np.intp]], step: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions about ``step`` apart (m,), and for every position which of them is nearest (n,)."""
    lattice: list[NDArray[np.intp]] = []
    nearest, before, found = [], 0, 0
    for corners in places:
        if len(corners):
            cell = (corners - corners.min(axis=0)) // step
            off = ((corners - corners.min(axis=0) - cell * step - (step - 1) / 2) ** 2).sum(axis=1)
            group = np.unique(cell, axis=0, return_inverse=True)[1].ravel()
            order = np.lexsort((off, group))  # of every cell the position nearest to its middle
            middles = np.sort(order[np.flatnonzero(np.diff(group[order], prepend=-1))])
            lattice.append(middles + before)
            nearest.append(cKDTree(corners[middles]).query(corners)[1] + found)
            before, found = before + len(corners), found + len(middles)
    return np.concatenate(lattice), np.concatenate(nearest)
