"""The checkpoint of a training: one file, written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from finescan.errors import OutputError

FILE = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the state under its final name only when complete.

    Raises
    ------
    OutputError : the folder cannot be written, or the disk is full.
    """
    part = folder / (FILE + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        part.replace(folder / FILE)
    except (OSError, RuntimeError) as e:
        part.unlink(missing_ok=True)
        why = getattr(e, "strerror", None) or e
        raise OutputError(
            f"The training checkpoint could not be written to {folder} ({why}). What was saved before is kept; "
            "free some space or choose another folder, and run again to continue."
        ) from e


def load_checkpoint(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state saved in a folder, None if there is none.

    Raises
    ------
    OutputError : the checkpoint is unreadable, or of other data or settings.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as e:
        raise OutputError(
            f"{path} is not a readable checkpoint. Delete it to train anew, or choose another folder."
        ) from e
    if state.get("fingerprint") != fingerprint:
        raise OutputError(
            f"{folder} holds a training of other data or other settings. Choose another folder, or delete {path.name} "
            "there to train anew."
        )
    return state
