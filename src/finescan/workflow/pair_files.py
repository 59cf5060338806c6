"""Pairs that were recorded one by one, in a folder: ``coarse/`` and ``fine/`` hold files of the same names."""

from __future__ import annotations

from pathlib import Path

from finescan import io
from finescan.errors import InputError
from finescan.values import Image
from finescan.workflow.reading import Reading

SUB_FOLDERS = (("coarse", "fine"), ("lr", "hr"))  # names there may be of the two sub-folders
_LAYOUT = (
    "A folder of recorded pairs has two sub-folders, coarse and fine (or lr and hr), with files of the same names, "
    "one of each per pair"
)
_NAMED = 3  # files that an error names


def read_pairs(folder: str | Path, reading: Reading | None = None) -> list[tuple[Image, Image]]:
    """Coarse and fine scan of every pair, sorted by name.

    Files belong together where their names without the ending are the same; hidden files do not count.

    Raises
    ------
    InputError : no such sub-folders, a file without its partner, volumes, or scans that cannot be a pair.
    """
    reading = reading or Reading()
    coarse, fine = (_files(f) for f in _sub_folders(Path(folder)))
    alone = sorted(p for name, p in {**coarse, **fine}.items() if name not in coarse or name not in fine)
    if alone:
        named = ", ".join(f"{p.parent.name}/{p.name}" for p in alone[:_NAMED])
        raise InputError(f"{_LAYOUT}, but {len(alone)} have no partner: {named}{', …' * (len(alone) > _NAMED)}.")
    return [_pair(coarse[name], fine[name], reading) for name in sorted(coarse)]


def _sub_folders(folder: Path) -> tuple[Path, Path]:
    for coarse, fine in SUB_FOLDERS:
        if (folder / coarse).is_dir() and (folder / fine).is_dir():
            return folder / coarse, folder / fine
    there = "is no folder" if not folder.is_dir() else "has none"
    raise InputError(f"{_LAYOUT}, but {folder} {there}.")


def _files(folder: Path) -> dict[str, Path]:
    files = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    if not files:
        raise InputError(f"{_LAYOUT}, but {folder} is empty.")
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise InputError(f"{_LAYOUT}, but {folder.name} holds both {found[path.stem].name} and {path.name}.")
        found[path.stem] = path
    return found


def _pair(coarse: Path, fine: Path, reading: Reading) -> tuple[Image, Image]:
    lr, hr = reading.coarse(coarse), reading.fine(fine)
    if lr.grid.ndim != 2 or hr.grid.ndim != 2:
        raise InputError(f"Recorded pairs are pictures, but {coarse.parent.name}/{coarse.name} holds a volume.")
    io.require_pair(lr, hr)
    return lr, hr
