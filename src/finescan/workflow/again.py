"""Write the report of a finished run again."""

from __future__ import annotations

import shutil
from pathlib import Path

from finescan.errors import InputError
from finescan.workflow.finished import open_finished
from finescan.workflow.reading import Outcome
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
    run = open_finished(folder)
    paths = [run.coarse, *run.fines]
    gone = [str(p) for p in paths if not p.exists()]
    if gone:
        raise InputError(f"The report shows the recorded scans, but {', '.join(gone)} cannot be found. Put them back.")
    done = finish(paths[0], paths[1:], run.path, run.reading, None, True)
    page = run.path / "report.html"
    if output is not None:
        page = Path(shutil.copyfile(page, output))
    return Outcome({"report": str(page), "verdict": done.report.verdict}, f"{page}: {done.report.sentence}")
