"""What a chapter of measured results is made of: figures, tables, words; and the study that is made of chapters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.reporting.report import Column, Scene, Score
from finescan.reporting.volume import VolumeScene

Cell = str | float | int | Score | None


def slug(text: str) -> str:
    """A file name from a title.

    >>> slug("Pore recovery (%), alternate foam")
    'pore-recovery-alternate-foam'
    """
    plain = text.casefold().replace("σ", "sigma").replace("µ", "u").replace("\u03bc", "u")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def or_none(value: float) -> float | None:
    """A number, or None in place of NaN and infinity."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words.

    Parameters
    ----------
    title : above it.
    columns : heads; those with ``better`` get their best value marked.
    rows : one cell per column; None = no value. The first cell is the row's name.
    caption : what is in it, in a sentence.
    best_within : name of the column whose equal values form the groups in which the best is looked for; "" = all rows.
    name : of the file it is written to, without ending; "" = from the title.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    best_within: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"{row[0]!r} has {len(row)} cells for {len(self.columns)} columns of {self.title!r}.")
        if self.best_within and self.best_within not in [c.name for c in self.columns]:
            raise InputError(f"The table {self.title!r} has no column {self.best_within!r} to find the best within.")
        object.__setattr__(self, "name", self.name or slug(self.title))


@dataclass(frozen=True)
class Figure:
    """A picture with the numbers behind it.

    Parameters
    ----------
    title : above it.
    svg : the picture, coloured by the style sheet of the page.
    note : what is to be seen, in a sentence.
    tables : the numbers.
    wide : it takes the whole width of the page.
    name : of the file it is written to, without ending; "" = from the title.
    """

    title: str
    svg: str
    note: str = ""
    tables: tuple[Table, ...] = ()
    wide: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or slug(self.title))


@dataclass(frozen=True)
class Place:
    """A row of :class:`Places`.

    Parameters
    ----------
    cells : one per column.
    box : (y0, x0, y1, x1) in nm from the upper-left edge of the page's first scene, or (z0, y0, x0, z1, y1, x1) where
        that shows a volume; None = nowhere to go to.
    thumbnail : small picture (h, w) of the place; None = none.
    """

    cells: tuple[Cell, ...]
    box: tuple[float, ...] | None = None
    thumbnail: NDArray[Any] | None = None


@dataclass(frozen=True)
class Places:
    """A list of places on the page's first scene: each row has a picture, and a button that shows it there.

    Parameters
    ----------
    title, caption : above it.
    columns : heads.
    rows : in reading order.
    window : grey levels that the pictures show black and white; None = each its own.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Place, ...]
    caption: str = ""
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise InputError(
                    f"{row.cells[0]!r} has {len(row.cells)} cells for {len(self.columns)} columns of {self.title!r}."
                )


Part = Figure | Table | Places | Scene | VolumeScene | str


@dataclass(frozen=True)
class Chapter:
    """A section of a page: ``parts`` in reading order; a string is a paragraph."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class StudyReport:
    """Everything on the page of a study.

    Parameters
    ----------
    title : of the page.
    headline : the result in a few words.
    sentence : the same in plain words, with the numbers.
    chapters : in reading order.
    verdict : "better", "equal" or "worse" (colour of the headline).
    facts : label and value pairs beneath.
    notes : what the reader must know, right below.
    provenance : plain nested values: versions, seeds, sizes, times, machine, date.
    """

    title: str
    headline: str
    sentence: str
    chapters: tuple[Chapter, ...]
    verdict: str = "equal"
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def figures(self) -> list[Figure]:
        """All figures, in reading order."""
        return [p for c in self.chapters for p in c.parts if isinstance(p, Figure)]

    def tables(self) -> list[Table]:
        """All tables, those behind figures included, in reading order."""
        return [t for c in self.chapters for p in c.parts for t in _tables(p)]


def _tables(part: Part) -> tuple[Table, ...]:
    if isinstance(part, Table):
        return (part,)
    return part.tables if isinstance(part, Figure) else ()
