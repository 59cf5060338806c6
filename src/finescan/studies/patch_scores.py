"""Scores of methods on held-out patches of recorded pairs, with standard errors, as the papers' tables give them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.patches import PatchSet, Piece
from finescan.patches.split import ROLES, bounding_box
from finescan.trust import METRICS
from finescan.values import Image

if TYPE_CHECKING:
    from finescan.models import Model

SCORED = ("ssim", "psnr", "essim")  # those of Reclik et al. 2025


@dataclass(frozen=True)
class HeldPatch:
    """A held-out patch: where it lies in its piece, and the recorded fine scan there.

    Parameters
    ----------
    piece : coarse pixels with context.
    box : rows and columns of the patch in the fine pixels of the piece.
    """

    piece: Piece
    box: tuple[slice, slice]

    @property
    def coarse(self) -> NDArray[np.float32]:
        """The coarse pixels of the patch alone."""
        f = self.piece.factor
        return self.piece.lr[tuple(slice(s.start // f, s.stop // f) for s in self.box)]

    @property
    def reference(self) -> NDArray[np.float32]:
        """The recorded fine grey levels."""
        return self.piece.hr[self.box]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that count."""
        return self.piece.weight[self.box]


#: a method: a patch with its context -> fine grey levels of the patch
Answer = Callable[[HeldPatch], NDArray[np.float32]]


def held_patches(patches: PatchSet, role: str = "test") -> list[HeldPatch]:
    """The patches of a role, or of all roles ("any")."""
    held = []
    for piece in patches.pieces:
        mine = piece.role > 0 if role == "any" else piece.role == ROLES[role]
        if mine.any():
            top, left, bottom, right = (v * piece.factor for v in bounding_box(mine))
            held.append(HeldPatch(piece, (slice(top, bottom), slice(left, right))))
    if not held:
        raise InputError(f"No patch has the role {role!r}. Record more pairs.")
    return held


@dataclass(frozen=True)
class Scored:
    """What one method reaches.

    Parameters
    ----------
    values : metric -> one number per patch.
    grey : mean grey level of all its patches.
    seconds_per_mpx : processor seconds per million fine pixels.
    """

    values: Mapping[str, NDArray[np.float64]]
    grey: float
    seconds_per_mpx: float

    def mean(self, metric: str) -> float:
        """Over the patches."""
        return float(np.mean(self.values[metric]))

    def error(self, metric: str) -> float | None:
        """Standard error of the mean, as if patches were independent (as published); None for a single patch."""
        return _error(self.values[metric])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mean": {m: self.mean(m) for m in self.values},
            "error": {m: self.error(m) for m in self.values},
            "patches": len(next(iter(self.values.values()))),
            "grey": self.grey,
            "seconds_per_mpx": self.seconds_per_mpx,
        }


def by_model(model: Model) -> Answer:
    """The answer of a model: with context around the patch, or on the patch alone for a network without exact halo."""
    from finescan.models.windows import Windows

    if model.windows is None:
        return lambda patch: model.predict(patch.piece.lr)[patch.box]
    one = Windows(model.windows.size, model.windows.size, False)  # as published: a patch is one window
    return lambda patch: model.predict(patch.coarse, windows=one)


def by_map(image: Image, patches: PatchSet) -> Answer:
    """What an enhanced map of the whole field holds where a patch lies."""

    def answer(patch: HeldPatch) -> NDArray[np.float32]:
        first = np.rint(patches.out_grid.to_index(patch.piece.out_grid.origin_nm)).astype(int)
        rows, columns = (slice(s.start + f, s.stop + f) for s, f in zip(patch.box, first.tolist(), strict=True))
        return np.asarray(image.data[rows, columns], np.float32)

    return answer


def score(
    held: Sequence[HeldPatch],
    answer: Answer,
    *,
    data_range: float,
    references: Sequence[NDArray[np.float32]] | None = None,
) -> Scored:
    """Enhance every patch and compare it.

    Parameters
    ----------
    held : patches of one role.
    answer : what is judged.
    data_range : grey levels that PSNR and SSIM refer to; 255 for 8-bit scans, as published.
    references : what to compare with instead of the recorded fine scans (a noise-free truth).
    """
    began = time.process_time()
    answers = [answer(patch) for patch in held]
    spent = time.process_time() - began
    values: dict[str, list[float]] = {m: [] for m in SCORED}
    for k, (patch, mine) in enumerate(zip(held, answers, strict=True)):
        truth = patch.reference if references is None else references[k]
        for m in SCORED:
            values[m].append(METRICS[m](mine, truth, data_range=data_range, mask=patch.mask))
    grey = float(np.mean([a.mean() for a in answers]))
    pixels = sum(patch.piece.hr.size for patch in held)
    return Scored({m: np.array(v) for m, v in values.items()}, grey, spent / (pixels / 1e6))


def gain(one: Scored, other: Scored, metric: str) -> tuple[float, float | None]:
    """Mean difference of two methods on the same patches, and its standard error."""
    d = one.values[metric] - other.values[metric]
    return float(d.mean()), _error(d)


def _error(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
