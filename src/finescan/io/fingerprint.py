"""SHA-256 of files, for provenance."""

from __future__ import annotations

import hashlib
from pathlib import Path

from finescan.errors import UnreadableFile

#: Larger files are read in samples: a volume of 100 GB would take many minutes.
SAMPLED_ABOVE = 1 << 33
_BLOCK, _BLOCKS = 1 << 23, 64


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file, read in pieces; of a folder, over the relative names and contents of all files in it.

    Of a file above 8 GB: ``"sampled:"`` and the SHA-256 of its size and of 64 blocks of 8 MB spread over it, the first
    and the last included.

    Raises
    ------
    UnreadableFile : there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(f"There is no file {path}. Check the name and the folder.")
    if path.is_file():
        size = path.stat().st_size
        with path.open("rb") as f:
            if size <= SAMPLED_ABOVE:
                return hashlib.file_digest(f, "sha256").hexdigest()
            sampled = hashlib.sha256(str(size).encode())
            for k in range(_BLOCKS):
                f.seek((size - _BLOCK) * k // (_BLOCKS - 1))
                sampled.update(f.read(_BLOCK))
        return f"sampled:{sampled.hexdigest()}"
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{fingerprint(inner)}\n".encode())
    return digest.hexdigest()
