"""Time and peak memory of the measures of volumes: scores, maps and the Gaussian fit, beside scikit-image's SSIM.

    python benchmarks/volume_metrics.py [--sizes 128 256 512] [--threads 1]

Volumes are memory-mapped files of float32. Every measurement runs in a process of its own after a small warm-up; peak
memory is the kernel's high-water mark of resident memory (VmHWM) over what was resident before, so pages of the mapped
files that the kernel has not dropped count too (``anonymous`` leaves them out). scikit-image runs at the sizes up to
256 only. Aims: less CPU time than scikit-image's single scale for all five scales; memory bounded at 512.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

LARGEST_FOR_SKIMAGE = 256
MEASURES = ("volume_scores", "ms_ssim_maps", "blur_fit", "slice_flicker", "skimage")


def main() -> None:
    """Measure every size and print."""
    options = _options()
    if options.child:
        print(json.dumps(_measure(options.child, Path(options.folder), options.sizes[0])))
        return
    env = {**os.environ, "NUMBA_NUM_THREADS": str(options.threads), "OMP_NUM_THREADS": str(options.threads)}
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            _write_volumes(Path(folder), size)
            seconds = {}
            for name in MEASURES:
                if name == "skimage" and size > LARGEST_FOR_SKIMAGE:
                    continue
                command = [sys.executable, __file__, "--child", name, "--folder", folder, "--sizes", str(size)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
                seconds[name] = found["cpu"]
                print(
                    f"{size:5}^3 {name:14} {found['cpu']:7.2f} CPU s {found['wall']:7.2f} s wall   "
                    f"peak {found['peak']:6.0f} MB, anonymous {found['anonymous']:6.0f} MB   {found['what']}",
                    flush=True,
                )
            if "skimage" in seconds:
                ratio = seconds["skimage"] / seconds["volume_scores"]
                print(f"{size:5}^3 scikit-image (one scale) over volume_scores (all scales): {ratio:.1f} x CPU time")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", default="")
    parser.add_argument("--folder", default="")
    return parser.parse_args()


def _write_volumes(folder: Path, size: int) -> None:
    """A truth of two phases, and the truth blurred by 3 voxels with noise; slab by slab."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    shape = (size, size, size)
    truth, result = (
        np.lib.format.open_memmap(folder / f"{n}.npy", mode="w+", dtype=np.float32, shape=shape)
        for n in ("truth", "result")
    )
    tile = ndimage.gaussian_filter(rng.standard_normal((128, 128, 128), np.float32), 3.0, mode="wrap") > 0
    times = -(-size // 128)
    plane = np.tile(tile.astype(np.float32), (1, times, times))[:, :size, :size]
    blurred = np.tile(ndimage.gaussian_filter(tile.astype(np.float32), 3.0, mode="wrap"), (1, times, times))[
        :, :size, :size
    ]
    for z in range(size):
        truth[z] = plane[z % 128]
        result[z] = blurred[z % 128] + 0.05 * rng.standard_normal((size, size), np.float32)


def _measure(name: str, folder: Path, size: int) -> dict[str, float | str]:
    from skimage.metrics import structural_similarity

    from finescan.trust import blur_fit, ms_ssim_maps, slice_flicker, volume_scores

    truth, result = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("truth", "result"))

    def maps(x: np.ndarray, y: np.ndarray) -> str:
        out = [
            np.lib.format.open_memmap(folder / f"{n}_map.npy", mode="w+", dtype=np.float32, shape=x.shape)
            for n in ("ssim", "fused")
        ]
        return str(ms_ssim_maps(x, y, data_range=1.0, ssim_out=out[0], fused_out=out[1]).scores)

    def skimage(x: np.ndarray, y: np.ndarray) -> str:
        score, _ = structural_similarity(
            y, x, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        return f"SSIM {score:.4f}"

    run = {
        "volume_scores": lambda x, y: str(volume_scores(x, y, data_range=1.0)),
        "ms_ssim_maps": maps,
        "blur_fit": lambda x, y: str(blur_fit(x, y, voxel_size_nm=1.0)),
        "slice_flicker": lambda x, y: str(slice_flicker(x, reference=y)),
        "skimage": skimage,
    }[name]
    run(np.asarray(result[:48, :48, :48]), np.asarray(truth[:48, :48, :48]))  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    base, base_anonymous = _status("VmRSS"), _status("RssAnon")
    with _Peak() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        what = run(result, truth)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": _status("VmHWM") - base,
        "anonymous": peak.value - base_anonymous,
        "what": what,
    }


class _Peak:
    """Largest anonymous memory while it is entered, looked up twenty times a second (the kernel keeps no mark)."""

    def __enter__(self) -> _Peak:
        self.value, self._stop = _status("RssAnon"), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.value = max(self.value, _status("RssAnon"))


def _status(key: str) -> float:
    """A value of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) / 1024


if __name__ == "__main__":
    main()
