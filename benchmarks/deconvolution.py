"""Richardson-Lucy and non-local means against scikit-image on the same volume, alternating in one process.

``python benchmarks/deconvolution.py [--size 128] [--sigma 3] [--iterations 10] [--threads 1] [--rounds 2]``

Foam-like volume, blurred by a Gaussian, with noise. Prints CPU seconds, their ratio and what is left of the error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from finescan.__main__ import tune_process

tune_process()

import numba  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402
from skimage.restoration import denoise_nl_means  # noqa: E402
from skimage.restoration import richardson_lucy as skimage_richardson_lucy  # noqa: E402

from finescan.models.deconvolution import richardson_lucy  # noqa: E402
from finescan.models.denoising import non_local_means  # noqa: E402

NOISE = 0.05


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    truth = _foam(options.size)
    rng = np.random.default_rng(1)
    grey = gaussian_filter(truth, options.sigma, mode="nearest")
    grey = np.maximum(grey + rng.normal(0, NOISE, grey.shape), 0).astype(np.float32)
    noisy = (truth + rng.normal(0, NOISE, truth.shape)).astype(np.float32)
    radius = round(4 * options.sigma)
    one = np.exp(-0.5 * (np.arange(-radius, radius + 1) / options.sigma) ** 2)
    kernel = (one[:, None, None] * one[:, None] * one / one.sum() ** 3).astype(np.float32)
    n = options.iterations
    print(f"{options.size}³ voxels, sigma {options.sigma}, {n} iterations, {options.threads} threads")
    non_local_means(noisy[:8], sigma=NOISE)  # compiles
    _compare(
        f"Richardson-Lucy ({n} iterations)",
        truth,
        grey,
        lambda: richardson_lucy(grey, options.sigma, iterations=n),
        lambda: skimage_richardson_lucy(grey, kernel, num_iter=n, clip=False),
        options.rounds,
    )
    _compare(
        "non-local means (patches of 2³ voxels, distance 4)",
        truth,
        noisy,
        lambda: non_local_means(noisy, sigma=NOISE),
        lambda: denoise_nl_means(noisy, 3, 4, h=0.8 * NOISE, sigma=NOISE, fast_mode=True, preserve_range=True),
        options.rounds,
    )


def _compare(
    name: str,
    truth: np.ndarray,
    before: np.ndarray,
    ours: Callable[[], np.ndarray],
    theirs: Callable[[], np.ndarray],
    rounds: int,
) -> None:
    inner = (slice(8, -8),) * 3

    def error(a: np.ndarray) -> float:
        return float(np.sqrt(np.mean((a - truth)[inner] ** 2)))

    print(f"{name}: error before {error(before):.4f}")
    times = {}
    for who, run in (("finescan", ours), ("scikit-image", theirs)):
        cpu, wall, left = float("inf"), float("inf"), 0.0
        for _ in range(rounds):
            began = time.process_time(), time.perf_counter()
            left = error(run())
            cpu = min(cpu, time.process_time() - began[0])
            wall = min(wall, time.perf_counter() - began[1])
        times[who] = cpu
        print(f"  {who:13} {cpu:7.2f} s CPU  {wall:7.2f} s wall  error {left:.4f}", flush=True)
    print(f"  finescan is {times['scikit-image'] / times['finescan']:.2f} times as fast (CPU)")


def _foam(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    volume = np.ones((n, n, n), np.float32)
    z, y, x = np.ogrid[:n, :n, :n]
    for _ in range(max(8, n**3 // 15000)):
        (a, b, c), r = rng.uniform(0, n, 3), rng.uniform(3, 12)
        box = tuple(slice(max(0, int(v - r) - 1), int(v + r) + 2) for v in (a, b, c))
        inside = (z[box[0]] - a) ** 2 + (y[:, box[1]] - b) ** 2 + (x[:, :, box[2]] - c) ** 2 < r * r
        volume[box][inside] = 0.0
    return volume


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--sigma", type=float, default=3.0)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
