"""``__main__``: settings made before torch is loaded, errors turned into one line and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from finescan import __main__ as entry
from finescan.errors import FinescanError, InputError, OutputError, RegistrationRefused


def run_with(monkeypatch, outcome):
    """``main()`` with a command line that returns or raises ``outcome``."""

    def command_line():
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    import finescan.cli

    monkeypatch.setattr(finescan.cli, "main", command_line)
    monkeypatch.setattr(entry, "tune_process", lambda: None)
    return entry.main()


@pytest.mark.parametrize(
    ("error", "code"),
    [(FinescanError("a"), 1), (InputError("b"), 3), (RegistrationRefused("c"), 4), (OutputError("d"), 5)],
)
def test_an_error_of_ours_is_one_line_and_its_exit_code(error, code, monkeypatch, capsys):
    assert run_with(monkeypatch, error) == code
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize("outcome", [KeyboardInterrupt(), 130, type("Abort", (Exception,), {})()])
def test_an_interruption_says_that_the_run_can_go_on(outcome, monkeypatch, capsys):
    assert run_with(monkeypatch, outcome) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to continue\n"


def test_success_is_passed_on_in_silence(monkeypatch, capsys):
    assert run_with(monkeypatch, 0) == 0
    assert capsys.readouterr().err == ""


def test_an_error_nobody_foresaw_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_with(monkeypatch, ZeroDivisionError())


def test_a_wrong_command_is_a_usage_error():
    done = subprocess.run([sys.executable, "-m", "finescan", "bogus"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "bogus" in done.stderr
    assert "Traceback" not in done.stderr


def test_threads_are_told_to_sleep_unless_the_user_says_otherwise():
    code = "import os, sys; from finescan.__main__ import tune_process; tune_process(); "
    code += "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    for given, expected in ((None, "passive False"), ("active", "active False")):
        env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | (
            {"OMP_WAIT_POLICY": given} if given else {}
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.stdout.strip() == expected
