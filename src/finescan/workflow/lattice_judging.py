"""Judging an enhanced image by its lattice: columns before and after, periods nobody recorded, scan errors.

Where an image has no lattice nothing fails: the judgement says why there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import FinescanError
from finescan.quantification import compare_lattices, find_inventions, measure_lattice, measure_scan
from finescan.quantification.invention import Invention
from finescan.quantification.lattice import Lattice
from finescan.quantification.lattice_comparison import LatticeComparison
from finescan.quantification.scan_errors import ScanErrors
from finescan.values import Grid, Image, Region

LARGEST_PX = 1024  # recorded pixels along each side that are looked at: thousands of columns say enough
FAR = 3.0  # times what noise explains: columns that moved farther have moved


@dataclass(frozen=True)
class LatticeJudgement:
    """What became of the lattice of an image.

    Parameters
    ----------
    why_not : why nothing is judged; "" = there is a lattice.
    recorded, enhanced : both lattices.
    moved : columns of the enhanced image against the recorded ones. Both hold the noise of the recorded image.
    before, after : one level down, against the recorded image as the unseen answer: columns in the interpolation, and
        in the candidate's prediction. None = no lattice there.
    periods : of the enhanced image that the recorded one is asked about; None = its spectrum cannot be judged.
    scan : jitter and drift of the recorded image.
    """

    why_not: str = ""
    recorded: Lattice | None = field(default=None, repr=False)
    enhanced: Lattice | None = field(default=None, repr=False)
    moved: LatticeComparison | None = None
    before: LatticeComparison | None = None
    after: LatticeComparison | None = None
    periods: Invention | None = None
    scan: ScanErrors | None = None

    @property
    def periodic(self) -> bool:
        """Whether the recorded image has a lattice."""
        return self.recorded is not None

    def notes(self) -> list[str]:
        """Sentences about what the reader must know."""
        out = []
        if self.periods is not None and self.periods.doubted.any():
            out.append(f"The enhanced image has periods that the recorded one does not support: {self.periods}.")
        if self.periodic and self.enhanced is None:
            out.append("The recorded image shows a lattice and the enhanced one does not: do not use it for columns.")
        if self.moved is not None and (len(self.moved.invented) or len(self.moved.lost)):
            out.append(
                f"Of {self.moved.compared[1]} recorded columns {len(self.moved.lost)} are missing in the enhanced "
                f"image, and it has {len(self.moved.invented)} that were not recorded."
            )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        parts = ("recorded", "enhanced", "moved", "before", "after", "periods", "scan")
        found = {n: getattr(self, n) for n in parts}
        facts: dict[str, Any] = {"periodic": self.periodic, "why_not": self.why_not}
        return facts | {n: None if v is None else v.summary() for n, v in found.items()}


def judge_lattice(
    image: Image, enhanced: Image, *, before: NDArray[Any] | None = None, after: NDArray[Any] | None = None
) -> LatticeJudgement:
    """Judge the lattice of an enhanced image; of large images their middle.

    Parameters
    ----------
    image : as recorded.
    enhanced : on a finer grid of the same field.
    before, after : one level down, predictions of ``image`` on its grid (NaN = none): interpolation, and the candidate.
    """
    box = _middle(image.grid)
    recorded = _whole(image.crop(box))
    part = enhanced.crop(_under(box, enhanced.grid))
    periods = _or_none(lambda: find_inventions(part, recorded))
    try:
        ours = measure_lattice(recorded)
    except FinescanError as e:
        return LatticeJudgement(f"No lattice was judged: {e}", periods=periods)
    theirs = _or_none(lambda: measure_lattice(part))
    moved = None if theirs is None else _or_none(lambda: compare_lattices(theirs, ours))
    down = [_compared(values, image, box, ours) for values in (before, after)]
    scan = _or_none(lambda: measure_scan(recorded, ours))
    return LatticeJudgement("", ours, theirs, moved, down[0], down[1], periods, scan)


def _compared(values: NDArray[Any] | None, image: Image, box: Region, ours: Lattice) -> LatticeComparison | None:
    if values is None:
        return None
    part = _whole(Image(np.asarray(values)[box.slices], box.own_grid, image.name))
    return _or_none(lambda: compare_lattices(measure_lattice(part), ours))


def _or_none(measure: Any) -> Any:
    """What a measurement gives; None where the picture does not allow it."""
    try:
        return measure()
    except FinescanError:
        return None


def _middle(grid: Grid) -> Region:
    start = [max(0, (n - LARGEST_PX) // 2) for n in grid.shape]
    stop = [min(n, a + LARGEST_PX) for n, a in zip(grid.shape, start, strict=True)]
    return Region(grid, tuple(start), tuple(stop))


def _under(box: Region, grid: Grid) -> Region:
    low, high = (grid.to_index(e) + 0.5 for e in box.edges_nm)
    return Region.clipped(grid, low.tolist(), high.tolist())


def _whole(image: Image) -> Image:
    """Missing pixels as the mean: a few at the border do not matter to a lattice."""
    data = image.array()
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return image
    return image.with_data(np.where(np.isfinite(data), data, np.nanmean(data)).astype(np.float32))
