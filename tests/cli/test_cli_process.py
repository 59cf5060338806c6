"""The command as a process of its own, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import finescan

HEAVY = "torch", "tifffile", "zarr", "scipy", "typer"


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_importing_finescan_loads_nothing_heavy():
    done = python(f"import sys, finescan; print([m for m in {HEAVY} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_check_on_the_command_line_loads_no_torch(scans):
    code = "import sys; from finescan.__main__ import main; code = main(); print('torch' in sys.modules, code)"
    done = python(code, "check", scans / "coarse.tif", scans / "fine.tif")
    assert done.stdout.splitlines()[-1] == "False 0", done.stderr
    assert "ratio 4.000" in done.stdout


def test_version_help_and_exit_codes_of_the_process(tmp_path):
    module = [sys.executable, "-m", "finescan"]
    version = subprocess.run([*module, "--version"], capture_output=True, text=True, timeout=300)
    assert (version.returncode, version.stdout) == (0, f"finescan {finescan.__version__}\n")
    missing = tmp_path / "gone.tif"
    refused = subprocess.run([*module, "check", missing, missing], capture_output=True, text=True, timeout=300)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr == f"error: There is no file {missing}. Check the name and the folder.\n"
