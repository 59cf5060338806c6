"""Where an enhanced map probably lost an object, or invented one, where no fine scan was recorded.

Learned from the objects of the fine scan that the enhanced map lacks, and from its own that the fine scan lacks: how
near a call they were (see :mod:`finescan.trust.doubt_features`). Where the fine scan holds too few of them to learn
from, a near call counts as likely as an error of the ordinary size is to tip it. And whatever was learned: structure
that the coarse scan would show, if it were there, and does not show is invented, and an object that the coarse scan
clearly shows is not absent; networks err in ways on one sample that no fine scan of another has shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit, ndtr

from finescan.trust.bands import gathered
from finescan.trust.consistency import Consistency
from finescan.trust.doubt_features import COLUMNS, Box, Evidence, Sought, evidence
from finescan.trust.doubt_objects import Labels, Seen, averaged, wrong_objects
from finescan.trust.ranking import Logistic, fit_logistic
from finescan.values import Circle, Grid, Image

ENOUGH = {2: 8, 3: 4}  # wrong objects that a regression needs, and right ones; one of a volume is seen in many voxels
RIDGE = 0.3  # on simulated samples better than 1, 3 and 10, and as good as 0.1
MOST = 50_000  # coarse pixels without a wrong object that are learned from
EXPECTED = 0.01  # share of places with wrong structure, before the coarse scan was looked at
PRIOR_LOGIT = float(np.log(EXPECTED / (1 - EXPECTED)))
STRONGEST = 20.0  # standard deviations of noise
EVEN, CLEAR = 0.5, 3.0  # where nothing was tried; standard deviations from which structure counts
TOLERANCE = 0.05  # of the range that was tried, beyond it
ORDINARY = 0.999, 3.9  # of the recorded fine scan's shortfalls this share lies below; 3.1 for a normal distribution
CAREFUL = 0.5, 2.0  # misfit and excess where nothing recorded tells them
PRIOR = 4.0
SMALL_SIDE_PX = 2  # coarse pixels along a square (cube) that a wrong object touches, where none was seen
NAMES = {"omission": "lost", "invention": "invented"}  # kind of error -> what an object then is
KINDS = tuple(NAMES)

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Doubts:
    """What tells wrong objects from right ones.

    Parameters
    ----------
    sought : the objects; None = there are none, and only support by the coarse scan counts.
    learned : per kind ("omission", "invention") the regression, where there were enough wrong objects.
    spread : standard deviation of the error of the smoothed enhanced map close to the threshold, fine grey levels.
    misfit : share of its strength that true structure may fall short of in the coarse scan (registration, blur, gain).
    excess : standard deviation of what noise and misfit make look missing, in those of the noise.
    rates : per kind what the probability of a near call is multiplied with: how many came true under the fine scan.
    tried : coarse grey levels, averaged, of the area that was learned from.
    counts : objects learned from: "found", "lost", "invented".
    """

    sought: Sought | None
    learned: dict[str, Logistic] = field(default_factory=dict)
    spread: float = 0.0
    misfit: float = 0.0
    excess: float = 1.0
    rates: dict[str, float] = field(default_factory=dict)
    tried: tuple[float, float] = (float("-inf"), float("inf"))
    counts: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "sought": None if self.sought is None else dict(vars(self.sought)),
            "learned": {kind: found.to_dict() for kind, found in self.learned.items()},
            "tried": [v if np.isfinite(v) else None for v in self.tried],
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Doubts:
        """Inverse of :meth:`to_dict`."""
        low, high = d["tried"]
        read = {
            "sought": None if d["sought"] is None else Sought(**d["sought"]),
            "learned": {kind: Logistic.from_dict(found) for kind, found in d["learned"].items()},
            "tried": (-np.inf if low is None else low, np.inf if high is None else high),
        }
        return cls(**{**d, **read})

    def probabilities(self, seen: Evidence) -> dict[str, Floats]:
        """Per kind the probability that a coarse pixel holds (a part of) a wrong object; 0 where nothing is known."""
        found = {kind: self._near_call(seen, kind) for kind in KINDS}
        for p in (unsupported(seen, self.misfit), untried(seen, self.tried)):
            found["invention"] = _either(found["invention"], p)
        found["omission"] = _either(found["omission"], unshown(seen, self.excess))
        return {kind: np.where(seen.known, p, 0).astype(np.float32) for kind, p in found.items()}

    def _near_call(self, seen: Evidence, kind: str) -> NDArray[np.float64]:
        if self.sought is None:
            return np.zeros(seen.known.shape)
        if kind in self.learned:
            table = seen.columns.reshape(-1, len(COLUMNS)).astype(np.float64)
            return self.learned[kind].probability(table).reshape(seen.known.shape)
        margin = seen.peak if kind == "omission" else seen.depth
        return np.minimum(self.rates.get(kind, 1.0) * near_call(margin, self.spread), 1.0)


def _either(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of one reason or the other, which counts beyond what was expected before it was looked for."""
    news = np.maximum(other - EXPECTED, 0) / (1 - EXPECTED)
    return 1 - (1 - one) * (1 - news)


def near_call(margin: Floats, spread: float) -> NDArray[np.float64]:
    """Probability that a normal error of this spread hides an object that is there, or makes one that is not.

    Parameters
    ----------
    margin : of the object's middle, positive; or of the best candidate that is no object, negative.
    """
    return np.asarray(ndtr(-np.abs(margin.astype(np.float64)) / max(spread, 1e-9)))


def unshown(seen: Evidence, excess: float) -> NDArray[np.float64]:
    """Probability that structure is missing: the coarse scan shows it, and the enhanced map nothing of the kind.

    By Bayes' rule: what is missing is normal around 0 (with standard deviation ``excess``) if it is noise, anything up
    to :data:`STRONGEST` if it is structure, and :data:`EXPECTED` was expected before. Not where an object is shown.
    """
    z = seen.missing / excess
    gain = z**2 / 2 + np.log(np.sqrt(2 * np.pi) / STRONGEST)
    return np.where(seen.nearby >= 0, 0.0, np.where(z > 0, expit(PRIOR_LOGIT + gain), 0.0))


def untried(seen: Evidence, tried: tuple[float, float]) -> NDArray[np.float64]:
    """Probability that structure is invented where the coarse grey level leaves what the fine scans were learned at.

    Nobody has seen what is made of such grey levels, so there all structure that the coarse scan would show is an even
    bet. (Where interpolation took over, nothing is made of them.)
    """
    slack = TOLERANCE * (tried[1] - tried[0]) if np.isfinite(tried[1] - tried[0]) else 0.0
    outside = (seen.grey < tried[0] - slack) | (seen.grey > tried[1] + slack)
    return np.where(outside, EVEN * ndtr(seen.strength - CLEAR), 0.0)


def unsupported(seen: Evidence, misfit: float) -> NDArray[np.float64]:
    """Probability that the structure around is wholly invented: the coarse scan would show it, and does not.

    By Bayes' rule: the shortfall is normal around 0 if the structure is there, around its strength if it is not, and
    :data:`EXPECTED` was expected before. Structure that is too weak to be seen stays at that, which flags nothing.
    """
    variance = 1 + (misfit * seen.strength) ** 2
    return np.asarray(expit(PRIOR_LOGIT + seen.strength * (seen.shortfall - seen.strength / 2) / variance))


def learn_doubts(
    enhanced: Image,
    lr: Image,
    check: Consistency,
    scans: Sequence[Seen],
    sought: Sought | None,
    circle: Circle | None = None,
) -> Doubts:
    """Learn from the fine scans; only what is known in ``scans`` is seen of them.

    Parameters
    ----------
    enhanced : the whole map or volume, grey levels of the fine scan; arrays may be lazy.
    lr : the coarse scan.
    check : the yardstick of :func:`finescan.trust.calibrate`.
    scans : what may be learned from (not what judges).
    sought : the objects; None = none.
    circle : field of view of a volume.
    """
    scans = [s for s in scans if s.known.any()]
    boxes = [covered(s.grid, lr.grid) for s in scans]
    if not scans:
        return Doubts(sought, misfit=CAREFUL[0], excess=CAREFUL[1])
    parts = [_of_recorded(s, lr, check, b, circle) for s, b in zip(scans, boxes, strict=True)]
    recorded, grey = (np.concatenate(v) for v in zip(*parts, strict=True))
    misfit, excess = _ordinary(recorded)
    tried = (float(grey.min()), float(grey.max())) if len(recorded) else (-np.inf, np.inf)
    if sought is None:
        return Doubts(sought, misfit=misfit, excess=excess, tried=tried)
    spread, counts = _spread(scans, sought), dict.fromkeys(("found", *NAMES.values()), 0)
    rows = []
    for scan, box in zip(scans, boxes, strict=True):
        labels = wrong_objects(scan, sought)
        counts = {name: counts[name] + n for name, n in labels.counts.items()}
        seen = evidence(scan.image or enhanced, lr, check, sought, box, circle)
        rows.append(_rows(scan, labels, seen, lr.grid.crop(*box)))
    table, peak, depth, *wrong = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    learned, rates = {}, {}
    for (kind, name), labelled, margin in zip(NAMES.items(), wrong, (peak, depth), strict=True):
        if min(counts[name], counts["found"]) >= ENOUGH[lr.grid.ndim]:
            learned[kind] = _regression(table, labelled)
        rates[kind] = _rate(near_call(margin, spread), labelled, counts[name], SMALL_SIDE_PX**lr.grid.ndim)
    return Doubts(sought, learned, spread, misfit, excess, rates, tried, counts)


def _rows(scan: Seen, labels: Labels, seen: Evidence, here: Grid) -> tuple[NDArray[Any], ...]:
    """Per coarse pixel that may be learned from: columns, peak, depth, and what :data:`KINDS` of wrong it holds."""
    maps = [
        gathered(np.where(scan.known, m, np.nan).astype(np.float32), scan.grid, here) for m in labels.masks().values()
    ]
    usable = seen.known & np.isfinite(maps[0])
    return seen.columns[usable], seen.peak[usable], seen.depth[usable], *(m[usable] > 0 for m in maps)


def _rate(calls: NDArray[np.float64], wrong: Mask, count: int, small_px: int) -> float:
    """Wrong objects over those expected from near calls, drawn towards 1 as if :data:`PRIOR` more had been as expected.

    Few are wrong where a network has learned by heart, and that says little about the rest of the map.
    """
    each = wrong.sum() / count if count else small_px
    return float((count + PRIOR) / (calls.sum() / each + PRIOR))


def _regression(table: Floats, wrong: Mask) -> Logistic:
    """With at most :data:`MOST` of the right pixels, each of which then counts for several."""
    right = np.flatnonzero(~wrong)
    step = -(-right.size // MOST)
    rows = np.sort(np.concatenate([np.flatnonzero(wrong), right[::step]]))
    weight = np.where(wrong[rows], 1.0, right.size / max(right[::step].size, 1))
    return fit_logistic(table[rows].astype(np.float64), wrong[rows], COLUMNS, ridge=RIDGE, weight=weight)


def _spread(scans: Sequence[Seen], sought: Sought) -> float:
    """Root mean square error of the smoothed map where it is nearest to the threshold (a quarter of the pixels)."""
    margins, errors = [], []
    for scan in scans:
        ours, theirs = (averaged(v, scan.known, sought.smooth_px)[scan.known] for v in (scan.enhanced, scan.fine))
        margins.append(np.abs(sought.margin(ours)))
        errors.append((ours - theirs).astype(np.float64))
    margin, error = np.concatenate(margins), np.concatenate(errors)
    return float(np.sqrt(np.mean(error[margin <= np.quantile(margin, 0.25)] ** 2)))


def _of_recorded(
    scan: Seen, lr: Image, check: Consistency, box: Box, circle: Circle | None
) -> tuple[NDArray[np.float64], Floats]:
    """(pixels, 3) strength, shortfall and what is missing of *recorded* structure; and coarse grey levels there.

    Fine volumes are few coarse voxels across, so the grey levels of their rim count as well.
    """
    fine = Image(np.where(scan.known, scan.fine, np.nan).astype(np.float32), scan.grid, "fine")
    seen = evidence(fine, lr, check, None, box, circle)
    inner = ndimage.binary_erosion(seen.known, np.ones((3,) * seen.known.ndim), iterations=3)
    table = np.stack([v[inner] for v in (seen.strength, seen.shortfall, seen.missing)], axis=1)
    return table.astype(np.float64), seen.grey[inner if inner.ndim == 2 else seen.known]


def _ordinary(recorded: NDArray[np.float64]) -> tuple[float, float]:
    """The least misfit, and excess, under which nothing recorded looks invented or missing; see :data:`ORDINARY`."""
    if not len(recorded):
        return CAREFUL
    strength, shortfall, missing = recorded.T
    share, sigmas = ORDINARY
    excess = max(1.0, float(np.quantile(missing, share)) / sigmas)
    for misfit in np.arange(0.0, 1.0, 0.02):
        if np.quantile(shortfall / np.sqrt(1 + (misfit * strength) ** 2), share) <= sigmas:
            return float(misfit), excess
    return 1.0, excess


def covered(fine: Grid, coarse: Grid) -> Box:
    """The coarse pixels under a fine grid, as a box."""
    low = np.floor(coarse.to_index(fine.edge_nm) + 0.5 + 1e-6).astype(int)
    high = np.ceil(coarse.to_index(np.add(fine.edge_nm, fine.extent_nm)) + 0.5 - 1e-6).astype(int)
    low, high = np.clip(low, 0, np.array(coarse.shape) - 1), np.clip(high, 1, coarse.shape)
    return tuple(low.tolist()), tuple(high.tolist())
