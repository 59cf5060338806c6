"""The answer of the coarse location."""

from __future__ import annotations

from dataclasses import dataclass

from finescan.values import Verdict, Warp


@dataclass(frozen=True)
class Candidate:
    """A place where the fine scan may lie: affine warp, signed score, mode that proposed it."""

    lr_from_hr: Warp
    score: float
    mode: str


@dataclass(frozen=True)
class Location:
    """Where the fine scan lies in the coarse map.

    Parameters
    ----------
    lr_from_hr : affine; nm in the frame of the fine scan to nm in the frame of the coarse map.
    mode : "ncc", "orientation", "whitened", or "landmarks".
    score : correlation of that mode at that place, signed (negative = inverted contrast), times the root of the share
        of the fine scan inside the map; comparable within one search only.
    decoy_ratio : best score over the best score of mirrored decoys; nan for landmarks.
    verdict, reasons : found, doubtful or not found, and why, in sentences.
    candidates : the best places, best first, for the refinement to try.
    """

    lr_from_hr: Warp
    mode: str
    score: float
    decoy_ratio: float
    verdict: Verdict
    reasons: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
