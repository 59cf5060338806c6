"""A smooth two-dimensional warp on top of the line drift: switched on by evidence, kept only if it pays.

On clean data a tensor spline costs a factor of three in accuracy, so it is never the default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finescan.registration.align import Alignment
from finescan.registration.residual import Blocks, block_shifts, split_error
from finescan.registration.solver import LevelSolver
from finescan.registration.working import make_level

ALARM = 3.0  # mean squared block shift over noise from which the model is called wrong
ALARM_HR_PX = 0.15  # and the rms shift beyond noise that matters at all
ACROSS = 8  # knot intervals along the fast axes
STIFFNESS = {False: 0.1, True: 1.0}  # curvature ridge of the tensor spline: linear grey map, mixture


@dataclass(frozen=True)
class Escalation:
    """The alignment kept, its split error (HR px) and block check, and whether the tensor spline was tried."""

    alignment: Alignment
    split_hr_px: float
    blocks: Blocks
    tried: bool


def rings(blocks: Blocks) -> bool:
    """Whether the block shifts are larger than noise explains."""
    return blocks.excess > ALARM and blocks.excess_hr_px > ALARM_HR_PX


def unwarp(alignment: Alignment, *, intervals: int = ACROSS, stiffness: float | None = None) -> Alignment:
    """The alignment with a tensor B-spline instead of the row spline, fitted at twice and once the LR pitch."""
    knots = tuple(n or intervals for n in alignment.motion.intervals)
    motion = alignment.motion.with_spline(knots)
    firm = STIFFNESS[alignment.mixture] if stiffness is None else stiffness
    for scale, steps in ((2.0, 6), (1.0, 8)):
        level = alignment.level if scale == 1.0 else make_level(alignment.scans, scale, alignment.blur_px)
        solver = LevelSolver(level, motion, mixture=alignment.mixture, stiffness=firm)
        state = solver.run(motion, steps=steps, tolerance_px=0.02)
        motion = state.motion
    return replace(alignment, state=state, stiffness=firm)


def escalate(alignment: Alignment, split_hr_px: float, blocks: Blocks, *, seed: int = 0) -> Escalation:
    """Try the tensor spline if the alarm rings; keep it only if the same split (stripes) leaves a smaller error."""
    if alignment.motion.is_affine or not rings(blocks):
        return Escalation(alignment, split_hr_px, blocks, False)
    other = unwarp(alignment)
    split = split_error(other, stripes=True)
    if split >= split_error(alignment, stripes=True):
        return Escalation(alignment, split_hr_px, blocks, True)
    after = block_shifts(other, seed=seed)
    # stripes hardly see what the spline still cannot follow; the blocks do
    return Escalation(other, float(np.hypot(split, after.excess_hr_px)), after, True)
