"""Foam, projection and FDK: time, memory and agreement, beside the Reconstruction Toolkit (itk-rtk) when installed.

CPU is process time (all threads), so that a busy machine does not matter; wall time is beside it. Aim: one recorded
volume of 256³ from 256 views in well under two minutes on two cores.

    python benchmarks/tomography.py
    python benchmarks/tomography.py --sizes 128 256 512
    python benchmarks/tomography.py --quick
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from finescan.simulation import gap_filling, plan_foam, project, reconstruct, record_foam, sequential, true_foam
from finescan.simulation.foam_scans import Foam

AIM_WALL_S = 120.0


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, CPU seconds and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def spheres() -> None:
    """Time to place pores."""
    print(f"{'spheres':<44}{'CPU s':>8}{'porosity':>10}")
    radius = np.random.default_rng(0).lognormal(np.log(4.0), 0.6, 100_000).clip(1.0, 20.0)
    jobs: dict[str, Callable[[], Any]] = {
        "sequential, 100,000 pores": lambda: sequential(radius, 400.0, 1500.0, seed=1),
        "gap filling, 1,900 pores, 400 trials": lambda: gap_filling(1900, 240.0, 640.0, 110.0, seed=1),
        "gap filling, 20,000 pores, 400 trials": lambda: gap_filling(20_000, 240.0, 640.0, 110.0, seed=1),
    }
    sequential(radius[:10], 400.0, 1500.0), gap_filling(5, 240.0, 640.0, 110.0)  # compiled before the clock starts
    for name, work in jobs.items():
        foam, cpu, _ = timed(work)
        print(f"{name:<44}{cpu:>8.2f}{foam.porosity:>10.3f}")


def chain(size: int, rtk: Any) -> None:
    """Every step at one size, and RTK's."""
    foam = plan_foam(size, seed=1)
    print(f"\n{size}³, {foam.geometry.views} views, {len(foam.spheres)} pores")
    print(f"{'step':<44}{'CPU s':>8}{'wall s':>8}")

    def row(name: str, cpu: float, wall: float, note: str = "") -> None:
        print(f"{name:<44}{cpu:>8.2f}{wall:>8.2f}  {note}")

    truth, *took = timed(lambda: true_foam(foam))
    row("exact voxels (4³ points at surfaces)", *took)
    lengths, *projected = timed(lambda: project(foam.spheres, foam.geometry))
    row("projection, exact chords", *projected)
    volume, *own = timed(lambda: reconstruct(lengths, foam.geometry, foam.grid, circle=foam.circle))
    inside = foam.circle.mask(foam.grid)
    error = float(np.sqrt(np.mean((volume.data - truth.data)[:, inside] ** 2)))
    row("ramp filter and back-projection", *own, f"rms against the exact voxels {error:.3f}")
    if rtk is not None:
        other, *theirs = timed(lambda: rtk_fdk(rtk, lengths, foam))
        apart = np.abs(other - volume.data)[:, inside].max()
        row("  the same by RTK", *theirs, f"{theirs[0] / own[0]:.1f} x our CPU, largest difference {apart:.1e}")
        air = np.nan_to_num(truth.data)
        _, *theirs = timed(lambda: rtk_project(rtk, air, foam))
        row("  projection by RTK (Joseph, through voxels)", *theirs, f"{theirs[0] / projected[0]:.0f} x our CPU")
    _, *recorded = timed(lambda: record_foam(foam, 3.0))
    note = f"aim: below {AIM_WALL_S:g} s wall" if size == 256 else ""
    row("one recorded volume (blur 3, noise, FDK)", *recorded, note)


def peak(size: int) -> float:
    """Largest resident memory of recording one volume in a fresh process, MB above that of a tiny one (Linux)."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return float(pool.apply(_peak, (size,)))


def _peak(size: int) -> float:
    record_foam(plan_foam(24, seed=1), 3.0)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts again from here
    base = _resident_mb()
    record_foam(plan_foam(size, seed=1), 3.0)
    return _resident_mb() - base


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def toolkit() -> Any:
    """The itk package with RTK in it, None where it is not installed."""
    try:
        import itk
    except ImportError:
        return None
    return itk if hasattr(itk, "RTK") else None


def _turns(itk: Any, foam: Foam) -> Any:
    g = foam.geometry
    turns = itk.RTK.ThreeDCircularProjectionGeometry.New()
    for a in np.degrees(g.angles):
        turns.AddProjection(g.source_object_nm, g.source_detector_nm, float(a))
    return turns


def _detector(itk: Any, foam: Foam, lengths: np.ndarray) -> Any:
    images, pixel = itk.image_from_array(np.ascontiguousarray(lengths)), foam.geometry.pixel_nm
    rows, columns = lengths.shape[1:]
    images.SetSpacing([pixel, pixel, 1.0])
    images.SetOrigin([-(columns - 1) / 2 * pixel, -(rows - 1) / 2 * pixel, 0.0])
    return images


def rtk_fdk(itk: Any, lengths: np.ndarray, foam: Foam) -> np.ndarray:
    """FDK by RTK on the same projections; its y axis is the rotation axis."""
    (nz, ny, nx), voxel = foam.grid.shape, foam.grid.pixel_size_nm[0]
    empty = itk.RTK.ConstantImageSource[itk.Image[itk.F, 3]].New()
    empty.SetSize([ny, nz, nx])
    empty.SetSpacing([voxel] * 3)
    empty.SetOrigin([-(ny - 1) / 2 * voxel, -(nz - 1) / 2 * voxel, -(nx - 1) / 2 * voxel])
    fdk = itk.RTK.FDKConeBeamReconstructionFilter[itk.Image[itk.F, 3]].New()
    fdk.SetInput(0, empty.GetOutput())
    fdk.SetInput(1, _detector(itk, foam, lengths))
    fdk.SetGeometry(_turns(itk, foam))
    fdk.Update()
    return itk.array_from_image(fdk.GetOutput()).transpose(1, 2, 0)


def rtk_project(itk: Any, volume: np.ndarray, foam: Foam) -> np.ndarray:
    """Projection of a voxel volume by RTK."""
    (nz, ny, nx), voxel = volume.shape, foam.grid.pixel_size_nm[0]
    image = itk.image_from_array(np.ascontiguousarray(volume.transpose(2, 0, 1)))
    image.SetSpacing([voxel] * 3)
    image.SetOrigin([-(ny - 1) / 2 * voxel, -(nz - 1) / 2 * voxel, -(nx - 1) / 2 * voxel])
    empty = np.zeros((foam.geometry.views, *foam.geometry.detector_shape), np.float32)
    joseph = itk.RTK.JosephForwardProjectionImageFilter[itk.Image[itk.F, 3], itk.Image[itk.F, 3]].New()
    joseph.SetInput(0, _detector(itk, foam, empty))
    joseph.SetInput(1, image)
    joseph.SetGeometry(_turns(itk, foam))
    joseph.Update()
    return np.asarray(itk.array_from_image(joseph.GetOutput()))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--quick", action="store_true", help="64 only")
    args = parser.parse_args()
    sizes = [64] if args.quick else args.sizes
    rtk = toolkit()
    if rtk is None:
        print("itk-rtk is not installed: its figures are left out.\n")
    record_foam(plan_foam(24, seed=1), 3.0), true_foam(plan_foam(24, seed=1))  # compiled before the clock starts
    if rtk is not None:  # its modules are loaded on first use
        tiny = plan_foam(24, seed=1)
        rtk_fdk(rtk, project(tiny.spheres, tiny.geometry), tiny)
    spheres()
    for size in sizes:
        chain(size, rtk)
    print(f"\n{'peak memory of one recorded volume':<44}{'MB':>8}{'x volume':>10}")
    for size in sizes:
        mb = peak(size)
        print(f"{size}³{'':<40}{mb:>8.0f}{mb / (size**3 * 4 / 2**20):>10.1f}")


if __name__ == "__main__":
    main()
