"""Peak memory of enhancement over the interpreter (torch loaded) at growing output sizes; aim: flat, under 1.5 GB.

``python benchmarks/memory.py [--sizes 4096 16384 32768] [--model fast] [--factor 4] [--threads 1]``

Every size runs in a process of its own, from a memory-mapped ``.npy`` to an OME-Zarr store. Peak memory is the
kernel's high-water mark of resident memory (VmHWM); the mark is reset after the imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure every size and print."""
    options = _options()
    if options.child:
        print(json.dumps(_measure(options)))
        return
    peaks = {}
    for size in options.sizes:
        command = [sys.executable, __file__, "--child", str(size), "--model", options.model]
        command += ["--factor", str(options.factor), "--threads", str(options.threads)]
        peaks[size] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        p = peaks[size]
        print(
            f"{size:6} x {size:<6} peak {p['peak']:7.0f} MB = interpreter {p['base']:.0f} + "
            f"{p['peak'] - p['base']:.0f} MB   {p['seconds']:6.0f} s wall {p['cpu']:6.0f} s CPU",
            flush=True,
        )
    over = [p["peak"] - p["base"] for p in peaks.values()]
    print(f"largest over smallest: {max(over) / min(over):.2f}; most: {max(over):.0f} MB (aim: flat, below 1500 MB)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 16384, 32768])
    parser.add_argument("--model", default="fast")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", type=int, default=0)
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[str, float]:
    from finescan.__main__ import tune_process

    tune_process()
    import torch

    from enhancement import _model
    from finescan.enhancement import EnhanceConfig, enhance
    from finescan.values import Grid, Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coarse.npy"
        side = options.child // options.factor
        _write_input(path, side)
        model = _model(options.model, options.factor)
        torch.ones(8) @ torch.ones(8)
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        base = _status("VmRSS")
        lr = Image(np.load(path, mmap_mode="r"), Grid.of((side, side), 10.0), "memory")
        began, cpu = time.perf_counter(), time.process_time()
        enhance(model, lr, folder=Path(folder) / "out", config=EnhanceConfig(threads=options.threads))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"base": base, "peak": _status("VmHWM"), "seconds": seconds, "cpu": cpu}


def _write_input(path: Path, side: int) -> None:
    rng = np.random.default_rng(0)
    data = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(side, side))
    for first in range(0, side, 256):
        rows = min(256, side - first)
        data[first : first + rows] = rng.normal(120, 25, (rows, side)).clip(0, 254).astype(np.uint8)
    data.flush()
    del data


def _status(key: str) -> float:
    """A value of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) / 1024


if __name__ == "__main__":
    main()
