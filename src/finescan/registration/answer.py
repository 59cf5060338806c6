"""The combined answer: what location and refinement say together, in plain sentences, and the mask to learn under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import RegistrationRefused
from finescan.registration.align import Alignment, changed, nearest_index
from finescan.registration.residual import Blocks
from finescan.registration.slabs import usable_of
from finescan.values import Grid, Image, Pair, Verdict, Warp

Array = NDArray[Any]  # float64 throughout

SPLIT_DOUBTFUL_LR_PX = 0.5  # split error from which the refinement is not trusted
RATIO_TOLERANCE = 0.04  # relative disagreement with the files that is worth a sentence
TURN_DEG = 1.0
SIGMA_LIMIT_HR_PX = 0.5
LEAST_USABLE = 0.25


def refinement_reasons(split_hr_px: float, blocks: Blocks, ratio: Array) -> tuple[Verdict, list[str]]:
    """What the split fit and the block check say."""
    lr_px = float(np.mean(ratio))
    if not np.isfinite(split_hr_px):
        return Verdict.DOUBTFUL, ["One half of the fine scan alone could not be registered: too little is usable."]
    said = f"Fits on two disjoint halves agree to {split_hr_px:.2f} fine pixels ({split_hr_px / lr_px:.2f} coarse)"
    if split_hr_px > SPLIT_DOUBTFUL_LR_PX * lr_px:
        return Verdict.DOUBTFUL, [
            f"{said}: the refinement has not settled on one answer. Pick landmarks by hand, or record a larger scan."
        ]
    if blocks.excess_hr_px > SPLIT_DOUBTFUL_LR_PX * lr_px:
        return Verdict.DOUBTFUL, [
            f"{said}, but blocks of the field still lie {blocks.excess_hr_px:.2f} fine pixels off beyond noise: the "
            "map between the scans is not of the kind that was fitted, or the specimen has changed."
        ]
    return Verdict.FOUND, [f"{said}; that is the accuracy."]


def geometry_reasons(warp: Warp, expected: Sequence[float]) -> list[str]:
    """Where the geometry found disagrees with the files, and whether their stage tilts explain it.

    Parameters
    ----------
    warp : ``lr_from_hr``.
    expected : length factor per axis that stage tilts in the files suggest; 1 = none.
    """
    out = []
    names = ("rows (y)", "columns (x)") if warp.ndim == 2 else ("planes (z)", "rows (y)", "columns (x)")
    for name, scale, tilt in zip(names, warp.scales(), expected, strict=True):
        if abs(scale - 1) <= RATIO_TOLERANCE:
            continue
        said = f"Along {name} the fine scan is {scale:.3f} times as long as its pixel size says"
        if abs(tilt - 1) > 0.01 and abs(scale / tilt - 1) <= RATIO_TOLERANCE:
            out.append(f"{said}; the stage tilts in the files explain a factor of {tilt:.3f}.")
        else:
            out.append(f"{said}: check the pixel sizes of both files, or whether the stage was tilted in between.")
    turn = warp.rotation_deg()
    if abs(turn) > TURN_DEG:
        out.append(f"The fine scan is turned by {turn:.1f} degrees against the coarse map.")
    return out


def worse(a: Verdict, b: Verdict) -> Verdict:
    """The less favourable of two verdicts."""
    order = (Verdict.NOT_FOUND, Verdict.DOUBTFUL, Verdict.FOUND)
    return order[min(order.index(a), order.index(b))]


def residual_in_sigmas(alignment: Alignment) -> Array:
    """Coarse minus expected grey level over its robust standard deviation, on the LR pitch; 0 where masked."""
    grey = alignment.state.grey
    return np.where(alignment.state.ok, grey.residual / grey.sigma, 0.0)


def valid_mask(hr: Image, alignment: Alignment, sigma_hr_px: Array) -> NDArray[np.bool_]:
    """Boolean array on the grid of the fine scan: where the pair can be learned from.

    Not where a scan is saturated or absent, where the position is uncertain by more than 0.5 HR px, or where the
    residual is above 4 sigmas over a small window (a changed or damaged place; a single noisy pixel is none).
    """
    good = alignment.state.ok & ~changed(alignment.state) & (sigma_hr_px <= SIGMA_LIMIT_HR_PX)
    return good[np.ix_(*nearest_index(hr.grid, alignment.level.grid))] & usable_of(hr)


def mask_reasons(valid: NDArray[np.bool_]) -> list[str]:
    """A sentence if much of the fine scan cannot be used."""
    share = float(valid.mean())
    if share < 1 - 2 * LEAST_USABLE:
        return [f"Only {100 * share:.0f} % of the fine scan can be learned from; the rest is saturated, changed, "
                "outside the map or placed too uncertainly."]  # fmt: skip
    return []


def require_found(pair: Pair, *, force: bool = False) -> Pair:
    """The pair itself, or RegistrationRefused with its reasons unless it was found or ``force`` is set."""
    if pair.verdict is Verdict.FOUND or force:
        return pair
    reasons = " ".join(pair.reasons)
    raise RegistrationRefused(
        f"{pair.hr.name} was expected in {pair.lr.name}, but the answer is: {pair.verdict.value}. {reasons} "
        "To go on all the same, pass force=True, or --force on the command line."
    )


def recorded_ratio(alignment: Alignment, lr: Grid) -> Array:
    """HR pixels per recorded LR pixel; the working pixels of a large volume are blocks of recorded ones."""
    return alignment.motion.ratio() / alignment.motion.lr.sr_factor(lr)


def method_entries(alignment: Alignment, lr: Grid, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What was used and found, plain values for JSON; ``lr`` is the grid of the coarse scan as recorded."""
    motion = alignment.motion
    moved = motion.to_warp()
    names = motion.hr.axes.lower()
    inner = [np.linspace(0, n - 1, 33) for n in motion.hr.shape]
    nm = motion.hr.to_nm(np.stack(np.meshgrid(*inner, indexing="ij"), axis=-1))
    bend = moved.displacement(nm) / np.asarray(lr.pixel_size_nm)
    block = [round(b) for b in motion.lr.sr_factor(lr)]
    return {
        "objective": alignment.objective,
        "grey_map": "mixture" if alignment.mixture else "linear",
        "knots": list(motion.intervals),
        "bspline": sum(1 for n in motion.intervals if n) > 1,
        "drift_axis": next((names[a] for a, n in enumerate(motion.intervals) if n), ""),
        "drift_peak_lr_px": float(np.linalg.norm(bend, axis=-1).max()),
        **{f"ratio_{n}": float(r) for n, r in zip(names, recorded_ratio(alignment, lr), strict=True)},
        **{f"length_factor_{n}": s for n, s in zip(names, moved.scales(), strict=True)},
        "rotation_deg": moved.rotation_deg(),
        "coarse_blur_px": alignment.blur_px * float(np.mean(block)),
        **({"working_block": block} if max(block) > 1 else {}),
        "starts": alignment.starts,
        **extra,
    }
