"""Is the fine scan in the map at all? The answer from targets and decoys: found, doubtful or not found.

Decoys are the same tile searched, with the same effort, in the mirrored and the turned map: their best score says what
chance gives on this very material. Only the ratio of the two decides; no correlation has a meaning of its own.

The thresholds were set on simulated specimens (seeds from 1000 on) and cross pairs of real micrographs: of 139 absent
tiles the largest ratio was 1.145; the logarithm scattered by 0.11 about -0.08, so 1.3 is 3.1 standard deviations away.
"""

from __future__ import annotations

from collections.abc import Sequence

from finescan.values import Verdict

FOUND_AT = 1.3
DOUBTFUL_AT = 1.12
CLEAR_AT = 1.8  # a mode that stands out this far needs no second opinion
CHANCE_KEPT = 0.7  # chance at the finest level is at least this share of chance at the search level


def stand_out(rough: Sequence[float], sharp: Sequence[float]) -> float:
    """How far the best match stands out from chance: geometric mean of the ratios at the search and finest level.

    At the search level chance is the maximum over many places and therefore a steady figure; at the finest level only
    a few places are looked at, so a small figure there is no proof of anything: it is kept from below.

    Parameters
    ----------
    rough, sharp : best absolute scores at the two levels: the map itself first, then everything that is chance.
    """
    chance = max(*rough[1:], 1e-6)
    fine_chance = max(*sharp[1:], CHANCE_KEPT * chance)
    return float((rough[0] / chance * sharp[0] / fine_chance) ** 0.5)


def stands_out_turned(rough: Sequence[float]) -> bool:
    """Whether one of the decoys stands out from the map itself and from the other decoys as a target should."""
    ordered = sorted(rough)
    return max(rough[1:]) > rough[0] and ordered[-1] > CLEAR_AT * ordered[-2]


def decide(ratio: float, overlap: float, turned: bool) -> tuple[Verdict, tuple[str, ...]]:
    """Verdict and reasons.

    Parameters
    ----------
    ratio : best score of the target over the best score of the decoys, of the mode in which it is largest.
    overlap : share of the fine scan inside the coarse map at the best place.
    turned : whether a decoy stands out as a target should.
    """
    said = f"its best match is {ratio:.2f} times as good as the best match of mirrored decoys"
    if ratio >= FOUND_AT:
        reasons = [f"The fine scan was found: {said} (at least {FOUND_AT} is asked for)."]
        verdict = Verdict.FOUND
    elif ratio >= DOUBTFUL_AT:
        reasons = [f"It is doubtful whether the fine scan was found: {said}, and {FOUND_AT} is asked for. "
                   "Give its position (stage or landmarks), or record a larger fine scan."]  # fmt: skip
        verdict = Verdict.DOUBTFUL
    else:
        reasons = [f"The fine scan was not found: {said}, which is what chance gives. Check that both files show the "
                   "same place and that their pixel sizes are right, or pick landmarks by hand."]  # fmt: skip
        verdict = Verdict.NOT_FOUND
    if overlap < 0.97:
        reasons.append(f"Only {100 * overlap:.0f} % of the fine scan lies inside the coarse map.")
    if turned and verdict is not Verdict.FOUND:
        reasons.append("A mirrored or turned copy matches far better than the others: check the scan rotation and "
                       "whether one of the files is mirrored.")  # fmt: skip
    return verdict, tuple(reasons)
