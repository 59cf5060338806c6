"""Are the blobs that a plain network paints into a milling edge flagged before anyone sees the fine scan there?

    python benchmarks/inventions_real.py FOLDER [--steps 600] [--seeds 2] [--out inventions.png]

FOLDER holds set A (see benchmarks/real_data.py): the 400 µm map, and the 80 µm scan registered in it. A plain network
(no interpolation under it, no bound, no guard, no hold-out that stops it, saturated pixels in the loss) learns from the
two dim strips above and below the milling site; the fine scan of the site judges, and nothing else of it is used. A
blob is a place in the bright edge (of the fine scan) that the network made much darker than the fine scan and than the
interpolated coarse scan. Printed: how many blobs there are, how many a flag touches and which share of their pixels is
flagged, and which share of the bright edge and of the rest of the site; for "invention", "inconsistent" and either. The
picture shows the enhanced site with its blobs outlined, the same with the flags, the coarse scan and the fine scan.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

import finescan as fs
from finescan.models.layers import Interpolate
from finescan.models.networks import BicubicPlus, build_stack
from finescan.patches import PatchSet, Piece, SplitConfig, make_patches
from finescan.registration import register
from finescan.values import Grid, Image, Pair, Region, TrustMap
from finescan.workflow import doubting, judging

A400, A80 = "pairA_hfw400um_ml-1692841735_ib.tif", "pairA_hfw80um_ml-1692841936_ib.tif"
STRIP, STOP = (0.24, 0.84), (0.6, 0.2)  # rows of the site; columns and rows of the stop area; shares of the scan
BRIGHT, DEEP, SMALLEST_PX = 225, 40, 20  # grey levels, grey levels, fine pixels
PATCH, BATCH, MARGIN = 24, 8, 40  # coarse pixels


def prepared(folder: Path) -> tuple[Pair, PatchSet]:
    """The pair, cut to the scan and some coarse pixels around, and what is learned from: all but the milling site."""
    lr, hr = (fs.read(folder / n) for n in (A400, A80))
    pair = register(lr, hr)
    piece = make_patches([pair]).pieces[0]
    start = np.rint(lr.grid.to_index(piece.work_grid.origin_nm)).astype(int)
    box = Region.clipped(lr.grid, start - MARGIN, start + piece.lr.shape + MARGIN)
    pair = replace(pair, lr=lr.crop(box))
    top, left = np.rint(pair.lr.grid.to_index(piece.work_grid.origin_nm)).astype(int)
    h, w = piece.lr.shape
    site = (top + int(STRIP[0] * h), left, top + int(STRIP[1] * h), left + w)
    stop = (top, left + int(STOP[0] * w), top + int(STOP[1] * h), left + w)
    return pair, make_patches([pair], config=SplitConfig(guard_lr_px=8, boxes={"test": [site], "stop": [stop]}))


def plain(piece: Piece, steps: int, seed: int) -> torch.nn.Module:
    """Trained as one would first think of it: absolute error on random crops, to the end."""
    torch.manual_seed(seed)
    rng, f = np.random.default_rng(seed), piece.factor
    stack = cast(BicubicPlus, build_stack(f, bound=0.0))
    net = torch.nn.Sequential(stack.body, torch.nn.PixelShuffle(f))
    mean, deviation = learned(piece)
    lr, hr = (torch.from_numpy((v - mean) / deviation).float()[None, None] for v in (piece.lr, piece.hr))
    windows = np.lib.stride_tricks.sliding_window_view(piece.role == 1, (PATCH, PATCH))
    places = np.argwhere(windows.all(axis=(2, 3)))
    descent = torch.optim.AdamW(net.parameters(), lr=3e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
    for _ in range(steps):
        corners = places[rng.integers(len(places), size=BATCH)].tolist()
        coarse = torch.cat([lr[..., y : y + PATCH, x : x + PATCH] for y, x in corners])
        fine = torch.cat([hr[..., y * f : (y + PATCH) * f, x * f : (x + PATCH) * f] for y, x in corners])
        inner = slice(4 * f, -4 * f)
        loss = (net(coarse) - fine)[..., inner, inner].abs().mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
        slower.step()
    return net


def learned(piece: Piece) -> tuple[float, float]:
    """Mean and standard deviation of the coarse grey levels that were learned from: the unit of both scans."""
    grey = piece.lr[piece.role == 1]
    return float(grey.mean()), float(grey.std())


def applied(net: torch.nn.Module, lr: Image, patches: PatchSet) -> Image:
    """The whole cut-out, without any guard, in the number format of the fine scan."""
    mean, deviation = learned(patches.pieces[0])
    with torch.no_grad():
        coarse = torch.from_numpy((lr.array() - mean) / deviation).float()[None, None]
        out = net(coarse)[0, 0].numpy() * deviation + mean
    return Image(np.clip(np.rint(out), 0, 255).astype(np.uint8), patches.out_grid, "plain network")


def blobs(
    ours: NDArray[Any], smooth: NDArray[Any], fine: NDArray[Any], site: NDArray[np.bool_]
) -> tuple[Any, Any, Any]:
    """The bright edge, numbered blobs in it, and their numbers."""
    ours, smooth, fine = (ndimage.gaussian_filter(v.astype(np.float32), 1.5) for v in (ours, smooth, fine))
    bright = ndimage.binary_erosion(fine > BRIGHT, iterations=3) & site
    labels, count = ndimage.label(bright & (ours < fine - 2 * DEEP) & (ours < smooth - DEEP))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return bright, labels, np.flatnonzero(sizes[1:] >= SMALLEST_PX) + 1


def picture(path: Path, views: list[NDArray[Any]], marks: NDArray[np.bool_], flag: NDArray[np.bool_]) -> None:
    """Enhanced with the outlines of blobs, with those of flags; coarse, fine."""
    ours, coarse, fine = (np.clip(v, 0, 255).astype(np.uint8) for v in views)
    outlined = [np.where(ndimage.binary_dilation(m, iterations=3) & ~m, 255, ours) for m in (marks, flag)]
    whole = np.concatenate([np.concatenate(outlined, axis=1), np.concatenate([coarse, fine], axis=1)])
    fs.write(path, Image(whole.astype(np.uint8), Grid.of(whole.shape, 1.0), "look"), overwrite=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    pair, patches = prepared(a.folder)
    piece, f = patches.pieces[0], patches.factor
    site = np.repeat(np.repeat(piece.role == 3, f, axis=0), f, axis=1)
    coarse = torch.from_numpy(piece.lr)[None, None]
    smooth = Interpolate(f, "bicubic")(coarse)[0, 0].numpy()
    unseen = replace(piece, weight=piece.weight & ~site)  # the yardstick too is of the strips alone
    check = judging.yardstick(replace(patches, pieces=(unseen,)), [pair])
    blank = TrustMap(np.zeros(pair.lr.grid.shape, np.uint8), pair.lr.grid)
    rows, columns = (piece.out_grid.pixels_under(pair.lr.grid, k) for k in range(2))
    for seed in range(a.seeds):
        image = applied(plain(piece, a.steps, seed), pair.lr, patches)
        flags = judging.mark_inconsistent(image, pair.lr, blank, check)
        done = doubting.mark_doubts(image, pair.lr, flags, patches, [pair], check)
        ours = judging.on_grid(image, piece.out_grid)
        bright, labels, numbers = blobs(ours, smooth, piece.hr, site)
        marks, rest = np.isin(labels, numbers), site & ~bright
        print(f"seed {seed}: {numbers.size} blobs, {int(marks.sum())} px of {int(bright.sum())} of the bright edge")
        where = {n: done.flags.where(n)[np.ix_(rows, columns)] for n in ("invention", "inconsistent")}
        for name, flag in {**where, "either": where["invention"] | where["inconsistent"]}.items():
            touched = np.asarray(ndimage.maximum(flag, labels, numbers)).sum() if numbers.size else 0
            shares = [100 * flag[m].mean() if m.any() else float("nan") for m in (marks, bright, rest)]
            print(f"  {name:13} touches {int(touched):3d}; flagged: {shares[0]:.0f} % of the blobs' pixels, "
                  f"{shares[1]:.0f} % of the bright edge, {shares[2]:.1f} % of the rest")  # fmt: skip
        if a.out and seed == 0:
            near = pair.lr.array()[np.ix_(rows, columns)]
            picture(a.out, [ours, near, piece.hr], marks, where["invention"])


if __name__ == "__main__":
    main()
