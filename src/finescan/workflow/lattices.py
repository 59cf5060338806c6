"""The verb ``lattice`` on files: columns, lattice, scan errors, and what an enhanced image made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from finescan import io, resampling
from finescan.errors import InputError
from finescan.quantification import (
    Lattice,
    compare_lattices,
    find_inventions,
    lattice_changes,
    measure_lattice,
    measure_scan,
)
from finescan.values import Grid, Image
from finescan.workflow.folder import make_folder, require_empty, write_json, write_whole
from finescan.workflow.reading import Outcome, Reading

SAME_FIELD = 0.02  # relative difference of the extents of two images of one field


@dataclass(frozen=True)
class LatticeOptions:
    """Choices of :func:`lattice_file`.

    Parameters
    ----------
    cell : (first nm, second nm, angle in degrees) of the true lattice, for the linear drift; None = not known.
    flatten : subtract a straight line from every row of all images first.
    least_height : share of the usual column's height below which a maximum is no column.
    bright : columns are bright on dark.
    coarse_pixel_size_nm : of the coarse scan, when its file has none.
    """

    cell: tuple[float, float, float] | None = None
    flatten: bool = False
    least_height: float = 0.25
    bright: bool = True
    coarse_pixel_size_nm: tuple[float, ...] | None = None


def lattice_file(
    path: str | Path,
    output: str | Path,
    *,
    reference: str | Path | None = None,
    coarse: str | Path | None = None,
    options: LatticeOptions | None = None,
    reading: Reading | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Fit the atom columns of a picture and judge its lattice; needs no network.

    Parameters
    ----------
    path : recorded or enhanced picture, made by any program.
    output : folder for ``columns.csv`` (one row per column), ``lines.csv`` (shift and drift of every scan line),
        ``lattice.json``, and with ``coarse`` also ``periods.csv``.
    reference : a picture of the same field: which columns are the same, how far they moved, which were lost or
        invented. Of another field only the lattice vectors are compared.
    coarse : the scan that the picture was made from: are its periods supported by it, and, with a reference, was its
        interpolation worse?
    reading : what the files do not say; ``fine_pixel_size_nm`` is the reference's.

    Raises
    ------
    InputError, OutputError.
    """
    output, reading, options = Path(output), reading or Reading(), options or LatticeOptions()
    require_empty(output, overwrite=overwrite)
    image = _prepared(reading.coarse(path), options)
    theirs = None if reference is None else _prepared(reading.fine(reference), options)
    scan = None
    if coarse is not None:
        scan = replace(reading, pixel_size_nm=options.coarse_pixel_size_nm).coarse(coarse)
        scan = _framed(_prepared(scan, options), image)
    ours = _measured(image, options)
    errors = measure_scan(image, ours, cell=options.cell)
    facts: dict[str, Any] = {"file": str(path), "columns": ours.columns.summary(), "lattice": ours.summary()}
    facts["scan"] = errors.summary()
    lines = [f"{image.name}: {ours}", *ours.columns.notes, *ours.notes, f"scan: {errors}", *errors.notes]
    files = {"columns.csv": _csv(ours.table()), "lines.csv": _csv(errors.table())}
    if theirs is not None:
        facts["reference"], said = _against(image, ours, theirs, scan, options)
        lines += said
    if scan is not None:
        periods = find_inventions(image, scan)
        facts["periods"] = periods.summary()
        files["periods.csv"] = _csv(periods.table())
        lines.append(f"periods of {image.name} that {scan.name} is asked about: {periods}")
    make_folder(output)
    for name, text in files.items():
        write_whole(output / name, text)
    write_json(output / "lattice.json", facts)
    return Outcome(facts, "\n".join([*lines, f"{output}: {', '.join([*files, 'lattice.json'])}"]))


def _prepared(image: Image, options: LatticeOptions) -> Image:
    return io.flatten_lines(image) if options.flatten else image


def _measured(image: Image, options: LatticeOptions) -> Lattice:
    return measure_lattice(image, least_height=options.least_height, bright=options.bright)


def _against(
    image: Image, ours: Lattice, theirs: Image, scan: Image | None, options: LatticeOptions
) -> tuple[dict[str, Any], list[str]]:
    """Facts and lines of the comparison with the reference, of the picture and of the interpolated coarse scan."""
    reference = _measured(theirs, options)
    facts: dict[str, Any] = {"file": theirs.source or theirs.name, "lattice": reference.summary()}
    lines = [f"{theirs.name}: {reference}"]
    if not _one_field(image.grid, theirs.grid):
        changes = lattice_changes(ours, reference)
        facts["vectors"] = changes.to_dict()
        return facts, [*lines, f"{theirs.name} shows another field, so only the vectors are compared: {changes}"]
    reference = _moved(reference, image.grid)
    compared = compare_lattices(ours, reference)
    facts["comparison"] = compared.summary()
    lines.append(f"{image.name} against {theirs.name}: {compared}")
    if scan is not None:
        try:
            before = compare_lattices(_measured(_interpolated(scan, image.grid), options), reference)
            facts["before"] = before.summary()
            lines.append(f"{scan.name}, interpolated, against {theirs.name}: {before}")
        except InputError as e:
            facts["before"] = None
            lines.append(f"{scan.name}, interpolated, shows no lattice that could be compared: {e}")
    return facts, lines


def _one_field(a: Grid, b: Grid) -> bool:
    return all(abs(x / y - 1) <= SAME_FIELD for x, y in zip(a.extent_nm, b.extent_nm, strict=True))


def _framed(image: Image, other: Image) -> Image:
    """The image with its outer edge where the other's is: files do not always say where a field begins."""
    grid = image.grid
    if grid.ndim != 2 or other.grid.ndim != 2:
        return image
    origin = [e + p / 2 for e, p in zip(other.grid.edge_nm, grid.pixel_size_nm, strict=True)]
    return image.with_data(image.data, Grid.of(grid.shape, grid.pixel_size_nm, origin))


def _moved(lattice: Lattice, onto: Grid) -> Lattice:
    """The lattice with the outer edge of its field at that of another grid."""
    grid = lattice.columns.grid
    origin = [e + p / 2 for e, p in zip(onto.edge_nm, grid.pixel_size_nm, strict=True)]
    shift = np.asarray(origin) - np.asarray(grid.origin_nm)
    columns = replace(
        lattice.columns,
        grid=Grid.of(grid.shape, grid.pixel_size_nm, origin),
        position_nm=lattice.columns.position_nm + shift,
    )
    return replace(lattice, columns=columns)


def _interpolated(scan: Image, onto: Grid) -> Image:
    return resampling.resample(scan, onto=onto, outside=None)


def _csv(table: Mapping[str, Sequence[Any] | np.ndarray]) -> str:
    """A table as text: floats to 9 significant digits, nothing where there is no number."""
    rows = zip(*(np.asarray(c).tolist() for c in table.values()), strict=True)
    return "\n".join([",".join(table), *(",".join(map(_cell, row)) for row in rows)]) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.9g}"
    return str(value)
