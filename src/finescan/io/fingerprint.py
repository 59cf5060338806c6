"""SHA-256 of files, for provenance."""

from __future__ import annotations

import hashlib
from pathlib import Path

from finescan.errors import UnreadableFile


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file, read in pieces; of a folder, over the relative names and contents of all files in it.

    Raises
    ------
    UnreadableFile : there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(f"There is no file {path}. Check the name and the folder.")
    if path.is_file():
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{fingerprint(inner)}\n".encode())
    return digest.hexdigest()
