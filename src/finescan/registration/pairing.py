"""From two scans to a Pair: locate, refine, judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.registration.align import Alignment, AlignOptions, align_scans, prepared
from finescan.registration.answer import (
    geometry_reasons,
    mask_reasons,
    method_entries,
    recorded_ratio,
    refinement_reasons,
    residual_in_sigmas,
    valid_mask,
    worse,
)
from finescan.registration.locate import Location, locate, locate_from_landmarks
from finescan.registration.motion import Motion
from finescan.registration.overlaps import overlap_disagreement
from finescan.registration.prior import Prior, prior_from_headers
from finescan.registration.residual import Blocks, block_shifts, sigma_map, split_error
from finescan.registration.unwarp import escalate, rings
from finescan.registration.working import Scans
from finescan.values import Image, Pair, Residual, Verdict, Warp

Progress = Callable[[float, float, str], None]
Landmarks = Sequence[Sequence[ArrayLike]]  # per point (y, x) in fine and (y, x) in coarse pixels

NEAR_PX = 6.0  # LR px within which other candidates are worth refining along with the best
OVERLAP_LIMIT_LR_PX = 0.5
SUSPICIOUS_LR_PX = 0.15  # split error from which other models are tried
STIFFER = 4  # knot intervals of the stiffer drift


@dataclass(frozen=True)
class Refined:
    """An alignment with its judgement: split error (HR px), block check, whether a tensor spline was tried."""

    alignment: Alignment
    split_hr_px: float
    blocks: Blocks
    tried_bspline: bool


def register(
    lr: Image,
    hr: Image,
    *,
    prior: Prior | None = None,
    landmarks: Landmarks | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    options: AlignOptions | None = None,
    objective: str = "auto",
) -> Pair:
    """Find the fine scan in the coarse map and the map between them.

    Parameters
    ----------
    lr, hr : coarse map and fine scan, as recorded: two pictures, or two volumes (which may be stored on disk).
    prior : what is known beforehand; default: what the headers say (stage position, tilt).
    landmarks : ``((y, x) in fine pixels, (y, x) in coarse pixels)`` per hand-picked point, at least two; replaces
        the search.
    seed : of the noise draws of the block check.
    progress : called as ``progress(done, total, message)``.
    options : settings of the refinement; ``slow_axis=-1`` chooses the drift axis by split error.
    objective : what the refinement compares: "grey" (levels after a linear map), "joint-histogram" (the Gaussians of
        Tudisco et al. 2017, doi:10.1088/1361-6501/aa7b48, for scans of different detectors) or "auto" (whichever fits;
        ``residual.method["objective"]`` says which).

    Returns
    -------
    Pair for every answer, *not found* included (see :func:`require_found`). Accuracy is
    ``residual.split_error_hr_px`` with the sigma map, never the correlation.

    Raises
    ------
    InputError : images that cannot be compared at all, unusable landmarks, or an unknown objective.

    Examples
    --------
    >>> from finescan.simulation import simulate
    >>> job = simulate(size=160, fine=384, seed=1)
    >>> register(job.lr, job.hr[0]).verdict
    <Verdict.FOUND: 'found'>
    """
    tell = progress or (lambda done, total, message: None)
    o = (options or AlignOptions.for_scans(lr.grid, hr.grid)).with_objective(objective)
    tell(0, 3, f"searching {hr.name} in {lr.name}")
    location = locate_from_landmarks(lr, hr, landmarks) if landmarks is not None else locate(lr, hr, prior=prior)
    if location.verdict is Verdict.NOT_FOUND:
        tell(3, 3, "not found")
        return _not_found(lr, hr, location)
    tell(1, 3, "refining")
    refined = refine(lr, hr, location, options=o, seed=seed)
    tell(2, 3, "judging")
    pair = _judged(lr, hr, location, refined)
    tell(3, 3, str(pair))
    return pair


def register_all(
    lr: Image,
    hrs: Sequence[Image],
    *,
    prior: Prior | Sequence[Prior | None] | None = None,
    landmarks: Sequence[Landmarks | None] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    options: AlignOptions | None = None,
    objective: str = "auto",
) -> list[Pair]:
    """Register several fine scans, and check where they overlap whether they agree.

    Parameters
    ----------
    lr, hrs : coarse map and fine scans.
    landmarks : one entry per fine scan, None = search.
    prior : one for all, or one entry per fine scan.
    seed, progress, options, objective : as in :func:`register`, for every scan.

    Returns
    -------
    One Pair per fine scan. Where two overlap, ``residual.method["overlap_disagreement_lr_px"]`` holds the name of the
    other and the median disagreement; above 0.5 LR px it is a reason too.
    """
    points = landmarks or [None] * len(hrs)
    priors = [prior] * len(hrs) if prior is None or isinstance(prior, Prior) else list(prior)
    if len(points) != len(hrs):
        raise InputError(
            f"{len(hrs)} fine scans came with {len(points)} sets of landmarks. Pass None where none exist."
        )
    pairs = []
    for k, (hr, own, known) in enumerate(zip(hrs, points, priors, strict=True)):
        if progress is not None:
            progress(k, len(hrs), f"registering {hr.name}")
        pair = register(lr, hr, prior=known, landmarks=own, seed=seed, options=options, objective=objective)
        pairs.append(pair)
    if progress is not None:
        progress(len(hrs), len(hrs), "registered")
    return _with_overlaps(pairs)


# ---------------------------------------------------------------------------------------------------- refinement
def refine(lr: Image, hr: Image, location: Location, *, options: AlignOptions | None = None, seed: int = 0) -> Refined:
    """Align from the location's candidates, judge, and try other models where the judgement asks for it."""
    o = options or AlignOptions.for_scans(lr.grid, hr.grid)
    work = Work(*prepared(lr, hr, [location.lr_from_hr, *_near(location, lr, hr)], o), seed)
    if o.slow_axis >= 0:
        return _refine_best(work, o)
    answers = [_refine_best(work, replace(o, slow_axis=a)) for a in range(hr.grid.ndim)]
    return min(answers, key=lambda r: r.split_hr_px)


@dataclass(frozen=True)
class Work:
    """Working copies of both scans, the starts, the largest motion from a start, and the seed of the block check."""

    scans: Scans
    starts: Sequence[Motion]
    limit: float
    seed: int


def _refine_best(work: Work, o: AlignOptions) -> Refined:
    """The default model; if its halves disagree, also a stiffer one and another grey map. The split error decides.

    A kind of grey map that was asked for stays.
    """
    first = _refine_once(work, o)
    if first.split_hr_px <= SUSPICIOUS_LR_PX * float(np.mean(first.alignment.motion.ratio())):
        return first
    kinds = ["mixture"] if first.alignment.mixture else ["linear", "mixture"]
    kinds = kinds if o.grey == "auto" else [o.grey]
    further = [(STIFFER, k) for k in kinds] + [(o.intervals, k) for k in kinds[1:]]
    answers = [_refine_once(work, replace(o, intervals=min(n, o.intervals), grey=k)) for n, k in further]
    return min([first, *answers], key=lambda r: r.split_hr_px)


def _refine_once(work: Work, o: AlignOptions) -> Refined:
    alignment = align_scans(work.scans, work.starts, options=o, limit=work.limit)
    d = alignment.motion.hr.ndim
    if alignment.left_cell:
        return Refined(alignment, float("inf"), Blocks(np.zeros((0, 2 * d)), 1.0, 0.0, 0.0), False)
    split, blocks = split_error(alignment), block_shifts(alignment, seed=work.seed)
    if d == 3:  # a warp with knots along all three axes has thousands of parameters: the blocks warn instead
        return Refined(alignment, split, blocks, False)
    kept = escalate(alignment, split, blocks, seed=work.seed)
    return Refined(kept.alignment, kept.split_hr_px, kept.blocks, kept.tried)


def _near(location: Location, lr: Image, hr: Image) -> list[Warp]:
    """Other candidates at about the same place, and the files' own geometry there."""
    middle = np.asarray(hr.grid.edge_nm) + np.asarray(hr.grid.extent_nm) / 2
    place = location.lr_from_hr(middle)
    limit = NEAR_PX * np.asarray(lr.grid.pixel_size_nm)
    near = [c.lr_from_hr for c in location.candidates[1:] if (np.abs(c.lr_from_hr(middle) - place) < limit).all()]
    expected = prior_from_headers(lr, hr)
    factors = np.sign(np.diag(location.lr_from_hr.matrix)) * np.asarray(expected.ratio_centre)
    return [*near[:2], Warp.affine(np.diag(factors), place - factors * middle)]


# ---------------------------------------------------------------------------------------------------- judgement
def _judged(lr: Image, hr: Image, location: Location, refined: Refined) -> Pair:
    alignment, blocks = refined.alignment, refined.blocks
    warp = alignment.warp
    if alignment.left_cell:
        pair = _not_found(lr, hr, location)
        lost = ("At the place found, too little of both scans can be compared.",)
        return replace(pair, verdict=Verdict.DOUBTFUL, reasons=(*location.reasons, *lost))
    sigma = sigma_map(alignment)
    valid = valid_mask(hr, alignment, sigma)
    settled, said = refinement_reasons(refined.split_hr_px, blocks, recorded_ratio(alignment, lr.grid))
    expected = prior_from_headers(lr, hr).ratio_centre
    reasons = [*location.reasons, *said, *geometry_reasons(warp, expected), *mask_reasons(valid)]
    if alignment.mixture:
        reasons.append("The scans were compared through their joint histogram: their grey levels need not correspond.")
    if sum(1 for n in alignment.motion.intervals if n) > 1:
        reasons.append("A smooth two-dimensional warp was needed besides line drift.")
    if rings(blocks):
        reasons.append(
            f"Blocks of the field still lie {blocks.excess_hr_px:.2f} fine pixels off beyond noise: the map is a "
            "little more uneven than the one fitted."
        )
    residual = Residual(
        refined.split_hr_px,
        float(np.median(sigma)),
        alignment.correlation,
        location.decoy_ratio,
        method_entries(alignment, lr.grid, _extra(lr, hr, location, refined)),
        alignment.level.grid,
        {"residual": residual_in_sigmas(alignment).astype(np.float32), "sigma_hr_px": sigma.astype(np.float32)},
        blocks.table,
    )
    return Pair(lr, hr, warp, worse(location.verdict, settled), tuple(reasons), residual, valid)


def _extra(lr: Image, hr: Image, location: Location, refined: Refined) -> dict[str, Any]:
    nominal = {f"nominal_ratio_{n}": f for n, f in zip(hr.grid.axes.lower(), lr.grid.sr_factor(hr.grid), strict=True)}
    return {
        "mode": location.mode,
        **nominal,
        "bspline_tried": refined.tried_bspline,
        "block_excess": refined.blocks.excess,
        "block_excess_hr_px": refined.blocks.excess_hr_px,
        "block_noise_hr_px": refined.blocks.noise_hr_px,
    }


def _not_found(lr: Image, hr: Image, location: Location) -> Pair:
    """A pair that says no: figures are nan, nothing is valid."""
    nan = float("nan")
    residual = Residual(nan, nan, nan, location.decoy_ratio, {"mode": location.mode}, hr.grid)
    nothing: NDArray[np.bool_] = np.zeros(hr.grid.shape, bool)
    return Pair(lr, hr, location.lr_from_hr, location.verdict, location.reasons, residual, nothing)


def _with_overlaps(pairs: Sequence[Pair]) -> list[Pair]:
    found: dict[int, dict[str, float]] = {k: {} for k in range(len(pairs))}
    for i, a in enumerate(pairs):
        for j, b in enumerate(pairs[:i]):
            apart = overlap_disagreement(a, b)
            if apart is not None:
                found[i][b.hr.name], found[j][a.hr.name] = apart, apart
    return [_told(p, found[k]) if found[k] else p for k, p in enumerate(pairs)]


def _told(pair: Pair, apart: dict[str, float]) -> Pair:
    method = {**pair.residual.method, "overlap_disagreement_lr_px": apart}
    said = tuple(
        f"Where it overlaps {name}, the two fine scans disagree about their place by {d:.2f} coarse pixels."
        for name, d in apart.items()
        if d > OVERLAP_LIMIT_LR_PX
    )
    return replace(pair, reasons=(*pair.reasons, *said), residual=replace(pair.residual, method=method))
