"""The demo: a simulated sample with a known answer, from nothing to a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.enhancement import EnhanceConfig, enhance
from finescan.reporting.strip import write_strip
from finescan.simulation import Simulated, simulate
from finescan.trust import METRICS
from finescan.values import Region
from finescan.workflow import page
from finescan.workflow.folder import make_folder, require_empty, write_json
from finescan.workflow.reading import Outcome
from finescan.workflow.run import complete

Progress = Callable[[float, float, str], None]
SIZE, RATIO, FINE, COUNTS = (320, 400), 4.0, (640, 704), (300.0, 400.0)
MARGIN_PX = 16  # output pixels: the outermost frame of the map is left out of the comparison with the truth


def demo(
    out: str | Path = "demo",
    *,
    seed: int = 0,
    minutes: float = 0.5,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Simulate a coarse and a fine scan, run everything on the files, and compare with the known truth.

    Parameters
    ----------
    out : folder; ``scans/`` holds the simulated files, the rest is a run folder in ``run/``.
    seed : of the simulation and of training.
    minutes : time budget for training.

    Returns
    -------
    Outcome as of :func:`finescan.run`, with ``facts["truth"]``: PSNR (dB) and SSIM of every contestant against the
    noise-free truth of the whole area that no fine scan covers.
    """
    out = Path(out)
    require_empty(out, overwrite=overwrite)
    make_folder(out / "scans")
    if progress:
        progress(0, 1, "simulating a sample")
    job = simulate("porous", size=SIZE, ratio=RATIO, fine=FINE, dtype="uint8", counts=COUNTS, seed=seed)
    names = out / "scans" / "coarse.tif", out / "scans" / "fine.tif"
    for name, image in zip(names, (job.lr, job.hr[0]), strict=True):
        io.write(name, image, overwrite=True)
    choices: dict[str, Any] = {"train.minutes": minutes, "train.seed": seed}
    done = complete(*names, out / "run", None, choices, False, True, progress)
    table = against_truth(done, job)
    write_json(out / "truth.json", table)
    _picture(done, job, out / "demo.png")
    facts = {**done.facts, "truth": table, "warp_error_hr_px": warp_error(done, job)}
    return Outcome(facts, f"{page.summary(facts)}\n\n{_table_text(facts)}")


def against_truth(done: page.Finished, job: Simulated) -> dict[str, dict[str, float]]:
    """PSNR and SSIM of every contestant against the truth, where no fine scan was recorded."""
    truth = np.asarray(job.truth.data, np.float64)
    mask = outside_the_scans(done)
    data_range = float(np.quantile(truth, 0.999) - np.quantile(truth, 0.001))
    images: dict[str, NDArray[Any]] = {
        name: enhance(model, done.lr, config=EnhanceConfig(dtype="float32")).image.array()
        for name, model in done.contestants.items()
    }
    images["enhanced"] = done.enhanced.array()
    return {
        name: {
            m: METRICS[m](np.asarray(image, np.float64), truth, data_range=data_range, mask=mask)
            for m in ("psnr", "ssim")
        }
        for name, image in images.items()
    }


def outside_the_scans(done: page.Finished) -> NDArray[np.bool_]:
    """True on the output grid outside the boxes of the fine scans and the map's outermost frame."""
    grid = done.enhanced.grid
    mask = np.zeros(grid.shape, bool)
    mask[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = True
    for pair in done.pairs:
        index = grid.to_index(pair.lr_from_hr(page.corners(pair.hr.grid)))
        mask[Region.clipped(grid, index.min(axis=0), index.max(axis=0) + 1).slices] = False
    return mask


def warp_error(done: page.Finished, job: Simulated) -> float:
    """Median distance of the found warp from the true one over the fine scan, HR px."""
    grid = job.hr[0].grid
    points = grid.to_nm(np.moveaxis(np.indices(grid.shape)[:, ::16, ::16], 0, -1).astype(float))
    apart = done.pairs[0].lr_from_hr(points) - job.lr_from_hr[0](points)
    return float(np.median(np.linalg.norm(apart / np.asarray(grid.pixel_size_nm), axis=-1)))


def _picture(done: page.Finished, job: Simulated, path: Path) -> None:
    """coarse | bicubic | enhanced | truth of a place no fine scan covers, for the README."""
    grid = done.enhanced.grid
    free = outside_the_scans(done)
    side = 240
    total = np.pad(free.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    y, x = (int(v) for v in np.unravel_index(int(sums.argmax()), sums.shape))
    part = grid.crop((y, x), (y + side, x + side))
    box = (slice(y, y + side), slice(x, x + side))
    coarse = done.contestants["nearest"].predict(done.lr.array().astype(np.float32))[box]
    layers = {
        "coarse": coarse,
        "bicubic": page.interpolated(done, part),
        "enhanced": np.asarray(done.enhanced.data[box]),
        "truth": np.asarray(job.truth.data[box]),
    }
    write_strip(path, layers, pixel_size_nm=grid.pixel_size_nm[1], enlarge=1)


def _table_text(facts: dict[str, Any]) -> str:
    rows = facts["truth"]
    base = rows["bicubic"]["psnr"]
    lines = ["Against the known truth, where no fine scan was recorded:"]
    lines += [f"{'':10} {'PSNR dB':>8} {'SSIM':>7} {'gain dB':>8}"]
    lines += [f"{n:10} {r['psnr']:8.2f} {r['ssim']:7.4f} {r['psnr'] - base:+8.2f}" for n, r in rows.items()]
    lines.append(f"registration: median error {facts['warp_error_hr_px']:.2f} fine px against the true warp")
    return "\n".join(lines)
