"""Throughput of enhancement against the bare network forward on the same pixels, alternating in one process.

``python benchmarks/enhancement.py [--model fast] [--factor 4] [--shape 2304] [--threads 1] [--rounds 3]``

Two yardsticks: the network on the very windows enhancement gives it (what reading, guarding, rounding and writing
cost), and the network on blocks without a halo (the halo's share included). Aim: at least 0.95 of the first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from finescan.__main__ import tune_process

tune_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from finescan.enhancement import EnhanceConfig, enhance  # noqa: E402
from finescan.enhancement.layout import choose_layout  # noqa: E402
from finescan.models import Model, architecture, build, complete_arguments  # noqa: E402
from finescan.values import GreyStatistics, Grid, Image, ModelCard  # noqa: E402


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    model = _model(options.model, options.factor)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(0)
    grey = rng.normal(120, 25, (options.shape, options.shape)).clip(0, 254).astype(np.uint8)
    lr = Image(grey, Grid.of(grey.shape, 10.0), "benchmark")
    config = EnhanceConfig(tile=options.tile, threads=options.threads)
    core = choose_layout(model.factor, model.halo, config, on_gpu=torch.cuda.is_available()).core
    px = grey.size * model.factor**2
    print(f"{model}; {px / 1e6:.0f} Mpx out, core {core} LR px, {options.threads} torch threads")
    runs = {
        "network on the same windows": lambda _: _forward(model, grey, core, model.halo),
        "network on blocks without halo": lambda _: _forward(model, grey, core, 0),
        "enhance to memory": lambda _: enhance(model, lr, config=config),
        "enhance to zarr": lambda folder: enhance(model, lr, folder=folder, config=replace(config, pyramid=False)),
        "enhance to zarr, with pyramid": lambda folder: enhance(model, lr, folder=folder, config=config),
    }
    runs["network on the same windows"](None)  # warm up
    best = {name: (float("inf"), float("inf")) for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = time.perf_counter(), time.process_time()
                run(Path(folder) / "out")
                took = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = min(best[name], took)
    same, bare = (best[n] for n in list(runs)[:2])
    print("ratios: wall (CPU)")
    for name, (wall, cpu) in best.items():
        print(
            f"{name:32} {px / wall / 1e6:7.1f} Mpx/s  {wall:6.2f} s wall  {cpu:6.2f} s CPU   "
            f"{same[0] / wall:5.2f} ({same[1] / cpu:4.2f}) of same windows  "
            f"{bare[0] / wall:5.2f} ({bare[1] / cpu:4.2f}) of no halo"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--shape", type=int, default=2304)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tile", type=int, default=None)
    return parser.parse_args()


def _model(name: str, factor: int) -> Model:
    torch.manual_seed(0)
    arguments = complete_arguments(name)
    grey = GreyStatistics(120.0, 25.0, 40.0, 200.0)
    card = ModelCard(
        name,
        arguments,
        factor,
        architecture(name).halo(arguments),
        (10.0 / factor,) * 2,
        (float(factor),) * 2,
        grey,
        grey,
        lr_range=(60.0, 180.0),
        hr_dtype="uint8",
    )
    return Model(build(name, factor, arguments), card)


def _forward(model: Model, grey: np.ndarray, core: int, halo: int) -> None:
    """The network on every block of the map, halo included; the answer is thrown away."""
    padded = np.pad(grey.astype(np.float32), halo, mode="reflect")
    for row in range(0, grey.shape[0], core):
        for column in range(0, grey.shape[1], core):
            model.predict(padded[row : row + core + 2 * halo, column : column + core + 2 * halo])


if __name__ == "__main__":
    main()
