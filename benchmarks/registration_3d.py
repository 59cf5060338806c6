"""Registration of volumes on simulated pairs with a known map, beside the figures of the design page.

Errors are fine voxels, median / 95 % over the field without a border of a tenth; "ok" = 95 % of the field within half a
coarse voxel; CPU is process time of location and refinement. Absent pairs are fine volumes of another specimen (another
seed), mirrored ones the fine volume flipped along one axis: both must not be found.

    python benchmarks/registration_3d.py --seeds 10
    python benchmarks/registration_3d.py --quick
    python benchmarks/registration_3d.py --cases foam noisy --seeds 3
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from finescan.registration import locate
from finescan.registration.pairing import register
from finescan.simulation.volumes import Placement, VolumePair, simulate_volume_pair
from finescan.values import Image, Verdict, Warp

FIRST_SEED = 7000
DRIFT = Placement(rotation_deg=2.0, scale=0.02, drift_lr_px=1.0)
QUIET, LOUD = (0.058, 0.1), (0.26, 0.35)  # 300/100 and 15/8 counts at grey 1


@dataclass(frozen=True)
class Case:
    """One row: arguments of the simulation, and the design page's median/95 % (fine voxels) where it has one."""

    arguments: dict[str, Any]
    target: tuple[float, float] | None = None


def case(target: tuple[float, float] | None = None, **arguments: Any) -> Case:
    """A case of 64 coarse voxels with 96 fine ones at ratio 3 unless said otherwise."""
    usual: dict[str, Any] = {"size": 64, "ratio": 3.0, "fine": 96, "placement": DRIFT, "noise": QUIET}
    return Case(usual | arguments, target)


LARGE = {"size": 128, "ratio": 4.0, "fine": 256}
CASES = {
    "foam 256 in 128": case((0.05, 0.08), **LARGE),
    "inverted 256 in 128": case((0.06, 0.12), inverted=True, **LARGE),
    "noisy 256 in 128": case((0.08, 0.17), noise=LOUD, dtype="float32", **LARGE),
    "foam": case(),
    "inverted": case(inverted=True),
    "noisy": case(noise=LOUD, dtype="float32"),
    "affine only": case(placement=Placement(rotation_deg=2.0, scale=0.02)),
    "turned 5 degrees": case(placement=Placement(rotation_deg=5.0, scale=0.03)),
    "grains": case(sample="grains"),
    "fibres": case(sample="fibres"),
    "uint8, saturated": case(dtype="uint8"),
    "ratio 5.3": case(ratio=5.3, size=48, fine=128),
    "anisotropic": case(ratio=(2.0, 3.0, 3.0), voxel_nm=(4000.0, 3000.0, 3000.0), fine=(80, 96, 96)),
    "two fifths outside": case(placement=replace(DRIFT, centre=(0.5, 0.5, 0.95))),
    "equal voxels": case(size=96, ratio=1.0, placement=Placement((0.5, 0.5, 0.5), 0.0, 0.0, 0.0)),
    "small, 16 LR voxels": case(size=48, fine=48),
}
QUICK = ("foam", "inverted", "noisy", "grains", "anisotropic", "two fifths outside", "equal voxels")


def errors(found: Warp, pair: VolumePair) -> np.ndarray:
    """Distance of two maps over the field, fine voxels."""
    grid = pair.hr.grid
    axes = [np.linspace(0.1 * n, 0.9 * (n - 1), 17) for n in grid.shape]
    nm = grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    return np.linalg.norm((found(nm) - pair.lr_from_hr(nm)) / np.asarray(grid.pixel_size_nm), axis=-1)


def mirrored(image: Image, seed: int) -> Image:
    """The image flipped along one axis."""
    return image.with_data(np.flip(image.array(), seed % 3).copy())


def report(name: str, given: Case, seeds: int) -> None:
    """Run one case and print its line."""
    far, middle, split, rms, seconds, found, chance, false = [], [], [], [], [], [], [], 0
    previous: VolumePair | None = None
    for k in range(seeds):
        pair = simulate_volume_pair(**given.arguments, seed=FIRST_SEED + k)
        t0 = time.process_time()
        answer = register(pair.lr, pair.hr)
        seconds.append(time.process_time() - t0)
        e = errors(answer.lr_from_hr, pair)
        middle.append(float(np.median(e)))
        far.append(float(np.percentile(e, 95)))
        rms.append(float(np.sqrt((e**2).mean())))
        split.append(answer.residual.split_error_hr_px)
        found.append(answer.verdict is Verdict.FOUND)
        absent = [mirrored(pair.hr, k)] + ([previous.hr] if previous is not None else [])
        looked = [locate(pair.lr, hr) for hr in absent]
        chance += [place.decoy_ratio for place in looked]
        false += sum(place.verdict is Verdict.FOUND for place in looked)
        previous = pair
    ratio = float(np.max(given.arguments["ratio"]))
    ok = np.mean([f < ratio / 2 for f in far])
    target = "" if given.target is None else f"{given.target[0]:.2f}/{given.target[1]:.2f}"
    print(
        f"{name:20s} {np.median(middle):5.3f}/{np.median(far):<5.3f} {target:>10s} {max(far):6.2f} {100 * ok:5.0f} "
        f"{100 * np.mean(found):5.0f} {np.median(np.asarray(split) / np.asarray(rms)):6.2f} {false:3d} of "
        f"{len(chance):3d} {max(chance):6.2f} {np.median(seconds):7.1f}",
        flush=True,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two seeds, the main small cases")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), metavar="CASE")
    a = parser.parse_args()
    print("case                 median/95%     design  worst    ok found  split  falsely  largest  CPU s")
    print("                     fine voxels               95%     %     %  /true    found   chance")
    for name in a.cases or (QUICK if a.quick else list(CASES)):
        report(name, CASES[name], 2 if a.quick else a.seeds)


if __name__ == "__main__":
    main()
