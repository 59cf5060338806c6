"""The real pairs, end to end: python benchmarks/real_data.py FOLDER [CASE …] [--out OUT] [--minutes 0.5]

FOLDER holds the micrographs by the names below. Every case runs `finescan.run` in a folder of its own and prints one
line of figures; open OUT/<case>/report.html to look.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import finescan as fs
from finescan.simulation import Scanner, scan
from finescan.simulation.scanner import FWHM

A400 = "pairA_hfw400um_ml-1692841735_ib.tif"
A150 = "pairA_hfw150um_ml-1692841763_ib.tif"
A80 = "pairA_hfw80um_ml-1692841936_ib.tif"
ALUMINA = "Al2O3_SE_020_sp.czi"
SHIFT = ("shiftA_start_ib.tif", "shiftA_baseline_ib.tif")


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", default=["a80", "a150", "both", "alumina", "shift"])
    parser.add_argument("--out", type=Path, default=Path("out/real"))
    parser.add_argument("--minutes", type=float, default=0.5)
    options = parser.parse_args()
    files = {"a80": (A400, [A80]), "a150": (A400, [A150]), "both": (A400, [A80, A150])}
    for case in options.cases:
        if case == "shift":
            print(shift(options.folder))
            continue
        out = options.out / case
        if case == "alumina":
            coarse, fine = simulated_coarse(options.folder / ALUMINA, out.with_name("alumina-files"))
        else:
            coarse, fine = options.folder / files[case][0], [options.folder / f for f in files[case][1]]
        began, cpu = time.perf_counter(), time.process_time()
        result = fs.run(coarse, fine, out, choices={"train.minutes": options.minutes}, overwrite=True)
        print(f"== {case}: {time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} CPU s")
        print(result)
        print(json.dumps(result.to_dict().get("scores", {}), indent=1)[:2000], flush=True)


def simulated_coarse(path: Path, folder: Path) -> tuple[Path, list[Path]]:
    """A coarse scan of the recorded image (ratio 4, PSF of 0.45 coarse pixels, shot noise), and a crop as fine scan."""
    folder.mkdir(parents=True, exist_ok=True)
    recorded = fs.read(path)
    truth = recorded.with_data(recorded.array().astype(np.float32) / 135)  # 0…255 become 20…247 of the scanner
    grid = recorded.grid.coarsen(4)
    scanner = Scanner(0.45 * grid.pixel_size_nm[0] * FWHM, counts=300, dtype="uint8", saturate_at=(-0.15, 1.95))
    rows, columns = recorded.grid.shape
    box = fs.Region(recorded.grid, (rows // 4, columns // 4), (rows // 4 + 700, columns // 4 + 900))
    names = folder / "coarse.tif", folder / "fine.tif"
    fs.write(names[0], scan(truth, grid, scanner, name="coarse"), overwrite=True)
    fs.write(names[1], recorded.crop(box), overwrite=True)
    return names[0], [names[1]]


def shift(folder: Path) -> str:
    """Same magnification after a stage move: expected at about (-462, +542) px."""
    start, baseline = (fs.read(folder / name) for name in SHIFT)
    pair = fs.register(start, baseline)
    moved = start.grid.to_index(pair.lr_from_hr(np.asarray(baseline.grid.origin_nm)))
    return f"== shift: {pair.verdict.value}, ({moved[0]:.1f}, {moved[1]:.1f}) px; expected about (-462, 542)"


if __name__ == "__main__":
    main()
