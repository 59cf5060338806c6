"""What was measured on a volume, as a chapter: the pores of coarse, enhanced and reference volume side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.reporting.axes import nice
from finescan.reporting.chapter import Cell, Chapter, Figure, Table, or_none, slug
from finescan.reporting.charts import Sample, box_plots, histogram_panels
from finescan.reporting.report import Column

if TYPE_CHECKING:
    from finescan.quantification import Matching, Measurements

_UNITS = ((1e6, "mm"), (1e3, "µm"), (1.0, "nm"))


@dataclass(frozen=True)
class PoreNumbers:
    """The pores of one volume.

    Parameters
    ----------
    name : "coarse", "interpolated", "enhanced", "reference", …
    diameters_nm : equivalent spherical diameter of every pore.
    sphericity : of every pore (NaN = too small to have a shape).
    porosity : pore volume over bulk volume, 0 to 1.
    found, lost, invented, merged, split : numbers of pores against the reference, matched one by one; None = not
        matched (the reference itself).
    reference : the others are compared with it.
    """

    name: str
    diameters_nm: ArrayLike
    sphericity: ArrayLike
    porosity: float
    found: int | None = None
    lost: int | None = None
    invented: int | None = None
    merged: int | None = None
    split: int | None = None
    reference: bool = False

    @classmethod
    def of(
        cls, name: str, measurements: Measurements, matching: Matching | None = None, *, reference: bool = False
    ) -> PoreNumbers:
        """From what ``quantify`` and ``match`` gave."""
        fates = {} if matching is None else {**matching.references, "invented": matching.measured["invented"]}
        counted = {k: fates.get(k) for k in ("found", "lost", "invented", "merged", "split")}
        sizes, shapes = measurements.diameter_nm, measurements.sphericity
        return cls(name, sizes, shapes, measurements.porosity, **counted, reference=reference)

    @property
    def count(self) -> int:
        """Number of pores."""
        return int(np.size(self.diameters_nm))


def pore_table(title: str, volumes: Sequence[PoreNumbers], *, caption: str = "", name: str = "") -> Table:
    """One row per volume: count, recovery, porosity, mean diameter and sphericity with their difference to truth."""
    truth = next((v for v in volumes if v.reference), None)
    unit, word = _unit(volumes)
    heads = (
        Column(""), Column("pores"), Column("found"), Column("found", "%", "higher"), Column("lost"),
        Column("invented"), Column("invented", "%", "lower"), Column("merged"), Column("split"),
        Column("porosity", "%"), Column("porosity error", "%"), Column("mean diameter", word),
        Column("mean sphericity"), Column("sphericity error", "%"),
    )  # fmt: skip
    return Table(title, heads, tuple(_row(v, truth, unit) for v in volumes), caption, name=name)


def _row(v: PoreNumbers, truth: PoreNumbers | None, unit: float) -> tuple[Cell, ...]:
    other = None if truth is v else truth
    share = None if v.found is None or other is None or not other.count else 100.0 * v.found / other.count
    wrong = None if v.invented is None or not v.count else 100.0 * v.invented / v.count
    shape = _mean(v.sphericity)
    return (
        v.name, v.count, v.found, share, v.lost, v.invented, wrong, v.merged, v.split, 100.0 * v.porosity,
        None if other is None else _error(v.porosity, other.porosity),
        or_none(_mean(v.diameters_nm) / unit), or_none(shape),
        None if other is None else _error(shape, _mean(other.sphericity)),
    )  # fmt: skip


def _error(value: float, truth: float) -> float | None:
    return or_none(100.0 * (value / truth - 1.0)) if truth else None


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    v = np.asarray(values, np.float64).ravel()
    return v[np.isfinite(v)]


def _mean(values: ArrayLike) -> float:
    v = _finite(values)
    return float(v.mean()) if v.size else float("nan")


def _unit(volumes: Sequence[PoreNumbers]) -> tuple[float, str]:
    largest = max((float(d.max()) for v in volumes if (d := _finite(v.diameters_nm)).size), default=1.0)
    return next(((u, w) for u, w in _UNITS if largest >= u), _UNITS[-1])


def pore_figures(
    volumes: Sequence[PoreNumbers], *, bin_width_nm: float | None = None, name: str = "pores"
) -> tuple[Figure, ...]:
    """Histogram of diameters (with porosities) and box plot of sphericity."""
    unit, word = _unit(volumes)
    sizes = [np.asarray(v.diameters_nm, np.float64) / unit for v in volumes]
    largest = max((float(s.max()) for s in map(_finite, sizes) if s.size), default=1.0)
    width = bin_width_nm / unit if bin_width_nm else nice(largest / 22)
    notes = [f"porosity {100 * v.porosity:.1f} %, {v.count} pores" for v in volumes]
    samples = [Sample(v.name, s, n, v.reference) for v, s, n in zip(volumes, sizes, notes, strict=True)]
    shapes = [Sample(v.name, v.sphericity, "", v.reference) for v in volumes]
    return (
        histogram_panels(
            "Pore diameters", {"": samples}, bin_width=width, x_label=f"equivalent diameter ({word})",
            y_label="pores", note=f"Bins of {width:g} {word}. The filled outline is the reference.",
            name=f"{name}-diameters",
        ),
        box_plots(
            "Sphericity of the pores", {"": shapes}, y_label="sphericity", note="1 is a sphere.",
            name=f"{name}-sphericity",
        ),
    )  # fmt: skip


def pore_chapter(
    volumes: Sequence[PoreNumbers],
    *,
    title: str = "Pores inside the fine scan",
    sentence: str = "",
    caption: str = "",
    bin_width_nm: float | None = None,
) -> Chapter:
    """Table, histogram and box plot; the volume with ``reference=True`` is what the others are compared with.

    Raises
    ------
    InputError : no volume came, or more than one is the reference.
    """
    if not volumes or sum(v.reference for v in volumes) > 1:
        raise InputError("A chapter about pores needs at least one volume and at most one reference.")
    table = pore_table("Found and measured", volumes, caption=caption, name=slug(title))
    words = (sentence,) if sentence else ()
    return Chapter(title, (*words, table, *pore_figures(volumes, bin_width_nm=bin_width_nm, name=slug(title))))
