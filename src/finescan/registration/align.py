"""Refinement: from a rough affine start to affine + scan-line drift, coarse to fine.

Gauss-Newton at the pitch of the coarse scan, finished at half of it, with the mean gradient of both scans (efficient
second-order minimisation, Benhimane & Malis, IROS 2004, doi:10.1109/IROS.2004.1389474), Cauchy weights, and the grey
map projected out (variable projection, Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973) 413, doi:10.1137/0710036).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finescan.errors import InputError
from finescan.registration.greymap import Mixture
from finescan.registration.motion import Motion
from finescan.registration.periods import neighbouring_periods
from finescan.registration.solver import LevelSolver, State
from finescan.registration.working import BLUR_PX, Level, Scans, load_scans, make_level
from finescan.registration.working_volume import working_volume
from finescan.values import Grid, Image, Warp

Array = NDArray[Any]  # float64 throughout

COARSEST_PX = {2: 40, 3: 14}  # a working image is not made smaller than this along any axis, by number of axes
SLICES_PER_KNOT = 2  # coarse slices per knot interval of the drift of a volume
KEPT_STARTS = 3  # affine answers taken on to the next finer level
LINEAR_ENOUGH = 0.85  # correlation from which a linear grey map is accepted without trying a mixture
FINISH_PX = 400_000  # working pixels up to which the last level is finer than the LR pitch
CHANGED = 4.0  # sigmas, rms over a small window: the specimen has changed there
WINDOW_PX = 5  # of that window, LR px
BLURS_PX = (0.3, 0.42, 0.53, 0.7, 0.95, 1.3)  # sharpness of the coarse scan tried, LR px
WIDE_BLURS_PX = (1.8, 2.5, 3.5, 5.0)  # and of volumes: there a voxel may be far smaller than the resolution

#: what the Gauss-Newton step compares: name for users -> kind of grey map (``AlignOptions.grey``). "grey": differences
#: of grey levels after a linear map; "joint-histogram": likelihood under the Gaussians of the joint histogram (Tudisco
#: et al. 2017), for scans of different detectors; "auto": the first, and the second where the first explains too little
OBJECTIVES: dict[str, str] = {"auto": "auto", "grey": "linear", "joint-histogram": "mixture"}


@dataclass(frozen=True)
class AlignOptions:
    """Settings of the refinement.

    Parameters
    ----------
    slow_axis : axis of the fine scan along which its lines follow each other; its drift is a spline along this axis.
    intervals : knot intervals of that spline; 0 = affine only.
    stiffness, mixture_stiffness : curvature ridge times the mean diagonal of the normal matrix.
    stretches : relative scale changes tried along every axis when starting.
    grey : "auto", "linear" or "mixture".
    motion_limit : largest distance from the start, as a share of the field (at least 6 LR px).
    finish : scale of the last level, in LR pixels.
    """

    slow_axis: int = 0
    intervals: int = 16
    stiffness: float = 0.02
    mixture_stiffness: float = 0.1
    stretches: tuple[float, ...] = (-0.08, 0.0, 0.08)
    grey: str = "auto"
    motion_limit: float = 0.06
    finish: float = 0.5

    def with_objective(self, objective: str) -> AlignOptions:
        """The same with the kind of grey map of an objective; "auto" changes nothing.

        Raises
        ------
        InputError : a name that is not in :data:`OBJECTIVES`.
        """
        if objective not in OBJECTIVES:
            raise InputError(f"An objective is one of {', '.join(OBJECTIVES)}, but {objective!r} came.")
        return self if objective == "auto" else replace(self, grey=OBJECTIVES[objective])

    @classmethod
    def for_scans(cls, lr: Grid, hr: Grid) -> AlignOptions:
        """What is used unless options are given.

        In volumes: fewer knots in few slices, no stretched starts (the location is affine already), and no level finer
        than the coarse pitch (measured to add nothing).
        """
        if hr.ndim == 2:
            return cls()
        slices = hr.extent_nm[0] / lr.pixel_size_nm[0]
        return cls(intervals=int(np.clip(slices / SLICES_PER_KNOT, 4, 16)), stretches=(0.0,), finish=1.0)


@dataclass(frozen=True)
class Alignment:
    """A refined registration.

    Parameters
    ----------
    scans : working copies of both scans.
    state : motion and grey map at ``level``, the LR pitch.
    level : that level.
    mixture : whether the grey map is a mixture; ``stiffness`` the ridge used.
    start : the start the answer was reached from, and how many were tried.
    blur_px : fitted sharpness of the coarse scan (pixel and spot), LR px.
    """

    scans: Scans
    state: State
    level: Level
    mixture: bool
    stiffness: float
    start: Motion
    starts: int
    blur_px: float

    @property
    def motion(self) -> Motion:
        """In solver units."""
        return self.state.motion

    @property
    def warp(self) -> Warp:
        """``lr_from_hr``."""
        return self.motion.to_warp()

    @property
    def objective(self) -> str:
        """Name of what was compared, from :data:`OBJECTIVES`."""
        return "joint-histogram" if self.mixture else "grey"

    @property
    def correlation(self) -> float:
        """NCC of the coarse scan and the grey-mapped fine scan at the LR pitch."""
        return self.state.correlation(self.level)

    @property
    def left_cell(self) -> bool:
        """Nothing comparable is left: the scans do not overlap, or the search ran away."""
        return not np.isfinite(self.state.objective)


def align(
    lr: Image, hr: Image, start: Warp, *, others: Sequence[Warp] = (), options: AlignOptions | None = None
) -> Alignment:
    """Refine a rough affine ``lr_from_hr``.

    Parameters
    ----------
    lr, hr : coarse and fine scan.
    start : within about 3 LR px, 10 % and 1 degree of the truth.
    others : further candidates; all are refined and the best answer is kept.
    options : settings; default :meth:`AlignOptions.for_scans`.

    Returns
    -------
    Alignment with affine + drift spline.
    """
    o = options or AlignOptions.for_scans(lr.grid, hr.grid)
    scans, starts, limit = prepared(lr, hr, [start, *others], o)
    return align_scans(scans, starts, options=o, limit=limit)


def prepared(lr: Image, hr: Image, warps: Sequence[Warp], options: AlignOptions) -> tuple[Scans, list[Motion], float]:
    """Working copies of both scans, the starts, and the largest motion from a start, for :func:`align_scans`.

    The coarse grid of the starts is that of the working copy: in a large volume its voxels are blocks of recorded ones.
    """
    first = Motion.from_warp(warps[0], hr.grid, lr.grid)
    if lr.grid.ndim == 3:
        lr = working_volume(lr, first, options.motion_limit * max(hr.grid.extent_nm))
    starts = [Motion.from_warp(w, hr.grid, lr.grid) for w in warps]
    across = hr.grid.shape / starts[0].ratio()
    limit = max(6.0, options.motion_limit * float(across.max()))
    return load_scans(lr, hr, starts[0], limit + 12), starts, limit


def align_scans(scans: Scans, starts: Sequence[Motion], *, options: AlignOptions, limit: float) -> Alignment:
    """:func:`align` on working copies; ``limit`` is the largest motion from a start, LR px."""
    levels = Levels(scans, BLUR_PX if scans.hr.ndim == 2 else _first_blur(scans, starts[0]))
    mixture, state = _affine(levels, starts, options, limit)
    stiffness = options.mixture_stiffness if mixture else options.stiffness
    best: State | None = None
    for motion in neighbouring_periods(state, levels(1.0)):
        trial = _with_drift(levels, motion, mixture, stiffness, options)
        if best is None or trial.objective > best.objective + 1e-3:
            best = trial
    assert best is not None
    scans = without_changes(scans, levels(1.0), best)
    levels = Levels(scans, levels.blur_px if mixture else fitted_blur(scans, best))
    finish = options.finish if best.ok.size <= FINISH_PX else 1.0  # many are accurate enough
    for scale, steps in ((1.0, 4), (finish, 2)):
        solver = LevelSolver(levels(scale), best.motion, mixture=mixture, stiffness=stiffness)
        best = solver.run(best.motion, steps=steps)
    final = LevelSolver(levels(1.0), best.motion, mixture=mixture, stiffness=stiffness).look(best.motion)
    return Alignment(scans, final, levels(1.0), mixture, stiffness, starts[0], len(starts), levels.blur_px)


class Levels:
    """Working levels, made when first asked for."""

    def __init__(self, scans: Scans, blur_px: float = BLUR_PX) -> None:
        self.scans, self.blur_px = scans, blur_px
        self._made: dict[float, Level] = {}

    def __call__(self, scale: float) -> Level:
        """The level of a scale (LR px)."""
        if scale not in self._made:
            self._made[scale] = make_level(self.scans, scale, self.blur_px)
        return self._made[scale]

    def coarse_scales(self) -> tuple[float, ...]:
        """Of 4 and 2, those that leave enough pixels."""
        across = float(min(np.asarray(self.scans.hr.shape) / self.scans.ratio))
        return tuple(s for s in (4.0, 2.0) if across / s >= COARSEST_PX[self.scans.hr.ndim]) or (1.0,)


def _affine(levels: Levels, starts: Sequence[Motion], o: AlignOptions, limit: float) -> tuple[bool, State]:
    """Best affine answer of all starts and its kind of grey map."""
    scale = min(2.0, levels.coarse_scales()[-1])
    linear = affine_search(levels, starts, o, limit, mixture=False) if o.grey != "mixture" else None
    if linear is not None and (o.grey == "linear" or _like(levels, linear, scale) > LINEAR_ENOUGH):
        return False, linear
    mixed = affine_search(levels, starts, o, limit, mixture=True)
    return True, mixed


def _like(levels: Levels, state: State, scale: float) -> float:
    """Correlation of an answer, at the better of two pitches: noise must not be mistaken for another contrast."""
    values = []
    for s in {1.0, scale}:
        seen = LevelSolver(levels(s), state.motion, mixture=False).look(state.motion)
        values.append(seen.correlation(levels(s)))
    return max(values)


def affine_search(levels: Levels, starts: Sequence[Motion], o: AlignOptions, limit: float, *, mixture: bool) -> State:
    """Affine answers from every start and stretched copies of it, coarse to fine, the best at LR pitch.

    Every scale starts afresh from the given starts too: a lattice is lost at the coarse ones.
    """
    first, *finer = levels.coarse_scales()
    seeds = [(m, m) for s in starts for m in stretched(s, o.stretches)]
    kept = _best(levels, first, seeds, limit, mixture, steps=4)
    kept = _best(levels, first, kept, limit, mixture, steps=20)
    for scale in finer:
        kept = _best(levels, scale, [*kept[:2], *((m, m) for m in starts)], limit, mixture, steps=12)
    if mixture and first > 1:
        # grey levels of coarse pixels are mixed; only the LR pitch shows the histogram as it is
        kept = _best(levels, 1.0, kept[:1], limit, mixture, steps=12)
    return LevelSolver(levels(1.0), kept[0][0], mixture=mixture).look(kept[0][0])


def stretched(motion: Motion, stretches: Sequence[float]) -> Iterator[Motion]:
    """The motion with every combination of relative scale changes along the axes of the fine scan."""
    d = motion.hr.ndim
    grids = np.meshgrid(*(np.asarray(stretches),) * d, indexing="ij")
    for change in np.stack(grids, -1).reshape(-1, d):
        affine = motion.affine.copy()
        affine[:, 1:] *= 1 + change
        yield replace(motion, affine=affine)


def _best(
    levels: Levels, scale: float, pairs: Sequence[tuple[Motion, Motion]], limit: float, mixture: bool, *, steps: int
) -> list[tuple[Motion, Motion]]:
    """The best few (answer, its start) after some steps at one scale."""
    done: list[tuple[float, Motion, Motion]] = []
    guess: Mixture | None = None
    for motion, start in pairs:
        solver = LevelSolver(levels(scale), motion, mixture=mixture, guess=guess)
        state = solver.run(motion, steps=steps, tolerance_px=0.02 * scale)
        guess = state.grey.mixture
        if distance(state.motion, start) > limit:
            state = solver.look(start)
        if not any(distance(state.motion, m) < 0.1 for _, m, _ in done):
            done.append((state.objective, state.motion, start))
    done.sort(key=lambda t: -t[0])
    return [(m, s) for _, m, s in done[:KEPT_STARTS]]


def distance(a: Motion, b: Motion) -> float:
    """Largest distance of two affine motions over the corners of the field, LR px."""
    corners = [np.array([-1.0, 1.0])] * a.hr.ndim
    return float(np.linalg.norm(a.positions(corners) - b.positions(corners), axis=0).max())


def _with_drift(levels: Levels, motion: Motion, mixture: bool, stiffness: float, o: AlignOptions) -> State:
    """Affine + drift at twice and once the LR pitch (a mixture is blurred by coarse pixels and starts at once)."""
    if o.intervals and motion.is_affine:
        motion = motion.with_spline(tuple(o.intervals if a == o.slow_axis else 0 for a in range(motion.hr.ndim)))
    state: State | None = None
    for scale in (1.0,) if mixture else (levels.coarse_scales()[-1], 1.0):
        solver = LevelSolver(levels(scale), motion, mixture=mixture, stiffness=stiffness)
        state = solver.run(motion, steps=20 if mixture else 8)
        motion = state.motion
    assert state is not None
    return state


def without_changes(scans: Scans, level: Level, state: State) -> Scans:
    """The scans with patches masked that differ too much to show the same thing."""
    bad = changed(state)
    if not bad.any():
        return scans
    nearest = nearest_index(scans.fine_grid, level.grid)
    return replace(scans, fine_ok=scans.fine_ok * ~bad[np.ix_(*nearest)])


def changed(state: State) -> NDArray[np.bool_]:
    """Where the residual is above 4 sigmas over a small window; a single noisy pixel is no change."""
    power = ndimage.uniform_filter(np.where(state.ok, state.grey.residual / state.grey.sigma, 0.0) ** 2, WINDOW_PX)
    share = ndimage.uniform_filter(state.ok.astype(np.float64), WINDOW_PX)
    return ndimage.binary_dilation(power > CHANGED**2 * np.maximum(share, 0.2), iterations=WINDOW_PX // 2)


def nearest_index(of: Grid, on: Grid) -> list[NDArray[np.intp]]:
    """Per axis, the pixel of ``on`` nearest to every pixel of ``of``."""
    out = []
    for a, n in enumerate(of.shape):
        nm = of.origin_nm[a] + of.pixel_size_nm[a] * np.arange(n)
        index = np.rint((nm - on.origin_nm[a]) / on.pixel_size_nm[a]).astype(np.intp)
        out.append(np.clip(index, 0, on.shape[a] - 1))
    return out


def _first_blur(scans: Scans, start: Motion) -> float:
    """Sharpness of a coarse volume as it looks from a start: it may be far wider than a voxel."""
    return fitted_blur(scans, LevelSolver(make_level(scans, 1.0), start, mixture=False).look(start))


def fitted_blur(scans: Scans, state: State) -> float:
    """Sharpness of the coarse scan (standard deviation, LR px) that explains it best; parabola through the best.

    For a linear grey map only: a mixture gains likelihood by blurring noise away.
    """
    tried, values = np.array(BLURS_PX if scans.hr.ndim == 2 else BLURS_PX + WIDE_BLURS_PX), []
    for k, blur in enumerate(tried):
        level = make_level(scans, 1.0, float(blur))
        values.append(LevelSolver(level, state.motion, mixture=False).look(state.motion, state).objective)
        if not np.isfinite(values[-1]):
            return BLUR_PX
        if k >= len(BLURS_PX) - 1 and values[-1] < values[-2]:
            break
    k = int(np.argmax(values))
    if k in (0, len(values) - 1):
        return float(tried[k])
    parabola = np.polyfit(np.log(tried[k - 1 : k + 2]), values[k - 1 : k + 2], 2)
    best = np.exp(-parabola[1] / (2 * parabola[0])) if parabola[0] < 0 else tried[k]
    return float(np.clip(best, tried[k - 1], tried[k + 1]))
