"""Loop closure: the fine scan in the coarse map directly, and by way of a middle one. A truth-free check.

python benchmarks/loop_closure.py coarse.tif middle.tif fine.tif
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from finescan.io import read
from finescan.registration import register
from finescan.values import Image, Pair

TARGET = (0.5, 1.5)  # median, 95 %: pixels of the coarse map
BORDER_LR_PX = 8


def loop_error(direct: Pair, first: Pair, second: Pair) -> np.ndarray:
    """Distance, in pixels of the coarse map, between ``direct`` and ``first`` after ``second`` over the fine field.

    Parameters
    ----------
    direct : fine in coarse; first : middle in coarse; second : fine in middle.
    """
    grid = direct.hr.grid
    border = BORDER_LR_PX * np.asarray(direct.sr_factor)
    axes = [np.linspace(b, n - 1 - b, 64) for b, n in zip(border, grid.shape, strict=True)]
    nm = grid.to_nm(np.stack(np.meshgrid(*axes, indexing="ij"), -1))
    apart = direct.lr_from_hr(nm) - first.lr_from_hr(second.lr_from_hr(nm))
    return np.linalg.norm(apart / np.asarray(direct.lr.grid.pixel_size_nm), axis=-1)


def described(lr: Image, hr: Image) -> Pair:
    """Register and print what came out."""
    t0 = time.process_time()
    pair = register(lr, hr)
    m = pair.residual.method
    print(f"{pair}; grey map {m.get('grey_map')}, knots {m.get('knots')}, ratio {m.get('ratio_y', 0):.4f} x "
          f"{m.get('ratio_x', 0):.4f}, correlation {pair.residual.correlation:.3f}, "
          f"{time.process_time() - t0:.1f} CPU s")  # fmt: skip
    for reason in pair.reasons:
        print("   ", reason)
    return pair


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coarse")
    parser.add_argument("middle")
    parser.add_argument("fine")
    a = parser.parse_args()
    coarse, middle, fine = (read(p) for p in (a.coarse, a.middle, a.fine))
    e = loop_error(described(coarse, fine), described(coarse, middle), described(middle, fine))
    print(f"loop: median {np.median(e):.2f}, 95 % {np.percentile(e, 95):.2f}, max {e.max():.2f} px of the coarse map "
          f"(target {TARGET[0]} / {TARGET[1]})")  # fmt: skip


if __name__ == "__main__":
    main()
