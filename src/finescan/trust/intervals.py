"""Calibrated intervals: enhanced grey level ± factor * spread holds the recorded fine one as often as it says.

Calibration is split-conformal with blocks of the sample as the exchangeable unit. Every held-out block gives one
distribution of |error| / spread; the blocks count alike, and one more, which nobody has seen, counts as infinitely
wrong. The factor of a level is that quantile of the mixture. For a pixel drawn from another block of the same sample
the interval then holds at least as often as its level says, however alike the pixels of a block are. A level
therefore needs at least level / (1 - level) blocks: 4, 9 and 19 for 80, 90 and 95 %.

The target is the *recorded* fine scan, its noise included.

Sources: R. Dunn, L. Wasserman, A. Ramdas, J. Am. Stat. Assoc. 2022, doi:10.1080/01621459.2022.2060112 (pooling of the
distributions); Y. Lee, R. F. Barber, R. Willett 2023, arXiv:2306.06342 (hierarchical conformal prediction).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE, mean_and_error, nearness
from finescan.values import Region

LEVELS = (0.8, 0.9, 0.95)
_MOST_PER_BLOCK = 1 << 15  # pixels of a block whose distribution is looked at

Floats = NDArray[np.floating]
Bool = NDArray[np.bool_]
Place = Region | tuple[slice, ...]


@dataclass(frozen=True)
class BlockErrors:
    """What is known of one block: errors and spreads of its pixels (1D, equally long), and its box where it has one."""

    error: Floats
    spread: Floats
    place: Region | None = None


@dataclass(frozen=True)
class Calibration:
    """Intervals of an enhanced image.

    Parameters
    ----------
    levels : those that could be had.
    factors : per level, half width of the interval over the spread.
    constants : per level, half width (fine grey levels) of intervals that are equally wide everywhere: the yardstick.
    blocks : that were calibrated on.
    block_px : mean edge of a block, pixels.
    check_blocks : other blocks on which coverage was measured; 0 = it was not.
    coverage, coverage_error : per level, share of their pixels inside the interval, and its standard error.
    constant_coverage : the same for the constant intervals.
    width, constant_width : per level, mean full width (fine grey levels) on the check blocks (without any: on the
        blocks that were calibrated on).
    narrower : per level, by which share the intervals are narrower than constant ones *of the coverage they reached*
        on the check blocks (else on the others).
    notes : sentences about what could not be had.
    """

    levels: tuple[float, ...]
    factors: tuple[float, ...]
    constants: tuple[float, ...]
    blocks: int
    block_px: float = float("nan")
    check_blocks: int = 0
    coverage: tuple[float, ...] = ()
    coverage_error: tuple[float, ...] = ()
    constant_coverage: tuple[float, ...] = ()
    width: tuple[float, ...] = ()
    constant_width: tuple[float, ...] = ()
    narrower: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def factor(self, level: float) -> float:
        """Half width over spread at a level; InputError names the levels there are."""
        if level not in self.levels:
            known = ", ".join(f"{100 * v:g} %" for v in self.levels)
            raise InputError(f"Intervals were calibrated for {known}, but {100 * level:g} % was asked for.")
        return self.factors[self.levels.index(level)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a number that is not known is None."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Calibration:
        """Inverse of :meth:`to_dict`; other entries are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: _back(v) for k, v in d.items() if k in known})

    def __str__(self) -> str:
        texts = [f"{100 * v:g} %: ± {f:.3g} spreads" for v, f in zip(self.levels, self.factors, strict=True)]
        return f"{', '.join(texts)} ({self.blocks} blocks)"


def blocks_needed(level: float) -> int:
    """Fewest blocks from which an interval of a level can be had.

    >>> [blocks_needed(v) for v in (0.8, 0.9, 0.95)]
    [4, 9, 19]
    """
    return int(np.ceil(level / (1 - level) - 1e-9))


def calibrate_intervals(
    error: Floats,
    spread: Floats,
    *,
    blocks: Sequence[Place],
    mask: Bool | None = None,
    levels: Sequence[float] = LEVELS,
    check_blocks: Sequence[Place] | None = None,
) -> Calibration:
    """Factors that turn a spread into calibrated half widths.

    Parameters
    ----------
    error : enhanced - recorded fine grey level, any number of axes; NaN is not known.
    spread : positive, of the same shape: how wrong each pixel is expected to be, in any unit.
    blocks : held-out boxes of the arrays, none of which helped to make the enhanced image or the spread. Their pixels
        may be as alike as they like; the blocks should be alike as a whole.
    mask : pixels that count; None = all.
    levels : wanted shares of pixels inside the interval.
    check_blocks : other boxes, to measure the coverage on.

    Raises
    ------
    InputError : spreads that are not positive, or fewer blocks than the lowest level needs.
    """
    if error.shape != spread.shape:
        raise InputError(f"Errors and spreads must have one shape, but {error.shape} and {spread.shape} came.")
    known = np.isfinite(error) if mask is None else np.isfinite(error) & mask
    return calibrate_blocks(
        [_taken(error, spread, known, place) for place in blocks],
        [_taken(error, spread, known, place) for place in check_blocks or ()],
        levels=levels,
    )


def calibrate_blocks(
    blocks: Sequence[BlockErrors], check: Sequence[BlockErrors] = (), *, levels: Sequence[float] = LEVELS
) -> Calibration:
    """As :func:`calibrate_intervals`, for blocks that were read one by one."""
    used, checks = ([b for b in given if b.error.size] for given in (blocks, check))
    _require_positive((*used, *checks))
    had, notes = _possible(levels, len(used))
    scores, sizes = _mixture([_thinned(b) for b in used])
    found = Calibration(
        levels=had,
        factors=tuple(scores.quantile(v) for v in had),
        constants=tuple(sizes.quantile(v) for v in had),
        blocks=len(used),
        block_px=float(np.mean([np.power(b.error.size, 1 / _axes(b)) for b in used])),
        notes=notes,
    )
    return _checked(found, checks, used)


def coverage_curve(blocks: Sequence[BlockErrors], check: Sequence[BlockErrors]) -> dict[str, list[float]]:
    """ "nominal" levels from 5 % on, as far as the blocks allow, and the coverage "achieved" on the check blocks."""
    levels = [v for v in np.linspace(0.05, 0.95, 19).round(2).tolist() if blocks_needed(v) <= len(blocks)]
    if not levels or not check:
        return {"nominal": [], "achieved": []}
    found = calibrate_blocks(blocks, check, levels=levels)
    return {"nominal": list(found.levels), "achieved": list(found.coverage)}


def coverage_by_spread(check: Sequence[BlockErrors], calibration: Calibration) -> dict[str, list[float]]:
    """Coverage per level among the third of pixels with the smallest, the middle and the largest spreads."""
    thin = [_thinned(b) for b in check if b.error.size]
    if not thin:
        return {}
    spread, size = np.concatenate([b.spread for b in thin]), np.abs(np.concatenate([b.error for b in thin]))
    third = np.searchsorted(np.quantile(spread, (1 / 3, 2 / 3)), spread)
    names = {name: third == k for k, name in enumerate(("smallest", "middle", "largest"))}
    return {
        name: [float(np.mean(size[where] <= f * spread[where])) for f in calibration.factors]
        for name, where in names.items()
        if where.any()
    }


# ---------------------------------------------------------------------------------------------- calibrating
@dataclass(frozen=True)
class _Mixture:
    """Sorted values and the share of all mass up to each; the mass that is missing to one lies at infinity."""

    values: Floats
    mass: Floats

    def quantile(self, level: float) -> float:
        """Smallest value with at least a share ``level`` of all mass at or below it."""
        k = int(np.searchsorted(self.mass, level - 1e-12))
        return float(self.values[k]) if k < len(self.values) else float("inf")


def _mixture(blocks: Sequence[BlockErrors]) -> tuple[_Mixture, _Mixture]:
    """Distributions of |error| / spread and of |error|: blocks count alike, and one more lies at infinity."""
    weights = np.concatenate([np.full(b.error.size, 1 / (len(blocks) + 1) / b.error.size) for b in blocks])
    size = np.abs(np.concatenate([b.error for b in blocks]).astype(np.float64))
    found = []
    for values in (size / np.concatenate([b.spread for b in blocks]), size):
        order = np.argsort(values, kind="stable")
        found.append(_Mixture(values[order], np.cumsum(weights[order])))
    return found[0], found[1]


def _possible(levels: Sequence[float], count: int) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """The levels that so many blocks allow, and sentences about the others."""
    if not levels or any(not 0 < v < 1 for v in levels):
        raise InputError(f"Levels of intervals lie between 0 and 1, but {tuple(levels)} came.")
    had = tuple(v for v in levels if blocks_needed(v) <= count)
    if not had:
        least = min(levels)
        raise InputError(
            f"Intervals of {100 * least:g} % need at least {blocks_needed(least)} held-out blocks, but {count} are "
            "left. Record a larger fine scan, or hold more of it out."
        )
    missing = [v for v in levels if v not in had]
    return had, tuple(
        f"Intervals of {100 * v:g} % need at least {blocks_needed(v)} held-out blocks, but there are {count}: they are "
        "not given."
        for v in missing
    )


def _require_positive(blocks: Sequence[BlockErrors]) -> None:
    for block in blocks:
        if not (np.isfinite(block.spread).all() and (block.spread > 0).all()):
            raise InputError("A spread must be finite and above 0 wherever it is used. Give it a small lower bound.")


# ---------------------------------------------------------------------------------------------- checking
def _checked(found: Calibration, checks: Sequence[BlockErrors], used: Sequence[BlockErrors]) -> Calibration:
    """With coverage and widths on the check blocks; widths alone, on the calibration's own, where there are none."""
    shown = checks or used
    near = _nearness(shown)
    inside = [_coverage(shown, f, near, scaled=True) for f in found.factors]
    spread = float(np.mean([b.spread.mean(dtype=np.float64) for b in shown]))
    equal = _constants_of(shown, [share for share, _ in inside])
    width = tuple(2 * f * spread for f in found.factors)
    narrower = tuple(1 - w / (2 * c) if c > 0 else float("nan") for w, c in zip(width, equal, strict=True))
    found = replace(found, width=width, constant_width=tuple(2 * c for c in found.constants), narrower=narrower)
    if not checks:
        note = "No other held-out block is left to measure the coverage on."
        return replace(found, notes=(*found.notes, note))
    constant = [_coverage(checks, c, near, scaled=False)[0] for c in found.constants]
    return replace(
        found,
        check_blocks=len(checks),
        coverage=tuple(share for share, _ in inside),
        coverage_error=tuple(error for _, error in inside),
        constant_coverage=tuple(constant),
    )


def _nearness(blocks: Sequence[BlockErrors]) -> Any:
    """How near the blocks lie to each other; None where a place is unknown."""
    places = [b.place for b in blocks if b.place is not None]
    return nearness(places) if len(places) == len(blocks) else None


def _coverage(blocks: Sequence[BlockErrors], factor: float, near: Any, *, scaled: bool) -> tuple[float, float]:
    """Mean over blocks of the share of pixels within ``factor`` (spreads), and its standard error."""
    limits = [factor * b.spread if scaled else factor for b in blocks]
    shares = np.array([np.mean(np.abs(b.error) <= limit) for b, limit in zip(blocks, limits, strict=True)], np.float64)
    mean, error, _ = mean_and_error(shares, near)
    return mean, error


def _constants_of(blocks: Sequence[BlockErrors], shares: Sequence[float]) -> list[float]:
    """Half widths of the constant intervals that hold so large shares of the blocks' pixels."""
    thin = [_thinned(b) for b in blocks]
    sizes = _mixture(thin)[1]
    whole = _Mixture(sizes.values, sizes.mass * (len(thin) + 1) / len(thin))
    return [whole.quantile(min(share, 1 - 1e-9)) for share in shares]


def _taken(error: Floats, spread: Floats, known: Bool, place: Place) -> BlockErrors:
    """The pixels of a box that count; none if they are less than half of it."""
    box = place.slices if isinstance(place, Region) else place
    here = known[box] if known[box].mean() >= VALID_SHARE else np.zeros_like(known[box])
    return BlockErrors(error[box][here], spread[box][here], place if isinstance(place, Region) else None)


def _thinned(block: BlockErrors) -> BlockErrors:
    step = -(-block.error.size // _MOST_PER_BLOCK)
    return block if step <= 1 else replace(block, error=block.error[::step], spread=block.spread[::step])


def _axes(block: BlockErrors) -> int:
    return block.place.grid.ndim if block.place is not None else 2


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _back(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_back(v) for v in value)
    return float("nan") if value is None else value
