"""Throughput of volume enhancement against the bare network on the same voxels, alternating in one process.

``python benchmarks/volume_enhancement.py [--model volume] [--width 32] [--shape 192] [--threads 1] [--rounds 2]``

Two yardsticks: the network on the very blocks enhancement gives it (what reading, guarding, rounding and writing
cost), and the network on blocks without a halo (the halo's share included). Networks of stacks are also run as
published, at stride 1, 2 and 3.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from finescan.__main__ import tune_process

tune_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from finescan.enhancement import VolumeEnhanceConfig, enhance_volume  # noqa: E402
from finescan.enhancement.volume_layout import VolumeLayout, blocks, choose_layout, grown  # noqa: E402
from finescan.models import Model  # noqa: E402
from finescan.patches import volume_input  # noqa: E402
from finescan.values import Grid, Image, Region  # noqa: E402
from volume_memory import Procedural, volume_model  # noqa: E402


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = volume_model(options.model, options.width).to(device)
    shape = (options.depth or options.shape, options.shape, options.shape)
    lr = Image(Procedural(shape)[:, :, :], Grid.of(shape, 1000.0), "benchmark")
    config = VolumeEnhanceConfig(threads=options.threads, pyramid=False)
    layout = choose_layout(model, shape, config, device=device)
    print(f"{model}; {shape} voxels, blocks {layout.core} with halo {layout.halo}, {options.threads} torch threads")
    runs: dict[str, Callable[[Path], object]] = {
        "network on the same blocks": lambda _: _forward(model, lr, layout, layout.halo),
        "network on blocks without halo": lambda _: _forward(model, lr, layout, (0, 0, 0)),
        "enhance to memory": lambda _: enhance_volume(model, lr, config=config),
        "enhance to zarr": lambda folder: enhance_volume(model, lr, folder=folder, config=config),
    }
    if model.stack:
        for stride in (1, 2, 3):
            published = VolumeEnhanceConfig(blending="published", stride=stride, threads=options.threads)
            runs[f"published, stride {stride}"] = lambda _, c=published: enhance_volume(model, lr, config=c)
    best = dict.fromkeys(runs, (float("inf"), float("inf")))
    for _ in range(options.rounds):
        for name, run in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = time.perf_counter(), time.process_time()
                run(Path(folder) / "out")
                best[name] = min(best[name], (time.perf_counter() - wall, time.process_time() - cpu))
    same, bare = (best[n] for n in list(runs)[:2])
    print("ratios: wall (CPU)")
    for name, (wall, cpu) in best.items():
        print(
            f"{name:32} {np.prod(shape) / wall / 1e6:7.2f} Mvoxel/s  {wall:6.2f} s wall  {cpu:6.2f} s CPU   "
            f"{same[0] / wall:5.2f} ({same[1] / cpu:4.2f}) of same blocks  "
            f"{bare[0] / wall:5.2f} ({bare[1] / cpu:4.2f}) of no halo"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="volume")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--shape", type=int, default=192)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def _forward(model: Model, lr: Image, layout: VolumeLayout, halo: tuple[int, ...]) -> None:
    """The network on every block of the volume; the answer is thrown away."""
    everything = Region(lr.grid, (0, 0, 0), lr.grid.shape)
    for tile in blocks(lr.grid.shape, model.multiple, layout.core, everything).values():
        low, high = zip(*grown(tile.read, halo, lr.grid.shape, model.multiple), strict=True)
        model.predict(volume_input(lr, lr.grid, low, high))


if __name__ == "__main__":
    main()
