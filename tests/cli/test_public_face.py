"""What `import finescan as fs` and the README promise exists."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import finescan as fs

ROOT = Path(__file__).parents[2]
SOURCE = Path(fs.__file__).parent
VERBS = (
    "check",
    "demo",
    "doctor",
    "enhance",
    "evaluate",
    "models",
    "quantify",
    "register",
    "report",
    "run",
    "simulate",
    "train",
)
#: the verbs as functions; `models` is the room of the networks, so its verb is called list_models
FUNCTIONS = "list_models", "make_patches", "read", "write", *(v for v in VERBS if v != "models")


@pytest.mark.parametrize("name", fs.__all__)
def test_every_public_name_can_be_loaded(name):
    assert getattr(fs, name) is not None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_verb_is_a_function_with_a_description(name):
    function = getattr(fs, name)
    assert name in fs.__all__ and callable(function) and function.__doc__.strip()


def test_functions_stay_functions_whatever_was_imported_before():
    for module in ("run", "demo", "doctor"):
        importlib.import_module(f"finescan.workflow.{module}")
        assert callable(getattr(fs, module)) and callable(getattr(importlib.import_module("finescan.workflow"), module))


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no 'enhence'; it has .*enhance"):
        fs.enhence  # noqa: B018


@pytest.mark.parametrize("verb", [*VERBS, "lattice", "merge", "patches", "rescan"])
def test_every_verb_is_a_command_with_help(finescan, verb):
    said = finescan(verb, "--help")
    assert said.code == 0 and "--json" in said.out


def test_the_readme_names_only_commands_and_functions_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^finescan (\w+)", readme, re.M)) | set(re.findall(r"`(\w+)`(?=[,;])", readme))
    assert set(VERBS) >= commands & set(VERBS) and {"check", "run"} <= commands
    code = re.search(r"```python\n(.*?)```", readme, re.S).group(1)
    for name in re.findall(r"fs\.(\w+)", code):
        assert name in fs.__all__


def _modules_with_examples() -> list[str]:
    files = [p for p in SOURCE.rglob("*.py") if re.search(r"^ *>>> ", p.read_text(encoding="utf-8"), re.M)]
    names = [".".join(("finescan", *p.relative_to(SOURCE).with_suffix("").parts)) for p in files]
    return sorted(n.removesuffix(".__init__") for n in names)


@pytest.mark.parametrize("module", _modules_with_examples())
def test_the_examples_in_the_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


def test_commands_stand_in_the_order_a_new_user_needs_them_and_none_is_left_out(finescan) -> None:
    from finescan.cli import app

    words = finescan("--help").out.replace("│", " ").split("\n")
    listed = [
        line.split()[0] for line in words if line.startswith("  ") and not line.startswith("   ") and line.strip()
    ]
    names = {c.name or c.callback.__name__ for c in app.registered_commands} | {"models", "study"}
    assert [n for n in listed if n in names][:3] == ["demo", "check", "run"] and names <= set(listed)


def test_help_of_landmarks_says_what_is_in_the_file(finescan) -> None:
    """Square brackets would be taken for markup and vanish."""
    text = " ".join(finescan("run", "--help").out.replace("│", " ").split())
    assert "fine px (y, x) and coarse px (y, x)" in text
