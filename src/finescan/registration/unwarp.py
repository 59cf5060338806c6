"""A smooth two-dimensional warp on top of the line drift: switched on by evidence, kept only if it pays.

On clean data a tensor spline costs a factor of three in accuracy, so it is never the default.
"""

from __future__ import annotations

from dataclasses import replace

from finescan.registration.align import Alignment
from finescan.registration.residual import Blocks, split_error
from finescan.registration.solver import LevelSolver
from finescan.registration.working import make_level

ALARM = 3.0  # mean squared block shift over noise from which the model is called wrong
ALARM_HR_PX = 0.15  # and the rms shift beyond noise that matters at all
ACROSS = 8  # knot intervals along the fast axes


def rings(blocks: Blocks) -> bool:
    """Whether the block shifts are larger than noise explains."""
    return blocks.excess > ALARM and blocks.excess_hr_px > ALARM_HR_PX


def unwarp(alignment: Alignment, *, intervals: int = ACROSS, stiffness: float | None = None) -> Alignment:
    """The alignment with a tensor B-spline instead of the row spline, fitted at twice and once the LR pitch."""
    knots = tuple(n or intervals for n in alignment.motion.intervals)
    motion = alignment.motion.with_spline(knots)
    firm = alignment.stiffness if stiffness is None else stiffness
    for scale, steps in ((2.0, 6), (1.0, 8)):
        level = alignment.level if scale == 1.0 else make_level(alignment.scans, scale, alignment.blur_px)
        solver = LevelSolver(level, motion, mixture=alignment.mixture, stiffness=firm)
        state = solver.run(motion, steps=steps, tolerance_px=0.02)
        motion = state.motion
    return replace(alignment, state=state, stiffness=firm)


def escalate(alignment: Alignment, split_hr_px: float, blocks: Blocks) -> tuple[Alignment, float, bool]:
    """Try the tensor spline if the alarm rings; returns the better alignment, its split error, and if it was tried."""
    if not rings(blocks):
        return alignment, split_hr_px, False
    other = unwarp(alignment)
    split = split_error(other)
    if split < split_hr_px:
        return other, split, True
    return alignment, split_hr_px, True
