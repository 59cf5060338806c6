"""Opening a finished run folder to go on with its results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finescan.errors import InputError
from finescan.workflow.plan import Plan
from finescan.workflow.reading import Reading

LR_ONLY = "lr-only"  # entry "kind" of the inputs of a run that no fine scan was recorded for


@dataclass(frozen=True)
class FinishedFolder:
    """A run whose enhanced map is complete.

    Parameters
    ----------
    path : the folder.
    state : contents of run.json.
    plan : its choices and inputs.
    reading : what was said about the files when it was started.
    """

    path: Path
    state: dict[str, Any]
    plan: Plan
    reading: Reading

    @property
    def coarse(self) -> Path:
        """Path of the coarse scan."""
        return Path(self.plan.inputs["coarse"]["path"])

    @property
    def fines(self) -> list[Path]:
        """Paths of the fine scans."""
        return [Path(f["path"]) for f in self.plan.inputs["fine"]]


def state_of(folder: Path) -> dict[str, Any]:
    """Contents of run.json; InputError where there is none, or a damaged one."""
    record = folder / "run.json"
    if not record.exists():
        raise InputError(f"{folder} holds no run (run.json is missing). Pass the folder given to `finescan run -o`.")
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError) as e:
        raise InputError(f"{record} cannot be read ({e}). Run again with --overwrite.") from e


def open_finished(folder: str | Path) -> FinishedFolder:
    """A finished run folder.

    Raises
    ------
    InputError : no run, a damaged one, or one that is not finished.
    """
    folder = Path(folder)
    state = state_of(folder)
    if state["inputs"].get("kind") == LR_ONLY:
        raise InputError(
            f"The run in {folder} learned from coarse images alone (--lr-only), but this needs one that a fine scan "
            "was recorded for."
        )
    if "enhance" not in state["steps"]:
        raise InputError(f"The run in {folder} is not finished. Continue it with `finescan run`.")
    plan = Plan.load(folder / "plan.yaml")
    return FinishedFolder(folder, state, plan, Reading.from_dict(state["inputs"].get("reading", {})))
