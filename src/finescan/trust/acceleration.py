"""How much faster the area was imaged than by a fine scan of all of it; the fine scans that were recorded count too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from finescan.errors import InputError
from finescan.values import Image


@dataclass(frozen=True)
class Acceleration:
    """Times of a coarse scan with some fine ones, and of a fine scan of everything.

    Parameters
    ----------
    factor : time of the fine scan of everything over the time that was spent; below 1 it would have been faster.
    timed_by : "dwell times" (those of the files) or "pixel counts" (as if every pixel had taken the same time).
    coarse, fine, everything : beam time of the coarse scan, of all fine scans, and of a fine scan of the whole coarse
        field: seconds by dwell times, else pixels.
    fine_share : area of the fine scans over that of the coarse one; they may overlap.
    break_even : share from which a fine scan of everything would have been as fast.
    """

    factor: float
    timed_by: str
    coarse: float
    fine: float
    everything: float
    fine_share: float
    break_even: float

    @property
    def in_seconds(self) -> bool:
        """Whether the times are seconds."""
        return self.timed_by == "dwell times"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "unit": "s" if self.in_seconds else "pixels"}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Acceleration:
        """Inverse of :meth:`to_dict`."""
        return cls(**{k: v for k, v in d.items() if k != "unit"})

    @property
    def spent_instead_of(self) -> str:
        """What was spent and what it saved, in a few words: "2.2 s instead of 8.2 s"."""
        both = _amount(self.coarse + self.fine, self.in_seconds)
        return f"{both} instead of {_amount(self.everything, self.in_seconds)}"

    def __str__(self) -> str:
        spent = f"{_amount(self.coarse, self.in_seconds)} + {_amount(self.fine, self.in_seconds)}"
        source = "dwell times of the files" if self.in_seconds else "pixel counts, equal dwell times assumed"
        return (
            f"{self.factor:.1f} times as fast as a fine scan of everything ({spent} instead of "
            f"{_amount(self.everything, self.in_seconds)}; {source})"
        )


def measure_acceleration(
    coarse: Image, fine: Sequence[Image], *, line_overhead_us: float = 0.0, frame_overhead_s: float = 0.0
) -> Acceleration:
    """The factor a coarse scan with some fine ones is faster than a fine scan of the whole coarse field.

    Parameters
    ----------
    coarse, fine : the recorded pictures; the finest of the fine ones says what a fine scan of everything would be.
    line_overhead_us : time per line besides its pixels (fly-back), µs.
    frame_overhead_s : time per picture (stage move, focus), s. A fine scan of everything takes as many pictures of the
        finest one's size as cover the area, without overlap.

    Returns
    -------
    Acceleration, by dwell times if all files state them, else by pixel counts (then without overheads).

    Raises
    ------
    InputError : no fine scan, volumes, a time below zero, or an overhead without dwell times.

    Source: Reclik et al. 2025, doi:10.1016/j.matdes.2025.113955, equation 10, which is :func:`relative_time`: the case
    of equal dwell times without overheads.

    Examples
    --------
    >>> from finescan.values import Grid
    >>> import numpy as np
    >>> coarse = Image(np.zeros((64, 64)), Grid.of((64, 64), 40.0))
    >>> fine = Image(np.zeros((64, 64)), Grid.of((64, 64), 10.0))
    >>> measure_acceleration(coarse, [fine]).factor  # 16 times as many pixels over one coarse and one fine picture
    8.0
    """
    scans = [coarse, *fine]
    if not fine or any(s.grid.ndim != 2 for s in scans):
        raise InputError("Imaging times are compared for one coarse and at least one fine picture. Pass pictures.")
    if line_overhead_us < 0 or frame_overhead_s < 0:
        raise InputError(
            f"Overheads are times of at least 0, but {line_overhead_us:g} µs and {frame_overhead_s:g} s came."
        )
    known = all(s.acquisition.dwell_time_us for s in scans)
    if not known and (line_overhead_us or frame_overhead_s):
        raise InputError("Overheads need dwell times, but not every file has one. Leave the overheads out.")

    def spent(scan: Image) -> float:
        if not known:
            return float(scan.grid.size)
        pixels = scan.grid.size * float(scan.acquisition.dwell_time_us or 0)
        return 1e-6 * (pixels + scan.grid.shape[0] * line_overhead_us) + frame_overhead_s

    finest = min(fine, key=lambda s: prod(s.grid.pixel_size_nm))
    area = prod(coarse.grid.extent_nm)
    one, all_fine = spent(coarse), sum(map(spent, fine))
    everything = spent(finest) * area / prod(finest.grid.extent_nm)
    return Acceleration(
        factor=everything / (one + all_fine),
        timed_by="dwell times" if known else "pixel counts",
        coarse=one,
        fine=all_fine,
        everything=everything,
        fine_share=sum(prod(s.grid.extent_nm) for s in fine) / area,
        break_even=1 - one / everything,
    )


def relative_time(ratio: float, share: float) -> float:
    """Time of coarse scan and fine rescans over that of a fine scan of everything, at equal dwell times.

    Parameters
    ----------
    ratio : coarse over fine pixel size, at least 1.
    share : area that is scanned finely over the whole area, 0 or more.

    Source: Reclik et al. 2025, doi:10.1016/j.matdes.2025.113955, equation 10 (``1/16 + share`` for a ratio of 4).

    Examples
    --------
    >>> relative_time(4, 0.25)
    0.3125
    """
    if not (ratio >= 1 and share >= 0):
        raise InputError(f"A ratio is at least 1 and a share at least 0, but {ratio:g} and {share:g} came.")
    return 1 / ratio**2 + share


def break_even(ratio: float) -> float:
    """Share of the area from which scanning everything finely is as fast, at equal dwell times.

    >>> break_even(4)
    0.9375
    """
    return 1 - relative_time(ratio, 0.0)


def _amount(value: float, seconds: bool) -> str:
    """A time or a number of pixels for readers."""
    if not seconds:
        return f"{value / 1e6:.3g} Mpx" if value >= 1e5 else f"{value:.0f} px"
    if value >= 5400:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 90 else f"{value:.3g} s"
