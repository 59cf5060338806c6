"""Do the error bars of measured numbers hold the truth? Simulated maps of three samples, whole fine scan known.

    python benchmarks/error_bars.py [--quick] [--samples porous sandstone dual-phase] [--seeds 24] [--steps 0] [--pixel]

Every seed is another piece of the sample: a coarse map of 256 x 256 px, a fine scan (4 x) of a seventh of it, ridge
regression (or, with ``--steps``, the network "fast" trained for so many steps), and what a fine scan of the whole map
would have measured. Printed per sample and measure: how far off the enhanced map is as it is, how far after the
correction (both: median of the absolute error, % of the truth), the median half width of the 90 % interval, the share
of maps whose truth lies inside (aim: 80 to 97 %), and that share for the naive interval: no correction, and pixels
that are wrong independently of each other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.models import Model
from finescan.patches import PatchSet, SplitConfig, make_patches
from finescan.quantification.alike import Objects, calmed, choose_objects, measure_alike
from finescan.quantification.error_bars import DRAWN_PX, drawn_errors, measure_with_error, rehearse
from finescan.quantification.ground import Scan, block_numbers, block_side, ground_of, lattice_shape
from finescan.quantification.residuals import ResidualLibrary
from finescan.quantification.tallies import MEASURES, Tally, tally, values
from finescan.simulation import recipes
from finescan.simulation.scanner import FWHM, Scanner, scan
from finescan.training import TrainConfig, fit_contestants, train
from finescan.trust.spread_model import Example, fit_spread
from finescan.values import Grid, Image, Pair, Residual, Verdict, Warp

KIND = {"porous": "dark", "sandstone": "dark", "dual-phase": "bright"}
# coarse; at the recipe's 2 µm the fine scan would hold two grains, which speak for no map (see --pixel)
PIXEL_NM = {"sandstone": 4000.0}
RATIO, NAIVE_DRAWS, NORMAL_90 = 4, 4, 1.645


def job(
    recipe: str, seed: int, size: int, fine: int, pixel_nm: float | None
) -> tuple[Image, Image, PatchSet, NDArray[np.intp]]:
    """Coarse map, fine scan of everything, training data from a part of it, and where that part begins."""
    r = recipes.RECIPES[recipe]
    pixel_nm = pixel_nm or PIXEL_NM.get(recipe, r.pixel_size_nm)
    coarse = Grid.of((size, size), pixel_nm)
    field = coarse.refine(RATIO)
    truth = Image(recipes._specimen(r, field, seed)[0].data, field, "truth")
    first = Scanner(recipes.LR_BLUR_PX * pixel_nm * FWHM, r.counts[0])
    second = replace(first, psf_fwhm_nm=recipes.HR_BLUR_PX * pixel_nm / RATIO * FWHM, counts=r.counts[1])
    lr = scan(truth, coarse, first, seed=seed, name="coarse")
    whole = scan(truth, field, second, seed=seed + 7919, name="fine")
    start = RATIO * np.random.default_rng([seed, 5]).integers(0, size - fine // RATIO + 1, 2)
    box = tuple(slice(a, a + fine) for a in start.tolist())
    hr = Image(whole.array()[box], field.crop(start.tolist(), (start + fine).tolist()), "fine")
    residual = Residual(0.0, 0.0, 1.0, float("nan"), {}, coarse)
    pair = Pair(lr, hr, Warp.identity(), Verdict.FOUND, (), residual)
    return lr, whole, make_patches([pair], config=SplitConfig(guard_lr_px=8)), start


def enhanced_by(model: Model, lr: Image) -> NDArray[np.float32]:
    """The whole map, mirrored at the border."""
    margin = max(model.halo, 4)
    out = model.predict(np.pad(lr.array().astype(np.float32), margin, mode="symmetric"))
    return out[margin * RATIO : -margin * RATIO, margin * RATIO : -margin * RATIO]


def one(
    recipe: str, seed: int, size: int, fine: int, steps: int, pixel_nm: float | None = None
) -> dict[str, dict[str, float]]:
    """Per measure: truth, measured, corrected, its interval, and the naive interval."""
    lr, whole, patches, start = job(recipe, seed, size, fine, pixel_nm)
    models = fit_contestants(patches)
    model = (
        train(patches, TrainConfig(max_steps=steps, members=1, precision="float32", threads=1))
        if steps
        else models["ridge"]
    )
    pictures = {"fine": whole.array().astype(np.float32), "enhanced": enhanced_by(model, lr)}
    pictures["coarse"] = enhanced_by(models["bicubic"], lr)
    piece = patches.pieces[0]
    corner = np.rint(patches.out_grid.to_index(piece.out_grid.origin_nm)).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(corner.tolist(), piece.hr.shape, strict=True))
    roles = {r: piece.role_fine(r) for r in ("train", "stop", "test")}
    inside = {n: p[box] for n, p in pictures.items()}
    # known where recorded: saturated pixels (a pore is often black) are nothing to learn from, but are measured
    known = np.zeros(piece.hr.shape, bool)
    known[tuple(slice(a - c, a - c + fine) for a, c in zip(start.tolist(), corner.tolist(), strict=True))] = True
    objects = choose_objects(calmed(inside["fine"], known), KIND[recipe])
    # ridge regression learns nothing by heart: its training area tells as much as held-out area
    used = known if not steps else known & (roles["stop"] | roles["test"])
    side = block_side(int(used.sum()), 2)
    lattice = lattice_shape(whole.grid.shape, side)
    found = _measured(inside, piece.out_grid, objects, known)
    number = block_numbers(corner, piece.hr.shape, side, lattice)
    ground = ground_of([Scan(found["fine"], found["enhanced"], number, used)], lattice, side)
    everywhere = block_numbers((0, 0), whole.grid.shape, side, lattice)
    all_over = _measured(pictures, whole.grid, objects, np.ones(whole.grid.shape, bool))
    tallies = {n: tally(m, everywhere, int(np.prod(lattice))) for n, m in all_over.items()}
    factors = rehearse(ground, tallies["enhanced"], lattice, poorer=tallies["coarse"], seed=seed)
    spread, library = _errors(inside, roles, pictures["enhanced"])
    middle = tuple(slice(0, min(DRAWN_PX, n)) for n in whole.grid.shape)
    part = whole.grid.crop((0, 0), [s.stop for s in middle])
    scatter, _ = drawn_errors(pictures["enhanced"][middle], spread[middle], library, part, objects=objects, seed=seed)
    share = np.sqrt(part.size / whole.grid.size)
    pixels = {k: v * share for k, v in scatter.items()}
    bars = measure_with_error(ground, tallies["enhanced"], factors=factors, pixels=pixels, seed=seed)
    naive = _naive(pictures["enhanced"], spread, library, whole.grid, objects, seed)
    truth = _totals(tallies["fine"])
    return {
        n: {"truth": truth[n], "measured": b.measured, "value": b.value, "low": b.low, "high": b.high,
            "factor": b.parts.get("places", np.nan), "pixels": b.parts.get("pixels", np.nan), "error": b.error,
            "naive_half": naive[n]}
        for n, b in bars.items()
    }  # fmt: skip


def _measured(
    pictures: Mapping[str, NDArray[Any]], grid: Grid, objects: Objects, known: NDArray[np.bool_]
) -> dict[str, Any]:
    return measure_alike({n: calmed(p, known) for n, p in pictures.items()}, grid, objects=objects, field=known)


def _totals(part: Tally) -> dict[str, float]:
    return {k: float(v[0]) for k, v in values(part.total()).items()}


def _errors(
    inside: Mapping[str, NDArray[Any]], roles: Mapping[str, NDArray[np.bool_]], enhanced: NDArray[Any]
) -> tuple[NDArray[np.float32], ResidualLibrary]:
    """The spread of the whole map, and errors of held-out area in units of it."""
    error = (inside["enhanced"] - inside["fine"]).astype(np.float32)
    model = fit_spread([Example(inside["enhanced"], error, roles["train"])], (RATIO, RATIO))
    held = roles["stop"] | roles["test"]
    return model.spread(enhanced), ResidualLibrary.of([(-error / model.spread(inside["enhanced"]), held)])


def _naive(
    enhanced: NDArray[Any], spread: NDArray[Any], library: ResidualLibrary, grid: Grid, objects: Objects, seed: int
) -> dict[str, float]:
    """Half widths of 90 % intervals if every pixel were wrong on its own."""
    rng = np.random.default_rng([seed, 7])
    size = np.sqrt(np.mean([np.mean(f[f != 0] ** 2) for f in library.fields]))
    known, rows = np.ones(grid.shape, bool), []
    for _ in range(NAIVE_DRAWS):
        drawn = enhanced + size * spread * rng.standard_normal(grid.shape).astype(np.float32)
        found = measure_alike({"x": calmed(drawn, known)}, grid, objects=objects)["x"]
        rows.append(list(_totals(tally(found, np.zeros(grid.shape, np.intp))).values()))
    return dict(zip(MEASURES, (NORMAL_90 * np.std(rows, axis=0, ddof=1)).tolist(), strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four seeds of smaller maps")
    parser.add_argument("--samples", nargs="+", default=list(KIND))
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=0, help="train the network `fast`; 0 = ridge regression")
    parser.add_argument("--pixel", type=float, help="coarse pixel size, nm, instead of the sample's")
    a = parser.parse_args()
    size, fine, seeds = (160, 256, 4) if a.quick else (256, 384, a.seeds)
    for sample in a.samples:
        began = time.perf_counter()
        found = [one(sample, s, size, fine, a.steps, a.pixel) for s in range(a.first, a.first + seeds)]
        print(f"{sample}, {seeds} maps, {(time.perf_counter() - began) / seeds:.1f} s each")
        print(
            f"  {'':20} {'measured':>9} {'corrected':>10} {'half width':>11} {'inside':>7} {'naive':>6} {'places':>7}"
        )
        for name in MEASURES:
            rows = [f[name] for f in found]
            truth = np.array([r["truth"] for r in rows])
            t = {k: np.array([r[k] for r in rows]) for k in rows[0]}
            inside = np.mean((t["low"] <= truth) & (truth <= t["high"]))
            naive = np.mean(np.abs(t["measured"] - truth) <= t["naive_half"])
            off = [100 * np.nanmedian(np.abs(t[k] - truth) / truth) for k in ("measured", "value")]
            half = 100 * np.nanmedian((t["high"] - t["low"]) / 2 / truth)
            print(
                f"  {MEASURES[name].title:20} {off[0]:8.1f}% {off[1]:9.1f}% {half:10.1f}% {100 * inside:6.0f}% "
                f"{100 * naive:5.0f}% {np.nanmedian(t['factor']):7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
