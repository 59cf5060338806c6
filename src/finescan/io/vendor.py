"""The table of TIFF dialects: whose file it is and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finescan.io import vendor_general as general
from finescan.io import vendor_sem as sem
from finescan.io.facts import Facts


@dataclass(frozen=True)
class Tags:
    """Tags of one TIFF page.

    Parameters
    ----------
    values : tag code to value; texts are str.
    texts : tag code to the bytes as stored, for private text tags.
    shape : rows, columns.
    path : of the file, for sidecars; may lie about its existence.
    bar_of : finds a data bar in the pixels (rows from the bottom), only called for vendors known to paint one.
    """

    values: dict[int, Any]
    texts: dict[int, bytes]
    shape: tuple[int, int]
    path: Path
    bar_of: Callable[[], int]

    @property
    def description(self) -> str:
        """ImageDescription."""
        return str(self.values.get(270) or "")


#: Dialect name -> parser(tags) giving Facts, or None when the file is not of that dialect. First answer wins.
DIALECTS: dict[str, Callable[[Any], Facts | None]] = {
    "finescan": general.own,
    "openfibsem": sem.openfibsem,
    "thermo": sem.thermo,
    "zeiss": sem.zeiss,
    "tescan": sem.tescan,
    "jeol": sem.jeol,
    "olympus": general.olympus,
    "digitalmicrograph": general.digitalmicrograph,
    "ome": general.ome_xml,
    "imagej": general.imagej,
    "resolution": general.resolution_tags,
}

#: Private tags whose bytes hold the vendor's text.
TEXT_TAGS = (34118, 34680, 34682, 50431)


def facts_of(tags: Tags) -> Facts:
    """The facts of the first dialect that knows the file; empty facts when none does."""
    for parse in DIALECTS.values():
        facts = parse(tags)
        if facts is not None:
            return facts
    return Facts()
