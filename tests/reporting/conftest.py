"""A realistic report made from a simulated sample: what the whole program would fill in."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from finescan.reporting import (
    Answer,
    Box,
    Column,
    Curves,
    Layer,
    MetricTable,
    Plot,
    RegistrationPicture,
    Report,
    Scene,
    Score,
    Series,
    checkerboard,
    crop_layer,
    histogram_series,
    overview_layer,
)
from finescan.resampling import resample
from finescan.simulation import simulate
from finescan.values import Grid, Residual, TrustMap

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "msedge")


def make_report(size: int = 192, ratio: float = 4.0, max_px: int = 2048) -> Report:
    """The report of a simulated job; the "network" is the truth, a little blurred."""
    job = simulate("polycrystal", size=size, ratio=ratio, fine=size * 3 // 2, seed=3)
    out = job.lr.grid.refine(ratio)
    bicubic = resample(job.lr, onto=out, outside=None)
    enhanced = job.truth.with_data(
        np.clip(ndimage.gaussian_filter(job.truth.data, 0.8), 0, 65535).astype(np.uint16), out
    )
    fine = resample(job.hr[0], onto=out, through=_inverse(job.lr_from_hr[0]))
    flags = _flags(job.lr.grid, np.asarray(job.lr.data))
    place = np.argwhere(np.isfinite(fine.data))
    first, last = out.to_nm(place.min(0)), out.to_nm(place.max(0))
    edge, extent = np.asarray(out.edge_nm), out.extent_nm
    side = 32 * job.lr.grid.pixel_size_nm[0]
    (y0, x0), (y1, x1) = first - edge, last - edge
    boxes = (
        Box("fine scan 1", y0, x0, y1, x1),
        Box("held out", y0, x1 - (x1 - x0) / 4, y1, x1, "held-out"),
    )
    overview = Scene(
        "Coarse map and enhanced map",
        "The whole field. Move the curtain to compare; the boxes show where fine scans were taken.",
        extent,
        (overview_layer("coarse", job.lr, max_px), overview_layer("enhanced", enhanced, max_px)),
        tuple(edge),
        flags,
        boxes,
        mode="swipe",
        lossless=max_px < 1024,
    )
    crops = []
    for k, share in enumerate((0.15, 0.55), 1):
        origin = first + share * (last - first - side)
        layers = tuple(
            crop_layer(n, im, origin, (side, side))
            for n, im in (("coarse", job.lr), ("bicubic", bicubic), ("enhanced", enhanced), ("fine", fine))
        )
        crops.append(
            Scene(f"Place {k}: held-out block", "Never seen in training.", (side, side), layers, tuple(origin), flags)
        )
    ys, xs = (slice(int(a), int(b) + 1) for a, b in zip(place.min(0), place.max(0), strict=True))
    a, b = bicubic.data[ys, xs], fine.data[ys, xs]
    registered = Scene(
        "Coarse and fine in turn",
        "Edges must run on across the tiles of the checkerboard.",
        ((y1 - y0), (x1 - x0)),
        (Layer("checkerboard", checkerboard(a, b)), Layer("coarse, resampled", a), Layer("fine", b)),
        mode="side",
    )
    rng = np.random.default_rng(0)
    small = Grid.of((24, 24), job.hr[0].grid.extent_nm[0] / 24)
    knots = np.stack(np.meshgrid(*(small.to_nm(np.stack([np.arange(1, 24, 4)] * 2, -1)).T), indexing="ij"), -1)
    blocks = np.concatenate([knots.reshape(-1, 2), rng.normal(0, 0.12, (knots.size // 2, 2))], 1)
    sigma = (0.08 + 0.1 * np.hypot(*np.meshgrid(*[np.linspace(-1, 1, 24)] * 2)) ** 2).astype(np.float32)
    residual = Residual(
        0.11, 0.09, 0.93, 4.2, {"mode": "ncc"}, small,
        {"sigma_hr_px": sigma, "residual": rng.normal(0, 1, (24, 24)).astype(np.float32)}, blocks,
    )  # fmt: skip
    steps = np.arange(1, 41) * 0.75
    learning = Plot(
        "PSNR on the stopping block while training",
        "seconds",
        "PSNR (dB)",
        (
            Series("member 1", steps, 31.5 + 2.1 * (1 - np.exp(-steps / 6)) + rng.normal(0, 0.03, 40)),
            Series("member 2", steps, 31.4 + 2.2 * (1 - np.exp(-steps / 7)) + rng.normal(0, 0.03, 40)),
            Series("bicubic", steps, np.full(40, 31.2), reference=True),
        ),
        "Both members pass the bicubic line within a second and level off after twenty.",
    )
    f = np.geomspace(1e-4, 5e-2, 60)
    spectrum = Plot(
        "Radial power spectrum", "frequency (1/nm)", "power",
        tuple(Series(n, f, 1 / (1 + (f / c) ** 3) + e) for n, c, e in
              (("fine", 8e-3, 1e-3), ("enhanced", 6e-3, 2e-4), ("bicubic", 3e-3, 1e-5))),
        "The enhanced map keeps power up to twice the frequency of the interpolation.", log_x=True, log_y=True,
    )  # fmt: skip
    frc = Plot(
        "Fourier ring correlation with the fine scan", "frequency (1/nm)", "correlation",
        (Series("enhanced", f, 1 / (1 + (f / 1.2e-2) ** 4)), Series("bicubic", f, 1 / (1 + (f / 6e-3) ** 4)),
         Series("1/7", f, np.full(60, 1 / 7), reference=True)),
        "Where a curve crosses 1/7, agreement ends.", log_x=True,
    )  # fmt: skip
    columns = (
        Column("PSNR", "dB", "higher"), Column("PSNR, matched", "dB", "higher"),
        Column("SSIM", "", "higher"), Column("RMSE", "grey levels", "lower"),
    )  # fmt: skip
    rows = {
        "nearest": [Score(29.31, 0.21), Score(29.40, 0.20), Score(0.7011, 0.0061), Score(2211, 52)],
        "bicubic": [Score(31.22, 0.18), Score(31.30, 0.18), Score(0.7712, 0.0052), Score(1801, 41)],
        "ridge 7 x 7": [Score(32.68, 0.17), Score(32.70, 0.17), Score(0.8103, 0.0049), Score(1520, 33)],
        "fast": [Score(33.61, 0.16), Score(33.62, 0.16), Score(0.8420, 0.0044), None],
    }
    return Report(
        "polycrystal, simulated (coarse map 192 px)",
        Answer(
            "better",
            "On fine scan the network never saw, the enhanced map is 2.4 ± 0.1 dB closer to the fine scan than "
            "bicubic interpolation. It wins in 58 of 60 blocks; the two others lie at the saturated edge.",
            (
                ("gain over bicubic", "2.39 ± 0.08 dB"), ("judged on", "60 held-out blocks, 0.9 mm²"),
                ("pixel size", "100 nm → 25 nm"), ("flagged", "1.9 % of the map"), ("time", "1 min 12 s"),
            ),
        ),
        overview,
        tuple(crops),
        (RegistrationPicture("fine 1 in the coarse map", "found", ("The peak stands 4.2 times over its decoys.",),
                             residual, registered, (("pixel-size ratio", "4.001 x 3.998"),)),),
        Curves(
            (learning,),
            (Plot("Grey levels over the held-out blocks", "grey level", "share of pixels (%)",
                  histogram_series({"fine": b, "enhanced": enhanced.data[ys, xs], "bicubic": a}),
                  "The enhanced histogram follows the fine scan's."),),
            (spectrum, frc),
        ),
        (MetricTable("Against the fine scan", "60 held-out blocks of 64 px.", columns, rows, "fast"),),
        (("factor", "4", "The pixel-size ratio is 4.000."),
         ("network", "fast", "No GPU was found; this is the default for processors."),
         ("held-out", "right quarter", "It holds the same grey levels as the rest.")),
        ("1.2 % of the map is saturated: the true grey level is not recorded there.",),
        {"seed": 0, "files": [{"name": "coarse.tif", "sha256": "9f2c" * 16}], "model": {"steps": 4100}},
    )  # fmt: skip


def _inverse(warp):
    return replace(warp, knots=None, displacement_nm=None).inverse_affine()


def _flags(grid: Grid, grey: np.ndarray) -> TrustMap:
    flags = np.zeros(grid.shape, np.uint8)
    flags[:2] |= 32
    flags[-2:] |= 32
    flags[grey > np.percentile(grey, 99)] |= 2
    h, w = grid.shape
    flags[h // 2 : h // 2 + h // 12, w // 2 : w // 2 + w // 8] |= 8
    flags[h // 3 : h // 3 + h // 14, w // 3 : w // 3 + w // 12] |= 4
    return TrustMap(flags, grid)


@pytest.fixture(scope="session")
def sample() -> Report:
    """The realistic report."""
    return make_report()


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium."""
    found = [os.environ.get("FINESCAN_CHROMIUM"), *map(shutil.which, BROWSERS)]
    for program in found:
        if program:
            return program
    pytest.skip(f"No Chromium was found (looked for {', '.join(BROWSERS)}); set FINESCAN_CHROMIUM to its path.")
