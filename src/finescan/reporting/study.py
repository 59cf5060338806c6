"""write_study: a study to one HTML page; write_figures: its figures and tables as files of their own."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from finescan.errors import InputError, OutputError
from finescan.reporting.chapter import Figure, StudyReport, Table, slug
from finescan.reporting.chapters import chapter_html, csv_rows, markdown
from finescan.reporting.page import page_html, part_of_page, write_page
from finescan.reporting.scenes import SceneWriter
from finescan.reporting.sections import Section, answer_html, provenance_html, section


def write_study(path: str | os.PathLike[str], study: StudyReport, *, overwrite: bool = False) -> Path:
    """Write the study as one self-contained HTML file.

    Parameters
    ----------
    path : of the file; its folder must exist.
    study : everything on the page.
    overwrite : replace an existing file.

    Returns
    -------
    The path. The file appears complete or not at all.

    Raises
    ------
    OutputError : the file exists and ``overwrite`` is False, or it cannot be written.
    """
    return write_page(Path(path), lambda: render_study(study), overwrite)


def render_study(study: StudyReport) -> str:
    """The page as text."""
    scenes = SceneWriter()
    first = answer_html(study.verdict, study.headline, study.sentence, study.facts, study.notes)
    body = [Section("answer", "Result", first)]
    names: set[str] = {"answer", "provenance", "notes", "scenes"}
    for chapter in study.chapters:
        name = _free(slug(chapter.title) or "chapter", names)
        body.append(section(name, chapter.title, chapter_html(chapter, scenes)))
    body.append(section("provenance", "Provenance", provenance_html(study.provenance)))
    return page_html(study.title, body, scenes, kind="study")


def _free(name: str, names: set[str]) -> str:
    k, free = 2, name
    while free in names or free.startswith("scene-"):
        free, k = f"{name}-{k}", k + 1
    names.add(free)
    return free


# ------------------------------------------------------------------ files of their own
def write_figures(
    folder: str | os.PathLike[str],
    figures: Sequence[Figure] = (),
    tables: Sequence[Table] = (),
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write figures as ``name.svg`` (which stand alone, in light and dark) and tables as ``name.csv`` and ``name.md``.

    Parameters
    ----------
    folder : made when it is not there.
    figures, tables : normally ``study.figures()`` and ``study.tables()``; names must differ.
    overwrite : replace existing files.

    Returns
    -------
    The paths, in order.

    Raises
    ------
    InputError : two figures or two tables have one name.
    OutputError : a file exists and ``overwrite`` is False, or it cannot be written.
    """
    contents = _contents(figures, tables)
    folder = Path(folder)
    taken = [name for name in contents if (folder / name).exists()]
    if taken and not overwrite:
        raise OutputError(f"{folder / taken[0]} exists already. Pass overwrite=True, or choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as e:
        raise OutputError(
            f"The figures cannot be written to {folder} ({e}). Choose a folder that can be written."
        ) from e
    return [folder / name for name in contents]


def _contents(figures: Sequence[Figure], tables: Sequence[Table]) -> dict[str, str]:
    contents: dict[str, str] = {}
    files = [(f"{f.name}.svg", standalone_svg(f)) for f in figures]
    files += [(f"{t.name}.{ending}", make(t)) for t in tables for ending, make in (("csv", _csv), ("md", markdown))]
    for name, text in files:
        if name in contents:
            raise InputError(f"Two figures or tables would be written to {name}. Give one of them another name=….")
        contents[name] = text
    return contents


def _csv(table: Table) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(["" if v is None else v for v in row] for row in csv_rows(table))
    return out.getvalue()


def standalone_svg(figure: Figure) -> str:
    """The picture with colours and fonts of its own, on a background, in light and dark."""
    palettes = _palettes()
    rules = part_of_page("plots.css")
    style = "".join(
        (_resolved(rules, palettes[0]), "@media (prefers-color-scheme: dark) {", _resolved(rules, palettes[1]), "}")
    )
    _, _, width, height = map(float, re.search(r'viewBox="([^"]*)"', figure.svg).group(1).split())  # type: ignore[union-attr]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" width="{width + 24:g}" height="{height + 24:g}" '
        f'viewBox="-12 -12 {width + 24:g} {height + 24:g}" role="img" aria-label="{escape(figure.title)}">'
        f'<style>{style}</style><rect class="paper" x="-12" y="-12" width="{width + 24:g}" height="{height + 24:g}"/>'
    )
    return head + figure.svg.split(">", 1)[1] + "\n"


def _palettes() -> list[dict[str, str]]:
    """Values of the style sheet's names, light and dark."""
    light, dark = part_of_page("palette.css").split("@media", 1)
    first = dict(re.findall(r"--([\w-]+): ([^;]+);", light))
    return [first, first | dict(re.findall(r"--([\w-]+): ([^;]+);", dark))]


def _resolved(rules: str, palette: Mapping[str, str]) -> str:
    """Rules without names, which many programs that show SVG do not know."""
    plain = re.sub(r"/\*.*?\*/", "", rules, flags=re.S)
    return re.sub(r"var\(--([\w-]+)\)", lambda m: palette[m.group(1)], plain) + f".paper{{fill:{palette['panel']}}}"
