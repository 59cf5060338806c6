"""Intervals of a map: how wrong every pixel may be, from three parts of a fine scan none of which helps another.

Where the network was trained says *where* the map is more wrong than elsewhere, the blocks that decided when to stop
say *how much*, and the blocks that only judge say whether that holds. Works on any image that comes with a fine scan of
a part of it; no network is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE
from finescan.trust.interval_blocks import block_side, correlation_length, cut_blocks
from finescan.trust.intervals import (
    LEVELS,
    BlockErrors,
    Calibration,
    calibrate_blocks,
    coverage_by_spread,
    coverage_curve,
)
from finescan.trust.noise_free import NORMAL_90
from finescan.trust.spread_map import SpreadMap
from finescan.trust.spread_model import Example, SpreadModel, fit_spread, flat_spread
from finescan.values import Image, Region, TrustMap

ROLES = ("train", "stop", "test")
SHOWN = 0.9  # level of the map that is written
RECORDED = "a pixel of the fine scan as recorded, noise included"
RESAMPLED = "the fine scan resampled onto the pixels of the image, noise included"
_HELD, _SEED = ("stop", "test"), 0

Floats = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A fine scan under the result.

    Parameters
    ----------
    start : its corner on the pixels of the result.
    enhanced, error : grey levels of the result, and result - recorded, on these pixels; NaN where one is missing.
    role : the pixels of a role that count.
    raw : the network's own spread, or None.
    """

    start: tuple[int, ...]
    enhanced: Floats
    error: Floats
    role: Callable[[str], Bool]
    raw: Floats | None = None

    def known(self, *roles: str) -> Bool:
        """Pixels of any of these roles with a known error."""
        return np.logical_or.reduce([self.role(r) for r in roles]) & np.isfinite(self.error)

    def inside(self, region: Region) -> tuple[slice, ...] | None:
        """A box of the result in pixels of the part; None where they do not overlap."""
        ends = [
            (max(0, a - s), min(n, b - s))
            for a, b, s, n in zip(region.start, region.stop, self.start, self.error.shape, strict=True)
        ]
        return None if any(b <= a for a, b in ends) else tuple(slice(a, b) for a, b in ends)


@dataclass(frozen=True)
class Intervals:
    """Intervals of an enhanced map.

    Parameters
    ----------
    calibration : factors and coverage; None where there are too few held-out blocks.
    spread : expected size of the error on the grid of the enhanced map, fine grey levels; computed where it is read.
    facts : plain JSON values for ``trust.json``.
    notes : sentences about what could not be had.
    files : written into the run folder.
    """

    calibration: Calibration | None
    spread: Image
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def half_width(self, level: float = SHOWN) -> Any:
        """Half width of the interval of a level, fine grey levels; an array that is computed where it is read."""
        if self.calibration is None:
            raise InputError("There are no intervals: too few held-out blocks were left to calibrate them on.")
        return self.spread.data.times(self.calibration.factor(level))

    @property
    def uncertainty(self) -> Image | None:
        """Half width of the 90 % interval as an image; None where that level could not be had."""
        if self.calibration is None or SHOWN not in self.calibration.levels:
            return None
        return self.spread.with_data(self.half_width(SHOWN))

    @property
    def noise_free(self) -> Image | None:
        """Half width of a 90 % interval of the sample itself; None where it cannot be told from noise.

        1.645 times the expected rms error, and never wider than that of a recorded pixel. For errors of any usual
        distribution that holds nine in ten (normal 90.0 %, Laplace 90.2 %).
        """
        found = (self.facts.get("noise_free") or {}).get("spread_model")
        recorded = self.uncertainty
        if found is None or recorded is None:
            return None
        return recorded.with_data(recorded.data.at_most(SpreadModel.from_dict(found), NORMAL_90))


def intervals_of(enhanced: Image, fine: Floats, start: Sequence[int], scale_px: Sequence[float]) -> Intervals:
    """Intervals of anybody's enhanced image, from a fine scan of a part of it: its blocks are dealt out to three roles.

    Parameters
    ----------
    fine : recorded grey levels on the pixels of the image from ``start`` on; NaN = not recorded.
    scale_px : pixels of the image per coarse pixel, per axis.

    Raises
    ------
    InputError : a fine scan that is too small to learn from.
    """
    stop = [a + n for a, n in zip(start, fine.shape, strict=True)]
    region = Region(enhanced.grid, tuple(int(a) for a in start), tuple(int(b) for b in stop))
    seen = np.asarray(enhanced.data[region.slices], np.float32)
    length = correlation_length([(seen - fine, np.isfinite(seen - fine))])
    side = block_side(length, fine.ndim)
    dealt = _dealt(cut_blocks([region], side))
    masks = {role: _painted(region, blocks) for role, blocks in dealt.items()}
    part = Part(region.start, seen, seen - fine, masks.__getitem__)
    return intervals_from(measured_facts([part], scale_px, dealt, target=RESAMPLED), enhanced)


def intervals_from(
    facts: Mapping[str, Any], enhanced: Image, raw: Image | None = None, flags: TrustMap | None = None
) -> Intervals:
    """Intervals of an enhanced map from what :func:`measured_facts` said of it, or of another map of the same model."""
    model = SpreadModel.from_dict(facts["spread_model"])
    missing = None
    if flags is not None and (gone := flags.where("no_data")).any():
        missing = Image(gone, flags.grid, "no data")
    lazy = SpreadMap(model, enhanced, raw if model.uses_raw else None, missing=missing)
    calibration = Calibration.from_dict(facts) if facts["levels"] else None
    told = {k: v for k, v in facts.items() if k != "key"}
    return Intervals(calibration, enhanced.with_data(lazy), told, tuple(facts.get("notes", ())))


# ---------------------------------------------------------------------------------------------- measuring
def measured_facts(
    parts: Sequence[Part],
    scale_px: Sequence[float],
    regions: Mapping[str, Sequence[Region]],
    *,
    target: str = RECORDED,
) -> dict[str, Any]:
    """Spread from the "train" pixels, factors from the "stop" blocks, coverage from the "test" blocks: JSON values.

    Parameters
    ----------
    parts : of the map, with their errors.
    scale_px : fine pixels per coarse pixel, per axis.
    regions : the boxes of the map that hold the "stop" and the "test" pixels; they are cut into blocks.

    Returns
    -------
    As :class:`Calibration`, and "target", "spread_model", "sentence", "notes", and, where there are intervals,
    "correlation_px", "block_side_px", "curve" (coverage against level) and "by_spread" (coverage by thirds).
    """
    found: dict[str, Any] = {"target": target, "levels": []}
    model = flat_spread(scale_px)
    try:
        model = fit_spread((Example(p.enhanced, p.error, p.known("train"), p.raw) for p in parts), scale_px)
        spreads = [model.spread(p.enhanced, p.raw) for p in parts]
        length = correlation_length((p.error, p.known(*ROLES)) for p in parts)
        side = block_side(length, len(scale_px))
        blocks, checks = (_blocks(parts, spreads, role, cut_blocks(regions[role], side)) for role in _HELD)
        calibration = calibrate_blocks(blocks, checks, levels=LEVELS)
    except InputError as e:
        none = {"notes": [f"There are no intervals. {e}"], "sentence": f"There are no intervals. {e}"}
        return {**found, **none, "spread_model": model.to_dict()}
    found |= {**calibration.to_dict(), "spread_model": model.to_dict(), "correlation_px": length, "block_side_px": side}
    found["curve"] = coverage_curve(blocks, checks) if checks else None
    found["by_spread"] = coverage_by_spread(checks, calibration)
    found["notes"] = list(calibration.notes)
    found["sentence"] = _sentence(calibration, side)
    return found


def _blocks(parts: Sequence[Part], spreads: Sequence[Floats], role: str, places: Sequence[Region]) -> list[BlockErrors]:
    """Blocks at least half of whose pixels are known, each from the first fine scan that shows it so."""
    found: dict[int, BlockErrors] = {}
    for part, spread in zip(parts, spreads, strict=True):
        known, used = part.known(role), np.zeros(spread.shape, bool)
        for number, place in enumerate(places):
            box = part.inside(place)
            if number in found or box is None:
                continue
            here = known[box] & ~used[box]
            if np.count_nonzero(here) >= VALID_SHARE * np.prod(place.shape):
                found[number] = BlockErrors(part.error[box][here], spread[box][here], place)
                used[box] = True
    return [found[number] for number in sorted(found)]


def _sentence(calibration: Calibration, side: int) -> str:
    said = []
    for k, level in enumerate(calibration.levels):
        if calibration.check_blocks:
            mean, error = 100 * calibration.coverage[k], 100 * calibration.coverage_error[k]
            said.append(f"{100 * level:g} % held {mean:.1f} ± {error:.1f} %")
        else:
            said.append(f"{100 * level:g} %")
    where = f" of the fine scan's pixels on {calibration.check_blocks} other blocks" if calibration.check_blocks else ""
    return (
        f"Intervals calibrated on {calibration.blocks} blocks of at least {side} px: {', '.join(said)}{where}. They "
        "speak of the fine scan as it would be recorded, with its noise, and of places like the held-out ones."
    )


# ---------------------------------------------------------------------------------------------- other people's images
def _dealt(blocks: Sequence[Region]) -> dict[str, list[Region]]:
    """Blocks dealt out to three parts at random."""
    order = np.random.default_rng(_SEED).permutation(len(blocks))
    return {role: [blocks[k] for k in order[n::3]] for n, role in enumerate(("train", "stop", "test"))}


def _painted(region: Region, blocks: Sequence[Region]) -> Bool:
    """Where in a region the blocks lie."""
    mask = np.zeros(region.shape, bool)
    for block in blocks:
        mask[tuple(slice(a - s, b - s) for a, b, s in zip(block.start, block.stop, region.start, strict=True))] = True
    return mask
