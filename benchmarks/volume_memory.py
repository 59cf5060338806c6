"""Peak memory of volume enhancement over the interpreter (torch loaded) at growing volumes; aim: flat.

``python benchmarks/volume_memory.py [--shapes 256 512 1024x512x512] [--model volume] [--width 8] [--blending exact]``

Every volume runs in a process of its own, from a procedural array (nothing in memory, nothing on disk) to an OME-Zarr
store. A shape is one number or depth x rows x columns. Peak memory is the kernel's high-water mark of resident memory
(VmHWM), reset after the imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from memory import _status


class Procedural:
    """A volume that is computed where it is looked at: round pores on a lattice, and noise from the position."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __getitem__(self, box: Any) -> np.ndarray:
        slices = box if isinstance(box, tuple) else (box,)
        slices += (slice(None),) * (3 - len(slices))
        ranges = [
            np.array([s]) if isinstance(s, int) else np.arange(*s.indices(n))
            for s, n in zip(slices, self.shape, strict=True)
        ]
        grey = np.empty([len(r) for r in ranges], np.uint16)
        z, y, x = ranges[0], ranges[1][:, None], ranges[2][None, :]
        plane = np.cos(y.astype(np.float32) / 7) + np.cos(x.astype(np.float32) / 7)
        mixed = (y * 19349663 ^ x * 83492791) & 1023
        for k, at in enumerate(z):  # slice by slice: the generator must not need memory of its own
            noise = (mixed ^ (int(at) * 73856093 & 1023)).astype(np.float32)
            grey[k] = 20000 + 6000 * (plane + np.float32(np.cos(at / 7))) + 4 * noise
        return grey[tuple(0 if isinstance(s, int) else slice(None) for s in slices)]


def main() -> None:
    """Measure every shape and print."""
    options = _options()
    if options.child:
        print(json.dumps(_measure(options)))
        return
    over = []
    for shape in options.shapes:
        command = [sys.executable, __file__, "--child", shape, "--model", options.model, "--width", str(options.width)]
        command += ["--threads", str(options.threads), "--blending", options.blending]
        p = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        over.append(p["peak"] - p["base"])
        print(
            f"{shape:>14} peak {p['peak']:6.0f} MB = interpreter {p['base']:.0f} + {over[-1]:.0f} MB   blocks "
            f"{p['core']}   {p['seconds']:5.0f} s wall {p['cpu']:5.0f} s CPU   {p['voxels'] / p['seconds'] / 1e6:.2f} "
            "Mvoxel/s",
            flush=True,
        )
    print(f"largest over smallest: {max(over) / min(over):.2f}; most: {max(over):.0f} MB (aim: flat)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["256", "512", "1024"])
    parser.add_argument("--model", default="volume")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--blending", default="exact")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", default="")
    return parser.parse_args()


def volume_model(name: str, width: int) -> Any:
    """A network of the table with fresh weights, for uint16 volumes of 1000 nm voxels."""
    import torch

    from finescan.models import Model, architecture, build, complete_arguments
    from finescan.values import GreyStatistics, ModelCard

    torch.manual_seed(0)
    row = architecture(name)
    given = {"width": width} if "width" in row.arguments else {}
    arguments = complete_arguments(name, given)
    grey = GreyStatistics(22000.0, 5000.0, 4000.0, 42000.0)
    card = ModelCard(
        name, arguments, 1, row.halo(arguments), (1000.0,) * 3, (1.0,) * 3, grey, grey,
        lr_range=(0.0, 44000.0), hr_dtype="uint16", axes="ZYX", halo_z=row.halo_z(arguments),
    )  # fmt: skip
    return Model(build(name, 1, arguments), card)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from finescan.__main__ import tune_process

    tune_process()
    import torch

    from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
    from finescan.enhancement.ledger import NAME
    from finescan.values import Grid, Image

    sides = [int(n) for n in options.child.split("x")]
    shape = (sides[0],) * 3 if len(sides) == 1 else tuple(sides)
    lr = Image(Procedural(shape), Grid.of(shape, 1000.0), "procedural")
    model = volume_model(options.model, options.width)
    torch.ones(8) @ torch.ones(8)
    with tempfile.TemporaryDirectory() as folder:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        base = _status("VmRSS")
        began, cpu = time.perf_counter(), time.process_time()
        config = VolumeEnhanceConfig(threads=options.threads, blending=options.blending)
        enhance_volume(model, lr, folder=folder, config=config)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        header = json.loads((Path(folder) / NAME).read_text().splitlines()[0])
    return {
        "base": base, "peak": _status("VmHWM"), "seconds": seconds, "cpu": cpu, "core": header["core"],
        "voxels": float(np.prod(shape)),
    }  # fmt: skip


if __name__ == "__main__":
    main()
