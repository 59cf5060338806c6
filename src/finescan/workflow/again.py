"""Write the report of a finished run again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finescan.errors import InputError
from finescan.workflow.finished import LR_ONLY, open_finished, state_of
from finescan.workflow.plan import Plan
from finescan.workflow.reading import Outcome, Reading
from finescan.workflow.run import finish


def report_folder(folder: str | Path, output: str | Path | None = None) -> Outcome:
    """Judge a finished run again and write its report; nothing is registered, trained or enhanced anew.

    Parameters
    ----------
    folder : a run folder whose enhanced map is complete. The recorded scans must still be where they were.
    output : where to put the page; None = ``report.html`` in the folder.

    Raises
    ------
    InputError : no run, an unfinished one, or scans that have moved.
    """
    folder = Path(folder)
    state = state_of(folder)
    verdict, sentence = _alone(folder, state) if state["inputs"].get("kind") == LR_ONLY else _pair(folder)
    page = folder / "report.html"
    if output is not None:
        page = Path(shutil.copyfile(page, output))
    return Outcome({"report": str(page), "verdict": verdict}, f"{page}: {sentence}")


def _pair(folder: Path) -> tuple[str, str]:
    run = open_finished(folder)
    paths = [run.coarse, *run.fines]
    _require_all(paths)
    done = finish(paths[0], paths[1:], run.path, run.reading, None, True)
    return done.report.verdict, done.report.sentence


def _alone(folder: Path, state: Mapping[str, Any]) -> tuple[str, str]:
    from finescan.workflow.lr_only import complete_lr_only

    if not any(step.startswith("enhance ") for step in state["steps"]):
        raise InputError(f"The run in {folder} is not finished. Continue it with `finescan run --lr-only`.")
    paths = [Path(i["path"]) for i in Plan.load(folder / "plan.yaml").inputs["images"]]
    _require_all(paths)
    done = complete_lr_only(paths, folder, Reading.from_dict(state["inputs"].get("reading", {})), {})
    return str(done.facts["verdict"]), str(done.facts["sentence"])


def _require_all(paths: Sequence[Path]) -> None:
    gone = [str(p) for p in paths if not p.exists()]
    if gone:
        raise InputError(f"The report shows the recorded scans, but {', '.join(gone)} cannot be found. Put them back.")
