"""Object analysis against scikit-image (and PoreSpy where it is installed) on one foam of touching spheres.

python benchmarks/pores.py [--size 256] [--noise 0.08]

Every way gets the same noisy volume, the same threshold and closing, and separates, measures and counts. Printed are
CPU seconds and their ratio to ours, the growth of peak memory (each way runs in a process of its own), and how many of
the spheres that no face cuts lie alone in an object of their own.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PIXEL = 650.0


def packed(size: int, seed: int) -> tuple[NDArray, NDArray]:
    """Touching spheres in a cylinder: every new one fills the room at the roomiest of 400 random places."""
    rng, radius, cap = np.random.default_rng(seed), 0.47 * size, 0.107 * size
    centres, radii = np.zeros((0, 3)), np.zeros(0)
    places, room = np.zeros((0, 3)), np.zeros(0)
    smallest = max(2.5, 0.006 * size)
    for _ in range(round(1460 * min(1.0, size / 512))):
        while len(room) < 400:
            at = rng.random((2000, 3)) * (size, 2 * radius, 2 * radius) - (0, radius, radius)
            free = radius - np.hypot(at[:, 1], at[:, 2])
            if len(radii):
                free = np.minimum(free, (np.linalg.norm(at[:, None] - centres, axis=-1) - radii).min(1))
            places, room = np.r_[places, at[free > smallest]], np.r_[room, free[free > smallest]]
        best = int(np.argmax(room[:400]))
        centres, radii = np.r_[centres, places[best : best + 1]], np.r_[radii, min(cap, room[best])]
        room = np.minimum(room, np.linalg.norm(places - centres[-1], axis=1) - radii[-1])
        places, room = places[room > smallest], room[room > smallest]
    return centres + np.array([0, size / 2 - 0.5, size / 2 - 0.5]), radii


def voxelised(size: int, centres: NDArray, radii: NDArray, noise: float) -> NDArray[np.float32]:
    """Grey levels: 1 in the solid of the cylinder, 0 in pores and air, edges one voxel wide, and noise."""
    y, x = np.mgrid[:size, :size] - (size / 2 - 0.5)
    grey = np.repeat(np.clip(0.47 * size - np.hypot(y, x) + 0.5, 0, 1)[None], size, 0).astype(np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        box = tuple(slice(max(0, int(c - radius - 1)), min(size, int(c + radius + 3))) for c in centre)
        at = np.meshgrid(*(np.arange(b.start, b.stop) - c for b, c in zip(box, centre, strict=True)), indexing="ij")
        grey[box] *= np.clip(np.sqrt(sum(a**2 for a in at)) - radius + 0.5, 0, 1)
    return grey + np.random.default_rng(0).normal(0, noise, grey.shape).astype(np.float32)


def finescan_way(grey: NDArray, bulk: NDArray, threshold: float) -> NDArray:
    """Ours: quantify, everything measured."""
    from finescan.quantification import QuantifyConfig, quantify
    from finescan.values import Grid, Image

    image = Image(grey, Grid.of(grey.shape, PIXEL))
    return quantify(image, bulk=bulk, config=QuantifyConfig(threshold=threshold)).labels


def tidied(grey: NDArray, bulk: NDArray, threshold: float) -> NDArray[np.bool_]:
    """Pores of the bulk after the closing."""
    return ndimage.binary_erosion(ndimage.binary_dilation((grey <= threshold) & bulk), border_value=1) & bulk


def without_cut(labels: NDArray) -> NDArray:
    """Labels without the objects at the first and last slice."""
    keep = np.ones(labels.max() + 1, bool)
    keep[labels[0]] = keep[labels[-1]] = False
    return labels * keep[labels]


def skimage_way(grey: NDArray, bulk: NDArray, threshold: float) -> NDArray:
    """scipy distance, ITK's h-minima as markers, scikit-image watershed and regionprops, ITK's surface."""
    import SimpleITK
    from skimage.measure import regionprops_table
    from skimage.segmentation import watershed

    pores = tidied(grey, bulk, threshold)
    depth = -ndimage.distance_transform_edt(pores).astype(np.float32)
    minima = SimpleITK.RegionalMinima(SimpleITK.HMinima(SimpleITK.GetImageFromArray(depth), 0.75))
    markers = ndimage.label(SimpleITK.GetArrayViewFromImage(minima))[0]
    labels = without_cut(watershed(depth, markers, mask=pores))
    regionprops_table(labels, properties=("area", "centroid", "bbox"))
    statistics = SimpleITK.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(SimpleITK.GetImageFromArray(labels.astype(np.uint32)))
    return labels


def skimage_only_way(grey: NDArray, bulk: NDArray, threshold: float) -> NDArray:
    """The same with scikit-image's own h_maxima and marching cubes per object."""
    from skimage.measure import marching_cubes, mesh_surface_area, regionprops
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    pores = tidied(grey, bulk, threshold)
    distance = ndimage.distance_transform_edt(pores).astype(np.float32)
    markers = ndimage.label(h_maxima(distance, 0.75))[0]
    labels = without_cut(watershed(-distance, markers, mask=pores))
    for p in regionprops(labels):
        if p.area >= 33:
            vertices, faces, *_ = marching_cubes(np.pad(p.image, 1).astype(np.float32), 0.5)
            mesh_surface_area(vertices, faces)
    return labels


def porespy_way(grey: NDArray, bulk: NDArray, threshold: float) -> NDArray:
    """PoreSpy's SNOW and regionprops_3D."""
    import porespy

    pores = tidied(grey, bulk, threshold)
    labels = without_cut(np.asarray(porespy.filters.snow_partitioning(pores).regions))
    porespy.metrics.regionprops_3D(labels)
    return labels


WAYS: dict[str, Callable[[NDArray, NDArray, float], NDArray]] = {
    "finescan": finescan_way,
    "scikit-image + SimpleITK": skimage_way,
    "scikit-image alone": skimage_only_way,
    "porespy": porespy_way,
}


def alone(labels: NDArray, centres: NDArray, radii: NDArray) -> int:
    """How many whole spheres lie with their centre in a counted object that holds no other centre."""
    at = np.rint(centres).astype(int).clip(0, np.array(labels.shape) - 1)
    here = labels[tuple(at.T)]
    whole = (centres[:, 0] - radii > 0) & (centres[:, 0] + radii < labels.shape[0] - 1)
    names, times = np.unique(here[here > 0], return_counts=True)
    return int(np.isin(here[whole], names[times == 1]).sum())


def peak_gb() -> float:
    """Greatest resident memory of this process so far (Linux; ru_maxrss would include the parent's)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def measured(name: str, folder: str, answer: multiprocessing.SimpleQueue) -> None:
    """Run one way (on a corner first: what is compiled on first use is not timed) and send what came out."""
    grey = np.load(f"{folder}/grey.npy")
    size, centres, radii = len(grey), np.load(f"{folder}/centres.npy"), np.load(f"{folder}/radii.npy")
    y, x = np.mgrid[:size, :size] - (size / 2 - 0.5)
    bulk = np.hypot(y, x) <= 0.47 * size
    small = slice(0, 48), slice(size // 2 - 24, size // 2 + 24), slice(size // 2 - 24, size // 2 + 24)
    WAYS[name](np.ascontiguousarray(grey[small]), bulk[small[1:]], 0.5)
    before, start = peak_gb(), time.process_time()
    labels = WAYS[name](grey, bulk, 0.5)
    seconds = time.process_time() - start
    grown = peak_gb() - before
    labels = without_cut(np.asarray(labels, np.int64))
    whole = int(((centres[:, 0] - radii > 0) & (centres[:, 0] + radii < size - 1)).sum())
    sizes = np.bincount(labels.ravel())[1:]
    answer.put((seconds, grown, int((sizes >= 8).sum()), alone(labels, centres, radii), whole))


def prepare(folder: str, size: int, noise: float) -> None:
    """The sample as files, so that making it does not count."""
    centres, radii = packed(size, 1)
    for name, array in (("centres", centres), ("radii", radii), ("grey", voxelised(size, centres, radii, noise))):
        np.save(f"{folder}/{name}.npy", array)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--noise", type=float, default=0.08)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, a.size, a.noise)
        compare(folder, a.ways)


def compare(folder: str, ways: list[str]) -> None:
    """Run the ways one after another and print."""
    context, ours = multiprocessing.get_context("spawn"), None
    for name in ways:
        if name == "porespy" and importlib.util.find_spec("porespy") is None:
            print(f"{name:26s} not installed")
            continue
        answer = context.SimpleQueue()
        process = context.Process(target=measured, args=(name, folder, answer))
        process.start()
        process.join()
        if process.exitcode:
            print(f"{name:26s} failed")
            continue
        seconds, grown, objects, found, whole = answer.get()
        ours = ours or seconds
        print(f"{name:26s} {seconds:7.2f} CPU s ({seconds / ours:5.1f} x)  + {grown:5.2f} GB peak  "
              f"{objects} objects, {found} of {whole} spheres alone in theirs")  # fmt: skip


if __name__ == "__main__":
    main()
