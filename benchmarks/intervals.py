"""Calibrated intervals on simulated samples: do they hold, and how much narrower are they than constant ones?

    python benchmarks/intervals.py [--quick] [--samples porous dual-phase …] [--seeds 1] [--cpu-seconds 20]

For every sample a coarse map and a fine scan of a part of it are recorded, a network is trained for some seconds of
the processor, and the intervals are calibrated as in a run. Coverage is measured on the test blocks, as a run does,
and *elsewhere*: against a second fine scan of the whole map with noise of its own. Width is compared with constant
intervals of the same coverage, elsewhere, for three spreads:

* model: what a run uses, a regression on local properties of the result (no network);
* members: standard deviation between the members of the ensemble, raised by a twentieth of its mean;
* oracle: root of (squared true error + variance of the noise), which nobody can know: what could be had at best.

The error against the sample itself, the noise set aside, is held against the sample, which is known here.

Aims: coverage within 2 points of nominal, 30 % narrower. Where even the oracle is not 30 % narrower, the fine scan is
mostly noise, and no spread can be.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finescan.enhancement import EnhanceConfig, VolumeEnhanceConfig, enhance, enhance_volume
from finescan.patches import PatchSet, VolumePatchSet, VolumeSplitConfig, make_patches, make_volume_patches
from finescan.simulation import RECIPES, simulate, simulate_volume_pair
from finescan.simulation.scanner import LEVELS
from finescan.training import TrainConfig, VolumeTrainConfig, train, train_volume
from finescan.trust.map_intervals import Intervals, intervals_from
from finescan.values import Image, Pair, Residual, Verdict, Warp
from finescan.workflow.intervals import interval_facts

PICTURES = ("porous", "dual-phase", "case-hardening", "sandstone", "lattice")
BORDER = 12
SHOWN = (0.8, 0.9, 0.95)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """An enhanced map with everything that is known about it.

    Parameters
    ----------
    enhanced, members : the result, and the spread of the members (None for one network).
    truth : the sample without noise, on the pixels of the result.
    again : the second fine scan of the whole map, on the pixels of the result.
    oracle : the spread that nobody can know.
    outside : pixels that the first fine scan did not show.
    """

    patches: PatchSet | VolumePatchSet
    pair: Pair
    enhanced: Image
    members: Floats | None
    truth: Floats
    again: Floats
    oracle: Floats
    outside: NDArray[np.bool_]


def pair_of(lr: Image, hr: Image, warp: Warp) -> Pair:
    """A pair whose registration is known."""
    return Pair(lr, hr, warp, Verdict.FOUND, (), Residual(0.0, 0.0, 1.0, float("nan"), {}, lr.grid))


def picture(name: str, seed: int, seconds: float, size: int, fine: int) -> Scene:
    """A simulated picture, learned and enhanced."""
    job = simulate(name, size=size, fine=fine, seed=seed)
    pair = pair_of(job.lr, job.hr[0], job.lr_from_hr[0])
    patches = make_patches([pair])
    config = TrainConfig(minutes=seconds / 60, members=3, threads=1, device="cpu")
    model = train(patches, config, clock=time.process_time)
    done = enhance(model, job.lr, config=EnhanceConfig(dtype="float32", spread=True))
    recipe, (zero, per_grey) = RECIPES[name], LEVELS["uint16"]
    electrons = per_grey * abs(recipe.gain)

    def noise(levels: Floats) -> Floats:
        grey = (levels - zero) / per_grey
        return (electrons * np.sqrt(np.maximum((grey - recipe.offset) / recipe.gain, 0) / recipe.counts[1])).astype(
            np.float32
        )

    return _scene(patches, pair, done.image, None if done.spread is None else done.spread.data, job.truth, noise, seed)


def foam(seed: int, seconds: float, size: tuple[int, int, int], fine: tuple[int, int, int]) -> Scene:
    """A simulated volume, learned and enhanced."""
    noise = 0.05
    pair = simulate_volume_pair(size, ratio=2, fine=fine, noise=(0.03, noise), with_truth=True, seed=seed)
    registered = pair_of(pair.lr, pair.hr, pair.lr_from_hr)
    patches = make_volume_patches([registered], config=VolumeSplitConfig())
    config = VolumeTrainConfig(minutes=seconds / 60, threads=1, device="cpu")
    model = train_volume(patches, config, clock=time.process_time)
    done = enhance_volume(model, pair.lr, config=VolumeEnhanceConfig(dtype="float32"))
    per_grey = LEVELS["uint16"][1]
    assert pair.truth is not None
    return _scene(
        patches, registered, done.image, None, pair.truth, lambda levels: np.full_like(levels, noise * per_grey), seed
    )


def _scene(patches, pair: Pair, enhanced: Image, members, truth: Image, noise, seed: int) -> Scene:  # type: ignore
    """With the second fine scan, recorded on the very pixels of the result."""
    rng = np.random.default_rng([seed, 77])
    grey = truth.array()
    again = grey + noise(grey) * rng.standard_normal(grey.shape, np.float32)
    result = np.asarray(enhanced.data, np.float32)
    oracle = np.sqrt((result - truth.data) ** 2 + noise(truth.array()) ** 2)
    outside = np.zeros(truth.grid.shape, bool)
    outside[(slice(BORDER, -BORDER),) * truth.grid.ndim] = True
    for piece in patches.pieces:
        grid = getattr(piece, "out_grid", None)
        start = piece.start if grid is None else np.rint(truth.grid.to_index(grid.origin_nm)).astype(int)
        outside[tuple(slice(a, a + n) for a, n in zip(start, piece.hr.shape, strict=True))] &= ~piece.weight
    return Scene(patches, pair, enhanced, members, grey, again, oracle.astype(np.float32), outside)


def narrower(error: Floats, spread: Floats, level: float) -> float:
    """By which share intervals that follow a spread are narrower than constant ones of the same coverage."""
    size = np.abs(error)
    return float(1 - np.quantile(size / spread, level) * spread.mean() / np.quantile(size, level))


def judged(name: str, scene: Scene) -> list[float]:
    """Print one sample; the coverages elsewhere (points off nominal)."""
    began = time.process_time()
    facts = interval_facts(scene.patches, scene.enhanced, [scene.pair])
    intervals = intervals_from(facts, scene.enhanced)
    spread = np.asarray(intervals.spread.data)
    seconds = time.process_time() - began
    if intervals.calibration is None:
        print(f"{name}: {facts['sentence']}")
        return []
    found, where = intervals.calibration, scene.outside
    error = (np.asarray(scene.enhanced.data, np.float32) - scene.again)[where]
    spreads = {"model": spread[where], "oracle": scene.oracle[where]}
    if scene.members is not None:
        spreads["members"] = (scene.members + 0.05 * scene.members.mean())[where]
    print(
        f"{name}: {found.blocks} blocks of {facts['block_side_px']} px calibrate (errors alike over "
        f"{facts['correlation_px']:.1f} px), {found.check_blocks} check; shrinkage "
        f"{facts['spread_model']['shrinkage']:g}; {seconds / spread.size * 1e6:.2f} s per million pixels"
    )
    off = []
    for k, level in enumerate(found.levels):
        here = np.mean(np.abs(error) <= found.factors[k] * spread[where])
        off.append(100 * float(here - level))
        widths = ", ".join(f"{n} {100 * narrower(error, s, level):.0f} %" for n, s in spreads.items())
        print(
            f"  {100 * level:g} %: test blocks {100 * found.coverage[k]:.1f} ± {100 * found.coverage_error[k]:.1f}, "
            f"elsewhere {100 * here:.1f}; narrower on the test blocks by {100 * found.narrower[k]:.0f} %, "
            f"elsewhere {widths}",
            flush=True,
        )
    thirds = {n: f"{100 * v[-2 if len(v) > 2 else -1]:.0f}" for n, v in facts["by_spread"].items()}
    print(f"  90 % by thirds of the spread on the test blocks: {thirds}")
    print(f"  {against_sample(scene, facts, intervals)}", flush=True)
    return off


def against_sample(scene: Scene, facts: dict[str, Any], intervals: Intervals) -> str:
    """What was said of the error against the sample without noise, and what it is elsewhere."""
    said = facts.get("noise_free", {})
    error = (np.asarray(scene.enhanced.data, np.float32) - scene.truth)[scene.outside]
    if intervals.noise_free is None:
        return f"sample: true elsewhere {np.sqrt(np.mean(error**2)):.0f}; {said.get('sentence', 'nothing is said')}"
    half = np.asarray(intervals.noise_free.data)[scene.outside]
    held = float(np.mean(np.abs(error) <= half))
    constant = float(np.quantile(np.abs(error), held))
    foreseen = float(np.sqrt(np.mean((half / 1.645) ** 2)))
    return (
        f"sample: said {said['rms']:.0f} ± {said['standard_error']:.0f} on the test blocks (noise "
        f"{said['noise_rms']:.0f}), true elsewhere {np.sqrt(np.mean(error**2)):.0f}, foreseen {foreseen:.0f}; 90 % "
        f"interval holds {100 * held:.1f} %, narrower than constant by {100 * (1 - half.mean() / constant):.0f} %"
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller samples and shorter training")
    parser.add_argument("--samples", nargs="+", default=[*PICTURES, "foam"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--cpu-seconds", type=float, default=None, help="of training, per sample")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = options.cpu_seconds or (8 if options.quick else 25)
    off: list[float] = []
    for name in options.samples:
        for seed in options.seeds:
            if name == "foam":
                sizes = ((32, 56, 56), (48, 72, 72)) if options.quick else ((52, 84, 84), (80, 120, 120))
                scene = foam(seed, seconds, *sizes)
            else:
                scene = picture(name, seed, seconds, *((224, 480) if options.quick else (320, 768)))
            off += judged(f"{name}, seed {seed}", scene)
    print(f"elsewhere, points off nominal: mean {np.mean(off):+.1f}, largest {off[int(np.argmax(np.abs(off)))]:+.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
