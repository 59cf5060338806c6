"""Error bars of what is measured on a finished volume: the correction learned block by block inside the fine scan.

Unlike for pictures, no plausible volumes are drawn (each would have to be segmented anew), and places are rehearsed on
the enhanced volume alone: the error bars are those of the blocks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import reporting as rp
from finescan.patches import VolumePatchSet, VolumePiece
from finescan.quantification import Measurements, QuantifyConfig, quantify
from finescan.quantification.error_bars import LEVEL, in_volumes, measure_with_error, rehearse
from finescan.quantification.ground import Scan, block_numbers, block_side, ground_of, lattice_shape
from finescan.quantification.tallies import tally
from finescan.values import Image, Region
from finescan.workflow.measured_errors import AS_GOOD, map_table

LARGEST_PX = 1 << 27  # voxels up to which the labels of the whole volume are kept (8 bytes per voxel more)


def volume_error_bars(
    patches: VolumePatchSet,
    piece: VolumePiece,
    region: Region,
    pictures: dict[str, NDArray[np.float32]],
    enhanced: Image,
    whole: Measurements,
    config: QuantifyConfig,
    computed_share: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Plain JSON values: numbers of the whole enhanced volume with their intervals.

    Parameters
    ----------
    piece : the fine scan, and ``region`` its box on the grid of the result.
    pictures : "fine" (NaN where not recorded) and "enhanced" on that box.
    enhanced : the whole result.
    whole : its measurements, with labels.
    config : choices of the analysis.
    computed_share : of the result, 0 to 1; the rest was recorded finely and needs no correction.
    """
    box = tuple(slice(a - s, b - s) for a, b, s in zip(region.start, region.stop, piece.start, strict=True))
    known = np.isfinite(pictures["fine"]) & np.isfinite(pictures["enhanced"]) & patches.circle.mask(region.own_grid)
    error = np.where(known, pictures["enhanced"] - pictures["fine"], 0).astype(np.float64)
    held = (patches.counted(piece, "stop", box) | patches.counted(piece, "test", box)) & known
    train = patches.counted(piece, "train", box) & known
    trained = _rms(error[train]) / _rms(error[held]) if train.any() and held.any() and error[held].any() else 0.0
    used = known if trained >= AS_GOOD else held
    side = block_side(int(np.count_nonzero(used)), 3)
    lattice = lattice_shape(enhanced.grid.shape, side)
    number = block_numbers(
        np.rint(enhanced.grid.to_index(region.own_grid.origin_nm)).astype(int).tolist(), region.shape, side, lattice
    )
    # one threshold for all, that of the whole volume: what differs is what the volumes show
    alike = replace(config, threshold=whole.threshold.value)
    fine = quantify(Image(pictures["fine"], region.own_grid, "fine"), config=alike, circle=patches.circle)
    ours = quantify(Image(pictures["enhanced"], region.own_grid, "enhanced"), config=alike, circle=patches.circle)
    ground = ground_of([Scan(fine, ours, number, used & (number >= 0))], lattice, side)
    everywhere = block_numbers((0, 0, 0), enhanced.grid.shape, side, lattice)
    everywhere[:, ~patches.circle.mask(enhanced.grid)] = -1
    total = tally(whole, everywhere, int(np.prod(lattice)))
    factors = rehearse(ground, total, lattice, seed=seed)
    found = measure_with_error(ground, total, factors=factors, computed_share=computed_share, seed=seed)
    bars = {n: in_volumes(b) for n, b in found.items()}
    notes = []
    if all(np.isnan(b.value) for b in bars.values()):
        notes.append(f"Numbers have no error bars: {len(ground)} blocks of the fine scan are too few, or hold no pore.")
    return {
        "level": LEVEL,
        "learned_on": "all recorded blocks" if trained >= AS_GOOD else "held-out blocks",
        "trained_over_held_out_error": trained, "blocks": len(ground), "block_side_px": side, "factors": factors,
        "map": {n: {**b.to_dict(), "coarse": None} for n, b in bars.items()}, "notes": notes,
    }  # fmt: skip


def volume_chapter(facts: dict[str, Any] | None) -> tuple[rp.Chapter, ...]:
    """The chapter on numbers with error bars; nothing where there are none."""
    if not facts or all(r["value"] is None for r in facts["map"].values()):
        return ()
    words = (
        "A number measured on the enhanced volume is off: what the coarse scan cannot show is missing. How far off was "
        f"learned on {facts['learned_on']} ({facts['blocks']} of {facts['block_side_px']} voxels along an edge) and is "
        "taken off. The error bars come from the scatter between blocks; errors of single voxels are not drawn."
    )
    return (rp.Chapter("Numbers with error bars", (words, map_table(facts["map"], facts["level"], "whole volume"))),)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
