"""Ledger: which blocks are done, on disk, so that a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finescan.errors import OutputError
from finescan.models import Model

SCHEMA = 1
NAME = "enhanced.ledger.jsonl"


def model_digest(model: Model) -> str:
    """Hash of the card and of every weight."""
    digest = hashlib.sha256(json.dumps(model.card.to_dict(), sort_keys=True, default=str).encode())
    for member in getattr(model, "members", ()):
        for name, tensor in sorted(member.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Ledger:
    """An append-only file: one line that says what is computed, then one line per finished block.

    A line counts when it ends in a line break, so a line cut short by a crash is as if never written. A block is
    recorded only after its pixels and flags have been handed to the operating system.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], done: dict[int, dict[str, Any]]) -> None:
        self.path, self.header, self.done = path, dict(header), done

    @classmethod
    def open(cls, path: Path, header: Mapping[str, Any]) -> Ledger:
        """Go on with the ledger at ``path`` or begin one.

        ``header["what"]`` says what is computed and must agree; the rest (how it is cut into blocks) is taken from
        the file where there is one, because the same bits need the same blocks.

        Raises
        ------
        OutputError : the folder holds the result of another model, input or configuration.
        """
        header = {"schema": SCHEMA, **header}
        lines = _whole_lines(path)
        if not lines:
            _write_first(path, header)
            return cls(path, header, {})
        found = lines[0]
        if found.get("schema") != SCHEMA or found.get("what") != header["what"]:
            raise OutputError(_other_run(path, found.get("what") or {}, header["what"]))
        return cls(path, found, {line["block"]: line for line in lines[1:]})

    def record(self, block: int, **facts: Any) -> None:
        """Note, durably, that a block is finished."""
        line = {"block": block, **facts}
        _append(self.path, line)
        self.done[block] = line


def _other_run(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    different = [k for k in wanted if found.get(k) != wanted[k]] or ["format"]
    return (
        f"{path.parent} holds an enhancement made with another {' and '.join(different)}. Choose another folder, or "
        "pass overwrite=True (--overwrite on the command line) to replace it."
    )


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Entries of the file; a last line cut short is removed from it."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as f:
            f.truncate(len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as e:
        raise OutputError(f"{path} is damaged ({e}). Pass overwrite=True (--overwrite) to compute anew.") from e


def _write_first(path: Path, header: Mapping[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    _append(part, header)
    part.replace(path)


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    with path.open("ab") as f:
        f.write(json.dumps(entry).encode() + b"\n")
        f.flush()
        os.fsync(f.fileno())
