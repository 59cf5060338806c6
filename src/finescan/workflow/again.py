"""Write the report of a finished run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from finescan.errors import InputError
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
    record = folder / "run.json"
    if not record.exists():
        raise InputError(f"{folder} holds no run (run.json is missing). Pass the folder given to `finescan run -o`.")
    state = json.loads(record.read_text(encoding="utf-8"))
    if "enhance" not in state["steps"]:
        raise InputError(f"The run in {folder} is not finished. Continue it with `finescan run`.")
    inputs = Plan.load(folder / "plan.yaml").inputs
    paths = [Path(inputs["coarse"]["path"]), *(Path(f["path"]) for f in inputs["fine"])]
    gone = [str(p) for p in paths if not p.exists()]
    if gone:
        raise InputError(f"The report shows the recorded scans, but {', '.join(gone)} cannot be found. Put them back.")
    said = state["inputs"].get("reading", {})
    done = finish(paths[0], paths[1:], folder, Reading.from_dict(said), None, True)
    page = folder / "report.html"
    if output is not None:
        page = Path(shutil.copyfile(page, output))
    return Outcome({"report": str(page), "verdict": done.report.verdict}, f"{page}: {done.report.sentence}")
