"""write_report: a Report to one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from finescan import __version__
from finescan.errors import OutputError
from finescan.reporting import sections
from finescan.reporting.report import Report
from finescan.reporting.scenes import SceneWriter


def write_report(path: str | os.PathLike[str], report: Report, *, overwrite: bool = False) -> Path:
    """Write the report as one self-contained HTML file.

    Parameters
    ----------
    path : of the file; its folder must exist.
    report : everything on the page.
    overwrite : replace an existing file.

    Returns
    -------
    The path. The file appears complete or not at all.

    Raises
    ------
    OutputError : the file exists and ``overwrite`` is False, or it cannot be written.
    """
    return write_page(Path(path), lambda: render(report), overwrite)


def write_page(path: Path, make: Callable[[], str], overwrite: bool) -> Path:
    """The page at its path: complete, or not at all."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already. Pass overwrite=True, or --overwrite on the command line.")
    html = make()
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(html, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise OutputError(f"The report cannot be written to {path} ({e}). Choose a folder that can be written.") from e
    return path


def render(report: Report) -> str:
    """The page as text."""
    scenes = SceneWriter()
    return page_html(report.title, sections.all_sections(report, scenes), scenes)


def page_html(title: str, body: Sequence[sections.Section], scenes: SceneWriter, *, kind: str = "report") -> str:
    """Sections and scenes as one page; ``kind`` is the word above the title."""
    script = _script(scenes.has_volumes)
    return Template(part_of_page("report.html")).substitute(
        title=escape(title),
        kind=escape(kind),
        version=escape(__version__),
        css=_style(scenes.has_volumes),
        js=script,
        script_hash=_hash(script),
        navigation=_navigation(body),
        sections="\n".join(s.html for s in body),
        scenes=_json(scenes.facts()),
    )


def _navigation(body: Sequence[sections.Section]) -> str:
    return "".join(f'<li><a href="#{s.name}">{escape(s.title)}</a></li>' for s in body)


def _style(volumes: bool) -> str:
    names = ("palette.css", "report.css", "plots.css", *(("volume.css",) if volumes else ()))
    return "".join(map(part_of_page, names))


def _script(volumes: bool) -> str:
    """The page's only program; the part that shows volumes comes along when there are some."""
    names = ("base.js", "scene.js", *(("volume.js",) if volumes else ()), "start.js")
    return '"use strict";\n(() => {\n' + "\n".join(map(part_of_page, names)) + "})();\n"


def part_of_page(name: str) -> str:
    """A file the page is made of."""
    return resources.files("finescan.reporting").joinpath("page", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Of the page's only program, for its content security policy: the browser runs nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")
