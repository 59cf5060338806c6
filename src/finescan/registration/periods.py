"""Neighbouring periods: on a lattice, other shifts that fit nearly as well and must be compared before accepting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from finescan.registration.motion import Motion
from finescan.registration.solver import State
from finescan.registration.working import Level

RIVAL = 0.6  # height of a rival peak over that of the answer
MOST = 6


def neighbouring_periods(state: State, level: Level) -> list[Motion]:
    """The affine motion of ``state`` and those a period away, if the scans are periodic.

    Peaks of the cross-correlation of the grey-mapped fine scan with the coarse one, both as they now lie.
    """
    if not np.isfinite(state.objective):
        return [state.motion]
    ok = state.ok
    a = np.where(ok, state.grey.target - state.grey.target[ok].mean(), 0.0)
    b = np.where(ok, state.coarse - state.coarse[ok].mean(), 0.0)
    # slow structure is common to all shifts: only what varies within a few pixels tells periods
    a, b = (np.where(ok, x - ndimage.gaussian_filter(x, 6.0, mode="mirror"), 0.0) for x in (a, b))
    size = [fft.next_fast_len(2 * n, real=True) for n in a.shape]
    product = np.conj(fft.rfftn(a, size)) * fft.rfftn(b, size)
    match = fft.fftshift(fft.irfftn(product, size))
    middle = tuple(n // 2 for n in size)
    around = tuple(slice(m - n // 4, m + n // 4 + 1) for m, n in zip(middle, a.shape, strict=True))
    match = match[around]
    return [state.motion, *(_shifted(state.motion, s, level) for s in _rivals(match, [n // 4 for n in a.shape]))]


def _rivals(match: NDArray[np.float64], centre: list[int]) -> list[NDArray[np.float64]]:
    """Shifts of local maxima nearly as high as the one at the centre, nearest first."""
    core = tuple(slice(c - 1, c + 2) for c in centre)
    height = float(match[core].max())
    peaks = (match == ndimage.maximum_filter(match, size=3)) & (match > RIVAL * height)
    shifts = np.argwhere(peaks) - np.asarray(centre)
    far = np.linalg.norm(shifts, axis=1)
    order = np.argsort(far)
    return [shifts[i].astype(float) for i in order if far[i] > 2][:MOST]


def _shifted(motion: Motion, shift: NDArray[np.float64], level: Level) -> Motion:
    """The motion moved by a shift in working pixels."""
    per_pixel = motion.affine[:, 1:] * np.array([x[1] - x[0] for x in level.axes])
    affine = motion.affine.copy()
    affine[:, 0] += per_pixel @ shift
    return replace(motion, affine=affine)
