"""Location: success, false positives and CPU seconds on simulated jobs, beside the targets.

Every seed is one specimen with two fine scans of it (present) and two of another specimen of the same kind (absent).
The thresholds in ``finescan.registration.verdict`` were set on seeds from 1000 on; this script reports seeds from 0 on.

    python benchmarks/locate.py --seeds 20          # all cases
    python benchmarks/locate.py --quick             # three seeds, the main cases
    python benchmarks/locate.py --only lattice:128  # one case
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from finescan.registration import Location, locate
from finescan.simulation import simulate
from finescan.simulation.recipes import RECIPES
from finescan.values import Image, Verdict, Warp

RATIO = 4.0
HIT_LR_PX = 3.0


@dataclass(frozen=True)
class Case:
    """One row of the table: recipe, tile and map size in coarse pixels, largest pose errors, targets."""

    recipe: str
    tile: int
    size: int
    scale: float = 0.08
    rotation_deg: float = 5.0
    target: str = ">= 99 % / <= 1 % / <= 1 s at 1k"

    @property
    def name(self) -> str:
        """Name for the table and ``--only``."""
        return f"{self.recipe}:{self.tile}" + ("" if self.scale == 0.08 else f":{100 * self.scale:.0f}%")


SMALL = ">= 85 % accepted, <= 1 %"
CASES = [
    *(Case(r, 128, 640) for r in ("polycrystal", "inverted", "noisy", "detector", "lattice", "porous")),
    Case("polycrystal", 128, 640, scale=0.15, target="as easy"),
    Case("detector", 128, 640, scale=0.15, target="as easy"),
    Case("polycrystal", 64, 512, target=SMALL),
    Case("noisy", 64, 512, target=">= 97 % located; " + SMALL),
    Case("detector", 64, 512, target=SMALL),
    Case("polycrystal", 256, 1024),
    Case("detector", 256, 1024),
    Case("lattice", 256, 1024),
]
QUICK = {"polycrystal:128", "noisy:128", "detector:128", "lattice:128", "polycrystal:128:15%", "noisy:64"}


@dataclass(frozen=True)
class Trial:
    """One search: centre error in coarse pixels (nan = the fine scan is not in the map), answer, CPU seconds."""

    error_lr_px: float
    corner_lr_px: float
    answer: Location
    cpu_s: float

    @property
    def present(self) -> bool:
        """Whether the fine scan really lies in the map."""
        return bool(np.isfinite(self.error_lr_px))


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of cases, e.g. lattice:128")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + (3 if options.quick else options.seeds))
    print(
        "case                   located  accepted  wrong  false pos.  doubtful  ratio present min/med  absent max  "
        "corner LR px med/95%  CPU s med (absent)  target"
    )
    trials: list[Trial] = []
    for case in CASES:
        if (options.only and case.name not in options.only) or (options.quick and case.name not in QUICK):
            continue
        here = [t for seed in seeds for t in run(case, seed)]
        trials += here
        print(row(case, here), flush=True)
    print(footer(trials))


def run(case: Case, seed: int) -> Iterator[Trial]:
    """Two present and two absent fine scans."""
    kind = f"{case.recipe} {case.scale} {case.rotation_deg}"
    RECIPES[kind] = replace(RECIPES[case.recipe], scale=case.scale, rotation_deg=case.rotation_deg)
    fine = round(case.tile * RATIO)
    job = simulate(kind, size=case.size, ratio=RATIO, fine=fine, fine_scans=2, seed=seed)
    other = simulate(kind, size=round(case.tile * 1.5) + 20, ratio=RATIO, fine=fine, fine_scans=2, seed=10**6 + seed)
    for hr, true in zip(job.hr, job.lr_from_hr, strict=True):
        yield trial(job.lr, hr, true)
    for hr in other.hr:
        yield trial(job.lr, hr, None)


def trial(lr: Image, hr: Image, true: Warp | None) -> Trial:
    """Search once."""
    start = time.process_time()
    answer = locate(lr, hr)
    seconds = time.process_time() - start
    if true is None:
        return Trial(float("nan"), float("nan"), answer, seconds)
    last = np.asarray(hr.grid.shape) - 1
    points = hr.grid.to_nm(np.array([last / 2, 0 * last, last, [0, last[1]], [last[0], 0]]))
    miss = np.linalg.norm(answer.lr_from_hr(points) - true(points), axis=1) / lr.grid.pixel_size_nm[0]
    return Trial(float(miss[0]), float(miss.max()), answer, seconds)


def row(case: Case, trials: list[Trial]) -> str:
    """One line of the table."""
    present, absent = [t for t in trials if t.present], [t for t in trials if not t.present]
    hits = [t for t in present if t.error_lr_px < HIT_LR_PX]
    accepted = [t for t in hits if t.answer.verdict is Verdict.FOUND]
    wrong = [t for t in present if t.error_lr_px >= HIT_LR_PX and t.answer.verdict is Verdict.FOUND]
    false = [t for t in absent if t.answer.verdict is Verdict.FOUND]
    doubtful = [t for t in absent if t.answer.verdict is Verdict.DOUBTFUL]
    ratios = [t.answer.decoy_ratio for t in present]
    corners = [t.corner_lr_px for t in hits] or [float("nan")]
    return (
        f"{case.name:22s} {len(hits):3d}/{len(present):<3d}  {len(accepted):3d}/{len(present):<3d}  {len(wrong):4d}  "
        f"{len(false):5d}/{len(absent):<4d}  {len(doubtful):7d}  {min(ratios):13.2f}/{np.median(ratios):.2f}  "
        f"{max(t.answer.decoy_ratio for t in absent):13.2f}  "
        f"{np.median(corners):13.2f}/{np.percentile(corners, 95):.2f}  "
        f"{np.median([t.cpu_s for t in present]):9.2f} ({np.median([t.cpu_s for t in absent]):.2f})      {case.target}"
    )


def footer(trials: list[Trial]) -> str:
    """All cases together."""
    absent = [t for t in trials if not t.present]
    present = [t for t in trials if t.present]
    false = sum(t.answer.verdict is Verdict.FOUND for t in absent)
    hits = sum(t.error_lr_px < HIT_LR_PX for t in present)
    right = sum(t.error_lr_px < HIT_LR_PX and t.answer.verdict is Verdict.FOUND for t in present)
    return f"all: located {hits}/{len(present)}, accepted {right}/{len(present)}, false positives {false}/{len(absent)}"


if __name__ == "__main__":
    main()
