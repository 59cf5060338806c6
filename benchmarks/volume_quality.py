"""Quality per second on foam: srcnn3d, deepnet and volume, the same processor time each, judged on an unseen foam.

    python benchmarks/volume_quality.py [--quick] [--size 128] [--cpu-seconds 60] [--sigma 3 5 7 9]

A foam is recorded sharp and blurred (finescan.simulation); every network learns from it for the same time of the
processor (one thread; two cores of their own need half as long), and recovers the blurred scan of another foam, whose
truth is known. Printed: mean squared error and PSNR against the noise-free truth inside the foam, time per voxel, and
the ratio of every error to that of ``deepnet``. Aim: ``volume`` below 0.8 at every blur. The seconds are process time,
so the figures hold on machines that others use too. ``--position`` asks instead what the distance from the axis as an
input is worth when the blur grows towards the rim.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch

from finescan.models import Model
from finescan.patches import VolumePatchSet, VolumeSplitConfig, make_volume_patches, volume_input
from finescan.simulation.foam_scans import Foam, plan_foam, realisations, record_foam, true_foam
from finescan.simulation.volumes import blur_growing
from finescan.training import VolumeTrainConfig, fit_volume_contestants, train_volume
from finescan.values import Circle, Image, Pair, Residual, Verdict, Warp

NETWORKS = ("srcnn3d", "deepnet", "volume")
CONTEXT = 16  # voxels mirrored around the volume; it ends there, and context further out says nothing


@dataclass(frozen=True)
class Sample:
    """A foam, its sharp and its blurred scan, and the truth."""

    hres: Image
    lres: Image
    truth: Image
    bulk: np.ndarray

    @classmethod
    def of(cls, foam: Foam, lres: Image) -> Sample:
        truth = true_foam(foam)
        circle = Circle(foam.circle.centre_nm, foam.spheres.cylinder_radius_nm - foam.grid.pixel_size_nm[1])
        bulk = np.broadcast_to(circle.mask(foam.grid), foam.grid.shape)
        return cls(record_foam(foam, 1.0, role="hres"), lres, truth, bulk)


def laid_out(sample: Sample) -> VolumePatchSet:
    """Patches without a test role: another foam judges."""
    residual = Residual(0.0, 0.0, 1.0, float("nan"), {}, sample.lres.grid)
    pair = Pair(sample.lres, sample.hres, Warp.identity(3), Verdict.FOUND, (), residual)
    return make_volume_patches([pair], config=VolumeSplitConfig(test_share=0.0))


def recovered(model: Model, sample: Sample, *, bfloat16: bool) -> np.ndarray:
    """The whole volume in one block, with some mirrored context."""
    grid = sample.lres.grid
    margin = [
        -(-min(h, CONTEXT) // m) * m for h, m in zip((model.halo_z, *(model.halo,) * 2), model.multiple, strict=True)
    ]
    start, stop = [-m for m in margin], [n + m for n, m in zip(grid.shape, margin, strict=True)]
    block = volume_input(sample.lres, grid, start, stop)
    position = None
    if model.wants_position:
        position = Circle.inscribed(grid).distance(grid.crop(start, stop))
    inner = tuple(slice(m, m + n) for m, n in zip(margin, grid.shape, strict=True))
    return model.predict(block, position=position, bfloat16=bfloat16)[inner]


def error(answer: np.ndarray, sample: Sample, where: np.ndarray | None = None) -> float:
    """Mean squared error against the truth inside the foam (of grey levels where solid is 1)."""
    mask = sample.bulk if where is None else sample.bulk & where
    return float(np.mean((answer - sample.truth.array())[mask] ** 2))


def line(name: str, model: Model, sample: Sample, seconds: float, base: float | None) -> float:
    """Judge, print, and give the error."""
    short = bool(model.card.training.get("plan", {}).get("bfloat16", False))
    began = time.process_time()
    answer = recovered(model, sample, bfloat16=short)
    rate = answer.size / (time.process_time() - began) / 1e6
    mse = error(answer, sample)
    steps = model.card.training.get("plan", {}).get("steps", 0)
    ratio = "" if base is None else f"{mse / base:7.2f} of deepnet"
    print(f"  {name:14s} {seconds:6.0f} s {steps:6d} steps  MSE {mse:.5f}  PSNR {-10 * np.log10(mse):6.2f} dB"
          f"  {rate:6.2f} Mvox/s {ratio}", flush=True)  # fmt: skip
    return mse


def compare(size: int, sigmas: list[float], seconds: float, seed: int) -> None:
    """All networks at all blurs."""
    seeds = realisations(seed)
    foams = {name: plan_foam(size, seed=s) for name, s in seeds.items()}
    for sigma in sigmas:
        training, alternate = (Sample.of(f, record_foam(f, sigma)) for f in foams.values())
        patches = laid_out(training)
        print(f"blur {sigma:g} voxels, {size}³, {seconds:g} s of the processor each")
        line("interpolated", fit_volume_contestants(patches)["interpolated"], alternate, 0, None)
        errors: dict[str, float] = {}
        for name in ("deepnet", "srcnn3d", "volume"):
            began = time.process_time()
            config = VolumeTrainConfig(architecture=name, minutes=seconds / 60, threads=1)
            model = train_volume(patches, config, clock=time.process_time)
            errors[name] = line(name, model, alternate, time.process_time() - began, errors.get("deepnet"))


def position(size: int, seconds: float, seed: int) -> None:
    """Blur that grows from 2 voxels on the axis to 6 at the rim, with and without position."""
    samples = []
    for s in realisations(seed).values():
        foam = plan_foam(size, seed=s)
        sharp = record_foam(foam, 1.0, role="lres")
        samples.append(Sample.of(foam, blur_growing(sharp, sigma_centre_px=1.7, sigma_rim_px=5.9)))
    training, alternate = samples
    patches, distance = laid_out(training), Circle.inscribed(training.lres.grid).distance(training.lres.grid)
    print(f"blur growing from 2 to 6 voxels, {size}³, {seconds:g} s of the processor each")
    for wanted in (False, True):
        config = VolumeTrainConfig(minutes=seconds / 60, threads=1, position=wanted, seed=seed)
        model = train_volume(patches, config, clock=time.process_time)
        answer = recovered(model, alternate, bfloat16=bool(model.card.training["plan"]["bfloat16"]))
        zones = [error(answer, alternate, np.broadcast_to((distance >= a) & (distance < b), answer.shape))
                 for a, b in ((0, 0.33), (0.33, 0.66), (0.66, 1))]  # fmt: skip
        parts, name = ", ".join(f"{z:.5f}" for z in zones), "yes" if wanted else "no "
        print(f"  position {name}  MSE {error(answer, alternate):.5f}  centre, middle, rim: {parts}", flush=True)


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cpu-seconds", type=float, default=60)
    parser.add_argument("--sigma", type=float, nargs="+", default=[3, 5, 7, 9])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="64³, blur of 3 voxels, 10 s each")
    parser.add_argument("--position", action="store_true", help="what the distance from the axis is worth")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    size, sigmas, seconds = chosen.size, chosen.sigma, chosen.cpu_seconds
    if chosen.quick:
        size, sigmas, seconds = 64, [3.0], 10.0
    if chosen.position:
        position(size, seconds, chosen.seed)
    else:
        compare(size, sigmas, seconds, chosen.seed)


if __name__ == "__main__":
    main()
